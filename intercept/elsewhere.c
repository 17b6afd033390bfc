/* elsewhere.c - a thread that shares the program's descriptors, for those of hgshim that have their own. */
#define _GNU_SOURCE
#include "intercept/elsewhere.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "common/msg.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static void (*work)(void *arg);		/* NULL: there is nothing to do */
static void *work_arg;
static bool is_started;
static __thread bool is_marked __attribute__((tls_model("initial-exec")));

static void *elsewhere_main(void *unused)
{
	(void)unused;
	pthread_setname_np(pthread_self(), "hgshim-files");
	pthread_mutex_lock(&lock);
	for (;;) {
		while (!work)
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
		work(work_arg);
		pthread_mutex_lock(&lock);
		work = NULL;
		pthread_cond_broadcast(&changed);
	}
	return NULL;
}

void hg_elsewhere_start(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int err;

	if (is_started)
		return;
	/* the program's signals are not for this thread */
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&thread, &attr, elsewhere_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	is_started = !err;
	if (err)
		pr_warn("cannot start a thread for calls of a vendor's runtime: %s; checkpoints may fail", strerror(err));
}

void hg_elsewhere_mark(void)
{
	is_marked = true;
}

bool hg_elsewhere(void (*fn)(void *arg), void *arg)
{
	if (!is_marked || !is_started)
		return false;
	pthread_mutex_lock(&lock);
	while (work)
		pthread_cond_wait(&changed, &lock);
	work = fn;
	work_arg = arg;
	pthread_cond_broadcast(&changed);
	while (work)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return true;
}
