/* test_streams.c - order and time in the fake CUDA driver: streams, events, host functions, copies. */
#include "fake_test.h"

#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(int ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000l };

	nanosleep(&t, NULL);
}

static CUstream stream(unsigned int flags)
{
	CUstream s;

	OK(cu.cuStreamCreate(&s, flags));
	return s;
}

static CUdeviceptr zeroed(size_t size)
{
	CUdeviceptr p;

	OK(cu.cuMemAlloc_v2(&p, size));
	OK(cu.cuMemsetD8_v2(p, 0, size));
	OK(cu.cuCtxSynchronize());
	return p;
}

Test(streams, a_call_returns_before_its_work_is_done)
{
	static struct door door;
	CUstream s;

	START();
	s = stream(CU_STREAM_NON_BLOCKING);
	OK(cu.cuStreamQuery(s));
	hold_stream(s, &door);
	GIVES(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(s));
	open_door(&door);
	OK(cu.cuStreamSynchronize(s));
	OK(cu.cuStreamQuery(s));
}

Test(streams, do_what_they_have_in_order)
{
	uint32_t n = 1000, v = 1;
	CUdeviceptr p;
	CUfunction fill, add;
	CUstream s;

	START();
	p = zeroed(4000);
	fill = function(load_module(), "fill");
	add = function(load_module(), "add");
	s = stream(CU_STREAM_NON_BLOCKING);
	for (uint32_t i = 0; i < 50; i++) {
		uint32_t base = 1000 * i;
		void *first[] = { &p, &n, &base }, *next[] = { &p, &n, &v };

		launch(fill, 8, 128, s, first);
		launch(add, 8, 128, s, next);
		base = 0;	/* parameters were copied at the call */
	}
	OK(cu.cuStreamSynchronize(s));
	for (int i = 0; i < 1000; i += 111)
		cr_assert_eq(read_u32(p + 4 * (CUdeviceptr)i), 49001);
}

/* Whether work in `later` waits for what `earlier` got before: for ever, or for 50 ms if it is meant to. */
static bool waits(CUstream later, CUstream earlier, bool expected)
{
	static struct door door;
	CUdeviceptr p = zeroed(4);
	bool done;

	memset(&door, 0, sizeof(door));
	hold_stream(earlier, &door);
	await_door(&door);
	OK(cu.cuMemsetD32Async(p, 1, 1, later));
	for (int i = 0; i < (expected ? 5 : 1000) && !*(volatile uint32_t *)(uintptr_t)p; i++)
		pause_ms(10);
	done = *(volatile uint32_t *)(uintptr_t)p;
	open_door(&door);
	OK(cu.cuCtxSynchronize());
	cr_assert_eq(read_u32(p), 1);
	return !done;
}

Test(streams, the_legacy_stream_and_blocking_ones_wait_for_each_other)
{
	CUstream blocking, other, free_;

	START();
	blocking = stream(CU_STREAM_DEFAULT);
	other = stream(CU_STREAM_DEFAULT);
	free_ = stream(CU_STREAM_NON_BLOCKING);
	cr_expect(waits(NULL, blocking, true));
	cr_expect(waits(blocking, NULL, true));
	cr_expect(waits(CU_STREAM_LEGACY, CU_STREAM_PER_THREAD, true));
	cr_expect(waits(CU_STREAM_PER_THREAD, CU_STREAM_LEGACY, true));
	cr_expect_not(waits(other, blocking, false));
	cr_expect_not(waits(NULL, free_, false));
	cr_expect_not(waits(free_, NULL, false));
	cr_expect_not(waits(CU_STREAM_PER_THREAD, blocking, false));
	cr_expect(waits(blocking, blocking, true));
}

Test(streams, the_flavoured_calls_mean_the_threads_own_stream)
{
	static struct door door;
	CUdeviceptr p;
	unsigned long long id[3];

	START();
	OK(cu.cuStreamGetId(NULL, &id[0]));
	OK(cu.cuStreamGetId_ptsz(NULL, &id[1]));
	OK(cu.cuStreamGetId(CU_STREAM_PER_THREAD, &id[2]));
	cr_assert(id[0] != id[1] && id[1] == id[2]);
	p = zeroed(4);
	hold_stream(stream(CU_STREAM_DEFAULT), &door);	/* the legacy stream would wait for it */
	OK(cu.cuMemsetD32Async_ptsz(p, 5, 1, NULL));
	OK(cu.cuStreamSynchronize_ptsz(NULL));
	cr_assert_eq(*(volatile uint32_t *)(uintptr_t)p, 5);
	open_door(&door);
}

static void *own_stream(void *id)
{
	CUcontext ctx;

	OK(cu.cuDevicePrimaryCtxRetain(&ctx, 0));
	OK(cu.cuCtxSetCurrent(ctx));
	OK(cu.cuStreamGetId(CU_STREAM_PER_THREAD, id));
	OK(cu.cuStreamSynchronize(CU_STREAM_PER_THREAD));
	OK(cu.cuDevicePrimaryCtxRelease_v2(0));
	return NULL;
}

Test(streams, each_thread_has_its_own)
{
	unsigned long long id[3];
	pthread_t thread[2];

	START();
	OK(cu.cuStreamGetId(CU_STREAM_PER_THREAD, &id[2]));
	for (int i = 0; i < 2; i++)
		cr_assert_not(pthread_create(&thread[i], NULL, own_stream, &id[i]));
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	cr_assert(id[0] != id[1] && id[1] != id[2] && id[0] != id[2]);
}

Test(streams, wait_for_an_event_of_another)
{
	static struct door door;
	CUdeviceptr p;
	CUevent e;
	CUstream a, b;

	START();
	p = zeroed(4);
	a = stream(CU_STREAM_NON_BLOCKING);
	b = stream(CU_STREAM_NON_BLOCKING);
	OK(cu.cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
	OK(cu.cuStreamWaitEvent(b, e, 0));	/* recorded nowhere: nothing to wait for */
	OK(cu.cuStreamSynchronize(b));
	hold_stream(a, &door);
	OK(cu.cuMemsetD32Async(p, 1, 1, a));
	OK(cu.cuEventRecord(e, a));
	OK(cu.cuStreamWaitEvent(b, e, 0));
	OK(cu.cuEventRecord(e, b));		/* what was waited for is what it was then */
	OK(cu.cuEventDestroy_v2(e));
	OK(cu.cuMemsetD32Async(p, 2, 1, b));
	pause_ms(30);
	cr_assert_eq(*(volatile uint32_t *)(uintptr_t)p, 0);
	open_door(&door);
	OK(cu.cuCtxSynchronize());
	cr_assert_eq(read_u32(p), 2);
}

Test(streams, destroyed_ones_finish_their_work)
{
	static struct door door;
	CUdeviceptr p;
	CUstream s;

	START();
	p = zeroed(4);
	s = stream(CU_STREAM_NON_BLOCKING);
	hold_stream(s, &door);
	OK(cu.cuMemsetD32Async(p, 8, 1, s));
	OK(cu.cuStreamDestroy_v2(s));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamQuery(s));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamDestroy_v2(s));
	open_door(&door);
	OK(cu.cuCtxSynchronize());
	cr_assert_eq(*(volatile uint32_t *)(uintptr_t)p, 8);
}

static _Atomic int nr_put;

static void *put_many(void *arg)
{
	struct { CUstream s; CUcontext ctx; CUdeviceptr p; } *a = arg;

	OK(cu.cuCtxSetCurrent(a->ctx));
	for (int i = 0; i < 100; i++) {
		OK(cu.cuMemsetD32Async(a->p, 1, 1, a->s));
		nr_put++;
	}
	return NULL;
}

Test(streams, a_full_queue_blocks_the_call)
{
	struct { CUstream s; CUcontext ctx; CUdeviceptr p; } arg;
	static struct door door;
	pthread_t thread;

	arg.ctx = START("QUEUE_DEPTH=64");
	arg.p = zeroed(4);
	arg.s = stream(CU_STREAM_NON_BLOCKING);
	hold_stream(arg.s, &door);
	await_door(&door);
	cr_assert_not(pthread_create(&thread, NULL, put_many, &arg));
	pause_ms(100);
	cr_assert_eq(nr_put, 63);
	open_door(&door);
	pthread_join(thread, NULL);
	cr_assert_eq(nr_put, 100);
}

static void CUDA_CB called(CUstream s, CUresult status, void *arg)
{
	*(CUstream *)arg = status == CUDA_SUCCESS ? s : NULL;
}

Test(streams, callbacks_get_the_stream_as_it_was_given)
{
	CUstream s, seen = NULL;

	START();
	s = stream(CU_STREAM_DEFAULT);
	OK(cu.cuStreamAddCallback(s, called, &seen, 0));
	OK(cu.cuStreamSynchronize(s));
	cr_assert_eq(seen, s);
}

Test(streams, wait_for_a_value_and_write_one)
{
	uint32_t *flag;
	CUdeviceptr p;
	CUstream s;

	START();
	p = zeroed(8);
	OK(cu.cuMemAllocHost_v2((void **)&flag, 4));
	*flag = 1;
	s = stream(CU_STREAM_NON_BLOCKING);
	OK(cu.cuStreamWaitValue32_v2(s, (CUdeviceptr)(uintptr_t)flag, 2, CU_STREAM_WAIT_VALUE_GEQ));
	OK(cu.cuStreamWriteValue64_v2(s, p, 0x123456789, 0));
	pause_ms(20);
	cr_assert_eq(*(volatile uint64_t *)(uintptr_t)p, 0);
	*(volatile uint32_t *)flag = 3;
	OK(cu.cuStreamSynchronize(s));
	cr_assert_eq(*(volatile uint64_t *)(uintptr_t)p, 0x123456789);
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWriteValue32_v2(s, p + 2, 0, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWriteValue32_v2(s, p + 8, 0, 0));
}

/* ---- events ---- */

Test(events, measure_time_on_the_device)
{
	CUevent a, b, c;
	float ms = -1;
	CUstream s;
	CUfunction f;

	START("KERNEL_US=20000");
	f = function(load_module(), "nothing");
	s = stream(CU_STREAM_NON_BLOCKING);
	OK(cu.cuEventCreate(&a, 0));
	OK(cu.cuEventCreate(&b, 0));
	OK(cu.cuEventCreate(&c, CU_EVENT_DISABLE_TIMING));
	OK(cu.cuEventQuery(a));
	OK(cu.cuEventSynchronize(a));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuEventElapsedTime_v2(&ms, a, b));
	OK(cu.cuEventRecord(a, s));
	launch(f, 1, 1, s, NULL);
	OK(cu.cuEventRecord(b, s));
	OK(cu.cuEventRecord(c, s));
	GIVES(CUDA_ERROR_NOT_READY, cu.cuEventQuery(b));
	GIVES(CUDA_ERROR_NOT_READY, cu.cuEventElapsedTime_v2(&ms, a, b));
	OK(cu.cuEventSynchronize(c));
	OK(cu.cuEventElapsedTime_v2(&ms, a, b));
	cr_assert(ms >= 19.9f && ms < 5000, "%f", (double)ms);
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuEventElapsedTime_v2(&ms, a, c));
	OK(cu.cuEventDestroy_v2(a));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuEventDestroy_v2(a));
	GIVES(CUDA_ERROR_INVALID_HANDLE, cu.cuEventRecord(a, s));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuEventCreate(&a, 0x100));
}

/* ---- copies ---- */

Test(copies, pageable_memory_is_read_at_the_call_and_pinned_memory_later)
{
	static struct door door;
	uint32_t pageable = 1, *pinned;
	CUdeviceptr p, q;
	CUstream s;

	START();
	p = zeroed(4);
	q = zeroed(4);
	OK(cu.cuMemAllocHost_v2((void **)&pinned, 4));
	*pinned = 1;
	s = stream(CU_STREAM_NON_BLOCKING);
	hold_stream(s, &door);
	OK(cu.cuMemcpyHtoDAsync_v2(p, &pageable, 4, s));
	OK(cu.cuMemcpyHtoDAsync_v2(q, pinned, 4, s));
	pageable = *pinned = 2;
	open_door(&door);
	OK(cu.cuStreamSynchronize(s));
	cr_assert_eq(read_u32(p), 1);
	cr_assert_eq(read_u32(q), 2);
}

Test(copies, pageable_memory_is_written_before_the_call_returns)
{
	uint32_t pageable = 0;
	CUdeviceptr p;
	CUstream s;

	START("KERNEL_US=50000");
	p = zeroed(4);
	s = stream(CU_STREAM_NON_BLOCKING);
	launch(function(load_module(), "nothing"), 1, 1, s, NULL);
	OK(cu.cuMemsetD32Async(p, 6, 1, s));
	OK(cu.cuMemcpyDtoHAsync_v2(&pageable, p, 4, s));
	cr_assert_eq(pageable, 6);
}

Test(copies, between_device_addresses_do_not_wait)
{
	static struct door door;
	CUdeviceptr p;

	START();
	p = zeroed(8);
	hold_stream(NULL, &door);
	OK(cu.cuMemsetD32_v2(p, 3, 1));
	OK(cu.cuMemcpyDtoD_v2(p + 4, p, 4));
	GIVES(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(NULL));
	open_door(&door);
	cr_assert_eq(read_u32(p + 4), 3);
}

Test(copies, in_two_and_three_dimensions)
{
	unsigned char in[6 * 5 * 4], out[6 * 5 * 4], *at;
	CUDA_MEMCPY2D two = { 0 };
	CUDA_MEMCPY3D three = { 0 };
	size_t pitch;
	CUdeviceptr p;

	START();
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char)i;
	OK(cu.cuMemAllocPitch_v2(&p, &pitch, 6, 5 * 4, 4));
	cr_assert_eq(pitch, 512);
	at = (unsigned char *)(uintptr_t)p;
	two.srcMemoryType = CU_MEMORYTYPE_HOST;
	two.srcHost = in;
	two.srcPitch = 6;
	two.srcXInBytes = 1;
	two.srcY = 2;
	two.dstMemoryType = CU_MEMORYTYPE_DEVICE;
	two.dstDevice = p;
	two.dstPitch = pitch;
	two.WidthInBytes = 4;
	two.Height = 3;
	OK(cu.cuMemcpy2D_v2(&two));
	cr_assert_eq(at[0], 13);
	cr_assert_eq(at[2 * 512 + 3], 13 + 12 + 3);
	two.srcPitch = 4;
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpy2D_v2(&two));

	three.srcMemoryType = CU_MEMORYTYPE_HOST;
	three.srcHost = in;
	three.srcPitch = 6;
	three.srcHeight = 5;
	three.dstMemoryType = CU_MEMORYTYPE_DEVICE;
	three.dstDevice = p;
	three.dstPitch = pitch;
	three.dstHeight = 5;
	three.WidthInBytes = 6;
	three.Height = 5;
	three.Depth = 4;
	OK(cu.cuMemcpy3D_v2(&three));
	cr_assert_eq(at[(3 * 5 + 4) * 512 + 5], 6 * 5 * 4 - 1);
	three.dstMemoryType = CU_MEMORYTYPE_HOST;
	three.dstHost = out;
	three.dstPitch = 6;
	three.srcMemoryType = CU_MEMORYTYPE_UNIFIED;
	three.srcDevice = p;
	three.srcPitch = pitch;
	OK(cu.cuMemcpy3D_v2(&three));
	cr_assert_arr_eq(in, out, sizeof(in));
}

Test(copies, fills_of_every_size)
{
	CUdeviceptr p;

	START();
	p = zeroed(64);
	OK(cu.cuMemsetD8_v2(p, 0x11, 3));
	OK(cu.cuMemsetD16_v2(p + 4, 0x2222, 1));
	OK(cu.cuMemsetD2D32_v2(p + 8, 16, 0x33333333, 1, 2));
	cr_assert_eq(read_u32(p), 0x00111111);
	cr_assert_eq(read_u32(p + 4), 0x2222);
	cr_assert_eq(read_u32(p + 8), 0x33333333);
	cr_assert_eq(read_u32(p + 12), 0);
	cr_assert_eq(read_u32(p + 24), 0x33333333);
}

/* ---- many at once ---- */

#define NR_THREADS 4
#define NR_ROUNDS 60

struct many {
	CUcontext ctx;
	CUfunction add;
	bool ok;
};

/* Sums through its own streams, with events between them, while the others do the same. */
static void *sum_up(void *arg)
{
	struct many *m = arg;
	uint32_t n = 100, one = 1, total;
	CUstream s[2];
	CUdeviceptr p;
	CUevent e;

	OK(cu.cuCtxSetCurrent(m->ctx));
	OK(cu.cuMemAlloc_v2(&p, 400));
	OK(cu.cuMemsetD32_v2(p, 0, 100));
	for (int round = 0; round < NR_ROUNDS; round++) {
		void *params[] = { &p, &n, &one };

		OK(cu.cuStreamCreate(&s[0], CU_STREAM_DEFAULT));
		OK(cu.cuStreamCreate(&s[1], round % 2 ? CU_STREAM_DEFAULT : CU_STREAM_NON_BLOCKING));
		OK(cu.cuEventCreate(&e, 0));
		OK(cu.cuLaunchKernel(m->add, 1, 1, 1, 128, 1, 1, 0, s[0], params, NULL));
		OK(cu.cuEventRecord(e, s[0]));
		OK(cu.cuStreamWaitEvent(s[1], e, 0));
		OK(cu.cuLaunchKernel(m->add, 1, 1, 1, 128, 1, 1, 0, s[1], params, NULL));
		OK(cu.cuEventDestroy_v2(e));
		OK(cu.cuStreamDestroy_v2(s[0]));
		OK(cu.cuStreamSynchronize(s[1]));
		OK(cu.cuStreamDestroy_v2(s[1]));
	}
	OK(cu.cuMemcpyDtoH_v2(&total, p + 396, 4));
	m->ok = total == 2 * NR_ROUNDS;
	return NULL;
}

Test(many, threads_and_streams_come_and_go)
{
	struct many arg[NR_THREADS];
	pthread_t thread[NR_THREADS];
	CUcontext ctx = START();
	CUfunction add = function(load_module(), "add");

	for (int i = 0; i < NR_THREADS; i++) {
		arg[i] = (struct many){ ctx, add, false };
		cr_assert_not(pthread_create(&thread[i], NULL, sum_up, &arg[i]));
	}
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(thread[i], NULL);
		cr_assert(arg[i].ok);
	}
	OK(cu.cuDevicePrimaryCtxReset_v2(0));
}
