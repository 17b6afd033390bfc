// curand.cu - the toolkit's cuRAND: its kernels' numbers against those of its own generators on the host.
#include <curand.h>

#include <vector>

#include "../apps/app.h"

#define RAND(call)                                                                                 \
	do {                                                                                       \
		curandStatus_t rand_ = (call);                                                     \
		if (rand_ != CURAND_STATUS_SUCCESS) {                                              \
			fprintf(stderr, "%s:%d: %s: status %d\n", __FILE__, __LINE__, #call, (int)rand_); \
			app_fail("a call of cuRAND failed");                                       \
		}                                                                                  \
	} while (0)

static const struct {
	curandRngType_t type;
	bool is_quasi;
} kinds[] = {
	{ CURAND_RNG_PSEUDO_XORWOW, false },
	{ CURAND_RNG_PSEUDO_PHILOX4_32_10, false },
	{ CURAND_RNG_PSEUDO_MRG32K3A, false },
	{ CURAND_RNG_PSEUDO_MTGP32, false },
	{ CURAND_RNG_QUASI_SOBOL32, true },
};

int main(int argc, char **argv)
{
	const size_t n = 10000;
	std::vector<uint32_t> got(n), want(n);
	std::vector<float> normal(n);
	uint64_t sum = 0;
	uint32_t *d;

	app_args(argc, argv, sizeof(kinds) / sizeof(kinds[0]));
	CU(cudaMalloc(&d, n * 4));
	app_buffer("numbers", d, n * 4);
	for (int r = 0; r < app.rounds; r++) {
		const int kind = r % (int)(sizeof(kinds) / sizeof(kinds[0]));
		curandGenerator_t g, host;
		double mean = 0, square = 0;

		APP_ROUND(r);
		RAND(curandCreateGenerator(&g, kinds[kind].type));
		RAND(curandCreateGeneratorHost(&host, kinds[kind].type));
		if (!kinds[kind].is_quasi) {
			RAND(curandSetPseudoRandomGeneratorSeed(g, 1234 + r));
			RAND(curandSetPseudoRandomGeneratorSeed(host, 1234 + r));
		}
		RAND(curandGenerate(g, d, n));
		CU(cudaMemcpy(got.data(), d, n * 4, cudaMemcpyDeviceToHost));
		RAND(curandGenerate(host, want.data(), n));
		for (size_t i = 0; i < n; i++)
			APP_EQUAL(got[i], want[i], i);
		sum = app_sum(sum, got.data(), n * 4);
		// six deviations of the mean, and of the mean square
		RAND(curandGenerateNormal(g, (float *)d, n, 0, 1));
		CU(cudaMemcpy(normal.data(), d, n * 4, cudaMemcpyDeviceToHost));
		for (size_t i = 0; i < n; i++) {
			mean += normal[i] / n;
			square += (double)normal[i] * normal[i] / n;
		}
		APP_NEAR(mean, 0, 6 / sqrt(n), r);
		APP_NEAR(square, 1, 6 * sqrt(2.0 / n), r);
		sum = app_sum(sum, normal.data(), n * 4);
		RAND(curandDestroyGenerator(g));
		RAND(curandDestroyGenerator(host));
	}
	return app_pass(sum);
}
