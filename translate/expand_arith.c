/* expand_arith.c - arithmetic and conversions with a direction of rounding, for hardware that rounds to nearest; and f64 where there is none. */
#include "translate/expand_build.h"

#include <string.h>

/*
 * What emit_arith.c writes in plain f64 arithmetic stays: add, sub, mul and fma of f32, conversions of f64 and of integers of 32 bits. The rest is
 * here; of f32 as an f64 that such a conversion then rounds. Quotients and roots of f32 may be the nearest f64: that is an f32 only if nothing was
 * lost, for a result of 24 bits that is not exact differs from the exact one in the first 49. Integers of 64 bits have a last bit that stands for what was lost.
 */
static bool is_directed(const struct ir_insn *in)
{
	return in->rnd == IR_RZ || in->rnd == IR_RM || in->rnd == IR_RP;
}

static bool is_directed_f64(const struct ir_insn *in)
{
	return in->type == IR_F64 && is_directed(in);
}

static bool is_f64(const struct ir_insn *in)
{
	return in->type == IR_F64;
}

static bool is_directed_float(const struct ir_insn *in)
{
	return (in->type == IR_F32 || in->type == IR_F64) && is_directed(in);
}

static bool is_directed_int64(const struct ir_insn *in)
{
	return is_directed_float(in) && (in->type2 == IR_S64 || in->type2 == IR_U64);
}

/* The result, from the f64 that will do for it. */
static void finish(struct expand *x, const struct ir_insn *in, ir_reg v)
{
	struct ir_insn *cvt = lower_emit(expand_lower(x), IR_cvt, in->type, 1, 1);

	if (!cvt)
		return;
	cvt->type2 = IR_F64;
	cvt->rnd = in->type == IR_F32 ? in->rnd : IR_RND_NONE;
	cvt->flags = in->flags & (IR_FTZ | IR_SAT);
	cvt->dst[0] = in->dst[0];
	cvt->src[0] = expand_reg(v);
}

/* A source of f32, exactly. */
static struct ir_operand widened(struct expand *x, const struct ir_insn *in, unsigned int i)
{
	struct ir_insn *cvt = lower_emit(expand_lower(x), IR_cvt, IR_F64, 1, 1);

	if (!cvt)
		return expand_imm(0);
	cvt->type2 = IR_F32;
	cvt->flags = in->flags & IR_FTZ;
	cvt->dst[0] = lower_reg(expand_lower(x), IR_B64);
	cvt->src[0] = in->src[i];
	return expand_reg(cvt->dst[0]);
}

static ir_reg nearest(struct expand *x, enum ir_op op, unsigned int nr, const struct ir_operand *arg)
{
	struct ir_insn *in = lower_emit(expand_lower(x), op, IR_F64, 1, nr);

	if (!in)
		return 0;
	in->rnd = IR_RN;
	memcpy(in->src, arg, nr * sizeof(*arg));
	return in->dst[0] = lower_reg(expand_lower(x), IR_B64);
}

static void fma_by(struct expand *x, const struct ir_insn *in, const char *function)
{
	struct ir_operand arg[4] = { in->src[0], in->src[1], { 0 }, expand_imm(in->rnd) }, sign = expand_imm(UINT64_C(1) << 63);

	switch (in->op) {
	case IR_fma:
		arg[2] = in->src[2];
		break;
	case IR_mul:
		arg[2] = expand_reg(EXPAND_OP(x, IR_xor, IR_B64, in->src[0], in->src[1]));
		arg[2] = expand_reg(EXPAND_OP(x, IR_and, IR_B64, arg[2], sign));
		break;
	default:
		arg[1] = expand_imm(UINT64_C(0x3ff) << 52);
		arg[2] = in->op == IR_sub ? expand_reg(EXPAND_OP(x, IR_xor, IR_B64, in->src[1], sign)) : in->src[1];
		break;
	}
	expand_call(x, expand_support(function), arg, in->dst);
}

static void fma_f64(struct expand *x, const struct ir_insn *in)
{
	fma_by(x, in, "hg_fma_f64");
}

static void soft_fma(struct expand *x, const struct ir_insn *in)
{
	fma_by(x, in, "hg_soft_fma_f64");
}

static void divide(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand one = expand_imm(UINT64_C(0x3ff) << 52), arg[3];
	bool is_rcp = in->op == IR_rcp;

	if (in->type == IR_F64) {
		arg[0] = is_rcp ? one : in->src[0];
		arg[1] = in->src[is_rcp ? 0 : 1];
		arg[2] = expand_imm(in->rnd);
		expand_call(x, expand_support("hg_div_f64"), arg, in->dst);
		return;
	}
	arg[0] = is_rcp ? one : widened(x, in, 0);
	arg[1] = widened(x, in, is_rcp ? 0 : 1);
	finish(x, in, nearest(x, IR_div, 2, arg));
}

static void root(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand arg[2] = { in->src[0], expand_imm(in->rnd) };

	if (in->type == IR_F64) {
		expand_call(x, expand_support("hg_sqrt_f64"), arg, in->dst);
		return;
	}
	arg[0] = widened(x, in, 0);
	finish(x, in, nearest(x, IR_sqrt, 1, arg));
}

static void from_int64(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand arg[3] = { in->src[0], expand_imm(0), expand_imm(in->rnd) };
	ir_reg wide = lower_reg(expand_lower(x), IR_B64);

	if (in->type2 == IR_S64) {
		arg[1] = expand_reg(expand_cvt(x, IR_U32, IR_U64, expand_reg(EXPAND_OP(x, IR_shr, IR_U64, in->src[0], expand_imm(63)))));
		arg[0] = expand_reg(EXPAND_OP(x, IR_abs, IR_S64, in->src[0]));
	}
	expand_call(x, expand_support(in->type == IR_F64 ? "hg_int_f64" : "hg_int_odd"), arg, &wide);
	finish(x, in, wide);
}

const struct expand_rule expand_f64_rules[] = {
	{ IR_add, is_directed_f64, fma_f64 }, { IR_sub, is_directed_f64, fma_f64 }, { IR_mul, is_directed_f64, fma_f64 },
	{ IR_fma, is_directed_f64, fma_f64 }, { IR_div, is_directed_float, divide }, { IR_rcp, is_directed_float, divide },
	{ IR_sqrt, is_directed_float, root }, { IR_cvt, is_directed_int64, from_int64 },
	{ 0 },
};

/* --- where there is no f64 at all ---------------------------------------------------------------- */
/* A direction, to whole numbers or not, as the support library has it; `none` without one. */
static struct ir_operand direction(const struct ir_insn *in, enum ir_rnd none)
{
	switch (in->rnd) {
	case IR_RN: case IR_RNI: return expand_imm(IR_RN);
	case IR_RZ: case IR_RZI: return expand_imm(IR_RZ);
	case IR_RM: case IR_RMI: return expand_imm(IR_RM);
	case IR_RP: case IR_RPI: return expand_imm(IR_RP);
	default: return expand_imm(none);
	}
}

static void soft_divide(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand arg[3] = { in->src[0], in->src[1], direction(in, IR_RN) };

	expand_call(x, expand_support("hg_soft_div_f64"), arg, in->dst);
}

static void soft_reciprocal(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand arg[3] = { expand_imm(UINT64_C(0x3ff) << 52), in->src[0], direction(in, IR_RN) }, gross[2] = { in->src[0], expand_imm(0) };

	if (in->flags & IR_FTZ)
		expand_call(x, expand_support("hg_soft_gross_f64"), gross, in->dst);
	else
		expand_call(x, expand_support("hg_soft_div_f64"), arg, in->dst);
}

static void soft_root(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand arg[2] = { in->src[0], direction(in, IR_RN) };

	expand_call(x, expand_support("hg_soft_sqrt_f64"), arg, in->dst);
}

static void soft_reciprocal_root(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand root[2] = { in->src[0], expand_imm(IR_RN) }, gross[2] = { in->src[0], expand_imm(1) }, arg[3];
	ir_reg r;

	if (in->flags & IR_FTZ) {
		expand_call(x, expand_support("hg_soft_gross_f64"), gross, in->dst);
		return;
	}
	r = lower_reg(expand_lower(x), IR_B64);
	expand_call(x, expand_support("hg_soft_sqrt_f64"), root, &r);
	arg[0] = expand_imm(UINT64_C(0x3ff) << 52);
	arg[1] = expand_reg(r);
	arg[2] = expand_imm(IR_RN);
	expand_call(x, expand_support("hg_soft_div_f64"), arg, in->dst);
}

static void soft_sign(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand sign = expand_imm(UINT64_C(1) << 63), mag = expand_imm(INT64_MAX), v, nan;

	v = expand_reg(EXPAND_OP(x, IR_and, IR_B64, in->src[0], mag));
	nan = expand_reg(expand_compare(x, IR_GT, IR_U64, v, expand_imm(UINT64_C(0x7ff) << 52)));
	if (in->op == IR_neg)
		v = expand_reg(EXPAND_OP(x, IR_xor, IR_B64, in->src[0], sign));
	expand_op(x, IR_selp, IR_B64, in->dst[0], 3, (struct ir_operand[]){ expand_imm(UINT64_C(0xfff8) << 48), v, nan });
}

static void soft_min_max(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand arg[4] = { in->src[0], in->src[1], expand_imm(in->op == IR_max), expand_imm(in->flags & IR_NAN_OUT ? 1 : 0) };

	if (in->flags & IR_XORSIGN)
		lower_refuse(expand_lower(x), "minimum and maximum of f64 by magnitude");
	expand_call(x, expand_support("hg_soft_min_max_f64"), arg, in->dst);
}

/* setp and set: of a number that is 1 where the comparison holds. */
static void soft_compare(struct expand *x, const struct ir_insn *in)
{
	enum { LESS = 1, EQUAL = 2, GREATER = 4, UNORDERED = 8 };
	static const uint8_t which[] = {
		[IR_EQ] = EQUAL, [IR_NE] = LESS | GREATER, [IR_LT] = LESS, [IR_LE] = LESS | EQUAL, [IR_GT] = GREATER, [IR_GE] = GREATER | EQUAL,
		[IR_EQU] = EQUAL | UNORDERED, [IR_NEU] = LESS | GREATER | UNORDERED, [IR_LTU] = LESS | UNORDERED,
		[IR_LEU] = LESS | EQUAL | UNORDERED, [IR_GTU] = GREATER | UNORDERED, [IR_GEU] = GREATER | EQUAL | UNORDERED,
		[IR_NUM] = LESS | EQUAL | GREATER, [IR_NAN] = UNORDERED,
	};
	struct ir_operand arg[3] = { in->src[0], in->src[1], expand_imm(which[in->cmp]) };
	ir_reg holds = lower_reg(expand_lower(x), IR_B32);
	struct ir_insn *to;

	expand_call(x, expand_support("hg_soft_compare_f64"), arg, &holds);
	to = lower_emit(expand_lower(x), in->op, in->op == IR_set ? in->type : IR_U32, in->nr_dst, in->nr_src);
	if (!to)
		return;
	to->type2 = in->op == IR_set ? IR_U32 : IR_NONE;
	to->cmp = IR_NE;
	to->boolop = in->boolop;
	memcpy(to->dst, in->dst, in->nr_dst * sizeof(*in->dst));
	memcpy(to->src, in->src, in->nr_src * sizeof(*in->src));
	to->src[0] = expand_reg(holds);
	to->src[1] = expand_imm(0);
}

static bool compares_f64(const struct ir_insn *in)
{
	return in->type2 == IR_F64;
}

static bool is_whole(const struct ir_insn *in)
{
	return in->rnd == IR_RNI || in->rnd == IR_RZI || in->rnd == IR_RMI || in->rnd == IR_RPI;
}

/* What emit_gpu_f32.c does not make. */
static bool is_soft_cvt(const struct ir_insn *in)
{
	if (in->type2 == IR_F64)
		return !ir_type_is_float(in->type) || in->type == IR_F64 || (in->type == IR_F32 && is_whole(in));
	return in->type == IR_F64 && !ir_type_is_float(in->type2) && in->flags & IR_SAT;
}

static void soft_whole(struct expand *x, struct ir_operand v, struct ir_operand rnd, bool sat, ir_reg dst)
{
	struct ir_operand arg[3] = { v, rnd, expand_imm(sat) };

	expand_call(x, expand_support("hg_soft_whole_f64"), arg, &dst);
}

static void soft_cvt(struct expand *x, const struct ir_insn *in)
{
	struct ir_operand arg[4] = { in->src[0], direction(in, IR_RZ), expand_imm(ir_type_bits(in->type)), expand_imm(ir_type_is_signed(in->type)) };
	struct ir_insn *to;
	ir_reg wide;

	if (in->type == IR_F64 && in->type2 == IR_F64) {
		soft_whole(x, in->src[0], is_whole(in) ? direction(in, IR_RND_NONE) : expand_imm(IR_RND_NONE), in->flags & IR_SAT, in->dst[0]);
		return;
	}
	wide = lower_reg(expand_lower(x), IR_B64);
	if (in->type == IR_F32)
		soft_whole(x, in->src[0], direction(in, IR_RND_NONE), false, wide);
	else if (in->type2 == IR_F64)
		expand_call(x, expand_support("hg_soft_int_of_f64"), arg, &wide);
	to = lower_emit(expand_lower(x), IR_cvt, in->type, 1, 1);
	if (!to)
		return;
	to->type2 = in->type == IR_F32 ? IR_F64 : in->type == IR_F64 ? in->type2 : IR_U64;
	to->dst[0] = in->type == IR_F64 ? wide : in->dst[0];
	to->src[0] = in->type == IR_F64 ? in->src[0] : expand_reg(wide);
	to->rnd = in->type == IR_F64 ? in->rnd : in->type == IR_F32 ? IR_RN : IR_RND_NONE;
	to->flags = in->type == IR_F32 ? in->flags & (IR_FTZ | IR_SAT) : 0;
	if (in->type == IR_F64)
		soft_whole(x, expand_reg(wide), expand_imm(IR_RND_NONE), true, in->dst[0]);
}

/* What is f32, and the other conversions, stay for emit_gpu_f32.c. */
const struct expand_rule expand_no_f64_rules[] = {
	{ IR_add, is_f64, soft_fma }, { IR_sub, is_f64, soft_fma }, { IR_mul, is_f64, soft_fma }, { IR_fma, is_f64, soft_fma },
	{ IR_div, is_f64, soft_divide }, { IR_rcp, is_f64, soft_reciprocal }, { IR_sqrt, is_f64, soft_root },
	{ IR_rsqrt, is_f64, soft_reciprocal_root }, { IR_neg, is_f64, soft_sign }, { IR_abs, is_f64, soft_sign },
	{ IR_min, is_f64, soft_min_max }, { IR_max, is_f64, soft_min_max }, { IR_setp, is_f64, soft_compare },
	{ IR_set, compares_f64, soft_compare }, { IR_cvt, is_soft_cvt, soft_cvt },
	{ 0 },
};
