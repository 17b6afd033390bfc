/* gemm.cu - products of matrices by tensor-core instructions; tests/ptx/nvcc13_gemm.ptx is what nvcc makes of it. */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>
#include <stdint.h>

using namespace nvcuda;

/* C = A * B, all by rows; a block of 4 warps makes 32 x 32, staged in shared memory. n is a multiple of 32. */
template <typename T, typename S> __device__ void staged(const T *a, const T *b, S *c, int n)
{
	__shared__ __align__(32) T sa[32][32], sb[32][32];
	int warp = threadIdx.x / 32, row = warp / 2 * 16, col = warp % 2 * 16;
	wmma::fragment<wmma::accumulator, 16, 16, 16, S> fc;

	wmma::fill_fragment(fc, S(0));
	for (int k = 0; k < n; k += 32) {
		for (int i = threadIdx.x; i < 32 * 32; i += blockDim.x) {
			sa[i / 32][i % 32] = a[(blockIdx.y * 32 + i / 32) * n + k + i % 32];
			sb[i / 32][i % 32] = b[(k + i / 32) * n + blockIdx.x * 32 + i % 32];
		}
		__syncthreads();
		for (int kk = 0; kk < 32; kk += 16) {
			wmma::fragment<wmma::matrix_a, 16, 16, 16, T, wmma::row_major> fa;
			wmma::fragment<wmma::matrix_b, 16, 16, 16, T, wmma::row_major> fb;

			wmma::load_matrix_sync(fa, &sa[row][kk], 32);
			wmma::load_matrix_sync(fb, &sb[kk][col], 32);
			wmma::mma_sync(fc, fa, fb, fc);
		}
		__syncthreads();
	}
	for (int i = 0; i < fc.num_elements; i++)
		fc.x[i] = fc.x[i] + fc.x[i];
	wmma::store_matrix_sync(c + (blockIdx.y * 32 + row) * n + blockIdx.x * 32 + col, fc, n, wmma::mem_row_major);
}

extern "C" __global__ void gemm_half(const half *a, const half *b, float *c, int n) { staged(a, b, c, n); }
extern "C" __global__ void gemm_bf16(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int n) { staged(a, b, c, n); }
extern "C" __global__ void gemm_int8(const signed char *a, const signed char *b, int *c, int n) { staged(a, b, c, n); }

/* The same by a warp for each 16 x 8, straight from memory. */
extern "C" __global__ void gemm_double(const double *a, const double *b, double *c, int n)
{
	wmma::fragment<wmma::matrix_a, 8, 8, 4, double, wmma::row_major> fa;
	wmma::fragment<wmma::matrix_b, 8, 8, 4, double, wmma::row_major> fb;
	wmma::fragment<wmma::accumulator, 8, 8, 4, double> fc;

	wmma::fill_fragment(fc, 0.0);
	for (int k = 0; k < n; k += 4) {
		wmma::load_matrix_sync(fa, a + blockIdx.y * 8 * n + k, n);
		wmma::load_matrix_sync(fb, b + k * n + blockIdx.x * 8, n);
		wmma::mma_sync(fc, fa, fb, fc);
	}
	wmma::store_matrix_sync(c + blockIdx.y * 8 * n + blockIdx.x * 8, fc, n, wmma::mem_row_major);
}

/* mma.sync with ldmatrix: a block of one warp makes 16 x 16 of halves. */
extern "C" __global__ void gemm_ldmatrix(const half *a, const half *b, float *c, int n)
{
	__shared__ __align__(16) half sa[16][24], sb[16][24];
	int lane = threadIdx.x;
	float d[2][4] = {};

	for (int k = 0; k < n; k += 16) {
		unsigned ra[4], rb[4];

		for (int i = lane; i < 32; i += 32) {
			*(uint4 *)&sa[i / 2][i % 2 * 8] = *(const uint4 *)&a[(blockIdx.y * 16 + i / 2) * n + k + i % 2 * 8];
			*(uint4 *)&sb[i / 2][i % 2 * 8] = *(const uint4 *)&b[(k + i / 2) * n + blockIdx.x * 16 + i % 2 * 8];
		}
		__syncwarp();
		unsigned pa = (unsigned)__cvta_generic_to_shared(&sa[lane % 16][lane / 16 * 8]);
		unsigned pb = (unsigned)__cvta_generic_to_shared(&sb[lane % 16][lane / 16 * 8]);
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
			     : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3]) : "r"(pa) : "memory");
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
			     : "=r"(rb[0]), "=r"(rb[1]), "=r"(rb[2]), "=r"(rb[3]) : "r"(pb) : "memory");
		for (int j = 0; j < 2; j++)
			asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
				     : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
				     : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[2 * j]), "r"(rb[2 * j + 1]));
		__syncwarp();
	}
	for (int j = 0; j < 2; j++)
		for (int i = 0; i < 4; i++)
			c[(blockIdx.y * 16 + lane / 4 + i / 2 * 8) * n + blockIdx.x * 16 + j * 8 + lane % 4 * 2 + i % 2] = d[j][i] * 2;
}
