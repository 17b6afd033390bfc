/* driver_open.h - dlopen, overridden for the driver's names. */
#ifndef HG_INTERCEPT_DRIVER_OPEN_H
#define HG_INTERCEPT_DRIVER_OPEN_H

#include <stdbool.h>

/* Is the last part of the path libcuda.so, with or without a version? NULL: no. */
bool hg_is_driver_name(const char *path);

/* The C library's dlopen: for files that hgshim itself opens. */
void *hg_real_dlopen(const char *path, int flags);

/* From now on closing this library's handle does not unload it: threads and pointers of hgshim stay. */
void hg_stay_loaded(void);

#endif
