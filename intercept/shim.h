/* shim.h - the state of hgshim in a process: when it starts, what a fork and an exit do to it. */
#ifndef HG_INTERCEPT_SHIM_H
#define HG_INTERCEPT_SHIM_H

#include "intercept/executor.h"
#include "intercept/symbols.h"
#include "logdb/recorder.h"

/*
 * Nothing exists before the first CUDA call. hg_shim_load chooses and loads the executor, so that calls
 * which need no cuInit can be answered; hg_shim_init, from cuInit, opens it, starts recording, and
 * opens the gate. Both may be called from any thread, any number of times.
 */
CUresult hg_shim_load(void);
CUresult hg_shim_init(unsigned int flags);

/*
 * Makes an executor, loaded, the one that answers. Before the gate first opens, or while it is closed.
 * `target` lives for ever.
 */
void hg_shim_use(const struct hg_executor *e, const char *target);

/* What a call gets that the gate did not let in: never initialised, a forked child, or exiting. */
CUresult hg_shim_not_ready(void);

/* The executor in use, NULL before hg_shim_load, and the name of its target. */
const struct hg_executor *hg_shim_executor(void);
const char *hg_shim_target(void);

/*
 * NULL: nothing is recorded (before cuInit, in a forked child, at exit, or recording could not
 * start). Inside the gate it stays what it is.
 */
extern struct hg_recorder *hg_shim_recorder;

/*
 * A call that the executor does not have: says so once per symbol, counts it, and gives what the
 * application sees.
 */
CUresult hg_shim_missing(enum hg_sym sym);

/*
 * One byte per symbol, for the coverage manifest: set when a call without a row in calls.def was
 * made, when one succeeded, and when the executor did not have it.
 */
enum hg_seen { HG_SEEN = 1, HG_SEEN_SUCCESS = 2, HG_SEEN_MISSING = 4 };
extern unsigned char hg_shim_seen[HG_SYM_COUNT];

static inline void hg_shim_see(enum hg_sym sym, CUresult r)
{
	unsigned char seen = r == CUDA_SUCCESS ? HG_SEEN | HG_SEEN_SUCCESS : HG_SEEN;

	/* not stored again: the line stays shared between cores */
	if ((hg_shim_seen[sym] & seen) != seen)
		hg_shim_seen[sym] |= seen;
}

#endif
