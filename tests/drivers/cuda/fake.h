/* fake.h - what the parts of the fake CUDA driver share. */
#ifndef TESTS_DRIVERS_CUDA_FAKE_H
#define TESTS_DRIVERS_CUDA_FAKE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "intercept/symbols.h"
#include "tests/drivers/common/control.h"
#include "tests/drivers/common/handles.h"
#include "tests/drivers/common/thread.h"

/*
 * README.md says what this driver is. An exported cuX (entry.c) counts the call, fails it if it was asked to, and
 * calls fake_cuX. Those functions are declared here and found in the file of their theme; what no file has returns
 * CUDA_ERROR_NOT_SUPPORTED.
 *
 * Locks, in the order in which they are taken: a context's, a stream's, the memory's (fake_mem_lock), the events',
 * the handle table's. None is held while a kernel, a host function or a copy runs.
 */
#define FAKE_PLAIN(sym, params) CUresult fake_##sym params;
#define FAKE_PTSZ(sym, params)
#define FAKE_PTDS(sym, params)
#define HG_SYM(sym, plain, base, version, flavour, params, args) FAKE_##flavour(sym, params)
#include "intercept/symbols.def"
#undef FAKE_PLAIN
#undef FAKE_PTSZ
#undef FAKE_PTDS

/* The knobs (README.md), read when the library is loaded. */
struct fake_config {
	int version;			/* of the driver */
	int nr_devices;
	int cc_major, cc_minor;
	int nr_sms;
	uint64_t memory, range;		/* bytes of the device; of the reserved addresses */
	int pattern;			/* what fresh memory is filled with; -1: left as it is */
	bool keep_range;		/* the reservation outlives the last context */
	bool null_launch;
	bool host_pointer;		/* CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM */
	bool skip_sass;			/* kernels that are machine code only do nothing, and succeed */
	bool no_param_info;
	unsigned int kernel_us;		/* every kernel takes that long at least */
	unsigned int queue_depth;	/* a power of two */
};
extern struct fake_config fake_config;

/* CUDA_SUCCESS between cuInit and exit; else what calls return. */
extern _Atomic(CUresult) fake_state;
extern struct fake_counter *fake_control;	/* HG_SYM_COUNT, by enum hg_sym */
/* At exit: no kernel may run when the C++ library's destructors do. */
void fake_streams_shutdown(void);

/* ---- objects and handles (tests/drivers/common/handles.h) ---- */

enum fake_kind {
	FAKE_CONTEXT = 1, FAKE_STREAM, FAKE_EVENT, FAKE_MODULE, FAKE_LIBRARY, FAKE_FUNCTION, FAKE_KERNEL, FAKE_POOL,
	FAKE_PHYSICAL,
};

/* ---- contexts (context.c, local.c) ---- */

typedef void (*fake_local_dtor)(CUcontext ctx, void *key, void *value);
struct fake_local {			/* one of a context's values; slots are added, never taken out */
	_Atomic(void *) key;		/* NULL: free */
	void *value;
	fake_local_dtor dtor;
	struct fake_local *_Atomic next;
};

/* Lives until the process ends: other threads may have a destroyed context current. */
struct fake_ctx {
	struct fake_obj obj;
	CUdevice dev;
	bool is_primary;
	atomic_bool alive;
	_Atomic(CUresult) error;	/* of a kernel: sticks until the context ends */
	unsigned int flags;
	unsigned int retained;		/* primary; under the lock of all contexts */
	uint64_t id;
	size_t limit[CU_LIMIT_MAX];
	CUfunc_cache cache;
	CUsharedconfig bank;
	pthread_mutex_t lock;		/* of the following */
	pthread_cond_t worker_gone;
	struct fake_stream **stream;	/* all that still have a worker */
	size_t nr_streams, max_streams;
	struct fake_stream *_Atomic legacy;
	atomic_uint_fast64_t seq;	/* orders what is put into all of the context's streams */
	struct fake_local *_Atomic local;
	struct fake_ctx *next_ended;
};

#define FAKE_MAX_DEVICES 8
extern struct fake_ctx *fake_primary[FAKE_MAX_DEVICES];
CUresult fake_contexts_init(void);	/* from cuInit, once */

/* The calling thread. */
struct fake_self {
	bool per_thread;		/* the call's default stream is the thread's own */
	bool has_exit;			/* its destructor is registered */
	unsigned int depth, max_depth;
	struct fake_ctx **stack;
	struct fake_own_stream {
		struct fake_ctx *ctx;
		struct fake_stream *stream;
	} *own;
	size_t nr_own;
};
extern __thread struct fake_self fake_self __attribute__((tls_model("initial-exec")));
void fake_self_exits(void);		/* have what the thread holds released at its end */
void fake_self_forgets(struct fake_ctx *ctx);

/* The current context: alive and without a sticky error, or the CUDA error. */
CUresult fake_current(struct fake_ctx **out);
/* A device that exists. */
static inline bool fake_is_device(CUdevice dev)
{
	return dev >= 0 && dev < fake_config.nr_devices;
}

CUresult fake_local_put(CUcontext ctx, void *key, void *value, fake_local_dtor dtor);
CUresult fake_local_delete(CUcontext ctx, void *key);
CUresult fake_local_get(void **value, CUcontext ctx, void *key);
void fake_local_end(struct fake_ctx *ctx);	/* runs the destructors */

CUresult fake_table(const char uuid[16], const void **out);

/* ---- streams (queue.c, stream.c, event.c) ---- */

enum fake_op { FAKE_NOP, FAKE_COPY, FAKE_FILL, FAKE_LAUNCH, FAKE_HOST, FAKE_CALLBACK, FAKE_RECORD, FAKE_WAIT,
	       FAKE_WRITE, FAKE_POLL };

struct fake_copy {
	unsigned char *dst;
	const unsigned char *src;
	size_t dst_pitch, dst_slice, src_pitch, src_slice;	/* bytes */
	size_t width, height, depth;				/* bytes, rows, slices */
	void *staging;			/* freed after the copy */
};

struct fake_fill {
	unsigned char *dst;
	size_t pitch, width, height;	/* width in elements */
	uint32_t value, size;		/* of an element: 1, 2, 4 */
};

struct fake_launch {
	struct fake_function *f;
	uint32_t grid[3], block[3], shared_bytes;
	bool cooperative;
	void *params;			/* malloc'ed where they do not fit the slot, else NULL */
};

/* One thing in a stream; the stream owns it from its publication to its end. */
#define FAKE_PARAM_BYTES 256
struct fake_work {
	enum fake_op op;
	uint64_t seq;
	union {
		struct fake_copy copy;
		struct fake_fill fill;
		struct fake_launch launch;
		struct {
			CUhostFn fn;
			CUstreamCallback callback;
			CUstream handle;	/* as the application gave it */
			void *data;
		} host;
		struct {
			struct fake_event *event;	/* a reference */
			uint64_t generation;
		} record;
		struct {
			struct fake_stream *stream;	/* a reference */
			uint64_t pos;
		} wait;
		struct {
			void *addr;
			uint64_t value;
			unsigned int bits, flags;
		} value;
	};
	_Alignas(16) unsigned char param[FAKE_PARAM_BYTES];
};

struct fake_stream {
	struct fake_obj obj;		/* references: handle, worker, events recorded in it, waits for it */
	unsigned int flags;
	int priority;
	uint64_t id;
	bool is_legacy, blocking;	/* blocking: in order with the legacy stream */
	CUsynchronizationPolicy sync_policy;
	pthread_mutex_t lock;		/* of the following */
	pthread_cond_t more, done;
	struct fake_work *ring;		/* fake_config.queue_depth slots */
	atomic_uint_fast64_t head, tail;	/* work head…tail is in it; head is the work being done */
	atomic_uint_fast64_t oldest;	/* seq of that, UINT64_MAX when empty */
	unsigned int waiters;
	bool stop;			/* end when empty */
	bool caller_runs;		/* what is at the head; the worker waits */
};

/* Of a context that is alive. */
CUresult fake_stream_new(struct fake_ctx *ctx, unsigned int flags, int priority, bool is_legacy,
			 struct fake_stream **out);
/* What a handle means for the calling thread: NULL and the two special values included. The context is checked. */
CUresult fake_stream_get(CUstream handle, struct fake_stream **out);
/* Takes no more work; ends when it has done what it has. Puts the handle's reference. */
void fake_stream_end(struct fake_stream *s);
/*
 * A free slot, the stream locked; waits while the queue is full. The caller fills the slot and publishes it. Returns from
 * fake_work_publish: the work's position, for fake_stream_wait.
 */
struct fake_work *fake_work_begin(struct fake_stream *s, enum fake_op op);
uint64_t fake_work_publish(struct fake_stream *s, struct fake_work *w);
/* Publishes it and returns when it is done; in an idle stream the caller does it, which is a good deal faster. */
void fake_work_finish(struct fake_stream *s, struct fake_work *w);
void fake_stream_wait(struct fake_stream *s, uint64_t pos);
static inline bool fake_stream_reached(struct fake_stream *s, uint64_t pos)
{
	return atomic_load_explicit(&s->head, memory_order_acquire) >= pos;
}
/* All that is in the stream now, and for the legacy stream in those that it waits for. Returns the context's error. */
CUresult fake_stream_sync(struct fake_stream *s);
CUresult fake_ctx_sync(struct fake_ctx *ctx);
void fake_ctx_end_streams(struct fake_ctx *ctx);

struct fake_event {
	struct fake_obj obj;
	unsigned int flags;
	/* under the events' lock */
	struct fake_stream *stream;	/* where it was recorded last, a reference; NULL: nowhere */
	uint64_t pos, generation;
	uint64_t time_ns;
};
void fake_event_reached(struct fake_event *e, uint64_t generation);	/* puts the reference */

/* ---- memory (memory.c, host.c, vmm.c, pool.c, copy.c) ---- */

#define FAKE_GRANULE ((uint64_t)2 << 20)

enum fake_mem { FAKE_MEM_DEVICE, FAKE_MEM_POOL, FAKE_MEM_MODULE, FAKE_MEM_MANAGED, FAKE_MEM_MAPPED, FAKE_MEM_HOST,
		FAKE_MEM_REGISTERED };
/* Memory that the driver knows of. */
struct fake_range {
	uint64_t start, size;
	enum fake_mem mem;
	struct fake_ctx *ctx;		/* NULL: of no context */
	CUdevice dev;
	unsigned int flags;		/* as given to the call that made it */
	uint64_t id;			/* CU_POINTER_ATTRIBUTE_BUFFER_ID */
	struct fake_pool *pool;
	struct fake_physical *physical;
	uint64_t offset;		/* in it */
	CUmemAccess_flags access;
	bool sync_memops;
};

extern pthread_mutex_t fake_mem_lock;
/* The following three under the lock. A range found is good as long as the lock is held. */
struct fake_range *fake_range_find(uint64_t addr);
bool fake_range_add(const struct fake_range *r);	/* false: no memory, or it overlaps one that is there */
void fake_range_remove(uint64_t start);
/* The first that ends behind the address; NULL: none. */
struct fake_range *fake_range_from(uint64_t addr);

/* What an address is to a copy or a fill of `size` bytes. CUDA_ERROR_INVALID_VALUE: it leaves its range. */
enum fake_place { FAKE_PAGEABLE, FAKE_PINNED, FAKE_ON_DEVICE, FAKE_ANYWHERE /* managed */ };
CUresult fake_place(uint64_t addr, uint64_t size, enum fake_place *out);

/* Device memory without a range; under the lock. 0: none left. The sizes must agree. */
uint64_t fake_arena_alloc(struct fake_ctx *ctx, uint64_t size);
void fake_arena_free(uint64_t addr, uint64_t size);
uint64_t fake_arena_size(uint64_t size);		/* what an allocation takes */
bool fake_account(int64_t bytes);			/* of device memory; false: more than there is. Under the lock */
void fake_memory_ctx_begin(void);			/* the first context reserves the addresses */
void fake_memory_ctx_end(struct fake_ctx *ctx);
void fake_host_end(const struct fake_range *r);		/* of a context that ends; not under the lock */
/* Memory of a variable that belongs to no context; 0: none left. init NULL: zeros. */
uint64_t fake_managed_var(uint64_t size, const void *init);
void fake_managed_var_end(uint64_t addr);
void fake_pools_sync(void);				/* after a synchronisation: gives back what pools hold in vain */
void fake_pools_ctx_end(struct fake_ctx *ctx);
CUresult fake_pools_init(void);
void fake_copy_run(const struct fake_copy *c);
void fake_fill_run(const struct fake_fill *f);

/* ---- code (module.c, function.c, launch.c) ---- */

/*
 * An image taken in; shared by the modules made of it. Its kernels are those that have PTX, in the translator's order,
 * then those that are there as machine code only: they have names and parameters, and cannot be run.
 */
struct fake_image {
	atomic_uint refs;
	struct hg_module *code;			/* NULL: nothing has PTX */
	struct hg_image_index *index;		/* owns what the infos of machine code point to */
	size_t nr_kernels, nr_runnable;
	const struct hg_kernel_info **kernel;
	struct hg_kernel_info *machine_code;
	struct simt_module *_Atomic simt;	/* made at the first launch */
	pthread_mutex_t lock;			/* of making it */
};

struct fake_function {
	struct fake_obj obj;
	struct fake_module *module;
	size_t index;
	const struct hg_kernel_info *info;
	int max_dynamic, carveout;		/* attributes that can be set */
	CUfunc_cache cache;
	atomic_bool loaded;
	struct fake_kernel *kernel;		/* NULL: of a module */
	struct fake_function *_Atomic next;	/* the same kernel in another context */
};

struct fake_module {
	struct fake_obj obj;
	struct fake_image *image;
	struct fake_library *library;		/* or NULL */
	struct fake_module *next;		/* of the library */
	size_t nr_functions;
	struct fake_function *function;
	uint64_t *var_addr;
	uint64_t block, block_size;		/* the variables' memory */
};

struct fake_kernel {
	struct fake_obj obj;
	struct fake_library *library;
	size_t index;
	const struct hg_kernel_info *info;
	int max_dynamic, carveout;
	CUfunc_cache cache;
	struct fake_function *_Atomic function;	/* list, one for each context */
};

struct fake_library {
	struct fake_obj obj;
	pthread_mutex_t lock;
	struct fake_image *image;
	struct fake_module *module;		/* list, one for each context; under the lock */
	size_t nr_kernels;
	struct fake_kernel *kernel;
	uint64_t *managed;			/* for each variable: its address, if it was asked for as managed; else 0 */
};

/* A CUfunction of the current context, or a CUkernel's function there. */
CUresult fake_function_get(const void *handle, struct fake_function **out);
/* What either kind of handle means without a context; NULL: neither. */
const struct hg_kernel_info *fake_kernel_info(const void *handle);
/* Blocks of that shape on one multiprocessor. */
unsigned int fake_occupancy(const struct fake_function *f, unsigned int threads, size_t dynamic);
void fake_module_end(struct fake_module *m);
void fake_library_forgets(struct fake_module *m);
void fake_launch_run(struct fake_stream *s, struct fake_work *w);

#endif
