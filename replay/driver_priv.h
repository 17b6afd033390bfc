/* driver_priv.h - what the files of the portable driver share. */
#ifndef HG_REPLAY_DRIVER_PRIV_H
#define HG_REPLAY_DRIVER_PRIV_H

#ifndef __CUDA_API_VERSION_INTERNAL
#define __CUDA_API_VERSION_INTERNAL	/* cuda.h then names every version of a call by its own symbol */
#endif
#include <cuda.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/idmap.h"
#include "common/ivmap.h"
#include "common/arena.h"
#include "replay/driver.h"
#include "translate/texture.h"

#define HG_DRV(sym) __typeof__(sym) drv_##sym;
#include "replay/driver.def"

#define DRV_CUDA_VERSION 13000
#define DRV_MAX_DEVICES 16
#define DRV_GREATEST_PRIORITY -5
#define DRV_QUEUE_DEPTH 128u
#define DRV_SHARED_RESERVED 1024u	/* of a multiprocessor's shared memory, for each block */
#define DRV_MAX_THREADS_PER_SM 1536u
#define DRV_MAX_BLOCKS_PER_SM 24u
#define DRV_REGS_PER_SM 65536u
#define DRV_LOCAL_LIMIT (512u << 10)

/*
 * Handles are names of objects. An object is in the registry as long as its names are valid; every
 * look-up takes a reference, so that an object another thread destroys stays until the call is over.
 * By itself an object is called by its address; a process that comes from another driver goes on with the names which
 * that one gave (hg_driver_name). No code but the registry's may take a handle for a pointer, or the other way round.
 */
enum drv_kind {
	DRV_CTX = 1, DRV_STREAM, DRV_EVENT, DRV_MODULE, DRV_LIBRARY, DRV_FUNCTION, DRV_POOL, DRV_LINK,
};

struct drv_ctx;

struct drv_obj {
	enum drv_kind kind;
	atomic_uint refs;
	bool is_named;				/* `name` was given from outside: further ones are added to it */
	uint64_t name;				/* that calls give out; changes only while nobody else is inside */
	uint64_t *alias;			/* more names of it, under the registry's lock */
	uint32_t nr_aliases;
	struct drv_ctx *ctx;			/* with a reference; NULL: belongs to no context */
	struct drv_obj *next, **prev;		/* the context's objects, under the registry's lock */
	void (*free)(struct drv_obj *obj);	/* when the last reference goes */
};

void drv_obj_init(struct drv_obj *obj, enum drv_kind kind, struct drv_ctx *ctx, void (*free)(struct drv_obj *));
/* Gives the object its name, valid from here on. On failure the object is as before. */
CUresult drv_obj_publish(struct drv_obj *obj) HG_MUST_CHECK;
/* The name of a published object, as calls give it out. */
static inline void *drv_handle(const struct drv_obj *obj)
{
	return (void *)(uintptr_t)obj->name;
}
/* A reference, or NULL when the handle names no live object of that kind. */
void *drv_obj_get(const void *handle, enum drv_kind kind);
/* Makes all names of the object invalid and returns the registry's reference; NULL when the handle named none. */
void *drv_obj_retire(const void *handle, enum drv_kind kind);
/* The same for an object that the caller has; false when it was not published (any more). NULL is allowed. */
bool drv_obj_withdraw(struct drv_obj *obj);
void drv_obj_put(struct drv_obj *obj);		/* NULL is allowed */
void drv_obj_ref(struct drv_obj *obj);

struct drv_stream {
	struct drv_obj obj;
	struct hg_queue *queue;			/* NULL, and the mark as well: of a driver that was left */
	struct hg_mark *mark;			/* orders it with the legacy stream */
	struct drv_stream *next;		/* in ctx->streams, under ctx->lock */
	unsigned int flags;
	int priority;
	uint64_t id;
	uint64_t issued;			/* pieces of work so far */
	uint64_t joined;			/* blocking: `issued` when the legacy stream last waited for it */
	uint64_t seen;				/* blocking: legacy's `issued` that it waits for */
	uint64_t marked;			/* legacy: `issued` at its last mark */
	bool dying;				/* its handle is gone, its work is not yet done */
	CUstreamAttrValue sync_policy;
};

#define DRV_NR_LIMITS 10
#define DRV_HEAP_BYTES (8u << 20)	/* CU_LIMIT_MALLOC_HEAP_SIZE */

struct drv_ctx {
	struct drv_obj obj;
	pthread_mutex_t lock;			/* issuing work, and the streams */
	struct drv_stream *streams;		/* all, the legacy and per-thread ones included */
	struct drv_stream *legacy;		/* NULL until used */
	struct drv_obj *objects;		/* that end with it */
	CUdevice device;
	uint64_t id;
	unsigned int flags, api_version;
	bool primary;
	atomic_bool alive;			/* primary: active */
	atomic_int error;			/* sticky CUresult */
	unsigned int retained;			/* primary; under drv.lock */
	size_t limit[DRV_NR_LIMITS];
	CUfunc_cache cache_config;
	CUsharedconfig shared_config;
};

struct drv_event {
	struct drv_obj obj;
	struct hg_mark *mark;
	unsigned int flags;
	atomic_bool recorded;
	_Atomic uint64_t age_ns;	/* it counts as so much older than its mark: see hg_driver_event_age */
};

/* A loaded image; a module or a library is a handle for it. */
struct drv_code {
	atomic_uint refs;
	struct hg_module *module;
	struct hg_target_module *target;
	size_t nr_vars, nr_kernels;
	uint64_t heap_bytes;			/* for malloc in its kernels */
	hg_dptr *var_addr;
	struct drv_alloc **vars;
	struct drv_function **function;		/* one for each kernel, published; each holds a reference to this */
	struct drv_module *owner;
	struct drv_code *next_dying;
};

struct drv_module {		/* DRV_MODULE and DRV_LIBRARY */
	struct drv_obj obj;
	struct drv_code *code;
	struct drv_module *of_library;	/* a library's module, made on request; lives with it */
	bool is_view;			/* that module: it cannot be unloaded */
};

struct drv_function {
	struct drv_obj obj;
	struct drv_code *code;		/* with a reference */
	struct drv_module *module;	/* its module, or its library; valid while published */
	size_t index;
	uint64_t as_function;		/* of a library's kernel: the name of its CUfunction; 0: its own */
	const struct hg_kernel_info *info;
	pthread_mutex_t lock;
	struct hg_target_kernel *kernel;	/* NULL until compiled */
	bool refusal_said;
	CUresult compile_error;
	atomic_int max_dynamic_shared, carveout;
	atomic_int cache_config;
};

struct drv_pool {
	struct drv_obj obj;
	CUdevice device;
	bool is_default;
	uint64_t release_threshold;
	int reuse[3];
	atomic_ullong used, used_high;
};

/* What device memory is, for the call that frees it. All but the first have handles, which are their addresses. */
enum drv_what { DRV_PLAIN, DRV_ARRAY, DRV_MIPMAPPED, DRV_TEXTURE, DRV_SURFACE };

/* A range that addresses may fall into. */
struct drv_alloc {
	uint64_t addr, size;
	uint64_t room;			/* addresses taken, a multiple of the alignment */
	enum hg_region_kind kind;
	enum drv_what what;
	struct drv_ctx *ctx;		/* with a reference */
	const struct drv_module *owner;	/* of a variable: its module or library; valid until it is dying */
	char *name;			/* of a variable */
	unsigned int flags;		/* of host memory */
	uint64_t id;			/* unique in the process */
	struct drv_pool *pool;		/* with a reference */
	bool dying, sync_memops;
	bool in_arena;			/* host memory: its addresses came from the host arena */
};

struct drv {
	const struct hg_target_ops *ops;
	struct hg_target *target;
	struct hg_target_info info;
	unsigned int cc_major, cc_minor;
	int nr_devices;
	struct drv_ctx *primary[DRV_MAX_DEVICES];
	struct drv_pool *pool[DRV_MAX_DEVICES];		/* current */
	struct drv_pool *default_pool[DRV_MAX_DEVICES];
	atomic_bool initialised;			/* cuInit */
	atomic_bool exiting;				/* the process is: nothing is waited for or taken apart */
	bool is_left;					/* another one takes over: host memory stays where it is */
	atomic_bool abandoned;				/* a kernel outlived its context: what it may use stays */
	atomic_ullong next_id;

	pthread_rwlock_t lock;		/* the registry and what objects lists hold */
	struct hg_idmap handles;	/* drv_key -> struct drv_obj * */
	struct hg_idmap given;		/* name from outside -> number of objects that have it */
	struct hg_idmap promised;	/* names that are going to be given: no object takes them by itself */

	pthread_mutex_t mem_lock;
	struct hg_ivmap allocs;		/* addresses -> struct drv_alloc * */
	struct hg_ivmap runs;		/* mapped address ranges -> number of allocations in them */
	struct hg_ivmap held;		/* addresses of the device arena that are kept for what is made later */
	struct hg_ivmap reserved;	/* mapped without access by someone else, to be replaced by what is placed there */
	struct hg_arena device_arena, host_arena;
	uint64_t used_bytes;
	bool vars_later;		/* see hg_driver_vars_later */

	pthread_mutex_t service_lock;
	struct hg_queue *service;	/* for the driver's own fills */
};
extern struct drv drv;

/* What a thread of CUDA has: the calling one, or the recorded one it acts as. */
struct drv_thread {
	struct drv_ctx **stack;		/* with references */
	size_t depth, capacity;
	struct drv_stream **streams;	/* per-thread default streams, one for each context; with references */
	size_t nr_streams;
	int per_thread;			/* > 0: the default stream is the thread's own (_ptsz calls) */
	struct hg_place *places;	/* for the next creating call */
	size_t nr_places;
	bool adopt;			/* see hg_driver_adopt */
};
struct drv_thread *drv_thread(void);	/* NULL: no memory */
void drv_threads_forget(void);
/* Inside a _ptsz or _ptds call. */
void drv_per_thread_begin(void);
void drv_per_thread_end(void);
/* Set on a queue's thread while a host function runs: it must not call CUDA. */
extern __thread bool drv_in_host_func;

/* driver.c */
CUresult drv_result(enum hg_status st);		/* of a target's function */
CUresult drv_ready(void) HG_MUST_CHECK;		/* cuInit was called, by a thread that may call CUDA */
/* The calling thread's context, if it is usable. Valid during the call. */
CUresult drv_current(struct drv_ctx **out) HG_MUST_CHECK;
CUresult drv_ctx_error(struct drv_ctx *ctx) HG_MUST_CHECK;	/* its sticky error */
/* A context by handle, NULL: the current one. With a reference. */
CUresult drv_ctx_get(CUcontext handle, struct drv_ctx **out) HG_MUST_CHECK;

/* driver_name.c */
/* Key of a name in the registry: objects of different kinds may be called alike. 0: no name. */
static inline uint64_t drv_key(uint64_t name, enum drv_kind kind)
{
	return name ^ (uint64_t)kind << 56;
}
/* With the registry locked: a name that nobody uses or is going to use; 0: none is left. */
uint64_t drv_name_new(const struct drv_obj *obj);
/* With the registry locked: forgets that the name was given. */
void drv_name_gone(uint64_t name);

/* driver_ctx.c */
CUresult drv_ctx_new(CUdevice device, bool primary, struct drv_ctx **out) HG_MUST_CHECK;
enum hg_status drv_ctx_sync(struct drv_ctx *ctx) HG_MUST_CHECK;	/* waits for all its queues */
void drv_ctx_end(struct drv_ctx *ctx);		/* waits, then ends everything in it */
enum hg_status drv_each_ctx(enum hg_status (*each)(struct drv_ctx *ctx, void *arg), void *arg) HG_MUST_CHECK;

/* driver_stream.c */
enum drv_stream_use { DRV_WORK, DRV_LOOK };	/* LOOK: orders itself, adds nothing */
/* Resolves a handle and puts it in order with the others; the context is locked until drv_stream_end. */
CUresult drv_stream_begin(CUstream handle, struct drv_stream **out) HG_MUST_CHECK;
void drv_stream_end(struct drv_stream *s, enum drv_stream_use use);	/* drops the reference, too */
/* Unlocks as end does, but keeps the reference. */
void drv_stream_unlock(struct drv_stream *s, enum drv_stream_use use);
CUresult drv_stream_sync(struct drv_stream *s) HG_MUST_CHECK;	/* waits, then the context's error */
/* Resolves a handle without ordering or locking anything; with a reference. */
CUresult drv_stream_get(CUstream handle, struct drv_stream **out) HG_MUST_CHECK;
void drv_streams_reap(struct drv_ctx *ctx);	/* ctx->lock held */

/* driver_mem.c */
enum hg_status drv_mem_init(void) HG_MUST_CHECK;
void drv_mem_fini(void);
/* Takes device memory, zeroed. wanted 0: anywhere. */
CUresult drv_mem_alloc(struct drv_ctx *ctx, uint64_t size, uint64_t align, uint64_t wanted, enum hg_region_kind kind,
		       struct drv_alloc **out) HG_MUST_CHECK;
/* Holds addresses for memory that is taken later, by drv_mem_alloc with *out as the wanted address. */
CUresult drv_mem_hold(uint64_t size, uint64_t align, uint64_t *out) HG_MUST_CHECK;
/* Device memory that has a handle; and waits for work, as cuMemFree does, before it is freed. */
CUresult drv_mem_alloc_what(struct drv_ctx *ctx, enum drv_what what, uint64_t size, uint64_t wanted, struct drv_alloc **out) HG_MUST_CHECK;
CUresult drv_mem_free_what(uint64_t addr, enum drv_what what);
void drv_mem_free(struct drv_alloc *a);		/* nothing may use it any more */
void drv_mem_retire(struct drv_alloc *a);	/* it is going to be freed: no longer part of the state */
/* The allocation that contains the address, copied; false: none. */
bool drv_mem_find(uint64_t addr, struct drv_alloc *out);
void drv_mem_end_ctx(struct drv_ctx *ctx);	/* frees what was allocated in a context that ends */
void drv_mem_abandon_ctx(struct drv_ctx *ctx);	/* keeps it, but nobody finds it any more */
/* Takes the places given to this thread; the caller frees *out. */
size_t drv_places_take(struct hg_place **out);
uint64_t drv_place_take_addr(void);		/* of an allocation, 0: anywhere */

/* driver_array.c */
/* How texels of a CUDA format are stored. */
struct drv_format {
	enum hg_texel texel;
	uint32_t channels, bytes;		/* bytes of a texel */
	uint32_t data_type, order;		/* as PTX numbers them */
	bool is_normalised;			/* integers that mean 0 to 1, or -1 to 1 */
};
bool drv_format(CUarray_format format, unsigned int channels, struct drv_format *out);	/* false: none that is supported */

/* The header of an array, or of a level, in device memory. */
struct drv_array {
	uint32_t magic, level_nr, nr_levels;
	uint32_t format, channels, flags;	/* as in CUDA_ARRAY3D_DESCRIPTOR, and so are these of the level: */
	uint64_t width, height, depth;
	struct hg_texture_level level;
};
/* By handle; mipmapped: of a whole mipmapped array, its first level. CUDA_ERROR_INVALID_HANDLE: none. */
CUresult drv_array_find(uint64_t handle, bool mipmapped, struct drv_array *out) HG_MUST_CHECK;
/* Level `level` of the mipmapped array, or the array itself. */
CUresult drv_array_level(uint64_t handle, unsigned int level, struct drv_array *out) HG_MUST_CHECK;

/* driver_event.c */
void drv_event_recorded(struct drv_event *e);	/* its mark was: the application did it */

/* driver_copy.c */
/* Host memory that nobody registered: is all of it there, and may it be read (written)? */
bool drv_host_ok(uint64_t addr, uint64_t size, bool write);

/* driver_module.c */
void drv_code_put(struct drv_code *code);
void drv_codes_reap(void);			/* frees unloaded code if nothing can be running it any more */
CUresult drv_libraries_reset(void) HG_MUST_CHECK;	/* their variables get their first values again */
/* driver_func.c */
CUresult drv_function_compile(struct drv_function *f, struct hg_target_kernel **out) HG_MUST_CHECK;
unsigned int drv_occupancy(const struct drv_function *f, unsigned int threads, size_t dynamic_shared);

/* Where the caller of a JIT wants to read what went wrong. The pointers are the caller's. */
struct drv_jit_log {
	char *error, *info;
	size_t error_size, info_size;
	float *wall_time;
	size_t *error_filled, *info_filled;
};
CUresult drv_jit_options(unsigned int nr, const CUjit_option *options, void **values, struct drv_jit_log *out) HG_MUST_CHECK;
/* The size options give back how much of the buffers was filled. */
void drv_jit_log_fill(const struct drv_jit_log *log, const char *text, float ms);
/* What a load that failed so gives; `size` as for hg_module_load. */
CUresult drv_load_error(const void *image, size_t size, enum hg_status st);
/* The file, with a NUL behind it: PTX text has no other end. *out is malloc'ed. */
CUresult drv_file_read(const char *path, void **out, size_t *out_size) HG_MUST_CHECK;

#endif
