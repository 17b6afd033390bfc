// lasting.cu - uses everything of the runtime again late in its life that it made early.
#include <atomic>
#include <thread>
#include <vector>
#include "lasting.h"
#include "tests/apps/app.h"

/*
 * First half: streams, events, pinned, registered and device memory, variables. Two threads write to the host memory all the
 * time, without a CUDA call, and look whether what they wrote stays. In the middle it can be held. Second half: other
 * threads use what is there, kernels of another translation unit are loaded for the first time, times are measured between the
 * halves, all is given back, and the device is reset and used once more.
 */
#define N 4096
#define STREAMS 3
#define THREADS 4
#define WORDS 8192	/* of host memory that the threads write to */

__device__ uint32_t total;
__device__ uint32_t factor = 1664525;
__constant__ uint32_t offset[2] = { 1013904223, 17 };

__global__ void step(uint32_t *x, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		x[i] = x[i] * factor + offset[0];
	if (!i)
		atomicAdd(&total, 1);
}

__global__ void from_host(uint32_t *x, const uint32_t *host, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		x[i] ^= host[i];
}

#define SAY(call)                                                                                  \
	do {                                                                                       \
		const char *why_ = (call);                                                         \
                                                                                                   \
		if (why_)                                                                          \
			app_fail(why_);                                                            \
	} while (0)

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

// ---- host memory that is written to at any time ----

static std::atomic<bool> writing(true);
static std::atomic<uint64_t> written(0);
static std::atomic<int> writers(0);

struct writer {
	volatile uint64_t *memory;
	std::vector<uint64_t> expected;
	uint64_t rounds = 0;
	size_t lost = 0;
};

static void write_on(writer *w)
{
	uint64_t value = 1;

	for (size_t i = 0; i < WORDS; i++)
		w->memory[i] = w->expected[i] = 0;
	while (writing) {
		for (size_t i = 0; i < WORDS; i++) {
			if (w->memory[i] != w->expected[i])
				w->lost++;
			w->memory[i] = w->expected[i] = value++;
		}
		w->rounds++;
		written++;
	}
	for (size_t i = 0; i < WORDS; i++)
		if (w->memory[i] != w->expected[i])
			w->lost++;
	writers--;
}

// Before the memory goes, also when the program has failed.
static void stop_writing(void)
{
	writing = false;
	while (writers)
		sched_yield();
}

// ---- threads of the second half ----

static cudaStream_t stream[STREAMS];
static uint32_t *x[STREAMS];
static const char *thread_failed[THREADS];
static std::atomic<int> host_calls(0);

static void count_call(void *arg)
{
	host_calls += *(int *)arg;
}

static void late_thread(int me)
{
	static int one = 1;
	cudaStream_t own, old = stream[me % STREAMS];
	cudaEvent_t event;
	uint32_t *y, host[256];
	int device = -1;

#define TRY(call)                                                                                  \
	do {                                                                                       \
		if ((call) != cudaSuccess) {                                                       \
			thread_failed[me] = #call;                                                 \
			return;                                                                    \
		}                                                                                  \
	} while (0)
	TRY(cudaSetDevice(0));
	TRY(cudaGetDevice(&device));
	TRY(cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking));
	TRY(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
	TRY(cudaMalloc(&y, sizeof(host)));
	TRY(cudaMemsetAsync(y, me, sizeof(host), own));
	step<<<2, 128, 0, own>>>(y, 256);
	TRY(cudaGetLastError());
	TRY(cudaEventRecord(event, own));
	TRY(cudaStreamWaitEvent(old, event, 0));
	TRY(cudaLaunchHostFunc(old, count_call, &one));
	TRY(cudaMemcpyAsync(host, y, sizeof(host), cudaMemcpyDeviceToHost, own));
	TRY(cudaStreamSynchronize(own));
	for (int i = 0; i < 256; i++)
		if (host[i] != (uint32_t)me * 0x01010101u * 1664525u + 1013904223u)
			thread_failed[me] = "a late thread's kernel has another result";
	TRY(cudaStreamSynchronize(old));
	TRY(cudaEventDestroy(event));
	TRY(cudaStreamDestroy(own));
	TRY(cudaFree(y));
}

// An element of x after so many rounds.
static uint32_t expected(uint32_t v, int rounds)
{
	for (int r = 0; r < rounds; r++)
		v = v * 1664525u + 1013904223u;
	return v;
}

int main(int argc, char **argv)
{
	cudaEvent_t early, reused, now;
	uint32_t *pinned, *device_pinned, *device_registered, *registered, count = 0, seed = 5, salt;
	std::vector<std::thread> threads;
	writer pinned_writer, registered_writer;
	cudaFuncAttributes before, after;
	double before_early, after_early, at_least, at_most;
	std::vector<uint32_t> start(STREAMS * N);
	size_t free_before, all;
	uint64_t sum = 0, seen;
	float ms = -1;

	app_args(argc, argv, 60);
	CU(cudaMemGetInfo(&free_before, &all));
	CU(cudaMallocHost(&pinned, N * 4 + WORDS * 8));
	registered = (uint32_t *)aligned_alloc(4096, N * 4 + WORDS * 8);
	CU(cudaHostRegister(registered, N * 4 + WORDS * 8, cudaHostRegisterMapped));
	CU(cudaHostGetDevicePointer((void **)&device_pinned, pinned, 0));
	CU(cudaHostGetDevicePointer((void **)&device_registered, registered, 0));
	CU(cudaEventCreate(&early));
	CU(cudaEventCreate(&reused));
	for (int s = 0; s < STREAMS; s++) {
		char name[8];

		CU(cudaStreamCreateWithFlags(&stream[s], s ? cudaStreamNonBlocking : cudaStreamDefault));
		CU(cudaMalloc(&x[s], N * 4));
		snprintf(name, sizeof(name), "x%d", s);
		app_buffer(name, x[s], N * 4);
	}
	for (int i = 0; i < STREAMS * N; i++)
		start[i] = app_random(&seed);
	for (int i = 0; i < N; i++) {
		pinned[i] = app_random(&seed);
		registered[i] = app_random(&seed);
	}
	for (int s = 0; s < STREAMS; s++)
		CU(cudaMemcpy(x[s], &start[s * N], N * 4, cudaMemcpyHostToDevice));
	CU(cudaFuncGetAttributes(&before, step));
	pinned_writer.memory = (volatile uint64_t *)(pinned + N);
	registered_writer.memory = (volatile uint64_t *)(registered + N);
	pinned_writer.expected.resize(WORDS);
	registered_writer.expected.resize(WORDS);
	writers = 2;
	atexit(stop_writing);
	std::thread first(write_on, &pinned_writer), second(write_on, &registered_writer);

	before_early = seconds();
	CU(cudaEventRecord(early, stream[1]));
	CU(cudaEventSynchronize(early));
	after_early = seconds();
	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		for (int s = 0; s < STREAMS; s++) {
			step<<<N / 128, 128, 0, stream[s]>>>(x[s], N);
			APP_LAUNCHED();
		}
	}
	seen = written;

	// other threads, with streams of then and now
	for (int t = 0; t < THREADS; t++)
		threads.emplace_back(late_thread, t);
	for (std::thread &t : threads)
		t.join();
	for (int t = 0; t < THREADS; t++)
		if (thread_failed[t])
			app_fail(thread_failed[t]);
	if (host_calls != THREADS)
		app_fail("host functions in an old stream did not run");

	// time between the halves, and an event that was made early and is recorded now for the first time
	CU(cudaEventQuery(reused));
	at_least = 1e3 * (seconds() - after_early);
	CU(cudaEventRecord(reused, stream[1]));
	CU(cudaEventSynchronize(reused));
	at_most = 1e3 * (seconds() - before_early);
	CU(cudaEventElapsedTime(&ms, early, reused));
	if (!(ms > at_least - 30 && ms < at_most + 30)) {
		fprintf(stderr, "%g ms by events, %g to %g by the clock\n", (double)ms, at_least, at_most);
		app_fail("the time between events is wrong");
	}
	CU(cudaEventCreate(&now));
	CU(cudaEventRecord(now, 0));
	CU(cudaEventSynchronize(now));
	CU(cudaEventElapsedTime(&ms, reused, now));
	if (ms < 0)
		app_fail("a later event is an earlier one");

	// variables
	CU(cudaMemcpyFromSymbol(&count, total, 4));
	APP_EQUAL(count, (uint32_t)(app.rounds * STREAMS + THREADS), 0);
	salt = 22695477;
	CU(cudaMemcpyToSymbol(factor, &salt, 4));
	step<<<N / 128, 128, 0, stream[0]>>>(x[0], N);
	APP_LAUNCHED();
	CU(cudaStreamSynchronize(stream[0]));

	// code that nobody has asked for so far
	SAY(more_attributes());
	SAY(more_launch(x[1], N, stream[1]));
	CU(cudaStreamSynchronize(stream[1]));
	SAY(more_set_salt(99991));
	SAY(more_launch(x[1], N, stream[1]));

	// host memory through the device's eyes, and copies from and to it
	from_host<<<N / 128, 128, 0, stream[2]>>>(x[2], device_pinned, N);
	from_host<<<N / 128, 128, 0, stream[2]>>>(x[2], device_registered, N);
	APP_LAUNCHED();
	CU(cudaFuncGetAttributes(&after, step));
	if (after.numRegs != before.numRegs || after.ptxVersion != before.ptxVersion)
		printf("NOTE the attributes of a kernel have changed\n");
	if (after.maxThreadsPerBlock < 128 || after.sharedSizeBytes || after.constSizeBytes != before.constSizeBytes)
		app_fail("the attributes of a kernel are wrong");
	CU(cudaDeviceSynchronize());

	for (int s = 0; s < STREAMS; s++) {
		std::vector<uint32_t> got(N);

		CU(cudaMemcpyAsync(got.data(), x[s], N * 4, cudaMemcpyDeviceToHost, stream[s]));
		CU(cudaStreamSynchronize(stream[s]));
		for (int i = 0; i < N; i++) {
			uint32_t want = expected(start[s * N + i], app.rounds);

			if (s == 0)
				want = want * 22695477u + 1013904223u;
			if (s == 1)
				want = (want * 7 + 41) * 7 + 99991;
			if (s == 2)
				want ^= pinned[i] ^ registered[i];
			APP_EQUAL(got[i], want, i);
		}
		sum = app_sum(sum, got.data(), N * 4);
	}
	CU(cudaMemcpyAsync(pinned, x[2], N * 4, cudaMemcpyDeviceToHost, stream[2]));
	CU(cudaMemcpyAsync(registered, x[2], N * 4, cudaMemcpyDeviceToHost, stream[2]));
	CU(cudaStreamSynchronize(stream[2]));
	if (memcmp(pinned, registered, N * 4))
		app_fail("two copies of one buffer differ");

	// the threads wrote to both the whole time
	while (written < seen + 4)
		sched_yield();
	writing = false;
	first.join();
	second.join();
	if (pinned_writer.lost || registered_writer.lost || pinned_writer.rounds < 2 || registered_writer.rounds < 2)
		app_fail("host memory lost what a thread wrote to it");

	// everything is given back by the handles of then
	for (int s = 0; s < STREAMS; s++) {
		CU(cudaStreamDestroy(stream[s]));
		CU(cudaFree(x[s]));
	}
	CU(cudaEventDestroy(early));
	CU(cudaEventDestroy(reused));
	CU(cudaEventDestroy(now));
	CU(cudaFreeHost(pinned));
	CU(cudaHostUnregister(registered));
	if (cudaHostUnregister(registered) != cudaErrorHostMemoryNotRegistered)
		app_fail("memory can be unregistered twice");
	cudaGetLastError();
	CU(cudaDeviceReset());

	// and the device is as good as new: all variables have their first values
	CU(cudaMemcpyFromSymbol(&count, total, 4));
	APP_EQUAL(count, 0u, 0);
	CU(cudaMalloc(&x[0], N * 4));
	CU(cudaMemcpy(x[0], start.data(), N * 4, cudaMemcpyHostToDevice));
	step<<<N / 128, 128>>>(x[0], N);
	APP_LAUNCHED();
	CU(cudaMemcpy(registered, x[0], N * 4, cudaMemcpyDeviceToHost));
	for (int i = 0; i < N; i++)
		APP_EQUAL(registered[i], expected(start[i], 1), i);
	CU(cudaFree(x[0]));
	CU(cudaDeviceReset());
	free(registered);
	return app_pass(sum);
}
