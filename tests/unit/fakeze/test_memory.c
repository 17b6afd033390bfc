/* test_memory.c - memory of the Level Zero driver for tests: allocations, mappings, imported memory, who may touch what. */
#define _GNU_SOURCE
#include "fake_test.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define WANTED ((void *)0x200000000000)
#define MIB ((size_t)1 << 20)

Test(memory, kinds_are_told)
{
	START("STRICT=1");
	ze_memory_allocation_properties_t p = { .stype = ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES };
	const ze_device_mem_alloc_desc_t dd = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC };
	const ze_host_mem_alloc_desc_t hd = { .stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC };
	char *d = device_memory(100), *h = (char *)host_memory(100);
	ze_device_handle_t of;
	void *base, *s;
	size_t size;

	OK(ze.zeMemAllocShared(context, &dd, &hd, 100, 0, device, &s));
	memset(s, 1, 100);
	OK(ze.zeMemGetAllocProperties(context, d + 50, &p, &of));
	cr_assert(p.type == ZE_MEMORY_TYPE_DEVICE && of == device);
	OK(ze.zeMemGetAllocProperties(context, h, &p, &of));
	cr_assert(p.type == ZE_MEMORY_TYPE_HOST && !of);
	OK(ze.zeMemGetAllocProperties(context, s, &p, &of));
	cr_assert_eq(p.type, ZE_MEMORY_TYPE_SHARED);
	OK(ze.zeMemGetAllocProperties(context, &size, &p, &of));
	cr_assert_eq(p.type, ZE_MEMORY_TYPE_UNKNOWN);
	OK(ze.zeMemGetAddressRange(context, d + 50, &base, &size));
	cr_assert(base == d && size == 100);
	OK(ze.zeMemFree(context, d));
	OK(ze.zeMemFree(context, h));
	OK(ze.zeMemFree(context, s));
	OK(ze.zeContextDestroy(context));
}

Test(memory, of_the_device_is_not_the_programs_to_touch, .signal = SIGSEGV)
{
	START("STRICT=1");
	signal(SIGSEGV, SIG_DFL);	/* a sanitizer's would exit */
	*(volatile char *)device_memory(64) = 1;
}

Test(memory, fresh_memory_holds_a_pattern)
{
	START("STRICT=1");
	cr_assert_eq(read_u32(device_memory(64)), 0xcdcdcdcd);
}

Test(memory, mappings_lie_where_they_are_wanted)
{
	START("STRICT=1");
	ze_physical_mem_handle_t physical;
	ze_memory_access_attribute_t access;
	size_t page, size;
	void *p;

	OK(ze.zeVirtualMemQueryPageSize(context, device, 4096, &page));
	cr_assert_eq(page, 65536);
	OK(ze.zeVirtualMemQueryPageSize(context, device, 3 * MIB, &page));
	cr_assert_eq(page, 2 * MIB);
	p = map(WANTED, 2 * MIB, &physical);
	cr_assert_eq(p, WANTED);
	cr_assert_eq(read_u32(p), 0xcdcdcdcd);
	OK(ze.zeVirtualMemGetAccessAttribute(context, p, 1, &access, &size));
	cr_assert(access == ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE && size == 2 * MIB);
	OK(ze.zeVirtualMemSetAccessAttribute(context, p, 2 * MIB, ZE_MEMORY_ACCESS_ATTRIBUTE_READONLY));
	OK(ze.zeVirtualMemUnmap(context, p, 2 * MIB));
	OK(ze.zePhysicalMemDestroy(context, physical));
	OK(ze.zeVirtualMemFree(context, p, 2 * MIB));
	OK(ze.zeContextDestroy(context));
}

Test(memory, a_hint_may_not_be_followed)
{
	START("STRICT=1", "HINT=0");
	void *p;

	OK(ze.zeVirtualMemReserve(context, WANTED, 2 * MIB, &p));
	cr_assert_neq(p, WANTED);
	OK(ze.zeVirtualMemFree(context, p, 2 * MIB));
}

Test(memory, a_hint_where_something_is_gives_another_address)
{
	START("STRICT=1");
	void *there = mmap(WANTED, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), *p;

	cr_assert_eq(there, WANTED);
	OK(ze.zeVirtualMemReserve(context, WANTED, 65536, &p));
	cr_assert_neq(p, WANTED);
}

Test(memory, mappings_end_as_they_began)
{
	START();
	ze_physical_mem_handle_t physical;
	char *p = map(WANTED, 4 * MIB, &physical);
	void *q;

	catch_messages();
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeVirtualMemUnmap(context, p, 2 * MIB));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeVirtualMemFree(context, p, 4 * MIB));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeVirtualMemMap(context, p, 2 * MIB, physical, 0, ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE));
	GIVES(ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT,
	      ze.zeVirtualMemMap(context, p, 4 * MIB, physical, 2 * MIB, ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE));
	GIVES(ZE_RESULT_ERROR_UNSUPPORTED_SIZE, ze.zeVirtualMemReserve(context, WANTED, 3 * MIB, &q));
	cr_assert(was_said("misuse of zeVirtualMemReserve: 3145728 bytes are no multiple of 2097152"));
	OK(ze.zePhysicalMemDestroy(context, physical));
	cr_assert(was_said("is still mapped"));
}

Test(memory, there_is_no_more_than_there_is)
{
	START("STRICT=1", "MEMORY=0x1000000");
	ze_physical_mem_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_PHYSICAL_MEM_DESC, .size = 32 * MIB };
	const ze_device_mem_alloc_desc_t dd = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC };
	ze_physical_mem_handle_t physical;
	void *p;

	GIVES(ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY, ze.zePhysicalMemCreate(context, device, &desc, &physical));
	GIVES(ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY, ze.zeMemAllocDevice(context, &dd, 32 * MIB, 0, device, &p));
	desc.size = 16 * MIB;
	OK(ze.zePhysicalMemCreate(context, device, &desc, &physical));
	OK(ze.zePhysicalMemDestroy(context, physical));
}

Test(memory, commands_stay_in_memory_that_level_zero_knows)
{
	static uint32_t pageable[64];
	START();
	ze_command_list_handle_t l = immediate_list();
	char *d = device_memory(100);
	uint32_t *h = host_memory(100);
	ze_physical_mem_handle_t physical;
	char *m = map(WANTED, 65536, &physical);

	catch_messages();
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeCommandListAppendMemoryCopy(l, d, pageable, 64, NULL, 0, NULL));
	cr_assert(was_said("no memory that Level Zero knows"));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeCommandListAppendMemoryCopy(l, d, h, 101, NULL, 0, NULL));
	GIVES(ZE_RESULT_ERROR_OVERLAPPING_REGIONS, ze.zeCommandListAppendMemoryCopy(l, d, d + 8, 16, NULL, 0, NULL));
	GIVES(ZE_RESULT_ERROR_INVALID_SIZE, ze.zeCommandListAppendMemoryFill(l, d, h, 3, 9, NULL, 0, NULL));
	GIVES(ZE_RESULT_ERROR_INVALID_SIZE, ze.zeCommandListAppendMemoryFill(l, d, h, 32, 64, NULL, 0, NULL));
	OK(ze.zeVirtualMemSetAccessAttribute(context, m, 65536, ZE_MEMORY_ACCESS_ATTRIBUTE_READONLY));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeCommandListAppendMemoryFill(l, m, h, 4, 4, NULL, 0, NULL));
}

/* ze_external_memmap_sysmem_ext_desc_t, of a newer specification than the headers */
static ze_result_t import(void *memory, size_t size, void **out)
{
	struct {
		ze_structure_type_t stype;
		const void *next;
		void *memory;
		uint64_t size;
	} own = { (ze_structure_type_t)0x00020037, NULL, memory, size };
	const ze_host_mem_alloc_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC, .pNext = &own };

	return ze.zeMemAllocHost(context, &desc, size, 0, out);
}

static bool is_listed(const char *name)
{
	ze_driver_extension_properties_t there[8];
	uint32_t nr = 8;

	OK(ze.zeDriverGetExtensionProperties(driver, &nr, there));
	for (uint32_t i = 0; i < nr; i++)
		if (!strcmp(there[i].name, name))
			return true;
	return false;
}

Test(memory, imported_memory_is_usable_until_it_is_freed)
{
	static uint32_t own[2048] __attribute__((aligned(4096)));
	START();
	ze_memory_allocation_properties_t p = { .stype = ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES };
	ze_command_list_handle_t l = immediate_list();
	ze_event_handle_t e = event(pool(), 0);
	char *d = device_memory(4096);
	void *at;

	cr_assert(is_listed("ZE_extension_external_memmap_sysmem"));
	OK(import(own, 4096, &at));
	cr_assert_eq(at, own);
	OK(ze.zeMemGetAllocProperties(context, own + 5, &p, NULL));
	cr_assert_eq(p.type, ZE_MEMORY_TYPE_HOST);
	OK(ze.zeCommandListAppendMemoryCopy(l, own, d, 4096, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, UINT64_MAX));
	cr_assert_eq(own[1023], 0xcdcdcdcd);
	catch_messages();
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, import(own, 8192, &at));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, import(own + 1024, 100, &at));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, import((void *)0x1000, 4096, &at));
	OK(ze.zeMemFree(context, own));
	cr_assert_eq(own[1023], 0xcdcdcdcd);
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeMemFree(context, own));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeCommandListAppendMemoryCopy(l, own, d, 4096, NULL, 0, NULL));
}

Test(memory, a_driver_may_import_none)
{
	static uint32_t own[1024] __attribute__((aligned(4096)));
	START("MEMMAP=0");
	void *at;

	catch_messages();
	cr_assert_not(is_listed("ZE_extension_external_memmap_sysmem"));
	GIVES(ZE_RESULT_ERROR_UNSUPPORTED_ENUMERATION, import(own, 4096, &at));
}

/* as compute-runtime's, which keep large pages behind what was asked for */
Test(memory, reservations_do_not_lie_side_by_side)
{
	START("STRICT=1");
	char *wanted = WANTED;
	void *p, *q;

	OK(ze.zeVirtualMemReserve(context, wanted, 2 * MIB, &p));
	cr_assert_eq(p, wanted);
	OK(ze.zeVirtualMemReserve(context, wanted + 2 * MIB, 2 * MIB, &q));
	cr_assert_neq(q, wanted + 2 * MIB);
	OK(ze.zeVirtualMemFree(context, q, 2 * MIB));
	OK(ze.zeVirtualMemReserve(context, wanted + 4 * MIB, 65536, &q));
	cr_assert_eq(q, wanted + 4 * MIB);
	OK(ze.zeVirtualMemFree(context, q, 65536));
	OK(ze.zeVirtualMemFree(context, p, 2 * MIB));
	OK(ze.zeVirtualMemReserve(context, wanted + 2 * MIB, 2 * MIB, &q));
	cr_assert_eq(q, wanted + 2 * MIB);
}

Test(memory, a_device_with_system_allocations_takes_any)
{
	static uint32_t own[64];
	START("STRICT=1", "SYSTEM=1", "MEMMAP=0");
	ze_device_memory_access_properties_t p = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MEMORY_ACCESS_PROPERTIES };
	ze_command_list_handle_t l = immediate_list();
	ze_event_handle_t e = event(pool(), 0);

	OK(ze.zeDeviceGetMemoryAccessProperties(device, &p));
	cr_assert(p.sharedSystemAllocCapabilities & ZE_MEMORY_ACCESS_CAP_FLAG_RW);
	OK(ze.zeCommandListAppendMemoryCopy(l, own, device_memory(64), 64, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, UINT64_MAX));
	cr_assert_eq(own[15], 0xcdcdcdcd);
}

Test(memory, large_allocations_want_relaxed_limits)
{
	START("STRICT=1", "PATTERN=off");
	ze_relaxed_allocation_limits_exp_desc_t relaxed = { .stype = ZE_STRUCTURE_TYPE_RELAXED_ALLOCATION_LIMITS_EXP_DESC,
							    .flags = ZE_RELAXED_ALLOCATION_LIMITS_EXP_FLAG_MAX_SIZE };
	ze_device_mem_alloc_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC };
	const size_t size = 5000 * MIB;
	void *p;

	GIVES(ZE_RESULT_ERROR_UNSUPPORTED_SIZE, ze.zeMemAllocDevice(context, &desc, size, 0, device, &p));
	desc.pNext = &relaxed;
	OK(ze.zeMemAllocDevice(context, &desc, size, 0, device, &p));
	OK(ze.zeMemFree(context, p));
}

Test(memory, fills_are_of_whole_patterns)
{
	START();
	ze_command_list_handle_t l = immediate_list();
	uint32_t *h = host_memory(64), one = 1;

	catch_messages();
	GIVES(ZE_RESULT_ERROR_INVALID_SIZE, ze.zeCommandListAppendMemoryFill(l, (char *)h + 2, &one, 4, 8, NULL, 0, NULL));
	cr_assert(was_said("no whole patterns of 4"));
	GIVES(ZE_RESULT_ERROR_INVALID_SIZE, ze.zeCommandListAppendMemoryFill(l, h, &one, 4, 6, NULL, 0, NULL));
	OK(ze.zeCommandListAppendMemoryFill(l, h + 1, &one, 4, 8, NULL, 0, NULL));
}

Test(memory, large_mappings_lie_on_large_pages)
{
	START();
	ze_physical_mem_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_PHYSICAL_MEM_DESC, .size = 4 * MIB };
	ze_physical_mem_handle_t physical;
	char *p;

	OK(ze.zeVirtualMemReserve(context, WANTED, 8 * MIB, (void **)&p));
	OK(ze.zePhysicalMemCreate(context, device, &desc, &physical));
	catch_messages();
	GIVES(ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT, ze.zeVirtualMemMap(context, p + 65536, 2 * MIB, physical, 0, ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE));
	GIVES(ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT, ze.zeVirtualMemMap(context, p, 2 * MIB, physical, 65536, ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE));
	OK(ze.zeVirtualMemMap(context, p + 65536, 65536, physical, 65536, ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE));
}

Test(memory, imports_end_before_their_memory)
{
	START();
	struct { ze_structure_type_t stype; const void *next; void *memory; uint64_t size; } ext = { .stype = (ze_structure_type_t)0x20037, .size = 4096 };
	const ze_host_mem_alloc_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC, .pNext = &ext };
	void *p;

	ext.memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(ze.zeMemAllocHost(context, &desc, 4096, 0, &p));
	munmap(ext.memory, 4096);
	catch_messages();
	OK(ze.zeMemFree(context, p));
	cr_assert(was_said("ended before its import"));
}
