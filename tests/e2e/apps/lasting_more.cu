// lasting_more.cu - code of lasting.cu that is loaded late: its kernel, variables and constants.
#include "lasting.h"

__device__ uint32_t more_salt = 41;
__constant__ uint32_t more_table[4] = { 3, 5, 7, 9 };

__global__ void more_stir(uint32_t *x, int n)
{
	__shared__ uint32_t line[64];
	int i = blockIdx.x * 64 + threadIdx.x;

	line[threadIdx.x] = i < n ? x[i] : 0;
	__syncthreads();
	// what the neighbour wrote, and back again
	line[threadIdx.x ^ 1] = line[threadIdx.x ^ 1] * more_table[2] + more_salt;
	__syncthreads();
	if (i < n)
		x[i] = line[threadIdx.x];
}

static uint32_t host_salt = 41;

const char *more_launch(uint32_t *x, int n, cudaStream_t stream)
{
	more_stir<<<(n + 63) / 64, 64, 0, stream>>>(x, n);
	return cudaGetLastError() == cudaSuccess ? NULL : "a kernel that was loaded late cannot be launched";
}

uint32_t more_expected(uint32_t v)
{
	return v * 7 + host_salt;
}

const char *more_set_salt(uint32_t salt)
{
	uint32_t before = 0;

	if (cudaMemcpyFromSymbol(&before, more_salt, 4) != cudaSuccess || before != host_salt)
		return "a variable that was loaded late has another value";
	host_salt = salt;
	return cudaMemcpyToSymbol(more_salt, &salt, 4) == cudaSuccess ? NULL : "cudaMemcpyToSymbol";
}

const char *more_attributes(void)
{
	cudaFuncAttributes a;
	int blocks = 0;

	if (cudaFuncGetAttributes(&a, more_stir) != cudaSuccess || a.sharedSizeBytes != 256 || a.maxThreadsPerBlock < 64)
		return "the attributes of a kernel that was loaded late";
	if (cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, more_stir, 64, 0) != cudaSuccess || blocks < 1)
		return "its occupancy";
	return NULL;
}
