/* ze_memory.c - device memory at wanted addresses, host memory that kernels reach, and transfers outside queues. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/msg.h"
#include "replay/reserve.h"
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

/* ---- addresses ---- */

/*
 * Intel's driver (compute-runtime) reserves from a hint by a mapping without access of 2 MiB more than it is asked for, so that ranges side by side cannot be
 * reserved one by one: what is wanted is looked for in large reservations, which cost addresses alone. Their last TAIL bytes are left to the driver.
 */
#define TAIL HG_ARENA_GRANULE

static const uint64_t windows[] = { UINT64_C(1) << 36, UINT64_C(1) << 30, UINT64_C(1) << 26 };

/* With t->map_lock. HG_ERR_NOSPC, silently, when the addresses are not had; *got: where they would be, 0: nowhere. */
static enum hg_status reserve_at(struct hg_target *t, uint64_t addr, uint64_t size, uint64_t *got)
{
	void *at = NULL;
	ze_result_t result = ZE_RAW(zeVirtualMemReserve, t->context, (const void *)addr, size, &at);
	enum hg_status st = hg_ze_status(result);

	*got = 0;
	if (st == HG_ERR_NOMEM)		/* so much, in one piece */
		return HG_ERR_NOSPC;
	if (st)
		return hg_ze_check(HG_ZE_zeVirtualMemReserve, result, VENDOR_ARGS(t->context, addr, size, &at));
	*got = (uint64_t)at;
	st = at == (void *)addr ? hg_ivmap_put(&t->reserved, addr, size, 0) : HG_ERR_NOSPC;
	/* the specification: "if not available then will find another suitable starting address" */
	if (st)
		ZE_TRY(zeVirtualMemFree, t->context, at, size);
	return st;
}

static bool is_in_arena(const struct hg_target *t, uint64_t start, uint64_t end)
{
	return start >= t->arena && end <= t->arena + HG_ARENA_SIZE - TAIL;
}

/* The whole arena, without its last bytes: behind it lies the one of the host's memory. */
static enum hg_status reserve_arena(struct hg_target *t)
{
	uint64_t got;

	return reserve_at(t, t->arena, HG_ARENA_SIZE - TAIL, &got);
}

/* With t->map_lock: the range alone, or a message. */
static enum hg_status reserve_alone(struct hg_target *t, uint64_t wanted, uint64_t size)
{
	char in_the_way[512];
	uint64_t got;
	enum hg_status st = reserve_at(t, wanted, size, &got);

	if (st != HG_ERR_NOSPC)
		return st;
	gpu_in_the_way(wanted, size + TAIL, in_the_way, sizeof(in_the_way));
	if (got)
		pr_err("Level Zero gives the addresses 0x%" PRIx64 "-0x%" PRIx64 " instead of 0x%" PRIx64 "-0x%" PRIx64 "%s%s", got, got + size,
		       wanted, wanted + size, in_the_way[0] ? ", where, or right behind which, the process has: " : "", in_the_way);
	else
		pr_err("Level Zero cannot reserve the addresses 0x%" PRIx64 "-0x%" PRIx64, wanted, wanted + size);
	return st;
}

/* With t->map_lock: what is reserved for nothing, and in the way. */
static void free_unused(struct hg_target *t, uint64_t wanted, uint64_t size)
{
	uint64_t at = wanted > TAIL ? wanted - TAIL : 0;
	struct hg_iv iv;

	for (; hg_ivmap_from(&t->reserved, at, &iv) && iv.start < wanted + size + TAIL; at = iv.start + iv.size)
		if (!iv.value) {
			hg_ivmap_remove(&t->reserved, iv.start, NULL);
			ZE_TRY(zeVirtualMemFree, t->context, (const void *)iv.start, iv.size);
		}
}

/* With t->map_lock: more than is wanted, so that there is room beside it; silently. */
static enum hg_status reserve_wide(struct hg_target *t, uint64_t wanted, uint64_t size)
{
	enum hg_status st = HG_ERR_NOSPC;
	uint64_t got;

	if (is_in_arena(t, wanted, wanted + size))
		st = reserve_arena(t);
	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]) && st == HG_ERR_NOSPC; i++) {
		uint64_t start = wanted & -windows[i];

		if (start && wanted + size <= start + windows[i] - TAIL)
			st = reserve_at(t, start, windows[i] - TAIL, &got);
		if (st == HG_ERR_NOSPC && size <= windows[i] - TAIL)	/* what is free behind it */
			st = reserve_at(t, wanted, windows[i] - TAIL, &got);
	}
	return st;
}

/* With t->map_lock. */
static enum hg_status reserve_for(struct hg_target *t, uint64_t wanted, uint64_t size)
{
	enum hg_status st;

	free_unused(t, wanted, size);
	st = reserve_wide(t, wanted, size);
	return st == HG_ERR_NOSPC ? reserve_alone(t, wanted, size) : st;
}

/* With t->map_lock: `change` more mappings in the reservation, which stays without any: others will be wanted where these were. */
static void reserved_count(struct hg_target *t, uint64_t addr, int change)
{
	struct hg_iv iv;

	if (!hg_ivmap_find(&t->reserved, addr, &iv))
		return;
	hg_ivmap_remove(&t->reserved, iv.start, NULL);
	/* the node just removed is free memory again, so this does not fail */
	if (hg_ivmap_put(&t->reserved, iv.start, iv.size, iv.value + (uint64_t)change))
		pr_err("out of memory: the addresses 0x%" PRIx64 "-0x%" PRIx64 " are lost", iv.start, iv.start + iv.size);
}

/* With t->map_lock: what is mapped there is Level Zero's. */
static bool is_reserved(const struct hg_target *t, const struct hg_held *range)
{
	struct hg_iv iv;

	return hg_ivmap_find(&t->reserved, range->start, &iv) && range->end <= iv.start + iv.size;
}

enum hg_status ze_reserve(struct hg_target *t, const struct hg_held *range, size_t nr)
{
	enum hg_status st = HG_OK;
	struct hg_iv iv;

	pthread_mutex_lock(&t->map_lock);
	/* all that is held in the arena goes, so that there can be one reservation for it */
	for (size_t i = 0; i < nr; i++)
		if (!is_reserved(t, &range[i]))
			munmap((void *)range[i].start, range[i].end - range[i].start);
	for (size_t i = 0; i < nr && !st; i++) {
		if (is_reserved(t, &range[i]))
			continue;
		/* what the program allocates next lies beside what it has in the arena */
		st = is_in_arena(t, range[i].start, range[i].end) ? reserve_wide(t, range[i].start, range[i].end - range[i].start) : HG_ERR_NOSPC;
		if (st == HG_ERR_NOSPC)
			st = reserve_alone(t, range[i].start, range[i].end - range[i].start);
	}
	for (size_t i = 0; i < nr && st; i++)
		if (!hg_ivmap_find(&t->reserved, range[i].start, &iv))
			gpu_hold_again(range[i].start, range[i].end - range[i].start);
	pthread_mutex_unlock(&t->map_lock);
	return st;
}

/* ---- memory at them ---- */

/* False: it is still mapped. */
static bool give_back(struct hg_target *t, uint64_t addr, uint64_t size, ze_physical_mem_handle_t memory)
{
	if (!ZE_END(zeVirtualMemUnmap, t->context, (const void *)addr, size))
		return false;
	ZE_TRY(zePhysicalMemDestroy, t->context, memory);
	return true;
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
	if (!ZE_END(zeVirtualMemUnmap, t->context, (const void *)addr, size))
		return st;
err_destroy:
	ZE_TRY(zePhysicalMemDestroy, t->context, memory);
	return st;
}

static enum hg_status need_reserved(struct hg_target *t, uint64_t wanted, uint64_t size, bool held)
{
	enum hg_status st = HG_OK;
	struct hg_iv iv;

	pthread_mutex_lock(&t->map_lock);
	if (!hg_ivmap_find(&t->reserved, wanted, &iv) || wanted + size > iv.start + iv.size) {
		/* a reservation replaces no mapping: the addresses are free for a moment */
		if (held)
			munmap((void *)wanted, size);
		st = reserve_for(t, wanted, size);
		if (st && held)
			gpu_hold_again(wanted, size);
	}
	if (!st)
		reserved_count(t, wanted, 1);
	pthread_mutex_unlock(&t->map_lock);
	return st;
}

static void leave_reserved(struct hg_target *t, uint64_t addr)
{
	pthread_mutex_lock(&t->map_lock);
	reserved_count(t, addr, -1);
	pthread_mutex_unlock(&t->map_lock);
}

enum hg_status ze_map(struct hg_target *t, hg_dptr wanted, size_t size, bool held, hg_dptr *out)
{
	ze_physical_mem_handle_t memory;
	enum hg_status st;

	if (!wanted || !size || (wanted | size) % t->unit || wanted + size < wanted)
		return HG_ERR_INVALID;
	st = need_reserved(t, wanted, size, held);
	if (st)
		return st;
	st = fill_in(t, wanted, size, &memory);
	if (st)
		goto err_leave;
	pthread_mutex_lock(&t->memory.lock);
	st = hg_ivmap_put(&t->memory.maps, wanted, size, (uintptr_t)memory);
	pthread_mutex_unlock(&t->memory.lock);
	if (st)
		goto err_unmap;
	*out = wanted;
	return HG_OK;

err_unmap:
	if (!give_back(t, wanted, size, memory))
		return st;
err_leave:
	leave_reserved(t, wanted);
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
	if (give_back(t, ptr, size, (ze_physical_mem_handle_t)iv.value))
		leave_reserved(t, ptr);
}

/* ---- memory of the host ---- */

/* The extension's structure, which headers have from version 1.14 on. */
#define EXTERNAL_MEMMAP_DESC ((ze_structure_type_t)0x00020037)
struct external_memmap {
	ze_structure_type_t stype;
	const void *next;
	void *memory;			/* whole pages */
	uint64_t size;
};

static void release(struct hg_target *t, uint64_t addr)
{
	if (!t->info.host_access)
		ZE_TRY(zeMemFree, t->context, (void *)addr);
}

/* Where the device reaches all memory of the host it is noted alone: commands may name it. */
static enum hg_status import(struct hg_target *t, uint64_t addr, uint64_t size)
{
	const struct external_memmap memmap = { EXTERNAL_MEMMAP_DESC, NULL, (void *)addr, size };
	const ze_host_mem_alloc_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC, .pNext = &memmap };
	void *at = (void *)addr;
	enum hg_status st = t->info.host_access ? HG_OK : ZE(zeMemAllocHost, t->context, &desc, size, (size_t)0, &at);

	if (st)
		return st;
	if (at != (void *)addr) {
		pr_err("%" PRIu64 " bytes of host memory at 0x%" PRIx64 " lie at %p for kernels on '%s': a kernel that is given the program's address "
		       "cannot reach them", size, addr, at, t->info.name);
		ZE_TRY(zeMemFree, t->context, at);
		return HG_ERR_UNSUPPORTED;
	}
	pthread_mutex_lock(&t->memory.lock);
	st = hg_ivmap_put(&t->memory.pinned, addr, size, 0);
	pthread_mutex_unlock(&t->memory.lock);
	if (st)
		release(t, addr);
	return st;
}

/* With t->map_lock: one more or one less who wants these pages, which were imported; nobody: the import ends. */
static void pages_count(struct hg_target *t, uint64_t at, uint64_t end, int change)
{
	struct hg_iv iv;

	for (;;) {
		bool found, ends;

		pthread_mutex_lock(&t->memory.lock);
		found = at < end && hg_ivmap_from(&t->memory.pinned, at, &iv) && iv.start < end;
		if (found)
			hg_ivmap_remove(&t->memory.pinned, iv.start, NULL);
		iv.value += (uint64_t)change;
		ends = found && !iv.value;
		if (found && !ends && hg_ivmap_put(&t->memory.pinned, iv.start, iv.size, iv.value))
			pr_err("out of memory: host memory at 0x%" PRIx64 " stays imported", iv.start);
		pthread_mutex_unlock(&t->memory.lock);
		if (!found)
			return;
		if (ends)
			release(t, iv.start);
		at = iv.start + iv.size;
	}
}

/* Imports cannot overlap, and are of whole pages: what others registered of them is not imported again. */
static enum hg_status pages_import(struct hg_target *t, uint64_t lo, uint64_t hi)
{
	enum hg_status st = HG_OK;
	uint64_t at = lo;

	while (at < hi && !st) {
		struct hg_iv iv;
		bool found;

		pthread_mutex_lock(&t->memory.lock);
		found = hg_ivmap_from(&t->memory.pinned, at, &iv) && iv.start < hi;
		pthread_mutex_unlock(&t->memory.lock);
		if (!found || iv.start > at) {
			st = import(t, at, (found ? iv.start : hi) - at);
			at = found ? iv.start : hi;
		} else {
			at = iv.start + iv.size;
		}
	}
	return st;
}

/* With t->map_lock: imports that nobody counts are what a failure left. */
static void pages_undo(struct hg_target *t, uint64_t lo, uint64_t hi)
{
	pages_count(t, lo, hi, 1);
	pages_count(t, lo, hi, -1);
}

enum hg_status ze_host_register(struct hg_target *t, void *ptr, size_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), lo = (uintptr_t)ptr & -page, hi = ((uintptr_t)ptr + size + page - 1) & -page;
	enum hg_status st;

	if (!ptr || !size)
		return HG_ERR_INVALID;
	if (!t->has_memmap && !t->info.host_access) {
		pr_err("%zu bytes of host memory at %p cannot be reached by kernels on '%s': its driver has no " ZE_MEMMAP ", and kernels reach no "
		       "memory that it did not allocate", size, ptr, t->info.name);
		return HG_ERR_UNSUPPORTED;
	}
	pthread_mutex_lock(&t->map_lock);
	st = pages_import(t, lo, hi);
	if (st)
		pages_undo(t, lo, hi);
	else
		pages_count(t, lo, hi, 1);
	pthread_mutex_unlock(&t->map_lock);
	return st;
}

void ze_host_unregister(struct hg_target *t, void *ptr, size_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), lo = (uintptr_t)ptr & -page, hi = ((uintptr_t)ptr + size + page - 1) & -page;

	pthread_mutex_lock(&t->map_lock);
	pages_count(t, lo, hi, -1);
	pthread_mutex_unlock(&t->map_lock);
}

/* ---- queues' own memory ---- */

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

/* ---- transfers ---- */

static enum hg_status transfer(struct hg_target *t, uint64_t dst, uint64_t src, size_t size)
{
	enum hg_status st;

	pthread_mutex_lock(&t->service_lock);
	st = gpu_transfer(&hg_target_ze, t->service, dst, src, size);
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
	struct hg_target *t = arg;

	if (give_back(t, iv->start, iv->size, (ze_physical_mem_handle_t)iv->value))
		leave_reserved(t, iv->start);
	return 0;
}

static int release_left(const struct hg_iv *iv, void *arg)
{
	release(arg, iv->start);
	return 0;
}

static int free_left(const struct hg_iv *iv, void *arg)
{
	struct hg_target *t = arg;

	/* one that has something left in it stays */
	if (!iv->value)
		ZE_TRY(zeVirtualMemFree, t->context, (const void *)iv->start, iv->size);
	return 0;
}

void ze_memory_fini(struct hg_target *t)
{
	unsigned int kind;
	void *mem;

	for (mem = gpu_spare_any(&t->memory, &kind); mem; mem = gpu_spare_any(&t->memory, &kind))
		ZE_TRY(zeMemFree, t->context, mem);
	hg_ivmap_each(&t->memory.maps, unmap_left, t);
	hg_ivmap_each(&t->memory.pinned, release_left, t);
	hg_ivmap_each(&t->reserved, free_left, t);
	hg_ivmap_release(&t->reserved);
}
