/* lower_insn.c - one PTX instruction into hgIR. */
#include "translate/lower.h"
#include "translate/ptx_forms.h"

#include <inttypes.h>
#include <string.h>

/* --- modifiers ------------------------------------------------------------------------------- */
static void read_modifiers(struct lower *l)
{
	memset(l->seen, 0, sizeof(l->seen));
	l->nr_types = 0;
	for (unsigned int i = 0; i < l->in->nr_mods; i++) {
		enum ptx_word w = l->in->mod[i];
		enum ir_type t = ptx_word_type(w);

		if (w == PTX_W_NONE) {
			lower_refuse(l, "not supported");
			return;
		}
		if (t != IR_NONE && l->nr_types < 4)
			l->type[l->nr_types++] = t;
		else if (t != IR_NONE)
			lower_refuse(l, "not supported");
		else
			l->seen[w / 64] |= UINT64_C(1) << (w % 64);
	}
}

/* Whether a modifier is there; it is then accounted for. */
static bool has(struct lower *l, enum ptx_word w)
{
	bool is = l->seen[w / 64] >> (w % 64) & 1;

	l->seen[w / 64] &= ~(UINT64_C(1) << (w % 64));
	return is;
}

static void no_more_modifiers(struct lower *l)
{
	for (unsigned int i = 0; i < sizeof(l->seen) / sizeof(l->seen[0]); i++)
		if (l->seen[i]) {
			lower_refuse(l, "'.%s' is not supported here",
				     ptx_word_text(i * 64 + (unsigned int)__builtin_ctzll(l->seen[i])));
			return;
		}
}

struct word_value { enum ptx_word word; int value; };

static int pick(struct lower *l, const struct word_value *list, int none)
{
	int v = none;

	for (; list->word; list++)
		if (has(l, list->word))
			v = list->value;
	return v;
}

static enum ir_rnd rounding(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_rn, IR_RN }, { PTX_W_rz, IR_RZ }, { PTX_W_rm, IR_RM }, { PTX_W_rp, IR_RP }, { PTX_W_rna, IR_RNA },
		{ PTX_W_rni, IR_RNI }, { PTX_W_rzi, IR_RZI }, { PTX_W_rmi, IR_RMI }, { PTX_W_rpi, IR_RPI }, { 0, 0 },
	};

	return (enum ir_rnd)pick(l, list, IR_RND_NONE);
}

static enum ir_scope scope(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_cta, IR_CTA }, { PTX_W_gpu, IR_GPU }, { PTX_W_sys, IR_SYS }, { PTX_W_gl, IR_GPU },
		{ PTX_W_cluster, IR_CTA }, { 0, 0 },	/* a cluster is one block */
	};

	return (enum ir_scope)pick(l, list, IR_SCOPE_NONE);
}

static enum ir_sem semantics(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_weak, IR_WEAK }, { PTX_W_volatile, IR_VOLATILE }, { PTX_W_mmio, IR_VOLATILE },
		{ PTX_W_relaxed, IR_RELAXED }, { PTX_W_acquire, IR_ACQUIRE }, { PTX_W_release, IR_RELEASE },
		{ PTX_W_acq_rel, IR_ACQ_REL }, { PTX_W_sc, IR_SC }, { 0, 0 },
	};

	return (enum ir_sem)pick(l, list, IR_WEAK);
}

static enum ir_space space(struct lower *l, bool *given)
{
	static const struct word_value list[] = {
		{ PTX_W_global, IR_GLOBAL }, { PTX_W_shared, IR_SHARED }, { PTX_W_shared__cta, IR_SHARED },
		{ PTX_W_shared__cluster, IR_SHARED }, { PTX_W_local, IR_LOCAL }, { PTX_W_const, IR_CONST },
		{ PTX_W_param, IR_PARAM }, { PTX_W_param__entry, IR_PARAM }, { PTX_W_param__func, IR_PARAM },
		{ PTX_W_generic, IR_GENERIC }, { 0, 0 },
	};
	int v = pick(l, list, -1);

	*given = v > 0;
	return v < 0 ? IR_GENERIC : (enum ir_space)v;
}

/* Hints to caches change nothing that a program can see. */
static void take_cache_hints(struct lower *l)
{
	static const enum ptx_word hints[] = {
		PTX_W_ca, PTX_W_cg, PTX_W_cs, PTX_W_cv, PTX_W_lu, PTX_W_wb, PTX_W_wt, PTX_W_evict_last, PTX_W_evict_normal,
		PTX_W_evict_first, PTX_W_evict_unchanged, PTX_W_no_allocate, PTX_W_unified, PTX_W_L1, PTX_W_L2,
		PTX_W_L1__evict_normal, PTX_W_L1__evict_unchanged, PTX_W_L1__evict_first, PTX_W_L1__evict_last,
		PTX_W_L1__no_allocate, PTX_W_L2__cache_hint, PTX_W_L2__64B, PTX_W_L2__128B, PTX_W_L2__256B,
		PTX_W_L2__evict_last, PTX_W_L2__evict_normal, PTX_W_L2__evict_first, PTX_W_L2__evict_unchanged,
	};

	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		has(l, hints[i]);
}

static enum ir_type one_type(struct lower *l)
{
	if (l->nr_types != 1)
		lower_bad(l, NULL, "expected one type, found %" PRIu32, l->nr_types);
	return l->nr_types ? l->type[0] : IR_B32;
}

static bool operands(struct lower *l, unsigned int min, unsigned int max)
{
	if (l->in->nr_opds < min || l->in->nr_opds > max) {
		if (min == max)
			lower_bad(l, NULL, "expected %u operands, found %u", min, l->in->nr_opds);
		else
			lower_bad(l, NULL, "expected %u to %u operands, found %u", min, max, l->in->nr_opds);
		return false;
	}
	return !lower_stopped(l);
}

/* --- operands -------------------------------------------------------------------------------- */
static const struct ir_operand zero = { .kind = IR_OPD_IMM, .reg = IR_NO_REG };

static struct ir_operand imm(uint64_t v)
{
	struct ir_operand o = zero;

	o.imm = v;
	return o;
}

static struct ir_operand reg(ir_reg r)
{
	return (struct ir_operand){ .kind = IR_OPD_REG, .reg = r };
}

static uint64_t cut(uint64_t v, unsigned int bits)
{
	return bits < 64 ? v & ((UINT64_C(1) << bits) - 1) : v;
}

static ir_reg emit1(struct lower *l, enum ir_op op, enum ir_type type, ir_reg dst, struct ir_operand a)
{
	struct ir_insn *in = lower_emit(l, op, type, 1, 1);

	if (in) {
		in->dst[0] = dst;
		in->src[0] = a;
	}
	return dst;
}

static ir_reg emit2(struct lower *l, enum ir_op op, enum ir_type type, ir_reg dst, struct ir_operand a, struct ir_operand b)
{
	struct ir_insn *in = lower_emit(l, op, type, 1, 2);

	if (in) {
		in->dst[0] = dst;
		in->src[0] = a;
		in->src[1] = b;
	}
	return dst;
}

static ir_reg compare(struct lower *l, enum ir_cmp cmp, enum ir_type type, ir_reg dst, struct ir_operand a,
		      struct ir_operand b)
{
	struct ir_insn *in = lower_emit(l, IR_setp, type, 1, 2);

	if (in) {
		in->cmp = (uint8_t)cmp;
		in->dst[0] = dst;
		in->src[0] = a;
		in->src[1] = b;
	}
	return dst;
}

/* Value of a special register of `bits` bits. */
static struct ir_operand special(struct lower *l, const struct ptx_opd *o, unsigned int *bits)
{
	const struct ptx_sreg *s = &ptx_sreg[o->reg];
	ir_reg wide, r;

	*bits = s->bits;
	if (s->sreg >= 0)
		return (struct ir_operand){ .kind = IR_OPD_SREG, .reg = IR_NO_REG, .index = (uint32_t)s->sreg };
	switch (s->what) {
	case PTX_SREG_ZERO: return imm(0);
	case PTX_SREG_ONE: return imm(1);
	case PTX_SREG_WARP: return imm(32);
	case PTX_SREG_RESERVED: return imm(lower_reserved(l));
	case PTX_SREG_LOW: case PTX_SREG_HIGH:
		wide = lower_reg(l, IR_B64);
		r = lower_reg(l, IR_B32);
		emit1(l, IR_mov, IR_U64, wide, (struct ir_operand){ .kind = IR_OPD_SREG, .reg = IR_NO_REG,
			.index = !strcmp(s->name, "clock_hi") ? IR_SREG_CLOCK64 : IR_SREG_GLOBALTIMER });
		if (s->what == PTX_SREG_HIGH)
			emit2(l, IR_shr, IR_U64, wide, reg(wide), imm(32));
		{
			struct ir_insn *in = lower_emit(l, IR_cvt, IR_U32, 1, 1);

			if (in) {
				in->type2 = IR_U64;
				in->dst[0] = r;
				in->src[0] = reg(wide);
			}
		}
		return reg(r);
	default:
		lower_refuse(l, "special register '%%%s' is not supported", s->name);
		return zero;
	}
}

static float as_float(uint32_t v)
{
	float f;

	memcpy(&f, &v, sizeof(f));
	return f;
}

static uint64_t float_constant(struct lower *l, const struct ptx_opd *o, enum ir_type type)
{
	uint64_t bits = o->imm;
	uint32_t bits32;
	double d;
	float f;

	switch (type) {
	case IR_F64:
		if (!o->is_f32)
			return bits;
		d = (double)as_float((uint32_t)bits);
		memcpy(&bits, &d, sizeof(bits));
		return bits;
	case IR_F32:
		if (o->is_f32)
			return bits;
		memcpy(&d, &bits, sizeof(d));
		f = (float)d;
		memcpy(&bits32, &f, sizeof(bits32));
		return bits32;
	case IR_B32: case IR_U32: case IR_S32:
		if (o->is_f32)
			return bits;
		break;
	case IR_B64: case IR_U64: case IR_S64:
		if (!o->is_f32)
			return bits;
		break;
	default:
		break;
	}
	lower_bad(l, o, "a floating-point constant is no operand of .%s", ir_type_name(type));
	return 0;
}

/* A source operand of the given type. */
static struct ir_operand get(struct lower *l, const struct ptx_opd *o, enum ir_type type)
{
	struct ir_operand v;
	enum ir_space sp;
	unsigned int bits;
	ir_reg r;

	if (lower_stopped(l))
		return zero;
	switch (o->kind) {
	case PTX_OPD_REG:
		if (o->is_part) {
			lower_refuse(l, "a part of a register is not supported here");
			return zero;
		}
		v = reg(l->inst->reg_base + o->reg);
		v.negated = o->negated;
		if (o->negated && l->fn->reg_type[v.reg] != IR_PRED)
			lower_bad(l, o, "only a predicate can be negated");
		return v;
	case PTX_OPD_INT:
		if (type == IR_PRED)
			return imm(o->imm != 0);
		if (type == IR_F32 || type == IR_F64 || type == IR_F16 || type == IR_BF16) {
			lower_refuse(l, "an integer constant as .%s is not supported", ir_type_name(type));
			return zero;
		}
		return imm(cut(o->imm, ir_type_bits(type)));
	case PTX_OPD_FLOAT:
		return imm(float_constant(l, o, type));
	case PTX_OPD_SREG:
		v = special(l, o, &bits);
		if (v.kind != IR_OPD_SREG)
			return v;
		r = lower_reg(l, bits == 64 ? IR_B64 : IR_B32);
		emit1(l, IR_mov, bits == 64 ? IR_U64 : IR_U32, r, v);
		return reg(r);
	case PTX_OPD_SYM:
		if (!lower_var_address(l, o, o->sym, o->imm, &v, &sp))
			return zero;
		r = lower_reg(l, v.kind == IR_OPD_VAR && !lower_is_offset(&v) ? IR_B64 : type);
		emit1(l, IR_mov, ir_type_bits(l->fn->reg_type[r]) == 64 ? IR_U64 : IR_U32, r, v);
		return reg(r);
	default:
		lower_bad(l, o, "expected a value");
		return zero;
	}
}

static const struct ptx_opd *opd(const struct lower *l, unsigned int i)
{
	return &l->in->opd[i];
}

/* A destination register; '_' gives one that nobody reads. */
static ir_reg put(struct lower *l, const struct ptx_opd *o, enum ir_type type)
{
	if (lower_stopped(l))
		return 0;
	if (o->kind == PTX_OPD_NONE)
		return lower_reg(l, type);
	if (o->kind != PTX_OPD_REG || o->negated) {
		lower_bad(l, o, "expected a register");
		return 0;
	}
	if (o->is_part)
		lower_refuse(l, "a part of a register is not supported here");
	return l->inst->reg_base + o->reg;
}

/* "d" or "d|p" */
static void put_pair(struct lower *l, const struct ptx_opd *o, enum ir_type type, ir_reg *d, ir_reg *p)
{
	*p = IR_NO_REG;
	if (o->kind == PTX_OPD_PAIR) {
		*d = put(l, &o->elem[0], type);
		*p = put(l, &o->elem[1], IR_PRED);
	} else {
		*d = put(l, o, type);
	}
}

static ir_reg temp_of(struct lower *l, struct ir_operand v, enum ir_type class)
{
	if (v.kind == IR_OPD_REG && !v.negated)
		return v.reg;
	return emit1(l, IR_mov, ir_type_class(class), lower_reg(l, class), v);
}

static ir_reg carry(struct lower *l)
{
	if (l->cc == IR_NO_REG)
		l->cc = lower_reg(l, IR_PRED);
	return l->cc;
}

/* A prepared instruction: its operands are found before it is put into the block. */
struct build {
	struct ir_insn in;
	ir_reg dst[16];
	struct ir_operand src[16];
};

static void build(struct build *b, enum ir_op op, enum ir_type type)
{
	*b = (struct build){ .in = { .op = (uint16_t)op, .type = (uint8_t)type } };
}

static void build_src(struct build *b, struct ir_operand o)
{
	if (b->in.nr_src < 16)
		b->src[b->in.nr_src++] = o;
}

static void build_dst(struct build *b, ir_reg r)
{
	if (b->in.nr_dst < 16)
		b->dst[b->in.nr_dst++] = r;
}

static void build_end(struct lower *l, const struct build *b)
{
	struct ir_insn *in = lower_emit(l, b->in.op, b->in.type, b->in.nr_dst, b->in.nr_src);
	struct ir_insn v = b->in;

	if (!in)
		return;
	v.guard = in->guard;
	v.guard_neg = in->guard_neg;
	v.line = in->line;
	v.dst = in->dst;
	v.src = in->src;
	*in = v;
	memcpy(in->dst, b->dst, b->in.nr_dst * sizeof(*in->dst));
	memcpy(in->src, b->src, b->in.nr_src * sizeof(*in->src));
}

/* --- for the other files --- */
bool lower_has(struct lower *l, enum ptx_word w)
{
	return has(l, w);
}

bool lower_is_given(const struct lower *l, enum ptx_word w)
{
	return l->seen[w / 64] >> (w % 64) & 1;
}

void lower_no_more_modifiers(struct lower *l)
{
	no_more_modifiers(l);
}

enum ir_rnd lower_rounding(struct lower *l)
{
	return rounding(l);
}

bool lower_operands(struct lower *l, unsigned int min, unsigned int max)
{
	return operands(l, min, max);
}

struct ir_operand lower_get(struct lower *l, const struct ptx_opd *o, enum ir_type type)
{
	return get(l, o, type);
}

ir_reg lower_put(struct lower *l, const struct ptx_opd *o, enum ir_type type)
{
	return put(l, o, type);
}

ir_reg lower_op(struct lower *l, enum ir_op op, enum ir_type type, ir_reg dst, unsigned int nr, const struct ir_operand *src)
{
	struct build b;

	if (dst == IR_NO_REG)
		dst = lower_reg(l, ir_type_class(type));
	build(&b, op, type);
	for (unsigned int i = 0; i < nr; i++)
		build_src(&b, src[i]);
	build_dst(&b, dst);
	build_end(l, &b);
	return dst;
}

ir_reg lower_cvt(struct lower *l, enum ir_type to, enum ir_type from, ir_reg dst, struct ir_operand v)
{
	struct build b;

	if (dst == IR_NO_REG)
		dst = lower_reg(l, ir_type_class(to));
	build(&b, IR_cvt, to);
	b.in.type2 = (uint8_t)from;
	build_src(&b, v);
	build_dst(&b, dst);
	build_end(l, &b);
	return dst;
}

/* --- arithmetic ------------------------------------------------------------------------------ */
static bool is_int(enum ir_type t)
{
	return (t >= IR_U8 && t <= IR_U64) || (t >= IR_S8 && t <= IR_S64);
}

/* Two lanes in one register: f32x2 in 64 bits, u16x2 and s16x2 in 32. */
static void packed(struct lower *l, enum ir_op op, unsigned int nr_src, enum ir_type half, enum ir_type whole, enum ir_rnd rnd,
		   uint16_t flags)
{
	ir_reg part[2][3], d[2];
	struct build b;

	for (unsigned int s = 0; s < nr_src; s++) {
		build(&b, IR_unpack, whole);
		build_src(&b, reg(temp_of(l, get(l, opd(l, s + 1), whole), whole)));
		for (int h = 0; h < 2; h++)
			build_dst(&b, part[h][s] = lower_reg(l, half));
		build_end(l, &b);
	}
	for (int h = 0; h < 2; h++) {
		build(&b, op, half);
		b.in.rnd = (uint8_t)rnd;
		b.in.flags = flags & (uint16_t)~IR_RELU;
		for (unsigned int s = 0; s < nr_src; s++)
			build_src(&b, reg(part[h][s]));
		build_dst(&b, d[h] = lower_reg(l, half));
		build_end(l, &b);
		if (flags & IR_RELU)
			emit2(l, IR_max, half, d[h], reg(d[h]), imm(0));
	}
	emit2(l, IR_pack, whole, put(l, opd(l, 0), whole), reg(d[0]), reg(d[1]));
}

static uint16_t float_flags(struct lower *l)
{
	uint16_t flags = 0;

	if (has(l, PTX_W_ftz))
		flags |= IR_FTZ;
	if (has(l, PTX_W_sat))
		flags |= IR_SAT;
	if (has(l, PTX_W_approx))
		flags |= IR_APPROX;
	if (has(l, PTX_W_full))
		flags |= IR_FULL;
	if (has(l, PTX_W_relu))
		flags |= IR_RELU;
	return flags;
}

/* add sub mul fma min max div rem copysign sad and or xor … : d, then nr_src sources of one type. */
static void plain(struct lower *l, enum ir_op op, unsigned int nr_src)
{
	bool x2 = has(l, PTX_W_f32x2), u16x2 = has(l, PTX_W_u16x2), s16x2 = has(l, PTX_W_s16x2), arith, exact;
	enum ir_rnd rnd = rounding(l);
	uint16_t flags = float_flags(l);
	enum ir_type t;
	struct build b;

	has(l, PTX_W_noftz);
	if (has(l, PTX_W_NaN))
		flags |= IR_NAN_OUT;
	if (has(l, PTX_W_xorsign)) {
		flags |= IR_XORSIGN;
		has(l, PTX_W_abs);
	}
	no_more_modifiers(l);
	if (!operands(l, nr_src + 1, nr_src + 1))
		return;
	if (x2) {
		packed(l, op, nr_src, IR_F32, IR_B64, rnd ? rnd : IR_RN, flags);
		return;
	}
	if (u16x2 || s16x2) {
		packed(l, op, nr_src, u16x2 ? IR_U16 : IR_S16, IR_B32, IR_RND_NONE, flags);
		return;
	}
	t = one_type(l);
	arith = op == IR_add || op == IR_sub || op == IR_mul || op == IR_fma || op == IR_div || op == IR_rcp || op == IR_sqrt;
	exact = arith && ir_type_is_float(t) && !(flags & (IR_APPROX | IR_FULL));
	if (rnd > IR_RP)
		lower_bad(l, NULL, "this rounding is for conversions only");
	if ((rnd || flags & ~(IR_SAT | IR_RELU)) && !ir_type_is_float(t))
		lower_bad(l, NULL, "a floating-point modifier on .%s", ir_type_name(t));
	if (flags & IR_SAT && is_int(t) && (t != IR_S32 || (op != IR_add && op != IR_sub)))
		lower_bad(l, NULL, "'.sat' is not for .%s", ir_type_name(t));
	if (flags & IR_RELU && (op != IR_fma || !(t >= IR_F16 && t <= IR_BF16X2)))
		lower_refuse(l, "'.relu' is not supported here");
	build(&b, op, t);
	b.in.rnd = (uint8_t)(exact && !rnd ? IR_RN : rnd);
	b.in.flags = flags;
	for (unsigned int s = 0; s < nr_src; s++)
		build_src(&b, get(l, opd(l, s + 1), t));
	build_dst(&b, put(l, opd(l, 0), t));
	build_end(l, &b);
}

static void int_carry(struct lower *l, enum ir_op op, unsigned int nr_src)
{
	bool out = has(l, PTX_W_cc), in = op == IR_addc || op == IR_subc || op == IR_madc;
	bool hi = has(l, PTX_W_hi);
	enum ir_type t = one_type(l);
	struct build b;

	has(l, PTX_W_lo);
	no_more_modifiers(l);
	if (!operands(l, nr_src + 1, nr_src + 1))
		return;
	build(&b, op, is_int(t) ? t : t == IR_B64 ? IR_U64 : IR_U32);
	for (unsigned int s = 0; s < nr_src; s++)
		build_src(&b, get(l, opd(l, s + 1), t));
	if (in)
		build_src(&b, reg(carry(l)));
	build_dst(&b, put(l, opd(l, 0), t));
	if (out) {
		build_dst(&b, carry(l));
		b.in.flags |= IR_CC;
	}
	if (hi)
		b.in.flags |= IR_HI;
	build_end(l, &b);
}

/* add.f32.f16, fma.f32.bf16…: the first `nr_half` operands are widened first, exactly. */
static void mixed_precision(struct lower *l, enum ir_op op, unsigned int nr_src, unsigned int nr_half)
{
	enum ir_rnd rnd = rounding(l);
	uint16_t flags = has(l, PTX_W_sat) ? IR_SAT : 0;
	struct build b;

	no_more_modifiers(l);
	if (l->nr_types != 2 || l->type[0] != IR_F32 || (l->type[1] != IR_F16 && l->type[1] != IR_BF16) || rnd > IR_RP) {
		lower_bad(l, NULL, "expected .f32.f16 or .f32.bf16");
		return;
	}
	if (!operands(l, nr_src + 1, nr_src + 1))
		return;
	build(&b, op, IR_F32);
	b.in.rnd = (uint8_t)(rnd ? rnd : IR_RN);
	b.in.flags = flags;
	for (unsigned int s = 0; s < nr_src; s++)
		build_src(&b, s >= nr_half ? get(l, opd(l, s + 1), IR_F32) :
			  reg(lower_cvt(l, IR_F32, l->type[1], IR_NO_REG, get(l, opd(l, s + 1), l->type[1]))));
	build_dst(&b, put(l, opd(l, 0), IR_F32));
	build_end(l, &b);
}

static void op_add(struct lower *l)
{
	enum ir_op op = l->in->op == PTX_W_add ? IR_add : IR_sub;

	if (l->seen[PTX_W_cc / 64] >> (PTX_W_cc % 64) & 1)
		int_carry(l, op, 2);
	else if (l->nr_types == 2)
		mixed_precision(l, op, 2, 1);
	else
		plain(l, op, 2);
}

static void op_addc(struct lower *l)
{
	int_carry(l, l->in->op == PTX_W_addc ? IR_addc : IR_subc, 2);
}

/* mul, mad on integers: .lo .hi .wide; mad on floats is fma. */
static void op_mul(struct lower *l)
{
	bool is_mad = l->in->op == PTX_W_mad;
	unsigned int nr_src = is_mad ? 3 : 2;
	enum ir_type t = l->nr_types == 1 ? l->type[0] : IR_NONE;
	struct build b;
	bool wide, hi, lo, sat;

	if (t == IR_NONE || ir_type_is_float(t)) {
		plain(l, is_mad ? IR_fma : IR_mul, nr_src);
		return;
	}
	if (l->seen[PTX_W_cc / 64] >> (PTX_W_cc % 64) & 1) {
		int_carry(l, is_mad ? IR_mad : IR_mul, nr_src);
		return;
	}
	wide = has(l, PTX_W_wide);
	hi = has(l, PTX_W_hi);
	lo = has(l, PTX_W_lo);
	sat = has(l, PTX_W_sat);
	no_more_modifiers(l);
	if (sat && (!is_mad || !hi || t != IR_S32))
		lower_bad(l, NULL, "'.sat' is for mad.hi.s32 only");
	if (wide + hi + lo != 1)
		lower_bad(l, NULL, "expected one of .lo, .hi, .wide");
	if (!operands(l, nr_src + 1, nr_src + 1))
		return;
	build(&b, is_mad ? IR_mad : IR_mul, t);
	b.in.flags = (uint16_t)((wide ? IR_WIDE : hi ? IR_HI : 0) | (sat ? IR_SAT : 0));
	build_src(&b, get(l, opd(l, 1), t));
	build_src(&b, get(l, opd(l, 2), t));
	if (is_mad)
		build_src(&b, get(l, opd(l, 3), !wide ? t : ir_type_bits(t) == 16 ? IR_U32 : IR_U64));
	build_dst(&b, put(l, opd(l, 0), t));
	build_end(l, &b);
}

static void op_madc(struct lower *l)
{
	int_carry(l, IR_madc, 3);
}

/* mul24, mad24: the low 24 bits of each factor, extended by sign. */
static void op_mul24(struct lower *l)
{
	bool is_mad = l->in->op == PTX_W_mad24, hi = has(l, PTX_W_hi), lo = has(l, PTX_W_lo);
	bool sat = has(l, PTX_W_sat);
	enum ir_type t = one_type(l), wide_type = t == IR_S32 ? IR_S64 : IR_U64;
	ir_reg a[2], product, r;
	struct build b;

	if (sat && (!is_mad || !hi || t != IR_S32))
		lower_bad(l, NULL, "'.sat' is for mad24.hi.s32 only");
	no_more_modifiers(l);
	if (hi + lo != 1 || (t != IR_U32 && t != IR_S32))
		lower_bad(l, NULL, "expected .lo or .hi and .u32 or .s32");
	if (!operands(l, is_mad ? 4 : 3, is_mad ? 4 : 3))
		return;
	for (int i = 0; i < 2; i++) {
		a[i] = lower_reg(l, IR_B32);
		build(&b, IR_bfe, t);
		build_src(&b, get(l, opd(l, (unsigned int)i + 1), t));
		build_src(&b, imm(0));
		build_src(&b, imm(24));
		build_dst(&b, a[i]);
		build_end(l, &b);
	}
	r = is_mad ? lower_reg(l, IR_B32) : put(l, opd(l, 0), t);
	if (lo) {
		emit2(l, IR_mul, t, r, reg(a[0]), reg(a[1]));
	} else {
		struct ir_insn *in;

		product = lower_reg(l, IR_B64);
		build(&b, IR_mul, t);
		b.in.flags = IR_WIDE;
		build_src(&b, reg(a[0]));
		build_src(&b, reg(a[1]));
		build_dst(&b, product);
		build_end(l, &b);
		emit2(l, IR_shr, wide_type, product, reg(product), imm(16));
		in = lower_emit(l, IR_cvt, IR_U32, 1, 1);
		if (in) {
			in->type2 = IR_U64;
			in->dst[0] = r;
			in->src[0] = reg(product);
		}
	}
	if (is_mad) {
		struct ir_operand c = get(l, opd(l, 3), t);

		build(&b, IR_add, t);
		b.in.flags = sat ? IR_SAT : 0;
		build_src(&b, reg(r));
		build_src(&b, c);
		build_dst(&b, put(l, opd(l, 0), t));
		build_end(l, &b);
	}
}

static void op_fma(struct lower *l)
{
	if (l->nr_types == 2)
		mixed_precision(l, IR_fma, 3, 2);
	else
		plain(l, IR_fma, 3);
}

static void op_div(struct lower *l) { plain(l, IR_div, 2); }

static void op_rem(struct lower *l) { plain(l, IR_rem, 2); }

/* min.relu.s32, max.relu.s16x2: a negative result becomes 0 */
static void relu_minmax(struct lower *l, enum ir_op op)
{
	bool x2 = has(l, PTX_W_s16x2);
	struct ir_operand a, b;
	ir_reg d;

	has(l, PTX_W_relu);
	no_more_modifiers(l);
	if (x2 ? l->nr_types != 0 : one_type(l) != IR_S32)
		lower_bad(l, NULL, "'.relu' is for .s32 and .s16x2 only");
	if (!operands(l, 3, 3))
		return;
	d = put(l, opd(l, 0), IR_B32);
	if (!x2) {
		a = get(l, opd(l, 1), IR_S32);
		b = get(l, opd(l, 2), IR_S32);
		a = reg(emit2(l, op, IR_S32, lower_reg(l, IR_B32), a, b));
		emit2(l, IR_max, IR_S32, d, a, imm(0));
		return;
	}
	packed(l, op, 2, IR_S16, IR_B32, IR_RND_NONE, IR_RELU);
}

static void op_minmax(struct lower *l)
{
	enum ir_op op = l->in->op == PTX_W_min ? IR_min : IR_max;
	struct ir_operand x[3];
	struct build b;
	uint16_t flags = 0;
	bool abs;

	if (lower_is_given(l, PTX_W_relu)) {
		relu_minmax(l, op);
		return;
	}
	if (lower_is_given(l, PTX_W_xorsign) != lower_is_given(l, PTX_W_abs) && l->in->nr_opds != 4)
		lower_bad(l, NULL, "expected .xorsign and .abs together");
	if (l->in->nr_opds != 4) {
		plain(l, op, 2);
		return;
	}
	if (has(l, PTX_W_ftz))
		flags |= IR_FTZ;
	if (has(l, PTX_W_NaN))
		flags |= IR_NAN_OUT;
	abs = has(l, PTX_W_abs);
	no_more_modifiers(l);
	if (one_type(l) != IR_F32)
		lower_bad(l, NULL, "three operands are for .f32 only");
	for (unsigned int s = 0; s < 3; s++) {
		x[s] = get(l, opd(l, s + 1), IR_F32);
		if (abs)
			x[s] = reg(emit1(l, IR_abs, IR_F32, lower_reg(l, IR_F32), x[s]));
	}
	build(&b, op, IR_F32);
	b.in.flags = flags;
	build_src(&b, x[0]);
	build_src(&b, x[1]);
	build_dst(&b, lower_reg(l, IR_F32));
	build_end(l, &b);
	x[0] = reg(b.dst[0]);
	b.in.nr_src = b.in.nr_dst = 0;
	build_src(&b, x[0]);
	build_src(&b, x[2]);
	build_dst(&b, put(l, opd(l, 0), IR_F32));
	build_end(l, &b);
}

static void op_unary_arith(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_neg, IR_neg }, { PTX_W_abs, IR_abs }, { PTX_W_rcp, IR_rcp }, { PTX_W_sqrt, IR_sqrt },
		{ PTX_W_rsqrt, IR_rsqrt }, { PTX_W_sin, IR_sin }, { PTX_W_cos, IR_cos }, { PTX_W_ex2, IR_ex2 },
		{ PTX_W_lg2, IR_lg2 }, { PTX_W_tanh, IR_tanh }, { PTX_W_brev, IR_brev }, { PTX_W_cnot, IR_cnot },
		{ PTX_W_not, IR_not }, { 0, 0 },
	};

	for (const struct word_value *v = list; v->word; v++)
		if (v->word == l->in->op) {
			plain(l, (enum ir_op)v->value, 1);
			return;
		}
}

static void op_binary_bits(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_and, IR_and }, { PTX_W_or, IR_or }, { PTX_W_xor, IR_xor }, { PTX_W_copysign, IR_copysign }, { 0, 0 },
	};

	for (const struct word_value *v = list; v->word; v++)
		if (v->word == l->in->op) {
			plain(l, (enum ir_op)v->value, 2);
			return;
		}
}

static void op_sad(struct lower *l) { plain(l, IR_sad, 3); }

/* popc, clz, bfind: 32 bits of result whatever the type */
static void op_count(struct lower *l)
{
	enum ir_op op = l->in->op == PTX_W_popc ? IR_popc : l->in->op == PTX_W_clz ? IR_clz : IR_bfind;
	enum ir_type t = one_type(l);
	struct build b;

	build(&b, op, t);
	if (op == IR_bfind)
		b.in.sub = has(l, PTX_W_shiftamt);
	no_more_modifiers(l);
	if (!operands(l, 2, 2))
		return;
	build_src(&b, get(l, opd(l, 1), t));
	build_dst(&b, put(l, opd(l, 0), IR_U32));
	build_end(l, &b);
}

/* Operands whose types differ from the instruction's: `letters` as in ir_ops.def, t or u. */
static void mixed(struct lower *l, enum ir_op op, enum ir_type t, const char *letters, uint16_t flags, uint8_t sub)
{
	unsigned int nr = (unsigned int)strlen(letters);
	struct build b;

	no_more_modifiers(l);
	if (!operands(l, nr + 1, nr + 1))
		return;
	build(&b, op, t);
	b.in.flags = flags;
	b.in.sub = sub;
	for (unsigned int s = 0; s < nr; s++)
		build_src(&b, get(l, opd(l, s + 1), letters[s] == 'u' ? IR_U32 : letters[s] == 'p' ? IR_PRED : t));
	build_dst(&b, put(l, opd(l, 0), t));
	build_end(l, &b);
}

static void op_shift(struct lower *l)
{
	mixed(l, l->in->op == PTX_W_shl ? IR_shl : IR_shr, one_type(l), "tu", 0, 0);
}

static void op_shf(struct lower *l)
{
	bool left = has(l, PTX_W_l), right = has(l, PTX_W_r), clamp = has(l, PTX_W_clamp), wrap = has(l, PTX_W_wrap);

	if (left + right != 1 || clamp + wrap != 1)
		lower_bad(l, NULL, "expected .l or .r, and .clamp or .wrap");
	mixed(l, left ? IR_shf_l : IR_shf_r, one_type(l), "ttu", clamp ? IR_CLAMP : IR_WRAP, 0);
}

static void op_bfe(struct lower *l) { mixed(l, IR_bfe, one_type(l), "tuu", 0, 0); }

static void op_bfi(struct lower *l) { mixed(l, IR_bfi, one_type(l), "ttuu", 0, 0); }

static void op_prmt(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_f4e, IR_PRMT_F4E }, { PTX_W_b4e, IR_PRMT_B4E }, { PTX_W_rc8, IR_PRMT_RC8 }, { PTX_W_ecl, IR_PRMT_ECL },
		{ PTX_W_ecr, IR_PRMT_ECR }, { PTX_W_rc16, IR_PRMT_RC16 }, { 0, 0 },
	};

	mixed(l, IR_prmt, one_type(l), "ttu", 0, (uint8_t)pick(l, list, IR_PRMT_INDEX));
}

static void op_lop3(struct lower *l)
{
	bool with_or = has(l, PTX_W_or), with_and = has(l, PTX_W_and), is_pair;
	struct build b;
	ir_reg d, p, t;

	no_more_modifiers(l);
	if (one_type(l) != IR_B32)
		lower_bad(l, NULL, "expected .b32");
	if (!operands(l, 5, 6))
		return;
	is_pair = with_or || with_and;
	if (is_pair != (l->in->nr_opds == 6) || (is_pair && opd(l, 0)->kind != PTX_OPD_PAIR) ||
	    opd(l, 4)->kind != PTX_OPD_INT || opd(l, 4)->imm > 255) {
		lower_bad(l, opd(l, 4), "expected a table from 0 to 255, and a predicate with .or or .and only");
		return;
	}
	put_pair(l, opd(l, 0), IR_B32, &d, &p);
	build(&b, IR_lop3, IR_B32);
	b.in.sub = (uint8_t)opd(l, 4)->imm;
	for (unsigned int s = 1; s <= 3; s++)
		build_src(&b, get(l, opd(l, s), IR_B32));
	build_dst(&b, d);
	build_end(l, &b);
	if (!is_pair)
		return;
	t = lower_reg(l, IR_PRED);
	compare(l, IR_NE, IR_B32, t, reg(d), imm(0));
	emit2(l, with_or ? IR_or : IR_and, IR_PRED, p, reg(t), get(l, opd(l, 5), IR_PRED));
}

static void op_dp(struct lower *l)
{
	enum ir_op op = l->in->op == PTX_W_dp4a ? IR_dp4a : IR_dp2a;
	struct build b;

	build(&b, op, l->type[0]);
	if (op == IR_dp2a) {
		bool lo = has(l, PTX_W_lo), hi = has(l, PTX_W_hi);

		if (lo + hi != 1)
			lower_bad(l, NULL, "expected .lo or .hi");
		b.in.flags = hi ? IR_HI : 0;
	}
	no_more_modifiers(l);
	if (l->nr_types != 2)
		lower_bad(l, NULL, "expected two types");
	if (!operands(l, 4, 4))
		return;
	b.in.type2 = (uint8_t)l->type[1];
	for (unsigned int s = 1; s <= 3; s++)
		build_src(&b, get(l, opd(l, s), IR_U32));
	build_dst(&b, put(l, opd(l, 0), IR_U32));
	build_end(l, &b);
}

/* szext: the low b bits of a, extended; a field of 0 bits is 0, one of 32 all of a */
static void op_szext(struct lower *l)
{
	bool clamp = has(l, PTX_W_clamp), wrap = has(l, PTX_W_wrap);
	enum ir_type t = one_type(l);
	struct ir_operand a, n;

	no_more_modifiers(l);
	if ((t != IR_U32 && t != IR_S32) || clamp + wrap != 1)
		lower_bad(l, NULL, "expected .u32 or .s32, and .clamp or .wrap");
	if (!operands(l, 3, 3))
		return;
	a = get(l, opd(l, 1), t);
	n = get(l, opd(l, 2), IR_U32);
	if (wrap)
		n = reg(emit2(l, IR_and, IR_B32, lower_reg(l, IR_B32), n, imm(31)));
	else
		n = reg(emit2(l, IR_min, IR_U32, lower_reg(l, IR_B32), n, imm(32)));
	lower_op(l, IR_bfe, t, put(l, opd(l, 0), t), 3, (struct ir_operand[]){ a, imm(0), n });
}

/* bmsk: b ones from bit a on; shifts clamp, so an a or b of 32 or more needs no care */
static void op_bmsk(struct lower *l)
{
	bool clamp = has(l, PTX_W_clamp), wrap = has(l, PTX_W_wrap);
	ir_reg at = lower_reg(l, IR_B32), n = lower_reg(l, IR_B32), t = lower_reg(l, IR_B32);
	enum ir_type type = one_type(l);

	no_more_modifiers(l);
	if (ir_type_bits(type) != 32 || clamp + wrap != 1)
		lower_bad(l, NULL, "expected .b32, and .clamp or .wrap");
	if (!operands(l, 3, 3))
		return;
	emit1(l, IR_mov, IR_B32, at, get(l, opd(l, 1), IR_B32));
	emit1(l, IR_mov, IR_B32, n, get(l, opd(l, 2), IR_B32));
	if (wrap) {
		emit2(l, IR_and, IR_B32, at, reg(at), imm(31));
		emit2(l, IR_and, IR_B32, n, reg(n), imm(31));
	}
	emit2(l, IR_shl, IR_B32, t, imm(1), reg(n));
	emit2(l, IR_sub, IR_U32, t, reg(t), imm(1));
	emit2(l, IR_shl, IR_B32, put(l, opd(l, 0), IR_B32), reg(t), reg(at));
}

/* --- comparing and choosing ------------------------------------------------------------------ */
static enum ir_cmp comparison(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_eq, IR_EQ }, { PTX_W_ne, IR_NE }, { PTX_W_lt, IR_LT }, { PTX_W_le, IR_LE }, { PTX_W_gt, IR_GT },
		{ PTX_W_ge, IR_GE }, { PTX_W_lo, IR_LT }, { PTX_W_ls, IR_LE }, { PTX_W_hi, IR_GT }, { PTX_W_hs, IR_GE },
		{ PTX_W_equ, IR_EQU }, { PTX_W_neu, IR_NEU }, { PTX_W_ltu, IR_LTU }, { PTX_W_leu, IR_LEU },
		{ PTX_W_gtu, IR_GTU }, { PTX_W_geu, IR_GEU }, { PTX_W_num, IR_NUM }, { PTX_W_nan, IR_NAN }, { 0, 0 },
	};
	enum ir_cmp c = (enum ir_cmp)pick(l, list, IR_CMP_NONE);

	if (c == IR_CMP_NONE)
		lower_bad(l, NULL, "expected a comparison such as .eq");
	return c;
}

static enum ir_bool bool_op(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_and, IR_BOOL_AND }, { PTX_W_or, IR_BOOL_OR }, { PTX_W_xor, IR_BOOL_XOR }, { 0, 0 },
	};

	return (enum ir_bool)pick(l, list, IR_BOOL_NONE);
}

static void check_comparison(struct lower *l, enum ir_cmp c, enum ir_type t)
{
	if (c >= IR_EQU && !ir_type_is_float(t))
		lower_bad(l, NULL, "an unordered comparison of .%s", ir_type_name(t));
	if (t >= IR_B8 && t <= IR_B128 && c != IR_EQ && c != IR_NE)
		lower_bad(l, NULL, "only .eq and .ne compare .%s", ir_type_name(t));
}

static void op_setp(struct lower *l)
{
	enum ir_cmp c = comparison(l);
	enum ir_bool bo = bool_op(l);
	uint16_t flags = float_flags(l);
	enum ir_type t = one_type(l);
	ir_reg p, q = IR_NO_REG;
	struct build b;

	no_more_modifiers(l);
	check_comparison(l, c, t);
	if (!operands(l, bo ? 4 : 3, bo ? 4 : 3))
		return;
	build(&b, IR_setp, t);
	b.in.cmp = (uint8_t)c;
	b.in.boolop = (uint8_t)bo;
	b.in.flags = flags;
	build_src(&b, get(l, opd(l, 1), t));
	build_src(&b, get(l, opd(l, 2), t));
	if (bo)
		build_src(&b, get(l, opd(l, 3), IR_PRED));
	put_pair(l, opd(l, 0), IR_PRED, &p, &q);
	build_dst(&b, p);
	if (q != IR_NO_REG)
		build_dst(&b, q);
	build_end(l, &b);
}

static void op_set(struct lower *l)
{
	enum ir_cmp c = comparison(l);
	enum ir_bool bo = bool_op(l);
	uint16_t flags = float_flags(l);
	struct build b;

	no_more_modifiers(l);
	if (l->nr_types != 2)
		lower_bad(l, NULL, "expected two types");
	if (lower_stopped(l))
		return;
	check_comparison(l, c, l->type[1]);
	if (!operands(l, bo ? 4 : 3, bo ? 4 : 3))
		return;
	build(&b, IR_set, l->type[0]);
	b.in.type2 = (uint8_t)l->type[1];
	b.in.cmp = (uint8_t)c;
	b.in.boolop = (uint8_t)bo;
	b.in.flags = flags;
	build_src(&b, get(l, opd(l, 1), l->type[1]));
	build_src(&b, get(l, opd(l, 2), l->type[1]));
	if (bo)
		build_src(&b, get(l, opd(l, 3), IR_PRED));
	build_dst(&b, put(l, opd(l, 0), l->type[0]));
	build_end(l, &b);
}

static void op_selp(struct lower *l) { mixed(l, IR_selp, one_type(l), "ttp", 0, 0); }

static void op_slct(struct lower *l)
{
	uint16_t flags = float_flags(l);
	struct build b;

	no_more_modifiers(l);
	if (l->nr_types != 2 || (l->type[1] != IR_S32 && l->type[1] != IR_F32))
		lower_bad(l, NULL, "expected two types, the second .s32 or .f32");
	if (!operands(l, 4, 4))
		return;
	build(&b, IR_slct, l->type[0]);
	b.in.type2 = (uint8_t)l->type[1];
	b.in.flags = flags;
	build_src(&b, get(l, opd(l, 1), l->type[0]));
	build_src(&b, get(l, opd(l, 2), l->type[0]));
	build_src(&b, get(l, opd(l, 3), l->type[1]));
	build_dst(&b, put(l, opd(l, 0), l->type[0]));
	build_end(l, &b);
}

static void op_testp(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_finite, IR_TESTP_FINITE }, { PTX_W_infinite, IR_TESTP_INFINITE }, { PTX_W_number, IR_TESTP_NUMBER },
		{ PTX_W_notanumber, IR_TESTP_NOTANUMBER }, { PTX_W_normal, IR_TESTP_NORMAL },
		{ PTX_W_subnormal, IR_TESTP_SUBNORMAL }, { 0, 0 },
	};
	int sub = pick(l, list, -1);
	enum ir_type t = one_type(l);
	struct build b;

	no_more_modifiers(l);
	if (sub < 0)
		lower_bad(l, NULL, "expected a property such as .finite");
	if (!operands(l, 2, 2))
		return;
	build(&b, IR_testp, t);
	b.in.sub = (uint8_t)sub;
	build_src(&b, get(l, opd(l, 1), t));
	build_dst(&b, put(l, opd(l, 0), IR_PRED));
	build_end(l, &b);
}

/* --- moving and converting ------------------------------------------------------------------- */
static enum ir_type part_type(unsigned int bits)
{
	switch (bits) {
	case 8: return IR_B8;
	case 16: return IR_B16;
	case 32: return IR_B32;
	case 64: return IR_B64;
	default: return IR_NONE;
	}
}

static void mov_pack(struct lower *l, enum ir_type t)
{
	const struct ptx_opd *vec = opd(l, 1);
	enum ir_type part = vec->nr_elems ? part_type(ir_type_bits(t) / vec->nr_elems) : IR_NONE;
	struct build b;

	if (part == IR_NONE || vec->nr_elems > 8) {
		lower_bad(l, vec, "these parts do not make .%s", ir_type_name(t));
		return;
	}
	build(&b, IR_pack, (enum ir_type[]){ [16] = IR_B16, [32] = IR_B32, [64] = IR_B64, [128] = IR_B128 }[ir_type_bits(t)]);
	for (uint32_t i = 0; i < vec->nr_elems; i++)
		build_src(&b, reg(temp_of(l, get(l, &vec->elem[i], part), part)));
	build_dst(&b, put(l, opd(l, 0), t));
	build_end(l, &b);
}

static void mov_unpack(struct lower *l, enum ir_type t)
{
	const struct ptx_opd *vec = opd(l, 0);
	enum ir_type part = vec->nr_elems ? part_type(ir_type_bits(t) / vec->nr_elems) : IR_NONE;
	struct build b;

	if (part == IR_NONE || vec->nr_elems > 8) {
		lower_bad(l, vec, ".%s does not have these parts", ir_type_name(t));
		return;
	}
	build(&b, IR_unpack, (enum ir_type[]){ [16] = IR_B16, [32] = IR_B32, [64] = IR_B64, [128] = IR_B128 }[ir_type_bits(t)]);
	build_src(&b, get(l, opd(l, 1), t));
	if (b.src[0].kind != IR_OPD_REG)
		b.src[0] = reg(temp_of(l, b.src[0], t));
	for (uint32_t i = 0; i < vec->nr_elems; i++)
		build_dst(&b, vec->elem[i].kind == PTX_OPD_NONE ? IR_NO_REG : put(l, &vec->elem[i], part));
	build_end(l, &b);
}

static void op_mov(struct lower *l)
{
	enum ir_type t = one_type(l);
	const struct ptx_opd *from;
	struct build b;
	enum ir_space sp;
	unsigned int bits;
	ir_reg d;

	no_more_modifiers(l);
	if (!operands(l, 2, 2))
		return;
	from = opd(l, 1);
	if (from->kind == PTX_OPD_VEC && ir_type_bits(t) >= 16) {
		mov_pack(l, t);
		return;
	}
	if (opd(l, 0)->kind == PTX_OPD_VEC && ir_type_bits(t) >= 16) {
		mov_unpack(l, t);
		return;
	}
	d = put(l, opd(l, 0), t);
	build(&b, IR_mov, t);
	build_dst(&b, d);
	if (from->kind == PTX_OPD_SREG) {
		struct ir_operand v = special(l, from, &bits);

		if (bits == ir_type_bits(t)) {
			build_src(&b, v);
			build_end(l, &b);
		} else if (v.kind == IR_OPD_IMM) {
			build_src(&b, v);
			build_end(l, &b);
		} else {
			/* 16 bits of a special register, or more than it has */
			ir_reg r = emit1(l, IR_mov, bits == 64 ? IR_U64 : IR_U32, lower_reg(l, bits == 64 ? IR_B64 : IR_B32), v);

			build(&b, IR_cvt, ir_type_bits(t) == 16 ? IR_U16 : ir_type_bits(t) == 32 ? IR_U32 : IR_U64);
			b.in.type2 = bits == 64 ? IR_U64 : IR_U32;
			build_dst(&b, d);
			build_src(&b, reg(r));
			build_end(l, &b);
		}
		return;
	}
	if (from->kind == PTX_OPD_SYM) {
		struct ir_operand v;

		if (!lower_var_address(l, from, from->sym, from->imm, &v, &sp))
			return;
		if (v.index & LOWER_STORAGE && v.kind == IR_OPD_VAR && !lower_in_function(l)) {
			lower_refuse(l, "the address of a call's parameter is not supported");
			return;
		}
		b.in.type = ir_type_bits(t) == 64 ? IR_U64 : IR_U32;
		if (ir_type_bits(t) != 64 && ir_type_bits(t) != 32)
			lower_bad(l, from, "an address does not fit in .%s", ir_type_name(t));
		build_src(&b, v);
		build_end(l, &b);
		return;
	}
	build_src(&b, get(l, from, t));
	build_end(l, &b);
}

static void op_cvt(struct lower *l)
{
	enum ir_rnd rnd;
	uint16_t flags;
	enum ir_type d, a;
	struct build b;

	if (lower_convert(l))
		return;
	rnd = rounding(l);
	flags = float_flags(l);
	if (has(l, PTX_W_satfinite))
		flags |= IR_SATFINITE;
	no_more_modifiers(l);
	if (l->nr_types != 2)
		lower_bad(l, NULL, "expected two types, found %" PRIu32, l->nr_types);
	if (!operands(l, 2, 3))
		return;
	d = l->type[0];
	a = l->type[1];
	if (flags & IR_SATFINITE && !(d >= IR_F16 && d <= IR_BF16X2))
		lower_refuse(l, "'.satfinite' is not supported here");
	if ((l->in->nr_opds == 3) != (d == IR_F16X2 || d == IR_BF16X2) || a == IR_F16X2 || a == IR_BF16X2 ||
	    (l->in->nr_opds == 3 && a != IR_F32))
		lower_bad(l, NULL, "no such conversion");
	/* Types of 8 bits and up; bits are moved, not converted, except between widths. */
	if (d >= IR_B8 && d <= IR_B64)
		d = (enum ir_type)(d - IR_B8 + IR_U8);
	if (a >= IR_B8 && a <= IR_B64)
		a = (enum ir_type)(a - IR_B8 + IR_U8);
	if (is_int(d) && ir_type_is_float(a) && (rnd < IR_RNI))
		rnd = rnd == IR_RZ ? IR_RZI : rnd == IR_RM ? IR_RMI : rnd == IR_RP ? IR_RPI : rnd == IR_RN ? IR_RNI : rnd;
	if (is_int(d) && ir_type_is_float(a) && rnd == IR_RND_NONE)
		lower_bad(l, NULL, "expected a rounding such as .rzi");
	if (is_int(d) && is_int(a) && rnd != IR_RND_NONE)
		lower_bad(l, NULL, "integers are not rounded");
	if (ir_type_is_float(d) && rnd == IR_RND_NONE && (is_int(a) || ir_type_bits(a) > ir_type_bits(d)) && l->in->nr_opds == 2)
		lower_bad(l, NULL, "expected a rounding such as .rn");
	build(&b, IR_cvt, d);
	b.in.type2 = (uint8_t)a;
	b.in.rnd = (uint8_t)rnd;
	b.in.flags = flags;
	for (unsigned int s = 1; s < l->in->nr_opds; s++)
		build_src(&b, get(l, opd(l, s), a));
	/* A special register brings its own width. */
	build_dst(&b, put(l, opd(l, 0), d));
	build_end(l, &b);
}

static void op_cvta(struct lower *l)
{
	bool given, to = has(l, PTX_W_to);
	enum ir_space sp = space(l, &given), own;
	enum ir_type t = one_type(l);
	const struct ptx_opd *from;
	struct ir_operand v;
	struct build b;

	no_more_modifiers(l);
	if (!given)
		lower_bad(l, NULL, "expected a state space such as .global");
	if (!operands(l, 2, 2))
		return;
	from = opd(l, 1);
	if (from->kind == PTX_OPD_SYM) {
		ir_reg r = lower_reg(l, t);

		if (!lower_var_address(l, from, from->sym, from->imm, &v, &own))
			return;
		if (own != sp && !(sp == IR_PARAM && own == IR_LOCAL)) {
			lower_bad(l, from, "'%s' is not in this state space", from->sym->name);
			return;
		}
		sp = own;
		if (v.kind == IR_OPD_VAR && v.index & LOWER_STORAGE && !lower_in_function(l)) {
			lower_refuse(l, "the address of a call's parameter is not supported");
			return;
		}
		emit1(l, IR_mov, ir_type_bits(t) == 64 ? IR_U64 : IR_U32, r, v);
		v = reg(r);
	} else {
		v = get(l, from, t);
		if (sp == IR_PARAM && lower_in_function(l))
			sp = IR_LOCAL;	/* of a function they are in local memory */
	}
	build(&b, sp == IR_GLOBAL || sp == IR_CONST ? IR_mov : to ? IR_cvta_to : IR_cvta, t);
	if (b.in.op != IR_mov)
		b.in.space = (uint8_t)sp;
	build_src(&b, v);
	build_dst(&b, put(l, opd(l, 0), t));
	build_end(l, &b);
}

static void op_isspacep(struct lower *l)
{
	bool given;
	enum ir_space sp = space(l, &given);
	const struct ptx_opd *a;
	struct ir_operand v;
	struct build b;

	no_more_modifiers(l);
	if (!given)
		lower_bad(l, NULL, "expected a state space such as .global");
	if (!operands(l, 2, 2))
		return;
	if (sp == IR_CONST) {
		lower_refuse(l, "whether an address is constant memory cannot be told: it is one of global memory here");
		return;
	}
	a = opd(l, 1);
	v = get(l, a, IR_U64);
	build(&b, IR_isspacep, v.kind == IR_OPD_REG ? ir_type_bits(l->fn->reg_type[v.reg]) == 32 ? IR_U32 : IR_U64 : IR_U64);
	b.in.space = (uint8_t)sp;
	build_src(&b, v);
	build_dst(&b, put(l, opd(l, 0), IR_PRED));
	build_end(l, &b);
}

/* --- memory ---------------------------------------------------------------------------------- */
/* Address and offset of a memory operand; *sp is the variable's space when none was given. */
static bool address(struct lower *l, const struct ptx_opd *o, struct build *b, bool given, enum ir_space *sp)
{
	struct ir_operand base = zero;
	const struct ptx_opd *e;
	enum ir_space own;

	if (lower_stopped(l))
		return false;
	if (o->kind != PTX_OPD_MEM || o->nr_elems != 1) {
		lower_bad(l, o, "expected an address in brackets");
		return false;
	}
	e = &o->elem[0];
	switch (e->kind) {
	case PTX_OPD_REG:
		base = reg(l->inst->reg_base + e->reg);
		if (*sp == IR_PARAM && lower_in_function(l))
			*sp = IR_LOCAL;		/* parameters of a function, by address */
		break;
	case PTX_OPD_INT:
		base = imm(e->imm);
		break;
	case PTX_OPD_SYM:
		if (!lower_var_address(l, e, e->sym, 0, &base, &own))
			return false;
		if (given && *sp != own && !(*sp == IR_PARAM && own == IR_LOCAL) && !(*sp == IR_GLOBAL && own == IR_CONST)) {
			lower_bad(l, e, "'%s' is not in this state space", e->sym->name);
			return false;
		}
		*sp = own;
		break;
	default:
		lower_bad(l, e, "expected a register or a variable");
		return false;
	}
	build_src(b, base);
	build_src(b, imm(o->imm));
	return true;
}

static unsigned int vector_length(struct lower *l)
{
	static const struct word_value list[] = { { PTX_W_v2, 2 }, { PTX_W_v4, 4 }, { PTX_W_v8, 8 }, { 0, 0 } };

	return (unsigned int)pick(l, list, 1);
}

static enum ir_type memory_type(enum ir_type t)
{
	/* Halves are loaded as bits. */
	return t == IR_F16X2 || t == IR_BF16X2 ? IR_B32 : t == IR_F16 || t == IR_BF16 ? IR_B16 : t;
}

static void op_ld(struct lower *l)
{
	enum ir_sem sem = semantics(l);
	enum ir_scope sc = scope(l);
	bool given, nc = has(l, PTX_W_nc), hint = l->seen[PTX_W_L2__cache_hint / 64] >> (PTX_W_L2__cache_hint % 64) & 1;
	enum ir_space sp = space(l, &given);
	unsigned int n = vector_length(l);
	enum ir_type t = one_type(l);
	const struct ptx_opd *d;
	struct build b;

	take_cache_hints(l);
	no_more_modifiers(l);
	if (!operands(l, 2, 2 + hint))
		return;
	build(&b, IR_ld, memory_type(t));
	if (!address(l, opd(l, 1), &b, given, &sp))
		return;
	b.in.space = (uint8_t)sp;
	b.in.sem = (uint8_t)sem;
	b.in.scope = (uint8_t)sc;
	b.in.flags = nc ? IR_NC : 0;
	d = opd(l, 0);
	if (n > 1) {
		if (d->kind != PTX_OPD_VEC || d->nr_elems != n) {
			lower_bad(l, d, "expected a vector of %u registers", n);
			return;
		}
		for (unsigned int i = 0; i < n; i++)
			build_dst(&b, d->elem[i].kind == PTX_OPD_NONE ? IR_NO_REG : put(l, &d->elem[i], t));
	} else {
		if (d->kind == PTX_OPD_VEC && d->nr_elems == 1)
			d = &d->elem[0];
		build_dst(&b, d->kind == PTX_OPD_NONE ? IR_NO_REG : put(l, d, t));
	}
	build_end(l, &b);
}

static void op_st(struct lower *l)
{
	enum ir_sem sem = semantics(l);
	enum ir_scope sc = scope(l);
	bool given, hint = l->seen[PTX_W_L2__cache_hint / 64] >> (PTX_W_L2__cache_hint % 64) & 1;
	enum ir_space sp = space(l, &given);
	unsigned int n = vector_length(l);
	enum ir_type t = one_type(l);
	const struct ptx_opd *v;
	struct build b;

	take_cache_hints(l);
	no_more_modifiers(l);
	if (!operands(l, 2, 2 + hint))
		return;
	build(&b, IR_st, memory_type(t));
	if (!address(l, opd(l, 0), &b, given, &sp))
		return;
	if (sp == IR_PARAM || sp == IR_CONST) {
		lower_bad(l, opd(l, 0), "nothing can be stored here");
		return;
	}
	b.in.space = (uint8_t)sp;
	b.in.sem = (uint8_t)sem;
	b.in.scope = (uint8_t)sc;
	v = opd(l, 1);
	if (n > 1) {
		if (v->kind != PTX_OPD_VEC || v->nr_elems != n) {
			lower_bad(l, v, "expected a vector of %u registers", n);
			return;
		}
		for (unsigned int i = 0; i < n; i++)
			build_src(&b, get(l, &v->elem[i], t));
	} else {
		if (v->kind == PTX_OPD_VEC && v->nr_elems == 1)
			v = &v->elem[0];
		build_src(&b, get(l, v, t));
	}
	build_end(l, &b);
}

/* What the manual allows; integers of either sign and bits are taken for each other, as ptxas does. */
static bool is_atomic(int sub, enum ir_type t, unsigned int nr)
{
	unsigned int bits = ir_type_bits(t);
	bool half = t >= IR_F16 && t <= IR_BF16X2;

	if (nr > 1 && !(half || (t == IR_F32 && sub == IR_ATOM_ADD)))
		return false;
	if (nr == 8 && bits != 16)
		return false;
	switch (sub) {
	case IR_ATOM_ADD:
		return half || t == IR_F32 || t == IR_F64 || (is_int(t) && bits >= 32);
	case IR_ATOM_MIN: case IR_ATOM_MAX:
		return half || (is_int(t) && bits >= 32);
	case IR_ATOM_INC: case IR_ATOM_DEC:
		return is_int(t) && bits == 32;
	case IR_ATOM_AND: case IR_ATOM_OR: case IR_ATOM_XOR:
		return nr == 1 && !ir_type_is_float(t) && (bits == 32 || bits == 64);
	case IR_ATOM_EXCH:
		return nr == 1 && !ir_type_is_float(t) && (bits == 32 || bits == 64 || bits == 128);
	default:
		return nr == 1 && !ir_type_is_float(t) && bits >= 16;
	}
}

/* Each element of a vector is an operation of its own, as the manual has it. */
static void op_atom(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_add, IR_ATOM_ADD }, { PTX_W_min, IR_ATOM_MIN }, { PTX_W_max, IR_ATOM_MAX }, { PTX_W_and, IR_ATOM_AND },
		{ PTX_W_or, IR_ATOM_OR }, { PTX_W_xor, IR_ATOM_XOR }, { PTX_W_exch, IR_ATOM_EXCH }, { PTX_W_cas, IR_ATOM_CAS },
		{ PTX_W_inc, IR_ATOM_INC }, { PTX_W_dec, IR_ATOM_DEC }, { 0, 0 },
	};
	bool red = l->in->op == PTX_W_red, given, hint = l->seen[PTX_W_L2__cache_hint / 64] >> (PTX_W_L2__cache_hint % 64) & 1;
	int sub = pick(l, list, -1);
	enum ir_sem sem = semantics(l);
	enum ir_scope sc = scope(l);
	enum ir_space sp = space(l, &given);
	enum ir_type t = one_type(l);
	unsigned int first = red ? 0 : 1, nr, n = vector_length(l);
	const struct ptx_opd *d = NULL;
	ir_reg old[8];
	struct build b, at;

	has(l, PTX_W_noftz);
	take_cache_hints(l);
	no_more_modifiers(l);
	if (sub < 0)
		lower_bad(l, NULL, "expected an operation such as .add");
	nr = sub == IR_ATOM_CAS ? 2 : 1;
	if (!operands(l, first + 1 + nr, first + 1 + nr + hint))
		return;
	if (!is_atomic(sub, t, n) || (red && (sub == IR_ATOM_EXCH || sub == IR_ATOM_CAS))) {
		lower_refuse(l, "this operation on %s.%s is not supported", n > 1 ? "a vector of " : "", ir_type_name(t));
		return;
	}
	build(&at, IR_atom, t);
	if (!address(l, opd(l, first), &at, given, &sp))
		return;
	at.in.sub = (uint8_t)sub;
	at.in.space = (uint8_t)sp;
	at.in.sem = (uint8_t)(sem == IR_WEAK || sem == IR_VOLATILE ? IR_RELAXED : sem);
	at.in.scope = (uint8_t)(sc ? sc : IR_GPU);
	at.in.flags = t == IR_F32 && sp != IR_SHARED ? IR_FTZ : 0;
	if (n > 1) {
		const struct ptx_opd *v = opd(l, first + 1);

		d = red ? NULL : opd(l, 0);
		if (v->kind != PTX_OPD_VEC || v->nr_elems != n || (d && (d->kind != PTX_OPD_VEC || d->nr_elems != n))) {
			lower_bad(l, v, "expected vectors of %u registers", n);
			return;
		}
		if (sp != IR_GLOBAL && sp != IR_GENERIC) {
			lower_bad(l, opd(l, first), "vectors are for global memory only");
			return;
		}
		for (unsigned int i = 0; i < n && !lower_stopped(l); i++) {
			b = at;
			b.src[1].imm += i * ir_type_bits(t) / 8;
			build_src(&b, get(l, &v->elem[i], t));
			if (d && d->elem[i].kind != PTX_OPD_NONE)
				build_dst(&b, old[i] = lower_reg(l, t));
			build_end(l, &b);
		}
		/* only now: a result may be the address, or a later element */
		for (unsigned int i = 0; d && i < n; i++)
			if (d->elem[i].kind != PTX_OPD_NONE)
				emit1(l, IR_mov, ir_type_class(t), put(l, &d->elem[i], t), reg(old[i]));
		return;
	}
	b = at;
	for (unsigned int s = 0; s < nr; s++)
		build_src(&b, get(l, opd(l, first + 1 + s), t));
	if (!red && opd(l, 0)->kind != PTX_OPD_NONE)
		build_dst(&b, put(l, opd(l, 0), t));
	build_end(l, &b);
}

static void op_membar(struct lower *l)
{
	bool is_fence = l->in->op == PTX_W_fence, given;
	enum ir_sem sem = semantics(l);
	enum ir_scope sc = scope(l);
	unsigned int max = 0;
	struct build b;

	/* Between kinds of access that do not exist here: what is left of it is the fence. */
	if (has(l, PTX_W_proxy)) {
		bool alias = has(l, PTX_W_alias), async = has(l, PTX_W_async), generic = has(l, PTX_W_async__generic);
		bool tensormap = has(l, PTX_W_tensormap__generic);

		if (alias + async + generic + tensormap != 1)
			lower_bad(l, NULL, "expected a kind of proxy such as .async");
		if (async)
			space(l, &given);
		if (tensormap)
			max = 2;
		sem = alias || async ? IR_SC : sem;
		sc = sc ? sc : IR_GPU;
	}
	/* Which memory is fenced: a fence of all is right. */
	has(l, PTX_W_sync_restrict__shared__cta);
	has(l, PTX_W_sync_restrict__shared__cluster);
	has(l, PTX_W_mbarrier_init);
	no_more_modifiers(l);
	if (!operands(l, 0, max))
		return;
	if (!sc)
		lower_bad(l, NULL, "expected a scope such as .gpu");
	build(&b, IR_membar, IR_NONE);
	b.in.sem = (uint8_t)(!is_fence ? IR_SC : sem == IR_WEAK ? IR_ACQ_REL : sem);
	b.in.scope = (uint8_t)sc;
	build_end(l, &b);
}

/* --- mbarrier: a word in shared memory, see IR_ATOM_MBARRIER --------------------------------- */
static ir_reg widened(struct lower *l, struct ir_operand v)
{
	struct ir_insn *in;
	ir_reg r = lower_reg(l, IR_B64);

	if (v.kind != IR_OPD_REG)
		return emit1(l, IR_mov, IR_B64, r, v);
	in = lower_emit(l, IR_cvt, IR_U64, 1, 1);
	if (in) {
		in->type2 = IR_U32;
		in->dst[0] = r;
		in->src[0] = v;
	}
	return r;
}

/* A count put at a bit of the word. */
static struct ir_operand placed(struct lower *l, struct ir_operand v, unsigned int at)
{
	if (v.kind == IR_OPD_IMM)
		return imm(v.imm << at);
	return reg(emit2(l, IR_shl, IR_B64, lower_reg(l, IR_B64), reg(widened(l, v)), imm(at)));
}

static struct ir_operand joined(struct lower *l, struct ir_operand a, struct ir_operand b)
{
	if (a.kind == IR_OPD_IMM && b.kind == IR_OPD_IMM)
		return imm(a.imm | b.imm);
	return reg(emit2(l, IR_or, IR_B64, lower_reg(l, IR_B64), a, b));
}

static void mbarrier_atom(struct lower *l, const struct ptx_opd *at, enum ir_space sp, enum ir_sem sem, enum ir_scope sc,
			  struct ir_operand what, const struct ptx_opd *state)
{
	struct build b;

	build(&b, IR_atom, IR_B64);
	if (!address(l, at, &b, true, &sp))
		return;
	b.in.sub = IR_ATOM_MBARRIER;
	b.in.space = (uint8_t)sp;
	b.in.sem = (uint8_t)sem;
	b.in.scope = (uint8_t)(sc ? sc : IR_CTA);
	build_src(&b, what);
	if (state && state->kind != PTX_OPD_NONE)
		build_dst(&b, put(l, state, IR_B64));
	build_end(l, &b);
}

/* Whether a phase is over: its parity is not that of the object any more. */
static void mbarrier_test(struct lower *l, bool by_parity, enum ir_space sp, enum ir_sem sem, enum ir_scope sc)
{
	ir_reg now = lower_reg(l, IR_B64);
	struct build b;

	build(&b, IR_ld, IR_B64);
	if (!address(l, opd(l, 1), &b, true, &sp))
		return;
	b.in.space = (uint8_t)sp;
	b.in.sem = (uint8_t)(sem == IR_WEAK ? IR_ACQUIRE : sem);
	b.in.scope = (uint8_t)(sc ? sc : IR_CTA);
	build_dst(&b, now);
	build_end(l, &b);
	if (by_parity) {
		struct ir_operand parity = placed(l, get(l, opd(l, 2), IR_U32), IR_MBARRIER_PHASE);

		emit2(l, IR_xor, IR_B64, now, reg(now), parity);
	} else {
		emit2(l, IR_xor, IR_B64, now, reg(now), get(l, opd(l, 2), IR_B64));
	}
	emit2(l, IR_and, IR_B64, now, reg(now), imm(UINT64_C(1) << IR_MBARRIER_PHASE));
	compare(l, IR_NE, IR_U64, put(l, opd(l, 0), IR_PRED), reg(now), imm(0));
}

static void op_mbarrier(struct lower *l)
{
	bool init = has(l, PTX_W_init), inval = has(l, PTX_W_inval), arrive = has(l, PTX_W_arrive), drop = has(l, PTX_W_arrive_drop);
	bool expect = has(l, PTX_W_expect_tx), complete = has(l, PTX_W_complete_tx), test = has(l, PTX_W_test_wait);
	bool attempt = has(l, PTX_W_try_wait), pending = has(l, PTX_W_pending_count), parity = has(l, PTX_W_parity), given;
	enum ir_space sp = space(l, &given);
	enum ir_sem sem = semantics(l);
	enum ir_scope sc = scope(l);
	struct ir_operand n;
	struct build b;

	has(l, PTX_W_noComplete);
	no_more_modifiers(l);
	if (one_type(l) != IR_B64)
		lower_bad(l, NULL, "expected .b64");
	if (init + inval + (arrive || drop || expect) + complete + test + attempt + pending != 1 || arrive + drop > 1 ||
	    (parity && !test && !attempt)) {
		lower_bad(l, NULL, "no such operation on an mbarrier");
		return;
	}
	if (given && sp != IR_SHARED) {
		lower_bad(l, NULL, "an mbarrier lies in shared memory");
		return;
	}
	if (inval) {
		operands(l, 1, 1);	/* the memory may be used for something else */
	} else if (init) {
		if (!operands(l, 2, 2))
			return;
		build(&b, IR_st, IR_B64);
		if (!address(l, opd(l, 0), &b, true, &sp))
			return;
		b.in.space = (uint8_t)sp;
		n = get(l, opd(l, 1), IR_U32);
		build_src(&b, joined(l, placed(l, n, 0), placed(l, n, IR_MBARRIER_LATER)));
		build_end(l, &b);
	} else if (pending) {
		if (!operands(l, 2, 2))
			return;
		n = reg(emit2(l, IR_and, IR_B64, lower_reg(l, IR_B64), get(l, opd(l, 1), IR_B64), imm(IR_MBARRIER_COUNT)));
		build(&b, IR_cvt, IR_U32);
		b.in.type2 = IR_U64;
		build_src(&b, n);
		build_dst(&b, put(l, opd(l, 0), IR_U32));
		build_end(l, &b);
	} else if (test || attempt) {
		/* try_wait may give up at once: what follows it asks again */
		if (operands(l, 3, attempt ? 4 : 3))
			mbarrier_test(l, parity, sp, sem, sc);
	} else if (arrive || drop) {
		/* arriving alone may leave out the count */
		if (!operands(l, expect ? 3 : 2, 3))
			return;
		n = l->in->nr_opds == 3 ? get(l, opd(l, 2), IR_U32) : imm(1);
		if (expect)
			n = joined(l, placed(l, n, IR_MBARRIER_BYTES), imm(1));
		else
			n = placed(l, n, 0);
		if (drop && expect)
			n = joined(l, n, imm(UINT64_C(1) << IR_MBARRIER_LATER));
		else if (drop)
			n = joined(l, n, placed(l, l->in->nr_opds == 3 ? get(l, opd(l, 2), IR_U32) : imm(1), IR_MBARRIER_LATER));
		mbarrier_atom(l, opd(l, 1), sp, sem == IR_WEAK ? IR_RELEASE : sem, sc, n, opd(l, 0));
	} else {
		if (!operands(l, 2, 2))
			return;
		n = placed(l, get(l, opd(l, 1), IR_U32), IR_MBARRIER_BYTES);
		if (complete)
			n = n.kind == IR_OPD_IMM ? imm(0 - n.imm) : reg(emit1(l, IR_neg, IR_S64, lower_reg(l, IR_B64), n));
		mbarrier_atom(l, opd(l, 0), sp, sem == IR_WEAK ? IR_RELAXED : sem, sc, n, NULL);
	}
}

/* Loads `bytes` bytes from src+at and stores them at dst+at, in words as large as they go. */
static void copy_words(struct lower *l, struct ir_operand dst, int64_t dst_off, struct ir_operand src, int64_t src_off,
		       unsigned int bytes)
{
	enum ir_type t = bytes == 4 ? IR_B32 : IR_B64;
	unsigned int n = bytes == 16 ? 2 : 1;
	ir_reg r[2];
	struct build b;

	build(&b, IR_ld, t);
	b.in.space = IR_GLOBAL;
	build_src(&b, src);
	build_src(&b, imm((uint64_t)src_off));
	for (unsigned int i = 0; i < n; i++)
		build_dst(&b, r[i] = lower_reg(l, t));
	build_end(l, &b);
	build(&b, IR_st, t);
	b.in.space = IR_SHARED;
	build_src(&b, dst);
	build_src(&b, imm((uint64_t)dst_off));
	for (unsigned int i = 0; i < n; i++)
		build_src(&b, reg(r[i]));
	build_end(l, &b);
}

static void op_prefetch(struct lower *l) { (void)l; }

/* cp.async: done at once, which its rules allow; then there is nothing to commit or wait for. */
static void op_cp(struct lower *l)
{
	struct build dst, src;
	enum ir_space sp = IR_SHARED;
	struct ir_operand left, value;
	uint64_t bytes;
	unsigned int nr = l->in->nr_opds, k;
	uint32_t full, part, done;
	ir_reg p;
	bool given;

	if (!has(l, PTX_W_async)) {
		lower_refuse(l, "not supported");
		return;
	}
	if (has(l, PTX_W_commit_group) || has(l, PTX_W_wait_group) || has(l, PTX_W_wait_all)) {
		no_more_modifiers(l);
		return;
	}
	if (has(l, PTX_W_mbarrier)) {
		/* The copies have been done. Without .noinc the arrival is one that it has added itself. */
		bool arrive = has(l, PTX_W_arrive), noinc = has(l, PTX_W_noinc);

		sp = space(l, &given);
		no_more_modifiers(l);
		if (!arrive || one_type(l) != IR_B64)
			lower_bad(l, NULL, "expected .arrive and .b64");
		if (operands(l, 1, 1) && noinc)
			mbarrier_atom(l, opd(l, 0), sp, IR_RELEASE, IR_CTA, imm(1), NULL);
		return;
	}
	bool hint = has(l, PTX_W_L2__cache_hint);

	space(l, &given);
	take_cache_hints(l);
	no_more_modifiers(l);
	if (!operands(l, 3, 5))
		return;
	if (opd(l, 2)->kind != PTX_OPD_INT || ((bytes = opd(l, 2)->imm) != 4 && bytes != 8 && bytes != 16)) {
		lower_bad(l, opd(l, 2), "expected 4, 8 or 16");
		return;
	}
	build(&dst, IR_ld, IR_B32);
	build(&src, IR_ld, IR_B32);
	if (!address(l, opd(l, 0), &dst, true, &sp))
		return;
	sp = IR_GLOBAL;
	if (!address(l, opd(l, 1), &src, true, &sp))
		return;
	nr -= hint;
	if (nr == 3 || (opd(l, 3)->kind == PTX_OPD_INT && opd(l, 3)->imm == bytes)) {
		copy_words(l, dst.src[0], (int64_t)dst.src[1].imm, src.src[0], (int64_t)src.src[1].imm, (unsigned int)bytes);
		return;
	}
	left = get(l, opd(l, 3), IR_U32);
	if (left.kind == IR_OPD_REG && l->fn->reg_type[left.reg] == IR_PRED) {
		/* ignore-src: zeros where it holds */
		value = left;
		left = reg(lower_reg(l, IR_B32));
		struct build b;

		build(&b, IR_selp, IR_B32);
		build_src(&b, imm(0));
		build_src(&b, imm(bytes));
		build_src(&b, value);
		build_dst(&b, left.reg);
		build_end(l, &b);
	}
	/* All of it at once, or byte by byte with zeros behind. */
	full = lower_new_block(l);
	part = lower_new_block(l);
	done = lower_new_block(l);
	p = compare(l, IR_GE, IR_U32, lower_reg(l, IR_PRED), left, imm(bytes));
	lower_cbra(l, p, false, full, part);
	l->cur = full;
	copy_words(l, dst.src[0], (int64_t)dst.src[1].imm, src.src[0], (int64_t)src.src[1].imm, (unsigned int)bytes);
	lower_bra(l, done);
	l->cur = part;
	for (k = 0; k < bytes; k++) {
		ir_reg byte = lower_reg(l, IR_B16);
		struct build b;

		p = compare(l, IR_GT, IR_U32, lower_reg(l, IR_PRED), left, imm(k));
		emit1(l, IR_mov, IR_B16, byte, imm(0));
		l->guard = p;
		build(&b, IR_ld, IR_U8);
		b.in.space = IR_GLOBAL;
		build_src(&b, src.src[0]);
		build_src(&b, imm(src.src[1].imm + k));
		build_dst(&b, byte);
		build_end(l, &b);
		l->guard = IR_NO_REG;
		build(&b, IR_st, IR_U8);
		b.in.space = IR_SHARED;
		build_src(&b, dst.src[0]);
		build_src(&b, imm(dst.src[1].imm + k));
		build_src(&b, reg(byte));
		build_end(l, &b);
	}
	lower_bra(l, done);
	l->cur = done;
}

/* --- lanes ----------------------------------------------------------------------------------- */
static bool sync_form(struct lower *l)
{
	if (has(l, PTX_W_sync))
		return true;
	lower_refuse(l, "the form without '.sync' is not supported");
	return false;
}

static void op_shfl(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_up, IR_SHFL_UP }, { PTX_W_down, IR_SHFL_DOWN }, { PTX_W_bfly, IR_SHFL_BFLY }, { PTX_W_idx, IR_SHFL_IDX },
		{ 0, 0 },
	};
	int sub = pick(l, list, -1);
	ir_reg d, p;
	struct build b;

	if (!sync_form(l))
		return;
	no_more_modifiers(l);
	if (sub < 0 || ir_type_bits(one_type(l)) != 32)
		lower_bad(l, NULL, "expected .up, .down, .bfly or .idx, and .b32");
	if (!operands(l, 5, 5))
		return;
	build(&b, IR_shfl, IR_B32);
	b.in.sub = (uint8_t)sub;
	for (unsigned int s = 1; s <= 4; s++)
		build_src(&b, get(l, opd(l, s), IR_B32));
	put_pair(l, opd(l, 0), IR_B32, &d, &p);
	build_dst(&b, d);
	if (p != IR_NO_REG)
		build_dst(&b, p);
	lower_split(l);
	build_end(l, &b);
}

static void op_vote(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_all, IR_VOTE_ALL }, { PTX_W_any, IR_VOTE_ANY }, { PTX_W_uni, IR_VOTE_UNI }, { PTX_W_ballot, IR_VOTE_BALLOT },
		{ 0, 0 },
	};
	int sub = pick(l, list, -1);
	enum ir_type t = one_type(l);
	struct build b;

	if (!sync_form(l))
		return;
	no_more_modifiers(l);
	if (sub < 0)
		lower_bad(l, NULL, "expected .all, .any, .uni or .ballot");
	if (!operands(l, 3, 3))
		return;
	build(&b, IR_vote, t);
	b.in.sub = (uint8_t)sub;
	build_src(&b, get(l, opd(l, 1), IR_PRED));
	build_src(&b, get(l, opd(l, 2), IR_B32));
	build_dst(&b, put(l, opd(l, 0), t));
	lower_split(l);
	build_end(l, &b);
}

static void op_match(struct lower *l)
{
	bool all = has(l, PTX_W_all), any = has(l, PTX_W_any);
	enum ir_type t = one_type(l);
	ir_reg d, p;
	struct build b;

	if (!sync_form(l))
		return;
	no_more_modifiers(l);
	if (all + any != 1)
		lower_bad(l, NULL, "expected .any or .all");
	if (!operands(l, 3, 3))
		return;
	build(&b, IR_match, t);
	b.in.sub = all;
	build_src(&b, get(l, opd(l, 1), t));
	build_src(&b, get(l, opd(l, 2), IR_B32));
	put_pair(l, opd(l, 0), IR_B32, &d, &p);
	build_dst(&b, d);
	if (p != IR_NO_REG)
		build_dst(&b, p);
	lower_split(l);
	build_end(l, &b);
}

static void op_redux(struct lower *l)
{
	static const struct word_value list[] = {
		{ PTX_W_add, IR_ATOM_ADD }, { PTX_W_min, IR_ATOM_MIN }, { PTX_W_max, IR_ATOM_MAX }, { PTX_W_and, IR_ATOM_AND },
		{ PTX_W_or, IR_ATOM_OR }, { PTX_W_xor, IR_ATOM_XOR }, { 0, 0 },
	};
	int sub = pick(l, list, -1);
	enum ir_type t = one_type(l);
	bool abs, nan;
	struct build b;

	if (!sync_form(l))
		return;
	abs = has(l, PTX_W_abs);
	nan = has(l, PTX_W_NaN);
	no_more_modifiers(l);
	if (sub < 0)
		lower_bad(l, NULL, "expected an operation such as .add");
	if (!operands(l, 3, 3))
		return;
	if (ir_type_bits(t) != 32 || t == IR_F16X2 || t == IR_BF16X2 || ((abs || nan) && t != IR_F32) ||
	    (t == IR_F32 && sub != IR_ATOM_MIN && sub != IR_ATOM_MAX)) {
		lower_refuse(l, "this operation on .%s is not supported", ir_type_name(t));
		return;
	}
	build(&b, IR_redux, t);
	b.in.sub = (uint8_t)sub;
	b.in.flags = nan ? IR_NAN_OUT : 0;
	build_src(&b, get(l, opd(l, 1), t));
	if (abs)
		b.src[0] = reg(emit2(l, IR_and, IR_B32, lower_reg(l, IR_B32), b.src[0], imm(INT32_MAX)));
	build_src(&b, get(l, opd(l, 2), IR_B32));
	build_dst(&b, put(l, opd(l, 0), t));
	lower_split(l);
	build_end(l, &b);
}

static void op_activemask(struct lower *l)
{
	struct build b;

	no_more_modifiers(l);
	if (!operands(l, 1, 1))
		return;
	build(&b, IR_activemask, IR_NONE);
	build_dst(&b, put(l, opd(l, 0), IR_B32));
	build_end(l, &b);
}

/* elect.sync d|p, mask: the lowest lane of the mask that is still there */
static void op_elect(struct lower *l)
{
	struct ir_operand mask;
	ir_reg d, p, t, lane;
	struct build b;

	if (!sync_form(l))
		return;
	no_more_modifiers(l);
	if (!operands(l, 2, 2))
		return;
	mask = get(l, opd(l, 1), IR_B32);
	if (opd(l, 0)->kind != PTX_OPD_PAIR) {
		lower_bad(l, opd(l, 0), "expected two results");
		return;
	}
	put_pair(l, opd(l, 0), IR_B32, &d, &p);
	t = lower_reg(l, IR_B32);
	lane = lower_reg(l, IR_B32);
	build(&b, IR_vote, IR_B32);
	b.in.sub = IR_VOTE_BALLOT;
	build_dst(&b, t);
	build_src(&b, imm(1));
	build_src(&b, mask);
	lower_split(l);
	build_end(l, &b);
	emit1(l, IR_brev, IR_B32, t, reg(t));
	emit1(l, IR_clz, IR_B32, d, reg(t));
	emit1(l, IR_mov, IR_U32, lane, (struct ir_operand){ .kind = IR_OPD_SREG, .reg = IR_NO_REG, .index = IR_SREG_LANEID });
	compare(l, IR_EQ, IR_B32, p, reg(lane), reg(d));
}

/* --- barriers -------------------------------------------------------------------------------- */
static void op_bar(struct lower *l)
{
	bool warp = has(l, PTX_W_warp), sync = has(l, PTX_W_sync), arrive = has(l, PTX_W_arrive), red = has(l, PTX_W_red);
	struct build b;
	unsigned int i = 0;

	if (has(l, PTX_W_cluster)) {
		lower_refuse(l, "barriers of clusters are not supported");
		return;
	}
	has(l, PTX_W_cta);
	has(l, PTX_W_aligned);
	if (warp) {
		no_more_modifiers(l);
		if (!sync)
			lower_bad(l, NULL, "expected .sync");
		if (!operands(l, 1, 1))
			return;
		build(&b, IR_warpsync, IR_NONE);
		build_src(&b, get(l, opd(l, 0), IR_B32));
		lower_split(l);
		build_end(l, &b);
		return;
	}
	if (sync + arrive + red != 1) {
		lower_bad(l, NULL, "expected .sync, .arrive or .red");
		return;
	}
	if (red) {
		bool popc = has(l, PTX_W_popc), all = has(l, PTX_W_and), any = has(l, PTX_W_or);
		enum ir_type t = one_type(l);

		no_more_modifiers(l);
		if (popc + all + any != 1)
			lower_bad(l, NULL, "expected .popc, .and or .or");
		if (!operands(l, 3, 4))
			return;
		build(&b, IR_bar_red, t);
		b.in.sub = popc ? IR_BARRED_POPC : all ? IR_BARRED_AND : IR_BARRED_OR;
		build_dst(&b, put(l, opd(l, i++), t));
		build_src(&b, get(l, opd(l, i++), IR_U32));
		build_src(&b, l->in->nr_opds == 4 ? get(l, opd(l, i++), IR_U32) : imm(0));
		build_src(&b, get(l, opd(l, i), IR_PRED));
	} else {
		no_more_modifiers(l);
		if (!operands(l, arrive ? 2 : 1, 2))
			return;
		build(&b, sync ? IR_bar_sync : IR_bar_arrive, IR_NONE);
		build_src(&b, get(l, opd(l, 0), IR_U32));
		build_src(&b, l->in->nr_opds == 2 ? get(l, opd(l, 1), IR_U32) : imm(0));
	}
	build_end(l, &b);
	if (!arrive)
		lower_split(l);
}

/* --- control --------------------------------------------------------------------------------- */
static void op_bra(struct lower *l)
{
	has(l, PTX_W_uni);
	no_more_modifiers(l);
	if (operands(l, 1, 1))
		lower_bra(l, lower_label(l, opd(l, 0)));
}

static void op_brx(struct lower *l)
{
	const struct ptx_opd *table;
	struct ptx_sym *sym;
	struct ir_operand index;
	struct ir_insn *in;
	uint32_t *targets;

	has(l, PTX_W_uni);
	if (!has(l, PTX_W_idx))
		lower_bad(l, NULL, "expected .idx");
	no_more_modifiers(l);
	if (!operands(l, 2, 2))
		return;
	table = opd(l, 1);
	sym = table->kind == PTX_OPD_SYM ? table->sym : NULL;
	while (sym && sym->link)
		sym = sym->link;
	if (!sym || sym->kind != PTX_SYM_TARGETS || !sym->nr_targets) {
		lower_bad(l, table, "expected a table of .branchtargets");
		return;
	}
	index = get(l, opd(l, 0), IR_U32);
	targets = hg_pool_array(l->tmp, sym->nr_targets, sizeof(*targets));
	if (!targets)
		return;
	for (uint32_t i = 0; i < sym->nr_targets; i++) {
		struct ptx_opd o = { .kind = PTX_OPD_SYM, .sym = sym->target[i], .line = table->line, .column = table->column };

		targets[i] = lower_label(l, &o);
	}
	in = lower_emit(l, IR_brx, IR_NONE, 0, 1);
	if (!in)
		return;
	in->src[0] = index;
	in->targets = targets;
	in->nr_targets = sym->nr_targets;
}

static void op_ret(struct lower *l)
{
	has(l, PTX_W_uni);
	no_more_modifiers(l);
	if (operands(l, 0, 0))
		lower_bra(l, l->inst->return_block);
}

static void op_stack(struct lower *l)
{
	enum ir_type t = one_type(l);
	ir_reg r;

	no_more_modifiers(l);
	if (ir_type_bits(t) != 32 && ir_type_bits(t) != 64)
		lower_bad(l, NULL, "an address does not fit in .%s", ir_type_name(t));
	if (!operands(l, l->in->op == PTX_W_alloca ? 2 : 1, l->in->op == PTX_W_alloca ? 3 : 1))
		return;
	t = ir_type_bits(t) == 64 ? IR_U64 : IR_U32;
	if (l->in->op == PTX_W_stackrestore) {
		lower_cvt(l, IR_U32, t, lower_sp(l), get(l, opd(l, 0), t));
		return;
	}
	if (l->in->op == PTX_W_stacksave) {
		r = lower_sp(l);
	} else {
		uint64_t align = l->in->nr_opds == 3 ? opd(l, 2)->imm : 8;

		if (l->in->nr_opds == 3 && (opd(l, 2)->kind != PTX_OPD_INT || !align || align & (align - 1) || align > 4096)) {
			lower_bad(l, opd(l, 2), "expected an alignment, a power of two");
			return;
		}
		r = lower_alloca(l, get(l, opd(l, 1), t), t, (uint32_t)align);
	}
	lower_cvt(l, t, IR_U32, put(l, opd(l, 0), t), reg(r));
}

static void op_exit(struct lower *l)
{
	no_more_modifiers(l);
	if (operands(l, 0, 0))
		lower_emit(l, IR_exit, IR_NONE, 0, 0);
}

static void op_call(struct lower *l)
{
	has(l, PTX_W_uni);
	no_more_modifiers(l);
	if (!lower_stopped(l))
		lower_call(l);
}

static void op_trap(struct lower *l)
{
	no_more_modifiers(l);
	if (operands(l, 0, 0))
		lower_emit(l, IR_trap, IR_NONE, 0, 0);
}

static void op_nanosleep(struct lower *l)
{
	struct build b;

	one_type(l);
	no_more_modifiers(l);
	if (!operands(l, 1, 1))
		return;
	build(&b, IR_nanosleep, IR_NONE);
	build_src(&b, get(l, opd(l, 0), IR_U32));
	build_end(l, &b);
}

static void op_nothing(struct lower *l)
{
	(void)l;	/* hints, and events for profilers */
}

/* fns: the |offset|-th set bit of a mask from base on, upwards or downwards; base itself for offset 0 */
static void op_fns(struct lower *l)
{
	struct ir_operand mask, base, offset;
	ir_reg d, pos, step, count, t, p;
	uint32_t head, body, is_set, found, other, next, done;
	struct build b;

	no_more_modifiers(l);
	if (ir_type_bits(one_type(l)) != 32)
		lower_bad(l, NULL, "expected .b32");
	if (!operands(l, 4, 4))
		return;
	mask = get(l, opd(l, 1), IR_B32);
	base = get(l, opd(l, 2), IR_B32);
	offset = get(l, opd(l, 3), IR_S32);
	d = lower_reg(l, IR_B32);
	pos = lower_reg(l, IR_B32);
	step = lower_reg(l, IR_B32);
	count = lower_reg(l, IR_B32);
	t = lower_reg(l, IR_B32);
	p = lower_reg(l, IR_PRED);
	head = lower_new_block(l);
	body = lower_new_block(l);
	is_set = lower_new_block(l);
	found = lower_new_block(l);
	other = lower_new_block(l);
	next = lower_new_block(l);
	done = lower_new_block(l);
	emit1(l, IR_mov, IR_B32, d, imm(UINT32_MAX));
	emit1(l, IR_mov, IR_B32, pos, base);
	/* A step of 32 leaves the mask after one look. */
	compare(l, IR_GT, IR_S32, p, offset, imm(0));
	build(&b, IR_selp, IR_B32);
	build_src(&b, imm(1));
	build_src(&b, imm(UINT32_MAX));
	build_src(&b, reg(p));
	build_dst(&b, step);
	build_end(l, &b);
	emit1(l, IR_abs, IR_S32, count, offset);
	emit2(l, IR_sub, IR_U32, count, reg(count), imm(1));
	compare(l, IR_EQ, IR_S32, p, offset, imm(0));
	l->guard = p;
	emit1(l, IR_mov, IR_B32, step, imm(32));
	emit1(l, IR_mov, IR_B32, count, imm(0));
	lower_bra(l, head);
	l->cur = head;
	compare(l, IR_LT, IR_U32, p, reg(pos), imm(32));
	lower_cbra(l, p, false, body, done);
	l->cur = body;
	emit2(l, IR_shr, IR_U32, t, mask, reg(pos));
	emit2(l, IR_and, IR_B32, t, reg(t), imm(1));
	compare(l, IR_NE, IR_U32, p, reg(t), imm(0));
	lower_cbra(l, p, false, is_set, next);
	l->cur = is_set;
	compare(l, IR_EQ, IR_U32, p, reg(count), imm(0));
	lower_cbra(l, p, false, found, other);
	l->cur = found;
	emit1(l, IR_mov, IR_B32, d, reg(pos));
	lower_bra(l, done);
	l->cur = other;
	emit2(l, IR_sub, IR_U32, count, reg(count), imm(1));
	lower_bra(l, next);
	l->cur = next;
	emit2(l, IR_add, IR_U32, pos, reg(pos), reg(step));
	lower_bra(l, head);
	l->cur = done;
	emit1(l, IR_mov, IR_B32, put(l, opd(l, 0), IR_B32), reg(d));
}

/* createpolicy: a handle that only hints use */
static void op_createpolicy(struct lower *l)
{
	if (operands(l, 1, 5))
		emit1(l, IR_mov, IR_B64, put(l, opd(l, 0), IR_B64), imm(0));
}

/* --- for the other files --------------------------------------------------------------------- */
bool lower_address(struct lower *l, const struct ptx_opd *o, bool given, struct ir_operand out[2], enum ir_space *space)
{
	struct build b;

	build(&b, IR_ld, IR_B32);
	if (!address(l, o, &b, given, space))
		return false;
	memcpy(out, b.src, 2 * sizeof(*out));
	return true;
}

/* --- the table ------------------------------------------------------------------------------- */
/* How a guard is honoured: on every instruction emitted, or by a branch around them. */
enum guarded { GUARD_EACH, GUARD_BRANCH };

static const struct {
	void (*lower)(struct lower *l);
	enum guarded guarded;
} rows[PTX_W_COUNT + 1] = {
	[PTX_W_add] = { op_add, 0 }, [PTX_W_sub] = { op_add, 0 },
	[PTX_W_addc] = { op_addc, 0 }, [PTX_W_subc] = { op_addc, 0 },
	[PTX_W_mul] = { op_mul, 0 }, [PTX_W_mad] = { op_mul, 0 }, [PTX_W_madc] = { op_madc, 0 },
	[PTX_W_mul24] = { op_mul24, 0 }, [PTX_W_mad24] = { op_mul24, 0 },
	[PTX_W_fma] = { op_fma, 0 }, [PTX_W_div] = { op_div, 0 }, [PTX_W_rem] = { op_rem, 0 },
	[PTX_W_min] = { op_minmax, 0 }, [PTX_W_max] = { op_minmax, 0 },
	[PTX_W_neg] = { op_unary_arith, 0 }, [PTX_W_abs] = { op_unary_arith, 0 }, [PTX_W_rcp] = { op_unary_arith, 0 },
	[PTX_W_sqrt] = { op_unary_arith, 0 }, [PTX_W_rsqrt] = { op_unary_arith, 0 }, [PTX_W_sin] = { op_unary_arith, 0 },
	[PTX_W_cos] = { op_unary_arith, 0 }, [PTX_W_ex2] = { op_unary_arith, 0 }, [PTX_W_lg2] = { op_unary_arith, 0 },
	[PTX_W_tanh] = { op_unary_arith, 0 }, [PTX_W_brev] = { op_unary_arith, 0 }, [PTX_W_cnot] = { op_unary_arith, 0 },
	[PTX_W_not] = { op_unary_arith, 0 },
	[PTX_W_and] = { op_binary_bits, 0 }, [PTX_W_or] = { op_binary_bits, 0 }, [PTX_W_xor] = { op_binary_bits, 0 },
	[PTX_W_copysign] = { op_binary_bits, 0 }, [PTX_W_sad] = { op_sad, 0 },
	[PTX_W_popc] = { op_count, 0 }, [PTX_W_clz] = { op_count, 0 }, [PTX_W_bfind] = { op_count, 0 },
	[PTX_W_bmsk] = { op_bmsk, 0 }, [PTX_W_szext] = { op_szext, 0 },
	[PTX_W_vadd] = { lower_video, 0 }, [PTX_W_vsub] = { lower_video, 0 }, [PTX_W_vabsdiff] = { lower_video, 0 },
	[PTX_W_vmin] = { lower_video, 0 }, [PTX_W_vmax] = { lower_video, 0 }, [PTX_W_vshl] = { lower_video, 0 },
	[PTX_W_vshr] = { lower_video, 0 }, [PTX_W_vmad] = { lower_video, 0 }, [PTX_W_vset] = { lower_video, 0 },
	[PTX_W_vadd2] = { lower_video, 0 }, [PTX_W_vsub2] = { lower_video, 0 }, [PTX_W_vavrg2] = { lower_video, 0 },
	[PTX_W_vabsdiff2] = { lower_video, 0 }, [PTX_W_vmin2] = { lower_video, 0 }, [PTX_W_vmax2] = { lower_video, 0 },
	[PTX_W_vset2] = { lower_video, 0 }, [PTX_W_vadd4] = { lower_video, 0 }, [PTX_W_vsub4] = { lower_video, 0 },
	[PTX_W_vavrg4] = { lower_video, 0 }, [PTX_W_vabsdiff4] = { lower_video, 0 }, [PTX_W_vmin4] = { lower_video, 0 },
	[PTX_W_vmax4] = { lower_video, 0 }, [PTX_W_vset4] = { lower_video, 0 },
	[PTX_W_shl] = { op_shift, 0 }, [PTX_W_shr] = { op_shift, 0 }, [PTX_W_shf] = { op_shf, 0 },
	[PTX_W_bfe] = { op_bfe, 0 }, [PTX_W_bfi] = { op_bfi, 0 }, [PTX_W_prmt] = { op_prmt, 0 },
	[PTX_W_lop3] = { op_lop3, 0 }, [PTX_W_dp4a] = { op_dp, 0 }, [PTX_W_dp2a] = { op_dp, 0 },
	[PTX_W_setp] = { op_setp, 0 }, [PTX_W_set] = { op_set, 0 }, [PTX_W_selp] = { op_selp, 0 },
	[PTX_W_slct] = { op_slct, 0 }, [PTX_W_testp] = { op_testp, 0 },
	[PTX_W_mov] = { op_mov, 0 }, [PTX_W_cvt] = { op_cvt, 0 }, [PTX_W_cvta] = { op_cvta, 0 },
	[PTX_W_isspacep] = { op_isspacep, 0 },
	[PTX_W_ld] = { op_ld, 0 }, [PTX_W_ldu] = { op_ld, 0 }, [PTX_W_st] = { op_st, 0 },
	[PTX_W_atom] = { op_atom, 0 }, [PTX_W_red] = { op_atom, 0 },
	[PTX_W_membar] = { op_membar, 0 }, [PTX_W_fence] = { op_membar, 0 },
	[PTX_W_cp] = { op_cp, GUARD_BRANCH }, [PTX_W_mbarrier] = { op_mbarrier, 0 },
	[PTX_W_prefetch] = { op_prefetch, 0 }, [PTX_W_prefetchu] = { op_prefetch, 0 }, [PTX_W_applypriority] = { op_prefetch, 0 },
	[PTX_W_discard] = { op_prefetch, 0 }, [PTX_W_createpolicy] = { op_createpolicy, 0 },
	[PTX_W_shfl] = { op_shfl, GUARD_BRANCH }, [PTX_W_vote] = { op_vote, GUARD_BRANCH },
	[PTX_W_match] = { op_match, GUARD_BRANCH }, [PTX_W_redux] = { op_redux, GUARD_BRANCH },
	[PTX_W_activemask] = { op_activemask, GUARD_BRANCH }, [PTX_W_elect] = { op_elect, GUARD_BRANCH },
	[PTX_W_bar] = { op_bar, GUARD_BRANCH }, [PTX_W_barrier] = { op_bar, GUARD_BRANCH },
	[PTX_W_bra] = { op_bra, GUARD_BRANCH }, [PTX_W_brx] = { op_brx, GUARD_BRANCH },
	[PTX_W_ret] = { op_ret, GUARD_BRANCH }, [PTX_W_exit] = { op_exit, GUARD_BRANCH },
	[PTX_W_call] = { op_call, GUARD_BRANCH }, [PTX_W_trap] = { op_trap, GUARD_BRANCH },
	[PTX_W_alloca] = { op_stack, GUARD_BRANCH }, [PTX_W_stacksave] = { op_stack, 0 }, [PTX_W_stackrestore] = { op_stack, 0 },
	[PTX_W_brkpt] = { op_trap, GUARD_BRANCH },	/* no debugger is there */
	[PTX_W_mma] = { lower_mma, GUARD_BRANCH }, [PTX_W_wmma] = { lower_wmma, GUARD_BRANCH },
	[PTX_W_ldmatrix] = { lower_ldmatrix, GUARD_BRANCH }, [PTX_W_stmatrix] = { lower_stmatrix, GUARD_BRANCH },
	[PTX_W_movmatrix] = { lower_movmatrix, GUARD_BRANCH },
	[PTX_W_tex] = { lower_tex, 0 }, [PTX_W_tld4] = { lower_tex, 0 },
	[PTX_W_txq] = { lower_query, 0 }, [PTX_W_suq] = { lower_query, 0 },
	[PTX_W_suld] = { lower_surface, GUARD_BRANCH }, [PTX_W_sust] = { lower_surface, GUARD_BRANCH },
	[PTX_W_sured] = { lower_surface_reduce, GUARD_BRANCH },
	[PTX_W_nanosleep] = { op_nanosleep, 0 }, [PTX_W_fns] = { op_fns, GUARD_BRANCH },
	[PTX_W_pmevent] = { op_nothing, 0 }, [PTX_W_griddepcontrol] = { op_nothing, 0 }, [PTX_W_setmaxnreg] = { op_nothing, 0 },
};

/* Whether a result of the instruction is the register r. */
static bool writes(const struct ptx_insn *in, uint32_t r)
{
	const struct ptx_opd *d = in->nr_opds ? &in->opd[0] : NULL;

	if (!d)
		return false;
	if (d->kind == PTX_OPD_REG)
		return d->reg == r;
	for (uint32_t i = 0; i < d->nr_elems; i++)
		if (d->elem[i].kind == PTX_OPD_REG && d->elem[i].reg == r)
			return true;
	return false;
}

static bool has_part_or_minus(const struct ptx_opd *o)
{
	if (o->is_part || o->is_minus)
		return true;
	for (uint32_t i = 0; i < o->nr_elems; i++)
		if (has_part_or_minus(&o->elem[i]))
			return true;
	return false;
}

/* What a row has taken must be in the table of forms as well. Forms that were found are remembered. */
static void check_form(struct lower *l)
{
	const struct ptx_insn *in = l->in;
	uint64_t key = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)in->op << 16 ^ in->nr_opds;
	uint64_t *slot;

	for (unsigned int i = 0; i < in->nr_mods; i++)
		key = (key ^ in->mod[i]) * UINT64_C(0x100000001b3);
	slot = &l->known_form[(key ^ key >> 32) % (sizeof(l->known_form) / sizeof(*slot))];
	if (*slot == key || lower_stopped(l) || !ptx_form_has(in->op))
		return;
	if (ptx_form_find(in->op, in->mod, in->nr_mods, in->nr_opds))
		*slot = key;
	else
		lower_refuse(l, "there is no such form of '%s'", ptx_word_text(in->op));
}

static void run_row(struct lower *l)
{
	rows[l->in->op].lower(l);
	check_form(l);
}

bool lower_knows(enum ptx_word op)
{
	return (unsigned int)op < PTX_W_COUNT && rows[op].lower;
}

void lower_insn(struct lower *l)
{
	const struct ptx_insn *in = l->in;
	ir_reg guard = in->guard == IR_NO_REG ? IR_NO_REG : l->inst->reg_base + in->guard;
	uint32_t body, after;

	l->guard = IR_NO_REG;
	l->guard_neg = false;
	if (!lower_knows(in->op)) {
		lower_refuse(l, "not supported");
		return;
	}
	for (unsigned int i = 0; i < in->nr_opds && rows[in->op].lower != lower_video; i++)
		if (has_part_or_minus(&in->opd[i])) {
			lower_refuse(l, "a part of a register, or a minus sign, is not supported here");
			return;
		}
	read_modifiers(l);
	if (lower_stopped(l))
		return;
	if (guard == IR_NO_REG) {
		run_row(l);
		return;
	}
	if (rows[in->op].guarded == GUARD_EACH) {
		/* The guard must last until the whole instruction is done. */
		if (writes(in, in->guard)) {
			ir_reg copy = lower_reg(l, IR_PRED);

			guard = emit1(l, IR_mov, IR_PRED, copy, reg(guard));
		}
		l->guard = guard;
		l->guard_neg = in->guard_neg;
		run_row(l);
		l->guard = IR_NO_REG;
		l->guard_neg = false;
		return;
	}
	body = lower_new_block(l);
	after = lower_new_block(l);
	lower_cbra(l, guard, in->guard_neg, body, after);
	l->cur = body;
	run_row(l);
	lower_bra(l, after);
	l->cur = after;
}
