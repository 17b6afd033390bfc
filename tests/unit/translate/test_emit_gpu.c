/* test_emit_gpu.c - code for AMD's GPUs: every operation becomes LLVM IR that is valid, and that LLVM makes instructions of. */
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "tests/unit/translate/code_util.h"
#include "translate/emit_gpu.h"

static const struct chip {
	const char *name;
	enum hg_gpu_layout layout;
} chips[] = { { "gfx90a", HG_GPU_HALF }, { "gfx90a", HG_GPU_PAIR }, { "gfx1100", HG_GPU_WAVE32 }, { "gfx1201", HG_GPU_WAVE32 } };
#define NR_CHIPS (sizeof(chips) / sizeof(*chips))

static LLVMTargetMachineRef machine(const char *cpu)
{
	LLVMTargetRef target;
	char *why = NULL;

	LLVMInitializeAMDGPUTargetInfo();
	LLVMInitializeAMDGPUTarget();
	LLVMInitializeAMDGPUTargetMC();
	LLVMInitializeAMDGPUAsmPrinter();
	cr_assert_not(LLVMGetTargetFromTriple("amdgcn-amd-amdhsa", &target, &why), "%s", why);
	return LLVMCreateTargetMachine(target, "amdgcn-amd-amdhsa", cpu, "", LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
}

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *arg)
{
	char *text = LLVMGetDiagInfoDescription(info);

	(void)arg;
	cr_expect(LLVMGetDiagInfoSeverity(info) != LLVMDSError, "%s", text);
	LLVMDisposeMessage(text);
}

/* The kernel's assembly, malloc'ed; NULL: refused, `why` says why. */
static char *assembly(const struct ir_func *fn, const struct chip *chip, char *why, size_t why_size)
{
	struct emit_gpu_options opt = { .layout = chip->layout, .max_threads = 256, .local_bytes = fn->local_bytes + (fn->uses_stack ? 1024 : 0) };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("kernel", c);
	LLVMTargetMachineRef tm = machine(chip->name);
	LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
	LLVMPassBuilderOptionsRef passes = LLVMCreatePassBuilderOptions();
	LLVMMemoryBufferRef buffer = NULL;
	char *text = NULL, *error = NULL;
	uint32_t extra_lds;
	enum hg_status st;

	LLVMContextSetDiagnosticHandler(c, on_diagnostic, NULL);
	LLVMSetTarget(m, "amdgcn-amd-amdhsa");
	LLVMSetModuleDataLayout(m, layout);
	st = emit_amdgcn(fn, &opt, c, m, "kernel", &extra_lds, why, why_size);
	if (st == HG_OK) {
		cr_expect_not(LLVMVerifyModule(m, LLVMReturnStatusAction, &error), "kernel '%s': %s", fn->name, error);
		cr_assert_null(LLVMRunPasses(m, "function(sroa,early-cse,simplifycfg,instcombine<no-verify-fixpoint>)", tm, passes));
		cr_assert_not(LLVMTargetMachineEmitToMemoryBuffer(tm, m, LLVMAssemblyFile, &error, &buffer), "%s", error);
		text = strdup(LLVMGetBufferStart(buffer));
		LLVMDisposeMemoryBuffer(buffer);
	} else {
		cr_expect_eq(st, HG_ERR_UNSUPPORTED);
	}
	LLVMDisposePassBuilderOptions(passes);
	LLVMDisposeTargetData(layout);
	LLVMDisposeTargetMachine(tm);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
	return text;
}

static void compile_file(const char *name, const struct chip *chip)
{
	size_t size;
	char *text = read_test_file(name, &size);
	struct hg_module *m = load_text(text);
	const struct ir_module *ir = hg_module_ir(m);

	for (uint32_t i = 0; i < ir->nr_funcs; i++) {
		char why[128] = "", *code;

		if (ir->func[i].refused)
			continue;
		code = assembly(&ir->func[i], chip, why, sizeof(why));
		if (!code)
			fprintf(stderr, "%s %s %s: %s\n", chip->name, name, ir->func[i].name, why);
		free(code);
	}
	hg_module_free(m);
	free(text);
}

Test(emit_gpu, every_operation_becomes_code, .timeout = 120)
{
	static const char *const file[] = { "tests/ptx/arith.ptx", "tests/ptx/control.ptx", "tests/ptx/functions.ptx",
		"tests/ptx/memory.ptx", "tests/ptx/grammar.ptx", "tests/ptx/texture.ptx", "tests/ptx/matrix.ptx" };

	for (size_t k = 0; k < NR_CHIPS; k++)
		for (size_t i = 0; i < sizeof(file) / sizeof(*file); i++)
			compile_file(file[i], &chips[k]);
}
