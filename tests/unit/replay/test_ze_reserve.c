/* test_ze_reserve.c - addresses of device memory, on a driver that reserves as Intel's does: somewhat more than it is asked for. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <sys/mman.h>

#include "common/arena.h"
#include "replay/reserve.h"
#include "replay/ze.h"

#define UNIT HG_ARENA_GRANULE
#define ELSEWHERE UINT64_C(0x510000000000)

static unsigned int nr_reservations;

static ze_result_t ZE_APICALL reserve(ze_context_handle_t context, const void *start, size_t size, void **out)
{
	void *p = mmap((void *)start, size + UNIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)context;
	if (p == MAP_FAILED)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	nr_reservations++;
	*out = p;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t ZE_APICALL give_back(ze_context_handle_t context, const void *start, size_t size)
{
	(void)context;
	nr_reservations--;
	return munmap((void *)start, size + UNIT) ? ZE_RESULT_ERROR_INVALID_ARGUMENT : ZE_RESULT_SUCCESS;
}

static struct hg_target target;

static void use_driver(void)
{
	hg_ze.zeVirtualMemReserve = reserve;
	hg_ze.zeVirtualMemFree = give_back;
	pthread_mutex_init(&target.map_lock, NULL);
	target.arena = HG_ARENA_BASE;
}

static bool is_free(uint64_t addr)
{
	void *p = mmap((void *)addr, UNIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != MAP_FAILED)
		munmap(p, UNIT);
	return p == (void *)addr;
}

static void hold(uint64_t addr, uint64_t size)
{
	cr_assert_eq(mmap((void *)addr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0), (void *)addr);
}

/* All of the range, in one reservation. */
static bool is_reserved(uint64_t addr, uint64_t size)
{
	struct hg_iv iv;

	return hg_ivmap_find(&target.reserved, addr, &iv) && addr + size <= iv.start + iv.size;
}

TestSuite(ze_reserve, .init = use_driver);

Test(ze_reserve, ranges_that_are_known_ahead_are_reserved_whole)
{
	const struct hg_held range[] = { { HG_ARENA_BASE + UNIT, HG_ARENA_BASE + 3 * UNIT }, { HG_ARENA_BASE + 9 * UNIT, HG_ARENA_BASE + 10 * UNIT },
					 { ELSEWHERE, ELSEWHERE + 4 * UNIT } };

	for (size_t i = 0; i < 3; i++)
		hold(range[i].start, range[i].end - range[i].start);
	cr_assert_eq(ze_reserve(&target, range, 3), HG_OK);
	/* in the arena there is room for what the program allocates next; the arena of host memory begins behind it */
	cr_expect(is_reserved(HG_ARENA_BASE + UNIT, 16 * UNIT));
	cr_expect(is_free(HG_ARENA_BASE + HG_ARENA_SIZE));
	cr_expect(is_reserved(ELSEWHERE, 4 * UNIT));
	cr_expect_eq(nr_reservations, 2);
	cr_assert_eq(ze_reserve(&target, range + 1, 1), HG_OK);
	cr_expect_eq(nr_reservations, 2);
}

Test(ze_reserve, an_arena_that_is_not_free_leaves_room_as_well)
{
	const struct hg_held range = { HG_ARENA_BASE + UNIT, HG_ARENA_BASE + 3 * UNIT };

	hold(HG_ARENA_BASE + HG_ARENA_SIZE / 2, UNIT);
	hold(range.start, range.end - range.start);
	cr_assert_eq(ze_reserve(&target, &range, 1), HG_OK);
	cr_expect(is_reserved(range.start, 16 * UNIT));
	cr_expect_eq(nr_reservations, 1);
}

Test(ze_reserve, what_is_in_the_way_is_found_and_addresses_that_were_held_still_are)
{
	const struct hg_held range[] = { { ELSEWHERE, ELSEWHERE + 2 * UNIT }, { ELSEWHERE + 8 * UNIT, ELSEWHERE + 9 * UNIT },
					 { ELSEWHERE + 16 * UNIT, ELSEWHERE + 17 * UNIT } };

	hold(ELSEWHERE + 9 * UNIT, UNIT);
	for (size_t i = 0; i < 3; i++)
		hold(range[i].start, range[i].end - range[i].start);
	cr_expect_eq(ze_reserve(&target, range, 3), HG_ERR_NOSPC);
	for (size_t i = 0; i < 3; i++)
		cr_expect_not(is_free(range[i].start), "range %zu", i);
	cr_expect_eq(nr_reservations, 1);
}
