/* fuzz_log_file.c - any bytes as a log's main file: a clear refusal or a log, never a crash of ours or of LMDB's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/logdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], file[96];
static FILE *nowhere;
static unsigned int nr_messages;

static void count(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
	nr_messages++;
}

static void clean(void)
{
	unlink(file);
	rmdir(dir);
}

static void set_up(void)
{
	/* in memory where there is such a place: this happens thousands of times a second */
	snprintf(dir, sizeof(dir), "%s/hgshim-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	nowhere = fopen("/dev/null", "w");
	if (!mkdtemp(dir) || !nowhere)
		abort();
	snprintf(file, sizeof(file), "%s/log.mdb", dir);
	atexit(clean);
}

static enum hg_status call(const struct hg_rec_view *v, void *arg)
{
	struct hg_log *log = arg;

	hg_rec_print(v, nowhere);
	for (int i = 0; i < v->nr_args; i++) {
		void *data;
		size_t size;

		if (!hg_log_blob(log, v, i, &data, &size))
			free(data);
	}
	return HG_OK;
}

static enum hg_status object(const struct hg_object *o, void *arg)
{
	(void)arg;
	hg_rec_print(&o->created, nowhere);
	return HG_OK;
}

static enum hg_status kernel(const struct hg_log_kernel *k, void *arg)
{
	(void)arg;
	fputs(k->name, nowhere);
	return HG_OK;
}

static int symbol(const char *name, uint64_t n, void *arg)
{
	(void)n;
	(void)arg;
	fputs(name, nowhere);
	return 0;
}

static int frame(uint64_t pc, const char *text, void *arg)
{
	(void)pc;
	(void)arg;
	fputs(text ? text : "", nowhere);
	return 0;
}

static void problem(const char *text, void *arg)
{
	(void)arg;
	fputs(text, nowhere);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hg_log_info info;
	struct hg_log *log;
	uint64_t number = 0;
	enum hg_status st;
	int fd;

	if (!dir[0])
		set_up();
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	close(fd);
	hg_msg_sink_set(count, NULL);
	nr_messages = 0;
	st = hg_log_open(dir, &log);
	if (st) {
		/* lack of memory needs no message of its own */
		if (!nr_messages && st != HG_ERR_NOMEM)
			abort();
		return 0;
	}
	hg_log_info(log, &info);
	fprintf(nowhere, "%s %s", info.program, info.executor);
	(void)!hg_log_calls(log, 0, UINT64_MAX, call, log);
	(void)!hg_log_objects(log, 0, object, NULL);
	(void)!hg_log_objects(log, 20, object, NULL);
	(void)!hg_log_kernels(log, kernel, NULL);
	hg_log_unsupported(log, symbol, NULL);
	(void)!hg_log_stack(log, 1, frame, NULL);
	for (int i = 0; i < 10; i++) {
		const struct hg_snapshot *s;
		unsigned char byte[64];

		number = hg_log_snapshot_next(log, number);
		if (!number || hg_log_snapshot(log, number, &s))
			break;
		for (size_t k = 0; k < s->nr_regions && k < 10; k++)
			(void)!hg_log_region_read(log, s, k, 0, byte, s->regions[k].size < 64 ? s->regions[k].size : 64);
	}
	(void)!hg_log_check(log, problem, NULL);
	hg_msg_sink_set(count, NULL);
	hg_log_close(log);
	return 0;
}
