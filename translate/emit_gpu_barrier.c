/* emit_gpu_barrier.c - barriers of a block on GPUs: the hardware's one, and PTX's sixteen counted in local data share. */
#include "translate/emit_gpu_priv.h"

#include <stddef.h>

#define NR_BARRIERS 16u

/* Behind the block's shared memory. */
struct counted {
	uint32_t alive;			/* threads that have not ended */
	uint32_t reserved[3];
	struct {
		/*
		 * Bits 0-15 the threads that came, 16-31 what they count as, 32-63 the turn, which the last one moves on, with zeros below it:
		 * all at once, so that whoever comes next belongs to the next turn.
		 */
		uint64_t state;
		uint32_t nr[2];		/* bar_red, of even and odd turns: lanes, << 16; those that hold true */
	} barrier[NR_BARRIERS];
};

uint32_t emit_gpu_barrier_bytes(const struct emit_gpu *g)
{
	return g->soft_barriers ? sizeof(struct counted) : g->ends_together ? 16 : 0;
}

static LLVMValueRef is_zero(struct emit *e, LLVMValueRef v)
{
	return LLVMBuildICmp(e->b, LLVMIntEQ, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

/* ---- which kind ---- */

static bool is_imm(const struct ir_operand *o, uint64_t v)
{
	return o->kind == IR_OPD_IMM && (uint32_t)o->imm == v;
}

static bool is_barrier(const struct ir_insn *in)
{
	return in->op == IR_bar_sync || in->op == IR_bar_arrive || in->op == IR_bar_red;
}

static bool is_plain(const struct ir_insn *in)
{
	return in->op == IR_bar_sync && is_imm(&in->src[0], 0) && is_imm(&in->src[1], 0);
}

bool emit_gpu_needs_soft_barriers(const struct emit_gpu_isa *isa, const struct emit_gpu_options *opt, const struct ir_func *fn)
{
	if (isa->strict_barriers && !opt->whole)
		return emit_gpu_has_barriers(fn);
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++)
			if (is_barrier(&fn->block[b].insn[i]) && !is_plain(&fn->block[b].insn[i]))
				return true;
	return false;
}

/*
 * The current instruction's barrier is the hardware's. Barrier 0 is one thing: if any other instruction might mean it, the hardware cannot
 * know. bar_red is not to be mixed with others.
 */
static bool is_hard(const struct emit *e)
{
	const struct ir_func *fn = e->fn;

	if (!is_plain(e->insn))
		return false;
	if (e->gpu->isa->strict_barriers)
		return !e->gpu->soft_barriers;
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
			const struct ir_insn *in = &fn->block[b].insn[i];

			if (is_barrier(in) && in->op != IR_bar_red && !is_plain(in) &&
			    (in->src[0].kind != IR_OPD_IMM || is_imm(&in->src[0], 0)))
				return false;
		}
	return true;
}

void emit_gpu_hard_barrier(struct emit *e)
{
	emit_gpu_fence(e, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingRelease);
	e->gpu->isa->barrier(e);
	emit_gpu_fence(e, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingAcquire);
}

/* ---- counted by code ---- */

static LLVMValueRef shared_at(struct emit *e, LLVMValueRef offset)
{
	return e->gpu->isa->shared(e, offset);
}

static LLVMValueRef table_offset(struct emit *e)
{
	LLVMValueRef n = emit_env(e, emit_scalar_int(e, 32), offsetof(struct hg_gpu_env, shared_bytes));

	return LLVMBuildAnd(e->b, LLVMBuildAdd(e->b, n, emit_i32(e, 15), ""), emit_i32(e, ~UINT32_C(15)), "");
}

void emit_gpu_barrier_look(struct emit *e)
{
	LLVMBasicBlockRef one = emit_bb(e, "one"), on = emit_bb(e, "looked");

	LLVMBuildCondBr(e->b, is_zero(e, e->gpu->thread), one, on);
	LLVMPositionBuilderAtEnd(e->b, one);
	emit_store(e, emit_resize(e, emit_gpu_has_fault(e), 32, false), shared_at(e, table_offset(e)), 4);
	LLVMBuildBr(e->b, on);
	LLVMPositionBuilderAtEnd(e->b, on);
}

LLVMValueRef emit_gpu_barrier_seen(struct emit *e)
{
	return emit_load(e, emit_scalar_int(e, 32), shared_at(e, table_offset(e)), 4);
}

static LLVMValueRef alive_at(struct emit *e)
{
	return shared_at(e, table_offset(e));
}

static LLVMValueRef barrier_offset(struct emit *e, LLVMValueRef id, size_t field)
{
	LLVMValueRef at = LLVMBuildAdd(e->b, table_offset(e), LLVMBuildShl(e->b, id, emit_i32(e, 4), ""), "");

	_Static_assert(sizeof(((struct counted *)0)->barrier[0]) == 16, "the shift above");
	return LLVMBuildAdd(e->b, at, emit_i32(e, (uint32_t)(offsetof(struct counted, barrier) + field)), "");
}

static LLVMValueRef state_at(struct emit *e, LLVMValueRef id)
{
	return shared_at(e, barrier_offset(e, id, 0));
}

static LLVMValueRef nr_at(struct emit *e, LLVMValueRef id, LLVMValueRef turn)
{
	LLVMValueRef odd = LLVMBuildAnd(e->b, turn, emit_i32(e, 1), "");

	return shared_at(e, LLVMBuildAdd(e->b, barrier_offset(e, id, 8), LLVMBuildShl(e->b, odd, emit_i32(e, 2), ""), ""));
}

static LLVMValueRef load(struct emit *e, unsigned int bits, LLVMValueRef p)
{
	return emit_gpu_atomic_load(e, bits, p, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingMonotonic);
}

static LLVMValueRef turn_of(struct emit *e, LLVMValueRef state)
{
	return emit_resize(e, LLVMBuildLShr(e->b, state, emit_i64(e, 32), ""), 32, false);
}

static LLVMValueRef next_turn(struct emit *e, LLVMValueRef state)
{
	LLVMValueRef turn = LLVMBuildAdd(e->b, turn_of(e, state), emit_i32(e, 1), "");

	return LLVMBuildShl(e->b, emit_resize(e, turn, 64, false), emit_i64(e, 32), "");
}

static LLVMValueRef low16(struct emit *e, LLVMValueRef v32)
{
	return LLVMBuildAnd(e->b, v32, emit_i32(e, 0xffff), "");
}

void emit_gpu_barrier_init(struct emit *e)
{
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), loop = emit_bb(e, "clear"), body = emit_bb(e, "clear4"), on = emit_bb(e, "cleared");
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef first = e->gpu->thread, at, next, value, all = emit_env(e, i32, offsetof(struct hg_gpu_env, ntid));

	for (unsigned int axis = 1; axis < 3; axis++)
		all = LLVMBuildMul(e->b, all, emit_env(e, i32, offsetof(struct hg_gpu_env, ntid) + axis * 4), "");
	LLVMBuildBr(e->b, loop);
	LLVMPositionBuilderAtEnd(e->b, loop);
	at = LLVMBuildPhi(e->b, i32, "");
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntULT, at, emit_i32(e, sizeof(struct counted) / 4), ""), body, on);
	LLVMPositionBuilderAtEnd(e->b, body);
	value = emit_select(e, is_zero(e, at), all, emit_i32(e, 0));
	emit_store(e, value, shared_at(e, LLVMBuildAdd(e->b, table_offset(e), LLVMBuildShl(e->b, at, emit_i32(e, 2), ""), "")), 4);
	next = LLVMBuildAdd(e->b, at, all, "");
	LLVMBuildBr(e->b, loop);
	LLVMAddIncoming(at, (LLVMValueRef[]){ first, next }, (LLVMBasicBlockRef[]){ before, body }, 2);
	LLVMPositionBuilderAtEnd(e->b, on);
}

void emit_gpu_barrier_exit(struct emit *e)
{
	emit_gpu_rmw(e, LLVMAtomicRMWBinOpSub, alive_at(e), emit_i32(e, 1), EMIT_SCOPE_BLOCK, LLVMAtomicOrderingRelease);
}

void emit_gpu_barrier_check(struct emit *e, LLVMValueRef id, LLVMValueRef count, bool arrive)
{
	LLVMValueRef bad = LLVMBuildICmp(e->b, LLVMIntUGE, id, emit_i32(e, NR_BARRIERS), "");

	if (arrive)
		bad = LLVMBuildOr(e->b, bad, is_zero(e, count), "");
	if (LLVMIsConstant(bad) && LLVMConstIntGetZExtValue(bad) == 0)
		return;
	emit_gpu_fail(e, bad, HG_GPU_BARRIER, emit_resize(e, id, 64, false));
}

/* Ends the turn where that is due: nr of the turn after it begins with zeros. */
static void clear_next(struct emit *e, LLVMValueRef id, LLVMValueRef state)
{
	LLVMValueRef next = LLVMBuildAdd(e->b, turn_of(e, state), emit_i32(e, 1), "");

	emit_gpu_atomic_store(e, emit_i32(e, 0), nr_at(e, id, next), EMIT_SCOPE_BLOCK, LLVMAtomicOrderingMonotonic);
}

LLVMValueRef emit_gpu_barrier_arrive(struct emit *e, LLVMValueRef id, LLVMValueRef count, LLVMValueRef threads, LLVMValueRef units)
{
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), loop = emit_bb(e, "arrive"), last = emit_bb(e, "last"), swap = emit_bb(e, "swap"),
			  on = emit_bb(e, "arrived"), from;
	LLVMValueRef at = state_at(e, id), first = load(e, 64, at), state, low, t, u, full, more, to, was, ok, phi, v[2];

	LLVMBuildBr(e->b, loop);
	LLVMPositionBuilderAtEnd(e->b, loop);
	state = LLVMBuildPhi(e->b, emit_scalar_int(e, 64), "");
	low = emit_resize(e, state, 32, false);
	t = LLVMBuildAdd(e->b, low16(e, low), threads, "");
	u = LLVMBuildAdd(e->b, LLVMBuildLShr(e->b, low, emit_i32(e, 16), ""), units, "");
	full = emit_select(e, is_zero(e, count), LLVMBuildICmp(e->b, LLVMIntUGE, t, load(e, 32, alive_at(e)), ""),
			   LLVMBuildICmp(e->b, LLVMIntUGE, u, count, ""));
	more = LLVMBuildOr(e->b, low16(e, t), LLVMBuildShl(e->b, u, emit_i32(e, 16), ""), "");
	more = LLVMBuildOr(e->b, LLVMBuildAnd(e->b, state, emit_i64(e, ~(uint64_t)UINT32_MAX), ""), emit_resize(e, more, 64, false), "");
	LLVMBuildCondBr(e->b, full, last, swap);
	LLVMPositionBuilderAtEnd(e->b, last);
	clear_next(e, id, state);
	to = next_turn(e, state);
	LLVMBuildBr(e->b, swap);
	LLVMPositionBuilderAtEnd(e->b, swap);
	phi = LLVMBuildPhi(e->b, emit_scalar_int(e, 64), "");
	v[0] = more;
	v[1] = to;
	LLVMAddIncoming(phi, v, (LLVMBasicBlockRef[]){ loop, last }, 2);
	was = emit_gpu_cas(e, at, state, phi, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingAcquireRelease, &ok);
	from = LLVMGetInsertBlock(e->b);
	v[0] = first;
	v[1] = was;
	LLVMAddIncoming(state, v, (LLVMBasicBlockRef[]){ before, from }, 2);
	LLVMBuildCondBr(e->b, ok, on, loop);
	LLVMPositionBuilderAtEnd(e->b, on);
	return turn_of(e, state);
}

LLVMValueRef emit_gpu_barrier_open(struct emit *e, LLVMValueRef id, LLVMValueRef count, LLVMValueRef turn)
{
	LLVMBasicBlockRef before, left = emit_bb(e, "left"), still = emit_bb(e, "still"), on = emit_bb(e, "seen"), from;
	LLVMValueRef at = state_at(e, id), state, moved, all, stale, nr, phi, ok, v[3];

	state = emit_gpu_atomic_load(e, 64, at, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingAcquire);
	moved = LLVMBuildICmp(e->b, LLVMIntNE, turn_of(e, state), turn, "");
	/* threads that it was waiting for may have ended */
	all = LLVMBuildICmp(e->b, LLVMIntUGE, low16(e, emit_resize(e, state, 32, false)), load(e, 32, alive_at(e)), "");
	all = LLVMBuildAnd(e->b, LLVMBuildAnd(e->b, all, is_zero(e, count), ""), LLVMBuildNot(e->b, moved, ""), "");
	before = LLVMGetInsertBlock(e->b);
	LLVMBuildCondBr(e->b, all, left, on);
	/*
	 * Others see that as well. What is cleared is what was there while the turn still lasted: whoever is late finds zero, or
	 * what the next turn has already added, which cannot be as much before the late one adds its own.
	 */
	LLVMPositionBuilderAtEnd(e->b, left);
	nr = nr_at(e, id, LLVMBuildAdd(e->b, turn, emit_i32(e, 1), ""));
	stale = emit_gpu_atomic_load(e, 32, nr, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingAcquire);
	v[0] = emit_gpu_atomic_load(e, 64, at, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingAcquire);
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, v[0], state, ""), still, on);
	LLVMPositionBuilderAtEnd(e->b, still);
	emit_gpu_cas(e, nr, stale, emit_i32(e, 0), EMIT_SCOPE_BLOCK, LLVMAtomicOrderingMonotonic, NULL);
	emit_gpu_cas(e, at, state, next_turn(e, state), EMIT_SCOPE_BLOCK, LLVMAtomicOrderingAcquireRelease, &ok);
	from = LLVMGetInsertBlock(e->b);
	LLVMBuildBr(e->b, on);
	LLVMPositionBuilderAtEnd(e->b, on);
	phi = LLVMBuildPhi(e->b, emit_scalar_int(e, 1), "");
	v[0] = moved;
	v[1] = LLVMConstInt(emit_scalar_int(e, 1), 0, 0);
	v[2] = ok;
	LLVMAddIncoming(phi, v, (LLVMBasicBlockRef[]){ before, left, from }, 3);
	return phi;
}

LLVMValueRef emit_gpu_barrier_turn(struct emit *e, LLVMValueRef id)
{
	return turn_of(e, load(e, 64, state_at(e, id)));
}

void emit_gpu_barrier_add(struct emit *e, LLVMValueRef id, LLVMValueRef turn, LLVMValueRef nr_true, LLVMValueRef nr)
{
	LLVMValueRef v = LLVMBuildOr(e->b, nr_true, LLVMBuildShl(e->b, nr, emit_i32(e, 16), ""), "");

	emit_gpu_rmw(e, LLVMAtomicRMWBinOpAdd, nr_at(e, id, turn), v, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingMonotonic);
}

LLVMValueRef emit_gpu_barrier_result(struct emit *e, LLVMValueRef id, LLVMValueRef turn)
{
	LLVMValueRef v = load(e, 32, nr_at(e, id, turn)), nr_true = low16(e, v);

	switch (e->insn->sub) {
	case IR_BARRED_POPC: return nr_true;
	case IR_BARRED_AND: return LLVMBuildICmp(e->b, LLVMIntEQ, nr_true, LLVMBuildLShr(e->b, v, emit_i32(e, 16), ""), "");
	default: return LLVMBuildNot(e->b, is_zero(e, nr_true), "");
	}
}

/* ---- the direct form: a warp that has come whole ---- */

/* All lanes until it is open; if something failed meanwhile they end, since who is waited for may have. */
static void wait_open(struct emit *e, LLVMValueRef id, LLVMValueRef count, LLVMValueRef turn)
{
	LLVMBasicBlockRef loop = emit_bb(e, "wait"), sleep = emit_bb(e, "sleep"), on = emit_bb(e, "open");

	LLVMBuildBr(e->b, loop);
	LLVMPositionBuilderAtEnd(e->b, loop);
	LLVMBuildCondBr(e->b, emit_gpu_barrier_open(e, id, count, turn), on, sleep);
	LLVMPositionBuilderAtEnd(e->b, sleep);
	e->gpu->isa->sleep(e, 1);
	LLVMBuildCondBr(e->b, emit_gpu_has_fault(e), e->gpu->end, loop);
	LLVMPositionBuilderAtEnd(e->b, on);
	emit_gpu_fence(e, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingAcquire);
}

/* One lane speaks for the warp; gives all of them the turn. */
static LLVMValueRef arrive_together(struct emit *e, LLVMValueRef id, LLVMValueRef count, LLVMValueRef pred)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMBasicBlockRef before, one = emit_bb(e, "one"), all = emit_bb(e, "all"), from;
	LLVMValueRef here = emit_gpu_ballot(e, LLVMConstInt(emit_scalar_int(e, 1), 1, 0)), nr, nr_true = NULL, leader, turn, phi, v[2];

	nr = emit_call1(e, "llvm.ctpop", here);
	if (pred)
		nr_true = emit_call1(e, "llvm.ctpop", emit_gpu_ballot(e, pred));
	leader = emit_call(e, "llvm.cttz", &i32, 1, (LLVMValueRef[]){ here, LLVMConstInt(emit_scalar_int(e, 1), 1, 0) }, 2);
	emit_gpu_fence(e, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingRelease);
	before = LLVMGetInsertBlock(e->b);
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, e->gpu->lane, leader, ""), one, all);
	LLVMPositionBuilderAtEnd(e->b, one);
	if (pred)
		emit_gpu_barrier_add(e, id, emit_gpu_barrier_turn(e, id), nr_true, nr);
	turn = emit_gpu_barrier_arrive(e, id, count, nr, emit_i32(e, HG_WARP));
	from = LLVMGetInsertBlock(e->b);
	LLVMBuildBr(e->b, all);
	LLVMPositionBuilderAtEnd(e->b, all);
	phi = LLVMBuildPhi(e->b, i32, "");
	v[0] = LLVMGetUndef(i32);
	v[1] = turn;
	LLVMAddIncoming(phi, v, (LLVMBasicBlockRef[]){ before, from }, 2);
	return emit_gpu_from_lane(e, phi, leader);
}

void emit_gpu_barrier(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef id, count, turn, pred = NULL;
	struct emit_gpu_guard g;

	if (is_hard(e)) {
		emit_gpu_hard_barrier(e);
		return;
	}
	id = emit_src(e, 0, 32);
	count = emit_src(e, 1, 32);
	if (in->op == IR_bar_red)
		pred = emit_psrc(e, 2);
	g = emit_gpu_guard_begin(e);
	emit_gpu_barrier_check(e, id, count, in->op == IR_bar_arrive);
	turn = arrive_together(e, id, count, pred);
	if (in->op != IR_bar_arrive)
		wait_open(e, id, count, turn);
	emit_gpu_guard_end(e, &g, NULL, 0);
	if (in->op == IR_bar_red)
		emit_set(e, 0, emit_gpu_barrier_result(e, id, turn));
}
