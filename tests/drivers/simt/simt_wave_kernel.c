/* simt_wave_kernel.c - kernels that run in waves: out of bitcode, kept by what they are made of, launched. */
#include "tests/drivers/simt/simt_wave.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/BitReader.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/Error.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "tests/drivers/simt/simt.h"
#include "tests/drivers/simt/simt_wave_cfg.h"

#define DEFAULT_PATIENCE_MS 30000
#define MAX_KEPT 256		/* kernels that nobody holds */

struct wave_kernel {
	/* what it is made of */
	const struct lane_vocabulary *words;
	void *source;
	size_t size;
	uint64_t hash;
	char *name;
	uint32_t wave, lds_static;

	struct simt_module *module;
	struct wave_arg *arg;
	size_t nr_args;
	uint32_t kernarg_bytes, asks_lanes;
	unsigned int refs;
	struct wave_kernel *next;
};

/* The one used last is first. */
static struct {
	pthread_mutex_t lock;
	struct wave_kernel *first;
} kept = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- making one ---- */

static void keep_quiet(LLVMDiagnosticInfoRef info, void *arg)
{
	(void)info;
	(void)arg;
}

/* The data layout of x86-64, which simt_llvm gives the module again when it compiles it. */
static const char ours[] = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128";

static bool run_passes(struct lane_code *l, const char *passes)
{
	LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
	LLVMErrorRef err = LLVMRunPasses(l->m, passes, NULL, options);

	LLVMDisposePassBuilderOptions(options);
	if (!err)
		return true;
	lane_refuse(l, "LLVM's passes '%s' failed", passes);
	LLVMConsumeError(err);
	return false;
}

/* Functions that it calls become part of it; loops get one entry, as a GPU's compiler does it. */
static void prepare(struct lane_code *l, const char *name)
{
	unsigned int always = LLVMGetEnumAttributeKindForName("alwaysinline", 12), never = LLVMGetEnumAttributeKindForName("noinline", 8);
	unsigned int not_opt = LLVMGetEnumAttributeKindForName("optnone", 7);
	bool has_calls = false;
	struct cfg g;

	LLVMStripModuleDebugInfo(l->m);
	for (LLVMValueRef f = LLVMGetFirstFunction(l->m), next; f; f = next) {
		size_t len;

		next = LLVMGetNextFunction(f);
		if (LLVMIsDeclaration(f) || !strcmp(LLVMGetValueName2(f, &len), name))
			continue;
		if (LLVMGetFunctionCallConv(f) == l->words->kernel_convention && !LLVMGetFirstUse(f)) {
			LLVMDeleteFunction(f);
			continue;
		}
		LLVMRemoveEnumAttributeAtIndex(f, LLVMAttributeFunctionIndex, never);
		LLVMRemoveEnumAttributeAtIndex(f, LLVMAttributeFunctionIndex, not_opt);
		LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(l->c, always, 0));
		LLVMSetLinkage(f, LLVMInternalLinkage);
		has_calls = true;
	}
	if (has_calls && !run_passes(l, "always-inline,globaldce"))
		return;
	if (cfg_make(LLVMGetNamedFunction(l->m, name), &g)) {
		lane_refuse(l, "out of memory");
		return;
	}
	if (g.is_irreducible)
		run_passes(l, "function(lower-switch,fix-irreducible)");
	cfg_free(&g);
}

static void retarget(struct lane_code *l, const char *name)
{
	LLVMValueRef kernel;

	prepare(l, name);
	if (l->refused)
		return;
	kernel = LLVMGetNamedFunction(l->m, name);
	l->words->check(l, kernel);
	LLVMSetDataLayout(l->m, ours);
	lane_code_take(l, kernel);
	if (!l->refused)
		lane_code_to_wave(l, name);
	/* what belonged to the functions that are gone */
	for (LLVMValueRef f = LLVMGetFirstFunction(l->m), next; f; f = next) {
		next = LLVMGetNextFunction(f);
		if (LLVMIsDeclaration(f) && !LLVMGetFirstUse(f))
			LLVMDeleteFunction(f);
	}
	for (LLVMValueRef g = LLVMGetFirstGlobal(l->m), next; g; g = next) {
		next = LLVMGetNextGlobal(g);
		if (LLVMGetPointerAddressSpace(LLVMTypeOf(g)) == 3 && !l->refused && !LLVMGetFirstUse(g))
			LLVMDeleteGlobal(g);
	}
}

static void types_of(struct lane_code *l)
{
	l->i1 = LLVMInt1TypeInContext(l->c);
	l->i8 = LLVMInt8TypeInContext(l->c);
	l->i16 = LLVMInt16TypeInContext(l->c);
	l->i32 = LLVMInt32TypeInContext(l->c);
	l->i64 = LLVMInt64TypeInContext(l->c);
	l->ptr = LLVMPointerTypeInContext(l->c, 0);
	l->lds_ptr = LLVMPointerTypeInContext(l->c, 3);
	l->scratch_ptr = LLVMPointerTypeInContext(l->c, 5);
}

static enum hg_status read_bitcode(struct lane_code *l, const struct wave_kernel *k)
{
	const void *bitcode = k->source;
	size_t size = k->size;
	void *read = NULL;
	LLVMMemoryBufferRef buf;
	LLVMBool failed;
	LLVMValueRef f;

	if (l->words->read) {
		enum hg_status st = l->words->read(k->source, k->size, &read, &size, l->why, l->why_size);

		if (st)
			return st;
		bitcode = read;
	}
	buf = LLVMCreateMemoryBufferWithMemoryRangeCopy(bitcode, size, "bitcode");
	free(read);
	failed = LLVMParseBitcodeInContext2(l->c, buf, &l->m);
	LLVMDisposeMemoryBuffer(buf);
	if (failed) {
		l->m = NULL;
		snprintf(l->why, l->why_size, "kernel '%s': its LLVM bitcode cannot be read", k->name);
		return HG_ERR_CORRUPT;
	}
	f = LLVMGetNamedFunction(l->m, k->name);
	if (!f || LLVMIsDeclaration(f) || LLVMGetFunctionCallConv(f) != l->words->kernel_convention) {
		snprintf(l->why, l->why_size, "the module has no kernel '%s'", k->name);
		return HG_ERR_NOTFOUND;
	}
	if (strncmp(LLVMGetTarget(l->m), l->words->triple, strlen(l->words->triple))) {
		snprintf(l->why, l->why_size, "kernel '%s': LLVM bitcode for '%.60s'", k->name, LLVMGetTarget(l->m));
		return HG_ERR_UNSUPPORTED;
	}
	return HG_OK;
}

/* What launches must know of the arguments. */
static enum hg_status keep_args(struct wave_kernel *k, const struct lane_code *l, LLVMTargetDataRef layout)
{
	k->arg = calloc(l->nr_args + 1, sizeof(*k->arg));
	if (!k->arg)
		return HG_ERR_NOMEM;
	for (size_t i = 0; i < l->nr_args; i++)
		k->arg[i] = (struct wave_arg){
			.offset = l->arg[i].offset, .size = (uint32_t)LLVMABISizeOfType(layout, l->arg[i].type),
			.is_local = LLVMGetTypeKind(l->arg[i].type) == LLVMPointerTypeKind &&
				LLVMGetPointerAddressSpace(l->arg[i].type) == 3,
		};
	k->nr_args = l->nr_args;
	return HG_OK;
}

static enum hg_status make(struct wave_kernel *k, char *why, size_t why_size)
{
	struct lane_code l = { .words = k->words, .wave = k->wave, .lds_static = k->lds_static, .why = why, .why_size = why_size };
	struct simt_kernel desc = { .name = k->name, .shared_bytes = k->lds_static };
	char reason[256];
	enum hg_status st;

	l.c = LLVMContextCreate();
	LLVMContextSetDiagnosticHandler(l.c, keep_quiet, NULL);
	l.b = LLVMCreateBuilderInContext(l.c);
	types_of(&l);
	st = read_bitcode(&l, k);
	if (!st) {
		l.theirs = LLVMCreateTargetData(LLVMGetDataLayoutStr(l.m));
		l.ours = LLVMCreateTargetData(ours);
		l.why = reason;
		l.why_size = sizeof(reason);
		retarget(&l, k->name);
		if (!l.refused)
			st = keep_args(k, &l, l.theirs);
		LLVMDisposeTargetData(l.theirs);
		LLVMDisposeTargetData(l.ours);
	}
	LLVMDisposeBuilder(l.b);
	free(l.op);
	free(l.arg);
	if (!st && l.refused) {
		snprintf(why, why_size, "kernel '%s': %s", k->name, reason);
		st = HG_ERR_UNSUPPORTED;
	}
	if (!st)
		st = simt_module_create(simt_wave_symbols, simt_wave_nr_symbols, &k->module);
	if (st) {
		if (l.m)
			LLVMDisposeModule(l.m);
		LLVMContextDispose(l.c);
		return st;
	}
	k->kernarg_bytes = l.kernarg_bytes;
	k->asks_lanes = l.asks_lanes;
	desc.local_bytes = l.local_bytes;
	desc.waits = l.waits;
	return simt_module_add(k->module, l.c, l.m, &desc, 1);
}

/* ---- keeping them ---- */

static void destroy(struct wave_kernel *k)
{
	simt_module_free(k->module);
	free(k->arg);
	free(k->source);
	free(k->name);
	free(k);
}

static uint64_t hash_of(const unsigned char *p, size_t size)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < size; i++)
		h = (h ^ p[i]) * 0x100000001b3;
	return h;
}

static struct wave_kernel *find(const struct wave_source *s, uint64_t hash)
{
	for (struct wave_kernel **at = &kept.first, *k; (k = *at); at = &k->next)
		if (k->hash == hash && k->words == s->words && k->size == s->size && k->wave == s->wave && k->lds_static == s->lds_static &&
		    !strcmp(k->name, s->name) && !memcmp(k->source, s->source, s->size)) {
			*at = k->next;
			k->next = kept.first;
			kept.first = k;
			return k;
		}
	return NULL;
}

static void forget_old(void)
{
	unsigned int spare = 0;

	for (struct wave_kernel **at = &kept.first, *k; (k = *at);) {
		if (k->refs || ++spare <= MAX_KEPT) {
			at = &k->next;
			continue;
		}
		*at = k->next;
		destroy(k);
	}
}

enum hg_status wave_kernel_get(const struct wave_source *s, struct wave_kernel **out, char *why, size_t why_size)
{
	uint64_t hash = hash_of(s->source, s->size);
	struct wave_kernel *k;
	enum hg_status st = HG_OK;

	if (why_size)
		why[0] = 0;
	pthread_mutex_lock(&kept.lock);
	k = find(s, hash);
	if (!k) {
		k = calloc(1, sizeof(*k));
		st = k ? HG_OK : HG_ERR_NOMEM;
		if (k) {
			*k = (struct wave_kernel){ .words = s->words, .source = malloc(s->size + 1), .size = s->size, .hash = hash,
						   .name = strdup(s->name), .wave = s->wave, .lds_static = s->lds_static };
			if (!k->source || !k->name)
				st = HG_ERR_NOMEM;
		}
		if (!st) {
			memcpy(k->source, s->source, s->size);
			st = make(k, why, why_size);
		}
		if (st && k) {
			destroy(k);
		} else if (k) {
			k->next = kept.first;
			kept.first = k;
		}
	}
	if (!st) {
		k->refs++;
		*out = k;
	}
	forget_old();
	pthread_mutex_unlock(&kept.lock);
	return st;
}

void wave_kernel_put(struct wave_kernel *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&kept.lock);
	k->refs--;
	forget_old();
	pthread_mutex_unlock(&kept.lock);
}

uint32_t wave_kernel_arg_bytes(const struct wave_kernel *k)
{
	return k->kernarg_bytes;
}

size_t wave_kernel_nr_args(const struct wave_kernel *k)
{
	return k->nr_args;
}

const struct wave_arg *wave_kernel_args(const struct wave_kernel *k)
{
	return k->arg;
}

uint32_t wave_kernel_lanes(const struct wave_kernel *k)
{
	return k->asks_lanes;
}

/* ---- launches ---- */

enum hg_status wave_kernel_run(struct wave_kernel *k, const struct wave_launch *l, char *why, size_t why_size)
{
	uint64_t items = (uint64_t)l->block[0] * l->block[1] * l->block[2];
	struct simt_wave_grid grid = {
		.kernarg = l->kernarg, .local_name = k->words->local_name, .block = { l->block[0], l->block[1], l->block[2] }, .items = (uint32_t)items,
		.patience_ns = (uint64_t)(l->patience_ms ? l->patience_ms : DEFAULT_PATIENCE_MS) * 1000000,
	};
	/* to the layer below, waves are threads */
	struct simt_launch launch = {
		.grid = { l->grid[0], l->grid[1], l->grid[2] }, .block = { ((uint32_t)items + k->wave - 1) / k->wave, 1, 1 },
		.shared_bytes = l->lds_dynamic, .warp_size = 32, .cooperative = l->cooperative, .params = &grid,
		.shared_align = k->words->local_align,
	};

	if (why_size)
		why[0] = 0;
	if (!items || items > SIMT_MAX_ITEMS || l->block[0] > SIMT_MAX_ITEMS || l->block[1] > SIMT_MAX_ITEMS || !l->grid[0] || !l->grid[1] ||
	    !l->grid[2]) {
		snprintf(why, why_size, "kernel '%s': no grid of (%u,%u,%u) blocks of (%u,%u,%u) work-items", k->name, l->grid[0], l->grid[1],
			 l->grid[2], l->block[0], l->block[1], l->block[2]);
		return HG_ERR_INVALID;
	}
	if ((uint64_t)k->lds_static + l->lds_dynamic > k->words->max_local) {
		snprintf(why, why_size, "kernel '%s': %u and %u bytes of %s, of %u", k->name, k->lds_static, l->lds_dynamic,
			 k->words->local_name, k->words->max_local);
		return HG_ERR_INVALID;
	}
	if (l->kernarg_bytes < k->kernarg_bytes) {
		snprintf(why, why_size, "kernel '%s': %zu bytes of arguments, where it reads %u", k->name, l->kernarg_bytes, k->kernarg_bytes);
		return HG_ERR_INVALID;
	}
	return simt_run(k->module, &launch, why, why_size);
}
