/* emit_math.c - the approximations of PTX (sin, cos, ex2, lg2, tanh), by one algorithm each. */
#define _GNU_SOURCE
#include "translate/emit.h"

#include <math.h>

/*
 * Sums, products, divisions and fused multiply-adds of f32 alone, each correctly rounded: the result is the
 * same bit for bit on every CPU and can be the same on every other target. PTX ISA 9.7.3 bounds the errors:
 * sin and cos 2^-20.5 in [-2 pi, 2 pi], ex2 and lg2 2^-22, tanh 2^-11 (relative).
 */

static LLVMValueRef fc(struct emit *e, double v)
{
	return emit_fconst(e, 32, v);
}

static LLVMValueRef ic(struct emit *e, uint32_t v)
{
	return emit_const(e, 32, v);
}

static LLVMValueRef mul(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildFMul(e->b, a, b, "");
}

static LLVMValueRef fma3(struct emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
	return emit_call3(e, "llvm.fma", a, b, c);
}

/* c[0] + c[1] x + c[2] x^2 + … */
static LLVMValueRef poly(struct emit *e, LLVMValueRef x, const double *c, int nr)
{
	LLVMValueRef r = fc(e, c[nr - 1]);

	for (int i = nr - 2; i >= 0; i--)
		r = fma3(e, r, x, fc(e, c[i]));
	return r;
}

static LLVMValueRef less(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildFCmp(e->b, LLVMRealOLT, a, b, "");
}

static LLVMValueRef clamp(struct emit *e, LLVMValueRef x, double low, double high)
{
	x = emit_select(e, less(e, x, fc(e, low)), fc(e, low), x);
	return emit_select(e, less(e, fc(e, high), x), fc(e, high), x);
}

static LLVMValueRef is_nan(struct emit *e, LLVMValueRef x)
{
	return LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, "");
}

/* 2^n of an integer -126 <= n <= 127 */
static LLVMValueRef power(struct emit *e, LLVMValueRef n)
{
	return emit_to_float(e, LLVMBuildShl(e->b, LLVMBuildAdd(e->b, n, ic(e, 127), ""), ic(e, 23), ""));
}

static LLVMValueRef to_int(struct emit *e, LLVMValueRef x)
{
	LLVMTypeRef over[2] = { emit_int(e, 32), LLVMTypeOf(x) };

	return emit_call(e, "llvm.fptosi.sat", over, 2, &x, 1);
}

/* 2^x: the nearest integer apart, the rest in [-1/2, 1/2] by the exponential series. */
static LLVMValueRef ex2(struct emit *e, LLVMValueRef x)
{
	double c[8] = { 1 };
	LLVMValueRef in = clamp(e, x, -152, 129), n, p, half;

	for (int k = 1; k < 8; k++)
		c[k] = c[k - 1] * M_LN2 / k;
	in = emit_select(e, is_nan(e, x), fc(e, 0), in);
	n = emit_call1(e, "llvm.roundeven", in);
	p = poly(e, LLVMBuildFSub(e->b, in, n, ""), c, 8);
	n = to_int(e, n);
	/* in two steps: 2^n may be out of range where p 2^n is not, and only the second can round */
	half = LLVMBuildAShr(e->b, n, ic(e, 1), "");
	p = mul(e, mul(e, p, power(e, half)), power(e, LLVMBuildSub(e->b, n, half, "")));
	return emit_select(e, is_nan(e, x), x, p);
}

/* log2: exponent, and the mantissa m in [sqrt 1/2, sqrt 2) by the series of atanh((m - 1) / (m + 1)). */
static LLVMValueRef lg2(struct emit *e, LLVMValueRef x)
{
	const uint32_t low = 0x3f3504f3;	/* sqrt 1/2 */
	double c[5];
	LLVMValueRef small = less(e, x, fc(e, 0x1p-126)), in, bits, exp, m, t, t2, r, zero = fc(e, 0);

	for (int k = 0; k < 5; k++)
		c[k] = 2 / M_LN2 / (2 * k + 1);
	in = emit_select(e, small, mul(e, x, fc(e, 0x1p23)), x);
	bits = LLVMBuildSub(e->b, emit_to_int(e, in), ic(e, low), "");
	exp = LLVMBuildAShr(e->b, bits, ic(e, 23), "");
	m = emit_to_float(e, LLVMBuildAdd(e->b, LLVMBuildAnd(e->b, bits, ic(e, 0x7fffff), ""), ic(e, low), ""));
	t = LLVMBuildFDiv(e->b, LLVMBuildFSub(e->b, m, fc(e, 1), ""), LLVMBuildFAdd(e->b, m, fc(e, 1), ""), "");
	t2 = mul(e, t, t);
	r = mul(e, t, poly(e, t2, c, 5));
	exp = LLVMBuildSIToFP(e->b, exp, LLVMTypeOf(x), "");
	exp = LLVMBuildFSub(e->b, exp, emit_select(e, small, fc(e, 23), zero), "");
	r = LLVMBuildFAdd(e->b, exp, r, "");
	r = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOEQ, x, zero, ""), fc(e, -INFINITY), r);
	r = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOEQ, x, fc(e, INFINITY), ""), x, r);
	return emit_select(e, LLVMBuildFCmp(e->b, LLVMRealULT, x, zero, ""), fc(e, NAN), r);
}

/* By quadrants; pi/2 in three parts, so that the products with the quadrant's number are exact enough. */
static LLVMValueRef sin_cos(struct emit *e, LLVMValueRef x, bool cosine)
{
	static const double s[] = { 1, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880 };
	static const double c[] = { 1, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320 };
	LLVMValueRef q = emit_call1(e, "llvm.roundeven", mul(e, x, fc(e, M_2_PI))), minus = LLVMBuildFNeg(e->b, q, "");
	LLVMValueRef r, r2, sine, cosi, n, odd, negative;

	r = fma3(e, minus, fc(e, 0x1.921fb6p+0), x);
	r = fma3(e, minus, fc(e, -0x1.777a5cp-25), r);
	r = fma3(e, minus, fc(e, -0x1.ee59dap-50), r);
	r2 = mul(e, r, r);
	sine = mul(e, r, poly(e, r2, s, 5));
	cosi = poly(e, r2, c, 5);
	n = to_int(e, q);
	if (cosine)
		n = LLVMBuildAdd(e->b, n, ic(e, 1), "");
	odd = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, n, ic(e, 1), ""), ic(e, 0), "");
	negative = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, n, ic(e, 2), ""), ic(e, 0), "");
	r = emit_select(e, odd, cosi, sine);
	r = emit_select(e, negative, LLVMBuildFNeg(e->b, r, ""), r);
	/* beyond 2^24 the reduction means nothing, and PTX promises nothing; an infinity gives NaN */
	r = clamp(e, r, -1, 1);
	/* the sine of -0 is that: the reduction has lost its sign */
	return cosine ? r : emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOEQ, x, fc(e, 0), ""), x, r);
}

/* Small arguments by a continued fraction, others by 1 - 2 / (e^2x + 1). */
static LLVMValueRef tanh_(struct emit *e, LLVMValueRef x)
{
	static const double num[] = { 945, 105, 1 }, den[] = { 945, 420, 15 };
	LLVMValueRef in = clamp(e, x, -10, 10), x2 = mul(e, in, in), small, large, a;

	small = mul(e, in, LLVMBuildFDiv(e->b, poly(e, x2, num, 3), poly(e, x2, den, 3), ""));
	large = ex2(e, mul(e, in, fc(e, 2 * M_LOG2E)));
	large = LLVMBuildFSub(e->b, fc(e, 1), LLVMBuildFDiv(e->b, fc(e, 2), LLVMBuildFAdd(e->b, large, fc(e, 1), ""), ""), "");
	a = less(e, x2, fc(e, 1));
	return emit_select(e, is_nan(e, x), x, emit_select(e, a, small, large));
}

/* ex2 and tanh of 16-bit floats: those of f32, rounded. */
static void halves(struct emit *e)
{
	enum ir_type t = e->insn->type;
	bool bf = t == IR_BF16 || t == IR_BF16X2, ftz = e->insn->flags & IR_FTZ;
	unsigned int bits = ir_type_bits(t);
	LLVMValueRef all = emit_src(e, 0, bits), r = NULL;

	for (unsigned int at = 0; at < bits; at += 16) {
		LLVMValueRef h = emit_resize(e, LLVMBuildLShr(e->b, all, emit_const(e, bits, at), ""), 16, false), x;

		if (ftz)
			h = emit_flush_half(e, h, bf);
		x = emit_half_to_f32(e, h, bf);
		h = emit_f32_to_half(e, e->insn->op == IR_ex2 ? ex2(e, x) : tanh_(e, x), bf);
		if (ftz)
			h = emit_flush_half(e, h, bf);
		h = LLVMBuildShl(e->b, emit_resize(e, h, bits, false), emit_const(e, bits, at), "");
		r = r ? LLVMBuildOr(e->b, r, h, "") : h;
	}
	emit_set(e, 0, r);
}

bool emit_math(struct emit *e)
{
	LLVMValueRef x;

	switch (e->insn->op) {
	case IR_sin: case IR_cos: case IR_ex2: case IR_lg2: case IR_tanh:
		break;
	default:
		return false;
	}
	if (e->insn->type != IR_F32) {
		halves(e);
		return true;
	}
	x = emit_fsrc(e, 0);
	switch (e->insn->op) {
	case IR_sin: x = sin_cos(e, x, false); break;
	case IR_cos: x = sin_cos(e, x, true); break;
	case IR_ex2: x = ex2(e, x); break;
	case IR_lg2: x = lg2(e, x); break;
	default: x = tanh_(e, x); break;
	}
	emit_fset(e, x);
	return true;
}
