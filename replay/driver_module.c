/* driver_module.c - modules and libraries: loading, variables, looking kernels up. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"
#include "common/msg.h"
#include "replay/driver_priv.h"

#define LOG_BYTES 4096

static void code_free(struct drv_code *code)
{
	if (code->target)
		drv.ops->module_unload(code->target);
	hg_module_free(code->module);
	free(code->var_addr);
	free(code->vars);
	free(code->function);
	free(code);
}

void drv_code_put(struct drv_code *code)
{
	if (atomic_fetch_sub_explicit(&code->refs, 1, memory_order_acq_rel) == 1)
		code_free(code);
}

static void function_free(struct drv_obj *obj)
{
	struct drv_function *f = (struct drv_function *)obj;

	pthread_mutex_destroy(&f->lock);
	drv_code_put(f->code);
	free(f);
}

/* variables */

/* The place recorded for a variable, or 0. */
static uint64_t place_of(const struct hg_place *place, size_t nr, const char *name)
{
	for (size_t i = 0; i < nr; i++)
		if (place[i].name && !strcmp(place[i].name, name))
			return place[i].addr;
	return 0;
}

/* The size recorded for a variable, or 0. */
static uint64_t size_at(const struct hg_place *place, size_t nr, const char *name)
{
	for (size_t i = 0; i < nr; i++)
		if (place[i].name && !strcmp(place[i].name, name))
			return place[i].size;
	return 0;
}

/* Bytes of a variable. The heap of malloc has what the limit said when the module was loaded. */
static uint64_t var_size(const struct drv_code *code, size_t i)
{
	const struct hg_var_info *v = hg_module_var(code->module, i);

	return v->size + (v->is_heap ? code->heap_bytes : 0);
}

/* A variable's bytes before any kernel ran, addresses of other variables filled in. */
static CUresult var_init(const struct drv_code *code, size_t i)
{
	const struct hg_var_info *v = hg_module_var(code->module, i);
	unsigned char *bytes;
	enum hg_status st;

	if (!v->size)
		return CUDA_SUCCESS;
	bytes = calloc(1, v->size);
	if (!bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (v->init)
		memcpy(bytes, v->init, v->size);
	if (v->is_heap)
		memcpy(bytes, &code->heap_bytes, sizeof(code->heap_bytes));
	for (size_t k = 0; k < v->nr_relocs; k++) {
		const struct hg_var_reloc *reloc = &v->relocs[k];
		uint64_t addr;

		if (reloc->var >= code->nr_vars || reloc->offset + 8 > v->size)
			continue;
		addr = code->var_addr[reloc->var] + (uint64_t)reloc->addend;
		memcpy(bytes + reloc->offset, &addr, sizeof(addr));
	}
	st = drv.ops->write(drv.target, code->var_addr[i], bytes, v->size);
	free(bytes);
	return drv_result(st);
}

static void vars_free(struct drv_code *code)
{
	for (size_t i = 0; i < code->nr_vars; i++)
		if (code->vars[i])
			drv_mem_free(code->vars[i]);
	code->nr_vars = 0;
}

/* Memory for a variable, at an address or (0) anywhere. */
static CUresult var_alloc(struct drv_code *code, size_t i, struct drv_ctx *ctx, uint64_t wanted)
{
	const struct hg_var_info *v = hg_module_var(code->module, i);
	struct drv_alloc *a;
	CUresult r;

	r = drv_mem_alloc(ctx, v->size ? var_size(code, i) : 1, v->align, wanted, HG_REGION_GLOBAL, &a);
	if (r)
		return r;
	code->vars[i] = a;
	code->var_addr[i] = a->addr;
	a->owner = code->owner;
	a->name = strdup(v->name);
	return a->name ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult vars_alloc(struct drv_code *code, struct drv_ctx *ctx, const struct hg_place *place, size_t nr_places)
{
	size_t nr = hg_module_nr_vars(code->module);
	CUresult r = CUDA_SUCCESS;

	code->var_addr = calloc(nr + 1, sizeof(*code->var_addr));
	code->vars = calloc(nr + 1, sizeof(*code->vars));
	if (!code->var_addr || !code->vars)
		return CUDA_ERROR_OUT_OF_MEMORY;
	code->nr_vars = nr;
	for (size_t i = 0; i < nr && !r; i++)
		r = var_alloc(code, i, ctx, place_of(place, nr_places, hg_module_var(code->module, i)->name));
	for (size_t i = 0; i < nr && !r; i++)
		r = var_init(code, i);
	if (r)
		vars_free(code);
	return r;
}

/* Addresses for variables whose memory comes later: the recorded ones, and others that nobody has. */
static CUresult vars_choose(struct drv_code *code, const struct hg_place *place, size_t nr_places)
{
	size_t nr = hg_module_nr_vars(code->module);
	CUresult r = CUDA_SUCCESS;

	code->var_addr = calloc(nr + 1, sizeof(*code->var_addr));
	code->vars = calloc(nr + 1, sizeof(*code->vars));
	if (!code->var_addr || !code->vars)
		return CUDA_ERROR_OUT_OF_MEMORY;
	code->nr_vars = nr;
	for (size_t i = 0; i < nr && !r; i++) {
		const struct hg_var_info *v = hg_module_var(code->module, i);

		code->var_addr[i] = place_of(place, nr_places, v->name);
		if (!code->var_addr[i])
			r = drv_mem_hold(v->size ? var_size(code, i) : 1, v->align, &code->var_addr[i]);
	}
	return r;
}

void hg_driver_vars_later(bool on)
{
	drv.vars_later = on;
}

enum hg_status hg_driver_vars_now(const void *handle)
{
	struct drv_module *m = drv_obj_get(handle, DRV_LIBRARY);
	CUresult r = CUDA_SUCCESS;
	struct drv_code *code;

	if (!m)
		m = drv_obj_get(handle, DRV_MODULE);
	if (!m)
		return HG_ERR_INVALID;
	code = m->code;
	for (size_t i = 0; i < code->nr_vars && !r; i++)
		if (!code->vars[i])
			r = var_alloc(code, i, m->obj.ctx, code->var_addr[i]);
	for (size_t i = 0; i < code->nr_vars && !r; i++)
		r = var_init(code, i);
	drv_obj_put(&m->obj);
	if (!r)
		return HG_OK;
	return r == CUDA_ERROR_OUT_OF_MEMORY ? HG_ERR_NOSPC : HG_ERR_FAULT;
}

static int reset_library(uint64_t key, uint64_t value, void *arg)
{
	const struct drv_module *m = (const struct drv_module *)(uintptr_t)value;
	CUresult *r = arg;

	if (m->obj.kind != DRV_LIBRARY || key != drv_key(m->obj.name, DRV_LIBRARY))
		return 0;
	for (size_t i = 0; i < m->code->nr_vars && !*r; i++)
		*r = var_init(m->code, i);
	return 0;
}

CUresult drv_libraries_reset(void)
{
	CUresult r = CUDA_SUCCESS;

	pthread_rwlock_rdlock(&drv.lock);
	hg_idmap_each(&drv.handles, reset_library, &r);
	pthread_rwlock_unlock(&drv.lock);
	return r;
}

/* loading */

CUresult drv_jit_options(unsigned int nr, const CUjit_option *options, void **values, struct drv_jit_log *out)
{
	*out = (struct drv_jit_log){ 0 };
	if (nr && (!options || !values))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < nr; i++) {
		switch (options[i]) {
		case CU_JIT_ERROR_LOG_BUFFER:
			out->error = values[i];
			break;
		case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
			out->error_size = (unsigned int)(uintptr_t)values[i];
			out->error_filled = (size_t *)&values[i];
			break;
		case CU_JIT_INFO_LOG_BUFFER:
			out->info = values[i];
			break;
		case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
			out->info_size = (unsigned int)(uintptr_t)values[i];
			out->info_filled = (size_t *)&values[i];
			break;
		case CU_JIT_WALL_TIME:
			out->wall_time = (float *)&values[i];
			break;
		default:
			/* the others tune NVIDIA's compiler; names of none make a difference here */
			if ((int)options[i] < 0 || options[i] >= CU_JIT_NUM_OPTIONS)
				return CUDA_ERROR_INVALID_VALUE;
		}
	}
	return CUDA_SUCCESS;
}

void drv_jit_log_fill(const struct drv_jit_log *log, const char *text, float ms)
{
	size_t n = 0;

	if (log->error && log->error_size) {
		n = strnlen(text, log->error_size - 1);
		memcpy(log->error, text, n);
		log->error[n] = '\0';
	}
	if (log->error_filled)
		*log->error_filled = n ? n + 1 : 0;
	if (log->info && log->info_size)
		log->info[0] = '\0';
	if (log->info_filled)
		*log->info_filled = 0;
	if (log->wall_time)
		*log->wall_time = ms;
}

CUresult drv_load_error(const void *image, size_t size, enum hg_status st)
{
	switch (st) {
	case HG_ERR_NOMEM:
		return CUDA_ERROR_OUT_OF_MEMORY;
	case HG_ERR_UNSUPPORTED:
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	default:
		return hg_image_begins(image, size) ? CUDA_ERROR_INVALID_PTX : CUDA_ERROR_INVALID_IMAGE;
	}
}

/* Kernels are objects from the start, so that looking one up cannot fail for want of memory. */
static CUresult functions_create(struct drv_code *code, struct drv_module *m)
{
	CUresult r;

	code->function = calloc(code->nr_kernels + 1, sizeof(struct drv_function *));
	if (!code->function)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < code->nr_kernels; i++) {
		struct drv_function *f = calloc(1, sizeof(*f));

		if (!f)
			return CUDA_ERROR_OUT_OF_MEMORY;
		drv_obj_init(&f->obj, DRV_FUNCTION, NULL, function_free);
		pthread_mutex_init(&f->lock, NULL);
		f->code = code;
		atomic_fetch_add(&code->refs, 1);
		f->module = m;
		f->index = i;
		f->info = hg_module_kernel(code->module, i);
		f->carveout = -1;
		f->max_dynamic_shared = f->info->shared_bytes < drv.info.max_shared_bytes ?
			(int)(drv.info.max_shared_bytes - f->info->shared_bytes) : 0;
		r = drv_obj_publish(&f->obj);
		if (r) {
			drv_obj_put(&f->obj);
			return r;
		}
		code->function[i] = f;
		if (f->info->refused)
			pr_info("kernel '%s' cannot run: %s", f->info->name, f->info->refused);
	}
	return CUDA_SUCCESS;
}

static void functions_end(struct drv_code *code)
{
	for (size_t i = 0; code->function && i < code->nr_kernels; i++) {
		if (code->function[i] && drv_obj_withdraw(&code->function[i]->obj))
			drv_obj_put(&code->function[i]->obj);
		code->function[i] = NULL;
	}
}

/* Bytes for malloc: what the recorded place says, else the context's limit. */
static uint64_t heap_bytes(const struct drv_code *code, struct drv_ctx *ctx, const struct hg_place *place, size_t nr_places)
{
	uint64_t limit;

	for (size_t i = 0; i < hg_module_nr_vars(code->module); i++) {
		const struct hg_var_info *v = hg_module_var(code->module, i);
		uint64_t size = v->is_heap ? size_at(place, nr_places, v->name) : 0;

		if (size > v->size)
			return size - v->size;
	}
	/* a library has no context: the current one counts */
	if (!ctx && drv_current(&ctx))
		return DRV_HEAP_BYTES;
	/* no allocation is that large, and none that is a little larger wraps */
	limit = ctx->limit[CU_LIMIT_MALLOC_HEAP_SIZE];
	return (limit < INT64_MAX ? limit : INT64_MAX) & ~UINT64_C(255);
}

static CUresult code_load(const void *image, size_t size, struct drv_ctx *ctx, struct drv_module *m,
			  const struct drv_jit_log *jit, struct drv_code **out)
{
	struct drv_code *code = calloc(1, sizeof(*code));
	char *text = calloc(1, LOG_BYTES);
	struct timespec start, end;
	struct hg_place *place;
	size_t nr_places = drv_places_take(&place);
	enum hg_status st;
	CUresult r = CUDA_ERROR_OUT_OF_MEMORY;

	if (!code || !text)
		goto err_free;
	drv_codes_reap();
	code->refs = 1;
	code->owner = m;
	clock_gettime(CLOCK_MONOTONIC, &start);
	st = hg_module_load(image, size, drv.cc_major * 10 + drv.cc_minor, text, LOG_BYTES, &code->module);
	clock_gettime(CLOCK_MONOTONIC, &end);
	drv_jit_log_fill(jit, text, (float)((double)(end.tv_sec - start.tv_sec) * 1e3 +
					(double)(end.tv_nsec - start.tv_nsec) / 1e6));
	if (st) {
		r = drv_load_error(image, size, st);
		goto err_free;
	}
	code->nr_kernels = hg_module_nr_kernels(code->module);
	code->heap_bytes = heap_bytes(code, ctx, place, nr_places);
	r = drv.vars_later ? vars_choose(code, place, nr_places) : vars_alloc(code, ctx, place, nr_places);
	if (r)
		goto err_code;
	st = drv.ops->module_load(drv.target, code->module, code->var_addr, &code->target);
	if (st) {
		r = drv_result(st);
		goto err_vars;
	}
	r = functions_create(code, m);
	if (r)
		goto err_functions;
	free(text);
	free(place);
	*out = code;
	return CUDA_SUCCESS;

err_functions:
	functions_end(code);
err_vars:
	vars_free(code);
err_code:
	drv_code_put(code);
	code = NULL;
err_free:
	free(code);
	free(text);
	free(place);
	return r;
}

/*
 * Code that was unloaded while kernels may still run: it goes when all is idle. Unloading itself never waits: the
 * runtime unloads everything at exit, and an endless kernel must not keep the process.
 */
static pthread_mutex_t dying_lock = PTHREAD_MUTEX_INITIALIZER;
static struct drv_code *dying;

static enum hg_status refuse_busy(struct drv_ctx *ctx, void *arg)
{
	enum hg_status st = HG_OK;

	(void)arg;
	pthread_mutex_lock(&ctx->lock);
	for (struct drv_stream *s = ctx->streams; s && !st; s = s->next)
		st = drv.ops->queue_is_idle(s->queue) ? HG_OK : HG_ERR_REFUSED;
	pthread_mutex_unlock(&ctx->lock);
	return st;
}

void drv_codes_reap(void)
{
	struct drv_code *list, *next;

	if (drv.exiting || drv.abandoned || drv_each_ctx(refuse_busy, NULL))
		return;
	pthread_mutex_lock(&dying_lock);
	list = dying;
	dying = NULL;
	pthread_mutex_unlock(&dying_lock);
	for (; list; list = next) {
		next = list->next_dying;
		vars_free(list);
		drv_code_put(list);
	}
}

static void code_end(struct drv_code *code)
{
	functions_end(code);
	for (size_t i = 0; i < code->nr_vars; i++)
		if (code->vars[i])
			drv_mem_retire(code->vars[i]);
	pthread_mutex_lock(&dying_lock);
	code->next_dying = dying;
	dying = code;
	pthread_mutex_unlock(&dying_lock);
	drv_codes_reap();
}

static void module_free(struct drv_obj *obj)
{
	struct drv_module *m = (struct drv_module *)obj;

	if (m->code && !m->is_view)
		code_end(m->code);
	free(m);
}

/* kind: DRV_MODULE in ctx, or DRV_LIBRARY, which belongs to none. */
static CUresult load(enum drv_kind kind, const void *image, size_t size, struct drv_ctx *ctx,
		     const struct drv_jit_log *jit, struct drv_module **out)
{
	struct drv_module *m = calloc(1, sizeof(*m));
	CUresult r;

	if (!m)
		return CUDA_ERROR_OUT_OF_MEMORY;
	drv_obj_init(&m->obj, kind, ctx, module_free);
	r = code_load(image, size, ctx, m, jit, &m->code);
	if (!r)
		r = drv_obj_publish(&m->obj);
	if (r) {
		drv_obj_put(&m->obj);
		return r;
	}
	*out = m;
	return CUDA_SUCCESS;
}

CUresult drv_file_read(const char *path, void **out, size_t *out_size)
{
	unsigned char *bytes = NULL;
	size_t size = 0;
	struct stat stat;
	CUresult r = CUDA_ERROR_FILE_NOT_FOUND;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return r;
	if (fstat(fd, &stat) || !S_ISREG(stat.st_mode) || stat.st_size <= 0) {
		r = CUDA_ERROR_INVALID_IMAGE;
		goto out_close;
	}
	size = (size_t)stat.st_size;
	bytes = malloc(size + 1);
	if (!bytes) {
		r = CUDA_ERROR_OUT_OF_MEMORY;
		goto out_close;
	}
	if (!hg_read_all(fd, bytes, size)) {
		free(bytes);
		goto out_close;
	}
	bytes[size] = '\0';
	*out = bytes;
	*out_size = size + 1;
	r = CUDA_SUCCESS;
out_close:
	close(fd);
	return r;
}

CUresult drv_cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned int nr, CUjit_option *options, void **values)
{
	struct drv_module *m;
	struct drv_jit_log jit;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || !image)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_jit_options(nr, options, values, &jit);
	if (r)
		return r;
	r = load(DRV_MODULE, image, 0, ctx, &jit, &m);
	if (r)
		return r;
	*out = drv_handle(&m->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuModuleLoadData(CUmodule *out, const void *image)
{
	return drv_cuModuleLoadDataEx(out, image, 0, NULL, NULL);
}

CUresult drv_cuModuleLoadFatBinary(CUmodule *out, const void *image)
{
	return drv_cuModuleLoadDataEx(out, image, 0, NULL, NULL);
}

CUresult drv_cuModuleLoad(CUmodule *out, const char *path)
{
	const struct drv_jit_log jit = { 0 };
	struct drv_module *m;
	struct drv_ctx *ctx;
	void *image;
	size_t size;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || !path)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_file_read(path, &image, &size);
	if (r)
		return r;
	r = load(DRV_MODULE, image, size, ctx, &jit, &m);
	free(image);
	if (r)
		return r;
	*out = drv_handle(&m->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuModuleUnload(CUmodule handle)
{
	struct drv_module *m;
	CUresult r = drv_ready();

	if (r)
		return r;
	m = drv_obj_get(handle, DRV_MODULE);
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	drv_obj_put(&m->obj);
	if (m->is_view)		/* it goes with its library */
		return CUDA_ERROR_NOT_PERMITTED;
	m = drv_obj_retire(handle, DRV_MODULE);
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	drv_obj_put(&m->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = CU_MODULE_LAZY_LOADING;
	return CUDA_SUCCESS;
}

/* libraries */

static CUresult library_options(unsigned int nr, const CUlibraryOption *options, void *const *values)
{
	if (nr && !options)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < nr; i++) {
		if (options[i] == CU_LIBRARY_BINARY_IS_PRESERVED)
			continue;
		/* a table of host functions with their device counterparts: only the values are used, by name */
		if (options[i] != CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE || !values)
			return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

CUresult drv_cuLibraryLoadData(CUlibrary *out, const void *image, CUjit_option *options, void **values,
			       unsigned int nr, CUlibraryOption *lib_options, void **lib_values, unsigned int nr_lib)
{
	struct drv_module *m;
	struct drv_jit_log jit;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!out || !image)
		return CUDA_ERROR_INVALID_VALUE;
	r = library_options(nr_lib, lib_options, lib_values);
	if (!r)
		r = drv_jit_options(nr, options, values, &jit);
	if (r)
		return r;
	r = load(DRV_LIBRARY, image, 0, NULL, &jit, &m);
	if (r)
		return r;
	*out = drv_handle(&m->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuLibraryLoadFromFile(CUlibrary *out, const char *path, CUjit_option *options, void **values,
				   unsigned int nr, CUlibraryOption *lib_options, void **lib_values,
				   unsigned int nr_lib)
{
	struct drv_module *m;
	struct drv_jit_log jit;
	void *image;
	size_t size;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!out || !path)
		return CUDA_ERROR_INVALID_VALUE;
	r = library_options(nr_lib, lib_options, lib_values);
	if (!r)
		r = drv_jit_options(nr, options, values, &jit);
	if (!r)
		r = drv_file_read(path, &image, &size);
	if (r)
		return r;
	r = load(DRV_LIBRARY, image, size, NULL, &jit, &m);
	free(image);
	if (r)
		return r;
	*out = drv_handle(&m->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuLibraryUnload(CUlibrary handle)
{
	struct drv_module *m, *view;
	CUresult r = drv_ready();

	if (r)
		return r;
	m = drv_obj_retire(handle, DRV_LIBRARY);
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_rwlock_wrlock(&drv.lock);
	view = m->of_library;
	m->of_library = NULL;
	pthread_rwlock_unlock(&drv.lock);
	if (view && drv_obj_withdraw(&view->obj))
		drv_obj_put(&view->obj);
	drv_obj_put(&m->obj);
	return CUDA_SUCCESS;
}

/* A module that is a library seen in a context; the same one each time. */
CUresult drv_cuLibraryGetModule(CUmodule *out, CUlibrary handle)
{
	struct drv_module *m, *view, *first;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	m = drv_obj_get(handle, DRV_LIBRARY);
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	view = calloc(1, sizeof(*view));
	if (!view) {
		drv_obj_put(&m->obj);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	drv_obj_init(&view->obj, DRV_MODULE, NULL, module_free);
	view->code = m->code;
	view->is_view = true;
	r = drv_obj_publish(&view->obj);
	if (r) {
		drv_obj_put(&view->obj);
		drv_obj_put(&m->obj);
		return r;
	}
	pthread_rwlock_wrlock(&drv.lock);
	if (!m->of_library)
		m->of_library = view;
	first = m->of_library;
	pthread_rwlock_unlock(&drv.lock);
	if (first != view && drv_obj_withdraw(&view->obj))
		drv_obj_put(&view->obj);
	*out = drv_handle(&first->obj);
	drv_obj_put(&m->obj);
	return CUDA_SUCCESS;
}

/* kernels and variables by name */

/* A module or library, with a reference. */
static CUresult module_get(const void *handle, enum drv_kind kind, struct drv_module **out)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	*out = drv_obj_get(handle, kind);
	return *out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* A kernel as a CUfunction, or (DRV_LIBRARY) as a CUkernel. */
static void *function_handle(const struct drv_function *f, enum drv_kind kind)
{
	return kind == DRV_MODULE && f->as_function ? (void *)(uintptr_t)f->as_function : drv_handle(&f->obj);
}

static CUresult kernel_find(const void *handle, enum drv_kind kind, const char *name, void **out)
{
	struct drv_module *m;
	CUresult r;
	int i;

	if (!out || !name)
		return CUDA_ERROR_INVALID_VALUE;
	r = module_get(handle, kind, &m);
	if (r)
		return r;
	i = hg_module_find_kernel(m->code->module, name);
	if (i < 0)
		r = CUDA_ERROR_NOT_FOUND;
	else
		*out = function_handle(m->code->function[i], kind);
	drv_obj_put(&m->obj);
	return r;
}

static CUresult kernels_count(unsigned int *count, const void *handle, enum drv_kind kind)
{
	struct drv_module *m;
	CUresult r;

	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	r = module_get(handle, kind, &m);
	if (r)
		return r;
	*count = (unsigned int)m->code->nr_kernels;
	drv_obj_put(&m->obj);
	return CUDA_SUCCESS;
}

static CUresult kernels_list(void **out, unsigned int nr, const void *handle, enum drv_kind kind)
{
	struct drv_module *m;
	CUresult r;

	if (!out || !nr)
		return CUDA_ERROR_INVALID_VALUE;
	r = module_get(handle, kind, &m);
	if (r)
		return r;
	for (size_t i = 0; i < nr && i < m->code->nr_kernels; i++)
		out[i] = function_handle(m->code->function[i], kind);
	drv_obj_put(&m->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name)
{
	return kernel_find(module, DRV_MODULE, name, (void **)out);
}

CUresult drv_cuLibraryGetKernel(CUkernel *out, CUlibrary library, const char *name)
{
	return kernel_find(library, DRV_LIBRARY, name, (void **)out);
}

CUresult drv_cuModuleGetFunctionCount(unsigned int *count, CUmodule module)
{
	return kernels_count(count, module, DRV_MODULE);
}

CUresult drv_cuLibraryGetKernelCount(unsigned int *count, CUlibrary library)
{
	return kernels_count(count, library, DRV_LIBRARY);
}

CUresult drv_cuModuleEnumerateFunctions(CUfunction *out, unsigned int nr, CUmodule module)
{
	return kernels_list((void **)out, nr, module, DRV_MODULE);
}

CUresult drv_cuLibraryEnumerateKernels(CUkernel *out, unsigned int nr, CUlibrary library)
{
	return kernels_list((void **)out, nr, library, DRV_LIBRARY);
}

static CUresult global_find(CUdeviceptr *addr, size_t *size, const void *handle, enum drv_kind kind, const char *name)
{
	const struct hg_var_info *v;
	struct drv_module *m;
	CUresult r;
	int i;

	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	r = module_get(handle, kind, &m);
	if (r)
		return r;
	i = hg_module_find_var(m->code->module, name);
	if (i < 0) {
		r = CUDA_ERROR_NOT_FOUND;
	} else {
		v = hg_module_var(m->code->module, (size_t)i);
		if (addr)
			*addr = m->code->var_addr[i];
		if (size)
			*size = v->size;
	}
	drv_obj_put(&m->obj);
	return r;
}

CUresult drv_cuModuleGetGlobal_v2(CUdeviceptr *addr, size_t *size, CUmodule module, const char *name)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	return r ? r : global_find(addr, size, module, DRV_MODULE, name);
}

CUresult drv_cuLibraryGetGlobal(CUdeviceptr *addr, size_t *size, CUlibrary library, const char *name)
{
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	return r ? r : global_find(addr, size, library, DRV_LIBRARY, name);
}

/* A kernel and its function are one object here: it runs in whatever context launches it. */
CUresult drv_cuKernelGetFunction(CUfunction *out, CUkernel kernel)
{
	struct drv_function *f;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	f = drv_obj_get(kernel, DRV_FUNCTION);
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	*out = function_handle(f, DRV_MODULE);
	drv_obj_put(&f->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuKernelGetLibrary(CUlibrary *out, CUkernel kernel)
{
	struct drv_function *f;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	f = drv_obj_get(kernel, DRV_FUNCTION);
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	if (f->module->obj.kind == DRV_LIBRARY)
		*out = drv_handle(&f->module->obj);
	else
		r = CUDA_ERROR_INVALID_HANDLE;
	drv_obj_put(&f->obj);
	return r;
}

CUresult drv_cuFuncGetModule(CUmodule *out, CUfunction handle)
{
	struct drv_function *f;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	f = drv_obj_get(handle, DRV_FUNCTION);
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	if (f->module->obj.kind == DRV_LIBRARY)
		r = drv_cuLibraryGetModule(out, drv_handle(&f->module->obj));
	else
		*out = drv_handle(&f->module->obj);
	drv_obj_put(&f->obj);
	return r;
}

/* for recording and snapshots */

size_t hg_driver_module_vars(const void *handle, struct hg_place *out, size_t max)
{
	struct drv_module *m = drv_obj_get(handle, DRV_LIBRARY);
	size_t nr;

	if (!m)
		m = drv_obj_get(handle, DRV_MODULE);
	if (!m)
		return 0;
	nr = m->code->nr_vars;
	for (size_t i = 0; out && i < nr && i < max; i++) {
		const struct hg_var_info *v = hg_module_var(m->code->module, i);

		out[i] = (struct hg_place){ .name = v->name, .addr = m->code->var_addr[i],
					    .size = var_size(m->code, i) };
	}
	drv_obj_put(&m->obj);
	return nr;
}

struct code_list {
	struct drv_module **module;
	size_t nr, capacity;
};

static int code_collect(uint64_t key, uint64_t value, void *arg)
{
	struct drv_module *m = (struct drv_module *)(uintptr_t)value;
	struct code_list *list = arg;

	if (m->obj.kind != DRV_LIBRARY && (m->obj.kind != DRV_MODULE || m->is_view))
		return 0;
	if (key != drv_key(m->obj.name, m->obj.kind))
		return 0;
	if (list->nr == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 64;
		struct drv_module **grown = realloc(list->module, capacity * sizeof(struct drv_module *));

		if (!grown)
			return -1;
		list->module = grown;
		list->capacity = capacity;
	}
	drv_obj_ref(&m->obj);
	list->module[list->nr++] = m;
	return 0;
}

enum hg_status hg_driver_refused(enum hg_status (*each)(const char *kernel, const char *why, void *arg), void *arg)
{
	struct code_list list = { 0 };
	enum hg_status st = HG_OK;

	pthread_rwlock_rdlock(&drv.lock);
	if (hg_idmap_each(&drv.handles, code_collect, &list))
		st = HG_ERR_NOMEM;
	pthread_rwlock_unlock(&drv.lock);
	for (size_t i = 0; i < list.nr; i++) {
		const struct drv_code *code = list.module[i]->code;

		for (size_t k = 0; k < code->nr_kernels && !st; k++) {
			const struct hg_kernel_info *info = hg_module_kernel(code->module, k);

			if (info->refused)
				st = each(info->name, info->refused, arg);
		}
		drv_obj_put(&list.module[i]->obj);
	}
	free(list.module);
	return st;
}
