/* test_emit_spirv.c - code for Level Zero's GPUs: every operation becomes LLVM IR of the dialect that spirv_write.h describes, in both forms. */
#include <llvm-c/Analysis.h>

#include "tests/unit/translate/code_util.h"
#include "translate/emit_gpu.h"
#include "translate/expand.h"

/* ---- the dialect ---- */

static bool is_one_of(const char *const *list, const char *name)
{
	for (; *list; list++)
		if (!strcmp(*list, name))
			return true;
	return false;
}

static bool is_scalar(LLVMTypeRef t)
{
	static const unsigned int widths[] = { 1, 8, 16, 32, 64 };

	switch (LLVMGetTypeKind(t)) {
	case LLVMVoidTypeKind: case LLVMHalfTypeKind: case LLVMFloatTypeKind: case LLVMDoubleTypeKind: case LLVMLabelTypeKind:
		return true;
	case LLVMPointerTypeKind:
		return LLVMGetPointerAddressSpace(t) < 6 && LLVMGetPointerAddressSpace(t) != 2 && LLVMGetPointerAddressSpace(t) != 4;
	case LLVMIntegerTypeKind:
		for (size_t i = 0; i < sizeof(widths) / sizeof(*widths); i++)
			if (LLVMGetIntTypeWidth(t) == widths[i])
				return true;
		return false;
	default:
		return false;
	}
}

static bool is_known_function(const char *name)
{
	static const char *const own[] = { "hg.local.id.0", "hg.local.id.1", "hg.local.id.2", "hg.group.id.0", "hg.group.id.1", "hg.group.id.2",
		"hg.lane", "hg.ballot", "hg.shuffle", "hg.first", "hg.barrier", NULL };
	static const char *const llvm[] = { "fma.f32", "fma.f64", "sqrt.f64", "fabs.f32", "fabs.f64", "floor.f32", "floor.f64", "ceil.f32",
		"ceil.f64", "trunc.f32", "trunc.f64", "roundeven.f32", "roundeven.f64", NULL };
	static const char *const any_int[] = { "ctpop.i", "ctlz.i", "cttz.i", "bitreverse.i", "smin.i", "smax.i", "umin.i", "umax.i", "uadd.sat.i",
		"sadd.sat.i", "usub.sat.i", "ssub.sat.i", "fshl.i", "fshr.i", "fptosi.sat.i", "fptoui.sat.i", NULL };

	if (strncmp(name, "llvm.", 5) != 0)
		return is_one_of(own, name);
	if (is_one_of(llvm, name + 5))
		return true;
	for (const char *const *p = any_int; *p; p++)
		if (!strncmp(name + 5, *p, strlen(*p)))
			return true;
	return false;
}

/* Why the instruction is none of the dialect; NULL: it is one. */
static const char *why_not(LLVMValueRef i)
{
	LLVMOpcode op = LLVMGetInstructionOpcode(i);
	LLVMTypeRef t = LLVMTypeOf(i);

	if (op != LLVMAtomicCmpXchg && !is_scalar(t))
		return "result";
	for (unsigned int n = 0; n < (unsigned int)LLVMGetNumOperands(i); n++)
		if (op != LLVMExtractValue && !is_scalar(LLVMTypeOf(LLVMGetOperand(i, (unsigned int)n))))
			return "operand";
	switch (op) {
	case LLVMCall:
		return is_known_function(LLVMGetValueName(LLVMGetCalledValue(i))) ? NULL : "call";
	case LLVMFDiv:
		return LLVMGetTypeKind(t) == LLVMDoubleTypeKind ? NULL : "division";
	case LLVMLoad: case LLVMStore:
		return LLVMGetOrdering(i) == LLVMAtomicOrderingNotAtomic ||
		       LLVMGetIntTypeWidth(op == LLVMLoad ? t : LLVMTypeOf(LLVMGetOperand(i, 0))) >= 32 ? NULL : "small atomic access";
	case LLVMAtomicRMW:
		switch (LLVMGetAtomicRMWBinOp(i)) {
		case LLVMAtomicRMWBinOpUIncWrap: case LLVMAtomicRMWBinOpUDecWrap: case LLVMAtomicRMWBinOpFAdd: case LLVMAtomicRMWBinOpNand:
			return "atomic operation";
		default:
			return NULL;
		}
	case LLVMAtomicCmpXchg:
		return LLVMGetIntTypeWidth(LLVMTypeOf(LLVMGetOperand(i, 1))) >= 32 ? NULL : "small compare-and-swap";
	case LLVMFRem: case LLVMInvoke: case LLVMShuffleVector: case LLVMInsertElement: case LLVMExtractElement: case LLVMInsertValue:
		return "instruction";
	default:
		return NULL;
	}
}

static void expect_dialect(const char *file, const char *kernel, LLVMModuleRef m)
{
	for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(LLVMGetNamedFunction(m, "kernel")); b; b = LLVMGetNextBasicBlock(b))
		for (LLVMValueRef i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i)) {
			const char *why = why_not(i);
			char *text = why ? LLVMPrintValueToString(i) : NULL;

			cr_expect_null(why, "%s, kernel '%s': %s of '%s'", file, kernel, why, text);
			LLVMDisposeMessage(text);
		}
}

/* The kernel's LLVM IR, to be disposed of; NULL: refused, `why` says why. */
static char *emitted(const char *file, const struct ir_func *fn, bool scheduled, char *why, size_t why_size)
{
	struct emit_gpu_options opt = { .layout = HG_GPU_WAVE32, .scheduled = scheduled, .max_threads = 256,
					.local_bytes = fn->local_bytes + (fn->uses_stack ? 1024 : 0) };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("kernel", c);
	char *text = NULL, *error = NULL;
	uint32_t extra_lds;
	enum hg_status st = emit_spirv(fn, &opt, c, m, "kernel", &extra_lds, why, why_size);

	if (!st) {
		cr_expect_not(LLVMVerifyModule(m, LLVMReturnStatusAction, &error), "kernel '%s': %s", fn->name, error);
		LLVMDisposeMessage(error);
		expect_dialect(file, fn->name, m);
		text = LLVMPrintModuleToString(m);
	} else {
		cr_expect_eq(st, HG_ERR_UNSUPPORTED);
	}
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
	return text;
}

static void both_forms(const char *name)
{
	size_t size;
	char *text = read_test_file(name, &size);
	struct hg_module *m = load_text(text);
	struct ir_module *ir;

	cr_assert_eq(hg_expand(hg_module_ir(m), &ir), HG_OK);
	for (uint32_t i = 0; i < ir->nr_funcs; i++)
		for (int scheduled = 0; scheduled < 2 && !ir->func[i].refused; scheduled++) {
			char why[300] = "", *code = emitted(name, &ir->func[i], scheduled, why, sizeof(why));

			cr_expect(code, "%s, kernel '%s': %s", name, ir->func[i].name, why);
			LLVMDisposeMessage(code);
		}
	ir_module_free(ir);
	hg_module_free(m);
	free(text);
}

Test(emit_spirv, every_operation_is_of_the_dialect_in_both_forms, .timeout = 120)
{
	static const char *const file[] = { "tests/ptx/arith.ptx", "tests/ptx/control.ptx", "tests/ptx/functions.ptx", "tests/ptx/memory.ptx",
		"tests/ptx/grammar.ptx", "tests/ptx/nvcc13_reduction.ptx", "tests/ptx/nvcc13_cg.ptx", "tests/ptx/nvcc13_histogram.ptx" };

	for (size_t i = 0; i < sizeof(file) / sizeof(*file); i++)
		both_forms(file[i]);
}

/* ---- what becomes of some of them ---- */

static void expect_ir(const char *body, const char *has, const char *has_not)
{
	char text[4096], why[300] = "", *code;
	struct hg_module *m = load_text(kernel_around("ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n];\n", body, "", text, sizeof(text)));

	cr_assert_null(hg_module_kernel(m, 0)->refused, "%s", hg_module_kernel(m, 0)->refused);
	code = emitted("text", &hg_module_ir(m)->func[0], false, why, sizeof(why));
	cr_assert(code, "%s", why);
	cr_expect(!has || strstr(code, has), "'%s' gives no %s:\n%s", body, has, code);
	cr_expect(!has_not || !strstr(code, has_not), "'%s' gives %s:\n%s", body, has_not, code);
	LLVMDisposeMessage(code);
	hg_module_free(m);
}

Test(emit_spirv, a_kernel_without_operations_of_lanes_asks_for_none)
{
	expect_ir("mov.u32 %r2, %laneid; st.global.u32 [%rd1], %r2;", "hg.local.id.0", "hg.lane");
	expect_ir("shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1; st.global.u32 [%rd1], %r2;", "call i32 @hg.shuffle", NULL);
	expect_ir("activemask.b32 %r2; st.global.u32 [%rd1], %r2;", "call i32 @hg.ballot", NULL);
}

Test(emit_spirv, division_of_f32_is_rounded_by_way_of_f64)
{
	expect_ir("ld.global.f32 %f2, [%rd1]; div.rn.f32 %f1, %f2, 0f40400000; st.global.f32 [%rd1], %f1;", "fdiv double", "fdiv float");
	expect_ir("ld.global.f32 %f2, [%rd1]; sqrt.rn.f32 %f1, %f2; st.global.f32 [%rd1], %f1;", "call double @llvm.sqrt.f64", "call float @llvm.sqrt.f32");
}

Test(emit_spirv, shared_memory_is_the_second_argument)
{
	expect_ir("ld.shared.u32 %r2, [%r1]; st.global.u32 [%rd1], %r2;", "load i32, ptr addrspace(3)", "inttoptr i32");
}

Test(emit_spirv, whose_memory_an_address_is_in_is_told_by_where_that_lies)
{
	expect_ir("isspacep.shared %p1, %rd1; selp.u32 %r2, 1, 0, %p1; st.global.u32 [%rd1], %r2;", "addrspacecast ptr addrspace(3)", "hg.is");
	expect_ir("isspacep.global %p1, %rd1; selp.u32 %r2, 1, 0, %p1; st.global.u32 [%rd1], %r2;", "addrspacecast ptr addrspace(3)", "addrspace(5)");
}

Test(emit_spirv, barriers_that_lanes_may_miss_are_counted_by_code)
{
	expect_ir("bar.sync 0;", "cmpxchg ptr addrspace(3)", NULL);
}

Test(emit_spirv, inc_and_dec_are_swaps)
{
	expect_ir("atom.global.inc.u32 %r2, [%rd1], %r1; st.global.u32 [%rd1], %r2;", "cmpxchg ptr addrspace(1)", "atomicrmw");
}
