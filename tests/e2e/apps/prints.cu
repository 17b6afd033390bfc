/*
 * prints.cu - kernels that print, and with --assert one whose assertion fails: `prints [--assert]`. It ends with PASS and the sum of what
 * printf gave, or says which error the assertion is.
 */
#include <cassert>
#include <cstdio>
#include <cstring>
#include "tests/apps/app.h"

__constant__ char in_constant[] = "constant";
__device__ char in_global[] = "global";

__global__ void from_everywhere(int *sum, const char *word)
{
	__shared__ char in_shared[8];
	char in_local[8];

	for (int i = 0; i < 7; i++) {
		in_local[i] = (char)('a' + (i + (int)threadIdx.x) % 26);
		if (threadIdx.x == 0)
			in_shared[i] = (char)('A' + (i + (int)blockIdx.x) % 26);
	}
	in_local[7] = 0;
	if (threadIdx.x == 0)
		in_shared[7] = 0;
	__syncthreads();
	if (threadIdx.x % 3 == 0)
		atomicAdd(sum, printf("%u/%u: %s %s %s %s %.3s\n", blockIdx.x, threadIdx.x, in_constant, in_global, in_shared, in_local, word));
}

__global__ void of_every_kind(int *sum, double d, long long l)
{
	int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

	/* lanes of a warp go different ways */
	if (i & 1)
		atomicAdd(sum, printf("%d: %5d|%-5d|%+d|%05d|%x|%#o|%c|%%\n", i, i, i, i, i, i, i, 'a' + i % 26));
	else
		for (int k = 0; k <= i % 3; k++)
			atomicAdd(sum, printf("%d.%d: %f %.2e %g %lld %llx %*d %s\n", i, k, d * i, d, 1 / d, l * i, l, k + 5, i, (const char *)nullptr));
}

__global__ void nothing_to_say(int *sum)
{
	atomicAdd(sum, printf(""));
	if (threadIdx.x == 31)
		atomicAdd(sum, printf("no arguments, 100%%\n"));
}

__global__ void asserts(int n)
{
	int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

	assert(i < n && "too many threads");
}

int main(int argc, char **argv)
{
	char word[] = { 'w', 'o', 'r', 'd' }, *dword;
	int *sum, result = 0;

	if (argc > 1 && !strcmp(argv[1], "--assert")) {
		cudaError_t r;

		asserts<<<2, 64>>>(97);
		r = cudaDeviceSynchronize();
		printf("%s\n", cudaGetErrorName(r));
		return r == cudaErrorAssert ? 0 : 1;
	}
	CU(cudaMalloc(&sum, sizeof(*sum)));
	CU(cudaMalloc(&dword, sizeof(word)));
	CU(cudaMemset(sum, 0, sizeof(*sum)));
	CU(cudaMemcpy(dword, word, sizeof(word), cudaMemcpyHostToDevice));
	from_everywhere<<<3, 70>>>(sum, dword);
	of_every_kind<<<2, 48>>>(sum, -1.625, 123456789012345LL);
	nothing_to_say<<<1, 32>>>(sum);
	CU(cudaGetLastError());
	CU(cudaDeviceSynchronize());
	CU(cudaMemcpy(&result, sum, sizeof(result), cudaMemcpyDeviceToHost));
	CU(cudaFree(sum));
	CU(cudaFree(dword));
	printf("PASS %08x\n", result);
	return 0;
}
