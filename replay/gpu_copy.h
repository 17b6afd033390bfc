/* gpu_copy.h - copies and fills on every kind of GPU: cut where allocations end, through pinned memory where the host's is pageable. Private to replay/. */
#ifndef HG_REPLAY_GPU_COPY_H
#define HG_REPLAY_GPU_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "replay/gpu_memory.h"
#include "replay/gpu_queue.h"
#include "replay/target.h"

#define GPU_CHUNK ((size_t)2 << 20)	/* of pinned memory, that pageable memory is copied through */
#define GPU_CHUNKS 3u			/* of a queue: so many copies are under way while the next is filled, or the last emptied */

/* Rows of one slice, each side of them in one piece of memory as the vendor's runtime knows it. */
struct gpu_piece {
	uint64_t dst, src;
	size_t width, rows, dst_pitch, src_pitch;
};

/* What a vendor's runtime does of it. All in the order of the queue; nothing but chunk_wait waits. */
struct gpu_copy_ops {
	/* no side of it pageable */
	enum hg_status (*copy)(struct hg_queue *q, const struct gpu_piece *p);
	/* nr elements of f->element bytes with f->value, in one piece of memory */
	enum hg_status (*fill)(struct hg_queue *q, const struct hg_fill *f, uint64_t dst, size_t nr);
	/* rows of bytes in one piece of memory; NULL: it has no such thing, and they are filled one by one */
	enum hg_status (*fill_rows)(struct hg_queue *q, const struct hg_fill *f);
	bool (*is_idle)(struct hg_queue *q);
	enum hg_status (*host_func)(struct hg_queue *q, void (*fn)(void *arg), void *arg);
	/* GPU_CHUNK bytes of pinned memory, of chunk i of the queue */
	enum hg_status (*chunk)(struct hg_queue *q, unsigned int i, void **mem);
	/* the copy that was queued last is of chunk i; wait: for that copy, if there was one */
	enum hg_status (*chunk_mark)(struct hg_queue *q, unsigned int i);
	enum hg_status (*chunk_wait)(struct hg_queue *q, unsigned int i);
};

/* copy and fill of struct hg_target_ops. A queue that drops what comes is left alone. */
enum hg_status gpu_copy(const struct gpu_copy_ops *ops, struct gpu_queue *g, struct gpu_memory *m, const struct hg_copy *c) HG_MUST_CHECK;
enum hg_status gpu_fill(const struct gpu_copy_ops *ops, struct gpu_queue *g, struct gpu_memory *m, const struct hg_fill *f) HG_MUST_CHECK;
/* To any memory that the vendor's runtime allocated, from pageable memory; the queue is idle. */
enum hg_status gpu_upload(const struct gpu_copy_ops *ops, struct gpu_queue *g, void *dst, const void *src, size_t size) HG_MUST_CHECK;
/* read and write of struct hg_target_ops: `size` bytes by its copy, in a queue that nobody else feeds, and waits for them. */
enum hg_status gpu_transfer(const struct hg_target_ops *target, struct hg_queue *q, uint64_t dst, uint64_t src, size_t size) HG_MUST_CHECK;

#endif
