/* emit_gpu.c - hgIR to LLVM IR for GPUs: how a kernel begins and ends, special registers, and the direct form, where branches are branches. */
#include "translate/emit_gpu_priv.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

LLVMTypeRef emit_gpu_ptr(struct emit *e, enum emit_gpu_space as)
{
	return LLVMPointerTypeInContext(e->c, as == EMIT_AS_CONST && !e->gpu->isa->has_const_space ? EMIT_AS_GLOBAL : as);
}

static LLVMTypeRef i32_type(struct emit *e)
{
	return emit_scalar_int(e, 32);
}

static LLVMValueRef is_zero(struct emit *e, LLVMValueRef v)
{
	return LLVMBuildICmp(e->b, LLVMIntEQ, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

/* ---- special registers ---- */

static LLVMValueRef env32(struct emit *e, size_t offset)
{
	return emit_env(e, i32_type(e), offset);
}

static LLVMValueRef block_index(struct emit *e, unsigned int axis)
{
	return e->gpu->isa->group(e, axis);
}

/* The number of the block in its grid, of the multiprocessors. */
static LLVMValueRef multiprocessor(struct emit *e)
{
	LLVMValueRef n = block_index(e, 2), nr = env32(e, offsetof(struct hg_gpu_env, nsmid));

	for (int axis = 1; axis >= 0; axis--) {
		n = LLVMBuildMul(e->b, n, env32(e, offsetof(struct hg_gpu_env, nctaid) + (unsigned int)axis * 4u), "");
		n = LLVMBuildAdd(e->b, n, block_index(e, (unsigned int)axis), "");
	}
	return LLVMBuildURem(e->b, n, emit_call2(e, "llvm.umax", nr, emit_i32(e, 1)), "");
}

static LLVMValueRef lane_mask(struct emit *e, enum ir_sreg s)
{
	LLVMValueRef eq = LLVMBuildShl(e->b, emit_i32(e, 1), e->gpu->lane, ""), lt = LLVMBuildSub(e->b, eq, emit_i32(e, 1), "");

	switch (s) {
	case IR_SREG_LANEMASK_EQ: return eq;
	case IR_SREG_LANEMASK_LE: return LLVMBuildOr(e->b, lt, eq, "");
	case IR_SREG_LANEMASK_LT: return lt;
	case IR_SREG_LANEMASK_GE: return LLVMBuildNot(e->b, lt, "");
	default: return LLVMBuildNot(e->b, LLVMBuildOr(e->b, lt, eq, ""), "");
	}
}

static LLVMValueRef nr_threads(struct emit *e)
{
	LLVMValueRef n = env32(e, offsetof(struct hg_gpu_env, ntid));

	for (unsigned int axis = 1; axis < 3; axis++)
		n = LLVMBuildMul(e->b, n, env32(e, offsetof(struct hg_gpu_env, ntid) + axis * 4), "");
	return n;
}

static LLVMValueRef special(struct emit *e, enum ir_sreg s)
{
	LLVMTypeRef i64 = emit_scalar_int(e, 64);

	switch (s) {
	case IR_SREG_TID_X: case IR_SREG_TID_Y: case IR_SREG_TID_Z:
		return e->gpu->tid[s - IR_SREG_TID_X];
	case IR_SREG_NTID_X: case IR_SREG_NTID_Y: case IR_SREG_NTID_Z:
		return env32(e, offsetof(struct hg_gpu_env, ntid) + (s - IR_SREG_NTID_X) * 4u);
	case IR_SREG_CTAID_X: case IR_SREG_CTAID_Y: case IR_SREG_CTAID_Z:
		return block_index(e, s - IR_SREG_CTAID_X);
	case IR_SREG_NCTAID_X: case IR_SREG_NCTAID_Y: case IR_SREG_NCTAID_Z:
		return env32(e, offsetof(struct hg_gpu_env, nctaid) + (s - IR_SREG_NCTAID_X) * 4u);
	case IR_SREG_LANEID:
		return e->gpu->lane;
	case IR_SREG_LANEMASK_EQ: case IR_SREG_LANEMASK_LE: case IR_SREG_LANEMASK_LT: case IR_SREG_LANEMASK_GE:
	case IR_SREG_LANEMASK_GT:
		return lane_mask(e, s);
	case IR_SREG_WARPID:
		return LLVMBuildLShr(e->b, e->gpu->thread, emit_i32(e, 5), "");
	case IR_SREG_NWARPID:
		return LLVMBuildLShr(e->b, LLVMBuildAdd(e->b, nr_threads(e), emit_i32(e, 31), ""), emit_i32(e, 5), "");
	case IR_SREG_SMID:
		return multiprocessor(e);
	case IR_SREG_NSMID:
		return env32(e, offsetof(struct hg_gpu_env, nsmid));
	case IR_SREG_GRIDID:
		return emit_env(e, i64, offsetof(struct hg_gpu_env, grid_id));
	case IR_SREG_CLOCK: case IR_SREG_CLOCK64:
		return emit_resize(e, e->gpu->isa->clock(e), s == IR_SREG_CLOCK ? 32 : 64, false);
	case IR_SREG_GLOBALTIMER:	/* of a counter that runs at 100 MHz, not from any known moment */
		return LLVMBuildMul(e->b, e->gpu->isa->timer(e), emit_i64(e, 10), "");
	case IR_SREG_DYNAMIC_SMEM_SIZE:
		return env32(e, offsetof(struct hg_gpu_env, dynamic_shared_bytes));
	case IR_SREG_TOTAL_SMEM_SIZE:
		return env32(e, offsetof(struct hg_gpu_env, shared_bytes));
	case IR_SREG_ENVREG1: case IR_SREG_ENVREG2: {
		LLVMValueRef g = emit_env(e, i64, offsetof(struct hg_gpu_env, grid_barrier));

		if (s == IR_SREG_ENVREG1)
			g = LLVMBuildLShr(e->b, g, emit_i64(e, 32), "");
		return emit_resize(e, g, 32, false);
	}
	case IR_SREG_LOCAL_SIZE:
		return emit_i32(e, e->gpu->opt.local_bytes);
	case IR_SREG_STATE:
		return emit_env(e, i64, offsetof(struct hg_gpu_env, state));
	case IR_SREG_COUNT:
		break;
	}
	emit_unsupported(e, "special register");
	return emit_i32(e, 0);
}

static LLVMValueRef var_address(struct emit *e, uint32_t index)
{
	LLVMValueRef table = emit_env(e, emit_scalar_int(e, 64), offsetof(struct hg_gpu_env, vars));

	table = LLVMBuildIntToPtr(e->b, table, emit_gpu_ptr(e, EMIT_AS_CONST), "");
	return emit_invariant(e, emit_load(e, emit_scalar_int(e, 64), emit_at(e, table, (uint64_t)index * 8), 8));
}

static const struct emit_ops gpu_ops = { .special = special, .var = var_address };

/* ---- failures ---- */

LLVMValueRef emit_gpu_state_at(struct emit *e, size_t offset)
{
	LLVMValueRef state = emit_env(e, emit_scalar_int(e, 64), offsetof(struct hg_gpu_env, state));

	return emit_at(e, LLVMBuildIntToPtr(e->b, state, emit_gpu_ptr(e, EMIT_AS_GLOBAL), ""), offset);
}

LLVMValueRef emit_gpu_has_fault(struct emit *e)
{
	LLVMValueRef v = emit_gpu_atomic_load(e, 32, emit_gpu_state_at(e, offsetof(struct hg_gpu_state, fault)), EMIT_SCOPE_SYSTEM,
					      LLVMAtomicOrderingMonotonic);

	return LLVMBuildNot(e->b, is_zero(e, v), "");
}

void emit_gpu_fail(struct emit *e, LLVMValueRef cond, enum hg_gpu_fault kind, LLVMValueRef addr)
{
	struct emit_gpu *g = e->gpu;
	LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b), on = emit_bb(e, "on");
	LLVMValueRef k = emit_i32(e, kind), line = emit_i32(e, e->insn->line);

	if (!addr)
		addr = emit_i64(e, 0);
	if (!g->fault) {
		g->fault = emit_bb(e, "fault");
		LLVMPositionBuilderAtEnd(e->b, g->fault);
		g->fault_kind = LLVMBuildPhi(e->b, i32_type(e), "");
		g->fault_line = LLVMBuildPhi(e->b, i32_type(e), "");
		g->fault_addr = LLVMBuildPhi(e->b, emit_scalar_int(e, 64), "");
		LLVMPositionBuilderAtEnd(e->b, here);
	}
	LLVMAddIncoming(g->fault_kind, &k, &here, 1);
	LLVMAddIncoming(g->fault_line, &line, &here, 1);
	LLVMAddIncoming(g->fault_addr, &addr, &here, 1);
	LLVMBuildCondBr(e->b, cond ? cond : LLVMConstInt(emit_scalar_int(e, 1), 1, 0), g->fault, on);
	LLVMPositionBuilderAtEnd(e->b, on);
}

/* See gpu_abi.h. */
static void emit_fault_block(struct emit *e)
{
	LLVMBasicBlockRef first = emit_bb(e, "first");
	LLVMValueRef ok;

	LLVMPositionBuilderAtEnd(e->b, e->gpu->fault);
	emit_gpu_cas(e, emit_gpu_state_at(e, offsetof(struct hg_gpu_state, fault)), emit_i32(e, HG_GPU_NO_FAULT), e->gpu->fault_kind,
		     EMIT_SCOPE_SYSTEM, LLVMAtomicOrderingMonotonic, &ok);
	LLVMBuildCondBr(e->b, ok, first, e->gpu->end);
	LLVMPositionBuilderAtEnd(e->b, first);
	emit_store(e, e->gpu->fault_line, emit_gpu_state_at(e, offsetof(struct hg_gpu_state, line)), 4);
	for (unsigned int axis = 0; axis < 3; axis++) {
		emit_store(e, block_index(e, axis), emit_gpu_state_at(e, offsetof(struct hg_gpu_state, block) + axis * 4), 4);
		emit_store(e, e->gpu->tid[axis], emit_gpu_state_at(e, offsetof(struct hg_gpu_state, thread) + axis * 4), 4);
	}
	emit_store(e, special(e, IR_SREG_GRIDID), emit_gpu_state_at(e, offsetof(struct hg_gpu_state, grid_id)), 8);
	emit_store(e, e->gpu->fault_addr, emit_gpu_state_at(e, offsetof(struct hg_gpu_state, addr)), 8);
	emit_gpu_atomic_store(e, emit_i32(e, 1), emit_gpu_state_at(e, offsetof(struct hg_gpu_state, is_told)), EMIT_SCOPE_SYSTEM,
			      LLVMAtomicOrderingRelease);
	LLVMBuildBr(e->b, e->gpu->end);
}

/* ---- instructions ---- */

struct emit_gpu_guard emit_gpu_guard_begin(struct emit *e)
{
	struct emit_gpu_guard g = { 0 };
	LLVMValueRef cond = emit_guard(e);
	LLVMBasicBlockRef go;

	if (!cond)
		return g;
	go = emit_bb(e, "go");
	g.on = emit_bb(e, "on");
	g.before = LLVMGetInsertBlock(e->b);
	LLVMBuildCondBr(e->b, cond, go, g.on);
	LLVMPositionBuilderAtEnd(e->b, go);
	return g;
}

void emit_gpu_guard_end(struct emit *e, struct emit_gpu_guard *g, LLVMValueRef *val, unsigned int nr)
{
	LLVMBasicBlockRef from = LLVMGetInsertBlock(e->b);

	if (!g->on)
		return;
	LLVMBuildBr(e->b, g->on);
	LLVMPositionBuilderAtEnd(e->b, g->on);
	for (unsigned int i = 0; i < nr; i++) {
		LLVMValueRef none = LLVMConstNull(LLVMTypeOf(val[i])), phi = LLVMBuildPhi(e->b, LLVMTypeOf(val[i]), "");

		LLVMAddIncoming(phi, &val[i], &from, 1);
		LLVMAddIncoming(phi, &none, &g->before, 1);
		val[i] = phi;
	}
}

void emit_gpu_insn(struct emit *e)
{
	const struct ir_insn *in = e->insn;

	if (in->op == IR_trap)
		emit_gpu_fail(e, emit_guard(e), in->sub == IR_TRAP_STACK ? HG_GPU_STACK : HG_GPU_TRAP, NULL);
	else if (!emit_gpu_memory(e) && !emit_gpu_warp(e) && !emit_arith(e) && !emit_math(e) && !emit_convert(e))
		emit_unsupported(e, "operation");
	if (e->st == HG_ERR_UNSUPPORTED) {
		char what[sizeof(e->why)];

		snprintf(what, sizeof(what), "%.100s", e->why);
		snprintf(e->why, sizeof(e->why), "line %u: '%s.%s' (%.60s)", in->line, ir_op_desc[in->op].name, ir_type_name(in->type), what);
	}
}

/* ---- the direct form ---- */

static void leave_block(struct emit *e)
{
	for (uint32_t r = 0; r < e->nr_touched; r++) {
		e->cur[e->touched[r]] = NULL;
		e->dirty[e->touched[r]] = false;
	}
	e->nr_touched = 0;
}

static void emit_switch(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef index = emit_src(e, 0, 32), sw;
	LLVMBasicBlockRef known;

	emit_regs_flush(e);
	emit_gpu_fail(e, LLVMBuildICmp(e->b, LLVMIntUGE, index, emit_i32(e, in->nr_targets), ""), HG_GPU_BAD_INDEX,
		      emit_resize(e, index, 64, false));
	known = emit_bb(e, "nowhere");
	sw = LLVMBuildSwitch(e->b, index, known, in->nr_targets);
	for (uint32_t i = 0; i < in->nr_targets; i++)
		LLVMAddCase(sw, emit_i32(e, i), e->bb[in->targets[i]]);
	LLVMPositionBuilderAtEnd(e->b, known);
	LLVMBuildUnreachable(e->b);
}

/* Whether the branch at the end of the block leads to another round of a loop that waits for others. */
static bool waits(const struct emit *e)
{
	const struct ir_insn *in = e->insn;

	for (unsigned int i = 0; e->info->spin[e->block] && i < ir_nr_targets(in); i++)
		if (ir_target(in, i) <= e->block)
			return true;
	return false;
}

#define LOOK_EVERY 256u		/* rounds: what is looked at lies in the host's memory */

/* Who is waited for may have failed, and ended. */
static void emit_round(struct emit *e)
{
	LLVMBasicBlockRef look = emit_bb(e, "look"), on = emit_bb(e, "on");
	LLVMValueRef n = LLVMBuildAdd(e->b, LLVMBuildLoad2(e->b, i32_type(e), e->gpu->rounds, ""), emit_i32(e, 1), "");

	LLVMBuildStore(e->b, n, e->gpu->rounds);
	LLVMBuildCondBr(e->b, is_zero(e, LLVMBuildAnd(e->b, n, emit_i32(e, LOOK_EVERY - 1), "")), look, on);
	LLVMPositionBuilderAtEnd(e->b, look);
	LLVMBuildCondBr(e->b, emit_gpu_has_fault(e), e->gpu->end, on);
	LLVMPositionBuilderAtEnd(e->b, on);
}

static void direct_block(struct emit *e, uint32_t b)
{
	const struct ir_block *blk = &e->fn->block[b];

	e->block = b;
	LLVMPositionBuilderAtEnd(e->b, e->bb[b]);
	for (uint32_t i = 0; i < blk->nr_insns && !e->st; i++) {
		const struct ir_insn *in = &blk->insn[i];
		LLVMValueRef p;

		e->insn = in;
		switch (in->op) {
		case IR_bra:
			emit_regs_flush(e);
			if (waits(e))
				emit_round(e);
			LLVMBuildBr(e->b, e->bb[in->target[0]]);
			break;
		case IR_cbra:
			p = emit_psrc(e, 0);
			emit_regs_flush(e);
			if (waits(e))
				emit_round(e);
			LLVMBuildCondBr(e->b, p, e->bb[in->target[0]], e->bb[in->target[1]]);
			break;
		case IR_brx:
			emit_switch(e);
			break;
		case IR_exit:
			leave_block(e);
			LLVMBuildBr(e->b, e->gpu->end);
			break;
		case IR_bar_sync: case IR_bar_red: case IR_bar_arrive:
			emit_gpu_barrier(e);
			break;
		default:
			emit_gpu_insn(e);
			break;
		}
	}
}

static void emit_direct(struct emit *e)
{
	LLVMBuildBr(e->b, e->bb[0]);
	for (uint32_t b = 0; b < e->fn->nr_blocks && !e->st; b++)
		direct_block(e, b);
}

/* ---- how a kernel begins and ends ---- */

/* A thread's index in three dimensions, from its number; most blocks have one, and need no division. */
static void find_index(struct emit *e, LLVMValueRef *ntid)
{
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), deep = emit_bb(e, "deep"), on = emit_bb(e, "index");
	LLVMValueRef is_row, rest, of[3], zero = emit_i32(e, 0);
	struct emit_gpu *g = e->gpu;

	is_row = LLVMBuildOr(e->b, ntid[1], env32(e, offsetof(struct hg_gpu_env, ntid) + 8), "");
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, is_row, emit_i32(e, 1), ""), on, deep);
	LLVMPositionBuilderAtEnd(e->b, deep);
	of[0] = LLVMBuildURem(e->b, g->thread, ntid[0], "");
	rest = LLVMBuildUDiv(e->b, g->thread, ntid[0], "");
	of[1] = LLVMBuildURem(e->b, rest, ntid[1], "");
	of[2] = LLVMBuildUDiv(e->b, rest, ntid[1], "");
	LLVMBuildBr(e->b, on);
	LLVMPositionBuilderAtEnd(e->b, on);
	for (unsigned int axis = 0; axis < 3; axis++) {
		LLVMValueRef v[2] = { axis ? zero : g->thread, of[axis] };

		g->tid[axis] = LLVMBuildPhi(e->b, i32_type(e), "");
		LLVMAddIncoming(g->tid[axis], v, (LLVMBasicBlockRef[]){ before, deep }, 2);
	}
}

/* Thread and lane; work-items that are no threads go to `leave`. */
static void find_thread(struct emit *e)
{
	LLVMValueRef ntid[2];
	struct emit_gpu *g = e->gpu;

	for (unsigned int axis = 0; axis < 2; axis++)
		ntid[axis] = env32(e, offsetof(struct hg_gpu_env, ntid) + axis * 4);
	if (g->opt.layout == HG_GPU_HALF) {
		LLVMValueRef item = g->isa->item(e, 0), rest, outside;
		LLVMBasicBlockRef on = emit_bb(e, "thread");

		g->lane = g->wave_lane = LLVMBuildAnd(e->b, item, emit_i32(e, 63), "");
		rest = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, item, emit_i32(e, 1), ""), emit_i32(e, ~UINT32_C(31)), "");
		g->thread = LLVMBuildOr(e->b, rest, LLVMBuildAnd(e->b, item, emit_i32(e, 31), ""), "");
		outside = LLVMBuildICmp(e->b, LLVMIntUGT, g->lane, emit_i32(e, 31), "");
		outside = LLVMBuildOr(e->b, outside, LLVMBuildICmp(e->b, LLVMIntUGE, g->thread, nr_threads(e), ""), "");
		LLVMBuildCondBr(e->b, outside, g->leave, on);
		LLVMPositionBuilderAtEnd(e->b, on);
		find_index(e, ntid);
		return;
	}
	if (g->isa->flat_groups) {
		g->thread = g->isa->item(e, 0);
		find_index(e, ntid);
	} else {
		for (unsigned int axis = 0; axis < 3; axis++)
			g->tid[axis] = g->isa->item(e, axis);
		g->thread = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, g->tid[2], ntid[1], ""), g->tid[1], "");
		g->thread = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, g->thread, ntid[0], ""), g->tid[0], "");
	}
	g->wave_lane = g->isa->wave_lane(e);
	g->lane = LLVMBuildAnd(e->b, g->wave_lane, emit_i32(e, 31), "");
}

/* Static shared memory that must be zeros: all threads, side by side. */
static void zero_shared(struct emit *e)
{
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), loop = emit_bb(e, "zero"), body = emit_bb(e, "zero4"), on = emit_bb(e, "zeroed");
	LLVMValueRef step = LLVMBuildShl(e->b, nr_threads(e), emit_i32(e, 2), ""), at, next;
	LLVMValueRef first = LLVMBuildShl(e->b, e->gpu->thread, emit_i32(e, 2), "");

	LLVMBuildBr(e->b, loop);
	LLVMPositionBuilderAtEnd(e->b, loop);
	at = LLVMBuildPhi(e->b, i32_type(e), "");
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntULT, at, emit_i32(e, e->fn->shared_bytes), ""), body, on);
	LLVMPositionBuilderAtEnd(e->b, body);
	/* the last word may reach beyond, where nothing is yet: what there is of local data share is in units of more than that */
	emit_store(e, emit_i32(e, 0), e->gpu->isa->shared(e, at), 4);
	next = LLVMBuildAdd(e->b, at, step, "");
	LLVMBuildBr(e->b, loop);
	LLVMAddIncoming(at, (LLVMValueRef[]){ first, next }, (LLVMBasicBlockRef[]){ before, body }, 2);
	LLVMPositionBuilderAtEnd(e->b, on);
}

/* A queue that has failed runs no kernel any more: the lanes of a wave see that together, or all of the block. */
static void end_if_failed(struct emit *e)
{
	LLVMBasicBlockRef run = emit_bb(e, "run");
	LLVMValueRef fault;

	if (e->gpu->ends_together)
		fault = emit_gpu_barrier_seen(e);
	else
		fault = e->gpu->isa->first(e, emit_resize(e, emit_gpu_has_fault(e), 32, false));
	LLVMBuildCondBr(e->b, is_zero(e, fault), run, e->gpu->leave);
	LLVMPositionBuilderAtEnd(e->b, run);
}

static void emit_begin(struct emit *e)
{
	struct emit_gpu *g = e->gpu;

	e->entry = emit_bb(e, "entry");
	g->leave = emit_bb(e, "leave");
	LLVMPositionBuilderAtEnd(e->b, e->entry);
	e->env = emit_at(e, g->kernarg, HG_GPU_ENV_OFFSET(e->fn->param_bytes));
	if (g->opt.scheduled)
		emit_gpu_sched_registers(e);
	for (uint32_t r = 0; r < e->fn->nr_regs && !e->in_spill; r++)
		if (e->info->crosses[r])
			e->slot[r] = LLVMBuildAlloca(e->b, emit_reg_type(e, r), "");
	if (g->opt.local_bytes) {
		g->local = LLVMBuildAlloca(e->b, LLVMArrayType2(emit_scalar_int(e, 8), g->opt.local_bytes), "local");
		LLVMSetAlignment(g->local, 64);
	}
	for (uint32_t b = 0; b < e->fn->nr_blocks && !g->opt.scheduled && !g->rounds; b++)
		if (e->info->spin[b]) {
			g->rounds = LLVMBuildAlloca(e->b, i32_type(e), "rounds");
			LLVMBuildStore(e->b, emit_i32(e, 0), g->rounds);
		}
	for (uint32_t r = 0; r < e->fn->nr_regs; r++)
		if (e->slot[r] && emit_has(e->info->live_in[0], r))
			emit_slot_store(e, r, LLVMConstNull(emit_reg_type(e, r)));
	for (uint32_t b = 0; b < e->fn->nr_blocks; b++)
		e->bb[b] = emit_bb(e, "b");
	find_thread(e);
	if (!g->isa->strict_barriers)
		end_if_failed(e);
	if (e->fn->needs_zeroed_shared && e->fn->shared_bytes)
		zero_shared(e);
	if (g->soft_barriers)
		emit_gpu_barrier_init(e);
	if (g->ends_together)
		emit_gpu_barrier_look(e);
	if (g->soft_barriers || g->ends_together || (e->fn->needs_zeroed_shared && e->fn->shared_bytes))
		emit_gpu_hard_barrier(e);
	/* behind what all must take part in; who waits for those that end here sees the failure as well, or ends with them */
	if (g->isa->strict_barriers)
		end_if_failed(e);
	g->end = emit_bb(e, "end");
}

static void emit_end(struct emit *e)
{
	if (e->gpu->fault)
		emit_fault_block(e);
	LLVMPositionBuilderAtEnd(e->b, e->gpu->leave);
	LLVMBuildRetVoid(e->b);
}

/* Where the form has none of its own. */
static void emit_end_block(struct emit *e)
{
	LLVMPositionBuilderAtEnd(e->b, e->gpu->end);
	if (e->gpu->soft_barriers)
		emit_gpu_barrier_exit(e);
	LLVMBuildBr(e->b, e->gpu->leave);
}

static enum hg_status alloc_tables(struct emit *e)
{
	e->slot = calloc(e->fn->nr_regs + 1, sizeof(*e->slot));
	e->cur = calloc(e->fn->nr_regs + 1, sizeof(*e->cur));
	e->dirty = calloc(e->fn->nr_regs + 1, sizeof(*e->dirty));
	e->touched = calloc(e->fn->nr_regs + 1, sizeof(*e->touched));
	e->bb = calloc(e->fn->nr_blocks + 1, sizeof(*e->bb));
	return e->slot && e->cur && e->dirty && e->touched && e->bb ? HG_OK : HG_ERR_NOMEM;
}

enum hg_status emit_gpu_kernel(const struct ir_func *fn, const struct emit_gpu_options *opt, const struct emit_gpu_isa *isa, LLVMContextRef c,
			       LLVMModuleRef m, const char *name, uint32_t *extra_lds, char *why, size_t why_size)
{
	struct emit_info info;
	struct emit_gpu gpu = { .isa = isa, .opt = *opt };
	struct emit e = { .fn = fn, .info = &info, .ops = &gpu_ops, .gpu = &gpu, .no_f64 = opt->no_f64, .opt = { .halves = !isa->has_wide }, .c = c, .m = m,
			  .lanes = 1 };
	LLVMBasicBlockRef start;
	enum hg_status st;

	st = emit_analyze(fn, true, &info);
	if (st)
		return st;
	/* a lane's code: every register is one number */
	memset(info.is_vector, 0, info.nr_regs);
	gpu.soft_barriers = opt->scheduled ? emit_gpu_has_barriers(fn) : emit_gpu_needs_soft_barriers(isa, opt, fn);
	gpu.ends_together = isa->strict_barriers && !gpu.soft_barriers && emit_gpu_has_barriers(fn);
	st = alloc_tables(&e);
	if (st)
		goto out;
	e.b = LLVMCreateBuilderInContext(c);
	isa->add_function(&e, name);
	emit_begin(&e);
	if (opt->scheduled) {
		emit_gpu_scheduled(&e);
	} else {
		start = LLVMGetInsertBlock(e.b);
		emit_end_block(&e);
		LLVMPositionBuilderAtEnd(e.b, start);
		emit_direct(&e);
	}
	if (!e.st)
		emit_end(&e);
	st = e.st;
	if (st == HG_ERR_UNSUPPORTED)
		snprintf(why, why_size, "%s", e.why);
	else if (!st)
		*extra_lds = emit_gpu_barrier_bytes(&gpu);
	emit_gpu_memory_end(&e);
	LLVMDisposeBuilder(e.b);
out:
	free(e.slot);
	free(e.cur);
	free(e.dirty);
	free(e.touched);
	free(e.bb);
	emit_info_release(&info);
	return st;
}
