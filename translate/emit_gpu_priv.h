/* emit_gpu_priv.h - what the files of the GPU emitter share: code of one lane, whichever way lanes get from block to block. */
#ifndef HG_TRANSLATE_EMIT_GPU_PRIV_H
#define HG_TRANSLATE_EMIT_GPU_PRIV_H

#include "translate/emit.h"
#include "translate/emit_gpu.h"

/*
 * A kernel is
 *
 *   entry   registers' slots (allocas), where the lane is; drops the work-items that are no threads
 *   …       emit_gpu_begin leaves the builder where the first block is to be gone to
 *   blocks  one for each of hgIR's: emit_gpu_insn for what is in them. How control goes from one to the next, and how lanes meet, is
 *           the form's: emit_gpu.c (direct), emit_gpu_sched.c (scheduled)
 *   fault   lanes that failed, from emit_gpu_fail: reports, goes to `end`
 *   end     lanes that end. The form may put a block of its own into `end` before anything is emitted; it goes to `leave`
 *   leave   returns
 *
 * struct emit has all registers as single numbers (lanes is 1, no register is a vector), slots in addrspace(5), `env` pointing to
 * struct hg_gpu_env, so that emit_value.c, emit_arith.c, emit_convert.c and emit_math.c work as they are.
 *
 * Where kinds of GPU differ is in struct emit_gpu_isa: emit_gpu_amdgcn.c, emit_gpu_spirv.c (whose dialect spirv_write.h describes).
 *
 * Intrinsics that may occur for amdgcn: llvm.amdgcn. workitem.id.*, workgroup.id.*, mbcnt.lo, mbcnt.hi, ballot.i32, ballot.i64, readfirstlane, readlane,
 * ds.bpermute, ds.swizzle, update.dpp, permlane16, permlanex16, s.barrier, wave.barrier, s.sleep, is.shared, is.private; llvm.readcyclecounter,
 * llvm.readsteadycounter (100 MHz); those of arithmetic.
 */
enum emit_gpu_space { EMIT_AS_FLAT, EMIT_AS_GLOBAL, EMIT_AS_LDS = 3, EMIT_AS_CONST, EMIT_AS_PRIVATE };

/* Where the kinds of GPU differ. Values are i32 unless said; code of lanes is convergent. */
struct emit_gpu_isa {
	void (*add_function)(struct emit *e, const char *name);		/* e->f with its attributes, kernarg, shared */
	LLVMValueRef (*item)(struct emit *e, unsigned int axis);	/* the work-item's index in its work-group; flat_groups: axis 0 alone */
	LLVMValueRef (*group)(struct emit *e, unsigned int axis);
	LLVMValueRef (*wave_lane)(struct emit *e);			/* `thread` is known */
	LLVMValueRef (*ballot)(struct emit *e, LLVMValueRef bit);	/* as wide as the wave */
	LLVMValueRef (*from_lane)(struct emit *e, LLVMValueRef v, LLVMValueRef from);	/* of the wave; a lane for each lane */
	LLVMValueRef (*read_lane)(struct emit *e, LLVMValueRef v, LLVMValueRef from);	/* one for all */
	LLVMValueRef (*first)(struct emit *e, LLVMValueRef v);		/* what the first lane that is here has */
	/* A shuffle whose pattern is known, by faster means; NULL: there are none. The member may be NULL. */
	LLVMValueRef (*shfl_known)(struct emit *e, LLVMValueRef v, const uint32_t from[HG_WARP]);
	void (*barrier)(struct emit *e);
	void (*wave_barrier)(struct emit *e);
	void (*sleep)(struct emit *e, uint32_t units);			/* of 64 cycles, about; may be nothing at all */
	LLVMValueRef (*clock)(struct emit *e), (*timer)(struct emit *e);	/* i64; 100 MHz */
	LLVMValueRef (*is_shared)(struct emit *e, LLVMValueRef flat), (*is_private)(struct emit *e, LLVMValueRef flat);	/* i1 */
	LLVMValueRef (*shared)(struct emit *e, LLVMValueRef offset);	/* a place in the block's shared memory as a pointer */
	LLVMValueRef (*shared_offset)(struct emit *e, LLVMValueRef p);	/* and back */
	bool has_const_space;		/* else what does not change is in global memory like all else */
	bool has_wide;			/* several parts are loaded and stored at once, and there are integers of 128 bits */
	bool has_small_atomics;		/* accesses of 8 and 16 bits, and inc and dec */
	/* No work-item may miss a barrier, nor one by having ended: barriers are counted by code unless it is shown that none is missed. */
	bool strict_barriers;
	bool flat_groups;		/* work-groups have one dimension, whatever blocks have */
	bool hides_slots;		/* LLVM's passes would make values of places in memory again */
};

struct emit_gpu {
	const struct emit_gpu_isa *isa;
	struct emit_gpu_options opt;
	LLVMValueRef kernarg;		/* the parameters, in EMIT_AS_CONST */
	LLVMValueRef shared;		/* the block's shared memory where it is an argument; else NULL */
	/* i32, known in every block: */
	LLVMValueRef tid[3], thread;	/* the thread's index, and as one number */
	LLVMValueRef lane;		/* of the warp */
	LLVMValueRef wave_lane;		/* of the wave: 0 to 63 with HG_GPU_PAIR, else the same */
	LLVMValueRef local;		/* the lane's local window: [local_bytes x i8] in addrspace(5); NULL: it has none */
	bool soft_barriers;		/* barriers are counted by code, in local data share: emit_gpu_barrier_* */
	bool ends_together;		/* nobody may miss the hardware's: a block whose queue has failed ends as a whole */

	LLVMBasicBlockRef end, leave;
	LLVMBasicBlockRef fault;	/* NULL: nothing has failed yet */
	LLVMValueRef fault_kind, fault_line, fault_addr;	/* phis there */

	LLVMValueRef rounds;		/* the direct form's variable of the lane, i32: rounds of loops that wait; NULL: it has none */

	LLVMModuleRef kinds;		/* see emit_gpu_memory.c: atomic accesses of every scope */
};

/* ---- emit_gpu.c ---- */

/* What emit_gpu.h's functions do. */
enum hg_status emit_gpu_kernel(const struct ir_func *fn, const struct emit_gpu_options *opt, const struct emit_gpu_isa *isa, LLVMContextRef c,
			       LLVMModuleRef m, const char *name, uint32_t *extra_lds, char *why, size_t why_size) HG_MUST_CHECK;

LLVMTypeRef emit_gpu_ptr(struct emit *e, enum emit_gpu_space as);
LLVMValueRef emit_gpu_state_at(struct emit *e, size_t offset);	/* a place in struct hg_gpu_state */
/* Lanes where `cond` holds (NULL: all) report enum hg_gpu_fault, the instruction's line and `addr` (i64, NULL: 0), and end; code goes on for the others. */
void emit_gpu_fail(struct emit *e, LLVMValueRef cond, enum hg_gpu_fault kind, LLVMValueRef addr);
/*
 * The current instruction: neither a terminator nor one of IR_F_BARRIER. Lanes that it reads must be here (IR_F_WARP): it sees those that execute it.
 * On return the builder may be in another LLVM block.
 */
void emit_gpu_insn(struct emit *e);
/*
 * Around what lanes without the guard must not do. Operands must have been read before; val[nr]: results, i1 or integers, which are 0 for the
 * others afterwards.
 */
struct emit_gpu_guard { LLVMBasicBlockRef before, on; };
struct emit_gpu_guard emit_gpu_guard_begin(struct emit *e);
void emit_gpu_guard_end(struct emit *e, struct emit_gpu_guard *g, LLVMValueRef *val, unsigned int nr);

/* ---- emit_gpu_memory.c ---- */

/* "wavefront" and IR_CTA "workgroup", IR_GPU "agent", IR_SYS and IR_SCOPE_NONE the system's. */
enum emit_gpu_scope { EMIT_SCOPE_WAVE, EMIT_SCOPE_BLOCK, EMIT_SCOPE_DEVICE, EMIT_SCOPE_SYSTEM };
void emit_gpu_fence(struct emit *e, enum emit_gpu_scope scope, LLVMAtomicOrdering order);
/* One access, of 8 to 64 bits, naturally aligned. */
LLVMValueRef emit_gpu_atomic_load(struct emit *e, unsigned int bits, LLVMValueRef p, enum emit_gpu_scope scope, LLVMAtomicOrdering order);
void emit_gpu_atomic_store(struct emit *e, LLVMValueRef v, LLVMValueRef p, enum emit_gpu_scope scope, LLVMAtomicOrdering order);
/* i32, i64; gives what was there. */
LLVMValueRef emit_gpu_rmw(struct emit *e, LLVMAtomicRMWBinOp op, LLVMValueRef p, LLVMValueRef v, enum emit_gpu_scope scope,
			  LLVMAtomicOrdering order);
/* i16, i32, i64; gives what was there, *ok (i1, may be NULL): whether that was `expected`, and is `to` now. */
LLVMValueRef emit_gpu_cas(struct emit *e, LLVMValueRef p, LLVMValueRef expected, LLVMValueRef to, enum emit_gpu_scope scope,
			  LLVMAtomicOrdering order, LLVMValueRef *ok);
bool emit_gpu_memory(struct emit *e);		/* false: the current instruction is none of memory's */
void emit_gpu_memory_end(struct emit *e);	/* frees `kinds` */

/* ---- emit_gpu_warp.c ---- */

/* i32: lanes of the warp that are here and where the bit holds. */
LLVMValueRef emit_gpu_ballot(struct emit *e, LLVMValueRef bit);
/* The i32 that lane `from` (i32, 0 to 31) of the warp has; it must be here. */
LLVMValueRef emit_gpu_from_lane(struct emit *e, LLVMValueRef v, LLVMValueRef from);
bool emit_gpu_warp(struct emit *e);

/* ---- emit_gpu_sched.c ---- */

/* Whether there is any operation on a barrier: the scheduled form counts all of them by code. */
bool emit_gpu_has_barriers(const struct ir_func *fn);
/* Before slots are made: which registers need some (info->crosses), and places in memory (in_spill) if they and the blocks are many. */
void emit_gpu_sched_registers(struct emit *e);
/*
 * The blocks, from where the builder is on. All threads of the wave stay in one loop until the last of them has ended, and go to `leave` together.
 * `end` is its own, and so is `fault` if it is not NULL: emit_gpu_kernel fills that in.
 */
void emit_gpu_scheduled(struct emit *e);

/* ---- emit_gpu_barrier.c ---- */

/* Of the hardware: barrier 0 of all threads, with the fences. */
void emit_gpu_hard_barrier(struct emit *e);
/* Whether the kernel's barriers must be counted by code: some are for other threads than all, or of another number, or give a result. */
bool emit_gpu_needs_soft_barriers(const struct emit_gpu_isa *isa, const struct emit_gpu_options *opt, const struct ir_func *fn);
/* How much local data share they take behind env.shared_bytes. */
uint32_t emit_gpu_barrier_bytes(const struct emit_gpu *g);
/* ends_together: before a barrier, one thread looks for all whether the queue has failed; behind it, what it saw (i32, 0: no). */
void emit_gpu_barrier_look(struct emit *e);
LLVMValueRef emit_gpu_barrier_seen(struct emit *e);
/* By all work-items of a block together, in the prologue. */
void emit_gpu_barrier_init(struct emit *e);
/* A lane that ends. */
void emit_gpu_barrier_exit(struct emit *e);
/* Fails lanes with a number that is no barrier's, or (arrive) that name no count. id, count: i32. */
void emit_gpu_barrier_check(struct emit *e, LLVMValueRef id, LLVMValueRef count, bool arrive);
/*
 * Called by ONE lane for a group of lanes: `threads` of them came (i32), which count as `units` (a whole warp as 32). Gives the i32 that
 * tells the barrier's turns apart, for the calls below.
 */
LLVMValueRef emit_gpu_barrier_arrive(struct emit *e, LLVMValueRef id, LLVMValueRef count, LLVMValueRef threads, LLVMValueRef units);
/* i1: has the turn ended? By any lanes; does not wait. */
LLVMValueRef emit_gpu_barrier_open(struct emit *e, LLVMValueRef id, LLVMValueRef count, LLVMValueRef turn);
/*
 * For bar_red: the turn that the next arrival belongs to; by one lane, before it arrives, how many of its group hold true, and how
 * many they are; and when it is open, the result as the instruction wants it (i1 or i32).
 */
LLVMValueRef emit_gpu_barrier_turn(struct emit *e, LLVMValueRef id);
void emit_gpu_barrier_add(struct emit *e, LLVMValueRef id, LLVMValueRef turn, LLVMValueRef nr_true, LLVMValueRef nr);
LLVMValueRef emit_gpu_barrier_result(struct emit *e, LLVMValueRef id, LLVMValueRef turn);
/* i1: the queue's state has a fault: whoever waits is to end. */
LLVMValueRef emit_gpu_has_fault(struct emit *e);
/* The direct form's: the current IR_F_BARRIER instruction, or bar_arrive, of all lanes of the warp that have not ended. */
void emit_gpu_barrier(struct emit *e);

#endif
