/* store.c - the writer's side of LMDB: from the ring's lanes to blocks, objects, images, payload files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/fault.h"
#include "common/msg.h"
#include "logdb/recorder_impl.h"
#include "logdb/track.h"
#include "logdb/view.h"

#define FIRST_MAP_SIZE ((size_t)16 << 30)	/* of address space; only what is written exists */
#define SMALLEST_MAP_SIZE ((size_t)64 << 20)
#define PASS_BYTES ((size_t)32 << 20)		/* stored in one transaction, about */
#define HELD_BYTES ((size_t)256 << 20)		/* kept in memory for calls that take long, at most */
#define BEHIND_BYTES ((size_t)256 << 10)
#define PRUNE_BLOCKS 2000			/* deleted in one transaction */

/* Where the writer stands in one lane. Positions count bytes like the lane's head. */
struct source {
	uint64_t pos;		/* everything before is stored or held */
	uint64_t next;		/* behind `front`, if it is in the lane */
	uint64_t head;		/* as read in this pass */
	const struct hg_rec *front;
	/* records taken out of a lane that filled up while the horizon stood still */
	unsigned char *held;
	size_t held_at, held_size, held_capacity;
	bool front_is_held;
};

struct saved {
	uint64_t pos;
	size_t held_at;
};

struct hg_store {
	MDB_txn *txn;
	struct source *source;		/* one for each lane */
	struct saved *saved;
	unsigned int nr_sources;
	const struct hg_rec **sorted;	/* what the shared lane has for this pass */
	size_t nr_sorted, sorted_capacity;
	uint64_t shared_special;	/* fragments of the shared lane below this were taken */
	size_t held_bytes;

	unsigned char *block;		/* struct hg_block, then records */
	size_t block_bytes, block_capacity;
	uint32_t block_records;
	uint64_t block_first, block_last;

	struct hg_track track;
	struct hg_symbols *symbols;
	bool schema_stored[HG_CALL_ID_LIMIT];
	uint16_t schema_now[HG_CALL_ID_LIMIT];	/* stored in this transaction */
	size_t nr_schema_now;

	int payload_fd;
	uint32_t payload_file;

	uint64_t nr_records, nr_dropped, nr_late;	/* of the whole log */
	uint64_t pass_records, pass_dropped, pass_late;
	size_t pass_bytes;
	uint64_t tail_bytes;		/* of records since the last snapshot */
	uint64_t gap_seq;
	uint64_t last_stored, committed;	/* seq of the last record put into a block; of the last in the file */
	size_t filled;			/* of the fullest lane, when the pass began */
	bool map_full, tail_capped, gap_stored, is_behind, wrote;
};

static enum hg_status from_mdb(struct hg_store *s, int rc, const char *doing)
{
	if (rc == MDB_MAP_FULL)
		s->map_full = true;
	return hg_from_mdb(rc, doing);
}

/* LMDB's errors name the log's part that they are about. */
static enum hg_status put(struct hg_recorder *r, enum hg_log_db db, const void *key, size_t key_size,
			  const void *data, size_t size, unsigned int flags)
{
	MDB_val k = { .mv_size = key_size, .mv_data = (void *)key };
	MDB_val v = { .mv_size = size, .mv_data = (void *)data };
	int rc = hg_fault("store.put") ? ENOSPC : r->mdb->put(r->store->txn, r->dbi[db], &k, &v, flags);

	return from_mdb(r->store, rc, "write to the log");
}

enum hg_status hg_store_put_u64(struct hg_recorder *r, MDB_txn *txn, const char *key, uint64_t v)
{
	MDB_val k = { .mv_size = strlen(key), .mv_data = (void *)key };
	MDB_val d = { .mv_size = sizeof(v), .mv_data = &v };

	return from_mdb(r->store, r->mdb->put(txn, r->dbi[HG_DB_META], &k, &d, 0), "write to the log");
}

enum hg_status hg_store_put_str(struct hg_recorder *r, MDB_txn *txn, const char *key, const char *text)
{
	MDB_val k = { .mv_size = strlen(key), .mv_data = (void *)key };
	MDB_val d = { .mv_size = strlen(text) + 1, .mv_data = (void *)text };

	return from_mdb(r->store, r->mdb->put(txn, r->dbi[HG_DB_META], &k, &d, 0), "write to the log");
}

static enum hg_status txn_begin(struct hg_recorder *r)
{
	if (r->store->txn)
		return HG_OK;
	return from_mdb(r->store, r->mdb->txn_begin(r->env, NULL, 0, &r->store->txn), "begin a transaction of the log");
}

static void txn_abort(struct hg_recorder *r)
{
	if (r->store->txn)
		r->mdb->txn_abort(r->store->txn);
	r->store->txn = NULL;
}

static enum hg_status txn_commit(struct hg_recorder *r)
{
	MDB_txn *txn = r->store->txn;

	r->store->txn = NULL;
	if (hg_fault("store.commit")) {
		r->mdb->txn_abort(txn);
		return from_mdb(r->store, ENOSPC, "write to the log");
	}
	return from_mdb(r->store, r->mdb->txn_commit(txn), "write to the log");
}

enum hg_status hg_store_grow_map(struct hg_recorder *r)
{
	size_t size = r->map_size * 2;
	enum hg_status st;

	r->store->map_full = false;
	/* a reader of this process has pointers into it: the writer tries again until that is over */
	if (atomic_load(&r->is_read))
		return HG_ERR_NOSPC;
	st = hg_from_mdb(r->mdb->env_set_mapsize(r->env, size), "enlarge the log's map");
	if (!st)
		r->map_size = size;
	return st;
}

enum hg_status hg_store_reserve_map(struct hg_recorder *r, size_t bytes)
{
	MDB_envinfo info;
	enum hg_status st;

	st = hg_from_mdb(r->mdb->env_info(r->env, &info), "read the log's size");
	while (!st && r->map_size / 2 < (info.me_last_pgno + 1) * 4096 + bytes)
		st = hg_store_grow_map(r);
	return st;
}

/* Blocks */

static enum hg_status flush_block(struct hg_recorder *r)
{
	struct hg_store *s = r->store;
	struct hg_block *b = (struct hg_block *)s->block;
	enum hg_status st;

	if (!s->block_records)
		return HG_OK;
	*b = (struct hg_block){
		.magic = HG_BLOCK_MAGIC, .bytes = (uint32_t)s->block_bytes, .nr_records = s->block_records,
		.last_seq = s->block_last, .checksum = hg_hash64(b + 1, s->block_bytes),
	};
	st = put(r, HG_DB_CALLS, &s->block_first, sizeof(s->block_first), b, sizeof(*b) + s->block_bytes, MDB_APPEND);
	s->block_bytes = 0;
	s->block_records = 0;
	return st;
}

static enum hg_status append(struct hg_recorder *r, const struct hg_rec *rec)
{
	struct hg_store *s = r->store;
	enum hg_status st;

	if (s->block_records && s->block_bytes + rec->size > HG_BLOCK_BYTES) {
		st = flush_block(r);
		if (st)
			return st;
	}
	if (sizeof(struct hg_block) + s->block_bytes + rec->size > s->block_capacity)
		return HG_ERR_NOMEM;
	if (!s->block_records)
		s->block_first = rec->seq;
	memcpy(s->block + sizeof(struct hg_block) + s->block_bytes, rec, rec->size);
	s->block_bytes += rec->size;
	s->block_records++;
	s->block_last = rec->seq;
	s->pass_records++;
	s->pass_bytes += rec->size;
	return HG_OK;
}

/* What is not in numbered records */

static enum hg_status open_payload(struct hg_recorder *r, uint32_t file)
{
	struct hg_store *s = r->store;
	char name[32];

	if (s->payload_fd >= 0 && s->payload_file == file)
		return HG_OK;
	if (s->payload_fd >= 0)
		close(s->payload_fd);
	snprintf(name, sizeof(name), HG_PAYLOAD_NAME, file);
	s->payload_fd = openat(r->dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	s->payload_file = file;
	return s->payload_fd < 0 ? HG_ERR_IO : HG_OK;
}

/* A payload that cannot be written costs the tail, not the recording. */
static void store_payload(struct hg_recorder *r, const struct hg_rec *rec)
{
	const unsigned char *bytes = (const unsigned char *)&rec->word[HG_PAYLOAD_NR_WORDS];
	uint64_t length = rec->word[HG_PAYLOAD_LENGTH], offset = rec->word[HG_PAYLOAD_OFFSET];
	int err = 0;

	if (open_payload(r, (uint32_t)rec->word[HG_PAYLOAD_FILE]))
		err = errno;
	while (length && !err) {
		ssize_t n = hg_fault("store.payload") ? -1 :
			    pwrite(r->store->payload_fd, bytes, length, (off_t)offset);

		if (n <= 0) {
			err = n < 0 && errno ? errno : ENOSPC;
			if (err == EINTR)
				err = 0;
			continue;
		}
		bytes += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	if (!err || !atomic_exchange(&r->payload_on, false))
		return;
	pr_warn("cannot keep the data that the application copies to the device: %s; until the next snapshot "
		"the log is replayable to snapshots only", strerror(err));
	hg_recorder_gap(r, "the payload file could not be written");
}

static enum hg_status store_image_part(struct hg_recorder *r, const struct hg_rec *rec)
{
	uint64_t length = rec->word[HG_IMAGE_LENGTH], index = rec->word[HG_IMAGE_INDEX];
	struct hg_image_part part = { .total = rec->word[HG_IMAGE_TOTAL] };
	unsigned char key[20], *data;
	enum hg_status st;

	memcpy(key, &rec->word[HG_IMAGE_KEY0], 16);
	for (int i = 0; i < 4; i++)
		key[16 + i] = (unsigned char)(index >> (24 - 8 * i));
	/* every part but the last has this length: see hg_recorder_image */
	part.offset = index * (r->lane_bytes / 4);
	data = malloc(sizeof(part) + length);
	if (!data)
		return HG_ERR_NOMEM;
	memcpy(data, &part, sizeof(part));
	memcpy(data + sizeof(part), &rec->word[HG_IMAGE_NR_WORDS], length);
	st = txn_begin(r);
	if (!st)
		st = put(r, HG_DB_IMAGES, key, sizeof(key), data, sizeof(part) + length, 0);
	free(data);
	return st;
}

static enum hg_status store_stack(struct hg_recorder *r, const struct hg_rec *rec)
{
	uint64_t id = rec->word[HG_STACK_ID], depth = rec->word[HG_STACK_DEPTH];
	struct hg_writer w = { 0 };
	enum hg_status st;

	if (!r->store->symbols)
		r->store->symbols = hg_symbols_open();
	hg_write_u32(&w, (uint32_t)depth);
	for (uint64_t i = 0; i < depth && HG_STACK_NR_WORDS + i < rec->nr_words; i++) {
		uint64_t pc = rec->word[HG_STACK_NR_WORDS + i];
		char text[512] = "";

		if (r->store->symbols)
			hg_symbols_name(r->store->symbols, pc, text, sizeof(text));
		hg_write_u64(&w, pc);
		hg_write_str(&w, text);
	}
	st = w.failed ? HG_ERR_NOMEM : txn_begin(r);
	if (!st)
		st = put(r, HG_DB_STACKS, &id, sizeof(id), w.data, w.size, 0);
	hg_writer_release(&w);
	return st;
}

static enum hg_status count_unsupported(struct hg_recorder *r, const struct hg_rec *rec)
{
	MDB_val k = { .mv_size = rec->word[0], .mv_data = (void *)&rec->word[1] }, d;
	uint64_t count = 0;
	enum hg_status st;
	int rc;

	if (!k.mv_size)
		return HG_OK;
	st = txn_begin(r);
	if (st)
		return st;
	rc = r->mdb->get(r->store->txn, r->dbi[HG_DB_UNSUPPORTED], &k, &d);
	if (!rc && d.mv_size == sizeof(count))
		memcpy(&count, d.mv_data, sizeof(count));
	count++;
	return put(r, HG_DB_UNSUPPORTED, k.mv_data, k.mv_size, &count, sizeof(count), 0);
}

/* Are the counts in a fragment within the record? Only memory corruption in the process makes them wrong. */
static bool special_is_whole(const struct hg_rec *rec)
{
	uint64_t room = rec->size - sizeof(*rec) - 8 * (uint64_t)rec->nr_words;

	switch (rec->call) {
	case HG_REC_PAYLOAD:
		return rec->nr_words == HG_PAYLOAD_NR_WORDS && rec->word[HG_PAYLOAD_LENGTH] <= room;
	case HG_REC_IMAGE:
		return rec->nr_words == HG_IMAGE_NR_WORDS && rec->word[HG_IMAGE_LENGTH] <= room;
	case HG_REC_STACK:
		return rec->nr_words >= HG_STACK_NR_WORDS &&
		       rec->word[HG_STACK_DEPTH] == (uint64_t)rec->nr_words - HG_STACK_NR_WORDS;
	case HG_REC_UNSUPPORTED:
		return rec->nr_words == 1 && rec->word[0] <= room;
	}
	return false;
}

static enum hg_status store_special(struct hg_recorder *r, const struct hg_rec *rec)
{
	r->store->wrote = true;
	if (!special_is_whole(rec)) {
		pr_err("the ring holds a fragment that no thread wrote");
		return HG_ERR_CORRUPT;
	}
	switch (rec->call) {
	case HG_REC_PAYLOAD:
		store_payload(r, rec);
		return HG_OK;
	case HG_REC_IMAGE:
		return store_image_part(r, rec);
	case HG_REC_STACK:
		return store_stack(r, rec);
	default:
		return count_unsupported(r, rec);
	}
}

/* Numbered records */

static enum hg_status store_schema(struct hg_recorder *r, const struct hg_call_desc *desc)
{
	struct hg_store *s = r->store;
	struct hg_writer w = { 0 };
	uint64_t id = desc->id;
	enum hg_status st;

	if (s->schema_stored[desc->id])
		return HG_OK;
	hg_write_u32(&w, desc->op);
	hg_write_str(&w, hg_op_name(desc->op));
	hg_write_str(&w, desc->name);
	hg_write_str(&w, desc->args);
	hg_write_str(&w, desc->signature);
	st = w.failed ? HG_ERR_NOMEM : put(r, HG_DB_SCHEMA, &id, sizeof(id), w.data, w.size, 0);
	hg_writer_release(&w);
	if (st)
		return st;
	s->schema_stored[desc->id] = true;
	s->schema_now[s->nr_schema_now++] = desc->id;
	return HG_OK;
}

/* A kernel by the id of its function object: the image of its module, and its name. */
static enum hg_status store_kernel(struct hg_recorder *r, uint64_t id)
{
	const struct hg_tracked *o = hg_track_find(&r->store->track, id), *m = o;
	struct hg_rec_view v;
	struct hg_writer w = { 0 };
	static const unsigned char no_image[16];
	const void *image = no_image;
	enum hg_status st;

	if (!o || !o->name)
		return HG_OK;
	while (m && m->parent && m->kind != HG_KIND_LIBRARY) {
		const struct hg_tracked *parent = hg_track_find(&r->store->track, m->parent);

		if (!parent || parent->kind == HG_KIND_CTX)
			break;
		m = parent;
	}
	if (!hg_rec_view(m->created, m->created->size, &v))
		for (int i = 0; i < v.nr_args; i++)
			if (v.arg[i].kind == HG_KIND_IMAGE && hg_blob_enc(v.rec->word[i]) == HG_BLOB_IMAGE)
				image = v.blob[i];
	hg_write_u64(&w, m->id);
	hg_write_bytes(&w, image, 16);
	hg_write_str(&w, o->name);
	st = w.failed ? HG_ERR_NOMEM : put(r, HG_DB_KERNELS, &id, sizeof(id), w.data, w.size, 0);
	hg_writer_release(&w);
	return st;
}

/* Operations that leave the set of objects as it is; they come most often. */
static const uint64_t ops_without_objects =
	UINT64_C(1) << HG_OP_NONE | UINT64_C(1) << HG_OP_CTX_CURRENT | UINT64_C(1) << HG_OP_GLOBAL |
	UINT64_C(1) << HG_OP_EVENT_RECORD | UINT64_C(1) << HG_OP_STREAM_WAIT | UINT64_C(1) << HG_OP_H2D |
	UINT64_C(1) << HG_OP_D2H | UINT64_C(1) << HG_OP_D2D | UINT64_C(1) << HG_OP_FILL |
	UINT64_C(1) << HG_OP_LAUNCH | UINT64_C(1) << HG_OP_HOST_FUNC | UINT64_C(1) << HG_OP_SYNC |
	UINT64_C(1) << HG_OP_COPY;

static uint64_t gap_count(const struct hg_rec *rec)
{
	return rec->nr_words > HG_GAP_COUNT ? rec->word[HG_GAP_COUNT] : 0;
}

static enum hg_status store_record(struct hg_recorder *r, const struct hg_rec *rec)
{
	struct hg_store *s = r->store;
	const struct hg_call_desc *desc = hg_call_by_id(rec->call);
	struct hg_rec_view v;
	enum hg_status st;

	st = txn_begin(r);
	if (st)
		return st;
	s->wrote = true;
	if (rec->call == HG_REC_GAP) {
		s->pass_dropped += gap_count(rec);
		/*
		 * It has the number of a dropped record, and comes with the thread's next one: records of other threads
		 * may be stored behind it already. Then it is only counted.
		 */
		if (rec->seq > s->last_stored)
			return append(r, rec);
		s->pass_late += gap_count(rec);
		return HG_OK;
	}
	if (!desc)
		return append(r, rec);
	st = store_schema(r, desc);
	if (st)
		return st;
	if (ops_without_objects >> desc->op & 1) {
		if (!s->tail_capped)
			return append(r, rec);
		s->pass_dropped++;
		return HG_OK;
	}
	st = append(r, rec);
	if (st || rec->result)
		return st;
	st = hg_rec_view(rec, rec->size, &v);
	if (!st)
		st = hg_track_apply(&s->track, &v);
	if (!st && desc->op == HG_OP_FUNCTION && !(rec->flags & HG_REC_KNOWN))
		st = store_kernel(r, rec->seq);
	return st;
}

static enum hg_status store_objects(struct hg_recorder *r)
{
	for (struct hg_tracked *o = r->store->track.dirty; o; o = o->next_dirty) {
		void *data;
		size_t size;
		enum hg_status st;

		st = hg_tracked_encode(o, &data, &size);
		if (st)
			return st;
		st = put(r, HG_DB_OBJECTS, &o->id, sizeof(o->id), data, size, 0);
		free(data);
		if (st)
			return st;
	}
	return HG_OK;
}

/* Lanes */

/* Moves s->front to the next numbered record of an owned lane, taking fragments on the way. */
static enum hg_status next_front(struct hg_recorder *r, struct source *src, unsigned int lane)
{
	for (;;) {
		bool damaged = false;
		enum hg_status st;

		src->front_is_held = src->held_at < src->held_size;
		if (src->front_is_held) {
			src->front = (const struct hg_rec *)(src->held + src->held_at);
		} else {
			src->next = src->pos;
			src->front = hg_ring_next(r->ring, lane, &src->next, src->head, &damaged);
		}
		if (damaged) {
			pr_err("lane %u of the ring was overwritten", lane);
			return HG_ERR_CORRUPT;
		}
		if (!src->front || src->front->seq)
			return HG_OK;
		st = store_special(r, src->front);
		if (st)
			return st;
		if (src->front_is_held)
			src->held_at += src->front->size;
		else
			src->pos = src->next;
	}
}

static enum hg_status take_front(struct hg_recorder *r, struct source *src, unsigned int lane)
{
	enum hg_status st = store_record(r, src->front);

	if (st)
		return st;
	if (src->front->seq > r->store->last_stored)
		r->store->last_stored = src->front->seq;
	if (src->front_is_held)
		src->held_at += src->front->size;
	else
		src->pos = src->next;
	return next_front(r, src, lane);
}

static int by_seq(const void *a, const void *b)
{
	uint64_t x = (*(const struct hg_rec *const *)a)->seq, y = (*(const struct hg_rec *const *)b)->seq;

	return (x > y) - (x < y);
}

static enum hg_status add_sorted(struct hg_store *s, const struct hg_rec *rec)
{
	if (s->nr_sorted == s->sorted_capacity) {
		size_t capacity = s->sorted_capacity ? s->sorted_capacity * 2 : 256;
		const struct hg_rec **sorted = realloc(s->sorted, capacity * sizeof(*sorted));

		if (!sorted)
			return HG_ERR_NOMEM;
		s->sorted = sorted;
		s->sorted_capacity = capacity;
	}
	s->sorted[s->nr_sorted++] = rec;
	return HG_OK;
}

/* The shared lane is not in order: what of it, and of what was held of it, belongs to this pass is sorted. */
static enum hg_status scan_shared(struct hg_recorder *r, uint64_t from, uint64_t horizon)
{
	struct hg_store *s = r->store;
	unsigned int lane = s->nr_sources - 1;
	struct source *src = &s->source[lane];
	uint64_t pos = src->pos;
	bool damaged, leading = true;
	enum hg_status st;

	for (size_t at = 0; at < src->held_size;) {
		const struct hg_rec *rec = (const struct hg_rec *)(src->held + at);

		at += rec->size;
		st = rec->seq < horizon ? add_sorted(s, rec) : HG_OK;
		if (st)
			return st;
	}
	for (;;) {
		uint64_t was = pos;
		const struct hg_rec *rec = hg_ring_next(r->ring, lane, &pos, src->head, &damaged);

		if (damaged) {
			pr_err("the shared lane of the ring was overwritten");
			return HG_ERR_CORRUPT;
		}
		if (!rec)
			break;
		if (rec->seq >= horizon)
			leading = false;
		if (leading)
			src->next = pos;
		st = HG_OK;
		if (!rec->seq && was >= s->shared_special)
			st = store_special(r, rec);
		else if (rec->seq >= from && rec->seq < horizon)
			st = add_sorted(s, rec);
		else if (rec->call == HG_REC_GAP && rec->seq < from && was >= s->shared_special)
			st = store_record(r, rec);
		if (st)
			return st;
	}
	if (s->nr_sorted)
		qsort(s->sorted, s->nr_sorted, sizeof(s->sorted[0]), by_seq);
	return HG_OK;
}

/* Stores every record below the horizon, in order; *upto: every record below it is stored. */
static enum hg_status merge(struct hg_recorder *r, uint64_t from, uint64_t horizon, uint64_t *upto)
{
	struct hg_store *s = r->store;
	unsigned int shared = s->nr_sources - 1;
	size_t at_sorted = 0;
	enum hg_status st;

	*upto = from;

	for (unsigned int i = 0; i < shared; i++) {
		if (s->source[i].pos == s->source[i].head && s->source[i].held_at == s->source[i].held_size) {
			s->source[i].front = NULL;
			continue;
		}
		st = next_front(r, &s->source[i], i);
		if (st)
			return st;
	}
	for (;;) {
		uint64_t first = horizon, second = horizon;
		unsigned int best = s->nr_sources;

		for (unsigned int i = 0; i < s->nr_sources; i++) {
			const struct hg_rec *rec = s->source[i].front;

			if (i == shared)
				rec = at_sorted < s->nr_sorted ? s->sorted[at_sorted] : NULL;
			if (!rec || rec->seq >= second)
				continue;
			if (rec->seq < first) {
				second = first;
				first = rec->seq;
				best = i;
			} else {
				second = rec->seq;
			}
		}
		if (best == s->nr_sources)
			break;
		/* a run of one lane needs no comparison with all the others */
		if (best == shared) {
			while (at_sorted < s->nr_sorted && s->sorted[at_sorted]->seq < second) {
				st = store_record(r, s->sorted[at_sorted]);
				if (st)
					return st;
				s->last_stored = s->sorted[at_sorted++]->seq;
			}
		} else {
			struct source *src = &s->source[best];

			while (src->front && src->front->seq < second && s->pass_bytes < PASS_BYTES) {
				st = take_front(r, src, best);
				if (st)
					return st;
			}
		}
		if (s->pass_bytes >= PASS_BYTES) {
			if (s->last_stored >= from)
				*upto = s->last_stored + 1;
			s->is_behind = true;
			return HG_OK;
		}
	}
	*upto = horizon;
	return HG_OK;
}

/*
 * While one thread is inside a call that destroys something, the horizon stands still. So that the
 * others' lanes do not fill up for that, what is in a lane that is more than a quarter full moves to memory.
 * A process killed meanwhile loses these records; the reader then ends before the first lost.
 */
static bool hold_one(struct hg_recorder *r, struct source *src, const struct hg_rec *rec)
{
	struct hg_store *s = r->store;

	if (s->held_bytes + rec->size > HELD_BYTES)
		return false;
	if (src->held_size + rec->size > src->held_capacity) {
		size_t capacity = src->held_capacity ? src->held_capacity * 2 : r->lane_bytes;
		unsigned char *held = realloc(src->held, capacity);

		if (!held)
			return false;
		src->held = held;
		src->held_capacity = capacity;
	}
	memcpy(src->held + src->held_size, rec, rec->size);
	src->held_size += rec->size;
	s->held_bytes += rec->size;
	return true;
}

static void hold(struct hg_recorder *r, struct source *src, unsigned int lane, uint64_t upto)
{
	uint64_t pos = src->pos;
	bool is_shared = lane == r->ring->nr_lanes, damaged;

	if (src->head - src->pos < r->lane_bytes / 4)
		return;
	for (;;) {
		const struct hg_rec *rec = hg_ring_next(r->ring, lane, &pos, src->head, &damaged);

		if (!rec)
			break;
		/* of the shared lane, fragments are taken and records stored out of the lane's order */
		if (!(is_shared && rec->seq < upto) && !hold_one(r, src, rec))
			break;
		src->pos = pos;
	}
}

static void drop_taken(struct hg_store *s, struct source *src)
{
	if (!src->held_at)
		return;
	s->held_bytes -= src->held_at;
	memmove(src->held, src->held + src->held_at, src->held_size - src->held_at);
	src->held_size -= src->held_at;
	src->held_at = 0;
	if (!src->held_size) {
		free(src->held);
		src->held = NULL;
		src->held_capacity = 0;
	}
}

/* The same for the shared lane, whose records are in no order. */
static void drop_taken_shared(struct hg_store *s, struct source *src, uint64_t upto)
{
	size_t kept = 0;

	for (size_t at = 0, size; at < src->held_size; at += size) {
		const struct hg_rec *rec = (const struct hg_rec *)(src->held + at);

		size = rec->size;
		if (rec->seq < upto)
			continue;
		memmove(src->held + kept, rec, size);
		kept += size;
	}
	s->held_bytes -= src->held_size - kept;
	src->held_size = kept;
}

static enum hg_status store_meta(struct hg_recorder *r, uint64_t upto)
{
	struct hg_store *s = r->store;
	const char *why = atomic_load(&r->gap_why);
	enum hg_status st;

	st = hg_store_put_u64(r, s->txn, HG_META_HORIZON, upto);
	if (!st)
		st = hg_store_put_u64(r, s->txn, HG_META_RECORDS, s->nr_records + s->pass_records);
	if (!st && s->pass_dropped)
		st = hg_store_put_u64(r, s->txn, HG_META_DROPPED, s->nr_dropped + s->pass_dropped);
	if (!st && s->pass_late)
		st = hg_store_put_u64(r, s->txn, HG_META_LATE, s->nr_late + s->pass_late);
	if (!st && why && !s->gap_stored) {
		s->gap_seq = upto;
		st = hg_store_put_u64(r, s->txn, HG_META_GAP_SEQ, upto);
		if (!st)
			st = hg_store_put_str(r, s->txn, HG_META_GAP_WHY, why);
	}
	return st;
}

static enum hg_status pass(struct hg_recorder *r, uint64_t *upto)
{
	struct hg_store *s = r->store;
	uint64_t from = atomic_load(&r->stored), horizon = hg_ring_horizon(r->ring);
	unsigned int shared = s->nr_sources - 1;
	enum hg_status st;

	/* a writer that does not get the processor just here */
	if (hg_fault("store.pause"))
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	for (unsigned int i = 0; i < s->nr_sources; i++) {
		/* behind the horizon: see ring.h */
		s->source[i].head = atomic_load_explicit(&r->ring->slot[i].head, memory_order_acquire);
		s->source[i].next = s->source[i].pos;
		if (s->source[i].head - s->source[i].pos > s->filled)
			s->filled = s->source[i].head - s->source[i].pos;
	}
	s->nr_sorted = 0;
	s->last_stored = s->committed;
	if (s->source[shared].head != s->source[shared].pos || s->source[shared].held_size) {
		st = scan_shared(r, from, horizon);
		if (st)
			return st;
	}
	st = merge(r, from, horizon, upto);
	if (st)
		return st;
	if (atomic_load(&r->gap_why) && !s->gap_stored)
		s->wrote = true;
	if (!s->wrote)
		return HG_OK;
	st = txn_begin(r);
	if (!st)
		st = flush_block(r);
	if (!st)
		st = store_objects(r);
	if (!st)
		st = store_meta(r, *upto);
	if (!st)
		st = txn_commit(r);
	return st;
}

enum hg_status hg_store_pass(struct hg_recorder *r, bool *moved)
{
	struct hg_store *s = r->store;
	unsigned int shared = s->nr_sources - 1;
	uint64_t upto = 0;
	enum hg_status st;
	bool stands;

	/* a disk that takes its time */
	if (hg_fault("store.stall"))
		nanosleep(&(struct timespec){ .tv_nsec = 400000000 }, NULL);
	pthread_mutex_lock(&r->txn_lock);
	for (unsigned int i = 0; i < s->nr_sources; i++)
		s->saved[i] = (struct saved){ .pos = s->source[i].pos, .held_at = s->source[i].held_at };
	for (;;) {
		s->pass_records = 0;
		s->pass_dropped = 0;
		s->pass_late = 0;
		s->pass_bytes = 0;
		s->filled = 0;
		s->block_bytes = 0;
		s->block_records = 0;
		s->nr_schema_now = 0;
		s->wrote = false;
		s->is_behind = false;
		st = pass(r, &upto);
		if (!st)
			break;
		/* nothing of it happened; objects in memory may be ahead, applying again changes nothing */
		txn_abort(r);
		for (size_t i = 0; i < s->nr_schema_now; i++)
			s->schema_stored[s->schema_now[i]] = false;
		for (unsigned int i = 0; i < s->nr_sources; i++) {
			s->source[i].pos = s->saved[i].pos;
			s->source[i].held_at = s->saved[i].held_at;
		}
		if (!s->map_full || hg_store_grow_map(r))
			goto out;
	}

	hg_track_clean(&s->track);
	s->nr_records += s->pass_records;
	s->nr_dropped += s->pass_dropped;
	s->nr_late += s->pass_late;
	s->committed = s->last_stored;
	s->tail_bytes += s->pass_bytes;
	s->gap_stored = s->gap_stored || (s->wrote && atomic_load(&r->gap_why));
	if (s->tail_bytes > r->cfg.tail_limit && !s->tail_capped) {
		s->tail_capped = true;
		hg_recorder_gap(r, "the limit for records since the last snapshot was reached");
	}
	/* a pass that ended early has walked the shared lane too, but not stored all of it */
	if (!s->is_behind)
		s->source[shared].pos = s->source[shared].next;
	s->shared_special = s->source[shared].head;
	drop_taken_shared(s, &s->source[shared], upto);
	for (unsigned int i = 0; i < shared; i++)
		drop_taken(s, &s->source[i]);
	/* where the horizon has gone on meanwhile the next pass stores these records */
	stands = !s->is_behind && hg_ring_horizon(r->ring) == upto;
	for (unsigned int i = 0; i < s->nr_sources && stands; i++)
		hold(r, &s->source[i], i, upto);
	for (unsigned int i = 0; i < s->nr_sources; i++) {
		atomic_store_explicit(&r->ring->tail[i].tail, s->source[i].pos, memory_order_release);
		if (atomic_load_explicit(&r->ring->slot[i].head, memory_order_relaxed) - s->source[i].pos >
		    r->lane_bytes / 4)
			s->is_behind = true;
	}
	atomic_store_explicit(&r->stored, upto, memory_order_release);
	*moved = s->wrote;
out:
	pthread_mutex_unlock(&r->txn_lock);
	return st;
}

bool hg_store_is_behind(const struct hg_recorder *r)
{
	return r->store->is_behind;
}

size_t hg_store_filled(const struct hg_recorder *r)
{
	return r->store->filled;
}

void hg_store_gap_closed(struct hg_recorder *r)
{
	atomic_store(&r->gap_why, NULL);
	r->store->gap_stored = false;
}

/* After a snapshot */

struct prune {
	struct hg_recorder *r;
	uint64_t *snapshots;
	size_t nr_snapshots;
	uint64_t upto;
	uint64_t *dead;
	size_t nr_dead, capacity;
};

/* Does a snapshot contain the object, or the tail behind the last one mention it? */
static bool is_needed(const struct hg_tracked *o, void *arg)
{
	struct prune *p = arg;

	if (o->died > p->upto)
		return true;
	for (size_t i = 0; i < p->nr_snapshots; i++)
		if (o->born <= p->snapshots[i] && p->snapshots[i] < o->died)
			return true;
	if (p->nr_dead == p->capacity) {
		size_t capacity = p->capacity ? p->capacity * 2 : 256;
		uint64_t *dead = realloc(p->dead, capacity * sizeof(*dead));

		if (!dead)
			return true;
		p->dead = dead;
		p->capacity = capacity;
	}
	p->dead[p->nr_dead++] = o->id;
	return false;
}

/* The seqs of all snapshots, from their manifests' first field. */
static enum hg_status list_snapshots(struct hg_recorder *r, struct prune *p)
{
	MDB_cursor *cursor;
	MDB_val k, d;
	enum hg_status st;
	int rc;

	st = hg_from_mdb(r->mdb->cursor_open(r->store->txn, r->dbi[HG_DB_SNAPSHOTS], &cursor), "read the snapshots");
	if (st)
		return st;
	for (rc = r->mdb->cursor_get(cursor, &k, &d, MDB_FIRST); !rc;
	     rc = r->mdb->cursor_get(cursor, &k, &d, MDB_NEXT)) {
		uint64_t *more = realloc(p->snapshots, (p->nr_snapshots + 1) * sizeof(*more));

		if (!more) {
			st = HG_ERR_NOMEM;
			break;
		}
		p->snapshots = more;
		if (d.mv_size >= 16)
			memcpy(&more[p->nr_snapshots++], (const char *)d.mv_data + 8, 8);
	}
	r->mdb->cursor_close(cursor);
	return st;
}

static enum hg_status prune_calls(struct hg_recorder *r, uint64_t upto, bool *more)
{
	MDB_cursor *cursor;
	MDB_val k, d;
	enum hg_status st;
	int rc, n = 0;

	*more = false;
	st = hg_from_mdb(r->mdb->cursor_open(r->store->txn, r->dbi[HG_DB_CALLS], &cursor), "read the log");
	if (st)
		return st;
	for (rc = r->mdb->cursor_get(cursor, &k, &d, MDB_FIRST); !rc;
	     rc = r->mdb->cursor_get(cursor, &k, &d, MDB_FIRST)) {
		struct hg_block b;

		if (d.mv_size < sizeof(b))
			break;
		memcpy(&b, d.mv_data, sizeof(b));
		if (b.last_seq > upto)
			break;
		if (n++ == PRUNE_BLOCKS) {
			*more = true;
			break;
		}
		st = from_mdb(r->store, r->mdb->cursor_del(cursor, 0), "drop old records");
		if (st)
			break;
	}
	r->mdb->cursor_close(cursor);
	return st;
}

/* Objects that died, and that neither a snapshot nor the tail needs. */
static enum hg_status prune_objects(struct hg_recorder *r, uint64_t upto)
{
	struct prune p = { .r = r, .upto = upto };
	enum hg_status st;

	st = list_snapshots(r, &p);
	if (st)
		goto out;
	hg_track_prune(&r->store->track, is_needed, &p);
	for (size_t i = 0; i < p.nr_dead && !st; i++) {
		MDB_val k = { .mv_size = sizeof(p.dead[i]), .mv_data = &p.dead[i] };

		st = from_mdb(r->store, r->mdb->del(r->store->txn, r->dbi[HG_DB_OBJECTS], &k, NULL),
			      "drop old objects");
		if (st == HG_ERR_NOTFOUND)
			st = HG_OK;
	}
out:
	free(p.snapshots);
	free(p.dead);
	return st;
}

void hg_store_prune(struct hg_recorder *r)
{
	struct hg_store *s = r->store;
	uint64_t upto = atomic_load(&r->prune_seq);
	uint32_t file = (uint32_t)(atomic_load(&r->payload_next) >> 40);
	bool more = true, is_first = true;
	enum hg_status st = HG_OK;

	if (!upto)
		return;
	s->tail_bytes = 0;
	s->tail_capped = false;
	while (more && !st) {
		pthread_mutex_lock(&r->txn_lock);
		more = false;
		st = txn_begin(r);
		if (!st && r->cfg.calls != HG_CALLS_ALL)
			st = prune_calls(r, upto, &more);
		if (!st && is_first && r->cfg.calls != HG_CALLS_ALL)
			st = prune_objects(r, upto);
		is_first = false;
		if (!st)
			st = txn_commit(r);
		else
			txn_abort(r);
		pthread_mutex_unlock(&r->txn_lock);
	}
	/* payload of the time before; HG_CALLS_ALL replays from the beginning and keeps it */
	if (r->cfg.calls != HG_CALLS_ALL) {
		for (uint32_t old = file; old-- > 0;) {
			char name[32];

			snprintf(name, sizeof(name), HG_PAYLOAD_NAME, old);
			if (unlinkat(r->dirfd, name, 0) && errno == ENOENT && old + 1 < file)
				break;
		}
	}
	atomic_compare_exchange_strong(&r->prune_seq, &upto, 0);
}

/* Open and close */

static enum hg_status open_dbs(struct hg_recorder *r)
{
	static const struct {
		const char *name;
		unsigned int flags;
	} db[] = {
#define X(id, text, flags_) [HG_DB_##id] = { text, flags_ },
		HG_LOG_DBS(X)
#undef X
	};
	char program[PATH_MAX];
	struct timespec now;
	enum hg_status st;
	ssize_t n;

	st = txn_begin(r);
	for (int i = 0; i < HG_DB_COUNT && !st; i++)
		st = from_mdb(r->store, r->mdb->dbi_open(r->store->txn, db[i].name, db[i].flags | MDB_CREATE, &r->dbi[i]),
			      "create the log's tables");
	if (st)
		return st;
	n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	program[n > 0 ? n : 0] = '\0';
	clock_gettime(CLOCK_REALTIME, &now);
	st = hg_store_put_u64(r, r->store->txn, HG_META_VERSION, HG_LOG_VERSION);
	if (!st)
		st = hg_store_put_u64(r, r->store->txn, HG_META_PID, r->pid);
	if (!st)
		st = hg_store_put_str(r, r->store->txn, HG_META_PROGRAM, program);
	if (!st)
		st = hg_store_put_str(r, r->store->txn, HG_META_EXECUTOR, r->executor);
	if (!st)
		st = hg_store_put_u64(r, r->store->txn, HG_META_STARTED,
				      (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	if (!st)
		st = hg_store_put_u64(r, r->store->txn, HG_META_CALLS, r->cfg.calls);
	if (!st)
		st = hg_store_put_u64(r, r->store->txn, HG_META_HORIZON, HG_ID_FIRST);
	if (!st)
		st = txn_commit(r);
	return st;
}

enum hg_status hg_store_open(struct hg_recorder *r)
{
	char path[PATH_MAX + 16];
	struct hg_store *s;
	enum hg_status st;

	s = calloc(1, sizeof(*s));
	if (!s)
		return HG_ERR_NOMEM;
	r->store = s;
	s->payload_fd = -1;
	s->nr_sources = r->ring->nr_lanes + 1;
	s->source = calloc(s->nr_sources, sizeof(s->source[0]));
	s->saved = calloc(s->nr_sources, sizeof(s->saved[0]));
	s->block_capacity = sizeof(struct hg_block) + HG_BLOCK_BYTES + r->lane_bytes;
	s->block = malloc(s->block_capacity);
	if (!s->source || !s->saved || !s->block)
		return HG_ERR_NOMEM;

	snprintf(path, sizeof(path), "%s/log.mdb", r->dir);
	r->map_size = FIRST_MAP_SIZE;
	for (;;) {
		MDB_env *env = NULL;
		int rc = r->mdb->env_create(&env);

		if (!rc)
			rc = r->mdb->env_set_maxdbs(env, HG_DB_COUNT);
		if (!rc)
			rc = r->mdb->env_set_mapsize(env, r->map_size);
		if (!rc)
			rc = r->mdb->env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NOSYNC | MDB_NORDAHEAD, 0600);
		if (!rc) {
			r->env = env;
			break;
		}
		if (env)
			r->mdb->env_close(env);
		/* little address space, e.g. under a limit */
		if (rc == ENOMEM && r->map_size > SMALLEST_MAP_SIZE) {
			r->map_size /= 4;
			continue;
		}
		return hg_from_mdb(rc, "create the log");
	}
	st = open_dbs(r);
	if (st)
		txn_abort(r);
	return st;
}

enum hg_status hg_store_executor(struct hg_recorder *r, const char *name)
{
	enum hg_status st;
	MDB_txn *txn;

	pthread_mutex_lock(&r->txn_lock);
	st = hg_from_mdb(r->mdb->txn_begin(r->env, NULL, 0, &txn), "begin a transaction of the log");
	if (st)
		goto out;
	st = hg_store_put_str(r, txn, HG_META_EXECUTOR_NOW, name);
	if (!st)
		st = hg_store_put_u64(r, txn, HG_META_EXECUTOR_SEQ, atomic_load(&r->ring->seq));
	if (!st)
		st = hg_from_mdb(r->mdb->txn_commit(txn), "write to the log");
	else
		r->mdb->txn_abort(txn);
out:
	pthread_mutex_unlock(&r->txn_lock);
	return st;
}

void hg_store_stopped(struct hg_recorder *r)
{
	struct hg_store *s = r->store;
	bool in_order = atomic_load(&r->on);
	enum hg_status st;

	if (!r->env)
		return;
	pthread_mutex_lock(&r->txn_lock);
	st = txn_begin(r);
	if (!st && in_order)
		st = hg_store_put_u64(r, s->txn, HG_META_STOPPED, 1);
	else if (!st)
		st = hg_store_put_str(r, s->txn, HG_META_OFF_WHY, r->off_why);
	if (!st)
		st = txn_commit(r);
	else
		txn_abort(r);
	if (!st)
		st = hg_from_mdb(r->mdb->env_sync(r->env, 1), "write the log out");
	pthread_mutex_unlock(&r->txn_lock);
	/* everything is in LMDB: the ring has nothing to recover */
	if (!st && in_order)
		unlinkat(r->dirfd, "ring", 0);
}

void hg_store_close(struct hg_recorder *r)
{
	struct hg_store *s = r->store;

	if (!s)
		return;
	if (r->env) {
		txn_abort(r);
		r->mdb->env_close(r->env);
		r->env = NULL;
	}
	if (s->payload_fd >= 0)
		close(s->payload_fd);
	for (unsigned int i = 0; s->source && i < s->nr_sources; i++)
		free(s->source[i].held);
	hg_track_release(&s->track);
	hg_symbols_close(s->symbols);
	free(s->source);
	free(s->saved);
	free(s->sorted);
	free(s->block);
	free(s);
	r->store = NULL;
}
