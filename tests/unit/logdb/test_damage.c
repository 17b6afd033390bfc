/* test_damage.c - logs that were cut short or altered: a clear message or an older state, never a crash. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/logdb.h"
#include "tests/unit/logdb/helper.h"

#define MIB ((size_t)1 << 20)

/* A log with something in every table, of a process that was killed. */
static void fill_and_die(void *arg)
{
	struct test_memory m = { .addr = 0x200000000000, .data = malloc(2 * MIB), .size = 2 * MIB };
	struct hg_recorder *r;
	static unsigned char image[100000], data[5000];
	uint64_t number, written, ctx, f, mem;

	setenv("HGSHIM_RING", "16384:3", 1);
	r = test_start_with(arg, HG_CALLS_ALL, true);
	for (size_t i = 0; i < m.size; i++)
		m.data[i] = (unsigned char)(i >> 3);
	memset(image, 'x', sizeof(image));
	ctx = test_ctx(r);
	f = test_function(r, ctx, test_module(r, ctx, image, sizeof(image)), "a_kernel");
	test_func_set(r, ctx, f, 8, 1000);
	mem = test_alloc(r, ctx, m.addr, m.size);
	test_h2d(r, ctx, m.addr, data, sizeof(data));
	hg_recorder_unsupported(r, "cuGraphCreate");
	hg_recorder_stack(r);
	for (uint64_t i = 0; i < 2000; i++)
		test_launch(r, ctx, f, i);
	if (test_snapshot(r, &m, mem, &number, &written))
		_exit(1);
	for (uint64_t i = 0; i < 50; i++)
		test_alloc(r, ctx, 0x200010000000 + i * 4096, 64 + i);
	if (hg_recorder_drain(r, 5000))
		_exit(1);
	test_h2d(r, ctx, m.addr, data, sizeof(data));
	for (uint64_t i = 0; i < 10; i++)
		test_launch(r, ctx, f, i);
	raise(SIGKILL);
}

static const char *whole_log(void)
{
	const char *dir = test_dir();
	int status = test_child(fill_and_die, (void *)dir);

	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
	return dir;
}

static uint64_t nr_errors;

static void count_errors(enum hg_msg_level level, const char *line, void *arg)
{
	(void)line;
	(void)arg;
	nr_errors += level <= HG_MSG_WARN;
}

static enum hg_status touch_call(const struct hg_rec_view *v, void *arg)
{
	FILE *f = arg;

	hg_rec_print(v, f);
	return HG_OK;
}

static enum hg_status touch_object(const struct hg_object *o, void *arg)
{
	hg_rec_print(&o->created, arg);
	for (size_t i = 0; i < o->nr_set; i++)
		hg_rec_print(&o->set[i], arg);
	return HG_OK;
}

static enum hg_status touch_kernel(const struct hg_log_kernel *k, void *arg)
{
	fputs(k->name, arg);
	return HG_OK;
}

static int touch_unsupported(const char *symbol, uint64_t count, void *arg)
{
	fprintf(arg, "%s %" PRIu64, symbol, count);
	return 0;
}

static int touch_frame(uint64_t pc, const char *text, void *arg)
{
	fprintf(arg, "%" PRIx64 " %s", pc, text ? text : "");
	return 0;
}

static void ignore_problem(const char *text, void *arg)
{
	(void)text;
	(void)arg;
}

/* Reads everything there is. Exit status: 0 whole, 3 damage was said, 9 damage was not said. */
static void read_everything(void *dir)
{
	FILE *f = fopen("/dev/null", "w");
	const struct hg_snapshot *s;
	struct hg_log_info info;
	struct hg_log *log;
	enum hg_status st, worst;

	hg_msg_sink_set(count_errors, NULL);
	st = hg_log_open(dir, &log);
	if (st)
		_exit(nr_errors ? 3 : 9);
	hg_log_info(log, &info);
	worst = hg_log_calls(log, 0, UINT64_MAX, touch_call, f);
	st = hg_log_objects(log, 0, touch_object, f);
	worst = worst ? worst : st;
	st = hg_log_objects(log, 20, touch_object, f);
	worst = worst ? worst : st;
	st = hg_log_kernels(log, touch_kernel, f);
	worst = worst ? worst : st;
	hg_log_unsupported(log, touch_unsupported, f);
	st = hg_log_stack(log, 1, touch_frame, f);
	worst = worst || st == HG_ERR_NOTFOUND ? worst : st;
	st = hg_log_snapshot(log, 0, &s);
	if (!st)
		for (size_t i = 0; i < s->nr_regions && !st; i++) {
			unsigned char byte[100];

			for (uint64_t at = 0; at + sizeof(byte) < s->regions[i].size && !st; at += 300000)
				st = hg_log_region_read(log, s, i, at, byte, sizeof(byte));
		}
	worst = worst || st == HG_ERR_NOTFOUND ? worst : st;
	if (worst && !nr_errors)
		_exit(9);
	/* check has messages of its own */
	st = hg_log_check(log, ignore_problem, NULL);
	hg_log_close(log);
	_exit(worst || st ? 3 : 0);
}

static int read_status(const char *dir, const char *what, uint64_t where)
{
	int status = test_child(read_everything, (void *)dir);

	cr_assert(WIFEXITED(status), "%s at %" PRIu64 ": signal %d", what, where, WTERMSIG(status));
	cr_assert_neq(WEXITSTATUS(status), 9, "%s at %" PRIu64 ": failed without a message", what, where);
	return WEXITSTATUS(status);
}

static void path_of(char out[4400], const char *dir, const char *file)
{
	snprintf(out, 4400, "%s/%s", dir, file);
}

static unsigned char *slurp(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY);
	unsigned char *data;
	struct stat s;

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(fstat(fd, &s), 0);
	data = malloc((size_t)s.st_size + 1);
	cr_assert_eq(read(fd, data, (size_t)s.st_size), s.st_size);
	close(fd);
	*size = (size_t)s.st_size;
	return data;
}

static void spill(const char *path, const unsigned char *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_eq(write(fd, data, size), (ssize_t)size);
	close(fd);
}

static void cut_everywhere(const char *file, size_t step)
{
	const char *dir = whole_log();
	char path[4400];
	unsigned char *data;
	size_t size, refused = 0, cuts = 0;

	cr_assert_eq(read_status(dir, "nothing", 0), 0);
	path_of(path, dir, file);
	data = slurp(path, &size);
	for (size_t at = 0; at < size; at += step) {
		cr_assert_eq(truncate(path, (off_t)at), 0);
		cuts++;
		refused += read_status(dir, file, at) == 3;
		spill(path, data, size);
	}
	cr_assert_gt(refused, 0, "none of %zu cuts was noticed", cuts);
	/* and back in its old form it is whole again */
	cr_assert_eq(read_status(dir, "nothing", 0), 0);
}

Test(damage, a_log_cut_at_every_page_is_refused_or_older, .timeout = 300)
{
	cut_everywhere("log.mdb", 4096);
}

Test(damage, a_ring_cut_anywhere_costs_the_last_records_only, .timeout = 300)
{
	cut_everywhere("ring", 8192);
}

Test(damage, a_pack_that_is_cut_is_noticed, .timeout = 300)
{
	cut_everywhere("pack-000001", 65536);
}

Test(damage, a_payload_file_that_is_cut_is_noticed, .timeout = 300)
{
	cut_everywhere("payload-000000", 1024);
}

/* Bytes at random places; in the first pages, where the structure is, more often. */
static void alter(const char *file, int rounds, size_t first_bytes)
{
	const char *dir = whole_log();
	char path[4400];
	unsigned char *data, *bad;
	size_t size, noticed = 0;
	unsigned int seed = 20240607;

	path_of(path, dir, file);
	data = slurp(path, &size);
	bad = malloc(size);
	for (int round = 0; round < rounds; round++) {
		unsigned int n = 1u + (unsigned int)rand_r(&seed) % 8;

		memcpy(bad, data, size);
		for (unsigned int i = 0; i < n; i++) {
			size_t range = rand_r(&seed) & 1 && first_bytes < size ? first_bytes : size;
			size_t at = ((size_t)rand_r(&seed) << 15 ^ (size_t)rand_r(&seed)) % range;

			/* values that break things: all ones, zero, one bit, the neighbour */
			switch (rand_r(&seed) % 4) {
			case 0:
				bad[at] = 0xff;
				break;
			case 1:
				bad[at] = 0;
				break;
			case 2:
				bad[at] ^= (unsigned char)(1u << rand_r(&seed) % 8);
				break;
			default:
				bad[at] = bad[at ? at - 1 : 0];
				break;
			}
		}
		spill(path, bad, size);
		noticed += read_status(dir, file, (uint64_t)round) == 3;
	}
	cr_assert_gt(noticed, 0);
}

Test(damage, altered_bytes_in_a_log_never_crash_a_reader, .timeout = 300)
{
	alter("log.mdb", 600, 16 * 4096);
}

Test(damage, altered_bytes_in_a_ring_never_crash_a_reader, .timeout = 300)
{
	alter("ring", 300, 200000);
}

Test(damage, altered_bytes_in_a_pack_are_noticed, .timeout = 300)
{
	alter("pack-000001", 20, SIZE_MAX);
}

Test(damage, a_log_without_some_of_its_files_is_refused_or_read)
{
	static const char *const file[] = { "control", "ring", "payload-000000", "pack-000001", "log.mdb-lock", "log.mdb" };
	const char *dir = whole_log();

	for (size_t i = 0; i < sizeof(file) / sizeof(file[0]); i++) {
		char path[4400];

		path_of(path, dir, file[i]);
		cr_assert_eq(unlink(path), 0, "%s", file[i]);
		read_status(dir, file[i], 0);
	}
	cr_assert_eq(read_status(dir, "empty directory", 0), 3);
}

Test(damage, random_bytes_are_no_log)
{
	const char *dir = test_dir();
	unsigned char *data = malloc(64 * 1024);
	unsigned int seed = 99;
	char path[4400];

	cr_assert_eq(mkdir(dir, 0700), 0);
	path_of(path, dir, "log.mdb");
	for (size_t size = 0; size <= 64 * 1024; size += 1 + size * 2) {
		for (size_t i = 0; i < size; i++)
			data[i] = (unsigned char)rand_r(&seed);
		spill(path, data, size);
		cr_assert_eq(read_status(dir, "random bytes", size), 3);
	}
}

static char said[2048];

static void keep(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	strncat(said, line, sizeof(said) - strlen(said) - 1);
}

Test(damage, what_is_not_there_is_named)
{
	struct hg_log *log;
	char path[4096];

	hg_msg_sink_set(keep, NULL);
	cr_assert_eq(hg_log_open("/nonexistent/log", &log), HG_ERR_NOTFOUND);
	cr_assert_not_null(strstr(said, "/nonexistent/log"));
	said[0] = '\0';
	cr_assert_eq(hg_log_resolve("/nonexistent/log", path), HG_ERR_NOTFOUND);
	cr_assert_not_null(strstr(said, "/nonexistent/log"));
	said[0] = '\0';
	cr_assert_eq(hg_log_resolve("4194304", path), HG_ERR_NOTFOUND);
	cr_assert_not_null(strstr(said, "4194304"));
	said[0] = '\0';
	cr_assert_eq(hg_log_open("/", &log), HG_ERR_NOTFOUND);
	cr_assert_not_null(strstr(said, "not a log"));
	hg_msg_sink_set(NULL, NULL);
}

Test(resolve, a_directory_a_pid_and_nothing_find_the_log)
{
	const char *dir = test_dir();
	char state[4300], one[4400], pid[32], path[4096];
	struct hg_recorder *r;

	snprintf(state, sizeof(state), "%s.state", dir);
	setenv("XDG_STATE_HOME", state, 1);
	snprintf(one, sizeof(one), "%s/hgshim/app-%d", state, 12345678);
	r = test_start(one);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	cr_assert_eq(hg_log_resolve(one, path), HG_OK);
	cr_assert_str_eq(path, one);
	/* through the mapping of this very process */
	cr_assert_eq(hg_log_resolve(pid, path), HG_OK);
	cr_assert_str_eq(path, hg_recorder_dir(r));
	cr_assert_eq(hg_log_resolve(NULL, path), HG_OK);
	cr_assert_str_eq(path, one);
	/* a process that is gone, by the name of its directory */
	cr_assert_eq(hg_log_resolve("12345678", path), HG_OK);
	cr_assert_str_eq(path, one);
	hg_recorder_stop(r);
}
