/* support.c - the support library: PTX that clang made of translate/support, linked like an archive. */
#define XXH_INLINE_ALL
#include "translate/support.h"

#include <string.h>

/* Each file's text, with a NUL behind it. */
#define MEMBERS(M) M(heap) M(cxx)
#define EXPANSIONS(M) M(expand_arith) M(expand_f64) M(expand_lanes) M(expand_print) M(expand_texture)

#define TEXT(name) \
	extern const char hg_support_##name[]; \
	__asm__(".pushsection .rodata\n.hidden hg_support_" #name "\n.global hg_support_" #name "\nhg_support_" #name ":\n" \
		".incbin \"" HG_SUPPORT_DIR "/" #name ".ptx\"\n.byte 0\n.popsection\n");
MEMBERS(TEXT)
EXPANSIONS(TEXT)

#define NAME(name) hg_support_##name,
static const char *const member[] = { MEMBERS(NAME) };
const char *const hg_support_expansions[] = { EXPANSIONS(NAME) NULL };

_Static_assert(sizeof(member) / sizeof(member[0]) == HG_SUPPORT_MEMBERS, "the number in support.h");

/* Many texts declare functions that they do not use. */
static void mark_used(struct ptx_module *m)
{
	for (uint32_t s = 0; s < m->nr_syms; s++) {
		const struct ptx_sym *sym = m->sym[s];

		for (size_t k = 0; sym->kind == PTX_SYM_VAR && k < sym->var.nr_relocs; k++)
			sym->var.reloc[k].sym->is_used = true;
		for (uint32_t i = 0; sym->kind == PTX_SYM_FUNC && sym->func && i < sym->func->nr_insns; i++) {
			const struct ptx_insn *in = &sym->func->insn[i];

			for (unsigned int o = 0; o < in->nr_opds; o++)
				if (in->opd[o].kind == PTX_OPD_SYM)
					in->opd[o].sym->is_used = true;
		}
	}
}

/* What the modules say of a function's name. */
static void look_up(struct ptx_module *const *module, size_t nr, const char *name, bool *is_wanted, bool *is_defined)
{
	*is_wanted = *is_defined = false;
	for (size_t i = 0; i < nr; i++)
		for (uint32_t s = 0; s < module[i]->nr_syms; s++) {
			const struct ptx_sym *sym = module[i]->sym[s];

			if (sym->kind != PTX_SYM_FUNC || strcmp(sym->name, name) != 0)
				continue;
			if (!sym->is_defined)
				*is_wanted |= sym->is_used;
			else if (sym->is_visible || sym->is_weak)
				*is_defined = true;
		}
}

/* Whether m has a function that is called and that nobody defines. What others define gives way to theirs. */
static bool is_needed(struct ptx_module *const *module, size_t nr, struct ptx_module *m)
{
	bool is_needed = false, is_wanted, is_defined;

	for (uint32_t k = 0; k < m->nr_syms; k++) {
		struct ptx_sym *sym = m->sym[k];

		if (sym->kind != PTX_SYM_FUNC || !sym->is_defined || !sym->is_visible)
			continue;
		look_up(module, nr, sym->name, &is_wanted, &is_defined);
		if (is_defined)
			sym->is_weak = true;
		else
			is_needed |= is_wanted;
	}
	return is_needed;
}

/* Something that a file of the library might define. */
static bool lacks_any(struct ptx_module *const *module, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		for (uint32_t s = 0; s < module[i]->nr_syms; s++)
			if (module[i]->sym[s]->kind == PTX_SYM_FUNC && !module[i]->sym[s]->is_defined)
				return true;
	return false;
}

enum hg_status hg_support_link(struct hg_pool *pool, struct ptx_log *log, struct ptx_module **module, size_t *nr, XXH3_state_t *hash)
{
	bool linked[HG_SUPPORT_MEMBERS] = { false }, again = lacks_any(module, *nr);

	for (size_t i = 0; again && i < *nr; i++)
		mark_used(module[i]);
	while (again) {
		again = false;
		for (size_t i = 0; i < HG_SUPPORT_MEMBERS; i++) {
			struct ptx_module *m;
			enum hg_status st;

			if (linked[i])
				continue;
			st = ptx_parse(pool, member[i], strlen(member[i]), log, &m);
			if (st)
				return st;
			if (!is_needed(module, *nr, m))
				continue;
			mark_used(m);
			linked[i] = again = true;
			module[(*nr)++] = m;
			XXH3_128bits_update(hash, member[i], strlen(member[i]) + 1);
		}
	}
	return HG_OK;
}
