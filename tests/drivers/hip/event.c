/* event.c - events of the HIP double. */
#include <stdlib.h>

#include "tests/drivers/hip/hip.h"

struct hd_event {
	struct fake_obj obj;		/* references: handle, records that are queued */
	unsigned int flags;
	int device;
	/* under the queues' lock */
	struct hd_stream *stream;	/* where it was recorded last, a reference; NULL: nowhere */
	uint64_t pos, generation;
	uint64_t time_ns;
};

static void event_release(struct fake_obj *obj)
{
	struct hd_event *e = (struct hd_event *)obj;

	if (e->stream)
		fake_put(&e->stream->obj);
	free(e);
}

static hipError_t get(hipEvent_t handle, struct hd_event **out)
{
	struct hd_event *e = fake_handle(handle, HD_EVENT);

	if (!e)
		return hd_misuse(hipErrorInvalidHandle, "%p is no event", (void *)handle);
	*out = e;
	return hipSuccess;
}

/* Where it was recorded last, with a reference; NULL: nowhere. */
static struct hd_stream *recorded_in(struct hd_event *e, uint64_t *pos)
{
	struct hd_stream *s;

	pthread_mutex_lock(&hd_queue_lock);
	s = e->stream;
	*pos = e->pos;
	if (s)
		fake_ref(&s->obj);
	pthread_mutex_unlock(&hd_queue_lock);
	return s;
}

void hd_event_reached(struct hd_event *e, uint64_t generation)
{
	if (e->generation == generation)
		e->time_ns = fake_now_ns();
}

hipError_t hd_hipEventCreateWithFlags(hipEvent_t *out, unsigned int flags)
{
	const unsigned int known = hipEventBlockingSync | hipEventDisableTiming | hipEventReleaseToDevice | hipEventReleaseToSystem;
	struct hd_event *e;

	if (!out || flags & ~known ||
	    (flags & hipEventReleaseToDevice && flags & hipEventReleaseToSystem))
		return hipErrorInvalidValue;
	e = calloc(1, sizeof(*e));
	if (!e)
		return hipErrorOutOfMemory;
	e->obj.kind = HD_EVENT;
	e->obj.release = event_release;
	e->flags = flags;
	e->device = hd_self.device;
	if (!fake_handle_add(&e->obj)) {
		free(e);
		return hipErrorOutOfMemory;
	}
	*out = (hipEvent_t)e;
	return hipSuccess;
}

hipError_t hd_hipEventCreate(hipEvent_t *event)
{
	return hd_hipEventCreateWithFlags(event, 0);
}

hipError_t hd_hipEventDestroy(hipEvent_t handle)
{
	struct hd_event *e;
	hipError_t r = get(handle, &e);

	if (r != hipSuccess)
		return r;
	if (!fake_handle_remove(&e->obj))
		return hd_misuse(hipErrorContextIsDestroyed, "%p is being destroyed twice", (void *)handle);
	fake_put(&e->obj);
	return hipSuccess;
}

hipError_t hd_hipEventRecord(hipEvent_t handle, hipStream_t stream)
{
	struct hd_stream *s, *before;
	struct hd_event *e;
	struct hd_work *w;
	uint64_t generation, pos;
	hipError_t r = get(handle, &e);

	if (r == hipSuccess)
		r = hd_stream_get(stream, &s);
	if (r != hipSuccess)
		return r;
	if (s->device != e->device)
		return hd_misuse(hipErrorInvalidHandle, "the event is of device %d, the stream of device %d", e->device, s->device);
	w = hd_work_new(HD_RECORD);
	if (!w)
		return hipErrorOutOfMemory;
	w->record.event = e;
	fake_ref(&e->obj);
	fake_ref(&s->obj);
	before = s;
	pthread_mutex_lock(&hd_queue_lock);
	generation = w->record.generation = ++e->generation;
	pos = hd_submit_locked(s, w);
	if (e->generation == generation) {	/* it may have waited for room */
		before = e->stream;
		e->stream = s;
		e->pos = pos;
	}
	pthread_mutex_unlock(&hd_queue_lock);
	if (before)
		fake_put(&before->obj);
	return hipSuccess;
}

hipError_t hd_hipStreamWaitEvent(hipStream_t stream, hipEvent_t handle, unsigned int flags)
{
	struct hd_stream *s, *other;
	struct hd_event *e;
	struct hd_work *w;
	uint64_t pos;
	hipError_t r = get(handle, &e);

	if (r == hipSuccess)
		r = hd_stream_get(stream, &s);
	if (r != hipSuccess)
		return r;
	if (flags)
		return hipErrorInvalidValue;
	other = recorded_in(e, &pos);
	if (!other)
		return hipSuccess;
	w = other == s || hd_reached(other, pos) ? NULL : hd_work_new(HD_WAIT);
	if (!w) {
		fake_put(&other->obj);
		return hipSuccess;
	}
	w->wait.stream = other;
	w->wait.pos = pos;
	hd_submit(s, w);
	return hipSuccess;
}

hipError_t hd_hipEventQuery(hipEvent_t handle)
{
	struct hd_stream *s;
	struct hd_event *e;
	uint64_t pos;
	hipError_t r = get(handle, &e);

	if (r != hipSuccess)
		return r;
	s = recorded_in(e, &pos);
	if (!s)
		return hipSuccess;
	r = hd_reached(s, pos) ? hd_device_error(e->device) : hipErrorNotReady;
	fake_put(&s->obj);
	return r;
}

hipError_t hd_hipEventSynchronize(hipEvent_t handle)
{
	struct hd_stream *s;
	struct hd_event *e;
	uint64_t pos;
	hipError_t r = get(handle, &e);

	if (r != hipSuccess)
		return r;
	s = recorded_in(e, &pos);
	if (!s)
		return hipSuccess;
	hd_wait(s, pos);
	fake_put(&s->obj);
	return hd_device_error(e->device);
}

hipError_t hd_hipEventElapsedTime(float *ms, hipEvent_t start, hipEvent_t stop)
{
	struct hd_stream *sa, *sb;
	struct hd_event *a, *b;
	uint64_t pa, pb;
	hipError_t r;

	if (!ms)
		return hipErrorInvalidValue;
	r = get(start, &a);
	if (r == hipSuccess)
		r = get(stop, &b);
	if (r != hipSuccess)
		return r;
	if (a->device != b->device)
		return hd_misuse(hipErrorInvalidHandle, "the events are of devices %d and %d", a->device, b->device);
	if ((a->flags | b->flags) & hipEventDisableTiming)
		return hd_misuse(hipErrorInvalidHandle, "an event was made without timing");
	sa = recorded_in(a, &pa);
	sb = recorded_in(b, &pb);
	if (!sa || !sb) {
		r = hd_misuse(hipErrorInvalidHandle, "an event was never recorded");
	} else if (!hd_reached(sa, pa) || !hd_reached(sb, pb)) {
		r = hipErrorNotReady;
	} else {
		pthread_mutex_lock(&hd_queue_lock);
		*ms = (float)((double)(int64_t)(b->time_ns - a->time_ns) / 1e6);
		pthread_mutex_unlock(&hd_queue_lock);
	}
	if (sa)
		fake_put(&sa->obj);
	if (sb)
		fake_put(&sb->obj);
	return r;
}
