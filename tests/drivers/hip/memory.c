/* memory.c - device memory of the HIP double: allocations, who may touch them, and what an address is. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/drivers/common/physical.h"
#include "tests/drivers/hip/hip.h"

pthread_mutex_t hd_mem_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- ranges: sorted by address, disjoint ---- */

static struct hd_range *range;
static size_t nr_ranges, max_ranges;
static uint64_t used;			/* bytes of device memory, of all kinds */

/* Of the first range that ends behind the address. */
static size_t index_from(uint64_t addr)
{
	size_t lo = 0, hi = nr_ranges;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (range[mid].start + range[mid].size <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct hd_range *hd_range_from(uint64_t addr)
{
	size_t i = index_from(addr);

	return i < nr_ranges ? &range[i] : NULL;
}

struct hd_range *hd_range_find(uint64_t addr)
{
	struct hd_range *r = hd_range_from(addr);

	return r && r->start <= addr ? r : NULL;
}

bool hd_range_add(const struct hd_range *r)
{
	size_t i = index_from(r->start);

	if (i < nr_ranges && range[i].start < r->start + r->size)
		return false;
	if (nr_ranges == max_ranges) {
		size_t max = max_ranges ? 2 * max_ranges : 64;
		struct hd_range *more = realloc(range, max * sizeof(*range));

		if (!more)
			return false;
		range = more;
		max_ranges = max;
	}
	memmove(range + i + 1, range + i, (nr_ranges - i) * sizeof(*range));
	range[i] = *r;
	nr_ranges++;
	return true;
}

void hd_range_remove(uint64_t start)
{
	size_t i = index_from(start);

	if (i == nr_ranges || range[i].start != start)
		return;
	nr_ranges--;
	memmove(range + i, range + i + 1, (nr_ranges - i) * sizeof(*range));
}

void hd_ranges_each(void (*each)(const struct hd_range *r, void *arg), void *arg)
{
	for (size_t i = 0; i < nr_ranges; i++)
		each(&range[i], arg);
}

bool hd_account(int64_t bytes)
{
	if (bytes > 0 && used + (uint64_t)bytes > hd_config.memory)
		return false;
	used += (uint64_t)bytes;
	return true;
}

/* ---- who may touch it ---- */

/*
 * Kernels and copies use the addresses that the program has, in the same process. So memory of the device has access
 * while some stream works, and none else: a program that touches it itself is ended by a signal, unless it is lucky.
 */
static unsigned int nr_working;

static uint64_t page_round(uint64_t size)
{
	return (size + HD_PAGE - 1) & -(uint64_t)HD_PAGE;
}

static int prot_of(const struct hd_range *r)
{
	return nr_working || !hd_config.protect ? r->prot : PROT_NONE;
}

void hd_range_protect(const struct hd_range *r)
{
	mprotect((void *)(uintptr_t)r->start, page_round(r->size), prot_of(r));
}

/* Neighbours are changed by one call. */
static void protect_all(void)
{
	for (size_t i = 0; i < nr_ranges;) {
		uint64_t start = range[i].start, end = start;
		int prot = prot_of(&range[i]);
		bool is_device = range[i].mem <= HD_MEM_MAPPED;

		while (i < nr_ranges && range[i].start == end && (range[i].mem <= HD_MEM_MAPPED) == is_device &&
		       prot_of(&range[i]) == prot)
			end = range[i].start + page_round(range[i].size), i++;
		if (is_device)
			mprotect((void *)(uintptr_t)start, end - start, prot);
	}
}

void hd_device_begin(void)
{
	pthread_mutex_lock(&hd_mem_lock);
	if (!nr_working++ && hd_config.protect)
		protect_all();
	pthread_mutex_unlock(&hd_mem_lock);
}

void hd_device_end(void)
{
	pthread_mutex_lock(&hd_mem_lock);
	if (!--nr_working && hd_config.protect)
		protect_all();
	pthread_mutex_unlock(&hd_mem_lock);
}

/* ---- what an address is ---- */

hipError_t hd_place(uint64_t addr, uint64_t size, bool writes, enum hd_place *out)
{
	hipError_t res = hipSuccess;
	struct hd_range *r;

	pthread_mutex_lock(&hd_mem_lock);
	r = hd_range_find(addr);
	if (!r) {
		r = hd_range_from(addr);
		*out = HD_PAGEABLE;
		if (hd_is_reserved(addr, 1))
			res = hd_misuse(hipErrorInvalidValue, "0x%llx is reserved, and nothing is mapped there",
					(unsigned long long)addr);
		else if (r && r->start < addr + size)
			res = hd_misuse(hipErrorInvalidValue, "0x%llx, %llu bytes: runs into other memory at 0x%llx",
					(unsigned long long)addr, (unsigned long long)size, (unsigned long long)r->start);
		goto out;
	}
	*out = r->mem == HD_MEM_HOST || r->mem == HD_MEM_REGISTERED ? HD_PINNED : HD_ON_DEVICE;
	for (;;) {
		struct hd_range *next;

		if (r->mem == HD_MEM_MAPPED && (!(r->prot & PROT_READ) || (writes && !(r->prot & PROT_WRITE)))) {
			res = hd_misuse(hipErrorUnknown, "0x%llx is mapped without that access", (unsigned long long)r->start);
			break;
		}
		if (addr + size <= r->start + r->size)
			break;
		/* mappings of one reservation follow each other; nothing else does */
		next = r->mem == HD_MEM_MAPPED ? hd_range_find(r->start + r->size) : NULL;
		if (!next || next->mem != HD_MEM_MAPPED || next->reservation != r->reservation) {
			res = hd_misuse(hipErrorInvalidValue, "0x%llx, %llu bytes: leaves its memory, which ends at 0x%llx",
					(unsigned long long)addr, (unsigned long long)size,
					(unsigned long long)(r->start + r->size));
			break;
		}
		r = next;
	}
out:
	pthread_mutex_unlock(&hd_mem_lock);
	return res;
}

/* ---- allocations ---- */

static uint64_t alloc(uint64_t size, unsigned int flags, int device)
{
	struct hd_range new = { .size = size, .mem = HD_MEM_DEVICE, .flags = flags, .device = device, .prot = PROT_READ | PROT_WRITE };
	uint64_t bytes = page_round(size);
	void *p = bytes < size ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 0;
	if (hd_config.pattern >= 0)
		memset(p, hd_config.pattern, bytes);
	new.start = (uint64_t)(uintptr_t)p;
	pthread_mutex_lock(&hd_mem_lock);
	if (!hd_account((int64_t)bytes))
		goto err;
	if (!hd_range_add(&new)) {
		hd_account(-(int64_t)bytes);
		goto err;
	}
	hd_range_protect(&new);
	pthread_mutex_unlock(&hd_mem_lock);
	return new.start;
err:
	pthread_mutex_unlock(&hd_mem_lock);
	munmap(p, bytes);
	return 0;
}

static void end(const struct hd_range *r)
{
	pthread_mutex_lock(&hd_mem_lock);
	hd_range_remove(r->start);
	hd_account(-(int64_t)page_round(r->size));
	pthread_mutex_unlock(&hd_mem_lock);
	munmap((void *)(uintptr_t)r->start, page_round(r->size));
}

hipError_t hd_hipExtMallocWithFlags(void **out, size_t size, unsigned int flags)
{
	hipError_t r = hd_device_error(hd_self.device);
	uint64_t addr;

	if (r != hipSuccess)
		return r;
	if (!out || (flags != hipDeviceMallocDefault && flags != hipDeviceMallocFinegrained))
		return hipErrorInvalidValue;
	if (!size) {
		*out = NULL;
		return hipSuccess;
	}
	addr = alloc(size, flags, hd_self.device);
	if (!addr)
		return hipErrorOutOfMemory;
	*out = (void *)(uintptr_t)addr;
	return hipSuccess;
}

hipError_t hd_hipMalloc(void **out, size_t size)
{
	return hd_hipExtMallocWithFlags(out, size, hipDeviceMallocDefault);
}

/* Waits for all work of its device. */
hipError_t hd_hipFree(void *ptr)
{
	struct hd_range old = { .size = 0 }, *found;

	if (!ptr)
		return hipSuccess;
	pthread_mutex_lock(&hd_mem_lock);
	found = hd_range_find((uint64_t)(uintptr_t)ptr);
	if (found && found->mem == HD_MEM_DEVICE && found->start == (uint64_t)(uintptr_t)ptr)
		old = *found;
	pthread_mutex_unlock(&hd_mem_lock);
	if (!old.size)
		return hd_misuse(hipErrorInvalidValue, "%p is no allocation of hipMalloc", ptr);
	hd_device_wait(old.device);
	end(&old);
	return hipSuccess;
}

hipError_t hd_hipMemGetInfo(size_t *available, size_t *total)
{
	if (!available || !total)
		return hipErrorInvalidValue;
	pthread_mutex_lock(&hd_mem_lock);
	*available = hd_config.memory - used;
	*total = hd_config.memory;
	pthread_mutex_unlock(&hd_mem_lock);
	return hipSuccess;
}

hipError_t hd_hipMemGetAddressRange(hipDeviceptr_t *base, size_t *size, hipDeviceptr_t ptr)
{
	struct hd_range *found;
	hipError_t r = hipSuccess;

	pthread_mutex_lock(&hd_mem_lock);
	found = hd_range_find((uint64_t)(uintptr_t)ptr);
	if (!found) {
		r = hipErrorInvalidDevicePointer;
	} else {
		if (base)
			*base = (hipDeviceptr_t)(uintptr_t)found->start;
		if (size)
			*size = found->size;
	}
	pthread_mutex_unlock(&hd_mem_lock);
	return r;
}

/* Memory that HIP does not know is no error (since 6.0). */
hipError_t hd_hipPointerGetAttributes(hipPointerAttribute_t *out, const void *ptr)
{
	struct hip6_pointer_attribute *a = (struct hip6_pointer_attribute *)out;
	struct hd_range *found;

	if (!a || !ptr)
		return hipErrorInvalidValue;
	memset(a, 0, sizeof(*a));
	a->type = HIP6_MEMORY_UNREGISTERED;
	a->device = -2;			/* hipInvalidDeviceId */
	pthread_mutex_lock(&hd_mem_lock);
	found = hd_range_find((uint64_t)(uintptr_t)ptr);
	if (found) {
		bool is_host = found->mem == HD_MEM_HOST || found->mem == HD_MEM_REGISTERED;

		a->type = is_host ? HIP6_MEMORY_HOST : HIP6_MEMORY_DEVICE;
		a->device = found->device;
		a->devicePointer = (void *)hd_device_pointer(found, ptr);
		a->hostPointer = is_host ? (void *)(uintptr_t)ptr : NULL;
		a->allocationFlags = found->flags;
	}
	pthread_mutex_unlock(&hd_mem_lock);
	return hipSuccess;
}
