/* test_sched.c - kernels for AMD's GPUs in both forms: what LLVM takes as valid, and makes instructions of. */
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "tests/unit/translate/code_util.h"
#include "translate/emit_gpu.h"

static const struct chip {
	const char *name;
	enum hg_gpu_layout layout;
} chips[] = { { "gfx90a", HG_GPU_HALF }, { "gfx90a", HG_GPU_PAIR }, { "gfx1100", HG_GPU_WAVE32 } };

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

/* The kernel's LLVM IR and assembly, malloc'ed. False: refused. */
static bool compile(const struct ir_func *fn, const struct chip *chip, bool scheduled, char **ir, char **code, uint32_t *lds)
{
	struct emit_gpu_options opt = { .layout = chip->layout, .scheduled = scheduled, .max_threads = 256,
					.local_bytes = fn->local_bytes + (fn->uses_stack ? 1024 : 0) };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("kernel", c);
	LLVMTargetMachineRef tm = machine(chip->name);
	LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
	LLVMPassBuilderOptionsRef passes = LLVMCreatePassBuilderOptions();
	LLVMMemoryBufferRef buffer = NULL;
	char why[128] = "", *error = NULL;
	enum hg_status st;

	LLVMSetTarget(m, "amdgcn-amd-amdhsa");
	LLVMSetModuleDataLayout(m, layout);
	st = emit_amdgcn(fn, &opt, c, m, "kernel", lds, why, sizeof(why));
	if (st == HG_OK) {
		*ir = LLVMPrintModuleToString(m);
		cr_assert_not(LLVMVerifyModule(m, LLVMReturnStatusAction, &error), "kernel '%s': %s", fn->name, error);
		cr_assert_null(LLVMRunPasses(m, "function(sroa,early-cse,simplifycfg,instcombine<no-verify-fixpoint>)", tm, passes));
		cr_assert_not(LLVMTargetMachineEmitToMemoryBuffer(tm, m, LLVMAssemblyFile, &error, &buffer), "%s", error);
		*code = strdup(LLVMGetBufferStart(buffer));
		LLVMDisposeMemoryBuffer(buffer);
	} else {
		cr_expect_eq(st, HG_ERR_UNSUPPORTED);
	}
	LLVMDisposePassBuilderOptions(passes);
	LLVMDisposeTargetData(layout);
	LLVMDisposeTargetMachine(tm);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
	return st == HG_OK;
}

static void both_forms(const char *name, const struct chip *chip)
{
	size_t size;
	char *text = read_test_file(name, &size);
	struct hg_module *m = load_text(text);
	const struct ir_module *ir = hg_module_ir(m);

	for (uint32_t i = 0; i < ir->nr_funcs; i++) {
		char *llvm = NULL, *code = NULL;
		bool ok[2];

		for (int scheduled = 0; scheduled < 2; scheduled++) {
			uint32_t lds;

			ok[scheduled] = !ir->func[i].refused && compile(&ir->func[i], chip, scheduled, &llvm, &code, &lds);
			if (!ok[scheduled])
				continue;
			LLVMDisposeMessage(llvm);
			free(code);
		}
		cr_expect_eq(ok[0], ok[1], "kernel '%s' on %s", ir->func[i].name, chip->name);
	}
	hg_module_free(m);
	free(text);
}

Test(sched, what_one_form_can_do_the_other_can, .timeout = 120)
{
	static const char *const file[] = { "tests/ptx/control.ptx", "tests/ptx/functions.ptx", "tests/ptx/memory.ptx",
		"tests/ptx/nvcc13_scan.ptx", "tests/ptx/nvcc13_cg.ptx" };

	for (size_t k = 0; k < sizeof(chips) / sizeof(*chips); k++)
		for (size_t i = 0; i < sizeof(file) / sizeof(*file); i++)
			both_forms(file[i], &chips[k]);
}
