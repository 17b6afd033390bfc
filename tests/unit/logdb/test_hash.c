/* test_hash.c - content hashes are the same on every processor, in one piece or in many. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "logdb/hash.h"

static unsigned char data[200000];

static void fill(void)
{
	unsigned int seed = 5;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)rand_r(&seed);
}

/* What the specification of XXH3 gives for no bytes at all. */
Test(hash, of_nothing_is_the_specified_one)
{
	static const unsigned char key[16] = {
		0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8, 0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f,
	};
	struct hg_key128 got = hg_hash128(data, 0);

	cr_assert_eq(hg_hash64(data, 0), UINT64_C(0x2d06800538d394c2));
	cr_assert_arr_eq(got.bytes, key, 16);
}

Test(hash, in_pieces_is_the_one_in_one_piece)
{
	fill();
	for (size_t size = 0; size < sizeof(data); size = size * 2 + 1) {
		struct hg_hash_state s;
		unsigned int seed = (unsigned int)size;

		hg_hash_begin(&s);
		for (size_t at = 0, n; at < size; at += n) {
			n = 1 + (size_t)rand_r(&seed) % 3000;
			n = n < size - at ? n : size - at;
			hg_hash_update(&s, data + at, n);
		}
		cr_assert_eq(hg_hash_end(&s), hg_hash64(data, size), "%zu bytes", size);
	}
}

#if defined(__x86_64__)
Test(hash, does_not_depend_on_the_processor)
{
	if (!__builtin_cpu_supports("avx2"))
		cr_skip("this processor has no AVX2");
	fill();
	for (size_t size = 0; size < 5000; size += size < 600 ? 1 : 97) {
		struct hg_key128 a = hg_hash_ops_base.hash128(data, size), b = hg_hash_ops_avx2.hash128(data, size);
		struct hg_hash_state s, t;

		cr_assert_arr_eq(a.bytes, b.bytes, 16, "%zu bytes", size);
		cr_assert_eq(hg_hash_ops_base.hash64(data, size), hg_hash_ops_avx2.hash64(data, size));
		hg_hash_ops_base.begin(&s);
		hg_hash_ops_avx2.begin(&t);
		hg_hash_ops_base.update(&s, data + 1, size);
		hg_hash_ops_avx2.update(&t, data + 1, size);
		cr_assert_eq(hg_hash_ops_base.end(&s), hg_hash_ops_avx2.end(&t));
	}
}
#endif
