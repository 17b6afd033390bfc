/* verify.c - compares the state of the target with what a log says it was. */
#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/msg.h"
#include "replay/replay_priv.h"

#define PART (4u << 20)

/* which launch made a difference */

void rp_launch_note(struct hg_replay *r, const struct hg_rec_view *v, const struct hg_kernel_info *k,
		    const unsigned char *params)
{
	struct rp_launch *l;

	if (r->nr_launches == r->launch_capacity) {
		size_t capacity = r->launch_capacity ? 2 * r->launch_capacity : 1024;
		struct rp_launch *grown = realloc(r->launch, capacity * sizeof(*grown));

		if (!grown)
			return;
		r->launch = grown;
		r->launch_capacity = capacity;
	}
	l = &r->launch[r->nr_launches++];
	*l = (struct rp_launch){ .seq = v->rec->seq, .stack = v->rec->stack, .kernel = k->name };
	for (uint32_t i = 0; i + 8 <= k->param_bytes; i += 8) {
		CUdeviceptr value, base;

		memcpy(&value, params + i, sizeof(value));
		if (!value || CU(cuMemGetAddressRange_v2)(&base, NULL, value))
			continue;
		if (l->nr_ptrs == sizeof(l->ptr) / sizeof(l->ptr[0])) {
			l->nr_ptrs = 9;
			break;
		}
		l->ptr[l->nr_ptrs++] = base;
	}
}

static bool could_write(const struct rp_launch *l, uint64_t base)
{
	if (!base || l->nr_ptrs > sizeof(l->ptr) / sizeof(l->ptr[0]))
		return true;
	for (unsigned int i = 0; i < l->nr_ptrs; i++)
		if (l->ptr[i] == base)
			return true;
	return false;
}

void rp_suspect(struct hg_replay *r, uint64_t addr)
{
	const struct rp_launch *first = NULL;
	CUdeviceptr base = 0;
	size_t nr = 0;

	if (r->report.has_suspect)
		return;
	if (addr && CU(cuMemGetAddressRange_v2)(&base, NULL, addr))
		base = 0;
	for (size_t i = 0; i < r->nr_launches; i++) {
		if (!could_write(&r->launch[i], base))
			continue;
		if (!first)
			first = &r->launch[i];
		nr++;
	}
	if (!first)
		return;
	r->report.has_suspect = true;
	r->report.suspect = (struct hg_replay_suspect){
		.seq = first->seq,
		.stack = first->stack,
		.kernel = strdup(first->kernel),
		.exact = nr == 1 && base,
	};
}

void rp_suspect_exactly(struct hg_replay *r, const struct hg_rec_view *v, const struct hg_kernel_info *k)
{
	if (r->report.has_suspect)
		return;
	r->report.has_suspect = true;
	r->report.suspect = (struct hg_replay_suspect){
		.seq = v->rec->seq, .stack = v->rec->stack, .kernel = strdup(k->name), .exact = true,
	};
}

/* comparing buffers */

/* Distance of two floats in units of the last place; UINT32_MAX if either is not a number. */
static uint32_t float_distance(uint32_t a, uint32_t b)
{
	int64_t x, y, d;

	if ((a & 0x7fffffff) > 0x7f800000 || (b & 0x7fffffff) > 0x7f800000)
		return a == b ? 0 : UINT32_MAX;
	/* ordered as integers, the negative ones mirrored */
	x = a & 0x80000000 ? -(int64_t)(a & 0x7fffffff) : (int64_t)a;
	y = b & 0x80000000 ? -(int64_t)(b & 0x7fffffff) : (int64_t)b;
	d = x > y ? x - y : y - x;
	return d > UINT32_MAX ? UINT32_MAX : (uint32_t)d;
}

void rp_differ(struct rp_difference *d, uint64_t offset, const unsigned char *have, const unsigned char *want,
	       size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (have[i] == want[i])
			continue;
		if (!d->any)
			d->first = offset + i;
		d->any = true;
		d->nr_bytes++;
	}
	for (size_t i = 0; i + 4 <= size; i += 4) {
		uint32_t a, b, distance;

		memcpy(&a, have + i, 4);
		memcpy(&b, want + i, 4);
		distance = a == b ? 0 : float_distance(a, b);
		if (distance > d->max_ulp)
			d->max_ulp = distance;
	}
	if (size % 4 && memcmp(have + size / 4 * 4, want + size / 4 * 4, size % 4))
		d->max_ulp = UINT32_MAX;
}

/* Against the snapshot's own bytes, to say where. */
static enum hg_status find_difference(struct hg_replay *r, const struct hg_snapshot *s, size_t i, unsigned char *have,
				      unsigned char *want, struct rp_difference *d)
{
	const struct hg_region *region = &s->regions[i];

	for (uint64_t at = 0; at < region->size; at += PART) {
		size_t n = region->size - at < PART ? region->size - at : PART;
		enum hg_status st = hg_driver_read(have, region->addr + at, n);

		if (!st)
			st = hg_log_region_read(r->log, s, i, at, want, n);
		if (st)
			return st;
		rp_differ(d, at, have, want, n);
	}
	return HG_OK;
}

static enum hg_status add_row(struct hg_replay *r, const struct hg_region *region, const struct hg_replay_buffer *row)
{
	struct hg_replay_report *report = &r->report;
	struct hg_replay_buffer *grown;

	if (!(report->nr_buffers & (report->nr_buffers + 1))) {
		grown = realloc(report->buffer, 2 * (report->nr_buffers + 1) * sizeof(*grown));
		if (!grown)
			return HG_ERR_NOMEM;
		report->buffer = grown;
	}
	report->buffer[report->nr_buffers] = *row;
	if (region->name) {
		report->buffer[report->nr_buffers].name = strdup(region->name);
		if (!report->buffer[report->nr_buffers].name)
			return HG_ERR_NOMEM;
	}
	report->nr_buffers++;
	return HG_OK;
}

static enum hg_status compare_region(struct hg_replay *r, const struct hg_snapshot *s, size_t i, unsigned char *have,
				     unsigned char *want, XXH3_state_t *state)
{
	const struct hg_region *region = &s->regions[i];
	struct hg_replay_buffer row = {
		.addr = region->addr, .size = region->size, .kind = region->kind, .snapshot = s->number,
	};
	struct rp_difference d = { 0 };
	enum hg_status st;

	XXH3_64bits_reset(state);
	for (uint64_t at = 0; at < region->size; at += PART) {
		size_t n = region->size - at < PART ? region->size - at : PART;

		st = hg_driver_read(have, region->addr + at, n);
		if (st)
			return st;
		XXH3_64bits_update(state, have, n);
	}
	if (XXH3_64bits_digest(state) != s->digests[i]) {
		st = find_difference(r, s, i, have, want, &d);
		if (st)
			return st;
		row.verdict = d.any && d.max_ulp <= r->opt.ulp ? HG_REPLAY_CLOSE : HG_REPLAY_DIFFERS;
		row.first = d.first;
		row.nr_bytes = d.nr_bytes;
		row.max_ulp = d.max_ulp;
		if (row.verdict == HG_REPLAY_DIFFERS) {
			r->report.nr_buffers_differ++;
			rp_suspect(r, region->addr);
			if (!r->verdict)
				r->verdict = HG_ERR_DIFFERS;
		}
	}
	return add_row(r, region, &row);
}

struct find_region {
	uint64_t addr, size;
	bool found;
};

static enum hg_status match_region(const struct hg_region *region, void *arg)
{
	struct find_region *find = arg;

	if (find->addr >= region->addr && find->addr + find->size <= region->addr + region->size)
		find->found = true;
	return HG_OK;
}

/*
 * The application writes its host memory without a call: after a tail only the memory that kernels and
 * copies write can be compared.
 */
enum hg_status rp_verify(struct hg_replay *r, const struct hg_snapshot *s, bool later)
{
	unsigned char *have = malloc(PART), *want = malloc(PART);
	XXH3_state_t *state = XXH3_createState();
	uint64_t done = 0, total = 0;
	enum hg_status st = HG_ERR_NOMEM;

	if (!have || !want || !state)
		goto out_free;
	st = HG_OK;
	for (size_t i = 0; i < s->nr_regions; i++)
		total += s->regions[i].size;
	for (size_t i = 0; i < s->nr_regions && !st; i++) {
		const struct hg_region *region = &s->regions[i];
		struct find_region find = { .addr = region->addr, .size = region->size };

		rp_progress(r, HG_REPLAY_COMPARE, done, total);
		done += region->size;
		if (later && (region->kind == HG_REGION_HOST || region->kind == HG_REGION_REGISTERED))
			continue;
		st = hg_driver_regions(match_region, &find);
		if (!st && !find.found) {
			pr_err("snapshot %" PRIu64 " has %" PRIu64 " bytes at 0x%" PRIx64 ", where the replay has none",
			       s->number, region->size, region->addr);
			r->verdict = r->verdict ? r->verdict : HG_ERR_DIFFERS;
			r->report.nr_buffers_differ++;
			continue;
		}
		if (!st)
			st = compare_region(r, s, i, have, want, state);
	}
	rp_progress(r, HG_REPLAY_COMPARE, total, total);
out_free:
	XXH3_freeState(state);
	free(want);
	free(have);
	return st;
}
