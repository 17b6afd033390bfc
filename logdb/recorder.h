/* recorder.h - the recording side: what the application's threads and the checkpoint call. */
#ifndef HG_LOGDB_RECORDER_H
#define HG_LOGDB_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "logdb/control.h"
#include "logdb/record.h"

/*
 * One recorder per process, created at the first CUDA call. It owns two threads, the writer
 * and the checkpoint thread, both with every signal blocked and with a descriptor table of their
 * own (close_range(3, ~0, CLOSE_RANGE_UNSHARE) in the writer, which then creates the checkpoint
 * thread): no close, closefrom or dup2 of the application reaches a descriptor of hgshim, and
 * none of hgshim's appears in the application. Where the kernel refuses that, descriptors
 * are moved high and compared with fstat before each transaction; a mismatch turns recording off.
 * Ring and control mappings are MADV_DONTFORK: a forked child has no recorder.
 */
struct hg_recorder;

enum hg_calls_mode { HG_CALLS_TAIL, HG_CALLS_ALL, HG_CALLS_OBJECTS };

struct hg_recorder_config {
	const char *dir;		/* log directory, made if missing (0700) */
	enum hg_calls_mode calls;	/* HGSHIM_CALLS */
	bool payload;			/* HGSHIM_PAYLOAD */
	bool stacks;			/* HGSHIM_STACKS */
	uint64_t payload_limit;		/* bytes kept since the last snapshot; 0 = default 4 GiB */
	uint64_t tail_limit;		/* record bytes since the last snapshot; 0 = default 8 GiB */
	const char *executor;		/* "cpu", "cuda", … for the control page and meta */
	const char *driver;		/* file of the driver behind hgshim, for the control page; NULL none */
	/* Runs on the checkpoint thread for each request; its result is the request's. */
	enum hg_status (*checkpoint)(const struct hg_control *request, void *arg);
	void *arg;
};

/*
 * Returns when the log exists, the lanes are mapped and both threads run. On failure nothing
 * is left but a message. The writer's own messages are kept and printed by the next
 * application thread that enters the slow path or by hg_recorder_stop.
 */
enum hg_status hg_recorder_start(const struct hg_recorder_config *cfg, struct hg_recorder **out) HG_MUST_CHECK;
/* At exit: drains, closes LMDB, ends the threads. Bounded to ~2 s; NULL is allowed. */
void hg_recorder_stop(struct hg_recorder *r);
/* False after recording turned itself off (disk full, damaged descriptor, …). */
bool hg_recorder_is_on(const struct hg_recorder *r);
/*
 * The log's directory: cfg.dir made absolute, or "<cfg.dir>.<pid>" where cfg.dir already held another
 * log, which is never touched.
 */
const char *hg_recorder_dir(const struct hg_recorder *r);

/*
 * Writing a record: begin gives room for header, nr_words and blob_bytes (each blob padded to 8)
 * in the calling thread's lane, header filled in but for result and ctx; the caller fills in the
 * rest and commits. No lock, allocation or system call unless the lane is full; or half full, and the
 * writer still asleep: then it is woken. One record at a time per thread. `seq` is from hg_recorder_seq (taken before a call that destroys, after any
 * other); between hg_recorder_seq and commit or cancel the writer keeps later records back, so
 * that the log is in sequence order. NULL: not recorded (lane full and the op may be dropped,
 * or recording is off); then hg_recorder_cancel is not needed.
 *
 * When the lane is full, NONE records are dropped and counted, LAUNCH and SYNC records after a
 * wait of 100 ms (a GAP record follows; if a launch was dropped, the log is replayable to snapshots
 * only); all others wait for the writer, bounded at 10 s, after which recording turns off. The
 * writer's messages are printed by threads that wait or come for the first time.
 */
uint64_t hg_recorder_seq(struct hg_recorder *r);
struct hg_rec *hg_recorder_begin(struct hg_recorder *r, const struct hg_call_desc *desc, uint64_t seq,
				 unsigned int nr_words, size_t blob_bytes);
void hg_recorder_commit(struct hg_recorder *r, struct hg_rec *rec);
void hg_recorder_cancel(struct hg_recorder *r);	/* a seq was taken and no record comes */

/*
 * Bytes too large for a record: copied through the lane in fragments and kept by the writer
 * in the payload file; *ref is what the record then holds. Bytes up to HG_PAYLOAD_INLINE belong in
 * the record itself. HG_ERR_NOSPC: the cap is reached, record a digest instead.
 * May be called before or after begin's seq, not between begin and commit.
 */
#define HG_PAYLOAD_INLINE 1024
enum hg_status hg_recorder_payload(struct hg_recorder *r, const void *data, size_t size,
				   struct hg_payload_ref *ref) HG_MUST_CHECK;
/* Keeps a code image once per content (XXH3-128 key written to key[16]). */
enum hg_status hg_recorder_image(struct hg_recorder *r, const void *data, size_t size,
				 unsigned char key[16]) HG_MUST_CHECK;
/* Id of the calling thread's stack (libunwind, deduplicated); 0 when stacks are off. */
uint32_t hg_recorder_stack(struct hg_recorder *r);
/* Counts a call that hgshim does not have, by symbol, for hg_log_unsupported. */
void hg_recorder_unsupported(struct hg_recorder *r, const char *symbol);
/* Serial number of the calling thread, as in hg_rec.thread. */
uint32_t hg_recorder_thread(struct hg_recorder *r);
/* Waits until every record committed so far is in LMDB. Used with the gate closed. */
enum hg_status hg_recorder_drain(struct hg_recorder *r, uint32_t timeout_ms) HG_MUST_CHECK;
/* For the checkpoint callback: state, done and total of the control page. */
void hg_recorder_progress(struct hg_recorder *r, enum hg_control_state state, uint64_t done, uint64_t total);
/* For the checkpoint callback: for how long the gate was closed. */
void hg_recorder_stalled(struct hg_recorder *r, uint64_t ns);
/* The reason the tool prints when the callback fails; the first one set stays. */
void hg_recorder_explain(struct hg_recorder *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * The process's own log, to be read on the checkpoint thread, in the checkpoint callback and after
 * hg_recorder_drain: in the environment that the writer has open, since LMDB must not be opened twice in a process. What is
 * written later is not seen. hg_log_close (logdb.h) ends it and leaves the environment open. Until then the writer
 * goes on, but no snapshot can begin (HG_ERR_REFUSED), and there is only one such reader.
 */
struct hg_log;
enum hg_status hg_recorder_log(struct hg_recorder *r, struct hg_log **out) HG_MUST_CHECK;
/* The target that answers from now on: for the control page and the log's meta. On the checkpoint thread. */
void hg_recorder_executor(struct hg_recorder *r, const char *name);

/*
 * A snapshot, from the checkpoint callback with the gate closed. Regions are appended, then
 * committed: chunks of HG_CHUNK_SIZE, all-zero ones skipped, known ones referenced by hash, new ones
 * written with O_DIRECT to a pack file where the file system has it; fdatasync; only then the
 * manifest in one LMDB transaction. After commit, launches and transfers older than the
 * snapshot are dropped (HG_CALLS_TAIL). An abandoned snapshot leaves nothing
 * behind; a commit that fails abandons. hg_snapshot_region and hg_snapshot_commit report progress with the
 * total that the callback last gave to hg_recorder_progress.
 */
#define HG_CHUNK_SIZE (1u << 20)

enum hg_region_kind { HG_REGION_DEVICE = 1, HG_REGION_GLOBAL, HG_REGION_HOST, HG_REGION_REGISTERED };

struct hg_region {
	uint64_t addr, size;
	uint64_t object;	/* id of the allocation's or module's object */
	enum hg_region_kind kind;
	const char *name;	/* variable's name for HG_REGION_GLOBAL, else NULL */
};

struct hg_snapshot_writer;
/* Copies [addr, addr+size) of device memory to dst. */
typedef enum hg_status (*hg_read_fn)(void *dst, uint64_t addr, size_t size, void *arg);

enum hg_status hg_snapshot_begin(struct hg_recorder *r, struct hg_snapshot_writer **out) HG_MUST_CHECK;
enum hg_status hg_snapshot_region(struct hg_snapshot_writer *s, const struct hg_region *region,
				  hg_read_fn read, void *arg) HG_MUST_CHECK;
/* coverage: JSON text of the coverage manifest, may be NULL. partial: it has uncovered objects. */
enum hg_status hg_snapshot_commit(struct hg_snapshot_writer *s, const char *coverage, bool partial,
				  uint64_t *number, uint64_t *bytes, uint64_t *bytes_written) HG_MUST_CHECK;
void hg_snapshot_abandon(struct hg_snapshot_writer *s);	/* NULL is allowed */

#endif
