// cg.cu - conjugate gradient in one cooperative kernel: every dot product is a grid-wide synchronisation.
#include <cooperative_groups.h>
#include "app.h"

namespace cg = cooperative_groups;

#define N 4096
#define BLOCKS 8
#define THREADS 128
#define DIAGONAL 2.5	/* the matrix is tridiagonal: -1 2.5 -1 */
#define STEPS 12	/* of CG, in one launch */

// Sums in a fixed order: lanes, warps, blocks.
__device__ double dot(cg::grid_group grid, const double *a, const double *b, double *partial)
{
	__shared__ double warp_sum[THREADS / 32];
	double t = 0;

	for (int i = grid.thread_rank(); i < N; i += grid.size())
		t += a[i] * b[i];
	for (int d = 16; d; d >>= 1)
		t += __shfl_down_sync(0xffffffffu, t, d);
	if (!(threadIdx.x & 31))
		warp_sum[threadIdx.x >> 5] = t;
	__syncthreads();
	if (!threadIdx.x) {
		t = 0;
		for (int w = 0; w < THREADS / 32; w++)
			t += warp_sum[w];
		partial[blockIdx.x] = t;
	}
	grid.sync();
	t = 0;
	for (int b = 0; b < BLOCKS; b++)
		t += partial[b];
	grid.sync();	/* partial may be written again */
	return t;
}

__global__ void begin(const double *c, double *x, double *r, double *p)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= N)
		return;
	r[i] = p[i] = c[i] + 0.5 * x[i];	/* the right-hand side comes from the last solution */
	x[i] = 0;
}

__global__ void solve(double *x, double *r, double *p, double *q, double *partial)
{
	cg::grid_group grid = cg::this_grid();
	double rr = dot(grid, r, r, partial);

	for (int step = 0; step < STEPS; step++) {
		double alpha, next;

		for (int i = grid.thread_rank(); i < N; i += grid.size())
			q[i] = DIAGONAL * p[i] - (i ? p[i - 1] : 0) - (i < N - 1 ? p[i + 1] : 0);
		grid.sync();
		alpha = rr / dot(grid, p, q, partial);
		for (int i = grid.thread_rank(); i < N; i += grid.size()) {
			x[i] += alpha * p[i];
			r[i] -= alpha * q[i];
		}
		grid.sync();
		next = dot(grid, r, r, partial);
		for (int i = grid.thread_rank(); i < N; i += grid.size())
			p[i] = r[i] + next / rr * p[i];
		rr = next;
		grid.sync();
	}
}

int main(int argc, char **argv)
{
	static double c[N], want[N], got[N], upper[N];
	double *dc, *x, *r, *p, *q, *partial;
	uint32_t seed = 8;
	int cooperative = 0, processors = 0, per_processor = 0;

	app_args(argc, argv, 120);
	CU(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, 0));
	CU(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
	CU(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, solve, THREADS, 0));
	if (!cooperative || per_processor * processors < BLOCKS)
		app_fail("the device has no room for the cooperative grid");
	for (int i = 0; i < N; i++)
		c[i] = app_random_float(&seed);
	CU(cudaMalloc(&dc, sizeof(c)));
	CU(cudaMalloc(&x, sizeof(c)));
	CU(cudaMalloc(&r, sizeof(c)));
	CU(cudaMalloc(&p, sizeof(c)));
	CU(cudaMalloc(&q, sizeof(c)));
	CU(cudaMalloc(&partial, BLOCKS * 8));
	app_buffer("c", dc, sizeof(c));
	app_buffer("x", x, sizeof(c));
	app_buffer("r", r, sizeof(c));
	app_buffer("p", p, sizeof(c));
	app_buffer("q", q, sizeof(c));
	app_buffer("partial", partial, BLOCKS * 8);
	CU(cudaMemcpy(dc, c, sizeof(c), cudaMemcpyHostToDevice));
	CU(cudaMemset(x, 0, sizeof(c)));
	CU(cudaMemset(q, 0, sizeof(c)));
	CU(cudaMemset(partial, 0, BLOCKS * 8));

	for (int k = 0; k < app.rounds; k++) {
		void *args[] = { &x, &r, &p, &q, &partial };

		APP_ROUND(k);
		begin<<<N / 256, 256>>>(dc, x, r, p);
		APP_LAUNCHED();
		for (int launch = 0; launch < 3; launch++)
			CU(cudaLaunchCooperativeKernel((const void *)solve, BLOCKS, THREADS, args, 0, 0));
	}

	// Gaussian elimination of the tridiagonal system
	for (int k = 0; k < app.rounds; k++) {
		double pivot = DIAGONAL;

		for (int i = 0; i < N; i++) {
			double b = c[i] + 0.5 * want[i];

			if (i) {
				upper[i - 1] = -1 / pivot;
				pivot = DIAGONAL + upper[i - 1];
				b += want[i - 1];
			}
			want[i] = b / pivot;
		}
		for (int i = N - 2; i >= 0; i--)
			want[i] -= upper[i] * want[i + 1];
	}
	CU(cudaMemcpy(got, x, sizeof(got), cudaMemcpyDeviceToHost));
	for (int i = 0; i < N; i++)
		APP_NEAR(got[i], want[i], 1e-8, i);
	return app_pass(app_sum(0, got, sizeof(got)));
}
