/* simt_amdgcn.h - runs kernels that are LLVM IR for amdgcn, in waves of 32 or 64 lanes that go in lockstep. */
#ifndef TESTS_DRIVERS_SIMT_AMDGCN_H
#define TESTS_DRIVERS_SIMT_AMDGCN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/*
 * What a double of HIP launches: IR as it is before AMD's instruction selection, made to run on this CPU. It stands for hardware in
 * tests and is never reported as hardware; instruction selection and what follows it are not exercised.
 *
 * The model. A wave has one program and a mask of the lanes that are at its present place. Of lanes at different places those at
 * the first go on, where a loop is one piece in the order of places and its parts are ordered inside it: so lanes that
 * parted meet at the latest where their branches join, those that left a loop wait behind it for the others, and those that begin
 * another round wait at its end. That is how AMD's compiler arranges control flow for its execution mask (one
 * branch is run, then the other). Lanes run one by one from one place to the next where it could be seen that
 * they are together (operations of lanes, barriers, ends of loops that have one inside or may wait for memory); inside
 * such a stretch, code that is not free of races sees them one after the other. A lane that waits for one behind waits for ever.
 * Limits: which of two branches is first is the compiler's choice, and another one here; the order of waves is one of many.
 *
 * s_sleep takes no time, and clocks are the host's, read once for all lanes that go on. A wave that goes round a loop which may wait for
 * memory lets the others run now and then; no lane of its own gets a turn that the order above does not give it.
 *
 * Local data share is filled with 0xa5 before a block begins. Values of inactive lanes are 0xa5… where the
 * hardware gives what a register happened to hold. Of approximations the exact result alone would be known, so they are refused.
 */
struct simt_amdgcn;

/*
 * bitcode: of a module with the kernel `name` (section .llvmbc of a code object), borrowed for the call. wave: 32 or 64; lds_static:
 * what the code object says (.group_segment_fixed_size). The same bytes, name and sizes give the same object again, compiled once.
 * HG_ERR_CORRUPT: no bitcode. HG_ERR_NOTFOUND: no such kernel. HG_ERR_UNSUPPORTED: refused. `why` (NUL-terminated, cut to fit) says
 * what is wrong. Thread-safe.
 */
enum hg_status simt_amdgcn_get(const void *bitcode, size_t size, const char *name, uint32_t wave, uint32_t lds_static,
			       struct simt_amdgcn **out, char *why, size_t why_size) HG_MUST_CHECK;
void simt_amdgcn_put(struct simt_amdgcn *k);	/* NULL is allowed; no launch of this reference may be running */

/* Bytes of arguments that the kernel reads: what kernarg_bytes of a launch must reach. */
uint32_t simt_amdgcn_kernarg_bytes(const struct simt_amdgcn *k);

struct simt_amdgcn_launch {
	uint32_t grid[3];		/* blocks */
	uint32_t block[3];		/* work-items of a block, at most 1024 */
	uint32_t lds_dynamic;		/* bytes behind the static ones */
	const void *kernarg;		/* as the ABI lays it out; borrowed, and read while the grid runs */
	size_t kernarg_bytes;
	bool cooperative;		/* all blocks run at once */
	/*
	 * Lanes of a wave that cannot go on for so long, while others of it loop, end the grid: "wave … does not progress". 0: 30 s.
	 */
	uint32_t patience_ms;
};

/*
 * Runs the grid on the calling thread until all of it ran. HG_ERR_FAULT: it trapped, waited for ever or touched memory it may
 * not; `why` names kernel, block, work-item and reason, and the rest of the grid is abandoned. HG_ERR_INVALID: no device takes this
 * launch; `why` says why. Thread-safe, also with one kernel.
 */
enum hg_status simt_amdgcn_run(struct simt_amdgcn *k, const struct simt_amdgcn_launch *l, char *why, size_t why_size) HG_MUST_CHECK;

#endif
