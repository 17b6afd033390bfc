/* driver_find.h - where the real driver's file is. */
#ifndef HG_INTERCEPT_DRIVER_FIND_H
#define HG_INTERCEPT_DRIVER_FIND_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/status.h"

/*
 * The absolute path, links resolved, of the driver to be opened: HGSHIM_DRIVER (a file, or its folder), else the first
 * libcuda.so.1 in LD_LIBRARY_PATH, the loader's cache and the usual folders that is a driver and not hgshim.
 * HG_ERR_UNAVAILABLE with a message that says where was looked.
 */
enum hg_status hg_driver_find(char out[PATH_MAX]) HG_MUST_CHECK;

/* Would it find one? Says nothing. */
bool hg_driver_is_there(void);
/* A library of another vendor, where the same is looked for. Says nothing. */
bool hg_driver_has_library(const char *name);

/* The entries of a loader's cache with that name, in order, until `each` returns true; false: it never did. */
bool hg_driver_in_cache(const void *data, size_t size, const char *name, bool (*each)(const char *path, void *arg), void *arg);

#endif
