/*
 * translate_cost.c - what it costs to compile GPU code for the CPU target, next to what ptxas -O3 needs for the same text.
 *
 * usage: translate_cost PTXAS GROUP=FILE… | GROUP:NUMBER=FILE…
 * Every PTX text of a file (PTX, program, library) is one case; with NUMBER that many of them, spread evenly over those of a middling
 * size, always the same ones. Printed for each case and as geometric means for each group: processor time on one thread in ms, and
 * its ratio to ptxas.
 *
 *   ptxas     a process of ptxas -O3 for the architecture that the text names, less the same process for a module without kernels
 *   front     parsing, lowering and verifying
 *   first     that, and every kernel as an object file by the first tier
 *   optimised the same by the second
 *   cached    that, and every kernel found in the disk cache and linked
 *
 * ptxas also reads and writes files; objects here stay in memory. Each time is the least of three, or the only one where it is long.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/fatbin.h"
#include "translate/ir.h"
#include "translate/jit.h"

#define RUNS 3
#define DEVICE_SM 121
#define MIN_TEXT 2000		/* bytes, of a case of a sample */
#define MAX_TEXT 150000
#define LONG_MS 300		/* measured once */
#define MAX_GROUPS 16

enum { FRONT, FIRST, OPTIMISED, CACHED, NR_COSTS };
static const char *const cost_name[NR_COSTS] = { "front", "first", "optimised", "cached" };

struct group {
	const char *name;
	unsigned int nr;
	double log_ratio[NR_COSTS], log_whole[NR_COSTS];
};

static const char *ptxas;
static char folder[] = "/tmp/hgshim-translate-XXXXXX", ptx_file[64], cubin_file[64], cache_dir[64];
static double empty_ms;
static struct group groups[MAX_GROUPS];
static unsigned int nr_groups;
static int failures;

/* Walking a file: first to count, then to take every n-th. */
struct walk {
	struct group *group;
	const char *file;
	size_t seen, sample, usable;	/* sample 0: all */
	bool counting;
};

static double cpu_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* --- ptxas ------------------------------------------------------------------------------------ */
static bool write_ptx(const char *text, size_t size)
{
	FILE *f = fopen(ptx_file, "w");
	bool ok = f && fwrite(text, 1, size, f) == size;

	if (f && fclose(f))
		ok = false;
	return ok;
}

/* Processor time of one run; negative: it failed. */
static double run_ptxas(const char *arch)
{
	struct rusage u;
	char option[64];
	int status;
	pid_t pid;

	snprintf(option, sizeof(option), "-arch=%s", arch);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		dup2(null, 2);
		execl(ptxas, ptxas, "-O3", option, "-o", cubin_file, ptx_file, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &u) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		return -1;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

/* The architecture that the text is for, or the oldest that this ptxas knows. */
static void architecture(const char *text, char arch[32])
{
	const char *p = strstr(text, "\n.target ");
	size_t n;

	strcpy(arch, "sm_75");
	if (!p)
		return;
	p += 9;
	n = strcspn(p, ", \r\n");
	if (n < 32 && n > 3 && atoi(p + 3) >= 75) {
		memcpy(arch, p, n);
		arch[n] = 0;
	}
}

static double time_ptxas(const char *arch)
{
	double best = INFINITY;

	for (int i = 0; i < RUNS; i++) {
		double t = run_ptxas(arch);

		if (t < 0)
			return -1;
		best = least(best, t);
		if (t > LONG_MS)
			break;
	}
	return best;
}

/* --- hgshim ----------------------------------------------------------------------------------- */
static struct hg_module *load(const char *text, size_t size)
{
	struct hg_module *m;

	return hg_module_load(text, size, DEVICE_SM, NULL, 0, &m) ? NULL : m;
}

static bool compile_all(const struct hg_module *m, int tier)
{
	for (size_t i = 0; i < hg_module_nr_kernels(m); i++) {
		void *object;
		size_t size;

		if (hg_module_kernel(m, i)->refused)
			continue;
		if (hg_cpu_kernel_object(hg_module_ir(m), i, tier, false, &object, &size))
			return false;
		free(object);
	}
	return true;
}

/* Gets every kernel; true: all of them were in the cache. */
static bool get_all(const struct hg_module *m, bool wait)
{
	struct hg_cpu_module *cm;
	bool cached = true;

	if (hg_cpu_module_create(m, &cm))
		return false;
	for (size_t i = 0; i < hg_module_nr_kernels(m); i++) {
		struct hg_cpu_kernel *k;

		if (hg_module_kernel(m, i)->refused)
			continue;
		if (hg_cpu_kernel_get(cm, i, &k)) {
			cached = false;
			break;
		}
		cached &= hg_cpu_kernel_was_cached(k);
		if (wait)
			hg_cpu_kernel_wait(k);
	}
	hg_cpu_module_destroy(cm);
	return cached;
}

static bool time_hgshim(const char *text, size_t size, double ms[NR_COSTS], size_t *nr_insns, size_t *nr_kernels)
{
	struct hg_module *m;

	for (int c = 0; c < NR_COSTS; c++)
		ms[c] = INFINITY;
	for (int run = 0; run < RUNS; run++) {
		for (int c = FRONT; c <= CACHED; c++) {
			double start = cpu_ms();

			if (ms[c] > LONG_MS && ms[c] < INFINITY)
				continue;
			m = load(text, size);
			if (!m || (c == FIRST && !compile_all(m, 1)) || (c == OPTIMISED && !compile_all(m, 2)))
				return false;
			if (c == CACHED && !get_all(m, run == 0)) {
				if (run)
					return false;
				start = -INFINITY;	/* that filled the cache */
			}
			ms[c] = least(ms[c], cpu_ms() - start);
			hg_module_free(m);
		}
	}
	m = load(text, size);
	*nr_kernels = hg_module_nr_kernels(m);
	*nr_insns = 0;
	for (size_t i = 0; i < *nr_kernels; i++)
		for (uint32_t b = 0; b < hg_module_ir(m)->func[i].nr_blocks; b++)
			*nr_insns += hg_module_ir(m)->func[i].block[b].nr_insns;
	hg_module_free(m);
	return true;
}

/* --- cases ------------------------------------------------------------------------------------ */
static void one_case(struct walk *w, const char *text, size_t size)
{
	double ms[NR_COSTS], whole, net;
	size_t insns, kernels;
	char arch[32];

	architecture(text, arch);
	whole = write_ptx(text, size) ? time_ptxas(arch) : -1;
	if (whole < 0) {
		printf("%-10s %-40.40s ptxas does not take it for %s\n", w->group->name, w->file, arch);
		return;
	}
	if (!time_hgshim(text, size, ms, &insns, &kernels)) {
		printf("%-10s %-40.40s failed\n", w->group->name, w->file);
		failures++;
		return;
	}
	/* what is left of a text of a few lines is noise */
	net = whole - empty_ms > 0.5 ? whole - empty_ms : 0.5;
	printf("%-10s %-28.28s %3zu kernels %6zu insns  ptxas %8.1f ", w->group->name, w->file, kernels, insns, net);
	for (int c = 0; c < NR_COSTS; c++) {
		printf(" %s %8.2f (%.2f)", cost_name[c], ms[c], ms[c] / net);
		w->group->log_ratio[c] += log(ms[c] / net);
		w->group->log_whole[c] += log(ms[c] / whole);
	}
	printf("\n");
	fflush(stdout);
	w->group->nr++;
}

static void text_found(struct walk *w, const char *text, size_t size)
{
	bool usable = size >= MIN_TEXT && size <= MAX_TEXT && strstr(text, ".entry");

	if (!w->sample) {
		if (!w->counting && strstr(text, ".entry"))
			one_case(w, text, size);
		return;
	}
	if (!usable)
		return;
	/* the i-th of the sample is number i * usable / sample */
	if (!w->counting) {
		size_t i = (w->seen * w->sample + w->usable - 1) / w->usable;

		if (i < w->sample && i * w->usable / w->sample == w->seen)
			one_case(w, text, size);
	}
	w->seen++;
}

/* The newest PTX of each part that the device may take. */
static enum hg_status image_found(const void *image, size_t size, void *arg)
{
	struct hg_image_part *part;
	enum hg_status st;
	size_t nr;

	st = hg_image_parts(image, size, &part, &nr);
	if (st)
		return st;
	for (size_t i = 0; i < nr; i++) {
		struct hg_fatbin_entry e, best = { 0 };
		struct hg_fatbin fb;
		char *text;
		size_t text_size;

		if (part[i].kind == HG_IMAGE_TEXT)
			text_found(arg, part[i].data, strlen(part[i].data));
		if (part[i].kind != HG_IMAGE_FATBIN || hg_fatbin_open(&fb, part[i].data, part[i].size))
			continue;
		while (!hg_fatbin_next(&fb, &e))
			if (e.kind == HG_FATBIN_PTX && e.sm <= DEVICE_SM && e.sm >= best.sm && !(e.flags & HG_FATBIN_ARCH_SPECIFIC))
				best = e;
		if (!best.sm || hg_fatbin_extract(&best, &text, &text_size))
			continue;
		text_found(arg, text, strnlen(text, text_size));
		free(text);
	}
	free(part);
	return HG_OK;
}

static struct group *group_named(char *name)
{
	for (unsigned int i = 0; i < nr_groups; i++)
		if (!strcmp(groups[i].name, name))
			return &groups[i];
	if (nr_groups == MAX_GROUPS)
		return NULL;
	groups[nr_groups].name = name;
	return &groups[nr_groups++];
}

static bool run_file(char *spec)
{
	char *file = strchr(spec, '='), *sample = strchr(spec, ':');
	struct walk w = { .counting = true };

	if (!file)
		return false;
	*file++ = 0;
	if (sample && sample < file) {
		*sample++ = 0;
		w.sample = strtoul(sample, NULL, 10);
	}
	w.group = group_named(spec);
	w.file = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
	if (!w.group)
		return false;
	if (w.sample && ptx_file_images(file, image_found, &w) == HG_ERR_NOTFOUND)
		return true;
	w.usable = w.seen;
	if (w.sample && !w.usable) {
		printf("%-10s %-40.40s no text of %d to %d bytes\n", w.group->name, w.file, MIN_TEXT, MAX_TEXT);
		return true;
	}
	if (w.sample > w.usable)
		w.sample = w.usable;
	w.seen = 0;
	w.counting = false;
	return !ptx_file_images(file, image_found, &w);
}

static void print_means(const char *name, unsigned int nr, const double *log_ratio, const double *log_whole)
{
	if (!nr)
		return;
	printf("%-12s %4u", name, nr);
	for (int c = 0; c < NR_COSTS; c++)
		printf("  %9.3f (%.3f)", exp(log_ratio[c] / nr), exp(log_whole[c] / nr));
	printf("\n");
}

int main(int argc, char **argv)
{
	static const char empty[] = ".version 9.0\n.target sm_80\n.address_size 64\n";
	struct group all = { .name = "all" };
	char command[128];

	hg_msg_prefix("translate_cost");
	if (argc < 3) {
		fprintf(stderr, "usage: translate_cost PTXAS GROUP[:NUMBER]=FILE…\n");
		return 2;
	}
	ptxas = argv[1];
	if (!mkdtemp(folder)) {
		perror("translate_cost");
		return 1;
	}
	snprintf(ptx_file, sizeof(ptx_file), "%s/in.ptx", folder);
	snprintf(cubin_file, sizeof(cubin_file), "%s/out.cubin", folder);
	snprintf(cache_dir, sizeof(cache_dir), "%s/cache", folder);
	setenv("HGSHIM_CACHE", cache_dir, 1);
	empty_ms = write_ptx(empty, sizeof(empty) - 1) ? time_ptxas("sm_80") : -1;
	if (empty_ms < 0) {
		fprintf(stderr, "translate_cost: '%s' does not run\n", ptxas);
		failures++;
	} else {
		printf("ptxas starts in %.1f ms; times in ms of processor time, in brackets over ptxas less that\n", empty_ms);
		for (int i = 2; i < argc; i++)
			if (!run_file(argv[i]))
				failures++;
	}
	printf("\ngeometric means of the ratios to ptxas less its start (in brackets: to its whole process)\n%-12s %4s", "group", "n");
	for (int c = 0; c < NR_COSTS; c++)
		printf("  %17s", cost_name[c]);
	printf("\n");
	for (unsigned int i = 0; i < nr_groups; i++) {
		print_means(groups[i].name, groups[i].nr, groups[i].log_ratio, groups[i].log_whole);
		all.nr += groups[i].nr;
		for (int c = 0; c < NR_COSTS; c++) {
			all.log_ratio[c] += groups[i].log_ratio[c];
			all.log_whole[c] += groups[i].log_whole[c];
		}
	}
	print_means(all.name, all.nr, all.log_ratio, all.log_whole);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command) || failures ? 1 : 0;
}
