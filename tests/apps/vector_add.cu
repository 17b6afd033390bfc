// vector_add.cu - c = a + b, round after round: the integers make a Fibonacci sequence, the floats an exact sum.
#include "app.h"

__global__ void add(const uint32_t *a, const uint32_t *b, uint32_t *c, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		c[i] = a[i] + b[i];
}

__global__ void add(const float *a, const float *b, float *c, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		c[i] = a[i] + b[i];
}

int main(int argc, char **argv)
{
	const int n = 100003, block = 256, grid = (n + block - 1) / block;
	uint32_t *host_a, *host_b, *host, *x, *y, *z, seed = 1, fib[2] = { 0, 1 };
	float *host_f, *f, *g, *h;
	uint64_t sum = 0;

	app_args(argc, argv, 9000);
	host_a = (uint32_t *)malloc(n * 4);
	host_b = (uint32_t *)malloc(n * 4);
	host = (uint32_t *)malloc(n * 4);
	host_f = (float *)malloc(n * 4);
	for (int i = 0; i < n; i++) {
		host_a[i] = app_random(&seed);
		host_b[i] = app_random(&seed);
		host_f[i] = (float)(host_a[i] & 1023);
	}
	CU(cudaMalloc(&x, n * 4));
	CU(cudaMalloc(&y, n * 4));
	CU(cudaMalloc(&z, n * 4));
	CU(cudaMalloc(&f, n * 4));
	CU(cudaMalloc(&g, n * 4));
	CU(cudaMalloc(&h, n * 4));
	app_buffer("x", x, n * 4);
	app_buffer("y", y, n * 4);
	app_buffer("z", z, n * 4);
	app_buffer("f", f, n * 4);
	app_buffer("g", g, n * 4);
	app_buffer("h", h, n * 4);
	CU(cudaMemcpy(x, host_a, n * 4, cudaMemcpyHostToDevice));
	CU(cudaMemcpy(y, host_b, n * 4, cudaMemcpyHostToDevice));
	CU(cudaMemset(z, 0, n * 4));
	CU(cudaMemcpy(f, host_f, n * 4, cudaMemcpyHostToDevice));
	CU(cudaMemset(g, 0, n * 4));
	CU(cudaMemset(h, 0, n * 4));

	for (int r = 0; r < app.rounds; r++) {
		uint32_t *t = x;
		float *u = g;

		APP_ROUND(r);
		add<<<grid, block>>>(x, y, z, n);
		APP_LAUNCHED();
		x = y;
		y = z;
		z = t;
		// whole numbers below 2^24: float addition is exact
		add<<<grid, block>>>(f, g, h, n);
		APP_LAUNCHED();
		g = h;
		h = u;
	}

	// element = F(r)*a + F(r+1)*b, without ever adding vectors
	for (int r = 0; r < app.rounds; r++) {
		uint32_t next = fib[0] + fib[1];

		fib[0] = fib[1];
		fib[1] = next;
	}
	CU(cudaMemcpy(host, y, n * 4, cudaMemcpyDeviceToHost));
	for (int i = 0; i < n; i++)
		APP_EQUAL(host[i], fib[0] * host_a[i] + fib[1] * host_b[i], i);
	sum = app_sum(sum, host, n * 4);

	float *back = (float *)malloc(n * 4);

	CU(cudaMemcpy(back, g, n * 4, cudaMemcpyDeviceToHost));
	for (int i = 0; i < n && (double)app.rounds * 1023 < (1 << 24); i++)
		APP_EQUAL(back[i], host_f[i] * (float)app.rounds, i);
	sum = app_sum(sum, back, n * 4);
	return app_pass(sum);
}
