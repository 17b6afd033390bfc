/* test_tables.c - the runtime's tables: context-local storage and tables nobody knows. */
#include <criterion/criterion.h>
#include <string.h>

#include "intercept/coverage.h"
#include "intercept/symbols.h"
#include "intercept/tables.h"

#define CTX(n) ((CUcontext)(uintptr_t)((n) << 8))
static int key_a, key_b;

static int nr_dtors;
static void *last_value;

static void dtor(CUcontext ctx, void *key, void *value)
{
	(void)ctx;
	(void)key;
	nr_dtors++;
	last_value = value;
}

Test(local, keeps_a_value_for_each_context_and_key)
{
	void *v = NULL;

	cr_expect_eq(hg_local_get(&v, CTX(1), &key_a), CUDA_ERROR_INVALID_HANDLE);
	cr_expect_eq(hg_local_put(CTX(1), &key_a, (void *)11, NULL), CUDA_SUCCESS);
	cr_expect_eq(hg_local_put(CTX(1), &key_b, (void *)12, NULL), CUDA_SUCCESS);
	cr_expect_eq(hg_local_put(CTX(2), &key_a, (void *)21, NULL), CUDA_SUCCESS);
	cr_expect_eq(hg_local_get(&v, CTX(1), &key_a), CUDA_SUCCESS);
	cr_expect_eq(v, (void *)11);
	cr_expect_eq(hg_local_get(&v, CTX(1), &key_b), CUDA_SUCCESS);
	cr_expect_eq(v, (void *)12);
	cr_expect_eq(hg_local_get(&v, CTX(2), &key_a), CUDA_SUCCESS);
	cr_expect_eq(v, (void *)21);
	cr_expect_eq(hg_local_delete(CTX(1), &key_a), CUDA_SUCCESS);
	cr_expect_eq(hg_local_get(&v, CTX(1), &key_a), CUDA_ERROR_INVALID_HANDLE);
	cr_expect_eq(hg_local_delete(CTX(1), &key_a), CUDA_ERROR_INVALID_HANDLE);
}

Test(local, destructors_run_once_when_the_context_goes)
{
	void *v = (void *)7;

	hg_local_put(CTX(1), &key_a, (void *)11, dtor);
	hg_local_put(CTX(1), &key_b, (void *)12, dtor);
	hg_local_put(CTX(2), &key_a, (void *)21, dtor);
	hg_local_context_gone(CTX(2));
	cr_expect_eq(nr_dtors, 1);
	cr_expect_eq(last_value, (void *)21);
	hg_local_context_gone(CTX(2));
	hg_local_context_gone(NULL);
	cr_expect_eq(nr_dtors, 1);
	hg_local_context_gone(CTX(1));
	cr_expect_eq(nr_dtors, 3);
	cr_expect_eq(hg_local_get(&v, CTX(1), &key_a), CUDA_ERROR_INVALID_HANDLE);
	cr_expect_eq(v, (void *)7, "written on success only");
}

Test(local, deleting_a_value_runs_no_destructor)
{
	hg_local_put(CTX(1), &key_a, (void *)11, dtor);
	hg_local_delete(CTX(1), &key_a);
	hg_local_context_gone(CTX(1));
	cr_expect_eq(nr_dtors, 0);
}

Test(local, holds_more_values_than_one_block)
{
	static int key[1000];
	void *v;

	for (intptr_t i = 0; i < 1000; i++)
		cr_assert_eq(hg_local_put(CTX(1), &key[i], (void *)i, dtor), CUDA_SUCCESS);
	for (intptr_t i = 0; i < 1000; i++) {
		cr_assert_eq(hg_local_get(&v, CTX(1), &key[i]), CUDA_SUCCESS);
		cr_assert_eq(v, (void *)i);
	}
	hg_local_context_gone(CTX(1));
	cr_expect_eq(nr_dtors, 1000);
}

Test(tables, an_unknown_one_has_functions_that_refuse)
{
	CUresult (*const *fn)(void);
	const void *table = NULL, *again = NULL;
	char uuid[16] = "nobody knows me";

	cr_assert_eq(hg_table_get(uuid, &table), CUDA_SUCCESS);
	cr_assert_not_null(table);
	cr_expect_geq(*(const uintptr_t *)table, 95 * sizeof(void *), "newer runtimes look for 94 slots");
	fn = table;
	for (size_t i = 1; i < *(const uintptr_t *)table / sizeof(void *); i++)
		cr_assert_eq(fn[i](), CUDA_ERROR_NOT_SUPPORTED);
	cr_expect_eq(hg_table_get(uuid, &again), CUDA_SUCCESS);
	cr_expect_eq(again, table);
}

Test(tables, the_cache_of_compilers_is_known_and_refuses)
{
	static const unsigned char id[16] = { 0xda, 0x91, 0x51, 0xd3, 0x3a, 0xe6, 0xcc, 0x41,
					      0xa5, 0xc0, 0x4f, 0x26, 0xd5, 0x33, 0xe3, 0x28 };
	CUresult (*const *fn)(void);
	const void *table = NULL;

	cr_expect(hg_table_is_known(id), "a snapshot must not be refused because a program compiled something");
	cr_assert_eq(hg_table_get((const char *)id, &table), CUDA_SUCCESS);
	fn = table;
	cr_assert_eq(*(const uintptr_t *)table, 7 * sizeof(void *), "with less NVRTC 13.0 asks for another table");
	for (size_t i = 1; i < 7; i++)
		cr_expect_eq(fn[i](), CUDA_ERROR_NOT_SUPPORTED);
}

Test(tables, the_one_asked_for_first_is_not_found)
{
	static const unsigned char id[16] = { 0xf8, 0xcf, 0xf9, 0x51, 0x21, 0x46, 0x8b, 0x4e,
					      0xb9, 0xe2, 0xfb, 0x46, 0x9e, 0x7c, 0x0d, 0xd9 };
	const void *table = &id;

	cr_expect_eq(hg_table_get((const char *)id, &table), CUDA_ERROR_NOT_FOUND);
	cr_expect_null(table);
}

Test(tables, tool_flags_are_zeros_of_the_expected_number)
{
	static const unsigned char id[16] = { 0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74,
					      0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66 };
	CUresult (*const *fn)(void **, size_t *);
	const void *table;
	uint32_t *buf;
	size_t n;

	cr_assert_eq(hg_table_get((const char *)id, &table), CUDA_SUCCESS);
	fn = table;
	cr_expect_eq(*(const uintptr_t *)table, 7 * sizeof(void *));
	cr_assert_eq(fn[2]((void **)&buf, &n), CUDA_SUCCESS);
	cr_expect_eq(n, 1024, "with 512 the runtime reports an insufficient driver");
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(buf[i], 0);
	cr_assert_eq(fn[6]((void **)&buf, &n), CUDA_SUCCESS);
	cr_expect_eq(n, 14);
}

Test(coverage, a_call_of_which_nothing_is_known_is_not_harmless)
{
	cr_expect_not(hg_coverage_is_harmless("cuGraphCreate"));
	cr_expect_not(hg_coverage_is_harmless("cuMemAllocManaged"));
	cr_expect_not(hg_coverage_is_harmless("cuIpcGetMemHandle"), "another process may hold the memory");
	cr_expect_not(hg_coverage_is_harmless("cuMemExportToShareableHandle"));
	cr_expect(hg_coverage_is_harmless("cuDeviceGetAttribute"));
	cr_expect(hg_coverage_is_harmless("cuOccupancyMaxPotentialBlockSize"));
	cr_expect(hg_coverage_is_harmless("cuMemGetInfo_v2"));
	cr_expect(hg_coverage_is_harmless("cuProfilerStart"));
	cr_expect(hg_coverage_is_harmless("cuLinkComplete"), "the image that it makes is recorded when it is loaded");
}

Test(coverage, phrases_become_well_formed_json)
{
	struct hg_coverage c = { 0 };

	hg_coverage_add(&c, "call", "a \"quoted\" \\ name\n%d", 1);
	hg_coverage_add(&c, "memory", "second");
	hg_write_u8(&c.uncovered, 0);
	cr_expect_str_eq((const char *)c.uncovered.data,
			 "{\"kind\":\"call\",\"what\":\"a \\\"quoted\\\" \\\\ name\\u000a1\"},"
			 "{\"kind\":\"memory\",\"what\":\"second\"}");
	cr_expect_eq(c.nr_uncovered, 2);
	hg_coverage_release(&c);
}

Test(tables, of_contexts_and_streams_what_cublas_asks_is_answered)
{
	static const unsigned char id[16] = { 0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48,
					      0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8, 0xf2 };
	CUresult (*stream_object)(CUcontext, CUstream, CUstream *, int);
	const void *table;
	void *const *slot;
	CUstream s = NULL;

	cr_assert_eq(hg_table_get((const char *)id, &table), CUDA_SUCCESS);
	slot = table;
	cr_expect_geq((uintptr_t)slot[0], 94 * sizeof(void *));
	for (size_t i = 1; i < (uintptr_t)slot[0] / sizeof(void *); i++) {
		bool is_described = i == 4 || i == 39 || i == 51;

		cr_expect_eq(hg_table_function(id, i), is_described ? slot[i] : NULL, "slot %zu", i);
		if (!is_described)
			cr_assert_eq(((CUresult (*)(void))slot[i])(), CUDA_ERROR_NOT_SUPPORTED);
	}
	stream_object = (__typeof__(stream_object))slot[51];
	cr_expect_eq(stream_object(CTX(1), NULL, &s, 0), CUDA_SUCCESS);
	cr_expect_eq(s, CU_STREAM_LEGACY);
	cr_expect_eq(stream_object(CTX(1), NULL, &s, 1), CUDA_SUCCESS);
	cr_expect_eq(s, CU_STREAM_PER_THREAD);
	cr_expect_eq(stream_object(CTX(1), (CUstream)0x1234, &s, 0), CUDA_SUCCESS);
	cr_expect_eq(s, (CUstream)0x1234);
	cr_expect_eq(stream_object(CTX(1), NULL, NULL, 0), CUDA_ERROR_INVALID_VALUE);
}

static void count_function(void *arg, CUfunction f)
{
	(void)f;
	++*(int *)arg;
}

Test(tables, of_modules_the_functions_are_told_one_by_one)
{
	static const unsigned char id[16] = { 0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d,
					      0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99, 0x1e };
	unsigned int (*functions)(CUcontext, CUmodule, void (*)(void *, CUfunction), void *);
	const void *table;
	void *const *slot;
	int nr = 0;

	cr_assert_eq(hg_table_get((const char *)id, &table), CUDA_SUCCESS);
	slot = table;
	cr_expect_eq(hg_table_function(id, 7), slot[7]);
	cr_expect_null(hg_table_function(id, 6));
	functions = (__typeof__(functions))slot[7];
	/* no driver is there, so there is no module: e2e's cufft is where there is one */
	cr_expect_eq(functions(CTX(1), (CUmodule)0x1234, count_function, &nr), 0);
	cr_expect_eq(functions(CTX(1), (CUmodule)0x1234, NULL, &nr), 0);
	cr_expect_eq(nr, 0);
}
