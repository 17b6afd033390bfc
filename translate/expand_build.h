/*
 * expand_build.h - what expand.c and the families of expansions (expand_*.c) share. Private to translate/.
 *
 * An expansion writes other hgIR in the place of one instruction, with the builders of lower.h: lower_emit, lower_op, lower_reg,
 * lower_new_block, lower_bra, lower_cbra, lower_split. It begins in the block at hand and leaves at hand the one where the kernel goes on; it may
 * branch, wait for lanes (in blocks of their own, first in them) and use any number of new registers. All of it stands in the line of the
 * instruction. It has no guard to look at: where there was one, the caller has branched around.
 *
 * Code that is long, or in C, is a body: see expand_call.
 */
#ifndef HG_TRANSLATE_EXPAND_BUILD_H
#define HG_TRANSLATE_EXPAND_BUILD_H

#include "translate/lower.h"

struct expand;
struct expand_code;

/* An expansion of one operation: the first that wants an instruction writes it. */
struct expand_rule {
	enum ir_op op;
	bool (*wants)(const struct ir_insn *in);		/* NULL: all of this operation */
	void (*write)(struct expand *x, const struct ir_insn *in);
};

/* Each family's rules, with one behind them whose `write` is NULL. */
extern const struct expand_rule expand_f64_rules[];	/* directed rounding, where there is f64; */
extern const struct expand_rule expand_no_f64_rules[];	/* all arithmetic of f64, where there is none, */
extern const struct expand_rule expand_atom_f64_rules[];	/* and atomic sums: instead of the first */
extern const struct expand_rule expand_lane_rules[];	/* match, redux */
extern const struct expand_rule expand_matrix_rules[];
extern const struct expand_rule expand_atom_rules[];
extern const struct expand_rule expand_state_rules[];	/* textures, printf, assert */

struct lower *expand_lower(struct expand *x);

/* --- operands --- */
static inline struct ir_operand expand_reg(ir_reg r)
{
	return (struct ir_operand){ .kind = IR_OPD_REG, .reg = r };
}

static inline struct ir_operand expand_imm(uint64_t bits)
{
	return (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG, .imm = bits };
}

static inline struct ir_operand expand_sreg(enum ir_sreg s)
{
	return (struct ir_operand){ .kind = IR_OPD_SREG, .reg = IR_NO_REG, .index = s };
}

/* An operation with one result in a new register, or in dst if that is not IR_NO_REG. */
ir_reg expand_op(struct expand *x, enum ir_op op, enum ir_type type, ir_reg dst, unsigned int nr, const struct ir_operand *src);
#define EXPAND_OP(x, op, type, ...)								\
	expand_op(x, op, type, IR_NO_REG, sizeof((struct ir_operand[]){ __VA_ARGS__ }) / sizeof(struct ir_operand),	\
		  (struct ir_operand[]){ __VA_ARGS__ })
void expand_mov(struct expand *x, ir_reg dst, struct ir_operand v);	/* of the register's width; an address or a special register too */
ir_reg expand_compare(struct expand *x, enum ir_cmp cmp, enum ir_type type, struct ir_operand a, struct ir_operand b);
ir_reg expand_cvt(struct expand *x, enum ir_type to, enum ir_type from, struct ir_operand v);	/* no rounding: exact ones */

/* --- bodies --- */
/*
 * Code with inputs and outputs. `write` is as an expansion is: it reads in[0]…, may change them, and puts its results into out[0]…, all
 * of them on every way. A body that is used often and long stands in the kernel once, and is branched to with a number to come back by.
 */
#define EXPAND_MAX_IO 48
struct expand_body {
	unsigned int nr_in, nr_out;
	uint8_t in[EXPAND_MAX_IO], out[EXPAND_MAX_IO];	/* enum ir_type: classes */
	void (*write)(struct expand *x, const struct expand_body *b, const ir_reg *in, const ir_reg *out);
	uint32_t arg[4];			/* of `write` */
	const struct expand_code *code;		/* of expand_support */
};

/*
 * A function of the support library: translate/support/expand_*.c, where EXPANSION(name) declares it. Its parameters are the inputs, but for the
 * last one, a pointer to a structure: the members are the outputs, in their order. They have 16, 32 or 64 bits; the function stores all
 * of them, and does nothing else with the pointer. It may have local memory, but no shared memory and no variables. NULL: there is no such
 * function, or the library cannot be read, which has been told. The library is read when a function of it is first wanted.
 */
const struct expand_body *expand_support(const char *name);

/*
 * Runs the body. in: operands of the classes it says (immediates, special registers, addresses of variables too); out: registers of these classes, IR_NO_REG:
 * not wanted. Bodies are the same if `write`, `arg` and `code` are. NULL (of expand_support) ends the expansion
 * of the module with an error.
 */
void expand_call(struct expand *x, const struct expand_body *b, const struct ir_operand *in, const ir_reg *out);

#endif
