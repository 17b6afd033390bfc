/* rocm_queue.c - streams of HIP as queues, events as marks, and how failures of kernels come to light. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/msg.h"
#include "replay/gpu_state.h"
#include "replay/rocm.h"

/* Floats of milliseconds have steps of 0.1 microseconds after this; then marks count from a newer event. */
#define BASE_NS UINT64_C(1000000000)

struct hg_mark {
	struct hg_target *target;
	void *event;
	struct rocm_base *base;		/* of the last recording; NULL: never recorded */
};

__thread bool rocm_in_host_func;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* HIP itself says that a kernel has failed: which one, it does not say. */
static enum hg_status hip_fault(struct hg_queue *q, enum hg_status st)
{
	return gpu_queue_said(&q->gpu, st, "ROCm says that a kernel failed");
}

bool rocm_stream_is_idle(struct hg_queue *q)
{
	return HIP_CALL(hipStreamQuery, q->stream) != HIP_NOT_READY;
}

bool rocm_fault(struct hg_target *t, struct hg_fault *out)
{
	return gpu_target_fault(&t->gpu, out);
}

/* ---- queues ---- */

#define STATE_FLAGS (HIP_HOST_PORTABLE | HIP_HOST_MAPPED | HIP_HOST_COHERENT)

/* Events, and memory. */
static void leave_all(struct hg_queue *q)
{
	for (unsigned int i = 0; i < ROCM_STEPS; i++)
		if (q->step[i].event)
			HIP_TRY(hipEventDestroy, q->step[i].event);
	for (unsigned int i = 0; i < GPU_CHUNKS; i++) {
		if (q->chunk[i].done)
			HIP_TRY(hipEventDestroy, q->chunk[i].done);
		rocm_own_give(q->target, q->chunk[i].mem, GPU_CHUNK, ROCM_CHUNK_FLAGS);
	}
	rocm_own_give(q->target, q->barrier, ROCM_BARRIER_BYTES, 0);
	rocm_own_give(q->target, q->gpu.state, q->gpu.state_bytes, STATE_FLAGS);
}

/* Memory that kernels and the host see at one address. */
static enum hg_status state_new(struct hg_target *t, struct hg_gpu_state **out, size_t *out_bytes)
{
	size_t bytes = hg_gpu_state_bytes();
	void *mem = NULL, *device = NULL;
	enum hg_status st = rocm_own_take(t, bytes, STATE_FLAGS, &mem);

	if (st)
		return st;
	st = HIP(hipHostGetDevicePointer, &device, mem, 0);
	if (!st && device != mem) {
		pr_err("pinned memory of '%s' has another address for kernels (%p) than for the host (%p)", t->info.name, device, mem);
		st = HG_ERR_UNSUPPORTED;
	}
	if (st) {
		rocm_own_give(t, mem, bytes, STATE_FLAGS);
		return st;
	}
	*out = mem;
	*out_bytes = bytes;
	return HG_OK;
}

/* CUDA's numbers are HIP's: 0 least, negative more; what the device does not have is the next that it has. */
static int priority_of(const struct hg_target *t, int priority)
{
	if (priority > t->priority[0])
		return t->priority[0];
	return priority < t->priority[1] ? t->priority[1] : priority;
}

enum hg_status rocm_queue_create(struct hg_target *t, int priority, struct hg_queue **out)
{
	struct hg_gpu_state *state;
	struct hg_queue *q;
	size_t state_bytes;
	enum hg_status st = rocm_enter(t);

	if (st)
		return st;
	q = calloc(1, sizeof(*q));
	if (!q)
		return HG_ERR_NOMEM;
	q->target = t;
	st = state_new(t, &state, &state_bytes);
	if (st)
		goto err_free;
	st = gpu_queue_init(&q->gpu, &t->gpu, q, state, state_bytes);
	if (st)
		goto err_state;
	st = HIP(hipStreamCreateWithPriority, &q->stream, HIP_STREAM_NON_BLOCKING, priority_of(t, priority));
	if (st)
		goto err_gpu;
	pthread_mutex_init(&q->lock, NULL);
	gpu_queue_list(&q->gpu);
	*out = q;
	return HG_OK;

err_gpu:
	gpu_queue_fini(&q->gpu);
err_state:
	rocm_own_give(t, state, state_bytes, STATE_FLAGS);
err_free:
	free(q);
	return st;
}

enum hg_status rocm_wait(void *stream)
{
	enum hg_status st = HIP(hipStreamSynchronize, stream);

	if (st)
		(void)HIP_CALL(hipStreamSynchronize, stream);
	return st;
}

void rocm_queue_destroy(struct hg_queue *q)
{
	struct hg_target *t;
	bool can_call;

	if (!q)
		return;
	t = q->target;
	can_call = !rocm_enter(t);
	if (can_call) {
		(void)hip_fault(q, rocm_wait(q->stream));
		gpu_queue_look(&q->gpu);
		gpu_queue_print(&q->gpu, q->gpu.launches);
	}
	/* threads that wait for marks look at all queues there are */
	gpu_queue_unlist(&q->gpu);
	if (can_call) {
		HIP_TRY(hipStreamDestroy, q->stream);
		leave_all(q);
	}
	gpu_queue_fini(&q->gpu);
	pthread_mutex_destroy(&q->lock);
	free(q);
	rocm_unmap_late(t);
}

bool rocm_queue_is_idle(struct hg_queue *q)
{
	int error;

	if (rocm_enter(q->target))
		return true;
	error = HIP_CALL(hipStreamQuery, q->stream);
	if (error == HIP_NOT_READY)
		return false;
	(void)hip_fault(q, hg_hip_check(HG_HIP_hipStreamQuery, error, (const uint64_t[]){ (uintptr_t)q->stream }, 1));
	gpu_queue_look(&q->gpu);
	return true;
}

enum hg_status rocm_queue_sync(struct hg_queue *q)
{
	enum hg_status st = rocm_enter(q->target);
	uint64_t launches = gpu_queue_launches(&q->gpu);

	if (st)
		return st;
	st = hip_fault(q, rocm_wait(q->stream));
	if (!st) {
		gpu_queue_look(&q->gpu);
		gpu_queue_print(&q->gpu, launches);
		rocm_unmap_late(q->target);
	}
	return st ? st : atomic_load(&q->gpu.failed) ? HG_ERR_FAULT : HG_OK;
}

void rocm_queue_cancel(struct hg_queue *q)
{
	gpu_queue_cancel(&q->gpu);
}

void rocm_issued(struct hg_queue *q)
{
	unsigned int i;

	pthread_mutex_lock(&q->lock);
	q->issued++;
	while (q->nr_steps && !HIP_CALL(hipEventQuery, q->step[q->first_step].event)) {
		q->known = q->step[q->first_step].at;
		q->first_step = (q->first_step + 1) % ROCM_STEPS;
		q->nr_steps--;
	}
	i = (q->first_step + q->nr_steps) % ROCM_STEPS;
	if (q->issued % ROCM_STEP == 0 && q->nr_steps < ROCM_STEPS &&
	    (q->step[i].event || !HIP(hipEventCreateWithFlags, &q->step[i].event, HIP_EVENT_DISABLE_TIMING)) &&
	    !HIP(hipEventRecord, q->step[i].event, q->stream)) {
		q->step[i].at = q->issued;
		q->nr_steps++;
	}
	pthread_mutex_unlock(&q->lock);
}

/* Waits for the oldest step; an event may stand for a newer one by then, which is waited for as well. */
void rocm_queue_throttle(struct hg_queue *q, uint32_t max)
{
	for (;;) {
		void *event = NULL;
		uint64_t issued;
		bool enough;

		pthread_mutex_lock(&q->lock);
		issued = q->issued;
		enough = issued - q->known <= max;
		if (!enough && q->nr_steps)
			event = q->step[q->first_step].event;
		pthread_mutex_unlock(&q->lock);
		if (enough || rocm_enter(q->target))
			return;
		if (event ? HIP(hipEventSynchronize, event) : rocm_wait(q->stream))
			return;
		pthread_mutex_lock(&q->lock);
		if (!event) {
			/* others may have fed it meanwhile */
			q->known = q->known < issued ? issued : q->known;
		} else if (q->nr_steps && q->step[q->first_step].event == event) {
			q->known = q->step[q->first_step].at;
			q->first_step = (q->first_step + 1) % ROCM_STEPS;
			q->nr_steps--;
		}
		pthread_mutex_unlock(&q->lock);
	}
}

/* ---- functions of the host ---- */

struct host_call {
	void (*fn)(void *arg);
	void *arg;
};

static void run_host_call(void *arg)
{
	struct host_call call = *(struct host_call *)arg;

	free(arg);
	rocm_in_host_func = true;
	call.fn(call.arg);
	rocm_in_host_func = false;
}

/* HIP before 5.3 */
static void run_callback(void *stream, int error, void *arg)
{
	(void)stream;
	(void)error;
	run_host_call(arg);
}

enum hg_status rocm_host_func(struct hg_queue *q, void (*fn)(void *arg), void *arg)
{
	struct host_call *call;
	enum hg_status st = rocm_enter(q->target);

	if (st)
		return st;
	call = malloc(sizeof(*call));
	if (!call)
		return HG_ERR_NOMEM;
	*call = (struct host_call){ fn, arg };
	st = hg_hip.hipLaunchHostFunc ? HIP(hipLaunchHostFunc, q->stream, run_host_call, call) :
					HIP(hipStreamAddCallback, q->stream, run_callback, call, 0);
	if (st)
		free(call);
	else
		rocm_issued(q);
	return st;
}

/* ---- the clock ---- */

static void base_put_locked(struct rocm_base *b)
{
	if (!b || --b->refs)
		return;
	HIP_TRY(hipEventDestroy, b->event);
	free(b);
}

/* A new event whose time counts from `from`; with the service queue's lock. */
static enum hg_status base_new(struct hg_target *t, const struct rocm_base *from, struct rocm_base **out)
{
	struct rocm_base *b = calloc(1, sizeof(*b));
	float ms = 0;
	enum hg_status st;

	if (!b)
		return HG_ERR_NOMEM;
	st = HIP(hipEventCreateWithFlags, &b->event, HIP_EVENT_DEFAULT);
	if (st)
		goto err_free;
	st = HIP(hipEventRecord, b->event, t->service->stream);
	if (!st)
		st = HIP(hipEventSynchronize, b->event);
	if (!st && from)
		st = HIP(hipEventElapsedTime, &ms, from->event, b->event);
	if (st)
		goto err_event;
	b->ns = from ? from->ns + (uint64_t)((double)ms * 1e6) : 0;
	b->host_ns = now_ns();
	b->refs = 1;
	*out = b;
	return HG_OK;

err_event:
	HIP_TRY(hipEventDestroy, b->event);
err_free:
	free(b);
	return st;
}

enum hg_status rocm_clock_init(struct hg_target *t)
{
	return base_new(t, NULL, &t->base);
}

void rocm_clock_fini(struct hg_target *t)
{
	pthread_mutex_lock(&t->base_lock);
	base_put_locked(t->base);
	t->base = NULL;
	pthread_mutex_unlock(&t->base_lock);
}

/* The newest, with a reference. One that cannot be renewed now goes on, with longer steps. */
static struct rocm_base *base_get(struct hg_target *t)
{
	struct rocm_base *b, *newer;

	pthread_mutex_lock(&t->base_lock);
	b = t->base;
	if (now_ns() - b->host_ns >= BASE_NS && !pthread_mutex_trylock(&t->service_lock)) {
		if (!base_new(t, b, &newer)) {
			t->base = newer;
			base_put_locked(b);
			b = newer;
		}
		pthread_mutex_unlock(&t->service_lock);
	}
	b->refs++;
	pthread_mutex_unlock(&t->base_lock);
	return b;
}

/* ---- marks ---- */

enum hg_status rocm_mark_create(struct hg_target *t, struct hg_mark **out)
{
	struct hg_mark *m;
	enum hg_status st = rocm_enter(t);

	if (st)
		return st;
	m = calloc(1, sizeof(*m));
	if (!m)
		return HG_ERR_NOMEM;
	m->target = t;
	st = HIP(hipEventCreateWithFlags, &m->event, HIP_EVENT_DEFAULT);
	if (st)
		free(m);
	else
		*out = m;
	return st;
}

void rocm_mark_destroy(struct hg_mark *m)
{
	if (!m)
		return;
	if (!rocm_enter(m->target)) {
		HIP_TRY(hipEventDestroy, m->event);
		pthread_mutex_lock(&m->target->base_lock);
		base_put_locked(m->base);
		pthread_mutex_unlock(&m->target->base_lock);
	}
	free(m);
}

static bool was_recorded(struct hg_mark *m)
{
	bool was;

	pthread_mutex_lock(&m->target->base_lock);
	was = m->base != NULL;
	pthread_mutex_unlock(&m->target->base_lock);
	return was;
}

enum hg_status rocm_mark_record(struct hg_queue *q, struct hg_mark *m)
{
	struct rocm_base *base;
	enum hg_status st = rocm_enter(q->target);

	if (st)
		return st;
	base = base_get(q->target);
	st = HIP(hipEventRecord, m->event, q->stream);
	pthread_mutex_lock(&q->target->base_lock);
	if (st) {
		base_put_locked(base);
	} else {
		base_put_locked(m->base);
		m->base = base;
	}
	pthread_mutex_unlock(&q->target->base_lock);
	if (!st)
		rocm_issued(q);
	return st;
}

enum hg_status rocm_mark_wait(struct hg_queue *q, struct hg_mark *m)
{
	enum hg_status st = rocm_enter(q->target);

	if (st || !was_recorded(m))
		return st;
	st = HIP(hipStreamWaitEvent, q->stream, m->event, 0);
	if (!st)
		rocm_issued(q);
	return st;
}

bool rocm_mark_is_done(struct hg_mark *m)
{
	int error;

	if (!was_recorded(m) || rocm_enter(m->target))
		return true;
	error = HIP_CALL(hipEventQuery, m->event);
	if (error == HIP_NOT_READY)
		return false;
	if (hg_hip_check(HG_HIP_hipEventQuery, error, (const uint64_t[]){ (uintptr_t)m->event }, 1))
		pr_debug("an event counts as done");
	gpu_target_look(&m->target->gpu);
	return true;
}

enum hg_status rocm_mark_sync(struct hg_mark *m)
{
	enum hg_status st;

	if (!was_recorded(m))
		return HG_OK;
	st = rocm_enter(m->target);
	if (!st)
		st = HIP(hipEventSynchronize, m->event);
	gpu_target_look(&m->target->gpu);
	return st;
}

uint64_t rocm_mark_time_ns(struct hg_mark *m)
{
	struct hg_target *t = m->target;
	uint64_t ns = 0;
	float ms;

	if (rocm_enter(t))
		return 0;
	pthread_mutex_lock(&t->base_lock);
	if (m->base && !HIP(hipEventElapsedTime, &ms, m->base->event, m->event))
		ns = m->base->ns + (ms > 0 ? (uint64_t)((double)ms * 1e6) : 0);
	pthread_mutex_unlock(&t->base_lock);
	return ns;
}
