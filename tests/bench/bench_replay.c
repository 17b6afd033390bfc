/*
 * bench_replay.c - how fast a snapshot comes back, and calls are done again.
 *
 * The upload of a snapshot (read, checked by hash, written to the target) is compared with plain read(2) of the log's
 * pack files in the same run, in turn; both find the files in the page cache. The ratio of each pair is one sample.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "logdb/recorder_impl.h"
#include "replay/replay.h"

#define SAMPLES 7
#define SIZE (256u << 20)
#define FILLS 50000
#define BASE (HG_ARENA_BASE + (UINT64_C(1) << 32))

static unsigned char *bytes;
static struct hg_recorder *recorder;
static uint64_t ctx, alloc;

static void die(const char *what)
{
	fprintf(stderr, "bench_replay: %s\n", what);
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t record(enum hg_call_id id, const uint64_t *word, unsigned int n)
{
	uint64_t seq = hg_recorder_seq(recorder);
	struct hg_rec *rec = hg_recorder_begin(recorder, hg_call_by_id(id), seq, n, 0);

	if (!rec)
		die("a record was not taken");
	rec->ctx = ctx;
	memcpy(rec->word, word, n * sizeof(*word));
	hg_recorder_commit(recorder, rec);
	return seq;
}

static enum hg_status read_bytes(void *dst, uint64_t addr, size_t size, void *arg)
{
	(void)arg;
	memcpy(dst, bytes + (addr - BASE), size);
	return HG_OK;
}

static enum hg_status checkpoint(const struct hg_control *request, void *arg)
{
	struct hg_region region = { .addr = BASE, .size = SIZE, .object = alloc, .kind = HG_REGION_DEVICE };
	struct hg_snapshot_writer *s;
	uint64_t number, all, written;
	enum hg_status st;

	(void)request;
	(void)arg;
	st = hg_snapshot_begin(recorder, &s);
	if (st)
		return st;
	st = hg_snapshot_region(s, &region, read_bytes, NULL);
	if (st) {
		hg_snapshot_abandon(s);
		return st;
	}
	return hg_snapshot_commit(s, NULL, false, &number, &all, &written);
}

/* A context, a buffer, a snapshot of it, and fills after it. */
static void make_log(const char *dir)
{
	struct hg_recorder_config cfg = {
		.dir = dir, .calls = HG_CALLS_ALL, .payload = true, .executor = "cpu", .checkpoint = checkpoint,
	};
	uint64_t random = 1;

	bytes = malloc(SIZE);
	if (!bytes || hg_recorder_start(&cfg, &recorder))
		die("cannot record");
	for (size_t i = 0; i < SIZE; i += 8) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		memcpy(bytes + i, &random, 8);
	}
	ctx = record(HG_ID_cuCtxCreate_v2, (uint64_t[]){ 0x5000, 0, 0 }, 3);
	alloc = record(HG_ID_cuMemAlloc_v2, (uint64_t[]){ BASE, SIZE }, 2);
	atomic_fetch_add((atomic_uint *)&recorder->control->request, 1);
	syscall(SYS_tgkill, getpid(), (int)recorder->control->tid, SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET);
	while (atomic_load((atomic_uint *)&recorder->control->reply) != recorder->control->request)
		usleep(1000);
	if (recorder->control->status)
		die("cannot take a snapshot");
	for (int i = 0; i < FILLS; i++)
		record(HG_ID_cuMemsetD8_v2, (uint64_t[]){ BASE, 1, 64 }, 3);
	hg_recorder_stop(recorder);
}

static double packs_seconds;
static uint64_t packs_bytes;

static int read_pack(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	static unsigned char part[1 << 20];
	ssize_t n;
	int fd;

	(void)s;
	if (type != FTW_F || strncmp(path + ftw->base, "pack-", 5))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (n = read(fd, part, sizeof(part)); n > 0; n = read(fd, part, sizeof(part)))
		packs_bytes += (uint64_t)n;
	close(fd);
	return 0;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	(void)s;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void taken(uint64_t start, uint64_t end, void *arg)
{
	(void)start;
	(void)end;
	(void)arg;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print(const char *what, double *sample, const char *unit)
{
	qsort(sample, SAMPLES, sizeof(*sample), by_value);
	printf("%-44s %10.2f %s  (%.2f to %.2f)\n", what, sample[SAMPLES / 2], unit, sample[0], sample[SAMPLES - 1]);
}

int main(void)
{
	char base[] = "/tmp/hgshim-bench-XXXXXX", dir[64];
	double ratio[SAMPLES], rate[SAMPLES], calls[SAMPLES];
	struct hg_log *log;

	if (!mkdtemp(base))
		die("no temporary folder");
	snprintf(dir, sizeof(dir), "%s/log", base);
	make_log(dir);
	if (hg_log_open(dir, &log))
		die("cannot open the log");
	for (int i = 0; i < SAMPLES; i++) {
		struct hg_replay_options opt = { .target = &hg_target_cpu };
		const struct hg_replay_report *report;
		struct hg_replay *r;
		double start = now();

		packs_bytes = 0;
		nftw(dir, read_pack, 16, FTW_PHYS);
		packs_seconds = now() - start;
		if (packs_bytes < SIZE)
			die("the pack files are too small");
		if (hg_replay_open(log, &opt, taken, NULL, &r) || hg_replay_run(r))
			die("the log does not replay");
		report = hg_replay_report(r);
		rate[i] = SIZE / ((double)report->upload_ns / 1e9) / 1e9;
		ratio[i] = rate[i] * 1e9 / ((double)packs_bytes / packs_seconds);
		calls[i] = (double)report->tail_ns / (double)report->nr_calls;
		hg_replay_close(r);
	}
	hg_log_close(log);
	print("replay: snapshot into memory", rate, "GB/s");
	print("replay: snapshot into memory / read(2)", ratio, "x");
	print("replay: a recorded fill done again", calls, "ns");
	nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(bytes);
	return 0;
}
