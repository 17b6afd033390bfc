/* driver_event.c - events. */
#include <stdlib.h>

#include "replay/device_print.h"
#include "replay/driver_priv.h"
#include "replay/restore.h"

#define KNOWN_FLAGS (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS)

static void event_free(struct drv_obj *obj)
{
	struct drv_event *e = (struct drv_event *)obj;

	drv.ops->mark_destroy(e->mark);
	free(e);
}

CUresult drv_cuEventCreate(CUevent *out, unsigned int flags)
{
	struct drv_event *e;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || (flags & ~(unsigned int)KNOWN_FLAGS))
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CU_EVENT_INTERPROCESS)
		return flags & CU_EVENT_DISABLE_TIMING ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
	e = calloc(1, sizeof(*e));
	if (!e)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = drv_result(drv.ops->mark_create(drv.target, &e->mark));
	if (r) {
		free(e);
		return r;
	}
	e->flags = flags;
	drv_obj_init(&e->obj, DRV_EVENT, ctx, event_free);
	r = drv_obj_publish(&e->obj);
	if (r) {
		drv_obj_put(&e->obj);
		return r;
	}
	*out = drv_handle(&e->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuEventDestroy_v2(CUevent handle)
{
	struct drv_obj *obj;
	CUresult r = drv_ready();

	if (r)
		return r;
	obj = drv_obj_retire(handle, DRV_EVENT);
	if (!obj)
		return CUDA_ERROR_INVALID_HANDLE;
	drv_obj_put(obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuEventDestroy(CUevent handle)
{
	return drv_cuEventDestroy_v2(handle);
}

void drv_event_recorded(struct drv_event *e)
{
	atomic_store(&e->age_ns, 0);
	atomic_store(&e->recorded, true);
}

/* With a reference, its context in order. */
static CUresult event_get(CUevent handle, struct drv_event **out)
{
	struct drv_event *e;
	CUresult r = drv_ready();

	if (r)
		return r;
	e = drv_obj_get(handle, DRV_EVENT);
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	r = drv_ctx_error(e->obj.ctx);
	if (r) {
		drv_obj_put(&e->obj);
		return r;
	}
	*out = e;
	return CUDA_SUCCESS;
}

CUresult drv_cuEventRecordWithFlags(CUevent handle, CUstream stream, unsigned int flags)
{
	struct drv_stream *s;
	struct drv_event *e;
	CUresult r;

	if (flags)	/* CU_EVENT_RECORD_EXTERNAL is for capture alone */
		return CUDA_ERROR_INVALID_VALUE;
	r = event_get(handle, &e);
	if (r)
		return r;
	r = drv_stream_begin(stream, &s);
	if (!r) {
		if (s->obj.ctx != e->obj.ctx)
			r = CUDA_ERROR_INVALID_HANDLE;
		else
			r = drv_result(drv.ops->mark_record(s->queue, e->mark));
		if (!r)
			drv_event_recorded(e);
		drv_stream_end(s, DRV_WORK);
	}
	drv_obj_put(&e->obj);
	return r;
}

CUresult drv_cuEventRecord(CUevent handle, CUstream stream)
{
	return drv_cuEventRecordWithFlags(handle, stream, 0);
}

CUresult drv_cuEventQuery(CUevent handle)
{
	struct drv_event *e;
	bool done;
	CUresult r = event_get(handle, &e);

	if (r)
		return r;
	done = drv.ops->mark_is_done(e->mark);
	r = drv_ctx_error(e->obj.ctx);
	drv_obj_put(&e->obj);
	if (r)
		return r;
	return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult drv_cuEventSynchronize(CUevent handle)
{
	struct drv_event *e;
	CUresult r = event_get(handle, &e);

	if (r)
		return r;
	r = drv_result(drv.ops->mark_sync(e->mark));
	hg_print_flush();
	if (!r)
		r = drv_ctx_error(e->obj.ctx);
	drv_obj_put(&e->obj);
	return r;
}

static uint64_t time_of(const struct drv_event *e)
{
	return drv.ops->mark_time_ns(e->mark) - atomic_load(&e->age_ns);
}

static CUresult elapsed(const struct drv_event *start, const struct drv_event *end, float *ms)
{
	if (((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) || !start->recorded || !end->recorded ||
	    start->obj.ctx != end->obj.ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!drv.ops->mark_is_done(start->mark) || !drv.ops->mark_is_done(end->mark))
		return CUDA_ERROR_NOT_READY;
	*ms = (float)((double)(int64_t)(time_of(end) - time_of(start)) / 1e6);
	return CUDA_SUCCESS;
}

CUresult drv_cuEventElapsedTime_v2(float *ms, CUevent start_handle, CUevent end_handle)
{
	struct drv_event *start, *end;
	CUresult r;

	if (!ms)
		return CUDA_ERROR_INVALID_VALUE;
	r = event_get(start_handle, &start);
	if (r)
		return r;
	r = event_get(end_handle, &end);
	if (!r) {
		r = elapsed(start, end, ms);
		drv_obj_put(&end->obj);
	}
	drv_obj_put(&start->obj);
	return r;
}

CUresult drv_cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
	return drv_cuEventElapsedTime_v2(ms, start, end);
}

/* The mark is made now, on the target's own clock, and counts as older. */
enum hg_status hg_driver_event_age(const void *event, uint64_t age_ns)
{
	struct drv_event *e = drv_obj_get(event, DRV_EVENT);
	enum hg_status st;

	if (!e)
		return HG_ERR_INVALID;
	pthread_mutex_lock(&drv.service_lock);
	st = drv.ops->mark_record(drv.service, e->mark);
	if (!st)
		st = drv.ops->queue_sync(drv.service);
	pthread_mutex_unlock(&drv.service_lock);
	if (!st) {
		atomic_store(&e->age_ns, age_ns);
		atomic_store(&e->recorded, true);
	}
	drv_obj_put(&e->obj);
	return st;
}
