/* image_util.h - fatbins made by hand. */
#ifndef HG_TESTS_IMAGE_UTIL_H
#define HG_TESTS_IMAGE_UTIL_H

#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "common/buf.h"
#include "translate/fatbin.h"

enum packing { RAW, LZ4, ZSTD };

struct wrapper { uint32_t magic, version; const void *data; const void *const *fatbins; };

static inline void add_entry(struct hg_writer *w, uint16_t kind, uint32_t sm, const void *data, size_t size, enum packing how)
{
	size_t capacity = size + size / 4 + 1024, packed = size;
	char *buf = calloc(1, capacity);
	uint64_t flags = HG_FATBIN_64BIT | 0x10, stored;

	memcpy(buf, data, size);
	if (how == LZ4) {
		packed = (size_t)LZ4_compress_default(data, buf, (int)size, (int)capacity);
		flags |= HG_FATBIN_LZ4;
	} else if (how == ZSTD) {
		packed = ZSTD_compress(buf, capacity, data, size, 3);
		flags |= HG_FATBIN_ZSTD;
	}
	stored = (packed + 7) & ~(size_t)7;
	hg_write_u16(w, kind);
	hg_write_u16(w, 0x0101);
	hg_write_u32(w, 64);
	hg_write_u64(w, stored);
	hg_write_u32(w, how == RAW ? 0 : (uint32_t)packed);
	hg_write_u32(w, 0);
	hg_write_u16(w, 0);
	hg_write_u16(w, 9);
	hg_write_u32(w, sm);
	hg_write_u32(w, 64);
	hg_write_u32(w, 0);
	hg_write_u64(w, flags);
	hg_write_u64(w, 0);
	hg_write_u64(w, how == RAW ? 0 : size);
	memset(buf + packed, 0, stored - packed);
	hg_write_bytes(w, buf, stored);
	free(buf);
}

static inline void begin(struct hg_writer *w)
{
	hg_write_u32(w, HG_FATBIN_MAGIC);
	hg_write_u16(w, 1);
	hg_write_u16(w, 16);
	hg_write_u64(w, 0);
}

static inline void end(struct hg_writer *w)
{
	uint64_t size = w->size - 16;

	memcpy(w->data + 8, &size, 8);
}

#endif
