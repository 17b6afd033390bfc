/* ir_mma.h - the matrix products that hgIR's mma knows, and where a matrix lies in the registers of a warp. */
#ifndef HG_TRANSLATE_IR_MMA_H
#define HG_TRANSLATE_IR_MMA_H

#include "translate/ir.h"

/*
 * D = A * B + C, where A has m rows and k columns, B k rows and n columns.
 *
 * IR_MMA_TILES. A register of all 32 lanes holds a tile: of A 8 rows and 4 * p columns, where p elements fit in a register
 * (32 bits, the lowest element first; 64 bits of f64). Lane l has row l / 4 and the columns from p * (l % 4) on. Of B a register
 * holds 8 columns and 4 * p rows, and lane l column l / 4 and the rows from p * (l % 4) on. Of C and D 8 rows
 * and 8 columns: lane l has row l / 4 and the columns 2 * (l % 4) and the next, in two registers, or of f16 in one.
 * The tiles of A stand in this order: 16 rows after the other, of these the columns from left to right, of these the upper tile first.
 * Of B: 8 columns after the other, of these the rows from the top. Of C: 16 rows after the other, of these the columns from
 * left to right, of these the upper tile first. PTX gives its mma this layout; its wmma leaves it open, and has the same here.
 *
 * IR_MMA_QUADS. Four products at once. Lanes l and l + 16 belong to product l / 4 % 4; h is l / 16. A by rows: lane l has row l % 4 + 4 * h;
 * by columns: column l % 4, and the rows from 4 * h on. B by columns: column l % 4 + 4 * h; by rows: row
 * l % 4 and the columns from 4 * h on. Of C in f16 lane l has row l % 4 + 4 * h; in f32 element i is in row
 * (l & 1) + (i & 2) + 4 * h and column (i & 1) + (l & 2) + (i & 4).
 */
enum ir_mma_kind { IR_MMA_TILES, IR_MMA_QUADS, IR_MMA_XOR, IR_MMA_AND };

enum ir_elem {
	IR_ELEM_F64, IR_ELEM_TF32, IR_ELEM_BF16, IR_ELEM_F16, IR_ELEM_S8, IR_ELEM_U8, IR_ELEM_S4, IR_ELEM_U4, IR_ELEM_B1,
	IR_ELEM_E4M3, IR_ELEM_E5M2,
};

enum ir_mma {
#define IR_MMA(name, m, n, k, a, b, kind) IR_MMA_##name,
#include "translate/ir_mma.def"
	IR_MMA_COUNT
};

struct ir_mma_desc {
	uint8_t m, n;
	uint16_t k;
	uint8_t a, b;		/* enum ir_elem */
	uint8_t kind;		/* enum ir_mma_kind */
};
extern const struct ir_mma_desc ir_mma_desc[IR_MMA_COUNT];
extern const char *const ir_mma_name[];		/* ends with NULL */

unsigned int ir_elem_bits(enum ir_elem e);
/* Registers of 32 bits (64 of f64) that hold the matrix in each lane. Type of C and D: IR_F16X2, IR_F32, IR_S32, IR_F64. */
unsigned int ir_mma_regs_a(const struct ir_mma_desc *d);
unsigned int ir_mma_regs_b(const struct ir_mma_desc *d);
unsigned int ir_mma_regs_c(const struct ir_mma_desc *d, enum ir_type type);
/* Whether the product may be added to, and given as, a matrix of this type. */
bool ir_mma_allows(const struct ir_mma_desc *d, enum ir_type type);

#endif
