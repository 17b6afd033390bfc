/* hash.c - content hashes: XXH3, with the widest instructions that the processor has. */
#define NAME(x) x##_base
#include "logdb/hash_impl.inc"

static const struct hg_hash_ops *ops(void)
{
#if defined(__x86_64__)
	/* a load and a test; the compiler's own dispatch would need relocations that run before main */
	if (__builtin_cpu_supports("avx2"))
		return &hg_hash_ops_avx2;
#endif
	return &hg_hash_ops_base;
}

struct hg_key128 hg_hash128(const void *data, size_t size)
{
	return ops()->hash128(data, size);
}

uint64_t hg_hash64(const void *data, size_t size)
{
	return ops()->hash64(data, size);
}

void hg_hash_begin(struct hg_hash_state *s)
{
	ops()->begin(s);
}

void hg_hash_update(struct hg_hash_state *s, const void *data, size_t size)
{
	ops()->update(s, data, size);
}

uint64_t hg_hash_end(const struct hg_hash_state *s)
{
	return ops()->end(s);
}
