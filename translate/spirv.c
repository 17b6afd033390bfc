/* spirv.c - the kernels of a module as SPIR-V modules of their own, each in the forms that launches ask for. */
#define _GNU_SOURCE
#include "translate/spirv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "translate/gpu_module.h"
#include "translate/llvm_start.h"
#include "translate/spirv_write.h"

const struct hg_spirv_device hg_spirv_any_device = { .has_fp16 = true, .has_fp64 = true, .has_int64_atomics = true, .has_subgroup_32 = true,
						     .slm_bytes = 65536, .max_work_items = 1024 };

struct made {
	struct gpu_made made;
	struct hg_spirv_code code;
};

struct hg_spirv_module {
	struct gpu_module *gpu;
	struct gpu_device device;
	struct hg_spirv_device can;
	char id[16];			/* see struct gpu_device */
};

/* ---- what a device can do ---- */

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
	const struct gpu_variant *variant;
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
			return "f64";
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
					.whole = j->variant->whole, .no_f64 = !j->device->has_fp64,
					.max_threads = j->variant->max_threads,
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

/* What was made, and the cache keeps. */
struct object {
	uint32_t extra_lds, version, uses_lanes, reserved;
	uint32_t words[];
};

static enum hg_status make(const void *target, const struct ir_func *fn, const struct gpu_variant *v, void **data, size_t *size, char *why,
			   size_t why_size)
{
	const struct hg_spirv_module *m = target;
	struct job j = { .fn = fn, .device = &m->can, .variant = v };
	struct object *o;
	enum hg_status st = compile(&j, why, why_size);

	if (st)
		return st;
	*size = sizeof(*o) + j.nr_words * sizeof(*j.words);
	o = malloc(*size);
	if (o) {
		*o = (struct object){ .extra_lds = j.extra_lds, .version = j.version, .uses_lanes = j.uses_lanes };
		memcpy(o->words, j.words, j.nr_words * sizeof(*j.words));
		*data = o;
	} else {
		snprintf(why, why_size, "kernel '%s': %s", fn->name, hg_status_text(HG_ERR_NOMEM));
		st = HG_ERR_NOMEM;
	}
	free(j.words);
	return st;
}

static bool take(const void *target, const struct ir_func *fn, struct gpu_made *made, char *why, size_t why_size)
{
	const struct hg_spirv_module *m = target;
	const struct object *o = made->data;

	if (made->size <= sizeof(*o)) {
		snprintf(why, why_size, "kernel '%s' has no SPIR-V module", fn->name);
		return false;
	}
	((struct made *)made)->code = (struct hg_spirv_code){
		.words = o->words,
		.size = made->size - sizeof(*o),
		.symbol = fn->name,
		.is_scheduled = made->variant.is_scheduled,
		.uses_lanes = o->uses_lanes,
		.version = o->version,
		.param_bytes = fn->param_bytes,
		.arg_bytes = HG_GPU_ENV_OFFSET(fn->param_bytes) + (uint32_t)sizeof(struct hg_gpu_env),
		.shared_bytes = fn->shared_bytes,
		.extra_lds = o->extra_lds,
		.max_threads = made->variant.max_threads,
	};
	return !o->extra_lds || fits(&m->can, fn->name, ((uint64_t)fn->shared_bytes + 15) / 16 * 16 + o->extra_lds, 0, why, why_size);
}

static const struct gpu_maker maker = { .kind = "spirv", .made_size = sizeof(struct made), .make = make, .take = take };

/* ---- modules ---- */

enum hg_status hg_spirv_code_get(struct hg_spirv_module *m, size_t kernel, const struct hg_gpu_need *need, const struct hg_spirv_code **out)
{
	const struct gpu_made *made;
	enum hg_status st = gpu_code_get(m->gpu, kernel, need, &made);

	if (!st)
		*out = &((const struct made *)made)->code;
	return st;
}

enum hg_status hg_spirv_module_create(const struct ir_module *ir, const unsigned char *key, const struct hg_spirv_device *device,
				      struct hg_spirv_module **out)
{
	struct hg_spirv_module *m = calloc(1, sizeof(*m));
	enum hg_status st;

	if (!m)
		return HG_ERR_NOMEM;
	m->can = *device;
	snprintf(m->id, sizeof(m->id), "%d%d%d%d", device->has_fp16, device->has_fp64, device->has_int64_atomics, device->has_subgroup_32);
	m->device = (struct gpu_device){ .name = "this device", .id = m->id, .max_work_items = device->max_work_items,
					 .no_f64 = !device->has_fp64 };
	st = gpu_module_open(ir, key, &maker, &m->device, m, &m->gpu);
	if (st)
		free(m);
	else
		*out = m;
	return st;
}

void hg_spirv_module_destroy(struct hg_spirv_module *m)
{
	if (!m)
		return;
	gpu_module_close(m->gpu);
	free(m);
}

enum hg_status hg_spirv_text(const struct ir_module *ir, size_t kernel, const struct hg_spirv_device *device,
			     const struct hg_gpu_need *need, char **out)
{
	struct hg_spirv_module *m;
	const struct ir_func *fn;
	struct gpu_variant v;
	char why[600];
	enum hg_status st = hg_spirv_module_create(ir, NULL, device, &m);

	if (st)
		return st;
	st = gpu_variant_get(m->gpu, kernel, need, &fn, &v);
	if (!st) {
		struct job j = { .fn = fn, .device = device, .variant = &v, .as_text = true };

		st = compile(&j, why, sizeof(why));
		if (st)
			pr_err("%s", why);
		else
			*out = j.text;
	}
	hg_spirv_module_destroy(m);
	return st;
}
