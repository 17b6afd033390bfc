/* gpu_plan.c - where the lanes of a warp are known to be together. */
#include "translate/gpu_plan.h"

#include <stdlib.h>
#include <string.h>

#include "translate/emit_analyze.h"

/*
 * Lanes part at a branch whose condition differs among them, and meet at its immediate post-dominator: the blocks between are its
 * region, where nothing is proven. Lanes that have nothing to do any more that the others could see do not count, as if they had
 * exited at once ("gone"): the paths to such blocks are left out of the graph in which lanes meet.
 *
 * What is enough to be gone depends on what is to be proven. Operations of lanes: that no such operation and no barrier is ahead.
 * Barriers and loops that wait: also that nothing is written and no loop waits; the others may rely on it. Barriers that no thread of the block may
 * miss: nobody is ever gone.
 */
enum question { FOR_LANES, FOR_WAVES, FOR_BLOCKS };

/* What may differ among the lanes that run together: nothing; the low bits (a lane's number in its wave) alone; anything. */
enum spread { SAME, LOW_BITS, MIXED };

struct plan {
	const struct ir_func *fn;
	const struct emit_info *flow;
	uint32_t nr;			/* blocks; the end of the kernel is node nr, those behind it stand for the headers of endless loops */
	unsigned int low_bits;		/* log2 of the lanes that are to be together: 5, 6 for a pair, 10 for a block */
	bool pair, rows, whole;		/* whole: a block, which is more than a pair as well */

	bool *gone, *ends;		/* of a block: left out; its lanes trap before its terminator */
	uint32_t nr_nodes;
	uint32_t *first, *to;		/* node's successors: to[first[n]…first[n + 1]] */
	uint32_t *stands_for;		/* of a node: the block, or nr */
	uint32_t *ipdom;		/* of a node */

	unsigned char *spread;		/* of a register: enum spread */
	const struct ir_insn **only_def;	/* of a register: what alone writes it; NULL: several, or none */
	bool *parts;			/* of a block: lanes part at its end */
	bool *apart;			/* of a block: it is in the region of such a one */
	struct emit_set region, reached;
	uint32_t *stack, *walk;		/* of nr_nodes each */
};

static const struct ir_insn *last_insn(const struct plan *p, uint32_t b)
{
	return &p->fn->block[b].insn[p->fn->block[b].nr_insns - 1];
}

static unsigned int nr_targets(const struct plan *p, uint32_t b)
{
	return p->ends[b] ? 0 : ir_nr_targets(last_insn(p, b));
}

static bool is_imm(const struct ir_operand *o, uint64_t v)
{
	return o->kind == IR_OPD_IMM && (uint32_t)o->imm == v;
}

static bool is_barrier(const struct ir_insn *in)
{
	return in->op == IR_bar_sync || in->op == IR_bar_red || in->op == IR_bar_arrive;
}

static bool is_for_all_threads(const struct ir_insn *in)
{
	return (in->op == IR_bar_sync || in->op == IR_bar_red) && in->src[0].kind == IR_OPD_IMM && is_imm(&in->src[1], 0);
}

/* activemask waits for nobody, and any answer that names lanes which run together is right. */
static bool is_lane_op(const struct ir_insn *in)
{
	return ir_op_desc[in->op].flags & (IR_F_SYNC | IR_F_WARP) && in->op != IR_activemask;
}

/* What another lane can notice. */
static bool is_seen(const struct ir_insn *in)
{
	return (in->op == IR_st && in->space != IR_LOCAL) || in->op == IR_atom || in->op == IR_bar_arrive || in->op == IR_vprintf;
}

/* ---- the graph in which lanes meet ---- */

static bool may_be_gone(const struct plan *p, uint32_t b, enum question q)
{
	const struct ir_block *blk = &p->fn->block[b];

	if (q == FOR_BLOCKS)
		return false;
	for (uint32_t i = 0; i < blk->nr_insns; i++)
		if (is_lane_op(&blk->insn[i]) || is_barrier(&blk->insn[i]) || (q == FOR_WAVES && is_seen(&blk->insn[i])))
			return false;
	return q == FOR_LANES || !p->flow->spin[b];
}

static void find_gone(struct plan *p, enum question q)
{
	bool again = true;

	for (uint32_t b = 0; b < p->nr; b++) {
		const struct ir_block *blk = &p->fn->block[b];

		p->ends[b] = false;
		for (uint32_t i = 0; i < blk->nr_insns; i++)
			if ((blk->insn[i].op == IR_trap || blk->insn[i].op == IR_assertfail) && blk->insn[i].guard == IR_NO_REG)
				p->ends[b] = true;
		p->gone[b] = may_be_gone(p, b, q);
	}
	while (again) {
		again = false;
		for (uint32_t b = p->nr; b-- > 0;)
			for (unsigned int i = 0; p->gone[b] && i < nr_targets(p, b); i++)
				if (!p->gone[ir_target(last_insn(p, b), i)]) {
					p->gone[b] = false;
					again = true;
				}
	}
}

/* Blocks that never reach the end, and have no way out at a header: way_out[h]. False: there are none. */
static bool find_endless(const struct plan *p, const uint32_t *way_out, bool *endless)
{
	bool again = true, some = false;

	for (uint32_t b = 0; b < p->nr; b++)
		endless[b] = !p->gone[b];
	while (again) {
		again = false;
		for (uint32_t b = p->nr; b-- > 0;) {
			bool live = false, leaves = false;

			if (!endless[b])
				continue;
			for (unsigned int i = 0; i < nr_targets(p, b); i++) {
				uint32_t t = ir_target(last_insn(p, b), i);

				live |= !p->gone[t];
				leaves |= !p->gone[t] && (!endless[t] || (t <= b && way_out[t]));
			}
			if (!live || leaves) {
				endless[b] = false;
				again = true;
			}
		}
	}
	for (uint32_t b = 0; b < p->nr; b++)
		some |= endless[b];
	return some;
}

/* Endless loops, the outermost and last ones first, are given a way out at their headers: node numbers from nr + 1 on. */
static uint32_t find_ways_out(const struct plan *p, uint32_t *way_out, bool *endless)
{
	uint32_t n = p->nr + 1;

	while (find_endless(p, way_out, endless)) {
		uint32_t b = p->nr, header = UINT32_MAX;

		/* every endless block leads to a branch back */
		while (header == UINT32_MAX && b-- > 0)
			for (unsigned int i = 0; endless[b] && i < nr_targets(p, b); i++) {
				uint32_t t = ir_target(last_insn(p, b), i);

				if (t <= b && !p->gone[t] && t < header)
					header = t;
			}
		way_out[header] = n++;
	}
	return n;
}

static enum hg_status build_graph(struct plan *p)
{
	uint32_t *way_out = calloc((size_t)p->nr + 1, sizeof(*way_out)), nr_edges = 0, at = 0, n;
	bool *endless = calloc((size_t)p->nr + 1, sizeof(*endless));
	enum hg_status st = HG_ERR_NOMEM;

	if (!way_out || !endless)
		goto out;
	n = find_ways_out(p, way_out, endless);
	nr_edges = 2 * (n - p->nr);
	for (uint32_t b = 0; b < p->nr; b++)
		nr_edges += nr_targets(p, b) + 1;
	p->nr_nodes = n;
	p->first = calloc((size_t)n + 1, sizeof(*p->first));
	p->to = calloc((size_t)nr_edges + 1, sizeof(*p->to));
	p->stands_for = calloc(n, sizeof(*p->stands_for));
	p->ipdom = calloc(n, sizeof(*p->ipdom));
	p->stack = calloc(n, sizeof(*p->stack));
	p->walk = calloc(n, sizeof(*p->walk));
	if (!p->first || !p->to || !p->stands_for || !p->ipdom || !p->stack || !p->walk)
		goto out;
	for (uint32_t b = 0; b < p->nr; b++) {
		uint32_t begin = at;

		p->stands_for[b] = b;
		p->first[b] = at;
		for (unsigned int i = 0; !p->gone[b] && i < nr_targets(p, b); i++) {
			uint32_t t = ir_target(last_insn(p, b), i);
			bool known = p->gone[t];

			if (!known && t <= b && way_out[t])
				t = way_out[t];
			for (uint32_t k = begin; k < at; k++)
				known |= p->to[k] == t;
			if (!known)
				p->to[at++] = t;
		}
		if (at == begin)
			p->to[at++] = p->nr;
	}
	p->stands_for[p->nr] = p->nr;
	p->first[p->nr] = at;
	for (uint32_t v = p->nr + 1; v < n; v++) {
		p->first[v] = at;
		for (uint32_t b = 0; b < p->nr; b++)
			if (way_out[b] == v)
				p->stands_for[v] = b;
		p->to[at++] = p->stands_for[v];
		p->to[at++] = p->nr;
	}
	p->first[n] = at;
	st = HG_OK;
out:
	free(way_out);
	free(endless);
	return st;
}

/*
 * Immediate post-dominators as in "A simple, fast dominance algorithm" (Cooper, Harvey, Kennedy), from the end. Every node
 * reaches the end.
 */
static enum hg_status find_meeting_points(struct plan *p)
{
	uint32_t n = p->nr_nodes, end = p->nr, nr = 0, top = 0;
	uint32_t *pred_first = calloc((size_t)n + 2, sizeof(*pred_first)), *pred = calloc((size_t)p->first[n] + 1, sizeof(*pred));
	uint32_t *order = calloc(n, sizeof(*order)), *number = calloc(n, sizeof(*number)), *next = calloc(n, sizeof(*next));
	enum hg_status st = HG_ERR_NOMEM;
	bool again = true;

	if (!pred_first || !pred || !order || !number || !next)
		goto out;
	for (uint32_t k = 0; k < p->first[n]; k++)
		pred_first[p->to[k] + 2]++;
	for (uint32_t v = 0; v < n; v++)
		pred_first[v + 2] += pred_first[v + 1];
	for (uint32_t v = 0; v < n; v++)
		for (uint32_t k = p->first[v]; k < p->first[v + 1]; k++)
			pred[pred_first[p->to[k] + 1]++] = v;
	/* numbers in post-order, from the end backwards: the end has the highest */
	for (uint32_t v = 0; v < n; v++) {
		number[v] = UINT32_MAX;
		p->ipdom[v] = UINT32_MAX;
	}
	p->stack[top++] = end;
	number[end] = 0;
	while (top) {
		uint32_t v = p->stack[top - 1];

		if (next[v] < pred_first[v + 1] - pred_first[v]) {
			uint32_t u = pred[pred_first[v] + next[v]++];

			if (number[u] == UINT32_MAX) {
				number[u] = 0;
				p->stack[top++] = u;
			}
			continue;
		}
		top--;
		number[v] = nr;
		order[nr++] = v;
	}
	p->ipdom[end] = end;
	while (again) {
		again = false;
		for (uint32_t i = nr - 1; i-- > 0;) {
			uint32_t v = order[i], best = UINT32_MAX;

			for (uint32_t k = p->first[v]; k < p->first[v + 1]; k++) {
				uint32_t s = p->to[k];

				if (p->ipdom[s] == UINT32_MAX)
					continue;
				if (best == UINT32_MAX) {
					best = s;
					continue;
				}
				while (best != s) {
					while (number[best] < number[s])
						best = p->ipdom[best];
					while (number[s] < number[best])
						s = p->ipdom[s];
				}
			}
			if (p->ipdom[v] != best) {
				p->ipdom[v] = best;
				again = true;
			}
		}
	}
	st = HG_OK;
out:
	free(pred_first);
	free(pred);
	free(order);
	free(number);
	free(next);
	return st;
}

/* The blocks between b and where those that part there meet, in p->region; that block, or nr. */
static uint32_t find_region(struct plan *p, uint32_t b)
{
	uint32_t stop = p->stands_for[p->ipdom[b]], top = 0;

	memset(p->region.word, 0, p->flow->block_words * sizeof(uint64_t));
	p->stack[top++] = b;
	while (top) {
		uint32_t v = p->stack[--top];

		for (uint32_t k = p->first[v]; k < p->first[v + 1]; k++) {
			uint32_t s = p->to[k], x = p->stands_for[s];

			if (x == stop || x == p->nr || emit_has(p->region, x))
				continue;
			emit_set_add(p->region, x);
			p->stack[top++] = x;
		}
	}
	return stop;
}

/* ---- what differs among lanes ---- */

static enum spread spread_of_sreg(const struct plan *p, uint32_t s)
{
	switch (s) {
	case IR_SREG_TID_X:
		return p->rows || p->whole ? LOW_BITS : MIXED;
	case IR_SREG_TID_Y: case IR_SREG_TID_Z:
		return p->whole ? LOW_BITS : p->rows ? SAME : MIXED;
	case IR_SREG_LANEID:
		return LOW_BITS;
	case IR_SREG_WARPID:
		return p->pair ? LOW_BITS : SAME;
	case IR_SREG_LANEMASK_EQ: case IR_SREG_LANEMASK_LE: case IR_SREG_LANEMASK_LT: case IR_SREG_LANEMASK_GE:
	case IR_SREG_LANEMASK_GT: case IR_SREG_CLOCK: case IR_SREG_CLOCK64: case IR_SREG_GLOBALTIMER:
		return MIXED;
	default:
		return SAME;
	}
}

static enum spread spread_of(const struct plan *p, const struct ir_operand *o)
{
	switch (o->kind) {
	case IR_OPD_REG: return o->reg == IR_NO_REG ? SAME : p->spread[o->reg];
	case IR_OPD_SREG: return spread_of_sreg(p, o->index);
	default: return SAME;
	}
}

static enum spread worst_source(const struct plan *p, const struct ir_insn *in)
{
	enum spread worst = SAME;

	for (unsigned int i = 0; i < in->nr_src; i++) {
		enum spread s = spread_of(p, &in->src[i]);

		if (s > worst)
			worst = s;
	}
	return worst;
}

/* A comparison with a number where nothing but the low bits changes sides gives all lanes the same. */
static bool splits_low_bits(const struct plan *p, const struct ir_insn *in)
{
	uint64_t wave = (UINT64_C(1) << p->low_bits) - 1;
	bool first = in->src[0].kind == IR_OPD_IMM;
	uint64_t bound = in->src[first ? 0 : 1].imm;
	unsigned int cmp = in->cmp;

	if (ir_type_is_float(in->type) || in->nr_src != 2 || in->src[first ? 1 : 0].kind != IR_OPD_REG ||
	    in->src[first ? 0 : 1].kind != IR_OPD_IMM)
		return true;
	if (first)	/* the other way round */
		cmp = cmp == IR_LT ? IR_GT : cmp == IR_LE ? IR_GE : cmp == IR_GT ? IR_LT : cmp == IR_GE ? IR_LE : cmp;
	switch (cmp) {
	case IR_LT: case IR_GE: return bound & wave;
	case IR_LE: case IR_GT: return (bound + 1) & wave;
	default: return true;
	}
}

/* Register r is special register s, whatever its width. */
static bool is_sreg(const struct plan *p, const struct ir_operand *o, enum ir_sreg s)
{
	for (int depth = 0; depth < 8; depth++) {
		const struct ir_insn *in;

		if (o->kind == IR_OPD_SREG)
			return o->index == s;
		if (o->kind != IR_OPD_REG || o->reg == IR_NO_REG)
			return false;
		in = p->only_def[o->reg];
		if (!in || (in->op != IR_mov && in->op != IR_cvt) || in->nr_src != 1 || in->guard != IR_NO_REG)
			return false;
		/* no number of a thread has more than 16 bits, but more than 8 */
		if (in->op == IR_cvt && (ir_type_bits(in->type) < 16 || ir_type_bits(in->type2) < 16))
			return false;
		o = &in->src[0];
	}
	return false;
}

/* o = sum + product, as mad or as add of mul, with the numbers of type 32 bits; the product's factors in f. */
static bool sum_of_product(const struct plan *p, const struct ir_operand *o, const struct ir_operand **sum,
			   const struct ir_operand *f[2])
{
	const struct ir_insn *in;

	if (o->kind != IR_OPD_REG || o->reg == IR_NO_REG)
		return false;
	in = p->only_def[o->reg];
	if (!in || in->guard != IR_NO_REG || (in->type != IR_S32 && in->type != IR_U32) || in->flags)
		return false;
	if (in->op == IR_mad) {
		f[0] = &in->src[0];
		f[1] = &in->src[1];
		*sum = &in->src[2];
		return true;
	}
	if (in->op != IR_add)
		return false;
	for (unsigned int i = 0; i < 2; i++) {
		const struct ir_operand *a = &in->src[i];
		const struct ir_insn *mul = a->kind == IR_OPD_REG && a->reg != IR_NO_REG ? p->only_def[a->reg] : NULL;

		if (!mul || mul->op != IR_mul || mul->guard != IR_NO_REG || mul->flags || (mul->type != IR_S32 && mul->type != IR_U32))
			continue;
		f[0] = &mul->src[0];
		f[1] = &mul->src[1];
		*sum = &in->src[1 - i];
		return true;
	}
	return false;
}

/* The thread's number in its block, tid.x + ntid.x * (tid.y + ntid.y * tid.z): of whatever shape blocks are, 32 in turn are a warp. */
static bool is_thread_number(const struct plan *p, const struct ir_insn *in)
{
	const struct ir_operand here = { .kind = IR_OPD_REG, .reg = in->dst[0] }, *x, *yz, *y, *f[2], *g[2];

	if (in->nr_dst != 1 || !sum_of_product(p, &here, &x, f) || !is_sreg(p, x, IR_SREG_TID_X))
		return false;
	for (unsigned int i = 0; i < 2; i++) {
		if (!is_sreg(p, f[i], IR_SREG_NTID_X))
			continue;
		yz = f[1 - i];
		if (!sum_of_product(p, yz, &y, g) || !is_sreg(p, y, IR_SREG_TID_Y))
			continue;
		if ((is_sreg(p, g[0], IR_SREG_NTID_Y) && is_sreg(p, g[1], IR_SREG_TID_Z)) ||
		    (is_sreg(p, g[1], IR_SREG_NTID_Y) && is_sreg(p, g[0], IR_SREG_TID_Z)))
			return true;
	}
	return false;
}

/* The sign of such a number is one of the low bits; it fills all that are above it. */
static bool takes_sign_of_low_bits(const struct plan *p, uint8_t type)
{
	return ir_type_is_signed(type) && ir_type_bits(type) <= p->low_bits;
}

/* Of an operation on integers whose operands differ in the low bits at most, one at least does. */
static enum spread spread_of_low_bits(const struct plan *p, const struct ir_insn *in)
{
	uint64_t wave = (UINT64_C(1) << p->low_bits) - 1;

	switch (in->op) {
	case IR_mov: case IR_or: case IR_xor: case IR_not: case IR_lop3:
		return in->type == IR_PRED ? MIXED : LOW_BITS;
	case IR_cvt:
		if (takes_sign_of_low_bits(p, in->type) || takes_sign_of_low_bits(p, in->type2))
			return MIXED;
		return ir_type_is_float(in->type) || ir_type_is_float(in->type2) || in->nr_src > 1 || in->flags ? MIXED : LOW_BITS;
	case IR_and:
		for (unsigned int i = 0; i < 2; i++)
			if (in->type != IR_PRED && in->src[i].kind == IR_OPD_IMM && !(in->src[i].imm & wave))
				return SAME;
		return in->type == IR_PRED ? MIXED : LOW_BITS;
	case IR_add: case IR_sub:
		if (in->nr_dst > 1 || ir_type_is_float(in->type))
			return MIXED;
		if (in->src[1].kind == IR_OPD_IMM && !(in->src[1].imm & wave))
			return LOW_BITS;
		return in->op == IR_add && in->src[0].kind == IR_OPD_IMM && !(in->src[0].imm & wave) ? LOW_BITS : MIXED;
	case IR_shr:
		if (in->src[1].kind != IR_OPD_IMM)
			return MIXED;
		return in->src[1].imm >= p->low_bits ? SAME : LOW_BITS;
	case IR_bfe:
		return in->src[1].kind == IR_OPD_IMM && in->src[2].kind == IR_OPD_IMM && (in->src[1].imm & 255) >= p->low_bits ? SAME : MIXED;
	case IR_div:
		/* of numbers that are not negative, which a thread's are */
		return ir_type_is_signed(in->type) || ir_type_is_float(in->type) || in->src[1].kind != IR_OPD_IMM || !in->src[1].imm ||
		       in->src[1].imm & wave ? MIXED : SAME;
	case IR_setp:
		return splits_low_bits(p, in) ? MIXED : SAME;
	case IR_selp:
		return spread_of(p, &in->src[2]) == SAME ? LOW_BITS : MIXED;
	default:
		return MIXED;
	}
}

static enum spread spread_of_result(const struct plan *p, uint32_t b, const struct ir_insn *in)
{
	bool warp = !p->apart[b] && !p->pair;	/* all lanes are here, and one warp's results are all lanes' */
	enum spread worst;

	switch (in->op) {
	case IR_atom: case IR_vprintf:
	case IR_mma: case IR_ldmatrix: case IR_stmatrix: case IR_movmatrix:
		return MIXED;
	case IR_ld:
		/* one access by all lanes finds the same there; those of several warps, what nobody changes meanwhile */
		return in->space == IR_LOCAL || (p->whole && in->sem != IR_WEAK) ? MIXED : spread_of(p, &in->src[0]) == SAME ? SAME : MIXED;
	case IR_cvta: case IR_cvta_to:
		if (in->space == IR_LOCAL)
			return MIXED;
		break;
	case IR_activemask:
		return warp ? SAME : MIXED;
	case IR_vote: case IR_redux:
		return warp && spread_of(p, &in->src[in->nr_src - 1]) == SAME ? SAME : MIXED;
	case IR_match:
		return warp && in->sub && spread_of(p, &in->src[in->nr_src - 1]) == SAME ? SAME : MIXED;
	case IR_shfl:
		/* all read one lane */
		return warp && in->sub == IR_SHFL_IDX && spread_of(p, &in->src[1]) == SAME && is_imm(&in->src[2], 31) ? SAME : MIXED;
	case IR_bar_red:
		return !p->apart[b] && spread_of(p, &in->src[0]) == SAME && spread_of(p, &in->src[1]) == SAME ? SAME : MIXED;
	default:
		break;
	}
	worst = worst_source(p, in);
	if (worst != SAME && is_thread_number(p, in))
		return LOW_BITS;
	return worst == LOW_BITS ? spread_of_low_bits(p, in) : worst;
}

static bool raise_spread(struct plan *p, ir_reg r, enum spread to)
{
	if (r == IR_NO_REG || p->spread[r] >= to)
		return false;
	p->spread[r] = (unsigned char)to;
	return true;
}

/* Lanes part at b: what is written on the way differs where they meet, as some of them did not come by. */
static void part(struct plan *p, uint32_t b)
{
	uint32_t meet = find_region(p, b);

	p->parts[b] = true;
	for (uint32_t x = 0; x < p->nr; x++) {
		if (!emit_has(p->region, x))
			continue;
		p->apart[x] = true;
		for (uint32_t i = 0; meet < p->nr && i < p->fn->block[x].nr_insns; i++) {
			const struct ir_insn *in = &p->fn->block[x].insn[i];

			for (unsigned int d = 0; d < in->nr_dst; d++)
				if (in->dst[d] != IR_NO_REG && emit_has(p->flow->live_in[meet], in->dst[d]))
					raise_spread(p, in->dst[d], MIXED);
		}
	}
}

static void find_spread(struct plan *p)
{
	bool again = true;

	while (again) {
		again = false;
		for (uint32_t b = 0; b < p->nr; b++) {
			const struct ir_insn *t = last_insn(p, b);

			for (uint32_t i = 0; !p->gone[b] && i < p->fn->block[b].nr_insns; i++) {
				const struct ir_insn *in = &p->fn->block[b].insn[i];
				enum spread s;

				if (!in->nr_dst)
					continue;
				s = spread_of_result(p, b, in);
				if (in->guard != IR_NO_REG && p->spread[in->guard] != SAME)
					s = MIXED;
				for (unsigned int d = 0; d < in->nr_dst; d++)
					again |= raise_spread(p, in->dst[d], s);
			}
			if (p->gone[b] || p->parts[b] || p->first[b + 1] - p->first[b] < 2 || (t->op != IR_cbra && t->op != IR_brx) ||
			    spread_of(p, &t->src[0]) == SAME)
				continue;
			part(p, b);
			again = true;
		}
	}
}

/* ---- loops that wait ---- */

/* All that the register is given in the loop is what memory held: loaded, or given back by a compare-and-swap. */
static bool is_as_seen(const struct plan *p, ir_reg r, struct emit_set body, struct emit_set visited)
{
	bool found = false;

	if (emit_has(visited, r))
		return true;
	emit_set_add(visited, r);
	for (uint32_t x = 0; x < p->nr; x++)
		for (uint32_t i = 0; emit_has(body, x) && i < p->fn->block[x].nr_insns; i++) {
			const struct ir_insn *in = &p->fn->block[x].insn[i];

			for (unsigned int d = 0; d < in->nr_dst; d++) {
				if (in->dst[d] != r)
					continue;
				found = true;
				if (in->op == IR_ld || (in->op == IR_atom && in->sub == IR_ATOM_CAS))
					continue;
				if (in->op != IR_mov || in->src[0].kind != IR_OPD_REG || !is_as_seen(p, in->src[0].reg, body, visited))
					return false;
			}
		}
	return found;
}

static const struct ir_insn *def_in_block(const struct plan *p, uint32_t b, uint32_t before, ir_reg r, uint32_t *at)
{
	while (before-- > 0) {
		const struct ir_insn *in = &p->fn->block[b].insn[before];

		for (unsigned int d = 0; d < in->nr_dst; d++)
			if (in->dst[d] == r) {
				*at = before;
				return in;
			}
	}
	return NULL;
}

/*
 * b's branch asks whether a compare-and-swap of b succeeded that was given what had been there just before: the
 * target that is taken if not, which says that somebody else was faster. UINT32_MAX: nothing like that.
 */
static uint32_t target_when_outrun(const struct plan *p, uint32_t b, struct emit_set body, struct emit_set visited)
{
	const struct ir_insn *t = last_insn(p, b), *cmp, *cas;
	uint32_t at, cas_at, other_at;
	bool yes;

	if (t->op != IR_cbra || t->src[0].kind != IR_OPD_REG)
		return UINT32_MAX;
	cmp = def_in_block(p, b, p->fn->block[b].nr_insns - 1, t->src[0].reg, &at);
	if (!cmp || cmp->op != IR_setp || cmp->guard != IR_NO_REG || (cmp->cmp != IR_EQ && cmp->cmp != IR_NE) || cmp->nr_src != 2 ||
	    ir_type_is_float(cmp->type) || cmp->src[0].kind != IR_OPD_REG || cmp->src[1].kind != IR_OPD_REG)
		return UINT32_MAX;
	for (unsigned int i = 0; i < 2; i++) {
		ir_reg result = cmp->src[i].reg, other = cmp->src[1 - i].reg;

		cas = def_in_block(p, b, at, result, &cas_at);
		if (!cas || cas->op != IR_atom || cas->sub != IR_ATOM_CAS || cas->guard != IR_NO_REG || cas->src[2].kind != IR_OPD_REG ||
		    cas->src[2].reg != other || (def_in_block(p, b, at, other, &other_at) && other_at >= cas_at))
			continue;
		memset(visited.word, 0, p->flow->reg_words * sizeof(uint64_t));
		if (!is_as_seen(p, other, body, visited))
			continue;
		yes = (cmp->cmp == IR_NE) ^ (cmp->dst[0] != t->src[0].reg) ^ t->src[0].negated;
		return t->target[yes ? 0 : 1];
	}
	return UINT32_MAX;
}

/* Round the loop of b -> h leads no way but those where a compare-and-swap was outrun. */
static bool only_goes_round_outrun(struct plan *p, uint32_t b, uint32_t h, struct emit_set body, struct emit_set visited)
{
	uint32_t top = 0;

	memset(p->reached.word, 0, p->flow->block_words * sizeof(uint64_t));
	emit_set_add(p->reached, h);
	p->stack[top++] = h;
	while (top) {
		uint32_t x = p->stack[--top], lost = target_when_outrun(p, x, body, visited);

		for (unsigned int i = 0; i < nr_targets(p, x); i++) {
			uint32_t t = ir_target(last_insn(p, x), i);

			if (t == lost || !emit_has(body, t))
				continue;
			if (x == b && t == h)
				return false;
			if (!emit_has(p->reached, t)) {
				emit_set_add(p->reached, t);
				p->stack[top++] = t;
			}
		}
	}
	return true;
}

/* Whether what memory says decides about another round of the loop b -> h, and not only about what happens in one. */
static bool memory_decides(struct plan *p, uint32_t h, struct emit_set body, struct emit_set taint, struct emit_set defined)
{
	bool again = true;

	memset(taint.word, 0, p->flow->reg_words * sizeof(uint64_t));
	memset(defined.word, 0, p->flow->reg_words * sizeof(uint64_t));
	while (again) {
		again = false;
		if (!emit_loop_taint(p->fn, body, taint, defined))
			return false;
		for (uint32_t b = 0; b < p->nr; b++) {
			const struct ir_insn *t = last_insn(p, b);
			uint32_t meet;

			if (!emit_has(body, b) || (t->op != IR_cbra && t->op != IR_brx) || t->src[0].kind != IR_OPD_REG ||
			    !emit_has(taint, t->src[0].reg))
				continue;
			for (unsigned int i = 0; i < nr_targets(p, b); i++)
				if (!emit_has(body, ir_target(t, i)))
					return true;
			/* what is written on one of its sides says which it was */
			meet = find_region(p, b);
			for (uint32_t x = 0; x < p->nr; x++)
				for (uint32_t i = 0; emit_has(p->region, x) && emit_has(body, x) && i < p->fn->block[x].nr_insns; i++) {
					const struct ir_insn *in = &p->fn->block[x].insn[i];

					for (unsigned int d = 0; d < in->nr_dst; d++) {
						ir_reg r = in->dst[d];

						if (r == IR_NO_REG || emit_has(taint, r) ||
						    !(emit_has(p->flow->live_in[h], r) ||
						      (meet < p->nr && emit_has(p->flow->live_in[meet], r))))
							continue;
						emit_set_add(taint, r);
						again = true;
					}
				}
		}
	}
	return false;
}

/* All lanes enter the loop together, and leave it together. */
static bool all_go_round(const struct plan *p, uint32_t h, struct emit_set body)
{
	if (p->apart[h])
		return false;
	for (uint32_t b = 0; b < p->nr; b++) {
		const struct ir_insn *t = last_insn(p, b);

		for (unsigned int i = 0; emit_has(body, b) && i < nr_targets(p, b); i++)
			if (!emit_has(body, ir_target(t, i)) && (p->apart[b] || spread_of(p, &t->src[0]) != SAME))
				return false;
	}
	return true;
}

static void walk_to(struct plan *p, uint32_t b, struct emit_set body, uint32_t *top)
{
	if (emit_has(p->reached, b) || emit_has(body, b))
		return;
	emit_set_add(p->reached, b);
	p->walk[(*top)++] = b;
}

/* In the region of b, just found: whether its target t leads to h. */
static bool leads_to(struct plan *p, uint32_t t, uint32_t h, struct emit_set seen)
{
	uint32_t top = 0;

	if (!emit_has(p->region, t))
		return false;
	memset(seen.word, 0, p->flow->block_words * sizeof(uint64_t));
	emit_set_add(seen, t);
	p->stack[top++] = t;
	while (top) {
		uint32_t x = p->stack[--top];

		if (x == h)
			return true;
		for (unsigned int i = 0; i < nr_targets(p, x); i++) {
			uint32_t s = ir_target(last_insn(p, x), i);

			if (!emit_has(p->region, s) || emit_has(seen, s))
				continue;
			emit_set_add(seen, s);
			p->stack[top++] = s;
		}
	}
	return false;
}

/* Where lanes may be that a branch outside of the loop has parted from those in it. */
static void walk_from_branch(struct plan *p, uint32_t b, uint32_t h, struct emit_set body, struct emit_set seen, uint32_t *top)
{
	const struct ir_insn *t = last_insn(p, b);
	unsigned int nr_leading = 0;

	find_region(p, b);
	if (!emit_has(p->region, h))
		return;
	for (unsigned int i = 0; i < nr_targets(p, b); i++)
		nr_leading += leads_to(p, ir_target(t, i), h, seen);
	/* of those that went to its one side, if only that leads to the loop, all are in it, or parted from these by another branch */
	for (unsigned int i = 0; i < nr_targets(p, b); i++)
		if (nr_leading != 1 || !leads_to(p, ir_target(t, i), h, seen))
			walk_to(p, ir_target(t, i), body, top);
}

/*
 * Before all threads of the block meet, for which the loop's lanes are needed too, those outside of it (and those in it) do
 * nothing that the loop could wait for.
 */
static bool others_only_wait(struct plan *p, uint32_t h, struct emit_set body, struct emit_set seen)
{
	uint32_t top = 0;

	memset(p->reached.word, 0, p->flow->block_words * sizeof(uint64_t));
	for (uint32_t b = 0; b < p->nr; b++) {
		if (p->parts[b] && !emit_has(body, b))
			walk_from_branch(p, b, h, body, seen, &top);
		if (!emit_has(body, b))
			continue;
		for (uint32_t i = 0; i < p->fn->block[b].nr_insns; i++)
			if (is_seen(&p->fn->block[b].insn[i]))
				return false;
		for (unsigned int i = 0; i < nr_targets(p, b); i++)
			walk_to(p, ir_target(last_insn(p, b), i), body, &top);
	}
	while (top) {
		uint32_t b = p->walk[--top];
		bool met = false;

		for (uint32_t i = 0; i < p->fn->block[b].nr_insns; i++) {
			const struct ir_insn *in = &p->fn->block[b].insn[i];

			if (is_seen(in))
				return false;
			met |= is_for_all_threads(in);
		}
		for (unsigned int i = 0; !met && i < nr_targets(p, b); i++)
			walk_to(p, ir_target(last_insn(p, b), i), body, &top);
	}
	return true;
}

/* ---- the answers ---- */

static void plan_release(struct plan *p)
{
	free(p->gone);
	free(p->ends);
	free(p->first);
	free(p->to);
	free(p->stands_for);
	free(p->ipdom);
	free(p->spread);
	free(p->parts);
	free(p->apart);
	free(p->region.word);
	free(p->reached.word);
	free(p->stack);
	free(p->walk);
}

static enum hg_status plan_begin(struct plan *p, enum question q)
{
	enum hg_status st;

	p->gone = calloc((size_t)p->nr + 1, sizeof(bool));
	p->ends = calloc((size_t)p->nr + 1, sizeof(bool));
	p->spread = calloc((size_t)p->fn->nr_regs + 1, 1);
	p->parts = calloc((size_t)p->nr + 1, sizeof(bool));
	p->apart = calloc((size_t)p->nr + 1, sizeof(bool));
	p->region.word = calloc(p->flow->block_words, sizeof(uint64_t));
	p->reached.word = calloc(p->flow->block_words, sizeof(uint64_t));
	if (!p->gone || !p->ends || !p->spread || !p->parts || !p->apart || !p->region.word || !p->reached.word)
		return HG_ERR_NOMEM;
	find_gone(p, q);
	st = build_graph(p);
	if (!st)
		st = find_meeting_points(p);
	if (!st)
		find_spread(p);
	return st;
}

/* The first operation, in the order of blocks, that could not be shown. */
struct doubt {
	uint32_t block, line;
	const char *why;
};

static void doubt_at(struct doubt *d, uint32_t block, uint32_t line, const char *why)
{
	if (!d->why || block < d->block)
		*d = (struct doubt){ .block = block, .line = line, .why = why };
}

static void look_at_lanes(const struct plan *p, struct doubt *d)
{
	for (uint32_t b = 0; b < p->nr; b++)
		for (uint32_t i = 0; p->apart[b] && i < p->fn->block[b].nr_insns; i++)
			if (is_lane_op(&p->fn->block[b].insn[i]))
				doubt_at(d, b, p->fn->block[b].insn[i].line, p->pair ? "an operation of a warp's lanes where two warps may be apart" :
					 "an operation of a warp's lanes where they may be apart");
}

static enum hg_status look_at_waves(struct plan *p, struct doubt *d)
{
	struct emit_set *body = emit_sets_alloc(2, p->flow->block_words), *regs = emit_sets_alloc(2, p->flow->reg_words);
	enum hg_status st = HG_ERR_NOMEM;

	if (!body || !regs)
		goto out;
	for (uint32_t b = 0; b < p->nr; b++) {
		const struct ir_insn *t = last_insn(p, b);

		for (uint32_t i = 0; !p->gone[b] && i < p->fn->block[b].nr_insns; i++) {
			const struct ir_insn *in = &p->fn->block[b].insn[i];

			if (!is_barrier(in))
				continue;
			if (p->apart[b])
				doubt_at(d, b, in->line, p->pair ? "a barrier where two warps may be apart" :
					 "a barrier where lanes of a warp may be apart");
			else if (spread_of(p, &in->src[0]) != SAME || spread_of(p, &in->src[1]) != SAME)
				doubt_at(d, b, in->line, p->pair ? "a barrier that may not be the same for two warps" :
					 "a barrier that may not be the same for all lanes of a warp");
		}
		for (unsigned int i = 0; p->flow->spin[b] && i < nr_targets(p, b); i++) {
			uint32_t h = ir_target(t, i);

			if (h > b)
				continue;
			emit_loop_body(p->fn, b, h, body[0]);
			if (!memory_decides(p, h, body[0], regs[0], regs[1]) || only_goes_round_outrun(p, b, h, body[0], regs[0]) ||
			    all_go_round(p, h, body[0]) || others_only_wait(p, h, body[0], body[1]))
				continue;
			doubt_at(d, b, t->line, p->pair ? "a loop that may wait for another lane, or for the other warp of two" :
				 "a loop that may wait for another lane of its warp");
		}
	}
	st = HG_OK;
out:
	emit_sets_free(body);
	emit_sets_free(regs);
	return st;
}

/* Threads may end in the block, before its end: those that fail, or find while they wait that others have. */
static bool may_end(const struct plan *p, uint32_t b, const struct ir_insn *in)
{
	switch (in->op) {
	case IR_trap: case IR_assertfail:
		return in->guard != IR_NO_REG;	/* else the block ends here, for all that come */
	case IR_brx:
		return spread_of(p, &in->src[0]) != SAME;
	default:
		for (unsigned int i = 0; p->flow->spin[b] && i < ir_nr_targets(in); i++)
			if (ir_target(in, i) <= b)
				return true;
		return false;
	}
}

/* The blocks from where a barrier is still ahead, or in them: in p->reached. */
static void find_before_barriers(struct plan *p)
{
	bool again = true;

	memset(p->reached.word, 0, p->flow->block_words * sizeof(uint64_t));
	for (uint32_t b = 0; b < p->nr; b++)
		for (uint32_t i = 0; i < p->fn->block[b].nr_insns; i++)
			if (is_barrier(&p->fn->block[b].insn[i]))
				emit_set_add(p->reached, b);
	while (again) {
		again = false;
		for (uint32_t b = p->nr; b-- > 0;)
			for (unsigned int i = 0; !emit_has(p->reached, b) && i < nr_targets(p, b); i++)
				if (emit_has(p->reached, ir_target(last_insn(p, b), i))) {
					emit_set_add(p->reached, b);
					again = true;
				}
	}
}

static bool no_thread_misses_a_barrier(struct plan *p)
{
	find_before_barriers(p);
	for (uint32_t b = 0; b < p->nr; b++)
		for (uint32_t i = 0; emit_has(p->reached, b) && i < p->fn->block[b].nr_insns; i++) {
			const struct ir_insn *in = &p->fn->block[b].insn[i];

			if (may_end(p, b, in) || (is_barrier(in) && (p->apart[b] || !is_for_all_threads(in))))
				return false;
		}
	return true;
}

static enum hg_status prove_whole(const struct ir_func *fn, const struct emit_info *flow, const struct ir_insn **only_def, bool *holds)
{
	struct plan p = { .fn = fn, .flow = flow, .nr = fn->nr_blocks, .only_def = only_def, .pair = true, .whole = true, .low_bits = 10 };
	enum hg_status st = plan_begin(&p, FOR_BLOCKS);

	if (!st)
		*holds = no_thread_misses_a_barrier(&p);
	plan_release(&p);
	return st;
}

static enum hg_status prove(const struct ir_func *fn, const struct emit_info *flow, const struct ir_insn **only_def, bool pair,
			    bool rows, struct doubt *out)
{
	static const enum question questions[] = { FOR_LANES, FOR_WAVES };
	struct doubt d = { 0 };
	enum hg_status st = HG_OK;

	for (unsigned int i = 0; !st && i < 2; i++) {
		struct plan p = { .fn = fn, .flow = flow, .nr = fn->nr_blocks, .only_def = only_def, .pair = pair, .rows = rows,
				  .low_bits = pair ? 6 : 5 };

		st = plan_begin(&p, questions[i]);
		if (!st && questions[i] == FOR_LANES)
			look_at_lanes(&p, &d);
		else if (!st)
			st = look_at_waves(&p, &d);
		plan_release(&p);
	}
	if (!st)
		*out = d;
	return st;
}

static void find_defs(const struct ir_func *fn, const struct ir_insn **only_def, bool *several)
{
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
			const struct ir_insn *in = &fn->block[b].insn[i];

			for (unsigned int d = 0; d < in->nr_dst; d++) {
				ir_reg r = in->dst[d];

				if (r == IR_NO_REG)
					continue;
				several[r] |= only_def[r] != NULL;
				only_def[r] = in;
			}
		}
	for (uint32_t r = 0; r < fn->nr_regs; r++)
		if (several[r])
			only_def[r] = NULL;
}

static void find_uses(const struct ir_func *fn, struct gpu_plan *out)
{
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
			const struct ir_insn *in = &fn->block[b].insn[i];

			out->uses_lanes |= is_lane_op(in) || in->op == IR_activemask;
			if (!is_barrier(in))
				continue;
			out->uses_barriers = true;
			out->uses_named_barriers |= !is_imm(&in->src[0], 0) || !is_imm(&in->src[1], 0);
		}
}

enum hg_status gpu_plan_make(const struct ir_func *fn, struct gpu_plan *out)
{
	const struct ir_insn **only_def = calloc((size_t)fn->nr_regs + 1, sizeof(*only_def));
	bool *several = calloc((size_t)fn->nr_regs + 1, sizeof(*several));
	struct gpu_plan plan = { 0 };
	struct emit_info flow = { 0 };
	enum hg_status st = HG_ERR_NOMEM;

	if (!only_def || !several)
		goto out;
	st = emit_analyze_flow(fn, &flow);
	if (st)
		goto out;
	find_uses(fn, &plan);
	find_defs(fn, only_def, several);
	for (unsigned int i = 0; i < 4; i++) {
		bool pair = i & 1, rows = i & 2, *holds = rows ? pair ? &plan.rows_pair : &plan.rows : pair ? &plan.direct_pair : &plan.direct;
		struct doubt d;

		st = prove(fn, &flow, only_def, pair, rows, &d);
		if (st)
			goto out;
		*holds = !d.why;
		if (d.why && !plan.why && !rows) {
			plan.why = d.why;
			plan.line = d.line;
		}
	}
	if (plan.uses_barriers)
		st = prove_whole(fn, &flow, only_def, &plan.whole);
	if (!st)
		*out = plan;
out:
	emit_info_release(&flow);
	free(only_def);
	free(several);
	return st;
}
