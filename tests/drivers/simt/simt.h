/* simt.h - runs GPU kernels for the test doubles: a fibre for each work-item. */
#ifndef TESTS_DRIVERS_SIMT_H
#define TESTS_DRIVERS_SIMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/ir.h"

/*
 * Slow, exact, and independent of the product's vector emitter: every work-item is a fibre that runs scalar code;
 * warp operations and barriers are rendezvous of fibres. It stands for hardware in tests, and is never
 * reported as hardware.
 *
 * simt_module takes LLVM IR of scalar kernels (see simt_llvm.h); the function below makes it from hgIR. Kernels are
 * compiled at their first launch. Thread-safe: several grids may run at once, also of one module.
 */
struct simt_module;

/* Keeps nothing of `m`. A kernel that `m` refuses stays refused here. */
enum hg_status simt_module_from_hgir(const struct ir_module *m, struct simt_module **out) HG_MUST_CHECK;
void simt_module_free(struct simt_module *m);	/* NULL is allowed; no grid of it may be running */

struct simt_launch {
	size_t kernel;			/* index in ir_module.func */
	uint32_t grid[3], block[3];
	uint32_t shared_bytes;		/* dynamic */
	uint32_t warp_size;		/* 32; lanes of a block are numbered x first, as CUDA does */
	bool cooperative;		/* all blocks run at once; %envreg1:%envreg2 name a grid barrier */
	const void *params;		/* parameter block, param_bytes of the kernel */
	const uint64_t *var_addr;	/* where the module's variables live */
	uint64_t id;			/* %gridid */
	size_t shared_align;		/* a block's shared memory begins at a multiple of it, in pages of its own; 0: anywhere */
};

/*
 * Runs the whole grid on the calling thread and returns when all of it ran. HG_ERR_FAULT: a kernel trapped, waited for
 * ever (every fibre of a block waits), or touched memory it may not; `why` (NUL-terminated, cut to fit) names kernel,
 * block and thread; the rest of the grid is abandoned. HG_ERR_UNSUPPORTED: refused, `why` says why. HG_ERR_INVALID: no
 * device takes this shape. HG_ERR_NOTFOUND: no such kernel. Other failures leave `why` empty.
 *
 * Blocks run one after the other, the lowest first, unless the grid is cooperative, or those that run do nothing
 * but wait: then more of them join in. A loop that waits for memory may wait for other threads and the host too.
 */
enum hg_status simt_run(struct simt_module *m, const struct simt_launch *l, char *why, size_t why_size) HG_MUST_CHECK;

#endif
