/* ze_memory.c - device memory at wanted addresses, host memory that kernels reach, and transfers outside queues. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/arena.h"
#include "common/msg.h"
#include "replay/ze.h"

#define OWN_ALIGN 64u			/* of what Level Zero allocates */

/* Of other sizes pages may be larger: these are the smallest mapping there is, and a large one. */
static const size_t sizes[] = { 1, HG_ARENA_GRANULE, 64 * HG_ARENA_GRANULE };

static _Atomic uint64_t known_unit;

enum hg_status ze_unit_read(struct hg_target *t)
{
	size_t unit = 0, page = 0;
	enum hg_status st = HG_OK;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && !st; i++) {
		st = ZE(zeVirtualMemQueryPageSize, t->context, t->device, sizes[i], &page);
		unit = page > unit ? page : unit;
	}
	if (st)
		return st;
	if (!unit || unit & (unit - 1) || unit > HG_ARENA_GRANULE) {
		pr_err("'%s' maps memory in units of %zu bytes: that is no power of two up to %llu", t->info.name, unit,
		       (unsigned long long)HG_ARENA_GRANULE);
		return HG_ERR_UNAVAILABLE;
	}
	t->unit = unit;
	atomic_store(&known_unit, unit);
	return HG_OK;
}

/* Asked before the target is opened as well: then the largest that it may be. */
uint64_t ze_map_unit(void)
{
	uint64_t unit = atomic_load(&known_unit);

	return unit ? unit : HG_ARENA_GRANULE;
}

static void give_back(struct hg_target *t, uint64_t addr, uint64_t size, ze_physical_mem_handle_t memory)
{
	/* what cannot be unmapped stays as it is, addresses and all */
	if (ZE(zeVirtualMemUnmap, t->context, (const void *)addr, size))
		return;
	ZE_TRY(zePhysicalMemDestroy, t->context, memory);
	ZE_TRY(zeVirtualMemFree, t->context, (const void *)addr, size);
}

/* The specification: "if not available then will find another suitable starting address". */
static enum hg_status reserve(struct hg_target *t, uint64_t wanted, uint64_t size)
{
	char in_the_way[512];
	void *at = NULL;
	enum hg_status st = ZE(zeVirtualMemReserve, t->context, (const void *)wanted, size, &at);

	if (st || at == (void *)wanted)
		return st;
	ZE_TRY(zeVirtualMemFree, t->context, at, size);
	gpu_in_the_way(wanted, size, in_the_way, sizeof(in_the_way));
	pr_err("Level Zero gives the addresses 0x%" PRIx64 "-0x%" PRIx64 " instead of 0x%" PRIx64 "-0x%" PRIx64 "%s%s", (uint64_t)at,
	       (uint64_t)at + size, wanted, wanted + size, in_the_way[0] ? ", where the process has: " : "", in_the_way);
	return HG_ERR_NOSPC;
}

static enum hg_status zero(struct hg_target *t, uint64_t addr, uint64_t size)
{
	static const uint32_t nothing;
	struct ze_step s;
	enum hg_status st;

	pthread_mutex_lock(&t->service_lock);
	st = ze_begin(t->service, 0, &s);
	if (!st)
		st = ze_end(t->service, &s, ZE(zeCommandListAppendMemoryFill, t->service->list, (void *)addr, &nothing, sizeof(nothing), size,
					       s.signal, s.nr_wait, s.wait));
	if (!st)
		st = ze_queue_sync(t->service);
	pthread_mutex_unlock(&t->service_lock);
	return st;
}

static enum hg_status fill_in(struct hg_target *t, uint64_t addr, uint64_t size, ze_physical_mem_handle_t *out)
{
	ze_physical_mem_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_PHYSICAL_MEM_DESC, .size = size };
	ze_physical_mem_handle_t memory;
	enum hg_status st = ZE(zePhysicalMemCreate, t->context, t->device, &desc, &memory);

	if (st)
		return st;
	st = ZE(zeVirtualMemMap, t->context, (const void *)addr, size, memory, (size_t)0, ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE);
	if (st)
		goto err_destroy;
	st = zero(t, addr, size);
	if (st)
		goto err_unmap;
	*out = memory;
	return HG_OK;

err_unmap:
	ZE_TRY(zeVirtualMemUnmap, t->context, (const void *)addr, size);
err_destroy:
	ZE_TRY(zePhysicalMemDestroy, t->context, memory);
	return st;
}

enum hg_status ze_map(struct hg_target *t, hg_dptr wanted, size_t size, bool held, hg_dptr *out)
{
	ze_physical_mem_handle_t memory;
	enum hg_status st;

	if (!wanted || !size || (wanted | size) % t->unit || wanted + size < wanted)
		return HG_ERR_INVALID;
	/* a reservation is a mapping of the driver's own, which replaces nothing: the addresses are free for a moment */
	if (held)
		munmap((void *)wanted, size);
	st = reserve(t, wanted, size);
	if (st)
		goto err_hold;
	st = fill_in(t, wanted, size, &memory);
	if (st)
		goto err_free;
	pthread_mutex_lock(&t->memory.lock);
	st = hg_ivmap_put(&t->memory.maps, wanted, size, (uintptr_t)memory);
	pthread_mutex_unlock(&t->memory.lock);
	if (st)
		goto err_unmap;
	*out = wanted;
	return HG_OK;

err_unmap:
	ZE_TRY(zeVirtualMemUnmap, t->context, (const void *)wanted, size);
	ZE_TRY(zePhysicalMemDestroy, t->context, memory);
err_free:
	ZE_TRY(zeVirtualMemFree, t->context, (const void *)wanted, size);
err_hold:
	if (held)
		gpu_hold_again(wanted, size);
	return st;
}

void ze_unmap(struct hg_target *t, hg_dptr ptr, size_t size)
{
	struct hg_iv iv;
	bool found;

	pthread_mutex_lock(&t->memory.lock);
	found = hg_ivmap_remove(&t->memory.maps, ptr, &iv);
	pthread_mutex_unlock(&t->memory.lock);
	if (!found || iv.size != size) {
		pr_err("0x%" PRIx64 "-0x%" PRIx64 " is no mapping of device memory", ptr, ptr + size);
		return;
	}
	give_back(t, ptr, size, (ze_physical_mem_handle_t)iv.value);
}

/* host memory */

struct import {
	struct hg_target *t;
	void *ptr;
	size_t size;			/* 0: ends it */
	ze_result_t result;
};

static void do_import(void *arg)
{
	struct import *i = arg;

	i->result = i->size ? i->t->import(i->t->import_driver, i->ptr, i->size) : i->t->release(i->t->import_driver, i->ptr);
}

static enum hg_status import(struct hg_target *t, void *ptr, size_t size)
{
	struct import i = { .t = t, .ptr = ptr, .size = size };

	if (!hg_target_elsewhere || !hg_target_elsewhere(do_import, &i))
		do_import(&i);
	if (!i.result)
		return HG_OK;
	pr_err("%s(%p), for %s: %s (0x%x)", size ? ZE_IMPORT : ZE_RELEASE, ptr, size ? "cuMemHostRegister, cuMemHostAlloc" :
	       "cuMemHostUnregister, cuMemFreeHost", hg_ze_result_name(i.result), (unsigned int)i.result);
	return hg_ze_status(i.result);
}

enum hg_status ze_host_register(struct hg_target *t, void *ptr, size_t size)
{
	enum hg_status st;

	if (!ptr || !size)
		return HG_ERR_INVALID;
	if (!t->import && t->info.host_access)	/* as it is; copies treat it like any other memory of the host */
		return HG_OK;
	if (!t->import) {
		pr_err("%zu bytes of host memory at %p cannot be reached by kernels on '%s': its driver has no %s, and its kernels reach no memory "
		       "that it did not allocate", size, ptr, t->info.name, ZE_IMPORT);
		return HG_ERR_UNSUPPORTED;
	}
	st = import(t, ptr, size);
	if (st)
		return st;
	pthread_mutex_lock(&t->memory.lock);
	st = hg_ivmap_put(&t->memory.pinned, (uintptr_t)ptr, size, 1);
	pthread_mutex_unlock(&t->memory.lock);
	if (st && import(t, ptr, 0))
		pr_debug("host memory at %p stays imported", ptr);
	return st;
}

void ze_host_unregister(struct hg_target *t, void *ptr, size_t size)
{
	bool found;

	(void)size;
	pthread_mutex_lock(&t->memory.lock);
	found = hg_ivmap_remove(&t->memory.pinned, (uintptr_t)ptr, NULL);
	pthread_mutex_unlock(&t->memory.lock);
	if (found && import(t, ptr, 0))
		pr_debug("host memory at %p stays imported", ptr);
}

/* queues' own memory */

enum hg_status ze_own_take(struct hg_target *t, size_t size, enum ze_own kind, void **out)
{
	const ze_host_mem_alloc_desc_t host = { .stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC };
	const ze_device_mem_alloc_desc_t device = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC };
	void *mem = gpu_spare_take(&t->memory, size, kind);
	enum hg_status st = HG_OK;

	if (!mem)
		st = kind == ZE_OWN_HOST ? ZE(zeMemAllocHost, t->context, &host, size, (size_t)OWN_ALIGN, &mem) :
					   ZE(zeMemAllocDevice, t->context, &device, size, (size_t)OWN_ALIGN, t->device, &mem);
	if (!st)
		*out = mem;
	return st;
}

void ze_own_give(struct hg_target *t, void *mem, size_t size, enum ze_own kind)
{
	if (mem && !gpu_spare_give(&t->memory, mem, size, kind))
		ZE_TRY(zeMemFree, t->context, mem);
}

/* transfers */

static enum hg_status transfer(struct hg_target *t, uint64_t dst, uint64_t src, size_t size)
{
	const struct hg_copy c = {
		.dst = dst, .src = src, .width = size, .height = 1, .depth = 1,
		.dst_pitch = size, .src_pitch = size, .dst_slice = size, .src_slice = size,
	};
	enum hg_status st;

	if (!size)
		return HG_OK;
	pthread_mutex_lock(&t->service_lock);
	st = ze_copy(t->service, &c);
	if (!st)
		st = ze_queue_sync(t->service);
	pthread_mutex_unlock(&t->service_lock);
	return st;
}

enum hg_status ze_read(struct hg_target *t, void *dst, hg_dptr src, size_t size)
{
	return transfer(t, (uintptr_t)dst, src, size);
}

enum hg_status ze_write(struct hg_target *t, hg_dptr dst, const void *src, size_t size)
{
	return transfer(t, dst, (uintptr_t)src, size);
}

static int unmap_left(const struct hg_iv *iv, void *arg)
{
	give_back(arg, iv->start, iv->size, (ze_physical_mem_handle_t)iv->value);
	return 0;
}

static int release_left(const struct hg_iv *iv, void *arg)
{
	if (import(arg, (void *)iv->start, 0))
		pr_debug("host memory at 0x%" PRIx64 " stays imported", iv->start);
	return 0;
}

void ze_memory_fini(struct hg_target *t)
{
	struct gpu_spare *spare;

	for (spare = t->memory.spare; spare; spare = t->memory.spare) {
		t->memory.spare = spare->next;
		ZE_TRY(zeMemFree, t->context, spare->mem);
		free(spare);
	}
	hg_ivmap_each(&t->memory.maps, unmap_left, t);
	hg_ivmap_each(&t->memory.pinned, release_left, t);
}
