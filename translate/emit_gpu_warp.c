/* emit_gpu_warp.c - operations between the lanes of a warp, for GPUs. */
#include "translate/emit_gpu_priv.h"

#include <stddef.h>

#include "translate/cpu_rt.h"	/* hg_cpu_shfl_from: what a shuffle means */

static LLVMValueRef and32(struct emit *e, LLVMValueRef v, uint32_t mask)
{
	return LLVMBuildAnd(e->b, v, emit_i32(e, mask), "");
}

static LLVMValueRef bit(struct emit *e, bool v)
{
	return LLVMConstInt(emit_scalar_int(e, 1), v, 0);
}

LLVMValueRef emit_gpu_ballot(struct emit *e, LLVMValueRef p)
{
	LLVMValueRef b = e->gpu->isa->ballot(e, p);

	if (e->gpu->opt.layout == HG_GPU_PAIR)
		b = LLVMBuildLShr(e->b, b, emit_resize(e, and32(e, e->gpu->wave_lane, 32), 64, false), "");
	return emit_resize(e, b, 32, false);
}

LLVMValueRef emit_gpu_from_lane(struct emit *e, LLVMValueRef v, LLVMValueRef from)
{
	if (e->gpu->opt.layout == HG_GPU_PAIR)
		from = LLVMBuildOr(e->b, from, and32(e, e->gpu->wave_lane, 32), "");
	return e->gpu->isa->from_lane(e, v, from);
}

/* ---- shuffles ---- */

/* As hg_cpu_shfl_from, of the lane's own operands. */
static LLVMValueRef source_lane(struct emit *e, LLVMValueRef *in_range)
{
	LLVMValueRef lane = e->gpu->lane, b = and32(e, emit_src(e, 1, 32), 31), c = emit_src(e, 2, 32), seg, rest, max, j;

	seg = and32(e, LLVMBuildLShr(e->b, c, emit_i32(e, 8), ""), 31);
	rest = LLVMBuildXor(e->b, seg, emit_i32(e, 31), "");
	seg = LLVMBuildAnd(e->b, lane, seg, "");
	max = LLVMBuildOr(e->b, seg, LLVMBuildAnd(e->b, c, rest, ""), "");
	switch (e->insn->sub) {
	case IR_SHFL_UP: j = LLVMBuildSub(e->b, lane, b, ""); break;
	case IR_SHFL_DOWN: j = LLVMBuildAdd(e->b, lane, b, ""); break;
	case IR_SHFL_BFLY: j = LLVMBuildXor(e->b, lane, b, ""); break;
	case IR_SHFL_IDX:
	default: j = LLVMBuildOr(e->b, seg, LLVMBuildAnd(e->b, b, rest, ""), ""); break;
	}
	*in_range = LLVMBuildICmp(e->b, e->insn->sub == IR_SHFL_UP ? LLVMIntSGE : LLVMIntSLE, j, max, "");
	return and32(e, emit_select(e, *in_range, j, lane), 31);
}

static void shfl(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef v = emit_src(e, 0, 32), ok, lane = source_lane(e, &ok), r = NULL;

	if (in->src[1].kind == IR_OPD_IMM && in->src[2].kind == IR_OPD_IMM) {
		uint32_t from[HG_WARP];
		bool all = true;

		for (uint32_t i = 0; i < HG_WARP; i++) {
			bool in_range;

			from[i] = hg_cpu_shfl_from(in->sub, i, (uint32_t)in->src[1].imm, (uint32_t)in->src[2].imm, &in_range);
			all &= in_range;
		}
		if (e->gpu->isa->shfl_known)
			r = e->gpu->isa->shfl_known(e, v, from);
		if (all)
			ok = bit(e, true);
	}
	if (!r)
		r = emit_gpu_from_lane(e, v, lane);
	emit_set(e, 0, r);
	if (in->nr_dst > 1)
		emit_set(e, 1, ok);
}

/* ---- votes ---- */

static void vote(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef members = emit_src(e, 1, 32), yes, all, zero = emit_i32(e, 0), r;

	yes = LLVMBuildAnd(e->b, members, emit_gpu_ballot(e, emit_psrc(e, 0)), "");
	all = LLVMBuildAnd(e->b, members, emit_gpu_ballot(e, bit(e, true)), "");
	switch (in->sub) {
	case IR_VOTE_BALLOT:
		r = yes;
		break;
	case IR_VOTE_ANY:
		r = LLVMBuildICmp(e->b, LLVMIntNE, yes, zero, "");
		break;
	case IR_VOTE_UNI:
		r = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, yes, all, ""), LLVMBuildICmp(e->b, LLVMIntEQ, yes, zero, ""), "");
		break;
	case IR_VOTE_ALL:
	default:
		r = LLVMBuildICmp(e->b, LLVMIntEQ, yes, all, "");
		break;
	}
	emit_set(e, 0, r);
}

static void activemask(struct emit *e)
{
	struct emit_gpu_guard g = emit_gpu_guard_begin(e);
	LLVMValueRef r = emit_gpu_ballot(e, bit(e, true));

	emit_gpu_guard_end(e, &g, &r, 1);
	emit_set(e, 0, r);
}

/* What lanes wrote is seen by the others, which run in step: the order is all that must be kept. */
static void warpsync(struct emit *e)
{
	emit_gpu_fence(e, EMIT_SCOPE_WAVE, LLVMAtomicOrderingAcquireRelease);
	e->gpu->isa->wave_barrier(e);
}

#define SLEEP 8u	/* of 64 cycles each, a quarter of a microsecond at 2 GHz */

/* Any time up to twice as long, and a millisecond at most. */
static void nanosleep_op(struct emit *e)
{
	LLVMValueRef rounds = emit_call2(e, "llvm.umin", emit_src(e, 0, 32), emit_i32(e, 1000000)), left;
	struct emit_gpu_guard g = emit_gpu_guard_begin(e);
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), loop = emit_bb(e, "sleep"), on = emit_bb(e, "awake");

	rounds = LLVMBuildLShr(e->b, rounds, emit_i32(e, 8), "");
	LLVMBuildBr(e->b, loop);
	LLVMPositionBuilderAtEnd(e->b, loop);
	left = LLVMBuildPhi(e->b, emit_scalar_int(e, 32), "");
	e->gpu->isa->sleep(e, SLEEP);
	LLVMAddIncoming(left, &rounds, &before, 1);
	LLVMAddIncoming(left, (LLVMValueRef[]){ LLVMBuildSub(e->b, left, emit_i32(e, 1), "") }, &loop, 1);
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntULE, left, emit_i32(e, 1), ""), on, loop);
	LLVMPositionBuilderAtEnd(e->b, on);
	emit_gpu_guard_end(e, &g, NULL, 0);
}

bool emit_gpu_warp(struct emit *e)
{
	switch (e->insn->op) {
	case IR_shfl: shfl(e); return true;
	case IR_vote: vote(e); return true;
	case IR_activemask: activemask(e); return true;
	case IR_warpsync: warpsync(e); return true;
	case IR_nanosleep: nanosleep_op(e); return true;
	default: return false;
	}
}
