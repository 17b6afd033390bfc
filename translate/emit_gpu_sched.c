/* emit_gpu_sched.c - the scheduled form: each lane has a program counter, and the lanes at the lowest one run. */
#include "translate/emit_gpu_priv.h"

#include <stdlib.h>

/*
 * One loop, which all lanes of the wave go round together until the last of them has ended:
 *
 *   loop    the lowest program counter among lanes that may run, found by ballots, hence one number for the wave
 *   switch  on it, a branch of the wave; in each case the lanes that are there run one of hgIR's blocks, which ends with
 *           their next program counter, and meet the others at `join`
 *   join    lanes that failed report; those that wait for each other go on if they are all there; those that came to a barrier are counted
 *   idle    no lane may run: those that spin get another turn, those at barriers look whether these are open
 *
 * Whatever lanes of different blocks have in common lies in variables of the lane, and is worked upon in parts of the loop that
 * all lanes run. The meaning of lanes that meet is that of hg_cpu_rt.meet; emit_llvm.c does the same for the CPU.
 */
enum mode {
	RUN,		/* at the block that pc names */
	TIRED,		/* the same, has spun: all others go first */
	BLOCKED,	/* at a warp operation, for lanes that are not there yet */
	ARRIVING,	/* at a barrier, not counted yet; pc is where it goes on */
	WAITING,	/* counted */
	FAILED,
	ENDED,
};

struct sched {
	struct emit *e;
	/* variables of the lane, i32; a truth is 0 or 1 */
	LLVMValueRef pc, mode;
	LLVMValueRef look;		/* something happened that others may wait for */
	LLVMValueRef line;		/* of what it is blocked at */
	LLVMValueRef key, members, value, b, c;	/* as in hg_cpu_frame: sync_* */
	LLVMValueRef met;		/* the operation at the beginning of the block that pc names was done: value and c are its results */
	LLVMValueRef id, count, pred, red, turn;	/* of the barrier */
	LLVMValueRef goes_on;		/* bar_arrive: does not wait */
	LLVMValueRef came;		/* 16 times i32, of barriers: the turn after that in which the lane came last, where threads are counted; or NULL */
	LLVMValueRef kind, fault_line, fault_addr;	/* of a failure; the last is i64 */
	LLVMValueRef pending;		/* in a loop over groups: not done yet */

	uint32_t nr_entries, *entry;	/* the program counter of a block; those of what follows its bar_arrives and its bar_red are next */
	bool votes, shuffles, syncs, barriers, counts, fails;	/* what there is in the kernel; counts: barriers of so many threads */

	LLVMValueRef mine;		/* i1: the lane runs this turn */
	LLVMValueRef here, alive;	/* i32, of its warp: lanes that run and have not met yet; that have not ended */
	LLVMBasicBlockRef loop, join;
	LLVMValueRef dispatch;		/* the switch */
};

/* Lanes of a wave that want the same. */
struct group {
	LLVMBasicBlockRef loop, on;
	LLVMValueRef first;		/* i32: lane of the wave */
	LLVMValueRef in;		/* i1: the lane is one of them… */
	LLVMValueRef near;		/* …of their warp */
};

static LLVMValueRef get(struct sched *s, LLVMValueRef var)
{
	LLVMTypeRef t = LLVMIsAAllocaInst(var) ? LLVMGetAllocatedType(var) : emit_scalar_int(s->e, 32);

	return LLVMBuildLoad2(s->e->b, t, var, "");
}

static void set(struct sched *s, LLVMValueRef var, LLVMValueRef v)
{
	LLVMBuildStore(s->e->b, v, var);
}

static void set_number(struct sched *s, LLVMValueRef var, uint32_t v)
{
	set(s, var, emit_i32(s->e, v));
}

/* var = v where cond holds. */
static void set_if(struct sched *s, LLVMValueRef cond, LLVMValueRef var, LLVMValueRef v)
{
	set(s, var, emit_select(s->e, cond, v, get(s, var)));
}

static LLVMValueRef is_equal(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildICmp(e->b, LLVMIntEQ, a, b, "");
}

static LLVMValueRef is_zero(struct emit *e, LLVMValueRef v)
{
	return is_equal(e, v, LLVMConstNull(LLVMTypeOf(v)));
}

static LLVMValueRef is_true(struct emit *e, LLVMValueRef v)
{
	return LLVMBuildICmp(e->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

static LLVMValueRef is_mode(struct sched *s, enum mode m)
{
	return is_equal(s->e, get(s, s->mode), emit_i32(s->e, m));
}

static LLVMValueRef and(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildAnd(e->b, a, b, "");
}

static LLVMValueRef not(struct emit *e, LLVMValueRef v)
{
	return LLVMBuildNot(e->b, v, "");
}

static LLVMValueRef lives(struct sched *s)
{
	return not(s->e, is_mode(s, ENDED));
}

/* As wide as the wave: lanes where the bit holds, of those that are here. */
static LLVMValueRef wave_ballot(struct emit *e, LLVMValueRef bit)
{
	return e->gpu->isa->ballot(e, bit);
}

static LLVMValueRef any_lane(struct emit *e, LLVMValueRef bit)
{
	return is_true(e, wave_ballot(e, bit));
}

static LLVMValueRef read_lane(struct emit *e, LLVMValueRef v, LLVMValueRef lane)
{
	return e->gpu->isa->read_lane(e, v, lane);
}

/* The bit of lane `at` in a word of lanes. */
static LLVMValueRef lane_bit(struct emit *e, LLVMValueRef lanes, LLVMValueRef at)
{
	return LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, lanes, at, ""), emit_scalar_int(e, 1), "");
}

/* Code goes on in `then`, where cond (of the wave, or of lanes) holds; the result is where it goes on otherwise, and has to be led to. */
static LLVMBasicBlockRef begin_if(struct emit *e, LLVMValueRef cond, const char *name)
{
	LLVMBasicBlockRef then = emit_bb(e, name), on = emit_bb(e, "on");

	LLVMBuildCondBr(e->b, cond, then, on);
	LLVMPositionBuilderAtEnd(e->b, then);
	return on;
}

static void end_if(struct emit *e, LLVMBasicBlockRef on)
{
	LLVMBuildBr(e->b, on);
	LLVMPositionBuilderAtEnd(e->b, on);
}

/* ---- groups ---- */

/*
 * A loop over the groups that `pending` lanes fall into: those of a warp that have the same in all of key[nr]. of[nr] is what this group has there, one
 * number for all lanes that are here.
 */
static struct group group_begin(struct sched *s, const LLVMValueRef *key, LLVMValueRef *of, unsigned int nr)
{
	struct emit *e = s->e;
	struct group g = { .loop = emit_bb(e, "groups"), .on = emit_bb(e, "no_group") };
	LLVMBasicBlockRef body = emit_bb(e, "group");
	LLVMValueRef pending, lanes;
	LLVMTypeRef t;

	LLVMBuildBr(e->b, g.loop);
	LLVMPositionBuilderAtEnd(e->b, g.loop);
	pending = is_true(e, get(s, s->pending));
	lanes = wave_ballot(e, pending);
	LLVMBuildCondBr(e->b, is_true(e, lanes), body, g.on);
	LLVMPositionBuilderAtEnd(e->b, body);
	t = LLVMTypeOf(lanes);
	g.first = emit_call(e, "llvm.cttz", &t, 1, (LLVMValueRef[]){ lanes, LLVMConstInt(emit_scalar_int(e, 1), 1, 0) }, 2);
	g.first = emit_resize(e, g.first, 32, false);
	g.near = LLVMConstInt(emit_scalar_int(e, 1), 1, 0);
	if (e->gpu->opt.layout == HG_GPU_PAIR)
		g.near = is_zero(e, and(e, LLVMBuildXor(e->b, e->gpu->wave_lane, g.first, ""), emit_i32(e, 32)));
	g.in = and(e, pending, g.near);
	for (unsigned int i = 0; i < nr; i++) {
		LLVMValueRef v = get(s, key[i]);

		of[i] = read_lane(e, v, g.first);
		g.in = and(e, g.in, is_equal(e, v, of[i]));
	}
	return g;
}

static void group_end(struct sched *s, const struct group *g)
{
	set_if(s, g->in, s->pending, emit_i32(s->e, 0));
	LLVMBuildBr(s->e->b, g->loop);
	LLVMPositionBuilderAtEnd(s->e->b, g->on);
}

/* i32, one number for all: lanes of the group's warp, of those that are here, where the bit holds. */
static LLVMValueRef warp_lanes(struct sched *s, const struct group *g, LLVMValueRef bit)
{
	struct emit *e = s->e;
	LLVMValueRef lanes = wave_ballot(e, bit);

	if (e->gpu->opt.layout == HG_GPU_PAIR)
		lanes = LLVMBuildLShr(e->b, lanes, emit_resize(e, and(e, g->first, emit_i32(e, 32)), 64, false), "");
	return emit_resize(e, lanes, 32, false);
}

/* ---- lanes that wait for each other ---- */

static uint32_t sync_key(const struct ir_insn *in)
{
	return in->op | (uint32_t)in->sub << 8 | (uint32_t)in->type << 16;
}

/* Where the lane's own shuffle reads, as hg_cpu_shfl_from; *ok: i1. */
static LLVMValueRef shuffled_from(struct sched *s, LLVMValueRef sub, LLVMValueRef *ok)
{
	struct emit *e = s->e;
	LLVMValueRef lane = e->gpu->lane, b = and(e, get(s, s->b), emit_i32(e, 31)), c = get(s, s->c), seg, rest, low, max, j, is_up;

	seg = and(e, LLVMBuildLShr(e->b, c, emit_i32(e, 8), ""), emit_i32(e, 31));
	rest = LLVMBuildXor(e->b, seg, emit_i32(e, 31), "");
	low = and(e, lane, seg);
	max = LLVMBuildOr(e->b, low, and(e, c, rest), "");
	is_up = is_equal(e, sub, emit_i32(e, IR_SHFL_UP));
	j = LLVMBuildOr(e->b, low, and(e, b, rest), "");
	j = emit_select(e, is_up, LLVMBuildSub(e->b, lane, b, ""), j);
	j = emit_select(e, is_equal(e, sub, emit_i32(e, IR_SHFL_DOWN)), LLVMBuildAdd(e->b, lane, b, ""), j);
	j = emit_select(e, is_equal(e, sub, emit_i32(e, IR_SHFL_BFLY)), LLVMBuildXor(e->b, lane, b, ""), j);
	*ok = emit_select(e, is_up, LLVMBuildICmp(e->b, LLVMIntSGE, j, max, ""), LLVMBuildICmp(e->b, LLVMIntSLE, j, max, ""));
	return and(e, emit_select(e, *ok, j, lane), emit_i32(e, 31));
}

/* The result of `lanes` (i32) that vote; yes: those for which it is true. */
static LLVMValueRef voted(struct emit *e, LLVMValueRef sub, LLVMValueRef lanes, LLVMValueRef yes)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef all = is_equal(e, yes, lanes), none = is_zero(e, yes), r = yes;

	r = emit_select(e, is_equal(e, sub, emit_i32(e, IR_VOTE_ALL)), LLVMBuildZExt(e->b, all, i32, ""), r);
	r = emit_select(e, is_equal(e, sub, emit_i32(e, IR_VOTE_ANY)), LLVMBuildZExt(e->b, not(e, none), i32, ""), r);
	return emit_select(e, is_equal(e, sub, emit_i32(e, IR_VOTE_UNI)), LLVMBuildZExt(e->b, LLVMBuildOr(e->b, all, none, ""), i32, ""), r);
}

/* All lanes: groups of which every member that has not ended is there do what they came for, and go on. */
static void emit_meet(struct sched *s)
{
	struct emit *e = s->e;
	LLVMValueRef key[] = { s->key, s->members }, of[2], needs, in, value, sub, from, ok, r;
	LLVMBasicBlockRef missing;
	struct group g;

	set_number(s, s->look, 0);
	set(s, s->pending, LLVMBuildZExt(e->b, is_mode(s, BLOCKED), emit_scalar_int(e, 32), ""));
	g = group_begin(s, key, of, 2);
	needs = and(e, of[1], warp_lanes(s, &g, lives(s)));
	missing = begin_if(e, is_zero(e, and(e, needs, not(e, warp_lanes(s, &g, g.in)))), "complete");

	in = and(e, g.in, lane_bit(e, needs, e->gpu->lane));
	value = get(s, s->value);
	sub = and(e, LLVMBuildLShr(e->b, of[0], emit_i32(e, 8), ""), emit_i32(e, 0xff));
	r = value;
	if (s->shuffles) {
		from = shuffled_from(s, sub, &ok);
		r = emit_gpu_from_lane(e, value, from);
		r = emit_select(e, lane_bit(e, needs, from), r, emit_i32(e, 0));
		set_if(s, in, s->c, LLVMBuildZExt(e->b, ok, emit_scalar_int(e, 32), ""));
	}
	if (s->votes) {
		ok = is_equal(e, and(e, of[0], emit_i32(e, 0xff)), emit_i32(e, IR_vote));
		r = emit_select(e, ok, voted(e, sub, needs, warp_lanes(s, &g, and(e, in, is_true(e, value)))), r);
	}
	set_if(s, in, s->value, r);
	set_if(s, in, s->met, emit_i32(e, 1));
	set_if(s, in, s->mode, emit_i32(e, RUN));
	end_if(e, missing);
	group_end(s, &g);
	emit_gpu_fence(e, EMIT_SCOPE_WAVE, LLVMAtomicOrderingAcquireRelease);
}

/* The block begins with an operation of the warp. Code goes on for lanes that have its result. */
static void emit_sync(struct sched *s, LLVMBasicBlockRef tail)
{
	struct emit *e = s->e;
	const struct ir_insn *in = e->insn;
	LLVMBasicBlockRef met = emit_bb(e, "met"), come = emit_bb(e, "come"), together = emit_bb(e, "together"), apart = emit_bb(e, "apart"),
			  rest = emit_bb(e, "rest");
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef value = NULL, b = NULL, c = NULL, members;

	LLVMBuildCondBr(e->b, is_true(e, get(s, s->met)), met, come);
	LLVMPositionBuilderAtEnd(e->b, met);
	set_number(s, s->met, 0);
	if (in->nr_dst) {
		value = get(s, s->value);
		emit_set(e, 0, in->type == IR_PRED ? is_true(e, value) : value);
	}
	if (in->nr_dst > 1)
		emit_set(e, 1, is_true(e, get(s, s->c)));
	emit_regs_flush(e);
	LLVMBuildBr(e->b, rest);

	LLVMPositionBuilderAtEnd(e->b, come);
	members = emit_src(e, in->nr_src - 1u, 32);
	if (in->op == IR_vote)
		value = LLVMBuildZExt(e->b, emit_psrc(e, 0), i32, "");
	if (in->op == IR_shfl) {
		value = emit_src(e, 0, 32);
		b = emit_src(e, 1, 32);
		c = emit_src(e, 2, 32);
	}
	/* the usual case: all that live are here */
	LLVMBuildCondBr(e->b, is_equal(e, s->here, s->alive), together, apart);
	LLVMPositionBuilderAtEnd(e->b, apart);
	set_number(s, s->key, sync_key(in));
	set_number(s, s->line, in->line);
	set(s, s->members, members);
	if (in->op != IR_warpsync)
		set(s, s->value, value);
	if (in->op == IR_shfl) {
		set(s, s->b, b);
		set(s, s->c, c);
	}
	set_number(s, s->mode, BLOCKED);
	set_number(s, s->look, 1);
	LLVMBuildBr(e->b, tail);

	LLVMPositionBuilderAtEnd(e->b, together);
	emit_gpu_insn(e);
	emit_regs_flush(e);
	LLVMBuildBr(e->b, rest);
	LLVMPositionBuilderAtEnd(e->b, rest);
}

/* ---- barriers ---- */

static bool begins_with_sync(const struct ir_block *b)
{
	return ir_op_desc[b->insn[0].op].flags & IR_F_SYNC;
}

static const struct ir_insn *bar_red_of(const struct ir_block *b)
{
	return b->nr_insns > 1 && b->insn[b->nr_insns - 2].op == IR_bar_red ? &b->insn[b->nr_insns - 2] : NULL;
}

static uint32_t nr_arrives(const struct ir_block *b)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < b->nr_insns; i++)
		nr += b->insn[i].op == IR_bar_arrive;
	return nr;
}

/* The program counter of what follows a block's bar_red. */
static uint32_t after_red(const struct sched *s, uint32_t b)
{
	return s->entry[b] + 1 + nr_arrives(&s->e->fn->block[b]);
}

/* A whole warp counts as 32 threads, also where some of its lanes have ended or never were. All i32. */
static LLVMValueRef counted(struct emit *e, LLVMValueRef alive, LLVMValueRef lanes)
{
	LLVMValueRef whole = and(e, is_zero(e, and(e, alive, not(e, lanes))), is_true(e, lanes));

	return emit_select(e, whole, emit_i32(e, HG_WARP), emit_call1(e, "llvm.ctpop", lanes));
}

/* bar_arrive: lanes that are counted before they go on at `pc`. */
static void emit_bar_arrive(struct sched *s, uint32_t pc)
{
	struct emit *e = s->e;
	LLVMValueRef id = emit_src(e, 0, 32), count = emit_src(e, 1, 32);
	struct emit_gpu_guard guard;

	set_number(s, s->pc, pc);
	guard = emit_gpu_guard_begin(e);
	emit_gpu_barrier_check(e, id, count, true);
	emit_gpu_fence(e, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingRelease);
	set(s, s->id, id);
	set(s, s->count, count);
	set_number(s, s->pred, 0);
	set_number(s, s->red, 0);
	set_number(s, s->goes_on, 1);
	set_number(s, s->mode, ARRIVING);
	emit_gpu_guard_end(e, &guard, NULL, 0);
	emit_regs_flush(e);
}

/* A barrier that lanes wait at ends the block. */
static void emit_wait(struct sched *s, const struct ir_insn *jump)
{
	struct emit *e = s->e;
	const struct ir_insn *in = e->insn;
	LLVMValueRef id = emit_src(e, 0, 32), count = emit_src(e, 1, 32), pred = in->op == IR_bar_red ? emit_psrc(e, 2) : NULL;

	emit_gpu_barrier_check(e, id, count, false);
	emit_gpu_fence(e, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingRelease);
	set(s, s->id, id);
	set(s, s->count, count);
	set(s, s->pred, pred ? LLVMBuildZExt(e->b, pred, emit_scalar_int(e, 32), "") : emit_i32(e, 0));
	set_number(s, s->red, pred != NULL);
	set_number(s, s->goes_on, 0);
	set_number(s, s->pc, pred ? after_red(s, e->block) : s->entry[jump->target[0]]);
	set_number(s, s->mode, ARRIVING);
	emit_regs_flush(e);
}

static LLVMValueRef came_at(struct sched *s, LLVMValueRef id)
{
	struct emit *e = s->e;
	LLVMValueRef index = LLVMBuildShl(e->b, and(e, id, emit_i32(e, 15)), emit_i32(e, 2), "");

	return LLVMBuildInBoundsGEP2(e->b, emit_scalar_int(e, 8), s->came, &index, 1, "");
}

/*
 * What lanes `now` of a warp add to a barrier's count: with those that came before in this turn they may be a whole warp. If one of them
 * comes once more, those before are counted for good.
 */
static LLVMValueRef units_of(struct sched *s, const struct group *g, LLVMValueRef id, LLVMValueRef alive, LLVMValueRef now)
{
	struct emit *e = s->e;
	LLVMValueRef at = came_at(s, id), turn = read_lane(e, emit_gpu_barrier_turn(e, id), g->first), last, before, more;

	last = LLVMBuildLoad2(e->b, emit_scalar_int(e, 32), at, "");
	before = warp_lanes(s, g, is_equal(e, last, LLVMBuildAdd(e->b, turn, emit_i32(e, 1), "")));
	more = is_true(e, and(e, before, now));
	before = emit_select(e, more, emit_i32(e, 0), before);
	LLVMBuildStore(e->b, emit_select(e, and(e, more, g->near), emit_i32(e, 0), last), at);
	return LLVMBuildSub(e->b, counted(e, alive, LLVMBuildOr(e->b, before, now, "")), counted(e, alive, before), "");
}

/* All lanes: those that came to a barrier are counted. */
static void emit_arrivals(struct sched *s)
{
	struct emit *e = s->e;
	LLVMValueRef key[] = { s->id, s->count, s->red }, of[3], alive, now, turn, units, nr_true, phi, v[2];
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMBasicBlockRef before, from, on, no_red;
	struct group g;

	set(s, s->pending, LLVMBuildZExt(e->b, is_mode(s, ARRIVING), i32, ""));
	g = group_begin(s, key, of, 3);
	alive = warp_lanes(s, &g, lives(s));
	now = warp_lanes(s, &g, g.in);
	nr_true = emit_call1(e, "llvm.ctpop", warp_lanes(s, &g, and(e, g.in, is_true(e, get(s, s->pred)))));
	units = s->came ? units_of(s, &g, of[0], alive, now) : emit_call1(e, "llvm.ctpop", now);
	before = LLVMGetInsertBlock(e->b);
	on = begin_if(e, is_equal(e, e->gpu->wave_lane, g.first), "one");
	no_red = begin_if(e, is_true(e, of[2]), "red");
	emit_gpu_barrier_add(e, of[0], emit_gpu_barrier_turn(e, of[0]), nr_true, emit_call1(e, "llvm.ctpop", now));
	end_if(e, no_red);
	turn = emit_gpu_barrier_arrive(e, of[0], of[1], emit_call1(e, "llvm.ctpop", now), units);
	from = LLVMGetInsertBlock(e->b);
	end_if(e, on);
	phi = LLVMBuildPhi(e->b, i32, "");
	v[0] = emit_i32(e, 0);
	v[1] = turn;
	LLVMAddIncoming(phi, v, (LLVMBasicBlockRef[]){ before, from }, 2);
	turn = read_lane(e, phi, g.first);
	set_if(s, g.in, s->turn, turn);
	if (s->came)
		set_if(s, g.in, came_at(s, of[0]), LLVMBuildAdd(e->b, turn, emit_i32(e, 1), ""));
	turn = emit_select(e, is_true(e, get(s, s->goes_on)), emit_i32(e, RUN), emit_i32(e, WAITING));
	set_if(s, g.in, s->mode, turn);
	group_end(s, &g);
}

/* All lanes: those at a barrier that has opened go on. */
static void emit_poll(struct sched *s)
{
	struct emit *e = s->e;
	LLVMBasicBlockRef on = begin_if(e, is_mode(s, WAITING), "poll");
	LLVMValueRef open = emit_gpu_barrier_open(e, get(s, s->id), get(s, s->count), get(s, s->turn));

	set(s, s->mode, emit_select(e, open, emit_i32(e, RUN), emit_i32(e, WAITING)));
	end_if(e, on);
	emit_gpu_fence(e, EMIT_SCOPE_BLOCK, LLVMAtomicOrderingAcquire);
}

/* ---- blocks ---- */

/* The lane goes on at `target`; a loop that waits lets others go first. */
static LLVMValueRef mode_at(struct sched *s, uint32_t target)
{
	return emit_i32(s->e, s->e->info->spin[s->e->block] && target <= s->e->block ? TIRED : RUN);
}

static void emit_jump(struct sched *s)
{
	struct emit *e = s->e;
	const struct ir_insn *in = e->insn;
	LLVMValueRef pc = emit_i32(e, s->entry[ir_target(in, 0)]), mode = mode_at(s, ir_target(in, 0)), c, index;

	switch (in->op) {
	case IR_cbra:
		c = emit_psrc(e, 0);
		pc = emit_select(e, c, pc, emit_i32(e, s->entry[in->target[1]]));
		mode = emit_select(e, c, mode, mode_at(s, in->target[1]));
		break;
	case IR_brx:
		index = emit_src(e, 0, 32);
		emit_gpu_fail(e, LLVMBuildICmp(e->b, LLVMIntUGE, index, emit_i32(e, in->nr_targets), ""), HG_GPU_BAD_INDEX,
			      emit_resize(e, index, 64, false));
		for (uint32_t i = 1; i < in->nr_targets; i++) {
			c = is_equal(e, index, emit_i32(e, i));
			pc = emit_select(e, c, emit_i32(e, s->entry[in->targets[i]]), pc);
			mode = emit_select(e, c, mode_at(s, in->targets[i]), mode);
		}
		break;
	default:
		break;
	}
	set(s, s->pc, pc);
	set(s, s->mode, mode);
	emit_regs_flush(e);
}

/* What failed in the block, from emit_gpu_fail: is told later, by all lanes that fail. */
static void keep_fault(struct sched *s, LLVMBasicBlockRef tail)
{
	struct emit *e = s->e;

	if (!e->gpu->fault)
		return;
	LLVMPositionBuilderAtEnd(e->b, e->gpu->fault);
	set(s, s->kind, e->gpu->fault_kind);
	set(s, s->fault_line, e->gpu->fault_line);
	set(s, s->fault_addr, e->gpu->fault_addr);
	set_number(s, s->mode, FAILED);
	LLVMBuildBr(e->b, tail);
	e->gpu->fault = NULL;
	s->fails = true;
}

static void emit_ended(struct sched *s)
{
	set_number(s, s->mode, ENDED);
	set_number(s, s->look, 1);
	if (s->barriers)
		emit_gpu_barrier_exit(s->e);
}

/* A case of the switch: lanes that are at `pc` run `body`, and go to the block that this gives. */
static LLVMBasicBlockRef begin_case(struct sched *s, uint32_t pc, LLVMBasicBlockRef body)
{
	struct emit *e = s->e;
	LLVMBasicBlockRef entry = emit_bb(e, "entry"), tail = emit_bb(e, "tail");

	LLVMAddCase(s->dispatch, emit_i32(e, pc), entry);
	LLVMPositionBuilderAtEnd(e->b, entry);
	LLVMBuildCondBr(e->b, s->mine, body, tail);
	LLVMPositionBuilderAtEnd(e->b, body);
	return tail;
}

static void end_case(struct sched *s, LLVMBasicBlockRef tail)
{
	LLVMBuildBr(s->e->b, tail);
	keep_fault(s, tail);
	LLVMPositionBuilderAtEnd(s->e->b, tail);
	LLVMBuildBr(s->e->b, s->join);
}

static void emit_block(struct sched *s, uint32_t b)
{
	struct emit *e = s->e;
	const struct ir_block *blk = &e->fn->block[b];
	uint32_t pc = s->entry[b];
	LLVMBasicBlockRef tail = begin_case(s, pc, e->bb[b]);

	e->block = b;
	for (uint32_t i = 0; i < blk->nr_insns && !e->st; i++) {
		const struct ir_insn *in = &blk->insn[i];

		e->insn = in;
		if (i == 0 && begins_with_sync(blk)) {
			emit_sync(s, tail);
		} else if (ir_op_desc[in->op].flags & IR_F_BARRIER) {
			emit_wait(s, &blk->insn[i + 1]);
			break;
		} else if (in->op == IR_bar_arrive) {
			emit_bar_arrive(s, ++pc);
			end_case(s, tail);
			tail = begin_case(s, pc, emit_bb(e, "arrived"));
		} else if (in->op == IR_exit) {
			emit_regs_flush(e);
			emit_ended(s);
		} else if (ir_op_desc[in->op].flags & IR_F_TERM) {
			emit_jump(s);
		} else {
			emit_gpu_insn(e);
		}
	}
	end_case(s, tail);
}

/* Where lanes have the result of a bar_red. */
static void emit_after_red(struct sched *s, uint32_t b)
{
	struct emit *e = s->e;
	const struct ir_block *blk = &e->fn->block[b];
	LLVMBasicBlockRef tail = begin_case(s, after_red(s, b), emit_bb(e, "reduced"));

	e->block = b;
	e->insn = bar_red_of(blk);
	emit_set(e, 0, emit_gpu_barrier_result(e, get(s, s->id), get(s, s->turn)));
	set_number(s, s->pc, s->entry[blk->insn[blk->nr_insns - 1].target[0]]);
	emit_regs_flush(e);
	end_case(s, tail);
}

/* ---- the loop ---- */

/* All lanes: the lowest program counter of those that may run. Without any, to `idle`. */
static void emit_pick(struct sched *s, LLVMBasicBlockRef idle)
{
	struct emit *e = s->e;
	LLVMBasicBlockRef pick = emit_bb(e, "pick"), nowhere = emit_bb(e, "nowhere");
	LLVMValueRef low = emit_i32(e, 0), pc;
	unsigned int bits = 0;

	LLVMPositionBuilderAtEnd(e->b, s->loop);
	s->mine = is_mode(s, RUN);
	LLVMBuildCondBr(e->b, any_lane(e, s->mine), pick, idle);
	LLVMPositionBuilderAtEnd(e->b, pick);
	pc = get(s, s->pc);
	while (s->nr_entries > UINT32_C(1) << bits)
		bits++;
	while (bits-- > 0) {
		LLVMValueRef zero = and(e, s->mine, is_zero(e, and(e, pc, emit_i32(e, UINT32_C(1) << bits)))), any = any_lane(e, zero);

		s->mine = emit_select(e, any, zero, s->mine);
		low = LLVMBuildOr(e->b, low, emit_select(e, any, emit_i32(e, 0), emit_i32(e, UINT32_C(1) << bits)), "");
	}
	if (s->syncs) {
		s->here = emit_gpu_ballot(e, and(e, s->mine, is_zero(e, get(s, s->met))));
		s->alive = emit_gpu_ballot(e, lives(s));
	}
	s->dispatch = LLVMBuildSwitch(e->b, low, nowhere, s->nr_entries);
	LLVMPositionBuilderAtEnd(e->b, nowhere);
	LLVMBuildUnreachable(e->b);
}

/* All lanes: none may run. */
static void emit_idle(struct sched *s, LLVMBasicBlockRef idle)
{
	struct emit *e = s->e;
	LLVMBasicBlockRef some = emit_bb(e, "some"), wait = emit_bb(e, "wait");
	LLVMValueRef fault;

	LLVMPositionBuilderAtEnd(e->b, idle);
	LLVMBuildCondBr(e->b, any_lane(e, lives(s)), some, e->gpu->leave);
	LLVMPositionBuilderAtEnd(e->b, some);
	/* something failed: who is waited for may have */
	fault = LLVMBuildZExt(e->b, emit_gpu_has_fault(e), emit_scalar_int(e, 32), "");
	fault = e->gpu->isa->first(e, fault);
	LLVMBuildCondBr(e->b, is_zero(e, fault), wait, e->gpu->leave);
	LLVMPositionBuilderAtEnd(e->b, wait);
	set_if(s, is_mode(s, TIRED), s->mode, emit_i32(e, RUN));
	if (s->syncs) {
		/* lanes of a warp that nothing can wake any more */
		LLVMValueRef blocked = is_mode(s, BLOCKED), others = and(e, lives(s), not(e, blocked)), lost;

		lost = and(e, blocked, is_zero(e, emit_gpu_ballot(e, others)));
		set_if(s, lost, s->kind, emit_i32(e, HG_GPU_DEADLOCK));
		set_if(s, lost, s->fault_line, get(s, s->line));
		set_if(s, lost, s->fault_addr, emit_i64(e, 0));
		set_if(s, lost, s->mode, emit_i32(e, FAILED));
	}
	if (s->barriers)
		emit_poll(s);
	e->gpu->isa->sleep(e, 1);
	LLVMBuildBr(e->b, s->join);
}

/* All lanes: those that failed say so, and all of their warp end. emit_gpu_kernel makes the block `fault`. */
static void emit_failures(struct sched *s)
{
	struct emit *e = s->e;
	struct emit_gpu *g = e->gpu;
	LLVMBasicBlockRef tell = emit_bb(e, "failed"), told = emit_bb(e, "told"), others = emit_bb(e, "others");
	LLVMBasicBlockRef on = begin_if(e, any_lane(e, is_mode(s, FAILED)), "failures");
	LLVMValueRef warp = emit_gpu_ballot(e, is_mode(s, FAILED));

	LLVMBuildCondBr(e->b, is_mode(s, FAILED), tell, others);
	LLVMPositionBuilderAtEnd(e->b, tell);
	g->fault_kind = get(s, s->kind);
	g->fault_line = get(s, s->fault_line);
	g->fault_addr = get(s, s->fault_addr);
	g->fault = tell;
	LLVMPositionBuilderAtEnd(e->b, others);
	LLVMBuildCondBr(e->b, and(e, is_true(e, warp), lives(s)), g->end, told);
	LLVMPositionBuilderAtEnd(e->b, g->end);
	emit_ended(s);
	LLVMBuildBr(e->b, told);
	LLVMPositionBuilderAtEnd(e->b, told);
	LLVMBuildBr(e->b, on);
	LLVMPositionBuilderAtEnd(e->b, on);
}

static void emit_join(struct sched *s)
{
	struct emit *e = s->e;
	LLVMBasicBlockRef on;

	LLVMPositionBuilderAtEnd(e->b, s->join);
	if (s->fails)
		emit_failures(s);
	if (s->syncs) {
		on = begin_if(e, any_lane(e, is_true(e, get(s, s->look))), "meet");
		emit_meet(s);
		end_if(e, on);
	}
	if (s->barriers) {
		on = begin_if(e, any_lane(e, is_mode(s, ARRIVING)), "arrivals");
		emit_arrivals(s);
		end_if(e, on);
	}
	LLVMBuildBr(e->b, s->loop);
}

/*
 * Every block can follow every other, so that each register that crosses blocks, kept as a value, is a phi for each of them in the
 * loop. Beyond so many of these registers are in memory. LLVM must not see through to their places: it would make values of them again.
 */
#define MANY_PHIS 1500u

/* Blocks that are cut in two: what a warp operation at the beginning gives crosses, and whatever may be alive at a bar_arrive. */
static void find_crossing(struct emit *e, const struct ir_block *b)
{
	for (uint32_t i = 0; i < b->nr_insns; i++) {
		const struct ir_insn *in = &b->insn[i];

		for (unsigned int d = 0; ((i == 0 && begins_with_sync(b)) || nr_arrives(b)) && d < in->nr_dst; d++)
			if (in->dst[d] != IR_NO_REG)
				e->info->crosses[in->dst[d]] = true;
	}
}

void emit_gpu_sched_registers(struct emit *e)
{
	uint32_t nr = 0, at = 0;
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef area;

	for (uint32_t b = 0; b < e->fn->nr_blocks; b++)
		find_crossing(e, &e->fn->block[b]);
	for (uint32_t r = 0; r < e->fn->nr_regs; r++)
		nr += e->info->crosses[r];
	if ((uint64_t)nr * e->fn->nr_blocks <= MANY_PHIS)
		return;
	e->in_spill = true;
	for (uint32_t r = 0; r < e->fn->nr_regs; r++)
		if (e->info->crosses[r])
			at += (ir_type_bits(e->fn->reg_type[r]) + 31) / 32 * 4;
	area = LLVMBuildAlloca(e->b, LLVMArrayType2(emit_scalar_int(e, 8), at), "registers");
	LLVMSetAlignment(area, 16);
	if (e->gpu->isa->hides_slots)
		area = LLVMBuildPtrToInt(e->b, area, i32, "");
	at = 0;
	for (uint32_t r = 0; r < e->fn->nr_regs; r++) {
		if (!e->info->crosses[r])
			continue;
		if (e->gpu->isa->hides_slots) {
			e->slot[r] = LLVMBuildAdd(e->b, area, emit_i32(e, at), "");
			e->slot[r] = LLVMBuildIntToPtr(e->b, e->slot[r], emit_gpu_ptr(e, EMIT_AS_PRIVATE), "");
		} else {
			e->slot[r] = emit_at(e, area, at);
		}
		at += (ir_type_bits(e->fn->reg_type[r]) + 31) / 32 * 4;
	}
}

static LLVMValueRef variable(struct sched *s, unsigned int bits)
{
	LLVMTypeRef t = emit_scalar_int(s->e, bits);
	LLVMValueRef v = LLVMBuildAlloca(s->e->b, t, "");

	LLVMBuildStore(s->e->b, LLVMConstNull(t), v);
	return v;
}

/* In the entry block, where allocas are registers. All are zeros: RUN, at the first block. */
static void add_variables(struct sched *s)
{
	LLVMValueRef *const all[] = { &s->pc, &s->mode, &s->look, &s->line, &s->key, &s->members, &s->value, &s->b, &s->c, &s->met,
				      &s->id, &s->count, &s->pred, &s->red, &s->turn, &s->goes_on, &s->kind, &s->fault_line, &s->pending };
	LLVMBasicBlockRef here = LLVMGetInsertBlock(s->e->b);

	LLVMPositionBuilderBefore(s->e->b, LLVMGetBasicBlockTerminator(s->e->entry));
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		*all[i] = variable(s, 32);
	s->fault_addr = variable(s, 64);
	if (s->counts) {
		s->came = LLVMBuildAlloca(s->e->b, LLVMArrayType2(emit_scalar_int(s->e, 8), 64), "came");
		LLVMSetAlignment(s->came, 4);
		for (uint64_t i = 0; i < 16; i++)
			emit_store(s->e, emit_i32(s->e, 0), emit_at(s->e, s->came, i * 4), 4);
	}
	LLVMPositionBuilderAtEnd(s->e->b, here);
}

static bool is_barrier(const struct ir_insn *in)
{
	return in->op == IR_bar_sync || in->op == IR_bar_red || in->op == IR_bar_arrive;
}

static bool counts_threads(const struct ir_insn *in)
{
	return is_barrier(in) && (in->src[1].kind != IR_OPD_IMM || (uint32_t)in->src[1].imm);
}

bool emit_gpu_has_barriers(const struct ir_func *fn)
{
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++)
			if (is_barrier(&fn->block[b].insn[i]))
				return true;
	return false;
}

static void look_around(struct sched *s)
{
	const struct ir_func *fn = s->e->fn;

	for (uint32_t b = 0; b < fn->nr_blocks; b++) {
		const struct ir_insn *first = &fn->block[b].insn[0];

		s->entry[b] = s->nr_entries++;
		s->nr_entries += nr_arrives(&fn->block[b]) + (bar_red_of(&fn->block[b]) != NULL);
		s->syncs |= begins_with_sync(&fn->block[b]);
		s->votes |= first->op == IR_vote;
		s->shuffles |= first->op == IR_shfl;
	}
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++)
			s->counts |= counts_threads(&fn->block[b].insn[i]);
	s->barriers = emit_gpu_has_barriers(fn);
	s->fails = s->syncs;
}

void emit_gpu_scheduled(struct emit *e)
{
	struct sched s = { .e = e, .entry = calloc((size_t)e->fn->nr_blocks + 1, sizeof(*s.entry)) };
	LLVMBasicBlockRef idle;

	if (!s.entry) {
		e->st = HG_ERR_NOMEM;
		return;
	}
	look_around(&s);
	add_variables(&s);
	s.loop = emit_bb(e, "loop");
	s.join = emit_bb(e, "join");
	idle = emit_bb(e, "idle");
	LLVMBuildBr(e->b, s.loop);
	emit_pick(&s, idle);
	for (uint32_t b = 0; b < e->fn->nr_blocks && !e->st; b++) {
		emit_block(&s, b);
		if (bar_red_of(&e->fn->block[b]) && !e->st)
			emit_after_red(&s, b);
	}
	if (!e->st) {
		emit_idle(&s, idle);
		emit_join(&s);
		if (!s.fails)
			LLVMDeleteBasicBlock(e->gpu->end);
	}
	free(s.entry);
}
