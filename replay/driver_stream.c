/* driver_stream.c - streams: their order among each other, queries, callbacks. */
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/device_print.h"
#include "replay/driver_priv.h"

static void stream_free(struct drv_obj *obj)
{
	struct drv_stream *s = (struct drv_stream *)obj;

	if (s->queue)
		drv.ops->queue_destroy(s->queue);
	if (s->mark)
		drv.ops->mark_destroy(s->mark);
	free(s);
}

/* A stream in the context's list, which holds a reference; ctx->lock held. */
static CUresult stream_new(struct drv_ctx *ctx, unsigned int flags, int priority, struct drv_stream **out)
{
	struct drv_stream *s = calloc(1, sizeof(*s));
	enum hg_status st;

	if (!s)
		return CUDA_ERROR_OUT_OF_MEMORY;
	st = drv.ops->queue_create(drv.target, priority, &s->queue);
	if (st)
		goto err_free;
	st = drv.ops->mark_create(drv.target, &s->mark);
	if (st)
		goto err_queue;
	drv_obj_init(&s->obj, DRV_STREAM, ctx, stream_free);
	s->flags = flags;
	s->priority = priority;
	s->id = atomic_fetch_add(&drv.next_id, 1);
	s->next = ctx->streams;
	ctx->streams = s;
	*out = s;
	return CUDA_SUCCESS;

err_queue:
	drv.ops->queue_destroy(s->queue);
err_free:
	free(s);
	return drv_result(st);
}

void drv_streams_reap(struct drv_ctx *ctx)
{
	struct drv_stream **link = &ctx->streams, *s;

	while (*link) {
		s = *link;
		if (s->dying && drv.ops->queue_is_idle(s->queue)) {
			*link = s->next;
			drv_obj_put(&s->obj);
		} else {
			link = &s->next;
		}
	}
}

/* The context's legacy stream; ctx->lock held. */
static CUresult legacy_stream(struct drv_ctx *ctx, struct drv_stream **out)
{
	CUresult r;

	if (!ctx->legacy) {
		r = stream_new(ctx, 0, 0, &ctx->legacy);
		if (r)
			return r;
	}
	*out = ctx->legacy;
	return CUDA_SUCCESS;
}

/* The calling thread's own default stream in a context; ctx->lock held. */
static CUresult per_thread_stream(struct drv_ctx *ctx, struct drv_stream **out)
{
	struct drv_thread *t = drv_thread();
	struct drv_stream **grown, *s;
	CUresult r;

	if (!t)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < t->nr_streams; i++) {
		if (t->streams[i]->obj.ctx != ctx)
			continue;
		if (!t->streams[i]->dying) {
			*out = t->streams[i];
			return CUDA_SUCCESS;
		}
		/* of this context's former life */
		s = t->streams[i];
		t->streams[i] = t->streams[--t->nr_streams];
		drv_obj_put(&s->obj);
		break;
	}
	grown = realloc(t->streams, (t->nr_streams + 1) * sizeof(*grown));
	if (!grown)
		return CUDA_ERROR_OUT_OF_MEMORY;
	t->streams = grown;
	r = stream_new(ctx, 0, 0, &s);
	if (r)
		return r;
	drv_obj_ref(&s->obj);
	t->streams[t->nr_streams++] = s;
	*out = s;
	return CUDA_SUCCESS;
}

static bool is_blocking(const struct drv_stream *s)
{
	return !(s->flags & CU_STREAM_NON_BLOCKING);
}

/* `s` waits for what `other` was given up to now. */
static enum hg_status wait_for(struct drv_stream *s, struct drv_stream *other)
{
	enum hg_status st;

	if (drv.ops->queue_is_idle(other->queue))
		return HG_OK;
	st = drv.ops->mark_record(other->queue, other->mark);
	return st ? st : drv.ops->mark_wait(s->queue, other->mark);
}

/*
 * The legacy stream waits for all blocking streams, and they for it. Work given since the last wait is
 * counted, so that a context that uses one kind of stream alone pays two comparisons.
 */
static enum hg_status order(struct drv_stream *s)
{
	struct drv_ctx *ctx = s->obj.ctx;
	struct drv_stream *legacy = ctx->legacy;
	enum hg_status st = HG_OK;

	if (s == legacy) {
		for (struct drv_stream *o = ctx->streams; o && !st; o = o->next) {
			if (o == legacy || !is_blocking(o) || o->joined == o->issued)
				continue;
			st = wait_for(legacy, o);
			if (!st)
				o->joined = o->issued;
		}
	} else if (legacy && is_blocking(s) && s->seen != legacy->issued) {
		/* one mark serves all streams that come to wait for the same work */
		if (legacy->marked != legacy->issued) {
			st = drv.ops->mark_record(legacy->queue, legacy->mark);
			if (!st)
				legacy->marked = legacy->issued;
		}
		if (!st)
			st = drv.ops->mark_wait(s->queue, legacy->mark);
		if (!st)
			s->seen = legacy->issued;
	}
	return st;
}

/* Resolves a handle; on success the context is locked, and the stream has another reference. */
static CUresult resolve(CUstream handle, struct drv_stream **out)
{
	struct drv_thread *t = drv_thread();
	struct drv_stream *s = NULL;
	struct drv_ctx *ctx;
	bool own;
	CUresult r;

	if (!handle || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) {
		r = drv_current(&ctx);
		if (r)
			return r;
		own = handle == CU_STREAM_PER_THREAD || (!handle && t->per_thread > 0);
		pthread_mutex_lock(&ctx->lock);
		r = own ? per_thread_stream(ctx, &s) : legacy_stream(ctx, &s);
		if (r) {
			pthread_mutex_unlock(&ctx->lock);
			return r;
		}
		drv_obj_ref(&s->obj);
		*out = s;
		return CUDA_SUCCESS;
	}
	r = drv_ready();
	if (r)
		return r;
	s = drv_obj_get(handle, DRV_STREAM);
	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	ctx = s->obj.ctx;
	r = drv_ctx_error(ctx);
	if (r) {
		drv_obj_put(&s->obj);
		return r;
	}
	pthread_mutex_lock(&ctx->lock);
	if (s->dying) {
		pthread_mutex_unlock(&ctx->lock);
		drv_obj_put(&s->obj);
		return CUDA_ERROR_INVALID_HANDLE;
	}
	*out = s;
	return CUDA_SUCCESS;
}

CUresult drv_stream_begin(CUstream handle, struct drv_stream **out)
{
	struct drv_stream *s;
	enum hg_status st;
	CUresult r = resolve(handle, &s);

	if (r)
		return r;
	st = order(s);
	if (st) {
		drv_stream_unlock(s, DRV_LOOK);
		drv_obj_put(&s->obj);
		return drv_result(st);
	}
	*out = s;
	return CUDA_SUCCESS;
}

void drv_stream_unlock(struct drv_stream *s, enum drv_stream_use use)
{
	if (use == DRV_WORK)
		s->issued++;
	pthread_mutex_unlock(&s->obj.ctx->lock);
}

/*
 * A device takes a limited amount of work ahead, so a program that only launches is held back; otherwise a checkpoint
 * would have to wait for all that it ever queued. Not with the lock held: what is queued may need it to get done.
 */
void drv_stream_end(struct drv_stream *s, enum drv_stream_use use)
{
	drv_stream_unlock(s, use);
	if (use == DRV_WORK)
		drv.ops->queue_throttle(s->queue, DRV_QUEUE_DEPTH);
	drv_obj_put(&s->obj);
}

CUresult drv_stream_get(CUstream handle, struct drv_stream **out)
{
	struct drv_stream *s;
	CUresult r = resolve(handle, &s);

	if (r)
		return r;
	pthread_mutex_unlock(&s->obj.ctx->lock);
	*out = s;
	return CUDA_SUCCESS;
}

CUresult drv_stream_sync(struct drv_stream *s)
{
	enum hg_status st = drv.ops->queue_sync(s->queue);
	CUresult r = drv_ctx_error(s->obj.ctx);

	hg_print_flush();
	if (r)
		return r;
	return drv_result(st);
}

/* the calls */

static int priority_clamp(int priority)
{
	if (priority > 0)
		return 0;
	return priority < DRV_GREATEST_PRIORITY ? DRV_GREATEST_PRIORITY : priority;
}

CUresult drv_cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority)
{
	struct drv_stream *s;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || (flags != CU_STREAM_DEFAULT && flags != CU_STREAM_NON_BLOCKING))
		return CUDA_ERROR_INVALID_VALUE;
	priority = priority_clamp(priority);
	pthread_mutex_lock(&ctx->lock);
	drv_streams_reap(ctx);
	r = stream_new(ctx, flags, priority, &s);
	if (!r) {
		drv_obj_ref(&s->obj);
		/* what the legacy stream was given before it existed is not its concern */
		s->seen = ctx->legacy ? ctx->legacy->issued : 0;
	}
	pthread_mutex_unlock(&ctx->lock);
	if (r)
		return r;
	r = drv_obj_publish(&s->obj);
	if (r) {
		pthread_mutex_lock(&ctx->lock);
		s->dying = true;
		drv_obj_put(&s->obj);
		drv_streams_reap(ctx);
		pthread_mutex_unlock(&ctx->lock);
		return r;
	}
	*out = drv_handle(&s->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamCreate(CUstream *out, unsigned int flags)
{
	return drv_cuStreamCreateWithPriority(out, flags, 0);
}

/* Work that it was given still runs. */
CUresult drv_cuStreamDestroy_v2(CUstream handle)
{
	struct drv_stream *s;
	struct drv_ctx *ctx;
	CUresult r = drv_ready();

	if (r)
		return r;
	s = drv_obj_retire(handle, DRV_STREAM);
	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	ctx = s->obj.ctx;
	drv_obj_ref(&ctx->obj);
	pthread_mutex_lock(&ctx->lock);
	s->dying = true;
	drv_obj_put(&s->obj);
	drv_streams_reap(ctx);
	pthread_mutex_unlock(&ctx->lock);
	drv_obj_put(&ctx->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamDestroy(CUstream handle)
{
	return drv_cuStreamDestroy_v2(handle);
}

CUresult drv_cuStreamGetPriority(CUstream handle, int *priority)
{
	struct drv_stream *s;
	CUresult r;

	if (!priority)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(handle, &s);
	if (r)
		return r;
	*priority = s->priority;
	drv_obj_put(&s->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamGetFlags(CUstream handle, unsigned int *flags)
{
	struct drv_stream *s;
	CUresult r;

	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(handle, &s);
	if (r)
		return r;
	*flags = s->flags;
	drv_obj_put(&s->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamGetId(CUstream handle, unsigned long long *id)
{
	struct drv_stream *s;
	CUresult r;

	if (!id)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(handle, &s);
	if (r)
		return r;
	*id = s->id;
	drv_obj_put(&s->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamGetDevice(CUstream handle, CUdevice *device)
{
	struct drv_stream *s;
	CUresult r;

	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(handle, &s);
	if (r)
		return r;
	*device = s->obj.ctx->device;
	drv_obj_put(&s->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamGetCtx(CUstream handle, CUcontext *out)
{
	struct drv_stream *s;
	CUresult r;

	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(handle, &s);
	if (r)
		return r;
	*out = drv_handle(&s->obj.ctx->obj);
	drv_obj_put(&s->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamGetCtx_v2(CUstream handle, CUcontext *out, CUgreenCtx *green)
{
	CUresult r;

	if (!green)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_cuStreamGetCtx(handle, out);
	if (!r)
		*green = NULL;
	return r;
}

CUresult drv_cuStreamQuery(CUstream handle)
{
	struct drv_stream *s;
	bool idle;
	CUresult r = drv_stream_begin(handle, &s);

	if (r)
		return r;
	idle = drv.ops->queue_is_idle(s->queue);
	drv_stream_unlock(s, DRV_LOOK);
	r = drv_ctx_error(s->obj.ctx);
	drv_obj_put(&s->obj);
	if (r)
		return r;
	return idle ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult drv_cuStreamSynchronize(CUstream handle)
{
	struct drv_stream *s;
	CUresult r = drv_stream_begin(handle, &s);

	if (r)
		return r;
	drv_stream_unlock(s, DRV_LOOK);
	r = drv_stream_sync(s);
	drv_obj_put(&s->obj);
	return r;
}

CUresult drv_cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned int flags)
{
	struct drv_event *event;
	struct drv_stream *s;
	CUresult r;

	if (flags & ~(unsigned int)CU_EVENT_WAIT_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_ready();
	if (r)
		return r;
	event = drv_obj_get(event_handle, DRV_EVENT);
	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	r = drv_stream_begin(handle, &s);
	if (!r) {
		r = drv_result(drv.ops->mark_wait(s->queue, event->mark));
		drv_stream_end(s, DRV_WORK);
	}
	drv_obj_put(&event->obj);
	return r;
}

/* functions of the application */

struct host_call {
	struct drv_ctx *ctx;		/* with a reference */
	CUhostFn fn;			/* one of these two */
	CUstreamCallback callback;
	CUstream stream;
	void *arg;
};

static void host_call_run(void *arg)
{
	struct host_call *call = arg;
	CUresult error = drv_ctx_error(call->ctx);

	drv_in_host_func = true;
	if (call->callback)
		call->callback(call->stream, error, call->arg);
	else if (!error)
		call->fn(call->arg);
	drv_in_host_func = false;
	drv_obj_put(&call->ctx->obj);
	free(call);
}

static CUresult host_call_issue(CUstream handle, CUhostFn fn, CUstreamCallback callback, void *arg)
{
	struct host_call *call;
	struct drv_stream *s;
	CUresult r;

	if (!fn && !callback)
		return CUDA_ERROR_INVALID_VALUE;
	call = calloc(1, sizeof(*call));
	if (!call)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = drv_stream_begin(handle, &s);
	if (r) {
		free(call);
		return r;
	}
	call->ctx = s->obj.ctx;
	drv_obj_ref(&call->ctx->obj);
	call->fn = fn;
	call->callback = callback;
	call->stream = handle;
	call->arg = arg;
	r = drv_result(drv.ops->host_func(s->queue, host_call_run, call));
	if (r) {
		drv_obj_put(&call->ctx->obj);
		free(call);
	}
	drv_stream_end(s, DRV_WORK);
	return r;
}

CUresult drv_cuLaunchHostFunc(CUstream handle, CUhostFn fn, void *arg)
{
	return host_call_issue(handle, fn, NULL, arg);
}

CUresult drv_cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void *arg, unsigned int flags)
{
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	return host_call_issue(handle, NULL, callback, arg);
}

/* attributes; what they wish for has no meaning on a portable device, but it is kept */

CUresult drv_cuStreamGetAttribute(CUstream handle, CUstreamAttrID attr, CUstreamAttrValue *value)
{
	struct drv_stream *s;
	CUresult r;

	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(handle, &s);
	if (r)
		return r;
	memset(value, 0, sizeof(*value));
	switch (attr) {
	case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
		*value = s->sync_policy;
		if (!value->syncPolicy)
			value->syncPolicy = CU_SYNC_POLICY_AUTO;
		break;
	case CU_LAUNCH_ATTRIBUTE_PRIORITY:
		value->priority = s->priority;
		break;
	case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
		break;
	default:
		r = CUDA_ERROR_INVALID_VALUE;
	}
	drv_obj_put(&s->obj);
	return r;
}

CUresult drv_cuStreamSetAttribute(CUstream handle, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
	struct drv_stream *s;
	CUresult r;

	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(handle, &s);
	if (r)
		return r;
	switch (attr) {
	case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
		if ((int)value->syncPolicy < CU_SYNC_POLICY_AUTO || value->syncPolicy > CU_SYNC_POLICY_BLOCKING_SYNC)
			r = CUDA_ERROR_INVALID_VALUE;
		else
			s->sync_policy = *value;
		break;
	case CU_LAUNCH_ATTRIBUTE_PRIORITY:
		s->priority = priority_clamp(value->priority);
		break;
	case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
		break;
	default:
		r = CUDA_ERROR_INVALID_VALUE;
	}
	drv_obj_put(&s->obj);
	return r;
}

CUresult drv_cuStreamCopyAttributes(CUstream dst_handle, CUstream src_handle)
{
	struct drv_stream *dst, *src;
	CUresult r = drv_stream_get(src_handle, &src);

	if (r)
		return r;
	r = drv_stream_get(dst_handle, &dst);
	if (!r) {
		dst->sync_policy = src->sync_policy;
		drv_obj_put(&dst->obj);
	}
	drv_obj_put(&src->obj);
	return r;
}

/* capture: never under way, as nothing begins one */

CUresult drv_cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status)
{
	struct drv_stream *s;
	CUresult r;

	if (!status)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(handle, &s);
	if (r)
		return r;
	*status = CU_STREAM_CAPTURE_STATUS_NONE;
	drv_obj_put(&s->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamGetCaptureInfo(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id)
{
	CUresult r = drv_cuStreamIsCapturing(handle, status);

	if (!r && id)
		*id = 0;
	return r;
}

CUresult drv_cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
				       const CUgraphNode **dependencies, size_t *nr_dependencies)
{
	CUresult r = drv_cuStreamGetCaptureInfo(handle, status, id);

	if (r)
		return r;
	if (graph)
		*graph = NULL;
	if (dependencies)
		*dependencies = NULL;
	if (nr_dependencies)
		*nr_dependencies = 0;
	return CUDA_SUCCESS;
}

CUresult drv_cuStreamGetCaptureInfo_v3(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
				       const CUgraphNode **dependencies, const CUgraphEdgeData **edges,
				       size_t *nr_dependencies)
{
	CUresult r = drv_cuStreamGetCaptureInfo_v2(handle, status, id, graph, dependencies, nr_dependencies);

	if (!r && edges)
		*edges = NULL;
	return r;
}

CUresult drv_cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	static __thread CUstreamCaptureMode current = CU_STREAM_CAPTURE_MODE_GLOBAL;
	CUstreamCaptureMode before = current;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!mode || (int)*mode < 0 || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	current = *mode;
	*mode = before;
	return CUDA_SUCCESS;
}
