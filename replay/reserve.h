/* reserve.h - keeps address ranges free until what they were recorded for is made again. */
#ifndef HG_REPLAY_RESERVE_H
#define HG_REPLAY_RESERVE_H

#include <stddef.h>
#include <stdint.h>

#include "common/ivmap.h"
#include "common/status.h"

struct hg_held {
	uint64_t start, end;
};

/* Zero-initialised is empty. Not thread-safe. */
struct hg_reserve {
	struct hg_held *range;		/* wanted, then merged */
	size_t nr, capacity;
	struct hg_ivmap held;		/* mapped without access */
};

/* [addr, addr+size), widened to multiples of unit, a power of two of at least a page. May overlap others. */
enum hg_status hg_reserve_add(struct hg_reserve *r, uint64_t addr, uint64_t size, uint64_t unit) HG_MUST_CHECK;
/* What was added becomes ascending ranges that are apart: r->range[r->nr]. */
void hg_reserve_merge(struct hg_reserve *r);
/*
 * Maps everything that was added. HG_ERR_NOSPC, after telling `taken` of each range that is in use by something
 * else in the process, and nothing is held then.
 */
enum hg_status hg_reserve_hold(struct hg_reserve *r, void (*taken)(uint64_t start, uint64_t end, void *arg),
			       void *arg) HG_MUST_CHECK;
/* Lets go of what is held of [addr, addr+size), widened likewise. */
enum hg_status hg_reserve_release(struct hg_reserve *r, uint64_t addr, uint64_t size, uint64_t unit) HG_MUST_CHECK;
/* The same, but what is mapped there is somebody else's by now. */
enum hg_status hg_reserve_forget(struct hg_reserve *r, uint64_t addr, uint64_t size) HG_MUST_CHECK;
void hg_reserve_fini(struct hg_reserve *r);

#endif
