/* test_emit_gpu.c - code for AMD's GPUs: every operation becomes LLVM IR that is valid, and that LLVM makes instructions of. */
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "tests/unit/translate/code_util.h"
#include "translate/emit_gpu.h"
#include "translate/expand.h"

static const struct chip {
	const char *name;
	enum hg_gpu_layout layout;
} chips[] = { { "gfx90a", HG_GPU_HALF }, { "gfx90a", HG_GPU_PAIR }, { "gfx1100", HG_GPU_WAVE32 }, { "gfx1201", HG_GPU_WAVE32 } };
#define NR_CHIPS (sizeof(chips) / sizeof(*chips))
enum { HALF, PAIR, WAVE32 };

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

/* The kernel's assembly in one of its forms, malloc'ed; NULL: refused, `why` says why. */
static char *assembly(const struct ir_func *fn, const struct chip *chip, bool scheduled, char *why, size_t why_size)
{
	struct emit_gpu_options opt = { .layout = chip->layout, .scheduled = scheduled, .max_threads = 256,
					.local_bytes = fn->local_bytes + (fn->uses_stack ? 1024 : 0) };
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

/* No GPU has these, and a kernel with one is refused. */
static bool is_wide_atom(const struct ir_insn *in)
{
	return in->op == IR_atom && ir_type_bits(in->type) > 64;
}

/* The module's kernels without them, and without what expand.h takes away. */
static struct ir_module *expanded(const struct ir_module *m)
{
	struct ir_module some = *m, *out;
	struct ir_block *block;

	some.func = calloc(m->nr_funcs + 1, sizeof(*some.func));
	for (uint32_t i = 0; i < m->nr_funcs; i++) {
		some.func[i] = m->func[i];
		block = calloc(m->func[i].nr_blocks + 1, sizeof(*block));
		for (uint32_t b = 0; b < m->func[i].nr_blocks; b++) {
			const struct ir_block *from = &m->func[i].block[b];

			block[b].insn = calloc(from->nr_insns, sizeof(*block[b].insn));
			for (uint32_t k = 0; k < from->nr_insns; k++)
				if (!is_wide_atom(&from->insn[k]))
					block[b].insn[block[b].nr_insns++] = from->insn[k];
		}
		some.func[i].block = block;
	}
	cr_assert_eq(hg_expand(&some, &out), HG_OK);
	for (uint32_t i = 0; i < m->nr_funcs; i++) {
		for (uint32_t b = 0; b < m->func[i].nr_blocks; b++)
			free(some.func[i].block[b].insn);
		free(some.func[i].block);
	}
	free(some.func);
	return out;
}

/* What expand.h takes away in every form. */
static bool is_expanded(unsigned int op)
{
	switch (op) {
	case IR_tex: case IR_mma: case IR_ldmatrix: case IR_stmatrix: case IR_movmatrix: case IR_match: case IR_redux: case IR_vprintf:
	case IR_assertfail:
		return true;
	default:
		return false;
	}
}

/* Operations that the files have. */
static bool seen[IR_OP_COUNT];

static void compile_file(const char *name, const struct chip *chip, bool scheduled)
{
	size_t size;
	char *text = read_test_file(name, &size);
	struct hg_module *m = load_text(text);
	struct ir_module *ir = expanded(hg_module_ir(m));

	for (uint32_t i = 0; i < ir->nr_funcs; i++) {
		const struct ir_func *fn = &ir->func[i];
		char why[128] = "", *code;

		if (fn->refused)
			continue;
		for (uint32_t b = 0; b < fn->nr_blocks; b++)
			for (uint32_t k = 0; k < fn->block[b].nr_insns; k++)
				seen[fn->block[b].insn[k].op] = true;
		code = assembly(fn, chip, scheduled, why, sizeof(why));
		cr_expect(code, "%s, %s, kernel '%s'%s: %s", chip->name, name, fn->name, scheduled ? ", scheduled" : "", why);
		free(code);
	}
	ir_module_free(ir);
	hg_module_free(m);
	free(text);
}

Test(emit_gpu, every_operation_becomes_code_for_every_chip, .timeout = 120)
{
	static const char *const file[] = { "tests/ptx/arith.ptx", "tests/ptx/control.ptx", "tests/ptx/functions.ptx",
		"tests/ptx/memory.ptx", "tests/ptx/grammar.ptx", "tests/ptx/nvcc13_reduction.ptx", "tests/ptx/nvcc13_cg.ptx" };

	for (size_t k = 0; k < NR_CHIPS; k++)
		for (size_t i = 0; i < sizeof(file) / sizeof(*file); i++)
			compile_file(file[i], &chips[k], false);
	/* long ones, and of the same operations */
	compile_file("tests/ptx/texture.ptx", &chips[2], false);
	compile_file("tests/ptx/matrix.ptx", &chips[2], false);
	for (unsigned int op = 0; op < IR_OP_COUNT; op++)
		cr_expect(seen[op] || is_expanded(op), "no file has a '%s'", ir_op_desc[op].name);
}

/* Lanes with program counters of their own can do what those that go together can. */
Test(emit_gpu, the_other_form_becomes_code_as_well, .timeout = 120)
{
	static const char *const file[] = { "tests/ptx/control.ptx", "tests/ptx/memory.ptx", "tests/ptx/functions.ptx",
		"tests/ptx/nvcc13_scan.ptx", "tests/ptx/nvcc13_cg.ptx" };

	for (size_t i = 0; i < sizeof(file) / sizeof(*file); i++)
		compile_file(file[i], &chips[WAVE32], true);
	for (size_t k = HALF; k <= PAIR; k++)
		for (size_t i = 0; i < 2; i++)
			compile_file(file[i], &chips[k], true);
}

/* ---- what becomes of some of them ---- */

static char *code_of(const char *body, size_t chip)
{
	char text[4096], why[128] = "", *code;
	struct hg_module *m = load_text(kernel_around("ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n];\n", body, "", text, sizeof(text)));

	cr_assert_null(hg_module_kernel(m, 0)->refused, "%s", hg_module_kernel(m, 0)->refused);
	code = assembly(&hg_module_ir(m)->func[0], &chips[chip], false, why, sizeof(why));
	cr_assert(code, "%s", why);
	hg_module_free(m);
	return code;
}

static void expect_code(const char *body, size_t chip, const char *has, const char *has_not)
{
	char *code = code_of(body, chip);

	cr_expect(!has || strstr(code, has), "%s: '%s' gives no %s:\n%s", chips[chip].name, body, has, code);
	cr_expect(!has_not || !strstr(code, has_not), "%s: '%s' gives %s:\n%s", chips[chip].name, body, has_not, code);
	free(code);
}

/* of values that differ from lane to lane */
#define SHUFFLE(what) "mov.u32 %r4, %tid.x; mad.wide.u32 %rd1, %r4, 4, %rd1; ld.global.u32 %r2, [%rd1];" \
		      "shfl.sync." what ", -1; st.global.u32 [%rd1], %r3;"

Test(emit_gpu, lanes_exchange_without_local_data_share_where_the_chip_can)
{
	static const char *const each[] = { SHUFFLE("down.b32 %r3, %r2, 16, 31"), SHUFFLE("down.b32 %r3, %r2, 5, 31"),
		SHUFFLE("up.b32 %r3, %r2, 1, 0"), SHUFFLE("bfly.b32 %r3, %r2, 16, 31"), SHUFFLE("bfly.b32 %r3, %r2, 13, 31"),
		SHUFFLE("idx.b32 %r3, %r2, 7, 31"), SHUFFLE("up.b32 %r3, %r2, 3, 0x1800"), SHUFFLE("down.b32 %r3, %r2, 2, 0x181f") };

	for (size_t i = 0; i < sizeof(each) / sizeof(*each); i++)
		expect_code(each[i], WAVE32, NULL, "ds_");
	expect_code(SHUFFLE("bfly.b32 %r3, %r2, 2, 31"), HALF, "quad_perm:[2,3,0,1]", "ds_");
	expect_code(SHUFFLE("bfly.b32 %r3, %r2, 8, 31"), PAIR, "row_ror:8", "ds_");
	expect_code(SHUFFLE("up.b32 %r3, %r2, 3, 0x1000"), PAIR, "row_shr:3", "ds_");
	expect_code(SHUFFLE("bfly.b32 %r3, %r2, 16, 31"), PAIR, "ds_swizzle_b32", "ds_bpermute");
	expect_code(SHUFFLE("idx.b32 %r3, %r2, 7, 31"), HALF, "v_readlane", "ds_");
	expect_code(SHUFFLE("idx.b32 %r3, %r2, %r1, 31"), WAVE32, "ds_bpermute", NULL);
}

Test(emit_gpu, vectors_are_one_access)
{
	expect_code("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1]; st.global.v4.f32 [%rd1+16], {%f4, %f3, %f2, %f1};", WAVE32,
		    "global_store_b128", "global_store_b32");
	expect_code("ld.shared.v4.u32 {%r1, %r2, %r3, %r4}, [%r1]; st.global.v2.u32 [%rd1], {%r4, %r2};", HALF, "ds_read_b128", "ds_read_b32");
}

Test(emit_gpu, a_branch_that_all_lanes_take_alike_is_scalar)
{
	expect_code("setp.eq.u32 %p1, %r1, 0; @%p1 bra L; atom.global.add.u32 %r2, [%rd1], 1; L: ret;", WAVE32, "s_cbranch_scc", NULL);
}

Test(emit_gpu, float_additions_in_memory_are_those_of_the_cpu)
{
	/* neither flushed nor with a NaN of the hardware's own */
	expect_code("red.global.add.f32 [%rd1], %f1;", HALF, "global_atomic_cmpswap", "atomic_add_f32");
	expect_code("red.shared.add.f32 [%r1], %f1;", WAVE32, "ds_cmpstore", "ds_add");
}

Test(emit_gpu, a_barrier_of_all_threads_is_the_hardwares)
{
	expect_code("bar.sync 0;", WAVE32, "s_barrier", "ds_");
	/* of a number: counted in local data share, after it has been cleared */
	expect_code("bar.sync 1, 64;", WAVE32, "ds_cmpstore_rtn_b64", NULL);
	/* the hardware's counts threads that have ended, this one does not: they are one barrier */
	expect_code("bar.sync 0; bar.sync %r1, 64;", WAVE32, "ds_cmpstore_rtn_b64", NULL);
}

Test(emit_gpu, what_expansion_takes_away_is_refused_by_name)
{
	char text[4096], why[128] = "", *code;
	struct hg_module *m = load_text(kernel_around("", "movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2; st.global.u32 [%rd1], %r1;", "",
						      text, sizeof(text)));

	code = assembly(&hg_module_ir(m)->func[0], &chips[WAVE32], false, why, sizeof(why));
	cr_expect_null(code);
	cr_expect(strstr(why, "line 7: 'movmatrix"), "%s", why);
	hg_module_free(m);
}
