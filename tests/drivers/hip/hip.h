/* hip.h - what the parts of the HIP double share. */
#ifndef TESTS_DRIVERS_HIP_HIP_H
#define TESTS_DRIVERS_HIP_HIP_H

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
#include "tests/drivers/hip/code_object.h"
#include "tests/drivers/hip/hip6.h"

/*
 * README.md says what this library is. An exported hipX (entry.c) counts the call, fails it if it was asked to, and calls
 * hd_hipX, which is in the file of its theme.
 *
 * Locks, in the order in which they are taken: the queues' (all of stream.c and event.c), the memory's. None is held while
 * a kernel, a host function or a copy runs.
 */
enum hd_call {
#define HIP_CALL(name, params, args) HD_##name,
#include "tests/drivers/hip/calls.def"
	HD_CALL_COUNT
};
#define HIP_CALL(name, params, args) hipError_t hd_##name params;
#include "tests/drivers/hip/calls.def"

/* A GPU whose name is known. */
struct hd_chip {
	const char *arch;		/* "gfx90a" */
	const char *arch_name;		/* gcnArchName, with its features: "gfx90a:sramecc+:xnack-" */
	uint32_t mach;			/* EF_AMDGPU_MACH_… of its code objects */
	int major, minor;
	bool has_wave32;
	int nr_cus;
};
extern const struct hd_chip hd_chips[];	/* ends with arch NULL */
#define HD_LDS_BYTES 65536u
#define HD_MAX_ITEMS 1024u
#define HD_PAGE 4096u

/* The knobs (README.md), read when the library is loaded. */
struct hd_config {
	const struct hd_chip *chip;	/* of all devices */
	int nr_devices, nr_cus;
	uint64_t memory, granule;
	int pattern;			/* what fresh memory is filled with; -1: left as it is */
	bool strict, leaks, protect, has_vmm, takes_hint, host_pointer;
	uint64_t seed;
	unsigned int delay_us, kernel_us;
	unsigned int queue_depth;
	struct fake_wrong wrong;
};
extern struct hd_config hd_config;
#define HD_MAX_DEVICES 8

extern _Atomic(hipError_t) hd_state;	/* hipSuccess; after fork or exit: what calls return */
extern struct fake_counter *hd_control;	/* HD_CALL_COUNT, by enum hd_call */
extern const char *const hd_call_name[HD_CALL_COUNT];

/* The calling thread. */
struct hd_self {
	int device;
	hipError_t last;
	const char *call;		/* that it is in, for messages */
	bool in_host_func;
	struct hd_stream **own;		/* hipStreamPerThread for each device, references; NULL: never asked for */
};
/* Small: with what else is linked in it lies in the static TLS, of which little is left for a library that is opened late. */
extern __thread struct hd_self hd_self;

/*
 * HIP forbids what the call asks for: a line on stderr, and with HG_FAKE_HIP_STRICT the end of the process. Its value is `error`, which the
 * call then gives. hd_refuse: the same for what is an error and no misuse, without an end.
 */
void hd_say_misuse(hipError_t error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hd_say_refused(hipError_t error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define hd_misuse(error, ...) (hd_say_misuse(error, __VA_ARGS__), (hipError_t)(error))
#define hd_refuse(error, ...) (hd_say_refused(error, __VA_ARGS__), (hipError_t)(error))
static inline bool hd_is_device(int device)
{
	return device >= 0 && device < hd_config.nr_devices;
}
void hd_at_exit(void);			/* lists what is left, if that is wanted */

enum hd_kind { HD_STREAM = 1, HD_EVENT, HD_MODULE, HD_FUNCTION, HD_PHYSICAL };

/* ---- streams (stream.c, event.c) ---- */

enum hd_op { HD_COPY, HD_FILL, HD_LAUNCH, HD_HOST, HD_CALLBACK, HD_RECORD, HD_WAIT, HD_NOP };

struct hd_copy {
	uint64_t dst, src;
	size_t dst_pitch, dst_slice, src_pitch, src_slice;	/* bytes */
	size_t width, height, depth;				/* bytes, rows, slices */
};

struct hd_fill {
	uint64_t dst;
	size_t pitch, width, height;	/* width in elements */
	uint32_t value, size;		/* of an element: 1, 2, 4 */
};

struct hd_launch {
	struct hd_function *f;		/* a reference */
	uint32_t grid[3], block[3], dynamic;
	bool cooperative;
	unsigned char *kernarg;		/* malloc'ed */
};

/* One thing in a stream; owned by it from hd_submit to its end. */
struct hd_work {
	struct hd_work *next;
	enum hd_op op;
	uint64_t seq;
	union {
		struct hd_copy copy;
		struct hd_fill fill;
		struct hd_launch launch;
		struct {
			hipHostFn_t fn;
			hipStreamCallback_t callback;
			hipStream_t handle;
			void *data;
		} host;
		struct {
			struct hd_event *event;		/* a reference */
			uint64_t generation;
		} record;
		struct {
			struct hd_stream *stream;	/* a reference */
			uint64_t pos;
		} wait;
	};
};

struct hd_module;
struct hd_stream {
	struct fake_obj obj;		/* references: handle, worker, events recorded in it, waits for it */
	int device, priority;
	unsigned int flags;
	bool is_null, blocking;		/* blocking: in order with the null stream */
	/* under the queues' lock */
	pthread_cond_t more;
	struct hd_work *first, **last;
	uint64_t head, tail;		/* positions: work head…tail is in it, head is what runs or is next */
	bool stop;			/* end when empty */
	struct hd_stream *next;		/* of all that have a worker */
	uint64_t random;
};

/* What a handle means for the calling thread: NULL and the special values included. A wrong one is a misuse. */
hipError_t hd_stream_get(hipStream_t handle, struct hd_stream **out);
/* The device's error, that a kernel left. */
hipError_t hd_device_error(int device);
struct hd_work *hd_work_new(enum hd_op op);	/* NULL: no memory */
/* Queues it; returns its position. Waits while the stream is full. */
uint64_t hd_submit(struct hd_stream *s, struct hd_work *w);
uint64_t hd_submit_locked(struct hd_stream *s, struct hd_work *w);	/* under the queues' lock, which it may give up meanwhile */
extern pthread_mutex_t hd_queue_lock;
void hd_wait(struct hd_stream *s, uint64_t pos);
bool hd_reached(struct hd_stream *s, uint64_t pos);
/* All that is queued on the device, of all its streams. */
void hd_device_wait(int device);
/* All that is queued in the stream, and for the null stream in those that it waits for. */
void hd_stream_wait_all(struct hd_stream *s);
/* Whether work that is queued or runs copies from or to the range, or is a kernel of the module (either may be none). */
bool hd_is_used(uint64_t start, uint64_t size, const struct hd_module *m);
void hd_streams_shutdown(void);

void hd_event_reached(struct hd_event *e, uint64_t generation);	/* under the queues' lock */

/* ---- memory (memory.c, host.c, vmm.c, copy.c) ---- */

enum hd_mem { HD_MEM_DEVICE, HD_MEM_MAPPED, HD_MEM_HOST, HD_MEM_REGISTERED };
/* What the device calls host memory. */
const void *hd_device_pointer(const struct fake_span *r, const void *ptr);

/* What an address is to a copy or a fill of `size` bytes; an error is said. */
enum hd_place { HD_PAGEABLE, HD_PINNED, HD_ON_DEVICE };
hipError_t hd_place(uint64_t addr, uint64_t size, bool writes, enum hd_place *out);

void hd_copy_run(const struct hd_copy *c);
void hd_fill_run(const struct hd_fill *f);
uint64_t hd_copy_extent(const struct hd_copy *c, size_t pitch, size_t slice);

/* ---- code (module.c, launch.c) ---- */

struct hd_module {
	struct fake_obj obj;		/* references: handle, functions */
	int device;
	struct co_object *code;
	size_t nr_functions;
	struct hd_function *function;	/* one for each kernel */
};

struct hd_function {
	struct fake_obj obj;		/* references: handle, launches that are queued */
	struct hd_module *module;	/* a reference */
	const struct co_kernel *kernel;
	pthread_mutex_t lock;		/* of making the executor */
	struct simt_amdgcn *executor;	/* NULL: it was not launched yet */
	_Atomic uint64_t nr_runs;
};
/* Of a function that is there; a wrong handle is a misuse. */
hipError_t hd_function_get(const void *handle, struct hd_function **out);
/* Blocks of that many work-items on one compute unit. */
unsigned int hd_occupancy(const struct hd_function *f, uint64_t items, uint64_t dynamic);
void hd_launch_run(struct hd_stream *s, const struct hd_launch *l);
void hd_device_fails(int device, hipError_t error);

#endif
