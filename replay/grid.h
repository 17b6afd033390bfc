/* grid.h - runs grids of blocks of a compiled kernel on the threads of the CPU. */
#ifndef HG_REPLAY_GRID_H
#define HG_REPLAY_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "replay/target.h"
#include "translate/jit.h"

struct hg_grid {
	uint32_t grid[3], block[3];
	uint32_t shared_bytes;		/* dynamic */
	uint32_t stack_bytes;		/* of a thread, for kernels that use one; 0: 2 KiB */
	bool cooperative;		/* %envreg1:%envreg2 name a grid barrier */
	const void *params;		/* the kernel's parameter block, param_bytes of it; read while the grid runs */
	const uint64_t *var_addr;	/* where the module's variables live; may be NULL if it has none */
	uint64_t id;			/* %gridid */
	bool any_order;			/* warps begin in the variant that runs lanes in any order: the results are the same */
};

/*
 * Runs the whole grid and returns when all of it ran: HG_OK, or HG_ERR_FAULT with *fault filled in
 * when a block failed (the rest of the grid is then abandoned), or HG_ERR_INVALID for a shape
 * that no CUDA device takes (nothing ran), HG_ERR_NOMEM. Any thread, several at once: grids share the
 * threads fairly, and the calling thread helps. A wait of one block for another, of any order, makes
 * progress: blocks that only wait make room for others.
 *
 * Kernel code that touches memory it may not is caught by handlers of SIGSEGV, SIGBUS and SIGFPE, which are installed
 * by the first grid and looked after by every later one. A fault elsewhere goes to whatever
 * handler the application had or has since installed.
 *
 * In a forked child grids cannot run: HG_ERR_UNAVAILABLE.
 */
enum hg_status hg_grid_run(struct hg_cpu_kernel *k, const struct hg_grid *g, struct hg_fault *fault) HG_MUST_CHECK;

/* Threads of the pool: HGSHIM_THREADS, or the CPUs this process may use. Starts nothing. */
uint32_t hg_grid_nr_threads(void);

/* Ends the threads and restores the signal handlers, if they are still ours. No grid may be running. */
void hg_grid_shutdown(void);

#endif
