/* executor.h - who carries out the calls of a process. */
#ifndef HG_INTERCEPT_EXECUTOR_H
#define HG_INTERCEPT_EXECUTOR_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "intercept/symbols.h"
#include "logdb/call.h"
#include "replay/engine.h"

/* A function that was looked up, for hg_executor.kernel_info. */
struct hg_function {
	const void *handle;		/* CUfunction or CUkernel */
	bool is_kernel;			/* a CUkernel */
	const char *name;		/* NULL: not known */
	const void *code;		/* its module or library; NULL: not known */
};

/*
 * Loaded once; the members after `load` may be called once it has succeeded, from any thread unless said
 * otherwise. Every member is required. A process may change its executor while it runs, with the gate closed.
 */
struct hg_executor {
	const char *name;	/* for people; the control page gets the target's name */

	/* Makes `proc` usable. Says why not. Creates no thread, and nothing that a fork would break. */
	enum hg_status (*load)(const char *target);
	/* Before the first call but cuDriverGetVersion, cuGetErrorName and cuGetErrorString. */
	enum hg_status (*open)(void);
	void *(*proc)(const char *symbol);
	/* What cuGetProcAddress means by a name; NULL with *status set: nothing. Every pointer is one of hgshim's entries. */
	CUresult (*procaddr)(const char *base, void **pfn, int version, cuuint64_t flags,
			     CUdriverProcAddressQueryResult *status);
	/* cuGetExportTable. */
	CUresult (*table)(const char uuid[16], const void **out);
	/* The device's primary context, active or not, without making it so; NULL: no such device. */
	CUcontext (*primary_ctx)(CUdevice dev);

	/*
	 * For recording; see replay/driver.h and translate/module.h. kind: HG_KIND_MODULE or HG_KIND_LIBRARY. An image's
	 * size is 0 where it is not known.
	 * code_allowed: before it is loaded; false, with a message: the program gets CUDA_ERROR_NO_BINARY_FOR_GPU.
	 * code_loaded: before its record is written. code_going: before the call that unloads it, and code_gone after that.
	 */
	bool (*code_allowed)(const void *image, size_t size);
	void (*code_loaded)(enum hg_kind kind, const void *handle, const void *image, size_t size);
	void (*code_going)(enum hg_kind kind, const void *handle);
	void (*code_gone)(enum hg_kind kind, const void *handle, bool gone);
	void (*ctx_gone)(CUcontext ctx);	/* after the call that ended it */
	size_t (*module_vars)(const void *module_or_library, struct hg_place *out, size_t max);
	enum hg_status (*image_flatten)(const void *image, size_t size, void **out, size_t *out_size);
	enum hg_status (*kernel_info)(const struct hg_function *f, const struct hg_kernel_info **out);

	/* For checkpoints, with the gate closed. */
	enum hg_status (*quiesce)(uint32_t timeout_ms);
	enum hg_status (*regions)(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg);
	/* Bytes of a region that `regions` named; a region's are read in order. read_end: after the last one, or a failure. */
	enum hg_status (*read)(const struct hg_region *r, void *dst, uint64_t offset, size_t size);
	void (*read_end)(void);
	enum hg_status (*refused)(enum hg_status (*each)(const char *kernel, const char *why, void *arg), void *arg);
	/* State that no snapshot of this executor reaches. */
	void (*uncovered)(void (*each)(const char *kind, const char *what, void *arg), void *arg);
};

/* The portable CUDA driver of libhgshim-engine.so. */
extern const struct hg_executor hg_executor_portable;
/* NVIDIA's driver, behind hgshim. */
extern const struct hg_executor hg_executor_native;

/* libhgshim-engine.so, opened at the first call; NULL, said once: it cannot be. Any thread. */
const struct hg_engine *hg_engine(void);
/* The file of the driver that hgshim opened itself; NULL: none. Lives for ever. */
const char *hg_native_driver_path(void);

/*
 * HGSHIM_TARGET's executor and the target it is to use. HG_ERR_INVALID for an unknown name,
 * HG_ERR_UNAVAILABLE for one that this version does not have; both with a message.
 */
enum hg_status hg_executor_choose(const struct hg_executor **out, const char **target);
/* A target of the portable driver by its name, as a constant; NULL: there is none. And all of them, for people. */
const char *hg_executor_portable_target(const char *name);
extern const char hg_executor_portable_targets[];
/* What is taken instead of a target that turns out not to be there; NULL: nothing is, it was asked for by name. */
const char *hg_executor_instead(const char *target);

#endif
