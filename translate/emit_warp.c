/* emit_warp.c - operations between the lanes of a warp, and the helpers of barriers. */
#include "translate/emit.h"

#include <stddef.h>

#include "translate/cpu_rt.h"

static LLVMValueRef lanes_op(struct emit *e, LLVMOpcode op, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildBinOp(e->b, op, a, b, "");
}

static bool is_imm(const struct ir_operand *o)
{
	return o->kind == IR_OPD_IMM;
}

/* The usual case: the pattern is known, so the shuffle is. */
static void shfl_known(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef from[HG_WARP], ok[HG_WARP], v = emit_src(e, 0, 32);

	for (uint32_t lane = 0; lane < HG_WARP; lane++) {
		bool in_range;

		from[lane] = emit_i32(e, hg_cpu_shfl_from(in->sub, lane, (uint32_t)in->src[1].imm, (uint32_t)in->src[2].imm, &in_range));
		ok[lane] = LLVMConstInt(emit_scalar_int(e, 1), in_range, 0);
	}
	emit_set(e, 0, LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(from, HG_WARP), ""));
	if (in->nr_dst > 1)
		emit_set(e, 1, LLVMConstVector(ok, HG_WARP));
}

static void shfl(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef lane = emit_iota(e, 32, 1), b, c, seg, rest, max, j, ok, args[3];

	if (is_imm(&in->src[1]) && is_imm(&in->src[2])) {
		shfl_known(e);
		return;
	}
	b = lanes_op(e, LLVMAnd, emit_src(e, 1, 32), emit_const(e, 32, 31));
	c = emit_src(e, 2, 32);
	seg = lanes_op(e, LLVMAnd, lanes_op(e, LLVMLShr, c, emit_const(e, 32, 8)), emit_const(e, 32, 31));
	rest = lanes_op(e, LLVMXor, seg, emit_const(e, 32, 31));
	max = lanes_op(e, LLVMOr, lanes_op(e, LLVMAnd, lane, seg), lanes_op(e, LLVMAnd, c, rest));
	switch (in->sub) {
	case IR_SHFL_UP: j = lanes_op(e, LLVMSub, lane, b); break;
	case IR_SHFL_DOWN: j = lanes_op(e, LLVMAdd, lane, b); break;
	case IR_SHFL_BFLY: j = lanes_op(e, LLVMXor, lane, b); break;
	case IR_SHFL_IDX:
	default:
		j = lanes_op(e, LLVMOr, lanes_op(e, LLVMAnd, lane, seg), lanes_op(e, LLVMAnd, b, rest));
		break;
	}
	ok = LLVMBuildICmp(e->b, in->sub == IR_SHFL_UP ? LLVMIntSGE : LLVMIntSLE, j, max, "");
	j = lanes_op(e, LLVMAnd, emit_select(e, ok, j, lane), emit_const(e, 32, 31));
	args[0] = emit_spread(e, 0, emit_src(e, 0, 32));
	args[1] = emit_spread(e, 1, j);
	args[2] = e->buf[2];
	emit_rt(e, offsetof(struct hg_cpu_rt, shfl), NULL, args, 3);
	emit_set(e, 0, emit_load(e, emit_int(e, 32), e->buf[2], 64));
	if (in->nr_dst > 1)
		emit_set(e, 1, ok);
}

static void vote(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef active = emit_active(e), members, yes, all, zero = emit_const(e, 32, 0), r;

	yes = LLVMBuildAnd(e->b, emit_lane_bits(e, emit_psrc(e, 0)), active, "");
	members = emit_src(e, 1, 32);
	all = lanes_op(e, LLVMAnd, members, emit_splat(e, active));
	yes = lanes_op(e, LLVMAnd, members, emit_splat(e, yes));
	switch (in->sub) {
	case IR_VOTE_BALLOT:
		r = yes;
		break;
	case IR_VOTE_ANY:
		r = LLVMBuildICmp(e->b, LLVMIntNE, yes, zero, "");
		break;
	case IR_VOTE_UNI:
		r = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, yes, all, ""),
				LLVMBuildICmp(e->b, LLVMIntEQ, yes, zero, ""), "");
		break;
	case IR_VOTE_ALL:
	default:
		r = LLVMBuildICmp(e->b, LLVMIntEQ, yes, all, "");
		break;
	}
	emit_set(e, 0, r);
}

static void match(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = ir_type_bits(in->type);
	LLVMValueRef args[6], equal;

	args[0] = emit_i32(e, in->sub);
	args[1] = emit_i32(e, bits);
	args[2] = emit_spread(e, 0, emit_src(e, 0, bits));
	args[3] = emit_spread(e, 1, emit_src(e, 1, 32));
	args[4] = emit_active(e);
	args[5] = e->buf[2];
	emit_rt(e, offsetof(struct hg_cpu_rt, match), NULL, args, 6);
	equal = emit_load(e, emit_int(e, 32), e->buf[2], 64);
	emit_set(e, 0, equal);
	if (in->nr_dst > 1)
		emit_set(e, 1, LLVMBuildICmp(e->b, LLVMIntNE, equal, emit_const(e, 32, 0), ""));
}

static void redux(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef args[5];

	args[0] = emit_i32(e, (uint32_t)in->sub | (uint32_t)in->type << 8 | (in->flags & IR_NAN_OUT ? HG_CPU_ATOM_NAN : 0));
	args[1] = emit_spread(e, 0, emit_src(e, 0, 32));
	args[2] = emit_spread(e, 1, emit_src(e, 1, 32));
	args[3] = emit_active(e);
	args[4] = e->buf[2];
	emit_rt(e, offsetof(struct hg_cpu_rt, redux), NULL, args, 5);
	emit_set(e, 0, emit_load(e, emit_int(e, 32), e->buf[2], 64));
}

static void bar_arrive(struct emit *e)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef args[5];

	e->lanes = HG_WARP;
	/* the frame knows the living lanes only across yields */
	emit_store(e, LLVMBuildLoad2(e->b, i32, e->alive, ""), emit_at(e, e->frame, offsetof(struct hg_cpu_frame, alive)), 4);
	args[0] = e->frame;
	args[1] = e->env;
	args[2] = emit_active(e);
	args[3] = emit_spread(e, 0, emit_src(e, 0, 32));
	args[4] = emit_spread(e, 1, emit_src(e, 1, 32));
	emit_rt(e, offsetof(struct hg_cpu_rt, bar_arrive), NULL, args, 5);
}

static void nanosleep_op(struct emit *e)
{
	LLVMValueRef ns = emit_src(e, 0, 32);

	if (emit_is_vector(ns))
		ns = emit_call1(e, "llvm.vector.reduce.umax", ns);
	emit_rt(e, offsetof(struct hg_cpu_rt, sleep), NULL, &ns, 1);
}

static void print(struct emit *e)
{
	LLVMValueRef args[4];

	args[0] = emit_active(e);
	args[1] = emit_spread(e, 0, emit_src(e, 0, 64));
	args[2] = emit_spread(e, 1, emit_src(e, 1, 64));
	args[3] = e->buf[2];
	emit_rt(e, offsetof(struct hg_cpu_rt, print), NULL, args, 4);
	emit_set(e, 0, emit_load(e, emit_int(e, 32), e->buf[2], 64));
}

static void assert_fail(struct emit *e)
{
	static const unsigned int text[] = { 0, 1, 3 };
	LLVMValueRef args[5];

	args[0] = e->frame;
	args[1] = e->env;
	args[2] = emit_active(e);
	for (unsigned int i = 0; i < 3; i++)
		emit_store(e, emit_splat(e, emit_src(e, text[i], 64)), emit_at(e, e->buf[0], (uint64_t)i * HG_WARP * 8), 64);
	args[3] = e->buf[0];
	args[4] = emit_spread(e, 1, emit_src(e, 2, 32));
	emit_rt(e, offsetof(struct hg_cpu_rt, assert_fail), NULL, args, 5);
}

bool emit_warp(struct emit *e)
{
	switch (e->insn->op) {
	case IR_shfl: shfl(e); return true;
	case IR_vote: vote(e); return true;
	case IR_match: match(e); return true;
	case IR_redux: redux(e); return true;
	case IR_warpsync: LLVMBuildFence(e->b, LLVMAtomicOrderingSequentiallyConsistent, 1, ""); return true;
	case IR_activemask: emit_set(e, 0, emit_active(e)); return true;
	case IR_bar_arrive: bar_arrive(e); return true;
	case IR_nanosleep: nanosleep_op(e); return true;
	case IR_vprintf: print(e); return true;
	case IR_assertfail: assert_fail(e); return true;
	default: return false;
	}
}
