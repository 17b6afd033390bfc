/* test_driver.c - the portable driver: devices, contexts, handles, errors. */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "driver_test.h"

Test(driver, does_nothing_before_cuInit)
{
	int count;

	cr_assert_eq(hg_driver_open(&hg_target_cpu), HG_OK);
	GIVES(CUDA_ERROR_NOT_INITIALIZED, CU(cuDeviceGetCount)(&count));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuInit)(1));
	MUST(CU(cuInit)(0));
	MUST(CU(cuDeviceGetCount)(&count));
	cr_assert_eq(count, 1);
	hg_driver_close();
}

Test(driver, says_the_name_and_the_meaning_of_every_error)
{
	static const struct { CUresult code; const char *name; } every[] = {
#define HG_CUDA_ERROR(name, text) { name, #name },
#include "replay/errors.def"
	};
	const char *text;

	for (size_t i = 0; i < sizeof(every) / sizeof(every[0]); i++) {
		MUST(CU(cuGetErrorName)(every[i].code, &text));
		cr_assert_str_eq(text, every[i].name);
		MUST(CU(cuGetErrorString)(every[i].code, &text));
		cr_assert(text && *text);
	}
	MUST(CU(cuGetErrorString)(CUDA_ERROR_INVALID_VALUE, &text));
	cr_assert_str_eq(text, "invalid argument");
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuGetErrorString)((CUresult)12345, &text));
	cr_assert_null(text);
}

Test(driver, answers_every_device_attribute)
{
	int value, major, minor, other;

	driver_begin();
	for (int a = 1; a < CU_DEVICE_ATTRIBUTE_MAX; a++)
		MUST(CU(cuDeviceGetAttribute)(&value, (CUdevice_attribute)a, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuDeviceGetAttribute)(&value, CU_DEVICE_ATTRIBUTE_MAX, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuDeviceGetAttribute)(&value, (CUdevice_attribute)0, 0));
	GIVES(CUDA_ERROR_INVALID_DEVICE, CU(cuDeviceGetAttribute)(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 1));
	MUST(CU(cuDeviceGetAttribute)(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
	cr_assert_eq(value, 32);
	MUST(CU(cuDeviceComputeCapability)(&major, &minor, 0));
	MUST(CU(cuDeviceGetAttribute)(&other, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
	cr_assert_eq(major, 12);
	cr_assert_eq(other, 12);
	MUST(CU(cuDeviceGetAttribute)(&value, CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 0));
	cr_assert_eq(value, 0, "managed memory is not there, so it must not be promised");
	hg_driver_close();
}

Test(driver, compute_capability_is_what_the_environment_says)
{
	int major, minor;

	setenv("HGSHIM_COMPUTE_CAPABILITY", "8.6", 1);
	driver_begin();
	MUST(CU(cuDeviceComputeCapability)(&major, &minor, 0));
	cr_assert_eq(major, 8);
	cr_assert_eq(minor, 6);
	hg_driver_close();
}

Test(driver, devices_have_distinct_ids_and_are_found_by_their_bus_id)
{
	char id[2][32], name[128];
	CUuuid uuid[2];
	CUdevice dev;
	int count;

	setenv("HGSHIM_DEVICES", "2", 1);
	driver_begin();
	MUST(CU(cuDeviceGetCount)(&count));
	cr_assert_eq(count, 2);
	for (int i = 0; i < 2; i++) {
		MUST(CU(cuDeviceGetPCIBusId)(id[i], sizeof(id[i]), i));
		MUST(CU(cuDeviceGetByPCIBusId)(&dev, id[i]));
		cr_assert_eq(dev, i);
		MUST(CU(cuDeviceGetUuid_v2)(&uuid[i], i));
		MUST(CU(cuDeviceGetName)(name, sizeof(name), i));
		cr_assert_str_eq(name, "hgshim cpu");
	}
	cr_assert_neq(memcmp(&uuid[0], &uuid[1], sizeof(uuid[0])), 0);
	GIVES(CUDA_ERROR_INVALID_DEVICE, CU(cuDeviceGetByPCIBusId)(&dev, "0000:77:00.0"));
	MUST(CU(cuDeviceGetName)(name, 3, 0));
	cr_assert_str_eq(name, "hg");
	hg_driver_close();
}

Test(driver, no_symbol_is_listed_twice_and_each_is_found)
{
	static const char *const name[] = {
#define HG_DRV(sym) #sym,
#define HG_DRV_PT(sym, variant, params, args) #variant,
#include "replay/driver.def"
	};
	const size_t nr = sizeof(name) / sizeof(name[0]);

	for (size_t i = 0; i < nr; i++) {
		cr_assert(hg_driver_proc(name[i]), "%s", name[i]);
		for (size_t j = 0; j < i; j++)
			cr_assert_str_neq(name[i], name[j]);
	}
	cr_assert_null(hg_driver_proc("cuMemAlloc"), "the 32-bit form is not there");
	cr_assert_null(hg_driver_proc("cuGraphCreate"));
	cr_assert_null(hg_driver_proc(""));
}

Test(context, primary_handle_is_known_before_the_context_is_active)
{
	CUcontext early, ctx;
	unsigned int flags;
	int active;

	cr_assert_eq(hg_driver_open(&hg_target_cpu), HG_OK);
	MUST(CU(cuInit)(0));
	early = hg_driver_primary_ctx(0);
	cr_assert(early);
	cr_assert_null(hg_driver_primary_ctx(1));
	MUST(CU(cuDevicePrimaryCtxGetState)(0, &flags, &active));
	cr_assert_eq(active, 0);
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	cr_assert_eq(ctx, early);
	MUST(CU(cuDevicePrimaryCtxGetState)(0, &flags, &active));
	cr_assert_eq(active, 1);
	MUST(CU(cuDevicePrimaryCtxRelease_v2)(0));
	MUST(CU(cuDevicePrimaryCtxGetState)(0, &flags, &active));
	cr_assert_eq(active, 0);
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuDevicePrimaryCtxRelease_v2)(0));
	hg_driver_close();
}

Test(context, each_thread_has_a_stack_of_its_own)
{
	CUcontext primary = driver_begin(), a, b, out;
	CUdevice dev;

	MUST(CU(cuCtxCreate_v2)(&a, 0, 0));
	MUST(CU(cuCtxGetCurrent)(&out));
	cr_assert_eq(out, a);
	MUST(CU(cuCtxCreate_v2)(&b, CU_CTX_SCHED_SPIN, 0));
	MUST(CU(cuCtxPopCurrent_v2)(&out));
	cr_assert_eq(out, b);
	MUST(CU(cuCtxGetCurrent)(&out));
	cr_assert_eq(out, a);
	MUST(CU(cuCtxDestroy_v2)(b));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxPushCurrent_v2)(b));
	MUST(CU(cuCtxDestroy_v2)(a));	/* the current one: it leaves the stack */
	MUST(CU(cuCtxGetCurrent)(&out));
	cr_assert_eq(out, primary);
	MUST(CU(cuCtxSetCurrent)(NULL));
	MUST(CU(cuCtxGetCurrent)(&out));
	cr_assert_null(out);
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxGetDevice)(&dev));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxPopCurrent_v2)(&out));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxDestroy_v2)(primary));
	hg_driver_close();
}

Test(context, what_was_in_a_destroyed_one_is_gone)
{
	CUstream stream;
	CUevent event;
	CUdeviceptr mem;
	CUcontext ctx;
	size_t before, after, total;

	driver_begin();
	MUST(CU(cuMemGetInfo_v2)(&before, &total));
	MUST(CU(cuCtxCreate_v2)(&ctx, 0, 0));
	MUST(CU(cuStreamCreate)(&stream, 0));
	MUST(CU(cuEventCreate)(&event, 0));
	MUST(CU(cuMemAlloc_v2)(&mem, 1 << 20));
	MUST(CU(cuMemsetD8Async)(mem, 1, 1 << 20, stream));
	MUST(CU(cuCtxDestroy_v2)(ctx));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamQuery)(stream));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventQuery)(event));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemFree_v2)(mem));
	MUST(CU(cuMemGetInfo_v2)(&after, &total));
	cr_assert_eq(before, after);
	hg_driver_close();
}

Test(context, current_one_that_was_reset_says_that_it_is_destroyed)
{
	CUdeviceptr mem;
	CUcontext ctx;

	driver_begin();
	MUST(CU(cuMemAlloc_v2)(&mem, 256));
	MUST(CU(cuDevicePrimaryCtxReset_v2)(0));
	GIVES(CUDA_ERROR_CONTEXT_IS_DESTROYED, CU(cuMemAlloc_v2)(&mem, 256));
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	MUST(CU(cuMemAlloc_v2)(&mem, 256));
	hg_driver_close();
}

Test(context, primary_one_that_was_reset_is_still_retained)
{
	unsigned int flags;
	CUcontext ctx;
	int active;

	driver_begin();
	MUST(CU(cuDevicePrimaryCtxReset_v2)(0));
	MUST(CU(cuDevicePrimaryCtxGetState)(0, &flags, &active));
	cr_assert_eq(active, 0);
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	MUST(CU(cuDevicePrimaryCtxRelease_v2)(0));
	MUST(CU(cuDevicePrimaryCtxGetState)(0, &flags, &active));
	cr_assert_eq(active, 1, "it was retained twice");
	MUST(CU(cuDevicePrimaryCtxReset_v2)(0));
	MUST(CU(cuDevicePrimaryCtxRelease_v2)(0));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuDevicePrimaryCtxRelease_v2)(0));
	hg_driver_close();
}

Test(context, limits_are_kept_and_checked)
{
	size_t value;

	driver_begin();
	MUST(CU(cuCtxSetLimit)(CU_LIMIT_PRINTF_FIFO_SIZE, 12345));
	MUST(CU(cuCtxGetLimit)(&value, CU_LIMIT_PRINTF_FIFO_SIZE));
	cr_assert_eq(value, 12345);
	GIVES(CUDA_ERROR_UNSUPPORTED_LIMIT, CU(cuCtxSetLimit)(CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH, 1));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuCtxSetLimit)((CUlimit)99, 1));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuCtxGetLimit)(&value, (CUlimit)99));
	hg_driver_close();
}

/* Values that are no handle: garbage, freed ones, ones of another kind. */
Test(handles, that_are_none_are_refused_and_never_followed)
{
	static char not_an_object[64];
	void *garbage[] = { (void *)3, (void *)0xdeadbeef, not_an_object, (void *)UINTPTR_MAX, NULL, NULL };
	CUcontext ctx = driver_begin();
	CUstream stream;
	CUfunction fn;
	CUdeviceptr addr;
	CUmodule module;
	size_t size;
	int value;

	MUST(CU(cuStreamCreate)(&stream, 0));
	garbage[4] = ctx;
	MUST(CU(cuStreamDestroy_v2)(stream));
	garbage[5] = stream;
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		void *g = garbage[i];

		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamSynchronize)(g));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamDestroy_v2)(g));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventRecord)(g, NULL));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventDestroy_v2)(g));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamWaitEvent)(NULL, g, 0));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuModuleUnload)(g));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuModuleGetFunction)(&fn, g, "k"));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuModuleGetGlobal_v2)(&addr, &size, g, "v"));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuLibraryUnload)(g));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuLibraryGetModule)(&module, g));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuFuncGetAttribute)(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, g));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuLaunchKernel)(g, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
		GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemPoolDestroy)(g));
		if (g != ctx)
			GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxSetCurrent)(g));
	}
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventDestroy_v2)(NULL));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamDestroy_v2)(NULL));
	hg_driver_close();
}

static void *other_thread(void *arg)
{
	CUcontext out;

	(void)arg;
	MUST(CU(cuCtxGetCurrent)(&out));
	return out;
}

Test(driver, acts_for_other_threads_with_their_contexts)
{
	CUcontext primary = driver_begin(), out;
	pthread_t thread;
	void *seen = primary;

	hg_driver_act_as(5);
	MUST(CU(cuCtxGetCurrent)(&out));
	cr_assert_null(out);
	MUST(CU(cuCtxSetCurrent)(primary));
	hg_driver_act_as(6);
	MUST(CU(cuCtxGetCurrent)(&out));
	cr_assert_null(out);
	hg_driver_act_as(5);
	MUST(CU(cuCtxGetCurrent)(&out));
	cr_assert_eq(out, primary);
	hg_driver_act_as(0);
	cr_assert_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
	cr_assert_eq(pthread_join(thread, &seen), 0);
	cr_assert_null(seen);
	hg_driver_close();
}

Test(driver, can_be_closed_and_opened_again)
{
	for (int i = 0; i < 3; i++) {
		CUstream stream;
		CUdeviceptr mem;

		driver_begin();
		MUST(CU(cuStreamCreate)(&stream, 0));
		MUST(CU(cuMemAlloc_v2)(&mem, 100));
		MUST(CU(cuMemsetD8Async)(mem, 0, 100, CU_STREAM_PER_THREAD));
		hg_driver_close();
	}
}

#define NAME UINT64_C(0x7e0000001000)

Test(names, object_is_called_as_it_is_told_and_no_longer_by_its_own)
{
	CUstream stream, other;
	CUevent event;
	CUcontext ctx;

	driver_begin();
	MUST(CU(cuStreamCreate)(&stream, 0));
	MUST(CU(cuStreamCreate)(&other, 0));
	MUST(CU(cuEventCreate)(&event, 0));
	cr_assert_eq(hg_driver_name(HG_HANDLE_STREAM, stream, NAME), HG_OK);
	MUST(CU(cuStreamGetCtx)((CUstream)NAME, &ctx));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamQuery)(stream));
	MUST(CU(cuEventRecord)(event, (CUstream)NAME));
	/* another stream cannot be called so, an event can */
	cr_assert_eq(hg_driver_name(HG_HANDLE_STREAM, other, NAME), HG_ERR_INVALID);
	MUST(CU(cuStreamQuery)(other));
	cr_assert_eq(hg_driver_name(HG_HANDLE_EVENT, event, NAME), HG_OK);
	MUST(CU(cuEventSynchronize)((CUevent)NAME));
	/* once it is gone, the name is free */
	MUST(CU(cuStreamDestroy_v2)((CUstream)NAME));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamQuery)((CUstream)NAME));
	MUST(CU(cuEventQuery)((CUevent)NAME));
	cr_assert_eq(hg_driver_name(HG_HANDLE_STREAM, other, NAME), HG_OK);
	MUST(CU(cuStreamQuery)((CUstream)NAME));
	hg_driver_close();
}

Test(names, further_ones_are_understood_and_all_go_with_the_object)
{
	CUcontext ctx = driver_begin(), got;
	CUdeviceptr mem;

	cr_assert_eq(hg_driver_name(HG_HANDLE_CTX, ctx, NAME), HG_OK);
	cr_assert_eq(hg_driver_name(HG_HANDLE_CTX, (void *)NAME, NAME + 64), HG_OK);
	cr_assert_eq(hg_driver_name(HG_HANDLE_CTX, (void *)NAME, NAME + 64), HG_OK, "it is called so already");
	cr_assert_eq(hg_driver_name(HG_HANDLE_CTX, (void *)NAME, NAME), HG_OK);
	MUST(CU(cuCtxSetCurrent)((CUcontext)(NAME + 64)));
	MUST(CU(cuCtxGetCurrent)(&got));
	cr_assert_eq((uintptr_t)got, NAME);
	MUST(CU(cuMemAlloc_v2)(&mem, 100));
	MUST(CU(cuPointerGetAttribute)(&got, CU_POINTER_ATTRIBUTE_CONTEXT, mem));
	cr_assert_eq((uintptr_t)got, NAME);
	cr_assert_eq((uintptr_t)hg_driver_primary_ctx(0), NAME);

	MUST(CU(cuCtxCreate_v2)(&ctx, 0, 0));
	cr_assert_eq(hg_driver_name(HG_HANDLE_CTX, ctx, NAME + 128), HG_OK);
	cr_assert_eq(hg_driver_name(HG_HANDLE_CTX, (void *)(NAME + 128), NAME + 192), HG_OK);
	MUST(CU(cuCtxDestroy_v2)((CUcontext)(NAME + 192)));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxSetCurrent)((CUcontext)(NAME + 128)));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxSetCurrent)((CUcontext)(NAME + 192)));
	hg_driver_close();
	/* nothing of it is left */
	driver_begin();
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxSetCurrent)((CUcontext)NAME));
	hg_driver_close();
}

Test(names, those_of_cuda_itself_are_never_given)
{
	CUstream stream;

	driver_begin();
	MUST(CU(cuStreamCreate)(&stream, 0));
	for (uint64_t name = 0; name <= 2; name++)
		cr_assert_eq(hg_driver_name(HG_HANDLE_STREAM, stream, name), HG_ERR_INVALID);
	cr_assert_eq(hg_driver_name(HG_HANDLE_STREAM, (void *)NAME, NAME), HG_ERR_INVALID, "there is no such stream");
	MUST(CU(cuStreamQuery)(stream));
	hg_driver_close();
}

Test(names, no_new_object_takes_one_that_is_promised_or_given)
{
	CUevent event, again, other;
	bool reused;

	driver_begin();
	MUST(CU(cuEventCreate)(&event, 0));
	MUST(CU(cuEventDestroy_v2)(event));
	MUST(CU(cuEventCreate)(&again, 0));
	reused = again == event;	/* so malloc is as it is expected to be; not with a sanitizer's */
	MUST(CU(cuEventDestroy_v2)(again));
	cr_assert_eq(hg_driver_name_promise((uintptr_t)again), HG_OK);
	MUST(CU(cuEventCreate)(&other, 0));
	cr_assert_neq(other, again);
	if (reused) {
		/* at the promised address all the same, and so called otherwise */
		MUST(CU(cuEventRecord)(other, NULL));
		MUST(CU(cuEventSynchronize)(other));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventQuery)(again));
		/* the promise is kept: even this one can be called so */
		cr_assert_eq(hg_driver_name(HG_HANDLE_EVENT, other, (uintptr_t)again), HG_OK);
		hg_driver_name_kept();
		MUST(CU(cuEventSynchronize)(again));
		MUST(CU(cuEventDestroy_v2)(again));
		MUST(CU(cuEventCreate)(&other, 0));
		cr_assert_eq(other, again, "nobody is called so any more");
	}
	hg_driver_close();
}
