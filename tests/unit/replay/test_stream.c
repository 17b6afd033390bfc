/* test_stream.c - the order of streams, events, and functions of the application. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "driver_test.h"

/* Holds a stream until it is opened. */
struct door {
	atomic_bool open;
	atomic_int passed;
};

static void pass(void *arg)
{
	struct door *d = arg;

	while (!d->open)
		usleep(100);
	d->passed++;
}

static void note(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

/* Gives a thing that should not happen the time to happen. */
static void settle(void)
{
	usleep(20000);
}

Test(stream, legacy_waits_for_blocking_streams_and_they_for_it)
{
	struct door door = { 0 };
	atomic_int legacy = 0, after = 0, free_running = 0;
	CUstream a, b, n;

	driver_begin();
	MUST(CU(cuStreamCreate)(&a, CU_STREAM_DEFAULT));
	MUST(CU(cuStreamCreate)(&b, CU_STREAM_DEFAULT));
	MUST(CU(cuStreamCreate)(&n, CU_STREAM_NON_BLOCKING));
	MUST(CU(cuLaunchHostFunc)(a, pass, &door));
	MUST(CU(cuLaunchHostFunc)(NULL, note, &legacy));
	MUST(CU(cuLaunchHostFunc)(b, note, &after));
	MUST(CU(cuLaunchHostFunc)(n, note, &free_running));
	MUST(CU(cuStreamSynchronize)(n));
	settle();
	cr_assert_eq(free_running, 1, "a non-blocking stream does not wait");
	cr_assert_eq(legacy, 0, "the legacy stream waits for blocking ones");
	cr_assert_eq(after, 0, "a blocking stream waits for the legacy one");
	GIVES(CUDA_ERROR_NOT_READY, CU(cuStreamQuery)(b));
	GIVES(CUDA_ERROR_NOT_READY, CU(cuStreamQuery)(NULL));
	MUST(CU(cuStreamQuery)(n));
	door.open = true;
	MUST(CU(cuStreamSynchronize)(b));
	cr_assert_eq(legacy, 1);
	cr_assert_eq(after, 1);
	hg_driver_close();
}

Test(stream, blocking_streams_do_not_wait_for_each_other)
{
	struct door door = { 0 };
	atomic_int ran = 0;
	CUstream a, b;

	driver_begin();
	MUST(CU(cuStreamCreate)(&a, CU_STREAM_DEFAULT));
	MUST(CU(cuStreamCreate)(&b, CU_STREAM_DEFAULT));
	MUST(CU(cuLaunchHostFunc)(a, pass, &door));
	MUST(CU(cuLaunchHostFunc)(b, note, &ran));
	MUST(CU(cuStreamSynchronize)(b));
	cr_assert_eq(ran, 1);
	cr_assert_eq(door.passed, 0);
	door.open = true;
	MUST(CU(cuCtxSynchronize)());
	cr_assert_eq(door.passed, 1);
	hg_driver_close();
}

Test(stream, per_thread_default_is_the_one_of_the_variants_and_of_handle_2)
{
	struct door door = { 0 };
	atomic_int ran = 0;
	unsigned long long legacy, own, also_own;
	CUstream n;

	driver_begin();
	MUST(CU(cuStreamCreate)(&n, CU_STREAM_NON_BLOCKING));
	MUST(CU(cuStreamGetId)(NULL, &legacy));
	MUST(CU(cuStreamGetId)(CU_STREAM_PER_THREAD, &own));
	MUST(CU(cuStreamGetId_ptsz)(NULL, &also_own));
	cr_assert_eq(own, also_own);
	cr_assert_neq(own, legacy);
	MUST(CU(cuStreamGetId_ptsz)(CU_STREAM_LEGACY, &also_own));
	cr_assert_eq(legacy, also_own);
	/* it is a blocking stream: the legacy one waits for it */
	MUST(CU(cuLaunchHostFunc_ptsz)(NULL, pass, &door));
	MUST(CU(cuLaunchHostFunc)(CU_STREAM_LEGACY, note, &ran));
	settle();
	cr_assert_eq(ran, 0);
	door.open = true;
	MUST(CU(cuStreamSynchronize)(NULL));
	cr_assert_eq(ran, 1);
	hg_driver_close();
}

static void *own_stream(void *arg)
{
	unsigned long long *id = arg;
	CUcontext ctx;

	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	MUST(CU(cuCtxSetCurrent)(ctx));
	MUST(CU(cuStreamGetId)(CU_STREAM_PER_THREAD, id));
	return NULL;
}

Test(stream, each_thread_has_its_own_per_thread_default)
{
	unsigned long long id, other;
	pthread_t thread;

	driver_begin();
	MUST(CU(cuStreamGetId)(CU_STREAM_PER_THREAD, &id));
	cr_assert_eq(pthread_create(&thread, NULL, own_stream, &other), 0);
	pthread_join(thread, NULL);
	cr_assert_neq(id, other);
	hg_driver_close();
}

Test(stream, destroyed_one_still_does_its_work)
{
	struct door door = { 0 };
	CUstream s;

	driver_begin();
	MUST(CU(cuStreamCreate)(&s, 0));
	MUST(CU(cuLaunchHostFunc)(s, pass, &door));
	MUST(CU(cuStreamDestroy_v2)(s));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamDestroy_v2)(s));
	cr_assert_eq(hg_driver_quiesce(20), HG_ERR_TIMEOUT);
	door.open = true;
	cr_assert_eq(hg_driver_quiesce(5000), HG_OK);
	cr_assert_eq(door.passed, 1);
	hg_driver_close();
}

Test(stream, priorities_are_clamped_to_the_range)
{
	int least, greatest, priority;
	CUstream s;

	driver_begin();
	MUST(CU(cuCtxGetStreamPriorityRange)(&least, &greatest));
	cr_assert_gt(least, greatest);
	MUST(CU(cuStreamCreateWithPriority)(&s, 0, -100));
	MUST(CU(cuStreamGetPriority)(s, &priority));
	cr_assert_eq(priority, greatest);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuStreamCreate)(&s, 2));
	hg_driver_close();
}

static CUresult seen_in_callback;

static void call_cuda(void *arg)
{
	CUdeviceptr *out = arg;

	seen_in_callback = CU(cuMemAlloc_v2)(out, 16);
}

static void callback(CUstream stream, CUresult status, void *arg)
{
	(void)stream;
	cr_assert_eq(status, CUDA_SUCCESS);
	note(arg);
}

Test(stream, functions_of_the_application_run_in_order_and_may_not_call_cuda)
{
	atomic_int ran = 0;
	CUdeviceptr out;

	driver_begin();
	MUST(CU(cuStreamAddCallback)(NULL, callback, &ran, 0));
	MUST(CU(cuLaunchHostFunc)(NULL, call_cuda, &out));
	MUST(CU(cuStreamSynchronize)(NULL));
	cr_assert_eq(ran, 1);
	cr_assert_eq(seen_in_callback, CUDA_ERROR_NOT_PERMITTED);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuStreamAddCallback)(NULL, callback, &ran, 1));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLaunchHostFunc)(NULL, NULL, NULL));
	hg_driver_close();
}

Test(stream, nothing_is_ever_being_captured)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_ACTIVE;

	driver_begin();
	MUST(CU(cuStreamIsCapturing)(NULL, &status));
	cr_assert_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
	MUST(CU(cuThreadExchangeStreamCaptureMode)(&mode));
	cr_assert_eq(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
	MUST(CU(cuThreadExchangeStreamCaptureMode)(&mode));
	cr_assert_eq(mode, CU_STREAM_CAPTURE_MODE_RELAXED);
	cr_assert_null(hg_driver_proc("cuStreamBeginCapture_v2"));
	hg_driver_close();
}

Test(event, orders_streams_and_measures_time)
{
	struct door door = { 0 };
	atomic_int ran = 0;
	CUstream a, b;
	CUevent start, end, never, untimed;
	float ms;

	driver_begin();
	MUST(CU(cuStreamCreate)(&a, CU_STREAM_NON_BLOCKING));
	MUST(CU(cuStreamCreate)(&b, CU_STREAM_NON_BLOCKING));
	MUST(CU(cuEventCreate)(&start, 0));
	MUST(CU(cuEventCreate)(&end, CU_EVENT_BLOCKING_SYNC));
	MUST(CU(cuEventCreate)(&never, 0));
	MUST(CU(cuEventCreate)(&untimed, CU_EVENT_DISABLE_TIMING));
	MUST(CU(cuEventQuery)(never));
	MUST(CU(cuEventSynchronize)(never));
	MUST(CU(cuStreamWaitEvent)(b, never, 0));

	MUST(CU(cuEventRecord)(start, a));
	MUST(CU(cuLaunchHostFunc)(a, pass, &door));
	MUST(CU(cuEventRecord)(end, a));
	MUST(CU(cuEventRecord)(untimed, a));
	MUST(CU(cuStreamWaitEvent)(b, end, 0));
	MUST(CU(cuLaunchHostFunc)(b, note, &ran));
	settle();
	GIVES(CUDA_ERROR_NOT_READY, CU(cuEventQuery)(end));
	GIVES(CUDA_ERROR_NOT_READY, CU(cuEventElapsedTime_v2)(&ms, start, end));
	cr_assert_eq(ran, 0);
	door.open = true;
	MUST(CU(cuEventSynchronize)(end));
	MUST(CU(cuStreamSynchronize)(b));
	cr_assert_eq(ran, 1);
	MUST(CU(cuEventElapsedTime_v2)(&ms, start, end));
	cr_assert(ms >= 19.0f && ms < 10000.0f, "%f ms", (double)ms);
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventElapsedTime_v2)(&ms, start, never));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventElapsedTime_v2)(&ms, start, untimed));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuEventCreate)(&end, 64));
	hg_driver_close();
}

Test(event, belongs_to_its_context)
{
	CUcontext other;
	CUevent event;

	driver_begin();
	MUST(CU(cuEventCreate)(&event, 0));
	MUST(CU(cuCtxCreate_v2)(&other, 0, 0));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventRecord)(event, NULL));
	MUST(CU(cuStreamWaitEvent)(NULL, event, 0));
	hg_driver_close();
}
