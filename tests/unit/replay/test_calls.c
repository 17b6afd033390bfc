/* test_calls.c - functions: results and parameters of every kind, and calls through pointers. */
#include "tests/unit/replay/kernel_test.h"

#define CALLS_HEAD ".version 8.0\n.target sm_75\n.address_size 64\n"
/* p[tid] is at %rd1, tid in %r1 */
#define CALLS_KERNEL ".visible .entry k(.param .u64 p) {\n.reg .pred %p<5>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n" \
	"ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 16; add.u64 %rd1, %rd1, %rd2;\n"

static uint32_t out[64][4];

static void run(const char *ptx)
{
	uint64_t p = (uintptr_t)out;
	struct kernel_run r = { .block = { 64 }, .params = &p, .data = out, .size = sizeof(out) };

	memset(out, 0xee, sizeof(out));
	run_all_ways(ptx, &r);
}

Test(calls, several_results_and_structures_by_value)
{
	run(CALLS_HEAD
	    ".func (.reg .u32 sum, .reg .u32 diff) two (.reg .u32 x, .reg .u32 y) { add.u32 sum, x, y; sub.u32 diff, x, y; ret; }\n"
	    /* swaps the halves of a structure, and an index into it that is not known makes it lie in memory */
	    ".func (.param .align 8 .b8 res[16], .param .b32 picked) swap (.param .align 8 .b8 s[16], .param .b32 i) {\n"
	    ".reg .b64 %a<5>; .reg .b32 %b<3>; ld.param.v2.b64 {%a1, %a2}, [s]; st.param.b64 [res], %a2; st.param.b64 [res+8], %a1;\n"
	    "ld.param.b32 %b1, [i]; mul.wide.u32 %a3, %b1, 4; mov.b64 %a4, s; add.u64 %a4, %a4, %a3; ld.param.b32 %b2, [%a4];\n"
	    "st.param.b32 [picked], %b2; ret; }\n"
	    CALLS_KERNEL
	    "call (%r2, %r3), two, (%r1, 7);\n"
	    "{ .param .align 8 .b8 s[16]; .param .b32 i; .param .align 8 .b8 res[16]; .param .b32 picked;\n"
	    "st.param.v4.b32 [s], {%r1, %r2, %r3, 99}; and.b32 %r4, %r1, 3; st.param.b32 [i], %r4;\n"
	    "call (res, picked), swap, (s, i);\n"
	    "ld.param.v4.b32 {%r5, %r6, %r7, %r8}, [res]; ld.param.b32 %r4, [picked]; }\n"
	    "sub.u32 %r6, %r6, %r8; st.global.v4.b32 [%rd1], {%r5, %r6, %r7, %r4}; ret; }\n");
	for (uint32_t t = 0; t < 64; t++) {
		uint32_t s[4] = { t, t + 7, t - 7, 99 };
		uint32_t want[4] = { s[2], s[3] - s[1], s[0], s[t & 3] };

		for (int i = 0; i < 4; i++)
			cr_expect_eq(out[t][i], want[i], "thread %u, %d: %u, not %u", t, i, out[t][i], want[i]);
	}
}

Test(calls, each_lane_may_call_another_function)
{
	run(CALLS_HEAD
	    ".func (.param .b32 r) add (.param .b32 a) { .reg .b32 %x; ld.param.b32 %x, [a]; add.u32 %x, %x, 1000; st.param.b32 [r], %x; ret; }\n"
	    ".func (.param .b32 r) mul (.param .b32 a) { .reg .b32 %x; ld.param.b32 %x, [a]; mul.lo.u32 %x, %x, 3; st.param.b32 [r], %x; ret; }\n"
	    /* this one calls the others itself */
	    ".func (.param .b32 r) both (.param .b32 a) { .reg .b32 %x; .reg .b64 %f; ld.param.b32 %x, [a];\n"
	    "{ .param .b32 i; .param .b32 o; st.param.b32 [i], %x; call (o), add, (i); ld.param.b32 %x, [o]; }\n"
	    "{ .param .b32 i; .param .b32 o; st.param.b32 [i], %x; call (o), mul, (i); ld.param.b32 %x, [o]; }\n"
	    "st.param.b32 [r], %x; ret; }\n"
	    /* takes something else: no call below can mean it */
	    ".func (.param .b64 r) other (.param .b64 a) { .reg .b64 %x; ld.param.b64 %x, [a]; st.param.b64 [r], %x; ret; }\n"
	    CALLS_KERNEL
	    "mov.u64 %rd3, add; mov.u64 %rd4, mul; mov.u64 %rd5, both; mov.u64 %rd7, other;\n"
	    "rem.u32 %r2, %r1, 3; setp.eq.u32 %p1, %r2, 0; setp.eq.u32 %p2, %r2, 1;\n"
	    "selp.b64 %rd6, %rd3, %rd5, %p1; selp.b64 %rd6, %rd4, %rd6, %p2; setp.lt.u32 %p3, %r1, 50; mov.u32 %r3, 5;\n"
	    "{ .param .b32 i; .param .b32 o; st.param.b32 [i], %r1;\n"
	    "proto: .callprototype (.param .b32 _) _ (.param .b32 _);\n"
	    "@%p3 call (o), %rd6, (i), proto; @%p3 ld.param.b32 %r3, [o]; }\n"
	    "st.global.b32 [%rd1], %r3; ret; }\n");
	for (uint32_t t = 0; t < 64; t++) {
		uint32_t want = t >= 50 ? 5 : t % 3 == 0 ? t + 1000 : t % 3 == 1 ? t * 3 : (t + 1000) * 3;

		cr_expect_eq(out[t][0], want, "thread %u: %u, not %u", t, out[t][0], want);
	}
}

Test(calls, recursion_is_refused_by_name)
{
	struct hg_module *m = load_text(CALLS_HEAD
		".func (.param .b32 r) odd (.param .b32 a);\n"
		".func (.param .b32 r) even (.param .b32 a) { call (r), odd, (a); ret; }\n"
		".func (.param .b32 r) odd (.param .b32 a) { call (r), even, (a); ret; }\n"
		".visible .entry k() { .param .b32 a; call (a), odd, (a); ret; }\n");

	cr_assert(hg_module_kernel(m, 0)->refused);
	cr_expect(strstr(hg_module_kernel(m, 0)->refused, "recursion is not supported"), "%s", hg_module_kernel(m, 0)->refused);
	hg_module_free(m);
}
