/* native_arena.c - device memory at addresses of our choosing, by the real driver's virtual memory management. */
#include "intercept/native_arena.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/ivmap.h"
#include "common/msg.h"

#define ALIGNMENT UINT64_C(512)
#define MOST_ADDRESSES (UINT64_C(1) << 40)	/* wanted for the reservation; where the driver refuses, half as much */
#define FEWEST_ADDRESSES (UINT64_C(1) << 32)
#define POLLED 8u				/* waiting blocks looked at in each call */
#define FIRST_ID (UINT64_C(1) << 62)		/* of our buffers, among the driver's own ids */

/*
 * One for each device in use, until the release; a list. Read without the lock, except for nr_empty: nothing else changes
 * once it is in the list.
 */
struct device {
	struct device *next;
	CUdevice nr;
	uint64_t granule;
	bool is_usable;		/* it has virtual memory management */
	bool has_rdma;
	unsigned int nr_empty;	/* shared chunks without a block; 0 or 1 but for a moment */
};

/* Memory mapped in one piece. The driver's handle of it is released already: unmapping frees it. */
struct chunk {
	uint64_t addr, size;
	struct device *dev;
	unsigned int nr_blocks;
	bool is_shared;
	struct hg_arena free;	/* of a shared one */
};

/* An allocation. */
struct block {
	uint64_t addr, size, room;
	struct chunk *chunk;
	CUcontext ctx;
	CUmemoryPool pool;	/* NULL: none */
	uint64_t id;
	bool is_ordered;	/* allocated in stream order */
	bool dying;		/* a thread is freeing it, or it waits for its stream */
};

/* A block whose stream has not come to its end yet. */
struct waiting {
	struct waiting *next;
	struct block *block;
	CUcontext ctx;		/* the stream's, and the event's */
	CUevent event;
};

enum state { OFF, WANTED, READY, FAILED };

static _Atomic int state;	/* enum state; base and size are set before READY is */
static uint64_t base, size;	/* the reservation */
static pthread_mutex_t reserve_lock = PTHREAD_MUTEX_INITIALIZER;	/* outside `lock` */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hg_arena space;	/* addresses without a chunk */
static struct hg_ivmap chunks, blocks;
static struct device *devices;
static struct waiting *waiting_first, **waiting_end = &waiting_first;
static uint64_t next_id = FIRST_ID;

static void acquire(void)
{
	pthread_mutex_lock(&lock);
}

static void release(void)
{
	pthread_mutex_unlock(&lock);
}

/* the reservation */

static bool driver_can(void)
{
	return hg_nv.cuMemAddressReserve && hg_nv.cuMemAddressFree && hg_nv.cuMemCreate && hg_nv.cuMemRelease &&
	       hg_nv.cuMemMap && hg_nv.cuMemUnmap && hg_nv.cuMemSetAccess && hg_nv.cuMemGetAllocationGranularity &&
	       hg_nv.cuCtxGetCurrent && hg_nv.cuCtxGetDevice && hg_nv.cuCtxPushCurrent_v2 && hg_nv.cuCtxPopCurrent_v2 &&
	       hg_nv.cuCtxSynchronize && hg_nv.cuDeviceGetAttribute && hg_nv.cuEventCreate && hg_nv.cuEventDestroy_v2 &&
	       hg_nv.cuEventQuery && hg_nv.cuEventSynchronize && hg_nv.cuEventRecord && hg_nv.cuEventRecord_ptsz &&
	       hg_nv.cuStreamGetCtx && hg_nv.cuStreamGetCtx_ptsz && hg_nv.cuStreamIsCapturing &&
	       hg_nv.cuStreamIsCapturing_ptsz && hg_nv.cuPointerGetAttribute && hg_nv.cuPointerGetAttributes &&
	       hg_nv.cuMemGetAddressRange_v2;
}

/* At exactly `base`; what the driver gives elsewhere is given back. */
static CUresult reserve(uint64_t wanted)
{
	CUdeviceptr got = 0;
	CUresult r = hg_nv.cuMemAddressReserve(&got, wanted, HG_ARENA_GRANULE, base, 0);

	if (r || got == base)
		return r;
	r = hg_nv.cuMemAddressFree(got, wanted);
	if (r)
		HG_NV_SAY(cuMemAddressFree, r);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static bool may_have_fewer(CUresult r)
{
	return r == CUDA_ERROR_OUT_OF_MEMORY || r == CUDA_ERROR_INVALID_VALUE;
}

static int reserve_once(void)
{
	uint64_t wanted = MOST_ADDRESSES;
	CUresult r = CUDA_ERROR_NOT_SUPPORTED;

	if (driver_can())
		for (r = reserve(wanted); may_have_fewer(r) && wanted > FEWEST_ADDRESSES; r = reserve(wanted))
			wanted /= 2;
	if (r == CUDA_ERROR_NOT_INITIALIZED || r == CUDA_ERROR_DEINITIALIZED)
		return WANTED;	/* the call will say so */
	if (may_have_fewer(r)) {
		pr_err("cannot place device memory at 0x%" PRIx64 ": the driver does not give these addresses; its own "
		       "are used, and HGSHIM_ARENA has no effect", base);
		return FAILED;
	}
	if (r) {
		pr_err("cannot place device memory at 0x%" PRIx64 ": the driver's virtual memory management does not work "
		       "(error %d); HGSHIM_ARENA has no effect", base, (int)r);
		return FAILED;
	}
	acquire();
	r = hg_arena_init(&space, base, wanted) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
	release();
	if (r) {
		pr_err("out of memory: HGSHIM_ARENA has no effect");
		(void)hg_nv.cuMemAddressFree(base, wanted);
		return FAILED;
	}
	size = wanted;
	return READY;
}

static bool is_ready(void)
{
	int now = atomic_load_explicit(&state, memory_order_acquire);

	if (now != WANTED)
		return now == READY;
	pthread_mutex_lock(&reserve_lock);
	now = atomic_load(&state);
	if (now == WANTED) {
		now = reserve_once();
		atomic_store_explicit(&state, now, memory_order_release);
	}
	pthread_mutex_unlock(&reserve_lock);
	return now == READY;
}

static bool in_arena(uint64_t addr)
{
	return atomic_load_explicit(&state, memory_order_acquire) == READY && addr - base < size;
}

/* devices */

static bool attribute(CUdevice dev, CUdevice_attribute a)
{
	int value = 0;

	return !hg_nv.cuDeviceGetAttribute(&value, a, dev) && value == 1;
}

static struct device *device_find(CUdevice nr)
{
	struct device *d;

	acquire();
	for (d = devices; d && d->nr != nr; d = d->next)
		;
	release();
	return d;
}

static CUmemAllocationProp prop_of(const struct device *d)
{
	return (CUmemAllocationProp){
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = { .type = CU_MEM_LOCATION_TYPE_DEVICE, .id = d->nr },
		.allocFlags.gpuDirectRDMACapable = d->has_rdma,
	};
}

/* The device's entry, made when it is missing; NULL: out of memory, or the driver failed. */
static struct device *device_get(CUdevice nr)
{
	struct device *d = device_find(nr), *other;
	CUmemAllocationProp prop;
	size_t granule = 0;

	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->nr = nr;
	d->is_usable = attribute(nr, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
	d->has_rdma = attribute(nr, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED);
	prop = prop_of(d);
	if (d->is_usable &&
	    hg_nv.cuMemGetAllocationGranularity(&granule, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM)) {
		free(d);
		return NULL;
	}
	d->granule = granule > HG_ARENA_GRANULE ? granule : HG_ARENA_GRANULE;
	if (d->granule & (d->granule - 1))
		d->is_usable = false;

	acquire();
	for (other = devices; other && other->nr != nr; other = other->next)
		;
	if (!other) {
		d->next = devices;
		devices = d;
	}
	release();
	if (other) {
		free(d);
		return other;
	}
	if (!d->is_usable)
		pr_err("device %d has no virtual memory management: HGSHIM_ARENA has no effect on its memory", nr);
	return d;
}

/* chunks */

static CUresult from_status(enum hg_status st)
{
	return st ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

static void space_give(uint64_t addr, uint64_t length)
{
	acquire();
	hg_arena_give(&space, addr, length);
	release();
}

/*
 * On success there is memory at [addr, addr+length) that the device, and no other, reaches. Else there is none, except
 * where not even the way back succeeds: then *stuck is set.
 */
static CUresult map_memory(const struct device *dev, uint64_t addr, uint64_t length, bool *stuck)
{
	CUmemAllocationProp prop = prop_of(dev);
	CUmemAccessDesc access = { .location = prop.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	CUmemGenericAllocationHandle handle;
	CUresult r, undo;

	r = hg_nv.cuMemCreate(&handle, length, &prop, 0);
	if (r)
		return r;
	r = hg_nv.cuMemMap(addr, length, 0, handle, 0);
	if (r)
		goto err_release;
	r = hg_nv.cuMemSetAccess(addr, length, &access, 1);
	if (r)
		goto err_unmap;
	/* from now on the mapping alone holds the memory */
	r = hg_nv.cuMemRelease(handle);
	if (r)
		goto err_unmap;
	return CUDA_SUCCESS;

err_unmap:
	undo = hg_nv.cuMemUnmap(addr, length);
	if (undo) {
		HG_NV_SAY(cuMemUnmap, undo);
		*stuck = true;
	}
err_release:
	undo = hg_nv.cuMemRelease(handle);
	if (undo)
		HG_NV_SAY(cuMemRelease, undo);
	return r;
}

/* Mapped, in no list, and not to be used: kept so that the release tries again to unmap it. */
static void chunk_keep(struct chunk *c)
{
	enum hg_status st;

	hg_arena_fini(&c->free);
	c->is_shared = false;
	acquire();
	st = hg_ivmap_put(&chunks, c->addr, c->size, (uintptr_t)c);
	release();
	if (st)
		free(c);
}

static CUresult chunk_map(struct device *dev, uint64_t length, bool is_shared, struct chunk **out)
{
	struct chunk *c = calloc(1, sizeof(*c));
	bool stuck = false;
	enum hg_status st;
	CUresult r;

	if (!c)
		return CUDA_ERROR_OUT_OF_MEMORY;
	c->size = length;
	c->dev = dev;
	c->is_shared = is_shared;
	acquire();
	st = hg_arena_take(&space, length, dev->granule, &c->addr);
	release();
	r = from_status(st);
	if (r)
		goto err_free;
	if (is_shared) {
		r = from_status(hg_arena_init(&c->free, c->addr, length));
		if (r)
			goto err_space;
	}
	r = map_memory(dev, c->addr, length, &stuck);
	if (stuck) {
		chunk_keep(c);
		return r;
	}
	if (r)
		goto err_free_list;
	*out = c;
	return CUDA_SUCCESS;

err_free_list:
	hg_arena_fini(&c->free);
err_space:
	space_give(c->addr, length);
err_free:
	free(c);
	return r;
}

/* Of a chunk that is in no list and has no block. */
static CUresult chunk_unmap(struct chunk *c)
{
	CUresult r = hg_nv.cuMemUnmap(c->addr, c->size);

	if (r) {
		HG_NV_SAY(cuMemUnmap, r);
		chunk_keep(c);
		return r;
	}
	hg_arena_fini(&c->free);
	space_give(c->addr, c->size);
	free(c);
	return CUDA_SUCCESS;
}

/* With the lock. */
static void chunk_forget(struct chunk *c)
{
	hg_ivmap_remove(&chunks, c->addr, NULL);
	if (c->is_shared && !c->nr_blocks)
		c->dev->nr_empty--;
}

struct chunk_search {
	const struct device *dev;
	struct block *block;
	struct chunk *found;
	enum hg_status st;
};

static int chunk_with_room(const struct hg_iv *iv, void *arg)
{
	struct chunk *c = (struct chunk *)(uintptr_t)iv->value;
	struct chunk_search *s = arg;

	if (!c->is_shared || c->dev != s->dev)
		return 0;
	s->st = hg_arena_take(&c->free, s->block->room, ALIGNMENT, &s->block->addr);
	if (s->st == HG_ERR_NOSPC)
		return 0;
	s->found = c;
	return 1;
}

/* With the lock: places the block in a chunk that has room for it, at the lowest address; false: none, or no memory. */
static bool block_share(const struct device *dev, struct block *b)
{
	struct chunk_search s = { .dev = dev, .block = b };

	if (!hg_ivmap_each(&chunks, chunk_with_room, &s) || s.st)
		return false;
	if (hg_ivmap_put(&blocks, b->addr, b->size, (uintptr_t)b)) {
		hg_arena_give(&s.found->free, b->addr, b->room);
		return false;
	}
	b->chunk = s.found;
	if (!s.found->nr_blocks++)
		s.found->dev->nr_empty--;
	return true;
}

/* With the lock: a new chunk and the first block in it. */
static enum hg_status chunk_begin(struct chunk *c, struct block *b)
{
	enum hg_status st = hg_ivmap_put(&chunks, c->addr, c->size, (uintptr_t)c);

	if (st)
		return st;
	b->addr = c->addr;
	if (c->is_shared) {
		st = hg_arena_take(&c->free, b->room, ALIGNMENT, &b->addr);
		if (st)
			goto err_chunk;
	}
	st = hg_ivmap_put(&blocks, b->addr, b->size, (uintptr_t)b);
	if (st)
		goto err_chunk;
	b->chunk = c;
	c->nr_blocks = 1;
	return HG_OK;

err_chunk:
	hg_ivmap_remove(&chunks, c->addr, NULL);
	return st;
}

static CUresult block_place(struct device *dev, struct block *b)
{
	bool is_shared = b->room <= dev->granule / 2, placed = false;
	uint64_t length = is_shared ? dev->granule : (b->room + dev->granule - 1) & -dev->granule;
	struct chunk *c;
	enum hg_status st;
	CUresult r;

	if (length > size)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (is_shared) {
		acquire();
		placed = block_share(dev, b);
		release();
	}
	if (placed)
		return CUDA_SUCCESS;
	r = chunk_map(dev, length, is_shared, &c);
	if (r)
		return r;
	acquire();
	st = chunk_begin(c, b);
	release();
	if (st)
		(void)chunk_unmap(c);	/* said */
	return from_status(st);
}

/* Takes a block, and its chunk if it was the last one there, out of the bookkeeping; *gone gets a chunk to be unmapped. */
static void block_forget(struct block *b, struct chunk **gone)
{
	struct chunk *c = b->chunk;

	*gone = NULL;
	acquire();
	hg_ivmap_remove(&blocks, b->addr, NULL);
	if (c->is_shared)
		hg_arena_give(&c->free, b->addr, b->room);
	if (!--c->nr_blocks) {
		if (c->is_shared)
			c->dev->nr_empty++;
		if (!c->is_shared || c->dev->nr_empty > 1) {
			chunk_forget(c);
			*gone = c;
		}
	}
	release();
	free(b);
}

static CUresult block_end(struct block *b)
{
	struct chunk *gone;

	block_forget(b, &gone);
	return gone ? chunk_unmap(gone) : CUDA_SUCCESS;
}

static int empty_chunk(const struct hg_iv *iv, void *arg)
{
	struct chunk *c = (struct chunk *)(uintptr_t)iv->value;

	if (!c->is_shared || c->nr_blocks)
		return 0;
	*(struct chunk **)arg = c;
	return 1;
}

/* True: there was an empty chunk, and it is unmapped. */
static bool drop_empty_chunk(void)
{
	struct chunk *c = NULL;

	acquire();
	if (hg_ivmap_each(&chunks, empty_chunk, &c))
		chunk_forget(c);
	release();
	return c && !chunk_unmap(c);
}

/* The live block that begins there, for this thread alone; NULL: none. */
static struct block *block_claim(uint64_t addr)
{
	struct block *b = NULL;
	struct hg_iv iv;

	acquire();
	if (hg_ivmap_find(&blocks, addr, &iv) && iv.start == addr) {
		b = (struct block *)(uintptr_t)iv.value;
		if (b->dying)
			b = NULL;
		else
			b->dying = true;
	}
	release();
	return b;
}

static void block_unclaim(struct block *b)
{
	acquire();
	b->dying = false;
	release();
}

/* A copy of the block that the address lies in; false: none. One that waits for its stream is still memory. */
static bool block_find(uint64_t addr, struct block *out)
{
	struct hg_iv iv;
	bool found;

	acquire();
	found = hg_ivmap_find(&blocks, addr, &iv);
	if (found)
		*out = *(const struct block *)(uintptr_t)iv.value;
	release();
	return found;
}

/* blocks that wait for a stream */

static void waiting_append(struct waiting *w)
{
	w->next = NULL;
	acquire();
	*waiting_end = w;
	waiting_end = &w->next;
	release();
}

/* The first of the context (NULL: of any), out of the list. */
static struct waiting *waiting_take(CUcontext ctx)
{
	struct waiting **at, *w;

	acquire();
	for (at = &waiting_first; *at && ctx && (*at)->ctx != ctx; at = &(*at)->next)
		;
	w = *at;
	if (w) {
		*at = w->next;
		if (!*at)
			waiting_end = at;
	}
	release();
	return w;
}

static void waiting_end_one(struct waiting *w)
{
	CUresult r = hg_nv.cuEventDestroy_v2(w->event);

	if (r)
		HG_NV_SAY(cuEventDestroy_v2, r);
	(void)block_end(w->block);	/* said */
	free(w);
}

/*
 * Ends blocks of the current context that their streams have come to. Of other contexts' events nothing is asked: another
 * thread may be destroying them.
 */
static void reclaim(CUcontext ctx)
{
	const struct waiting *busy = NULL;	/* the first that was; only compared */
	struct waiting *w;

	for (unsigned int i = 0; i < POLLED; i++) {
		w = waiting_take(ctx);
		if (!w)
			return;
		/* NOT_READY, or the context is broken: then only its end, or the release, helps */
		if (w != busy && !hg_nv.cuEventQuery(w->event)) {
			waiting_end_one(w);
			continue;
		}
		waiting_append(w);
		if (w == busy)
			return;
		if (!busy)
			busy = w;
	}
}

/* Waits for all that wait in the current context; true: one was ended. */
static bool reclaim_all(CUcontext ctx)
{
	bool any = false;
	struct waiting *w;

	for (w = waiting_take(ctx); w; w = waiting_take(ctx)) {
		if (hg_nv.cuEventSynchronize(w->event)) {
			waiting_append(w);
			break;
		}
		waiting_end_one(w);
		any = true;
	}
	return any;
}

/* allocation */

/* `ctx` is the owner, and for stream-ordered memory the stream's context. */
static CUresult block_alloc(CUcontext ctx, struct device *dev, size_t bytes, CUmemoryPool pool, bool is_ordered,
			    CUdeviceptr *out)
{
	struct block *b;
	CUresult r;

	if (bytes > size)
		return CUDA_ERROR_OUT_OF_MEMORY;
	b = calloc(1, sizeof(*b));
	if (!b)
		return CUDA_ERROR_OUT_OF_MEMORY;
	b->size = bytes;
	b->room = (bytes + ALIGNMENT - 1) & -ALIGNMENT;
	b->ctx = ctx;
	b->pool = pool;
	b->is_ordered = is_ordered;
	acquire();
	b->id = next_id++;
	release();
	/* what was freed and is not given back yet may be all that lacks */
	do
		r = block_place(dev, b);
	while (r == CUDA_ERROR_OUT_OF_MEMORY && (reclaim_all(ctx) || drop_empty_chunk()));
	if (r) {
		free(b);
		return r;
	}
	*out = b->addr;
	return CUDA_SUCCESS;
}

/* The device of the current context; NULL: there is none, or its memory is the driver's. */
static struct device *current_device(CUcontext *ctx)
{
	struct device *dev;
	CUdevice nr;

	if (!is_ready() || hg_nv.cuCtxGetCurrent(ctx) || !*ctx || hg_nv.cuCtxGetDevice(&nr))
		return NULL;
	dev = device_get(nr);
	return dev && dev->is_usable ? dev : NULL;
}

static CUresult mem_alloc(CUdeviceptr *out, size_t bytes)
{
	struct device *dev = NULL;
	CUcontext ctx;

	if (out && bytes)
		dev = current_device(&ctx);
	if (!dev)
		return hg_nv.cuMemAlloc_v2(out, bytes);
	reclaim(ctx);
	return block_alloc(ctx, dev, bytes, NULL, false, out);
}

/* Rows begin at multiples of 512 bytes, as the driver's do. */
static CUresult mem_alloc_pitch(CUdeviceptr *out, size_t *pitch, size_t width, size_t height, unsigned int element)
{
	size_t row = (width + ALIGNMENT - 1) & -(size_t)ALIGNMENT, bytes;
	struct device *dev = NULL;
	CUcontext ctx;
	CUresult r;

	if (out && pitch && width && height && (element == 4 || element == 8 || element == 16) && row >= width &&
	    !__builtin_mul_overflow(row, height, &bytes))
		dev = current_device(&ctx);
	if (!dev)
		return hg_nv.cuMemAllocPitch_v2(out, pitch, width, height, element);
	reclaim(ctx);
	r = block_alloc(ctx, dev, bytes, NULL, false, out);
	if (!r)
		*pitch = row;
	return r;
}

static CUresult current(CUcontext *ctx)
{
	CUresult r = hg_nv.cuCtxGetCurrent(ctx);

	if (!r && !*ctx)
		r = CUDA_ERROR_INVALID_CONTEXT;
	return r;
}

static CUresult mem_free(CUdeviceptr ptr)
{
	struct block *b;
	CUcontext ctx;
	CUresult r;

	if (!in_arena(ptr))
		return hg_nv.cuMemFree_v2(ptr);
	r = current(&ctx);
	if (r)
		return r;
	b = block_claim(ptr);
	if (!b)
		return CUDA_ERROR_INVALID_VALUE;
	/* a kernel under way may use it; of stream-ordered memory CUDA says that the caller has waited */
	if (!b->is_ordered) {
		r = hg_native_mem_wait(b->ctx, ctx);
		if (r) {
			block_unclaim(b);
			return r;
		}
	}
	r = block_end(b);
	reclaim(ctx);
	return r;
}

/* allocation in stream order */

static CUresult stream_ctx(CUstream stream, bool per_thread, CUcontext *ctx)
{
	CUresult r = per_thread ? hg_nv.cuStreamGetCtx_ptsz(stream, ctx) : hg_nv.cuStreamGetCtx(stream, ctx);

	return !r && !*ctx ? CUDA_ERROR_INVALID_CONTEXT : r;
}

static CUresult stream_capture(CUstream stream, bool per_thread, CUstreamCaptureStatus *status)
{
	return per_thread ? hg_nv.cuStreamIsCapturing_ptsz(stream, status) : hg_nv.cuStreamIsCapturing(stream, status);
}

/* The stream's context and device, with that context current until ctx_pop. */
static CUresult ctx_push(CUcontext ctx, bool *pushed)
{
	CUcontext now = NULL;
	CUresult r = hg_nv.cuCtxGetCurrent(&now);

	*pushed = false;
	if (r || now == ctx)
		return r;
	r = hg_nv.cuCtxPushCurrent_v2(ctx);
	*pushed = !r;
	return r;
}

static void ctx_pop(bool pushed)
{
	CUcontext popped;
	CUresult r = pushed ? hg_nv.cuCtxPopCurrent_v2(&popped) : CUDA_SUCCESS;

	if (r)
		HG_NV_SAY(cuCtxPopCurrent_v2, r);
}

/* Does the device use the pool? One of another device's memory, or of the host's, is the driver's business. */
static bool pool_fits(CUmemoryPool pool, CUdevice nr)
{
	CUmemLocation here = { .type = CU_MEM_LOCATION_TYPE_DEVICE, .id = nr };
	CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;

	return hg_nv.cuMemPoolGetAccess && !hg_nv.cuMemPoolGetAccess(&flags, pool, &here) &&
	       flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
}

/*
 * The memory is there at once, which is no later than in stream order. false: the driver's business, be it because the
 * stream is captured, or because something is wrong with the call.
 */
static bool alloc_ordered(CUdeviceptr *out, size_t bytes, CUmemoryPool pool, CUstream stream, bool per_thread,
			  CUresult *result)
{
	CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
	struct device *dev;
	CUcontext ctx, now;
	bool pushed, done = false;

	if (!out || !bytes || !is_ready() || stream_ctx(stream, per_thread, &ctx) ||
	    stream_capture(stream, per_thread, &capture) || capture != CU_STREAM_CAPTURE_STATUS_NONE)
		return false;
	if (ctx_push(ctx, &pushed))
		return false;
	dev = current_device(&now);
	if (!dev || (pool && !pool_fits(pool, dev->nr)))
		goto out;
	if (!pool && (!hg_nv.cuDeviceGetMemPool || hg_nv.cuDeviceGetMemPool(&pool, dev->nr)))
		pool = NULL;
	reclaim(ctx);
	*result = block_alloc(ctx, dev, bytes, pool, true, out);
	done = true;
out:
	ctx_pop(pushed);
	return done;
}

static CUresult mem_alloc_async(CUdeviceptr *out, size_t bytes, CUstream stream)
{
	CUresult r;

	return alloc_ordered(out, bytes, NULL, stream, false, &r) ? r : hg_nv.cuMemAllocAsync(out, bytes, stream);
}

static CUresult mem_alloc_async_ptsz(CUdeviceptr *out, size_t bytes, CUstream stream)
{
	CUresult r;

	return alloc_ordered(out, bytes, NULL, stream, true, &r) ? r : hg_nv.cuMemAllocAsync_ptsz(out, bytes, stream);
}

static CUresult mem_alloc_from_pool(CUdeviceptr *out, size_t bytes, CUmemoryPool pool, CUstream stream)
{
	CUresult r;

	return pool && alloc_ordered(out, bytes, pool, stream, false, &r) ? r :
		hg_nv.cuMemAllocFromPoolAsync(out, bytes, pool, stream);
}

static CUresult mem_alloc_from_pool_ptsz(CUdeviceptr *out, size_t bytes, CUmemoryPool pool, CUstream stream)
{
	CUresult r;

	return pool && alloc_ordered(out, bytes, pool, stream, true, &r) ? r :
		hg_nv.cuMemAllocFromPoolAsync_ptsz(out, bytes, pool, stream);
}

/* An event that is reached when all that is in the stream now is done; its context is current. */
static CUresult event_behind(CUstream stream, bool per_thread, CUevent *out)
{
	CUresult r = hg_nv.cuEventCreate(out, CU_EVENT_DISABLE_TIMING), undo;

	if (r)
		return r;
	r = per_thread ? hg_nv.cuEventRecord_ptsz(*out, stream) : hg_nv.cuEventRecord(*out, stream);
	if (!r)
		return CUDA_SUCCESS;
	undo = hg_nv.cuEventDestroy_v2(*out);
	if (undo)
		HG_NV_SAY(cuEventDestroy_v2, undo);
	return r;
}

static CUresult free_ordered(CUdeviceptr ptr, CUstream stream, bool per_thread)
{
	CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
	struct waiting *w;
	bool pushed;
	CUcontext ctx;
	CUresult r = stream_ctx(stream, per_thread, &ctx);

	if (!r)
		r = stream_capture(stream, per_thread, &capture);
	if (r)
		return r;
	if (capture != CU_STREAM_CAPTURE_STATUS_NONE)
		return CUDA_ERROR_INVALID_VALUE;	/* a graph may free what a graph allocated */
	w = calloc(1, sizeof(*w));
	if (!w)
		return CUDA_ERROR_OUT_OF_MEMORY;
	w->ctx = ctx;
	w->block = block_claim(ptr);
	if (!w->block) {
		r = CUDA_ERROR_INVALID_VALUE;
		goto err_free;
	}
	r = ctx_push(ctx, &pushed);
	if (r)
		goto err_unclaim;
	r = event_behind(stream, per_thread, &w->event);
	if (!r) {
		waiting_append(w);
		reclaim(ctx);
	}
	ctx_pop(pushed);
	if (r)
		goto err_unclaim;
	return CUDA_SUCCESS;

err_unclaim:
	block_unclaim(w->block);
err_free:
	free(w);
	return r;
}

static CUresult mem_free_async(CUdeviceptr ptr, CUstream stream)
{
	return in_arena(ptr) ? free_ordered(ptr, stream, false) : hg_nv.cuMemFreeAsync(ptr, stream);
}

static CUresult mem_free_async_ptsz(CUdeviceptr ptr, CUstream stream)
{
	return in_arena(ptr) ? free_ordered(ptr, stream, true) : hg_nv.cuMemFreeAsync_ptsz(ptr, stream);
}

/* what a pointer points at: to the driver it is part of one huge reservation */

static CUresult mem_get_address_range(CUdeviceptr *begin, size_t *bytes, CUdeviceptr ptr)
{
	struct block b;
	CUcontext ctx;
	CUresult r;

	if (!in_arena(ptr))
		return hg_nv.cuMemGetAddressRange_v2(begin, bytes, ptr);
	r = current(&ctx);
	if (r)
		return r;
	if (!block_find(ptr, &b))
		return CUDA_ERROR_NOT_FOUND;
	if (begin)
		*begin = b.addr;
	if (bytes)
		*bytes = b.size;
	return CUDA_SUCCESS;
}

/* What the driver cannot know of a block; false: its own answer is right. */
static bool pointer_attribute(void *data, CUpointer_attribute attr, const struct block *b)
{
	switch (attr) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		/* memory from a pool, like that of virtual memory management, has none */
		if (b->is_ordered)
			return false;
		*(CUcontext *)data = b->ctx;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)data = b->addr;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)data = b->size;
		return true;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*(unsigned long long *)data = b->id;
		return true;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(CUmemoryPool *)data = b->pool;
		return true;
	default:
		return false;
	}
}

/* What cuPointerGetAttributes says of a pointer that is none of CUDA's; false: the attribute is none that we know. */
static bool pointer_unknown(void *data, CUpointer_attribute attr)
{
	switch (attr) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*(uint64_t *)data = 0;
		return true;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_MAPPED:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
	case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
		*(unsigned int *)data = 0;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = -2;	/* none, as the driver says it */
		return true;
	default:
		return false;
	}
}

static CUresult pointer_get_attribute(void *data, CUpointer_attribute attr, CUdeviceptr ptr)
{
	struct block b;
	CUcontext ctx;
	CUresult r;

	if (!data || !in_arena(ptr))
		return hg_nv.cuPointerGetAttribute(data, attr, ptr);
	r = current(&ctx);
	if (r)
		return r;
	if (!block_find(ptr, &b))
		return CUDA_ERROR_INVALID_VALUE;
	return pointer_attribute(data, attr, &b) ? CUDA_SUCCESS : hg_nv.cuPointerGetAttribute(data, attr, ptr);
}

static CUresult pointer_get_attributes(unsigned int nr, CUpointer_attribute *attr, void **data, CUdeviceptr ptr)
{
	struct block b;
	bool known;
	CUresult r;

	/* the driver first: it looks at the arguments */
	r = hg_nv.cuPointerGetAttributes(nr, attr, data, ptr);
	if (r || !in_arena(ptr))
		return r;
	known = block_find(ptr, &b);
	for (unsigned int i = 0; i < nr; i++)
		if (known)
			(void)pointer_attribute(data[i], attr[i], &b);
		else
			(void)pointer_unknown(data[i], attr[i]);
	return CUDA_SUCCESS;
}

/* It has no handle, as memory of cuMemAlloc has none. */
static CUresult mem_retain_handle(CUmemGenericAllocationHandle *handle, void *addr)
{
	if (in_arena((uintptr_t)addr))
		return CUDA_ERROR_INVALID_VALUE;
	return hg_nv.cuMemRetainAllocationHandle(handle, addr);
}

static const struct hg_native_row rows[] = {
	HG_NATIVE_ROW(cuMemAlloc_v2, mem_alloc),
	HG_NATIVE_ROW(cuMemAllocPitch_v2, mem_alloc_pitch),
	HG_NATIVE_ROW(cuMemFree_v2, mem_free),
	HG_NATIVE_ROW(cuMemAllocAsync, mem_alloc_async),
	HG_NATIVE_ROW(cuMemAllocAsync_ptsz, mem_alloc_async_ptsz),
	HG_NATIVE_ROW(cuMemAllocFromPoolAsync, mem_alloc_from_pool),
	HG_NATIVE_ROW(cuMemAllocFromPoolAsync_ptsz, mem_alloc_from_pool_ptsz),
	HG_NATIVE_ROW(cuMemFreeAsync, mem_free_async),
	HG_NATIVE_ROW(cuMemFreeAsync_ptsz, mem_free_async_ptsz),
	HG_NATIVE_ROW(cuMemGetAddressRange_v2, mem_get_address_range),
	HG_NATIVE_ROW(cuPointerGetAttribute, pointer_get_attribute),
	HG_NATIVE_ROW(cuPointerGetAttributes, pointer_get_attributes),
	HG_NATIVE_ROW(cuMemRetainAllocationHandle, mem_retain_handle),
};

/* life */

void hg_native_arena_init(uint64_t addr)
{
	base = addr;
	atomic_store_explicit(&state, WANTED, memory_order_release);
}

bool hg_native_arena_is_on(void)
{
	int now = atomic_load_explicit(&state, memory_order_acquire);

	return now == WANTED || now == READY;
}

void *hg_native_arena_proc(const char *symbol)
{
	return atomic_load(&state) == OFF ? NULL : hg_native_row_find(rows, sizeof(rows) / sizeof(rows[0]), symbol);
}

bool hg_native_arena_owns(uint64_t addr)
{
	return in_arena(addr);
}

struct ctx_search {
	CUcontext ctx;
	struct block *found;
};

static int block_of_ctx(const struct hg_iv *iv, void *arg)
{
	struct block *b = (struct block *)(uintptr_t)iv->value;
	struct ctx_search *s = arg;

	if (b->ctx != s->ctx || b->dying)
		return 0;
	s->found = b;
	return 1;
}

void hg_native_arena_ctx_gone(CUcontext ctx)
{
	struct ctx_search s = { .ctx = ctx };
	struct waiting *w;
	int found;

	/* its streams have ended, its events went with it */
	for (w = waiting_take(ctx); w; w = waiting_take(ctx)) {
		(void)block_end(w->block);	/* said */
		free(w);
	}
	do {
		acquire();
		found = hg_ivmap_each(&blocks, block_of_ctx, &s);
		if (found)
			s.found->dying = true;
		release();
		if (found)
			(void)block_end(s.found);	/* said */
	} while (found);
}

static int free_block(const struct hg_iv *iv, void *arg)
{
	(void)arg;
	free((struct block *)(uintptr_t)iv->value);
	return 0;
}

static int unmap_chunk(const struct hg_iv *iv, void *arg)
{
	struct chunk *c = (struct chunk *)(uintptr_t)iv->value;
	unsigned int *failed = arg;
	CUresult r = hg_nv.cuMemUnmap(c->addr, c->size);

	if (r) {
		HG_NV_SAY(cuMemUnmap, r);
		++*failed;
	}
	hg_arena_fini(&c->free);
	free(c);
	return 0;
}

unsigned int hg_native_arena_release(void)
{
	struct hg_ivmap all_chunks, all_blocks;
	struct device *dev, *next;
	unsigned int failed = 0;
	struct waiting *w;
	CUresult r;
	int was = atomic_exchange(&state, OFF);

	if (was != READY)
		return 0;
	for (w = waiting_take(NULL); w; w = waiting_take(NULL)) {
		r = hg_nv.cuEventDestroy_v2(w->event);
		if (r) {
			HG_NV_SAY(cuEventDestroy_v2, r);
			failed++;
		}
		free(w);	/* the block is in the map */
	}
	acquire();
	all_chunks = chunks;
	all_blocks = blocks;
	chunks = (struct hg_ivmap){ 0 };
	blocks = (struct hg_ivmap){ 0 };
	dev = devices;
	devices = NULL;
	hg_arena_fini(&space);
	release();
	hg_ivmap_each(&all_blocks, free_block, NULL);
	hg_ivmap_release(&all_blocks);
	hg_ivmap_each(&all_chunks, unmap_chunk, &failed);
	hg_ivmap_release(&all_chunks);
	for (; dev; dev = next) {
		next = dev->next;
		free(dev);
	}
	r = hg_nv.cuMemAddressFree(base, size);
	if (r) {
		HG_NV_SAY(cuMemAddressFree, r);
		failed++;
	}
	return failed;
}
