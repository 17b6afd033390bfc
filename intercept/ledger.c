/* ledger.c - the objects an application holds: which serial id has a handle or an address. */
#define _GNU_SOURCE
#include "intercept/ledger.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "common/idmap.h"
#include "common/msg.h"

#define NR_KINDS (HG_KIND_HPTR + 1)

#define EMPTY [0 ... NR_KINDS - 1] = HG_IDMAP_INIT
static struct hg_idmap maps[NR_KINDS] = { EMPTY };

/* Entries come from blocks of their own: a wrapper calls no malloc of the application's. */
#define BLOCK_BYTES 65536
static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hg_entry *free_list;
static atomic_bool incomplete;

static struct hg_entry *entry_new(void)
{
	struct hg_entry *e;

	pthread_mutex_lock(&free_lock);
	if (!free_list) {
		struct hg_entry *block = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
					      -1, 0);

		if (block != MAP_FAILED)
			for (size_t i = 0; i < BLOCK_BYTES / sizeof(*block); i++) {
				block[i].next_free = free_list;
				free_list = &block[i];
			}
	}
	e = free_list;
	if (e)
		free_list = e->next_free;
	pthread_mutex_unlock(&free_lock);
	return e;
}

static void entry_free(struct hg_entry *e)
{
	pthread_mutex_lock(&free_lock);
	e->next_free = free_list;
	free_list = e;
	pthread_mutex_unlock(&free_lock);
}

static void lose(void)
{
	if (!atomic_exchange(&incomplete, true))
		pr_err("cannot keep track of another object: no memory; checkpoints are refused from now on");
}

struct hg_entry *hg_ledger_find(enum hg_kind kind, uint64_t handle)
{
	uint64_t value;

	if (!handle || !hg_idmap_get(&maps[kind], handle, &value))
		return NULL;
	return (struct hg_entry *)(uintptr_t)value;
}

bool hg_ledger_add(const struct hg_entry *e)
{
	struct hg_entry *mine, old;

	if (!e->handle)
		return false;
	(void)hg_ledger_take(e->kind, e->handle, &old);
	mine = entry_new();
	if (!mine) {
		lose();
		return false;
	}
	*mine = *e;
	if (hg_idmap_put(&maps[e->kind], e->handle, (uintptr_t)mine) != HG_OK) {
		entry_free(mine);
		lose();
		return false;
	}
	return true;
}

static bool has_id(uint64_t value, void *id)
{
	return ((const struct hg_entry *)(uintptr_t)value)->id == *(uint64_t *)id;
}

/* id 0: whichever it is. */
static bool take(enum hg_kind kind, uint64_t handle, uint64_t id, struct hg_entry *out)
{
	uint64_t value;
	struct hg_entry *e;

	if (!handle || !hg_idmap_remove_if(&maps[kind], handle, &value, id ? has_id : NULL, &id))
		return false;
	e = (struct hg_entry *)(uintptr_t)value;
	*out = *e;
	entry_free(e);
	return true;
}

bool hg_ledger_take(enum hg_kind kind, uint64_t handle, struct hg_entry *out)
{
	return take(kind, handle, 0, out);
}

struct visit {
	int (*each)(const struct hg_entry *e, void *arg);
	void *arg;
};

static int visit(uint64_t key, uint64_t value, void *arg)
{
	struct visit *v = arg;

	(void)key;
	return v->each((const struct hg_entry *)(uintptr_t)value, v->arg);
}

int hg_ledger_each(int (*each)(const struct hg_entry *e, void *arg), void *arg)
{
	struct visit v = { each, arg };
	int r = 0;

	for (size_t k = 0; k < NR_KINDS && !r; k++)
		r = hg_idmap_each(&maps[k], visit, &v);
	return r;
}

static int forget_kernel(uint64_t key, uint64_t value, void *arg)
{
	struct hg_entry *e = (struct hg_entry *)(uintptr_t)value;

	(void)key;
	(void)arg;
	__atomic_store_n(&e->kernel, NULL, __ATOMIC_RELEASE);
	return 0;
}

void hg_ledger_forget_kernels(void)
{
	for (size_t k = 0; k < NR_KINDS; k++)
		hg_idmap_each(&maps[k], forget_kernel, NULL);
}

/* The map may not change while it is walked: children are collected some at a time. */
struct batch {
	uint64_t parent;
	size_t nr;
	struct hg_entry child[64];
};

static int collect(const struct hg_entry *e, void *arg)
{
	struct batch *b = arg;

	if (e->parent != b->parent)
		return 0;
	b->child[b->nr++] = *e;
	return b->nr == sizeof(b->child) / sizeof(b->child[0]);
}

void hg_ledger_drop_children(const struct hg_entry *parent)
{
	struct batch b;

	/* the others are nobody's parents: no walk over all objects for each free */
	if (!parent->id || (parent->kind != HG_KIND_CTX && parent->kind != HG_KIND_MODULE && parent->kind != HG_KIND_LIBRARY &&
			    parent->kind != HG_KIND_FUNCTION))
		return;
	do {
		b.parent = parent->id;
		b.nr = 0;
		(void)hg_ledger_each(collect, &b);
		for (size_t i = 0; i < b.nr; i++) {
			struct hg_entry gone;

			/* its handle may be another object's by now: the driver has freed it already */
			if (take(b.child[i].kind, b.child[i].handle, b.child[i].id, &gone))
				hg_ledger_drop_children(&gone);
		}
	} while (b.nr);
}

size_t hg_ledger_count(enum hg_kind kind)
{
	return hg_idmap_count(&maps[kind]);
}

bool hg_ledger_is_incomplete(void)
{
	return atomic_load(&incomplete);
}
