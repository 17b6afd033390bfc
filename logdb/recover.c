/* recover.c - the records that a killed process had in its ring. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/logdb_impl.h"

#define LARGEST_RING ((off_t)4 << 30)

static int by_seq(const void *a, const void *b)
{
	uint64_t x = (*(const struct hg_rec *const *)a)->seq, y = (*(const struct hg_rec *const *)b)->seq;

	return (x > y) - (x < y);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The whole file in memory; *ring stays NULL when there is none, or nothing that could be one. */
static enum hg_status read_ring(struct hg_log *log, struct hg_ring **ring)
{
	enum hg_status st = HG_OK;
	struct hg_ring *r = NULL;
	struct stat s;
	int fd;

	fd = openat(log->dirfd, "ring", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return HG_OK;
	if (fstat(fd, &s) || s.st_size < (off_t)sizeof(*r) || s.st_size > LARGEST_RING)
		goto damaged;
	r = aligned_alloc(128, ((size_t)s.st_size + 127) & ~(size_t)127);
	if (!r) {
		st = HG_ERR_NOMEM;
		goto out;
	}
	for (off_t at = 0; at < s.st_size;) {
		ssize_t n = pread(fd, (char *)r + at, (size_t)(s.st_size - at), at);

		if (n <= 0)
			goto damaged;
		at += n;
	}
	if (!hg_ring_is_valid(r, (size_t)s.st_size))
		goto damaged;
	*ring = r;
	goto out;

damaged:
	/* what LMDB holds is whole without it */
	pr_warn("the ring of '%s' is damaged: the last records of the process are lost", log->dir);
	log->ring_damaged = true;
	free(r);
out:
	close(fd);
	return st;
}

struct list {
	const struct hg_rec **rec;
	size_t nr, capacity;
};

static bool add(struct list *l, const struct hg_rec *rec)
{
	if (l->nr == l->capacity) {
		size_t capacity = l->capacity ? l->capacity * 2 : 1024;
		const struct hg_rec **more = realloc(l->rec, capacity * sizeof(*more));

		if (!more)
			return false;
		l->rec = more;
		l->capacity = capacity;
	}
	l->rec[l->nr++] = rec;
	return true;
}

/* Fragments are taken apart by their words alone: check these once, here. */
static bool fragment_is_whole(const struct hg_rec *rec)
{
	uint64_t room = rec->size - sizeof(*rec) - 8 * (uint64_t)rec->nr_words;

	switch (rec->call) {
	case HG_REC_PAYLOAD:
		return rec->nr_words == HG_PAYLOAD_NR_WORDS && rec->word[HG_PAYLOAD_LENGTH] <= room &&
		       rec->word[HG_PAYLOAD_OFFSET] < UINT64_C(1) << 48;
	case HG_REC_IMAGE:
		return rec->nr_words == HG_IMAGE_NR_WORDS && rec->word[HG_IMAGE_LENGTH] <= room &&
		       rec->word[HG_IMAGE_INDEX] < UINT32_MAX;
	case HG_REC_STACK:
		return rec->nr_words >= HG_STACK_NR_WORDS &&
		       rec->word[HG_STACK_DEPTH] == (uint64_t)rec->nr_words - HG_STACK_NR_WORDS;
	case HG_REC_UNSUPPORTED:
		return rec->nr_words == 1 && rec->word[0] <= room && rec->word[0] < 256;
	}
	return false;
}

static enum hg_status collect(struct hg_log *log, struct list *numbered, struct list *special)
{
	const struct hg_ring *r = log->ring;

	for (unsigned int lane = 0; lane <= r->nr_lanes; lane++) {
		uint64_t pos = atomic_load(&r->tail[lane].tail), head = atomic_load(&r->slot[lane].head);
		bool damaged;

		for (;;) {
			const struct hg_rec *rec = hg_ring_next(r, lane, &pos, head, &damaged);

			if (damaged) {
				pr_warn("lane %u of the ring of '%s' is damaged: its last records are lost", lane, log->dir);
				log->ring_damaged = true;
			}
			if (!rec)
				break;
			if (!rec->seq ? !fragment_is_whole(rec) : rec->seq < log->horizon)
				continue;
			if (!add(rec->seq ? numbered : special, rec))
				return HG_ERR_NOMEM;
		}
	}
	return HG_OK;
}

/*
 * Numbers may be missing because a thread was inside a call when the process died (its slot says from which
 * number on), or because records were dropped. Any other hole is a record that was lost, and what
 * comes behind it cannot be relied on.
 */
static enum hg_status cut_at_hole(struct hg_log *log, struct list *l)
{
	const struct hg_ring *r = log->ring;
	uint64_t in_flight[HG_RING_SLOTS], expected = log->horizon, excused = 0;
	size_t nr_in_flight = 0, next_in_flight = 0, kept;

	for (unsigned int i = 0; i < HG_RING_SLOTS; i++) {
		uint64_t pending = atomic_load(&r->slot[i].pending);

		if (pending != HG_SEQ_NONE && pending < atomic_load(&r->seq))
			in_flight[nr_in_flight++] = pending;
		excused += r->slot[i].dropped;
		log->nr_ring_dropped += r->slot[i].dropped;
		log->ring_gap |= r->slot[i].dropped && r->slot[i].dropped_state;
	}
	qsort(in_flight, nr_in_flight, sizeof(in_flight[0]), by_number);
	for (size_t i = 0; i < l->nr; i++)
		if (l->rec[i]->call == HG_REC_GAP && l->rec[i]->nr_words == HG_GAP_NR_WORDS &&
		    l->rec[i]->word[HG_GAP_COUNT] && l->rec[i]->word[HG_GAP_COUNT] < UINT64_C(1) << 40)
			excused += l->rec[i]->word[HG_GAP_COUNT] - 1;

	for (kept = 0; kept < l->nr; kept++) {
		uint64_t seq = l->rec[kept]->seq;

		if (kept && seq == l->rec[kept - 1]->seq)
			break;
		while (expected < seq && log->mode != HG_CALLS_OBJECTS) {
			if (next_in_flight < nr_in_flight && in_flight[next_in_flight] <= expected) {
				next_in_flight++;
				log->nr_in_flight++;
			} else if (excused) {
				excused--;
			} else {
				break;
			}
			expected++;
		}
		if (expected != seq && log->mode != HG_CALLS_OBJECTS)
			break;
		expected = seq + 1;
	}
	log->nr_lost = l->nr - kept;
	l->nr = kept;
	return HG_OK;
}

enum hg_status hg_log_recover(struct hg_log *log)
{
	struct list numbered = { 0 }, special = { 0 };
	enum hg_status st;

	st = read_ring(log, &log->ring);
	if (st || !log->ring)
		return st;
	st = collect(log, &numbered, &special);
	if (!st) {
		if (numbered.nr)
			qsort(numbered.rec, numbered.nr, sizeof(numbered.rec[0]), by_seq);
		st = cut_at_hole(log, &numbered);
	}
	log->recovered = numbered.rec;
	log->nr_recovered = st ? 0 : numbered.nr;
	log->special = special.rec;
	log->nr_special = st ? 0 : special.nr;
	return st;
}
