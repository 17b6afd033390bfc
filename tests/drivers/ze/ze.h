/* ze.h - what the parts of the Level Zero driver for tests share. */
#ifndef TESTS_DRIVERS_ZE_ZE_H
#define TESTS_DRIVERS_ZE_ZE_H

#include <level_zero/ze_api.h>
#include <level_zero/ze_ddi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/drivers/common/control.h"
#include "tests/drivers/common/handles.h"
#include "tests/drivers/common/spans.h"
#include "tests/drivers/common/thread.h"
#include "tests/drivers/common/wrong.h"

/*
 * README.md says what this library is. What the loader's tables point to (entry.c) counts the call, fails it if it was asked to, and calls
 * zd_zeX, which is in the file of its theme.
 *
 * Locks, in the order in which they are taken: zd_lock (all of work.c, list.c, event.c), the memory's (fake_span_lock). None is held while
 * a kernel or a copy runs.
 */
enum zd_call {
#define ZE_CALL(table, member, name, params, args) ZD_##name,
#include "tests/drivers/ze/calls.def"
	ZD_CALL_COUNT
};
#define ZE_CALL(table, member, name, params, args) ze_result_t zd_##name params;
#include "tests/drivers/ze/calls.def"

/* The knobs (README.md), read when the library is loaded. */
struct zd_config {
	int nr_devices;
	uint32_t nr_cores, slm_bytes, max_items, spirv_minor;
	uint32_t max_groups;		/* in a dimension */
	uint32_t sub_groups;		/* bit n: sub-groups of n are there (8, 16, 32) */
	uint64_t memory;
	int pattern;			/* what fresh memory is filled with; -1: left as it is */
	bool strict, leaks, protect, takes_hint, has_memmap, has_system, has_fp64, has_fp16, has_int64_atomics, validate;
	uint32_t builds;		/* sub-groups that modules get which ask for 32; 0: they do not build */
	uint64_t seed;
	unsigned int delay_us, kernel_us;
	struct fake_wrong wrong;
};
extern struct zd_config zd_config;
#define ZD_MAX_DEVICES 8
#define ZD_MAX_ALLOC ((uint64_t)4 << 30)
#define ZD_MAX_PATTERN 16u
#define ZD_MAX_ARG_BYTES 2048u

/* The device's clock: ticks of 80 ns. It began before the device did, so that its 32 bits for kernels run over soon. */
#define ZD_TICK_NS 80u
#define ZD_TIMER_BITS 36u
#define ZD_KERNEL_TIMER_BITS 32u
uint64_t zd_ticks(uint64_t ns, unsigned int bits);	/* of a time of CLOCK_MONOTONIC */

extern _Atomic(ze_result_t) zd_state;	/* success; after fork or exit: what calls return */
extern struct fake_counter *zd_control;	/* ZD_CALL_COUNT, by enum zd_call */
extern const char *const zd_call_name[ZD_CALL_COUNT];

/*
 * Level Zero forbids what the call asks for: a line on stderr, and with HG_FAKE_ZE_STRICT the end of the process. Its value is `error`, which
 * the call then gives. zd_refuse: the same for what is an error and no misuse, without an end.
 */
void zd_say_misuse(ze_result_t error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void zd_say_refused(ze_result_t error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define zd_misuse(error, ...) (zd_say_misuse(error, __VA_ARGS__), (ze_result_t)(error))
#define zd_refuse(error, ...) (zd_say_refused(error, __VA_ARGS__), (ze_result_t)(error))
void zd_at_exit(void);			/* lists what is left, if that is wanted */

/* ---- objects ---- */

enum zd_kind {
	ZD_DRIVER = 1, ZD_DEVICE, ZD_CONTEXT, ZD_QUEUE, ZD_LIST, ZD_FENCE, ZD_POOL, ZD_EVENT, ZD_MODULE, ZD_LOG, ZD_KERNEL, ZD_PHYSICAL,
	ZD_KIND_COUNT
};
extern const char *const zd_kind_name[ZD_KIND_COUNT];

/* Every object. What may be used by work keeps a count of it, what has children a count of those. */
struct zd_object {
	struct fake_obj base;
	struct zd_object *parent;	/* a reference; NULL: none */
	atomic_uint children;		/* handles of objects that must end first */
	atomic_uint uses;		/* by work that is queued or runs */
};

struct zd_device {
	struct zd_object obj;
	int index;
	_Atomic(ze_result_t) error;	/* sticks */
};

/* `size` bytes that begin with struct zd_object, zeroed, with a handle; its parent has one child more. NULL: no memory. */
void *zd_object_new(size_t size, enum zd_kind kind, void *parent, void (*release)(struct fake_obj *obj));
/* Of a handle that must be of that kind; else a misuse, ZE_RESULT_ERROR_INVALID_NULL_HANDLE. */
ze_result_t zd_object_get(const void *handle, enum zd_kind kind, void *out);
/* Ends a handle, which must have no children and no uses: else a misuse, and it ends all the same. */
ze_result_t zd_object_end(const void *handle, enum zd_kind kind);
void zd_object_release(struct zd_object *o);	/* what every release does at its end: the parent's reference, the memory */

ze_result_t zd_device_lost(const struct zd_device *d);	/* success, or what its calls give */
void zd_device_fails(struct zd_device *d, ze_result_t error);
/* A context and a device of it. */
ze_result_t zd_get_both(ze_context_handle_t ctx, ze_device_handle_t device, struct zd_object **c, struct zd_device **d);
/* A structure's stype, and that nothing hangs at its pNext but what is named in known[nr]. */
ze_result_t zd_check_struct(const void *base, ze_structure_type_t stype, const ze_structure_type_t *known, size_t nr);

/* ---- memory (memory.c, vmm.c, copy.c) ---- */

enum zd_mem { ZD_MEM_DEVICE, ZD_MEM_MAPPED, ZD_MEM_HOST, ZD_MEM_SHARED, ZD_MEM_IMPORTED };

/* Whether a device may use `size` bytes at `addr` for a copy or a fill of the list's context; else a misuse. */
ze_result_t zd_check_place(const struct zd_object *ctx, uint64_t addr, uint64_t size, bool writes);

struct zd_copy {
	uint64_t dst, src;
	uint64_t dst_pitch, dst_slice, src_pitch, src_slice;	/* bytes */
	uint64_t width, height, depth;				/* bytes, rows, slices */
};
struct zd_fill {
	uint64_t dst, size;
	uint32_t pattern_size;
	unsigned char pattern[ZD_MAX_PATTERN];
};
void zd_copy_run(const struct zd_copy *c);
void zd_fill_run(const struct zd_fill *f);
uint64_t zd_copy_extent(const struct zd_copy *c, uint64_t pitch, uint64_t slice);

/* ---- events (event.c) ---- */

struct zd_event {
	struct zd_object obj;		/* its parent is the pool */
	uint32_t index;
	bool for_host;			/* the scope of its signal */
	/* under zd_lock */
	bool is_signalled;
	uint64_t start_ns, end_ns;
};
struct zd_event_pool {
	struct zd_object obj;
	ze_event_pool_flags_t flags;
	uint32_t count;
	bool *taken;			/* under zd_lock */
};
static inline struct zd_event_pool *zd_pool_of(const struct zd_event *e)
{
	return (struct zd_event_pool *)e->obj.parent;
}

struct zd_fence {
	struct zd_object obj;		/* its parent is the queue */
	bool is_signalled;		/* under zd_lock */
};

/* ---- work (work.c) ---- */

enum zd_op { ZD_OP_COPY, ZD_OP_FILL, ZD_OP_LAUNCH, ZD_OP_TIME, ZD_OP_BARRIER, ZD_OP_WAIT, ZD_OP_SIGNAL, ZD_OP_RESET, ZD_OP_FENCE };

struct zd_kernel;
struct zd_arg {
	unsigned char *value;		/* malloc'ed; NULL: not set, local memory, or a NULL pointer */
	size_t size;
	bool is_set;
};
struct zd_launch {
	struct zd_kernel *kernel;	/* a reference */
	struct zd_arg *arg;		/* as they were; malloc'ed */
	uint32_t grid[3], block[3];
	ze_kernel_indirect_access_flags_t indirect;
	bool cooperative;
};

/* A command of a list, which may be executed often. */
struct zd_cmd {
	atomic_uint refs;
	struct zd_cmd *next;		/* in a list that records */
	enum zd_op op;
	struct zd_event *signal, **wait, *event;	/* references; event: of SIGNAL and RESET */
	uint32_t nr_waits;
	union {
		struct zd_copy copy;
		struct zd_fill fill;
		struct zd_launch launch;
		uint64_t *time;
		struct zd_fence *fence;	/* a reference */
	};
};
struct zd_cmd *zd_cmd_new(enum zd_op op);	/* NULL: no memory */
void zd_cmd_put(struct zd_cmd *c);		/* frees it with what it holds, when nobody else has it */

/* Where work is put: a queue, or an immediate list. What begins is in its order; what has begun runs together. */
struct zd_work;
struct zd_stream {
	struct zd_object *owner;	/* the queue or list; references by work */
	struct zd_device *device;
	/* under zd_lock */
	struct zd_work *first, **last;	/* that has not ended */
	unsigned int running;
	bool goes_ahead;		/* past commands that wait */
	struct zd_stream *next;
};

extern pthread_mutex_t zd_lock;
void zd_stream_open(struct zd_stream *s, struct zd_object *owner, struct zd_device *device);
void zd_stream_close(struct zd_stream *s);	/* nothing is in it */
/* Puts a command in; takes a reference of its own. Under zd_lock; then zd_flush. False: no memory. */
bool zd_submit_locked(struct zd_stream *s, struct zd_cmd *c, struct zd_object *list);
bool zd_submit(struct zd_stream *s, struct zd_cmd *c);	/* all of it, without the lock */
void zd_flush(void);			/* an event was signalled, or work came: begins all that may begin now, wakes who waits; without the lock */
bool zd_is_idle(const struct zd_stream *s);	/* under zd_lock */
/*
 * Waits, with zd_lock, until is_done(arg): success; or that long (ns; UINT64_MAX: for ever): ZE_RESULT_NOT_READY; or the process
 * ends.
 */
ze_result_t zd_wait(bool (*is_done)(const void *arg), const void *arg, uint64_t timeout);
/* Whether work that is queued or runs copies from or to the range, or has a pointer into it as an argument. */
bool zd_is_used(uint64_t start, uint64_t size);
void zd_shutdown(void);

/* ---- lists (list.c) ---- */

struct zd_queue {
	struct zd_object obj;
	struct zd_stream stream;
	struct zd_device *device;
	uint32_t ordinal;
	bool synchronous;
};

struct zd_list {
	struct zd_object obj;
	struct zd_device *device;
	uint32_t ordinal;
	bool immediate, synchronous, closed;
	struct zd_stream stream;	/* of an immediate one */
	struct zd_cmd *first, **last;	/* of one that records */
};
/* Of a list to which may be appended. */
ze_result_t zd_list_get(ze_command_list_handle_t handle, struct zd_list **out);
/* Takes the command, also on failure. Its events are checked here. */
ze_result_t zd_append(struct zd_list *l, struct zd_cmd *c, ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *waits);
#define ZD_GROUP_COMPUTE 0u		/* ordinals of the groups of queues */
#define ZD_GROUP_COPY 1u
#define ZD_NR_GROUPS 2u

/* ---- code (module.c, kernel.c) ---- */

void zd_launch_run(struct zd_device *d, const struct zd_launch *l);
void zd_launch_free(struct zd_launch *l);
bool zd_launch_uses(const struct zd_launch *l, uint64_t start, uint64_t size);

#endif
