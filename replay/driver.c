/* driver.c - the portable driver as a whole: opening it, handles, threads, the table of calls. */
#define _GNU_SOURCE
#include "replay/driver_priv.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/msg.h"

#define DRV_NEW {                                                                                  \
	.lock = PTHREAD_RWLOCK_INITIALIZER,                                                        \
	.handles = HG_IDMAP_INIT,                                                                  \
	.given = HG_IDMAP_INIT,                                                                    \
	.promised = HG_IDMAP_INIT,                                                                 \
	.mem_lock = PTHREAD_MUTEX_INITIALIZER,                                                     \
	.service_lock = PTHREAD_MUTEX_INITIALIZER,                                                 \
}

struct drv drv = DRV_NEW;
/* A driver that another one is opened beside; only one of the two can be called. */
static struct drv aside;

/* handles */

void drv_obj_init(struct drv_obj *obj, enum drv_kind kind, struct drv_ctx *ctx, void (*free)(struct drv_obj *))
{
	obj->kind = kind;
	obj->refs = 1;
	obj->ctx = ctx;
	obj->free = free;
	if (ctx)
		drv_obj_ref(&ctx->obj);
}

void drv_obj_ref(struct drv_obj *obj)
{
	atomic_fetch_add_explicit(&obj->refs, 1, memory_order_relaxed);
}

void drv_obj_put(struct drv_obj *obj)
{
	struct drv_ctx *ctx;

	if (!obj || atomic_fetch_sub_explicit(&obj->refs, 1, memory_order_acq_rel) != 1)
		return;
	ctx = obj->ctx;
	free(obj->alias);
	obj->free(obj);
	if (ctx)
		drv_obj_put(&ctx->obj);
}

CUresult drv_obj_publish(struct drv_obj *obj)
{
	enum hg_status st = HG_ERR_NOMEM;

	pthread_rwlock_wrlock(&drv.lock);
	obj->name = drv_name_new(obj);
	if (obj->name)
		st = hg_idmap_put(&drv.handles, drv_key(obj->name, obj->kind), (uintptr_t)obj);
	if (!st && obj->ctx) {
		obj->next = obj->ctx->objects;
		obj->prev = &obj->ctx->objects;
		if (obj->next)
			obj->next->prev = &obj->next;
		obj->ctx->objects = obj;
	}
	pthread_rwlock_unlock(&drv.lock);
	return drv_result(st);
}

void *drv_obj_get(const void *handle, enum drv_kind kind)
{
	uint64_t key = drv_key((uintptr_t)handle, kind), value;
	struct drv_obj *obj = NULL;

	if (!key)
		return NULL;
	pthread_rwlock_rdlock(&drv.lock);
	if (hg_idmap_get(&drv.handles, key, &value)) {
		obj = (struct drv_obj *)(uintptr_t)value;
		if (obj->kind == kind)
			drv_obj_ref(obj);
		else
			obj = NULL;
	}
	pthread_rwlock_unlock(&drv.lock);
	return obj;
}

/* All its names go, and it leaves its context; false: it was not in the registry. With the lock. */
static bool unregister(struct drv_obj *obj)
{
	if (!obj->name || !hg_idmap_remove(&drv.handles, drv_key(obj->name, obj->kind), NULL))
		return false;
	if (obj->is_named)
		drv_name_gone(obj->name);
	for (uint32_t i = 0; i < obj->nr_aliases; i++) {
		hg_idmap_remove(&drv.handles, drv_key(obj->alias[i], obj->kind), NULL);
		drv_name_gone(obj->alias[i]);
	}
	obj->nr_aliases = 0;
	if (obj->prev) {
		*obj->prev = obj->next;
		if (obj->next)
			obj->next->prev = obj->prev;
		obj->prev = NULL;
		obj->next = NULL;
	}
	return true;
}

void *drv_obj_retire(const void *handle, enum drv_kind kind)
{
	uint64_t key = drv_key((uintptr_t)handle, kind), value;
	struct drv_obj *obj = NULL;

	if (!key)
		return NULL;
	pthread_rwlock_wrlock(&drv.lock);
	if (hg_idmap_get(&drv.handles, key, &value)) {
		obj = (struct drv_obj *)(uintptr_t)value;
		if (obj->kind != kind || !unregister(obj))
			obj = NULL;
	}
	pthread_rwlock_unlock(&drv.lock);
	return obj;
}

bool drv_obj_withdraw(struct drv_obj *obj)
{
	uint64_t value;
	bool was;

	if (!obj)
		return false;
	pthread_rwlock_wrlock(&drv.lock);
	/* an object that lost its name to another thread may find a younger one under it */
	was = obj->name && hg_idmap_get(&drv.handles, drv_key(obj->name, obj->kind), &value) &&
		value == (uintptr_t)obj && unregister(obj);
	pthread_rwlock_unlock(&drv.lock);
	return was;
}

/* threads */

__thread bool drv_in_host_func;
static __thread struct drv_thread *self, *acting;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static bool thread_key_made;
static struct hg_idmap acted = HG_IDMAP_INIT;	/* recorded thread -> struct drv_thread * */

static void thread_free(void *arg)
{
	struct drv_thread *t = arg;

	for (size_t i = 0; i < t->depth; i++)
		if (t->stack[i])
			drv_obj_put(&t->stack[i]->obj);
	for (size_t i = 0; i < t->nr_streams; i++) {
		/* work in it goes on; the context frees it when it is done */
		if (t->streams[i]->obj.ctx) {
			struct drv_ctx *ctx = t->streams[i]->obj.ctx;

			pthread_mutex_lock(&ctx->lock);
			t->streams[i]->dying = true;
			drv_streams_reap(ctx);
			pthread_mutex_unlock(&ctx->lock);
		}
		drv_obj_put(&t->streams[i]->obj);
	}
	free(t->stack);
	free(t->streams);
	free(t->places);
	free(t);
}

static void thread_exit(void *arg)
{
	self = NULL;
	acting = NULL;
	thread_free(arg);
}

static void make_thread_key(void)
{
	thread_key_made = pthread_key_create(&thread_key, thread_exit) == 0;
}

struct drv_thread *drv_thread(void)
{
	if (acting)
		return acting;
	if (self)
		return self;
	pthread_once(&thread_once, make_thread_key);
	self = calloc(1, sizeof(*self));
	if (self && thread_key_made)
		pthread_setspecific(thread_key, self);
	return self;
}

void hg_driver_act_as(uint32_t thread)
{
	struct drv_thread *t;
	uint64_t value;

	acting = NULL;
	if (!thread)
		return;
	if (hg_idmap_get(&acted, thread, &value)) {
		acting = (struct drv_thread *)(uintptr_t)value;
		return;
	}
	t = calloc(1, sizeof(*t));
	if (t && hg_idmap_put(&acted, thread, (uintptr_t)t) == HG_OK)
		acting = t;
	else
		free(t);
}

static int acted_free(uint64_t key, uint64_t value, void *arg)
{
	(void)key;
	(void)arg;
	thread_free((void *)(uintptr_t)value);
	return 0;
}

void hg_driver_act_end(void)
{
	acting = NULL;
	hg_idmap_each(&acted, acted_free, NULL);
	hg_idmap_release(&acted);
	acted = (struct hg_idmap)HG_IDMAP_INIT;
}

void drv_threads_forget(void)
{
	hg_driver_act_end();
	if (self) {
		if (thread_key_made)
			pthread_setspecific(thread_key, NULL);
		thread_free(self);
		self = NULL;
	}
}

void drv_per_thread_begin(void)
{
	struct drv_thread *t = drv_thread();

	if (t)
		t->per_thread++;
}

void drv_per_thread_end(void)
{
	struct drv_thread *t = drv_thread();

	if (t)
		t->per_thread--;
}

/* errors */

CUresult drv_result(enum hg_status st)
{
	switch (st) {
	case HG_OK:
		return CUDA_SUCCESS;
	case HG_ERR_NOMEM:
	case HG_ERR_NOSPC:
		return CUDA_ERROR_OUT_OF_MEMORY;
	case HG_ERR_INVALID:
		return CUDA_ERROR_INVALID_VALUE;
	case HG_ERR_UNSUPPORTED:
		return CUDA_ERROR_NOT_SUPPORTED;
	case HG_ERR_NOTFOUND:
		return CUDA_ERROR_NOT_FOUND;
	case HG_ERR_FAULT:
		return CUDA_ERROR_LAUNCH_FAILED;
	case HG_ERR_UNAVAILABLE:
		return CUDA_ERROR_NO_DEVICE;
	default:
		return CUDA_ERROR_UNKNOWN;
	}
}

struct fault_search {
	const struct hg_fault *fault;
	bool found;
};

static enum hg_status ctx_take_fault(struct drv_ctx *ctx, void *arg)
{
	struct fault_search *search = arg;

	pthread_mutex_lock(&ctx->lock);
	for (struct drv_stream *s = ctx->streams; s; s = s->next) {
		if (s->queue == search->fault->queue) {
			search->found = true;
			atomic_store(&ctx->error, search->fault->cuda_error);
		}
	}
	pthread_mutex_unlock(&ctx->lock);
	return HG_OK;
}

/* Moves kernel failures from the target to the contexts whose kernels failed. */
static void take_faults(struct drv_ctx *fallback)
{
	struct hg_fault fault;

	while (drv.ops->fault(drv.target, &fault)) {
		struct fault_search search = { .fault = &fault };
		enum hg_status st = drv_each_ctx(ctx_take_fault, &search);

		pr_err("%s", fault.what);
		if (st || !search.found)
			atomic_store(&fallback->error, fault.cuda_error);
	}
}

CUresult drv_ctx_error(struct drv_ctx *ctx)
{
	take_faults(ctx);
	return (CUresult)atomic_load_explicit(&ctx->error, memory_order_relaxed);
}

CUresult drv_ready(void)
{
	if (!atomic_load_explicit(&drv.initialised, memory_order_acquire))
		return CUDA_ERROR_NOT_INITIALIZED;
	return drv_in_host_func ? CUDA_ERROR_NOT_PERMITTED : CUDA_SUCCESS;
}

CUresult drv_current(struct drv_ctx **out)
{
	struct drv_thread *t;
	struct drv_ctx *ctx;
	CUresult r = drv_ready();

	if (r)
		return r;
	t = drv_thread();
	if (!t)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (!t->depth || !t->stack[t->depth - 1])
		return CUDA_ERROR_INVALID_CONTEXT;
	ctx = t->stack[t->depth - 1];
	if (!atomic_load_explicit(&ctx->alive, memory_order_acquire))
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	r = drv_ctx_error(ctx);
	if (r)
		return r;
	*out = ctx;
	return CUDA_SUCCESS;
}

CUresult drv_ctx_get(CUcontext handle, struct drv_ctx **out)
{
	struct drv_ctx *ctx;
	CUresult r;

	if (!handle) {
		r = drv_current(&ctx);
		if (r)
			return r;
		drv_obj_ref(&ctx->obj);
		*out = ctx;
		return CUDA_SUCCESS;
	}
	r = drv_ready();
	if (r)
		return r;
	ctx = drv_obj_get(handle, DRV_CTX);
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	*out = ctx;
	return CUDA_SUCCESS;
}

/* the table of calls */

#define HG_DRV(sym)
#define HG_DRV_PT(sym, variant, params, args)		\
static CUresult variant_##variant params		\
{							\
	CUresult r;					\
							\
	drv_per_thread_begin();				\
	r = drv_##sym args;				\
	drv_per_thread_end();				\
	return r;					\
}
#include "replay/driver.def"

static const struct {
	const char *name;
	void *fn;
} call_table[] = {
#define HG_DRV(sym) { #sym, (void *)drv_##sym },
#define HG_DRV_PT(sym, variant, params, args) { #variant, (void *)variant_##variant },
#include "replay/driver.def"
};

/* A variant has its base's prototype. */
#define HG_DRV(sym)
#define HG_DRV_PT(sym, variant, params, args)								\
	_Static_assert(__builtin_types_compatible_p(__typeof__(variant_##variant), __typeof__(sym)),	\
		       "parameters of " #variant " in driver.def differ from cuda.h");
#include "replay/driver.def"

void *hg_driver_proc(const char *symbol)
{
	for (size_t i = 0; i < sizeof(call_table) / sizeof(call_table[0]); i++)
		if (!strcmp(call_table[i].name, symbol))
			return call_table[i].fn;
	return NULL;
}

/* opening and closing */

/* "9.0" or "90". */
static void read_compute_capability(void)
{
	const char *text = getenv("HGSHIM_COMPUTE_CAPABILITY");
	unsigned long major, minor;
	char *end;

	/* NVIDIA's libraries carry PTX for sm_120 or sm_121 and little else: 12.1 takes both */
	drv.cc_major = 12;
	drv.cc_minor = 1;
	if (!text || !*text)
		return;
	major = strtoul(text, &end, 10);
	if (*end == '.') {
		minor = strtoul(end + 1, &end, 10);
	} else {
		minor = major % 10;
		major /= 10;
	}
	if (*end || major < 3 || major > 99 || minor > 9) {
		pr_warn("HGSHIM_COMPUTE_CAPABILITY is '%s', not a number such as 12.0; taking 12.1", text);
		return;
	}
	drv.cc_major = (unsigned int)major;
	drv.cc_minor = (unsigned int)minor;
}

static int nr_devices_wanted(void)
{
	const char *text = getenv("HGSHIM_DEVICES");
	unsigned long nr;
	char *end;

	if (!text || !*text)
		return 1;
	nr = strtoul(text, &end, 10);
	if (*end || nr > DRV_MAX_DEVICES) {
		pr_warn("HGSHIM_DEVICES is '%s', not a number from 0 to %d; taking 1", text, DRV_MAX_DEVICES);
		return 1;
	}
	return (int)nr;
}

static void pool_free(struct drv_obj *obj)
{
	free(obj);
}

static CUresult default_pool_new(CUdevice device)
{
	struct drv_pool *pool = calloc(1, sizeof(*pool));
	CUresult r;

	if (!pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	drv_obj_init(&pool->obj, DRV_POOL, NULL, pool_free);
	pool->device = device;
	pool->is_default = true;
	for (int i = 0; i < 3; i++)
		pool->reuse[i] = 1;
	r = drv_obj_publish(&pool->obj);
	if (r) {
		drv_obj_put(&pool->obj);
		return r;
	}
	drv.default_pool[device] = pool;
	drv.pool[device] = pool;
	return CUDA_SUCCESS;
}

/*
 * As on a GPU, work under way when the process exits is abandoned: an endless kernel must not keep it. What such work
 * uses has to stay, so from here on nothing is freed either (the runtime unloads its modules after this).
 */
static void at_exit(int status, void *arg)
{
	(void)status;
	(void)arg;
	atomic_store(&drv.exiting, true);
}

enum hg_status hg_driver_open(const struct hg_target_ops *target)
{
	return hg_driver_open_devices(target, nr_devices_wanted());
}

enum hg_status hg_driver_open_devices(const struct hg_target_ops *target, int nr_devices)
{
	static bool has_exit_handler;
	enum hg_status st;

	if (!has_exit_handler)
		/* not atexit: what the engine registers there is forgotten (engine.c) */
		has_exit_handler = on_exit(at_exit, NULL) == 0;
	if (drv.target) {
		pr_err("the portable driver is open already, on target '%s'", drv.ops->name);
		return HG_ERR_INVALID;
	}
	if (nr_devices < 0 || nr_devices > DRV_MAX_DEVICES) {
		pr_err("%d devices are more than the %d that the portable driver has", nr_devices, DRV_MAX_DEVICES);
		return HG_ERR_UNSUPPORTED;
	}
	st = target->open(&drv.target);
	if (st) {
		drv.target = NULL;
		return st;
	}
	drv.ops = target;
	target->info(drv.target, &drv.info);
	drv.next_id = 1;
	read_compute_capability();
	drv.nr_devices = nr_devices;
	st = drv_mem_init();
	if (st)
		goto err_target;
	hg_target_has_memory = hg_driver_has;
	st = target->queue_create(drv.target, 0, &drv.service);
	if (st)
		goto err_mem;
	for (int i = 0; i < drv.nr_devices; i++) {
		if (drv_ctx_new(i, true, &drv.primary[i]) || default_pool_new(i)) {
			st = HG_ERR_NOMEM;
			goto err_devices;
		}
	}
	return HG_OK;

err_devices:
	hg_driver_close();
	return st;
err_mem:
	drv_mem_fini();
err_target:
	target->close(drv.target);
	drv.target = NULL;
	drv.ops = NULL;
	return st;
}

static int first_library(uint64_t key, uint64_t value, void *arg)
{
	const struct drv_obj *obj = (const struct drv_obj *)(uintptr_t)value;

	(void)key;
	if (obj->kind != DRV_LIBRARY)
		return 0;
	*(void **)arg = drv_handle(obj);
	return 1;
}

static int first_created_ctx(uint64_t key, uint64_t value, void *arg)
{
	const struct drv_obj *obj = (const struct drv_obj *)(uintptr_t)value;

	(void)key;
	if (obj->kind != DRV_CTX || ((const struct drv_ctx *)obj)->primary)
		return 0;
	*(void **)arg = drv_handle(obj);
	return 1;
}

/* Drops the registry's reference. */
static void end_object(struct drv_obj *obj)
{
	if (drv_obj_withdraw(obj))
		drv_obj_put(obj);
}

void hg_driver_close(void)
{
	void *handle = NULL;

	/* while the process exits nothing is taken apart: what is under way is abandoned, and may use all of it */
	if (!drv.target || atomic_load(&drv.exiting))
		return;
	atomic_store(&drv.initialised, true);
	drv_in_host_func = false;
	while (hg_idmap_each(&drv.handles, first_created_ctx, &handle))
		drv_cuCtxDestroy_v2(handle);
	for (int i = 0; i < drv.nr_devices; i++)
		if (drv.primary[i] && drv.primary[i]->alive)
			drv_ctx_end(drv.primary[i]);
	while (hg_idmap_each(&drv.handles, first_library, &handle))
		drv_cuLibraryUnload(handle);
	drv_codes_reap();
	if (drv.abandoned)	/* and so it stays open, for as long as the process lives */
		return;
	drv_threads_forget();
	drv.ops->queue_destroy(drv.service);
	drv.service = NULL;
	for (int i = 0; i < drv.nr_devices; i++) {
		end_object(drv.primary[i] ? &drv.primary[i]->obj : NULL);
		drv.primary[i] = NULL;
		end_object(drv.default_pool[i] ? &drv.default_pool[i]->obj : NULL);
		drv.default_pool[i] = NULL;
		drv.pool[i] = NULL;
	}
	drv_mem_fini();
	drv.ops->close(drv.target);
	drv.target = NULL;
	drv.ops = NULL;
	atomic_store(&drv.initialised, false);
}

enum hg_status hg_driver_step_aside(void)
{
	if (!drv.target)
		return HG_OK;
	/* what waits to be freed is the old target's */
	drv_codes_reap();
	if (drv.abandoned) {
		pr_err("a kernel that does not end runs on target '%s'", drv.ops->name);
		return HG_ERR_REFUSED;
	}
	aside = drv;
	drv = (struct drv)DRV_NEW;
	return HG_OK;
}

/* The driver in use is closed, or was never opened; what it keeps when it is closed goes. */
static void take_place(struct drv *other)
{
	bool exiting = drv.exiting;

	hg_idmap_release(&drv.handles);
	hg_idmap_release(&drv.given);
	hg_idmap_release(&drv.promised);
	drv = *other;
	if (exiting)
		atomic_store(&drv.exiting, true);
}

void hg_driver_step_back(void)
{
	if (!aside.target || drv.target)
		return;
	take_place(&aside);
	aside = (struct drv){ 0 };
}

void hg_driver_leave(void)
{
	struct drv next = drv;

	if (!aside.target)
		return;
	drv = aside;
	aside = (struct drv){ 0 };
	drv.is_left = true;
	hg_driver_close();
	take_place(&next);
}

static enum hg_status ctx_quiesce(struct drv_ctx *ctx, void *arg)
{
	const uint64_t *deadline = arg;

	for (;;) {
		bool idle = true;
		struct timespec ts;

		pthread_mutex_lock(&ctx->lock);
		drv_streams_reap(ctx);
		for (struct drv_stream *s = ctx->streams; s && idle; s = s->next)
			idle = drv.ops->queue_is_idle(s->queue);
		pthread_mutex_unlock(&ctx->lock);
		if (idle)
			return HG_OK;
		clock_gettime(CLOCK_MONOTONIC, &ts);
		if ((uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 >= *deadline)
			return HG_ERR_TIMEOUT;
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
}

enum hg_status hg_driver_quiesce(uint32_t timeout_ms)
{
	struct timespec ts;
	uint64_t deadline;

	if (!drv.target)
		return HG_OK;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	deadline = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 + timeout_ms;
	return drv_each_ctx(ctx_quiesce, &deadline);
}

void *hg_driver_primary_ctx(int device)
{
	return device >= 0 && device < drv.nr_devices && drv.primary[device] ? drv_handle(&drv.primary[device]->obj) : NULL;
}

enum hg_status hg_driver_read(void *dst, hg_dptr src, size_t size)
{
	return drv.ops->read(drv.target, dst, src, size);
}

enum hg_status hg_driver_write(hg_dptr dst, const void *src, size_t size)
{
	return drv.ops->write(drv.target, dst, src, size);
}
