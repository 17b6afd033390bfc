/* emit_gpu_spirv.c - what the GPU emitter needs of SPIR-V: the functions of spirv_write.h's dialect, and arithmetic that OpenCL leaves loose. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "translate/emit_gpu_priv.h"
#include "translate/spirv_write.h"

#define SPIR_KERNEL 76	/* LLVM's calling convention */

static void add_attribute(struct emit *e, LLVMValueRef fn, const char *name, uint64_t value)
{
	unsigned int kind = LLVMGetEnumAttributeKindForName(name, strlen(name));

	LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->c, kind, value));
}

/* A function of the dialect. Pure ones depend on their arguments alone; of the others, lanes execute each together. */
static LLVMValueRef call(struct emit *e, const char *name, LLVMTypeRef result, LLVMValueRef *args, unsigned int nr, bool pure)
{
	LLVMValueRef fn = LLVMGetNamedFunction(e->m, name);
	LLVMTypeRef type, of[2];

	for (unsigned int i = 0; i < nr; i++)
		of[i] = LLVMTypeOf(args[i]);
	type = LLVMFunctionType(result, of, nr, 0);
	if (!fn) {
		fn = LLVMAddFunction(e->m, name, type);
		add_attribute(e, fn, "nounwind", 0);
		add_attribute(e, fn, "willreturn", 0);
		add_attribute(e, fn, pure ? "memory" : "convergent", 0);	/* memory(none) */
	}
	return LLVMBuildCall2(e->b, type, fn, args, nr, "");
}

static LLVMTypeRef i32_type(struct emit *e)
{
	return emit_scalar_int(e, 32);
}

static LLVMValueRef item(struct emit *e, unsigned int axis)
{
	(void)axis;
	return call(e, "hg.local.id.0", i32_type(e), NULL, 0, true);
}

static LLVMValueRef group(struct emit *e, unsigned int axis)
{
	static const char *const name[] = { "hg.group.id.0", "hg.group.id.1", "hg.group.id.2" };

	return call(e, name[axis], i32_type(e), NULL, 0, true);
}

static bool is_of_lanes(enum ir_op op)
{
	return op == IR_shfl || op == IR_vote || op == IR_activemask || op == IR_warpsync;
}

static bool has_lanes(const struct ir_func *fn)
{
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++)
			if (is_of_lanes(fn->block[b].insn[i].op))
				return true;
	return false;
}

/* Whether sub-groups must be warps; where they need not, the lane is only a number. */
static bool uses_lanes(const struct emit *e)
{
	return e->gpu->opt.scheduled || e->gpu->soft_barriers || has_lanes(e->fn);
}

static LLVMValueRef wave_lane(struct emit *e)
{
	return uses_lanes(e) ? call(e, "hg.lane", i32_type(e), NULL, 0, true) :
			       LLVMBuildAnd(e->b, e->gpu->thread, emit_i32(e, HG_WARP - 1), "");
}

static LLVMValueRef ballot(struct emit *e, LLVMValueRef bit)
{
	return call(e, "hg.ballot", i32_type(e), &bit, 1, false);
}

static LLVMValueRef from_lane(struct emit *e, LLVMValueRef v, LLVMValueRef from)
{
	return call(e, "hg.shuffle", i32_type(e), (LLVMValueRef[]){ v, from }, 2, false);
}

static LLVMValueRef first(struct emit *e, LLVMValueRef v)
{
	return uses_lanes(e) ? call(e, "hg.first", i32_type(e), &v, 1, false) : v;
}

static void barrier(struct emit *e)
{
	call(e, "hg.barrier", LLVMVoidTypeInContext(e->c), NULL, 0, false);
}

/* OpControlBarrier asks for all of the sub-group; lanes may have ended. A ballot is executed by those that are here, together. */
static void wave_barrier(struct emit *e)
{
	ballot(e, LLVMConstInt(emit_scalar_int(e, 1), 1, 0));
}

/* There is nothing of the kind. */
static void sleep_units(struct emit *e, uint32_t units)
{
	(void)e;
	(void)units;
}

/*
 * OpenCL has no counter that every device lets be read. What counts instead is how often one was read: it goes on for whoever waits for it,
 * and says nothing of durations.
 */
static LLVMValueRef timer(struct emit *e)
{
	LLVMValueRef n = emit_gpu_rmw(e, LLVMAtomicRMWBinOpAdd, emit_gpu_state_at(e, offsetof(struct hg_gpu_state, reads)), emit_i32(e, 1),
				      EMIT_SCOPE_DEVICE, LLVMAtomicOrderingMonotonic);

	return LLVMBuildAdd(e->b, emit_resize(e, n, 64, false), emit_i64(e, 1), "");
}

/* A read takes some cycles. */
static LLVMValueRef clock_of(struct emit *e)
{
	return LLVMBuildShl(e->b, timer(e), emit_i64(e, 6), "");
}

/*
 * Whether a generic address lies in memory of another kind, `bytes` from p on. Nothing says when OpGenericCastToPtrExplicit gives no pointer: where all
 * memory is one, it may always give one.
 */
static LLVMValueRef is_within(struct emit *e, LLVMValueRef flat, LLVMValueRef p, LLVMValueRef bytes)
{
	LLVMTypeRef i64 = emit_scalar_int(e, 64);
	LLVMValueRef base = LLVMBuildAddrSpaceCast(e->b, p, emit_gpu_ptr(e, EMIT_AS_FLAT), ""), at;

	at = LLVMBuildSub(e->b, LLVMBuildPtrToInt(e->b, flat, i64, ""), LLVMBuildPtrToInt(e->b, base, i64, ""), "");
	return LLVMBuildICmp(e->b, LLVMIntULT, at, emit_resize(e, bytes, 64, false), "");
}

static LLVMValueRef is_shared(struct emit *e, LLVMValueRef flat)
{
	return is_within(e, flat, e->gpu->shared, emit_env(e, i32_type(e), offsetof(struct hg_gpu_env, shared_bytes)));
}

static LLVMValueRef is_private(struct emit *e, LLVMValueRef flat)
{
	if (!e->gpu->local)
		return LLVMConstInt(emit_scalar_int(e, 1), 0, 0);
	return is_within(e, flat, e->gpu->local, emit_i32(e, e->gpu->opt.local_bytes));
}

static LLVMValueRef shared(struct emit *e, LLVMValueRef offset)
{
	LLVMValueRef at = emit_resize(e, offset, 64, false);

	return LLVMBuildGEP2(e->b, emit_scalar_int(e, 8), e->gpu->shared, &at, 1, "");
}

static LLVMValueRef shared_offset(struct emit *e, LLVMValueRef p)
{
	LLVMValueRef at = LLVMBuildPtrToInt(e->b, p, emit_scalar_int(e, 64), "");

	at = LLVMBuildSub(e->b, at, LLVMBuildPtrToInt(e->b, e->gpu->shared, emit_scalar_int(e, 64), ""), "");
	return emit_resize(e, at, 32, false);
}

/* void name(ptr addrspace(1), ptr addrspace(3)) */
static void add_function(struct emit *e, const char *name)
{
	LLVMTypeRef args[2] = { emit_gpu_ptr(e, EMIT_AS_GLOBAL), emit_gpu_ptr(e, EMIT_AS_LDS) };
	unsigned int align = LLVMGetEnumAttributeKindForName("align", strlen("align"));

	e->f = LLVMAddFunction(e->m, name, LLVMFunctionType(LLVMVoidTypeInContext(e->c), args, 2, 0));
	LLVMSetFunctionCallConv(e->f, SPIR_KERNEL);
	add_attribute(e, e->f, "nounwind", 0);
	/* 0 is an address like any other here */
	add_attribute(e, e->f, "null_pointer_is_valid", 0);
	for (LLVMAttributeIndex i = 1; i <= 2; i++)
		LLVMAddAttributeAtIndex(e->f, i, LLVMCreateEnumAttribute(e->c, align, 16));
	e->gpu->kernarg = LLVMGetParam(e->f, 0);
	e->gpu->shared = LLVMGetParam(e->f, 1);
}

static const struct emit_gpu_isa spirv = {
	.add_function = add_function, .item = item, .group = group, .wave_lane = wave_lane, .ballot = ballot, .from_lane = from_lane,
	.read_lane = from_lane, .first = first, .barrier = barrier, .wave_barrier = wave_barrier, .sleep = sleep_units, .clock = clock_of,
	.timer = timer, .is_shared = is_shared, .is_private = is_private, .shared = shared, .shared_offset = shared_offset,
	.strict_barriers = true, .flat_groups = true,
};

/* ---- arithmetic ---- */

/*
 * OpenCL lets division and square root of f32 be off by some units, and asks of those of f64 that they be correctly rounded. A quotient of
 * two numbers of 24 bits, or a root of one, is never so near the middle between two neighbours of at most 24 bits that 53 bits do not tell
 * on which side it is, so rounding twice gives what rounding once does; subnormal results too, as they have fewer bits.
 */
static LLVMValueRef through_f64(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	LLVMTypeRef f64 = emit_float(e, 64);
	LLVMValueRef v = LLVMBuildFPExt(e->b, a, f64, "");

	v = b ? LLVMBuildFDiv(e->b, v, LLVMBuildFPExt(e->b, b, f64, ""), "") : emit_call1(e, "llvm.sqrt", v);
	return LLVMBuildFPTrunc(e->b, v, LLVMTypeOf(a), "");
}

static void replace(struct emit *e, LLVMValueRef insn)
{
	LLVMValueRef a = LLVMGetOperand(insn, 0), b = LLVMGetInstructionOpcode(insn) == LLVMFDiv ? LLVMGetOperand(insn, 1) : NULL, v;

	LLVMPositionBuilderBefore(e->b, insn);
	if (e->gpu->opt.no_f64)
		v = b ? emit_gpu_f32_div(e, a, b, IR_RN) : emit_gpu_f32_sqrt(e, a, IR_RN);
	else
		v = through_f64(e, a, b);
	LLVMReplaceAllUsesWith(insn, v);
	LLVMInstructionEraseFromParent(insn);
}

static bool is_loose(LLVMValueRef insn)
{
	static const char root[] = "llvm.sqrt.f32";
	const char *name;
	size_t size;

	if (LLVMGetTypeKind(LLVMTypeOf(insn)) != LLVMFloatTypeKind)
		return false;
	if (LLVMGetInstructionOpcode(insn) != LLVMCall)
		return LLVMGetInstructionOpcode(insn) == LLVMFDiv;
	name = LLVMGetValueName2(LLVMGetCalledValue(insn), &size);
	return size == sizeof(root) - 1 && !memcmp(name, root, size);
}

static void round_correctly(LLVMContextRef c, LLVMModuleRef m, const char *name, const struct emit_gpu_options *opt)
{
	struct emit_gpu gpu = { .opt = *opt };
	struct emit e = { .c = c, .m = m, .b = LLVMCreateBuilderInContext(c), .gpu = &gpu, .lanes = 1 };

	for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(LLVMGetNamedFunction(m, name)); b; b = LLVMGetNextBasicBlock(b))
		for (LLVMValueRef next, insn = LLVMGetFirstInstruction(b); insn; insn = next) {
			next = LLVMGetNextInstruction(insn);
			if (is_loose(insn))
				replace(&e, insn);
		}
	LLVMDisposeBuilder(e.b);
}

/* Registers become values. Of LLVM's passes those that make no instruction, type or intrinsic that was not there before. */
static bool tidy(LLVMModuleRef m, char *why, size_t why_size)
{
	LLVMPassBuilderOptionsRef options;
	LLVMErrorRef err;
	char *text = NULL;

	if (LLVMVerifyModule(m, LLVMReturnStatusAction, &text)) {
		snprintf(why, why_size, "the emitter made invalid code: %s", text);
		LLVMDisposeMessage(text);
		return false;
	}
	LLVMDisposeMessage(text);
	options = LLVMCreatePassBuilderOptions();
	err = LLVMRunPasses(m, "function(mem2reg,instsimplify,early-cse,simplifycfg,dce)", NULL, options);
	LLVMDisposePassBuilderOptions(options);
	if (!err)
		return true;
	text = LLVMGetErrorMessage(err);
	snprintf(why, why_size, "%s", text);
	LLVMDisposeErrorMessage(text);
	return false;
}

enum hg_status emit_spirv(const struct ir_func *fn, const struct emit_gpu_options *opt, LLVMContextRef c, LLVMModuleRef m, const char *name,
			  uint32_t *extra_lds, char *why, size_t why_size)
{
	enum hg_status st;

	LLVMSetTarget(m, EMIT_SPIRV_TRIPLE);
	LLVMSetDataLayout(m, EMIT_SPIRV_LAYOUT);
	st = emit_gpu_kernel(fn, opt, &spirv, c, m, name, extra_lds, why, why_size);
	if (st)
		return st;
	round_correctly(c, m, name, opt);
	return tidy(m, why, why_size) ? HG_OK : HG_ERR_UNSUPPORTED;
}
