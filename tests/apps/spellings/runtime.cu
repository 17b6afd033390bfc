// runtime.cu - a little of the CUDA runtime: built with the static and with the shared one.
#include <cstdio>
#include <cstring>

__global__ void add(int *p, int n, int v)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		p[i] += v;
}

#define CUDA(call)                                                                                 \
	do {                                                                                       \
		cudaError_t e_ = (call);                                                           \
		if (e_ != cudaSuccess) {                                                           \
			fprintf(stderr, "FAIL %s: %s\n", #call, cudaGetErrorString(e_));           \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int work()
{
	static int host[1000];
	int *p;

	CUDA(cudaMalloc(&p, sizeof(host)));
	CUDA(cudaMemset(p, 0, sizeof(host)));
	for (int i = 0; i < 10; i++)
		add<<<8, 128>>>(p, 1000, 3);
	CUDA(cudaGetLastError());
	CUDA(cudaMemcpy(host, p, sizeof(host), cudaMemcpyDeviceToHost));
	for (int i = 0; i < 1000; i++)
		if (host[i] != 30) {
			fprintf(stderr, "FAIL element %d is %d\n", i, host[i]);
			return 1;
		}
	CUDA(cudaFree(p));
	return 0;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 && !strcmp(argv[1], "reset") ? 3 : 1;

	for (int i = 0; i < rounds; i++) {
		if (work())
			return 1;
		// the runtime's own storage in the context ends, and begins again
		if (rounds > 1)
			CUDA(cudaDeviceReset());
	}
	puts("PASS");
	return 0;
}
