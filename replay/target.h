/* target.h - what a vendor's GPU (or the CPU) must be able to do. */
#ifndef HG_REPLAY_TARGET_H
#define HG_REPLAY_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/status.h"
#include "translate/module.h"

typedef uint64_t hg_dptr;

struct hg_target;		/* an open target: one device */
struct hg_target_module;	/* a module made ready for it */
struct hg_target_kernel;
struct hg_queue;		/* work in order; different queues run concurrently */
struct hg_mark;			/* a point in a queue, for events */

struct hg_copy;
struct hg_fill;
struct hg_held;			/* reserve.h: a range of addresses */

struct hg_target_info {
	char name[128];			/* as cuDeviceGetName gives it */
	uint64_t memory_bytes;
	uint32_t nr_multiprocessors, warp_size, clock_khz;
	uint32_t max_threads_per_block, max_shared_bytes, max_shared_optin_bytes;
	bool keeps_addresses;		/* `map` gives any free wanted address */
	bool host_access;		/* kernels reach any host memory at its own address */
};

struct hg_launch {
	const struct hg_target_kernel *kernel;
	uint32_t grid[3], block[3];
	uint32_t shared_bytes;		/* dynamic */
	uint32_t stack_bytes;		/* of a thread, for kernels that use one; 0: the target's choice */
	bool cooperative;		/* all blocks resident; %envreg1/2 name a grid barrier */
	const void *params;		/* param_bytes of the kernel; copied before launch returns */
};

/* How a kernel failed. */
struct hg_fault {
	char what[256];			/* "illegal address 0x10 in kernel 'k', block (1,0,0)" */
	uint64_t addr;
	int cuda_error;			/* CUresult */
	struct hg_queue *queue;		/* where; may be gone by now, only to be compared */
};

/*
 * Threads: any, concurrently, except that one queue is fed by one thread at a time. Functions that
 * take a queue return when the work is accepted; it runs in order. Memory named in a copy must live until
 * the work is done. A function that fails has logged why and changed nothing. Every member is
 * required: what a vendor cannot do returns HG_ERR_UNSUPPORTED from its own function.
 */
struct hg_target_ops {
	const char *name;		/* as given to --target */

	enum hg_status (*open)(struct hg_target **out);
	void (*close)(struct hg_target *t);
	void (*info)(struct hg_target *t, struct hg_target_info *out);

	/* What sizes and addresses of mappings must be multiples of: a power of two, at most HG_ARENA_GRANULE. */
	uint64_t (*map_unit)(void);
	/*
	 * Device memory is going to be mapped in these ranges: ascending, apart, in units of map_unit, each mapped in the process without access. A
	 * target that cannot put mappings side by side one by one takes the addresses now, in place of what is mapped there, until it is closed.
	 * HG_ERR_UNSUPPORTED, without a message: it needs none of that, and all is as it was.
	 */
	enum hg_status (*reserve)(struct hg_target *t, const struct hg_held *range, size_t nr);
	/*
	 * Exactly at `wanted`, zeroed, or HG_ERR_NOSPC when not all of it is free. The portable driver sub-allocates,
	 * and it unmaps whole what it mapped. held: the range is mapped in the process, without access, to keep it; the
	 * target replaces that mapping, in one step where it can.
	 */
	enum hg_status (*map)(struct hg_target *t, hg_dptr wanted, size_t size, bool held, hg_dptr *out);
	void (*unmap)(struct hg_target *t, hg_dptr ptr, size_t size);
	/* Makes [ptr, ptr+size) of host memory usable by kernels at the same address; and undoes it. */
	enum hg_status (*host_register)(struct hg_target *t, void *ptr, size_t size);
	void (*host_unregister)(struct hg_target *t, void *ptr, size_t size);

	enum hg_status (*module_load)(struct hg_target *t, const struct hg_module *m, const hg_dptr *var_addr,
				      struct hg_target_module **out);	/* var_addr[i]: where variable i lives */
	void (*module_unload)(struct hg_target_module *m);
	/* Compiles if it was not yet; owned by the module. */
	enum hg_status (*kernel_get)(struct hg_target_module *m, size_t index, struct hg_target_kernel **out);

	enum hg_status (*queue_create)(struct hg_target *t, int priority, struct hg_queue **out);
	void (*queue_destroy)(struct hg_queue *q);	/* waits for its work */
	/* Copies among device and host memory, any direction. 3-D: rows of `width` bytes. */
	enum hg_status (*copy)(struct hg_queue *q, const struct hg_copy *c);
	enum hg_status (*fill)(struct hg_queue *q, const struct hg_fill *f);
	enum hg_status (*launch)(struct hg_queue *q, const struct hg_launch *l);
	enum hg_status (*host_func)(struct hg_queue *q, void (*fn)(void *arg), void *arg);

	/* A mark completes when the work queued before it has; it then carries a time. */
	enum hg_status (*mark_create)(struct hg_target *t, struct hg_mark **out);
	void (*mark_destroy)(struct hg_mark *m);	/* may be pending */
	enum hg_status (*mark_record)(struct hg_queue *q, struct hg_mark *m);
	enum hg_status (*mark_wait)(struct hg_queue *q, struct hg_mark *m);	/* queue waits for the last record */
	bool (*mark_is_done)(struct hg_mark *m);	/* true when never recorded */
	enum hg_status (*mark_sync)(struct hg_mark *m);
	uint64_t (*mark_time_ns)(struct hg_mark *m);

	bool (*queue_is_idle)(struct hg_queue *q);
	enum hg_status (*queue_sync)(struct hg_queue *q);	/* waits for what was queued before the call */
	/* Drops what is queued, and all later work, as after a failure; what runs goes on. */
	void (*queue_cancel)(struct hg_queue *q);
	/* Waits until at most `max` pieces of work are left in the queue. */
	void (*queue_throttle)(struct hg_queue *q, uint32_t max);
	/*
	 * Takes the oldest kernel failure that was not taken yet; false, after a few nanoseconds, when there is
	 * none. The queue where a kernel failed drops all its later work, except host functions and marks,
	 * and its queue_sync gives HG_ERR_FAULT, until it is destroyed; other queues go on.
	 */
	bool (*fault)(struct hg_target *t, struct hg_fault *out);

	/* Blocking transfers, for snapshots and restores, outside any queue. */
	enum hg_status (*read)(struct hg_target *t, void *dst, hg_dptr src, size_t size);
	enum hg_status (*write)(struct hg_target *t, hg_dptr dst, const void *src, size_t size);
};

struct hg_copy {
	uint64_t dst, src;
	size_t width, height, depth;
	size_t dst_pitch, src_pitch;	/* bytes from row to row */
	size_t dst_slice, src_slice;	/* bytes from slice to slice */
};

struct hg_fill {
	hg_dptr dst;
	size_t width, height, pitch;	/* width in elements */
	uint32_t value;
	uint32_t element;		/* 1, 2 or 4 bytes */
};

/*
 * Whether bytes of global memory belong to a live allocation or variable, for a target that checks accesses
 * (HGSHIM_CHECK=memory). The portable driver sets it before its first launch; NULL: nobody knows. Any thread.
 */
extern bool (*hg_target_has_memory)(hg_dptr addr, uint64_t size);

/*
 * For a target that keeps descriptors in the process: calls fn on a thread that shares the program's, and gives true when fn has returned; false, and
 * fn is the caller's, where the calling thread shares them itself. NULL: all threads share them.
 */
extern bool (*hg_target_elsewhere)(void (*fn)(void *arg), void *arg);

extern const struct hg_target_ops hg_target_cpu;
extern const struct hg_target_ops hg_target_rocm;
extern const struct hg_target_ops hg_target_ze;

/* Every target built in; ends with NULL. */
extern const struct hg_target_ops *const hg_targets[];
const struct hg_target_ops *hg_target_by_name(const char *name);	/* NULL: none */

/* The names of hg_targets, in that order; ends with NULL. In a file of its own (target_names.c) that needs no target. */
extern const char *const hg_target_names[];
extern const char hg_target_list[];	/* the same for people: "cpu, rocm, level-zero" */
bool hg_target_is_named(const char *name);
bool hg_target_is_planned(const char *name);	/* a name that users may know and this version does not have */

#endif
