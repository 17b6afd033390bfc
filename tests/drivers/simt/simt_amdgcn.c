/* simt_amdgcn.c - kernels of amdgcn: out of bitcode, kept by what they are made of, launched. */
#include "tests/drivers/simt/simt_amdgcn.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/BitReader.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/Error.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "tests/drivers/simt/simt_amdgcn_cfg.h"
#include "tests/drivers/simt/simt_amdgcn_wave.h"

#define DEFAULT_PATIENCE_MS 30000
#define MAX_KEPT 256		/* kernels that nobody holds */
/* Flat addresses of local data share have their offset there as their low half, and nothing else; LLVM knows. */
#define LDS_APERTURE (UINT64_C(1) << 32)
#define MAX_LDS (64u << 10)
#define AMDGPU_KERNEL 91	/* LLVM's calling convention */

struct simt_amdgcn {
	/* what it is made of */
	void *bitcode;
	size_t size;
	uint64_t hash;
	char *name;
	uint32_t wave, lds_static;

	struct simt_module *module;
	uint32_t kernarg_bytes;
	unsigned int refs;
	struct simt_amdgcn *next;
};

/* The one used last is first. */
static struct {
	pthread_mutex_t lock;
	struct simt_amdgcn *first;
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

/* Functions that it calls become part of it; loops get one entry, as AMD's compiler does it. */
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
		if (LLVMGetFunctionCallConv(f) == AMDGPU_KERNEL && !LLVMGetFirstUse(f)) {
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

/* Flags of denormal numbers that AMD's compiler would put into the wave's mode. */
static void check_mode(struct lane_code *l, LLVMValueRef kernel)
{
	static const char *const attr[] = { "denormal-fp-math", "denormal-fp-math-f32" };

	for (size_t i = 0; i < 2; i++) {
		LLVMAttributeRef a = LLVMGetStringAttributeAtIndex(kernel, LLVMAttributeFunctionIndex, attr[i], (unsigned int)strlen(attr[i]));
		unsigned int len = 0;
		const char *v = a ? LLVMGetStringAttributeValue(a, &len) : "";

		if (a && !(len == 9 && !memcmp(v, "ieee,ieee", len)) && !(len == 4 && !memcmp(v, "ieee", len)))
			lane_refuse(l, "denormal numbers as zeros (%s)", attr[i]);
	}
}

static void retarget(struct lane_code *l, const char *name)
{
	LLVMValueRef kernel;

	prepare(l, name);
	if (l->refused)
		return;
	kernel = LLVMGetNamedFunction(l->m, name);
	check_mode(l, kernel);
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

static enum hg_status read_bitcode(struct lane_code *l, const struct simt_amdgcn *k)
{
	LLVMMemoryBufferRef buf = LLVMCreateMemoryBufferWithMemoryRangeCopy(k->bitcode, k->size, "bitcode");
	LLVMBool failed = LLVMParseBitcodeInContext2(l->c, buf, &l->m);
	LLVMValueRef f;

	LLVMDisposeMemoryBuffer(buf);
	if (failed) {
		l->m = NULL;
		snprintf(l->why, l->why_size, "kernel '%s': its section of LLVM bitcode cannot be read", k->name);
		return HG_ERR_CORRUPT;
	}
	f = LLVMGetNamedFunction(l->m, k->name);
	if (!f || LLVMIsDeclaration(f) || LLVMGetFunctionCallConv(f) != AMDGPU_KERNEL) {
		snprintf(l->why, l->why_size, "the LLVM bitcode has no kernel '%s'", k->name);
		return HG_ERR_NOTFOUND;
	}
	if (strncmp(LLVMGetTarget(l->m), "amdgcn", 6)) {
		snprintf(l->why, l->why_size, "kernel '%s': LLVM bitcode for '%.60s'", k->name, LLVMGetTarget(l->m));
		return HG_ERR_UNSUPPORTED;
	}
	return HG_OK;
}

static enum hg_status make(struct simt_amdgcn *k, char *why, size_t why_size)
{
	struct lane_code l = { .wave = k->wave, .lds_static = k->lds_static, .why = why, .why_size = why_size };
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
		st = simt_module_create(simt_amdgcn_symbols, simt_amdgcn_nr_symbols, &k->module);
	if (st) {
		if (l.m)
			LLVMDisposeModule(l.m);
		LLVMContextDispose(l.c);
		return st;
	}
	k->kernarg_bytes = l.kernarg_bytes;
	desc.local_bytes = l.local_bytes;
	desc.waits = l.waits;
	return simt_module_add(k->module, l.c, l.m, &desc, 1);
}

/* ---- keeping them ---- */

static void destroy(struct simt_amdgcn *k)
{
	simt_module_free(k->module);
	free(k->bitcode);
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

static struct simt_amdgcn *find(const void *bitcode, size_t size, uint64_t hash, const char *name, uint32_t wave, uint32_t lds_static)
{
	for (struct simt_amdgcn **at = &kept.first, *k; (k = *at); at = &k->next)
		if (k->hash == hash && k->size == size && k->wave == wave && k->lds_static == lds_static && !strcmp(k->name, name) &&
		    !memcmp(k->bitcode, bitcode, size)) {
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

	for (struct simt_amdgcn **at = &kept.first, *k; (k = *at);) {
		if (k->refs || ++spare <= MAX_KEPT) {
			at = &k->next;
			continue;
		}
		*at = k->next;
		destroy(k);
	}
}

enum hg_status simt_amdgcn_get(const void *bitcode, size_t size, const char *name, uint32_t wave, uint32_t lds_static,
			       struct simt_amdgcn **out, char *why, size_t why_size)
{
	uint64_t hash = hash_of(bitcode, size);
	struct simt_amdgcn *k;
	enum hg_status st = HG_OK;

	if (why_size)
		why[0] = 0;
	pthread_mutex_lock(&kept.lock);
	k = find(bitcode, size, hash, name, wave, lds_static);
	if (!k) {
		k = calloc(1, sizeof(*k));
		st = k ? HG_OK : HG_ERR_NOMEM;
		if (k) {
			*k = (struct simt_amdgcn){ .bitcode = malloc(size + 1), .size = size, .hash = hash, .name = strdup(name), .wave = wave,
						   .lds_static = lds_static };
			if (!k->bitcode || !k->name)
				st = HG_ERR_NOMEM;
		}
		if (!st) {
			memcpy(k->bitcode, bitcode, size);
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

void simt_amdgcn_put(struct simt_amdgcn *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&kept.lock);
	k->refs--;
	forget_old();
	pthread_mutex_unlock(&kept.lock);
}

uint32_t simt_amdgcn_kernarg_bytes(const struct simt_amdgcn *k)
{
	return k->kernarg_bytes;
}

/* ---- launches ---- */

enum hg_status simt_amdgcn_run(struct simt_amdgcn *k, const struct simt_amdgcn_launch *l, char *why, size_t why_size)
{
	uint64_t items = (uint64_t)l->block[0] * l->block[1] * l->block[2];
	struct simt_amdgcn_grid grid = {
		.kernarg = l->kernarg, .block = { l->block[0], l->block[1], l->block[2] }, .items = (uint32_t)items,
		.patience_ns = (uint64_t)(l->patience_ms ? l->patience_ms : DEFAULT_PATIENCE_MS) * 1000000,
	};
	/* to the layer below, waves are threads */
	struct simt_launch launch = {
		.grid = { l->grid[0], l->grid[1], l->grid[2] }, .block = { ((uint32_t)items + k->wave - 1) / k->wave, 1, 1 },
		.shared_bytes = l->lds_dynamic, .warp_size = 32, .cooperative = l->cooperative, .params = &grid,
		.shared_align = LDS_APERTURE,
	};

	if (why_size)
		why[0] = 0;
	if (!items || items > SIMT_MAX_ITEMS || l->block[0] > SIMT_MAX_ITEMS || l->block[1] > SIMT_MAX_ITEMS || !l->grid[0] || !l->grid[1] ||
	    !l->grid[2]) {
		snprintf(why, why_size, "kernel '%s': no grid of (%u,%u,%u) blocks of (%u,%u,%u) work-items", k->name, l->grid[0], l->grid[1],
			 l->grid[2], l->block[0], l->block[1], l->block[2]);
		return HG_ERR_INVALID;
	}
	if ((uint64_t)k->lds_static + l->lds_dynamic > MAX_LDS) {
		snprintf(why, why_size, "kernel '%s': %u and %u bytes of local data share, of 65536", k->name, k->lds_static, l->lds_dynamic);
		return HG_ERR_INVALID;
	}
	if (l->kernarg_bytes < k->kernarg_bytes) {
		snprintf(why, why_size, "kernel '%s': %zu bytes of arguments, where it reads %u", k->name, l->kernarg_bytes, k->kernarg_bytes);
		return HG_ERR_INVALID;
	}
	return simt_run(k->module, &launch, why, why_size);
}
