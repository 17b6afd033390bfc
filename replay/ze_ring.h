/* ze_ring.h - places in a block of memory that are taken and given back in one order. Not thread-safe. Private to replay/. */
#ifndef HG_REPLAY_ZE_RING_H
#define HG_REPLAY_ZE_RING_H

#include <stdbool.h>
#include <stddef.h>

#define ZE_RING_ALIGN ((size_t)64)

struct ze_ring {
	size_t size;			/* of the block, a multiple of ZE_RING_ALIGN */
	size_t head, used;
};

/*
 * A place of `bytes` in one piece: *at counts from the beginning of the block, a multiple of ZE_RING_ALIGN. Gives what it costs, to be given
 * back by ze_ring_give when all that was taken before was given back, or at once by ze_ring_undo; 0: there is no room now.
 */
static inline size_t ze_ring_take(struct ze_ring *r, size_t bytes, size_t *at)
{
	size_t need = (bytes + ZE_RING_ALIGN - 1) & ~(ZE_RING_ALIGN - 1), skip = 0;

	if (!bytes || need < bytes || need > r->size)
		return 0;
	if (need > r->size - r->head)
		skip = r->size - r->head;
	if (skip + need > r->size - r->used)
		return 0;
	*at = skip ? 0 : r->head;
	r->head = *at + need == r->size ? 0 : *at + need;
	r->used += skip + need;
	return skip + need;
}

static inline void ze_ring_give(struct ze_ring *r, size_t cost)
{
	r->used -= cost;
}

/* What was taken last. */
static inline void ze_ring_undo(struct ze_ring *r, size_t cost)
{
	r->used -= cost;
	r->head = (r->head + r->size - cost) % r->size;
}

#endif
