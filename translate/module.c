/* module.c - a code image from bytes to kernels: picks the PTX, lowers it, answers questions about it. */
#include "translate/module.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/msg.h"
#include "common/pool.h"
#include "translate/fatbin.h"
#include "translate/ir.h"
#include "translate/ptx.h"
#include "translate/support.h"

/* Part of every cache key: raise it when the same PTX becomes other hgIR. */
#define TRANSLATOR_VERSION 6

struct hg_module {
	struct ir_module *ir;
	struct hg_kernel_info *kernel;
	struct hg_var_info *var;
	uint32_t *kernel_by_name, *var_by_name;
	uint32_t sm;			/* highest of the texts taken */
	unsigned char hash[16];
};

/* One PTX text that may be used, out of one fatbin or by itself. */
struct candidate {
	uint32_t part, sm;
	bool arch_specific;
	struct hg_fatbin_entry entry;
	const char *text;	/* bare text, or NULL */
	size_t size;
};

struct load {
	struct ptx_log log;
	struct hg_image_part *part;
	size_t nr_parts;
	struct candidate *candidate;	/* by part, best first */
	size_t nr_candidates;
	uint32_t sm, lowest_too_new;
	char kernels[400];		/* of cubins */
	size_t nr_cubin_kernels;
	bool has_lto, has_cubin;
};

static int best_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	if (x->sm != y->sm)
		return x->sm > y->sm ? -1 : 1;
	return x->arch_specific - y->arch_specific;
}

static enum hg_status add_candidate(struct load *ld, const struct candidate *c)
{
	struct candidate *more = realloc(ld->candidate, (ld->nr_candidates + 1) * sizeof(*more));

	if (!more)
		return HG_ERR_NOMEM;
	more[ld->nr_candidates++] = *c;
	ld->candidate = more;
	return HG_OK;
}

static void note_cubin(struct load *ld, const void *elf, size_t size)
{
	char names[sizeof(ld->kernels)];
	size_t nr = hg_cubin_kernels(elf, size, names, sizeof(names));

	if (hg_cubin_is_whole(elf, size))
		ld->has_cubin = true;
	if (nr && !ld->nr_cubin_kernels)
		memcpy(ld->kernels, names, sizeof(names));
	ld->nr_cubin_kernels += nr;
}

/* What is in a fatbin besides PTX: only wanted when there is none, for machine code can be large. */
static void scan_cubins(struct load *ld, uint32_t part)
{
	struct hg_fatbin_entry e;
	struct hg_fatbin fb;

	if (hg_fatbin_open(&fb, ld->part[part].data, ld->part[part].size))
		return;
	while (!hg_fatbin_next(&fb, &e)) {
		size_t size;
		char *plain;

		if (e.kind != HG_FATBIN_ELF || hg_fatbin_extract(&e, &plain, &size))
			continue;
		note_cubin(ld, plain, size);
		free(plain);
	}
}

static enum hg_status scan_fatbin(struct load *ld, uint32_t part)
{
	struct hg_fatbin_entry e;
	struct hg_fatbin fb;
	enum hg_status st;

	st = hg_fatbin_open(&fb, ld->part[part].data, ld->part[part].size);
	if (st)
		return st;
	for (;;) {
		struct candidate c = { .part = part };

		st = hg_fatbin_next(&fb, &e);
		if (st == HG_ERR_NOTFOUND)
			return HG_OK;
		if (st)
			return st;
		c.sm = e.sm;
		c.arch_specific = e.flags & HG_FATBIN_ARCH_SPECIFIC;
		c.entry = e;
		if (e.kind == HG_FATBIN_LTO) {
			ld->has_lto = true;
		} else if (e.kind == HG_FATBIN_PTX) {
			if (e.sm > ld->sm || (c.arch_specific && e.sm != ld->sm)) {
				if (!ld->lowest_too_new || e.sm < ld->lowest_too_new)
					ld->lowest_too_new = e.sm;
				continue;
			}
			st = add_candidate(ld, &c);
			if (st)
				return st;
		}
	}
}

static enum hg_status scan(struct load *ld)
{
	enum hg_status st = HG_OK;

	for (uint32_t i = 0; i < ld->nr_parts && !st; i++) {
		switch (ld->part[i].kind) {
		case HG_IMAGE_TEXT: {
			struct candidate c = { .part = i, .text = ld->part[i].data, .size = ld->part[i].size };

			st = add_candidate(ld, &c);
			break;
		}
		case HG_IMAGE_FATBIN:
			st = scan_fatbin(ld, i);
			break;
		case HG_IMAGE_ELF:
			note_cubin(ld, ld->part[i].data, ld->part[i].size);
			break;
		}
	}
	if (st)
		return st;
	if (ld->nr_candidates) {
		qsort(ld->candidate, ld->nr_candidates, sizeof(*ld->candidate), best_first);
		return HG_OK;
	}
	for (uint32_t i = 0; i < ld->nr_parts; i++)
		if (ld->part[i].kind == HG_IMAGE_FATBIN)
			scan_cubins(ld, i);
	/* What the linker of device code leaves in every program: nothing to run, nothing to miss. */
	if (ld->has_cubin && !ld->nr_cubin_kernels && !ld->lowest_too_new && !ld->has_lto)
		return HG_OK;
	if (ld->lowest_too_new)
		ptx_log_add(&ld->log, true, "image: its PTX is for sm_%" PRIu32 " and higher, and the device is sm_%" PRIu32,
			    ld->lowest_too_new, ld->sm);
	else if (ld->nr_cubin_kernels)
		ptx_log_add(&ld->log, true, "image: no PTX, only machine code, for %zu kernel%s: %s", ld->nr_cubin_kernels,
			    ld->nr_cubin_kernels > 1 ? "s" : "", ld->kernels);
	else if (ld->has_lto)
		ptx_log_add(&ld->log, true, "image: no PTX, only LTO intermediate code");
	else
		ptx_log_add(&ld->log, true, "image: no PTX in it");
	return HG_ERR_UNSUPPORTED;
}

/* The PTX modules taken, one of each part that has any. */
struct choice {
	struct hg_pool *pool;
	char **text;		/* malloc'ed ones */
	size_t nr_texts;
	struct ptx_module **module;
	size_t nr_modules;
	XXH3_state_t *hash;
};

static void choice_fini(struct choice *ch)
{
	for (size_t i = 0; i < ch->nr_texts; i++)
		free(ch->text[i]);
	free(ch->text);
	free(ch->module);
	hg_pool_destroy(ch->pool);
	XXH3_freeState(ch->hash);
}

/* Parses candidate c; on failure the log has why. */
static enum hg_status take(struct load *ld, struct choice *ch, const struct candidate *c)
{
	const char *text = c->text;
	size_t size = c->size;
	enum hg_status st;

	if (!text) {
		char *plain;

		st = hg_fatbin_extract(&c->entry, &plain, &size);
		if (st)
			return st;
		ch->text[ch->nr_texts++] = plain;
		text = plain;
	}
	size = strnlen(text, size);
	st = ptx_parse(ch->pool, text, size, &ld->log, &ch->module[ch->nr_modules]);
	if (st)
		return st;
	ch->nr_modules++;
	XXH3_128bits_update(ch->hash, text, size);
	XXH3_128bits_update(ch->hash, "", 1);
	return HG_OK;
}

/*
 * Takes the best text of each part that parses, skipping the first `skip` ones; *more: another
 * `skip` may give something else.
 */
static enum hg_status choose(struct load *ld, struct choice *ch, size_t skip, bool *more)
{
	uint32_t version = TRANSLATOR_VERSION;

	*ch = (struct choice){ .pool = hg_pool_create(), .hash = XXH3_createState() };
	ch->text = calloc(ld->nr_candidates, sizeof(char *));
	ch->module = calloc(ld->nr_candidates + HG_SUPPORT_MEMBERS, sizeof(struct ptx_module *));
	if (!ch->pool || !ch->hash || !ch->text || !ch->module)
		return HG_ERR_NOMEM;
	XXH3_128bits_reset(ch->hash);
	XXH3_128bits_update(ch->hash, &version, sizeof(version));
	*more = false;
	for (size_t i = 0, j; i < ld->nr_candidates; i = j) {
		enum hg_status st = HG_ERR_NOTFOUND;
		size_t at;

		for (j = i + 1; j < ld->nr_candidates && ld->candidate[j].part == ld->candidate[i].part; j++)
			;
		at = skip < j - i ? i + skip : j - 1;
		if (at + 1 < j)
			*more = true;
		for (; at < j && st && st != HG_ERR_NOMEM; at++) {
			/* The last one's message is the user's. */
			ld->log.quiet = at + 1 < j;
			st = take(ld, ch, &ld->candidate[at]);
		}
		ld->log.quiet = false;
		if (st)
			return st;
	}
	return hg_support_link(ch->pool, &ld->log, ch->module, &ch->nr_modules, ch->hash);
}

static uint32_t nr_refused(const struct ir_module *m)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->nr_funcs; i++)
		n += m->func[i].refused != NULL;
	return n;
}

/* Lowers the best choice: the first without refused kernels, or the one with the fewest. */
static enum hg_status translate(struct load *ld, struct hg_module *m)
{
	enum hg_status st = HG_OK;
	bool more = true;

	for (size_t skip = 0; more && (!m->ir || nr_refused(m->ir)); skip++) {
		struct ir_module *ir = NULL;
		XXH128_canonical_t canonical;
		struct choice ch;

		st = choose(ld, &ch, skip, &more);
		if (!st)
			st = ptx_lower(ch.module, ch.nr_modules, &ld->log, &ir);
		if (!st && (!m->ir || nr_refused(ir) < nr_refused(m->ir))) {
			ir_module_free(m->ir);
			m->ir = ir;
			m->sm = 0;
			for (size_t i = 0; i < ch.nr_modules; i++)
				m->sm = ch.module[i]->sm > m->sm ? ch.module[i]->sm : m->sm;
			XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(ch.hash));
			memcpy(m->hash, &canonical, sizeof(m->hash));
		} else if (!st) {
			ir_module_free(ir);
		}
		choice_fini(&ch);
		/* Later choices can only make it better. */
		if (st && m->ir)
			st = HG_OK;
		else if (st)
			return st;
	}
	return st;
}

struct named { const char *name; uint32_t index; };

static int by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : x->index < y->index ? -1 : x->index > y->index;
}

static bool sort_names(struct named *n, uint32_t nr, uint32_t *out)
{
	qsort(n, nr, sizeof(*n), by_name);
	for (uint32_t i = 0; i < nr; i++)
		out[i] = n[i].index;
	return true;
}

/* Registers as a compiler of NVIDIA's might need: only for attributes and occupancy. */
static uint32_t estimate_regs(const struct ir_func *fn)
{
	uint32_t units = 0, most = 255;

	/* the bound that .maxntid sets: so many threads must fit */
	if (fn->max_threads > 256)
		most = 65536 / fn->max_threads & ~7u;
	for (uint32_t r = 0; r < fn->nr_regs; r++)
		units += fn->reg_type[r] == IR_PRED ? 0 : fn->reg_type[r] == IR_B64 ? 2 : fn->reg_type[r] == IR_B128 ? 4 : 1;
	units = 16 + units / 6;
	return units < most ? (units + 7) & ~7u : most;
}

static enum hg_status describe(struct hg_module *m)
{
	struct ir_module *ir = m->ir;
	uint32_t nr_names = ir->nr_funcs > ir->nr_vars ? ir->nr_funcs : ir->nr_vars;
	struct named *names = calloc((size_t)nr_names + 1, sizeof(*names));

	m->kernel = hg_pool_array(ir->pool, ir->nr_funcs, sizeof(*m->kernel));
	m->var = hg_pool_array(ir->pool, ir->nr_vars, sizeof(*m->var));
	m->kernel_by_name = hg_pool_array(ir->pool, ir->nr_funcs, sizeof(*m->kernel_by_name));
	m->var_by_name = hg_pool_array(ir->pool, ir->nr_vars, sizeof(*m->var_by_name));
	if (!names || ir->pool->failed) {
		free(names);
		return HG_ERR_NOMEM;
	}
	for (uint32_t i = 0; i < ir->nr_funcs; i++) {
		const struct ir_func *fn = &ir->func[i];

		m->kernel[i] = (struct hg_kernel_info){
			.name = fn->name, .nr_params = fn->nr_params, .params = fn->param, .param_bytes = fn->param_bytes,
			.shared_bytes = fn->shared_bytes, .local_bytes = fn->local_bytes, .nr_regs = estimate_regs(fn),
			.sm = m->sm,
			.max_threads = fn->max_threads && fn->max_threads < 1024 ? fn->max_threads : 1024,
			.req_threads = { fn->req_threads[0], fn->req_threads[1], fn->req_threads[2] },
			.uses_dynamic_shared = fn->uses_dynamic_shared, .uses_grid_sync = fn->uses_grid_sync,
			.refused = fn->refused,
		};
		names[i] = (struct named){ fn->name, i };
	}
	sort_names(names, ir->nr_funcs, m->kernel_by_name);
	for (uint32_t i = 0; i < ir->nr_vars; i++) {
		const struct ir_var *v = &ir->var[i];

		m->var[i] = (struct hg_var_info){
			.name = v->name, .size = v->size, .align = v->align, .is_const = v->space == IR_CONST,
			.is_visible = v->is_visible, .init = v->init, .nr_relocs = v->nr_relocs, .relocs = v->relocs,
			.is_heap = !v->is_visible && !strcmp(v->name, HG_HEAP_NAME) && v->size >= sizeof(uint64_t),
		};
		names[i] = (struct named){ v->name, i };
	}
	sort_names(names, ir->nr_vars, m->var_by_name);
	free(names);
	return HG_OK;
}

enum hg_status hg_module_load(const void *image, size_t size, uint32_t sm, char *log, size_t log_size,
			      struct hg_module **out)
{
	struct load ld = { .log = { .text = log, .size = log ? log_size : 0 }, .sm = sm };
	struct hg_module *m = calloc(1, sizeof(*m));
	enum hg_status st;

	if (log && log_size)
		log[0] = 0;
	if (!m)
		return HG_ERR_NOMEM;
	st = hg_image_parts(image, size, &ld.part, &ld.nr_parts);
	if (st)
		ptx_log_add(&ld.log, false, "image: %s", hg_status_text(st));
	if (!st)
		st = scan(&ld);
	if (!st)
		st = translate(&ld, m);
	if (!st)
		st = describe(m);
	free(ld.part);
	free(ld.candidate);
	if (st) {
		hg_module_free(m);
		return st;
	}
	*out = m;
	return HG_OK;
}

void hg_module_free(struct hg_module *m)
{
	if (!m)
		return;
	ir_module_free(m->ir);
	free(m);
}

size_t hg_module_nr_kernels(const struct hg_module *m)
{
	return m->ir->nr_funcs;
}

const struct hg_kernel_info *hg_module_kernel(const struct hg_module *m, size_t i)
{
	return i < m->ir->nr_funcs ? &m->kernel[i] : NULL;
}

size_t hg_module_nr_vars(const struct hg_module *m)
{
	return m->ir->nr_vars;
}

const struct hg_var_info *hg_module_var(const struct hg_module *m, size_t i)
{
	return i < m->ir->nr_vars ? &m->var[i] : NULL;
}

int hg_module_find_kernel(const struct hg_module *m, const char *name)
{
	uint32_t lo = 0, hi = m->ir->nr_funcs;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, m->kernel[m->kernel_by_name[mid]].name);

		if (!c)
			return (int)m->kernel_by_name[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return -1;
}

int hg_module_find_var(const struct hg_module *m, const char *name)
{
	uint32_t lo = 0, hi = m->ir->nr_vars;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, m->var[m->var_by_name[mid]].name);

		if (!c)
			return (int)m->var_by_name[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return -1;
}

const struct ir_module *hg_module_ir(const struct hg_module *m)
{
	return m->ir;
}

void hg_module_hash(const struct hg_module *m, unsigned char key[16])
{
	memcpy(key, m->hash, sizeof(m->hash));
}
