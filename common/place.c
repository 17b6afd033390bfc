/* place.c - where things lay in device memory, as a blob. */
#include "common/place.h"

#include <stdlib.h>
#include <string.h>

#include "common/msg.h"

void hg_places_encode(struct hg_writer *w, const struct hg_place *place, size_t nr)
{
	static const char zeros[8];

	for (size_t i = 0; i < nr; i++) {
		size_t len = place[i].name ? strlen(place[i].name) : 0;

		hg_write_u64(w, place[i].addr);
		hg_write_u64(w, place[i].size);
		hg_write_u32(w, (uint32_t)len);
		if (len)
			hg_write_bytes(w, place[i].name, len);
		hg_write_bytes(w, zeros, -(20 + len) & 7);
	}
}

/* Counts the places and the bytes of their names with NULs; false when the blob is malformed. */
static bool places_measure(const void *data, size_t size, size_t *nr, size_t *name_bytes)
{
	struct hg_reader r;

	*nr = 0;
	*name_bytes = 0;
	hg_reader_init(&r, data, size);
	while (hg_reader_left(&r)) {
		const char *name;
		uint32_t len;

		hg_read_u64(&r);
		hg_read_u64(&r);
		len = hg_read_u32(&r);
		name = hg_read_bytes(&r, len);
		hg_read_bytes(&r, -(20 + (size_t)len) & 7);
		if (r.failed || (len && memchr(name, '\0', len)))
			return false;
		++*nr;
		*name_bytes += (size_t)len + 1;
	}
	return true;
}

enum hg_status hg_places_decode(const void *data, size_t size, struct hg_place **out, size_t *nr)
{
	size_t count, name_bytes;
	struct hg_place *place;
	struct hg_reader r;
	char *names;

	if (!places_measure(data, size, &count, &name_bytes)) {
		pr_err("malformed list of places in a record (%zu bytes)", size);
		return HG_ERR_CORRUPT;
	}
	if (!count) {
		*out = NULL;
		*nr = 0;
		return HG_OK;
	}
	place = malloc(count * sizeof(*place) + name_bytes);
	if (!place)
		return HG_ERR_NOMEM;
	names = (char *)(place + count);
	hg_reader_init(&r, data, size);
	for (size_t i = 0; i < count; i++) {
		uint32_t len;

		place[i].addr = hg_read_u64(&r);
		place[i].size = hg_read_u64(&r);
		len = hg_read_u32(&r);
		place[i].name = len ? names : NULL;
		if (len)
			memcpy(names, hg_read_bytes(&r, len), len);
		hg_read_bytes(&r, -(20 + (size_t)len) & 7);
		names[len] = '\0';
		names += (size_t)len + 1;
	}
	*out = place;
	*nr = count;
	return HG_OK;
}
