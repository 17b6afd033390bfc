/* copy.c - copies and fills of the fake CUDA driver. */
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/cuda/fake.h"

void fake_copy_run(const struct fake_copy *c)
{
	for (size_t z = 0; z < c->depth; z++) {
		unsigned char *dst = c->dst + z * c->dst_slice;
		const unsigned char *src = c->src + z * c->src_slice;

		for (size_t y = 0; y < c->height; y++)
			memmove(dst + y * c->dst_pitch, src + y * c->src_pitch, c->width);
	}
}

void fake_fill_run(const struct fake_fill *f)
{
	for (size_t y = 0; y < f->height; y++) {
		unsigned char *row = f->dst + y * f->pitch;

		if (f->size == 1) {
			memset(row, (int)f->value, f->width);
			continue;
		}
		for (size_t x = 0; x < f->width; x++)
			memcpy(row + x * f->size, &f->value, f->size);
	}
}

/* Bytes from the first to the last. */
static size_t extent(const struct fake_copy *c, size_t pitch, size_t slice)
{
	return (c->depth - 1) * slice + (c->height - 1) * pitch + c->width;
}

static void *copy_of(const struct fake_copy *c)
{
	struct fake_copy tight = *c;

	tight.dst = malloc(c->width * c->height * c->depth);
	tight.dst_pitch = c->width;
	tight.dst_slice = c->width * c->height;
	if (tight.dst)
		fake_copy_run(&tight);
	return tight.dst;
}

/* What `expect` of a side means: 'd' must be memory of the device (or pinned, by its unified address), '?' may be any. */
static CUresult place(uint64_t addr, size_t size, char expect, enum fake_place *out)
{
	CUresult r = fake_place(addr, size, out);

	if (r == CUDA_SUCCESS && expect == 'd' && *out == FAKE_PAGEABLE)
		r = CUDA_ERROR_INVALID_VALUE;
	return r;
}

/*
 * As the real driver orders host memory: pageable memory is read while the call lasts, and written before it returns; pinned
 * memory is used when the stream comes to it. A synchronous copy between two places of the device does not
 * wait for its end.
 */
static CUresult copy(struct fake_stream *s, struct fake_copy c, char dst_kind, char src_kind, bool async)
{
	enum fake_place dst, src;
	struct fake_work *w;
	CUresult r;

	if (!c.width || !c.height || !c.depth)
		return CUDA_SUCCESS;
	r = place((uint64_t)(uintptr_t)c.dst, extent(&c, c.dst_pitch, c.dst_slice), dst_kind, &dst);
	if (r == CUDA_SUCCESS)
		r = place((uint64_t)(uintptr_t)c.src, extent(&c, c.src_pitch, c.src_slice), src_kind, &src);
	if (r != CUDA_SUCCESS)
		return r;
	if (fake_config.null_launch && !async) {
		fake_copy_run(&c);
		return CUDA_SUCCESS;
	}
	if (async && src == FAKE_PAGEABLE && dst != FAKE_PAGEABLE) {
		c.staging = copy_of(&c);
		if (!c.staging)
			return CUDA_ERROR_OUT_OF_MEMORY;
		c.src = c.staging;
		c.src_pitch = c.width;
		c.src_slice = c.width * c.height;
	}
	w = fake_work_begin(s, FAKE_COPY);
	w->copy = c;
	if (async ? dst != FAKE_PAGEABLE : dst == FAKE_ON_DEVICE && src == FAKE_ON_DEVICE) {
		fake_work_publish(s, w);
		return CUDA_SUCCESS;
	}
	fake_work_finish(s, w);
	return atomic_load(&s->obj.ctx->error);
}

static CUresult copy_linear(uint64_t dst, char dst_kind, uint64_t src, char src_kind, size_t size, CUstream stream,
			    bool async)
{
	struct fake_copy c = {
		.dst = (unsigned char *)(uintptr_t)dst, .src = (const unsigned char *)(uintptr_t)src,
		.width = size, .height = 1, .depth = 1,
	};
	struct fake_stream *s;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS)
		return r;
	if (size && (!dst || !src))
		return CUDA_ERROR_INVALID_VALUE;
	return copy(s, c, dst_kind, src_kind, async);
}

CUresult fake_cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t size)
{
	return copy_linear(dst, '?', src, '?', size, NULL, false);
}

CUresult fake_cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy_linear(dst, '?', src, '?', size, stream, true);
}

CUresult fake_cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t size)
{
	return copy_linear(dst, 'd', (uint64_t)(uintptr_t)src, '?', size, NULL, false);
}

CUresult fake_cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t size, CUstream stream)
{
	return copy_linear(dst, 'd', (uint64_t)(uintptr_t)src, '?', size, stream, true);
}

CUresult fake_cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t size)
{
	return copy_linear((uint64_t)(uintptr_t)dst, '?', src, 'd', size, NULL, false);
}

CUresult fake_cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy_linear((uint64_t)(uintptr_t)dst, '?', src, 'd', size, stream, true);
}

CUresult fake_cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t size)
{
	return copy_linear(dst, 'd', src, 'd', size, NULL, false);
}

CUresult fake_cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy_linear(dst, 'd', src, 'd', size, stream, true);
}

static bool is_context(CUcontext handle)
{
	struct fake_ctx *ctx = fake_handle(handle, FAKE_CONTEXT);

	return ctx && ctx->alive;
}

CUresult fake_cuMemcpyPeer(CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t size)
{
	if (!is_context(dst_ctx) || !is_context(src_ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	return copy_linear(dst, 'd', src, 'd', size, NULL, false);
}

CUresult fake_cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t size,
				CUstream stream)
{
	if (!is_context(dst_ctx) || !is_context(src_ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	return copy_linear(dst, 'd', src, 'd', size, stream, true);
}

/* ---- two and three dimensions ---- */

struct side {
	CUmemorytype type;
	const void *host;
	CUdeviceptr device;
	size_t pitch, height, x, y, z;
};

/* The address of its first byte, its pitches and kind. */
static CUresult side_of(const struct side *in, size_t width, size_t rows, size_t depth, unsigned char **addr,
			size_t *pitch, size_t *slice, char *kind)
{
	uint64_t start;

	switch (in->type) {
	case CU_MEMORYTYPE_HOST:
		start = (uint64_t)(uintptr_t)in->host;
		*kind = '?';
		break;
	case CU_MEMORYTYPE_DEVICE:
		start = in->device;
		*kind = 'd';
		break;
	case CU_MEMORYTYPE_UNIFIED:
		start = in->device;
		*kind = '?';
		break;
	case CU_MEMORYTYPE_ARRAY:
		return CUDA_ERROR_NOT_SUPPORTED;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	if (in->pitch && in->pitch < in->x + width)
		return CUDA_ERROR_INVALID_VALUE;
	if (depth > 1 && in->height && in->height < in->y + rows)
		return CUDA_ERROR_INVALID_VALUE;
	if (!start)
		return CUDA_ERROR_INVALID_VALUE;
	*pitch = in->pitch ? in->pitch : in->x + width;
	*slice = *pitch * (in->height ? in->height : in->y + rows);
	*addr = (unsigned char *)(uintptr_t)(start + in->z * *slice + in->y * *pitch + in->x);
	return CUDA_SUCCESS;
}

static CUresult copy_sides(const struct side *dst, const struct side *src, size_t width, size_t height, size_t depth,
			   CUstream stream, bool async)
{
	struct fake_copy c = { .width = width, .height = height, .depth = depth };
	struct fake_stream *s;
	char dst_kind, src_kind;
	unsigned char *from;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS || !width || !height || !depth)
		return r;
	r = side_of(dst, width, height, depth, &c.dst, &c.dst_pitch, &c.dst_slice, &dst_kind);
	if (r == CUDA_SUCCESS)
		r = side_of(src, width, height, depth, &from, &c.src_pitch, &c.src_slice, &src_kind);
	if (r != CUDA_SUCCESS)
		return r;
	c.src = from;
	return copy(s, c, dst_kind, src_kind, async);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *p, CUstream stream, bool async)
{
	struct side dst, src;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	dst = (struct side){ p->dstMemoryType, p->dstHost, p->dstDevice, p->dstPitch, 0, p->dstXInBytes, p->dstY, 0 };
	src = (struct side){ p->srcMemoryType, p->srcHost, p->srcDevice, p->srcPitch, 0, p->srcXInBytes, p->srcY, 0 };
	return copy_sides(&dst, &src, p->WidthInBytes, p->Height, 1, stream, async);
}

CUresult fake_cuMemcpy2D_v2(const CUDA_MEMCPY2D *p)
{
	return copy_2d(p, NULL, false);
}

CUresult fake_cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *p)
{
	return copy_2d(p, NULL, false);
}

CUresult fake_cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *p, CUstream stream)
{
	return copy_2d(p, stream, true);
}

/* The peer form is the same structure with contexts in place of what is reserved in the other. */
#define COPY_3D(p, stream, async)                                                                  \
	({                                                                                         \
		struct side dst_ = { (p)->dstMemoryType, (p)->dstHost, (p)->dstDevice, (p)->dstPitch,\
				     (p)->dstHeight, (p)->dstXInBytes, (p)->dstY, (p)->dstZ };     \
		struct side src_ = { (p)->srcMemoryType, (p)->srcHost, (p)->srcDevice, (p)->srcPitch,\
				     (p)->srcHeight, (p)->srcXInBytes, (p)->srcY, (p)->srcZ };     \
		copy_sides(&dst_, &src_, (p)->WidthInBytes, (p)->Height, (p)->Depth, stream, async);\
	})

CUresult fake_cuMemcpy3D_v2(const CUDA_MEMCPY3D *p)
{
	return p ? COPY_3D(p, NULL, false) : CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *p, CUstream stream)
{
	return p ? COPY_3D(p, stream, true) : CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *p)
{
	return p ? COPY_3D(p, NULL, false) : CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *p, CUstream stream)
{
	return p ? COPY_3D(p, stream, true) : CUDA_ERROR_INVALID_VALUE;
}

/* ---- fills ---- */

/* A fill of device memory does not wait for its end; one of pinned memory does, where it is not asynchronous. */
static CUresult fill(CUdeviceptr dst, size_t pitch, uint32_t value, uint32_t size, size_t width, size_t height,
		     CUstream stream, bool async)
{
	enum fake_place where;
	struct fake_stream *s;
	struct fake_work *w;
	CUresult r = fake_stream_get(stream, &s);

	if (r != CUDA_SUCCESS || !width || !height)
		return r;
	if (dst % size || (height > 1 && (pitch < width * size || pitch % size)))
		return CUDA_ERROR_INVALID_VALUE;
	r = place(dst, (height - 1) * pitch + width * size, 'd', &where);
	if (r != CUDA_SUCCESS)
		return r;
	w = fake_work_begin(s, FAKE_FILL);
	w->fill = (struct fake_fill){
		.dst = (unsigned char *)(uintptr_t)dst, .pitch = pitch, .width = width, .height = height,
		.value = value, .size = size,
	};
	if (async || where == FAKE_ON_DEVICE) {
		fake_work_publish(s, w);
		return CUDA_SUCCESS;
	}
	fake_work_finish(s, w);
	return atomic_load(&s->obj.ctx->error);
}

#define FILLS(bits, type)                                                                                        \
	CUresult fake_cuMemsetD##bits##_v2(CUdeviceptr dst, type v, size_t n)                                    \
	{                                                                                                        \
		return fill(dst, 0, v, bits / 8, n, 1, NULL, false);                                             \
	}                                                                                                        \
	CUresult fake_cuMemsetD##bits##Async(CUdeviceptr dst, type v, size_t n, CUstream stream)                 \
	{                                                                                                        \
		return fill(dst, 0, v, bits / 8, n, 1, stream, true);                                            \
	}                                                                                                        \
	CUresult fake_cuMemsetD2D##bits##_v2(CUdeviceptr dst, size_t pitch, type v, size_t width, size_t height) \
	{                                                                                                        \
		return fill(dst, pitch, v, bits / 8, width, height, NULL, false);                                \
	}                                                                                                        \
	CUresult fake_cuMemsetD2D##bits##Async(CUdeviceptr dst, size_t pitch, type v, size_t width,              \
					       size_t height, CUstream stream)                                   \
	{                                                                                                        \
		return fill(dst, pitch, v, bits / 8, width, height, stream, true);                               \
	}
FILLS(8, unsigned char)
FILLS(16, unsigned short)
FILLS(32, unsigned int)
