/* local.c - storage that a library keeps with a context (one of the runtime's tables). */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>

#include "intercept/symbols.h"
#include "intercept/tables.h"

/*
 * The runtime looks its value up before every call of its own, so look-ups take no lock: slots are only
 * ever added, and a slot is published by its context. There is one slot for each context and
 * library that was ever in use at the same time: a handful.
 */
#define NR_PER_BLOCK 127
struct slot {
	_Atomic(CUcontext) ctx;		/* NULL: free */
	void *key, *value;
	hg_local_dtor dtor;
};

static struct block {
	struct slot slot[NR_PER_BLOCK];
	_Atomic(struct block *) next;
} first;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static CUresult current(CUcontext *ctx)
{
	if (*ctx)
		return CUDA_SUCCESS;
	/* through the gate: it may be another driver's by now, and this thread not yet have its contexts there */
	if (cuCtxGetCurrent(ctx) != CUDA_SUCCESS || !*ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	return CUDA_SUCCESS;
}

static struct slot *find(CUcontext ctx, const void *key)
{
	for (struct block *b = &first; b; b = atomic_load_explicit(&b->next, memory_order_acquire))
		for (size_t i = 0; i < NR_PER_BLOCK; i++)
			if (atomic_load_explicit(&b->slot[i].ctx, memory_order_acquire) == ctx &&
			    b->slot[i].key == key)
				return &b->slot[i];
	return NULL;
}

/* Under the lock. */
static struct slot *find_free(void)
{
	struct block *b = &first, *more;

	for (;; b = b->next) {
		for (size_t i = 0; i < NR_PER_BLOCK; i++)
			if (!b->slot[i].ctx)
				return &b->slot[i];
		if (!b->next)
			break;
	}
	more = mmap(NULL, sizeof(*more), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (more == MAP_FAILED)
		return NULL;
	atomic_store_explicit(&b->next, more, memory_order_release);
	return &more->slot[0];
}

CUresult hg_local_put(CUcontext ctx, void *key, void *value, hg_local_dtor dtor)
{
	CUresult r = current(&ctx);
	struct slot *s;

	if (r != CUDA_SUCCESS)
		return r;
	pthread_mutex_lock(&lock);
	s = find(ctx, key);
	if (!s)
		s = find_free();
	if (s) {
		s->key = key;
		s->value = value;
		s->dtor = dtor;
		atomic_store_explicit(&s->ctx, ctx, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return s ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult hg_local_delete(CUcontext ctx, void *key)
{
	CUresult r = current(&ctx);
	struct slot *s;

	if (r != CUDA_SUCCESS)
		return r;
	pthread_mutex_lock(&lock);
	s = find(ctx, key);
	if (s)
		atomic_store_explicit(&s->ctx, NULL, memory_order_release);
	pthread_mutex_unlock(&lock);
	return s ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult hg_local_get(void **value, CUcontext ctx, void *key)
{
	CUresult r;
	struct slot *s;

	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	r = current(&ctx);
	if (r != CUDA_SUCCESS)
		return r;
	s = find(ctx, key);
	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	*value = s->value;
	return CUDA_SUCCESS;
}

/* Without the lock while a destructor runs: it may come back here. */
void hg_local_context_gone(CUcontext ctx)
{
	if (!ctx)
		return;
	for (struct block *b = &first; b; b = atomic_load_explicit(&b->next, memory_order_acquire))
		for (size_t i = 0; i < NR_PER_BLOCK; i++) {
			struct slot *s = &b->slot[i];
			hg_local_dtor dtor = NULL;
			void *key, *value;

			pthread_mutex_lock(&lock);
			if (atomic_load_explicit(&s->ctx, memory_order_relaxed) == ctx) {
				dtor = s->dtor;
				key = s->key;
				value = s->value;
				atomic_store_explicit(&s->ctx, NULL, memory_order_release);
			}
			pthread_mutex_unlock(&lock);
			if (dtor)
				dtor(ctx, key, value);
		}
}
