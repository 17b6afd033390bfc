/* vmm.c - reserved addresses, physical memory, and mappings of it. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "tests/drivers/common/physical.h"
#include "tests/drivers/ze/ze.h"

/* The handle and each mapping keep physical memory; a mapping is the memory's part of its file there. */
struct zd_physical {
	struct zd_object obj;
	uint64_t offset, size;		/* in the file */
	int device;
	unsigned int mappings;		/* under the memory's lock */
};

/* As public drivers do: large sizes go in large pages. */
#define SMALL_STEP ((uint64_t)65536)
#define LARGE_STEP ((uint64_t)2 << 20)

static uint64_t step_of(uint64_t size)
{
	return size >= LARGE_STEP ? LARGE_STEP : SMALL_STEP;
}

static bool is_whole(uint64_t size)
{
	return size && !(size % step_of(size));
}

ze_result_t zd_zeVirtualMemQueryPageSize(ze_context_handle_t ctx, ze_device_handle_t device, size_t size, size_t *page)
{
	struct zd_object *c;
	struct zd_device *d;
	ze_result_t r = zd_get_both(ctx, device, &c, &d);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!page || !size)
		return page ? ZE_RESULT_ERROR_UNSUPPORTED_SIZE : ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	*page = step_of(size);
	return r;
}

/* ---- addresses ---- */

ze_result_t zd_zeVirtualMemReserve(ze_context_handle_t ctx, const void *start, size_t size, void **out)
{
	struct zd_object *c;
	uint64_t addr;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (!is_whole(size) || size > UINT64_MAX - LARGE_STEP)
		return zd_misuse(ZE_RESULT_ERROR_UNSUPPORTED_SIZE, "%zu bytes are no multiple of %llu", size, (unsigned long long)step_of(size));
	/* compute-runtime rounds up to large pages, and takes one more: two reservations never lie side by side */
	addr = fake_reservation_new(zd_config.takes_hint ? (uint64_t)(uintptr_t)start : 0, size, LARGE_STEP, LARGE_STEP + -size % LARGE_STEP);
	if (!addr)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	*out = (void *)(uintptr_t)addr;
	return r;
}

/* All of one, with nothing mapped in it. */
ze_result_t zd_zeVirtualMemFree(ze_context_handle_t ctx, const void *ptr, size_t size)
{
	uint64_t addr = (uint64_t)(uintptr_t)ptr;
	struct zd_object *c;
	struct fake_span *in;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	pthread_mutex_lock(&fake_span_lock);
	in = fake_span_from(addr);
	if (!fake_reservation_is(addr, size))
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %zu bytes: is no reservation as a whole", ptr, size);
	else if (in && in->start < addr + size)
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %zu bytes: memory is mapped at 0x%llx", ptr, size,
			      (unsigned long long)in->start);
	else
		fake_reservation_end(addr);
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

/* ---- physical memory ---- */

/* Of the last reference; takes the memory's lock. */
static void physical_release(struct fake_obj *obj)
{
	struct zd_physical *p = (struct zd_physical *)obj;

	pthread_mutex_lock(&fake_span_lock);
	if (p->size) {
		fake_physical_give_back(p->offset, p->size);
		fake_span_account(-(int64_t)p->size);
	}
	pthread_mutex_unlock(&fake_span_lock);
	zd_object_release(&p->obj);
}

ze_result_t zd_zePhysicalMemCreate(ze_context_handle_t ctx, ze_device_handle_t device, ze_physical_mem_desc_t *desc,
				   ze_physical_mem_handle_t *out)
{
	struct zd_physical *p;
	struct zd_object *c;
	struct zd_device *d;
	bool ok;
	ze_result_t r = zd_get_both(ctx, device, &c, &d);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_PHYSICAL_MEM_DESC, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out || desc->flags)
		return out ? ZE_RESULT_ERROR_INVALID_ENUMERATION : ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (!is_whole(desc->size))
		return zd_misuse(ZE_RESULT_ERROR_UNSUPPORTED_SIZE, "%zu bytes are no multiple of %llu", desc->size,
				 (unsigned long long)step_of(desc->size));
	p = zd_object_new(sizeof(*p), ZD_PHYSICAL, c, physical_release);
	if (!p)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	p->device = d->index;
	pthread_mutex_lock(&fake_span_lock);
	ok = fake_span_account((int64_t)desc->size);
	if (ok && !fake_physical_take(desc->size, zd_config.pattern, &p->offset)) {
		fake_span_account(-(int64_t)desc->size);
		ok = false;
	}
	if (ok)
		p->size = desc->size;
	pthread_mutex_unlock(&fake_span_lock);
	if (!ok) {
		(void)zd_object_end(p, ZD_PHYSICAL);
		return ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY;
	}
	*out = (ze_physical_mem_handle_t)p;
	return r;
}

ze_result_t zd_zePhysicalMemDestroy(ze_context_handle_t ctx, ze_physical_mem_handle_t handle)
{
	struct zd_physical *p;
	struct zd_object *c;
	unsigned int mappings;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_object_get(handle, ZD_PHYSICAL, &p);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	pthread_mutex_lock(&fake_span_lock);
	mappings = p->mappings;
	pthread_mutex_unlock(&fake_span_lock);
	if (mappings || p->obj.parent != c)
		(void)zd_misuse(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE, "physical memory %p is %s", (void *)handle,
				mappings ? "still mapped" : "of another context");
	return zd_object_end(handle, ZD_PHYSICAL);
}

/* ---- mappings ---- */

static bool prot_of(ze_memory_access_attribute_t access, int *prot)
{
	static const int prots[] = {
		[ZE_MEMORY_ACCESS_ATTRIBUTE_NONE] = PROT_NONE, [ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE] = PROT_READ | PROT_WRITE,
		[ZE_MEMORY_ACCESS_ATTRIBUTE_READONLY] = PROT_READ,
	};

	if ((unsigned int)access > ZE_MEMORY_ACCESS_ATTRIBUTE_READONLY)
		return false;
	*prot = prots[access];
	return true;
}

ze_result_t zd_zeVirtualMemMap(ze_context_handle_t ctx, const void *ptr, size_t size, ze_physical_mem_handle_t handle, size_t offset,
			       ze_memory_access_attribute_t access)
{
	struct fake_span new = { .start = (uint64_t)(uintptr_t)ptr, .size = size, .mem = ZD_MEM_MAPPED, .is_device = true };
	struct zd_physical *p;
	struct zd_object *c;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_object_get(handle, ZD_PHYSICAL, &p);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!prot_of(access, &new.prot))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ENUMERATION, "access %u", access);
	if (!is_whole(size) || (new.start | offset) % step_of(size) || offset > p->size || size > p->size - offset)
		return zd_misuse(ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT, "%zu bytes from %zu of %llu at %p", size, offset,
				 (unsigned long long)p->size, ptr);
	new.device = p->device;
	new.physical = p;
	new.owner = c;
	pthread_mutex_lock(&fake_span_lock);
	new.reservation = fake_reservation_of(new.start, size);
	if (!new.reservation) {
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %zu bytes: not reserved", ptr, size);
		goto out;
	}
	if (!fake_span_add(&new)) {
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %zu bytes: something is mapped there", ptr, size);
		goto out;
	}
	if (mmap((void *)(uintptr_t)new.start, size, PROT_NONE, MAP_SHARED | MAP_FIXED, fake_physical_file(), (off_t)(p->offset + offset)) ==
	    MAP_FAILED) {
		fake_span_remove(new.start);
		r = ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
		goto out;
	}
	fake_ref(&p->obj.base);
	p->mappings++;
	fake_span_protect(&new);
out:
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

/* One whole mapping. */
ze_result_t zd_zeVirtualMemUnmap(ze_context_handle_t ctx, const void *ptr, size_t size)
{
	uint64_t addr = (uint64_t)(uintptr_t)ptr;
	struct zd_physical *p = NULL;
	struct zd_object *c;
	struct fake_span *s;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (zd_is_used(addr, size))
		(void)zd_misuse(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE, "%p, %zu bytes: used by work that is queued or runs", ptr, size);
	pthread_mutex_lock(&fake_span_lock);
	s = fake_span_find(addr);
	if (!s || s->mem != ZD_MEM_MAPPED || s->start != addr || s->size != size) {
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %zu bytes: is no mapping as a whole", ptr, size);
	} else {
		p = s->physical;
		p->mappings--;
		mmap((void *)(uintptr_t)addr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		fake_span_remove(addr);
	}
	pthread_mutex_unlock(&fake_span_lock);
	if (p)
		fake_put(&p->obj.base);
	return r;
}

ze_result_t zd_zeVirtualMemSetAccessAttribute(ze_context_handle_t ctx, const void *ptr, size_t size, ze_memory_access_attribute_t access)
{
	uint64_t addr = (uint64_t)(uintptr_t)ptr, at = addr;
	struct zd_object *c;
	int prot;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!prot_of(access, &prot))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ENUMERATION, "access %u", access);
	pthread_mutex_lock(&fake_span_lock);
	while (at < addr + size) {
		struct fake_span *s = fake_span_find(at);

		if (!s || s->mem != ZD_MEM_MAPPED || s->start != at)
			break;
		at += s->size;
	}
	if (!size || at != addr + size)
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %zu bytes: not filled by whole mappings", ptr, size);
	for (at = addr; at < addr + size && r == ZE_RESULT_SUCCESS;) {
		struct fake_span *s = fake_span_find(at);

		s->prot = prot;
		fake_span_protect(s);
		at += s->size;
	}
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

ze_result_t zd_zeVirtualMemGetAccessAttribute(ze_context_handle_t ctx, const void *ptr, size_t size, ze_memory_access_attribute_t *access,
					      size_t *out)
{
	struct zd_object *c;
	struct fake_span *s;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!access || !out || !size)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	pthread_mutex_lock(&fake_span_lock);
	s = fake_span_find((uint64_t)(uintptr_t)ptr);
	if (!s || s->mem != ZD_MEM_MAPPED) {
		r = ZE_RESULT_ERROR_INVALID_ARGUMENT;
	} else {
		*access = s->prot == PROT_NONE ? ZE_MEMORY_ACCESS_ATTRIBUTE_NONE : s->prot == PROT_READ ? ZE_MEMORY_ACCESS_ATTRIBUTE_READONLY :
			ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE;
		*out = s->size;
	}
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}
