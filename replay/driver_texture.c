/*
 * driver_texture.c - texture and surface objects: descriptors in device memory (translate/texture.h), with what they were
 * made of behind them. The address of one is its handle.
 */
#include <math.h>
#include <string.h>

#include "logdb/call.h"
#include "replay/driver_priv.h"

#define ALIGNMENT 512u
#define PITCH_ALIGNMENT 32u
#define MAX_LINEAR 268435456u
#define MAX_2D_WIDTH 131072u
#define MAX_2D_HEIGHT 65000u
#define MAX_2D_PITCH 2097120u

/* In device memory. */
struct object {
	struct hg_texture t;
	CUDA_RESOURCE_DESC resource;
	CUDA_TEXTURE_DESC texture;
	CUDA_RESOURCE_VIEW_DESC view;
	uint32_t has_view;
	uint32_t is_bound;		/* references only: `resource` is set */
	CUDA_ARRAY_DESCRIPTOR format;	/* references only: of memory that is bound */
};
_Static_assert(sizeof(struct object) <= HG_TEXTURE_REFERENCE_BYTES, "a reference has room for it");

/* ---- where the texels are ---- */

static void set_format(struct hg_texture *t, const struct drv_format *f)
{
	t->texel = f->texel;
	t->channels = f->channels;
	t->data_type = f->data_type;
	t->order = f->order;
	if (f->is_normalised)
		t->flags |= HG_TEXTURE_AS_FLOAT;
}

static CUresult from_array(struct hg_texture *t, uint64_t handle, bool mipmapped)
{
	struct drv_format format;
	struct drv_array a;
	CUresult r = drv_array_find(handle, mipmapped, &a);
	unsigned int nr = mipmapped && !r ? a.nr_levels : 1;

	if (r)
		return r;
	if (!drv_format((CUarray_format)a.format, a.channels, &format))
		return CUDA_ERROR_INVALID_HANDLE;
	set_format(t, &format);
	t->width = (uint32_t)a.width;
	t->height = (uint32_t)a.height;
	if (a.flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP))
		t->array_size = (uint32_t)(a.flags & CUDA_ARRAY3D_CUBEMAP ? a.depth / 6 : a.depth);
	else
		t->depth = (uint32_t)a.depth;
	t->nr_levels = nr;
	t->level[0] = a.level;
	for (unsigned int i = 1; i < nr && !r; i++) {
		r = drv_array_level(handle, i, &a);
		if (!r)
			t->level[i] = a.level;
	}
	return r;
}

/* All of [addr, addr + size) is one allocation. */
static bool is_memory(uint64_t addr, uint64_t size)
{
	struct drv_alloc a;

	return drv_mem_find(addr, &a) && a.what == DRV_PLAIN && size <= a.size - (addr - a.addr);
}

static CUresult from_memory(struct hg_texture *t, const CUDA_RESOURCE_DESC *d)
{
	bool linear = d->resType == CU_RESOURCE_TYPE_LINEAR;
	CUarray_format f = linear ? d->res.linear.format : d->res.pitch2D.format;
	unsigned int channels = linear ? d->res.linear.numChannels : d->res.pitch2D.numChannels;
	uint64_t addr = linear ? d->res.linear.devPtr : d->res.pitch2D.devPtr, width, height = 1, pitch, size;
	struct drv_format format;

	if (!drv_format(f, channels, &format) || addr % ALIGNMENT)
		return CUDA_ERROR_INVALID_VALUE;
	if (linear) {
		width = d->res.linear.sizeInBytes / format.bytes;
		pitch = size = d->res.linear.sizeInBytes;
		if (!width || width > MAX_LINEAR)
			return CUDA_ERROR_INVALID_VALUE;
	} else {
		width = d->res.pitch2D.width;
		height = d->res.pitch2D.height;
		pitch = d->res.pitch2D.pitchInBytes;
		if (!width || width > MAX_2D_WIDTH || !height || height > MAX_2D_HEIGHT || pitch > MAX_2D_PITCH ||
		    pitch % PITCH_ALIGNMENT || pitch < width * format.bytes)
			return CUDA_ERROR_INVALID_VALUE;
		size = pitch * (height - 1) + width * format.bytes;
	}
	if (!is_memory(addr, size))
		return CUDA_ERROR_INVALID_VALUE;
	set_format(t, &format);
	t->width = (uint32_t)width;
	t->height = linear ? 0 : (uint32_t)height;
	t->nr_levels = 1;
	t->level[0] = (struct hg_texture_level){
		.addr = addr, .pitch = pitch, .slice = pitch * height, .width = (uint32_t)width, .height = (uint32_t)height, .depth = 1,
		.row_bytes = (uint32_t)(width * format.bytes),
	};
	return CUDA_SUCCESS;
}

static CUresult check_resource(const CUDA_RESOURCE_DESC *d)
{
	/* flags (of both): must be zero */
	return d->flags || (unsigned int)d->resType > CU_RESOURCE_TYPE_PITCH2D ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult set_resource(struct hg_texture *t, const CUDA_RESOURCE_DESC *d)
{
	CUresult r = check_resource(d);

	if (r)
		return r;
	t->magic = HG_TEXTURE_MAGIC;
	switch (d->resType) {
	case CU_RESOURCE_TYPE_ARRAY:
		return from_array(t, (uintptr_t)d->res.array.hArray, false);
	case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
		return from_array(t, (uintptr_t)d->res.mipmap.hMipmappedArray, true);
	default:
		return from_memory(t, d);
	}
}

/* ---- another view of an array ---- */

static bool view_format(CUresourceViewFormat f, struct drv_format *out)
{
	static const CUarray_format of[] = {
		CU_AD_FORMAT_UNSIGNED_INT8, CU_AD_FORMAT_SIGNED_INT8, CU_AD_FORMAT_UNSIGNED_INT16, CU_AD_FORMAT_SIGNED_INT16,
		CU_AD_FORMAT_UNSIGNED_INT32, CU_AD_FORMAT_SIGNED_INT32, CU_AD_FORMAT_HALF, CU_AD_FORMAT_FLOAT,
	};
	unsigned int i = (unsigned int)f - CU_RES_VIEW_FORMAT_UINT_1X8;

	/* three of each, with 1, 2 and 4 channels */
	return i / 3 < sizeof(of) / sizeof(of[0]) && drv_format(of[i / 3], i % 3 == 2 ? 4 : i % 3 + 1, out);
}

static CUresult set_view(struct hg_texture *t, const CUDA_RESOURCE_DESC *d, const CUDA_RESOURCE_VIEW_DESC *v)
{
	uint32_t bytes = hg_texel_bytes((enum hg_texel)t->texel) * t->channels, nr;
	struct drv_format format;

	if (d->resType != CU_RESOURCE_TYPE_ARRAY && d->resType != CU_RESOURCE_TYPE_MIPMAPPED_ARRAY)
		return CUDA_ERROR_INVALID_VALUE;
	if (v->format >= CU_RES_VIEW_FORMAT_UNSIGNED_BC1 && v->format <= CU_RES_VIEW_FORMAT_UNSIGNED_BC7)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (v->format != CU_RES_VIEW_FORMAT_NONE) {
		if (!view_format(v->format, &format) || format.bytes != bytes)
			return CUDA_ERROR_INVALID_VALUE;
		t->flags &= ~(uint32_t)HG_TEXTURE_AS_FLOAT;
		set_format(t, &format);
	}
	if ((v->width && v->width != t->width) || (v->height && v->height != t->height) ||
	    v->firstMipmapLevel > v->lastMipmapLevel || v->lastMipmapLevel >= t->nr_levels || v->firstLayer > v->lastLayer)
		return CUDA_ERROR_INVALID_VALUE;
	nr = v->lastMipmapLevel - v->firstMipmapLevel + 1;
	memmove(t->level, t->level + v->firstMipmapLevel, nr * sizeof(t->level[0]));
	memset(t->level + nr, 0, (HG_TEXTURE_LEVELS - nr) * sizeof(t->level[0]));
	t->nr_levels = nr;
	if (!v->firstLayer && !v->lastLayer)
		return CUDA_SUCCESS;
	if (!t->array_size || v->lastLayer >= t->level[0].depth)
		return CUDA_ERROR_INVALID_VALUE;
	t->array_size = v->lastLayer - v->firstLayer + 1;
	for (uint32_t i = 0; i < nr; i++) {
		t->level[i].addr += v->firstLayer * t->level[i].slice;
		t->level[i].depth = t->array_size;
	}
	return CUDA_SUCCESS;
}

/* ---- how they are read ---- */

static bool is_one_of(unsigned int v, unsigned int last)
{
	return v <= last;
}

static CUresult set_sampling(struct hg_texture *t, const CUDA_RESOURCE_DESC *r, const CUDA_TEXTURE_DESC *d)
{
	/* as PTX numbers wrap, clamp to edge, mirror and border */
	static const uint32_t ptx_mode[] = { 0, 3, 1, 4 };
	const unsigned int known = CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_SRGB |
		CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION | CU_TRSF_SEAMLESS_CUBEMAP;
	bool is_integer = t->texel <= HG_TEXEL_S32, always_float = t->flags & HG_TEXTURE_AS_FLOAT;

	if (d->flags & ~known || !is_one_of(d->filterMode, CU_TR_FILTER_MODE_LINEAR) ||
	    !is_one_of(d->mipmapFilterMode, CU_TR_FILTER_MODE_LINEAR))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < 3; i++) {
		if (!is_one_of(d->addressMode[i], CU_TR_ADDRESS_MODE_BORDER))
			return CUDA_ERROR_INVALID_VALUE;
		t->address[i] = d->addressMode[i];
		t->address_mode[i] = ptx_mode[d->addressMode[i]];
	}
	/* mipmaps have normalised coordinates only */
	if (r->resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY && !(d->flags & CU_TRSF_NORMALIZED_COORDINATES))
		return CUDA_ERROR_INVALID_VALUE;
	if (isnan(d->mipmapLevelBias) || isnan(d->minMipmapLevelClamp) || isnan(d->maxMipmapLevelClamp))
		return CUDA_ERROR_INVALID_VALUE;
	/* 32-bit integers are never made floats */
	if (is_integer && t->texel < HG_TEXEL_U32 && !(d->flags & CU_TRSF_READ_AS_INTEGER))
		t->flags |= HG_TEXTURE_AS_FLOAT;
	else if (!always_float)
		t->flags &= ~(uint32_t)HG_TEXTURE_AS_FLOAT;
	if (d->flags & CU_TRSF_NORMALIZED_COORDINATES)
		t->flags |= HG_TEXTURE_NORMALISED;
	if (d->flags & CU_TRSF_SRGB)
		t->flags |= HG_TEXTURE_SRGB;
	if (d->flags & CU_TRSF_SEAMLESS_CUBEMAP)
		t->flags |= HG_TEXTURE_SEAMLESS;
	if (d->filterMode == CU_TR_FILTER_MODE_LINEAR)
		t->flags |= HG_TEXTURE_LINEAR;
	if (d->mipmapFilterMode == CU_TR_FILTER_MODE_LINEAR)
		t->flags |= HG_TEXTURE_MIP_LINEAR;
	t->bias = d->mipmapLevelBias;
	t->min_level = d->minMipmapLevelClamp;
	t->max_level = d->maxMipmapLevelClamp;
	memcpy(t->border, d->borderColor, sizeof(t->border));
	t->is_normalised = !!(d->flags & CU_TRSF_NORMALIZED_COORDINATES);
	t->filter = d->filterMode;
	if (r->resType == CU_RESOURCE_TYPE_LINEAR) {
		/* no modes: by number, and what is outside is zero */
		t->flags &= ~(uint32_t)(HG_TEXTURE_NORMALISED | HG_TEXTURE_LINEAR);
		for (unsigned int i = 0; i < 3; i++)
			t->address[i] = HG_TEXTURE_BORDER;
		memset(t->border, 0, sizeof(t->border));
	}
	return CUDA_SUCCESS;
}

/* ---- the calls ---- */

static CUresult publish(unsigned long long *out, const struct object *o, enum drv_what what)
{
	uint64_t wanted = drv_place_take_addr();
	struct drv_alloc *a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	r = drv_mem_alloc_what(ctx, what, sizeof(*o), wanted, &a);
	if (r)
		return r;
	r = drv_result(drv.ops->write(drv.target, a->addr, o, sizeof(*o)));
	if (r) {
		drv_mem_free(a);
		return r;
	}
	*out = a->addr;
	return CUDA_SUCCESS;
}

CUresult drv_cuTexObjectCreate(CUtexObject *out, const CUDA_RESOURCE_DESC *resource, const CUDA_TEXTURE_DESC *texture,
			       const CUDA_RESOURCE_VIEW_DESC *view)
{
	struct object o;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || !resource || !texture)
		return CUDA_ERROR_INVALID_VALUE;
	memset(&o, 0, sizeof(o));
	r = set_resource(&o.t, resource);
	if (!r && view)
		r = set_view(&o.t, resource, view);
	if (!r)
		r = set_sampling(&o.t, resource, texture);
	if (r)
		return r;
	o.resource = *resource;
	o.texture = *texture;
	o.has_view = view != NULL;
	if (view)
		o.view = *view;
	return publish(out, &o, DRV_TEXTURE);
}

CUresult drv_cuSurfObjectCreate(CUsurfObject *out, const CUDA_RESOURCE_DESC *resource)
{
	struct drv_array a;
	struct object o;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || !resource || resource->resType != CU_RESOURCE_TYPE_ARRAY)
		return CUDA_ERROR_INVALID_VALUE;
	memset(&o, 0, sizeof(o));
	r = set_resource(&o.t, resource);
	if (!r)
		r = drv_array_find((uintptr_t)resource->res.array.hArray, false, &a);
	if (r)
		return r;
	if (!(a.flags & CUDA_ARRAY3D_SURFACE_LDST))
		return CUDA_ERROR_INVALID_VALUE;
	o.resource = *resource;
	return publish(out, &o, DRV_SURFACE);
}

CUresult drv_cuTexObjectDestroy(CUtexObject handle)
{
	return drv_mem_free_what(handle, DRV_TEXTURE);
}

CUresult drv_cuSurfObjectDestroy(CUsurfObject handle)
{
	return drv_mem_free_what(handle, DRV_SURFACE);
}

static CUresult find(uint64_t handle, enum drv_what what, const void *out, struct object *o)
{
	struct drv_alloc a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	if (!drv_mem_find(handle, &a) || a.dying || a.addr != handle || a.what != what || a.size < sizeof(*o))
		return CUDA_ERROR_INVALID_HANDLE;
	return drv_result(drv.ops->read(drv.target, o, handle, sizeof(*o)));
}

static CUresult resource_of(uint64_t handle, enum drv_what what, CUDA_RESOURCE_DESC *out)
{
	struct object o;
	CUresult r = find(handle, what, out, &o);

	if (!r)
		*out = o.resource;
	return r;
}

CUresult drv_cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC *out, CUtexObject handle)
{
	return resource_of(handle, DRV_TEXTURE, out);
}

CUresult drv_cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC *out, CUtexObject handle)
{
	struct object o;
	CUresult r = find(handle, DRV_TEXTURE, out, &o);

	if (!r)
		*out = o.texture;
	return r;
}

CUresult drv_cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC *out, CUtexObject handle)
{
	struct object o;
	CUresult r = find(handle, DRV_TEXTURE, out, &o);

	if (!r && !o.has_view)
		return CUDA_ERROR_INVALID_VALUE;
	if (!r)
		*out = o.view;
	return r;
}

CUresult drv_cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC *out, CUsurfObject handle)
{
	return resource_of(handle, DRV_SURFACE, out);
}

/* ---- references: the same in a module's memory, bound later and again and again ---- */

static CUresult reference_find(uint64_t ref, struct object *o)
{
	struct drv_alloc a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!ref || !drv_mem_find(ref, &a) || a.addr != ref || a.kind != HG_REGION_GLOBAL || a.size != HG_TEXTURE_REFERENCE_BYTES)
		return CUDA_ERROR_INVALID_VALUE;
	return drv_result(drv.ops->read(drv.target, o, ref, sizeof(*o)));
}

static enum hg_status ctx_sync_each(struct drv_ctx *ctx, void *arg)
{
	(void)arg;
	return drv_ctx_sync(ctx);
}

/* Makes the structure that kernels read of what the reference is to be; those that were launched before read what it was. */
static CUresult reference_store(uint64_t ref, struct object *o)
{
	CUresult r = drv_result(drv_each_ctx(ctx_sync_each, NULL));

	if (r)
		return r;
	memset(&o->t, 0, sizeof(o->t));
	if (o->is_bound)
		r = set_resource(&o->t, &o->resource);
	if (o->is_bound && !r) {
		CUDA_TEXTURE_DESC d = o->texture;

		/* of mipmaps, references have normalised coordinates without being told */
		if (o->resource.resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY)
			d.flags |= CU_TRSF_NORMALIZED_COORDINATES;
		r = set_sampling(&o->t, &o->resource, &d);
	}
	return r ? r : drv_result(drv.ops->write(drv.target, ref, o, sizeof(*o)));
}

static CUresult reference_get(void **out, CUmodule module, const char *name)
{
	CUdeviceptr addr;
	size_t size;
	CUresult r;

	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_cuModuleGetGlobal_v2(&addr, &size, module, name);
	if (r)
		return r;
	if (size != HG_TEXTURE_REFERENCE_BYTES)
		return CUDA_ERROR_NOT_FOUND;
	*out = (void *)(uintptr_t)addr;
	return CUDA_SUCCESS;
}

CUresult drv_cuModuleGetTexRef(CUtexref *out, CUmodule module, const char *name)
{
	return reference_get((void **)out, module, name);
}

CUresult drv_cuModuleGetSurfRef(CUsurfref *out, CUmodule module, const char *name)
{
	return reference_get((void **)out, module, name);
}

static CUresult reference_bind(void *ref, const CUDA_RESOURCE_DESC *d)
{
	struct object o;
	CUresult r = reference_find((uintptr_t)ref, &o);

	if (r)
		return r;
	o.is_bound = 1;
	o.resource = *d;
	return reference_store((uintptr_t)ref, &o);
}

CUresult drv_cuTexRefSetArray(CUtexref ref, CUarray array, unsigned int flags)
{
	const CUDA_RESOURCE_DESC d = { .resType = CU_RESOURCE_TYPE_ARRAY, .res.array.hArray = array };

	return flags != CU_TRSA_OVERRIDE_FORMAT ? CUDA_ERROR_INVALID_VALUE : reference_bind(ref, &d);
}

CUresult drv_cuTexRefSetMipmappedArray(CUtexref ref, CUmipmappedArray array, unsigned int flags)
{
	const CUDA_RESOURCE_DESC d = { .resType = CU_RESOURCE_TYPE_MIPMAPPED_ARRAY, .res.mipmap.hMipmappedArray = array };

	return flags != CU_TRSA_OVERRIDE_FORMAT ? CUDA_ERROR_INVALID_VALUE : reference_bind(ref, &d);
}

CUresult drv_cuSurfRefSetArray(CUsurfref ref, CUarray array, unsigned int flags)
{
	const CUDA_RESOURCE_DESC d = { .resType = CU_RESOURCE_TYPE_ARRAY, .res.array.hArray = array };
	struct drv_array a;

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!drv_array_find((uintptr_t)array, false, &a) && !(a.flags & CUDA_ARRAY3D_SURFACE_LDST))
		return CUDA_ERROR_INVALID_VALUE;
	return reference_bind(ref, &d);
}

/* An address that is not aligned is bound from the aligned one before it on; the kernel adds the offset. */
CUresult drv_cuTexRefSetAddress_v2(size_t *offset, CUtexref ref, CUdeviceptr ptr, size_t bytes)
{
	size_t before = ptr % ALIGNMENT;
	CUDA_RESOURCE_DESC d = { .resType = CU_RESOURCE_TYPE_LINEAR };
	struct object o;
	CUresult r = reference_find((uintptr_t)ref, &o);

	if (r)
		return r;
	if ((before && !offset) || bytes > SIZE_MAX - before)
		return CUDA_ERROR_INVALID_VALUE;
	d.res.linear.devPtr = ptr - before;
	d.res.linear.sizeInBytes = bytes + before;
	d.res.linear.format = o.format.Format;
	d.res.linear.numChannels = o.format.NumChannels;
	r = reference_bind(ref, &d);
	if (!r && offset)
		*offset = before;
	return r;
}

CUresult drv_cuTexRefSetAddress2D_v3(CUtexref ref, const CUDA_ARRAY_DESCRIPTOR *a, CUdeviceptr ptr, size_t pitch)
{
	CUDA_RESOURCE_DESC d = { .resType = CU_RESOURCE_TYPE_PITCH2D };

	if (!a)
		return CUDA_ERROR_INVALID_VALUE;
	d.res.pitch2D.devPtr = ptr;
	d.res.pitch2D.format = a->Format;
	d.res.pitch2D.numChannels = a->NumChannels;
	d.res.pitch2D.width = a->Width;
	d.res.pitch2D.height = a->Height;
	d.res.pitch2D.pitchInBytes = pitch;
	return reference_bind(ref, &d);
}

/* One property of a reference: `change` uses o. */
#define REFERENCE_SET(sym, params, ref, valid, change)						\
	CUresult drv_##sym params								\
	{											\
		struct object o;								\
		CUresult r = reference_find((uintptr_t)(ref), &o);				\
												\
		if (r)										\
			return r;								\
		if (!(valid))									\
			return CUDA_ERROR_INVALID_VALUE;					\
		change;										\
		return reference_store((uintptr_t)(ref), &o);					\
	}
#define REFERENCE_GET(sym, params, ref, valid, tell)						\
	CUresult drv_##sym params								\
	{											\
		struct object o;								\
		CUresult r = reference_find((uintptr_t)(ref), &o);				\
												\
		if (r)										\
			return r;								\
		if (!(valid))									\
			return CUDA_ERROR_INVALID_VALUE;					\
		tell;										\
		return CUDA_SUCCESS;								\
	}

static bool is_format(CUarray_format format, int channels)
{
	struct drv_format f;

	return channels > 0 && drv_format(format, (unsigned int)channels, &f);
}

REFERENCE_SET(cuTexRefSetFormat, (CUtexref ref, CUarray_format format, int channels), ref, is_format(format, channels),
	      (o.format.Format = format, o.format.NumChannels = (unsigned int)channels))
REFERENCE_SET(cuTexRefSetAddressMode, (CUtexref ref, int dim, CUaddress_mode mode), ref,
	      dim >= 0 && dim < 3 && is_one_of(mode, CU_TR_ADDRESS_MODE_BORDER), o.texture.addressMode[dim] = mode)
REFERENCE_SET(cuTexRefSetFilterMode, (CUtexref ref, CUfilter_mode mode), ref, is_one_of(mode, CU_TR_FILTER_MODE_LINEAR),
	      o.texture.filterMode = mode)
REFERENCE_SET(cuTexRefSetMipmapFilterMode, (CUtexref ref, CUfilter_mode mode), ref, is_one_of(mode, CU_TR_FILTER_MODE_LINEAR),
	      o.texture.mipmapFilterMode = mode)
REFERENCE_SET(cuTexRefSetMipmapLevelBias, (CUtexref ref, float bias), ref, !isnan(bias), o.texture.mipmapLevelBias = bias)
REFERENCE_SET(cuTexRefSetMipmapLevelClamp, (CUtexref ref, float min, float max), ref, !isnan(min) && !isnan(max),
	      (o.texture.minMipmapLevelClamp = min, o.texture.maxMipmapLevelClamp = max))
REFERENCE_SET(cuTexRefSetMaxAnisotropy, (CUtexref ref, unsigned int n), ref, true, o.texture.maxAnisotropy = n)
REFERENCE_SET(cuTexRefSetBorderColor, (CUtexref ref, float *colour), ref, colour != NULL,
	      memcpy(o.texture.borderColor, colour, sizeof(o.texture.borderColor)))
REFERENCE_SET(cuTexRefSetFlags, (CUtexref ref, unsigned int flags), ref,
	      !(flags & ~(unsigned int)(CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_SRGB |
					CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION)), o.texture.flags = flags)

REFERENCE_GET(cuTexRefGetArray, (CUarray *out, CUtexref ref), ref,
	      out && o.is_bound && o.resource.resType == CU_RESOURCE_TYPE_ARRAY, *out = o.resource.res.array.hArray)
REFERENCE_GET(cuSurfRefGetArray, (CUarray *out, CUsurfref ref), ref,
	      out && o.is_bound && o.resource.resType == CU_RESOURCE_TYPE_ARRAY, *out = o.resource.res.array.hArray)
REFERENCE_GET(cuTexRefGetMipmappedArray, (CUmipmappedArray *out, CUtexref ref), ref,
	      out && o.is_bound && o.resource.resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY, *out = o.resource.res.mipmap.hMipmappedArray)
REFERENCE_GET(cuTexRefGetAddress_v2, (CUdeviceptr *out, CUtexref ref), ref,
	      out && o.is_bound && o.resource.resType >= CU_RESOURCE_TYPE_LINEAR, *out = o.resource.res.linear.devPtr)
REFERENCE_GET(cuTexRefGetFormat, (CUarray_format *format, int *channels, CUtexref ref), ref, format && channels,
	      (*format = o.format.Format, *channels = (int)o.format.NumChannels))
REFERENCE_GET(cuTexRefGetAddressMode, (CUaddress_mode *out, CUtexref ref, int dim), ref, out && dim >= 0 && dim < 3,
	      *out = o.texture.addressMode[dim])
REFERENCE_GET(cuTexRefGetFilterMode, (CUfilter_mode *out, CUtexref ref), ref, out != NULL, *out = o.texture.filterMode)
REFERENCE_GET(cuTexRefGetMipmapFilterMode, (CUfilter_mode *out, CUtexref ref), ref, out != NULL, *out = o.texture.mipmapFilterMode)
REFERENCE_GET(cuTexRefGetMipmapLevelBias, (float *out, CUtexref ref), ref, out != NULL, *out = o.texture.mipmapLevelBias)
REFERENCE_GET(cuTexRefGetMipmapLevelClamp, (float *min, float *max, CUtexref ref), ref, min && max,
	      (*min = o.texture.minMipmapLevelClamp, *max = o.texture.maxMipmapLevelClamp))
REFERENCE_GET(cuTexRefGetMaxAnisotropy, (int *out, CUtexref ref), ref, out != NULL, *out = (int)o.texture.maxAnisotropy)
REFERENCE_GET(cuTexRefGetBorderColor, (float *out, CUtexref ref), ref, out != NULL,
	      memcpy(out, o.texture.borderColor, sizeof(o.texture.borderColor)))
REFERENCE_GET(cuTexRefGetFlags, (unsigned int *out, CUtexref ref), ref, out != NULL, *out = o.texture.flags)

int hg_driver_image_memory(uint32_t call, uint64_t size, hg_dptr *out)
{
	uint64_t wanted = drv_place_take_addr();
	enum drv_what what = call == HG_ID_cuTexObjectCreate ? DRV_TEXTURE : call == HG_ID_cuSurfObjectCreate ? DRV_SURFACE :
		call == HG_ID_cuMipmappedArrayCreate ? DRV_MIPMAPPED : DRV_ARRAY;
	struct drv_alloc *a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (!r)
		r = drv_mem_alloc_what(ctx, what, size, wanted, &a);
	if (!r)
		*out = a->addr;
	return r;
}
