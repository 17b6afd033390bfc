/* executor.h - who carries out the calls of a process. */
#ifndef HG_INTERCEPT_EXECUTOR_H
#define HG_INTERCEPT_EXECUTOR_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "intercept/symbols.h"
#include "replay/engine.h"

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
	/* The device's primary context, active or not, without making it so; NULL: no such device. */
	CUcontext (*primary_ctx)(CUdevice dev);

	/* For recording; see replay/driver.h and translate/module.h. */
	size_t (*module_vars)(const void *module_or_library, struct hg_place *out, size_t max);
	enum hg_status (*image_flatten)(const void *image, size_t size, void **out, size_t *out_size);
	enum hg_status (*kernel_info)(const void *function, const struct hg_kernel_info **out);

	/* For checkpoints, with the gate closed. */
	enum hg_status (*quiesce)(uint32_t timeout_ms);
	enum hg_status (*regions)(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg);
	enum hg_status (*read)(void *dst, hg_dptr src, size_t size);
	enum hg_status (*refused)(enum hg_status (*each)(const char *kernel, const char *why, void *arg), void *arg);
};

/* The portable CUDA driver of libhgshim-engine.so. */
extern const struct hg_executor hg_executor_portable;

/*
 * HGSHIM_TARGET's executor and the target it is to use. HG_ERR_INVALID for an unknown name,
 * HG_ERR_UNAVAILABLE for one that this version does not have; both with a message.
 */
enum hg_status hg_executor_choose(const struct hg_executor **out, const char **target);

#endif
