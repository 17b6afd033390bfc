/* emit_matrix.c - products of matrices that lie in the registers of a warp, and how these get there. */
#include "translate/emit.h"

#include <stddef.h>

#include "translate/cpu_rt.h"
#include "translate/ir_mma.h"

/* Operands first…first + nr - 1 side by side in a buffer. */
static LLVMValueRef gather_operands(struct emit *e, unsigned int buf, unsigned int first, unsigned int nr, unsigned int bits)
{
	for (unsigned int i = 0; i < nr; i++)
		emit_store(e, emit_splat(e, emit_src(e, first + i, bits)),
			   emit_at(e, e->buf[buf], (uint64_t)i * HG_WARP * bits / 8), 64);
	return e->buf[buf];
}

static void set_results(struct emit *e, unsigned int buf, unsigned int bits)
{
	for (unsigned int i = 0; i < e->insn->nr_dst; i++)
		emit_set(e, i, emit_load(e, emit_int(e, bits), emit_at(e, e->buf[buf], (uint64_t)i * HG_WARP * bits / 8), 64));
}

static void mma(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	const struct ir_mma_desc *d = &ir_mma_desc[in->sub];
	unsigned int bits = in->type == IR_F64 ? 64 : 32, a = ir_mma_regs_a(d), b = ir_mma_regs_b(d);
	LLVMValueRef args[5];

	args[0] = emit_i32(e, in->sub | (uint32_t)in->type << 8 | (uint32_t)in->type2 << 16 |
			   (in->flags & IR_SATFINITE ? UINT32_C(1) << 24 : 0));
	args[1] = gather_operands(e, 0, 0, a, bits);
	args[2] = gather_operands(e, 1, a, b, bits);
	args[3] = gather_operands(e, 2, a + b, in->nr_src - a - b, bits);
	args[4] = e->buf[3];
	emit_rt(e, offsetof(struct hg_cpu_rt, mma), NULL, args, 5);
	set_results(e, 3, bits);
}

/* Addresses of the lanes that have a row, into args[0] and args[1]. */
static void rows(struct emit *e, unsigned int nr, LLVMValueRef *args)
{
	args[1] = LLVMBuildAnd(e->b, emit_active(e), emit_i32(e, nr == 4 ? UINT32_MAX : (UINT32_C(1) << 8 * nr) - 1), "");
	args[0] = emit_address(e, args[1], 16);
	args[3] = emit_i32(e, nr);
	args[4] = emit_i32(e, e->insn->line);
}

static void ldmatrix(struct emit *e)
{
	LLVMValueRef args[5];

	rows(e, e->insn->nr_dst, args);
	args[2] = e->buf[1];
	emit_rt(e, offsetof(struct hg_cpu_rt, ldmatrix), NULL, args, 5);
	set_results(e, 1, 32);
}

static void stmatrix(struct emit *e)
{
	LLVMValueRef args[5];

	rows(e, e->insn->nr_src - 2u, args);
	args[2] = gather_operands(e, 1, 2, e->insn->nr_src - 2u, 32);
	emit_rt(e, offsetof(struct hg_cpu_rt, stmatrix), NULL, args, 5);
}

/* Lane after lane the register is the matrix, row after row. */
static void movmatrix(struct emit *e)
{
	LLVMTypeRef halves = LLVMVectorType(emit_scalar_int(e, 16), 64);
	LLVMValueRef v = LLVMBuildBitCast(e->b, emit_splat(e, emit_src(e, 0, 32)), halves, ""), from[64];

	for (uint32_t i = 0; i < 64; i++)
		from[i] = emit_i32(e, i % 8 * 8 + i / 8);
	v = LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(halves), LLVMConstVector(from, 64), "");
	emit_set(e, 0, LLVMBuildBitCast(e->b, v, emit_int(e, 32), ""));
}

bool emit_matrix(struct emit *e)
{
	switch (e->insn->op) {
	case IR_mma: mma(e); return true;
	case IR_ldmatrix: ldmatrix(e); return true;
	case IR_stmatrix: stmatrix(e); return true;
	case IR_movmatrix: movmatrix(e); return true;
	default: return false;
	}
}
