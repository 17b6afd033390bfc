// threads.cu - eight threads, each with a stream, its own buffers and its own pace, sharing one device.
#include <thread>
#include <vector>
#include <pthread.h>
#include "app.h"

#define THREADS 8
#define N 4099

static pthread_barrier_t barrier;
static uint32_t checksum[THREADS][N];
static const char *failed[THREADS];

__global__ void mix(uint32_t *x, int n, uint32_t key)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n) {
		uint32_t v = x[i];

		for (uint32_t k = 0; k < 8; k++)
			v = (v ^ (v >> 15)) * 2246822519u + key + k;
		x[i] = v;
	}
}

__global__ void neighbours(const uint32_t *x, uint32_t *y, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		y[i] = x[(i + 1) % n] + (x[i] >> 1);
}

#define TRY(call)                                                                                  \
	do {                                                                                       \
		if ((call) != cudaSuccess) {                                                       \
			failed[me] = #call;                                                        \
			return;                                                                    \
		}                                                                                  \
	} while (0)

static void setup(int me, uint32_t *host)
{
	uint32_t seed = 100 + me;

	for (int i = 0; i < N; i++)
		host[i] = app_random(&seed);
}

static void work(int me)
{
	std::vector<uint32_t> host(N);
	cudaStream_t stream;
	uint32_t *x, *y, *extra;
	char name[8];

	setup(me, host.data());
	TRY(cudaSetDevice(0));
	TRY(cudaStreamCreate(&stream));
	TRY(cudaMalloc(&x, N * 4));
	TRY(cudaMalloc(&y, N * 4));
	TRY(cudaMemsetAsync(y, 0, N * 4, stream));
	TRY(cudaMemcpyAsync(x, host.data(), N * 4, cudaMemcpyHostToDevice, stream));
	TRY(cudaStreamSynchronize(stream));
	snprintf(name, sizeof(name), "x%d", me);
	app_buffer(name, x, N * 4);
	snprintf(name, sizeof(name), "y%d", me);
	app_buffer(name, y, N * 4);
	for (int r = 0; r < app.rounds; r++) {
		if (app_stops(r)) {
			TRY(cudaStreamSynchronize(stream));
			pthread_barrier_wait(&barrier);
			if (!me)
				app_stop(r);
			pthread_barrier_wait(&barrier);
		}
		mix<<<(N + 127) / 128, 128, 0, stream>>>(x, N, (uint32_t)(r * THREADS + me));
		TRY(cudaGetLastError());
		neighbours<<<(N + 127) / 128, 128, 0, stream>>>(x, y, N);
		TRY(cudaGetLastError());
		TRY(cudaMemcpyAsync(x, y, N * 4, cudaMemcpyDeviceToDevice, stream));
		if (r % 50 == me) {	/* memory comes and goes */
			TRY(cudaMalloc(&extra, 1000 * (me + 1)));
			TRY(cudaMemsetAsync(extra, me, 1000 * (me + 1), stream));
			TRY(cudaStreamSynchronize(stream));
			TRY(cudaFree(extra));
		}
	}
	TRY(cudaMemcpyAsync(checksum[me], x, N * 4, cudaMemcpyDeviceToHost, stream));
	TRY(cudaStreamSynchronize(stream));
	TRY(cudaStreamDestroy(stream));
}

int main(int argc, char **argv)
{
	std::vector<std::thread> threads;
	uint64_t sum = 0;

	app_args(argc, argv, 3000);
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int t = 0; t < THREADS; t++)
		threads.emplace_back(work, t);
	for (std::thread &t : threads)
		t.join();
	for (int t = 0; t < THREADS; t++) {
		std::vector<uint32_t> a(N);

		if (failed[t])
			app_fail(failed[t]);
		setup(t, a.data());
		for (int r = 0; r < app.rounds; r++) {
			uint32_t first;

			for (uint32_t &v : a)
				for (uint32_t k = 0, key = (uint32_t)(r * THREADS + t); k < 8; k++)
					v = (v ^ v / 32768) * 2246822519u + key++;
			first = a[0];
			for (int i = 0; i < N; i++)	/* in place, in order */
				a[i] = (i + 1 < N ? a[i + 1] : first) + a[i] / 2;
		}
		for (int i = 0; i < N; i++)
			APP_EQUAL(checksum[t][i], a[i], i);
		sum = app_sum(sum, checksum[t], sizeof(checksum[t]));
	}
	return app_pass(sum);
}
