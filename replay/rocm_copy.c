/* rocm_copy.c - what HIP does of copies and fills (gpu_copy.h). */
#define _GNU_SOURCE
#include "replay/rocm.h"

static enum hg_status copy(struct hg_queue *q, const struct gpu_piece *p)
{
	if (p->rows == 1)
		return HIP(hipMemcpyAsync, (void *)p->dst, (const void *)p->src, p->width, HIP_MEMCPY_DEFAULT, q->stream);
	return HIP(hipMemcpy2DAsync, (void *)p->dst, p->dst_pitch, (const void *)p->src, p->src_pitch, p->width, p->rows,
		   HIP_MEMCPY_DEFAULT, q->stream);
}

static enum hg_status fill(struct hg_queue *q, const struct hg_fill *f, uint64_t dst, size_t nr)
{
	switch (f->element) {
	case 1:
		return HIP(hipMemsetD8Async, (void *)dst, (unsigned char)f->value, nr, q->stream);
	case 2:
		return HIP(hipMemsetD16Async, (void *)dst, (unsigned short)f->value, nr, q->stream);
	default:
		return HIP(hipMemsetD32Async, (void *)dst, (int)f->value, nr, q->stream);
	}
}

static enum hg_status fill_rows(struct hg_queue *q, const struct hg_fill *f)
{
	return HIP(hipMemset2DAsync, (void *)f->dst, f->pitch, (int)(f->value & 0xff), f->width, f->height, q->stream);
}

static enum hg_status chunk(struct hg_queue *q, unsigned int i, void **mem)
{
	struct rocm_chunk *c = &q->chunk[i];
	enum hg_status st = HG_OK;

	if (!c->mem)
		st = rocm_own_take(q->target, GPU_CHUNK, ROCM_CHUNK_FLAGS, &c->mem);
	if (!st && !c->done)
		st = HIP(hipEventCreateWithFlags, &c->done, HIP_EVENT_DISABLE_TIMING);
	if (!st)
		*mem = c->mem;
	return st;
}

static enum hg_status chunk_mark(struct hg_queue *q, unsigned int i)
{
	enum hg_status st = HIP(hipEventRecord, q->chunk[i].done, q->stream);

	q->chunk[i].is_used = true;
	return st;
}

static enum hg_status chunk_wait(struct hg_queue *q, unsigned int i)
{
	return q->chunk[i].is_used ? HIP(hipEventSynchronize, q->chunk[i].done) : HG_OK;
}

/* A stream with an error is none where the host may move bytes by itself. */
static bool is_idle(struct hg_queue *q)
{
	return !HIP_CALL(hipStreamQuery, q->stream);
}

static const struct gpu_copy_ops ops = {
	.copy = copy,
	.fill = fill,
	.fill_rows = fill_rows,
	.is_idle = is_idle,
	.host_func = rocm_host_func,
	.chunk = chunk,
	.chunk_mark = chunk_mark,
	.chunk_wait = chunk_wait,
};

enum hg_status rocm_upload(struct hg_queue *q, void *dst, const void *src, size_t size)
{
	return gpu_upload(&ops, &q->gpu, dst, src, size);
}

enum hg_status rocm_copy(struct hg_queue *q, const struct hg_copy *c)
{
	enum hg_status st = rocm_enter(q->target);

	if (!st)
		st = gpu_copy(&ops, &q->gpu, &q->target->memory, c);
	if (!st)
		rocm_issued(q);
	return st;
}

enum hg_status rocm_fill(struct hg_queue *q, const struct hg_fill *f)
{
	enum hg_status st = rocm_enter(q->target);

	if (!st)
		st = gpu_fill(&ops, &q->gpu, &q->target->memory, f);
	if (!st)
		rocm_issued(q);
	return st;
}
