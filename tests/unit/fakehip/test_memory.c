/* test_memory.c - memory of the HIP double: allocations, mappings at wanted addresses, host memory, copies and fills. */
#include "fake_test.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define WANTED ((void *)0x210000000000)

static sigjmp_buf back;

static void on_fault(int signo)
{
	(void)signo;
	siglongjmp(back, 1);
}

/* Whether the program itself can read there. */
static bool is_readable(const volatile void *p)
{
	struct sigaction act = { .sa_handler = on_fault }, before;
	bool is = false;

	sigaction(SIGSEGV, &act, &before);
	if (!sigsetjmp(back, 1)) {
		(void)*(const volatile char *)p;
		is = true;
	}
	sigaction(SIGSEGV, &before, NULL);
	return is;
}

Test(memory, a_copy_goes_to_the_device_and_back)
{
	uint32_t in[256], out[256];
	void *p;

	LOAD("STRICT=1");
	for (uint32_t i = 0; i < 256; i++)
		in[i] = 3 * i;
	OK(hip.hipMalloc(&p, sizeof(in)));
	OK(hip.hipMemcpy(p, in, sizeof(in), hipMemcpyHostToDevice));
	OK(hip.hipMemcpy(out, p, sizeof(out), hipMemcpyDeviceToHost));
	cr_assert_arr_eq(in, out, sizeof(in));
	OK(hip.hipFree(p));
}

Test(memory, fresh_memory_is_not_zero)
{
	void *p;

	LOAD("STRICT=1");
	OK(hip.hipMalloc(&p, 4));
	cr_assert_eq(read_u32(p), 0xcdcdcdcd);
}

Test(memory, of_the_device_cannot_be_read_by_the_program)
{
	hipMemGenericAllocationHandle_t h;
	void *p, *mapped;

	LOAD("STRICT=1");
	OK(hip.hipMalloc(&p, 4096));
	mapped = map(NULL, MIB, &h);
	OK(hip.hipMemset(p, 1, 4096));
	OK(hip.hipMemset(mapped, 1, MIB));
	OK(hip.hipDeviceSynchronize());
	cr_assert_eq(read_u32(mapped), 0x01010101);
	/* the stream gives it up when it finds nothing more to do */
	for (int i = 0; i < 1000 && is_readable(p); i++)
		usleep(1000);
	cr_assert_not(is_readable(p));
	cr_assert_not(is_readable(mapped));
}

Test(memory, of_the_device_can_be_read_if_that_is_wanted)
{
	void *p;

	LOAD("PROTECT=0");
	OK(hip.hipMalloc(&p, 4096));
	cr_assert(is_readable(p));
}

Test(memory, more_than_there_is_is_refused)
{
	size_t available, total;
	void *p;

	LOAD("MEMORY=0x100000", "STRICT=1");
	GIVES(hipErrorOutOfMemory, hip.hipMalloc(&p, 2 * MIB));
	OK(hip.hipMalloc(&p, MIB / 2));
	OK(hip.hipMemGetInfo(&available, &total));
	cr_assert_eq(available, MIB / 2);
	cr_assert_eq(total, MIB);
	GIVES(hipErrorOutOfMemory, hip.hipMalloc(&p, MIB));
}

Test(memory, freeing_what_is_none_is_a_misuse)
{
	void *p;

	LOAD();
	OK(hip.hipMalloc(&p, 4096));
	GIVES(hipErrorInvalidValue, hip.hipFree((char *)p + 256));
	OK(hip.hipFree(p));
	GIVES(hipErrorInvalidValue, hip.hipFree(p));
	OK(hip.hipFree(NULL));
}

Test(memory, a_misuse_ends_a_strict_process, .signal = SIGABRT)
{
	LOAD("STRICT=1");
	(void)hip.hipFree((void *)0x1000);
}

/* ---- mappings ---- */

Test(vmm, memory_lies_where_it_is_wanted)
{
	hipMemGenericAllocationHandle_t h;
	void *p;

	LOAD("STRICT=1");
	p = map(WANTED, 2 * MIB, &h);
	cr_assert_eq(p, WANTED);
	OK(hip.hipMemsetD32(p, 7, 2 * MIB / 4));
	cr_assert_eq(read_u32((char *)p + 2 * MIB - 4), 7);
	OK(hip.hipMemUnmap(p, 2 * MIB));
	OK(hip.hipMemRelease(h));
	OK(hip.hipMemAddressFree(p, 2 * MIB));
}

Test(vmm, a_hint_that_is_taken_gives_another_address)
{
	void *p, *there = mmap(WANTED, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	LOAD("STRICT=1");
	cr_assert_eq(there, WANTED);
	OK(hip.hipMemAddressReserve(&p, MIB, 0, WANTED, 0));
	cr_assert_neq(p, WANTED);
	OK(hip.hipMemAddressFree(p, MIB));
	munmap(there, 4096);
	OK(hip.hipMemAddressReserve(&p, MIB, 0, WANTED, 0));
	cr_assert_eq(p, WANTED);
}

Test(vmm, a_runtime_that_ignores_hints_gives_another_address)
{
	void *p;

	LOAD("HINT=0");
	OK(hip.hipMemAddressReserve(&p, MIB, 0, WANTED, 0));
	cr_assert_neq(p, WANTED);
}

Test(vmm, a_device_without_it_says_so)
{
	size_t granule;
	void *p;
	int has;

	LOAD("VMM=0", "STRICT=1");
	OK(hip.hipDeviceGetAttribute(&has, HIP6_ATTRIBUTE_VMM, 0));
	cr_assert_eq(has, 0);
	GIVES(hipErrorNotSupported, hip.hipMemAddressReserve(&p, MIB, 0, NULL, 0));
	GIVES(hipErrorNotSupported, hip.hipMemGetAllocationGranularity(&granule, NULL, hipMemAllocationGranularityMinimum));
}

Test(vmm, misuses_are_refused)
{
	const struct hip6_alloc_prop prop = { .type = hipMemAllocationTypePinned, .location = { hipMemLocationTypeDevice, 0 } };
	const hipMemAccessDesc access = { { hipMemLocationTypeDevice, 0 }, hipMemAccessFlagsProtReadWrite };
	hipMemGenericAllocationHandle_t h, other;
	uint32_t v;
	void *p, *q;

	LOAD("GRANULE=0x200000");
	GIVES(hipErrorInvalidValue, hip.hipMemCreate(&h, 4096, (const hipMemAllocationProp *)&prop, 0));
	GIVES(hipErrorMemoryAllocation, hip.hipMemAddressReserve(&q, 4096, 0, NULL, 0));
	p = map(NULL, 4 * MIB, &h);
	/* what is mapped is unmapped whole, and holds its addresses */
	GIVES(hipErrorInvalidValue, hip.hipMemUnmap(p, 2 * MIB));
	GIVES(hipErrorInvalidValue, hip.hipMemUnmap((char *)p + 2 * MIB, 2 * MIB));
	GIVES(hipErrorInvalidValue, hip.hipMemAddressFree(p, 4 * MIB));
	OK(hip.hipMemCreate(&other, 2 * MIB, (const hipMemAllocationProp *)&prop, 0));
	GIVES(hipErrorInvalidValue, hip.hipMemMap(p, 2 * MIB, 0, other, 0));		/* something is there */
	GIVES(hipErrorInvalidValue, hip.hipMemMap((char *)p + 8 * MIB, 2 * MIB, 0, other, 0));	/* not reserved */
	OK(hip.hipMemRelease(other));
	GIVES(hipErrorInvalidValue, hip.hipMemRelease(other));
	GIVES(hipErrorInvalidValue, hip.hipMemMap(p, 2 * MIB, 0, other, 0));
	/* the mapping keeps the memory */
	OK(hip.hipMemsetD32(p, 9, 1));
	OK(hip.hipMemRelease(h));
	cr_assert_eq(read_u32(p), 9);
	OK(hip.hipMemUnmap(p, 4 * MIB));
	GIVES(hipErrorInvalidValue, hip.hipMemUnmap(p, 4 * MIB));
	GIVES(hipErrorInvalidValue, hip.hipMemSetAccess(p, 4 * MIB, &access, 1));
	/* reserved, with nothing there */
	GIVES(hipErrorInvalidValue, hip.hipMemcpy(&v, p, 4, hipMemcpyDeviceToHost));
	GIVES(hipErrorInvalidValue, hip.hipMemAddressFree(p, 2 * MIB));
	OK(hip.hipMemAddressFree(p, 4 * MIB));
}

Test(vmm, a_mapping_without_access_is_not_touched)
{
	const hipMemAccessDesc none = { { hipMemLocationTypeDevice, 0 }, hipMemAccessFlagsProtNone };
	const hipMemAccessDesc read = { { hipMemLocationTypeDevice, 0 }, hipMemAccessFlagsProtRead };
	hipMemGenericAllocationHandle_t h;
	uint32_t v;
	void *p;

	LOAD();
	p = map(NULL, MIB, &h);
	OK(hip.hipMemSetAccess(p, MIB, &read, 1));
	OK(hip.hipMemcpy(&v, p, 4, hipMemcpyDeviceToHost));
	GIVES(hipErrorUnknown, hip.hipMemset(p, 0, 4));
	OK(hip.hipMemSetAccess(p, MIB, &none, 1));
	GIVES(hipErrorUnknown, hip.hipMemcpy(&v, p, 4, hipMemcpyDeviceToHost));
}

Test(vmm, the_layout_of_5_2_is_a_misuse)
{
	const hipMemAllocationProp prop = {
		.type = hipMemAllocationTypePinned, .location = { hipMemLocationTypeDevice, 0 },
	};
	hipMemGenericAllocationHandle_t h;

	LOAD();
	GIVES(hipErrorInvalidValue, hip.hipMemCreate(&h, MIB, &prop, 0));
}

Test(vmm, a_copy_goes_on_in_the_next_mapping_but_not_in_the_next_reservation)
{
	const struct hip6_alloc_prop prop = { .type = hipMemAllocationTypePinned, .location = { hipMemLocationTypeDevice, 0 } };
	const hipMemAccessDesc access = { { hipMemLocationTypeDevice, 0 }, hipMemAccessFlagsProtReadWrite };
	hipMemGenericAllocationHandle_t a, b;
	void *p, *after;

	LOAD();
	OK(hip.hipMemAddressReserve(&p, 2 * MIB, 0, WANTED, 0));
	OK(hip.hipMemCreate(&a, MIB, (const hipMemAllocationProp *)&prop, 0));
	OK(hip.hipMemCreate(&b, MIB, (const hipMemAllocationProp *)&prop, 0));
	OK(hip.hipMemMap(p, MIB, 0, a, 0));
	OK(hip.hipMemMap((char *)p + MIB, MIB, 0, b, 0));
	OK(hip.hipMemSetAccess(p, 2 * MIB, &access, 1));
	OK(hip.hipMemset(p, 3, 2 * MIB));
	cr_assert_eq(read_u32((char *)p + 2 * MIB - 4), 0x03030303);
	after = map((char *)p + 2 * MIB, MIB, &a);
	cr_assert_eq(after, (char *)p + 2 * MIB);
	GIVES(hipErrorInvalidValue, hip.hipMemset((char *)p + MIB, 3, 2 * MIB));
}

/* ---- host memory ---- */

Test(host, registered_memory_is_the_devices_too)
{
	void *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *device;

	LOAD();
	OK(hip.hipHostRegister(p, 8192, hipHostRegisterMapped));
	OK(hip.hipHostGetDevicePointer(&device, p, 0));
	cr_assert_eq(device, p);
	GIVES(hipErrorHostMemoryAlreadyRegistered, hip.hipHostRegister((char *)p + 4096, 4096, 0));
	GIVES(hipErrorHostMemoryNotRegistered, hip.hipHostUnregister((char *)p + 4096));
	OK(hip.hipHostUnregister(p));
	GIVES(hipErrorHostMemoryNotRegistered, hip.hipHostUnregister(p));
	munmap(p, 8192);
	GIVES(hipErrorInvalidValue, hip.hipHostRegister(p, 8192, 0));
}

Test(host, a_device_with_own_addresses_for_it_says_so)
{
	void *p = malloc(4096), *device;
	int same;

	LOAD("HOST_POINTER=0", "STRICT=1");
	OK(hip.hipDeviceGetAttribute(&same, hipDeviceAttributeCanUseHostPointerForRegisteredMem, 0));
	cr_assert_eq(same, 0);
	OK(hip.hipHostRegister(p, 4096, 0));
	OK(hip.hipHostGetDevicePointer(&device, p, 0));
	cr_assert_neq(device, p);
}

Test(host, what_a_pointer_is)
{
	struct hip6_pointer_attribute a;
	uint32_t *host;
	void *p;

	LOAD("STRICT=1");
	OK(hip.hipMalloc(&p, 4096));
	OK(hip.hipPointerGetAttributes((hipPointerAttribute_t *)&a, (char *)p + 8));
	cr_assert_eq(a.type, HIP6_MEMORY_DEVICE);
	cr_assert_eq(a.devicePointer, (char *)p + 8);
	cr_assert_null(a.hostPointer);
	host = pinned(4096);
	OK(hip.hipPointerGetAttributes((hipPointerAttribute_t *)&a, host));
	cr_assert_eq(a.type, HIP6_MEMORY_HOST);
	cr_assert_eq(a.hostPointer, host);
	OK(hip.hipPointerGetAttributes((hipPointerAttribute_t *)&a, &a));
	cr_assert_eq(a.type, HIP6_MEMORY_UNREGISTERED);
}

/* ---- copies and fills ---- */

Test(copy, rows_and_slices)
{
	uint32_t *host;
	struct hip6_memcpy_3d d = {
		.srcMemoryType = HIP6_MEMORY_HOST, .dstMemoryType = HIP6_MEMORY_DEVICE, .srcPitch = 16, .srcHeight = 2,
		.dstPitch = 32, .dstHeight = 4, .dstXInBytes = 8, .dstY = 1, .WidthInBytes = 16, .Height = 2, .Depth = 2,
	};
	uint32_t back_[2 * 4 * 8];
	void *p;

	LOAD("STRICT=1");
	host = pinned(64);
	for (uint32_t i = 0; i < 16; i++)
		host[i] = i;
	OK(hip.hipMalloc(&p, sizeof(back_)));
	OK(hip.hipMemset(p, 0, sizeof(back_)));
	d.srcHost = host;
	d.dstDevice = p;
	OK(hip.hipDrvMemcpy3DAsync((const HIP_MEMCPY3D *)&d, NULL));
	OK(hip.hipMemcpy(back_, p, sizeof(back_), hipMemcpyDeviceToHost));
	for (uint32_t z = 0; z < 2; z++)
		for (uint32_t y = 0; y < 4; y++)
			for (uint32_t x = 0; x < 8; x++)
				cr_assert_eq(back_[(z * 4 + y) * 8 + x],
					     y >= 1 && y < 3 && x >= 2 && x < 6 ? (z * 2 + y - 1) * 4 + x - 2 : 0);
	OK(hip.hipMemcpy2D(back_, 8, (char *)p + 32 + 8, 32, 8, 2, hipMemcpyDeviceToHost));
	cr_assert_eq(back_[0], 0);
	cr_assert_eq(back_[1], 1);
	cr_assert_eq(back_[2], 4);
	cr_assert_eq(back_[3], 5);
	OK(hip.hipMemset2D(p, 32, 0xff, 4, 2));
	cr_assert_eq(read_u32((char *)p + 32), 0xffffffff);
}

Test(copy, misuses_are_refused)
{
	uint32_t v = 0, *host;
	void *p;

	LOAD();
	OK(hip.hipMalloc(&p, 4096));
	host = pinned(4096);
	GIVES(hipErrorInvalidValue, hip.hipMemcpy(p, &v, 4, hipMemcpyDeviceToHost));	/* the kind is wrong */
	GIVES(hipErrorInvalidValue, hip.hipMemcpy(p, &v, 4, hipMemcpyDeviceToDevice));
	OK(hip.hipMemcpy(p, host, 4, hipMemcpyDeviceToDevice));				/* pinned memory is the device's too */
	GIVES(hipErrorInvalidMemcpyDirection, hip.hipMemcpy(p, &v, 4, (hipMemcpyKind)9));
	GIVES(hipErrorInvalidValue, hip.hipMemcpy(&v, (char *)p + 4092, 8, hipMemcpyDefault));	/* leaves its memory */
	GIVES(hipErrorInvalidValue, hip.hipMemset(&v, 0, 4));				/* no memory of HIP */
	GIVES(hipErrorInvalidValue, hip.hipMemsetD32((char *)p + 2, 0, 1));		/* not aligned */
	GIVES(hipErrorInvalidPitchValue, hip.hipMemcpy2D(p, 4, host, 8, 8, 2, hipMemcpyHostToDevice));
	GIVES(hipErrorContextIsDestroyed, hip.hipMemcpyAsync(p, host, 4, hipMemcpyDefault, (hipStream_t)host));
}

Test(copy, an_asynchronous_one_of_pageable_memory_is_a_misuse, .signal = SIGABRT)
{
	uint32_t v = 0;
	void *p;

	LOAD("STRICT=1");
	OK(hip.hipMalloc(&p, 4096));
	(void)hip.hipMemcpyAsync(p, &v, 4, hipMemcpyHostToDevice, NULL);
}

Test(copy, memory_is_freed_while_it_is_copied, .signal = SIGABRT)
{
	hipStream_t s;
	struct door door;
	uint32_t *host;
	void *p;

	LOAD("STRICT=1");
	OK(hip.hipMalloc(&p, 4096));
	host = pinned(4096);
	OK(hip.hipStreamCreate(&s));
	hold_stream(s, &door);
	OK(hip.hipMemcpyAsync(p, host, 4096, hipMemcpyHostToDevice, s));
	(void)hip.hipHostFree(host);
}
