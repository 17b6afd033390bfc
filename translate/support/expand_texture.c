/*
 * expand_texture.c - textures of GPUs: translate/texture.c on a device, the usual samplings each compiled for itself. What is read does not
 * change while a kernel runs (CUDA promises nothing else), and is loaded with ld.global.nc: nothing waits for that (gpu_plan.h).
 */
#include "translate/support/gpu.h"

static inline u32 load8(u64 addr)
{
	return __nvvm_ldg_uc((const unsigned char *)addr);
}

static inline u32 load16(u64 addr)
{
	return __nvvm_ldg_us((const unsigned short *)addr);
}

static inline u32 load32(u64 addr)
{
	return __nvvm_ldg_ui((const u32 *)addr);
}

#define TEXEL(bits, addr) load##bits(addr)
#include "translate/texture.c"

struct channels { u32 r, g, b, a; };

/* A handle that names no texture is the kernel's failure: it does not come back then. */
INLINE void check(struct hg_gpu_state *state, const struct hg_texture *t, u32 line)
{
	if (((u64)t & 7) == 0 && t->magic == HG_TEXTURE_MAGIC && t->nr_levels && t->nr_levels <= HG_TEXTURE_LEVELS)
		return;
	if (fault_begin(state, HG_GPU_TEXTURE, line)) {
		state->addr = (u64)t;
		fault_told(state);
	}
	__builtin_trap();
}

INLINE void sample_into(struct channels *restrict out, struct hg_gpu_state *state, u32 line, const struct hg_texture *t,
			const struct hg_texture *sampler, u32 what, const u32 *arg)
{
	u32 channel[4];

	check(state, t, line);
	if (sampler != t)
		check(state, sampler, line);
	sample(t, sampler, what, arg, 1, channel);
	*out = (struct channels){ channel[0], channel[1], channel[2], channel[3] };
}

#define HEAD struct hg_gpu_state *restrict state, u32 line, const struct hg_texture *restrict texture, const struct hg_texture *restrict sampler
#define SAMPLE(what, ...) sample_into(out, state, line, texture, sampler, what, (const u32[]){ __VA_ARGS__ })

EXPANSION hg_tex_1d(HEAD, u32 x, struct channels *restrict out)
{
	SAMPLE(HG_TEX_1D, x);
}

EXPANSION hg_tex_1d_s32(HEAD, u32 x, struct channels *restrict out)
{
	SAMPLE(HG_TEX_1D | HG_TEX_INTEGER, x);
}

EXPANSION hg_tex_2d(HEAD, u32 x, u32 y, struct channels *restrict out)
{
	SAMPLE(HG_TEX_2D, x, y);
}

EXPANSION hg_tex_2d_s32(HEAD, u32 x, u32 y, struct channels *restrict out)
{
	SAMPLE(HG_TEX_2D | HG_TEX_INTEGER, x, y);
}

EXPANSION hg_tex_3d(HEAD, u32 x, u32 y, u32 z, struct channels *restrict out)
{
	SAMPLE(HG_TEX_3D, x, y, z);
}

/* what: as in translate/texture.h; of the list of coordinates there, those that it has. */
EXPANSION hg_tex_any(HEAD, u32 what, u32 a0, u32 a1, u32 a2, u32 a3, u32 a4, u32 a5, u32 a6, u32 a7, u32 a8, u32 a9, u32 a10, u32 a11,
		     u32 a12, struct channels *restrict out)
{
	SAMPLE(what, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12);
}
