/* simt_wave.c - code of one lane becomes that of a wave: lanes go from place to place together. */
#include "tests/drivers/simt/simt_wave.h"

#include <stdlib.h>
#include <string.h>

#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "tests/drivers/simt/simt_wave_cfg.h"

/*
 * Places are the beginning (0), operations of lanes, and the ends of loops that contain one, or that may wait for memory. They are
 * numbered in the order of simt_wave_cfg.h. Between places a lane runs by itself: as all branches lead to later places, except at
 * the ends of loops, it is at the same one at the same time as if it had kept step with the others.
 *
 * The wave's function: pick a group (simt_wave_next); if its place is an operation, do that on the frames of all lanes of
 * the group; then, for each lane, the code from there until the next place, whose number the lane leaves behind.
 */
typedef LLVMValueRef V;

#define MAX_STACK_FRAMES (40u << 10)	/* larger ones are memory of their own */
#define MAX_FRAMES (1u << 30)

struct slot {
	V var;			/* an alloca */
	bool is_plain;		/* of whole loads and stores: can be told when it matters */
	bool in_frame;
	uint32_t offset;
};

/* A number that lanes leave behind. */
struct place {
	const struct lane_op *op;	/* or NULL */
	uint32_t loop;			/* its end, or CFG_NONE: a block that follows an operation, or a loop that may wait */
	LLVMBasicBlockRef to, leave;	/* where lanes go on; where they come to */
};

struct wave {
	struct lane_code *l;
	struct cfg g;
	LLVMBasicBlockRef *spin;	/* headers of loops that may wait for memory */
	uint32_t nr_spin;
	bool *has_place;		/* of loops: their ends */
	bool *is_exit;			/* of blocks: where lanes go that leave a loop that may wait */
	uint32_t *op_at;		/* of blocks: the operation it begins behind, or CFG_NONE */
	struct place *place;
	uint32_t nr_places;
	struct slot *slot;
	uint32_t nr_slots;
	uint32_t stride;
	enum hg_status st;
	/* the wave's function */
	V f, w, frames, pc;
	LLVMBasicBlockRef start, dispatch, lanes, next_lane, lane_done, end;
};

/* ---- loops that may wait for memory ---- */

struct slice {
	const struct cfg *g;
	uint32_t loop;
	V *list;
	size_t nr, cap;
	V *seen;		/* open addressing */
	size_t seen_size;
	enum hg_status st;
};

static void slice_add(struct slice *s, V v)
{
	size_t i;
	uint32_t b;

	if (!LLVMIsAInstruction(v) || s->st)
		return;
	b = cfg_block(s->g, LLVMGetInstructionParent(v));
	if (b == CFG_NONE || !cfg_in_loop(s->g, b, s->loop))
		return;
	for (i = ((uintptr_t)v >> 4) & (s->seen_size - 1); s->seen[i]; i = (i + 1) & (s->seen_size - 1))
		if (s->seen[i] == v)
			return;
	if (2 * s->nr >= s->seen_size) {
		s->st = HG_ERR_NOMEM;
		return;
	}
	s->seen[i] = v;
	s->list[s->nr++] = v;
}

/* What decides about leaving a block. */
static void slice_add_branch(struct slice *s, uint32_t block)
{
	V end = LLVMGetBasicBlockTerminator(s->g->bb[block]);

	if (LLVMGetNumSuccessors(end) > 1)
		slice_add(s, LLVMGetOperand(end, 0));
}

/* What somebody else may change while the loop runs. */
static bool reads_shared(V i)
{
	switch (LLVMGetInstructionOpcode(i)) {
	case LLVMAtomicRMW: case LLVMAtomicCmpXchg: return true;
	case LLVMLoad: return LLVMGetVolatile(i) || LLVMGetOrdering(i) != LLVMAtomicOrderingNotAtomic;
	default: return false;
	}
}

/* What a lane's variable may hold; if an operation of lanes put it there, what that was made of. */
static void slice_add_stores(struct slice *s, const struct lane_code *l, V var)
{
	for (LLVMUseRef u = LLVMGetFirstUse(var); u; u = LLVMGetNextUse(u))
		if (LLVMIsAStoreInst(LLVMGetUser(u)))
			slice_add(s, LLVMGetOperand(LLVMGetUser(u), 0));
	for (size_t i = 0; i < l->nr_ops; i++)
		if (l->op[i].out == var)
			for (int k = 0; k < 3; k++)
				if (l->op[i].in[k])
					slice_add_stores(s, l, l->op[i].in[k]);
}

static size_t loop_size(const struct cfg *g, uint32_t loop)
{
	size_t nr = 0;

	for (uint32_t i = 0; i < g->loop[loop].nr_blocks; i++)
		for (V v = LLVMGetFirstInstruction(g->bb[g->loop[loop].block[i]]); v; v = LLVMGetNextInstruction(v))
			nr++;
	return nr;
}

/* Whether its end depends on what it reads of others; or it has none, and reads. */
static bool may_wait(struct wave *w, uint32_t loop)
{
	const struct cfg *g = &w->g;
	const struct cfg_loop *at = &g->loop[loop];
	bool has_exit = false, reads = false, found = false, branches = false;
	struct slice s = { .g = g, .loop = loop };
	size_t size = loop_size(g, loop);

	for (uint32_t i = 0; i < at->nr_blocks && !reads; i++)
		for (V v = LLVMGetFirstInstruction(g->bb[at->block[i]]); v && !reads; v = LLVMGetNextInstruction(v))
			reads = reads_shared(v);
	if (!reads)
		return false;
	for (s.seen_size = 64; s.seen_size < 4 * size; s.seen_size *= 2)
		;
	s.list = malloc((size + 1) * sizeof(V));
	s.seen = calloc(s.seen_size, sizeof(V));
	if (!s.list || !s.seen) {
		w->st = HG_ERR_NOMEM;
		goto out;
	}
	for (uint32_t i = 0; i < at->nr_blocks; i++)
		for (uint32_t e = g->first_succ[at->block[i]]; e < g->first_succ[at->block[i] + 1]; e++)
			if (!cfg_in_loop(g, g->succ[e], loop)) {
				has_exit = true;
				slice_add_branch(&s, at->block[i]);
			}
	for (size_t i = 0; i < s.nr && !found; i++) {
		V v = s.list[i];

		found = reads_shared(v);
		if (LLVMIsALoadInst(v) && LLVMIsAAllocaInst(LLVMGetOperand(v, 0)))
			slice_add_stores(&s, w->l, LLVMGetOperand(v, 0));
		else if (LLVMIsALoadInst(v) && LLVMGetPointerAddressSpace(LLVMTypeOf(LLVMGetOperand(v, 0))) == w->l->words->private_space)
			found = true;	/* memory of the lane's own: whatever it put there */
		if (LLVMGetInstructionOpcode(v) != LLVMPHI) {
			for (int o = 0; o < LLVMGetNumOperands(v); o++)
				if (!LLVMValueIsBasicBlock(LLVMGetOperand(v, (unsigned int)o)))
					slice_add(&s, LLVMGetOperand(v, (unsigned int)o));
			continue;
		}
		for (unsigned int o = 0; o < LLVMCountIncoming(v); o++)
			slice_add(&s, LLVMGetIncomingValue(v, o));
		/* which of them it is, branches decide */
		if (!branches && LLVMGetInstructionParent(v) != g->bb[at->header]) {
			branches = true;
			for (uint32_t b = 0; b < at->nr_blocks; b++)
				slice_add_branch(&s, at->block[b]);
		}
	}
	if (s.st)
		w->st = s.st;
out:
	free(s.list);
	free(s.seen);
	return found || !has_exit;
}

static void find_spins(struct wave *w)
{
	w->spin = calloc(w->g.nr_loops + 1, sizeof(LLVMBasicBlockRef));
	if (!w->spin) {
		w->st = HG_ERR_NOMEM;
		return;
	}
	for (uint32_t i = 0; i < w->g.nr_loops; i++)
		if (may_wait(w, i))
			w->spin[w->nr_spin++] = w->g.bb[w->g.loop[i].header];
}

static bool is_spin(const struct wave *w, uint32_t loop)
{
	for (uint32_t i = 0; i < w->nr_spin; i++)
		if (w->spin[i] == w->g.bb[w->g.loop[loop].header])
			return true;
	return false;
}

/* ---- places ---- */

static void visit(uint32_t block, uint32_t loop, void *arg)
{
	struct wave *w = arg;
	struct place *p = &w->place[w->nr_places];

	if (loop != CFG_NONE) {
		if (!w->has_place[loop])
			return;
		*p = (struct place){ .loop = loop, .to = w->g.bb[w->g.loop[loop].header] };
	} else {
		if (block && w->op_at[block] == CFG_NONE && !w->is_exit[block])
			return;
		*p = (struct place){ .loop = CFG_NONE, .to = w->g.bb[block] };
		if (w->op_at[block] != CFG_NONE)
			p->op = &w->l->op[w->op_at[block]];
	}
	w->nr_places++;
}

/* Lanes that have left it wait for those that are still in it: they must not go on to what these wait for. */
static void find_exits(struct wave *w, uint32_t loop)
{
	const struct cfg *g = &w->g;

	for (uint32_t i = 0; i < g->loop[loop].nr_blocks; i++) {
		uint32_t b = g->loop[loop].block[i];

		for (uint32_t e = g->first_succ[b]; e < g->first_succ[b + 1]; e++)
			if (!cfg_in_loop(g, g->succ[e], loop))
				w->is_exit[g->succ[e]] = true;
	}
}

static void find_places(struct wave *w)
{
	w->has_place = calloc(w->g.nr_loops + 1, sizeof(bool));
	w->is_exit = calloc(w->g.nr + 1, sizeof(bool));
	w->op_at = malloc((w->g.nr + 1) * sizeof(uint32_t));
	w->place = calloc(w->g.nr_loops + w->g.nr + 1, sizeof(*w->place));
	if (!w->has_place || !w->is_exit || !w->op_at || !w->place) {
		w->st = HG_ERR_NOMEM;
		return;
	}
	memset(w->op_at, 0xff, (w->g.nr + 1) * sizeof(uint32_t));
	for (uint32_t i = 0; i < w->l->nr_ops; i++) {
		uint32_t b = cfg_block(&w->g, w->l->op[i].block);

		if (b == CFG_NONE)
			continue;
		w->op_at[b] = i;
		for (uint32_t loop = w->g.loop_of[b]; loop != CFG_NONE; loop = w->g.loop[loop].parent)
			w->has_place[loop] = true;
	}
	for (uint32_t i = 0; i < w->g.nr_loops; i++)
		if (is_spin(w, i)) {
			w->l->waits = true;
			find_exits(w, i);
			for (uint32_t loop = i; loop != CFG_NONE; loop = w->g.loop[loop].parent)
				w->has_place[loop] = true;
		}
	w->st = cfg_walk(&w->g, visit, w);
}

/* ---- what lanes remember from one place to the next ---- */

static int by_value(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct slot *)a)->var, y = (uintptr_t)((const struct slot *)b)->var;

	return x < y ? -1 : x > y;
}

static struct slot *slot_of(const struct wave *w, V var)
{
	struct slot key = { .var = var };

	return LLVMIsAAllocaInst(var) ? bsearch(&key, w->slot, w->nr_slots, sizeof(key), by_value) : NULL;
}

static bool is_plain(const struct wave *w, V var)
{
	LLVMTypeRef type = LLVMGetAllocatedType(var);
	LLVMTypeKind kind = LLVMGetTypeKind(type);

	if (kind == LLVMArrayTypeKind || kind == LLVMStructTypeKind)
		return false;
	for (LLVMUseRef u = LLVMGetFirstUse(var); u; u = LLVMGetNextUse(u)) {
		V user = LLVMGetUser(u);
		bool load = LLVMIsALoadInst(user) && LLVMTypeOf(user) == type;
		bool store = LLVMIsAStoreInst(user) && LLVMGetOperand(user, 1) == var && LLVMGetOperand(user, 0) != var &&
			LLVMTypeOf(LLVMGetOperand(user, 0)) == type;

		if ((!load && !store) || LLVMGetVolatile(user) || LLVMGetOrdering(user) != LLVMAtomicOrderingNotAtomic)
			return false;
	}
	(void)w;
	return true;
}

static void find_slots(struct wave *w)
{
	uint32_t nr = 0;

	for (V i = LLVMGetFirstInstruction(w->l->entry); i; i = LLVMGetNextInstruction(i))
		nr += LLVMIsAAllocaInst(i) != NULL;
	w->slot = calloc(nr + 1, sizeof(*w->slot));
	if (!w->slot) {
		w->st = HG_ERR_NOMEM;
		return;
	}
	for (V i = LLVMGetFirstInstruction(w->l->entry); i; i = LLVMGetNextInstruction(i))
		if (LLVMIsAAllocaInst(i))
			w->slot[w->nr_slots++] = (struct slot){ .var = i, .is_plain = is_plain(w, i) };
	for (uint32_t i = 0; i < w->nr_slots; i++)
		w->slot[i].in_frame = !w->slot[i].is_plain;
	qsort(w->slot, w->nr_slots, sizeof(*w->slot), by_value);
	for (uint32_t p = 0; p < w->nr_places; p++) {
		const struct lane_op *op = w->place[p].op;

		if (!op)
			continue;
		if (op->out)
			slot_of(w, op->out)->in_frame = true;
		for (int i = 0; i < 3; i++)
			if (op->in[i])
				slot_of(w, op->in[i])->in_frame = true;
	}
}

static bool has(const uint64_t *set, uint32_t i)
{
	return set[i / 64] >> i % 64 & 1;
}

static void put(uint64_t *set, uint32_t i)
{
	set[i / 64] |= UINT64_C(1) << i % 64;
}

/* Those whose value may be asked for behind a place are in frames; others are no more than registers. */
static void find_live(struct wave *w)
{
	const struct cfg *g = &w->g;
	size_t words = w->nr_slots / 64 + 1, all = words * g->nr;
	uint64_t *in = calloc(2 * all, sizeof(*in)), *def = in + all;
	bool changed = true;

	if (!in) {
		w->st = HG_ERR_NOMEM;
		return;
	}
	for (uint32_t b = 0; b < g->nr; b++)
		for (V i = LLVMGetFirstInstruction(g->bb[b]); i; i = LLVMGetNextInstruction(i)) {
			struct slot *s;

			if (!LLVMIsALoadInst(i) && !LLVMIsAStoreInst(i))
				continue;
			s = slot_of(w, LLVMGetOperand(i, LLVMIsAStoreInst(i) ? 1 : 0));
			if (!s)
				continue;
			if (LLVMIsAStoreInst(i))
				put(def + words * b, (uint32_t)(s - w->slot));
			else if (!has(def + words * b, (uint32_t)(s - w->slot)))
				put(in + words * b, (uint32_t)(s - w->slot));
		}
	while (changed) {
		changed = false;
		for (uint32_t b = g->nr; b-- > 0;)
			for (uint32_t e = g->first_succ[b]; e < g->first_succ[b + 1]; e++)
				for (size_t k = 0; k < words; k++) {
					uint64_t more = in[words * g->succ[e] + k] & ~def[words * b + k] & ~in[words * b + k];

					in[words * b + k] |= more;
					changed |= more != 0;
				}
	}
	for (uint32_t p = 0; p < w->nr_places; p++) {
		const uint64_t *at = in + words * cfg_block(g, w->place[p].to);

		for (uint32_t i = 0; p && i < w->nr_slots; i++)
			w->slot[i].in_frame |= has(at, i);
	}
	free(in);
}

static void lay_out_frame(struct wave *w)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < w->nr_slots; i++) {
		struct slot *s = &w->slot[i];
		uint64_t size, align;

		if (!s->in_frame)
			continue;
		size = LLVMABISizeOfType(w->l->ours, LLVMGetAllocatedType(s->var));
		align = LLVMGetAlignment(s->var);
		if (align < LLVMABIAlignmentOfType(w->l->ours, LLVMGetAllocatedType(s->var)))
			align = LLVMABIAlignmentOfType(w->l->ours, LLVMGetAllocatedType(s->var));
		if (align > 64) {
			lane_refuse(w->l, "memory of a lane's own that is aligned to %llu", (unsigned long long)align);
			return;
		}
		at = (at + align - 1) / align * align;
		s->offset = (uint32_t)at;
		at += size;
		if (at * w->l->wave > MAX_FRAMES) {
			lane_refuse(w->l, "too much memory of a lane's own");
			return;
		}
	}
	w->stride = (uint32_t)((at + 63) / 64 * 64);
}

/* ---- the wave's function ---- */

static V field(struct wave *w, LLVMTypeRef type, V base, size_t offset)
{
	struct lane_code *l = w->l;

	return LLVMBuildLoad2(l->b, type, lane_at(l, base, LLVMConstInt(l->i64, offset, 0)), "");
}

static void set_field(struct wave *w, V base, size_t offset, V v)
{
	struct lane_code *l = w->l;

	LLVMBuildStore(l->b, v, lane_at(l, base, LLVMConstInt(l->i64, offset, 0)));
}

static V call(struct wave *w, const char *name, LLVMTypeRef ret, V *args, unsigned int nr)
{
	LLVMTypeRef types[8], type;
	V f = LLVMGetNamedFunction(w->l->m, name);

	for (unsigned int i = 0; i < nr; i++)
		types[i] = LLVMTypeOf(args[i]);
	type = LLVMFunctionType(ret, types, nr, 0);
	if (!f)
		f = LLVMAddFunction(w->l->m, name, type);
	return LLVMBuildCall2(w->l->b, type, f, args, nr, "");
}

static LLVMBasicBlockRef new_block(struct wave *w, const char *name)
{
	return LLVMAppendBasicBlockInContext(w->l->c, w->f, name);
}

/* Every lane has the same code and its own memory; where only one place is, one lane's will do for all. */
static uint32_t frames_bytes(const struct wave *w)
{
	return w->nr_places > 1 ? w->stride * w->l->wave : w->stride;
}

static void replace_param(struct wave *w, unsigned int i, V by)
{
	LLVMReplaceAllUsesWith(LLVMGetParam(w->l->f, i), by);
}

/* What all lanes know alike. */
static void build_start(struct wave *w)
{
	struct lane_code *l = w->l;
	V self = LLVMGetParam(w->f, 0), env, grid, lds, kernarg, args[5];
	uint32_t bytes = frames_bytes(w);

	LLVMPositionBuilderAtEnd(l->b, w->start);
	for (uint32_t i = 0; i < w->nr_slots; i++)
		if (!w->slot[i].in_frame) {
			LLVMInstructionRemoveFromParent(w->slot[i].var);
			LLVMInsertIntoBuilder(l->b, w->slot[i].var);
		}
	w->w = LLVMBuildAlloca(l->b, LLVMArrayType2(l->i8, sizeof(struct simt_wave)), "wave");
	LLVMSetAlignment(w->w, 64);
	if (bytes <= MAX_STACK_FRAMES) {
		w->frames = LLVMBuildAlloca(l->b, LLVMArrayType2(l->i8, bytes ? bytes : 1), "frames");
		LLVMSetAlignment(w->frames, 64);
	} else {
		l->local_bytes = bytes;
		w->frames = field(w, l->ptr, self, offsetof(struct simt_item, local));
	}
	args[0] = self;
	args[1] = w->w;
	args[2] = w->frames;
	args[3] = lane_i32(l, w->nr_places > 1 ? w->stride : 0);
	args[4] = lane_i32(l, l->wave);
	call(w, "simt_wave_begin", LLVMVoidTypeInContext(l->c), args, 5);
	env = field(w, l->ptr, self, offsetof(struct simt_item, env));
	grid = field(w, l->ptr, env, offsetof(struct simt_env, params));
	lds = LLVMBuildAddrSpaceCast(l->b, field(w, l->ptr, env, offsetof(struct simt_env, shared)), l->lds_ptr, "");
	kernarg = field(w, l->ptr, grid, offsetof(struct simt_wave_grid, kernarg));
	for (size_t i = 0; i < l->nr_args; i++) {
		const struct lane_arg *a = &l->arg[i];
		V at = lane_at(l, kernarg, LLVMConstInt(l->i64, a->offset, 0)), v;

		if (a->is_memory) {
			v = LLVMBuildAddrSpaceCast(l->b, at, a->type, "");
		} else if (LLVMGetTypeKind(a->type) == LLVMPointerTypeKind && LLVMGetPointerAddressSpace(a->type) == 3) {
			v = lane_at(l, lds, LLVMBuildZExt(l->b, LLVMBuildLoad2(l->b, l->i32, at, ""), l->i64, ""));
		} else {
			v = LLVMBuildLoad2(l->b, a->type, at, "");
			LLVMSetAlignment(v, a->align);
		}
		replace_param(w, (unsigned int)(NR_LANE_PARAMS + i), v);
	}
	replace_param(w, LANE_SELF, self);
	replace_param(w, LANE_WAVE, w->w);
	replace_param(w, LANE_LDS, lds);
	replace_param(w, LANE_LDS_BYTES, LLVMBuildZExt(l->b, field(w, l->i32, env, offsetof(struct simt_env, shared_bytes)), l->i64, ""));
	replace_param(w, LANE_KERNARG, kernarg);
	replace_param(w, LANE_FRAMES, w->frames);
	replace_param(w, LANE_FRAMES_BYTES, LLVMConstInt(l->i64, bytes, 0));
	LLVMBuildBr(l->b, w->nr_places > 1 ? w->dispatch : w->lanes);
}

static V slot_offset(const struct wave *w, V var)
{
	return lane_i32(w->l, var ? slot_of(w, var)->offset : 0);
}

static LLVMBasicBlockRef build_op(struct wave *w, const struct lane_op *op)
{
	struct lane_code *l = w->l;
	LLVMBasicBlockRef bb = new_block(w, "op");
	V args[8] = {
		w->w, lane_i32(l, op->op), lane_i32(l, op->size), LLVMConstInt(l->i64, op->imm, 0), slot_offset(w, op->out),
		slot_offset(w, op->in[0]), slot_offset(w, op->in[1]), slot_offset(w, op->in[2])
	};

	LLVMPositionBuilderAtEnd(l->b, bb);
	call(w, "simt_wave_op", LLVMVoidTypeInContext(l->c), args, 8);
	LLVMBuildBr(l->b, op->op == WAVE_ENDPGM ? w->dispatch : w->lanes);
	return bb;
}

/* Picks a group, and does what it does as one. */
static void build_dispatch(struct wave *w)
{
	struct lane_code *l = w->l;
	V to;

	LLVMPositionBuilderAtEnd(l->b, w->dispatch);
	w->pc = call(w, "simt_wave_next", l->i32, &w->w, 1);
	to = LLVMBuildSwitch(l->b, w->pc, w->lanes, w->nr_places + 1);
	LLVMAddCase(to, lane_i32(l, WAVE_ENDED), w->end);
	for (uint32_t p = 1; p < w->nr_places; p++) {
		const struct place *at = &w->place[p];

		if (at->op) {
			LLVMAddCase(to, lane_i32(l, p), build_op(w, at->op));
		} else if (at->loop != CFG_NONE && is_spin(w, at->loop)) {
			LLVMBasicBlockRef bb = new_block(w, "round");

			LLVMAddCase(to, lane_i32(l, p), bb);
			LLVMPositionBuilderAtEnd(l->b, bb);
			call(w, "simt_wave_round", LLVMVoidTypeInContext(l->c), &w->w, 1);
			LLVMBuildBr(l->b, w->lanes);
		}
	}
	LLVMPositionBuilderAtEnd(l->b, w->end);
	LLVMBuildRetVoid(l->b);
}

static LLVMBasicBlockRef leave_to(struct wave *w, V place_phi, uint32_t place)
{
	LLVMBasicBlockRef bb = new_block(w, "leave");
	V v = lane_i32(w->l, place);

	LLVMPositionBuilderAtEnd(w->l->b, bb);
	LLVMBuildBr(w->l->b, w->lane_done);
	LLVMAddIncoming(place_phi, &v, &bb, 1);
	return bb;
}

/* Lane after lane of the group. Returns the phi of the places they come to. */
static V build_lanes(struct wave *w)
{
	struct lane_code *l = w->l;
	V self = LLVMGetParam(w->f, 0), mask, rest, left, low, high, lane, lane64, tid, t[3], place, new_low, new_high, more, to;
	LLVMBasicBlockRef none = new_block(w, "none"), over = new_block(w, "over"), from[2];
	unsigned int cttz = LLVMLookupIntrinsicID("llvm.cttz", 9), umin = LLVMLookupIntrinsicID("llvm.smin", 9);
	unsigned int umax = LLVMLookupIntrinsicID("llvm.smax", 9);

	LLVMPositionBuilderAtEnd(l->b, w->lanes);
	mask = field(w, l->i64, w->w, offsetof(struct simt_wave, mask));
	LLVMBuildBr(l->b, w->next_lane);

	LLVMPositionBuilderAtEnd(l->b, w->next_lane);
	rest = LLVMBuildPhi(l->b, l->i64, "");
	low = LLVMBuildPhi(l->b, l->i32, "");
	high = LLVMBuildPhi(l->b, l->i32, "");
	lane64 = LLVMBuildCall2(l->b, LLVMIntrinsicGetType(l->c, cttz, &l->i64, 1), LLVMGetIntrinsicDeclaration(l->m, cttz, &l->i64, 1),
				(V[]){ rest, LLVMConstInt(l->i1, 1, 0) }, 2, "");
	lane = LLVMBuildTrunc(l->b, lane64, l->i32, "lane");
	left = LLVMBuildAnd(l->b, rest, LLVMBuildSub(l->b, rest, LLVMConstInt(l->i64, 1, 0), ""), "");
	tid = lane_at(l, w->w, LLVMBuildAdd(l->b, LLVMBuildMul(l->b, lane64, LLVMConstInt(l->i64, 12, 0), ""),
					    LLVMConstInt(l->i64, offsetof(struct simt_wave, tid), 0), ""));
	for (unsigned int i = 0; i < 3; i++) {
		t[i] = field(w, l->i32, tid, 4 * i);
		set_field(w, self, offsetof(struct simt_item, tid) + 4 * i, t[i]);
	}
	replace_param(w, LANE_NUMBER, lane);
	replace_param(w, LANE_X, t[0]);
	replace_param(w, LANE_Y, t[1]);
	replace_param(w, LANE_Z, t[2]);
	replace_param(w, LANE_FRAME, lane_at(l, w->frames, LLVMBuildMul(l->b, lane64, LLVMConstInt(l->i64, w->nr_places > 1 ? w->stride : 0, 0),
									"")));
	if (w->nr_places > 1) {
		to = LLVMBuildSwitch(l->b, w->pc, none, w->nr_places);
		for (uint32_t p = 0; p < w->nr_places; p++)
			LLVMAddCase(to, lane_i32(l, p), w->place[p].to);
	} else {
		LLVMBuildBr(l->b, w->place[0].to);
	}
	LLVMPositionBuilderAtEnd(l->b, none);
	LLVMBuildUnreachable(l->b);

	LLVMPositionBuilderAtEnd(l->b, w->lane_done);
	place = LLVMBuildPhi(l->b, l->i32, "");
	set_field(w, lane_at(l, w->w, LLVMBuildShl(l->b, lane64, LLVMConstInt(l->i64, 2, 0), "")), offsetof(struct simt_wave, at), place);
	new_low = LLVMBuildCall2(l->b, LLVMIntrinsicGetType(l->c, umin, &l->i32, 1), LLVMGetIntrinsicDeclaration(l->m, umin, &l->i32, 1),
				 (V[]){ low, place }, 2, "");
	new_high = LLVMBuildCall2(l->b, LLVMIntrinsicGetType(l->c, umax, &l->i32, 1), LLVMGetIntrinsicDeclaration(l->m, umax, &l->i32, 1),
				  (V[]){ high, place }, 2, "");
	more = LLVMBuildICmp(l->b, LLVMIntNE, left, LLVMConstInt(l->i64, 0, 0), "");
	LLVMBuildCondBr(l->b, more, w->next_lane, over);
	from[0] = w->lanes;
	from[1] = w->lane_done;
	LLVMAddIncoming(rest, (V[]){ mask, left }, from, 2);
	LLVMAddIncoming(low, (V[]){ lane_i32(l, WAVE_ENDED), new_low }, from, 2);
	LLVMAddIncoming(high, (V[]){ lane_i32(l, 0), new_high }, from, 2);

	LLVMPositionBuilderAtEnd(l->b, over);
	if (w->nr_places > 1) {
		set_field(w, w->w, offsetof(struct simt_wave, low), new_low);
		set_field(w, w->w, offsetof(struct simt_wave, high), new_high);
		LLVMBuildBr(l->b, w->dispatch);
	} else {
		LLVMBuildRetVoid(l->b);
	}
	return place;
}

/* Branches to places end the lane's turn, as does its end. */
static void cut_at_places(struct wave *w, V place_phi)
{
	const struct cfg *g = &w->g;
	LLVMBasicBlockRef ended = leave_to(w, place_phi, WAVE_ENDED);
	uint32_t *at = malloc((g->nr + 1) * sizeof(*at)), *end_of = malloc((g->nr_loops + 1) * sizeof(*end_of));

	if (!at || !end_of) {
		w->st = HG_ERR_NOMEM;
		goto out;
	}
	memset(at, 0xff, (g->nr + 1) * sizeof(*at));
	memset(end_of, 0xff, (g->nr_loops + 1) * sizeof(*end_of));
	for (uint32_t p = 1; p < w->nr_places; p++) {
		w->place[p].leave = leave_to(w, place_phi, p);
		if (w->place[p].loop != CFG_NONE)
			end_of[w->place[p].loop] = p;
		else
			at[cfg_block(g, w->place[p].to)] = p;
	}
	for (uint32_t b = 0; b < g->nr; b++) {
		V end = LLVMGetBasicBlockTerminator(g->bb[b]);

		if (LLVMGetInstructionOpcode(end) == LLVMRet) {
			LLVMPositionBuilderBefore(w->l->b, end);
			LLVMBuildBr(w->l->b, ended);
			LLVMInstructionEraseFromParent(end);
			continue;
		}
		for (unsigned int s = 0; s < LLVMGetNumSuccessors(end); s++) {
			uint32_t to = g->succ[g->first_succ[b] + s], loop = g->loop_of[to];
			bool is_round = loop != CFG_NONE && g->loop[loop].header == to && cfg_in_loop(g, b, loop);

			if (is_round && end_of[loop] != CFG_NONE)
				LLVMSetSuccessor(end, s, w->place[end_of[loop]].leave);
			else if (at[to] != CFG_NONE)
				LLVMSetSuccessor(end, s, w->place[at[to]].leave);
		}
	}
out:
	free(at);
	free(end_of);
}

/* Blocks that nothing reaches are left over from the front end; they have no place in the wave's function. */
static void drop_unreachable(struct wave *w)
{
	for (LLVMBasicBlockRef bb = LLVMGetFirstBasicBlock(w->l->f); bb; bb = LLVMGetNextBasicBlock(bb))
		if (cfg_block(&w->g, bb) == CFG_NONE)
			lane_refuse(w->l, "code that cannot be reached");
}

/* Slots of frames become addresses, each where it is used. */
static void use_frames(struct wave *w)
{
	struct lane_code *l = w->l;
	V frame = LLVMGetParam(l->f, LANE_FRAME);

	for (uint32_t i = 0; i < w->nr_slots; i++) {
		V var = w->slot[i].var;

		if (!w->slot[i].in_frame)
			continue;
		for (LLVMUseRef u = LLVMGetFirstUse(var); u; u = LLVMGetFirstUse(var)) {
			V user = LLVMGetUser(u), at;

			LLVMPositionBuilderBefore(l->b, user);
			at = lane_at(l, frame, LLVMConstInt(l->i64, w->slot[i].offset, 0));
			for (int o = 0; o < LLVMGetNumOperands(user); o++)
				if (LLVMGetOperand(user, (unsigned int)o) == var)
					LLVMSetOperand(user, (unsigned int)o, at);
		}
	}
}

static void build(struct wave *w, const char *name)
{
	struct lane_code *l = w->l;
	LLVMBasicBlockRef last, bb;
	V phi;

	w->f = LLVMAddFunction(l->m, name, LLVMFunctionType(LLVMVoidTypeInContext(l->c), &l->ptr, 1, 0));
	w->start = new_block(w, "start");
	w->dispatch = w->nr_places > 1 ? new_block(w, "dispatch") : NULL;
	w->end = w->nr_places > 1 ? new_block(w, "end") : NULL;
	w->lanes = new_block(w, "lanes");
	w->next_lane = new_block(w, "lane");
	last = w->lane_done = new_block(w, "done");
	use_frames(w);
	while ((bb = LLVMGetFirstBasicBlock(l->f))) {
		LLVMMoveBasicBlockAfter(bb, last);
		last = bb;
	}
	build_start(w);
	if (w->nr_places > 1)
		build_dispatch(w);
	phi = build_lanes(w);
	cut_at_places(w, phi);
	for (uint32_t i = 0; i < w->nr_slots; i++)
		if (w->slot[i].in_frame)
			LLVMInstructionEraseFromParent(w->slot[i].var);
	LLVMDeleteFunction(l->f);
	l->f = NULL;
}

/* ---- all of it ---- */

static bool run_pass(struct lane_code *l, const char *pass)
{
	LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
	LLVMErrorRef err = LLVMRunPasses(l->m, pass, NULL, options);

	LLVMDisposePassBuilderOptions(options);
	if (!err)
		return true;
	lane_refuse(l, "LLVM's pass %s failed", pass);
	LLVMConsumeError(err);
	return false;
}

static void analyse(struct wave *w)
{
	w->st = cfg_make(w->l->f, &w->g);
	if (w->st)
		return;
	if (w->g.is_irreducible)
		lane_refuse(w->l, "a loop with two entries");
	drop_unreachable(w);
	if (!w->l->refused)
		find_spins(w);
	if (w->st || w->l->refused)
		return;
	cfg_free(&w->g);
	memset(&w->g, 0, sizeof(w->g));
	/* values that cross blocks become variables */
	if (!run_pass(w->l, "function(reg2mem)"))
		return;
	w->st = cfg_make(w->l->f, &w->g);
	if (!w->st)
		find_places(w);
	if (!w->st)
		find_slots(w);
	if (!w->st)
		find_live(w);
	if (!w->st)
		lay_out_frame(w);
}

void lane_code_to_wave(struct lane_code *l, const char *name)
{
	struct wave w = { .l = l };

	analyse(&w);
	if (!w.st && !l->refused)
		build(&w, name);
	if (w.st)
		lane_refuse(l, "out of memory");
	cfg_free(&w.g);
	free(w.spin);
	free(w.has_place);
	free(w.is_exit);
	free(w.op_at);
	free(w.place);
	free(w.slot);
}
