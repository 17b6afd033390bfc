/* walk.h - is a file something that LMDB can read without harm? */
#ifndef HG_LOGDB_WALK_H
#define HG_LOGDB_WALK_H

#include <stdint.h>

#include "common/status.h"

/*
 * LMDB trusts its file: a page number behind the end is a SIGBUS, a wrong count an assertion. This
 * walks every tree that a reader may touch, by pread, and checks what LMDB does not. txnid: the state to
 * check, as a reading transaction has pinned it, or 0 for the newest. HG_ERR_CORRUPT with one message
 * that names `path`.
 */
enum hg_status hg_mdb_walk(int fd, const char *path, uint64_t txnid) HG_MUST_CHECK;

#endif
