/* host.c - host memory of the HIP double: pinned and registered. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "tests/drivers/hip/hip.h"

/* Where the device sees registered memory with HG_FAKE_HIP_HOST_POINTER=0: nothing is there. */
#define ELSEWHERE 0x100000000000u

const void *hd_device_pointer(const struct fake_span *r, const void *ptr)
{
	return r->mem == HD_MEM_REGISTERED && !hd_config.host_pointer ? (const char *)ptr + ELSEWHERE : ptr;
}

hipError_t hd_hipHostMalloc(void **out, size_t size, unsigned int flags)
{
	const unsigned int known = hipHostMallocPortable | hipHostMallocMapped | hipHostMallocWriteCombined |
		hipHostMallocNumaUser | hipHostMallocCoherent | hipHostMallocNonCoherent;
	struct fake_span new = { .size = size, .mem = HD_MEM_HOST, .device = hd_self.device, .prot = PROT_READ | PROT_WRITE };
	void *p;
	bool ok;

	if (!out || flags & ~known || (flags & hipHostMallocCoherent && flags & hipHostMallocNonCoherent))
		return hipErrorInvalidValue;
	if (!size) {
		*out = NULL;
		return hipSuccess;
	}
	p = mmap(NULL, fake_page_round(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return hipErrorOutOfMemory;
	if (hd_config.pattern >= 0)
		memset(p, hd_config.pattern, size);
	new.start = (uint64_t)(uintptr_t)p;
	new.flags = flags ? flags : hipHostMallocMapped;
	pthread_mutex_lock(&fake_span_lock);
	ok = fake_span_add(&new);
	pthread_mutex_unlock(&fake_span_lock);
	if (!ok) {
		munmap(p, fake_page_round(size));
		return hipErrorOutOfMemory;
	}
	*out = p;
	return hipSuccess;
}

/* Takes it out; a misuse when it is not what begins there, or when work that is queued copies from or to it. */
static hipError_t take(void *p, enum hd_mem mem, hipError_t otherwise, struct fake_span *out)
{
	struct fake_span *found;
	bool is = false;

	pthread_mutex_lock(&fake_span_lock);
	found = fake_span_find((uint64_t)(uintptr_t)p);
	if (found && found->mem == mem && found->start == (uint64_t)(uintptr_t)p) {
		*out = *found;
		is = true;
	}
	pthread_mutex_unlock(&fake_span_lock);
	if (!is)
		return hd_misuse(otherwise, "%p is no such memory", p);
	if (hd_is_used(out->start, out->size, NULL))
		(void)hd_misuse(hipSuccess, "%p is used by copies that are queued or run", p);
	hd_device_wait(out->device);
	pthread_mutex_lock(&fake_span_lock);
	fake_span_remove(out->start);
	pthread_mutex_unlock(&fake_span_lock);
	return hipSuccess;
}

hipError_t hd_hipHostFree(void *p)
{
	struct fake_span old;
	hipError_t r;

	if (!p)
		return hipSuccess;
	r = take(p, HD_MEM_HOST, hipErrorInvalidValue, &old);
	if (r == hipSuccess)
		munmap(p, fake_page_round(old.size));
	return r;
}

hipError_t hd_hipHostRegister(void *p, size_t size, unsigned int flags)
{
	const unsigned int known = hipHostRegisterPortable | hipHostRegisterMapped | hipHostRegisterIoMemory |
		hipExtHostRegisterCoarseGrained;
	struct fake_span new = { .start = (uint64_t)(uintptr_t)p, .size = size, .mem = HD_MEM_REGISTERED,
				.device = hd_self.device, .flags = flags, .prot = PROT_READ | PROT_WRITE };
	struct fake_span *there;
	hipError_t r = hipSuccess;

	if (!p || !size || flags & ~known || new.start + size < new.start)
		return hipErrorInvalidValue;
	if (flags & hipHostRegisterIoMemory)
		return hipErrorNotSupported;
	if (!fake_is_memory(new.start, size))
		return hd_misuse(hipErrorInvalidValue, "%p, %zu bytes: not all of it is memory", p, size);
	pthread_mutex_lock(&fake_span_lock);
	there = fake_span_from(new.start);
	if (there && there->start < new.start + size)
		r = hd_misuse(hipErrorHostMemoryAlreadyRegistered, "%p, %zu bytes: memory of HIP is at 0x%llx already", p, size,
			      (unsigned long long)there->start);
	else if (!fake_span_add(&new))
		r = hipErrorOutOfMemory;
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

hipError_t hd_hipHostUnregister(void *p)
{
	struct fake_span old;

	return p ? take(p, HD_MEM_REGISTERED, hipErrorHostMemoryNotRegistered, &old) : hipErrorInvalidValue;
}

hipError_t hd_hipHostGetDevicePointer(void **out, void *p, unsigned int flags)
{
	struct fake_span *found;
	hipError_t r = hipSuccess;

	if (!out || flags)
		return hipErrorInvalidValue;
	pthread_mutex_lock(&fake_span_lock);
	found = fake_span_find((uint64_t)(uintptr_t)p);
	if (found && (found->mem == HD_MEM_HOST || found->mem == HD_MEM_REGISTERED))
		*out = (void *)(uintptr_t)hd_device_pointer(found, p);
	else
		r = hd_misuse(hipErrorInvalidValue, "%p is no host memory of HIP", p);
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

hipError_t hd_hipHostGetFlags(unsigned int *flags, void *p)
{
	struct fake_span *found;
	hipError_t r = hipSuccess;

	if (!flags)
		return hipErrorInvalidValue;
	pthread_mutex_lock(&fake_span_lock);
	found = fake_span_find((uint64_t)(uintptr_t)p);
	if (found && found->mem == HD_MEM_HOST)
		*flags = found->flags;
	else
		r = hd_misuse(hipErrorInvalidValue, "%p is no memory of hipHostMalloc", p);
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}
