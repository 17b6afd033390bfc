/* recorder_impl.h - what the files of the recorder share; nobody else includes it. */
#ifndef HG_LOGDB_RECORDER_IMPL_H
#define HG_LOGDB_RECORDER_IMPL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "common/idmap.h"
#include "common/msg.h"
#include "logdb/format.h"
#include "logdb/mdb.h"
#include "logdb/recorder.h"
#include "logdb/ring.h"

/* A descriptor that the application could close or reuse, in case the private table was refused. */
struct hg_guarded_fd {
	int fd;
	dev_t dev;
	ino_t ino;
};

struct hg_recorder {
	/* read by every recording thread, written hardly ever */
	_Atomic uint64_t *generation;	/* on a page that fork wipes; 0: recording is off here */
	struct hg_ring *ring;
	uint64_t lane_bytes;
	uint64_t skip_ops;		/* bit per enum hg_op that this mode does not record */
	size_t ring_bytes;
	atomic_bool on;
	atomic_uint writer_sleeps;	/* futex: 1 while the writer sleeps, threads store 0 and wake it */
	atomic_uint drained;		/* futex: changes after each pass of the writer */
	atomic_uint waiters;		/* threads that wait for `drained` */
	_Atomic uint64_t stored;	/* every record below is in LMDB */
	atomic_uint threads;		/* serial numbers given out */
	pthread_mutex_t shared_lock;	/* of the shared lane */

	/* payload: file << 40 | offset of the next byte; bytes since the last snapshot */
	_Atomic uint64_t payload_next, payload_used;
	uint64_t payload_limit;
	atomic_bool payload_on;

	struct hg_idmap images;		/* keys that are in the ring or in LMDB */
	struct hg_idmap stacks;		/* hash of the frames -> id */
	atomic_uint next_stack;
	int (*backtrace)(void **pc, int max);	/* NULL: stacks are off */

	/* why the tail is not complete, or NULL; the writer stores it */
	_Atomic(const char *) gap_why;

	/* messages of our own threads, until a thread of the application prints them */
	pthread_mutex_t message_lock;
	char messages[4096];
	size_t messages_size;
	atomic_bool has_messages;
	bool muted;			/* the writer repeats what failed: say it once */

	struct hg_recorder_config cfg;
	char dir[PATH_MAX];
	char executor[16];
	char off_why[256];

	const struct hg_mdb *mdb;
	struct hg_store *store;		/* the writer's own state */
	pthread_mutex_t snapshot_lock;	/* held during a snapshot: LMDB must not be closed under it */
	atomic_bool is_read;		/* hg_recorder_log: the map must stay where it is; set under txn_lock */
	pthread_mutex_t txn_lock;	/* one write transaction of ours at a time; the map may be resized under it */
	MDB_env *env;
	MDB_dbi dbi[HG_DB_COUNT];
	size_t map_size;
	int dirfd, control_fd;
	bool table_is_private;
	struct hg_guarded_fd guarded[32];
	size_t nr_guarded;

	struct hg_control *control;
	pthread_t writer, checkpoint;
	bool has_writer, has_checkpoint;
	atomic_int checkpoint_tid;
	atomic_bool stop, writer_done;

	/* start: 0 not yet, 1 running, 2 failed */
	pthread_mutex_t start_lock;
	pthread_cond_t start_cond;
	int start_state;
	enum hg_status start_status;

	/* the snapshot just committed, for the writer to drop what is older */
	_Atomic uint64_t prune_seq;
	uint64_t nr_snapshots;
	uint32_t pid;
	bool explained;
	struct hg_recorder *retired;	/* earlier recorders of this process: late threads may look at them */
};

/* recorder.c */
void hg_recorder_off(struct hg_recorder *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hg_recorder_gap(struct hg_recorder *r, const char *why);	/* `why` must live for ever */
void hg_recorder_sink(enum hg_msg_level level, const char *line, void *recorder);
/* Are all descriptors still the ones that were opened? Only asked where the table is not private. */
bool hg_recorder_fds_are_whole(struct hg_recorder *r);

/* store.c: LMDB's side, on the writer thread unless said */
enum hg_status hg_store_open(struct hg_recorder *r) HG_MUST_CHECK;
void hg_store_close(struct hg_recorder *r);
/* One pass over the ring. *moved: something was stored. */
enum hg_status hg_store_pass(struct hg_recorder *r, bool *moved) HG_MUST_CHECK;
/* More came than a pass takes, or a lane is filling up: do not sleep. */
bool hg_store_is_behind(const struct hg_recorder *r);
/* Bytes that the last pass found in the fullest lane. */
size_t hg_store_filled(const struct hg_recorder *r);
/* With txn_lock held: a snapshot that contains everything so far makes earlier gaps harmless. */
void hg_store_gap_closed(struct hg_recorder *r);
/* Drops what the last snapshot made unnecessary. */
void hg_store_prune(struct hg_recorder *r);
/* Any of our threads, with txn_lock held and no transaction: after HG_ERR_NOSPC from a full map. */
enum hg_status hg_store_grow_map(struct hg_recorder *r) HG_MUST_CHECK;
/* Likewise: room in the map for so many bytes more, with some to spare. */
enum hg_status hg_store_reserve_map(struct hg_recorder *r, size_t bytes) HG_MUST_CHECK;
enum hg_status hg_store_put_u64(struct hg_recorder *r, MDB_txn *txn, const char *key, uint64_t v) HG_MUST_CHECK;
enum hg_status hg_store_put_str(struct hg_recorder *r, MDB_txn *txn, const char *key, const char *s) HG_MUST_CHECK;
/* On the checkpoint thread: another target answers from now on. */
enum hg_status hg_store_executor(struct hg_recorder *r, const char *name) HG_MUST_CHECK;
/* Why recording ended, if it did not end in order. */
void hg_store_stopped(struct hg_recorder *r);

/* checkpoint.c */
void *hg_checkpoint_main(void *recorder);

/* symbol.c: "function+0x12 (object)" of an address of this process, from /proc/self/maps and the files. */
struct hg_symbols;
struct hg_symbols *hg_symbols_open(void);
void hg_symbols_close(struct hg_symbols *s);
void hg_symbols_name(struct hg_symbols *s, uint64_t pc, char *out, size_t size);

int hg_futex_wait(const atomic_uint *word, unsigned int value, unsigned int timeout_ms, bool shared);
void hg_futex_wake(const atomic_uint *word, bool shared);
uint64_t hg_now_ns(void);	/* monotonic */

#endif
