/* hash.h - content hashes: XXH3, with the widest instructions that the processor has. */
#ifndef HG_LOGDB_HASH_H
#define HG_LOGDB_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A content key as it is stored: XXH3-128 in its canonical form, big-endian. */
struct hg_key128 {
	unsigned char bytes[16];
};

struct hg_key128 hg_hash128(const void *data, size_t size);
uint64_t hg_hash64(const void *data, size_t size);

/* XXH3-64 of bytes that come piece by piece. */
struct hg_hash_state {
	_Alignas(64) unsigned char bytes[640];
};

void hg_hash_begin(struct hg_hash_state *s);
void hg_hash_update(struct hg_hash_state *s, const void *data, size_t size);
uint64_t hg_hash_end(const struct hg_hash_state *s);

/* The same for one set of instructions. */
struct hg_hash_ops {
	struct hg_key128 (*hash128)(const void *data, size_t size);
	uint64_t (*hash64)(const void *data, size_t size);
	void (*begin)(struct hg_hash_state *s);
	void (*update)(struct hg_hash_state *s, const void *data, size_t size);
	uint64_t (*end)(const struct hg_hash_state *s);
};

extern const struct hg_hash_ops hg_hash_ops_base;
#if defined(__x86_64__)
extern const struct hg_hash_ops hg_hash_ops_avx2;
#endif

#endif
