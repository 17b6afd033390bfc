/* copy.c - copies and fills, as a thread of the device does them. */
#include <string.h>

#include "tests/drivers/ze/ze.h"

void zd_copy_run(const struct zd_copy *c)
{
	for (uint64_t z = 0; z < c->depth; z++)
		for (uint64_t y = 0; y < c->height; y++)
			memmove((void *)(uintptr_t)(c->dst + z * c->dst_slice + y * c->dst_pitch),
				(const void *)(uintptr_t)(c->src + z * c->src_slice + y * c->src_pitch), c->width);
}

void zd_fill_run(const struct zd_fill *f)
{
	unsigned char *p = (unsigned char *)(uintptr_t)f->dst;

	if (f->pattern_size == 1) {
		memset(p, f->pattern[0], f->size);
		return;
	}
	for (uint64_t at = 0; at < f->size; at += f->pattern_size)
		memcpy(p + at, f->pattern, f->size - at < f->pattern_size ? f->size - at : f->pattern_size);
}

/* Bytes from the first to the last. */
uint64_t zd_copy_extent(const struct zd_copy *c, uint64_t pitch, uint64_t slice)
{
	return (c->depth - 1) * slice + (c->height - 1) * pitch + c->width;
}
