/* native_arena.h - the real driver's device memory at addresses of our choosing. Used by native_mem.c alone. */
#ifndef HG_INTERCEPT_NATIVE_ARENA_H
#define HG_INTERCEPT_NATIVE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "intercept/native.h"

/*
 * One reservation of addresses for the process, made at the first allocation. Memory is mapped there in chunks: whole
 * granules of one device's memory. An allocation above half a granule has a chunk of its own; smaller ones share chunks of one
 * granule each, at multiples of 512 bytes. A shared chunk in which nothing lies any more is unmapped, except for one
 * for each device. A device reaches its own chunks, and no other's.
 *
 * A block belongs to the context in which it was allocated, as the driver's own memory does: with it, it ends.
 *
 * Where the driver cannot do this (no virtual memory management, the addresses are taken), that is said once, and
 * the memory is the driver's.
 *
 * Locks: one mutex for the bookkeeping, never held while the driver is called, since a call of the driver may wait for
 * work that waits for another thread; and one that only makes the reservation happen once.
 */

/* `base` is a multiple of HG_ARENA_GRANULE. */
void hg_native_arena_init(uint64_t base);
bool hg_native_arena_is_on(void);	/* initialised, and neither given up nor released */
/* As hg_native_mem_proc. */
void *hg_native_arena_proc(const char *symbol);
bool hg_native_arena_owns(uint64_t addr);
void hg_native_arena_ctx_gone(CUcontext ctx);
/* Returns how many calls of the driver failed; afterwards nothing is in the arena, and it is off. */
unsigned int hg_native_arena_release(void);

/*
 * In native_mem.c: waits for all work of a context, and of the one that is current (`current`, not NULL) if that is another.
 */
CUresult hg_native_mem_wait(CUcontext ctx, CUcontext current);

/* A row of a table of replacements; does not compile where the function has another prototype than the symbol. */
struct hg_native_row {
	const char *symbol;
	size_t real;		/* offset in struct hg_real */
	void *fn;
};

#define HG_NATIVE_ROW(sym, fn) { #sym, offsetof(struct hg_real, sym), (void *)(1 ? (fn) : (__typeof__(sym) *)NULL) }

/* NULL: not in the table, or the driver itself lacks the call. */
void *hg_native_row_find(const struct hg_native_row *row, size_t nr_rows, const char *symbol);

#endif
