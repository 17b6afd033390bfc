/* buf.c - bounded reading and growing writing of little-endian bytes. */
#include "common/buf.h"

#include <stdlib.h>
#include <string.h>

void hg_reader_init(struct hg_reader *r, const void *data, size_t size)
{
	r->pos = data;
	/* nothing may be nowhere */
	r->end = size ? r->pos + size : r->pos;
	r->failed = false;
}

size_t hg_reader_left(const struct hg_reader *r)
{
	return r->failed ? 0 : (size_t)(r->end - r->pos);
}

const void *hg_read_bytes(struct hg_reader *r, size_t size)
{
	const void *p = r->pos;

	/* compare sizes, not pointers: pos + size may wrap around */
	if (r->failed || size > (size_t)(r->end - r->pos)) {
		r->failed = true;
		return NULL;
	}
	if (size)
		r->pos += size;
	return p;
}

uint8_t hg_read_u8(struct hg_reader *r)
{
	const unsigned char *p = hg_read_bytes(r, 1);

	return p ? p[0] : 0;
}

uint16_t hg_read_u16(struct hg_reader *r)
{
	const unsigned char *p = hg_read_bytes(r, 2);

	if (!p)
		return 0;
	return (uint16_t)(p[0] | p[1] << 8);
}

uint32_t hg_read_u32(struct hg_reader *r)
{
	const unsigned char *p = hg_read_bytes(r, 4);

	if (!p)
		return 0;
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t hg_read_u64(struct hg_reader *r)
{
	const unsigned char *p = hg_read_bytes(r, 8);
	uint64_t v = 0;

	if (!p)
		return 0;
	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

const char *hg_read_str(struct hg_reader *r)
{
	struct hg_reader was = *r;
	uint32_t len = hg_read_u32(r);
	const char *s = hg_read_bytes(r, (size_t)len + 1);

	if (!s || memchr(s, '\0', (size_t)len + 1) != s + len) {
		*r = was;
		r->failed = true;
		return NULL;
	}
	return s;
}

void hg_writer_release(struct hg_writer *w)
{
	free(w->data);
	memset(w, 0, sizeof(*w));
}

/* Room for `size` more bytes, or NULL with `failed` set. */
static unsigned char *grow(struct hg_writer *w, size_t size)
{
	unsigned char *p;

	if (w->failed)
		return NULL;
	if (size > w->capacity - w->size) {
		size_t capacity = w->capacity ? w->capacity : 256;
		unsigned char *data;

		if (size > SIZE_MAX / 2 - w->size) {
			w->failed = true;
			return NULL;
		}
		while (capacity - w->size < size)
			capacity *= 2;
		data = realloc(w->data, capacity);
		if (!data) {
			w->failed = true;
			return NULL;
		}
		w->data = data;
		w->capacity = capacity;
	}
	p = w->data + w->size;
	w->size += size;
	return p;
}

static void write_le(struct hg_writer *w, uint64_t v, size_t size)
{
	unsigned char *p = grow(w, size);

	if (!p)
		return;
	for (size_t i = 0; i < size; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

void hg_write_u8(struct hg_writer *w, uint8_t v)
{
	write_le(w, v, 1);
}

void hg_write_u16(struct hg_writer *w, uint16_t v)
{
	write_le(w, v, 2);
}

void hg_write_u32(struct hg_writer *w, uint32_t v)
{
	write_le(w, v, 4);
}

void hg_write_u64(struct hg_writer *w, uint64_t v)
{
	write_le(w, v, 8);
}

void hg_write_bytes(struct hg_writer *w, const void *data, size_t size)
{
	unsigned char *p = grow(w, size);

	if (p && size)
		memcpy(p, data, size);
}

void hg_write_str(struct hg_writer *w, const char *s)
{
	size_t len = strlen(s);

	if (len > UINT32_MAX - 1) {
		w->failed = true;
		return;
	}
	hg_write_u32(w, (uint32_t)len);
	hg_write_bytes(w, s, len + 1);
}
