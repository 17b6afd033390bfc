/* logdb_impl.h - what the files of the reader share; nobody else includes it. */
#ifndef HG_LOGDB_LOGDB_IMPL_H
#define HG_LOGDB_LOGDB_IMPL_H

#include <limits.h>

#include "logdb/format.h"
#include "logdb/logdb.h"
#include "logdb/mdb.h"
#include "logdb/ring.h"
#include "logdb/track.h"
#include "logdb/view.h"

struct hg_log_snap {
	struct hg_snapshot pub;
	void *manifest;			/* malloc'ed copy; strings point into it */
	struct hg_region *regions;
	uint64_t *digests;
	const unsigned char **keys;	/* of each region's chunks, 16 bytes each */
	struct hg_log_snap *next;
};

struct hg_log_image_copy {
	struct hg_key128 key;
	void *data;
	size_t size;
	struct hg_log_image_copy *next;
};

struct hg_log {
	char dir[PATH_MAX];
	int dirfd;
	bool live;
	const struct hg_mdb *mdb;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi[HG_DB_COUNT];
	void (*end)(void *arg);		/* of a log that is read in its writer's environment; NULL: `env` is our own */
	void *end_arg;

	/* rows as this log has them; NULL: this build's own row is the same, or nobody knows it */
	struct hg_call_row *row[HG_CALL_ID_LIMIT];
	struct hg_track track;

	/* what a killed process left in its ring */
	struct hg_ring *ring;		/* a copy of the file */
	const struct hg_rec **recovered;	/* numbered records, ascending, without unexplained holes */
	size_t nr_recovered;
	const struct hg_rec **special;	/* fragments, in no order */
	size_t nr_special;
	uint64_t nr_in_flight;		/* calls that the process was in when it died */
	uint64_t nr_lost, nr_ring_dropped;
	bool ring_damaged, ring_gap;

	uint64_t horizon, holes_to, gap_seq, mode, nr_late;
	bool objects_loaded;
	char *program, *executor, *executor_now, *gap_why, *off_why;
	struct hg_log_snap *snaps;
	struct hg_log_image_copy *images;

	int pack_fd;
	uint32_t pack;
	unsigned char *chunk;		/* the last one read */
	struct hg_key128 chunk_key;
	size_t chunk_size;
	unsigned char *block;		/* an aligned copy of the block under iteration */
	size_t block_capacity;
};

/*
 * The log that `env` is the environment of, as its newest transaction has it; dir is copied, dirfd stays the
 * caller's. `end` is called once the transaction is over, on failure as well.
 */
enum hg_status hg_log_share(const struct hg_mdb *mdb, MDB_env *env, const MDB_dbi *dbi, const char *dir, int dirfd,
			    void (*end)(void *arg), void *arg, struct hg_log **out) HG_MUST_CHECK;
/* The row that decodes a record of this log, or NULL. */
const struct hg_call_row *hg_log_row(const struct hg_log *log, unsigned int call);
enum hg_status hg_log_get(struct hg_log *log, enum hg_log_db db, const void *key, size_t size, MDB_val *out) HG_MUST_CHECK;
/* recover.c: reads the ring of a process that is gone. A damaged ring is said, and is no error. */
enum hg_status hg_log_recover(struct hg_log *log) HG_MUST_CHECK;
/* Walks one stored block; `each` as in hg_log_calls. problem != NULL: go on behind records that are damaged. */
enum hg_status hg_log_block(struct hg_log *log, uint64_t key, const MDB_val *v, uint64_t first, uint64_t last,
			    enum hg_status (*each)(const struct hg_rec_view *v, void *arg), void *arg) HG_MUST_CHECK;
/* A chunk by key, checked against its hash; the data lives until the next call. */
enum hg_status hg_log_chunk(struct hg_log *log, const unsigned char key[16], size_t size,
			    const unsigned char **data) HG_MUST_CHECK;

#endif
