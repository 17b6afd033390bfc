/* simt_spirv.h - runs kernels that are SPIR-V modules, in sub-groups of 32 that go in lockstep. */
#ifndef TESTS_DRIVERS_SIMT_SPIRV_H
#define TESTS_DRIVERS_SIMT_SPIRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/*
 * What a double of Level Zero launches. The module is read by llvm-spirv-15, which shares nothing with what wrote it, as a child
 * process; its LLVM IR is then made to run on this CPU as simt_amdgcn.h says: the model of lanes, loops and waves is the same, with a
 * sub-group for a wave. It stands for hardware in tests and is never reported as hardware.
 *
 * Local memory is filled with 0xa5 before a work-group begins. Refused, as their results are not defined exactly: division of 16 and 32
 * bits, square roots of them, native_ and half_ functions, floating point that may be contracted (no ContractionOff), and operations
 * of sub-groups in a kernel that asks for no sub-group size of 32. Barriers of a work-group are for all its items. What is not known is
 * refused by name.
 *
 * What the reader made is kept, by what it was made of, in the folder that HGSHIM_SIMT_CACHE names, so that processes can share it; by
 * default in $TMPDIR/hgshim-simt-spirv-UID. HGSHIM_LLVM_SPIRV names another reader.
 */
struct simt_spirv;

/*
 * words: a module, `size` bytes, borrowed for the call. The same words and name give the same object again, compiled once. HG_ERR_CORRUPT:
 * the reader does not take it. HG_ERR_NOTFOUND: no such kernel. HG_ERR_UNSUPPORTED: refused, or there is no reader. `why` (NUL-terminated, cut to fit)
 * says what is wrong. Thread-safe.
 */
enum hg_status simt_spirv_get(const uint32_t *words, size_t size, const char *name, struct simt_spirv **out, char *why,
			      size_t why_size) HG_MUST_CHECK;
void simt_spirv_put(struct simt_spirv *k);	/* NULL is allowed; no launch of this reference may be running */

struct simt_spirv_arg_info {
	uint32_t size;			/* in bytes; of pointers 8 */
	bool is_local;			/* a pointer into local memory: its size is given, no value */
};
size_t simt_spirv_nr_args(const struct simt_spirv *k);
struct simt_spirv_arg_info simt_spirv_arg_info(const struct simt_spirv *k, size_t i);
uint32_t simt_spirv_sub_group_size(const struct simt_spirv *k);	/* that it asks for; 0: it asks for none */

struct simt_spirv_arg {
	const void *value;		/* info.size bytes; NULL for local memory */
	uint32_t local_bytes;		/* of local memory; 0 otherwise */
};

struct simt_spirv_launch {
	uint32_t grid[3];		/* work-groups */
	uint32_t block[3];		/* work-items of one, at most 1024 */
	const struct simt_spirv_arg *arg;	/* simt_spirv_nr_args of them; borrowed */
	size_t nr_args;
	bool cooperative;		/* all groups run at once */
	uint32_t patience_ms;		/* as in simt_amdgcn.h */
};

/*
 * Runs the grid on the calling thread until all of it ran. HG_ERR_FAULT, HG_ERR_INVALID and `why`: as simt_amdgcn_run. Thread-safe, also
 * with one kernel.
 */
enum hg_status simt_spirv_run(struct simt_spirv *k, const struct simt_spirv_launch *l, char *why, size_t why_size) HG_MUST_CHECK;

#endif
