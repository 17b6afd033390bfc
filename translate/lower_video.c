/* lower_video.c - the video instructions: on parts of registers, one at a time or two or four side by side. */
#include "translate/lower.h"

static struct ir_operand imm(uint64_t v)
{
	return (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG, .imm = v };
}

static struct ir_operand reg(ir_reg r)
{
	return (struct ir_operand){ .kind = IR_OPD_REG, .reg = r };
}

static struct ir_operand op2(struct lower *l, enum ir_op op, enum ir_type t, struct ir_operand a, struct ir_operand b)
{
	return reg(lower_op(l, op, t, IR_NO_REG, 2, (struct ir_operand[]){ a, b }));
}

static struct ir_operand clamp(struct lower *l, enum ir_type t, struct ir_operand v, unsigned int bits, bool is_signed)
{
	uint64_t all = ir_type_bits(t) == 64 ? UINT64_MAX : UINT32_MAX;
	uint64_t low = is_signed ? UINT64_MAX << (bits - 1) : 0, high = (UINT64_C(1) << (is_signed ? bits - 1 : bits)) - 1;

	return op2(l, IR_max, t, op2(l, IR_min, t, v, imm(high)), imm(low & all));
}

static bool compare_word(struct lower *l, enum ir_cmp *cmp)
{
	static const struct { enum ptx_word word; enum ir_cmp cmp; } list[] = {
		{ PTX_W_eq, IR_EQ }, { PTX_W_ne, IR_NE }, { PTX_W_lt, IR_LT }, { PTX_W_le, IR_LE }, { PTX_W_gt, IR_GT }, { PTX_W_ge, IR_GE },
	};
	unsigned int nr = 0;

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (lower_has(l, list[i].word)) {
			*cmp = list[i].cmp;
			nr++;
		}
	return nr == 1;
}

/* 1 where the comparison of two signed numbers holds, else 0 */
static struct ir_operand truth(struct lower *l, enum ir_cmp cmp, enum ir_type t, struct ir_operand a, struct ir_operand b)
{
	struct ir_insn *in = lower_emit(l, IR_setp, t, 1, 2);
	ir_reg p = lower_reg(l, IR_PRED);

	if (in) {
		in->cmp = (uint8_t)cmp;
		in->dst[0] = p;
		in->src[0] = a;
		in->src[1] = b;
	}
	return reg(lower_op(l, IR_selp, t, IR_NO_REG, 3, (struct ir_operand[]){ imm(1), imm(0), reg(p) }));
}

/* Types of operands: .u32 and .s32 only. */
static bool word_types(struct lower *l, unsigned int nr)
{
	bool good = l->nr_types == nr;

	for (unsigned int i = 0; i < l->nr_types && good; i++)
		good = l->type[i] == IR_U32 || l->type[i] == IR_S32;
	if (!good)
		lower_bad(l, NULL, "expected %u types, each .u32 or .s32", nr);
	return good;
}

/* The register behind a part. */
static struct ir_operand whole(struct lower *l, const struct ptx_opd *o)
{
	struct ptx_opd plain = *o;

	plain.is_part = plain.is_minus = false;
	return lower_get(l, &plain, IR_U32);
}

static ir_reg destination(struct lower *l, const struct ptx_opd *o)
{
	struct ptx_opd plain = *o;

	if (o->is_minus)
		lower_bad(l, o, "a minus sign before a result");
	plain.is_part = plain.is_minus = false;
	return lower_put(l, &plain, IR_U32);
}

/* --- one at a time ------------------------------------------------------------------------------ */
/* Where a part begins, and how wide it is; the whole register if there is none. */
static bool part(struct lower *l, const struct ptx_opd *o, unsigned int *at, unsigned int *bits)
{
	*at = 0;
	*bits = 32;
	if (!o->is_part)
		return true;
	*bits = PTX_PART_LETTER(o->imm) == 'b' ? 8 : 16;
	*at = PTX_PART_DIGITS(o->imm) * *bits;
	if (PTX_PART_NR(o->imm) == 1 && *at < 32)
		return true;
	lower_bad(l, o, "no such part of a register");
	return false;
}

/* The operand's part, extended to a signed number of 64 bits. */
static struct ir_operand extended(struct lower *l, const struct ptx_opd *o, enum ir_type t)
{
	unsigned int at, bits;
	struct ir_operand v;

	if (!part(l, o, &at, &bits))
		return imm(0);
	v = whole(l, o);
	if (bits < 32)
		v = reg(lower_op(l, IR_bfe, t, IR_NO_REG, 3, (struct ir_operand[]){ v, imm(at), imm(bits) }));
	return reg(lower_cvt(l, IR_S64, t, IR_NO_REG, v));
}

/* As a signed number of `bits` bits. */
static struct ir_operand wrapped(struct lower *l, struct ir_operand v, unsigned int bits)
{
	return op2(l, IR_shr, IR_S64, op2(l, IR_shl, IR_B64, v, imm(64 - bits)), imm(64 - bits));
}

static struct ir_operand primary(struct lower *l, struct ir_operand a, struct ir_operand b, enum ir_cmp cmp, bool wrap)
{
	switch (l->in->op) {
	case PTX_W_vadd: return op2(l, IR_add, IR_S64, a, b);
	case PTX_W_vsub: return op2(l, IR_sub, IR_S64, a, b);
	case PTX_W_vabsdiff:
		a = op2(l, IR_sub, IR_S64, a, b);
		return reg(lower_op(l, IR_abs, IR_S64, IR_NO_REG, 1, &a));
	case PTX_W_vmin: return op2(l, IR_min, IR_S64, a, b);
	case PTX_W_vmax: return op2(l, IR_max, IR_S64, a, b);
	case PTX_W_vset: return truth(l, cmp, IR_S64, a, b);
	default:	/* vshl, vshr: by an unsigned amount */
		b = reg(lower_cvt(l, IR_U32, IR_U64, IR_NO_REG, b));
		b = wrap ? op2(l, IR_and, IR_B32, b, imm(31)) : op2(l, IR_min, IR_U32, b, imm(32));
		return l->in->op == PTX_W_vshl ? op2(l, IR_shl, IR_B64, a, b) : op2(l, IR_shr, IR_S64, a, b);
	}
}

static void scalar(struct lower *l)
{
	bool is_set = l->in->op == PTX_W_vset, is_shift = l->in->op == PTX_W_vshl || l->in->op == PTX_W_vshr;
	bool sat = !is_set && lower_has(l, PTX_W_sat), has_c;
	bool is_clamp = is_shift && lower_has(l, PTX_W_clamp), wrap = is_shift && lower_has(l, PTX_W_wrap);
	enum ir_op second = lower_has(l, PTX_W_add) ? IR_add : lower_has(l, PTX_W_min) ? IR_min :
			    lower_has(l, PTX_W_max) ? IR_max : IR_mov;
	enum ir_cmp cmp = IR_CMP_NONE;
	enum ir_type d_type, *t;
	struct ir_operand v, c;
	unsigned int at, bits;
	const struct ptx_opd *opd = l->in->opd;

	if (is_set && !compare_word(l, &cmp))
		lower_bad(l, NULL, "expected a comparison such as .eq");
	lower_no_more_modifiers(l);
	if (is_shift && is_clamp + wrap != 1)
		lower_bad(l, NULL, "expected .clamp or .wrap");
	if (!word_types(l, is_set ? 2 : 3) || !lower_operands(l, 3, 4))
		return;
	d_type = is_set ? IR_U32 : l->type[0];
	t = &l->type[is_set ? 0 : 1];
	if (is_shift && t[1] != IR_U32)
		lower_bad(l, NULL, "a shift's amount is .u32");
	has_c = opd[0].is_part || second != IR_mov;
	if (opd[0].is_part && second != IR_mov)
		lower_bad(l, &opd[0], "a part of the result, or a second operation, but not both");
	if (has_c != (l->in->nr_opds == 4))
		lower_bad(l, NULL, "a third operand goes with a second operation or a part of the result");
	for (unsigned int i = 1; i < l->in->nr_opds; i++)
		if (opd[i].is_minus || (i == 3 && opd[i].is_part))
			lower_bad(l, &opd[i], "expected a register");
	/* the manual leaves open what the 34 bits of a longer result are then */
	if (l->in->op == PTX_W_vshl && (sat || second == IR_min || second == IR_max))
		lower_refuse(l, "a saturated or compared vshl is not supported");
	if (lower_stopped(l) || !part(l, &opd[0], &at, &bits))
		return;
	v = extended(l, &opd[1], t[0]);
	v = primary(l, v, extended(l, &opd[2], t[1]), cmp, wrap);
	if (sat)
		v = clamp(l, IR_S64, v, bits, ir_type_is_signed(d_type));
	if (second != IR_mov) {
		c = reg(lower_cvt(l, IR_S64, d_type, IR_NO_REG, lower_get(l, &opd[3], IR_U32)));
		v = op2(l, second, IR_S64, wrapped(l, v, 33), c);
	}
	v = reg(lower_cvt(l, IR_U32, IR_U64, IR_NO_REG, v));
	if (bits < 32)
		lower_op(l, IR_bfi, IR_B32, destination(l, &opd[0]), 4,
			 (struct ir_operand[]){ v, lower_get(l, &opd[3], IR_U32), imm(at), imm(bits) });
	else
		lower_op(l, IR_mov, IR_B32, destination(l, &opd[0]), 1, &v);
}

static void vmad(struct lower *l)
{
	bool sat = lower_has(l, PTX_W_sat), po = lower_has(l, PTX_W_po), shr7 = lower_has(l, PTX_W_shr7);
	bool shr15 = lower_has(l, PTX_W_shr15), minus, final_signed;
	const struct ptx_opd *opd = l->in->opd;
	struct ir_operand v, c;

	lower_no_more_modifiers(l);
	if (shr7 && shr15)
		lower_bad(l, NULL, "one of .shr7 and .shr15");
	if (!word_types(l, 3) || !lower_operands(l, 4, 4))
		return;
	minus = opd[1].is_minus != opd[2].is_minus;
	final_signed = ir_type_is_signed(l->type[1]) || ir_type_is_signed(l->type[2]) || minus || opd[3].is_minus;
	if (opd[0].is_part || opd[3].is_part || (minus && opd[3].is_minus) ||
	    (po && (opd[1].is_minus || opd[2].is_minus || opd[3].is_minus)))
		lower_bad(l, NULL, "no such parts or minus signs");
	/*
	 * -(u32 * u32) and u32 * u32 - u32 need a bit more than there is, and the manual says two things of the latter's c;
	 * where only the low bits count neither matters.
	 */
	if ((sat || ((shr7 || shr15) && opd[3].is_minus)) && final_signed && !ir_type_is_signed(l->type[1]) && !ir_type_is_signed(l->type[2]))
		lower_refuse(l, "a saturated or scaled vmad of unsigned factors with a minus sign is not supported");
	if (lower_stopped(l))
		return;
	v = extended(l, &opd[1], l->type[1]);
	v = op2(l, IR_mul, IR_S64, v, extended(l, &opd[2], l->type[2]));
	c = reg(lower_cvt(l, IR_S64, final_signed ? IR_S32 : IR_U32, IR_NO_REG, whole(l, &opd[3])));
	if (minus)
		v = op2(l, IR_sub, IR_S64, c, v);
	else
		v = op2(l, opd[3].is_minus ? IR_sub : IR_add, IR_S64, v, c);
	if (po)
		v = op2(l, IR_add, IR_S64, v, imm(1));
	if (shr7 || shr15)
		v = op2(l, IR_shr, final_signed ? IR_S64 : IR_U64, v, imm(shr7 ? 7 : 15));
	if (sat && final_signed)
		v = clamp(l, IR_S64, v, 32, true);
	else if (sat)
		v = op2(l, IR_min, IR_U64, v, imm(UINT32_MAX));
	lower_cvt(l, IR_U32, IR_U64, destination(l, &opd[0]), v);
}

/* --- side by side ------------------------------------------------------------------------------- */
/* Which of the eight bytes, or four halves, of a and b element i of an operand is. */
static bool selected(struct lower *l, const struct ptx_opd *o, unsigned int nr, unsigned int i, unsigned int standard,
		     unsigned int *which)
{
	*which = standard + i;
	if (!o->is_part)
		return true;
	*which = PTX_PART_DIGITS(o->imm) >> (4 * i) & 15;
	if (PTX_PART_LETTER(o->imm) == (nr == 2 ? 'h' : 'b') && PTX_PART_NR(o->imm) == nr && *which < 2 * nr)
		return true;
	lower_bad(l, o, "no such parts of two registers");
	return false;
}

/* The elements of the result that are written, a bit for each. */
static unsigned int written(struct lower *l, const struct ptx_opd *o, unsigned int nr)
{
	unsigned int mask = 0, last = nr;

	if (!o->is_part)
		return (1u << nr) - 1;
	for (unsigned int i = PTX_PART_NR(o->imm); i--;) {
		unsigned int n = PTX_PART_DIGITS(o->imm) >> (4 * i) & 15;

		if (n >= last)	/* they fall */
			mask = 1u << 31;
		else
			mask |= 1u << n;
		last = n;
	}
	if (PTX_PART_LETTER(o->imm) != (nr == 2 ? 'h' : 'b') || !mask || mask >> nr)
		lower_bad(l, o, "no such parts of a result");
	return mask;
}

static struct ir_operand element(struct lower *l, struct ir_operand a, struct ir_operand b, enum ir_cmp cmp)
{
	struct ir_operand v, p;

	switch (l->in->op) {
	case PTX_W_vadd2: case PTX_W_vadd4: return op2(l, IR_add, IR_S32, a, b);
	case PTX_W_vsub2: case PTX_W_vsub4: return op2(l, IR_sub, IR_S32, a, b);
	case PTX_W_vabsdiff2: case PTX_W_vabsdiff4:
		v = op2(l, IR_sub, IR_S32, a, b);
		return reg(lower_op(l, IR_abs, IR_S32, IR_NO_REG, 1, &v));
	case PTX_W_vmin2: case PTX_W_vmin4: return op2(l, IR_min, IR_S32, a, b);
	case PTX_W_vmax2: case PTX_W_vmax4: return op2(l, IR_max, IR_S32, a, b);
	case PTX_W_vavrg2: case PTX_W_vavrg4:	/* rounded up from 0 on, down below */
		v = op2(l, IR_add, IR_S32, a, b);
		p = truth(l, IR_GE, IR_S32, v, imm(0));
		return op2(l, IR_shr, IR_S32, op2(l, IR_add, IR_S32, v, p), imm(1));
	default: return truth(l, cmp, IR_S32, a, b);
	}
}

static void simd(struct lower *l, unsigned int nr, bool is_set)
{
	bool add = lower_has(l, PTX_W_add), sat = !is_set && lower_has(l, PTX_W_sat);
	const struct ptx_opd *opd = l->in->opd;
	unsigned int bits = 32 / nr, mask;
	enum ir_cmp cmp = IR_CMP_NONE;
	struct ir_operand src[2], d;
	enum ir_type *t;

	if (is_set && !compare_word(l, &cmp))
		lower_bad(l, NULL, "expected a comparison such as .eq");
	lower_no_more_modifiers(l);
	if (add && sat)
		lower_bad(l, NULL, "'.sat' or '.add', but not both");
	if (!word_types(l, is_set ? 2 : 3) || !lower_operands(l, 4, 4))
		return;
	t = &l->type[is_set ? 0 : 1];
	for (unsigned int i = 1; i < 4; i++)
		if (opd[i].is_minus || (i == 3 && opd[i].is_part))
			lower_bad(l, &opd[i], "expected a register");
	mask = written(l, &opd[0], nr);
	if (lower_stopped(l))
		return;
	src[0] = whole(l, &opd[1]);
	src[1] = whole(l, &opd[2]);
	d = lower_get(l, &opd[3], IR_U32);	/* the elements that are not written, or the sum's beginning */
	for (unsigned int i = 0; i < nr; i++) {
		struct ir_operand x[2], v;

		if (!(mask >> i & 1))
			continue;
		for (unsigned int s = 0; s < 2; s++) {
			unsigned int which;

			if (!selected(l, &opd[s + 1], nr, i, s * nr, &which))
				return;
			x[s] = reg(lower_op(l, IR_bfe, t[s], IR_NO_REG, 3, (struct ir_operand[]){
				src[which / nr], imm(which % nr * bits), imm(bits) }));
		}
		v = element(l, x[0], x[1], cmp);
		if (sat)
			v = clamp(l, IR_S32, v, bits, ir_type_is_signed(l->type[0]));
		if (add)
			d = op2(l, IR_add, IR_U32, d, v);
		else
			d = reg(lower_op(l, IR_bfi, IR_B32, IR_NO_REG, 4, (struct ir_operand[]){
				v, d, imm(i * bits), imm(bits) }));
	}
	lower_op(l, IR_mov, IR_B32, destination(l, &opd[0]), 1, &d);
}

void lower_video(struct lower *l)
{
	switch (l->in->op) {
	case PTX_W_vmad:
		vmad(l);
		break;
	case PTX_W_vadd2: case PTX_W_vsub2: case PTX_W_vavrg2: case PTX_W_vabsdiff2: case PTX_W_vmin2: case PTX_W_vmax2:
	case PTX_W_vset2:
		simd(l, 2, l->in->op == PTX_W_vset2);
		break;
	case PTX_W_vadd4: case PTX_W_vsub4: case PTX_W_vavrg4: case PTX_W_vabsdiff4: case PTX_W_vmin4: case PTX_W_vmax4:
	case PTX_W_vset4:
		simd(l, 4, l->in->op == PTX_W_vset4);
		break;
	default:
		scalar(l);
		break;
	}
}
