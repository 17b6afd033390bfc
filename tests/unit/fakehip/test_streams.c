/* test_streams.c - streams and events of the HIP double. */
#include "fake_test.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

Test(streams, run_beside_each_other)
{
	hipStream_t a, b;
	struct door door;

	LOAD("STRICT=1");
	OK(hip.hipStreamCreateWithFlags(&a, hipStreamNonBlocking));
	OK(hip.hipStreamCreateWithPriority(&b, hipStreamNonBlocking, -1));
	hold_stream(a, &door);
	await_door(&door);
	OK(hip.hipStreamSynchronize(b));
	GIVES(hipErrorNotReady, hip.hipStreamQuery(a));
	cr_assert_eq(hip.hipPeekAtLastError(), hipSuccess, "not ready is no error to remember");
	open_door(&door);
	OK(hip.hipStreamSynchronize(a));
	OK(hip.hipStreamQuery(a));
	OK(hip.hipStreamDestroy(a));
	OK(hip.hipStreamDestroy(b));
}

static _Atomic int order[8], nr;

static void note(void *arg)
{
	order[nr++] = (int)(intptr_t)arg;
}

Test(streams, the_null_stream_waits_for_blocking_ones_and_they_for_it)
{
	hipStream_t s, free_one;
	struct door door;

	LOAD("STRICT=1");
	OK(hip.hipStreamCreate(&s));
	OK(hip.hipStreamCreateWithFlags(&free_one, hipStreamNonBlocking));
	hold_stream(s, &door);
	OK(hip.hipLaunchHostFunc(NULL, note, (void *)2));
	OK(hip.hipLaunchHostFunc(s, note, (void *)3));
	OK(hip.hipLaunchHostFunc(free_one, note, (void *)1));
	OK(hip.hipStreamSynchronize(free_one));
	cr_assert_eq(nr, 1);
	open_door(&door);
	OK(hip.hipDeviceSynchronize());
	cr_assert_eq(nr, 3);
	cr_assert_eq(order[0], 1);
	cr_assert_eq(order[1], 2);
	cr_assert_eq(order[2], 3);
}

Test(streams, without_an_event_order_is_a_matter_of_luck)
{
	static _Atomic int first;
	hipStream_t a, b;
	int differs = 0;

	LOAD("DELAY_US=2000", "SEED=7");
	OK(hip.hipStreamCreateWithFlags(&a, hipStreamNonBlocking));
	OK(hip.hipStreamCreateWithFlags(&b, hipStreamNonBlocking));
	for (int i = 0; i < 200 && !differs; i++) {
		nr = 0;
		OK(hip.hipLaunchHostFunc(a, note, (void *)1));
		OK(hip.hipLaunchHostFunc(b, note, (void *)2));
		OK(hip.hipDeviceSynchronize());
		if (!first)
			first = order[0];
		differs = order[0] != first;
	}
	cr_assert(differs);
}

Test(streams, a_wait_for_an_event_makes_order)
{
	hipStream_t a, b;
	struct door door;
	hipEvent_t e;

	LOAD("STRICT=1");
	OK(hip.hipStreamCreateWithFlags(&a, hipStreamNonBlocking));
	OK(hip.hipStreamCreateWithFlags(&b, hipStreamNonBlocking));
	OK(hip.hipEventCreateWithFlags(&e, hipEventDisableTiming));
	OK(hip.hipStreamWaitEvent(b, e, 0));	/* recorded nowhere: no wait */
	OK(hip.hipStreamSynchronize(b));
	hold_stream(a, &door);
	OK(hip.hipLaunchHostFunc(a, note, (void *)1));
	OK(hip.hipEventRecord(e, a));
	GIVES(hipErrorNotReady, hip.hipEventQuery(e));
	OK(hip.hipStreamWaitEvent(b, e, 0));
	OK(hip.hipLaunchHostFunc(b, note, (void *)2));
	usleep(20000);
	cr_assert_eq(nr, 0);
	OK(hip.hipEventDestroy(e));		/* the wait stays */
	open_door(&door);
	OK(hip.hipStreamSynchronize(b));
	cr_assert_eq(order[0], 1);
	cr_assert_eq(order[1], 2);
}

Test(events, tell_the_time_between_them)
{
	struct door door;
	hipEvent_t a, b;
	hipStream_t s;
	float ms;

	LOAD("STRICT=1");
	OK(hip.hipStreamCreate(&s));
	OK(hip.hipEventCreate(&a));
	OK(hip.hipEventCreate(&b));
	OK(hip.hipEventRecord(a, s));
	hold_stream(s, &door);
	OK(hip.hipEventRecord(b, s));
	await_door(&door);
	usleep(30000);
	GIVES(hipErrorNotReady, hip.hipEventElapsedTime(&ms, a, b));
	open_door(&door);
	OK(hip.hipEventSynchronize(b));
	OK(hip.hipEventElapsedTime(&ms, a, b));
	cr_assert_geq(ms, 25.f);
	cr_assert_lt(ms, 10000.f);
}

Test(events, misuses_are_refused)
{
	hipEvent_t a, b;
	float ms;

	LOAD();
	OK(hip.hipEventCreateWithFlags(&a, hipEventDisableTiming));
	OK(hip.hipEventCreate(&b));
	GIVES(hipErrorInvalidHandle, hip.hipEventElapsedTime(&ms, b, b));	/* never recorded */
	OK(hip.hipEventRecord(a, NULL));
	OK(hip.hipEventRecord(b, NULL));
	GIVES(hipErrorInvalidHandle, hip.hipEventElapsedTime(&ms, a, b));
	OK(hip.hipEventDestroy(a));
	GIVES(hipErrorInvalidHandle, hip.hipEventDestroy(a));
	GIVES(hipErrorInvalidHandle, hip.hipEventRecord(a, NULL));
	GIVES(hipErrorInvalidHandle, hip.hipEventQuery(a));
}

Test(streams, a_destroyed_one_does_its_work_and_is_no_stream_any_more)
{
	struct door door;
	hipStream_t s;

	LOAD();
	OK(hip.hipStreamCreate(&s));
	hold_stream(s, &door);
	OK(hip.hipLaunchHostFunc(s, note, (void *)1));
	OK(hip.hipStreamDestroy(s));
	GIVES(hipErrorContextIsDestroyed, hip.hipStreamQuery(s));
	GIVES(hipErrorContextIsDestroyed, hip.hipStreamDestroy(s));
	open_door(&door);
	OK(hip.hipDeviceSynchronize());
	cr_assert_eq(nr, 1);
	GIVES(hipErrorInvalidResourceHandle, hip.hipStreamDestroy(NULL));
}

static void calls_hip(void *arg)
{
	int n;

	*(hipError_t *)arg = hip.hipGetDeviceCount(&n);
}

Test(streams, a_host_function_must_not_call_hip)
{
	hipError_t got = hipSuccess;

	LOAD();
	OK(hip.hipLaunchHostFunc(NULL, calls_hip, &got));
	OK(hip.hipDeviceSynchronize());
	cr_assert_eq(got, hipErrorIllegalState);
}

static void *on_own_thread(void *arg)
{
	hipStream_t *other = arg;
	int device;

	OK(hip.hipGetDevice(&device));
	cr_assert_eq(device, 0, "the current device is the thread's own");
	OK(hip.hipStreamSynchronize(hipStreamPerThread));
	OK(hip.hipStreamSynchronize(*other));
	return NULL;
}

Test(streams, belong_to_the_device_that_was_current)
{
	hipDevice_t device;
	pthread_t thread;
	hipStream_t s;
	hipEvent_t e;

	LOAD("DEVICES=2");
	OK(hip.hipEventCreate(&e));
	OK(hip.hipSetDevice(1));
	OK(hip.hipStreamCreate(&s));
	OK(hip.hipStreamGetDevice(s, &device));
	cr_assert_eq(device, 1);
	GIVES(hipErrorInvalidHandle, hip.hipEventRecord(e, s));		/* of device 0 */
	GIVES(hipErrorInvalidDevice, hip.hipSetDevice(2));
	pthread_create(&thread, NULL, on_own_thread, &s);
	pthread_join(thread, NULL);
}
