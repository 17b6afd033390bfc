/* cache.h - compiled code kept on disk by content, for several processes at once. */
#ifndef HG_TRANSLATE_CACHE_H
#define HG_TRANSLATE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * One file for each key under $HGSHIM_CACHE, else $XDG_CACHE_HOME/hgshim, else ~/.cache/hgshim;
 * HGSHIM_CACHE=0 turns it off, and so does a folder that others may write in. Files appear whole (written under another name, renamed) and carry a
 * checksum: a damaged one is removed and counts as absent. When more than HGSHIM_CACHE_MAX bytes
 * (default 512 MiB; a suffix K, M or G is allowed) are kept, the files longest unused go, a little later. Failure is never an
 * error: there is no cache then. Any thread.
 */

/* *data is malloc'ed; false: not there. */
bool hg_cache_get(const unsigned char key[16], void **data, size_t *size);
void hg_cache_put(const unsigned char key[16], const void *data, size_t size);

/*
 * Who is about to compile what a key names says so, for other threads and processes that want the same: a lock to be given back,
 * HG_CACHE_BUSY when somebody else has it, HG_CACHE_UNLOCKED when there is no cache, or none that can be locked. Never waits; the lock
 * of a process that dies is free.
 */
enum { HG_CACHE_UNLOCKED = -1, HG_CACHE_BUSY = -2 };
int hg_cache_lock(const unsigned char key[16]);
void hg_cache_unlock(int lock);		/* whatever hg_cache_lock gave */

#endif
