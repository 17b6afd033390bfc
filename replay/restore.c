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

/* The image that an object was made of, to be freed; NULL: none, or no memory. In the log it need not be aligned, nor have the NUL that ends a text. */
static void *image_of(struct hg_log *log, const struct hg_object *o, size_t *size)
{
	const void *image;
	void *copy;

	if (o->created.nr_args < 2 || o->created.arg[1].kind != HG_KIND_IMAGE || !o->created.blob[1] ||
	    hg_log_image(log, o->created.blob[1], &image, size))
		return NULL;
	copy = calloc(1, *size + 16);
	if (copy)
		memcpy(copy, image, *size);
	return copy;
}

static void warm_code(struct warming *w, const struct hg_object *o)
{
	CUmodule module;
	size_t size;
	void *copy = image_of(w->log, o, &size);

	if (!copy)
		return;
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

/* the same beside a portable driver that is in use: there is one in a process, but a target can be opened by itself */

struct beside_code {
	struct hg_module *module;
	struct hg_target_module *loaded;
	hg_dptr *vars;			/* nowhere: nothing is run */
};

struct beside {
	struct hg_log *log;
	const struct hg_target_ops *ops;
	struct hg_target *target;
	uint32_t sm;
	struct hg_idmap code;		/* object id -> struct beside_code * */
	bool (*step)(void *arg);
	void *arg;
};

static int beside_free(uint64_t id, uint64_t value, void *arg)
{
	struct beside_code *c = (struct beside_code *)(uintptr_t)value;
	struct beside *b = arg;

	(void)id;
	if (c->loaded)
		b->ops->module_unload(c->loaded);
	hg_module_free(c->module);
	free(c->vars);
	free(c);
	return 0;
}

static void beside_load(struct beside *b, const struct hg_object *o)
{
	struct beside_code *c = calloc(1, sizeof(*c));
	enum hg_status st;
	size_t size;
	void *image;

	if (!c)
		return;
	image = image_of(b->log, o, &size);
	st = image ? hg_module_load(image, size, b->sm, NULL, 0, &c->module) : HG_ERR_NOTFOUND;
	free(image);
	if (st)
		goto err_free;
	c->vars = calloc(hg_module_nr_vars(c->module) + 1, sizeof(*c->vars));
	if (!c->vars || b->ops->module_load(b->target, c->module, c->vars, &c->loaded) || hg_idmap_put(&b->code, o->id, (uintptr_t)c))
		goto err_free;
	return;

err_free:
	beside_free(0, (uintptr_t)c, b);
}

static enum hg_status beside_object(const struct hg_object *o, void *arg)
{
	struct hg_target_kernel *kernel;
	struct beside *b = arg;
	struct beside_code *c;
	uint64_t value;
	int index;

	if (o->kind != HG_KIND_MODULE && o->kind != HG_KIND_LIBRARY && o->kind != HG_KIND_FUNCTION)
		return HG_OK;
	if (!b->step(b->arg))
		return HG_ERR_REFUSED;
	if (o->kind != HG_KIND_FUNCTION) {
		beside_load(b, o);
		return HG_OK;
	}
	if (!o->name || !hg_idmap_get(&b->code, o->parent, &value))
		return HG_OK;
	c = (struct beside_code *)(uintptr_t)value;
	index = hg_module_find_kernel(c->module, o->name);
	if (index >= 0 && !hg_module_kernel(c->module, (size_t)index)->refused && b->ops->kernel_get(c->loaded, (size_t)index, &kernel))
		pr_debug("a kernel is not compiled ahead");
	return HG_OK;
}

static void warm_beside(const struct hg_restore_options *opt, const struct hg_target_ops *ops, bool (*step)(void *arg), void *arg)
{
	struct beside b = { .log = opt->log, .ops = ops, .sm = drv.cc_major * 10 + drv.cc_minor, .code = HG_IDMAP_INIT, .step = step, .arg = arg };

	if (ops->open(&b.target))
		return;
	if (hg_log_objects(opt->log, 0, beside_object, &b))
		pr_debug("not all kernels are compiled ahead");
	hg_idmap_each(&b.code, beside_free, &b);
	hg_idmap_release(&b.code);
	ops->close(b.target);
}

void hg_restore_warm(const struct hg_restore_options *opt, bool (*step)(void *arg), void *arg)
{
	const struct hg_target_ops *target = hg_target_by_name(opt->target);
	struct warming w = { .log = opt->log, .code = HG_IDMAP_INIT, .step = step, .arg = arg };
	CUcontext ctx;

	if (target && drv.target && target != drv.ops)
		warm_beside(opt, target, step, arg);
	if (!target || drv.target || hg_driver_open_devices(target, opt->nr_devices))
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
