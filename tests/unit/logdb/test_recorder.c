/* test_recorder.c - from threads through the ring into LMDB, and what happens to a recorder in the wild. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/recorder_impl.h"
#include "logdb/words.h"
#include "tests/unit/logdb/helper.h"

Test(recorder, what_is_recorded_is_read_back_in_order)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	uint64_t ctx = test_ctx(r), mem = test_alloc(r, ctx, 0x200000000000, 4096);
	const struct test_calls *c;
	struct hg_log_info info;
	struct hg_log *log;

	cr_assert_eq(ctx, HG_ID_FIRST);
	cr_assert_eq(mem, ctx + 1);
	for (uint64_t i = 0; i < 100; i++)
		cr_assert_eq(test_launch(r, ctx, 0, i), mem + 1 + i);
	hg_recorder_stop(r);

	log = test_open(dir);
	c = test_calls(log);
	cr_assert_eq(c->nr, 102);
	for (size_t i = 0; i < c->nr; i++)
		cr_assert_eq(c->seq[i], HG_ID_FIRST + i);
	hg_log_info(log, &info);
	cr_assert(!info.live);
	cr_assert(!info.snapshots_only);
	cr_assert_eq(info.nr_records, 102);
	cr_assert_eq(info.nr_recovered, 0);
	cr_assert_eq(info.pid, (uint32_t)getpid());
	cr_assert_str_eq(info.executor, "cpu");
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

static enum hg_status count_in_range(const struct hg_rec_view *v, void *arg)
{
	uint64_t *n = arg;

	n[0]++;
	n[1] = n[1] ? n[1] : v->rec->seq;
	n[2] = v->rec->seq;
	return HG_OK;
}

Test(recorder, a_range_of_records_is_found_across_blocks)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct hg_log *log;

	for (uint64_t i = 0; i < 5000; i++)
		test_launch(r, 0, 0, i);
	hg_recorder_stop(r);
	log = test_open(dir);
	for (uint64_t first = 10; first < 5000; first += 487) {
		uint64_t n[3] = { 0 }, from = first < HG_ID_FIRST ? HG_ID_FIRST : first;

		cr_assert_eq(hg_log_calls(log, first, first + 99, count_in_range, n), HG_OK);
		cr_assert_eq(n[1], from);
		cr_assert_eq(n[2], first + 99);
		cr_assert_eq(n[0], first + 100 - from);
	}
	hg_log_close(log);
}

#define THREADS 8
#define PER_THREAD 10000

static struct hg_recorder *shared;

static void *many(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	for (int i = 0; i < PER_THREAD; i++) {
		/* a call that takes its number first, and sometimes none comes of it */
		if (rand_r(&seed) % 50 == 0) {
			uint64_t seq = hg_recorder_seq(shared);

			cr_assert(seq);
			if (rand_r(&seed) & 1)
				sched_yield();
			hg_recorder_cancel(shared);
		} else {
			cr_assert(test_launch(shared, 0, 0, (uint64_t)i));
		}
	}
	return NULL;
}

static void all_threads_in_order(void)
{
	const char *dir = test_dir();
	const struct test_calls *c;
	pthread_t t[THREADS];
	struct hg_log *log;

	shared = test_start(dir);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, many, (void *)(i + 1));
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	hg_recorder_stop(shared);
	log = test_open(dir);
	c = test_calls(log);
	cr_assert_eq(c->nr, THREADS * PER_THREAD);
	for (size_t i = 0; i < c->nr; i++)
		cr_assert_eq(c->seq[i], HG_ID_FIRST + i);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(recorder, records_of_many_threads_are_stored_in_one_order, .timeout = 120)
{
	all_threads_in_order();
}

Test(recorder, threads_without_a_lane_of_their_own_share_one, .timeout = 120)
{
	setenv("HGSHIM_RING", "16384:2", 1);
	all_threads_in_order();
}

static void *one_launch(void *arg)
{
	(void)arg;
	test_launch(shared, 0, 0, 1);
	return (void *)(uintptr_t)hg_recorder_thread(shared);
}

Test(recorder, a_thread_that_ends_gives_its_lane_back, .timeout = 60)
{
	const char *dir = test_dir();
	const struct test_calls *c;
	struct hg_log *log;

	setenv("HGSHIM_RING", "4096:2", 1);
	shared = test_start(dir);
	/* more threads than there are slots at all */
	for (uintptr_t i = 1; i <= 1500; i++) {
		pthread_t t;
		void *serial;

		pthread_create(&t, NULL, one_launch, NULL);
		pthread_join(t, &serial);
		cr_assert_eq((uintptr_t)serial, i);
	}
	hg_recorder_stop(shared);
	log = test_open(dir);
	c = test_calls(log);
	cr_assert_eq(c->nr, 1500);
	hg_log_close(log);
}

static void *hold_a_number(void *arg)
{
	atomic_int *step = arg;
	uint64_t seq = hg_recorder_seq(shared);
	struct hg_rec *rec;

	atomic_store(step, 1);
	while (atomic_load(step) != 2)
		usleep(1000);
	rec = hg_recorder_begin(shared, hg_call_by_id(HG_ID_cuCtxSynchronize), seq, 0, 0);
	cr_assert_not_null(rec);
	hg_recorder_commit(shared, rec);
	return (void *)(uintptr_t)seq;
}

Test(recorder, a_call_that_takes_long_holds_nobody_up, .timeout = 60)
{
	const char *dir = test_dir();
	const struct test_calls *c;
	atomic_int step = 0;
	struct hg_log *log;
	pthread_t t;

	setenv("HGSHIM_RING", "16384:4", 1);
	shared = test_start(dir);
	pthread_create(&t, NULL, hold_a_number, &step);
	while (!atomic_load(&step))
		usleep(1000);
	/* many times the lane, while the first number is still out */
	for (uint64_t i = 0; i < 5000; i++)
		cr_assert(test_launch(shared, 0, 0, i), "launch %" PRIu64 " was dropped", i);
	atomic_store(&step, 2);
	pthread_join(t, NULL);
	hg_recorder_stop(shared);
	log = test_open(dir);
	c = test_calls(log);
	cr_assert_eq(c->nr, 5001);
	cr_assert_eq(c->call[0], HG_ID_cuCtxSynchronize);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(recorder, launches_that_find_no_room_leave_a_marked_gap, .timeout = 60)
{
	const char *dir = test_dir();
	struct hg_log_info info;
	struct hg_log *log;
	struct hg_recorder *r;
	uint64_t dropped = 0, gaps = 0;
	const struct test_calls *c;

	setenv("HGSHIM_RING", "4096:1", 1);
	setenv("HGSHIM_FAULT", "store.stall", 1);
	r = test_start(dir);
	for (uint64_t i = 0; i < 500; i++)
		dropped += !test_launch(r, 0, 0, i);
	/* what makes objects waits instead */
	cr_assert(test_alloc(r, 0, 0x200000000000, 64));
	hg_recorder_stop(r);
	cr_assert_gt(dropped, 0);

	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert_eq(info.nr_dropped, dropped);
	cr_assert(info.snapshots_only);
	cr_assert_not_null(strstr(info.snapshots_only_why, "dropped"));
	c = test_calls(log);
	for (size_t i = 0; i < c->nr; i++)
		gaps += c->call[i] == HG_REC_GAP;
	cr_assert_gt(gaps, 0);
	cr_assert_eq(c->call[c->nr - 1], HG_ID_cuMemAlloc_v2);
	/* the holes are marked: that is not damage */
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

struct killed {
	const char *dir;
	atomic_uint_fast64_t *committed;
	bool payload;
};

static void *record_for_ever(void *arg)
{
	struct killed *k = arg;
	static unsigned char data[200000];

	for (uint64_t i = 0;; i++) {
		uint64_t seq;

		if (k->payload && i % 8 == 0) {
			memset(data, (int)i, sizeof(data));
			seq = test_h2d(shared, 0, 0x200000000000, data, sizeof(data) - i % 1000);
		} else {
			seq = test_launch(shared, 0, 0, i);
		}
		/* one thread alone: what it committed must be there afterwards; a machine under load may drop launches */
		if (k->committed && seq)
			atomic_store(k->committed, seq);
	}
	return NULL;
}

static void record_until_killed(void *arg)
{
	struct killed *k = arg;

	shared = test_start(k->dir);
	record_for_ever(k);
}

/* Kills a recording child after some milliseconds; *last: the number of its last record. */
static void kill_a_child(struct killed *k, unsigned int ms, uint64_t *last)
{
	k->committed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();

	if (!pid) {
		record_until_killed(k);
		_exit(0);
	}
	while (!atomic_load(k->committed))
		usleep(100);
	usleep(ms * 1000);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	*last = atomic_load(k->committed);
}

Test(recorder, a_killed_process_loses_no_committed_record, .timeout = 120)
{
	for (unsigned int round = 0; round < 12; round++) {
		const char *dir = test_dir();
		struct killed k = { .dir = dir };
		const struct test_calls *c;
		struct hg_log_info info;
		struct hg_log *log;
		uint64_t last, first;

		kill_a_child(&k, round * 3, &last);
		log = test_open(dir);
		hg_log_info(log, &info);
		cr_assert(!info.live);
		cr_assert_geq(info.last_seq, last, "%" PRIu64 " of %" PRIu64, info.last_seq, last);
		cr_assert(!info.snapshots_only || info.nr_dropped, "%s", info.snapshots_only_why);
		if (last < 90000 && !info.nr_dropped) {
			c = test_calls(log);
			first = HG_ID_FIRST;
			for (size_t i = 0; i < c->nr; i++)
				cr_assert_eq(c->seq[i], first + i);
		}
		cr_assert_eq(test_nr_problems(log), 0);
		hg_log_close(log);
		test_remove(dir);
	}
}

/* Its lanes fill up while the writer stands still: that must not look like a horizon that stands still. */
Test(recorder, a_killed_process_loses_no_record_of_a_writer_that_was_slow, .timeout = 120)
{
	setenv("HGSHIM_FAULT", "store.pause", 1);
	for (unsigned int round = 0; round < 12; round++) {
		const char *dir = test_dir();
		struct killed k = { .dir = dir };
		struct hg_log_info info;
		struct hg_log *log;
		uint64_t last;

		kill_a_child(&k, 20 + round * 3, &last);
		log = test_open(dir);
		hg_log_info(log, &info);
		cr_assert_geq(info.last_seq, last, "%" PRIu64 " of %" PRIu64, info.last_seq, last);
		hg_log_close(log);
		test_remove(dir);
	}
}

Test(recorder, a_killed_process_loses_no_payload, .timeout = 120)
{
	for (unsigned int round = 0; round < 8; round++) {
		const char *dir = test_dir();
		struct killed k = { .dir = dir, .payload = true };
		struct hg_log_info info;
		struct hg_log *log;
		uint64_t last;

		kill_a_child(&k, round * 5, &last);
		log = test_open(dir);
		hg_log_info(log, &info);
		cr_assert_geq(info.last_seq, last);
		/* reads every payload and compares its digest */
		cr_assert_eq(test_nr_problems(log), 0);
		hg_log_close(log);
		test_remove(dir);
	}
}

Test(recorder, opening_a_log_changes_nothing_in_it)
{
	const char *dir = test_dir();
	struct killed k = { .dir = dir };
	char list[4200], before[8192] = "", after[8192] = "";
	struct hg_log *log;
	uint64_t last;
	FILE *f;

	kill_a_child(&k, 5, &last);
	snprintf(list, sizeof(list), "cd '%s' && ls -l --time-style=full-iso && cat * | cksum", dir);
	f = popen(list, "r");
	cr_assert_gt(fread(before, 1, sizeof(before) - 1, f), 0);
	pclose(f);
	log = test_open(dir);
	test_nr_problems(log);
	hg_log_close(log);
	f = popen(list, "r");
	cr_assert_gt(fread(after, 1, sizeof(after) - 1, f), 0);
	pclose(f);
	cr_assert_str_eq(before, after);
}

Test(recorder, the_log_of_a_live_process_can_be_read)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct hg_log_info info;
	struct hg_log *log;

	for (uint64_t i = 0; i < 100; i++)
		test_launch(r, 0, 0, i);
	cr_assert_eq(hg_recorder_drain(r, 5000), HG_OK);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert(info.live);
	cr_assert_eq(info.nr_records, 100);
	cr_assert_eq(test_nr_problems(log), 0);
	/* while it is open, the process goes on */
	for (uint64_t i = 0; i < 50000; i++)
		test_launch(r, 0, 0, i);
	cr_assert_eq(hg_recorder_drain(r, 5000), HG_OK);
	cr_assert_eq(test_calls(log)->nr, 100);
	hg_log_close(log);
	hg_recorder_stop(r);
}

static void record_in_child(void *arg)
{
	struct hg_recorder *r = arg;

	/* everything must be harmless and nothing recorded */
	if (hg_recorder_seq(r) || hg_recorder_is_on(r) || test_launch(r, 0, 0, 1))
		_exit(1);
	hg_recorder_cancel(r);
	hg_recorder_unsupported(r, "cuX");
	hg_recorder_stop(r);
	_exit(7);
}

Test(recorder, a_forked_child_records_nothing_and_does_no_harm)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct hg_log *log;
	int status;

	test_launch(r, 0, 0, 1);
	status = test_child(record_in_child, r);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %x", status);
	test_launch(r, 0, 0, 2);
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(test_calls(log)->nr, 2);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

/* As daemons do. */
static void close_everything(void)
{
	if (syscall(SYS_close_range, 3u, ~0u, 0u))
		for (int fd = 3; fd < 65536; fd++)
			close(fd);
}

/* In a child: the test framework needs its own descriptors. Its exit status says where it went wrong. */
static void run_without_descriptors(void *arg)
{
	struct hg_recorder *r = test_start(arg);

	close_everything();
	/* files of the application that take the numbers that ours could have had */
	for (int i = 0; i < 20; i++)
		if (open("/dev/null", O_RDWR) < 0)
			_exit(1);
	for (uint64_t i = 0; i < 1000; i++)
		if (!test_launch(r, 0, 0, i))
			_exit(2);
	if (hg_recorder_drain(r, 5000))
		_exit(3);
	close_everything();
	if (!test_alloc(r, 0, 0x200000000000, 64) || !hg_recorder_is_on(r))
		_exit(4);
	hg_recorder_stop(r);
}

Test(recorder, the_application_may_close_every_descriptor)
{
	const char *dir = test_dir();
	struct hg_log *log;

	cr_assert_eq(test_child(run_without_descriptors, (void *)dir), 0);
	log = test_open(dir);
	cr_assert_eq(test_calls(log)->nr, 1001);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(recorder, none_of_its_descriptors_appears_in_the_application)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);

	for (int fd = 3; fd < 1024; fd++) {
		char link[64], path[4096];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, path, sizeof(path) - 1);
		if (n > 0) {
			path[n] = '\0';
			cr_assert_null(strstr(path, dir), "%s", path);
		}
	}
	hg_recorder_stop(r);
}

static char warned[2048];

static void keep(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	strncat(warned, line, sizeof(warned) - strlen(warned) - 1);
}

static void run_with_shared_table(void *arg)
{
	struct hg_recorder *r;
	char file[4300];

	setenv("HGSHIM_FAULT", "recorder.unshare", 1);
	r = test_start(arg);
	if (!test_launch(r, 0, 0, 1) || hg_recorder_drain(r, 5000))
		_exit(1);
	close_everything();
	/* the application's own file now has the numbers of ours: nothing may be written to it */
	snprintf(file, sizeof(file), "%s.app", (const char *)arg);
	for (int i = 0; i < 30; i++)
		if (open(file, O_RDWR | O_CREAT, 0600) < 0)
			_exit(2);
	hg_msg_sink_set(keep, NULL);
	for (int i = 0; i < 1000 && hg_recorder_is_on(r); i++) {
		test_launch(r, 0, 0, 2);
		usleep(10000);
	}
	if (hg_recorder_is_on(r))
		_exit(3);
	hg_recorder_stop(r);
	hg_msg_sink_set(NULL, NULL);
	if (!strstr(warned, "recording is off: the application closed"))
		_exit(4);
}

Test(recorder, without_a_table_of_its_own_it_notices_that_its_files_were_closed, .timeout = 30)
{
	const char *dir = test_dir();
	char file[4300];
	struct stat s;

	cr_assert_eq(test_child(run_with_shared_table, (void *)dir), 0);
	snprintf(file, sizeof(file), "%s.app", dir);
	cr_assert_eq(stat(file, &s), 0);
	cr_assert_eq(s.st_size, 0);
	/* what was stored before is whole */
	hg_log_close(test_open(dir));
}

Test(recorder, a_directory_that_holds_a_log_is_left_alone)
{
	const char *dir = test_dir();
	struct hg_recorder *first = test_start(dir), *second;
	struct hg_log *log;

	test_launch(first, 0, 0, 1);
	hg_recorder_stop(first);
	second = test_start(dir);
	cr_assert_str_neq(hg_recorder_dir(second), dir);
	test_launch(second, 0, 0, 1);
	test_launch(second, 0, 0, 2);
	hg_recorder_stop(second);
	log = test_open(dir);
	cr_assert_eq(test_calls(log)->nr, 1);
	hg_log_close(log);
	log = test_open(hg_recorder_dir(second));
	cr_assert_eq(test_calls(log)->nr, 2);
	hg_log_close(log);
}

static void start_fails(const char *fault)
{
	const char *dir = test_dir();
	struct hg_recorder_config cfg = { .dir = dir, .executor = "cpu" };
	struct hg_recorder *r = (struct hg_recorder *)1;
	char file[4300];

	setenv("HGSHIM_FAULT", fault, 1);
	hg_msg_sink_set(keep, NULL);
	cr_assert_neq(hg_recorder_start(&cfg, &r), HG_OK);
	hg_msg_sink_set(NULL, NULL);
	cr_assert_eq(r, (struct hg_recorder *)1);
	if (strcmp(fault, "mdb.load"))
		cr_assert_neq(warned[0], '\0', "nothing was said");
	snprintf(file, sizeof(file), "%s/ring", dir);
	cr_assert_neq(access(file, F_OK), 0, "'%s' is left", file);
	snprintf(file, sizeof(file), "%s/log.mdb", dir);
	cr_assert_neq(access(file, F_OK), 0, "'%s' is left", file);
}

Test(recorder, a_network_file_system_is_refused)
{
	start_fails("recorder.netfs");
	cr_assert_not_null(strstr(warned, "network"));
}

Test(recorder, a_disk_without_room_for_the_ring_is_refused)
{
	start_fails("recorder.fallocate");
}

Test(recorder, a_start_without_lmdb_fails_cleanly)
{
	start_fails("mdb.load");
}

Test(recorder, a_start_that_cannot_write_fails_cleanly)
{
	start_fails("store.commit");
}

Test(recorder, a_directory_that_cannot_be_made_is_said)
{
	struct hg_recorder_config cfg = { .dir = "/proc/nowhere/log", .executor = "cpu" };
	struct hg_recorder *r;

	hg_msg_sink_set(keep, NULL);
	cr_assert_eq(hg_recorder_start(&cfg, &r), HG_ERR_IO);
	hg_msg_sink_set(NULL, NULL);
	cr_assert_not_null(strstr(warned, "/proc/nowhere"));
}

Test(recorder, a_disk_that_stays_full_turns_recording_off_with_one_message, .timeout = 30)
{
	const char *dir = test_dir();
	struct hg_recorder *r;
	size_t messages = 0;

	setenv("HGSHIM_FAULT", "store.commit:5+", 1);
	r = test_start(dir);
	hg_msg_sink_set(keep, NULL);
	for (int i = 0; i < 1000 && hg_recorder_is_on(r); i++) {
		test_launch(r, 0, 0, (uint64_t)i);
		usleep(10000);
	}
	cr_assert(!hg_recorder_is_on(r));
	hg_recorder_stop(r);
	hg_msg_sink_set(NULL, NULL);
	for (const char *p = strstr(warned, "recording is off"); p; p = strstr(p + 1, "recording is off"))
		messages++;
	cr_assert_eq(messages, 1, "said: '%s'", warned);
	cr_assert_null(strstr(strstr(warned, "No space") + 1, "No space"), "said twice: '%s'", warned);
	/* what was stored before is whole */
	unsetenv("HGSHIM_FAULT");
	hg_log_close(test_open(dir));
}

Test(recorder, a_disk_that_is_full_for_a_moment_costs_nothing, .timeout = 30)
{
	const char *dir = test_dir();
	struct hg_recorder *r;
	struct hg_log *log;
	uint64_t recorded = 0;

	setenv("HGSHIM_FAULT", "store.commit:3", 1);
	r = test_start(dir);
	for (int i = 0; i < 100; i++) {
		recorded += test_launch(r, 0, 0, (uint64_t)i) != 0;
		recorded += test_alloc(r, 0, 0x200000000000 + (uint64_t)i * 4096, 64) != 0;
		usleep(3000);
	}
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(recorded, 200);
	cr_assert_eq(test_calls(log)->nr, 200);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(recorder, objects_mode_keeps_objects_alone)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start_with(dir, HG_CALLS_OBJECTS, false);
	struct hg_log_info info;
	struct hg_log *log;

	test_alloc(r, 0, 0x200000000000, 64);
	cr_assert_eq(test_launch(r, 0, 0, 1), 0);
	test_alloc(r, 0, 0x200000001000, 64);
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(test_calls(log)->nr, 2);
	hg_log_info(log, &info);
	cr_assert(info.snapshots_only);
	cr_assert_eq(info.nr_objects_live, 2);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(recorder, payload_larger_than_the_ring_comes_back_whole, .timeout = 60)
{
	const char *dir = test_dir();
	size_t size = (9 << 20) + 13;
	unsigned char *data = malloc(size);
	struct hg_recorder *r;
	struct hg_rec_view v;
	struct hg_log *log;
	void *back;
	size_t back_size;

	setenv("HGSHIM_RING", "65536:2", 1);
	srand(4);
	for (size_t i = 0; i < size; i++)
		data[i] = (unsigned char)rand();
	r = test_start(dir);
	test_h2d(r, 0, 0x200000000000, data, size);
	hg_recorder_stop(r);

	log = test_open(dir);
	{
		/* the record itself, found through the callback */
		struct hg_rec *copy = NULL;
		extern enum hg_status copy_first(const struct hg_rec_view *v, void *arg);

		cr_assert_eq(hg_log_calls(log, 0, UINT64_MAX, copy_first, &copy), HG_OK);
		cr_assert_eq(hg_rec_view(copy, copy->size, &v), HG_OK);
	}
	cr_assert_eq(hg_log_blob(log, &v, 1, &back, &back_size), HG_OK);
	cr_assert_eq(back_size, size);
	cr_assert_eq(memcmp(back, data, size), 0);
	free(back);
	hg_log_close(log);
}

enum hg_status copy_first(const struct hg_rec_view *v, void *arg);
enum hg_status copy_first(const struct hg_rec_view *v, void *arg)
{
	struct hg_rec **copy = arg;

	if (!*copy) {
		*copy = malloc(v->rec->size);
		memcpy(*copy, v->rec, v->rec->size);
	}
	return HG_OK;
}

Test(recorder, payload_over_its_limit_is_refused_and_the_log_says_so)
{
	const char *dir = test_dir();
	struct hg_recorder_config cfg = { .dir = dir, .payload = true, .payload_limit = 10000, .executor = "cpu" };
	static unsigned char data[6000];
	struct hg_payload_ref ref;
	struct hg_log_info info;
	struct hg_recorder *r;
	struct hg_log *log;

	cr_assert_eq(hg_recorder_start(&cfg, &r), HG_OK);
	cr_assert_eq(hg_recorder_payload(r, data, sizeof(data), &ref), HG_OK);
	cr_assert_eq(hg_recorder_payload(r, data, sizeof(data), &ref), HG_ERR_NOSPC);
	cr_assert_eq(hg_recorder_payload(r, data, 20000, &ref), HG_ERR_NOSPC);
	cr_assert_eq(hg_recorder_payload(r, data, 4000, &ref), HG_OK);
	test_launch(r, 0, 0, 1);
	hg_recorder_stop(r);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert(info.snapshots_only);
	cr_assert_not_null(strstr(info.snapshots_only_why, "payload"));
	hg_log_close(log);
}

Test(recorder, a_tail_over_its_limit_keeps_objects_and_says_so)
{
	const char *dir = test_dir();
	struct hg_recorder_config cfg = { .dir = dir, .tail_limit = 10000, .executor = "cpu" };
	struct hg_log_info info;
	struct hg_recorder *r;
	struct hg_log *log;

	cr_assert_eq(hg_recorder_start(&cfg, &r), HG_OK);
	for (int i = 0; i < 10; i++) {
		for (uint64_t k = 0; k < 100; k++)
			test_launch(r, 0, 0, k);
		cr_assert_eq(hg_recorder_drain(r, 5000), HG_OK);
	}
	test_alloc(r, 0, 0x200000000000, 64);
	hg_recorder_stop(r);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert(info.snapshots_only);
	cr_assert_not_null(strstr(info.snapshots_only_why, "limit"));
	cr_assert_eq(info.nr_objects_live, 1);
	cr_assert_lt(test_calls(log)->nr, 900);
	hg_log_close(log);
}

Test(recorder, an_image_is_kept_once_and_comes_back_whole, .timeout = 60)
{
	const char *dir = test_dir();
	size_t size = 300001, back_size;
	unsigned char *image = malloc(size), key[16];
	struct hg_recorder *r;
	struct hg_log_info info;
	const void *back;
	struct hg_log *log;

	setenv("HGSHIM_RING", "65536:2", 1);
	for (size_t i = 0; i < size; i++)
		image[i] = (unsigned char)(i * 7 >> 3);
	r = test_start(dir);
	for (int i = 0; i < 5; i++)
		cr_assert(test_module(r, 0, image, size));
	cr_assert_eq(hg_recorder_image(r, image, size, key), HG_OK);
	cr_assert(test_module(r, 0, "tiny", 4));
	hg_recorder_stop(r);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert_eq(info.nr_images, 2);
	cr_assert_eq(hg_log_image(log, key, &back, &back_size), HG_OK);
	cr_assert_eq(back_size, size);
	cr_assert_eq(memcmp(back, image, size), 0);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

static int count_one(const char *symbol, uint64_t count, void *arg)
{
	uint64_t *n = arg;

	if (!strcmp(symbol, "cuGraphCreate"))
		n[0] = count;
	if (!strcmp(symbol, "cuTexObjectCreate"))
		n[1] = count;
	return 0;
}

Test(recorder, calls_that_hgshim_lacks_are_counted_by_name)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	uint64_t n[2] = { 0 };
	struct hg_log *log;

	for (int i = 0; i < 3; i++)
		hg_recorder_unsupported(r, "cuGraphCreate");
	hg_recorder_unsupported(r, "cuTexObjectCreate");
	hg_recorder_stop(r);
	log = test_open(dir);
	hg_log_unsupported(log, count_one, n);
	cr_assert_eq(n[0], 3);
	cr_assert_eq(n[1], 1);
	hg_log_close(log);
}

static uint32_t __attribute__((noinline)) a_function_with_a_name(struct hg_recorder *r)
{
	uint32_t id = hg_recorder_stack(r);

	__asm__ volatile("" : : "r"(id) : "memory");
	return id;
}

static int find_name(uint64_t pc, const char *text, void *arg)
{
	bool *found = arg;

	cr_assert(pc);
	*found |= text && strstr(text, "a_function_with_a_name+0x") == text;
	return 0;
}

Test(recorder, a_call_site_has_the_names_of_its_functions)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start_with(dir, HG_CALLS_TAIL, true);
	uint32_t id = 0, other;
	bool found = false;
	struct hg_log *log;

	for (int i = 0; i < 2; i++) {
		uint32_t again = a_function_with_a_name(r);

		cr_assert_neq(again, 0);
		/* the same stack has the same id */
		cr_assert(!id || again == id);
		id = again;
	}
	other = a_function_with_a_name(r);
	cr_assert_neq(other, id);
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(hg_log_stack(log, id, find_name, &found), HG_OK);
	cr_assert(found);
	cr_assert_eq(hg_log_stack(log, 12345, find_name, &found), HG_ERR_NOTFOUND);
	hg_log_close(log);
}

static enum hg_status requested(const struct hg_control *c, void *arg)
{
	atomic_int *calls = arg;

	atomic_fetch_add(calls, 1);
	cr_assert_eq(c->timeout_ms, 1234);
	pr_err("the queue of '%s' did not drain", "x");
	return HG_ERR_TIMEOUT;
}

Test(recorder, a_request_reaches_the_callback_and_its_reason_the_page, .timeout = 30)
{
	const char *dir = test_dir();
	atomic_int calls = 0;
	struct hg_recorder_config cfg = { .dir = dir, .executor = "cpu", .checkpoint = requested, .arg = &calls };
	struct hg_recorder *r;
	struct hg_control *c;
	char path[4300];
	int fd;

	cr_assert_eq(hg_recorder_start(&cfg, &r), HG_OK);
	snprintf(path, sizeof(path), "%s/control", dir);
	fd = open(path, O_RDWR);
	c = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(c, MAP_FAILED);
	cr_assert_eq(c->magic, HG_CONTROL_MAGIC);
	cr_assert_eq(c->pid, (uint32_t)getpid());
	cr_assert_eq(c->recording, 1);
	cr_assert_str_eq(c->executor, "cpu");

	/* a signal without a request does nothing, and none is ever delivered to the application */
	cr_assert_eq(syscall(SYS_tgkill, getpid(), (int)c->tid, SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET), 0);
	usleep(20000);
	cr_assert_eq(atomic_load(&calls), 0);
	c->timeout_ms = 1234;
	atomic_fetch_add((atomic_uint *)&c->request, 1);
	cr_assert_eq(syscall(SYS_tgkill, getpid(), (int)c->tid, SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET), 0);
	while (atomic_load((atomic_uint *)&c->reply) != c->request)
		usleep(1000);
	cr_assert_eq(atomic_load(&calls), 1);
	cr_assert_eq(c->status, HG_ERR_TIMEOUT);
	cr_assert_str_eq(c->message, "the queue of 'x' did not drain");
	hg_recorder_stop(r);
}

/* Drops launches while the writer is held up, waits, and then has one that is kept. */
struct dropping {
	struct hg_recorder *r;
	uint64_t ctx;
	atomic_int step;
};

static void *drop_thread(void *arg)
{
	struct dropping *d = arg;

	for (int i = 0; i < 200; i++)
		test_launch(d->r, d->ctx, 0, (uint64_t)i);
	atomic_store(&d->step, 1);
	while (atomic_load(&d->step) != 2)
		usleep(500);
	test_launch(d->r, d->ctx, 0, 1000);
	return NULL;
}

Test(recorder, gap_that_comes_after_later_records_of_others_is_counted)
{
	const char *dir = test_dir();
	struct dropping d = { 0 };
	struct hg_log_info info;
	struct hg_log *log;
	pthread_t thread;

	setenv("HGSHIM_RING", "4096:4", 1);
	d.r = test_start_with(dir, HG_CALLS_ALL, false);
	d.ctx = test_ctx(d.r);
	cr_assert_eq(hg_recorder_drain(d.r, 5000), HG_OK);
	pthread_mutex_lock(&d.r->txn_lock);
	pthread_create(&thread, NULL, drop_thread, &d);
	while (atomic_load(&d.step) != 1)
		usleep(500);
	pthread_mutex_unlock(&d.r->txn_lock);
	cr_assert_eq(hg_recorder_drain(d.r, 5000), HG_OK);
	/* of a later number than all that were dropped */
	cr_assert(test_launch(d.r, d.ctx, 0, 2000));
	cr_assert_eq(hg_recorder_drain(d.r, 5000), HG_OK);
	atomic_store(&d.step, 2);
	pthread_join(thread, NULL);
	cr_assert_eq(hg_recorder_drain(d.r, 5000), HG_OK);
	cr_assert(hg_recorder_is_on(d.r));
	hg_recorder_stop(d.r);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert_gt(info.nr_dropped, 100u);
	cr_assert_eq(info.nr_records + info.nr_dropped, 203u);
	cr_assert(info.snapshots_only);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

/* the process's own log, read while the writer goes on */

static atomic_bool busy_stop;
static uint64_t busy_ctx;

/* Makes and frees memory, and launches: objects are born and die, blocks fill up. */
static void *busy_thread(void *recorder)
{
	struct hg_recorder *r = recorder;
	uint64_t addr = 0x300000000000 + ((uint64_t)hg_recorder_thread(r) << 32);

	for (uint64_t i = 0; !atomic_load(&busy_stop); i++) {
		test_alloc(r, busy_ctx, addr + (i % 50) * 4096, 100);
		test_launch(r, busy_ctx, 0, i);
		if (i % 50 > 25)
			test_free(r, busy_ctx, addr + (i % 50 - 25) * 4096);
		if (i % 50 == 0)
			usleep(500);
	}
	return NULL;
}

static unsigned char own_bytes[5000];
static struct test_memory own_memory = { .addr = 0x200000000000, .data = own_bytes, .size = sizeof(own_bytes) };

struct own_walk {
	uint64_t ctx, mem, nr_alive, nr_calls, last;
	bool out_of_order;
};

static enum hg_status own_object(const struct hg_object *o, void *arg)
{
	struct own_walk *w = arg;

	w->nr_alive++;
	w->ctx += o->id == busy_ctx;
	w->mem += o->handle == own_memory.addr;
	return HG_OK;
}

static enum hg_status own_call(const struct hg_rec_view *v, void *arg)
{
	struct own_walk *w = arg;

	w->out_of_order |= v->rec->seq <= w->last;
	w->last = v->rec->seq;
	w->nr_calls++;
	return HG_OK;
}

/* A status other than HG_OK is the number of the line that failed: nothing on this thread may end the test. */
#define EXPECT(x)				\
	do {					\
		if (!(x))			\
			return __LINE__;	\
	} while (0)

static int read_own(struct hg_recorder *r, uint64_t number, unsigned char value)
{
	unsigned char back[sizeof(own_bytes)];
	const struct hg_snapshot *s;
	struct own_walk w = { 0 };
	struct hg_log_info info;
	struct hg_log *log;

	EXPECT(!hg_recorder_log(r, &log));
	/* the writer stores and prunes meanwhile */
	usleep(3000);
	EXPECT(!hg_log_snapshot(log, 0, &s) && s->number == number && s->nr_regions == 1);
	EXPECT(!hg_log_objects(log, s->seq, own_object, &w));
	EXPECT(w.ctx == 1 && w.mem == 1 && w.nr_alive >= 2);
	EXPECT(!hg_log_calls(log, s->seq + 1, UINT64_MAX, own_call, &w) && !w.out_of_order);
	EXPECT(!hg_log_region_read(log, s, 0, 0, back, sizeof(back)));
	EXPECT(back[0] == value && !memcmp(back, back + 1, sizeof(back) - 1));
	hg_log_info(log, &info);
	EXPECT(info.live && info.nr_snapshots == number);
	hg_log_close(log);
	return 0;
}

static enum hg_status own_rounds(struct hg_recorder *r, void *line)
{
	struct hg_region region = {
		.addr = own_memory.addr, .size = own_memory.size, .object = busy_ctx + 1, .kind = HG_REGION_DEVICE,
	};
	int *failed = line;

	for (int i = 1; i <= 20 && !*failed; i++) {
		uint64_t number, bytes, written;
		struct hg_snapshot_writer *s;

		memset(own_bytes, i, sizeof(own_bytes));
		if (hg_snapshot_begin(r, &s) || hg_snapshot_region(s, &region, test_read, &own_memory) ||
		    hg_snapshot_commit(s, NULL, false, &number, &bytes, &written))
			*failed = __LINE__;
		else
			*failed = read_own(r, number, (unsigned char)i);
	}
	return HG_OK;
}

struct lock_question {
	const char *dir;
};

/* Exits with 7 where `control` is locked by another process. */
static void is_control_locked(void *arg)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	const struct lock_question *q = arg;
	char path[4300];
	int fd;

	snprintf(path, sizeof(path), "%s/control", q->dir);
	fd = open(path, O_RDWR);
	_exit(fd >= 0 && !fcntl(fd, F_GETLK, &whole) && whole.l_type == F_WRLCK ? 7 : 1);
}

Test(recorder, log_is_read_by_its_own_process_while_the_writer_goes_on)
{
	const char *dir = test_dir();
	struct lock_question q = { .dir = dir };
	struct hg_recorder *r = test_start(dir);
	pthread_t thread[2];
	struct hg_log *log;
	int line = 0, status;

	busy_ctx = test_ctx(r);
	test_alloc(r, busy_ctx, own_memory.addr, own_memory.size);
	for (int i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, busy_thread, r);
	cr_assert_eq(test_on_checkpoint(r, own_rounds, &line), HG_OK);
	cr_assert_eq(line, 0, "line %d", line);
	atomic_store(&busy_stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	cr_assert(hg_recorder_is_on(r));
	cr_assert_eq(hg_recorder_drain(r, 30000), HG_OK);
	status = test_child(is_control_locked, &q);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the log does not count as live any more");
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

static enum hg_status own_conflicts(struct hg_recorder *r, void *line)
{
	struct hg_snapshot_writer *s;
	struct hg_log *log = NULL, *second;
	int *failed = line;

	if (hg_recorder_log(r, &log))
		*failed = __LINE__;
	else if (hg_recorder_log(r, &second) != HG_ERR_REFUSED || hg_snapshot_begin(r, &s) != HG_ERR_REFUSED)
		*failed = __LINE__;
	hg_log_close(log);
	log = NULL;
	if (!*failed && hg_recorder_log(r, &log))
		*failed = __LINE__;
	hg_log_close(log);
	return HG_OK;
}

Test(recorder, own_log_has_one_reader_and_no_snapshot_begins_meanwhile)
{
	struct hg_recorder *r = test_start(test_dir());
	uint64_t number, written;
	int line = 0;

	busy_ctx = test_ctx(r);
	cr_assert_eq(test_on_checkpoint(r, own_conflicts, &line), HG_OK);
	cr_assert_eq(line, 0, "line %d", line);
	cr_assert_eq(test_snapshot(r, &own_memory, test_alloc(r, busy_ctx, own_memory.addr, own_memory.size), &number,
				   &written), HG_OK);
	hg_recorder_stop(r);
}

static atomic_bool map_is_small;

/* With a map of no room to spare, the log open for longer than the writer tries again. */
static enum hg_status own_full_map(struct hg_recorder *r, void *line)
{
	struct own_walk w = { 0 };
	struct hg_log *log;
	int *failed = line;

	pthread_mutex_lock(&r->txn_lock);
	r->map_size = 1 << 20;
	if (r->mdb->env_set_mapsize(r->env, r->map_size))
		*failed = __LINE__;
	pthread_mutex_unlock(&r->txn_lock);
	if (*failed || hg_recorder_log(r, &log)) {
		*failed = __LINE__;
		return HG_OK;
	}
	atomic_store(&map_is_small, true);
	usleep(2600000);
	if (r->map_size != 1 << 20 || hg_log_objects(log, 0, own_object, &w) || w.ctx != 1)
		*failed = __LINE__;
	hg_log_close(log);
	return HG_OK;
}

static void *fill_map(void *recorder)
{
	while (!atomic_load(&map_is_small))
		usleep(1000);
	/* records that wait for the writer rather than get lost */
	for (uint64_t i = 0; i < 20000; i++)
		test_alloc(recorder, busy_ctx, 0x300000000000 + i * 4096, 100);
	return NULL;
}

Test(recorder, map_grows_only_when_the_own_log_is_closed_and_nothing_is_lost)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start_with(dir, HG_CALLS_ALL, false);
	struct hg_log_info info;
	struct hg_log *log;
	pthread_t thread;
	int line = 0;

	busy_ctx = test_ctx(r);
	cr_assert_eq(hg_recorder_drain(r, 5000), HG_OK);
	pthread_create(&thread, NULL, fill_map, r);
	cr_assert_eq(test_on_checkpoint(r, own_full_map, &line), HG_OK);
	cr_assert_eq(line, 0, "line %d", line);
	pthread_join(thread, NULL);
	cr_assert(hg_recorder_is_on(r));
	hg_recorder_stop(r);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert_eq(info.nr_records, 20001u);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

static enum hg_status switch_executor(struct hg_recorder *r, void *arg)
{
	struct hg_log *log;

	(void)arg;
	/* with the own log open, too */
	if (hg_recorder_log(r, &log))
		return HG_ERR_FAULT;
	hg_recorder_executor(r, "cpu");
	hg_log_close(log);
	hg_recorder_executor(r, "rocm");
	return HG_OK;
}

Test(recorder, log_says_which_target_answers_and_since_when)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct hg_log_info info;
	struct hg_log *log;
	uint64_t next;

	test_ctx(r);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert_str_eq(info.executor_now, "cpu");
	cr_assert_eq(info.executor_seq, 0u);
	hg_log_close(log);
	cr_assert_eq(test_on_checkpoint(r, switch_executor, NULL), HG_OK);
	cr_assert_str_eq(r->control->executor, "rocm");
	next = test_launch(r, HG_ID_FIRST, 0, 0);
	hg_recorder_stop(r);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert_str_eq(info.executor, "cpu");
	cr_assert_str_eq(info.executor_now, "rocm");
	cr_assert_eq(info.executor_seq, next);
	hg_log_close(log);
}
