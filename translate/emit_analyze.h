/* emit_analyze.h - what the emitters of machine code need to know of a kernel before they write any. */
#ifndef HG_TRANSLATE_EMIT_ANALYZE_H
#define HG_TRANSLATE_EMIT_ANALYZE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/ir.h"

/*
 * Lanes of a warp run one group at a time: the lanes at the lowest-numbered block. Where no branch can part
 * them they all run together. The analysis finds, assuming that order:
 *  - which registers are uniform: whenever one is written, no lane outside the running group still needs its old
 *    value, and all lanes of the group write the same one. They are kept as scalars;
 *  - for each block, in which blocks other lanes may be pending while it runs;
 *  - the registers such lanes still need there, which a write must leave alone in their lanes.
 *
 * `free_order` drops the assumption about the order: after the first branch that parts lanes anything goes. It is
 * for kernels whose lanes wait for each other, and for control flow too irregular for the order to hold.
 */
struct emit_set { uint64_t *word; };	/* a bit for each block or register */

/*
 * A register whose lanes differ by their thread's index alone: lane's value = lane 0's + (tid.x - lane 0's tid.x) * stride, and, with
 * `rows`, + (tid.y - lane 0's tid.y) * a number that the code knows.
 */
struct emit_line {
	enum { EMIT_LINE_NONE, EMIT_LINE_UNKNOWN, EMIT_LINE } kind;	/* not unknown when the analysis is done */
	bool rows;
	int64_t stride;
	uint32_t slot;		/* if the register crosses blocks: of these numbers, in the spill area */
};

struct emit_info {
	const struct ir_func *fn;
	uint32_t nr_blocks, nr_regs;
	uint32_t block_words, reg_words;
	bool free_order;		/* asked for, or the control flow needs it */

	struct emit_set *live_in;	/* of a block: registers */
	struct emit_set *pending;	/* of a block: blocks, all higher; with free_order: unused */
	struct emit_set *keep;		/* of a block: registers that lanes pending elsewhere need */
	bool *parted;			/* of a block: other lanes may be pending */
	bool *diverges;			/* of a block: its terminator may part the lanes; with free_order: or its barrier */
	bool *spin;			/* of a block: its terminator closes a loop that waits for memory to change */
	bool *is_vector;		/* of a register: not uniform */
	struct emit_line *line;		/* of a vector register */
	bool has_lines;
	bool *from_memory;		/* of a vector register: made of what lanes have loaded; as an address, one of lanes apart */
	bool *raw_nan;			/* of a register: only results of float arithmetic, NaNs not yet canonical */
	bool *crosses;			/* of a register: live into some block */
	uint32_t *slot;			/* of such a register: offset in the spill area */
	uint32_t spill_bytes;
	uint32_t *ipdom;		/* of a block: nr_blocks when it is the end of the kernel */
	uint32_t nr_preds_total;
};

enum hg_status emit_analyze(const struct ir_func *fn, bool free_order, struct emit_info *out) HG_MUST_CHECK;
void emit_info_release(struct emit_info *in);

/* live_in, crosses and spin alone: what holds on every target. */
enum hg_status emit_analyze_flow(const struct ir_func *fn, struct emit_info *out) HG_MUST_CHECK;

static inline bool emit_has(struct emit_set s, uint32_t i)
{
	return s.word[i / 64] >> (i % 64) & 1;
}

static inline void emit_set_add(struct emit_set s, uint32_t i)
{
	s.word[i / 64] |= UINT64_C(1) << (i % 64);
}

/* True if `to` has grown. */
static inline bool emit_set_join(struct emit_set to, struct emit_set from, uint32_t words)
{
	uint64_t grew = 0;

	for (uint32_t i = 0; i < words; i++) {
		grew |= from.word[i] & ~to.word[i];
		to.word[i] |= from.word[i];
	}
	return grew != 0;
}

/* `count` empty sets of `words` words; NULL: no memory. Freed by emit_sets_free, which takes NULL. */
struct emit_set *emit_sets_alloc(uint32_t count, uint32_t words);
void emit_sets_free(struct emit_set *s);

/* The loop of the back edge b -> h: blocks that reach b without passing h. */
void emit_loop_body(const struct ir_func *fn, uint32_t b, uint32_t h, struct emit_set body);
/*
 * Adds to `taint` the registers that hold, in such a loop, what memory says that another thread may change while the loop goes on, and what
 * is made of them or of registers that were in the set before; to `defined` those that the loop writes. Whether they decide a branch.
 */
bool emit_loop_taint(const struct ir_func *fn, struct emit_set body, struct emit_set taint, struct emit_set defined);

/* emit_affine.c: fills in line, when all else is known but the slots. */
void emit_find_lines(struct emit_info *in);

/* Whether the instruction's result differs from lane to lane even if its operands do not. */
bool emit_insn_is_divergent(const struct ir_insn *in);
/* Whether any operand is a vector. */
bool emit_insn_reads_vector(const struct emit_info *in, const struct ir_insn *insn);

#endif
