// reduction.cu - sums by __shfl_down_sync within warps and shared memory between them; 64-bit and minimum too.
#include "app.h"

#define FULL 0xffffffffu

struct totals {
	unsigned long long sum;
	uint32_t least, bits;
};

__device__ totals combine(totals a, totals b)
{
	a.sum += b.sum;
	a.least = min(a.least, b.least);
	a.bits ^= b.bits;
	return a;
}

__device__ totals warp_reduce(totals t)
{
	for (int d = 16; d; d >>= 1) {
		totals other;

		other.sum = __shfl_down_sync(FULL, t.sum, d);
		other.least = __shfl_down_sync(FULL, t.least, d);
		other.bits = __shfl_down_sync(FULL, t.bits, d);
		t = combine(t, other);
	}
	return t;
}

__device__ totals block_reduce(totals t)
{
	__shared__ totals part[32];
	int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;

	t = warp_reduce(t);
	if (!lane)
		part[warp] = t;
	__syncthreads();
	if (!warp) {
		totals none = { 0, 0xffffffffu, 0 };

		t = warp_reduce(lane < (int)blockDim.x / 32 ? part[lane] : none);
	}
	return t;
}

__global__ void reduce(const uint32_t *x, int n, totals *partial)
{
	totals t = { 0, 0xffffffffu, 0 };

	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
		totals one = { x[i], x[i], x[i] };

		t = combine(t, one);
	}
	t = block_reduce(t);
	if (!threadIdx.x)
		partial[blockIdx.x] = t;
}

__global__ void finish(const totals *partial, int n, totals *result)
{
	totals t = { 0, 0xffffffffu, 0 };

	if ((int)threadIdx.x < n)
		t = partial[threadIdx.x];
	t = block_reduce(t);
	if (!threadIdx.x)
		*result = t;
}

// The next round's data depends on this round's sums.
__global__ void scramble(uint32_t *x, int n, const totals *result)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		x[i] = (x[i] + (uint32_t)result->sum) * 1664525u + result->least + (result->bits >> 5);
}

int main(int argc, char **argv)
{
	const int n = 60000, blocks = 64;
	uint32_t *host = (uint32_t *)malloc(n * 4), *got = (uint32_t *)malloc(n * 4), *x, seed = 4;
	totals *partial, *result, last, want;

	app_args(argc, argv, 7000);
	for (int i = 0; i < n; i++)
		host[i] = app_random(&seed);
	CU(cudaMalloc(&x, n * 4));
	CU(cudaMalloc(&partial, blocks * sizeof(*partial)));
	CU(cudaMalloc(&result, sizeof(*result)));
	app_buffer("x", x, n * 4);
	app_buffer("partial", partial, blocks * sizeof(*partial));
	app_buffer("result", result, sizeof(*result));
	CU(cudaMemcpy(x, host, n * 4, cudaMemcpyHostToDevice));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		reduce<<<blocks, 256>>>(x, n, partial);
		APP_LAUNCHED();
		finish<<<1, 128>>>(partial, blocks, result);
		APP_LAUNCHED();
		scramble<<<(n + 255) / 256, 256>>>(x, n, result);
		APP_LAUNCHED();
	}

	for (int r = 0; r < app.rounds; r++) {
		want.sum = 0;
		want.least = 0xffffffffu;
		want.bits = 0;
		for (int i = n - 1; i >= 0; i--) {
			want.sum += host[i];
			want.bits ^= host[i];
			if (host[i] < want.least)
				want.least = host[i];
		}
		for (int i = 0; i < n; i++)
			host[i] = (host[i] + (uint32_t)want.sum) * 1664525u + want.least + (want.bits >> 5);
	}
	CU(cudaMemcpy(&last, result, sizeof(last), cudaMemcpyDeviceToHost));
	CU(cudaMemcpy(got, x, n * 4, cudaMemcpyDeviceToHost));
	APP_EQUAL(last.sum, want.sum, 0);
	APP_EQUAL(last.least, want.least, 0);
	APP_EQUAL(last.bits, want.bits, 0);
	for (int i = 0; i < n; i++)
		APP_EQUAL(got[i], host[i], i);
	return app_pass(app_sum(app_sum(0, &last, sizeof(last)), got, n * 4));
}
