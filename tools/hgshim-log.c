/* hgshim-log.c - shows and checks a log. */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/logdb.h"
#include "logdb/words.h"
#include "tools/log_target.h"
#include "tools/progress.h"

static struct {
	bool json, quiet, stacks, compile;
	uint64_t from, to, seq, snapshot;
	const char *target;
} opt = { .to = UINT64_MAX };

static const char help[] =
	"usage: hgshim-log COMMAND [OPTIONS] [LOG]\n"
	"\n"
	"LOG is a log directory or the number of a process; without it, the newest log is taken.\n"
	"\n"
	"commands\n"
	"  info        what the log is and how much of it there is\n"
	"  calls       every recorded call, arguments by name\n"
	"  objects     contexts, modules, kernels, streams, events and memory that are alive\n"
	"  snapshots   snapshots and the regions of memory in them\n"
	"  kernels     every kernel that was looked up, and how often it was launched\n"
	"  coverage    what the coverage manifest of a snapshot says; with --target: what of the log's kernels\n"
	"              a target cannot run\n"
	"  check       reads everything and says what is damaged\n"
	"\n"
	"options\n"
	"  --json            JSON on stdout\n"
	"  --from SEQ, --to SEQ   calls: only these records\n"
	"  --stacks          calls: who called (recorded with HGSHIM_STACKS=1)\n"
	"  --seq SEQ         objects: as they were after this record\n"
	"  --snapshot N      coverage: of this snapshot, not of the newest\n"
	"  --target T        coverage: NAME, or NAME:CHIP; without a chip, all that are tested\n"
	"  --compile         coverage --target: compile each kernel as well, as its largest launch would; finds what the\n"
	"                    compiler for that target refuses, and takes as long as that\n"
	"  --quiet           check: say nothing but errors\n"
	"  --help            this text\n"
	"\n"
	"exit status: 0 done, 1 refused, or kernels that cannot run, 2 wrong usage, 3 the log is damaged\n";

/*
 * A log that is cut short while it is read: LMDB maps its file, and a page that is gone raises
 * SIGBUS. Everything was checked before; this is for what changed since.
 */
static void on_sigbus(int signo)
{
	static const char text[] = "hgshim-log: error: the log was cut short while it was read\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)signo;
	(void)n;
	_exit(3);
}

/* JSON */

static json_t *jstr(const char *s)
{
	json_t *j;
	char *copy;

	if (!s)
		return json_null();
	j = json_string(s);
	if (j)
		return j;
	/* not UTF-8: a damaged log, or a program with odd names */
	copy = strdup(s);
	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	j = json_string(copy ? copy : "");
	free(copy);
	return j;
}

static json_t *jhex(uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, v);
	return json_string(text);
}

static json_t *jnum(uint64_t v)
{
	return v > INT64_MAX ? jhex(v) : json_integer((json_int_t)v);
}

static json_t *jbytes(const unsigned char *p, size_t size)
{
	char *text = malloc(2 * size + 1);
	json_t *j;

	if (!text)
		return json_null();
	for (size_t i = 0; i < size; i++)
		sprintf(text + 2 * i, "%02x", p[i]);
	text[2 * size] = '\0';
	j = json_string(text);
	free(text);
	return j;
}

static enum hg_status print_json(json_t *j)
{
	char *text = json_dumps(j, JSON_INDENT(2));

	json_decref(j);
	if (!text)
		return HG_ERR_NOMEM;
	puts(text);
	free(text);
	return HG_OK;
}

/* A list that may be long is printed piece by piece. */
static bool list_began;

static void list_begin(void)
{
	list_began = false;
	if (opt.json)
		fputs("[", stdout);
}

static enum hg_status list_item(json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT);

	json_decref(j);
	if (!text)
		return HG_ERR_NOMEM;
	printf("%s\n%s", list_began ? "," : "", text);
	list_began = true;
	free(text);
	return HG_OK;
}

static void list_end(void)
{
	if (opt.json)
		puts(list_began ? "\n]" : "]");
}

static json_t *json_blob(const struct hg_rec_view *v, int i)
{
	static const char *const encoding[] = {
		[HG_BLOB_INLINE] = "inline", [HG_BLOB_PAYLOAD] = "payload", [HG_BLOB_DIGEST] = "digest",
		[HG_BLOB_IMAGE] = "image", [HG_BLOB_ABSENT] = "absent",
	};
	uint64_t word = v->rec->word[i], length = hg_blob_len(word);
	json_t *j = json_object();

	json_object_set_new(j, "bytes", jnum(length));
	json_object_set_new(j, "kept", json_string(encoding[hg_blob_enc(word)]));
	switch (hg_blob_enc(word)) {
	case HG_BLOB_INLINE:
		json_object_set_new(j, "hex", jbytes(v->blob[i], v->blob[i] ? length : 0));
		break;
	case HG_BLOB_PAYLOAD: {
		struct hg_payload_ref ref;

		memcpy(&ref, v->blob[i], sizeof(ref));
		json_object_set_new(j, "file", json_integer(ref.file));
		json_object_set_new(j, "offset", jnum(ref.offset));
		json_object_set_new(j, "xxh3", jhex(ref.digest));
		break;
	}
	case HG_BLOB_DIGEST: {
		uint64_t digest;

		memcpy(&digest, v->blob[i], sizeof(digest));
		json_object_set_new(j, "xxh3", jhex(digest));
		break;
	}
	case HG_BLOB_IMAGE:
		json_object_set_new(j, "image", jbytes(v->blob[i], 16));
		break;
	case HG_BLOB_ABSENT:
		break;
	}
	return j;
}

static json_t *json_arg(const struct hg_rec_view *v, int i)
{
	uint64_t word = v->rec->word[i];

	switch (v->arg[i].kind) {
	case HG_KIND_CSTR:
		if (hg_blob_enc(word) == HG_BLOB_INLINE && v->blob[i])
			return jstr(v->blob[i]);
		return json_blob(v, i);
	case HG_KIND_BYTES: case HG_KIND_IMAGE:
		return json_blob(v, i);
	case HG_KIND_DPTR: case HG_KIND_HPTR: case HG_KIND_OPAQUE:
		return jhex(word);
	case HG_KIND_I32:
		return json_integer((int32_t)word);
	default:
		return hg_kind_is_object(v->arg[i].kind) && v->arg[i].dir == HG_DIR_OUT ? jhex(word) : jnum(word);
	}
}

/* Names of kernels by id, ascending as the log gives them. */
struct kernel {
	uint64_t id, launches;
	struct hg_log_kernel k;
	char *name;
};

static struct kernels {
	struct kernel *kernel;
	size_t nr, capacity;
} kernels;

static enum hg_status add_kernel(const struct hg_log_kernel *k, void *arg)
{
	struct kernels *all = arg;

	if (all->nr == all->capacity) {
		size_t capacity = all->capacity ? all->capacity * 2 : 64;
		struct kernel *more = realloc(all->kernel, capacity * sizeof(*more));

		if (!more)
			return HG_ERR_NOMEM;
		all->kernel = more;
		all->capacity = capacity;
	}
	all->kernel[all->nr] = (struct kernel){ .id = k->id, .k = *k, .name = strdup(k->name) };
	if (!all->kernel[all->nr].name)
		return HG_ERR_NOMEM;
	all->nr++;
	return HG_OK;
}

static struct kernel *find_kernel(uint64_t id)
{
	size_t low = 0, high = kernels.nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (kernels.kernel[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < kernels.nr && kernels.kernel[low].id == id ? &kernels.kernel[low] : NULL;
}

static struct kernel *kernel_of(const struct hg_rec_view *v)
{
	if (!v->desc || v->desc->op != HG_OP_LAUNCH || v->nr_args != HG_LAUNCH_NR_WORDS)
		return NULL;
	return find_kernel(v->rec->word[HG_LAUNCH_FUNCTION]);
}

/* info */

struct unsupported {
	json_t *json;
	bool any;
};

static int each_unsupported(const char *symbol, uint64_t count, void *arg)
{
	struct unsupported *u = arg;

	if (u->json)
		json_object_set_new(u->json, symbol, jnum(count));
	else
		printf("%s  %s (%" PRIu64 ")", u->any ? "," : "not there     ", symbol, count);
	u->any = true;
	return 0;
}

static void utc(uint64_t unix_ns, char text[40])
{
	time_t seconds = (time_t)(unix_ns / 1000000000);
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(text, 40, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(text, 40, "?");
}

static enum hg_status cmd_info(struct hg_log *log, const char *path)
{
	struct unsupported u = { 0 };
	struct hg_log_info i;
	char when[40], a[16], b[16], c[16];

	hg_log_info(log, &i);
	if (opt.json) {
		json_t *j = json_object();

		json_object_set_new(j, "log", jstr(path));
		json_object_set_new(j, "version", json_integer(i.version));
		json_object_set_new(j, "program", jstr(i.program));
		json_object_set_new(j, "executor", jstr(i.executor));
		json_object_set_new(j, "executor_now", jstr(i.executor_now));
		json_object_set_new(j, "executor_seq", jnum(i.executor_seq));
		json_object_set_new(j, "pid", json_integer(i.pid));
		json_object_set_new(j, "live", json_boolean(i.live));
		json_object_set_new(j, "started_unix_ns", jnum(i.started_unix_ns));
		json_object_set_new(j, "records", jnum(i.nr_records));
		json_object_set_new(j, "first_seq", jnum(i.first_seq));
		json_object_set_new(j, "last_seq", jnum(i.last_seq));
		json_object_set_new(j, "recovered", jnum(i.nr_recovered));
		json_object_set_new(j, "dropped", jnum(i.nr_dropped));
		json_object_set_new(j, "objects_live", jnum(i.nr_objects_live));
		json_object_set_new(j, "snapshots", jnum(i.nr_snapshots));
		json_object_set_new(j, "images", jnum(i.nr_images));
		json_object_set_new(j, "bytes_lmdb", jnum(i.bytes_lmdb));
		json_object_set_new(j, "bytes_packs", jnum(i.bytes_packs));
		json_object_set_new(j, "bytes_payload", jnum(i.bytes_payload));
		json_object_set_new(j, "snapshots_only", json_boolean(i.snapshots_only));
		json_object_set_new(j, "snapshots_only_why", jstr(i.snapshots_only_why));
		u.json = json_object();
		hg_log_unsupported(log, each_unsupported, &u);
		json_object_set_new(j, "unsupported", u.json);
		return print_json(j);
	}
	utc(i.started_unix_ns, when);
	printf("log           %s, version %u\n", path, i.version);
	printf("program       %s\n", i.program);
	printf("process       %u, %s, started %s\n", i.pid, i.live ? "running" : "gone", when);
	printf("executor      %s", i.executor);
	if (i.executor_seq)
		printf(", and since record %" PRIu64 " %s", i.executor_seq, i.executor_now);
	putchar('\n');
	printf("records       %" PRIu64, i.nr_records);
	if (i.last_seq)
		printf(", kept %" PRIu64 " to %" PRIu64, i.first_seq, i.last_seq);
	if (i.nr_recovered)
		printf(", %" PRIu64 " recovered from the ring", i.nr_recovered);
	if (i.nr_dropped)
		printf(", %" PRIu64 " dropped", i.nr_dropped);
	putchar('\n');
	printf("objects       %" PRIu64 " alive, %" PRIu64 " code images\n", i.nr_objects_live, i.nr_images);
	printf("snapshots     %" PRIu64 "\n", i.nr_snapshots);
	printf("on disk       %s records, %s snapshots, %s copied to the device\n", hg_text_bytes(i.bytes_lmdb, a),
	       hg_text_bytes(i.bytes_packs, b), hg_text_bytes(i.bytes_payload, c));
	if (i.snapshots_only)
		printf("replay        to snapshots only: %s\n", i.snapshots_only_why);
	else
		puts("replay        to any record");
	hg_log_unsupported(log, each_unsupported, &u);
	if (u.any)
		putchar('\n');
	return HG_OK;
}

/* calls */

struct frames {
	json_t *json;
};

static int each_frame(uint64_t pc, const char *text, void *arg)
{
	struct frames *f = arg;

	/* the wrapper's own frames say nothing about who called */
	if (text && strstr(text, " (libhgshim.so)"))
		return 0;
	if (f->json) {
		json_t *j = json_object();

		json_object_set_new(j, "pc", jhex(pc));
		json_object_set_new(j, "text", jstr(text));
		json_array_append_new(f->json, j);
	} else if (text) {
		printf("        at %s\n", text);
	} else {
		printf("        at 0x%" PRIx64 "\n", pc);
	}
	return 0;
}

static enum hg_status json_call(struct hg_log *log, const struct hg_rec_view *v)
{
	const struct hg_rec *rec = v->rec;
	const struct kernel *k = kernel_of(v);
	json_t *j = json_object(), *args = json_object();

	json_object_set_new(j, "seq", jnum(rec->seq));
	json_object_set_new(j, "thread", json_integer(rec->thread));
	if (rec->call == HG_REC_GAP) {
		json_object_set_new(j, "call", json_string("gap"));
		json_object_set_new(j, "dropped", jnum(rec->nr_words ? rec->word[0] : 0));
	} else if (v->desc) {
		json_object_set_new(j, "call", jstr(v->desc->name));
		json_object_set_new(j, "op", json_string(hg_op_name(v->desc->op)));
	} else {
		json_object_set_new(j, "call", json_integer(rec->call));
	}
	json_object_set_new(j, "ctx", jnum(rec->ctx));
	for (int i = 0; i < v->nr_args; i++)
		json_object_set_new(args, v->arg[i].name, json_arg(v, i));
	json_object_set_new(j, "args", args);
	json_object_set_new(j, "result", json_integer(rec->result));
	if (k)
		json_object_set_new(j, "kernel", jstr(k->name));
	if (opt.stacks && rec->stack) {
		struct frames f = { .json = json_array() };
		enum hg_status st = hg_log_stack(log, rec->stack, each_frame, &f);

		json_object_set_new(j, "stack", f.json);
		if (st && st != HG_ERR_NOTFOUND) {
			json_decref(j);
			return st;
		}
	}
	return list_item(j);
}

static enum hg_status each_call(const struct hg_rec_view *v, void *arg)
{
	struct hg_log *log = arg;
	const struct kernel *k = kernel_of(v);
	struct frames f = { 0 };
	enum hg_status st = HG_OK;

	if (opt.json)
		return json_call(log, v);
	hg_rec_print(v, stdout);
	if (k)
		printf("  %s", k->name);
	putchar('\n');
	if (opt.stacks && v->rec->stack) {
		st = hg_log_stack(log, v->rec->stack, each_frame, &f);
		if (st == HG_ERR_NOTFOUND)
			st = HG_OK;
	}
	/* a reader that went away, as `| head` does */
	return st ? st : ferror(stdout) ? HG_ERR_IO : HG_OK;
}

static enum hg_status cmd_calls(struct hg_log *log, const char *path)
{
	enum hg_status st;

	(void)path;
	st = hg_log_kernels(log, add_kernel, &kernels);
	if (st)
		return st;
	list_begin();
	st = hg_log_calls(log, opt.from, opt.to, each_call, log);
	list_end();
	return st;
}

/* objects */

static json_t *json_rec(const struct hg_rec_view *v)
{
	json_t *j = json_object(), *args = json_object();

	json_object_set_new(j, "seq", jnum(v->rec->seq));
	json_object_set_new(j, "call", jstr(v->desc ? v->desc->name : NULL));
	for (int i = 0; i < v->nr_args; i++)
		json_object_set_new(args, v->arg[i].name, json_arg(v, i));
	json_object_set_new(j, "args", args);
	return j;
}

static enum hg_status each_object(const struct hg_object *o, void *arg)
{
	const char *kind = o->kind == HG_KIND_DPTR ? "memory" : o->kind == HG_KIND_HPTR ? "host-memory" :
			   hg_kind_name(o->kind);
	char bytes[16];

	(void)arg;
	if (opt.json) {
		json_t *j = json_object(), *set = json_array();

		json_object_set_new(j, "id", jnum(o->id));
		json_object_set_new(j, "kind", json_string(kind));
		json_object_set_new(j, "handle", jhex(o->handle));
		json_object_set_new(j, "size", jnum(o->size));
		json_object_set_new(j, "parent", jnum(o->parent));
		json_object_set_new(j, "born", jnum(o->born_seq));
		json_object_set_new(j, "died", jnum(o->died_seq));
		json_object_set_new(j, "name", jstr(o->name));
		json_object_set_new(j, "created", json_rec(&o->created));
		for (size_t i = 0; i < o->nr_set; i++)
			json_array_append_new(set, json_rec(&o->set[i]));
		json_object_set_new(j, "set", set);
		return list_item(j);
	}
	printf("#%-8" PRIu64 " %-11s 0x%-16" PRIx64, o->id, kind, o->handle);
	if (o->size)
		printf(" %s", hg_text_bytes(o->size, bytes));
	if (o->parent)
		printf(" of #%" PRIu64, o->parent);
	if (o->name)
		printf(" %s", o->name);
	printf("  by %s\n", o->created.desc ? o->created.desc->name : "?");
	for (size_t i = 0; i < o->nr_set; i++) {
		fputs("          ", stdout);
		hg_rec_print(&o->set[i], stdout);
		putchar('\n');
	}
	return HG_OK;
}

static enum hg_status cmd_objects(struct hg_log *log, const char *path)
{
	enum hg_status st;

	(void)path;
	list_begin();
	st = hg_log_objects(log, opt.seq, each_object, NULL);
	list_end();
	return st;
}

/* snapshots */

static const char *region_kind(enum hg_region_kind kind)
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

static enum hg_status json_snapshot(const struct hg_snapshot *s)
{
	json_t *j = json_object(), *regions = json_array();

	json_object_set_new(j, "number", jnum(s->number));
	json_object_set_new(j, "seq", jnum(s->seq));
	json_object_set_new(j, "taken_unix_ns", jnum(s->taken_unix_ns));
	json_object_set_new(j, "stall_ns", jnum(s->stall_ns));
	json_object_set_new(j, "bytes", jnum(s->bytes));
	json_object_set_new(j, "bytes_written", jnum(s->bytes_written));
	json_object_set_new(j, "partial", json_boolean(s->partial));
	for (size_t i = 0; i < s->nr_regions; i++) {
		const struct hg_region *r = &s->regions[i];
		json_t *one = json_object();

		json_object_set_new(one, "address", jhex(r->addr));
		json_object_set_new(one, "size", jnum(r->size));
		json_object_set_new(one, "object", jnum(r->object));
		json_object_set_new(one, "kind", json_string(region_kind(r->kind)));
		json_object_set_new(one, "name", jstr(r->name));
		json_object_set_new(one, "xxh3", jhex(s->digests[i]));
		json_array_append_new(regions, one);
	}
	json_object_set_new(j, "regions", regions);
	return list_item(j);
}

static enum hg_status cmd_snapshots(struct hg_log *log, const char *path)
{
	uint64_t number = 0;
	enum hg_status st = HG_OK;

	(void)path;
	list_begin();
	for (;;) {
		const struct hg_snapshot *s;
		char when[40], a[16], b[16], c[16];

		number = hg_log_snapshot_next(log, number);
		if (!number)
			break;
		st = hg_log_snapshot(log, number, &s);
		if (!st && opt.json)
			st = json_snapshot(s);
		if (st)
			break;
		if (opt.json)
			continue;
		utc(s->taken_unix_ns, when);
		printf("%" PRIu64 "  %s  after record %" PRIu64 "  %s, %s written, %s%s\n", s->number, when, s->seq,
		       hg_text_bytes(s->bytes, a), hg_text_bytes(s->bytes_written, b), hg_text_ns(s->stall_ns, c),
		       s->partial ? ", partial" : "");
		for (size_t i = 0; i < s->nr_regions; i++)
			printf("     0x%-14" PRIx64 " %-10s %10s  %016" PRIx64 "%s%s\n", s->regions[i].addr,
			       region_kind(s->regions[i].kind), hg_text_bytes(s->regions[i].size, a), s->digests[i],
			       s->regions[i].name ? "  " : "", s->regions[i].name ? s->regions[i].name : "");
	}
	list_end();
	return st;
}

static enum hg_status cmd_coverage(struct hg_log *log, const char *path)
{
	const struct hg_snapshot *s;
	enum hg_status st;
	bool fits;

	if (opt.target) {
		st = log_target_coverage(log, opt.target, opt.compile, opt.json, &fits);
		return st ? st : fits ? HG_OK : HG_ERR_UNSUPPORTED;
	}
	st = hg_log_snapshot(log, opt.snapshot, &s);
	if (st == HG_ERR_NOTFOUND && !opt.snapshot)
		pr_err("the log '%s' has no snapshot", path);
	if (st)
		return st;
	if (!s->coverage) {
		pr_err("snapshot %" PRIu64 " of '%s' has no coverage manifest", s->number, path);
		return HG_ERR_NOTFOUND;
	}
	puts(s->coverage);
	return HG_OK;
}

/* kernels */

static enum hg_status count_launch(const struct hg_rec_view *v, void *arg)
{
	struct kernel *k = kernel_of(v);

	(void)arg;
	if (k && !v->rec->result)
		k->launches++;
	return HG_OK;
}

static enum hg_status cmd_kernels(struct hg_log *log, const char *path)
{
	enum hg_status st;

	(void)path;
	st = hg_log_kernels(log, add_kernel, &kernels);
	if (!st)
		st = hg_log_calls(log, 0, UINT64_MAX, count_launch, NULL);
	if (st)
		return st;
	list_begin();
	for (size_t i = 0; i < kernels.nr && !st; i++) {
		const struct kernel *k = &kernels.kernel[i];

		if (opt.json) {
			json_t *j = json_object();

			json_object_set_new(j, "id", jnum(k->id));
			json_object_set_new(j, "name", jstr(k->name));
			json_object_set_new(j, "module", jnum(k->k.module));
			json_object_set_new(j, "image", jbytes(k->k.image, sizeof(k->k.image)));
			json_object_set_new(j, "launches", jnum(k->launches));
			st = list_item(j);
		} else {
			printf("#%-8" PRIu64 " of #%-8" PRIu64 " %8" PRIu64 " launches kept  %s\n", k->id, k->k.module,
			       k->launches, k->name);
		}
	}
	list_end();
	return st;
}

/* check */

static void each_problem(const char *text, void *arg)
{
	json_t *problems = arg;

	if (problems)
		json_array_append_new(problems, jstr(text));
	/* also with --json: a failure is never silent on stderr */
	pr_err("%s", text);
}

static enum hg_status cmd_check(struct hg_log *log, const char *path)
{
	json_t *problems = opt.json ? json_array() : NULL;
	enum hg_status st, print;

	st = hg_log_check(log, each_problem, problems);
	if (opt.json) {
		json_t *j = json_object();

		json_object_set_new(j, "log", jstr(path));
		json_object_set_new(j, "whole", json_boolean(!st));
		json_object_set_new(j, "problems", problems);
		print = print_json(j);
		return st ? st : print;
	}
	if (!st && !opt.quiet)
		printf("%s: whole\n", path);
	return st;
}

static const struct command {
	const char *name;
	enum hg_status (*run)(struct hg_log *log, const char *path);
} commands[] = {
	{ "info", cmd_info },
	{ "calls", cmd_calls },
	{ "objects", cmd_objects },
	{ "snapshots", cmd_snapshots },
	{ "kernels", cmd_kernels },
	{ "coverage", cmd_coverage },
	{ "check", cmd_check },
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	enum { OPT_JSON = 256, OPT_QUIET, OPT_STACKS, OPT_FROM, OPT_TO, OPT_SEQ, OPT_SNAPSHOT, OPT_TARGET, OPT_COMPILE, OPT_HELP };
	static const struct option options[] = {
		{ "json", no_argument, NULL, OPT_JSON },
		{ "quiet", no_argument, NULL, OPT_QUIET },
		{ "stacks", no_argument, NULL, OPT_STACKS },
		{ "from", required_argument, NULL, OPT_FROM },
		{ "to", required_argument, NULL, OPT_TO },
		{ "seq", required_argument, NULL, OPT_SEQ },
		{ "snapshot", required_argument, NULL, OPT_SNAPSHOT },
		{ "target", required_argument, NULL, OPT_TARGET },
		{ "compile", no_argument, NULL, OPT_COMPILE },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 }
	};
	const struct command *command;
	struct hg_log *log;
	char path[4096];
	enum hg_status st;
	int c;

	hg_msg_prefix("hgshim-log");
	opterr = 0;
	for (c = getopt_long(argc, argv, "h", options, NULL); c != -1; c = getopt_long(argc, argv, "h", options, NULL)) {
		uint64_t *number = NULL;

		switch (c) {
		case OPT_JSON:
			opt.json = true;
			break;
		case OPT_QUIET:
			opt.quiet = true;
			break;
		case OPT_STACKS:
			opt.stacks = true;
			break;
		case OPT_FROM:
			number = &opt.from;
			break;
		case OPT_TO:
			number = &opt.to;
			break;
		case OPT_SEQ:
			number = &opt.seq;
			break;
		case OPT_SNAPSHOT:
			number = &opt.snapshot;
			break;
		case OPT_TARGET:
			opt.target = optarg;
			break;
		case OPT_COMPILE:
			opt.compile = true;
			break;
		case 'h': case OPT_HELP:
			fputs(help, stdout);
			return hg_stdout_finish() ? 0 : 1;
		default:
			return hg_usage_error("unknown or incomplete option '%s'", argv[optind - 1]);
		}
		if (number && !hg_text_number(optarg, number))
			return hg_usage_error("'%s' is not a number", optarg);
	}
	if (optind == argc)
		return hg_usage_error("a command is missing");
	command = find_command(argv[optind]);
	if (!command)
		return hg_usage_error("unknown command '%s'", argv[optind]);
	if (opt.target && !log_target_is_known(opt.target))
		return 2;
	if (opt.compile && !opt.target)
		return hg_usage_error("--compile needs --target");
	if (argc - optind > 2)
		return hg_usage_error("more than one log is given: '%s'", argv[optind + 2]);

	signal(SIGBUS, on_sigbus);
	st = hg_log_resolve(argc - optind == 2 ? argv[optind + 1] : NULL, path);
	if (!st)
		st = hg_log_open(path, &log);
	if (st == HG_ERR_NOMEM)
		pr_err("%s", hg_status_text(st));
	if (st)
		return hg_status_exit_code(st);
	st = command->run(log, path);
	if (st == HG_ERR_NOMEM)
		pr_err("%s", hg_status_text(st));
	hg_log_close(log);
	for (size_t i = 0; i < kernels.nr; i++)
		free(kernels.kernel[i].name);
	free(kernels.kernel);
	if (!hg_stdout_finish() && !st)
		return 1;
	return hg_status_exit_code(st);
}
