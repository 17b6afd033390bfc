/* ze_event.c - events of Level Zero, which stand for pieces of work, and marks, which are made of them. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "common/msg.h"
#include "replay/ze.h"

/* Both clocks are read again after this: long before a counter of 32 bits wraps. */
#define CLOCK_NS UINT64_C(1000000000)

struct hg_mark {
	struct hg_target *target;
	pthread_mutex_t lock;
	struct ze_event *event;		/* of the last recording, with a reference; NULL: never recorded */
};

/* ---- the clock ---- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

enum hg_status ze_clock_read(struct hg_target *t, uint64_t hz, unsigned int bits)
{
	uint64_t host, device;
	enum hg_status st = ZE(zeDeviceGetGlobalTimestamps, t->device, &host, &device);

	if (!st)
		ze_clock_init(&t->clock, hz, bits, device, now_ns());
	return st;
}

/* About what the device's counter is now. Where it cannot be read, the estimate goes on. */
static uint64_t ticks_now(struct hg_target *t)
{
	uint64_t host, device, ticks;

	pthread_mutex_lock(&t->clock_lock);
	if (now_ns() - t->clock.host_ns >= CLOCK_NS && !ZE(zeDeviceGetGlobalTimestamps, t->device, &host, &device))
		ze_clock_update(&t->clock, device, now_ns());
	ticks = ze_clock_now(&t->clock, now_ns());
	pthread_mutex_unlock(&t->clock_lock);
	return ticks;
}

/* It is done now, or was not done a moment ago: this says more of its time than when it was recorded, which may be turns of the counter before. */
static void date(struct hg_target *t, struct ze_event *e)
{
	uint64_t now = ticks_now(t);

	pthread_mutex_lock(&t->clock_lock);
	e->ref_ticks = now;
	pthread_mutex_unlock(&t->clock_lock);
}

/* ---- events ---- */

static enum hg_status pool_new(struct hg_target *t)
{
	const ze_event_pool_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_EVENT_POOL_DESC, .flags = ZE_EVENT_POOL_FLAG_HOST_VISIBLE,
					    .count = ZE_EVENTS };
	struct ze_pool *p = calloc(1, sizeof(*p));
	enum hg_status st;
	void *stamps;

	if (!p)
		return HG_ERR_NOMEM;
	st = ze_own_take(t, ZE_EVENTS * sizeof(*p->stamps), ZE_OWN_HOST, &stamps);
	if (st)
		goto err_free;
	p->stamps = stamps;
	st = ZE(zeEventPoolCreate, t->context, &desc, 1, &t->device, &p->handle);
	if (st)
		goto err_stamps;
	p->next = t->pools;
	t->pools = p;
	return HG_OK;

err_stamps:
	ze_own_give(t, stamps, ZE_EVENTS * sizeof(*p->stamps), ZE_OWN_HOST);
err_free:
	free(p);
	return st;
}

/* With t->events_lock. Kernels write for the host, and read what the host wrote: in pinned memory, or in a host function. */
static enum hg_status event_new(struct hg_target *t, struct ze_event **out)
{
	ze_event_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_EVENT_DESC, .signal = ZE_EVENT_SCOPE_FLAG_HOST, .wait = ZE_EVENT_SCOPE_FLAG_HOST };
	enum hg_status st = !t->pools || t->pools->nr == ZE_EVENTS ? pool_new(t) : HG_OK;
	struct ze_pool *p = t->pools;
	struct ze_event *e;

	if (st)
		return st;
	e = &p->event[p->nr];
	desc.index = p->nr;
	st = ZE(zeEventCreate, p->handle, &desc, &e->handle);
	if (st)
		return st;
	e->stamp = &p->stamps[p->nr];
	p->nr++;
	*out = e;
	return HG_OK;
}

enum hg_status ze_event_take(struct hg_target *t, struct ze_event **out)
{
	struct ze_event *e;
	enum hg_status st = HG_OK;

	pthread_mutex_lock(&t->events_lock);
	e = t->free_events;
	if (e)
		t->free_events = e->next;
	else
		st = event_new(t, &e);
	pthread_mutex_unlock(&t->events_lock);
	if (st)
		return st;
	atomic_store(&e->refs, 1);
	*out = e;
	return HG_OK;
}

struct ze_event *ze_event_ref(struct ze_event *e)
{
	atomic_fetch_add(&e->refs, 1);
	return e;
}

/* An event that cannot be reset is not used again. */
void ze_event_put(struct hg_target *t, struct ze_event *e)
{
	if (!e || atomic_fetch_sub(&e->refs, 1) != 1 || ZE(zeEventHostReset, e->handle))
		return;
	pthread_mutex_lock(&t->events_lock);
	e->next = t->free_events;
	t->free_events = e;
	pthread_mutex_unlock(&t->events_lock);
}

/* Nothing is to come any more on a device that is lost, and in a process that ends. Where it cannot be told, the work may still use its event. */
bool ze_event_is_done(struct hg_target *t, struct ze_event *e)
{
	switch (ZE_RAW(zeEventQueryStatus, e->handle)) {
	case ZE_RESULT_ERROR_DEVICE_LOST:
		atomic_store(&t->is_lost, true);
		return true;
	case ZE_RESULT_SUCCESS:
	case ZE_RESULT_ERROR_UNINITIALIZED:
		return true;
	default:
		return false;
	}
}

enum hg_status ze_event_wait(struct hg_target *t, struct ze_event *e)
{
	uint64_t began_ns = now_ns();
	enum hg_status st = ZE(zeEventHostSynchronize, e->handle, UINT64_MAX);

	if (st == HG_ERR_FAULT)
		atomic_store(&t->is_lost, true);
	if (st)
		(void)ZE_RAW(zeEventHostSynchronize, e->handle, UINT64_MAX);
	else if (now_ns() - began_ns >= CLOCK_NS)
		date(t, e);
	return st;
}

void ze_events_fini(struct hg_target *t)
{
	struct ze_pool *p;

	for (p = t->pools; p; p = t->pools) {
		bool all = true;

		t->pools = p->next;
		for (uint32_t i = 0; i < p->nr; i++)
			all &= ZE_END(zeEventDestroy, p->event[i].handle);
		if (all)
			ZE_TRY(zeEventPoolDestroy, p->handle);
		ze_own_give(t, p->stamps, ZE_EVENTS * sizeof(*p->stamps), ZE_OWN_HOST);
		free(p);
	}
	t->free_events = NULL;
}

/* ---- marks ---- */

enum hg_status ze_mark_create(struct hg_target *t, struct hg_mark **out)
{
	struct hg_mark *m = calloc(1, sizeof(*m));

	if (!m)
		return HG_ERR_NOMEM;
	m->target = t;
	pthread_mutex_init(&m->lock, NULL);
	*out = m;
	return HG_OK;
}

void ze_mark_destroy(struct hg_mark *m)
{
	if (!m)
		return;
	ze_event_put(m->target, m->event);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* With a reference; NULL: never recorded. */
static struct ze_event *event_of(struct hg_mark *m)
{
	struct ze_event *e;

	pthread_mutex_lock(&m->lock);
	e = m->event ? ze_event_ref(m->event) : NULL;
	pthread_mutex_unlock(&m->lock);
	return e;
}

enum hg_status ze_mark_record(struct hg_queue *q, struct hg_mark *m)
{
	struct ze_event *old, *event;
	struct ze_step s;
	enum hg_status st = ze_begin(q, 0, &s);

	if (st)
		return st;
	event = ze_event_ref(s.work.event);
	event->ref_ticks = ticks_now(q->target);
	st = ze_end(q, &s, ZE(zeCommandListAppendWriteGlobalTimestamp, q->list, event->stamp, s.signal, s.nr_wait, s.wait));
	if (st) {
		ze_event_put(q->target, event);
		return st;
	}
	pthread_mutex_lock(&m->lock);
	old = m->event;
	m->event = event;
	pthread_mutex_unlock(&m->lock);
	ze_event_put(q->target, old);
	return HG_OK;
}

enum hg_status ze_mark_wait(struct hg_queue *q, struct hg_mark *m)
{
	struct ze_event *e = event_of(m);
	struct ze_step s;
	enum hg_status st;

	if (!e)
		return HG_OK;
	st = ze_begin(q, 0, &s);
	if (st)
		goto out;
	/* the work keeps the reference */
	s.work.also = e;
	s.wait[s.nr_wait++] = e->handle;
	st = ze_end(q, &s, ZE(zeCommandListAppendBarrier, q->list, s.signal, s.nr_wait, s.wait));
	return st;
out:
	ze_event_put(q->target, e);
	return st;
}

bool ze_mark_is_done(struct hg_mark *m)
{
	struct ze_event *e = event_of(m);
	bool done;

	if (!e)
		return true;
	done = ze_event_is_done(m->target, e);
	if (!done)
		date(m->target, e);
	ze_event_put(m->target, e);
	if (done)
		ze_look(m->target);
	return done;
}

enum hg_status ze_mark_sync(struct hg_mark *m)
{
	struct ze_event *e = event_of(m);
	enum hg_status st;

	if (!e)
		return HG_OK;
	st = ze_event_wait(m->target, e);
	ze_event_put(m->target, e);
	ze_look(m->target);
	return st;
}

uint64_t ze_mark_time_ns(struct hg_mark *m)
{
	struct hg_target *t = m->target;
	struct ze_event *e = event_of(m);
	uint64_t ns = 0;

	if (!e)
		return 0;
	if (ze_event_is_done(t, e)) {
		pthread_mutex_lock(&t->clock_lock);
		ns = ze_clock_ns(&t->clock, ze_clock_extend(&t->clock, __atomic_load_n(e->stamp, __ATOMIC_RELAXED), e->ref_ticks));
		pthread_mutex_unlock(&t->clock_lock);
	}
	ze_event_put(t, e);
	return ns;
}
