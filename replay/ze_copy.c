/* ze_copy.c - what Level Zero does of copies and fills (gpu_copy.h). */
#define _GNU_SOURCE
#include <string.h>

#include "replay/ze.h"

static enum hg_status copy_bytes(struct hg_queue *q, uint64_t dst, uint64_t src, size_t size)
{
	struct ze_step s;
	enum hg_status st = ze_begin(q, 0, &s);

	if (st)
		return st;
	return ze_end(q, &s, ZE(zeCommandListAppendMemoryCopy, q->list, (void *)dst, (const void *)src, size, s.signal, s.nr_wait, s.wait));
}

/* Level Zero counts rows with 32 bits. */
static enum hg_status copy(struct hg_queue *q, const struct gpu_piece *p)
{
	ze_copy_region_t region = { .width = (uint32_t)p->width, .height = (uint32_t)p->rows };
	struct ze_step s;
	enum hg_status st = HG_OK;

	if (p->rows == 1)
		return copy_bytes(q, p->dst, p->src, p->width);
	if ((p->width | p->rows | p->dst_pitch | p->src_pitch) > UINT32_MAX) {
		for (size_t y = 0; y < p->rows && !st; y++)
			st = copy_bytes(q, p->dst + y * p->dst_pitch, p->src + y * p->src_pitch, p->width);
		return st;
	}
	st = ze_begin(q, 0, &s);
	if (st)
		return st;
	return ze_end(q, &s, ZE(zeCommandListAppendMemoryCopyRegion, q->list, (void *)p->dst, &region, (uint32_t)p->dst_pitch, 0u,
				(const void *)p->src, &region, (uint32_t)p->src_pitch, 0u, s.signal, s.nr_wait, s.wait));
}

static enum hg_status fill(struct hg_queue *q, const struct hg_fill *f, uint64_t dst, size_t nr)
{
	struct ze_step s;
	enum hg_status st = ze_begin(q, 0, &s);

	if (st)
		return st;
	/* its low bytes come first */
	return ze_end(q, &s, ZE(zeCommandListAppendMemoryFill, q->list, (void *)dst, &f->value, (size_t)f->element, nr * f->element,
				s.signal, s.nr_wait, s.wait));
}

static enum hg_status chunk(struct hg_queue *q, unsigned int i, void **mem)
{
	enum hg_status st = q->chunk[i].mem ? HG_OK : ze_own_take(q->target, GPU_CHUNK, ZE_OWN_HOST, &q->chunk[i].mem);

	if (!st)
		*mem = q->chunk[i].mem;
	return st;
}

static enum hg_status chunk_mark(struct hg_queue *q, unsigned int i)
{
	ze_event_put(q->target, q->chunk[i].done);
	q->chunk[i].done = ze_queue_last(q);
	return HG_OK;
}

static enum hg_status chunk_wait(struct hg_queue *q, unsigned int i)
{
	enum hg_status st = q->chunk[i].done ? ze_event_wait(q->target, q->chunk[i].done) : HG_OK;

	ze_event_put(q->target, q->chunk[i].done);
	q->chunk[i].done = NULL;
	return st;
}

static const struct gpu_copy_ops ops = {
	.copy = copy,
	.fill = fill,
	.is_idle = ze_list_is_idle,
	.host_func = ze_host_func,
	.chunk = chunk,
	.chunk_mark = chunk_mark,
	.chunk_wait = chunk_wait,
};

enum hg_status ze_upload(struct hg_queue *q, void *dst, const void *src, size_t size)
{
	return gpu_upload(&ops, &q->gpu, dst, src, size);
}

enum hg_status ze_copy(struct hg_queue *q, const struct hg_copy *c)
{
	return gpu_copy(&ops, &q->gpu, &q->target->memory, c);
}

enum hg_status ze_fill(struct hg_queue *q, const struct hg_fill *f)
{
	return gpu_fill(&ops, &q->gpu, &q->target->memory, f);
}
