/* native.h - the real CUDA driver behind hgshim. */
#ifndef HG_INTERCEPT_NATIVE_H
#define HG_INTERCEPT_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/place.h"
#include "common/status.h"
#include "intercept/executor.h"
#include "intercept/symbols.h"

/*
 * The driver's own functions, as named; NULL: it lacks the call. Filled once, when the executor is loaded. What the
 * application's calls reach is hg_real, where some are replaced (native_mem.h).
 */
extern struct hg_real hg_nv;

/*
 * A call of the driver that hgshim made for itself and that failed: "the driver's 'cuMemFree_v2' failed with
 * CUDA_ERROR_INVALID_VALUE (1)". An error message; on the checkpoint thread the first one is the request's reason.
 */
void hg_nv_say(const char *symbol, CUresult r);
#define HG_NV_SAY(sym, r) hg_nv_say(#sym, r)

/* native_code.c: the modules and libraries that are loaded, and what their images hold. Any thread. */
bool hg_native_code_allowed(const void *image, size_t size);
void hg_native_code_loaded(enum hg_kind kind, const void *handle, const void *image, size_t size);
void hg_native_code_going(enum hg_kind kind, const void *handle);
void hg_native_code_gone(enum hg_kind kind, const void *handle, bool gone);
void hg_native_code_ctx_gone(CUcontext ctx);
size_t hg_native_module_vars(const void *module_or_library, struct hg_place *out, size_t max);
enum hg_status hg_native_kernel_info(const struct hg_function *f, const struct hg_kernel_info **out);
enum hg_status hg_native_refused(enum hg_status (*each)(const char *kernel, const char *why, void *arg), void *arg);
/* What of the loaded code's state no snapshot reaches, as phrases. */
void hg_native_code_uncovered(void (*each)(const char *kind, const char *what, void *arg), void *arg);
enum hg_status hg_native_globals(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg) HG_MUST_CHECK;

/* native_state.c: memory and queues, for checkpoints. On the checkpoint thread, gate closed. */
enum hg_status hg_native_quiesce(uint32_t timeout_ms) HG_MUST_CHECK;
enum hg_status hg_native_regions(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg) HG_MUST_CHECK;
enum hg_status hg_native_read(const struct hg_region *r, void *dst, uint64_t offset, size_t size) HG_MUST_CHECK;
/* Gives back what the reads used. */
void hg_native_read_end(void);

/* Around calls that act on the current context, on hgshim's own threads; a failure is said. */
enum hg_status hg_native_ctx_push(CUcontext ctx) HG_MUST_CHECK;
enum hg_status hg_native_ctx_pop(void) HG_MUST_CHECK;

/* The contexts that the application has, by handle. */
struct hg_native_ctxs {
	size_t nr;
	struct { uint64_t id; CUcontext handle; } ctx[64];
};
/* HG_ERR_REFUSED with a reason when there are more. */
enum hg_status hg_native_ctxs(struct hg_native_ctxs *out) HG_MUST_CHECK;

#endif
