/* test_elsewhere.c - what a thread with descriptors of its own has done by one that shares the program's. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "intercept/elsewhere.h"

struct look {
	int fd;
	bool is_open;
	pthread_t thread;
};

static void look_at(void *arg)
{
	struct look *l = arg;

	l->is_open = fcntl(l->fd, F_GETFD) >= 0;
	l->thread = pthread_self();
}

static void *on_its_own(void *arg)
{
	struct look *l = arg, here = *l;

	if (syscall(SYS_close_range, 3u, ~0u, 2u /* CLOSE_RANGE_UNSHARE */))
		return (char *)"no close_range";
	look_at(&here);
	if (here.is_open)
		return (char *)"the descriptors are still shared";
	if (hg_elsewhere(look_at, l))
		return (char *)"a thread that is not marked was taken for one that is";
	hg_elsewhere_mark();
	for (int i = 0; i < 100; i++) {
		l->is_open = false;
		if (!hg_elsewhere(look_at, l) || !l->is_open)
			return (char *)"the program's descriptor is not there";
	}
	return pthread_equal(l->thread, pthread_self()) ? (char *)"it was this thread" : NULL;
}

Test(elsewhere, has_the_descriptors_of_the_program)
{
	struct look l = { .fd = open("/dev/null", O_RDONLY) };
	pthread_t thread;
	void *problem;

	cr_assert_geq(l.fd, 3);
	hg_elsewhere_start();
	hg_elsewhere_start();
	cr_assert_not(hg_elsewhere(look_at, &l), "this thread shares them");
	cr_assert_eq(pthread_create(&thread, NULL, on_its_own, &l), 0);
	pthread_join(thread, &problem);
	cr_assert_null(problem, "%s", (const char *)problem);
}

Test(elsewhere, is_the_callers_where_it_was_never_started)
{
	struct look l = { .fd = 0 };

	hg_elsewhere_mark();
	cr_assert_not(hg_elsewhere(look_at, &l));
}
