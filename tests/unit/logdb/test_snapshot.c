/* test_snapshot.c - snapshots: what is in them, what they cost, and how they fail. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/logdb.h"
#include "tests/unit/logdb/helper.h"

#define MIB ((size_t)1 << 20)

static struct test_memory memory(size_t size)
{
	struct test_memory m = { .addr = 0x200000000000, .data = malloc(size), .size = size };
	uint32_t x = 1;

	cr_assert_not_null(m.data);
	for (size_t i = 0; i < size; i++) {
		x = x * 1664525 + 1013904223;
		m.data[i] = (unsigned char)(x >> 24);
	}
	return m;
}

static void compare(struct hg_log *log, uint64_t number, const struct test_memory *m)
{
	const struct hg_snapshot *s;
	unsigned char *back = malloc(m->size);

	cr_assert_eq(hg_log_snapshot(log, number, &s), HG_OK);
	cr_assert_eq(s->nr_regions, 1);
	cr_assert_eq(s->regions[0].addr, m->addr);
	cr_assert_eq(s->regions[0].size, m->size);
	cr_assert_eq(hg_log_region_read(log, s, 0, 0, back, m->size), HG_OK);
	cr_assert_eq(memcmp(back, m->data, m->size), 0);
	/* odd pieces across chunks */
	for (size_t at = 1; at + 100 < m->size; at = at * 2 + 12345) {
		size_t n = m->size - at < MIB + 77 ? m->size - at : MIB + 77;

		cr_assert_eq(hg_log_region_read(log, s, 0, at, back, n), HG_OK);
		cr_assert_eq(memcmp(back, m->data + at, n), 0);
	}
	cr_assert_eq(hg_log_region_read(log, s, 0, m->size, back, 1), HG_ERR_INVALID);
	cr_assert_eq(hg_log_region_read(log, s, 0, 1, back, SIZE_MAX), HG_ERR_INVALID);
	cr_assert_eq(hg_log_region_read(log, s, 1, 0, back, 1), HG_ERR_INVALID);
	free(back);
}

Test(snapshot, memory_of_any_size_comes_back, .timeout = 60)
{
	static const size_t sizes[] = { 1, 4095, MIB - 1, MIB, MIB + 1, 4 * MIB, 9 * MIB + 12345, 23 * MIB };
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m[8];
	struct hg_log *log;

	for (size_t i = 0; i < 8; i++) {
		uint64_t number, written;

		m[i] = memory(sizes[i]);
		m[i].addr += i << 32;
		m[i].data[0] ^= (unsigned char)i;
		cr_assert_eq(test_snapshot(r, &m[i], 0, &number, &written), HG_OK);
		cr_assert_eq(number, i + 1);
	}
	hg_recorder_stop(r);
	log = test_open(dir);
	for (size_t i = 0; i < 8; i++)
		compare(log, i + 1, &m[i]);
	cr_assert_eq(hg_log_snapshot_next(log, 0), 1);
	cr_assert_eq(hg_log_snapshot_next(log, 8), 0);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(snapshot, zeros_and_repetitions_are_not_written)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m = memory(8 * MIB);
	uint64_t number, written;
	struct hg_log *log;

	memset(m.data, 0, 3 * MIB);
	memcpy(m.data + 6 * MIB, m.data + 5 * MIB, MIB);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	/* chunks 3, 4, 5 (= 6) and 7 */
	cr_assert_eq(written, 4 * MIB);
	hg_recorder_stop(r);
	log = test_open(dir);
	compare(log, 1, &m);
	hg_log_close(log);
}

Test(snapshot, what_did_not_change_is_not_written_again)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m = memory(10 * MIB), first = memory(10 * MIB);
	uint64_t number, written;
	const struct hg_snapshot *s;
	struct hg_log *log;

	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	cr_assert_eq(written, 10 * MIB);
	m.data[7 * MIB + 5] ^= 1;
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	cr_assert_eq(written, MIB);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	cr_assert_eq(written, 0);
	hg_recorder_stop(r);
	log = test_open(dir);
	compare(log, 1, &first);
	compare(log, 2, &m);
	compare(log, 3, &m);
	cr_assert_eq(hg_log_snapshot(log, 0, &s), HG_OK);
	cr_assert_eq(s->number, 3);
	cr_assert_str_eq(s->coverage, "{\"objects\":1}");
	cr_assert(!s->partial);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

static size_t count_files(const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n += !strncmp(e->d_name, prefix, strlen(prefix));
	closedir(d);
	return n;
}

static enum hg_status fail_late(void *dst, uint64_t addr, size_t size, void *arg)
{
	const struct test_memory *m = arg;

	if (addr >= m->addr + 6 * MIB)
		return HG_ERR_FAULT;
	return test_read(dst, addr, size, arg);
}

static enum hg_status abandon(struct hg_recorder *r, void *arg)
{
	struct test_memory *m = arg;
	struct hg_region region = { .addr = m->addr, .size = m->size, .kind = HG_REGION_DEVICE };
	struct hg_snapshot_writer *s;

	cr_assert_eq(hg_snapshot_begin(r, &s), HG_OK);
	cr_assert_eq(hg_snapshot_region(s, &region, fail_late, m), HG_ERR_FAULT);
	hg_snapshot_abandon(s);
	hg_snapshot_abandon(NULL);
	return HG_OK;
}

Test(snapshot, an_abandoned_one_leaves_nothing)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m = memory(9 * MIB);
	const struct hg_snapshot *found;
	uint64_t number, written;
	struct hg_log *log;

	cr_assert_eq(test_on_checkpoint(r, abandon, &m), HG_OK);
	cr_assert_eq(count_files(dir, "pack-"), 0);
	/* the next one has the number that this one would have had, and writes everything */
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	cr_assert_eq(number, 1);
	cr_assert_eq(written, 9 * MIB);
	hg_recorder_stop(r);
	log = test_open(dir);
	compare(log, 1, &m);
	cr_assert_eq(hg_log_snapshot(log, 2, &found), HG_ERR_NOTFOUND);
	hg_log_close(log);
}

Test(snapshot, a_log_without_one_says_so_silently)
{
	const char *dir = test_dir();
	const struct hg_snapshot *s;
	struct hg_log *log;

	hg_recorder_stop(test_start(dir));
	log = test_open(dir);
	cr_assert_eq(hg_log_snapshot(log, 0, &s), HG_ERR_NOTFOUND);
	cr_assert_eq(hg_log_snapshot_next(log, 0), 0);
	hg_log_close(log);
}

static char said[4096];
static size_t nr_said;

static void keep(enum hg_msg_level level, const char *line, void *arg)
{
	(void)arg;
	if (level > HG_MSG_WARN)
		return;
	nr_said++;
	strncat(said, line, sizeof(said) - strlen(said) - 1);
}

/* A snapshot, one that fails by `fault`, and one after it. */
static void fails_by(const char *fault, bool is_full)
{
	const char *dir = test_dir();
	struct test_memory m = memory(9 * MIB), before = memory(9 * MIB);
	uint64_t number, written;
	struct hg_recorder *r;
	struct hg_log *log;
	enum hg_status st;

	setenv("HGSHIM_FAULT", fault, 1);
	r = test_start(dir);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	for (size_t i = 0; i < m.size; i += MIB)
		m.data[i] ^= 0xff;
	hg_msg_sink_set(keep, NULL);
	st = test_snapshot(r, &m, 0, &number, &written);
	cr_assert_neq(st, HG_OK);
	if (is_full)
		cr_assert_eq(st, HG_ERR_NOSPC);
	cr_assert_eq(count_files(dir, "pack-"), 1);
	/* recording goes on, and so do snapshots */
	cr_assert(hg_recorder_is_on(r));
	cr_assert(test_launch(r, 0, 0, 1));
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	cr_assert_eq(number, 2);
	cr_assert_eq(written, 9 * MIB);
	hg_recorder_stop(r);
	hg_msg_sink_set(NULL, NULL);
	cr_assert_eq(nr_said, 1, "said %zu times: '%s'", nr_said, said);
	log = test_open(dir);
	compare(log, 1, &before);
	compare(log, 2, &m);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(snapshot, a_write_that_fails_fails_it_and_nothing_else)
{
	fails_by("snapshot.write:4", true);
}

Test(snapshot, a_sync_that_fails_fails_it_and_nothing_else)
{
	fails_by("snapshot.sync:2", false);
}

Test(snapshot, a_commit_that_fails_fails_it_and_nothing_else)
{
	fails_by("snapshot.commit:2", true);
}

Test(snapshot, a_commit_that_is_not_durable_does_not_count)
{
	fails_by("snapshot.env_sync:2", false);
}

/* On a real file system that has no room left. */
static void fill_small_disk(const char *dir)
{
	struct test_memory m = memory(3 * MIB), big = memory(64 * MIB);
	uint64_t number, written;
	struct hg_recorder *r;
	struct hg_log *log;
	enum hg_status st;

	setenv("HGSHIM_RING", "65536:4", 1);
	r = test_start(dir);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	hg_msg_sink_set(keep, NULL);
	st = test_snapshot(r, &big, 0, &number, &written);
	cr_assert_eq(st, HG_ERR_NOSPC);
	cr_assert_eq(count_files(dir, "pack-"), 1);
	cr_assert(test_launch(r, 0, 0, 1));
	m.data[0] ^= 1;
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	cr_assert_eq(number, 2);
	hg_recorder_stop(r);
	hg_msg_sink_set(NULL, NULL);
	cr_assert_eq(nr_said, 1, "said: '%s'", said);
	log = test_open(dir);
	compare(log, 2, &m);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(snapshot, a_disk_that_fills_up_fails_it_and_nothing_else, .timeout = 60)
{
	const char *dir = test_dir();
	char mounted[4200], log[4300];
	struct rlimit limit = { .rlim_cur = 32 * MIB, .rlim_max = 32 * MIB };

	snprintf(mounted, sizeof(mounted), "%s.tmpfs", dir);
	cr_assert_eq(mkdir(mounted, 0700), 0);
	if (!mount("hgshim-test", mounted, "tmpfs", 0, "size=24m")) {
		/* gone when the test's process is */
		umount2(mounted, 0);
		cr_assert_eq(mount("hgshim-test", mounted, "tmpfs", 0, "size=24m"), 0);
		snprintf(log, sizeof(log), "%s/log", mounted);
		fill_small_disk(log);
		umount2(mounted, MNT_DETACH);
		return;
	}
	/* not root: the limit on a file's size stands for the disk's */
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	fill_small_disk(dir);
}

Test(snapshot, drops_the_launches_before_it_and_keeps_the_objects)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m = memory(4096);
	uint64_t mem = test_alloc(r, 0, m.addr, m.size), number, written, after;
	struct hg_log_info info;
	struct hg_log *log;

	for (uint64_t i = 0; i < 1000; i++)
		test_launch(r, 0, 0, i);
	cr_assert_eq(test_snapshot(r, &m, mem, &number, &written), HG_OK);
	after = test_launch(r, 0, 0, 5);
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(test_calls(log)->nr, 1);
	cr_assert_eq(test_calls(log)->seq[0], after);
	hg_log_info(log, &info);
	cr_assert_eq(info.nr_objects_live, 1);
	cr_assert_eq(info.nr_records, 1002);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(snapshot, drops_nothing_when_all_calls_are_kept)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start_with(dir, HG_CALLS_ALL, false);
	struct test_memory m = memory(4096);
	static unsigned char data[5000];
	uint64_t number, written;
	struct hg_log *log;

	for (uint64_t i = 0; i < 100; i++)
		test_launch(r, 0, 0, i);
	test_h2d(r, 0, m.addr, data, sizeof(data));
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	test_h2d(r, 0, m.addr, data, sizeof(data));
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(test_calls(log)->nr, 102);
	cr_assert_eq(count_files(dir, "payload-"), 2);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(snapshot, drops_the_payload_before_it)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m = memory(4096);
	static unsigned char data[50000];
	uint64_t number, written;
	struct hg_log *log;

	for (int i = 0; i < 5; i++) {
		test_h2d(r, 0, m.addr, data, sizeof(data));
		cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	}
	test_h2d(r, 0, m.addr, data, sizeof(data));
	hg_recorder_stop(r);
	cr_assert_eq(count_files(dir, "payload-"), 1);
	log = test_open(dir);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(snapshot, makes_the_tail_complete_again_after_a_gap)
{
	const char *dir = test_dir();
	struct hg_recorder_config cfg = { .dir = dir, .payload = true, .payload_limit = 1000, .executor = "cpu",
					   .checkpoint = test_checkpoint };
	struct test_memory m = memory(4096);
	static unsigned char data[800];
	struct hg_payload_ref ref;
	uint64_t number, written;
	struct hg_log_info info;
	struct hg_recorder *r;
	struct hg_log *log;

	cr_assert_eq(hg_recorder_start(&cfg, &r), HG_OK);
	cr_assert_eq(hg_recorder_payload(r, data, sizeof(data), &ref), HG_OK);
	cr_assert_eq(hg_recorder_payload(r, data, sizeof(data), &ref), HG_ERR_NOSPC);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	cr_assert_eq(hg_recorder_payload(r, data, sizeof(data), &ref), HG_OK);
	hg_recorder_stop(r);
	log = test_open(dir);
	hg_log_info(log, &info);
	cr_assert(!info.snapshots_only);
	hg_log_close(log);
}

static enum hg_status list_one(const struct hg_object *o, void *arg)
{
	uint64_t *ids = arg;

	while (*ids)
		ids++;
	*ids = o->id;
	return HG_OK;
}

static bool has(const uint64_t *ids, uint64_t id)
{
	for (; *ids; ids++)
		if (*ids == id)
			return true;
	return false;
}

Test(snapshot, objects_are_known_as_they_were_at_each_moment)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m = memory(4096);
	uint64_t a, b, c, number, written, seq1, now[16] = { 0 }, then[16] = { 0 };
	const struct hg_snapshot *s;
	struct hg_log *log;

	a = test_alloc(r, 0, 0x200000000000, 64);
	b = test_alloc(r, 0, 0x200000001000, 64);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	test_free(r, 0, 0x200000000000);
	/* the address is reused: another object */
	c = test_alloc(r, 0, 0x200000000000, 128);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	hg_recorder_stop(r);

	log = test_open(dir);
	cr_assert_eq(hg_log_snapshot(log, 1, &s), HG_OK);
	seq1 = s->seq;
	cr_assert_eq(hg_log_objects(log, 0, list_one, now), HG_OK);
	cr_assert_eq(hg_log_objects(log, seq1, list_one, then), HG_OK);
	cr_assert(!has(now, a) && has(now, b) && has(now, c));
	cr_assert(has(then, a) && has(then, b) && !has(then, c));
	hg_log_close(log);
}

static enum hg_status find_object(const struct hg_object *o, void *arg)
{
	struct hg_object *want = arg;

	if (o->id == want->id)
		*want = *o;
	return HG_OK;
}

Test(snapshot, an_object_that_nothing_needs_is_forgotten)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m = memory(4096);
	uint64_t dead, number, written;
	struct hg_object o = { 0 };
	struct hg_log *log;

	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	dead = test_alloc(r, 0, 0x200000000000, 64);
	test_free(r, 0, 0x200000000000);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	test_launch(r, 0, 0, 1);
	hg_recorder_stop(r);
	log = test_open(dir);
	o.id = dead;
	cr_assert_eq(hg_log_objects(log, dead, find_object, &o), HG_OK);
	cr_assert_eq(o.handle, 0, "still there");
	hg_log_close(log);
}

Test(snapshot, what_goes_with_an_older_object_is_no_damage)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct test_memory m = memory(4096);
	uint64_t ctx, module, function, words[1], number, written;
	struct hg_log *log;

	ctx = test_ctx(r);
	module = test_module(r, ctx, ".version 7.0", 13);
	cr_assert_eq(test_snapshot(r, &m, 0, &number, &written), HG_OK);
	/* the module's own record is dropped with those before the snapshot */
	function = test_function(r, ctx, module, "late");
	words[0] = module;
	test_record(r, HG_ID_cuModuleUnload, ctx, words, 1);
	test_launch(r, ctx, 0, 1);
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert(function > module);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(track, objects_have_kind_parent_name_and_settings)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	uint64_t ctx = test_ctx(r), module = test_module(r, ctx, "ptx text", 9), f, mem, host;
	uint64_t host_word[] = { 0x7f0000001000, 8192, 0 }, pitch_word[] = { 0x200000100000, 512, 500, 100, 4 };
	struct hg_object o;
	struct hg_log *log;

	f = test_function(r, ctx, module, "_Z3addPf");
	test_func_set(r, ctx, f, 8, 65536);
	test_func_set(r, ctx, f, 9, 50);
	test_func_set(r, ctx, f, 8, 98304);
	mem = test_record(r, HG_ID_cuMemAllocPitch_v2, ctx, pitch_word, 5);
	host = test_record(r, HG_ID_cuMemHostRegister_v2, ctx, host_word, 3);
	hg_recorder_stop(r);

	log = test_open(dir);
	o = (struct hg_object){ .id = f };
	cr_assert_eq(hg_log_objects(log, 0, find_object, &o), HG_OK);
	cr_assert_eq(o.kind, HG_KIND_FUNCTION);
	cr_assert_eq(o.parent, module);
	cr_assert_str_eq(o.name, "_Z3addPf");
	cr_assert_eq(o.nr_set, 2);
	o = (struct hg_object){ .id = module };
	cr_assert_eq(hg_log_objects(log, 0, find_object, &o), HG_OK);
	cr_assert_eq(o.kind, HG_KIND_MODULE);
	cr_assert_eq(o.parent, ctx);
	o = (struct hg_object){ .id = mem };
	cr_assert_eq(hg_log_objects(log, 0, find_object, &o), HG_OK);
	cr_assert_eq(o.kind, HG_KIND_DPTR);
	cr_assert_eq(o.size, 51200);
	o = (struct hg_object){ .id = host };
	cr_assert_eq(hg_log_objects(log, 0, find_object, &o), HG_OK);
	cr_assert_eq(o.kind, HG_KIND_HPTR);
	cr_assert_eq(o.handle, 0x7f0000001000);
	cr_assert_eq(o.size, 8192);
	hg_log_close(log);
}

static enum hg_status check_set(const struct hg_object *o, void *arg)
{
	uint64_t *f = arg;

	if (o->id != *f)
		return HG_OK;
	cr_assert_eq(o->nr_set, 2);
	for (size_t i = 0; i < o->nr_set; i++)
		cr_assert_eq(o->set[i].rec->word[2], o->set[i].rec->word[1] == 8 ? 98304u : 50u);
	*f = 0;
	return HG_OK;
}

Test(track, of_settings_with_the_same_key_the_last_one_counts)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	uint64_t ctx = test_ctx(r), f = test_function(r, ctx, test_module(r, ctx, "x", 2), "k");
	struct hg_log *log;

	test_func_set(r, ctx, f, 8, 65536);
	test_func_set(r, ctx, f, 9, 50);
	test_func_set(r, ctx, f, 8, 98304);
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(hg_log_objects(log, 0, check_set, &f), HG_OK);
	cr_assert_eq(f, 0, "the function is missing");
	hg_log_close(log);
}

Test(track, what_belongs_to_a_context_dies_with_it)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	uint64_t ctx = test_ctx(r), other = test_ctx(r), kept, ids[16] = { 0 };
	struct hg_log *log;

	test_alloc(r, ctx, 0x200000000000, 64);
	test_function(r, ctx, test_module(r, ctx, "x", 2), "k");
	kept = test_alloc(r, other, 0x200000001000, 64);
	test_record(r, HG_ID_cuCtxDestroy_v2, 0, &ctx, 1);
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(hg_log_objects(log, 0, list_one, ids), HG_OK);
	cr_assert_eq(ids[0], other);
	cr_assert_eq(ids[1], kept);
	cr_assert_eq(ids[2], 0);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

static enum hg_status find_kernel(const struct hg_log_kernel *k, void *arg)
{
	uint64_t *n = arg;

	(*n)++;
	cr_assert_str_eq(k->name, "a_kernel");
	cr_assert_neq(k->image[0] | k->image[1] | k->image[2], 0);
	return HG_OK;
}

Test(track, kernels_stay_known_when_their_module_is_gone)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	uint64_t module = test_module(r, 0, "some image", 11), n = 0;
	struct hg_log *log;

	test_function(r, 0, module, "a_kernel");
	test_record(r, HG_ID_cuModuleUnload, 0, &module, 1);
	hg_recorder_stop(r);
	log = test_open(dir);
	cr_assert_eq(hg_log_kernels(log, find_kernel, &n), HG_OK);
	cr_assert_eq(n, 1);
	hg_log_close(log);
}

/* Killed in the middle of its second snapshot. */
static enum hg_status die_late(void *dst, uint64_t addr, size_t size, void *arg)
{
	const struct test_memory *m = arg;

	if (addr >= m->addr + 20 * MIB)
		raise(SIGKILL);
	return test_read(dst, addr, size, arg);
}

static enum hg_status second_snapshot(struct hg_recorder *r, void *arg)
{
	struct test_memory *m = arg;
	struct hg_region region = { .addr = m->addr, .size = m->size, .kind = HG_REGION_DEVICE };
	struct hg_snapshot_writer *s;

	if (hg_snapshot_begin(r, &s))
		_exit(2);
	(void)!hg_snapshot_region(s, &region, die_late, m);
	_exit(3);
}

static void snapshot_and_die(void *arg)
{
	struct test_memory m = memory(24 * MIB);
	struct hg_recorder *r = test_start(arg);
	uint64_t number, written;

	if (test_snapshot(r, &m, 0, &number, &written))
		_exit(1);
	test_launch(r, 0, 0, 1);
	for (size_t i = 0; i < m.size; i += MIB)
		m.data[i] ^= 0xff;
	test_on_checkpoint(r, second_snapshot, &m);
	_exit(4);
}

Test(snapshot, a_process_killed_during_one_has_the_previous_one_whole, .timeout = 60)
{
	const char *dir = test_dir();
	struct test_memory m = memory(24 * MIB);
	const struct hg_snapshot *s;
	struct hg_log *log;
	int status = test_child(snapshot_and_die, (void *)dir);

	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
	log = test_open(dir);
	cr_assert_eq(hg_log_snapshot(log, 0, &s), HG_OK);
	cr_assert_eq(s->number, 1);
	compare(log, 1, &m);
	cr_assert_eq(test_calls(log)->nr, 1);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}
