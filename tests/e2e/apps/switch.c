/*
 * switch.c - small programs, each with something that a change of the driver has to get right: `switch WAY FILE`.
 *
 * Each waits once, at a moment of its own: it creates FILE and goes on when someone has removed it. It ends with PASS and a
 * checksum of what came out, which does not depend on what was done to it meanwhile.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "tests/apps/app.h"

#define N 2048

/* the header of CUDA 13 has a newer one under its plain name */
CUresult CUDAAPI cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev);

static const char ptx[] =
	".version 7.0\n"
	".target sm_75\n"
	".address_size 64\n"
	".visible .global .align 4 .u32 step = 1;\n"
	".visible .entry add(.param .u64 p_x, .param .u32 p_v)\n"
	"{\n"
	"	.reg .b32 %r<8>;\n"
	"	.reg .b64 %rd<4>;\n"
	"	ld.param.u64 %rd1, [p_x];\n"
	"	ld.param.u32 %r1, [p_v];\n"
	"	cvta.to.global.u64 %rd1, %rd1;\n"
	"	mov.u32 %r2, %ctaid.x;\n"
	"	mov.u32 %r3, %ntid.x;\n"
	"	mov.u32 %r4, %tid.x;\n"
	"	mad.lo.s32 %r5, %r2, %r3, %r4;\n"
	"	mul.wide.u32 %rd2, %r5, 4;\n"
	"	add.s64 %rd3, %rd1, %rd2;\n"
	"	ld.global.u32 %r6, [%rd3];\n"
	"	ld.global.u32 %r7, [step];\n"
	"	mad.lo.u32 %r6, %r1, %r7, %r6;\n"
	"	st.global.u32 [%rd3], %r6;\n"
	"	ret;\n"
	"}\n";

static const char *hold_file;

static void check(CUresult r, CUresult want, const char *what, int line)
{
	if (r == want)
		return;
	fprintf(stderr, "switch.c:%d: %s: error %d, not %d\n", line, what, (int)r, (int)want);
	app_fail("a CUDA call failed");
}
#define DRV(call) check(call, CUDA_SUCCESS, #call, __LINE__)
#define GIVES(want, call) check(call, want, #call, __LINE__)

static void require(int ok, const char *what)
{
	if (!ok)
		app_fail(what);
}
#define NEED(condition) require(condition, #condition)

static void hold(void)
{
	const struct timespec tick = { 0, 1000000 };
	FILE *f = fopen(hold_file, "w");

	if (!f)
		app_fail("cannot create the file");
	fclose(f);
	while (!access(hold_file, F_OK))
		nanosleep(&tick, NULL);
}

/* ---- a piece of ordinary work: a module, a buffer, launches ---- */

struct work {
	CUmodule module;
	CUfunction add;
	CUdeviceptr x, step;
	CUstream stream;
	uint32_t want;
};

static void work_begin(struct work *w)
{
	size_t bytes;

	w->want = 0;
	DRV(cuModuleLoadData(&w->module, ptx));
	DRV(cuModuleGetFunction(&w->add, w->module, "add"));
	DRV(cuModuleGetGlobal(&w->step, &bytes, w->module, "step"));
	DRV(cuStreamCreate(&w->stream, CU_STREAM_NON_BLOCKING));
	DRV(cuMemAlloc(&w->x, N * 4));
	DRV(cuMemsetD32Async(w->x, 0, N, w->stream));
}

static void work_do(struct work *w, int times)
{
	for (int i = 0; i < times; i++) {
		uint32_t v = (uint32_t)i + 1;
		void *in[] = { &w->x, &v };

		DRV(cuLaunchKernel(w->add, N / 128, 1, 1, 128, 1, 1, 0, w->stream, in, NULL));
		w->want += v;
	}
}

static uint64_t work_end(struct work *w)
{
	uint32_t got[N];

	DRV(cuStreamSynchronize(w->stream));
	DRV(cuMemcpyDtoH(got, w->x, sizeof(got)));
	for (int i = 0; i < N; i++)
		APP_EQUAL(got[i], w->want, i);
	DRV(cuMemFree(w->x));
	DRV(cuStreamDestroy(w->stream));
	DRV(cuModuleUnload(w->module));
	return app_sum(0, got, sizeof(got));
}

static CUdevice begin(CUcontext *primary)
{
	CUdevice device;

	DRV(cuInit(0));
	DRV(cuDeviceGet(&device, 0));
	if (primary) {
		DRV(cuDevicePrimaryCtxRetain(primary, device));
		DRV(cuCtxSetCurrent(*primary));
	}
	return device;
}

static uint64_t plain(void)
{
	struct work w;
	CUcontext ctx;
	uint64_t sum;

	begin(&ctx);
	work_begin(&w);
	work_do(&w, 10);
	hold();
	work_do(&w, 10);
	sum = work_end(&w);
	DRV(cuDevicePrimaryCtxRelease(0));
	return sum;
}

/* ---- nothing works any more, and it ends like any program that is told so ---- */

static uint64_t lost(void)
{
	CUdeviceptr x;
	struct work w;
	CUcontext ctx;

	begin(&ctx);
	work_begin(&w);
	work_do(&w, 10);
	hold();
	GIVES(CUDA_ERROR_DEINITIALIZED, cuMemAlloc(&x, 100));
	GIVES(CUDA_ERROR_DEINITIALIZED, cuStreamSynchronize(w.stream));
	GIVES(CUDA_ERROR_DEINITIALIZED, cuInit(0));
	return 1;
}

/* ---- a thread waits for a kernel that takes a while ---- */

static uint64_t waits(void)
{
	struct work w;
	CUcontext ctx;
	uint64_t sum;

	begin(&ctx);
	work_begin(&w);
	work_do(&w, 3);
	fclose(fopen(hold_file, "w"));
	DRV(cuStreamSynchronize(w.stream));
	while (!access(hold_file, F_OK))
		;
	work_do(&w, 1);
	sum = work_end(&w);
	DRV(cuDevicePrimaryCtxRelease(0));
	return sum;
}

/* ---- a context that another thread has destroyed is in this one's stack ---- */

static atomic_int turn;
static CUcontext shared[3];

static void await(int t)
{
	const struct timespec tick = { 0, 1000000 };

	while (atomic_load(&turn) < t)
		nanosleep(&tick, NULL);
}

static void *with_a_dead_context(void *arg)
{
	struct work *w = arg;
	CUcontext ctx;

	DRV(cuCtxSetCurrent(shared[0]));
	DRV(cuCtxPushCurrent(shared[1]));
	DRV(cuCtxPushCurrent(shared[0]));
	work_begin(w);
	work_do(w, 5);
	atomic_store(&turn, 1);
	await(2);
	/* the one between the two is gone, and that is no reason to lose these */
	work_do(w, 5);
	DRV(cuCtxPopCurrent(&ctx));
	NEED(ctx == shared[0]);
	(void)cuCtxPopCurrent(&ctx);
	DRV(cuCtxGetCurrent(&ctx));
	NEED(ctx == shared[0]);
	work_do(w, 5);
	return NULL;
}

static uint64_t dead_context(void)
{
	pthread_t thread;
	struct work w;
	uint64_t sum;

	begin(&shared[0]);
	DRV(cuCtxCreate_v2(&shared[1], 0, 0));
	DRV(cuCtxPopCurrent(NULL));
	pthread_create(&thread, NULL, with_a_dead_context, &w);
	await(1);
	DRV(cuCtxDestroy(shared[1]));
	hold();
	atomic_store(&turn, 2);
	pthread_join(thread, NULL);
	sum = work_end(&w);
	DRV(cuDevicePrimaryCtxRelease(0));
	return sum;
}

/* ---- several contexts; one ends with its modules before, one after ---- */

static uint64_t contexts(void)
{
	struct work w[3], gone;
	CUcontext ended, ctx;
	CUevent before, after;
	uint64_t sum = 0;
	float ms;

	begin(&shared[0]);
	DRV(cuCtxCreate_v2(&ended, 0, 0));
	work_begin(&gone);
	work_do(&gone, 5);
	DRV(cuCtxDestroy(ended));
	for (int i = 1; i < 3; i++) {
		DRV(cuCtxCreate_v2(&shared[i], 0, 0));
		DRV(cuCtxPopCurrent(&ctx));
		NEED(ctx == shared[i]);
	}
	for (int i = 0; i < 3; i++) {
		DRV(cuCtxPushCurrent(shared[i]));
		work_begin(&w[i]);
		work_do(&w[i], 5 + i);
		DRV(cuCtxPopCurrent(NULL));
	}
	DRV(cuCtxPushCurrent(shared[2]));
	DRV(cuEventCreate(&before, CU_EVENT_DEFAULT));
	DRV(cuEventCreate(&after, CU_EVENT_DEFAULT));
	DRV(cuEventRecord(before, w[2].stream));
	hold();
	DRV(cuCtxGetCurrent(&ctx));
	NEED(ctx == shared[2]);
	DRV(cuStreamWaitEvent(w[2].stream, before, 0));
	DRV(cuEventRecord(after, w[2].stream));
	DRV(cuEventSynchronize(after));
	DRV(cuEventElapsedTime(&ms, before, after));
	NEED(ms >= 0);
	DRV(cuEventDestroy(before));
	DRV(cuEventDestroy(after));
	DRV(cuCtxPopCurrent(NULL));
	for (int i = 0; i < 3; i++) {
		DRV(cuCtxPushCurrent(shared[i]));
		work_do(&w[i], 5);
		sum += work_end(&w[i]);
		DRV(cuCtxPopCurrent(NULL));
	}
	DRV(cuCtxDestroy(shared[1]));
	GIVES(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxPushCurrent(shared[1]) ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_SUCCESS);
	DRV(cuCtxDestroy(shared[2]));
	DRV(cuDevicePrimaryCtxRelease(0));
	return sum;
}

/* ---- the primary context was reset and came again; it was retained more than once ---- */

static void expect_active(int want)
{
	unsigned int flags;
	int active;

	DRV(cuDevicePrimaryCtxGetState(0, &flags, &active));
	NEED(active == want);
}

static uint64_t reset(void)
{
	CUcontext ctx, again;
	struct work w;
	uint64_t sum;

	begin(&ctx);
	work_begin(&w);
	work_do(&w, 5);
	DRV(cuDevicePrimaryCtxReset(0));
	expect_active(0);
	DRV(cuDevicePrimaryCtxRetain(&again, 0));
	NEED(again == ctx);
	DRV(cuCtxSetCurrent(ctx));
	work_begin(&w);
	work_do(&w, 5);
	hold();
	work_do(&w, 5);
	sum = work_end(&w);
	DRV(cuDevicePrimaryCtxRelease(0));
	expect_active(1);
	DRV(cuDevicePrimaryCtxRelease(0));
	expect_active(0);
	return sum;
}

/* Reset, still retained, and nothing of it is left. */
static uint64_t inactive(void)
{
	CUcontext ctx, again;
	struct work w;
	uint64_t sum;

	begin(&ctx);
	work_begin(&w);
	work_do(&w, 5);
	DRV(cuCtxSynchronize());
	DRV(cuDevicePrimaryCtxReset(0));
	hold();
	expect_active(0);
	DRV(cuDevicePrimaryCtxRetain(&again, 0));
	NEED(again == ctx);
	DRV(cuCtxSetCurrent(ctx));
	work_begin(&w);
	work_do(&w, 5);
	sum = work_end(&w);
	DRV(cuDevicePrimaryCtxRelease(0));
	DRV(cuDevicePrimaryCtxRelease(0));
	expect_active(0);
	return sum;
}

/* ---- nothing but cuInit; or every context has ended ---- */

static uint64_t no_context(void)
{
	struct work w;
	CUcontext ctx;
	uint64_t sum;

	begin(NULL);
	hold();
	begin(&ctx);
	work_begin(&w);
	work_do(&w, 5);
	sum = work_end(&w);
	DRV(cuDevicePrimaryCtxRelease(0));
	return sum;
}

static uint64_t ended_contexts(void)
{
	struct work w;
	CUcontext ctx;
	uint64_t sum;

	begin(NULL);
	DRV(cuCtxCreate_v2(&ctx, 0, 0));
	work_begin(&w);
	work_do(&w, 5);
	DRV(cuCtxDestroy(ctx));
	hold();
	DRV(cuCtxCreate_v2(&ctx, 0, 0));
	work_begin(&w);
	work_do(&w, 5);
	sum = work_end(&w);
	DRV(cuCtxDestroy(ctx));
	return sum;
}

/* ---- memory in the order of a stream; a stream that ends afterwards ---- */

static uint64_t in_order(void)
{
	CUdeviceptr early, late, kept;
	struct work w;
	CUcontext ctx;
	uint64_t sum;

	begin(&ctx);
	work_begin(&w);
	DRV(cuMemAllocAsync(&early, N * 4, w.stream));
	DRV(cuMemsetD32Async(early, 7, N, w.stream));
	work_do(&w, 5);
	DRV(cuMemAllocAsync(&kept, N * 4, w.stream));
	DRV(cuMemsetD32Async(kept, 9, N, w.stream));
	DRV(cuMemFreeAsync(early, w.stream));
	hold();
	DRV(cuMemAllocAsync(&late, N * 4, w.stream));
	NEED(late != kept);
	DRV(cuMemcpyDtoDAsync(late, kept, N * 4, w.stream));
	DRV(cuMemFreeAsync(kept, w.stream));
	work_do(&w, 5);
	{
		uint32_t got[N];

		DRV(cuMemcpyDtoHAsync(got, late, sizeof(got), w.stream));
		DRV(cuStreamSynchronize(w.stream));
		for (int i = 0; i < N; i++)
			APP_EQUAL(got[i], 9, i);
	}
	DRV(cuMemFreeAsync(late, w.stream));
	sum = work_end(&w);
	DRV(cuDevicePrimaryCtxRelease(0));
	return sum;
}

/* ---- threads that come and go the whole time ---- */

static atomic_bool enough;
static CUcontext everyones;

static void *brief(void *arg)
{
	struct work *w = arg;
	CUcontext ctx;

	DRV(cuCtxSetCurrent(everyones));
	work_do(w, 2);
	DRV(cuCtxGetCurrent(&ctx));
	NEED(ctx == everyones);
	DRV(cuStreamSynchronize(w->stream));
	return NULL;
}

static void *starts_brief_ones(void *arg)
{
	struct work w;
	pthread_t thread[4];
	uint64_t *sum = arg;
	int nr = 0;

	DRV(cuCtxSetCurrent(everyones));
	work_begin(&w);
	while (!atomic_load(&enough) || nr < 50) {
		pthread_create(&thread[0], NULL, brief, &w);
		pthread_join(thread[0], NULL);
		nr++;
	}
	(void)work_end(&w);
	*sum = (uint64_t)nr;
	return NULL;
}

static uint64_t brief_threads(void)
{
	pthread_t thread[3];
	uint64_t nr[3];

	begin(&everyones);
	for (int i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, starts_brief_ones, &nr[i]);
	hold();
	atomic_store(&enough, true);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	DRV(cuDevicePrimaryCtxRelease(0));
	return 1;
}

/* ---- the process ends in the middle of it ---- */

/* HGSHIM_LOG's control page says what is being done (logdb/control.h): 4 is a move; and by whom, "cuda" or "cpu". */
static uint64_t ends(void)
{
	char path[4096];
	volatile char *page;
	struct work w;
	CUcontext ctx;
	FILE *f;

	begin(&ctx);
	work_begin(&w);
	work_do(&w, 5);
	snprintf(path, sizeof(path), "%s/control", getenv("HGSHIM_LOG"));
	f = fopen(path, "r");
	if (!f)
		app_fail("no control page");
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(f), 0);
	fclose(f);
	fclose(fopen(hold_file, "w"));
	while (page[40] != 4 && page[105] != 'p')
		;
	/* without waiting for anything */
	return 1;
}

/* ---- registered memory that is not there any more ---- */

static uint64_t unmapped(void)
{
	size_t bytes = 64 << 10;
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct work w;
	CUcontext ctx;
	uint64_t sum;

	begin(&ctx);
	work_begin(&w);
	work_do(&w, 5);
	DRV(cuMemHostRegister(p, bytes, 0));
	/* nothing else may come to lie there */
	NEED(mmap(p + bytes / 2, bytes / 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + bytes / 2);
	hold();
	work_do(&w, 5);
	sum = work_end(&w);
	DRV(cuMemHostUnregister(p));
	DRV(cuDevicePrimaryCtxRelease(0));
	return sum;
}

/* ---- CUDA in a child of a process without it ---- */

static uint64_t in_a_child(void)
{
	int version, status;
	pid_t pid;

	DRV(cuDriverGetVersion(&version));
	NEED(version >= 12000);
	pid = fork();
	if (!pid) {
		printf("CHILD %d\n", (int)getpid());
		printf("PASS %016llx\n", (unsigned long long)plain());
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	NEED(status == 0);
	exit(0);
}

/* ---- a child while the parent is on its way ---- */

static uint64_t forks(void)
{
	struct work w;
	CUcontext ctx;
	uint64_t sum;

	begin(&ctx);
	work_begin(&w);
	work_do(&w, 5);
	fclose(fopen(hold_file, "w"));
	do {
		pid_t pid = fork();
		int status;

		if (!pid) {
			CUcontext other;

			_exit(cuCtxGetCurrent(&other) != CUDA_ERROR_NOT_INITIALIZED || cuInit(0) != CUDA_ERROR_NOT_INITIALIZED);
		}
		waitpid(pid, &status, 0);
		NEED(status == 0);
	} while (!access(hold_file, F_OK));
	work_do(&w, 5);
	sum = work_end(&w);
	DRV(cuDevicePrimaryCtxRelease(0));
	return sum;
}

/* ---- two devices ---- */

static uint64_t devices(void)
{
	struct work w[2];
	uint64_t sum = 0;
	int nr;

	begin(NULL);
	DRV(cuDeviceGetCount(&nr));
	NEED(nr == 2);
	for (int d = 0; d < 2; d++) {
		DRV(cuDevicePrimaryCtxRetain(&shared[d], d));
		DRV(cuCtxSetCurrent(shared[d]));
		work_begin(&w[d]);
		work_do(&w[d], 5 + d);
	}
	hold();
	for (int d = 0; d < 2; d++) {
		CUdevice is;

		DRV(cuCtxSetCurrent(shared[d]));
		DRV(cuCtxGetDevice(&is));
		NEED(is == d);
		work_do(&w[d], 5);
		sum += work_end(&w[d]);
		DRV(cuDevicePrimaryCtxRelease(d));
	}
	return sum;
}

/* ---- everything made and ended, over and over ---- */

static uint64_t churn(void)
{
	const struct timespec tick = { 0, 200000 };
	struct work w;
	CUcontext ctx;
	void *host;

	begin(&ctx);
	fclose(fopen(hold_file, "w"));
	do {
		CUevent event;

		work_begin(&w);
		DRV(cuEventCreate(&event, CU_EVENT_DEFAULT));
		DRV(cuMemAllocHost(&host, 100000));
		work_do(&w, 3);
		DRV(cuEventRecord(event, w.stream));
		DRV(cuEventSynchronize(event));
		DRV(cuEventDestroy(event));
		DRV(cuMemFreeHost(host));
		(void)work_end(&w);
		nanosleep(&tick, NULL);
	} while (!access(hold_file, F_OK));
	DRV(cuDevicePrimaryCtxRelease(0));
	return 1;
}

static const struct {
	const char *name;
	uint64_t (*fn)(void);
} ways[] = {
	{ "plain", plain }, { "lost", lost }, { "waits", waits }, { "dead_context", dead_context }, { "contexts", contexts }, { "reset", reset },
	{ "inactive", inactive }, { "no_context", no_context }, { "ended_contexts", ended_contexts },
	{ "in_order", in_order }, { "brief_threads", brief_threads }, { "ends", ends }, { "unmapped", unmapped },
	{ "in_a_child", in_a_child }, { "forks", forks }, { "devices", devices }, { "churn", churn },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc == 3 && i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(argv[1], ways[i].name)) {
			hold_file = argv[2];
			return app_pass(ways[i].fn());
		}
	fprintf(stderr, "usage: %s WAY FILE\n", argv[0]);
	return 2;
}
