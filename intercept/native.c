/* native.c - the executor that is NVIDIA's driver, behind hgshim. */
#define _GNU_SOURCE
#include "intercept/native.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/msg.h"
#include "intercept/driver_find.h"
#include "intercept/driver_open.h"
#include "intercept/native_mem.h"
#include "intercept/native_tables.h"
#include "intercept/shim.h"

struct hg_real hg_nv;

static char driver_path[PATH_MAX];
static void *driver;

static void **slot(struct hg_real *real, size_t i)
{
	return (void **)real + i;
}

const char *hg_native_driver_path(void)
{
	return driver ? driver_path : NULL;
}

void hg_nv_say(const char *symbol, CUresult r)
{
	const char *name = NULL;

	if (!hg_nv.cuGetErrorName || hg_nv.cuGetErrorName(r, &name) != CUDA_SUCCESS || !name)
		name = "an unknown error";
	pr_err("the driver's '%s' failed with %s (%d)", symbol, name, (int)r);
}

static enum hg_status native_load(const char *target)
{
	enum hg_status st;

	(void)target;
	if (driver)
		return HG_OK;
	st = hg_driver_find(driver_path);
	if (st != HG_OK)
		return st;
	/* by its path, which the loader does not answer with hgshim; NODELETE: the application holds its tables */
	driver = hg_real_dlopen(driver_path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!driver) {
		pr_err("cannot open the driver '%s': %s", driver_path, dlerror());
		return HG_ERR_UNAVAILABLE;
	}
	for (size_t i = 0; i < HG_SYM_COUNT; i++)
		*slot(&hg_nv, i) = dlsym(driver, hg_symbols[i].name);
	if (!hg_nv.cuInit || !hg_nv.cuDriverGetVersion || *slot(&hg_nv, HG_SYM_cuInit) == (void *)cuInit) {
		pr_err("'%s' is not a CUDA driver", driver_path);
		driver = NULL;
		memset(&hg_nv, 0, sizeof(hg_nv));
		return HG_ERR_UNAVAILABLE;
	}
	st = hg_native_mem_init();
	if (st != HG_OK) {
		driver = NULL;
		return st;
	}
	pr_info("in front of the driver '%s'", driver_path);
	return HG_OK;
}

/* The driver is initialised by cuInit itself. */
static enum hg_status native_open(void)
{
	return HG_OK;
}

static void *native_proc(const char *symbol)
{
	void *mine = hg_native_mem_proc(symbol);
	int i = hg_symbol_find(symbol);

	/* a replacement stands in for a call that the driver has */
	return i < 0 || !*slot(&hg_nv, (size_t)i) ? NULL : mine ? mine : *slot(&hg_nv, (size_t)i);
}

/* The entry of ours that stands for a function of the driver; NULL: none does. */
static void *entry_of(const void *fn)
{
	for (size_t i = 0; i < HG_SYM_COUNT; i++)
		if (*slot(&hg_nv, i) == fn)
			return hg_symbols[i].entry;
	return NULL;
}

/* Of a call that this hgshim does not know: the program cannot have it, since nobody would record it. */
static void tell_unknown(const char *base, int version)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static char told[16][64];
	static size_t nr;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < nr; i++)
		if (!strncmp(told[i], base, sizeof(told[i]) - 1))
			goto out;
	if (nr < sizeof(told) / sizeof(told[0]))
		snprintf(told[nr++], sizeof(told[0]), "%s", base);
	pr_info("the driver has '%s' of CUDA %d.%d, which this version does not know: the program is told that it is missing",
		base, version / 1000, version % 1000 / 10);
out:
	pthread_mutex_unlock(&lock);
}

/* What the driver hands out; the older form says with an error what the newer one says with the status. */
static CUresult ask_driver(const char *base, int version, cuuint64_t flags, void **fn, CUdriverProcAddressQueryResult *status)
{
	CUresult r;

	*fn = NULL;
	if (hg_nv.cuGetProcAddress_v2)
		return hg_nv.cuGetProcAddress_v2(base, fn, version, flags, status);
	r = hg_nv.cuGetProcAddress ? hg_nv.cuGetProcAddress(base, fn, version, flags) : CUDA_ERROR_NOT_FOUND;
	*status = *fn ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	return r == CUDA_ERROR_NOT_FOUND ? CUDA_SUCCESS : r;
}

/* Is what a name means in a version that the table does not know still what it meant in the last one that it knows? */
static bool is_unchanged(const char *base, cuuint64_t flags, const void *fn)
{
	CUdriverProcAddressQueryResult status;
	void *before;

	return ask_driver(base, HG_SYMBOLS_VERSION, flags, &before, &status) == CUDA_SUCCESS && before == fn;
}

/*
 * Which of several versions a name means depends on rules that only the driver knows: it chooses, and its choice is
 * looked up by address. A driver may also hand out an address that no symbol has; then the table decides, as far
 * as it knows: beyond that, arguments could differ.
 */
static CUresult native_procaddr(const char *base, void **pfn, int version, cuuint64_t flags,
				CUdriverProcAddressQueryResult *status)
{
	bool per_thread = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
	void *fn, *mine;
	CUresult r = ask_driver(base, version, flags, &fn, status);

	*pfn = NULL;
	if (r != CUDA_SUCCESS || !fn)
		return r;
	mine = entry_of(fn);
	if (!mine && (version <= HG_SYMBOLS_VERSION || is_unchanged(base, flags, fn)))
		mine = hg_procaddr_find(base, version, per_thread, status);
	*pfn = mine;
	if (!mine) {
		tell_unknown(base, version);
		*status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	}
	return CUDA_SUCCESS;
}

static void native_uncovered(void (*each)(const char *kind, const char *what, void *arg), void *arg)
{
	hg_native_code_uncovered(each, arg);
	hg_native_tables_uncovered(each, arg);
}

static void native_ctx_gone(CUcontext ctx)
{
	hg_native_mem_ctx_gone(ctx);
	hg_native_code_ctx_gone(ctx);
}

static enum hg_status native_image_flatten(const void *image, size_t size, void **out, size_t *out_size)
{
	const struct hg_engine *engine = hg_engine();

	return engine ? engine->image_flatten(image, size, out, out_size) : HG_ERR_UNAVAILABLE;
}

const struct hg_executor hg_executor_native = {
	.name = "native",
	.load = native_load,
	.open = native_open,
	.proc = native_proc,
	.procaddr = native_procaddr,
	.table = hg_native_table,
	.primary_ctx = hg_native_primary_ctx,
	.code_allowed = hg_native_code_allowed,
	.code_loaded = hg_native_code_loaded,
	.code_going = hg_native_code_going,
	.code_gone = hg_native_code_gone,
	.ctx_gone = native_ctx_gone,
	.module_vars = hg_native_module_vars,
	.image_flatten = native_image_flatten,
	.kernel_info = hg_native_kernel_info,
	.quiesce = hg_native_quiesce,
	.regions = hg_native_regions,
	.read = hg_native_read,
	.read_end = hg_native_read_end,
	.refused = hg_native_refused,
	.uncovered = native_uncovered,
};
