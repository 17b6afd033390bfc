/* test_heap.c - malloc and free in kernels: the support library, linked into the modules that need it. */
#include <stdlib.h>
#include <string.h>

#include "driver_test.h"
#include "translate/module.h"

#define HEAD ".version 8.0\n.target sm_70\n.address_size 64\n" \
	".extern .func (.param .b64 r) malloc (.param .b64 n);\n.extern .func free (.param .b64 p);\n"
#define MALLOC(to, bytes) "{ .param .b64 i; .param .b64 o; st.param.b64 [i], " bytes "; call (o), malloc, (i); ld.param.b64 " to ", [o]; }\n"
#define FREE(p) "{ .param .b64 i; st.param.b64 [i], " p "; call free, (i); }\n"
/* place: out[global thread] is at %rd1, the thread's number in %r1 */
#define KERNEL(name) ".visible .entry " name "(.param .u64 p) { .reg .pred %p<5>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n" \
	"ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r1, %r2, %r3, %r1;\n" \
	"mul.wide.u32 %rd2, %r1, 8; add.u64 %rd1, %rd1, %rd2;\n"

/* take: a block of 8 + 16 * (thread % 7) bytes, its number at both ends. give: checks that, frees it. churn: takes and gives again and again */
static const char ptx[] = HEAD
	KERNEL("take") "rem.u32 %r2, %r1, 7; mul.wide.u32 %rd3, %r2, 16; add.u64 %rd4, %rd3, 8;\n" MALLOC("%rd5", "%rd4")
	"st.global.u64 [%rd1], %rd5; setp.eq.u64 %p1, %rd5, 0; @%p1 ret;\n"
	"add.u64 %rd6, %rd5, %rd3; st.u32 [%rd5], %r1; st.u32 [%rd6+4], %r1; ret; }\n"
	KERNEL("give") "ld.global.u64 %rd5, [%rd1]; rem.u32 %r2, %r1, 7; mul.wide.u32 %rd3, %r2, 16; add.u64 %rd6, %rd5, %rd3;\n"
	"ld.u32 %r3, [%rd6+4]; setp.ne.u32 %p1, %r3, %r1; @%p1 trap;\n" FREE("%rd5") "ret; }\n"
	KERNEL("churn") "mov.u32 %r4, 0; $l: add.u32 %r2, %r4, %r1; and.b32 %r2, %r2, 15; mul.wide.u32 %rd3, %r2, 24; add.u64 %rd3, %rd3, 8;\n"
	MALLOC("%rd5", "%rd3") "setp.eq.u64 %p1, %rd5, 0; @%p1 trap; st.u64 [%rd5], %rd1; ld.volatile.u64 %rd6, [%rd5];\n"
	"setp.ne.u64 %p1, %rd6, %rd1; @%p1 trap;\n" FREE("%rd5") "add.u32 %r4, %r4, 1; setp.lt.u32 %p1, %r4, 50; @%p1 bra $l; ret; }\n"
	KERNEL("large") MALLOC("%rd3", "1000000") "st.global.u64 [%rd1], %rd3; ret; }\n";

enum { N = 1024 };

static void launch(CUmodule module, const char *name, CUdeviceptr out, unsigned int blocks, unsigned int threads)
{
	void *params[] = { &out };
	CUfunction f;

	MUST(CU(cuModuleGetFunction)(&f, module, name));
	MUST(CU(cuLaunchKernel)(f, blocks, 1, 1, threads, 1, 1, 0, NULL, params, NULL));
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

Test(heap, blocks_are_apart_and_are_used_again_by_whichever_module)
{
	static uint64_t at[N], again[N];
	CUmodule one, two;
	CUdeviceptr out;

	driver_begin();
	MUST(CU(cuModuleLoadData)(&one, ptx));
	MUST(CU(cuModuleLoadData)(&two, ptx));
	MUST(CU(cuMemAlloc_v2)(&out, sizeof(at)));
	launch(one, "take", out, N / 128, 128);
	MUST(CU(cuMemcpyDtoH_v2)(at, out, sizeof(at)));
	for (int i = 0; i < N; i++)
		cr_assert(at[i] && at[i] % 16 == 0, "thread %d: %llx", i, (unsigned long long)at[i]);
	qsort(at, N, sizeof(at[0]), by_value);
	for (int i = 1; i < N; i++)
		cr_assert_geq(at[i] - at[i - 1], 32);
	/* freed by another module's code; the first one's heap has them again */
	launch(two, "give", out, N / 128, 128);
	launch(one, "churn", out, N / 128, 128);
	launch(one, "take", out, N / 128, 128);
	MUST(CU(cuMemcpyDtoH_v2)(again, out, sizeof(again)));
	for (int i = 0; i < N; i++)
		cr_assert(again[i] >= at[0] && again[i] < at[0] + (1u << 20), "thread %d: %llx", i, (unsigned long long)again[i]);
	MUST(CU(cuCtxSynchronize)());
}

Test(heap, is_as_large_as_its_limit_and_then_gives_null)
{
	static uint64_t at[32];
	size_t limit = 0, nr = 0;
	CUmodule module;
	CUdeviceptr out;

	driver_begin();
	MUST(CU(cuCtxGetLimit)(&limit, CU_LIMIT_MALLOC_HEAP_SIZE));
	cr_expect_eq(limit, 8u << 20);
	MUST(CU(cuCtxSetLimit)(CU_LIMIT_MALLOC_HEAP_SIZE, 16u << 20));
	MUST(CU(cuModuleLoadData)(&module, ptx));
	MUST(CU(cuMemAlloc_v2)(&out, sizeof(at)));
	launch(module, "large", out, 1, 32);
	MUST(CU(cuMemcpyDtoH_v2)(at, out, sizeof(at)));
	for (int i = 0; i < 32; i++)
		nr += at[i] != 0;
	/* a block of 1000000 bytes takes 1 MiB */
	cr_expect_eq(nr, 16);
}

Test(heap, a_limit_that_no_memory_has_is_out_of_memory)
{
	CUmodule module;

	driver_begin();
	MUST(CU(cuCtxSetLimit)(CU_LIMIT_MALLOC_HEAP_SIZE, SIZE_MAX));
	GIVES(CUDA_ERROR_OUT_OF_MEMORY, CU(cuModuleLoadData)(&module, ptx));
	MUST(CU(cuCtxSetLimit)(CU_LIMIT_MALLOC_HEAP_SIZE, 1u << 20));
	MUST(CU(cuModuleLoadData)(&module, ptx));
}

Test(heap, a_variable_of_its_name_that_has_no_room_for_its_size_is_a_variable)
{
	static const char text[] = ".version 8.0\n.target sm_70\n.address_size 64\n.global .u32 " HG_HEAP_NAME " = 7;\n"
		KERNEL("k") "ld.global.u32 %r4, [" HG_HEAP_NAME "]; cvt.u64.u32 %rd3, %r4; st.global.u64 [%rd1], %rd3; ret; }\n";
	uint64_t got = 0;
	CUmodule module;
	CUdeviceptr out;

	driver_begin();
	MUST(CU(cuMemAlloc_v2)(&out, 64));
	MUST(CU(cuModuleLoadData)(&module, text));
	launch(module, "k", out, 1, 1);
	MUST(CU(cuMemcpyDtoH_v2)(&got, out, sizeof(got)));
	cr_expect_eq(got, 7);
}

Test(heap, a_second_free_is_an_assertion)
{
	static const char twice[] = HEAD KERNEL("k") MALLOC("%rd3", "8") FREE("%rd3") FREE("%rd3") "ret; }\n";
	static const char null[] = HEAD KERNEL("k") FREE("0") MALLOC("%rd3", "0") "st.global.u64 [%rd1], %rd3; ret; }\n";
	uint64_t got = 1;
	CUmodule module;
	CUdeviceptr out;

	driver_begin();
	MUST(CU(cuMemAlloc_v2)(&out, 64));
	MUST(CU(cuModuleLoadData)(&module, null));
	launch(module, "k", out, 1, 1);
	MUST(CU(cuMemcpyDtoH_v2)(&got, out, sizeof(got)));
	cr_expect_eq(got, 0);
	MUST(CU(cuModuleLoadData)(&module, twice));
	launch(module, "k", out, 1, 1);
	GIVES(CUDA_ERROR_ASSERT, CU(cuCtxSynchronize)());
}

Test(heap, only_what_is_needed_is_linked)
{
	static const char plain[] = ".version 8.0\n.target sm_70\n.address_size 64\n.visible .entry k() { ret; }\n";
	static const char cxx[] = ".version 8.0\n.target sm_70\n.address_size 64\n.extern .func (.param .b64 r) _Znwm (.param .b64 n);\n"
		KERNEL("k") "{ .param .b64 i; .param .b64 o; st.param.b64 [i], 8; call (o), _Znwm, (i); } ret; }\n";
	/* a program's own function of that name is the program's */
	static const char own[] = ".version 8.0\n.target sm_70\n.address_size 64\n"
		".visible .func (.param .b64 r) malloc (.param .b64 n) { st.param.b64 [r], 5; ret; }\n"
		".extern .func __cxa_pure_virtual ();\n"
		KERNEL("k") MALLOC("%rd3", "8") "st.global.u64 [%rd1], %rd3; ret; }\n";
	static const char declared[] = HEAD ".visible .entry k() { ret; }\n";
	struct { const char *text; bool has_heap; } row[] = { { plain, false }, { declared, false }, { cxx, true }, { ptx, true } };
	struct hg_module *m;

	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(hg_module_load(row[i].text, 0, 120, NULL, 0, &m), HG_OK);
		cr_expect_eq(hg_module_find_var(m, HG_HEAP_NAME) >= 0, row[i].has_heap, "%zu", i);
		cr_expect_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
		if (row[i].has_heap)
			cr_expect(hg_module_var(m, (size_t)hg_module_find_var(m, HG_HEAP_NAME))->is_heap);
		hg_module_free(m);
	}
	cr_assert_eq(hg_module_load(own, 0, 120, NULL, 0, &m), HG_OK);
	hg_module_free(m);
}
