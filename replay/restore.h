/* restore.h - rebuilds a snapshot inside the process that it was taken of: how a process changes its driver. */
#ifndef HG_REPLAY_RESTORE_H
#define HG_REPLAY_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "logdb/logdb.h"
#include "replay/reserve.h"

/*
 * All on one thread, with nobody else inside a CUDA call. Differs from a replay (replay.h) in three things: every object
 * gets the handle that the application holds (the recorded one) as its name; host memory is there already, at its
 * address and with its bytes, is adopted, and not uploaded; nothing after the snapshot is to be done.
 *
 *	hg_restore_open		opens the driver; touches no recorded address. When it fails, all is as it was.
 *	hg_restore_leave	if the old driver is the portable one, on another target: closes it, but keeps its host memory
 *	(the caller takes another old driver's objects apart, and maps the recorded device addresses without access)
 *	hg_restore_run		maps memory in their place, uploads
 *	hg_restore_close	before run: closes the driver again, and a portable one that was not left goes on. After it: the driver stays open.
 */
struct hg_restore;

struct hg_restore_options {
	const char *target;
	int nr_devices;			/* as the application knows them */
	struct hg_log *log;		/* open until hg_restore_close */
	uint64_t snapshot;		/* number */
	uint64_t nr_pools;		/* default memory pools, by device: the handles that the application holds; 0: none */
	const uint64_t *pool;
	uint64_t nr_primaries;		/* primary contexts by device, active or not, likewise */
	const uint64_t *primary;
};

/*
 * Compiles the kernels that the log's objects have by now, as far as they can be, into the cache of compiled code
 * (translate/cache.h), so that hg_restore_open, while the process is stopped, finds them there. Needs opt->target,
 * nr_devices and log. `step` is called before each; false: no more of them. Leaves nothing behind, also when something fails, which is not said.
 */
void hg_restore_warm(const struct hg_restore_options *opt, bool (*step)(void *arg), void *arg);

/*
 * Everything that can fail and does not need the addresses is tried here: the target opens, every image of a live module
 * is there and portable, every kernel that was looked up compiles, there is memory enough. HG_ERR_REFUSED,
 * HG_ERR_UNAVAILABLE…: with one message that names what is in the way.
 */
enum hg_status hg_restore_open(const struct hg_restore_options *opt, struct hg_restore **out) HG_MUST_CHECK;
void hg_restore_leave(struct hg_restore *r);
/*
 * held: ranges, apart, in units of hg_driver_map_unit, that are mapped without access; all recorded device memory lies in
 * them, or its addresses are free. A target replaces them so that they are never free in between: other threads of the
 * process map memory, too. On failure the driver is open and incomplete: the process's calls cannot be answered any more.
 */
enum hg_status hg_restore_run(struct hg_restore *r, const struct hg_held *held, size_t nr_held) HG_MUST_CHECK;
void hg_restore_close(struct hg_restore *r);	/* NULL is allowed */

/* Asks the open target to take ranges as in struct hg_target_ops; *taken: it did. */
enum hg_status hg_driver_reserve(const struct hg_held *range, size_t nr, bool *taken) HG_MUST_CHECK;
/* What hg_restore_run does first; nr 0: no more. */
enum hg_status hg_driver_reserved(const struct hg_held *range, size_t nr) HG_MUST_CHECK;

/*
 * For a rebuilt event that had been recorded, and is done: cuEventElapsedTime with other events counts as if it had been
 * recorded age_ns ago, until it is recorded again. HG_ERR_INVALID: no such event.
 */
enum hg_status hg_driver_event_age(const void *event, uint64_t age_ns) HG_MUST_CHECK;
/*
 * The calling thread's stack of contexts, bottom first, by handle (0: none); replaces what it had. In the place of a context
 * that has ended meanwhile there is none. HG_ERR_NOMEM: nothing has changed.
 */
enum hg_status hg_driver_ctx_stack(const uint64_t *ctx, size_t depth) HG_MUST_CHECK;

#endif
