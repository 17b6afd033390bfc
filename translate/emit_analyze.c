/* emit_analyze.c - liveness, divergence and scheduling of a kernel's blocks. */
#include "translate/emit_analyze.h"

#include <stdlib.h>
#include <string.h>

struct emit_set *emit_sets_alloc(uint32_t count, uint32_t words)
{
	struct emit_set *s = calloc(count ? count : 1, sizeof(*s));
	uint64_t *w = calloc((size_t)count * words + 1, sizeof(*w));

	if (!s || !w) {
		free(s);
		free(w);
		return NULL;
	}
	for (uint32_t i = 0; i < count; i++)
		s[i].word = w + (size_t)i * words;
	if (!count)
		s[0].word = w;
	return s;
}

void emit_sets_free(struct emit_set *s)
{
	if (s)
		free(s[0].word);
	free(s);
}

void emit_info_release(struct emit_info *in)
{
	emit_sets_free(in->live_in);
	emit_sets_free(in->pending);
	emit_sets_free(in->keep);
	free(in->parted);
	free(in->diverges);
	free(in->spin);
	free(in->is_vector);
	free(in->line);
	free(in->from_memory);
	free(in->raw_nan);
	free(in->crosses);
	free(in->slot);
	free(in->ipdom);
	memset(in, 0, sizeof(*in));
}

static const struct ir_insn *last_insn(const struct ir_func *fn, uint32_t b)
{
	return &fn->block[b].insn[fn->block[b].nr_insns - 1];
}

bool emit_insn_is_divergent(const struct ir_insn *in)
{
	switch (in->op) {
	case IR_atom: case IR_shfl: case IR_match: case IR_redux:
		return true;
	case IR_vote:
		return true;	/* member masks may differ */
	case IR_ld: case IR_st: case IR_cvta: case IR_cvta_to:
		if (in->space == IR_LOCAL)
			return true;
		break;
	case IR_bar_red:
	case IR_mma: case IR_ldmatrix: case IR_stmatrix: case IR_movmatrix:
		return true;
	case IR_tex:
		return true;	/* a helper's work, lane by lane */
	case IR_vprintf: case IR_assertfail:
		return true;	/* each lane prints, whatever it prints */
	default:
		break;
	}
	for (unsigned int i = 0; i < in->nr_src; i++) {
		if (in->src[i].kind != IR_OPD_SREG)
			continue;
		switch (in->src[i].index) {
		case IR_SREG_TID_X: case IR_SREG_TID_Y: case IR_SREG_TID_Z: case IR_SREG_LANEID:
		case IR_SREG_LANEMASK_EQ: case IR_SREG_LANEMASK_LE: case IR_SREG_LANEMASK_LT:
		case IR_SREG_LANEMASK_GE: case IR_SREG_LANEMASK_GT:
			return true;
		default:
			break;
		}
	}
	return false;
}

bool emit_insn_reads_vector(const struct emit_info *in, const struct ir_insn *insn)
{
	for (unsigned int i = 0; i < insn->nr_src; i++)
		if (insn->src[i].kind == IR_OPD_REG && insn->src[i].reg != IR_NO_REG && in->is_vector[insn->src[i].reg])
			return true;
	return false;
}

static enum hg_status liveness(struct emit_info *in)
{
	const struct ir_func *fn = in->fn;
	struct emit_set *def = emit_sets_alloc(in->nr_blocks, in->reg_words);
	struct emit_set *tmp = emit_sets_alloc(1, in->reg_words);
	bool again = true;

	if (!def || !tmp) {
		emit_sets_free(def);
		emit_sets_free(tmp);
		return HG_ERR_NOMEM;
	}
	/* live_in begins as what is read before it is written; a guarded write is no full write. */
	for (uint32_t b = 0; b < in->nr_blocks; b++) {
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
			const struct ir_insn *n = &fn->block[b].insn[i];

			for (unsigned int s = 0; s < n->nr_src; s++)
				if (n->src[s].kind == IR_OPD_REG && n->src[s].reg != IR_NO_REG &&
				    !emit_has(def[b], n->src[s].reg))
					emit_set_add(in->live_in[b], n->src[s].reg);
			if (n->guard != IR_NO_REG && !emit_has(def[b], n->guard))
				emit_set_add(in->live_in[b], n->guard);
			for (unsigned int d = 0; d < n->nr_dst; d++) {
				if (n->dst[d] == IR_NO_REG)
					continue;
				if (n->guard == IR_NO_REG)
					emit_set_add(def[b], n->dst[d]);
				else if (!emit_has(def[b], n->dst[d]))
					emit_set_add(in->live_in[b], n->dst[d]);
			}
		}
	}
	while (again) {
		again = false;
		for (uint32_t b = in->nr_blocks; b-- > 0;) {
			const struct ir_insn *t = last_insn(fn, b);

			memset(tmp[0].word, 0, in->reg_words * sizeof(uint64_t));
			for (unsigned int i = 0; i < ir_nr_targets(t); i++)
				emit_set_join(tmp[0], in->live_in[ir_target(t, i)], in->reg_words);
			for (uint32_t w = 0; w < in->reg_words; w++)
				tmp[0].word[w] &= ~def[b].word[w];
			again |= emit_set_join(in->live_in[b], tmp[0], in->reg_words);
		}
	}
	for (uint32_t b = 0; b < in->nr_blocks; b++)
		for (uint32_t r = 0; r < in->nr_regs; r++)
			if (emit_has(in->live_in[b], r))
				in->crosses[r] = true;
	emit_sets_free(def);
	emit_sets_free(tmp);
	return HG_OK;
}

/* Immediate postdominators by sets: pdom(b) = {b} + the common ones of its successors; the end is nr_blocks. */
static enum hg_status postdominators(struct emit_info *in)
{
	uint32_t n = in->nr_blocks, words = (n + 64) / 64;
	struct emit_set *pd = emit_sets_alloc(n + 1, words);
	struct emit_set *tmp = emit_sets_alloc(1, words);
	bool again = true;

	if (!pd || !tmp) {
		emit_sets_free(pd);
		emit_sets_free(tmp);
		return HG_ERR_NOMEM;
	}
	for (uint32_t b = 0; b < n; b++)
		memset(pd[b].word, 0xff, words * sizeof(uint64_t));
	emit_set_add(pd[n], n);
	while (again) {
		again = false;
		for (uint32_t b = n; b-- > 0;) {
			const struct ir_insn *t = last_insn(in->fn, b);
			unsigned int nr = ir_nr_targets(t);

			memset(tmp[0].word, nr ? 0xff : 0, words * sizeof(uint64_t));
			if (!nr)
				emit_set_add(tmp[0], n);
			for (unsigned int i = 0; i < nr; i++)
				for (uint32_t w = 0; w < words; w++)
					tmp[0].word[w] &= pd[ir_target(t, i)].word[w];
			emit_set_add(tmp[0], b);
			if (memcmp(tmp[0].word, pd[b].word, words * sizeof(uint64_t))) {
				memcpy(pd[b].word, tmp[0].word, words * sizeof(uint64_t));
				again = true;
			}
		}
	}
	/* The nearest: the strict postdominator that all the others postdominate, i.e. whose own set is the largest. */
	for (uint32_t b = 0; b < n; b++) {
		uint32_t best = n, most = 0;

		for (uint32_t p = 0; p <= n; p++) {
			uint32_t size = 0;

			if (p == b || !emit_has(pd[b], p))
				continue;
			for (uint32_t w = 0; w < words; w++)
				size += (uint32_t)__builtin_popcountll(pd[p].word[w]);
			if (size > most && size <= n + 1) {
				most = size;
				best = p;
			}
		}
		in->ipdom[b] = best;
	}
	emit_sets_free(pd);
	emit_sets_free(tmp);
	return HG_OK;
}

/* Blocks reachable from `from` without passing `stop`. */
static void reach(const struct emit_info *in, uint32_t from, uint32_t stop, struct emit_set out, uint32_t *stack)
{
	uint32_t nr = 0;

	if (from == stop || emit_has(out, from))
		return;
	emit_set_add(out, from);
	stack[nr++] = from;
	while (nr) {
		const struct ir_insn *t = last_insn(in->fn, stack[--nr]);

		for (unsigned int i = 0; i < ir_nr_targets(t); i++) {
			uint32_t s = ir_target(t, i);

			if (s != stop && !emit_has(out, s)) {
				emit_set_add(out, s);
				stack[nr++] = s;
			}
		}
	}
}

/*
 * A branch that parts the lanes: lanes that took one side may wait at any block of it, or where
 * the sides meet, while the others run. False: the order of the blocks does not make them meet.
 */
static bool part(struct emit_info *in, uint32_t b, struct emit_set *side, uint32_t *stack)
{
	const struct ir_insn *t = last_insn(in->fn, b);
	uint32_t meet = in->ipdom[b], words = in->block_words;
	bool two = ir_nr_targets(t) == 2;

	memset(side[0].word, 0, words * sizeof(uint64_t));
	memset(side[1].word, 0, words * sizeof(uint64_t));
	for (unsigned int i = 0; i < ir_nr_targets(t); i++)
		reach(in, ir_target(t, i), meet, side[two ? i : 0], stack);
	if (!two)
		memcpy(side[1].word, side[0].word, words * sizeof(uint64_t));
	for (uint32_t x = 0; x < in->nr_blocks; x++) {
		bool on[2] = { emit_has(side[0], x), emit_has(side[1], x) };

		if (!on[0] && !on[1])
			continue;
		if (meet < in->nr_blocks && x > meet)
			return false;
		in->parted[x] = true;
		for (int s = 0; s < 2; s++) {
			if (!on[!s])
				continue;
			for (uint32_t w = x / 64; w < words; w++) {
				uint64_t above = w == x / 64 ? ~(((UINT64_C(2) << (x % 64)) - 1)) : ~UINT64_C(0);

				in->pending[x].word[w] |= side[s].word[w] & above;
			}
		}
		if (meet < in->nr_blocks)
			emit_set_add(in->pending[x], meet);
	}
	return true;
}

/* With free_order: from the branch on, everything may run in any order. */
static void part_freely(struct emit_info *in, uint32_t b, struct emit_set all, uint32_t *stack)
{
	const struct ir_insn *t = last_insn(in->fn, b);

	for (unsigned int i = 0; i < ir_nr_targets(t); i++)
		reach(in, ir_target(t, i), in->nr_blocks, all, stack);
}

static bool block_diverges(const struct emit_info *in, uint32_t b)
{
	const struct ir_insn *t = last_insn(in->fn, b);

	return (t->op == IR_cbra || t->op == IR_brx) && emit_insn_reads_vector(in, t) && ir_nr_targets(t) > 1;
}

/* Lanes that may name different barriers, or counts, wait for different times. */
static bool barrier_parts(const struct emit_info *in, uint32_t b)
{
	const struct ir_block *blk = &in->fn->block[b];
	const struct ir_insn *bar = blk->nr_insns > 1 ? &blk->insn[blk->nr_insns - 2] : NULL;

	if (!bar || !(ir_op_desc[bar->op].flags & IR_F_BARRIER))
		return false;
	for (unsigned int i = 0; i < 2; i++)
		if (bar->src[i].kind == IR_OPD_REG && in->is_vector[bar->src[i].reg])
			return true;
	return false;
}

static enum hg_status divergence(struct emit_info *in)
{
	const struct ir_func *fn = in->fn;
	struct emit_set *side = emit_sets_alloc(3, in->block_words);
	uint32_t *stack = malloc(((size_t)in->nr_blocks + 1) * sizeof(*stack));
	bool again = true;
	enum hg_status st = HG_ERR_NOMEM;

	if (!side || !stack)
		goto out;
	while (again) {
		again = false;
		for (uint32_t b = 0; b < in->nr_blocks; b++) {
			if (in->diverges[b] || !block_diverges(in, b))
				continue;
			in->diverges[b] = again = true;
			if (!in->free_order && !part(in, b, side, stack))
				in->free_order = true;
			part_freely(in, b, side[2], stack);
		}
		for (uint32_t b = 0; in->free_order && b < in->nr_blocks; b++) {
			if (in->diverges[b] || !barrier_parts(in, b))
				continue;
			in->diverges[b] = again = true;
			emit_set_add(side[2], b);
			part_freely(in, b, side[2], stack);
		}
		for (uint32_t b = 0; b < in->nr_blocks; b++) {
			for (uint32_t y = 0; y < in->nr_blocks; y++) {
				bool there = in->free_order ? emit_has(side[2], b) && emit_has(side[2], y) :
							      emit_has(in->pending[b], y);

				if (there)
					emit_set_join(in->keep[b], in->live_in[y], in->reg_words);
			}
			if (in->free_order)
				in->parted[b] = emit_has(side[2], b);
		}
		for (uint32_t b = 0; b < in->nr_blocks; b++) {
			for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
				const struct ir_insn *n = &fn->block[b].insn[i];
				bool vec;

				if (!n->nr_dst)
					continue;
				vec = emit_insn_is_divergent(n) || emit_insn_reads_vector(in, n) ||
				      (n->guard != IR_NO_REG && in->is_vector[n->guard]);
				for (unsigned int d = 0; d < n->nr_dst; d++) {
					ir_reg r = n->dst[d];

					if (r == IR_NO_REG || in->is_vector[r])
						continue;
					if (vec || emit_has(in->keep[b], r))
						in->is_vector[r] = again = true;
				}
			}
		}
	}
	st = HG_OK;
out:
	emit_sets_free(side);
	free(stack);
	return st;
}

void emit_loop_body(const struct ir_func *fn, uint32_t b, uint32_t h, struct emit_set body)
{
	bool again = true;

	memset(body.word, 0, (fn->nr_blocks / 64 + 1) * sizeof(uint64_t));
	emit_set_add(body, h);
	emit_set_add(body, b);
	while (again) {
		again = false;
		for (uint32_t x = 0; x < fn->nr_blocks; x++) {
			const struct ir_insn *t = last_insn(fn, x);

			if (emit_has(body, x))
				continue;
			for (unsigned int i = 0; i < ir_nr_targets(t); i++) {
				if (ir_target(t, i) != h && emit_has(body, ir_target(t, i))) {
					emit_set_add(body, x);
					again = true;
					break;
				}
			}
		}
	}
}

/* Whether the instruction, in a loop that writes the registers `defined`, reads what another thread may change meanwhile. */
static bool reads_changing(const struct ir_insn *n, struct emit_set defined, bool stored)
{
	if (n->op == IR_atom)
		return true;
	if (n->op != IR_ld || n->space == IR_PARAM || n->space == IR_CONST || n->flags & IR_NC)
		return false;
	if (n->space == IR_LOCAL)
		return stored;
	/* Also a plain load whose address stays: nothing else could make it worth repeating. */
	return stored || n->sem != IR_WEAK || n->src[0].kind != IR_OPD_REG || !emit_has(defined, n->src[0].reg);
}

bool emit_loop_taint(const struct ir_func *fn, struct emit_set body, struct emit_set taint, struct emit_set defined)
{
	bool again = true, stored = false, decides = false;

	for (uint32_t x = 0; x < fn->nr_blocks; x++)
		for (uint32_t i = 0; emit_has(body, x) && i < fn->block[x].nr_insns; i++)
			for (unsigned int d = 0; d < fn->block[x].insn[i].nr_dst; d++)
				if (fn->block[x].insn[i].dst[d] != IR_NO_REG)
					emit_set_add(defined, fn->block[x].insn[i].dst[d]);
	while (again) {
		again = false;
		for (uint32_t x = 0; x < fn->nr_blocks; x++) {
			if (!emit_has(body, x))
				continue;
			for (uint32_t i = 0; i < fn->block[x].nr_insns; i++) {
				const struct ir_insn *n = &fn->block[x].insn[i];
				bool bad = reads_changing(n, defined, stored);

				for (unsigned int s = 0; s < n->nr_src; s++)
					bad |= n->src[s].kind == IR_OPD_REG && n->src[s].reg != IR_NO_REG &&
					       emit_has(taint, n->src[s].reg);
				bad |= n->guard != IR_NO_REG && emit_has(taint, n->guard);
				if (!bad)
					continue;
				decides |= n->op == IR_cbra || n->op == IR_brx;
				/* through memory, as code that nobody optimised does it */
				if (n->op == IR_st && !stored)
					stored = again = true;
				for (unsigned int d = 0; d < n->nr_dst; d++) {
					if (n->dst[d] == IR_NO_REG || emit_has(taint, n->dst[d]))
						continue;
					emit_set_add(taint, n->dst[d]);
					again = true;
				}
			}
		}
	}
	return decides;
}

static enum hg_status spinning(struct emit_info *in)
{
	struct emit_set *body = emit_sets_alloc(1, in->block_words);
	struct emit_set *regs = emit_sets_alloc(2, in->reg_words);

	if (!body || !regs) {
		emit_sets_free(body);
		emit_sets_free(regs);
		return HG_ERR_NOMEM;
	}
	for (uint32_t b = 0; b < in->nr_blocks; b++) {
		const struct ir_insn *t = last_insn(in->fn, b);

		for (unsigned int i = 0; i < ir_nr_targets(t); i++)
			if (ir_target(t, i) <= b && !in->spin[b]) {
				emit_loop_body(in->fn, b, ir_target(t, i), body[0]);
				memset(regs[0].word, 0, in->reg_words * sizeof(uint64_t));
				memset(regs[1].word, 0, in->reg_words * sizeof(uint64_t));
				in->spin[b] = emit_loop_taint(in->fn, body[0], regs[0], regs[1]);
			}
	}
	emit_sets_free(body);
	emit_sets_free(regs);
	return HG_OK;
}

static bool imm_is_nan(const struct ir_operand *o, enum ir_type t)
{
	if (t == IR_F64 || t == IR_B64)
		return (o->imm & INT64_MAX) > UINT64_C(0x7ff0000000000000);
	return (o->imm & INT32_MAX) > 0x7f800000;
}

static bool makes_raw_nan(const struct emit_info *in, const struct ir_insn *n)
{
	unsigned int first = 0, last = 0;

	switch (n->op) {
	case IR_rcp: case IR_rsqrt:	/* of f64 with .ftz they have a NaN of their own */
		return n->type == IR_F32 || (n->type == IR_F64 && !(n->flags & IR_FTZ));
	case IR_add: case IR_sub: case IR_mul: case IR_fma: case IR_div: case IR_sqrt:
	case IR_sin: case IR_cos: case IR_ex2: case IR_lg2: case IR_tanh: case IR_min: case IR_max:
	case IR_neg: case IR_abs:
		return n->type == IR_F32 || n->type == IR_F64;
	case IR_cvt:
		return n->type == IR_F32 || n->type == IR_F64;
	case IR_mov:
		last = 1;
		break;
	case IR_selp:
		last = 2;
		break;
	default:
		return false;
	}
	if (n->type != IR_F32 && n->type != IR_F64 && n->type != IR_B32 && n->type != IR_B64)
		return false;
	for (unsigned int i = first; i < last; i++) {
		if (n->src[i].kind == IR_OPD_IMM ? imm_is_nan(&n->src[i], n->type) :
		    n->src[i].kind != IR_OPD_REG || !in->raw_nan[n->src[i].reg])
			return false;
	}
	return true;
}

static void raw_nans(struct emit_info *in)
{
	bool again = true;

	for (uint32_t r = 0; r < in->nr_regs; r++)
		in->raw_nan[r] = in->fn->reg_type[r] == IR_B32 || in->fn->reg_type[r] == IR_B64;
	while (again) {
		again = false;
		for (uint32_t b = 0; b < in->nr_blocks; b++)
			for (uint32_t i = 0; i < in->fn->block[b].nr_insns; i++) {
				const struct ir_insn *n = &in->fn->block[b].insn[i];

				for (unsigned int d = 0; d < n->nr_dst; d++) {
					if (n->dst[d] == IR_NO_REG || !in->raw_nan[n->dst[d]])
						continue;
					if (!makes_raw_nan(in, n)) {
						in->raw_nan[n->dst[d]] = false;
						again = true;
					}
				}
			}
	}
}

static bool reads_loaded(const struct emit_info *in, const struct ir_insn *n)
{
	if (n->op == IR_ld)
		return n->space != IR_LOCAL && n->space != IR_PARAM && n->space != IR_CONST;
	for (unsigned int s = 0; s < n->nr_src; s++)
		if (n->src[s].kind == IR_OPD_REG && n->src[s].reg != IR_NO_REG && in->from_memory[n->src[s].reg])
			return true;
	return n->op == IR_atom;
}

static void loaded(struct emit_info *in)
{
	bool again = true;

	while (again) {
		again = false;
		for (uint32_t b = 0; b < in->nr_blocks; b++)
			for (uint32_t i = 0; i < in->fn->block[b].nr_insns; i++) {
				const struct ir_insn *n = &in->fn->block[b].insn[i];

				if (!reads_loaded(in, n))
					continue;
				for (unsigned int d = 0; d < n->nr_dst; d++) {
					ir_reg r = n->dst[d];

					if (r == IR_NO_REG || !in->is_vector[r] || in->from_memory[r])
						continue;
					in->from_memory[r] = again = true;
				}
			}
	}
}

static void place_slots(struct emit_info *in)
{
	uint32_t at = 0;

	for (uint32_t r = 0; r < in->nr_regs; r++) {
		if (!in->crosses[r])
			continue;
		in->slot[r] = at;
		at += in->fn->reg_type[r] == IR_PRED ? 64 : ir_type_bits(in->fn->reg_type[r]) / 8 * 32;
	}
	/* behind all registers: their places are the same without lines */
	for (uint32_t r = 0; r < in->nr_regs; r++) {
		if (!in->crosses[r] || in->line[r].kind != EMIT_LINE)
			continue;
		in->line[r].slot = at;
		at += 16;
	}
	in->spill_bytes = at;
}

static enum hg_status info_begin(const struct ir_func *fn, bool free_order, struct emit_info *out)
{
	struct emit_info in = { .fn = fn, .nr_blocks = fn->nr_blocks, .nr_regs = fn->nr_regs, .free_order = free_order };
	uint32_t n = fn->nr_blocks, regs = fn->nr_regs;

	in.block_words = n / 64 + 1;
	in.reg_words = regs / 64 + 1;
	in.live_in = emit_sets_alloc(n, in.reg_words);
	in.pending = emit_sets_alloc(n, in.block_words);
	in.keep = emit_sets_alloc(n, in.reg_words);
	in.parted = calloc(n + 1, sizeof(bool));
	in.diverges = calloc(n + 1, sizeof(bool));
	in.spin = calloc(n + 1, sizeof(bool));
	in.is_vector = calloc(regs + 1, sizeof(bool));
	in.line = calloc(regs + 1, sizeof(*in.line));
	in.from_memory = calloc(regs + 1, sizeof(bool));
	in.raw_nan = calloc(regs + 1, sizeof(bool));
	in.crosses = calloc(regs + 1, sizeof(bool));
	in.slot = calloc(regs + 1, sizeof(*in.slot));
	in.ipdom = calloc(n + 1, sizeof(*in.ipdom));
	*out = in;
	if (!in.live_in || !in.pending || !in.keep || !in.parted || !in.diverges || !in.spin || !in.is_vector ||
	    !in.line || !in.from_memory || !in.raw_nan || !in.crosses || !in.slot || !in.ipdom)
		return HG_ERR_NOMEM;
	return HG_OK;
}

enum hg_status emit_analyze(const struct ir_func *fn, bool free_order, struct emit_info *out)
{
	struct emit_info in;
	enum hg_status st = info_begin(fn, free_order, &in);

	if (st)
		goto err;
	st = liveness(&in);
	if (st)
		goto err;
	st = postdominators(&in);
	if (st)
		goto err;
	st = divergence(&in);
	if (st)
		goto err;
	st = spinning(&in);
	if (st)
		goto err;
	raw_nans(&in);
	emit_find_lines(&in);
	loaded(&in);
	place_slots(&in);
	*out = in;
	return HG_OK;

err:
	emit_info_release(&in);
	return st;
}

enum hg_status emit_analyze_flow(const struct ir_func *fn, struct emit_info *out)
{
	struct emit_info in;
	enum hg_status st = info_begin(fn, false, &in);

	if (!st)
		st = liveness(&in);
	if (!st)
		st = spinning(&in);
	if (st) {
		emit_info_release(&in);
		return st;
	}
	*out = in;
	return HG_OK;
}
