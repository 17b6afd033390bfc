/* simt_wave_cfg.c - the blocks of a function, its loops, and their order. */
#include "tests/drivers/simt/simt_wave_cfg.h"

#include <stdlib.h>
#include <string.h>

/* ---- blocks ---- */

static uint32_t slot_of(const struct cfg *g, LLVMBasicBlockRef bb)
{
	uint32_t i = (uint32_t)(((uintptr_t)bb >> 4) * 0x9e3779b1u) & (g->hash_size - 1);

	while (g->hash[i].bb && g->hash[i].bb != bb)
		i = (i + 1) & (g->hash_size - 1);
	return i;
}

uint32_t cfg_block(const struct cfg *g, LLVMBasicBlockRef bb)
{
	uint32_t i = slot_of(g, bb);

	return g->hash[i].bb ? g->hash[i].n : CFG_NONE;
}

/* Numbers them in postorder, then turns that round. */
static enum hg_status number_blocks(LLVMValueRef f, struct cfg *g)
{
	uint32_t total = LLVMCountBasicBlocks(f), depth = 0;
	struct { LLVMBasicBlockRef bb; uint32_t next; } *stack = malloc((total + 1) * sizeof(*stack));

	for (g->hash_size = 16; g->hash_size < 2 * total; g->hash_size *= 2)
		;
	g->hash = calloc(g->hash_size, sizeof(*g->hash));
	g->bb = malloc((total + 1) * sizeof(LLVMBasicBlockRef));
	if (!stack || !g->hash || !g->bb) {
		free(stack);
		return HG_ERR_NOMEM;
	}
	stack[depth].bb = LLVMGetEntryBasicBlock(f);
	stack[depth++].next = 0;
	g->hash[slot_of(g, stack[0].bb)].bb = stack[0].bb;
	while (depth) {
		LLVMValueRef end = LLVMGetBasicBlockTerminator(stack[depth - 1].bb);
		LLVMBasicBlockRef to;
		uint32_t i;

		if (stack[depth - 1].next == LLVMGetNumSuccessors(end)) {
			g->bb[g->nr++] = stack[--depth].bb;
			continue;
		}
		to = LLVMGetSuccessor(end, stack[depth - 1].next++);
		i = slot_of(g, to);
		if (g->hash[i].bb)
			continue;
		g->hash[i].bb = to;
		stack[depth].bb = to;
		stack[depth++].next = 0;
	}
	free(stack);
	for (uint32_t i = 0; i < g->nr / 2; i++) {
		LLVMBasicBlockRef bb = g->bb[i];

		g->bb[i] = g->bb[g->nr - 1 - i];
		g->bb[g->nr - 1 - i] = bb;
	}
	for (uint32_t i = 0; i < g->nr; i++)
		g->hash[slot_of(g, g->bb[i])].n = i;
	return HG_OK;
}

static enum hg_status find_edges(struct cfg *g)
{
	uint32_t nr = 0, *fill;

	for (uint32_t i = 0; i < g->nr; i++)
		nr += LLVMGetNumSuccessors(LLVMGetBasicBlockTerminator(g->bb[i]));
	g->first_succ = calloc(g->nr + 1, sizeof(uint32_t));
	g->first_pred = calloc(g->nr + 2, sizeof(uint32_t));
	g->succ = malloc((nr + 1) * sizeof(uint32_t));
	g->pred = malloc((nr + 1) * sizeof(uint32_t));
	fill = calloc(g->nr + 1, sizeof(uint32_t));
	if (!g->first_succ || !g->first_pred || !g->succ || !g->pred || !fill) {
		free(fill);
		return HG_ERR_NOMEM;
	}
	nr = 0;
	for (uint32_t i = 0; i < g->nr; i++) {
		LLVMValueRef end = LLVMGetBasicBlockTerminator(g->bb[i]);

		g->first_succ[i] = nr;
		for (uint32_t s = 0; s < LLVMGetNumSuccessors(end); s++) {
			g->succ[nr] = cfg_block(g, LLVMGetSuccessor(end, s));
			g->first_pred[g->succ[nr++] + 1]++;
		}
	}
	g->first_succ[g->nr] = nr;
	for (uint32_t i = 0; i < g->nr; i++)
		g->first_pred[i + 1] += g->first_pred[i];
	for (uint32_t i = 0; i < g->nr; i++)
		for (uint32_t s = g->first_succ[i]; s < g->first_succ[i + 1]; s++)
			g->pred[g->first_pred[g->succ[s]] + fill[g->succ[s]]++] = i;
	free(fill);
	return HG_OK;
}

/* ---- dominators ---- */

static uint32_t common(const uint32_t *idom, uint32_t a, uint32_t b)
{
	while (a != b) {
		while (a > b)
			a = idom[a];
		while (b > a)
			b = idom[b];
	}
	return a;
}

static enum hg_status find_dominators(struct cfg *g)
{
	bool changed = true;

	g->idom = malloc((g->nr + 1) * sizeof(uint32_t));
	if (!g->idom)
		return HG_ERR_NOMEM;
	memset(g->idom, 0xff, (g->nr + 1) * sizeof(uint32_t));
	g->idom[0] = 0;
	while (changed) {
		changed = false;
		for (uint32_t i = 1; i < g->nr; i++) {
			uint32_t dom = CFG_NONE;

			for (uint32_t p = g->first_pred[i]; p < g->first_pred[i + 1]; p++)
				if (g->idom[g->pred[p]] != CFG_NONE)
					dom = dom == CFG_NONE ? g->pred[p] : common(g->idom, dom, g->pred[p]);
			if (dom != g->idom[i]) {
				g->idom[i] = dom;
				changed = true;
			}
		}
	}
	return HG_OK;
}

static bool dominates(const struct cfg *g, uint32_t a, uint32_t b)
{
	while (b > a)
		b = g->idom[b];
	return a == b;
}

/* ---- loops ---- */

/* What reaches a jump back to `header` without passing it. */
static enum hg_status fill_loop(struct cfg *g, struct cfg_loop *loop, uint32_t *mark, uint32_t stamp)
{
	uint32_t *list = malloc((g->nr + 1) * sizeof(uint32_t)), nr = 0;

	if (!list)
		return HG_ERR_NOMEM;
	list[nr++] = loop->header;
	mark[loop->header] = stamp;
	for (uint32_t p = g->first_pred[loop->header]; p < g->first_pred[loop->header + 1]; p++)
		if (mark[g->pred[p]] != stamp && dominates(g, loop->header, g->pred[p])) {
			mark[g->pred[p]] = stamp;
			list[nr++] = g->pred[p];
		}
	for (uint32_t i = 1; i < nr; i++)
		for (uint32_t p = g->first_pred[list[i]]; p < g->first_pred[list[i] + 1]; p++)
			if (mark[g->pred[p]] != stamp) {
				mark[g->pred[p]] = stamp;
				list[nr++] = g->pred[p];
			}
	loop->block = list;
	loop->nr_blocks = nr;
	return HG_OK;
}

/* A header has a smaller number than those of loops inside: outer loops come first. */
static enum hg_status find_loops(struct cfg *g)
{
	uint32_t *mark = calloc(g->nr + 1, sizeof(uint32_t));
	enum hg_status st = HG_OK;

	g->loop_of = malloc((g->nr + 1) * sizeof(uint32_t));
	g->loop = calloc(g->nr + 1, sizeof(*g->loop));
	if (!mark || !g->loop_of || !g->loop) {
		st = HG_ERR_NOMEM;
		goto out;
	}
	memset(g->loop_of, 0xff, (g->nr + 1) * sizeof(uint32_t));
	for (uint32_t h = 0; h < g->nr && !st; h++) {
		bool is_header = false;

		for (uint32_t p = g->first_pred[h]; p < g->first_pred[h + 1]; p++)
			if (dominates(g, h, g->pred[p]))
				is_header = true;
			else if (g->pred[p] >= h)
				g->is_irreducible = true;
		if (!is_header || g->is_irreducible)
			continue;
		g->loop[g->nr_loops] = (struct cfg_loop){ .header = h, .parent = g->loop_of[h] };
		st = fill_loop(g, &g->loop[g->nr_loops], mark, g->nr_loops + 1);
		for (uint32_t i = 0; !st && i < g->loop[g->nr_loops].nr_blocks; i++)
			g->loop_of[g->loop[g->nr_loops].block[i]] = g->nr_loops;
		g->nr_loops++;
	}
out:
	free(mark);
	return st;
}

bool cfg_in_loop(const struct cfg *g, uint32_t block, uint32_t loop)
{
	for (uint32_t l = g->loop_of[block]; l != CFG_NONE; l = g->loop[l].parent)
		if (l == loop)
			return true;
	return false;
}

enum hg_status cfg_make(LLVMValueRef f, struct cfg *out)
{
	struct cfg g = { .nr = 0 };
	enum hg_status st = number_blocks(f, &g);

	if (!st)
		st = find_edges(&g);
	if (!st)
		st = find_dominators(&g);
	if (!st)
		st = find_loops(&g);
	if (st)
		cfg_free(&g);
	else
		*out = g;
	return st;
}

void cfg_free(struct cfg *g)
{
	for (uint32_t i = 0; g->loop && i < g->nr_loops; i++)
		free(g->loop[i].block);
	free(g->loop);
	free(g->loop_of);
	free(g->idom);
	free(g->first_succ);
	free(g->succ);
	free(g->first_pred);
	free(g->pred);
	free(g->bb);
	free(g->hash);
}

/* ---- the order ---- */

struct walk {
	const struct cfg *g;
	void (*visit)(uint32_t block, uint32_t loop, void *arg);
	void *arg;
	bool *done;
	enum hg_status st;
};

/* The loop directly inside `around` that the block belongs to, or CFG_NONE: the block itself is what the level knows. */
static uint32_t piece_of(const struct cfg *g, uint32_t block, uint32_t around)
{
	uint32_t l = g->loop_of[block], inner = CFG_NONE;

	for (; l != around && l != CFG_NONE; l = g->loop[l].parent)
		inner = l;
	return inner;
}

static void walk_level(struct walk *w, uint32_t around);

/* The next block that a piece leads to, of this level, and that was not seen; *at and *edge remember where we are. */
static uint32_t next_of(struct walk *w, uint32_t around, uint32_t head, uint32_t *at, uint32_t *edge)
{
	const struct cfg *g = w->g;
	uint32_t piece = piece_of(g, head, around), nr = piece == CFG_NONE ? 1 : g->loop[piece].nr_blocks;

	for (; *at < nr; ++*at, *edge = 0) {
		uint32_t b = piece == CFG_NONE ? head : g->loop[piece].block[*at];

		while (*edge < g->first_succ[b + 1] - g->first_succ[b]) {
			/* what is visited last comes first: the first branch */
			uint32_t to = g->succ[g->first_succ[b + 1] - 1 - (*edge)++];

			if (around != CFG_NONE && (!cfg_in_loop(g, to, around) || to == g->loop[around].header))
				continue;
			if (piece != CFG_NONE && cfg_in_loop(g, to, piece))
				continue;
			if (!w->done[to])
				return to;
		}
	}
	return CFG_NONE;
}

/* A level's pieces, sorted so that edges lead on: blocks, and loops directly inside, by their headers. */
static void walk_level(struct walk *w, uint32_t around)
{
	const struct cfg *g = w->g;
	uint32_t nr = around == CFG_NONE ? g->nr : g->loop[around].nr_blocks, depth = 0, out = nr;
	struct { uint32_t head, at, edge; } *stack = malloc((nr + 1) * sizeof(*stack));
	uint32_t *order = malloc((nr + 1) * sizeof(uint32_t));

	if (!stack || !order) {
		w->st = HG_ERR_NOMEM;
		goto out;
	}
	stack[depth].head = around == CFG_NONE ? 0 : g->loop[around].header;
	stack[depth].at = stack[depth].edge = 0;
	w->done[stack[depth++].head] = true;
	while (depth) {
		uint32_t to = next_of(w, around, stack[depth - 1].head, &stack[depth - 1].at, &stack[depth - 1].edge);

		if (to == CFG_NONE) {
			order[--out] = stack[--depth].head;
			continue;
		}
		/* a loop is entered at its header alone */
		w->done[to] = true;
		stack[depth].head = to;
		stack[depth].at = stack[depth].edge = 0;
		depth++;
	}
	for (; out < nr && !w->st; out++) {
		uint32_t piece = piece_of(g, order[out], around);

		if (piece == CFG_NONE) {
			w->visit(order[out], CFG_NONE, w->arg);
		} else {
			walk_level(w, piece);
			w->visit(CFG_NONE, piece, w->arg);
		}
	}
out:
	free(stack);
	free(order);
}

enum hg_status cfg_walk(const struct cfg *g, void (*visit)(uint32_t block, uint32_t loop, void *arg), void *arg)
{
	struct walk w = { .g = g, .visit = visit, .arg = arg, .done = calloc(g->nr + 1, sizeof(bool)) };

	if (!w.done)
		return HG_ERR_NOMEM;
	walk_level(&w, CFG_NONE);
	free(w.done);
	return w.st;
}
