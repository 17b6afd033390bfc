/* test_ze.c - what the Intel target decides by itself, with functions of ours in the place of Level Zero's: they note calls, and do as little. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "replay/gpu_state.h"
#include "replay/reserve.h"
#include "replay/ze.h"

#define HANDLES 4096

static struct hg_target target;
static struct hg_queue queue;
static struct hg_gpu_state state;
static char said[512];

static void keep_line(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	snprintf(said, sizeof(said), "%s", line);
}

/* ---- the clock ---- */

Test(ze_clock, counter_that_wraps_goes_on)
{
	struct ze_clock c;

	ze_clock_init(&c, 19200000, 32, UINT64_C(0xfffffff0), 1000);
	cr_expect_eq(ze_clock_ns(&c, c.ticks), 0);
	ze_clock_update(&c, 0x10, 2000);
	cr_expect_eq(c.ticks, UINT64_C(0x100000010));
	cr_expect_eq(ze_clock_ns(&c, UINT64_C(0xfffffff0) + 19200000), 1000000000);
	/* bits that a driver leaves above the valid ones are not looked at */
	ze_clock_update(&c, UINT64_C(0xabcdef0000000020), 3000);
	cr_expect_eq(c.ticks, UINT64_C(0x100000020));
}

Test(ze_clock, turns_that_nobody_looked_at_are_counted)
{
	const uint64_t hz = 19200000, hours = UINT64_C(5) * 3600;
	struct ze_clock c;

	/* 36 bits wrap after an hour */
	ze_clock_init(&c, hz, 36, 1000, 0);
	ze_clock_update(&c, (1000 + hz * hours) & ((UINT64_C(1) << 36) - 1), hours * 1000000000 + 40000000);
	cr_expect_eq(ze_clock_ns(&c, c.ticks), hours * 1000000000, "%llu", (unsigned long long)c.ticks);
	/* the host's clock is late */
	ze_clock_update(&c, (1000 + hz * 2 * hours) & ((UINT64_C(1) << 36) - 1), 2 * hours * 1000000000 - 40000000);
	cr_expect_eq(ze_clock_ns(&c, c.ticks), 2 * hours * 1000000000);
}

Test(ze_clock, value_is_the_first_after_the_moment_before_it_was_written)
{
	struct ze_clock c;
	uint64_t since;

	ze_clock_init(&c, 1000000000, 32, 1000, 0);
	since = ze_clock_now(&c, UINT64_C(10000000000));	/* two wraps on */
	cr_expect_eq(since, UINT64_C(10000001000));
	cr_expect_eq(ze_clock_extend(&c, (uint32_t)(since + 5000), since), since + 5000);
	/* late by most of a turn */
	cr_expect_eq(ze_clock_extend(&c, (uint32_t)(since + 3500000000u), since), since + 3500000000u);
	/* the estimate was late */
	cr_expect_eq(ze_clock_extend(&c, (uint32_t)(since - 100000), since), since - 100000);
}

Test(ze_clock, counter_of_64_bits_and_odd_frequencies_are_exact)
{
	struct ze_clock c;

	ze_clock_init(&c, 12500000, 64, UINT64_C(1) << 62, 0);
	cr_expect_eq(c.bits, 64);
	cr_expect_eq(ze_clock_extend(&c, (UINT64_C(1) << 62) + 12500000, c.ticks), (UINT64_C(1) << 62) + 12500000);
	cr_expect_eq(ze_clock_ns(&c, (UINT64_C(1) << 62) + UINT64_C(12500000) * 86400 * 365), UINT64_C(86400) * 365 * 1000000000);
	/* what a driver does not say */
	ze_clock_init(&c, 0, 0, 7, 0);
	cr_expect_eq(ze_clock_ns(&c, 7 + 123), 123);
	cr_expect_eq(ze_clock_ns(&c, 3), 0, "before the beginning");
}

/* ---- the ring ---- */

Test(ze_ring, places_never_overlap_and_all_room_comes_back)
{
	struct ze_ring r = { .size = 4096 };
	struct { size_t at, bytes, cost; } live[64];
	unsigned int first = 0, nr = 0, seed = 1;

	for (int i = 0; i < 20000; i++) {
		size_t bytes = 1 + (seed = seed * 1103515245 + 12345) / 65536 % 700, at, cost;

		while (!(cost = ze_ring_take(&r, bytes, &at))) {
			cr_assert_gt(nr, 0, "nothing is taken, and there is no room for %zu bytes", bytes);
			ze_ring_give(&r, live[first].cost);
			first = (first + 1) % 64;
			nr--;
		}
		cr_assert(at % ZE_RING_ALIGN == 0 && at + bytes <= r.size);
		for (unsigned int k = 0; k < nr; k++) {
			size_t other = live[(first + k) % 64].at, end = other + live[(first + k) % 64].bytes;

			cr_assert(at + bytes <= other || at >= end, "%zu+%zu lies in %zu-%zu", at, bytes, other, end);
		}
		if (i % 7 == 0) {
			size_t head = r.head, used = r.used, again;

			/* what was taken last can be undone, and comes again */
			ze_ring_undo(&r, cost);
			cr_assert_eq(ze_ring_take(&r, bytes, &again), cost);
			cr_assert(again == at && r.head == head && r.used == used);
		}
		live[(first + nr) % 64].at = at;
		live[(first + nr) % 64].bytes = bytes;
		live[(first + nr++) % 64].cost = cost;
	}
	while (nr--) {
		ze_ring_give(&r, live[first].cost);
		first = (first + 1) % 64;
	}
	cr_expect_eq(r.used, 0);
}

Test(ze_ring, takes_nothing_that_is_larger_than_it)
{
	struct ze_ring r = { .size = 4096 };
	size_t at, cost;

	cr_expect_eq(ze_ring_take(&r, 4097, &at), 0);
	cr_expect_eq(ze_ring_take(&r, SIZE_MAX, &at), 0);
	cr_expect_eq(ze_ring_take(&r, 0, &at), 0);
	cost = ze_ring_take(&r, 4096, &at);
	cr_expect_eq(cost, 4096);
	cr_expect_eq(ze_ring_take(&r, 1, &at), 0);
	ze_ring_undo(&r, cost);
	cr_expect_eq(ze_ring_take(&r, 4096, &at), 4096);
}

/* ---- events and queues ---- */

static struct { bool is_signalled; unsigned int resets; } event[HANDLES];
static unsigned int nr_events, nr_appends, most_waits;
static bool refuse;
static ze_event_handle_t last_signal, last_wait;

static size_t index_of(ze_event_handle_t e)
{
	return (uintptr_t)e - 1;
}

static ze_result_t pool_create(ze_context_handle_t c, const ze_event_pool_desc_t *d, uint32_t nr, ze_device_handle_t *devices,
			       ze_event_pool_handle_t *out)
{
	(void)c;
	(void)d;
	(void)nr;
	(void)devices;
	*out = (ze_event_pool_handle_t)1;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t event_create(ze_event_pool_handle_t p, const ze_event_desc_t *d, ze_event_handle_t *out)
{
	(void)p;
	(void)d;
	cr_assert_lt(nr_events, HANDLES);
	*out = (ze_event_handle_t)(uintptr_t)++nr_events;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t event_reset(ze_event_handle_t e)
{
	event[index_of(e)].is_signalled = false;
	event[index_of(e)].resets++;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t event_query(ze_event_handle_t e)
{
	return event[index_of(e)].is_signalled ? ZE_RESULT_SUCCESS : ZE_RESULT_NOT_READY;
}

static ze_result_t event_wait(ze_event_handle_t e, uint64_t timeout)
{
	(void)timeout;
	event[index_of(e)].is_signalled = true;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t host_alloc(ze_context_handle_t c, const ze_host_mem_alloc_desc_t *d, size_t size, size_t align, void **out)
{
	(void)c;
	(void)d;
	*out = aligned_alloc(align, (size + align - 1) & -align);
	return *out ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
}

static ze_result_t append(ze_command_list_handle_t list, ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *wait)
{
	(void)list;
	if (refuse)
		return ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY;
	nr_appends++;
	most_waits = nr > most_waits ? nr : most_waits;
	cr_assert_not(event[index_of(signal)].is_signalled, "an event that is signalled stands for work that is not done");
	for (uint32_t i = 0; i < nr; i++)
		cr_assert_neq(wait[i], signal, "work waits for itself");
	last_signal = signal;
	last_wait = nr ? wait[0] : NULL;
	return ZE_RESULT_SUCCESS;
}

/* Criterion has memory at addresses of chance. */
static uint64_t free_arena(void)
{
	for (uint64_t at = 3 * HG_ARENA_SIZE; at < 7 * HG_ARENA_SIZE; at += HG_ARENA_SIZE / 2) {
		void *p = mmap((void *)at, HG_ARENA_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		cr_assert_neq(p, MAP_FAILED);
		munmap(p, HG_ARENA_SIZE);
		if ((uintptr_t)p == at)
			return at;
	}
	cr_assert_fail("the process has no room for an arena");
	return 0;
}

static void begin(void)
{
	hg_ze.zeEventPoolCreate = pool_create;
	hg_ze.zeEventCreate = event_create;
	hg_ze.zeEventHostReset = event_reset;
	hg_ze.zeEventQueryStatus = event_query;
	hg_ze.zeEventHostSynchronize = event_wait;
	hg_ze.zeMemAllocHost = host_alloc;
	hg_ze.zeCommandListAppendBarrier = append;
	gpu_memory_init(&target.memory);
	gpu_target_init(&target.gpu, ze_list_is_idle);
	pthread_mutex_init(&target.map_lock, NULL);
	pthread_mutex_init(&target.events_lock, NULL);
	pthread_mutex_init(&queue.lock, NULL);
	queue.target = &target;
	queue.gpu.target = &target.gpu;
	queue.gpu.queue = &queue;
	queue.gpu.state = &state;
	target.arena = free_arena();
	hg_msg_sink_set(keep_line, NULL);
}

static void work(size_t args)
{
	struct ze_step s;

	cr_assert_eq(ze_begin(&queue, args, &s), HG_OK);
	if (args)
		memset(s.args, 1, args);
	cr_assert_eq(ze_end(&queue, &s, ZE(zeCommandListAppendBarrier, queue.list, s.signal, s.nr_wait, s.wait)), HG_OK);
}

Test(ze_queue, each_piece_waits_for_the_one_before_until_that_is_done)
{
	ze_event_handle_t first;

	begin();
	work(0);
	cr_expect_null(last_wait);
	first = last_signal;
	work(0);
	cr_expect_eq(last_wait, first);
	event[index_of(first)].is_signalled = true;
	first = last_signal;
	work(0);
	cr_expect_eq(last_wait, first, "the one before is not done");
	event[index_of(last_signal)].is_signalled = true;
	cr_expect(ze_list_is_idle(&queue));
	work(0);
	cr_expect_null(last_wait);
}

Test(ze_queue, events_come_back_and_none_is_reset_before_its_work_is_done)
{
	begin();
	for (int i = 0; i < 10000; i++) {
		work(100);
		if (i % 50 == 49)
			event[index_of(last_signal)].is_signalled = true;
	}
	cr_expect_leq(nr_events, 2 * ZE_EVENTS, "%u events", nr_events);
	cr_expect_leq(most_waits, 1);
	ze_queue_throttle(&queue, 3);
	cr_expect_leq(queue.issued - queue.known, 3);
	ze_queue_throttle(&queue, 0);
	cr_expect_eq(queue.issued, queue.known);
	cr_expect_eq(queue.ring.used, 0);
}

Test(ze_queue, full_ring_of_arguments_is_not_waited_for)
{
	begin();
	for (int i = 0; i < 300; i++)
		work(4096);
	cr_expect_eq(nr_appends, 300);
	cr_expect_not_null(queue.pending[299 & (queue.room - 1)].own);
	ze_queue_throttle(&queue, 0);
	cr_expect_eq(queue.ring.used, 0);
	cr_expect_not_null(target.memory.spare, "what was taken besides is kept for the next");
}

Test(ze_queue, work_that_is_refused_leaves_nothing)
{
	struct ze_step s;

	begin();
	work(64);
	refuse = true;
	cr_assert_eq(ze_begin(&queue, 64, &s), HG_OK);
	cr_assert_eq(ze_end(&queue, &s, ZE(zeCommandListAppendBarrier, queue.list, s.signal, s.nr_wait, s.wait)), HG_ERR_NOMEM);
	cr_expect(strstr(said, "for cuStreamWaitEvent: ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY (0x70000003)"), "said: %s", said);
	cr_expect_eq(queue.issued, 1);
	cr_expect_eq(queue.ring.used, 64);
	refuse = false;
	work(64);
	ze_queue_throttle(&queue, 0);
	cr_expect_eq(queue.ring.used, 0);
	cr_expect_leq(nr_events, 3);
}

static unsigned int nr_asked;

/* Work ends while events are asked for, one after the other. */
static ze_result_t query_done_from_the_second_on(ze_event_handle_t e)
{
	(void)e;
	return ++nr_asked < 2 ? ZE_RESULT_NOT_READY : ZE_RESULT_SUCCESS;
}

Test(ze_queue, work_that_ends_while_it_is_looked_at_is_known_once)
{
	begin();
	for (int i = 0; i < 3; i++)
		work(0);
	hg_ze.zeEventQueryStatus = query_done_from_the_second_on;
	nr_asked = 0;
	cr_assert(ze_list_is_idle(&queue));
	cr_expect_eq(queue.known, 3);
	cr_expect_eq(nr_asked, 4, "asked %u times", nr_asked);
}

static ze_command_queue_priority_t created;

static ze_result_t list_create(ze_context_handle_t c, ze_device_handle_t d, const ze_command_queue_desc_t *desc, ze_command_list_handle_t *out)
{
	(void)c;
	(void)d;
	created = desc->priority;
	*out = (ze_command_list_handle_t)1;
	return ZE_RESULT_SUCCESS;
}

/* CUDA's least is 0, and lower numbers come first. */
Test(ze_queue, priorities_go_the_way_of_cuda)
{
	struct hg_queue *q;

	begin();
	hg_ze.zeCommandListCreateImmediate = list_create;
	cr_assert_eq(ze_queue_create(&target, 0, &q), HG_OK);
	cr_expect_eq(created, ZE_COMMAND_QUEUE_PRIORITY_NORMAL);
	cr_assert_eq(ze_queue_create(&target, -1, &q), HG_OK);
	cr_expect_eq(created, ZE_COMMAND_QUEUE_PRIORITY_PRIORITY_HIGH);
}

Test(ze_queue, lost_device_is_a_failure_of_the_queue)
{
	struct hg_fault fault;
	struct ze_step s;

	begin();
	gpu_queue_remember(&queue.gpu, 300, "first");
	gpu_queue_remember(&queue.gpu, 301, "second");
	queue.gpu.note = calloc(1, sizeof(*queue.gpu.note));
	cr_assert_eq(ze_begin(&queue, 0, &s), HG_OK);
	cr_expect_eq(ze_end(&queue, &s, HG_ERR_FAULT), HG_ERR_FAULT);
	cr_assert(ze_fault(&target, &fault));
	cr_expect(strstr(fault.what, "device is lost; the last kernel of its stream was 'second'"), "said: %s", fault.what);
	cr_expect(gpu_queue_drops(&queue.gpu));
}

static ze_result_t event_query_lost(ze_event_handle_t e)
{
	(void)e;
	return ZE_RESULT_ERROR_DEVICE_LOST;
}

/* Nothing is left to wait for, and what was queued has not been done. */
Test(ze_queue, device_that_is_lost_meanwhile_is_no_success)
{
	struct hg_fault fault;

	begin();
	queue.gpu.note = calloc(1, sizeof(*queue.gpu.note));
	gpu_queue_list(&queue.gpu);
	work(0);
	hg_ze.zeEventQueryStatus = event_query_lost;
	cr_expect_eq(ze_queue_sync(&queue), HG_ERR_FAULT);
	cr_assert(ze_fault(&target, &fault));
	cr_expect(strstr(fault.what, "device is lost"), "said: %s", fault.what);
}

static ze_result_t timestamp(ze_command_list_handle_t list, uint64_t *at, ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *wait)
{
	(void)at;
	return append(list, signal, nr, wait);
}

static ze_result_t timestamps(ze_device_handle_t d, uint64_t *host, uint64_t *device)
{
	(void)d;
	*host = *device = 0;
	return ZE_RESULT_SUCCESS;
}

Test(ze_queue, mark_of_a_lost_device_is_a_failure_of_all_queues)
{
	struct hg_fault fault;
	struct hg_mark *m;

	begin();
	hg_ze.zeCommandListAppendWriteGlobalTimestamp = timestamp;
	hg_ze.zeDeviceGetGlobalTimestamps = timestamps;
	pthread_mutex_init(&target.clock_lock, NULL);
	queue.gpu.note = calloc(1, sizeof(*queue.gpu.note));
	gpu_queue_list(&queue.gpu);
	cr_assert_eq(ze_clock_read(&target, 1000, 64), HG_OK);
	cr_assert_eq(ze_mark_create(&target, &m), HG_OK);
	cr_assert_eq(ze_mark_record(&queue, m), HG_OK);
	cr_expect_not(ze_mark_is_done(m));
	hg_ze.zeEventQueryStatus = event_query_lost;
	cr_expect(ze_mark_is_done(m), "nobody waits for it for ever");
	cr_assert(ze_fault(&target, &fault));
	cr_expect(gpu_queue_drops(&queue.gpu));
	ze_mark_destroy(m);
}

static uint64_t microseconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t *stamp;

static ze_result_t timestamp_later(ze_command_list_handle_t list, uint64_t *at, ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *wait)
{
	stamp = at;
	return append(list, signal, nr, wait);
}

static ze_result_t timestamps_now(ze_device_handle_t d, uint64_t *host, uint64_t *device)
{
	(void)d;
	*host = *device = microseconds();
	return ZE_RESULT_SUCCESS;
}

/* The counter, of 19 bits, has turned once since the mark was recorded. */
Test(ze_queue, mark_that_the_device_comes_to_late_has_its_own_time)
{
	struct hg_mark *m;
	uint64_t ns;

	begin();
	hg_ze.zeCommandListAppendWriteGlobalTimestamp = timestamp_later;
	hg_ze.zeDeviceGetGlobalTimestamps = timestamps_now;
	pthread_mutex_init(&target.clock_lock, NULL);
	cr_assert_eq(ze_clock_read(&target, 1000000, 19), HG_OK);
	cr_assert_eq(ze_mark_create(&target, &m), HG_OK);
	cr_assert_eq(ze_mark_record(&queue, m), HG_OK);
	usleep(650000);
	cr_expect_not(ze_mark_is_done(m));
	*stamp = microseconds() & ((1 << 19) - 1);
	event[index_of(last_signal)].is_signalled = true;
	cr_expect(ze_mark_is_done(m));
	ns = ze_mark_time_ns(m);
	cr_expect(ns > 640000000 && ns < 1500000000, "%llu ns", (unsigned long long)ns);
	ze_mark_destroy(m);
}

/* ---- functions of the host ---- */

static unsigned int nr_signals, nr_called;

static ze_result_t signal_at_second_try(ze_event_handle_t e)
{
	if (!nr_signals++)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	event[index_of(e)].is_signalled = true;
	return ZE_RESULT_SUCCESS;
}

static void called(void *arg)
{
	(void)arg;
	nr_called++;
}

Test(ze_queue, work_behind_a_host_function_goes_on_where_its_end_cannot_be_told_at_once)
{
	begin();
	hg_ze.zeEventHostSignal = signal_at_second_try;
	cr_assert_eq(ze_host_func(&queue, called, NULL), HG_OK);
	ze_host_stop(&queue);
	cr_expect_eq(nr_called, 1);
	cr_expect(ze_list_is_idle(&queue));
}

/* ---- marks ---- */

static uint64_t ticks_at_mark;	/* what the device's counter is when a mark is reached */

static ze_result_t write_stamp(ze_command_list_handle_t list, uint64_t *at, ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *wait)
{
	ze_result_t r = append(list, signal, nr, wait);

	if (!r) {
		*at = ticks_at_mark;
		event[index_of(signal)].is_signalled = true;
	}
	return r;
}

Test(ze_mark, time_between_marks_is_right_when_the_counter_wraps_between_them)
{
	struct hg_mark *first, *second, *none;
	struct timespec now;

	begin();
	hg_ze.zeCommandListAppendWriteGlobalTimestamp = write_stamp;
	pthread_mutex_init(&target.clock_lock, NULL);
	clock_gettime(CLOCK_MONOTONIC, &now);
	ze_clock_init(&target.clock, 12500000, 32, UINT64_C(0xfffffff0), (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	cr_assert(!ze_mark_create(&target, &first) && !ze_mark_create(&target, &second) && !ze_mark_create(&target, &none));
	ticks_at_mark = UINT64_C(0xfffffff8);
	cr_assert_eq(ze_mark_record(&queue, first), HG_OK);
	ticks_at_mark = 0x8;
	cr_assert_eq(ze_mark_record(&queue, second), HG_OK);
	cr_expect_eq(ze_mark_time_ns(second) - ze_mark_time_ns(first), 16 * 80, "%llu and %llu ns", (unsigned long long)ze_mark_time_ns(first),
		     (unsigned long long)ze_mark_time_ns(second));
	cr_expect_eq(ze_mark_time_ns(none), 0);
	ze_mark_destroy(first);
	ze_mark_destroy(second);
	ze_mark_destroy(none);
	cr_expect_leq(nr_events, 3);
	/* they are free again, but those of the queue's last work */
	ze_queue_throttle(&queue, 0);
	for (uint32_t i = 0; i < nr_events; i++)
		cr_expect_eq(event[i].resets, 1, "event %u", i);
}

static void count_run(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static ze_result_t event_signal(ze_event_handle_t e)
{
	event[index_of(e)].is_signalled = true;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t device_status(ze_device_handle_t d)
{
	(void)d;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t append_copy(ze_command_list_handle_t list, void *dst, const void *src, size_t size, ze_event_handle_t signal, uint32_t nr,
			       ze_event_handle_t *wait)
{
	(void)dst;
	(void)src;
	(void)size;
	return append(list, signal, nr, wait);
}

/* Whoever looks at work or waits for it, all in turn. */
Test(ze_event, references_are_given_back_by_all_who_take_them)
{
	static struct hg_queue other;
	static atomic_uint runs;
	struct hg_mark *m;

	begin();
	hg_ze.zeCommandListAppendWriteGlobalTimestamp = write_stamp;
	hg_ze.zeCommandListAppendMemoryCopy = append_copy;
	hg_ze.zeEventHostSignal = event_signal;
	hg_ze.zeDeviceGetStatus = device_status;
	pthread_mutex_init(&target.clock_lock, NULL);
	hg_ze.zeDeviceGetGlobalTimestamps = timestamps;
	ze_clock_init(&target.clock, 12500000, 64, 0, 0);
	pthread_mutex_init(&other.lock, NULL);
	other.target = &target;
	for (int i = 0; i < 2; i++) {
		struct hg_queue *q = i ? &other : &queue;

		cr_assert_eq(gpu_queue_init(&q->gpu, &target.gpu, q, calloc(1, hg_gpu_state_bytes()), hg_gpu_state_bytes()), HG_OK);
	}
	cr_assert_eq(ze_mark_create(&target, &m), HG_OK);
	for (unsigned int i = 0; i < 2 * ZE_EVENTS; i++) {
		work(64);
		cr_assert_eq(ze_mark_record(&queue, m), HG_OK);
		cr_assert_eq(ze_mark_wait(&other, m), HG_OK);
		cr_assert(ze_mark_is_done(m));
		cr_assert_eq(ze_mark_sync(m), HG_OK);
		(void)ze_mark_time_ns(m);
		work(0);
		cr_assert_not(ze_queue_is_idle(&queue));
		cr_assert_eq(ze_upload(&queue, NULL, &runs, sizeof(runs)), HG_OK);
		cr_assert_eq(ze_host_func(&queue, count_run, &runs), HG_OK);
		ze_host_stop(&queue);
		cr_assert_eq(ze_queue_sync(&queue), HG_OK);
		cr_assert_eq(ze_queue_sync(&other), HG_OK);
	}
	ze_mark_destroy(m);
	cr_expect_eq(runs, 2 * ZE_EVENTS);
	cr_expect_leq(nr_events, 16, "%u events", nr_events);
	cr_expect_eq(queue.ring.used, 0);
}

/* ---- addresses ---- */

static unsigned int nr_reserves, nr_frees;

/* As compute-runtime: a hint, 2 MiB more than asked for, multiples of 2 MiB. */
static ze_result_t reserve(ze_context_handle_t c, const void *hint, size_t size, void **out)
{
	size_t all = ((size + HG_ARENA_GRANULE - 1) & -HG_ARENA_GRANULE) + HG_ARENA_GRANULE;
	void *p = mmap((void *)(uintptr_t)hint, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)c;
	nr_reserves++;
	if (p == MAP_FAILED)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	*out = (void *)(((uintptr_t)p + HG_ARENA_GRANULE - 1) & -HG_ARENA_GRANULE);
	return ZE_RESULT_SUCCESS;
}

static ze_result_t unreserve(ze_context_handle_t c, const void *at, size_t size)
{
	(void)c;
	nr_frees++;
	munmap((void *)(uintptr_t)at, ((size + HG_ARENA_GRANULE - 1) & -HG_ARENA_GRANULE) + HG_ARENA_GRANULE);
	return ZE_RESULT_SUCCESS;
}

static struct hg_held hold(uint64_t start, uint64_t size)
{
	void *p = mmap((void *)start, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	cr_assert_eq((uintptr_t)p, start);
	return (struct hg_held){ start, start + size };
}

static size_t largest_page;

static ze_result_t page_size(ze_context_handle_t c, ze_device_handle_t d, size_t size, size_t *out)
{
	(void)c;
	(void)d;
	*out = size >= largest_page ? largest_page : 65536;
	return ZE_RESULT_SUCCESS;
}

Test(ze_memory, unit_of_mappings_is_the_largest_page_there_is)
{
	begin();
	hg_ze.zeVirtualMemQueryPageSize = page_size;
	largest_page = HG_ARENA_GRANULE;
	cr_assert_eq(ze_unit_read(&target), HG_OK);
	cr_expect_eq(target.unit, HG_ARENA_GRANULE);
	cr_expect_eq(ze_map_unit(), HG_ARENA_GRANULE);
	largest_page = 2 * HG_ARENA_GRANULE;
	cr_expect_eq(ze_unit_read(&target), HG_ERR_UNAVAILABLE);
	cr_expect(strstr(said, "in units of 4194304 bytes"), "said: %s", said);
	cr_expect_eq(target.unit, HG_ARENA_GRANULE);
}

Test(ze_memory, ranges_side_by_side_outside_the_arena_are_taken_each)
{
	const uint64_t unit = HG_ARENA_GRANULE, base = UINT64_C(0x3a0000000000);
	struct hg_held range[3];
	struct hg_iv iv;

	begin();
	hg_ze.zeVirtualMemReserve = reserve;
	hg_ze.zeVirtualMemFree = unreserve;
	range[0] = hold(base, 2 * unit);
	range[1] = hold(base + 3 * unit, unit);
	range[2] = hold(base + 5 * unit, 4 * unit);
	cr_assert_eq(ze_reserve(&target, range, 3), HG_OK, "said: %s", said);
	for (int i = 0; i < 3; i++) {
		cr_assert(hg_ivmap_find(&target.reserved, range[i].start, &iv));
		cr_expect_geq(iv.start + iv.size, range[i].end);
	}
}

/* All of the arena, of which it maps the beginning alone: the process itself may have something in 16 TiB, as the harness's memory lies where chance puts it. */
static ze_result_t reserve_as_wanted(ze_context_handle_t c, const void *hint, size_t size, void **out)
{
	(void)c;
	(void)size;
	nr_reserves++;
	*out = (void *)(uintptr_t)hold((uintptr_t)hint, 2 * HG_ARENA_GRANULE).start;
	return ZE_RESULT_SUCCESS;
}

Test(ze_memory, arena_is_one_reservation)
{
	const uint64_t unit = HG_ARENA_GRANULE;
	struct hg_held range[2];
	struct hg_iv iv;

	begin();
	hg_ze.zeVirtualMemReserve = reserve_as_wanted;
	range[0] = hold(target.arena, 2 * unit);
	range[1] = hold(target.arena + 64 * unit, unit);
	cr_assert_eq(ze_reserve(&target, range, 2), HG_OK, "said: %s", said);
	cr_assert(hg_ivmap_find(&target.reserved, target.arena + (UINT64_C(1) << 40), &iv));
	cr_expect_eq(nr_reserves, 1);
	cr_expect_eq(iv.size, HG_ARENA_SIZE - unit);
	/* what it keeps is left alone */
	cr_assert_eq(ze_reserve(&target, range, 2), HG_OK, "said: %s", said);
	cr_expect_eq(mmap((void *)range[0].start, unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0), MAP_FAILED);
}

static void is_reserved(uint64_t addr)
{
	struct hg_iv iv;

	cr_expect(hg_ivmap_find(&target.reserved, addr, &iv), "0x%llx", (unsigned long long)addr);
}

static ze_result_t physical(ze_context_handle_t c, ze_device_handle_t d, ze_physical_mem_desc_t *desc, ze_physical_mem_handle_t *out)
{
	(void)c;
	(void)d;
	(void)desc;
	*out = (ze_physical_mem_handle_t)1;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t map(ze_context_handle_t c, const void *at, size_t size, ze_physical_mem_handle_t m, size_t offset,
		       ze_memory_access_attribute_t access)
{
	(void)c;
	(void)m;
	cr_expect(size && !offset && access == ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE);
	is_reserved((uintptr_t)at);
	return ZE_RESULT_SUCCESS;
}

static struct hg_held zeroed;		/* by the last fill */

static ze_result_t append_fill(ze_command_list_handle_t list, void *at, const void *pattern, size_t n, size_t size, ze_event_handle_t signal,
			       uint32_t nr, ze_event_handle_t *wait)
{
	zeroed = (struct hg_held){ (uintptr_t)at, (uintptr_t)at + size };
	cr_expect(n == 4 && !memcmp(pattern, "\0\0\0", 4));
	return append(list, signal, nr, wait);
}

Test(ze_memory, arena_that_is_not_free_gives_what_is_free_in_it)
{
	const uint64_t unit = HG_ARENA_GRANULE;
	hg_dptr at;

	begin();
	hg_ze.zeVirtualMemReserve = reserve;
	hg_ze.zeVirtualMemFree = unreserve;
	hg_ze.zePhysicalMemCreate = physical;
	hg_ze.zeVirtualMemMap = map;
	hg_ze.zeCommandListAppendMemoryFill = append_fill;
	pthread_mutex_init(&target.service_lock, NULL);
	target.service = &queue;
	target.unit = unit;
	hold(target.arena + 64 * unit, unit);
	for (uint64_t i = 60; i < 80; i++)
		if (i < 63 || i > 64) {	/* 63: the driver wants what is behind it as well */
			cr_expect_eq(ze_map(&target, target.arena + i * unit, unit, false, &at), HG_OK, "%llu: %s", (unsigned long long)i, said);
			cr_expect(zeroed.start == at && zeroed.end == at + unit, "new memory is as it was");
			cr_expect(event[index_of(last_signal)].is_signalled, "it may be used before it is zero");
		}
}

Test(ze_memory, addresses_that_are_in_use_are_refused_with_what_is_there)
{
	const uint64_t unit = HG_ARENA_GRANULE, base = UINT64_C(0x3b0000000000);
	struct hg_held held;
	hg_dptr at;

	begin();
	hg_ze.zeVirtualMemReserve = reserve;
	hg_ze.zeVirtualMemFree = unreserve;
	target.unit = unit;
	held = hold(base + unit, unit);
	cr_expect_eq(ze_map(&target, base, 2 * unit, false, &at), HG_ERR_NOSPC);
	cr_expect(strstr(said, "instead of 0x3b0000000000-0x3b0000400000, where"), "said: %s", said);
	cr_expect(strstr(said, "3b0000200000-3b0000400000"), "said: %s", said);
	cr_expect_eq(nr_frees, nr_reserves, "what was had elsewhere is given back");
	munmap((void *)held.start, unit);
}

/* ---- memory of the host ---- */

static unsigned int nr_imports, nr_releases;
static uint64_t imported;

static ze_result_t import(ze_context_handle_t c, const ze_host_mem_alloc_desc_t *d, size_t size, size_t align, void **out)
{
	struct { ze_structure_type_t stype; const void *next; void *memory; uint64_t size; } ext;

	(void)c;
	(void)align;
	cr_assert(d->pNext);
	memcpy(&ext, d->pNext, sizeof(ext));
	cr_expect_eq((int)ext.stype, 0x20037);
	cr_expect(ext.size == size && size % 4096 == 0 && (uintptr_t)ext.memory % 4096 == 0);
	nr_imports++;
	imported += size;
	*out = ext.memory;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t release(ze_context_handle_t c, void *p)
{
	(void)c;
	(void)p;
	nr_releases++;
	return ZE_RESULT_SUCCESS;
}

Test(ze_memory, registered_memory_that_shares_a_page_is_imported_once)
{
	unsigned char *mem = (unsigned char *)0x10000000;
	uint64_t len;

	begin();
	hg_ze.zeMemAllocHost = import;
	hg_ze.zeMemFree = release;
	target.has_memmap = true;
	cr_assert_eq(ze_host_register(&target, mem + 100, 5000), HG_OK);	/* pages 0, 1 */
	cr_assert_eq(ze_host_register(&target, mem + 6000, 5000), HG_OK);	/* 1, 2 */
	cr_expect_eq(imported, 3 * 4096, "%llu bytes", (unsigned long long)imported);
	cr_expect_eq(gpu_memory_look(&target.memory, (uintptr_t)mem + 200, 100, &len), GPU_PINNED);
	ze_host_unregister(&target, mem + 100, 5000);
	cr_expect_eq(nr_releases, 0, "the page in common is still wanted");
	ze_host_unregister(&target, mem + 6000, 5000);
	cr_expect_eq(nr_releases, nr_imports);
	cr_expect_eq(gpu_memory_look(&target.memory, (uintptr_t)mem + 200, 100, &len), GPU_PAGEABLE);
}

static ze_result_t import_elsewhere(ze_context_handle_t c, const ze_host_mem_alloc_desc_t *d, size_t size, size_t align, void **out)
{
	ze_result_t r = import(c, d, size, align, out);

	*out = (char *)*out + 4096;
	return r;
}

Test(ze_memory, import_at_another_address_is_refused_and_given_back)
{
	unsigned char *mem = (unsigned char *)0x10000000;

	begin();
	hg_ze.zeMemAllocHost = import_elsewhere;
	hg_ze.zeMemFree = release;
	target.has_memmap = true;
	cr_expect_eq(ze_host_register(&target, mem, 4096), HG_ERR_UNSUPPORTED);
	cr_expect(strstr(said, "host memory at 0x10000000 lie at 0x10001000"), "said: %s", said);
	cr_expect(nr_imports == 1 && nr_releases == 1);
}

Test(ze_memory, host_memory_that_kernels_cannot_reach_is_refused_by_name)
{
	begin();
	snprintf(target.info.name, sizeof(target.info.name), "a GPU");
	cr_expect_eq(ze_host_register(&target, &target, 100), HG_ERR_UNSUPPORTED);
	cr_expect(strstr(said, "'a GPU'") && strstr(said, "ZE_extension_external_memmap_sysmem"), "said: %s", said);
}

/* Nothing is imported, and fills and copies may name it. */
Test(ze_memory, host_memory_that_the_device_reaches_anyhow_is_known)
{
	unsigned char *mem = (unsigned char *)0x10000000;
	uint64_t len;

	begin();
	target.info.host_access = true;
	cr_assert_eq(ze_host_register(&target, mem, 8192), HG_OK);
	cr_expect_eq(gpu_memory_look(&target.memory, (uintptr_t)mem + 200, 100, &len), GPU_PINNED);
	ze_host_unregister(&target, mem, 8192);
	cr_expect_eq(gpu_memory_look(&target.memory, (uintptr_t)mem + 200, 100, &len), GPU_PAGEABLE);
}
