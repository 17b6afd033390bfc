// cusolver.cu - the toolkit's cuSOLVER: linear systems by LU, and Cholesky factors, put back together in double.
#include <cusolverDn.h>

#include <vector>

#include "../apps/app.h"

#define SOLVER(call)                                                                               \
	do {                                                                                       \
		cusolverStatus_t solver_ = (call);                                                 \
		if (solver_ != CUSOLVER_STATUS_SUCCESS) {                                          \
			fprintf(stderr, "%s:%d: %s: status %d\n", __FILE__, __LINE__, #call, (int)solver_); \
			app_fail("a call of cuSOLVER failed");                                     \
		}                                                                                  \
	} while (0)

#define MAX_N 127

static cusolverDnHandle_t handle;
static double *da, *db, *space;
static int *pivots, *info;
static uint32_t seed = 11;
static uint64_t sum;

static void need(int doubles)
{
	CU(cudaFree(space));
	CU(cudaMalloc(&space, (doubles + 1) * sizeof(double)));
}

static void expect_info()
{
	int i;

	CU(cudaMemcpy(&i, info, sizeof(i), cudaMemcpyDeviceToHost));
	if (i)
		app_fail("cuSOLVER says that the matrix is singular");
}

// a * x = b: how far a * x is from b.
static void solve(int n)
{
	std::vector<double> a(n * n), b(n), x(n);
	int doubles;

	for (int i = 0; i < n * n; i++)
		a[i] = app_random_float(&seed);
	for (int i = 0; i < n; i++) {
		a[i * n + (i + 1) % n] += n;	// not in the diagonal: rows must be exchanged
		b[i] = app_random_float(&seed);
	}
	CU(cudaMemcpy(da, a.data(), a.size() * 8, cudaMemcpyHostToDevice));
	CU(cudaMemcpy(db, b.data(), b.size() * 8, cudaMemcpyHostToDevice));
	SOLVER(cusolverDnDgetrf_bufferSize(handle, n, n, da, n, &doubles));
	need(doubles);
	SOLVER(cusolverDnDgetrf(handle, n, n, da, n, space, pivots, info));
	expect_info();
	SOLVER(cusolverDnDgetrs(handle, CUBLAS_OP_N, n, 1, da, n, pivots, db, n, info));
	expect_info();
	CU(cudaMemcpy(x.data(), db, n * 8, cudaMemcpyDeviceToHost));
	for (int i = 0; i < n; i++) {
		double t = 0, size = 0;

		for (int j = 0; j < n; j++) {
			t += a[i + j * n] * x[j];
			size += fabs(a[i + j * n] * x[j]);
		}
		APP_NEAR(t, b[i], 8 * n * 0x1p-53 * (size + 1), i);
	}
	sum = app_sum(sum, x.data(), n * 8);
}

// l * l' = a
static void factor(int n)
{
	std::vector<double> a(n * n), l(n * n);
	int doubles;

	for (int i = 0; i < n; i++)
		for (int j = 0; j <= i; j++)
			a[i + j * n] = a[j + i * n] = app_random_float(&seed) + (i == j ? 2 * n : 0);
	CU(cudaMemcpy(da, a.data(), a.size() * 8, cudaMemcpyHostToDevice));
	SOLVER(cusolverDnDpotrf_bufferSize(handle, CUBLAS_FILL_MODE_LOWER, n, da, n, &doubles));
	need(doubles);
	SOLVER(cusolverDnDpotrf(handle, CUBLAS_FILL_MODE_LOWER, n, da, n, space, doubles, info));
	expect_info();
	CU(cudaMemcpy(l.data(), da, l.size() * 8, cudaMemcpyDeviceToHost));
	for (int i = 0; i < n; i++)
		for (int j = 0; j <= i; j++) {
			double t = 0, size = 0;

			for (int k = 0; k <= j; k++) {
				t += l[i + k * n] * l[j + k * n];
				size += fabs(l[i + k * n] * l[j + k * n]);
			}
			APP_NEAR(t, a[i + j * n], 4 * n * 0x1p-53 * (size + fabs(a[i + j * n])), i + j * n);
		}
	sum = app_sum(sum, l.data(), l.size() * 8);
}

int main(int argc, char **argv)
{
	static const int sizes[] = { 33, 3, 65, MAX_N };

	app_args(argc, argv, 4);
	CU(cudaMalloc(&da, MAX_N * MAX_N * 8));
	CU(cudaMalloc(&db, MAX_N * 8));
	CU(cudaMalloc(&pivots, MAX_N * sizeof(int)));
	CU(cudaMalloc(&info, sizeof(int)));
	app_buffer("a", da, MAX_N * MAX_N * 8);
	SOLVER(cusolverDnCreate(&handle));
	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		solve(sizes[r % 4]);
		factor(sizes[r % 4]);
	}
	SOLVER(cusolverDnDestroy(handle));
	return app_pass(sum);
}
