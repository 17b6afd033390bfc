/* native_mem.h - memory that hgshim places itself in front of the real driver, so that it can outlive that driver. */
#ifndef HG_INTERCEPT_NATIVE_MEM_H
#define HG_INTERCEPT_NATIVE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "intercept/native.h"

/*
 * Pinned host memory (cuMemHostAlloc, cuMemAllocHost) is always hgshim's own mapping, registered with the driver: the
 * application's threads may use it at any time, so it must not move or vanish when the process changes its driver.
 * Where the driver cannot use registered memory at the host's address, or for write-combined memory, it is the driver's.
 *
 * Device memory is the driver's, unless HGSHIM_ARENA is set: then it is placed through the driver's virtual memory
 * management (cuMemAddressReserve, cuMemCreate, cuMemMap) in one range of addresses of our choosing (1: the default
 * base, HG_ARENA_BASE; else the base itself), granule by granule, small allocations sharing one.
 *
 * What is wrong with a call (no current context, size 0, a bad flag) the driver itself is left to say: such a call is passed on.
 *
 * All functions may be called from any thread. Nothing here records or passes the gate: these functions stand in the
 * place of the driver's own. No lock is held while the driver is called.
 */

/* Once, when hg_nv is filled and before cuInit. HG_ERR_INVALID: HGSHIM_ARENA is no address, said. */
enum hg_status hg_native_mem_init(void) HG_MUST_CHECK;
/* What takes the place of a driver's function, flavoured symbols (_ptsz) included; NULL: the driver's own is used. */
void *hg_native_mem_proc(const char *symbol);
bool hg_native_mem_has_arena(void);

/* Who owns the host memory that begins there: hgshim (true) or the driver. */
bool hg_native_mem_owns_host(uint64_t addr);
/* Likewise for device memory: in the arena, or the driver's. */
bool hg_native_mem_owns_device(uint64_t addr);

/*
 * A context was destroyed, or a primary one reset: what was allocated in it is gone. Right after that call of the
 * driver, and before the handle can come again.
 */
void hg_native_mem_ctx_gone(CUcontext ctx);

/*
 * For the switch to another driver, gate closed, queues empty, a context current if there is any: gives every device range
 * of the arena and its reservation back to the driver, and unregisters hgshim's host memory, which stays mapped and from
 * then on is nobody's here. Goes on where a call of the driver fails; each failure is said (HG_NV_SAY). Returns how many failed.
 */
unsigned int hg_native_mem_release(void);

#endif
