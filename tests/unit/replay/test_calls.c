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

/* fib(n) by itself twice; ack by a tail and an inner call; each lane has another depth. */
#define FIB \
	".func (.param .b32 r) fib (.param .b32 n) { .reg .b32 %a<6>; .reg .pred %p;\n" \
	"ld.param.b32 %a1, [n]; setp.lt.u32 %p, %a1, 2; @%p bra $end;\n" \
	"sub.u32 %a2, %a1, 1; { .param .b32 i; .param .b32 o; st.param.b32 [i], %a2; call.uni (o), fib, (i); ld.param.b32 %a3, [o]; }\n" \
	"sub.u32 %a2, %a1, 2; { .param .b32 i; .param .b32 o; st.param.b32 [i], %a2; call.uni (o), fib, (i); ld.param.b32 %a4, [o]; }\n" \
	"add.u32 %a1, %a3, %a4; $end: st.param.b32 [r], %a1; ret; }\n"

static uint32_t fib(uint32_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

Test(calls, recursion_of_another_depth_in_each_lane)
{
	run(CALLS_HEAD FIB CALLS_KERNEL
	    "rem.u32 %r2, %r1, 13; setp.eq.u32 %p1, %r2, 5; mov.u32 %r3, 77;\n"
	    "{ .param .b32 i; .param .b32 o; st.param.b32 [i], %r2; @!%p1 call (o), fib, (i); @!%p1 ld.param.b32 %r3, [o]; }\n"
	    /* a second call, from code that all lanes reach */
	    "{ .param .b32 i; .param .b32 o; st.param.b32 [i], 7; call (o), fib, (i); ld.param.b32 %r4, [o]; }\n"
	    "st.global.v2.b32 [%rd1], {%r3, %r4}; ret; }\n");
	for (uint32_t t = 0; t < 64; t++) {
		cr_expect_eq(out[t][0], t % 13 == 5 ? 77 : fib(t % 13), "thread %u: %u", t, out[t][0]);
		cr_expect_eq(out[t][1], 13);
	}
}

Test(calls, functions_that_call_each_other_and_pass_structures_and_local_memory)
{
	run(CALLS_HEAD
	    ".func (.param .b32 r) odd (.param .align 8 .b8 s[16]);\n"
	    /* sums s.x over the way down; every activation has a local array of its own, looked at after the call */
	    ".func (.param .b32 r) even (.param .align 8 .b8 s[16]) { .reg .b32 %a<9>; .reg .b64 %d<6>; .reg .pred %p; .local .align 8 .b8 own[32];\n"
	    "ld.param.v2.b32 {%a1, %a2}, [s]; mov.u32 %a5, 0; setp.eq.u32 %p, %a2, 0; @%p bra $end; and.b32 %a3, %a2, 7; mul.wide.u32 %d1, %a3, 4;\n"
	    "mov.u64 %d2, own; add.u64 %d2, %d2, %d1; st.local.b32 [%d2], %a1; sub.u32 %a3, %a2, 1; add.u32 %a4, %a1, 3;\n"
	    "{ .param .align 8 .b8 i[16]; .param .b32 o; st.param.v2.b32 [i], {%a4, %a3}; st.param.b32 [i+12], %a2; call (o), odd, (i); ld.param.b32 %a5, [o]; }\n"
	    "ld.local.b32 %a6, [%d2]; add.u32 %a5, %a5, %a6; $end: st.param.b32 [r], %a5; ret; }\n"
	    /* reads its structure by an index that is not known: it lies in memory */
	    ".func (.param .b32 r) odd (.param .align 8 .b8 s[16]) { .reg .b32 %a<9>; .reg .b64 %d<6>; .reg .pred %p;\n"
	    "ld.param.b32 %a2, [s+4]; mov.u32 %a5, 1; setp.eq.u32 %p, %a2, 0; @%p bra $end; sub.u32 %a3, %a2, 1;\n"
	    "and.b32 %a4, %a2, 0; mul.wide.u32 %d1, %a4, 4; mov.b64 %d2, s; add.u64 %d2, %d2, %d1;\n"
	    "ld.param.b32 %a1, [%d2]; add.u32 %a4, %a1, 5;\n"
	    "{ .param .align 8 .b8 i[16]; .param .b32 o; st.param.v2.b32 [i], {%a4, %a3}; call (o), even, (i); ld.param.b32 %a5, [o]; }\n"
	    "ld.param.b32 %a6, [%d2]; add.u32 %a5, %a5, %a6; $end: st.param.b32 [r], %a5; ret; }\n"
	    CALLS_KERNEL
	    "and.b32 %r2, %r1, 15; { .param .align 8 .b8 i[16]; .param .b32 o; st.param.v2.b32 [i], {%r1, %r2};\n"
	    "call (o), even, (i); ld.param.b32 %r3, [o]; } st.global.b32 [%rd1], %r3; ret; }\n");
	for (uint32_t t = 0; t < 64; t++) {
		uint32_t x = t, want = t & 1;

		for (uint32_t n = t & 15, odd = 0; n; n--, odd ^= 1) {
			want += x;
			x += odd ? 5 : 3;
		}
		cr_expect_eq(out[t][0], want, "thread %u: %u, not %u", t, out[t][0], want);
	}
}

Test(calls, recursion_through_pointers_with_a_barrier_and_a_shuffle_inside)
{
	run(CALLS_HEAD
	    ".func (.reg .u32 r) down (.reg .u32 n, .reg .u32 x);\n"
	    ".func (.reg .u32 r) swap (.reg .u32 n, .reg .u32 x);\n"
	    /* all lanes go equally deep: the warp operations and the barrier meet */
	    ".func (.reg .u32 r) down (.reg .u32 n, .reg .u32 x) { .reg .pred %p; .reg .b64 %f; .reg .u32 %y;\n"
	    "mov.u32 r, x; setp.eq.u32 %p, n, 0; @%p ret; mov.u64 %f, swap; sub.u32 n, n, 1; bar.sync 0;\n"
	    "pr: .callprototype (.reg .u32 _) _ (.reg .u32 _, .reg .u32 _);\n"
	    "call (%y), %f, (n, x), pr; add.u32 r, %y, n; ret; }\n"
	    ".func (.reg .u32 r) swap (.reg .u32 n, .reg .u32 x) { .reg .b64 %f; .reg .u32 %y, %z;\n"
	    "shfl.sync.bfly.b32 %y, x, 1, 31, 0xffffffff; mov.u64 %f, down; add.u32 %y, %y, 1;\n"
	    "pr: .callprototype (.reg .u32 _) _ (.reg .u32 _, .reg .u32 _);\n"
	    "call (%z), %f, (n, %y), pr; shfl.sync.bfly.b32 r, %z, 1, 31, 0xffffffff; ret; }\n"
	    CALLS_KERNEL "call (%r3), down, (5, %r1); st.global.b32 [%rd1], %r3; ret; }\n");
	for (uint32_t t = 0; t < 64; t++) {
		uint32_t x[2] = { t & ~1u, t | 1 }, r;

		for (int i = 0; i < 5; i++) {
			uint32_t y = x[0];

			x[0] = x[1] + 1;
			x[1] = y + 1;
		}
		/* back up: a shuffle and n at each level */
		r = x[(t & 1) ^ 1] + 0 + 1 + 2 + 3 + 4;
		cr_expect_eq(out[t][0], r, "thread %u: %u, not %u", t, out[t][0], r);
	}
}

Test(calls, a_parameter_of_the_kernel_is_handed_on)
{
	static const char ptx[] = CALLS_HEAD
		".func put (.param .align 8 .b8 s[16], .param .b64 p) { .reg .b32 %a<3>; .reg .b64 %d; ld.param.b64 %d, [p];\n"
		"ld.param.b16 %a1, [s+6]; ld.param.b32 %a2, [s+8]; add.u32 %a1, %a1, %a2; st.global.u32 [%d], %a1; ret; }\n"
		".visible .entry k(.param .align 8 .b8 s[16], .param .u64 p) { call put, (s, p); call put, (s, p); ret; }\n";
	struct { uint16_t h[8]; uint64_t p; } params = { { 0, 0, 0, 77, 1000 }, (uintptr_t)out };
	struct kernel_run r = { .params = &params, .data = out, .size = 16 };

	run_all_ways(ptx, &r);
	cr_expect_eq(out[0][0], 1077, "%u", out[0][0]);
}

Test(calls, a_large_function_called_from_many_places_stands_in_the_kernel_once)
{
	size_t room = 1 << 16, n = 0;
	char *ptx = malloc(room);
	struct hg_module *m;

	n += (size_t)snprintf(ptx + n, room - n, "%s.func (.reg .u32 r) big (.reg .u32 x) {\n", CALLS_HEAD);
	for (int i = 0; i < 400; i++)
		n += (size_t)snprintf(ptx + n, room - n, "mad.lo.u32 x, x, %d, %d;\n", 2 * i + 3, i);
	n += (size_t)snprintf(ptx + n, room - n, "mov.u32 r, x; ret; }\n%s", CALLS_KERNEL);
	for (int i = 0; i < 30; i++)
		n += (size_t)snprintf(ptx + n, room - n, "setp.ne.u32 %%p1, %%r1, %d; @%%p1 call (%%r1), big, (%%r1);\n", i);
	snprintf(ptx + n, room - n, "st.global.b32 [%%rd1], %%r1; ret; }\n");
	m = load_text(ptx);
	cr_expect_lt(hg_module_ir(m)->func[0].block[0].nr_insns, 100);
	hg_module_free(m);
	run(ptx);
	for (uint32_t t = 0; t < 64; t++) {
		uint32_t x = t;

		for (uint32_t i = 0; i < 30; i++) {
			bool is_called = x != i;

			for (uint32_t k = 0; is_called && k < 400; k++)
				x = x * (2 * k + 3) + k;
		}
		cr_expect_eq(out[t][0], x, "thread %u: %u, not %u", t, out[t][0], x);
	}
	free(ptx);
}

Test(calls, memory_of_a_size_that_is_known_late)
{
	run(".version 8.0\n.target sm_75\n.address_size 64\n"
	    /* an array of n numbers; the function is called again and again, so it must give it back */
	    ".func (.reg .u32 r) sum (.reg .u32 n) { .reg .b64 %d<6>; .reg .u32 %i<5>; .reg .pred %p;\n"
	    "mul.wide.u32 %d1, n, 4; alloca.u64 %d2, %d1, 16; mov.u32 %i1, 0; mov.u64 %d3, %d2;\n"
	    "$w: setp.ge.u32 %p, %i1, n; @%p bra $r; st.local.u32 [%d3], %i1; add.u64 %d3, %d3, 4; add.u32 %i1, %i1, 1; bra $w;\n"
	    "$r: mov.u32 r, 0; cvta.local.u64 %d4, %d2; $s: setp.eq.u32 %p, %i1, 0; @%p ret; ld.u32 %i2, [%d4]; add.u32 r, r, %i2;\n"
	    "add.u64 %d4, %d4, 4; sub.u32 %i1, %i1, 1; bra $s; }\n"
	    CALLS_KERNEL
	    "mov.u32 %r2, 0; mov.u32 %r3, 0; $l: and.b32 %r4, %r1, 31; call (%r5), sum, (%r4); add.u32 %r2, %r2, %r5; add.u32 %r3, %r3, 1;\n"
	    "setp.lt.u32 %p1, %r3, 40; @%p1 bra $l;\n"
	    /* and by hand */
	    "stacksave.u64 %rd3; alloca.u64 %rd4, 64; st.local.u32 [%rd4+60], %r1; stackrestore.u64 %rd3; alloca.u64 %rd5, 64;\n"
	    "ld.local.u32 %r6, [%rd5+60]; st.global.v2.b32 [%rd1], {%r2, %r6}; ret; }\n");
	for (uint32_t t = 0; t < 64; t++) {
		uint32_t n = t & 31;

		cr_expect_eq(out[t][0], 40 * (n ? n * (n - 1) / 2 : 0), "thread %u: %u", t, out[t][0]);
		cr_expect_eq(out[t][1], t);
	}
}

static const char *fault_of(const char *ptx, uint32_t stack)
{
	static struct hg_fault fault;
	uint64_t p = (uintptr_t)out;
	struct kernel_run r = { .block = { 64 }, .params = &p };
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	struct hg_grid g = grid_of(&r);

	setenv("HGSHIM_CACHE", "0", 1);
	k = kernel_of(ptx, &m, &cm);
	g.stack_bytes = stack;
	fault.what[0] = 0;
	cr_expect_eq(hg_grid_run(k, &g, &fault), HG_ERR_FAULT);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	return fault.what;
}

Test(calls, a_stack_that_is_too_small_is_named)
{
	const char *what = fault_of(CALLS_HEAD FIB CALLS_KERNEL
				    "{ .param .b32 i; .param .b32 o; st.param.b32 [i], 30; call (o), fib, (i); } ret; }\n", 256);

	cr_expect(strstr(what, "a stack of 256 bytes (CU_LIMIT_STACK_SIZE) is too small for kernel 'k'"), "%s", what);
	cr_expect(strstr(what, "PTX line 5"), "%s", what);
	what = fault_of(CALLS_HEAD CALLS_KERNEL "mov.u64 %rd3, -64; alloca.u64 %rd4, %rd3; st.local.u32 [%rd4], 1; ret; }\n", 0);
	cr_expect(strstr(what, "a stack of 2048 bytes"), "%s", what);
}
