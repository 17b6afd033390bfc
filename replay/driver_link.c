/* driver_link.c - cuLink: several images into one that cuModuleLoadData takes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/driver_priv.h"
#include "translate/fatbin.h"

#define LOG_BYTES 4096

/*
 * Linking is done when the result is loaded: it is the images side by side (hg_image_join). Here each is looked at alone when it comes,
 * as NVIDIA's driver compiles PTX then, and all together at the end. Nothing of it is recorded, the loading of the result is.
 */
struct drv_link {
	struct drv_obj obj;
	struct drv_jit_log jit;
	char log[LOG_BYTES];
	struct hg_image *image;		/* malloc'ed, with a NUL behind each */
	size_t nr_images;
	void *result;
};

static void link_free(struct drv_obj *obj)
{
	struct drv_link *l = (struct drv_link *)obj;

	for (size_t i = 0; i < l->nr_images; i++)
		free((void *)l->image[i].data);
	free(l->image);
	free(l->result);
	free(l);
}

/* Lines of the error log, each with the name of the input it is about. */
static void note(struct drv_link *l, const char *name, const char *text)
{
	size_t used = strlen(l->log);

	snprintf(l->log + used, sizeof(l->log) - used, "%s%s: %s", used ? "\n" : "", name, text);
	drv_jit_log_fill(&l->jit, l->log, 0);
}

CUresult drv_cuLinkCreate_v2(unsigned int nr, CUjit_option *options, void **values, CUlinkState *out)
{
	struct drv_link *l;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	l = calloc(1, sizeof(*l));
	if (!l)
		return CUDA_ERROR_OUT_OF_MEMORY;
	drv_obj_init(&l->obj, DRV_LINK, NULL, link_free);
	r = drv_jit_options(nr, options, values, &l->jit);
	if (!r)
		r = drv_obj_publish(&l->obj);
	if (r) {
		drv_obj_put(&l->obj);
		return r;
	}
	drv_jit_log_fill(&l->jit, "", 0);
	*out = drv_handle(&l->obj);
	return CUDA_SUCCESS;
}

/* One image: checked alone, and kept. */
static CUresult add_image(struct drv_link *l, const void *data, size_t size, const char *name)
{
	struct hg_image *more = reallocarray(l->image, l->nr_images + 1, sizeof(*more));
	char *copy = malloc(size + 1), text[LOG_BYTES] = "";
	struct hg_module *m;
	enum hg_status st;

	if (more)
		l->image = more;
	if (!more || !copy) {
		free(copy);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	memcpy(copy, data, size);
	copy[size] = '\0';
	st = hg_module_load(copy, size, drv.cc_major * 10 + drv.cc_minor, text, sizeof(text), &m);
	if (st) {
		CUresult r = drv_load_error(copy, size, st);

		note(l, name, *text ? text : hg_status_text(st));
		free(copy);
		return r;
	}
	hg_module_free(m);
	l->image[l->nr_images++] = (struct hg_image){ copy, size };
	return CUDA_SUCCESS;
}

struct add { struct drv_link *link; const char *name; CUresult r; };

static enum hg_status add_fatbin(const void *fatbin, size_t size, void *arg)
{
	struct add *a = arg;

	a->r = add_image(a->link, fatbin, size, a->name);
	return a->r ? HG_ERR_INVALID : HG_OK;
}

static CUresult add_input(struct drv_link *l, CUjitInputType type, const void *data, size_t size, const char *name)
{
	struct add a = { l, name, CUDA_SUCCESS };
	uint32_t magic = 0;

	if (!data || !size)
		return CUDA_ERROR_INVALID_VALUE;
	switch (type) {
	case CU_JIT_INPUT_PTX:
	case CU_JIT_INPUT_CUBIN:
		return add_image(l, data, size, name);
	case CU_JIT_INPUT_FATBINARY:
		memcpy(&magic, data, size < sizeof(magic) ? size : sizeof(magic));
		if (magic != HG_FATBIN_MAGIC && magic != HG_FATBIN_WRAPPER_MAGIC) {
			note(l, name, "no fatbin");
			return CUDA_ERROR_INVALID_IMAGE;
		}
		return add_image(l, data, size, name);
	case CU_JIT_INPUT_OBJECT:
	case CU_JIT_INPUT_LIBRARY:
		if (!hg_object_fatbins(data, size, add_fatbin, &a))
			return CUDA_SUCCESS;
		if (a.r)
			return a.r;
		note(l, name, "no object file and no archive, or a damaged one");
		return CUDA_ERROR_INVALID_IMAGE;
	case CU_JIT_INPUT_NVVM:
		note(l, name, "LTO intermediate code is not supported");
		return CUDA_ERROR_NOT_SUPPORTED;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

/* Options of one input tune NVIDIA's compiler; its logs are the state's. */
static CUresult link_of(CUlinkState state, unsigned int nr, const CUjit_option *options, void **values, struct drv_link **out)
{
	struct drv_jit_log ignored;
	CUresult r = drv_jit_options(nr, options, values, &ignored);

	if (r)
		return r;
	*out = drv_obj_get(state, DRV_LINK);
	if (!*out)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!(*out)->result)
		return CUDA_SUCCESS;
	drv_obj_put(&(*out)->obj);	/* it is complete */
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult drv_cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t size, const char *name, unsigned int nr,
			      CUjit_option *options, void **values)
{
	struct drv_link *l;
	CUresult r = link_of(state, nr, options, values, &l);

	if (r)
		return r;
	r = add_input(l, type, data, size, name ? name : "<unnamed>");
	drv_obj_put(&l->obj);
	return r;
}

CUresult drv_cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path, unsigned int nr, CUjit_option *options,
			      void **values)
{
	struct drv_link *l;
	size_t size;
	void *data;
	CUresult r;

	if (!path)
		return CUDA_ERROR_INVALID_VALUE;
	r = link_of(state, nr, options, values, &l);
	if (r)
		return r;
	r = drv_file_read(path, &data, &size);
	if (r) {
		note(l, path, "cannot be read");
	} else {
		r = add_input(l, type, data, size - 1, path);	/* without the NUL behind it */
		free(data);
	}
	drv_obj_put(&l->obj);
	return r;
}

/* A function that is called and that no input defines. */
static bool is_complete(struct drv_link *l, const struct hg_module *m)
{
	for (size_t i = 0; i < hg_module_nr_kernels(m); i++) {
		const char *why = hg_module_kernel(m, i)->refused;

		if (why && strstr(why, "is defined nowhere")) {
			note(l, "link", why);
			return false;
		}
	}
	return true;
}

CUresult drv_cuLinkComplete(CUlinkState state, void **out, size_t *out_size)
{
	char text[LOG_BYTES] = "";
	struct drv_link *l;
	struct hg_module *m;
	enum hg_status st;
	size_t size;
	CUresult r;
	void *result;

	r = link_of(state, 0, NULL, NULL, &l);
	if (r)
		return r;
	r = CUDA_ERROR_INVALID_VALUE;
	if (!out || !l->nr_images)
		goto out;
	r = CUDA_ERROR_OUT_OF_MEMORY;
	st = hg_image_join(l->image, l->nr_images, &result, &size);
	if (st)
		goto out;
	r = CUDA_ERROR_INVALID_IMAGE;
	st = hg_module_load(result, size, drv.cc_major * 10 + drv.cc_minor, text, sizeof(text), &m);
	if (st) {
		note(l, "link", *text ? text : hg_status_text(st));
		free(result);
		goto out;
	}
	if (is_complete(l, m)) {
		l->result = result;
		*out = result;
		if (out_size)
			*out_size = size;
		r = CUDA_SUCCESS;
	} else {
		free(result);
	}
	hg_module_free(m);
out:
	drv_obj_put(&l->obj);
	return r;
}

CUresult drv_cuLinkDestroy(CUlinkState state)
{
	struct drv_obj *obj = drv_obj_retire(state, DRV_LINK);

	if (!obj)
		return CUDA_ERROR_INVALID_HANDLE;
	drv_obj_put(obj);
	return CUDA_SUCCESS;
}
