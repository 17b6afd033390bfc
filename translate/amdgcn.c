/* amdgcn.c - the kernels of a module as code objects, each in the variants that launches ask for. */
#define _GNU_SOURCE
#include "translate/amdgcn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "translate/amd_compile.h"
#include "translate/amd_note.h"
#include "translate/gpu_module.h"

#define HALF_THREADS 512		/* as many as a row of 1024 work-items holds */
#define SMALL_BLOCK 256
#define LARGE_BLOCK 1024

struct made {
	struct gpu_made made;
	struct hg_amd_code code;
};

struct hg_amd_module {
	struct gpu_module *gpu;
	struct gpu_device device;
	struct hg_amd_chip chip;
	bool embed;
	char id[320];			/* see struct gpu_device */
};

/* ---- which variant ---- */

static void choose(const void *target, const struct gpu_plan *plan, const uint32_t block[3], struct gpu_variant *v)
{
	const struct hg_amd_module *m = target;
	bool pair = plan->direct_pair || (plan->rows_pair && gpu_is_in_rows(block, 64));
	uint32_t most = v->max_threads, threads = block[0] * block[1] * block[2];

	if (m->chip.has_wave32) {
		/* as it is */
	} else if (pair && !gpu_wants_scheduled()) {
		v->layout = HG_GPU_PAIR;
		v->is_scheduled = false;
	} else if (threads <= HALF_THREADS) {
		v->layout = HG_GPU_HALF;
		most = most < HALF_THREADS ? most : HALF_THREADS;
	} else {
		v->layout = HG_GPU_PAIR;
		v->is_scheduled = true;
	}
	/* fewer threads leave each of them more registers: what a kernel says of its blocks, or one of two classes */
	v->max_threads = threads <= SMALL_BLOCK ? SMALL_BLOCK : LARGE_BLOCK;
	if (v->max_threads > most)
		v->max_threads = (most + 31) / 32 * 32;
}

static uint32_t work_items(const struct gpu_variant *v)
{
	return v->layout == HG_GPU_HALF ? v->max_threads * 2 : v->max_threads;
}

/* ---- making one ---- */

struct emit {
	const struct ir_func *fn;
	struct emit_gpu_options opt;
	uint32_t extra_lds;
};

static enum hg_status fill(void *arg, LLVMContextRef c, LLVMModuleRef m, char *why, size_t why_size)
{
	struct emit *e = arg;

	return emit_amdgcn(e->fn, &e->opt, c, m, e->fn->name, &e->extra_lds, why, why_size);
}

/* Code of the kernel, or its text; *extra_lds is written as well. */
static enum hg_status compile(const struct ir_func *fn, const struct hg_amd_chip *chip, const struct gpu_variant *v, bool embed,
			      enum amd_result result, void **out, size_t *size, uint32_t *extra_lds, char *why, size_t why_size)
{
	struct emit e = { .fn = fn, .opt = { .layout = v->layout, .scheduled = v->is_scheduled, .max_threads = v->max_threads,
					     .local_bytes = fn->local_bytes + v->stack_bytes } };
	struct amd_compile job = { .kernel = fn->name, .chip = chip, .max_work_items = work_items(v), .embed = embed, .result = result,
				   .fill = fill, .arg = &e };
	enum hg_status st;

	if (!amd_fits(chip, fn->name, fn->shared_bytes, (uint64_t)fn->req_threads[0] * fn->req_threads[1] * fn->req_threads[2],
		      (uint64_t)fn->local_bytes + v->stack_bytes, why, why_size))
		return HG_ERR_UNSUPPORTED;
	st = amd_compile(&job, out, size);
	if (st)
		snprintf(why, why_size, "kernel '%s' cannot be compiled for %s: %s", fn->name, chip->name,
			 job.why[0] ? job.why : hg_status_text(st));
	else
		*extra_lds = e.extra_lds;
	return st;
}

/* What the code object says of itself goes into `code`. False: it is not what it should be, or asks too much of the chip. */
static bool take_note(const struct ir_func *fn, const struct hg_amd_chip *chip, const struct gpu_variant *v, struct hg_amd_code *code,
		      char *why, size_t why_size)
{
	struct amd_note n;
	char more[200];

	if (!amd_note_read(code->elf, code->size, &n)) {
		snprintf(why, why_size, "kernel '%s': its code object for %s has no metadata", fn->name, chip->name);
		return false;
	}
	code->kernarg_bytes = n.kernarg_bytes;
	code->vgprs = n.vgprs;
	code->sgprs = n.sgprs;
	code->vgpr_spills = n.vgpr_spills;
	code->sgpr_spills = n.sgpr_spills;
	code->scratch_bytes = n.private_bytes;
	if (n.nr_kernels != 1 || strncmp(n.name, fn->name, sizeof(n.name) - 1) != 0)
		snprintf(more, sizeof(more), "%u kernels, the first '%.100s'", n.nr_kernels, n.name);
	else if (n.wave_size != (v->layout == HG_GPU_WAVE32 ? 32 : 64))
		snprintf(more, sizeof(more), "waves of %u", n.wave_size);
	else if (n.max_work_items != work_items(v))
		snprintf(more, sizeof(more), "blocks of %u work-items", n.max_work_items);
	else if (n.kernarg_bytes != HG_GPU_ENV_OFFSET(fn->param_bytes) + sizeof(struct hg_gpu_env))
		snprintf(more, sizeof(more), "%u bytes of arguments", n.kernarg_bytes);
	else if (n.nr_hidden_args)
		snprintf(more, sizeof(more), "%u hidden arguments", n.nr_hidden_args);
	else if (n.has_dynamic_stack)
		snprintf(more, sizeof(more), "a stack of a size that is not known");
	else if (n.group_bytes)
		snprintf(more, sizeof(more), "%u bytes of local data share of its own", n.group_bytes);
	else
		return amd_fits(chip, fn->name, (uint64_t)fn->shared_bytes + code->extra_lds, 0, n.private_bytes, why, why_size);
	snprintf(why, why_size, "kernel '%s': its code object for %s is not as expected: %s", fn->name, chip->name, more);
	return false;
}

/* What was made, and the cache keeps. */
struct object {
	uint32_t extra_lds, reserved[3];
	unsigned char elf[];
};

static enum hg_status make(const void *target, const struct ir_func *fn, const struct gpu_variant *v, void **data, size_t *size, char *why,
			   size_t why_size)
{
	const struct hg_amd_module *m = target;
	struct object *o;
	uint32_t extra_lds;
	size_t elf_size;
	void *elf;
	enum hg_status st = compile(fn, &m->chip, v, m->embed, AMD_CODE_OBJECT, &elf, &elf_size, &extra_lds, why, why_size);

	if (st)
		return st;
	o = malloc(sizeof(*o) + elf_size);
	if (o) {
		*o = (struct object){ .extra_lds = extra_lds };
		memcpy(o->elf, elf, elf_size);
		*data = o;
		*size = sizeof(*o) + elf_size;
	} else {
		snprintf(why, why_size, "kernel '%s': %s", fn->name, hg_status_text(HG_ERR_NOMEM));
		st = HG_ERR_NOMEM;
	}
	free(elf);
	return st;
}

static bool take(const void *target, const struct ir_func *fn, struct gpu_made *made, char *why, size_t why_size)
{
	const struct hg_amd_module *m = target;
	const struct object *o = made->data;
	struct hg_amd_code *code = &((struct made *)made)->code;

	if (made->size <= sizeof(*o)) {
		snprintf(why, why_size, "kernel '%s' has no code object for %s", fn->name, m->chip.name);
		return false;
	}
	*code = (struct hg_amd_code){ .elf = o->elf, .size = made->size - sizeof(*o), .symbol = fn->name, .layout = made->variant.layout,
				      .is_scheduled = made->variant.is_scheduled, .param_bytes = fn->param_bytes, .extra_lds = o->extra_lds,
				      .max_threads = made->variant.max_threads };
	return take_note(fn, &m->chip, &made->variant, code, why, why_size);
}

static const struct gpu_maker maker = { .kind = "amdgcn", .made_size = sizeof(struct made), .choose = choose, .make = make, .take = take };

/* ---- modules ---- */

enum hg_status hg_amd_code_get(struct hg_amd_module *m, size_t kernel, const struct hg_gpu_need *need, const struct hg_amd_code **out)
{
	const struct gpu_made *made;
	enum hg_status st = gpu_code_get(m->gpu, kernel, need, &made);

	if (!st)
		*out = &((const struct made *)made)->code;
	return st;
}

/* For tests, and for people who debug: code carries the LLVM IR that it was made from. */
static bool wants_ir(void)
{
	const char *text = getenv("HGSHIM_EMBED_IR");

	return text && *text && strcmp(text, "0") != 0;
}

enum hg_status hg_amd_module_create(const struct ir_module *ir, const unsigned char *key, const struct hg_amd_chip *chip,
				    struct hg_amd_module **out)
{
	struct hg_amd_module *m = calloc(1, sizeof(*m));
	enum hg_status st;

	if (!m)
		return HG_ERR_NOMEM;
	m->chip = *chip;
	m->embed = wants_ir();
	snprintf(m->id, sizeof(m->id), "%s %s %s %d", chip->name, chip->features, chip->like, m->embed);
	m->device = (struct gpu_device){ .name = m->chip.name, .id = m->id, .max_work_items = chip->max_work_items };
	st = gpu_module_open(ir, key, &maker, &m->device, m, &m->gpu);
	if (st)
		free(m);
	else
		*out = m;
	return st;
}

void hg_amd_module_destroy(struct hg_amd_module *m)
{
	if (!m)
		return;
	gpu_module_close(m->gpu);
	free(m);
}

enum hg_status hg_amd_text(const struct ir_module *ir, size_t kernel, const struct hg_amd_chip *chip, const struct hg_gpu_need *need,
			   enum hg_amd_text kind, char **out)
{
	struct hg_amd_module *m;
	const struct ir_func *fn;
	struct gpu_variant v;
	uint32_t extra_lds;
	char why[600];
	size_t size;
	void *text;
	enum hg_status st = hg_amd_module_create(ir, NULL, chip, &m);

	if (st)
		return st;
	st = gpu_variant_get(m->gpu, kernel, need, &fn, &v);
	if (st)
		goto out;
	st = compile(fn, chip, &v, false, kind == HG_AMD_LLVM ? AMD_LLVM_TEXT : AMD_ASSEMBLY, &text, &size, &extra_lds, why, sizeof(why));
	if (st)
		pr_err("%s", why);
	else
		*out = text;
out:
	hg_amd_module_destroy(m);
	return st;
}
