/* ring.c - layout of the ring, and walking its lanes. */
#include "logdb/ring.h"

#include <string.h>

#define PAGE UINT64_C(4096)

static uint64_t lanes_at(void)
{
	return (sizeof(struct hg_ring) + PAGE - 1) & ~(PAGE - 1);
}

size_t hg_ring_bytes(unsigned int nr_lanes, uint64_t lane_bytes)
{
	return lanes_at() + (nr_lanes + 1) * lane_bytes;
}

void hg_ring_init(struct hg_ring *r, unsigned int nr_lanes, uint64_t lane_bytes, uint32_t pid)
{
	r->version = HG_RING_VERSION;
	r->nr_lanes = nr_lanes;
	r->lane_bytes = lane_bytes;
	r->lanes_at = lanes_at();
	r->nr_slots = HG_RING_SLOTS;
	r->pid = pid;
	atomic_store(&r->seq, HG_ID_FIRST);
	for (unsigned int i = 0; i < HG_RING_SLOTS; i++)
		atomic_store(&r->slot[i].pending, HG_SEQ_NONE);
	/* last: a ring with a magic is whole */
	atomic_thread_fence(memory_order_release);
	r->magic = HG_RING_MAGIC;
}

bool hg_ring_is_valid(const struct hg_ring *r, size_t size)
{
	return size >= lanes_at() && r->magic == HG_RING_MAGIC && r->version == HG_RING_VERSION &&
	       r->nr_slots == HG_RING_SLOTS && r->lanes_at == lanes_at() &&
	       r->nr_lanes > 0 && r->nr_lanes < HG_RING_SLOTS - 1 &&
	       r->lane_bytes >= HG_RING_LANE_BYTES_MIN && r->lane_bytes <= HG_RING_LANE_BYTES_MAX &&
	       !(r->lane_bytes & (r->lane_bytes - 1)) &&
	       size >= hg_ring_bytes(r->nr_lanes, r->lane_bytes);
}

const struct hg_rec *hg_ring_next(const struct hg_ring *r, unsigned int lane, uint64_t *pos, uint64_t head,
				  bool *damaged)
{
	const unsigned char *data = hg_ring_lane(r, lane);

	*damaged = false;
	if (head - *pos > r->lane_bytes) {
		*damaged = true;
		return NULL;
	}
	while (*pos != head) {
		uint64_t at = *pos & (r->lane_bytes - 1);
		const struct hg_rec *rec = (const struct hg_rec *)(data + at);

		if (rec->size < 8 || rec->size & 7 || rec->size > head - *pos || rec->size > r->lane_bytes - at ||
		    (rec->call != HG_REC_PAD && (rec->size < sizeof(*rec) ||
						 rec->nr_words > (rec->size - sizeof(*rec)) / 8))) {
			*damaged = true;
			return NULL;
		}
		*pos += rec->size;
		if (rec->call != HG_REC_PAD)
			return rec;
	}
	return NULL;
}

uint64_t hg_ring_horizon(const struct hg_ring *r)
{
	/* before the slots: see ring.h */
	uint64_t horizon = atomic_load_explicit(&r->seq, memory_order_seq_cst);

	for (unsigned int i = 0; i < HG_RING_SLOTS; i++) {
		uint64_t pending = atomic_load_explicit(&r->slot[i].pending, memory_order_acquire);

		if (pending < horizon)
			horizon = pending;
	}
	return horizon;
}
