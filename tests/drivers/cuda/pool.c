/* pool.c - memory pools of the fake CUDA driver, and allocations in stream order. */
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/cuda/fake.h"

/*
 * What is freed in stream order leaves the table of ranges at the call, and stays in its pool as a block. The same stream
 * may have it back at once, for its work comes later anyhow; another one when the free has been reached. A
 * synchronisation gives blocks back that are over the pool's threshold. All under the memory's lock.
 */
struct block {
	uint64_t addr, size;		/* size: as given to the allocation */
	struct fake_ctx *ctx;
	struct fake_stream *stream;	/* a reference */
	uint64_t pos;
	struct block *next;
};

struct fake_pool {
	struct fake_obj obj;		/* references: the handle, allocations and blocks */
	bool is_default;
	CUdevice dev;
	int reuse[3];			/* CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES… */
	uint64_t threshold, reserved, reserved_high, used, used_high;
	struct block *blocks;
	struct fake_pool *next;
};

static struct fake_pool *default_pool[FAKE_MAX_DEVICES], *current[FAKE_MAX_DEVICES];
static struct fake_pool *pools;
static struct fake_pool plain;		/* memory of cuMemAlloc that was freed in stream order; has no handle */
static atomic_uint nr_blocks;

static void pool_release(struct fake_obj *obj)
{
	struct fake_pool **at = &pools, *p = (struct fake_pool *)obj;

	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	free(p);
}

static struct fake_pool *pool_new(CUdevice dev)
{
	struct fake_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->obj.kind = FAKE_POOL;
	p->obj.release = pool_release;
	p->dev = dev;
	for (int i = 0; i < 3; i++)
		p->reuse[i] = 1;
	if (!fake_handle_add(&p->obj)) {
		free(p);
		return NULL;
	}
	p->next = pools;
	pools = p;
	return p;
}

CUresult fake_pools_init(void)
{
	for (CUdevice i = 0; i < fake_config.nr_devices; i++) {
		default_pool[i] = current[i] = pool_new(i);
		if (!default_pool[i])
			return CUDA_ERROR_OUT_OF_MEMORY;
		default_pool[i]->is_default = true;
	}
	atomic_init(&plain.obj.refs, 1);
	return CUDA_SUCCESS;
}

/* ---- blocks ---- */

/* Takes it out of the list; whoever gets it puts the pool's reference, or uses it. */
static struct block block_take(struct block **at)
{
	struct block old = **at;

	free(*at);
	*at = old.next;
	fake_put(&old.stream->obj);
	atomic_fetch_sub(&nr_blocks, 1);
	return old;
}

static void block_free(struct fake_pool *p, struct block **at)
{
	struct block old = block_take(at);

	fake_arena_free(old.addr, old.size);
	p->reserved -= fake_arena_size(old.size);
	fake_put(&p->obj);
}

/* What has been reached, as far as more than `keep` is reserved. */
static void trim(struct fake_pool *p, uint64_t keep)
{
	fake_ref(&p->obj);
	for (struct block **at = &p->blocks; *at && p->reserved > keep;) {
		if (fake_stream_reached((*at)->stream, (*at)->pos))
			block_free(p, at);
		else
			at = &(*at)->next;
	}
	fake_put(&p->obj);
}

void fake_pools_sync(void)
{
	if (!atomic_load_explicit(&nr_blocks, memory_order_relaxed))
		return;
	pthread_mutex_lock(&fake_mem_lock);
	trim(&plain, 0);
	for (struct fake_pool *p = pools, *next; p; p = next) {
		next = p->next;
		trim(p, p->threshold);
	}
	pthread_mutex_unlock(&fake_mem_lock);
}

static void lose_blocks(struct fake_pool *p, struct fake_ctx *ctx)
{
	fake_ref(&p->obj);
	for (struct block **at = &p->blocks; *at;) {
		if ((*at)->ctx == ctx)
			block_free(p, at);
		else
			at = &(*at)->next;
	}
	fake_put(&p->obj);
}

void fake_pools_ctx_end(struct fake_ctx *ctx)
{
	struct fake_range *r;

	pthread_mutex_lock(&fake_mem_lock);
	lose_blocks(&plain, ctx);
	for (struct fake_pool *p = pools, *next; p; p = next) {
		next = p->next;
		lose_blocks(p, ctx);
	}
	for (r = fake_range_from(0); r; r = fake_range_from(r->start + r->size)) {
		struct fake_range old = *r;

		if (r->mem != FAKE_MEM_POOL || r->ctx != ctx)
			continue;
		old.pool->used -= old.size;
		old.pool->reserved -= fake_arena_size(old.size);
		r->pool = NULL;
		fake_put(&old.pool->obj);
	}
	pthread_mutex_unlock(&fake_mem_lock);
}

/* ---- allocations ---- */

static uint64_t from_blocks(struct fake_pool *p, struct fake_ctx *ctx, struct fake_stream *s, uint64_t size)
{
	for (struct block **at = &p->blocks; *at; at = &(*at)->next) {
		struct block *b = *at;

		if (b->ctx != ctx || fake_arena_size(b->size) != fake_arena_size(size))
			continue;
		if (b->stream != s && !(p->reuse[1] && fake_stream_reached(b->stream, b->pos)))
			continue;
		return block_take(at).addr;	/* and the pool's reference */
	}
	return 0;
}

static CUresult alloc(CUdeviceptr *out, uint64_t size, struct fake_pool *p, struct fake_stream *s)
{
	struct fake_ctx *ctx = s->obj.ctx;
	struct fake_range new = {
		.size = size, .mem = FAKE_MEM_POOL, .ctx = ctx, .dev = p->dev, .pool = p,
	};

	new.start = from_blocks(p, ctx, s, size);
	if (!new.start) {
		new.start = fake_arena_alloc(ctx, size);
		if (!new.start)
			return CUDA_ERROR_OUT_OF_MEMORY;
		p->reserved += fake_arena_size(size);
		fake_ref(&p->obj);
	}
	if (!fake_range_add(&new)) {
		fake_arena_free(new.start, size);
		p->reserved -= fake_arena_size(size);
		fake_put(&p->obj);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	p->used += size;
	if (p->used > p->used_high)
		p->used_high = p->used;
	if (p->reserved > p->reserved_high)
		p->reserved_high = p->reserved;
	*out = new.start;
	return CUDA_SUCCESS;
}

static CUresult alloc_async(CUdeviceptr *out, size_t size, CUmemoryPool handle, CUstream stream)
{
	struct fake_stream *s;
	struct fake_pool *p;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (!out || !size)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	p = handle ? fake_handle(handle, FAKE_POOL) : current[s->obj.ctx->dev];
	r = p ? alloc(out, size, p, s) : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&fake_mem_lock);
	if (r != CUDA_ERROR_OUT_OF_MEMORY || !atomic_load(&nr_blocks))
		return r;
	/* what lies in pools may do */
	fake_ctx_sync(s->obj.ctx);
	pthread_mutex_lock(&fake_mem_lock);
	for (struct fake_pool *other = pools, *next; other; other = next) {
		next = other->next;
		trim(other, 0);
	}
	p = handle ? fake_handle(handle, FAKE_POOL) : current[s->obj.ctx->dev];
	r = p ? alloc(out, size, p, s) : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemAllocAsync(CUdeviceptr *out, size_t size, CUstream stream)
{
	return alloc_async(out, size, NULL, stream);
}

CUresult fake_cuMemAllocFromPoolAsync(CUdeviceptr *out, size_t size, CUmemoryPool pool, CUstream stream)
{
	return pool ? alloc_async(out, size, pool, stream) : CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuMemFreeAsync(CUdeviceptr addr, CUstream stream)
{
	struct fake_range *found;
	struct fake_stream *s;
	struct fake_pool *p;
	struct block *b;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS)
		return r;
	b = calloc(1, sizeof(*b));
	if (!b)
		return CUDA_ERROR_OUT_OF_MEMORY;
	b->pos = fake_work_publish(s, fake_work_begin(s, FAKE_NOP));
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find(addr);
	if (!found || found->start != addr || (found->mem != FAKE_MEM_POOL && found->mem != FAKE_MEM_DEVICE)) {
		free(b);
		r = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	b->addr = addr;
	b->size = found->size;
	b->ctx = found->ctx;
	b->stream = s;
	fake_ref(&s->obj);
	p = found->pool;
	if (p) {
		p->used -= found->size;
	} else {
		p = &plain;
		p->reserved += fake_arena_size(found->size);
		fake_ref(&p->obj);
	}
	fake_range_remove(addr);
	b->next = p->blocks;
	p->blocks = b;
	atomic_fetch_add(&nr_blocks, 1);
out:
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* ---- pools ---- */

static CUresult get_pool(CUmemoryPool *out, CUdevice dev, struct fake_pool **of)
{
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	*out = (CUmemoryPool)of[dev];
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetDefaultMemPool(CUmemoryPool *out, CUdevice dev)
{
	return get_pool(out, dev, default_pool);
}

CUresult fake_cuDeviceGetMemPool(CUmemoryPool *out, CUdevice dev)
{
	return get_pool(out, dev, current);
}

CUresult fake_cuDeviceSetMemPool(CUdevice dev, CUmemoryPool handle)
{
	struct fake_pool *p = fake_handle(handle, FAKE_POOL);

	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!p || p->dev != dev)
		return CUDA_ERROR_INVALID_VALUE;
	current[dev] = p;
	return CUDA_SUCCESS;
}

static bool is_device_location(const CUmemLocation *location)
{
	return location && location->type == CU_MEM_LOCATION_TYPE_DEVICE && fake_is_device(location->id);
}

CUresult fake_cuMemGetDefaultMemPool(CUmemoryPool *out, CUmemLocation *location, CUmemAllocationType type)
{
	if (!is_device_location(location) || type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	return get_pool(out, location->id, default_pool);
}

CUresult fake_cuMemGetMemPool(CUmemoryPool *out, CUmemLocation *location, CUmemAllocationType type)
{
	if (!is_device_location(location) || type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	return get_pool(out, location->id, current);
}

CUresult fake_cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type, CUmemoryPool pool)
{
	if (!is_device_location(location) || type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	return fake_cuDeviceSetMemPool(location->id, pool);
}

CUresult fake_cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *prop)
{
	struct fake_pool *p;

	if (!out || !prop || prop->allocType != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE || prop->handleTypes)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!fake_is_device(prop->location.id))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&fake_mem_lock);
	p = pool_new(prop->location.id);
	pthread_mutex_unlock(&fake_mem_lock);
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*out = (CUmemoryPool)p;
	return CUDA_SUCCESS;
}

/* Its allocations live on. */
CUresult fake_cuMemPoolDestroy(CUmemoryPool handle)
{
	struct fake_pool *p;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&fake_mem_lock);
	p = fake_handle(handle, FAKE_POOL);
	if (p && !p->is_default && fake_handle_remove(&p->obj)) {
		if (current[p->dev] == p)
			current[p->dev] = default_pool[p->dev];
		p->threshold = 0;
		fake_put(&p->obj);
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemPoolTrimTo(CUmemoryPool handle, size_t keep)
{
	struct fake_pool *p;

	pthread_mutex_lock(&fake_mem_lock);
	p = fake_handle(handle, FAKE_POOL);
	if (p)
		trim(p, keep);
	pthread_mutex_unlock(&fake_mem_lock);
	return p ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute what, void *value)
{
	CUresult r = CUDA_SUCCESS;
	struct fake_pool *p;

	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	p = fake_handle(handle, FAKE_POOL);
	if (!p)
		r = CUDA_ERROR_INVALID_VALUE;
	else if (what >= CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES &&
		 what <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES)
		p->reuse[what - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES] = *(int *)value != 0;
	else if (what == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
		p->threshold = *(cuuint64_t *)value;
	else if (what == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH && !*(cuuint64_t *)value)
		p->reserved_high = p->reserved;
	else if (what == CU_MEMPOOL_ATTR_USED_MEM_HIGH && !*(cuuint64_t *)value)
		p->used_high = p->used;
	else
		r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute what, void *value)
{
	CUresult r = CUDA_SUCCESS;
	struct fake_pool *p;

	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	p = fake_handle(handle, FAKE_POOL);
	switch (p ? (int)what : 0) {
	case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
		*(int *)value = p->reuse[what - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES];
		break;
	case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
		*(cuuint64_t *)value = p->threshold;
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
		*(cuuint64_t *)value = p->reserved;
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
		*(cuuint64_t *)value = p->reserved_high;
		break;
	case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
		*(cuuint64_t *)value = p->used;
		break;
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		*(cuuint64_t *)value = p->used_high;
		break;
	default:
		r = CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* A device always reaches its own pool, and no other's. */
CUresult fake_cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc *desc, size_t nr)
{
	struct fake_pool *p = fake_handle(handle, FAKE_POOL);

	if (!p || !desc || !nr)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < nr; i++) {
		if (!is_device_location(&desc[i].location))
			return CUDA_ERROR_INVALID_DEVICE;
		if (desc[i].location.id == p->dev && desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
			return CUDA_ERROR_INVALID_VALUE;
		if (desc[i].location.id != p->dev && desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
			return CUDA_ERROR_INVALID_DEVICE;
	}
	return CUDA_SUCCESS;
}

CUresult fake_cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool handle, CUmemLocation *location)
{
	struct fake_pool *p = fake_handle(handle, FAKE_POOL);

	if (!flags || !p || !location)
		return CUDA_ERROR_INVALID_VALUE;
	if (!is_device_location(location))
		return CUDA_ERROR_INVALID_DEVICE;
	*flags = location->id == p->dev ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;
	return CUDA_SUCCESS;
}
