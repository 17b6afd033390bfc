// cufft.cu - the toolkit's cuFFT: transforms of one and two dimensions, of powers, products and primes, against sums in double.
#include <cufft.h>

#include <vector>

#include "../apps/app.h"

#define FFT(call)                                                                                  \
	do {                                                                                       \
		cufftResult fft_ = (call);                                                         \
		if (fft_ != CUFFT_SUCCESS) {                                                       \
			fprintf(stderr, "%s:%d: %s: result %d\n", __FILE__, __LINE__, #call, (int)fft_); \
			app_fail("a call of cuFFT failed");                                        \
		}                                                                                  \
	} while (0)

#define MAX_N 1000
#define BATCH 2
#define ROWS 12
#define COLUMNS 15

static const double pi = 3.14159265358979323846;
static uint32_t seed = 5;
static uint64_t sum;
static cufftComplex *d;

// How far the result may be off: a few roundings for each level, and the twiddle factors'.
static double within(int n, double norm)
{
	return 8 * (log2(n) + 2) * 0x1p-24 * norm * sqrt(n);
}

static void line(int n)
{
	std::vector<cufftComplex> x(BATCH * n), y(BATCH * n), back(BATCH * n);
	cufftHandle plan;

	for (cufftComplex &c : x)
		c = { app_random_float(&seed), app_random_float(&seed) };
	CU(cudaMemcpy(d, x.data(), x.size() * sizeof(*d), cudaMemcpyHostToDevice));
	FFT(cufftPlan1d(&plan, n, CUFFT_C2C, BATCH));
	FFT(cufftExecC2C(plan, d, d, CUFFT_FORWARD));
	CU(cudaMemcpy(y.data(), d, y.size() * sizeof(*d), cudaMemcpyDeviceToHost));
	FFT(cufftExecC2C(plan, d, d, CUFFT_INVERSE));
	CU(cudaMemcpy(back.data(), d, back.size() * sizeof(*d), cudaMemcpyDeviceToHost));
	FFT(cufftDestroy(plan));
	for (int b = 0; b < BATCH; b++) {
		double norm = 0;

		for (int i = 0; i < n; i++)
			norm += (double)x[b * n + i].x * x[b * n + i].x + (double)x[b * n + i].y * x[b * n + i].y;
		norm = sqrt(norm);
		for (int k = 0; k < n; k++) {
			double re = 0, im = 0;

			for (int i = 0; i < n; i++) {
				const double a = -2 * pi * ((long)k * i % n) / n, c = cos(a), s = sin(a);

				re += x[b * n + i].x * c - x[b * n + i].y * s;
				im += x[b * n + i].x * s + x[b * n + i].y * c;
			}
			APP_NEAR(y[b * n + k].x, re, within(n, norm), k);
			APP_NEAR(y[b * n + k].y, im, within(n, norm), k);
			APP_NEAR(back[b * n + k].x / n, x[b * n + k].x, 2 * within(n, norm) / n, k);
			APP_NEAR(back[b * n + k].y / n, x[b * n + k].y, 2 * within(n, norm) / n, k);
		}
	}
	sum = app_sum(sum, y.data(), y.size() * sizeof(*d));
}

static void plane()
{
	const int half = COLUMNS / 2 + 1;
	std::vector<float> x(ROWS * COLUMNS);
	std::vector<cufftComplex> y(ROWS * half);
	cufftHandle plan;
	double norm = 0;
	float *real;

	for (float &v : x) {
		v = app_random_float(&seed);
		norm += (double)v * v;
	}
	CU(cudaMalloc(&real, x.size() * 4));
	CU(cudaMemcpy(real, x.data(), x.size() * 4, cudaMemcpyHostToDevice));
	FFT(cufftPlan2d(&plan, ROWS, COLUMNS, CUFFT_R2C));
	FFT(cufftExecR2C(plan, real, d));
	CU(cudaMemcpy(y.data(), d, y.size() * sizeof(*d), cudaMemcpyDeviceToHost));
	FFT(cufftDestroy(plan));
	CU(cudaFree(real));
	for (int k = 0; k < ROWS; k++)
		for (int l = 0; l < half; l++) {
			double re = 0, im = 0;

			for (int i = 0; i < ROWS; i++)
				for (int j = 0; j < COLUMNS; j++) {
					const double a = -2 * pi * ((double)k * i / ROWS + (double)l * j / COLUMNS);

					re += x[i * COLUMNS + j] * cos(a);
					im += x[i * COLUMNS + j] * sin(a);
				}
			APP_NEAR(y[k * half + l].x, re, within(ROWS * COLUMNS, sqrt(norm)), k * half + l);
			APP_NEAR(y[k * half + l].y, im, within(ROWS * COLUMNS, sqrt(norm)), k * half + l);
		}
	sum = app_sum(sum, y.data(), y.size() * sizeof(*d));
}

int main(int argc, char **argv)
{
	static const int sizes[] = { 64, 127, 100, 31, MAX_N };

	app_args(argc, argv, 6);
	CU(cudaMalloc(&d, BATCH * MAX_N * sizeof(*d)));
	app_buffer("data", d, BATCH * MAX_N * sizeof(*d));
	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		if (r % 6 < 5)
			line(sizes[r % 6]);
		else
			plane();
	}
	return app_pass(sum);
}
