/*
 * driver_array.c - CUDA arrays and mipmapped arrays: device memory with a header before it.
 *
 * A CUarray or CUmipmappedArray is the address of a header in device memory, those of a mipmapped array's levels one after the
 * other. Handles and contents are thus memory like all other: a snapshot holds them, and they are the same everywhere.
 */
#include <string.h>

#include "replay/driver_priv.h"

#define MAGIC UINT32_C(0x59524148)
#define HEADER_BYTES 128u
#define PITCH_ALIGNMENT 64u
#define LEVEL_ALIGNMENT 512u

#define MAX_1D 131072u
#define MAX_2D_HEIGHT 65536u
#define MAX_3D 16384u
#define MAX_LAYERED 32768u
#define MAX_LAYERS 2048u

_Static_assert(sizeof(struct drv_array) <= HEADER_BYTES, "headers stand at multiples of this");

bool drv_format(CUarray_format format, unsigned int channels, struct drv_format *out)
{
	static const struct { CUarray_format format; enum hg_texel texel; uint32_t ptx; } plain[] = {
		{ CU_AD_FORMAT_UNSIGNED_INT8, HG_TEXEL_U8, 0x10da }, { CU_AD_FORMAT_UNSIGNED_INT16, HG_TEXEL_U16, 0x10db },
		{ CU_AD_FORMAT_UNSIGNED_INT32, HG_TEXEL_U32, 0x10dc }, { CU_AD_FORMAT_SIGNED_INT8, HG_TEXEL_S8, 0x10d7 },
		{ CU_AD_FORMAT_SIGNED_INT16, HG_TEXEL_S16, 0x10d8 }, { CU_AD_FORMAT_SIGNED_INT32, HG_TEXEL_S32, 0x10d9 },
		{ CU_AD_FORMAT_HALF, HG_TEXEL_F16, 0x10dd }, { CU_AD_FORMAT_FLOAT, HG_TEXEL_F32, 0x10de },
	};
	/* three formats each, of 1, 2 and 4 channels */
	static const struct { CUarray_format first; enum hg_texel texel; uint32_t ptx; } normalised[] = {
		{ CU_AD_FORMAT_UNORM_INT8X1, HG_TEXEL_U8, 0x10d2 }, { CU_AD_FORMAT_UNORM_INT16X1, HG_TEXEL_U16, 0x10d3 },
		{ CU_AD_FORMAT_SNORM_INT8X1, HG_TEXEL_S8, 0x10d0 }, { CU_AD_FORMAT_SNORM_INT16X1, HG_TEXEL_S16, 0x10d1 },
	};

	if (channels != 1 && channels != 2 && channels != 4)
		return false;
	*out = (struct drv_format){ .channels = channels, .order = channels == 1 ? 0x10b0 : channels == 2 ? 0x10b2 : 0x10b5 };
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (plain[i].format == format) {
			out->texel = plain[i].texel;
			out->data_type = plain[i].ptx;
			out->bytes = hg_texel_bytes(out->texel) * channels;
			return true;
		}
	for (size_t i = 0; i < sizeof(normalised) / sizeof(normalised[0]); i++)
		if ((int)format == (int)normalised[i].first + (channels == 4 ? 2 : (int)channels - 1)) {
			out->texel = normalised[i].texel;
			out->data_type = normalised[i].ptx;
			out->is_normalised = true;
			out->bytes = hg_texel_bytes(out->texel) * channels;
			return true;
		}
	return false;
}

static bool is_layered(const CUDA_ARRAY3D_DESCRIPTOR *d)
{
	return d->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP);
}

/* Sizes by the documentation of cuArray3DCreate. */
static bool sizes_fit(const CUDA_ARRAY3D_DESCRIPTOR *d)
{
	bool cube = d->Flags & CUDA_ARRAY3D_CUBEMAP, layered = d->Flags & CUDA_ARRAY3D_LAYERED;

	if (!d->Width || (d->Flags & CUDA_ARRAY3D_TEXTURE_GATHER && (!d->Height || (d->Depth && !layered && !cube))))
		return false;
	if (cube)
		return d->Width == d->Height && d->Width <= MAX_LAYERED && d->Depth &&
			(layered ? d->Depth % 6 == 0 && d->Depth <= MAX_LAYERS : d->Depth == 6);
	if (layered)
		return d->Width <= MAX_LAYERED && d->Height <= MAX_LAYERED && d->Depth && d->Depth <= MAX_LAYERS;
	if (d->Depth)
		return d->Height && d->Width <= MAX_3D && d->Height <= MAX_3D && d->Depth <= MAX_3D;
	return d->Width <= MAX_1D && d->Height <= MAX_2D_HEIGHT;
}

static CUresult check_descriptor(const CUDA_ARRAY3D_DESCRIPTOR *d, struct drv_format *format)
{
	const unsigned int known = CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST | CUDA_ARRAY3D_CUBEMAP |
		CUDA_ARRAY3D_TEXTURE_GATHER | CUDA_ARRAY3D_COLOR_ATTACHMENT;
	const unsigned int others = CUDA_ARRAY3D_DEPTH_TEXTURE | CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING |
		CUDA_ARRAY3D_VIDEO_ENCODE_DECODE;

	if (d->Flags & ~(known | others) || d->NumChannels > 4)
		return CUDA_ERROR_INVALID_VALUE;
	if (d->Flags & others)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!drv_format(d->Format, d->NumChannels, format)) {
		/* what CUDA has, and what nobody has */
		bool exists = (d->Format >= CU_AD_FORMAT_BC1_UNORM && d->Format <= CU_AD_FORMAT_SNORM_INT16X4) ||
			d->Format == CU_AD_FORMAT_UNORM_INT_101010_2;

		return exists && d->NumChannels ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
	}
	return sizes_fit(d) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static uint32_t halved(size_t n, unsigned int level)
{
	return (uint32_t)(n >> level ? n >> level : 1);
}

/* The texels of a level, from `at` on; gives where they end, 0 when that wraps around. */
static uint64_t lay_out(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned int bytes, unsigned int level, uint64_t at, struct hg_texture_level *l)
{
	uint64_t size;

	*l = (struct hg_texture_level){
		.addr = at,
		.width = halved(d->Width, level), .height = halved(d->Height ? d->Height : 1, level),
		.depth = is_layered(d) ? (uint32_t)d->Depth : halved(d->Depth ? d->Depth : 1, level),
	};
	l->row_bytes = l->width * bytes;
	l->pitch = (l->row_bytes + PITCH_ALIGNMENT - 1) & -(uint64_t)PITCH_ALIGNMENT;
	l->slice = l->pitch * l->height;
	if (__builtin_mul_overflow(l->slice, (uint64_t)l->depth, &size) || size > INT64_MAX)
		return 0;
	return at + ((size + LEVEL_ALIGNMENT - 1) & -(uint64_t)LEVEL_ALIGNMENT);
}

static CUresult create(uint64_t *out, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned int nr_levels, enum drv_what what)
{
	uint64_t wanted = drv_place_take_addr(), headers, size;
	struct drv_array header[HG_TEXTURE_LEVELS];
	unsigned char bytes[HG_TEXTURE_LEVELS * HEADER_BYTES] = { 0 };
	struct drv_format format;
	struct drv_alloc *a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out || !d)
		return CUDA_ERROR_INVALID_VALUE;
	r = check_descriptor(d, &format);
	if (r)
		return r;
	headers = (nr_levels * HEADER_BYTES + LEVEL_ALIGNMENT - 1) & -(uint64_t)LEVEL_ALIGNMENT;
	size = headers;
	for (unsigned int i = 0; i < nr_levels && size; i++) {
		header[i] = (struct drv_array){ .magic = MAGIC, .level_nr = i, .nr_levels = nr_levels, .format = d->Format,
						.channels = d->NumChannels, .flags = d->Flags };
		size = lay_out(d, format.bytes, i, size, &header[i].level);
		header[i].width = halved(d->Width, i);
		header[i].height = d->Height ? halved(d->Height, i) : 0;
		header[i].depth = is_layered(d) ? d->Depth : d->Depth ? halved(d->Depth, i) : 0;
	}
	if (!size)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = drv_mem_alloc_what(ctx, what, size, wanted, &a);
	if (r)
		return r;
	for (unsigned int i = 0; i < nr_levels; i++) {
		header[i].level.addr += a->addr;
		memcpy(bytes + i * HEADER_BYTES, &header[i], sizeof(header[i]));
	}
	r = drv_result(drv.ops->write(drv.target, a->addr, bytes, nr_levels * HEADER_BYTES));
	if (r) {
		drv_mem_free(a);
		return r;
	}
	*out = a->addr;
	return CUDA_SUCCESS;
}

/* What a header says of its level is possible, and the level lies in the allocation. */
static bool is_within(const struct drv_array *h, const struct drv_alloc *a)
{
	const struct hg_texture_level *l = &h->level;
	struct drv_format format;
	uint64_t bytes;

	return drv_format((CUarray_format)h->format, h->channels, &format) && l->width && l->height && l->depth &&
		l->row_bytes == (uint64_t)l->width * format.bytes && l->pitch >= l->row_bytes &&
		!__builtin_mul_overflow(l->pitch, (uint64_t)l->height, &bytes) && l->slice >= bytes &&
		!__builtin_mul_overflow(l->slice, (uint64_t)l->depth, &bytes) &&
		l->addr >= a->addr && l->addr - a->addr <= a->size && bytes <= a->size - (l->addr - a->addr);
}

CUresult drv_array_find(uint64_t handle, bool mipmapped, struct drv_array *out)
{
	struct drv_alloc a;

	if (!handle || !drv_mem_find(handle, &a) || a.dying || (handle - a.addr) % HEADER_BYTES ||
	    (mipmapped ? a.what != DRV_MIPMAPPED || handle != a.addr : a.what != DRV_ARRAY && a.what != DRV_MIPMAPPED))
		return CUDA_ERROR_INVALID_HANDLE;
	if (drv.ops->read(drv.target, out, handle, sizeof(*out)))
		return CUDA_ERROR_UNKNOWN;
	/* a kernel may have written over it */
	if (out->magic != MAGIC || !out->nr_levels || out->nr_levels > HG_TEXTURE_LEVELS ||
	    (handle - a.addr) / HEADER_BYTES != out->level_nr || !is_within(out, &a))
		return CUDA_ERROR_INVALID_HANDLE;
	return CUDA_SUCCESS;
}

CUresult drv_array_level(uint64_t handle, unsigned int level, struct drv_array *out)
{
	return drv_array_find(handle + (uint64_t)level * HEADER_BYTES, false, out);
}

bool hg_driver_array_place(const void *array, struct hg_array_place *out)
{
	struct drv_array a;

	if (drv_array_find((uintptr_t)array, false, &a))
		return false;
	*out = (struct hg_array_place){ .addr = a.level.addr, .pitch = a.level.pitch, .slice = a.level.slice,
					.row_bytes = a.level.row_bytes };
	return true;
}

uint64_t hg_driver_size(hg_dptr addr)
{
	struct drv_alloc a;

	return drv_mem_find(addr, &a) && a.addr == addr ? a.size : 0;
}

/* the calls */

CUresult drv_cuArray3DCreate_v2(CUarray *out, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
	return create((uint64_t *)out, d, 1, DRV_ARRAY);
}

CUresult drv_cuArrayCreate_v2(CUarray *out, const CUDA_ARRAY_DESCRIPTOR *d)
{
	CUDA_ARRAY3D_DESCRIPTOR full;

	if (!d)
		return drv_cuArray3DCreate_v2(out, NULL);
	full = (CUDA_ARRAY3D_DESCRIPTOR){ .Width = d->Width, .Height = d->Height, .Format = d->Format, .NumChannels = d->NumChannels };
	return drv_cuArray3DCreate_v2(out, &full);
}

CUresult drv_cuMipmappedArrayCreate(CUmipmappedArray *out, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned int nr_levels)
{
	size_t largest;
	unsigned int most = 1;

	if (d && d->Width <= MAX_LAYERED && d->Height <= MAX_LAYERED && d->Depth <= MAX_LAYERED) {
		largest = d->Width > d->Height ? d->Width : d->Height;
		if (!is_layered(d) && d->Depth > largest)
			largest = d->Depth;
		while (largest >> most && most < HG_TEXTURE_LEVELS)
			most++;
	}
	/* more levels than there are become as many as there are; none is none */
	if (nr_levels > most)
		nr_levels = most;
	return create((uint64_t *)out, nr_levels ? d : NULL, nr_levels, DRV_MIPMAPPED);
}

CUresult drv_cuMipmappedArrayGetLevel(CUarray *out, CUmipmappedArray handle, unsigned int level)
{
	struct drv_array a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_array_find((uintptr_t)handle, true, &a);
	if (r)
		return r;
	if (level >= a.nr_levels)
		return CUDA_ERROR_INVALID_VALUE;
	*out = (CUarray)((uintptr_t)handle + level * HEADER_BYTES);
	return CUDA_SUCCESS;
}

CUresult drv_cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *out, CUarray handle)
{
	struct drv_array a;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	r = drv_array_find((uintptr_t)handle, false, &a);
	if (r)
		return r;
	*out = (CUDA_ARRAY3D_DESCRIPTOR){ .Width = a.width, .Height = a.height, .Depth = a.depth, .Format = (CUarray_format)a.format,
					  .NumChannels = a.channels, .Flags = a.flags };
	return CUDA_SUCCESS;
}

CUresult drv_cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR *out, CUarray handle)
{
	CUDA_ARRAY3D_DESCRIPTOR full;
	CUresult r = drv_cuArray3DGetDescriptor_v2(out ? &full : NULL, handle);

	if (!r)
		*out = (CUDA_ARRAY_DESCRIPTOR){ .Width = full.Width, .Height = full.Height, .Format = full.Format,
						.NumChannels = full.NumChannels };
	return r;
}

CUresult drv_cuArrayDestroy(CUarray handle)
{
	return drv_mem_free_what((uintptr_t)handle, DRV_ARRAY);
}

CUresult drv_cuMipmappedArrayDestroy(CUmipmappedArray handle)
{
	return drv_mem_free_what((uintptr_t)handle, DRV_MIPMAPPED);
}
