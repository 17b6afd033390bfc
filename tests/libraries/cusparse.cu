// cusparse.cu - the toolkit's cuSPARSE: a sparse matrix times a vector, in small integers, that is exact.
#include <cusparse.h>

#include <vector>

#include "../apps/app.h"

#define N 1001

#define SPARSE(call)                                                                               \
	do {                                                                                       \
		cusparseStatus_t sparse_ = (call);                                                 \
		if (sparse_ != CUSPARSE_STATUS_SUCCESS) {                                          \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,              \
				cusparseGetErrorString(sparse_));                                  \
			app_fail("a call of cuSPARSE failed");                                     \
		}                                                                                  \
	} while (0)

template <typename T> static T *on_device(const std::vector<T> &v)
{
	T *d;

	CU(cudaMalloc(&d, v.size() * sizeof(T)));
	CU(cudaMemcpy(d, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
	return d;
}

int main(int argc, char **argv)
{
	static const cusparseSpMVAlg_t algorithms[] = {
		CUSPARSE_SPMV_ALG_DEFAULT, CUSPARSE_SPMV_CSR_ALG1, CUSPARSE_SPMV_CSR_ALG2,
	};
	const float alpha = 2, beta = 1;
	std::vector<int> row(1, 0), column;
	std::vector<float> value, x(N), y(N), got(N);
	cusparseHandle_t handle;
	cusparseSpMatDescr_t a;
	cusparseDnVecDescr_t vx, vy;
	float *dx, *dy;
	uint64_t sum = 0;

	app_args(argc, argv, 6);
	// some rows are empty, most have a few elements, one is long
	for (int i = 0; i < N; i++) {
		for (int j = 0; j < N; j++)
			if (i == 500 ? j % 2 == 0 : i % 5 != 3 && (i * 7 + j * 13) % 229 < 1 + i % 3) {
				column.push_back(j);
				value.push_back((float)((i + j) % 5 - 2));
			}
		row.push_back((int)column.size());
		x[i] = (float)(i % 7 - 3);
		y[i] = (float)(i % 3);
	}
	dx = on_device(x);
	dy = on_device(y);
	app_buffer("x", dx, N * 4);
	app_buffer("y", dy, N * 4);
	SPARSE(cusparseCreate(&handle));
	SPARSE(cusparseCreateCsr(&a, N, N, (int64_t)column.size(), on_device(row), on_device(column), on_device(value),
				 CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, CUDA_R_32F));
	SPARSE(cusparseCreateDnVec(&vx, N, dx, CUDA_R_32F));
	SPARSE(cusparseCreateDnVec(&vy, N, dy, CUDA_R_32F));
	for (int r = 0; r < app.rounds; r++) {
		const bool transposed = r & 1;
		const cusparseOperation_t op = transposed ? CUSPARSE_OPERATION_TRANSPOSE : CUSPARSE_OPERATION_NON_TRANSPOSE;
		const cusparseSpMVAlg_t algorithm = algorithms[r / 2 % 3];
		std::vector<double> want(N);
		size_t bytes;
		void *space;

		APP_ROUND(r);
		CU(cudaMemcpy(dy, y.data(), N * 4, cudaMemcpyHostToDevice));
		SPARSE(cusparseSpMV_bufferSize(handle, op, &alpha, a, vx, &beta, vy, CUDA_R_32F, algorithm, &bytes));
		CU(cudaMalloc(&space, bytes ? bytes : 1));
		SPARSE(cusparseSpMV(handle, op, &alpha, a, vx, &beta, vy, CUDA_R_32F, algorithm, space));
		CU(cudaMemcpy(got.data(), dy, N * 4, cudaMemcpyDeviceToHost));
		CU(cudaFree(space));
		for (int i = 0; i < N; i++)
			for (int k = row[i]; k < row[i + 1]; k++)
				want[transposed ? column[k] : i] += value[k] * x[transposed ? i : column[k]];
		for (int i = 0; i < N; i++)
			APP_EQUAL(got[i], alpha * want[i] + beta * y[i], i);
		sum = app_sum(sum, got.data(), N * 4);
	}
	SPARSE(cusparseDestroy(handle));
	return app_pass(sum);
}
