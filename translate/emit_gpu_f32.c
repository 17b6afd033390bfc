/* emit_gpu_f32.c - arithmetic of f32 in integers alone, correctly rounded in every direction: for devices that have no f64. */
#include "translate/emit.h"

#define HIDDEN UINT32_C(0x800000)	/* the bit of a normal number's mantissa that its word leaves out */
#define LARGEST UINT32_C(0x7f7fffff)
#define INFINITE UINT32_C(0x7f800000)
#define NO_NUMBER UINT32_C(0x7fc00000)
#define SIGN UINT32_C(0x80000000)

static LLVMValueRef con(struct emit *e, uint32_t v)
{
	return emit_i32(e, v);
}

static LLVMValueRef add(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildAdd(e->b, a, b, "");
}

static LLVMValueRef sub(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildSub(e->b, a, b, "");
}

static LLVMValueRef and(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildAnd(e->b, a, b, "");
}

static LLVMValueRef or(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildOr(e->b, a, b, "");
}

static LLVMValueRef shl(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildShl(e->b, a, b, "");
}

static LLVMValueRef shr(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildLShr(e->b, a, b, "");
}

static LLVMValueRef is(struct emit *e, LLVMIntPredicate p, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildICmp(e->b, p, a, b, "");
}

static LLVMValueRef one_if(struct emit *e, LLVMValueRef bit)
{
	return LLVMBuildZExt(e->b, bit, emit_scalar_int(e, 32), "");
}

/* A number without its sign, neither infinite nor NaN: mantissa * 2^(exponent - 150), the mantissa's highest bit being HIDDEN; 0 is anything. */
struct number {
	LLVMValueRef mantissa, exponent;
};

static struct number take_apart(struct emit *e, LLVMValueRef word)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef exponent = shr(e, word, con(e, 23)), rest = and(e, word, con(e, HIDDEN - 1)), up;
	LLVMValueRef subnormal = is(e, LLVMIntEQ, exponent, con(e, 0));

	up = emit_call(e, "llvm.ctlz", &i32, 1, (LLVMValueRef[]){ rest, LLVMConstInt(emit_scalar_int(e, 1), 0, 0) }, 2);
	up = and(e, sub(e, up, con(e, 8)), con(e, 31));
	return (struct number){
		.mantissa = emit_select(e, subnormal, shl(e, rest, up), or(e, rest, con(e, HIDDEN))),
		.exponent = emit_select(e, subnormal, sub(e, con(e, 1), up), exponent),
	};
}

/* i1: whether what is cut adds one to the magnitude; `lost` of the 2 * `half` that are a unit, and a little more. */
static LLVMValueRef goes_up(struct emit *e, LLVMValueRef kept, LLVMValueRef lost, LLVMValueRef half, LLVMValueRef more, enum ir_rnd rnd,
			    LLVMValueRef negative)
{
	LLVMValueRef odd = is(e, LLVMIntNE, and(e, kept, con(e, 1)), con(e, 0)), any = or(e, more, is(e, LLVMIntNE, lost, con(e, 0)));

	switch (rnd) {
	case IR_RZ: return LLVMConstNull(LLVMTypeOf(any));
	case IR_RM: return and(e, any, negative);
	case IR_RP: return and(e, any, LLVMBuildNot(e->b, negative, ""));
	case EMIT_TO_ODD: return and(e, any, LLVMBuildNot(e->b, odd, ""));
	default: return or(e, is(e, LLVMIntUGT, lost, half), and(e, is(e, LLVMIntEQ, lost, half), or(e, more, odd)));
	}
}

/* What is past the range. */
static LLVMValueRef too_large(struct emit *e, enum ir_rnd rnd, LLVMValueRef negative)
{
	switch (rnd) {
	case IR_RZ: case EMIT_TO_ODD: return con(e, LARGEST);
	case IR_RM: return emit_select(e, negative, con(e, INFINITE), con(e, LARGEST));
	case IR_RP: return emit_select(e, negative, con(e, LARGEST), con(e, INFINITE));
	default: return con(e, INFINITE);
	}
}

/*
 * The magnitude of a number of that sign (i1): v, of 25 bits with the highest set, * 2^(exponent - 151), and a little more where `more` (i1) holds,
 * rounded: subnormal below exponent 1, past the range from 255 on.
 */
static LLVMValueRef rounded(struct emit *e, LLVMValueRef v, LLVMValueRef exponent, LLVMValueRef more, enum ir_rnd rnd, LLVMValueRef negative)
{
	LLVMValueRef normal = is(e, LLVMIntSGE, exponent, con(e, 1)), by, kept, lost, half, up, word;

	by = emit_call2(e, "llvm.smin", sub(e, con(e, 2), exponent), con(e, 26));
	by = emit_select(e, normal, con(e, 1), by);
	kept = shr(e, v, by);
	lost = sub(e, v, shl(e, kept, by));
	half = shl(e, con(e, 1), sub(e, by, con(e, 1)));
	up = goes_up(e, kept, lost, half, more, rnd, negative);
	/* the hidden bit adds the one that is missing here, and so does a mantissa that overflows */
	word = emit_select(e, normal, shl(e, sub(e, exponent, con(e, 1)), con(e, 23)), con(e, 0));
	word = add(e, add(e, word, kept), one_if(e, up));
	return emit_select(e, is(e, LLVMIntSGE, exponent, con(e, 255)), too_large(e, rnd, negative), word);
}

/* The same of v (i64), not 0, * 2^(exponent - 190). If bit 60 or a higher one is set, the lowest may stand for anything between 0 and 2. */
static LLVMValueRef rounded_wide(struct emit *e, LLVMValueRef v, LLVMValueRef exponent, enum ir_rnd rnd, LLVMValueRef negative)
{
	LLVMTypeRef i64 = emit_scalar_int(e, 64);
	LLVMValueRef up, more;

	up = emit_call(e, "llvm.ctlz", &i64, 1, (LLVMValueRef[]){ v, LLVMConstInt(emit_scalar_int(e, 1), 0, 0) }, 2);
	v = shl(e, v, and(e, up, emit_i64(e, 63)));
	more = is(e, LLVMIntNE, and(e, v, emit_i64(e, (UINT64_C(1) << 39) - 1)), emit_i64(e, 0));
	exponent = sub(e, exponent, emit_resize(e, up, 32, false));
	return rounded(e, emit_resize(e, shr(e, v, emit_i64(e, 39)), 32, false), exponent, more, rnd, negative);
}

static LLVMValueRef is_negative(struct emit *e, LLVMValueRef word)
{
	return is(e, LLVMIntSLT, word, con(e, 0));
}

LLVMValueRef emit_gpu_f32_div(struct emit *e, LLVMValueRef a, LLVMValueRef b, enum ir_rnd rnd)
{
	LLVMValueRef wa = emit_to_int(e, a), wb = emit_to_int(e, b), sign = and(e, LLVMBuildXor(e->b, wa, wb, ""), con(e, SIGN));
	LLVMValueRef less, exponent, divisor, rest, q, word, zero_a, zero_b, inf_a, inf_b, none;
	struct number na, nb;

	wa = and(e, wa, con(e, SIGN - 1));
	wb = and(e, wb, con(e, SIGN - 1));
	zero_a = is(e, LLVMIntEQ, wa, con(e, 0));
	zero_b = is(e, LLVMIntEQ, wb, con(e, 0));
	inf_a = is(e, LLVMIntUGE, wa, con(e, INFINITE));
	inf_b = is(e, LLVMIntUGE, wb, con(e, INFINITE));
	na = take_apart(e, wa);
	nb = take_apart(e, wb);
	/* the quotient is at least 1 and less than 2: its first bit, and three times 8 more */
	less = is(e, LLVMIntULT, na.mantissa, nb.mantissa);
	exponent = sub(e, add(e, sub(e, na.exponent, nb.exponent), con(e, 127)), one_if(e, less));
	divisor = emit_select(e, zero_b, con(e, HIDDEN), nb.mantissa);
	rest = sub(e, shl(e, na.mantissa, one_if(e, less)), divisor);
	q = con(e, 1);
	for (int i = 0; i < 3; i++) {
		LLVMValueRef digit;

		rest = shl(e, rest, con(e, 8));
		digit = LLVMBuildUDiv(e->b, rest, divisor, "");
		rest = sub(e, rest, LLVMBuildMul(e->b, digit, divisor, ""));
		q = or(e, shl(e, q, con(e, 8)), digit);
	}
	word = rounded(e, q, exponent, is(e, LLVMIntNE, rest, con(e, 0)), rnd, is_negative(e, sign));
	word = emit_select(e, or(e, zero_a, inf_b), con(e, 0), word);
	word = emit_select(e, or(e, zero_b, inf_a), con(e, INFINITE), word);
	none = or(e, and(e, zero_a, zero_b), and(e, inf_a, inf_b));
	none = or(e, none, or(e, is(e, LLVMIntUGT, wa, con(e, INFINITE)), is(e, LLVMIntUGT, wb, con(e, INFINITE))));
	word = emit_select(e, none, con(e, NO_NUMBER), or(e, word, sign));
	return emit_to_float(e, word);
}

LLVMValueRef emit_gpu_f32_sqrt(struct emit *e, LLVMValueRef a, enum ir_rnd rnd)
{
	LLVMValueRef w = emit_to_int(e, a), odd, rest, root = con(e, 0), sum = con(e, 0), word, as_it_is, none;
	struct number n = take_apart(e, and(e, w, con(e, SIGN - 1)));

	/* an even exponent, and 25 bits of the root, each of which is there if its square still fits */
	odd = and(e, add(e, n.exponent, con(e, 1)), con(e, 1));
	rest = shl(e, shl(e, n.mantissa, odd), con(e, 1));
	for (uint32_t bit = HIDDEN << 1; bit; bit >>= 1) {
		LLVMValueRef t = add(e, sum, con(e, bit)), fits = is(e, LLVMIntULE, t, rest);

		sum = emit_select(e, fits, add(e, t, con(e, bit)), sum);
		rest = shl(e, emit_select(e, fits, sub(e, rest, t), rest), con(e, 1));
		root = or(e, root, emit_select(e, fits, con(e, bit), con(e, 0)));
	}
	/* half the exponent; that of 1 is 127 */
	word = LLVMBuildAShr(e->b, sub(e, sub(e, n.exponent, con(e, 127)), odd), con(e, 1), "");
	word = rounded(e, root, add(e, word, con(e, 127)), is(e, LLVMIntNE, rest, con(e, 0)), rnd, LLVMConstNull(emit_scalar_int(e, 1)));
	as_it_is = is(e, LLVMIntEQ, and(e, w, con(e, SIGN - 1)), con(e, 0));
	as_it_is = or(e, as_it_is, is(e, LLVMIntEQ, w, con(e, INFINITE)));
	none = is(e, LLVMIntUGT, w, con(e, INFINITE));
	none = and(e, none, is(e, LLVMIntNE, w, con(e, SIGN)));
	word = emit_select(e, as_it_is, w, emit_select(e, none, con(e, NO_NUMBER), word));
	return emit_to_float(e, word);
}

/* One of two terms: v * 2^(exponent - 189), the highest bit of v (i64) being bit 62; 0 is less than all others. */
struct term {
	LLVMValueRef v, exponent, negative;
};

static struct term term_of(struct emit *e, LLVMValueRef v, LLVMValueRef exponent, LLVMValueRef negative)
{
	exponent = emit_select(e, is(e, LLVMIntEQ, v, emit_i64(e, 0)), con(e, (uint32_t)-1000), exponent);
	return (struct term){ v, exponent, negative };
}

static struct term product(struct emit *e, LLVMValueRef wa, LLVMValueRef wb)
{
	struct number na = take_apart(e, and(e, wa, con(e, SIGN - 1))), nb = take_apart(e, and(e, wb, con(e, SIGN - 1)));
	LLVMValueRef v = LLVMBuildMul(e->b, emit_resize(e, na.mantissa, 64, false), emit_resize(e, nb.mantissa, 64, false), "");
	LLVMValueRef top = shr(e, v, emit_i64(e, 47));	/* of 47 or of 48 bits */

	return term_of(e, shl(e, v, sub(e, emit_i64(e, 16), top)),
		       add(e, sub(e, add(e, na.exponent, nb.exponent), con(e, 127)), emit_resize(e, top, 32, false)),
		       is_negative(e, LLVMBuildXor(e->b, wa, wb, "")));
}

static struct term addend(struct emit *e, LLVMValueRef w)
{
	struct number n = take_apart(e, and(e, w, con(e, SIGN - 1)));

	return term_of(e, shl(e, emit_resize(e, n.mantissa, 64, false), emit_i64(e, 39)), n.exponent, is_negative(e, w));
}

/*
 * The sum of two terms, rounded. Bits of the smaller one that are shifted out leave a 1 in the lowest bit, which then stands for something between
 * 0 and 2. That is far from where it is rounded: products have 15 zeros at the end, so a shift by one loses nothing, and after one by more the
 * difference keeps bit 61 or a higher one.
 */
static LLVMValueRef sum(struct emit *e, struct term p, struct term c, enum ir_rnd rnd)
{
	LLVMValueRef swap, large, small, by, cut, v, unlike = LLVMBuildXor(e->b, p.negative, c.negative, ""), negative, word, zero;

	swap = and(e, is(e, LLVMIntEQ, p.exponent, c.exponent), is(e, LLVMIntULT, p.v, c.v));
	swap = or(e, swap, is(e, LLVMIntSLT, p.exponent, c.exponent));
	large = emit_select(e, swap, c.v, p.v);
	small = emit_select(e, swap, p.v, c.v);
	negative = emit_select(e, swap, c.negative, p.negative);
	by = emit_select(e, swap, sub(e, c.exponent, p.exponent), sub(e, p.exponent, c.exponent));
	by = emit_resize(e, emit_call2(e, "llvm.umin", by, con(e, 63)), 64, false);
	cut = shr(e, small, by);
	small = or(e, cut, emit_resize(e, is(e, LLVMIntNE, shl(e, cut, by), small), 64, false));
	v = emit_select(e, unlike, sub(e, large, small), add(e, large, small));
	word = rounded_wide(e, v, add(e, emit_select(e, swap, c.exponent, p.exponent), con(e, 1)), rnd, negative);
	word = or(e, word, emit_select(e, negative, con(e, SIGN), con(e, 0)));
	/* 0 has the sign of both terms; where they differ it is positive, but negative when rounding down */
	zero = emit_select(e, rnd == IR_RM ? or(e, p.negative, c.negative) : and(e, p.negative, c.negative), con(e, SIGN), con(e, 0));
	return emit_select(e, is(e, LLVMIntEQ, v, emit_i64(e, 0)), zero, word);
}

static LLVMValueRef is_finite(struct emit *e, LLVMValueRef w)
{
	return is(e, LLVMIntULT, and(e, w, con(e, SIGN - 1)), con(e, INFINITE));
}

LLVMValueRef emit_gpu_f32_fma(struct emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c, enum ir_rnd rnd)
{
	LLVMValueRef wa = emit_to_int(e, a), wb, wc, word, finite, other;

	if (!b)
		b = emit_fconst(e, 32, 1.0);
	wb = emit_to_int(e, b);
	/* without an addend, a zero with the sign of the product */
	wc = c ? emit_to_int(e, c) : and(e, LLVMBuildXor(e->b, wa, wb, ""), con(e, SIGN));
	word = sum(e, product(e, wa, wb), addend(e, wc), rnd);
	finite = and(e, is_finite(e, wa), and(e, is_finite(e, wb), is_finite(e, wc)));
	/* of infinities and NaNs no direction changes anything */
	other = emit_call3(e, "llvm.fma", a, b, emit_to_float(e, wc));
	return emit_select(e, finite, emit_to_float(e, word), other);
}

LLVMValueRef emit_gpu_f32_of_int(struct emit *e, LLVMValueRef v, bool is_signed, enum ir_rnd rnd)
{
	LLVMValueRef negative = LLVMConstNull(emit_scalar_int(e, 1)), word;

	v = emit_resize(e, v, 64, is_signed);
	if (is_signed) {
		negative = is(e, LLVMIntSLT, v, emit_i64(e, 0));
		v = emit_select(e, negative, LLVMBuildNeg(e->b, v, ""), v);
	}
	word = or(e, rounded_wide(e, v, con(e, 190), rnd, negative), emit_select(e, negative, con(e, SIGN), con(e, 0)));
	return emit_to_float(e, emit_select(e, is(e, LLVMIntEQ, v, emit_i64(e, 0)), con(e, 0), word));
}

/* ---- an f64 as its bits ---- */

#define INFINITE_F64 (UINT64_C(0x7ff) << 52)
#define NO_NUMBER_F64 UINT64_C(0xfff8000000000000)	/* as emit_canonical has it */

LLVMValueRef emit_gpu_f64_of_f32(struct emit *e, LLVMValueRef v)
{
	LLVMValueRef w = emit_to_int(e, v), magnitude = and(e, w, con(e, SIGN - 1)), r, sign;
	struct number n = take_apart(e, magnitude);

	r = shl(e, emit_resize(e, and(e, n.mantissa, con(e, HIDDEN - 1)), 64, false), emit_i64(e, 29));
	r = or(e, r, shl(e, emit_resize(e, add(e, n.exponent, con(e, 1023 - 127)), 64, false), emit_i64(e, 52)));
	r = emit_select(e, is(e, LLVMIntEQ, magnitude, con(e, 0)), emit_i64(e, 0), r);
	r = emit_select(e, is(e, LLVMIntEQ, magnitude, con(e, INFINITE)), emit_i64(e, INFINITE_F64), r);
	sign = shl(e, emit_resize(e, and(e, w, con(e, SIGN)), 64, false), emit_i64(e, 32));
	return emit_select(e, is(e, LLVMIntUGT, magnitude, con(e, INFINITE)), emit_i64(e, NO_NUMBER_F64), or(e, r, sign));
}

LLVMValueRef emit_gpu_f64_of_int(struct emit *e, LLVMValueRef v, bool is_signed, enum ir_rnd rnd)
{
	LLVMTypeRef i64 = emit_scalar_int(e, 64);
	LLVMValueRef no = LLVMConstNull(emit_scalar_int(e, 1)), negative = no, up, kept, lost, r;

	v = emit_resize(e, v, 64, is_signed);
	if (is_signed) {
		negative = is(e, LLVMIntSLT, v, emit_i64(e, 0));
		v = emit_select(e, negative, LLVMBuildNeg(e->b, v, ""), v);
	}
	up = emit_call(e, "llvm.ctlz", &i64, 1, (LLVMValueRef[]){ v, no }, 2);
	kept = shl(e, v, and(e, up, emit_i64(e, 63)));
	lost = emit_resize(e, and(e, kept, emit_i64(e, 0x7ff)), 32, false);
	kept = shr(e, kept, emit_i64(e, 11));
	/* the hidden bit adds one to the exponent */
	r = add(e, shl(e, sub(e, emit_i64(e, 1023 + 62), up), emit_i64(e, 52)), kept);
	up = goes_up(e, emit_resize(e, kept, 32, false), lost, con(e, 0x400), no, rnd, negative);
	r = add(e, r, emit_resize(e, up, 64, false));
	r = or(e, r, emit_select(e, negative, emit_i64(e, UINT64_C(1) << 63), emit_i64(e, 0)));
	return emit_select(e, is(e, LLVMIntEQ, v, emit_i64(e, 0)), v, r);
}

LLVMValueRef emit_gpu_f32_of_f64(struct emit *e, LLVMValueRef bits, enum ir_rnd rnd)
{
	LLVMValueRef negative = is(e, LLVMIntSLT, bits, emit_i64(e, 0)), magnitude = and(e, bits, emit_i64(e, INT64_MAX)), exponent, v, word;
	LLVMValueRef normal = is(e, LLVMIntUGE, magnitude, emit_i64(e, UINT64_C(1) << 52));

	exponent = emit_resize(e, shr(e, magnitude, emit_i64(e, 52)), 32, false);
	exponent = emit_select(e, normal, exponent, con(e, 1));
	v = and(e, bits, emit_i64(e, (UINT64_C(1) << 52) - 1));
	v = or(e, v, emit_select(e, normal, emit_i64(e, UINT64_C(1) << 52), emit_i64(e, 0)));
	word = rounded_wide(e, shl(e, v, emit_i64(e, 11)), sub(e, exponent, con(e, 1023 - 127)), rnd, negative);
	word = emit_select(e, is(e, LLVMIntEQ, magnitude, emit_i64(e, 0)), con(e, 0), word);
	word = emit_select(e, is(e, LLVMIntEQ, magnitude, emit_i64(e, INFINITE_F64)), con(e, INFINITE), word);
	word = or(e, word, emit_select(e, negative, con(e, SIGN), con(e, 0)));
	return emit_to_float(e, emit_select(e, is(e, LLVMIntUGT, magnitude, emit_i64(e, INFINITE_F64)), con(e, NO_NUMBER), word));
}
