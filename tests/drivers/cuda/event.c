/* event.c - events of the fake CUDA driver. */
#include <stdlib.h>

#include "tests/drivers/cuda/fake.h"

/* What is in an event. Short, and seldom contended: one for all. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void event_release(struct fake_obj *obj)
{
	struct fake_event *e = (struct fake_event *)obj;

	if (e->stream)
		fake_put(&e->stream->obj);
	free(e);
}

CUresult fake_cuEventCreate(CUevent *out, unsigned int flags)
{
	const unsigned int known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
	struct fake_event *e;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!out || flags & ~known || (flags & CU_EVENT_INTERPROCESS && !(flags & CU_EVENT_DISABLE_TIMING)))
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CU_EVENT_INTERPROCESS)
		return CUDA_ERROR_NOT_SUPPORTED;
	e = calloc(1, sizeof(*e));
	if (!e)
		return CUDA_ERROR_OUT_OF_MEMORY;
	e->obj.kind = FAKE_EVENT;
	e->obj.ctx = ctx;
	e->obj.release = event_release;
	e->flags = flags;
	if (!fake_handle_add(&e->obj)) {
		free(e);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*out = (CUevent)e;
	return CUDA_SUCCESS;
}

/* Work that is to record it still does. */
CUresult fake_cuEventDestroy_v2(CUevent handle)
{
	struct fake_event *e = fake_handle(handle, FAKE_EVENT);

	if (!e || !fake_handle_remove(&e->obj))
		return CUDA_ERROR_INVALID_HANDLE;
	fake_put(&e->obj);
	return CUDA_SUCCESS;
}

CUresult fake_cuEventDestroy(CUevent handle)
{
	return fake_cuEventDestroy_v2(handle);
}

CUresult fake_cuEventRecord(CUevent handle, CUstream stream)
{
	struct fake_event *e = fake_handle(handle, FAKE_EVENT);
	struct fake_stream *s, *before;
	struct fake_work *w;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (!e || e->obj.ctx != s->obj.ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	fake_ref(&s->obj);
	w = fake_work_begin(s, FAKE_RECORD);
	fake_ref(&e->obj);
	w->record.event = e;
	pthread_mutex_lock(&lock);
	before = e->stream;
	e->stream = s;
	e->pos = s->tail + 1;
	w->record.generation = ++e->generation;
	pthread_mutex_unlock(&lock);
	fake_work_publish(s, w);
	if (before)
		fake_put(&before->obj);
	return CUDA_SUCCESS;
}

CUresult fake_cuEventRecordWithFlags(CUevent handle, CUstream stream, unsigned int flags)
{
	return flags ? CUDA_ERROR_INVALID_VALUE : fake_cuEventRecord(handle, stream);
}

void fake_event_reached(struct fake_event *e, uint64_t generation)
{
	uint64_t now = fake_now_ns();

	pthread_mutex_lock(&lock);
	if (e->generation == generation)
		e->time_ns = now;
	pthread_mutex_unlock(&lock);
	fake_put(&e->obj);
}

/* Where it was recorded last, with a reference; NULL: nowhere. */
static struct fake_stream *recorded_in(struct fake_event *e, uint64_t *pos)
{
	struct fake_stream *s;

	pthread_mutex_lock(&lock);
	s = e->stream;
	*pos = e->pos;
	if (s)
		fake_ref(&s->obj);
	pthread_mutex_unlock(&lock);
	return s;
}

/* Flags: 1 is CU_EVENT_WAIT_EXTERNAL, for captures only. */
CUresult fake_cuStreamWaitEvent(CUstream stream, CUevent handle, unsigned int flags)
{
	struct fake_event *e = fake_handle(handle, FAKE_EVENT);
	struct fake_stream *s, *other;
	struct fake_work *w;
	uint64_t pos;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	other = recorded_in(e, &pos);
	if (!other)
		return CUDA_SUCCESS;
	if (other == s || fake_stream_reached(other, pos)) {
		fake_put(&other->obj);
		return CUDA_SUCCESS;
	}
	w = fake_work_begin(s, FAKE_WAIT);
	w->wait.stream = other;
	w->wait.pos = pos;
	fake_work_publish(s, w);
	return CUDA_SUCCESS;
}

static CUresult check(CUevent handle, struct fake_event **out)
{
	struct fake_event *e = fake_handle(handle, FAKE_EVENT);

	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	*out = e;
	return atomic_load(&e->obj.ctx->error);
}

CUresult fake_cuEventQuery(CUevent handle)
{
	struct fake_stream *s;
	struct fake_event *e;
	uint64_t pos;
	CUresult r = check(handle, &e);

	if (r != CUDA_SUCCESS)
		return r;
	s = recorded_in(e, &pos);
	if (!s)
		return CUDA_SUCCESS;
	r = fake_stream_reached(s, pos) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
	fake_put(&s->obj);
	return r;
}

CUresult fake_cuEventSynchronize(CUevent handle)
{
	struct fake_stream *s;
	struct fake_event *e;
	uint64_t pos;
	CUresult r = check(handle, &e);

	if (r != CUDA_SUCCESS)
		return r;
	s = recorded_in(e, &pos);
	if (!s)
		return CUDA_SUCCESS;
	fake_stream_wait(s, pos);
	r = atomic_load(&s->obj.ctx->error);
	fake_put(&s->obj);
	fake_pools_sync();
	return r;
}

CUresult fake_cuEventElapsedTime_v2(float *ms, CUevent from, CUevent to)
{
	struct fake_event *a, *b;
	CUresult r = check(from, &a);

	if (r == CUDA_SUCCESS)
		r = check(to, &b);
	if (r != CUDA_SUCCESS)
		return r;
	if (!ms)
		return CUDA_ERROR_INVALID_VALUE;
	if (a->flags & CU_EVENT_DISABLE_TIMING || b->flags & CU_EVENT_DISABLE_TIMING)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&lock);
	if (!a->stream || !b->stream)
		r = CUDA_ERROR_INVALID_HANDLE;
	else if (!fake_stream_reached(a->stream, a->pos) || !fake_stream_reached(b->stream, b->pos))
		r = CUDA_ERROR_NOT_READY;
	else
		*ms = (float)((double)(int64_t)(b->time_ns - a->time_ns) / 1e6);
	pthread_mutex_unlock(&lock);
	return r;
}

CUresult fake_cuEventElapsedTime(float *ms, CUevent from, CUevent to)
{
	return fake_cuEventElapsedTime_v2(ms, from, to);
}
