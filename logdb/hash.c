/* hash.c - content hashes: XXH3. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#include "logdb/format.h"

struct hg_key128 hg_hash128(const void *data, size_t size)
{
	XXH128_canonical_t canonical;
	struct hg_key128 key;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, size));
	memcpy(key.bytes, canonical.digest, sizeof(key.bytes));
	return key;
}

uint64_t hg_hash64(const void *data, size_t size)
{
	return XXH3_64bits(data, size);
}
