/* track.h - the objects of a log, followed record by record. */
#ifndef HG_LOGDB_TRACK_H
#define HG_LOGDB_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "logdb/record.h"

/*
 * Used by the writer, which stores what changed, and by the reader, which applies the records that a
 * killed process left in its ring. Applying a record twice gives the same as once. Not
 * thread-safe.
 */
struct hg_tracked {
	uint64_t id, handle, size, parent, born, died;
	enum hg_kind kind;
	bool dirty;
	char *name;
	struct hg_rec *created;
	struct hg_rec **set;
	size_t nr_set;
	struct hg_tracked *next_dirty;
};

struct hg_track {
	struct hg_tracked **obj;	/* ascending id, dead ones included until forgotten */
	size_t nr_obj, capacity;
	struct hg_tracked *dirty;	/* changed since the last hg_track_clean */
	struct hg_track_addr *addr;	/* live memory: address -> id, see track.c */
};

/* Keeps what `v` does to objects. Records of calls that failed do nothing. */
enum hg_status hg_track_apply(struct hg_track *t, const struct hg_rec_view *v) HG_MUST_CHECK;
/* NULL: unknown id. */
struct hg_tracked *hg_track_find(const struct hg_track *t, uint64_t id);
void hg_track_clean(struct hg_track *t);
/* Removes a dead object from memory. */
void hg_track_forget(struct hg_track *t, struct hg_tracked *o);
/* Removes the dead objects, clean ones, for which `keep` is false; returns how many. */
size_t hg_track_prune(struct hg_track *t, bool (*keep)(const struct hg_tracked *o, void *arg), void *arg);
void hg_track_release(struct hg_track *t);

/* The stored form of an object. encode: malloc'ed. decode adds to t; HG_ERR_CORRUPT with a message. */
enum hg_status hg_tracked_encode(const struct hg_tracked *o, void **data, size_t *size) HG_MUST_CHECK;
enum hg_status hg_track_decode(struct hg_track *t, uint64_t id, const void *data, size_t size) HG_MUST_CHECK;

#endif
