/* grid_cases.h - what grids, blocks and warps must do on any executor: the CPU target's, and the doubles'. */
#ifndef TESTS_UNIT_GRID_CASES_H
#define TESTS_UNIT_GRID_CASES_H

/*
 * Included by one file of each suite, after its own kernel_run, with GRID_SUITE, the name of the suite, and GRID_RUN, the
 * function that runs a kernel in all of the suite's ways.
 */
#define GRID_TEST_(suite, name) Test(suite, name)
#define GRID_TEST(name) GRID_TEST_(GRID_SUITE, name)

/* %rd8: the buffer, %r8: n, %r7: the thread in the grid, %rd7: its word of the buffer. */
#define HEAD "ld.param.u64 %rd8, [p]; ld.param.u32 %r8, [n];\n" \
	"mov.u32 %r7, %ctaid.x; mov.u32 %r6, %ntid.x; mov.u32 %r5, %tid.x; mad.lo.u32 %r7, %r7, %r6, %r5;\n" \
	"mul.wide.u32 %rd7, %r7, 4; add.u64 %rd7, %rd8, %rd7;\n"

struct params { void *p; uint32_t n; };

static uint32_t word[1 << 16];

static void run(const char *ptx, uint32_t grid, uint32_t block, uint32_t n)
{
	struct params params = { word, n };
	struct kernel_run r = { .grid = { grid }, .block = { block }, .params = &params, .data = word, .size = sizeof(word) };

	GRID_RUN(ptx, &r);
}

GRID_TEST(threads_that_leave_early_and_a_break_out_of_two_loops)
{
	/* for i < 10: for j < 10: if i * j == t % 29: out; odd threads leave at j == 7 */
	run(KERNEL(HEAD
		   "rem.u32 %r1, %r7, 29; mov.u32 %r2, 0; and.b32 %r6, %r7, 1; setp.ne.u32 %p4, %r6, 0;\n"
		   "I: mov.u32 %r3, 0;\n"
		   "J: mul.lo.u32 %r4, %r2, %r3; setp.eq.u32 %p1, %r4, %r1; @%p1 bra OUT;\n"
		   "setp.eq.and.u32 %p2, %r3, 7, %p4; @%p2 exit;\n"
		   "add.u32 %r3, %r3, 1; setp.lt.u32 %p3, %r3, 10; @%p3 bra J;\n"
		   "add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r2, 10; @%p3 bra I;\n"
		   "mov.u32 %r2, 99; mov.u32 %r3, 99;\n"
		   "OUT: mad.lo.u32 %r4, %r2, 100, %r3; add.u32 %r4, %r4, 1; st.global.u32 [%rd7], %r4; ret;"), 4, 96, 0);
	for (uint32_t t = 0; t < 384; t++) {
		uint32_t want = 10000;

		for (uint32_t i = 0; i < 10 && want == 10000; i++)
			for (uint32_t j = 0; j < 10; j++) {
				if (i * j == t % 29) {
					want = i * 100 + j + 1;
					break;
				}
				if (j == 7 && t & 1) {
					want = 0;
					break;
				}
			}
		cr_assert_eq(word[t], want, "thread %u: %u, not %u", t, word[t], want);
	}
}

GRID_TEST(every_thread_of_a_block_knows_its_place)
{
	struct params params = { word, 0 };
	struct kernel_run r = { .grid = { 3, 2, 2 }, .block = { 5, 3, 4 }, .params = &params, .data = word, .size = sizeof(word) };

	GRID_RUN(KERNEL("ld.param.u64 %rd8, [p];\n"
			    "mov.u32 %r1, %ctaid.z; mov.u32 %r2, %nctaid.y; mov.u32 %r3, %ctaid.y; mad.lo.u32 %r1, %r1, %r2, %r3;\n"
			    "mov.u32 %r2, %nctaid.x; mov.u32 %r3, %ctaid.x; mad.lo.u32 %r1, %r1, %r2, %r3;\n"
			    "mov.u32 %r2, %ntid.z; mov.u32 %r3, %tid.z; mad.lo.u32 %r1, %r1, %r2, %r3;\n"
			    "mov.u32 %r2, %ntid.y; mov.u32 %r3, %tid.y; mad.lo.u32 %r1, %r1, %r2, %r3;\n"
			    "mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.u32 %r1, %r1, %r2, %r3;\n"
			    "mul.wide.u32 %rd1, %r1, 4; add.u64 %rd1, %rd8, %rd1; add.u32 %r1, %r1, 1; st.global.u32 [%rd1], %r1; ret;"), &r);
	for (uint32_t i = 0; i < 12 * 60; i++)
		cr_assert_eq(word[i], i + 1);
	cr_assert_eq(word[12 * 60], 0);
}

GRID_TEST(warp_operations_take_the_lanes_of_their_mask)
{
	/* odd and even lanes vote, match and reduce apart, in two branches */
	run(KERNEL(HEAD
		   "and.b32 %r1, %r5, 1; setp.eq.u32 %p1, %r1, 0; shr.u32 %r2, %r5, 3; setp.gt.u32 %p2, %r5, 9;\n"
		   "@%p1 bra EVEN;\n"
		   "vote.sync.ballot.b32 %r3, %p2, 0xaaaaaaaa; match.any.sync.b32 %r4, %r2, 0xaaaaaaaa;\n"
		   "redux.sync.add.u32 %r6, %r5, 0xaaaaaaaa; bra JOIN;\n"
		   "EVEN: vote.sync.ballot.b32 %r3, %p2, 0x55555555; match.any.sync.b32 %r4, %r2, 0x55555555;\n"
		   "redux.sync.max.u32 %r6, %r5, 0x55555555;\n"
		   "JOIN: st.global.u32 [%rd7], %r3; st.global.u32 [%rd7+4096], %r4; st.global.u32 [%rd7+8192], %r6; ret;"), 1, 32, 0);
	for (uint32_t t = 0; t < 32; t++) {
		uint32_t mine = t & 1 ? 0xaaaaaaaa : 0x55555555;

		cr_assert_eq(word[t], mine & 0xfffffc00, "ballot of lane %u: %x", t, word[t]);
		cr_assert_eq(word[1024 + t], mine & 0xffu << (t / 8 * 8), "match of lane %u: %x", t, word[1024 + t]);
		cr_assert_eq(word[2048 + t], t & 1 ? 256 : 30, "redux of lane %u: %u", t, word[2048 + t]);
	}
}

GRID_TEST(a_shuffle_waits_for_lanes_that_come_another_way)
{
	/* the two halves reach the same shuffle from different branches, one through a longer path */
	run(KERNEL(HEAD
		   "mov.u32 %r1, %r5; setp.lt.u32 %p1, %r5, 16; @%p1 bra LOW;\n"
		   "mov.u32 %r2, 0; L: add.u32 %r1, %r1, 100; add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, %r5; @%p2 bra L;\n"
		   "LOW: xor.b32 %r4, %r5, 16; shfl.sync.idx.b32 %r3, %r1, %r4, 31, 0xffffffff;\n"
		   "st.global.u32 [%rd7], %r3; ret;"), 1, 32, 0);
	for (uint32_t t = 0; t < 32; t++)
		cr_assert_eq(word[t], t < 16 ? t + 16 + 100 * (t + 16) : t - 16);
}

GRID_TEST(every_mode_of_shuffle_with_amounts_of_each_lane)
{
	run(KERNEL(HEAD
		   "mul.lo.u32 %r1, %r5, 7; add.u32 %r2, %r5, 3; and.b32 %r2, %r2, 31;\n"
		   "shfl.sync.up.b32 %r3|%p1, %r1, 3, 0, 0xffffffff; selp.u32 %r4, 1, 0, %p1; st.global.u32 [%rd7], %r3; st.global.u32 [%rd7+128], %r4;\n"
		   "shfl.sync.bfly.b32 %r3, %r1, 5, 31, 0xffffffff; st.global.u32 [%rd7+256], %r3;\n"
		   "shfl.sync.idx.b32 %r3, %r1, %r2, 31, 0xffffffff; st.global.u32 [%rd7+384], %r3;\n"
		   "shfl.sync.down.b32 %r3|%p1, %r1, 2, 0x181f, 0xffffffff; st.global.u32 [%rd7+512], %r3; ret;"), 1, 32, 0);
	for (uint32_t t = 0; t < 32; t++) {
		cr_assert_eq(word[t], 7 * (t >= 3 ? t - 3 : t));
		cr_assert_eq(word[32 + t], t >= 3);
		cr_assert_eq(word[64 + t], 7 * (t ^ 5));
		cr_assert_eq(word[96 + t], 7 * ((t + 3) & 31));
		cr_assert_eq(word[128 + t], 7 * (t % 8 + 2 <= 7 ? t + 2 : t), "segment of lane %u", t);
	}
}

GRID_TEST(barriers_have_numbers_and_counts)
{
	/* warps 0 and 1 meet at barrier 1 (64 threads), warps 2 and 3 at barrier 2; then all */
	run(KERNEL(".shared .align 4 .b32 s[128];\n" HEAD
		   "shl.b32 %r1, %r5, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %r5;\n"
		   "setp.ge.u32 %p1, %r5, 64; @%p1 bra HIGH;\n"
		   "bar.sync 1, 64; bra JOIN;\n"
		   "HIGH: bar.sync 2, 64;\n"
		   "JOIN: xor.b32 %r3, %r5, 32; shl.b32 %r3, %r3, 2; add.u32 %r3, %r3, %r2; ld.shared.u32 %r4, [%r3];\n"
		   "st.global.u32 [%rd7], %r4; bar.sync 0; xor.b32 %r3, %r5, 127; shl.b32 %r3, %r3, 2; add.u32 %r3, %r3, %r2;\n"
		   "ld.shared.u32 %r4, [%r3]; st.global.u32 [%rd7+4096], %r4; ret;"), 1, 128, 0);
	for (uint32_t t = 0; t < 128; t++) {
		cr_assert_eq(word[t], t ^ 32);
		cr_assert_eq(word[1024 + t], t ^ 127);
	}
}

GRID_TEST(barriers_reduce_and_some_only_arrive)
{
	run(KERNEL(".shared .align 4 .b32 s[1];\n" HEAD
		   "and.b32 %r1, %r5, 3; setp.eq.u32 %p1, %r1, 0; barrier.sync 0;\n"
		   "bar.red.popc.u32 %r2, 0, %p1; bar.red.and.pred %p2, 0, %p1; bar.red.or.pred %p3, 0, %p1;\n"
		   "selp.u32 %r3, 10, 0, %p2; selp.u32 %r4, 100, 0, %p3; add.u32 %r2, %r2, %r3; mad.lo.u32 %r2, %r4, 10, %r2; st.global.u32 [%rd7], %r2;\n"
		   "setp.ge.u32 %p4, %r5, 32; mov.u32 %r1, s; @%p4 bra READ;\n"
		   "mov.u32 %r2, 4711; st.shared.u32 [%r1], %r2; bar.arrive 3, 96; bra OUT;\n"
		   "READ: bar.sync 3, 96; ld.shared.u32 %r2, [%r1]; st.global.u32 [%rd7+4096], %r2;\n"
		   "OUT: ret;"), 5, 96, 0);
	for (uint32_t t = 0; t < 480; t++) {
		cr_assert_eq(word[t], 1024, "thread %u: %u", t, word[t]);
		cr_assert_eq(word[1024 + t], t % 96 < 32 ? 0 : 4711);
	}
}

GRID_TEST(a_barrier_only_some_lanes_of_a_warp_reach_together_opens)
{
	/* each half of every warp arrives from its own branch */
	run(KERNEL(".shared .align 4 .b32 s[64];\n" HEAD
		   "shl.b32 %r1, %r5, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; and.b32 %r3, %r5, 16; setp.ne.u32 %p1, %r3, 0; @%p1 bra A;\n"
		   "add.u32 %r4, %r5, 1; st.shared.u32 [%r1], %r4; barrier.sync 0; bra J;\n"
		   "A: add.u32 %r4, %r5, 1000; st.shared.u32 [%r1], %r4; barrier.sync 0;\n"
		   "J: xor.b32 %r3, %r5, 48; shl.b32 %r3, %r3, 2; add.u32 %r3, %r3, %r2; ld.shared.u32 %r4, [%r3]; st.global.u32 [%rd7], %r4; ret;"),
	    2, 64, 0);
	for (uint32_t t = 0; t < 128; t++) {
		uint32_t o = (t & 63) ^ 48;

		cr_assert_eq(word[t], o & 16 ? o + 1000 : o + 1);
	}
}

Test(grid, a_spin_lock_between_lanes_of_a_warp_opens, .timeout = 60)
{
	run(KERNEL(HEAD
		   "LOOP: atom.global.cas.b32 %r1, [%rd8], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra LOOP;\n"
		   "ld.volatile.global.u32 %r2, [%rd8+4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%rd8+4], %r2; membar.gl;\n"
		   "atom.global.exch.b32 %r1, [%rd8], 0; ret;"), 2, 64, 0);
	cr_assert_eq(word[0], 0);
	cr_assert_eq(word[1], 128);
}

Test(grid, a_warp_waits_for_a_flag_that_another_sets, .timeout = 60)
{
	run(KERNEL(".shared .align 4 .b32 flag[1];\n" HEAD
		   "mov.u32 %r1, flag; setp.ne.u32 %p1, %r5, 0; mov.u32 %r2, 0; @!%p1 st.shared.u32 [%r1], %r2; bar.sync 0;\n"
		   "setp.lt.u32 %p2, %r5, 32; @!%p2 bra SET;\n"
		   "WAIT: ld.volatile.shared.u32 %r2, [%r1]; setp.eq.u32 %p3, %r2, 0; @%p3 bra WAIT; bra OUT;\n"
		   "SET: mov.u32 %r2, 77; st.volatile.shared.u32 [%r1], %r2;\n"
		   "OUT: st.global.u32 [%rd7], %r2; ret;"), 3, 64, 0);
	for (uint32_t t = 0; t < 192; t++)
		cr_assert_eq(word[t], 77);
}

Test(grid, what_is_waited_for_may_go_through_local_memory, .timeout = 60)
{
	/* as code for debugging does: every variable lives in memory */
	run(KERNEL(".shared .align 4 .b32 flag[1]; .local .align 8 .b32 var[2];\n" HEAD
		   "mov.u32 %r1, flag; setp.ne.u32 %p1, %r5, 0; mov.u32 %r2, 0; @!%p1 st.shared.u32 [%r1], %r2; bar.sync 0;\n"
		   "mov.u64 %rd1, var; cvta.local.u64 %rd2, %rd1; mov.u64 %rd3, 0;\n"
		   "setp.lt.u32 %p2, %r5, 32; @!%p2 bra SET;\n"
		   "WAIT: ld.volatile.shared.u32 %r2, [%r1]; st.local.u32 [%rd1], %r2; add.u64 %rd4, %rd2, %rd3; ld.u32 %r3, [%rd4];\n"
		   "setp.ne.u32 %p3, %r3, 0; @%p3 bra OUT; bra WAIT;\n"
		   "SET: mov.u32 %r2, 77; st.volatile.shared.u32 [%r1], %r2;\n"
		   "OUT: st.global.u32 [%rd7], %r2; ret;"), 1, 64, 0);
	for (uint32_t t = 0; t < 64; t++)
		cr_assert_eq(word[t], 77);
}

Test(grid, a_block_may_wait_for_a_later_one, .timeout = 60)
{
	/* block b waits for block b + 1; the last one begins */
	run(KERNEL(HEAD
		   "mov.u32 %r1, %ctaid.x; add.u32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, %r8; mul.wide.u32 %rd1, %r1, 4; add.u64 %rd1, %rd8, %rd1;\n"
		   "setp.ne.u32 %p3, %r5, 0; @%p3 bra OUT; mov.u32 %r3, 0; @%p1 bra GO;\n"
		   "WAIT: ld.acquire.gpu.u32 %r3, [%rd1+4]; setp.eq.u32 %p2, %r3, 0; @%p2 bra WAIT;\n"
		   "GO: add.u32 %r3, %r3, 1; st.release.gpu.u32 [%rd1], %r3;\n"
		   "OUT: ret;"), 64, 64, 64);
	for (uint32_t b = 0; b < 64; b++)
		cr_assert_eq(word[b], 64 - b);
}

/* Grid-wide barrier as cooperative groups do it. */
#define GRID_SYNC "mov.u32 %r1, %envreg1; mov.u32 %r2, %envreg2; mov.b64 %rd1, {%r2, %r1};\n" \
	"barrier.sync 0; setp.ne.u32 %p1, %r5, 0; @%p1 bra W1;\n" \
	"mov.u32 %r3, %ctaid.x; setp.eq.u32 %p2, %r3, 0; sub.u32 %r4, %r8, 1; sub.u32 %r4, 0x80000000, %r4; selp.u32 %r4, %r4, 1, %p2;\n" \
	"atom.add.release.gpu.u32 %r6, [%rd1+4], %r4;\n" \
	"SPIN: ld.acquire.gpu.u32 %r4, [%rd1+4]; xor.b32 %r4, %r4, %r6; setp.ge.s32 %p3, %r4, 0; @%p3 bra SPIN;\n" \
	"W1: barrier.sync 0;\n"

Test(grid, a_cooperative_grid_meets, .timeout = 60)
{
	enum { BLOCKS = 40 };
	struct params params = { word, BLOCKS };
	struct kernel_run r = { .grid = { BLOCKS }, .block = { 96 }, .cooperative = true, .params = &params, .data = word,
				.size = sizeof(word) };

	/* each thread writes its number, then reads the one of the mirrored thread */
	GRID_RUN(KERNEL(HEAD "st.global.u32 [%rd7], %r7;\n" GRID_SYNC
			    "mov.u32 %r1, %ntid.x; mul.lo.u32 %r1, %r1, %r8; sub.u32 %r1, %r1, 1; sub.u32 %r1, %r1, %r7;\n"
			    "mul.wide.u32 %rd1, %r1, 4; add.u64 %rd1, %rd8, %rd1; ld.global.u32 %r2, [%rd1]; st.global.u32 [%rd7+65536], %r2; ret;"), &r);
	for (uint32_t t = 0; t < BLOCKS * 96; t++)
		cr_assert_eq(word[16384 + t], BLOCKS * 96 - 1 - t, "thread %u", t);
}

GRID_TEST(atomics_of_all_blocks_add_up)
{
	run(KERNEL(HEAD
		   "atom.global.add.u32 %r1, [%rd8], 1; red.global.add.u32 [%rd8+4], %r7; atom.global.max.s32 %r1, [%rd8+8], %r7;\n"
		   "and.b32 %r2, %r7, 15; mul.wide.u32 %rd1, %r2, 4; add.u64 %rd1, %rd8, %rd1; red.global.add.u32 [%rd1+64], 1;\n"
		   "mov.f32 %f1, 0f3F800000; red.global.add.f32 [%rd8+12], %f1; atom.global.inc.u32 %r1, [%rd8+16], 99; ret;"), 32, 96, 0);
	cr_assert_eq(word[0], 3072);
	cr_assert_eq(word[1], 3071 * 3072 / 2);
	cr_assert_eq(word[2], 3071);
	cr_assert_eq(word[3], 0x45400000);
	cr_assert_eq(word[4], 3072 % 100);
	for (int i = 0; i < 16; i++)
		cr_assert_eq(word[16 + i], 192);
}

GRID_TEST(loads_and_stores_of_every_width_and_pattern)
{
	uint8_t *bytes = (uint8_t *)word;

	for (uint32_t i = 0; i < 65536; i++)
		bytes[i] = (uint8_t)(i * 37 + (i >> 8));
	/* a v4 side by side, bytes with sign, halves backwards, doubles far apart */
	run(KERNEL(HEAD
		   "mul.wide.u32 %rd1, %r7, 16; add.u64 %rd1, %rd8, %rd1; ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];\n"
		   "st.global.v4.u32 [%rd1+65536], {%r4, %r3, %r2, %r1};\n"
		   "cvt.u64.u32 %rd2, %r7; add.u64 %rd2, %rd8, %rd2; ld.global.s8 %r1, [%rd2]; mul.wide.u32 %rd3, %r7, 4; add.u64 %rd3, %rd8, %rd3; st.global.u32 [%rd3+81920], %r1;\n"
		   "sub.u32 %r2, 500, %r7; mul.wide.u32 %rd4, %r2, 2; add.u64 %rd4, %rd8, %rd4; ld.global.u16 %h1, [%rd4];\n"
		   "mul.wide.u32 %rd5, %r7, 2; add.u64 %rd5, %rd8, %rd5; st.global.u16 [%rd5+90112], %h1;\n"
		   "mul.wide.u32 %rd5, %r7, 40; add.u64 %rd5, %rd8, %rd5; ld.global.f64 %fd1, [%rd5+8]; mul.wide.u32 %rd5, %r7, 8; add.u64 %rd5, %rd8, %rd5;\n"
		   "st.global.f64 [%rd5+94208], %fd1; ret;"), 3, 100, 0);
	for (uint32_t t = 0; t < 300; t++) {
		for (int i = 0; i < 4; i++)
			cr_assert_eq(word[16384 + t * 4 + i], word[t * 4 + 3 - i]);
		cr_assert_eq((int32_t)word[20480 + t], (int8_t)bytes[t]);
		cr_assert_eq(((uint16_t *)word)[45056 + t], ((uint16_t *)word)[500 - t]);
		cr_assert_eq(((uint64_t *)word)[11776 + t], ((uint64_t *)word)[t * 5 + 1]);
	}
}

#endif
