/* expand_texture.c - the usual samplings for GPUs, each compiled for itself. */
#include "translate/support/texture.h"

#define HEAD struct hg_gpu_state *state, u32 line, const struct hg_texture *texture, const struct hg_texture *sampler
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
