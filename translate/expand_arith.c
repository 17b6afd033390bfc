/* expand_arith.c - arithmetic and conversions with a direction of rounding, for hardware that rounds to nearest. */
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

/* Conversions, and what is f32, stay for emit_gpu_f32.c; quotients and roots of f64 for whoever refuses them. */
const struct expand_rule expand_no_f64_rules[] = {
	{ IR_add, is_f64, soft_fma }, { IR_sub, is_f64, soft_fma }, { IR_mul, is_f64, soft_fma }, { IR_fma, is_f64, soft_fma },
	{ 0 },
};
