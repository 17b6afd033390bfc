/* emit_llvm.c - hgIR to LLVM IR for the CPU: the warp's frame, control flow, yields. */
#include "translate/emit.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"

/* ---- the frame, the helpers ---- */

static LLVMTypeRef ptr_type(struct emit *e)
{
	return LLVMPointerTypeInContext(e->c, 0);
}

LLVMValueRef emit_rt(struct emit *e, size_t offset, LLVMTypeRef result, LLVMValueRef *args, unsigned int nr)
{
	LLVMValueRef rt = emit_env(e, ptr_type(e), offsetof(struct hg_cpu_env, rt));
	LLVMValueRef fn = emit_load(e, ptr_type(e), emit_at(e, rt, offset), 8);
	LLVMTypeRef types[12];

	assert(nr <= sizeof(types) / sizeof(types[0]));
	for (unsigned int i = 0; i < nr; i++)
		types[i] = LLVMTypeOf(args[i]);
	return LLVMBuildCall2(e->b, LLVMFunctionType(result ? result : LLVMVoidTypeInContext(e->c), types, nr, 0), fn,
			      args, nr, "");
}

LLVMValueRef emit_spread(struct emit *e, unsigned int buf, LLVMValueRef v)
{
	emit_store(e, emit_splat(e, v), e->buf[buf], 64);
	return e->buf[buf];
}

LLVMValueRef emit_active(struct emit *e)
{
	LLVMValueRef g = emit_guard(e);

	return g ? LLVMBuildAnd(e->b, e->exec_now, emit_lane_bits(e, g), "") : e->exec_now;
}

static LLVMValueRef special(struct emit *e, enum ir_sreg s)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMTypeRef v32 = LLVMVectorType(i32, HG_WARP);
	LLVMValueRef lane[HG_WARP];

	switch (s) {
	case IR_SREG_TID_X: case IR_SREG_TID_Y: case IR_SREG_TID_Z: {
		LLVMValueRef tid = emit_load(e, ptr_type(e), emit_at(e, e->frame, offsetof(struct hg_cpu_frame, tid)), 8);

		return emit_invariant(e, emit_load(e, v32, emit_at(e, tid, (s - IR_SREG_TID_X) * 128u), 64));
	}
	case IR_SREG_NTID_X: case IR_SREG_NTID_Y: case IR_SREG_NTID_Z:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, ntid) + (s - IR_SREG_NTID_X) * 4u);
	case IR_SREG_CTAID_X: case IR_SREG_CTAID_Y: case IR_SREG_CTAID_Z:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, ctaid) + (s - IR_SREG_CTAID_X) * 4u);
	case IR_SREG_NCTAID_X: case IR_SREG_NCTAID_Y: case IR_SREG_NCTAID_Z:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, nctaid) + (s - IR_SREG_NCTAID_X) * 4u);
	case IR_SREG_LANEID:
		return emit_iota(e, 32, 1);
	case IR_SREG_LANEMASK_EQ: case IR_SREG_LANEMASK_LE: case IR_SREG_LANEMASK_LT: case IR_SREG_LANEMASK_GE:
	case IR_SREG_LANEMASK_GT:
		for (uint32_t i = 0; i < HG_WARP; i++) {
			uint32_t eq = UINT32_C(1) << i, lt = eq - 1;

			lane[i] = emit_i32(e, s == IR_SREG_LANEMASK_EQ ? eq : s == IR_SREG_LANEMASK_LE ? lt | eq :
					      s == IR_SREG_LANEMASK_LT ? lt : s == IR_SREG_LANEMASK_GE ? ~lt : ~(lt | eq));
		}
		return LLVMConstVector(lane, HG_WARP);
	case IR_SREG_WARPID:
		return emit_load(e, i32, emit_at(e, e->frame, offsetof(struct hg_cpu_frame, warp)), 4);
	case IR_SREG_NWARPID:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, nr_warps));
	case IR_SREG_SMID:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, smid));
	case IR_SREG_NSMID:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, nsmid));
	case IR_SREG_GRIDID:
		return emit_env(e, emit_scalar_int(e, 64), offsetof(struct hg_cpu_env, grid_id));
	case IR_SREG_CLOCK: case IR_SREG_CLOCK64: {
		LLVMValueRef t = emit_call(e, "llvm.readcyclecounter", NULL, 0, NULL, 0);

		return emit_resize(e, t, s == IR_SREG_CLOCK ? 32 : 64, false);
	}
	case IR_SREG_GLOBALTIMER:
		return emit_rt(e, offsetof(struct hg_cpu_rt, timer), emit_scalar_int(e, 64), NULL, 0);
	case IR_SREG_DYNAMIC_SMEM_SIZE:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, dynamic_shared_bytes));
	case IR_SREG_TOTAL_SMEM_SIZE:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, shared_bytes));
	case IR_SREG_ENVREG1: case IR_SREG_ENVREG2: {
		LLVMValueRef g = emit_env(e, emit_scalar_int(e, 64), offsetof(struct hg_cpu_env, grid_barrier));

		if (s == IR_SREG_ENVREG1)
			g = LLVMBuildLShr(e->b, g, emit_i64(e, 32), "");
		return emit_resize(e, g, 32, false);
	}
	case IR_SREG_LOCAL_SIZE:
		return emit_env(e, i32, offsetof(struct hg_cpu_env, local_bytes));
	case IR_SREG_STATE: case IR_SREG_COUNT:
		break;
	}
	emit_unsupported(e, "special register");
	return emit_i32(e, 0);
}

static LLVMValueRef var_address(struct emit *e, uint32_t index)
{
	LLVMValueRef table = emit_env(e, ptr_type(e), offsetof(struct hg_cpu_env, var_addr));

	return emit_invariant(e, emit_load(e, emit_scalar_int(e, 64), emit_at(e, table, (uint64_t)index * 8), 8));
}

static const struct emit_ops cpu_ops = { .special = special, .var = var_address };

/* ---- lanes that wait ---- */

static LLVMValueRef get32(struct emit *e, LLVMValueRef var)
{
	return LLVMBuildLoad2(e->b, emit_scalar_int(e, 32), var, "");
}

static void set32(struct emit *e, LLVMValueRef var, LLVMValueRef v)
{
	LLVMBuildStore(e->b, v, var);
}

static LLVMValueRef frame_at(struct emit *e, size_t offset)
{
	return emit_at(e, e->frame, offset);
}

static void frame_set(struct emit *e, size_t offset, LLVMValueRef v)
{
	emit_store(e, v, frame_at(e, offset), emit_is_vector(v) ? 64 : 4);
}

static LLVMTypeRef lanes32(struct emit *e)
{
	return LLVMVectorType(emit_scalar_int(e, 32), HG_WARP);
}

static LLVMValueRef is_zero(struct emit *e, LLVMValueRef v)
{
	return LLVMBuildICmp(e->b, LLVMIntEQ, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

/* frame->array[lane] = v for lanes of `mask`. */
static void frame_blend(struct emit *e, size_t offset, LLVMValueRef v, LLVMValueRef mask)
{
	LLVMValueRef p = frame_at(e, offset);

	v = emit_splat(e, v);
	emit_store(e, emit_select(e, emit_bits_lane(e, mask), v, emit_load(e, LLVMTypeOf(v), p, 64)), p, 64);
}

static void frame_pc(struct emit *e, LLVMValueRef mask, uint32_t target)
{
	frame_blend(e, offsetof(struct hg_cpu_frame, pc), emit_i32(e, target), mask);
}

static LLVMValueRef spill_at(struct emit *e, ir_reg r)
{
	return frame_at(e, HG_CPU_FRAME_BYTES + e->info->slot[r]);
}

/* full: a scalar too as 32 elements, for the other variant. */
static void reg_save(struct emit *e, ir_reg r, bool full)
{
	LLVMValueRef v;

	if (e->in_spill && (!full || e->info->is_vector[r] || e->fn->reg_type[r] == IR_PRED))
		return;
	v = emit_slot_load(e, r);
	if (e->fn->reg_type[r] == IR_PRED)
		v = emit_lane_bits(e, v);
	else if (full)
		v = emit_splat(e, v);
	emit_store(e, v, spill_at(e, r), emit_is_vector(v) ? 64 : 4);
}

static void reg_restore(struct emit *e, ir_reg r)
{
	LLVMValueRef p = spill_at(e, r), v;

	if (e->fn->reg_type[r] == IR_PRED) {
		v = emit_load(e, emit_scalar_int(e, 32), p, 4);
		v = e->info->is_vector[r] ? emit_bits_lane(e, v) : emit_resize(e, v, 1, false);
	} else {
		v = emit_load(e, emit_reg_type(e, r), p, e->info->is_vector[r] ? 64 : 4);
	}
	LLVMBuildStore(e->b, v, e->slot[r]);
}

/* Is register r needed by lanes at `target`, or by lanes pending while `block` runs? */
static bool needed(const struct emit *e, ir_reg r, uint32_t target, uint32_t block)
{
	return e->slot[r] && (emit_has(e->info->live_in[target], r) ||
			      (e->info->parted[block] && emit_has(e->info->keep[block], r)));
}

static void regs_save(struct emit *e, uint32_t target, uint32_t block, bool full)
{
	if (e->info->free_order)
		return;
	for (uint32_t r = 0; r < e->fn->nr_regs; r++)
		if (needed(e, r, target, block)) {
			reg_save(e, r, full);
			emit_line_save(e, r);
		}
	if (e->has_lines)
		frame_set(e, offsetof(struct hg_cpu_frame, shape), get32(e, e->shape));
}

static void regs_restore(struct emit *e, uint32_t target, uint32_t block)
{
	if (e->in_spill)
		return;
	for (uint32_t r = 0; r < e->fn->nr_regs; r++)
		if (needed(e, r, target, block)) {
			reg_restore(e, r);
			emit_line_restore(e, r);
		}
	if (!e->has_lines)
		return;
	/* what another call left in the frame is of another tier, perhaps, which keeps no such numbers */
	set32(e, e->shape, emit_select(e, e->whole, emit_load(e, emit_scalar_int(e, 32),
							      frame_at(e, offsetof(struct hg_cpu_frame, shape)), 4),
				       emit_i32(e, HG_CPU_SHAPE_NONE)));
}

/* ---- lines, for faults that the hardware finds ---- */

static void add_flag(struct emit *e, const char *name, uint32_t value)
{
	LLVMAddModuleFlag(e->m, LLVMModuleFlagBehaviorWarning, name, strlen(name), LLVMValueAsMetadata(emit_i32(e, value)));
}

/* A line table and nothing else of what debuggers read. */
static void add_lines(struct emit *e)
{
	static const char file[] = "ptx", us[] = "hgshim";
	LLVMDIBuilderRef di = LLVMCreateDIBuilder(e->m);
	LLVMMetadataRef f = LLVMDIBuilderCreateFile(di, file, sizeof(file) - 1, "", 0), type;

	add_flag(e, "Debug Info Version", LLVMDebugMetadataVersion());
	add_flag(e, "Dwarf Version", 5);
	LLVMDIBuilderCreateCompileUnit(di, LLVMDWARFSourceLanguageC, f, us, sizeof(us) - 1, 1, "", 0, 0, "", 0,
				       LLVMDWARFEmissionLineTablesOnly, 0, 0, 0, "", 0, "", 0);
	type = LLVMDIBuilderCreateSubroutineType(di, f, NULL, 0, LLVMDIFlagZero);
	e->scope = LLVMDIBuilderCreateFunction(di, f, "kernel", 6, "", 0, f, e->fn->line, type, 0, 1, e->fn->line, LLVMDIFlagZero, 1);
	LLVMSetSubprogram(e->f, e->scope);
	LLVMDIBuilderFinalize(di);
	LLVMDisposeDIBuilder(di);
}

static void set_line(struct emit *e, uint32_t line, unsigned int column)
{
	LLVMSetCurrentDebugLocation2(e->b, LLVMDIBuilderCreateDebugLocation(e->c, line, column, e->scope, NULL));
}

void emit_mark(struct emit *e, unsigned int kind)
{
	set_line(e, e->insn->line, EMIT_MARK(e->nr_accesses, kind));
	e->nr_accesses++;
}

void emit_mark_end(struct emit *e)
{
	set_line(e, e->insn->line, 0);
}

void emit_fault_lanes(struct emit *e, LLVMValueRef lanes)
{
	frame_set(e, offsetof(struct hg_cpu_frame, fault_line), emit_i32(e, e->insn->line));
	frame_set(e, offsetof(struct hg_cpu_frame, fault_lanes), lanes);
}

static void yield(struct emit *e, enum hg_cpu_yield why)
{
	set32(e, e->result, emit_i32(e, why));
	LLVMBuildBr(e->b, e->leave);
}

/* All warps up to this one go on at `point`: the next warp's turn. Otherwise code goes on, as that of one warp alone. */
static void next_warp(struct emit *e, uint32_t point)
{
	LLVMBasicBlockRef whole = emit_bb(e, "whole"), same = emit_bb(e, "same"), last = emit_bb(e, "last"),
			  next = emit_bb(e, "next"), alone = emit_bb(e, "alone");
	LLVMValueRef w, ok;

	LLVMBuildCondBr(e->b, e->whole, whole, alone);
	LLVMPositionBuilderAtEnd(e->b, whole);
	w = get32(e, e->warp);
	ok = LLVMBuildICmp(e->b, LLVMIntEQ, get32(e, e->before), emit_i32(e, point), "");
	ok = LLVMBuildOr(e->b, ok, is_zero(e, w), "");
	LLVMBuildCondBr(e->b, ok, same, alone);

	LLVMPositionBuilderAtEnd(e->b, same);
	set32(e, e->before, emit_i32(e, point));
	w = LLVMBuildAdd(e->b, w, emit_i32(e, 1), "");
	ok = LLVMBuildICmp(e->b, LLVMIntEQ, w, emit_env(e, emit_scalar_int(e, 32), offsetof(struct hg_cpu_env, nr_warps)), "");
	LLVMBuildCondBr(e->b, ok, last, next);
	LLVMPositionBuilderAtEnd(e->b, next);
	set32(e, e->warp, w);
	LLVMBuildBr(e->b, e->turn);

	LLVMPositionBuilderAtEnd(e->b, last);
	if (point == HG_CPU_ENDED) {
		yield(e, HG_CPU_BLOCK_DONE);
	} else {
		set32(e, e->warp, emit_i32(e, 0));
		set32(e, e->others, emit_i32(e, point));
		LLVMBuildBr(e->b, e->turn);
	}
	LLVMPositionBuilderAtEnd(e->b, alone);
}

/* ---- going from block to block, lanes in order ---- */

#define EACH_PENDING(e, y) for (uint32_t y = (e)->block + 1; y < (e)->fn->nr_blocks; y++) if (emit_has((e)->info->pending[(e)->block], y))

static void pend_add(struct emit *e, uint32_t target, LLVMValueRef mask)
{
	set32(e, e->pend[target], LLVMBuildOr(e->b, get32(e, e->pend[target]), mask, ""));
}

static void run_pending(struct emit *e, uint32_t y)
{
	set32(e, e->exec, get32(e, e->pend[y]));
	set32(e, e->pend[y], emit_i32(e, 0));
	LLVMBuildBr(e->b, e->bb[y]);
}

/* If lanes are pending at y they run; code goes on where there are none. */
static void try_pending(struct emit *e, uint32_t y)
{
	LLVMBasicBlockRef go = emit_bb(e, "go"), on = emit_bb(e, "on");

	LLVMBuildCondBr(e->b, is_zero(e, get32(e, e->pend[y])), on, go);
	LLVMPositionBuilderAtEnd(e->b, go);
	run_pending(e, y);
	LLVMPositionBuilderAtEnd(e->b, on);
}

/* The lowest block that has lanes among those below `top`, else `top`, which has some. Targets of the branch are marked in `extra`. */
static void run_lowest(struct emit *e, const uint32_t *extra, unsigned int nr_extra, uint32_t top)
{
	for (uint32_t y = 0; y < top; y++) {
		bool may = y > e->block && emit_has(e->info->pending[e->block], y);

		for (unsigned int i = 0; i < nr_extra; i++)
			may |= extra[i] == y;
		if (may)
			try_pending(e, y);
	}
	run_pending(e, top);
}

static LLVMBasicBlockRef new_point(struct emit *e)
{
	LLVMBasicBlockRef bb = emit_bb(e, "point"), *p = realloc(e->point, (e->nr_points + 1) * sizeof(*p));

	if (!p) {
		e->st = HG_ERR_NOMEM;
		return bb;
	}
	e->point = p;
	e->point[e->nr_points++] = bb;
	return bb;
}

static void frame_pending(struct emit *e)
{
	EACH_PENDING(e, y)
		frame_pc(e, get32(e, e->pend[y]), y);
}

/* The back edge of a loop that waits: others must get their turn now and then. */
static void spin_ordered(struct emit *e, uint32_t target)
{
	LLVMBasicBlockRef out = emit_bb(e, "spin"), on = emit_bb(e, "on"), point;
	LLVMValueRef left = LLVMBuildSub(e->b, get32(e, e->budget), emit_i32(e, 1), ""), pc;
	bool parted = e->info->parted[e->block];

	set32(e, e->budget, left);
	LLVMBuildCondBr(e->b, is_zero(e, left), out, on);
	LLVMPositionBuilderAtEnd(e->b, out);
	point = new_point(e);
	regs_save(e, target, e->block, parted);
	frame_pending(e);
	frame_pc(e, get32(e, e->exec), target);
	frame_set(e, offsetof(struct hg_cpu_frame, alive), get32(e, e->alive));
	frame_set(e, offsetof(struct hg_cpu_frame, stuck), emit_i32(e, parted));
	frame_set(e, offsetof(struct hg_cpu_frame, resume), emit_i32(e, HG_CPU_POINT + e->nr_points - 1));
	yield(e, HG_CPU_SPIN);

	LLVMPositionBuilderAtEnd(e->b, point);
	regs_restore(e, target, e->block);
	pc = emit_load(e, lanes32(e), frame_at(e, offsetof(struct hg_cpu_frame, pc)), 64);
	e->lanes = HG_WARP;
	EACH_PENDING(e, y) {
		LLVMValueRef at = LLVMBuildICmp(e->b, LLVMIntEQ, pc, emit_const(e, 32, y), "");

		set32(e, e->pend[y], LLVMBuildAnd(e->b, emit_lane_bits(e, at), get32(e, e->alive), ""));
	}
	set32(e, e->exec, LLVMBuildAnd(e->b, get32(e, e->alive),
				       emit_lane_bits(e, LLVMBuildICmp(e->b, LLVMIntEQ, pc, emit_const(e, 32, target), "")), ""));
	LLVMBuildBr(e->b, e->bb[target]);
	LLVMPositionBuilderAtEnd(e->b, on);
}

static bool may_be_pending(const struct emit *e, uint32_t y)
{
	return y > e->block && emit_has(e->info->pending[e->block], y);
}

static void jump_ordered(struct emit *e, uint32_t target)
{
	bool lower = may_be_pending(e, target);

	if (e->info->spin[e->block] && target <= e->block)
		spin_ordered(e, target);
	EACH_PENDING(e, y)
		lower |= y < target;
	if (!lower) {
		LLVMBuildBr(e->b, e->bb[target]);
		return;
	}
	pend_add(e, target, get32(e, e->exec));
	run_lowest(e, NULL, 0, target);
}

/* ---- lanes in any order ---- */

static void save_lanes(struct emit *e)
{
	frame_set(e, offsetof(struct hg_cpu_frame, alive), get32(e, e->alive));
	frame_set(e, offsetof(struct hg_cpu_frame, waiting), get32(e, e->waiting));
	frame_set(e, offsetof(struct hg_cpu_frame, same), emit_i32(e, 0));
	frame_set(e, offsetof(struct hg_cpu_frame, blocked), get32(e, e->blocked));
	frame_set(e, offsetof(struct hg_cpu_frame, resume), emit_i32(e, HG_CPU_LANES));
}

/* The lanes that run have waited long enough: what they wait for may be another lane's to do, or another warp's. */
static void spin_free(struct emit *e, uint32_t target)
{
	LLVMBasicBlockRef out = emit_bb(e, "spin"), on = emit_bb(e, "on");
	LLVMValueRef left = LLVMBuildSub(e->b, get32(e, e->budget), emit_i32(e, 1), "");

	set32(e, e->budget, left);
	LLVMBuildCondBr(e->b, is_zero(e, left), out, on);
	LLVMPositionBuilderAtEnd(e->b, out);
	set32(e, e->budget, emit_i32(e, EMIT_SPINS_FREE));
	set32(e, e->tired, LLVMBuildOr(e->b, get32(e, e->tired), get32(e, e->exec), ""));
	frame_pc(e, get32(e, e->exec), target);
	LLVMBuildBr(e->b, e->sched);
	LLVMPositionBuilderAtEnd(e->b, on);
}

static void jump_free(struct emit *e, uint32_t target)
{
	LLVMBasicBlockRef not_alone = emit_bb(e, "not_alone");

	if (e->info->spin[e->block] && target <= e->block)
		spin_free(e, target);
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, get32(e, e->alive), get32(e, e->exec), ""), e->bb[target], not_alone);
	LLVMPositionBuilderAtEnd(e->b, not_alone);
	frame_pc(e, get32(e, e->exec), target);
	LLVMBuildBr(e->b, e->sched);
}

/* Lanes that spin go on at the loop's first block, also those that nothing has parted. */
static bool begins_spin(const struct emit *e, uint32_t b)
{
	for (uint32_t x = b; x < e->fn->nr_blocks; x++) {
		const struct ir_insn *t = &e->fn->block[x].insn[e->fn->block[x].nr_insns - 1];

		for (unsigned int i = 0; e->info->spin[x] && i < ir_nr_targets(t); i++)
			if (ir_target(t, i) == b)
				return true;
	}
	return false;
}

/* Which lanes run next; when there are none, or all have spun, the warp yields. */
static void emit_sched(struct emit *e)
{
	LLVMBasicBlockRef some = emit_bb(e, "some"), none = emit_bb(e, "none"), wait = emit_bb(e, "wait"),
			  lost = emit_bb(e, "lost"), spin = emit_bb(e, "all_spin"), go = emit_bb(e, "go");
	LLVMValueRef ready, wanted, pc, low, next, dispatch;

	LLVMPositionBuilderAtEnd(e->b, e->sched);
	ready = LLVMBuildAnd(e->b, get32(e, e->alive),
			     LLVMBuildNot(e->b, LLVMBuildOr(e->b, get32(e, e->waiting), get32(e, e->blocked), ""), ""), "");
	LLVMBuildCondBr(e->b, is_zero(e, ready), none, some);

	LLVMPositionBuilderAtEnd(e->b, none);
	LLVMBuildCondBr(e->b, is_zero(e, get32(e, e->alive)), e->done, wait);
	LLVMPositionBuilderAtEnd(e->b, wait);
	save_lanes(e);
	set32(e, e->result, emit_select(e, is_zero(e, get32(e, e->waiting)), emit_i32(e, HG_CPU_DEADLOCK),
					emit_i32(e, HG_CPU_BARRIER)));
	LLVMBuildBr(e->b, e->leave);

	LLVMPositionBuilderAtEnd(e->b, some);
	wanted = LLVMBuildAnd(e->b, ready, LLVMBuildNot(e->b, get32(e, e->tired), ""), "");
	LLVMBuildCondBr(e->b, is_zero(e, wanted), spin, go);
	LLVMPositionBuilderAtEnd(e->b, spin);
	save_lanes(e);
	frame_set(e, offsetof(struct hg_cpu_frame, stuck), emit_i32(e, 0));
	yield(e, HG_CPU_SPIN);
	LLVMPositionBuilderAtEnd(e->b, go);
	pc = emit_load(e, lanes32(e), frame_at(e, offsetof(struct hg_cpu_frame, pc)), 64);
	e->lanes = HG_WARP;
	low = emit_select(e, emit_bits_lane(e, wanted), pc, emit_const(e, 32, UINT32_MAX));
	next = emit_call1(e, "llvm.vector.reduce.umin", low);
	pc = emit_lane_bits(e, LLVMBuildICmp(e->b, LLVMIntEQ, pc, emit_splat(e, next), ""));
	pc = LLVMBuildAnd(e->b, pc, LLVMBuildAnd(e->b, get32(e, e->alive),
						 LLVMBuildNot(e->b, get32(e, e->waiting), ""), ""), "");
	set32(e, e->exec, pc);
	set32(e, e->blocked, LLVMBuildAnd(e->b, get32(e, e->blocked), LLVMBuildNot(e->b, pc, ""), ""));
	dispatch = LLVMBuildSwitch(e->b, next, lost, e->fn->nr_blocks);
	for (uint32_t b = 0; b < e->fn->nr_blocks; b++) {
		if (e->info->parted[b] || begins_spin(e, b))
			LLVMAddCase(dispatch, emit_i32(e, b), e->bb[b]);
		if (e->after_red[b])
			LLVMAddCase(dispatch, emit_i32(e, e->fn->nr_blocks + b), e->after_red[b]);
		if (e->after_sync[b])
			LLVMAddCase(dispatch, emit_i32(e, 2 * e->fn->nr_blocks + b), e->after_sync[b]);
	}
	LLVMPositionBuilderAtEnd(e->b, lost);
	yield(e, HG_CPU_DEADLOCK);
}

static void emit_resume_lanes(struct emit *e)
{
	LLVMPositionBuilderAtEnd(e->b, e->resume_lanes);
	set32(e, e->waiting, emit_load(e, emit_scalar_int(e, 32), frame_at(e, offsetof(struct hg_cpu_frame, waiting)), 4));
	set32(e, e->blocked, emit_load(e, emit_scalar_int(e, 32), frame_at(e, offsetof(struct hg_cpu_frame, blocked)), 4));
	LLVMBuildBr(e->b, e->sched);
}

/* ---- terminators ---- */

static void jump(struct emit *e, uint32_t target)
{
	if (e->info->free_order)
		jump_free(e, target);
	else
		jump_ordered(e, target);
}

static void emit_exit(struct emit *e)
{
	LLVMValueRef left = LLVMBuildAnd(e->b, get32(e, e->alive), LLVMBuildNot(e->b, e->exec_now, ""), "");

	if (!e->info->parted[e->block]) {
		LLVMBuildBr(e->b, e->done);
		return;
	}
	set32(e, e->alive, left);
	if (e->info->free_order) {
		/* Lanes that waited for the ones that left look again. */
		set32(e, e->blocked, emit_i32(e, 0));
		LLVMBuildBr(e->b, e->sched);
		return;
	}
	EACH_PENDING(e, y)
		try_pending(e, y);
	LLVMBuildBr(e->b, e->done);
}

/* Lanes part: mask[i] of them go to target[i]; together they are those that run. */
static void part(struct emit *e, const uint32_t *target, LLVMValueRef *mask, unsigned int nr)
{
	uint32_t top = 0;

	for (unsigned int i = 0; i < nr; i++)
		if (target[i] > top)
			top = target[i];
	if (!e->info->free_order) {
		for (unsigned int i = 0; i < nr; i++)
			pend_add(e, target[i], mask[i]);
		run_lowest(e, target, nr, top);
		return;
	}
	/* All of them to one target is the common case. */
	for (unsigned int i = 0; i < nr; i++) {
		LLVMBasicBlockRef all = emit_bb(e, "all"), not_all = emit_bb(e, "not_all");

		LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, mask[i], e->exec_now, ""), all, not_all);
		LLVMPositionBuilderAtEnd(e->b, all);
		jump_free(e, target[i]);
		LLVMPositionBuilderAtEnd(e->b, not_all);
	}
	for (unsigned int i = 0; i < nr; i++)
		frame_pc(e, mask[i], target[i]);
	LLVMBuildBr(e->b, e->sched);
}

/*
 * A loop that waits and whose branch parts the lanes: those that stay in it count as a spin. Ordered
 * lanes leave for the yield only when all of the running group stays or the rest is pending already.
 */
static void part_spinning(struct emit *e, const uint32_t *target, LLVMValueRef *mask, unsigned int nr)
{
	uint32_t back = target[0];

	for (unsigned int i = 0; i < nr; i++)
		if (target[i] < back)
			back = target[i];
	for (unsigned int i = 0; i < nr; i++) {
		LLVMBasicBlockRef stay, leave;

		if (target[i] != back)
			continue;
		stay = emit_bb(e, "stay");
		leave = emit_bb(e, "leave");
		LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, mask[i], e->exec_now, ""), stay, leave);
		LLVMPositionBuilderAtEnd(e->b, stay);
		jump_ordered(e, back);
		LLVMPositionBuilderAtEnd(e->b, leave);
	}
	part(e, target, mask, nr);
}

static void emit_cbra(struct emit *e, const struct ir_insn *t)
{
	uint32_t target[2] = { t->target[0], t->target[1] };
	LLVMValueRef c, mask[2];

	if (target[0] == target[1]) {
		emit_regs_flush(e);
		jump(e, target[0]);
		return;
	}
	e->lanes = e->info->diverges[e->block] ? HG_WARP : 1;
	c = emit_psrc(e, 0);
	emit_regs_flush(e);
	if (!e->info->diverges[e->block]) {
		LLVMBasicBlockRef yes = emit_bb(e, "yes"), no = emit_bb(e, "no");

		LLVMBuildCondBr(e->b, c, yes, no);
		LLVMPositionBuilderAtEnd(e->b, yes);
		jump(e, target[0]);
		LLVMPositionBuilderAtEnd(e->b, no);
		jump(e, target[1]);
		return;
	}
	mask[0] = LLVMBuildAnd(e->b, e->exec_now, emit_lane_bits(e, c), "");
	mask[1] = LLVMBuildXor(e->b, e->exec_now, mask[0], "");
	if (e->info->spin[e->block] && !e->info->free_order)
		part_spinning(e, target, mask, 2);
	else
		part(e, target, mask, 2);
}

static void emit_brx(struct emit *e, const struct ir_insn *t)
{
	LLVMBasicBlockRef bad = emit_bb(e, "bad_index"), good = emit_bb(e, "index");
	LLVMValueRef index, *mask, over;

	e->lanes = emit_insn_reads_vector(e->info, t) ? HG_WARP : 1;
	index = emit_src(e, 0, 32);
	over = LLVMBuildICmp(e->b, LLVMIntUGE, index, emit_const(e, 32, t->nr_targets), "");
	emit_regs_flush(e);
	over = LLVMBuildAnd(e->b, emit_lane_bits(e, over), e->exec_now, "");
	LLVMBuildCondBr(e->b, is_zero(e, over), good, bad);
	LLVMPositionBuilderAtEnd(e->b, bad);
	emit_fault_lanes(e, over);
	yield(e, HG_CPU_TRAP);
	LLVMPositionBuilderAtEnd(e->b, good);
	if (e->lanes == 1) {
		LLVMValueRef sw = LLVMBuildSwitch(e->b, index, bad, t->nr_targets);

		for (uint32_t i = 0; i < t->nr_targets; i++) {
			LLVMBasicBlockRef bb = emit_bb(e, "case");

			LLVMAddCase(sw, emit_i32(e, i), bb);
			LLVMPositionBuilderAtEnd(e->b, bb);
			jump(e, t->targets[i]);
		}
		return;
	}
	mask = calloc(t->nr_targets, sizeof(*mask));
	if (!mask) {
		e->st = HG_ERR_NOMEM;
		LLVMBuildUnreachable(e->b);
		return;
	}
	for (uint32_t i = 0; i < t->nr_targets; i++)
		mask[i] = LLVMBuildAnd(e->b, e->exec_now, emit_lane_bits(e, LLVMBuildICmp(e->b, LLVMIntEQ, index,
				       emit_const(e, 32, i), "")), "");
	part(e, t->targets, mask, t->nr_targets);
	free(mask);
}

/* ---- barriers ---- */

static void barrier_fields(struct emit *e, LLVMValueRef mask, LLVMValueRef id, LLVMValueRef count, LLVMValueRef pred)
{
	frame_blend(e, offsetof(struct hg_cpu_frame, barrier), id, mask);
	frame_blend(e, offsetof(struct hg_cpu_frame, count), count, mask);
	if (!pred)
		return;
	frame_blend(e, offsetof(struct hg_cpu_frame, pred), pred, mask);
	frame_blend(e, offsetof(struct hg_cpu_frame, red_op), emit_i32(e, e->insn->sub), mask);
}

/* The result of bar.red, from the frame, to its register's slot, for lanes of `mask` (NULL: all). */
static void barrier_result(struct emit *e, LLVMValueRef value, LLVMValueRef mask)
{
	ir_reg r = e->insn->dst[0];

	if (r == IR_NO_REG || !e->slot[r])
		return;
	e->lanes = HG_WARP;
	if (!value)
		value = emit_load(e, lanes32(e), frame_at(e, offsetof(struct hg_cpu_frame, pred)), 64);
	if (e->fn->reg_type[r] == IR_PRED)
		value = LLVMBuildICmp(e->b, LLVMIntNE, value, emit_const(e, 32, 0), "");
	if (mask)
		value = emit_select(e, emit_bits_lane(e, mask), value, emit_slot_load(e, r));
	emit_slot_store(e, r, value);
}

static LLVMValueRef red_alone(struct emit *e, LLVMValueRef pred)
{
	LLVMValueRef p = LLVMBuildAnd(e->b, emit_lane_bits(e, pred), e->exec_now, ""), v;

	if (e->insn->sub == IR_BARRED_POPC)
		return emit_call1(e, "llvm.ctpop", p);
	v = e->insn->sub == IR_BARRED_AND ? LLVMBuildICmp(e->b, LLVMIntEQ, p, e->exec_now, "") :
					    LLVMBuildNot(e->b, is_zero(e, p), "");
	return emit_resize(e, v, 32, false);
}

static bool operand_is_vector(const struct emit *e, unsigned int i)
{
	const struct ir_operand *o = &e->insn->src[i];

	return o->kind == IR_OPD_REG && e->info->is_vector[o->reg];
}

static bool is_number(const struct ir_insn *in, unsigned int i, uint64_t v)
{
	return in->src[i].kind == IR_OPD_IMM && in->src[i].imm == v;
}

/* Of the first of some lanes; same: of any. */
static LLVMValueRef first_of(struct emit *e, LLVMValueRef v, LLVMValueRef lanes, bool same)
{
	LLVMValueRef lane = emit_i32(e, 0);

	if (!same)
		lane = emit_call(e, "llvm.cttz", (LLVMTypeRef[]){ emit_scalar_int(e, 32) }, 1,
				 (LLVMValueRef[]){ lanes, LLVMConstInt(emit_scalar_int(e, 1), 1, 0) }, 2);
	return LLVMBuildExtractElement(e->b, v, lane, "");
}

static void emit_barrier(struct emit *e, uint32_t target)
{
	const struct ir_insn *in = e->insn;
	LLVMBasicBlockRef together = emit_bb(e, "together"), apart = emit_bb(e, "apart"), only = emit_bb(e, "only"),
			  several = emit_bb(e, "several"), point;
	LLVMValueRef id, count, one_id, one_count, pred = NULL, pred32 = NULL, all, exec = e->exec_now;
	bool red = in->op == IR_bar_red, same = !operand_is_vector(e, 0) && !operand_is_vector(e, 1);
	uint32_t pc = red ? e->fn->nr_blocks + e->block : target;

	e->lanes = HG_WARP;
	id = emit_src(e, 0, 32);
	count = emit_src(e, 1, 32);
	if (red) {
		pred = emit_psrc(e, 2);
		pred32 = emit_resize(e, pred, 32, false);
	}
	emit_regs_flush(e);
	if (e->info->free_order && e->info->parted[e->block]) {
		LLVMBuildBr(e->b, apart);
	} else {
		all = LLVMBuildICmp(e->b, LLVMIntEQ, exec, get32(e, e->alive), "");
		LLVMBuildCondBr(e->b, all, together, apart);
	}

	LLVMPositionBuilderAtEnd(e->b, together);
	one_id = first_of(e, id, exec, same);
	one_count = first_of(e, count, exec, same);
	if (!same) {
		/* lanes that name different barriers go on at different times */
		LLVMBasicBlockRef one = emit_bb(e, "one_barrier");

		all = LLVMBuildAnd(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, id, emit_splat(e, one_id), ""),
				   LLVMBuildICmp(e->b, LLVMIntEQ, count, emit_splat(e, one_count), ""), "");
		all = LLVMBuildAnd(e->b, exec, LLVMBuildNot(e->b, emit_lane_bits(e, all), ""), "");
		LLVMBuildCondBr(e->b, is_zero(e, all), one, apart);
		LLVMPositionBuilderAtEnd(e->b, one);
	}
	all = LLVMBuildICmp(e->b, LLVMIntEQ, emit_env(e, emit_scalar_int(e, 32), offsetof(struct hg_cpu_env, nr_warps)),
			    emit_i32(e, 1), "");
	all = LLVMBuildAnd(e->b, all, is_zero(e, one_count), "");
	LLVMBuildCondBr(e->b, all, only, several);

	LLVMPositionBuilderAtEnd(e->b, only);
	LLVMBuildFence(e->b, LLVMAtomicOrderingSequentiallyConsistent, 1, "");
	if (red)
		barrier_result(e, emit_splat(e, red_alone(e, pred)), NULL);
	LLVMBuildBr(e->b, e->bb[target]);

	LLVMPositionBuilderAtEnd(e->b, several);
	point = new_point(e);
	regs_save(e, target, e->block, false);
	frame_set(e, offsetof(struct hg_cpu_frame, alive), exec);
	if (!e->info->free_order && !red && is_number(in, 0, 0) && is_number(in, 1, 0))
		next_warp(e, HG_CPU_POINT + e->nr_points - 1);
	if (red)
		barrier_fields(e, exec, id, count, pred32);
	frame_set(e, offsetof(struct hg_cpu_frame, same), emit_i32(e, 1));
	frame_set(e, offsetof(struct hg_cpu_frame, same_barrier), one_id);
	frame_set(e, offsetof(struct hg_cpu_frame, same_count), one_count);
	e->lanes = HG_WARP;
	frame_set(e, offsetof(struct hg_cpu_frame, pc), emit_const(e, 32, pc));
	frame_set(e, offsetof(struct hg_cpu_frame, waiting), exec);
	frame_set(e, offsetof(struct hg_cpu_frame, red), red ? exec : emit_i32(e, 0));
	frame_set(e, offsetof(struct hg_cpu_frame, resume), emit_i32(e, HG_CPU_POINT + e->nr_points - 1));
	yield(e, HG_CPU_BARRIER);
	LLVMPositionBuilderAtEnd(e->b, point);
	regs_restore(e, target, e->block);
	if (red)
		barrier_result(e, NULL, NULL);
	set32(e, e->exec, get32(e, e->alive));
	LLVMBuildBr(e->b, e->bb[target]);

	LLVMPositionBuilderAtEnd(e->b, apart);
	if (!e->info->parted[e->block] && same) {
		LLVMBuildUnreachable(e->b);
		return;
	}
	barrier_fields(e, exec, id, count, pred32);
	frame_pc(e, exec, pc);
	if (!e->info->free_order) {
		regs_save(e, target, e->block, true);
		frame_pending(e);
		frame_set(e, offsetof(struct hg_cpu_frame, alive), get32(e, e->alive));
		frame_set(e, offsetof(struct hg_cpu_frame, waiting), exec);
		frame_set(e, offsetof(struct hg_cpu_frame, same), emit_i32(e, 0));
		frame_set(e, offsetof(struct hg_cpu_frame, blocked), emit_i32(e, 0));
		frame_set(e, offsetof(struct hg_cpu_frame, red), red ? exec : emit_i32(e, 0));
		frame_set(e, offsetof(struct hg_cpu_frame, resume), emit_i32(e, HG_CPU_LANES));
		yield(e, HG_CPU_DEOPT);
		return;
	}
	set32(e, e->waiting, LLVMBuildOr(e->b, get32(e, e->waiting), exec, ""));
	all = emit_load(e, emit_scalar_int(e, 32), frame_at(e, offsetof(struct hg_cpu_frame, red)), 4);
	all = LLVMBuildAnd(e->b, all, LLVMBuildNot(e->b, exec, ""), "");
	frame_set(e, offsetof(struct hg_cpu_frame, red), red ? LLVMBuildOr(e->b, all, exec, "") : all);
	LLVMBuildBr(e->b, e->sched);
	if (red) {
		LLVMPositionBuilderAtEnd(e->b, e->after_red[e->block]);
		barrier_result(e, NULL, get32(e, e->exec));
		jump_free(e, target);
	}
}

/* ---- warp operations wait for their lanes ---- */

/* See HG_CPU_SYNC_NAN. */
static uint32_t sync_key(const struct emit *e)
{
	const struct ir_insn *in = e->insn;
	const struct ir_block *b = &e->fn->block[e->block];

	for (uint32_t i = 1; in->op == IR_warpsync && i < b->nr_insns; i++)
		if (ir_op_desc[b->insn[i].op].flags & IR_F_WARP && b->insn[i].op != IR_activemask)
			return in->op | e->block << 8 | 1u << 31;
	return in->op | (uint32_t)in->sub << 8 | (uint32_t)in->type << 16 | (in->flags & IR_NAN_OUT ? HG_CPU_SYNC_NAN : 0);
}

/* What lanes of `mask` want of others that are not here: these may be at another instruction of the same kind. */
static void sync_fields(struct emit *e, LLVMValueRef mask)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef value = NULL;

	frame_blend(e, offsetof(struct hg_cpu_frame, sync_key), emit_i32(e, sync_key(e)), mask);
	frame_blend(e, offsetof(struct hg_cpu_frame, sync_members), emit_src(e, in->nr_src - 1u, 32), mask);
	if (in->op == IR_vote)
		value = emit_psrc(e, 0);
	else if (in->op != IR_warpsync)
		value = emit_src(e, 0, ir_type_bits(in->type));
	if (value)
		frame_blend(e, offsetof(struct hg_cpu_frame, sync_value), emit_resize(e, value, 64, false), mask);
	if (in->op != IR_shfl)
		return;
	frame_blend(e, offsetof(struct hg_cpu_frame, sync_b), emit_src(e, 1, 32), mask);
	frame_blend(e, offsetof(struct hg_cpu_frame, sync_c), emit_src(e, 2, 32), mask);
}

/* Of the lanes that wait some, or all, may have been waiting for these. */
static void sync_meet(struct emit *e)
{
	LLVMValueRef args[4], met;

	args[0] = e->frame;
	args[1] = get32(e, e->alive);
	args[2] = get32(e, e->blocked);
	args[3] = emit_i32(e, 2 * e->fn->nr_blocks);
	met = emit_rt(e, offsetof(struct hg_cpu_rt, meet), emit_scalar_int(e, 32), args, 4);
	set32(e, e->blocked, LLVMBuildAnd(e->b, get32(e, e->blocked), LLVMBuildNot(e->b, met, ""), ""));
}

/* An operation of the warp begins its block: all living lanes of the member mask must be here. */
static void emit_gather_lanes(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMBasicBlockRef here, missing;
	LLVMValueRef members, needs, ready;

	if (!e->info->parted[e->block])
		return;
	here = emit_bb(e, "here");
	missing = emit_bb(e, "missing");
	e->lanes = HG_WARP;
	/* read here, on the way to both */
	for (unsigned int i = 0; i < in->nr_src; i++)
		if (in->src[i].kind == IR_OPD_REG)
			emit_reg_get(e, in->src[i].reg);
	members = emit_src(e, in->nr_src - 1u, 32);
	needs = LLVMBuildAnd(e->b, members, emit_splat(e, LLVMBuildAnd(e->b, get32(e, e->alive),
			     LLVMBuildNot(e->b, e->exec_now, ""), "")), "");
	ready = LLVMBuildAnd(e->b, e->exec_now, emit_lane_bits(e, is_zero(e, needs)), "");
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, ready, e->exec_now, ""), here, missing);
	LLVMPositionBuilderAtEnd(e->b, missing);
	if (!e->info->free_order) {
		/* Nothing of this block has run: its own number is where the lanes go on. */
		regs_save(e, e->block, e->block, true);
		frame_pending(e);
		frame_pc(e, e->exec_now, e->block);
		frame_set(e, offsetof(struct hg_cpu_frame, alive), get32(e, e->alive));
		frame_set(e, offsetof(struct hg_cpu_frame, waiting), emit_i32(e, 0));
		frame_set(e, offsetof(struct hg_cpu_frame, same), emit_i32(e, 0));
		frame_set(e, offsetof(struct hg_cpu_frame, blocked), emit_i32(e, 0));
		frame_set(e, offsetof(struct hg_cpu_frame, resume), emit_i32(e, HG_CPU_LANES));
		yield(e, HG_CPU_DEOPT);
	} else {
		LLVMBasicBlockRef some = emit_bb(e, "some");
		LLVMValueRef not_ready = LLVMBuildXor(e->b, e->exec_now, ready, "");

		set32(e, e->blocked, LLVMBuildOr(e->b, get32(e, e->blocked), not_ready, ""));
		frame_pc(e, e->exec_now, e->block);
		sync_fields(e, not_ready);
		sync_meet(e);
		LLVMBuildCondBr(e->b, is_zero(e, ready), e->sched, some);
		LLVMPositionBuilderAtEnd(e->b, some);
		set32(e, e->exec, ready);
		LLVMBuildBr(e->b, here);
	}
	LLVMPositionBuilderAtEnd(e->b, here);
	if (e->info->free_order) {
		e->exec_now = get32(e, e->exec);
		e->mask_now = emit_bits_lane(e, e->exec_now);
	}
}

/* ---- blocks ---- */

static void emit_trap(struct emit *e)
{
	LLVMBasicBlockRef trap = emit_bb(e, "trap"), on = emit_bb(e, "on");

	LLVMBuildCondBr(e->b, is_zero(e, emit_active(e)), on, trap);
	LLVMPositionBuilderAtEnd(e->b, trap);
	emit_fault_lanes(e, emit_active(e));
	yield(e, e->insn->sub == IR_TRAP_STACK ? HG_CPU_STACK : HG_CPU_TRAP);
	LLVMPositionBuilderAtEnd(e->b, on);
}

static void emit_insn(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	bool vector = emit_insn_reads_vector(e->info, in) || emit_insn_is_divergent(in);

	e->lanes = vector ? HG_WARP : 1;
	if (in->op == IR_trap)
		emit_trap(e);
	else if (!emit_arith(e) && !emit_math(e) && !emit_convert(e) && !emit_memory(e) && !emit_warp(e) && !emit_matrix(e))
		emit_unsupported(e, "operation");
	if (e->has_lines && !e->st)
		emit_line_set(e);
	if (e->st == HG_ERR_UNSUPPORTED)
		pr_err("kernel '%s', line %u: '%s.%s' is not supported by the CPU target (%s)", e->fn->name, in->line,
		       ir_op_desc[in->op].name, ir_type_name(in->type), e->why);
}

/* The results of hg_cpu_rt.meet join those of the code itself. */
static void sync_join(struct emit *e)
{
	static const size_t field[2] = { offsetof(struct hg_cpu_frame, sync_value), offsetof(struct hg_cpu_frame, sync_c) };
	const struct ir_insn *in = e->insn;
	LLVMBasicBlockRef from[2] = { LLVMGetInsertBlock(e->b), e->after_sync[e->block] }, join = emit_bb(e, "met");
	LLVMValueRef v[2][2] = { { NULL } };
	unsigned int nr = in->nr_dst;

	assert(nr <= 2);
	LLVMBuildBr(e->b, join);
	for (unsigned int i = 0; i < nr; i++)
		v[i][0] = in->dst[i] == IR_NO_REG ? NULL : e->cur[in->dst[i]];
	LLVMPositionBuilderAtEnd(e->b, from[1]);
	e->lanes = HG_WARP;
	for (unsigned int i = 0; i < nr; i++) {
		LLVMTypeRef t = emit_int(e, i ? 32 : 64);

		if (v[i][0])
			v[i][1] = emit_resize(e, emit_load(e, t, frame_at(e, field[i]), 64), ir_type_bits(e->fn->reg_type[in->dst[i]]), false);
	}
	LLVMBuildBr(e->b, join);
	LLVMPositionBuilderAtEnd(e->b, join);
	/* what was read before is not known on both ways */
	for (uint32_t i = 0; i < e->nr_touched; i++) {
		e->cur[e->touched[i]] = NULL;
		e->dirty[e->touched[i]] = false;
	}
	e->nr_touched = 0;
	for (unsigned int i = 0; i < nr; i++) {
		LLVMValueRef phi;

		if (!v[i][0])
			continue;
		phi = LLVMBuildPhi(e->b, LLVMTypeOf(v[i][0]), "");
		LLVMAddIncoming(phi, v[i], from, 2);
		emit_reg_set(e, in->dst[i], phi);
	}
	e->exec_now = get32(e, e->exec);
	e->mask_now = emit_bits_lane(e, e->exec_now);
}

static void emit_block(struct emit *e, uint32_t b)
{
	const struct ir_block *blk = &e->fn->block[b];

	e->block = b;
	e->nr_ahead = 0;
	LLVMPositionBuilderAtEnd(e->b, e->bb[b]);
	e->exec_now = get32(e, e->exec);
	e->mask_now = emit_bits_lane(e, e->exec_now);
	for (uint32_t i = 0; i < blk->nr_insns && !e->st; i++) {
		const struct ir_insn *in = &blk->insn[i];

		e->insn = in;
		set_line(e, in->line, 0);
		if (ir_op_desc[in->op].flags & IR_F_SYNC)
			emit_gather_lanes(e);
		if (ir_op_desc[in->op].flags & IR_F_BARRIER) {
			emit_barrier(e, blk->insn[i + 1].target[0]);
			return;
		}
		switch (in->op) {
		case IR_bra:
			emit_regs_flush(e);
			jump(e, in->target[0]);
			break;
		case IR_cbra:
			emit_cbra(e, in);
			break;
		case IR_brx:
			emit_brx(e, in);
			break;
		case IR_exit:
			emit_exit(e);
			for (uint32_t r = 0; r < e->nr_touched; r++) {
				e->cur[e->touched[r]] = NULL;
				e->dirty[e->touched[r]] = false;
			}
			e->nr_touched = 0;
			break;
		default:
			emit_insn(e);
			if (ir_op_desc[in->op].flags & IR_F_SYNC && e->after_sync[b] && !e->st)
				sync_join(e);
			break;
		}
	}
}

static LLVMValueRef alloca32(struct emit *e)
{
	return LLVMBuildAlloca(e->b, emit_scalar_int(e, 32), "");
}

/* The frame of the warp whose turn it is; which one that is, is known to whoever reports a fault. */
static void find_frame(struct emit *e)
{
	LLVMTypeRef i64 = emit_scalar_int(e, 64);
	LLVMValueRef w = get32(e, e->warp), at, known;

	known = LLVMBuildStore(e->b, w, emit_at(e, e->first_frame, offsetof(struct hg_cpu_frame, running)));
	LLVMSetVolatile(known, 1);
	at = emit_env(e, emit_scalar_int(e, 32), offsetof(struct hg_cpu_env, warp_bytes));
	at = LLVMBuildMul(e->b, LLVMBuildZExt(e->b, w, i64, ""), LLVMBuildZExt(e->b, at, i64, ""), "");
	e->frame = LLVMBuildInBoundsGEP2(e->b, emit_scalar_int(e, 8), e->first_frame, &at, 1, "");
}

static void emit_prologue(struct emit *e)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMBasicBlockRef start;

	e->entry = emit_bb(e, "entry");
	LLVMPositionBuilderAtEnd(e->b, e->entry);
	for (uint32_t r = 0; r < e->fn->nr_regs; r++)
		if (e->info->crosses[r] && !e->in_spill)
			e->slot[r] = LLVMBuildAlloca(e->b, emit_reg_type(e, r), "");
	emit_lines_begin(e);
	for (int i = 0; i < 4; i++) {
		e->buf[i] = LLVMBuildAlloca(e->b, LLVMArrayType2(emit_scalar_int(e, 8), 2048), "");
		LLVMSetAlignment(e->buf[i], 64);
	}
	e->exec = alloca32(e);
	e->alive = alloca32(e);
	e->budget = alloca32(e);
	e->waiting = alloca32(e);
	e->blocked = alloca32(e);
	e->tired = alloca32(e);
	e->warp = alloca32(e);
	e->others = alloca32(e);
	e->before = alloca32(e);
	e->result = alloca32(e);
	for (uint32_t b = 0; b < e->fn->nr_blocks; b++) {
		e->pend[b] = alloca32(e);
		e->bb[b] = emit_bb(e, "b");
		if (e->info->free_order && e->info->parted[b] && e->fn->block[b].nr_insns > 1 &&
		    e->fn->block[b].insn[e->fn->block[b].nr_insns - 2].op == IR_bar_red)
			e->after_red[b] = emit_bb(e, "after_red");
		if (e->info->free_order && e->info->parted[b] && ir_op_desc[e->fn->block[b].insn[0].op].flags & IR_F_SYNC)
			e->after_sync[b] = emit_bb(e, "after_sync");
	}
	e->sched = emit_bb(e, "sched");
	e->resume_lanes = emit_bb(e, "resume_lanes");
	e->done = emit_bb(e, "done");
	e->leave = emit_bb(e, "leave");
	e->turn = emit_bb(e, "turn");
	start = emit_bb(e, "start");
	e->whole = LLVMBuildNot(e->b, is_zero(e, emit_env(e, i32, offsetof(struct hg_cpu_env, whole_block))), "");
	set32(e, e->warp, emit_i32(e, 0));
	set32(e, e->before, emit_i32(e, HG_CPU_START));
	set32(e, e->others, emit_load(e, i32, frame_at(e, offsetof(struct hg_cpu_frame, resume)), 4));
	LLVMBuildBr(e->b, e->turn);

	LLVMPositionBuilderAtEnd(e->b, e->turn);
	if (!e->info->free_order)
		find_frame(e);
	for (uint32_t r = 0; r < e->fn->nr_regs; r++)
		if (e->info->crosses[r] && e->in_spill)
			e->slot[r] = spill_at(e, r);
	set32(e, e->alive, emit_load(e, i32, frame_at(e, offsetof(struct hg_cpu_frame, alive)), 4));
	set32(e, e->exec, get32(e, e->alive));
	set32(e, e->budget, emit_i32(e, e->info->free_order ? EMIT_SPINS_FREE : EMIT_SPINS));
	set32(e, e->shape, emit_env(e, i32, offsetof(struct hg_cpu_env, shape)));
	set32(e, e->waiting, emit_i32(e, 0));
	set32(e, e->blocked, emit_i32(e, 0));
	set32(e, e->tired, emit_i32(e, 0));
	for (uint32_t b = 0; b < e->fn->nr_blocks; b++)
		set32(e, e->pend[b], emit_i32(e, 0));
	e->resume_switch = LLVMBuildSwitch(e->b, get32(e, e->others), start, 2);
	LLVMAddCase(e->resume_switch, emit_i32(e, HG_CPU_LANES), e->resume_lanes);
	LLVMPositionBuilderAtEnd(e->b, start);
	for (uint32_t r = 0; r < e->fn->nr_regs; r++)
		if (e->slot[r] && emit_has(e->info->live_in[0], r))
			emit_slot_store(e, r, LLVMConstNull(emit_reg_type(e, r)));
	LLVMBuildBr(e->b, e->bb[0]);
	LLVMPositionBuilderAtEnd(e->b, e->done);
	if (!e->info->free_order)
		next_warp(e, HG_CPU_ENDED);
	frame_set(e, offsetof(struct hg_cpu_frame, alive), emit_i32(e, 0));
	yield(e, HG_CPU_DONE);

	LLVMPositionBuilderAtEnd(e->b, e->leave);
	emit_store(e, get32(e, e->others), emit_at(e, e->first_frame, offsetof(struct hg_cpu_frame, others_resume)), 4);
	emit_store(e, get32(e, e->before), emit_at(e, e->first_frame, offsetof(struct hg_cpu_frame, before_resume)), 4);
	LLVMBuildRet(e->b, get32(e, e->result));
}

static void emit_epilogue(struct emit *e)
{
	for (uint32_t i = 0; i < e->nr_points; i++)
		LLVMAddCase(e->resume_switch, emit_i32(e, HG_CPU_POINT + i), e->point[i]);
	if (e->info->free_order) {
		emit_sched(e);
		emit_resume_lanes(e);
		return;
	}
	LLVMPositionBuilderAtEnd(e->b, e->sched);
	LLVMBuildUnreachable(e->b);
	/* This variant cannot; the runner never asks it to. */
	LLVMPositionBuilderAtEnd(e->b, e->resume_lanes);
	yield(e, HG_CPU_DEADLOCK);
}

enum hg_status emit_llvm(const struct ir_func *fn, const struct emit_options *opt, LLVMContextRef c, LLVMModuleRef m,
			 const char *name)
{
	struct emit_info info;
	struct emit e = { .fn = fn, .info = &info, .ops = &cpu_ops, .opt = *opt, .c = c, .m = m, .lanes = 1 };
	LLVMTypeRef args[2];
	enum hg_status st;

	st = emit_analyze(fn, opt->free_order, &info);
	if (st)
		return st;
	e.in_spill = opt->brief || info.free_order;
	e.has_lines = info.has_lines && !e.in_spill;
	e.slot = calloc(fn->nr_regs + 1, sizeof(*e.slot));
	e.cur = calloc(fn->nr_regs + 1, sizeof(*e.cur));
	e.dirty = calloc(fn->nr_regs + 1, sizeof(*e.dirty));
	e.touched = calloc(fn->nr_regs + 1, sizeof(*e.touched));
	e.bb = calloc(fn->nr_blocks + 1, sizeof(*e.bb));
	e.after_red = calloc(fn->nr_blocks + 1, sizeof(*e.after_red));
	e.after_sync = calloc(fn->nr_blocks + 1, sizeof(*e.after_sync));
	e.pend = calloc(fn->nr_blocks + 1, sizeof(*e.pend));
	e.line_base = calloc(fn->nr_regs + 1, sizeof(*e.line_base));
	e.line_step = calloc(fn->nr_regs + 1, sizeof(*e.line_step));
	if (!e.line_base || !e.line_step || !e.slot || !e.cur || !e.dirty || !e.touched || !e.bb || !e.after_red || !e.after_sync ||
	    !e.pend) {
		st = HG_ERR_NOMEM;
		goto out;
	}
	e.b = LLVMCreateBuilderInContext(c);
	args[0] = args[1] = ptr_type(&e);
	e.f = LLVMAddFunction(m, name, LLVMFunctionType(emit_scalar_int(&e, 32), args, 2, 0));
	e.frame = e.first_frame = LLVMGetParam(e.f, 0);
	e.env = LLVMGetParam(e.f, 1);
	emit_attr(&e, 1, "noalias");
	emit_attr(&e, 2, "noalias");
	emit_attr(&e, 2, "readonly");
	emit_attr(&e, LLVMAttributeFunctionIndex, "nounwind");
	/* 0 is an address like any other here: what touches it is to fault */
	emit_attr(&e, LLVMAttributeFunctionIndex, "null_pointer_is_valid");
	emit_text_attr(&e, "min-legal-vector-width", "512");
	emit_text_attr(&e, "prefer-vector-width", "512");
	emit_text_attr(&e, "no-trapping-math", "true");

	add_lines(&e);
	set_line(&e, 0, 0);
	emit_prologue(&e);
	for (uint32_t b = 0; b < fn->nr_blocks && !e.st; b++)
		emit_block(&e, b);
	set_line(&e, 0, 0);
	if (!e.st)
		emit_epilogue(&e);
	st = e.st;
	LLVMDisposeBuilder(e.b);
out:
	free(e.slot);
	free(e.cur);
	free(e.dirty);
	free(e.touched);
	free(e.bb);
	free(e.after_red);
	free(e.after_sync);
	free(e.pend);
	free(e.line_base);
	free(e.line_step);
	free(e.point);
	emit_info_release(&info);
	return st;
}
