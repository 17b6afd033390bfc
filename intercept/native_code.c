/* native_code.c - the modules and libraries that the real driver has loaded, and what their images hold. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "intercept/native.h"

struct var {
	const char *name;	/* in the index */
	uint64_t addr, size;
	bool found;
};

struct code {
	enum hg_kind kind;
	const void *handle;
	CUcontext ctx;			/* current when it was loaded */
	struct hg_image_index *index;	/* NULL: the image could not be looked into */
	struct var *var;		/* index->nr_vars of them */
	bool placed;			/* the driver was asked for their addresses before the record was written */
	bool going;
	struct code *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct code *codes;
static bool lost;	/* something was loaded that is not in the list */

static struct hg_image_index *index_of(const void *image, size_t size)
{
	const struct hg_engine *engine = image ? hg_engine() : NULL;
	struct hg_image_index *index = NULL;

	if (!engine || engine->image_index(image, size, &index) != HG_OK)
		return NULL;
	return index;
}

static void code_free(struct code *c)
{
	if (c->index)
		hg_engine()->image_index_free(c->index);
	free(c->var);
	free(c);
}

/* A variable that only its initial value can be in: the compiler's strings, and constants that nobody can look up. */
static bool is_fixed(const struct hg_index_var *v)
{
	return v->is_const || !strncmp(v->name, "$str", 4) || !strncmp(v->name, "__unnamed_", 10);
}

static CUresult place_var(const struct code *c, struct var *v)
{
	CUdeviceptr addr = 0;
	size_t size = 0;
	CUresult r = CUDA_ERROR_NOT_FOUND;

	if (c->kind == HG_KIND_MODULE && hg_nv.cuModuleGetGlobal_v2)
		r = hg_nv.cuModuleGetGlobal_v2(&addr, &size, (CUmodule)(uintptr_t)c->handle, v->name);
	else if (c->kind == HG_KIND_LIBRARY && hg_nv.cuLibraryGetGlobal)
		r = hg_nv.cuLibraryGetGlobal(&addr, &size, (CUlibrary)(uintptr_t)c->handle, v->name);
	v->found = r == CUDA_SUCCESS && addr && size;
	v->addr = addr;
	v->size = size;
	return r;
}

/* False: no context was current, and the driver has not placed them yet. */
static bool place_vars(struct code *c)
{
	for (size_t i = 0; i < c->index->nr_vars; i++) {
		CUresult r;

		c->var[i].name = c->index->vars[i].name;
		r = place_var(c, &c->var[i]);
		if (r == CUDA_ERROR_INVALID_CONTEXT || r == CUDA_ERROR_CONTEXT_IS_DESTROYED)
			return false;
	}
	return true;
}

/* A few of the kernels that exist as machine code only; how many there are. */
static size_t sass_only(const struct hg_image_index *index, char *names, size_t size)
{
	size_t nr = 0, at = 0;

	names[0] = 0;
	for (size_t i = 0; i < index->nr_kernels; i++) {
		if (index->kernels[i].has_ptx)
			continue;
		if (nr++ < 3 && at < size)
			at += (size_t)snprintf(names + at, size - at, "%s'%s'", at ? ", " : "", index->kernels[i].name);
	}
	if (nr > 3 && at < size)
		snprintf(names + at, size - at, "… (%zu in all)", nr);
	return nr;
}

static void tell_sass_only(const struct hg_image_index *index)
{
	static bool said;
	char names[512];

	if (!sass_only(index, names, sizeof(names)))
		return;
	if (__atomic_exchange_n(&said, true, __ATOMIC_RELAXED)) {
		pr_info("kernels that exist as machine code only: %s", names);
		return;
	}
	pr_warn("code was loaded whose kernels exist as machine code only (no PTX), and which can go on only on an NVIDIA GPU: %s; "
		"HGSHIM_VERBOSE=2 names further ones", names);
}

bool hg_native_code_allowed(const void *image, size_t size)
{
	const char *portable = getenv("HGSHIM_PORTABLE");
	struct hg_image_index *index;
	char names[512];
	size_t nr;

	if (!portable || strcmp(portable, "1") != 0)
		return true;
	index = index_of(image, size);
	if (!index)
		return true;	/* what it is, the driver will say */
	nr = sass_only(index, names, sizeof(names));
	hg_engine()->image_index_free(index);
	if (nr)
		pr_err("code was not loaded, because HGSHIM_PORTABLE is set and its kernels exist as machine code only (no PTX): %s", names);
	return !nr;
}

void hg_native_code_loaded(enum hg_kind kind, const void *handle, const void *image, size_t size)
{
	struct code *c = calloc(1, sizeof(*c));

	if (!c) {
		__atomic_store_n(&lost, true, __ATOMIC_RELAXED);
		pr_err("cannot keep track of loaded code: no memory; checkpoints are refused from now on");
		return;
	}
	c->kind = kind;
	c->handle = handle;
	if (hg_nv.cuCtxGetCurrent)
		(void)hg_nv.cuCtxGetCurrent(&c->ctx);
	c->index = index_of(image, size);
	if (c->index) {
		c->var = calloc(c->index->nr_vars + 1, sizeof(*c->var));
		c->placed = c->var && place_vars(c);
		tell_sass_only(c->index);
	}
	pthread_mutex_lock(&lock);
	c->next = codes;
	codes = c;
	pthread_mutex_unlock(&lock);
}

/* The newest of that handle: it may have been used before. */
static struct code *find(enum hg_kind kind, const void *handle, bool going)
{
	for (struct code *c = codes; c; c = c->next)
		if (c->handle == handle && (!kind || c->kind == kind) && c->going == going)
			return c;
	return NULL;
}

void hg_native_code_going(enum hg_kind kind, const void *handle)
{
	struct code *c;

	pthread_mutex_lock(&lock);
	c = find(kind, handle, false);
	if (c)
		c->going = true;
	pthread_mutex_unlock(&lock);
}

void hg_native_code_gone(enum hg_kind kind, const void *handle, bool gone)
{
	struct code *c, **link;

	pthread_mutex_lock(&lock);
	c = find(kind, handle, true);
	if (c && gone) {
		for (link = &codes; *link != c; link = &(*link)->next)
			;
		*link = c->next;
		code_free(c);
	} else if (c) {
		c->going = false;
	}
	pthread_mutex_unlock(&lock);
}

/* Modules end with their context; libraries do not. */
void hg_native_code_ctx_gone(CUcontext ctx)
{
	pthread_mutex_lock(&lock);
	for (struct code **link = &codes; *link;) {
		struct code *c = *link;

		if (c->kind == HG_KIND_MODULE && c->ctx == ctx) {
			*link = c->next;
			code_free(c);
		} else {
			link = &c->next;
		}
	}
	pthread_mutex_unlock(&lock);
}

size_t hg_native_module_vars(const void *module_or_library, struct hg_place *out, size_t max)
{
	struct code *c;
	size_t nr = 0;

	pthread_mutex_lock(&lock);
	c = find(0, module_or_library, false);
	for (size_t i = 0; c && c->var && i < c->index->nr_vars; i++) {
		const struct var *v = &c->var[i];

		if (!v->found)
			continue;
		/* the name lives as long as the code is loaded */
		if (nr < max)
			out[nr] = (struct hg_place){ .name = v->name, .addr = v->addr, .size = v->size };
		nr++;
	}
	pthread_mutex_unlock(&lock);
	return nr;
}

/* ---- parameters ---- */

/*
 * Kept for ever, one for each layout that was seen: a launch on another thread may look at one whose kernel has just been
 * unloaded.
 */
struct layout {
	struct layout *next;
	struct hg_kernel_info info;
	struct hg_param param[];
};

static const struct hg_kernel_info *layout_of(const struct hg_param *param, uint32_t nr, uint32_t bytes)
{
	static pthread_mutex_t layouts_lock = PTHREAD_MUTEX_INITIALIZER;
	static struct layout *layouts;
	struct layout *l;

	pthread_mutex_lock(&layouts_lock);
	for (l = layouts; l; l = l->next)
		if (l->info.nr_params == nr && l->info.param_bytes == bytes &&
		    !memcmp(l->param, param, nr * sizeof(*param)))
			break;
	if (!l) {
		l = calloc(1, sizeof(*l) + nr * sizeof(*param));
		if (l) {
			memcpy(l->param, param, nr * sizeof(*param));
			l->info = (struct hg_kernel_info){ .nr_params = nr, .params = l->param, .param_bytes = bytes };
			l->next = layouts;
			layouts = l;
		}
	}
	pthread_mutex_unlock(&layouts_lock);
	return l ? &l->info : NULL;
}

#define MAX_PARAMS 4096		/* of one byte each, in 4 KiB; more than any compiler makes of the larger block */

/* Since CUDA 12.4 the driver says it; HG_ERR_UNSUPPORTED: this one does not. */
static enum hg_status ask_driver(const struct hg_function *f, const struct hg_kernel_info **out)
{
	struct hg_param *param = calloc(MAX_PARAMS, sizeof(*param));
	uint32_t nr = 0, bytes = 0;
	CUresult r = CUDA_SUCCESS;

	if (!param)
		return HG_ERR_NOMEM;
	while (nr < MAX_PARAMS) {
		size_t offset = 0, size = 0;

		r = CUDA_ERROR_NOT_SUPPORTED;
		if (f->is_kernel && hg_nv.cuKernelGetParamInfo)
			r = hg_nv.cuKernelGetParamInfo((CUkernel)(uintptr_t)f->handle, nr, &offset, &size);
		else if (!f->is_kernel && hg_nv.cuFuncGetParamInfo)
			r = hg_nv.cuFuncGetParamInfo((CUfunction)(uintptr_t)f->handle, nr, &offset, &size);
		if (r != CUDA_SUCCESS)
			break;
		param[nr++] = (struct hg_param){ .offset = (uint32_t)offset, .size = (uint32_t)size };
		if (offset + size > bytes)
			bytes = (uint32_t)(offset + size);
	}
	/* that there is no such parameter */
	if (r == CUDA_ERROR_INVALID_VALUE)
		*out = layout_of(param, nr, bytes);
	free(param);
	if (r != CUDA_ERROR_INVALID_VALUE)
		return HG_ERR_UNSUPPORTED;
	return *out ? HG_OK : HG_ERR_NOMEM;
}

static const struct hg_kernel_info *look_up(const char *name, const void *code)
{
	const struct hg_index_kernel *k = NULL;
	const struct hg_kernel_info *info = NULL;

	pthread_mutex_lock(&lock);
	for (struct code *c = codes; c && !k; c = c->next)
		if (c->index && (!code || c->handle == code))
			k = hg_engine()->image_index_kernel(c->index, name);
	if (k && k->params_known)
		info = layout_of(k->params, k->nr_params, k->param_bytes);
	pthread_mutex_unlock(&lock);
	return info;
}

enum hg_status hg_native_kernel_info(const struct hg_function *f, const struct hg_kernel_info **out)
{
	const struct hg_kernel_info *info;
	const char *name = f->name;
	enum hg_status st = ask_driver(f, out);

	if (st != HG_ERR_UNSUPPORTED)
		return st;
	if (!name && f->is_kernel && hg_nv.cuKernelGetName)
		(void)hg_nv.cuKernelGetName(&name, (CUkernel)(uintptr_t)f->handle);
	else if (!name && !f->is_kernel && hg_nv.cuFuncGetName)
		(void)hg_nv.cuFuncGetName(&name, (CUfunction)(uintptr_t)f->handle);
	info = name ? look_up(name, f->code) : NULL;
	if (!info)
		return HG_ERR_NOTFOUND;
	*out = info;
	return HG_OK;
}

/* ---- checkpoints ---- */

enum hg_status hg_native_refused(enum hg_status (*each)(const char *kernel, const char *why, void *arg), void *arg)
{
	enum hg_status st = HG_OK;

	pthread_mutex_lock(&lock);
	for (struct code *c = codes; c && st == HG_OK; c = c->next)
		for (size_t i = 0; c->index && i < c->index->nr_kernels && st == HG_OK; i++)
			if (!c->index->kernels[i].has_ptx)
				st = each(c->index->kernels[i].name, "it exists as machine code only (no PTX)", arg);
	pthread_mutex_unlock(&lock);
	return st;
}

void hg_native_code_uncovered(void (*each)(const char *kind, const char *what, void *arg), void *arg)
{
	struct hg_native_ctxs ctxs;
	bool several = hg_native_ctxs(&ctxs) != HG_OK || ctxs.nr > 1;
	char what[256];

	if (__atomic_load_n(&lost, __ATOMIC_RELAXED))
		each("module", "loaded code was not kept track of: there was no memory", arg);
	pthread_mutex_lock(&lock);
	for (struct code *c = codes; c; c = c->next) {
		if (!c->index || !c->var) {
			each("module", "a loaded image could not be looked into: its variables are not known", arg);
			continue;
		}
		if (c->index->uses_malloc)
			each("memory", "kernels that were loaded call the device's malloc: its memory cannot be read", arg);
		if (!c->index->nr_vars)
			continue;
		if (!c->placed)
			each("module", "the variables of a library had no addresses yet when it was loaded", arg);
		if (several && c->kind == HG_KIND_LIBRARY)
			each("module", "a library with variables is used by several contexts: each has its own", arg);
		for (size_t i = 0; c->placed && i < c->index->nr_vars; i++)
			if (!c->var[i].found && !is_fixed(&c->index->vars[i])) {
				snprintf(what, sizeof(what), "the driver does not tell where variable '%.200s' lies",
					 c->var[i].name);
				each("module", what, arg);
			}
	}
	pthread_mutex_unlock(&lock);
}

enum hg_status hg_native_globals(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg)
{
	enum hg_status st = HG_OK;

	/* `each` may take long; nobody else loads or unloads meanwhile */
	for (struct code *c = codes; c; c = c->next)
		for (size_t i = 0; c->var && i < c->index->nr_vars; i++) {
			const struct hg_region r = {
				.addr = c->var[i].addr, .size = c->var[i].size, .object = (uintptr_t)c->handle,
				.kind = HG_REGION_GLOBAL, .name = c->var[i].name,
			};

			if (!c->var[i].found)
				continue;
			st = each(&r, arg);
			if (st != HG_OK)
				return st;
		}
	return st;
}
