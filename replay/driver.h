/* driver.h - the portable CUDA driver: the CUDA driver API, once, on top of any target. */
#ifndef HG_REPLAY_DRIVER_H
#define HG_REPLAY_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/place.h"
#include "common/status.h"
#include "logdb/recorder.h"
#include "replay/target.h"

/*
 * One driver per process. hg_driver_open must come first; then the functions that hg_driver_proc
 * hands out may be called from any thread, as the CUDA driver API documents them.
 */
enum hg_status hg_driver_open(const struct hg_target_ops *target) HG_MUST_CHECK;
/* With so many devices, whatever HGSHIM_DEVICES says. */
enum hg_status hg_driver_open_devices(const struct hg_target_ops *target, int nr_devices) HG_MUST_CHECK;
void hg_driver_close(void);

/*
 * To change the target of a driver that is open: with nobody inside, all queues empty, on one thread. Does nothing when none is open.
 *
 * hg_driver_step_aside: another one can be opened; HG_ERR_REFUSED, with a message, when this one cannot be left.
 * hg_driver_step_back: after the other one was closed: this one goes on, as if nothing had been.
 * hg_driver_leave: this one is closed for good, the other one stays. Its host memory stays where it is, with its bytes: the
 * other one adopts it. Threads may have had contexts and default streams in it, whose names mean nothing any more.
 */
enum hg_status hg_driver_step_aside(void) HG_MUST_CHECK;
void hg_driver_step_back(void);
void hg_driver_leave(void);

/*
 * The implementation of a versioned ABI symbol such as "cuMemAlloc_v2", with exactly that symbol's
 * prototype; NULL when the portable driver does not have the call. driver.def lists them, the
 * per-thread variants (_ptsz, _ptds) included.
 */
void *hg_driver_proc(const char *symbol);

/*
 * Where the next object created by this thread must lie: the address of an allocation, or the
 * addresses of a module's variables by name. Consumed by the next creating call, which fails
 * with CUDA_ERROR_OUT_OF_MEMORY, saying which range is taken, if one is not free. An allocation or a host
 * allocation takes the first place without a name; a module takes those with names, and variables
 * that are not named go anywhere. The places are copied. (struct hg_place: common/place.h.)
 */
void hg_driver_place(const struct hg_place *place, size_t nr_places);

/*
 * For rebuilding, on one thread, nobody else inside.
 *
 * hg_driver_adopt: from now on this thread's host allocations with a place find their memory there, with its bytes;
 * they take it over, and freeing it unmaps it.
 * hg_driver_hold: nothing gets these addresses but what is placed at addr, until hg_driver_hold_end. Needed for addresses
 * in the arena alone, others are free to hold.
 * hg_driver_vars_later: modules that are loaded from now on know the addresses of their variables, but have no memory
 * there until hg_driver_vars_now. HG_ERR_NOSPC: what is in the way has been said.
 * hg_driver_map_unit: what is mapped at an address is a multiple of this, also in hg_reserve's sense; needs no driver.
 */
void hg_driver_adopt(bool on);
enum hg_status hg_driver_hold(uint64_t addr, uint64_t size) HG_MUST_CHECK;
void hg_driver_hold_end(void);
void hg_driver_vars_later(bool on);
enum hg_status hg_driver_vars_now(const void *module_or_library) HG_MUST_CHECK;
uint64_t hg_driver_map_unit(const struct hg_target_ops *target, uint64_t addr);

/*
 * The context that cuDevicePrimaryCtxRetain(device) will return, without retaining or activating it; a
 * CUcontext. NULL: no such device.
 */
void *hg_driver_primary_ctx(int device);

/*
 * Parameters of a kernel, to know a launch's parameter block: a live CUfunction or CUkernel, else
 * HG_ERR_INVALID without a message. Lives as long as its module.
 */
enum hg_status hg_driver_kernel_info(const void *function, const struct hg_kernel_info **out) HG_MUST_CHECK;

/*
 * Packs a launch's parameters into one block as the kernel reads it: from kernelParams or from `extra`, either of which
 * may be NULL. `size` must be the kernel's param_bytes. HG_ERR_INVALID: they do not fit.
 */
enum hg_status hg_driver_params_pack(const struct hg_kernel_info *k, void **params, void **extra,
				     void *block, size_t size) HG_MUST_CHECK;

/* The addresses given to a module's or library's variables, as hg_driver_place takes them back. */
size_t hg_driver_module_vars(const void *module_or_library, struct hg_place *out, size_t max);

/*
 * Arrays, textures and surfaces are device memory, whose addresses are their handles (driver_array.c, driver_texture.c).
 *
 * hg_driver_array_place: where the texels of a CUarray are, in rows and slices; false: no such array.
 * hg_driver_size: bytes of the allocation that begins there, 0: none does.
 * hg_driver_image_memory: memory for one, at the place given to this thread, zeroed: for a rebuild, which uploads what it holds.
 * call: enum hg_call_id of the call that had made it.
 */
struct hg_array_place {
	uint64_t addr, pitch, slice, row_bytes;
};
bool hg_driver_array_place(const void *array, struct hg_array_place *out);
uint64_t hg_driver_size(hg_dptr addr);
int hg_driver_image_memory(uint32_t call, uint64_t size, hg_dptr *out) HG_MUST_CHECK;	/* CUresult */

/* Replay acts for recorded threads: current context, per-thread stream. 0: the calling thread itself. */
void hg_driver_act_as(uint32_t thread);
void hg_driver_act_end(void);		/* forgets them; the calling thread acts for itself again */

/*
 * Names. A handle that the driver gives out is an object's name; by itself that is an address of this process. A process
 * that had another driver before holds that one's handles: they become names of the objects that take their place.
 * To be called while nobody else is inside the driver.
 */
enum hg_handle {
	HG_HANDLE_CTX = 1, HG_HANDLE_STREAM, HG_HANDLE_EVENT, HG_HANDLE_MODULE, HG_HANDLE_LIBRARY,
	HG_HANDLE_FUNCTION,	/* a CUfunction, which names the same object as the CUkernel that it comes from */
	HG_HANDLE_KERNEL, HG_HANDLE_POOL,
};

/*
 * Lets the object that `handle` names be called `name` as well. The first name given is the one that calls give out from
 * now on, and takes the place of the object's own; later ones are only understood. HG_ERR_INVALID, without a message:
 * no such object, another object of its kind has the name, or it is one that CUDA keeps for itself (up to 2).
 */
enum hg_status hg_driver_name(enum hg_handle kind, const void *handle, uint64_t name) HG_MUST_CHECK;
/* No object takes this name by itself: it is going to be given. May be called before hg_driver_open. */
enum hg_status hg_driver_name_promise(uint64_t name) HG_MUST_CHECK;
void hg_driver_name_kept(void);		/* all promised names were given, or never will be */

/* Waits until all queues are idle. New work must be kept away by the caller (the gate). */
enum hg_status hg_driver_quiesce(uint32_t timeout_ms) HG_MUST_CHECK;

/* Every region of memory that makes up the state. `object` holds the handle or address, not an id. */
enum hg_status hg_driver_regions(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg) HG_MUST_CHECK;
/* Is all of [addr, addr+size) in one allocation, variable or piece of host memory? */
bool hg_driver_has(hg_dptr addr, uint64_t size);
enum hg_status hg_driver_read(void *dst, hg_dptr src, size_t size) HG_MUST_CHECK;
enum hg_status hg_driver_write(hg_dptr dst, const void *src, size_t size) HG_MUST_CHECK;

/* Kernels of loaded modules that cannot run on this target, for the coverage manifest. */
enum hg_status hg_driver_refused(enum hg_status (*each)(const char *kernel, const char *why, void *arg), void *arg) HG_MUST_CHECK;

#endif
