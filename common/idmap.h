/* idmap.h - a hash map from u64 to u64 whose look-ups take no lock. */
#ifndef HG_COMMON_IDMAP_H
#define HG_COMMON_IDMAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/*
 * Any thread may call anything at any time except release. Changes are serialised by a mutex;
 * look-ups only repeat while a change is under way (a few nanoseconds), so they may sit on the
 * path of every call. Key 0 is not allowed. Memory comes from mmap, never from malloc, and is at
 * most four times what the largest population needed.
 */
struct hg_idmap {
	pthread_mutex_t lock;
	_Atomic(struct hg_idmap_table *) table;
	atomic_uint version;		/* odd while entries move */
	size_t count;
};

#define HG_IDMAP_INIT { .lock = PTHREAD_MUTEX_INITIALIZER }

/* False when the key is absent; *value is written only when it is there. */
bool hg_idmap_get(const struct hg_idmap *m, uint64_t key, uint64_t *value);
/* Adds or replaces. HG_ERR_NOMEM leaves the map as it was. */
enum hg_status hg_idmap_put(struct hg_idmap *m, uint64_t key, uint64_t value) HG_MUST_CHECK;
/* False when the key was absent; `value` may be NULL. */
bool hg_idmap_remove(struct hg_idmap *m, uint64_t key, uint64_t *value);
/* The same, only where `may` (NULL: always) is true of its value; it is asked with the map locked. */
bool hg_idmap_remove_if(struct hg_idmap *m, uint64_t key, uint64_t *value, bool (*may)(uint64_t value, void *arg), void *arg);
size_t hg_idmap_count(struct hg_idmap *m);
/* With changes locked out; stops at, and returns, the first result that is not 0. */
int hg_idmap_each(struct hg_idmap *m, int (*each)(uint64_t key, uint64_t value, void *arg), void *arg);
/* Around fork, from pthread_atfork handlers: the child's copy is then whole. */
void hg_idmap_lock(struct hg_idmap *m);
void hg_idmap_unlock(struct hg_idmap *m);
void hg_idmap_release(struct hg_idmap *m);	/* nobody may be inside */

#endif
