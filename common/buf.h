/* buf.h - bounded reading and growing writing of little-endian bytes. */
#ifndef HG_COMMON_BUF_H
#define HG_COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A reader over bytes it does not own. The first read past the end sets `failed` and moves
 * nothing; every later read gives zero or NULL. A decoder therefore reads a whole record and
 * checks `failed` once, at the end.
 */
struct hg_reader {
	const unsigned char *pos, *end;
	bool failed;
};

void hg_reader_init(struct hg_reader *r, const void *data, size_t size);
size_t hg_reader_left(const struct hg_reader *r);
uint8_t hg_read_u8(struct hg_reader *r);
uint16_t hg_read_u16(struct hg_reader *r);
uint32_t hg_read_u32(struct hg_reader *r);
uint64_t hg_read_u64(struct hg_reader *r);
/* Points into the reader's own memory; NULL, with `failed` set, if too short. */
const void *hg_read_bytes(struct hg_reader *r, size_t size);
/* A u32 length, that many bytes, and a terminating NUL that is checked; NULL on failure. */
const char *hg_read_str(struct hg_reader *r);

/*
 * A growing byte string. The first allocation that fails sets `failed`; later writes do nothing.
 * Zero-initialised is empty. hg_writer_release frees and empties it.
 */
struct hg_writer {
	unsigned char *data;
	size_t size, capacity;
	bool failed;
};

void hg_writer_release(struct hg_writer *w);
void hg_write_u8(struct hg_writer *w, uint8_t v);
void hg_write_u16(struct hg_writer *w, uint16_t v);
void hg_write_u32(struct hg_writer *w, uint32_t v);
void hg_write_u64(struct hg_writer *w, uint64_t v);
void hg_write_bytes(struct hg_writer *w, const void *data, size_t size);
void hg_write_str(struct hg_writer *w, const char *s);	/* as hg_read_str reads it */

#endif
