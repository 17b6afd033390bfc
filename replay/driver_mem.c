/* driver_mem.c - device memory: addresses, mappings, allocation, and what is in an address range. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/msg.h"
#include "replay/driver_priv.h"
#include "replay/restore.h"

#define ALIGNMENT 512u
#define LARGE (UINT64_C(1) << 20)		/* from here on an allocation has mappings of its own */

/* places: where the next object must lie */

void hg_driver_place(const struct hg_place *place, size_t nr_places)
{
	struct drv_thread *t = drv_thread();
	struct hg_place *copy;
	size_t bytes = 0;
	char *names;

	if (!t)
		return;
	free(t->places);
	t->places = NULL;
	t->nr_places = 0;
	if (!nr_places)
		return;
	for (size_t i = 0; i < nr_places; i++)
		bytes += place[i].name ? strlen(place[i].name) + 1 : 0;
	copy = malloc(nr_places * sizeof(*copy) + bytes);
	if (!copy) {
		pr_warn("out of memory: the next object may get another address than it should");
		return;
	}
	names = (char *)(copy + nr_places);
	for (size_t i = 0; i < nr_places; i++) {
		copy[i] = place[i];
		if (place[i].name) {
			copy[i].name = strcpy(names, place[i].name);
			names += strlen(names) + 1;
		}
	}
	t->places = copy;
	t->nr_places = nr_places;
}

size_t drv_places_take(struct hg_place **out)
{
	struct drv_thread *t = drv_thread();
	size_t nr;

	*out = NULL;
	if (!t)
		return 0;
	nr = t->nr_places;
	*out = t->places;
	t->places = NULL;
	t->nr_places = 0;
	return nr;
}

uint64_t drv_place_take_addr(void)
{
	struct hg_place *place;
	size_t nr = drv_places_take(&place);
	uint64_t addr = 0;

	for (size_t i = 0; i < nr && !addr; i++)
		if (!place[i].name)
			addr = place[i].addr;
	free(place);
	return addr;
}

void hg_driver_adopt(bool on)
{
	struct drv_thread *t = drv_thread();

	if (t)
		t->adopt = on;
}

/* addresses */

enum hg_status drv_mem_init(void)
{
	uint64_t base;
	enum hg_status st = hg_arena_env(&base, NULL);

	if (st)
		return st;
	st = hg_arena_init(&drv.device_arena, base, HG_ARENA_SIZE);
	if (!st)
		st = hg_arena_init(&drv.host_arena, base + HG_ARENA_SIZE, HG_ARENA_SIZE);
	if (st)
		hg_arena_fini(&drv.device_arena);
	return st;
}

static int run_unmap(const struct hg_iv *iv, void *arg)
{
	(void)arg;
	drv.ops->unmap(drv.target, iv->start, iv->size);
	return 0;
}

static void alloc_release(struct drv_alloc *a)
{
	if (a->ctx)
		drv_obj_put(&a->ctx->obj);
	if (a->pool)
		drv_obj_put(&a->pool->obj);
	free(a->name);
	free(a);
}

static int alloc_drop(const struct hg_iv *iv, void *arg)
{
	struct drv_alloc *a = (struct drv_alloc *)(uintptr_t)iv->value;

	(void)arg;
	if (a->kind == HG_REGION_HOST && !drv.is_left)
		munmap((void *)a->addr, a->room);
	alloc_release(a);
	return 0;
}

void drv_mem_fini(void)
{
	hg_ivmap_each(&drv.allocs, alloc_drop, NULL);
	hg_ivmap_release(&drv.allocs);
	hg_ivmap_each(&drv.runs, run_unmap, NULL);
	hg_ivmap_release(&drv.runs);
	hg_ivmap_release(&drv.held);
	hg_ivmap_release(&drv.reserved);
	hg_arena_fini(&drv.device_arena);
	hg_arena_fini(&drv.host_arena);
	drv.used_bytes = 0;
}

/*
 * Mappings are whole granules, in runs that are mapped and unmapped as one. A run lives as long as
 * an allocation lies in it; small allocations share one. Elsewhere than in the arena, where addresses come from another
 * driver, they are as small as the target can: what is beside them in the process is none of the driver's business.
 */
uint64_t hg_driver_map_unit(const struct hg_target_ops *target, uint64_t addr)
{
	uint64_t base;

	if (hg_arena_env(&base, NULL))
		return target->map_unit();
	return addr >= base && addr - base < HG_ARENA_SIZE ? HG_ARENA_GRANULE : target->map_unit();
}

static uint64_t unit_of(uint64_t addr)
{
	return hg_arena_has(&drv.device_arena, addr) ? HG_ARENA_GRANULE : drv.ops->map_unit();
}

static uint64_t unit_down(uint64_t addr, uint64_t unit)
{
	return addr & -unit;
}

static uint64_t unit_up(uint64_t addr, uint64_t unit)
{
	return (addr + unit - 1) & -unit;
}

/* Adds `change` to the count of every run that [addr, addr+size) touches, unmapping those that reach 0. */
static void runs_count(uint64_t addr, uint64_t size, int change)
{
	uint64_t unit = unit_of(addr), at = unit_down(addr, unit), end = unit_up(addr + size, unit);
	struct hg_iv run;
	enum hg_status st;

	while (at < end && hg_ivmap_from(&drv.runs, at, &run) && run.start < end) {
		at = run.start + run.size;
		hg_ivmap_remove(&drv.runs, run.start, NULL);
		if (run.value + (uint64_t)change == 0) {
			drv.ops->unmap(drv.target, run.start, run.size);
			continue;
		}
		/* the node just removed is free memory again, so this does not fail */
		st = hg_ivmap_put(&drv.runs, run.start, run.size, run.value + (uint64_t)change);
		if (st)
			pr_err("out of memory: mappings at 0x%" PRIx64 " are lost", run.start);
	}
}

/* Maps what is not mapped of [addr, addr+size) and counts the allocation; *fresh: all of it was just mapped. */
static enum hg_status runs_take(uint64_t addr, uint64_t size, bool *fresh)
{
	uint64_t unit = unit_of(addr), at = unit_down(addr, unit), end = unit_up(addr + size, unit);
	uint64_t mapped[64][2];
	unsigned int nr_mapped = 0;
	struct hg_iv run, reserve;
	enum hg_status st = HG_OK;
	hg_dptr got;
	bool held;

	*fresh = true;
	while (at < end) {
		bool found = hg_ivmap_from(&drv.runs, at, &run) && run.start < end;
		uint64_t gap_end = found ? run.start : end;

		if (found && run.start <= at) {
			*fresh = false;
			at = run.start + run.size;
			continue;
		}
		if (nr_mapped == sizeof(mapped) / sizeof(mapped[0])) {
			st = HG_ERR_NOSPC;
			goto err_unmap;
		}
		held = hg_ivmap_find(&drv.reserved, at, &reserve) && gap_end <= reserve.start + reserve.size;
		st = drv.ops->map(drv.target, at, gap_end - at, held, &got);
		if (st)
			goto err_unmap;
		mapped[nr_mapped][0] = at;
		mapped[nr_mapped++][1] = gap_end - at;
		st = hg_ivmap_put(&drv.runs, at, gap_end - at, 0);
		if (st) {
			nr_mapped--;
			drv.ops->unmap(drv.target, at, gap_end - at);
			goto err_unmap;
		}
		at = gap_end;
	}
	runs_count(addr, size, 1);
	return HG_OK;

err_unmap:
	while (nr_mapped--) {
		hg_ivmap_remove(&drv.runs, mapped[nr_mapped][0], NULL);
		drv.ops->unmap(drv.target, mapped[nr_mapped][0], mapped[nr_mapped][1]);
	}
	return st;
}

/* Says who is in the way of an allocation that must lie at a given address. */
static void say_taken(uint64_t addr, uint64_t size)
{
	struct hg_iv iv;

	if (hg_ivmap_from(&drv.allocs, addr, &iv) && iv.start < addr + size)
		pr_err("cannot place %" PRIu64 " bytes at 0x%" PRIx64 ": 0x%" PRIx64 "-0x%" PRIx64 " is allocated",
		       size, addr, iv.start, iv.start + iv.size);
	else
		pr_err("cannot place %" PRIu64 " bytes at 0x%" PRIx64 ": these addresses are in use by something else in "
		       "the process", size, addr);
}

/*
 * A place is given in units of the alignment, except when it was recorded elsewhere with less: then the room ends
 * where the allocation does, in the arena rounded up to 16 bytes, so that a neighbour can be placed as well.
 */
static uint64_t room_of(uint64_t size, uint64_t align, uint64_t wanted)
{
	uint64_t unit = size >= LARGE ? HG_ARENA_GRANULE : align;

	if (wanted)
		unit = hg_arena_has(&drv.device_arena, wanted) ? 16 : 1;
	return (size + unit - 1) & -unit;
}

/* What is held there is going to be taken. */
static void held_give(uint64_t addr)
{
	struct hg_iv iv;

	if (hg_ivmap_remove(&drv.held, addr, &iv))
		hg_arena_give(&drv.device_arena, iv.start, iv.size);
}

enum hg_status hg_driver_hold(uint64_t addr, uint64_t size)
{
	uint64_t room = room_of(size ? size : 1, ALIGNMENT, addr);
	enum hg_status st = HG_OK;

	pthread_mutex_lock(&drv.mem_lock);
	/* two that overlap: the second will find the place taken when it comes to it */
	if (hg_arena_has(&drv.device_arena, addr) && !hg_arena_take_at(&drv.device_arena, addr, room)) {
		st = hg_ivmap_put(&drv.held, addr, room, 0);
		if (st)
			hg_arena_give(&drv.device_arena, addr, room);
	}
	pthread_mutex_unlock(&drv.mem_lock);
	return st;
}

CUresult drv_mem_hold(uint64_t size, uint64_t align, uint64_t *out)
{
	uint64_t room, addr;
	enum hg_status st;

	if (align < ALIGNMENT)
		align = ALIGNMENT;
	room = room_of(size, align, 0);
	pthread_mutex_lock(&drv.mem_lock);
	st = hg_arena_take(&drv.device_arena, room, room >= LARGE ? HG_ARENA_GRANULE : align, &addr);
	if (!st) {
		st = hg_ivmap_put(&drv.held, addr, room, 0);
		if (st)
			hg_arena_give(&drv.device_arena, addr, room);
	}
	pthread_mutex_unlock(&drv.mem_lock);
	if (!st)
		*out = addr;
	return drv_result(st);
}

static int held_arena_give(const struct hg_iv *iv, void *arg)
{
	(void)arg;
	hg_arena_give(&drv.device_arena, iv->start, iv->size);
	return 0;
}

void hg_driver_hold_end(void)
{
	pthread_mutex_lock(&drv.mem_lock);
	hg_ivmap_each(&drv.held, held_arena_give, NULL);
	hg_ivmap_release(&drv.held);
	pthread_mutex_unlock(&drv.mem_lock);
}

enum hg_status hg_driver_reserve(const struct hg_held *range, size_t nr, bool *taken)
{
	enum hg_status st = drv.ops->reserve(drv.target, range, nr);

	*taken = !st;
	return st == HG_ERR_UNSUPPORTED ? HG_OK : st;
}

enum hg_status hg_driver_reserved(const struct hg_held *range, size_t nr)
{
	bool taken = false;
	enum hg_status st = nr ? hg_driver_reserve(range, nr, &taken) : HG_OK;

	if (st)
		return st;
	pthread_mutex_lock(&drv.mem_lock);
	hg_ivmap_release(&drv.reserved);
	for (size_t i = 0; i < nr && !taken && !st; i++)
		st = hg_ivmap_put(&drv.reserved, range[i].start, range[i].end - range[i].start, 0);
	pthread_mutex_unlock(&drv.mem_lock);
	return st;
}

/* Takes addresses that the arena may or may not hold. */
static enum hg_status device_addr_take(uint64_t wanted, uint64_t room, uint64_t align, uint64_t *out)
{
	struct hg_iv iv;

	if (!wanted)
		return hg_arena_take(&drv.device_arena, room, align, out);
	if (wanted + room < wanted)
		return HG_ERR_NOSPC;
	held_give(wanted);
	*out = wanted;
	if (hg_arena_has(&drv.device_arena, wanted))
		return hg_arena_take_at(&drv.device_arena, wanted, room);
	return hg_ivmap_from(&drv.allocs, wanted, &iv) && iv.start < wanted + room ? HG_ERR_NOSPC : HG_OK;
}

static void device_addr_give(uint64_t addr, uint64_t room)
{
	if (hg_arena_has(&drv.device_arena, addr))
		hg_arena_give(&drv.device_arena, addr, room);
}

static enum hg_status zero(uint64_t addr, uint64_t size)
{
	struct hg_fill fill = { .dst = addr, .width = size, .height = 1, .pitch = size, .element = 1 };
	enum hg_status st;

	pthread_mutex_lock(&drv.service_lock);
	st = drv.ops->fill(drv.service, &fill);
	if (!st)
		st = drv.ops->queue_sync(drv.service);
	pthread_mutex_unlock(&drv.service_lock);
	return st;
}

static enum hg_status take_memory(struct drv_alloc *a, uint64_t align, uint64_t wanted, bool *fresh)
{
	enum hg_status st;

	a->room = room_of(a->size, align, wanted);
	if (a->size > drv.info.memory_bytes || drv.used_bytes + a->size > drv.info.memory_bytes)
		return HG_ERR_NOMEM;
	st = device_addr_take(wanted, a->room, a->size >= LARGE ? HG_ARENA_GRANULE : align, &a->addr);
	if (st)
		return st;
	st = runs_take(a->addr, a->room, fresh);
	if (st)
		goto err_addr;
	st = hg_ivmap_put(&drv.allocs, a->addr, a->size, (uintptr_t)a);
	if (st)
		goto err_runs;
	drv.used_bytes += a->size;
	return HG_OK;

err_runs:
	runs_count(a->addr, a->room, -1);
err_addr:
	device_addr_give(a->addr, a->room);
	return st;
}

static enum hg_status ctx_sync_each(struct drv_ctx *ctx, void *arg)
{
	(void)arg;
	return drv_ctx_sync(ctx);
}

CUresult drv_mem_alloc(struct drv_ctx *ctx, uint64_t size, uint64_t align, uint64_t wanted, enum hg_region_kind kind,
		       struct drv_alloc **out)
{
	struct drv_alloc *a;
	enum hg_status st;
	bool fresh = false;

	if (hg_fault("device_alloc"))
		return CUDA_ERROR_OUT_OF_MEMORY;
	a = calloc(1, sizeof(*a));
	if (!a)
		return CUDA_ERROR_OUT_OF_MEMORY;
	a->size = size;
	a->kind = kind;
	a->id = atomic_fetch_add(&drv.next_id, 1);
	if (align < ALIGNMENT)
		align = ALIGNMENT;

	pthread_mutex_lock(&drv.mem_lock);
	st = take_memory(a, align, wanted, &fresh);
	if (st && wanted) {
		/* a free that waits in a stream may be all that is in the way */
		pthread_mutex_unlock(&drv.mem_lock);
		st = drv_each_ctx(ctx_sync_each, NULL);
		drv_codes_reap();
		pthread_mutex_lock(&drv.mem_lock);
		if (!st)
			st = take_memory(a, align, wanted, &fresh);
		if (st)
			say_taken(wanted, a->room);
	}
	pthread_mutex_unlock(&drv.mem_lock);
	if (st) {
		free(a);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	a->ctx = ctx;
	if (ctx)
		drv_obj_ref(&ctx->obj);
	/* no program sees what another buffer left: a replay then reads what the program read */
	if (!fresh && zero(a->addr, a->room)) {
		drv_mem_free(a);
		return CUDA_ERROR_UNKNOWN;
	}
	*out = a;
	return CUDA_SUCCESS;
}

void drv_mem_free(struct drv_alloc *a)
{
	pthread_mutex_lock(&drv.mem_lock);
	hg_ivmap_remove(&drv.allocs, a->addr, NULL);
	runs_count(a->addr, a->room, -1);
	device_addr_give(a->addr, a->room);
	drv.used_bytes -= a->size;
	if (a->pool)
		atomic_fetch_sub(&a->pool->used, a->size);
	pthread_mutex_unlock(&drv.mem_lock);
	alloc_release(a);
}

bool drv_mem_find(uint64_t addr, struct drv_alloc *out)
{
	struct hg_iv iv;
	bool found;

	pthread_mutex_lock(&drv.mem_lock);
	found = hg_ivmap_find(&drv.allocs, addr, &iv);
	if (found) {
		*out = *(const struct drv_alloc *)(uintptr_t)iv.value;
		/* freed memory that a stream has not come to yet is still memory; an unloaded module's is not */
		found = !out->dying || out->kind != HG_REGION_GLOBAL;
	}
	pthread_mutex_unlock(&drv.mem_lock);
	return found;
}

bool hg_driver_has(uint64_t addr, uint64_t size)
{
	struct drv_alloc a;

	return drv_mem_find(addr, &a) && size <= a.size - (addr - a.addr);
}

/* The live allocation that begins there, marked as dying so that no other thread takes it, too. */
static struct drv_alloc *alloc_claim(uint64_t addr, enum hg_region_kind kind, enum drv_what what)
{
	struct drv_alloc *a = NULL;
	struct hg_iv iv;

	pthread_mutex_lock(&drv.mem_lock);
	if (hg_ivmap_find(&drv.allocs, addr, &iv) && iv.start == addr) {
		a = (struct drv_alloc *)(uintptr_t)iv.value;
		if (a->dying || a->kind != kind || a->what != what)
			a = NULL;
		else
			a->dying = true;
	}
	pthread_mutex_unlock(&drv.mem_lock);
	return a;
}

void drv_mem_retire(struct drv_alloc *a)
{
	pthread_mutex_lock(&drv.mem_lock);
	a->dying = true;
	pthread_mutex_unlock(&drv.mem_lock);
}

static void alloc_unclaim(struct drv_alloc *a)
{
	pthread_mutex_lock(&drv.mem_lock);
	a->dying = false;
	pthread_mutex_unlock(&drv.mem_lock);
}

/* host memory that the driver owns, or that the application owns and registers */

static enum hg_status host_map(uint64_t wanted, uint64_t room, bool *in_arena, uint64_t *out)
{
	uint64_t addr = wanted, skipped[64];
	unsigned int nr_skipped = 0;
	enum hg_status st = HG_ERR_NOSPC;
	void *p = MAP_FAILED;

	/* something of the process may sit in the arena's addresses; then those are left to it */
	do {
		*in_arena = true;
		if (!wanted)
			st = hg_arena_take(&drv.host_arena, room, HG_ARENA_GRANULE, &addr);
		else if (hg_arena_has(&drv.host_arena, wanted))
			st = hg_arena_take_at(&drv.host_arena, wanted, room);
		else
			*in_arena = false;
		if (*in_arena && st)
			break;
		p = mmap((void *)addr, room, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (p != MAP_FAILED && p != (void *)addr) {
			munmap(p, room);
			p = MAP_FAILED;
		}
		st = p == MAP_FAILED ? HG_ERR_NOSPC : HG_OK;
		if (st && *in_arena)
			skipped[nr_skipped++] = addr;
	} while (st && !wanted && nr_skipped < sizeof(skipped) / sizeof(skipped[0]));
	while (nr_skipped--)
		hg_arena_give(&drv.host_arena, skipped[nr_skipped], room);
	if (!st)
		*out = addr;
	return st;
}

/* Memory that is there already, with its bytes; as if host_map had just made it. */
static enum hg_status host_adopt(uint64_t wanted, uint64_t room, bool *in_arena, uint64_t *out)
{
	struct hg_iv iv;

	if (hg_ivmap_from(&drv.allocs, wanted, &iv) && iv.start < wanted + room)
		return HG_ERR_NOSPC;
	if (!drv_host_ok(wanted, room, true)) {
		pr_err("%" PRIu64 " bytes of host memory at 0x%" PRIx64 " are not there any more", room, wanted);
		return HG_ERR_INVALID;
	}
	*in_arena = hg_arena_has(&drv.host_arena, wanted);
	if (*in_arena && hg_arena_take_at(&drv.host_arena, wanted, room))
		return HG_ERR_NOSPC;
	*out = wanted;
	return HG_OK;
}

/* As host_alloc found it. */
static void host_undo(const struct drv_alloc *a, bool adopted)
{
	if (!adopted)
		munmap((void *)a->addr, a->room);
	if (a->in_arena)
		hg_arena_give(&drv.host_arena, a->addr, a->room);
}

static void host_unmap(const struct drv_alloc *a)
{
	host_undo(a, drv.is_left);
}

static CUresult host_alloc(uint64_t size, unsigned int flags, void **out)
{
	uint64_t wanted = drv_place_take_addr(), page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct drv_alloc *a;
	struct drv_ctx *ctx;
	enum hg_status st;
	bool adopted;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	adopted = wanted && drv_thread()->adopt;
	if (!out || !size)
		return CUDA_ERROR_INVALID_VALUE;
	if (size > drv.info.memory_bytes && !adopted)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (hg_fault("host_alloc"))
		return CUDA_ERROR_OUT_OF_MEMORY;
	a = calloc(1, sizeof(*a));
	if (!a)
		return CUDA_ERROR_OUT_OF_MEMORY;
	a->size = size;
	a->room = (size + page - 1) & -page;
	a->kind = HG_REGION_HOST;
	a->flags = flags;
	a->id = atomic_fetch_add(&drv.next_id, 1);
	pthread_mutex_lock(&drv.mem_lock);
	st = adopted ? host_adopt(wanted, a->room, &a->in_arena, &a->addr) :
		host_map(wanted, a->room, &a->in_arena, &a->addr);
	if (st) {
		if (wanted && st == HG_ERR_NOSPC)
			say_taken(wanted, a->room);
		goto err_unlock;
	}
	st = drv.ops->host_register(drv.target, (void *)a->addr, a->room);
	if (st)
		goto err_unmap;
	st = hg_ivmap_put(&drv.allocs, a->addr, a->size, (uintptr_t)a);
	if (st)
		goto err_unregister;
	pthread_mutex_unlock(&drv.mem_lock);
	a->ctx = ctx;
	drv_obj_ref(&ctx->obj);
	*out = (void *)a->addr;
	return CUDA_SUCCESS;

err_unregister:
	drv.ops->host_unregister(drv.target, (void *)a->addr, a->room);
err_unmap:
	host_undo(a, adopted);
err_unlock:
	pthread_mutex_unlock(&drv.mem_lock);
	free(a);
	return drv_result(st);
}

/* Of either kind; nothing may use it any more. */
static void host_release(struct drv_alloc *a)
{
	/* without the lock: a target may wait here for what runs, and that for the lock, to free memory in its turn */
	drv.ops->host_unregister(drv.target, (void *)a->addr, a->room);
	pthread_mutex_lock(&drv.mem_lock);
	hg_ivmap_remove(&drv.allocs, a->addr, NULL);
	if (a->kind == HG_REGION_HOST)
		host_unmap(a);
	pthread_mutex_unlock(&drv.mem_lock);
	alloc_release(a);
}

struct ctx_search {
	const struct drv_ctx *ctx;
	struct drv_alloc *found;
};

static int alloc_of_ctx(const struct hg_iv *iv, void *arg)
{
	struct drv_alloc *a = (struct drv_alloc *)(uintptr_t)iv->value;
	struct ctx_search *search = arg;

	if (a->ctx != search->ctx || a->kind == HG_REGION_GLOBAL)
		return 0;
	search->found = a;
	return 1;
}

void drv_mem_end_ctx(struct drv_ctx *ctx)
{
	struct ctx_search search = { .ctx = ctx };
	int found;

	do {
		pthread_mutex_lock(&drv.mem_lock);
		found = hg_ivmap_each(&drv.allocs, alloc_of_ctx, &search);
		pthread_mutex_unlock(&drv.mem_lock);
		if (found && search.found->kind == HG_REGION_DEVICE)
			drv_mem_free(search.found);
		else if (found)
			host_release(search.found);
	} while (found);
}

static int abandon_alloc(const struct hg_iv *iv, void *arg)
{
	struct drv_alloc *a = (struct drv_alloc *)(uintptr_t)iv->value;

	if (a->ctx == arg) {
		a->dying = true;
		a->ctx = NULL;		/* the reference stays, too */
	}
	return 0;
}

void drv_mem_abandon_ctx(struct drv_ctx *ctx)
{
	pthread_mutex_lock(&drv.mem_lock);
	hg_ivmap_each(&drv.allocs, abandon_alloc, ctx);
	pthread_mutex_unlock(&drv.mem_lock);
}

/* the calls */

CUresult drv_cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	pthread_mutex_lock(&drv.mem_lock);
	if (free_bytes)
		*free_bytes = drv.info.memory_bytes - drv.used_bytes;
	pthread_mutex_unlock(&drv.mem_lock);
	if (total)
		*total = drv.info.memory_bytes;
	return CUDA_SUCCESS;
}

CUresult drv_cuMemAlloc_v2(CUdeviceptr *out, size_t size)
{
	uint64_t wanted = drv_place_take_addr();
	struct drv_alloc *a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || !size)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_mem_alloc(ctx, size, ALIGNMENT, wanted, HG_REGION_DEVICE, &a);
	if (r)
		return r;
	*out = a->addr;
	return CUDA_SUCCESS;
}

CUresult drv_cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch, size_t width, size_t height, unsigned int element)
{
	size_t row, size;
	CUresult r;

	if (!out || !pitch || !width || !height || (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	row = (width + ALIGNMENT - 1) & -(size_t)ALIGNMENT;
	if (row < width || __builtin_mul_overflow(row, height, &size))
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_cuMemAlloc_v2(out, size);
	if (!r)
		*pitch = row;
	return r;
}

/* Waits first: a kernel under way may use it. */
static CUresult mem_free(uint64_t addr, enum drv_what what, CUresult none)
{
	struct drv_alloc *a;
	struct drv_ctx *ctx;
	enum hg_status st;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!addr && what == DRV_PLAIN)
		return CUDA_SUCCESS;
	a = alloc_claim(addr, HG_REGION_DEVICE, what);
	if (!a)
		return none;
	if (drv.exiting)
		return CUDA_SUCCESS;
	st = drv_ctx_sync(a->ctx);
	if (!st && a->ctx != ctx)
		st = drv_ctx_sync(ctx);
	if (st) {
		alloc_unclaim(a);
		return drv_result(st);
	}
	drv_mem_free(a);
	return drv_ctx_error(ctx);
}

CUresult drv_cuMemFree_v2(CUdeviceptr ptr)
{
	return mem_free(ptr, DRV_PLAIN, CUDA_ERROR_INVALID_VALUE);
}

CUresult drv_mem_free_what(uint64_t addr, enum drv_what what)
{
	return mem_free(addr, what, CUDA_ERROR_INVALID_HANDLE);
}

CUresult drv_mem_alloc_what(struct drv_ctx *ctx, enum drv_what what, uint64_t size, uint64_t wanted, struct drv_alloc **out)
{
	CUresult r = drv_mem_alloc(ctx, size, ALIGNMENT, wanted, HG_REGION_DEVICE, out);

	if (!r)
		(*out)->what = what;
	return r;
}

CUresult drv_cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr ptr)
{
	struct drv_alloc a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!drv_mem_find(ptr, &a))
		return CUDA_ERROR_NOT_FOUND;
	if (base)
		*base = a.addr;
	if (size)
		*size = a.size;
	return CUDA_SUCCESS;
}

CUresult drv_cuMemHostAlloc(void **out, size_t size, unsigned int flags)
{
	if (flags & ~(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED))
		return CUDA_ERROR_INVALID_VALUE;
	return host_alloc(size, flags, out);
}

CUresult drv_cuMemAllocHost_v2(void **out, size_t size)
{
	return host_alloc(size, 0, out);
}

static CUresult host_end(void *p, enum hg_region_kind kind, CUresult none)
{
	struct drv_alloc *a;
	struct drv_ctx *ctx;
	enum hg_status st;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	a = alloc_claim((uintptr_t)p, kind, DRV_PLAIN);
	if (!a)
		return none;
	if (drv.exiting)
		return CUDA_SUCCESS;
	st = drv_ctx_sync(a->ctx);
	if (!st && a->ctx != ctx)
		st = drv_ctx_sync(ctx);
	if (st) {
		alloc_unclaim(a);
		return drv_result(st);
	}
	host_release(a);
	return drv_ctx_error(ctx);
}

CUresult drv_cuMemFreeHost(void *p)
{
	return host_end(p, HG_REGION_HOST, CUDA_ERROR_INVALID_VALUE);
}

CUresult drv_cuMemHostUnregister(void *p)
{
	return host_end(p, HG_REGION_REGISTERED, p ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : CUDA_ERROR_INVALID_VALUE);
}

CUresult drv_cuMemHostRegister_v2(void *p, size_t size, unsigned int flags)
{
	const unsigned int known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
		CU_MEMHOSTREGISTER_READ_ONLY;
	uint64_t addr = (uintptr_t)p;
	struct drv_alloc *a;
	struct drv_ctx *ctx;
	enum hg_status st;
	struct hg_iv iv;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!p || !size || addr + size < addr || (flags & ~(known | CU_MEMHOSTREGISTER_IOMEMORY)))
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CU_MEMHOSTREGISTER_IOMEMORY)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!drv_host_ok(addr, size, !(flags & CU_MEMHOSTREGISTER_READ_ONLY)))
		return CUDA_ERROR_INVALID_VALUE;
	a = calloc(1, sizeof(*a));
	if (!a)
		return CUDA_ERROR_OUT_OF_MEMORY;
	a->addr = addr;
	a->size = size;
	a->room = size;
	a->kind = HG_REGION_REGISTERED;
	a->flags = flags;
	a->id = atomic_fetch_add(&drv.next_id, 1);
	pthread_mutex_lock(&drv.mem_lock);
	if (hg_ivmap_from(&drv.allocs, addr, &iv) && iv.start < addr + size) {
		r = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
		goto err_unlock;
	}
	st = drv.ops->host_register(drv.target, p, size);
	if (st) {
		r = drv_result(st);
		goto err_unlock;
	}
	st = hg_ivmap_put(&drv.allocs, addr, size, (uintptr_t)a);
	if (st) {
		r = drv_result(st);
		drv.ops->host_unregister(drv.target, p, size);
		goto err_unlock;
	}
	pthread_mutex_unlock(&drv.mem_lock);
	a->ctx = ctx;
	drv_obj_ref(&ctx->obj);
	return CUDA_SUCCESS;

err_unlock:
	pthread_mutex_unlock(&drv.mem_lock);
	free(a);
	return r;
}

/* Host memory at its own address, as far as it is the driver's or registered. */
static CUresult host_find(void *p, struct drv_alloc *out)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!drv_mem_find((uintptr_t)p, out) ||
	    (out->kind != HG_REGION_HOST && out->kind != HG_REGION_REGISTERED))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult drv_cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *p, unsigned int flags)
{
	struct drv_alloc a;
	CUresult r = host_find(p, &a);

	if (r)
		return r;
	if (!out || flags)
		return CUDA_ERROR_INVALID_VALUE;
	*out = (uintptr_t)p;
	return CUDA_SUCCESS;
}

CUresult drv_cuMemHostGetFlags(unsigned int *flags, void *p)
{
	struct drv_alloc a;
	CUresult r = host_find(p, &a);

	if (r)
		return r;
	if (!flags || a.kind != HG_REGION_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = a.flags | CU_MEMHOSTALLOC_DEVICEMAP;	/* as everything is, under unified addressing */
	return CUDA_SUCCESS;
}

/* allocation in stream order, and pools: a pool counts, the memory is as all other */

static CUresult pool_alloc(CUdeviceptr *out, size_t size, struct drv_pool *pool, CUstream stream)
{
	uint64_t wanted = drv_place_take_addr();
	unsigned long long used, high;
	struct drv_alloc *a;
	struct drv_stream *s;
	CUresult r;

	if (!out || !size)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_stream_get(stream, &s);
	if (r)
		return r;
	r = drv_mem_alloc(s->obj.ctx, size, ALIGNMENT, wanted, HG_REGION_DEVICE, &a);
	drv_obj_put(&s->obj);
	if (r)
		return r;
	drv_obj_ref(&pool->obj);
	a->pool = pool;
	used = atomic_fetch_add(&pool->used, size) + size;
	high = atomic_load(&pool->used_high);
	while (used > high && !atomic_compare_exchange_weak(&pool->used_high, &high, used))
		;
	*out = a->addr;
	return CUDA_SUCCESS;
}

CUresult drv_cuMemAllocFromPoolAsync(CUdeviceptr *out, size_t size, CUmemoryPool handle, CUstream stream)
{
	struct drv_pool *pool;
	CUresult r = drv_ready();

	if (r)
		return r;
	pool = drv_obj_get(handle, DRV_POOL);
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	r = pool_alloc(out, size, pool, stream);
	drv_obj_put(&pool->obj);
	return r;
}

CUresult drv_cuMemAllocAsync(CUdeviceptr *out, size_t size, CUstream stream)
{
	struct drv_stream *s;
	CUdevice device;
	CUresult r = drv_stream_get(stream, &s);

	if (r)
		return r;
	device = s->obj.ctx->device;
	drv_obj_put(&s->obj);
	return drv_cuMemAllocFromPoolAsync(out, size, drv_handle(&drv.pool[device]->obj), stream);
}

static void free_in_order(void *arg)
{
	drv_mem_free(arg);
}

CUresult drv_cuMemFreeAsync(CUdeviceptr ptr, CUstream stream)
{
	struct drv_alloc *a;
	struct drv_stream *s;
	CUresult r = drv_stream_begin(stream, &s);

	if (r)
		return r;
	if (!ptr) {
		drv_stream_end(s, DRV_LOOK);
		return CUDA_SUCCESS;
	}
	a = alloc_claim(ptr, HG_REGION_DEVICE, DRV_PLAIN);
	if (!a) {
		drv_stream_end(s, DRV_LOOK);
		return CUDA_ERROR_INVALID_VALUE;
	}
	r = drv_result(drv.ops->host_func(s->queue, free_in_order, a));
	if (r)
		alloc_unclaim(a);
	drv_stream_end(s, DRV_WORK);
	return r;
}

static CUresult device_check(CUdevice dev)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	return dev >= 0 && dev < drv.nr_devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult drv_cuDeviceGetDefaultMemPool(CUmemoryPool *out, CUdevice dev)
{
	CUresult r = device_check(dev);

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = drv_handle(&drv.default_pool[dev]->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetMemPool(CUmemoryPool *out, CUdevice dev)
{
	CUresult r = device_check(dev);

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = drv_handle(&drv.pool[dev]->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceSetMemPool(CUdevice dev, CUmemoryPool handle)
{
	struct drv_pool *pool;
	CUresult r = device_check(dev);

	if (r)
		return r;
	pool = drv_obj_get(handle, DRV_POOL);
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	if (pool->device == dev)
		drv.pool[dev] = pool;
	else
		r = CUDA_ERROR_INVALID_VALUE;
	drv_obj_put(&pool->obj);
	return r;
}

static void pool_free(struct drv_obj *obj)
{
	free(obj);
}

CUresult drv_cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *props)
{
	struct drv_pool *pool;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!out || !props || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	if (props->location.type != CU_MEM_LOCATION_TYPE_DEVICE || props->handleTypes != CU_MEM_HANDLE_TYPE_NONE)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (props->location.id < 0 || props->location.id >= drv.nr_devices)
		return CUDA_ERROR_INVALID_VALUE;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	drv_obj_init(&pool->obj, DRV_POOL, NULL, pool_free);
	pool->device = props->location.id;
	for (int i = 0; i < 3; i++)
		pool->reuse[i] = 1;
	r = drv_obj_publish(&pool->obj);
	if (r) {
		drv_obj_put(&pool->obj);
		return r;
	}
	*out = drv_handle(&pool->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuMemPoolDestroy(CUmemoryPool handle)
{
	struct drv_pool *pool;
	CUresult r = drv_ready();

	if (r)
		return r;
	pool = drv_obj_get(handle, DRV_POOL);
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	drv_obj_put(&pool->obj);
	if (pool->is_default)
		return CUDA_ERROR_INVALID_VALUE;
	pool = drv_obj_retire(handle, DRV_POOL);
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	if (drv.pool[pool->device] == pool)
		drv.pool[pool->device] = drv.default_pool[pool->device];
	drv_obj_put(&pool->obj);
	return CUDA_SUCCESS;
}

/* With a reference. */
static CUresult pool_get(CUmemoryPool handle, struct drv_pool **out)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	*out = drv_obj_get(handle, DRV_POOL);
	return *out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult drv_cuMemPoolTrimTo(CUmemoryPool handle, size_t keep)
{
	struct drv_pool *pool;
	CUresult r = pool_get(handle, &pool);

	(void)keep;	/* a pool holds nothing back */
	if (!r)
		drv_obj_put(&pool->obj);
	return r;
}

CUresult drv_cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attr, void *value)
{
	struct drv_pool *pool;
	CUresult r = pool_get(handle, &pool);

	if (r)
		return r;
	if (!value) {
		drv_obj_put(&pool->obj);
		return CUDA_ERROR_INVALID_VALUE;
	}
	switch (attr) {
	case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
		pool->reuse[attr - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES] = *(int *)value;
		break;
	case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
		pool->release_threshold = *(cuuint64_t *)value;
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		if (*(cuuint64_t *)value)
			r = CUDA_ERROR_INVALID_VALUE;	/* only a reset to 0 is allowed */
		else
			atomic_store(&pool->used_high, atomic_load(&pool->used));
		break;
	default:
		r = CUDA_ERROR_INVALID_VALUE;
	}
	drv_obj_put(&pool->obj);
	return r;
}

CUresult drv_cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attr, void *value)
{
	struct drv_pool *pool;
	CUresult r = pool_get(handle, &pool);

	if (r)
		return r;
	if (!value) {
		drv_obj_put(&pool->obj);
		return CUDA_ERROR_INVALID_VALUE;
	}
	switch (attr) {
	case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
		*(int *)value = pool->reuse[attr - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES];
		break;
	case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
		*(cuuint64_t *)value = pool->release_threshold;
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
	case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
		*(cuuint64_t *)value = atomic_load(&pool->used);
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		*(cuuint64_t *)value = atomic_load(&pool->used_high);
		break;
	default:
		r = CUDA_ERROR_INVALID_VALUE;
	}
	drv_obj_put(&pool->obj);
	return r;
}

/* A device always reaches its own pools, and no other's. */
CUresult drv_cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc *map, size_t count)
{
	struct drv_pool *pool;
	CUresult r = pool_get(handle, &pool);

	if (r)
		return r;
	if (!map && count)
		r = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count && !r; i++) {
		bool own = map[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE && map[i].location.id == pool->device;

		if (own && map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
			r = CUDA_ERROR_INVALID_VALUE;
		else if (!own && map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
			r = CUDA_ERROR_INVALID_DEVICE;
	}
	drv_obj_put(&pool->obj);
	return r;
}

CUresult drv_cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool handle, CUmemLocation *location)
{
	struct drv_pool *pool;
	CUresult r = pool_get(handle, &pool);

	if (r)
		return r;
	if (!flags || !location)
		r = CUDA_ERROR_INVALID_VALUE;
	else if (location->type == CU_MEM_LOCATION_TYPE_DEVICE && location->id == pool->device)
		*flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	else
		*flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
	drv_obj_put(&pool->obj);
	return r;
}

/* what a pointer points at */

/* False: the attribute is none that a pointer has. */
static bool pointer_attribute(void *data, CUpointer_attribute attribute, const struct drv_alloc *a, uint64_t ptr)
{
	bool on_host = a->kind == HG_REGION_HOST || a->kind == HG_REGION_REGISTERED;

	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = a->ctx ? drv_handle(&a->ctx->obj) : NULL;
		return true;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(CUmemorytype *)data = on_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)data = ptr;
		return true;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*(void **)data = on_host ? (void *)ptr : NULL;
		return true;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
		*(unsigned int *)data = a->sync_memops;
		return true;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*(unsigned long long *)data = a->id;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
		*(unsigned int *)data = 0;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = a->ctx ? a->ctx->device : 0;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)data = a->addr;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)data = a->size;
		return true;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(unsigned int *)data = 1;
		return true;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)data = CU_MEM_HANDLE_TYPE_NONE;
		return true;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(int *)data = CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE;
		return true;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(CUmemoryPool *)data = a->pool ? drv_handle(&a->pool->obj) : NULL;
		return true;
	default:
		return false;
	}
}

CUresult drv_cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	struct drv_alloc a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!data || !drv_mem_find(ptr, &a))
		return CUDA_ERROR_INVALID_VALUE;
	if (attribute == CU_POINTER_ATTRIBUTE_P2P_TOKENS)
		return CUDA_ERROR_NOT_SUPPORTED;
	return pointer_attribute(data, attribute, &a, ptr) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* What an attribute is of a pointer that CUDA does not know. */
static bool pointer_default(void *data, CUpointer_attribute attribute)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*(uint64_t *)data = 0;
		return true;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_MAPPED:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
	case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
		*(unsigned int *)data = 0;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = -2;	/* invalid, as NVIDIA's driver says it */
		return true;
	default:
		return false;
	}
}

CUresult drv_cuPointerGetAttributes(unsigned int nr, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr)
{
	struct drv_alloc a;
	struct drv_ctx *ctx;
	bool known;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!nr || !attributes || !data)
		return CUDA_ERROR_INVALID_VALUE;
	known = drv_mem_find(ptr, &a);
	for (unsigned int i = 0; i < nr; i++) {
		if (!data[i])
			return CUDA_ERROR_INVALID_VALUE;
		if (!(known ? pointer_attribute(data[i], attributes[i], &a, ptr) :
		      pointer_default(data[i], attributes[i])))
			return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

CUresult drv_cuPointerSetAttribute(const void *value, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	struct drv_ctx *ctx;
	struct hg_iv iv;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS)
		return CUDA_ERROR_INVALID_VALUE;
	r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&drv.mem_lock);
	if (hg_ivmap_find(&drv.allocs, ptr, &iv)) {
		((struct drv_alloc *)(uintptr_t)iv.value)->sync_memops = *(const unsigned int *)value != 0;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&drv.mem_lock);
	return r;
}

/* snapshots */

struct region_list {
	struct hg_region *region;
	size_t nr, capacity;
};

static int region_collect(const struct hg_iv *iv, void *arg)
{
	const struct drv_alloc *a = (const struct drv_alloc *)(uintptr_t)iv->value;
	struct region_list *list = arg;
	struct hg_region *r;

	if (a->dying)
		return 0;
	if (list->nr == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 256;
		struct hg_region *grown = realloc(list->region, capacity * sizeof(*grown));

		if (!grown)
			return -1;
		list->region = grown;
		list->capacity = capacity;
	}
	r = &list->region[list->nr];
	*r = (struct hg_region){
		.addr = a->addr,
		.size = a->size,
		.object = a->kind != HG_REGION_GLOBAL ? a->addr : a->owner ? a->owner->obj.name : 0,
		.kind = a->kind,
	};
	if (a->name) {
		r->name = strdup(a->name);
		if (!r->name)
			return -1;
	}
	list->nr++;
	return 0;
}

/* The callback runs without a lock: it may take its time, and call the driver. */
enum hg_status hg_driver_regions(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg)
{
	struct region_list list = { 0 };
	enum hg_status st = HG_OK;

	pthread_mutex_lock(&drv.mem_lock);
	if (hg_ivmap_each(&drv.allocs, region_collect, &list))
		st = HG_ERR_NOMEM;
	pthread_mutex_unlock(&drv.mem_lock);
	for (size_t i = 0; i < list.nr; i++) {
		if (!st)
			st = each(&list.region[i], arg);
		free((char *)list.region[i].name);
	}
	free(list.region);
	return st;
}
