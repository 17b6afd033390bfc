/* simt_matrix.c - matrices in the registers of a warp: lanes tell each other what they have, and each makes its own part. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "tests/drivers/simt/simt_float.h"
#include "tests/drivers/simt/simt_ptx.h"
#include "translate/ir_mma.h"

enum { MEET_MATRIX = 0x600, LANES = 32, MAX_REGS = 32 };

/* Everybody's value. */
static void exchange(struct simt_item *self, uint64_t mine, uint64_t all[LANES])
{
	const uint64_t *values;
	uint64_t took = simt_meet(self, MEET_MATRIX, UINT32_MAX, mine, &values);

	for (unsigned int i = 0; i < LANES; i++)
		all[i] = took >> i & 1 ? values[i] : 0;
}

/* An element as it stands in a register. */
static uint64_t raw_element(uint64_t reg, unsigned int i, enum ir_elem t)
{
	unsigned int bits = ir_elem_bits(t);

	return bits == 64 ? reg : reg >> (i * bits) & ((UINT64_C(1) << bits) - 1);
}

/* As bits of an f32; integers as they are. */
static uint64_t element(uint64_t v, enum ir_elem t)
{
	float f;
	uint32_t bits;

	switch (t) {
	case IR_ELEM_TF32: return v & ~UINT64_C(0x1fff);
	case IR_ELEM_BF16: return simt_float_cvt(SIMT_FLOAT_CODE(IR_BF16, IR_F32, IR_RN), v);
	case IR_ELEM_F16: return simt_float_cvt(SIMT_FLOAT_CODE(IR_F16, IR_F32, IR_RN), v);
	case IR_ELEM_E5M2: return simt_float_cvt(SIMT_FLOAT_CODE(IR_F16, IR_F32, IR_RN), v << 8);
	case IR_ELEM_E4M3:
		if ((v & 0x7f) == 0x7f)
			return simt_float_nan(IR_F32);
		f = v >> 3 & 15 ? ldexpf((float)(8 + (v & 7)), (int)(v >> 3 & 15) - 10) : ldexpf((float)(v & 7), -9);
		if (v & 0x80)
			f = -f;
		memcpy(&bits, &f, sizeof(bits));
		return bits;
	case IR_ELEM_S8: return (uint64_t)(int64_t)(int8_t)v;
	case IR_ELEM_S4: return v & 8 ? v - 16 : v;
	default: return v;
	}
}

struct place { unsigned int reg, lane, elem; };

/* Where an element of A is, or of B with rows and columns exchanged. */
static struct place find_factor(const struct ir_mma_desc *d, bool is_b, bool by_lines, unsigned int line, unsigned int k, unsigned int quad)
{
	unsigned int bits = ir_elem_bits(is_b ? d->b : d->a), per = bits == 64 ? 1 : 32 / bits, slab = k / (4 * per);
	unsigned int lines = is_b ? d->n : d->m, group, half;
	struct place p;

	if (d->kind == IR_MMA_QUADS) {
		unsigned int at = by_lines ? k : line % 4;

		p.lane = quad * 4 + (by_lines ? line % 4 : k) + (line >= 4 ? 16 : 0);
		p.reg = at / 2;
		p.elem = at % 2;
		return p;
	}
	p.lane = line % 8 * 4 + k % (4 * per) / per;
	p.elem = k % per;
	if (is_b || lines == 8) {
		p.reg = line / 8 * (d->k / (4 * per)) + slab;
		return p;
	}
	group = line / 16;
	half = line / 8 % 2;
	p.reg = group * (d->k / (4 * per)) * 2 + slab * 2 + half;
	return p;
}

/* Row and column of element i of C or D in a lane. */
static void find_sum(const struct ir_mma_desc *d, enum ir_type t, unsigned int lane, unsigned int i, unsigned int *row, unsigned int *col)
{
	unsigned int pair = d->m == 8 ? 1 : 2, tile = i / 2;

	if (d->kind == IR_MMA_QUADS) {
		*row = (t == IR_F16X2 ? lane % 4 : (lane & 1) + (i & 2)) + (lane >= 16 ? 4 : 0);
		*col = t == IR_F16X2 ? i : (lane & 2) + (i & 5);
		return;
	}
	*row = tile / (pair * (d->n / 8u)) * 16 + tile % pair * 8 + lane / 4;
	*col = tile / pair % (d->n / 8u) * 8 + lane % 4 * 2 + i % 2;
}

/* code: enum ir_mma | D's type << 8 | C's << 16 | saturate << 24; in: registers of A, B and C, out: of D */
void simt_mma(struct simt_item *self, uint32_t code, const uint64_t *in, uint64_t *out)
{
	const struct ir_mma_desc *d = &ir_mma_desc[code & 0xff];
	enum ir_type dt = code >> 8 & 0xff, ct = code >> 16 & 0xff;
	unsigned int nr_a = ir_mma_regs_a(d), nr_b = ir_mma_regs_b(d), nr_c = ir_mma_regs_c(d, ct), nr_d = ir_mma_regs_c(d, dt);
	unsigned int nr = nr_d * (dt == IR_F16X2 ? 2 : 1), quad = self->lane / 4 % 4;
	bool a_rows = (code & 0xff) == IR_MMA_m8n8k4_row_row || (code & 0xff) == IR_MMA_m8n8k4_row_col;
	bool b_cols = (code & 0xff) == IR_MMA_m8n8k4_row_col || (code & 0xff) == IR_MMA_m8n8k4_col_col;
	uint64_t all[MAX_REGS][LANES];
	unsigned int row, col, r, c;

	for (unsigned int i = 0; i < nr_a + nr_b + nr_c; i++)
		exchange(self, in[i], all[i]);
	memset(out, 0, nr_d * sizeof(*out));
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t sum = 0;
		int64_t whole;

		find_sum(d, dt, self->lane, i, &row, &col);
		/* C's layout is another one if its type is: look for the same element in all lanes */
		for (unsigned int lane = 0; lane < LANES; lane++)
			for (unsigned int j = 0; j < nr_c * (ct == IR_F16X2 ? 2 : 1); j++) {
				find_sum(d, ct, lane, j, &r, &c);
				if (r != row || c != col || (d->kind == IR_MMA_QUADS && lane / 4 % 4 != quad))
					continue;
				sum = all[nr_a + nr_b + (ct == IR_F16X2 ? j / 2 : j)][lane];
				if (ct == IR_F16X2)
					sum = element(sum >> (j % 2 * 16) & 0xffff, IR_ELEM_F16);
			}
		whole = (int32_t)sum;
		for (unsigned int k = 0; k < d->k; k++) {
			struct place pa = find_factor(d, false, a_rows, row, k, quad), pb = find_factor(d, true, b_cols, col, k, quad);
			uint64_t a = element(raw_element(all[pa.reg][pa.lane], pa.elem, d->a), d->a);
			uint64_t b = element(raw_element(all[nr_a + pb.reg][pb.lane], pb.elem, d->b), d->b);

			if (dt == IR_S32)
				whole += d->kind == IR_MMA_XOR ? (int64_t)(a ^ b) : d->kind == IR_MMA_AND ? (int64_t)(a & b) :
					 (int64_t)a * (int64_t)b;
			else
				sum = simt_float_op(SIMT_FLOAT_CODE(SIMT_FMA, dt == IR_F64 ? IR_F64 : IR_F32, IR_RN), a, b, sum);
		}
		if (dt == IR_S32)
			out[i] = (uint32_t)(!(code >> 24) ? whole : whole > INT32_MAX ? INT32_MAX : whole < INT32_MIN ? INT32_MIN : whole);
		else if (dt == IR_F16X2)
			out[i / 2] |= simt_float_cvt(SIMT_FLOAT_CODE(IR_F32, IR_F16, IR_RN), sum) << (i % 2 * 16);
		else
			out[i] = sum;
	}
}

/* The lane's part of its row; addresses of lanes that have no row do not count. */
static uint64_t row_address(struct simt_item *self, uint64_t addr, unsigned int matrix)
{
	uint64_t all[LANES], row;

	exchange(self, addr, all);
	row = all[8 * matrix + self->lane / 4];
	if (row % 16)
		simt_misaligned(self, row);
	return row + self->lane % 4 * 4;
}

/* Nobody goes on before all have done their part. */
static void all_done(struct simt_item *self)
{
	uint64_t all[LANES];

	exchange(self, 0, all);
}

/* The address is the kernel's: nobody else vouches for it. */
__attribute__((no_sanitize("address", "undefined")))
uint32_t simt_ldmatrix(struct simt_item *self, uint64_t addr, uint32_t matrix)
{
	uint32_t v = *(const volatile uint32_t *)(uintptr_t)row_address(self, addr, matrix);

	all_done(self);
	return v;
}

__attribute__((no_sanitize("address", "undefined")))
void simt_stmatrix(struct simt_item *self, uint64_t addr, uint32_t matrix, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)row_address(self, addr, matrix) = value;
	all_done(self);
}

uint32_t simt_movmatrix(struct simt_item *self, uint32_t value)
{
	unsigned int row = self->lane / 4, col = self->lane % 4 * 2;
	uint64_t all[LANES];
	uint32_t lo, hi;

	exchange(self, value, all);
	lo = all[col * 4 + row / 2] >> (row % 2 * 16) & 0xffff;
	hi = all[(col + 1) * 4 + row / 2] >> (row % 2 * 16) & 0xffff;
	return lo | hi << 16;
}
