/* lower_convert.c - cvt between packed narrow floats (fp8, fp6, fp4, ue8m0, tf32) and f32 or pairs of 16 bits; cvt.pack. */
#include "translate/lower.h"

static const struct { enum ptx_word word; enum ir_fmt fmt; uint8_t bits; } format[] = {
	{ PTX_W_e4m3x2, IR_FMT_E4M3, 8 }, { PTX_W_e5m2x2, IR_FMT_E5M2, 8 }, { PTX_W_e2m3x2, IR_FMT_E2M3, 8 },
	{ PTX_W_e3m2x2, IR_FMT_E3M2, 8 }, { PTX_W_e2m1x2, IR_FMT_E2M1, 4 }, { PTX_W_ue8m0x2, IR_FMT_UE8M0, 8 },
	{ PTX_W_tf32, IR_FMT_TF32, 32 },
};

static struct ir_operand imm(uint64_t v)
{
	return (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG, .imm = v };
}

static struct ir_operand reg(ir_reg r)
{
	return (struct ir_operand){ .kind = IR_OPD_REG, .reg = r };
}

static ir_reg op2(struct lower *l, enum ir_op op, enum ir_type t, struct ir_operand a, struct ir_operand b)
{
	return lower_op(l, op, t, IR_NO_REG, 2, (struct ir_operand[]){ a, b });
}

/* high << bits | low */
static ir_reg join(struct lower *l, ir_reg high, ir_reg low, unsigned int bits, ir_reg dst)
{
	return lower_op(l, IR_or, IR_B32, dst, 2,
			(struct ir_operand[]){ reg(op2(l, IR_shl, IR_B32, reg(high), imm(bits))), reg(low) });
}

static ir_reg narrow(struct lower *l, enum ir_fmt fmt, enum ir_rnd rnd, uint16_t flags, ir_reg dst, struct ir_operand v)
{
	struct ir_insn *in = lower_emit(l, IR_narrow, IR_F32, 1, 1);

	if (dst == IR_NO_REG)
		dst = lower_reg(l, IR_B32);
	if (in) {
		in->sub = (uint8_t)fmt;
		in->rnd = (uint8_t)rnd;
		in->flags = flags;
		in->dst[0] = dst;
		in->src[0] = v;
	}
	return dst;
}

/* Half h of a pair of 16 bits, as f32. */
static struct ir_operand half(struct lower *l, struct ir_operand pair, unsigned int h, enum ir_type t)
{
	ir_reg r = op2(l, IR_shr, IR_U32, pair, imm(16 * h));

	return reg(lower_cvt(l, IR_F32, t, IR_NO_REG, reg(lower_cvt(l, IR_U16, IR_U32, IR_NO_REG, reg(r)))));
}

static void to_narrow(struct lower *l, size_t f, enum ir_rnd rnd, uint16_t flags)
{
	enum ir_type from = l->nr_types == 1 ? l->type[0] : IR_NONE;
	bool pair = from == IR_F16X2 || from == IR_BF16X2, is_scale = format[f].fmt == IR_FMT_UE8M0, rnd_ok;
	unsigned int nr = pair || format[f].fmt == IR_FMT_TF32 ? 2 : 3;
	struct ir_operand v[2];
	ir_reg high, low;

	if (format[f].fmt == IR_FMT_TF32)
		rnd_ok = rnd == IR_RNA || rnd == IR_RN || rnd == IR_RZ;
	else
		rnd_ok = is_scale ? rnd == IR_RZ || rnd == IR_RP : rnd == IR_RN && flags & IR_SATFINITE;
	if (!rnd_ok || (is_scale && (flags & IR_RELU || from == IR_F16X2)) || (format[f].fmt == IR_FMT_TF32 && pair) ||
	    (rnd == IR_RNA && flags & IR_RELU) || (from != IR_F32 && !pair)) {
		lower_bad(l, NULL, "no such conversion");
		return;
	}
	if (!lower_operands(l, nr, nr))
		return;
	if (pair) {
		struct ir_operand a = lower_get(l, &l->in->opd[1], IR_B32);

		v[0] = half(l, a, 1, from == IR_F16X2 ? IR_F16 : IR_BF16);
		v[1] = half(l, a, 0, from == IR_F16X2 ? IR_F16 : IR_BF16);
	} else {
		v[0] = lower_get(l, &l->in->opd[1], IR_F32);
		if (nr == 3)
			v[1] = lower_get(l, &l->in->opd[2], IR_F32);
	}
	if (format[f].fmt == IR_FMT_TF32) {
		narrow(l, IR_FMT_TF32, rnd, flags, lower_put(l, &l->in->opd[0], IR_B32), v[0]);
		return;
	}
	high = narrow(l, format[f].fmt, rnd, flags, IR_NO_REG, v[0]);
	low = narrow(l, format[f].fmt, rnd, flags, IR_NO_REG, v[1]);
	lower_cvt(l, IR_U16, IR_U32, lower_put(l, &l->in->opd[0], IR_B16), reg(join(l, high, low, format[f].bits, IR_NO_REG)));
}

static void from_narrow(struct lower *l, size_t f, enum ir_rnd rnd, uint16_t flags)
{
	bool is_scale = format[f].fmt == IR_FMT_UE8M0;
	enum ir_type to = l->nr_types == 1 ? l->type[0] : IR_NONE;
	ir_reg code, wide[2];
	struct ir_insn *in;

	if (rnd != IR_RN || flags & IR_SATFINITE || format[f].fmt == IR_FMT_TF32 || to != (is_scale ? IR_BF16X2 : IR_F16X2) ||
	    (is_scale && flags)) {
		lower_bad(l, NULL, "no such conversion");
		return;
	}
	if (!lower_operands(l, 2, 2))
		return;
	code = lower_cvt(l, IR_U32, format[f].bits == 4 ? IR_U8 : IR_U16, IR_NO_REG,
			 lower_get(l, &l->in->opd[1], format[f].bits == 4 ? IR_B8 : IR_B16));
	for (unsigned int h = 0; h < 2; h++) {
		ir_reg part = op2(l, IR_shr, IR_U32, reg(code), imm(h * format[f].bits));

		wide[h] = lower_reg(l, IR_B32);
		in = lower_emit(l, IR_widen, IR_F32, 1, 1);
		if (in) {
			in->sub = (uint8_t)format[f].fmt;
			in->dst[0] = wide[h];
			in->src[0] = reg(part);
		}
	}
	in = lower_emit(l, IR_cvt, to, 1, 2);	/* exact */
	if (in) {
		in->type2 = IR_F32;
		in->rnd = IR_RN;
		in->flags = flags;
		in->dst[0] = lower_put(l, &l->in->opd[0], IR_B32);
		in->src[0] = reg(wide[1]);
		in->src[1] = reg(wide[0]);
	}
}

/* cvt.pack: two integers cut to their range; what is left of the result is the low end of c */
static void pack(struct lower *l)
{
	static const struct { enum ptx_word word; unsigned int bits; bool is_signed; } small[] = {
		{ PTX_W_u2, 2, false }, { PTX_W_s2, 2, true }, { PTX_W_u4, 4, false }, { PTX_W_s4, 4, true },
	};
	unsigned int bits = 0, t = 0, nr;
	bool sat = lower_has(l, PTX_W_sat), is_signed = false;
	ir_reg part[2], r, rest;

	lower_has(l, PTX_W_pack);
	for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++)
		if (lower_has(l, small[i].word)) {
			bits = small[i].bits;
			is_signed = small[i].is_signed;
		}
	lower_no_more_modifiers(l);
	if (!bits && l->nr_types) {
		bits = ir_type_bits(l->type[0]);
		is_signed = ir_type_is_signed(l->type[0]);
		if (l->type[0] != IR_U16 && l->type[0] != IR_S16 && l->type[0] != IR_U8 && l->type[0] != IR_S8)
			bits = 0;
		t = 1;
	}
	nr = bits == 16 ? 1 : 2;
	if (!sat || !bits || l->nr_types != t + nr || l->type[t] != IR_S32 || (nr == 2 && l->type[t + 1] != IR_B32)) {
		lower_bad(l, NULL, "expected .sat, a type to convert to, .s32, and .b32 below 16 bits");
		return;
	}
	if (!lower_operands(l, nr + 2, nr + 2))
		return;
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t low = is_signed ? (UINT32_MAX << (bits - 1)) & UINT32_MAX : 0;
		uint64_t high = (UINT64_C(1) << (is_signed ? bits - 1 : bits)) - 1;

		part[i] = op2(l, IR_max, IR_S32, lower_get(l, &l->in->opd[i + 1], IR_S32), imm(low));
		part[i] = op2(l, IR_min, IR_S32, reg(part[i]), imm(high));
		part[i] = op2(l, IR_and, IR_B32, reg(part[i]), imm((UINT64_C(1) << bits) - 1));
	}
	if (bits == 16) {
		join(l, part[0], part[1], 16, lower_put(l, &l->in->opd[0], IR_B32));
		return;
	}
	r = join(l, part[0], part[1], bits, IR_NO_REG);
	rest = op2(l, IR_shl, IR_B32, lower_get(l, &l->in->opd[3], IR_B32), imm(2 * bits));
	lower_op(l, IR_or, IR_B32, lower_put(l, &l->in->opd[0], IR_B32), 2, (struct ir_operand[]){ reg(r), reg(rest) });
}

bool lower_convert(struct lower *l)
{
	enum ir_rnd rnd;
	uint16_t flags = 0;

	if (lower_is_given(l, PTX_W_pack)) {
		pack(l);
		return true;
	}
	for (size_t f = 0; f < sizeof(format) / sizeof(format[0]); f++) {
		bool to = false;

		if (!lower_has(l, format[f].word))
			continue;
		/* the destination's type stands before the source's */
		for (unsigned int i = 0; i < l->in->nr_mods; i++) {
			to = l->in->mod[i] == format[f].word;
			if (to || ptx_word_type(l->in->mod[i]) != IR_NONE)
				break;
		}
		rnd = lower_rounding(l);
		if (lower_has(l, PTX_W_relu))
			flags |= IR_RELU;
		if (lower_has(l, PTX_W_satfinite))
			flags |= IR_SATFINITE;
		lower_no_more_modifiers(l);
		if (lower_stopped(l))
			return true;
		if (to)
			to_narrow(l, f, rnd, flags);
		else
			from_narrow(l, f, rnd, flags);
		return true;
	}
	return false;
}
