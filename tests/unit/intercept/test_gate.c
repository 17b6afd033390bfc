/* test_gate.c - the gate: calls pass while it is open, and none is inside while it is closed. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "intercept/gate.h"

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static void setup(void)
{
	hg_gate_init();
	hg_gate_open();
}

static bool enter(struct hg_thread **t, bool *nested)
{
	return hg_gate_enter(t, nested);
}

Test(gate, lets_nobody_in_before_it_was_opened)
{
	struct hg_thread *t;
	bool nested;

	cr_expect_not(enter(&t, &nested));
	hg_gate_init();
	cr_expect_not(enter(&t, &nested), "initialised is not yet open");
	hg_gate_open();
	cr_assert(enter(&t, &nested));
	cr_expect_not(nested);
	hg_gate_leave(t, nested);
}

Test(gate, lets_nobody_in_after_the_end, .init = setup)
{
	struct hg_thread *t;
	bool nested;

	hg_gate_end();
	cr_expect_not(enter(&t, &nested));
	cr_expect(hg_gate_is_idle(0));
}

Test(gate, close_waits_for_who_is_inside_and_then_gives_up, .init = setup)
{
	struct hg_thread *t;
	bool nested;

	/* the closing thread itself stands for another one: its state is one among the others */
	cr_assert(enter(&t, &nested));
	cr_expect_not(hg_gate_close(30));
	hg_gate_leave(t, nested);
	/* it opened again */
	cr_assert(enter(&t, &nested));
	hg_gate_leave(t, nested);
	cr_expect(hg_gate_close(1000));
	hg_gate_open();
}

static atomic_int progress;

static void *one_call(void *arg)
{
	struct hg_thread *t;
	bool nested;

	(void)arg;
	progress = 1;
	if (!enter(&t, &nested))
		return NULL;
	progress = 2;
	hg_gate_leave(t, nested);
	return arg;
}

Test(gate, a_closed_gate_holds_a_call_until_it_opens, .init = setup)
{
	pthread_t thread;
	void *passed;

	cr_assert(hg_gate_close(1000));
	pthread_create(&thread, NULL, one_call, &progress);
	while (progress != 1)
		sleep_ms(1);
	sleep_ms(50);
	cr_expect_eq(progress, 1, "it passed a closed gate");
	hg_gate_open();
	pthread_join(thread, &passed);
	cr_expect_eq(progress, 2);
	cr_expect_not_null(passed);
}

Test(gate, the_end_lets_go_who_waits, .init = setup)
{
	pthread_t thread;
	void *passed;

	cr_assert(hg_gate_close(1000));
	pthread_create(&thread, NULL, one_call, &progress);
	while (progress != 1)
		sleep_ms(1);
	hg_gate_end();
	pthread_join(thread, &passed);
	cr_expect_null(passed);
}

Test(gate, a_nested_call_does_not_wait, .init = setup)
{
	struct hg_thread *t, *t2;
	bool nested, nested2;

	cr_assert(enter(&t, &nested));
	atomic_store(&hg_gate.word, HG_GATE_CLOSED);
	cr_assert(enter(&t2, &nested2));
	cr_expect(nested2);
	cr_expect_eq(t, t2);
	hg_gate_leave(t2, nested2);
	cr_expect_eq(atomic_load(&t->inside), 1, "the outer call is still inside");
	hg_gate_leave(t, nested);
	cr_expect_eq(atomic_load(&t->inside), 0);
}

static void *callback_thread(void *arg)
{
	struct hg_thread *t;
	bool nested;

	hg_callback_enter();
	if (enter(&t, &nested)) {
		progress = 3;
		hg_gate_leave(t, nested);
	}
	hg_callback_leave();
	return arg;
}

Test(gate, a_call_inside_a_callback_does_not_wait, .init = setup)
{
	pthread_t thread;

	cr_assert(hg_gate_close(1000));
	pthread_create(&thread, NULL, callback_thread, NULL);
	pthread_join(thread, NULL);
	cr_expect_eq(progress, 3);
	hg_gate_open();
}

/* What the gate is for. Each thread makes a pair of counters differ while inside; plain ones, so that TSan looks. */
#define NR_THREADS 8
static struct { long a, b; char pad[112]; } pair[NR_THREADS];
static atomic_bool stop;

static void *many_calls(void *arg)
{
	long i = (long)(intptr_t)arg;
	struct hg_thread *t;
	bool nested;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		if (!enter(&t, &nested))
			return NULL;
		pair[i].a++;
		atomic_signal_fence(memory_order_seq_cst);
		pair[i].b++;
		hg_gate_leave(t, nested);
	}
	return arg;
}

static void close_often(int times)
{
	pthread_t thread[NR_THREADS];
	int closed = 0;

	for (long i = 0; i < NR_THREADS; i++)
		pthread_create(&thread[i], NULL, many_calls, (void *)(intptr_t)i);
	for (int n = 0; n < times; n++) {
		long before[NR_THREADS];

		if (!hg_gate_close(5000))
			continue;
		closed++;
		for (int i = 0; i < NR_THREADS; i++) {
			before[i] = pair[i].a;
			cr_assert_eq(before[i], pair[i].b, "a thread is inside a closed gate");
		}
		if (n % 16 == 0)
			sleep_ms(1);
		for (int i = 0; i < NR_THREADS; i++)
			cr_assert_eq(before[i], pair[i].a, "a thread got into a closed gate");
		hg_gate_open();
		if (n % 8 == 0)
			sleep_ms(1);
	}
	stop = true;
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(thread[i], NULL);
	cr_expect_eq(closed, times);
}

Test(gate, nobody_is_inside_a_closed_gate, .init = setup, .timeout = 60)
{
	close_often(400);
}

static void setup_without_membarrier(void)
{
	setenv("HGSHIM_FAULT", "gate.membarrier", 1);
	setup();
	cr_assert_eq(atomic_load(&hg_gate.word), HG_GATE_FENCED);
}

Test(gate, nobody_is_inside_a_closed_gate_without_membarrier, .init = setup_without_membarrier, .timeout = 60)
{
	close_often(400);
}

Test(gate, what_a_checkpoint_does_at_exit_does_not_open_it_again, .init = setup)
{
	struct hg_thread *t;
	bool nested;

	cr_assert(hg_gate_close(1000));
	hg_gate_end();
	hg_gate_open();
	cr_expect_not(enter(&t, &nested));
	cr_expect_not(hg_gate_close(10));
	cr_expect_not(enter(&t, &nested));
}

static void *thread_after_thread(void *arg)
{
	return one_call(arg);
}

Test(gate, state_of_ended_threads_is_used_again, .init = setup)
{
	struct hg_thread *first = NULL;
	pthread_t thread;

	for (int i = 0; i < 2000; i++) {
		pthread_create(&thread, NULL, thread_after_thread, NULL);
		pthread_join(thread, NULL);
	}
	first = hg_thread_self();
	cr_assert_not_null(first);
	cr_expect(hg_gate_close(1000), "an ended thread counts as inside");
	hg_gate_open();
}

Test(gate, is_shut_in_a_forked_child, .init = setup)
{
	struct hg_thread *t;
	bool nested;
	int status;
	pid_t pid;

	cr_assert(enter(&t, &nested));
	hg_gate_leave(t, nested);
	pid = fork();
	if (!pid)
		_exit(enter(&t, &nested) ? 1 : 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0, "the child got in");
	cr_expect(enter(&t, &nested), "the parent is unharmed");
	hg_gate_leave(t, nested);
}

/* ---- a thread that is stopped anywhere, for as long as a move takes ---- */

static atomic_uint driver;		/* counts the moves */
static __thread unsigned int my_driver;
static __thread bool is_inside;
static atomic_bool in_handler, may_go;
static atomic_uint nr_late;

static void adopt(struct hg_thread *t)
{
	(void)t;
	my_driver = atomic_load(&driver);
}

static void stay(int sig)
{
	(void)sig;
	/* a thread that is inside is waited for: nothing can move under it */
	if (is_inside)
		return;
	atomic_store(&in_handler, true);
	while (!atomic_load(&may_go))
		sched_yield();
	atomic_store(&in_handler, false);
}

static void *calls_until_stopped(void *arg)
{
	struct hg_thread *t;
	bool nested;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		if (!enter(&t, &nested))
			return NULL;
		is_inside = true;
		progress = 1;
		atomic_signal_fence(memory_order_seq_cst);
		if (my_driver != atomic_load(&driver))
			atomic_fetch_add(&nr_late, 1);
		my_driver = atomic_load(&driver);
		atomic_signal_fence(memory_order_seq_cst);
		is_inside = false;
		hg_gate_leave(t, nested);
	}
	return arg;
}

Test(gate, a_thread_stopped_on_its_way_in_sees_that_it_has_moved, .init = setup, .timeout = 60)
{
	struct sigaction sa = { .sa_handler = stay };
	const time_t end = time(NULL) + 10;
	unsigned int nr_moves = 0;
	pthread_t thread;

	cr_assert_eq(sigaction(SIGUSR1, &sa, NULL), 0);
	cr_assert_eq(pthread_create(&thread, NULL, calls_until_stopped, &sa), 0);
	/* only then it is one of those that can move */
	while (progress != 1)
		sched_yield();
	while (nr_moves < 200 && time(NULL) < end) {
		atomic_store(&may_go, false);
		pthread_kill(thread, SIGUSR1);
		for (int n = 0; n < 20 && !atomic_load(&in_handler); n++)
			sched_yield();
		if (atomic_load(&in_handler) && hg_gate_close(0)) {
			atomic_fetch_add(&driver, 1);
			hg_gate_moved(adopt);
			hg_gate_open();
			nr_moves++;
		}
		atomic_store(&may_go, true);
		while (atomic_load(&in_handler))
			sched_yield();
	}
	stop = true;
	pthread_join(thread, NULL);
	cr_expect_gt(nr_moves, 0);
	cr_expect_eq(nr_late, 0, "%u of %u moves were not seen", nr_late, nr_moves);
}
