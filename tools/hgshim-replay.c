/* hgshim-replay.c - rebuilds the GPU state of a log on a target, runs what was logged after it, compares. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#include "common/msg.h"
#include "replay/device_print.h"
#include "replay/replay.h"
#include "tools/agreement.h"
#include "tools/dump.h"
#include "tools/progress.h"

/* Set when this process has executed itself without address randomisation. */
#define FIXED_ENV "HGSHIM_REPLAY_FIXED"

static const char usage[] =
	"usage: hgshim-replay --target TARGET[,TARGET...] [options] [LOG]\n"
	"\n"
	"Rebuilds the GPU state of a log: contexts, memory at its addresses, modules, streams, events and the bytes of\n"
	"a snapshot; then does again what was logged after it. LOG is a log directory or a process id; without it,\n"
	"the newest log.\n"
	"\n"
	"  --target T      where: %s; with several, one after the other, each with its report, and with --verify a table\n"
	"                  at the end: for each kernel, how many launches leave the bytes that they leave on the first target,\n"
	"                  and which is the first that does not\n"
	"  --snapshot N    begin with this snapshot (default: the newest at or before --to)\n"
	"  --to SEQ        stop after this record\n"
	"  --verify        compare with every recorded digest and every later snapshot\n"
	"  --ulp N         with --verify: 32-bit floats may differ by N units in the last place\n"
	"  --each N        with --verify and several targets: look at every N-th launch only (default 1: at all; 0: at none,\n"
	"                  and no table). Launches that are looked at run one by one, and the memory that they can reach is\n"
	"                  read twice, which takes long where it is much\n"
	"  --dump DIR      write every buffer to a file named by its address, and manifest.json\n"
	"  --json          the report as JSON\n"
	"  --quiet         no progress bar, and no report unless something is wrong\n"
	"  --help\n"
	"\n"
	"exit status: 0 done, 1 refused or differs, 2 wrong usage, 3 the log is damaged, 4 the target is not available\n";

struct command {
	const char *targets, *log, *dump;
	bool has_snapshot, has_to, verify, json, quiet;
	uint64_t snapshot, to, ulp, each;
};

enum option_id { OPT_TARGET = 256, OPT_SNAPSHOT, OPT_TO, OPT_VERIFY, OPT_ULP, OPT_EACH, OPT_DUMP, OPT_JSON, OPT_QUIET, OPT_HELP };

static const struct option long_option[] = {
	{ "target", required_argument, NULL, OPT_TARGET },
	{ "snapshot", required_argument, NULL, OPT_SNAPSHOT },
	{ "to", required_argument, NULL, OPT_TO },
	{ "verify", no_argument, NULL, OPT_VERIFY },
	{ "ulp", required_argument, NULL, OPT_ULP },
	{ "each", required_argument, NULL, OPT_EACH },
	{ "dump", required_argument, NULL, OPT_DUMP },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "quiet", no_argument, NULL, OPT_QUIET },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

/* 0: go on. Otherwise the exit status, plus 1 so that 0 can be one. */
static int parse_number(const char *option, const char *text, uint64_t *out)
{
	if (hg_text_number(text, out))
		return 0;
	return 1 + hg_usage_error("--%s '%s' is not a number", option, text);
}

static int parse(int argc, char **argv, struct command *c)
{
	int opt, bad = 0;

	opterr = 0;
	while (!bad) {
		opt = getopt_long(argc, argv, "", long_option, NULL);
		if (opt < 0)
			break;
		switch (opt) {
		case OPT_TARGET:
			c->targets = optarg;
			break;
		case OPT_SNAPSHOT:
			c->has_snapshot = true;
			bad = parse_number("snapshot", optarg, &c->snapshot);
			if (!bad && !c->snapshot)
				bad = 1 + hg_usage_error("snapshots are numbered from 1");
			break;
		case OPT_TO:
			c->has_to = true;
			bad = parse_number("to", optarg, &c->to);
			break;
		case OPT_VERIFY:
			c->verify = true;
			break;
		case OPT_ULP:
			bad = parse_number("ulp", optarg, &c->ulp);
			if (!bad && c->ulp >= UINT32_MAX)
				bad = 1 + hg_usage_error("--ulp %s is too much", optarg);
			break;
		case OPT_EACH:
			bad = parse_number("each", optarg, &c->each);
			break;
		case OPT_DUMP:
			c->dump = optarg;
			break;
		case OPT_JSON:
			c->json = true;
			break;
		case OPT_QUIET:
			c->quiet = true;
			break;
		case OPT_HELP:
			printf(usage, hg_target_list);
			return 1 + !hg_stdout_finish();
		default:
			return 1 + hg_usage_error("'%s' is no option, or lacks its value", argv[optind - 1]);
		}
	}
	if (bad)
		return bad;
	if (!c->targets)
		return 1 + hg_usage_error("--target is missing");
	if (optind < argc)
		c->log = argv[optind++];
	if (optind < argc)
		return 1 + hg_usage_error("'%s' is one log too many", argv[optind]);
	return 0;
}

/* A target that this version does not have is another error than a name that nobody knows. */
static int target_find(const char *name, const struct hg_target_ops **out)
{
	*out = hg_target_by_name(name);
	if (*out)
		return 0;
	if (!hg_target_is_planned(name))
		return hg_usage_error("unknown target '%s'", name);
	pr_err("target '%s' is not available in this version", name);
	return hg_status_exit_code(HG_ERR_UNAVAILABLE);
}

/* progress */

struct bars {
	struct hg_progress bar;
	bool quiet, has_phase;
	enum hg_replay_phase phase;
};

static void on_progress(enum hg_replay_phase phase, uint64_t done, uint64_t total, void *arg)
{
	static const char *const what[] = {
		[HG_REPLAY_REBUILD] = "rebuilding objects", [HG_REPLAY_UPLOAD] = "uploading",
		[HG_REPLAY_TAIL] = "replaying calls", [HG_REPLAY_COMPARE] = "comparing",
	};
	struct bars *b = arg;

	if (!b->has_phase || b->phase != phase) {
		hg_progress_end(&b->bar);
		hg_progress_start(&b->bar, what[phase], phase == HG_REPLAY_UPLOAD || phase == HG_REPLAY_COMPARE ?
				  HG_PROGRESS_BYTES : HG_PROGRESS_ITEMS, total, b->quiet);
		b->has_phase = true;
		b->phase = phase;
	}
	hg_progress_update(&b->bar, done);
}

/* reports */

static const char *verdict_text(const struct hg_replay_buffer *b)
{
	switch (b->verdict) {
	case HG_REPLAY_IDENTICAL:
		return "identical";
	case HG_REPLAY_CLOSE:
		return "close";
	case HG_REPLAY_DIFFERS:
		return "DIFFERS";
	}
	return "?";
}

static void print_buffers(const struct hg_replay_report *r)
{
	uint64_t snapshot = 0;

	for (uint64_t i = 0; i < r->nr_buffers; i++) {
		const struct hg_replay_buffer *b = &r->buffer[i];

		if (i == 0 || b->snapshot != snapshot) {
			snapshot = b->snapshot;
			printf("\ncompared with snapshot %" PRIu64 "%s:\n  %-18s %14s  %-10s %s\n", snapshot,
			       snapshot == r->snapshot ? ", after rebuilding" : ", after replaying up to it", "address",
			       "bytes", "kind", "result");
		}
		printf("  0x%-16" PRIx64 " %14" PRIu64 "  %-10s %s", b->addr, b->size, hg_text_region(b->kind),
		       verdict_text(b));
		if (b->verdict == HG_REPLAY_DIFFERS)
			printf(": %" PRIu64 " bytes, the first at offset %" PRIu64, b->nr_bytes, b->first);
		if (b->verdict == HG_REPLAY_CLOSE)
			printf(": %" PRIu64 " bytes, at most %" PRIu64 " ulp", b->nr_bytes, b->max_ulp);
		if (b->name)
			printf("  (%s)", b->name);
		putchar('\n');
	}
}

static void print_report(const struct hg_replay_report *r, const struct command *c, const char *target)
{
	char bytes[16], rebuild[16], upload[16], tail[16];

	if (r->snapshot)
		printf("%s: snapshot %" PRIu64 " (state after record %" PRIu64 ")%s: %" PRIu64 " objects in %s, %s in %s\n",
		       target, r->snapshot, r->snapshot_seq, r->partial ? ", PARTIAL" : "", r->nr_objects,
		       hg_text_ns(r->rebuild_ns, rebuild), hg_text_bytes(r->bytes_uploaded, bytes),
		       hg_text_ns(r->upload_ns, upload));
	else
		printf("%s: from the start of the log\n", target);
	printf("%s: %" PRIu64 " calls after it, %" PRIu64 " of them launches, up to record %" PRIu64 ", in %s\n", target,
	       r->nr_calls, r->nr_launches, r->last_seq, hg_text_ns(r->tail_ns, tail));
	if (c->verify)
		print_buffers(r);
	if (c->verify)
		printf("\n%" PRIu64 " buffers compared, %" PRIu64 " differ; %" PRIu64 " results compared, %" PRIu64 " differ\n",
		       r->nr_buffers, r->nr_buffers_differ, r->nr_results, r->nr_results_differ);
}

/* The call site of a launch, innermost frame that has a name. */
static int print_frame(uint64_t pc, const char *text, void *arg)
{
	int *left = arg;

	if (text)
		pr_err("    at %s", text);
	else
		pr_err("    at 0x%" PRIx64, pc);
	return --*left <= 0;
}

static void say_call_site(uint32_t stack, void *log)
{
	int frames = 6;

	if (hg_log_stack(log, stack, print_frame, &frames))
		pr_err("    at a call site that the log does not hold");
}

static void say_what_is_wrong(struct hg_log *log, const struct hg_replay_report *r, enum hg_status st)
{
	if (r->nr_host_funcs)
		pr_warn("%" PRIu64 " functions of the application were queued as work; a replay cannot call them",
			r->nr_host_funcs);
	if (r->stopped)
		hg_msg(st ? HG_MSG_ERR : HG_MSG_WARN, "stopped after record %" PRIu64 ": %s", r->last_seq, r->stopped);
	if (!r->has_suspect)
		return;
	pr_err("%s: kernel '%s', record %" PRIu64, r->suspect.exact ? "made by" :
	       "first launch that can have made it", r->suspect.kernel ? r->suspect.kernel : "?", r->suspect.seq);
	if (r->suspect.stack)
		say_call_site(r->suspect.stack, log);
}

static json_t *buffer_json(const struct hg_replay_buffer *b)
{
	char addr[32];
	json_t *row;

	snprintf(addr, sizeof(addr), "0x%" PRIx64, b->addr);
	row = json_pack("{s:s, s:I, s:s, s:I, s:s}", "address", addr, "size", (json_int_t)b->size, "kind",
			hg_text_region(b->kind), "snapshot", (json_int_t)b->snapshot, "result",
			b->verdict == HG_REPLAY_DIFFERS ? "differs" : verdict_text(b));
	if (b->name)
		json_object_set_new(row, "name", json_string(b->name));
	if (b->verdict != HG_REPLAY_IDENTICAL) {
		json_object_set_new(row, "bytes", json_integer((json_int_t)b->nr_bytes));
		json_object_set_new(row, "first", json_integer((json_int_t)b->first));
		json_object_set_new(row, "ulp", json_integer((json_int_t)b->max_ulp));
	}
	return row;
}

static json_t *report_json(const struct hg_replay_report *r, const char *target, enum hg_status st)
{
	json_t *root, *buffers = json_array();

	for (uint64_t i = 0; i < r->nr_buffers; i++)
		json_array_append_new(buffers, buffer_json(&r->buffer[i]));
	root = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
			 "target", target, "status", hg_status_text(st), "snapshot", (json_int_t)r->snapshot,
			 "snapshot_seq", (json_int_t)r->snapshot_seq, "last_seq", (json_int_t)r->last_seq, "partial",
			 r->partial, "objects", (json_int_t)r->nr_objects, "bytes", (json_int_t)r->bytes_uploaded, "calls",
			 (json_int_t)r->nr_calls, "launches", (json_int_t)r->nr_launches, "host_functions",
			 (json_int_t)r->nr_host_funcs, "results_compared", (json_int_t)r->nr_results, "results_differ",
			 (json_int_t)r->nr_results_differ, "buffers_differ", (json_int_t)r->nr_buffers_differ,
			 "rebuild_ns", (json_int_t)r->rebuild_ns, "upload_ns", (json_int_t)r->upload_ns, "tail_ns",
			 (json_int_t)r->tail_ns, "buffers", buffers);
	if (!root)
		return NULL;
	if (r->stopped)
		json_object_set_new(root, "stopped", json_string(r->stopped));
	if (r->has_suspect)
		json_object_set_new(root, "suspect",
				    json_pack("{s:I, s:s, s:b}", "seq", (json_int_t)r->suspect.seq, "kernel",
					      r->suspect.kernel ? r->suspect.kernel : "?", "exact", r->suspect.exact));
	return root;
}

/* addresses that are in use */

struct taken {
	uint64_t range[32][2];
	size_t nr;
};

static void on_taken(uint64_t start, uint64_t end, void *arg)
{
	struct taken *t = arg;

	if (t->nr < sizeof(t->range) / sizeof(t->range[0])) {
		t->range[t->nr][0] = start;
		t->range[t->nr][1] = end;
	}
	t->nr++;
}

/* Does not return if it works. */
static void execute_fixed(char **argv)
{
	char self[PATH_MAX];
	ssize_t n;

	if (getenv(FIXED_ENV))
		return;
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return;
	self[n] = '\0';
	if (personality(ADDR_NO_RANDOMIZE) < 0 || setenv(FIXED_ENV, "1", 1))
		return;
	execv(self, argv);
}

static void say_taken(const struct taken *t)
{
	pr_err("%zu recorded address ranges are in use in this process:", t->nr);
	for (size_t i = 0; i < t->nr && i < sizeof(t->range) / sizeof(t->range[0]); i++)
		pr_err("    0x%" PRIx64 "-0x%" PRIx64, t->range[i][0], t->range[i][1]);
}

/* One target's replay. side: NULL, or where it notes what launches do. */
static enum hg_status replay_on(struct hg_log *log, const struct command *c, const struct hg_target_ops *target,
				char **argv, json_t *reports, struct hg_side *side)
{
	struct bars bars = { .quiet = c->quiet || c->json };
	struct hg_replay_options opt = {
		.target = target, .has_snapshot = c->has_snapshot, .has_to = c->has_to, .snapshot = c->snapshot,
		.to = c->to, .verify = c->verify, .ulp = (uint32_t)c->ulp, .side = side, .progress = on_progress, .arg = &bars,
	};
	const struct hg_replay_report *report;
	struct taken taken = { .nr = 0 };
	struct hg_replay *r;
	enum hg_status st, dump_st, side_st;

	if (side)
		side->target = target->name;
	st = hg_replay_open(log, &opt, on_taken, &taken, &r);
	if (st == HG_ERR_NOSPC && taken.nr) {
		execute_fixed(argv);
		say_taken(&taken);
		st = HG_ERR_REFUSED;
	}
	if (st && side)
		side->status = st;
	if (st)
		return st;
	st = hg_replay_run(r);
	hg_progress_end(&bars.bar);
	report = hg_replay_report(r);
	if (c->dump && (!st || st == HG_ERR_DIFFERS || st == HG_ERR_FAULT)) {
		dump_st = hg_dump(c->dump, target->name, report, c->quiet || c->json);
		if (!st)
			st = dump_st;
	}
	if (c->json)
		json_array_append_new(reports, report_json(report, target->name, st));
	else if (!c->quiet && st != HG_ERR_UNAVAILABLE)
		print_report(report, c, target->name);
	fflush(stdout);
	say_what_is_wrong(log, report, st);
	if (side) {
		side_st = hg_side_end(side, st, report);
		if (!st)
			st = side_st;
	}
	hg_replay_close(r);
	return st;
}

/* all targets */

struct replays {
	const struct command *c;
	struct hg_log *log;
	struct hg_sides *sides;		/* NULL: no table */
	json_t *reports;
};

/* For the bytes that are to be shown; nothing is said about it again. */
static enum hg_status replay_again(size_t index, uint64_t to, void *arg)
{
	struct replays *s = arg;
	struct hg_side *side = &s->sides->side[index];
	struct hg_replay_options opt = {
		.target = hg_target_by_name(side->target), .has_snapshot = s->c->has_snapshot, .snapshot = s->c->snapshot,
		.has_to = true, .to = to, .side = side,
	};
	struct taken taken = { .nr = 0 };
	struct hg_replay *r;
	enum hg_status st;

	side->count = 0;
	st = hg_replay_open(s->log, &opt, on_taken, &taken, &r);
	if (st)
		return st;
	st = hg_replay_run(r);
	hg_replay_close(r);
	return st;
}

static enum hg_status say_agreement(struct replays *s, json_t **json)
{
	struct agreement *a;
	enum hg_status st;

	st = agreement_new(s->sides, replay_again, s, &a);
	if (st)
		return st;
	if (agreement_differs(a, (uint32_t)s->c->ulp))
		st = HG_ERR_DIFFERS;
	if (s->c->json)
		*json = agreement_json(a);
	else if (!s->c->quiet || st)
		agreement_print(a);
	fflush(stdout);
	if (st)
		agreement_say(a, say_call_site, s->log);
	agreement_free(a);
	return st;
}

/* Of two targets' results the one that says more: a damaged log, then anything wrong, then a target that is not there. */
static enum hg_status worse(enum hg_status a, enum hg_status b)
{
	static const int rank[] = { 0, 2, 1, 3, 1 };	/* by exit code; 0: fine */
	int x = hg_status_exit_code(a), y = hg_status_exit_code(b);

	return rank[y] > rank[x] ? b : a;
}

static enum hg_status run_all(struct replays *s, char **argv)
{
	char names[256], *rest = names, *name;
	enum hg_status st, worst = HG_OK;
	size_t i = 0;

	strcpy(names, s->c->targets);
	for (name = strsep(&rest, ","); name; name = strsep(&rest, ",")) {
		st = replay_on(s->log, s->c, hg_target_by_name(name), argv, s->reports, s->sides ? &s->sides->side[i++] : NULL);
		if (st == HG_ERR_NOMEM)		/* the one status that comes without a message */
			pr_err("%s", hg_status_text(st));
		worst = worse(worst, st);
	}
	return worst;
}

static int run(const struct command *c, char **argv)
{
	char path[4096], names[256], *rest = names, *name;
	struct replays s = { .c = c };
	const struct hg_target_ops *target;
	enum hg_status st, worst;
	json_t *agreement = NULL;
	size_t nr_targets = 0;
	int code;

	if (strlen(c->targets) >= sizeof(names) || !*c->targets)
		return hg_usage_error("unknown target '%s'", c->targets);
	/* every name is checked before anything is done */
	strcpy(names, c->targets);
	for (name = strsep(&rest, ","); name; name = strsep(&rest, ",")) {
		code = target_find(name, &target);
		if (code)
			return code;
		nr_targets++;
	}
	if (c->dump && nr_targets > 1)
		return hg_usage_error("--dump takes one target");
	st = hg_log_resolve(c->log, path);
	if (!st)
		st = hg_log_open(path, &s.log);
	if (st)
		return hg_status_exit_code(st);
	if (c->verify && nr_targets > 1 && c->each) {
		s.sides = hg_sides_new(c->each, nr_targets);
		if (!s.sides)
			pr_err("%s", hg_status_text(HG_ERR_NOMEM));
	}
	s.reports = json_array();
	worst = run_all(&s, argv);
	if (c->verify && nr_targets > 1 && c->each && !s.sides)
		worst = worse(worst, HG_ERR_NOMEM);
	if (s.sides)
		worst = worse(worst, say_agreement(&s, &agreement));
	hg_sides_free(s.sides);
	hg_log_close(s.log);
	if (c->json && nr_targets > 1) {
		s.reports = json_pack("{s:o}", "reports", s.reports);
		if (agreement)
			json_object_set_new(s.reports, "agreement", agreement);
	}
	if (c->json) {
		/* one target: its report alone */
		json_dumpf(json_array_size(s.reports) == 1 && nr_targets == 1 ? json_array_get(s.reports, 0) : s.reports, stdout,
			   JSON_INDENT(1));
		putchar('\n');
	}
	json_decref(s.reports);
	code = hg_status_exit_code(worst);
	if (!hg_stdout_finish() && !code)
		code = 1;
	return code;
}

int main(int argc, char **argv)
{
	struct command c = { .each = 1 };
	int bad;

	hg_msg_prefix("hgshim-replay");
	bad = parse(argc, argv, &c);
	if (bad)
		return bad - 1;
	/* What kernels print was for the program to say. */
	hg_print_enable(false);
	return run(&c, argv);
}
