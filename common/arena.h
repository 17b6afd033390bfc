/* arena.h - which addresses of a range are free. */
#ifndef HG_COMMON_ARENA_H
#define HG_COMMON_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

/* Where device memory lies when nothing else is said: the same on every target, so that pointers stay right. */
#define HG_ARENA_GRANULE (UINT64_C(2) << 20)
#define HG_ARENA_BASE UINT64_C(0x200000000000)	/* default; HGSHIM_ARENA */
#define HG_ARENA_SIZE (UINT64_C(1) << 44)	/* of addresses, for device and for host memory each */

/*
 * What HGSHIM_ARENA says: *base gets the address, or HG_ARENA_BASE when it gives none; *is_set (may be NULL): not missing,
 * empty, or 0. HG_ERR_INVALID, said: no address that HG_ARENA_SIZE bytes of device and of host memory fit behind.
 */
enum hg_status hg_arena_env(uint64_t *base, bool *is_set) HG_MUST_CHECK;

/* Free pieces of one address range, lowest first. Not thread-safe. Zero-initialised has no addresses. */
struct hg_arena {
	struct arena_piece *root;
	uint64_t base, size;
	uint64_t random;	/* state of the tree's priorities */
};

enum hg_status hg_arena_init(struct hg_arena *a, uint64_t base, uint64_t size) HG_MUST_CHECK;
void hg_arena_fini(struct hg_arena *a);
/* The lowest address, a multiple of align (a power of two), where size bytes are free. HG_ERR_NOSPC: none. */
enum hg_status hg_arena_take(struct hg_arena *a, uint64_t size, uint64_t align, uint64_t *out) HG_MUST_CHECK;
/* Exactly there. HG_ERR_NOSPC: not all of it is free, or it is not in the range. No message. */
enum hg_status hg_arena_take_at(struct hg_arena *a, uint64_t addr, uint64_t size) HG_MUST_CHECK;
/* Gives back what a take gave. Without memory for a new piece the addresses stay unused, with a message. */
void hg_arena_give(struct hg_arena *a, uint64_t addr, uint64_t size);
bool hg_arena_has(const struct hg_arena *a, uint64_t addr);	/* in the range, free or not */

#endif
