/* spirv_write.c - a kernel's LLVM IR as a SPIR-V module: instructions, and the order of things. */
#include "translate/spirv_priv.h"

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <spirv/unified1/OpenCL.std.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "translate/amd_llvm.h"

/* A word of a phi, which is known when all blocks are written. */
struct later {
	size_t at;			/* in code: bytes */
	LLVMValueRef value;
};

/* A block between a switch and one that it goes to in several cases, and that has phis: readers want these to have one pair for each edge. */
struct between {
	LLVMBasicBlockRef from, to;
	uint32_t id;
};

struct writer {
	struct spv s;
	LLVMBasicBlockRef *block;	/* those that are reached, each behind those that dominate it */
	size_t nr_blocks;
	struct later *later;
	size_t nr_later, later_cap;
	struct between *between;
	size_t nr_between, between_cap;
};

static bool is_bool(LLVMValueRef v)
{
	return LLVMTypeOf(v) == LLVMInt1TypeInContext(LLVMGetTypeContext(LLVMTypeOf(v)));
}

static LLVMTypeRef int_type(LLVMValueRef like, unsigned int bits)
{
	return LLVMIntTypeInContext(LLVMGetTypeContext(LLVMTypeOf(like)), bits);
}

static uint32_t const_like(struct spv *s, LLVMValueRef like, uint32_t v)
{
	return spv_i32(s, LLVMGetTypeContext(LLVMTypeOf(like)), v);
}

/* ---- arithmetic ---- */

/* Of truth values, which have no arithmetic: what one bit would give, where LLVM defines it. */
static uint32_t truth_op(struct spv *s, LLVMOpcode op, LLVMValueRef v, uint32_t a, uint32_t b)
{
	uint32_t t = spv_bool(s);

	switch (op) {
	case LLVMAnd: case LLVMMul: return SPV_DO(s, SpvOpLogicalAnd, t, a, b);
	case LLVMOr: return SPV_DO(s, SpvOpLogicalOr, t, a, b);
	case LLVMXor: case LLVMAdd: case LLVMSub: return SPV_DO(s, SpvOpLogicalNotEqual, t, a, b);
	/* the other operand is 1 of a division, 0 of a shift */
	case LLVMUDiv: case LLVMShl: case LLVMLShr: case LLVMAShr: return a;
	case LLVMURem: return spv_id(s, LLVMConstNull(LLVMTypeOf(v)));
	default: return spv_refuse(s, "division of i1 with a sign");
	}
}

static uint32_t binary(struct spv *s, LLVMOpcode op, LLVMValueRef v)
{
	static const uint16_t of[] = {
		[LLVMAdd] = SpvOpIAdd, [LLVMFAdd] = SpvOpFAdd, [LLVMSub] = SpvOpISub, [LLVMFSub] = SpvOpFSub, [LLVMMul] = SpvOpIMul,
		[LLVMFMul] = SpvOpFMul, [LLVMUDiv] = SpvOpUDiv, [LLVMSDiv] = SpvOpSDiv, [LLVMFDiv] = SpvOpFDiv, [LLVMURem] = SpvOpUMod,
		[LLVMSRem] = SpvOpSRem, [LLVMShl] = SpvOpShiftLeftLogical, [LLVMLShr] = SpvOpShiftRightLogical,
		[LLVMAShr] = SpvOpShiftRightArithmetic, [LLVMAnd] = SpvOpBitwiseAnd, [LLVMOr] = SpvOpBitwiseOr, [LLVMXor] = SpvOpBitwiseXor,
	};
	uint32_t a = spv_id(s, LLVMGetOperand(v, 0)), b = spv_id(s, LLVMGetOperand(v, 1));

	if (is_bool(v))
		return truth_op(s, op, v, a, b);
	if (op == LLVMFDiv && LLVMGetTypeKind(LLVMTypeOf(v)) != LLVMDoubleTypeKind)
		return spv_refuse(s, "fdiv of less than double, which OpenCL does not round correctly");
	/* exact in both */
	if (op == LLVMFRem)
		return spv_extended(s, spv_type(s, LLVMTypeOf(v)), OpenCLstd_Fmod, SPV_WORDS(a, b));
	return SPV_DO(s, of[op], spv_type(s, LLVMTypeOf(v)), a, b);
}

static uint32_t not(struct spv *s, uint32_t v)
{
	return SPV_DO(s, SpvOpLogicalNot, spv_bool(s), v);
}

/* The 1 is -1 with a sign. */
static uint32_t compare_truth(struct spv *s, LLVMIntPredicate p, uint32_t a, uint32_t b)
{
	uint32_t t = spv_bool(s);

	switch (p) {
	case LLVMIntEQ: return SPV_DO(s, SpvOpLogicalEqual, t, a, b);
	case LLVMIntNE: return SPV_DO(s, SpvOpLogicalNotEqual, t, a, b);
	case LLVMIntUGT: case LLVMIntSLT: return SPV_DO(s, SpvOpLogicalAnd, t, a, not(s, b));
	case LLVMIntULT: case LLVMIntSGT: return SPV_DO(s, SpvOpLogicalAnd, t, not(s, a), b);
	case LLVMIntUGE: case LLVMIntSLE: return SPV_DO(s, SpvOpLogicalOr, t, a, not(s, b));
	default: return SPV_DO(s, SpvOpLogicalOr, t, not(s, a), b);
	}
}

static uint32_t compare(struct spv *s, LLVMValueRef v)
{
	static const uint16_t of[] = {
		[LLVMIntEQ] = SpvOpIEqual, [LLVMIntNE] = SpvOpINotEqual, [LLVMIntUGT] = SpvOpUGreaterThan, [LLVMIntUGE] = SpvOpUGreaterThanEqual,
		[LLVMIntULT] = SpvOpULessThan, [LLVMIntULE] = SpvOpULessThanEqual, [LLVMIntSGT] = SpvOpSGreaterThan,
		[LLVMIntSGE] = SpvOpSGreaterThanEqual, [LLVMIntSLT] = SpvOpSLessThan, [LLVMIntSLE] = SpvOpSLessThanEqual,
	};
	LLVMValueRef x = LLVMGetOperand(v, 0);
	uint32_t a = spv_id(s, x), b = spv_id(s, LLVMGetOperand(v, 1));

	if (is_bool(x))
		return compare_truth(s, LLVMGetICmpPredicate(v), a, b);
	/* OpPtrEqual is of 1.4 */
	if (LLVMGetTypeKind(LLVMTypeOf(x)) == LLVMPointerTypeKind) {
		a = SPV_DO(s, SpvOpConvertPtrToU, spv_int(s, 64), a);
		b = SPV_DO(s, SpvOpConvertPtrToU, spv_int(s, 64), b);
	}
	return SPV_DO(s, of[LLVMGetICmpPredicate(v)], spv_bool(s), a, b);
}

static uint32_t compare_floats(struct spv *s, LLVMValueRef v)
{
	static const uint16_t of[] = {
		[LLVMRealOEQ] = SpvOpFOrdEqual, [LLVMRealOGT] = SpvOpFOrdGreaterThan, [LLVMRealOGE] = SpvOpFOrdGreaterThanEqual,
		[LLVMRealOLT] = SpvOpFOrdLessThan, [LLVMRealOLE] = SpvOpFOrdLessThanEqual, [LLVMRealONE] = SpvOpFOrdNotEqual,
		[LLVMRealORD] = SpvOpOrdered, [LLVMRealUNO] = SpvOpUnordered, [LLVMRealUEQ] = SpvOpFUnordEqual,
		[LLVMRealUGT] = SpvOpFUnordGreaterThan, [LLVMRealUGE] = SpvOpFUnordGreaterThanEqual, [LLVMRealULT] = SpvOpFUnordLessThan,
		[LLVMRealULE] = SpvOpFUnordLessThanEqual, [LLVMRealUNE] = SpvOpFUnordNotEqual,
	};
	LLVMRealPredicate p = LLVMGetFCmpPredicate(v);

	if (p == LLVMRealPredicateFalse || p == LLVMRealPredicateTrue)
		return spv_const(s, LLVMTypeOf(v), p == LLVMRealPredicateTrue);
	return SPV_DO(s, of[p], spv_bool(s), spv_id(s, LLVMGetOperand(v, 0)), spv_id(s, LLVMGetOperand(v, 1)));
}

/* ---- conversions ---- */

static uint32_t from_truth(struct spv *s, uint32_t truth, LLVMValueRef to_1, LLVMValueRef to_0)
{
	return SPV_DO(s, SpvOpSelect, spv_type(s, LLVMTypeOf(to_1)), truth, spv_id(s, to_1), spv_id(s, to_0));
}

static uint32_t to_truth(struct spv *s, LLVMTypeRef from, uint32_t v)
{
	v = SPV_DO(s, SpvOpBitwiseAnd, spv_type(s, from), v, spv_const(s, from, 1));
	return SPV_DO(s, SpvOpINotEqual, spv_bool(s), v, spv_const(s, from, 0));
}

static uint32_t cast_space(struct spv *s, LLVMTypeRef from, LLVMTypeRef to, uint32_t v)
{
	SpvStorageClass a = spv_class(s, from), b = spv_class(s, to);
	uint32_t generic = spv_pointer(s, SpvStorageClassGeneric, spv_int(s, 8));

	if (a == b)
		return v;
	if (a != SpvStorageClassGeneric)
		v = SPV_DO(s, SpvOpPtrCastToGeneric, generic, v);
	return b == SpvStorageClassGeneric ? v : SPV_DO(s, SpvOpGenericCastToPtr, spv_type(s, to), v);
}

/* LLVM fills up with zeros, or cuts. */
static uint32_t int_to_pointer(struct spv *s, LLVMValueRef x, uint32_t v, uint32_t to)
{
	if (is_bool(x))
		return spv_refuse(s, "a pointer of i1");
	if (LLVMGetIntTypeWidth(LLVMTypeOf(x)) != 64)
		v = SPV_DO(s, SpvOpUConvert, spv_int(s, 64), v);
	return SPV_DO(s, SpvOpConvertUToPtr, to, v);
}

static uint32_t pointer_to_int(struct spv *s, LLVMValueRef v, uint32_t x)
{
	unsigned int bits = LLVMGetIntTypeWidth(LLVMTypeOf(v));

	x = SPV_DO(s, SpvOpConvertPtrToU, spv_int(s, 64), x);
	if (bits == 1)
		return to_truth(s, int_type(v, 64), x);
	return bits == 64 ? x : SPV_DO(s, SpvOpUConvert, spv_int(s, bits), x);
}

static uint32_t convert(struct spv *s, LLVMOpcode op, LLVMValueRef v)
{
	LLVMValueRef in = LLVMGetOperand(v, 0);
	LLVMTypeRef from = LLVMTypeOf(in), to = LLVMTypeOf(v);
	uint32_t x = spv_id(s, in), t = spv_type(s, to);

	if (s->st)
		return 0;
	switch (op) {
	case LLVMTrunc:
		return is_bool(v) ? to_truth(s, from, x) : SPV_DO(s, SpvOpUConvert, t, x);
	case LLVMZExt:
		return is_bool(in) ? from_truth(s, x, LLVMConstInt(to, 1, 0), LLVMConstNull(to)) : SPV_DO(s, SpvOpUConvert, t, x);
	case LLVMSExt:
		return is_bool(in) ? from_truth(s, x, LLVMConstAllOnes(to), LLVMConstNull(to)) : SPV_DO(s, SpvOpSConvert, t, x);
	case LLVMUIToFP:
		return is_bool(in) ? from_truth(s, x, LLVMConstReal(to, 1), LLVMConstReal(to, 0)) : SPV_DO(s, SpvOpConvertUToF, t, x);
	case LLVMSIToFP:
		return is_bool(in) ? from_truth(s, x, LLVMConstReal(to, -1), LLVMConstReal(to, 0)) : SPV_DO(s, SpvOpConvertSToF, t, x);
	case LLVMFPToUI: case LLVMFPToSI:
		/* more than the one bit is no result of LLVM's either */
		if (is_bool(v))
			return to_truth(s, int_type(v, 32), SPV_DO(s, SpvOpConvertFToS, spv_int(s, 32), x));
		return SPV_DO(s, op == LLVMFPToUI ? SpvOpConvertFToU : SpvOpConvertFToS, t, x);
	case LLVMFPTrunc: case LLVMFPExt:
		return SPV_DO(s, SpvOpFConvert, t, x);
	case LLVMPtrToInt:
		return pointer_to_int(s, v, x);
	case LLVMIntToPtr:
		return int_to_pointer(s, in, x, t);
	case LLVMAddrSpaceCast:
		return cast_space(s, from, to, x);
	default:
		return from == to ? x : SPV_DO(s, SpvOpBitcast, t, x);
	}
}

/* ---- memory ---- */

static uint32_t offset_of(struct spv *s, LLVMValueRef index, uint64_t scale)
{
	LLVMTypeRef i64 = int_type(index, 64);
	uint32_t v = spv_id(s, index);

	if (LLVMIsAConstantInt(index))
		return spv_const(s, i64, (uint64_t)LLVMConstIntGetSExtValue(index) * scale);
	if (is_bool(index))
		return spv_refuse(s, "an index of i1");
	if (LLVMGetIntTypeWidth(LLVMTypeOf(index)) != 64)
		v = SPV_DO(s, SpvOpSConvert, spv_int(s, 64), v);
	return scale == 1 ? v : SPV_DO(s, SpvOpIMul, spv_int(s, 64), v, spv_const(s, i64, scale));
}

static uint32_t element(struct spv *s, LLVMValueRef v)
{
	LLVMValueRef base = LLVMGetOperand(v, 0), index;
	LLVMTypeRef t = LLVMGetGEPSourceElementType(v);
	SpvOp op = LLVMIsInBounds(v) ? SpvOpInBoundsPtrAccessChain : SpvOpPtrAccessChain;
	uint32_t offset = 0, o;

	if (LLVMGetTypeKind(LLVMTypeOf(v)) != LLVMPointerTypeKind)
		return spv_type(s, LLVMTypeOf(v));
	for (int i = 1; i < LLVMGetNumOperands(v); i++) {
		index = LLVMGetOperand(v, (unsigned int)i);
		if (i > 1 && LLVMGetTypeKind(t) == LLVMStructTypeKind) {
			unsigned int n = (unsigned int)LLVMConstIntGetZExtValue(index);

			o = spv_const(s, int_type(index, 64), LLVMOffsetOfElement(s->layout, t, n));
			t = LLVMStructGetTypeAtIndex(t, n);
		} else {
			if (i > 1)
				t = LLVMGetElementType(t);
			o = offset_of(s, index, LLVMABISizeOfType(s->layout, t));
		}
		offset = offset ? SPV_DO(s, SpvOpIAdd, spv_int(s, 64), offset, o) : o;
	}
	return SPV_DO(s, op, spv_type(s, LLVMTypeOf(v)), spv_id(s, base), offset);
}

/* Variables are in front of all else. A number's is of its type, else it is bytes. */
static uint32_t variable(struct spv *s, LLVMValueRef v)
{
	LLVMTypeRef t = LLVMGetAllocatedType(v);
	LLVMTypeKind kind = LLVMGetTypeKind(t);
	LLVMValueRef nr = LLVMGetOperand(v, 0);
	uint64_t size = LLVMABISizeOfType(s->layout, t);
	bool is_number = kind == LLVMIntegerTypeKind || kind == LLVMFloatTypeKind || kind == LLVMDoubleTypeKind || kind == LLVMHalfTypeKind ||
			 kind == LLVMPointerTypeKind;
	uint32_t of, id;

	if (!LLVMIsAConstantInt(nr) || LLVMGetInstructionParent(v) != LLVMGetEntryBasicBlock(LLVMGetBasicBlockParent(LLVMGetInstructionParent(v))))
		return spv_refuse(s, "an alloca of unknown size, or behind the first block");
	if (LLVMGetPointerAddressSpace(LLVMTypeOf(v)) != 5)
		return spv_refuse(s, "an alloca that is not in address space 5");
	size *= LLVMConstIntGetZExtValue(nr);
	if (size > UINT32_MAX)
		return spv_refuse(s, "an alloca of %llu bytes", (unsigned long long)size);
	if (is_number && LLVMConstIntGetZExtValue(nr) == 1 && t != int_type(nr, 1))
		of = spv_type(s, t);
	else
		of = spv_type_make(s, SpvOpTypeArray, spv_int(s, 8), const_like(s, nr, size ? (uint32_t)size : 1));
	id = spv_new(s, &s->variables, SpvOpVariable, spv_pointer(s, SpvStorageClassFunction, of), SPV_WORDS(SpvStorageClassFunction));
	SPV_PUT(&s->decorations, SpvOpDecorate, id, SpvDecorationAlignment, LLVMGetAlignment(v));
	if (of == spv_int(s, 8))
		return id;
	return spv_new(s, &s->prologue, SpvOpBitcast, spv_type(s, LLVMTypeOf(v)), SPV_WORDS(id));
}

static uint32_t scope_of(struct spv *s, LLVMValueRef v)
{
	static const struct {
		const char *name;
		SpvScope scope;
	} row[] = {
		{ "", SpvScopeCrossDevice }, { "device", SpvScopeDevice }, { "agent", SpvScopeDevice }, { "workgroup", SpvScopeWorkgroup },
		{ "subgroup", SpvScopeSubgroup }, { "wavefront", SpvScopeSubgroup }, { "singlethread", SpvScopeInvocation },
	};
	char name[32];

	amd_llvm_scope(v, name, sizeof(name));
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
		if (!strcmp(name, row[i].name))
			return const_like(s, v, row[i].scope);
	return spv_refuse(s, "an atomic access of scope '%s'", name);
}

/* CUDA's order is of all memory. */
static uint32_t order_of(struct spv *s, LLVMValueRef v, LLVMAtomicOrdering order)
{
	uint32_t m;

	switch (order) {
	case LLVMAtomicOrderingAcquire: m = SpvMemorySemanticsAcquireMask; break;
	case LLVMAtomicOrderingRelease: m = SpvMemorySemanticsReleaseMask; break;
	case LLVMAtomicOrderingAcquireRelease: m = SpvMemorySemanticsAcquireReleaseMask; break;
	case LLVMAtomicOrderingSequentiallyConsistent: m = SpvMemorySemanticsSequentiallyConsistentMask; break;
	default: m = 0; break;
	}
	if (m)
		m |= SpvMemorySemanticsWorkgroupMemoryMask | SpvMemorySemanticsCrossWorkgroupMemoryMask;
	return const_like(s, v, m);
}

static void fence(struct spv *s, LLVMValueRef v, LLVMAtomicOrdering order)
{
	SPV_PUT(s->out, SpvOpMemoryBarrier, scope_of(s, v), order_of(s, v, order));
}

/* OpenCL has atomic accesses of 4 and 8 bytes. */
static bool has_atomics(struct spv *s, LLVMTypeRef t)
{
	unsigned int bits = (unsigned int)LLVMSizeOfTypeInBits(s->layout, t);

	if (bits == 64)
		spv_need(s, SpvCapabilityInt64Atomics);
	return bits >= 32 && LLVMGetTypeKind(t) != LLVMPointerTypeKind;
}

/* And none to the work-item's own memory, but through a generic pointer. */
static uint32_t atomic_pointer(struct spv *s, LLVMValueRef p, LLVMTypeRef to)
{
	LLVMTypeRef t = LLVMTypeOf(p), generic = LLVMPointerTypeInContext(LLVMGetTypeContext(t), 0);
	uint32_t v = spv_id(s, p);

	if (LLVMGetPointerAddressSpace(t) == 5) {
		v = cast_space(s, t, generic, v);
		t = generic;
	}
	return spv_as(s, v, t, spv_type(s, to));
}

static uint32_t access_of(LLVMValueRef v, bool is_volatile)
{
	return SpvMemoryAccessAlignedMask | (is_volatile || LLVMGetVolatile(v) ? SpvMemoryAccessVolatileMask : 0);
}

static uint32_t load(struct spv *s, LLVMValueRef v)
{
	LLVMValueRef at = LLVMGetOperand(v, 0);
	LLVMTypeRef t = LLVMTypeOf(v);
	LLVMAtomicOrdering order = LLVMGetOrdering(v);
	uint32_t type = spv_type(s, t), p, r;

	if (s->st)
		return 0;
	if (is_bool(v))
		return spv_refuse(s, "a load of i1");
	if (order != LLVMAtomicOrderingNotAtomic && has_atomics(s, t))
		return SPV_DO(s, SpvOpAtomicLoad, type, atomic_pointer(s, at, t), scope_of(s, v), order_of(s, v, order));
	/* less is read at once by itself */
	if (order == LLVMAtomicOrderingSequentiallyConsistent)
		fence(s, v, order);
	p = spv_as(s, spv_id(s, at), LLVMTypeOf(at), type);
	r = SPV_DO(s, SpvOpLoad, type, p, access_of(v, order != LLVMAtomicOrderingNotAtomic), LLVMGetAlignment(v));
	if (order >= LLVMAtomicOrderingAcquire)
		fence(s, v, LLVMAtomicOrderingAcquire);
	return r;
}

static void store(struct spv *s, LLVMValueRef v)
{
	LLVMValueRef what = LLVMGetOperand(v, 0), at = LLVMGetOperand(v, 1);
	LLVMTypeRef t = LLVMTypeOf(what);
	LLVMAtomicOrdering order = LLVMGetOrdering(v);
	uint32_t type = spv_type(s, t), p;

	if (s->st)
		return;
	if (is_bool(what)) {
		spv_refuse(s, "a store of i1");
		return;
	}
	if (order != LLVMAtomicOrderingNotAtomic && has_atomics(s, t)) {
		p = atomic_pointer(s, at, t);
		SPV_PUT(s->out, SpvOpAtomicStore, p, scope_of(s, v), order_of(s, v, order), spv_id(s, what));
		return;
	}
	if (order >= LLVMAtomicOrderingAcquire)
		fence(s, v, LLVMAtomicOrderingRelease);
	p = spv_as(s, spv_id(s, at), LLVMTypeOf(at), type);
	SPV_PUT(s->out, SpvOpStore, p, spv_id(s, what), access_of(v, order != LLVMAtomicOrderingNotAtomic), LLVMGetAlignment(v));
	if (order == LLVMAtomicOrderingSequentiallyConsistent)
		fence(s, v, order);
}

static uint32_t read_modify_write(struct spv *s, LLVMValueRef v)
{
	static const uint16_t of[] = {
		[LLVMAtomicRMWBinOpXchg] = SpvOpAtomicExchange, [LLVMAtomicRMWBinOpAdd] = SpvOpAtomicIAdd, [LLVMAtomicRMWBinOpSub] = SpvOpAtomicISub,
		[LLVMAtomicRMWBinOpAnd] = SpvOpAtomicAnd, [LLVMAtomicRMWBinOpOr] = SpvOpAtomicOr, [LLVMAtomicRMWBinOpXor] = SpvOpAtomicXor,
		[LLVMAtomicRMWBinOpMax] = SpvOpAtomicSMax, [LLVMAtomicRMWBinOpMin] = SpvOpAtomicSMin, [LLVMAtomicRMWBinOpUMax] = SpvOpAtomicUMax,
		[LLVMAtomicRMWBinOpUMin] = SpvOpAtomicUMin,
	};
	LLVMAtomicRMWBinOp op = LLVMGetAtomicRMWBinOp(v);
	LLVMTypeRef t = LLVMTypeOf(v);
	uint32_t type = spv_type(s, t);

	if (s->st)
		return 0;
	if ((size_t)op >= sizeof(of) / sizeof(*of) || !of[op] || !has_atomics(s, t))
		return spv_refuse(s, "an atomic operation that OpenCL lacks: %d of %llu bits", (int)op, LLVMSizeOfTypeInBits(s->layout, t));
	return SPV_DO(s, of[op], type, atomic_pointer(s, LLVMGetOperand(v, 0), t), scope_of(s, v), order_of(s, v, LLVMGetOrdering(v)),
		      spv_id(s, LLVMGetOperand(v, 1)));
}

/* What was there; extract() has the rest. */
static uint32_t compare_and_swap(struct spv *s, LLVMValueRef v)
{
	LLVMValueRef want = LLVMGetOperand(v, 1);
	LLVMTypeRef t = LLVMTypeOf(want);
	uint32_t type = spv_type(s, t);

	if (s->st)
		return 0;
	if (!has_atomics(s, t))
		return spv_refuse(s, "an atomic operation that OpenCL lacks: compare-and-swap of %llu bits", LLVMSizeOfTypeInBits(s->layout, t));
	return SPV_DO(s, SpvOpAtomicCompareExchange, type, atomic_pointer(s, LLVMGetOperand(v, 0), t), scope_of(s, v),
		      order_of(s, v, LLVMGetCmpXchgSuccessOrdering(v)), order_of(s, v, LLVMGetCmpXchgFailureOrdering(v)),
		      spv_id(s, LLVMGetOperand(v, 2)), spv_id(s, want));
}

static uint32_t extract(struct spv *s, LLVMValueRef v)
{
	LLVMValueRef of = LLVMGetOperand(v, 0);
	uint32_t was = spv_id(s, of);

	if (!LLVMIsAAtomicCmpXchgInst(of) || LLVMGetNumIndices(v) != 1)
		return spv_refuse(s, "extractvalue of what is no cmpxchg");
	return *LLVMGetIndices(v) ? SPV_DO(s, SpvOpIEqual, spv_bool(s), was, spv_id(s, LLVMGetOperand(of, 1))) : was;
}

/* ---- instructions ---- */

/* What constant expressions can be, too. 0: another. */
static uint32_t operation(struct spv *s, LLVMOpcode op, LLVMValueRef v)
{
	switch (op) {
	case LLVMAdd: case LLVMFAdd: case LLVMSub: case LLVMFSub: case LLVMMul: case LLVMFMul: case LLVMUDiv: case LLVMSDiv: case LLVMFDiv:
	case LLVMURem: case LLVMSRem: case LLVMFRem: case LLVMShl: case LLVMLShr: case LLVMAShr: case LLVMAnd: case LLVMOr: case LLVMXor:
		return binary(s, op, v);
	case LLVMTrunc: case LLVMZExt: case LLVMSExt: case LLVMFPToUI: case LLVMFPToSI: case LLVMUIToFP: case LLVMSIToFP: case LLVMFPTrunc:
	case LLVMFPExt: case LLVMPtrToInt: case LLVMIntToPtr: case LLVMBitCast: case LLVMAddrSpaceCast:
		return convert(s, op, v);
	case LLVMGetElementPtr:
		return element(s, v);
	default:
		return 0;
	}
}

uint32_t spv_expression(struct spv *s, LLVMValueRef v)
{
	struct hg_writer *out = s->out;
	uint32_t id;

	s->out = &s->prologue;
	id = operation(s, LLVMGetConstOpcode(v), v);
	s->out = out;
	return id ? id : spv_refuse(s, "a constant expression of LLVM's operation %d", (int)LLVMGetConstOpcode(v));
}

static uint32_t write_select(struct spv *s, LLVMValueRef v)
{
	return SPV_DO(s, SpvOpSelect, spv_type(s, LLVMTypeOf(v)), spv_id(s, LLVMGetOperand(v, 0)), spv_id(s, LLVMGetOperand(v, 1)),
		      spv_id(s, LLVMGetOperand(v, 2)));
}

static uint32_t label(struct spv *s, LLVMBasicBlockRef b)
{
	uint64_t id = 0;

	return hg_idmap_get(&s->ids, (uintptr_t)b, &id) ? (uint32_t)id : 0;
}

/* Where edges from a block to another come from, as phis see it: from itself, or from what is between them. 0: it is not reached. */
static uint32_t edge(struct writer *w, LLVMBasicBlockRef from, LLVMBasicBlockRef to)
{
	LLVMValueRef first = LLVMGetFirstInstruction(to);
	unsigned int nr = 0;
	struct between *b;
	size_t cap = 2 * w->between_cap + 8;

	if (!LLVMIsASwitchInst(LLVMGetBasicBlockTerminator(from)) || !LLVMIsAPHINode(first) || !label(&w->s, from))
		return label(&w->s, from);
	for (unsigned int i = 0; i < LLVMCountIncoming(first) && nr < 2; i++)
		nr += LLVMGetIncomingBlock(first, i) == from;
	if (nr < 2)
		return label(&w->s, from);
	for (size_t i = 0; i < w->nr_between; i++)
		if (w->between[i].from == from && w->between[i].to == to)
			return w->between[i].id;
	if (w->nr_between == w->between_cap) {
		b = realloc(w->between, cap * sizeof(*b));
		if (!b) {
			w->s.st = w->s.st ? w->s.st : HG_ERR_NOMEM;
			return 0;
		}
		w->between = b;
		w->between_cap = cap;
	}
	w->between[w->nr_between++] = (struct between){ from, to, w->s.next_id };
	return w->s.next_id++;
}

static bool make_room(struct writer *w, size_t more)
{
	size_t cap = 2 * (w->nr_later + more);
	struct later *later = w->later;

	if (w->nr_later + more > w->later_cap) {
		later = realloc(later, cap * sizeof(*later));
		if (later) {
			w->later = later;
			w->later_cap = cap;
		}
	}
	return later || !more;
}

/* One pair for each block that is reached, however many of its edges come here. */
static uint32_t phi(struct writer *w, LLVMValueRef v)
{
	struct spv *s = &w->s;
	unsigned int nr = LLVMCountIncoming(v);
	LLVMBasicBlockRef here = LLVMGetInstructionParent(v);
	uint32_t *word = calloc(2 * (size_t)nr + 1, sizeof(*word)), from, type = spv_type(s, LLVMTypeOf(v));
	size_t n = 0, base = s->out->size + 3 * sizeof(uint32_t);

	if (!word || !make_room(w, nr)) {
		free(word);
		s->st = s->st ? s->st : HG_ERR_NOMEM;
		return 0;
	}
	for (unsigned int i = 0; i < nr; i++) {
		bool had = false;

		from = edge(w, LLVMGetIncomingBlock(v, i), here);
		for (size_t k = 1; k < n; k += 2)
			had |= word[k] == from;
		if (!from || had)
			continue;
		w->later[w->nr_later++] = (struct later){ base + n * sizeof(*word), LLVMGetIncomingValue(v, i) };
		word[n + 1] = from;
		n += 2;
	}
	type = spv_new(s, s->out, SpvOpPhi, type, word, n);
	free(word);
	return type;
}

static void write_switch(struct writer *w, LLVMValueRef v)
{
	struct spv *s = &w->s;
	LLVMBasicBlockRef here = LLVMGetInstructionParent(v);
	LLVMValueRef on = LLVMGetOperand(v, 0);
	unsigned int bits = LLVMGetIntTypeWidth(LLVMTypeOf(on)), nr = LLVMGetNumSuccessors(v), n = 0;
	uint32_t id = spv_id(s, on), to, *word = malloc((3 * (size_t)nr + 2) * sizeof(*word));
	uint64_t value;

	if (!word) {
		s->st = s->st ? s->st : HG_ERR_NOMEM;
		return;
	}
	if (bits == 1)
		id = from_truth(s, id, LLVMConstInt(int_type(v, 32), 1, 0), LLVMConstInt(int_type(v, 32), 0, 0));
	word[n++] = id;
	/* the operands of a case: value, block; the first is the condition's and the default's */
	for (unsigned int i = 0; i < nr; i++) {
		if (i) {
			value = LLVMConstIntGetZExtValue(LLVMGetOperand(v, 2 * i));
			word[n++] = (uint32_t)value;
			if (bits == 64)
				word[n++] = (uint32_t)(value >> 32);
		}
		to = edge(w, here, LLVMGetSuccessor(v, i));
		word[n++] = to == label(s, here) ? label(s, LLVMGetSuccessor(v, i)) : to;
	}
	spv_put(s->out, SpvOpSwitch, word, n);
	free(word);
	for (size_t i = 0; i < w->nr_between; i++) {
		if (w->between[i].from != here)
			continue;
		SPV_PUT(s->out, SpvOpLabel, w->between[i].id);
		SPV_PUT(s->out, SpvOpBranch, label(s, w->between[i].to));
	}
}

static void branch(struct spv *s, LLVMValueRef v)
{
	uint32_t yes = label(s, LLVMGetSuccessor(v, 0)), no = LLVMIsConditional(v) ? label(s, LLVMGetSuccessor(v, 1)) : yes;

	if (yes == no)
		SPV_PUT(s->out, SpvOpBranch, yes);
	else
		SPV_PUT(s->out, SpvOpBranchConditional, spv_id(s, LLVMGetCondition(v)), yes, no);
}

/* Words, a text, words. */
static void write_text(struct hg_writer *out, SpvOp op, const uint32_t *word, size_t n, const char *text, const uint32_t *behind, size_t nr_behind)
{
	size_t length = strlen(text);

	hg_write_u32(out, (uint32_t)(n + length / 4 + 2 + nr_behind) << SpvWordCountShift | (uint32_t)op);
	for (size_t i = 0; i < n; i++)
		hg_write_u32(out, word[i]);
	hg_write_bytes(out, text, length);
	hg_write_bytes(out, "\0\0\0", 4 - length % 4);
	for (size_t i = 0; i < nr_behind; i++)
		hg_write_u32(out, behind[i]);
}

/* PTX's lines, where the IR has them. */
static void mark_line(struct spv *s, LLVMValueRef v)
{
	unsigned int line = LLVMGetDebugLocLine(v), length;
	const char *name;
	char text[256] = "";

	if (!line || line == s->line || LLVMIsAPHINode(v) || LLVMIsAAllocaInst(v))
		return;
	if (!s->file) {
		name = LLVMGetDebugLocFilename(v, &length);
		if (name)
			snprintf(text, sizeof(text), "%.*s", (int)length, name);
		s->file = s->next_id++;
		write_text(&s->strings, SpvOpString, &s->file, 1, text, NULL, 0);
	}
	s->line = line;
	SPV_PUT(s->out, SpvOpLine, s->file, line, 0);
}

static uint32_t one(struct writer *w, LLVMValueRef v)
{
	struct spv *s = &w->s;
	LLVMOpcode op = LLVMGetInstructionOpcode(v);

	switch (op) {
	case LLVMAlloca: return variable(s, v);
	case LLVMLoad: return load(s, v);
	case LLVMStore: store(s, v); return 0;
	case LLVMFence: fence(s, v, LLVMGetOrdering(v)); return 0;
	case LLVMAtomicRMW: return read_modify_write(s, v);
	case LLVMAtomicCmpXchg: return compare_and_swap(s, v);
	case LLVMExtractValue: return extract(s, v);
	case LLVMICmp: return compare(s, v);
	case LLVMFCmp: return compare_floats(s, v);
	case LLVMFNeg: return SPV_DO(s, SpvOpFNegate, spv_type(s, LLVMTypeOf(v)), spv_id(s, LLVMGetOperand(v, 0)));
	case LLVMSelect: return write_select(s, v);
	case LLVMFreeze: return spv_id(s, LLVMGetOperand(v, 0));
	case LLVMPHI: return phi(w, v);
	case LLVMCall: return spv_call(s, v);
	case LLVMBr: branch(s, v); return 0;
	case LLVMSwitch: write_switch(w, v); return 0;
	case LLVMRet: spv_put(s->out, SpvOpReturn, NULL, 0); return 0;
	case LLVMUnreachable: spv_put(s->out, SpvOpUnreachable, NULL, 0); return 0;
	default: break;
	}
	return operation(s, op, v);
}

/* ---- the function ---- */

/* Reverse post-order; false: no memory. */
static bool order_blocks(struct writer *w, LLVMValueRef fn)
{
	struct spv *s = &w->s;
	unsigned int nr = LLVMCountBasicBlocks(fn), depth = 0, left = nr;
	struct {
		LLVMBasicBlockRef block;
		unsigned int next;
	} *stack = calloc(nr, sizeof(*stack));

	w->block = calloc(nr, sizeof(*w->block));
	if (!stack || !w->block) {
		free(stack);
		return false;
	}
	stack[depth++].block = LLVMGetEntryBasicBlock(fn);
	spv_set(s, stack[0].block, s->next_id++);
	while (depth) {
		LLVMValueRef end = LLVMGetBasicBlockTerminator(stack[depth - 1].block);
		LLVMBasicBlockRef to;

		if (stack[depth - 1].next == LLVMGetNumSuccessors(end)) {
			w->block[--left] = stack[--depth].block;
			continue;
		}
		to = LLVMGetSuccessor(end, stack[depth - 1].next++);
		if (label(s, to) || s->st)
			continue;
		spv_set(s, to, s->next_id++);
		stack[depth].block = to;
		stack[depth++].next = 0;
	}
	free(stack);
	/* those not reached leave room in front */
	w->nr_blocks = nr - left;
	memmove(w->block, w->block + left, w->nr_blocks * sizeof(*w->block));
	return !s->st;
}

static void write_block(struct writer *w, LLVMBasicBlockRef b, bool is_first)
{
	struct spv *s = &w->s;
	uint32_t id;

	s->line = 0;
	/* variables and the prologue come behind the first label */
	if (!is_first)
		SPV_PUT(s->out, SpvOpLabel, label(s, b));
	for (LLVMValueRef v = LLVMGetFirstInstruction(b); v && !s->st; v = LLVMGetNextInstruction(v)) {
		mark_line(s, v);
		id = one(w, v);
		if (id)
			spv_set(s, v, id);
		else if (LLVMGetTypeKind(LLVMTypeOf(v)) != LLVMVoidTypeKind && LLVMGetFirstUse(v))
			spv_refuse(s, "LLVM's operation %d", (int)LLVMGetInstructionOpcode(v));
	}
}

/* Its beginning in `head`. Returns the function's id. */
static uint32_t write_function(struct writer *w, LLVMValueRef fn, struct hg_writer *head)
{
	struct spv *s = &w->s;
	uint32_t id = s->next_id++, type, word[2 + 8], nr = LLVMCountParams(fn), param;

	if (nr > 8)
		return spv_refuse(s, "a kernel of %u arguments", nr);
	word[0] = type = s->next_id++;
	word[1] = spv_type_make(s, SpvOpTypeVoid, 0, 0);
	SPV_PUT(head, SpvOpFunction, word[1], id, SpvFunctionControlMaskNone, type);
	write_text(&s->names, SpvOpName, &id, 1, s->opt->kernel, NULL, 0);
	for (uint32_t i = 0; i < nr; i++) {
		LLVMValueRef p = LLVMGetParam(fn, i);

		word[2 + i] = spv_type(s, LLVMTypeOf(p));
		param = spv_new(s, head, SpvOpFunctionParameter, word[2 + i], NULL, 0);
		if (*LLVMGetValueName(p))
			write_text(&s->names, SpvOpName, &param, 1, LLVMGetValueName(p), NULL, 0);
		spv_set(s, p, param);
	}
	spv_put(&s->globals, SpvOpTypeFunction, word, 2 + nr);
	if (!order_blocks(w, fn)) {
		s->st = s->st ? s->st : HG_ERR_NOMEM;
		return 0;
	}
	SPV_PUT(head, SpvOpLabel, label(s, w->block[0]));
	for (size_t i = 0; i < w->nr_blocks && !s->st; i++)
		write_block(w, w->block[i], !i);
	spv_put(&s->code, SpvOpFunctionEnd, NULL, 0);
	for (size_t i = 0; i < w->nr_later && !s->st; i++) {
		uint32_t v = spv_id(s, w->later[i].value);

		if (!s->code.failed)
			memcpy(s->code.data + w->later[i].at, &v, sizeof(v));
	}
	return id;
}

/* ---- the module ---- */

/*
 * Denormals, signed zeros, infinities and NaNs are kept, and results rounded to nearest even, where nothing says otherwise: no modes of
 * SPV_KHR_float_controls, which Intel's compilers do not take.
 */
static void write_modes(struct spv *s, struct hg_writer *out, uint32_t fn)
{
	SPV_PUT(out, SpvOpExecutionMode, fn, SpvExecutionModeContractionOff);
	if (s->opt->max_threads)
		SPV_PUT(out, SpvOpExecutionMode, fn, SpvExecutionModeLocalSizeHint, s->opt->max_threads, 1, 1);
	if (s->uses_lanes)
		SPV_PUT(out, SpvOpExecutionMode, fn, SpvExecutionModeSubgroupSize, 32);
}

static void append(struct hg_writer *out, const struct hg_writer *part)
{
	hg_write_bytes(out, part->data, part->size);
	out->failed |= part->failed;
}

static void write_module(struct spv *s, struct hg_writer *out, const struct hg_writer *head, uint32_t fn, uint32_t version)
{
	const struct hg_writer *const part[] = { &s->strings, &s->names, &s->decorations, &s->globals, head, &s->variables, &s->prologue, &s->code };

	spv_need(s, SpvCapabilityKernel);
	spv_need(s, SpvCapabilityAddresses);
	if (s->uses_lanes)
		spv_need(s, SpvCapabilitySubgroupDispatch);

	hg_write_u32(out, SpvMagicNumber);
	hg_write_u32(out, version);
	hg_write_u32(out, 0);
	hg_write_u32(out, s->next_id);
	hg_write_u32(out, 0);
	for (uint32_t i = 0; i < s->nr_capabilities; i++)
		SPV_PUT(out, SpvOpCapability, s->capability[i]);
	if (s->opencl)
		write_text(out, SpvOpExtInstImport, &s->opencl, 1, "OpenCL.std", NULL, 0);
	SPV_PUT(out, SpvOpMemoryModel, SpvAddressingModelPhysical64, SpvMemoryModelOpenCL);

	write_text(out, SpvOpEntryPoint, SPV_WORDS(SpvExecutionModelKernel, fn), s->opt->kernel, s->interface, s->nr_interface);
	write_modes(s, out, fn);
	for (size_t i = 0; i < sizeof(part) / sizeof(*part); i++)
		append(out, part[i]);
}

static LLVMValueRef find_kernel(struct spv *s, LLVMModuleRef m)
{
	LLVMValueRef found = NULL;

	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f)) {
		if (!LLVMCountBasicBlocks(f))
			continue;
		if (found || strcmp(LLVMGetValueName(f), s->opt->kernel))
			spv_refuse(s, "a second function, '%s'", LLVMGetValueName(f));
		found = f;
	}
	if (!found)
		spv_refuse(s, "there is no function '%s'", s->opt->kernel);
	return found;
}

enum hg_status spirv_write(LLVMModuleRef m, const struct spirv_write_options *opt, uint32_t **words, size_t *nr_words, uint32_t *version,
			   char *why, size_t why_size)
{
	struct writer w = { .s = { .opt = opt, .next_id = 1, .ids = HG_IDMAP_INIT, .why = why, .why_size = why_size,
				   .uses_lanes = opt->uses_lanes, .layout = LLVMGetModuleDataLayout(m) } };
	struct spv *s = &w.s;
	struct hg_writer head = { 0 }, out = { 0 };
	LLVMValueRef fn;
	uint32_t id;

	s->out = &s->code;
	fn = find_kernel(s, m);
	if (!s->st) {
		id = write_function(&w, fn, &head);
		if (!s->st) {
			*version = s->uses_lanes ? 0x10300 : 0x10000;
			write_module(s, &out, &head, id, *version);
			if (out.failed)
				s->st = HG_ERR_NOMEM;
		}
	}
	if (s->st) {
		hg_writer_release(&out);
	} else {
		*words = (uint32_t *)(void *)out.data;
		*nr_words = out.size / sizeof(**words);
	}
	hg_writer_release(&head);
	hg_writer_release(&s->strings);
	hg_writer_release(&s->names);
	hg_writer_release(&s->decorations);
	hg_writer_release(&s->globals);
	hg_writer_release(&s->variables);
	hg_writer_release(&s->prologue);
	hg_writer_release(&s->code);
	hg_idmap_release(&s->ids);
	free(s->type);
	free(w.block);
	free(w.later);
	free(w.between);
	return s->st;
}
