/* portable.c - the executor that is libhgshim-engine.so, opened when the first CUDA call is made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "intercept/driver_open.h"
#include "intercept/elsewhere.h"
#include "intercept/executor.h"
#include "intercept/shim.h"
#include "intercept/tables.h"

static _Atomic(const struct hg_engine *) opened;
static const struct hg_engine *engine;	/* once the executor is loaded */
static const char *engine_target;

/*
 * The path of this library. The loader keeps the name that it was given, perhaps one that is relative to
 * a directory which the program has left since; the kernel knows the file.
 */
static bool own_path(char path[PATH_MAX])
{
	uintptr_t here = (uintptr_t)own_path, start, end;
	char line[PATH_MAX + 128];
	bool found = false;
	Dl_info self;
	FILE *f;
	int at;

	/* it may have been opened through a link named libcuda.so.1: the engine lies beside the file itself */
	if (dladdr((void *)own_path, &self) && self.dli_fname && self.dli_fname[0] == '/' && realpath(self.dli_fname, path))
		return true;
	f = fopen("/proc/self/maps", "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %n", &start, &end, &at) < 2)
			continue;
		found = here >= start && here < end && line[at] == '/';
		if (found)
			snprintf(path, PATH_MAX, "%s", line + at);
	}
	fclose(f);
	return found;
}

/* Beside this library: the build folder, or where both were installed. */
static enum hg_status engine_path(char path[PATH_MAX])
{
	static const char name[] = "libhgshim-engine.so";
	size_t folder;

	if (!own_path(path)) {
		pr_err("cannot find out where libhgshim.so lies");
		return HG_ERR_NOTFOUND;
	}
	folder = (size_t)(strrchr(path, '/') + 1 - path);
	if (folder + sizeof(name) > PATH_MAX) {
		pr_err("cannot open '%s' in '%s': the path is too long", name, path);
		return HG_ERR_INVALID;
	}
	memcpy(path + folder, name, sizeof(name));
	return HG_OK;
}

static enum hg_status open_engine(const struct hg_engine **out)
{
	const struct hg_engine *(*entry)(void);
	char path[PATH_MAX];
	enum hg_status st;
	void *handle;

	st = engine_path(path);
	if (st != HG_OK)
		return st;
	/* NODELETE: pointers into it are handed out for as long as the process lives */
	handle = hg_real_dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!handle) {
		pr_err("cannot open '%s': %s", path, dlerror());
		return HG_ERR_UNAVAILABLE;
	}
	entry = (const struct hg_engine *(*)(void))dlsym(handle, "hgshim_engine");
	if (!entry) {
		pr_err("'%s' is not hgshim's engine", path);
		return HG_ERR_VERSION;
	}
	if (entry()->abi != HG_ENGINE_ABI) {
		pr_err("'%s' is of another version of hgshim: its interface is %u, not %u", path, entry()->abi,
		       HG_ENGINE_ABI);
		return HG_ERR_VERSION;
	}
	*out = entry();
	return HG_OK;
}

const struct hg_engine *hg_engine(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	const struct hg_engine *e = atomic_load_explicit(&opened, memory_order_acquire);
	static bool failed;

	if (e)
		return e;
	pthread_mutex_lock(&lock);
	e = atomic_load_explicit(&opened, memory_order_relaxed);
	if (!e && !failed) {
		failed = open_engine(&e) != HG_OK;
		if (!failed)
			atomic_store_explicit(&opened, e, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return e;
}

static enum hg_status portable_load(const char *target)
{
	engine = hg_engine();
	if (!engine)
		return HG_ERR_UNAVAILABLE;
	engine->elsewhere(hg_elsewhere);
	engine_target = target;
	return HG_OK;
}

static enum hg_status portable_open(void)
{
	enum hg_status st = engine->open(engine_target);
	const char *instead = hg_executor_instead(engine_target);

	if (st != HG_ERR_UNAVAILABLE || !instead)
		return st;
	pr_warn("the program runs on target '%s'", instead);
	engine_target = instead;
	hg_shim_use(&hg_executor_portable, instead);
	return engine->open(engine_target);
}

static void *portable_proc(const char *symbol)
{
	return engine->proc(symbol);
}

static CUcontext portable_primary_ctx(CUdevice dev)
{
	return engine->primary_ctx(dev);
}

static size_t portable_module_vars(const void *module_or_library, struct hg_place *out, size_t max)
{
	return engine->module_vars(module_or_library, out, max);
}

static enum hg_status portable_image_flatten(const void *image, size_t size, void **out, size_t *out_size)
{
	return engine->image_flatten(image, size, out, out_size);
}

static enum hg_status portable_kernel_info(const struct hg_function *f, const struct hg_kernel_info **out)
{
	return engine->kernel_info(f->handle, out);
}

/* The portable driver knows itself what is loaded. */
static bool portable_code_allowed(const void *image, size_t size)
{
	(void)image;
	(void)size;
	return true;
}

static void portable_code_loaded(enum hg_kind kind, const void *handle, const void *image, size_t size)
{
	(void)kind;
	(void)handle;
	(void)image;
	(void)size;
}

static void portable_code_going(enum hg_kind kind, const void *handle)
{
	(void)kind;
	(void)handle;
}

static void portable_code_gone(enum hg_kind kind, const void *handle, bool gone)
{
	(void)kind;
	(void)handle;
	(void)gone;
}

static void portable_ctx_gone(CUcontext ctx)
{
	(void)ctx;
}

static enum hg_status portable_quiesce(uint32_t timeout_ms)
{
	return engine->quiesce(timeout_ms);
}

static enum hg_status portable_regions(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg)
{
	return engine->regions(each, arg);
}

static enum hg_status portable_read(const struct hg_region *r, void *dst, uint64_t offset, size_t size)
{
	return engine->read(dst, r->addr + offset, size);
}

static void portable_read_end(void)
{
}

static enum hg_status portable_refused(enum hg_status (*each)(const char *kernel, const char *why, void *arg), void *arg)
{
	return engine->refused(each, arg);
}

/* What the portable driver does not have, it refuses. */
static void portable_uncovered(void (*each)(const char *kind, const char *what, void *arg), void *arg)
{
	(void)each;
	(void)arg;
}

const struct hg_executor hg_executor_portable = {
	.name = "portable",
	.load = portable_load,
	.open = portable_open,
	.proc = portable_proc,
	.procaddr = hg_procaddr_by_table,
	.table = hg_table_get,
	.primary_ctx = portable_primary_ctx,
	.code_allowed = portable_code_allowed,
	.code_loaded = portable_code_loaded,
	.code_going = portable_code_going,
	.code_gone = portable_code_gone,
	.ctx_gone = portable_ctx_gone,
	.module_vars = portable_module_vars,
	.image_flatten = portable_image_flatten,
	.kernel_info = portable_kernel_info,
	.quiesce = portable_quiesce,
	.regions = portable_regions,
	.read = portable_read,
	.read_end = portable_read_end,
	.refused = portable_refused,
	.uncovered = portable_uncovered,
};
