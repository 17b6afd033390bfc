// saxpy_streams.cu - four streams, each with its own vectors, that wait for each other through events.
#include "app.h"

#define STREAMS 4

__global__ void saxpy(float a, const float *x, float *y, int n)
{
	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
		y[i] = fmaf(a, x[i], 0.75f * y[i]);
}

__global__ void blend(float *x, const float *y, float push, int n)
{
	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
		x[i] = fmaf(0.25f, y[i], fmaf(0.5f, x[i], push));
}

// Keeps the vectors from settling.
static float push(int round, int s)
{
	return (float)((round * 7 + s * 3) % 101 - 50) / 64.0f;
}

int main(int argc, char **argv)
{
	const int n = 1 << 14;
	cudaStream_t stream[STREAMS];
	cudaEvent_t added[STREAMS], blended[STREAMS], begin, end;
	float *x[STREAMS], *y[STREAMS], *pinned, ms = -1;
	float *rx = (float *)malloc(STREAMS * n * 4), *ry = (float *)malloc(STREAMS * n * 4);
	uint32_t seed = 2;
	uint64_t sum = 0;

	app_args(argc, argv, 3000);
	CU(cudaMallocHost(&pinned, STREAMS * n * 4));
	CU(cudaEventCreate(&begin));
	CU(cudaEventCreate(&end));
	for (int s = 0; s < STREAMS; s++) {
		char name[8];

		CU(cudaStreamCreateWithFlags(&stream[s], cudaStreamNonBlocking));
		CU(cudaEventCreateWithFlags(&added[s], cudaEventDisableTiming));
		CU(cudaEventCreateWithFlags(&blended[s], cudaEventDisableTiming));
		CU(cudaMalloc(&x[s], n * 4));
		CU(cudaMalloc(&y[s], n * 4));
		snprintf(name, sizeof(name), "x%d", s);
		app_buffer(name, x[s], n * 4);
		snprintf(name, sizeof(name), "y%d", s);
		app_buffer(name, y[s], n * 4);
	}
	for (int i = 0; i < STREAMS * n; i++)
		rx[i] = pinned[i] = app_random_float(&seed);
	for (int s = 0; s < STREAMS; s++) {
		CU(cudaMemcpyAsync(x[s], pinned + s * n, n * 4, cudaMemcpyHostToDevice, stream[s]));
		CU(cudaMemsetAsync(y[s], 0, n * 4, stream[s]));
	}
	CU(cudaDeviceSynchronize());
	CU(cudaEventRecord(begin, stream[0]));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		for (int s = 0; s < STREAMS; s++) {
			// the neighbour below still reads our y
			if (r)
				CU(cudaStreamWaitEvent(stream[s], blended[(s + STREAMS - 1) % STREAMS], 0));
			saxpy<<<16, 128, 0, stream[s]>>>(r & 1 ? -0.5f : 0.625f, x[s], y[s], n);
			APP_LAUNCHED();
			CU(cudaEventRecord(added[s], stream[s]));
		}
		for (int s = 0; s < STREAMS; s++) {
			CU(cudaStreamWaitEvent(stream[s], added[(s + 1) % STREAMS], 0));
			blend<<<16, 128, 0, stream[s]>>>(x[s], y[(s + 1) % STREAMS], push(r, s), n);
			APP_LAUNCHED();
			CU(cudaEventRecord(blended[s], stream[s]));
		}
	}
	for (int s = 1; s < STREAMS; s++)
		CU(cudaStreamWaitEvent(stream[0], blended[s], 0));
	CU(cudaEventRecord(end, stream[0]));
	CU(cudaEventSynchronize(end));
	CU(cudaEventElapsedTime(&ms, begin, end));
	if (!(ms > 0))
		app_fail("the events say that no time has passed");

	// one element at a time through all rounds, all streams at once
	for (int i = 0; i < n; i++) {
		float vx[STREAMS], vy[STREAMS] = { 0 };

		for (int s = 0; s < STREAMS; s++)
			vx[s] = rx[s * n + i];
		for (int r = 0; r < app.rounds; r++) {
			for (int s = 0; s < STREAMS; s++)
				vy[s] = fmaf(r & 1 ? -0.5f : 0.625f, vx[s], 0.75f * vy[s]);
			for (int s = 0; s < STREAMS; s++)
				vx[s] = fmaf(0.25f, vy[(s + 1) % STREAMS], fmaf(0.5f, vx[s], push(r, s)));
		}
		for (int s = 0; s < STREAMS; s++) {
			rx[s * n + i] = vx[s];
			ry[s * n + i] = vy[s];
		}
	}
	for (int s = 0; s < STREAMS; s++) {
		CU(cudaMemcpyAsync(pinned, x[s], n * 4, cudaMemcpyDeviceToHost, stream[s]));
		CU(cudaStreamSynchronize(stream[s]));
		for (int i = 0; i < n; i++)
			APP_EQUAL(pinned[i], rx[s * n + i], i);
		sum = app_sum(sum, pinned, n * 4);
		CU(cudaMemcpyAsync(pinned, y[s], n * 4, cudaMemcpyDeviceToHost, stream[s]));
		CU(cudaStreamSynchronize(stream[s]));
		for (int i = 0; i < n; i++)
			APP_EQUAL(pinned[i], ry[s * n + i], i);
		sum = app_sum(sum, pinned, n * 4);
		CU(cudaStreamDestroy(stream[s]));
	}
	return app_pass(sum);
}
