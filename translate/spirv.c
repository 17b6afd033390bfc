/* spirv.c - the kernels of a module as SPIR-V modules of their own, each in the forms that launches ask for. */
#define _GNU_SOURCE
#include "translate/spirv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm/Config/llvm-config.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/msg.h"
#include "translate/cache.h"
#include "translate/gpu_module.h"
#include "translate/llvm_start.h"
#include "translate/spirv_write.h"

#define USUAL_BLOCK 256

const struct hg_spirv_device hg_spirv_any_device = { .has_fp16 = true, .has_fp64 = true, .has_int64_atomics = true, .has_subgroup_32 = true,
						     .slm_bytes = 65536, .max_work_items = 1024 };

/* What code is made for. */
struct variant {
	bool is_scheduled;
	uint32_t stack_bytes;
};

struct made {
	struct variant variant;
	struct hg_spirv_code code;
	uint32_t *words;		/* NULL: it failed, */
	char *why;			/* with this message, */
	enum hg_status st;		/* and so */
	struct made *next;
};

struct hg_spirv_module {
	struct gpu_module *gpu;
	struct hg_spirv_device device;
};

/* ---- which variant ---- */

static uint32_t most_threads(const struct hg_spirv_device *d, const struct ir_func *fn)
{
	return fn->max_threads && fn->max_threads < d->max_work_items ? fn->max_threads : d->max_work_items;
}

/* The block that the code is for, when a launch did not say. */
static void take_block(const struct ir_func *fn, const struct hg_spirv_need *need, uint32_t block[3])
{
	const uint32_t usual[3] = { fn->max_threads && fn->max_threads < USUAL_BLOCK ? fn->max_threads : USUAL_BLOCK, 1, 1 };

	memcpy(block, need->block[0] ? need->block : fn->req_threads[0] ? fn->req_threads : usual, sizeof(need->block));
}

static enum hg_status check_block(const struct hg_spirv_device *d, const struct ir_func *fn, const uint32_t block[3])
{
	uint64_t threads = (uint64_t)block[0] * block[1] * block[2];

	if (threads && threads <= most_threads(d, fn))
		return HG_OK;
	pr_err("kernel '%s' is wanted for blocks of %" PRIu64 " threads, and takes %u at most on this device", fn->name, threads,
	       most_threads(d, fn));
	return HG_ERR_UNSUPPORTED;
}

static struct variant choose(const struct ir_func *fn, const struct gpu_plan *plan, const uint32_t block[3], uint32_t stack_bytes)
{
	bool in_rows = block[0] % 32 == 0 || (block[1] == 1 && block[2] == 1);

	return (struct variant){ .is_scheduled = gpu_wants_scheduled() || !(plan->direct || (plan->rows && in_rows)),
				 .stack_bytes = fn->uses_stack ? gpu_stack_class(stack_bytes) : 0 };
}

static bool fits(const struct hg_spirv_device *d, const char *kernel, uint64_t shared, uint64_t threads, char *why, size_t why_size)
{
	if (shared > d->slm_bytes)
		snprintf(why, why_size, "kernel '%s' needs %" PRIu64 " bytes of shared memory, and a block has %u on this device", kernel,
			 shared, d->slm_bytes);
	else if (threads > d->max_work_items)
		snprintf(why, why_size, "kernel '%s' needs blocks of %" PRIu64 " threads, and they have %u at most on this device", kernel,
			 threads, d->max_work_items);
	else
		return true;
	return false;
}

bool hg_spirv_fits(const struct hg_spirv_device *d, const struct hg_kernel_info *k, char *why, size_t why_size)
{
	if (k->refused) {
		snprintf(why, why_size, "%s", k->refused);
		return false;
	}
	return fits(d, k->name, k->shared_bytes, (uint64_t)k->req_threads[0] * k->req_threads[1] * k->req_threads[2], why, why_size);
}

/* ---- making one ---- */

struct job {
	const struct ir_func *fn;
	const struct hg_spirv_device *device;
	const struct variant *variant;
	bool as_text;
	enum hg_status st;
	char why[400];			/* without the kernel's name */
	char *text;
	uint32_t *words;
	size_t nr_words;
	uint32_t version, extra_lds;
	bool uses_lanes;
};

static bool is_called(LLVMModuleRef m, const char *name)
{
	LLVMValueRef fn = LLVMGetNamedFunction(m, name);

	return fn && LLVMGetFirstUse(fn);
}

static bool uses_lanes(LLVMModuleRef m)
{
	return is_called(m, "hg.lane") || is_called(m, "hg.ballot") || is_called(m, "hg.shuffle") || is_called(m, "hg.first");
}

static bool is_wide_atomic(LLVMValueRef insn)
{
	LLVMTypeRef t;

	switch (LLVMGetInstructionOpcode(insn)) {
	case LLVMAtomicRMW: case LLVMAtomicCmpXchg:
		t = LLVMTypeOf(LLVMGetOperand(insn, 1));
		break;
	case LLVMLoad:
		t = LLVMTypeOf(insn);
		break;
	case LLVMStore:
		t = LLVMTypeOf(LLVMGetOperand(insn, 0));
		break;
	default:
		return false;
	}
	return LLVMGetOrdering(insn) != LLVMAtomicOrderingNotAtomic && LLVMGetTypeKind(t) == LLVMIntegerTypeKind && LLVMGetIntTypeWidth(t) == 64;
}

/* What the instruction needs and the device has not; NULL: nothing. */
static const char *lacks(const struct hg_spirv_device *d, LLVMValueRef insn)
{
	int nr = LLVMGetNumOperands(insn);

	if (!d->has_int64_atomics && is_wide_atomic(insn))
		return "atomic operations of 64 bits";
	for (int i = -1; i < nr; i++) {
		LLVMTypeKind kind = LLVMGetTypeKind(LLVMTypeOf(i < 0 ? insn : LLVMGetOperand(insn, (unsigned int)i)));

		if (kind == LLVMDoubleTypeKind && !d->has_fp64)
			return "f64 (which division and square root of f32 are made of as well)";
		if (kind == LLVMHalfTypeKind && !d->has_fp16)
			return "f16";
	}
	return NULL;
}

static bool device_has_all(struct job *j, LLVMModuleRef m)
{
	const char *what = j->uses_lanes && !j->device->has_subgroup_32 ? "sub-groups of 32" : NULL;

	for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(LLVMGetNamedFunction(m, j->fn->name)); b && !what; b = LLVMGetNextBasicBlock(b))
		for (LLVMValueRef i = LLVMGetFirstInstruction(b); i && !what; i = LLVMGetNextInstruction(i))
			what = lacks(j->device, i);
	if (what)
		snprintf(j->why, sizeof(j->why), "the device has no %s", what);
	return !what;
}

static void make_module(struct job *j, LLVMContextRef c, LLVMModuleRef m)
{
	struct emit_gpu_options opt = { .layout = HG_GPU_WAVE32, .scheduled = j->variant->is_scheduled,
					.max_threads = most_threads(j->device, j->fn),
					.local_bytes = j->fn->local_bytes + j->variant->stack_bytes };
	struct spirv_write_options write = { .kernel = j->fn->name, .max_threads = opt.max_threads };
	char *text;

	j->st = emit_spirv(j->fn, &opt, c, m, j->fn->name, &j->extra_lds, j->why, sizeof(j->why));
	if (j->st)
		return;
	j->uses_lanes = write.uses_lanes = uses_lanes(m);
	if (j->as_text) {
		text = LLVMPrintModuleToString(m);
		j->text = strdup(text);
		LLVMDisposeMessage(text);
		j->st = j->text ? HG_OK : HG_ERR_NOMEM;
	} else if (!device_has_all(j, m)) {
		j->st = HG_ERR_UNSUPPORTED;
	} else {
		j->st = spirv_write(m, &write, &j->words, &j->nr_words, &j->version, j->why, sizeof(j->why));
	}
}

/* On another thread: LLVM ends it where it finds what it cannot do. */
static void job_main(void *arg)
{
	struct job *j = arg;
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext(j->fn->name, c);

	make_module(j, c, m);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
}

/* `why` is a whole message. */
static enum hg_status compile(struct job *j, char *why, size_t why_size)
{
	uint64_t threads = (uint64_t)j->fn->req_threads[0] * j->fn->req_threads[1] * j->fn->req_threads[2];

	if (!fits(j->device, j->fn->name, j->fn->shared_bytes, threads, why, why_size))
		return HG_ERR_UNSUPPORTED;
	llvm_start();
	if (!llvm_run(job_main, j, j->why, sizeof(j->why)))
		j->st = HG_ERR_UNSUPPORTED;
	if (j->st)
		snprintf(why, why_size, "kernel '%s' cannot be compiled to SPIR-V: %s", j->fn->name,
			 j->why[0] ? j->why : hg_status_text(j->st));
	return j->st;
}

/* What the cache keeps. */
struct cached {
	uint32_t extra_lds, version, uses_lanes, reserved;
	uint32_t words[];
};

static void cache_key(const struct hg_spirv_module *m, const struct ir_func *fn, const struct variant *v, unsigned char key[16])
{
	const struct hg_spirv_device *d = &m->device;
	const uint32_t what[] = { HG_GPU_ABI, LLVM_VERSION_MAJOR, LLVM_VERSION_MINOR, LLVM_VERSION_PATCH, v->is_scheduled, v->stack_bytes,
				  d->has_fp16, d->has_fp64, d->has_int64_atomics, d->has_subgroup_32, most_threads(d, fn) };
	XXH3_state_t *s = XXH3_createState();
	XXH128_canonical_t c;

	XXH3_128bits_reset(s);
	XXH3_128bits_update(s, "spirv", sizeof("spirv"));
	XXH3_128bits_update(s, gpu_module_key(m->gpu), GPU_KEY);
	XXH3_128bits_update(s, fn->name, strlen(fn->name) + 1);
	XXH3_128bits_update(s, what, sizeof(what));
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(s));
	memcpy(key, c.digest, 16);
	XXH3_freeState(s);
}

static void take_code(struct made *out, uint32_t *words, size_t size, uint32_t version, uint32_t extra_lds, bool lanes)
{
	out->words = words;
	out->code.words = words;
	out->code.size = size;
	out->code.version = version;
	out->code.extra_lds = extra_lds;
	out->code.uses_lanes = lanes;
}

static bool load_cached(const struct hg_spirv_module *m, const struct ir_func *fn, struct made *out)
{
	const struct cached *data;
	unsigned char key[16];
	uint32_t *words;
	void *bytes;
	size_t size;

	if (!gpu_module_key(m->gpu))
		return false;
	cache_key(m, fn, &out->variant, key);
	if (!hg_cache_get(key, &bytes, &size))
		return false;
	data = bytes;
	words = size > sizeof(*data) ? malloc(size - sizeof(*data)) : NULL;
	if (words) {
		memcpy(words, data->words, size - sizeof(*data));
		take_code(out, words, size - sizeof(*data), data->version, data->extra_lds, data->uses_lanes);
	}
	free(bytes);
	return words;
}

static void keep_cached(const struct hg_spirv_module *m, const struct ir_func *fn, const struct made *made)
{
	size_t size = sizeof(struct cached) + made->code.size;
	struct cached *data = gpu_module_key(m->gpu) ? malloc(size) : NULL;
	unsigned char key[16];

	if (!data)
		return;
	*data = (struct cached){ .extra_lds = made->code.extra_lds, .version = made->code.version, .uses_lanes = made->code.uses_lanes };
	memcpy(data->words, made->words, made->code.size);
	cache_key(m, fn, &made->variant, key);
	hg_cache_put(key, data, size);
	free(data);
}

/* Makes what out->variant says. What went wrong is in the result as well. */
static void make(const struct hg_spirv_module *m, const struct ir_func *fn, struct made *out)
{
	struct job j = { .fn = fn, .device = &m->device, .variant = &out->variant };
	uint64_t shared;
	char why[600];

	out->code = (struct hg_spirv_code){ .symbol = fn->name, .is_scheduled = out->variant.is_scheduled, .param_bytes = fn->param_bytes,
					    .arg_bytes = HG_GPU_ENV_OFFSET(fn->param_bytes) + (uint32_t)sizeof(struct hg_gpu_env),
					    .shared_bytes = fn->shared_bytes, .max_threads = most_threads(&m->device, fn) };
	if (load_cached(m, fn, out))
		return;
	out->st = compile(&j, why, sizeof(why));
	shared = ((uint64_t)fn->shared_bytes + 15) / 16 * 16 + j.extra_lds;
	if (!out->st && j.extra_lds && !fits(&m->device, fn->name, shared, 0, why, sizeof(why))) {
		free(j.words);
		out->st = HG_ERR_UNSUPPORTED;
	}
	if (out->st) {
		out->why = strdup(why);
		return;
	}
	take_code(out, j.words, j.nr_words * sizeof(*j.words), j.version, j.extra_lds, j.uses_lanes);
	keep_cached(m, fn, out);
}

/* ---- modules ---- */

enum hg_status hg_spirv_code_get(struct hg_spirv_module *m, size_t kernel, const struct hg_spirv_need *need, const struct hg_spirv_code **out)
{
	const struct ir_func *fn;
	struct gpu_kernel *k;
	uint32_t block[3];
	struct made *made;
	struct variant v;
	enum hg_status st = gpu_module_kernel(m->gpu, kernel, &fn, &k);

	if (st)
		return st;
	take_block(fn, need, block);
	st = check_block(&m->device, fn, block);
	if (st)
		return st;
	pthread_mutex_lock(&k->lock);
	st = gpu_kernel_plan(k, fn);
	if (st)
		goto out;
	v = choose(fn, &k->plan, block, need->stack_bytes);
	made = k->made;
	while (made && (made->variant.is_scheduled != v.is_scheduled || made->variant.stack_bytes != v.stack_bytes))
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

enum hg_status hg_spirv_module_create(const struct ir_module *ir, const unsigned char *key, const struct hg_spirv_device *device,
				      struct hg_spirv_module **out)
{
	struct hg_spirv_module *m = calloc(1, sizeof(*m));
	enum hg_status st = m ? gpu_module_open(ir, key, &m->gpu) : HG_ERR_NOMEM;

	if (st) {
		free(m);
		return st;
	}
	m->device = *device;
	*out = m;
	return HG_OK;
}

static void free_made(void *list)
{
	struct made *made = list;

	while (made) {
		struct made *next = made->next;

		free(made->words);
		free(made->why);
		free(made);
		made = next;
	}
}

void hg_spirv_module_destroy(struct hg_spirv_module *m)
{
	if (!m)
		return;
	gpu_module_close(m->gpu, free_made);
	free(m);
}

enum hg_status hg_spirv_text(const struct ir_module *ir, size_t kernel, const struct hg_spirv_device *device,
			     const struct hg_spirv_need *need, char **out)
{
	struct hg_spirv_module *m;
	const struct ir_func *fn;
	struct gpu_kernel *k;
	uint32_t block[3];
	struct variant v;
	char why[600];
	enum hg_status st = hg_spirv_module_create(ir, NULL, device, &m);

	if (st)
		return st;
	st = gpu_module_kernel(m->gpu, kernel, &fn, &k);
	if (st)
		goto out;
	take_block(fn, need, block);
	st = check_block(device, fn, block);
	if (!st)
		st = gpu_kernel_plan(k, fn);
	if (!st) {
		struct job j = { .fn = fn, .device = device, .variant = &v, .as_text = true };

		v = choose(fn, &k->plan, block, need->stack_bytes);
		st = compile(&j, why, sizeof(why));
		if (st)
			pr_err("%s", why);
		else
			*out = j.text;
	}
out:
	hg_spirv_module_destroy(m);
	return st;
}
