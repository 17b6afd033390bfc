/* replay.c - rebuilds the state of a snapshot and does again what was logged after it. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/ring.h"
#include "replay/replay_priv.h"
#include "replay/restore.h"

#define PART (4u << 20)

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void rp_progress(struct hg_replay *r, enum hg_replay_phase phase, uint64_t done, uint64_t total)
{
	if (r->opt.progress)
		r->opt.progress(phase, done, total, r->opt.arg);
}

void rp_stop(struct hg_replay *r, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	r->stop = true;
	if (r->report.stopped)
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	r->report.stopped = text;
}

/* what a record of memory is about */

uint64_t rp_memory_addr(const struct hg_rec_view *v)
{
	for (int i = 0; i < v->nr_args; i++)
		if (v->arg[i].kind == HG_KIND_DPTR || v->arg[i].kind == HG_KIND_HPTR)
			return v->rec->word[i];
	return 0;
}

enum hg_status rp_places(const struct hg_rec_view *v, struct hg_place **out, size_t *nr)
{
	const unsigned char *begin = (const unsigned char *)v->rec, *at = (const unsigned char *)&v->rec->word[v->rec->nr_words];

	for (int i = 0; i < v->nr_args; i++)
		if (v->blob[i])
			at = (const unsigned char *)v->blob[i] + ((hg_blob_bytes(v->rec->word[i]) + 7) & ~(size_t)7);
	if (at > begin + v->rec->size)
		at = begin + v->rec->size;
	return hg_places_decode(at, v->rec->size - (size_t)(at - begin), out, nr);
}

/* planning */

static enum hg_status reserve_device(struct hg_replay *r, uint64_t addr, uint64_t size)
{
	uint64_t unit = hg_driver_map_unit(r->opt.target, addr);
	enum hg_status st = hg_reserve_add(&r->reserve, addr, size, unit);

	return st ? st : hg_reserve_add(&r->device, addr, size, unit);
}

static enum hg_status reserve_record(struct hg_replay *r, const struct hg_rec_view *v)
{
	struct hg_place *place;
	enum hg_status st;
	size_t nr;

	if (v->rec->result || !v->desc)
		return HG_OK;
	switch (v->desc->op) {
	case HG_OP_ALLOC:
		return reserve_device(r, rp_memory_addr(v), hg_rec_memory_size(v));
	case HG_OP_HOST_ALLOC:
	case HG_OP_HOST_REGISTER:
		return hg_reserve_add(&r->reserve, rp_memory_addr(v), hg_rec_memory_size(v), r->page);
	case HG_OP_MODULE:
		st = rp_places(v, &place, &nr);
		if (st)
			return st;
		for (size_t i = 0; i < nr && !st; i++)
			st = reserve_device(r, place[i].addr, place[i].size ? place[i].size : 1);
		free(place);
		return st;
	default:
		return HG_OK;
	}
}

static enum hg_status reserve_object(const struct hg_object *o, void *arg)
{
	return reserve_record(arg, &o->created);
}

/* Variables may lie where no record says: see dispatch.c. */
static enum hg_status reserve_regions(struct hg_replay *r)
{
	const struct hg_snapshot *s = r->snapshot;
	enum hg_status st = HG_OK;

	for (size_t i = 0; i < s->nr_regions && !st; i++)
		if (s->regions[i].kind == HG_REGION_GLOBAL)
			st = reserve_device(r, s->regions[i].addr, s->regions[i].size ? s->regions[i].size : 1);
	return st;
}

static enum hg_status reserve_call(const struct hg_rec_view *v, void *arg)
{
	return reserve_record(arg, v);
}

/* The newest snapshot whose state is at or before `to`; *number 0: there is none. */
static enum hg_status snapshot_before(struct hg_log *log, uint64_t to, uint64_t *number)
{
	const struct hg_snapshot *s;
	enum hg_status st;

	*number = 0;
	for (uint64_t n = hg_log_snapshot_next(log, 0); n; n = hg_log_snapshot_next(log, n)) {
		st = hg_log_snapshot(log, n, &s);
		if (st)
			return st;
		if (s->seq <= to)
			*number = n;
	}
	return HG_OK;
}

static enum hg_status choose_snapshot(struct hg_replay *r)
{
	uint64_t number = r->opt.snapshot;
	enum hg_status st;

	if (!r->opt.has_snapshot) {
		st = snapshot_before(r->log, r->opt.has_to ? r->opt.to : UINT64_MAX, &number);
		if (st)
			return st;
	}
	if (!number && !r->opt.has_snapshot)
		return HG_OK;
	st = hg_log_snapshot(r->log, number, &r->snapshot);
	if (st == HG_ERR_NOTFOUND && !number)
		pr_err("the log has no complete snapshot");
	if (st)
		return st == HG_ERR_NOTFOUND ? HG_ERR_REFUSED : st;
	if (r->opt.has_to && r->opt.to < r->snapshot->seq) {
		pr_err("snapshot %" PRIu64 " holds the state after record %" PRIu64 ": there is no going back to %" PRIu64,
		       r->snapshot->number, r->snapshot->seq, r->opt.to);
		return HG_ERR_REFUSED;
	}
	return HG_OK;
}

static uint64_t last_seq(const struct hg_replay *r)
{
	return r->opt.has_to ? r->opt.to : UINT64_MAX;
}

struct hg_replay *rp_new(struct hg_log *log, const struct hg_replay_options *opt)
{
	struct hg_replay *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->log = log;
	r->opt = *opt;
	r->ids = (struct hg_idmap)HG_IDMAP_INIT;
	r->page = (uint64_t)sysconf(_SC_PAGESIZE);
	return r;
}

enum hg_status hg_replay_open(struct hg_log *log, const struct hg_replay_options *opt,
			      void (*taken)(uint64_t start, uint64_t end, void *arg), void *arg,
			      struct hg_replay **out)
{
	struct hg_replay *r = rp_new(log, opt);
	struct hg_log_info info;
	enum hg_status st;
	uint64_t first;

	if (!r)
		return HG_ERR_NOMEM;
	st = choose_snapshot(r);
	if (st)
		goto err_close;
	hg_log_info(log, &info);
	first = HG_ID_FIRST;
	if (r->snapshot) {
		first = r->snapshot->seq + 1;
		r->report.snapshot = r->snapshot->number;
		r->report.partial = r->snapshot->partial;
	} else if (info.nr_records && info.first_seq != HG_ID_FIRST) {
		pr_err("the log has no snapshot to begin with, and its records begin with %" PRIu64, info.first_seq);
		st = HG_ERR_REFUSED;
		goto err_close;
	}
	r->expected = first;
	r->report.snapshot_seq = first - 1;
	r->report.last_seq = first - 1;
	r->checked_seq = first - 1;
	r->tail_total = info.last_seq >= first ? (last_seq(r) < info.last_seq ? last_seq(r) : info.last_seq) - first + 1 : 0;
	if (r->snapshot)
		st = hg_log_objects(log, r->snapshot->seq, reserve_object, r);
	if (!st && r->snapshot)
		st = reserve_regions(r);
	if (!st && last_seq(r) >= first)
		st = hg_log_calls(log, first, last_seq(r), reserve_call, r);
	if (!st)
		st = hg_reserve_hold(&r->reserve, taken, arg);
	if (st)
		goto err_close;
	*out = r;
	return HG_OK;

err_close:
	hg_replay_close(r);
	return st;
}

const struct hg_replay_report *hg_replay_report(const struct hg_replay *r)
{
	return &r->report;
}

static int unmap_registered(const struct hg_iv *iv, void *arg)
{
	(void)arg;
	munmap((void *)iv->start, iv->size);
	return 0;
}

void hg_replay_close(struct hg_replay *r)
{
	if (!r)
		return;
	if (r->driver_open) {
		hg_driver_act_as(0);
		hg_driver_close();
	}
	hg_ivmap_each(&r->registered, unmap_registered, NULL);
	hg_ivmap_release(&r->registered);
	hg_reserve_fini(&r->reserve);
	hg_reserve_fini(&r->device);
	hg_idmap_release(&r->ids);
	for (uint64_t i = 0; i < r->report.nr_buffers; i++)
		free(r->report.buffer[i].name);
	free(r->report.buffer);
	free(r->report.suspect.kernel);
	free(r->report.stopped);
	free(r->launch);
	free(r);
}

/* rebuilding */

/* All work is done, so that memory can be looked at. */
static enum hg_status settle(void)
{
	return hg_driver_quiesce(UINT32_MAX);
}

bool rp_is_memory(const struct hg_object *o)
{
	return o->kind == HG_KIND_DPTR || o->kind == HG_KIND_HPTR;
}

/* Nothing that gets an address by itself may come to lie where something was recorded. */
static enum hg_status hold_object(const struct hg_object *o, void *arg)
{
	struct hg_place *place;
	enum hg_status st;
	size_t nr;

	(void)arg;
	if (o->kind == HG_KIND_DPTR)
		return hg_driver_hold(o->handle, o->size);
	if (!o->created.desc || o->created.desc->op != HG_OP_MODULE)
		return HG_OK;
	st = rp_places(&o->created, &place, &nr);
	if (st)
		return st;
	for (size_t i = 0; i < nr && !st; i++)
		st = hg_driver_hold(place[i].addr, place[i].size);
	free(place);
	return st;
}

/*
 * The call that made the object, then those that shaped it. What the tail may stop at, a rebuild may not: an
 * object that cannot be made again is an error.
 */
static enum hg_status rebuild_object(const struct hg_object *o, void *arg)
{
	struct hg_replay *r = arg;
	enum hg_status st;

	if (rp_is_memory(o) != (r->phase == RP_MEMORY))
		return r->phase == RP_MEMORY && o->created.desc && o->created.desc->op == HG_OP_MODULE ?
			rp_module_vars(r, &o->created) : HG_OK;
	if (!o->created.rec || !o->created.desc) {
		pr_err("object %" PRIu64 " was made by a call that this version does not know", o->id);
		return HG_ERR_VERSION;
	}
	st = rp_call(r, &o->created);
	for (size_t i = 0; i < o->nr_set && !st && !r->stop; i++)
		if (o->set[i].desc)
			st = rp_call(r, &o->set[i]);
	if (st)
		return st;
	if (r->stop) {
		pr_err("cannot rebuild object %" PRIu64 ": %s", o->id, r->report.stopped ? r->report.stopped : "?");
		return r->verdict == HG_ERR_FAULT ? r->verdict : HG_ERR_REFUSED;
	}
	r->report.nr_objects++;
	rp_progress(r, HG_REPLAY_REBUILD, r->report.nr_objects, 0);
	return HG_OK;
}

enum hg_status rp_rebuild_objects(struct hg_replay *r)
{
	enum hg_status st = hg_log_objects(r->log, r->snapshot->seq, hold_object, r);

	for (size_t i = 0; i < r->snapshot->nr_regions && !st; i++)
		if (r->snapshot->regions[i].kind == HG_REGION_GLOBAL)
			st = hg_driver_hold(r->snapshot->regions[i].addr, r->snapshot->regions[i].size);
	if (st)
		return st;
	r->phase = RP_OBJECTS;
	hg_driver_vars_later(true);
	st = hg_log_objects(r->log, r->snapshot->seq, rebuild_object, r);
	hg_driver_vars_later(false);
	return st;
}

enum hg_status rp_rebuild_memory(struct hg_replay *r)
{
	enum hg_status st;

	r->phase = RP_MEMORY;
	st = hg_log_objects(r->log, r->snapshot->seq, rebuild_object, r);
	hg_driver_hold_end();
	return st ? st : settle();
}

static bool all_zero(const unsigned char *p, size_t size)
{
	return !size || (!p[0] && !memcmp(p, p + 1, size - 1));
}

static enum hg_status upload_region(struct hg_replay *r, size_t i, unsigned char *part, uint64_t *done, uint64_t total)
{
	const struct hg_region *region = &r->snapshot->regions[i];
	bool fresh = region->kind != HG_REGION_GLOBAL;	/* memory begins as zeros, variables with their values */
	enum hg_status st = HG_OK;

	for (uint64_t at = 0; at < region->size && !st; at += PART) {
		size_t n = region->size - at < PART ? region->size - at : PART;

		st = hg_log_region_read(r->log, r->snapshot, i, at, part, n);
		if (!st && !(fresh && all_zero(part, n)))
			st = hg_driver_write(region->addr + at, part, n);
		*done += n;
		rp_progress(r, HG_REPLAY_UPLOAD, *done, total);
	}
	return st;
}

/* In the process itself, host memory is there with its bytes: they may be newer than the snapshot's. */
static bool is_uploaded(const struct hg_replay *r, const struct hg_region *region)
{
	return !r->in_place || region->kind == HG_REGION_DEVICE || region->kind == HG_REGION_GLOBAL;
}

enum hg_status rp_upload(struct hg_replay *r)
{
	const struct hg_snapshot *s = r->snapshot;
	unsigned char *part = malloc(PART);
	uint64_t done = 0, total = 0;
	enum hg_status st = HG_OK;

	if (!part)
		return HG_ERR_NOMEM;
	for (size_t i = 0; i < s->nr_regions; i++)
		total += is_uploaded(r, &s->regions[i]) ? s->regions[i].size : 0;
	for (size_t i = 0; i < s->nr_regions && !st; i++) {
		if (!is_uploaded(r, &s->regions[i]))
			continue;
		if (hg_driver_has(s->regions[i].addr, s->regions[i].size)) {
			st = upload_region(r, i, part, &done, total);
		} else {
			pr_err("the snapshot has %" PRIu64 " bytes at 0x%" PRIx64 ", which belong to no rebuilt object",
			       s->regions[i].size, s->regions[i].addr);
			st = HG_ERR_CORRUPT;
		}
	}
	free(part);
	if (!st)
		r->report.bytes_uploaded = total;
	return st;
}

/* the tail */

/* The tail has come to the state of a later snapshot. */
static enum hg_status check_later(struct hg_replay *r, uint64_t before)
{
	const struct hg_snapshot *s;
	enum hg_status st = HG_OK;

	while (r->next_check && !st && !r->stop) {
		st = hg_log_snapshot(r->log, r->next_check, &s);
		if (st || s->seq >= before)
			return st;
		st = settle();
		if (!st)
			st = rp_verify(r, s, true);
		if (r->verdict == HG_ERR_DIFFERS)
			rp_stop(r, "the state differs from snapshot %" PRIu64 ", taken after record %" PRIu64, s->number,
				s->seq);
		r->checked_seq = s->seq;
		r->nr_launches = 0;
		r->next_check = hg_log_snapshot_next(r->log, r->next_check);
	}
	return st;
}

static enum hg_status tail_gap(struct hg_replay *r, const struct hg_rec *rec)
{
	uint64_t count = rec->nr_words > HG_GAP_COUNT ? rec->word[HG_GAP_COUNT] : 1;
	bool state = rec->nr_words <= HG_GAP_STATE || rec->word[HG_GAP_STATE];

	if (state)
		rp_stop(r, "%" PRIu64 " records were dropped before record %" PRIu64 ": from here on the log is replayable to "
			"snapshots only", count, rec->seq);
	return HG_OK;
}

static enum hg_status tail_call(const struct hg_rec_view *v, void *arg)
{
	const struct hg_rec *rec = v->rec;
	struct hg_replay *r = arg;
	uint64_t excused = 0;
	enum hg_status st;

	if (r->stop)
		return HG_ERR_REFUSED;
	if (rec->call == HG_REC_GAP && rec->nr_words > HG_GAP_COUNT && rec->word[HG_GAP_COUNT])
		excused = rec->word[HG_GAP_COUNT] - 1;
	if (rec->seq > r->expected + excused) {
		rp_stop(r, "records %" PRIu64 " to %" PRIu64 " are not in the log", r->expected, rec->seq - 1);
		return HG_ERR_REFUSED;
	}
	r->expected = rec->seq + 1;
	st = check_later(r, rec->seq);
	if (st || r->stop)
		return st ? st : HG_ERR_REFUSED;
	if (rec->call == HG_REC_GAP) {
		st = tail_gap(r, rec);
	} else if (rec->call >= HG_REC_GAP || rec->result) {
		st = HG_OK;	/* nothing happened */
	} else if (!v->desc) {
		rp_stop(r, "record %" PRIu64 " is of a call that this version does not know (%u)", rec->seq, rec->call);
	} else {
		st = rp_call(r, v);
		r->report.nr_calls++;
	}
	if (st)
		return st;
	if (r->stop)
		return HG_ERR_REFUSED;
	r->report.last_seq = rec->seq;
	rp_progress(r, HG_REPLAY_TAIL, rec->seq - r->report.snapshot_seq, r->tail_total);
	return HG_OK;
}

static enum hg_status run_tail(struct hg_replay *r)
{
	uint64_t first = r->report.snapshot_seq + 1;
	struct hg_log_info info;
	enum hg_status st = HG_OK;

	if (r->opt.verify)
		r->next_check = r->snapshot ? hg_log_snapshot_next(r->log, r->snapshot->number) :
			hg_log_snapshot_next(r->log, 0);
	if (last_seq(r) >= first)
		st = hg_log_calls(r->log, first, last_seq(r), tail_call, r);
	if (r->stop && st == HG_ERR_REFUSED)
		st = HG_OK;
	hg_log_info(r->log, &info);
	if (!st && !r->stop && info.snapshots_only && r->report.last_seq >= info.last_seq)
		pr_warn("the log may lack records at its end: %s",
			info.snapshots_only_why ? info.snapshots_only_why : "its tail is not complete");
	if (!st && !r->stop)
		st = check_later(r, r->report.last_seq + 1);
	if (!st)
		st = settle();
	return st;
}

/* A kernel that failed after the last call that would have told. */
static void check_fault(struct hg_replay *r)
{
	CUresult error;

	hg_driver_act_as(0);
	if (r->verdict == HG_ERR_FAULT || CU(cuCtxSetCurrent)(hg_driver_primary_ctx(0)))
		return;
	error = CU(cuCtxSynchronize)();
	if (!error || error == CUDA_ERROR_CONTEXT_IS_DESTROYED)
		return;
	rp_suspect(r, 0);
	rp_stop(r, "a kernel failed after record %" PRIu64, r->report.last_seq);
	if (!r->verdict)
		r->verdict = HG_ERR_FAULT;
}

/* Some targets take the addresses of device memory at once. */
static enum hg_status reserve_on_target(struct hg_replay *r)
{
	bool taken = false;
	enum hg_status st = HG_OK;

	hg_reserve_merge(&r->device);
	if (r->device.nr)
		st = hg_driver_reserve(r->device.range, r->device.nr, &taken);
	for (size_t i = 0; i < r->device.nr && taken && !st; i++)
		st = hg_reserve_forget(&r->reserve, r->device.range[i].start, r->device.range[i].end - r->device.range[i].start);
	return st;
}

enum hg_status hg_replay_run(struct hg_replay *r)
{
	uint64_t start = now_ns();
	enum hg_status st;

	st = hg_driver_open(r->opt.target);
	if (st)
		return st;
	r->driver_open = true;
	if (CU(cuInit)(0)) {
		pr_err("target '%s' has no device", r->opt.target->name);
		return HG_ERR_UNAVAILABLE;
	}
	st = reserve_on_target(r);
	if (st)
		return st;
	if (r->snapshot) {
		rp_progress(r, HG_REPLAY_REBUILD, 0, 0);
		st = rp_rebuild_objects(r);
		if (!st)
			st = rp_rebuild_memory(r);
		r->report.rebuild_ns = now_ns() - start;
		start = now_ns();
		if (!st)
			st = rp_upload(r);
		r->report.upload_ns = now_ns() - start;
		start = now_ns();
		if (!st && r->opt.verify)
			st = rp_verify(r, r->snapshot, false);
		r->report.compare_ns = now_ns() - start;
	}
	if (st)
		return st;
	start = now_ns();
	r->phase = RP_TAIL;
	if (!r->verdict)
		st = run_tail(r);
	r->report.tail_ns = now_ns() - start;
	if (!st)
		check_fault(r);
	if (st)
		return st;
	if (r->verdict)
		return r->verdict;
	if (!r->stop && r->opt.has_to && r->opt.to >= r->expected)
		rp_stop(r, "the log ends there");
	/* asked for a record by number, and not come so far */
	return r->stop && r->opt.has_to ? HG_ERR_REFUSED : HG_OK;
}
