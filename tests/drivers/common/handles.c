/* handles.c - which pointers are handles of a test double. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "tests/drivers/common/handles.h"

/*
 * Open addressing by address. Look-ups take no lock: a full table is copied into a larger one, and the old one is
 * kept, as a reader may still be in it (they add up to less than the newest).
 */
#define FREE ((uintptr_t)0)
#define GONE ((uintptr_t)1)

struct table {
	size_t mask, used;		/* used: not FREE */
	struct table *older;
	_Atomic uintptr_t slot[];
};

static struct table *_Atomic table;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static size_t hash(uintptr_t p)
{
	return (size_t)((p >> 4) * 0x9e3779b97f4a7c15ull >> 20);
}

static _Atomic uintptr_t *find(struct table *t, uintptr_t p)
{
	if (!t || p <= GONE)
		return NULL;
	for (size_t i = hash(p);; i++) {
		uintptr_t s = atomic_load_explicit(&t->slot[i & t->mask], memory_order_acquire);

		if (s == p)
			return &t->slot[i & t->mask];
		if (s == FREE)
			return NULL;
	}
}

static void insert(struct table *t, uintptr_t p)
{
	size_t i = hash(p);

	while (atomic_load_explicit(&t->slot[i & t->mask], memory_order_relaxed) > GONE)
		i++;
	if (t->slot[i & t->mask] == FREE)
		t->used++;
	atomic_store_explicit(&t->slot[i & t->mask], p, memory_order_release);
}

static bool make_room(void)
{
	struct table *t = table, *more;
	size_t live = 0, size = 1024;

	if (t && 2 * (t->used + 1) <= t->mask)
		return true;
	for (size_t i = 0; t && i <= t->mask; i++)
		live += t->slot[i] > GONE;
	while (size < 4 * (live + 1))
		size *= 2;
	more = calloc(1, sizeof(*more) + size * sizeof(more->slot[0]));
	if (!more)
		return false;
	more->mask = size - 1;
	more->older = t;
	for (size_t i = 0; t && i <= t->mask; i++)
		if (t->slot[i] > GONE)
			insert(more, t->slot[i]);
	atomic_store_explicit(&table, more, memory_order_release);
	return true;
}

bool fake_handle_add(struct fake_obj *obj)
{
	bool ok;

	atomic_init(&obj->refs, 1);
	pthread_mutex_lock(&lock);
	ok = make_room();
	if (ok)
		insert(table, (uintptr_t)obj);
	pthread_mutex_unlock(&lock);
	return ok;
}

bool fake_handle_remove(struct fake_obj *obj)
{
	_Atomic uintptr_t *slot;

	pthread_mutex_lock(&lock);
	slot = find(table, (uintptr_t)obj);
	if (slot)
		atomic_store_explicit(slot, GONE, memory_order_release);
	pthread_mutex_unlock(&lock);
	return slot != NULL;
}

int fake_handle_kind(const void *handle)
{
	if (!find(atomic_load_explicit(&table, memory_order_acquire), (uintptr_t)handle))
		return 0;
	return ((const struct fake_obj *)handle)->kind;
}

void *fake_handle(const void *handle, int kind)
{
	return fake_handle_kind(handle) == kind ? (void *)(uintptr_t)handle : NULL;
}

void fake_handles_of(struct fake_ctx *ctx, void (*each)(struct fake_obj *obj))
{
	struct table *t;
	size_t i = 0;

	pthread_mutex_lock(&lock);
	for (t = table; t && i <= t->mask; i++) {
		struct fake_obj *obj = (struct fake_obj *)t->slot[i];

		if ((uintptr_t)obj <= GONE || obj->ctx != ctx)
			continue;
		pthread_mutex_unlock(&lock);
		each(obj);
		pthread_mutex_lock(&lock);
		if (t != table) {
			t = table;
			i = (size_t)-1;
		}
	}
	pthread_mutex_unlock(&lock);
}
