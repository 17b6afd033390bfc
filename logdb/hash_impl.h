/*
 * hash_impl.h - XXH3 for one set of instructions. Included by hash.c and hash_avx2.c, which set NAME(x) and what
 * the compiler may use.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#include "logdb/hash.h"

_Static_assert(sizeof(XXH3_state_t) <= sizeof(((struct hg_hash_state *)0)->bytes), "room for a state of XXH3");

static struct hg_key128 NAME(hash128)(const void *data, size_t size)
{
	XXH128_canonical_t canonical;
	struct hg_key128 key;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, size));
	memcpy(key.bytes, canonical.digest, sizeof(key.bytes));
	return key;
}

static uint64_t NAME(hash64)(const void *data, size_t size)
{
	return XXH3_64bits(data, size);
}

static void NAME(begin)(struct hg_hash_state *s)
{
	XXH3_64bits_reset((XXH3_state_t *)s->bytes);
}

static void NAME(update)(struct hg_hash_state *s, const void *data, size_t size)
{
	XXH3_64bits_update((XXH3_state_t *)s->bytes, data, size);
}

static uint64_t NAME(end)(const struct hg_hash_state *s)
{
	return XXH3_64bits_digest((const XXH3_state_t *)s->bytes);
}

const struct hg_hash_ops NAME(hg_hash_ops) = {
	.hash128 = NAME(hash128),
	.hash64 = NAME(hash64),
	.begin = NAME(begin),
	.update = NAME(update),
	.end = NAME(end),
};
