/* emit_gpu.h - LLVM IR for GPUs from hgIR: code of one lane. Private to translate/. */
#ifndef HG_TRANSLATE_EMIT_GPU_H
#define HG_TRANSLATE_EMIT_GPU_H

#include <llvm-c/Core.h>

#include "translate/gpu_abi.h"
#include "translate/gpu_plan.h"
#include "translate/ir.h"

/*
 * How the warps of a block lie on the hardware's waves. PTX numbers threads x first, and warps are 32 of them in turn.
 *
 *  HG_GPU_WAVE32  a wave is a warp. The hardware is launched with the block's own shape.
 *  HG_GPU_HALF    waves of 64, a warp in the lower half of each; the upper half ends at once. The hardware is launched with
 *                 a row of 64 * warps work-items, and thread t is work-item t / 32 * 64 + t % 32.
 *  HG_GPU_PAIR    waves of 64, two warps in each; launched with the block's own shape. Only for kernels where the two cannot
 *                 disturb each other (gpu_plan.h), or scheduled ones.
 */
enum hg_gpu_layout { HG_GPU_WAVE32, HG_GPU_HALF, HG_GPU_PAIR };

/* What a launch needs of the code: it selects a variant. The block's shape tells whether the lanes of a warp lie side by side (gpu_plan.h). */
struct hg_gpu_need {
	uint32_t block[3];		/* PTX threads; zeros: what the kernel says of its blocks, or a usual one */
	uint32_t stack_bytes;		/* of a thread, for kernels that use one; 0: a usual one */
};

struct emit_gpu_options {
	enum hg_gpu_layout layout;
	/*
	 * Lanes have program counters of their own, and are run a group at a time: for kernels whose lanes meet elsewhere than
	 * the hardware lets them meet, or wait for each other. Otherwise branches are branches, and lanes meet where these join.
	 */
	bool scheduled;
	bool whole;			/* the plan's; of the direct form alone */
	bool no_f64;			/* SPIR-V: what can do without f64 does */
	uint32_t max_threads;		/* of a block: PTX threads */
	uint32_t local_bytes;		/* of a lane: fn->local_bytes, and the stack where the kernel uses one */
};

/*
 * Adds the kernel `name` to an empty module whose triple and data layout are those of amdgcn. Operations that expand.h takes
 * away must not occur. HG_ERR_UNSUPPORTED: `why` (NUL-terminated, cut to fit) says what this kernel has that cannot be emitted.
 * extra_lds: local data share that the code needs behind env.shared_bytes, aligned to 16.
 */
enum hg_status emit_amdgcn(const struct ir_func *fn, const struct emit_gpu_options *opt, LLVMContextRef c, LLVMModuleRef m,
			   const char *name, uint32_t *extra_lds, char *why, size_t why_size) HG_MUST_CHECK;

/*
 * The same in the dialect that spirv_write.h describes, verified and with registers as values; layout must be HG_GPU_WAVE32. Triple and data layout of the empty
 * module become those below: pointers of 64 bits, places of functions in addrspace(5).
 */
#define EMIT_SPIRV_TRIPLE "spirv64-unknown-unknown"
#define EMIT_SPIRV_LAYOUT "e-i64:64-n8:16:32:64-A5-G1"
enum hg_status emit_spirv(const struct ir_func *fn, const struct emit_gpu_options *opt, LLVMContextRef c, LLVMModuleRef m, const char *name,
			  uint32_t *extra_lds, char *why, size_t why_size) HG_MUST_CHECK;

#endif
