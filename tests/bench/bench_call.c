/*
 * bench_call.c - what interception and recording cost a call.
 *
 * Each process measures pairs of batches, one through libhgshim.so and one straight into the engine, in turn;
 * a number is the median over the batches of the difference per call. Modes differ in what is recorded, which a
 * process chooses once: so each mode runs in processes of its own, several times, and the spread printed is the
 * one between these processes.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "replay/engine.h"

#define PROCESSES 7
#define BATCHES 400
#define CALLS 512	/* in a batch */
#define LAUNCHES 64

static const char ptx[] =
	".version 8.0\n"
	".target sm_80\n"
	".address_size 64\n"
	".visible .entry nop(.param .u64 p, .param .u64 q, .param .u32 n, .param .f32 a)\n"
	"{\n"
	"\tret;\n"
	"}\n";

struct api {
	CUresult (*init)(unsigned int);
	CUresult (*retain)(CUcontext *, CUdevice);
	CUresult (*set_current)(CUcontext);
	CUresult (*get_device)(CUdevice *);
	CUresult (*load)(CUmodule *, const void *);
	CUresult (*function)(CUfunction *, CUmodule, const char *);
	CUresult (*launch)(CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,
			   unsigned int, CUstream, void **, void **);
	CUresult (*sync)(void);
	CUresult (*query)(CUstream);
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_call: %s: %s\n", what, why);
	exit(1);
}

static void *need(void *p, const char *name)
{
	if (!p)
		die("missing", name);
	return p;
}

#define FILL(api, find)                                                                            \
	do {                                                                                       \
		(api)->init = need(find("cuInit"), "cuInit");                                      \
		(api)->retain = need(find("cuDevicePrimaryCtxRetain"), "cuDevicePrimaryCtxRetain"); \
		(api)->set_current = need(find("cuCtxSetCurrent"), "cuCtxSetCurrent");             \
		(api)->get_device = need(find("cuCtxGetDevice"), "cuCtxGetDevice");                \
		(api)->load = need(find("cuModuleLoadData"), "cuModuleLoadData");                  \
		(api)->function = need(find("cuModuleGetFunction"), "cuModuleGetFunction");        \
		(api)->launch = need(find("cuLaunchKernel"), "cuLaunchKernel");                    \
		(api)->sync = need(find("cuCtxSynchronize"), "cuCtxSynchronize");                  \
		(api)->query = need(find("cuStreamQuery"), "cuStreamQuery");                       \
	} while (0)

static void check(CUresult r, const char *what)
{
	if (r != CUDA_SUCCESS) {
		char text[16];

		snprintf(text, sizeof(text), "%d", (int)r);
		die(what, text);
	}
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

static CUfunction nop;
static const struct api *now_api;

static void do_get_device(void)
{
	CUdevice dev;

	now_api->get_device(&dev);
}

static void do_query(void)
{
	now_api->query(NULL);
}

static void do_launch(void)
{
	static CUdeviceptr p = 0x200000000000, q = 0x200000100000;
	static unsigned int n = 1000;
	static float a = 1;
	void *params[] = { &p, &q, &n, &a };

	now_api->launch(nop, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
}

static double batch(const struct api *api, void (*call)(void), int n)
{
	double start, end;

	now_api = api;
	start = now_ns();
	for (int i = 0; i < n; i++)
		call();
	end = now_ns();
	check(api->sync(), "cuCtxSynchronize");
	return (end - start) / n;
}

struct result { double direct, added; };

static struct result compare(const struct api *shim, const struct api *direct, void (*call)(void), int n)
{
	static double d[BATCHES], added[BATCHES];
	struct result r;

	for (int i = 0; i < BATCHES / 10; i++) {
		batch(shim, call, n);
		batch(direct, call, n);
	}
	for (int i = 0; i < BATCHES; i++) {
		/* in turn, so that what comes first is not always the same */
		double s = i % 2 ? batch(shim, call, n) : 0;

		d[i] = batch(direct, call, n);
		if (!(i % 2))
			s = batch(shim, call, n);
		added[i] = s - d[i];
	}
	r.direct = median(d, BATCHES);
	r.added = median(added, BATCHES);
	return r;
}

static void *handle;
static void *in_shim(const char *name)
{
	return dlsym(handle, name);
}

static char folder[PATH_MAX];

static void find_folder(void)
{
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

	if (n <= 0)
		die("readlink", "/proc/self/exe");
	folder[n] = 0;
	*strrchr(folder, '/') = 0;
}

/* Prints: direct and added ns of an unrecorded call, a recorded one, a launch. */
static int child(void)
{
	const struct hg_engine *(*entry)(void);
	char path[PATH_MAX + 32];
	struct api shim, direct;
	struct result r[3];
	CUmodule module;
	CUcontext ctx;
	void *engine;

	snprintf(path, sizeof(path), "%s/libhgshim.so", folder);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		die("dlopen", dlerror());
	snprintf(path, sizeof(path), "%s/libhgshim-engine.so", folder);
	engine = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!engine)
		die("dlopen", dlerror());
	entry = (const struct hg_engine *(*)(void))need(dlsym(engine, "hgshim_engine"), "hgshim_engine");
	FILL(&shim, in_shim);
	FILL(&direct, entry()->proc);

	check(shim.init(0), "cuInit");
	check(shim.retain(&ctx, 0), "cuDevicePrimaryCtxRetain");
	check(shim.set_current(ctx), "cuCtxSetCurrent");
	check(shim.load(&module, ptx), "cuModuleLoadData");
	check(shim.function(&nop, module, "nop"), "cuModuleGetFunction");

	r[0] = compare(&shim, &direct, do_get_device, CALLS);
	r[1] = compare(&shim, &direct, do_query, CALLS);
	r[2] = compare(&shim, &direct, do_launch, LAUNCHES);
	for (int i = 0; i < 3; i++)
		printf("%g %g\n", r[i].direct, r[i].added);
	return 0;
}

static void run(const char *log, const char *calls, struct result r[3])
{
	int end[2], status;
	pid_t pid;
	FILE *f;

	if (pipe(end))
		die("pipe", "failed");
	pid = fork();
	if (pid < 0)
		die("fork", "failed");
	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		setenv("HGSHIM_LOG", log, 1);
		setenv("HGSHIM_CALLS", calls, 1);
		setenv("HGSHIM_TARGET", "cpu", 1);
		dup2(end[1], STDOUT_FILENO);
		/* recording that is off says so */
		if (!strncmp(log, "/dev/null", 9))
			dup2(null, STDERR_FILENO);
		execl("/proc/self/exe", "bench_call", "child", (char *)NULL);
		_exit(127);
	}
	close(end[1]);
	f = fdopen(end[0], "r");
	for (int i = 0; i < 3; i++)
		if (!f || fscanf(f, "%lf %lf", &r[i].direct, &r[i].added) != 2)
			die("a process gave no numbers", calls);
	fclose(f);
	if (waitpid(pid, &status, 0) != pid || status)
		die("a process failed", calls);
}

static void remove_log(const char *log)
{
	char cmd[PATH_MAX + 64];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", log);
	if (system(cmd) != 0)
		die("rm", log);
}

static void print(const char *what, double *v)
{
	double m = median(v, PROCESSES);

	printf("%-64s %8.1f ns   (%.1f to %.1f)\n", what, m, v[0], v[PROCESSES - 1]);
}

int main(int argc, char **argv)
{
	enum { RECORDED, OBJECTS, OFF, NR_MODES };
	static const char *const calls[NR_MODES] = { "all", "objects", "all" };
	static double direct[3][PROCESSES], added[NR_MODES][3][PROCESSES], over[PROCESSES];
	char log[PATH_MAX + 32];

	find_folder();
	if (argc > 1 && !strcmp(argv[1], "child"))
		return child();
	snprintf(log, sizeof(log), "%s/bench_call.log", folder);
	for (int p = 0; p < PROCESSES; p++)
		for (int mode = 0; mode < NR_MODES; mode++) {
			struct result r[3];

			remove_log(log);
			run(mode == OFF ? "/dev/null/no-log" : log, calls[mode], r);
			for (int i = 0; i < 3; i++) {
				added[mode][i][p] = r[i].added;
				if (mode == OFF)
					direct[i][p] = r[i].direct;
			}
		}
	remove_log(log);
	for (int p = 0; p < PROCESSES; p++)
		over[p] = added[RECORDED][2][p] - added[OBJECTS][2][p];

	printf("median of %d processes (lowest to highest); added: over the same call straight into the engine\n", PROCESSES);
	print("cuCtxGetDevice, straight", direct[0]);
	print("cuCtxGetDevice, not recorded: added by interception", added[OFF][0]);
	print("cuStreamQuery, straight", direct[1]);
	print("cuStreamQuery, recorded: added", added[RECORDED][1]);
	print("cuLaunchKernel, straight (cpu target, empty kernel)", direct[2]);
	print("cuLaunchKernel, recording off: added", added[OFF][2]);
	print("cuLaunchKernel, HGSHIM_CALLS=objects: added", added[OBJECTS][2]);
	print("cuLaunchKernel, recorded: added", added[RECORDED][2]);
	print("recorded launch over an unrecorded one (goal 50)", over);
	return 0;
}
