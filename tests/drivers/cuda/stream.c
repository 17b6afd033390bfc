/* stream.c - the calls of the fake CUDA driver on streams; queue.c runs them. */
#include <string.h>

#include "tests/drivers/cuda/fake.h"

CUresult fake_cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority)
{
	struct fake_stream *s;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!out || flags & ~(unsigned int)CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	if (priority > 0)
		priority = 0;
	if (priority < -5)
		priority = -5;
	r = fake_stream_new(ctx, flags, priority, false, &s);
	if (r == CUDA_SUCCESS)
		*out = (CUstream)s;
	return r;
}

CUresult fake_cuStreamCreate(CUstream *out, unsigned int flags)
{
	return fake_cuStreamCreateWithPriority(out, flags, 0);
}

/* Returns at once; what is in the stream is still done. */
CUresult fake_cuStreamDestroy_v2(CUstream handle)
{
	struct fake_stream *s = fake_handle(handle, FAKE_STREAM);

	if (!s || s->is_legacy || !fake_handle_remove(&s->obj))
		return CUDA_ERROR_INVALID_HANDLE;
	fake_stream_end(s);
	return CUDA_SUCCESS;
}

CUresult fake_cuStreamDestroy(CUstream handle)
{
	return fake_cuStreamDestroy_v2(handle);
}

CUresult fake_cuStreamGetPriority(CUstream handle, int *priority)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r == CUDA_SUCCESS && !priority)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*priority = s->priority;
	return r;
}

CUresult fake_cuStreamGetFlags(CUstream handle, unsigned int *flags)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r == CUDA_SUCCESS && !flags)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*flags = s->flags;
	return r;
}

CUresult fake_cuStreamGetId(CUstream handle, unsigned long long *id)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r == CUDA_SUCCESS && !id)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*id = s->id;
	return r;
}

CUresult fake_cuStreamGetDevice(CUstream handle, CUdevice *dev)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r == CUDA_SUCCESS && !dev)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*dev = s->obj.ctx->dev;
	return r;
}

CUresult fake_cuStreamGetCtx(CUstream handle, CUcontext *ctx)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r == CUDA_SUCCESS && !ctx)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*ctx = (CUcontext)s->obj.ctx;
	return r;
}

CUresult fake_cuStreamGetCtx_v2(CUstream handle, CUcontext *ctx, CUgreenCtx *green)
{
	CUresult r = fake_cuStreamGetCtx(handle, ctx);

	if (r == CUDA_SUCCESS && green)
		*green = NULL;
	return r;
}

CUresult fake_cuStreamSynchronize(CUstream handle)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r != CUDA_SUCCESS)
		return r;
	r = fake_stream_sync(s);
	fake_pools_sync();
	return r;
}

static bool is_idle(struct fake_stream *s)
{
	struct fake_ctx *ctx = s->obj.ctx;
	bool idle = s->head == s->tail;

	if (!s->is_legacy)
		return idle;
	pthread_mutex_lock(&ctx->lock);
	for (size_t i = 0; i < ctx->nr_streams; i++)
		if (ctx->stream[i]->blocking && ctx->stream[i]->head != ctx->stream[i]->tail)
			idle = false;
	pthread_mutex_unlock(&ctx->lock);
	return idle;
}

CUresult fake_cuStreamQuery(CUstream handle)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r != CUDA_SUCCESS)
		return r;
	return is_idle(s) ? atomic_load(&s->obj.ctx->error) : CUDA_ERROR_NOT_READY;
}

CUresult fake_cuLaunchHostFunc(CUstream handle, CUhostFn fn, void *data)
{
	struct fake_stream *s;
	struct fake_work *w;
	CUresult r = fake_stream_get(handle, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (!fn)
		return CUDA_ERROR_INVALID_VALUE;
	w = fake_work_begin(s, FAKE_HOST);
	w->host.fn = fn;
	w->host.data = data;
	fake_work_publish(s, w);
	return CUDA_SUCCESS;
}

CUresult fake_cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void *data, unsigned int flags)
{
	struct fake_stream *s;
	struct fake_work *w;
	CUresult r = fake_stream_get(handle, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (!callback || flags)
		return CUDA_ERROR_INVALID_VALUE;
	w = fake_work_begin(s, FAKE_CALLBACK);
	w->host.callback = callback;
	w->host.handle = handle;
	w->host.data = data;
	fake_work_publish(s, w);
	return CUDA_SUCCESS;
}

/* ---- values in memory ---- */

static CUresult value_op(CUstream handle, enum fake_op op, unsigned int bits, CUdeviceptr addr, uint64_t value,
			 unsigned int flags)
{
	unsigned int known = op == FAKE_WRITE ? CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER : CU_STREAM_WAIT_VALUE_NOR;
	enum fake_place place;
	struct fake_stream *s;
	struct fake_work *w;
	CUresult r = fake_stream_get(handle, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (flags > known || addr % (bits / 8))
		return CUDA_ERROR_INVALID_VALUE;
	r = fake_place(addr, bits / 8, &place);
	if (r == CUDA_SUCCESS && place == FAKE_PAGEABLE)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r != CUDA_SUCCESS)
		return r;
	w = fake_work_begin(s, op);
	w->value.addr = (void *)(uintptr_t)addr;
	w->value.value = value;
	w->value.bits = bits;
	w->value.flags = flags;
	fake_work_publish(s, w);
	return CUDA_SUCCESS;
}

#define VALUES(suffix)                                                                                              \
	CUresult fake_cuStreamWriteValue32##suffix(CUstream s, CUdeviceptr addr, cuuint32_t v, unsigned int flags)  \
	{                                                                                                           \
		return value_op(s, FAKE_WRITE, 32, addr, v, flags);                                                 \
	}                                                                                                           \
	CUresult fake_cuStreamWriteValue64##suffix(CUstream s, CUdeviceptr addr, cuuint64_t v, unsigned int flags)  \
	{                                                                                                           \
		return value_op(s, FAKE_WRITE, 64, addr, v, flags);                                                 \
	}                                                                                                           \
	CUresult fake_cuStreamWaitValue32##suffix(CUstream s, CUdeviceptr addr, cuuint32_t v, unsigned int flags)   \
	{                                                                                                           \
		return value_op(s, FAKE_POLL, 32, addr, v, flags);                                                  \
	}                                                                                                           \
	CUresult fake_cuStreamWaitValue64##suffix(CUstream s, CUdeviceptr addr, cuuint64_t v, unsigned int flags)   \
	{                                                                                                           \
		return value_op(s, FAKE_POLL, 64, addr, v, flags);                                                  \
	}
VALUES()
VALUES(_v2)

/* ---- attributes ---- */

CUresult fake_cuStreamGetAttribute(CUstream handle, CUstreamAttrID what, CUstreamAttrValue *value)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	memset(value, 0, sizeof(*value));
	switch ((int)what) {
	case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
		value->memSyncDomainMap.remote = 1;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
		value->syncPolicy = s->sync_policy;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_PRIORITY:
		value->priority = s->priority;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult fake_cuStreamSetAttribute(CUstream handle, CUstreamAttrID what, const CUstreamAttrValue *value)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	switch ((int)what) {
	case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
		return CUDA_SUCCESS;	/* hints */
	case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
		if ((int)value->syncPolicy < CU_SYNC_POLICY_AUTO || value->syncPolicy > CU_SYNC_POLICY_BLOCKING_SYNC)
			return CUDA_ERROR_INVALID_VALUE;
		s->sync_policy = value->syncPolicy;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_PRIORITY:
		s->priority = value->priority;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult fake_cuStreamCopyAttributes(CUstream to, CUstream from)
{
	struct fake_stream *dst, *src;
	CUresult r = fake_stream_get(to, &dst);

	if (r == CUDA_SUCCESS)
		r = fake_stream_get(from, &src);
	if (r == CUDA_SUCCESS)
		dst->sync_policy = src->sync_policy;
	return r;
}

/* ---- capture: there are no graphs, so nothing is ever being captured ---- */

CUresult fake_cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(handle, &s);

	if (r == CUDA_SUCCESS && !status)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*status = CU_STREAM_CAPTURE_STATUS_NONE;
	return r;
}

CUresult fake_cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
					const CUgraphNode **dependencies, size_t *nr)
{
	(void)id;
	(void)graph;
	(void)dependencies;
	(void)nr;
	return fake_cuStreamIsCapturing(handle, status);
}

CUresult fake_cuStreamGetCaptureInfo_v3(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
					const CUgraphNode **dependencies, const CUgraphEdgeData **edges, size_t *nr)
{
	(void)id;
	(void)graph;
	(void)dependencies;
	(void)edges;
	(void)nr;
	return fake_cuStreamIsCapturing(handle, status);
}

CUresult fake_cuStreamGetCaptureInfo(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id)
{
	(void)id;
	return fake_cuStreamIsCapturing(handle, status);
}

CUresult fake_cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	static __thread CUstreamCaptureMode own = CU_STREAM_CAPTURE_MODE_GLOBAL;
	CUstreamCaptureMode before = own;

	if (!mode || (unsigned int)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	own = *mode;
	*mode = before;
	return CUDA_SUCCESS;
}
