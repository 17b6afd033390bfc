/* driver_ctx.c - contexts, primary and created, and each thread's stack of them. */
#include <stdlib.h>
#include <time.h>

#include "common/msg.h"
#include "replay/device_print.h"
#include "replay/driver_priv.h"
#include "replay/restore.h"

#define KNOWN_FLAGS CU_CTX_FLAGS_MASK
#define END_TRIES 5000		/* half a second at least */
#define END_TRY_NS 100000

static void ctx_free(struct drv_obj *obj)
{
	struct drv_ctx *ctx = (struct drv_ctx *)obj;

	pthread_mutex_destroy(&ctx->lock);
	free(ctx);
}

static void limits_reset(struct drv_ctx *ctx)
{
	for (int i = 0; i < DRV_NR_LIMITS; i++)
		ctx->limit[i] = 0;
	ctx->limit[CU_LIMIT_STACK_SIZE] = 1024;
	ctx->limit[CU_LIMIT_PRINTF_FIFO_SIZE] = 1u << 20;
	ctx->limit[CU_LIMIT_MALLOC_HEAP_SIZE] = DRV_HEAP_BYTES;
	ctx->limit[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64;
	ctx->cache_config = CU_FUNC_CACHE_PREFER_NONE;
	ctx->shared_config = CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE;
}

CUresult drv_ctx_new(CUdevice device, bool primary, struct drv_ctx **out)
{
	struct drv_ctx *ctx = calloc(1, sizeof(*ctx));
	CUresult r;

	if (!ctx)
		return CUDA_ERROR_OUT_OF_MEMORY;
	drv_obj_init(&ctx->obj, DRV_CTX, NULL, ctx_free);
	pthread_mutex_init(&ctx->lock, NULL);
	ctx->device = device;
	ctx->primary = primary;
	ctx->alive = !primary;
	ctx->id = atomic_fetch_add(&drv.next_id, 1);
	ctx->api_version = DRV_CUDA_VERSION;
	limits_reset(ctx);
	r = drv_obj_publish(&ctx->obj);
	if (r) {
		drv_obj_put(&ctx->obj);
		return r;
	}
	*out = ctx;
	return CUDA_SUCCESS;
}

struct ctx_list {
	struct drv_ctx **ctx;
	size_t nr, capacity;
};

static int ctx_collect(uint64_t key, uint64_t value, void *arg)
{
	struct drv_obj *obj = (struct drv_obj *)(uintptr_t)value;
	struct ctx_list *list = arg;

	/* once, however many names it has */
	if (obj->kind != DRV_CTX || key != drv_key(obj->name, DRV_CTX))
		return 0;
	if (list->nr == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 8;
		struct drv_ctx **grown = realloc(list->ctx, capacity * sizeof(*grown));

		if (!grown)
			return -1;
		list->ctx = grown;
		list->capacity = capacity;
	}
	drv_obj_ref(obj);
	list->ctx[list->nr++] = (struct drv_ctx *)obj;
	return 0;
}

enum hg_status drv_each_ctx(enum hg_status (*each)(struct drv_ctx *ctx, void *arg), void *arg)
{
	struct ctx_list list = { 0 };
	enum hg_status st = HG_OK;

	pthread_rwlock_rdlock(&drv.lock);
	if (hg_idmap_each(&drv.handles, ctx_collect, &list))
		st = HG_ERR_NOMEM;
	pthread_rwlock_unlock(&drv.lock);
	for (size_t i = 0; i < list.nr; i++) {
		if (!st)
			st = each(list.ctx[i], arg);
		drv_obj_put(&list.ctx[i]->obj);
	}
	free(list.ctx);
	return st;
}

/* The waiting itself is done without the lock: other threads may go on issuing work. */
enum hg_status drv_ctx_sync(struct drv_ctx *ctx)
{
	struct drv_stream **stream;
	size_t nr = 0, i = 0;

	if (drv.exiting)
		return HG_OK;
	pthread_mutex_lock(&ctx->lock);
	for (struct drv_stream *s = ctx->streams; s; s = s->next)
		nr++;
	stream = calloc(nr + 1, sizeof(*stream));
	if (!stream) {
		pthread_mutex_unlock(&ctx->lock);
		return HG_ERR_NOMEM;
	}
	for (struct drv_stream *s = ctx->streams; s; s = s->next) {
		drv_obj_ref(&s->obj);
		stream[i++] = s;
	}
	pthread_mutex_unlock(&ctx->lock);

	for (i = 0; i < nr; i++) {
		/* what failed is in the context's error */
		enum hg_status st = drv.ops->queue_sync(stream[i]->queue);

		(void)st;
		drv_obj_put(&stream[i]->obj);
	}
	free(stream);
	hg_print_flush();
	pthread_mutex_lock(&ctx->lock);
	drv_streams_reap(ctx);
	pthread_mutex_unlock(&ctx->lock);
	return HG_OK;
}

/* The last object of a context that ends, its handle no longer valid; with the registry's reference. */
static struct drv_obj *object_take(struct drv_ctx *ctx)
{
	struct drv_obj *obj;

	pthread_rwlock_rdlock(&drv.lock);
	obj = ctx->objects;
	if (obj)
		drv_obj_ref(obj);
	pthread_rwlock_unlock(&drv.lock);
	return obj;
}

/* True when all its work came to an end; queued work is dropped, but what runs cannot be stopped. */
static bool work_ends(struct drv_ctx *ctx)
{
	for (int tries = 0; tries < END_TRIES; tries++) {
		bool idle = true;

		pthread_mutex_lock(&ctx->lock);
		for (struct drv_stream *s = ctx->streams; s; s = s->next) {
			drv.ops->queue_cancel(s->queue);
			idle &= drv.ops->queue_is_idle(s->queue);
		}
		pthread_mutex_unlock(&ctx->lock);
		if (idle)
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = END_TRY_NS }, NULL);
	}
	return false;
}

/* A kernel goes on running: what it may use stays for ever, out of reach of everyone else. */
static void abandon(struct drv_ctx *ctx)
{
	struct drv_obj *obj;

	pr_warn("a context ends while a kernel of it is still running; what it may use is kept");
	atomic_store(&drv.abandoned, true);
	for (obj = object_take(ctx); obj; obj = object_take(ctx)) {
		/* the registry's reference is kept for ever */
		drv_obj_withdraw(obj);
		drv_obj_put(obj);
	}
	pthread_mutex_lock(&ctx->lock);
	for (struct drv_stream *s = ctx->streams; s; s = s->next)
		s->dying = true;
	ctx->streams = NULL;
	ctx->legacy = NULL;
	pthread_mutex_unlock(&ctx->lock);
	drv_mem_abandon_ctx(ctx);
	atomic_store(&ctx->error, 0);
	limits_reset(ctx);
}

/* As on a GPU, work that a context still has when it ends is not waited for. */
void drv_ctx_end(struct drv_ctx *ctx)
{
	struct drv_stream *streams, *next;
	struct drv_obj *obj;
	CUresult r;

	atomic_store(&ctx->alive, false);
	if (drv.exiting)
		return;
	atomic_store(&ctx->error, CUDA_ERROR_CONTEXT_IS_DESTROYED);
	if (!work_ends(ctx)) {
		abandon(ctx);
		return;
	}
	/* failures of its kernels are taken while its queues can still be told from others */
	r = drv_ctx_error(ctx);
	for (obj = object_take(ctx); obj; obj = object_take(ctx)) {
		switch (obj->kind) {
		case DRV_STREAM:
			r = drv_cuStreamDestroy_v2(drv_handle(obj));
			break;
		case DRV_EVENT:
			r = drv_cuEventDestroy_v2(drv_handle(obj));
			break;
		case DRV_MODULE:
			r = drv_cuModuleUnload(drv_handle(obj));
			break;
		default:
			r = CUDA_ERROR_INVALID_HANDLE;
		}
		/* whatever it was, it leaves the list, or this would not end */
		if (r && drv_obj_withdraw(obj))
			drv_obj_put(obj);
		drv_obj_put(obj);
	}
	pthread_mutex_lock(&ctx->lock);
	streams = ctx->streams;
	ctx->streams = NULL;
	ctx->legacy = NULL;
	pthread_mutex_unlock(&ctx->lock);
	for (; streams; streams = next) {
		next = streams->next;
		streams->dying = true;
		/* a thread may still have it as its default stream, and let go of it when there is another target */
		if (drv.is_left) {
			drv.ops->queue_destroy(streams->queue);
			drv.ops->mark_destroy(streams->mark);
			streams->queue = NULL;
			streams->mark = NULL;
		}
		drv_obj_put(&streams->obj);
	}
	drv_mem_end_ctx(ctx);
	atomic_store(&ctx->error, 0);
	limits_reset(ctx);
}

static CUresult check_device(CUdevice dev)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	return dev >= 0 && dev < drv.nr_devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* primary contexts */

CUresult drv_cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice dev)
{
	CUresult r = check_device(dev);
	struct drv_ctx *ctx;

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	ctx = drv.primary[dev];
	pthread_rwlock_wrlock(&drv.lock);
	ctx->retained++;
	atomic_store(&ctx->alive, true);
	pthread_rwlock_unlock(&drv.lock);
	*out = drv_handle(&ctx->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	CUresult r = check_device(dev);
	struct drv_ctx *ctx;
	bool ends;

	if (r)
		return r;
	ctx = drv.primary[dev];
	pthread_rwlock_wrlock(&drv.lock);
	ends = ctx->retained == 1 && ctx->alive;
	if (!ctx->retained)
		r = CUDA_ERROR_INVALID_CONTEXT;
	else
		ctx->retained--;
	pthread_rwlock_unlock(&drv.lock);
	if (ends)
		drv_ctx_end(ctx);
	return r;
}

CUresult drv_cuDevicePrimaryCtxRelease(CUdevice dev)
{
	return drv_cuDevicePrimaryCtxRelease_v2(dev);
}

CUresult drv_cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	CUresult r = check_device(dev);
	struct drv_ctx *ctx;
	bool was_alive;

	if (r)
		return r;
	ctx = drv.primary[dev];
	pthread_rwlock_wrlock(&drv.lock);
	was_alive = ctx->alive;	/* resetting does not release: who has retained it still has to */
	pthread_rwlock_unlock(&drv.lock);
	if (!was_alive)
		return CUDA_SUCCESS;
	drv_ctx_end(ctx);
	return drv_libraries_reset();
}

CUresult drv_cuDevicePrimaryCtxReset(CUdevice dev)
{
	return drv_cuDevicePrimaryCtxReset_v2(dev);
}

CUresult drv_cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	CUresult r = check_device(dev);

	if (r)
		return r;
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = drv.primary[dev]->flags;
	*active = drv.primary[dev]->alive;
	return CUDA_SUCCESS;
}

static bool flags_valid(unsigned int flags)
{
	unsigned int sched = flags & CU_CTX_SCHED_MASK;

	return !(flags & ~(unsigned int)KNOWN_FLAGS) &&
		(sched == CU_CTX_SCHED_AUTO || sched == CU_CTX_SCHED_SPIN || sched == CU_CTX_SCHED_YIELD ||
		 sched == CU_CTX_SCHED_BLOCKING_SYNC);
}

CUresult drv_cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	CUresult r = check_device(dev);

	if (r)
		return r;
	if (!flags_valid(flags))
		return CUDA_ERROR_INVALID_VALUE;
	drv.primary[dev]->flags = flags;
	return CUDA_SUCCESS;
}

CUresult drv_cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
	return drv_cuDevicePrimaryCtxSetFlags_v2(dev, flags);
}

/* the stack of the calling thread; NULL in it: no context is current there */

static CUcontext ctx_handle(const struct drv_ctx *ctx)
{
	return ctx ? drv_handle(&ctx->obj) : NULL;
}

static void ctx_put(struct drv_ctx *ctx)
{
	if (ctx)
		drv_obj_put(&ctx->obj);
}

static CUresult stack_push(struct drv_thread *t, struct drv_ctx *ctx)
{
	if (t->depth == t->capacity) {
		size_t capacity = t->capacity ? 2 * t->capacity : 4;
		struct drv_ctx **grown = realloc(t->stack, capacity * sizeof(*grown));

		if (!grown)
			return CUDA_ERROR_OUT_OF_MEMORY;
		t->stack = grown;
		t->capacity = capacity;
	}
	drv_obj_ref(&ctx->obj);
	t->stack[t->depth++] = ctx;
	return CUDA_SUCCESS;
}

static void stack_pop(struct drv_thread *t)
{
	ctx_put(t->stack[--t->depth]);
}

CUresult drv_cuCtxPushCurrent_v2(CUcontext handle)
{
	struct drv_thread *t = drv_thread();
	struct drv_ctx *ctx;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!t)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ctx = drv_obj_get(handle, DRV_CTX);
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	r = stack_push(t, ctx);
	drv_obj_put(&ctx->obj);
	return r;
}

CUresult drv_cuCtxPushCurrent(CUcontext handle)
{
	return drv_cuCtxPushCurrent_v2(handle);
}

CUresult drv_cuCtxPopCurrent_v2(CUcontext *out)
{
	struct drv_thread *t = drv_thread();
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!t)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (!t->depth)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (out)
		*out = ctx_handle(t->stack[t->depth - 1]);
	stack_pop(t);
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxPopCurrent(CUcontext *out)
{
	return drv_cuCtxPopCurrent_v2(out);
}

CUresult drv_cuCtxSetCurrent(CUcontext handle)
{
	struct drv_thread *t = drv_thread();
	struct drv_ctx *ctx;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!t)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (!handle) {
		if (t->depth)
			stack_pop(t);
		return CUDA_SUCCESS;
	}
	ctx = drv_obj_get(handle, DRV_CTX);
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (t->depth) {
		ctx_put(t->stack[t->depth - 1]);
		t->stack[t->depth - 1] = ctx;	/* takes the reference */
		return CUDA_SUCCESS;
	}
	r = stack_push(t, ctx);
	drv_obj_put(&ctx->obj);
	return r;
}

CUresult drv_cuCtxGetCurrent(CUcontext *out)
{
	struct drv_thread *t = drv_thread();
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = t && t->depth ? ctx_handle(t->stack[t->depth - 1]) : NULL;
	return CUDA_SUCCESS;
}

enum hg_status hg_driver_ctx_stack(const uint64_t *ctx, size_t depth)
{
	struct drv_thread *t = drv_thread();
	struct drv_ctx **stack = calloc(depth + 1, sizeof(*stack));

	if (!t || !stack)
		goto err_free;
	for (size_t i = 0; i < depth; i++)
		/* NULL: none; or one that another thread has ended, which is no reason to lose those around it */
		stack[i] = drv_obj_get((const void *)(uintptr_t)ctx[i], DRV_CTX);
	while (t->depth)
		stack_pop(t);
	free(t->stack);
	t->stack = stack;
	t->depth = depth;
	t->capacity = depth + 1;
	return HG_OK;

err_free:
	free(stack);
	return HG_ERR_NOMEM;
}

/* created contexts */

CUresult drv_cuCtxCreate_v2(CUcontext *out, unsigned int flags, CUdevice dev)
{
	struct drv_thread *t = drv_thread();
	CUresult r = check_device(dev);
	struct drv_ctx *ctx;

	if (r)
		return r;
	if (!out || !flags_valid(flags))
		return CUDA_ERROR_INVALID_VALUE;
	if (!t)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = drv_ctx_new(dev, false, &ctx);
	if (r)
		return r;
	ctx->flags = flags;
	r = stack_push(t, ctx);
	if (r) {
		if (drv_obj_withdraw(&ctx->obj))
			drv_obj_put(&ctx->obj);
		return r;
	}
	*out = drv_handle(&ctx->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxCreate(CUcontext *out, unsigned int flags, CUdevice dev)
{
	return drv_cuCtxCreate_v2(out, flags, dev);
}

CUresult drv_cuCtxCreate_v3(CUcontext *out, CUexecAffinityParam *params, int nr_params, unsigned int flags,
			    CUdevice dev)
{
	if (params || nr_params)
		return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	return drv_cuCtxCreate_v2(out, flags, dev);
}

CUresult drv_cuCtxCreate_v4(CUcontext *out, CUctxCreateParams *params, unsigned int flags, CUdevice dev)
{
	if (params && params->execAffinityParams && params->numExecAffinityParams)
		return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	if (params && params->cigParams)
		return CUDA_ERROR_NOT_SUPPORTED;
	return drv_cuCtxCreate_v2(out, flags, dev);
}

CUresult drv_cuCtxDestroy_v2(CUcontext handle)
{
	struct drv_thread *t = drv_thread();
	struct drv_ctx *ctx;
	CUresult r = drv_ready();

	if (r)
		return r;
	ctx = drv_obj_get(handle, DRV_CTX);
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	drv_obj_put(&ctx->obj);
	if (ctx->primary)	/* released or reset, never destroyed */
		return CUDA_ERROR_INVALID_CONTEXT;
	ctx = drv_obj_retire(handle, DRV_CTX);
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	drv_ctx_end(ctx);
	if (t && t->depth && t->stack[t->depth - 1] == ctx)
		stack_pop(t);
	drv_obj_put(&ctx->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxDestroy(CUcontext handle)
{
	return drv_cuCtxDestroy_v2(handle);
}

CUresult drv_cuCtxDetach(CUcontext handle)
{
	return drv_cuCtxDestroy_v2(handle);
}

/* what a context knows */

CUresult drv_cuCtxGetDevice_v2(CUdevice *device, CUcontext handle)
{
	struct drv_ctx *ctx;
	CUresult r = drv_ctx_get(handle, &ctx);

	if (r)
		return r;
	if (device)
		*device = ctx->device;
	drv_obj_put(&ctx->obj);
	return device ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult drv_cuCtxGetDevice(CUdevice *device)
{
	return drv_cuCtxGetDevice_v2(device, NULL);
}

CUresult drv_cuCtxGetFlags(unsigned int *flags)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = ctx->flags;
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxSetFlags(unsigned int flags)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!flags_valid(flags))
		return CUDA_ERROR_INVALID_VALUE;
	ctx->flags = flags;
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxGetId(CUcontext handle, unsigned long long *id)
{
	struct drv_ctx *ctx;
	CUresult r = drv_ctx_get(handle, &ctx);

	if (r)
		return r;
	if (id)
		*id = ctx->id;
	drv_obj_put(&ctx->obj);
	return id ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult drv_cuCtxSynchronize_v2(CUcontext handle)
{
	struct drv_ctx *ctx;
	CUresult r = drv_ctx_get(handle, &ctx);

	if (r)
		return r;
	r = drv_result(drv_ctx_sync(ctx));
	if (!r)
		r = drv_ctx_error(ctx);
	drv_obj_put(&ctx->obj);
	return r;
}

CUresult drv_cuCtxSynchronize(void)
{
	return drv_cuCtxSynchronize_v2(NULL);
}

CUresult drv_cuCtxSetLimit(CUlimit limit, size_t value)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	switch (limit) {
	case CU_LIMIT_STACK_SIZE:
		if (value > DRV_LOCAL_LIMIT)
			return CUDA_ERROR_INVALID_VALUE;
		break;
	case CU_LIMIT_PRINTF_FIFO_SIZE:
	case CU_LIMIT_MALLOC_HEAP_SIZE:
		break;
	case CU_LIMIT_MAX_L2_FETCH_GRANULARITY:
		if (value > 128)
			return CUDA_ERROR_INVALID_VALUE;
		break;
	case CU_LIMIT_PERSISTING_L2_CACHE_SIZE:
		value = 0;	/* of a device that has none, everything is clamped to this */
		break;
	case CU_LIMIT_SHMEM_SIZE:
	case CU_LIMIT_CIG_ENABLED:
	case CU_LIMIT_CIG_SHMEM_FALLBACK_ENABLED:
	case CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH:
	case CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT:
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	ctx->limit[limit] = value;
	if (limit == CU_LIMIT_PRINTF_FIFO_SIZE)
		hg_print_limit(value);
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxGetLimit(size_t *value, CUlimit limit)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!value || (int)limit < 0 || limit >= DRV_NR_LIMITS || limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit == CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH || limit == CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	*value = ctx->limit[limit];
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxGetCacheConfig(CUfunc_cache *config)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	*config = ctx->cache_config;
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxSetCacheConfig(CUfunc_cache config)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if ((int)config < 0 || config > CU_FUNC_CACHE_PREFER_EQUAL)
		return CUDA_ERROR_INVALID_VALUE;
	ctx->cache_config = config;
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxGetSharedMemConfig(CUsharedconfig *config)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	*config = ctx->shared_config;
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxSetSharedMemConfig(CUsharedconfig config)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if ((int)config < 0 || config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		return CUDA_ERROR_INVALID_VALUE;
	ctx->shared_config = config;
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxGetApiVersion(CUcontext handle, unsigned int *version)
{
	struct drv_ctx *ctx;
	CUresult r = drv_ctx_get(handle, &ctx);

	if (r)
		return r;
	if (version)
		*version = ctx->api_version;
	drv_obj_put(&ctx->obj);
	return version ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult drv_cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (least)
		*least = 0;
	if (greatest)
		*greatest = DRV_GREATEST_PRIORITY;
	return CUDA_SUCCESS;
}

CUresult drv_cuCtxResetPersistingL2Cache(void)
{
	struct drv_ctx *ctx;

	return drv_current(&ctx);
}

CUresult drv_cuCtxGetExecAffinity(CUexecAffinityParam *out, CUexecAffinityType type)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || type != CU_EXEC_AFFINITY_TYPE_SM_COUNT)
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
}

CUresult drv_cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
	struct drv_ctx *ctx, *other;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	other = drv_obj_get(peer, DRV_CTX);
	r = other == ctx ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
	if (other)
		drv_obj_put(&other->obj);
	return r;
}

CUresult drv_cuCtxDisablePeerAccess(CUcontext peer)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	(void)peer;
	return r ? r : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}
