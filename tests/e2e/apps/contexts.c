/* contexts.c - two contexts that threads push and pop, each with its code, its memory and its streams. */
#include <cuda.h>
#include <pthread.h>
#include "tests/apps/app.h"

#define N 3001
#define PITCHED_ROWS 5

static const char ptx[] =
	".version 7.0\n"
	".target sm_75\n"
	".address_size 64\n"
	".visible .global .align 4 .u32 salt = 7;\n"
	".visible .entry mix(.param .u64 p_x, .param .u32 p_n)\n"
	"{\n"
	"	.reg .pred %p<2>;\n"
	"	.reg .b32 %r<10>;\n"
	"	.reg .b64 %rd<4>;\n"
	"	ld.param.u64 %rd1, [p_x];\n"
	"	ld.param.u32 %r1, [p_n];\n"
	"	mov.u32 %r2, %ctaid.x;\n"
	"	mov.u32 %r3, %ntid.x;\n"
	"	mov.u32 %r4, %tid.x;\n"
	"	mad.lo.s32 %r5, %r2, %r3, %r4;\n"
	"	setp.ge.u32 %p1, %r5, %r1;\n"
	"	@%p1 bra done;\n"
	"	cvta.to.global.u64 %rd1, %rd1;\n"
	"	mul.wide.u32 %rd2, %r5, 4;\n"
	"	add.s64 %rd3, %rd1, %rd2;\n"
	"	ld.global.u32 %r6, [%rd3];\n"
	"	ld.global.u32 %r7, [salt];\n"
	"	mad.lo.u32 %r6, %r6, 1103515245, %r7;\n"
	"	st.global.u32 [%rd3], %r6;\n"
	"done:\n"
	"	ret;\n"
	"}\n";

static void check(CUresult r, const char *what, int line)
{
	if (r == CUDA_SUCCESS)
		return;
	fprintf(stderr, "contexts.c:%d: %s: error %d\n", line, what, (int)r);
	app_fail("a CUDA call failed");
}
#define DRV(call) check(call, #call, __LINE__)

static struct context {
	CUcontext ctx;
	CUmodule module;
	CUfunction mix;
	CUstream stream;
	CUevent event;
	CUdeviceptr x, salt;
	uint32_t start[N], salt_value;
	int priority;
} context[2];

static pthread_barrier_t before, after;

static void make(struct context *c, CUdevice device, uint32_t salt)
{
	uint32_t seed = salt;
	size_t size;
	int least = 0, greatest = 0;

	c->salt_value = salt;
	DRV(cuCtxCreate(&c->ctx, NULL, CU_CTX_SCHED_BLOCKING_SYNC, device));
	DRV(cuModuleLoadData(&c->module, ptx));
	DRV(cuModuleGetFunction(&c->mix, c->module, "mix"));
	DRV(cuModuleGetGlobal(&c->salt, &size, c->module, "salt"));
	DRV(cuMemcpyHtoD(c->salt, &salt, 4));
	DRV(cuCtxGetStreamPriorityRange(&least, &greatest));
	DRV(cuStreamCreateWithPriority(&c->stream, CU_STREAM_NON_BLOCKING, greatest));
	DRV(cuStreamGetPriority(c->stream, &c->priority));
	DRV(cuEventCreate(&c->event, CU_EVENT_DEFAULT));
	DRV(cuMemAlloc(&c->x, sizeof(c->start)));
	for (int i = 0; i < N; i++)
		c->start[i] = app_random(&seed);
	DRV(cuMemcpyHtoD(c->x, c->start, sizeof(c->start)));
	DRV(cuCtxPopCurrent(NULL));
}

static void launch(const struct context *c)
{
	uint32_t n = N;
	void *params[] = { (void *)&c->x, &n };

	DRV(cuLaunchKernel(c->mix, (N + 127) / 128, 1, 1, 128, 1, 1, 0, c->stream, params, NULL));
}

static void expect_current(CUcontext want)
{
	CUcontext now = NULL;

	DRV(cuCtxGetCurrent(&now));
	if (now != want)
		app_fail("another context is current");
}

/* Has its stack of contexts in the middle of the program, and looks only later whether it still is what it was. */
static void *sleeper(void *depth)
{
	const int n = *(const int *)depth;
	uint32_t value = 0;

	for (int i = 0; i < n; i++)
		DRV(cuCtxPushCurrent(context[i % 2].ctx));
	pthread_barrier_wait(&before);
	pthread_barrier_wait(&after);
	for (int i = n - 1; i >= 0; i--) {
		CUcontext popped = NULL;

		expect_current(context[i % 2].ctx);
		DRV(cuMemcpyDtoH(&value, context[i % 2].salt, 4));
		if (value != context[i % 2].salt_value)
			app_fail("a context has the other one's variable");
		DRV(cuCtxPopCurrent(&popped));
		if (popped != context[i % 2].ctx)
			app_fail("the stack of contexts has changed");
	}
	expect_current(NULL);
	if (cuCtxPopCurrent(NULL) == CUDA_SUCCESS)
		app_fail("an empty stack has a context");
	return NULL;
}

static void CUDA_CB called(CUstream stream, CUresult status, void *data)
{
	(void)stream;
	if (status == CUDA_SUCCESS)
		++*(volatile int *)data;
}

int main(int argc, char **argv)
{
	static const int depth[3] = { 1, 2, 5 };
	static uint32_t got[N], row[64], rows[PITCHED_ROWS][64];
	volatile int calls = 0;
	unsigned int flags = 0;
	pthread_t thread[3];
	CUdeviceptr pitched;
	CUdevice device;
	size_t pitch;
	uint64_t sum = 0;
	float ms = -1;
	int priority = 0;

	app_args(argc, argv, 400);
	DRV(cuInit(0));
	DRV(cuDeviceGet(&device, 0));
	make(&context[0], device, 12345);
	make(&context[1], device, 54321);
	expect_current(NULL);
	DRV(cuCtxPushCurrent(context[0].ctx));
	DRV(cuMemAllocPitch(&pitched, &pitch, sizeof(row), PITCHED_ROWS, 4));
	for (int r = 0; r < PITCHED_ROWS; r++) {
		for (int i = 0; i < 64; i++)
			row[i] = (uint32_t)(1000 * r + i);
		DRV(cuMemcpyHtoD(pitched + (size_t)r * pitch, row, sizeof(row)));
	}
	app_buffer("x0", (void *)(uintptr_t)context[0].x, sizeof(got));
	app_buffer("x1", (void *)(uintptr_t)context[1].x, sizeof(got));
	DRV(cuEventRecord(context[0].event, context[0].stream));
	pthread_barrier_init(&before, NULL, 4);
	pthread_barrier_init(&after, NULL, 4);
	for (int t = 0; t < 3; t++)
		if (pthread_create(&thread[t], NULL, sleeper, (void *)&depth[t]))
			app_fail("pthread_create");
	pthread_barrier_wait(&before);

	for (int r = 0; r < app.rounds; r++) {
		CUcontext popped = NULL;

		if (app_stops(r)) {
			DRV(cuStreamSynchronize(context[0].stream));
			DRV(cuCtxPushCurrent(context[1].ctx));
			DRV(cuStreamSynchronize(context[1].stream));
			app_stop(r);	/* with two contexts on the stack */
			expect_current(context[1].ctx);
			DRV(cuCtxPopCurrent(&popped));
			if (popped != context[1].ctx)
				app_fail("another context was popped");
		}
		launch(&context[0]);
		DRV(cuCtxPushCurrent(context[1].ctx));
		launch(&context[1]);
		DRV(cuCtxPopCurrent(NULL));
		expect_current(context[0].ctx);
	}
	pthread_barrier_wait(&after);
	for (int t = 0; t < 3; t++)
		pthread_join(thread[t], NULL);

	expect_current(context[0].ctx);
	DRV(cuCtxGetFlags(&flags));
	if ((flags & CU_CTX_SCHED_MASK) != CU_CTX_SCHED_BLOCKING_SYNC)
		app_fail("the flags of a context have changed");
	DRV(cuStreamGetPriority(context[0].stream, &priority));
	if (priority != context[0].priority)
		app_fail("the priority of a stream has changed");
	DRV(cuStreamAddCallback(context[0].stream, called, (void *)&calls, 0));
	DRV(cuStreamSynchronize(context[0].stream));
	if (calls != 1)
		app_fail("a callback did not run");
	for (int k = 0; k < 2; k++) {
		struct context *c = &context[k];
		CUevent end;

		DRV(cuCtxSetCurrent(c->ctx));
		DRV(cuEventCreate(&end, CU_EVENT_DEFAULT));
		DRV(cuEventRecord(end, c->stream));
		DRV(cuEventSynchronize(end));
		if (!k) {
			DRV(cuEventElapsedTime(&ms, c->event, end));
			if (!(ms > 0))
				app_fail("no time has passed");
		}
		DRV(cuEventDestroy(end));
		DRV(cuMemcpyDtoH(got, c->x, sizeof(got)));
		for (int i = 0; i < N; i++) {
			uint32_t want = c->start[i];

			for (int r = 0; r < app.rounds; r++)
				want = want * 1103515245u + c->salt_value;
			APP_EQUAL(got[i], want, i);
		}
		sum = app_sum(sum, got, sizeof(got));
	}
	DRV(cuCtxSetCurrent(context[0].ctx));
	{
		CUDA_MEMCPY2D copy = {
			.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = pitched, .srcPitch = pitch,
			.dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = rows, .dstPitch = sizeof(row),
			.WidthInBytes = sizeof(row), .Height = PITCHED_ROWS,
		};

		DRV(cuMemcpy2D(&copy));
	}
	for (int r = 0; r < PITCHED_ROWS; r++)
		for (int i = 0; i < 64; i++)
			APP_EQUAL(rows[r][i], (uint32_t)(1000 * r + i), i);
	DRV(cuMemFree(pitched));

	/* the second with all that is in it, the first piece by piece */
	DRV(cuCtxDestroy(context[1].ctx));
	if (cuCtxSetCurrent(context[1].ctx) == CUDA_SUCCESS && cuCtxSynchronize() == CUDA_SUCCESS)
		app_fail("a destroyed context can be used");
	DRV(cuCtxSetCurrent(context[0].ctx));
	DRV(cuStreamDestroy(context[0].stream));
	DRV(cuEventDestroy(context[0].event));
	DRV(cuMemFree(context[0].x));
	DRV(cuModuleUnload(context[0].module));
	DRV(cuCtxDestroy(context[0].ctx));
	return app_pass(sum);
}
