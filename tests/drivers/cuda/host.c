/* host.c - host memory of the fake CUDA driver: pinned, registered, managed. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/drivers/cuda/fake.h"

static uint64_t page_round(uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return (size + page - 1) & -page;
}

void fake_host_end(const struct fake_range *r)
{
	if (r->mem != FAKE_MEM_REGISTERED)
		munmap((void *)(uintptr_t)r->start, page_round(r->size));
}

/* Memory of the process, filled like the device's. 0: none left. */
static uint64_t map(uint64_t size)
{
	void *p = mmap(NULL, page_round(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 0;
	if (fake_config.pattern >= 0)
		memset(p, fake_config.pattern, size);
	return (uint64_t)(uintptr_t)p;
}

static CUresult add(const struct fake_range *r)
{
	bool ok;

	pthread_mutex_lock(&fake_mem_lock);
	ok = fake_range_add(r);
	pthread_mutex_unlock(&fake_mem_lock);
	return ok ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult alloc(uint64_t *out, size_t size, enum fake_mem mem, unsigned int flags)
{
	struct fake_range new = { .size = size, .mem = mem, .flags = flags };
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!size)
		return CUDA_ERROR_INVALID_VALUE;
	new.ctx = ctx;
	new.dev = ctx->dev;
	new.start = map(size);
	if (!new.start)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = add(&new);
	if (r == CUDA_SUCCESS)
		*out = new.start;
	else
		fake_host_end(&new);
	return r;
}

CUresult fake_cuMemHostAlloc(void **out, size_t size, unsigned int flags)
{
	const unsigned int known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
	uint64_t addr;
	CUresult r;

	if (!out || flags & ~known)
		return CUDA_ERROR_INVALID_VALUE;
	r = alloc(&addr, size, FAKE_MEM_HOST, flags | CU_MEMHOSTALLOC_DEVICEMAP);
	if (r == CUDA_SUCCESS)
		*out = (void *)(uintptr_t)addr;
	return r;
}

CUresult fake_cuMemAllocHost_v2(void **out, size_t size)
{
	return fake_cuMemHostAlloc(out, size, 0);
}

CUresult fake_cuMemAllocManaged(CUdeviceptr *out, size_t size, unsigned int flags)
{
	if (!out || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
		return CUDA_ERROR_INVALID_VALUE;
	return alloc((uint64_t *)out, size, FAKE_MEM_MANAGED, flags);
}

uint64_t fake_managed_var(uint64_t size, const void *init)
{
	struct fake_range new = { .size = size ? size : 1, .mem = FAKE_MEM_MANAGED, .flags = CU_MEM_ATTACH_GLOBAL };

	new.start = map(new.size);
	if (!new.start)
		return 0;
	if (init)
		memcpy((void *)(uintptr_t)new.start, init, size);
	else
		memset((void *)(uintptr_t)new.start, 0, size);
	if (add(&new) == CUDA_SUCCESS)
		return new.start;
	fake_host_end(&new);
	return 0;
}

void fake_managed_var_end(uint64_t addr)
{
	struct fake_range old;

	pthread_mutex_lock(&fake_mem_lock);
	old = *fake_range_find(addr);
	fake_range_remove(addr);
	pthread_mutex_unlock(&fake_mem_lock);
	fake_host_end(&old);
}

static CUresult take(void *p, enum fake_mem mem, CUresult otherwise, struct fake_range *out)
{
	struct fake_range *found;
	CUresult r = otherwise;

	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find((uint64_t)(uintptr_t)p);
	if (found && found->mem == mem && found->start == (uint64_t)(uintptr_t)p) {
		*out = *found;
		fake_range_remove(found->start);
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemFreeHost(void *p)
{
	struct fake_range old;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	fake_ctx_sync(ctx);
	r = take(p, FAKE_MEM_HOST, CUDA_ERROR_INVALID_VALUE, &old);
	if (r == CUDA_SUCCESS)
		fake_host_end(&old);
	return r;
}

/* Every page of it is there. */
static bool is_mapped(uint64_t addr, uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), first = addr & -page, end = (addr + size + page - 1) & -page;
	unsigned char there[256];

	for (uint64_t p = first; p < end; p += sizeof(there) * page) {
		uint64_t length = end - p < sizeof(there) * page ? end - p : sizeof(there) * page;

		if (mincore((void *)(uintptr_t)p, length, there))
			return false;
	}
	return true;
}

CUresult fake_cuMemHostRegister_v2(void *p, size_t size, unsigned int flags)
{
	const unsigned int known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
		CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY;
	struct fake_range new = { .start = (uint64_t)(uintptr_t)p, .size = size, .mem = FAKE_MEM_REGISTERED };
	struct fake_range *there;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!p || !size || flags & ~known || new.start + size < new.start)
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CU_MEMHOSTREGISTER_IOMEMORY)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!is_mapped(new.start, size))
		return CUDA_ERROR_INVALID_VALUE;
	new.ctx = ctx;
	new.dev = ctx->dev;
	new.flags = flags | CU_MEMHOSTREGISTER_DEVICEMAP;
	pthread_mutex_lock(&fake_mem_lock);
	there = fake_range_from(new.start);
	if (there && there->start < new.start + size)
		r = there->mem == FAKE_MEM_HOST || there->mem == FAKE_MEM_REGISTERED ?
			CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED : CUDA_ERROR_INVALID_VALUE;
	else if (!fake_range_add(&new))
		r = CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemHostRegister(void *p, size_t size, unsigned int flags)
{
	return fake_cuMemHostRegister_v2(p, size, flags);
}

CUresult fake_cuMemHostUnregister(void *p)
{
	struct fake_range old;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	fake_ctx_sync(ctx);
	return take(p, FAKE_MEM_REGISTERED, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, &old);
}

/* With unified addresses it is the same number. */
CUresult fake_cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *p, unsigned int flags)
{
	struct fake_range *found;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	if (!out || flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find((uint64_t)(uintptr_t)p);
	if (found && (found->mem == FAKE_MEM_HOST || found->mem == FAKE_MEM_REGISTERED)) {
		*out = (CUdeviceptr)(uintptr_t)p;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemHostGetFlags(unsigned int *flags, void *p)
{
	struct fake_range *found;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find((uint64_t)(uintptr_t)p);
	if (found && (found->mem == FAKE_MEM_HOST || found->mem == FAKE_MEM_REGISTERED)) {
		*flags = found->flags;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* ---- hints on managed memory: checked, and without effect ---- */

static CUresult hint(CUdeviceptr addr, size_t size)
{
	struct fake_range *found;
	CUresult r = CUDA_SUCCESS;

	if (!size)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find(addr);
	if (!found || found->mem != FAKE_MEM_MANAGED || found->start + found->size < addr + size)
		r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuMemAdvise(CUdeviceptr addr, size_t size, CUmem_advise advice, CUdevice dev)
{
	(void)advice;
	(void)dev;
	return hint(addr, size);
}

CUresult fake_cuMemAdvise_v2(CUdeviceptr addr, size_t size, CUmem_advise advice, CUmemLocation location)
{
	(void)advice;
	(void)location;
	return hint(addr, size);
}

CUresult fake_cuMemPrefetchAsync(CUdeviceptr addr, size_t size, CUdevice dev, CUstream stream)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (dev != CU_DEVICE_CPU && !fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	return hint(addr, size);
}

CUresult fake_cuMemPrefetchAsync_v2(CUdeviceptr addr, size_t size, CUmemLocation location, unsigned int flags,
				    CUstream stream)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(stream, &s);

	(void)location;
	if (r != CUDA_SUCCESS)
		return r;
	return flags ? CUDA_ERROR_INVALID_VALUE : hint(addr, size);
}

CUresult fake_cuStreamAttachMemAsync(CUstream stream, CUdeviceptr addr, size_t size, unsigned int flags)
{
	struct fake_stream *s;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST && flags != CU_MEM_ATTACH_SINGLE)
		return CUDA_ERROR_INVALID_VALUE;
	return hint(addr, size ? size : 1);
}
