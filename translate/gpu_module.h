/* gpu_module.h - what modules for every kind of GPU have: kernels without what GPUs lack, what is known of their lanes, code that was made. Private to translate/. */
#ifndef HG_TRANSLATE_GPU_MODULE_H
#define HG_TRANSLATE_GPU_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/emit_gpu.h"
#include "translate/gpu_plan.h"
#include "translate/ir.h"

#define GPU_KEY 16

/* What code is made for. */
struct gpu_variant {
	enum hg_gpu_layout layout;
	bool is_scheduled;
	bool whole;			/* see struct gpu_plan */
	uint32_t max_threads;		/* of a block */
	uint32_t stack_bytes;		/* of a thread; 0: the kernel uses none */
};

/* What was made of a variant: the beginning of the target's own structure. */
struct gpu_made {
	struct gpu_made *next;
	struct gpu_variant variant;
	void *data;			/* malloc'ed, `size` bytes: as the disk cache keeps it; NULL: it failed, */
	size_t size;
	char *why;			/* with this message (malloc'ed; NULL: there was no memory for it), */
	enum hg_status st;		/* and so */
};

/* How a target makes code. `target` is its own; `why` is NUL-terminated, cut to fit, a whole message. */
struct gpu_maker {
	const char *kind;		/* "amdgcn": part of the cache's key */
	size_t made_size;		/* of its structure */
	/*
	 * Changes the variant that a wave of 32 lanes would have: of the widest block that kernel and device allow, scheduled where it must be
	 * or where HGSHIM_GPU_FORM wants it. NULL: nothing to change.
	 */
	void (*choose)(const void *target, const struct gpu_plan *plan, const uint32_t block[3], struct gpu_variant *v);
	/* Compiles. *data is malloc'ed. */
	enum hg_status (*make)(const void *target, const struct ir_func *fn, const struct gpu_variant *v, void **data, size_t *size, char *why,
			       size_t why_size);
	/* Reads made->data, which was made now or lay in the cache, into the rest of the target's structure. False: it is not what it should be. */
	bool (*take)(const void *target, const struct ir_func *fn, struct gpu_made *made, char *why, size_t why_size);
};

/* The device, as far as this file looks at it. All is borrowed. */
struct gpu_device {
	const char *name;		/* for messages: "gfx90a", "this device" */
	const char *id;			/* what code depends on, as text: part of the cache's key */
	uint32_t max_work_items;	/* of a block */
	bool no_f64;			/* kernels are expanded for a device without */
};

/* Borrows all, which must outlive it. Thread-safe. key: of hg_module_hash; NULL: what is made is not kept on disk. */
struct gpu_module;
enum hg_status gpu_module_open(const struct ir_module *ir, const unsigned char *key, const struct gpu_maker *maker, const struct gpu_device *device,
			       const void *target, struct gpu_module **out) HG_MUST_CHECK;
void gpu_module_close(struct gpu_module *m);	/* NULL is allowed */

/*
 * Code for what a launch needs: found, or made while the caller waits; *out lives as long as the module. Kernels are expanded (expand.h) at the first call, which takes
 * time. HG_ERR_NOTFOUND: no such index; HG_ERR_UNSUPPORTED, HG_ERR_UNAVAILABLE with a message: it is refused, or this is a forked child.
 */
enum hg_status gpu_code_get(struct gpu_module *m, size_t index, const struct hg_gpu_need *need, const struct gpu_made **out) HG_MUST_CHECK;
/* Which variant that would be, without making it: *fn is the expanded kernel. */
enum hg_status gpu_variant_get(struct gpu_module *m, size_t index, const struct hg_gpu_need *need, const struct ir_func **fn,
			       struct gpu_variant *out) HG_MUST_CHECK;

/* HGSHIM_GPU_FORM, for tests: scheduled code where direct code would do. (The other way there is none: a proof is missing.) */
bool gpu_wants_scheduled(void);
/* Where that many threads lie side by side in x (gpu_plan.h). */
bool gpu_is_in_rows(const uint32_t block[3], uint32_t threads);

#endif
