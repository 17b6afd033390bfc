/* gpu_copy.c - copies and fills: cut where allocations end, through pinned memory where the host's is pageable. */
#define _GNU_SOURCE
#include "replay/gpu_copy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"

/* A copy or fill under way. */
struct copier {
	const struct gpu_copy_ops *ops;
	struct gpu_queue *gpu;
	struct gpu_memory *memory;
	struct hg_queue *queue;
};

static void move_rows(const struct gpu_piece *p)
{
	for (size_t y = 0; y < p->rows; y++)
		memmove((void *)(p->dst + y * p->dst_pitch), (const void *)(p->src + y * p->src_pitch), p->width);
}

/* ---- the host's part of a copy that must wait for its turn ---- */

struct late_move {
	struct gpu_queue *gpu;
	struct gpu_piece piece;
};

static void run_late_move(void *arg)
{
	struct late_move *l = arg;

	/* what a failed kernel left is not given to the program */
	if (!atomic_load(&l->gpu->failed) && !__atomic_load_n(&l->gpu->state->fault, __ATOMIC_ACQUIRE))
		move_rows(&l->piece);
	free(l);
}

static enum hg_status move_late(const struct copier *c, const struct gpu_piece *p)
{
	struct late_move *l = malloc(sizeof(*l));
	enum hg_status st;

	if (!l)
		return HG_ERR_NOMEM;
	*l = (struct late_move){ c->gpu, *p };
	st = c->ops->host_func(c->queue, run_late_move, l);
	if (st)
		free(l);
	return st;
}

/* ---- through pinned memory ---- */

/* As many rows as a chunk has room for, from row `at` on; a row that is longer than a chunk comes in parts, from byte `x` on. */
static struct gpu_piece part_of(const struct gpu_piece *p, size_t at, size_t x)
{
	struct gpu_piece part = *p;

	part.dst += at * p->dst_pitch + x;
	part.src += at * p->src_pitch + x;
	if (p->width > GPU_CHUNK) {
		part.rows = 1;
		part.width = p->width - x < GPU_CHUNK ? p->width - x : GPU_CHUNK;
	} else {
		part.rows = GPU_CHUNK / p->width < p->rows - at ? GPU_CHUNK / p->width : p->rows - at;
	}
	return part;
}

static bool next_part(const struct gpu_piece *p, const struct gpu_piece *part, size_t *at, size_t *x)
{
	*x = part->width < p->width ? *x + part->width : 0;
	if (*x == p->width)
		*x = 0;
	*at += *x ? 0 : part->rows;
	return *at < p->rows;
}

/* The two halves of a part: from or to the chunk, where rows lie without gaps. */
static struct gpu_piece into_chunk(const struct gpu_piece *p, void *chunk)
{
	return (struct gpu_piece){ (uintptr_t)chunk, p->src, p->width, p->rows, p->width, p->src_pitch };
}

static struct gpu_piece out_of_chunk(const struct gpu_piece *p, void *chunk)
{
	return (struct gpu_piece){ p->dst, (uintptr_t)chunk, p->width, p->rows, p->dst_pitch, p->width };
}

/* The queue is idle, and nobody else feeds it: the calling thread moves bytes while the device copies other ones. */
static enum hg_status upload_now(const struct copier *c, const struct gpu_piece *p)
{
	struct gpu_piece part, half;
	size_t at = 0, x = 0;
	unsigned int i = 0;
	enum hg_status st;
	void *chunk;

	do {
		st = c->ops->chunk(c->queue, i, &chunk);
		if (!st)
			st = c->ops->chunk_wait(c->queue, i);
		if (st)
			return st;
		part = part_of(p, at, x);
		half = into_chunk(&part, chunk);
		move_rows(&half);
		half = out_of_chunk(&part, chunk);
		st = c->ops->copy(c->queue, &half);
		if (!st)
			st = c->ops->chunk_mark(c->queue, i);
		i = (i + 1) % GPU_CHUNKS;
	} while (!st && next_part(p, &part, &at, &x));
	return st;
}

static enum hg_status download_now(const struct copier *c, const struct gpu_piece *p)
{
	struct gpu_piece part[GPU_CHUNKS], half;
	void *chunk[GPU_CHUNKS];
	size_t at = 0, x = 0;
	unsigned int issued = 0, taken = 0;
	enum hg_status st = HG_OK;
	bool more = true;

	while (!st && (more || taken < issued)) {
		unsigned int i = issued % GPU_CHUNKS;

		if (more && issued - taken < GPU_CHUNKS) {
			st = c->ops->chunk(c->queue, i, &chunk[i]);
			if (st)
				break;
			part[i] = part_of(p, at, x);
			half = into_chunk(&part[i], chunk[i]);
			st = c->ops->copy(c->queue, &half);
			if (!st)
				st = c->ops->chunk_mark(c->queue, i);
			more = next_part(p, &part[i], &at, &x);
			issued++;
			continue;
		}
		i = taken++ % GPU_CHUNKS;
		st = c->ops->chunk_wait(c->queue, i);
		half = out_of_chunk(&part[i], chunk[i]);
		if (!st)
			move_rows(&half);
	}
	return st;
}

/*
 * Behind other work: the bytes go through one chunk, one part after the other, each step in the queue's order. Nothing is
 * waited for here: what is queued before may itself wait for a thread that is kept out by the caller's lock.
 */
static enum hg_status copy_in_turn(const struct copier *c, const struct gpu_piece *p, bool is_upload)
{
	struct gpu_piece part, in, out;
	size_t at = 0, x = 0;
	void *chunk;
	enum hg_status st = c->ops->chunk(c->queue, 0, &chunk);

	if (st)
		return st;
	do {
		part = part_of(p, at, x);
		in = into_chunk(&part, chunk);
		out = out_of_chunk(&part, chunk);
		st = is_upload ? move_late(c, &in) : c->ops->copy(c->queue, &in);
		if (!st)
			st = is_upload ? c->ops->copy(c->queue, &out) : move_late(c, &out);
	} while (!st && next_part(p, &part, &at, &x));
	return st;
}

static enum hg_status run_piece(const struct copier *c, const struct gpu_piece *p, enum gpu_place dst, enum gpu_place src)
{
	bool is_host = dst != GPU_DEVICE && src != GPU_DEVICE, is_idle;

	if (!is_host && dst != GPU_PAGEABLE && src != GPU_PAGEABLE)
		return c->ops->copy(c->queue, p);
	is_idle = c->ops->is_idle(c->queue);
	/* a runtime may do this on the calling thread, after waiting for all that is queued */
	if (is_host) {
		if (!is_idle)
			return move_late(c, p);
		move_rows(p);
		return HG_OK;
	}
	if (!is_idle)
		return copy_in_turn(c, p, src == GPU_PAGEABLE);
	return src == GPU_PAGEABLE ? upload_now(c, p) : download_now(c, p);
}

enum hg_status gpu_upload(const struct gpu_copy_ops *ops, struct gpu_queue *g, void *dst, const void *src, size_t size)
{
	const struct copier c = { ops, g, NULL, g->queue };
	const struct gpu_piece p = { (uintptr_t)dst, (uintptr_t)src, size, 1, size, size };

	return upload_now(&c, &p);
}

/* Bytes in a row, which may lie in several allocations on either side. */
static enum hg_status copy_linear(const struct copier *c, uint64_t dst, uint64_t src, size_t size)
{
	enum hg_status st = HG_OK;

	while (size && !st) {
		enum gpu_place to, from;
		uint64_t len, src_len;
		struct gpu_piece p;

		to = gpu_memory_look(c->memory, dst, size, &len);
		from = gpu_memory_look(c->memory, src, len, &src_len);
		p = (struct gpu_piece){ dst, src, src_len, 1, src_len, src_len };
		st = run_piece(c, &p, to, from);
		dst += src_len;
		src += src_len;
		size -= src_len;
	}
	return st;
}

static enum hg_status copy_slice(const struct copier *c, const struct gpu_piece *p)
{
	uint64_t dst_size = (p->rows - 1) * p->dst_pitch + p->width, src_size = (p->rows - 1) * p->src_pitch + p->width;
	uint64_t dst_len, src_len;
	enum gpu_place to, from;
	enum hg_status st = HG_OK;

	if (p->rows == 1 || (p->width == p->dst_pitch && p->width == p->src_pitch))
		return copy_linear(c, p->dst, p->src, p->width * p->rows);
	to = gpu_memory_look(c->memory, p->dst, dst_size, &dst_len);
	from = gpu_memory_look(c->memory, p->src, src_size, &src_len);
	/* no runtime takes a pitch that is less than the width: rows that overlap are copied one by one */
	if (dst_len == dst_size && src_len == src_size && p->dst_pitch >= p->width && p->src_pitch >= p->width)
		return run_piece(c, p, to, from);
	for (size_t y = 0; y < p->rows && !st; y++)
		st = copy_linear(c, p->dst + y * p->dst_pitch, p->src + y * p->src_pitch, p->width);
	return st;
}

enum hg_status gpu_copy(const struct gpu_copy_ops *ops, struct gpu_queue *g, struct gpu_memory *m, const struct hg_copy *copy)
{
	const struct copier c = { ops, g, m, g->queue };
	enum hg_status st = HG_OK;

	if (!copy->width || !copy->height || gpu_queue_drops(g))
		return HG_OK;
	for (size_t z = 0; z < copy->depth && !st; z++) {
		const struct gpu_piece p = { copy->dst + z * copy->dst_slice, copy->src + z * copy->src_slice, copy->width, copy->height,
					     copy->dst_pitch, copy->src_pitch };

		st = copy_slice(&c, &p);
	}
	return st;
}

enum hg_status gpu_transfer(const struct hg_target_ops *target, struct hg_queue *q, uint64_t dst, uint64_t src, size_t size)
{
	const struct hg_copy c = {
		.dst = dst, .src = src, .width = size, .height = 1, .depth = 1,
		.dst_pitch = size, .src_pitch = size, .dst_slice = size, .src_slice = size,
	};
	enum hg_status st;

	if (!size)
		return HG_OK;
	st = target->copy(q, &c);
	return st ? st : target->queue_sync(q);
}

/* ---- fills ---- */

static enum hg_status fill_linear(const struct copier *c, const struct hg_fill *f, uint64_t dst, size_t nr)
{
	enum hg_status st = HG_OK;

	while (nr && !st) {
		uint64_t len;

		if (gpu_memory_look(c->memory, dst, nr * f->element, &len) == GPU_PAGEABLE || len < f->element) {
			pr_err("a fill of %zu bytes at 0x%" PRIx64 ": this is no memory of the device", nr * f->element, dst);
			return HG_ERR_INVALID;
		}
		st = c->ops->fill(c->queue, f, dst, len / f->element);
		dst += len;
		nr -= len / f->element;
	}
	return st;
}

enum hg_status gpu_fill(const struct gpu_copy_ops *ops, struct gpu_queue *g, struct gpu_memory *m, const struct hg_fill *f)
{
	const struct copier c = { ops, g, m, g->queue };
	enum hg_status st = HG_OK;
	uint64_t size, len;

	if (!f->width || !f->height || gpu_queue_drops(g))
		return HG_OK;
	size = (f->height - 1) * f->pitch + f->width * f->element;
	if (f->height == 1 || f->pitch == f->width * f->element)
		return fill_linear(&c, f, f->dst, f->width * f->height);
	if (ops->fill_rows && f->element == 1 && gpu_memory_look(m, f->dst, size, &len) != GPU_PAGEABLE && len == size)
		return ops->fill_rows(g->queue, f);
	for (size_t y = 0; y < f->height && !st; y++)
		st = fill_linear(&c, f, f->dst + y * f->pitch, f->width);
	return st;
}
