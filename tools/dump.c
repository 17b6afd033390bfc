/* dump.c - the buffers of the portable driver as files. */
#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include "tools/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/io.h"
#include "common/msg.h"
#include "replay/driver.h"

#define PART (4u << 20)

struct dump {
	struct hg_progress *progress;
	int folder;
	unsigned char *part;
	json_t *buffers;
	uint64_t done, total;
};

static enum hg_status io_error(const char *doing, const char *name)
{
	pr_err("cannot %s '%s': %s", doing, name, strerror(errno));
	return errno == ENOSPC || errno == EDQUOT ? HG_ERR_NOSPC : HG_ERR_IO;
}

static enum hg_status write_all(int fd, const void *data, size_t size, const char *name)
{
	return hg_write_all(fd, data, size) ? HG_OK : io_error("write", name);
}

const char *hg_text_region(enum hg_region_kind kind)
{
	switch (kind) {
	case HG_REGION_DEVICE:
		return "device";
	case HG_REGION_GLOBAL:
		return "global";
	case HG_REGION_HOST:
		return "host";
	case HG_REGION_REGISTERED:
		return "registered";
	}
	return "?";
}

static enum hg_status dump_region(const struct hg_region *region, void *arg)
{
	struct dump *d = arg;
	XXH64_hash_t digest;
	XXH3_state_t *state = XXH3_createState();
	enum hg_status st = HG_OK;
	char name[32], addr[32], hash[32];
	json_t *row;
	int fd;

	if (!state)
		return HG_ERR_NOMEM;
	snprintf(name, sizeof(name), "0x%" PRIx64, region->addr);
	fd = openat(d->folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		st = io_error("create", name);
		goto out_state;
	}
	XXH3_64bits_reset(state);
	for (uint64_t at = 0; at < region->size && !st; at += PART) {
		size_t n = region->size - at < PART ? region->size - at : PART;

		st = hg_driver_read(d->part, region->addr + at, n);
		if (!st)
			st = write_all(fd, d->part, n, name);
		XXH3_64bits_update(state, d->part, n);
		d->done += n;
		hg_progress_update(d->progress, d->done);
	}
	if (close(fd) && !st)
		st = io_error("write", name);
	if (st)
		goto out_state;
	digest = XXH3_64bits_digest(state);
	snprintf(addr, sizeof(addr), "0x%" PRIx64, region->addr);
	snprintf(hash, sizeof(hash), "%016" PRIx64, (uint64_t)digest);
	row = json_pack("{s:s, s:I, s:s, s:s, s:s}", "address", addr, "size", (json_int_t)region->size, "kind",
			hg_text_region(region->kind), "file", name, "xxh3", hash);
	if (!row || (region->name && json_object_set_new(row, "name", json_string(region->name))) ||
	    json_array_append_new(d->buffers, row))
		st = HG_ERR_NOMEM;
out_state:
	XXH3_freeState(state);
	return st;
}

static enum hg_status add_size(const struct hg_region *region, void *arg)
{
	*(uint64_t *)arg += region->size;
	return HG_OK;
}

static enum hg_status dump_manifest(const struct dump *d, const char *target, const struct hg_replay_report *report)
{
	enum hg_status st = HG_OK;
	json_t *manifest;
	char *text;
	int fd;

	manifest = json_pack("{s:i, s:s, s:I, s:I, s:O}", "version", 1, "target", target, "snapshot",
			     (json_int_t)report->snapshot, "seq", (json_int_t)report->last_seq, "buffers", d->buffers);
	text = manifest ? json_dumps(manifest, JSON_INDENT(1)) : NULL;
	json_decref(manifest);
	if (!text)
		return HG_ERR_NOMEM;
	fd = openat(d->folder, "manifest.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		st = io_error("create", "manifest.json");
		goto out_text;
	}
	st = write_all(fd, text, strlen(text), "manifest.json");
	if (!st)
		st = write_all(fd, "\n", 1, "manifest.json");
	if (close(fd) && !st)
		st = io_error("write", "manifest.json");
out_text:
	free(text);
	return st;
}

enum hg_status hg_dump(const char *folder, const char *target, const struct hg_replay_report *report, bool quiet)
{
	struct hg_progress progress = { 0 };
	struct dump d = { .progress = &progress };
	enum hg_status st;

	if (mkdir(folder, 0700) && errno != EEXIST)
		return io_error("create folder", folder);
	d.folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.folder < 0)
		return io_error("open folder", folder);
	d.part = malloc(PART);
	d.buffers = json_array();
	st = d.part && d.buffers ? hg_driver_regions(add_size, &d.total) : HG_ERR_NOMEM;
	if (!st) {
		hg_progress_start(&progress, "dumping", HG_PROGRESS_BYTES, d.total, quiet);
		st = hg_driver_regions(dump_region, &d);
		hg_progress_end(&progress);
	}
	if (!st)
		st = dump_manifest(&d, target, report);
	json_decref(d.buffers);
	free(d.part);
	close(d.folder);
	return st;
}
