/* place.h - where things lay in device memory, and the blob that keeps it in a record. */
#ifndef HG_COMMON_PLACE_H
#define HG_COMMON_PLACE_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/status.h"

/* A module's variable by name, or (name NULL) an allocation. */
struct hg_place {
	const char *name;
	uint64_t addr;
	uint64_t size;
};

/*
 * The `places` blob of MODULE and HOST_ALLOC records: for each place u64 addr, u64 size, u32 length of the
 * name, the name without NUL, zeros up to a multiple of 8. A missing name has length 0.
 */
void hg_places_encode(struct hg_writer *w, const struct hg_place *place, size_t nr);
/*
 * One malloc'ed block that holds the array and its names; the caller frees *out. nr may be 0: then *out is
 * NULL. HG_ERR_CORRUPT with a message when the bytes are not such a blob.
 */
enum hg_status hg_places_decode(const void *data, size_t size, struct hg_place **out, size_t *nr) HG_MUST_CHECK;

#endif
