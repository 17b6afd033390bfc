/* context.c - contexts of the fake CUDA driver: primary and created ones, each thread's stack of them. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/cuda/fake.h"

struct fake_ctx *fake_primary[FAKE_MAX_DEVICES];
__thread struct fake_self fake_self __attribute__((tls_model("initial-exec")));

/*
 * Of which contexts are alive: beginning and ending one, retaining and releasing. Recursive: a destructor of
 * context-local storage may call back while its context ends.
 */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct fake_ctx *ended;		/* kept: threads may still have them current */
static atomic_uint_fast64_t next_id = 1;

static const unsigned int known_flags = CU_CTX_SCHED_MASK | CU_CTX_MAP_HOST | CU_CTX_LMEM_RESIZE_TO_MAX |
	CU_CTX_COREDUMP_ENABLE | CU_CTX_USER_COREDUMP_ENABLE | CU_CTX_SYNC_MEMOPS;

static bool valid_flags(unsigned int flags)
{
	unsigned int sched = flags & CU_CTX_SCHED_MASK;

	return !(flags & ~known_flags) && !(sched & (sched - 1));	/* AUTO 0, SPIN 1, YIELD 2, BLOCKING 4 */
}

static void release(struct fake_obj *obj)
{
	(void)obj;	/* contexts are kept */
}

static struct fake_ctx *ctx_new(CUdevice dev, unsigned int flags)
{
	struct fake_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return NULL;
	ctx->obj.kind = FAKE_CONTEXT;
	ctx->obj.release = release;
	ctx->dev = dev;
	ctx->flags = flags;
	pthread_mutex_init(&ctx->lock, NULL);
	pthread_cond_init(&ctx->worker_gone, NULL);
	if (!fake_handle_add(&ctx->obj)) {
		free(ctx);
		return NULL;
	}
	return ctx;
}

/* Under the lock. */
static void ctx_begin(struct fake_ctx *ctx)
{
	ctx->id = atomic_fetch_add(&next_id, 1);
	ctx->error = CUDA_SUCCESS;
	ctx->cache = CU_FUNC_CACHE_PREFER_NONE;
	ctx->bank = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
	memset(ctx->limit, 0, sizeof(ctx->limit));
	ctx->limit[CU_LIMIT_STACK_SIZE] = 1024;
	ctx->limit[CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20;
	ctx->limit[CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20;
	ctx->limit[CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT] = 2048;
	ctx->limit[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64;
	fake_memory_ctx_begin();
	atomic_store_explicit(&ctx->alive, true, memory_order_release);
}

static void end_object(struct fake_obj *obj)
{
	if (!fake_handle_remove(obj))
		return;
	if (obj->kind == FAKE_MODULE)
		fake_module_end((struct fake_module *)obj);
	else if (obj->kind != FAKE_FUNCTION)	/* functions are their module's */
		fake_put(obj);
}

/* Under the lock. Waits for the work, then everything of the context goes. */
static void ctx_end(struct fake_ctx *ctx)
{
	fake_local_end(ctx);
	atomic_store(&ctx->alive, false);
	fake_ctx_sync(ctx);
	fake_ctx_end_streams(ctx);
	fake_self_forgets(ctx);
	fake_handles_of(ctx, end_object);
	fake_pools_ctx_end(ctx);
	fake_memory_ctx_end(ctx);
	ctx->legacy = NULL;
}

CUresult fake_contexts_init(void)
{
	for (CUdevice i = 0; i < fake_config.nr_devices; i++) {
		fake_primary[i] = ctx_new(i, 0);
		if (!fake_primary[i])
			return CUDA_ERROR_OUT_OF_MEMORY;
		fake_primary[i]->is_primary = true;
	}
	return CUDA_SUCCESS;
}

/* ---- the calling thread ---- */

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void thread_exit(void *arg)
{
	struct fake_self *self = arg;

	for (size_t i = 0; i < self->nr_own; i++) {
		struct fake_stream *s = self->own[i].stream;

		/* Else it went with its context. */
		if (fake_handle_remove(&s->obj))
			fake_stream_end(s);
		fake_put(&s->obj);
	}
	free(self->own);
	free(self->stack);
	memset(self, 0, sizeof(*self));
}

static void make_key(void)
{
	pthread_key_create(&exit_key, thread_exit);
}

void fake_self_exits(void)
{
	if (fake_self.has_exit)
		return;
	fake_self.has_exit = true;
	pthread_once(&exit_once, make_key);
	pthread_setspecific(exit_key, &fake_self);
}

/* A stream of its own in a context that ends; other threads find out when they look. */
void fake_self_forgets(struct fake_ctx *ctx)
{
	for (size_t i = 0; i < fake_self.nr_own; i++) {
		if (fake_self.own[i].ctx != ctx)
			continue;
		fake_put(&fake_self.own[i].stream->obj);
		fake_self.own[i--] = fake_self.own[--fake_self.nr_own];
	}
}

static struct fake_ctx *top(void)
{
	return fake_self.depth ? fake_self.stack[fake_self.depth - 1] : NULL;
}

CUresult fake_current(struct fake_ctx **out)
{
	struct fake_ctx *ctx = top();

	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!atomic_load_explicit(&ctx->alive, memory_order_acquire))
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	*out = ctx;
	return atomic_load_explicit(&ctx->error, memory_order_relaxed);
}

static CUresult push(struct fake_ctx *ctx)
{
	if (fake_self.depth == fake_self.max_depth) {
		unsigned int max = fake_self.max_depth ? 2 * fake_self.max_depth : 8;
		struct fake_ctx **more = realloc(fake_self.stack, max * sizeof(struct fake_ctx *));

		if (!more)
			return CUDA_ERROR_OUT_OF_MEMORY;
		fake_self.stack = more;
		fake_self.max_depth = max;
		fake_self_exits();
	}
	fake_self.stack[fake_self.depth++] = ctx;
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxPushCurrent_v2(CUcontext handle)
{
	struct fake_ctx *ctx = fake_handle(handle, FAKE_CONTEXT);

	return ctx ? push(ctx) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult fake_cuCtxPushCurrent(CUcontext handle)
{
	return fake_cuCtxPushCurrent_v2(handle);
}

CUresult fake_cuCtxPopCurrent_v2(CUcontext *out)
{
	if (!fake_self.depth)
		return CUDA_ERROR_INVALID_CONTEXT;
	fake_self.depth--;
	if (out)
		*out = (CUcontext)fake_self.stack[fake_self.depth];
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxPopCurrent(CUcontext *out)
{
	return fake_cuCtxPopCurrent_v2(out);
}

/* Replaces the top; NULL takes it off. */
CUresult fake_cuCtxSetCurrent(CUcontext handle)
{
	struct fake_ctx *ctx = NULL;

	if (handle) {
		ctx = fake_handle(handle, FAKE_CONTEXT);
		if (!ctx)
			return CUDA_ERROR_INVALID_CONTEXT;
	}
	if (!fake_self.depth)
		return ctx ? push(ctx) : CUDA_SUCCESS;
	if (ctx)
		fake_self.stack[fake_self.depth - 1] = ctx;
	else
		fake_self.depth--;
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxGetCurrent(CUcontext *out)
{
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = (CUcontext)top();
	return CUDA_SUCCESS;
}

/* ---- primary contexts ---- */

CUresult fake_cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice dev)
{
	struct fake_ctx *ctx;

	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	ctx = fake_primary[dev];
	pthread_mutex_lock(&lock);
	if (!ctx->alive)
		ctx_begin(ctx);
	ctx->retained++;
	pthread_mutex_unlock(&lock);
	*out = (CUcontext)ctx;
	return CUDA_SUCCESS;
}

/* Resetting it does not release it: who has retained it still has to. */
static CUresult primary_release(CUdevice dev, bool reset)
{
	struct fake_ctx *ctx;
	CUresult r = CUDA_SUCCESS;

	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	ctx = fake_primary[dev];
	pthread_mutex_lock(&lock);
	if (!reset && !ctx->retained)
		r = CUDA_ERROR_INVALID_CONTEXT;
	else if (!reset)
		ctx->retained--;
	if (r == CUDA_SUCCESS && (reset || !ctx->retained) && ctx->alive)
		ctx_end(ctx);
	pthread_mutex_unlock(&lock);
	return r;
}

CUresult fake_cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	return primary_release(dev, false);
}

CUresult fake_cuDevicePrimaryCtxRelease(CUdevice dev)
{
	return primary_release(dev, false);
}

CUresult fake_cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	return primary_release(dev, true);
}

CUresult fake_cuDevicePrimaryCtxReset(CUdevice dev)
{
	return primary_release(dev, true);
}

CUresult fake_cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	*flags = fake_primary[dev]->flags;
	*active = fake_primary[dev]->alive;
	return CUDA_SUCCESS;
}

CUresult fake_cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!valid_flags(flags))
		return CUDA_ERROR_INVALID_VALUE;
	fake_primary[dev]->flags = flags;
	return CUDA_SUCCESS;
}

CUresult fake_cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
	return fake_cuDevicePrimaryCtxSetFlags_v2(dev, flags);
}

/* ---- created contexts ---- */

CUresult fake_cuCtxCreate_v2(CUcontext *out, unsigned int flags, CUdevice dev)
{
	struct fake_ctx *ctx;
	CUresult r;

	if (!out || !valid_flags(flags))
		return CUDA_ERROR_INVALID_VALUE;
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	ctx = ctx_new(dev, flags);
	if (!ctx)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&lock);
	ctx_begin(ctx);
	pthread_mutex_unlock(&lock);
	r = push(ctx);
	if (r == CUDA_SUCCESS)
		*out = (CUcontext)ctx;
	return r;
}

CUresult fake_cuCtxCreate(CUcontext *out, unsigned int flags, CUdevice dev)
{
	return fake_cuCtxCreate_v2(out, flags, dev);
}

CUresult fake_cuCtxCreate_v3(CUcontext *out, CUexecAffinityParam *param, int nr, unsigned int flags, CUdevice dev)
{
	if (param || nr)
		return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	return fake_cuCtxCreate_v2(out, flags, dev);
}

CUresult fake_cuCtxCreate_v4(CUcontext *out, CUctxCreateParams *param, unsigned int flags, CUdevice dev)
{
	if (param && (param->execAffinityParams || param->numExecAffinityParams || param->cigParams))
		return CUDA_ERROR_NOT_SUPPORTED;
	return fake_cuCtxCreate_v2(out, flags, dev);
}

CUresult fake_cuCtxDestroy_v2(CUcontext handle)
{
	struct fake_ctx *ctx = fake_handle(handle, FAKE_CONTEXT);

	if (!ctx || ctx->is_primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!fake_handle_remove(&ctx->obj))
		return CUDA_ERROR_INVALID_CONTEXT;
	pthread_mutex_lock(&lock);
	ctx_end(ctx);
	ctx->next_ended = ended;
	ended = ctx;
	pthread_mutex_unlock(&lock);
	if (top() == ctx)
		fake_self.depth--;
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxDestroy(CUcontext handle)
{
	return fake_cuCtxDestroy_v2(handle);
}

CUresult fake_cuCtxDetach(CUcontext handle)
{
	return fake_cuCtxDestroy_v2(handle);
}

/* ---- what a context says of itself ---- */

CUresult fake_cuCtxGetDevice(CUdevice *dev)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r == CUDA_SUCCESS && !dev)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*dev = ctx->dev;
	return r;
}

/* NULL: the current one. */
static CUresult context_of(CUcontext handle, struct fake_ctx **out)
{
	struct fake_ctx *ctx;

	if (!handle)
		return fake_current(out);
	ctx = fake_handle(handle, FAKE_CONTEXT);
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!ctx->alive)
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	*out = ctx;
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxGetDevice_v2(CUdevice *dev, CUcontext handle)
{
	struct fake_ctx *ctx;
	CUresult r = context_of(handle, &ctx);

	if (r == CUDA_SUCCESS && !dev)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*dev = ctx->dev;
	return r;
}

CUresult fake_cuCtxGetFlags(unsigned int *flags)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r == CUDA_SUCCESS && !flags)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*flags = ctx->flags;
	return r;
}

CUresult fake_cuCtxSetFlags(unsigned int flags)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r == CUDA_SUCCESS && !valid_flags(flags))
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		ctx->flags = flags;
	return r;
}

CUresult fake_cuCtxGetId(CUcontext handle, unsigned long long *id)
{
	struct fake_ctx *ctx;
	CUresult r = context_of(handle, &ctx);

	if (r == CUDA_SUCCESS && !id)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*id = ctx->id;
	return r;
}

CUresult fake_cuCtxGetApiVersion(CUcontext handle, unsigned int *version)
{
	struct fake_ctx *ctx;
	CUresult r = context_of(handle, &ctx);

	if (r == CUDA_SUCCESS && !version)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*version = 3020;
	return r;
}

CUresult fake_cuCtxSynchronize(void)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	r = fake_ctx_sync(ctx);
	fake_pools_sync();
	return r;
}

CUresult fake_cuCtxSynchronize_v2(CUcontext handle)
{
	struct fake_ctx *ctx;
	CUresult r = context_of(handle, &ctx);

	if (r != CUDA_SUCCESS)
		return r;
	r = fake_ctx_sync(ctx);
	fake_pools_sync();
	return r;
}

CUresult fake_cuCtxSetLimit(CUlimit limit, size_t value)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if ((int)limit < 0 || limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit == CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH || limit > CU_LIMIT_PERSISTING_L2_CACHE_SIZE)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	ctx->limit[limit] = value;
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxGetLimit(size_t *value, CUlimit limit)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!value || (int)limit < 0 || limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit == CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	/* shared with no graphics: what is beyond can be asked for, and is 0 */
	*value = limit > CU_LIMIT_PERSISTING_L2_CACHE_SIZE ? 0 : ctx->limit[limit];
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxGetCacheConfig(CUfunc_cache *config)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r == CUDA_SUCCESS && !config)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*config = ctx->cache;
	return r;
}

CUresult fake_cuCtxSetCacheConfig(CUfunc_cache config)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r == CUDA_SUCCESS && (unsigned int)config > CU_FUNC_CACHE_PREFER_EQUAL)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		ctx->cache = config;
	return r;
}

CUresult fake_cuCtxGetSharedMemConfig(CUsharedconfig *config)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r == CUDA_SUCCESS && !config)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*config = ctx->bank;
	return r;
}

/* The banks are of four bytes whatever is asked for. */
CUresult fake_cuCtxSetSharedMemConfig(CUsharedconfig config)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r == CUDA_SUCCESS && (unsigned int)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		r = CUDA_ERROR_INVALID_VALUE;
	return r;
}

CUresult fake_cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (least)
		*least = 0;
	if (greatest)
		*greatest = -5;
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxResetPersistingL2Cache(void)
{
	struct fake_ctx *ctx;

	return fake_current(&ctx);
}

CUresult fake_cuCtxGetExecAffinity(CUexecAffinityParam *param, CUexecAffinityType type)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!param || type != CU_EXEC_AFFINITY_TYPE_SM_COUNT)
		return CUDA_ERROR_INVALID_VALUE;
	param->type = type;
	param->param.smCount.val = (unsigned int)fake_config.nr_sms;
	return CUDA_SUCCESS;
}

CUresult fake_cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
	struct fake_ctx *ctx, *other;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	other = fake_handle(peer, FAKE_CONTEXT);
	if (!other || other == ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
}

CUresult fake_cuCtxDisablePeerAccess(CUcontext peer)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	return fake_handle(peer, FAKE_CONTEXT) ? CUDA_ERROR_PEER_ACCESS_NOT_ENABLED : CUDA_ERROR_INVALID_CONTEXT;
}

/* Nothing is measured. */
CUresult fake_cuProfilerStart(void)
{
	struct fake_ctx *ctx;

	return fake_current(&ctx);
}

CUresult fake_cuProfilerStop(void)
{
	struct fake_ctx *ctx;

	return fake_current(&ctx);
}
