/* ze_host.c - functions of the host in the order of a queue: Level Zero has none, so that a thread waits for an event and signals another. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/ze.h"

struct call {
	struct call *next;
	void (*fn)(void *arg);
	void *arg;
	struct ze_event *before, *after;	/* waited for (NULL: nothing is), and signalled */
};

struct ze_host {
	struct hg_target *target;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct call *first, **end;
	bool is_ending;
	int error;			/* of pthread_create */
};

/* After an error of the device the function runs as well: whoever queued it waits for it. */
static void run(struct hg_target *t, struct call *c)
{
	if (c->before && ze_event_wait(t, c->before))
		pr_debug("a host function runs after work that failed");
	c->fn(c->arg);
	/* what waits for it would wait for ever: once more */
	if (ZE(zeEventHostSignal, c->after->handle))
		ZE_TRY(zeEventHostSignal, c->after->handle);
	ze_event_put(t, c->before);
	ze_event_put(t, c->after);
	free(c);
}

static void *host_main(void *arg)
{
	struct ze_host *h = arg;
	struct call *c;

	pthread_setname_np(pthread_self(), "hgshim-host");
	pthread_mutex_lock(&h->lock);
	for (;;) {
		while (!h->first && !h->is_ending)
			pthread_cond_wait(&h->changed, &h->lock);
		c = h->first;
		if (!c)
			break;
		h->first = c->next;
		if (!h->first)
			h->end = &h->first;
		pthread_mutex_unlock(&h->lock);
		run(h->target, c);
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* The program's signals are not for this thread. */
static void start_thread(void *arg)
{
	struct ze_host *h = arg;
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	h->error = pthread_create(&h->thread, NULL, host_main, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static enum hg_status host_start(struct hg_queue *q)
{
	struct ze_host *h = q->host ? q->host : calloc(1, sizeof(*h));

	if (q->host)
		return HG_OK;
	if (!h)
		return HG_ERR_NOMEM;
	h->target = q->target;
	h->end = &h->first;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	/* a thread shares the descriptors of the one that makes it */
	if (!hg_target_elsewhere || !hg_target_elsewhere(start_thread, h))
		start_thread(h);
	if (h->error) {
		pr_err("cannot start a thread for functions of the host: %s", strerror(h->error));
		pthread_cond_destroy(&h->changed);
		pthread_mutex_destroy(&h->lock);
		free(h);
		return HG_ERR_NOMEM;
	}
	q->host = h;
	return HG_OK;
}

void ze_host_stop(struct hg_queue *q)
{
	struct ze_host *h = q->host;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->is_ending = true;
	pthread_cond_signal(&h->changed);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
	q->host = NULL;
}

/* Nothing is appended: the function's event takes its place among those that work waits for. */
enum hg_status ze_host_func(struct hg_queue *q, void (*fn)(void *arg), void *arg)
{
	enum hg_status st = host_start(q);
	struct ze_step s;
	struct call *c;

	if (st)
		return st;
	c = malloc(sizeof(*c));
	if (!c)
		return HG_ERR_NOMEM;
	*c = (struct call){ .fn = fn, .arg = arg, .before = ze_queue_last(q) };
	st = ze_begin(q, 0, &s);
	if (st)
		goto err_free;
	c->after = ze_event_ref(s.work.event);
	st = ze_end(q, &s, HG_OK);
	if (st)
		goto err_after;
	pthread_mutex_lock(&q->host->lock);
	*q->host->end = c;
	q->host->end = &c->next;
	pthread_cond_signal(&q->host->changed);
	pthread_mutex_unlock(&q->host->lock);
	return HG_OK;

err_after:
	ze_event_put(q->target, c->after);
err_free:
	ze_event_put(q->target, c->before);
	free(c);
	return st;
}
