/*
 * lower_texture.c - tex, tld4, txq, suld, sust, sured and suq into hgIR. Textures are sampled by an operation of their own;
 * surfaces are memory whose place and size the code reads from the descriptor (translate/texture.h).
 */
#include "translate/lower.h"

#include <stddef.h>
#include <string.h>

#include "translate/texture.h"

static const struct ir_operand none = { .kind = IR_OPD_IMM, .reg = IR_NO_REG };

static struct ir_operand imm(uint64_t v)
{
	struct ir_operand o = none;

	o.imm = v;
	return o;
}

static struct ir_operand reg(ir_reg r)
{
	return (struct ir_operand){ .kind = IR_OPD_REG, .reg = r };
}

static ir_reg op2(struct lower *l, enum ir_op op, enum ir_type type, struct ir_operand a, struct ir_operand b)
{
	return lower_op(l, op, type, IR_NO_REG, 2, (struct ir_operand[]){ a, b });
}

/* a cmp b, and also p unless that is IR_NO_REG */
static ir_reg test(struct lower *l, enum ir_cmp cmp, enum ir_type type, struct ir_operand a, struct ir_operand b, ir_reg p)
{
	struct ir_insn *in = lower_emit(l, IR_setp, type, 1, p == IR_NO_REG ? 2 : 3);
	ir_reg d = lower_reg(l, IR_PRED);

	if (!in)
		return d;
	in->cmp = (uint8_t)cmp;
	in->dst[0] = d;
	in->src[0] = a;
	in->src[1] = b;
	if (p != IR_NO_REG) {
		in->boolop = IR_BOOL_AND;
		in->src[2] = reg(p);
	}
	return d;
}

/* ---- handles ---- */

/* What a [texture…] names: the address of its descriptor. */
static struct ir_operand handle(struct lower *l, const struct ptx_opd *o)
{
	struct ir_operand v;
	struct ir_insn *in;
	enum ir_space space;
	ir_reg r;

	if (lower_stopped(l))
		return none;
	if (o->kind == PTX_OPD_REG) {
		v = lower_get(l, o, IR_U64);
		if (!lower_stopped(l) && ir_type_bits(l->fn->reg_type[v.reg]) != 64)
			lower_bad(l, o, "a handle has 64 bits");
		return v;
	}
	if (o->kind != PTX_OPD_SYM || o->sym->kind != PTX_SYM_VAR || !o->sym->var.is_reference) {
		lower_bad(l, o, "expected a texture, sampler or surface, or a register with its handle");
		return none;
	}
	if (!lower_var_address(l, o, o->sym, 0, &v, &space))
		return none;
	if (space != IR_PARAM && space != IR_LOCAL)
		return v;
	/* a parameter holds the handle */
	if (space == IR_LOCAL) {
		lower_refuse(l, "a reference as parameter of a function is not supported");
		return none;
	}
	r = lower_reg(l, IR_B64);
	in = lower_emit(l, IR_ld, IR_U64, 1, 2);
	if (in) {
		in->space = IR_PARAM;
		in->dst[0] = r;
		in->src[0] = v;
		in->src[1] = imm(0);
	}
	return reg(r);
}

/* A member of the descriptor. */
static ir_reg member(struct lower *l, struct ir_operand h, size_t offset, enum ir_type type)
{
	struct ir_insn *in = lower_emit(l, IR_ld, type, 1, 2);
	ir_reg r = lower_reg(l, ir_type_class(type));

	if (!in)
		return r;
	in->space = IR_GLOBAL;
	in->dst[0] = r;
	in->src[0] = h;
	in->src[1] = imm(offset);
	return r;
}

#define MEMBER(l, h, name, type) member(l, h, offsetof(struct hg_texture, name), type)

/* [handle…, {coordinates}] */
static const struct ptx_opd *memory(struct lower *l, const struct ptx_opd *o, unsigned int max_handles)
{
	if (o->kind != PTX_OPD_MEM || o->nr_elems < 2 || o->nr_elems > 1 + max_handles || o->imm) {
		lower_bad(l, o, "expected '[', a handle, coordinates and ']'");
		return NULL;
	}
	return &o->elem[o->nr_elems - 1];
}

static unsigned int vector_of(const struct ptx_opd *o, const struct ptx_opd **elem)
{
	*elem = o->kind == PTX_OPD_VEC ? o->elem : o;
	return o->kind == PTX_OPD_VEC ? o->nr_elems : 1;
}

static int shape(struct lower *l)
{
	static const struct { enum ptx_word word; int shape; } list[] = {
		{ PTX_W_tex_1d, HG_TEX_1D }, { PTX_W_tex_2d, HG_TEX_2D }, { PTX_W_tex_3d, HG_TEX_3D }, { PTX_W_a1d, HG_TEX_A1D },
		{ PTX_W_a2d, HG_TEX_A2D }, { PTX_W_cube, HG_TEX_CUBE }, { PTX_W_acube, HG_TEX_ACUBE },
	};
	int found = -1;

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (lower_has(l, list[i].word))
			found = list[i].shape;
	if (lower_has(l, PTX_W_tex_2dms) || lower_has(l, PTX_W_a2dms))
		lower_refuse(l, "no CUDA call makes a texture with several samples");
	else if (found < 0)
		lower_bad(l, NULL, "expected a shape such as .2d");
	return found < 0 ? HG_TEX_2D : found;
}

/* ---- tex, tld4 ---- */

struct args {
	struct ir_operand v[HG_TEX_MAX_ARGS];
	unsigned int nr;
};

static void add_args(struct lower *l, struct args *a, const struct ptx_opd *o, unsigned int nr, enum ir_type type)
{
	const struct ptx_opd *elem;
	unsigned int have = vector_of(o, &elem);

	/* vectors of three have a fourth that does not count */
	if (have < nr || a->nr + nr > HG_TEX_MAX_ARGS) {
		lower_bad(l, o, "expected %u of them, found %u", nr, have);
		return;
	}
	for (unsigned int i = 0; i < nr; i++)
		a->v[a->nr++] = lower_get(l, &elem[i], type);
}

/* Coordinates and all that follows the brackets. False: refused. */
static bool read_args(struct lower *l, struct args *a, uint32_t what, const struct ptx_opd *at, enum ir_type type)
{
	unsigned int shape_nr = what & 15, nr = hg_tex_nr_coords(what), next = 2, lod = what >> HG_TEX_LOD_SHIFT & 3, have;
	bool layered = shape_nr == HG_TEX_A1D || shape_nr == HG_TEX_A2D || shape_nr == HG_TEX_ACUBE;
	const struct ptx_opd *elem;

	have = vector_of(at, &elem);
	if (have < nr + layered) {
		lower_bad(l, at, "expected %u coordinates, found %u", nr + layered, have);
		return false;
	}
	if (layered)
		a->v[a->nr++] = lower_get(l, &elem[0], IR_U32);
	for (unsigned int i = 0; i < nr; i++)
		a->v[a->nr++] = lower_get(l, &elem[layered + i], type);
	if (l->in->nr_opds < 2 + (lod == HG_TEX_LEVEL ? 1u : lod == HG_TEX_GRAD ? 2u : 0)) {
		lower_bad(l, NULL, "an operand is missing");
		return false;
	}
	if (lod == HG_TEX_LEVEL)
		add_args(l, a, &l->in->opd[next++], 1, IR_F32);
	for (unsigned int i = 0; lod == HG_TEX_GRAD && i < 2; i++)
		add_args(l, a, &l->in->opd[next++], nr, IR_F32);
	if (next < l->in->nr_opds && l->in->opd[next].kind == PTX_OPD_VEC) {
		if (shape_nr == HG_TEX_CUBE || shape_nr == HG_TEX_ACUBE)
			lower_bad(l, &l->in->opd[next], "a cube has no offsets");
		else
			add_args(l, a, &l->in->opd[next], nr, IR_S32);
		next++;
	}
	if (next < l->in->nr_opds)
		lower_refuse(l, "a comparison of depth is not supported: no CUDA call makes such a texture");
	return !lower_stopped(l);
}

/* Four f32 into registers of f16, or two of f16x2. */
static void narrow(struct lower *l, const struct ptx_opd *d, unsigned int nr, enum ir_type type, const ir_reg *from)
{
	for (unsigned int i = 0; i < nr; i++) {
		unsigned int per = type == IR_F16X2 ? 2 : 1;
		struct ir_insn *in;
		ir_reg to;

		if (d[i].kind == PTX_OPD_NONE)
			continue;
		to = lower_put(l, &d[i], type);
		in = lower_emit(l, IR_cvt, type, 1, per);
		if (!in)
			return;
		in->type2 = IR_F32;
		in->rnd = IR_RN;
		in->dst[0] = to;
		in->src[0] = reg(from[per * i + per - 1]);
		if (per == 2)
			in->src[1] = reg(from[per * i]);
	}
}

void lower_tex(struct lower *l)
{
	bool gather = l->in->op == PTX_W_tld4, pairs = lower_has(l, PTX_W_v2);
	bool level = lower_has(l, PTX_W_level), grad = lower_has(l, PTX_W_grad), is_small;
	unsigned int lod = level ? HG_TEX_LEVEL : grad ? HG_TEX_GRAD : HG_TEX_BASE, component = 0, nr;
	uint32_t what = (uint32_t)shape(l) | lod << HG_TEX_LOD_SHIFT;
	enum ir_type type, coord;
	const struct ptx_opd *d, *elem, *at;
	struct args a = { .nr = 0 };
	struct ir_operand t, s = imm(0);
	ir_reg dst[4], resident = IR_NO_REG;
	struct ir_insn *in;

	lower_has(l, PTX_W_base);
	lower_has(l, PTX_W_v4);
	if (gather)
		component = lower_has(l, PTX_W_r) ? 0 : lower_has(l, PTX_W_g) ? 1 : lower_has(l, PTX_W_b) ? 2 : lower_has(l, PTX_W_a) ? 3 : 4;
	lower_no_more_modifiers(l);
	if (l->nr_types != 2)
		lower_bad(l, NULL, "expected the types of texels and coordinates");
	if (gather && component == 4)
		lower_bad(l, NULL, "expected one of .r, .g, .b and .a");
	if (gather && (lod || ((what & 15) != HG_TEX_2D && (what & 15) != HG_TEX_A2D && (what & 15) != HG_TEX_CUBE &&
			       (what & 15) != HG_TEX_ACUBE)))
		lower_bad(l, NULL, "four texels are taken of 2d, a2d, cube and acube only");
	if (!lower_operands(l, 2, 6))
		return;
	type = l->type[0];
	coord = l->type[1];
	is_small = type == IR_F16 || type == IR_F16X2;
	if ((type != IR_F32 && type != IR_S32 && type != IR_U32 && !is_small) || pairs != (type == IR_F16X2) ||
	    (coord != IR_F32 && coord != IR_S32) || (coord == IR_S32 && ((what & 15) >= HG_TEX_CUBE || gather))) {
		lower_refuse(l, "texels of .%s at coordinates of .%s are not supported", ir_type_name(type), ir_type_name(coord));
		return;
	}
	d = &l->in->opd[0];
	if (d->kind == PTX_OPD_PAIR) {
		/* all of a texture is resident */
		resident = lower_put(l, &d->elem[1], IR_PRED);
		d = &d->elem[0];
	}
	nr = vector_of(d, &elem);
	if (nr != (pairs ? 2 : 4))
		lower_bad(l, d, "expected a vector of %u registers", pairs ? 2 : 4);
	at = memory(l, &l->in->opd[1], 2);
	if (!at || lower_stopped(l))
		return;
	t = handle(l, &l->in->opd[1].elem[0]);
	if (l->in->opd[1].nr_elems == 3)
		s = handle(l, &l->in->opd[1].elem[1]);
	if (coord == IR_S32)
		what |= HG_TEX_INTEGER;
	if (!read_args(l, &a, what, at, coord))
		return;
	for (unsigned int i = 0; i < 4; i++)
		dst[i] = is_small ? lower_reg(l, IR_B32) : elem[i].kind == PTX_OPD_NONE ? IR_NO_REG : lower_put(l, &elem[i], IR_B32);
	in = lower_emit(l, IR_tex, IR_B32, 4, 2 + a.nr);
	if (!in)
		return;
	in->type2 = (uint8_t)coord;
	if (gather)
		in->sub = (uint8_t)(IR_TEX_GATHER + 4 * ((what & 15) == HG_TEX_2D ? 0 : (what & 15) == HG_TEX_A2D ? 1 :
							 (what & 15) == HG_TEX_CUBE ? 2 : 3) + component);
	else
		in->sub = (uint8_t)(lod * HG_TEX_NR_SHAPES + (what & 15));
	memcpy(in->dst, dst, sizeof(dst));
	in->src[0] = t;
	in->src[1] = s;
	memcpy(in->src + 2, a.v, a.nr * sizeof(a.v[0]));
	if (is_small)
		narrow(l, elem, nr, type, dst);
	if (resident != IR_NO_REG)
		lower_op(l, IR_mov, IR_PRED, resident, 1, (struct ir_operand[]){ imm(1) });
}

/* ---- queries ---- */

static const struct query {
	enum ptx_word word;
	size_t offset;
	bool of_surfaces;
} queries[] = {
#define QUERY(word, member, surface) { PTX_W_##word, offsetof(struct hg_texture, member), surface }
	QUERY(width, width, true), QUERY(height, height, true), QUERY(depth, depth, true),
	QUERY(array_size, array_size, true), QUERY(channel_data_type, data_type, true), QUERY(channel_order, order, true),
	QUERY(normalized_coords, is_normalised, false), QUERY(num_mipmap_levels, nr_levels, false),
	QUERY(filter_mode, filter, false), QUERY(addr_mode_0, address_mode[0], false),
	QUERY(addr_mode_1, address_mode[1], false), QUERY(addr_mode_2, address_mode[2], false),
#undef QUERY
};

void lower_query(struct lower *l)
{
	bool surface = l->in->op == PTX_W_suq, level = lower_has(l, PTX_W_level), constant = false, inverted = false;
	const struct query *q = NULL;
	struct ir_operand h;
	uint64_t value = 0;
	ir_reg d, v;

	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]) && !q; i++)
		if ((!surface || queries[i].of_surfaces) && lower_has(l, queries[i].word))
			q = &queries[i];
	if (!surface && !q && lower_has(l, PTX_W_num_samples)) {
		constant = true;
		value = 1;
	}
	if (!surface && !q && lower_has(l, PTX_W_force_unnormalized_coords)) {
		inverted = true;
		q = &queries[6];
	}
	if (surface && !q && lower_has(l, PTX_W_memory_layout)) {
		constant = true;	/* rows lie as their pitch says */
		value = 1;
	}
	lower_no_more_modifiers(l);
	if (!q && !constant)
		lower_bad(l, NULL, "expected a query such as .width");
	if (level && (!q || q > &queries[2]))
		lower_bad(l, NULL, "a level has a width, a height and a depth only");
	if (l->nr_types != 1 || l->type[0] != IR_B32)
		lower_bad(l, NULL, "expected .b32");
	if (!lower_operands(l, level ? 3 : 2, level ? 3 : 2))
		return;
	if (l->in->opd[1].kind != PTX_OPD_MEM || l->in->opd[1].nr_elems != 1 || l->in->opd[1].imm) {
		lower_bad(l, &l->in->opd[1], "expected a handle in brackets");
		return;
	}
	h = handle(l, &l->in->opd[1].elem[0]);
	d = lower_put(l, &l->in->opd[0], IR_B32);
	if (constant) {
		lower_op(l, IR_mov, IR_B32, d, 1, (struct ir_operand[]){ imm(value) });
		return;
	}
	if (lower_stopped(l))
		return;
	v = member(l, h, q->offset, IR_U32);
	if (inverted)
		v = op2(l, IR_xor, IR_B32, reg(v), imm(1));
	if (level) {
		ir_reg first = v;

		v = op2(l, IR_shr, IR_U32, reg(v), lower_get(l, &l->in->opd[2], IR_U32));
		/* what is there has one texel at least; 0 stays */
		v = op2(l, IR_max, IR_U32, reg(v), reg(op2(l, IR_min, IR_U32, reg(first), imm(1))));
	}
	lower_op(l, IR_mov, IR_B32, d, 1, (struct ir_operand[]){ reg(v) });
}

/* ---- surfaces ---- */

enum outside { TRAP, CLAMP, ZERO };

struct surface {
	struct ir_operand h;
	enum outside outside;
	ir_reg addr;
	ir_reg inside;		/* a predicate; IR_NO_REG: always */
};

#define LEVEL(l, h, name, type) \
	member(l, h, offsetof(struct hg_texture, level) + offsetof(struct hg_texture_level, name), type)

/* Lanes where p does not hold end the launch. */
static void trap_unless(struct lower *l, ir_reg p)
{
	uint32_t good = lower_new_block(l), bad = lower_new_block(l);

	lower_cbra(l, p, false, good, bad);
	l->cur = bad;
	lower_emit(l, IR_trap, IR_NONE, 0, 0);
	lower_bra(l, good);
	l->cur = good;
}

/* A coordinate, with the predicate of all axes so far. */
static ir_reg axis(struct lower *l, struct surface *s, struct ir_operand c, ir_reg limit)
{
	if (s->outside == CLAMP) {
		c = reg(op2(l, IR_min, IR_S32, c, reg(op2(l, IR_sub, IR_S32, reg(limit), imm(1)))));
		return op2(l, IR_max, IR_S32, c, imm(0));
	}
	s->inside = test(l, IR_LT, IR_U32, c, reg(limit), s->inside);
	return op2(l, IR_add, IR_U32, c, imm(0));
}

/* addr += at * step, whose step has 64 bits */
static void advance(struct lower *l, struct surface *s, ir_reg at, ir_reg step)
{
	ir_reg wide = lower_cvt(l, IR_U64, IR_U32, IR_NO_REG, reg(at));

	s->addr = lower_op(l, IR_mad, IR_U64, IR_NO_REG, 3, (struct ir_operand[]){ reg(wide), reg(step), reg(s->addr) });
}

/*
 * The address that an operand [surface, {coordinates}] means, for an access of `size` bytes; the first coordinate counts bytes, or texels
 * (formatted). Lanes outside have trapped, been brought back, or s->inside does not hold for them.
 */
static bool surface(struct lower *l, const struct ptx_opd *o, int geometry, unsigned int size, bool formatted, struct surface *s)
{
	bool layered = geometry == HG_TEX_A1D || geometry == HG_TEX_A2D;
	unsigned int nr = geometry == HG_TEX_1D || geometry == HG_TEX_A1D ? 1 : geometry == HG_TEX_3D ? 3 : 2, have;
	const struct ptx_opd *at = memory(l, o, 1), *elem;
	struct ir_operand x;
	ir_reg valid, width;

	if (!at || lower_stopped(l))
		return false;
	have = vector_of(at, &elem);
	if (have < nr + layered) {
		lower_bad(l, at, "expected %u coordinates, found %u", nr + layered, have);
		return false;
	}
	s->h = handle(l, &o->elem[0]);
	s->inside = IR_NO_REG;
	valid = test(l, IR_EQ, IR_U32, reg(MEMBER(l, s->h, magic, IR_U32)), imm(HG_TEXTURE_MAGIC), IR_NO_REG);
	trap_unless(l, valid);
	s->addr = LEVEL(l, s->h, addr, IR_U64);
	x = lower_get(l, &elem[layered], IR_S32);
	if (formatted) {
		ir_reg each = op2(l, IR_div, IR_U32, reg(LEVEL(l, s->h, row_bytes, IR_U32)), reg(LEVEL(l, s->h, width, IR_U32)));

		x = reg(axis(l, s, x, LEVEL(l, s->h, width, IR_U32)));
		x = reg(op2(l, IR_mul, IR_U32, x, reg(each)));
	} else {
		/* the whole access must be in the row, which may be shorter than it */
		width = op2(l, IR_max, IR_U32, reg(LEVEL(l, s->h, row_bytes, IR_U32)), imm(size - 1));
		width = op2(l, IR_sub, IR_U32, reg(width), imm(size - 1));
		x = reg(axis(l, s, x, width));
	}
	if (nr > 1)
		advance(l, s, axis(l, s, lower_get(l, &elem[layered + 1], IR_S32), LEVEL(l, s->h, height, IR_U32)),
			LEVEL(l, s->h, pitch, IR_U64));
	if (nr > 2 || layered)
		advance(l, s, axis(l, s, lower_get(l, layered ? &elem[0] : &elem[2], IR_S32), LEVEL(l, s->h, depth, IR_U32)),
			LEVEL(l, s->h, slice, IR_U64));
	s->addr = op2(l, IR_add, IR_U64, reg(s->addr), reg(lower_cvt(l, IR_U64, IR_U32, IR_NO_REG, x)));
	if (s->outside == TRAP) {
		trap_unless(l, s->inside);
		s->inside = IR_NO_REG;
	}
	return !lower_stopped(l);
}

static enum outside outside(struct lower *l)
{
	bool clamp = lower_has(l, PTX_W_clamp), zero = lower_has(l, PTX_W_zero);

	lower_has(l, PTX_W_trap);
	return clamp ? CLAMP : zero ? ZERO : TRAP;
}

static int surface_shape(struct lower *l)
{
	int s = shape(l);

	if (s == HG_TEX_CUBE || s == HG_TEX_ACUBE)
		lower_bad(l, NULL, "a surface is no cube: its faces are layers");
	return s;
}

static unsigned int vector_length(struct lower *l)
{
	bool two = lower_has(l, PTX_W_v2), four = lower_has(l, PTX_W_v4);

	return four ? 4 : two ? 2 : 1;
}

/* ---- formatted stores ---- */

/* v clamped to a format of integers, or made f16; by what the surface holds. */
static ir_reg format(struct lower *l, struct ir_operand v, ir_reg texel)
{
	static const struct { enum hg_texel texel; enum ir_type type; uint32_t low, high; } list[] = {
		{ HG_TEXEL_U8, IR_U32, 0, 0xff }, { HG_TEXEL_S8, IR_S32, (uint32_t)INT8_MIN, INT8_MAX },
		{ HG_TEXEL_U16, IR_U32, 0, 0xffff }, { HG_TEXEL_S16, IR_S32, (uint32_t)INT16_MIN, INT16_MAX },
	};
	ir_reg r = lower_op(l, IR_mov, IR_B32, IR_NO_REG, 1, &v), half = lower_reg(l, IR_B16), p;
	struct ir_insn *in;

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		ir_reg c = op2(l, IR_min, list[i].type, reg(op2(l, IR_max, list[i].type, v, imm(list[i].low))), imm(list[i].high));

		p = test(l, IR_EQ, IR_U32, reg(texel), imm(list[i].texel), IR_NO_REG);
		r = lower_op(l, IR_selp, IR_B32, IR_NO_REG, 3, (struct ir_operand[]){ reg(c), reg(r), reg(p) });
	}
	in = lower_emit(l, IR_cvt, IR_F16, 1, 1);
	if (in) {
		in->type2 = IR_F32;
		in->rnd = IR_RN;
		in->dst[0] = half;
		in->src[0] = v;
	}
	p = test(l, IR_EQ, IR_U32, reg(texel), imm(HG_TEXEL_F16), IR_NO_REG);
	return lower_op(l, IR_selp, IR_B32, IR_NO_REG, 3,
			(struct ir_operand[]){ reg(lower_cvt(l, IR_U32, IR_U16, IR_NO_REG, reg(half))), reg(r), reg(p) });
}

static void store_formatted(struct lower *l, const struct surface *s, const struct ptx_opd *elem, unsigned int nr)
{
	static const struct { enum hg_texel first, last; enum ir_type type; } list[] = {
		{ HG_TEXEL_U8, HG_TEXEL_S8, IR_B8 }, { HG_TEXEL_U16, HG_TEXEL_S16, IR_B16 }, { HG_TEXEL_F16, HG_TEXEL_F16, IR_B16 },
		{ HG_TEXEL_U32, HG_TEXEL_S32, IR_B32 }, { HG_TEXEL_F32, HG_TEXEL_F32, IR_B32 },
	};
	ir_reg texel = MEMBER(l, s->h, texel, IR_U32), channels = MEMBER(l, s->h, channels, IR_U32);

	for (unsigned int c = 0; c < nr; c++) {
		ir_reg v = format(l, lower_get(l, &elem[c], IR_B32), texel);
		ir_reg there = test(l, IR_GT, IR_U32, reg(channels), imm(c), s->inside);

		for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
			ir_reg p = test(l, IR_GE, IR_U32, reg(texel), imm(list[i].first), there);
			struct ir_insn *in;

			l->guard = test(l, IR_LE, IR_U32, reg(texel), imm(list[i].last), p);
			in = lower_emit(l, IR_st, list[i].type, 0, 3);
			l->guard = IR_NO_REG;
			if (!in)
				return;
			in->space = IR_GLOBAL;
			in->src[0] = reg(s->addr);
			in->src[1] = imm(c * (ir_type_bits(list[i].type) / 8));
			in->src[2] = reg(v);
		}
	}
}

/* ---- suld, sust, sured ---- */

void lower_surface(struct lower *l)
{
	bool load = l->in->op == PTX_W_suld, formatted = lower_has(l, PTX_W_p);
	unsigned int nr = vector_length(l), at = load ? 1 : 0;
	struct surface s = { .outside = outside(l) };
	int geometry = surface_shape(l);
	const struct ptx_opd *elem;
	struct ir_insn *in;
	enum ir_type t;

	/* caches change nothing that a program can see */
	lower_has(l, PTX_W_ca);
	lower_has(l, PTX_W_cg);
	lower_has(l, PTX_W_cs);
	lower_has(l, PTX_W_cv);
	lower_has(l, PTX_W_wb);
	lower_has(l, PTX_W_wt);
	if (!lower_has(l, PTX_W_b) && !formatted)
		lower_bad(l, NULL, "expected .b or .p");
	lower_no_more_modifiers(l);
	if (l->nr_types != 1 || l->type[0] < IR_B8 || l->type[0] > IR_B64)
		lower_bad(l, NULL, "expected one of .b8, .b16, .b32 and .b64");
	if (!lower_operands(l, 2, 2))
		return;
	t = l->type[0];
	if (formatted && (load || t != IR_B32)) {
		lower_bad(l, NULL, "a formatted access is a store of .b32");
		return;
	}
	if (vector_of(&l->in->opd[1 - at], &elem) != nr) {
		lower_bad(l, &l->in->opd[1 - at], "expected a vector of %u registers", nr);
		return;
	}
	if (!surface(l, &l->in->opd[at], geometry, nr * ir_type_bits(t) / 8, formatted, &s))
		return;
	if (formatted) {
		store_formatted(l, &s, elem, nr);
		return;
	}
	/* results may be coordinates: these are no longer needed */
	for (unsigned int i = 0; load && s.inside != IR_NO_REG && i < nr; i++)
		if (elem[i].kind != PTX_OPD_NONE) {
			ir_reg d = lower_put(l, &elem[i], t);

			if (!lower_stopped(l))
				lower_op(l, IR_mov, l->fn->reg_type[d], d, 1, (struct ir_operand[]){ imm(0) });
		}
	l->guard = s.inside;
	in = lower_emit(l, load ? IR_ld : IR_st, t, load ? nr : 0, load ? 2 : 2 + nr);
	l->guard = IR_NO_REG;
	if (!in)
		return;
	in->space = IR_GLOBAL;
	in->src[0] = reg(s.addr);
	in->src[1] = imm(0);
	for (unsigned int i = 0; i < nr; i++)
		if (load)
			in->dst[i] = elem[i].kind == PTX_OPD_NONE ? IR_NO_REG : lower_put(l, &elem[i], t);
		else
			in->src[2 + i] = lower_get(l, &elem[i], t);
}

static void reduce(struct lower *l, const struct surface *s, enum ir_atom op, enum ir_type t, struct ir_operand v, ir_reg guard)
{
	struct ir_insn *in;

	l->guard = guard;
	in = lower_emit(l, IR_atom, t, 0, 3);
	l->guard = IR_NO_REG;
	if (!in)
		return;
	in->sub = (uint8_t)op;
	in->sem = IR_RELAXED;
	in->scope = IR_GPU;
	in->space = IR_GLOBAL;
	in->src[0] = reg(s->addr);
	in->src[1] = imm(0);
	in->src[2] = v;
}

void lower_surface_reduce(struct lower *l)
{
	static const struct { enum ptx_word word; enum ir_atom op; } list[] = {
		{ PTX_W_add, IR_ATOM_ADD }, { PTX_W_min, IR_ATOM_MIN }, { PTX_W_max, IR_ATOM_MAX }, { PTX_W_and, IR_ATOM_AND },
		{ PTX_W_or, IR_ATOM_OR },
	};
	bool formatted = lower_has(l, PTX_W_p), unformatted = lower_has(l, PTX_W_b), orders;
	struct surface s = { .outside = outside(l) };
	int geometry = surface_shape(l), op = -1;
	struct ir_operand v;
	enum ir_type t;

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (lower_has(l, list[i].word))
			op = (int)list[i].op;
	lower_no_more_modifiers(l);
	if (formatted == unformatted || op < 0 || l->nr_types != 1)
		lower_bad(l, NULL, "expected .b or .p, an operation and a type");
	if (!lower_operands(l, 2, 2))
		return;
	t = l->type[0];
	orders = op == IR_ATOM_MIN || op == IR_ATOM_MAX;
	if (t != IR_B32 && t != IR_U32 && t != IR_S32 && t != IR_B64 && t != IR_U64 && t != IR_S64) {
		lower_bad(l, NULL, "no such operation on .%s", ir_type_name(t));
		return;
	}
	if (!surface(l, &l->in->opd[0], geometry, ir_type_bits(t) / 8, formatted, &s))
		return;
	v = lower_get(l, l->in->opd[1].kind == PTX_OPD_VEC && l->in->opd[1].nr_elems == 1 ? &l->in->opd[1].elem[0] : &l->in->opd[1], t);
	if (t == IR_B32 && orders) {
		/* the surface says which numbers they are */
		ir_reg texel = MEMBER(l, s.h, texel, IR_U32);

		reduce(l, &s, (enum ir_atom)op, IR_S32, v, test(l, IR_EQ, IR_U32, reg(texel), imm(HG_TEXEL_S32), s.inside));
		reduce(l, &s, (enum ir_atom)op, IR_U32, v, test(l, IR_NE, IR_U32, reg(texel), imm(HG_TEXEL_S32), s.inside));
		return;
	}
	if (op == IR_ATOM_ADD || orders)
		t = t == IR_B32 ? IR_U32 : t == IR_B64 ? IR_U64 : t;
	else
		t = ir_type_bits(t) == 64 ? IR_B64 : IR_B32;
	reduce(l, &s, (enum ir_atom)op, t, v, s.inside);
}
