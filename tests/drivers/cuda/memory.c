/* memory.c - device memory of the fake CUDA driver: the reserved addresses, allocations, and what an address is. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/msg.h"
#include "tests/drivers/common/sorted.h"
#include "tests/drivers/cuda/fake.h"

pthread_mutex_t fake_mem_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- ranges: sorted by address, disjoint ---- */

static struct fake_sorted ranges = FAKE_SORTED(struct fake_range);

struct fake_range *fake_range_from(uint64_t addr)
{
	return fake_sorted_from(&ranges, addr);
}

struct fake_range *fake_range_find(uint64_t addr)
{
	return fake_sorted_find(&ranges, addr);
}

bool fake_range_add(const struct fake_range *r)
{
	static uint64_t next_id = 1;
	struct fake_range *added = fake_sorted_add(&ranges, r);

	if (added)
		added->id = next_id++;
	return added;
}

void fake_range_remove(uint64_t start)
{
	fake_sorted_remove(&ranges, start);
}

CUresult fake_place(uint64_t addr, uint64_t size, enum fake_place *out)
{
	static const enum fake_place place[] = {
		[FAKE_MEM_DEVICE] = FAKE_ON_DEVICE, [FAKE_MEM_POOL] = FAKE_ON_DEVICE,
		[FAKE_MEM_MODULE] = FAKE_ON_DEVICE, [FAKE_MEM_MAPPED] = FAKE_ON_DEVICE,
		[FAKE_MEM_MANAGED] = FAKE_ANYWHERE, [FAKE_MEM_HOST] = FAKE_PINNED,
		[FAKE_MEM_REGISTERED] = FAKE_PINNED,
	};
	struct fake_range *r;
	CUresult res = CUDA_SUCCESS;

	pthread_mutex_lock(&fake_mem_lock);
	r = fake_range_find(addr);
	if (!r) {
		*out = FAKE_PAGEABLE;
		goto out;
	}
	*out = place[r->mem];
	/* mapped memory may go on in the next mapping; registered memory in memory that is not */
	while (r->start + r->size < addr + size) {
		struct fake_range *next = fake_range_find(r->start + r->size);

		if (r->mem == FAKE_MEM_REGISTERED) {
			*out = FAKE_PAGEABLE;
			break;
		}
		if (r->mem != FAKE_MEM_MAPPED || !next || next->mem != FAKE_MEM_MAPPED) {
			res = CUDA_ERROR_INVALID_VALUE;
			break;
		}
		r = next;
	}
	if (r->mem == FAKE_MEM_MAPPED && r->access == CU_MEM_ACCESS_FLAGS_PROT_NONE)
		res = CUDA_ERROR_INVALID_VALUE;
out:
	pthread_mutex_unlock(&fake_mem_lock);
	return res;
}

/* ---- the reserved addresses ---- */

/*
 * One reservation, in granules. A small allocation shares a granule with others of its context, in units of 512 bytes.
 * A granule's pages stay when it is free, with what was written to them, until its context ends: memory is not cleared
 * for the next owner. `fresh` granules have not been touched since they were reserved or given back.
 */
#define UNIT 512
#define UNITS (FAKE_GRANULE / UNIT)
#define SMALL (FAKE_GRANULE / 2)

struct granule {
	struct fake_ctx *ctx;		/* NULL: free */
	uint64_t *units;		/* shared: a bit for each unit in use */
	uint32_t free_units;
	bool touched;
};

static uint64_t base;			/* 0: nothing is reserved */
static struct granule *granule;
static size_t nr_granules;
static unsigned int nr_contexts;
static uint64_t used;			/* bytes of device memory, of all kinds */

bool fake_account(int64_t bytes)
{
	if (bytes > 0 && used + (uint64_t)bytes > fake_config.memory)
		return false;
	used += (uint64_t)bytes;
	return true;
}

/* Where the kernel likes, at a multiple of a granule. */
static void reserve(void)
{
	uint64_t size = fake_config.range + FAKE_GRANULE, p;
	void *addr = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (addr == MAP_FAILED) {
		pr_err("cannot reserve %llu bytes of addresses: %m", (unsigned long long)size);
		return;
	}
	p = (uint64_t)(uintptr_t)addr;
	base = (p + FAKE_GRANULE - 1) & -FAKE_GRANULE;
	if (base > p)
		munmap(addr, base - p);
	munmap((void *)(uintptr_t)(base + fake_config.range), p + size - base - fake_config.range);
	/* a forked child has no business here */
	madvise((void *)(uintptr_t)base, fake_config.range, MADV_DONTFORK);
	nr_granules = fake_config.range / FAKE_GRANULE;
	if (!granule)
		granule = calloc(nr_granules, sizeof(*granule));
	if (!granule) {
		munmap((void *)(uintptr_t)base, fake_config.range);
		base = 0;
	}
}

static void *granule_addr(size_t i)
{
	return (void *)(uintptr_t)(base + i * FAKE_GRANULE);
}

/* The first of nr free ones in a row; SIZE_MAX: none. */
static size_t find_free(size_t nr)
{
	size_t run = 0;

	for (size_t i = 0; i < nr_granules; i++) {
		run = granule[i].ctx ? 0 : run + 1;
		if (run == nr)
			return i + 1 - nr;
	}
	return SIZE_MAX;
}

static void fill_fresh(size_t i, uint64_t bytes)
{
	if (!granule[i].touched && fake_config.pattern >= 0)
		memset(granule_addr(i), fake_config.pattern, bytes);
	granule[i].touched = true;
}

/* Granules for one allocation, `size` bytes of them wanted. */
static size_t take(struct fake_ctx *ctx, uint64_t size)
{
	size_t nr = (size + FAKE_GRANULE - 1) / FAKE_GRANULE, first = base ? find_free(nr) : SIZE_MAX;

	if (first == SIZE_MAX || !fake_account((int64_t)(nr * FAKE_GRANULE)))
		return SIZE_MAX;
	if (mprotect(granule_addr(first), nr * FAKE_GRANULE, PROT_READ | PROT_WRITE)) {
		fake_account(-(int64_t)(nr * FAKE_GRANULE));
		return SIZE_MAX;
	}
	for (size_t i = 0; i < nr; i++) {
		granule[first + i].ctx = ctx;
		fill_fresh(first + i, i + 1 < nr ? FAKE_GRANULE : size - i * FAKE_GRANULE);
	}
	return first;
}

static void give_back(size_t first, size_t nr)
{
	mprotect(granule_addr(first), nr * FAKE_GRANULE, PROT_NONE);
	for (size_t i = first; i < first + nr; i++) {
		free(granule[i].units);
		granule[i].units = NULL;
		granule[i].ctx = NULL;
	}
	fake_account(-(int64_t)(nr * FAKE_GRANULE));
}

static bool unit_used(const struct granule *g, size_t i)
{
	return g->units[i / 64] >> i % 64 & 1;
}

static void mark(struct granule *g, size_t first, size_t nr, bool in_use)
{
	for (size_t i = first; i < first + nr; i++) {
		if (in_use)
			g->units[i / 64] |= (uint64_t)1 << i % 64;
		else
			g->units[i / 64] &= ~((uint64_t)1 << i % 64);
	}
	g->free_units += in_use ? -(uint32_t)nr : (uint32_t)nr;
}

static size_t find_units(const struct granule *g, size_t nr)
{
	size_t run = 0;

	for (size_t i = 0; i < UNITS; i++) {
		if (!(i % 64) && g->units[i / 64] == UINT64_MAX) {
			run = 0;
			i += 63;
			continue;
		}
		run = unit_used(g, i) ? 0 : run + 1;
		if (run == nr)
			return i + 1 - nr;
	}
	return SIZE_MAX;
}

static uint64_t alloc_small(struct fake_ctx *ctx, size_t nr)
{
	size_t i, unit = SIZE_MAX;

	for (i = 0; i < nr_granules && unit == SIZE_MAX; i++)
		if (granule[i].ctx == ctx && granule[i].units && granule[i].free_units >= nr) {
			unit = find_units(&granule[i], nr);
			if (unit != SIZE_MAX)
				break;
		}
	if (unit == SIZE_MAX) {
		uint64_t *units = calloc(UNITS / 64, sizeof(*units));

		i = units ? take(ctx, FAKE_GRANULE) : SIZE_MAX;
		if (i == SIZE_MAX) {
			free(units);
			return 0;
		}
		granule[i].units = units;
		granule[i].free_units = UNITS;
		unit = 0;
	}
	mark(&granule[i], unit, nr, true);
	return base + i * FAKE_GRANULE + unit * UNIT;
}

uint64_t fake_arena_size(uint64_t size)
{
	uint64_t unit = size <= SMALL ? UNIT : FAKE_GRANULE;

	return (size + unit - 1) & -unit;
}

uint64_t fake_arena_alloc(struct fake_ctx *ctx, uint64_t size)
{
	size_t first;

	if (!size || size > fake_config.range)
		return 0;
	if (size <= SMALL)
		return alloc_small(ctx, (size + UNIT - 1) / UNIT);
	first = take(ctx, size);
	return first == SIZE_MAX ? 0 : base + first * FAKE_GRANULE;
}

void fake_arena_free(uint64_t addr, uint64_t size)
{
	size_t i = (addr - base) / FAKE_GRANULE;

	if (size > SMALL) {
		give_back(i, (size + FAKE_GRANULE - 1) / FAKE_GRANULE);
		return;
	}
	mark(&granule[i], (addr - base) % FAKE_GRANULE / UNIT, (size + UNIT - 1) / UNIT, false);
	if (granule[i].free_units == UNITS)
		give_back(i, 1);
}

void fake_memory_ctx_begin(void)
{
	pthread_mutex_lock(&fake_mem_lock);
	nr_contexts++;
	if (!base)
		reserve();
	pthread_mutex_unlock(&fake_mem_lock);
}

/* A range of the context; taken out of the table. False: there is none any more. */
static bool take_range_of(struct fake_ctx *ctx, struct fake_range *out)
{
	bool found = false;

	pthread_mutex_lock(&fake_mem_lock);
	for (size_t i = ranges.nr; i-- && !found;)
		if (((const struct fake_range *)ranges.item)[i].ctx == ctx) {
			*out = ((const struct fake_range *)ranges.item)[i];
			fake_range_remove(out->start);
			found = true;
		}
	pthread_mutex_unlock(&fake_mem_lock);
	return found;
}

/* What was in the context's memory is gone, and the last context takes the addresses with it. */
void fake_memory_ctx_end(struct fake_ctx *ctx)
{
	struct fake_range r;

	while (take_range_of(ctx, &r))
		if (r.mem == FAKE_MEM_HOST || r.mem == FAKE_MEM_REGISTERED || r.mem == FAKE_MEM_MANAGED)
			fake_host_end(&r);
	pthread_mutex_lock(&fake_mem_lock);
	for (size_t i = 0; base && i < nr_granules; i++) {
		if (granule[i].ctx == ctx)
			give_back(i, 1);
		if (!granule[i].touched || granule[i].ctx)
			continue;
		mmap(granule_addr(i), FAKE_GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		madvise(granule_addr(i), FAKE_GRANULE, MADV_DONTFORK);
		granule[i].touched = false;
	}
	if (!--nr_contexts && base && !fake_config.keep_range) {
		munmap((void *)(uintptr_t)base, fake_config.range);
		base = 0;
	}
	pthread_mutex_unlock(&fake_mem_lock);
}

/* ---- allocations ---- */

CUresult fake_cuMemAlloc_v2(CUdeviceptr *out, size_t size)
{
	struct fake_range range_new = { .size = size, .mem = FAKE_MEM_DEVICE };
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!out || !size)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	range_new.start = fake_arena_alloc(ctx, size);
	range_new.ctx = ctx;
	range_new.dev = ctx->dev;
	if (!range_new.start) {
		r = CUDA_ERROR_OUT_OF_MEMORY;
	} else if (!fake_range_add(&range_new)) {
		fake_arena_free(range_new.start, size);
		r = CUDA_ERROR_OUT_OF_MEMORY;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	if (r == CUDA_SUCCESS)
		*out = range_new.start;
	return r;
}

CUresult fake_cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch, size_t width, size_t height, unsigned int element)
{
	size_t p = (width + 511) & ~(size_t)511;
	CUresult r;

	if (!out || !pitch || !width || !height || (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	r = fake_cuMemAlloc_v2(out, p * height);
	if (r == CUDA_SUCCESS)
		*pitch = p;
	return r;
}

/* Waits for all work of the context, as the real one does. */
CUresult fake_cuMemFree_v2(CUdeviceptr addr)
{
	struct fake_range *found, old;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS || !addr)	/* libraries free nothing, to have a context made */
		return r;
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find(addr);
	if (!found || found->start != addr || !found->ctx ||
	    (found->mem != FAKE_MEM_DEVICE && found->mem != FAKE_MEM_POOL && found->mem != FAKE_MEM_MANAGED))
		r = CUDA_ERROR_INVALID_VALUE;
	else
		old = *found;
	pthread_mutex_unlock(&fake_mem_lock);
	if (r != CUDA_SUCCESS)
		return r;
	if (old.mem == FAKE_MEM_POOL)
		return fake_cuMemFreeAsync(addr, CU_STREAM_LEGACY);
	fake_ctx_sync(old.ctx);
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find(addr);
	if (!found || found->start != addr) {
		r = CUDA_ERROR_INVALID_VALUE;	/* another thread was faster */
	} else {
		old = *found;
		fake_range_remove(addr);
		if (old.mem == FAKE_MEM_DEVICE)
			fake_arena_free(old.start, old.size);
	}
	pthread_mutex_unlock(&fake_mem_lock);
	if (r == CUDA_SUCCESS && old.mem == FAKE_MEM_MANAGED)
		fake_host_end(&old);
	return r;
}

CUresult fake_cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!free_bytes || !total)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	*free_bytes = fake_config.memory - used;
	*total = fake_config.memory;
	pthread_mutex_unlock(&fake_mem_lock);
	return CUDA_SUCCESS;
}

CUresult fake_cuMemGetAddressRange_v2(CUdeviceptr *start, size_t *size, CUdeviceptr addr)
{
	struct fake_range *found;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find(addr);
	if (!found || found->mem == FAKE_MEM_REGISTERED) {
		r = CUDA_ERROR_NOT_FOUND;
	} else {
		if (start)
			*start = found->start;
		if (size)
			*size = found->size;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* ---- what an address is ---- */

static CUmemorytype type_of(const struct fake_range *f)
{
	return f->mem == FAKE_MEM_HOST || f->mem == FAKE_MEM_REGISTERED ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
}

/* f NULL: an address that the driver does not know. */
static CUresult attribute(void *out, CUpointer_attribute what, const struct fake_range *f, uint64_t addr)
{
	bool host = f && type_of(f) == CU_MEMORYTYPE_HOST, managed = f && f->mem == FAKE_MEM_MANAGED;

	switch ((int)what) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)out = f ? (CUcontext)f->ctx : NULL;
		return f && f->ctx ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned int *)out = f ? type_of(f) : 0;
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)out = f ? addr : 0;
		break;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*(void **)out = host || managed ? (void *)(uintptr_t)addr : NULL;
		return host || managed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
		*(int *)out = f && f->sync_memops;
		break;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)out = f ? f->id : 0;
		break;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(int *)out = managed;
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)out = f ? f->dev : -2;
		break;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
		*(int *)out = 0;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)out = f ? f->start : 0;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)out = f ? f->size : 0;
		break;
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)out = f ? f->start : 0;
		break;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(int *)out = f != NULL;
		break;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*(unsigned long long *)out = 0;
		break;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(unsigned int *)out = !f ? 0 : f->mem == FAKE_MEM_MAPPED ? f->access : CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
		break;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(CUmemoryPool *)out = f ? (CUmemoryPool)f->pool : NULL;
		break;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	return f ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuPointerGetAttribute(void *data, CUpointer_attribute what, CUdeviceptr addr)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!data)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	r = attribute(data, what, fake_range_find(addr), addr);
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

/* An unknown address is no error here; its values are zero. */
CUresult fake_cuPointerGetAttributes(unsigned int nr, CUpointer_attribute *what, void **data, CUdeviceptr addr)
{
	struct fake_range *found;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!nr || !what || !data)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find(addr);
	for (unsigned int i = 0; i < nr; i++)
		if ((int)what[i] < 1 || (int)what[i] > CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE)
			r = CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < nr && r == CUDA_SUCCESS; i++)
		(void)attribute(data[i], what[i], found, addr);
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}

CUresult fake_cuPointerSetAttribute(const void *value, CUpointer_attribute what, CUdeviceptr addr)
{
	struct fake_range *found;
	CUresult r = CUDA_SUCCESS;

	if (!value || what != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake_mem_lock);
	found = fake_range_find(addr);
	if (found)
		found->sync_memops = *(const unsigned int *)value;
	else
		r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&fake_mem_lock);
	return r;
}
