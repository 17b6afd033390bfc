/* simt_llvm.h - the lowest layer of the doubles' executor: modules out of LLVM IR, and what their code may call. */
#ifndef TESTS_DRIVERS_SIMT_LLVM_H
#define TESTS_DRIVERS_SIMT_LLVM_H

#include <llvm-c/Core.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "tests/drivers/simt/simt.h"

/*
 * A kernel is a function `void name(struct simt_item *self)` of scalar code for one work-item. It knows nothing but
 * its argument: where it is, its memory and its neighbours are in the structures below (read with plain loads at
 * offsetof, constant while the work-item runs) or asked for through the functions below, by their names
 * in C. It may also call fma, memcpy and the like, and the functions that its module brought along.
 *
 * Nothing here knows a vendor or a form of code: hgIR (simt_hgir.c) is one client, IR made for or read back
 * from other devices is another.
 */
#define SIMT_MAX_LANES 64	/* of a warp, wave or sub-group; 32 or 64 */
#define SIMT_MAX_ITEMS 1024	/* of a block, or work-group */

/* One block's constants. */
struct simt_env {
	const unsigned char *params;
	const uint64_t *var_addr;
	unsigned char *shared;		/* static, then dynamic; 128-byte aligned, zeros when the block begins */
	uint64_t grid_barrier;		/* address of { u32 size, u32 barrier }, zeros at the start; 0: not cooperative */
	uint64_t grid_id;
	uint32_t ntid[3], ctaid[3], nctaid[3];
	uint32_t lanes, nr_warps;
	uint32_t shared_bytes, dynamic_shared_bytes;	/* total; dynamic alone */
};

struct simt_item {
	const struct simt_env *env;
	unsigned char *local;		/* local_bytes of the kernel, 64-byte aligned, zeros at the start; 0 where it has none */
	uint32_t tid[3];
	uint32_t lane, warp;
	uint32_t patience;		/* counted down by loops that may wait; at 0 they call simt_yield, which sets it anew */
};
typedef void (*simt_entry)(struct simt_item *self);

/* ---- what kernels call; every function may switch to other work-items unless it says otherwise ---- */

/*
 * A rendezvous of lanes: waits until all lanes of `mask` (bit n: lane n of the caller's warp) that have not
 * exited called this with the same `op` and `mask`; op is any number that names the operation. (*values)[n] is then
 * the value of lane n, for lanes in the result: those that took part. It may be read until the caller calls one of these
 * functions again. The caller must be in its mask.
 */
uint64_t simt_meet(struct simt_item *self, uint32_t op, uint64_t mask, uint64_t value, const uint64_t **values);
/*
 * The lanes that are at this place together. As lanes run one after the other, it waits until the warp's others have
 * come too, exited, or wait elsewhere; then those at the first place go on together. path[nr] says where and when a
 * place is, and is compared as words are in a dictionary: for each loop around it, from the outermost, a number that grows
 * along the program and how often it went round; then such a number of the place itself. One number
 * alone is right, and may put lanes together that are in different rounds.
 */
uint64_t simt_active(struct simt_item *self, const uint32_t *path, uint32_t nr);

/*
 * Barriers of a block, ids 0 to 15. count: work-items it waits for, a whole warp counting as its width; 0: all
 * that have not exited. Those at one barrier must name the same count.
 */
void simt_barrier(struct simt_item *self, uint32_t id, uint32_t count);
void simt_barrier_arrive(struct simt_item *self, uint32_t id, uint32_t count);	/* does not switch */
/* The same and counts: the low half of the result is for how many `pred` was true, the high half how many there were. */
uint64_t simt_barrier_count(struct simt_item *self, uint32_t id, uint32_t count, bool pred);

void simt_yield(struct simt_item *self);
void simt_sleep(struct simt_item *self, uint32_t ns);
uint64_t simt_clock(void);		/* cycles; does not switch */
uint64_t simt_timer(void);		/* ns since 1970; does not switch */
/* Ends the grid with HG_ERR_FAULT; `what` lives for ever. Does not return. */
void simt_trap(struct simt_item *self, const char *what) __attribute__((noreturn));
void simt_misaligned(struct simt_item *self, uint64_t addr) __attribute__((noreturn));

/* ---- modules ---- */

struct simt_kernel {
	const char *name;		/* of the function, and in messages; copied */
	uint32_t shared_bytes;		/* static */
	uint32_t local_bytes;
	uint32_t lanes;			/* a warp has this many, launches must agree; 0: any */
	bool waits;			/* calls a function that switches: its work-items need a fibre each */
	const char *refused;		/* why it cannot run, or NULL; copied */
};

struct simt_symbol {
	const char *name;
	void *addr;
};

/*
 * symbols[nr]: functions that the module's code may call besides those above; the array must live as long as the
 * module. Kernels are numbered in the order in which they are added.
 */
enum hg_status simt_module_create(const struct simt_symbol *symbols, size_t nr, struct simt_module **out) HG_MUST_CHECK;
/*
 * Adds kernels defined by one LLVM module; takes context and code, also on failure. The context must hold nothing else.
 * code NULL: all of them are refused. The target triple and data layout are set here. Compiled at the first launch of
 * one of them. Not thread-safe.
 */
enum hg_status simt_module_add(struct simt_module *m, LLVMContextRef context, LLVMModuleRef code,
			       const struct simt_kernel *k, size_t nr) HG_MUST_CHECK;

/*
 * The kernel's description and its code, compiled now if need be; of a kernel that does not wait, code that runs all
 * items of a block one after the other, as the one item that it is given. Thread-safe. HG_ERR_NOTFOUND: no such number.
 */
enum hg_status simt_module_kernel(struct simt_module *m, size_t i, const struct simt_kernel **k,
				  simt_entry *entry) HG_MUST_CHECK;

#endif
