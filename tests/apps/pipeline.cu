// pipeline.cu - asynchronous copies into shared memory: cuda::pipeline, cuda::barrier and cooperative groups.
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cuda/barrier>
#include <cuda/pipeline>

#include "app.h"

// The objects in shared memory are initialised by init and make_pipeline.
#pragma nv_diag_suppress static_var_with_dynamic_init

namespace cg = cooperative_groups;

#define TILE 256
#define TILES 24

// Two tiles in flight: one is copied while the other is summed.
__global__ void by_pipeline(const uint32_t *x, uint32_t *sum)
{
	__shared__ alignas(16) uint32_t tile[2][TILE];
	__shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
	auto block = cg::this_thread_block();
	auto pipe = cuda::make_pipeline(block, &state);
	const uint32_t *from = x + (size_t)blockIdx.x * TILE * TILES;
	uint32_t mine = 0;

	for (int t = 0, ahead = 0; t < TILES; t++) {
		for (; ahead < TILES && ahead < t + 2; ahead++) {
			pipe.producer_acquire();
			cuda::memcpy_async(block, tile[ahead & 1], from + ahead * TILE, cuda::aligned_size_t<16>(TILE * 4), pipe);
			pipe.producer_commit();
		}
		pipe.consumer_wait();
		/* a word that another thread copied */
		for (int i = threadIdx.x; i < TILE; i += blockDim.x)
			mine = mine * 31 + tile[t & 1][TILE - 1 - i];
		pipe.consumer_release();
	}
	sum[blockIdx.x * blockDim.x + threadIdx.x] = mine;
}

// A barrier that the copies arrive at, and tokens to wait for it.
__global__ void by_barrier(const uint32_t *x, uint32_t *sum)
{
	__shared__ alignas(16) uint32_t tile[TILE];
	__shared__ cuda::barrier<cuda::thread_scope_block> bar;
	auto block = cg::this_thread_block();
	uint32_t mine = 0;

	if (threadIdx.x == 0)
		init(&bar, blockDim.x);
	block.sync();
	for (int t = 0; t < TILES; t++) {
		const uint32_t *from = x + ((size_t)blockIdx.x * TILES + t) * TILE;

		for (int i = threadIdx.x; i < TILE; i += blockDim.x)
			cuda::memcpy_async(&tile[i], from + i, sizeof(uint32_t), bar);
		cuda::barrier<cuda::thread_scope_block>::arrival_token token = bar.arrive();
		bar.wait(std::move(token));
		for (int i = threadIdx.x; i < TILE; i += blockDim.x)
			mine = mine * 31 + tile[TILE - 1 - i];
		bar.arrive_and_wait();
	}
	sum[blockIdx.x * blockDim.x + threadIdx.x] = mine;
}

// Cooperative groups: copies of any size, waited for by the whole group.
__global__ void by_group(const uint32_t *x, uint32_t *sum)
{
	__shared__ uint32_t tile[TILE];
	auto block = cg::this_thread_block();
	uint32_t mine = 0;

	for (int t = 0; t < TILES; t++) {
		cg::memcpy_async(block, tile, x + ((size_t)blockIdx.x * TILES + t) * TILE, sizeof(tile));
		cg::wait(block);
		for (int i = threadIdx.x; i < TILE; i += blockDim.x)
			mine = mine * 31 + tile[TILE - 1 - i];
		block.sync();
	}
	sum[blockIdx.x * blockDim.x + threadIdx.x] = mine;
}

__global__ void advance(uint32_t *x, int n, const uint32_t *sum, int nr_sums)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		x[i] = (x[i] + sum[i % nr_sums]) * 1664525u + 1013904223u;
}

int main(int argc, char **argv)
{
	const int blocks = 6, threads = 96, n = blocks * TILE * TILES, nr = blocks * threads;
	uint32_t *host = (uint32_t *)malloc(n * 4), *want = (uint32_t *)malloc(nr * 4), *got = (uint32_t *)malloc(nr * 4);
	uint32_t *got_x = (uint32_t *)malloc(n * 4), *x, *sum, seed = 11;
	uint64_t total = 0;

	app_args(argc, argv, 200);
	for (int i = 0; i < n; i++)
		host[i] = app_random(&seed);
	CU(cudaMalloc(&x, n * 4));
	CU(cudaMalloc(&sum, 3 * nr * 4));
	app_buffer("numbers", x, n * 4);
	app_buffer("sums", sum, 3 * nr * 4);
	CU(cudaMemcpy(x, host, n * 4, cudaMemcpyHostToDevice));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		by_pipeline<<<blocks, threads>>>(x, sum);
		APP_LAUNCHED();
		by_barrier<<<blocks, threads>>>(x, sum + nr);
		APP_LAUNCHED();
		by_group<<<blocks, threads>>>(x, sum + 2 * nr);
		APP_LAUNCHED();
		advance<<<(n + 255) / 256, 256>>>(x, n, sum, 3 * nr);
		APP_LAUNCHED();
	}

	// the same, one word after the other
	for (int r = 0; r < app.rounds; r++) {
		for (int t = 0; t < nr; t++) {
			want[t] = 0;
			for (int k = 0; k < TILES; k++)
				for (int i = t % threads; i < TILE; i += threads)
					want[t] = want[t] * 31 + host[(t / threads * TILES + k) * TILE + TILE - 1 - i];
		}
		for (int i = 0; i < n; i++)
			host[i] = (host[i] + want[i % nr]) * 1664525u + 1013904223u;
	}
	for (int k = 0; k < 3; k++) {
		CU(cudaMemcpy(got, sum + k * nr, nr * 4, cudaMemcpyDeviceToHost));
		for (int t = 0; t < nr; t++)
			APP_EQUAL(got[t], want[t], k * nr + t);
		total = app_sum(total, got, nr * 4);
	}
	CU(cudaMemcpy(got_x, x, n * 4, cudaMemcpyDeviceToHost));
	for (int i = 0; i < n; i++)
		APP_EQUAL(got_x[i], host[i], i);
	return app_pass(app_sum(total, got_x, n * 4));
}
