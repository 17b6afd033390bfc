/* local.c - storage that the CUDA runtime keeps with a context of the fake driver. */
#include <stdlib.h>

#include "tests/drivers/cuda/fake.h"

/* The current one for NULL: also one that has ended, as the runtime asks before it makes one anew. */
static struct fake_ctx *context_of(CUcontext handle)
{
	if (handle)
		return fake_handle(handle, FAKE_CONTEXT);
	return fake_self.depth ? fake_self.stack[fake_self.depth - 1] : NULL;
}

/* The runtime looks its value up before each of its calls: no lock. */
static struct fake_local *find(struct fake_ctx *ctx, void *key)
{
	for (struct fake_local *l = atomic_load_explicit(&ctx->local, memory_order_acquire); l;
	     l = atomic_load_explicit(&l->next, memory_order_acquire))
		if (atomic_load_explicit(&l->key, memory_order_acquire) == key)
			return l;
	return NULL;
}

CUresult fake_local_put(CUcontext handle, void *key, void *value, fake_local_dtor dtor)
{
	struct fake_ctx *ctx = context_of(handle);
	struct fake_local *l;
	CUresult r = CUDA_SUCCESS;

	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!key)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&ctx->lock);
	l = find(ctx, key);
	if (!l)
		l = find(ctx, NULL);
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l) {
			r = CUDA_ERROR_OUT_OF_MEMORY;
			goto out;
		}
		atomic_init(&l->next, ctx->local);
		atomic_store_explicit(&ctx->local, l, memory_order_release);
	}
	l->value = value;
	l->dtor = dtor;
	atomic_store_explicit(&l->key, key, memory_order_release);
out:
	pthread_mutex_unlock(&ctx->lock);
	return r;
}

CUresult fake_local_delete(CUcontext handle, void *key)
{
	struct fake_ctx *ctx = context_of(handle);
	struct fake_local *l;

	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	pthread_mutex_lock(&ctx->lock);
	l = key ? find(ctx, key) : NULL;
	if (l)
		atomic_store_explicit(&l->key, NULL, memory_order_release);
	pthread_mutex_unlock(&ctx->lock);
	return l ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult fake_local_get(void **value, CUcontext handle, void *key)
{
	struct fake_ctx *ctx = context_of(handle);
	struct fake_local *l;

	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	l = key ? find(ctx, key) : NULL;
	if (!l)
		return CUDA_ERROR_INVALID_HANDLE;
	*value = l->value;
	return CUDA_SUCCESS;
}

void fake_local_end(struct fake_ctx *ctx)
{
	for (struct fake_local *l = ctx->local; l; l = l->next) {
		void *key, *value = l->value;
		fake_local_dtor dtor = l->dtor;

		key = atomic_exchange(&l->key, NULL);
		if (key && dtor)
			dtor((CUcontext)ctx, key, value);
	}
}
