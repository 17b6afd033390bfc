/*
 * bench_kernels.c - kernels on the CPU target, one thread, against the same loops in C compiled here.
 *
 *   add        c[i] = a[i] + b[i], 4 Mi floats: memory and the cost of blocks
 *   iterate    z = z^2 + c until it escapes, at most 256 times: divergent loops
 *   sum        blocks of 256 sum through shared memory with barriers
 *   compile    first launch: fast tier, in ms; the optimised tier, in ms; nothing cached
 *
 * Each is repeated; printed are minimum, median and maximum of the ratio kernel time / C time (below 1: faster than C).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replay/grid.h"
#include "translate/jit.h"
#include "translate/module.h"

#define RUNS 9
#define N (4u << 20)
#define NI (1u << 18)

#define HEAD ".version 9.0\n.target sm_75\n.address_size 64\n" \
	".visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c) {\n" \
	".reg .pred %p<4>; .reg .b32 %r<12>; .reg .f32 %f<12>; .reg .b64 %rd<8>;\n" \
	"mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.s32 %r1, %r1, %r2, %r3; mul.wide.s32 %rd4, %r1, 4;\n" \
	"ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [c]; add.s64 %rd1, %rd1, %rd4; add.s64 %rd2, %rd2, %rd4; add.s64 %rd5, %rd3, %rd4;\n"

static const char add_ptx[] = HEAD "ld.global.f32 %f1, [%rd1]; ld.global.f32 %f2, [%rd2]; add.f32 %f3, %f1, %f2; st.global.f32 [%rd5], %f3; ret; }";
static const char iterate_ptx[] = HEAD
	"ld.global.f32 %f1, [%rd1]; ld.global.f32 %f2, [%rd2]; mov.f32 %f3, 0f00000000; mov.f32 %f4, 0f00000000; mov.u32 %r4, 0;\n"
	"L: mul.f32 %f5, %f3, %f3; mul.f32 %f6, %f4, %f4; add.f32 %f7, %f5, %f6; setp.gt.f32 %p1, %f7, 0f40800000; @%p1 bra OUT;\n"
	"sub.f32 %f7, %f5, %f6; mul.f32 %f8, %f3, %f4; add.f32 %f8, %f8, %f8; add.f32 %f3, %f7, %f1; add.f32 %f4, %f8, %f2;\n"
	"add.u32 %r4, %r4, 1; setp.lt.u32 %p2, %r4, 256; @%p2 bra L;\n"
	"OUT: st.global.u32 [%rd5], %r4; ret; }";
static const char sum_ptx[] = HEAD ".shared .align 4 .b32 s[256];\n"
	"ld.global.f32 %f1, [%rd1]; shl.b32 %r4, %r3, 2; mov.u32 %r5, s; add.u32 %r4, %r4, %r5; st.shared.f32 [%r4], %f1; mov.u32 %r6, 128;\n"
	"L: bar.sync 0; setp.ge.u32 %p1, %r3, %r6; @%p1 bra NEXT; shl.b32 %r7, %r6, 2; add.u32 %r7, %r4, %r7;\n"
	"ld.shared.f32 %f1, [%r7]; ld.shared.f32 %f2, [%r4]; add.f32 %f1, %f1, %f2; st.shared.f32 [%r4], %f1;\n"
	"NEXT: shr.u32 %r6, %r6, 1; setp.ne.u32 %p2, %r6, 0; @%p2 bra L;\n"
	"setp.ne.u32 %p3, %r3, 0; @%p3 bra DONE; mov.u32 %r8, %ctaid.x; mul.wide.u32 %rd6, %r8, 4; add.s64 %rd6, %rd3, %rd6; st.global.f32 [%rd6], %f1; DONE: ret; }";

static float *a, *b, *c, *want;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static __attribute__((noinline)) void add_c(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		want[i] = a[i] + b[i];
}

static __attribute__((noinline)) void iterate_c(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		float x = 0, y = 0;
		uint32_t k = 0;

		for (; k < 256; k++) {
			float xx = x * x, yy = y * y, xy = x * y;

			if (xx + yy > 4)
				break;
			x = xx - yy + a[i];
			y = xy + xy + b[i];
		}
		memcpy(&want[i], &k, sizeof(k));
	}
}

static __attribute__((noinline)) void sum_c(uint32_t n)
{
	float s[256];

	for (uint32_t g = 0; g < n / 256; g++) {
		memcpy(s, a + (size_t)g * 256, sizeof(s));
		for (uint32_t half = 128; half; half /= 2)
			for (uint32_t t = 0; t < half; t++)
				s[t] += s[t + half];
		want[g] = s[0];
	}
}

static int by_value(const void *x, const void *y)
{
	double d = *(const double *)x - *(const double *)y;

	return d < 0 ? -1 : d > 0;
}

static void spread(const char *name, const char *unit, double *v)
{
	qsort(v, RUNS, sizeof(*v), by_value);
	printf("%-24s %8.3f %8.3f %8.3f  %s (min, median, max)\n", name, v[0], v[RUNS / 2], v[RUNS - 1], unit);
}

static int measure(const char *name, const char *ptx, uint32_t n, size_t out, void (*peer)(uint32_t n))
{
	double ratio[RUNS], fast[RUNS], best[RUNS], start;
	const void *params[3] = { a, b, c };
	struct hg_grid g = { .grid = { n / 256, 1, 1 }, .block = { 256, 1, 1 }, .params = params };
	struct hg_fault fault;
	char title[64];

	for (int i = 0; i < RUNS; i++) {
		struct hg_module *m;
		struct hg_cpu_module *cm;
		struct hg_cpu_kernel *k;

		if (hg_module_load(ptx, 0, 120, NULL, 0, &m))
			return 1;
		if (hg_cpu_module_create(m, &cm))
			return 1;
		start = now();
		if (hg_cpu_kernel_get(cm, 0, &k))
			return 1;
		fast[i] = now() - start;
		hg_cpu_kernel_wait(k);
		best[i] = now() - start - fast[i];
		if (hg_grid_run(k, &g, &fault))
			return 1;
		peer(n);
		start = now();
		if (hg_grid_run(k, &g, &fault))
			return 1;
		ratio[i] = now() - start;
		start = now();
		peer(n);
		ratio[i] /= now() - start;
		if (memcmp(c, want, out)) {
			printf("%s: the kernel's result differs from C's\n", name);
			return 1;
		}
		hg_cpu_module_destroy(cm);
		hg_module_free(m);
	}
	spread(name, "x the time of C", ratio);
	snprintf(title, sizeof(title), "%s, fast tier", name);
	spread(title, "ms", fast);
	snprintf(title, sizeof(title), "%s, optimised", name);
	spread(title, "ms", best);
	return 0;
}

int main(void)
{
	int failed = 0;

	setenv("HGSHIM_THREADS", "1", 1);
	setenv("HGSHIM_CACHE", "0", 1);
	a = malloc(N * sizeof(*a));
	b = malloc(N * sizeof(*b));
	c = malloc(N * sizeof(*c));
	want = malloc(N * sizeof(*want));
	if (!a || !b || !c || !want)
		return 1;
	for (uint32_t i = 0; i < N; i++) {
		a[i] = (float)(i % 512) / 160 - 2.2f;
		b[i] = (float)(i / 512 % 512) / 200 - 1.25f;
	}
	failed |= measure("add", add_ptx, N, N * sizeof(*c), add_c);
	failed |= measure("iterate", iterate_ptx, NI, NI * sizeof(*c), iterate_c);
	failed |= measure("sum", sum_ptx, N, N / 256 * sizeof(*c), sum_c);
	hg_grid_shutdown();
	return failed;
}
