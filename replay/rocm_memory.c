/* rocm_memory.c - device memory at wanted addresses, host memory that kernels reach, and transfers outside queues. */
#define _GNU_SOURCE
#include "replay/rocm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/arena.h"
#include "common/msg.h"

enum { DEVICE_MEMORY = 1, PINNED_MEMORY = 1, READ_WRITE = 3 };

static struct hip_allocation kind_of(const struct hg_target *t)
{
	return (struct hip_allocation){ .type = PINNED_MEMORY, .location = { .type = DEVICE_MEMORY, .id = t ? t->device : 0 } };
}

static _Atomic uint64_t known_unit;

enum hg_status rocm_unit_read(struct hg_target *t)
{
	const struct hip_allocation what = kind_of(t);
	size_t unit = 0;
	enum hg_status st = HIP(hipMemGetAllocationGranularity, &unit, &what, HIP_GRANULARITY_MINIMUM);

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

/* HIP's reservations lie side by side. */
enum hg_status rocm_reserve(struct hg_target *t, const struct hg_held *range, size_t nr)
{
	(void)t;
	(void)range;
	(void)nr;
	return HG_ERR_UNSUPPORTED;
}

/* Asked before the target is opened as well: what HIP says, else the largest there may be. */
uint64_t rocm_map_unit(void)
{
	const struct hip_allocation what = kind_of(NULL);
	uint64_t unit = atomic_load(&known_unit);
	size_t granularity = 0;
	const char *why;

	if (unit)
		return unit;
	if (hg_hip_load(&why) || HIP_CALL(hipInit, 0) ||
	    HIP_CALL(hipMemGetAllocationGranularity, &granularity, &what, HIP_GRANULARITY_MINIMUM) || !granularity ||
	    granularity & (granularity - 1) || granularity > HG_ARENA_GRANULE)
		return HG_ARENA_GRANULE;
	return granularity;
}

/* What cannot be unmapped stays as it is, addresses and all. */
static void give_back(const struct rocm_unmap *u)
{
	if (HIP(hipMemUnmap, (void *)u->addr, u->size))
		return;
	HIP_TRY(hipMemRelease, u->handle);
	HIP_TRY(hipMemAddressFree, (void *)u->addr, u->size);
}

void rocm_unmap_late(struct hg_target *t)
{
	struct rocm_unmap *list = NULL;
	size_t nr = 0;

	if (rocm_in_host_func)
		return;
	pthread_mutex_lock(&t->memory.lock);
	if (t->nr_unmaps) {
		list = t->unmap;
		nr = t->nr_unmaps;
		t->unmap = NULL;
		t->nr_unmaps = t->unmap_room = 0;
	}
	pthread_mutex_unlock(&t->memory.lock);
	for (size_t i = 0; i < nr; i++)
		give_back(&list[i]);
	free(list);
}

/* The addresses, and memory behind them; not yet readable. */
static enum hg_status reserve(struct hg_target *t, uint64_t wanted, uint64_t size)
{
	char in_the_way[512];
	void *at = NULL;
	enum hg_status st;

	(void)t;
	st = HIP(hipMemAddressReserve, &at, size, 0, (void *)wanted, 0);
	if (st || at == (void *)wanted)
		return st;
	HIP_TRY(hipMemAddressFree, at, size);
	gpu_in_the_way(wanted, size, in_the_way, sizeof(in_the_way));
	pr_err("ROCm gives the addresses 0x%" PRIx64 "-0x%" PRIx64 " instead of 0x%" PRIx64 "-0x%" PRIx64 "%s%s", (uint64_t)at,
	       (uint64_t)at + size, wanted, wanted + size, in_the_way[0] ? ", where the process has: " : "", in_the_way);
	return HG_ERR_NOSPC;
}

static enum hg_status zero(struct hg_target *t, uint64_t addr, uint64_t size)
{
	enum hg_status st;

	pthread_mutex_lock(&t->service_lock);
	st = HIP(hipMemsetD8Async, (void *)addr, 0, size, t->service->stream);
	if (!st)
		st = rocm_wait(t->service->stream);
	pthread_mutex_unlock(&t->service_lock);
	return st;
}

static enum hg_status fill_in(struct hg_target *t, uint64_t addr, uint64_t size, void **out)
{
	const struct hip_allocation what = kind_of(t);
	const struct hip_access access = { .location = what.location, .flags = READ_WRITE };
	void *handle;
	enum hg_status st = HIP(hipMemCreate, &handle, size, &what, 0);

	if (st)
		return st;
	st = HIP(hipMemMap, (void *)addr, size, 0, handle, 0);
	if (st)
		goto err_release;
	st = HIP(hipMemSetAccess, (void *)addr, size, &access, 1);
	if (!st)
		st = zero(t, addr, size);
	if (st)
		goto err_unmap;
	*out = handle;
	return HG_OK;

err_unmap:
	HIP_TRY(hipMemUnmap, (void *)addr, size);
err_release:
	HIP_TRY(hipMemRelease, handle);
	return st;
}

enum hg_status rocm_map(struct hg_target *t, hg_dptr wanted, size_t size, bool held, hg_dptr *out)
{
	void *handle = NULL;
	enum hg_status st;

	if (!wanted || !size || (wanted | size) % t->unit || wanted + size < wanted)
		return HG_ERR_INVALID;
	st = rocm_enter(t);
	if (st)
		return st;
	rocm_unmap_late(t);
	/* HIP reserves by a mapping of its own, which replaces nothing: the addresses are free for a moment */
	if (held)
		munmap((void *)wanted, size);
	st = reserve(t, wanted, size);
	if (st)
		goto err_hold;
	st = fill_in(t, wanted, size, &handle);
	if (st)
		goto err_free;
	pthread_mutex_lock(&t->memory.lock);
	st = hg_ivmap_put(&t->memory.maps, wanted, size, (uintptr_t)handle);
	pthread_mutex_unlock(&t->memory.lock);
	if (st)
		goto err_unmap;
	*out = wanted;
	return HG_OK;

err_unmap:
	HIP_TRY(hipMemUnmap, (void *)wanted, size);
	HIP_TRY(hipMemRelease, handle);
err_free:
	HIP_TRY(hipMemAddressFree, (void *)wanted, size);
err_hold:
	if (held)
		gpu_hold_again(wanted, size);
	return st;
}

/* For a caller that may not call HIP now; false: no memory for that. */
static bool put_off(struct hg_target *t, const struct rocm_unmap *u)
{
	bool done = false;

	pthread_mutex_lock(&t->memory.lock);
	if (t->nr_unmaps == t->unmap_room) {
		size_t room = t->unmap_room ? 2 * t->unmap_room : 16;
		struct rocm_unmap *grown = realloc(t->unmap, room * sizeof(*grown));

		if (!grown)
			goto out;
		t->unmap = grown;
		t->unmap_room = room;
	}
	t->unmap[t->nr_unmaps++] = *u;
	done = true;
out:
	pthread_mutex_unlock(&t->memory.lock);
	return done;
}

void rocm_unmap(struct hg_target *t, hg_dptr ptr, size_t size)
{
	struct rocm_unmap u = { .addr = ptr, .size = size };
	struct hg_iv iv;
	bool found;

	pthread_mutex_lock(&t->memory.lock);
	found = hg_ivmap_remove(&t->memory.maps, ptr, &iv);
	pthread_mutex_unlock(&t->memory.lock);
	if (!found || iv.size != size) {
		pr_err("0x%" PRIx64 "-0x%" PRIx64 " is no mapping of device memory", ptr, ptr + size);
		return;
	}
	u.handle = (void *)iv.value;
	if (rocm_in_host_func) {
		if (!put_off(t, &u))
			pr_err("out of memory: %zu bytes of device memory at 0x%" PRIx64 " are lost", size, ptr);
		return;
	}
	if (!rocm_enter(t))
		give_back(&u);
}

/* host memory */

enum hg_status rocm_host_register(struct hg_target *t, void *ptr, size_t size)
{
	void *device = NULL;
	enum hg_status st;

	if (!ptr || !size)
		return HG_ERR_INVALID;
	st = rocm_enter(t);
	if (st)
		return st;
	st = HIP(hipHostRegister, ptr, size, HIP_HOST_PORTABLE | HIP_HOST_MAPPED);
	if (st)
		return st;
	st = HIP(hipHostGetDevicePointer, &device, ptr, 0);
	if (!st && device != ptr) {
		pr_err("%zu bytes of host memory at %p lie at %p for kernels on '%s': a kernel that is given the program's address cannot "
		       "reach them", size, ptr, device, t->info.name);
		st = HG_ERR_UNSUPPORTED;
	}
	if (!st) {
		pthread_mutex_lock(&t->memory.lock);
		st = hg_ivmap_put(&t->memory.pinned, (uintptr_t)ptr, size, 1);
		pthread_mutex_unlock(&t->memory.lock);
	}
	if (st)
		HIP_TRY(hipHostUnregister, ptr);
	return st;
}

void rocm_host_unregister(struct hg_target *t, void *ptr, size_t size)
{
	bool found;

	(void)size;
	pthread_mutex_lock(&t->memory.lock);
	found = hg_ivmap_remove(&t->memory.pinned, (uintptr_t)ptr, NULL);
	pthread_mutex_unlock(&t->memory.lock);
	if (found && !rocm_enter(t))
		HIP_TRY(hipHostUnregister, ptr);
}

/* queues' own memory */

enum hg_status rocm_own_take(struct hg_target *t, size_t size, unsigned int flags, void **out)
{
	void *mem = gpu_spare_take(&t->memory, size, flags);

	if (!mem)
		return flags ? HIP(hipHostMalloc, out, size, flags) : HIP(hipMalloc, out, size);
	*out = mem;
	return HG_OK;
}

static void own_free(void *mem, unsigned int flags)
{
	if (flags)
		HIP_TRY(hipHostFree, mem);
	else
		HIP_TRY(hipFree, mem);
}

void rocm_own_give(struct hg_target *t, void *mem, size_t size, unsigned int flags)
{
	if (mem && !gpu_spare_give(&t->memory, mem, size, flags))
		own_free(mem, flags);
}

/* transfers */

static enum hg_status transfer(struct hg_target *t, uint64_t dst, uint64_t src, size_t size)
{
	enum hg_status st;

	pthread_mutex_lock(&t->service_lock);
	st = gpu_transfer(&hg_target_rocm, t->service, dst, src, size);
	pthread_mutex_unlock(&t->service_lock);
	return st;
}

enum hg_status rocm_read(struct hg_target *t, void *dst, hg_dptr src, size_t size)
{
	return transfer(t, (uintptr_t)dst, src, size);
}

enum hg_status rocm_write(struct hg_target *t, hg_dptr dst, const void *src, size_t size)
{
	return transfer(t, dst, (uintptr_t)src, size);
}

static int unmap_left(const struct hg_iv *iv, void *arg)
{
	(void)arg;
	give_back(&(struct rocm_unmap){ .addr = iv->start, .size = iv->size, .handle = (void *)iv->value });
	return 0;
}

static int unregister_left(const struct hg_iv *iv, void *arg)
{
	(void)arg;
	HIP_TRY(hipHostUnregister, (void *)iv->start);
	return 0;
}

void rocm_memory_fini(struct hg_target *t)
{
	unsigned int kind;
	void *mem;

	rocm_unmap_late(t);
	for (mem = gpu_spare_any(&t->memory, &kind); mem; mem = gpu_spare_any(&t->memory, &kind))
		own_free(mem, kind);
	hg_ivmap_each(&t->memory.maps, unmap_left, NULL);
	hg_ivmap_each(&t->memory.pinned, unregister_left, NULL);
}
