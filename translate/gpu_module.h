/* gpu_module.h - what modules for every kind of GPU have: kernels without what GPUs lack, what is known of their lanes, code that was made. Private to translate/. */
#ifndef HG_TRANSLATE_GPU_MODULE_H
#define HG_TRANSLATE_GPU_MODULE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/gpu_plan.h"
#include "translate/ir.h"

#define GPU_KEY 16

struct gpu_kernel {
	pthread_mutex_t lock;		/* of all here: held while code is made */
	bool is_planned;
	struct gpu_plan plan;
	void *made;			/* the target's list of what it made */
};

/* Borrows `ir`. Thread-safe. key: of hg_module_hash, or NULL. */
struct gpu_module;
enum hg_status gpu_module_open(const struct ir_module *ir, const unsigned char *key, struct gpu_module **out) HG_MUST_CHECK;
/* free_made gets every kernel's list, or NULL where nothing was made. */
void gpu_module_close(struct gpu_module *m, void (*free_made)(void *list));
const unsigned char *gpu_module_key(const struct gpu_module *m);	/* GPU_KEY bytes; NULL: what is made is not kept */
/*
 * A kernel, expanded (expand.h: at the first call, as that takes time). HG_ERR_NOTFOUND: no such index; HG_ERR_UNSUPPORTED, HG_ERR_UNAVAILABLE with a
 * message: it is refused, or this is a forked child.
 */
enum hg_status gpu_module_kernel(struct gpu_module *m, size_t index, const struct ir_func **fn, struct gpu_kernel **kernel) HG_MUST_CHECK;
/* Fills in kernel->plan, whose lock is held or which nobody else has. */
enum hg_status gpu_kernel_plan(struct gpu_kernel *k, const struct ir_func *fn) HG_MUST_CHECK;

/* HGSHIM_GPU_FORM, for tests: scheduled code where direct code would do. (The other way there is none: a proof is missing.) */
bool gpu_wants_scheduled(void);
/* Bytes of stack that code is made for, where a launch wants `bytes`, 0: as many as usual. */
uint32_t gpu_stack_class(uint32_t bytes);

#endif
