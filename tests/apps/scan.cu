// scan.cu - inclusive prefix sum in three kernels: within blocks, over the blocks' sums, and back.
#include "app.h"

#define BLOCK 256
#define FULL 0xffffffffu

__device__ uint32_t block_scan(uint32_t v)
{
	__shared__ uint32_t warp_total[BLOCK / 32];
	int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;

	for (int d = 1; d < 32; d <<= 1) {
		uint32_t below = __shfl_up_sync(FULL, v, d);

		if (lane >= d)
			v += below;
	}
	if (lane == 31)
		warp_total[warp] = v;
	__syncthreads();
	if (!warp) {
		uint32_t t = lane < BLOCK / 32 ? warp_total[lane] : 0;

		for (int d = 1; d < BLOCK / 32; d <<= 1) {
			uint32_t below = __shfl_up_sync(FULL, t, d);

			if (lane >= d)
				t += below;
		}
		if (lane < BLOCK / 32)
			warp_total[lane] = t;
	}
	__syncthreads();
	return warp ? v + warp_total[warp - 1] : v;
}

__global__ void scan_blocks(const uint32_t *in, uint32_t *out, uint32_t *totals, int n)
{
	int i = blockIdx.x * BLOCK + threadIdx.x;
	uint32_t v = block_scan(i < n ? in[i] : 0);

	if (i < n)
		out[i] = v;
	if (threadIdx.x == BLOCK - 1)
		totals[blockIdx.x] = v;
}

__global__ void scan_totals(uint32_t *totals, int n)
{
	uint32_t v = block_scan((int)threadIdx.x < n ? totals[threadIdx.x] : 0);

	if ((int)threadIdx.x < n)
		totals[threadIdx.x] = v;
}

__global__ void add_totals(uint32_t *out, const uint32_t *totals, int n)
{
	int i = blockIdx.x * BLOCK + threadIdx.x;

	if (i < n && blockIdx.x)
		out[i] += totals[blockIdx.x - 1];
}

// The next input: exchanged between lanes by __shfl_xor_sync and folded.
__global__ void fold(const uint32_t *out, uint32_t *in, int n)
{
	int i = blockIdx.x * BLOCK + threadIdx.x;
	uint32_t v = i < n ? out[i] : 0;
	uint32_t other = __shfl_xor_sync(FULL, v, 1);

	if (i < n)
		in[i] = v ^ (other >> 7) ^ (uint32_t)i;
}

int main(int argc, char **argv)
{
	const int n = 50016, blocks = (n + BLOCK - 1) / BLOCK;	/* the last warp is whole, the last block is not */
	uint32_t *host = (uint32_t *)malloc(n * 4), *got = (uint32_t *)malloc(n * 4), *in, *out, *totals, seed = 6;
	uint64_t sum = 0;

	app_args(argc, argv, 3500);
	for (int i = 0; i < n; i++)
		host[i] = app_random(&seed) & 0xffff;
	CU(cudaMalloc(&in, n * 4));
	CU(cudaMalloc(&out, n * 4));
	CU(cudaMalloc(&totals, blocks * 4));
	app_buffer("in", in, n * 4);
	app_buffer("out", out, n * 4);
	app_buffer("totals", totals, blocks * 4);
	CU(cudaMemcpy(in, host, n * 4, cudaMemcpyHostToDevice));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		scan_blocks<<<blocks, BLOCK>>>(in, out, totals, n);
		APP_LAUNCHED();
		scan_totals<<<1, BLOCK>>>(totals, blocks);
		APP_LAUNCHED();
		add_totals<<<blocks, BLOCK>>>(out, totals, n);
		APP_LAUNCHED();
		fold<<<blocks, BLOCK>>>(out, in, n);
		APP_LAUNCHED();
	}

	for (int r = 0; r < app.rounds; r++) {
		uint32_t running = 0;

		for (int i = 0; i < n; i++)
			host[i] = running += host[i];
		for (int i = 0; i < n; i += 2) {
			uint32_t even = host[i], odd = host[i + 1];

			host[i] = even ^ (odd / 128) ^ (uint32_t)i;
			host[i + 1] = odd ^ (even / 128) ^ (uint32_t)(i + 1);
		}
	}
	CU(cudaMemcpy(got, in, n * 4, cudaMemcpyDeviceToHost));
	for (int i = 0; i < n; i++)
		APP_EQUAL(got[i], host[i], i);
	sum = app_sum(sum, got, n * 4);
	return app_pass(sum);
}
