/* emit_gpu_warp.c - operations between the lanes of a warp, for GPUs. */
#include "translate/emit_gpu_priv.h"

#include <stddef.h>

#include "translate/cpu_rt.h"	/* hg_cpu_shfl_from: what a shuffle means */

static LLVMValueRef and32(struct emit *e, LLVMValueRef v, uint32_t mask)
{
	return LLVMBuildAnd(e->b, v, emit_i32(e, mask), "");
}

static LLVMValueRef bit(struct emit *e, bool v)
{
	return LLVMConstInt(emit_scalar_int(e, 1), v, 0);
}

LLVMValueRef emit_gpu_ballot(struct emit *e, LLVMValueRef p)
{
	unsigned int bits = e->gpu->opt.layout == HG_GPU_WAVE32 ? 32 : 64;
	LLVMTypeRef t = emit_scalar_int(e, bits);
	LLVMValueRef b = emit_call(e, "llvm.amdgcn.ballot", &t, 1, &p, 1);

	if (e->gpu->opt.layout == HG_GPU_PAIR)
		b = LLVMBuildLShr(e->b, b, emit_resize(e, and32(e, e->gpu->wave_lane, 32), 64, false), "");
	return emit_resize(e, b, 32, false);
}

LLVMValueRef emit_gpu_from_lane(struct emit *e, LLVMValueRef v, LLVMValueRef from)
{
	LLVMValueRef args[2];

	if (e->gpu->opt.layout == HG_GPU_PAIR)
		from = LLVMBuildOr(e->b, from, and32(e, e->gpu->wave_lane, 32), "");
	args[0] = LLVMBuildShl(e->b, from, emit_i32(e, 2), "");
	args[1] = v;
	return emit_call(e, "llvm.amdgcn.ds.bpermute", NULL, 0, args, 2);
}

/* ---- shuffles whose pattern is known: by what the chip can do without going through local data share ---- */

#define NO_LANE UINT32_MAX
#define ROW 16u

/* DPP controls, of rows of 16 lanes; AMD's ISA documents. */
enum { DPP_ROW_SHL = 0x100, DPP_ROW_SHR = 0x110, DPP_ROW_ROR = 0x120, DPP_ROW_MIRROR = 0x140, DPP_ROW_HALF_MIRROR = 0x141,
       DPP_ROW_SHARE = 0x150, DPP_ROW_XMASK = 0x160, DPP_END = 0x170 };

/* The lane that a control reads for `lane`; NO_LANE: none, the old value stays. */
static uint32_t dpp_from(uint32_t control, uint32_t lane)
{
	uint32_t row = lane & ~(ROW - 1), at = lane % ROW, n = control & 15, from;

	switch (control & ~15u) {
	case DPP_ROW_SHL: from = at + n; break;
	case DPP_ROW_SHR: from = at - n; break;
	case DPP_ROW_ROR: from = (at - n) % ROW; break;
	case DPP_ROW_SHARE: from = n; break;
	case DPP_ROW_XMASK: from = at ^ n; break;
	case DPP_ROW_MIRROR: from = n ? (at & 8) | (7 - at % 8) : 15 - at; break;
	default: return (lane & ~3u) | (control >> 2 * (lane & 3) & 3);	/* within four lanes */
	}
	return from < ROW ? row | from : NO_LANE;
}

/* Which control gives the pattern, where lanes that keep what they have count as well. *whole: there are none. */
static bool find_dpp(const struct emit *e, const uint32_t from[HG_WARP], uint32_t *control, bool *whole)
{
	bool rdna = e->gpu->opt.layout == HG_GPU_WAVE32;

	for (uint32_t c = 0; c < DPP_END; c++) {
		bool fits = true;

		if ((c > 0xff && (c & 15) == 0 && c < DPP_ROW_MIRROR) || (c > 0x12f && c < DPP_ROW_MIRROR) ||
		    (c > DPP_ROW_HALF_MIRROR && (c < DPP_ROW_SHARE || !rdna)))
			continue;
		*whole = true;
		for (uint32_t lane = 0; lane < HG_WARP && fits; lane++) {
			uint32_t f = dpp_from(c, lane);

			*whole &= f != NO_LANE;
			fits = f == NO_LANE ? from[lane] == lane : f == from[lane];
		}
		*control = c;
		if (fits)
			return true;
	}
	return false;
}

static LLVMValueRef dpp(struct emit *e, LLVMValueRef v, uint32_t control, bool whole)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef args[6] = { whole ? LLVMGetUndef(i32) : v, v, emit_i32(e, control), emit_i32(e, 15), emit_i32(e, 15), bit(e, whole) };

	return emit_call(e, "llvm.amdgcn.update.dpp", &i32, 1, args, 6);
}

#define OWN_LANES UINT64_C(0xfedcba9876543210)

/*
 * RDNA: any pattern within rows of 16, the same in both, and any from one row to the other. A lane takes one of the two; false: the
 * pattern is not made of these.
 */
static bool find_permlane(const uint32_t from[HG_WARP], uint64_t select[2], uint32_t *crossing)
{
	bool known[2][ROW] = { { false } };

	*crossing = 0;
	select[0] = select[1] = OWN_LANES;
	for (uint32_t lane = 0; lane < HG_WARP; lane++) {
		uint32_t kind = (lane ^ from[lane]) >> 4 & 1, at = lane % ROW, f = from[lane] % ROW;

		*crossing |= kind << lane;
		if (known[kind][at] && (select[kind] >> 4 * at & 15) != f)
			return false;
		if (!known[kind][at])
			select[kind] ^= (uint64_t)(f ^ at) << 4 * at;
		known[kind][at] = true;
	}
	return true;
}

static LLVMValueRef permlane(struct emit *e, LLVMValueRef v, uint64_t select, bool crosses)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef args[6] = { LLVMGetUndef(i32), v, emit_i32(e, (uint32_t)select), emit_i32(e, (uint32_t)(select >> 32)), bit(e, false),
				 bit(e, true) };

	if (select == OWN_LANES && !crosses)
		return v;
	return emit_call(e, crosses ? "llvm.amdgcn.permlanex16" : "llvm.amdgcn.permlane16", &i32, 1, args, 6);
}

/* ds_swizzle's bit mode: lane = ((lane & and) | or) ^ xor among 32; it uses no memory. */
static bool find_swizzle(const uint32_t from[HG_WARP], uint32_t *pattern)
{
	uint32_t and = 0, or = 0, xor = 0;

	for (uint32_t b = 0; b < 5; b++) {
		bool off = from[0] >> b & 1, on = from[UINT32_C(1) << b] >> b & 1;

		if (off != on)
			and |= UINT32_C(1) << b;
		if (off && on)
			or |= UINT32_C(1) << b;
		if (off && !on)
			xor |= UINT32_C(1) << b;
	}
	for (uint32_t lane = 0; lane < HG_WARP; lane++)
		if ((((lane & and) | or) ^ xor) != from[lane])
			return false;
	*pattern = xor << 10 | or << 5 | and;
	return true;
}

static bool is_own_lane(const uint32_t from[HG_WARP])
{
	for (uint32_t lane = 0; lane < HG_WARP; lane++)
		if (from[lane] != lane)
			return false;
	return true;
}

static bool is_one_lane(const uint32_t from[HG_WARP])
{
	for (uint32_t lane = 1; lane < HG_WARP; lane++)
		if (from[lane] != from[0])
			return false;
	return true;
}

/* NULL: by way of local data share, as any other. */
static LLVMValueRef shfl_known(struct emit *e, LLVMValueRef v, const uint32_t from[HG_WARP])
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	uint32_t control, crossing, pattern;
	uint64_t select[2];
	bool whole;

	if (is_own_lane(from))
		return v;
	if (is_one_lane(from) && e->gpu->opt.layout != HG_GPU_PAIR)
		return emit_call(e, "llvm.amdgcn.readlane", &i32, 1, (LLVMValueRef[]){ v, emit_i32(e, from[0]) }, 2);
	if (find_dpp(e, from, &control, &whole))
		return dpp(e, v, control, whole);
	if (e->gpu->opt.layout == HG_GPU_WAVE32 && find_permlane(from, select, &crossing)) {
		LLVMValueRef same = ~crossing ? permlane(e, v, select[0], false) : NULL;
		LLVMValueRef other = crossing ? permlane(e, v, select[1], true) : NULL, crosses;

		if (!same || !other)
			return same ? same : other;
		crosses = LLVMBuildLShr(e->b, emit_i32(e, crossing), e->gpu->lane, "");
		return emit_select(e, LLVMBuildTrunc(e->b, crosses, emit_scalar_int(e, 1), ""), other, same);
	}
	if (find_swizzle(from, &pattern))
		return emit_call(e, "llvm.amdgcn.ds.swizzle", NULL, 0, (LLVMValueRef[]){ v, emit_i32(e, pattern) }, 2);
	return NULL;
}

/* ---- shuffles ---- */

/* As hg_cpu_shfl_from, of the lane's own operands. */
static LLVMValueRef source_lane(struct emit *e, LLVMValueRef *in_range)
{
	LLVMValueRef lane = e->gpu->lane, b = and32(e, emit_src(e, 1, 32), 31), c = emit_src(e, 2, 32), seg, rest, max, j;

	seg = and32(e, LLVMBuildLShr(e->b, c, emit_i32(e, 8), ""), 31);
	rest = LLVMBuildXor(e->b, seg, emit_i32(e, 31), "");
	seg = LLVMBuildAnd(e->b, lane, seg, "");
	max = LLVMBuildOr(e->b, seg, LLVMBuildAnd(e->b, c, rest, ""), "");
	switch (e->insn->sub) {
	case IR_SHFL_UP: j = LLVMBuildSub(e->b, lane, b, ""); break;
	case IR_SHFL_DOWN: j = LLVMBuildAdd(e->b, lane, b, ""); break;
	case IR_SHFL_BFLY: j = LLVMBuildXor(e->b, lane, b, ""); break;
	case IR_SHFL_IDX:
	default: j = LLVMBuildOr(e->b, seg, LLVMBuildAnd(e->b, b, rest, ""), ""); break;
	}
	*in_range = LLVMBuildICmp(e->b, e->insn->sub == IR_SHFL_UP ? LLVMIntSGE : LLVMIntSLE, j, max, "");
	return and32(e, emit_select(e, *in_range, j, lane), 31);
}

static void shfl(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef v = emit_src(e, 0, 32), ok, lane = source_lane(e, &ok), r = NULL;

	if (in->src[1].kind == IR_OPD_IMM && in->src[2].kind == IR_OPD_IMM) {
		uint32_t from[HG_WARP];
		bool all = true;

		for (uint32_t i = 0; i < HG_WARP; i++) {
			bool in_range;

			from[i] = hg_cpu_shfl_from(in->sub, i, (uint32_t)in->src[1].imm, (uint32_t)in->src[2].imm, &in_range);
			all &= in_range;
		}
		r = shfl_known(e, v, from);
		if (all)
			ok = bit(e, true);
	}
	if (!r)
		r = emit_gpu_from_lane(e, v, lane);
	emit_set(e, 0, r);
	if (in->nr_dst > 1)
		emit_set(e, 1, ok);
}

/* ---- votes ---- */

static void vote(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef members = emit_src(e, 1, 32), yes, all, zero = emit_i32(e, 0), r;

	yes = LLVMBuildAnd(e->b, members, emit_gpu_ballot(e, emit_psrc(e, 0)), "");
	all = LLVMBuildAnd(e->b, members, emit_gpu_ballot(e, bit(e, true)), "");
	switch (in->sub) {
	case IR_VOTE_BALLOT:
		r = yes;
		break;
	case IR_VOTE_ANY:
		r = LLVMBuildICmp(e->b, LLVMIntNE, yes, zero, "");
		break;
	case IR_VOTE_UNI:
		r = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, yes, all, ""), LLVMBuildICmp(e->b, LLVMIntEQ, yes, zero, ""), "");
		break;
	case IR_VOTE_ALL:
	default:
		r = LLVMBuildICmp(e->b, LLVMIntEQ, yes, all, "");
		break;
	}
	emit_set(e, 0, r);
}

static void activemask(struct emit *e)
{
	struct emit_gpu_guard g = emit_gpu_guard_begin(e);
	LLVMValueRef r = emit_gpu_ballot(e, bit(e, true));

	emit_gpu_guard_end(e, &g, &r, 1);
	emit_set(e, 0, r);
}

/* What lanes wrote is seen by the others, which run in step: the order is all that must be kept. */
static void warpsync(struct emit *e)
{
	emit_gpu_fence(e, EMIT_SCOPE_WAVE, LLVMAtomicOrderingAcquireRelease);
	emit_call(e, "llvm.amdgcn.wave.barrier", NULL, 0, NULL, 0);
}

#define SLEEP 8u	/* of s_sleep: 64 cycles each, a quarter of a microsecond at 2 GHz */

/* Any time up to twice as long, and a millisecond at most. */
static void nanosleep_op(struct emit *e)
{
	LLVMValueRef rounds = emit_call2(e, "llvm.umin", emit_src(e, 0, 32), emit_i32(e, 1000000)), left;
	struct emit_gpu_guard g = emit_gpu_guard_begin(e);
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), loop = emit_bb(e, "sleep"), on = emit_bb(e, "awake");

	rounds = LLVMBuildLShr(e->b, rounds, emit_i32(e, 8), "");
	LLVMBuildBr(e->b, loop);
	LLVMPositionBuilderAtEnd(e->b, loop);
	left = LLVMBuildPhi(e->b, emit_scalar_int(e, 32), "");
	emit_call(e, "llvm.amdgcn.s.sleep", NULL, 0, (LLVMValueRef[]){ emit_i32(e, SLEEP) }, 1);
	LLVMAddIncoming(left, &rounds, &before, 1);
	LLVMAddIncoming(left, (LLVMValueRef[]){ LLVMBuildSub(e->b, left, emit_i32(e, 1), "") }, &loop, 1);
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntULE, left, emit_i32(e, 1), ""), on, loop);
	LLVMPositionBuilderAtEnd(e->b, on);
	emit_gpu_guard_end(e, &g, NULL, 0);
}

bool emit_gpu_warp(struct emit *e)
{
	switch (e->insn->op) {
	case IR_shfl: shfl(e); return true;
	case IR_vote: vote(e); return true;
	case IR_activemask: activemask(e); return true;
	case IR_warpsync: warpsync(e); return true;
	case IR_nanosleep: nanosleep_op(e); return true;
	default: return false;
	}
}
