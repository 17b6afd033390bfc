/* cpu_texture.c - textures, for compiled CPU code: the lanes of a warp one after the other. */
#include "translate/cpu_rt.h"

#include "translate/ir.h"
#include "translate/texture.h"

static void (*raise_fault)(uint32_t kind, uint64_t addr);

/* HGSHIM_CHECK=memory: every level must be alive, from its first to its last byte. */
static void check(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, uint32_t lane, const struct hg_texture *t, uint32_t line)
{
	uint64_t addr[HG_WARP] = { 0 };

	for (uint32_t i = 0; i < t->nr_levels && i < HG_TEXTURE_LEVELS; i++) {
		const struct hg_texture_level *l = &t->level[i];

		addr[lane] = l->addr;
		env->rt->check(f, env, addr, UINT32_C(1) << lane, 1, IR_GLOBAL, line);
		addr[lane] = l->addr + (l->depth - 1) * l->slice + (l->height - 1) * l->pitch + l->row_bytes - 1;
		env->rt->check(f, env, addr, UINT32_C(1) << lane, 1, IR_GLOBAL, line);
	}
}

static const struct hg_texture *descriptor(uint64_t handle)
{
	const struct hg_texture *t = (const struct hg_texture *)(uintptr_t)handle;

	if (handle & 7 || t->magic != HG_TEXTURE_MAGIC || !t->nr_levels || t->nr_levels > HG_TEXTURE_LEVELS)
		raise_fault(HG_CPU_FAULT_TEXTURE, handle);
	return t;
}

static void rt_tex(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, const uint64_t *texture, const uint64_t *sampler,
		   uint32_t mask, uint32_t what, const uint32_t *arg, uint32_t *out, uint32_t line)
{
	uint64_t checked = 0;

	if (what & HG_CPU_TEX_CHECK) {
		env->rt->check(f, env, texture, mask, 8, IR_GLOBAL, line);
		env->rt->check(f, env, sampler, mask, 8, IR_GLOBAL, line);
	}
	for (uint32_t left = mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left), channel[4];
		const struct hg_texture *t, *s;

		/* faults name the lane that it is about */
		hg_cpu_access_begin(texture, UINT32_C(1) << lane, 1, line);
		t = descriptor(texture[lane]);
		s = sampler[lane] == texture[lane] ? t : descriptor(sampler[lane]);
		if (what & HG_CPU_TEX_CHECK && checked != texture[lane]) {
			check(f, env, lane, t, line);
			checked = texture[lane];
		}
		hg_tex_sample(t, s, what & ~HG_CPU_TEX_CHECK, arg + lane, HG_WARP, channel);
		for (unsigned int c = 0; c < 4; c++)
			out[c * HG_WARP + lane] = channel[c];
	}
	hg_cpu_access_end();
}

void hg_cpu_texture_init(struct hg_cpu_rt *rt, void (*fault)(uint32_t kind, uint64_t addr))
{
	raise_fault = fault;
	rt->tex = rt_tex;
}
