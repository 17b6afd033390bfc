/* ir_mma.c - the table of matrix products. */
#include "translate/ir_mma.h"

const struct ir_mma_desc ir_mma_desc[IR_MMA_COUNT] = {
#define IR_MMA(name, m, n, k, a, b, kind) [IR_MMA_##name] = { m, n, k, IR_ELEM_##a, IR_ELEM_##b, IR_MMA_##kind },
#include "translate/ir_mma.def"
};

const char *const ir_mma_name[] = {
#define IR_MMA(name, m, n, k, a, b, kind) #name,
#include "translate/ir_mma.def"
	NULL
};

unsigned int ir_elem_bits(enum ir_elem e)
{
	switch (e) {
	case IR_ELEM_F64: return 64;
	case IR_ELEM_TF32: return 32;
	case IR_ELEM_BF16: case IR_ELEM_F16: return 16;
	case IR_ELEM_S4: case IR_ELEM_U4: return 4;
	case IR_ELEM_B1: return 1;
	default: return 8;
	}
}

/* Registers of all lanes together for so many elements; four products have four matrices. */
static unsigned int regs(const struct ir_mma_desc *d, unsigned int elems, unsigned int bits)
{
	return (d->kind == IR_MMA_QUADS ? 4 : 1) * elems * bits / (bits == 64 ? 64 : 32) / 32;
}

unsigned int ir_mma_regs_a(const struct ir_mma_desc *d)
{
	return regs(d, (unsigned int)d->m * d->k, ir_elem_bits(d->a));
}

unsigned int ir_mma_regs_b(const struct ir_mma_desc *d)
{
	return regs(d, (unsigned int)d->n * d->k, ir_elem_bits(d->b));
}

unsigned int ir_mma_regs_c(const struct ir_mma_desc *d, enum ir_type type)
{
	return regs(d, (unsigned int)d->m * d->n, type == IR_F64 ? 64 : type == IR_F16X2 ? 16 : 32);
}

bool ir_mma_allows(const struct ir_mma_desc *d, enum ir_type type)
{
	switch (d->a) {
	case IR_ELEM_F64: return type == IR_F64;
	case IR_ELEM_F16: case IR_ELEM_E4M3: case IR_ELEM_E5M2: return type == IR_F16X2 || type == IR_F32;
	case IR_ELEM_BF16: case IR_ELEM_TF32: return type == IR_F32;
	default: return type == IR_S32;
	}
}
