/*
 * main.c - bench-kernels: kernels.cu as PTX on the CPU target against the same text as OpenCL C on PoCL.
 *
 *   bench-kernels PTX [PEER KERNELS]   without a peer: the times of one run alone
 *   bench-kernels --only NAME …        cases whose name begins so
 *   bench-kernels --runs N …           default 9
 *
 * Both run with as many threads as there are processors, each in its process, in turn; compiling, filling buffers and a
 * first run are outside. Both results are compared with one computed here. Printed is PoCL's time / ours, median, minimum and
 * maximum over the runs: above 1, ours is the faster one. The same of processor time, which other programs disturb less.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replay/grid.h"
#include "tests/bench/kernels/cases.h"
#include "translate/jit.h"
#include "translate/module.h"

#define MAX_RUNS 1001

static struct hg_cpu_module *code;
static struct hg_module *module;
static struct buffer buf[MAX_BUFFERS];
static int runs = 9;

static void launch(struct machine *m, const char *name, const int grid[2], const int block[2], const struct arg *arg,
		   int nr_args)
{
	unsigned char params[MAX_ARGS * 8];
	struct hg_grid g = { .grid = { (uint32_t)grid[0], (uint32_t)grid[1], 1 },
			     .block = { (uint32_t)block[0], (uint32_t)block[1], 1 }, .params = params };
	const struct ir_module *ir = hg_module_ir(module);
	struct hg_cpu_kernel *k;
	struct hg_fault fault;
	size_t at = 0, i = 0;

	for (int a = 0; a < nr_args; a++) {
		size_t size = arg[a].kind == ARG_BUFFER ? 8 : 4;

		at = (at + size - 1) / size * size;
		memcpy(params + at, arg[a].kind == ARG_BUFFER ? (const void *)&buf[arg[a].i].data : &arg[a].i, size);
		at += size;
	}
	while (i < ir->nr_funcs && strcmp(ir->func[i].name, name))
		i++;
	if (hg_cpu_kernel_get(code, i, &k)) {
		m->failed = true;
		return;
	}
	hg_cpu_kernel_wait(k);
	if (!hg_grid_run(k, &g, &fault))
		return;
	printf("%s: %s\n", name, fault.what);
	m->failed = true;
}

static struct cost once(const struct bench *b, struct machine *m)
{
	struct cost start;

	if (b->reset)
		b->reset(buf);
	start = now();
	b->run(m);
	return since(start);
}

/* The peer's answer to a number; false: it has none, which was said. */
static bool ask(FILE *to, FILE *from, int i, struct cost *out)
{
	char line[256] = "";

	fprintf(to, "%d\n", i);
	fflush(to);
	if (fgets(line, sizeof(line), from) && sscanf(line, "%lf %lf", &out->wall, &out->cpu) == 2)
		return true;
	printf("%s: PoCL: %s", benches[i].name, *line ? line : "ended\n");
	return false;
}

static int by_value(const void *x, const void *y)
{
	double d = *(const double *)x - *(const double *)y;

	return d < 0 ? -1 : d > 0;
}

static bool start_peer(const char *program, const char *text, FILE **to, FILE **from)
{
	int down[2], up[2];
	char line[256];

	if (pipe(down) || pipe(up))
		return false;
	switch (fork()) {
	case -1:
		return false;
	case 0:
		dup2(down[0], 0);
		dup2(up[1], 1);
		close(down[1]);
		close(up[0]);
		execl(program, program, text, (char *)NULL);
		_exit(127);
	}
	close(down[0]);
	close(up[1]);
	*to = fdopen(down[1], "w");
	*from = fdopen(up[0], "r");
	if (!*to || !*from || !fgets(line, sizeof(line), *from)) {
		printf("PoCL does not start\n");
		return false;
	}
	printf("peer: %s", line);
	return !strncmp(line, "ready", 5);
}

static void *read_file(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	char *text = calloc(1, 1 << 20);

	if (!f || !text) {
		printf("cannot read '%s'\n", path);
		exit(1);
	}
	*size = fread(text, 1, (1 << 20) - 1, f);
	fclose(f);
	return text;
}

/* 0 when it was measured and right. */
static int measure(int i, FILE *to, FILE *from, double *median, double *cpu_median)
{
	const struct bench *b = &benches[i];
	struct machine m = { .launch = launch };
	double wall[MAX_RUNS], cpu[MAX_RUNS];
	const char *bad;

	b->prepare(buf);
	once(b, &m);
	if (m.failed)
		return 1;
	bad = b->check(buf);
	if (bad) {
		printf("%s: wrong result: %s\n", b->name, bad);
		return 1;
	}
	for (int r = 0; r < runs; r++) {
		struct cost ours = once(b, &m), theirs;

		if (m.failed || (from && !ask(to, from, i, &theirs)))
			return 1;
		wall[r] = from ? theirs.wall / ours.wall : ours.wall;
		cpu[r] = from ? theirs.cpu / ours.cpu : ours.cpu;
	}
	qsort(wall, (size_t)runs, sizeof(*wall), by_value);
	qsort(cpu, (size_t)runs, sizeof(*cpu), by_value);
	printf("%-16s %8.2f %8.2f %8.2f   %8.2f %8.2f %8.2f\n", b->name, wall[runs / 2], wall[0], wall[runs - 1], cpu[runs / 2], cpu[0],
	       cpu[runs - 1]);
	fflush(stdout);
	*median = wall[runs / 2];
	*cpu_median = cpu[runs / 2];
	for (int k = 0; k < b->nr_buffers; k++)
		free(buf[k].data);
	return 0;
}

int main(int argc, char **argv)
{
	const char *only = "";
	FILE *to = NULL, *from = NULL;
	double sum = 0, cpu_sum = 0, least = INFINITY;
	int measured = 0, failed = 0;
	size_t size;
	void *ptx;

	for (; argc > 3 && !strncmp(argv[1], "--", 2); argv += 2, argc -= 2) {
		if (!strcmp(argv[1], "--only"))
			only = argv[2];
		else if (!strcmp(argv[1], "--runs"))
			runs = atoi(argv[2]);
		else
			runs = 0;
	}
	if ((argc != 2 && argc != 4) || runs < 1 || runs > MAX_RUNS) {
		fprintf(stderr, "usage: bench-kernels [--only NAME] [--runs N] PTX [PEER KERNELS]\n");
		return 2;
	}
	setenv("HGSHIM_CACHE", "0", 1);
	signal(SIGPIPE, SIG_IGN);
	/* before any thread runs */
	if (argc == 4 && !start_peer(argv[2], argv[3], &to, &from))
		return 1;
	ptx = read_file(argv[1], &size);
	if (hg_module_load(ptx, size + 1, 120, NULL, 0, &module) || hg_cpu_module_create(module, &code))
		return 1;
	printf("%-16s %s (median, least, most), and of processors\n", "", from ? "PoCL's time / ours" : "ms");
	for (int i = 0; benches[i].name; i++) {
		double median, cpu_median;

		if (strncmp(benches[i].name, only, strlen(only)))
			continue;
		if (measure(i, to, from, &median, &cpu_median)) {
			failed++;
			continue;
		}
		sum += log(median);
		cpu_sum += log(cpu_median);
		least = median < least ? median : least;
		measured++;
	}
	if (from && measured)
		printf("geometric mean of %d: %.2f, of processor time %.2f; least: %.2f; failed: %d\n", measured, exp(sum / measured),
		       exp(cpu_sum / measured), least, failed);
	hg_cpu_module_destroy(code);
	hg_module_free(module);
	hg_grid_shutdown();
	free(ptx);
	return failed != 0;
}
