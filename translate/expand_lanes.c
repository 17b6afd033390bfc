/* expand_lanes.c - match and redux. */
#include "translate/expand_build.h"

static void match(struct expand *x, const struct ir_insn *in)
{
	struct lower *l = expand_lower(x);
	ir_reg lanes = in->dst[0] == IR_NO_REG ? lower_reg(l, IR_B32) : in->dst[0];
	struct ir_operand arg[2] = { in->src[0], in->src[1] };
	struct ir_insn *any;

	if (in->sub && ir_type_bits(in->type) == 32)
		arg[0] = expand_reg(expand_cvt(x, IR_U64, IR_U32, arg[0]));
	expand_call(x, expand_support(in->sub ? "hg_match_all_b64" : ir_type_bits(in->type) == 64 ? "hg_match_any_b64" : "hg_match_any_b32"),
		    arg, &lanes);
	if (in->nr_dst < 2 || in->dst[1] == IR_NO_REG)
		return;
	any = lower_emit(l, IR_setp, IR_U32, 1, 2);
	if (!any)
		return;
	any->cmp = IR_NE;
	any->dst[0] = in->dst[1];
	any->src[0] = expand_reg(lanes);
	any->src[1] = expand_imm(0);
}

static void redux(struct expand *x, const struct ir_insn *in)
{
	/* table of hg_redux_bits */
	static const uint8_t table[] = { [IR_ATOM_AND] = 4, [IR_ATOM_OR] = 6, [IR_ATOM_XOR] = 8 };
	struct ir_operand arg[4] = { in->src[0], in->src[1] };
	const char *name;

	switch (in->sub) {
	case IR_ATOM_ADD:
		name = "hg_redux_add";
		break;
	case IR_ATOM_AND: case IR_ATOM_OR: case IR_ATOM_XOR:
		name = "hg_redux_bits";
		arg[2] = expand_imm(table[in->sub]);
		break;
	default:
		/* the least is the greatest of the numbers turned over; signed ones are unsigned with the highest bit turned over */
		name = in->type == IR_F32 ? "hg_redux_f32" : "hg_redux_max";
		arg[2] = expand_imm((in->sub == IR_ATOM_MIN ? UINT32_MAX : 0) ^ (ir_type_is_signed(in->type) ? UINT32_C(1) << 31 : 0));
		arg[3] = expand_imm(in->flags & IR_NAN_OUT ? 1 : 0);
		break;
	}
	expand_call(x, expand_support(name), arg, in->dst);
}

const struct expand_rule expand_lane_rules[] = { { IR_match, NULL, match }, { IR_redux, NULL, redux }, { 0 } };
