/* ring.h - the shared file mapping through which the application's threads hand records to the writer. */
#ifndef HG_LOGDB_RING_H
#define HG_LOGDB_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "logdb/record.h"

/*
 * File `ring`: one struct hg_ring, then at lanes_at nr_lanes + 1 lanes of lane_bytes each (a power of
 * two). Lane i < nr_lanes belongs to the one thread that owns slot i; lane nr_lanes is shared, under
 * a lock in the process's memory, by the threads that own a slot above nr_lanes. head and
 * tail count bytes from the start and never wrap; a record lies at head % lane_bytes, never across
 * the end of the lane (a HG_REC_PAD fills the rest). A record is in the ring when head has passed it,
 * so that a process killed at any instant leaves whole records only.
 *
 * Order: a thread stores in slot.pending the value of `seq`, then takes its number with a fetch-add, and
 * stores HG_SEQ_NONE when the record is in the lane. The writer reads `seq`, then every slot's pending,
 * then every head: each record numbered below the smallest of them (the horizon) is then
 * visible, so the writer stores exactly those, merged by number.
 */
#define HG_RING_MAGIC UINT64_C(0x676e69726d696873)
#define HG_RING_VERSION 1
#define HG_RING_SLOTS 1024
#define HG_RING_LANES 64
#define HG_RING_LANE_BYTES (UINT64_C(512) << 10)
#define HG_RING_LANE_BYTES_MIN (UINT64_C(4) << 10)
#define HG_RING_LANE_BYTES_MAX (UINT64_C(256) << 20)
#define HG_SEQ_NONE UINT64_MAX

struct hg_slot {
	_Alignas(64) _Atomic uint64_t pending;	/* no record of this thread below this comes any more */
	_Atomic uint64_t head;			/* of the lane with the slot's number */
	_Atomic uint32_t taken;			/* a thread owns the slot */
	uint32_t thread;			/* its serial number */
	uint64_t dropped, last_dropped;		/* records since the last GAP; the last one's number */
	uint32_t dropped_state;			/* one of them changed device state */
};

struct hg_tail {
	_Alignas(64) _Atomic uint64_t tail;	/* everything below is in LMDB */
};

struct hg_ring {
	uint64_t magic;
	uint32_t version;
	uint32_t nr_lanes;
	uint64_t lane_bytes;
	uint64_t lanes_at;
	uint32_t nr_slots;
	uint32_t pid;
	_Alignas(128) _Atomic uint64_t seq;	/* the next number */
	_Alignas(128) struct hg_tail tail[HG_RING_SLOTS];
	struct hg_slot slot[HG_RING_SLOTS];
};

/* Records that exist in the ring only; they have seq 0 and are taken as soon as they are seen. */
enum {
	HG_REC_PAD = 0xff03,		/* only size and call are there: 8 bytes or more */
	HG_REC_CANCELLED = 0xff04,	/* a number was taken and no record came; has a seq, is stored */
	HG_REC_IMAGE = 0xff05,		/* a fragment of a code image: see enum hg_image_word */
	HG_REC_UNSUPPORTED = 0xff06,	/* the symbol's name and a NUL follow word[0], its length */
};

/* HG_REC_PAYLOAD: words, then the bytes. */
enum hg_payload_word { HG_PAYLOAD_FILE, HG_PAYLOAD_OFFSET, HG_PAYLOAD_LENGTH, HG_PAYLOAD_NR_WORDS };
/* HG_REC_IMAGE: words, then the bytes. All fragments but the last are equally long. */
enum hg_image_word {
	HG_IMAGE_KEY0, HG_IMAGE_KEY1, HG_IMAGE_TOTAL, HG_IMAGE_INDEX, HG_IMAGE_LENGTH, HG_IMAGE_NR_WORDS
};
/* HG_REC_STACK: id, number of frames, then that many words. */
enum hg_stack_word { HG_STACK_ID, HG_STACK_DEPTH, HG_STACK_NR_WORDS };
/* HG_REC_GAP: seq is the last dropped record's. */
enum hg_gap_word { HG_GAP_COUNT, HG_GAP_STATE, HG_GAP_NR_WORDS };

static inline size_t hg_pad8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static inline const unsigned char *hg_ring_lane(const struct hg_ring *r, unsigned int lane)
{
	return (const unsigned char *)r + r->lanes_at + lane * r->lane_bytes;
}

size_t hg_ring_bytes(unsigned int nr_lanes, uint64_t lane_bytes);
void hg_ring_init(struct hg_ring *r, unsigned int nr_lanes, uint64_t lane_bytes, uint32_t pid);
/* Checks a header that was read from a file of `size` bytes; false if it cannot be what hg_ring_init wrote. */
bool hg_ring_is_valid(const struct hg_ring *r, size_t size);

/*
 * The record at *pos of a lane whose head is `head`: NULL at the end, or, with *damaged set, when
 * there is something that no thread wrote. *pos moves behind it (and behind padding before it).
 */
const struct hg_rec *hg_ring_next(const struct hg_ring *r, unsigned int lane, uint64_t *pos, uint64_t head,
				  bool *damaged);

/* Smallest number that may still be missing; see above. */
uint64_t hg_ring_horizon(const struct hg_ring *r);

#endif
