/*
 * expand_matrix.c - products of matrices by shuffles and plain arithmetic, and how matrices get into registers.
 *
 * The algorithm is that of the cpu target (translate/cpu_matrix.c says which), where the elements lie is in translate/ir_mma.h.
 */
#include "translate/expand_build.h"

#include <string.h>

#include "translate/ir_mma.h"

#define ALL_LANES expand_imm(UINT32_MAX)

/* The 32 bits of lane `from`; within groups of four lanes, or of all. */
static ir_reg shuffle(struct expand *x, struct ir_operand v, struct ir_operand from, bool in_four)
{
	struct lower *l = expand_lower(x);
	struct ir_insn *in;

	lower_split(l);
	in = lower_emit(l, IR_shfl, IR_B32, 1, 4);
	if (!in)
		return 0;
	in->sub = IR_SHFL_IDX;
	in->dst[0] = lower_reg(l, IR_B32);
	in->src[0] = v;
	in->src[1] = from;
	in->src[2] = expand_imm(in_four ? 0x1c1f : 0x1f);
	in->src[3] = ALL_LANES;
	return in->dst[0];
}

static void unpack(struct expand *x, enum ir_type type, struct ir_operand v, ir_reg *lo, ir_reg *hi)
{
	struct lower *l = expand_lower(x);
	struct ir_insn *in = lower_emit(l, IR_unpack, type, 2, 1);
	enum ir_type half = type == IR_B64 ? IR_B32 : IR_B16;

	if (!in)
		return;
	in->src[0] = v;
	*lo = in->dst[0] = lower_reg(l, half);
	*hi = in->dst[1] = lower_reg(l, half);
}

/* The same of a register of 64 bits. */
static ir_reg shuffle_any(struct expand *x, struct ir_operand v, struct ir_operand from, bool in_four, bool is_wide)
{
	struct lower *l = expand_lower(x);
	ir_reg lo = 0, hi = 0;

	if (!is_wide)
		return shuffle(x, v, from, in_four);
	unpack(x, IR_B64, v, &lo, &hi);
	lo = shuffle(x, expand_reg(lo), from, in_four);
	hi = shuffle(x, expand_reg(hi), from, in_four);
	return lower_op(l, IR_pack, IR_B64, IR_NO_REG, 2, (struct ir_operand[]){ expand_reg(lo), expand_reg(hi) });
}

static ir_reg and32(struct expand *x, struct ir_operand v, uint32_t mask)
{
	return EXPAND_OP(x, IR_and, IR_B32, v, expand_imm(mask));
}

static ir_reg add32(struct expand *x, ir_reg r, uint32_t n)
{
	return n ? EXPAND_OP(x, IR_add, IR_U32, expand_reg(r), expand_imm(n)) : r;
}

static ir_reg lane_id(struct expand *x)
{
	return EXPAND_OP(x, IR_mov, IR_U32, expand_sreg(IR_SREG_LANEID));
}

/* --- elements --- */
static ir_reg half_to_f32(struct expand *x, ir_reg half)
{
	return expand_cvt(x, IR_F32, IR_F16, expand_reg(half));
}

/* The elements of a register as f32 (of f64: that), the lowest first. */
static void spread(struct expand *x, enum ir_elem type, ir_reg r, ir_reg *out)
{
	struct ir_operand v = expand_reg(r);
	ir_reg lo = 0, hi = 0;

	switch (type) {
	case IR_ELEM_F64:
		out[0] = r;
		break;
	case IR_ELEM_TF32:
		out[0] = and32(x, v, 0xffffe000);
		break;
	case IR_ELEM_BF16:
		out[0] = EXPAND_OP(x, IR_shl, IR_B32, v, expand_imm(16));
		out[1] = and32(x, v, 0xffff0000);
		break;
	case IR_ELEM_F16:
		unpack(x, IR_B32, v, &lo, &hi);
		out[0] = half_to_f32(x, lo);
		out[1] = half_to_f32(x, hi);
		break;
	default:
		for (unsigned int i = 0; i < 4; i++) {
			struct ir_insn *in;

			lo = i ? EXPAND_OP(x, IR_shr, IR_U32, v, expand_imm(8 * i)) : r;
			in = lower_emit(expand_lower(x), IR_widen, IR_F32, 1, 1);
			if (!in)
				return;
			in->sub = type == IR_ELEM_E4M3 ? IR_FMT_E4M3 : IR_FMT_E5M2;
			in->src[0] = expand_reg(lo);
			out[i] = in->dst[0] = lower_reg(expand_lower(x), IR_B32);
		}
		break;
	}
}

static ir_reg fma_into(struct expand *x, enum ir_type type, ir_reg a, ir_reg b, ir_reg c)
{
	struct ir_insn *in = lower_emit(expand_lower(x), IR_fma, type, 1, 3);

	if (!in)
		return 0;
	in->rnd = IR_RN;
	in->src[0] = expand_reg(a);
	in->src[1] = expand_reg(b);
	in->src[2] = expand_reg(c);
	return in->dst[0] = lower_reg(expand_lower(x), type);
}

static ir_reg dot_bytes(struct expand *x, bool a_signed, bool b_signed, ir_reg a, ir_reg b, struct ir_operand c)
{
	struct ir_insn *in = lower_emit(expand_lower(x), IR_dp4a, a_signed ? IR_S32 : IR_U32, 1, 3);

	if (!in)
		return 0;
	in->type2 = b_signed ? IR_S32 : IR_U32;
	in->src[0] = expand_reg(a);
	in->src[1] = expand_reg(b);
	in->src[2] = c;
	return in->dst[0] = lower_reg(expand_lower(x), IR_B32);
}

/* Two f32 as a pair of halves. */
static void put_halves(struct expand *x, ir_reg dst, ir_reg lo, ir_reg hi)
{
	struct ir_insn *in = lower_emit(expand_lower(x), IR_cvt, IR_F16X2, 1, 2);

	if (!in)
		return;
	in->type2 = IR_F32;
	in->rnd = IR_RN;
	in->dst[0] = dst;
	in->src[0] = expand_reg(hi);
	in->src[1] = expand_reg(lo);
}

/* --- products of tiles --- */
struct product {
	const struct ir_mma_desc *d;
	enum ir_type type, type_c;
	bool clamp, is_float;
	unsigned int bits, per, nr_k, nr_n, nr_m, pair;	/* per: elements of a register, or words of 4-bit elements: 2 */
	/* of each register of A, and lane of the four: what it has; of B likewise, for both columns */
	ir_reg (*a)[4][4], (*b)[2][4][4];
};

static bool is_signed(unsigned int elem)
{
	return elem == IR_ELEM_S8 || elem == IR_ELEM_S4;
}

static void take_apart(struct expand *x, const struct product *p, ir_reg r, ir_reg *out)
{
	switch ((enum ir_elem)p->d->a) {
	case IR_ELEM_S8: case IR_ELEM_U8: case IR_ELEM_B1:
		out[0] = r;
		break;
	case IR_ELEM_S4: case IR_ELEM_U4:
		/* in the upper halves of bytes: sixteen times what they are, with their sign */
		out[0] = and32(x, expand_reg(EXPAND_OP(x, IR_shl, IR_B32, expand_reg(r), expand_imm(4))), 0xf0f0f0f0);
		out[1] = and32(x, expand_reg(r), 0xf0f0f0f0);
		break;
	default:
		break;
	}
}

static void gather(struct expand *x, struct product *p, const ir_reg *a, const ir_reg *b)
{
	bool wide = p->bits == 64;
	ir_reg base = EXPAND_OP(x, IR_shl, IR_B32, expand_reg(and32(x, expand_reg(lane_id(x)), 3)), expand_imm(3)), from[2][4];

	/* column c of B lies in the lanes from 4 * c on, and a lane has the columns 2 * (lane % 4) and the next */
	for (unsigned int i = 0; i < 8; i++)
		from[i / 4][i % 4] = add32(x, base, i);
	for (unsigned int t = 0; t < ir_mma_regs_a(p->d); t++)
		for (unsigned int j = 0; j < 4; j++) {
			ir_reg r = shuffle_any(x, expand_reg(a[t]), expand_imm(j), true, wide);

			if (p->is_float)
				spread(x, p->d->a, r, p->a[t][j]);
			else
				take_apart(x, p, r, p->a[t][j]);
		}
	for (unsigned int t = 0; t < ir_mma_regs_b(p->d); t++)
		for (unsigned int i = 0; i < 8; i++) {
			ir_reg r = shuffle_any(x, expand_reg(b[t]), expand_reg(from[i / 4][i % 4]), false, wide);

			if (p->is_float)
				spread(x, p->d->b, r, p->b[t][i / 4][i % 4]);
			else
				take_apart(x, p, r, p->b[t][i / 4][i % 4]);
		}
}

/* One more product of elements, or of a register of small ones. */
static ir_reg step(struct expand *x, const struct product *p, ir_reg a, ir_reg b, struct ir_operand sum)
{
	enum ir_op bits = p->d->kind == IR_MMA_XOR ? IR_xor : IR_and;
	struct ir_insn *in;

	if (p->is_float)
		return fma_into(x, p->bits == 64 ? IR_F64 : IR_F32, a, b, sum.reg);
	if (p->d->a != IR_ELEM_B1)
		return dot_bytes(x, is_signed(p->d->a), is_signed(p->d->b), a, b, sum);
	a = EXPAND_OP(x, bits, IR_B32, expand_reg(a), expand_reg(b));
	in = lower_emit(expand_lower(x), IR_popc, IR_B32, 1, 1);
	if (!in)
		return 0;
	in->src[0] = expand_reg(a);
	a = in->dst[0] = lower_reg(expand_lower(x), IR_B32);
	return EXPAND_OP(x, IR_add, IR_U32, expand_reg(a), sum);
}

/* An integer sum, and C's element. */
static void put_int(struct expand *x, const struct product *p, ir_reg sum, ir_reg c, ir_reg dst)
{
	bool is_small = p->d->a == IR_ELEM_S4 || p->d->a == IR_ELEM_U4;
	struct ir_insn *in;

	if (is_small)	/* both factors were sixteen times what they are */
		sum = EXPAND_OP(x, IR_shr, IR_S32, expand_reg(sum), expand_imm(8));
	in = lower_emit(expand_lower(x), IR_add, IR_S32, 1, 2);
	if (!in)
		return;
	in->flags = p->clamp ? IR_SAT : 0;
	in->dst[0] = dst;
	in->src[0] = expand_reg(sum);
	in->src[1] = expand_reg(c);
}

static void multiply_tile(struct expand *x, const struct product *p, unsigned int m, unsigned int n, const ir_reg *c, const ir_reg *d)
{
	unsigned int tile = (m / p->pair * p->nr_n + n) * p->pair + m % p->pair;
	ir_reg sum[2] = { 0 }, first[2] = { 0 };

	if (p->type_c == IR_F16X2)
		spread(x, IR_ELEM_F16, c[tile], first);
	else
		for (unsigned int i = 0; i < 2; i++)
			first[i] = c[2 * tile + i];
	for (unsigned int i = 0; i < 2; i++) {
		struct ir_operand acc = p->is_float ? expand_reg(first[i]) : expand_imm(0);

		for (unsigned int k = 0; k < p->nr_k; k++)
			for (unsigned int j = 0; j < 4; j++)
				for (unsigned int e = 0; e < p->per; e++)
					acc = expand_reg(step(x, p, p->a[(m / p->pair * p->nr_k + k) * p->pair + m % p->pair][j][e],
							      p->b[n * p->nr_k + k][i][j][e], acc));
		sum[i] = acc.reg;
	}
	if (p->type == IR_F16X2) {
		put_halves(x, d[tile], sum[0], sum[1]);
		return;
	}
	for (unsigned int i = 0; i < 2; i++) {
		if (p->is_float)
			expand_mov(x, d[2 * tile + i], expand_reg(sum[i]));
		else
			put_int(x, p, sum[i], first[i], d[2 * tile + i]);
	}
}

static void tiles(struct expand *x, struct product *p, const ir_reg *in, const ir_reg *out)
{
	struct hg_pool *tmp = expand_lower(x)->tmp;
	unsigned int elem = ir_elem_bits(p->d->a), nr_a = ir_mma_regs_a(p->d), nr_b = ir_mma_regs_b(p->d);

	p->bits = elem == 64 ? 64 : 32;
	p->is_float = p->type != IR_S32;
	p->per = p->is_float ? p->bits / elem : elem == 4 ? 2 : 1;
	p->nr_k = p->d->k / (elem == 64 ? 4 : 128 / elem);
	p->nr_n = p->d->n / 8;
	p->nr_m = p->d->m / 8;
	p->pair = p->nr_m > 1 ? 2 : 1;
	p->a = hg_pool_array(tmp, nr_a, sizeof(*p->a));
	p->b = hg_pool_array(tmp, nr_b, sizeof(*p->b));
	if (tmp->failed)
		return;
	gather(x, p, in, in + nr_a);
	for (unsigned int m = 0; m < p->nr_m; m++)
		for (unsigned int n = 0; n < p->nr_n; n++)
			multiply_tile(x, p, m, n, in + nr_a + nr_b, out);
}

/* --- four products of eight lanes each --- */
/* Of registers with two halves each, the half `at` (a number from 0 on, known) or at + step where `more` holds. */
static ir_reg pick(struct expand *x, const ir_reg *f32, unsigned int at, unsigned int step_by, ir_reg more)
{
	if (!step_by)
		return f32[at];
	return EXPAND_OP(x, IR_selp, IR_B32, expand_reg(f32[at + step_by]), expand_reg(f32[at]), expand_reg(more));
}

struct quads {
	ir_reg lane, odd, second;	/* second: bit 1 of the lane is set, odd: bit 0 */
	ir_reg four;			/* the lane without its lower two bits: product and half */
	ir_reg no_half;			/* the same of the half with the upper rows */
};

/* Four halves of a matrix, of lane `from`: f32[0…3]. */
static void fetch(struct expand *x, const ir_reg *reg, ir_reg from, ir_reg *f32)
{
	for (unsigned int r = 0; r < 2; r++) {
		ir_reg v = shuffle(x, expand_reg(reg[r]), expand_reg(from), false);

		spread(x, IR_ELEM_F16, v, f32 + 2 * r);
	}
}

/* Element lane % 4 of four, in the way of two bits. */
static ir_reg of_lane(struct expand *x, const struct quads *q, const ir_reg *f32)
{
	ir_reg even = pick(x, f32, 0, 2, q->second), odd = pick(x, f32, 1, 2, q->second);

	return EXPAND_OP(x, IR_selp, IR_B32, expand_reg(odd), expand_reg(even), expand_reg(q->odd));
}

/* Row r of A: four elements along k. The row's number is low + (what `lane4` says), in the half that `base` says. */
static void row_of_a(struct expand *x, const struct quads *q, bool by_rows, const ir_reg *a, ir_reg base, bool is_own, unsigned int plus, ir_reg *out)
{
	ir_reg all[4];

	/* own: row lane % 4; else (lane & 1) + plus */
	if (by_rows) {
		ir_reg row = is_own ? and32(x, expand_reg(q->lane), 3) : add32(x, and32(x, expand_reg(q->lane), 1), plus);

		fetch(x, a, EXPAND_OP(x, IR_add, IR_U32, expand_reg(base), expand_reg(row)), out);
		return;
	}
	for (unsigned int k = 0; k < 4; k++) {
		fetch(x, a, add32(x, base, k), all);
		out[k] = is_own ? of_lane(x, q, all) : pick(x, all, plus, 1, q->odd);
	}
}

/* Column of B: c < 8, known, or c + 2 in lanes whose bit 1 is set (is_moved). */
static void column_of_b(struct expand *x, const struct quads *q, bool by_rows, const ir_reg *b, unsigned int c, bool is_moved, ir_reg *out)
{
	ir_reg base = add32(x, q->no_half, c / 4 * 16), all[4], col;

	if (!by_rows) {
		col = is_moved ? EXPAND_OP(x, IR_add, IR_U32, expand_reg(base), expand_reg(and32(x, expand_reg(q->lane), 2))) : base;
		fetch(x, b, add32(x, col, c % 4), out);
		return;
	}
	for (unsigned int k = 0; k < 4; k++) {
		fetch(x, b, add32(x, base, k), all);
		out[k] = pick(x, all, c % 4, is_moved ? 2 : 0, q->second);
	}
}

static ir_reg sum_of(struct expand *x, const ir_reg *a, const ir_reg *b, ir_reg sum)
{
	for (unsigned int k = 0; k < 4; k++)
		sum = fma_into(x, IR_F32, a[k], b[k], sum);
	return sum;
}

static ir_reg predicate(struct expand *x, ir_reg lane, uint32_t bit)
{
	return expand_compare(x, IR_NE, IR_U32, expand_reg(and32(x, expand_reg(lane), bit)), expand_imm(0));
}

static void quads(struct expand *x, const struct product *p, enum ir_mma form, const ir_reg *in, const ir_reg *out)
{
	bool a_rows = form == IR_MMA_m8n8k4_row_row || form == IR_MMA_m8n8k4_row_col;
	bool b_rows = form == IR_MMA_m8n8k4_row_row || form == IR_MMA_m8n8k4_col_row;
	bool d_half = p->type == IR_F16X2, c_half = p->type_c == IR_F16X2;
	const ir_reg *a = in, *b = in + 2, *c = in + 4;
	ir_reg row[2][4], col[8][4], first[8] = { 0 }, sum[8];
	struct quads q = { .lane = lane_id(x) };

	q.odd = predicate(x, q.lane, 1);
	q.second = predicate(x, q.lane, 2);
	q.four = and32(x, expand_reg(q.lane), 0x1c);
	q.no_half = and32(x, expand_reg(q.lane), 0x0c);
	/* f16: row lane % 4 of the half, columns 0 to 7; f32: rows (lane & 1) + 0 and 2, columns (lane & 2) + 0, 1, 4, 5 */
	if (d_half) {
		row_of_a(x, &q, a_rows, a, q.four, true, 0, row[0]);
		for (unsigned int i = 0; i < 8; i++)
			column_of_b(x, &q, b_rows, b, i, false, col[i]);
	} else {
		for (unsigned int i = 0; i < 2; i++)
			row_of_a(x, &q, a_rows, a, q.four, false, 2 * i, row[i]);
		for (unsigned int i = 0; i < 4; i++)
			column_of_b(x, &q, b_rows, b, (i & 1) + (i & 2) * 2, true, col[i]);
	}
	if (c_half && d_half) {
		for (unsigned int r = 0; r < 4; r++)
			spread(x, IR_ELEM_F16, c[r], first + 2 * r);
	} else if (c_half) {
		/* element i: row (lane & 1) + (i & 2), column (i & 1) + (lane & 2) + (i & 4) of the lane with that row */
		for (unsigned int r = 0; r < 2; r++) {
			ir_reg from = add32(x, EXPAND_OP(x, IR_add, IR_U32, expand_reg(q.four), expand_reg(and32(x, expand_reg(q.lane), 1))), 2 * r);
			ir_reg all[8];

			fetch(x, c, from, all);
			fetch(x, c + 2, from, all + 4);
			for (unsigned int i = 0; i < 4; i++)
				first[2 * r + (i & 1) + (i & 2) * 2] = pick(x, all, (i & 1) + (i & 2) * 2, 2, q.second);
		}
	} else if (d_half) {
		/* row lane % 4, column i: of lane (row & 1) + (i & 2), its element (i & 1) + (row & 2) + (i & 4) */
		for (unsigned int i = 0; i < 8; i++) {
			ir_reg from = add32(x, EXPAND_OP(x, IR_add, IR_U32, expand_reg(q.four), expand_reg(and32(x, expand_reg(q.lane), 1))), i & 2), both[2];

			for (unsigned int k = 0; k < 2; k++)
				both[k] = shuffle(x, expand_reg(c[(i & 5) + 2 * k]), expand_reg(from), false);
			first[i] = pick(x, both, 0, 1, q.second);
		}
	} else {
		for (unsigned int i = 0; i < 8; i++)
			first[i] = c[i];
	}
	for (unsigned int i = 0; i < 8; i++)
		sum[i] = d_half ? sum_of(x, row[0], col[i], first[i]) : sum_of(x, row[i >> 1 & 1], col[(i & 1) | (i >> 1 & 2)], first[i]);
	for (unsigned int i = 0; i < 8; i++) {
		if (!d_half)
			expand_mov(x, out[i], expand_reg(sum[i]));
		else if (i % 2)
			put_halves(x, out[i / 2], sum[i - 1], sum[i]);
	}
}

static void write_product(struct expand *x, const struct expand_body *b, const ir_reg *in, const ir_reg *out)
{
	struct product p = { .d = &ir_mma_desc[b->arg[0]], .type = b->arg[1], .type_c = b->arg[2], .clamp = b->arg[3] };

	if (p.d->kind == IR_MMA_QUADS)
		quads(x, &p, b->arg[0], in, out);
	else
		tiles(x, &p, in, out);
}

static void mma(struct expand *x, const struct ir_insn *in)
{
	struct expand_body b = { .write = write_product, .nr_in = in->nr_src, .nr_out = in->nr_dst,
				 .arg = { in->sub, in->type, in->type2, in->flags & IR_SATFINITE } };
	uint8_t class = in->type == IR_F64 ? IR_B64 : IR_B32;

	if (in->nr_src > EXPAND_MAX_IO || in->nr_dst > EXPAND_MAX_IO) {
		lower_refuse(expand_lower(x), "a matrix of more registers than there are");
		return;
	}
	memset(b.in, class, sizeof(b.in));
	memset(b.out, class, sizeof(b.out));
	expand_call(x, &b, in->src, in->dst);
}

/* --- matrices from and to memory --- */
/* Where the lane's elements of the i-th matrix are: row lane / 4, whose address lane 8 * i + that has. */
static struct ir_operand place(struct expand *x, const struct ir_insn *in, ir_reg lane, unsigned int i)
{
	struct lower *l = expand_lower(x);
	struct ir_operand at = in->src[0];
	bool wide = at.kind == IR_OPD_VAR || (at.kind == IR_OPD_REG ? l->fn->reg_type[at.reg] == IR_B64 : in->space != IR_SHARED);
	ir_reg row = add32(x, EXPAND_OP(x, IR_shr, IR_U32, expand_reg(lane), expand_imm(2)), 8 * i), r;
	ir_reg bytes = EXPAND_OP(x, IR_shl, IR_B32, expand_reg(and32(x, expand_reg(lane), 3)), expand_imm(2));

	if (at.kind != IR_OPD_REG)
		at = expand_reg(EXPAND_OP(x, IR_mov, wide ? IR_U64 : IR_U32, at));
	r = shuffle_any(x, at, expand_reg(row), false, wide);
	if (wide)
		bytes = expand_cvt(x, IR_U64, IR_U32, expand_reg(bytes));
	return expand_reg(EXPAND_OP(x, IR_add, wide ? IR_U64 : IR_U32, expand_reg(r), expand_reg(bytes)));
}

static void ldmatrix(struct expand *x, const struct ir_insn *in)
{
	struct lower *l = expand_lower(x);
	struct ir_operand at[4];
	ir_reg lane = lane_id(x);

	/* all addresses first: a result may be in the address's register */
	for (unsigned int i = 0; i < in->nr_dst; i++)
		at[i] = place(x, in, lane, i);
	for (unsigned int i = 0; i < in->nr_dst; i++) {
		struct ir_insn *to = lower_emit(l, IR_ld, IR_B32, 1, 2);

		if (!to)
			return;
		to->space = in->space;
		to->dst[0] = in->dst[i];
		to->src[0] = at[i];
		to->src[1] = in->src[1];
	}
}

static void stmatrix(struct expand *x, const struct ir_insn *in)
{
	struct lower *l = expand_lower(x);
	ir_reg lane = lane_id(x);

	for (unsigned int i = 0; i + 2 < in->nr_src; i++) {
		struct ir_operand at = place(x, in, lane, i);
		struct ir_insn *to = lower_emit(l, IR_st, IR_B32, 0, 3);

		if (!to)
			return;
		to->space = in->space;
		to->src[0] = at;
		to->src[1] = in->src[1];
		to->src[2] = in->src[2 + i];
	}
}

/* The lane's two elements of the transposed matrix are in one column: of the lanes that have its rows, in the lower or the upper half. */
static void movmatrix(struct expand *x, const struct ir_insn *in)
{
	ir_reg lane = lane_id(x), from, upper, half[2], order;

	from = EXPAND_OP(x, IR_shl, IR_B32, expand_reg(and32(x, expand_reg(lane), 3)), expand_imm(3));
	from = EXPAND_OP(x, IR_add, IR_U32, expand_reg(from), expand_reg(EXPAND_OP(x, IR_shr, IR_U32, expand_reg(lane), expand_imm(3))));
	upper = predicate(x, lane, 4);
	order = EXPAND_OP(x, IR_selp, IR_B32, expand_imm(0x7632), expand_imm(0x5410), expand_reg(upper));
	for (unsigned int i = 0; i < 2; i++)
		half[i] = shuffle(x, in->src[0], expand_reg(add32(x, from, 4 * i)), false);
	expand_op(x, IR_prmt, IR_B32, in->dst[0], 3, (struct ir_operand[]){ expand_reg(half[0]), expand_reg(half[1]), expand_reg(order) });
}

const struct expand_rule expand_matrix_rules[] = {
	{ IR_mma, NULL, mma }, { IR_ldmatrix, NULL, ldmatrix }, { IR_stmatrix, NULL, stmatrix }, { IR_movmatrix, NULL, movmatrix },
	{ 0 },
};
