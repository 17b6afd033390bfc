/* vmm.c - virtual memory management of the HIP double: addresses, physical memory, mappings. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/drivers/common/physical.h"
#include "tests/drivers/hip/hip.h"

/*
 * The handle and each mapping keep physical memory. Addresses reserved are mapped without access; a mapping is the
 * memory's part of its file there, without access until it is given.
 */
struct hd_physical {
	struct fake_obj obj;		/* references: handle, mappings */
	uint64_t offset, size;		/* in the file */
	struct hip6_alloc_prop prop;
};

static bool is_whole(uint64_t n)
{
	return n && !(n % hd_config.granule);
}

/* ---- physical memory ---- */

/* Under the memory's lock. */
static void physical_release(struct fake_obj *obj)
{
	struct hd_physical *p = (struct hd_physical *)obj;

	fake_physical_give_back(p->offset, p->size);
	fake_span_account(-(int64_t)p->size);
	free(p);
}

static hipError_t check_prop(const struct hip6_alloc_prop *prop)
{
	if (!hd_config.has_vmm)
		return hipErrorNotSupported;
	if (!prop || prop->type != hipMemAllocationTypePinned || prop->location.type != hipMemLocationTypeDevice ||
	    !hd_is_device(prop->location.id))
		return hd_misuse(hipErrorInvalidValue, "the properties are not those of pinned memory of a device (6.x has another "
				 "layout of hipMemAllocationProp than 5.2)");
	return prop->requestedHandleType != hipMemHandleTypeNone ? hipErrorNotSupported : hipSuccess;
}

hipError_t hd_hipMemGetAllocationGranularity(size_t *out, const hipMemAllocationProp *prop,
					     hipMemAllocationGranularity_flags option)
{
	hipError_t r = check_prop((const struct hip6_alloc_prop *)prop);

	if (r != hipSuccess)
		return r;
	if (!out || (option != hipMemAllocationGranularityMinimum && option != hipMemAllocationGranularityRecommended))
		return hipErrorInvalidValue;
	*out = hd_config.granule;
	return hipSuccess;
}

hipError_t hd_hipMemCreate(hipMemGenericAllocationHandle_t *out, size_t size, const hipMemAllocationProp *prop,
			   unsigned long long flags)
{
	hipError_t r = check_prop((const struct hip6_alloc_prop *)prop);
	struct hd_physical *p;

	if (r != hipSuccess)
		return r;
	if (!out || flags)
		return hipErrorInvalidValue;
	if (!is_whole(size))
		return hd_misuse(hipErrorInvalidValue, "%zu bytes are no multiple of %llu", size,
				 (unsigned long long)hd_config.granule);
	p = calloc(1, sizeof(*p));
	if (!p)
		return hipErrorOutOfMemory;
	p->obj.kind = HD_PHYSICAL;
	p->obj.release = physical_release;
	p->size = size;
	p->prop = *(const struct hip6_alloc_prop *)prop;
	pthread_mutex_lock(&fake_span_lock);
	if (!fake_span_account((int64_t)size))
		goto err_free;
	if (!fake_physical_take(size, hd_config.pattern, &p->offset))
		goto err_account;
	if (!fake_handle_add(&p->obj))
		goto err_file;
	pthread_mutex_unlock(&fake_span_lock);
	*out = (hipMemGenericAllocationHandle_t)p;
	return hipSuccess;

err_file:
	fake_physical_give_back(p->offset, size);
err_account:
	fake_span_account(-(int64_t)size);
err_free:
	pthread_mutex_unlock(&fake_span_lock);
	free(p);
	return hipErrorOutOfMemory;
}

/* What is mapped stays. */
hipError_t hd_hipMemRelease(hipMemGenericAllocationHandle_t handle)
{
	struct hd_physical *p;
	hipError_t r = hipSuccess;

	pthread_mutex_lock(&fake_span_lock);
	p = fake_handle(handle, HD_PHYSICAL);
	if (!p) {
		r = hd_misuse(hipErrorInvalidValue, "%p is no physical memory, or was released", (void *)handle);
	} else {
		fake_handle_remove(&p->obj);
		fake_put(&p->obj);
	}
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

/* ---- addresses ---- */

hipError_t hd_hipMemAddressReserve(void **out, size_t size, size_t alignment, void *hint, unsigned long long flags)
{
	uint64_t align = alignment > hd_config.granule ? alignment : hd_config.granule;
	uint64_t wanted = hd_config.takes_hint ? (uint64_t)(uintptr_t)hint : 0;
	uint64_t start;

	if (!hd_config.has_vmm)
		return hipErrorNotSupported;
	if (!out || flags)
		return hipErrorInvalidValue;
	if (!is_whole(size) || alignment & (alignment - 1) || size + align < size)
		return hd_misuse(hipErrorMemoryAllocation, "%zu bytes aligned to %zu; both go in steps of %llu", size, alignment,
				 (unsigned long long)hd_config.granule);
	start = fake_reservation_new(wanted, size, align, 0);
	if (!start)
		return hipErrorOutOfMemory;
	*out = (void *)(uintptr_t)start;
	return hipSuccess;
}

/* All of one, with nothing mapped in it. */
hipError_t hd_hipMemAddressFree(void *ptr, size_t size)
{
	uint64_t addr = (uint64_t)(uintptr_t)ptr;
	hipError_t r = hipSuccess;
	struct fake_span *in;

	pthread_mutex_lock(&fake_span_lock);
	in = fake_span_from(addr);
	if (!fake_reservation_is(addr, size)) {
		r = hd_misuse(hipErrorInvalidValue, "0x%llx, %zu bytes: is no reservation as a whole", (unsigned long long)addr, size);
	} else if (in && in->start < addr + size) {
		r = hd_misuse(hipErrorInvalidValue, "0x%llx, %zu bytes: memory is mapped at 0x%llx", (unsigned long long)addr, size,
			      (unsigned long long)in->start);
	} else {
		fake_reservation_end(addr);
	}
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

/* ---- mappings ---- */

hipError_t hd_hipMemMap(void *ptr, size_t size, size_t offset, hipMemGenericAllocationHandle_t handle,
			unsigned long long flags)
{
	struct fake_span new = { .start = (uint64_t)(uintptr_t)ptr, .size = size, .mem = HD_MEM_MAPPED, .is_device = true, .prot = PROT_NONE };
	unsigned long long addr = new.start;
	struct hd_physical *p;
	uint64_t reserved;
	hipError_t r;

	if (!ptr || !handle || !size || offset || flags)
		return hd_misuse(hipErrorInvalidValue, "no address, handle or size; or an offset, or flags");
	pthread_mutex_lock(&fake_span_lock);
	p = fake_handle(handle, HD_PHYSICAL);
	reserved = fake_reservation_of(new.start, size);
	if (!p) {
		r = hd_misuse(hipErrorInvalidValue, "%p is no physical memory", (void *)handle);
		goto out;
	}
	if (addr % hd_config.granule || !is_whole(size) || size > p->size) {
		r = hd_misuse(hipErrorInvalidValue, "%zu bytes of %llu at 0x%llx, in steps of %llu", size, (unsigned long long)p->size,
			      addr, (unsigned long long)hd_config.granule);
		goto out;
	}
	if (!reserved) {
		r = hd_misuse(hipErrorInvalidValue, "0x%llx, %zu bytes: not reserved", addr, size);
		goto out;
	}
	new.physical = p;
	new.device = p->prop.location.id;
	new.reservation = reserved;
	if (!fake_span_add(&new)) {
		r = hd_misuse(hipErrorInvalidValue, "0x%llx, %zu bytes: something is mapped there", addr, size);
		goto out;
	}
	if (mmap(ptr, size, PROT_NONE, MAP_SHARED | MAP_FIXED, fake_physical_file(), (off_t)p->offset) == MAP_FAILED) {
		fake_span_remove(new.start);
		r = hipErrorOutOfMemory;
		goto out;
	}
	fake_ref(&p->obj);
	r = hipSuccess;
out:
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

/* Whether mappings, whole ones, fill the range. */
static bool is_covered(uint64_t addr, uint64_t size)
{
	uint64_t at = addr;

	while (at < addr + size) {
		struct fake_span *f = fake_span_find(at);

		if (!f || f->mem != HD_MEM_MAPPED || f->start != at)
			return false;
		at += f->size;
	}
	return at == addr + size;
}

hipError_t hd_hipMemSetAccess(void *ptr, size_t size, const hipMemAccessDesc *desc, size_t nr)
{
	static const int prot[] = {
		[hipMemAccessFlagsProtNone] = PROT_NONE, [hipMemAccessFlagsProtRead] = PROT_READ,
		[hipMemAccessFlagsProtReadWrite] = PROT_READ | PROT_WRITE,
	};
	uint64_t addr = (uint64_t)(uintptr_t)ptr;
	hipError_t r = hipSuccess;

	if (!ptr || !size || !desc || !nr)
		return hipErrorInvalidValue;
	for (size_t i = 0; i < nr; i++)
		if (desc[i].location.type != hipMemLocationTypeDevice || !hd_is_device(desc[i].location.id) ||
		    (desc[i].flags != hipMemAccessFlagsProtNone && desc[i].flags != hipMemAccessFlagsProtRead &&
		     desc[i].flags != hipMemAccessFlagsProtReadWrite))
			return hd_misuse(hipErrorInvalidValue, "descriptor %zu names no device, or no access", i);
	pthread_mutex_lock(&fake_span_lock);
	if (!is_covered(addr, size)) {
		r = hd_misuse(hipErrorInvalidValue, "0x%llx, %zu bytes: not filled by whole mappings", (unsigned long long)addr, size);
		goto out;
	}
	for (size_t i = 0; i < nr; i++) {
		for (uint64_t at = addr; at < addr + size;) {
			struct fake_span *f = fake_span_find(at);

			if (f->device == desc[i].location.id) {
				f->prot = prot[desc[i].flags];
				fake_span_protect(f);
			}
			at += f->size;
		}
	}
out:
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

hipError_t hd_hipMemGetAccess(unsigned long long *out, const hipMemLocation *location, void *ptr)
{
	struct fake_span *f;
	hipError_t r = hipSuccess;

	if (!out || !location || !ptr || location->type != hipMemLocationTypeDevice || !hd_is_device(location->id))
		return hipErrorInvalidValue;
	pthread_mutex_lock(&fake_span_lock);
	f = fake_span_find((uint64_t)(uintptr_t)ptr);
	if (!f || f->mem != HD_MEM_MAPPED)
		r = hipErrorInvalidValue;
	else
		*out = f->device != location->id ? hipMemAccessFlagsProtNone :
			f->prot == PROT_NONE ? hipMemAccessFlagsProtNone : f->prot == PROT_READ ? hipMemAccessFlagsProtRead :
			hipMemAccessFlagsProtReadWrite;
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

/* One whole mapping. Waits for the null stream, as work of the device's blocking streams may use it; others are not waited for. */
hipError_t hd_hipMemUnmap(void *ptr, size_t size)
{
	uint64_t addr = (uint64_t)(uintptr_t)ptr;
	struct hd_stream *null;
	struct fake_span *f;
	hipError_t r;

	if (!ptr || !size)
		return hipErrorInvalidValue;
	r = hd_stream_get(NULL, &null);
	if (r != hipSuccess)
		return r;
	hd_stream_wait_all(null);
	if (hd_is_used(addr, size, NULL))
		(void)hd_misuse(hipSuccess, "0x%llx, %zu bytes: copies that are queued or run use it", (unsigned long long)addr, size);
	pthread_mutex_lock(&fake_span_lock);
	f = fake_span_find(addr);
	if (!f || f->mem != HD_MEM_MAPPED || f->start != addr || f->size != size) {
		r = hd_misuse(hipErrorInvalidValue, "0x%llx, %zu bytes: is no mapping as a whole", (unsigned long long)addr, size);
	} else {
		struct hd_physical *p = f->physical;

		mmap(ptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		fake_span_remove(addr);
		fake_put(&p->obj);
	}
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}
