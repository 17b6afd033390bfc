/* rocm_copy.c - copies and fills: cut where HIP's allocations end, through pinned memory where the host's is pageable. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/rocm.h"

/* Rows of one slice, each side of them in one piece of memory as HIP knows it. */
struct piece {
	uint64_t dst, src;
	size_t width, rows, dst_pitch, src_pitch;
};

static void move_rows(const struct piece *p)
{
	for (size_t y = 0; y < p->rows; y++)
		memmove((void *)(p->dst + y * p->dst_pitch), (const void *)(p->src + y * p->src_pitch), p->width);
}

/* ---- the host's part of a copy that must wait for its turn ---- */

struct late_move {
	struct hg_queue *queue;
	struct piece piece;
};

static void run_late_move(void *arg)
{
	struct late_move *l = arg;

	/* what a failed kernel left is not given to the program */
	if (!atomic_load(&l->queue->failed) && !__atomic_load_n(&l->queue->state->fault, __ATOMIC_ACQUIRE))
		move_rows(&l->piece);
	free(l);
}

static enum hg_status move_late(struct hg_queue *q, const struct piece *p)
{
	struct late_move *l = malloc(sizeof(*l));
	enum hg_status st;

	if (!l)
		return HG_ERR_NOMEM;
	*l = (struct late_move){ q, *p };
	st = rocm_host_func(q, run_late_move, l);
	if (st)
		free(l);
	return st;
}

/* ---- between memory that HIP knows ---- */

static enum hg_status copy_known(struct hg_queue *q, const struct piece *p)
{
	if (p->rows == 1)
		return HIP(hipMemcpyAsync, (void *)p->dst, (const void *)p->src, p->width, HIP_MEMCPY_DEFAULT, q->stream);
	return HIP(hipMemcpy2DAsync, (void *)p->dst, p->dst_pitch, (const void *)p->src, p->src_pitch, p->width, p->rows,
		   HIP_MEMCPY_DEFAULT, q->stream);
}

/* ---- through pinned memory ---- */

static enum hg_status chunks_ready(struct hg_queue *q)
{
	enum hg_status st = HG_OK;

	for (unsigned int i = 0; i < ROCM_CHUNKS && !st; i++) {
		struct rocm_chunk *c = &q->chunk[i];

		if (!c->mem)
			st = rocm_own_take(q->target, ROCM_CHUNK, ROCM_CHUNK_FLAGS, &c->mem);
		if (!st && !c->done)
			st = HIP(hipEventCreateWithFlags, &c->done, HIP_EVENT_DISABLE_TIMING);
	}
	return st;
}

/* As many rows as a chunk has room for, from row `at` on; a row that is longer than a chunk comes in parts, from byte `x` on. */
static struct piece part_of(const struct piece *p, size_t at, size_t x)
{
	struct piece part = *p;

	part.dst += at * p->dst_pitch + x;
	part.src += at * p->src_pitch + x;
	if (p->width > ROCM_CHUNK) {
		part.rows = 1;
		part.width = p->width - x < ROCM_CHUNK ? p->width - x : ROCM_CHUNK;
	} else {
		part.rows = ROCM_CHUNK / p->width < p->rows - at ? ROCM_CHUNK / p->width : p->rows - at;
	}
	return part;
}

static bool next_part(const struct piece *p, const struct piece *part, size_t *at, size_t *x)
{
	*x = part->width < p->width ? *x + part->width : 0;
	if (*x == p->width)
		*x = 0;
	*at += *x ? 0 : part->rows;
	return *at < p->rows;
}

/* The two halves of a part: from or to the chunk, where rows lie without gaps. */
static struct piece into_chunk(const struct piece *p, const struct rocm_chunk *c)
{
	return (struct piece){ (uintptr_t)c->mem, p->src, p->width, p->rows, p->width, p->src_pitch };
}

static struct piece out_of_chunk(const struct piece *p, const struct rocm_chunk *c)
{
	return (struct piece){ p->dst, (uintptr_t)c->mem, p->width, p->rows, p->dst_pitch, p->width };
}

/* The queue is idle, and nobody else feeds it: the calling thread moves bytes while HIP copies other ones. */
static enum hg_status upload_now(struct hg_queue *q, const struct piece *p)
{
	struct piece part, half;
	size_t at = 0, x = 0;
	unsigned int i = 0;
	enum hg_status st;

	do {
		struct rocm_chunk *c = &q->chunk[i++ % ROCM_CHUNKS];

		st = c->is_used ? HIP(hipEventSynchronize, c->done) : HG_OK;
		if (st)
			return st;
		part = part_of(p, at, x);
		half = into_chunk(&part, c);
		move_rows(&half);
		half = out_of_chunk(&part, c);
		st = copy_known(q, &half);
		if (!st)
			st = HIP(hipEventRecord, c->done, q->stream);
		c->is_used = true;
	} while (!st && next_part(p, &part, &at, &x));
	return st;
}

static enum hg_status download_now(struct hg_queue *q, const struct piece *p)
{
	struct piece part[ROCM_CHUNKS], half;
	size_t at = 0, x = 0;
	unsigned int issued = 0, taken = 0;
	enum hg_status st = HG_OK;
	bool more = true;

	while (!st && (more || taken < issued)) {
		struct rocm_chunk *c = &q->chunk[issued % ROCM_CHUNKS];

		if (more && issued - taken < ROCM_CHUNKS) {
			part[issued % ROCM_CHUNKS] = part_of(p, at, x);
			half = into_chunk(&part[issued % ROCM_CHUNKS], c);
			st = copy_known(q, &half);
			if (!st)
				st = HIP(hipEventRecord, c->done, q->stream);
			more = next_part(p, &part[issued++ % ROCM_CHUNKS], &at, &x);
			continue;
		}
		c = &q->chunk[taken % ROCM_CHUNKS];
		st = HIP(hipEventSynchronize, c->done);
		half = out_of_chunk(&part[taken++ % ROCM_CHUNKS], c);
		if (!st)
			move_rows(&half);
	}
	return st;
}

/*
 * Behind other work: the bytes go through one chunk, one part after the other, each step in the queue's order. Nothing is
 * waited for here: what is queued before may itself wait for a thread that is kept out by the caller's lock.
 */
static enum hg_status copy_in_turn(struct hg_queue *q, const struct piece *p, bool is_upload)
{
	struct rocm_chunk *c = &q->chunk[0];
	struct piece part, in, out;
	size_t at = 0, x = 0;
	enum hg_status st;

	do {
		part = part_of(p, at, x);
		in = into_chunk(&part, c);
		out = out_of_chunk(&part, c);
		st = is_upload ? move_late(q, &in) : copy_known(q, &in);
		if (!st)
			st = is_upload ? copy_known(q, &out) : move_late(q, &out);
	} while (!st && next_part(p, &part, &at, &x));
	return st;
}

static enum hg_status run_piece(struct hg_queue *q, const struct piece *p, enum rocm_place dst, enum rocm_place src)
{
	bool is_host = dst != ROCM_DEVICE && src != ROCM_DEVICE, is_idle;
	enum hg_status st;

	if (!is_host && dst != ROCM_PAGEABLE && src != ROCM_PAGEABLE)
		return copy_known(q, p);
	is_idle = !HIP_CALL(hipStreamQuery, q->stream);
	/* HIP would do this on the calling thread, after waiting for all that is queued */
	if (is_host) {
		if (!is_idle)
			return move_late(q, p);
		move_rows(p);
		return HG_OK;
	}
	st = chunks_ready(q);
	if (st)
		return st;
	if (!is_idle)
		return copy_in_turn(q, p, src == ROCM_PAGEABLE);
	return src == ROCM_PAGEABLE ? upload_now(q, p) : download_now(q, p);
}

enum hg_status rocm_upload(struct hg_queue *q, void *dst, const void *src, size_t size)
{
	const struct piece p = { (uintptr_t)dst, (uintptr_t)src, size, 1, size, size };
	enum hg_status st = chunks_ready(q);

	return st ? st : upload_now(q, &p);
}

/* Bytes in a row, which may lie in several allocations on either side. */
static enum hg_status copy_linear(struct hg_queue *q, uint64_t dst, uint64_t src, size_t size)
{
	enum hg_status st = HG_OK;

	while (size && !st) {
		enum rocm_place to, from;
		uint64_t len, src_len;
		struct piece p;

		to = rocm_look(q->target, dst, size, &len);
		from = rocm_look(q->target, src, len, &src_len);
		p = (struct piece){ dst, src, src_len, 1, src_len, src_len };
		st = run_piece(q, &p, to, from);
		dst += src_len;
		src += src_len;
		size -= src_len;
	}
	return st;
}

static enum hg_status copy_slice(struct hg_queue *q, const struct piece *p)
{
	uint64_t dst_size = (p->rows - 1) * p->dst_pitch + p->width, src_size = (p->rows - 1) * p->src_pitch + p->width;
	uint64_t dst_len, src_len;
	enum rocm_place to, from;
	enum hg_status st = HG_OK;

	if (p->rows == 1 || (p->width == p->dst_pitch && p->width == p->src_pitch))
		return copy_linear(q, p->dst, p->src, p->width * p->rows);
	to = rocm_look(q->target, p->dst, dst_size, &dst_len);
	from = rocm_look(q->target, p->src, src_size, &src_len);
	/* HIP takes no pitch that is less than the width: rows that overlap are copied one by one */
	if (dst_len == dst_size && src_len == src_size && p->dst_pitch >= p->width && p->src_pitch >= p->width)
		return run_piece(q, p, to, from);
	for (size_t y = 0; y < p->rows && !st; y++)
		st = copy_linear(q, p->dst + y * p->dst_pitch, p->src + y * p->src_pitch, p->width);
	return st;
}

enum hg_status rocm_copy(struct hg_queue *q, const struct hg_copy *c)
{
	enum hg_status st;

	if (!c->width || !c->height || !c->depth || atomic_load_explicit(&q->failed, memory_order_relaxed))
		return HG_OK;
	st = rocm_enter(q->target);
	for (size_t z = 0; z < c->depth && !st; z++) {
		const struct piece p = { c->dst + z * c->dst_slice, c->src + z * c->src_slice, c->width, c->height, c->dst_pitch,
					 c->src_pitch };

		st = copy_slice(q, &p);
	}
	if (!st)
		rocm_issued(q);
	return st;
}

/* ---- fills ---- */

static enum hg_status fill_known(struct hg_queue *q, const struct hg_fill *f, uint64_t dst, size_t nr)
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

static enum hg_status fill_linear(struct hg_queue *q, const struct hg_fill *f, uint64_t dst, size_t nr)
{
	enum hg_status st = HG_OK;

	while (nr && !st) {
		uint64_t len;

		if (rocm_look(q->target, dst, nr * f->element, &len) == ROCM_PAGEABLE || len < f->element) {
			pr_err("a fill of %zu bytes at 0x%llx: this is no memory of the device", nr * f->element, (unsigned long long)dst);
			return HG_ERR_INVALID;
		}
		st = fill_known(q, f, dst, len / f->element);
		dst += len;
		nr -= len / f->element;
	}
	return st;
}

enum hg_status rocm_fill(struct hg_queue *q, const struct hg_fill *f)
{
	uint64_t size, len;
	enum hg_status st;

	if (!f->width || !f->height || atomic_load_explicit(&q->failed, memory_order_relaxed))
		return HG_OK;
	st = rocm_enter(q->target);
	if (st)
		return st;
	size = (f->height - 1) * f->pitch + f->width * f->element;
	if (f->height == 1 || f->pitch == f->width * f->element) {
		st = fill_linear(q, f, f->dst, f->width * f->height);
	} else if (f->element == 1 && rocm_look(q->target, f->dst, size, &len) != ROCM_PAGEABLE && len == size) {
		st = HIP(hipMemset2DAsync, (void *)f->dst, f->pitch, (int)(f->value & 0xff), f->width, f->height, q->stream);
	} else {
		for (size_t y = 0; y < f->height && !st; y++)
			st = fill_linear(q, f, f->dst + y * f->pitch, f->width);
	}
	if (!st)
		rocm_issued(q);
	return st;
}
