// matmul.cu - tiled matrix product with shared memory and barriers, in integers (exact) and in floats.
#include "app.h"

#define N 144
#define TILE 16

// c = a * b + keep * c
template <typename T> __global__ void multiply(const T *a, const T *b, T *c, T keep)
{
	__shared__ T sa[TILE][TILE], sb[TILE][TILE];
	int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
	T sum = 0;

	for (int t = 0; t < N; t += TILE) {
		sa[threadIdx.y][threadIdx.x] = a[row * N + t + threadIdx.x];
		sb[threadIdx.y][threadIdx.x] = b[(t + threadIdx.y) * N + column];
		__syncthreads();
		for (int k = 0; k < TILE; k++)
			sum += sa[threadIdx.y][k] * sb[k][threadIdx.x];
		__syncthreads();
	}
	c[row * N + column] = sum + keep * c[row * N + column];
}

static void product(const uint32_t *a, const uint32_t *b, uint32_t *out)
{
	uint32_t *t = (uint32_t *)calloc(N * N, 4);

	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++)
			for (int j = 0; j < N; j++)
				t[i * N + j] += a[i * N + k] * b[k * N + j];
	memcpy(out, t, N * N * 4);
	free(t);
}

int main(int argc, char **argv)
{
	const size_t size = N * N * 4;
	const dim3 grid(N / TILE, N / TILE), block(TILE, TILE);
	static uint32_t a[N * N], b[N * N], got[N * N];
	static float fa[N * N], fb[N * N], fgot[N * N];
	uint32_t *da, *db, *dc, seed = 3;
	float *dfa, *dfb, *dfc;
	uint64_t sum = 0;

	app_args(argc, argv, 250);
	for (int i = 0; i < N * N; i++) {
		a[i] = app_random(&seed);
		b[i] = app_random(&seed);
		fa[i] = app_random_float(&seed);
		fb[i] = app_random_float(&seed);
	}
	CU(cudaMalloc(&da, size));
	CU(cudaMalloc(&db, size));
	CU(cudaMalloc(&dc, size));
	CU(cudaMalloc(&dfa, size));
	CU(cudaMalloc(&dfb, size));
	CU(cudaMalloc(&dfc, size));
	app_buffer("a", da, size);
	app_buffer("b", db, size);
	app_buffer("c", dc, size);
	app_buffer("fa", dfa, size);
	app_buffer("fb", dfb, size);
	app_buffer("fc", dfc, size);
	CU(cudaMemcpy(da, a, size, cudaMemcpyHostToDevice));
	CU(cudaMemcpy(db, b, size, cudaMemcpyHostToDevice));
	CU(cudaMemset(dc, 0, size));
	CU(cudaMemcpy(dfa, fa, size, cudaMemcpyHostToDevice));
	CU(cudaMemcpy(dfb, fb, size, cudaMemcpyHostToDevice));
	CU(cudaMemset(dfc, 0, size));

	for (int r = 0; r < app.rounds; r++) {
		uint32_t *t = da;

		APP_ROUND(r);
		multiply<uint32_t><<<grid, block>>>(da, db, dc, 0);
		APP_LAUNCHED();
		da = dc;
		dc = t;
		multiply<float><<<grid, block>>>(dfa, dfb, dfc, 0.5f);
		APP_LAUNCHED();
	}

	// a * b^rounds by repeated squaring
	for (int e = app.rounds; e; e >>= 1) {
		if (e & 1)
			product(a, b, a);
		product(b, b, b);
	}
	CU(cudaMemcpy(got, da, size, cudaMemcpyDeviceToHost));
	for (int i = 0; i < N * N; i++)
		APP_EQUAL(got[i], a[i], i);
	sum = app_sum(sum, got, size);

	// c converges to fa * fb * (1 + 1/2 + 1/4 ...)
	CU(cudaMemcpy(fgot, dfc, size, cudaMemcpyDeviceToHost));
	for (int i = 0; i < N; i++) {
		for (int j = 0; j < N; j++) {
			double want = 0;

			for (int k = 0; k < N; k++)
				want += (double)fa[i * N + k] * fb[k * N + j];
			APP_NEAR(fgot[i * N + j], want * (2 - pow(0.5, app.rounds - 1)), 1e-4, i * N + j);
		}
	}
	sum = app_sum(sum, fgot, size);
	return app_pass(sum);
}
