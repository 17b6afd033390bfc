/* emit_arith.c - integer and floating-point arithmetic, bits, comparisons, conversions. */
#include "translate/emit.h"

#include <stddef.h>

static LLVMValueRef icmp(struct emit *e, LLVMIntPredicate p, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildICmp(e->b, p, a, b, "");
}

static LLVMValueRef band(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildAnd(e->b, a, b, "");
}

static LLVMValueRef bor(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildOr(e->b, a, b, "");
}

static unsigned int type_bits(const struct emit *e)
{
	return ir_type_bits(e->insn->type);
}

static bool is_signed(const struct emit *e)
{
	return ir_type_is_signed(e->insn->type);
}

/* ---- integers ---- */

/* The upper half of a product of 64 bits by 64, from products of 32 by 32. */
static LLVMValueRef high_by_halves(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	LLVMValueRef low = emit_const(e, 64, UINT32_MAX), by = emit_const(e, 64, 32), a1 = LLVMBuildLShr(e->b, a, by, ""), t, u, r;
	LLVMValueRef b1 = LLVMBuildLShr(e->b, b, by, ""), a0 = band(e, a, low), b0 = band(e, b, low), top = emit_const(e, 64, 63);

	t = LLVMBuildLShr(e->b, LLVMBuildMul(e->b, a0, b0, ""), by, "");
	t = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, a1, b0, ""), t, "");
	u = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, a0, b1, ""), band(e, t, low), "");
	r = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, a1, b1, ""), LLVMBuildLShr(e->b, t, by, ""), "");
	r = LLVMBuildAdd(e->b, r, LLVMBuildLShr(e->b, u, by, ""), "");
	if (!is_signed(e))
		return r;
	r = LLVMBuildSub(e->b, r, band(e, LLVMBuildAShr(e->b, a, top, ""), b), "");
	return LLVMBuildSub(e->b, r, band(e, LLVMBuildAShr(e->b, b, top, ""), a), "");
}

static LLVMValueRef product(struct emit *e, bool wide_result)
{
	unsigned int bits = type_bits(e);
	LLVMValueRef a = emit_src(e, 0, bits), b = emit_src(e, 1, bits), p;

	if (!(e->insn->flags & (IR_HI | IR_WIDE)))
		return LLVMBuildMul(e->b, a, b, "");
	if (bits == 64 && e->opt.halves && !(wide_result && e->insn->flags & IR_WIDE))
		return high_by_halves(e, a, b);
	p = LLVMBuildMul(e->b, emit_resize(e, a, bits * 2, is_signed(e)), emit_resize(e, b, bits * 2, is_signed(e)), "");
	if (wide_result && e->insn->flags & IR_WIDE)
		return p;
	return emit_resize(e, LLVMBuildLShr(e->b, p, emit_const(e, bits * 2, bits), ""), bits, false);
}

/* a + b + carry; *out: the carry. subtract: a - b - borrow. */
static LLVMValueRef add_carry(struct emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef in, bool subtract,
			      LLVMValueRef *out)
{
	unsigned int bits = emit_bits(a);
	LLVMValueRef r = subtract ? LLVMBuildSub(e->b, a, b, "") : LLVMBuildAdd(e->b, a, b, "");

	*out = subtract ? icmp(e, LLVMIntULT, a, b) : icmp(e, LLVMIntULT, r, a);
	if (in) {
		LLVMValueRef c = emit_resize(e, in, bits, false), r2, over;

		r2 = subtract ? LLVMBuildSub(e->b, r, c, "") : LLVMBuildAdd(e->b, r, c, "");
		over = subtract ? icmp(e, LLVMIntULT, r, c) : icmp(e, LLVMIntULT, r2, r);
		*out = bor(e, *out, over);
		r = r2;
	}
	return r;
}

static void add_sub(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = type_bits(e);
	bool subtract = in->op == IR_sub || in->op == IR_subc;
	LLVMValueRef a = emit_src(e, 0, bits), b = emit_src(e, 1, bits), carry = NULL, r;

	if (in->flags & IR_SAT) {
		const char *name = subtract ? (is_signed(e) ? "llvm.ssub.sat" : "llvm.usub.sat") :
					      (is_signed(e) ? "llvm.sadd.sat" : "llvm.uadd.sat");

		emit_set(e, 0, emit_call2(e, name, a, b));
		return;
	}
	if (in->op == IR_addc || in->op == IR_subc)
		carry = emit_psrc(e, 2);
	r = add_carry(e, a, b, carry, subtract, &carry);
	emit_set(e, 0, r);
	if (in->nr_dst == 2)
		emit_set(e, 1, carry);
}

static void mad(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef p = product(e, true), c = emit_src(e, 2, emit_bits(p)), carry = NULL;

	if (in->flags & IR_SAT) {	/* mad.hi.sat.s32 */
		emit_set(e, 0, emit_call2(e, is_signed(e) ? "llvm.sadd.sat" : "llvm.uadd.sat", p, c));
		return;
	}
	if (in->op == IR_madc)
		carry = emit_psrc(e, 3);
	p = add_carry(e, p, c, carry, false, &carry);
	emit_set(e, 0, p);
	if (in->nr_dst == 2)
		emit_set(e, 1, carry);
}

/*
 * Quotient and remainder. Division by zero gives all ones and the dividend; the most negative number by -1
 * wraps. On the CPU up to 32 bits by way of f64: both are exact there, and the quotient's error is too small to
 * carry it past the next integer. GPUs do f64 slowly, and LLVM knows how they divide.
 */
static void divide(struct emit *e)
{
	unsigned int bits = type_bits(e);
	bool rem = e->insn->op == IR_rem, sgn = is_signed(e);
	LLVMValueRef a = emit_src(e, 0, bits), b = emit_src(e, 1, bits), zero, q;
	LLVMTypeRef f64 = emit_float(e, 64), wide;

	if (bits == 64 && e->lanes == HG_WARP) {
		uint32_t op = sgn ? (rem ? HG_CPU_SREM64 : HG_CPU_SDIV64) : (rem ? HG_CPU_UREM64 : HG_CPU_UDIV64);
		LLVMValueRef args[5] = { emit_i32(e, op << 8), emit_spread(e, 0, a), emit_spread(e, 1, b), e->buf[2],
					 e->buf[3] };

		emit_rt(e, offsetof(struct hg_cpu_rt, arith), NULL, args, 5);
		emit_set(e, 0, emit_load(e, emit_int(e, 64), e->buf[3], 64));
		return;
	}
	zero = icmp(e, LLVMIntEQ, b, emit_const(e, bits, 0));
	if (bits == 64 || e->gpu) {
		LLVMValueRef minus = icmp(e, LLVMIntEQ, b, emit_const(e, bits, UINT64_MAX));
		LLVMValueRef safe = emit_select(e, sgn ? bor(e, zero, minus) : zero, emit_const(e, bits, 1), b);

		q = sgn ? LLVMBuildSDiv(e->b, a, safe, "") : LLVMBuildUDiv(e->b, a, safe, "");
		if (sgn)
			q = emit_select(e, minus, LLVMBuildNeg(e->b, a, ""), q);
	} else {
		LLVMValueRef safe = emit_select(e, zero, emit_const(e, bits, 1), b), fa, fb;

		if (sgn) {
			wide = emit_int(e, 64);
			fa = LLVMBuildSIToFP(e->b, a, f64, "");
			fb = LLVMBuildSIToFP(e->b, safe, f64, "");
			q = LLVMBuildFPToSI(e->b, LLVMBuildFDiv(e->b, fa, fb, ""), wide, "");
		} else {
			wide = emit_int(e, 64);
			fa = LLVMBuildUIToFP(e->b, a, f64, "");
			fb = LLVMBuildUIToFP(e->b, safe, f64, "");
			q = LLVMBuildFPToSI(e->b, LLVMBuildFDiv(e->b, fa, fb, ""), wide, "");
		}
		q = emit_resize(e, q, bits, false);
	}
	if (rem)
		q = emit_select(e, zero, a, LLVMBuildSub(e->b, a, LLVMBuildMul(e->b, q, b, ""), ""));
	else
		q = emit_select(e, zero, emit_const(e, bits, UINT64_MAX), q);
	emit_set(e, 0, q);
}

static LLVMValueRef min_max_int(struct emit *e, bool max)
{
	unsigned int bits = type_bits(e);
	const char *name = max ? (is_signed(e) ? "llvm.smax" : "llvm.umax") : (is_signed(e) ? "llvm.smin" : "llvm.umin");

	return emit_call2(e, name, emit_src(e, 0, bits), emit_src(e, 1, bits));
}

/* A shift whose amount may reach the width or more: 0 then, or the sign. */
static LLVMValueRef shift(struct emit *e, LLVMValueRef v, LLVMValueRef n, enum ir_op op, bool arithmetic)
{
	unsigned int bits = emit_bits(v);
	LLVMValueRef over = icmp(e, LLVMIntUGE, n, emit_const(e, 32, bits)), amount, r;

	if (arithmetic) {
		n = emit_select(e, over, emit_const(e, 32, bits - 1), n);
		return LLVMBuildAShr(e->b, v, emit_resize(e, n, bits, false), "");
	}
	amount = emit_resize(e, emit_select(e, over, emit_const(e, 32, 0), n), bits, false);
	r = op == IR_shl ? LLVMBuildShl(e->b, v, amount, "") : LLVMBuildLShr(e->b, v, amount, "");
	return emit_select(e, over, LLVMConstNull(LLVMTypeOf(v)), r);
}

static LLVMValueRef lop3(struct emit *e)
{
	LLVMValueRef s[3], r = NULL;
	uint8_t table = e->insn->sub;
	unsigned int bits = type_bits(e);

	for (unsigned int i = 0; i < 3; i++)
		s[i] = emit_src(e, i, bits);
	for (unsigned int row = 0; row < 8; row++) {
		LLVMValueRef t;

		if (!(table >> row & 1))
			continue;
		t = row & 4 ? s[0] : LLVMBuildNot(e->b, s[0], "");
		t = band(e, t, row & 2 ? s[1] : LLVMBuildNot(e->b, s[1], ""));
		t = band(e, t, row & 1 ? s[2] : LLVMBuildNot(e->b, s[2], ""));
		r = r ? bor(e, r, t) : t;
	}
	return r ? r : emit_const(e, bits, 0);
}

/* The high or low half of a 64-bit shift of src[1]:src[0]. */
static LLVMValueRef funnel(struct emit *e)
{
	LLVMValueRef lo = emit_src(e, 0, 32), hi = emit_src(e, 1, 32), n = emit_src(e, 2, 32), v, r;
	bool left = e->insn->op == IR_shf_l;

	if (e->insn->flags & IR_WRAP)
		n = band(e, n, emit_const(e, 32, 31));
	else
		n = emit_call2(e, "llvm.umin", n, emit_const(e, 32, 32));
	n = emit_resize(e, n, 64, false);
	v = bor(e, LLVMBuildShl(e->b, emit_resize(e, hi, 64, false), emit_const(e, 64, 32), ""), emit_resize(e, lo, 64, false));
	r = left ? LLVMBuildLShr(e->b, LLVMBuildShl(e->b, v, n, ""), emit_const(e, 64, 32), "") :
		   LLVMBuildLShr(e->b, v, n, "");
	return emit_resize(e, r, 32, false);
}

static LLVMValueRef prmt(struct emit *e)
{
	LLVMValueRef a = emit_src(e, 0, 32), b = emit_src(e, 1, 32), sel = emit_src(e, 2, 32), v, r = emit_const(e, 32, 0);

	v = bor(e, LLVMBuildShl(e->b, emit_resize(e, b, 64, false), emit_const(e, 64, 32), ""), emit_resize(e, a, 64, false));
	for (unsigned int i = 0; i < 4; i++) {
		LLVMValueRef n, byte, sign;

		/* byte number, from 0 to 7 */
		switch (e->insn->sub) {
		case IR_PRMT_INDEX:
			n = LLVMBuildLShr(e->b, sel, emit_const(e, 32, i * 4), "");
			break;
		case IR_PRMT_F4E:
			n = LLVMBuildAdd(e->b, band(e, sel, emit_const(e, 32, 3)), emit_const(e, 32, i), "");
			break;
		case IR_PRMT_B4E:
			n = LLVMBuildSub(e->b, band(e, sel, emit_const(e, 32, 3)), emit_const(e, 32, i), "");
			break;
		case IR_PRMT_RC8:
			n = band(e, sel, emit_const(e, 32, 3));
			break;
		case IR_PRMT_ECL:
			n = emit_call2(e, "llvm.umax", band(e, sel, emit_const(e, 32, 3)), emit_const(e, 32, i));
			break;
		case IR_PRMT_ECR:
			n = emit_call2(e, "llvm.umin", band(e, sel, emit_const(e, 32, 3)), emit_const(e, 32, i));
			break;
		default:	/* rc16 */
			n = bor(e, LLVMBuildShl(e->b, band(e, sel, emit_const(e, 32, 1)), emit_const(e, 32, 1), ""),
				emit_const(e, 32, i & 1));
			break;
		}
		byte = LLVMBuildShl(e->b, band(e, n, emit_const(e, 32, 7)), emit_const(e, 32, 3), "");
		byte = emit_resize(e, LLVMBuildLShr(e->b, v, emit_resize(e, byte, 64, false), ""), 32, false);
		if (e->insn->sub == IR_PRMT_INDEX) {
			/* bit 3: the byte's sign, eight times */
			sign = LLVMBuildAShr(e->b, LLVMBuildShl(e->b, byte, emit_const(e, 32, 24), ""), emit_const(e, 32, 31), "");
			byte = emit_select(e, icmp(e, LLVMIntNE, band(e, n, emit_const(e, 32, 8)), emit_const(e, 32, 0)), sign, byte);
		}
		byte = band(e, byte, emit_const(e, 32, 255));
		r = bor(e, r, LLVMBuildShl(e->b, byte, emit_const(e, 32, i * 8), ""));
	}
	return r;
}

/* Position and length count in their low 8 bits. */
static LLVMValueRef bfe(struct emit *e)
{
	unsigned int bits = type_bits(e);
	LLVMValueRef a = emit_src(e, 0, bits), zero = emit_const(e, bits, 0), r, sign;
	LLVMValueRef pos = band(e, emit_src(e, 1, 32), emit_const(e, 32, 255));
	LLVMValueRef len = band(e, emit_src(e, 2, 32), emit_const(e, 32, 255)), top, mask;

	mask = LLVMBuildNot(e->b, shift(e, emit_const(e, bits, UINT64_MAX), len, IR_shl, false), "");
	r = band(e, shift(e, a, pos, IR_shr, is_signed(e)), mask);
	if (!is_signed(e))
		return r;
	/* the sign is the field's top bit, or the operand's where the field reaches past it */
	top = LLVMBuildSub(e->b, LLVMBuildAdd(e->b, pos, len, ""), emit_const(e, 32, 1), "");
	top = emit_call2(e, "llvm.umin", top, emit_const(e, 32, bits - 1));
	sign = LLVMBuildLShr(e->b, a, emit_resize(e, top, bits, false), "");
	sign = icmp(e, LLVMIntNE, band(e, sign, emit_const(e, bits, 1)), zero);
	sign = band(e, sign, icmp(e, LLVMIntNE, len, emit_const(e, 32, 0)));
	return emit_select(e, sign, bor(e, r, LLVMBuildNot(e->b, mask, "")), r);
}

static LLVMValueRef bfi(struct emit *e)
{
	unsigned int bits = type_bits(e);
	LLVMValueRef a = emit_src(e, 0, bits), b = emit_src(e, 1, bits), mask;
	LLVMValueRef pos = band(e, emit_src(e, 2, 32), emit_const(e, 32, 255));
	LLVMValueRef len = band(e, emit_src(e, 3, 32), emit_const(e, 32, 255));

	mask = LLVMBuildNot(e->b, shift(e, emit_const(e, bits, UINT64_MAX), len, IR_shl, false), "");
	mask = shift(e, mask, pos, IR_shl, false);
	a = shift(e, a, pos, IR_shl, false);
	return bor(e, band(e, a, mask), band(e, b, LLVMBuildNot(e->b, mask, "")));
}

static LLVMValueRef count_zeros(struct emit *e, LLVMValueRef v)
{
	LLVMTypeRef t = LLVMTypeOf(v);

	return emit_call(e, "llvm.ctlz", &t, 1, (LLVMValueRef[]){ v, LLVMConstNull(emit_scalar_int(e, 1)) }, 2);
}

/* The highest bit that differs from the sign, or ~0. */
static LLVMValueRef bfind(struct emit *e)
{
	unsigned int bits = type_bits(e);
	LLVMValueRef a = emit_src(e, 0, bits), n, none;

	if (is_signed(e))
		a = LLVMBuildXor(e->b, a, LLVMBuildAShr(e->b, a, emit_const(e, bits, bits - 1), ""), "");
	none = icmp(e, LLVMIntEQ, a, emit_const(e, bits, 0));
	n = emit_resize(e, count_zeros(e, a), 32, false);
	if (!e->insn->sub)
		n = LLVMBuildSub(e->b, emit_const(e, 32, bits - 1), n, "");
	return emit_select(e, none, emit_const(e, 32, UINT32_MAX), n);
}

static LLVMValueRef dot(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef a = emit_src(e, 0, 32), b = emit_src(e, 1, 32), r = emit_src(e, 2, 32);
	unsigned int n = in->op == IR_dp4a ? 4 : 2, abits = 32 / n;
	bool sa = ir_type_is_signed(in->type), sb = ir_type_is_signed(in->type2);

	for (unsigned int i = 0; i < n; i++) {
		unsigned int at = in->op == IR_dp2a && in->flags & IR_HI ? i + 2 : i;
		LLVMValueRef x = LLVMBuildShl(e->b, a, emit_const(e, 32, 32 - abits * (i + 1)), "");
		LLVMValueRef y = LLVMBuildShl(e->b, b, emit_const(e, 32, 32 - 8 * (at + 1)), "");
		LLVMValueRef sx = emit_const(e, 32, 32 - abits), sy = emit_const(e, 32, 24);

		x = sa ? LLVMBuildAShr(e->b, x, sx, "") : LLVMBuildLShr(e->b, x, sx, "");
		y = sb ? LLVMBuildAShr(e->b, y, sy, "") : LLVMBuildLShr(e->b, y, sy, "");
		r = LLVMBuildAdd(e->b, r, LLVMBuildMul(e->b, x, y, ""), "");
	}
	return r;
}

/* ---- floats ---- */

static LLVMValueRef float_const(struct emit *e, double v)
{
	return emit_fconst(e, type_bits(e), v);
}

/* Magnitude one step down, for a finite number away from zero. */
static LLVMValueRef step(struct emit *e, LLVMValueRef bits, LLVMValueRef when, bool outward)
{
	unsigned int n = emit_bits(bits);
	LLVMValueRef one = emit_resize(e, when, n, false);

	return outward ? LLVMBuildAdd(e->b, bits, one, "") : LLVMBuildSub(e->b, bits, one, "");
}

/* The f32 nearest to s + err in direction rnd; s + err is exact, err far below s. */
static LLVMValueRef round_f32(struct emit *e, LLVMValueRef s, LLVMValueRef err, enum ir_rnd rnd)
{
	LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(s));
	LLVMValueRef r = LLVMBuildFPTrunc(e->b, s, emit_float(e, 32), ""), back = LLVMBuildFPExt(e->b, r, LLVMTypeOf(s), "");
	LLVMValueRef bits = emit_to_int(e, r), above, below, same, negative, up, down;

	same = LLVMBuildFCmp(e->b, LLVMRealOEQ, back, s, "");
	above = LLVMBuildFCmp(e->b, LLVMRealOGT, back, s, "");	/* r is greater than the exact result */
	below = LLVMBuildFCmp(e->b, LLVMRealOLT, back, s, "");
	if (err) {
		above = bor(e, above, band(e, same, LLVMBuildFCmp(e->b, LLVMRealOLT, err, zero, "")));
		below = bor(e, below, band(e, same, LLVMBuildFCmp(e->b, LLVMRealOGT, err, zero, "")));
	}
	negative = icmp(e, LLVMIntSLT, bits, emit_const(e, 32, 0));
	if (rnd == IR_RZ) {
		up = band(e, negative, below);
		down = band(e, LLVMBuildNot(e->b, negative, ""), above);
		return emit_to_float(e, step(e, bits, bor(e, up, down), false));
	}
	if (rnd == IR_RM) {
		bits = step(e, bits, band(e, above, negative), true);
		return emit_to_float(e, step(e, bits, band(e, above, LLVMBuildNot(e->b, negative, "")), false));
	}
	bits = step(e, bits, band(e, below, negative), false);
	return emit_to_float(e, step(e, bits, band(e, below, LLVMBuildNot(e->b, negative, "")), true));
}

/* a * b + c (c NULL: no addition) with directed rounding, f32. */
static LLVMValueRef directed_f32(struct emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c, enum ir_rnd rnd)
{
	LLVMTypeRef f64 = emit_float(e, 64);
	LLVMValueRef p, s, err, t, u, r, zero, pz;

	if (e->no_f64)
		return emit_gpu_f32_fma(e, a, b, c, rnd);
	p = LLVMBuildFPExt(e->b, a, f64, "");
	if (b)
		p = LLVMBuildFMul(e->b, p, LLVMBuildFPExt(e->b, b, f64, ""), "");	/* exact */
	if (!c)
		return round_f32(e, p, NULL, rnd);
	c = LLVMBuildFPExt(e->b, c, f64, "");
	/* the sum and its error, exactly */
	s = LLVMBuildFAdd(e->b, p, c, "");
	t = LLVMBuildFSub(e->b, s, p, "");
	u = LLVMBuildFSub(e->b, s, t, "");
	err = LLVMBuildFAdd(e->b, LLVMBuildFSub(e->b, p, u, ""), LLVMBuildFSub(e->b, c, t, ""), "");
	r = round_f32(e, s, err, rnd);
	if (rnd != IR_RM)
		return r;
	/* an exact zero is negative when rounding down, unless both terms are +0 */
	zero = LLVMBuildFCmp(e->b, LLVMRealOEQ, s, LLVMConstNull(f64), "");
	pz = bor(e, emit_to_int(e, p), emit_to_int(e, c));
	pz = emit_resize(e, LLVMBuildLShr(e->b, pz, emit_const(e, 64, 32), ""), 32, false);
	pz = emit_to_float(e, band(e, pz, emit_const(e, 32, 0x80000000)));
	return emit_select(e, zero, pz, r);
}

/* By the hardware's rounding mode, one lane after the other; on GPUs, what hg_expand_no_f64 leaves. */
static LLVMValueRef directed_slow(struct emit *e, uint32_t op, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c, enum ir_rnd rnd,
				  unsigned int bits)
{
	LLVMValueRef args[5];

	if (e->no_f64 && bits == 32) {
		switch (op) {
		case HG_CPU_DIV_F32: return emit_gpu_f32_div(e, a, b, rnd);
		case HG_CPU_SQRT_F32: return emit_gpu_f32_sqrt(e, a, rnd);
		default: return emit_gpu_f32_of_int(e, a, op == HG_CPU_S64_F32, rnd);
		}
	}
	if (e->gpu) {
		emit_unsupported(e, "rounding");
		return LLVMGetUndef(emit_float(e, bits));
	}
	args[0] = emit_i32(e, op << 8 | rnd);
	args[1] = emit_spread(e, 0, a);
	args[2] = b ? emit_spread(e, 1, b) : e->buf[1];
	args[3] = c ? emit_spread(e, 2, c) : e->buf[2];
	args[4] = e->buf[3];
	emit_rt(e, offsetof(struct hg_cpu_rt, arith), NULL, args, 5);
	return emit_load(e, emit_float(e, bits), e->buf[3], 64);
}

static bool directed(const struct emit *e)
{
	return e->insn->rnd == IR_RZ || e->insn->rnd == IR_RM || e->insn->rnd == IR_RP;
}

static void float_add(struct emit *e)
{
	LLVMValueRef a = emit_fsrc(e, 0), b = emit_fsrc(e, 1), r;
	bool sub = e->insn->op == IR_sub;

	if (directed(e)) {
		if (sub)
			b = LLVMBuildFNeg(e->b, b, "");
		r = type_bits(e) == 32 ? directed_f32(e, a, NULL, b, e->insn->rnd) :
					 directed_slow(e, HG_CPU_ADD_F64, a, b, NULL, e->insn->rnd, 64);
	} else {
		r = sub ? LLVMBuildFSub(e->b, a, b, "") : LLVMBuildFAdd(e->b, a, b, "");
	}
	emit_fset(e, r);
}

static void float_mul(struct emit *e)
{
	LLVMValueRef a = emit_fsrc(e, 0), b = emit_fsrc(e, 1), r;

	if (directed(e))
		r = type_bits(e) == 32 ? directed_f32(e, a, b, NULL, e->insn->rnd) :
					 directed_slow(e, HG_CPU_MUL_F64, a, b, NULL, e->insn->rnd, 64);
	else
		r = LLVMBuildFMul(e->b, a, b, "");
	emit_fset(e, r);
}

static void float_fma(struct emit *e)
{
	LLVMValueRef a = emit_fsrc(e, 0), b = emit_fsrc(e, 1), c = emit_fsrc(e, 2), r;

	if (directed(e))
		r = type_bits(e) == 32 ? directed_f32(e, a, b, c, e->insn->rnd) :
					 directed_slow(e, HG_CPU_FMA_F64, a, b, c, e->insn->rnd, 64);
	else
		r = emit_call3(e, "llvm.fma", a, b, c);
	if (e->insn->flags & IR_RELU) {
		LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(r));

		r = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOLT, r, zero, ""), zero, r);
	}
	emit_fset(e, r);
}

/*
 * rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64: of the upper halves alone; subnormals are zeros. The result is the exact one
 * without its lower half; its NaN is its own.
 */
static void gross_f64(struct emit *e, LLVMValueRef (*op)(struct emit *e, LLVMValueRef v))
{
	const uint64_t sign = UINT64_C(1) << 63, expo = UINT64_C(0x7ff) << 52, upper = UINT64_C(0xffffffff) << 32;
	LLVMValueRef v = band(e, emit_src(e, 0, 64), emit_const(e, 64, upper)), nan;

	v = emit_select(e, icmp(e, LLVMIntEQ, band(e, v, emit_const(e, 64, expo)), emit_const(e, 64, 0)),
			band(e, v, emit_const(e, 64, sign)), v);
	v = emit_to_int(e, op(e, emit_to_float(e, v)));
	nan = icmp(e, LLVMIntUGT, band(e, v, emit_const(e, 64, ~sign)), emit_const(e, 64, expo));
	v = band(e, v, emit_const(e, 64, upper));
	v = emit_select(e, icmp(e, LLVMIntEQ, band(e, v, emit_const(e, 64, expo)), emit_const(e, 64, 0)),
			band(e, v, emit_const(e, 64, sign)), v);
	emit_set(e, 0, emit_select(e, nan, emit_const(e, 64, UINT64_C(0x7fffffff00000000)), v));
}

static LLVMValueRef reciprocal(struct emit *e, LLVMValueRef v)
{
	return LLVMBuildFDiv(e->b, float_const(e, 1.0), v, "");
}

static LLVMValueRef reciprocal_root(struct emit *e, LLVMValueRef v)
{
	return reciprocal(e, emit_call1(e, "llvm.sqrt", v));
}

static bool is_gross(const struct emit *e)
{
	return e->insn->type == IR_F64 && e->insn->flags & IR_FTZ;
}

/* PTX ISA, div.approx.f32: a divisor above 2^126 is as good as an infinity. */
static LLVMValueRef endless(struct emit *e, LLVMValueRef v)
{
	LLVMValueRef sign = band(e, emit_to_int(e, v), emit_const(e, 32, 0x80000000));
	LLVMValueRef large = LLVMBuildFCmp(e->b, LLVMRealOGT, emit_call1(e, "llvm.fabs", v), float_const(e, 0x1p126), "");

	return emit_select(e, large, emit_to_float(e, bor(e, sign, emit_const(e, 32, 0x7f800000))), v);
}

static void float_div(struct emit *e)
{
	LLVMValueRef a = e->insn->op == IR_rcp ? NULL : emit_fsrc(e, 0), b = emit_fsrc(e, e->insn->op == IR_rcp ? 0 : 1), r;

	if (!a)
		a = float_const(e, 1.0);
	else if (e->insn->flags & IR_APPROX)
		b = endless(e, b);
	if (directed(e))
		r = directed_slow(e, type_bits(e) == 32 ? HG_CPU_DIV_F32 : HG_CPU_DIV_F64, a, b, NULL, e->insn->rnd, type_bits(e));
	else
		r = LLVMBuildFDiv(e->b, a, b, "");
	emit_fset(e, r);
}

static void float_sqrt(struct emit *e)
{
	LLVMValueRef a = emit_fsrc(e, 0), r;

	if (directed(e) && e->insn->op == IR_sqrt)
		r = directed_slow(e, type_bits(e) == 32 ? HG_CPU_SQRT_F32 : HG_CPU_SQRT_F64, a, NULL, NULL, e->insn->rnd, type_bits(e));
	else
		r = emit_call1(e, "llvm.sqrt", a);
	/* 1/sqrt: each step is correctly rounded, together within one unit */
	if (e->insn->op == IR_rsqrt)
		r = LLVMBuildFDiv(e->b, float_const(e, 1.0), r, "");
	emit_fset(e, r);
}

static LLVMValueRef float_bits_op(struct emit *e, LLVMValueRef v)
{
	unsigned int bits = emit_bits(v);
	uint64_t sign = UINT64_C(1) << (bits - 1);

	if (e->insn->op == IR_neg)
		return LLVMBuildXor(e->b, v, emit_const(e, bits, sign), "");
	return band(e, v, emit_const(e, bits, ~sign));
}

/* The sign of zero counts, a NaN loses to a number. */
static LLVMValueRef min_max_float(struct emit *e, LLVMValueRef a, LLVMValueRef b, bool max)
{
	LLVMValueRef ia = emit_to_int(e, a), ib = emit_to_int(e, b), r, equal, nan_a, nan_b;

	r = emit_select(e, LLVMBuildFCmp(e->b, max ? LLVMRealOGT : LLVMRealOLT, a, b, ""), ia, ib);
	equal = LLVMBuildFCmp(e->b, LLVMRealOEQ, a, b, "");
	r = emit_select(e, equal, max ? band(e, ia, ib) : bor(e, ia, ib), r);
	nan_a = LLVMBuildFCmp(e->b, LLVMRealUNO, a, a, "");
	nan_b = LLVMBuildFCmp(e->b, LLVMRealUNO, b, b, "");
	if (e->insn->flags & IR_NAN_OUT) {
		r = emit_select(e, nan_b, ib, r);
		r = emit_select(e, nan_a, ia, r);
	} else {
		r = emit_select(e, nan_b, ia, r);
		r = emit_select(e, nan_a, ib, r);
	}
	if (e->insn->flags & IR_XORSIGN) {
		unsigned int bits = emit_bits(ia);
		uint64_t sign = UINT64_C(1) << (bits - 1);

		r = bor(e, band(e, r, emit_const(e, bits, ~sign)),
			band(e, LLVMBuildXor(e->b, ia, ib, ""), emit_const(e, bits, sign)));
	}
	return emit_to_float(e, r);
}

static LLVMValueRef fabs_of(struct emit *e, LLVMValueRef v)
{
	unsigned int bits = emit_bits(v);

	return emit_to_float(e, band(e, emit_to_int(e, v), emit_const(e, bits, ~(UINT64_C(1) << (bits - 1)))));
}

static void float_min_max(struct emit *e)
{
	LLVMValueRef a = emit_fsrc(e, 0), b = emit_fsrc(e, 1), xa = a, xb = b, r;
	bool max = e->insn->op == IR_max;

	if (e->insn->flags & IR_XORSIGN) {
		/* magnitudes compared, the signs' product kept */
		unsigned int bits = emit_bits(a);
		LLVMValueRef sign = band(e, LLVMBuildXor(e->b, emit_to_int(e, a), emit_to_int(e, b), ""),
					 emit_const(e, bits, UINT64_C(1) << (bits - 1)));
		struct ir_insn plain = *e->insn;
		const struct ir_insn *in = e->insn;

		xa = fabs_of(e, a);
		xb = fabs_of(e, b);
		plain.flags &= (uint16_t)~IR_XORSIGN;
		e->insn = &plain;
		r = min_max_float(e, xa, xb, max);
		e->insn = in;
		emit_fset(e, emit_to_float(e, bor(e, emit_to_int(e, r), sign)));
		return;
	}
	emit_fset(e, min_max_float(e, xa, xb, max));
}

static LLVMValueRef testp(struct emit *e)
{
	unsigned int bits = type_bits(e);
	LLVMValueRef v = emit_src(e, 0, bits), mag, expo;
	uint64_t inf = bits == 32 ? 0x7f800000 : UINT64_C(0x7ff0000000000000);

	mag = band(e, v, emit_const(e, bits, ~(UINT64_C(1) << (bits - 1))));
	expo = band(e, v, emit_const(e, bits, inf));
	switch (e->insn->sub) {
	case IR_TESTP_FINITE: return icmp(e, LLVMIntULT, mag, emit_const(e, bits, inf));
	case IR_TESTP_INFINITE: return icmp(e, LLVMIntEQ, mag, emit_const(e, bits, inf));
	case IR_TESTP_NUMBER: return icmp(e, LLVMIntULE, mag, emit_const(e, bits, inf));
	case IR_TESTP_NOTANUMBER: return icmp(e, LLVMIntUGT, mag, emit_const(e, bits, inf));
	case IR_TESTP_NORMAL:	/* zeros too */
		return bor(e, icmp(e, LLVMIntEQ, mag, emit_const(e, bits, 0)), band(e, icmp(e, LLVMIntNE, expo, emit_const(e, bits, 0)), icmp(e, LLVMIntNE, expo, emit_const(e, bits, inf))));
	default:
		return band(e, icmp(e, LLVMIntEQ, expo, emit_const(e, bits, 0)), icmp(e, LLVMIntNE, mag, emit_const(e, bits, 0)));
	}
}

/* ---- halves: arithmetic in f32 or f64, rounded once ---- */

static bool is_half(enum ir_type t)
{
	return t == IR_F16 || t == IR_F16X2 || t == IR_BF16 || t == IR_BF16X2;
}

static bool is_bf(enum ir_type t)
{
	return t == IR_BF16 || t == IR_BF16X2;
}

LLVMValueRef emit_half_to_f32(struct emit *e, LLVMValueRef h, bool bf)
{
	if (bf)
		return emit_to_float(e, LLVMBuildShl(e->b, emit_resize(e, h, 32, false), emit_const(e, 32, 16), ""));
	return LLVMBuildFPExt(e->b, emit_to_float(e, h), emit_float(e, 32), "");
}

/* Nearest even; NaN becomes 0x7fff. */
LLVMValueRef emit_f32_to_half(struct emit *e, LLVMValueRef v, bool bf)
{
	LLVMValueRef nan = LLVMBuildFCmp(e->b, LLVMRealUNO, v, v, ""), h;

	if (bf) {
		LLVMValueRef b = emit_to_int(e, v), odd;

		odd = band(e, LLVMBuildLShr(e->b, b, emit_const(e, 32, 16), ""), emit_const(e, 32, 1));
		b = LLVMBuildAdd(e->b, b, LLVMBuildAdd(e->b, odd, emit_const(e, 32, 0x7fff), ""), "");
		h = emit_resize(e, LLVMBuildLShr(e->b, b, emit_const(e, 32, 16), ""), 16, false);
	} else {
		h = emit_to_int(e, LLVMBuildFPTrunc(e->b, v, emit_float(e, 16), ""));
	}
	return emit_select(e, nan, emit_const(e, 16, 0x7fff), h);
}

/*
 * An f64 that, rounded to a much narrower type, gives what the exact s + err would: the last bit is
 * made odd where something was lost ("round to odd").
 */
static LLVMValueRef sticky(struct emit *e, LLVMValueRef s, LLVMValueRef err)
{
	LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(s)), bits = emit_to_int(e, s), lost, even, away, toward;

	lost = LLVMBuildFCmp(e->b, LLVMRealONE, err, zero, "");
	even = icmp(e, LLVMIntEQ, band(e, bits, emit_const(e, 64, 1)), emit_const(e, 64, 0));
	lost = band(e, lost, even);
	away = icmp(e, LLVMIntEQ, LLVMBuildFCmp(e->b, LLVMRealOGT, err, zero, ""), LLVMBuildFCmp(e->b, LLVMRealOGT, s, zero, ""));
	toward = LLVMBuildNot(e->b, away, "");
	bits = step(e, bits, band(e, lost, away), true);
	bits = step(e, bits, band(e, lost, toward), false);
	return emit_to_float(e, bits);
}

/* The same of an f64 as f32; a finite number stays finite. */
static LLVMValueRef to_odd_f32(struct emit *e, LLVMValueRef v)
{
	LLVMValueRef r = LLVMBuildFPTrunc(e->b, v, emit_float(e, 32), ""), bits = emit_to_int(e, r), zero, err, lost, away, over;

	zero = LLVMConstNull(LLVMTypeOf(v));
	err = LLVMBuildFSub(e->b, v, LLVMBuildFPExt(e->b, r, emit_float(e, 64), ""), "");
	over = icmp(e, LLVMIntEQ, band(e, bits, emit_const(e, 32, 0x7fffffff)), emit_const(e, 32, 0x7f800000));
	lost = LLVMBuildFCmp(e->b, LLVMRealONE, err, zero, "");
	lost = band(e, lost, icmp(e, LLVMIntEQ, band(e, bits, emit_const(e, 32, 1)), emit_const(e, 32, 0)));
	lost = band(e, lost, LLVMBuildNot(e->b, over, ""));
	away = icmp(e, LLVMIntEQ, LLVMBuildFCmp(e->b, LLVMRealOGT, err, zero, ""), LLVMBuildFCmp(e->b, LLVMRealOGT, v, zero, ""));
	bits = step(e, bits, band(e, lost, away), true);
	bits = step(e, bits, band(e, lost, LLVMBuildNot(e->b, away, "")), false);
	/* v is an infinity itself where the difference is no number */
	over = band(e, over, LLVMBuildFCmp(e->b, LLVMRealORD, err, err, ""));
	return emit_to_float(e, step(e, bits, over, false));
}

static LLVMValueRef f64_to_half(struct emit *e, LLVMValueRef v, bool bf)
{
	return emit_f32_to_half(e, to_odd_f32(e, v), bf);
}

LLVMValueRef emit_flush_half(struct emit *e, LLVMValueRef h, bool bf)
{
	LLVMValueRef exponent = band(e, h, emit_const(e, 16, bf ? 0x7f80 : 0x7c00));

	return emit_select(e, icmp(e, LLVMIntEQ, exponent, emit_const(e, 16, 0)), band(e, h, emit_const(e, 16, 0x8000)), h);
}

/* The smaller or larger magnitude with the product of the signs; a NaN is left alone. */
static LLVMValueRef half_xorsign(struct emit *e, LLVMValueRef *x, LLVMValueRef *f, bool bf)
{
	LLVMValueRef h, sign = band(e, LLVMBuildXor(e->b, x[0], x[1], ""), emit_const(e, 16, 0x8000));

	h = emit_f32_to_half(e, min_max_float(e, fabs_of(e, f[0]), fabs_of(e, f[1]), e->insn->op == IR_max), bf);
	return emit_select(e, icmp(e, LLVMIntEQ, h, emit_const(e, 16, 0x7fff)), h, bor(e, h, sign));
}

static LLVMValueRef half_result(struct emit *e, LLVMValueRef *x, unsigned int nr)
{
	const struct ir_insn *in = e->insn;
	bool bf = is_bf(in->type);
	LLVMValueRef f[3], h;

	for (unsigned int i = 0; i < nr; i++) {
		if (in->flags & IR_FTZ)
			x[i] = emit_flush_half(e, x[i], bf);
		f[i] = emit_half_to_f32(e, x[i], bf);
	}
	switch (in->op) {
	case IR_neg: h = LLVMBuildXor(e->b, x[0], emit_const(e, 16, 0x8000), ""); break;
	case IR_abs: h = band(e, x[0], emit_const(e, 16, 0x7fff)); break;
	case IR_add: h = emit_f32_to_half(e, LLVMBuildFAdd(e->b, f[0], f[1], ""), bf); break;
	case IR_sub: h = emit_f32_to_half(e, LLVMBuildFSub(e->b, f[0], f[1], ""), bf); break;
	case IR_mul: h = emit_f32_to_half(e, LLVMBuildFMul(e->b, f[0], f[1], ""), bf); break;
	case IR_fma: {
		LLVMTypeRef f64 = emit_float(e, 64);
		LLVMValueRef p, c, s, t, u, err;

		if (e->no_f64) {
			h = emit_f32_to_half(e, emit_gpu_f32_fma(e, f[0], f[1], f[2], EMIT_TO_ODD), bf);
			break;
		}
		p = LLVMBuildFMul(e->b, LLVMBuildFPExt(e->b, f[0], f64, ""), LLVMBuildFPExt(e->b, f[1], f64, ""), "");
		c = LLVMBuildFPExt(e->b, f[2], f64, "");
		s = LLVMBuildFAdd(e->b, p, c, "");
		t = LLVMBuildFSub(e->b, s, p, "");
		u = LLVMBuildFSub(e->b, s, t, "");
		err = LLVMBuildFAdd(e->b, LLVMBuildFSub(e->b, p, u, ""), LLVMBuildFSub(e->b, c, t, ""), "");
		h = f64_to_half(e, sticky(e, s, err), bf);
		break;
	}
	default:	/* min, max */
		h = in->flags & IR_XORSIGN ? half_xorsign(e, x, f, bf) :
		    emit_f32_to_half(e, min_max_float(e, f[0], f[1], in->op == IR_max), bf);
		break;
	}
	if (in->flags & (IR_SAT | IR_RELU)) {
		LLVMValueRef v = emit_half_to_f32(e, h, bf), zero = LLVMConstNull(LLVMTypeOf(v)), one = emit_fconst(e, 32, 1.0);

		if (in->flags & IR_SAT) {
			v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOGT, v, zero, ""), v, zero);
			v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOLT, v, one, ""), v, one);
		} else {
			v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOLT, v, zero, ""), zero, v);
		}
		h = emit_f32_to_half(e, v, bf);
	}
	return in->flags & IR_FTZ ? emit_flush_half(e, h, bf) : h;
}

static bool half_arith(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int nr = in->nr_src, bits = type_bits(e);
	LLVMValueRef x[3], part[3], r = NULL;

	switch (in->op) {
	case IR_add: case IR_sub: case IR_mul: case IR_fma: case IR_min: case IR_max: break;
	case IR_neg: case IR_abs: break;
	default: return false;
	}
	for (unsigned int i = 0; i < nr; i++)
		x[i] = emit_src(e, i, bits);
	for (unsigned int h = 0; h < bits / 16; h++) {
		LLVMValueRef v;

		for (unsigned int i = 0; i < nr; i++)
			part[i] = bits == 16 ? x[i] : emit_resize(e, h ? LLVMBuildLShr(e->b, x[i], emit_const(e, 32, 16), "") : x[i], 16, false);
		v = half_result(e, part, nr);
		if (bits == 16)
			r = v;
		else if (!h)
			r = emit_resize(e, v, 32, false);
		else
			r = bor(e, r, LLVMBuildShl(e->b, emit_resize(e, v, 32, false), emit_const(e, 32, 16), ""));
	}
	emit_set(e, 0, r);
	return true;
}

/* ---- comparing ---- */

static LLVMValueRef compare_int(struct emit *e, enum ir_cmp cmp, enum ir_type t, LLVMValueRef a, LLVMValueRef b)
{
	bool s = ir_type_is_signed(t);

	switch (cmp) {
	case IR_EQ: return icmp(e, LLVMIntEQ, a, b);
	case IR_NE: return icmp(e, LLVMIntNE, a, b);
	case IR_LT: return icmp(e, s ? LLVMIntSLT : LLVMIntULT, a, b);
	case IR_LE: return icmp(e, s ? LLVMIntSLE : LLVMIntULE, a, b);
	case IR_GT: return icmp(e, s ? LLVMIntSGT : LLVMIntUGT, a, b);
	case IR_GE: return icmp(e, s ? LLVMIntSGE : LLVMIntUGE, a, b);
	case IR_LTU: return icmp(e, LLVMIntULT, a, b);	/* lo, ls, hi, hs are the unsigned ones */
	case IR_LEU: return icmp(e, LLVMIntULE, a, b);
	case IR_GTU: return icmp(e, LLVMIntUGT, a, b);
	default: return icmp(e, LLVMIntUGE, a, b);	/* IR_GEU */
	}
}

static LLVMValueRef compare_float(struct emit *e, enum ir_cmp cmp, LLVMValueRef a, LLVMValueRef b)
{
	static const LLVMRealPredicate pred[] = {
		[IR_EQ] = LLVMRealOEQ, [IR_NE] = LLVMRealONE, [IR_LT] = LLVMRealOLT, [IR_LE] = LLVMRealOLE,
		[IR_GT] = LLVMRealOGT, [IR_GE] = LLVMRealOGE, [IR_EQU] = LLVMRealUEQ, [IR_NEU] = LLVMRealUNE,
		[IR_LTU] = LLVMRealULT, [IR_LEU] = LLVMRealULE, [IR_GTU] = LLVMRealUGT, [IR_GEU] = LLVMRealUGE,
		[IR_NUM] = LLVMRealORD, [IR_NAN] = LLVMRealUNO,
	};

	return LLVMBuildFCmp(e->b, pred[cmp], a, b, "");
}

static LLVMValueRef compare_half(struct emit *e, enum ir_type t, LLVMValueRef a, LLVMValueRef b)
{
	if (e->insn->flags & IR_FTZ) {
		a = emit_flush_half(e, a, is_bf(t));
		b = emit_flush_half(e, b, is_bf(t));
	}
	return compare_float(e, e->insn->cmp, emit_half_to_f32(e, a, is_bf(t)), emit_half_to_f32(e, b, is_bf(t)));
}

static LLVMValueRef compare(struct emit *e, enum ir_type t)
{
	unsigned int bits = ir_type_bits(t);

	if (t == IR_F32 || t == IR_F64)
		return compare_float(e, e->insn->cmp, emit_fsrc(e, 0), emit_fsrc(e, 1));
	if (t == IR_F16 || t == IR_BF16)
		return compare_half(e, t, emit_src(e, 0, 16), emit_src(e, 1, 16));
	return compare_int(e, e->insn->cmp, t, emit_src(e, 0, bits), emit_src(e, 1, bits));
}

static LLVMValueRef combine(struct emit *e, LLVMValueRef p)
{
	switch (e->insn->boolop) {
	case IR_BOOL_AND: return band(e, p, emit_psrc(e, 2));
	case IR_BOOL_OR: return bor(e, p, emit_psrc(e, 2));
	case IR_BOOL_XOR: return LLVMBuildXor(e->b, p, emit_psrc(e, 2), "");
	default: return p;
	}
}

/* Both halves of a pair: p[0] about the low ones. */
static void compare_halves(struct emit *e, enum ir_type t, LLVMValueRef *p)
{
	LLVMValueRef a = emit_src(e, 0, 32), b = emit_src(e, 1, 32);

	for (unsigned int i = 0; i < 2; i++) {
		LLVMValueRef s = emit_const(e, 32, i * 16);

		p[i] = compare_half(e, t, emit_resize(e, LLVMBuildLShr(e->b, a, s, ""), 16, false),
				    emit_resize(e, LLVMBuildLShr(e->b, b, s, ""), 16, false));
		p[i] = combine(e, p[i]);
	}
}

static void setp_halves(struct emit *e)
{
	LLVMValueRef p[2];

	compare_halves(e, e->insn->type, p);
	emit_set(e, 0, p[0]);
	if (e->insn->nr_dst == 2)
		emit_set(e, 1, p[1]);
}

static void setp(struct emit *e)
{
	LLVMValueRef p, q = NULL;

	if (e->insn->type == IR_F16X2 || e->insn->type == IR_BF16X2) {
		setp_halves(e);
		return;
	}
	p = compare(e, e->insn->type);
	if (e->insn->nr_dst == 2)
		q = combine(e, LLVMBuildNot(e->b, p, ""));
	emit_set(e, 0, combine(e, p));
	if (q)
		emit_set(e, 1, q);
}

/* What "true" is in a destination. */
static uint64_t true_value(enum ir_type t)
{
	switch (t) {
	case IR_F16: return 0x3c00;
	case IR_F16X2: return 0x3c003c00;
	case IR_BF16: return 0x3f80;
	case IR_BF16X2: return 0x3f803f80;
	case IR_F32: return 0x3f800000;
	default: return UINT64_MAX;
	}
}

static void set(struct emit *e)
{
	enum ir_type from = e->insn->type2;
	unsigned int bits = type_bits(e);
	LLVMValueRef p[2], yes = emit_const(e, bits, true_value(e->insn->type)), no = emit_const(e, bits, 0);

	if (from == IR_F16X2 || from == IR_BF16X2) {
		compare_halves(e, from, p);
		p[0] = emit_select(e, p[0], band(e, yes, emit_const(e, 32, 0xffff)), no);
		p[1] = emit_select(e, p[1], band(e, yes, emit_const(e, 32, 0xffff0000)), no);
		emit_set(e, 0, bor(e, p[0], p[1]));
		return;
	}
	emit_set(e, 0, emit_select(e, combine(e, compare(e, from)), yes, no));
}

/* Raw when the destination may hold any NaN anyway: then sources are too, or are numbers. */
static LLVMValueRef bits_src(struct emit *e, unsigned int i)
{
	return emit_src(e, i, type_bits(e));
}

static void selp(struct emit *e)
{
	LLVMValueRef a, b, c = emit_psrc(e, 2);

	if (e->insn->type == IR_PRED) {
		a = emit_psrc(e, 0);
		b = emit_psrc(e, 1);
	} else {
		a = bits_src(e, 0);
		b = bits_src(e, 1);
	}
	emit_set(e, 0, emit_select(e, c, a, b));
}

static void slct(struct emit *e)
{
	LLVMValueRef a = bits_src(e, 0), b = bits_src(e, 1), c = emit_src(e, 2, 32), p;

	if (e->insn->type2 == IR_F32) {
		c = emit_to_float(e, c);
		if (e->insn->flags & IR_FTZ)
			c = emit_flush_denormal(e, c);
		p = LLVMBuildFCmp(e->b, LLVMRealOGE, c, LLVMConstNull(LLVMTypeOf(c)), "");
	} else {
		p = icmp(e, LLVMIntSGE, c, emit_const(e, 32, 0));
	}
	emit_set(e, 0, emit_select(e, p, a, b));
}

/* ---- converting ---- */

static LLVMValueRef round_to_integral(struct emit *e, LLVMValueRef v, enum ir_rnd rnd)
{
	switch (rnd) {
	case IR_RNI: case IR_RN: return emit_call1(e, "llvm.roundeven", v);
	case IR_RZI: case IR_RZ: return emit_call1(e, "llvm.trunc", v);
	case IR_RMI: case IR_RM: return emit_call1(e, "llvm.floor", v);
	case IR_RPI: case IR_RP: return emit_call1(e, "llvm.ceil", v);
	default: return v;
	}
}

static LLVMValueRef float_to_int(struct emit *e, LLVMValueRef v, enum ir_rnd rnd, enum ir_type to, bool from_f64)
{
	unsigned int bits = ir_type_bits(to);
	bool s = ir_type_is_signed(to);
	LLVMTypeRef over[2] = { emit_int(e, bits), LLVMTypeOf(v) };
	LLVMValueRef r;

	v = round_to_integral(e, v, rnd);
	r = emit_call(e, s ? "llvm.fptosi.sat" : "llvm.fptoui.sat", over, 2, &v, 1);
	/* a NaN becomes 0, or the most negative number where either side has 64 bits */
	if (from_f64 || bits == 64)
		r = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealUNO, v, v, ""), emit_const(e, bits, UINT64_C(1) << (bits - 1)), r);
	return r;
}

static LLVMValueRef int_to_float(struct emit *e, LLVMValueRef v, bool s, unsigned int fbits, enum ir_rnd rnd)
{
	unsigned int bits = emit_bits(v);
	LLVMTypeRef t = emit_float(e, fbits);
	bool dir = rnd == IR_RZ || rnd == IR_RM || rnd == IR_RP;

	/* exact ones need no mode */
	if (!dir || (fbits == 64 && bits <= 32) || (fbits == 32 && bits <= 16))
		return s ? LLVMBuildSIToFP(e->b, v, t, "") : LLVMBuildUIToFP(e->b, v, t, "");
	if (bits == 32) {
		LLVMTypeRef f64 = emit_float(e, 64);

		if (e->no_f64)
			return emit_gpu_f32_of_int(e, v, s, rnd);
		v = s ? LLVMBuildSIToFP(e->b, v, f64, "") : LLVMBuildUIToFP(e->b, v, f64, "");
		return round_f32(e, v, NULL, rnd);
	}
	return directed_slow(e, fbits == 32 ? (s ? HG_CPU_S64_F32 : HG_CPU_U64_F32) : (s ? HG_CPU_S64_F64 : HG_CPU_U64_F64), v,
			     NULL, NULL, rnd, fbits);
}

static LLVMValueRef cvt_source(struct emit *e, unsigned int i)
{
	enum ir_type t = e->insn->type2;

	if (t == IR_F32 || t == IR_F64)
		return emit_fsrc(e, i);
	return emit_half_to_f32(e, emit_src(e, i, 16), is_bf(t));
}

static LLVMValueRef clamp01(struct emit *e, LLVMValueRef v)
{
	LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(v)), one = emit_fconst(e, emit_bits(v), 1.0);

	v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOGT, v, zero, ""), v, zero);
	return emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOLT, v, one, ""), v, one);
}

/* f32 or f64 -> f16 or bf16, one half. */
static LLVMValueRef cvt_to_half(struct emit *e, LLVMValueRef v, bool bf)
{
	const struct ir_insn *in = e->insn;

	if (emit_bits(v) == 64)
		v = to_odd_f32(e, v);
	if (in->flags & IR_RELU)
		v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOLT, v, LLVMConstNull(LLVMTypeOf(v)), ""), LLVMConstNull(LLVMTypeOf(v)), v);
	if (in->flags & IR_SAT)
		v = clamp01(e, v);
	if (directed(e) || in->flags & IR_SATFINITE)
		return emit_resize(e, emit_round_to(e, v, bf ? IR_FMT_BF16 : IR_FMT_F16, in->rnd, in->flags & IR_SATFINITE), 16, false);
	return emit_f32_to_half(e, v, bf);
}

/* A 64-bit integer as f64 with its last bit odd where something was lost. */
static LLVMValueRef int64_to_odd_f64(struct emit *e, LLVMValueRef v, bool s)
{
	LLVMValueRef zero = emit_const(e, 64, 0), neg = s ? icmp(e, LLVMIntSLT, v, zero) : NULL, big, cut, f;

	if (neg)
		v = emit_select(e, neg, LLVMBuildNeg(e->b, v, ""), v);
	big = icmp(e, LLVMIntUGT, v, emit_const(e, 64, (UINT64_C(1) << 53) - 1));
	cut = emit_resize(e, icmp(e, LLVMIntNE, band(e, v, emit_const(e, 64, 0x7ff)), zero), 64, false);
	cut = bor(e, LLVMBuildLShr(e->b, v, emit_const(e, 64, 11), ""), cut);
	f = LLVMBuildUIToFP(e->b, emit_select(e, big, cut, v), emit_float(e, 64), "");
	f = emit_select(e, big, LLVMBuildFMul(e->b, f, emit_fconst(e, 64, 2048), ""), f);
	return neg ? emit_select(e, neg, LLVMBuildFNeg(e->b, f, ""), f) : f;
}

static void cvt_float_float(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int to = type_bits(e), from = ir_type_bits(in->type2);
	bool integral = in->rnd == IR_RNI || in->rnd == IR_RZI || in->rnd == IR_RMI || in->rnd == IR_RPI;
	LLVMValueRef v;

	if (in->type == IR_F16X2 || in->type == IR_BF16X2) {
		LLVMValueRef hi, lo;

		hi = cvt_to_half(e, emit_fsrc(e, 0), is_bf(in->type));
		lo = cvt_to_half(e, emit_fsrc(e, 1), is_bf(in->type));
		emit_set(e, 0, bor(e, LLVMBuildShl(e->b, emit_resize(e, hi, 32, false), emit_const(e, 32, 16), ""),
				   emit_resize(e, lo, 32, false)));
		return;
	}
	v = cvt_source(e, 0);
	if (is_half(in->type)) {
		if (is_half(in->type2) && integral)
			v = round_to_integral(e, v, in->rnd);
		emit_set_ext(e, 0, cvt_to_half(e, v, is_bf(in->type)), false);
		return;
	}
	if (integral)
		v = round_to_integral(e, v, in->rnd);
	if (to == 64 && emit_bits(v) == 32)
		v = LLVMBuildFPExt(e->b, v, emit_float(e, 64), "");
	else if (to == 32 && from == 64)
		v = directed(e) ? round_f32(e, v, NULL, in->rnd) : LLVMBuildFPTrunc(e->b, v, emit_float(e, 32), "");
	emit_fset(e, v);
}

/* Where an f64 is 64 bits and no more. False: it is none of those that are made so. */
static bool cvt_no_f64(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	bool from_int = !ir_type_is_float(in->type2);

	if (in->type == IR_F32 && in->type2 == IR_F64) {
		emit_fset(e, emit_gpu_f32_of_f64(e, emit_src(e, 0, 64), in->rnd));
	} else if (is_half(in->type) && in->type2 == IR_F64) {
		LLVMValueRef v = emit_gpu_f32_of_f64(e, emit_src(e, 0, 64), EMIT_TO_ODD);

		emit_set_ext(e, 0, cvt_to_half(e, v, is_bf(in->type)), false);
	} else if (in->type == IR_F64 && from_int && !(in->flags & IR_SAT)) {
		emit_set(e, 0, emit_gpu_f64_of_int(e, emit_src(e, 0, ir_type_bits(in->type2)), ir_type_is_signed(in->type2), in->rnd));
	} else if (in->type == IR_F64 && !from_int && in->type2 != IR_F64) {
		LLVMValueRef v = round_to_integral(e, cvt_source(e, 0), in->rnd);

		emit_set(e, 0, emit_gpu_f64_of_f32(e, in->flags & IR_SAT ? clamp01(e, v) : v));
	} else {
		return false;
	}
	return true;
}

static void cvt(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int to = type_bits(e), from = ir_type_bits(in->type2);
	bool to_float = ir_type_is_float(in->type), from_float = ir_type_is_float(in->type2);
	LLVMValueRef v;

	if (e->no_f64 && cvt_no_f64(e))
		return;
	if (to_float && from_float) {
		cvt_float_float(e);
		return;
	}
	if (from_float) {
		v = cvt_source(e, 0);
		emit_set_ext(e, 0, float_to_int(e, v, in->rnd, in->type, in->type2 == IR_F64), is_signed(e));
		return;
	}
	v = emit_src(e, 0, from);
	if (to_float) {
		bool s = ir_type_is_signed(in->type2);

		if (is_half(in->type)) {
			v = e->no_f64 ? emit_gpu_f32_of_int(e, v, s, EMIT_TO_ODD) :
			    from == 64 ? int64_to_odd_f64(e, v, s) : int_to_float(e, v, s, 64, IR_RN);
			emit_set_ext(e, 0, cvt_to_half(e, v, is_bf(in->type)), false);
			return;
		}
		emit_fset(e, int_to_float(e, v, s, to, in->rnd));
		return;
	}
	/* integers: extended or cut, or saturated to the destination's range */
	if (in->flags & IR_SAT) {
		bool s = ir_type_is_signed(in->type2), ds = is_signed(e);
		unsigned int wide = from > to ? from : to;

		v = emit_resize(e, v, wide, s);
		if (s && ds && to < wide) {
			v = emit_call2(e, "llvm.smin", v, emit_const(e, wide, (UINT64_C(1) << (to - 1)) - 1));
			v = emit_call2(e, "llvm.smax", v, emit_const(e, wide, UINT64_MAX << (to - 1)));
		} else if (s && !ds) {
			v = emit_call2(e, "llvm.smax", v, emit_const(e, wide, 0));
			if (to < wide)
				v = emit_call2(e, "llvm.umin", v, emit_const(e, wide, (UINT64_C(1) << to) - 1));
		} else if (!s && (ds ? to <= wide : to < wide)) {
			if (!(ds && to > from))
				v = emit_call2(e, "llvm.umin", v, emit_const(e, wide, (UINT64_C(1) << (ds ? to - 1 : to)) - 1));
		}
		v = emit_resize(e, v, to, s);
	} else {
		v = emit_resize(e, v, to, ir_type_is_signed(in->type2));
	}
	emit_set_ext(e, 0, v, is_signed(e));
}

static void pack(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = type_bits(e), each = bits / in->nr_src;
	LLVMValueRef r = emit_resize(e, emit_src(e, 0, each), bits, false);

	for (unsigned int i = 1; i < in->nr_src; i++)
		r = bor(e, r, LLVMBuildShl(e->b, emit_resize(e, emit_src(e, i, each), bits, false), emit_const(e, bits, i * each), ""));
	emit_set(e, 0, r);
}

static void unpack(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = type_bits(e), each = bits / in->nr_dst;
	LLVMValueRef v = emit_src(e, 0, bits);

	for (unsigned int i = 0; i < in->nr_dst; i++) {
		LLVMValueRef p = i ? LLVMBuildLShr(e->b, v, emit_const(e, bits, i * each), "") : v;

		emit_set_ext(e, i, emit_resize(e, p, each, false), false);
	}
}

static bool logic(struct emit *e)
{
	bool pred = e->insn->type == IR_PRED;
	LLVMValueRef a, b = NULL, r;

	switch (e->insn->op) {
	case IR_and: case IR_or: case IR_xor: case IR_not: break;
	default: return false;
	}
	a = pred ? emit_psrc(e, 0) : bits_src(e, 0);
	if (e->insn->op != IR_not)
		b = pred ? emit_psrc(e, 1) : bits_src(e, 1);
	switch (e->insn->op) {
	case IR_and: r = band(e, a, b); break;
	case IR_or: r = bor(e, a, b); break;
	case IR_xor: r = LLVMBuildXor(e->b, a, b, ""); break;
	default: r = LLVMBuildNot(e->b, a, ""); break;
	}
	emit_set(e, 0, r);
	return true;
}

static bool float_arith(struct emit *e)
{
	unsigned int bits = type_bits(e);

	switch (e->insn->op) {
	case IR_add: case IR_sub: float_add(e); return true;
	case IR_mul: float_mul(e); return true;
	case IR_fma: float_fma(e); return true;
	case IR_div: case IR_rcp:
		if (e->insn->op == IR_rcp && is_gross(e))
			gross_f64(e, reciprocal);
		else
			float_div(e);
		return true;
	case IR_sqrt: case IR_rsqrt:
		if (e->insn->op == IR_rsqrt && is_gross(e))
			gross_f64(e, reciprocal_root);
		else
			float_sqrt(e);
		return true;
	case IR_min: case IR_max: float_min_max(e); return true;
	case IR_neg: case IR_abs: {
		LLVMValueRef v = emit_to_int(e, emit_fsrc(e, 0));

		emit_fset(e, emit_to_float(e, float_bits_op(e, v)));
		return true;
	}
	case IR_copysign: {
		uint64_t sign = UINT64_C(1) << (bits - 1);

		emit_set(e, 0, bor(e, band(e, emit_src(e, 0, bits), emit_const(e, bits, sign)),
				   band(e, emit_src(e, 1, bits), emit_const(e, bits, ~sign))));
		return true;
	}
	case IR_testp: emit_set(e, 0, testp(e)); return true;
	default: return false;
	}
}

static bool int_arith(struct emit *e)
{
	unsigned int bits = type_bits(e);
	LLVMValueRef a, b;

	switch (e->insn->op) {
	case IR_add: case IR_sub: case IR_addc: case IR_subc: add_sub(e); return true;
	case IR_mul: emit_set(e, 0, product(e, true)); return true;
	case IR_mad: case IR_madc: mad(e); return true;
	case IR_div: case IR_rem: divide(e); return true;
	case IR_min: case IR_max: emit_set(e, 0, min_max_int(e, e->insn->op == IR_max)); return true;
	case IR_neg: emit_set(e, 0, LLVMBuildNeg(e->b, emit_src(e, 0, bits), "")); return true;
	case IR_abs:
		a = emit_src(e, 0, bits);
		b = LLVMBuildNeg(e->b, a, "");
		emit_set(e, 0, emit_select(e, icmp(e, LLVMIntSLT, a, emit_const(e, bits, 0)), b, a));
		return true;
	case IR_sad:
		a = emit_src(e, 0, bits);
		b = emit_src(e, 1, bits);
		a = emit_select(e, icmp(e, is_signed(e) ? LLVMIntSLT : LLVMIntULT, a, b), LLVMBuildSub(e->b, b, a, ""),
				LLVMBuildSub(e->b, a, b, ""));
		emit_set(e, 0, LLVMBuildAdd(e->b, a, emit_src(e, 2, bits), ""));
		return true;
	case IR_cnot:
		a = emit_src(e, 0, bits);
		emit_set(e, 0, emit_resize(e, icmp(e, LLVMIntEQ, a, emit_const(e, bits, 0)), bits, false));
		return true;
	case IR_shl: case IR_shr:
		a = emit_src(e, 0, bits);
		emit_set(e, 0, shift(e, a, emit_src(e, 1, 32), e->insn->op, e->insn->op == IR_shr && is_signed(e)));
		return true;
	case IR_lop3: emit_set(e, 0, lop3(e)); return true;
	case IR_shf_l: case IR_shf_r: emit_set(e, 0, funnel(e)); return true;
	case IR_prmt: emit_set(e, 0, prmt(e)); return true;
	case IR_bfe: emit_set(e, 0, bfe(e)); return true;
	case IR_bfi: emit_set(e, 0, bfi(e)); return true;
	case IR_bfind: emit_set(e, 0, bfind(e)); return true;
	case IR_brev: emit_set(e, 0, emit_call1(e, "llvm.bitreverse", emit_src(e, 0, bits))); return true;
	case IR_clz: emit_set(e, 0, emit_resize(e, count_zeros(e, emit_src(e, 0, bits)), 32, false)); return true;
	case IR_popc: emit_set(e, 0, emit_resize(e, emit_call1(e, "llvm.ctpop", emit_src(e, 0, bits)), 32, false)); return true;
	case IR_dp4a: case IR_dp2a: emit_set(e, 0, dot(e)); return true;
	default: return false;
	}
}

bool emit_arith(struct emit *e)
{
	switch (e->insn->op) {
	case IR_setp: setp(e); return true;
	case IR_set: set(e); return true;
	case IR_selp: selp(e); return true;
	case IR_slct: slct(e); return true;
	case IR_mov:
		emit_set(e, 0, e->insn->type == IR_PRED ? emit_psrc(e, 0) : bits_src(e, 0));
		return true;
	case IR_cvt: cvt(e); return true;
	case IR_pack: pack(e); return true;
	case IR_unpack: unpack(e); return true;
	default: break;
	}
	if (logic(e))
		return true;
	if (e->insn->type == IR_F32 || e->insn->type == IR_F64)
		return float_arith(e);
	if (is_half(e->insn->type))
		return half_arith(e);
	return int_arith(e);
}
