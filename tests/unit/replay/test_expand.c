/* test_expand.c - what GPUs get instead of single operations (translate/expand.h), run by the CPU target. */
#define _GNU_SOURCE
#include <fenv.h>
#include <float.h>
#include <math.h>

#include "tests/unit/replay/kernel_test.h"
#include "translate/ir_mma.h"

enum { NR = 20480, MODES = 3 };

static const char mode_name[MODES][3] = { "rz", "rm", "rp" };
static const int mode[MODES] = { FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD };

static uint64_t seed = 88172645463325252u;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 2685821657736338717u;
}

static uint64_t bits64(double d)
{
	uint64_t b;

	memcpy(&b, &d, sizeof(b));
	return d != d ? UINT64_C(0xfff8000000000000) : b;
}

static uint32_t bits32(float f)
{
	uint32_t b;

	memcpy(&b, &f, sizeof(b));
	return f != f ? 0x7fffffff : b;
}

static double any_number(void)
{
	static const double special[] = { 0.0, -0.0, INFINITY, -INFINITY, NAN, DBL_MIN, -DBL_MIN, DBL_TRUE_MIN, -DBL_TRUE_MIN, DBL_MAX, -DBL_MAX, 1, -1,
					  1 - DBL_EPSILON / 2, 1 + DBL_EPSILON, 0x1p-1022 - 0x1p-1074, 2, 4 - 0x1p-51, 3 };
	uint64_t r = next(), how = r >> 60;
	double d;

	if (how < 3)
		return special[r % (sizeof(special) / sizeof(special[0]))];
	if (how < 6)		/* few digits: exact results, and ties */
		r &= UINT64_C(0xffff800000000000);
	if (how < 8)		/* at the lower end */
		r &= UINT64_C(0x803fffffffffffff);
	else if (how < 10)	/* at the upper end */
		r |= UINT64_C(0x7fc0000000000000);
	else if (how < 13)	/* near one */
		r = (r & UINT64_C(0x801fffffffffffff)) | UINT64_C(0x3fe0000000000000);
	else if (how < 15)	/* where a product, a quotient or a sum is at an end */
		r = (r & UINT64_C(0x80ffffffffffffff)) | (how & 1 ? UINT64_C(0x1f00000000000000) : UINT64_C(0x5f00000000000000));
	memcpy(&d, &r, sizeof(d));
	return d;
}

static double of(const char *op, double a, double b, double c)
{
	volatile double x = a, y = b, z = c;

	switch (*op) {
	case 'a': return x + y;
	case 's': return op[1] == 'u' ? x - y : sqrt(x);
	case 'm': return x * y;
	case 'f': return fma(x, y, z);
	case 'd': return x / y;
	default: return 1 / x;
	}
}

/* Expanded, on n threads; false: nothing had to be. */
static bool run_expanded(const char *ptx, const void *params, uint32_t n)
{
	struct hg_module *m = load_text(ptx);
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	struct ir_module *ir;
	struct hg_grid g = { .grid = { n / 256, 1, 1 }, .block = { 256, 1, 1 }, .params = params, .id = 1 };
	struct hg_fault fault = { .what = "" };
	bool ran = false;

	setenv("HGSHIM_CACHE", "0", 1);
	cr_assert(expanded_kernel(m, NULL, &ir, &cm, &k), "cannot be expanded:\n%s", ptx);
	if (k) {
		cr_assert_eq(hg_grid_run(k, &g, &fault), HG_OK, "%s", fault.what);
		ran = true;
	}
	hg_cpu_module_destroy(cm);
	ir_module_free(ir);
	hg_module_free(m);
	return ran;
}

Test(expand, f64_rounds_in_each_direction)
{
	static const char *const op[] = { "add", "sub", "mul", "fma", "div", "rcp", "sqrt" };
	static double in[NR][3];
	static uint64_t out[MODES][NR];
	struct { void *in, *out; } params = { in, out };

	for (size_t o = 0; o < sizeof(op) / sizeof(op[0]); o++) {
		unsigned int nr = !strcmp(op[o], "fma") ? 3 : o < 5 ? 2 : 1;
		char ptx[4096], *at = ptx;

		for (size_t i = 0; i < NR; i++)
			for (int k = 0; k < 3; k++)
				in[i][k] = any_number();
		/* sums that cancel, all but the last digits */
		for (size_t i = 0; i < NR; i += 7)
			in[i][2] = -in[i][0] * in[i][1] * (i % 2 ? 1 : 1 + DBL_EPSILON);
		for (size_t i = 3; i < NR && nr == 2; i += 11)
			in[i][1] = -in[i][0] * (1 + (double)(next() >> 61) * DBL_EPSILON);
		at += sprintf(at, PTX_HEAD ".visible .entry k(.param .u64 in, .param .u64 out) {\n.reg .b32 %%r<9>; .reg .b64 %%rd<9>; .reg .f64 %%fd<9>;\n"
			      "ld.param.u64 %%rd1, [in]; ld.param.u64 %%rd2, [out]; mov.u32 %%r1, %%tid.x; mov.u32 %%r2, %%ctaid.x; mad.lo.u32 %%r1, %%r2, 256, %%r1;\n"
			      "mad.wide.u32 %%rd1, %%r1, 24, %%rd1; mad.wide.u32 %%rd2, %%r1, 8, %%rd2;\n"
			      "ld.global.f64 %%fd1, [%%rd1]; ld.global.f64 %%fd2, [%%rd1+8]; ld.global.f64 %%fd3, [%%rd1+16];\n");
		for (int r = 0; r < MODES; r++)
			at += sprintf(at, "%s.%s.f64 %%fd4, %%fd1%s%s; st.global.f64 [%%rd2+%d], %%fd4;\n", op[o], mode_name[r], nr > 1 ? ", %fd2" : "",
				      nr > 2 ? ", %fd3" : "", r * NR * 8);
		strcpy(at, "ret;\n}\n");
		cr_assert(run_expanded(ptx, &params, NR));
		for (int r = 0; r < MODES; r++)
			for (size_t i = 0; i < NR; i++) {
				uint64_t want;

				fesetround(mode[r]);
				want = bits64(of(op[o], in[i][0], in[i][1], in[i][2]));
				fesetround(FE_TONEAREST);
				cr_assert_eq(out[r][i], want, "%s.%s of %a %a %a: %lx, not %lx", op[o], mode_name[r], in[i][0], in[i][1], in[i][2],
					     (long)out[r][i], (long)want);
			}
	}
}

static float any_f32(void)
{
	uint64_t r = next();
	uint32_t b = (uint32_t)r;
	float f;

	switch (r >> 61) {
	case 0: return (float)any_number();
	case 1: b &= 0x80ffffff; break;
	case 2: b |= 0x7e000000; break;
	case 3: b = (b & 0x80ff0000) | 0x3f000000; break;
	case 4: b = (b & 0x80ffffff) | 0x3f000000; break;
	default: break;
	}
	memcpy(&f, &b, sizeof(f));
	return f;
}

static float flushed(float f, bool ftz)
{
	return ftz && fabsf(f) < FLT_MIN ? copysignf(0, f) : f;
}

Test(expand, quotients_and_roots_of_f32_round_in_each_direction)
{
	static const char *const op[] = { "div", "rcp", "sqrt" };
	static float in[NR][2];
	static uint32_t out[2 * MODES][NR];
	struct { void *in, *out; } params = { in, out };

	for (size_t o = 0; o < sizeof(op) / sizeof(op[0]); o++) {
		char ptx[4096], *at = ptx;

		for (size_t i = 0; i < NR; i++)
			for (int k = 0; k < 2; k++)
				in[i][k] = any_f32();
		at += sprintf(at, PTX_HEAD ".visible .entry k(.param .u64 in, .param .u64 out) {\n.reg .b32 %%r<9>; .reg .b64 %%rd<9>; .reg .f32 %%f<9>;\n"
			      "ld.param.u64 %%rd1, [in]; ld.param.u64 %%rd2, [out]; mov.u32 %%r1, %%tid.x; mov.u32 %%r2, %%ctaid.x; mad.lo.u32 %%r1, %%r2, 256, %%r1;\n"
			      "mad.wide.u32 %%rd1, %%r1, 8, %%rd1; mad.wide.u32 %%rd2, %%r1, 4, %%rd2;\n"
			      "ld.global.f32 %%f1, [%%rd1]; ld.global.f32 %%f2, [%%rd1+4];\n");
		for (int r = 0; r < 2 * MODES; r++)
			at += sprintf(at, "%s.%s%s.f32 %%f4, %%f1%s; st.global.f32 [%%rd2+%d], %%f4;\n", op[o], mode_name[r % MODES], r < MODES ? "" : ".ftz",
				      o ? "" : ", %f2", r * NR * 4);
		strcpy(at, "ret;\n}\n");
		cr_assert(run_expanded(ptx, &params, NR));
		for (int r = 0; r < 2 * MODES; r++)
			for (size_t i = 0; i < NR; i++) {
				volatile float x = flushed(in[i][0], r >= MODES), y = flushed(in[i][1], r >= MODES), v;
				uint32_t want;

				fesetround(mode[r % MODES]);
				v = o == 2 ? sqrtf(x) : o ? 1 / x : x / y;
				fesetround(FE_TONEAREST);
				want = bits32(flushed(v, r >= MODES));
				cr_assert_eq(out[r][i], want, "%s.%s%s of %a %a: %x, not %x", op[o], mode_name[r % MODES], r < MODES ? "" : ".ftz", in[i][0],
					     in[i][1], out[r][i], want);
			}
	}
}

/* Many uses of long code: it stands in the kernel once, and each use goes on where it was. */
Test(expand, code_that_is_used_often_stands_once)
{
	enum { USES = 60, THREADS = 512 };
	static double in[THREADS], out[THREADS];
	struct { void *in, *out; } params = { in, out };
	char ptx[16384], *at = ptx;
	struct hg_module *m;
	struct ir_module *ir;
	uint32_t nr_insns = 0, nr_brx = 0;

	at += sprintf(at, PTX_HEAD ".visible .entry k(.param .u64 in, .param .u64 out) {\n.reg .pred %%p<3>; .reg .b32 %%r<9>; .reg .b64 %%rd<9>; .reg .f64 %%fd<9>;\n"
		      "ld.param.u64 %%rd1, [in]; ld.param.u64 %%rd2, [out]; mov.u32 %%r1, %%tid.x; mov.u32 %%r2, %%ctaid.x; mad.lo.u32 %%r1, %%r2, 256, %%r1;\n"
		      "mad.wide.u32 %%rd1, %%r1, 8, %%rd1; mad.wide.u32 %%rd2, %%r1, 8, %%rd2; and.b32 %%r3, %%r1, 3; setp.eq.u32 %%p1, %%r3, 1;\n"
		      "ld.global.f64 %%fd1, [%%rd1]; mov.f64 %%fd2, %%fd1;\n");
	for (int i = 0; i < USES; i++)	/* some lanes do not take part in some of them, and divergent ones call from two places at once */
		at += sprintf(at, i % 3 == 2 ? "@%%p1 bra L%d; fma.rz.f64 %%fd2, %%fd2, %%fd1, 0d3fb999999999999a; bra M%d; L%d: fma.rp.f64 %%fd2, %%fd1, %%fd2, 0d3fb999999999999a; M%d:\n" :
			      i % 3 ? "@%%p1 fma.rm.f64 %%fd2, %%fd2, %%fd1, 0d3fe0000000000000;\n" : "fma.rp.f64 %%fd2, %%fd2, %%fd1, 0d3fd5555555555555;\n", i, i, i, i);
	strcpy(at, "st.global.f64 [%rd2], %fd2; ret;\n}\n");
	for (size_t t = 0; t < THREADS; t++)
		in[t] = 0.3 + (double)(next() >> 12) * 0x1p-53;
	m = load_text(ptx);
	cr_assert_eq(hg_expand(hg_module_ir(m), &ir), HG_OK);
	for (uint32_t b = 0; b < ir->func[0].nr_blocks; b++)
		for (uint32_t i = 0; i < ir->func[0].block[b].nr_insns; i++, nr_insns++)
			nr_brx += ir->func[0].block[b].insn[i].op == IR_brx;
	cr_expect_eq(nr_brx, 1);
	cr_expect_lt(nr_insns, 20 * USES, "%u instructions", nr_insns);
	ir_module_free(ir);
	hg_module_free(m);
	cr_assert(run_expanded(ptx, &params, THREADS));
	for (size_t t = 0; t < THREADS; t++) {
		volatile double x = in[t], v = x;

		for (int i = 0; i < USES; i++) {
			fesetround(i % 3 == 2 ? t % 4 == 1 ? FE_UPWARD : FE_TOWARDZERO : i % 3 ? FE_DOWNWARD : FE_UPWARD);
			if (i % 3 != 1 || t % 4 == 1)
				v = fma(v, x, i % 3 == 2 ? 0.1 : i % 3 ? 0.5 : 0x1.5555555555555p-2);
		}
		fesetround(FE_TONEAREST);
		cr_assert_eq(bits64(out[t]), bits64(v), "thread %zu", t);
	}
}
