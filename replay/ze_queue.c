/* ze_queue.c - immediate command lists of Level Zero as queues: each piece of work waits for the event of the one before. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/gpu_state.h"
#include "replay/ze.h"

#define FIRST_ROOM 64u

/* ---- what is under way ---- */

static struct ze_pending *piece(struct hg_queue *q, uint64_t i)
{
	return &q->pending[i & (q->room - 1)];
}

static void events_put(struct hg_queue *q, const struct ze_pending *p)
{
	ze_event_put(q->target, p->event);
	ze_event_put(q->target, p->before);
	ze_event_put(q->target, p->also);
}

/* With q->lock: the pieces before `done` are. */
static void now_known(struct hg_queue *q, uint64_t done)
{
	for (; q->known < done; q->known++) {
		struct ze_pending *p = piece(q, q->known);

		events_put(q, p);
		if (p->own)
			ze_own_give(q->target, p->own, p->args, ZE_OWN_HOST);
		else
			ze_ring_give(&q->ring, p->args);
	}
}

/* With q->lock. */
static void reap(struct hg_queue *q)
{
	if (q->known == q->issued)
		return;
	if (ze_event_is_done(q->target, piece(q, q->issued - 1)->event)) {
		now_known(q, q->issued);
		return;
	}
	/* the last may be done by now */
	while (q->known < q->issued && ze_event_is_done(q->target, piece(q, q->known)->event))
		now_known(q, q->known + 1);
}

struct ze_event *ze_queue_last(struct hg_queue *q)
{
	struct ze_event *last = NULL;

	pthread_mutex_lock(&q->lock);
	reap(q);
	if (q->known < q->issued)
		last = ze_event_ref(piece(q, q->issued - 1)->event);
	pthread_mutex_unlock(&q->lock);
	return last;
}

bool ze_list_is_idle(struct hg_queue *q)
{
	bool is_idle;

	pthread_mutex_lock(&q->lock);
	reap(q);
	is_idle = q->known == q->issued;
	pthread_mutex_unlock(&q->lock);
	return is_idle;
}

static enum hg_status need_room(struct hg_queue *q)
{
	size_t room = q->room ? 2 * q->room : FIRST_ROOM;
	struct ze_pending *grown;

	if (q->issued - q->known < q->room)
		return HG_OK;
	grown = malloc(room * sizeof(*grown));
	if (!grown)
		return HG_ERR_NOMEM;
	for (uint64_t i = q->known; i < q->issued; i++)
		grown[i & (room - 1)] = *piece(q, i);
	free(q->pending);
	q->pending = grown;
	q->room = room;
	return HG_OK;
}

/* With q->lock. A ring that is full is not waited for: what is queued may itself wait for a thread that is kept out by the caller's lock. */
static enum hg_status take_args(struct hg_queue *q, size_t bytes, struct ze_step *s)
{
	enum hg_status st = HG_OK;
	size_t at;
	void *mem;

	if (!q->args) {
		st = ze_own_take(q->target, ZE_ARGS, ZE_OWN_HOST, &mem);
		if (st)
			return st;
		q->args = mem;
		q->ring.size = ZE_ARGS;
	}
	s->work.args = ze_ring_take(&q->ring, bytes, &at);
	if (s->work.args) {
		s->args = q->args + at;
		return HG_OK;
	}
	st = ze_own_take(q->target, bytes, ZE_OWN_HOST, &mem);
	if (!st) {
		s->args = s->work.own = mem;
		s->work.args = bytes;
	}
	return st;
}

enum hg_status ze_begin(struct hg_queue *q, size_t args_bytes, struct ze_step *out)
{
	struct ze_step s = { 0 };
	enum hg_status st;

	pthread_mutex_lock(&q->lock);
	reap(q);
	st = need_room(q);
	if (!st && args_bytes)
		st = take_args(q, args_bytes, &s);
	if (!st && q->known < q->issued) {
		s.work.before = ze_event_ref(piece(q, q->issued - 1)->event);
		s.wait[s.nr_wait++] = s.work.before->handle;
	}
	pthread_mutex_unlock(&q->lock);
	if (!st)
		st = ze_event_take(q->target, &s.work.event);
	if (st)
		return ze_end(q, &s, st);
	s.signal = s.work.event->handle;
	*out = s;
	return HG_OK;
}

void ze_count(struct hg_queue *q, struct ze_step *s, enum hg_status st)
{
	pthread_mutex_lock(&q->lock);
	if (!st) {
		*piece(q, q->issued) = s->work;
		q->issued++;
	} else {
		if (!s->work.own && s->work.args)
			ze_ring_undo(&q->ring, s->work.args);
		else
			ze_own_give(q->target, s->work.own, s->work.args, ZE_OWN_HOST);
		events_put(q, &s->work);
	}
	pthread_mutex_unlock(&q->lock);
}

static const char lost[] = "Level Zero says that the device is lost";

enum hg_status ze_said(struct hg_queue *q, enum hg_status st)
{
	return gpu_queue_said(&q->gpu, st, lost);
}

void ze_look(struct hg_target *t)
{
	if (atomic_load_explicit(&t->is_lost, memory_order_relaxed))
		gpu_target_said(&t->gpu, lost);
	gpu_target_look(&t->gpu);
}

enum hg_status ze_end(struct hg_queue *q, struct ze_step *s, enum hg_status st)
{
	ze_count(q, s, st);
	return ze_said(q, st);
}

enum hg_status ze_barrier_clear(struct hg_queue *q, uint64_t *out)
{
	static const uint32_t zero;
	struct ze_step s;
	enum hg_status st = q->barrier ? HG_OK : ze_own_take(q->target, ZE_BARRIER_BYTES, ZE_OWN_DEVICE, &q->barrier);

	if (!st)
		st = ze_begin(q, 0, &s);
	if (!st)
		st = ze_end(q, &s, ZE(zeCommandListAppendMemoryFill, q->list, q->barrier, &zero, sizeof(zero), ZE_BARRIER_BYTES, s.signal,
				      s.nr_wait, s.wait));
	if (!st)
		*out = (uintptr_t)q->barrier;
	return st;
}

/* ---- queues ---- */

/* 0 is CUDA's least, negative more. */
static ze_command_queue_priority_t priority_of(int priority)
{
	return priority < 0 ? ZE_COMMAND_QUEUE_PRIORITY_PRIORITY_HIGH : ZE_COMMAND_QUEUE_PRIORITY_NORMAL;
}

enum hg_status ze_queue_create(struct hg_target *t, int priority, struct hg_queue **out)
{
	ze_command_queue_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC, .ordinal = t->ordinal,
					 .mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS, .priority = priority_of(priority) };
	struct hg_queue *q = calloc(1, sizeof(*q));
	size_t bytes = hg_gpu_state_bytes();
	enum hg_status st;
	void *state;

	if (!q)
		return HG_ERR_NOMEM;
	/* queues that share an engine wait behind each other's waits; where there are several, they are spread */
	if (t->nr_indexes > 1) {
		desc.flags = ZE_COMMAND_QUEUE_FLAG_EXPLICIT_ONLY;
		desc.index = atomic_fetch_add(&t->next_index, 1) % t->nr_indexes;
	}
	q->target = t;
	st = ze_own_take(t, bytes, ZE_OWN_HOST, &state);
	if (st)
		goto err_free;
	st = gpu_queue_init(&q->gpu, &t->gpu, q, state, bytes);
	if (st)
		goto err_state;
	st = ZE(zeCommandListCreateImmediate, t->context, t->device, &desc, &q->list);
	if (st)
		goto err_gpu;
	pthread_mutex_init(&q->lock, NULL);
	gpu_queue_list(&q->gpu);
	*out = q;
	return HG_OK;

err_gpu:
	gpu_queue_fini(&q->gpu);
err_state:
	ze_own_give(t, state, bytes, ZE_OWN_HOST);
err_free:
	free(q);
	return st;
}

/* Waits for what was queued; after an error of the device nothing more is to come of it. */
static enum hg_status wait_for_all(struct hg_queue *q)
{
	struct ze_event *last = ze_queue_last(q);
	enum hg_status st;

	/* on a lost device nothing is left to wait for */
	if (!last)
		return ze_said(q, atomic_load_explicit(&q->target->is_lost, memory_order_relaxed) ? HG_ERR_FAULT : HG_OK);
	st = ze_event_wait(q->target, last);
	ze_event_put(q->target, last);
	return ze_said(q, st);
}

void ze_queue_destroy(struct hg_queue *q)
{
	struct hg_target *t;

	if (!q)
		return;
	t = q->target;
	(void)wait_for_all(q);
	ze_host_stop(q);
	gpu_queue_look(&q->gpu);
	gpu_queue_print(&q->gpu, q->gpu.launches);
	/* threads that wait for marks look at all queues there are */
	gpu_queue_unlist(&q->gpu);
	ZE_TRY(zeCommandListDestroy, q->list);
	pthread_mutex_lock(&q->lock);
	now_known(q, q->issued);
	pthread_mutex_unlock(&q->lock);
	for (unsigned int i = 0; i < GPU_CHUNKS; i++) {
		ze_event_put(t, q->chunk[i].done);
		ze_own_give(t, q->chunk[i].mem, GPU_CHUNK, ZE_OWN_HOST);
	}
	ze_own_give(t, q->args, ZE_ARGS, ZE_OWN_HOST);
	ze_own_give(t, q->barrier, ZE_BARRIER_BYTES, ZE_OWN_DEVICE);
	ze_own_give(t, q->gpu.state, q->gpu.state_bytes, ZE_OWN_HOST);
	gpu_queue_fini(&q->gpu);
	pthread_mutex_destroy(&q->lock);
	free(q->pending);
	free(q);
}

bool ze_queue_is_idle(struct hg_queue *q)
{
	struct ze_event *last;
	ze_result_t result;

	last = ze_queue_last(q);
	if (last) {
		ze_event_put(q->target, last);
		return false;
	}
	/* an event of a lost device counts as done: this is where that is told */
	result = ZE_RAW(zeDeviceGetStatus, q->target->device);
	if (result == ZE_RESULT_ERROR_DEVICE_LOST || atomic_load(&q->target->is_lost))
		(void)ze_said(q, HG_ERR_FAULT);
	gpu_queue_look(&q->gpu);
	return true;
}

enum hg_status ze_queue_sync(struct hg_queue *q)
{
	uint64_t launches = gpu_queue_launches(&q->gpu);
	enum hg_status st = wait_for_all(q);

	if (st)
		return st;
	gpu_queue_look(&q->gpu);
	gpu_queue_print(&q->gpu, launches);
	return atomic_load(&q->gpu.failed) ? HG_ERR_FAULT : HG_OK;
}

void ze_queue_cancel(struct hg_queue *q)
{
	gpu_queue_cancel(&q->gpu);
}

void ze_queue_throttle(struct hg_queue *q, uint32_t max)
{
	for (;;) {
		struct ze_event *event = NULL;
		uint64_t upto = 0;
		enum hg_status st;

		pthread_mutex_lock(&q->lock);
		reap(q);
		if (q->issued - q->known > max) {
			upto = q->issued - max;
			event = ze_event_ref(piece(q, upto - 1)->event);
		}
		pthread_mutex_unlock(&q->lock);
		if (!event)
			return;
		st = ze_event_wait(q->target, event);
		ze_event_put(q->target, event);
		if (st)
			return;
		pthread_mutex_lock(&q->lock);
		now_known(q, upto);
		pthread_mutex_unlock(&q->lock);
	}
}

bool ze_fault(struct hg_target *t, struct hg_fault *out)
{
	return gpu_target_fault(&t->gpu, out);
}
