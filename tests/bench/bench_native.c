/*
 * bench_native.c - what recording in front of a driver costs a call: ns, and instructions.
 *
 * The driver is the tests' own (tests/drivers/cuda), whose launches do nothing here (HG_FAKE_CUDA_NULL=1). Each process
 * measures pairs of batches, one through libhgshim.so and one straight into that driver, in turn, with a pause after
 * each recorded one that lets the log's writer keep up as it would with a GPU's launches; a number is the median over
 * the batches of the difference per call. Modes differ in what is recorded, which a process chooses once: so each mode
 * runs in processes of its own, several times, and the spread printed is the one between these processes.
 *
 * Instructions are counted by valgrind's callgrind, where it is installed, in hg_bench_calls alone: the difference of
 * two loops of different length, divided by the calls that one has more. `bench_native instructions` does that alone.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 7
#define BATCHES 400
#define CALLS 128		/* in a batch */
#define PAUSE_NS 100000
#define FEW 200			/* calls of the loops that callgrind counts */
#define MANY 1200

static const char ptx[] =
	".version 8.0\n.target sm_75\n.address_size 64\n"
	".visible .entry one(.param .u64 p) { ret; }\n"
	".visible .entry eight(.param .u64 a, .param .u64 b, .param .u32 c, .param .u32 d, .param .f32 e, .param .u8 f,\n"
	"\t.param .align 8 .b8 g[24], .param .f64 h) { ret; }\n";

struct api {
	CUresult (*init)(unsigned int);
	CUresult (*retain)(CUcontext *, CUdevice);
	CUresult (*set_current)(CUcontext);
	CUresult (*get_current)(CUcontext *);
	CUresult (*load)(CUmodule *, const void *);
	CUresult (*function)(CUfunction *, CUmodule, const char *);
	CUresult (*stream)(CUstream *, unsigned int);
	CUresult (*query)(CUstream);
	CUresult (*alloc)(CUdeviceptr *, size_t);
	CUresult (*free)(CUdeviceptr);
	CUresult (*to_device)(CUdeviceptr, const void *, size_t);
	CUresult (*from_device)(void *, CUdeviceptr, size_t);
	CUresult (*launch)(CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,
			   unsigned int, CUstream, void **, void **);
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_native: %s: %s\n", what, why);
	exit(1);
}

static void fill(struct api *api, void *lib)
{
	const struct { void *slot; const char *name; } names[] = {
		{ &api->init, "cuInit" }, { &api->retain, "cuDevicePrimaryCtxRetain" },
		{ &api->set_current, "cuCtxSetCurrent" }, { &api->get_current, "cuCtxGetCurrent" },
		{ &api->load, "cuModuleLoadData" }, { &api->function, "cuModuleGetFunction" },
		{ &api->stream, "cuStreamCreate" }, { &api->query, "cuStreamQuery" }, { &api->alloc, "cuMemAlloc_v2" },
		{ &api->free, "cuMemFree_v2" }, { &api->to_device, "cuMemcpyHtoD_v2" },
		{ &api->from_device, "cuMemcpyDtoH_v2" }, { &api->launch, "cuLaunchKernel" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		void *p = dlsym(lib, names[i].name);

		if (!p)
			die("missing", names[i].name);
		memcpy(names[i].slot, &p, sizeof(p));
	}
}

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

/* ---- the calls ---- */

static CUfunction one, eight;
static CUstream stream;
static CUdeviceptr memory;
static unsigned char host[256];

static void do_launch_1(const struct api *api)
{
	void *params[] = { &memory };

	check(api->launch(one, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL), "cuLaunchKernel");
}

static void do_launch_8(const struct api *api)
{
	static unsigned int c = 3, d = 4;
	static float e = 5;
	static char f = 6, g[24];
	static double h = 8;
	void *params[] = { &memory, &memory, &c, &d, &e, &f, g, &h };

	check(api->launch(eight, 4, 2, 1, 32, 2, 1, 0, stream, params, NULL), "cuLaunchKernel");
}

static void do_to_device(const struct api *api)
{
	check(api->to_device(memory, host, sizeof(host)), "cuMemcpyHtoD");
}

static void do_from_device(const struct api *api)
{
	check(api->from_device(host, memory, sizeof(host)), "cuMemcpyDtoH");
}

static void do_alloc_free(const struct api *api)
{
	CUdeviceptr p;

	check(api->alloc(&p, 4096), "cuMemAlloc");
	check(api->free(p), "cuMemFree");
}

static void do_query(const struct api *api)
{
	check(api->query(stream), "cuStreamQuery");
}

static void do_get_current(const struct api *api)
{
	CUcontext ctx;

	check(api->get_current(&ctx), "cuCtxGetCurrent");
}

static const struct { const char *name; void (*call)(const struct api *api); } calls[] = {
	{ "cuLaunchKernel, 1 parameter", do_launch_1 },
	{ "cuLaunchKernel, 8 parameters", do_launch_8 },
	{ "256 bytes to the device", do_to_device },
	{ "256 bytes from the device", do_from_device },
	{ "cuMemAlloc and cuMemFree", do_alloc_free },
	{ "cuStreamQuery", do_query },
	{ "cuCtxGetCurrent", do_get_current },
};
#define NR_CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- in a process ---- */

static char folder[PATH_MAX];

static void find_folder(void)
{
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

	if (n <= 0)
		die("readlink", "/proc/self/exe");
	folder[n] = 0;
	*strrchr(folder, '/') = 0;
}

static void *open_library(const char *name)
{
	char path[PATH_MAX + 64];
	void *lib;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		die("dlopen", dlerror());
	return lib;
}

static void set_up(struct api *shim, struct api *straight)
{
	CUmodule module;
	CUcontext ctx;

	fill(shim, open_library("libhgshim.so"));
	check(shim->init(0), "cuInit");
	check(shim->retain(&ctx, 0), "cuDevicePrimaryCtxRetain");
	check(shim->set_current(ctx), "cuCtxSetCurrent");
	check(shim->load(&module, ptx), "cuModuleLoadData");
	check(shim->function(&one, module, "one"), "cuModuleGetFunction");
	check(shim->function(&eight, module, "eight"), "cuModuleGetFunction");
	check(shim->stream(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	check(shim->alloc(&memory, sizeof(host)), "cuMemAlloc");
	/* the very library that hgshim has opened */
	fill(straight, open_library("drivers/cuda/libcuda.so.1"));
}

static double batch(const struct api *api, void (*call)(const struct api *api))
{
	double start = now_ns(), end;

	for (int i = 0; i < CALLS; i++)
		call(api);
	end = now_ns();
	while (now_ns() - end < PAUSE_NS)
		;
	return (end - start) / CALLS;
}

static int measure(void)
{
	static double direct[BATCHES], added[BATCHES];
	struct api shim, straight;

	set_up(&shim, &straight);
	for (size_t c = 0; c < NR_CALLS; c++) {
		for (int i = 0; i < BATCHES / 10; i++) {
			batch(&shim, calls[c].call);
			batch(&straight, calls[c].call);
		}
		for (int i = 0; i < BATCHES; i++) {
			/* in turn, so that what comes first is not always the same */
			double s = i % 2 ? batch(&shim, calls[c].call) : 0;

			direct[i] = batch(&straight, calls[c].call);
			if (!(i % 2))
				s = batch(&shim, calls[c].call);
			added[i] = s - direct[i];
		}
		printf("%g %g\n", median(direct, BATCHES), median(added, BATCHES));
	}
	return 0;
}

/* callgrind counts what runs in here, and writes and clears its counters at the end of each call. */
__attribute__((noinline)) void hg_bench_calls(const struct api *api, void (*call)(const struct api *api), int n);
__attribute__((noinline)) void hg_bench_calls(const struct api *api, void (*call)(const struct api *api), int n)
{
	for (int i = 0; i < n; i++)
		call(api);
}

static void count_one(const struct api *api, void (*call)(const struct api *api))
{
	for (int i = 0; i < FEW; i++)
		call(api);
	usleep(100000);
	hg_bench_calls(api, call, FEW);
	usleep(100000);
	hg_bench_calls(api, call, MANY);
}

static int count(void)
{
	struct api shim, straight;

	set_up(&shim, &straight);
	for (size_t c = 0; c < NR_CALLS; c++) {
		count_one(&straight, calls[c].call);
		count_one(&shim, calls[c].call);
	}
	return 0;
}

/* ---- all of them ---- */

enum mode { RECORDED, OBJECTS, OFF, NR_MODES };
static const char *const mode_calls[NR_MODES] = { "tail", "objects", "tail" };

/* What a run leaves: its log, and callgrind's files cg.1, cg.2, … */
static char scratch[PATH_MAX + 32];

static void clear_scratch(bool make)
{
	char cmd[2 * sizeof(scratch) + 64];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'%s'%s'", scratch, make ? " && mkdir " : " ", make ? scratch : "");
	if (system(cmd) != 0)
		die("cannot empty", scratch);
}

/* Runs this program again as `what`, in a mode; under callgrind if wanted. Returns its output. */
static FILE *start(const char *what, enum mode mode, bool callgrind, pid_t *pid)
{
	int end[2];

	clear_scratch(true);
	if (pipe(end))
		die("pipe", "failed");
	*pid = fork();
	if (*pid < 0)
		die("fork", "failed");
	if (!*pid) {
		char driver[PATH_MAX + 64], self[PATH_MAX + 64], path[PATH_MAX + 64], option[PATH_MAX + 96];
		int null = open("/dev/null", O_WRONLY);

		snprintf(driver, sizeof(driver), "%s/drivers/cuda/libcuda.so.1", folder);
		snprintf(path, sizeof(path), "%s/log", scratch);
		setenv("HGSHIM_LOG", mode == OFF ? "/dev/null/no-log" : path, 1);
		setenv("HGSHIM_CALLS", mode_calls[mode], 1);
		setenv("HGSHIM_TARGET", "cuda", 1);
		setenv("HGSHIM_DRIVER", driver, 1);
		setenv("HG_FAKE_CUDA_NULL", "1", 1);
		dup2(end[1], STDOUT_FILENO);
		/* recording that is off says so, and valgrind what it cannot do */
		if (mode == OFF || callgrind)
			dup2(null, STDERR_FILENO);
		if (callgrind) {
			/* valgrind has no room for the range of addresses that the driver reserves by default */
			setenv("HG_FAKE_CUDA_RANGE", "0x40000000", 1);
			setenv("HG_FAKE_CUDA_MEMORY", "0x20000000", 1);
		}
		if (!callgrind)
			execl("/proc/self/exe", "bench_native", what, (char *)NULL);
		snprintf(self, sizeof(self), "%s/bench_native", folder);
		snprintf(option, sizeof(option), "--callgrind-out-file=%s/cg", scratch);
		execlp("valgrind", "valgrind", "--tool=callgrind", "--toggle-collect=hg_bench_calls",
		       "--dump-after=hg_bench_calls", option, self, what, (char *)NULL);
		_exit(127);
	}
	close(end[1]);
	return fdopen(end[0], "r");
}

/* The instructions that callgrind counted in one stretch; -1: there is no such file. */
static double counted(size_t i)
{
	char path[sizeof(scratch) + 32], line[256];
	double n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/cg.%zu", scratch, i);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "summary: %lf", &n) == 1 || sscanf(line, "totals: %lf", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

static void count_instructions(void)
{
	double straight[NR_CALLS], through[NR_MODES][NR_CALLS];

	for (int mode = 0; mode < NR_MODES; mode++) {
		int status;
		pid_t pid;
		FILE *f = start("count", mode, true, &pid);

		if (waitpid(pid, &status, 0) != pid || status) {
			printf("instructions: not counted, for valgrind cannot be run\n");
			fclose(f);
			return;
		}
		fclose(f);
		for (size_t c = 0; c < NR_CALLS; c++) {
			double n[4];

			for (size_t i = 0; i < 4; i++) {
				n[i] = counted(4 * c + i + 1);
				if (n[i] < 0)
					die("callgrind left no counts of", calls[c].name);
			}
			straight[c] = (n[1] - n[0]) / (MANY - FEW);
			through[mode][c] = (n[3] - n[2]) / (MANY - FEW);
		}
	}
	printf("instructions of a call%36s %9s %9s %9s\n", "straight", "off", "objects", "recorded");
	for (size_t c = 0; c < NR_CALLS; c++)
		printf("%-48s %9.1f %+9.1f %+9.1f %+9.1f\n", calls[c].name, straight[c], through[OFF][c] - straight[c],
		       through[OBJECTS][c] - straight[c], through[RECORDED][c] - straight[c]);
}

static void print(const char *name, const char *what, double *v)
{
	double m = median(v, PROCESSES);

	printf("%-30s %-26s %8.1f ns   (%.1f to %.1f)\n", name, what, m, v[0], v[PROCESSES - 1]);
}

int main(int argc, char **argv)
{
	static double direct[NR_CALLS][PROCESSES], added[NR_MODES][NR_CALLS][PROCESSES];

	find_folder();
	if (argc > 1 && !strcmp(argv[1], "measure"))
		return measure();
	if (argc > 1 && !strcmp(argv[1], "count"))
		return count();
	snprintf(scratch, sizeof(scratch), "%s/native_bench.tmp", folder);
	if (argc > 1 && !strcmp(argv[1], "instructions")) {
		count_instructions();
		clear_scratch(false);
		return 0;
	}
	for (int p = 0; p < PROCESSES; p++)
		for (int mode = 0; mode < NR_MODES; mode++) {
			int status;
			pid_t pid;
			FILE *f = start("measure", mode, false, &pid);

			for (size_t c = 0; c < NR_CALLS; c++) {
				double d;

				if (fscanf(f, "%lf %lf", &d, &added[mode][c][p]) != 2)
					die("a process gave no numbers", mode_calls[mode]);
				if (mode == OFF)
					direct[c][p] = d;
			}
			fclose(f);
			if (waitpid(pid, &status, 0) != pid || status)
				die("a process failed", mode_calls[mode]);
		}
	printf("median of %d processes (lowest to highest); added: over the same call straight into the driver\n", PROCESSES);
	for (size_t c = 0; c < NR_CALLS; c++) {
		print(calls[c].name, "straight", direct[c]);
		print("", "recording off: added", added[OFF][c]);
		print("", "HGSHIM_CALLS=objects: added", added[OBJECTS][c]);
		print("", c < 2 ? "recorded: added (goal 50)" : "recorded: added", added[RECORDED][c]);
	}
	count_instructions();
	clear_scratch(false);
	return 0;
}
