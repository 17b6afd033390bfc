/* helper.c - small logs for tests. */
#define _GNU_SOURCE
#include "tests/unit/logdb/helper.h"

#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/recorder_impl.h"
#include "logdb/words.h"

static char base[4096];

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	(void)s;
	(void)type;
	(void)ftw;
	return remove(path);
}

void test_remove(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_base(void)
{
	test_remove(base);
}

const char *test_dir(void)
{
	static char dir[4200];
	const char *tmp = getenv("TMPDIR");

	/* tests look for warnings, whatever HGSHIM_VERBOSE says */
	hg_msg_level_set(HG_MSG_WARN);
	snprintf(base, sizeof(base), "%s/hgshim-test-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(base));
	atexit(remove_base);
	snprintf(dir, sizeof(dir), "%s/log", base);
	return dir;
}

struct hg_recorder *test_start_with(const char *dir, enum hg_calls_mode calls, bool stacks)
{
	struct hg_recorder_config cfg = {
		.dir = dir, .calls = calls, .payload = true, .stacks = stacks, .executor = "cpu",
		.checkpoint = test_checkpoint,
	};
	struct hg_recorder *r;

	cr_assert_eq(hg_recorder_start(&cfg, &r), HG_OK);
	return r;
}

struct hg_recorder *test_start(const char *dir)
{
	return test_start_with(dir, HG_CALLS_TAIL, false);
}

struct hg_log *test_open(const char *dir)
{
	struct hg_log *log;

	cr_assert_eq(hg_log_open(dir, &log), HG_OK);
	return log;
}

uint64_t test_record(struct hg_recorder *r, enum hg_call_id id, uint64_t ctx, const uint64_t *word, unsigned int n)
{
	uint64_t seq = hg_recorder_seq(r);
	struct hg_rec *rec = hg_recorder_begin(r, hg_call_by_id(id), seq, n, 0);

	if (!rec)
		return 0;
	rec->ctx = ctx;
	memcpy(rec->word, word, n * sizeof(*word));
	hg_recorder_commit(r, rec);
	return seq;
}

uint64_t test_ctx(struct hg_recorder *r)
{
	uint64_t word[] = { 0x5000, 0, 0 };

	return test_record(r, HG_ID_cuCtxCreate_v2, 0, word, 3);
}

uint64_t test_alloc(struct hg_recorder *r, uint64_t ctx, uint64_t addr, uint64_t size)
{
	uint64_t word[] = { addr, size };

	return test_record(r, HG_ID_cuMemAlloc_v2, ctx, word, 2);
}

uint64_t test_free(struct hg_recorder *r, uint64_t ctx, uint64_t addr)
{
	return test_record(r, HG_ID_cuMemFree_v2, ctx, &addr, 1);
}

uint64_t test_func_set(struct hg_recorder *r, uint64_t ctx, uint64_t function, uint32_t attribute, int value)
{
	uint64_t word[] = { function, attribute, (uint64_t)(int64_t)value };

	return test_record(r, HG_ID_cuFuncSetAttribute, ctx, word, 3);
}

uint64_t test_launch(struct hg_recorder *r, uint64_t ctx, uint64_t function, uint64_t mark)
{
	uint64_t seq = hg_recorder_seq(r);
	struct hg_rec *rec = hg_recorder_begin(r, hg_call_by_id(HG_ID_cuLaunchKernel), seq, HG_LAUNCH_NR_WORDS, 8);

	if (!rec)
		return 0;
	memset(rec->word, 0, HG_LAUNCH_NR_WORDS * sizeof(rec->word[0]));
	rec->ctx = ctx;
	rec->word[HG_LAUNCH_FUNCTION] = function;
	rec->word[HG_LAUNCH_PARAMS] = HG_BLOB(HG_BLOB_INLINE, 8);
	rec->word[HG_LAUNCH_NR_WORDS] = mark;
	hg_recorder_commit(r, rec);
	return seq;
}

uint64_t test_module(struct hg_recorder *r, uint64_t ctx, const void *image, size_t size)
{
	unsigned char key[16];
	struct hg_rec *rec;
	uint64_t seq;

	cr_assert_eq(hg_recorder_image(r, image, size, key), HG_OK);
	seq = hg_recorder_seq(r);
	rec = hg_recorder_begin(r, hg_call_by_id(HG_ID_cuModuleLoadData), seq, 2, 16);
	if (!rec)
		return 0;
	rec->ctx = ctx;
	rec->word[0] = 0x6000 + seq;
	rec->word[1] = HG_BLOB(HG_BLOB_IMAGE, size);
	memcpy(&rec->word[2], key, sizeof(key));
	hg_recorder_commit(r, rec);
	return seq;
}

uint64_t test_function(struct hg_recorder *r, uint64_t ctx, uint64_t module, const char *name)
{
	size_t len = strlen(name) + 1;
	uint64_t seq = hg_recorder_seq(r);
	struct hg_rec *rec = hg_recorder_begin(r, hg_call_by_id(HG_ID_cuModuleGetFunction), seq, 3, (len + 7) & ~7ul);

	if (!rec)
		return 0;
	rec->ctx = ctx;
	rec->word[0] = 0x7000 + seq;
	rec->word[1] = module;
	rec->word[2] = HG_BLOB(HG_BLOB_INLINE, len);
	memcpy(&rec->word[3], name, len);
	hg_recorder_commit(r, rec);
	return seq;
}

uint64_t test_h2d(struct hg_recorder *r, uint64_t ctx, uint64_t addr, const void *data, size_t size)
{
	struct hg_payload_ref ref;
	struct hg_rec *rec;
	uint64_t seq;

	cr_assert_eq(hg_recorder_payload(r, data, size, &ref), HG_OK);
	seq = hg_recorder_seq(r);
	rec = hg_recorder_begin(r, hg_call_by_id(HG_ID_cuMemcpyHtoD_v2), seq, 3, sizeof(ref));
	if (!rec)
		return 0;
	rec->ctx = ctx;
	rec->word[0] = addr;
	rec->word[1] = HG_BLOB(HG_BLOB_PAYLOAD, size);
	rec->word[2] = size;
	memcpy(&rec->word[3], &ref, sizeof(ref));
	hg_recorder_commit(r, rec);
	return seq;
}

enum hg_status test_read(void *dst, uint64_t addr, size_t size, void *memory)
{
	const struct test_memory *m = memory;

	if (addr < m->addr || addr - m->addr > m->size || size > m->size - (addr - m->addr))
		return HG_ERR_INVALID;
	memcpy(dst, m->data + (addr - m->addr), size);
	return HG_OK;
}

static struct {
	struct hg_recorder *r;
	enum hg_status (*f)(struct hg_recorder *r, void *arg);
	void *arg;
} job;

enum hg_status test_checkpoint(const struct hg_control *request, void *arg)
{
	(void)request;
	(void)arg;
	return job.f(job.r, job.arg);
}

enum hg_status test_on_checkpoint(struct hg_recorder *r, enum hg_status (*f)(struct hg_recorder *r, void *arg), void *arg)
{
	struct hg_control *c = r->control;

	job.r = r;
	job.f = f;
	job.arg = arg;
	atomic_fetch_add((atomic_uint *)&c->request, 1);
	syscall(SYS_tgkill, getpid(), (int)c->tid, SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET);
	while (atomic_load((atomic_uint *)&c->reply) != c->request)
		usleep(200);
	return (enum hg_status)c->status;
}

struct snapshot_job {
	const struct test_memory *m;
	uint64_t object, *number, *written;
};

static enum hg_status take_snapshot(struct hg_recorder *r, void *arg)
{
	struct snapshot_job *j = arg;
	struct hg_region region = {
		.addr = j->m->addr, .size = j->m->size, .object = j->object, .kind = HG_REGION_DEVICE,
	};
	struct hg_snapshot_writer *s;
	uint64_t bytes;
	enum hg_status st;

	st = hg_snapshot_begin(r, &s);
	if (st)
		return st;
	st = hg_snapshot_region(s, &region, test_read, (void *)j->m);
	if (st) {
		hg_snapshot_abandon(s);
		return st;
	}
	return hg_snapshot_commit(s, "{\"objects\":1}", false, j->number, &bytes, j->written);
}

enum hg_status test_snapshot(struct hg_recorder *r, const struct test_memory *m, uint64_t object, uint64_t *number,
			     uint64_t *written)
{
	struct snapshot_job j = { m, object, number, written };

	return test_on_checkpoint(r, take_snapshot, &j);
}

static enum hg_status add(const struct hg_rec_view *v, void *arg)
{
	struct test_calls *c = arg;

	cr_assert_lt(c->nr, sizeof(c->seq) / sizeof(c->seq[0]));
	c->seq[c->nr] = v->rec->seq;
	c->call[c->nr++] = v->rec->call;
	return HG_OK;
}

const struct test_calls *test_calls(struct hg_log *log)
{
	static struct test_calls c;

	c.nr = 0;
	cr_assert_eq(hg_log_calls(log, 0, UINT64_MAX, add, &c), HG_OK);
	return &c;
}

static void problem(const char *text, void *arg)
{
	uint64_t *n = arg;

	fprintf(stderr, "problem: %s\n", text);
	(*n)++;
}

uint64_t test_nr_problems(struct hg_log *log)
{
	uint64_t n = 0;
	enum hg_status st = hg_log_check(log, problem, &n);

	cr_assert_eq(st, n ? HG_ERR_CORRUPT : HG_OK);
	return n;
}

int test_child(void (*f)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid) {
		f(arg);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}
