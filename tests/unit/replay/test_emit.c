/* test_emit.c - what single PTX instructions compute on the CPU target, against C. */
#include <fenv.h>
#include <math.h>

#include "tests/unit/replay/kernel_test.h"

#define NR(a) (sizeof(a) / sizeof((a)[0]))

/* One row of a test: three operands, the result. */
struct item { uint64_t a, b, c, out; };

static const uint64_t ints[] = {
	0, 1, 2, 3, 7, 31, 32, 33, 64, 100, 0x7fff, 0x8000, 0xffff, 0x12345678, 0x7fffffff, 0x80000000, 0xffffffff,
	0xdeadbeef, 0x100000000, 0x123456789abcdef0, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX,
};
static const uint32_t floats[] = {
	0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x00800001, 0x3f800000, 0xbf800000, 0x3fc00000, 0xc0200000, 0x40200000,
	0x3dcccccd, 0x3eaaaaab, 0x4b800001, 0xcb7fffff, 0x4effffff, 0x4f000000, 0xcf000000, 0x4f800000, 0x5f000000, 0x7f7fffff,
	0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x1e3ce508, 0x3f7fffff, 0x3f000000,
};
static const uint64_t doubles[] = {
	0, UINT64_C(1) << 63, 1, 0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0xbff8000000000000, 0x4004000000000000,
	0x3fb999999999999a, 0x3fd5555555555555, 0x41dfffffffc00000, 0x41e0000000000000, 0xc1e0000000200000, 0x43e0000000000000,
	0x47efffffefffffff, 0x47f0000000000000, 0x36a0000000000001, 0x7fefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000,
	0x7ff8000000000000, 0x7ff0000000000001, 0x4330000000000001,
};

enum { MAX_ITEMS = 32768 };
static struct item items[MAX_ITEMS];

/* Operands of kind 'r' (32 bits), 'd' (64), 'h' (16), 'f', 'g' (f64). */
static size_t fill(char kind, int operands)
{
	size_t nr = kind == 'f' ? NR(floats) : kind == 'g' ? NR(doubles) : NR(ints), n = 0;
	uint64_t x[3];

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < (operands > 1 ? nr : 1); j++)
			for (size_t k = 0; k < (operands > 2 ? nr : 1); k++) {
				size_t at[3] = { i, j, k };

				for (int o = 0; o < 3; o++)
					x[o] = kind == 'f' ? floats[at[o]] : kind == 'g' ? doubles[at[o]] : ints[at[o]];
				cr_assert_lt(n, MAX_ITEMS);
				items[n++] = (struct item){ x[0], x[1], x[2], 0x5555555555555555 };
			}
	return n;
}

static const char *reg(char kind)
{
	switch (kind) {
	case 'h': return "%h";
	case 'r': return "%r";
	case 'f': return "%f";
	case 'g': return "%fd";
	default: return "%rd";
	}
}

static const char *type(char kind)
{
	switch (kind) {
	case 'h': return "u16";
	case 'r': return "u32";
	case 'f': return "f32";
	case 'g': return "f64";
	default: return "u64";
	}
}

/* insn: sources are registers 1 to 3 of kind `in`, the destination register 4 of kind `out`. */
static void check(const char *insn, char in, char out, int operands, uint64_t (*ref)(uint64_t, uint64_t, uint64_t))
{
	struct { void *p; uint32_t n; } params;
	char body[2048], ptx[4096];
	size_t n = fill(in, operands);
	struct kernel_run r = { .block = { 96 }, .data = items };

	snprintf(body, sizeof(body),
		 "ld.param.u64 %%rd8, [p]; ld.param.u32 %%r8, [n];\n"
		 "mov.u32 %%r7, %%ctaid.x; mov.u32 %%r6, %%ntid.x; mov.u32 %%r5, %%tid.x;\n"
		 "mad.lo.u32 %%r7, %%r7, %%r6, %%r5; setp.ge.u32 %%p8, %%r7, %%r8; @%%p8 bra DONE;\n"
		 "mul.wide.u32 %%rd7, %%r7, 32; add.u64 %%rd8, %%rd8, %%rd7;\n"
		 "ld.global.%s %s1, [%%rd8]; ld.global.%s %s2, [%%rd8+8]; ld.global.%s %s3, [%%rd8+16];\n"
		 "%s\nmov.u64 %%rd7, 0; st.global.u64 [%%rd8+24], %%rd7; st.global.%s [%%rd8+24], %s4;\nDONE: ret;",
		 type(in), reg(in), type(in), reg(in), type(in), reg(in), insn, type(out), reg(out));
	kernel_around("", body, "", ptx, sizeof(ptx));
	params.p = items;
	params.n = (uint32_t)n;
	r.params = &params;
	r.grid[0] = (uint32_t)(n + 95) / 96;
	r.size = n * sizeof(items[0]);
	run_all_ways(ptx, &r);
	for (size_t i = 0; i < n; i++) {
		uint64_t want = ref(items[i].a, items[i].b, items[i].c);

		cr_assert_eq(items[i].out, want, "%s of %llx %llx %llx gave %llx, not %llx", insn, (unsigned long long)items[i].a,
			     (unsigned long long)items[i].b, (unsigned long long)items[i].c, (unsigned long long)items[i].out,
			     (unsigned long long)want);
	}
}

#define REF(name, expr) static uint64_t name(uint64_t a, uint64_t b, uint64_t c) { (void)a; (void)b; (void)c; return (expr); }
#define U(x) ((uint32_t)(x))
#define S(x) ((int32_t)(x))
#define L(x) ((int64_t)(x))

REF(add32, U(a + b)) REF(sub32, U(a - b)) REF(mul32, U(U(a) * U(b)))
REF(mulhi_u, (uint64_t)U(a) * U(b) >> 32) REF(mulhi_s, U(((int64_t)S(a) * S(b)) >> 32))
REF(mulwide_s, (uint64_t)((int64_t)S(a) * S(b))) REF(mulwide_u, (uint64_t)U(a) * U(b))
REF(mad32, U(U(a) * U(b) + U(c)))
REF(div_u, U(b) ? U(a) / U(b) : UINT32_MAX) REF(rem_u, U(b) ? U(a) % U(b) : U(a))
REF(div_s, !S(b) ? UINT32_MAX : S(b) == -1 ? U(0 - U(a)) : U(S(a) / S(b)))
REF(rem_s, !S(b) ? U(a) : S(b) == -1 ? 0 : U(S(a) % S(b)))
REF(div_u64, b ? a / b : UINT64_MAX) REF(rem_u64, b ? a % b : a)
REF(div_s64, !b ? UINT64_MAX : b == UINT64_MAX ? 0 - a : (uint64_t)(L(a) / L(b)))
REF(rem_s64, !b ? a : b == UINT64_MAX ? 0 : (uint64_t)(L(a) % L(b)))
REF(div_s16, !(int16_t)b ? 0xffff : (uint16_t)((int16_t)a / (int16_t)b))
REF(min_s, S(a) < S(b) ? U(a) : U(b)) REF(max_u, U(a) > U(b) ? U(a) : U(b))
REF(abs_s, S(a) < 0 ? U(0 - U(a)) : U(a))
REF(sad_s, U((S(a) < S(b) ? U(b) - U(a) : U(a) - U(b)) + U(c)))
REF(shl32, U(b) > 31 ? 0 : U(U(a) << U(b))) REF(shr_u, U(b) > 31 ? 0 : U(a) >> U(b)) REF(shr_s, U(S(a) >> (U(b) > 31 ? 31 : U(b))))
REF(shl64, U(b) > 63 ? 0 : a << U(b))
REF(addsat, ((int64_t)S(a) + S(b)) > INT32_MAX ? INT32_MAX : ((int64_t)S(a) + S(b)) < INT32_MIN ? U(INT32_MIN) : U(a + b))
REF(clz32, U(a) ? (uint64_t)__builtin_clz(U(a)) : 32) REF(popc32, (uint64_t)__builtin_popcount(U(a)))
REF(clz64, a ? (uint64_t)__builtin_clzll(a) : 64)
REF(bfind_u, U(a) ? 31 - (uint64_t)__builtin_clz(U(a)) : UINT32_MAX)
REF(bfind_s, U(S(a) < 0 ? ~a : a) ? 31 - (uint64_t)__builtin_clz(U(S(a) < 0 ? ~a : a)) : UINT32_MAX)
REF(lop3, U((a & b & c) | (a & ~b & ~c)))
REF(shf_wrap, U(b << (c & 31) | (U(c) & 31 ? U(a) >> (32 - (c & 31)) : 0)))
REF(shf_clamp, U(c) > 31 ? U(b) : U(a) >> U(c) | (U(c) ? U(b) << (32 - U(c)) : 0))
REF(bmsk_clamp, U(a) > 31 ? 0 : U(b) > 31 ? U(UINT32_MAX << U(a)) : U(((UINT64_C(1) << U(b)) - 1) << U(a)))
REF(bmsk_wrap, U(((UINT64_C(1) << (b & 31)) - 1) << (a & 31)))
REF(cnot32, U(a) == 0) REF(cvt_s64_s32, (uint64_t)(int64_t)S(a)) REF(cvt_u16_u32, (uint16_t)a) REF(cvt_s8, U((int32_t)(int8_t)a))
REF(cvt_sat_u8, S(a) < 0 ? 0 : S(a) > 255 ? 255 : U(a)) REF(cvt_sat_s8_u, U(a) > 127 ? 127 : U(a))

static uint64_t brev(uint64_t a, uint64_t b, uint64_t c)
{
	uint32_t r = 0;

	(void)b;
	(void)c;
	for (int i = 0; i < 32; i++)
		r |= (uint32_t)(a >> i & 1) << (31 - i);
	return r;
}

static uint64_t bfe_s(uint64_t a, uint64_t b, uint64_t c)
{
	uint32_t pos = b & 255, len = c & 255, r = 0, sign;

	if (!len)
		return 0;
	sign = pos + len - 1 > 31 ? 31 : pos + len - 1;
	sign = U(a) >> sign & 1;
	for (uint32_t i = 0; i < 32; i++)
		r |= (i < len && pos + i < 32 ? U(a) >> (pos + i) & 1 : sign) << i;
	return r;
}

static uint64_t bfe_u(uint64_t a, uint64_t b, uint64_t c)
{
	uint32_t pos = b & 255, len = c & 255, r = 0;

	for (uint32_t i = 0; i < 32; i++)
		r |= (i < len && pos + i < 32 ? U(a) >> (pos + i) & 1 : 0) << i;
	return r;
}

static uint64_t bfi(uint64_t a, uint64_t b, uint64_t c)
{
	uint32_t pos = c & 255, r = U(b);

	for (uint32_t i = 0; i < 9 && pos + i < 32; i++)
		r = (r & ~(UINT32_C(1) << (pos + i))) | (U(a) >> i & 1) << (pos + i);
	return r;
}

static uint64_t prmt(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t v = U(a) | (uint64_t)U(b) << 32;
	uint32_t r = 0;

	for (int i = 0; i < 4; i++) {
		uint32_t s = c >> (4 * i) & 15, byte = v >> (8 * (s & 7)) & 255;

		if (s & 8)
			byte = byte & 128 ? 255 : 0;
		r |= byte << (8 * i);
	}
	return r;
}

static uint64_t dp4a(uint64_t a, uint64_t b, uint64_t c)
{
	uint32_t r = U(c);

	for (int i = 0; i < 4; i++)
		r += (uint32_t)((int8_t)(a >> (8 * i)) * (int8_t)(b >> (8 * i)));
	return r;
}

Test(emit, integer_arithmetic_is_that_of_c)
{
	check("add.u32 %r4, %r1, %r2;", 'r', 'r', 2, add32);
	check("sub.s32 %r4, %r1, %r2;", 'r', 'r', 2, sub32);
	check("mul.lo.s32 %r4, %r1, %r2;", 'r', 'r', 2, mul32);
	check("mul.hi.u32 %r4, %r1, %r2;", 'r', 'r', 2, mulhi_u);
	check("mul.hi.s32 %r4, %r1, %r2;", 'r', 'r', 2, mulhi_s);
	check("mul.wide.s32 %rd4, %r1, %r2;", 'r', 'd', 2, mulwide_s);
	check("mul.wide.u32 %rd4, %r1, %r2;", 'r', 'd', 2, mulwide_u);
	check("mad.lo.s32 %r4, %r1, %r2, %r3;", 'r', 'r', 3, mad32);
	check("add.sat.s32 %r4, %r1, %r2;", 'r', 'r', 2, addsat);
	check("min.s32 %r4, %r1, %r2;", 'r', 'r', 2, min_s);
	check("max.u32 %r4, %r1, %r2;", 'r', 'r', 2, max_u);
	check("abs.s32 %r4, %r1;", 'r', 'r', 1, abs_s);
	check("sad.s32 %r4, %r1, %r2, %r3;", 'r', 'r', 3, sad_s);
}

Test(emit, division_never_traps)
{
	check("div.u32 %r4, %r1, %r2;", 'r', 'r', 2, div_u);
	check("rem.u32 %r4, %r1, %r2;", 'r', 'r', 2, rem_u);
	check("div.s32 %r4, %r1, %r2;", 'r', 'r', 2, div_s);
	check("rem.s32 %r4, %r1, %r2;", 'r', 'r', 2, rem_s);
	check("div.u64 %rd4, %rd1, %rd2;", 'd', 'd', 2, div_u64);
	check("rem.u64 %rd4, %rd1, %rd2;", 'd', 'd', 2, rem_u64);
	check("div.s64 %rd4, %rd1, %rd2;", 'd', 'd', 2, div_s64);
	check("rem.s64 %rd4, %rd1, %rd2;", 'd', 'd', 2, rem_s64);
	check("div.s16 %h4, %h1, %h2;", 'h', 'h', 2, div_s16);
}

Test(emit, bits_are_those_of_c)
{
	check("shl.b32 %r4, %r1, %r2;", 'r', 'r', 2, shl32);
	check("shr.u32 %r4, %r1, %r2;", 'r', 'r', 2, shr_u);
	check("shr.s32 %r4, %r1, %r2;", 'r', 'r', 2, shr_s);
	check("cvt.u32.u64 %r1, %rd2; shl.b64 %rd4, %rd1, %r1;", 'd', 'd', 2, shl64);
	check("clz.b32 %r4, %r1;", 'r', 'r', 1, clz32);
	check("clz.b64 %r4, %rd1;", 'd', 'r', 1, clz64);
	check("popc.b32 %r4, %r1;", 'r', 'r', 1, popc32);
	check("brev.b32 %r4, %r1;", 'r', 'r', 1, brev);
	check("bfind.u32 %r4, %r1;", 'r', 'r', 1, bfind_u);
	check("bfind.s32 %r4, %r1;", 'r', 'r', 1, bfind_s);
	check("bfe.s32 %r4, %r1, %r2, %r3;", 'r', 'r', 3, bfe_s);
	check("bfe.u32 %r4, %r1, %r2, %r3;", 'r', 'r', 3, bfe_u);
	check("bfi.b32 %r4, %r1, %r2, %r3, 9;", 'r', 'r', 3, bfi);
	check("bmsk.clamp.b32 %r4, %r1, %r2;", 'r', 'r', 2, bmsk_clamp);
	check("bmsk.wrap.b32 %r4, %r1, %r2;", 'r', 'r', 2, bmsk_wrap);
}

Test(emit, bytes_and_funnels_are_those_of_c)
{
	check("prmt.b32 %r4, %r1, %r2, %r3;", 'r', 'r', 3, prmt);
	check("dp4a.s32.s32 %r4, %r1, %r2, %r3;", 'r', 'r', 3, dp4a);
	check("shf.l.wrap.b32 %r4, %r1, %r2, %r3;", 'r', 'r', 3, shf_wrap);
	check("shf.r.clamp.b32 %r4, %r1, %r2, %r3;", 'r', 'r', 3, shf_clamp);
	check("cnot.b32 %r4, %r1;", 'r', 'r', 1, cnot32);
	check("cvt.s64.s32 %rd4, %r1;", 'r', 'd', 1, cvt_s64_s32);
	check("cvt.u16.u32 %h4, %r1;", 'r', 'h', 1, cvt_u16_u32);
	check("cvt.s32.s8 %r4, %r1;", 'r', 'r', 1, cvt_s8);
	check("cvt.sat.u8.s32 %r4, %r1;", 'r', 'r', 1, cvt_sat_u8);
	check("cvt.sat.s8.u32 %r4, %r1;", 'r', 'r', 1, cvt_sat_s8_u);
}

/* ---- floats ---- */

static float F(uint64_t bits)
{
	uint32_t u = (uint32_t)bits;
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

static double D(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, sizeof(d));
	return d;
}

static uint64_t fb(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof(u));
	return f != f ? 0x7fffffff : u;
}

static uint64_t db(double d)
{
	uint64_t u;

	memcpy(&u, &d, sizeof(u));
	return d != d ? UINT64_C(0xfff8000000000000) : u;
}

static float ftz(float f)
{
	return fpclassify(f) == FP_SUBNORMAL ? copysignf(0, f) : f;
}

/* Directed by the hardware's mode; volatile, so that nothing is computed at another time. */
static uint64_t mode_f(int mode, char op, uint64_t a, uint64_t b, uint64_t c)
{
	volatile float x = F(a), y = F(b), z = F(c), r = 0;

	fesetround(mode);
	switch (op) {
	case '+': r = x + y; break;
	case '*': r = x * y; break;
	case '/': r = x / y; break;
	case 's': r = sqrtf(x); break;
	default: r = fmaf(x, y, z); break;
	}
	fesetround(FE_TONEAREST);
	return fb(r);
}

static uint64_t mode_d(int mode, char op, uint64_t a, uint64_t b, uint64_t c)
{
	volatile double x = D(a), y = D(b), z = D(c), r = 0;
	volatile float f = 0;

	fesetround(mode);
	switch (op) {
	case '+': r = x + y; break;
	case '*': r = x * y; break;
	case '/': r = x / y; break;
	case 's': r = sqrt(x); break;
	case 'n': f = (float)x; break;
	default: r = fma(x, y, z); break;
	}
	fesetround(FE_TONEAREST);
	return op == 'n' ? fb(f) : db(r);
}

REF(fadd, mode_f(FE_TONEAREST, '+', a, b, c)) REF(fmul, mode_f(FE_TONEAREST, '*', a, b, c))
REF(ffma, mode_f(FE_TONEAREST, 'f', a, b, c)) REF(fdiv, mode_f(FE_TONEAREST, '/', a, b, c)) REF(fsqrt, mode_f(FE_TONEAREST, 's', a, b, c))
REF(fadd_rm, mode_f(FE_DOWNWARD, '+', a, b, c)) REF(fadd_rp, mode_f(FE_UPWARD, '+', a, b, c)) REF(fadd_rz, mode_f(FE_TOWARDZERO, '+', a, b, c))
REF(fmul_rm, mode_f(FE_DOWNWARD, '*', a, b, c)) REF(fmul_rp, mode_f(FE_UPWARD, '*', a, b, c)) REF(fmul_rz, mode_f(FE_TOWARDZERO, '*', a, b, c))
REF(ffma_rm, mode_f(FE_DOWNWARD, 'f', a, b, c)) REF(ffma_rp, mode_f(FE_UPWARD, 'f', a, b, c)) REF(ffma_rz, mode_f(FE_TOWARDZERO, 'f', a, b, c))
REF(fdiv_rm, mode_f(FE_DOWNWARD, '/', a, b, c)) REF(fsqrt_rp, mode_f(FE_UPWARD, 's', a, b, c))
REF(dadd, mode_d(FE_TONEAREST, '+', a, b, c)) REF(dmul, mode_d(FE_TONEAREST, '*', a, b, c)) REF(dfma, mode_d(FE_TONEAREST, 'f', a, b, c))
REF(ddiv, mode_d(FE_TONEAREST, '/', a, b, c)) REF(dadd_rm, mode_d(FE_DOWNWARD, '+', a, b, c)) REF(dmul_rp, mode_d(FE_UPWARD, '*', a, b, c))
REF(dfma_rz, mode_d(FE_TOWARDZERO, 'f', a, b, c))
REF(d2f, mode_d(FE_TONEAREST, 'n', a, b, c)) REF(d2f_rm, mode_d(FE_DOWNWARD, 'n', a, b, c)) REF(d2f_rp, mode_d(FE_UPWARD, 'n', a, b, c))
REF(d2f_rz, mode_d(FE_TOWARDZERO, 'n', a, b, c))
REF(f2d, db(F(a)))
REF(fadd_ftz, fb(ftz(ftz(F(a)) + ftz(F(b))))) REF(fmul_ftz, fb(ftz(ftz(F(a)) * ftz(F(b)))))
REF(fadd_sat, ({ float r_ = F(a) + F(b); fb(!(r_ > 0) ? 0 : r_ < 1 ? r_ : 1); }))

static uint64_t fmin_(uint64_t a, uint64_t b, uint64_t c)
{
	float x = F(a), y = F(b);

	(void)c;
	if (x != x)
		return fb(y);
	if (y != y)
		return fb(x);
	if (x == y)
		return signbit(x) ? a : b;
	return fb(x < y ? x : y);
}

static uint64_t fmax_nan(uint64_t a, uint64_t b, uint64_t c)
{
	float x = F(a), y = F(b);

	(void)c;
	if (x != x || y != y)
		return 0x7fffffff;
	if (x == y)
		return signbit(x) ? b : a;
	return fb(x > y ? x : y);
}

static uint64_t f2s(uint64_t a, uint64_t b, uint64_t c)
{
	float x = F(a);

	(void)b;
	(void)c;
	return x != x ? 0 : x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? U(INT32_MIN) : U((int32_t)x);
}

static uint64_t f2s_rni(uint64_t a, uint64_t b, uint64_t c)
{
	return f2s(fb(rintf(F(a))), b, c);
}

static uint64_t f2u_rpi(uint64_t a, uint64_t b, uint64_t c)
{
	float x = ceilf(F(a));

	(void)b;
	(void)c;
	return !(x > 0) ? 0 : x >= 0x1p32f ? UINT32_MAX : (uint32_t)x;
}

static uint64_t d2s64(uint64_t a, uint64_t b, uint64_t c)
{
	double x = D(a);

	(void)b;
	(void)c;
	return x != x ? UINT64_C(1) << 63 : x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? UINT64_C(1) << 63 : (uint64_t)(int64_t)x;
}

REF(s2f, fb((float)S(a))) REF(u2f, fb((float)U(a))) REF(u64_d, db((double)a)) REF(rint_f, fb(rintf(F(a)))) REF(floor_f, fb(floorf(F(a))))

static uint64_t s64f(int mode, uint64_t a)
{
	volatile int64_t v = (int64_t)a;
	volatile float f;

	fesetround(mode);
	f = (float)v;
	fesetround(FE_TONEAREST);
	return fb(f);
}
REF(s64_f_rp, s64f(FE_UPWARD, a)) REF(s64_f_rz, s64f(FE_TOWARDZERO, a))

Test(emit, float_arithmetic_is_ieee_with_one_nan)
{
	check("add.rn.f32 %f4, %f1, %f2;", 'f', 'f', 2, fadd);
	check("mul.rn.f32 %f4, %f1, %f2;", 'f', 'f', 2, fmul);
	check("fma.rn.f32 %f4, %f1, %f2, %f3;", 'f', 'f', 3, ffma);
	check("div.rn.f32 %f4, %f1, %f2;", 'f', 'f', 2, fdiv);
	check("sqrt.rn.f32 %f4, %f1;", 'f', 'f', 1, fsqrt);
	check("add.f64 %fd4, %fd1, %fd2;", 'g', 'g', 2, dadd);
	check("mul.f64 %fd4, %fd1, %fd2;", 'g', 'g', 2, dmul);
	check("fma.rn.f64 %fd4, %fd1, %fd2, %fd3;", 'g', 'g', 3, dfma);
	check("div.rn.f64 %fd4, %fd1, %fd2;", 'g', 'g', 2, ddiv);
}

Test(emit, other_rounding_modes_are_exact)
{
	check("add.rm.f32 %f4, %f1, %f2;", 'f', 'f', 2, fadd_rm);
	check("add.rp.f32 %f4, %f1, %f2;", 'f', 'f', 2, fadd_rp);
	check("add.rz.f32 %f4, %f1, %f2;", 'f', 'f', 2, fadd_rz);
	check("mul.rm.f32 %f4, %f1, %f2;", 'f', 'f', 2, fmul_rm);
	check("mul.rp.f32 %f4, %f1, %f2;", 'f', 'f', 2, fmul_rp);
	check("mul.rz.f32 %f4, %f1, %f2;", 'f', 'f', 2, fmul_rz);
	check("fma.rm.f32 %f4, %f1, %f2, %f3;", 'f', 'f', 3, ffma_rm);
	check("fma.rp.f32 %f4, %f1, %f2, %f3;", 'f', 'f', 3, ffma_rp);
	check("fma.rz.f32 %f4, %f1, %f2, %f3;", 'f', 'f', 3, ffma_rz);
	check("div.rm.f32 %f4, %f1, %f2;", 'f', 'f', 2, fdiv_rm);
	check("sqrt.rp.f32 %f4, %f1;", 'f', 'f', 1, fsqrt_rp);
	check("add.rm.f64 %fd4, %fd1, %fd2;", 'g', 'g', 2, dadd_rm);
	check("mul.rp.f64 %fd4, %fd1, %fd2;", 'g', 'g', 2, dmul_rp);
	check("fma.rz.f64 %fd4, %fd1, %fd2, %fd3;", 'g', 'g', 3, dfma_rz);
}

Test(emit, denormals_are_flushed_only_where_the_instruction_says)
{
	check("add.ftz.f32 %f4, %f1, %f2;", 'f', 'f', 2, fadd_ftz);
	check("mul.ftz.f32 %f4, %f1, %f2;", 'f', 'f', 2, fmul_ftz);
	check("add.sat.f32 %f4, %f1, %f2;", 'f', 'f', 2, fadd_sat);
	check("min.f32 %f4, %f1, %f2;", 'f', 'f', 2, fmin_);
	check("max.NaN.f32 %f4, %f1, %f2;", 'f', 'f', 2, fmax_nan);
}

Test(emit, conversions_round_and_saturate)
{
	check("cvt.rzi.s32.f32 %r4, %f1;", 'f', 'r', 1, f2s);
	check("cvt.rni.s32.f32 %r4, %f1;", 'f', 'r', 1, f2s_rni);
	check("cvt.rpi.u32.f32 %r4, %f1;", 'f', 'r', 1, f2u_rpi);
	check("cvt.rzi.s64.f64 %rd4, %fd1;", 'g', 'd', 1, d2s64);
	check("cvt.rn.f32.s32 %f4, %r1;", 'r', 'f', 1, s2f);
	check("cvt.rn.f32.u32 %f4, %r1;", 'r', 'f', 1, u2f);
	check("cvt.rn.f64.u64 %fd4, %rd1;", 'd', 'g', 1, u64_d);
	check("cvt.rp.f32.s64 %f4, %rd1;", 'd', 'f', 1, s64_f_rp);
	check("cvt.rz.f32.s64 %f4, %rd1;", 'd', 'f', 1, s64_f_rz);
	check("cvt.rn.f32.f64 %f4, %fd1;", 'g', 'f', 1, d2f);
	check("cvt.rn.f32.f64 %fd4, %fd1;", 'g', 'g', 1, d2f);	/* into a register that is wider */
	check("cvt.rm.f32.f64 %f4, %fd1;", 'g', 'f', 1, d2f_rm);
	check("cvt.rp.f32.f64 %f4, %fd1;", 'g', 'f', 1, d2f_rp);
	check("cvt.rz.f32.f64 %f4, %fd1;", 'g', 'f', 1, d2f_rz);
	check("cvt.f64.f32 %fd4, %f1;", 'f', 'g', 1, f2d);
	check("cvt.rni.f32.f32 %f4, %f1;", 'f', 'f', 1, rint_f);
	check("cvt.rmi.f32.f32 %f4, %f1;", 'f', 'f', 1, floor_f);
}

REF(lt_f, F(a) < F(b)) REF(geu_f, !(F(a) < F(b))) REF(num_f, F(a) == F(a) && F(b) == F(b)) REF(neu_f, !(F(a) == F(b)))
REF(lt_s, S(a) < S(b)) REF(hi_u, U(a) > U(b)) REF(and_p, S(a) < S(b) && U(c) == 7)

Test(emit, comparisons_know_nan_and_sign)
{
#define TO_R " selp.u32 %r4, 1, 0, %p1;"
	check("setp.lt.f32 %p1, %f1, %f2;" TO_R, 'f', 'r', 2, lt_f);
	check("setp.geu.f32 %p1, %f1, %f2;" TO_R, 'f', 'r', 2, geu_f);
	check("setp.neu.f32 %p1, %f1, %f2;" TO_R, 'f', 'r', 2, neu_f);
	check("setp.num.f32 %p1, %f1, %f2;" TO_R, 'f', 'r', 2, num_f);
	check("setp.lt.s32 %p1, %r1, %r2;" TO_R, 'r', 'r', 2, lt_s);
	check("setp.hi.u32 %p1, %r1, %r2;" TO_R, 'r', 'r', 2, hi_u);
	check("setp.eq.u32 %p2, %r3, 7; setp.lt.and.s32 %p1, %r1, %r2, %p2;" TO_R, 'r', 'r', 3, and_p);
}

/* A guard that holds in some lanes leaves the others alone, also when the old value came from another block. */
REF(guarded, U(a) & 1 ? U(b) : U(c))
REF(carry, ({ unsigned __int128 s_ = (unsigned __int128)a + b; (uint64_t)(s_ >> 64) + c; }))

Test(emit, guards_and_carries)
{
	check("mov.u32 %r4, %r3; and.b32 %r5, %r1, 1; setp.ne.u32 %p1, %r5, 0; @%p1 mov.u32 %r4, %r2;", 'r', 'r', 3, guarded);
	check("add.cc.u64 %rd5, %rd1, %rd2; addc.u64 %rd4, %rd3, 0;", 'd', 'd', 3, carry);
	check("lop3.b32 %r4, %r1, %r2, %r3, 0x90;", 'r', 'r', 3, lop3);
}

/* ---- approximations: within PTX's bounds, the same on every instruction set ---- */

static void approximate(const char *insn, double lo, double hi, double (*exact)(double), double relative, double absolute)
{
	enum { N = 20000 };
	static struct item it[N];
	struct { void *p; uint32_t n; } params = { it, N };
	char body[1024], ptx[4096];
	struct kernel_run r = { .grid = { (N + 127) / 128 }, .block = { 128 }, .params = &params, .data = it, .size = sizeof(it) };

	for (int i = 0; i < N; i++)
		it[i] = (struct item){ .a = fb((float)(lo + (hi - lo) * i / N)) };
	snprintf(body, sizeof(body), "ld.param.u64 %%rd8, [p]; ld.param.u32 %%r8, [n];\n"
		 "mov.u32 %%r7, %%ctaid.x; mov.u32 %%r6, %%ntid.x; mov.u32 %%r5, %%tid.x;\n"
		 "mad.lo.u32 %%r7, %%r7, %%r6, %%r5; setp.ge.u32 %%p8, %%r7, %%r8; @%%p8 bra DONE;\n"
		 "mul.wide.u32 %%rd7, %%r7, 32; add.u64 %%rd8, %%rd8, %%rd7; ld.global.f32 %%f1, [%%rd8];\n"
		 "%s\nst.global.f32 [%%rd8+24], %%f4; DONE: ret;", insn);
	run_all_ways(kernel_around("", body, "", ptx, sizeof(ptx)), &r);
	for (int i = 0; i < N; i++) {
		double want = exact(F(it[i].a)), got = F(it[i].out), err = fabs(got - want);

		cr_assert(err <= absolute + relative * fabs(want), "%s of %.9g gave %.9g, not %.9g", insn, F(it[i].a), got, want);
	}
}

static double rsqrt_(double x) { return 1 / sqrt(x); }
static double rcp_(double x) { return 1 / x; }

Test(emit, approximations_are_within_the_bounds_of_ptx)
{
	approximate("ex2.approx.f32 %f4, %f1;", -126, 127, exp2, 0x1p-22, 0);
	approximate("ex2.approx.ftz.f32 %f4, %f1;", -2, 2, exp2, 0x1p-22, 0);
	approximate("lg2.approx.f32 %f4, %f1;", 0.5, 2, log2, 0, 0x1p-22);
	approximate("lg2.approx.f32 %f4, %f1;", 2.01, 1e30, log2, 0x1p-22, 0);
	approximate("sin.approx.f32 %f4, %f1;", -6.2831, 6.2831, sin, 0, 0x1p-20);
	approximate("cos.approx.f32 %f4, %f1;", -6.2831, 6.2831, cos, 0, 0x1p-20);
	approximate("rcp.approx.f32 %f4, %f1;", 0.001, 1000, rcp_, 0x1p-23, 0);
	approximate("rsqrt.approx.f32 %f4, %f1;", 0.001, 1e6, rsqrt_, 0x1.6p-23, 0);
	approximate("tanh.approx.f32 %f4, %f1;", -8, 8, tanh, 0x1p-11, 0);
}
