/* spirv_call.c - calls in the dialect of spirv_write.h: OpenCL.std where its result is exactly defined, else spelt out. */
#include "translate/spirv_priv.h"

#include <spirv/unified1/OpenCL.std.h>
#include <string.h>

/* A call: its arguments' ids, and what they are. */
struct call {
	struct spv *s;
	LLVMValueRef insn;
	LLVMContextRef c;
	LLVMTypeRef type;		/* of the first argument */
	unsigned int bits;		/* of that */
	uint32_t t, result;		/* types: of the first argument, of the result */
	uint32_t arg[4];
	uint32_t n;			/* of the table's row */
};

static uint32_t k(struct call *a, uint64_t v)
{
	return spv_const(a->s, a->type, v);
}

static uint32_t bin(struct call *a, SpvOp op, uint32_t x, uint32_t y)
{
	return SPV_DO(a->s, op, a->t, x, y);
}

/* ---- spelt out ---- */

static uint32_t opencl(struct call *a)
{
	/* clz and ctz have an argument for LLVM's optimizer: their results of 0 are the width in both */
	size_t nr = a->n == OpenCLstd_Fma ? 3 : a->n == OpenCLstd_Clz || a->n == OpenCLstd_Ctz ? 1 : (size_t)LLVMGetNumArgOperands(a->insn);

	return spv_extended(a->s, a->result, a->n, a->arg, nr);
}

static uint32_t square_root(struct call *a)
{
	if (LLVMGetTypeKind(a->type) != LLVMDoubleTypeKind)
		return spv_refuse(a->s, "llvm.sqrt of less than double, which OpenCL does not round correctly");
	return opencl(a);
}

static uint32_t bit_count(struct call *a)
{
	return SPV_DO(a->s, SpvOpBitCount, a->result, a->arg[0]);
}

/* Of a NaN, too. */
static uint32_t absolute(struct call *a)
{
	LLVMTypeRef bits = LLVMIntTypeInContext(a->c, a->bits);
	uint32_t t = spv_type(a->s, bits), v = SPV_DO(a->s, SpvOpBitcast, t, a->arg[0]);

	v = SPV_DO(a->s, SpvOpBitwiseAnd, t, v, spv_const(a->s, bits, (UINT64_C(1) << (a->bits - 1)) - 1));
	return SPV_DO(a->s, SpvOpBitcast, a->t, v);
}

/* Halves, quarters, … change places. OpBitReverse is for shaders. */
static uint32_t bit_reverse(struct call *a)
{
	uint64_t mask = UINT64_MAX;
	uint32_t v = a->arg[0], up, down;

	for (unsigned int n = 32; n; n /= 2) {
		mask ^= mask << n;
		if (n >= a->bits)
			continue;
		down = bin(a, SpvOpBitwiseAnd, bin(a, SpvOpShiftRightLogical, v, k(a, n)), k(a, mask));
		up = bin(a, SpvOpShiftLeftLogical, bin(a, SpvOpBitwiseAnd, v, k(a, mask)), k(a, n));
		v = bin(a, SpvOpBitwiseOr, up, down);
	}
	return v;
}

/* A shift by the whole width is not defined: it is not used for the result. */
static uint32_t funnel(struct call *a)
{
	bool left = a->n;
	uint32_t n = bin(a, SpvOpBitwiseAnd, a->arg[2], k(a, a->bits - 1)), rest, hi, lo, is_0;

	is_0 = SPV_DO(a->s, SpvOpIEqual, spv_bool(a->s), n, k(a, 0));
	rest = bin(a, SpvOpBitwiseAnd, bin(a, SpvOpISub, k(a, a->bits), n), k(a, a->bits - 1));
	hi = bin(a, SpvOpShiftLeftLogical, a->arg[0], left ? n : rest);
	lo = bin(a, SpvOpShiftRightLogical, a->arg[1], left ? rest : n);
	return SPV_DO(a->s, SpvOpSelect, a->t, is_0, a->arg[left ? 0 : 1], bin(a, SpvOpBitwiseOr, hi, lo));
}

/* OpConvertFToS and OpConvertFToU are undefined where the result does not fit: they get 0 there. */
static uint32_t saturate(struct call *a)
{
	bool is_signed = a->n;
	struct spv *s = a->s;
	LLVMTypeRef to = LLVMTypeOf(a->insn), from = a->type;
	unsigned int bits = LLVMGetIntTypeWidth(to);
	uint32_t v = a->arg[0], t, b = spv_bool(s), low, high, below, above, fits, r;
	uint64_t max = UINT64_MAX >> (64 - bits + is_signed);

	/* 2^bits is no half */
	if (LLVMGetTypeKind(from) == LLVMHalfTypeKind) {
		from = LLVMFloatTypeInContext(a->c);
		v = SPV_DO(s, SpvOpFConvert, spv_type(s, from), v);
	}
	t = spv_type(s, from);
	high = spv_id(s, LLVMConstReal(from, 2.0 * (double)(UINT64_C(1) << (bits - 1 - is_signed))));
	low = spv_id(s, LLVMConstReal(from, is_signed ? -(double)(UINT64_C(1) << (bits - 1)) : 0));
	below = SPV_DO(s, SpvOpFOrdLessThan, b, v, low);
	above = SPV_DO(s, SpvOpFOrdGreaterThanEqual, b, v, high);
	fits = SPV_DO(s, SpvOpLogicalAnd, b, SPV_DO(s, SpvOpFOrdGreaterThanEqual, b, v, low), SPV_DO(s, SpvOpFOrdLessThan, b, v, high));
	v = SPV_DO(s, SpvOpSelect, t, fits, v, spv_id(s, LLVMConstNull(from)));
	r = SPV_DO(s, is_signed ? SpvOpConvertFToS : SpvOpConvertFToU, a->result, v);
	r = SPV_DO(s, SpvOpSelect, a->result, above, spv_const(s, to, max), r);
	return SPV_DO(s, SpvOpSelect, a->result, below, spv_const(s, to, is_signed ? max + 1 : 0), r);
}

static uint32_t nothing(struct call *a)
{
	(void)a;
	return 0;
}

/* ---- the dialect's ---- */

/* Indices are of size_t, and fit in 32 bits. */
static uint32_t index_of(struct call *a)
{
	struct spv *s = a->s;
	const char *name = LLVMGetValueName(LLVMGetCalledValue(a->insn));
	uint32_t v = spv_builtin(s, a->n, 64, 3);

	v = SPV_DO(s, SpvOpCompositeExtract, spv_int(s, 64), v, (uint32_t)(name[strlen(name) - 1] - '0'));
	return SPV_DO(s, SpvOpUConvert, a->result, v);
}

static uint32_t lane(struct call *a)
{
	a->s->uses_lanes = true;
	return spv_builtin(a->s, SpvBuiltInSubgroupLocalInvocationId, 32, 1);
}

static uint32_t subgroup(struct call *a)
{
	a->s->uses_lanes = true;
	spv_need(a->s, SpvCapabilityGroupNonUniform);
	return spv_i32(a->s, a->c, SpvScopeSubgroup);
}

static uint32_t ballot(struct call *a)
{
	struct spv *s = a->s;
	uint32_t scope = subgroup(a), all;

	spv_need(s, SpvCapabilityGroupNonUniformBallot);
	all = SPV_DO(s, SpvOpGroupNonUniformBallot, spv_type_make(s, SpvOpTypeVector, spv_int(s, 32), 4), scope, a->arg[0]);
	return SPV_DO(s, SpvOpCompositeExtract, a->result, all, 0);
}

static uint32_t shuffle(struct call *a)
{
	uint32_t scope = subgroup(a);

	spv_need(a->s, SpvCapabilityGroupNonUniformShuffle);
	return SPV_DO(a->s, SpvOpGroupNonUniformShuffle, a->result, scope, a->arg[0], a->arg[1]);
}

static uint32_t first(struct call *a)
{
	uint32_t scope = subgroup(a);

	spv_need(a->s, SpvCapabilityGroupNonUniformBallot);
	return SPV_DO(a->s, SpvOpGroupNonUniformBroadcastFirst, a->result, scope, a->arg[0]);
}

static uint32_t barrier(struct call *a)
{
	uint32_t scope = spv_i32(a->s, a->c, a->n), order;

	order = spv_i32(a->s, a->c, SpvMemorySemanticsAcquireReleaseMask | SpvMemorySemanticsWorkgroupMemoryMask |
			SpvMemorySemanticsCrossWorkgroupMemoryMask);
	SPV_PUT(a->s->out, SpvOpControlBarrier, scope, scope, order);
	return 0;
}

/* Names, whole or up to the type that LLVM adds. */
static const struct {
	const char *name;
	unsigned int nr_args;
	uint32_t (*write)(struct call *a);
	uint32_t n;
} row[] = {
	{ "llvm.fma.", 3, opencl, OpenCLstd_Fma },
	{ "llvm.sqrt.", 1, square_root, OpenCLstd_Sqrt },
	{ "llvm.fabs.", 1, absolute, 0 },
	{ "llvm.floor.", 1, opencl, OpenCLstd_Floor },
	{ "llvm.ceil.", 1, opencl, OpenCLstd_Ceil },
	{ "llvm.trunc.", 1, opencl, OpenCLstd_Trunc },
	{ "llvm.roundeven.", 1, opencl, OpenCLstd_Rint },
	{ "llvm.rint.", 1, opencl, OpenCLstd_Rint },
	{ "llvm.ctpop.", 1, bit_count, 0 },
	{ "llvm.ctlz.", 2, opencl, OpenCLstd_Clz },
	{ "llvm.cttz.", 2, opencl, OpenCLstd_Ctz },
	{ "llvm.bitreverse.", 1, bit_reverse, 0 },
	{ "llvm.fshl.", 3, funnel, true },
	{ "llvm.fshr.", 3, funnel, false },
	{ "llvm.smin.", 2, opencl, OpenCLstd_SMin },
	{ "llvm.smax.", 2, opencl, OpenCLstd_SMax },
	{ "llvm.umin.", 2, opencl, OpenCLstd_UMin },
	{ "llvm.umax.", 2, opencl, OpenCLstd_UMax },
	{ "llvm.sadd.sat.", 2, opencl, OpenCLstd_SAdd_sat },
	{ "llvm.uadd.sat.", 2, opencl, OpenCLstd_UAdd_sat },
	{ "llvm.ssub.sat.", 2, opencl, OpenCLstd_SSub_sat },
	{ "llvm.usub.sat.", 2, opencl, OpenCLstd_USub_sat },
	{ "llvm.fptosi.sat.", 1, saturate, true },
	{ "llvm.fptoui.sat.", 1, saturate, false },
	{ "llvm.lifetime.", 2, nothing, 0 },
	{ "llvm.assume", 1, nothing, 0 },
	{ "llvm.dbg.", 0, nothing, 0 },
	{ "hg.local.id.", 0, index_of, SpvBuiltInLocalInvocationId },
	{ "hg.group.id.", 0, index_of, SpvBuiltInWorkgroupId },
	{ "hg.lane", 0, lane, 0 },
	{ "hg.ballot", 1, ballot, 0 },
	{ "hg.shuffle", 2, shuffle, 0 },
	{ "hg.first", 1, first, 0 },
	{ "hg.barrier", 0, barrier, SpvScopeWorkgroup },
};

static bool is_named(const char *name, const char *want)
{
	size_t n = strlen(want);

	return want[n - 1] == '.' ? !strncmp(name, want, n) : !strcmp(name, want);
}

uint32_t spv_call(struct spv *s, LLVMValueRef insn)
{
	const char *name = LLVMGetValueName(LLVMGetCalledValue(insn));
	unsigned int nr = LLVMGetNumArgOperands(insn);
	struct call a = { .s = s, .insn = insn, .c = LLVMGetTypeContext(LLVMTypeOf(insn)) };
	size_t i = 0;

	while (i < sizeof(row) / sizeof(*row) && !is_named(name, row[i].name))
		i++;
	if (i == sizeof(row) / sizeof(*row))
		return spv_refuse(s, "a call of '%s'", name);
	if (row[i].write == nothing)
		return 0;
	if (row[i].nr_args != nr)
		return spv_refuse(s, "a call of '%s' with %u arguments", name, nr);
	a.n = row[i].n;
	a.result = spv_type(s, LLVMTypeOf(insn));
	for (unsigned int k = 0; k < nr; k++)
		a.arg[k] = spv_id(s, LLVMGetOperand(insn, k));
	if (nr) {
		a.type = LLVMTypeOf(LLVMGetOperand(insn, 0));
		a.t = spv_type(s, a.type);
		a.bits = s->st ? 0 : (unsigned int)LLVMSizeOfTypeInBits(s->layout, a.type);
		/* the arithmetic is of integers of bytes */
		if (a.bits == 1 && strncmp(name, "hg.", 3))
			return spv_refuse(s, "a call of '%s'", name);
	}
	return s->st ? 0 : row[i].write(&a);
}
