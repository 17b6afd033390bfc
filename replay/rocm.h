/* rocm.h - what the files of the AMD target share: target_rocm.c and rocm_*.c. */
#ifndef HG_REPLAY_ROCM_H
#define HG_REPLAY_ROCM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "replay/gpu_copy.h"
#include "replay/gpu_memory.h"
#include "replay/gpu_queue.h"
#include "replay/rocm_api.h"
#include "replay/target.h"
#include "translate/amdgcn.h"
#include "translate/gpu_abi.h"

#define ROCM_CHUNK_FLAGS (HIP_HOST_PORTABLE | HIP_HOST_MAPPED)
#define ROCM_BARRIER_BYTES (2 * sizeof(uint32_t))
#define ROCM_STEP 16u			/* pieces of work between the events that throttling looks at */
#define ROCM_STEPS 16u

/* A point on HIP's clock, from which floats of milliseconds are exact enough. */
struct rocm_base {
	void *event;
	uint64_t ns;			/* since the target was opened */
	uint64_t host_ns;		/* when it was made */
	unsigned int refs;		/* under target->base_lock */
};

/* A mapping that is to end as soon as HIP can be called. */
struct rocm_unmap {
	uint64_t addr, size;
	void *handle;
};

struct hg_target {
	struct gpu_target gpu;
	struct gpu_memory memory;
	int device;
	uint64_t unit;			/* of mappings */
	struct hg_amd_chip chip;
	struct hg_target_info info;
	bool has_cooperative;
	int priority[2];		/* least, greatest: numbers of HIP, where less is more */

	struct rocm_unmap *unmap;	/* see rocm_unmap; under memory.lock */
	size_t nr_unmaps, unmap_room;

	pthread_mutex_t base_lock;
	struct rocm_base *base;		/* the newest */

	pthread_mutex_t service_lock;
	struct hg_queue *service;	/* for what is done outside queues */
};

struct rocm_chunk {
	void *mem;
	void *done;			/* event: the copy out of it, or into it */
	bool is_used;			/* the event was recorded */
};

struct hg_queue {
	struct gpu_queue gpu;
	struct hg_target *target;
	void *stream;
	void *barrier;			/* of cooperative grids, in device memory; NULL until used */
	struct rocm_chunk chunk[GPU_CHUNKS];

	pthread_mutex_t lock;
	uint64_t issued, known;		/* pieces of work; known to be done */
	struct { void *event; uint64_t at; } step[ROCM_STEPS];
	unsigned int first_step, nr_steps;
};

/* Every function below makes the device the calling thread's first. */
enum hg_status rocm_enter(const struct hg_target *t) HG_MUST_CHECK;
/* Set while a function that was queued runs: HIP must not be called there. */
extern __thread bool rocm_in_host_func;

/* rocm_memory.c: see struct hg_target_ops */
uint64_t rocm_map_unit(void);
enum hg_status rocm_reserve(struct hg_target *t, const struct hg_held *range, size_t nr) HG_MUST_CHECK;
enum hg_status rocm_unit_read(struct hg_target *t) HG_MUST_CHECK;	/* into t->unit */
enum hg_status rocm_map(struct hg_target *t, hg_dptr wanted, size_t size, bool held, hg_dptr *out) HG_MUST_CHECK;
void rocm_unmap(struct hg_target *t, hg_dptr ptr, size_t size);
enum hg_status rocm_host_register(struct hg_target *t, void *ptr, size_t size) HG_MUST_CHECK;
void rocm_host_unregister(struct hg_target *t, void *ptr, size_t size);
enum hg_status rocm_read(struct hg_target *t, void *dst, hg_dptr src, size_t size) HG_MUST_CHECK;
enum hg_status rocm_write(struct hg_target *t, hg_dptr dst, const void *src, size_t size) HG_MUST_CHECK;
/* Ends the mappings that a queued function could not end. */
void rocm_unmap_late(struct hg_target *t);
void rocm_memory_fini(struct hg_target *t);

/*
 * Memory for a queue's own use: pinned, with these flags of HIP's; flags 0: the device's. HIP waits for everything that the device has to do
 * before it takes any back, as a stream that is destroyed must not: what is given here is kept for the next queue, until the target is closed.
 */
enum hg_status rocm_own_take(struct hg_target *t, size_t size, unsigned int flags, void **out) HG_MUST_CHECK;
void rocm_own_give(struct hg_target *t, void *mem, size_t size, unsigned int flags);	/* NULL is allowed */

/* rocm_queue.c */
enum hg_status rocm_queue_create(struct hg_target *t, int priority, struct hg_queue **out) HG_MUST_CHECK;
void rocm_queue_destroy(struct hg_queue *q);
bool rocm_queue_is_idle(struct hg_queue *q);
bool rocm_stream_is_idle(struct hg_queue *q);	/* nothing is under way, be it for an error */
enum hg_status rocm_queue_sync(struct hg_queue *q) HG_MUST_CHECK;
void rocm_queue_cancel(struct hg_queue *q);
void rocm_queue_throttle(struct hg_queue *q, uint32_t max);
enum hg_status rocm_host_func(struct hg_queue *q, void (*fn)(void *arg), void *arg) HG_MUST_CHECK;
/* For all that is in a stream. Where the call fails it is made once more: memory that goes next must not be used by what still runs. */
enum hg_status rocm_wait(void *stream) HG_MUST_CHECK;
void rocm_issued(struct hg_queue *q);		/* a piece of work was */
bool rocm_fault(struct hg_target *t, struct hg_fault *out);
enum hg_status rocm_mark_create(struct hg_target *t, struct hg_mark **out) HG_MUST_CHECK;
void rocm_mark_destroy(struct hg_mark *m);
enum hg_status rocm_mark_record(struct hg_queue *q, struct hg_mark *m) HG_MUST_CHECK;
enum hg_status rocm_mark_wait(struct hg_queue *q, struct hg_mark *m) HG_MUST_CHECK;
bool rocm_mark_is_done(struct hg_mark *m);
enum hg_status rocm_mark_sync(struct hg_mark *m) HG_MUST_CHECK;
uint64_t rocm_mark_time_ns(struct hg_mark *m);
enum hg_status rocm_clock_init(struct hg_target *t) HG_MUST_CHECK;
void rocm_clock_fini(struct hg_target *t);

/* rocm_copy.c */
enum hg_status rocm_copy(struct hg_queue *q, const struct hg_copy *c) HG_MUST_CHECK;
enum hg_status rocm_fill(struct hg_queue *q, const struct hg_fill *f) HG_MUST_CHECK;
/* To any memory that HIP allocated, from pageable memory; the queue is idle. */
enum hg_status rocm_upload(struct hg_queue *q, void *dst, const void *src, size_t size) HG_MUST_CHECK;

/* rocm_code.c */
enum hg_status rocm_module_load(struct hg_target *t, const struct hg_module *m, const hg_dptr *var_addr,
				struct hg_target_module **out) HG_MUST_CHECK;
void rocm_module_unload(struct hg_target_module *m);
enum hg_status rocm_kernel_get(struct hg_target_module *m, size_t index, struct hg_target_kernel **out) HG_MUST_CHECK;
enum hg_status rocm_launch(struct hg_queue *q, const struct hg_launch *l) HG_MUST_CHECK;

#endif
