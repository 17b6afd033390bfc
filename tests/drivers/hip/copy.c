/* copy.c - copies and fills of the HIP double. */
#include <string.h>

#include "tests/drivers/hip/hip.h"

void hd_copy_run(const struct hd_copy *c)
{
	for (size_t z = 0; z < c->depth; z++)
		for (size_t y = 0; y < c->height; y++)
			memmove((void *)(uintptr_t)(c->dst + z * c->dst_slice + y * c->dst_pitch),
				(const void *)(uintptr_t)(c->src + z * c->src_slice + y * c->src_pitch), c->width);
}

void hd_fill_run(const struct hd_fill *f)
{
	for (size_t y = 0; y < f->height; y++) {
		unsigned char *row = (unsigned char *)(uintptr_t)f->dst + y * f->pitch;

		if (f->size == 1) {
			memset(row, (int)f->value, f->width);
			continue;
		}
		for (size_t x = 0; x < f->width; x++)
			memcpy(row + x * f->size, &f->value, f->size);
	}
}

/* Bytes from the first to the last. */
uint64_t hd_copy_extent(const struct hd_copy *c, size_t pitch, size_t slice)
{
	return (c->depth - 1) * slice + (c->height - 1) * pitch + c->width;
}

/* Whether a side is where the kind of the copy says that it is. The device takes pinned memory by its address. */
static bool is_as_said(enum hd_place place, bool device)
{
	return device ? place != HD_PAGEABLE : place != HD_ON_DEVICE;
}

/*
 * Pageable memory: the copy is done before the call returns, which is what HIP documents of asynchronous copies without pinned
 * memory too; but who asks for one wants it asynchronous, so that counts as a misuse. A copy between two places of the device
 * does not make the caller wait, even if it is called synchronous.
 */
static hipError_t copy(hipStream_t stream, const struct hd_copy *c, hipMemcpyKind kind, bool async)
{
	enum hd_place dst, src;
	struct hd_stream *s;
	struct hd_work *w;
	uint64_t pos;
	hipError_t r = hd_stream_get(stream, &s);

	if (r != hipSuccess)
		return r;
	if ((unsigned int)kind > hipMemcpyDefault)
		return hd_misuse(hipErrorInvalidMemcpyDirection, "%d is no kind of copy", (int)kind);
	if (!c->width || !c->height || !c->depth)
		return hipSuccess;
	if (!c->dst || !c->src)
		return hipErrorInvalidValue;
	if ((c->height > 1 && (c->dst_pitch < c->width || c->src_pitch < c->width)))
		return hd_misuse(hipErrorInvalidPitchValue, "rows of %zu bytes, %zu and %zu from each other", c->width, c->dst_pitch,
				 c->src_pitch);
	r = hd_place(c->dst, hd_copy_extent(c, c->dst_pitch, c->dst_slice), true, &dst);
	if (r == hipSuccess)
		r = hd_place(c->src, hd_copy_extent(c, c->src_pitch, c->src_slice), false, &src);
	if (r == hipSuccess)
		r = hd_device_error(s->device);
	if (r != hipSuccess)
		return r;
	if (kind != hipMemcpyDefault &&
	    (!is_as_said(dst, kind == hipMemcpyHostToDevice || kind == hipMemcpyDeviceToDevice) ||
	     !is_as_said(src, kind == hipMemcpyDeviceToHost || kind == hipMemcpyDeviceToDevice)))
		return hd_misuse(hipErrorInvalidValue, "kind %d, but 0x%llx is %s and 0x%llx is %s", (int)kind,
				 (unsigned long long)c->dst, dst == HD_ON_DEVICE ? "the device's" : "the host's",
				 (unsigned long long)c->src, src == HD_ON_DEVICE ? "the device's" : "the host's");
	if (async && (dst == HD_PAGEABLE || src == HD_PAGEABLE))
		(void)hd_misuse(hipSuccess, "0x%llx is pageable memory: the copy is not asynchronous",
				(unsigned long long)(dst == HD_PAGEABLE ? c->dst : c->src));
	w = hd_work_new(HD_COPY);
	if (!w)
		return hipErrorOutOfMemory;
	w->copy = *c;
	pos = hd_submit(s, w);
	if (dst == HD_PAGEABLE || src == HD_PAGEABLE || (!async && !(dst == HD_ON_DEVICE && src == HD_ON_DEVICE))) {
		hd_wait(s, pos);
		r = hd_device_error(s->device);
	}
	return r;
}

static hipError_t copy_1d(void *dst, const void *src, size_t size, hipMemcpyKind kind, hipStream_t stream, bool async)
{
	struct hd_copy c = { .dst = (uintptr_t)dst, .src = (uintptr_t)src, .width = size, .height = 1, .depth = 1 };

	return copy(stream, &c, kind, async);
}

hipError_t hd_hipMemcpy(void *dst, const void *src, size_t size, hipMemcpyKind kind)
{
	return copy_1d(dst, src, size, kind, NULL, false);
}

hipError_t hd_hipMemcpyAsync(void *dst, const void *src, size_t size, hipMemcpyKind kind, hipStream_t stream)
{
	return copy_1d(dst, src, size, kind, stream, true);
}

hipError_t hd_hipMemcpyWithStream(void *dst, const void *src, size_t size, hipMemcpyKind kind, hipStream_t stream)
{
	return copy_1d(dst, src, size, kind, stream, false);
}

hipError_t hd_hipMemcpyHtoD(hipDeviceptr_t dst, void *src, size_t size)
{
	return copy_1d(dst, src, size, hipMemcpyHostToDevice, NULL, false);
}

hipError_t hd_hipMemcpyDtoH(void *dst, hipDeviceptr_t src, size_t size)
{
	return copy_1d(dst, src, size, hipMemcpyDeviceToHost, NULL, false);
}

hipError_t hd_hipMemcpyDtoD(hipDeviceptr_t dst, hipDeviceptr_t src, size_t size)
{
	return copy_1d(dst, src, size, hipMemcpyDeviceToDevice, NULL, false);
}

hipError_t hd_hipMemcpyHtoDAsync(hipDeviceptr_t dst, void *src, size_t size, hipStream_t stream)
{
	return copy_1d(dst, src, size, hipMemcpyHostToDevice, stream, true);
}

hipError_t hd_hipMemcpyDtoHAsync(void *dst, hipDeviceptr_t src, size_t size, hipStream_t stream)
{
	return copy_1d(dst, src, size, hipMemcpyDeviceToHost, stream, true);
}

hipError_t hd_hipMemcpyDtoDAsync(hipDeviceptr_t dst, hipDeviceptr_t src, size_t size, hipStream_t stream)
{
	return copy_1d(dst, src, size, hipMemcpyDeviceToDevice, stream, true);
}

static hipError_t copy_2d(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height,
			  hipMemcpyKind kind, hipStream_t stream, bool async)
{
	struct hd_copy c = {
		.dst = (uintptr_t)dst, .src = (uintptr_t)src, .width = width, .height = height, .depth = 1,
		.dst_pitch = dpitch, .src_pitch = spitch,
	};

	if (width > dpitch || width > spitch)
		return hd_misuse(hipErrorInvalidPitchValue, "rows of %zu bytes, %zu and %zu from each other", width, dpitch, spitch);
	return copy(stream, &c, kind, async);
}

hipError_t hd_hipMemcpy2D(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height,
			  hipMemcpyKind kind)
{
	return copy_2d(dst, dpitch, src, spitch, width, height, kind, NULL, false);
}

hipError_t hd_hipMemcpy2DAsync(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height,
			       hipMemcpyKind kind, hipStream_t stream)
{
	return copy_2d(dst, dpitch, src, spitch, width, height, kind, stream, true);
}

/* ---- copies that are described ---- */

/* A side's address by its type; false: an array, or no type. */
static bool side(unsigned int type, const void *host, hipDeviceptr_t device, uint64_t *addr, bool *is_device)
{
	*is_device = type != HIP6_MEMORY_HOST;
	*addr = (uintptr_t)(type == HIP6_MEMORY_HOST ? host : device);
	return type == HIP6_MEMORY_HOST || type == HIP6_MEMORY_DEVICE || type == HIP6_MEMORY_UNIFIED;
}

static hipMemcpyKind kind_of(unsigned int dst_type, bool dst_device, unsigned int src_type, bool src_device)
{
	if (dst_type == HIP6_MEMORY_UNIFIED || src_type == HIP6_MEMORY_UNIFIED)
		return hipMemcpyDefault;
	return src_device ? (dst_device ? hipMemcpyDeviceToDevice : hipMemcpyDeviceToHost) :
		dst_device ? hipMemcpyHostToDevice : hipMemcpyHostToHost;
}

static hipError_t described(const struct hip6_memcpy_3d *d, hipStream_t stream, bool async)
{
	struct hd_copy c = { .width = d->WidthInBytes, .height = d->Height, .depth = d->Depth };
	bool dst_device, src_device;
	uint64_t dst, src;

	if (!side(d->dstMemoryType, d->dstHost, d->dstDevice, &dst, &dst_device) ||
	    !side(d->srcMemoryType, d->srcHost, d->srcDevice, &src, &src_device))
		return hd_misuse(hipErrorNotSupported, "memory of types %u and %u (6.x numbers them otherwise than 5.2; the double has no "
				 "arrays)", d->dstMemoryType, d->srcMemoryType);
	c.dst_pitch = d->dstPitch ? d->dstPitch : d->dstXInBytes + c.width;
	c.src_pitch = d->srcPitch ? d->srcPitch : d->srcXInBytes + c.width;
	c.dst_slice = c.dst_pitch * (d->dstHeight ? d->dstHeight : c.height);
	c.src_slice = c.src_pitch * (d->srcHeight ? d->srcHeight : c.height);
	c.dst = dst + d->dstXInBytes + d->dstY * c.dst_pitch + d->dstZ * c.dst_slice;
	c.src = src + d->srcXInBytes + d->srcY * c.src_pitch + d->srcZ * c.src_slice;
	return copy(stream, &c, kind_of(d->dstMemoryType, dst_device, d->srcMemoryType, src_device), async);
}

hipError_t hd_hipDrvMemcpy3D(const HIP_MEMCPY3D *d)
{
	return d ? described((const struct hip6_memcpy_3d *)d, NULL, false) : hipErrorInvalidValue;
}

hipError_t hd_hipDrvMemcpy3DAsync(const HIP_MEMCPY3D *d, hipStream_t stream)
{
	return d ? described((const struct hip6_memcpy_3d *)d, stream, true) : hipErrorInvalidValue;
}

static hipError_t param_2d(const hip_Memcpy2D *d, hipStream_t stream, bool async)
{
	struct hip6_memcpy_3d wide;

	if (!d)
		return hipErrorInvalidValue;
	wide = (struct hip6_memcpy_3d){
		.srcXInBytes = d->srcXInBytes, .srcY = d->srcY, .srcMemoryType = (unsigned int)d->srcMemoryType,
		.srcHost = d->srcHost, .srcDevice = d->srcDevice, .srcPitch = d->srcPitch,
		.dstXInBytes = d->dstXInBytes, .dstY = d->dstY, .dstMemoryType = (unsigned int)d->dstMemoryType,
		.dstHost = d->dstHost, .dstDevice = d->dstDevice, .dstPitch = d->dstPitch,
		.WidthInBytes = d->WidthInBytes, .Height = d->Height, .Depth = 1,
	};
	return described(&wide, stream, async);
}

hipError_t hd_hipMemcpyParam2D(const hip_Memcpy2D *d)
{
	return param_2d(d, NULL, false);
}

hipError_t hd_hipMemcpyParam2DAsync(const hip_Memcpy2D *d, hipStream_t stream)
{
	return param_2d(d, stream, true);
}

static hipError_t parms_3d(const struct hipMemcpy3DParms *p, hipStream_t stream, bool async)
{
	struct hd_copy c;

	if (!p || p->srcArray || p->dstArray)
		return p ? hipErrorNotSupported : hipErrorInvalidValue;
	c = (struct hd_copy){
		.width = p->extent.width, .height = p->extent.height, .depth = p->extent.depth,
		.dst_pitch = p->dstPtr.pitch, .dst_slice = p->dstPtr.pitch * p->dstPtr.ysize,
		.src_pitch = p->srcPtr.pitch, .src_slice = p->srcPtr.pitch * p->srcPtr.ysize,
	};
	c.dst = (uintptr_t)p->dstPtr.ptr + p->dstPos.x + p->dstPos.y * c.dst_pitch + p->dstPos.z * c.dst_slice;
	c.src = (uintptr_t)p->srcPtr.ptr + p->srcPos.x + p->srcPos.y * c.src_pitch + p->srcPos.z * c.src_slice;
	return copy(stream, &c, p->kind, async);
}

hipError_t hd_hipMemcpy3D(const struct hipMemcpy3DParms *p)
{
	return parms_3d(p, NULL, false);
}

hipError_t hd_hipMemcpy3DAsync(const struct hipMemcpy3DParms *p, hipStream_t stream)
{
	return parms_3d(p, stream, true);
}

/* ---- fills ---- */

/* Host memory must be HIP's; a fill of it waits when it is called synchronous, one of the device's does not. */
static hipError_t fill(void *dst, size_t pitch, uint32_t value, uint32_t size, size_t width, size_t height,
		       hipStream_t stream, bool async)
{
	enum hd_place place;
	struct hd_stream *s;
	struct hd_work *w;
	uint64_t pos;
	hipError_t r = hd_stream_get(stream, &s);

	if (r != hipSuccess || !width || !height)
		return r;
	if (height > 1 && pitch < width * size)
		return hd_misuse(hipErrorInvalidPitchValue, "rows of %zu bytes, %zu from each other", width * size, pitch);
	if (!dst)
		return hipErrorInvalidValue;
	if ((uintptr_t)dst % size || (height > 1 && pitch % size))
		return hd_misuse(hipErrorInvalidValue, "%p, rows %zu bytes from each other: not aligned to %u", dst, pitch, size);
	r = hd_place((uintptr_t)dst, (height - 1) * pitch + width * size, true, &place);
	if (r == hipSuccess && place == HD_PAGEABLE)
		r = hd_misuse(hipErrorInvalidValue, "%p is no memory of HIP", dst);
	if (r == hipSuccess)
		r = hd_device_error(s->device);
	if (r != hipSuccess)
		return r;
	w = hd_work_new(HD_FILL);
	if (!w)
		return hipErrorOutOfMemory;
	w->fill = (struct hd_fill){ (uintptr_t)dst, pitch, width, height, value, size };
	pos = hd_submit(s, w);
	if (!async && place == HD_PINNED)
		hd_wait(s, pos);
	return hipSuccess;
}

hipError_t hd_hipMemset(void *dst, int value, size_t size)
{
	return fill(dst, 0, (uint8_t)value, 1, size, 1, NULL, false);
}

hipError_t hd_hipMemsetAsync(void *dst, int value, size_t size, hipStream_t stream)
{
	return fill(dst, 0, (uint8_t)value, 1, size, 1, stream, true);
}

hipError_t hd_hipMemset2D(void *dst, size_t pitch, int value, size_t width, size_t height)
{
	return fill(dst, pitch, (uint8_t)value, 1, width, height, NULL, false);
}

hipError_t hd_hipMemset2DAsync(void *dst, size_t pitch, int value, size_t width, size_t height, hipStream_t stream)
{
	return fill(dst, pitch, (uint8_t)value, 1, width, height, stream, true);
}

#define FILLS(bits, type)                                                                                \
	hipError_t hd_hipMemsetD##bits(hipDeviceptr_t dst, type value, size_t count)                     \
	{                                                                                                \
		return fill(dst, 0, (uint##bits##_t)value, bits / 8, count, 1, NULL, false);             \
	}                                                                                                \
	hipError_t hd_hipMemsetD##bits##Async(hipDeviceptr_t dst, type value, size_t count, hipStream_t stream) \
	{                                                                                                \
		return fill(dst, 0, (uint##bits##_t)value, bits / 8, count, 1, stream, true);            \
	}
FILLS(8, unsigned char)
FILLS(16, unsigned short)
FILLS(32, int)
