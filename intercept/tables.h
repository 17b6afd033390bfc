/* tables.h - the undocumented tables of functions that the CUDA runtime asks its driver for. */
#ifndef HG_INTERCEPT_TABLES_H
#define HG_INTERCEPT_TABLES_H

#include "intercept/cuda_abi.h"

/*
 * The table of that UUID; it lives for ever. A table that nobody has described gets functions that do
 * nothing and return CUDA_ERROR_NOT_SUPPORTED, and a message.
 */
CUresult hg_table_get(const char uuid[16], const void **out);

/*
 * Storage that a library keeps with a context, by key. Destructors run when the context goes:
 * hg_local_context_gone, before the call that ends it.
 */
typedef void (*hg_local_dtor)(CUcontext ctx, void *key, void *value);
CUresult hg_local_put(CUcontext ctx, void *key, void *value, hg_local_dtor dtor);
CUresult hg_local_delete(CUcontext ctx, void *key);
CUresult hg_local_get(void **value, CUcontext ctx, void *key);
void hg_local_context_gone(CUcontext ctx);

/* The handle of a device's primary context, whether or not it is active. */
CUresult hg_primary_context(CUcontext *out, CUdevice dev);

#endif
