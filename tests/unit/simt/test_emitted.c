/* test_emitted.c - what the emitter writes for AMD's and Intel's GPUs, run by their executors: barriers, failures, threads of every layout. */
#include <criterion/criterion.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/simt/simt_amdgcn.h"
#include "tests/drivers/simt/simt_spirv.h"
#include "translate/emit_gpu.h"
#include "translate/expand.h"
#include "translate/module.h"
#include "translate/spirv_write.h"

static uint32_t out[256];
static struct hg_gpu_state state;

/* %rd2: the thread's word of `out`, %r1: n, %r2: the thread's number in a row */
#define KERNEL(body) ".version 9.0\n.target sm_75\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 n) {\n" \
	".reg .pred %p<9>; .reg .b32 %r<19>; .reg .b64 %rd<9>; ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n]; mov.u32 %r2, %tid.x;\n" \
	"mul.wide.u32 %rd2, %r2, 4; add.u64 %rd2, %rd1, %rd2;\n" body "\nret; }"

/* AMD's layouts, and SPIR-V in both forms. */
enum { SPIRV = 100, SPIRV_SCHEDULED };
static const int layouts[] = { HG_GPU_WAVE32, HG_GPU_HALF, SPIRV, SPIRV_SCHEDULED, HG_GPU_PAIR };
enum { NR_WITH_ALL_BARRIERS = 4 };

struct __attribute__((packed)) args { uint64_t p; uint32_t n, pad; struct hg_gpu_env env; };

static void run_amdgcn(const struct ir_func *fn, enum hg_gpu_layout layout, const uint32_t block[3], const struct args *args)
{
	struct emit_gpu_options opt = { .layout = layout, .max_threads = 256 };
	struct simt_amdgcn_launch l = { .grid = { 1, 1, 1 }, .block = { block[0], block[1], block[2] }, .kernarg = args,
					.kernarg_bytes = sizeof(*args) };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("k", c);
	char why[256] = "";
	struct simt_amdgcn *k;
	LLVMMemoryBufferRef bitcode;

	LLVMSetTarget(m, "amdgcn-amd-amdhsa");
	LLVMSetDataLayout(m, "e-p:64:64-p1:64:64-p2:32:32-p3:32:32-p4:64:64-p5:32:32-p6:32:32-i64:64-n32:64-S32-A5-G1");
	cr_assert_eq(emit_amdgcn(fn, &opt, c, m, "k", &l.lds_dynamic, why, sizeof(why)), HG_OK, "%s", why);
	bitcode = LLVMWriteBitcodeToMemoryBuffer(m);
	cr_assert_eq(simt_amdgcn_get(LLVMGetBufferStart(bitcode), LLVMGetBufferSize(bitcode), "k", layout == HG_GPU_WAVE32 ? 32 : 64, 0, &k, why,
				     sizeof(why)), HG_OK, "%s", why);
	if (layout == HG_GPU_HALF) {
		l.block[0] = (block[0] * block[1] * block[2] + 31) / 32 * 64;
		l.block[1] = l.block[2] = 1;
	}
	cr_assert_eq(simt_amdgcn_run(k, &l, why, sizeof(why)), HG_OK, "%s", why);
	simt_amdgcn_put(k);
	LLVMDisposeMemoryBuffer(bitcode);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
}

static void run_spirv(const struct ir_func *fn, bool scheduled, const uint32_t block[3], const struct args *args)
{
	struct emit_gpu_options opt = { .layout = HG_GPU_WAVE32, .scheduled = scheduled, .max_threads = 256 };
	const struct spirv_write_options write = { .kernel = "k", .uses_lanes = true };
	struct simt_spirv_arg arg[2] = { { .value = &args } };
	struct simt_spirv_launch l = { .grid = { 1, 1, 1 }, .block = { block[0] * block[1] * block[2], 1, 1 }, .arg = arg, .nr_args = 2 };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("k", c);
	uint32_t *words, version;
	struct simt_spirv *k;
	char why[256] = "";
	size_t nr;

	cr_assert_eq(emit_spirv(fn, &opt, c, m, "k", &arg[1].local_bytes, why, sizeof(why)), HG_OK, "%s", why);
	if (!arg[1].local_bytes)
		arg[1].local_bytes = 16;
	cr_assert_eq(spirv_write(m, &write, &words, &nr, &version, why, sizeof(why)), HG_OK, "%s", why);
	cr_assert_eq(simt_spirv_get(words, 4 * nr, "k", &k, why, sizeof(why)), HG_OK, "%s", why);
	cr_assert_eq(simt_spirv_run(k, &l, why, sizeof(why)), HG_OK, "%s", why);
	simt_spirv_put(k);
	free(words);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
}

/* One block; `out` and `state` begin as zeros. */
static void run(const char *ptx, int layout, const uint32_t block[3], uint32_t n)
{
	const struct args args = {
		.p = (uintptr_t)out, .n = n,
		.env = { .state = (uintptr_t)&state, .ntid = { block[0], block[1], block[2] }, .nctaid = { 1, 1, 1 }, .nsmid = 1 },
	};
	struct hg_module *from;
	char log[512] = "";

	cr_assert_eq(hg_module_load(ptx, 0, 120, log, sizeof(log), &from), HG_OK, "%s", log);
	memset(out, 0, sizeof(out));
	memset(&state, 0, sizeof(state));
	if (layout >= SPIRV)
		run_spirv(&hg_module_ir(from)->func[0], layout == SPIRV_SCHEDULED, block, &args);
	else
		run_amdgcn(&hg_module_ir(from)->func[0], (enum hg_gpu_layout)layout, block, &args);
	hg_module_free(from);
}

#define EACH_LAYOUT(i) for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)

Test(emitted, a_thread_knows_where_it_is_in_every_layout)
{
	static const char ptx[] = KERNEL("mov.u32 %r3, %tid.y; mov.u32 %r4, %tid.z; mov.u32 %r5, %ntid.x; mov.u32 %r6, %ntid.y;"
		"mad.lo.u32 %r7, %r4, %r6, %r3; mad.lo.u32 %r7, %r7, %r5, %r2; mul.wide.u32 %rd2, %r7, 4; add.u64 %rd2, %rd1, %rd2;"
		"mov.u32 %r8, %laneid; mov.u32 %r9, %warpid; shl.b32 %r3, %r3, 8; shl.b32 %r4, %r4, 12; shl.b32 %r8, %r8, 16; shl.b32 %r9, %r9, 24;"
		"or.b32 %r2, %r2, %r3; or.b32 %r2, %r2, %r4; or.b32 %r2, %r2, %r8; or.b32 %r2, %r2, %r9; st.global.u32 [%rd2], %r2;");

	EACH_LAYOUT(i) {
		run(ptx, layouts[i], (uint32_t[]){ 10, 3, 3 }, 0);
		for (uint32_t t = 0; t < 91; t++)
			cr_assert_eq(out[t], t < 90 ? (t % 10 | t / 10 % 3 << 8 | t / 30 << 12 | t % 32 << 16 | t / 32 << 24) : 0,
				     "layout %d, thread %u: 0x%x", layouts[i], t, out[t]);
	}
}

Test(emitted, a_lane_that_fails_is_told_once_and_the_others_go_on)
{
	static const char trap[] = KERNEL("setp.ge.u32 %p1, %r2, %r1; @%p1 trap; st.global.u32 [%rd2], 1;");
	static const char nowhere[] = KERNEL("ts: .branchtargets A, B; brx.idx %r1, ts; A: st.global.u32 [%rd2], 5; bra C; B: st.global.u32 [%rd2], 6; C:");

	EACH_LAYOUT(i) {
		run(trap, layouts[i], (uint32_t[]){ 64, 1, 1 }, 45);
		cr_assert(state.fault == HG_GPU_TRAP && state.is_told == 1 && state.line == 7);
		cr_assert(state.thread[0] >= 45 && state.thread[0] < 64 && !state.thread[1] && !state.block[0]);
		for (uint32_t t = 0; t < 64; t++)
			/* in the scheduled form all of the warp end, wherever they are */
			cr_assert(out[t] == (t < 45) || (layouts[i] == SPIRV_SCHEDULED && t >= 32 && !out[t]), "layout %d, thread %u: %u",
				  layouts[i], t, out[t]);
		run(nowhere, layouts[i], (uint32_t[]){ 32, 1, 1 }, 1);
		cr_assert(!state.fault && out[31] == 6);
		run(nowhere, layouts[i], (uint32_t[]){ 32, 1, 1 }, 2);
		cr_assert(state.fault == HG_GPU_BAD_INDEX && state.addr == 2 && !out[0]);
	}
}

Test(emitted, who_waits_for_a_lane_that_failed_ends_as_well, .timeout = 30)
{
	/* the second warp fails before it opens what the first one waits for; n: it does not */
	static const char ptx[] = KERNEL("setp.lt.u32 %p1, %r2, 32; @%p1 bra WAIT; setp.eq.u32 %p2, %r1, 0; @%p2 trap; st.volatile.global.u32 [%rd1], 7; ret;"
		"WAIT: ld.volatile.global.u32 %r3, [%rd1]; setp.eq.u32 %p3, %r3, 0; @%p3 bra WAIT; st.global.u32 [%rd2+256], %r3;");

	for (size_t i = 0; i < 2; i++) {
		run(ptx, layouts[i], (uint32_t[]){ 64, 1, 1 }, 0);
		cr_assert_eq(state.fault, HG_GPU_TRAP);
		cr_assert_eq(out[64], 0);
		run(ptx, layouts[i], (uint32_t[]){ 64, 1, 1 }, 1);
		cr_assert(!state.fault && out[64] == 7 && out[95] == 7);
	}
}

Test(emitted, barriers_count_warps_and_threads_that_have_ended)
{
	/* one warp waits for another that goes on; a thread ends before barriers of all */
	static const char ptx[] = KERNEL("setp.lt.u32 %p1, %r2, 32; @%p1 bra A; bar.arrive 3, 64; bra E; A: bar.sync 3, 64; E: bar.red.popc.u32 %r4, 2, %p1;"
		"setp.eq.u32 %p2, %r2, 7; @%p2 exit; bar.red.and.pred %p3, 4, %p1; selp.u32 %r5, 100, 200, %p3; add.u32 %r4, %r4, %r5;"
		"bar.red.or.pred %p3, 4, %p1; selp.u32 %r5, 1000, 2000, %p3; add.u32 %r4, %r4, %r5; bar.sync 5; bar.sync 5; st.global.u32 [%rd2], %r4;");
	static const char misused[] = KERNEL("bar.sync %r1, 64; st.global.u32 [%rd2], 1;");

	for (size_t i = 0; i < NR_WITH_ALL_BARRIERS; i++) {
		run(ptx, layouts[i], (uint32_t[]){ 64, 1, 1 }, 0);
		cr_assert(!state.fault);
		for (uint32_t t = 0; t < 64; t++)
			cr_assert_eq(out[t], t == 7 ? 0 : 32 + 200 + 1000, "layout %d, thread %u: %u", layouts[i], t, out[t]);
		run(misused, layouts[i], (uint32_t[]){ 64, 1, 1 }, 15);
		cr_assert(!state.fault && out[63] == 1);
		run(misused, layouts[i], (uint32_t[]){ 64, 1, 1 }, 16);
		cr_assert(state.fault == HG_GPU_BARRIER && state.addr == 16 && !out[63]);
	}
}

/* ---- the reader takes all of it ---- */

static char *text_of(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	cr_assert(f && text, "%s", path);
	cr_assert_lt(fread(text, 1, (1 << 20) - 1, f), (1u << 20) - 1);
	fclose(f);
	return text;
}

static unsigned int nr_read;

static void expect_read(const char *path, const struct ir_func *fn, bool scheduled)
{
	struct emit_gpu_options opt = { .layout = HG_GPU_WAVE32, .scheduled = scheduled, .max_threads = 256,
					.local_bytes = fn->local_bytes + (fn->uses_stack ? 1024 : 0) };
	const struct spirv_write_options write = { .kernel = "k", .uses_lanes = true };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("k", c);
	uint32_t *words = NULL, version, extra;
	struct simt_spirv *k;
	char why[300] = "";
	size_t nr;
	enum hg_status st = emit_spirv(fn, &opt, c, m, "k", &extra, why, sizeof(why));

	if (!st)
		st = spirv_write(m, &write, &words, &nr, &version, why, sizeof(why));
	if (!st)
		st = simt_spirv_get(words, 4 * nr, "k", &k, why, sizeof(why));
	cr_expect_eq(st, HG_OK, "%s, kernel '%s', %s: %s: %s", path, fn->name, scheduled ? "scheduled" : "plain", hg_status_text(st), why);
	if (!st)
		simt_spirv_put(k);
	nr_read += !st;
	free(words);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
}

Test(emitted, spirv_of_every_operation_is_read_and_known, .timeout = 120)
{
	static const char *const path[] = { "tests/ptx/arith.ptx", "tests/ptx/control.ptx", "tests/ptx/functions.ptx", "tests/ptx/memory.ptx" };

	for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++) {
		char log[512] = "", *text = text_of(path[i]);
		struct hg_module *from;
		struct ir_module *ir;

		cr_assert_eq(hg_module_load(text, 0, 120, log, sizeof(log), &from), HG_OK, "%s", log);
		cr_assert_eq(hg_expand(hg_module_ir(from), &ir), HG_OK);
		for (uint32_t n = 0; n < ir->nr_funcs; n++)
			for (int scheduled = 0; scheduled < 2 && !ir->func[n].refused; scheduled++)
				expect_read(path[i], &ir->func[n], scheduled);
		ir_module_free(ir);
		hg_module_free(from);
		free(text);
	}
	cr_assert_geq(nr_read, 16u, "%u kernels alone", nr_read);
}
