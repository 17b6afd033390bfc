/* simt_amdgcn_lane.c - amdgcn's code of one lane becomes code for this CPU: arguments, address spaces, instructions. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/simt/simt_amdgcn_wave.h"
#include "tests/drivers/simt/simt_float.h"

/*
 * Pointers of every address space are addresses of this process. Those into local data share and scratch are 32 bits wide for
 * AMD: in memory and as integers they are the distance from where the block's share, or the wave's frames, begin.
 */
enum { AS_FLAT, AS_GLOBAL, AS_REGION, AS_LDS, AS_CONSTANT, AS_SCRATCH };

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

static V param(const struct lane_code *l, unsigned int i)
{
	return LLVMGetParam(l->f, i);
}

static bool is_ptr(LLVMTypeRef t)
{
	return LLVMGetTypeKind(t) == LLVMPointerTypeKind;
}

/* A pointer of 32 bits. */
static bool is_short(LLVMTypeRef t)
{
	return is_ptr(t) && (LLVMGetPointerAddressSpace(t) == AS_LDS || LLVMGetPointerAddressSpace(t) == AS_SCRATCH);
}

static bool has_short(LLVMTypeRef t)
{
	switch (LLVMGetTypeKind(t)) {
	case LLVMPointerTypeKind: return is_short(t);
	case LLVMArrayTypeKind: case LLVMVectorTypeKind: return has_short(LLVMGetElementType(t));
	case LLVMStructTypeKind:
		for (unsigned int i = 0; i < LLVMCountStructElementTypes(t); i++)
			if (has_short(LLVMStructGetTypeAtIndex(t, i)))
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
		if (has_short(t) || LLVMABISizeOfType(l->theirs, t) != LLVMABISizeOfType(l->ours, t))
			lane_refuse(l, "a type in memory that is laid out otherwise on this CPU");
	} else if (is_ptr(t) && (LLVMGetPointerAddressSpace(t) == AS_REGION || LLVMGetPointerAddressSpace(t) > AS_SCRATCH)) {
		lane_refuse(l, "pointers of address space %u", LLVMGetPointerAddressSpace(t));
	}
}

/* ---- short pointers and their numbers ---- */

static V base_of(const struct lane_code *l, LLVMTypeRef ptr)
{
	return LLVMGetPointerAddressSpace(ptr) == AS_LDS ? param(l, LANE_LDS) :
		LLVMBuildAddrSpaceCast(l->b, param(l, LANE_FRAMES), l->scratch_ptr, "");
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

static bool is_relative(V v)
{
	if (!LLVMIsAConstant(v))
		return false;
	if (LLVMIsAGlobalVariable(v))
		return LLVMGetPointerAddressSpace(LLVMTypeOf(v)) == AS_LDS;
	if (LLVMIsAConstantPointerNull(v))
		return LLVMGetPointerAddressSpace(LLVMTypeOf(v)) == AS_LDS;
	if (LLVMIsAConstantExpr(v) && (LLVMGetConstOpcode(v) == LLVMIntToPtr || LLVMGetConstOpcode(v) == LLVMPtrToInt) &&
	    (is_short(LLVMTypeOf(v)) || is_short(LLVMTypeOf(LLVMGetOperand(v, 0)))))
		return true;
	if (LLVMIsAFunction(v) || LLVMIsABlockAddress(v))
		return false;
	for (int i = 0; i < LLVMGetNumOperands(v); i++)
		if (is_relative(LLVMGetOperand(v, (unsigned int)i)))
			return true;
	return false;
}

static V lds_variable(struct lane_code *l, V var)
{
	uint64_t size = LLVMABISizeOfType(l->theirs, LLVMGlobalGetValueType(var));

	/* memory that the launch adds lies behind what the code object says */
	return size ? param(l, LANE_LDS) : lane_at(l, param(l, LANE_LDS), LLVMConstInt(l->i64, l->lds_static, 0));
}

/* The same as instructions, where the builder stands. */
static V expand(struct lane_code *l, V v)
{
	LLVMTypeRef type = LLVMTypeOf(v);
	V in[16], r;
	unsigned int nr;

	if (!is_relative(v))
		return v;
	if (LLVMIsAGlobalVariable(v))
		return lds_variable(l, v);
	if (LLVMIsAConstantPointerNull(v))
		return param(l, LANE_LDS);
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
		return is_short(LLVMTypeOf(in[0])) ? short_to_int(l, in[0], type) : LLVMBuildPtrToInt(l->b, in[0], type, "");
	case LLVMIntToPtr: return is_short(type) ? short_from_int(l, in[0], type) : LLVMBuildIntToPtr(l->b, in[0], type, "");
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
			if (is_relative(LLVMGetIncomingValue(inst, i))) {
				LLVMPositionBuilderBefore(l->b, LLVMGetBasicBlockTerminator(LLVMGetIncomingBlock(inst, i)));
				LLVMSetOperand(inst, i, expand(l, LLVMGetIncomingValue(inst, i)));
			}
		return;
	}
	for (int i = 0; i < LLVMGetNumOperands(inst); i++) {
		V v = LLVMGetOperand(inst, (unsigned int)i);

		if (LLVMValueIsBasicBlock(v) || !is_relative(v))
			continue;
		LLVMPositionBuilderBefore(l->b, inst);
		LLVMSetOperand(inst, (unsigned int)i, expand(l, v));
	}
}

/* ---- tools ---- */

static void replace(V inst, V by)
{
	if (by)
		LLVMReplaceAllUsesWith(inst, by);
	LLVMInstructionEraseFromParent(inst);
}

static V arg(V call, unsigned int i)
{
	return LLVMGetArgOperand(call, i);
}

static uint64_t imm(V call, unsigned int i)
{
	return LLVMIsAConstantInt(arg(call, i)) ? LLVMConstIntGetZExtValue(arg(call, i)) : 0;
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

static V call_intrinsic(struct lane_code *l, const char *name, LLVMTypeRef *over, size_t nr_over, V *args, unsigned int nr)
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

static uint32_t bits_of(LLVMTypeRef t)
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
static void add_op(struct lane_code *l, V call, enum wave_op op, uint64_t number, V in0, V in1, V in2)
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
		if (is_short(type) || LLVMABISizeOfType(l->ours, type) > 16)
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
	replace(call, has_result ? LLVMBuildLoad2(l->b, type, o->out, "") : NULL);
}

static void do_ballot(struct lane_code *l, V call)
{
	V yes = LLVMBuildZExt(l->b, arg(call, 0), l->i32, "");

	if (LLVMGetIntTypeWidth(LLVMTypeOf(call)) < l->wave)
		lane_refuse(l, "a ballot of %u bits in a wave of %u", LLVMGetIntTypeWidth(LLVMTypeOf(call)), l->wave);
	add_op(l, call, WAVE_BALLOT, 0, yes, NULL, NULL);
}

/* llvm.amdgcn.icmp and fcmp: the number of the predicate is LLVM's */
static void do_cmp(struct lane_code *l, V call)
{
	uint64_t pred = imm(call, 2);
	bool is_float = bits_of(LLVMTypeOf(arg(call, 0))) && LLVMGetTypeKind(LLVMTypeOf(arg(call, 0))) != LLVMIntegerTypeKind;
	V yes = is_float ? LLVMBuildFCmp(l->b, (LLVMRealPredicate)pred, arg(call, 0), arg(call, 1), "") :
		LLVMBuildICmp(l->b, (LLVMIntPredicate)pred, arg(call, 0), arg(call, 1), "");

	add_op(l, call, WAVE_BALLOT, 0, LLVMBuildZExt(l->b, yes, l->i32, ""), NULL, NULL);
}

static void do_readfirstlane(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_READFIRSTLANE, 0, arg(call, 0), NULL, NULL);
}

static void do_readlane(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_READLANE, 0, arg(call, 0), arg(call, 1), NULL);
}

static void do_writelane(struct lane_code *l, V call)
{
	V me = LLVMBuildICmp(l->b, LLVMIntEQ, param(l, LANE_NUMBER), LLVMBuildAnd(l->b, arg(call, 1), lane_i32(l, l->wave - 1), ""), "");

	replace(call, LLVMBuildSelect(l->b, me, arg(call, 0), arg(call, 2), ""));
}

static void do_bpermute(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_BPERMUTE, 0, arg(call, 0), arg(call, 1), NULL);
}

static void do_permute(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_PERMUTE, 0, arg(call, 0), arg(call, 1), NULL);
}

static void do_swizzle(struct lane_code *l, V call)
{
	if (imm(call, 1) >= 0xc000)
		lane_refuse(l, "llvm.amdgcn.ds.swizzle in a mode that is not known here");
	add_op(l, call, WAVE_SWIZZLE, imm(call, 1), arg(call, 0), NULL, NULL);
}

static void do_mov_dpp(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_DPP, WAVE_DPP_IMM(imm(call, 1), imm(call, 2), imm(call, 3), imm(call, 4)), LLVMGetUndef(LLVMTypeOf(call)),
	       arg(call, 0), NULL);
}

static void do_update_dpp(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_DPP, WAVE_DPP_IMM(imm(call, 2), imm(call, 3), imm(call, 4), imm(call, 5)), arg(call, 0), arg(call, 1), NULL);
}

static void do_mov_dpp8(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_DPP8, imm(call, 1), arg(call, 0), NULL, NULL);
}

static void permlane(struct lane_code *l, V call, enum wave_op op)
{
	V low = LLVMBuildZExt(l->b, arg(call, 2), l->i64, ""), high = LLVMBuildZExt(l->b, arg(call, 3), l->i64, "");

	high = LLVMBuildShl(l->b, high, LLVMConstInt(l->i64, 32, 0), "");
	add_op(l, call, op, WAVE_PERMLANE_IMM(imm(call, 4), imm(call, 5)), arg(call, 0), arg(call, 1), LLVMBuildOr(l->b, low, high, ""));
}

static void do_permlane16(struct lane_code *l, V call)
{
	permlane(l, call, WAVE_PERMLANE16);
}

static void do_permlanex16(struct lane_code *l, V call)
{
	permlane(l, call, WAVE_PERMLANEX16);
}

static void do_permlane16_var(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_PERMLANE16_VAR, WAVE_PERMLANE_IMM(imm(call, 3), imm(call, 4)), arg(call, 0), arg(call, 1), arg(call, 2));
}

static void do_permlanex16_var(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_PERMLANEX16_VAR, WAVE_PERMLANE_IMM(imm(call, 3), imm(call, 4)), arg(call, 0), arg(call, 1), arg(call, 2));
}

static void do_permlane64(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_PERMLANE64, 0, arg(call, 0), NULL, NULL);
}

static void do_reduce(struct lane_code *l, V call)
{
	bool max = LLVMGetIntrinsicID(LLVMGetCalledValue(call)) == LLVMLookupIntrinsicID("llvm.amdgcn.wave.reduce.umax", 28);

	if (bits_of(LLVMTypeOf(call)) != 32)
		lane_refuse(l, "llvm.amdgcn.wave.reduce of a type that is not i32");
	add_op(l, call, max ? WAVE_REDUCE_UMAX : WAVE_REDUCE_UMIN, 0, arg(call, 0), NULL, NULL);
}

static void do_barrier(struct lane_code *l, V call)
{
	l->waits = true;
	add_op(l, call, WAVE_BARRIER, 0, NULL, NULL, NULL);
}

/* Nothing to hardware; code that has it counts on lanes going in step up to there. */
static void do_wave_barrier(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_MEET, 0, NULL, NULL, NULL);
}

/* Takes no time; a loop that waits lets other waves run at its end. */
static void do_sleep(struct lane_code *l, V call)
{
	LLVMBuildStore(l->b, lane_i32(l, 1), lane_at(l, param(l, LANE_WAVE), LLVMConstInt(l->i64, offsetof(struct simt_wave, patience), 0)));
	replace(call, NULL);
}

static void do_endpgm(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_ENDPGM, 0, NULL, NULL, NULL);
}

/* ---- what a lane knows of itself ---- */

static V env_field(struct lane_code *l, size_t offset)
{
	V env = LLVMBuildLoad2(l->b, l->ptr, lane_at(l, param(l, LANE_SELF), LLVMConstInt(l->i64, offsetof(struct simt_item, env), 0)), "");

	return LLVMBuildLoad2(l->b, l->i32, lane_at(l, env, LLVMConstInt(l->i64, offset, 0)), "");
}

static void do_item_x(struct lane_code *l, V call)
{
	replace(call, param(l, LANE_X));
}

static void do_item_y(struct lane_code *l, V call)
{
	replace(call, param(l, LANE_Y));
}

static void do_item_z(struct lane_code *l, V call)
{
	replace(call, param(l, LANE_Z));
}

static void do_group_x(struct lane_code *l, V call)
{
	replace(call, env_field(l, offsetof(struct simt_env, ctaid[0])));
}

static void do_group_y(struct lane_code *l, V call)
{
	replace(call, env_field(l, offsetof(struct simt_env, ctaid[1])));
}

static void do_group_z(struct lane_code *l, V call)
{
	replace(call, env_field(l, offsetof(struct simt_env, ctaid[2])));
}

static void do_static_size(struct lane_code *l, V call)
{
	replace(call, lane_i32(l, l->lds_static));
}

static void do_wave_size(struct lane_code *l, V call)
{
	replace(call, lane_i32(l, l->wave));
}

/* base + how many of the mask's bits, of lanes 0 to 31 or 32 to 63, are below this lane */
static void mbcnt(struct lane_code *l, V call, bool high)
{
	V lane = param(l, LANE_NUMBER), limit = lane_i32(l, high ? 32 : 0), below;

	/* (1 << (lane - limit)) - 1, of 64 bits: with lanes below the limit 0, and 32 ones far above it */
	lane = call_intrinsic(l, "llvm.usub.sat", &l->i32, 1, (V[]){ lane, limit }, 2);
	below = LLVMBuildShl(l->b, LLVMConstInt(l->i64, 1, 0), LLVMBuildZExt(l->b, lane, l->i64, ""), "");
	below = LLVMBuildTrunc(l->b, LLVMBuildSub(l->b, below, LLVMConstInt(l->i64, 1, 0), ""), l->i32, "");
	below = LLVMBuildAnd(l->b, below, arg(call, 0), "");
	below = call_intrinsic(l, "llvm.ctpop", &l->i32, 1, &below, 1);
	replace(call, LLVMBuildAdd(l->b, below, arg(call, 1), ""));
}

static void do_mbcnt_lo(struct lane_code *l, V call)
{
	mbcnt(l, call, false);
}

static void do_mbcnt_hi(struct lane_code *l, V call)
{
	mbcnt(l, call, true);
}

static void do_inverse_ballot(struct lane_code *l, V call)
{
	LLVMTypeRef t = LLVMTypeOf(arg(call, 0));
	V lane = LLVMBuildIntCast2(l->b, param(l, LANE_NUMBER), t, false, "");

	replace(call, LLVMBuildTrunc(l->b, LLVMBuildLShr(l->b, arg(call, 0), lane, ""), l->i1, ""));
}

static V is_within(struct lane_code *l, V p, V base, V bytes)
{
	V off = LLVMBuildSub(l->b, LLVMBuildPtrToInt(l->b, p, l->i64, ""), LLVMBuildPtrToInt(l->b, base, l->i64, ""), "");

	return LLVMBuildICmp(l->b, LLVMIntULT, off, bytes, "");
}

static void do_is_shared(struct lane_code *l, V call)
{
	replace(call, is_within(l, arg(call, 0), param(l, LANE_LDS), param(l, LANE_LDS_BYTES)));
}

static void do_is_private(struct lane_code *l, V call)
{
	replace(call, is_within(l, arg(call, 0), param(l, LANE_FRAMES), param(l, LANE_FRAMES_BYTES)));
}

/* The wave's, hence one for all lanes: code may loop by it and stay together. */
static void do_clock(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_CLOCK, 0, NULL, NULL, NULL);
}

static void do_timer(struct lane_code *l, V call)
{
	add_op(l, call, WAVE_TIMER, 0, NULL, NULL, NULL);
}

/* Hardware's registers: what the wave runs on, of which there is one. */
static void do_zero(struct lane_code *l, V call)
{
	(void)l;
	replace(call, LLVMConstNull(LLVMTypeOf(call)));
}

static void do_nothing(struct lane_code *l, V call)
{
	(void)l;
	replace(call, NULL);
}

static void trap(struct lane_code *l, uint32_t what)
{
	V args[2] = { param(l, LANE_SELF), lane_i32(l, what) };

	call_c(l, "simt_wave_trap", LLVMVoidTypeInContext(l->c), args, 2);
}

static void do_trap(struct lane_code *l, V call)
{
	trap(l, WAVE_TRAP);
	replace(call, NULL);
}

/* ---- integers ---- */

/* Byte n of the result is byte sel[n] of src1, src0 above it; or a sign, 0 or 0xff. */
static void do_perm(struct lane_code *l, V call)
{
	V both = LLVMBuildOr(l->b, LLVMBuildShl(l->b, LLVMBuildZExt(l->b, arg(call, 0), l->i64, ""), LLVMConstInt(l->i64, 32, 0), ""),
			     LLVMBuildZExt(l->b, arg(call, 1), l->i64, ""), "");
	V r = lane_i32(l, 0);

	for (unsigned int i = 0; i < 4; i++) {
		V sel = LLVMBuildAnd(l->b, LLVMBuildLShr(l->b, arg(call, 2), lane_i32(l, 8 * i), ""), lane_i32(l, 0xff), "");
		V shift = LLVMBuildZExt(l->b, LLVMBuildShl(l->b, LLVMBuildAnd(l->b, sel, lane_i32(l, 7), ""), lane_i32(l, 3), ""), l->i64, "");
		V byte = LLVMBuildAnd(l->b, LLVMBuildTrunc(l->b, LLVMBuildLShr(l->b, both, shift, ""), l->i32, ""), lane_i32(l, 0xff), "");
		/* 8 to 11: the sign of a 16-bit half */
		V half = LLVMBuildAnd(l->b, sel, lane_i32(l, 3), ""), at, sign;

		at = LLVMBuildAdd(l->b, LLVMBuildShl(l->b, half, lane_i32(l, 4), ""), lane_i32(l, 15), "");
		sign = LLVMBuildTrunc(l->b, LLVMBuildLShr(l->b, both, LLVMBuildZExt(l->b, at, l->i64, ""), ""), l->i1, "");
		sign = LLVMBuildSelect(l->b, sign, lane_i32(l, 0xff), lane_i32(l, 0), "");
		byte = LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntUGT, sel, lane_i32(l, 7), ""), sign, byte, "");
		byte = LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntEQ, sel, lane_i32(l, 12), ""), lane_i32(l, 0), byte, "");
		byte = LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntUGT, sel, lane_i32(l, 12), ""), lane_i32(l, 0xff), byte, "");
		r = LLVMBuildOr(l->b, r, LLVMBuildShl(l->b, byte, lane_i32(l, 8 * i), ""), "");
	}
	replace(call, r);
}

/* A field of bits; offset and width count modulo 32. */
static void bit_field(struct lane_code *l, V call, bool is_signed)
{
	V at = LLVMBuildAnd(l->b, arg(call, 1), lane_i32(l, 31), ""), width = LLVMBuildAnd(l->b, arg(call, 2), lane_i32(l, 31), "");
	V ends = LLVMBuildAdd(l->b, at, width, ""), rest, moved, r;

	if (bits_of(LLVMTypeOf(call)) != 32) {
		lane_refuse(l, "a field of bits of a type that is not i32");
		return;
	}
	/* a field that goes on beyond the top is what there is of it, without a sign of its own */
	rest = LLVMBuildAnd(l->b, LLVMBuildSub(l->b, lane_i32(l, 32), width, ""), lane_i32(l, 31), "");
	moved = LLVMBuildShl(l->b, LLVMBuildLShr(l->b, arg(call, 0), at, ""), rest, "");
	r = is_signed ? LLVMBuildAShr(l->b, moved, rest, "") : LLVMBuildLShr(l->b, moved, rest, "");
	moved = is_signed ? LLVMBuildAShr(l->b, arg(call, 0), at, "") : LLVMBuildLShr(l->b, arg(call, 0), at, "");
	r = LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntULT, ends, lane_i32(l, 32), ""), r, moved, "");
	replace(call, LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntEQ, width, lane_i32(l, 0), ""), lane_i32(l, 0), r, ""));
}

static void do_ubfe(struct lane_code *l, V call)
{
	bit_field(l, call, false);
}

static void do_sbfe(struct lane_code *l, V call)
{
	bit_field(l, call, true);
}

static void do_alignbyte(struct lane_code *l, V call)
{
	V shift = LLVMBuildShl(l->b, LLVMBuildAnd(l->b, arg(call, 2), lane_i32(l, 3), ""), lane_i32(l, 3), "");

	replace(call, call_intrinsic(l, "llvm.fshr", &l->i32, 1, (V[]){ arg(call, 0), arg(call, 1), shift }, 3));
}

static void do_sad_u8(struct lane_code *l, V call)
{
	V r = arg(call, 2);

	for (unsigned int i = 0; i < 4; i++) {
		V part[2], less;

		for (unsigned int k = 0; k < 2; k++)
			part[k] = LLVMBuildAnd(l->b, LLVMBuildLShr(l->b, arg(call, k), lane_i32(l, 8 * i), ""), lane_i32(l, 0xff), "");
		less = LLVMBuildICmp(l->b, LLVMIntULT, part[0], part[1], "");
		r = LLVMBuildAdd(l->b, r, LLVMBuildSelect(l->b, less, LLVMBuildSub(l->b, part[1], part[0], ""),
							  LLVMBuildSub(l->b, part[0], part[1], ""), ""), "");
	}
	replace(call, r);
}

static V low_24(struct lane_code *l, V v, bool is_signed)
{
	v = LLVMBuildShl(l->b, v, lane_i32(l, 8), "");
	v = is_signed ? LLVMBuildAShr(l->b, v, lane_i32(l, 8), "") : LLVMBuildLShr(l->b, v, lane_i32(l, 8), "");
	return is_signed ? LLVMBuildSExt(l->b, v, l->i64, "") : LLVMBuildZExt(l->b, v, l->i64, "");
}

static void mul_24(struct lane_code *l, V call, bool is_signed)
{
	V r = LLVMBuildMul(l->b, low_24(l, arg(call, 0), is_signed), low_24(l, arg(call, 1), is_signed), "");

	replace(call, LLVMBuildIntCast2(l->b, r, LLVMTypeOf(call), is_signed, ""));
}

static void do_mul_u24(struct lane_code *l, V call)
{
	mul_24(l, call, false);
}

static void do_mul_i24(struct lane_code *l, V call)
{
	mul_24(l, call, true);
}

static void dot4(struct lane_code *l, V call, bool is_signed)
{
	V r = arg(call, 2);

	if (imm(call, 3))
		lane_refuse(l, "a dot product that saturates");
	for (unsigned int i = 0; i < 4; i++) {
		V part[2];

		for (unsigned int k = 0; k < 2; k++) {
			part[k] = LLVMBuildShl(l->b, arg(call, k), lane_i32(l, 24 - 8 * i), "");
			part[k] = is_signed ? LLVMBuildAShr(l->b, part[k], lane_i32(l, 24), "") : LLVMBuildLShr(l->b, part[k], lane_i32(l, 24), "");
		}
		r = LLVMBuildAdd(l->b, r, LLVMBuildMul(l->b, part[0], part[1], ""), "");
	}
	replace(call, r);
}

static void do_udot4(struct lane_code *l, V call)
{
	dot4(l, call, false);
}

static void do_sdot4(struct lane_code *l, V call)
{
	dot4(l, call, true);
}

/* ---- floating point ---- */

static V as_int(struct lane_code *l, V v)
{
	return LLVMBuildBitCast(l->b, v, LLVMIntTypeInContext(l->c, bits_of(LLVMTypeOf(v))), "");
}

/* A signalling NaN becomes a quiet one. */
static V quiet(struct lane_code *l, V v)
{
	LLVMTypeRef t = LLVMTypeOf(v);
	uint64_t bit = LLVMGetTypeKind(t) == LLVMBFloatTypeKind ? 1u << 6 : bits_of(t) == 16 ? 1u << 9 : bits_of(t) == 32 ? 1u << 22 :
		UINT64_C(1) << 51;
	V i = as_int(l, v), q;

	q = LLVMBuildBitCast(l->b, LLVMBuildOr(l->b, i, LLVMConstInt(LLVMTypeOf(i), bit, 0), ""), t, "");
	return LLVMBuildSelect(l->b, LLVMBuildFCmp(l->b, LLVMRealUNO, v, v, ""), q, v, "");
}

static bool is_scalar_float(struct lane_code *l, V call)
{
	LLVMTypeKind kind = LLVMGetTypeKind(LLVMTypeOf(arg(call, 0)));

	if (kind == LLVMHalfTypeKind || kind == LLVMBFloatTypeKind || kind == LLVMFloatTypeKind || kind == LLVMDoubleTypeKind)
		return true;
	lane_refuse(l, "%.60s of a vector", LLVMGetValueName2(LLVMGetCalledValue(call), &(size_t){ 0 }));
	return false;
}

static void do_canonicalize(struct lane_code *l, V call)
{
	if (is_scalar_float(l, call))
		replace(call, quiet(l, arg(call, 0)));
}

/* The number of two if one is none; -0 is less than +0. */
static void min_max(struct lane_code *l, V call, bool max)
{
	V a = arg(call, 0), b = arg(call, 1), less, equal, both, r;

	if (!is_scalar_float(l, call))
		return;
	less = LLVMBuildFCmp(l->b, max ? LLVMRealOGT : LLVMRealOLT, a, b, "");
	equal = LLVMBuildFCmp(l->b, LLVMRealOEQ, a, b, "");
	both = max ? LLVMBuildAnd(l->b, as_int(l, a), as_int(l, b), "") : LLVMBuildOr(l->b, as_int(l, a), as_int(l, b), "");
	r = LLVMBuildSelect(l->b, less, a, b, "");
	r = LLVMBuildSelect(l->b, equal, LLVMBuildBitCast(l->b, both, LLVMTypeOf(a), ""), r, "");
	r = LLVMBuildSelect(l->b, LLVMBuildFCmp(l->b, LLVMRealUNO, b, b, ""), a, r, "");
	replace(call, quiet(l, r));
}

static void do_minnum(struct lane_code *l, V call)
{
	min_max(l, call, false);
}

static void do_maxnum(struct lane_code *l, V call)
{
	min_max(l, call, true);
}

static void do_class(struct lane_code *l, V call)
{
	LLVMTypeRef t = LLVMTypeOf(arg(call, 0));

	if (!LLVMIsAConstantInt(arg(call, 1)))
		lane_refuse(l, "llvm.amdgcn.class with a mask that is not constant");
	else
		replace(call, call_intrinsic(l, "llvm.is.fpclass", &t, 1, (V[]){ arg(call, 0), arg(call, 1) }, 2));
}

/* Of 16 bits: this CPU would round twice. */
static void do_fma(struct lane_code *l, V call)
{
	LLVMTypeRef t = LLVMTypeOf(call);
	LLVMTypeKind kind = LLVMGetTypeKind(t);
	V in[4], r;

	if (kind == LLVMFloatTypeKind || kind == LLVMDoubleTypeKind ||
	    (kind == LLVMVectorTypeKind && bits_of(LLVMGetElementType(t)) >= 32) || !is_scalar_float(l, call))
		return;
	in[0] = lane_i32(l, SIMT_FLOAT_CODE(SIMT_FMA, kind == LLVMHalfTypeKind ? IR_F16 : IR_BF16, IR_RN));
	for (unsigned int i = 0; i < 3; i++)
		in[1 + i] = LLVMBuildZExt(l->b, as_int(l, arg(call, i)), l->i64, "");
	r = call_c(l, "simt_float_op", l->i64, in, 4);
	replace(call, LLVMBuildBitCast(l->b, LLVMBuildTrunc(l->b, r, l->i16, ""), t, ""));
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

	in[0] = lane_i32(l, SIMT_FLOAT_CODE(bits_of(from) == 64 ? IR_F64 : IR_F32, is_half ? IR_F16 : IR_BF16, IR_RN));
	in[1] = LLVMBuildZExt(l->b, as_int(l, v), l->i64, "");
	v = call_c(l, "simt_float_cvt", l->i64, in, 2);
	return LLVMBuildBitCast(l->b, LLVMBuildTrunc(l->b, v, l->i16, ""), to, "");
}

static void narrow(struct lane_code *l, V inst)
{
	LLVMTypeRef to = LLVMTypeOf(inst), element = bits_of(to) ? to : LLVMGetElementType(to);
	V v = LLVMGetOperand(inst, 0), all = LLVMGetPoison(to);

	if (LLVMGetTypeKind(element) != LLVMHalfTypeKind && LLVMGetTypeKind(element) != LLVMBFloatTypeKind)
		return;
	if (element == to) {
		replace(inst, narrow_one(l, v, to));
		return;
	}
	for (unsigned int i = 0; i < LLVMGetVectorSize(to); i++) {
		V at = lane_i32(l, i);

		all = LLVMBuildInsertElement(l->b, all, narrow_one(l, LLVMBuildExtractElement(l->b, v, at, ""), element), at, "");
	}
	replace(inst, all);
}

/* ---- calls ---- */

static void keep(struct lane_code *l, V call)
{
	(void)l;
	(void)call;
}

static void check_lds(struct lane_code *l, V p, V size);

static void do_memory(struct lane_code *l, V call)
{
	bool has_source = is_ptr(LLVMTypeOf(arg(call, 1)));
	V size = LLVMBuildIntCast2(l->b, arg(call, 2), l->i64, false, "");

	check_lds(l, arg(call, 0), size);
	if (has_source)
		check_lds(l, arg(call, 1), size);
}

static const struct {
	const char *name;
	void (*fn)(struct lane_code *l, V call);
} known[] = {
	{ "llvm.amdgcn.alignbyte", do_alignbyte }, { "llvm.amdgcn.ballot", do_ballot }, { "llvm.amdgcn.class", do_class },
	{ "llvm.amdgcn.ds.bpermute", do_bpermute }, { "llvm.amdgcn.ds.permute", do_permute }, { "llvm.amdgcn.ds.swizzle", do_swizzle },
	{ "llvm.amdgcn.endpgm", do_endpgm }, { "llvm.amdgcn.fcmp", do_cmp }, { "llvm.amdgcn.groupstaticsize", do_static_size },
	{ "llvm.amdgcn.icmp", do_cmp }, { "llvm.amdgcn.inverse.ballot", do_inverse_ballot }, { "llvm.amdgcn.is.private", do_is_private },
	{ "llvm.amdgcn.is.shared", do_is_shared }, { "llvm.amdgcn.mbcnt.hi", do_mbcnt_hi }, { "llvm.amdgcn.mbcnt.lo", do_mbcnt_lo },
	{ "llvm.amdgcn.mov.dpp", do_mov_dpp }, { "llvm.amdgcn.mov.dpp8", do_mov_dpp8 }, { "llvm.amdgcn.mul.i24", do_mul_i24 },
	{ "llvm.amdgcn.mul.u24", do_mul_u24 }, { "llvm.amdgcn.perm", do_perm }, { "llvm.amdgcn.permlane16", do_permlane16 },
	{ "llvm.amdgcn.permlane16.var", do_permlane16_var }, { "llvm.amdgcn.permlane64", do_permlane64 },
	{ "llvm.amdgcn.permlanex16", do_permlanex16 }, { "llvm.amdgcn.permlanex16.var", do_permlanex16_var },
	{ "llvm.amdgcn.readfirstlane", do_readfirstlane }, { "llvm.amdgcn.readlane", do_readlane }, { "llvm.amdgcn.s.barrier", do_barrier },
	{ "llvm.amdgcn.s.getreg", do_zero }, { "llvm.amdgcn.s.memrealtime", do_timer }, { "llvm.amdgcn.s.memtime", do_clock },
	{ "llvm.amdgcn.s.nop", do_nothing }, { "llvm.amdgcn.s.setprio", do_nothing }, { "llvm.amdgcn.s.sleep", do_sleep },
	{ "llvm.amdgcn.s.waitcnt", do_nothing }, { "llvm.amdgcn.sad.u8", do_sad_u8 }, { "llvm.amdgcn.sbfe", do_sbfe },
	{ "llvm.amdgcn.sched.barrier", do_nothing }, { "llvm.amdgcn.sdot4", do_sdot4 }, { "llvm.amdgcn.ubfe", do_ubfe },
	{ "llvm.amdgcn.udot4", do_udot4 }, { "llvm.amdgcn.update.dpp", do_update_dpp }, { "llvm.amdgcn.wave.barrier", do_wave_barrier },
	{ "llvm.amdgcn.wave.reduce.umax", do_reduce }, { "llvm.amdgcn.wave.reduce.umin", do_reduce },
	{ "llvm.amdgcn.wavefrontsize", do_wave_size }, { "llvm.amdgcn.workgroup.id.x", do_group_x },
	{ "llvm.amdgcn.workgroup.id.y", do_group_y }, { "llvm.amdgcn.workgroup.id.z", do_group_z },
	{ "llvm.amdgcn.workitem.id.x", do_item_x }, { "llvm.amdgcn.workitem.id.y", do_item_y }, { "llvm.amdgcn.workitem.id.z", do_item_z },
	{ "llvm.amdgcn.writelane", do_writelane },

	{ "llvm.abs", keep }, { "llvm.assume", do_nothing }, { "llvm.bitreverse", keep }, { "llvm.bswap", keep },
	{ "llvm.canonicalize", do_canonicalize }, { "llvm.ceil", keep }, { "llvm.copysign", keep }, { "llvm.ctlz", keep },
	{ "llvm.ctpop", keep }, { "llvm.cttz", keep }, { "llvm.debugtrap", do_trap }, { "llvm.donothing", do_nothing },
	{ "llvm.experimental.noalias.scope.decl", do_nothing }, { "llvm.fabs", keep }, { "llvm.floor", keep }, { "llvm.fma", do_fma },
	{ "llvm.fptosi.sat", keep }, { "llvm.fptoui.sat", keep }, { "llvm.fshl", keep }, { "llvm.fshr", keep },
	{ "llvm.is.fpclass", keep }, { "llvm.ldexp", keep }, { "llvm.lifetime.end", do_nothing }, { "llvm.lifetime.start", do_nothing },
	{ "llvm.maximum", keep }, { "llvm.maxnum", do_maxnum }, { "llvm.memcpy", do_memory }, { "llvm.memcpy.inline", do_memory },
	{ "llvm.memmove", do_memory }, { "llvm.memset", do_memory }, { "llvm.memset.inline", do_memory }, { "llvm.minimum", keep },
	{ "llvm.minnum", do_minnum }, { "llvm.nearbyint", keep }, { "llvm.prefetch", do_nothing }, { "llvm.readcyclecounter", do_clock },
	{ "llvm.readsteadycounter", do_timer }, { "llvm.rint", keep }, { "llvm.round", keep }, { "llvm.roundeven", keep },
	{ "llvm.sadd.sat", keep }, { "llvm.sadd.with.overflow", keep }, { "llvm.sideeffect", do_nothing }, { "llvm.smax", keep },
	{ "llvm.smin", keep }, { "llvm.smul.with.overflow", keep }, { "llvm.sqrt", do_sqrt }, { "llvm.sshl.sat", keep },
	{ "llvm.ssub.sat", keep }, { "llvm.ssub.with.overflow", keep }, { "llvm.trap", do_trap }, { "llvm.trunc", keep },
	{ "llvm.uadd.sat", keep }, { "llvm.uadd.with.overflow", keep }, { "llvm.ubsantrap", do_trap }, { "llvm.umax", keep },
	{ "llvm.umin", keep }, { "llvm.umul.with.overflow", keep }, { "llvm.ushl.sat", keep }, { "llvm.usub.sat", keep },
	{ "llvm.usub.with.overflow", keep }, { "llvm.vector.reduce.add", keep }, { "llvm.vector.reduce.and", keep },
	{ "llvm.vector.reduce.or", keep }, { "llvm.vector.reduce.xor", keep },
};

static void do_call(struct lane_code *l, V call)
{
	V callee = LLVMGetCalledValue(call);
	const char *name;
	unsigned int id;
	size_t len;

	if (LLVMIsAInlineAsm(callee)) {
		/* nothing, through a register: keeps the optimiser from looking at a value */
		if (*LLVMGetInlineAsmAsmString(callee, &len) || LLVMGetNumArgOperands(call) > 1 ||
		    (LLVMGetNumArgOperands(call) == 1 && LLVMTypeOf(call) != LLVMTypeOf(arg(call, 0))))
			lane_refuse(l, "assembly of its own: '%.60s'", LLVMGetInlineAsmAsmString(callee, &len));
		else
			replace(call, LLVMGetNumArgOperands(call) ? arg(call, 0) : NULL);
		return;
	}
	if (!LLVMIsAFunction(callee)) {
		lane_refuse(l, "a call through a pointer");
		return;
	}
	name = LLVMGetValueName2(callee, &len);
	id = LLVMGetIntrinsicID(callee);
	if (!id) {
		lane_refuse(l, "a call of '%.100s'", name);
		return;
	}
	name = LLVMIntrinsicGetName(id, &len);
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
static void check_lds(struct lane_code *l, V p, V size)
{
	V lds = param(l, LANE_LDS), args[4];

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
	args[0] = param(l, LANE_SELF);
	args[1] = LLVMBuildSub(l->b, LLVMBuildPtrToInt(l->b, p, l->i64, ""), LLVMBuildPtrToInt(l->b, lds, l->i64, ""), "");
	args[2] = size;
	args[3] = param(l, LANE_LDS_BYTES);
	LLVMBuildCall2(l->b, LLVMGlobalGetValueType(l->check_lds), l->check_lds, args, 4, "");
}

static void check_access(struct lane_code *l, V p, LLVMTypeRef type)
{
	check_type(l, type);
	check_lds(l, p, LLVMConstInt(l->i64, LLVMStoreSizeOfType(l->theirs, type), 0));
}

/* A load of a short pointer is one of its number. */
static void do_load(struct lane_code *l, V inst)
{
	LLVMTypeRef type = LLVMTypeOf(inst);
	V v;

	check_access(l, LLVMGetOperand(inst, 0), type);
	if (!is_short(type))
		return;
	v = LLVMBuildLoad2(l->b, l->i32, LLVMGetOperand(inst, 0), "");
	LLVMSetAlignment(v, LLVMGetAlignment(inst));
	LLVMSetVolatile(v, LLVMGetVolatile(inst));
	if (LLVMGetOrdering(inst) != LLVMAtomicOrderingNotAtomic)
		LLVMSetOrdering(v, LLVMGetOrdering(inst));
	replace(inst, short_from_int(l, v, type));
}

static void do_store(struct lane_code *l, V inst)
{
	LLVMTypeRef type = LLVMTypeOf(LLVMGetOperand(inst, 0));
	V v;

	check_access(l, LLVMGetOperand(inst, 1), type);
	if (!is_short(type))
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

	if (is_short(type))
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
	v = new_alloca(l, is_short(type) ? l->i32 : type);
	LLVMSetAlignment(v, LLVMGetAlignment(inst));
	LLVMPositionBuilderBefore(b, inst);
	replace(inst, LLVMGetPointerAddressSpace(LLVMTypeOf(inst)) ? LLVMBuildAddrSpaceCast(b, v, LLVMTypeOf(inst), "") : v);
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
	switch (LLVMGetInstructionOpcode(inst)) {
	case LLVMCall: do_call(l, inst); break;
	case LLVMLoad: do_load(l, inst); break;
	case LLVMStore: do_store(l, inst); break;
	case LLVMAtomicRMW: case LLVMAtomicCmpXchg: do_atomic(l, inst); break;
	case LLVMAlloca: do_alloca(l, inst); break;
	case LLVMGetElementPtr: check_type(l, LLVMGetGEPSourceElementType(inst)); break;
	case LLVMPtrToInt:
		op0 = LLVMGetOperand(inst, 0);
		if (is_short(LLVMTypeOf(op0)))
			replace(inst, short_to_int(l, op0, LLVMTypeOf(inst)));
		else if (has_short(LLVMTypeOf(op0)))
			replace(inst, each_short(l, inst));
		break;
	case LLVMIntToPtr:
		if (is_short(LLVMTypeOf(inst)))
			replace(inst, short_from_int(l, LLVMGetOperand(inst, 0), LLVMTypeOf(inst)));
		else if (has_short(LLVMTypeOf(inst)))
			replace(inst, each_short(l, inst));
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
		if (!memory && is_ptr(type) && LLVMGetPointerAddressSpace(type) == AS_SCRATCH)
			lane_refuse(l, "an argument that points to scratch memory");
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
		LLVMReplaceAllUsesWith(LLVMGetParam(kernel, (unsigned int)i), param(l, (unsigned int)(NR_LANE_PARAMS + i)));
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

/* Variables of the block: at most one that has a size, as AMD's compiler would choose an order of more. */
static void check_variables(struct lane_code *l)
{
	unsigned int nr_static = 0;

	for (V g = LLVMGetFirstGlobal(l->m); g; g = LLVMGetNextGlobal(g)) {
		uint64_t size = LLVMABISizeOfType(l->theirs, LLVMGlobalGetValueType(g));

		if (LLVMGetPointerAddressSpace(LLVMTypeOf(g)) != AS_LDS) {
			if (LLVMGetInitializer(g) && is_relative(LLVMGetInitializer(g)))
				lane_refuse(l, "an address of local data share within a constant");
			continue;
		}
		if (!size || !is_used(g))
			continue;
		if (nr_static++)
			lane_refuse(l, "more than one variable in local data share");
		if (size > l->lds_static)
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
