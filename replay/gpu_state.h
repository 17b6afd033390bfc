/* gpu_state.h - the host's side of struct hg_gpu_state: what kernels on a GPU tell of failures and prints. Private to replay/. */
#ifndef HG_REPLAY_GPU_STATE_H
#define HG_REPLAY_GPU_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replay/target.h"
#include "translate/gpu_abi.h"

/*
 * A queue has one block of memory: struct hg_gpu_state, and behind it the print area. It lies where the device and the host see it at one
 * address, or on the device alone; then the target moves the bytes. Functions here follow no address, and believe nothing
 * that stands in a block: a kernel may have written anything there. Threads: any, but a block is one thread's at a time.
 */

/* Bytes to give to a block now: the print area as large as CU_LIMIT_PRINTF_FIFO_SIZE says, within what a device has to spare. */
size_t hg_gpu_state_bytes(void);
/* What stands at the beginning of a block of `bytes` at address `addr` (a multiple of 16) before the first kernel; the rest may hold anything. */
void hg_gpu_state_init(struct hg_gpu_state *s, uint64_t addr, size_t bytes);

/* Host-visible blocks: what has not begun ends at once. False: a kernel had failed before. Kernels may be running. */
bool hg_gpu_state_cancel(struct hg_gpu_state *s);
/* Whether there is anything to take or to print: looks at two members, in which kernels may be writing. */
bool hg_gpu_state_is_quiet(const struct hg_gpu_state *s);

/*
 * Hands over what kernels printed, to be written with hg_print_flush; print_head becomes 0. No kernel of the queue may be
 * running. area: the print area, area_bytes of it as far as they were fetched (hg_gpu_state_printed says how many are wanted).
 */
void hg_gpu_state_print(struct hg_gpu_state *s, const void *area, size_t area_bytes);
size_t hg_gpu_state_printed(const struct hg_gpu_state *s, size_t block_bytes);

/* The launch that s->grid_id names, as the target knows it. */
struct hg_gpu_launch {
	const char *kernel;
	uint32_t stack_bytes;		/* 0: not known */
};
/* True: a kernel failed, and *out says how (all but `queue`), worded as on the cpu target. Kernels may be running. */
bool hg_gpu_state_fault(const struct hg_gpu_state *s, const struct hg_gpu_launch *l, struct hg_fault *out);

#endif
