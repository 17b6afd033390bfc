// endless.cu - ends while a kernel runs that never does; an object of the program's is destroyed last, and calls CUDA.
#include <cstdio>

__global__ static void wait_for(volatile int *flag)
{
	while (!*flag)
		;
}

static int *flag;
static struct late {
	~late()
	{
		cudaFree(flag);
	}
} late;

int main()
{
	cudaError_t e = cudaMalloc(&flag, sizeof(*flag));

	if (e == cudaSuccess)
		e = cudaMemset(flag, 0, sizeof(*flag));
	if (e == cudaSuccess) {
		wait_for<<<1, 1>>>(flag);
		e = cudaGetLastError();
	}
	printf("%s\n", e == cudaSuccess ? "PASS" : cudaGetErrorString(e));
	return e != cudaSuccess;
}
