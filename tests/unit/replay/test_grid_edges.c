/* test_grid_edges.c - the CPU target at its edges: incomplete warps, halves, every atomic, blocks that wait, compiling. */
#define _GNU_SOURCE
#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/replay/kernel_test.h"
#include "translate/cache.h"

#define HEAD "ld.param.u64 %rd8, [p]; ld.param.u32 %r8, [n];\n" \
	"mov.u32 %r7, %ctaid.x; mov.u32 %r6, %ntid.x; mov.u32 %r5, %tid.x; mad.lo.u32 %r7, %r7, %r6, %r5;\n" \
	"mul.wide.u32 %rd7, %r7, 4; add.u64 %rd7, %rd8, %rd7;\n"

struct params { void *p; uint32_t n; };

static uint32_t word[1 << 16];

static void run_words(const char *ptx, uint32_t grid, uint32_t block, uint32_t n)
{
	struct params params = { word, n };
	struct kernel_run r = { .grid = { grid }, .block = { block }, .params = &params, .data = word, .size = sizeof(word) };

	run_all_ways(ptx, &r);
}

/* Neighbours through shared memory, a count of the block by barrier, and the warp's lanes. */
Test(edges, incomplete_warps_count_as_whole_ones_at_barriers)
{
	static const uint32_t shape[] = { 1, 2, 31, 32, 33, 63, 65, 96, 1000, 1023, 1024 };

	for (size_t s = 0; s < sizeof(shape) / sizeof(shape[0]); s++) {
		uint32_t n = shape[s];

		memset(word, 0, sizeof(word));
		run_words(KERNEL(".shared .align 4 .b32 s[1024];\n" HEAD
				 "shl.b32 %r1, %r5, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; mul.lo.u32 %r3, %r7, 3; st.shared.u32 [%r1], %r3;\n"
				 "bar.sync 0;\n"
				 "sub.u32 %r3, %r6, 1; sub.u32 %r3, %r3, %r5; shl.b32 %r3, %r3, 2; add.u32 %r3, %r3, %r2; ld.shared.u32 %r4, [%r3];\n"
				 "and.b32 %r1, %r5, 1; setp.eq.u32 %p1, %r1, 1; bar.red.popc.u32 %r3, 1, %p1;\n"
				 "mad.lo.u32 %r4, %r3, 100000, %r4; st.global.u32 [%rd7], %r4;\n"
				 "activemask.b32 %r1; st.global.u32 [%rd7+65536], %r1; ret;"), 3, n, 0);
		for (uint32_t b = 0; b < 3; b++)
			for (uint32_t t = 0; t < n; t++) {
				uint32_t lanes = n - t / 32 * 32;

				cr_assert_eq(word[b * n + t], n / 2 * 100000 + 3 * (b * n + n - 1 - t), "thread %u of %u", t, n);
				cr_assert_eq(word[16384 + b * n + t], lanes >= 32 ? UINT32_MAX : (UINT32_C(1) << lanes) - 1);
			}
		cr_assert_eq(word[3 * n], 0);
	}
}

/* A block runs as one call while its warps agree; here they do not: one ends first, two meet apart, the last takes a longer way. */
Test(edges, warps_of_a_block_go_different_ways)
{
	memset(word, 0, sizeof(word));
	run_words(KERNEL(".shared .align 4 .b32 s[192];\n" HEAD
			 "shr.u32 %r8, %r5, 5; setp.eq.u32 %p1, %r8, 3; @%p1 bra DONE;\n"
			 "mov.u32 %r2, s; shl.b32 %r1, %r5, 2; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %r7; bar.sync 0;\n"
			 "and.b32 %r3, %r8, 1; setp.eq.u32 %p2, %r3, 0; @%p2 bra EVEN; bar.sync 1, 64;\n"
			 "EVEN: setp.ne.u32 %p3, %r8, 4; @%p3 bra JOIN; mov.u32 %r3, 0; L: add.u32 %r3, %r3, 1; setp.lt.u32 %p3, %r3, %r5; @%p3 bra L;\n"
			 "JOIN: bar.sync 0; add.u32 %r4, %r5, 32; setp.lt.u32 %p1, %r4, 192; @%p1 bra IN; sub.u32 %r4, %r4, 192;\n"
			 "IN: shl.b32 %r4, %r4, 2; add.u32 %r4, %r4, %r2; ld.shared.u32 %r1, [%r4]; add.u32 %r1, %r1, 1; st.global.u32 [%rd7], %r1;\n"
			 "DONE: ret;"), 3, 192, 0);
	for (uint32_t b = 0; b < 3; b++)
		for (uint32_t t = 0; t < 192; t++) {
			uint32_t from = (t + 32) % 192;

			cr_assert_eq(word[b * 192 + t], t / 32 == 3 ? 0 : from / 32 == 3 ? 1 : b * 192 + from + 1, "thread %u", t);
		}
}

/* Addresses that follow the thread's index: by rows, upwards and downwards, past the ends of 32 bits where lanes are off, in blocks of many shapes. */
Test(edges, addresses_follow_the_index_of_the_thread, .timeout = 60)
{
	static const uint32_t shape[][3] = { { 32, 4, 1 }, { 16, 8, 1 }, { 16, 3, 1 }, { 16, 3, 2 }, { 16, 1, 5 }, { 8, 8, 2 }, { 24, 3, 1 },
					     { 33, 2, 2 }, { 96, 1, 1 }, { 50, 1, 1 }, { 1, 40, 1 }, { 64, 2, 2 } };

	for (size_t s = 0; s < sizeof(shape) / sizeof(shape[0]); s++) {
		struct params params = { word, 3 };
		struct kernel_run r = { .grid = { 2 }, .block = { shape[s][0], shape[s][1], shape[s][2] }, .params = &params, .data = word,
					.size = sizeof(word) };
		uint32_t w = shape[s][0], h = shape[s][1], d = shape[s][2], n = w * h * d;

		for (uint32_t i = 0; i < 1 << 14; i++)
			word[i] = i * 2654435761u;
		run_all_ways(KERNEL(".shared .align 4 .b32 s[1024]; .reg .b32 %q<10>;\n" HEAD
			"mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ntid.y; mad.lo.u32 %r2, %r2, %r3, %r1; mad.lo.u32 %r2, %r2, %r6, %r5;\n"
			/* word[8192 + thread] = word[x * 4 + y * n] + word[y] + word[x], n a parameter */
			"ld.param.u64 %rd1, [p]; mov.u32 %q9, %ctaid.x; shl.b32 %q9, %q9, 10; add.s32 %q9, %q9, %r2; mul.wide.s32 %rd2, %q9, 4; add.s64 %rd2, %rd1, %rd2;\n"
			"mul.lo.s32 %r3, %r1, %r8; shl.b32 %r4, %r5, 2; add.s32 %r3, %r3, %r4; mul.wide.s32 %rd3, %r3, 4; add.s64 %rd3, %rd1, %rd3; ld.global.u32 %r4, [%rd3];\n"
			"mul.wide.u32 %rd3, %r1, 4; add.s64 %rd3, %rd1, %rd3; ld.global.u32 %r3, [%rd3]; add.u32 %r4, %r4, %r3;\n"
			"mul.wide.u32 %rd3, %r5, 4; add.s64 %rd3, %rd3, %rd1; ld.global.u32 %r3, [%rd3]; add.u32 %r4, %r4, %r3; st.global.u32 [%rd2+32768], %r4;\n"
			/* downwards, and at x - 3 as an unsigned number, for x >= 3 */
			"mov.u32 %r3, 200; sub.u32 %r3, %r3, %r5; mul.wide.s32 %rd3, %r3, 4; add.s64 %rd3, %rd1, %rd3; ld.global.u32 %r4, [%rd3]; st.global.u32 [%rd2+40960], %r4;\n"
			"sub.u32 %r3, %r5, 3; cvt.u64.u32 %rd3, %r3; shl.b64 %rd3, %rd3, 2; add.s64 %rd3, %rd1, %rd3; setp.ge.u32 %p1, %r5, 3; mov.u32 %r4, 7;\n"
			"@%p1 ld.global.u32 %r4, [%rd3]; st.global.u32 [%rd2+49152], %r4;\n"
			/* the left neighbour in shared memory, where there is one; across a barrier */
			"mov.u32 %r3, s; shl.b32 %r4, %r2, 2; add.u32 %r3, %r3, %r4; st.shared.u32 [%r3], %q9; bar.sync 0; mov.u32 %r4, 9; setp.ne.u32 %p2, %r2, 0;\n"
			"@%p2 ld.shared.u32 %r4, [%r3+-4]; st.global.u32 [%rd2+57344], %r4; ret;"), &r);
		for (uint32_t b = 0; b < 2; b++)
			for (uint32_t t = 0; t < n; t++) {
				uint32_t x = t % w, y = t / w % h, *out = word + 8192 + b * 1024 + t;

				cr_assert_eq(out[0], (y * 3 + x * 4 + y + x) * 2654435761u, "thread %u of %u x %u x %u", t, w, h, d);
				cr_assert_eq(out[2048], (200 - x) * 2654435761u, "thread %u of %u x %u x %u, downwards", t, w, h, d);
				cr_assert_eq(out[4096], x < 3 ? 7 : (x - 3) * 2654435761u, "thread %u of %u x %u x %u, unsigned", t, w, h, d);
				cr_assert_eq(out[6144], t ? b * 1024 + t - 1 : 9, "thread %u of %u x %u x %u, shared", t, w, h, d);
			}
	}
}

/* Loads by one register that lanes have loaded or that is apart in each: four together, pairs, some alone, with a store between them. */
Test(edges, loads_side_by_side_in_each_lane, .timeout = 60)
{
	for (uint32_t i = 0; i < 1 << 14; i++)
		word[i] = i * 2654435761u >> 8;
	for (uint32_t i = 0; i < 4096; i++)
		word[16384 + i] = i * 40503 % 4096;
	run_words(KERNEL(".reg .b32 %q<20>;\n" HEAD
			 "setp.ge.u32 %p1, %r7, %r8; @%p1 bra DONE;\n"
			 "ld.global.u32 %r1, [%rd7+65536]; mul.wide.u32 %rd1, %r1, 4; add.s64 %rd1, %rd8, %rd1;\n"
			 "ld.global.u32 %q0, [%rd1+8]; ld.global.u32 %q1, [%rd1]; ld.global.u32 %q2, [%rd1+12]; ld.global.u32 %q3, [%rd1+4]; ld.global.u32 %q4, [%rd1+4];\n"
			 "ld.global.u32 %q5, [%rd1+20]; ld.global.u32 %q6, [%rd1+16]; ld.global.v2.u32 {%q7, %q8}, [%rd8]; ld.global.u32 %q9, [%rd1+40];\n"
			 "mad.lo.u32 %q0, %q0, 3, %q1; mad.lo.u32 %q0, %q0, 3, %q2; mad.lo.u32 %q0, %q0, 3, %q3; mad.lo.u32 %q0, %q0, 3, %q4; mad.lo.u32 %q0, %q0, 3, %q5;\n"
			 "mad.lo.u32 %q0, %q0, 3, %q6; mad.lo.u32 %q0, %q0, 3, %q9; add.u32 %q0, %q0, %q8;\n"
			 /* four apart in each thread by its own index; the third is changed between the loads */
			 "mul.wide.u32 %rd2, %r7, 16; add.s64 %rd2, %rd8, %rd2; ld.global.u32 %q1, [%rd2+98304]; ld.global.u32 %q2, [%rd2+98308]; st.global.u32 [%rd2+98312], %q0;\n"
			 "ld.global.u32 %q3, [%rd2+98312]; ld.global.u32 %q4, [%rd2+98316]; add.u32 %q3, %q3, %q1; add.u32 %q3, %q3, %q2; add.u32 %q3, %q3, %q4; st.global.u32 [%rd2+98316], %q3;\n"
			 /* vectors of four, two and two, apart */
			 "and.b32 %r2, %r1, 0xffc; mul.wide.u32 %rd3, %r2, 4; add.s64 %rd3, %rd8, %rd3; ld.global.v4.u32 {%q5, %q6, %q7, %q8}, [%rd3];\n"
			 "ld.global.v2.u32 {%q9, %q10}, [%rd3+8]; ld.global.v2.u64 {%rd4, %rd5}, [%rd3]; cvt.u32.u64 %q11, %rd5; mad.lo.u32 %q5, %q5, 5, %q6; mad.lo.u32 %q5, %q5, 5, %q7;\n"
			 "mad.lo.u32 %q5, %q5, 5, %q8; mad.lo.u32 %q5, %q5, 5, %q9; mad.lo.u32 %q5, %q5, 5, %q10; add.u32 %q5, %q5, %q11; st.global.u32 [%rd7+81920], %q5; DONE: ret;"),
		  8, 128, 1001);
	for (uint32_t t = 0; t < 1001; t++) {
		static const uint32_t at[] = { 2, 0, 3, 1, 1, 5, 4, 10 };
		const uint32_t *p = word + word[16384 + t], *v = word + (word[16384 + t] & 0xffc);
		uint32_t want = 0;

		for (int i = 0; i < 8; i++)
			want = want * 3 + p[at[i]];
		want += word[1];
		cr_assert_eq(word[24576 + 4 * t + 2], want, "thread %u", t);
		cr_assert_eq(word[24576 + 4 * t + 3], want, "thread %u after its store", t);
		want = ((((v[0] * 5 + v[1]) * 5 + v[2]) * 5 + v[3]) * 5 + v[2]) * 5 + v[3] + v[2];
		cr_assert_eq(word[20480 + t], want, "thread %u's vectors", t);
	}
	cr_assert_eq(word[24576 + 4 * 1001 + 2], 0);
}

/* Loads that may come before others: by registers that stay, that are written in between, that the load itself writes. */
Test(edges, loads_whose_addresses_are_known_go_ahead, .timeout = 60)
{
	for (uint32_t i = 0; i < 1 << 14; i++)
		word[i] = i * 2654435761u >> 8;
	for (uint32_t i = 0; i < 4096; i++)
		word[16384 + i] = i * 40503 % 4096;
	run_words(KERNEL(".reg .b32 %q<9>;\n" HEAD
			 "setp.ge.u32 %p1, %r7, %r8; @%p1 bra DONE;\n"
			 "ld.global.u32 %r1, [%rd7+65536]; and.b32 %r1, %r1, -2; mul.wide.u32 %rd1, %r1, 4; add.s64 %rd1, %rd8, %rd1; add.s64 %rd2, %rd1, 400; add.s64 %rd3, %rd1, 1200; bra NEXT;\n"
			 /* q0 is read before its second load, rd2 changes, rd3 is loaded itself, q3 is loaded only where the index is odd */
			 "NEXT: and.b32 %r2, %r7, 1; setp.ne.u32 %p2, %r2, 0; mov.u32 %q0, 5; mov.u32 %q3, 1; ld.global.u32 %q1, [%rd1]; add.u32 %q1, %q1, %q0;\n"
			 "ld.global.u32 %q0, [%rd2]; add.s64 %rd2, %rd2, 40; ld.global.u32 %q2, [%rd2]; @%p2 ld.global.u32 %q3, [%rd1+8]; ld.global.u64 %rd3, [%rd3];\n"
			 "and.b64 %rd3, %rd3, 0xffc; add.s64 %rd3, %rd8, %rd3; ld.global.u32 %q4, [%rd3]; st.global.u32 [%rd7+98304], %q4; ld.global.u32 %q5, [%rd7+98304];\n"
			 "mad.lo.u32 %q0, %q0, 3, %q1; mad.lo.u32 %q0, %q0, 3, %q2; mad.lo.u32 %q0, %q0, 3, %q3; mad.lo.u32 %q0, %q0, 3, %q4; mad.lo.u32 %q0, %q0, 3, %q5;\n"
			 "st.global.u32 [%rd7+81920], %q0; DONE: ret;"),
		  8, 128, 1001);
	for (uint32_t t = 0; t < 1001; t++) {
		uint32_t at = word[16384 + t] & ~1u, *p = word + at, third = word[(p[300] & 0xffc) / 4];
		uint32_t want = (((p[100] * 3 + p[0] + 5) * 3 + p[110]) * 3 + (t & 1 ? p[2] : 1)) * 3 + third;

		cr_assert_eq(word[20480 + t], want * 3 + third, "thread %u", t);
	}
}

/* Shared memory read by groups of lanes at one address, in any order: within 128 bytes of lane 0's, beyond, before, and before all of it. */
Test(edges, lanes_share_addresses_in_shared_memory, .timeout = 60)
{
	for (uint32_t n = 40; n <= 128; n += 44) {
		for (uint32_t i = 0; i < 1 << 14; i++)
			word[i] = i * 2654435761u;
		run_words(KERNEL(".shared .align 16 .b32 s[256]; .reg .b32 %q<20>;\n" HEAD
			"mov.u32 %r1, s; mov.u32 %q0, %r5;\n"
			"FILL: mul.wide.u32 %rd1, %q0, 4; add.s64 %rd1, %rd8, %rd1; ld.global.u32 %r2, [%rd1]; shl.b32 %q1, %q0, 2; add.u32 %q1, %r1, %q1;\n"
			"st.shared.u32 [%q1], %r2; add.u32 %q0, %q0, %r6; setp.lt.u32 %p1, %q0, 256; @%p1 bra FILL; bar.sync 0;\n"
			/* words (x & 3) + (x >> 3 & 1) * 16 and 7 - (x & 7) */
			"and.b32 %q0, %r5, 3; shr.u32 %q1, %r5, 3; and.b32 %q1, %q1, 1; mad.lo.u32 %q0, %q1, 16, %q0; mad.lo.u32 %q0, %q0, 4, %r1; ld.shared.u32 %q9, [%q0];\n"
			"and.b32 %q0, %r5, 7; sub.u32 %q1, 7, %q0; mad.lo.u32 %q1, %q1, 4, %r1; ld.shared.u32 %q2, [%q1]; mad.lo.u32 %q9, %q9, 3, %q2;\n"
			/* two and four from (x & 7) * 4 + 8 on, one at (x & 15) * 3 */
			"mad.lo.u32 %q1, %q0, 16, %r1; ld.shared.v2.u32 {%q3, %q4}, [%q1+32]; mad.lo.u32 %q9, %q9, 3, %q3; mad.lo.u32 %q9, %q9, 3, %q4;\n"
			"ld.shared.v4.u32 {%q3, %q4, %q5, %q6}, [%q1+32]; mad.lo.u32 %q9, %q9, 3, %q3; mad.lo.u32 %q9, %q9, 3, %q4; mad.lo.u32 %q9, %q9, 3, %q5;\n"
			"mad.lo.u32 %q9, %q9, 3, %q6; and.b32 %q1, %r5, 15; mad.lo.u32 %q2, %q1, 12, %r1; ld.shared.u32 %q2, [%q2]; mad.lo.u32 %q9, %q9, 3, %q2;\n"
			/* (x & 15) - 1 where there is one; half of the lanes, without lane 0 */
			"mov.u32 %q2, 1; setp.ne.u32 %p2, %q1, 0; mad.lo.u32 %q3, %q1, 4, %r1; @%p2 ld.shared.u32 %q2, [%q3+-4]; mad.lo.u32 %q9, %q9, 3, %q2;\n"
			"mov.u32 %q2, 2; setp.gt.u32 %p3, %q1, 7; @%p3 ld.shared.u32 %q2, [%q3]; mad.lo.u32 %q9, %q9, 3, %q2; st.global.u32 [%rd7+16384], %q9; ret;"),
			2, n, 0);
		for (uint32_t t = 0; t < 2 * n; t++) {
			uint32_t x = t % n, i = (x & 7) * 4 + 8, y = x & 15, want = 0;
			const uint32_t at[] = { (x & 3) + (x >> 3 & 1) * 16, 7 - (x & 7), i, i + 1, i, i + 1, i + 2, i + 3, y * 3 };

			for (int k = 0; k < 9; k++)
				want = want * 3 + at[k] * 2654435761u;
			want = want * 3 + (y ? (y - 1) * 2654435761u : 1);
			want = want * 3 + (y > 7 ? y * 2654435761u : 2);
			cr_assert_eq(word[4096 + t], want, "thread %u of %u", t, n);
		}
	}
}

Test(edges, a_table_of_branches_parts_the_lanes)
{
	memset(word, 0, sizeof(word));
	run_words(KERNEL(HEAD
			 "mov.u32 %r1, 0; mov.u32 %r2, 0; and.b32 %r3, %r7, 3;\n"
			 "AGAIN: T: .branchtargets A, B, C, D;\n"
			 "brx.idx %r3, T;\n"
			 "A: add.u32 %r1, %r1, 1; bra NEXT;\n"
			 "B: add.u32 %r1, %r1, 10; bra NEXT;\n"
			 "C: add.u32 %r1, %r1, 100; bra NEXT;\n"
			 "D: add.u32 %r1, %r1, 1000;\n"
			 "NEXT: add.u32 %r3, %r3, 1; and.b32 %r3, %r3, 3; add.u32 %r2, %r2, 1; and.b32 %r4, %r7, 7; setp.le.u32 %p1, %r2, %r4;\n"
			 "@%p1 bra AGAIN; st.global.u32 [%rd7], %r1; ret;"), 2, 70, 0);
	for (uint32_t t = 0; t < 140; t++) {
		static const uint32_t value[] = { 1, 10, 100, 1000 };
		uint32_t sum = 0;

		for (uint32_t i = 0; i <= (t & 7); i++)
			sum += value[(t + i) & 3];
		cr_assert_eq(word[t], sum, "thread %u", t);
	}
}

/* ---- halves ---- */

typedef __float128 quad;

static const uint16_t halves[] = {
	0, 0x8000, 1, 0x8001, 0x03ff, 0x0400, 0x83ff, 0x3c00, 0xbc00, 0x3c01, 0x3555, 0x4248, 0xc500, 0x5640, 0x7bff, 0xfbff, 0x7c00,
	0xfc00, 0x7e00, 0x7c01, 0x6400, 0x1400, 0x3f80, 0xbf80, 0x3f81, 0x0080, 0x007f, 0x7f7f, 0x4000, 0x3eab,
};
#define NR_HALVES (sizeof(halves) / sizeof(halves[0]))

static quad half_value(uint16_t h, bool bf)
{
	uint32_t u = (uint32_t)h << 16;
	float f;
	_Float16 x;

	if (bf) {
		memcpy(&f, &u, sizeof(f));
		return f;
	}
	memcpy(&x, &h, sizeof(x));
	return x;
}

/* Nearest even, in one step: the midpoint of two neighbours decides. */
static uint16_t half_nearest(quad v, bool bf)
{
	const uint16_t inf = bf ? 0x7f80 : 0x7c00;
	uint16_t sign = __builtin_signbit((double)v) ? 0x8000 : 0, low = 0, high = inf;
	quad a = v < 0 ? -v : v, below, above, middle;

	if (v != v)
		return 0x7fff;
	if (a > half_value((uint16_t)(inf - 1), bf)) {
		/* what would be the next number if the range went on */
		below = half_value((uint16_t)(inf - 1), bf);
		middle = below + (below - half_value((uint16_t)(inf - 2), bf)) / 2;
		return sign | (a >= middle ? inf : inf - 1);
	}
	while (high - low > 1) {
		uint16_t at = (uint16_t)((low + high) / 2);

		if (half_value(at, bf) <= a)
			low = at;
		else
			high = at;
	}
	below = half_value(low, bf);
	if (below == a)
		return sign | low;
	above = half_value((uint16_t)(low + 1), bf);
	middle = (below + above) / 2;
	return sign | (a < middle || (a == middle && !(low & 1)) ? low : low + 1);
}

/* Where a sum needs more bits than there are, off the midpoint on the right side. */
static quad half_exact(char op, quad a, quad b, quad c)
{
	quad p = a * b, s = p + c, t = s - p, err = (p - (s - t)) + (c - t);

	switch (op) {
	case '+': return a + b;
	case '-': return a - b;
	case '*': return a * b;
	default:
		if (s - s == 0 && err != 0)
			s += (s < 0 ? -s : s) * (err > 0 ? 0x1p-112 : -0x1p-112);
		return s;
	}
}

/* Three halves in, one out; the same in both parts of a packed pair. */
static void check_half(const char *insn, char op, bool bf, bool packed)
{
	static uint32_t items[NR_HALVES * NR_HALVES * NR_HALVES][4];
	const uint32_t n = NR_HALVES * NR_HALVES * NR_HALVES;
	struct params params = { items, n };
	struct kernel_run r = { .grid = { (n + 127) / 128 }, .block = { 128 }, .params = &params, .data = items, .size = sizeof(items) };
	char body[1024], ptx[4096];

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t o = 0, d = i; o < 4; o++, d /= NR_HALVES) {
			uint32_t h = o < 3 ? halves[d % NR_HALVES] : 0, up = o < 3 ? halves[(d + o * 7 + 3) % NR_HALVES] : 0;

			items[i][o] = packed ? h | up << 16 : h;
		}
	snprintf(body, sizeof(body), "%s%s%s",
		 "ld.param.u64 %rd8, [p]; ld.param.u32 %r8, [n]; mov.u32 %r7, %ctaid.x; mov.u32 %r6, %ntid.x; mov.u32 %r5, %tid.x;\n"
		 "mad.lo.u32 %r7, %r7, %r6, %r5; setp.ge.u32 %p8, %r7, %r8; @%p8 bra DONE; mul.wide.u32 %rd7, %r7, 16; add.u64 %rd8, %rd8, %rd7;\n"
		 "ld.global.u32 %r1, [%rd8]; ld.global.u32 %r2, [%rd8+4]; ld.global.u32 %r3, [%rd8+8];\n"
		 "ld.global.u16 %h1, [%rd8]; ld.global.u16 %h2, [%rd8+4]; ld.global.u16 %h3, [%rd8+8];\n", insn,
		 packed ? "\nst.global.u32 [%rd8+12], %r4; DONE: ret;" : "\nst.global.u16 [%rd8+12], %h4; DONE: ret;");
	run_all_ways(kernel_around("", body, "", ptx, sizeof(ptx)), &r);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t p = 0; p < (packed ? 32 : 16); p += 16) {
			uint16_t x[4];

			for (int o = 0; o < 4; o++)
				x[o] = (uint16_t)(items[i][o] >> p);
			cr_assert_eq(x[3], half_nearest(half_exact(op, half_value(x[0], bf), half_value(x[1], bf), half_value(x[2], bf)), bf),
				     "%s of %x %x %x gave %x", insn, x[0], x[1], x[2], x[3]);
		}
}

Test(edges, half_arithmetic_rounds_once, .timeout = 120)
{
	check_half("add.f16 %h4, %h1, %h2;", '+', false, false);
	check_half("mul.f16 %h4, %h1, %h2;", '*', false, false);
	check_half("fma.rn.f16 %h4, %h1, %h2, %h3;", 'f', false, false);
	check_half("sub.f16x2 %r4, %r1, %r2;", '-', false, true);
	check_half("fma.rn.f16x2 %r4, %r1, %r2, %r3;", 'f', false, true);
	check_half("fma.rn.bf16 %h4, %h1, %h2, %h3;", 'f', true, false);
	check_half("fma.rn.bf16x2 %r4, %r1, %r2, %r3;", 'f', true, true);
}

/* ---- atomics ---- */

struct atomic_case {
	const char *insn;
	uint64_t first, operand;	/* the operand is this times (1 + lane % 5) */
	uint64_t want;
	bool is_64;
};

Test(edges, every_atomic_of_lanes_at_one_address)
{
	static const struct atomic_case c[] = {
		{ "atom.global.add.u32 %r2, [%rd8], %r1;", 7, 3, 7 + 3 * 93, false },
		{ "atom.global.min.s32 %r2, [%rd8], %r1;", 7, 0xfffffff0, 0xffffffb0, false },
		{ "atom.global.min.u32 %r2, [%rd8], %r1;", 700, 9, 9, false },
		{ "atom.global.max.s32 %r2, [%rd8], %r1;", 0x80000000, 9, 45, false },
		{ "atom.global.max.u32 %r2, [%rd8], %r1;", 0x80000000, 9, 0x80000000, false },
		{ "atom.global.and.b32 %r2, [%rd8], %r1;", 0xff, 12, 0, false },
		{ "atom.global.or.b32 %r2, [%rd8], %r1;", 0x100, 1, 0x107, false },
		{ "atom.global.inc.u32 %r2, [%rd8], 6;", 0, 1, 32 % 7, false },
		{ "atom.global.dec.u32 %r2, [%rd8], 6;", 0, 1, (7 - 32 % 7) % 7, false },
		{ "atom.global.add.u64 %rd2, [%rd8], %rd1;", UINT64_C(0xffffffff), 3, UINT64_C(0xffffffff) + 3 * 93, true },
		{ "atom.global.max.s64 %rd2, [%rd8], %rd1;", UINT64_C(1) << 63, 3, 15, true },
		{ "cvt.rn.f32.u32 %f1, %r1; atom.global.add.f32 %f2, [%rd8], %f1;", 0x3f800000, 1, 0x42bc0000, false },
		{ "cvt.rn.f64.u32 %fd1, %r1; atom.global.add.f64 %fd2, [%rd8], %fd1;", 0, 1, UINT64_C(0x4057400000000000), true },
	};

	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		char body[1024], ptx[4096], code[512];
		uint64_t got = 0;

		memset(word, 0, sizeof(word));
		memcpy(word, &c[i].first, 8);
		snprintf(code, sizeof(code), "rem.u32 %%r4, %%r5, 5; add.u32 %%r4, %%r4, 1; mov.u64 %%rd1, %llu; cvt.u64.u32 %%rd2, %%r4;\n"
			 "mul.lo.u64 %%rd1, %%rd1, %%rd2; cvt.u32.u64 %%r1, %%rd1; %s ret;", (unsigned long long)c[i].operand, c[i].insn);
		snprintf(body, sizeof(body), "%s%s", HEAD, code);
		run_words(kernel_around("", body, "", ptx, sizeof(ptx)), 1, 32, 0);
		memcpy(&got, word, c[i].is_64 ? 8 : 4);
		cr_assert_eq(got, c[i].want, "%s gave %llx, not %llx", c[i].insn, (unsigned long long)got, (unsigned long long)c[i].want);
	}
}

/* ---- blocks that wait ---- */

/* Each block waits for the one before it: a chain of 5000, of which only a bounded number is in memory at once. */
Test(edges, a_long_chain_of_blocks_that_wait_for_the_one_before, .timeout = 120)
{
	memset(word, 0, sizeof(word));
	run_words(KERNEL(HEAD
			 "mov.u32 %r1, %ctaid.x; setp.ne.u32 %p1, %r5, 0; @%p1 bra DONE; mul.wide.u32 %rd1, %r1, 4; add.u64 %rd1, %rd8, %rd1;\n"
			 "mov.u32 %r2, 1; setp.eq.u32 %p2, %r1, 0; @%p2 bra FIRST;\n"
			 "WAIT: ld.acquire.gpu.global.u32 %r2, [%rd1+-4]; setp.eq.u32 %p3, %r2, 0; @%p3 bra WAIT; add.u32 %r2, %r2, 3;\n"
			 "FIRST: st.release.gpu.global.u32 [%rd1], %r2; DONE: ret;"), 5000, 64, 0);
	for (uint32_t b = 0; b < 5000; b++)
		cr_assert_eq(word[b], 1 + 3 * b);
}

/* …and here the first 300 wait for the last. */
Test(edges, many_blocks_that_wait_for_the_last, .timeout = 60)
{
	memset(word, 0, sizeof(word));
	run_words(KERNEL(HEAD
			 "mov.u32 %r1, %ctaid.x; setp.eq.u32 %p1, %r1, 300; @%p1 bra LAST;\n"
			 "WAIT: ld.volatile.global.u32 %r2, [%rd8+131072]; setp.eq.u32 %p3, %r2, 0; @%p3 bra WAIT;\n"
			 "st.global.u32 [%rd7], %r2; ret;\n"
			 "LAST: mov.u32 %r2, 9; st.volatile.global.u32 [%rd8+131072], %r2; ret;"), 301, 32, 0);
	for (uint32_t t = 0; t < 300 * 32; t++)
		cr_assert_eq(word[t], 9);
}

/* ---- compiling ---- */

#define SIMPLE KERNEL(HEAD "st.global.u32 [%rd7], %r7; ret;")

Test(edges, a_module_may_go_while_it_is_compiled)
{
	setenv("HGSHIM_CACHE", "0", 1);
	for (int i = 0; i < 20; i++) {
		struct hg_module *m;
		struct hg_cpu_module *cm;

		kernel_of(SIMPLE, &m, &cm);
		hg_cpu_module_destroy(cm);
		hg_module_free(m);
	}
}

/* The child has no background thread: what was queued never comes, and nothing waits for it. */
Test(edges, a_forked_child_does_not_wait_for_the_compiler, .timeout = 30)
{
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	int status;
	pid_t pid;

	setenv("HGSHIM_CACHE", "0", 1);
	k = kernel_of(SIMPLE, &m, &cm);
	pid = fork();
	if (!pid) {
		alarm(10);
		catch_messages();
		hg_cpu_kernel_wait(k);
		/* what is compiled stays, nothing is compiled any more */
		if (hg_cpu_kernel_get(cm, 0, &k) != HG_OK || hg_cpu_kernel_free_entry(k))
			_exit(1);
		hg_cpu_module_destroy(cm);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x", status);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
}

Test(edges, a_kernel_that_is_none_is_told)
{
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k = kernel_of(SIMPLE, &m, &cm);

	cr_assert_eq(hg_cpu_kernel_get(cm, 7, &k), HG_ERR_NOTFOUND);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
}

/* ---- the cache ---- */

static uint64_t folder_bytes(const char *dir, size_t *nr)
{
	DIR *d = opendir(dir);
	uint64_t bytes = 0;

	*nr = 0;
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		char path[600];
		struct stat s;

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] == '.' || stat(path, &s))
			continue;
		bytes += (uint64_t)s.st_size;
		(*nr)++;
	}
	closedir(d);
	return bytes;
}

static void remove_folder(const char *dir)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

Test(edges, the_cache_keeps_to_its_bound_and_drops_what_was_used_longest_ago)
{
	char dir[] = "/tmp/hgshim-cache-XXXXXX";
	unsigned char key[16] = { 0 }, data[10000];
	void *got;
	size_t size, nr;

	cr_assert(mkdtemp(dir));
	setenv("HGSHIM_CACHE", dir, 1);
	setenv("HGSHIM_CACHE_MAX", "64K", 1);
	for (int i = 0; i < 20; i++) {
		key[0] = (unsigned char)i;
		memset(data, i, sizeof(data));
		hg_cache_put(key, data, sizeof(data));
		usleep(2000);
		key[0] = 0;
		cr_assert(hg_cache_get(key, &got, &size), "the entry in use went after %d", i);
		cr_assert_eq(size, sizeof(data));
		cr_assert_eq(((unsigned char *)got)[5], 0);
		free(got);
		usleep(2000);
	}
	cr_assert_leq(folder_bytes(dir, &nr), 64 << 10);
	cr_assert_eq(nr, 6);
	key[0] = 3;
	cr_assert_not(hg_cache_get(key, &got, &size));
	remove_folder(dir);
}

Test(edges, two_processes_share_the_cache, .timeout = 60)
{
	char dir[] = "/tmp/hgshim-cache-XXXXXX";
	pid_t pid[2];
	size_t nr;

	cr_assert(mkdtemp(dir));
	setenv("HGSHIM_CACHE", dir, 1);
	for (int p = 0; p < 2; p++) {
		pid[p] = fork();
		if (pid[p])
			continue;
		alarm(30);
		for (int i = 0; i < 400; i++) {
			unsigned char key[16] = { (unsigned char)(i % 7) }, data[5000];
			void *got;
			size_t size;

			memset(data, i % 7, sizeof(data));
			hg_cache_put(key, data, sizeof(data));
			if (!hg_cache_get(key, &got, &size) || size != sizeof(data) || memcmp(got, data, size))
				_exit(1);
			free(got);
		}
		_exit(0);
	}
	for (int p = 0; p < 2; p++) {
		int status;

		waitpid(pid[p], &status, 0);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	folder_bytes(dir, &nr);
	cr_assert_eq(nr, 7);
	remove_folder(dir);
}
