/* memory.c - device memory of the HIP double: allocations, who may touch them, and what an address is. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/drivers/common/physical.h"
#include "tests/drivers/hip/hip.h"

/* ---- what an address is ---- */

hipError_t hd_place(uint64_t addr, uint64_t size, bool writes, enum hd_place *out)
{
	hipError_t res = hipSuccess;
	struct fake_span *r;

	pthread_mutex_lock(&fake_span_lock);
	r = fake_span_find(addr);
	if (!r) {
		r = fake_span_from(addr);
		*out = HD_PAGEABLE;
		if (fake_reservation_of(addr, 1))
			res = hd_misuse(hipErrorInvalidValue, "0x%llx is reserved, and nothing is mapped there",
					(unsigned long long)addr);
		else if (r && r->start < addr + size)
			res = hd_misuse(hipErrorInvalidValue, "0x%llx, %llu bytes: runs into other memory at 0x%llx",
					(unsigned long long)addr, (unsigned long long)size, (unsigned long long)r->start);
		goto out;
	}
	*out = r->mem == HD_MEM_HOST || r->mem == HD_MEM_REGISTERED ? HD_PINNED : HD_ON_DEVICE;
	for (;;) {
		struct fake_span *next;

		if (r->mem == HD_MEM_MAPPED && (!(r->prot & PROT_READ) || (writes && !(r->prot & PROT_WRITE)))) {
			res = hd_misuse(hipErrorUnknown, "0x%llx is mapped without that access", (unsigned long long)r->start);
			break;
		}
		if (addr + size <= r->start + r->size)
			break;
		/* mappings of one reservation follow each other; nothing else does */
		next = r->mem == HD_MEM_MAPPED ? fake_span_find(r->start + r->size) : NULL;
		if (!next || next->mem != HD_MEM_MAPPED || next->reservation != r->reservation) {
			res = hd_misuse(hipErrorInvalidValue, "0x%llx, %llu bytes: leaves its memory, which ends at 0x%llx",
					(unsigned long long)addr, (unsigned long long)size,
					(unsigned long long)(r->start + r->size));
			break;
		}
		r = next;
	}
out:
	pthread_mutex_unlock(&fake_span_lock);
	return res;
}

/* ---- allocations ---- */

static uint64_t alloc(uint64_t size, unsigned int flags, int device)
{
	struct fake_span new = { .size = size, .mem = HD_MEM_DEVICE, .is_device = true, .flags = flags, .device = device,
				 .prot = PROT_READ | PROT_WRITE };
	uint64_t bytes = fake_page_round(size);
	void *p = bytes < size ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 0;
	if (hd_config.pattern >= 0)
		memset(p, hd_config.pattern, bytes);
	new.start = (uint64_t)(uintptr_t)p;
	pthread_mutex_lock(&fake_span_lock);
	if (!fake_span_account((int64_t)bytes))
		goto err;
	if (!fake_span_add(&new)) {
		fake_span_account(-(int64_t)bytes);
		goto err;
	}
	fake_span_protect(&new);
	pthread_mutex_unlock(&fake_span_lock);
	return new.start;
err:
	pthread_mutex_unlock(&fake_span_lock);
	munmap(p, bytes);
	return 0;
}

static void end(const struct fake_span *r)
{
	pthread_mutex_lock(&fake_span_lock);
	fake_span_remove(r->start);
	fake_span_account(-(int64_t)fake_page_round(r->size));
	pthread_mutex_unlock(&fake_span_lock);
	munmap((void *)(uintptr_t)r->start, fake_page_round(r->size));
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
	struct fake_span old = { .size = 0 }, *found;

	if (!ptr)
		return hipSuccess;
	pthread_mutex_lock(&fake_span_lock);
	found = fake_span_find((uint64_t)(uintptr_t)ptr);
	if (found && found->mem == HD_MEM_DEVICE && found->start == (uint64_t)(uintptr_t)ptr)
		old = *found;
	pthread_mutex_unlock(&fake_span_lock);
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
	pthread_mutex_lock(&fake_span_lock);
	*available = hd_config.memory - fake_span_account_used();
	*total = hd_config.memory;
	pthread_mutex_unlock(&fake_span_lock);
	return hipSuccess;
}

hipError_t hd_hipMemGetAddressRange(hipDeviceptr_t *base, size_t *size, hipDeviceptr_t ptr)
{
	struct fake_span *found;
	hipError_t r = hipSuccess;

	pthread_mutex_lock(&fake_span_lock);
	found = fake_span_find((uint64_t)(uintptr_t)ptr);
	if (!found) {
		r = hipErrorInvalidDevicePointer;
	} else {
		if (base)
			*base = (hipDeviceptr_t)(uintptr_t)found->start;
		if (size)
			*size = found->size;
	}
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

/* Memory that HIP does not know is no error (since 6.0). */
hipError_t hd_hipPointerGetAttributes(hipPointerAttribute_t *out, const void *ptr)
{
	struct hip6_pointer_attribute *a = (struct hip6_pointer_attribute *)out;
	struct fake_span *found;

	if (!a || !ptr)
		return hipErrorInvalidValue;
	memset(a, 0, sizeof(*a));
	a->type = HIP6_MEMORY_UNREGISTERED;
	a->device = -2;			/* hipInvalidDeviceId */
	pthread_mutex_lock(&fake_span_lock);
	found = fake_span_find((uint64_t)(uintptr_t)ptr);
	if (found) {
		bool is_host = found->mem == HD_MEM_HOST || found->mem == HD_MEM_REGISTERED;

		a->type = is_host ? HIP6_MEMORY_HOST : HIP6_MEMORY_DEVICE;
		a->device = found->device;
		a->devicePointer = (void *)hd_device_pointer(found, ptr);
		a->hostPointer = is_host ? (void *)(uintptr_t)ptr : NULL;
		a->allocationFlags = found->flags;
	}
	pthread_mutex_unlock(&fake_span_lock);
	return hipSuccess;
}
