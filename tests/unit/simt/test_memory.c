/* test_memory.c - atomics, mbarrier, asynchronous copies and warp reductions: the doubles' executor and the CPU target agree. */
#include "tests/unit/simt/simt_test.h"

#define HEAD "ld.param.u64 %rd8, [p]; ld.param.u32 %r8, [n];\n" \
	"mov.u32 %r7, %ctaid.x; mov.u32 %r6, %ntid.x; mov.u32 %r5, %tid.x; mad.lo.u32 %r7, %r7, %r6, %r5;\n"

static _Alignas(64) uint32_t word[1 << 15];

static void both(const char *ptx, uint32_t grid, uint32_t block)
{
	struct { void *p; uint32_t n; } params = { word, 0 };
	struct kernel_run r = { .grid = { grid }, .block = { block }, .params = &params, .data = word, .size = sizeof(word) };
	static const uint32_t corner[] = { 0, 0x80000000, 1, 0x807fffff, 0x00800001, 0x3f800000, 0xbf803c00, 0x7fc07e00, 0x7f800000, 0xff80fc00 };

	for (uint32_t i = 0; i < 1 << 15; i++)
		word[i] = i % 3 ? i * 2654435761u ^ i >> 3 : corner[i / 3 % 10] ^ (i / 97 % 2);
	run_both(ptx, &r);
}

Test(simt_memory, atomics)
{
	static const char *const insn[] = {
		"atom.global.add.f32 %f3, [%rd7], %f1;", "atom.add.f32 %f3, [%rd7], %f1;", "atom.global.add.noftz.f16x2 %r3, [%rd7], %r1;",
		"atom.global.min.noftz.bf16x2 %r3, [%rd7], %r1;", "atom.global.max.noftz.f16x2 %r3, [%rd7], %r1;",
		"atom.global.v2.f32.add {%f3, %f4}, [%rd7], {%f1, %f2};", "red.global.v4.f16.add.noftz [%rd7], {%h1, %h2, %h1, %h2};",
		"red.global.v2.bf16x2.min.noftz [%rd7], {%r1, %r2};", "mbarrier.init.b64 [%rd7], 3; mbarrier.arrive.expect_tx.b64 %rd1, [%rd7], %r5;\n"
		"mbarrier.complete_tx.b64 [%rd7], 7; mbarrier.arrive_drop.b64 _, [%rd7]; mbarrier.arrive.b64 %rd1, [%rd7]; xor.b32 %r3, %r3, %r5;\n"
		"mbarrier.pending_count.b64 %r4, %rd1; mbarrier.test_wait.b64 %p1, [%rd7], %rd1; selp.u32 %r3, 1, 0, %p1;",
	};

	for (size_t i = 0; i < sizeof(insn) / sizeof(insn[0]); i++) {
		char ptx[4096], body[2048];

		snprintf(body, sizeof(body), "%smul.wide.u32 %%rd7, %%r7, 16; add.u64 %%rd7, %%rd7, %%rd8; ld.global.v2.u32 {%%r1, %%r2}, [%%rd7+8];\n"
			 "ld.global.v2.f32 {%%f1, %%f2}, [%%rd7+8]; ld.global.v2.u16 {%%h1, %%h2}, [%%rd7+8];\n%s\n"
			 "st.global.v4.u32 [%%rd7+65536], {%%r3, %%r4, %%f3, %%f4}; ret;", HEAD, insn[i]);
		both(kernel_around("", body, "", ptx, sizeof(ptx)), 8, 96);
	}
}

Test(simt_memory, shared_sums_are_not_flushed)
{
	both(KERNEL(".shared .align 4 .b32 s[128];\n" HEAD "shl.b32 %r1, %r5, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; cvt.u64.u32 %rd1, %r1;\n"
		    "cvta.shared.u64 %rd1, %rd1; mul.wide.u32 %rd7, %r7, 8; add.u64 %rd7, %rd7, %rd8; ld.global.v2.f32 {%f1, %f2}, [%rd7];\n"
		    "st.shared.f32 [%r1], %f1; red.shared.add.f32 [%r1], %f2; atom.add.f32 %f3, [%rd1], %f2; ld.shared.f32 %f4, [%r1];\n"
		    "st.global.v2.f32 [%rd7+65536], {%f3, %f4}; ret;"), 4, 128);
}

/* An address before the block's memory, and an offset that leads back. */
Test(simt_memory, shared_addresses_wrap_at_32_bits)
{
	both(KERNEL(".shared .align 4 .b32 s[128];\n" HEAD "shl.b32 %r1, %r5, 2; mov.u32 %r2, s; sub.u32 %r3, %r2, %r1; add.u32 %r1, %r1, %r2;\n"
		    "mul.wide.u32 %rd7, %r7, 4; add.u64 %rd7, %rd7, %rd8; ld.global.u32 %r4, [%rd7]; st.shared.u32 [%r3+508], %r4; bar.sync 0;\n"
		    "ld.shared.u32 %r4, [%r1]; bar.sync 0; atom.shared.add.u32 %r5, [%r3+508], 1; bar.sync 0; ld.shared.u32 %r6, [%r1];\n"
		    "mul.wide.u32 %rd7, %r7, 16; add.u64 %rd7, %rd7, %rd8; st.global.v2.u32 [%rd7+65536], {%r4, %r6}; ret;"), 4, 128);
}

Test(simt_memory, lanes)
{
	both(KERNEL(HEAD "mul.wide.u32 %rd7, %r7, 32; add.u64 %rd7, %rd7, %rd8; ld.global.f32 %f1, [%rd7];\n"
		    "redux.sync.min.f32 %f2, %f1, -1; redux.sync.max.NaN.f32 %f3, %f1, -1; redux.sync.min.abs.f32 %f4, %f1, -1;\n"
		    "redux.sync.max.abs.NaN.f32 %f5, %f1, -1; st.global.v4.f32 [%rd7], {%f2, %f3, %f4, %f5}; elect.sync %r1|%p1, -1;\n"
		    "selp.u32 %r2, 1, 0, %p1; st.global.v2.u32 [%rd7+16], {%r1, %r2}; ret;"), 4, 64);
}

/* Threads meet at an mbarrier between writing and reading, also those of incomplete warps. */
Test(simt_memory, threads_meet, .timeout = 60)
{
	static const uint32_t shape[] = { 1, 31, 32, 33, 96 };

	for (size_t s = 0; s < sizeof(shape) / sizeof(shape[0]); s++)
		both(KERNEL(".shared .align 8 .b64 bar; .shared .align 16 .b8 to[2048];\n" HEAD
			    "mov.u32 %r1, bar; setp.ne.u32 %p2, %r5, 0; @%p2 bra READY; mbarrier.init.shared.b64 [%r1], %r6; READY: bar.sync 0;\n"
			    "mul.wide.u32 %rd7, %r7, 16; add.u64 %rd7, %rd7, %rd8; shl.b32 %r2, %r5, 4; mov.u32 %r3, to; add.u32 %r2, %r2, %r3;\n"
			    "cp.async.cg.shared.global [%r2], [%rd7], 16; cp.async.mbarrier.arrive.noinc.shared.b64 [%r1];\n"
			    "A: mbarrier.try_wait.parity.shared.b64 %p1, [%r1], 0; @!%p1 bra A;\n"
			    "add.u32 %r4, %r5, 1; setp.eq.u32 %p3, %r4, %r6; selp.u32 %r4, 0, %r4, %p3; shl.b32 %r4, %r4, 4; add.u32 %r4, %r4, %r3;\n"
			    "ld.shared.v2.u64 {%rd1, %rd2}, [%r4]; st.global.v2.u64 [%rd7+65536], {%rd1, %rd2}; ret;"), 3, shape[s]);
}
