/* test_target.c - the targets' operations, the CPU's in particular. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "replay/target.h"

#define BASE (HG_ARENA_BASE + (UINT64_C(1) << 40))

static struct hg_target *open_cpu(void)
{
	struct hg_target *t;

	cr_assert_eq(hg_target_cpu.open(&t), HG_OK);
	return t;
}

static struct hg_queue *new_queue(struct hg_target *t)
{
	struct hg_queue *q;

	cr_assert_eq(hg_target_cpu.queue_create(t, 0, &q), HG_OK);
	return q;
}

Test(target, every_target_fills_in_every_operation)
{
	for (const struct hg_target_ops *const *t = hg_targets; *t; t++) {
		/* all members are pointers: name, then operations */
		void *const *member = (void *const *)*t;

		for (size_t i = 0; i < sizeof(**t) / sizeof(*member); i++)
			cr_assert(member[i], "target '%s' lacks operation %zu", (*t)->name, i);
	}
}

Test(target, names_are_those_of_the_targets)
{
	size_t n = 0;

	for (; hg_targets[n]; n++) {
		cr_expect_str_eq(hg_target_names[n], hg_targets[n]->name);
		cr_expect(hg_target_is_named(hg_targets[n]->name));
		cr_expect_not(hg_target_is_planned(hg_targets[n]->name));
	}
	cr_expect_null(hg_target_names[n]);
	cr_expect_not(hg_target_is_named("cuda"));
	cr_expect(hg_target_is_planned("cuda"));
	cr_expect_not(hg_target_is_named(""));
}

Test(target, is_found_by_its_name_and_by_no_other)
{
	cr_assert_eq(hg_target_by_name("cpu"), &hg_target_cpu);
	cr_assert_eq(hg_target_by_name("rocm"), &hg_target_rocm);
	cr_assert_eq(hg_target_by_name("level-zero"), &hg_target_ze);
	cr_assert_null(hg_target_by_name("cp"));
	cr_assert_null(hg_target_by_name(""));
}

Test(target_cpu, maps_memory_exactly_where_it_is_wanted_and_zeroed)
{
	struct hg_target *t = open_cpu();
	hg_dptr at;

	cr_assert_eq(hg_target_cpu.map(t, BASE, 2 * HG_ARENA_GRANULE, false, &at), HG_OK);
	cr_assert_eq(at, BASE);
	for (size_t i = 0; i < 4096; i++)
		cr_assert_eq(((unsigned char *)BASE)[i], 0);
	hg_target_cpu.unmap(t, BASE, 2 * HG_ARENA_GRANULE);
	hg_target_cpu.close(t);
}

Test(target_cpu, does_not_map_over_what_is_there)
{
	struct hg_target *t = open_cpu();
	unsigned char *there = mmap((void *)BASE, 4096, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	hg_dptr at = 0;

	cr_assert_eq(there, (void *)BASE);
	there[0] = 42;
	cr_assert_eq(hg_target_cpu.map(t, BASE, HG_ARENA_GRANULE, false, &at), HG_ERR_NOSPC);
	cr_assert_eq(at, 0, "an out-parameter was written on failure");
	cr_assert_eq(there[0], 42);
	hg_target_cpu.close(t);
}

Test(target_cpu, takes_the_place_of_what_holds_the_addresses)
{
	struct hg_target *t = open_cpu();
	void *there = mmap((void *)BASE, HG_ARENA_GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	hg_dptr at = 0;

	cr_assert_eq(there, (void *)BASE);
	cr_assert_eq(hg_target_cpu.map(t, BASE, HG_ARENA_GRANULE, true, &at), HG_OK);
	cr_assert_eq(at, BASE);
	((unsigned char *)BASE)[5] = 42;
	hg_target_cpu.unmap(t, BASE, HG_ARENA_GRANULE);
	hg_target_cpu.close(t);
}

struct order {
	pthread_mutex_t lock;
	int next, seen[64];
};

struct step {
	struct order *order;
	int number;
	unsigned int sleep_us;
};

static void take_step(void *arg)
{
	struct step *s = arg;

	if (s->sleep_us)
		nanosleep(&(struct timespec){ .tv_nsec = s->sleep_us * 1000 }, NULL);
	pthread_mutex_lock(&s->order->lock);
	s->order->seen[s->order->next++] = s->number;
	pthread_mutex_unlock(&s->order->lock);
}

Test(target_cpu, queue_runs_its_work_in_order)
{
	struct hg_target *t = open_cpu();
	struct hg_queue *q = new_queue(t);
	struct order order = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct step step[32];

	for (int i = 0; i < 32; i++) {
		step[i] = (struct step){ &order, i, i % 4 ? 0 : 300 };
		cr_assert_eq(hg_target_cpu.host_func(q, take_step, &step[i]), HG_OK);
	}
	cr_assert_eq(hg_target_cpu.queue_sync(q), HG_OK);
	cr_assert(hg_target_cpu.queue_is_idle(q));
	cr_assert_eq(order.next, 32);
	for (int i = 0; i < 32; i++)
		cr_assert_eq(order.seen[i], i);
	hg_target_cpu.queue_destroy(q);
	hg_target_cpu.close(t);
}

Test(target_cpu, small_copy_does_not_overtake_what_was_queued_before)
{
	struct hg_target *t = open_cpu();
	struct hg_queue *q = new_queue(t);
	struct order order = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct step slow = { &order, 7, 20000 };
	int seen_by_copy = -1;
	struct hg_copy c = {
		.dst = (uintptr_t)&seen_by_copy, .src = (uintptr_t)&order.seen[0], .width = sizeof(int), .height = 1,
		.depth = 1, .dst_pitch = sizeof(int), .src_pitch = sizeof(int),
	};

	cr_assert_eq(hg_target_cpu.host_func(q, take_step, &slow), HG_OK);
	cr_assert_eq(hg_target_cpu.copy(q, &c), HG_OK);
	cr_assert_eq(hg_target_cpu.queue_sync(q), HG_OK);
	cr_assert_eq(seen_by_copy, 7);
	hg_target_cpu.queue_destroy(q);
	hg_target_cpu.close(t);
}

static void wait_for_door(void *arg)
{
	atomic_bool *open = arg;

	while (!*open)
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

Test(target_cpu, queue_waits_for_the_recording_that_was_the_last_when_it_was_told_to)
{
	struct hg_target *t = open_cpu();
	struct hg_queue *a = new_queue(t), *b = new_queue(t);
	struct order order = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct step first = { &order, 1, 10000 }, second = { &order, 2, 0 }, third = { &order, 3, 0 };
	atomic_bool door = false;
	struct hg_mark *mark;

	cr_assert_eq(hg_target_cpu.mark_create(t, &mark), HG_OK);
	cr_assert(hg_target_cpu.mark_is_done(mark), "a mark never recorded is done");
	cr_assert_eq(hg_target_cpu.host_func(a, take_step, &first), HG_OK);
	cr_assert_eq(hg_target_cpu.mark_record(a, mark), HG_OK);
	cr_assert_eq(hg_target_cpu.mark_wait(b, mark), HG_OK);
	cr_assert_eq(hg_target_cpu.host_func(b, take_step, &second), HG_OK);
	/* recorded again: b does not wait for this one */
	cr_assert_eq(hg_target_cpu.host_func(a, wait_for_door, &door), HG_OK);
	cr_assert_eq(hg_target_cpu.host_func(a, take_step, &third), HG_OK);
	cr_assert_eq(hg_target_cpu.mark_record(a, mark), HG_OK);
	cr_assert_eq(hg_target_cpu.queue_sync(b), HG_OK);
	cr_assert_eq(order.next, 2);
	cr_assert_eq(order.seen[0], 1);
	cr_assert_eq(order.seen[1], 2);
	door = true;
	cr_assert_eq(hg_target_cpu.mark_sync(mark), HG_OK);
	cr_assert_eq(order.next, 3);
	/* a mark may go while it is pending */
	cr_assert_eq(hg_target_cpu.host_func(a, take_step, &first), HG_OK);
	cr_assert_eq(hg_target_cpu.mark_record(a, mark), HG_OK);
	hg_target_cpu.mark_destroy(mark);
	hg_target_cpu.queue_destroy(a);
	hg_target_cpu.queue_destroy(b);
	hg_target_cpu.close(t);
}

Test(target_cpu, marks_carry_times_that_grow)
{
	struct hg_target *t = open_cpu();
	struct hg_queue *q = new_queue(t);
	struct order order = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct step slow = { &order, 0, 5000 };
	struct hg_mark *a, *b;

	cr_assert_eq(hg_target_cpu.mark_create(t, &a), HG_OK);
	cr_assert_eq(hg_target_cpu.mark_create(t, &b), HG_OK);
	cr_assert_eq(hg_target_cpu.mark_record(q, a), HG_OK);
	cr_assert_eq(hg_target_cpu.host_func(q, take_step, &slow), HG_OK);
	cr_assert_eq(hg_target_cpu.mark_record(q, b), HG_OK);
	cr_assert_eq(hg_target_cpu.mark_sync(b), HG_OK);
	cr_assert_geq(hg_target_cpu.mark_time_ns(b) - hg_target_cpu.mark_time_ns(a), 5000000u);
	hg_target_cpu.mark_destroy(a);
	hg_target_cpu.mark_destroy(b);
	hg_target_cpu.queue_destroy(q);
	hg_target_cpu.close(t);
}
