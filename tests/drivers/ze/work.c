/* work.c - commands that were given to the device: when they begin, who runs them, and when they have ended. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "tests/drivers/ze/ze.h"

/*
 * Commands of a queue or an immediate list begin in their order, each when its events are signalled, and what has begun runs together: no
 * command waits for the end of another one but by an event or behind a barrier. In every other queue or list a command that waits for its events
 * does not even hold up those behind it, as the specification allows. Threads take what has begun; they rest for a time
 * of chance before it, so that what relies on luck is found.
 */
struct zd_work {
	struct zd_work *next;		/* in its stream */
	struct zd_work *next_ready;
	struct zd_stream *stream;
	struct zd_cmd *cmd;		/* a reference */
	struct zd_object *list;		/* that it is used by; NULL: the stream's owner alone */
	bool has_begun;
	uint64_t start_ns;
};

#define MAX_WORKERS 64

pthread_mutex_t zd_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress;			/* some work has ended, or an event was signalled; of CLOCK_MONOTONIC */
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static struct zd_stream *streams;
static uint64_t nr_streams;			/* that there ever were */
static struct zd_work *ready, **ready_end = &ready;
static unsigned int nr_ready, nr_idle, nr_workers, busy;
static bool is_shut_down;			/* at exit: nothing begins any more */

__attribute__((constructor)) static void set_up(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&progress, &attr);
	pthread_condattr_destroy(&attr);
}

/* ---- commands ---- */

struct zd_cmd *zd_cmd_new(enum zd_op op)
{
	struct zd_cmd *c = calloc(1, sizeof(*c));

	if (c) {
		c->op = op;
		atomic_init(&c->refs, 1);
	}
	return c;
}

void zd_cmd_put(struct zd_cmd *c)
{
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	if (c->signal)
		fake_put(&c->signal->obj.base);
	if (c->event)
		fake_put(&c->event->obj.base);
	for (uint32_t i = 0; i < c->nr_waits; i++)
		fake_put(&c->wait[i]->obj.base);
	if (c->op == ZD_OP_LAUNCH)
		zd_launch_free(&c->launch);
	if (c->op == ZD_OP_FENCE && c->fence)
		fake_put(&c->fence->obj.base);
	free(c->wait);
	free(c);
}

static void count_use(struct zd_object *o, int by)
{
	if (o)
		atomic_fetch_add(&o->uses, (unsigned int)by);
}

/* While it is queued or runs, nothing of it may end. */
static void count_uses(const struct zd_work *w, int by)
{
	const struct zd_cmd *c = w->cmd;

	count_use(w->stream->owner, by);
	count_use(w->list, by);
	count_use(c->signal ? &c->signal->obj : NULL, by);
	count_use(c->event ? &c->event->obj : NULL, by);
	for (uint32_t i = 0; i < c->nr_waits; i++)
		count_use(&c->wait[i]->obj, by);
	if (c->op == ZD_OP_LAUNCH)
		count_use((struct zd_object *)c->launch.kernel, by);
	if (c->op == ZD_OP_FENCE)
		count_use(&c->fence->obj, by);
}

/* ---- order ---- */

static bool waits_for_all(const struct zd_cmd *c)
{
	return c->op == ZD_OP_FENCE || (c->op == ZD_OP_BARRIER && !c->nr_waits);
}

static bool may_begin(const struct zd_work *w)
{
	const struct zd_cmd *c = w->cmd;

	for (uint32_t i = 0; i < c->nr_waits; i++)
		if (!c->wait[i]->is_signalled)
			return false;
	return !waits_for_all(c) || (!w->stream->running && w->stream->first == w);
}

static bool is_done_by_thread(enum zd_op op)
{
	return op == ZD_OP_COPY || op == ZD_OP_FILL || op == ZD_OP_LAUNCH || op == ZD_OP_TIME;
}

static void signal_event(struct zd_event *e, uint64_t start_ns)
{
	if (e->is_signalled)
		(void)zd_misuse(ZE_RESULT_ERROR_INVALID_SYNCHRONIZATION_OBJECT, "a command signals event %p, which is signalled: it was not reset",
				(void *)e);
	e->is_signalled = true;
	e->start_ns = start_ns;
	e->end_ns = fake_now_ns();
}

/* Its place in the stream is free; what it held is put by the caller, without the lock. */
static void finish(struct zd_work *w)
{
	struct zd_stream *s = w->stream;
	struct zd_cmd *c = w->cmd;

	if (c->op == ZD_OP_SIGNAL)
		signal_event(c->event, fake_now_ns());
	else if (c->op == ZD_OP_RESET)
		c->event->is_signalled = false;
	else if (c->op == ZD_OP_FENCE)
		c->fence->is_signalled = true;
	if (c->signal)
		signal_event(c->signal, w->start_ns);
	for (struct zd_work **at = &s->first; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			if (s->last == &w->next)
				s->last = at;
			break;
		}
	count_uses(w, -1);
	pthread_cond_broadcast(&progress);
}

static void *worker(void *arg);

static void make_ready(struct zd_work *w)
{
	w->next_ready = NULL;
	*ready_end = w;
	ready_end = &w->next_ready;
	w->stream->running++;
	if (++nr_ready > nr_idle && nr_workers < MAX_WORKERS) {
		if (fake_thread_start(worker, NULL))
			nr_workers++;
		else if (!nr_workers)
			pr_err("no thread can be started: the device stands still");
	}
	pthread_cond_signal(&more);
}

/* What has ended at once is kept for later, as its end takes other locks. */
static struct zd_work *over;

static bool begin_of(struct zd_stream *s)
{
	bool any = false;

	for (struct zd_work *w = s->first, *next; w; w = next) {
		next = w->next;
		if (w->has_begun)
			continue;
		if (!may_begin(w)) {
			if (!s->goes_ahead || !is_done_by_thread(w->cmd->op))
				break;
			continue;
		}
		w->has_begun = any = true;
		w->start_ns = fake_now_ns();
		if (is_done_by_thread(w->cmd->op)) {
			make_ready(w);
			continue;
		}
		finish(w);
		w->next = over;
		over = w;
	}
	return any;
}

static void pump(void)
{
	bool any;

	if (is_shut_down)
		return;
	do {
		any = false;
		for (struct zd_stream *s = streams; s; s = s->next)
			any |= begin_of(s);
	} while (any);
}

static void put_work(struct zd_work *w)
{
	zd_cmd_put(w->cmd);
	fake_put(&w->stream->owner->base);
	if (w->list)
		fake_put(&w->list->base);
	free(w);
}

/* Gives up the lock. */
static void unlock_and_put(void)
{
	struct zd_work *w = over, *next;

	over = NULL;
	pthread_mutex_unlock(&zd_lock);
	for (; w; w = next) {
		next = w->next;
		put_work(w);
	}
}

/* ---- threads ---- */

/* After a fault nothing of the device runs; what others wait for still ends. */
static void run(struct zd_work *w)
{
	const struct zd_cmd *c = w->cmd;

	if (zd_device_lost(w->stream->device) != ZE_RESULT_SUCCESS)
		return;
	if (c->op == ZD_OP_COPY)
		zd_copy_run(&c->copy);
	else if (c->op == ZD_OP_FILL)
		zd_fill_run(&c->fill);
	else if (c->op == ZD_OP_LAUNCH)
		zd_launch_run(w->stream->device, &c->launch);
	else
		*c->time = zd_ticks(fake_now_ns(), ZD_TIMER_BITS);
}

static void *worker(void *arg)
{
	static uint64_t number;
	bool is_device = false;
	uint64_t random;

	(void)arg;
	pthread_setname_np(pthread_self(), "fake-level-zero");
	pthread_mutex_lock(&zd_lock);
	random = fake_random_seed(zd_config.seed + ++number);
	for (;;) {
		struct zd_work *w = ready;

		if (is_device && (!w || is_shut_down)) {
			is_device = false;
			pthread_mutex_unlock(&zd_lock);
			fake_device_end();
			pthread_mutex_lock(&zd_lock);
			continue;
		}
		if (is_shut_down) {
			pthread_mutex_unlock(&zd_lock);
			for (;;)
				pause();
		}
		if (!w) {
			nr_idle++;
			pthread_cond_wait(&more, &zd_lock);
			nr_idle--;
			continue;
		}
		ready = w->next_ready;
		if (!ready)
			ready_end = &ready;
		nr_ready--;
		busy++;
		pthread_mutex_unlock(&zd_lock);
		fake_rest(&random, zd_config.delay_us);
		if (!is_device) {
			fake_device_begin();
			is_device = true;
		}
		run(w);
		pthread_mutex_lock(&zd_lock);
		busy--;
		w->stream->running--;
		finish(w);
		w->next = over;
		over = w;
		pump();
		unlock_and_put();
		pthread_mutex_lock(&zd_lock);
	}
	return NULL;
}

/* A kernel may run for ever: then the process ends without it. */
void zd_shutdown(void)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 2;
	pthread_mutex_lock(&zd_lock);
	is_shut_down = true;
	while (busy && !pthread_cond_timedwait(&progress, &zd_lock, &end))
		;
	pthread_cond_broadcast(&progress);
	pthread_cond_broadcast(&more);
	pthread_mutex_unlock(&zd_lock);
}

/* ---- streams ---- */

void zd_stream_open(struct zd_stream *s, struct zd_object *owner, struct zd_device *device)
{
	s->owner = owner;
	s->device = device;
	s->last = &s->first;
	pthread_mutex_lock(&zd_lock);
	s->goes_ahead = (nr_streams++ + zd_config.seed) % 2;
	s->next = streams;
	streams = s;
	pthread_mutex_unlock(&zd_lock);
}

void zd_stream_close(struct zd_stream *s)
{
	pthread_mutex_lock(&zd_lock);
	for (struct zd_stream **at = &streams; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	pthread_mutex_unlock(&zd_lock);
}

bool zd_submit_locked(struct zd_stream *s, struct zd_cmd *c, struct zd_object *list)
{
	struct zd_work *w = calloc(1, sizeof(*w));

	if (!w)
		return false;
	w->stream = s;
	w->cmd = c;
	w->list = list;
	atomic_fetch_add(&c->refs, 1);
	fake_ref(&s->owner->base);
	if (list)
		fake_ref(&list->base);
	count_uses(w, 1);
	*s->last = w;
	s->last = &w->next;
	return true;
}

bool zd_submit(struct zd_stream *s, struct zd_cmd *c)
{
	bool ok;

	pthread_mutex_lock(&zd_lock);
	ok = zd_submit_locked(s, c, NULL);
	pump();
	unlock_and_put();
	return ok;
}

/* Something was given, or an event was signalled, outside of here. */
void zd_flush(void)
{
	pthread_mutex_lock(&zd_lock);
	pump();
	pthread_cond_broadcast(&progress);
	unlock_and_put();
}

bool zd_is_idle(const struct zd_stream *s)
{
	return !s->first;
}

/* ---- waiting ---- */

ze_result_t zd_wait(bool (*is_done)(const void *arg), const void *arg, uint64_t timeout)
{
	ze_result_t r = ZE_RESULT_SUCCESS;
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	if (timeout > (uint64_t)1000000000 * 1000000000)
		timeout = UINT64_MAX;
	end.tv_sec += (time_t)(timeout / 1000000000);
	end.tv_nsec += (long)(timeout % 1000000000);
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	while (r == ZE_RESULT_SUCCESS && !is_done(arg)) {
		if (is_shut_down)
			r = ZE_RESULT_ERROR_UNINITIALIZED;
		else if (!timeout)
			r = ZE_RESULT_NOT_READY;
		else if (timeout == UINT64_MAX)
			pthread_cond_wait(&progress, &zd_lock);
		else if (pthread_cond_timedwait(&progress, &zd_lock, &end))
			r = is_done(arg) ? ZE_RESULT_SUCCESS : ZE_RESULT_NOT_READY;
	}
	return r;
}

static bool overlaps(uint64_t start, uint64_t size, uint64_t with, uint64_t bytes)
{
	return start < with + bytes && with < start + size;
}

static bool uses(const struct zd_cmd *c, uint64_t start, uint64_t size)
{
	const struct zd_copy *copy = &c->copy;

	switch (c->op) {
	case ZD_OP_COPY:
		return overlaps(start, size, copy->dst, zd_copy_extent(copy, copy->dst_pitch, copy->dst_slice)) ||
			overlaps(start, size, copy->src, zd_copy_extent(copy, copy->src_pitch, copy->src_slice));
	case ZD_OP_FILL:
		return overlaps(start, size, c->fill.dst, c->fill.size);
	case ZD_OP_TIME:
		return overlaps(start, size, (uint64_t)(uintptr_t)c->time, sizeof(*c->time));
	case ZD_OP_LAUNCH:
		return zd_launch_uses(&c->launch, start, size);
	default:
		return false;
	}
}

bool zd_is_used(uint64_t start, uint64_t size)
{
	bool is = false;

	pthread_mutex_lock(&zd_lock);
	for (const struct zd_stream *s = streams; s && !is; s = s->next)
		for (const struct zd_work *w = s->first; w && !is; w = w->next)
			is = uses(w->cmd, start, size);
	pthread_mutex_unlock(&zd_lock);
	return is;
}
