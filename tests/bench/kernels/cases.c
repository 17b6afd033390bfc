/* cases.c - data, launches and expected results of kernels.cu. */
#include "tests/bench/kernels/cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAXPY_N (4 << 20)
#define GEMM_N 512
#define REDUCE_N (4 << 20)
#define HIST_N (4 << 20)
#define HIST_BLOCKS 256
#define BODIES 4096
#define STENCIL 2048
#define FRACTAL 1024
#define FRACTAL_LIMIT 256
#define SCAN_N (1 << 20)
#define SOFTMAX_ROWS 1024
#define SOFTMAX_N 1024
#define ROWS (1 << 17)
#define SQUARE 2048
#define SORT_N (1 << 18)

static double ms_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

struct cost now(void)
{
	return (struct cost){ ms_of(CLOCK_MONOTONIC), ms_of(CLOCK_PROCESS_CPUTIME_ID) };
}

struct cost since(struct cost start)
{
	struct cost end = now();

	return (struct cost){ end.wall - start.wall, end.cpu - start.cpu };
}

static void *alloc(struct buffer *b, size_t bytes)
{
	b->bytes = bytes;
	b->data = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	if (!b->data) {
		fprintf(stderr, "bench: no memory\n");
		exit(1);
	}
	memset(b->data, 0, bytes);
	return b->data;
}

static uint32_t next_random(void)
{
	static uint64_t state = 1;

	state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(state >> 33);
}

static void fill_floats(struct buffer *b, size_t n)
{
	float *f = alloc(b, n * sizeof(*f));

	for (size_t i = 0; i < n; i++)
		f[i] = (float)(next_random() % 20001) / 10000 - 1;
}

static void fill_ints(struct buffer *b, size_t n)
{
	int *v = alloc(b, n * sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = (int)(next_random() % 100000);
}

#define BUF(n) { .kind = ARG_BUFFER, .i = n }
#define INT(n) { .kind = ARG_INT, .i = n }
#define FLT(x) { .kind = ARG_FLOAT, .f = x }

static void launch(struct machine *m, const char *kernel, int gx, int gy, int bx, int by, const struct arg *arg, int nr)
{
	if (!m->failed)
		m->launch(m, kernel, (int[]){ gx, gy }, (int[]){ bx, by }, arg, nr);
}
#define LAUNCH(m, kernel, gx, gy, bx, by, ...) \
	launch(m, kernel, gx, gy, bx, by, (const struct arg[]){ __VA_ARGS__ }, \
	       (int)(sizeof((const struct arg[]){ __VA_ARGS__ }) / sizeof(struct arg)))

static char wrong[128];

static const char *compare(const float *have, const double *want, size_t n, double tolerance)
{
	for (size_t i = 0; i < n; i++)
		if (!(fabs(have[i] - want[i]) <= tolerance * (1 + fabs(want[i])))) {
			snprintf(wrong, sizeof(wrong), "element %zu is %g, not %g", i, have[i], want[i]);
			return wrong;
		}
	return NULL;
}

static const char *compare_ints(const int *have, const int *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (have[i] != want[i]) {
			snprintf(wrong, sizeof(wrong), "element %zu is %d, not %d", i, have[i], want[i]);
			return wrong;
		}
	return NULL;
}

/* ---- saxpy ---- */

static void saxpy_prepare(struct buffer *b)
{
	fill_floats(&b[0], SAXPY_N);
	fill_floats(&b[1], SAXPY_N);
	alloc(&b[2], SAXPY_N * sizeof(float));
}

static void saxpy_run(struct machine *m)
{
	LAUNCH(m, "saxpy", SAXPY_N / 256, 1, 256, 1, BUF(0), BUF(1), BUF(2), FLT(1.5f), INT(SAXPY_N));
}

static const char *saxpy_check(const struct buffer *b)
{
	const float *x = b[0].data, *y = b[1].data, *z = b[2].data;

	for (size_t i = 0; i < SAXPY_N; i++) {
		double want = 1.5 * x[i] + y[i];
		const char *bad = compare(&z[i], &want, 1, 1e-6);

		if (bad)
			return bad;
	}
	return NULL;
}

/* ---- sgemm ---- */

static void sgemm_prepare(struct buffer *b)
{
	fill_floats(&b[0], GEMM_N * GEMM_N);
	fill_floats(&b[1], GEMM_N * GEMM_N);
	alloc(&b[2], GEMM_N * GEMM_N * sizeof(float));
}

static void sgemm_run(struct machine *m)
{
	LAUNCH(m, "sgemm", GEMM_N / 16, GEMM_N / 16, 16, 16, BUF(0), BUF(1), BUF(2), INT(GEMM_N));
}

static const char *sgemm_check(const struct buffer *b)
{
	static double want[GEMM_N * GEMM_N];
	const float *x = b[0].data, *y = b[1].data;

	memset(want, 0, sizeof(want));
	for (size_t i = 0; i < GEMM_N; i++)
		for (size_t k = 0; k < GEMM_N; k++)
			for (size_t j = 0; j < GEMM_N; j++)
				want[i * GEMM_N + j] += (double)x[i * GEMM_N + k] * y[k * GEMM_N + j];
	return compare(b[2].data, want, GEMM_N * GEMM_N, 1e-4);
}

/* ---- reduction ---- */

static void reduce_prepare(struct buffer *b)
{
	fill_floats(&b[0], REDUCE_N);
	alloc(&b[1], REDUCE_N / 512 * sizeof(float));
	alloc(&b[2], REDUCE_N / 512 / 512 * sizeof(float));
	alloc(&b[3], sizeof(float));
}

static void reduce_run(struct machine *m)
{
	LAUNCH(m, "reduce", REDUCE_N / 512, 1, 256, 1, BUF(0), BUF(1), INT(REDUCE_N));
	LAUNCH(m, "reduce", REDUCE_N / 512 / 512, 1, 256, 1, BUF(1), BUF(2), INT(REDUCE_N / 512));
	LAUNCH(m, "reduce", 1, 1, 256, 1, BUF(2), BUF(3), INT(REDUCE_N / 512 / 512));
}

static const char *reduce_check(const struct buffer *b)
{
	const float *in = b[0].data;
	double want = 0, size = 0;

	for (size_t i = 0; i < REDUCE_N; i++) {
		want += in[i];
		size += fabs(in[i]);
	}
	return compare(b[3].data, &want, 1, size * 1e-7);
}

/* ---- histogram ---- */

static void histogram_prepare(struct buffer *b)
{
	fill_ints(&b[0], HIST_N);
	alloc(&b[1], 256 * sizeof(int));
}

static void histogram_reset(struct buffer *b)
{
	memset(b[1].data, 0, b[1].bytes);
}

static void histogram_run(struct machine *m)
{
	LAUNCH(m, "histogram", HIST_BLOCKS, 1, 256, 1, BUF(0), BUF(1), INT(HIST_N), INT(HIST_BLOCKS * 256));
}

static const char *histogram_check(const struct buffer *b)
{
	const int *in = b[0].data;
	int want[256] = { 0 };

	for (size_t i = 0; i < HIST_N; i++)
		want[in[i] & 255]++;
	return compare_ints(b[1].data, want, 256);
}

/* ---- n-body ---- */

static void nbody_prepare(struct buffer *b)
{
	fill_floats(&b[0], BODIES * 4);
	alloc(&b[1], BODIES * 4 * sizeof(float));
}

static void nbody_run(struct machine *m)
{
	LAUNCH(m, "nbody", BODIES / 256, 1, 256, 1, BUF(0), BUF(1), INT(BODIES));
}

static const char *nbody_check(const struct buffer *b)
{
	static double want[BODIES * 4];
	const float *p = b[0].data;

	memset(want, 0, sizeof(want));
	for (size_t i = 0; i < BODIES; i++)
		for (size_t j = 0; j < BODIES; j++) {
			double d[3], r = 0.01;

			for (int k = 0; k < 3; k++) {
				d[k] = (double)p[4 * j + k] - p[4 * i + k];
				r += d[k] * d[k];
			}
			for (int k = 0; k < 3; k++)
				want[4 * i + k] += p[4 * j + 3] * d[k] / (r * sqrt(r));
		}
	return compare(b[1].data, want, BODIES * 4, 1e-2);
}

/* ---- stencil ---- */

static void stencil_prepare(struct buffer *b)
{
	fill_floats(&b[0], STENCIL * STENCIL);
	alloc(&b[1], STENCIL * STENCIL * sizeof(float));
}

static void stencil_run(struct machine *m)
{
	LAUNCH(m, "stencil", STENCIL / 32, STENCIL / 8, 32, 8, BUF(0), BUF(1), INT(STENCIL), INT(STENCIL));
}

static const char *stencil_check(const struct buffer *b)
{
	const float *in = b[0].data, *out = b[1].data;

	for (size_t y = 0; y < STENCIL; y++)
		for (size_t x = 0; x < STENCIL; x++) {
			const float *p = in + y * STENCIL + x;
			bool rim = !x || !y || x == STENCIL - 1 || y == STENCIL - 1;
			double want = rim ? *p : 0.5 * *p + 0.125 * (p[-1] + p[1] + p[-STENCIL] + p[STENCIL]);
			const char *bad = compare(&out[y * STENCIL + x], &want, 1, 1e-5);

			if (bad)
				return bad;
		}
	return NULL;
}

/* ---- mandelbrot ---- */

static void mandelbrot_prepare(struct buffer *b)
{
	alloc(&b[0], FRACTAL * FRACTAL * sizeof(int));
}

static void mandelbrot_run(struct machine *m)
{
	LAUNCH(m, "mandelbrot", FRACTAL / 16, FRACTAL / 16, 16, 16, BUF(0), INT(FRACTAL), INT(FRACTAL), INT(FRACTAL_LIMIT));
}

/* Chaotic: one rounding more or less changes some points near the rim. */
static const char *mandelbrot_check(const struct buffer *b)
{
	const int *have = b[0].data;
	int differ = 0;

	for (int i = 0; i < FRACTAL * FRACTAL; i++) {
		float cx = (float)(i % FRACTAL) * (3.0f / FRACTAL) - 2.2f, cy = (float)(i / FRACTAL) * (2.5f / FRACTAL) - 1.25f;
		float x = 0, y = 0;
		int k = 0;

		for (; k < FRACTAL_LIMIT && x * x + y * y <= 4; k++) {
			float xx = x * x - y * y + cx;

			y = 2 * x * y + cy;
			x = xx;
		}
		differ += have[i] != k;
	}
	if (differ <= FRACTAL * FRACTAL / 50)
		return NULL;
	snprintf(wrong, sizeof(wrong), "%d points differ", differ);
	return wrong;
}

/* ---- scan ---- */

static void scan_prepare(struct buffer *b)
{
	fill_ints(&b[0], SCAN_N);
	alloc(&b[1], SCAN_N * sizeof(int));
	alloc(&b[2], SCAN_N / 256 * sizeof(int));
	alloc(&b[3], SCAN_N / 65536 * sizeof(int));
	alloc(&b[4], 256 * sizeof(int));
	for (int i = 0; i < SCAN_N; i++)
		((int *)b[0].data)[i] %= 1000;
}

static void scan_run(struct machine *m)
{
	LAUNCH(m, "scan", SCAN_N / 256, 1, 256, 1, BUF(0), BUF(1), BUF(2));
	LAUNCH(m, "scan", SCAN_N / 65536, 1, 256, 1, BUF(2), BUF(2), BUF(4));
	LAUNCH(m, "scan", 1, 1, 256, 1, BUF(4), BUF(4), BUF(3));
	LAUNCH(m, "scan_add", SCAN_N / 65536, 1, 256, 1, BUF(2), BUF(4));
	LAUNCH(m, "scan_add", SCAN_N / 256, 1, 256, 1, BUF(1), BUF(2));
}

static void scan_reset(struct buffer *b)
{
	memset(b[4].data, 0, b[4].bytes);
}

static const char *scan_check(const struct buffer *b)
{
	const int *in = b[0].data, *out = b[1].data;
	int want = 0;

	for (size_t i = 0; i < SCAN_N; i++) {
		const char *bad;

		want += in[i];
		bad = compare_ints(&out[i], &want, 1);
		if (bad)
			return bad;
	}
	return NULL;
}

/* ---- softmax ---- */

static void softmax_prepare(struct buffer *b)
{
	fill_floats(&b[0], SOFTMAX_ROWS * SOFTMAX_N);
	alloc(&b[1], SOFTMAX_ROWS * SOFTMAX_N * sizeof(float));
	for (int i = 0; i < SOFTMAX_ROWS * SOFTMAX_N; i++)
		((float *)b[0].data)[i] *= 8;
}

static void softmax_run(struct machine *m)
{
	LAUNCH(m, "softmax", SOFTMAX_ROWS, 1, 256, 1, BUF(0), BUF(1), INT(SOFTMAX_N));
}

static const char *softmax_check(const struct buffer *b)
{
	for (size_t r = 0; r < SOFTMAX_ROWS; r++) {
		const float *in = (const float *)b[0].data + r * SOFTMAX_N, *out = (const float *)b[1].data + r * SOFTMAX_N;
		double sum = 0;

		for (size_t i = 0; i < SOFTMAX_N; i++)
			sum += exp(in[i]);
		for (size_t i = 0; i < SOFTMAX_N; i++) {
			double want = exp(in[i]) / sum;

			if (!(fabs(out[i] - want) <= 1e-5 * want)) {
				snprintf(wrong, sizeof(wrong), "row %zu, column %zu is %g, not %g", r, i, out[i], want);
				return wrong;
			}
		}
	}
	return NULL;
}

/* ---- spmv ---- */

static void spmv_prepare(struct buffer *b)
{
	int *start = alloc(&b[0], (ROWS + 1) * sizeof(int)), *col;

	for (int i = 0; i < ROWS; i++)
		start[i + 1] = start[i] + 8 + (int)(next_random() % 17);
	col = alloc(&b[1], (size_t)start[ROWS] * sizeof(int));
	for (int i = 0; i < start[ROWS]; i++)
		col[i] = (int)(next_random() % ROWS);
	fill_floats(&b[2], (size_t)start[ROWS]);
	fill_floats(&b[3], ROWS);
	alloc(&b[4], ROWS * sizeof(float));
}

static void spmv_run(struct machine *m)
{
	LAUNCH(m, "spmv", ROWS / 256, 1, 256, 1, BUF(0), BUF(1), BUF(2), BUF(3), BUF(4), INT(ROWS));
}

static const char *spmv_check(const struct buffer *b)
{
	const int *start = b[0].data, *col = b[1].data;
	const float *val = b[2].data, *x = b[3].data, *y = b[4].data;

	for (size_t i = 0; i < ROWS; i++) {
		double want = 0;
		const char *bad;

		for (int k = start[i]; k < start[i + 1]; k++)
			want += (double)val[k] * x[col[k]];
		bad = compare(&y[i], &want, 1, 1e-4);
		if (bad)
			return bad;
	}
	return NULL;
}

/* ---- transpose ---- */

static void transpose_prepare(struct buffer *b)
{
	fill_floats(&b[0], SQUARE * SQUARE);
	alloc(&b[1], SQUARE * SQUARE * sizeof(float));
}

static void transpose_run(struct machine *m)
{
	LAUNCH(m, "transpose", SQUARE / 32, SQUARE / 32, 32, 8, BUF(0), BUF(1), INT(SQUARE));
}

static const char *transpose_check(const struct buffer *b)
{
	const float *in = b[0].data, *out = b[1].data;

	for (size_t y = 0; y < SQUARE; y++)
		for (size_t x = 0; x < SQUARE; x++)
			if (in[y * SQUARE + x] != out[x * SQUARE + y])
				return "an element is in the wrong place";
	return NULL;
}

/* ---- bitonic sort ---- */

static int *unsorted, *sorted;

static int by_size(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void bitonic_prepare(struct buffer *b)
{
	struct buffer copy;

	fill_ints(&b[0], SORT_N);
	unsorted = alloc(&copy, b[0].bytes);
	memcpy(unsorted, b[0].data, b[0].bytes);
	sorted = alloc(&copy, b[0].bytes);
	memcpy(sorted, b[0].data, b[0].bytes);
	qsort(sorted, SORT_N, sizeof(int), by_size);
}

static void bitonic_reset(struct buffer *b)
{
	memcpy(b[0].data, unsorted, b[0].bytes);
}

static void bitonic_run(struct machine *m)
{
	for (int k = 2; k <= SORT_N; k *= 2) {
		int j = k / 2;

		for (; j >= 256; j /= 2)
			LAUNCH(m, "bitonic", SORT_N / 256, 1, 256, 1, BUF(0), INT(j), INT(k));
		LAUNCH(m, "bitonic_block", SORT_N / 256, 1, 256, 1, BUF(0), INT(j), INT(k));
	}
}

static const char *bitonic_check(const struct buffer *b)
{
	return compare_ints(b[0].data, sorted, SORT_N);
}

const struct bench benches[] = {
	{ "saxpy", 3, saxpy_prepare, NULL, saxpy_run, saxpy_check },
	{ "sgemm, tiled", 3, sgemm_prepare, NULL, sgemm_run, sgemm_check },
	{ "reduction", 4, reduce_prepare, NULL, reduce_run, reduce_check },
	{ "histogram", 2, histogram_prepare, histogram_reset, histogram_run, histogram_check },
	{ "n-body", 2, nbody_prepare, NULL, nbody_run, nbody_check },
	{ "stencil", 2, stencil_prepare, NULL, stencil_run, stencil_check },
	{ "mandelbrot", 1, mandelbrot_prepare, NULL, mandelbrot_run, mandelbrot_check },
	{ "scan", 5, scan_prepare, scan_reset, scan_run, scan_check },
	{ "softmax", 2, softmax_prepare, NULL, softmax_run, softmax_check },
	{ "spmv", 5, spmv_prepare, NULL, spmv_run, spmv_check },
	{ "transpose", 2, transpose_prepare, NULL, transpose_run, transpose_check },
	{ "bitonic sort", 1, bitonic_prepare, bitonic_reset, bitonic_run, bitonic_check },
	{ 0 }
};
