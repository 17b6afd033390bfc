/* simt_spirv_lane.c - what the functions mean to a lane that llvm-spirv makes of SPIR-V instructions ("SPIR-V friendly IR"). */
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/simt/simt_wave.h"

/*
 * An instruction OpX is a call of __spirv_X, mangled as C++ does it, with the operands that are ids, scopes and semantics among them;
 * one of OpenCL.std is __spirv_ocl_x. Those that LLVM has an instruction for are that.
 */
typedef LLVMValueRef V;

enum { SCOPE_DEVICE = 1, SCOPE_WORKGROUP, SCOPE_SUBGROUP };
enum { ACQUIRE = 0x2, RELEASE = 0x4, ACQUIRE_RELEASE = 0x8, SEQUENTIAL = 0x10 };

/* ---- what a kernel asks for ---- */

/* The number of !name on the kernel; 0: it has none. */
static uint32_t number_of(struct lane_code *l, V kernel, const char *name)
{
	unsigned int kind = LLVMGetMDKindIDInContext(l->c, name, (unsigned int)strlen(name));
	LLVMValueMetadataEntry *all;
	uint32_t n = 0;
	size_t nr;

	all = LLVMGlobalCopyAllMetadata(kernel, &nr);
	for (unsigned int i = 0; i < nr; i++) {
		V node, number;

		if (LLVMValueMetadataEntriesGetKind(all, i) != kind)
			continue;
		node = LLVMMetadataAsValue(l->c, LLVMValueMetadataEntriesGetMetadata(all, i));
		if (LLVMGetMDNodeNumOperands(node) != 1)
			continue;
		LLVMGetMDNodeOperands(node, &number);
		if (number && LLVMIsAConstantInt(number))
			n = (uint32_t)LLVMConstIntGetZExtValue(number);
	}
	LLVMDisposeValueMetadataEntries(all);
	return n;
}

void simt_spirv_check(struct lane_code *l, V kernel)
{
	l->asks_lanes = number_of(l, kernel, "intel_reqd_sub_group_size");
	if (l->asks_lanes && l->asks_lanes != l->wave)
		lane_refuse(l, "sub-groups of %u", l->asks_lanes);
}

void simt_spirv_check_inst(struct lane_code *l, V inst)
{
	LLVMTypeRef type = LLVMTypeOf(inst);
	LLVMTypeKind kind;

	if (LLVMGetTypeKind(type) == LLVMVectorTypeKind)
		type = LLVMGetElementType(type);
	kind = LLVMGetTypeKind(type);
	switch (LLVMGetInstructionOpcode(inst)) {
	case LLVMFDiv:
		if (kind != LLVMDoubleTypeKind)
			lane_refuse(l, "OpFDiv of 16 or 32 bits, which need not be exact");
		break;
	case LLVMFMul:
		if (LLVMGetNamedMetadata(l->m, "opencl.enable.FP_CONTRACT", 25))
			lane_refuse(l, "floating point that may be contracted (no ContractionOff)");
		break;
	default: break;
	}
}

/* ---- tools ---- */

static bool is_constant(struct lane_code *l, V call, unsigned int i, const char *what)
{
	if (LLVMIsAConstantInt(lane_arg_of(call, i)))
		return true;
	lane_refuse(l, "%s that is not constant", what);
	return false;
}

static LLVMAtomicOrdering ordering(V call, unsigned int i)
{
	uint64_t semantics = lane_imm(call, i);

	if (!LLVMIsAConstantInt(lane_arg_of(call, i)) || semantics & SEQUENTIAL)
		return LLVMAtomicOrderingSequentiallyConsistent;
	if (semantics & ACQUIRE_RELEASE || (semantics & ACQUIRE && semantics & RELEASE))
		return LLVMAtomicOrderingAcquireRelease;
	return semantics & ACQUIRE ? LLVMAtomicOrderingAcquire : semantics & RELEASE ? LLVMAtomicOrderingRelease : LLVMAtomicOrderingMonotonic;
}

/* The part of it that a load (acquire) or a store (release) can have. */
static LLVMAtomicOrdering half_of(LLVMAtomicOrdering order, LLVMAtomicOrdering half)
{
	return order == LLVMAtomicOrderingAcquireRelease ? half : order;
}

static V int_const(V like, uint64_t n)
{
	return LLVMConstInt(LLVMTypeOf(like), n, 0);
}

/* A scalar integer; others are refused. */
static bool is_integer(struct lane_code *l, V call)
{
	if (LLVMGetTypeKind(LLVMTypeOf(lane_arg_of(call, 0))) == LLVMIntegerTypeKind)
		return true;
	lane_refuse(l, "integers in vectors");
	return false;
}

/* The call becomes LLVM's intrinsic of the same operands, and of what is in `more`. */
static void as_intrinsic(struct lane_code *l, V call, const char *name, V more)
{
	LLVMTypeRef type = LLVMTypeOf(lane_arg_of(call, 0));
	unsigned int nr = LLVMGetNumArgOperands(call);
	V in[4], by;

	for (unsigned int i = 0; i < nr && i < 3; i++)
		in[i] = lane_arg_of(call, i);
	if (more)
		in[nr++] = more;
	by = lane_intrinsic(l, name, &type, 1, in, nr);
	lane_replace(call, by);
	LLVMPositionBuilderBefore(l->b, by);
	lane_call(l, by);
}

/* ---- where a lane is ---- */

static V grid_field(struct lane_code *l, size_t offset)
{
	V env = LLVMBuildLoad2(l->b, l->ptr, lane_at(l, lane_param(l, LANE_SELF), LLVMConstInt(l->i64, offsetof(struct simt_item, env), 0)), "");
	V grid = LLVMBuildLoad2(l->b, l->ptr, lane_at(l, env, LLVMConstInt(l->i64, offsetof(struct simt_env, params), 0)), "");

	return LLVMBuildLoad2(l->b, l->i32, lane_at(l, grid, LLVMConstInt(l->i64, offset, 0)), "");
}

static void built_in(struct lane_code *l, V call, V v)
{
	lane_replace(call, LLVMBuildIntCast2(l->b, v, LLVMTypeOf(call), false, ""));
}

/* The component that is asked for. */
static unsigned int component(struct lane_code *l, V call)
{
	if (LLVMGetNumArgOperands(call) != 1 || !is_constant(l, call, 0, "a component of a built-in variable") || lane_imm(call, 0) > 2) {
		lane_refuse(l, "a built-in variable as a vector");
		return 0;
	}
	return (unsigned int)lane_imm(call, 0);
}

static void do_local_id(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	built_in(l, call, lane_param(l, LANE_X + component(l, call)));
}

static void do_group_id(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	built_in(l, call, lane_env_field(l, offsetof(struct simt_env, ctaid) + 4 * component(l, call)));
}

static void do_group_size(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	built_in(l, call, grid_field(l, offsetof(struct simt_wave_grid, block) + 4 * component(l, call)));
}

static void do_nr_groups(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	built_in(l, call, lane_env_field(l, offsetof(struct simt_env, nctaid) + 4 * component(l, call)));
}

static void do_global_id(struct lane_code *l, V call, unsigned int arg)
{
	unsigned int n = component(l, call);
	V size = LLVMBuildZExt(l->b, grid_field(l, offsetof(struct simt_wave_grid, block) + 4 * n), l->i64, "");
	V group = LLVMBuildZExt(l->b, lane_env_field(l, offsetof(struct simt_env, ctaid) + 4 * n), l->i64, "");

	(void)arg;
	built_in(l, call, LLVMBuildAdd(l->b, LLVMBuildMul(l->b, size, group, ""),
				       LLVMBuildZExt(l->b, lane_param(l, LANE_X + n), l->i64, ""), ""));
}

/* ---- sub-groups ---- */

static bool has_sub_groups(struct lane_code *l)
{
	if (l->asks_lanes)
		return true;
	lane_refuse(l, "operations of sub-groups where no size of them is asked for");
	return false;
}

static bool of_sub_group(struct lane_code *l, V call)
{
	if (!has_sub_groups(l))
		return false;
	if (LLVMIsAConstantInt(lane_arg_of(call, 0)) && lane_imm(call, 0) == SCOPE_SUBGROUP)
		return true;
	lane_refuse(l, "a group operation of another scope than sub-groups");
	return false;
}

static void do_lane(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	if (has_sub_groups(l))
		built_in(l, call, lane_param(l, LANE_NUMBER));
}

static void do_ballot(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	if (of_sub_group(l, call))
		lane_add_op(l, call, WAVE_BALLOT, 0, LLVMBuildZExt(l->b, lane_arg_of(call, 1), l->i32, ""), NULL, NULL);
}

static void do_shuffle(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	if (of_sub_group(l, call))
		lane_add_op(l, call, WAVE_SHUFFLE, 0, lane_arg_of(call, 1),
			    LLVMBuildIntCast2(l->b, lane_arg_of(call, 2), l->i32, false, ""), NULL);
}

static void do_first(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	if (of_sub_group(l, call))
		lane_add_op(l, call, WAVE_READFIRSTLANE, 0, lane_arg_of(call, 1), NULL, NULL);
}

/* ---- order ---- */

static void fence(struct lane_code *l, V call, unsigned int i)
{
	LLVMAtomicOrdering order = ordering(call, i);

	if (order != LLVMAtomicOrderingMonotonic)
		LLVMBuildFence(l->b, order, false, "");
}

static void do_memory_barrier(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	fence(l, call, 1);
	lane_replace(call, NULL);
}

static void do_control_barrier(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	if (!is_constant(l, call, 0, "the scope of a barrier"))
		return;
	fence(l, call, 2);
	if (lane_imm(call, 0) == SCOPE_WORKGROUP) {
		l->waits = true;
		lane_add_op(l, call, WAVE_GROUP_BARRIER, 0, NULL, NULL, NULL);
	} else if (lane_imm(call, 0) == SCOPE_SUBGROUP) {
		lane_add_op(l, call, WAVE_MEET, 0, NULL, NULL, NULL);
	} else {
		lane_refuse(l, "a barrier of another scope than work-groups and sub-groups");
	}
}

/* ---- atomic operations: pointer, scope, semantics, … ---- */

static void check_atomic(struct lane_code *l, V call, LLVMTypeRef type)
{
	uint32_t bits = lane_bits_of(type);

	if (bits != 32 && bits != 64)
		lane_refuse(l, "an atomic operation that is not of 32 or 64 bits");
	else
		lane_check_lds(l, lane_arg_of(call, 0), LLVMConstInt(l->i64, bits / 8, 0));
}

static void do_atomic(struct lane_code *l, V call, unsigned int op)
{
	check_atomic(l, call, LLVMTypeOf(call));
	lane_replace(call, LLVMBuildAtomicRMW(l->b, (LLVMAtomicRMWBinOp)op, lane_arg_of(call, 0), lane_arg_of(call, 3), ordering(call, 2), false));
}

static void do_atomic_step(struct lane_code *l, V call, unsigned int op)
{
	check_atomic(l, call, LLVMTypeOf(call));
	lane_replace(call, LLVMBuildAtomicRMW(l->b, (LLVMAtomicRMWBinOp)op, lane_arg_of(call, 0), int_const(call, 1), ordering(call, 2), false));
}

static void do_atomic_load(struct lane_code *l, V call, unsigned int arg)
{
	LLVMTypeRef type = LLVMTypeOf(call);
	V v;

	(void)arg;
	check_atomic(l, call, type);
	v = LLVMBuildLoad2(l->b, type, lane_arg_of(call, 0), "");
	LLVMSetAlignment(v, lane_bits_of(type) / 8);
	LLVMSetOrdering(v, half_of(ordering(call, 2), LLVMAtomicOrderingAcquire));
	lane_replace(call, v);
}

static void do_atomic_store(struct lane_code *l, V call, unsigned int arg)
{
	LLVMTypeRef type = LLVMTypeOf(lane_arg_of(call, 3));
	V v;

	(void)arg;
	check_atomic(l, call, type);
	v = LLVMBuildStore(l->b, lane_arg_of(call, 3), lane_arg_of(call, 0));
	LLVMSetAlignment(v, lane_bits_of(type) / 8);
	LLVMSetOrdering(v, half_of(ordering(call, 2), LLVMAtomicOrderingRelease));
	lane_replace(call, NULL);
}

/* …, equal, unequal, value, comparator. The weaker of the two orders is of no use to this CPU. */
static void do_compare_exchange(struct lane_code *l, V call, unsigned int arg)
{
	V v;

	(void)arg;
	check_atomic(l, call, LLVMTypeOf(call));
	v = LLVMBuildAtomicCmpXchg(l->b, lane_arg_of(call, 0), lane_arg_of(call, 5), lane_arg_of(call, 4),
				   LLVMAtomicOrderingSequentiallyConsistent, LLVMAtomicOrderingSequentiallyConsistent, false);
	lane_replace(call, LLVMBuildExtractValue(l->b, v, 0, ""));
}

/* ---- pointers ---- */

/* A generic pointer as one of an address space, null if it is not of that. */
static void do_explicit(struct lane_code *l, V call, unsigned int space)
{
	V p = lane_arg_of(call, 0), is_local, is_private, is;

	is_local = lane_is_within(l, p, lane_param(l, LANE_LDS), lane_param(l, LANE_LDS_BYTES));
	is_private = lane_is_within(l, p, lane_param(l, LANE_FRAMES), lane_param(l, LANE_FRAMES_BYTES));
	is = space == 3 ? is_local : space == 0 ? is_private : LLVMBuildNot(l->b, LLVMBuildOr(l->b, is_local, is_private, ""), "");
	lane_replace(call, LLVMBuildSelect(l->b, is, LLVMBuildAddrSpaceCast(l->b, p, LLVMTypeOf(call), ""), LLVMConstNull(LLVMTypeOf(call)), ""));
}

/* ---- numbers ---- */

enum { FMA, RINT, FLOOR, CEIL, TRUNC, FABS, COPYSIGN, POPCOUNT, REVERSE, SMIN, SMAX, UMIN, UMAX, UADD_SAT, SADD_SAT, USUB_SAT, SSUB_SAT };
static const char *const intrinsic[] = {
	[FMA] = "llvm.fma", [RINT] = "llvm.rint", [FLOOR] = "llvm.floor", [CEIL] = "llvm.ceil", [TRUNC] = "llvm.trunc",
	[FABS] = "llvm.fabs", [COPYSIGN] = "llvm.copysign", [POPCOUNT] = "llvm.ctpop", [REVERSE] = "llvm.bitreverse", [SMIN] = "llvm.smin",
	[SMAX] = "llvm.smax", [UMIN] = "llvm.umin", [UMAX] = "llvm.umax", [UADD_SAT] = "llvm.uadd.sat", [SADD_SAT] = "llvm.sadd.sat",
	[USUB_SAT] = "llvm.usub.sat", [SSUB_SAT] = "llvm.ssub.sat",
};

static void do_same(struct lane_code *l, V call, unsigned int which)
{
	as_intrinsic(l, call, intrinsic[which], NULL);
}

/* Of 0: the width. */
static void do_zeros(struct lane_code *l, V call, unsigned int trailing)
{
	as_intrinsic(l, call, trailing ? "llvm.cttz" : "llvm.ctlz", LLVMConstNull(l->i1));
}

static void do_abs(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	as_intrinsic(l, call, "llvm.abs", LLVMConstNull(l->i1));
}

static void do_mul_hi(struct lane_code *l, V call, unsigned int is_signed)
{
	LLVMTypeRef type = LLVMTypeOf(call), wide;
	V a, b, r;

	if (!is_integer(l, call))
		return;
	wide = LLVMIntTypeInContext(l->c, 2 * lane_bits_of(type));
	a = LLVMBuildIntCast2(l->b, lane_arg_of(call, 0), wide, is_signed != 0, "");
	b = LLVMBuildIntCast2(l->b, lane_arg_of(call, 1), wide, is_signed != 0, "");
	r = LLVMBuildLShr(l->b, LLVMBuildMul(l->b, a, b, ""), LLVMConstInt(wide, lane_bits_of(type), 0), "");
	lane_replace(call, LLVMBuildTrunc(l->b, r, type, ""));
}

static void do_rotate(struct lane_code *l, V call, unsigned int arg)
{
	LLVMTypeRef type = LLVMTypeOf(call);
	V a = lane_arg_of(call, 0);

	(void)arg;
	lane_replace(call, lane_intrinsic(l, "llvm.fshl", &type, 1, (V[]){ a, a, lane_arg_of(call, 1) }, 3));
}

/* Correctly rounded for 64 bits alone. */
static void do_sqrt(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	if (LLVMGetTypeKind(LLVMTypeOf(call)) != LLVMDoubleTypeKind)
		lane_refuse(l, "sqrt of 16 or 32 bits, which need not be exact");
	else
		as_intrinsic(l, call, "llvm.sqrt", NULL);
}

static void do_class(struct lane_code *l, V call, unsigned int mask)
{
	LLVMTypeRef type = LLVMTypeOf(lane_arg_of(call, 0));
	V is;

	if (!lane_bits_of(type)) {
		lane_refuse(l, "classes of numbers in vectors");
		return;
	}
	is = lane_intrinsic(l, "llvm.is.fpclass", &type, 1, (V[]){ lane_arg_of(call, 0), lane_i32(l, mask) }, 2);
	lane_replace(call, LLVMBuildIntCast2(l->b, is, LLVMTypeOf(call), false, ""));
}

static void do_order(struct lane_code *l, V call, unsigned int predicate)
{
	V is = LLVMBuildFCmp(l->b, (LLVMRealPredicate)predicate, lane_arg_of(call, 0), lane_arg_of(call, 1), "");

	lane_replace(call, LLVMBuildIntCast2(l->b, is, LLVMTypeOf(call), false, ""));
}

static void do_clock(struct lane_code *l, V call, unsigned int arg)
{
	(void)arg;
	if (LLVMTypeOf(call) != l->i64)
		lane_refuse(l, "OpReadClockKHR of two words");
	else
		lane_clock(l, call);
}

/* ---- all of them ---- */

/* Without "__spirv_". */
static const struct {
	const char *name;
	void (*fn)(struct lane_code *l, V call, unsigned int arg);
	unsigned int arg;
} known[] = {
	{ "AtomicAnd", do_atomic, LLVMAtomicRMWBinOpAnd }, { "AtomicCompareExchange", do_compare_exchange, 0 },
	{ "AtomicExchange", do_atomic, LLVMAtomicRMWBinOpXchg }, { "AtomicFAddEXT", do_atomic, LLVMAtomicRMWBinOpFAdd },
	{ "AtomicIAdd", do_atomic, LLVMAtomicRMWBinOpAdd }, { "AtomicIDecrement", do_atomic_step, LLVMAtomicRMWBinOpSub },
	{ "AtomicIIncrement", do_atomic_step, LLVMAtomicRMWBinOpAdd }, { "AtomicISub", do_atomic, LLVMAtomicRMWBinOpSub },
	{ "AtomicLoad", do_atomic_load, 0 }, { "AtomicOr", do_atomic, LLVMAtomicRMWBinOpOr },
	{ "AtomicSMax", do_atomic, LLVMAtomicRMWBinOpMax }, { "AtomicSMin", do_atomic, LLVMAtomicRMWBinOpMin },
	{ "AtomicStore", do_atomic_store, 0 }, { "AtomicUMax", do_atomic, LLVMAtomicRMWBinOpUMax },
	{ "AtomicUMin", do_atomic, LLVMAtomicRMWBinOpUMin }, { "AtomicXor", do_atomic, LLVMAtomicRMWBinOpXor },
	{ "BitCount", do_same, POPCOUNT }, { "BitReverse", do_same, REVERSE },
	{ "BuiltInGlobalInvocationId", do_global_id, 0 }, { "BuiltInLocalInvocationId", do_local_id, 0 },
	{ "BuiltInNumWorkgroups", do_nr_groups, 0 }, { "BuiltInSubgroupLocalInvocationId", do_lane, 0 },
	{ "BuiltInWorkgroupId", do_group_id, 0 }, { "BuiltInWorkgroupSize", do_group_size, 0 },
	{ "ControlBarrier", do_control_barrier, 0 }, { "GenericCastToPtrExplicit_ToGlobal", do_explicit, 1 },
	{ "GenericCastToPtrExplicit_ToLocal", do_explicit, 3 }, { "GenericCastToPtrExplicit_ToPrivate", do_explicit, 0 },
	{ "GroupNonUniformBallot", do_ballot, 0 }, { "GroupNonUniformBroadcastFirst", do_first, 0 },
	{ "GroupNonUniformShuffle", do_shuffle, 0 },
	/* LLVM's bits: 3 no number, 0x204 infinite, 0x1f8 finite, 0x108 normal */
	{ "IsFinite", do_class, 0x1f8 }, { "IsInf", do_class, 0x204 }, { "IsNan", do_class, 3 }, { "IsNormal", do_class, 0x108 },
	{ "MemoryBarrier", do_memory_barrier, 0 }, { "Ordered", do_order, LLVMRealORD }, { "ReadClockKHR", do_clock, 0 },
	{ "Unordered", do_order, LLVMRealUNO },
	{ "ocl_ceil", do_same, CEIL }, { "ocl_clz", do_zeros, 0 }, { "ocl_copysign", do_same, COPYSIGN }, { "ocl_ctz", do_zeros, 1 },
	{ "ocl_fabs", do_same, FABS }, { "ocl_floor", do_same, FLOOR }, { "ocl_fma", do_same, FMA }, { "ocl_popcount", do_same, POPCOUNT },
	{ "ocl_rint", do_same, RINT }, { "ocl_rotate", do_rotate, 0 }, { "ocl_s_abs", do_abs, 0 }, { "ocl_s_add_sat", do_same, SADD_SAT },
	{ "ocl_s_max", do_same, SMAX }, { "ocl_s_min", do_same, SMIN }, { "ocl_s_mul_hi", do_mul_hi, 1 }, { "ocl_s_sub_sat", do_same, SSUB_SAT },
	{ "ocl_sqrt", do_sqrt, 0 }, { "ocl_trunc", do_same, TRUNC }, { "ocl_u_add_sat", do_same, UADD_SAT }, { "ocl_u_max", do_same, UMAX },
	{ "ocl_u_min", do_same, UMIN }, { "ocl_u_mul_hi", do_mul_hi, 0 }, { "ocl_u_sub_sat", do_same, USUB_SAT },
};

/* Of _Z22__spirv_ControlBarrieriii: ControlBarrier. */
static const char *bare_name(const char *name, size_t *len)
{
	static const char prefix[] = "__spirv_";
	size_t n;
	char *end;

	if (strncmp(name, "_Z", 2))
		return NULL;
	n = strtoul(name + 2, &end, 10);
	if (end == name + 2 || n < sizeof(prefix) - 1 || n > strlen(end) || strncmp(end, prefix, sizeof(prefix) - 1))
		return NULL;
	*len = n - (sizeof(prefix) - 1);
	return end + sizeof(prefix) - 1;
}

bool simt_spirv_call(struct lane_code *l, V call, const char *name, size_t len)
{
	const char *bare = bare_name(name, &len);

	for (size_t i = 0; bare && i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i].name) == len && !memcmp(known[i].name, bare, len)) {
			known[i].fn(l, call, known[i].arg);
			return true;
		}
	return false;
}
