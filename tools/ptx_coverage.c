/* ptx_coverage.c - hgshim-ptx coverage: what of a file's kernels cannot be translated, with line and instruction. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/fatbin.h"
#include "translate/ir.h"

#define MAX_JOBS 64
#define MAX_SECONDS 300		/* of processor time, of one image on one target */

/* An image that is looked at by a process of its own: what breaks there is counted, and the others go on. */
struct job {
	pid_t pid;
	FILE *result;		/* JSON */
	size_t number;
	struct timespec begin;
};

struct coverage {
	struct job job[MAX_JOBS];
	size_t nr_jobs, max_jobs;
	bool json;
	unsigned long compile;	/* every so many kernels; 0: none */
	struct ptx_gpu *chips;	/* compiled for these; NULL: for the CPU */
	json_t *images;		/* by number */
	size_t nr_images;
	bool failed;		/* not the images' fault */
};

/* --- in the process of one image ------------------------------------------------------------- */
static json_t *text_or_null(const char *s)
{
	json_t *j = s ? json_string(s) : NULL;

	/* The text of an instruction may be no UTF-8. */
	return j ? j : s ? json_string("?") : json_null();
}

static json_t *describe_kernel(const struct ir_func *fn)
{
	json_t *refusals = json_array();

	for (uint32_t i = 0; i < fn->nr_refusals; i++) {
		const struct ir_refusal *r = &fn->refusal[i];

		json_array_append_new(refusals, json_pack("{s:I,s:o,s:o,s:o}", "line", (json_int_t)r->line, "function",
							  text_or_null(r->function), "instruction", text_or_null(r->insn),
							  "reason", text_or_null(r->why)));
	}
	return json_pack("{s:o,s:I,s:b,s:o}", "name", text_or_null(fn->name), "line", (json_int_t)fn->line, "supported",
			 !fn->refused, "refused", refusals);
}

/* "translated"; "no-ptx": there is nothing to translate; else what went wrong. */
static const char *outcome(enum hg_status st, const char *log)
{
	if (!st)
		return "translated";
	if (st == HG_ERR_UNSUPPORTED && !strncmp(log, "image: ", 7))
		return "no-ptx";
	return st == HG_ERR_NOMEM ? "out-of-memory" : "not-read";
}

/* The first error that is not in the log of the load, or that the log has in general words only. */
static void keep_error(enum hg_msg_level level, const char *line, void *arg)
{
	char *first = arg;

	if (level == HG_MSG_ERR && !first[0])
		snprintf(first, 300, "%.*s", (int)strcspn(line, "\n"), line);
}

static int look_at(const void *image, size_t size, const struct coverage *c, FILE *out)
{
	static char log[16384], error[300];
	json_t *kernels = json_array(), *root;
	struct hg_module *m = NULL;
	enum hg_status st;
	bool written;

	hg_msg_sink_set(keep_error, error);
	st = hg_module_load(image, size, ptx_tool_sm, log, sizeof(log), &m);
	for (uint32_t i = 0; m && i < hg_module_ir(m)->nr_funcs; i++) {
		const struct ir_func *fn = &hg_module_ir(m)->func[i];
		json_t *k = describe_kernel(fn);

		if (!fn->refused && ptx_compile_is_sampled(fn->name, c->compile))
			json_object_set_new(k, "compiled", c->chips ? ptx_gpu_compile(c->chips, hg_module_ir(m), i)
								    : ptx_compile(hg_module_ir(m), i));
		json_array_append_new(kernels, k);
	}
	log[strcspn(log, "\n")] = 0;
	root = json_pack("{s:s,s:o,s:o}", "outcome", outcome(st, log), "message",
			 st ? text_or_null(error[0] ? error : log[0] ? log : hg_status_text(st)) : json_null(), "kernels", kernels);
	written = root && !json_dumpf(root, out, JSON_COMPACT) && !fflush(out);
	json_decref(root);
	if (c->chips)
		ptx_gpu_forget(c->chips);
	hg_module_free(m);
	return written ? 0 : 1;
}

/* --- in the first process -------------------------------------------------------------------- */
static unsigned long max_seconds(const struct coverage *c)
{
	return MAX_SECONDS * (c->chips ? ptx_gpu_nr(c->chips) : 1);
}

static void collect(struct coverage *c)
{
	struct timespec end;
	struct job *j = NULL;
	json_t *root = NULL;
	char what[80];
	int status;
	pid_t pid;

	do
		pid = waitpid(-1, &status, 0);
	while (pid < 0 && errno == EINTR);
	clock_gettime(CLOCK_MONOTONIC, &end);
	for (size_t i = 0; i < c->nr_jobs; i++)
		if (c->job[i].pid == pid)
			j = &c->job[i];
	if (!j) {
		c->nr_jobs = pid < 0 ? 0 : c->nr_jobs;
		c->failed = true;
		return;
	}
	if (WIFEXITED(status) && !WEXITSTATUS(status)) {
		rewind(j->result);
		root = json_loadf(j->result, 0, NULL);
	}
	if (!root) {
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
			snprintf(what, sizeof(what), "not done after %lu seconds of processor time", max_seconds(c));
		else if (WIFSIGNALED(status))
			snprintf(what, sizeof(what), "ended by signal %d", WTERMSIG(status));
		else
			snprintf(what, sizeof(what), "ended with status %d", WEXITSTATUS(status));
		root = json_pack("{s:s,s:s,s:[]}", "outcome", "crashed", "message", what, "kernels");
	}
	json_object_set_new(root, "seconds", json_real((double)(end.tv_sec - j->begin.tv_sec) +
						      (double)(end.tv_nsec - j->begin.tv_nsec) / 1e9));
	json_array_set_new(c->images, j->number, root);
	fclose(j->result);
	*j = c->job[--c->nr_jobs];
}

static enum hg_status start(const void *image, size_t size, void *arg)
{
	struct coverage *c = arg;
	struct job j = { .number = c->nr_images };

	if (c->nr_jobs == c->max_jobs)
		collect(c);
	clock_gettime(CLOCK_MONOTONIC, &j.begin);
	j.result = tmpfile();
	if (!j.result) {
		pr_err("cannot make a temporary file: %s", strerror(errno));
		return HG_ERR_IO;
	}
	fflush(stdout);
	j.pid = fork();
	if (j.pid < 0) {
		pr_err("cannot start a process: %s", strerror(errno));
		fclose(j.result);
		return HG_ERR_IO;
	}
	if (!j.pid) {
		/* What it has to say is in the result. */
		if (!freopen("/dev/null", "w", stderr))
			_exit(2);
		setrlimit(RLIMIT_CPU, &(struct rlimit){ max_seconds(c), max_seconds(c) + 1 });
		_exit(look_at(image, size, c, j.result));
	}
	json_array_append_new(c->images, json_null());
	c->nr_images++;
	c->job[c->nr_jobs++] = j;
	return HG_OK;
}

struct counts { size_t kernels, unsupported, no_ptx, unread, compiled, broken; };

/* Whether all that was compiled of a kernel is code. */
static bool is_code(const json_t *k, bool print)
{
	const json_t *c;
	bool all = true;
	size_t i;

	json_array_foreach(json_object_get(k, "compiled"), i, c) {
		bool ok = json_is_true(json_object_get(c, "ok"));

		if (print && !ok && json_object_get(c, "chip"))
			printf("  %s: %s\n", json_string_value(json_object_get(c, "chip")), json_string_value(json_object_get(c, "message")));
		else if (print && !ok)
			printf("  tier %" JSON_INTEGER_FORMAT "%s: %s\n", json_integer_value(json_object_get(c, "tier")),
			       json_is_true(json_object_get(c, "any_order")) ? ", lanes in any order" : "",
			       json_string_value(json_object_get(c, "message")));
		all &= ok;
	}
	return all;
}

static void print_kernel(const json_t *k)
{
	const json_t *refused = json_object_get(k, "refused"), *r;
	bool ok = json_is_true(json_object_get(k, "supported"));
	size_t i;

	printf("kernel %s: %s\n", json_string_value(json_object_get(k, "name")), ok ? "supported" : "not supported");
	json_array_foreach(refused, i, r) {
		const char *in = json_string_value(json_object_get(r, "function"));
		const char *insn = json_string_value(json_object_get(r, "instruction"));

		printf("  line %" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(r, "line")));
		if (in)
			printf(" in %s", in);
		if (insn)
			printf(": '%s'", insn);
		printf(": %s\n", json_string_value(json_object_get(r, "reason")));
	}
}

static void count(const json_t *images, bool print, struct counts *n)
{
	const json_t *image, *k;
	size_t i, j;

	json_array_foreach(images, i, image) {
		const char *what = json_string_value(json_object_get(image, "outcome"));

		if (strcmp(what, "translated")) {
			if (!strcmp(what, "no-ptx"))
				n->no_ptx++;
			else
				n->unread++;
			if (print)
				printf("image %zu: %s: %s\n", i, what, json_string_value(json_object_get(image, "message")));
		}
		json_array_foreach(json_object_get(image, "kernels"), j, k) {
			n->kernels++;
			n->unsupported += json_is_false(json_object_get(k, "supported"));
			if (print)
				print_kernel(k);
			n->compiled += json_object_get(k, "compiled") != NULL;
			n->broken += !is_code(k, print);
		}
	}
}

/* The images of one file; false when something is not supported. */
static bool cover_file(struct coverage *c, const char *path, json_t *files)
{
	struct counts n = { 0 };
	enum hg_status st;

	c->images = json_array();
	c->nr_images = 0;
	st = ptx_file_images(path, start, c);
	while (c->nr_jobs)
		collect(c);
	if (st || c->failed)
		c->failed = true;
	if (c->nr_images) {
		count(c->images, !c->json, &n);
		if (!c->json) {
			printf("%s: %zu of %zu kernels supported", path, n.kernels - n.unsupported, n.kernels);
			if (n.no_ptx)
				printf("; %zu image%s without PTX", n.no_ptx, n.no_ptx > 1 ? "s" : "");
			if (n.unread)
				printf("; %zu image%s not read", n.unread, n.unread > 1 ? "s" : "");
			if (n.compiled)
				printf("; %zu compiled, %zu of them wrong", n.compiled, n.broken);
			printf("\n");
		}
	}
	json_array_append_new(files, json_pack("{s:s,s:s,s:I,s:I,s:o}", "file", path, "target", c->chips ? "rocm" : "cpu", "kernels",
					       (json_int_t)n.kernels, "supported",
					       (json_int_t)(n.kernels - n.unsupported), "images", c->images));
	return !n.unsupported && !n.no_ptx && !n.unread && !n.broken;
}

int ptx_cmd_coverage(int argc, char **argv)
{
	struct coverage c = { .max_jobs = 1 };
	json_t *files = json_array();
	bool all = true;

	for (; argc >= 2 && !strncmp(argv[1], "--", 2); argc--, argv++) {
		if (!strcmp(argv[1], "--json")) {
			c.json = true;
		} else if (!strcmp(argv[1], "--compile") && argc >= 3 && atoi(argv[2]) > 0) {
			c.compile = (unsigned long)atoi(argv[2]);
			argc--;
			argv++;
		} else if (!strcmp(argv[1], "--target") && argc >= 3) {
			ptx_gpu_close(c.chips);
			c.chips = ptx_gpu_open(argv[2]);
			if (!c.chips) {
				json_decref(files);
				return 2;
			}
			argc--;
			argv++;
		} else if (!strcmp(argv[1], "--jobs") && argc >= 3 && atoi(argv[2]) > 0) {
			c.max_jobs = (size_t)atoi(argv[2]) < MAX_JOBS ? (size_t)atoi(argv[2]) : MAX_JOBS;
			argc--;
			argv++;
		} else {
			pr_err("'coverage' does not take '%s'", argv[1]);
			ptx_gpu_close(c.chips);
			json_decref(files);
			return 2;
		}
	}
	if (argc < 2) {
		pr_err("'coverage' needs a file");
		ptx_gpu_close(c.chips);
		json_decref(files);
		return 2;
	}
	for (int i = 1; i < argc; i++)
		all &= cover_file(&c, argv[i], files);
	if (c.json) {
		json_dumpf(files, stdout, JSON_INDENT(1));
		putchar('\n');
	}
	ptx_gpu_close(c.chips);
	json_decref(files);
	return all && !c.failed ? 0 : 1;
}
