/* emit_convert.c - narrow floats: rounding f32 to fewer bits in every mode, and back, by integers. */
#include "translate/emit.h"

#include <stddef.h>

/*
 * A format has a sign above `exp` exponent and `fraction` fraction bits. `most` is its largest finite number, `inf` its
 * infinity (0: it has none) and `nan` what a NaN becomes; ue8m0 is not of this kind, see to_ue8m0.
 */
struct narrow {
	unsigned int fraction;
	int bias;
	uint32_t sign, most, inf, nan;
};

static const struct narrow format[] = {
	[IR_FMT_E4M3] = { 3, 7, 0x80, 0x7e, 0, 0x7f },
	[IR_FMT_E5M2] = { 2, 15, 0x80, 0x7b, 0x7c, 0x7f },
	[IR_FMT_E2M3] = { 3, 1, 0x20, 0x1f, 0, 0x1f },
	[IR_FMT_E3M2] = { 2, 3, 0x20, 0x1f, 0, 0x1f },
	[IR_FMT_E2M1] = { 1, 1, 0x8, 0x7, 0, 0x7 },
	[IR_FMT_TF32] = { 10, 127, 0x40000, 0x3fbff, 0x3fc00, 0x3ffff },
	[IR_FMT_F16] = { 10, 15, 0x8000, 0x7bff, 0x7c00, 0x7fff },
	[IR_FMT_BF16] = { 7, 127, 0x8000, 0x7f7f, 0x7f80, 0x7fff },
};

static LLVMValueRef k(struct emit *e, uint32_t v)
{
	return emit_const(e, 32, v);
}

static LLVMValueRef is(struct emit *e, LLVMIntPredicate p, LLVMValueRef a, uint32_t b)
{
	return LLVMBuildICmp(e->b, p, a, k(e, b), "");
}

static LLVMValueRef and32(struct emit *e, LLVMValueRef a, uint32_t b)
{
	return LLVMBuildAnd(e->b, a, k(e, b), "");
}

/*
 * The bits of the f32 `v` in another format. The significand, a whole number of 24 bits, is shifted so that its last bit
 * is the format's; what falls off decides. A carry out of the fraction goes on into the exponent by itself.
 */
LLVMValueRef emit_round_to(struct emit *e, LLVMValueRef v, enum ir_fmt fmt, enum ir_rnd rnd, bool finite)
{
	const struct narrow *f = &format[fmt];
	const uint32_t least = (uint32_t)(1 - f->bias + 127);	/* the smallest normal number's exponent, as f32 has it */
	LLVMValueRef bits = emit_to_int(e, v), mag, neg, exp, sig, shift, kept, rest, half, up, overflow, r, below;

	mag = and32(e, bits, 0x7fffffff);
	neg = is(e, LLVMIntSLT, bits, 0);
	exp = LLVMBuildLShr(e->b, mag, k(e, 23), "");
	sig = and32(e, mag, 0x7fffff);
	sig = emit_select(e, is(e, LLVMIntEQ, exp, 0), sig, LLVMBuildOr(e->b, sig, k(e, 0x800000), ""));
	exp = emit_call2(e, "llvm.umax", exp, k(e, 1));
	below = LLVMBuildSub(e->b, emit_call2(e, "llvm.umax", exp, k(e, least)), exp, "");
	shift = LLVMBuildAdd(e->b, below, k(e, 23 - f->fraction), "");
	shift = emit_call2(e, "llvm.umin", shift, k(e, 31));	/* past 25 all is lost anyway */
	kept = LLVMBuildLShr(e->b, sig, shift, "");
	rest = LLVMBuildSub(e->b, sig, LLVMBuildShl(e->b, kept, shift, ""), "");
	half = LLVMBuildShl(e->b, k(e, 1), LLVMBuildSub(e->b, shift, k(e, 1), ""), "");
	switch (rnd) {
	case IR_RZ:
		up = emit_const(e, 1, 0);
		break;
	case IR_RM:
		up = LLVMBuildAnd(e->b, is(e, LLVMIntNE, rest, 0), neg, "");
		break;
	case IR_RP:
		up = LLVMBuildAnd(e->b, is(e, LLVMIntNE, rest, 0), LLVMBuildNot(e->b, neg, ""), "");
		break;
	case IR_RNA:
		up = LLVMBuildICmp(e->b, LLVMIntUGE, rest, half, "");
		break;
	default:
		up = LLVMBuildICmp(e->b, LLVMIntUGT, LLVMBuildAdd(e->b, rest, and32(e, kept, 1), ""), half, "");
		break;
	}
	kept = LLVMBuildAdd(e->b, kept, emit_resize(e, up, 32, false), "");
	exp = LLVMBuildSub(e->b, emit_call2(e, "llvm.umax", exp, k(e, least)), k(e, least), "");
	r = LLVMBuildAdd(e->b, LLVMBuildShl(e->b, exp, k(e, f->fraction), ""), kept, "");
	overflow = is(e, LLVMIntUGT, r, f->most);
	if (finite || !f->inf) {
		r = emit_select(e, overflow, k(e, f->most), r);
	} else {
		/* past the largest number the direction says which; an infinity stays one */
		LLVMValueRef big = k(e, f->inf), to_most = emit_const(e, 1, 0);

		if (rnd == IR_RZ)
			to_most = emit_const(e, 1, 1);
		else if (rnd == IR_RM)
			to_most = LLVMBuildNot(e->b, neg, "");
		else if (rnd == IR_RP)
			to_most = neg;
		to_most = LLVMBuildAnd(e->b, to_most, is(e, LLVMIntNE, mag, 0x7f800000), "");
		big = emit_select(e, to_most, k(e, f->most), big);
		r = emit_select(e, overflow, big, r);
	}
	r = LLVMBuildOr(e->b, r, emit_select(e, neg, k(e, f->sign), k(e, 0)), "");
	return emit_select(e, is(e, LLVMIntUGT, mag, 0x7f800000), k(e, f->nan), r);
}

/* Nothing but the exponent; up: of the power of two not below |v|. */
static LLVMValueRef to_ue8m0(struct emit *e, LLVMValueRef v, bool up, bool finite)
{
	LLVMValueRef mag = and32(e, emit_to_int(e, v), 0x7fffffff), r = LLVMBuildLShr(e->b, mag, k(e, 23), ""), more;

	if (up) {
		/* code 0 is 2^-127, which f32 has below its normal numbers */
		more = LLVMBuildAnd(e->b, is(e, LLVMIntNE, and32(e, mag, 0x7fffff), 0), is(e, LLVMIntUGT, mag, 0x400000), "");
		more = LLVMBuildAnd(e->b, more, is(e, LLVMIntULT, mag, 0x7f800000), "");
		r = LLVMBuildAdd(e->b, r, emit_resize(e, more, 32, false), "");
	}
	if (finite)
		r = emit_select(e, is(e, LLVMIntULE, mag, 0x7f800000), emit_call2(e, "llvm.umin", r, k(e, 254)), r);
	return r;
}

static void narrow(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef v = emit_fsrc(e, 0), r;
	bool finite = in->flags & IR_SATFINITE;

	if (in->flags & IR_RELU) {
		LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(v));

		v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOLT, v, zero, ""), zero, v);
	}
	if (in->sub == IR_FMT_UE8M0)
		r = to_ue8m0(e, v, in->rnd == IR_RP, finite);
	else
		r = emit_round_to(e, v, in->sub, in->rnd, finite);
	if (in->sub == IR_FMT_TF32)	/* an f32 whose last bits are 0; but there is one NaN */
		r = emit_select(e, is(e, LLVMIntEQ, r, format[IR_FMT_TF32].nan), k(e, 0x7fffffff),
				LLVMBuildShl(e->b, r, k(e, 13), ""));
	emit_set(e, 0, r);
}

static void widen(struct emit *e)
{
	const struct narrow *f = &format[e->insn->sub];
	LLVMValueRef code = emit_src(e, 0, 32), mag, sign, r, small;
	double unit = 1;

	if (e->insn->sub == IR_FMT_UE8M0) {
		code = and32(e, code, 0xff);
		r = emit_select(e, is(e, LLVMIntEQ, code, 0), k(e, 0x400000), LLVMBuildShl(e->b, code, k(e, 23), ""));
		r = emit_select(e, is(e, LLVMIntEQ, code, 255), k(e, 0x7fffffff), r);
		emit_fset(e, emit_to_float(e, r));
		return;
	}
	for (int i = 1 - f->bias - (int)f->fraction; i < 0; i++)
		unit /= 2;
	mag = and32(e, code, f->sign - 1);
	sign = emit_select(e, is(e, LLVMIntNE, and32(e, code, f->sign), 0), k(e, 0x80000000), k(e, 0));
	r = LLVMBuildShl(e->b, mag, k(e, 23 - f->fraction), "");
	r = LLVMBuildAdd(e->b, r, k(e, (uint32_t)(127 - f->bias) << 23), "");
	small = LLVMBuildFMul(e->b, LLVMBuildSIToFP(e->b, mag, emit_float(e, 32), ""), emit_fconst(e, 32, unit), "");
	r = emit_select(e, is(e, LLVMIntULT, mag, UINT32_C(1) << f->fraction), emit_to_int(e, small), r);
	if (f->inf)
		r = emit_select(e, is(e, LLVMIntEQ, mag, f->inf), k(e, 0x7f800000), r);
	r = LLVMBuildOr(e->b, r, sign, "");
	if (f->inf || e->insn->sub == IR_FMT_E4M3)
		r = emit_select(e, is(e, LLVMIntUGT, mag, f->inf ? f->inf : f->most), k(e, 0x7fffffff), r);
	emit_fset(e, emit_to_float(e, r));
}

bool emit_convert(struct emit *e)
{
	switch (e->insn->op) {
	case IR_narrow: narrow(e); return true;
	case IR_widen: widen(e); return true;
	default: return false;
	}
}
