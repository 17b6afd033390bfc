/* lower_matrix.c - mma, wmma, ldmatrix, stmatrix and movmatrix into hgIR. */
#include "translate/lower.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "translate/ir_mma.h"

#define MAX_REGS 8	/* of a matrix, in each lane */

/* ---- the words of an instruction ---- */

/* Types and layouts count by their order; ptxas takes the other words in any place. */
struct words {
	bool is_sync, satfinite, is_trans, is_popc;
	unsigned int m, n, k;		/* k 0: not said */
	unsigned int number;		/* x1, x2, x4; or 0 */
	enum ptx_word type[4], matrix, bit_op;
	bool is_col[2];
	unsigned int nr_types, nr_layouts;
	enum ir_space space;
	bool has_space;
};

static bool read_word(struct lower *l, struct words *w, enum ptx_word word)
{
	int end = 0;

	switch (word) {
	case PTX_W_sync: w->is_sync = true; return true;
	case PTX_W_aligned: case PTX_W_rn: case PTX_W_load: case PTX_W_store: case PTX_W_mma: return true;
	case PTX_W_satfinite: w->satfinite = true; return true;
	case PTX_W_trans: w->is_trans = true; return true;
	case PTX_W_popc: w->is_popc = true; return true;
	case PTX_W_xor: case PTX_W_and: w->bit_op = word; return true;
	case PTX_W_x1: w->number = 1; return true;
	case PTX_W_x2: w->number = 2; return true;
	case PTX_W_x4: w->number = 4; return true;
	case PTX_W_a: case PTX_W_b: case PTX_W_c: case PTX_W_d: w->matrix = word; return true;
	case PTX_W_shared: case PTX_W_shared__cta: case PTX_W_global:
		w->space = word == PTX_W_global ? IR_GLOBAL : IR_SHARED;
		w->has_space = true;
		return true;
	case PTX_W_row: case PTX_W_col:
		if (w->nr_layouts == 2)
			return false;
		w->is_col[w->nr_layouts++] = word == PTX_W_col;
		return true;
	case PTX_W_f64: case PTX_W_f32: case PTX_W_tf32: case PTX_W_bf16: case PTX_W_f16: case PTX_W_s32: case PTX_W_s8:
	case PTX_W_u8: case PTX_W_s4: case PTX_W_u4: case PTX_W_b1: case PTX_W_e4m3: case PTX_W_e5m2: case PTX_W_b16:
		if (w->nr_types == 4)
			return false;
		w->type[w->nr_types++] = word;
		return true;
	case PTX_W_sp:
		lower_refuse(l, "sparse matrices are not supported");
		return true;
	default:
		/* a shape */
		if (sscanf(ptx_word_text(word), "m%un%u%n", &w->m, &w->n, &end) != 2 || !end)
			return false;
		if (ptx_word_text(word)[end])
			return sscanf(ptx_word_text(word) + end, "k%u", &w->k) == 1;
		return true;
	}
}

static bool read_words(struct lower *l, struct words *w)
{
	*w = (struct words){ .space = IR_GENERIC };
	for (unsigned int i = 0; i < l->in->nr_mods; i++)
		if (!read_word(l, w, l->in->mod[i])) {
			lower_refuse(l, "'.%s' is not supported here", ptx_word_text(l->in->mod[i]));
			return false;
		}
	if (!w->is_sync)
		lower_bad(l, NULL, "expected .sync");
	return !lower_stopped(l);
}

static bool is_word(const struct lower *l, enum ptx_word word)
{
	return l->in->nr_mods && l->in->mod[0] == word;
}

static int elem_of(enum ptx_word w)
{
	switch (w) {
	case PTX_W_f64: return IR_ELEM_F64;
	case PTX_W_tf32: return IR_ELEM_TF32;
	case PTX_W_bf16: return IR_ELEM_BF16;
	case PTX_W_f16: return IR_ELEM_F16;
	case PTX_W_s8: return IR_ELEM_S8;
	case PTX_W_u8: return IR_ELEM_U8;
	case PTX_W_s4: return IR_ELEM_S4;
	case PTX_W_u4: return IR_ELEM_U4;
	case PTX_W_b1: return IR_ELEM_B1;
	case PTX_W_e4m3: return IR_ELEM_E4M3;
	case PTX_W_e5m2: return IR_ELEM_E5M2;
	default: return -1;
	}
}

static enum ir_type sum_type(enum ptx_word w)
{
	switch (w) {
	case PTX_W_f64: return IR_F64;
	case PTX_W_f32: return IR_F32;
	case PTX_W_f16: return IR_F16X2;
	case PTX_W_s32: return IR_S32;
	default: return IR_NONE;
	}
}

/* The same table serves mma and wmma; only small shapes belong to both. */
static bool is_form_of(const struct ir_mma_desc *d, bool wmma)
{
	if (d->m == 32 || d->n > 8)
		return wmma;
	if (d->m == 16 || d->kind == IR_MMA_QUADS)
		return !wmma;
	return !wmma || d->a == IR_ELEM_F64 || d->a == IR_ELEM_S4 || d->a == IR_ELEM_U4 || d->a == IR_ELEM_B1;
}

/* ---- instructions and operands ---- */

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

static ir_reg emit(struct lower *l, enum ir_op op, enum ir_type type, struct ir_operand a, struct ir_operand b)
{
	ir_reg d = lower_reg(l, ir_type_class(type));
	struct ir_insn *in = lower_emit(l, op, type, 1, op == IR_mov ? 1 : 2);

	if (!in)
		return d;
	in->dst[0] = d;
	in->src[0] = a;
	if (op != IR_mov)
		in->src[1] = b;
	return d;
}

/* All lanes take part, and are together from here to the end of the block. */
static void all_lanes(struct lower *l)
{
	const struct lower_block *b = &l->block[l->cur];
	struct ir_insn *in;

	if (b->nr && b->insn[0].ir.op == IR_warpsync && b->insn[0].ir.src[0].kind == IR_OPD_IMM &&
	    b->insn[0].ir.src[0].imm == UINT32_MAX)
		return;
	lower_split(l);
	in = lower_emit(l, IR_warpsync, IR_NONE, 0, 1);
	if (in)
		in->src[0] = imm(UINT32_MAX);
}

/* A matrix in registers: {…}, or one register. */
static unsigned int count(const struct ptx_opd *o)
{
	return o->kind == PTX_OPD_VEC ? o->nr_elems : 1;
}

static const struct ptx_opd *part(const struct ptx_opd *o, unsigned int i)
{
	return o->kind == PTX_OPD_VEC ? &o->elem[i] : o;
}

static bool matrix_operand(struct lower *l, unsigned int i, unsigned int nr)
{
	const struct ptx_opd *o;

	if (lower_stopped(l))
		return false;
	if (i >= l->in->nr_opds) {
		lower_bad(l, NULL, "too few operands");
		return false;
	}
	o = &l->in->opd[i];
	if (count(o) == nr)
		return true;
	lower_bad(l, o, "expected %u registers, found %u", nr, count(o));
	return false;
}

/* ---- products ---- */

static bool find_form(struct lower *l, const struct words *w, int a, int b, bool wmma, enum ir_mma *out)
{
	enum ir_mma_kind kind = w->bit_op == PTX_W_xor ? IR_MMA_XOR : w->bit_op == PTX_W_and ? IR_MMA_AND : IR_MMA_TILES;

	if (a == IR_ELEM_F16 && b == IR_ELEM_F16 && w->m == 8 && w->n == 8 && w->k == 4 && !wmma && w->nr_layouts == 2) {
		*out = (enum ir_mma)(IR_MMA_m8n8k4_row_row + 2 * w->is_col[0] + w->is_col[1]);
		return true;
	}
	for (unsigned int i = 0; i < IR_MMA_COUNT; i++) {
		const struct ir_mma_desc *d = &ir_mma_desc[i];

		if (d->m == w->m && d->n == w->n && d->k == w->k && d->a == a && d->b == b && d->kind == kind &&
		    is_form_of(d, wmma)) {
			*out = (enum ir_mma)i;
			return true;
		}
	}
	lower_refuse(l, "a product of matrices of this shape and type is not supported");
	return false;
}

static void product(struct lower *l, const struct words *w, bool wmma)
{
	bool two = wmma && w->nr_types == 2;	/* only D's and C's type are said: the others are f16 */
	enum ir_type dt, ct;
	const struct ir_mma_desc *d;
	const struct ptx_opd *opd = l->in->opd;
	struct ir_insn *in;
	unsigned int nr_a, nr_b, nr_c, nr_d, at = 0;
	enum ir_mma form;
	bool small;

	if ((w->nr_types != 4 && !two) || w->nr_layouts != 2) {
		lower_bad(l, NULL, "expected two layouts and four types");
		return;
	}
	dt = sum_type(w->type[0]);
	ct = sum_type(w->type[w->nr_types - 1]);
	if (!find_form(l, w, two ? IR_ELEM_F16 : elem_of(w->type[1]), two ? IR_ELEM_F16 : elem_of(w->type[2]), wmma, &form))
		return;
	d = &ir_mma_desc[form];
	small = ir_elem_bits(d->a) < 8;
	if ((!wmma && d->kind != IR_MMA_QUADS) || small)
		if (w->is_col[0] || !w->is_col[1]) {
			lower_bad(l, NULL, "expected .row.col");
			return;
		}
	if (!ir_mma_allows(d, dt) || !ir_mma_allows(d, ct) || (!wmma && d->kind != IR_MMA_QUADS && dt != ct) ||
	    (w->satfinite && dt != IR_S32) || (w->is_popc != (w->bit_op != PTX_W_NONE)) ||
	    (d->a == IR_ELEM_B1) != w->is_popc || w->has_space || w->is_trans || w->number || w->matrix) {
		lower_refuse(l, "a product of matrices with these types is not supported");
		return;
	}
	nr_a = ir_mma_regs_a(d);
	nr_b = ir_mma_regs_b(d);
	nr_c = ir_mma_regs_c(d, ct);
	nr_d = ir_mma_regs_c(d, dt);
	/* wmma's fragments of f16 have eight registers whatever the shape; the first hold it all. */
	if (!matrix_operand(l, 0, nr_d) || !matrix_operand(l, 1, wmma && d->a == IR_ELEM_F16 ? 8 : nr_a) ||
	    !matrix_operand(l, 2, wmma && d->a == IR_ELEM_F16 ? 8 : nr_b) || !matrix_operand(l, 3, nr_c))
		return;
	if (l->in->nr_opds != 4) {
		lower_bad(l, NULL, "expected 4 operands, found %u", l->in->nr_opds);
		return;
	}
	all_lanes(l);
	in = lower_emit(l, IR_mma, dt, nr_d, nr_a + nr_b + nr_c);
	if (!in)
		return;
	in->type2 = (uint8_t)ct;
	in->sub = (uint8_t)form;
	in->flags = w->satfinite ? IR_SATFINITE : 0;
	for (unsigned int i = 0; i < nr_a; i++)
		in->src[at++] = lower_get(l, part(&opd[1], i), dt == IR_F64 ? IR_B64 : IR_B32);
	for (unsigned int i = 0; i < nr_b; i++)
		in->src[at++] = lower_get(l, part(&opd[2], i), dt == IR_F64 ? IR_B64 : IR_B32);
	for (unsigned int i = 0; i < nr_c; i++)
		in->src[at++] = lower_get(l, part(&opd[3], i), ct == IR_F16X2 ? IR_B32 : ct);
	for (unsigned int i = 0; i < nr_d; i++)
		in->dst[i] = lower_put(l, part(&opd[0], i), dt == IR_F64 ? IR_B64 : IR_B32);
}

void lower_mma(struct lower *l)
{
	struct words w;

	if (read_words(l, &w))
		product(l, &w, false);
}

/* ---- wmma: matrices between memory and registers ---- */

/* One matrix on its way: see ir_mma.h for what lies where. "Rows" are A's and C's rows and B's columns, "across" the other way. */
struct fragment {
	unsigned int rows, across;	/* elements */
	unsigned int bits, per_reg;	/* of an element; elements side by side in a lane */
	bool is_sum;			/* C or D */
	bool by_rows;			/* elements side by side in a lane are so in memory */
	unsigned int nr, nr_given;	/* registers needed; in the instruction */
	enum ir_type address;		/* IR_U32 or IR_U64 */
	enum ir_space space;
	int64_t offset;
	ir_reg base, stride;		/* this lane's first element; bytes from one row to the next (of columns, if not by_rows) */
	ir_reg line[64];		/* the lane's address in such a row, or IR_NO_REG */
};

static ir_reg line_of(struct lower *l, struct fragment *f, unsigned int line)
{
	if (f->line[line] == IR_NO_REG)
		f->line[line] = line ? emit(l, IR_add, f->address, reg(f->base),
					    reg(emit(l, IR_mul, f->address, reg(f->stride), imm(line)))) : f->base;
	return f->line[line];
}

static ir_reg widened(struct lower *l, const struct fragment *f, struct ir_operand v)
{
	ir_reg r;
	struct ir_insn *in;

	if (f->address == IR_U32)
		return emit(l, IR_mov, IR_B32, v, none);
	r = lower_reg(l, IR_B64);
	in = lower_emit(l, IR_cvt, IR_U64, 1, 1);
	if (in) {
		in->type2 = IR_U32;
		in->dst[0] = r;
		in->src[0] = v;
	}
	return r;
}

static ir_reg scaled(struct lower *l, const struct fragment *f, ir_reg r, unsigned int bits)
{
	if (bits >= 8)
		return emit(l, IR_mul, f->address, reg(r), imm(bits / 8));
	return emit(l, IR_shr, f->address, reg(r), imm(bits == 4 ? 1 : 3));
}

static bool start(struct lower *l, struct fragment *f, const struct ptx_opd *mem, struct ir_operand stride, bool given)
{
	struct ir_operand at[2];
	ir_reg base, lane, row, across;

	if (!lower_address(l, mem, given, at, &f->space))
		return false;
	if (f->space != IR_GENERIC && f->space != IR_GLOBAL && f->space != IR_SHARED) {
		lower_refuse(l, "matrices in this state space are not supported");
		return false;
	}
	f->offset = (int64_t)at[1].imm;
	if (at[0].kind == IR_OPD_REG)
		base = at[0].reg;
	else if (at[0].kind == IR_OPD_VAR && f->space != IR_SHARED)
		base = emit(l, IR_mov, IR_U64, at[0], none);
	else
		base = emit(l, IR_mov, f->space == IR_SHARED ? IR_U32 : IR_U64, at[0], none);
	if (lower_stopped(l))
		return false;
	f->address = ir_type_bits(l->fn->reg_type[base]) == 32 ? IR_U32 : IR_U64;
	f->stride = scaled(l, f, widened(l, f, stride), f->bits);
	lane = emit(l, IR_mov, IR_U32, (struct ir_operand){ .kind = IR_OPD_SREG, .reg = IR_NO_REG, .index = IR_SREG_LANEID }, none);
	row = widened(l, f, reg(emit(l, IR_shr, IR_U32, reg(lane), imm(2))));
	across = widened(l, f, reg(emit(l, IR_mul, IR_U32, reg(emit(l, IR_and, IR_B32, reg(lane), imm(3))), imm(f->per_reg))));
	f->base = emit(l, IR_mul, f->address, reg(f->by_rows ? row : across), reg(f->stride));
	f->base = emit(l, IR_add, f->address, reg(f->base), reg(base));
	f->base = emit(l, IR_add, f->address, reg(f->base), reg(scaled(l, f, f->by_rows ? across : row, f->bits)));
	for (unsigned int i = 0; i < 64; i++)
		f->line[i] = IR_NO_REG;
	return !lower_stopped(l);
}

/* A load or store of `nr` values of `type` at an element of the lane, given by its distance from the lane's first. */
static struct ir_insn *access(struct lower *l, struct fragment *f, bool store, enum ir_type type, unsigned int row,
			      unsigned int across, unsigned int nr)
{
	ir_reg line = line_of(l, f, f->by_rows ? row : across);
	struct ir_insn *in = lower_emit(l, store ? IR_st : IR_ld, type, store ? 0 : nr, store ? 2 + nr : 2);

	if (!in)
		return NULL;
	in->space = (uint8_t)f->space;
	in->src[0] = reg(line);
	in->src[1] = imm((uint64_t)(f->offset + (f->by_rows ? across : row) * f->bits / 8));
	return in;
}

/* One register, or of a sum wider than f16 two. */
static void move_registers(struct lower *l, struct fragment *f, bool store, unsigned int row, unsigned int across, ir_reg *r)
{
	unsigned int nr_regs = f->is_sum && f->bits >= 32 ? 2 : 1, nr = f->per_reg;
	enum ir_type whole = f->bits == 64 ? IR_B64 : IR_B32, each = f->bits == 8 ? IR_U8 : IR_B16;
	struct ir_insn *in;
	ir_reg half[4];

	if (f->by_rows) {
		in = access(l, f, store, whole, row, across, nr_regs);
		for (unsigned int i = 0; in && i < nr_regs; i++) {
			if (store)
				in->src[2 + i] = reg(r[i]);
			else
				in->dst[i] = r[i];
		}
		return;
	}
	if (f->bits >= 32) {
		for (unsigned int i = 0; i < nr_regs; i++) {
			in = access(l, f, store, whole, row, across + i, 1);
			if (in && store)
				in->src[2] = reg(r[i]);
			else if (in)
				in->dst[0] = r[i];
		}
		return;
	}
	for (unsigned int i = 0; i < nr; i++)
		half[i] = lower_reg(l, IR_B16);
	if (store) {
		in = lower_emit(l, IR_unpack, IR_B32, nr, 1);
		if (in) {
			in->src[0] = reg(r[0]);
			memcpy(in->dst, half, nr * sizeof(*half));
		}
	}
	for (unsigned int i = 0; i < nr; i++) {
		in = access(l, f, store, each, row, across + i, 1);
		if (in && store)
			in->src[2] = reg(half[i]);
		else if (in)
			in->dst[0] = half[i];
	}
	if (store)
		return;
	in = lower_emit(l, IR_pack, IR_B32, 1, nr);
	if (!in)
		return;
	in->dst[0] = r[0];
	for (unsigned int i = 0; i < nr; i++)
		in->src[i] = reg(half[i]);
}

/* Tiles of 8 rows in the order of ir_mma.h. */
static void move_tiles(struct lower *l, struct fragment *f, bool store, bool is_b, ir_reg *r)
{
	unsigned int pair = !is_b && f->rows > 8 ? 2 : 1, step = f->is_sum ? 8 : 4 * f->per_reg, at = 0;

	for (unsigned int row = 0; row < f->rows; row += 8 * pair)
		for (unsigned int across = 0; across < f->across; across += step)
			for (unsigned int i = 0; i < pair; i++) {
				move_registers(l, f, store, row + 8 * i, across, r + at);
				at += f->is_sum && f->bits >= 32 ? 2 : 1;
			}
}

static bool describe(struct lower *l, const struct words *w, struct fragment *f)
{
	enum ptx_word which = w->matrix;
	bool found = false, is_sum = which == PTX_W_c || which == PTX_W_d;
	int elem;
	enum ir_type sum;

	if (w->nr_types != 1 || w->nr_layouts != 1 || which == PTX_W_NONE || !w->k || w->satfinite || w->is_trans || w->number ||
	    w->is_popc || w->bit_op) {
		lower_bad(l, NULL, "expected a matrix, its layout, its shape and one type");
		return false;
	}
	elem = elem_of(w->type[0]);
	sum = sum_type(w->type[0]);
	for (unsigned int i = 0; i < IR_MMA_COUNT && !found; i++) {
		const struct ir_mma_desc *d = &ir_mma_desc[i];

		if (d->m != w->m || d->n != w->n || d->k != w->k || !is_form_of(d, true))
			continue;
		found = is_sum ? ir_mma_allows(d, sum) : d->a == elem;
		if (!found)
			continue;
		f->nr = is_sum ? ir_mma_regs_c(d, sum) : which == PTX_W_a ? ir_mma_regs_a(d) : ir_mma_regs_b(d);
	}
	if (!found) {
		lower_refuse(l, "a matrix of this shape and type is not supported");
		return false;
	}
	f->is_sum = is_sum;
	f->bits = is_sum ? sum == IR_F16X2 ? 16 : sum == IR_F64 ? 64 : 32 : ir_elem_bits((enum ir_elem)elem);
	f->per_reg = is_sum ? 2 : f->bits == 64 ? 1 : 32 / f->bits;
	f->nr_given = !is_sum && elem == IR_ELEM_F16 ? 8 : f->nr;
	f->rows = which == PTX_W_b ? w->n : w->m;
	f->across = is_sum ? w->n : w->k;
	f->by_rows = w->is_col[0] == (which == PTX_W_b);
	f->space = w->space;
	if (f->bits < 8 && !f->by_rows) {
		lower_bad(l, NULL, "expected .row for A, .col for B");
		return false;
	}
	return true;
}

static void load_store(struct lower *l, const struct words *w, bool store)
{
	const struct ptx_opd *opd = l->in->opd, *regs = &opd[store], *mem = &opd[!store];
	struct fragment f = { 0 };
	struct ir_operand stride;
	ir_reg r[MAX_REGS];

	if (!describe(l, w, &f))
		return;
	if (store != (w->matrix == PTX_W_d)) {
		lower_bad(l, NULL, "'.%s' is not the matrix to %s", ptx_word_text(w->matrix), store ? "store" : "load");
		return;
	}
	if (l->in->nr_opds < 2 || l->in->nr_opds > 3) {
		lower_bad(l, NULL, "expected 2 to 3 operands, found %u", l->in->nr_opds);
		return;
	}
	if (!matrix_operand(l, store, f.nr_given))
		return;
	all_lanes(l);
	/* Not said: the lines lie one behind the other. */
	stride = l->in->nr_opds == 3 ? lower_get(l, &opd[2], IR_U32) : imm(f.by_rows ? f.across : f.rows);
	for (unsigned int i = 0; i < f.nr_given; i++) {
		if (!store) {
			r[i] = lower_put(l, part(regs, i), f.bits == 64 ? IR_B64 : IR_B32);
		} else {
			struct ir_operand v = lower_get(l, part(regs, i), f.bits == 64 ? IR_B64 : IR_B32);

			r[i] = v.kind == IR_OPD_REG ? v.reg : emit(l, IR_mov, f.bits == 64 ? IR_B64 : IR_B32, v, none);
		}
	}
	if (lower_stopped(l) || !start(l, &f, mem, stride, w->has_space))
		return;
	move_tiles(l, &f, store, w->matrix == PTX_W_b, r);
	for (unsigned int i = f.nr; i < f.nr_given; i++) {
		struct ir_insn *in = lower_emit(l, IR_mov, IR_B32, 1, 1);

		if (in) {
			in->dst[0] = r[i];
			in->src[0] = reg(r[i % f.nr]);
		}
	}
}

void lower_wmma(struct lower *l)
{
	struct words w;

	if (!read_words(l, &w))
		return;
	if (is_word(l, PTX_W_mma))
		product(l, &w, true);
	else if (is_word(l, PTX_W_load) || is_word(l, PTX_W_store))
		load_store(l, &w, is_word(l, PTX_W_store));
	else
		lower_bad(l, NULL, "expected .load, .store or .mma");
}

/* ---- matrices of 8 rows of 16 bytes ---- */

static ir_reg transposed(struct lower *l, struct ir_operand v, ir_reg d)
{
	struct ir_insn *in = lower_emit(l, IR_movmatrix, IR_NONE, 1, 1);

	if (in) {
		in->dst[0] = d;
		in->src[0] = v;
	}
	return d;
}

static bool is_m8n8(struct lower *l, const struct words *w, bool numbered)
{
	if (w->m != 8 || w->n != 8 || w->k || w->nr_types != 1 || w->type[0] != PTX_W_b16 || (w->number != 0) != numbered ||
	    w->nr_layouts || w->matrix || w->satfinite || w->bit_op || w->is_popc || (w->has_space && w->space != IR_SHARED)) {
		lower_refuse(l, "this form is not supported");
		return false;
	}
	return true;
}

static void move_matrix(struct lower *l, bool store)
{
	struct words w;
	const struct ptx_opd *regs = &l->in->opd[store];
	struct ir_operand at[2], v[4];
	ir_reg d[4];
	struct ir_insn *in;
	enum ir_space space;

	if (!read_words(l, &w) || !is_m8n8(l, &w, true))
		return;
	if (l->in->nr_opds != 2) {
		lower_bad(l, NULL, "expected 2 operands, found %u", l->in->nr_opds);
		return;
	}
	space = w.space;
	if (!matrix_operand(l, store, w.number) || !lower_address(l, &l->in->opd[!store], w.has_space, at, &space))
		return;
	all_lanes(l);
	for (unsigned int i = 0; i < w.number; i++) {
		if (store) {
			v[i] = lower_get(l, part(regs, i), IR_B32);
			if (w.is_trans)
				v[i] = reg(transposed(l, v[i], lower_reg(l, IR_B32)));
		} else {
			d[i] = lower_put(l, part(regs, i), IR_B32);
		}
	}
	in = lower_emit(l, store ? IR_stmatrix : IR_ldmatrix, IR_NONE, store ? 0 : w.number, store ? 2 + w.number : 2);
	if (!in)
		return;
	in->space = (uint8_t)space;
	memcpy(in->src, at, sizeof(at));
	if (store)
		memcpy(in->src + 2, v, w.number * sizeof(*v));
	else
		memcpy(in->dst, d, w.number * sizeof(*d));
	for (unsigned int i = 0; !store && w.is_trans && i < w.number; i++)
		transposed(l, reg(d[i]), d[i]);
}

void lower_ldmatrix(struct lower *l) { move_matrix(l, false); }

void lower_stmatrix(struct lower *l) { move_matrix(l, true); }

void lower_movmatrix(struct lower *l)
{
	struct words w;
	struct ir_operand v;

	if (!read_words(l, &w) || !is_m8n8(l, &w, false))
		return;
	if (!w.is_trans || w.has_space || l->in->nr_opds != 2) {
		lower_bad(l, NULL, "expected .trans and two registers");
		return;
	}
	all_lanes(l);
	v = lower_get(l, &l->in->opd[1], IR_B32);
	transposed(l, v, lower_put(l, &l->in->opd[0], IR_B32));
}
