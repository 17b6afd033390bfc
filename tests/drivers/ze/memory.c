/* memory.c - unified shared memory, imported memory, and what an address is to a command. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "tests/drivers/common/physical.h"
#include "tests/drivers/ze/ze.h"

/* ---- what an address is ---- */

ze_result_t zd_check_place(const struct zd_object *ctx, uint64_t addr, uint64_t size, bool writes)
{
	const unsigned long long a = addr, n = size;
	ze_result_t res = ZE_RESULT_SUCCESS;
	struct fake_span *s;

	pthread_mutex_lock(&fake_span_lock);
	s = fake_span_find(addr);
	if (!s) {
		if (fake_reservation_of(addr, 1))
			res = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "0x%llx is reserved, and nothing is mapped there", a);
		else if (!zd_config.has_system)
			res = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "0x%llx, %llu bytes: no memory that Level Zero knows, and the device "
					"has no access to others (no system allocations)", a, n);
		else if (!fake_is_memory(addr, size))
			res = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "0x%llx, %llu bytes: is no memory", a, n);
		goto out;
	}
	for (;;) {
		struct fake_span *next;

		if (s->owner && s->owner != ctx) {
			res = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "0x%llx is memory of another context", (unsigned long long)s->start);
			break;
		}
		if (s->mem == ZD_MEM_MAPPED && (!(s->prot & PROT_READ) || (writes && !(s->prot & PROT_WRITE)))) {
			res = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "0x%llx is mapped without that access",
					(unsigned long long)s->start);
			break;
		}
		if (addr + size <= s->start + s->size)
			break;
		/* mappings of one reservation follow each other; nothing else does */
		next = s->mem == ZD_MEM_MAPPED ? fake_span_find(s->start + s->size) : NULL;
		if (!next || next->mem != ZD_MEM_MAPPED || next->reservation != s->reservation) {
			res = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "0x%llx, %llu bytes: leaves its memory, which ends at 0x%llx", a, n,
					(unsigned long long)(s->start + s->size));
			break;
		}
		s = next;
	}
out:
	pthread_mutex_unlock(&fake_span_lock);
	return res;
}

/* ---- allocations ---- */

/* size and align as they were asked for; the kind and owner are in `like`. */
static ze_result_t alloc(const struct fake_span *like, size_t size, size_t align, void **out)
{
	struct fake_span new = *like;
	uint64_t bytes = fake_page_round(size), step = align > FAKE_PAGE ? align : FAKE_PAGE;
	ze_result_t r = ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY;

	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (!size)
		return zd_misuse(ZE_RESULT_ERROR_UNSUPPORTED_SIZE, "0 bytes");
	if (align & (align - 1))
		return zd_misuse(ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT, "alignment to %zu", align);
	if (bytes < size)
		return ZE_RESULT_ERROR_UNSUPPORTED_SIZE;
	new.size = size;
	new.prot = PROT_READ | PROT_WRITE;
	new.start = fake_reserve(0, bytes, step);
	if (!new.start)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	*out = (void *)(uintptr_t)new.start;
	if (mprotect(*out, bytes, PROT_READ | PROT_WRITE))
		goto err_map;
	if (zd_config.pattern >= 0)
		memset(*out, zd_config.pattern, bytes);
	pthread_mutex_lock(&fake_span_lock);
	if (new.mem != ZD_MEM_HOST && !fake_span_account((int64_t)bytes))
		goto err_lock;
	r = ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	if (!fake_span_add(&new))
		goto err_account;
	if (new.is_device)
		fake_span_protect(&new);
	pthread_mutex_unlock(&fake_span_lock);
	return ZE_RESULT_SUCCESS;

err_account:
	if (new.mem != ZD_MEM_HOST)
		fake_span_account(-(int64_t)bytes);
err_lock:
	pthread_mutex_unlock(&fake_span_lock);
err_map:
	munmap((void *)(uintptr_t)new.start, bytes);
	return r;
}

/* More than maxMemAllocSize wants a structure that says so. */
static ze_result_t check_device_desc(const ze_device_mem_alloc_desc_t *desc, size_t size)
{
	static const ze_structure_type_t known[] = { ZE_STRUCTURE_TYPE_RELAXED_ALLOCATION_LIMITS_EXP_DESC };
	ze_result_t r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC, known, 1);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (desc->ordinal)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "memory %u of the device, which has one", desc->ordinal);
	return size > ZD_MAX_ALLOC && !desc->pNext ? zd_refuse(ZE_RESULT_ERROR_UNSUPPORTED_SIZE, "%zu bytes, at most %llu without relaxed limits",
							    size, (unsigned long long)ZD_MAX_ALLOC) : r;
}

ze_result_t zd_zeMemAllocDevice(ze_context_handle_t ctx, const ze_device_mem_alloc_desc_t *desc, size_t size, size_t align,
				ze_device_handle_t device, void **out)
{
	struct fake_span like = { .mem = ZD_MEM_DEVICE, .is_device = true };
	struct zd_object *c;
	struct zd_device *d;
	ze_result_t r = zd_get_both(ctx, device, &c, &d);

	if (r == ZE_RESULT_SUCCESS)
		r = check_device_desc(desc, size);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	like.owner = c;
	like.device = d->index;
	return alloc(&like, size, align, out);
}

/* ZE_extension_external_memmap_sysmem, of specification 1.14: ze_external_memmap_sysmem_ext_desc_t. */
struct memmap {
	ze_structure_type_t stype;
	const void *next;
	void *memory;
	uint64_t size;
};
#define MEMMAP_STYPE ((ze_structure_type_t)0x00020037)

/* Memory of the program becomes a host allocation where it is. */
static ze_result_t memmap(const struct zd_object *ctx, const struct memmap *m, size_t size, void **out)
{
	struct fake_span new = { .start = (uint64_t)(uintptr_t)m->memory, .size = m->size, .mem = ZD_MEM_IMPORTED, .device = -1,
				 .prot = PROT_READ | PROT_WRITE, .owner = (void *)ctx };
	struct fake_span *there;
	ze_result_t r = ZE_RESULT_SUCCESS;

	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (!m->memory || !m->size || m->size != size || (new.start | m->size) % FAKE_PAGE)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %llu bytes of %zu: no whole pages", m->memory,
				 (unsigned long long)m->size, size);
	if (!fake_is_memory(new.start, m->size))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %zu bytes: not all of it is memory", m->memory, size);
	pthread_mutex_lock(&fake_span_lock);
	there = fake_span_from(new.start);
	if (there && there->start < new.start + size)
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p, %zu bytes: memory of Level Zero is at 0x%llx already", m->memory, size,
			      (unsigned long long)there->start);
	else if (!fake_span_add(&new))
		r = ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	pthread_mutex_unlock(&fake_span_lock);
	if (r == ZE_RESULT_SUCCESS)
		*out = m->memory;
	return r;
}

ze_result_t zd_zeMemAllocHost(ze_context_handle_t ctx, const ze_host_mem_alloc_desc_t *desc, size_t size, size_t align, void **out)
{
	static const ze_structure_type_t known[] = { MEMMAP_STYPE };
	struct fake_span like = { .mem = ZD_MEM_HOST, .device = -1 };
	struct zd_object *c;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC, known, zd_config.has_memmap);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (desc->pNext)
		return memmap(c, desc->pNext, size, out);
	like.owner = c;
	return alloc(&like, size, align, out);
}

ze_result_t zd_zeMemAllocShared(ze_context_handle_t ctx, const ze_device_mem_alloc_desc_t *device_desc,
				const ze_host_mem_alloc_desc_t *host_desc, size_t size, size_t align, ze_device_handle_t device, void **out)
{
	struct fake_span like = { .mem = ZD_MEM_SHARED, .device = -1 };
	struct zd_device *d = NULL;
	struct zd_object *c;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r == ZE_RESULT_SUCCESS && device)
		r = zd_object_get(device, ZD_DEVICE, &d);
	if (r == ZE_RESULT_SUCCESS)
		r = check_device_desc(device_desc, size);
	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(host_desc, ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	like.owner = c;
	if (d)
		like.device = d->index;
	return alloc(&like, size, align, out);
}

ze_result_t zd_zeMemFree(ze_context_handle_t ctx, void *ptr)
{
	struct fake_span old = { .size = 0 }, *found;
	struct zd_object *c;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!ptr)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	pthread_mutex_lock(&fake_span_lock);
	found = fake_span_find((uint64_t)(uintptr_t)ptr);
	if (found && found->start == (uint64_t)(uintptr_t)ptr && found->mem != ZD_MEM_MAPPED && found->owner == c)
		old = *found;
	pthread_mutex_unlock(&fake_span_lock);
	if (!old.size)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "%p is no allocation of the context", ptr);
	if (zd_is_used(old.start, old.size))
		(void)zd_misuse(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE, "%p is used by work that is queued or runs", ptr);
	if (old.mem == ZD_MEM_IMPORTED && !fake_is_memory(old.start, old.size))
		(void)zd_misuse(r, "%p, %llu bytes: the memory ended before its import", ptr, (unsigned long long)old.size);
	pthread_mutex_lock(&fake_span_lock);
	fake_span_remove(old.start);
	if (old.mem != ZD_MEM_HOST && old.mem != ZD_MEM_IMPORTED)
		fake_span_account(-(int64_t)fake_page_round(old.size));
	pthread_mutex_unlock(&fake_span_lock);
	if (old.mem != ZD_MEM_IMPORTED)
		munmap(ptr, fake_page_round(old.size));
	return r;
}

/* ---- questions ---- */

/* Memory that Level Zero does not know is of unknown type, and no error. */
ze_result_t zd_zeMemGetAllocProperties(ze_context_handle_t ctx, const void *ptr, ze_memory_allocation_properties_t *prop,
				       ze_device_handle_t *device)
{
	static const ze_memory_type_t type[] = {
		[ZD_MEM_DEVICE] = ZE_MEMORY_TYPE_DEVICE, [ZD_MEM_MAPPED] = ZE_MEMORY_TYPE_DEVICE, [ZD_MEM_HOST] = ZE_MEMORY_TYPE_HOST,
		[ZD_MEM_SHARED] = ZE_MEMORY_TYPE_SHARED, [ZD_MEM_IMPORTED] = ZE_MEMORY_TYPE_HOST,
	};
	ze_device_handle_t all[ZD_MAX_DEVICES];
	uint32_t nr = ZD_MAX_DEVICES;
	ze_driver_handle_t driver;
	struct fake_span *s;
	struct zd_object *c;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(prop, ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	driver = (ze_driver_handle_t)c->parent;
	r = zd_zeDeviceGet(driver, &nr, all);
	pthread_mutex_lock(&fake_span_lock);
	s = fake_span_find((uint64_t)(uintptr_t)ptr);
	prop->type = s ? type[s->mem] : ZE_MEMORY_TYPE_UNKNOWN;
	prop->id = s ? s->start : 0;
	prop->pageSize = s ? FAKE_PAGE : 0;
	if (device)
		*device = s && s->mem != ZD_MEM_IMPORTED && s->device >= 0 && (uint32_t)s->device < nr ? all[s->device] : NULL;
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

ze_result_t zd_zeMemGetAddressRange(ze_context_handle_t ctx, const void *ptr, void **base, size_t *size)
{
	struct fake_span *s;
	struct zd_object *c;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	pthread_mutex_lock(&fake_span_lock);
	s = fake_span_find((uint64_t)(uintptr_t)ptr);
	if (!s) {
		r = ZE_RESULT_ERROR_UNKNOWN;
	} else {
		if (base)
			*base = (void *)(uintptr_t)s->start;
		if (size)
			*size = s->size;
	}
	pthread_mutex_unlock(&fake_span_lock);
	return r;
}

/* Kernels find everything; so these only look at what they are given. */
static ze_result_t resident(ze_context_handle_t ctx, ze_device_handle_t device, void *ptr, size_t size)
{
	struct zd_object *c;
	struct zd_device *d;
	ze_result_t r = zd_get_both(ctx, device, &c, &d);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!ptr || !size)
		return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	return zd_check_place(c, (uint64_t)(uintptr_t)ptr, size, false);
}

ze_result_t zd_zeContextMakeMemoryResident(ze_context_handle_t ctx, ze_device_handle_t device, void *ptr, size_t size)
{
	return resident(ctx, device, ptr, size);
}

ze_result_t zd_zeContextEvictMemory(ze_context_handle_t ctx, ze_device_handle_t device, void *ptr, size_t size)
{
	return resident(ctx, device, ptr, size);
}
