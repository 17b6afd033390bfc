/* module.c - modules and libraries of the fake CUDA driver. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "tests/drivers/cuda/fake.h"
#include "tests/drivers/simt/simt.h"
#include "translate/index.h"
#include "translate/module.h"

/* ---- images ---- */

static void image_put(struct fake_image *image)
{
	if (!image || atomic_fetch_sub(&image->refs, 1) != 1)
		return;
	simt_module_free(image->simt);
	free(image->kernel);
	free(image->machine_code);
	hg_module_free(image->code);
	hg_image_index_free(image->index);
	pthread_mutex_destroy(&image->lock);
	free(image);
}

/* Sees to it that image->kernel and image->machine_code are filled. */
static bool list_kernels(struct fake_image *image)
{
	size_t nr_index = image->index ? image->index->nr_kernels : 0;

	image->nr_runnable = image->code ? hg_module_nr_kernels(image->code) : 0;
	image->kernel = calloc(image->nr_runnable + nr_index + 1, sizeof(struct hg_kernel_info *));
	image->machine_code = calloc(nr_index + 1, sizeof(*image->machine_code));
	if (!image->kernel || !image->machine_code)
		return false;
	for (size_t i = 0; i < image->nr_runnable; i++)
		image->kernel[image->nr_kernels++] = hg_module_kernel(image->code, i);
	for (size_t i = 0; i < nr_index; i++) {
		const struct hg_index_kernel *k = &image->index->kernels[i];

		if (image->code && hg_module_find_kernel(image->code, k->name) >= 0)
			continue;
		image->machine_code[i] = (struct hg_kernel_info){
			.name = k->name, .nr_params = k->nr_params, .params = k->params, .param_bytes = k->param_bytes,
			.nr_regs = 32, .sm = (uint32_t)(10 * fake_config.cc_major + fake_config.cc_minor),
			.max_threads = 1024, .refused = "it is there as machine code only",
		};
		image->kernel[image->nr_kernels++] = &image->machine_code[i];
	}
	return true;
}

/* PTX begins with a word, a comment or white space; no other image does (the fatbin's magic is 'P' and no letter). */
static bool is_text(const void *data)
{
	const unsigned char *p = data;

	return (p[0] >= ' ' && p[0] < 0x7f && p[1] < 0x7f) || p[0] == '\t' || p[0] == '\n' || p[0] == '\r';
}

static CUresult image_error(enum hg_status st, const void *data)
{
	switch (st) {
	case HG_ERR_NOMEM:
		return CUDA_ERROR_OUT_OF_MEMORY;
	case HG_ERR_UNSUPPORTED:
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	default:
		return is_text(data) ? CUDA_ERROR_INVALID_PTX : CUDA_ERROR_INVALID_IMAGE;
	}
}

static CUresult image_new(const void *data, char *log, size_t log_size, struct fake_image **out)
{
	uint32_t sm = (uint32_t)(10 * fake_config.cc_major + fake_config.cc_minor);
	struct fake_image *image = calloc(1, sizeof(*image));
	enum hg_status st;

	if (!image)
		return CUDA_ERROR_OUT_OF_MEMORY;
	atomic_init(&image->refs, 1);
	pthread_mutex_init(&image->lock, NULL);
	/* text has no machine code; its errors are for the parser, which knows lines */
	st = is_text(data) ? HG_OK : hg_image_index(data, 0, &image->index);
	if (!st && !(image->index && image->index->nr_sass && !image->index->nr_ptx))
		st = hg_module_load(data, 0, sm, log, log_size, &image->code);
	if (!st && !list_kernels(image))
		st = HG_ERR_NOMEM;
	if (st) {
		image_put(image);
		return image_error(st, data);
	}
	*out = image;
	return CUDA_SUCCESS;
}

/* The log that the caller of a JIT gives room for. */
static char *jit_log(unsigned int nr, const CUjit_option *option, void *const *value, size_t *size)
{
	char *log = NULL;

	*size = 0;
	for (unsigned int i = 0; option && value && i < nr; i++) {
		if (option[i] == CU_JIT_ERROR_LOG_BUFFER)
			log = value[i];
		if (option[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
			*size = (size_t)(uintptr_t)value[i];
	}
	return *size ? log : NULL;
}

/* A whole file with a NUL behind; malloc'ed. */
static CUresult read_file(const char *path, char **out)
{
	FILE *f = fopen(path, "rb");
	char *data = NULL;
	long size;

	if (!f)
		return CUDA_ERROR_FILE_NOT_FOUND;
	if (fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET))
		goto err;
	data = calloc(1, (size_t)size + 16);
	if (!data || fread(data, 1, (size_t)size, f) != (size_t)size)
		goto err;
	fclose(f);
	*out = data;
	return CUDA_SUCCESS;
err:
	free(data);
	fclose(f);
	return CUDA_ERROR_INVALID_IMAGE;
}

/* ---- modules ---- */

static void obj_release(struct fake_obj *obj)
{
	(void)obj;	/* a part of its module or library */
}

static void module_release(struct fake_obj *obj)
{
	struct fake_module *m = (struct fake_module *)obj;

	image_put(m->image);
	free(m->function);
	free(m->var_addr);
	free(m);
}

/*
 * A module's variables stand in one block, one behind the other with gaps of several sizes: no variable begins where a
 * block of memory does, and no two have the same distance.
 */
static uint64_t place_vars(struct fake_module *m, uint64_t base)
{
	size_t nr = m->image->code ? hg_module_nr_vars(m->image->code) : 0;
	uint64_t at = 16;

	for (size_t i = 0; i < nr; i++) {
		const struct hg_var_info *v = hg_module_var(m->image->code, i);
		uint64_t align = v->align > 4 ? v->align : 4;

		if (m->library && m->library->managed[i]) {
			m->var_addr[i] = m->library->managed[i];
			continue;
		}
		at = (at + 4 * (1 + i * 7 % 13) + align - 1) & -align;
		m->var_addr[i] = base + at;
		at += v->size ? v->size : 4;
	}
	return nr ? at : 0;
}

static void init_vars(struct fake_module *m)
{
	size_t nr = m->image->code ? hg_module_nr_vars(m->image->code) : 0;

	for (size_t i = 0; i < nr; i++) {
		const struct hg_var_info *v = hg_module_var(m->image->code, i);
		unsigned char *p = (unsigned char *)(uintptr_t)m->var_addr[i];

		if (m->library && m->library->managed[i])
			continue;
		if (v->init)
			memcpy(p, v->init, v->size);
		else
			memset(p, 0, v->size);
		for (size_t r = 0; r < v->nr_relocs; r++) {
			uint64_t target = m->var_addr[v->relocs[r].var] + (uint64_t)v->relocs[r].addend;

			memcpy(p + v->relocs[r].offset, &target, sizeof(target));
		}
	}
}

static CUresult alloc_vars(struct fake_module *m, struct fake_ctx *ctx)
{
	size_t nr = m->image->code ? hg_module_nr_vars(m->image->code) : 0;
	struct fake_range range = { .mem = FAKE_MEM_MODULE, .ctx = ctx, .dev = ctx->dev };
	CUresult r = CUDA_SUCCESS;

	m->var_addr = calloc(nr + 1, sizeof(*m->var_addr));
	if (!m->var_addr)
		return CUDA_ERROR_OUT_OF_MEMORY;
	range.size = place_vars(m, 0);
	if (!range.size)
		return CUDA_SUCCESS;
	pthread_mutex_lock(&fake_mem_lock);
	range.start = fake_arena_alloc(ctx, range.size);
	if (!range.start || !fake_range_add(&range)) {
		if (range.start)
			fake_arena_free(range.start, range.size);
		r = CUDA_ERROR_OUT_OF_MEMORY;
	}
	pthread_mutex_unlock(&fake_mem_lock);
	if (r != CUDA_SUCCESS)
		return r;
	m->block = range.start;
	m->block_size = range.size;
	place_vars(m, m->block);
	init_vars(m);
	return CUDA_SUCCESS;
}

static void free_vars(struct fake_module *m)
{
	if (!m->block)
		return;
	pthread_mutex_lock(&fake_mem_lock);
	fake_range_remove(m->block);
	fake_arena_free(m->block, m->block_size);
	pthread_mutex_unlock(&fake_mem_lock);
}

/* Takes the caller's reference to the image, also when it fails. */
static CUresult module_new(struct fake_ctx *ctx, struct fake_image *image, struct fake_library *library,
			   struct fake_module **out)
{
	struct fake_module *m = calloc(1, sizeof(*m));
	CUresult r = CUDA_ERROR_OUT_OF_MEMORY;

	if (!m) {
		image_put(image);
		return r;
	}
	m->obj.kind = FAKE_MODULE;
	m->obj.ctx = ctx;
	m->obj.release = module_release;
	m->image = image;
	m->library = library;
	m->function = calloc(image->nr_kernels + 1, sizeof(*m->function));
	if (!m->function)
		goto err_release;
	r = alloc_vars(m, ctx);
	if (r != CUDA_SUCCESS)
		goto err_release;
	for (size_t i = 0; i < image->nr_kernels; i++) {
		struct fake_function *f = &m->function[i];

		f->obj.kind = FAKE_FUNCTION;
		f->obj.ctx = ctx;
		f->obj.release = obj_release;
		f->module = m;
		f->index = i;
		f->info = image->kernel[i];
		f->max_dynamic = 49152 - (int)f->info->shared_bytes;
		f->carveout = -1;
		if (library) {
			f->kernel = &library->kernel[i];
			f->max_dynamic = f->kernel->max_dynamic;
			f->carveout = f->kernel->carveout;
			f->cache = f->kernel->cache;
		}
		if (!fake_handle_add(&f->obj))
			goto err_functions;
		m->nr_functions++;
	}
	if (!fake_handle_add(&m->obj))
		goto err_functions;
	*out = m;
	return CUDA_SUCCESS;

err_functions:
	for (size_t i = 0; i < m->nr_functions; i++)
		fake_handle_remove(&m->function[i].obj);
	free_vars(m);
	r = CUDA_ERROR_OUT_OF_MEMORY;
err_release:
	module_release(&m->obj);
	return r;
}

/* Its handle is gone already. The work that used it too. */
void fake_module_end(struct fake_module *m)
{
	if (m->library)
		fake_library_forgets(m);
	for (size_t i = 0; i < m->nr_functions; i++)
		fake_handle_remove(&m->function[i].obj);
	free_vars(m);
	fake_put(&m->obj);
}

static CUresult load(CUmodule *out, const void *data, unsigned int nr, const CUjit_option *option, void *const *value)
{
	struct fake_image *image;
	struct fake_module *m;
	struct fake_ctx *ctx;
	size_t log_size;
	char *log;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (!out || !data || (nr && (!option || !value)))
		return CUDA_ERROR_INVALID_VALUE;
	log = jit_log(nr, option, value, &log_size);
	r = image_new(data, log, log_size, &image);
	if (r == CUDA_SUCCESS)
		r = module_new(ctx, image, NULL, &m);
	if (r == CUDA_SUCCESS)
		*out = (CUmodule)m;
	return r;
}

CUresult fake_cuModuleLoadData(CUmodule *out, const void *data)
{
	return load(out, data, 0, NULL, NULL);
}

CUresult fake_cuModuleLoadDataEx(CUmodule *out, const void *data, unsigned int nr, CUjit_option *option, void **value)
{
	return load(out, data, nr, option, value);
}

CUresult fake_cuModuleLoadFatBinary(CUmodule *out, const void *data)
{
	return load(out, data, 0, NULL, NULL);
}

CUresult fake_cuModuleLoad(CUmodule *out, const char *path)
{
	char *data;
	CUresult r;

	if (!path)
		return CUDA_ERROR_INVALID_VALUE;
	r = read_file(path, &data);
	if (r != CUDA_SUCCESS)
		return r;
	r = load(out, data, 0, NULL, NULL);
	free(data);
	return r;
}

CUresult fake_cuModuleUnload(CUmodule handle)
{
	struct fake_module *m = fake_handle(handle, FAKE_MODULE);

	if (!m || m->library)
		return CUDA_ERROR_INVALID_HANDLE;
	fake_ctx_sync(m->obj.ctx);
	if (!fake_handle_remove(&m->obj))
		return CUDA_ERROR_INVALID_HANDLE;
	fake_module_end(m);
	return CUDA_SUCCESS;
}

CUresult fake_cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = CU_MODULE_LAZY_LOADING;
	return CUDA_SUCCESS;
}

/* SIZE_MAX: none. */
static size_t find_kernel(const struct fake_image *image, const char *name)
{
	int i = image->code ? hg_module_find_kernel(image->code, name) : -1;

	if (i >= 0)
		return (size_t)i;
	for (size_t k = image->nr_runnable; k < image->nr_kernels; k++)
		if (!strcmp(image->kernel[k]->name, name))
			return k;
	return SIZE_MAX;
}

static CUresult check_module(CUmodule handle, struct fake_module **out)
{
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	*out = fake_handle(handle, FAKE_MODULE);
	return *out && (*out)->obj.ctx == ctx ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult fake_cuModuleGetFunction(CUfunction *out, CUmodule handle, const char *name)
{
	struct fake_module *m;
	CUresult r = check_module(handle, &m);
	size_t i;

	if (r != CUDA_SUCCESS)
		return r;
	if (!out || !name)
		return CUDA_ERROR_INVALID_VALUE;
	i = find_kernel(m->image, name);
	if (i == SIZE_MAX)
		return CUDA_ERROR_NOT_FOUND;
	*out = (CUfunction)&m->function[i];
	return CUDA_SUCCESS;
}

CUresult fake_cuModuleGetFunctionCount(unsigned int *nr, CUmodule handle)
{
	struct fake_module *m;
	CUresult r = check_module(handle, &m);

	if (r == CUDA_SUCCESS && !nr)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*nr = (unsigned int)m->nr_functions;
	return r;
}

CUresult fake_cuModuleEnumerateFunctions(CUfunction *out, unsigned int max, CUmodule handle)
{
	struct fake_module *m;
	CUresult r = check_module(handle, &m);

	if (r == CUDA_SUCCESS && (!out || !max))
		r = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; r == CUDA_SUCCESS && i < max && i < m->nr_functions; i++)
		out[i] = (CUfunction)&m->function[i];
	return r;
}

/* Every variable has an address, also those that PTX does not make visible. */
static CUresult get_global(struct fake_module *m, CUdeviceptr *addr, size_t *size, const char *name)
{
	int i;

	if ((!addr && !size) || !name)
		return CUDA_ERROR_INVALID_VALUE;
	i = m->image->code ? hg_module_find_var(m->image->code, name) : -1;
	if (i < 0)
		return CUDA_ERROR_NOT_FOUND;
	if (addr)
		*addr = m->var_addr[i];
	if (size)
		*size = hg_module_var(m->image->code, (size_t)i)->size;
	return CUDA_SUCCESS;
}

CUresult fake_cuModuleGetGlobal_v2(CUdeviceptr *addr, size_t *size, CUmodule handle, const char *name)
{
	struct fake_module *m;
	CUresult r = check_module(handle, &m);

	return r == CUDA_SUCCESS ? get_global(m, addr, size, name) : r;
}

/* ---- libraries: an image that becomes a module in each context that asks ---- */

static void library_release(struct fake_obj *obj)
{
	struct fake_library *lib = (struct fake_library *)obj;

	for (size_t i = 0; lib->managed && i < hg_module_nr_vars(lib->image->code); i++)
		if (lib->managed[i])
			fake_managed_var_end(lib->managed[i]);
	free(lib->managed);
	image_put(lib->image);
	pthread_mutex_destroy(&lib->lock);
	free(lib->kernel);
	free(lib);
}

static CUresult library_new(CUlibrary *out, const void *data, unsigned int nr, const CUjit_option *option,
			    void *const *value)
{
	struct fake_library *lib;
	size_t log_size;
	char *log;
	CUresult r = CUDA_ERROR_OUT_OF_MEMORY;

	if (!out || !data || (nr && (!option || !value)))
		return CUDA_ERROR_INVALID_VALUE;
	lib = calloc(1, sizeof(*lib));
	if (!lib)
		return r;
	lib->obj.kind = FAKE_LIBRARY;
	lib->obj.release = library_release;
	pthread_mutex_init(&lib->lock, NULL);
	log = jit_log(nr, option, value, &log_size);
	r = image_new(data, log, log_size, &lib->image);
	if (r != CUDA_SUCCESS)
		goto err_release;
	r = CUDA_ERROR_OUT_OF_MEMORY;
	lib->kernel = calloc(lib->image->nr_kernels + 1, sizeof(*lib->kernel));
	if (!lib->kernel)
		goto err_release;
	if (lib->image->code) {
		lib->managed = calloc(hg_module_nr_vars(lib->image->code) + 1, sizeof(*lib->managed));
		if (!lib->managed)
			goto err_release;
	}
	for (size_t i = 0; i < lib->image->nr_kernels; i++) {
		struct fake_kernel *k = &lib->kernel[i];

		k->obj.kind = FAKE_KERNEL;
		k->obj.release = obj_release;
		k->library = lib;
		k->index = i;
		k->info = lib->image->kernel[i];
		k->max_dynamic = 49152 - (int)k->info->shared_bytes;
		k->carveout = -1;
		if (!fake_handle_add(&k->obj))
			goto err_kernels;
		lib->nr_kernels++;
	}
	if (!fake_handle_add(&lib->obj))
		goto err_kernels;
	*out = (CUlibrary)lib;
	return CUDA_SUCCESS;

err_kernels:
	for (size_t i = 0; i < lib->nr_kernels; i++)
		fake_handle_remove(&lib->kernel[i].obj);
err_release:
	library_release(&lib->obj);
	return r;
}

CUresult fake_cuLibraryLoadData(CUlibrary *out, const void *data, CUjit_option *option, void **value, unsigned int nr,
				CUlibraryOption *lib_option, void **lib_value, unsigned int nr_lib)
{
	if (nr_lib && !lib_option)
		return CUDA_ERROR_INVALID_VALUE;
	(void)lib_value;
	return library_new(out, data, nr, option, value);
}

CUresult fake_cuLibraryLoadFromFile(CUlibrary *out, const char *path, CUjit_option *option, void **value,
				    unsigned int nr, CUlibraryOption *lib_option, void **lib_value, unsigned int nr_lib)
{
	char *data;
	CUresult r;

	if (!path)
		return CUDA_ERROR_INVALID_VALUE;
	r = read_file(path, &data);
	if (r != CUDA_SUCCESS)
		return r;
	r = fake_cuLibraryLoadData(out, data, option, value, nr, lib_option, lib_value, nr_lib);
	free(data);
	return r;
}

static void add_functions(struct fake_module *m)
{
	for (size_t i = 0; i < m->nr_functions; i++) {
		struct fake_kernel *k = m->function[i].kernel;

		atomic_init(&m->function[i].next, k->function);
		atomic_store_explicit(&k->function, &m->function[i], memory_order_release);
	}
}

/* The library's lock is held, or its modules are ending. */
static void remove_functions(struct fake_module *m)
{
	for (size_t i = 0; i < m->nr_functions; i++) {
		struct fake_function *_Atomic *at = &m->function[i].kernel->function;

		while (*at && *at != &m->function[i])
			at = &(*at)->next;
		if (*at)
			*at = (*at)->next;
	}
}

void fake_library_forgets(struct fake_module *m)
{
	struct fake_library *lib = m->library;
	struct fake_module **at;

	pthread_mutex_lock(&lib->lock);
	remove_functions(m);
	for (at = &lib->module; *at && *at != m;)
		at = &(*at)->next;
	if (*at)
		*at = m->next;
	pthread_mutex_unlock(&lib->lock);
}

static CUresult library_module(struct fake_library *lib, struct fake_ctx *ctx, struct fake_module **out)
{
	CUresult r = CUDA_SUCCESS;
	struct fake_module *m;

	pthread_mutex_lock(&lib->lock);
	for (m = lib->module; m && m->obj.ctx != ctx;)
		m = m->next;
	if (!m) {
		atomic_fetch_add(&lib->image->refs, 1);
		r = module_new(ctx, lib->image, lib, &m);
		if (r == CUDA_SUCCESS) {
			m->next = lib->module;
			lib->module = m;
			add_functions(m);
		}
	}
	pthread_mutex_unlock(&lib->lock);
	if (r == CUDA_SUCCESS)
		*out = m;
	return r;
}

CUresult fake_cuLibraryUnload(CUlibrary handle)
{
	struct fake_library *lib = fake_handle(handle, FAKE_LIBRARY);

	if (!lib || !fake_handle_remove(&lib->obj))
		return CUDA_ERROR_INVALID_HANDLE;
	for (;;) {
		struct fake_module *m;

		pthread_mutex_lock(&lib->lock);
		m = lib->module;
		pthread_mutex_unlock(&lib->lock);
		if (!m)
			break;
		fake_ctx_sync(m->obj.ctx);
		if (fake_handle_remove(&m->obj))
			fake_module_end(m);
	}
	for (size_t i = 0; i < lib->nr_kernels; i++)
		fake_handle_remove(&lib->kernel[i].obj);
	fake_put(&lib->obj);
	return CUDA_SUCCESS;
}

CUresult fake_cuLibraryGetKernel(CUkernel *out, CUlibrary handle, const char *name)
{
	struct fake_library *lib = fake_handle(handle, FAKE_LIBRARY);
	size_t i;

	if (!lib)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out || !name)
		return CUDA_ERROR_INVALID_VALUE;
	i = find_kernel(lib->image, name);
	if (i == SIZE_MAX)
		return CUDA_ERROR_NOT_FOUND;
	*out = (CUkernel)&lib->kernel[i];
	return CUDA_SUCCESS;
}

CUresult fake_cuLibraryGetKernelCount(unsigned int *nr, CUlibrary handle)
{
	struct fake_library *lib = fake_handle(handle, FAKE_LIBRARY);

	if (!lib)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!nr)
		return CUDA_ERROR_INVALID_VALUE;
	*nr = (unsigned int)lib->nr_kernels;
	return CUDA_SUCCESS;
}

CUresult fake_cuLibraryEnumerateKernels(CUkernel *out, unsigned int max, CUlibrary handle)
{
	struct fake_library *lib = fake_handle(handle, FAKE_LIBRARY);

	if (!lib)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out || !max)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < max && i < lib->nr_kernels; i++)
		out[i] = (CUkernel)&lib->kernel[i];
	return CUDA_SUCCESS;
}

static CUresult library_here(CUlibrary handle, struct fake_module **out)
{
	struct fake_library *lib = fake_handle(handle, FAKE_LIBRARY);
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	return lib ? library_module(lib, ctx, out) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult fake_cuLibraryGetModule(CUmodule *out, CUlibrary handle)
{
	struct fake_module *m;
	CUresult r = library_here(handle, &m);

	if (r == CUDA_SUCCESS && !out)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*out = (CUmodule)m;
	return r;
}

CUresult fake_cuLibraryGetGlobal(CUdeviceptr *addr, size_t *size, CUlibrary handle, const char *name)
{
	struct fake_module *m;
	CUresult r = library_here(handle, &m);

	return r == CUDA_SUCCESS ? get_global(m, addr, size, name) : r;
}

/*
 * Managed variables are the library's: the runtime asks for them when there is no context yet. The translator does not
 * say which ones are managed, but a program asks only for those that are, before it uses anything else of the library.
 */
CUresult fake_cuLibraryGetManaged(CUdeviceptr *addr, size_t *size, CUlibrary handle, const char *name)
{
	struct fake_library *lib = fake_handle(handle, FAKE_LIBRARY);
	const struct hg_var_info *v;
	CUresult r = CUDA_SUCCESS;
	int i;

	if (!lib)
		return CUDA_ERROR_INVALID_HANDLE;
	if ((!addr && !size) || !name)
		return CUDA_ERROR_INVALID_VALUE;
	i = lib->image->code ? hg_module_find_var(lib->image->code, name) : -1;
	if (i < 0)
		return CUDA_ERROR_NOT_FOUND;
	v = hg_module_var(lib->image->code, (size_t)i);
	pthread_mutex_lock(&lib->lock);
	if (!lib->managed[i] && lib->module)
		r = CUDA_ERROR_NOT_FOUND;
	else if (!lib->managed[i])
		lib->managed[i] = fake_managed_var(v->size, v->init);
	if (r == CUDA_SUCCESS && !lib->managed[i])
		r = CUDA_ERROR_OUT_OF_MEMORY;
	if (r == CUDA_SUCCESS && addr)
		*addr = lib->managed[i];
	pthread_mutex_unlock(&lib->lock);
	if (r == CUDA_SUCCESS && size)
		*size = v->size;
	return r;
}

/* No image that this driver takes has any. */
CUresult fake_cuLibraryGetUnifiedFunction(void **fn, CUlibrary handle, const char *name)
{
	if (!fake_handle(handle, FAKE_LIBRARY))
		return CUDA_ERROR_INVALID_HANDLE;
	return !fn || !name ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_FOUND;
}

CUresult fake_cuKernelGetLibrary(CUlibrary *out, CUkernel handle)
{
	struct fake_kernel *k = fake_handle(handle, FAKE_KERNEL);

	if (!k)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = (CUlibrary)k->library;
	return CUDA_SUCCESS;
}

/* ---- what a handle of a kernel means here ---- */

CUresult fake_function_get(const void *handle, struct fake_function **out)
{
	int kind = fake_handle_kind(handle);
	struct fake_function *f;
	struct fake_module *m;
	struct fake_kernel *k;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (kind == FAKE_FUNCTION) {
		*out = (struct fake_function *)(uintptr_t)handle;
		return (*out)->obj.ctx == ctx ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
	}
	if (kind != FAKE_KERNEL)
		return CUDA_ERROR_INVALID_HANDLE;
	k = (struct fake_kernel *)(uintptr_t)handle;
	for (f = atomic_load_explicit(&k->function, memory_order_acquire); f; f = f->next)
		if (f->obj.ctx == ctx) {
			*out = f;
			return CUDA_SUCCESS;
		}
	r = library_module(k->library, ctx, &m);
	if (r == CUDA_SUCCESS)
		*out = &m->function[k->index];
	return r;
}

const struct hg_kernel_info *fake_kernel_info(const void *handle)
{
	switch (fake_handle_kind(handle)) {
	case FAKE_FUNCTION:
		return ((const struct fake_function *)handle)->info;
	case FAKE_KERNEL:
		return ((const struct fake_kernel *)handle)->info;
	default:
		return NULL;
	}
}
