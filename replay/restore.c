/* restore.c - rebuilds a snapshot inside the process that it was taken of. */
#define _GNU_SOURCE
#include "replay/restore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "common/msg.h"
#include "replay/driver_priv.h"
#include "replay/replay_priv.h"

/* Beside the program's memory, for what is compiled and kept in tables. */
#define SPARE_BYTES (UINT64_C(64) << 20)

struct hg_restore {
	struct hg_replay *replay;
	struct hg_ivmap plan;		/* what is going to lie where: address -> object id */
	uint64_t device_bytes;
};

/* what will be needed */

static enum hg_status plan_range(struct hg_restore *r, uint64_t addr, uint64_t size, uint64_t object)
{
	enum hg_status st = hg_ivmap_put(&r->plan, addr, size ? size : 1, object);
	struct hg_iv other;

	if (st != HG_ERR_INVALID)
		return st;
	if (addr && addr + size >= addr && hg_ivmap_from(&r->plan, addr, &other))
		pr_err("objects %" PRIu64 " and %" PRIu64 " of the program overlap at address 0x%" PRIx64, other.value, object,
		       addr);
	else
		pr_err("object %" PRIu64 " lies at address 0x%" PRIx64 ", where nothing can lie", object, addr);
	return HG_ERR_REFUSED;
}

/* Host memory stays as it is, and the portable driver must be able to take it over. */
static enum hg_status check_host(const struct hg_object *o)
{
	const struct hg_rec_view *v = &o->created;
	unsigned int flags = 0, known = 0;
	bool write = true;

	if (v->rec->call == HG_ID_cuMemHostAlloc) {
		flags = (unsigned int)v->rec->word[2];
		known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
	} else if (v->rec->call == HG_ID_cuMemHostRegister_v2) {
		flags = (unsigned int)v->rec->word[2];
		known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
		write = !(flags & CU_MEMHOSTREGISTER_READ_ONLY);
	}
	if (flags & ~known) {
		pr_err("host memory at 0x%" PRIx64 ", object %" PRIu64 ", has flags 0x%x that the portable driver does not have",
		       o->handle, o->id, flags);
		return HG_ERR_REFUSED;
	}
	if (!drv_host_ok(o->handle, o->size, write)) {
		pr_err("%" PRIu64 " bytes of host memory at 0x%" PRIx64 ", object %" PRIu64 ", are not there any more", o->size,
		       o->handle, o->id);
		return HG_ERR_REFUSED;
	}
	return HG_OK;
}

static enum hg_status plan_object(const struct hg_object *o, void *arg)
{
	struct hg_restore *r = arg;
	enum hg_status st;

	if (!rp_is_memory(o))
		return hg_driver_name_promise(o->handle);
	if (o->kind == HG_KIND_DPTR) {
		r->device_bytes += o->size;
	} else {
		st = check_host(o);
		if (st)
			return st;
	}
	return plan_range(r, o->handle, o->size, o->id);
}

/* With the modules loaded: their variables. */
static enum hg_status plan_vars(const struct hg_object *o, void *arg)
{
	const void *handle = (const void *)(uintptr_t)o->handle;
	struct hg_restore *r = arg;
	enum hg_status st = HG_OK;
	struct hg_place *place;
	size_t nr;

	/* a library's module names the library's variables, which are counted once */
	if (!o->created.desc || o->created.desc->op != HG_OP_MODULE || o->created.nr_args < 2 ||
	    o->created.arg[1].kind != HG_KIND_IMAGE)
		return HG_OK;
	nr = hg_driver_module_vars(handle, NULL, 0);
	place = calloc(nr + 1, sizeof(*place));
	if (!place)
		return HG_ERR_NOMEM;
	nr = hg_driver_module_vars(handle, place, nr);
	for (size_t i = 0; i < nr && !st; i++) {
		st = plan_range(r, place[i].addr, place[i].size, o->id);
		r->device_bytes += place[i].size;
	}
	free(place);
	return st;
}

/* Whatever the snapshot has bytes of must be going to be there. */
static enum hg_status check_regions(const struct hg_restore *r)
{
	const struct hg_snapshot *s = r->replay->snapshot;

	for (size_t i = 0; i < s->nr_regions; i++) {
		const struct hg_region *region = &s->regions[i];
		struct hg_iv iv;

		if (region->kind != HG_REGION_DEVICE && region->kind != HG_REGION_GLOBAL)
			continue;
		if (hg_ivmap_find(&r->plan, region->addr, &iv) &&
		    region->size <= iv.size - (region->addr - iv.start))
			continue;
		pr_err("the snapshot has %" PRIu64 " bytes at 0x%" PRIx64 "%s%s, for which target '%s' will have no place",
		       region->size, region->addr, region->name ? " of variable " : "", region->name ? region->name : "",
		       r->replay->opt.target->name);
		return HG_ERR_REFUSED;
	}
	return HG_OK;
}

/* Before and after what is compiled, which must not run out of memory either: LLVM would end the process. */
static enum hg_status check_room(const struct hg_restore *r, bool holds_memory)
{
	uint64_t available = hg_memory_available(), needed = holds_memory ? r->device_bytes : 0;

	if (available < SPARE_BYTES || needed > available - SPARE_BYTES) {
		pr_err("the program's device memory, %" PRIu64 " MiB, does not fit with %" PRIu64 " MiB beside it: %" PRIu64
		       " MiB are left to this process",
		       r->device_bytes >> 20, SPARE_BYTES >> 20, available >> 20);
		return HG_ERR_REFUSED;
	}
	return HG_OK;
}

static enum hg_status check_memory(const struct hg_restore *r)
{
	enum hg_status st = check_room(r, drv.info.host_access);

	if (st)
		return st;
	if (r->device_bytes > drv.info.memory_bytes) {
		pr_err("the program's device memory, %" PRIu64 " MiB, does not fit: target '%s' has %" PRIu64 " MiB",
		       r->device_bytes >> 20, r->replay->opt.target->name, drv.info.memory_bytes >> 20);
		return HG_ERR_REFUSED;
	}
	return HG_OK;
}

/* names that the application knows before it has seen a call give them */

static enum hg_status promise_all(const struct hg_restore_options *opt)
{
	enum hg_status st = HG_OK;

	for (uint64_t i = 0; i < opt->nr_primaries && !st; i++)
		st = hg_driver_name_promise(opt->primary[i]);
	for (uint64_t i = 0; i < opt->nr_pools && !st; i++)
		st = hg_driver_name_promise(opt->pool[i]);
	return st;
}

static enum hg_status name_one(enum hg_handle kind, const void *handle, uint64_t name, const char *what, uint64_t device)
{
	enum hg_status st = name ? hg_driver_name(kind, handle, name) : HG_OK;

	if (st == HG_ERR_INVALID) {
		pr_err("the handle 0x%" PRIx64 " of device %" PRIu64 "'s %s cannot be kept", name, device, what);
		st = HG_ERR_REFUSED;
	}
	return st;
}

static enum hg_status name_all(const struct hg_restore_options *opt)
{
	enum hg_status st = HG_OK;

	for (uint64_t i = 0; i < opt->nr_primaries && i < (uint64_t)drv.nr_devices && !st; i++)
		st = name_one(HG_HANDLE_CTX, hg_driver_primary_ctx((int)i), opt->primary[i], "primary context", i);
	for (uint64_t i = 0; i < opt->nr_pools && i < (uint64_t)drv.nr_devices && !st; i++)
		st = name_one(HG_HANDLE_POOL, drv_handle(&drv.default_pool[i]->obj), opt->pool[i], "memory pool", i);
	return st;
}

/* compiling ahead */

struct warming {
	struct hg_log *log;
	struct hg_idmap code;		/* object id -> CUmodule: of a library, too, it makes no difference here */
	bool (*step)(void *arg);
	void *arg;
};

static void warm_code(struct warming *w, const struct hg_object *o)
{
	CUmodule module;
	const void *image;
	void *copy;
	size_t size;

	if (o->created.nr_args < 2 || o->created.arg[1].kind != HG_KIND_IMAGE || !o->created.blob[1] ||
	    hg_log_image(w->log, o->created.blob[1], &image, &size))
		return;
	/* an image in the log need not be aligned, nor have the NUL that ends a text */
	copy = calloc(1, size + 16);
	if (!copy)
		return;
	memcpy(copy, image, size);
	if (!CU(cuModuleLoadData)(&module, copy) && hg_idmap_put(&w->code, o->id, (uintptr_t)module))
		pr_debug("a module is not compiled ahead");
	free(copy);
}

static enum hg_status warm_object(const struct hg_object *o, void *arg)
{
	struct warming *w = arg;
	CUfunction function;
	uint64_t module;

	if (o->kind != HG_KIND_MODULE && o->kind != HG_KIND_LIBRARY && o->kind != HG_KIND_FUNCTION)
		return HG_OK;
	if (!w->step(w->arg))
		return HG_ERR_REFUSED;
	if (o->kind != HG_KIND_FUNCTION)
		warm_code(w, o);
	else if (o->name && hg_idmap_get(&w->code, o->parent, &module) &&
		 !CU(cuModuleGetFunction)(&function, (CUmodule)(uintptr_t)module, o->name) && CU(cuFuncLoad)(function))
		pr_debug("a kernel is not compiled ahead");
	return HG_OK;
}

void hg_restore_warm(const struct hg_restore_options *opt, bool (*step)(void *arg), void *arg)
{
	const struct hg_target_ops *target = hg_target_by_name(opt->target);
	struct warming w = { .log = opt->log, .code = HG_IDMAP_INIT, .step = step, .arg = arg };
	CUcontext ctx;

	if (!target || hg_driver_open_devices(target, opt->nr_devices))
		return;
	hg_driver_vars_later(true);
	if (!CU(cuInit)(0) && !CU(cuDevicePrimaryCtxRetain)(&ctx, 0) && !CU(cuCtxSetCurrent)(ctx) &&
	    hg_log_objects(opt->log, 0, warm_object, &w))
		pr_debug("not all kernels are compiled ahead");
	hg_driver_vars_later(false);
	hg_driver_close();
	hg_idmap_release(&w.code);
}

/* the three steps */

static enum hg_status open_driver(struct hg_restore *r, const struct hg_restore_options *opt)
{
	enum hg_status st = hg_driver_open_devices(r->replay->opt.target, opt->nr_devices);

	if (st)
		return st;
	r->replay->driver_open = true;
	if (CU(cuInit)(0)) {
		pr_err("target '%s' has no device", r->replay->opt.target->name);
		return HG_ERR_UNAVAILABLE;
	}
	return name_all(opt);
}

enum hg_status hg_restore_open(const struct hg_restore_options *opt, struct hg_restore **out)
{
	const struct hg_replay_options how = { .target = hg_target_by_name(opt->target) };
	struct hg_restore *r;
	enum hg_status st;

	if (!how.target) {
		pr_err("target '%s' is not available in this version", opt->target);
		return HG_ERR_UNAVAILABLE;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return HG_ERR_NOMEM;
	r->replay = rp_new(opt->log, &how);
	st = HG_ERR_NOMEM;
	if (!r->replay)
		goto err_close;
	r->replay->in_place = true;
	st = hg_driver_step_aside();
	if (!st)
		st = hg_log_snapshot(opt->log, opt->snapshot, &r->replay->snapshot);
	if (!st)
		st = promise_all(opt);
	if (!st)
		st = hg_log_objects(opt->log, r->replay->snapshot->seq, plan_object, r);
	if (!st)
		st = check_room(r, false);
	if (!st)
		st = open_driver(r, opt);
	if (!st)
		st = rp_rebuild_objects(r->replay);
	if (!st)
		st = hg_log_objects(opt->log, r->replay->snapshot->seq, plan_vars, r);
	if (!st)
		st = check_regions(r);
	if (!st)
		st = check_memory(r);
	if (st)
		goto err_close;
	hg_driver_act_as(0);
	*out = r;
	return HG_OK;

err_close:
	hg_restore_close(r);
	return st;
}

void hg_restore_leave(struct hg_restore *r)
{
	(void)r;
	hg_driver_leave();
}

enum hg_status hg_restore_run(struct hg_restore *r, const struct hg_held *held, size_t nr_held)
{
	enum hg_status st = hg_driver_reserved(held, nr_held);

	if (!st)
		st = rp_rebuild_memory(r->replay);
	if (!st)
		st = rp_upload(r->replay);
	if (!st)
		st = hg_driver_reserved(NULL, 0);
	/* the driver is the process's own now; threads come as they are, not as they were recorded */
	hg_driver_act_end();
	hg_driver_name_kept();
	r->replay->driver_open = false;
	return st;
}

void hg_restore_close(struct hg_restore *r)
{
	if (!r)
		return;
	if (r->replay && r->replay->driver_open)
		hg_driver_act_end();
	hg_replay_close(r->replay);	/* closes the driver unless it has run */
	hg_driver_name_kept();
	hg_driver_step_back();
	hg_ivmap_release(&r->plan);
	free(r);
}
