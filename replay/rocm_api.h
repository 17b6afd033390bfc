/* rocm_api.h - AMD's HIP runtime, opened when it is needed. Private to target_rocm.c and rocm_*.c. */
#ifndef HG_REPLAY_ROCM_API_H
#define HG_REPLAY_ROCM_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "replay/vendor_call.h"

/*
 * Declared here and not taken from hip_runtime_api.h: the structures of virtual memory changed between the versions, and nobody needs
 * AMD's headers to build hgshim. Handles are pointers; hipError_t is an int. Layouts are those of version 6, see docs/targets.md.
 */
enum hip_error {
	HIP_SUCCESS = 0, HIP_INVALID_VALUE = 1, HIP_OUT_OF_MEMORY = 2, HIP_NO_DEVICE = 100, HIP_INVALID_DEVICE = 101,
	HIP_NOT_READY = 600, HIP_ILLEGAL_ADDRESS = 700, HIP_LAUNCH_TIMEOUT = 702, HIP_ASSERT = 710, HIP_LAUNCH_FAILURE = 719,
	HIP_COOPERATIVE_TOO_LARGE = 720, HIP_NOT_SUPPORTED = 801,
};

enum hip_attribute {
	HIP_ATTRIBUTE_CLOCK_RATE = 5,			/* kHz */
	HIP_ATTRIBUTE_COOPERATIVE_LAUNCH = 10,
	HIP_ATTRIBUTE_MULTIPROCESSORS = 63,
	HIP_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS = 65,
	HIP_ATTRIBUTE_VIRTUAL_MEMORY = 89,		/* from 5.3 on; an error before */
};

#define HIP_HOST_PORTABLE 0x1u		/* of hipHostMalloc and hipHostRegister */
#define HIP_HOST_MAPPED 0x2u
#define HIP_HOST_COHERENT 0x40000000u	/* of hipHostMalloc */
#define HIP_STREAM_NON_BLOCKING 0x1u
#define HIP_EVENT_DEFAULT 0x0u
#define HIP_EVENT_DISABLE_TIMING 0x2u
#define HIP_MEMCPY_DEFAULT 4
#define HIP_GRANULARITY_MINIMUM 0
#define HIP_LAUNCH_BUFFER ((void *)1)
#define HIP_LAUNCH_SIZE ((void *)2)
#define HIP_LAUNCH_END ((void *)3)

struct hip_location {
	int type;			/* 1: device */
	int id;
};

struct hip_allocation {			/* hipMemAllocationProp */
	int type;			/* 1: pinned */
	int handle_type;
	struct hip_location location;
	void *metadata;
	unsigned char compression, rdma;
	unsigned short usage;
};

struct hip_access {			/* hipMemAccessDesc */
	struct hip_location location;
	int flags;			/* 3: read and write */
};

enum hg_hip_call {
#define ROCM_CALL(operation, since, need, symbol, params, cuda) HG_HIP_##symbol,
#include "replay/rocm_api.def"
	HG_HIP_CALLS
};

/* The library's functions; an OPTIONAL one may be NULL. */
struct hg_hip {
	int version;		/* as hipRuntimeGetVersion gives it: 60241134 is 6.2.41134 */
	char path[VENDOR_PATH];		/* of the library */
#define ROCM_CALL(operation, since, need, symbol, params, cuda) int (*symbol) params;
#define ROCM_TEXT(operation, since, need, symbol, params, cuda) const char *(*symbol) params;
#include "replay/rocm_api.def"
};
extern struct hg_hip hg_hip;

/*
 * Opens the library, once in the life of the process; a failure is final. HG_ERR_UNAVAILABLE: there is none, or it lacks what is needed,
 * and *why (lives for ever, NULL when it is there) says what was looked for and where. Says nothing itself. Any thread.
 */
enum hg_status hg_hip_load(const char **why) HG_MUST_CHECK;

/*
 * The result of a call, looked at: an error is said, with the call, the words of its arguments, the error's name, and what of
 * CUDA it stands for. HIP(hipFree, ptr) makes the call and looks. The arguments must have no side effects.
 */
enum hg_status hg_hip_check(enum hg_hip_call call, int error, const uint64_t *word, size_t nr) HG_MUST_CHECK;

#define HIP(symbol, ...) hg_hip_check(HG_HIP_##symbol, HIP_CALL(symbol, __VA_ARGS__), VENDOR_ARGS(__VA_ARGS__))
/* The call alone: its error, of which nothing is said. */
#define HIP_CALL(symbol, ...)                                                                                      \
	__extension__({                                                                                            \
		int error_;                                                                                        \
                                                                                                                   \
		if (!vendor_elsewhere((void (*)(void))hg_hip.symbol, VENDOR_ARGS(__VA_ARGS__), &error_))   \
			error_ = hg_hip.symbol(__VA_ARGS__);                                                       \
		error_;                                                                                            \
	})
/* Where nothing can be done about an error. */
#define HIP_TRY(symbol, ...) ((void)(HIP(symbol, __VA_ARGS__) == HG_OK))

#endif
