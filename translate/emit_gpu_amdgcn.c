/* emit_gpu_amdgcn.c - what the GPU emitter needs of AMD's GPUs: their intrinsics, and shuffles by what the chip does fastest. */
#include <stdio.h>
#include <string.h>

#include "translate/emit_gpu_priv.h"

static LLVMValueRef call0(struct emit *e, const char *name)
{
	return emit_call(e, name, NULL, 0, NULL, 0);
}

static LLVMValueRef bit(struct emit *e, bool v)
{
	return LLVMConstInt(emit_scalar_int(e, 1), v, 0);
}

static LLVMValueRef item(struct emit *e, unsigned int axis)
{
	static const char *const name[] = { "llvm.amdgcn.workitem.id.x", "llvm.amdgcn.workitem.id.y", "llvm.amdgcn.workitem.id.z" };

	return call0(e, name[axis]);
}

static LLVMValueRef group(struct emit *e, unsigned int axis)
{
	static const char *const name[] = { "llvm.amdgcn.workgroup.id.x", "llvm.amdgcn.workgroup.id.y", "llvm.amdgcn.workgroup.id.z" };

	return call0(e, name[axis]);
}

static LLVMValueRef wave_lane(struct emit *e)
{
	LLVMValueRef all = emit_i32(e, UINT32_MAX), lane;

	lane = emit_call(e, "llvm.amdgcn.mbcnt.lo", NULL, 0, (LLVMValueRef[]){ all, emit_i32(e, 0) }, 2);
	if (e->gpu->opt.layout == HG_GPU_PAIR)
		lane = emit_call(e, "llvm.amdgcn.mbcnt.hi", NULL, 0, (LLVMValueRef[]){ all, lane }, 2);
	return lane;
}

static LLVMValueRef ballot(struct emit *e, LLVMValueRef p)
{
	LLVMTypeRef t = emit_scalar_int(e, e->gpu->opt.layout == HG_GPU_WAVE32 ? 32 : 64);

	return emit_call(e, "llvm.amdgcn.ballot", &t, 1, &p, 1);
}

static LLVMValueRef from_lane(struct emit *e, LLVMValueRef v, LLVMValueRef from)
{
	LLVMValueRef args[2] = { LLVMBuildShl(e->b, from, emit_i32(e, 2), ""), v };

	return emit_call(e, "llvm.amdgcn.ds.bpermute", NULL, 0, args, 2);
}

static LLVMValueRef read_lane(struct emit *e, LLVMValueRef v, LLVMValueRef from)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);

	return emit_call(e, "llvm.amdgcn.readlane", &i32, 1, (LLVMValueRef[]){ v, from }, 2);
}

static LLVMValueRef first(struct emit *e, LLVMValueRef v)
{
	return emit_call1(e, "llvm.amdgcn.readfirstlane", v);
}

static void barrier(struct emit *e)
{
	call0(e, "llvm.amdgcn.s.barrier");
}

static void wave_barrier(struct emit *e)
{
	call0(e, "llvm.amdgcn.wave.barrier");
}

static void sleep_units(struct emit *e, uint32_t units)
{
	emit_call(e, "llvm.amdgcn.s.sleep", NULL, 0, (LLVMValueRef[]){ emit_i32(e, units) }, 1);
}

static LLVMValueRef clock_of(struct emit *e)
{
	return call0(e, "llvm.readcyclecounter");
}

static LLVMValueRef timer(struct emit *e)
{
	return call0(e, "llvm.readsteadycounter");
}

static LLVMValueRef is_shared(struct emit *e, LLVMValueRef flat)
{
	return emit_call(e, "llvm.amdgcn.is.shared", NULL, 0, &flat, 1);
}

static LLVMValueRef is_private(struct emit *e, LLVMValueRef flat)
{
	return emit_call(e, "llvm.amdgcn.is.private", NULL, 0, &flat, 1);
}

static LLVMValueRef shared(struct emit *e, LLVMValueRef offset)
{
	return LLVMBuildIntToPtr(e->b, offset, emit_gpu_ptr(e, EMIT_AS_LDS), "");
}

static LLVMValueRef shared_offset(struct emit *e, LLVMValueRef p)
{
	return LLVMBuildPtrToInt(e->b, p, emit_scalar_int(e, 32), "");
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

/* ---- kernels ---- */

static void set_attributes(struct emit *e)
{
	/* nothing is asked of the runtime but what the kernel is given: see gpu_abi.h */
	static const char *const unused[] = {
		"amdgpu-no-dispatch-ptr", "amdgpu-no-queue-ptr", "amdgpu-no-dispatch-id", "amdgpu-no-implicitarg-ptr",
		"amdgpu-no-hostcall-ptr", "amdgpu-no-multigrid-sync-arg", "amdgpu-no-heap-ptr", "amdgpu-no-default-queue",
		"amdgpu-no-completion-action", "amdgpu-no-lds-kernel-id",
	};
	uint32_t items = e->gpu->opt.max_threads;
	char text[32];

	if (e->gpu->opt.layout == HG_GPU_HALF)
		items = (items + 31) / 32 * 64;
	emit_attr(e, LLVMAttributeFunctionIndex, "nounwind");
	/* 0 is an address like any other here */
	emit_attr(e, LLVMAttributeFunctionIndex, "null_pointer_is_valid");
	emit_text_attr(e, "denormal-fp-math", "ieee,ieee");
	emit_text_attr(e, "denormal-fp-math-f32", "ieee,ieee");
	/* else LLVM takes max(x, 0) and min(…, 1) for the clamp of an instruction, and nobody says what that makes of -0 */
	emit_text_attr(e, "amdgpu-dx10-clamp", "false");
	emit_text_attr(e, "uniform-work-group-size", "true");
	snprintf(text, sizeof(text), "1,%u", items);
	emit_text_attr(e, "amdgpu-flat-work-group-size", text);
	for (size_t i = 0; i < sizeof(unused) / sizeof(*unused); i++)
		emit_text_attr(e, unused[i], "");
}

/* void name(ptr addrspace(4) byref([bytes x i8]) align 16) */
static void add_function(struct emit *e, const char *name)
{
	static const char byref[] = "byref", align[] = "align";
	uint32_t bytes = HG_GPU_ENV_OFFSET(e->fn->param_bytes) + (uint32_t)sizeof(struct hg_gpu_env);
	LLVMTypeRef arg = emit_gpu_ptr(e, EMIT_AS_CONST);
	unsigned int kind;

	e->f = LLVMAddFunction(e->m, name, LLVMFunctionType(LLVMVoidTypeInContext(e->c), &arg, 1, 0));
	LLVMSetFunctionCallConv(e->f, 91);	/* amdgpu_kernel */
	kind = LLVMGetEnumAttributeKindForName(byref, strlen(byref));
	LLVMAddAttributeAtIndex(e->f, 1, LLVMCreateTypeAttribute(e->c, kind, LLVMArrayType2(emit_scalar_int(e, 8), bytes)));
	kind = LLVMGetEnumAttributeKindForName(align, strlen(align));
	LLVMAddAttributeAtIndex(e->f, 1, LLVMCreateEnumAttribute(e->c, kind, 16));
	e->gpu->kernarg = LLVMGetParam(e->f, 0);
	set_attributes(e);
}

static const struct emit_gpu_isa amdgcn = {
	.add_function = add_function, .item = item, .group = group, .wave_lane = wave_lane, .ballot = ballot, .from_lane = from_lane,
	.read_lane = read_lane, .first = first, .shfl_known = shfl_known, .barrier = barrier, .wave_barrier = wave_barrier,
	.sleep = sleep_units, .clock = clock_of, .timer = timer, .is_shared = is_shared, .is_private = is_private, .shared = shared,
	.shared_offset = shared_offset, .has_const_space = true, .has_wide = true, .has_small_atomics = true, .hides_slots = true,
};

enum hg_status emit_amdgcn(const struct ir_func *fn, const struct emit_gpu_options *opt, LLVMContextRef c, LLVMModuleRef m,
			   const char *name, uint32_t *extra_lds, char *why, size_t why_size)
{
	return emit_gpu_kernel(fn, opt, &amdgcn, c, m, name, extra_lds, why, why_size);
}
