/* test_module.c - modules, kernels and launches, with PTX that really runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_test.h"
#include "tests/unit/translate/code_util.h"

static const char ptx[] =
	".version 8.0\n.target sm_70\n.address_size 64\n"
	".visible .global .align 4 .u32 counter = 7;\n"
	".visible .global .align 8 .u64 pointer = counter;\n"
	".visible .const .align 4 .b32 factor[2] = {3, 5};\n"
	/* add(out, a, n): out[i] = out[i] * factor[1] + a for i < n */
	".visible .entry add(.param .u64 out, .param .u32 a, .param .u64 n)\n{\n"
	" .reg .b64 %rd<8>;\n .reg .b32 %r<8>;\n .reg .pred %p;\n"
	" ld.param.u64 %rd1, [out];\n ld.param.u32 %r1, [a];\n ld.param.u64 %rd2, [n];\n"
	" mov.u32 %r2, %ctaid.x;\n mov.u32 %r3, %ntid.x;\n mov.u32 %r4, %tid.x;\n mad.lo.u32 %r2, %r2, %r3, %r4;\n"
	" cvt.u64.u32 %rd3, %r2;\n setp.ge.u64 %p, %rd3, %rd2;\n @%p ret;\n"
	" shl.b64 %rd3, %rd3, 2;\n add.u64 %rd1, %rd1, %rd3;\n"
	" ld.global.u32 %r5, [%rd1];\n ld.const.u32 %r6, [factor+4];\n mad.lo.u32 %r5, %r5, %r6, %r1;\n"
	" st.global.u32 [%rd1], %r5;\n ret;\n}\n"
	/* bump(): counter += 1, through the pointer */
	".visible .entry bump()\n{\n .reg .b64 %rd<3>;\n .reg .b32 %r<3>;\n"
	" ld.global.u64 %rd1, [pointer];\n mov.u32 %r1, 1;\n atom.global.add.u32 %r2, [%rd1], %r1;\n ret;\n}\n"
	/* poke(p): writes where it is told to */
	".visible .entry poke(.param .u64 p)\n{\n .reg .b64 %rd<3>;\n .reg .b32 %r<3>;\n"
	" ld.param.u64 %rd1, [p];\n mov.u32 %r1, 1;\n st.global.u32 [%rd1], %r1;\n ret;\n}\n"
	/* narrow(): of at most 64 threads */
	".visible .entry narrow()\n.maxntid 64, 1, 1\n{\n ret;\n}\n";

static CUmodule load(void)
{
	CUmodule module;

	MUST(CU(cuModuleLoadData)(&module, ptx));
	return module;
}

static CUfunction function(CUmodule module, const char *name)
{
	CUfunction f;

	MUST(CU(cuModuleGetFunction)(&f, module, name));
	return f;
}

static uint32_t read_u32(CUdeviceptr at)
{
	uint32_t v;

	MUST(CU(cuMemcpyDtoH_v2)(&v, at, sizeof(v)));
	return v;
}

Test(module, kernel_runs_with_parameters_in_either_form)
{
	enum { N = 1000 };
	static uint32_t data[N];
	uint64_t n = N;
	uint32_t a = 11;
	CUdeviceptr out;
	CUfunction f;
	void *params[] = { &out, &a, &n };
	struct { uint64_t out; uint32_t a; uint64_t n; } packed;
	size_t size = sizeof(packed);
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
			  CU_LAUNCH_PARAM_END };

	driver_begin();
	f = function(load(), "add");
	MUST(CU(cuMemAlloc_v2)(&out, sizeof(data)));
	for (uint32_t i = 0; i < N; i++)
		data[i] = i;
	MUST(CU(cuMemcpyHtoD_v2)(out, data, sizeof(data)));
	MUST(CU(cuLaunchKernel)(f, 8, 1, 1, 128, 1, 1, 0, NULL, params, NULL));
	packed.out = out;
	packed.a = 1;
	packed.n = N;
	MUST(CU(cuLaunchKernel)(f, 8, 1, 1, 128, 1, 1, 0, CU_STREAM_PER_THREAD, NULL, extra));
	MUST(CU(cuCtxSynchronize)());
	MUST(CU(cuMemcpyDtoH_v2)(data, out, sizeof(data)));
	for (uint32_t i = 0; i < N; i++)
		cr_assert_eq(data[i], (i * 5 + 11) * 5 + 1);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, extra));
	size = 8;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	hg_driver_close();
}

Test(module, function_tells_the_architecture_of_its_ptx_and_of_the_device)
{
	int ptx_version, binary, major, minor;
	CUfunction f;

	driver_begin();
	f = function(load(), "add");
	MUST(CU(cuFuncGetAttribute)(&ptx_version, CU_FUNC_ATTRIBUTE_PTX_VERSION, f));
	MUST(CU(cuFuncGetAttribute)(&binary, CU_FUNC_ATTRIBUTE_BINARY_VERSION, f));
	MUST(CU(cuDeviceGetAttribute)(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
	MUST(CU(cuDeviceGetAttribute)(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0));
	cr_expect_eq(ptx_version, 70);
	cr_expect_eq(binary, major * 10 + minor);
	hg_driver_close();
}

Test(module, launches_beyond_the_limits_are_refused)
{
	CUfunction bump, narrow;
	CUlaunchAttribute cluster = { .id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
				      .value.clusterDim = { 2, 1, 1 } };
	CUlaunchConfig config = { 1, 1, 1, 1, 1, 1, 0, NULL, &cluster, 1 };
	int blocks, processors;
	CUmodule module;

	driver_begin();
	module = load();
	bump = function(module, "bump");
	narrow = function(module, "narrow");
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(bump, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(bump, 1, 1, 1, 1, 0, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(bump, 1, 65536, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(bump, 1, 1, 1, 1025, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(bump, 1, 1, 1, 1, 1, 65, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(bump, 1, 1, 1, 32, 33, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchKernel)(bump, 1, 1, 1, 1, 1, 1, 49153, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, CU(cuLaunchKernel)(narrow, 1, 1, 1, 65, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_NOT_SUPPORTED, CU(cuLaunchKernelEx)(&config, bump, NULL, NULL));
	MUST(CU(cuFuncSetAttribute)(bump, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 99 << 10));
	MUST(CU(cuLaunchKernel)(bump, 1, 1, 1, 1, 1, 1, 99 << 10, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE,
	      CU(cuFuncSetAttribute)(bump, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (99 << 10) + 1));
	MUST(CU(cuOccupancyMaxActiveBlocksPerMultiprocessor)(&blocks, bump, 256, 0));
	MUST(CU(cuDeviceGetAttribute)(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
	cr_assert_eq(blocks, 6);
	MUST(CU(cuLaunchCooperativeKernel)(bump, (unsigned int)(blocks * processors), 1, 1, 256, 1, 1, 0, NULL, NULL));
	GIVES(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
	      CU(cuLaunchCooperativeKernel)(bump, (unsigned int)(blocks * processors) + 1, 1, 1, 256, 1, 1, 0, NULL,
					    NULL));
	MUST(CU(cuCtxSynchronize)());
	hg_driver_close();
}

Test(module, variables_begin_with_their_values_and_hold_addresses_of_others)
{
	CUdeviceptr counter, pointer, factor;
	uint64_t held;
	CUmodule module;
	size_t size;

	driver_begin();
	module = load();
	MUST(CU(cuModuleGetGlobal_v2)(&counter, &size, module, "counter"));
	cr_assert_eq(size, 4u);
	cr_assert_eq(read_u32(counter), 7);
	MUST(CU(cuModuleGetGlobal_v2)(&pointer, &size, module, "pointer"));
	MUST(CU(cuMemcpyDtoH_v2)(&held, pointer, sizeof(held)));
	cr_assert_eq(held, counter);
	MUST(CU(cuModuleGetGlobal_v2)(&factor, &size, module, "factor"));
	cr_assert_eq(size, 8u);
	cr_assert_eq(read_u32(factor + 4), 5);
	GIVES(CUDA_ERROR_NOT_FOUND, CU(cuModuleGetGlobal_v2)(&factor, &size, module, "nothing"));
	MUST(CU(cuLaunchKernel)(function(module, "bump"), 10, 1, 1, 10, 1, 1, 0, NULL, NULL, NULL));
	cr_assert_eq(read_u32(counter), 107);
	MUST(CU(cuModuleUnload)(module));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyDtoH_v2)(&held, counter, 4));
	hg_driver_close();
}

Test(module, variables_go_where_their_places_say)
{
	struct hg_place place[] = {
		{ .name = "factor", .addr = HG_ARENA_BASE + 0x7000200, .size = 8 },
		{ .name = "counter", .addr = HG_ARENA_BASE + 0x9000400, .size = 4 },
	}, got[8];
	CUdeviceptr addr;
	CUmodule module;
	size_t nr, found = 0;

	driver_begin();
	hg_driver_place(place, 2);
	module = load();
	MUST(CU(cuModuleGetGlobal_v2)(&addr, NULL, module, "factor"));
	cr_assert_eq(addr, place[0].addr);
	MUST(CU(cuModuleGetGlobal_v2)(&addr, NULL, module, "counter"));
	cr_assert_eq(addr, place[1].addr);
	nr = hg_driver_module_vars(module, got, 8);
	cr_assert_eq(nr, 3u);
	for (size_t i = 0; i < nr; i++)
		found += got[i].addr == place[0].addr || got[i].addr == place[1].addr;
	cr_assert_eq(found, 2u);
	/* taken now: a second one cannot lie there, and leaves nothing behind */
	hg_driver_place(place, 2);
	GIVES(CUDA_ERROR_OUT_OF_MEMORY, CU(cuModuleLoadData)(&module, ptx));
	hg_driver_close();
}

Test(module, library_lives_without_a_context_and_starts_anew_after_a_reset)
{
	unsigned int count;
	CUdeviceptr counter;
	CUlibrary library, of;
	CUkernel kernel, listed[4];
	CUfunction f;
	CUmodule module, again;
	CUcontext ctx;
	const char *name;

	cr_assert_eq(hg_driver_open(&hg_target_cpu), HG_OK);
	MUST(CU(cuInit)(0));
	MUST(CU(cuLibraryLoadData)(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
	MUST(CU(cuLibraryGetKernelCount)(&count, library));
	cr_assert_eq(count, 4u);
	MUST(CU(cuLibraryEnumerateKernels)(listed, 4, library));
	MUST(CU(cuLibraryGetKernel)(&kernel, library, "bump"));
	MUST(CU(cuKernelGetName)(&name, kernel));
	cr_assert_str_eq(name, "bump");
	MUST(CU(cuKernelGetLibrary)(&of, kernel));
	cr_assert_eq(of, library);
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuKernelGetFunction)(&f, kernel));
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	MUST(CU(cuCtxSetCurrent)(ctx));
	MUST(CU(cuKernelGetFunction)(&f, kernel));
	MUST(CU(cuLibraryGetModule)(&module, library));
	MUST(CU(cuFuncGetModule)(&again, f));
	cr_assert_eq(module, again);
	GIVES(CUDA_ERROR_NOT_PERMITTED, CU(cuModuleUnload)(module));
	MUST(CU(cuLibraryGetGlobal)(&counter, NULL, library, "counter"));
	MUST(CU(cuLaunchKernel)((CUfunction)kernel, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	MUST(CU(cuLaunchKernel)(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	cr_assert_eq(read_u32(counter), 9);
	MUST(CU(cuDevicePrimaryCtxReset_v2)(0));
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	cr_assert_eq(read_u32(counter), 7);
	MUST(CU(cuLibraryUnload)(library));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuLibraryUnload)(library));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuKernelGetName)(&name, kernel));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuLaunchKernel)(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	hg_driver_close();
}

Test(module, bad_images_are_errors_with_a_reason)
{
	static char log[2048];
	CUjit_option option[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	void *value[] = { log, (void *)sizeof(log) };
	CUmodule module = NULL;

	driver_begin();
	GIVES(CUDA_ERROR_INVALID_PTX,
	      CU(cuModuleLoadDataEx)(&module, ".version 8.0\n.target sm_70\n.address_size 64\n.visible .entry k(.param\n",
				     2, option, value));
	cr_assert_null(module);
	cr_assert(strlen(log) > 10, "the error log is '%s'", log);
	cr_assert_eq((size_t)value[1], strlen(log) + 1);
	GIVES(CUDA_ERROR_INVALID_IMAGE, CU(cuModuleLoadData)(&module, "\x01\x02\x03\x04 no image at all"));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuModuleLoadData)(&module, NULL));
	GIVES(CUDA_ERROR_FILE_NOT_FOUND, CU(cuModuleLoad)(&module, "/nonexistent/file.ptx"));
	GIVES(CUDA_ERROR_NOT_FOUND, CU(cuModuleGetFunction)((CUfunction *)&module, load(), "no such kernel"));
	hg_driver_close();
}

static enum hg_status note_refused(const char *kernel, const char *why, void *arg)
{
	cr_assert_str_eq(kernel, "odd");
	cr_assert(*why);
	++*(int *)arg;
	return HG_OK;
}

Test(module, kernel_that_cannot_be_translated_is_named_and_refused_when_launched)
{
	CUmodule module;
	int nr = 0;

	driver_begin();
	MUST(CU(cuModuleLoadData)(&module, ".version 8.0\n.target sm_70\n.address_size 64\n"
				  ".visible .entry fine() { ret; }\n.visible .entry odd() { nonsense; ret; }\n"));
	cr_assert_eq(hg_driver_refused(note_refused, &nr), HG_OK);
	cr_assert_eq(nr, 1);
	MUST(CU(cuLaunchKernel)(function(module, "fine"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	GIVES(CUDA_ERROR_NOT_SUPPORTED,
	      CU(cuLaunchKernel)(function(module, "odd"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	MUST(CU(cuCtxSynchronize)());
	hg_driver_close();
}

Test(module, is_loaded_from_a_file_without_an_ending_nul)
{
	char path[] = "/tmp/hgshim-test-XXXXXX";
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");
	CUmodule module;

	cr_assert_eq(fwrite(ptx, 1, strlen(ptx), f), strlen(ptx));
	fclose(f);
	driver_begin();
	MUST(CU(cuModuleLoad)(&module, path));
	MUST(CU(cuLaunchKernel)(function(module, "bump"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	MUST(CU(cuCtxSynchronize)());
	remove(path);
	hg_driver_close();
}

Test(fault, sticks_to_its_context_and_to_no_other)
{
	CUdeviceptr mem, bad = 0x10;
	CUcontext primary = driver_begin(), other;
	void *params[] = { &bad };
	CUfunction poke;
	CUstream stream;
	CUevent event;
	CUdevice dev;

	MUST(CU(cuCtxCreate_v2)(&other, 0, 0));
	MUST(CU(cuStreamCreate)(&stream, 0));
	MUST(CU(cuEventCreate)(&event, 0));
	MUST(CU(cuMemAlloc_v2)(&mem, 64));
	poke = function(load(), "poke");
	MUST(CU(cuLaunchKernel)(poke, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuStreamSynchronize)(stream));
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuCtxSynchronize)());
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuMemAlloc_v2)(&mem, 64));
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuMemsetD8_v2)(mem, 0, 64));
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuMemFree_v2)(mem));
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuEventRecord)(event, NULL));
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuStreamQuery)(stream));
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuLaunchKernel)(poke, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	MUST(CU(cuDeviceGet)(&dev, 0));		/* what needs no context still answers */

	MUST(CU(cuCtxPushCurrent_v2)(primary));
	MUST(CU(cuMemAlloc_v2)(&mem, 64));
	MUST(CU(cuMemsetD8_v2)(mem, 1, 64));
	MUST(CU(cuCtxPopCurrent_v2)(NULL));

	MUST(CU(cuCtxDestroy_v2)(other));
	MUST(CU(cuCtxSetCurrent)(primary));
	poke = function(load(), "poke");
	bad = mem;
	MUST(CU(cuLaunchKernel)(poke, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	cr_assert_eq(read_u32(mem), 1);
	hg_driver_close();
}

/* CUDA's code for each, for every call that follows in that context, and a message that says where. */
Test(fault, has_the_code_of_its_kind)
{
	static const struct { const char *body; CUresult code; const char *says; } kind[] = {
		{ "mov.u64 %rd2, 0;\n@%p1 st.global.u32 [%rd2], 1;", CUDA_ERROR_ILLEGAL_ADDRESS, "illegal address 0x0 in kernel 'k'" },
		{ "@%p1 st.global.u32 [%rd1+2], 1;", CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address" },
		{ "@%p1 red.global.add.u32 [%rd1+1], 1;", CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address" },
		{ "@%p1 trap;", CUDA_ERROR_LAUNCH_FAILED, "trap in kernel 'k'" },
		{ "@%p1 brkpt;", CUDA_ERROR_LAUNCH_FAILED, "trap in kernel 'k'" },
		{ "setp.lt.u32 %p2, %r1, 16;\n@%p2 bar.sync 1, 64;\n@!%p2 bar.sync 2, 128;", CUDA_ERROR_LAUNCH_FAILED, "wait for each other for ever" },
		{ "bar.sync %r1, 64;", CUDA_ERROR_LAUNCH_FAILED, "barrier 16 misused" },
		{ "div.u32 %r2, %r1, 0; rem.s32 %r3, %r1, 0; @%p1 st.global.u32 [%rd1], %r2;", CUDA_SUCCESS, "" },	/* no fault */
	};

	driver_begin();
	for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
		char text[1024];
		CUdeviceptr mem, more;
		void *params[] = { &mem };
		CUcontext ctx;
		CUmodule m;

		snprintf(text, sizeof(text), PTX_HEAD ".visible .entry k(.param .u64 p) {\n.reg .pred %%p<4>; .reg .b32 %%r<4>; .reg .b64 %%rd<4>;\n"
			 "ld.param.u64 %%rd1, [p]; mov.u32 %%r1, %%tid.x; setp.eq.u32 %%p1, %%r1, 5;\n%s\nret;\n}\n", kind[i].body);
		catch_messages();
		MUST(CU(cuCtxCreate_v2)(&ctx, 0, 0));
		MUST(CU(cuMemAlloc_v2)(&mem, 64));
		MUST(CU(cuModuleLoadData)(&m, text));
		MUST(CU(cuLaunchKernel)(function(m, "k"), 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
		GIVES(kind[i].code, CU(cuCtxSynchronize)());
		cr_assert(strstr(last_message, kind[i].says), "%s: '%s'", kind[i].body, last_message);
		GIVES(kind[i].code, CU(cuCtxSynchronize)());
		GIVES(kind[i].code, CU(cuMemAlloc_v2)(&more, 64));
		GIVES(kind[i].code, CU(cuMemsetD8_v2)(mem, 0, 64));
		MUST(CU(cuCtxDestroy_v2)(ctx));
	}
	hg_driver_close();
}

static void never(void *arg)
{
	(void)arg;
	cr_assert_fail("work of a failed context ran");
}

Test(fault, drops_what_was_queued_behind_it)
{
	CUdeviceptr mem, bad = 0;
	void *params[] = { &bad };
	CUcontext ctx;
	uint32_t seen = 0;
	void *host;

	driver_begin();
	MUST(CU(cuMemAlloc_v2)(&mem, 1 << 20));
	MUST(CU(cuMemAllocHost_v2)(&host, 4));
	MUST(CU(cuMemsetD32_v2)(mem, 5, 1));
	CUfunction poke = function(load(), "poke");
	MUST(CU(cuLaunchKernel)(poke, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	/* any of these may already see the failure, and none may run */
	(void)!CU(cuMemsetD32Async)(mem, 6, 1, NULL);
	(void)!CU(cuLaunchHostFunc)(NULL, never, NULL);
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, CU(cuCtxSynchronize)());
	cr_assert_eq(hg_driver_read(&seen, mem, 4), HG_OK);
	cr_assert_eq(seen, 5);
	/* a reset gives a context that works */
	MUST(CU(cuDevicePrimaryCtxReset_v2)(0));
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	MUST(CU(cuMemAlloc_v2)(&mem, 64));
	MUST(CU(cuCtxSynchronize)());
	hg_driver_close();
}
