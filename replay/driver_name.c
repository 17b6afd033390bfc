/* driver_name.c - what objects are called: names that came from outside, and none that is taken. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "replay/driver_priv.h"

/* CU_STREAM_LEGACY and CU_STREAM_PER_THREAD are no names of objects. */
#define LAST_OF_CUDA 2

/* Addresses where nothing will ever lie, for objects whose own address is somebody's name. */
#define SPARE_BYTES (UINT64_C(64) << 20)
#define SPARE_STEP 64u

static uint64_t spare_base, spare_next;		/* under drv.lock */

static bool is_taken(uint64_t name)
{
	uint64_t value;

	return hg_idmap_get(&drv.given, name, &value) || hg_idmap_get(&drv.promised, name, &value);
}

static uint64_t spare_name(enum drv_kind kind)
{
	uint64_t value;
	void *p;

	if (!spare_base) {
		p = mmap(NULL, SPARE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return 0;
		spare_base = (uintptr_t)p;
	}
	for (uint64_t tries = 0; tries < SPARE_BYTES; tries += SPARE_STEP) {
		uint64_t name = spare_base + spare_next;

		spare_next = (spare_next + SPARE_STEP) % SPARE_BYTES;
		if (!is_taken(name) && !hg_idmap_get(&drv.handles, drv_key(name, kind), &value))
			return name;
	}
	return 0;
}

/* An address is no other object's, but it may be what the application calls something that came from another driver. */
uint64_t drv_name_new(const struct drv_obj *obj)
{
	return is_taken((uintptr_t)obj) ? spare_name(obj->kind) : (uintptr_t)obj;
}

void drv_name_gone(uint64_t name)
{
	uint64_t nr;

	if (!hg_idmap_get(&drv.given, name, &nr))
		return;
	/* replacing a value that is there takes no memory */
	if (nr < 2 || hg_idmap_put(&drv.given, name, nr - 1))
		hg_idmap_remove(&drv.given, name, NULL);
}

static enum hg_status name_given(uint64_t name)
{
	uint64_t nr = 0;

	(void)hg_idmap_get(&drv.given, name, &nr);
	return hg_idmap_put(&drv.given, name, nr + 1);
}

/* In place of the object's own name, of which nothing is left. */
static void replace_name(struct drv_obj *obj, uint64_t name)
{
	if (obj->name != name)
		hg_idmap_remove(&drv.handles, drv_key(obj->name, obj->kind), NULL);
	obj->name = name;
	obj->is_named = true;
}

static enum hg_status add_alias(struct drv_obj *obj, uint64_t name)
{
	uint64_t *grown = realloc(obj->alias, (obj->nr_aliases + 1) * sizeof(*grown));

	if (!grown)
		return HG_ERR_NOMEM;
	grown[obj->nr_aliases++] = name;
	obj->alias = grown;
	return HG_OK;
}

/* The CUfunction of a library's kernel is called otherwise than the CUkernel, but is the same object. */
static bool is_function_of_library(const struct drv_obj *obj, enum hg_handle kind)
{
	return kind == HG_HANDLE_FUNCTION && ((const struct drv_function *)obj)->module->obj.kind == DRV_LIBRARY;
}

static enum hg_status name_locked(struct drv_obj *obj, enum hg_handle kind, uint64_t name)
{
	uint64_t key = drv_key(name, obj->kind), value;
	bool beside = obj->is_named || is_function_of_library(obj, kind);
	enum hg_status st = HG_OK;

	if (hg_idmap_get(&drv.handles, key, &value)) {
		if (value != (uintptr_t)obj)
			return HG_ERR_INVALID;
		if (beside || obj->name != name)	/* it is called so already */
			goto named;
		st = name_given(name);
		if (!st)
			replace_name(obj, name);
		return st;
	}
	st = name_given(name);
	if (st)
		return st;
	st = hg_idmap_put(&drv.handles, key, (uintptr_t)obj);
	if (st)
		goto err_given;
	if (!beside) {
		replace_name(obj, name);
		return HG_OK;
	}
	st = add_alias(obj, name);
	if (st)
		goto err_key;
named:
	if (is_function_of_library(obj, kind) && !((struct drv_function *)obj)->as_function)
		((struct drv_function *)obj)->as_function = name;
	return HG_OK;

err_key:
	hg_idmap_remove(&drv.handles, key, NULL);
err_given:
	drv_name_gone(name);
	return st;
}

enum hg_status hg_driver_name(enum hg_handle kind, const void *handle, uint64_t name)
{
	static const enum drv_kind registered[] = {
		[HG_HANDLE_CTX] = DRV_CTX, [HG_HANDLE_STREAM] = DRV_STREAM, [HG_HANDLE_EVENT] = DRV_EVENT,
		[HG_HANDLE_MODULE] = DRV_MODULE, [HG_HANDLE_LIBRARY] = DRV_LIBRARY,
		[HG_HANDLE_FUNCTION] = DRV_FUNCTION, [HG_HANDLE_KERNEL] = DRV_FUNCTION, [HG_HANDLE_POOL] = DRV_POOL,
	};
	struct drv_obj *obj;
	enum hg_status st;

	if (name <= LAST_OF_CUDA)
		return HG_ERR_INVALID;
	obj = drv_obj_get(handle, registered[kind]);
	if (!obj)
		return HG_ERR_INVALID;
	pthread_rwlock_wrlock(&drv.lock);
	st = name_locked(obj, kind, name);
	pthread_rwlock_unlock(&drv.lock);
	drv_obj_put(obj);
	return st;
}

enum hg_status hg_driver_name_promise(uint64_t name)
{
	return name <= LAST_OF_CUDA ? HG_OK : hg_idmap_put(&drv.promised, name, 1);
}

void hg_driver_name_kept(void)
{
	hg_idmap_release(&drv.promised);
}
