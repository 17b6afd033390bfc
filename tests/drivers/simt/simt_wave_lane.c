/* simt_wave_lane.c - a GPU's code of one lane becomes code for this CPU: arguments, address spaces, instructions. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/simt/simt_wave.h"
#include "tests/drivers/simt/simt_float.h"

/*
 * Pointers of every address space are addresses of this process. Those into local data share and scratch are 32 bits wide for
 * AMD: in memory and as integers they are the distance from where the block's share, or the wave's frames, begin. For SPIR-V they are
 * addresses there too.
 */
enum { AS_LDS = 3, AS_SCRATCH = 5 };

typedef LLVMValueRef V;

void lane_refuse(struct lane_code *l, const char *fmt, ...)
{
	va_list ap;

	if (l->refused)
		return;
	l->refused = true;
	va_start(ap, fmt);
	vsnprintf(l->why, l->why_size, fmt, ap);
	va_end(ap);
}

V lane_param(const struct lane_code *l, unsigned int i)
{
	return LLVMGetParam(l->f, i);
}

static bool is_ptr(LLVMTypeRef t)
{
	return LLVMGetTypeKind(t) == LLVMPointerTypeKind;
}

/* A pointer of 32 bits. */
static bool is_short(const struct lane_code *l, LLVMTypeRef t)
{
	return l->words->has_short && is_ptr(t) && (LLVMGetPointerAddressSpace(t) == AS_LDS || LLVMGetPointerAddressSpace(t) == AS_SCRATCH);
}

static bool has_short(const struct lane_code *l, LLVMTypeRef t)
{
	switch (LLVMGetTypeKind(t)) {
	case LLVMPointerTypeKind: return is_short(l, t);
	case LLVMArrayTypeKind: case LLVMVectorTypeKind: return has_short(l, LLVMGetElementType(t));
	case LLVMStructTypeKind:
		for (unsigned int i = 0; i < LLVMCountStructElementTypes(t); i++)
			if (has_short(l, LLVMStructGetTypeAtIndex(t, i)))
				return true;
		return false;
	default: return false;
	}
}

/* Memory of this type looks the same on both sides. */
static void check_type(struct lane_code *l, LLVMTypeRef t)
{
	LLVMTypeKind kind = LLVMGetTypeKind(t);

	if (kind == LLVMStructTypeKind || kind == LLVMArrayTypeKind || kind == LLVMVectorTypeKind) {
		if (has_short(l, t) || LLVMABISizeOfType(l->theirs, t) != LLVMABISizeOfType(l->ours, t))
			lane_refuse(l, "a type in memory that is laid out otherwise on this CPU");
	} else if (is_ptr(t) && (LLVMGetPointerAddressSpace(t) > 31 || !(l->words->spaces >> LLVMGetPointerAddressSpace(t) & 1))) {
		lane_refuse(l, "pointers of address space %u", LLVMGetPointerAddressSpace(t));
	}
}

/* ---- short pointers and their numbers ---- */

static V base_of(const struct lane_code *l, LLVMTypeRef ptr)
{
	return LLVMGetPointerAddressSpace(ptr) == AS_LDS ? lane_param(l, LANE_LDS) :
		LLVMBuildAddrSpaceCast(l->b, lane_param(l, LANE_FRAMES), l->scratch_ptr, "");
}

static V short_to_int(const struct lane_code *l, V p, LLVMTypeRef to)
{
	V base = LLVMBuildPtrToInt(l->b, base_of(l, LLVMTypeOf(p)), l->i64, "");
	V v = LLVMBuildTrunc(l->b, LLVMBuildSub(l->b, LLVMBuildPtrToInt(l->b, p, l->i64, ""), base, ""), l->i32, "");

	return LLVMBuildIntCast2(l->b, v, to, false, "");
}

/* Signed: what is added to it wraps at 32 bits for AMD. */
static V short_from_int(const struct lane_code *l, V v, LLVMTypeRef ptr)
{
	v = LLVMBuildIntCast2(l->b, LLVMBuildIntCast2(l->b, v, l->i32, false, ""), l->i64, true, "");
	return lane_at(l, base_of(l, ptr), v);
}

/* The same with vectors: ptrtoint and inttoptr of each element. */
static V each_short(const struct lane_code *l, V inst)
{
	LLVMTypeRef type = LLVMTypeOf(inst), element = LLVMGetElementType(type);
	bool to_int = LLVMGetInstructionOpcode(inst) == LLVMPtrToInt;
	V all = LLVMGetPoison(type);

	for (unsigned int i = 0; i < LLVMGetVectorSize(type); i++) {
		V at = LLVMConstInt(l->i32, i, false), v = LLVMBuildExtractElement(l->b, LLVMGetOperand(inst, 0), at, "");

		v = to_int ? short_to_int(l, v, element) : short_from_int(l, v, element);
		all = LLVMBuildInsertElement(l->b, all, v, at, "");
	}
	return all;
}

/* ---- constants that are not, as they name the block's share ---- */

static bool is_relative(const struct lane_code *l, V v)
{
	if (!LLVMIsAConstant(v))
		return false;
	if (LLVMIsAGlobalVariable(v))
		return LLVMGetPointerAddressSpace(LLVMTypeOf(v)) == AS_LDS;
	if (LLVMIsAConstantPointerNull(v))
		return l->words->has_short && LLVMGetPointerAddressSpace(LLVMTypeOf(v)) == AS_LDS;
	if (LLVMIsAConstantExpr(v) && (LLVMGetConstOpcode(v) == LLVMIntToPtr || LLVMGetConstOpcode(v) == LLVMPtrToInt) &&
	    (is_short(l, LLVMTypeOf(v)) || is_short(l, LLVMTypeOf(LLVMGetOperand(v, 0)))))
		return true;
	if (LLVMIsAFunction(v) || LLVMIsABlockAddress(v))
		return false;
	for (int i = 0; i < LLVMGetNumOperands(v); i++)
		if (is_relative(l, LLVMGetOperand(v, (unsigned int)i)))
			return true;
	return false;
}

static V lds_variable(struct lane_code *l, V var)
{
	uint64_t size = LLVMABISizeOfType(l->theirs, LLVMGlobalGetValueType(var));

	/* memory that the launch adds lies behind what the code object says */
	return size ? lane_param(l, LANE_LDS) : lane_at(l, lane_param(l, LANE_LDS), LLVMConstInt(l->i64, l->lds_static, 0));
}

/* The same as instructions, where the builder stands. */
static V expand(struct lane_code *l, V v)
{
	LLVMTypeRef type = LLVMTypeOf(v);
	V in[16], r;
	unsigned int nr;

	if (!is_relative(l, v))
		return v;
	if (LLVMIsAGlobalVariable(v))
		return lds_variable(l, v);
	if (LLVMIsAConstantPointerNull(v))
		return lane_param(l, LANE_LDS);
	nr = (unsigned int)LLVMGetNumOperands(v);
	if (LLVMIsAConstantVector(v)) {
		r = LLVMGetPoison(type);
		for (unsigned int i = 0; i < nr; i++)
			r = LLVMBuildInsertElement(l->b, r, expand(l, LLVMGetOperand(v, i)), LLVMConstInt(l->i32, i, false), "");
		return r;
	}
	if (!LLVMIsAConstantExpr(v) || nr > 16) {
		lane_refuse(l, "an address of local data share within a constant");
		return LLVMGetUndef(type);
	}
	for (unsigned int i = 0; i < nr; i++)
		in[i] = expand(l, LLVMGetOperand(v, i));
	switch (LLVMGetConstOpcode(v)) {
	case LLVMGetElementPtr:
		check_type(l, LLVMGetGEPSourceElementType(v));
		return LLVMBuildGEP2(l->b, LLVMGetGEPSourceElementType(v), in[0], in + 1, nr - 1, "");
	case LLVMAddrSpaceCast: return LLVMBuildAddrSpaceCast(l->b, in[0], type, "");
	case LLVMPtrToInt:
		return is_short(l, LLVMTypeOf(in[0])) ? short_to_int(l, in[0], type) : LLVMBuildPtrToInt(l->b, in[0], type, "");
	case LLVMIntToPtr: return is_short(l, type) ? short_from_int(l, in[0], type) : LLVMBuildIntToPtr(l->b, in[0], type, "");
	case LLVMAdd: case LLVMSub: case LLVMXor: case LLVMMul: case LLVMShl:
		return LLVMBuildBinOp(l->b, LLVMGetConstOpcode(v), in[0], in[1], "");
	case LLVMTrunc: return LLVMBuildTrunc(l->b, in[0], type, "");
	case LLVMBitCast: return LLVMBuildBitCast(l->b, in[0], type, "");
	default:
		lane_refuse(l, "an address of local data share within a constant");
		r = LLVMGetUndef(type);
		return r;
	}
}

static void expand_operands(struct lane_code *l, V inst)
{
	if (LLVMGetInstructionOpcode(inst) == LLVMPHI) {
		for (unsigned int i = 0; i < LLVMCountIncoming(inst); i++)
			if (is_relative(l, LLVMGetIncomingValue(inst, i))) {
				LLVMPositionBuilderBefore(l->b, LLVMGetBasicBlockTerminator(LLVMGetIncomingBlock(inst, i)));
				LLVMSetOperand(inst, i, expand(l, LLVMGetIncomingValue(inst, i)));
			}
		return;
	}
	for (int i = 0; i < LLVMGetNumOperands(inst); i++) {
		V v = LLVMGetOperand(inst, (unsigned int)i);

		if (LLVMValueIsBasicBlock(v) || !is_relative(l, v))
			continue;
		LLVMPositionBuilderBefore(l->b, inst);
		LLVMSetOperand(inst, (unsigned int)i, expand(l, v));
	}
}

/* ---- tools ---- */

void lane_replace(V inst, V by)
{
	if (by)
		LLVMReplaceAllUsesWith(inst, by);
	LLVMInstructionEraseFromParent(inst);
}

V lane_arg_of(V call, unsigned int i)
{
	return LLVMGetArgOperand(call, i);
}

uint64_t lane_imm(V call, unsigned int i)
{
	return LLVMIsAConstantInt(lane_arg_of(call, i)) ? LLVMConstIntGetZExtValue(lane_arg_of(call, i)) : 0;
}

/* A call of a function of the C side. */
static V call_c(struct lane_code *l, const char *name, LLVMTypeRef ret, V *args, unsigned int nr)
{
	LLVMTypeRef types[8], type;
	V f = LLVMGetNamedFunction(l->m, name);

	for (unsigned int i = 0; i < nr; i++)
		types[i] = LLVMTypeOf(args[i]);
	type = LLVMFunctionType(ret, types, nr, 0);
	if (!f)
		f = LLVMAddFunction(l->m, name, type);
	return LLVMBuildCall2(l->b, type, f, args, nr, "");
}

V lane_intrinsic(struct lane_code *l, const char *name, LLVMTypeRef *over, size_t nr_over, V *args, unsigned int nr)
{
	unsigned int id = LLVMLookupIntrinsicID(name, strlen(name));
	V f = LLVMGetIntrinsicDeclaration(l->m, id, over, nr_over);

	return LLVMBuildCall2(l->b, LLVMIntrinsicGetType(l->c, id, over, nr_over), f, args, nr, "");
}

static V new_alloca(struct lane_code *l, LLVMTypeRef type)
{
	LLVMBuilderRef b = LLVMCreateBuilderInContext(l->c);
	V v;

	LLVMPositionBuilderBefore(b, LLVMGetBasicBlockTerminator(l->entry));
	v = LLVMBuildAlloca(b, type, "");
	LLVMDisposeBuilder(b);
	return v;
}

uint32_t lane_bits_of(LLVMTypeRef t)
{
	switch (LLVMGetTypeKind(t)) {
	case LLVMHalfTypeKind: case LLVMBFloatTypeKind: return 16;
	case LLVMFloatTypeKind: return 32;
	case LLVMDoubleTypeKind: return 64;
	case LLVMIntegerTypeKind: return LLVMGetIntTypeWidth(t);
	default: return 0;
	}
}

/* ---- operations of lanes ---- */

/* The block of `inst` begins with it; what came before is a block in front of it, where the others now go. */
static void split_before(struct lane_code *l, V inst)
{
	LLVMBasicBlockRef bb = LLVMGetInstructionParent(inst), head = LLVMInsertBasicBlockInContext(l->c, bb, "");
	V i;

	for (LLVMUseRef u = LLVMGetFirstUse(LLVMBasicBlockAsValue(bb)), next; u; u = next) {
		V from = LLVMGetUser(u);

		next = LLVMGetNextUse(u);
		for (unsigned int s = 0; LLVMIsATerminatorInst(from) && s < LLVMGetNumSuccessors(from); s++)
			if (LLVMGetSuccessor(from, s) == bb) {
				LLVMSetSuccessor(from, s, head);
				/* the list of uses is another one now */
				next = LLVMGetFirstUse(LLVMBasicBlockAsValue(bb));
				break;
			}
	}
	LLVMPositionBuilderAtEnd(l->b, head);
	while ((i = LLVMGetFirstInstruction(bb)) != inst) {
		LLVMInstructionRemoveFromParent(i);
		LLVMInsertIntoBuilder(l->b, i);
	}
	LLVMBuildBr(l->b, bb);
}

/* in[i] NULL: no such operand. A result of type void has none. */
void lane_add_op(struct lane_code *l, V call, enum wave_op op, uint64_t number, V in0, V in1, V in2)
{
	LLVMTypeRef type = LLVMTypeOf(call);
	bool has_result = LLVMGetTypeKind(type) != LLVMVoidTypeKind;
	struct lane_op *o;
	V in[3] = { in0, in1, in2 };

	if (l->nr_ops == l->cap_ops) {
		size_t cap = l->cap_ops ? 2 * l->cap_ops : 64;
		struct lane_op *list = realloc(l->op, cap * sizeof(*list));

		if (!list) {
			lane_refuse(l, "out of memory");
			return;
		}
		l->op = list;
		l->cap_ops = cap;
	}
	o = &l->op[l->nr_ops++];
	*o = (struct lane_op){ .op = op, .imm = number };
	if (has_result) {
		if (is_short(l, type) || LLVMABISizeOfType(l->ours, type) > 16)
			lane_refuse(l, "an operation of lanes on this type");
		o->size = (uint32_t)LLVMABISizeOfType(l->ours, type);
		o->out = new_alloca(l, type);
	}
	LLVMPositionBuilderBefore(l->b, call);
	for (int i = 0; i < 3; i++)
		if (in[i]) {
			o->in[i] = new_alloca(l, LLVMTypeOf(in[i]));
			LLVMBuildStore(l->b, in[i], o->in[i]);
		}
	o->block = LLVMGetInstructionParent(call);
	split_before(l, call);
	/* the block of the operation before, if it was this one */
	if (l->nr_ops > 1 && o[-1].block == o->block)
		o[-1].block = LLVMGetPreviousBasicBlock(o->block);
	LLVMPositionBuilderBefore(l->b, call);
	lane_replace(call, has_result ? LLVMBuildLoad2(l->b, type, o->out, "") : NULL);
}

/* ---- what a lane knows of itself ---- */

V lane_env_field(struct lane_code *l, size_t offset)
{
	V env = LLVMBuildLoad2(l->b, l->ptr, lane_at(l, lane_param(l, LANE_SELF), LLVMConstInt(l->i64, offsetof(struct simt_item, env), 0)), "");

	return LLVMBuildLoad2(l->b, l->i32, lane_at(l, env, LLVMConstInt(l->i64, offset, 0)), "");
}

V lane_is_within(struct lane_code *l, V p, V base, V bytes)
{
	V off = LLVMBuildSub(l->b, LLVMBuildPtrToInt(l->b, p, l->i64, ""), LLVMBuildPtrToInt(l->b, base, l->i64, ""), "");

	return LLVMBuildICmp(l->b, LLVMIntULT, off, bytes, "");
}

/* The wave's, hence one for all lanes: code may loop by it and stay together. */
void lane_clock(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_CLOCK, 0, NULL, NULL, NULL);
}

void lane_timer(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_TIMER, 0, NULL, NULL, NULL);
}

void lane_drop(struct lane_code *l, V call)
{
	(void)l;
	lane_replace(call, NULL);
}

static void trap(struct lane_code *l, uint32_t what)
{
	V args[2] = { lane_param(l, LANE_SELF), lane_i32(l, what) };

	call_c(l, "simt_wave_trap", LLVMVoidTypeInContext(l->c), args, 2);
}

static void do_trap(struct lane_code *l, V call)
{
	trap(l, WAVE_TRAP);
	lane_replace(call, NULL);
}

/* ---- floating point ---- */

static V as_int(struct lane_code *l, V v)
{
	return LLVMBuildBitCast(l->b, v, LLVMIntTypeInContext(l->c, lane_bits_of(LLVMTypeOf(v))), "");
}

/* A signalling NaN becomes a quiet one. */
static V quiet(struct lane_code *l, V v)
{
	LLVMTypeRef t = LLVMTypeOf(v);
	uint64_t bit = LLVMGetTypeKind(t) == LLVMBFloatTypeKind ? 1u << 6 : lane_bits_of(t) == 16 ? 1u << 9 : lane_bits_of(t) == 32 ? 1u << 22 :
		UINT64_C(1) << 51;
	V i = as_int(l, v), q;

	q = LLVMBuildBitCast(l->b, LLVMBuildOr(l->b, i, LLVMConstInt(LLVMTypeOf(i), bit, 0), ""), t, "");
	return LLVMBuildSelect(l->b, LLVMBuildFCmp(l->b, LLVMRealUNO, v, v, ""), q, v, "");
}

static bool is_scalar_float(struct lane_code *l, V call)
{
	LLVMTypeKind kind = LLVMGetTypeKind(LLVMTypeOf(lane_arg_of(call, 0)));

	if (kind == LLVMHalfTypeKind || kind == LLVMBFloatTypeKind || kind == LLVMFloatTypeKind || kind == LLVMDoubleTypeKind)
		return true;
	lane_refuse(l, "%.60s of a vector", LLVMGetValueName2(LLVMGetCalledValue(call), &(size_t){ 0 }));
	return false;
}

static void do_canonicalize(struct lane_code *l, V call)
{
	if (is_scalar_float(l, call))
		lane_replace(call, quiet(l, lane_arg_of(call, 0)));
}

/* The number of two if one is none; -0 is less than +0. */
static void min_max(struct lane_code *l, V call, bool max)
{
	V a = lane_arg_of(call, 0), b = lane_arg_of(call, 1), less, equal, both, r;

	if (!is_scalar_float(l, call))
		return;
	less = LLVMBuildFCmp(l->b, max ? LLVMRealOGT : LLVMRealOLT, a, b, "");
	equal = LLVMBuildFCmp(l->b, LLVMRealOEQ, a, b, "");
	both = max ? LLVMBuildAnd(l->b, as_int(l, a), as_int(l, b), "") : LLVMBuildOr(l->b, as_int(l, a), as_int(l, b), "");
	r = LLVMBuildSelect(l->b, less, a, b, "");
	r = LLVMBuildSelect(l->b, equal, LLVMBuildBitCast(l->b, both, LLVMTypeOf(a), ""), r, "");
	r = LLVMBuildSelect(l->b, LLVMBuildFCmp(l->b, LLVMRealUNO, b, b, ""), a, r, "");
	lane_replace(call, quiet(l, r));
}

static void do_minnum(struct lane_code *l, V call)
{
	min_max(l, call, false);
}

static void do_maxnum(struct lane_code *l, V call)
{
	min_max(l, call, true);
}

/* Of 16 bits: this CPU would round twice. */
static void do_fma(struct lane_code *l, V call)
{
	LLVMTypeRef t = LLVMTypeOf(call);
	LLVMTypeKind kind = LLVMGetTypeKind(t);
	V in[4], r;

	if (kind == LLVMFloatTypeKind || kind == LLVMDoubleTypeKind ||
	    (kind == LLVMVectorTypeKind && lane_bits_of(LLVMGetElementType(t)) >= 32) || !is_scalar_float(l, call))
		return;
	in[0] = lane_i32(l, SIMT_FLOAT_CODE(SIMT_FMA, kind == LLVMHalfTypeKind ? IR_F16 : IR_BF16, IR_RN));
	for (unsigned int i = 0; i < 3; i++)
		in[1 + i] = LLVMBuildZExt(l->b, as_int(l, lane_arg_of(call, i)), l->i64, "");
	r = call_c(l, "simt_float_op", l->i64, in, 4);
	lane_replace(call, LLVMBuildBitCast(l->b, LLVMBuildTrunc(l->b, r, l->i16, ""), t, ""));
}

/* Correctly rounded unless it is said that it need not be. */
static void do_sqrt(struct lane_code *l, V call)
{
	if (LLVMGetMetadata(call, LLVMGetMDKindIDInContext(l->c, "fpmath", 6)))
		lane_refuse(l, "a square root that need not be exact (!fpmath)");
}

static V narrow_one(struct lane_code *l, V v, LLVMTypeRef to)
{
	LLVMTypeRef from = LLVMTypeOf(v);
	bool is_half = LLVMGetTypeKind(to) == LLVMHalfTypeKind;
	V in[2];

	in[0] = lane_i32(l, SIMT_FLOAT_CODE(lane_bits_of(from) == 64 ? IR_F64 : IR_F32, is_half ? IR_F16 : IR_BF16, IR_RN));
	in[1] = LLVMBuildZExt(l->b, as_int(l, v), l->i64, "");
	v = call_c(l, "simt_float_cvt", l->i64, in, 2);
	return LLVMBuildBitCast(l->b, LLVMBuildTrunc(l->b, v, l->i16, ""), to, "");
}

static void narrow(struct lane_code *l, V inst)
{
	LLVMTypeRef to = LLVMTypeOf(inst), element = lane_bits_of(to) ? to : LLVMGetElementType(to);
	V v = LLVMGetOperand(inst, 0), all = LLVMGetPoison(to);

	if (LLVMGetTypeKind(element) != LLVMHalfTypeKind && LLVMGetTypeKind(element) != LLVMBFloatTypeKind)
		return;
	if (element == to) {
		lane_replace(inst, narrow_one(l, v, to));
		return;
	}
	for (unsigned int i = 0; i < LLVMGetVectorSize(to); i++) {
		V at = lane_i32(l, i);

		all = LLVMBuildInsertElement(l->b, all, narrow_one(l, LLVMBuildExtractElement(l->b, v, at, ""), element), at, "");
	}
	lane_replace(inst, all);
}

/* ---- calls ---- */

static void keep(struct lane_code *l, V call)
{
	(void)l;
	(void)call;
}

static void do_memory(struct lane_code *l, V call)
{
	bool has_source = is_ptr(LLVMTypeOf(lane_arg_of(call, 1)));
	V size = LLVMBuildIntCast2(l->b, lane_arg_of(call, 2), l->i64, false, "");

	lane_check_lds(l, lane_arg_of(call, 0), size);
	if (has_source)
		lane_check_lds(l, lane_arg_of(call, 1), size);
}

static const struct {
	const char *name;
	void (*fn)(struct lane_code *l, V call);
} known[] = {
	{ "llvm.abs", keep }, { "llvm.assume", lane_drop }, { "llvm.bitreverse", keep }, { "llvm.bswap", keep },
	{ "llvm.canonicalize", do_canonicalize }, { "llvm.ceil", keep }, { "llvm.copysign", keep }, { "llvm.ctlz", keep },
	{ "llvm.ctpop", keep }, { "llvm.cttz", keep }, { "llvm.debugtrap", do_trap }, { "llvm.donothing", lane_drop },
	{ "llvm.experimental.noalias.scope.decl", lane_drop }, { "llvm.fabs", keep }, { "llvm.floor", keep }, { "llvm.fma", do_fma },
	{ "llvm.fptosi.sat", keep }, { "llvm.fptoui.sat", keep }, { "llvm.fshl", keep }, { "llvm.fshr", keep },
	{ "llvm.is.fpclass", keep }, { "llvm.ldexp", keep }, { "llvm.lifetime.end", lane_drop }, { "llvm.lifetime.start", lane_drop },
	{ "llvm.maximum", keep }, { "llvm.maxnum", do_maxnum }, { "llvm.memcpy", do_memory }, { "llvm.memcpy.inline", do_memory },
	{ "llvm.memmove", do_memory }, { "llvm.memset", do_memory }, { "llvm.memset.inline", do_memory }, { "llvm.minimum", keep },
	{ "llvm.minnum", do_minnum }, { "llvm.nearbyint", keep }, { "llvm.prefetch", lane_drop }, { "llvm.readcyclecounter", lane_clock },
	{ "llvm.readsteadycounter", lane_timer }, { "llvm.rint", keep }, { "llvm.round", keep }, { "llvm.roundeven", keep },
	{ "llvm.sadd.sat", keep }, { "llvm.sadd.with.overflow", keep }, { "llvm.sideeffect", lane_drop }, { "llvm.smax", keep },
	{ "llvm.smin", keep }, { "llvm.smul.with.overflow", keep }, { "llvm.sqrt", do_sqrt }, { "llvm.sshl.sat", keep },
	{ "llvm.ssub.sat", keep }, { "llvm.ssub.with.overflow", keep }, { "llvm.trap", do_trap }, { "llvm.trunc", keep },
	{ "llvm.uadd.sat", keep }, { "llvm.uadd.with.overflow", keep }, { "llvm.ubsantrap", do_trap }, { "llvm.umax", keep },
	{ "llvm.umin", keep }, { "llvm.umul.with.overflow", keep }, { "llvm.ushl.sat", keep }, { "llvm.usub.sat", keep },
	{ "llvm.usub.with.overflow", keep }, { "llvm.vector.reduce.add", keep }, { "llvm.vector.reduce.and", keep },
	{ "llvm.vector.reduce.or", keep }, { "llvm.vector.reduce.xor", keep },
};

void lane_call(struct lane_code *l, V call)
{
	V callee = LLVMGetCalledValue(call);
	const char *name;
	unsigned int id;
	size_t len;

	if (LLVMIsAInlineAsm(callee)) {
		/* nothing, through a register: keeps the optimiser from looking at a value */
		if (*LLVMGetInlineAsmAsmString(callee, &len) || LLVMGetNumArgOperands(call) > 1 ||
		    (LLVMGetNumArgOperands(call) == 1 && LLVMTypeOf(call) != LLVMTypeOf(lane_arg_of(call, 0))))
			lane_refuse(l, "assembly of its own: '%.60s'", LLVMGetInlineAsmAsmString(callee, &len));
		else
			lane_replace(call, LLVMGetNumArgOperands(call) ? lane_arg_of(call, 0) : NULL);
		return;
	}
	if (!LLVMIsAFunction(callee)) {
		lane_refuse(l, "a call through a pointer");
		return;
	}
	id = LLVMGetIntrinsicID(callee);
	name = id ? LLVMIntrinsicGetName(id, &len) : LLVMGetValueName2(callee, &len);
	if (l->words->call(l, call, name, len))
		return;
	if (!id) {
		lane_refuse(l, "a call of '%.100s'", name);
		return;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i].name) == len && !memcmp(known[i].name, name, len)) {
			known[i].fn(l, call);
			return;
		}
	lane_refuse(l, "the instruction %.*s", (int)len, name);
}

/* ---- memory ---- */

/* The function behind check_lds: void(self, offset, size, bytes of the share) */
static V make_check(struct lane_code *l)
{
	LLVMTypeRef types[4] = { l->ptr, l->i64, l->i64, l->i64 }, type = LLVMFunctionType(LLVMVoidTypeInContext(l->c), types, 4, 0);
	V f = LLVMAddFunction(l->m, "simt.check_lds", type), p[4], fits;
	LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(l->c, f, ""), good = LLVMAppendBasicBlockInContext(l->c, f, "");
	LLVMBasicBlockRef bad = LLVMAppendBasicBlockInContext(l->c, f, "");

	LLVMGetParams(f, p);
	LLVMSetLinkage(f, LLVMInternalLinkage);
	LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex,
				LLVMCreateEnumAttribute(l->c, LLVMGetEnumAttributeKindForName("alwaysinline", 12), 0));
	LLVMPositionBuilderAtEnd(l->b, entry);
	fits = LLVMBuildAnd(l->b, LLVMBuildICmp(l->b, LLVMIntULE, p[1], p[3], ""),
			    LLVMBuildICmp(l->b, LLVMIntULE, p[2], LLVMBuildSub(l->b, p[3], p[1], ""), ""), "");
	LLVMBuildCondBr(l->b, fits, good, bad);
	LLVMPositionBuilderAtEnd(l->b, good);
	LLVMBuildRetVoid(l->b);
	LLVMPositionBuilderAtEnd(l->b, bad);
	call_c(l, "simt_wave_lds", LLVMVoidTypeInContext(l->c), p, 3);
	LLVMBuildUnreachable(l->b);
	return f;
}

/* An access of `size` bytes at p, which the builder stands before. */
void lane_check_lds(struct lane_code *l, V p, V size)
{
	V lds = lane_param(l, LANE_LDS), args[4];

	if (LLVMGetPointerAddressSpace(LLVMTypeOf(p)) != AS_LDS)
		return;
	/* what the code object promises is there */
	if (LLVMIsAConstantInt(size)) {
		uint64_t at = 0;
		V base = p;

		if (LLVMIsAGetElementPtrInst(p) && LLVMGetNumOperands(p) == 2 && LLVMIsAConstantInt(LLVMGetOperand(p, 1)) &&
		    LLVMGetGEPSourceElementType(p) == l->i8) {
			at = LLVMConstIntGetZExtValue(LLVMGetOperand(p, 1));
			base = LLVMGetOperand(p, 0);
		}
		if (base == lds && at <= l->lds_static && LLVMConstIntGetZExtValue(size) <= l->lds_static - at)
			return;
	}
	args[0] = lane_param(l, LANE_SELF);
	args[1] = LLVMBuildSub(l->b, LLVMBuildPtrToInt(l->b, p, l->i64, ""), LLVMBuildPtrToInt(l->b, lds, l->i64, ""), "");
	args[2] = size;
	args[3] = lane_param(l, LANE_LDS_BYTES);
	LLVMBuildCall2(l->b, LLVMGlobalGetValueType(l->check_lds), l->check_lds, args, 4, "");
}

static void check_access(struct lane_code *l, V p, LLVMTypeRef type)
{
	check_type(l, type);
	lane_check_lds(l, p, LLVMConstInt(l->i64, LLVMStoreSizeOfType(l->theirs, type), 0));
}

/* A load of a short pointer is one of its number. */
static void do_load(struct lane_code *l, V inst)
{
	LLVMTypeRef type = LLVMTypeOf(inst);
	V v;

	check_access(l, LLVMGetOperand(inst, 0), type);
	if (!is_short(l, type))
		return;
	v = LLVMBuildLoad2(l->b, l->i32, LLVMGetOperand(inst, 0), "");
	LLVMSetAlignment(v, LLVMGetAlignment(inst));
	LLVMSetVolatile(v, LLVMGetVolatile(inst));
	if (LLVMGetOrdering(inst) != LLVMAtomicOrderingNotAtomic)
		LLVMSetOrdering(v, LLVMGetOrdering(inst));
	lane_replace(inst, short_from_int(l, v, type));
}

static void do_store(struct lane_code *l, V inst)
{
	LLVMTypeRef type = LLVMTypeOf(LLVMGetOperand(inst, 0));
	V v;

	check_access(l, LLVMGetOperand(inst, 1), type);
	if (!is_short(l, type))
		return;
	v = LLVMBuildStore(l->b, short_to_int(l, LLVMGetOperand(inst, 0), l->i32), LLVMGetOperand(inst, 1));
	LLVMSetAlignment(v, LLVMGetAlignment(inst));
	LLVMSetVolatile(v, LLVMGetVolatile(inst));
	if (LLVMGetOrdering(inst) != LLVMAtomicOrderingNotAtomic)
		LLVMSetOrdering(v, LLVMGetOrdering(inst));
	LLVMInstructionEraseFromParent(inst);
}

static void do_atomic(struct lane_code *l, V inst)
{
	LLVMTypeRef type = LLVMTypeOf(LLVMGetOperand(inst, 1));

	if (is_short(l, type))
		lane_refuse(l, "an atomic operation on a pointer of 32 bits");
	check_access(l, LLVMGetOperand(inst, 0), type);
}

/* Memory of the lane's own. */
static void do_alloca(struct lane_code *l, V inst)
{
	LLVMTypeRef type = LLVMGetAllocatedType(inst);
	V count = LLVMGetOperand(inst, 0), v;
	LLVMBuilderRef b = l->b;

	check_type(l, type);
	if (!LLVMIsAConstantInt(count)) {
		lane_refuse(l, "memory of a lane's own whose size is not constant");
		return;
	}
	if (LLVMConstIntGetZExtValue(count) != 1)
		type = LLVMArrayType2(type, LLVMConstIntGetZExtValue(count));
	v = new_alloca(l, is_short(l, type) ? l->i32 : type);
	LLVMSetAlignment(v, LLVMGetAlignment(inst));
	LLVMPositionBuilderBefore(b, inst);
	lane_replace(inst, LLVMGetPointerAddressSpace(LLVMTypeOf(inst)) ? LLVMBuildAddrSpaceCast(b, v, LLVMTypeOf(inst), "") : v);
}

/* ---- instructions ---- */

static void do_instruction(struct lane_code *l, V inst)
{
	V op0 = LLVMGetNumOperands(inst) ? LLVMGetOperand(inst, 0) : NULL;

	expand_operands(l, inst);
	LLVMPositionBuilderBefore(l->b, inst);
	if (LLVMCanValueUseFastMathFlags(inst) &&
	    LLVMGetFastMathFlags(inst) & (LLVMFastMathAllowReassoc | LLVMFastMathAllowReciprocal | LLVMFastMathAllowContract |
					  LLVMFastMathApproxFunc))
		lane_refuse(l, "floating point that need not be exact (fast-math flags)");
	if (l->words->check_inst)
		l->words->check_inst(l, inst);
	switch (LLVMGetInstructionOpcode(inst)) {
	case LLVMCall: lane_call(l, inst); break;
	case LLVMLoad: do_load(l, inst); break;
	case LLVMStore: do_store(l, inst); break;
	case LLVMAtomicRMW: case LLVMAtomicCmpXchg: do_atomic(l, inst); break;
	case LLVMAlloca: do_alloca(l, inst); break;
	case LLVMGetElementPtr: check_type(l, LLVMGetGEPSourceElementType(inst)); break;
	case LLVMPtrToInt:
		op0 = LLVMGetOperand(inst, 0);
		if (is_short(l, LLVMTypeOf(op0)))
			lane_replace(inst, short_to_int(l, op0, LLVMTypeOf(inst)));
		else if (has_short(l, LLVMTypeOf(op0)))
			lane_replace(inst, each_short(l, inst));
		break;
	case LLVMIntToPtr:
		if (is_short(l, LLVMTypeOf(inst)))
			lane_replace(inst, short_from_int(l, LLVMGetOperand(inst, 0), LLVMTypeOf(inst)));
		else if (has_short(l, LLVMTypeOf(inst)))
			lane_replace(inst, each_short(l, inst));
		break;
	case LLVMFDiv:
		if (LLVMGetMetadata(inst, LLVMGetMDKindIDInContext(l->c, "fpmath", 6)))
			lane_refuse(l, "a division that need not be exact (!fpmath)");
		break;
	case LLVMFPTrunc: narrow(l, inst); break;
	case LLVMFRem: lane_refuse(l, "the instruction frem"); break;
	case LLVMUnreachable: trap(l, WAVE_UNREACHABLE); break;
	case LLVMInvoke: case LLVMCallBr: case LLVMIndirectBr: case LLVMResume: case LLVMLandingPad:
		lane_refuse(l, "control flow that no kernel has");
		break;
	case LLVMVAArg: lane_refuse(l, "the instruction va_arg"); break;
	default: break;
	}
}

/* ---- arguments ---- */

static uint32_t round_up(uint32_t n, uint32_t to)
{
	return (n + to - 1) / to * to;
}

/* Where the ABI puts them: one behind the other, aligned as their types, or as said where they are memory. */
static void place_args(struct lane_code *l, V kernel)
{
	unsigned int nr = LLVMCountParams(kernel), byref = LLVMGetEnumAttributeKindForName("byref", 5);
	unsigned int align = LLVMGetEnumAttributeKindForName("align", 5);

	l->arg = calloc(nr + 1, sizeof(*l->arg));
	if (!l->arg) {
		lane_refuse(l, "out of memory");
		return;
	}
	l->nr_args = nr;
	for (unsigned int i = 0; i < nr; i++) {
		LLVMAttributeRef memory = LLVMGetEnumAttributeAtIndex(kernel, 1 + i, byref), a = LLVMGetEnumAttributeAtIndex(kernel, 1 + i, align);
		struct lane_arg *at = &l->arg[i];
		LLVMTypeRef type;

		at->type = LLVMTypeOf(LLVMGetParam(kernel, i));
		at->is_memory = memory;
		type = memory ? LLVMGetTypeAttributeValue(memory) : at->type;
		check_type(l, type);
		if (!memory && is_ptr(type) && LLVMGetPointerAddressSpace(type) == l->words->private_space)
			lane_refuse(l, "an argument that points to memory of a lane's own");
		at->align = memory && a ? (uint32_t)LLVMGetEnumAttributeValue(a) : LLVMABIAlignmentOfType(l->theirs, type);
		at->offset = round_up(l->kernarg_bytes, at->align);
		l->kernarg_bytes = at->offset + (uint32_t)LLVMABISizeOfType(l->theirs, type);
	}
}

static void take_body(struct lane_code *l, V kernel)
{
	LLVMTypeRef types[NR_LANE_PARAMS] = {
		[LANE_SELF] = l->ptr, [LANE_WAVE] = l->ptr, [LANE_LDS] = l->lds_ptr, [LANE_LDS_BYTES] = l->i64, [LANE_KERNARG] = l->ptr, [LANE_NUMBER] = l->i32,
		[LANE_X] = l->i32, [LANE_Y] = l->i32, [LANE_Z] = l->i32, [LANE_FRAME] = l->ptr, [LANE_FRAMES] = l->ptr,
		[LANE_FRAMES_BYTES] = l->i64,
	};
	LLVMTypeRef *all = malloc((NR_LANE_PARAMS + l->nr_args) * sizeof(*all));
	LLVMBasicBlockRef last, bb;

	if (!all) {
		lane_refuse(l, "out of memory");
		return;
	}
	memcpy(all, types, sizeof(types));
	for (size_t i = 0; i < l->nr_args; i++)
		all[NR_LANE_PARAMS + i] = l->arg[i].type;
	l->f = LLVMAddFunction(l->m, "simt.lane",
			       LLVMFunctionType(LLVMVoidTypeInContext(l->c), all, (unsigned int)(NR_LANE_PARAMS + l->nr_args), 0));
	free(all);
	LLVMSetLinkage(l->f, LLVMInternalLinkage);
	l->entry = last = LLVMAppendBasicBlockInContext(l->c, l->f, "");
	while ((bb = LLVMGetFirstBasicBlock(kernel))) {
		LLVMMoveBasicBlockAfter(bb, last);
		last = bb;
	}
	LLVMPositionBuilderAtEnd(l->b, l->entry);
	LLVMBuildBr(l->b, LLVMGetNextBasicBlock(l->entry));
	for (size_t i = 0; i < l->nr_args; i++)
		LLVMReplaceAllUsesWith(LLVMGetParam(kernel, (unsigned int)i), lane_param(l, (unsigned int)(NR_LANE_PARAMS + i)));
	LLVMDeleteFunction(kernel);
}

/* Not only by constants that nothing uses. */
static bool is_used(V v)
{
	for (LLVMUseRef u = LLVMGetFirstUse(v); u; u = LLVMGetNextUse(u))
		if (!LLVMIsAConstant(LLVMGetUser(u)) || LLVMIsAGlobalVariable(LLVMGetUser(u)) || is_used(LLVMGetUser(u)))
			return true;
	return false;
}

/* Variables of the block: at most one that has a size, as the GPU's compiler would choose an order of more. */
static void check_variables(struct lane_code *l)
{
	unsigned int nr_static = 0;

	for (V g = LLVMGetFirstGlobal(l->m); g; g = LLVMGetNextGlobal(g)) {
		uint64_t size = LLVMABISizeOfType(l->theirs, LLVMGlobalGetValueType(g));

		if (LLVMGetPointerAddressSpace(LLVMTypeOf(g)) != AS_LDS) {
			if (LLVMGetInitializer(g) && is_relative(l, LLVMGetInitializer(g)))
				lane_refuse(l, "an address of local data share within a constant");
			continue;
		}
		if (!size || !is_used(g))
			continue;
		if (nr_static++)
			lane_refuse(l, "more than one variable in local data share");
		if (!l->words->has_variables)
			lane_refuse(l, "a variable in %s", l->words->local_name);
		else if (size > l->lds_static)
			lane_refuse(l, "%llu bytes of variables in local data share, of which the code object has %u", (unsigned long long)size,
				    l->lds_static);
	}
}

void lane_code_take(struct lane_code *l, V kernel)
{
	check_variables(l);
	place_args(l, kernel);
	if (l->refused)
		return;
	take_body(l, kernel);
	if (l->refused)
		return;
	l->check_lds = make_check(l);
	for (LLVMBasicBlockRef bb = LLVMGetNextBasicBlock(l->entry), next; bb && !l->refused; bb = next) {
		next = LLVMGetNextBasicBlock(bb);
		for (V i = LLVMGetFirstInstruction(bb), after; i && !l->refused; i = after) {
			after = LLVMGetNextInstruction(i);
			do_instruction(l, i);
		}
	}
}
