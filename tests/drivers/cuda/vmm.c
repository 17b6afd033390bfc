/* vmm.c - virtual memory management of the fake CUDA driver: addresses, physical memory, mappings. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/drivers/common/physical.h"
#include "tests/drivers/cuda/fake.h"

/*
 * Physical memory is a part of one file without a name, so that it can be seen at several addresses. The handle and each
 * mapping keep it. Addresses reserved are mapped without access; a mapping is the file's part there, without access
 * until it is given. All of it is the process's, not a context's.
 */
struct fake_physical {
	struct fake_obj obj;		/* references: handles, mappings */
	unsigned int handles;		/* under the memory's lock */
	uint64_t offset, size;		/* in the file */
	CUmemAllocationProp prop;
};

struct reservation {
	uint64_t start, size;
	struct reservation *next;
};
static struct reservation *reservations;	/* under the memory's lock */

/* ---- physical memory ---- */

/* Under the memory's lock. */
static void physical_release(struct fake_obj *obj)
{
	struct fake_physical *p = (struct fake_physical *)obj;

	fake_physical_give_back(p->offset, p->size);
	fake_account(-(int64_t)p->size);
	free(p);
}

static bool whole(uint64_t n)
{
	return n && !(n % FAKE_GRANULE);
}

static CUresult check_prop(const CUmemAllocationProp *prop)
{
	if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!fake_is_device(prop->location.id))
		return CUDA_ERROR_INVALID_DEVICE;
	return prop->requestedHandleTypes ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

CUresult fake_cuMemGetAllocationGranularity(size_t *out, const CUmemAllocationProp *prop,
					    CUmemAllocationGranularity_flags option)
{
	CUresult r = check_prop(prop);

	if (r != CUDA_SUCCESS)
		return r;
	if (!out || (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM && option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED))
		return CUDA_ERROR_INVALID_VALUE;
	*out = FAKE_GRANULE;
	return CUDA_SUCCESS;
}

CUresult fake_cuMemCreate(CUmemGenericAllocationHandle *out, size_t size, const CUmemAllocationProp *prop,
			  unsigned long long flags)
{
	CUresult r = check_prop(prop);
	struct fake_physical *p;

	if (r != CUDA_SUCCESS)
		return r;
	if (!out || !whole(size) || flags)
		return CUDA_ERROR_INVALID_VALUE;
	p = calloc(1, sizeof(*p));
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	p->obj.kind = FAKE_PHYSICAL;
	p->obj.release = physical_release;
	p->handles = 1;
	p->size = size;
	p->prop = *prop;
	pthread_mutex_lock(&fake_mem_lock);
	if (!fake_account((int64_t)size))
		goto err_free;
	if (!fake_physical_take(size, fake_config.pattern, &p->offset))
		goto err_account;
	if (!fake_handle_add(&p->obj))
		goto err_file;
	pthread_mutex_unlock(&fake_mem_lock);
	*out = (CUmemGenericAllocationHandle)(uintptr_t)p;
	return CUDA_SUCCESS;

err_file:
	fake_physical_give_back(p->offset, size);
err_account:
	fake_account(-(int64_t)size);
err_free:
	pthread_mutex_unlock(&fake_mem_lock);
	free(p);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static struct fake_physical *physical_of(CUmemGenericAllocationHandle handle)
{
	return fake_handle((void *)(uintptr_t)handle, FAKE_PHYSICAL);
}

CUresult fake_cuMemRelease(CUmemGenericAllocationHandle handle)
{
	struct fake_physical *p;
	CUresult r = CUDA_SUCCESS;

	pthread_mutex_lock(&fake_mem_lock);
	p = physical_of(handle);
	if (!p) {
		r = CUDA_ERROR_INVALID_VALUE;
	} else {
		if (!--p->handles)
			fake_handle_remove(&p->obj);
		fake_put(&p->obj);
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* Of what is mapped there; one handle more to release. */
CUresult fake_cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *out, void *addr)
{
	struct fake_range *found;
	CUresult r = CUDA_SUCCESS;

	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find((uint64_t)(uintptr_t)addr);
	if (!found || found->mem != FAKE_MEM_MAPPED) {
		r = CUDA_ERROR_INVALID_VALUE;
	} else {
		struct fake_physical *p = found->physical;
		unsigned int refs = atomic_load(&p->obj.refs);

		if (!p->handles && !fake_handle_add(&p->obj)) {
			r = CUDA_ERROR_OUT_OF_MEMORY;
		} else {
			/* adding a handle made it the first reference */
			atomic_store(&p->obj.refs, refs + 1);
			p->handles++;
			*out = (CUmemGenericAllocationHandle)(uintptr_t)p;
		}
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle)
{
	struct fake_physical *p;
	CUresult r = CUDA_SUCCESS;

	if (!prop)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	p = physical_of(handle);
	if (p)
		*prop = p->prop;
	else
		r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* ---- addresses ---- */

CUresult fake_cuMemAddressReserve(CUdeviceptr *out, size_t size, size_t alignment, CUdeviceptr hint,
				  unsigned long long flags)
{
	uint64_t align = alignment > FAKE_GRANULE ? alignment : FAKE_GRANULE;
	struct reservation *new;

	if (!out || !whole(size) || flags || alignment & (alignment - 1) || size + align < size)
		return CUDA_ERROR_INVALID_VALUE;
	new = calloc(1, sizeof(*new));
	if (!new)
		return CUDA_ERROR_OUT_OF_MEMORY;
	new->size = size;
	new->start = fake_reserve(hint, size, align);
	if (!new->start) {
		free(new);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	pthread_mutex_lock(&fake_mem_lock);
	new->next = reservations;
	reservations = new;
	pthread_mutex_unlock(&fake_mem_lock);
	*out = new->start;
	return CUDA_SUCCESS;
}

/* A mapping in it keeps it. */
CUresult fake_cuMemAddressFree(CUdeviceptr addr, size_t size)
{
	struct reservation **at, *old;
	struct fake_range *in;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&fake_mem_lock);
	for (at = &reservations; *at; at = &(*at)->next)
		if ((*at)->start == addr && (*at)->size == size)
			break;
	in = fake_range_from(addr);
	if (*at && (!in || in->start >= addr + size)) {
		old = *at;
		*at = old->next;
		munmap((void *)(uintptr_t)old->start, old->size);
		free(old);
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* ---- mappings ---- */

static bool is_reserved(uint64_t addr, uint64_t size)
{
	for (struct reservation *res = reservations; res; res = res->next)
		if (res->start <= addr && addr + size <= res->start + res->size)
			return true;
	return false;
}

CUresult fake_cuMemMap(CUdeviceptr addr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
		       unsigned long long flags)
{
	struct fake_range new = { .start = addr, .size = size, .mem = FAKE_MEM_MAPPED, .offset = offset };
	struct fake_physical *p;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	if (addr % FAKE_GRANULE || !whole(size) || offset || flags || addr + size < addr)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	p = physical_of(handle);
	if (!p || size > p->size || !is_reserved(addr, size))
		goto out;
	new.physical = p;
	new.dev = p->prop.location.id;
	new.access = CU_MEM_ACCESS_FLAGS_PROT_NONE;
	if (!fake_range_add(&new))
		goto out;	/* something is mapped there */
	if (mmap((void *)(uintptr_t)addr, size, PROT_NONE, MAP_SHARED | MAP_FIXED, fake_physical_file(),
		 (off_t)p->offset) == MAP_FAILED) {
		fake_range_remove(addr);
		r = CUDA_ERROR_OUT_OF_MEMORY;
		goto out;
	}
	fake_ref(&p->obj);
	r = CUDA_SUCCESS;
out:
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* Whether mappings, whole ones, fill the range. */
static bool is_covered(uint64_t addr, uint64_t size)
{
	uint64_t at = addr;

	while (at < addr + size) {
		struct fake_range *f = fake_range_find(at);

		if (!f || f->mem != FAKE_MEM_MAPPED || f->start != at)
			return false;
		at += f->size;
	}
	return at == addr + size;
}

CUresult fake_cuMemSetAccess(CUdeviceptr addr, size_t size, const CUmemAccessDesc *desc, size_t nr)
{
	static const int prot[] = {
		[CU_MEM_ACCESS_FLAGS_PROT_NONE] = PROT_NONE, [CU_MEM_ACCESS_FLAGS_PROT_READ] = PROT_READ,
		[CU_MEM_ACCESS_FLAGS_PROT_READWRITE] = PROT_READ | PROT_WRITE,
	};
	CUresult r = CUDA_SUCCESS;

	if (!addr || !whole(size) || !desc || !nr)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < nr; i++) {
		if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || desc[i].flags == 2 ||
		    (unsigned int)desc[i].flags > CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
			return CUDA_ERROR_INVALID_VALUE;
		if (!fake_is_device(desc[i].location.id))
			return CUDA_ERROR_INVALID_DEVICE;
	}
	pthread_mutex_lock(&fake_mem_lock);
	if (!is_covered(addr, size)) {
		r = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	for (size_t i = 0; i < nr; i++) {
		for (uint64_t at = addr; at < addr + size;) {
			struct fake_range *f = fake_range_find(at);

			if (f->dev == desc[i].location.id) {
				f->access = desc[i].flags;
				mprotect((void *)(uintptr_t)f->start, f->size, prot[desc[i].flags]);
			}
			at += f->size;
		}
	}
out:
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemGetAccess(unsigned long long *out, const CUmemLocation *location, CUdeviceptr addr)
{
	struct fake_range *f;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	if (!out || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE || !fake_is_device(location->id))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	f = fake_range_find(addr);
	if (f && f->mem == FAKE_MEM_MAPPED) {
		*out = f->dev == location->id ? f->access : CU_MEM_ACCESS_FLAGS_PROT_NONE;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* Waits for the work of every primary context: it may use what is mapped. */
CUresult fake_cuMemUnmap(CUdeviceptr addr, size_t size)
{
	CUresult r = CUDA_SUCCESS;

	if (addr % FAKE_GRANULE || !whole(size) || addr + size < addr)
		return CUDA_ERROR_INVALID_VALUE;
	for (CUdevice i = 0; i < fake_config.nr_devices; i++)
		fake_ctx_sync(fake_primary[i]);
	pthread_mutex_lock(&fake_mem_lock);
	if (!is_covered(addr, size)) {
		r = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	mmap((void *)(uintptr_t)addr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	for (uint64_t at = addr; at < addr + size;) {
		struct fake_range f = *fake_range_find(at);

		fake_range_remove(at);
		fake_put(&f.physical->obj);
		at += f.size;
	}
out:
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}
