/* idmap.c - a hash map from u64 to u64 whose look-ups take no lock. */
#include "common/idmap.h"

#include <sys/mman.h>

/*
 * Linear probing without tombstones: removing shifts the entries behind it back. A look-up that
 * ran while entries moved is repeated (a sequence lock), so it need not understand what it saw.
 * It may still be inside a table that was replaced: outgrown tables are therefore kept, each half
 * as large as the next, until release.
 */
struct entry {
	_Atomic uint64_t key, value;	/* key 0: free */
};

struct hg_idmap_table {
	struct hg_idmap_table *outgrown;
	size_t bytes;
	size_t mask;
	struct entry entry[];
};

#define FIRST_CAPACITY 256

static size_t home(const struct hg_idmap_table *t, uint64_t key)
{
	/* addresses are multiples of large powers of two: their information is in the upper bits */
	key ^= key >> 32;
	key *= UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)(key >> 20) & t->mask;
}

bool hg_idmap_get(const struct hg_idmap *m, uint64_t key, uint64_t *value)
{
	for (;;) {
		unsigned int version = atomic_load_explicit(&m->version, memory_order_acquire);
		const struct hg_idmap_table *t = atomic_load_explicit(&m->table, memory_order_acquire);
		uint64_t found = 0;
		bool is_there = false;

		if (!t)
			return false;
		if (version & 1)
			continue;
		for (size_t i = home(t, key), n = 0; n <= t->mask; i = (i + 1) & t->mask, n++) {
			uint64_t k = atomic_load_explicit(&t->entry[i].key, memory_order_acquire);

			if (k == key) {
				found = atomic_load_explicit(&t->entry[i].value, memory_order_acquire);
				is_there = true;
			}
			if (k == key || !k)
				break;
		}
		/* the acquire loads above keep this one behind them */
		if (atomic_load_explicit(&m->version, memory_order_relaxed) != version)
			continue;
		if (is_there)
			*value = found;
		return is_there;
	}
}

static void change_begin(struct hg_idmap *m)
{
	/* the release stores into entries that follow keep this one in front of them */
	atomic_store_explicit(&m->version, atomic_load_explicit(&m->version, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static void change_end(struct hg_idmap *m)
{
	atomic_store_explicit(&m->version, atomic_load_explicit(&m->version, memory_order_relaxed) + 1,
			      memory_order_release);
}

static uint64_t key_at(struct hg_idmap_table *t, size_t i)
{
	return atomic_load_explicit(&t->entry[i].key, memory_order_relaxed);
}

static void entry_set(struct hg_idmap_table *t, size_t i, uint64_t key, uint64_t value)
{
	atomic_store_explicit(&t->entry[i].key, key, memory_order_release);
	atomic_store_explicit(&t->entry[i].value, value, memory_order_release);
}

/* Where the key is, or the free entry where it belongs. */
static size_t slot_of(struct hg_idmap_table *t, uint64_t key)
{
	size_t i = home(t, key);

	while (key_at(t, i) && key_at(t, i) != key)
		i = (i + 1) & t->mask;
	return i;
}

static enum hg_status grow(struct hg_idmap *m)
{
	struct hg_idmap_table *old = atomic_load(&m->table), *t;
	size_t capacity = old ? (old->mask + 1) * 2 : FIRST_CAPACITY;
	size_t bytes = sizeof(*t) + capacity * sizeof(t->entry[0]);

	t = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED)
		return HG_ERR_NOMEM;
	t->bytes = bytes;
	t->mask = capacity - 1;
	t->outgrown = old;
	for (size_t i = 0; old && i <= old->mask; i++) {
		uint64_t key = key_at(old, i);

		if (key)
			entry_set(t, slot_of(t, key), key,
				  atomic_load_explicit(&old->entry[i].value, memory_order_relaxed));
	}
	/* the old table stays as it is: a look-up still inside it gives the right answer */
	atomic_store_explicit(&m->table, t, memory_order_release);
	return HG_OK;
}

enum hg_status hg_idmap_put(struct hg_idmap *m, uint64_t key, uint64_t value)
{
	struct hg_idmap_table *t;
	enum hg_status st = HG_OK;
	size_t i;

	if (!key)
		return HG_ERR_INVALID;
	pthread_mutex_lock(&m->lock);
	t = atomic_load(&m->table);
	if (!t || (m->count + 1) * 2 > t->mask) {
		st = grow(m);
		if (st)
			goto out;
		t = atomic_load(&m->table);
	}
	i = slot_of(t, key);
	if (!key_at(t, i))
		m->count++;
	change_begin(m);
	entry_set(t, i, key, value);
	change_end(m);
out:
	pthread_mutex_unlock(&m->lock);
	return st;
}

bool hg_idmap_remove(struct hg_idmap *m, uint64_t key, uint64_t *value)
{
	return hg_idmap_remove_if(m, key, value, NULL, NULL);
}

bool hg_idmap_remove_if(struct hg_idmap *m, uint64_t key, uint64_t *value, bool (*may)(uint64_t value, void *arg), void *arg)
{
	struct hg_idmap_table *t;
	bool is_there = false;
	size_t hole, i;

	pthread_mutex_lock(&m->lock);
	t = atomic_load(&m->table);
	if (!t || !key)
		goto out;
	hole = slot_of(t, key);
	is_there = key_at(t, hole) == key &&
		(!may || may(atomic_load_explicit(&t->entry[hole].value, memory_order_relaxed), arg));
	if (!is_there)
		goto out;
	if (value)
		*value = atomic_load_explicit(&t->entry[hole].value, memory_order_relaxed);

	change_begin(m);
	for (i = (hole + 1) & t->mask; key_at(t, i); i = (i + 1) & t->mask) {
		size_t want = home(t, key_at(t, i));

		/* an entry may move into the hole unless its home lies behind the hole */
		if (((i - want) & t->mask) < ((i - hole) & t->mask))
			continue;
		entry_set(t, hole, key_at(t, i),
			  atomic_load_explicit(&t->entry[i].value, memory_order_relaxed));
		hole = i;
	}
	entry_set(t, hole, 0, 0);
	change_end(m);
	m->count--;
out:
	pthread_mutex_unlock(&m->lock);
	return is_there;
}

size_t hg_idmap_count(struct hg_idmap *m)
{
	size_t n;

	pthread_mutex_lock(&m->lock);
	n = m->count;
	pthread_mutex_unlock(&m->lock);
	return n;
}

int hg_idmap_each(struct hg_idmap *m, int (*each)(uint64_t key, uint64_t value, void *arg), void *arg)
{
	struct hg_idmap_table *t;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	t = atomic_load(&m->table);
	for (size_t i = 0; t && i <= t->mask && !rc; i++)
		if (key_at(t, i))
			rc = each(key_at(t, i), atomic_load_explicit(&t->entry[i].value, memory_order_relaxed), arg);
	pthread_mutex_unlock(&m->lock);
	return rc;
}

void hg_idmap_lock(struct hg_idmap *m)
{
	pthread_mutex_lock(&m->lock);
}

void hg_idmap_unlock(struct hg_idmap *m)
{
	pthread_mutex_unlock(&m->lock);
}

void hg_idmap_release(struct hg_idmap *m)
{
	struct hg_idmap_table *t = atomic_exchange(&m->table, NULL);

	while (t) {
		struct hg_idmap_table *outgrown = t->outgrown;

		munmap(t, t->bytes);
		t = outgrown;
	}
	m->count = 0;
}
