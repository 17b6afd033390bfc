/* gpu_queue.h - what queues on every kind of GPU have: failures noted until the driver takes them, prints, names of kernels. Private to replay/. */
#ifndef HG_REPLAY_GPU_QUEUE_H
#define HG_REPLAY_GPU_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "replay/target.h"
#include "translate/gpu_abi.h"

#define GPU_NAME 120
#define GPU_NAMES 256u			/* launches whose kernels are remembered, to name one that failed */

/* A kernel failure that the driver has not taken yet. */
struct gpu_note {
	struct gpu_note *next;
	struct hg_fault fault;
};

/* A target's part: a member `gpu` of its struct hg_target. */
struct gpu_target {
	pthread_mutex_t lock;
	struct gpu_queue *queues;
	struct gpu_note *notes;		/* oldest first */
	atomic_bool has_notes;
	atomic_ullong grids;		/* launches, for env.grid_id */
	bool (*is_idle)(struct hg_queue *q);	/* asks the vendor's runtime, at once; says nothing */
};

/* A queue's part: a member `gpu` of its struct hg_queue. */
struct gpu_queue {
	struct gpu_queue *next, **prev;	/* under target->lock */
	struct gpu_target *target;
	struct hg_queue *queue;
	struct hg_gpu_state *state;	/* where device and host see it at one address, and behind it what kernels print; the vendor's part owns it */
	size_t state_bytes;
	struct gpu_note *note;		/* NULL once its kernel failed */
	atomic_bool failed;		/* or cancelled: later work is dropped */

	pthread_mutex_t launch_lock;	/* held from counting a launch until it is launched */
	uint64_t launches;

	pthread_mutex_t name_lock;
	uint64_t newest;		/* grid_id; 0: none */
	struct { uint64_t grid_id; char kernel[GPU_NAME]; } name[GPU_NAMES];
};

void gpu_target_init(struct gpu_target *t, bool (*is_idle)(struct hg_queue *q));
void gpu_target_fini(struct gpu_target *t);
/* The oldest failure that was not taken yet (struct hg_target_ops: fault). Any thread. */
bool gpu_target_fault(struct gpu_target *t, struct hg_fault *out);
/* Failures and prints of all queues: what a mark stood for may be of any. */
void gpu_target_look(struct gpu_target *t);

/* `state`: state_bytes, at one address for all; what stands in it is written here. The queue, zeroed, is not in the target's list yet. */
enum hg_status gpu_queue_init(struct gpu_queue *g, struct gpu_target *t, struct hg_queue *q, struct hg_gpu_state *state,
			      size_t state_bytes) HG_MUST_CHECK;
void gpu_queue_list(struct gpu_queue *g);	/* puts it into the target's list */
void gpu_queue_unlist(struct gpu_queue *g);
void gpu_queue_fini(struct gpu_queue *g);

/* Whether a kernel failed meanwhile; then it is noted. Any thread. */
void gpu_queue_look(struct gpu_queue *g);
/* The vendor's runtime itself says `st`: HG_ERR_FAULT is noted in these words, with the last kernel's name, unless a kernel has told more. Gives `st` back. */
enum hg_status gpu_queue_said(struct gpu_queue *g, enum hg_status st, const char *what);
/* It says HG_ERR_FAULT of the whole device: noted for every queue. */
void gpu_target_said(struct gpu_target *t, const char *what);
/* queue_cancel of struct hg_target_ops */
void gpu_queue_cancel(struct gpu_queue *g);
static inline bool gpu_queue_drops(struct gpu_queue *g)	/* what is queued now */
{
	return atomic_load_explicit(&g->failed, memory_order_relaxed);
}

/*
 * What kernels printed up to a moment where nothing was running; launches: gpu_queue_launches before it was waited for. If the queue was
 * fed meanwhile, the next one to wait prints.
 */
uint64_t gpu_queue_launches(struct gpu_queue *g);
void gpu_queue_print(struct gpu_queue *g, uint64_t launches);

/* Before a launch: what grid_id, a number of target->grids, stands for. */
void gpu_queue_remember(struct gpu_queue *g, uint64_t grid_id, const char *kernel);

#endif
