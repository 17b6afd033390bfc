/* ir_verify.c - checks that a module keeps the promises of ir.h, so that emitters need not. */
#include "translate/ir.h"
#include "translate/ir_mma.h"
#include "translate/ir_names.h"
#include "translate/ptx.h"
#include "translate/texture.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "common/msg.h"

struct verifier {
	const struct ir_module *m;
	const struct ir_func *fn;
	uint32_t block, insn;
	char *why;		/* ir_check_insn: where the text goes instead */
	size_t why_size;
	enum hg_status st;
};

static bool fail(struct verifier *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct verifier *v, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (v->st)
		return false;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	v->st = HG_ERR_CORRUPT;
	if (v->why)
		snprintf(v->why, v->why_size, "%s", text);
	else if (!v->fn)
		pr_err("hgIR: %s", text);
	else if (v->block >= v->fn->nr_blocks)
		pr_err("hgIR of '%s': %s", v->fn->name, text);
	else
		pr_err("hgIR of '%s', block %" PRIu32 ", instruction %" PRIu32 " (%s, PTX line %" PRIu32 "): %s",
		       v->fn->name, v->block, v->insn,
		       v->insn < v->fn->block[v->block].nr_insns &&
			       v->fn->block[v->block].insn[v->insn].op < IR_OP_COUNT ?
			       ir_op_desc[v->fn->block[v->block].insn[v->insn].op].name : "?",
		       v->insn < v->fn->block[v->block].nr_insns ? v->fn->block[v->block].insn[v->insn].line : 0, text);
	return false;
}

static char type_letter(enum ir_type t)
{
	switch (t) {
	case IR_PRED: return 'p';
	case IR_B8: case IR_B16: case IR_B32: case IR_B64: case IR_B128: return 'b';
	case IR_U8: case IR_U16: case IR_U32: case IR_U64: return 'u';
	case IR_S8: case IR_S16: case IR_S32: case IR_S64: return 's';
	case IR_F16: case IR_F16X2: return 'h';
	case IR_BF16: case IR_BF16X2: return 'g';
	case IR_F32: return 'f';
	case IR_F64: return 'd';
	default: return 0;
	}
}

static unsigned int class_bits(enum ir_type t)
{
	return ir_type_bits(ir_type_class(t));
}

/* Width that operand letter asks for; 0: any (checked elsewhere). */
static unsigned int letter_bits(const struct ir_insn *in, char letter)
{
	switch (letter) {
	case 't': case 'v': case 'x': return class_bits(in->type);
	case '2': case 'y': return class_bits(in->type2);
	case 'w': return in->flags & IR_WIDE ? 2 * ir_type_bits(in->type) : class_bits(in->type);
	case 'u': return 32;
	case 'p': return 1;
	default: return 0;
	}
}

static bool check_width(struct verifier *v, const struct ir_insn *in, char letter, unsigned int bits, const char *what,
			unsigned int i)
{
	unsigned int want = letter_bits(in, letter);

	switch (letter) {
	case 'x': case 'y':
		if (bits < want || (bits == 1) != (want == 1))
			return fail(v, "%s %u has %u bits, at least %u wanted", what, i, bits, want);
		return true;
	case 'n':
		if (bits == 1 || bits > ir_type_bits(in->type))
			return fail(v, "%s %u has %u bits, which is not narrower", what, i, bits);
		return true;
	case 'a':
		if (bits != 64 && (bits != 32 || (in->space != IR_SHARED && in->space != IR_LOCAL && in->space != IR_PARAM)))
			return fail(v, "an address of %u bits in this space", bits);
		return true;
	default:
		if (bits != want)
			return fail(v, "%s %u has %u bits, %u wanted", what, i, bits, want);
		return true;
	}
}

static bool check_src(struct verifier *v, const struct ir_insn *in, unsigned int i, char letter)
{
	const struct ir_operand *o = &in->src[i];
	unsigned int want;

	if (o->negated && (o->kind != IR_OPD_REG || o->reg >= v->fn->nr_regs || v->fn->reg_type[o->reg] != IR_PRED))
		return fail(v, "operand %u is negated and not a predicate", i);
	switch (o->kind) {
	case IR_OPD_REG:
		if (o->reg >= v->fn->nr_regs)
			return fail(v, "operand %u: register %" PRIu32 " does not exist", i, o->reg);
		if (letter == 'i')
			return fail(v, "operand %u must be an immediate", i);
		return check_width(v, in, letter, ir_type_bits(v->fn->reg_type[o->reg]), "operand", i);
	case IR_OPD_IMM:
		if (letter == 'i' || letter == 'a')
			return true;
		want = letter_bits(in, letter);
		if (letter == 'n')
			return fail(v, "operand %u must be a register", i);
		if (want == 128 || (want < 64 && o->imm >> want))
			return fail(v, "operand %u: 0x%" PRIx64 " does not fit in %u bits", i, o->imm, want);
		return true;
	case IR_OPD_VAR:
		if (letter != 'v' && letter != 'a')
			return fail(v, "operand %u may not be a variable", i);
		if (o->index >= v->m->nr_vars)
			return fail(v, "operand %u: variable %" PRIu32 " does not exist", i, o->index);
		if (letter == 'v' && ir_type_bits(in->type) != 64)
			return fail(v, "a variable's address has 64 bits");
		if (letter == 'a' && in->space != IR_GLOBAL && in->space != IR_CONST && in->space != IR_GENERIC)
			return fail(v, "a module variable is not in this space");
		return true;
	case IR_OPD_SREG:
		if (letter != 'v')
			return fail(v, "operand %u may not be a special register", i);
		if (o->index >= IR_SREG_COUNT)
			return fail(v, "operand %u: special register %" PRIu32 " does not exist", i, o->index);
		if (ir_type_bits(in->type) != ir_sreg_bits(o->index))
			return fail(v, "'%%%s' has %u bits", ir_sreg_name[o->index], ir_sreg_bits(o->index));
		return true;
	}
	return fail(v, "operand %u is of no kind", i);
}

static bool may_ignore(const struct ir_insn *in)
{
	return in->op == IR_ld || in->op == IR_unpack || in->op == IR_shfl || in->op == IR_match ||
		in->op == IR_tex;
}

static bool check_dst(struct verifier *v, const struct ir_insn *in, unsigned int i, char letter)
{
	if (in->dst[i] == IR_NO_REG) {
		if (!may_ignore(in))
			return fail(v, "result %u has no register", i);
		return true;
	}
	if (in->dst[i] >= v->fn->nr_regs)
		return fail(v, "result %u: register %" PRIu32 " does not exist", i, in->dst[i]);
	return check_width(v, in, letter, ir_type_bits(v->fn->reg_type[in->dst[i]]), "result", i);
}

/* Walks the letters beside the operands. */
static bool check_list(struct verifier *v, const struct ir_insn *in, const char *letters, bool dst)
{
	unsigned int nr = dst ? in->nr_dst : in->nr_src, i = 0;

	for (const char *l = letters; *l; l++) {
		char mark = l[1] == '?' || l[1] == '*' ? l[1] : 0;

		if (i == nr && mark != '?')
			return fail(v, "too few %s", dst ? "results" : "operands");
		do {
			if (i == nr)
				break;
			if (!(dst ? check_dst(v, in, i, *l) : check_src(v, in, i, *l)))
				return false;
			i++;
		} while (mark == '*');
		if (mark)
			l++;
	}
	if (i != nr)
		return fail(v, "too many %s", dst ? "results" : "operands");
	return true;
}

static bool check_parts(struct verifier *v, const struct ir_insn *in)
{
	unsigned int nr = in->op == IR_pack ? in->nr_src : in->nr_dst, each = 0;

	if (nr < 2 || ir_type_bits(in->type) % nr)
		return fail(v, "%u parts do not make %s", nr, ir_type_name(in->type));
	each = ir_type_bits(in->type) / nr;
	for (unsigned int i = 0; i < nr; i++) {
		ir_reg r = in->op == IR_pack ? in->src[i].reg : in->dst[i];
		unsigned int bits = r == IR_NO_REG ? 0 : ir_type_bits(v->fn->reg_type[r]);

		/* Parts of 8 bits live in registers of 16. */
		if (r != IR_NO_REG && bits != (each == 8 ? 16 : each))
			return fail(v, "a part has %u bits, %u wanted", bits, each);
	}
	return true;
}

static bool check_enums(struct verifier *v, const struct ir_insn *in)
{
	const char *const *sub = ir_sub_names(in->op);
	unsigned int nr_sub = 0;

	while (sub && sub[nr_sub])
		nr_sub++;
	if ((sub && in->sub >= nr_sub) || (!sub && in->sub && in->op != IR_lop3))
		return fail(v, "sub-operation %u does not exist", in->sub);
	if (in->space > IR_PARAM || in->rnd > IR_RPI || in->cmp > IR_NAN || in->boolop > IR_BOOL_XOR ||
	    in->sem > IR_SC || in->scope > IR_SYS || in->flags >> 14)
		return fail(v, "a modifier is out of its range");
	return true;
}

static bool check_mma(struct verifier *v, const struct ir_insn *in)
{
	const struct ir_mma_desc *d = &ir_mma_desc[in->sub];

	if (!ir_mma_allows(d, in->type) || !ir_mma_allows(d, in->type2))
		return fail(v, "no such product of matrices in %s and %s", ir_type_name(in->type), ir_type_name(in->type2));
	if (in->nr_dst != ir_mma_regs_c(d, in->type))
		return fail(v, "the result has %u registers", ir_mma_regs_c(d, in->type));
	if (in->nr_src != ir_mma_regs_a(d) + ir_mma_regs_b(d) + ir_mma_regs_c(d, in->type2))
		return fail(v, "the matrices have %u, %u and %u registers", ir_mma_regs_a(d), ir_mma_regs_b(d),
			    ir_mma_regs_c(d, in->type2));
	if (in->flags & IR_SATFINITE && in->type != IR_S32)
		return fail(v, "only integers saturate");
	return true;
}

static bool is_half(enum ir_type t)
{
	return t == IR_F16 || t == IR_F16X2 || t == IR_BF16 || t == IR_BF16X2;
}

static bool is_pair(enum ir_type t)
{
	return t == IR_F16X2 || t == IR_BF16X2;
}

static bool check_vector(struct verifier *v, const struct ir_insn *in, unsigned int nr)
{
	if (nr > IR_MAX_VECTOR || nr * ir_type_bits(in->type) > 256)
		return fail(v, "a vector of more than %d parts or 32 bytes", IR_MAX_VECTOR);
	return true;
}

static bool check_compare(struct verifier *v, const struct ir_insn *in)
{
	enum ir_type t = in->op == IR_set ? in->type2 : in->type;

	if (in->cmp == IR_CMP_NONE)
		return fail(v, "nothing to compare by");
	if ((in->nr_src == 3) != (in->boolop != IR_BOOL_NONE))
		return fail(v, "a third operand goes with and, or, xor");
	if (!ir_type_is_float(t) && (in->cmp == IR_EQU || in->cmp == IR_NEU || in->cmp == IR_NUM || in->cmp == IR_NAN))
		return fail(v, "no such comparison of %s", ir_type_name(t));
	/* each half of a pair has its result */
	if (in->op == IR_set && (is_pair(t) ? ir_type_bits(in->type) != 32 : is_pair(in->type)))
		return fail(v, "no such result of comparing %s", ir_type_name(t));
	return true;
}

static bool check_special(struct verifier *v, const struct ir_insn *in)
{
	unsigned int bits = ir_type_bits(in->type);

	switch (in->op) {
	case IR_pack: case IR_unpack:
		return check_parts(v, in);
	case IR_mul: case IR_mad:
		if (!!(in->flags & IR_HI) + !!(in->flags & IR_WIDE) > 1)
			return fail(v, "both the high half and the whole of a product");
		if (in->flags & (IR_HI | IR_WIDE) && (ir_type_is_float(in->type) || (in->flags & IR_WIDE && bits == 64)))
			return fail(v, "no such product of %s", ir_type_name(in->type));
		if (is_half(in->type) && in->rnd != IR_RND_NONE && in->rnd != IR_RN)
			return fail(v, "16-bit floats round to nearest");
		break;
	case IR_add: case IR_sub: case IR_fma:
		if (is_half(in->type) && in->rnd != IR_RND_NONE && in->rnd != IR_RN)
			return fail(v, "16-bit floats round to nearest");
		break;
	case IR_setp: case IR_set:
		return check_compare(v, in);
	case IR_shfl: case IR_dp4a: case IR_dp2a: case IR_prmt:
		if (bits != 32)
			return fail(v, "only of 32 bits");
		break;
	case IR_shf_l: case IR_shf_r:
		if (bits != 32 || !!(in->flags & IR_CLAMP) + !!(in->flags & IR_WRAP) != 1)
			return fail(v, "a funnel shift is of 32 bits and either clamps or wraps");
		break;
	case IR_vote:
		if ((in->sub == IR_VOTE_BALLOT) != (in->type == IR_B32) || (in->type != IR_B32 && in->type != IR_PRED))
			return fail(v, "a vote gives a predicate, a ballot 32 bits");
		break;
	case IR_bar_red:
		if ((in->sub == IR_BARRED_POPC) != (in->type == IR_U32) || (in->type != IR_U32 && in->type != IR_PRED))
			return fail(v, "bar.red gives a predicate, popc 32 bits");
		break;
	case IR_mma:
		return check_mma(v, in);
	case IR_ldmatrix: case IR_stmatrix:
		if (in->space != IR_GENERIC && in->space != IR_SHARED)
			return fail(v, "no matrices in this space");
		if (in->nr_dst + in->nr_src != 3 && in->nr_dst + in->nr_src != 4 && in->nr_dst + in->nr_src != 6)
			return fail(v, "not 1, 2 or 4 matrices");
		break;
	case IR_tex:
		if (in->type != IR_B32 || (in->type2 != IR_F32 && in->type2 != IR_S32))
			return fail(v, "a texel is four channels of b32, at coordinates of f32 or s32");
		if (in->nr_src != 2 + hg_tex_nr_args(ir_tex_what(in)))
			return fail(v, "%u coordinates", in->nr_src - 2u);
		break;
	case IR_match:
		if (in->nr_dst == 2 && in->sub != 1)
			return fail(v, "only match.all has a second result");
		break;
	case IR_atom:
		if ((in->nr_src == 4) != (in->sub == IR_ATOM_CAS))
			return fail(v, "wrong number of operands for this atomic operation");
		if (in->space != IR_GENERIC && in->space != IR_GLOBAL && in->space != IR_SHARED)
			return fail(v, "no atomic operation in this space");
		if (in->sub == IR_ATOM_MBARRIER && in->type != IR_B64)
			return fail(v, "an mbarrier has 64 bits");
		break;
	case IR_redux:
		if (bits != 32 || (in->sub > IR_ATOM_XOR) ||
		    (ir_type_is_float(in->type) && in->sub != IR_ATOM_MIN && in->sub != IR_ATOM_MAX))
			return fail(v, "no such redux");
		break;
	case IR_ld:
		return check_vector(v, in, in->nr_dst);
	case IR_st:
		if (in->space == IR_CONST || in->space == IR_PARAM)
			return fail(v, "nothing may be stored in this space");
		return check_vector(v, in, in->nr_src - 2u);
	case IR_isspacep:
		if (in->space == IR_GENERIC || in->space == IR_CONST)
			return fail(v, "no addresses can be told to be in this space");
		break;
	case IR_cvta: case IR_cvta_to:
		if (in->space != IR_SHARED && in->space != IR_LOCAL && in->space != IR_PARAM)
			return fail(v, "this space needs no conversion of addresses");
		if (bits < 32)
			return fail(v, "an address of %u bits", bits);
		break;
	case IR_narrow:
		if (in->rnd < IR_RN || in->rnd > IR_RNA || (in->sub == IR_FMT_UE8M0 && in->rnd != IR_RZ && in->rnd != IR_RP))
			return fail(v, "no such rounding to this format");
		break;
	case IR_widen:
		if (in->sub == IR_FMT_TF32)
			return fail(v, "tf32 is f32 already");
		break;
	case IR_cvt:
		if (in->type2 == IR_NONE || in->type2 == IR_PRED)
			return fail(v, "nothing to convert from");
		if (in->nr_src == 2 && in->type != IR_F16X2 && in->type != IR_BF16X2)
			return fail(v, "two operands make a packed result only");
		if (is_pair(in->type2) || (is_pair(in->type) && (in->nr_src != 2 || in->type2 != IR_F32)))
			return fail(v, "pairs are made of two f32 only");
		break;
	default:
		break;
	}
	if ((in->flags & IR_CC) != 0 && in->nr_dst != 2)
		return fail(v, "a carry out needs a second result");
	if (in->nr_dst == 2 && !(in->flags & IR_CC) &&
	    (in->op == IR_add || in->op == IR_sub || in->op == IR_addc || in->op == IR_subc || in->op == IR_mad ||
	     in->op == IR_madc))
		return fail(v, "a second result without a carry out");
	return true;
}

/* What can be said of an instruction by itself. */
static bool check_alone(struct verifier *v, const struct ir_insn *in)
{
	const struct ir_op_desc *d;

	if (in->op >= IR_OP_COUNT || in->type >= IR_TYPE_COUNT || in->type2 >= IR_TYPE_COUNT)
		return fail(v, "unknown operation or type");
	d = &ir_op_desc[in->op];
	if (!check_enums(v, in))
		return false;
	if (*d->types ? in->type == IR_NONE || !strchr(d->types, type_letter(in->type)) : in->type != IR_NONE)
		return fail(v, "not an operation of %s", ir_type_name(in->type));
	if (in->guard != IR_NO_REG) {
		if (in->guard >= v->fn->nr_regs || v->fn->reg_type[in->guard] != IR_PRED)
			return fail(v, "the guard is not a predicate");
		if (d->flags & (IR_F_TERM | IR_F_SYNC | IR_F_BARRIER))
			return fail(v, "this operation may have no guard");
	} else if (in->guard_neg) {
		return fail(v, "a negated guard that is not there");
	}
	if (in->op == IR_brx && !in->nr_targets)
		return fail(v, "no target block");
	if (in->op != IR_brx && in->nr_targets)
		return fail(v, "a table of targets that is not brx's");
	return check_list(v, in, d->dst, true) && check_list(v, in, d->src, false) && check_special(v, in);
}

bool ir_check_insn(const struct ir_module *m, const struct ir_func *fn, const struct ir_insn *in, char *why, size_t size)
{
	struct verifier v = { .m = m, .fn = fn, .why = why, .why_size = size };

	return check_alone(&v, in);
}

static bool is_matrix(const struct ir_insn *in)
{
	return in->op == IR_mma || in->op == IR_ldmatrix || in->op == IR_stmatrix || in->op == IR_movmatrix;
}

static bool check_insn(struct verifier *v, const struct ir_block *b, const struct ir_insn *in)
{
	bool last = v->insn + 1 == b->nr_insns;
	const struct ir_op_desc *d;

	if (!check_alone(v, in))
		return false;
	d = &ir_op_desc[in->op];
	if (!!(d->flags & IR_F_TERM) != last)
		return fail(v, last ? "the block does not end with a terminator" : "a terminator inside a block");
	if (is_matrix(in) && (b->insn[0].op != IR_warpsync || b->insn[0].src[0].kind != IR_OPD_IMM ||
			      b->insn[0].src[0].imm != UINT32_MAX))
		return fail(v, "the block does not begin with a warpsync of all lanes");
	if (d->flags & IR_F_SYNC && v->insn != 0)
		return fail(v, "an operation that waits for lanes must begin its block");
	if (d->flags & IR_F_BARRIER && (v->insn + 2 != b->nr_insns || b->insn[v->insn + 1].op != IR_bra))
		return fail(v, "a barrier must end its block, before bra");
	for (unsigned int i = 0; i < ir_nr_targets(in); i++)
		if (ir_target(in, i) >= v->fn->nr_blocks)
			return fail(v, "block %" PRIu32 " does not exist", ir_target(in, i));
	return true;
}

static void check_func(struct verifier *v, const struct ir_func *fn)
{
	v->fn = fn;
	v->block = UINT32_MAX;
	if (!fn->name || !*fn->name) {
		v->fn = NULL;
		fail(v, "a function without a name");
		return;
	}
	if (fn->refused) {
		if (fn->nr_blocks)
			fail(v, "refused, and has code");
		return;
	}
	if (!fn->nr_blocks) {
		fail(v, "has no code");
		return;
	}
	for (uint32_t i = 0; i < fn->nr_regs; i++)
		if (fn->reg_type[i] == IR_NONE || ir_type_class(fn->reg_type[i]) != fn->reg_type[i])
			fail(v, "register %" PRIu32 " is of no class", i);
	for (uint32_t i = 0; i < fn->nr_params; i++)
		if (fn->param[i].size > fn->param_bytes || fn->param[i].offset > fn->param_bytes - fn->param[i].size)
			fail(v, "parameter %" PRIu32 " is outside of the block", i);
	/* Reverse post-order: each block but the first is entered from one before it. */
	for (v->block = 0; v->block < fn->nr_blocks && !v->st; v->block++) {
		const struct ir_block *b = &fn->block[v->block];

		v->insn = 0;
		if (!b->nr_insns)
			fail(v, "an empty block");
		for (v->insn = 0; v->insn < b->nr_insns && !v->st; v->insn++)
			check_insn(v, b, &b->insn[v->insn]);
	}
}

static void check_order(struct verifier *v, const struct ir_func *fn)
{
	/* entered[b]: from a block before it. One byte each is enough and needs no allocation that can fail late. */
	static const uint32_t step = 4096;
	bool entered[4096];

	for (uint32_t base = 0; base < fn->nr_blocks && !v->st; base += step) {
		memset(entered, 0, sizeof(entered));
		for (uint32_t b = 0; b < fn->nr_blocks; b++) {
			const struct ir_insn *t = &fn->block[b].insn[fn->block[b].nr_insns - 1];

			for (unsigned int i = 0; i < ir_nr_targets(t); i++) {
				uint32_t to = ir_target(t, i);

				if (to > b && to >= base && to - base < step)
					entered[to - base] = true;
			}
		}
		for (uint32_t b = base ? base : 1; b < fn->nr_blocks && b - base < step; b++)
			if (!entered[b - base]) {
				v->block = b;
				v->insn = 0;
				fail(v, "no block before it leads to it");
				return;
			}
	}
}

static void check_var(struct verifier *v, const struct ir_var *var)
{
	if (!var->name || !*var->name)
		fail(v, "a variable without a name");
	else if (var->space != IR_GLOBAL && var->space != IR_CONST)
		fail(v, "variable '%s' is in no module space", var->name);
	else if (!var->align || var->align & (var->align - 1))
		fail(v, "variable '%s': alignment %" PRIu32, var->name, var->align);
	for (size_t i = 0; i < var->nr_relocs; i++)
		if (var->relocs[i].var >= v->m->nr_vars || !var->init || var->size < 8 ||
		    var->relocs[i].offset > var->size - 8)
			fail(v, "variable '%s': address %zu is outside of it, or of nothing", var->name, i);
}

enum hg_status ir_verify(const struct ir_module *m)
{
	struct verifier v = { .m = m };

	for (uint32_t i = 0; i < m->nr_vars; i++)
		check_var(&v, &m->var[i]);
	for (uint32_t i = 0; i < m->nr_funcs && !v.st; i++) {
		check_func(&v, &m->func[i]);
		if (!v.st && m->func[i].nr_blocks)
			check_order(&v, &m->func[i]);
	}
	return v.st;
}
