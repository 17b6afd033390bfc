/* ze.h - what the files of the Intel target share: target_ze.c and ze_*.c. */
#ifndef HG_REPLAY_ZE_H
#define HG_REPLAY_ZE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "replay/gpu_copy.h"
#include "replay/gpu_memory.h"
#include "replay/gpu_queue.h"
#include "replay/target.h"
#include "replay/ze_api.h"
#include "replay/ze_clock.h"
#include "replay/ze_ring.h"
#include "translate/spirv.h"

#define ZE_EVENTS 64u			/* of a pool */
#define ZE_ARGS ((size_t)256 << 10)	/* bytes of a queue's ring of argument blocks */
#define ZE_BARRIER_BYTES (2 * sizeof(uint32_t))
/* With it the memory of the program can be used by kernels where it lies (specification 1.14). */
#define ZE_MEMMAP "ZE_extension_external_memmap_sysmem"

/*
 * An event stands for one piece of work, or for one host function. It is counted by the piece until that is known to be done, by
 * pieces that wait for it likewise, and by marks that were recorded with it; after the last it is reset, and used again.
 */
struct ze_event {
	struct ze_event *next;		/* among those that are free */
	ze_event_handle_t handle;
	atomic_uint refs;
	uint64_t *stamp;		/* pinned memory for a time of the device */
	uint64_t ref_ticks;		/* ze_clock_now when it was recorded, or last known not to be done; under clock_lock */
};

struct ze_pool {
	struct ze_pool *next;
	ze_event_pool_handle_t handle;
	uint64_t *stamps;		/* ZE_EVENTS of them */
	uint32_t nr;			/* events that were made of it */
	struct ze_event event[ZE_EVENTS];
};

/* Memory of queues' own: kinds of gpu_spare_take. */
enum ze_own { ZE_OWN_DEVICE, ZE_OWN_HOST };

struct hg_target {
	struct gpu_target gpu;
	struct gpu_memory memory;
	ze_driver_handle_t driver;
	ze_device_handle_t device;
	ze_context_handle_t context;
	uint64_t nr_left;		/* hg_ze_nr_left when it was opened */
	uint64_t unit;			/* of mappings */
	uint32_t ordinal;		/* of the command queue group that computes and copies */
	uint32_t nr_indexes;		/* queues of that group */
	atomic_uint next_index;
	uint32_t max_groups[3];		/* of a launch */
	struct hg_spirv_device spirv;
	uint32_t spirv_version;		/* as in struct hg_spirv_code: the newest that the driver takes */
	struct hg_target_info info;
	bool has_cooperative;
	bool has_memmap;		/* ZE_MEMMAP; without it kernels reach host memory only where info.host_access says so */
	pthread_mutex_t map_lock;	/* of reservations and imports, held while they are made; memory.lock may be taken with it */
	uint64_t arena;			/* where the device memory's begins */
	struct hg_ivmap reserved;	/* addresses that Level Zero keeps for us: how many mappings are in them */
	struct ze_clock clock;		/* under clock_lock */
	pthread_mutex_t clock_lock;

	pthread_mutex_t events_lock;
	struct ze_pool *pools;
	struct ze_event *free_events;
	atomic_bool is_lost;		/* a question after an event, or a wait for one, was answered with that */

	pthread_mutex_t service_lock;
	struct hg_queue *service;	/* for what is done outside queues */
};

/* Work that was queued and is not known to be done. */
struct ze_pending {
	struct ze_event *event;		/* its own */
	struct ze_event *before, *also;	/* what it waits for: the piece before, something of another queue; or NULL */
	void *own;			/* memory of its argument block, outside the ring; NULL: in the ring, or none */
	size_t args;			/* bytes of `own`, or what it costs of the ring */
};

struct ze_host;				/* ze_host.c */

struct hg_queue {
	struct gpu_queue gpu;
	struct hg_target *target;
	ze_command_list_handle_t list;	/* immediate, asynchronous */
	void *barrier;			/* of cooperative grids, in device memory; NULL until used */
	struct { void *mem; struct ze_event *done; } chunk[GPU_CHUNKS];

	pthread_mutex_t lock;
	uint64_t issued, known;		/* pieces of work; known to be done, and forgotten */
	struct ze_pending *pending;	/* of piece i at i % room, which is a power of two */
	size_t room;
	struct ze_ring ring;
	unsigned char *args;		/* its memory; NULL until used */

	struct ze_host *host;		/* its thread for host functions; NULL until used */
};

/* ---- how work is appended ---- */

/*
 * One call that appends to the queue's list stands between these two:
 *
 *	st = ze_begin(q, args_bytes, &s);
 *	if (!st)
 *		st = ze_end(q, &s, ZE(zeCommandListAppend…, q->list, …, s.signal, s.nr_wait, s.wait));
 *
 * The work waits for all that was queued before, and the next for it. args_bytes: pinned memory at s.args, aligned to 64, which kernels read at the same
 * address, and which is used again when this work is known to be done; 0: none. A queue is fed by one thread at a time. Nothing
 * is waited for. ze_end gives back the status that it gets; when that is an error, nothing was queued.
 */
struct ze_step {
	ze_event_handle_t signal;
	uint32_t nr_wait;
	ze_event_handle_t wait[2];
	void *args;
	struct ze_pending work;		/* private */
};
enum hg_status ze_begin(struct hg_queue *q, size_t args_bytes, struct ze_step *out) HG_MUST_CHECK;
enum hg_status ze_end(struct hg_queue *q, struct ze_step *s, enum hg_status st) HG_MUST_CHECK;
/* ze_end in two parts, for who holds q->gpu.launch_lock: with it, and without it, as ze_said takes the target's lock. */
void ze_count(struct hg_queue *q, struct ze_step *s, enum hg_status st);
enum hg_status ze_said(struct hg_queue *q, enum hg_status st);
/* Behind all that is queued, zeros of ZE_BARRIER_BYTES where a cooperative grid has its barrier (struct hg_gpu_env); *out: there. */
enum hg_status ze_barrier_clear(struct hg_queue *q, uint64_t *out) HG_MUST_CHECK;

/* ze_memory.c: see struct hg_target_ops */
uint64_t ze_map_unit(void);
enum hg_status ze_unit_read(struct hg_target *t) HG_MUST_CHECK;		/* into t->unit */
enum hg_status ze_map(struct hg_target *t, hg_dptr wanted, size_t size, bool held, hg_dptr *out) HG_MUST_CHECK;
void ze_unmap(struct hg_target *t, hg_dptr ptr, size_t size);
enum hg_status ze_reserve(struct hg_target *t, const struct hg_held *range, size_t nr) HG_MUST_CHECK;
enum hg_status ze_host_register(struct hg_target *t, void *ptr, size_t size) HG_MUST_CHECK;
void ze_host_unregister(struct hg_target *t, void *ptr, size_t size);
enum hg_status ze_read(struct hg_target *t, void *dst, hg_dptr src, size_t size) HG_MUST_CHECK;
enum hg_status ze_write(struct hg_target *t, hg_dptr dst, const void *src, size_t size) HG_MUST_CHECK;
void ze_memory_fini(struct hg_target *t);
/* Memory that Level Zero allocates: the device's, or pinned. Given back, it is kept for the next that takes as much. */
enum hg_status ze_own_take(struct hg_target *t, size_t size, enum ze_own kind, void **out) HG_MUST_CHECK;
void ze_own_give(struct hg_target *t, void *mem, size_t size, enum ze_own kind);	/* NULL is allowed; nothing uses it any more */

/* ze_event.c: events. take: with one reference, not signalled. put: of NULL is allowed; the last one resets it, so nothing may wait for it then. */
enum hg_status ze_event_take(struct hg_target *t, struct ze_event **out) HG_MUST_CHECK;
struct ze_event *ze_event_ref(struct ze_event *e);
void ze_event_put(struct hg_target *t, struct ze_event *e);
bool ze_event_is_done(struct hg_target *t, struct ze_event *e);	/* a lost device is done with all: ze_look tells of it */
/* Where the call fails it is made once more: memory that goes next must not be used by what still runs. */
enum hg_status ze_event_wait(struct hg_target *t, struct ze_event *e) HG_MUST_CHECK;
void ze_events_fini(struct hg_target *t);
enum hg_status ze_mark_create(struct hg_target *t, struct hg_mark **out) HG_MUST_CHECK;
void ze_mark_destroy(struct hg_mark *m);
enum hg_status ze_mark_record(struct hg_queue *q, struct hg_mark *m) HG_MUST_CHECK;
enum hg_status ze_mark_wait(struct hg_queue *q, struct hg_mark *m) HG_MUST_CHECK;
bool ze_mark_is_done(struct hg_mark *m);
enum hg_status ze_mark_sync(struct hg_mark *m) HG_MUST_CHECK;
uint64_t ze_mark_time_ns(struct hg_mark *m);
/* Begins t->clock; hz and bits: of the device's timestamps. */
enum hg_status ze_clock_read(struct hg_target *t, uint64_t hz, unsigned int bits) HG_MUST_CHECK;

/* ze_queue.c */
enum hg_status ze_queue_create(struct hg_target *t, int priority, struct hg_queue **out) HG_MUST_CHECK;
void ze_queue_destroy(struct hg_queue *q);
bool ze_queue_is_idle(struct hg_queue *q);
bool ze_list_is_idle(struct hg_queue *q);	/* alone, without what that means */
/* What was queued last, with a reference; NULL: all is done. */
struct ze_event *ze_queue_last(struct hg_queue *q);
enum hg_status ze_queue_sync(struct hg_queue *q) HG_MUST_CHECK;
void ze_queue_cancel(struct hg_queue *q);
void ze_queue_throttle(struct hg_queue *q, uint32_t max);
/* Failures and prints of all queues, which all have failed when the device is lost. */
void ze_look(struct hg_target *t);
bool ze_fault(struct hg_target *t, struct hg_fault *out);

/* ze_host.c: functions of the host, each in its turn, on a thread of the queue's. stop: all have run. */
enum hg_status ze_host_func(struct hg_queue *q, void (*fn)(void *arg), void *arg) HG_MUST_CHECK;
void ze_host_stop(struct hg_queue *q);

/* ze_copy.c */
enum hg_status ze_copy(struct hg_queue *q, const struct hg_copy *c) HG_MUST_CHECK;
enum hg_status ze_fill(struct hg_queue *q, const struct hg_fill *f) HG_MUST_CHECK;
/* To memory of ze_own_take, from pageable memory; the queue is idle. */
enum hg_status ze_upload(struct hg_queue *q, void *dst, const void *src, size_t size) HG_MUST_CHECK;

/* ze_code.c */
enum hg_status ze_module_load(struct hg_target *t, const struct hg_module *m, const hg_dptr *var_addr,
			      struct hg_target_module **out) HG_MUST_CHECK;
void ze_module_unload(struct hg_target_module *m);
enum hg_status ze_kernel_get(struct hg_target_module *m, size_t index, struct hg_target_kernel **out) HG_MUST_CHECK;
enum hg_status ze_launch(struct hg_queue *q, const struct hg_launch *l) HG_MUST_CHECK;

#endif
