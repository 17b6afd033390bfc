/* expand_atom.c - atomic operations that are loops about a compare-and-swap of 32 or 64 bits. */
#include "translate/expand_build.h"

static bool is_expanded(const struct ir_insn *in)
{
	return in->sub == IR_ATOM_MBARRIER || ir_type_bits(in->type) == 16 || ir_type_bits(in->type) == 128 || in->type == IR_F16X2 ||
		in->type == IR_BF16X2;
}

/* The word that the loop is about. */
struct word {
	const struct ir_insn *in;
	enum ir_type type;		/* IR_B32 or IR_B64 */
	struct ir_operand addr, offset;
	ir_reg shift;			/* where in the word the 16 bits are; IR_NO_REG: it is all of them */
};

static struct ir_insn *access(struct expand *x, const struct word *w, enum ir_op op, unsigned int nr_src, ir_reg dst)
{
	struct ir_insn *in = lower_emit(expand_lower(x), op, w->type, 1, nr_src);

	if (!in)
		return NULL;
	in->space = w->in->space;
	in->scope = w->in->scope;
	in->src[0] = w->addr;
	in->src[1] = w->offset;
	in->dst[0] = dst;
	return in;
}

/* The address of 16 bits: of the 32 that they are part of, and how far up they are in these. */
static void find_word(struct expand *x, struct word *w)
{
	bool is_window = w->in->space == IR_SHARED && (w->in->src[0].kind == IR_OPD_IMM || (w->in->src[0].kind == IR_OPD_REG &&
			 expand_lower(x)->fn->reg_type[w->in->src[0].reg] == IR_B32));
	enum ir_type bits = is_window ? IR_B32 : IR_B64, type = is_window ? IR_U32 : IR_U64;
	uint64_t all = is_window ? UINT32_MAX : UINT64_MAX;
	struct ir_operand at = w->in->src[0];
	ir_reg r;

	if (at.kind == IR_OPD_IMM) {	/* an immediate takes the offset in */
		at.imm = (at.imm + w->in->src[1].imm) & all;
		r = EXPAND_OP(x, IR_mov, type, at);
	} else {
		r = EXPAND_OP(x, IR_mov, type, at);
		r = EXPAND_OP(x, IR_add, type, expand_reg(r), expand_imm(w->in->src[1].imm & all));
	}
	w->addr = expand_reg(EXPAND_OP(x, IR_and, bits, expand_reg(r), expand_imm(~UINT64_C(3) & all)));
	w->offset = expand_imm(0);
	if (!is_window)
		r = expand_cvt(x, IR_U32, IR_U64, expand_reg(r));
	r = EXPAND_OP(x, IR_and, IR_B32, expand_reg(r), expand_imm(2));
	w->shift = EXPAND_OP(x, IR_shl, IR_B32, expand_reg(r), expand_imm(3));
}

/* The part of the word, and the word with another part. */
static ir_reg part(struct expand *x, const struct word *w, ir_reg word)
{
	if (w->shift == IR_NO_REG)
		return word;
	return expand_cvt(x, IR_U16, IR_U32, expand_reg(EXPAND_OP(x, IR_shr, IR_U32, expand_reg(word), expand_reg(w->shift))));
}

static ir_reg with_part(struct expand *x, const struct word *w, ir_reg word, struct ir_operand v)
{
	ir_reg mask, rest, wide;

	if (w->shift == IR_NO_REG)
		return v.kind == IR_OPD_REG ? v.reg : EXPAND_OP(x, IR_mov, w->type, v);
	mask = EXPAND_OP(x, IR_shl, IR_B32, expand_imm(0xffff), expand_reg(w->shift));
	mask = EXPAND_OP(x, IR_not, IR_B32, expand_reg(mask));
	rest = EXPAND_OP(x, IR_and, IR_B32, expand_reg(word), expand_reg(mask));
	wide = expand_cvt(x, IR_U32, IR_U16, v);
	wide = EXPAND_OP(x, IR_shl, IR_B32, expand_reg(wide), expand_reg(w->shift));
	return EXPAND_OP(x, IR_or, IR_B32, expand_reg(rest), expand_reg(wide));
}

/* An mbarrier object after the operation: see IR_ATOM_MBARRIER. */
static struct ir_operand arrived(struct expand *x, struct ir_operand old, struct ir_operand a)
{
#define OP(op, type, p, q) expand_reg(EXPAND_OP(x, op, type, p, q))
	struct ir_operand count = expand_imm(IR_MBARRIER_COUNT), phase = expand_imm(UINT64_C(1) << IR_MBARRIER_PHASE);
	struct ir_operand to_later = expand_imm(IR_MBARRIER_LATER), to_bytes = expand_imm(IR_MBARRIER_BYTES);
	struct ir_operand pending, later, bytes, parity, turned, rest;
	ir_reg ends;

	pending = OP(IR_and, IR_B64, OP(IR_sub, IR_U64, old, a), count);
	later = OP(IR_sub, IR_U64, OP(IR_shr, IR_U64, old, to_later), OP(IR_shr, IR_U64, a, to_later));
	later = OP(IR_and, IR_B64, later, count);
	bytes = OP(IR_add, IR_U64, OP(IR_shr, IR_U64, old, to_bytes), OP(IR_shr, IR_U64, a, to_bytes));
	bytes = OP(IR_shl, IR_B64, bytes, to_bytes);
	parity = OP(IR_and, IR_B64, old, phase);
	turned = OP(IR_xor, IR_B64, parity, phase);
	rest = OP(IR_or, IR_B64, pending, bytes);
	ends = expand_compare(x, IR_EQ, IR_U64, rest, expand_imm(0));
	pending = expand_reg(EXPAND_OP(x, IR_selp, IR_B64, later, pending, expand_reg(ends)));
	parity = expand_reg(EXPAND_OP(x, IR_selp, IR_B64, turned, parity, expand_reg(ends)));
	rest = OP(IR_or, IR_B64, OP(IR_or, IR_B64, pending, OP(IR_shl, IR_B64, later, to_later)), OP(IR_or, IR_B64, parity, bytes));
#undef OP
	return rest;
}

static struct ir_operand changed(struct expand *x, const struct ir_insn *in, ir_reg old)
{
	enum ir_op op = in->sub == IR_ATOM_ADD ? IR_add : in->sub == IR_ATOM_MIN ? IR_min : IR_max;
	struct ir_insn *to;

	switch (in->sub) {
	case IR_ATOM_MBARRIER:
		return arrived(x, expand_reg(old), in->src[2]);
	case IR_ATOM_EXCH:
		return in->src[2];
	case IR_ATOM_ADD: case IR_ATOM_MIN: case IR_ATOM_MAX:
		break;
	default:
		lower_refuse(expand_lower(x), "this atomic operation of 16 bits");
		return in->src[2];
	}
	to = lower_emit(expand_lower(x), op, in->type, 1, 2);
	if (!to)
		return in->src[2];
	if (op == IR_add)
		to->rnd = IR_RN;
	to->dst[0] = lower_reg(expand_lower(x), in->type);
	to->src[0] = expand_reg(old);
	to->src[1] = in->src[2];
	return expand_reg(to->dst[0]);
}

static void atom(struct expand *x, const struct ir_insn *in)
{
	struct lower *l = expand_lower(x);
	struct word w = { .in = in, .addr = in->src[0], .offset = in->src[1], .shift = IR_NO_REG };
	uint32_t again, done, swap;
	ir_reg old, was, seen, word, same;
	struct ir_insn *to;

	w.type = in->sub == IR_ATOM_MBARRIER || in->type == IR_F64 ? IR_B64 : IR_B32;
	if (ir_type_bits(in->type) == 128) {
		lower_refuse(l, "no GPU has atomic operations of 128 bits but NVIDIA's");
		return;
	}
	if (ir_type_bits(in->type) == 16)
		find_word(x, &w);
	old = lower_reg(l, w.type);
	to = access(x, &w, IR_ld, 2, old);
	if (to)
		to->sem = IR_RELAXED;
	again = lower_new_block(l);
	done = lower_new_block(l);
	lower_bra(l, again);
	l->cur = again;
	was = part(x, &w, old);
	if (was == old)		/* what comes out lies in a register of its own */
		was = EXPAND_OP(x, IR_mov, w.type, expand_reg(old));
	if (in->sub == IR_ATOM_CAS) {
		same = expand_compare(x, IR_EQ, IR_U16, expand_reg(was), in->src[2]);
		swap = lower_new_block(l);
		lower_cbra(l, same, false, swap, done);
		l->cur = swap;
		word = with_part(x, &w, old, in->src[3]);
	} else {
		word = with_part(x, &w, old, changed(x, in, was));
	}
	seen = lower_reg(l, w.type);
	to = access(x, &w, IR_atom, 4, seen);
	if (!to)
		return;
	to->sub = IR_ATOM_CAS;
	to->sem = in->sem;
	to->src[2] = expand_reg(old);
	to->src[3] = expand_reg(word);
	same = expand_compare(x, IR_EQ, w.type == IR_B64 ? IR_U64 : IR_U32, expand_reg(seen), expand_reg(old));
	expand_mov(x, old, expand_reg(seen));
	lower_cbra(l, same, false, done, again);
	l->cur = done;
	if (in->nr_dst && in->dst[0] != IR_NO_REG)
		expand_mov(x, in->dst[0], expand_reg(was));
}

static bool is_sum_of_f64(const struct ir_insn *in)
{
	return in->type == IR_F64 && in->sub == IR_ATOM_ADD;
}

const struct expand_rule expand_atom_rules[] = { { IR_atom, is_expanded, atom }, { 0 } };
const struct expand_rule expand_atom_f64_rules[] = { { IR_atom, is_sum_of_f64, atom }, { 0 } };
