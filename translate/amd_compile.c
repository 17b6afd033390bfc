/* amd_compile.c - LLVM's middle and end for amdgcn, and the linker. */
#include "translate/amd_compile.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "common/msg.h"
#include "translate/amd_comgr.h"
#include "translate/amd_llvm.h"
#include "translate/elf_object.h"
#include "translate/llvm_start.h"

#define EMBEDDED ".llvmbc"
#define GLOBAL_SPACE 1

static void start(void)
{
	llvm_start();
	LLVMInitializeAMDGPUTargetInfo();
	LLVMInitializeAMDGPUTarget();
	LLVMInitializeAMDGPUTargetMC();
	LLVMInitializeAMDGPUAsmPrinter();
}

/* What the thread that compiles works on. */
struct work {
	struct amd_compile *job;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMTargetMachineRef tm;
	enum hg_status st;
	bool failed;			/* LLVM said so, and went on */
	void *out;
	size_t size;
};

static void on_diagnosis(LLVMDiagnosticInfoRef info, void *arg)
{
	struct work *w = arg;
	bool is_first = LLVMGetDiagInfoSeverity(info) == LLVMDSError && !w->failed;
	char *text;

	if (!is_first)
		return;
	text = LLVMGetDiagInfoDescription(info);
	snprintf(w->job->why, sizeof(w->job->why), "%s", text);
	LLVMDisposeMessage(text);
	w->failed = true;
}

/* The chip that the LLVM in here works for. */
static const char *llvm_chip(const struct hg_amd_chip *chip)
{
	return chip->like[0] ? chip->like : chip->name;
}

static void set_attribute(struct work *w, LLVMValueRef fn, const char *name, const char *value)
{
	LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
				LLVMCreateStringAttribute(w->c, name, (unsigned int)strlen(name), value, (unsigned int)strlen(value)));
}

static void set_chip(struct work *w, const char *name)
{
	for (LLVMValueRef f = LLVMGetFirstFunction(w->m); f; f = LLVMGetNextFunction(f))
		if (!LLVMIsDeclaration(f))
			set_attribute(w, f, "target-cpu", name);
}

/* What the code is made for, as far as that is not the emitter's business. */
static bool describe(struct work *w)
{
	static const char version[] = "amdhsa_code_object_version";
	LLVMValueRef fn = LLVMGetNamedFunction(w->m, w->job->kernel);
	const char *features = w->job->chip->like[0] ? "" : w->job->chip->features;
	char items[32], all[sizeof(w->job->chip->features) + 32];

	if (!fn) {
		snprintf(w->job->why, sizeof(w->job->why), "the emitter made no function of that name");
		return false;
	}
	LLVMSetVisibility(fn, LLVMProtectedVisibility);		/* found from outside, and never another's */
	snprintf(items, sizeof(items), "1,%u", w->job->max_work_items);
	set_attribute(w, fn, "amdgpu-flat-work-group-size", items);
	set_attribute(w, fn, "uniform-work-group-size", "true");
	/* the kernel's own arguments are all that there are (gpu_abi.h) */
	set_attribute(w, fn, "amdgpu-implicitarg-num-bytes", "0");
	set_chip(w, llvm_chip(w->job->chip));
	/* local arrays would come to lie where the block's shared memory is, of which LLVM knows nothing */
	snprintf(all, sizeof(all), "%s%s-promote-alloca", features, features[0] ? "," : "");
	set_attribute(w, fn, "target-features", all);
	if (!LLVMGetModuleFlag(w->m, version, sizeof(version) - 1))
		LLVMAddModuleFlag(w->m, LLVMModuleFlagBehaviorError, version, sizeof(version) - 1,
				  LLVMValueAsMetadata(LLVMConstInt(LLVMInt32TypeInContext(w->c), 500, false)));
	return true;
}

static bool optimise(struct work *w)
{
	LLVMPassBuilderOptionsRef options;
	LLVMErrorRef err;
	char *text = NULL;

	if (LLVMVerifyModule(w->m, LLVMReturnStatusAction, &text)) {
		snprintf(w->job->why, sizeof(w->job->why), "the emitter made invalid code: %s", text);
		LLVMDisposeMessage(text);
		return false;
	}
	LLVMDisposeMessage(text);
	options = LLVMCreatePassBuilderOptions();
	err = LLVMRunPasses(w->m, "default<O2>", w->tm, options);
	LLVMDisposePassBuilderOptions(options);
	if (err) {
		text = LLVMGetErrorMessage(err);
		snprintf(w->job->why, sizeof(w->job->why), "%s", text);
		LLVMDisposeErrorMessage(text);
		return false;
	}
	return !w->failed;
}

/* The module as it is now goes into a constant of itself. */
static void embed(struct work *w)
{
	LLVMMemoryBufferRef bitcode = LLVMWriteBitcodeToMemoryBuffer(w->m);
	LLVMValueRef bytes = LLVMConstStringInContext2(w->c, LLVMGetBufferStart(bitcode), LLVMGetBufferSize(bitcode), true);
	LLVMValueRef g = LLVMAddGlobalInAddressSpace(w->m, LLVMTypeOf(bytes), "hgshim.bitcode", GLOBAL_SPACE), used;

	LLVMDisposeMemoryBuffer(bitcode);
	LLVMSetInitializer(g, bytes);
	LLVMSetGlobalConstant(g, true);
	LLVMSetLinkage(g, LLVMPrivateLinkage);
	LLVMSetAlignment(g, 16);
	LLVMSetSection(g, EMBEDDED);
	used = LLVMAddGlobal(w->m, LLVMArrayType2(LLVMTypeOf(g), 1), "llvm.compiler.used");
	LLVMSetInitializer(used, LLVMConstArray2(LLVMTypeOf(g), &g, 1));
	LLVMSetLinkage(used, LLVMAppendingLinkage);
	LLVMSetSection(used, "llvm.metadata");
}

static bool keep(struct work *w, const char *bytes, size_t size)
{
	w->out = malloc(size + 1);
	if (!w->out) {
		w->st = HG_ERR_NOMEM;
		return false;
	}
	memcpy(w->out, bytes, size);
	((char *)w->out)[size] = 0;
	w->size = size;
	return true;
}

static bool generate(struct work *w)
{
	LLVMMemoryBufferRef buf;
	char *text = NULL;
	bool kept;

	if (w->job->result == AMD_LLVM_TEXT) {
		text = LLVMPrintModuleToString(w->m);
		kept = keep(w, text, strlen(text));
		LLVMDisposeMessage(text);
		return kept;
	}
	if (w->job->embed)
		embed(w);
	if (w->job->result == AMD_CODE_OBJECT && w->job->chip->like[0]) {
		set_chip(w, w->job->chip->name);
		buf = LLVMWriteBitcodeToMemoryBuffer(w->m);
		kept = keep(w, LLVMGetBufferStart(buf), LLVMGetBufferSize(buf));
		LLVMDisposeMemoryBuffer(buf);
		return kept;
	}
	if (LLVMTargetMachineEmitToMemoryBuffer(w->tm, w->m, w->job->result == AMD_ASSEMBLY ? LLVMAssemblyFile : LLVMObjectFile, &text, &buf)) {
		snprintf(w->job->why, sizeof(w->job->why), "%s", text);
		LLVMDisposeMessage(text);
		return false;
	}
	kept = !w->failed && keep(w, LLVMGetBufferStart(buf), LLVMGetBufferSize(buf));
	LLVMDisposeMemoryBuffer(buf);
	return kept;
}

static bool prepare(struct work *w)
{
	LLVMTargetDataRef layout;
	LLVMTargetRef target;
	char *text = NULL;

	if (LLVMGetTargetFromTriple(AMD_TRIPLE, &target, &text)) {
		snprintf(w->job->why, sizeof(w->job->why), "%s", text);
		LLVMDisposeMessage(text);
		return false;
	}
	w->c = LLVMContextCreate();
	LLVMContextSetDiagnosticHandler(w->c, on_diagnosis, w);
	w->m = LLVMModuleCreateWithNameInContext(w->job->kernel, w->c);
	w->tm = LLVMCreateTargetMachine(target, AMD_TRIPLE, llvm_chip(w->job->chip), w->job->chip->like[0] ? "" : w->job->chip->features,
					LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
	layout = LLVMCreateTargetDataLayout(w->tm);
	LLVMSetModuleDataLayout(w->m, layout);
	LLVMDisposeTargetData(layout);
	LLVMSetTarget(w->m, AMD_TRIPLE);
	return true;
}

static void compile_main(void *arg)
{
	struct work *w = arg;

	w->st = HG_ERR_UNSUPPORTED;
	if (!prepare(w))
		return;
	w->st = w->job->fill(w->job->arg, w->c, w->m, w->job->why, sizeof(w->job->why));
	if (!w->st && !(describe(w) && optimise(w) && generate(w)))
		w->st = w->st ? w->st : HG_ERR_UNSUPPORTED;
	LLVMDisposeTargetMachine(w->tm);
	LLVMDisposeModule(w->m);
	LLVMContextDispose(w->c);
}

/* ---- linking ---- */

struct link {
	const void *object;
	size_t object_size;
	void *out;
	size_t size;
	char *why;
	size_t why_size;
	bool is_linked;
};

static void link_main(void *arg)
{
	struct link *l = arg;

	l->is_linked = amd_llvm_link(l->object, l->object_size, &l->out, &l->size, l->why, l->why_size);
}

/* "amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-" */
static void target_of(const struct hg_amd_chip *chip, char *out, size_t room)
{
	const char *f = chip->features;

	snprintf(out, room, AMD_TRIPLE "--%s", chip->name);
	while (*f) {
		size_t n = strcspn(f, ","), used = strlen(out);

		snprintf(out + used, room - used, ":%.*s%c", (int)n - 1, f + 1, *f);
		f += n + (f[n] == ',');
	}
}

static enum hg_status by_comgr(enum amd_comgr_action action, const struct hg_amd_chip *chip, const void *in, size_t in_size, void **out, size_t *size,
			       char *why, size_t why_size)
{
	char target[256];

	target_of(chip, target, sizeof(target));
	return amd_comgr_make(action, target, in, in_size, out, size, why, why_size);
}

enum hg_status amd_link(const struct hg_amd_chip *chip, const void *object, size_t object_size, void **out, size_t *size, char *why,
			size_t why_size)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool is_broken;		/* lld was left in the middle */
	struct link l = { .object = object, .object_size = object_size, .why = why, .why_size = why_size };

	bool was_broken;

	llvm_start();
	pthread_mutex_lock(&lock);
	was_broken = is_broken;
	if (!is_broken)
		is_broken = !llvm_run(link_main, &l, why, why_size);
	pthread_mutex_unlock(&lock);
	/* never what lld itself gave up on: comgr's own would end the process */
	if (was_broken) {
		enum hg_status st = by_comgr(AMD_COMGR_LINK, chip, object, object_size, out, size, why, why_size);

		if (st == HG_ERR_UNAVAILABLE)
			snprintf(why, why_size, "the linker failed before and cannot be used again, and there is no comgr");
		else if (!st)
			pr_info("linked by comgr, as lld failed before");
		return st ? HG_ERR_UNSUPPORTED : HG_OK;
	}
	if (!l.is_linked)
		return HG_ERR_UNSUPPORTED;
	*out = l.out;
	*size = l.size;
	return HG_OK;
}

/* LLVM marks the section as one that linkers drop. */
static void keep_embedded(void *object, size_t size)
{
	Elf64_Shdr names, sh;
	Elf64_Ehdr e;

	if (!elf_object_open(object, size, &e) || !elf_object_section(object, size, &e, e.e_shstrndx, &names))
		return;
	for (size_t i = 1; i < e.e_shnum; i++) {
		const char *name;

		if (!elf_object_section(object, size, &e, i, &sh))
			continue;
		name = elf_object_text(object, &names, sh.sh_name);
		if (!name || strcmp(name, EMBEDDED))
			continue;
		sh.sh_flags &= ~(Elf64_Xword)SHF_EXCLUDE;
		memcpy((unsigned char *)object + e.e_shoff + i * sizeof(sh), &sh, sizeof(sh));
	}
}

enum hg_status amd_compile(struct amd_compile *job, void **out, size_t *size)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct work w = { .job = job };
	enum hg_status st;

	pthread_once(&once, start);
	job->why[0] = 0;
	if (!llvm_run(compile_main, &w, job->why, sizeof(job->why)))
		return HG_ERR_UNSUPPORTED;
	if (w.st || job->result != AMD_CODE_OBJECT) {
		if (!w.st) {
			*out = w.out;
			*size = w.size;
		}
		return w.st;
	}
	if (job->chip->like[0]) {
		void *bitcode = w.out;

		st = by_comgr(AMD_COMGR_COMPILE, job->chip, bitcode, w.size, &w.out, &w.size, job->why, sizeof(job->why));
		free(bitcode);
		if (st)
			return st;
	}
	if (job->embed)
		keep_embedded(w.out, w.size);
	st = amd_link(job->chip, w.out, w.size, out, size, job->why, sizeof(job->why));
	free(w.out);
	return st;
}
