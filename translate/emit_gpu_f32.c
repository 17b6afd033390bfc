/* emit_gpu_f32.c - division and square root of f32 in integers alone, correctly rounded: for devices that have no f64. */
#include "translate/emit_gpu_priv.h"

#define HIDDEN UINT32_C(0x800000)	/* the bit of a normal number's mantissa that its word leaves out */
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

/*
 * v, of 25 bits with the highest set, * 2^(exponent - 151), and a little more where `more` (i1) holds, rounded to nearest even: subnormal
 * below exponent 1, infinite from 255 on.
 */
static LLVMValueRef rounded(struct emit *e, LLVMValueRef v, LLVMValueRef exponent, LLVMValueRef more)
{
	LLVMValueRef normal = is(e, LLVMIntSGE, exponent, con(e, 1)), by, kept, lost, half, up, word;

	by = emit_call2(e, "llvm.smin", sub(e, con(e, 2), exponent), con(e, 26));
	by = emit_select(e, normal, con(e, 1), by);
	kept = shr(e, v, by);
	lost = sub(e, v, shl(e, kept, by));
	half = shl(e, con(e, 1), sub(e, by, con(e, 1)));
	up = or(e, more, is(e, LLVMIntNE, and(e, kept, con(e, 1)), con(e, 0)));
	up = or(e, is(e, LLVMIntUGT, lost, half), and(e, is(e, LLVMIntEQ, lost, half), up));
	/* the hidden bit adds the one that is missing here, and so does a mantissa that overflows */
	word = emit_select(e, normal, shl(e, sub(e, exponent, con(e, 1)), con(e, 23)), con(e, 0));
	word = add(e, add(e, word, kept), one_if(e, up));
	return emit_select(e, is(e, LLVMIntSGE, exponent, con(e, 255)), con(e, INFINITE), word);
}

LLVMValueRef emit_gpu_f32_div(struct emit *e, LLVMValueRef a, LLVMValueRef b)
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
	word = rounded(e, q, exponent, is(e, LLVMIntNE, rest, con(e, 0)));
	word = emit_select(e, or(e, zero_a, inf_b), con(e, 0), word);
	word = emit_select(e, or(e, zero_b, inf_a), con(e, INFINITE), word);
	none = or(e, and(e, zero_a, zero_b), and(e, inf_a, inf_b));
	none = or(e, none, or(e, is(e, LLVMIntUGT, wa, con(e, INFINITE)), is(e, LLVMIntUGT, wb, con(e, INFINITE))));
	word = emit_select(e, none, con(e, NO_NUMBER), or(e, word, sign));
	return emit_to_float(e, word);
}

LLVMValueRef emit_gpu_f32_sqrt(struct emit *e, LLVMValueRef a)
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
	word = rounded(e, root, add(e, word, con(e, 127)), is(e, LLVMIntNE, rest, con(e, 0)));
	as_it_is = is(e, LLVMIntEQ, and(e, w, con(e, SIGN - 1)), con(e, 0));
	as_it_is = or(e, as_it_is, is(e, LLVMIntEQ, w, con(e, INFINITE)));
	none = is(e, LLVMIntUGT, w, con(e, INFINITE));
	none = and(e, none, is(e, LLVMIntNE, w, con(e, SIGN)));
	word = emit_select(e, as_it_is, w, emit_select(e, none, con(e, NO_NUMBER), word));
	return emit_to_float(e, word);
}
