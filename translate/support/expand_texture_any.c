/* expand_texture_any.c - samplings of every kind for GPUs: longer code, and in a kernel once. */
#define INLINE static
#include "translate/support/texture.h"

/* what: as in translate/texture.h; of the list of coordinates there, those that it has. */
EXPANSION hg_tex_any(struct hg_gpu_state *state, u32 line, const struct hg_texture *texture, const struct hg_texture *sampler, u32 what,
		     u32 a0, u32 a1, u32 a2, u32 a3, u32 a4, u32 a5, u32 a6, u32 a7, u32 a8, u32 a9, u32 a10, u32 a11, u32 a12,
		     struct channels *restrict out)
{
	const u32 arg[HG_TEX_MAX_ARGS] = { a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12 };

	sample_into(out, state, line, texture, sampler, what, arg);
}
