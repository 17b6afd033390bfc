/* native.h - the real CUDA driver behind hgshim. */
#ifndef HG_INTERCEPT_NATIVE_H
#define HG_INTERCEPT_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "intercept/symbols.h"

/*
 * The driver's own functions, as named; NULL: it lacks the call. Filled once, when the executor is loaded. What the
 * application's calls reach is hg_real, where some are replaced (native_mem.h).
 */
extern struct hg_real hg_nv;

/* A call of the driver for people: "'cuMemAlloc_v2' failed with CUDA_ERROR_OUT_OF_MEMORY". One message, on stderr. */
void hg_nv_say(const char *symbol, CUresult r);
#define HG_NV_SAY(sym, r) hg_nv_say(#sym, r)

#endif
