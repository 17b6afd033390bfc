/* test_mem.c - device and host memory of the portable driver. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "driver_test.h"

Test(memory, is_zeroed_even_where_another_allocation_was)
{
	unsigned char back[4096];
	CUdeviceptr keep, a;

	driver_begin();
	MUST(CU(cuMemAlloc_v2)(&keep, 64));
	for (int round = 0; round < 3; round++) {
		MUST(CU(cuMemAlloc_v2)(&a, sizeof(back)));
		cr_assert_eq(a % 512, 0u);
		MUST(CU(cuMemcpyDtoH_v2)(back, a, sizeof(back)));
		for (size_t i = 0; i < sizeof(back); i++)
			cr_assert_eq(back[i], 0);
		MUST(CU(cuMemsetD8_v2)(a, 0xaa, sizeof(back)));
		MUST(CU(cuMemFree_v2)(a));
	}
	hg_driver_close();
}

Test(memory, goes_exactly_where_a_place_says)
{
	const struct hg_place small = { .addr = HG_ARENA_BASE + 0x12345600, .size = 100 };
	const struct hg_place large = { .addr = HG_ARENA_BASE + 0x40000200, .size = 3 << 20 };
	const struct hg_place outside = { .addr = UINT64_C(0x7e0000000000), .size = 4096 };
	CUdeviceptr a;

	driver_begin();
	hg_driver_place(&small, 1);
	MUST(CU(cuMemAlloc_v2)(&a, 100));
	cr_assert_eq(a, small.addr);
	MUST(CU(cuMemsetD8_v2)(a, 1, 100));
	hg_driver_place(&large, 1);
	MUST(CU(cuMemAlloc_v2)(&a, 3 << 20));
	cr_assert_eq(a, large.addr);
	MUST(CU(cuMemsetD8_v2)(a, 1, 3 << 20));
	hg_driver_place(&outside, 1);
	MUST(CU(cuMemAlloc_v2)(&a, 4096));
	cr_assert_eq(a, outside.addr);
	MUST(CU(cuMemsetD8_v2)(a, 1, 4096));
	MUST(CU(cuMemFree_v2)(a));
	/* a place is for one call only */
	MUST(CU(cuMemAlloc_v2)(&a, 100));
	cr_assert_neq(a, small.addr);
	hg_driver_close();
}

Test(memory, that_cannot_lie_where_a_place_says_is_refused)
{
	struct hg_place place = { .addr = HG_ARENA_BASE + 0x100000, .size = 4096 };
	CUdeviceptr a, b = 7;

	driver_begin();
	hg_driver_place(&place, 1);
	MUST(CU(cuMemAlloc_v2)(&a, 4096));
	place.addr += 2048;
	hg_driver_place(&place, 1);
	GIVES(CUDA_ERROR_OUT_OF_MEMORY, CU(cuMemAlloc_v2)(&b, 4096));
	cr_assert_eq(b, 7u);
	place.addr += 2048;
	hg_driver_place(&place, 1);
	MUST(CU(cuMemAlloc_v2)(&b, 4096));
	hg_driver_close();
}

Test(memory, place_waits_for_a_free_that_is_still_in_a_stream)
{
	struct hg_place place;
	CUdeviceptr a, b;

	driver_begin();
	MUST(CU(cuMemAllocAsync)(&a, 4096, NULL));
	MUST(CU(cuMemFreeAsync)(a, NULL));
	place = (struct hg_place){ .addr = a, .size = 4096 };
	hg_driver_place(&place, 1);
	MUST(CU(cuMemAlloc_v2)(&b, 4096));
	cr_assert_eq(a, b);
	hg_driver_close();
}

Test(memory, sizes_and_pointers_that_make_no_sense_are_refused)
{
	CUdeviceptr a;
	size_t pitch;

	driver_begin();
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemAlloc_v2)(&a, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemAlloc_v2)(NULL, 1));
	GIVES(CUDA_ERROR_OUT_OF_MEMORY, CU(cuMemAlloc_v2)(&a, SIZE_MAX));
	GIVES(CUDA_ERROR_OUT_OF_MEMORY, CU(cuMemAlloc_v2)(&a, (size_t)1 << 50));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemAllocPitch_v2)(&a, &pitch, SIZE_MAX, 2, 4));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemAllocPitch_v2)(&a, &pitch, 8, 8, 5));
	MUST(CU(cuMemAllocPitch_v2)(&a, &pitch, 100, 10, 4));
	cr_assert_eq(pitch, 512u);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemFree_v2)(a + 16));
	MUST(CU(cuMemFree_v2)(a));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemFree_v2)(a));
	MUST(CU(cuMemFree_v2)(0));
	hg_driver_close();
}

enum { THREADS = 8, ROUNDS = 400, HELD = 16 };

static void *churn(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	CUdeviceptr held[HELD] = { 0 };
	unsigned char stamp[HELD];
	CUcontext ctx;

	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	MUST(CU(cuCtxSetCurrent)(ctx));
	for (int i = 0; i < ROUNDS; i++) {
		int k = rand_r(&seed) % HELD;
		size_t size = 1 + rand_r(&seed) % (i % 10 ? 5000 : 3000000);
		unsigned char back = 0;

		if (held[k]) {
			MUST(CU(cuMemcpyDtoH_v2)(&back, held[k], 1));
			cr_assert_eq(back, stamp[k], "another allocation wrote here");
			MUST(CU(cuMemFree_v2)(held[k]));
		}
		MUST(CU(cuMemAlloc_v2)(&held[k], size));
		stamp[k] = (unsigned char)rand_r(&seed);
		MUST(CU(cuMemsetD8_v2)(held[k], stamp[k], size));
	}
	for (int k = 0; k < HELD; k++)
		MUST(CU(cuMemFree_v2)(held[k]));
	MUST(CU(cuDevicePrimaryCtxRelease_v2)(0));
	return NULL;
}

Test(memory, eight_threads_allocate_and_free_without_sharing_a_byte)
{
	pthread_t thread[THREADS];
	size_t before, after, total;

	driver_begin();
	MUST(CU(cuMemGetInfo_v2)(&before, &total));
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	MUST(CU(cuMemGetInfo_v2)(&after, &total));
	cr_assert_eq(before, after);
	hg_driver_close();
}

Test(memory, host_allocations_are_device_memory_at_their_own_address)
{
	unsigned int type, flags;
	CUdeviceptr d;
	void *p, *q;

	driver_begin();
	MUST(CU(cuMemHostAlloc)(&p, 10000, CU_MEMHOSTALLOC_DEVICEMAP));
	memset(p, 5, 10000);
	MUST(CU(cuMemHostGetDevicePointer_v2)(&d, p, 0));
	cr_assert_eq(d, (uintptr_t)p);
	MUST(CU(cuMemHostGetFlags)(&flags, p));
	cr_assert_eq(flags, CU_MEMHOSTALLOC_DEVICEMAP);
	MUST(CU(cuPointerGetAttribute)(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, d + 9999));
	cr_assert_eq(type, CU_MEMORYTYPE_HOST);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemFree_v2)(d));
	MUST(CU(cuMemFreeHost)(p));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemFreeHost)(p));
	hg_driver_place(&(struct hg_place){ .addr = (uintptr_t)p, .size = 10000 }, 1);
	MUST(CU(cuMemAllocHost_v2)(&q, 10000));
	cr_assert_eq(p, q);
	hg_driver_close();
}

Test(memory, host_memory_is_registered_once_and_only_if_it_is_there)
{
	unsigned char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	driver_begin();
	MUST(CU(cuMemHostRegister_v2)(p + 100, 5000, 0));
	GIVES(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, CU(cuMemHostRegister_v2)(p, 200, 0));
	GIVES(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, CU(cuMemHostUnregister)(p));
	MUST(CU(cuMemHostUnregister)(p + 100));
	munmap(p + 4096, 4096);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemHostRegister_v2)(p, 8192, 0));
	mprotect(p, 4096, PROT_READ);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemHostRegister_v2)(p, 4096, 0));
	MUST(CU(cuMemHostRegister_v2)(p, 4096, CU_MEMHOSTREGISTER_READ_ONLY));
	hg_driver_close();
}

Test(memory, pointer_attributes_tell_what_is_known)
{
	CUpointer_attribute which[] = { CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_RANGE_SIZE,
					CU_POINTER_ATTRIBUTE_CONTEXT };
	unsigned int type = 9;
	size_t size = 9;
	CUcontext ctx, primary = driver_begin();
	void *data[] = { &type, &size, &ctx };
	CUdeviceptr a, base;

	MUST(CU(cuMemAlloc_v2)(&a, 1000));
	MUST(CU(cuPointerGetAttributes)(3, which, data, a + 999));
	cr_assert_eq(type, CU_MEMORYTYPE_DEVICE);
	cr_assert_eq(size, 1000u);
	cr_assert_eq(ctx, primary);
	MUST(CU(cuMemGetAddressRange_v2)(&base, &size, a + 500));
	cr_assert_eq(base, a);
	MUST(CU(cuPointerGetAttributes)(3, which, data, (uintptr_t)&a));
	cr_assert_eq(type, 0u);
	cr_assert_null(ctx);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuPointerGetAttribute)(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
								  (uintptr_t)&a));
	GIVES(CUDA_ERROR_NOT_FOUND, CU(cuMemGetAddressRange_v2)(&base, &size, a + 1000));
	hg_driver_close();
}

static enum hg_status count_region(const struct hg_region *r, void *arg)
{
	size_t *bytes = arg;

	*bytes += r->size;
	return HG_OK;
}

Test(memory, regions_name_everything_that_is_state)
{
	static char registered[4096];
	size_t bytes = 0;
	CUdeviceptr a;
	void *p;

	driver_begin();
	MUST(CU(cuMemAlloc_v2)(&a, 1000));
	MUST(CU(cuMemAllocHost_v2)(&p, 500));
	MUST(CU(cuMemHostRegister_v2)(registered, sizeof(registered), 0));
	cr_assert_eq(hg_driver_regions(count_region, &bytes), HG_OK);
	cr_assert_eq(bytes, 1000 + 500 + sizeof(registered));
	hg_driver_close();
}

Test(memory, pools_count_what_they_gave)
{
	CUmemPoolProps props = { .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
				 .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE } };
	CUmemoryPool pool, standard, of;
	cuuint64_t used;
	CUdeviceptr a;

	driver_begin();
	MUST(CU(cuDeviceGetDefaultMemPool)(&standard, 0));
	MUST(CU(cuMemPoolCreate)(&pool, &props));
	MUST(CU(cuMemAllocFromPoolAsync)(&a, 1000, pool, NULL));
	MUST(CU(cuMemPoolGetAttribute)(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
	cr_assert_eq(used, 1000u);
	MUST(CU(cuPointerGetAttribute)(&of, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, a));
	cr_assert_eq(of, pool);
	MUST(CU(cuMemFreeAsync)(a, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemFreeAsync)(a, NULL));
	MUST(CU(cuStreamSynchronize)(NULL));
	MUST(CU(cuMemPoolGetAttribute)(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
	cr_assert_eq(used, 0u);
	MUST(CU(cuMemPoolDestroy)(pool));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemPoolDestroy)(standard));
	hg_driver_close();
}

static CUcontext context;
static bool could_free;

static void *free_some(void *memory)
{
	MUST(CU(cuCtxSetCurrent)(context));
	MUST(CU(cuMemFree_v2)((CUdeviceptr)(uintptr_t)memory));
	return NULL;
}

static CUdeviceptr some;

/* As a target that waits for all that runs, and something there frees memory. */
static void unregister_slowly(struct hg_target *t, void *ptr, size_t size)
{
	struct timespec end;
	pthread_t thread;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 2;
	cr_assert_eq(pthread_create(&thread, NULL, free_some, (void *)(uintptr_t)some), 0);
	could_free = !pthread_timedjoin_np(thread, NULL, &end);
	hg_target_cpu.host_unregister(t, ptr, size);
}

Test(host_memory, that_goes_keeps_nobody_from_freeing)
{
	struct hg_target_ops ops = hg_target_cpu;
	void *p;

	ops.host_unregister = unregister_slowly;
	cr_assert_eq(hg_driver_open(&ops), HG_OK);
	MUST(CU(cuInit)(0));
	MUST(CU(cuDevicePrimaryCtxRetain)(&context, 0));
	MUST(CU(cuCtxSetCurrent)(context));
	MUST(CU(cuMemAlloc_v2)(&some, 64));
	MUST(CU(cuMemAllocHost_v2)(&p, 4096));
	MUST(CU(cuMemFreeHost)(p));
	cr_expect(could_free, "a lock is held while the target waits");
	if (could_free)
		hg_driver_close();
}
