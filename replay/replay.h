/* replay.h - rebuilds what a log describes, on a target, and compares. */
#ifndef HG_REPLAY_REPLAY_H
#define HG_REPLAY_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "logdb/logdb.h"
#include "replay/target.h"

struct hg_side;

enum hg_replay_phase { HG_REPLAY_REBUILD, HG_REPLAY_UPLOAD, HG_REPLAY_TAIL, HG_REPLAY_COMPARE };

struct hg_replay_options {
	const struct hg_target_ops *target;
	bool has_snapshot, has_to;
	uint64_t snapshot;		/* number; 0 is the newest */
	uint64_t to;			/* sequence number of the last record to replay */
	bool verify;
	uint32_t ulp;			/* floats may differ by so many units in the last place */
	struct hg_side *side;		/* gets what each launch does to memory (sides.h), or NULL */
	/* May be NULL. For each phase: done 0, then growing to total. */
	void (*progress)(enum hg_replay_phase phase, uint64_t done, uint64_t total, void *arg);
	void *arg;
};

enum hg_replay_verdict { HG_REPLAY_IDENTICAL, HG_REPLAY_CLOSE, HG_REPLAY_DIFFERS };

/* One comparison of one buffer, read back from the target, with what the log has of it. */
struct hg_replay_buffer {
	uint64_t addr, size;
	enum hg_region_kind kind;
	char *name;			/* of a variable, or NULL */
	uint64_t snapshot;		/* number of the snapshot that it was compared with */
	enum hg_replay_verdict verdict;
	uint64_t first, nr_bytes;	/* DIFFERS: offset of the first byte, how many */
	uint64_t max_ulp;		/* CLOSE */
};

/* A launch that may have made a difference. */
struct hg_replay_suspect {
	uint64_t seq;
	char *kernel;
	uint32_t stack;
	bool exact;			/* no other launch could have; else it is the first that could */
};

struct hg_replay_report {
	uint64_t snapshot;		/* number, 0: from the start of the log */
	uint64_t snapshot_seq, last_seq;
	uint64_t nr_objects, bytes_uploaded;
	uint64_t nr_calls, nr_launches;	/* of the tail */
	uint64_t nr_host_funcs;		/* could not be called */
	uint64_t nr_results, nr_results_differ;	/* device-to-host copies whose digest was compared */
	uint64_t nr_buffers, nr_buffers_differ;
	struct hg_replay_buffer *buffer;
	bool has_suspect;
	struct hg_replay_suspect suspect;
	char *stopped;			/* why the tail was not replayed to its end, or NULL */
	bool partial;			/* the snapshot itself is */
	uint64_t rebuild_ns, upload_ns, tail_ns, compare_ns;
};

struct hg_replay;

/*
 * Decides what is to be done and takes the recorded address ranges, before anything else is loaded that
 * could lie there. HG_ERR_NOSPC: `taken` has been told of each range that is not free; the process may try
 * again after executing itself without address randomisation. HG_ERR_REFUSED: the log does not hold what the options ask for.
 */
enum hg_status hg_replay_open(struct hg_log *log, const struct hg_replay_options *opt,
			      void (*taken)(uint64_t start, uint64_t end, void *arg), void *arg,
			      struct hg_replay **out) HG_MUST_CHECK;
/*
 * Opens the driver on the target, rebuilds, uploads, replays, compares. HG_ERR_DIFFERS, HG_ERR_FAULT,
 * HG_ERR_REFUSED: the report says where; other errors have been logged. The driver stays open, as it was at the end,
 * until hg_replay_close.
 */
enum hg_status hg_replay_run(struct hg_replay *r) HG_MUST_CHECK;
const struct hg_replay_report *hg_replay_report(const struct hg_replay *r);
void hg_replay_close(struct hg_replay *r);	/* NULL is allowed; closes the driver */

#endif
