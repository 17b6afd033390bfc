/* driver_copy.c - copies and fills, in every form the API has them. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/msg.h"
#include "replay/driver_priv.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* From pageable memory this much is kept aside, so that the call need not wait; more is waited for. */
#define STAGE_BYTES (64u << 10)

enum place { PLACE_DEVICE, PLACE_PINNED, PLACE_PAGEABLE };

/* What the caller says an address is. */
enum claim { CLAIM_HOST, CLAIM_DEVICE, CLAIM_ANY };

struct request {
	struct hg_copy copy;
	enum claim dst_claim, src_claim;
	CUstream stream;
	bool async;
};

/* Pages are touched by the kernel, not by this code: a bad address is an answer, not a signal. */
bool drv_host_ok(uint64_t addr, uint64_t size, bool write)
{
	static atomic_int has_populate;		/* 0 not known, 1 yes, -1: a kernel before 5.14 */
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), start = addr & -page;
	uint64_t bytes = (addr - start + size + page - 1) & -page;
	static unsigned char probe;

	if (!size)
		return true;
	if (!addr || addr + size < addr)
		return false;
	if (!atomic_load_explicit(&has_populate, memory_order_relaxed))
		atomic_store(&has_populate,
			     madvise((void *)((uintptr_t)&probe & -page), page, MADV_POPULATE_READ) ? -1 : 1);
	if (atomic_load_explicit(&has_populate, memory_order_relaxed) < 0)
		return msync((void *)start, bytes, MS_ASYNC) == 0;
	return madvise((void *)start, bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0;
}

/* Bytes from the first to behind the last that a side of a copy touches; 0 when that wraps around. */
static uint64_t extent(size_t width, size_t height, size_t depth, size_t pitch, size_t slice)
{
	uint64_t rows, slices, sum;

	if (__builtin_mul_overflow((uint64_t)height - 1, (uint64_t)pitch, &rows) ||
	    __builtin_mul_overflow((uint64_t)depth - 1, (uint64_t)slice, &slices) ||
	    __builtin_add_overflow(rows, slices, &sum) || __builtin_add_overflow(sum, (uint64_t)width, &sum))
		return 0;
	return sum;
}

/* Finds out what [addr, addr+size) is. Device memory must be one live allocation. */
static CUresult look(uint64_t addr, uint64_t size, enum claim claim, bool write, enum place *out)
{
	struct drv_alloc a;

	if (!size || addr + size < addr)
		return CUDA_ERROR_INVALID_VALUE;
	if (drv_mem_find(addr, &a)) {
		bool on_host = a.kind == HG_REGION_HOST || a.kind == HG_REGION_REGISTERED;

		if (size <= a.size - (addr - a.addr)) {
			*out = on_host ? PLACE_PINNED : PLACE_DEVICE;
			return CUDA_SUCCESS;
		}
		/* host memory may begin in registered pages and go on behind them */
		if (!on_host)
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (claim == CLAIM_DEVICE || !drv_host_ok(addr, size, write))
		return CUDA_ERROR_INVALID_VALUE;
	*out = PLACE_PAGEABLE;
	return CUDA_SUCCESS;
}

static void free_stage(void *arg)
{
	free(arg);
}

/* Reads the source now, packed, and queues a copy of that. */
static CUresult copy_staged(struct drv_stream *s, const struct hg_copy *c)
{
	struct hg_copy staged = *c;
	unsigned char *stage = malloc(c->width * c->height * c->depth), *to = stage;
	enum hg_status st;

	if (!stage)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t z = 0; z < c->depth; z++)
		for (size_t y = 0; y < c->height; y++, to += c->width)
			memcpy(to, (const unsigned char *)c->src + z * c->src_slice + y * c->src_pitch, c->width);
	staged.src = (uintptr_t)stage;
	staged.src_pitch = c->width;
	staged.src_slice = c->width * c->height;
	st = drv.ops->copy(s->queue, &staged);
	if (!st) {
		if (drv.ops->queue_is_idle(s->queue)) {
			free(stage);
			return CUDA_SUCCESS;
		}
		st = drv.ops->host_func(s->queue, free_stage, stage);
		if (!st)
			return CUDA_SUCCESS;
		/* the copy is queued: its source must stay until it is done */
		st = drv.ops->queue_sync(s->queue);
	}
	free(stage);
	return drv_result(st);
}

static CUresult copy_run(const struct request *q)
{
	const struct hg_copy *c = &q->copy;
	enum place dst, src;
	struct drv_stream *s;
	size_t bytes;
	bool wait;
	CUresult r;

	/* the context first: without one, or with a failed one, nothing else is looked at */
	r = drv_stream_get(q->stream, &s);
	if (r)
		return r;
	drv_obj_put(&s->obj);
	if (!c->width || !c->height || !c->depth)
		return CUDA_SUCCESS;
	r = look(c->dst, extent(c->width, c->height, c->depth, c->dst_pitch, c->dst_slice), q->dst_claim, true, &dst);
	if (r)
		return r;
	r = look(c->src, extent(c->width, c->height, c->depth, c->src_pitch, c->src_slice), q->src_claim, false, &src);
	if (r)
		return r;
	bytes = c->width * c->height * c->depth;

	r = drv_stream_begin(q->stream, &s);
	if (r)
		return r;
	/*
	 * As CUDA documents it: from pageable memory the call returns when the source has been read, into pageable
	 * memory when the copy is done, and a synchronous one when the copy is done.
	 */
	wait = !q->async || dst == PLACE_PAGEABLE || (src == PLACE_PAGEABLE && bytes > STAGE_BYTES);
	if (!wait && src == PLACE_PAGEABLE)
		r = copy_staged(s, c);
	else
		r = drv_result(drv.ops->copy(s->queue, c));
	if (r || !wait) {
		drv_stream_end(s, DRV_WORK);
		return r;
	}
	drv_stream_unlock(s, DRV_WORK);
	r = drv_stream_sync(s);
	drv_obj_put(&s->obj);
	return r;
}

static CUresult copy_linear(uint64_t dst, enum claim dst_claim, uint64_t src, enum claim src_claim, size_t bytes,
			    CUstream stream, bool async)
{
	const struct request q = {
		.copy = {
			.dst = dst, .src = src,
			.width = bytes, .height = 1, .depth = 1,
			.dst_pitch = bytes, .src_pitch = bytes, .dst_slice = bytes, .src_slice = bytes,
		},
		.dst_claim = dst_claim, .src_claim = src_claim,
		.stream = stream, .async = async,
	};

	return copy_run(&q);
}

CUresult drv_cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
	return copy_linear(dst, CLAIM_ANY, src, CLAIM_ANY, bytes, NULL, false);
}

CUresult drv_cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
	return copy_linear(dst, CLAIM_ANY, src, CLAIM_ANY, bytes, stream, true);
}

CUresult drv_cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes)
{
	return copy_linear(dst, CLAIM_DEVICE, (uintptr_t)src, CLAIM_HOST, bytes, NULL, false);
}

CUresult drv_cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream)
{
	return copy_linear(dst, CLAIM_DEVICE, (uintptr_t)src, CLAIM_HOST, bytes, stream, true);
}

CUresult drv_cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes)
{
	return copy_linear((uintptr_t)dst, CLAIM_HOST, src, CLAIM_DEVICE, bytes, NULL, false);
}

CUresult drv_cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
	return copy_linear((uintptr_t)dst, CLAIM_HOST, src, CLAIM_DEVICE, bytes, stream, true);
}

CUresult drv_cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
	return copy_linear(dst, CLAIM_DEVICE, src, CLAIM_DEVICE, bytes, NULL, false);
}

CUresult drv_cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
	return copy_linear(dst, CLAIM_DEVICE, src, CLAIM_DEVICE, bytes, stream, true);
}

/* Both contexts must exist; their memory is reached alike. */
static CUresult peers_check(CUcontext dst, CUcontext src)
{
	struct drv_ctx *ctx;
	CUresult r = drv_ctx_get(dst, &ctx);

	if (r)
		return r;
	drv_obj_put(&ctx->obj);
	r = drv_ctx_get(src, &ctx);
	if (!r)
		drv_obj_put(&ctx->obj);
	return r;
}

CUresult drv_cuMemcpyPeer(CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t bytes)
{
	CUresult r = peers_check(dst_ctx, src_ctx);

	return r ? r : copy_linear(dst, CLAIM_DEVICE, src, CLAIM_DEVICE, bytes, NULL, false);
}

CUresult drv_cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t bytes,
			       CUstream stream)
{
	CUresult r = peers_check(dst_ctx, src_ctx);

	return r ? r : copy_linear(dst, CLAIM_DEVICE, src, CLAIM_DEVICE, bytes, stream, true);
}

/* One side of a 2D or 3D copy, as the structures of the API describe it. */
struct side {
	CUmemorytype type;
	const void *host;
	CUdeviceptr device;
	CUarray array;
	size_t x, y, z, level, pitch, height;
};

/* Part of an array: its own pitch counts, and all of the part must be in it. */
static CUresult array_resolve(const struct side *s, size_t width, size_t rows, size_t slices, uint64_t *addr, size_t *pitch,
			      size_t *slice)
{
	const struct hg_texture_level *l;
	struct drv_array a;
	CUresult r = drv_array_find((uintptr_t)s->array, false, &a);

	if (r)
		return r;
	l = &a.level;
	if (s->level || s->x > l->row_bytes || width > l->row_bytes - s->x || s->y > l->height || rows > l->height - s->y ||
	    s->z > l->depth || slices > l->depth - s->z || s->x % (l->row_bytes / l->width) || width % (l->row_bytes / l->width))
		return CUDA_ERROR_INVALID_VALUE;
	*addr = l->addr + s->z * l->slice + s->y * l->pitch + s->x;
	*pitch = l->pitch;
	*slice = l->slice;
	return CUDA_SUCCESS;
}

/* 2D copies have a height of 0: there is no second slice. */
static CUresult side_resolve(const struct side *s, size_t width, size_t rows, size_t slices, uint64_t *addr,
			     enum claim *claim, size_t *pitch, size_t *slice)
{
	uint64_t base;

	switch (s->type) {
	case CU_MEMORYTYPE_HOST:
		base = (uintptr_t)s->host;
		*claim = CLAIM_HOST;
		break;
	case CU_MEMORYTYPE_DEVICE:
		base = s->device;
		*claim = CLAIM_DEVICE;
		break;
	case CU_MEMORYTYPE_UNIFIED:
		base = s->device;
		*claim = CLAIM_ANY;
		break;
	case CU_MEMORYTYPE_ARRAY:
		*claim = CLAIM_DEVICE;
		return array_resolve(s, width, rows, slices, addr, pitch, slice);
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	/* a pitch or height of 0 is that of the part copied, where only one row or slice is */
	*pitch = s->pitch ? s->pitch : width + s->x;
	*slice = *pitch * (s->height ? s->height : rows + s->y);
	if (s->level || *pitch < width + s->x || (slices > 1 && s->height && s->height < rows + s->y))
		return CUDA_ERROR_INVALID_VALUE;
	*addr = base + s->z * *slice + s->y * *pitch + s->x;
	return CUDA_SUCCESS;
}

static CUresult copy_sides(const struct side *dst, const struct side *src, size_t width, size_t rows, size_t slices,
			   CUstream stream, bool async)
{
	struct request q = {
		.copy = { .width = width, .height = rows, .depth = slices },
		.stream = stream, .async = async,
	};
	CUresult r = drv_ready();

	if (r)
		return r;
	r = side_resolve(dst, width, rows, slices, &q.copy.dst, &q.dst_claim, &q.copy.dst_pitch, &q.copy.dst_slice);
	if (r)
		return r;
	r = side_resolve(src, width, rows, slices, &q.copy.src, &q.src_claim, &q.copy.src_pitch, &q.copy.src_slice);
	if (r)
		return r;
	return copy_run(&q);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *p, CUstream stream, bool async)
{
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	return copy_sides(&(struct side){ .type = p->dstMemoryType, .host = p->dstHost, .device = p->dstDevice, .array = p->dstArray,
					  .x = p->dstXInBytes, .y = p->dstY, .pitch = p->dstPitch },
			  &(struct side){ .type = p->srcMemoryType, .host = p->srcHost, .device = p->srcDevice, .array = p->srcArray,
					  .x = p->srcXInBytes, .y = p->srcY, .pitch = p->srcPitch },
			  p->WidthInBytes, p->Height, 1, stream, async);
}

static CUresult copy_3d(const CUDA_MEMCPY3D *p, CUstream stream, bool async)
{
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	return copy_sides(&(struct side){ .type = p->dstMemoryType, .host = p->dstHost, .device = p->dstDevice, .array = p->dstArray,
					  .x = p->dstXInBytes, .y = p->dstY, .z = p->dstZ, .level = p->dstLOD,
					  .pitch = p->dstPitch, .height = p->dstHeight },
			  &(struct side){ .type = p->srcMemoryType, .host = p->srcHost, .device = p->srcDevice, .array = p->srcArray,
					  .x = p->srcXInBytes, .y = p->srcY, .z = p->srcZ, .level = p->srcLOD,
					  .pitch = p->srcPitch, .height = p->srcHeight },
			  p->WidthInBytes, p->Height, p->Depth, stream, async);
}

static CUresult copy_3d_peer(const CUDA_MEMCPY3D_PEER *p, CUstream stream, bool async)
{
	CUresult r;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	r = peers_check(p->dstContext, p->srcContext);
	if (r)
		return r;
	return copy_sides(&(struct side){ .type = p->dstMemoryType, .host = p->dstHost, .device = p->dstDevice, .array = p->dstArray,
					  .x = p->dstXInBytes, .y = p->dstY, .z = p->dstZ, .level = p->dstLOD,
					  .pitch = p->dstPitch, .height = p->dstHeight },
			  &(struct side){ .type = p->srcMemoryType, .host = p->srcHost, .device = p->srcDevice, .array = p->srcArray,
					  .x = p->srcXInBytes, .y = p->srcY, .z = p->srcZ, .level = p->srcLOD,
					  .pitch = p->srcPitch, .height = p->srcHeight },
			  p->WidthInBytes, p->Height, p->Depth, stream, async);
}

/*
 * Bytes of an array from an offset on, row after row: part of one row, or whole rows. False: neither.
 */
static bool array_side(struct side *s, CUarray array, size_t offset, size_t bytes, size_t *width, size_t *rows)
{
	struct drv_array a;
	size_t row;

	*s = (struct side){ .type = CU_MEMORYTYPE_ARRAY, .array = array };
	*width = bytes;
	*rows = 1;
	if (drv_array_find((uintptr_t)array, false, &a))
		return true;	/* the copy will say so */
	row = a.level.row_bytes;
	s->x = offset % row;
	s->y = offset / row;
	if (bytes <= row - s->x)
		return true;
	*width = row;
	*rows = bytes / row;
	return !s->x && bytes % row == 0;
}

static CUresult copy_to_array(CUarray dst, size_t offset, const struct side *src, size_t bytes, CUstream stream, bool async)
{
	struct side to, from = *src;
	size_t width, rows;

	if (!array_side(&to, dst, offset, bytes, &width, &rows))
		return CUDA_ERROR_INVALID_VALUE;
	from.pitch = width;
	return copy_sides(&to, &from, width, rows, 1, stream, async);
}

static CUresult copy_from_array(const struct side *dst, CUarray src, size_t offset, size_t bytes, CUstream stream, bool async)
{
	struct side from, to = *dst;
	size_t width, rows;

	if (!array_side(&from, src, offset, bytes, &width, &rows))
		return CUDA_ERROR_INVALID_VALUE;
	to.pitch = width;
	return copy_sides(&to, &from, width, rows, 1, stream, async);
}

#define HOST_SIDE(p) (&(struct side){ .type = CU_MEMORYTYPE_HOST, .host = (p) })
#define DEVICE_SIDE(p) (&(struct side){ .type = CU_MEMORYTYPE_DEVICE, .device = (p) })

CUresult drv_cuMemcpyHtoA_v2(CUarray dst, size_t offset, const void *src, size_t bytes)
{
	return copy_to_array(dst, offset, HOST_SIDE(src), bytes, NULL, false);
}

CUresult drv_cuMemcpyHtoAAsync_v2(CUarray dst, size_t offset, const void *src, size_t bytes, CUstream stream)
{
	return copy_to_array(dst, offset, HOST_SIDE(src), bytes, stream, true);
}

CUresult drv_cuMemcpyDtoA_v2(CUarray dst, size_t offset, CUdeviceptr src, size_t bytes)
{
	return copy_to_array(dst, offset, DEVICE_SIDE(src), bytes, NULL, false);
}

CUresult drv_cuMemcpyAtoH_v2(void *dst, CUarray src, size_t offset, size_t bytes)
{
	return copy_from_array(HOST_SIDE(dst), src, offset, bytes, NULL, false);
}

CUresult drv_cuMemcpyAtoHAsync_v2(void *dst, CUarray src, size_t offset, size_t bytes, CUstream stream)
{
	return copy_from_array(HOST_SIDE(dst), src, offset, bytes, stream, true);
}

CUresult drv_cuMemcpyAtoD_v2(CUdeviceptr dst, CUarray src, size_t offset, size_t bytes)
{
	return copy_from_array(DEVICE_SIDE(dst), src, offset, bytes, NULL, false);
}

CUresult drv_cuMemcpyAtoA_v2(CUarray dst, size_t dst_offset, CUarray src, size_t src_offset, size_t bytes)
{
	struct side to, from;
	size_t width[2], rows[2];

	if (!array_side(&to, dst, dst_offset, bytes, &width[0], &rows[0]) ||
	    !array_side(&from, src, src_offset, bytes, &width[1], &rows[1]) || width[0] != width[1])
		return CUDA_ERROR_INVALID_VALUE;
	return copy_sides(&to, &from, width[0], rows[0], 1, NULL, false);
}

CUresult drv_cuMemcpy2D_v2(const CUDA_MEMCPY2D *p)
{
	return copy_2d(p, NULL, false);
}

CUresult drv_cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *p)
{
	return copy_2d(p, NULL, false);
}

CUresult drv_cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *p, CUstream stream)
{
	return copy_2d(p, stream, true);
}

CUresult drv_cuMemcpy3D_v2(const CUDA_MEMCPY3D *p)
{
	return copy_3d(p, NULL, false);
}

CUresult drv_cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *p, CUstream stream)
{
	return copy_3d(p, stream, true);
}

CUresult drv_cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *p)
{
	return copy_3d_peer(p, NULL, false);
}

CUresult drv_cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *p, CUstream stream)
{
	return copy_3d_peer(p, stream, true);
}

/* fills */

static CUresult fill_run(CUdeviceptr dst, size_t pitch, uint32_t value, uint32_t element, size_t width, size_t height,
			 CUstream stream, bool async)
{
	struct hg_fill fill = {
		.dst = dst, .width = width, .height = height, .pitch = pitch, .value = value, .element = element,
	};
	struct drv_stream *s;
	enum place place;
	uint64_t bytes;
	CUresult r;

	r = drv_stream_get(stream, &s);
	if (r)
		return r;
	drv_obj_put(&s->obj);
	if (!width || !height)
		return CUDA_SUCCESS;
	if (dst % element || __builtin_mul_overflow((uint64_t)width, (uint64_t)element, &bytes) ||
	    (height > 1 && (pitch < bytes || pitch % element)))
		return CUDA_ERROR_INVALID_VALUE;
	if (height == 1)
		fill.pitch = bytes;
	r = look(dst, extent(bytes, height, 1, fill.pitch, 0), CLAIM_DEVICE, true, &place);
	if (r)
		return r;
	r = drv_stream_begin(stream, &s);
	if (r)
		return r;
	r = drv_result(drv.ops->fill(s->queue, &fill));
	if (r || async) {
		drv_stream_end(s, DRV_WORK);
		return r;
	}
	drv_stream_unlock(s, DRV_WORK);
	r = drv_stream_sync(s);
	drv_obj_put(&s->obj);
	return r;
}

CUresult drv_cuMemsetD8_v2(CUdeviceptr dst, unsigned char v, size_t n)
{
	return fill_run(dst, 0, v, 1, n, 1, NULL, false);
}

CUresult drv_cuMemsetD16_v2(CUdeviceptr dst, unsigned short v, size_t n)
{
	return fill_run(dst, 0, v, 2, n, 1, NULL, false);
}

CUresult drv_cuMemsetD32_v2(CUdeviceptr dst, unsigned int v, size_t n)
{
	return fill_run(dst, 0, v, 4, n, 1, NULL, false);
}

CUresult drv_cuMemsetD8Async(CUdeviceptr dst, unsigned char v, size_t n, CUstream stream)
{
	return fill_run(dst, 0, v, 1, n, 1, stream, true);
}

CUresult drv_cuMemsetD16Async(CUdeviceptr dst, unsigned short v, size_t n, CUstream stream)
{
	return fill_run(dst, 0, v, 2, n, 1, stream, true);
}

CUresult drv_cuMemsetD32Async(CUdeviceptr dst, unsigned int v, size_t n, CUstream stream)
{
	return fill_run(dst, 0, v, 4, n, 1, stream, true);
}

CUresult drv_cuMemsetD2D8_v2(CUdeviceptr dst, size_t pitch, unsigned char v, size_t width, size_t height)
{
	return fill_run(dst, pitch, v, 1, width, height, NULL, false);
}

CUresult drv_cuMemsetD2D16_v2(CUdeviceptr dst, size_t pitch, unsigned short v, size_t width, size_t height)
{
	return fill_run(dst, pitch, v, 2, width, height, NULL, false);
}

CUresult drv_cuMemsetD2D32_v2(CUdeviceptr dst, size_t pitch, unsigned int v, size_t width, size_t height)
{
	return fill_run(dst, pitch, v, 4, width, height, NULL, false);
}

CUresult drv_cuMemsetD2D8Async(CUdeviceptr dst, size_t pitch, unsigned char v, size_t width, size_t height,
			       CUstream stream)
{
	return fill_run(dst, pitch, v, 1, width, height, stream, true);
}

CUresult drv_cuMemsetD2D16Async(CUdeviceptr dst, size_t pitch, unsigned short v, size_t width, size_t height,
				CUstream stream)
{
	return fill_run(dst, pitch, v, 2, width, height, stream, true);
}

CUresult drv_cuMemsetD2D32Async(CUdeviceptr dst, size_t pitch, unsigned int v, size_t width, size_t height,
				CUstream stream)
{
	return fill_run(dst, pitch, v, 4, width, height, stream, true);
}
