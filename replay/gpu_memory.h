/* gpu_memory.h - what a target for GPUs knows of memory: its mappings, host memory that kernels reach, and what queues left. Private to replay/. */
#ifndef HG_REPLAY_GPU_MEMORY_H
#define HG_REPLAY_GPU_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ivmap.h"

/* Memory that a queue left. */
struct gpu_spare {
	struct gpu_spare *next;
	void *mem;
	size_t size;
	unsigned int kind;
};

/* A member of a struct hg_target. The lock is for its members alone; no call of a vendor's runtime is made with it. */
struct gpu_memory {
	pthread_mutex_t lock;
	struct hg_ivmap maps;		/* device memory: address -> what the vendor's runtime calls it */
	struct hg_ivmap pinned;		/* host memory that kernels reach */
	struct gpu_spare *spare;
};

/* What lies at an address. A vendor's runtime may refuse a copy that goes beyond one of its allocations, so copies are cut there. */
enum gpu_place { GPU_DEVICE, GPU_PINNED, GPU_PAGEABLE };

void gpu_memory_init(struct gpu_memory *m);
void gpu_memory_fini(struct gpu_memory *m);	/* what it lists has been given back */
enum gpu_place gpu_memory_look(struct gpu_memory *m, uint64_t addr, uint64_t size, uint64_t *len);	/* *len: so far, at most size */

/*
 * Memory of queues' own is kept for the next queue until the target is closed, as taking it back may mean to wait for everything that the device has
 * to do. take: NULL when there is none of this size and kind. give: false, out of memory, and it is the caller's to free.
 */
void *gpu_spare_take(struct gpu_memory *m, size_t size, unsigned int kind);
bool gpu_spare_give(struct gpu_memory *m, void *mem, size_t size, unsigned int kind);
void *gpu_spare_any(struct gpu_memory *m, unsigned int *kind);	/* when there are no queues any more; NULL: none is left */

/* What the process has mapped there, a line of /proc/self/maps; "" when nothing is found. */
void gpu_in_the_way(uint64_t addr, uint64_t size, char *out, size_t out_size);
/* A range is kept free again, by a mapping without access. */
void gpu_hold_again(uint64_t addr, uint64_t size);

#endif
