/* native_tables.h - NVIDIA's undocumented tables when its driver is behind hgshim. */
#ifndef HG_INTERCEPT_NATIVE_TABLES_H
#define HG_INTERCEPT_NATIVE_TABLES_H

#include "intercept/symbols.h"

/*
 * cuGetExportTable. The runtime's table and the checksum's keep their address, which the checksum covers; in the former,
 * slots that load code or name a context are replaced in place. Context-local storage is hgshim's. A table that nobody has
 * described is handed out as a copy whose functions note that they were called.
 */
CUresult hg_native_table(const char uuid[16], const void **out);
/* The primary context's handle, active or not, as the driver's table has it; NULL: no such device, or no table. */
CUcontext hg_native_primary_ctx(CUdevice dev);
/* Functions of undescribed tables that were called. */
void hg_native_tables_uncovered(void (*each)(const char *kind, const char *what, void *arg), void *arg);
/* From now on no table that was handed out leads into the driver. Gate closed. */
void hg_native_tables_switch(void);

#endif
