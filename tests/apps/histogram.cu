// histogram.cu - 256 bins with shared and global atomics, and a few more atomic operations on the way.
#include "app.h"

#define BINS 256

__device__ unsigned int rounds_seen;	/* a module variable that changes */
__constant__ uint32_t weight[4] = { 1, 3, 5, 7 };

__global__ void count_shared(const uint32_t *x, int n, unsigned int *bins)
{
	__shared__ unsigned int mine[BINS];

	for (int b = threadIdx.x; b < BINS; b += blockDim.x)
		mine[b] = 0;
	__syncthreads();
	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
		atomicAdd(&mine[x[i] >> 24], 1u);
	__syncthreads();
	for (int b = threadIdx.x; b < BINS; b += blockDim.x)
		if (mine[b])
			atomicAdd(&bins[b], mine[b]);
}

// Straight to global memory: weighted counts in 64 bits, extremes, and a compare-and-swap loop.
__global__ void count_global(const uint32_t *x, int n, unsigned long long *wide, int *extreme, unsigned int *product)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;
	atomicAdd(&wide[x[i] & 15], (unsigned long long)weight[x[i] & 3] * (x[i] >> 8));
	atomicMin(&extreme[0], (int)x[i]);
	atomicMax(&extreme[1], (int)x[i]);
	if (!(x[i] & 255)) {
		unsigned int old = *product, assumed;

		do {
			assumed = old;
			old = atomicCAS(product, assumed, assumed * (x[i] | 1));
		} while (old != assumed);
	}
	if (!i)
		atomicInc(&rounds_seen, 0xffffffffu);
}

__global__ void advance(uint32_t *x, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		x[i] = x[i] * 1664525u + 1013904223u;
}

int main(int argc, char **argv)
{
	const int n = 40000, grid = (n + 255) / 256;
	uint32_t *host = (uint32_t *)malloc(n * 4), *x, seed = 5, product = 1, got_product, seen = 0;
	unsigned int *bins, *d_product, got_bins[BINS], want_bins[BINS] = { 0 };
	unsigned long long *wide, got_wide[16], want_wide[16] = { 0 };
	int *extreme, got_extreme[2], want_extreme[2] = { 0x7fffffff, (int)0x80000000u };
	const uint32_t new_weight[4] = { 2, 9, 4, 11 };
	void *symbol;
	uint64_t sum = 0;

	app_args(argc, argv, 1200);
	for (int i = 0; i < n; i++)
		host[i] = app_random(&seed);
	CU(cudaMalloc(&x, n * 4));
	CU(cudaMalloc(&bins, sizeof(got_bins)));
	CU(cudaMalloc(&wide, sizeof(got_wide)));
	CU(cudaMalloc(&extreme, sizeof(got_extreme)));
	CU(cudaMalloc(&d_product, 4));
	CU(cudaGetSymbolAddress(&symbol, rounds_seen));
	app_buffer("x", x, n * 4);
	app_buffer("bins", bins, sizeof(got_bins));
	app_buffer("wide", wide, sizeof(got_wide));
	app_buffer("extreme", extreme, sizeof(got_extreme));
	app_buffer("product", d_product, 4);
	app_buffer("rounds_seen", symbol, 4);
	CU(cudaMemcpy(x, host, n * 4, cudaMemcpyHostToDevice));
	CU(cudaMemset(bins, 0, sizeof(got_bins)));
	CU(cudaMemset(wide, 0, sizeof(got_wide)));
	CU(cudaMemcpy(extreme, want_extreme, sizeof(got_extreme), cudaMemcpyHostToDevice));
	CU(cudaMemcpy(d_product, &product, 4, cudaMemcpyHostToDevice));
	CU(cudaMemcpyToSymbol(weight, new_weight, sizeof(new_weight)));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		count_shared<<<32, 256>>>(x, n, bins);
		APP_LAUNCHED();
		count_global<<<grid, 256>>>(x, n, wide, extreme, d_product);
		APP_LAUNCHED();
		advance<<<grid, 256>>>(x, n);
		APP_LAUNCHED();
	}

	// each number through all its rounds, instead of each round through all numbers
	for (int i = 0; i < n; i++) {
		uint32_t v = host[i];

		for (int r = 0; r < app.rounds; r++) {
			want_bins[v / 16777216]++;
			want_wide[v % 16] += (unsigned long long)new_weight[v % 4] * (v / 256);
			if ((int)v < want_extreme[0])
				want_extreme[0] = (int)v;
			if ((int)v > want_extreme[1])
				want_extreme[1] = (int)v;
			if (v % 256 == 0)
				product *= v | 1;
			v = v * 1664525u + 1013904223u;
		}
	}
	CU(cudaMemcpy(got_bins, bins, sizeof(got_bins), cudaMemcpyDeviceToHost));
	CU(cudaMemcpy(got_wide, wide, sizeof(got_wide), cudaMemcpyDeviceToHost));
	CU(cudaMemcpy(got_extreme, extreme, sizeof(got_extreme), cudaMemcpyDeviceToHost));
	CU(cudaMemcpy(&got_product, d_product, 4, cudaMemcpyDeviceToHost));
	CU(cudaMemcpyFromSymbol(&seen, rounds_seen, 4));
	for (int b = 0; b < BINS; b++)
		APP_EQUAL(got_bins[b], want_bins[b], b);
	for (int b = 0; b < 16; b++)
		APP_EQUAL(got_wide[b], want_wide[b], b);
	APP_EQUAL(got_extreme[0], want_extreme[0], 0);
	APP_EQUAL(got_extreme[1], want_extreme[1], 1);
	APP_EQUAL(got_product, product, 0);
	APP_EQUAL(seen, (uint32_t)app.rounds, 0);
	sum = app_sum(sum, got_bins, sizeof(got_bins));
	sum = app_sum(sum, got_wide, sizeof(got_wide));
	sum = app_sum(sum, got_extreme, sizeof(got_extreme));
	return app_pass(app_sum(sum, &got_product, 4));
}
