/*
 * bench_log.c - the ring, the writer and snapshots, by themselves.
 *
 *   records stored per second   one thread records launches as fast as it can until all are in LMDB
 *   one record                  hg_recorder_seq + begin + fill + commit, less the same loop without recording;
 *                               batches that fit into the lane, with the writer idle in between
 *   snapshot                    bytes/s of hg_snapshot_region + commit, against a plain O_DIRECT write and fdatasync of
 *                               the same bytes to the same directory, in turn
 *
 * Each is repeated; printed are minimum, median and maximum. HG_BENCH_DIR names the directory (default: /var/tmp).
 */
#define _GNU_SOURCE
#include <errno.h>
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

#include "common/msg.h"
#include "logdb/recorder_impl.h"
#include "logdb/words.h"

#define RUNS 7
#define RECORDS 3000000
#define PARAM_BYTES 64
#define BATCH 1000
#define BATCHES 300
#define SNAPSHOT_BYTES ((size_t)512 << 20)
#define WRITE_BYTES ((size_t)4 << 20)

static char base[4096];

static void die(const char *what)
{
	fprintf(stderr, "bench_log: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	(void)s;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tree(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(const char *what, double *v, const char *unit, const char *goal)
{
	qsort(v, RUNS, sizeof(*v), by_value);
	printf("%-44s %8.2f %8.2f %8.2f %s%s%s\n", what, v[0], v[RUNS / 2], v[RUNS - 1], unit, goal ? "  goal " : "",
	       goal ? goal : "");
}

/* What the checkpoint thread does when it is asked. */
static struct {
	const unsigned char *data;
	double seconds;
	struct hg_recorder *r;
} job;

static enum hg_status copy(void *dst, uint64_t addr, size_t size, void *arg)
{
	memcpy(dst, (const unsigned char *)arg + (addr - 0x200000000000), size);
	return HG_OK;
}

static enum hg_status snapshot(const struct hg_control *c, void *arg)
{
	struct hg_region region = { .addr = 0x200000000000, .size = SNAPSHOT_BYTES, .kind = HG_REGION_DEVICE };
	uint64_t started = hg_now_ns(), number, bytes, written;
	struct hg_snapshot_writer *s;
	enum hg_status st;

	(void)c;
	(void)arg;
	st = hg_snapshot_begin(job.r, &s);
	if (st)
		return st;
	st = hg_snapshot_region(s, &region, copy, (void *)job.data);
	if (st) {
		hg_snapshot_abandon(s);
		return st;
	}
	st = hg_snapshot_commit(s, NULL, false, &number, &bytes, &written);
	job.seconds = (double)(hg_now_ns() - started) / 1e9;
	return st ? st : written == SNAPSHOT_BYTES ? HG_OK : HG_ERR_DIFFERS;
}

static struct hg_recorder *start(void)
{
	struct hg_recorder_config cfg = { .executor = "bench", .checkpoint = snapshot };
	char dir[4200];
	struct hg_recorder *r;

	snprintf(dir, sizeof(dir), "%s/log", base);
	cfg.dir = dir;
	if (hg_recorder_start(&cfg, &r))
		exit(1);
	return r;
}

static void stop(struct hg_recorder *r)
{
	hg_recorder_stop(r);
	remove_tree(hg_recorder_dir(r));
}

static __attribute__((noinline)) void fill(uint64_t *word, uint64_t i)
{
	for (int k = 0; k < HG_LAUNCH_PARAMS; k++)
		word[k] = i + (uint64_t)k;
	word[HG_LAUNCH_PARAMS] = HG_BLOB(HG_BLOB_INLINE, PARAM_BYTES);
	memset(&word[HG_LAUNCH_NR_WORDS], (int)i, PARAM_BYTES);
}

static uint64_t record(struct hg_recorder *r, const struct hg_call_desc *desc, uint64_t n)
{
	uint64_t recorded = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t seq = hg_recorder_seq(r);
		struct hg_rec *rec = hg_recorder_begin(r, desc, seq, HG_LAUNCH_NR_WORDS, PARAM_BYTES);

		if (!rec)
			continue;
		fill(rec->word, i);
		hg_recorder_commit(r, rec);
		recorded++;
	}
	return recorded;
}

static void bench_records(void)
{
	double rate[RUNS], dropped[RUNS];

	for (int run = 0; run < RUNS; run++) {
		struct hg_recorder *r = start();
		uint64_t started = hg_now_ns(), n;

		n = record(r, hg_call_by_id(HG_ID_cuLaunchKernel), RECORDS);
		if (hg_recorder_drain(r, 60000))
			exit(1);
		rate[run] = (double)n / (double)(hg_now_ns() - started) * 1e3;
		dropped[run] = (double)(RECORDS - n);
		stop(r);
	}
	report("ring to LMDB, sustained", rate, "M records/s", ">= 5");
	report("  of these dropped", dropped, "records", "0");
}

static void bench_one(void)
{
	static uint64_t scratch[HG_LAUNCH_NR_WORDS + PARAM_BYTES / 8];
	const struct hg_call_desc *desc = hg_call_by_id(HG_ID_cuLaunchKernel);
	double median[RUNS];

	for (int run = 0; run < RUNS; run++) {
		static double ns[BATCHES];
		struct hg_recorder *r = start();

		record(r, desc, BATCH);
		for (int b = 0; b < BATCHES; b++) {
			uint64_t t0, t1, t2;

			/* an empty lane: what a program that launches less than the writer can store sees */
			if (hg_recorder_drain(r, 60000))
				exit(1);
			t0 = hg_now_ns();
			record(r, desc, BATCH);
			t1 = hg_now_ns();
			for (uint64_t i = 0; i < BATCH; i++)
				fill(scratch, i);
			t2 = hg_now_ns();
			ns[b] = ((double)(t1 - t0) - (double)(t2 - t1)) / BATCH;
		}
		qsort(ns, BATCHES, sizeof(ns[0]), by_value);
		median[run] = ns[BATCHES / 2];
		stop(r);
	}
	report("one record over none", median, "ns", "<= 50");
}

/* The peer: the same bytes, written with O_DIRECT in large pieces, and made durable. */
static double plain_write(const unsigned char *data)
{
	char path[4200];
	uint64_t started = hg_now_ns();
	double seconds;
	int fd;

	snprintf(path, sizeof(path), "%s/plain", base);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	for (size_t at = 0; at < SNAPSHOT_BYTES; at += WRITE_BYTES)
		if (pwrite(fd, data + at, WRITE_BYTES, (off_t)at) != (ssize_t)WRITE_BYTES)
			die(path);
	if (fdatasync(fd))
		die(path);
	seconds = (double)(hg_now_ns() - started) / 1e9;
	close(fd);
	unlink(path);
	return seconds;
}

static double one_snapshot(const unsigned char *data)
{
	struct hg_recorder *r = start();
	struct hg_control *c = r->control;

	job.r = r;
	job.data = data;
	atomic_fetch_add((atomic_uint *)&c->request, 1);
	syscall(SYS_tgkill, getpid(), (int)c->tid, SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET);
	while (atomic_load((atomic_uint *)&c->reply) != c->request)
		usleep(1000);
	if (c->status) {
		fprintf(stderr, "bench_log: snapshot: %s\n", c->message);
		exit(1);
	}
	stop(r);
	return job.seconds;
}

static void bench_snapshot(void)
{
	unsigned char *data = aligned_alloc(4096, SNAPSHOT_BYTES);
	double rate[RUNS], plain[RUNS], ratio[RUNS];
	uint64_t x = 88172645463325252;

	if (!data)
		die("memory");
	/* nothing repeats and nothing is zero: every byte must be written */
	for (size_t i = 0; i < SNAPSHOT_BYTES / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		((uint64_t *)data)[i] = x;
	}
	for (int run = 0; run < RUNS; run++) {
		double a, b, c;

		/* before and after, so that a disk that changes its speed favours neither */
		a = plain_write(data);
		b = one_snapshot(data);
		c = plain_write(data);
		rate[run] = SNAPSHOT_BYTES / b / 1e9;
		plain[run] = SNAPSHOT_BYTES / ((a + c) / 2) / 1e9;
		ratio[run] = 100 * rate[run] / plain[run];
	}
	report("snapshot", rate, "GB/s", NULL);
	report("plain O_DIRECT write of the same bytes", plain, "GB/s", NULL);
	report("snapshot, of the plain write", ratio, "%", ">= 90");
	free(data);
}

int main(void)
{
	const char *dir = getenv("HG_BENCH_DIR");

	hg_msg_prefix("bench_log");
	snprintf(base, sizeof(base), "%s/hgshim-bench-XXXXXX", dir ? dir : "/var/tmp");
	if (!mkdtemp(base))
		die(base);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%-44s %8s %8s %8s\n", "", "min", "median", "max");
	bench_one();
	bench_records();
	bench_snapshot();
	remove_tree(base);
	return 0;
}
