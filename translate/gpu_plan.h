/* gpu_plan.h - what can be shown of a kernel's lanes, to choose how it is emitted for a GPU. */
#ifndef HG_TRANSLATE_GPU_PLAN_H
#define HG_TRANSLATE_GPU_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/ir.h"

/*
 * On a GPU that runs lanes in lockstep and lets them meet where branches join (at the immediate post-dominator; lanes that have
 * exited do not count), proven from the control flow alone:
 *
 *  direct        every operation that reads or waits for lanes, and every barrier, is reached by all lanes of the warp that have not exited
 *                together; and no loop waits for what another lane of its warp might do.
 *  direct_pair   the same with two warps in one wave: by the lanes of both together, and neither waits for what the other might do.
 *  rows, rows_pair
 *                the same in launches whose ntid.x is a multiple of 32 (pair: of 64), or whose ntid.y and ntid.z are 1: the lanes of a
 *                warp lie side by side in x. They hold wherever those above do.
 *
 *  whole         every barrier is reached by all threads of the block together, by as many of them as it began with: none has ended, and none ends before the
 *                last barrier. What a block's threads load from one address, weakly, between two barriers is one value, or they race.
 *                Only said of kernels that have barriers.
 *
 * activemask, which waits for nobody, may stand anywhere: whatever lanes run together are a right answer. Lanes that have nothing to do
 * any more but exit (for a barrier: nor anything to write) count as exited. One access of lanes together to one address finds
 * one value. The operations that expand.h takes away may occur.
 *
 * Where direct or direct_pair is false, `line` and `why` name the first operation that could not be shown (for messages and for
 * `hgshim-ptx`).
 */
struct gpu_plan {
	bool direct, direct_pair;
	bool rows, rows_pair;
	bool whole;
	bool uses_lanes;		/* has operations that read or wait for other lanes */
	bool uses_barriers;		/* of a block */
	bool uses_named_barriers;	/* …other than barrier 0 of all threads */
	uint32_t line;
	const char *why;		/* constant text; NULL: both hold */
};

/* Of a kernel that was translated. HG_ERR_NOMEM is the only failure. */
enum hg_status gpu_plan_make(const struct ir_func *fn, struct gpu_plan *out) HG_MUST_CHECK;

#endif
