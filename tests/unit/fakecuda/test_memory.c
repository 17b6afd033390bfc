/* test_memory.c - memory of the fake CUDA driver: addresses, contents, misuse; mappings; pools. */
#include "fake_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MIB ((size_t)1 << 20)

/* Whether any page there is mapped, with access or without. */
static bool is_mapped(CUdeviceptr p)
{
	unsigned char there;

	return !mincore((void *)(uintptr_t)(p & ~(CUdeviceptr)4095), 4096, &there);
}

Test(memory, small_allocations_share_a_granule)
{
	CUdeviceptr a, b, c;

	START();
	OK(cu.cuMemAlloc_v2(&a, 1));
	OK(cu.cuMemAlloc_v2(&b, 513));
	OK(cu.cuMemAlloc_v2(&c, 4));
	cr_assert_eq(a % 512, 0);
	cr_assert_eq(b, a + 512);
	cr_assert_eq(c, b + 1024);
	cr_assert_eq(a >> 21, c >> 21);
}

Test(memory, large_allocations_begin_at_a_granule)
{
	CUdeviceptr a, b;

	START();
	OK(cu.cuMemAlloc_v2(&a, 3 * MIB));
	OK(cu.cuMemAlloc_v2(&b, 2 * MIB));
	cr_assert_eq(a % (2 * MIB), 0);
	cr_assert_eq(b, a + 4 * MIB);
}

Test(memory, fresh_memory_is_not_zero)
{
	CUdeviceptr p;

	START();
	OK(cu.cuMemAlloc_v2(&p, 4));
	cr_assert_eq(read_u32(p), 0xcdcdcdcd);
}

Test(memory, the_pattern_can_be_chosen)
{
	CUdeviceptr p;

	START("PATTERN=0x11");
	OK(cu.cuMemAlloc_v2(&p, 3 * MIB));
	cr_assert_eq(read_u32(p + 3 * MIB - 4), 0x11111111);
}

Test(memory, the_pattern_can_be_off)
{
	CUdeviceptr p;

	START("PATTERN=off");
	OK(cu.cuMemAlloc_v2(&p, 4));
	cr_assert_eq(read_u32(p), 0);
}

Test(memory, used_again_it_holds_what_the_last_owner_wrote)
{
	CUdeviceptr p, q;
	size_t size[] = { 4, 5 * MIB };

	START();
	for (int i = 0; i < 2; i++) {
		OK(cu.cuMemAlloc_v2(&p, size[i]));
		OK(cu.cuMemsetD32_v2(p, 0x12345678, 1));
		OK(cu.cuMemFree_v2(p));
		OK(cu.cuMemAlloc_v2(&q, size[i]));
		cr_assert_eq(p, q);
		cr_assert_eq(read_u32(q), 0x12345678);
	}
}

Test(memory, goes_with_its_context)
{
	CUdeviceptr p, keep;
	CUcontext ctx, other;

	ctx = START();
	OK(cu.cuMemAlloc_v2(&keep, 4));
	OK(cu.cuCtxCreate_v2(&other, 0, 0));
	OK(cu.cuMemAlloc_v2(&p, 4));
	OK(cu.cuMemsetD32_v2(p, 1, 1));
	OK(cu.cuCtxDestroy_v2(other));
	OK(cu.cuCtxSetCurrent(ctx));
	cr_assert(is_mapped(p));	/* still reserved */
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree_v2(p));
	OK(cu.cuMemFree_v2(0));
	OK(cu.cuMemAlloc_v2(&p, 2 * MIB));
	cr_assert_eq(read_u32(p), 0xcdcdcdcd);
	OK(cu.cuDevicePrimaryCtxRelease_v2(0));
	cr_assert_not(is_mapped(keep));
	cr_assert_not(is_mapped(keep + 1024 * MIB));
}

Test(memory, the_reservation_can_be_kept)
{
	CUdeviceptr p;

	START("KEEP_RESERVATION=1");
	OK(cu.cuMemAlloc_v2(&p, 4));
	OK(cu.cuDevicePrimaryCtxRelease_v2(0));
	cr_assert(is_mapped(p));
	cr_assert_eq(mmap((void *)(uintptr_t)(p & -(2 * MIB)), 4096, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), MAP_FAILED);
}

Test(memory, freed_addresses_are_free_for_the_process)
{
	CUdeviceptr p;
	void *at;

	START();
	OK(cu.cuMemAlloc_v2(&p, 2 * MIB));
	OK(cu.cuDevicePrimaryCtxReset_v2(0));
	at = mmap((void *)(uintptr_t)p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	cr_assert_eq(at, (void *)(uintptr_t)p);
}

Test(memory, misuse_gives_the_documented_errors)
{
	CUdeviceptr p, at;
	size_t size;
	uint32_t v;

	START();
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemAlloc_v2(&p, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemAlloc_v2(NULL, 4));
	GIVES(CUDA_ERROR_OUT_OF_MEMORY, cu.cuMemAlloc_v2(&p, (size_t)1 << 60));
	OK(cu.cuMemAlloc_v2(&p, 4096));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree_v2(p + 4));
	OK(cu.cuMemGetAddressRange_v2(&at, &size, p + 100));
	cr_assert_eq(at, p);
	cr_assert_eq(size, 4096);
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH_v2(&v, p + 4096 - 2, 4));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD_v2((CUdeviceptr)(uintptr_t)&v, &v, 4));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemsetD32_v2(p + 1, 0, 1));
	OK(cu.cuMemFree_v2(p));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree_v2(p));
	GIVES(CUDA_ERROR_NOT_FOUND, cu.cuMemGetAddressRange_v2(&at, &size, p));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH_v2(&v, p, 4));
}

Test(memory, there_is_no_more_than_there_is)
{
	size_t left, total;
	CUdeviceptr p, q;

	START("MEMORY=0x1000000");
	OK(cu.cuMemGetInfo_v2(&left, &total));
	cr_assert_eq(total, 16 * MIB);
	cr_assert_eq(left, total);
	OK(cu.cuMemAlloc_v2(&p, 12 * MIB));
	GIVES(CUDA_ERROR_OUT_OF_MEMORY, cu.cuMemAlloc_v2(&q, 6 * MIB));
	OK(cu.cuMemAlloc_v2(&q, 4 * MIB));
	OK(cu.cuMemGetInfo_v2(&left, &total));
	cr_assert_eq(left, 0);
	OK(cu.cuMemFree_v2(p));
	OK(cu.cuMemFree_v2(q));
	OK(cu.cuMemGetInfo_v2(&left, &total));
	cr_assert_eq(left, total);
}

Test(memory, ten_thousand_allocations_in_any_order)
{
	static CUdeviceptr p[10000];
	static size_t size[10000];
	unsigned int seed = 1;
	size_t left, total;

	START("PATTERN=off");
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 10000; i++) {
			size_t n = 1 + (size_t)rand_r(&seed) % 3000;

			if (round && i % 3)
				continue;
			OK(cu.cuMemAlloc_v2(&p[i], n));
			size[i] = n;
			memset((void *)(uintptr_t)p[i], i, n);
		}
		for (int i = 0; i < 10000; i++) {
			const unsigned char *b = (const unsigned char *)(uintptr_t)p[i];

			cr_assert(b[0] == (unsigned char)i && b[size[i] - 1] == (unsigned char)i, "%d was overwritten", i);
			if (round || i % 3 == 0)
				OK(cu.cuMemFree_v2(p[i]));
		}
	}
	OK(cu.cuMemGetInfo_v2(&left, &total));
	cr_assert_eq(left, total);
}

/* ---- host memory ---- */

Test(host_memory, registering_twice_and_freeing_the_wrong_way)
{
	void *p, *own = aligned_alloc(4096, 8192);
	unsigned int flags;
	CUdeviceptr d;

	START();
	OK(cu.cuMemHostAlloc(&p, 100, CU_MEMHOSTALLOC_PORTABLE));
	OK(cu.cuMemHostGetDevicePointer_v2(&d, p, 0));
	cr_assert_eq(d, (CUdeviceptr)(uintptr_t)p);
	OK(cu.cuMemHostGetFlags(&flags, p));
	cr_assert(flags & CU_MEMHOSTALLOC_PORTABLE);
	GIVES(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cu.cuMemHostRegister_v2(p, 100, 0));
	GIVES(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cu.cuMemHostUnregister(p));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree_v2((CUdeviceptr)(uintptr_t)p));
	OK(cu.cuMemFreeHost(p));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFreeHost(p));

	OK(cu.cuMemHostRegister_v2(own, 8192, 0));
	GIVES(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cu.cuMemHostRegister_v2((char *)own + 4096, 4096, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFreeHost(own));
	OK(cu.cuMemHostUnregister(own));
	GIVES(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cu.cuMemHostUnregister(own));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemHostRegister_v2((void *)(uintptr_t)4096, 4096, 0));
	free(own);
}

Test(host_memory, managed_memory_is_touched_by_both_sides)
{
	CUdeviceptr p;
	uint32_t n = 100, v = 3;
	void *params[] = { &p, &n, &v };
	int managed;

	START();
	OK(cu.cuMemAllocManaged(&p, 400, CU_MEM_ATTACH_GLOBAL));
	OK(cu.cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, p));
	cr_assert(managed);
	for (int i = 0; i < 100; i++)
		((uint32_t *)(uintptr_t)p)[i] = (uint32_t)i;
	launch(function(load_module(), "add"), 2, 64, NULL, params);
	OK(cu.cuCtxSynchronize());
	for (uint32_t i = 0; i < 100; i++)
		cr_assert_eq(((uint32_t *)(uintptr_t)p)[i], i + 3);
	OK(cu.cuMemFree_v2(p));
}

Test(host_memory, pointers_say_what_they_are)
{
	CUpointer_attribute what[] = { CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
				       CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL };
	CUcontext of, ctx = START();
	CUdeviceptr p, d;
	unsigned int type;
	int stack, dev;
	void *host, *values[] = { &type, &d, &dev };

	OK(cu.cuMemAlloc_v2(&p, 100));
	OK(cu.cuMemAllocHost_v2(&host, 100));
	OK(cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p + 50));
	cr_assert_eq(type, CU_MEMORYTYPE_DEVICE);
	OK(cu.cuPointerGetAttribute(&of, CU_POINTER_ATTRIBUTE_CONTEXT, p));
	cr_assert_eq(of, ctx);
	OK(cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)host));
	cr_assert_eq(type, CU_MEMORYTYPE_HOST);
	GIVES(CUDA_ERROR_INVALID_VALUE,
	      cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)&stack));
	OK(cu.cuPointerGetAttributes(3, what, values, (CUdeviceptr)(uintptr_t)&stack));
	cr_assert(!type && !d && dev == -2);
}

/* ---- virtual memory management ---- */

static const CUmemAllocationProp on_device = {
	.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0 },
};
static const CUmemAccessDesc read_write = {
	.location = { .type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0 }, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
};

Test(mappings, an_address_that_is_free_is_granted)
{
	const CUdeviceptr wish = 0x200000000000 + 6 * MIB;
	CUdeviceptr p, q;

	START();
	OK(cu.cuMemAddressReserve(&p, 64 * MIB, 0, wish, 0));
	cr_assert_eq(p, wish);
	OK(cu.cuMemAddressReserve(&q, 4 * MIB, 0, wish + 2 * MIB, 0));
	cr_assert(q < wish || q >= wish + 64 * MIB);
	cr_assert_eq(q % (2 * MIB), 0);
	OK(cu.cuMemAddressFree(q, 4 * MIB));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemAddressFree(p, 2 * MIB));
	OK(cu.cuMemAddressFree(p, 64 * MIB));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemAddressFree(p, 64 * MIB));
	cr_assert_not(is_mapped(wish));
}

Test(mappings, memory_is_seen_at_each_of_its_addresses)
{
	CUmemGenericAllocationHandle h, again;
	CUdeviceptr p;
	uint32_t n = 64, v = 9;
	void *params[] = { &p, &n, &v };

	START();
	OK(cu.cuMemAddressReserve(&p, 8 * MIB, 0, 0, 0));
	OK(cu.cuMemCreate(&h, 2 * MIB, &on_device, 0));
	OK(cu.cuMemMap(p, 2 * MIB, 0, h, 0));
	OK(cu.cuMemMap(p + 4 * MIB, 2 * MIB, 0, h, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH_v2(&v, p, 4));	/* no access yet */
	OK(cu.cuMemSetAccess(p, 2 * MIB, &read_write, 1));
	OK(cu.cuMemSetAccess(p + 4 * MIB, 2 * MIB, &read_write, 1));
	cr_assert_eq(read_u32(p), 0xcdcdcdcd);
	launch(function(load_module(), "fill"), 1, 64, NULL, params);
	cr_assert_eq(read_u32(p + 4 * MIB + 252), 9);
	OK(cu.cuMemRelease(h));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemRelease(h));
	cr_assert_eq(read_u32(p), 9);		/* a mapping keeps it */
	OK(cu.cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(p + 100)));
	OK(cu.cuMemUnmap(p, 2 * MIB));
	OK(cu.cuMemUnmap(p + 4 * MIB, 2 * MIB));
	OK(cu.cuMemMap(p + 2 * MIB, 2 * MIB, 0, again, 0));
	OK(cu.cuMemSetAccess(p + 2 * MIB, 2 * MIB, &read_write, 1));
	cr_assert_eq(read_u32(p + 2 * MIB), 9);
	OK(cu.cuMemUnmap(p + 2 * MIB, 2 * MIB));
	OK(cu.cuMemRelease(again));
	OK(cu.cuMemAddressFree(p, 8 * MIB));
}

Test(mappings, misuse_gives_the_documented_errors)
{
	CUmemGenericAllocationHandle h, h2;
	CUmemAllocationProp prop = on_device;
	unsigned long long access;
	size_t granularity;
	CUdeviceptr p, x;

	START();
	OK(cu.cuMemGetAllocationGranularity(&granularity, &on_device, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	cr_assert_eq(granularity, 2 * MIB);
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemAddressReserve(&p, 4096, 0, 0, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemAddressReserve(&p, 2 * MIB, 3, 0, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemCreate(&h, 4096, &on_device, 0));
	prop.location.id = 7;
	GIVES(CUDA_ERROR_INVALID_DEVICE, cu.cuMemCreate(&h, 2 * MIB, &prop, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemMap(0x100000000, 2 * MIB, 0, 1234, 0));
	OK(cu.cuMemCreate(&h, 4 * MIB, &on_device, 0));
	OK(cu.cuMemCreate(&h2, 2 * MIB, &on_device, 0));
	OK(cu.cuMemAddressReserve(&p, 8 * MIB, 0, 0, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemMap(p + 6 * MIB, 4 * MIB, 0, h, 0));	/* out of the reservation */
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemMap(p, 8 * MIB, 0, h, 0));		/* larger than the memory */
	OK(cu.cuMemMap(p, 4 * MIB, 0, h, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemMap(p + 2 * MIB, 2 * MIB, 0, h2, 0));	/* taken */
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemSetAccess(p, 8 * MIB, &read_write, 1));	/* not all mapped */
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemUnmap(p, 2 * MIB));			/* half a mapping */
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemUnmap(p + 4 * MIB, 2 * MIB));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemAddressFree(p, 8 * MIB));		/* in use */
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree_v2(p));
	OK(cu.cuMemGetAccess(&access, &read_write.location, p));
	cr_assert_eq(access, CU_MEM_ACCESS_FLAGS_PROT_NONE);
	OK(cu.cuMemUnmap(p, 4 * MIB));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemRetainAllocationHandle(&h, (void *)(uintptr_t)p));
	OK(cu.cuMemAlloc_v2(&x, 4));
}

Test(mappings, two_of_them_are_copied_as_one)
{
	CUmemGenericAllocationHandle h[2];
	static unsigned char in[1 << 20], out[1 << 20];
	CUdeviceptr p;

	START();
	OK(cu.cuMemAddressReserve(&p, 4 * MIB, 0, 0, 0));
	for (int i = 0; i < 2; i++) {
		OK(cu.cuMemCreate(&h[i], 2 * MIB, &on_device, 0));
		OK(cu.cuMemMap(p + (size_t)i * 2 * MIB, 2 * MIB, 0, h[i], 0));
	}
	OK(cu.cuMemSetAccess(p, 4 * MIB, &read_write, 1));
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char)(i * 7);
	OK(cu.cuMemcpyHtoD_v2(p + 2 * MIB - MIB / 2, in, sizeof(in)));
	OK(cu.cuMemcpyDtoH_v2(out, p + 2 * MIB - MIB / 2, sizeof(out)));
	cr_assert_arr_eq(in, out, sizeof(in));
}

/* ---- pools ---- */

Test(pools, the_same_stream_gets_freed_memory_at_once)
{
	static struct door door;
	CUdeviceptr p, q, r;
	CUstream s, t;

	START();
	OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cu.cuStreamCreate(&t, CU_STREAM_NON_BLOCKING));
	hold_stream(s, &door);
	OK(cu.cuMemAllocAsync(&p, 1000, s));
	OK(cu.cuMemFreeAsync(p, s));
	OK(cu.cuMemAllocAsync(&r, 1000, t));
	cr_assert_neq(r, p);			/* the free has not been reached */
	OK(cu.cuMemAllocAsync(&q, 1000, s));
	cr_assert_eq(q, p);
	open_door(&door);
	OK(cu.cuMemFreeAsync(q, s));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemFreeAsync(q, s));
	OK(cu.cuMemFree_v2(r));
}

Test(pools, hold_memory_until_they_are_trimmed)
{
	CUmemPoolProps prop = { .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
				.location = { .type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0 } };
	cuuint64_t threshold = UINT64_MAX, reserved, used;
	size_t before, left, total;
	CUmemoryPool pool;
	CUdeviceptr p;

	START();
	OK(cu.cuMemPoolCreate(&pool, &prop));
	OK(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
	OK(cu.cuMemGetInfo_v2(&before, &total));
	OK(cu.cuMemAllocFromPoolAsync(&p, 10 * MIB, pool, NULL));
	OK(cu.cuMemFreeAsync(p, NULL));
	OK(cu.cuStreamSynchronize(NULL));
	OK(cu.cuMemGetInfo_v2(&left, &total));
	cr_assert_eq(left, before - 10 * MIB);
	OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved));
	OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
	cr_assert(reserved == 10 * MIB && !used);
	OK(cu.cuMemPoolTrimTo(pool, 0));
	OK(cu.cuMemGetInfo_v2(&left, &total));
	cr_assert_eq(left, before);
	OK(cu.cuMemPoolDestroy(pool));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemPoolTrimTo(pool, 0));
	OK(cu.cuDeviceGetDefaultMemPool(&pool, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuMemPoolDestroy(pool));
}

Test(pools, memory_goes_with_the_context_that_made_it)
{
	cuuint64_t used;
	CUmemoryPool pool;
	CUcontext other;
	CUdeviceptr p;

	START();
	OK(cu.cuCtxCreate_v2(&other, 0, 0));
	OK(cu.cuMemAllocAsync(&p, 1000, NULL));
	OK(cu.cuMemAllocAsync(&p, 1000, NULL));
	OK(cu.cuMemFreeAsync(p, NULL));
	OK(cu.cuDeviceGetDefaultMemPool(&pool, 0));
	OK(cu.cuCtxDestroy_v2(other));
	OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
	cr_assert_eq(used, 0);
	OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &used));
	cr_assert_eq(used, 0);
}
