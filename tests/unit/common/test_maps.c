/* test_maps.c - the id map, the interval map, pools. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/idmap.h"
#include "common/ivmap.h"
#include "common/pool.h"

Test(idmap, holds_what_a_plain_array_holds)
{
	enum { KEYS = 5000, STEPS = 200000 };
	struct hg_idmap m = HG_IDMAP_INIT;
	static uint64_t want[KEYS];
	size_t count = 0;

	srand(1);
	for (int i = 0; i < STEPS; i++) {
		size_t k = (size_t)rand() % KEYS;
		/* addresses as allocators give them: far apart, low bits equal */
		uint64_t key = UINT64_C(0x200000000000) + k * 512, got = 0;

		if (rand() % 3) {
			uint64_t value = (uint64_t)rand() + 1;

			count += !want[k];
			want[k] = value;
			cr_assert_eq(hg_idmap_put(&m, key, value), HG_OK);
		} else {
			cr_assert_eq(hg_idmap_remove(&m, key, &got), want[k] != 0);
			cr_assert_eq(got, want[k]);
			count -= want[k] != 0;
			want[k] = 0;
		}
		cr_assert_eq(hg_idmap_count(&m), count);
	}
	for (size_t k = 0; k < KEYS; k++) {
		uint64_t got = 0;

		cr_assert_eq(hg_idmap_get(&m, UINT64_C(0x200000000000) + k * 512, &got), want[k] != 0);
		cr_assert_eq(got, want[k]);
	}
	hg_idmap_release(&m);
}

Test(idmap, key_zero_is_refused)
{
	struct hg_idmap m = HG_IDMAP_INIT;
	uint64_t v = 42;

	cr_assert_eq(hg_idmap_put(&m, 0, 1), HG_ERR_INVALID);
	cr_assert(!hg_idmap_get(&m, 5, &v));
	cr_assert_eq(v, 42);
	cr_assert(!hg_idmap_remove(&m, 5, NULL));
}

static struct hg_idmap shared = HG_IDMAP_INIT;
static atomic_bool over;
static atomic_uint wrong;

/* Key k always has value k * 3, except while it is absent. */
static void *look(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!atomic_load(&over)) {
		uint64_t k = (uint64_t)rand_r(&seed) % 2000 + 1, v;

		if (hg_idmap_get(&shared, k, &v) && v != k * 3)
			atomic_fetch_add(&wrong, 1);
		/* these stay in the map all the time */
		k = 100000 + k % 100;
		if (!hg_idmap_get(&shared, k, &v) || v != k * 3)
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

Test(idmap, readers_see_no_mixture_while_entries_move, .timeout = 60)
{
	pthread_t t[3];

	for (uint64_t k = 100000; k < 100100; k++)
		cr_assert_eq(hg_idmap_put(&shared, k, k * 3), HG_OK);
	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, look, (void *)(i + 1));
	srand(2);
	for (int i = 0; i < 300000; i++) {
		uint64_t k = (uint64_t)rand() % 2000 + 1;

		if (rand() & 1)
			cr_assert_eq(hg_idmap_put(&shared, k, k * 3), HG_OK);
		else
			hg_idmap_remove(&shared, k, NULL);
	}
	atomic_store(&over, true);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	cr_assert_eq(atomic_load(&wrong), 0);
}

Test(ivmap, finds_the_range_around_an_address)
{
	struct hg_ivmap m = { 0 };
	struct hg_iv iv;

	cr_assert_eq(hg_ivmap_put(&m, 1000, 100, 1), HG_OK);
	cr_assert_eq(hg_ivmap_put(&m, 1100, 50, 2), HG_OK);
	cr_assert_eq(hg_ivmap_put(&m, 5000, 1, 3), HG_OK);
	cr_assert(!hg_ivmap_find(&m, 999, &iv));
	cr_assert(hg_ivmap_find(&m, 1000, &iv) && iv.value == 1);
	cr_assert(hg_ivmap_find(&m, 1099, &iv) && iv.value == 1);
	cr_assert(hg_ivmap_find(&m, 1100, &iv) && iv.value == 2);
	cr_assert(!hg_ivmap_find(&m, 1150, &iv));
	cr_assert(hg_ivmap_from(&m, 1150, &iv) && iv.value == 3);
	cr_assert(!hg_ivmap_from(&m, 5001, &iv));
	hg_ivmap_release(&m);
}

Test(ivmap, refuses_overlap_emptiness_and_wrapping)
{
	struct hg_ivmap m = { 0 };

	cr_assert_eq(hg_ivmap_put(&m, 100, 10, 0), HG_OK);
	cr_assert_eq(hg_ivmap_put(&m, 109, 1, 0), HG_ERR_INVALID);
	cr_assert_eq(hg_ivmap_put(&m, 90, 11, 0), HG_ERR_INVALID);
	cr_assert_eq(hg_ivmap_put(&m, 50, 200, 0), HG_ERR_INVALID);
	cr_assert_eq(hg_ivmap_put(&m, 200, 0, 0), HG_ERR_INVALID);
	cr_assert_eq(hg_ivmap_put(&m, UINT64_MAX, 2, 0), HG_ERR_INVALID);
	/* the last byte of the address space is an address like any other */
	cr_assert_eq(hg_ivmap_put(&m, UINT64_MAX, 1, 0), HG_OK);
	cr_assert_eq(m.count, 2);
	hg_ivmap_release(&m);
}

static int sum(const struct hg_iv *iv, void *arg)
{
	uint64_t *last = arg;

	if (iv->start < *last)
		return 1;
	*last = iv->start;
	return 0;
}

Test(ivmap, agrees_with_a_table_of_owners)
{
	enum { SLOTS = 4096 };
	static uint64_t owner[SLOTS];
	struct hg_ivmap m = { 0 };
	uint64_t last = 0;

	srand(3);
	for (uint64_t step = 1; step < 20000; step++) {
		uint64_t start = (uint64_t)rand() % SLOTS, size = (uint64_t)rand() % 20 + 1;
		struct hg_iv iv;
		bool is_free = start + size <= SLOTS;

		for (uint64_t i = start; i < start + size && i < SLOTS; i++)
			is_free &= !owner[i];
		if (start + size <= SLOTS) {
			cr_assert_eq(hg_ivmap_put(&m, start, size, step), is_free ? HG_OK : HG_ERR_INVALID);
			for (uint64_t i = start; is_free && i < start + size; i++)
				owner[i] = step;
		}
		start = (uint64_t)rand() % SLOTS;
		cr_assert_eq(hg_ivmap_find(&m, start, &iv), owner[start] != 0);
		if (owner[start]) {
			cr_assert_eq(iv.value, owner[start]);
			if (rand() & 1) {
				cr_assert(hg_ivmap_remove(&m, iv.start, NULL));
				for (uint64_t i = iv.start; i < iv.start + iv.size; i++)
					owner[i] = 0;
			}
		}
	}
	cr_assert_eq(hg_ivmap_each(&m, sum, &last), 0);
	hg_ivmap_release(&m);
	cr_assert_null(m.root);
}

Test(pool, gives_zeroed_aligned_pieces_of_any_size)
{
	struct hg_pool *p = hg_pool_create();

	for (size_t size = 0; size < 200000; size = size * 3 + 1) {
		unsigned char *piece = hg_pool_alloc(p, size);

		cr_assert_not_null(piece);
		cr_assert_eq((uintptr_t)piece % 16, 0);
		for (size_t i = 0; i < size; i++)
			cr_assert_eq(piece[i], 0);
		memset(piece, 0xff, size);
	}
	cr_assert_str_eq(hg_pool_printf(p, "%s-%d", "a", 7), "a-7");
	cr_assert_str_eq(hg_pool_strndup(p, "abcdef", 3), "abc");
	hg_pool_destroy(p);
}

Test(pool, an_array_whose_size_wraps_fails_for_good)
{
	struct hg_pool *p = hg_pool_create();

	cr_assert_null(hg_pool_array(p, SIZE_MAX / 2, 4));
	cr_assert_null(hg_pool_alloc(p, 1));
	hg_pool_destroy(p);
}
