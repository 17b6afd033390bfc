/* check.c - is everything in a log whole? */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/msg.h"
#include "logdb/logdb_impl.h"

struct check {
	struct hg_log *log;
	void (*problem)(const char *text, void *arg);
	void *arg;
	uint64_t nr_problems;

	struct hg_track track;		/* rebuilt from the records */
	uint64_t expected, missing, excused, first_missing;
	bool track_failed;
};

static void problem(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void sink(enum hg_msg_level level, const char *line, void *arg);

static void problem(struct check *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->nr_problems++;
	/* the caller may print: that is no further problem */
	hg_msg_sink_set(NULL, NULL);
	c->problem(text, c->arg);
	hg_msg_sink_set(sink, c);
}

/* What the reader would print about damage is a problem here. */
static void sink(enum hg_msg_level level, const char *line, void *arg)
{
	struct check *c = arg;

	if (level == HG_MSG_ERR)
		problem(c, "%s", line);
}

static enum hg_status check_record(const struct hg_rec_view *v, void *arg)
{
	struct check *c = arg;
	const struct hg_rec *rec = v->rec;

	/* before the last snapshot, and in a log of objects only, records are left out on purpose */
	if (c->expected && rec->seq > c->log->holes_to && c->log->mode != HG_CALLS_OBJECTS) {
		uint64_t from = c->expected > c->log->holes_to + 1 ? c->expected : c->log->holes_to + 1;

		if (rec->seq > from) {
			if (!c->missing)
				c->first_missing = from;
			c->missing += rec->seq - from;
		}
	}
	c->expected = rec->seq + 1;
	if (rec->call == HG_REC_GAP && rec->nr_words == HG_GAP_NR_WORDS && rec->word[HG_GAP_COUNT])
		c->excused += rec->word[HG_GAP_COUNT] - 1;

	if (!c->track_failed && hg_track_apply(&c->track, v))
		c->track_failed = true;
	for (int i = 0; i < v->nr_args; i++) {
		const void *data;
		size_t size;
		void *copy;
		enum hg_status st = HG_OK;

		if (!hg_arg_is_blob(&v->arg[i]))
			continue;
		if (hg_blob_enc(rec->word[i]) == HG_BLOB_IMAGE) {
			st = hg_log_image(c->log, v->blob[i], &data, &size);
			if (!st && size != hg_blob_len(rec->word[i]))
				problem(c, "record %" PRIu64 ": its image has another length", rec->seq);
		} else if (hg_blob_enc(rec->word[i]) == HG_BLOB_PAYLOAD &&
			   (rec->seq > c->log->holes_to || c->log->mode == HG_CALLS_ALL)) {
			st = hg_log_blob(c->log, v, i, &copy, &size);
			if (!st)
				free(copy);
		}
		if (st)
			problem(c, "record %" PRIu64 " cannot be replayed: its data is missing", rec->seq);
	}
	return HG_OK;
}

/*
 * Something took the object along that is older than the records that are left (those before a snapshot are dropped): the
 * record of that end does not tell them of this one.
 */
static bool went_with_older(const struct check *c, const struct hg_tracked *want, const struct hg_tracked *have)
{
	const struct hg_tracked *o;

	for (uint64_t id = want->parent; id && !want->died; id = o->parent) {
		o = hg_track_find(&c->log->track, id);
		if (!o)
			return true;
		if (o->died == have->died && !hg_track_find(&c->track, id))
			return true;
	}
	return false;
}

/* Objects that the records made must be there as the records left them. */
static void check_objects(struct check *c)
{
	for (size_t i = 0; i < c->track.nr_obj && !c->track_failed; i++) {
		const struct hg_tracked *want = c->track.obj[i];
		const struct hg_tracked *have = hg_track_find(&c->log->track, want->id);

		/* dead ones are forgotten once nothing needs them */
		if (!have && want->died && want->died <= c->log->holes_to)
			continue;
		if (!have)
			problem(c, "object %" PRIu64 " is in the records and not among the objects", want->id);
		else if (have->kind != want->kind || have->handle != want->handle || have->size != want->size)
			problem(c, "object %" PRIu64 " differs from the record that made it", want->id);
		else if (have->died != want->died && !went_with_older(c, want, have))
			problem(c, "object %" PRIu64 " died at %" PRIu64 " by its entry and at %" PRIu64 " by the records",
				want->id, have->died, want->died);
	}
}

static void check_snapshot(struct check *c, uint64_t number)
{
	const struct hg_snapshot *s;
	enum hg_status st;

	st = hg_log_snapshot(c->log, number, &s);
	if (st)
		return;
	for (size_t i = 0; i < s->nr_regions; i++) {
		const struct hg_region *r = &s->regions[i];
		unsigned char *buf = malloc(HG_CHUNK_SIZE);
		struct hg_hash_state digest;

		if (!buf) {
			problem(c, "snapshot %" PRIu64 ": out of memory", number);
			return;
		}
		hg_hash_begin(&digest);
		st = HG_OK;
		for (uint64_t at = 0; at < r->size && !st;) {
			size_t n = r->size - at < HG_CHUNK_SIZE ? (size_t)(r->size - at) : HG_CHUNK_SIZE;

			st = hg_log_region_read(c->log, s, i, at, buf, n);
			if (!st)
				hg_hash_update(&digest, buf, n);
			at += n;
		}
		if (st)
			problem(c, "snapshot %" PRIu64 ": the region at 0x%" PRIx64 " cannot be read", number, r->addr);
		else if (hg_hash_end(&digest) != s->digests[i])
			problem(c, "snapshot %" PRIu64 ": the region at 0x%" PRIx64 " does not have its digest", number,
				r->addr);
		if (r->object && !hg_track_find(&c->log->track, r->object))
			problem(c, "snapshot %" PRIu64 ": the object %" PRIu64 " of the region at 0x%" PRIx64 " is missing",
				number, r->object, r->addr);
		free(buf);
	}
}

static enum hg_status image_of_object(const struct hg_object *o, void *arg)
{
	struct check *c = arg;
	const struct hg_rec_view *v = &o->created;

	for (int i = 0; i < v->nr_args; i++) {
		const void *data;
		size_t size;

		if (v->arg[i].kind == HG_KIND_IMAGE && hg_blob_enc(v->rec->word[i]) == HG_BLOB_IMAGE &&
		    hg_log_image(c->log, v->blob[i], &data, &size))
			problem(c, "the image of object %" PRIu64 " is missing", o->id);
	}
	return HG_OK;
}

enum hg_status hg_log_check(struct hg_log *log, void (*report)(const char *text, void *arg), void *arg)
{
	struct check c = { .log = log, .problem = report, .arg = arg };
	uint64_t number = 0;
	enum hg_status st;

	hg_msg_sink_set(sink, &c);
	if (log->ring_damaged)
		problem(&c, "the ring is damaged: the last records of the process are lost");
	/* the first record that must be there */
	c.expected = log->holes_to ? log->holes_to + 1 : HG_ID_FIRST;
	st = hg_log_calls(log, 0, UINT64_MAX, check_record, &c);
	c.excused += log->nr_in_flight + log->nr_ring_dropped + log->nr_late;
	if (c.missing > c.excused)
		problem(&c, "%" PRIu64 " records are missing, the first is %" PRIu64, c.missing - c.excused,
			c.first_missing);
	if (!st)
		check_objects(&c);
	st = hg_log_objects(log, 0, image_of_object, &c);
	for (;;) {
		number = hg_log_snapshot_next(log, number);
		if (!number)
			break;
		check_snapshot(&c, number);
	}
	hg_track_release(&c.track);
	hg_msg_sink_set(NULL, NULL);
	if (c.track_failed || st == HG_ERR_NOMEM)
		return HG_ERR_NOMEM;
	return c.nr_problems ? HG_ERR_CORRUPT : HG_OK;
}
