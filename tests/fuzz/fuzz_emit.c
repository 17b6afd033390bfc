/* fuzz_emit.c - what parser and verifier accept becomes valid LLVM IR for every target, in every variant, or is refused with a reason. */
#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <spirv-tools/libspirv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "tests/fuzz/text.h"
#include "translate/emit.h"
#include "translate/emit_gpu.h"
#include "translate/ir.h"
#include "translate/spirv_write.h"

static unsigned int nr_messages;

static void count(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
	nr_messages++;
}

static void emit_one(const struct ir_func *fn, const struct emit_options *opt)
{
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("fuzz", c);
	enum hg_status st;
	char *why = NULL;

	nr_messages = 0;
	st = emit_llvm(fn, opt, c, m, "kernel");
	if (st == HG_ERR_UNSUPPORTED && !nr_messages)
		abort();
	if (!st && LLVMVerifyModule(m, LLVMReturnStatusAction, &why)) {
		fprintf(stderr, "invalid LLVM IR: %s\n", why);
		abort();
	}
	LLVMDisposeMessage(why);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
}

static void emit_for_gpu(const struct ir_func *fn, enum hg_gpu_layout layout, bool scheduled)
{
	struct emit_gpu_options opt = { .layout = layout, .scheduled = scheduled, .max_threads = 256, .local_bytes = fn->local_bytes + (fn->uses_stack ? 1024 : 0) };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("fuzz", c);
	char why[128] = "", *bad = NULL;
	enum hg_status st;
	uint32_t extra;

	LLVMSetTarget(m, "amdgcn-amd-amdhsa");
	/* as the target machine has it, which is not needed for more */
	LLVMSetDataLayout(m, "e-p:64:64-p1:64:64-p2:32:32-p3:32:32-p4:64:64-p5:32:32-p6:32:32-i64:64-n32:64-S32-A5-G1");
	st = emit_amdgcn(fn, &opt, c, m, "kernel", &extra, why, sizeof(why));
	if (st == HG_ERR_UNSUPPORTED && (!why[0] || strstr(why, "invalid code")))
		abort();
	if (!st && LLVMVerifyModule(m, LLVMReturnStatusAction, &bad)) {
		fprintf(stderr, "invalid LLVM IR: %s\n", bad);
		abort();
	}
	LLVMDisposeMessage(bad);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
}

/* What the emitter makes the writer takes, and the validator takes what that makes. */
static void emit_for_spirv(const struct ir_func *fn, bool scheduled)
{
	struct emit_gpu_options emit = { .layout = HG_GPU_WAVE32, .scheduled = scheduled, .whole = !scheduled && fn->nr_regs & 1,
					 .no_f64 = fn->nr_regs & 2, .max_threads = 256, .local_bytes = fn->local_bytes + (fn->uses_stack ? 1024 : 0) };
	struct spirv_write_options opt = { .kernel = "kernel", .max_threads = 256 };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("fuzz", c);
	spv_context tools = spvContextCreate(SPV_ENV_UNIVERSAL_1_3);
	spv_diagnostic bad = NULL;
	uint32_t extra, *words = NULL, version;
	char why[300] = "";
	size_t nr = 0;
	enum hg_status st = emit_spirv(fn, &emit, c, m, "kernel", &extra, why, sizeof(why));

	if (st == HG_ERR_UNSUPPORTED && (!why[0] || strstr(why, "invalid code")))
		abort();
	if (!st) {
		st = spirv_write(m, &opt, &words, &nr, &version, why, sizeof(why));
		if (st == HG_ERR_UNSUPPORTED)
			fprintf(stderr, "the emitter's code is refused: %s\n", why);
		else if (!st && spvValidateBinary(tools, words, nr, &bad) != SPV_SUCCESS)
			fprintf(stderr, "invalid SPIR-V: %s\n", bad ? bad->error : "");
		if (st == HG_ERR_UNSUPPORTED || bad)
			abort();
	}
	free(words);
	spvContextDestroy(tools);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
}

static void emit_all(const struct ir_module *ir)
{
	static const struct emit_options options[] = {
		{ .masked_wide = true, .masked_narrow = true, .mask_registers = true, .gathers = true },
		{ .free_order = true, .masked_wide = true },
		{ .check = true },
	};

	for (uint32_t i = 0; i < ir->nr_funcs; i++) {
		const struct ir_func *fn = &ir->func[i];

		/* LLVM's own verifier is not linear in what a long input can hold */
		if (fn->refused || fn->nr_blocks > 200)
			continue;
		for (size_t k = 0; k < sizeof(options) / sizeof(options[0]); k++)
			emit_one(fn, &options[k]);
		emit_for_gpu(fn, (enum hg_gpu_layout)(fn->nr_regs % 3), false);
		emit_for_gpu(fn, (enum hg_gpu_layout)(fn->nr_regs % 3), true);
		emit_for_spirv(fn, false);
		emit_for_spirv(fn, true);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hg_msg_sink_set(count, NULL);
	fuzz_text(data, size, emit_all);
	return 0;
}
