/* test_arena.c - which addresses are free. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"

Test(arena, gives_the_lowest_address_that_is_free_and_aligned)
{
	struct hg_arena a;
	uint64_t x, y, z;

	cr_assert_eq(hg_arena_init(&a, 0x1000, 0x10000), HG_OK);
	cr_assert_eq(hg_arena_take(&a, 0x100, 0x100, &x), HG_OK);
	cr_assert_eq(x, 0x1000);
	cr_assert_eq(hg_arena_take(&a, 0x10, 0x1000, &y), HG_OK);
	cr_assert_eq(y, 0x2000);
	cr_assert_eq(hg_arena_take(&a, 0x100, 0x100, &z), HG_OK);
	cr_assert_eq(z, 0x1100);
	hg_arena_fini(&a);
}

Test(arena, takes_exactly_what_is_wanted_or_nothing)
{
	struct hg_arena a;

	cr_assert_eq(hg_arena_init(&a, 0x1000, 0x1000), HG_OK);
	cr_assert_eq(hg_arena_take_at(&a, 0x1800, 0x100), HG_OK);
	cr_assert_eq(hg_arena_take_at(&a, 0x18f0, 0x20), HG_ERR_NOSPC);
	cr_assert_eq(hg_arena_take_at(&a, 0x17f0, 0x20), HG_ERR_NOSPC);
	cr_assert_eq(hg_arena_take_at(&a, 0x1ff0, 0x20), HG_ERR_NOSPC);
	cr_assert_eq(hg_arena_take_at(&a, 0x0ff0, 0x10), HG_ERR_NOSPC);
	cr_assert_eq(hg_arena_take_at(&a, 0x1900, 0x700), HG_OK);
	hg_arena_fini(&a);
}

Test(arena, is_whole_again_when_everything_was_given_back)
{
	enum { NR = 2000, UNIT = 64, SPACE = 1 << 20 };
	static unsigned char taken[SPACE / UNIT];
	struct { uint64_t addr, size; } piece[NR] = { { 0, 0 } };
	struct hg_arena a;
	uint64_t whole;

	srand(7);
	cr_assert_eq(hg_arena_init(&a, UNIT, SPACE), HG_OK);
	for (int round = 0; round < 20000; round++) {
		int i = rand() % NR;

		if (piece[i].size) {
			memset(taken + piece[i].addr / UNIT - 1, 0, piece[i].size / UNIT);
			hg_arena_give(&a, piece[i].addr, piece[i].size);
			piece[i].size = 0;
			continue;
		}
		piece[i].size = (uint64_t)(1 + rand() % 40) * UNIT;
		if (hg_arena_take(&a, piece[i].size, UNIT, &piece[i].addr)) {
			piece[i].size = 0;
			continue;
		}
		for (uint64_t u = 0; u < piece[i].size / UNIT; u++)
			cr_assert_eq(taken[piece[i].addr / UNIT - 1 + u]++, 0, "given out twice");
	}
	for (int i = 0; i < NR; i++)
		if (piece[i].size)
			hg_arena_give(&a, piece[i].addr, piece[i].size);
	cr_assert_eq(hg_arena_take(&a, SPACE, UNIT, &whole), HG_OK);
	cr_assert_eq(whole, UNIT);
	hg_arena_fini(&a);
}
