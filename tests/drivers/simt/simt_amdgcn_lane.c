/* simt_amdgcn_lane.c - what amdgcn's intrinsics mean to a lane. */
#include <string.h>

#include "tests/drivers/simt/simt_wave.h"

typedef LLVMValueRef V;

/* ---- operations of lanes ---- */

static void do_ballot(struct lane_code *l, V call)
{
	V yes = LLVMBuildZExt(l->b, lane_arg_of(call, 0), l->i32, "");

	if (LLVMGetIntTypeWidth(LLVMTypeOf(call)) < l->wave)
		lane_refuse(l, "a ballot of %u bits in a wave of %u", LLVMGetIntTypeWidth(LLVMTypeOf(call)), l->wave);
	lane_add_op(l, call, WAVE_BALLOT, 0, yes, NULL, NULL);
}

/* llvm.amdgcn.icmp and fcmp: the number of the predicate is LLVM's */
static void do_cmp(struct lane_code *l, V call)
{
	uint64_t pred = lane_imm(call, 2);
	bool is_float = lane_bits_of(LLVMTypeOf(lane_arg_of(call, 0))) && LLVMGetTypeKind(LLVMTypeOf(lane_arg_of(call, 0))) != LLVMIntegerTypeKind;
	V yes = is_float ? LLVMBuildFCmp(l->b, (LLVMRealPredicate)pred, lane_arg_of(call, 0), lane_arg_of(call, 1), "") :
		LLVMBuildICmp(l->b, (LLVMIntPredicate)pred, lane_arg_of(call, 0), lane_arg_of(call, 1), "");

	lane_add_op(l, call, WAVE_BALLOT, 0, LLVMBuildZExt(l->b, yes, l->i32, ""), NULL, NULL);
}

static void do_readfirstlane(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_READFIRSTLANE, 0, lane_arg_of(call, 0), NULL, NULL);
}

static void do_readlane(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_READLANE, 0, lane_arg_of(call, 0), lane_arg_of(call, 1), NULL);
}

static void do_writelane(struct lane_code *l, V call)
{
	V me = LLVMBuildICmp(l->b, LLVMIntEQ, lane_param(l, LANE_NUMBER), LLVMBuildAnd(l->b, lane_arg_of(call, 1), lane_i32(l, l->wave - 1), ""), "");

	lane_replace(call, LLVMBuildSelect(l->b, me, lane_arg_of(call, 0), lane_arg_of(call, 2), ""));
}

static void do_bpermute(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_BPERMUTE, 0, lane_arg_of(call, 0), lane_arg_of(call, 1), NULL);
}

static void do_permute(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_PERMUTE, 0, lane_arg_of(call, 0), lane_arg_of(call, 1), NULL);
}

static void do_swizzle(struct lane_code *l, V call)
{
	if (lane_imm(call, 1) >= 0xc000)
		lane_refuse(l, "llvm.amdgcn.ds.swizzle in a mode that is not known here");
	lane_add_op(l, call, WAVE_SWIZZLE, lane_imm(call, 1), lane_arg_of(call, 0), NULL, NULL);
}

static void do_mov_dpp(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_DPP, WAVE_DPP_IMM(lane_imm(call, 1), lane_imm(call, 2), lane_imm(call, 3), lane_imm(call, 4)), LLVMGetUndef(LLVMTypeOf(call)),
	       lane_arg_of(call, 0), NULL);
}

static void do_update_dpp(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_DPP, WAVE_DPP_IMM(lane_imm(call, 2), lane_imm(call, 3), lane_imm(call, 4), lane_imm(call, 5)), lane_arg_of(call, 0), lane_arg_of(call, 1), NULL);
}

static void do_mov_dpp8(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_DPP8, lane_imm(call, 1), lane_arg_of(call, 0), NULL, NULL);
}

static void permlane(struct lane_code *l, V call, enum wave_op op)
{
	V low = LLVMBuildZExt(l->b, lane_arg_of(call, 2), l->i64, ""), high = LLVMBuildZExt(l->b, lane_arg_of(call, 3), l->i64, "");

	high = LLVMBuildShl(l->b, high, LLVMConstInt(l->i64, 32, 0), "");
	lane_add_op(l, call, op, WAVE_PERMLANE_IMM(lane_imm(call, 4), lane_imm(call, 5)), lane_arg_of(call, 0), lane_arg_of(call, 1), LLVMBuildOr(l->b, low, high, ""));
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
	lane_add_op(l, call, WAVE_PERMLANE16_VAR, WAVE_PERMLANE_IMM(lane_imm(call, 3), lane_imm(call, 4)), lane_arg_of(call, 0), lane_arg_of(call, 1), lane_arg_of(call, 2));
}

static void do_permlanex16_var(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_PERMLANEX16_VAR, WAVE_PERMLANE_IMM(lane_imm(call, 3), lane_imm(call, 4)), lane_arg_of(call, 0), lane_arg_of(call, 1), lane_arg_of(call, 2));
}

static void do_permlane64(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_PERMLANE64, 0, lane_arg_of(call, 0), NULL, NULL);
}

static void do_reduce(struct lane_code *l, V call)
{
	bool max = LLVMGetIntrinsicID(LLVMGetCalledValue(call)) == LLVMLookupIntrinsicID("llvm.amdgcn.wave.reduce.umax", 28);

	if (lane_bits_of(LLVMTypeOf(call)) != 32)
		lane_refuse(l, "llvm.amdgcn.wave.reduce of a type that is not i32");
	lane_add_op(l, call, max ? WAVE_REDUCE_UMAX : WAVE_REDUCE_UMIN, 0, lane_arg_of(call, 0), NULL, NULL);
}

static void do_barrier(struct lane_code *l, V call)
{
	l->waits = true;
	lane_add_op(l, call, WAVE_BARRIER, 0, NULL, NULL, NULL);
}

/* Nothing to hardware; code that has it counts on lanes going in step up to there. */
static void do_wave_barrier(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_MEET, 0, NULL, NULL, NULL);
}

/* Takes no time; a loop that waits lets other waves run at its end. */
static void do_sleep(struct lane_code *l, V call)
{
	LLVMBuildStore(l->b, lane_i32(l, 1), lane_at(l, lane_param(l, LANE_WAVE), LLVMConstInt(l->i64, offsetof(struct simt_wave, patience), 0)));
	lane_replace(call, NULL);
}

static void do_endpgm(struct lane_code *l, V call)
{
	lane_add_op(l, call, WAVE_ENDPGM, 0, NULL, NULL, NULL);
}

static void do_item_x(struct lane_code *l, V call)
{
	lane_replace(call, lane_param(l, LANE_X));
}

static void do_item_y(struct lane_code *l, V call)
{
	lane_replace(call, lane_param(l, LANE_Y));
}

static void do_item_z(struct lane_code *l, V call)
{
	lane_replace(call, lane_param(l, LANE_Z));
}

static void do_group_x(struct lane_code *l, V call)
{
	lane_replace(call, lane_env_field(l, offsetof(struct simt_env, ctaid[0])));
}

static void do_group_y(struct lane_code *l, V call)
{
	lane_replace(call, lane_env_field(l, offsetof(struct simt_env, ctaid[1])));
}

static void do_group_z(struct lane_code *l, V call)
{
	lane_replace(call, lane_env_field(l, offsetof(struct simt_env, ctaid[2])));
}

static void do_static_size(struct lane_code *l, V call)
{
	lane_replace(call, lane_i32(l, l->lds_static));
}

static void do_wave_size(struct lane_code *l, V call)
{
	lane_replace(call, lane_i32(l, l->wave));
}

/* base + how many of the mask's bits, of lanes 0 to 31 or 32 to 63, are below this lane */
static void mbcnt(struct lane_code *l, V call, bool high)
{
	V lane = lane_param(l, LANE_NUMBER), limit = lane_i32(l, high ? 32 : 0), below;

	/* (1 << (lane - limit)) - 1, of 64 bits: with lanes below the limit 0, and 32 ones far above it */
	lane = lane_intrinsic(l, "llvm.usub.sat", &l->i32, 1, (V[]){ lane, limit }, 2);
	below = LLVMBuildShl(l->b, LLVMConstInt(l->i64, 1, 0), LLVMBuildZExt(l->b, lane, l->i64, ""), "");
	below = LLVMBuildTrunc(l->b, LLVMBuildSub(l->b, below, LLVMConstInt(l->i64, 1, 0), ""), l->i32, "");
	below = LLVMBuildAnd(l->b, below, lane_arg_of(call, 0), "");
	below = lane_intrinsic(l, "llvm.ctpop", &l->i32, 1, &below, 1);
	lane_replace(call, LLVMBuildAdd(l->b, below, lane_arg_of(call, 1), ""));
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
	LLVMTypeRef t = LLVMTypeOf(lane_arg_of(call, 0));
	V lane = LLVMBuildIntCast2(l->b, lane_param(l, LANE_NUMBER), t, false, "");

	lane_replace(call, LLVMBuildTrunc(l->b, LLVMBuildLShr(l->b, lane_arg_of(call, 0), lane, ""), l->i1, ""));
}

static void do_is_shared(struct lane_code *l, V call)
{
	lane_replace(call, lane_is_within(l, lane_arg_of(call, 0), lane_param(l, LANE_LDS), lane_param(l, LANE_LDS_BYTES)));
}

static void do_is_private(struct lane_code *l, V call)
{
	lane_replace(call, lane_is_within(l, lane_arg_of(call, 0), lane_param(l, LANE_FRAMES), lane_param(l, LANE_FRAMES_BYTES)));
}

/* Hardware's registers: what the wave runs on, of which there is one. */
static void do_zero(struct lane_code *l, V call)
{
	(void)l;
	lane_replace(call, LLVMConstNull(LLVMTypeOf(call)));
}

/* ---- integers ---- */

/* Byte n of the result is byte sel[n] of src1, src0 above it; or a sign, 0 or 0xff. */
static void do_perm(struct lane_code *l, V call)
{
	V both = LLVMBuildOr(l->b, LLVMBuildShl(l->b, LLVMBuildZExt(l->b, lane_arg_of(call, 0), l->i64, ""), LLVMConstInt(l->i64, 32, 0), ""),
			     LLVMBuildZExt(l->b, lane_arg_of(call, 1), l->i64, ""), "");
	V r = lane_i32(l, 0);

	for (unsigned int i = 0; i < 4; i++) {
		V sel = LLVMBuildAnd(l->b, LLVMBuildLShr(l->b, lane_arg_of(call, 2), lane_i32(l, 8 * i), ""), lane_i32(l, 0xff), "");
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
	lane_replace(call, r);
}

/* A field of bits; offset and width count modulo 32. */
static void bit_field(struct lane_code *l, V call, bool is_signed)
{
	V at = LLVMBuildAnd(l->b, lane_arg_of(call, 1), lane_i32(l, 31), ""), width = LLVMBuildAnd(l->b, lane_arg_of(call, 2), lane_i32(l, 31), "");
	V ends = LLVMBuildAdd(l->b, at, width, ""), rest, moved, r;

	if (lane_bits_of(LLVMTypeOf(call)) != 32) {
		lane_refuse(l, "a field of bits of a type that is not i32");
		return;
	}
	/* a field that goes on beyond the top is what there is of it, without a sign of its own */
	rest = LLVMBuildAnd(l->b, LLVMBuildSub(l->b, lane_i32(l, 32), width, ""), lane_i32(l, 31), "");
	moved = LLVMBuildShl(l->b, LLVMBuildLShr(l->b, lane_arg_of(call, 0), at, ""), rest, "");
	r = is_signed ? LLVMBuildAShr(l->b, moved, rest, "") : LLVMBuildLShr(l->b, moved, rest, "");
	moved = is_signed ? LLVMBuildAShr(l->b, lane_arg_of(call, 0), at, "") : LLVMBuildLShr(l->b, lane_arg_of(call, 0), at, "");
	r = LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntULT, ends, lane_i32(l, 32), ""), r, moved, "");
	lane_replace(call, LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntEQ, width, lane_i32(l, 0), ""), lane_i32(l, 0), r, ""));
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
	V shift = LLVMBuildShl(l->b, LLVMBuildAnd(l->b, lane_arg_of(call, 2), lane_i32(l, 3), ""), lane_i32(l, 3), "");

	lane_replace(call, lane_intrinsic(l, "llvm.fshr", &l->i32, 1, (V[]){ lane_arg_of(call, 0), lane_arg_of(call, 1), shift }, 3));
}

static void do_sad_u8(struct lane_code *l, V call)
{
	V r = lane_arg_of(call, 2);

	for (unsigned int i = 0; i < 4; i++) {
		V part[2], less;

		for (unsigned int k = 0; k < 2; k++)
			part[k] = LLVMBuildAnd(l->b, LLVMBuildLShr(l->b, lane_arg_of(call, k), lane_i32(l, 8 * i), ""), lane_i32(l, 0xff), "");
		less = LLVMBuildICmp(l->b, LLVMIntULT, part[0], part[1], "");
		r = LLVMBuildAdd(l->b, r, LLVMBuildSelect(l->b, less, LLVMBuildSub(l->b, part[1], part[0], ""),
							  LLVMBuildSub(l->b, part[0], part[1], ""), ""), "");
	}
	lane_replace(call, r);
}

static V low_24(struct lane_code *l, V v, bool is_signed)
{
	v = LLVMBuildShl(l->b, v, lane_i32(l, 8), "");
	v = is_signed ? LLVMBuildAShr(l->b, v, lane_i32(l, 8), "") : LLVMBuildLShr(l->b, v, lane_i32(l, 8), "");
	return is_signed ? LLVMBuildSExt(l->b, v, l->i64, "") : LLVMBuildZExt(l->b, v, l->i64, "");
}

static void mul_24(struct lane_code *l, V call, bool is_signed)
{
	V r = LLVMBuildMul(l->b, low_24(l, lane_arg_of(call, 0), is_signed), low_24(l, lane_arg_of(call, 1), is_signed), "");

	lane_replace(call, LLVMBuildIntCast2(l->b, r, LLVMTypeOf(call), is_signed, ""));
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
	V r = lane_arg_of(call, 2);

	if (lane_imm(call, 3))
		lane_refuse(l, "a dot product that saturates");
	for (unsigned int i = 0; i < 4; i++) {
		V part[2];

		for (unsigned int k = 0; k < 2; k++) {
			part[k] = LLVMBuildShl(l->b, lane_arg_of(call, k), lane_i32(l, 24 - 8 * i), "");
			part[k] = is_signed ? LLVMBuildAShr(l->b, part[k], lane_i32(l, 24), "") : LLVMBuildLShr(l->b, part[k], lane_i32(l, 24), "");
		}
		r = LLVMBuildAdd(l->b, r, LLVMBuildMul(l->b, part[0], part[1], ""), "");
	}
	lane_replace(call, r);
}

static void do_udot4(struct lane_code *l, V call)
{
	dot4(l, call, false);
}

static void do_sdot4(struct lane_code *l, V call)
{
	dot4(l, call, true);
}

static void do_class(struct lane_code *l, V call)
{
	LLVMTypeRef t = LLVMTypeOf(lane_arg_of(call, 0));

	if (!LLVMIsAConstantInt(lane_arg_of(call, 1)))
		lane_refuse(l, "llvm.amdgcn.class with a mask that is not constant");
	else
		lane_replace(call, lane_intrinsic(l, "llvm.is.fpclass", &t, 1, (V[]){ lane_arg_of(call, 0), lane_arg_of(call, 1) }, 2));
}

/* ---- all of them ---- */

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
	{ "llvm.amdgcn.s.getreg", do_zero }, { "llvm.amdgcn.s.memrealtime", lane_timer }, { "llvm.amdgcn.s.memtime", lane_clock },
	{ "llvm.amdgcn.s.nop", lane_drop }, { "llvm.amdgcn.s.setprio", lane_drop }, { "llvm.amdgcn.s.sleep", do_sleep },
	{ "llvm.amdgcn.s.waitcnt", lane_drop }, { "llvm.amdgcn.sad.u8", do_sad_u8 }, { "llvm.amdgcn.sbfe", do_sbfe },
	{ "llvm.amdgcn.sched.barrier", lane_drop }, { "llvm.amdgcn.sdot4", do_sdot4 }, { "llvm.amdgcn.ubfe", do_ubfe },
	{ "llvm.amdgcn.udot4", do_udot4 }, { "llvm.amdgcn.update.dpp", do_update_dpp }, { "llvm.amdgcn.wave.barrier", do_wave_barrier },
	{ "llvm.amdgcn.wave.reduce.umax", do_reduce }, { "llvm.amdgcn.wave.reduce.umin", do_reduce },
	{ "llvm.amdgcn.wavefrontsize", do_wave_size }, { "llvm.amdgcn.workgroup.id.x", do_group_x },
	{ "llvm.amdgcn.workgroup.id.y", do_group_y }, { "llvm.amdgcn.workgroup.id.z", do_group_z },
	{ "llvm.amdgcn.workitem.id.x", do_item_x }, { "llvm.amdgcn.workitem.id.y", do_item_y }, { "llvm.amdgcn.workitem.id.z", do_item_z },
	{ "llvm.amdgcn.writelane", do_writelane },
};

bool simt_amdgcn_call(struct lane_code *l, V call, const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i].name) == len && !memcmp(known[i].name, name, len)) {
			known[i].fn(l, call);
			return true;
		}
	return false;
}
