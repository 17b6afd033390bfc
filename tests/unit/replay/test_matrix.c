/* test_matrix.c - matrices on the CPU target: what the conformance suite (tests/ptx/conform), which has all forms, does not try. */
#include "tests/unit/replay/kernel_test.h"

#define MATRIX_RUN run_all_ways
#include "tests/unit/matrix_cases.h"

Test(matrix, lanes_meet)
{
	lanes_meet_at_a_matrix();
}

Test(matrix, products_without_avx)
{
	setenv("HGSHIM_ISA", "sse", 1);
	check_mma("m16n8k16", "", 16, 8, 16, F64, F64, F64, F64, "row", "col", false, 0);
	check_mma("m16n8k8", "", 16, 8, 8, TF32, TF32, F32, F32, "row", "col", false, 0);
	check_mma("m16n8k16", "", 16, 8, 16, F16, F16, F16, F16, "row", "col", false, 0);
	check_mma("m16n8k32", "", 16, 8, 32, E4M3, E5M2, F32, F32, "row", "col", false, 0);
	check_mma("m16n8k64", ".satfinite", 16, 8, 64, S4, U4, S32, S32, "row", "col", true, 0);
}

/* Only lanes that have a row need an address that is one. */
Test(matrix, a_row_that_is_not_aligned_is_a_fault)
{
	static const char ptx[] = KERNEL(".shared .align 16 .b8 sh[1024]; ld.param.u32 %r1, [n]; mov.u32 %r2, %tid.x; shl.b32 %r3, %r2, 4;\n"
					 "setp.ge.u32 %p1, %r2, %r1; @%p1 add.u32 %r3, %r3, 2; mov.u32 %r4, sh; add.u32 %r3, %r3, %r4;\n"
					 "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r5, %r6}, [%r3]; ret;");
	struct { void *p; uint32_t n; } params = { NULL, 16 };
	struct kernel_run r = { .block = { 32 }, .params = &params };
	struct hg_grid g = grid_of(&r);
	struct hg_fault fault = { .what = "" };
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k = kernel_of(ptx, &m, &cm);

	catch_messages();
	cr_assert_eq(hg_grid_run(k, &g, &fault), HG_OK, "%s", fault.what);
	params.n = 15;
	cr_assert_eq(hg_grid_run(k, &g, &fault), HG_ERR_FAULT);
	cr_expect(strstr(fault.what, "line 9"), "%s", fault.what);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
}

/* ---- what nvcc makes of tests/ptx/gemm.cu, against the sums in the same order ---- */

enum { N = 64 };

static void check_gemm(const char *name, enum elem in, enum elem out, uint32_t tile, uint32_t threads)
{
	unsigned int bits = elem_info[in].bits, out_bits = elem_info[out].bits;
	unsigned char *a = aligned_alloc(256, N * N * 8), *b = aligned_alloc(256, N * N * 8), *c = aligned_alloc(256, N * N * 8);
	struct { const void *a, *b; void *c; int n; } params = { a, b, c, N };
	struct hg_grid g = { .grid = { N / tile, N / tile, 1 }, .block = { threads, 1, 1 }, .params = &params, .id = 1 };
	struct hg_fault fault = { .what = "" };
	size_t size, index = 0;
	char *text = read_test_file("tests/ptx/nvcc13_gemm.ptx", &size);
	struct hg_module *m = load_text(text);
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;

	setenv("HGSHIM_CACHE", "0", 1);
	while (index < hg_module_nr_kernels(m) && strcmp(hg_module_kernel(m, index)->name, name))
		index++;
	cr_assert_eq(hg_cpu_module_create(m, &cm), HG_OK);
	cr_assert_eq(hg_cpu_kernel_get(cm, index, &k), HG_OK);
	for (int way = 0; way < 3; way++) {
		if (way == 1)
			hg_cpu_kernel_wait(k);
		g.any_order = way == 2;
		for (size_t i = 0; i < N * N; i++) {
			put_bits(a, i, bits, random_elem(in, 2));
			put_bits(b, i, bits, random_elem(in, 2));
		}
		memset(c, 0xff, N * N * 8);
		cr_assert_eq(hg_grid_run(k, &g, &fault), HG_OK, "%s: %s", name, fault.what);
		for (size_t i = 0; i < N * N; i++) {
			double d = 0;
			float f = 0;
			int32_t s = 0;
			uint32_t u;
			uint64_t want;

			for (size_t j = 0; j < N; j++) {
				double x = value(in, get_bits(a, i / N * N + j, bits)), y = value(in, get_bits(b, j * N + i % N, bits));

				d = fma(x, y, d);
				f = fmaf((float)x, (float)y, f);
				s += out == S32 ? (int32_t)x * (int32_t)y : 0;
			}
			f *= 2;
			memcpy(&u, &f, sizeof(u));
			memcpy(&want, &d, sizeof(want));
			want = out == F64 ? want : out == S32 ? (uint32_t)(2 * s) : u;
			cr_assert_eq(get_bits(c, i, out_bits), want, "%s, element %zu: %llx, not %llx", name, i,
				     (unsigned long long)get_bits(c, i, out_bits), (unsigned long long)want);
		}
	}
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	free(text);
	free(a);
	free(b);
	free(c);
}

Test(matrix, products_of_nvcc)
{
	check_gemm("gemm_half", F16, F32, 32, 128);
	check_gemm("gemm_bf16", BF16, F32, 32, 128);
	check_gemm("gemm_int8", S8, S32, 32, 128);
	check_gemm("gemm_double", F64, F64, 8, 32);
	check_gemm("gemm_ldmatrix", F16, F32, 16, 32);
}
