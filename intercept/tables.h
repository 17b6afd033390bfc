/* tables.h - the undocumented tables of functions that the CUDA runtime asks its driver for. */
#ifndef HG_INTERCEPT_TABLES_H
#define HG_INTERCEPT_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "intercept/cuda_abi.h"

/*
 * The table of that UUID; it lives for ever. A table that nobody has described gets functions that do
 * nothing and return CUDA_ERROR_NOT_SUPPORTED, and a message.
 */
CUresult hg_table_get(const char uuid[16], const void **out);

/* Tables with a part of their own: what the runtime alone may do, context-local storage, the checksum. */
extern const unsigned char hg_table_runtime[16], hg_table_local[16], hg_table_checksum[16];
/* hgshim's own slots of a table that is described; NULL: it is not. */
void **hg_table_ours(const unsigned char uuid[16], size_t *nr_slots);
bool hg_table_is_known(const unsigned char uuid[16]);
/* hgshim's own function for a slot, of a table of which only some slots are described, too; NULL: it is not described. */
void *hg_table_function(const unsigned char uuid[16], size_t slot);
/*
 * Where the application has the runtime's table and the checksum's, if not at ours: in a driver that the process has left,
 * with our functions in them. The checksum covers these addresses. NULL: no change.
 */
void hg_table_addresses(const void *runtime, const void *checksum);

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
