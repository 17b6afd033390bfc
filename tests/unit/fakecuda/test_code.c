/* test_code.c - contexts, modules, libraries and launches of the fake CUDA driver. */
#include "fake_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- contexts ---- */

Test(contexts, a_primary_one_keeps_its_handle)
{
	CUcontext again, now, ctx = START();
	CUdeviceptr p;

	OK(cu.cuDevicePrimaryCtxRelease_v2(0));
	GIVES(CUDA_ERROR_CONTEXT_IS_DESTROYED, cu.cuMemAlloc_v2(&p, 4));
	OK(cu.cuCtxGetCurrent(&now));
	cr_assert_eq(now, ctx);
	GIVES(CUDA_ERROR_INVALID_CONTEXT, cu.cuDevicePrimaryCtxRelease_v2(0));
	OK(cu.cuDevicePrimaryCtxRetain(&again, 0));
	cr_assert_eq(again, ctx);
	OK(cu.cuMemAlloc_v2(&p, 4));
}

Test(contexts, stand_on_a_stack_for_each_thread)
{
	CUcontext a, b, now, primary = START();
	CUdeviceptr p;

	OK(cu.cuCtxCreate_v2(&a, 0, 0));
	OK(cu.cuCtxCreate_v2(&b, 0, 0));
	OK(cu.cuCtxPopCurrent_v2(&now));
	cr_assert_eq(now, b);
	OK(cu.cuCtxGetCurrent(&now));
	cr_assert_eq(now, a);
	OK(cu.cuCtxPushCurrent_v2(b));
	OK(cu.cuCtxDestroy_v2(b));
	OK(cu.cuCtxGetCurrent(&now));
	cr_assert_eq(now, a);
	OK(cu.cuCtxDestroy_v2(a));
	OK(cu.cuCtxGetCurrent(&now));
	cr_assert_eq(now, primary);
	OK(cu.cuCtxSetCurrent(NULL));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, cu.cuMemAlloc_v2(&p, 4));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxPushCurrent_v2(a));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxDestroy_v2(primary));
}

Test(contexts, everything_in_one_ends_with_it)
{
	CUmodule m;
	CUstream s;
	CUevent e;
	CUfunction f;

	START();
	m = load_module();
	f = function(m, "nothing");
	OK(cu.cuStreamCreate(&s, 0));
	OK(cu.cuEventCreate(&e, 0));
	launch(f, 1, 32, s, NULL);
	OK(cu.cuEventRecord(e, s));
	OK(cu.cuDevicePrimaryCtxReset_v2(0));
	start();
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamQuery(s));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuEventQuery(e));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuModuleGetFunction(&f, m, "nothing"));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
}

Test(contexts, end_when_their_work_is_done)
{
	struct timespec a, b;
	CUfunction f;

	START("KERNEL_US=10000");
	f = function(load_module(), "nothing");
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 10; i++)
		launch(f, 1, 1, NULL, NULL);
	OK(cu.cuDevicePrimaryCtxReset_v2(0));
	clock_gettime(CLOCK_MONOTONIC, &b);
	cr_assert_geq((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9, 0.0999);
}

/* ---- handles ---- */

Test(handles, wild_ones_give_errors)
{
	static char nonsense[64];
	CUmodule m = (CUmodule)nonsense;
	CUdeviceptr p;
	CUfunction f;
	size_t size;
	int v;

	START();
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuModuleUnload(m));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuModuleGetGlobal_v2(&p, &size, m, "x"));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamSynchronize((CUstream)nonsense));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamSynchronize((CUstream)(uintptr_t)12345));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuEventRecord((CUevent)nonsense, NULL));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_NUM_REGS, (CUfunction)nonsense));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuLibraryUnload((CUlibrary)nonsense));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxSetCurrent((CUcontext)nonsense));
	/* a handle of another kind */
	m = load_module();
	f = function(m, "nothing");
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuModuleUnload((CUmodule)f));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamSynchronize((CUstream)m));
	OK(cu.cuModuleUnload(m));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuModuleUnload(m));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
}

Test(handles, many_come_and_go)
{
	static CUevent e[5000];

	START();
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 5000; i++)
			OK(cu.cuEventCreate(&e[i], 0));
		for (int i = 0; i < 5000; i++)
			OK(cu.cuEventQuery(e[i]));
		for (int i = 4999; i >= 0; i--)
			OK(cu.cuEventDestroy_v2(e[i]));
		for (int i = 0; i < 5000; i++)
			GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuEventQuery(e[i]));
	}
}

/* ---- modules and libraries ---- */

Test(modules, every_variable_has_an_address_of_its_own_kind)
{
	static const char *const name[] = { "counter", "hidden", "table", "here", "zeros" };
	static const size_t want[] = { 4, 4, 12, 8, 33 };
	CUdeviceptr p[5];
	CUmodule m;
	size_t size;
	uint64_t here;

	START();
	m = load_module();
	for (int i = 0; i < 5; i++) {
		OK(cu.cuModuleGetGlobal_v2(&p[i], &size, m, name[i]));
		cr_assert_eq(size, want[i], "%s", name[i]);
		cr_assert_neq(p[i] % 512, 0);
		cr_assert_lt(p[i] - (p[0] & ~(CUdeviceptr)4095), 4096);
		GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree_v2(p[i]));
	}
	cr_assert_eq(read_u32(p[0]), 5);
	cr_assert_eq(read_u32(p[1]), 7);
	cr_assert_eq(read_u32(p[2] + 8), 3);
	OK(cu.cuMemcpyDtoH_v2(&here, p[3], 8));
	cr_assert_eq(here, p[1]);
	cr_assert_eq(read_u32(p[4] + 28), 0);
	GIVES(CUDA_ERROR_NOT_FOUND, cu.cuModuleGetGlobal_v2(&p[0], &size, m, "nobody"));
}

Test(modules, two_of_the_same_image_share_nothing)
{
	CUdeviceptr out;
	void *params[] = { &out };
	CUfunction a, b;

	START();
	OK(cu.cuMemAlloc_v2(&out, 4));
	a = function(load_module(), "bump");
	b = function(load_module(), "bump");
	cr_assert_neq(a, b);
	launch(a, 1, 1, NULL, params);
	launch(a, 1, 1, NULL, params);
	cr_assert_eq(read_u32(out), 7);
	launch(b, 1, 1, NULL, params);
	cr_assert_eq(read_u32(out), 6);
}

Test(modules, what_is_no_image_is_refused)
{
	CUjit_option option[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	char log[200] = "", bytes[64] = { 0x50, (char)0xed, 0x55, (char)0xba, 9, 9, 9 };
	void *value[] = { log, (void *)sizeof(log) };
	CUmodule m;

	START();
	GIVES(CUDA_ERROR_INVALID_PTX,
	      cu.cuModuleLoadDataEx(&m, ".version 7.0\n.target sm_75\n.visible .entry k( { ret", 2, option, value));
	cr_assert(log[0]);
	GIVES(CUDA_ERROR_INVALID_IMAGE, cu.cuModuleLoadData(&m, bytes));
	GIVES(CUDA_ERROR_FILE_NOT_FOUND, cu.cuModuleLoad(&m, "/nowhere/at/all"));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuModuleLoadData(&m, NULL));
}

/* nvcc's machine code for the device, without PTX; NULL: there is no nvcc. */
static const char *make_cubin(void)
{
	static char path[300];
	const char *nvcc = getenv("NVCC");
	char source[300], command[2000];
	FILE *f;

	snprintf(path, sizeof(path), "%s", temporary("sass.cubin"));
	snprintf(source, sizeof(source), "%s", temporary("sass.cu"));
	f = fopen(source, "w");
	cr_assert(f);
	fputs("extern \"C\" __global__ void twice(int *p, short n, double x) { p[n] *= (int)x; }\n", f);
	fclose(f);
	snprintf(command, sizeof(command), "'%s' -cubin -arch=sm_90 -o %s %s >/dev/null 2>&1",
		 nvcc ? nvcc : "/usr/local/cuda/bin/nvcc", path, source);
	if (system(command))
		path[0] = 0;
	unlink(source);
	return path[0] ? path : NULL;
}

static void load_sass(const char *knob)
{
	const char *cubin = make_cubin();
	size_t offset, size;
	CUmodule m;
	CUfunction f;
	CUdeviceptr p = 0;
	short n = 0;
	double x = 2;
	void *params[] = { &p, &n, &x };

	if (!cubin)
		cr_skip_test("no nvcc");
	START(knob);
	OK(cu.cuModuleLoad(&m, cubin));
	unlink(cubin);
	OK(cu.cuModuleGetFunction(&f, m, "twice"));
	OK(cu.cuFuncGetParamInfo(f, 1, &offset, &size));
	cr_assert(offset == 8 && size == 2);
	OK(cu.cuFuncGetParamInfo(f, 2, &offset, &size));
	cr_assert(offset == 16 && size == 8);
	GIVES(strcmp(knob, "SKIP_SASS=1") ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS,
	      cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	OK(cu.cuCtxSynchronize());
}

Test(modules, of_machine_code_alone_load_and_do_not_run)
{
	load_sass("SKIP_SASS=0");
}

Test(modules, of_machine_code_alone_may_pretend_to_run)
{
	load_sass("SKIP_SASS=1");
}

Test(libraries, become_a_module_in_each_context)
{
	CUdeviceptr out, here, there;
	void *params[] = { &out };
	CUfunction f, g;
	CUcontext ctx = START(), other;
	CUlibrary lib, of;
	CUkernel k;
	size_t size;

	OK(cu.cuLibraryLoadData(&lib, test_ptx, NULL, NULL, 0, NULL, NULL, 0));
	OK(cu.cuLibraryGetKernel(&k, lib, "bump"));
	OK(cu.cuKernelGetLibrary(&of, k));
	cr_assert_eq(of, lib);
	OK(cu.cuKernelGetFunction(&f, k));
	cr_assert_neq((void *)f, (void *)k);
	OK(cu.cuLibraryGetGlobal(&here, &size, lib, "counter"));
	OK(cu.cuMemAlloc_v2(&out, 4));
	/* the kernel is as good as its function */
	OK(cu.cuLaunchKernel((CUfunction)k, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	launch(f, 1, 1, NULL, params);
	cr_assert_eq(read_u32(out), 7);
	cr_assert_eq(read_u32(here), 7);

	OK(cu.cuCtxCreate_v2(&other, 0, 0));
	OK(cu.cuLibraryGetGlobal(&there, &size, lib, "counter"));
	cr_assert_neq(here, there);
	cr_assert_eq(read_u32(there), 5);
	OK(cu.cuKernelGetFunction(&g, k));
	cr_assert_neq(f, g);
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	OK(cu.cuCtxDestroy_v2(other));

	OK(cu.cuCtxSetCurrent(ctx));
	launch(f, 1, 1, NULL, params);
	cr_assert_eq(read_u32(out), 8);
	OK(cu.cuLibraryUnload(lib));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuLibraryGetKernel(&k, lib, "bump"));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
}

Test(libraries, have_managed_variables_before_there_is_a_context)
{
	CUdeviceptr p, out;
	void *params[] = { &out };
	CUlibrary lib;
	CUkernel k;
	size_t size;

	LOAD();
	OK(cu.cuInit(0));
	OK(cu.cuLibraryLoadData(&lib, test_ptx, NULL, NULL, 0, NULL, NULL, 0));
	OK(cu.cuLibraryGetManaged(&p, &size, lib, "counter"));
	cr_assert_eq(size, 4);
	*(uint32_t *)(uintptr_t)p = 40;
	start();
	OK(cu.cuMemAlloc_v2(&out, 4));
	OK(cu.cuLibraryGetKernel(&k, lib, "bump"));
	OK(cu.cuLaunchKernel((CUfunction)k, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	OK(cu.cuCtxSynchronize());
	cr_assert_eq(*(uint32_t *)(uintptr_t)p, 41);
	OK(cu.cuDevicePrimaryCtxReset_v2(0));
	cr_assert_eq(*(uint32_t *)(uintptr_t)p, 41);
	GIVES(CUDA_ERROR_NOT_FOUND, cu.cuLibraryGetManaged(&p, &size, lib, "nobody"));
	OK(cu.cuLibraryUnload(lib));
}

Test(libraries, live_through_a_reset)
{
	CUlibrary lib;
	CUdeviceptr p;
	size_t size;

	START();
	OK(cu.cuLibraryLoadData(&lib, test_ptx, NULL, NULL, 0, NULL, NULL, 0));
	OK(cu.cuLibraryGetGlobal(&p, &size, lib, "counter"));
	OK(cu.cuMemsetD32_v2(p, 99, 1));
	OK(cu.cuDevicePrimaryCtxReset_v2(0));
	start();
	OK(cu.cuLibraryGetGlobal(&p, &size, lib, "counter"));
	cr_assert_eq(read_u32(p), 5);
}

/* ---- functions and launches ---- */

Test(functions, tell_their_parameters)
{
	size_t offset, size;
	CUfunction f;
	const char *name;

	START();
	f = function(load_module(), "wide");
	OK(cu.cuFuncGetName(&name, f));
	cr_assert_str_eq(name, "wide");
	OK(cu.cuFuncGetParamInfo(f, 0, &offset, &size));
	cr_assert(offset == 0 && size == 400);
	OK(cu.cuFuncGetParamInfo(f, 1, &offset, &size));
	cr_assert(offset == 400 && size == 8);
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuFuncGetParamInfo(f, 2, &offset, &size));
}

Test(launches, take_parameters_in_both_ways)
{
	uint32_t block[100] = { 0 };
	CUdeviceptr out;
	void *params[] = { block, &out };
	struct { uint32_t block[100]; CUdeviceptr out; } all;
	size_t size = sizeof(all);
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, &all, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END };
	CUfunction f;

	START();
	OK(cu.cuMemAlloc_v2(&out, 4));
	f = function(load_module(), "wide");
	block[99] = 77;
	launch(f, 1, 1, NULL, params);
	cr_assert_eq(read_u32(out), 77);
	memset(&all, 0, sizeof(all));
	all.block[99] = 78;
	all.out = out;
	OK(cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	cr_assert_eq(read_u32(out), 78);
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, extra));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	size = 100;
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
}

Test(launches, check_their_shape)
{
	CUlaunchConfig config = { .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 1, .blockDimY = 1,
				  .blockDimZ = 1 };
	CUlaunchAttribute attr = { .id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE };
	CUfunction f;
	int blocks;

	START();
	f = function(load_module(), "nothing");
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 1025, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 65, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 65536, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	OK(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 1024, 0));
	cr_assert_eq(blocks, 2);
	OK(cu.cuLaunchCooperativeKernel(f, 16, 1, 1, 1024, 1, 1, 0, NULL, NULL));
	GIVES(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, cu.cuLaunchCooperativeKernel(f, 17, 1, 1, 1024, 1, 1, 0, NULL, NULL));
	attr.value.cooperative = 1;
	config.attrs = &attr;
	config.numAttrs = 1;
	OK(cu.cuLaunchKernelEx(&config, f, NULL, NULL));
	config.gridDimX = 1000;
	GIVES(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, cu.cuLaunchKernelEx(&config, f, NULL, NULL));
	OK(cu.cuCtxSynchronize());
}

Test(launches, get_the_shared_memory_they_ask_for)
{
	CUdeviceptr out;
	void *params[] = { &out };
	CUfunction f;

	START();
	OK(cu.cuMemAlloc_v2(&out, 256));
	f = function(load_module(), "shared_");
	OK(cu.cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 256, NULL, params, NULL));
	for (uint32_t i = 0; i < 64; i++)
		cr_assert_eq(read_u32(out + 4 * i), 63 - i);
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 50000, NULL, params, NULL));
	OK(cu.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100000));
	OK(cu.cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 100000, NULL, params, NULL));
	OK(cu.cuCtxSynchronize());
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 300000));
}

Test(launches, a_fault_sticks_to_the_context)
{
	CUdeviceptr p;
	CUfunction f;

	START("PATTERN=off");
	f = function(load_module(), "crash");
	launch(f, 1, 1, NULL, NULL);
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuCtxSynchronize());
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuMemAlloc_v2(&p, 4));
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	OK(cu.cuDevicePrimaryCtxReset_v2(0));
	start();
	OK(cu.cuMemAlloc_v2(&p, 4));
	launch(function(load_module(), "trap_"), 1, 1, NULL, NULL);
	GIVES(CUDA_ERROR_LAUNCH_FAILED, cu.cuCtxSynchronize());
}

Test(launches, for_benchmarks_do_nothing)
{
	CUdeviceptr p;
	uint32_t n = 1, v = 5;
	void *params[] = { &p, &n, &v };
	CUfunction f;

	START("NULL=1");
	OK(cu.cuMemAlloc_v2(&p, 4));
	f = function(load_module(), "fill");
	launch(f, 1, 1, NULL, params);
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuLaunchKernel((CUfunction)&n, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	cr_assert_eq(read_u32(p), 0xcdcdcdcd);
}
