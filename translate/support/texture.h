/* texture.h - what the samplers of GPUs share: translate/texture.c on a device. */
#ifndef HG_SUPPORT_TEXTURE_H
#define HG_SUPPORT_TEXTURE_H

#include "translate/support/gpu.h"
/* Global memory: cheaper than not to say. */
#define TEXELS __attribute__((address_space(1)))
#include "translate/texture.c"

struct channels { u32 r, g, b, a; };

/* A handle that names no texture is the kernel's failure: it does not come back then. */
INLINE const struct hg_texture *descriptor(struct hg_gpu_state *state, const struct hg_texture *t, u32 line)
{
	u64 handle = (u64)t;

	if (handle & 7 || t->magic != HG_TEXTURE_MAGIC || !t->nr_levels || t->nr_levels > HG_TEXTURE_LEVELS) {
		if (fault_begin(state, HG_GPU_TEXTURE, line)) {
			state->addr = handle;
			fault_told(state);
		}
		__builtin_trap();
	}
	return t;
}

INLINE void sample_into(struct channels *restrict out, struct hg_gpu_state *state, u32 line, const struct hg_texture *texture,
			const struct hg_texture *sampler, u32 what, const u32 *arg)
{
	const struct hg_texture *t = descriptor(state, texture, line), *s = t;
	u32 channel[4];

	if (sampler != texture)
		s = descriptor(state, sampler, line);
	sample(t, s, what, arg, 1, channel);
	*out = (struct channels){ channel[0], channel[1], channel[2], channel[3] };
}

#endif
