/* logdb.h - reading a log: what hgshim-log, hgshim-replay and the tests call. */
#ifndef HG_LOGDB_LOGDB_H
#define HG_LOGDB_LOGDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "logdb/record.h"
#include "logdb/recorder.h"

/*
 * An open log. Opening recovers the ring's tail: records that a killed process had committed to
 * its lanes and that the writer had not stored (into memory for a read-only log, so a log on
 * a read-only medium opens too). Opening the log of a live process is allowed: it gives what the
 * writer has stored. Not thread-safe; pointers handed out live until hg_log_close unless said.
 */
struct hg_log;

enum hg_status hg_log_open(const char *dir, struct hg_log **out) HG_MUST_CHECK;
void hg_log_close(struct hg_log *log);	/* NULL is allowed */

/*
 * Turns what a user types into a log directory: a directory, a pid (through its control mapping,
 * else the newest default directory ending in -<pid>), or NULL (the newest under the default
 * state directory). Writes a path of at most PATH_MAX.
 */
enum hg_status hg_log_resolve(const char *arg, char path[4096]) HG_MUST_CHECK;

struct hg_log_info {
	uint32_t version;
	uint32_t pid;
	bool live;			/* the process still runs and still has the log mapped */
	bool snapshots_only;		/* a gap or a cap: the tail is not complete */
	const char *snapshots_only_why;	/* NULL when !snapshots_only */
	const char *program;		/* path of the executable */
	const char *executor;		/* at the start */
	const char *executor_now;	/* since record executor_seq, if that is not 0; else the same */
	uint64_t executor_seq;
	uint64_t started_unix_ns;
	uint64_t nr_records, first_seq, last_seq, nr_recovered, nr_dropped;
	uint64_t nr_objects_live, nr_snapshots, nr_images;
	uint64_t bytes_lmdb, bytes_packs, bytes_payload;
};
void hg_log_info(struct hg_log *log, struct hg_log_info *out);
/* Calls seen that hgshim does not have, with counts; stops at the first non-zero return. */
int hg_log_unsupported(struct hg_log *log, int (*each)(const char *symbol, uint64_t count, void *arg), void *arg);

/* Records with first <= seq <= last in order; `each` returns HG_OK to go on. The view dies with the call. */
enum hg_status hg_log_calls(struct hg_log *log, uint64_t first, uint64_t last,
			    enum hg_status (*each)(const struct hg_rec_view *v, void *arg), void *arg) HG_MUST_CHECK;

/*
 * Objects. Each has the record that created it and the records that shape it (op SET, per call
 * and key arguments the last one): what a restore replays. Kept while alive, and after death
 * while a kept snapshot or the tail still needs them.
 */
struct hg_object {
	uint64_t id;
	enum hg_kind kind;		/* HG_KIND_DPTR for device memory, HG_KIND_HPTR for host memory */
	uint64_t handle;		/* value the application holds: handle or address */
	uint64_t size;			/* of memory, else 0 */
	uint64_t parent;		/* ctx, or module of a function */
	uint64_t born_seq, died_seq;	/* died 0: alive */
	const char *name;		/* of a function, else NULL */
	struct hg_rec_view created;
	const struct hg_rec_view *set;	/* nr_set records */
	size_t nr_set;
};
/* Those alive at seq (0: now), ascending id. The object dies with the call. */
enum hg_status hg_log_objects(struct hg_log *log, uint64_t seq,
			      enum hg_status (*each)(const struct hg_object *o, void *arg), void *arg) HG_MUST_CHECK;

struct hg_log_kernel {
	uint64_t id;			/* of the function object */
	uint64_t module;		/* id of the module or library it came from */
	unsigned char image[16];	/* key of that one's image; zero if unknown */
	const char *name;
};
/* Every kernel that was ever looked up, ascending id, those of modules that are gone included. */
enum hg_status hg_log_kernels(struct hg_log *log, enum hg_status (*each)(const struct hg_log_kernel *k, void *arg),
			      void *arg) HG_MUST_CHECK;

/*
 * Contents of a blob word of a record; *data is malloc'ed, the caller frees. HG_ERR_NOTFOUND without a
 * message when the record holds a digest only, or nothing.
 */
enum hg_status hg_log_blob(struct hg_log *log, const struct hg_rec_view *v, int arg,
			   void **data, size_t *size) HG_MUST_CHECK;
/* An image by key: pointer into the log. */
enum hg_status hg_log_image(struct hg_log *log, const unsigned char key[16],
			    const void **data, size_t *size) HG_MUST_CHECK;

struct hg_snapshot {
	uint64_t number;	/* from 1 */
	uint64_t seq;		/* every record with seq <= this is in the state */
	uint64_t taken_unix_ns, stall_ns;
	uint64_t bytes, bytes_written;
	bool partial;
	const char *coverage;	/* JSON text or NULL */
	size_t nr_regions;
	const struct hg_region *regions;
	const uint64_t *digests;	/* XXH3 of each region's bytes */
};
/* number 0: the newest complete one. HG_ERR_NOTFOUND (no message for number 0) when there is none. */
enum hg_status hg_log_snapshot(struct hg_log *log, uint64_t number, const struct hg_snapshot **out) HG_MUST_CHECK;
/* Every complete snapshot's number, ascending: 0 when `after` is the last. */
uint64_t hg_log_snapshot_next(struct hg_log *log, uint64_t after);
/* Part of a region's bytes; checks each chunk's hash once read. */
enum hg_status hg_log_region_read(struct hg_log *log, const struct hg_snapshot *s, size_t region,
				  uint64_t offset, void *dst, size_t size) HG_MUST_CHECK;

/* Frames of a stack id: return addresses and, when symbolised, "function+0x12 (object)". */
enum hg_status hg_log_stack(struct hg_log *log, uint32_t id,
			    int (*each)(uint64_t pc, const char *text, void *arg), void *arg) HG_MUST_CHECK;

/*
 * Checks everything: every record decodes, sequence without holes but marked ones, every chunk
 * and image present with its hash, objects consistent with records. Reports each problem through
 * `problem`; HG_ERR_CORRUPT if there was one.
 */
enum hg_status hg_log_check(struct hg_log *log, void (*problem)(const char *text, void *arg), void *arg) HG_MUST_CHECK;

#endif
