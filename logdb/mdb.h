/* mdb.h - LMDB, opened at run time, behind hg_status. */
#ifndef HG_LOGDB_MDB_H
#define HG_LOGDB_MDB_H

#include <lmdb.h>
#include <stdbool.h>

#include "common/status.h"

/*
 * The application may carry an LMDB of its own: ours is opened with RTLD_LOCAL and reached through
 * this table only, never by symbol.
 */
#define HG_MDB_FUNCTIONS(X)                                                                        \
	X(env_create) X(env_open) X(env_close) X(env_set_maxdbs) X(env_set_mapsize) X(env_sync)    \
	X(env_get_fd) X(env_info) X(env_stat) X(txn_begin) X(txn_commit) X(txn_abort) X(txn_id)    \
	X(dbi_open) X(dbi_flags) X(put) X(get) X(del) X(drop) X(stat) X(cursor_open) X(cursor_close)            \
	X(cursor_get) X(cursor_put) X(cursor_del) X(strerror) X(reader_check)

struct hg_mdb {
#define X(name) __typeof__(mdb_##name) *name;
	HG_MDB_FUNCTIONS(X)
#undef X
};

/*
 * Opens liblmdb.so.0 once; thread-safe. Call it on an application's thread: dlopen takes the
 * loader's lock, which a thread of ours must not wait for.
 */
enum hg_status hg_mdb_load(const struct hg_mdb **out) HG_MUST_CHECK;

/* Translates a code of LMDB; says `doing` in the message unless rc is 0, not found or map full. */
enum hg_status hg_from_mdb(int rc, const char *doing) HG_MUST_CHECK;

/* The sub-databases of a log. */
#define HG_LOG_DBS(X)                                                                              \
	X(META, "meta", 0)                                                                         \
	X(SCHEMA, "schema", MDB_INTEGERKEY)                                                        \
	X(CALLS, "calls", MDB_INTEGERKEY)                                                          \
	X(OBJECTS, "objects", MDB_INTEGERKEY)                                                      \
	X(IMAGES, "images", 0)                                                                     \
	X(KERNELS, "kernels", MDB_INTEGERKEY)                                                      \
	X(SNAPSHOTS, "snapshots", MDB_INTEGERKEY)                                                  \
	X(CHUNKS, "chunks", 0)                                                                     \
	X(STACKS, "stacks", MDB_INTEGERKEY)                                                        \
	X(UNSUPPORTED, "unsupported", 0)

enum hg_log_db {
#define X(name, text, flags) HG_DB_##name,
	HG_LOG_DBS(X)
#undef X
	HG_DB_COUNT
};

#endif
