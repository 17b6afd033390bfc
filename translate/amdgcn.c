/* amdgcn.c - the kernels of a module as code objects, each in the variants that launches ask for. */
#define _GNU_SOURCE
#include "translate/amdgcn.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm/Config/llvm-config.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/msg.h"
#include "translate/amd_compile.h"
#include "translate/amd_note.h"
#include "translate/cache.h"
#include "translate/gpu_module.h"

#define HALF_THREADS 512		/* as many as a row of 1024 work-items holds */
#define SMALL_BLOCK 256
#define LARGE_BLOCK 1024

/* What code is made for. */
struct variant {
	enum hg_gpu_layout layout;
	bool is_scheduled;
	uint32_t max_threads, stack_bytes;
};

struct made {
	struct variant variant;
	struct hg_amd_code code;
	void *elf;			/* NULL: it failed, */
	char *why;			/* with this message, */
	enum hg_status st;		/* and so */
	struct made *next;
};

struct hg_amd_module {
	struct gpu_module *gpu;
	struct hg_amd_chip chip;
	bool embed;
};

/* ---- which variant ---- */

static uint32_t most_threads(const struct hg_amd_chip *chip, const struct ir_func *fn)
{
	return fn->max_threads && fn->max_threads < chip->max_work_items ? fn->max_threads : chip->max_work_items;
}

static uint64_t threads_of(const uint32_t block[3])
{
	return (uint64_t)block[0] * block[1] * block[2];
}

/* Where that many threads lie side by side in x (gpu_plan.h). */
static bool is_in_rows(const uint32_t block[3], uint32_t threads)
{
	return block[0] % threads == 0 || (block[1] == 1 && block[2] == 1);
}

/* The block that the code is for, when a launch did not say. */
static void take_block(const struct ir_func *fn, const struct hg_amd_need *need, uint32_t block[3])
{
	if (need->block[0])
		memcpy(block, need->block, sizeof(need->block));
	else if (fn->req_threads[0])
		memcpy(block, fn->req_threads, sizeof(fn->req_threads));
	else
		memcpy(block, (const uint32_t[3]){ fn->max_threads && fn->max_threads < SMALL_BLOCK ? fn->max_threads : SMALL_BLOCK, 1, 1 },
		       sizeof(need->block));
}

/* For a block of at most so many threads as the kernel and the chip allow. */
static struct variant choose(const struct hg_amd_chip *chip, const struct ir_func *fn, const struct gpu_plan *plan, const uint32_t block[3],
			     uint32_t stack_bytes)
{
	bool direct = plan->direct || (plan->rows && is_in_rows(block, 32));
	bool pair = plan->direct_pair || (plan->rows_pair && is_in_rows(block, 64));
	struct variant v = { .layout = HG_GPU_WAVE32, .is_scheduled = gpu_wants_scheduled() };
	uint32_t most = most_threads(chip, fn), threads = (uint32_t)threads_of(block);

	if (chip->has_wave32) {
		v.is_scheduled |= !direct;
	} else if (pair && !v.is_scheduled) {
		v.layout = HG_GPU_PAIR;
	} else if (threads <= HALF_THREADS) {
		v.layout = HG_GPU_HALF;
		v.is_scheduled |= !direct;
		most = most < HALF_THREADS ? most : HALF_THREADS;
	} else {
		v.layout = HG_GPU_PAIR;
		v.is_scheduled = true;
	}
	/* fewer threads leave each of them more registers: what a kernel says of its blocks, or one of two classes */
	v.max_threads = threads <= SMALL_BLOCK ? SMALL_BLOCK : LARGE_BLOCK;
	if (v.max_threads > most)
		v.max_threads = (most + 31) / 32 * 32;
	if (fn->uses_stack)
		v.stack_bytes = gpu_stack_class(stack_bytes);
	return v;
}

static uint32_t work_items(const struct variant *v)
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
static enum hg_status compile(const struct ir_func *fn, const struct hg_amd_chip *chip, const struct variant *v, bool embed,
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
static bool take_note(const struct ir_func *fn, const struct hg_amd_chip *chip, const struct variant *v, struct hg_amd_code *code,
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

/* What the cache keeps. */
struct cached {
	uint32_t extra_lds, reserved;
	unsigned char elf[];
};

static void cache_key(const struct hg_amd_module *m, const struct ir_func *fn, const struct variant *v, unsigned char key[16])
{
	const uint32_t what[] = { HG_GPU_ABI, LLVM_VERSION_MAJOR, LLVM_VERSION_MINOR, LLVM_VERSION_PATCH, (uint32_t)v->layout,
				  v->is_scheduled, v->max_threads, v->stack_bytes, m->embed };
	XXH3_state_t *s = XXH3_createState();
	XXH128_canonical_t c;

	XXH3_128bits_reset(s);
	XXH3_128bits_update(s, "amdgcn", sizeof("amdgcn"));
	XXH3_128bits_update(s, gpu_module_key(m->gpu), GPU_KEY);
	XXH3_128bits_update(s, fn->name, strlen(fn->name) + 1);
	XXH3_128bits_update(s, what, sizeof(what));
	XXH3_128bits_update(s, m->chip.name, strlen(m->chip.name) + 1);
	XXH3_128bits_update(s, m->chip.features, strlen(m->chip.features) + 1);
	XXH3_128bits_update(s, m->chip.like, strlen(m->chip.like) + 1);
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(s));
	memcpy(key, c.digest, 16);
	XXH3_freeState(s);
}

static bool load_cached(const struct hg_amd_module *m, const struct ir_func *fn, struct made *out)
{
	struct cached *data;
	unsigned char key[16];
	char why[300];
	void *bytes;
	size_t size;

	if (!gpu_module_key(m->gpu))
		return false;
	cache_key(m, fn, &out->variant, key);
	if (!hg_cache_get(key, &bytes, &size))
		return false;
	data = bytes;
	if (size <= sizeof(*data))
		goto bad;
	out->code.extra_lds = data->extra_lds;
	out->code.size = size - sizeof(*data);
	out->elf = malloc(out->code.size);
	if (!out->elf)
		goto bad;
	memcpy(out->elf, data->elf, out->code.size);
	out->code.elf = out->elf;
	if (!take_note(fn, &m->chip, &out->variant, &out->code, why, sizeof(why)))
		goto bad_elf;
	free(data);
	return true;

bad_elf:
	free(out->elf);
	out->elf = NULL;
bad:
	free(data);
	return false;
}

static void keep_cached(const struct hg_amd_module *m, const struct ir_func *fn, const struct made *made)
{
	struct cached *data = gpu_module_key(m->gpu) ? malloc(sizeof(*data) + made->code.size) : NULL;
	unsigned char key[16];

	if (!data)
		return;
	*data = (struct cached){ .extra_lds = made->code.extra_lds };
	memcpy(data->elf, made->elf, made->code.size);
	cache_key(m, fn, &made->variant, key);
	hg_cache_put(key, data, sizeof(*data) + made->code.size);
	free(data);
}

/* Makes what out->variant says. What went wrong is in the result as well. */
static void make(const struct hg_amd_module *m, const struct ir_func *fn, struct made *out)
{
	char why[600];

	out->code = (struct hg_amd_code){ .symbol = fn->name, .layout = out->variant.layout, .is_scheduled = out->variant.is_scheduled,
					  .param_bytes = fn->param_bytes, .max_threads = out->variant.max_threads };
	if (load_cached(m, fn, out))
		return;
	out->st = compile(fn, &m->chip, &out->variant, m->embed, AMD_CODE_OBJECT, &out->elf, &out->code.size, &out->code.extra_lds, why,
			  sizeof(why));
	if (!out->st) {
		out->code.elf = out->elf;
		if (take_note(fn, &m->chip, &out->variant, &out->code, why, sizeof(why))) {
			keep_cached(m, fn, out);
			return;
		}
		free(out->elf);
		out->elf = NULL;
		out->st = HG_ERR_UNSUPPORTED;
	}
	out->why = strdup(why);
}

/* ---- modules ---- */

static enum hg_status check_block(const struct hg_amd_chip *chip, const struct ir_func *fn, const uint32_t block[3])
{
	uint64_t threads = threads_of(block);

	if (threads && threads <= most_threads(chip, fn))
		return HG_OK;
	pr_err("kernel '%s' is wanted for blocks of %" PRIu64 " threads, and takes %u at most on %s", fn->name, threads,
	       most_threads(chip, fn), chip->name);
	return HG_ERR_UNSUPPORTED;
}

static bool is_same(const struct variant *a, const struct variant *b)
{
	return a->layout == b->layout && a->is_scheduled == b->is_scheduled && a->max_threads == b->max_threads &&
	       a->stack_bytes == b->stack_bytes;
}

enum hg_status hg_amd_code_get(struct hg_amd_module *m, size_t kernel, const struct hg_amd_need *need, const struct hg_amd_code **out)
{
	const struct ir_func *fn;
	uint32_t block[3];
	struct variant v;
	struct made *made;
	struct gpu_kernel *k;
	enum hg_status st = gpu_module_kernel(m->gpu, kernel, &fn, &k);

	if (st)
		return st;
	take_block(fn, need, block);
	st = check_block(&m->chip, fn, block);
	if (st)
		return st;
	pthread_mutex_lock(&k->lock);
	st = gpu_kernel_plan(k, fn);
	if (st)
		goto out;
	v = choose(&m->chip, fn, &k->plan, block, need->stack_bytes);
	made = k->made;
	while (made && !is_same(&made->variant, &v))
		made = made->next;
	if (!made) {
		made = calloc(1, sizeof(*made));
		if (!made) {
			st = HG_ERR_NOMEM;
			goto out;
		}
		made->variant = v;
		make(m, fn, made);
		made->next = k->made;
		k->made = made;
	}
	st = made->st;
	if (st)
		pr_err("%s", made->why ? made->why : hg_status_text(st));
	else
		*out = &made->code;
out:
	pthread_mutex_unlock(&k->lock);
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
	enum hg_status st = m ? gpu_module_open(ir, key, &m->gpu) : HG_ERR_NOMEM;

	if (st) {
		free(m);
		return st;
	}
	m->chip = *chip;
	m->embed = wants_ir();
	*out = m;
	return HG_OK;
}

static void free_made(void *list)
{
	struct made *made = list;

	while (made) {
		struct made *next = made->next;

		free(made->elf);
		free(made->why);
		free(made);
		made = next;
	}
}

void hg_amd_module_destroy(struct hg_amd_module *m)
{
	if (!m)
		return;
	gpu_module_close(m->gpu, free_made);
	free(m);
}

enum hg_status hg_amd_text(const struct ir_module *ir, size_t kernel, const struct hg_amd_chip *chip, const struct hg_amd_need *need,
			   enum hg_amd_text kind, char **out)
{
	struct hg_amd_module *m;
	const struct ir_func *fn;
	struct gpu_kernel *k;
	uint32_t block[3], extra_lds;
	struct variant v;
	char why[600];
	size_t size;
	void *text;
	enum hg_status st = hg_amd_module_create(ir, NULL, chip, &m);

	if (st)
		return st;
	st = gpu_module_kernel(m->gpu, kernel, &fn, &k);
	if (st)
		goto out;
	take_block(fn, need, block);
	st = check_block(chip, fn, block);
	if (!st)
		st = gpu_kernel_plan(k, fn);
	if (st)
		goto out;
	v = choose(chip, fn, &k->plan, block, need->stack_bytes);
	st = compile(fn, chip, &v, false, kind == HG_AMD_LLVM ? AMD_LLVM_TEXT : AMD_ASSEMBLY, &text, &size, &extra_lds, why, sizeof(why));
	if (st)
		pr_err("%s", why);
	else
		*out = text;
out:
	hg_amd_module_destroy(m);
	return st;
}
