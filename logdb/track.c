/* track.c - the objects of a log, followed record by record. */
#include "logdb/track.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/idmap.h"
#include "common/msg.h"
#include "logdb/view.h"

/* Device and host addresses are apart: on some targets both may hold the same number. */
struct hg_track_addr {
	struct hg_idmap device, host;
};

static struct hg_idmap *addr_map(struct hg_track *t, enum hg_kind kind)
{
	if (!t->addr) {
		t->addr = calloc(1, sizeof(*t->addr));
		if (!t->addr)
			return NULL;
		pthread_mutex_init(&t->addr->device.lock, NULL);
		pthread_mutex_init(&t->addr->host.lock, NULL);
	}
	return kind == HG_KIND_DPTR ? &t->addr->device : &t->addr->host;
}

/* Index of the first object whose id is not below. */
static size_t lower_bound(const struct hg_track *t, uint64_t id)
{
	size_t low = 0, high = t->nr_obj;

	/* new objects have the largest id */
	if (high && t->obj[high - 1]->id < id)
		return high;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->obj[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct hg_tracked *hg_track_find(const struct hg_track *t, uint64_t id)
{
	size_t i = lower_bound(t, id);

	return i < t->nr_obj && t->obj[i]->id == id ? t->obj[i] : NULL;
}

static void mark_dirty(struct hg_track *t, struct hg_tracked *o)
{
	if (o->dirty)
		return;
	o->dirty = true;
	o->next_dirty = t->dirty;
	t->dirty = o;
}

void hg_track_clean(struct hg_track *t)
{
	while (t->dirty) {
		struct hg_tracked *o = t->dirty;

		t->dirty = o->next_dirty;
		o->dirty = false;
	}
}

static void tracked_free(struct hg_tracked *o)
{
	for (size_t i = 0; i < o->nr_set; i++)
		free(o->set[i]);
	free(o->set);
	free(o->created);
	free(o->name);
	free(o);
}

static struct hg_tracked *add(struct hg_track *t, uint64_t id)
{
	size_t i = lower_bound(t, id);
	struct hg_tracked *o;

	if (t->nr_obj == t->capacity) {
		size_t capacity = t->capacity ? t->capacity * 2 : 256;
		struct hg_tracked **obj = realloc(t->obj, capacity * sizeof(*obj));

		if (!obj)
			return NULL;
		t->obj = obj;
		t->capacity = capacity;
	}
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->id = id;
	memmove(&t->obj[i + 1], &t->obj[i], (t->nr_obj - i) * sizeof(t->obj[0]));
	t->obj[i] = o;
	t->nr_obj++;
	return o;
}

void hg_track_forget(struct hg_track *t, struct hg_tracked *o)
{
	size_t i = lower_bound(t, o->id);

	if (o->dirty) {
		struct hg_tracked **at = &t->dirty;

		while (*at != o)
			at = &(*at)->next_dirty;
		*at = o->next_dirty;
	}
	memmove(&t->obj[i], &t->obj[i + 1], (t->nr_obj - i - 1) * sizeof(t->obj[0]));
	t->nr_obj--;
	tracked_free(o);
}

size_t hg_track_prune(struct hg_track *t, bool (*keep)(const struct hg_tracked *o, void *arg), void *arg)
{
	size_t kept = 0, pruned;

	for (size_t i = 0; i < t->nr_obj; i++) {
		struct hg_tracked *o = t->obj[i];

		if (o->dirty || !o->died || keep(o, arg))
			t->obj[kept++] = o;
		else
			tracked_free(o);
	}
	pruned = t->nr_obj - kept;
	t->nr_obj = kept;
	return pruned;
}

void hg_track_release(struct hg_track *t)
{
	for (size_t i = 0; i < t->nr_obj; i++)
		tracked_free(t->obj[i]);
	free(t->obj);
	if (t->addr) {
		hg_idmap_release(&t->addr->device);
		hg_idmap_release(&t->addr->host);
		free(t->addr);
	}
	memset(t, 0, sizeof(*t));
}

static struct hg_rec *rec_dup(const struct hg_rec *rec)
{
	struct hg_rec *copy = malloc(rec->size);

	if (copy)
		memcpy(copy, rec, rec->size);
	return copy;
}

static bool is_memory(enum hg_kind kind)
{
	return kind == HG_KIND_DPTR || kind == HG_KIND_HPTR;
}

static void die_alone(struct hg_track *t, struct hg_tracked *o, uint64_t seq)
{
	struct hg_idmap *map;
	uint64_t id;

	o->died = seq;
	mark_dirty(t, o);
	if (!is_memory(o->kind))
		return;
	map = addr_map(t, o->kind);
	if (map && hg_idmap_get(map, o->handle, &id) && id == o->id)
		hg_idmap_remove(map, o->handle, NULL);
}

static void die(struct hg_track *t, struct hg_tracked *o, uint64_t seq)
{
	if (o->died)
		return;
	die_alone(t, o, seq);
	if (o->kind != HG_KIND_CTX && o->kind != HG_KIND_MODULE && o->kind != HG_KIND_LIBRARY &&
	    o->kind != HG_KIND_FUNCTION)
		return;
	/* what belongs to it goes with it, and so on; children are younger, so one walk is enough */
	for (size_t i = lower_bound(t, o->id + 1); i < t->nr_obj; i++) {
		struct hg_tracked *child = t->obj[i], *parent;

		if (child->died || child->parent < o->id)
			continue;
		parent = hg_track_find(t, child->parent);
		if (parent && parent->died == seq)
			die_alone(t, child, seq);
	}
}

static uint64_t parent_of(const struct hg_rec_view *v, enum hg_kind kind)
{
	if (kind == HG_KIND_CTX)
		return 0;
	if (kind == HG_KIND_MODULE || kind == HG_KIND_LIBRARY || kind == HG_KIND_FUNCTION)
		for (int i = 0; i < v->nr_args; i++)
			if (v->arg[i].dir == HG_DIR_IN && hg_kind_is_object(v->arg[i].kind))
				return v->rec->word[i];
	/* a library belongs to no context */
	return kind == HG_KIND_LIBRARY ? 0 : v->rec->ctx;
}

static enum hg_status create(struct hg_track *t, const struct hg_rec_view *v, int word)
{
	enum hg_kind kind = v->arg[word].kind;
	struct hg_tracked *o = hg_track_find(t, v->rec->seq);
	const char *name = NULL;

	if (o)
		return HG_OK;
	o = add(t, v->rec->seq);
	if (!o)
		return HG_ERR_NOMEM;
	o->kind = kind;
	o->handle = v->rec->word[word];
	o->born = v->rec->seq;
	o->parent = parent_of(v, kind);
	o->created = rec_dup(v->rec);
	if (!o->created)
		return HG_ERR_NOMEM;
	if (kind == HG_KIND_FUNCTION) {
		const struct hg_tracked *parent = hg_track_find(t, o->parent);

		for (int i = 0; i < v->nr_args && !name; i++)
			name = hg_rec_cstr(v, i);
		if (!name && parent)
			name = parent->name;
		o->name = name ? strdup(name) : NULL;
	}
	if (is_memory(kind)) {
		struct hg_idmap *map = addr_map(t, kind);
		uint64_t old;

		o->size = hg_rec_memory_size(v);
		/* an address that is given out again was freed, whatever the log missed */
		if (map && hg_idmap_get(map, o->handle, &old)) {
			struct hg_tracked *gone = hg_track_find(t, old);

			if (gone)
				die(t, gone, v->rec->seq);
		}
		if (!map || (o->handle && hg_idmap_put(map, o->handle, o->id)))
			return HG_ERR_NOMEM;
	}
	mark_dirty(t, o);
	return HG_OK;
}

static enum hg_status destroy(struct hg_track *t, const struct hg_rec_view *v, int word)
{
	uint64_t value = v->rec->word[word], id = value;
	struct hg_tracked *o;

	if (!value)
		return HG_OK;
	if (is_memory(v->arg[word].kind)) {
		struct hg_idmap *map = addr_map(t, v->arg[word].kind);

		if (!map)
			return HG_ERR_NOMEM;
		if (!hg_idmap_get(map, value, &id))
			return HG_OK;
	}
	o = hg_track_find(t, id);
	/* applied a second time, the address may already name its next owner */
	if (o && o->born < v->rec->seq)
		die(t, o, v->rec->seq);
	return HG_OK;
}

static bool is_value(enum hg_kind kind)
{
	return kind == HG_KIND_I32 || kind == HG_KIND_SIZE;
}

static bool same_key(const struct hg_rec_view *v, const struct hg_rec *old)
{
	if (old->call != v->rec->call || old->nr_words != v->rec->nr_words)
		return false;
	for (int i = 0; i < v->nr_args; i++)
		if (!is_value(v->arg[i].kind) && old->word[i] != v->rec->word[i])
			return false;
	return true;
}

static enum hg_status set(struct hg_track *t, const struct hg_rec_view *v)
{
	uint64_t id = v->rec->ctx;
	struct hg_tracked *o;
	struct hg_rec *copy, **records;

	for (int i = 0; i < v->nr_args; i++)
		if (hg_kind_is_object(v->arg[i].kind)) {
			id = v->rec->word[i];
			break;
		}
	o = hg_track_find(t, id);
	if (!o)
		return HG_OK;
	copy = rec_dup(v->rec);
	if (!copy)
		return HG_ERR_NOMEM;
	mark_dirty(t, o);
	for (size_t i = 0; i < o->nr_set; i++)
		if (same_key(v, o->set[i])) {
			free(o->set[i]);
			o->set[i] = copy;
			return HG_OK;
		}
	records = realloc(o->set, (o->nr_set + 1) * sizeof(*records));
	if (!records) {
		free(copy);
		return HG_ERR_NOMEM;
	}
	o->set = records;
	o->set[o->nr_set++] = copy;
	return HG_OK;
}

static bool creates(const struct hg_rec_view *v, const struct hg_arg *a)
{
	switch (v->desc->op) {
	case HG_OP_ALLOC:
		return a->kind == HG_KIND_DPTR && a->dir == HG_DIR_OUT;
	case HG_OP_HOST_ALLOC:
		return a->kind == HG_KIND_HPTR && a->dir == HG_DIR_OUT;
	case HG_OP_HOST_REGISTER:
		return a->kind == HG_KIND_HPTR;
	default:
		return hg_kind_is_object(a->kind) && a->dir == HG_DIR_OUT;
	}
}

enum hg_status hg_track_apply(struct hg_track *t, const struct hg_rec_view *v)
{
	enum hg_status st;

	if (!v->desc || v->rec->result)
		return HG_OK;
	if (v->desc->op == HG_OP_SET)
		return set(t, v);
	for (int i = 0; i < v->nr_args; i++) {
		if (v->arg[i].dir == HG_DIR_DESTROY) {
			st = destroy(t, v, i);
			if (st)
				return st;
		}
		if (creates(v, &v->arg[i]) && !(v->rec->flags & HG_REC_KNOWN)) {
			st = create(t, v, i);
			if (st)
				return st;
			break;
		}
	}
	return HG_OK;
}

enum hg_status hg_tracked_encode(const struct hg_tracked *o, void **data, size_t *size)
{
	struct hg_writer w = { 0 };

	hg_write_u32(&w, o->kind);
	hg_write_u32(&w, (uint32_t)o->nr_set);
	hg_write_u64(&w, o->handle);
	hg_write_u64(&w, o->size);
	hg_write_u64(&w, o->parent);
	hg_write_u64(&w, o->born);
	hg_write_u64(&w, o->died);
	hg_write_bytes(&w, o->created, o->created->size);
	for (size_t i = 0; i < o->nr_set; i++)
		hg_write_bytes(&w, o->set[i], o->set[i]->size);
	hg_write_str(&w, o->name ? o->name : "");
	if (w.failed) {
		hg_writer_release(&w);
		return HG_ERR_NOMEM;
	}
	*data = w.data;
	*size = w.size;
	return HG_OK;
}

static struct hg_rec *decode_rec(struct hg_reader *r)
{
	struct hg_reader peek = *r;
	uint32_t size = hg_read_u32(&peek);
	struct hg_rec *rec;
	const void *p;

	if (size < sizeof(*rec) || size & 7 || size > hg_reader_left(r)) {
		r->failed = true;
		return NULL;
	}
	rec = malloc(size);
	p = hg_read_bytes(r, size);
	if (rec && p)
		memcpy(rec, p, size);
	return rec;
}

enum hg_status hg_track_decode(struct hg_track *t, uint64_t id, const void *data, size_t size)
{
	struct hg_tracked *o;
	struct hg_reader r;
	uint32_t nr_set;
	const char *name;

	hg_reader_init(&r, data, size);
	if (hg_track_find(t, id)) {
		pr_err("object %" PRIu64 " is in the log twice", id);
		return HG_ERR_CORRUPT;
	}
	o = add(t, id);
	if (!o)
		return HG_ERR_NOMEM;
	o->kind = (enum hg_kind)hg_read_u32(&r);
	nr_set = hg_read_u32(&r);
	o->handle = hg_read_u64(&r);
	o->size = hg_read_u64(&r);
	o->parent = hg_read_u64(&r);
	o->born = hg_read_u64(&r);
	o->died = hg_read_u64(&r);
	o->created = decode_rec(&r);
	/* each record is longer than its share of this: a hostile count cannot allocate much */
	if (!r.failed && nr_set <= hg_reader_left(&r) / sizeof(struct hg_rec)) {
		o->set = calloc(nr_set ? nr_set : 1, sizeof(o->set[0]));
		for (; o->set && o->nr_set < nr_set; o->nr_set++) {
			o->set[o->nr_set] = decode_rec(&r);
			if (!o->set[o->nr_set])
				break;
		}
	}
	name = hg_read_str(&r);
	if (r.failed || hg_reader_left(&r) || !o->created || o->nr_set != nr_set || o->born != id ||
	    (!hg_kind_is_object(o->kind) && !is_memory(o->kind)) || o->parent >= id) {
		pr_err("object %" PRIu64 " of the log is damaged", id);
		hg_track_forget(t, o);
		return HG_ERR_CORRUPT;
	}
	if (name && name[0]) {
		o->name = strdup(name);
		if (!o->name)
			return HG_ERR_NOMEM;
	}
	if (is_memory(o->kind) && !o->died && o->handle) {
		struct hg_idmap *map = addr_map(t, o->kind);

		if (!map || hg_idmap_put(map, o->handle, id))
			return HG_ERR_NOMEM;
	}
	return HG_OK;
}
