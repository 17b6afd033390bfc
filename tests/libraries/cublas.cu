// cublas.cu - the toolkit's cuBLAS, unmodified: matrices and vectors of odd sizes, against plain loops in double.
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <limits>
#include <vector>

#include "../apps/app.h"

#define BLAS(call)                                                                                 \
	do {                                                                                       \
		cublasStatus_t blas_ = (call);                                                     \
		if (blas_ != CUBLAS_STATUS_SUCCESS) {                                              \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,              \
				cublasGetStatusString(blas_));                                     \
			app_fail("a call of cuBLAS failed");                                       \
		}                                                                                  \
	} while (0)

static cublasHandle_t blas;
static cudaStream_t stream;
static uint64_t sum;
static uint32_t seed = 7;

// Half a unit of the last place of a number near 1: what one rounding may add.
template <typename T> static double half_ulp();
template <> double half_ulp<float>() { return 0x1p-24; }
template <> double half_ulp<double>() { return 0x1p-53; }
template <> double half_ulp<__half>() { return 0x1p-11; }
template <> double half_ulp<__nv_bfloat16>() { return 0x1p-8; }
template <typename T> static cudaDataType type_of();
template <> cudaDataType type_of<float>() { return CUDA_R_32F; }
template <> cudaDataType type_of<double>() { return CUDA_R_64F; }
template <> cudaDataType type_of<__half>() { return CUDA_R_16F; }
template <> cudaDataType type_of<__nv_bfloat16>() { return CUDA_R_16BF; }
template <typename T> static cublasComputeType_t compute_in();
template <> cublasComputeType_t compute_in<float>() { return CUBLAS_COMPUTE_32F; }
template <> cublasComputeType_t compute_in<double>() { return CUBLAS_COMPUTE_64F; }
template <> cublasComputeType_t compute_in<__half>() { return CUBLAS_COMPUTE_16F; }

static double number(float x) { return x; }
static double number(double x) { return x; }
static double number(__half x) { return __half2float(x); }
static double number(__nv_bfloat16 x) { return __bfloat162float(x); }

// Device memory, and the same here. Exact: small integers, whose sums are exact in every type.
template <typename T> struct array {
	std::vector<T> host;
	T *device;

	array(size_t n, bool exact) : host(n)
	{
		for (size_t i = 0; i < n; i++)
			host[i] = T(exact ? (float)((int)(app_random(&seed) % 5) - 2) : app_random_float(&seed));
		CU(cudaMalloc(&device, n * sizeof(T)));
		put();
	}
	array(const array &) = delete;
	~array() { cudaFree(device); }
	void put() { CU(cudaMemcpyAsync(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice, stream)); }
	std::vector<T> get() const
	{
		std::vector<T> now(host.size());

		CU(cudaMemcpyAsync(now.data(), device, now.size() * sizeof(T), cudaMemcpyDeviceToHost, stream));
		CU(cudaStreamSynchronize(stream));
		return now;
	}
	double operator[](size_t i) const { return number(host[i]); }
};

static const char *doing;
static int doing_m, doing_n, doing_k;

static void now(const char *what, int m, int n = 1, int k = 1)
{
	doing = what;
	doing_m = m;
	doing_n = n;
	doing_k = k;
}

static void check(double got, double want, double within, size_t i)
{
	if (fabs(got - want) <= within)
		return;
	fprintf(stderr, "%s of %d x %d x %d: element %zu: got %.17g, want %.17g +- %g\n", doing, doing_m, doing_n, doing_k, i, got,
		want, within);
	app_fail("the result differs from the CPU's");
}

// A sum of products, and how far it may be off when each step rounds once.
struct total {
	double value = 0, size = 0;
	int steps = 0;

	void add(double x)
	{
		value += x;
		size += fabs(x);
		steps++;
	}
	void scale(double alpha)
	{
		value *= alpha;
		size *= fabs(alpha);
		steps++;
	}
	template <typename Sum, typename Result> double within(bool exact) const
	{
		return exact ? 0 : (steps + 2) * half_ulp<Sum>() * size + half_ulp<Result>() * fabs(value);
	}
};

/* ---- products ---- */

enum how { TYPED, EX, STRIDED, POINTERS };

static void typed(cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float *alpha, const float *a, int lda,
		  const float *b, int ldb, const float *beta, float *c, int ldc)
{
	BLAS(cublasSgemm(blas, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc));
}

static void typed(cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const double *alpha, const double *a, int lda,
		  const double *b, int ldb, const double *beta, double *c, int ldc)
{
	BLAS(cublasDgemm(blas, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc));
}

static void typed(cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const __half *alpha, const __half *a, int lda,
		  const __half *b, int ldb, const __half *beta, __half *c, int ldc)
{
	BLAS(cublasHgemm(blas, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc));
}

static void typed(cublasOperation_t, cublasOperation_t, int, int, int, const void *, const void *, int, const void *, int,
		  const void *, void *, int)
{
	app_fail("there is no such call");
}

// op(a) is m x k, op(b) k x n; in: what a and b are of, out: what c is of, acc: what is computed in.
template <typename In, typename Out, typename Acc>
static void product(how how, bool ta, bool tb, int m, int n, int k, int pad, float alpha_, float beta_, bool exact, bool on_device)
{
	static const char *const names[] = { "gemm", "gemmEx", "gemmStridedBatched", "gemmBatched" };
	const int lda = (ta ? k : m) + pad, ldb = (tb ? n : k) + pad, ldc = m + pad, count = how >= STRIDED ? 3 : 1;
	const size_t sa = (size_t)lda * (ta ? m : k) + pad, sb = (size_t)ldb * (tb ? k : n) + pad, sc = (size_t)ldc * n + pad;
	const cublasOperation_t oa = ta ? CUBLAS_OP_T : CUBLAS_OP_N, ob = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
	array<In> a(sa * count, exact), b(sb * count, exact);
	array<Out> c(sc * count, exact);
	array<Acc> scale(2, exact);
	const Acc *alpha = &scale.host[0], *beta = &scale.host[1];

	now(names[how], m, n, k);
	scale.host[0] = Acc(alpha_);
	scale.host[1] = Acc(beta_);
	scale.put();
	// what is in c counts for nothing when beta is 0, be it NaN
	for (size_t i = 0; beta_ == 0 && i < c.host.size(); i++)
		c.host[i] = Out(std::numeric_limits<float>::quiet_NaN());
	c.put();
	if (on_device) {
		BLAS(cublasSetPointerMode(blas, CUBLAS_POINTER_MODE_DEVICE));
		alpha = scale.device;
		beta = scale.device + 1;
	}
	switch (how) {
	case TYPED:
		typed(oa, ob, m, n, k, alpha, a.device, lda, b.device, ldb, beta, c.device, ldc);
		break;
	case EX:
		BLAS(cublasGemmEx(blas, oa, ob, m, n, k, alpha, a.device, type_of<In>(), lda, b.device, type_of<In>(), ldb, beta,
				  c.device, type_of<Out>(), ldc, compute_in<Acc>(), CUBLAS_GEMM_DEFAULT));
		break;
	case STRIDED:
		BLAS(cublasGemmStridedBatchedEx(blas, oa, ob, m, n, k, alpha, a.device, type_of<In>(), lda, sa, b.device,
						type_of<In>(), ldb, sb, beta, c.device, type_of<Out>(), ldc, sc, count,
						compute_in<Acc>(), CUBLAS_GEMM_DEFAULT));
		break;
	case POINTERS: {
		array<double> pointers(3 * count, exact);
		const void *p[9];

		for (int i = 0; i < count; i++) {
			p[i] = a.device + i * sa;
			p[count + i] = b.device + i * sb;
			p[2 * count + i] = c.device + i * sc;
		}
		memcpy(pointers.host.data(), p, sizeof(p));
		pointers.put();
		BLAS(cublasGemmBatchedEx(blas, oa, ob, m, n, k, alpha, (const void **)pointers.device, type_of<In>(), lda,
					 (const void **)pointers.device + count, type_of<In>(), ldb, beta,
					 (void **)pointers.device + 2 * count, type_of<Out>(), ldc, count, compute_in<Acc>(),
					 CUBLAS_GEMM_DEFAULT));
		CU(cudaStreamSynchronize(stream));
		break;
	}
	}
	BLAS(cublasSetPointerMode(blas, CUBLAS_POINTER_MODE_HOST));

	std::vector<Out> got = c.get();
	for (int i = 0; i < count; i++) {
		const size_t at_a = i * sa, at_b = i * sb, at_c = i * sc;

		for (int column = 0; column < n; column++)
			for (int row = 0; row < m; row++) {
				const size_t at = at_c + (size_t)column * ldc + row;
				total t;

				for (int l = 0; l < k; l++)
					t.add(a[at_a + (ta ? l + (size_t)row * lda : row + (size_t)l * lda)] *
					      b[at_b + (tb ? column + (size_t)l * ldb : l + (size_t)column * ldb)]);
				t.scale(alpha_);
				if (beta_ != 0)
					t.add(beta_ * c[at]);
				check(number(got[at]), t.value, t.within<Acc, Out>(exact), at);
			}
		// what lies between the columns is not the call's
		for (int column = 0; column < n; column++)
			if (pad && memcmp(&got[at_c + (size_t)column * ldc + m], &c.host[at_c + (size_t)column * ldc + m],
					  pad * sizeof(Out)) != 0)
				app_fail("something was written between the columns");
	}
	sum = app_sum(sum, got.data(), got.size() * sizeof(Out));
}

static int pick(const int *sizes, int nr, int i)
{
	return sizes[i % nr];
}

// One of twelve kinds, of sizes, transposes and factors that the round says.
static void products(int kind, int r)
{
	static const int sizes[] = { 17, 65, 1, 33, 127, 3, 31, 255, 64, 5, 128, 96 };
	const int m = pick(sizes, 12, r), n = pick(sizes, 12, r * 5 + 2), k = pick(sizes, 12, r * 7 + 3);
	const int m63 = 1 + m % 63, n63 = 1 + n % 63, k63 = 1 + k % 63, pad = r % 3 == 0 ? 0 : 3;
	const bool exact = r & 1, ta = r & 2, tb = r & 4, on_device = r % 5 == 3;
	const float alpha = r % 4 == 3 ? -2 : 1, beta = r % 5 == 2 ? 0.5f : r % 5 == 4 ? 1 : 0;

	switch (kind) {
	case 0:
		return product<float, float, float>(TYPED, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	case 1:
		return product<double, double, double>(TYPED, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	case 2:		// computed in 16 bits: numbers that are exact there, or nothing is known of the sum
		return product<__half, __half, __half>(TYPED, ta, tb, m, n, k, pad, alpha, beta, true, on_device);
	case 3:
		return product<__half, float, float>(EX, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	case 4:
		return product<__half, __half, float>(EX, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	case 5:
		return product<__nv_bfloat16, __nv_bfloat16, float>(EX, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	case 6:
		return product<__nv_bfloat16, float, float>(EX, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	case 7:
		return product<float, float, float>(STRIDED, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	case 8:
		return product<double, double, double>(STRIDED, ta, tb, m63, n63, k63, pad, alpha, beta, exact, on_device);
	case 9:
		return product<__half, __half, float>(STRIDED, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	case 10:
		return product<float, float, float>(POINTERS, ta, tb, m, n, k, pad, alpha, beta, exact, on_device);
	default:
		return product<double, double, double>(POINTERS, ta, tb, m63, n63, k63, pad, alpha, beta, exact, on_device);
	}
}

/* ---- vectors, matrices with vectors, solvers; for S and D alike ---- */

template <typename T> struct calls;
#define CALLS(T, L)                                                                                \
	template <> struct calls<T> {                                                              \
		static constexpr auto dot = cublas##L##dot_v2;                                     \
		static constexpr auto nrm2 = cublas##L##nrm2_v2;                                   \
		static constexpr auto asum = cublas##L##asum_v2;                                   \
		static constexpr auto iamax = cublasI##L##amax_v2;                                 \
		static constexpr auto axpy = cublas##L##axpy_v2;                                   \
		static constexpr auto scal = cublas##L##scal_v2;                                   \
		static constexpr auto gemv = cublas##L##gemv_v2;                                   \
		static constexpr auto ger = cublas##L##ger_v2;                                     \
		static constexpr auto trsm = cublas##L##trsm_v2;                                   \
		static constexpr auto syrk = cublas##L##syrk_v2;                                   \
	};
#define cublasIS cublasIs
#define cublasID cublasId
#define cublasISamax_v2 cublasIsamax_v2
#define cublasIDamax_v2 cublasIdamax_v2
CALLS(float, S)
CALLS(double, D)

template <typename T> static void vectors(int n, int inc, bool exact, bool on_device)
{
	array<T> x((size_t)n * inc, exact), y((size_t)n * inc, exact), out(4, exact);
	array<int> place(1, exact);
	T result[3], alpha = T(-1.5), *r = on_device ? out.device : result;
	total dot, squares, absolute;
	int index = 0, *at = on_device ? place.device : &index, want = 0;

	for (int i = 0; i < n; i++) {
		dot.add(x[(size_t)i * inc] * y[(size_t)i * inc]);
		squares.add(x[(size_t)i * inc] * x[(size_t)i * inc]);
		absolute.add(fabs(x[(size_t)i * inc]));
		if (fabs(x[(size_t)i * inc]) > fabs(x[(size_t)want * inc]))
			want = i;
	}
	BLAS(cublasSetPointerMode(blas, on_device ? CUBLAS_POINTER_MODE_DEVICE : CUBLAS_POINTER_MODE_HOST));
	BLAS(calls<T>::dot(blas, n, x.device, inc, y.device, inc, r));
	BLAS(calls<T>::nrm2(blas, n, x.device, inc, r + 1));
	BLAS(calls<T>::asum(blas, n, x.device, inc, r + 2));
	BLAS(calls<T>::iamax(blas, n, x.device, inc, at));
	if (on_device) {
		memcpy(result, out.get().data(), sizeof(result));
		index = place.get()[0];
	}
	BLAS(cublasSetPointerMode(blas, CUBLAS_POINTER_MODE_HOST));
	now("dot", n);
	check(result[0], dot.value, dot.within<T, T>(exact), 0);
	now("nrm2", n);
	check(result[1], sqrt(squares.value), (n + 4) * half_ulp<T>() * sqrt(squares.value), 0);
	now("asum", n);
	check(result[2], absolute.value, absolute.within<T, T>(exact), 0);
	now("iamax", n);
	check(index, want + 1, 0, 0);
	sum = app_sum(sum, result, sizeof(result));

	BLAS(calls<T>::axpy(blas, n, &alpha, x.device, inc, y.device, inc));
	BLAS(calls<T>::scal(blas, n, &alpha, x.device, inc));
	std::vector<T> sx = x.get(), sy = y.get();
	for (size_t i = 0; i < x.host.size(); i++) {
		bool in = i % inc == 0;
		double ax = (double)alpha * x[i];

		now("axpy", n);
		check(sy[i], in ? ax + y[i] : y[i], exact || !in ? 0 : half_ulp<T>() * (2 * fabs(ax) + fabs(y[i])), i);
		now("scal", n);
		check(sx[i], in ? ax : x[i], exact || !in ? 0 : half_ulp<T>() * fabs(ax), i);
	}
	sum = app_sum(sum, sy.data(), sy.size() * sizeof(T));
}

template <typename T> static void matrices(int m, int n, int pad, bool exact)
{
	const int ld = m + pad;
	const T alpha = 2, beta = T(-0.5), zero = 0;

	for (int trans = 0; trans < 2; trans++) {
		array<T> a((size_t)ld * n, exact), x(trans ? m : n, exact), y(trans ? n : m, exact);

		now(trans ? "gemv, transposed" : "gemv", m, n);
		BLAS(calls<T>::gemv(blas, trans ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, &alpha, a.device, ld, x.device, 1, &beta,
				    y.device, 1));
		std::vector<T> got = y.get();
		for (int i = 0; i < (trans ? n : m); i++) {
			total t;

			for (int j = 0; j < (trans ? m : n); j++)
				t.add(a[trans ? j + (size_t)i * ld : i + (size_t)j * ld] * x[j]);
			t.scale(alpha);
			t.add(beta * y[i]);
			check(got[i], t.value, t.within<T, T>(exact), i);
		}
		sum = app_sum(sum, got.data(), got.size() * sizeof(T));
	}
	{
		array<T> a((size_t)ld * n, exact), x(m, exact), y(n, exact);

		now("ger", m, n);
		BLAS(calls<T>::ger(blas, m, n, &alpha, x.device, 1, y.device, 1, a.device, ld));
		std::vector<T> got = a.get();
		for (int j = 0; j < n; j++)
			for (int i = 0; i < ld; i++) {
				double xy = i < m ? alpha * x[i] * y[j] : 0, old = a[i + (size_t)j * ld];

				check(got[i + (size_t)j * ld], xy + old,
				      exact || i >= m ? 0 : half_ulp<T>() * (3 * fabs(xy) + 2 * fabs(old)), i);
			}
		sum = app_sum(sum, got.data(), got.size() * sizeof(T));
	}
	{
		array<T> a((size_t)ld * n, exact), c((size_t)m * m, exact);

		now("syrk", m, n);
		BLAS(calls<T>::syrk(blas, CUBLAS_FILL_MODE_LOWER, CUBLAS_OP_N, m, n, &alpha, a.device, ld, &zero, c.device, m));
		std::vector<T> got = c.get();
		for (int j = 0; j < m; j++)
			for (int i = 0; i < m; i++) {
				total t;

				for (int l = 0; i >= j && l < n; l++)
					t.add(a[i + (size_t)l * ld] * a[j + (size_t)l * ld]);
				t.scale(alpha);
				check(got[i + (size_t)j * m], i >= j ? t.value : c[i + (size_t)j * m],
				      i >= j ? t.within<T, T>(exact) : 0, i + (size_t)j * m);
			}
		sum = app_sum(sum, got.data(), got.size() * sizeof(T));
	}
	{
		// a * x = alpha * b for a lower triangle with a strong diagonal: how far a * x is from it
		array<T> a((size_t)ld * (m + pad), false), b((size_t)m * n, false);

		now("trsm", m, n);
		for (int i = 0; i < m; i++)
			a.host[i + (size_t)i * ld] = T(m);
		a.put();
		BLAS(calls<T>::trsm(blas, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER, CUBLAS_OP_N, CUBLAS_DIAG_NON_UNIT, m, n, &alpha,
				    a.device, ld, b.device, m));
		std::vector<T> got = b.get();
		for (int j = 0; j < n; j++)
			for (int i = 0; i < m; i++) {
				total t;

				for (int l = 0; l <= i; l++)
					t.add(a[i + (size_t)l * ld] * number(got[l + (size_t)j * m]));
				check(t.value, alpha * b[i + (size_t)j * m],
				      (2 * m + 8) * half_ulp<T>() * (t.size + fabs(alpha * b[i + (size_t)j * m])), i);
			}
		sum = app_sum(sum, got.data(), got.size() * sizeof(T));
	}
}

// One of sixteen kinds of calls; all of them in sixteen rounds.
static void one_kind(int r)
{
	static const int lengths[] = { 1, 3, 17, 33, 255, 1000, 4097 };
	static const int sides[] = { 33, 17, 1, 65, 3, 31, 96 };
	const int kind = r % 16, i = r / 16, n = pick(lengths, 7, i + 4), m = pick(sides, 7, i), k = pick(sides, 7, i * 3 + 1);

	switch (kind) {
	case 12:
		return vectors<float>(n, 1 + i % 2, i & 2, i & 1);
	case 13:
		return vectors<double>(n, 1 + i % 3, i & 1, !(i & 2));
	case 14:
		return matrices<float>(m, k, i % 3, i & 1);
	case 15:
		return matrices<double>(k, m, i % 2, i & 2);
	default:
		return products(kind, kind + 5 * i);
	}
}

int main(int argc, char **argv)
{
	float *kept, *rotation, host[48 * 48];
	const float one = 1, half = 0.5f;
	int version;

	app_args(argc, argv, 16);
	CU(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
	BLAS(cublasCreate(&blas));
	BLAS(cublasSetStream(blas, stream));
	BLAS(cublasGetVersion(blas, &version));
	printf("cuBLAS %d\n", version);
	// what is carried from round to round: half of what was kept, and a product
	CU(cudaMalloc(&kept, sizeof(host)));
	CU(cudaMalloc(&rotation, sizeof(host)));
	app_buffer("kept", kept, sizeof(host));
	app_buffer("rotation", rotation, sizeof(host));
	for (int i = 0; i < 48 * 48; i++)
		host[i] = app_random_float(&seed);
	CU(cudaMemcpy(kept, host, sizeof(host), cudaMemcpyHostToDevice));
	for (int i = 0; i < 48 * 48; i++)
		host[i] = i % 49 == 1 ? 0.5f : 0;
	CU(cudaMemcpy(rotation, host, sizeof(host), cudaMemcpyHostToDevice));
	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		BLAS(cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_T, 48, 48, 48, &one, rotation, 48, rotation, 48, &half, kept, 48));
		one_kind(r);
	}
	CU(cudaStreamSynchronize(stream));
	CU(cudaMemcpy(host, kept, sizeof(host), cudaMemcpyDeviceToHost));
	sum = app_sum(sum, host, sizeof(host));
	BLAS(cublasDestroy(blas));
	return app_pass(sum);
}
