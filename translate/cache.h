/* cache.h - compiled code kept on disk by content, for several processes at once. */
#ifndef HG_TRANSLATE_CACHE_H
#define HG_TRANSLATE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * One file for each key under $HGSHIM_CACHE, else $XDG_CACHE_HOME/hgshim, else ~/.cache/hgshim;
 * HGSHIM_CACHE=0 turns it off. Files appear whole (written under another name, renamed) and carry a
 * checksum: a damaged one is removed and counts as absent. When more than HGSHIM_CACHE_MAX bytes
 * (default 512 MiB; a suffix K, M or G is allowed) are kept, the files longest unused go. Failure is never an error: there
 * is no cache then. Any thread.
 */

/* *data is malloc'ed; false: not there. */
bool hg_cache_get(const unsigned char key[16], void **data, size_t *size);
void hg_cache_put(const unsigned char key[16], const void *data, size_t size);

#endif
