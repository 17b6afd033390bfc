/* replay_priv.h - what the files of the replay engine share. */
#ifndef HG_REPLAY_REPLAY_PRIV_H
#define HG_REPLAY_REPLAY_PRIV_H

#ifndef __CUDA_API_VERSION_INTERNAL
#define __CUDA_API_VERSION_INTERNAL
#endif
#include <cuda.h>

#include "common/idmap.h"
#include "common/place.h"
#include "logdb/view.h"
#include "replay/driver.h"
#include "replay/replay.h"
#include "replay/reserve.h"
#include "replay/sides.h"

#define CU(symbol) ((__typeof__(symbol) *)hg_driver_proc(#symbol))

/* A launch, and the buffers that its parameters point into. */
struct rp_launch {
	uint64_t seq;
	uint32_t stack;
	const char *kernel;		/* lives as long as its module; copied when reported */
	unsigned int nr_ptrs;
	uint64_t ptr[8];		/* base addresses of allocations; more than fit: nr_ptrs is 9, any buffer */
};

/*
 * A snapshot's state is rebuilt in two steps: first whatever needs no address, so that an object that cannot be made again
 * is found before anything is mapped, then memory. Modules are loaded in the first and get their variables in the second.
 */
enum rp_phase { RP_OBJECTS, RP_MEMORY, RP_TAIL };

struct hg_replay {
	struct hg_log *log;
	enum rp_phase phase;
	bool in_place;				/* in the process itself: see restore.h */
	struct hg_replay_options opt;
	struct hg_replay_report report;
	const struct hg_snapshot *snapshot;	/* NULL: from the start */
	struct hg_reserve reserve;
	struct hg_reserve device;	/* of these, where device memory lies: ranges alone, nothing is held */
	struct hg_idmap ids;		/* object id -> handle or address */
	bool driver_open;
	uint64_t page;
	uint64_t only_ctx;		/* handle of the one context that was ever made; 0: none or several */
	unsigned int nr_ctxs;
	struct hg_ivmap registered;	/* memory mapped for what the application registered */

	/* the tail */
	uint64_t expected;		/* number of the next record, if none is missing */
	uint64_t next_check;		/* number of the next later snapshot, 0: none */
	uint64_t checked_seq;		/* up to here everything is known to be equal */
	struct rp_launch *launch;	/* since then */
	size_t nr_launches, launch_capacity;
	uint64_t tail_total;
	bool stop;
	enum hg_status verdict;		/* the first HG_ERR_DIFFERS or HG_ERR_FAULT */
};

/* replay.c */
struct hg_replay *rp_new(struct hg_log *log, const struct hg_replay_options *opt);	/* NULL: no memory */
/* The steps of a rebuild, with the driver open. */
enum hg_status rp_rebuild_objects(struct hg_replay *r) HG_MUST_CHECK;
enum hg_status rp_rebuild_memory(struct hg_replay *r) HG_MUST_CHECK;
enum hg_status rp_upload(struct hg_replay *r) HG_MUST_CHECK;
bool rp_is_memory(const struct hg_object *o);
void rp_progress(struct hg_replay *r, enum hg_replay_phase phase, uint64_t done, uint64_t total);
void rp_stop(struct hg_replay *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The address that such a record gave, or 0. */
uint64_t rp_memory_addr(const struct hg_rec_view *v);
/* The places at the end of a MODULE record. */
enum hg_status rp_places(const struct hg_rec_view *v, struct hg_place **out, size_t *nr) HG_MUST_CHECK;

/* dispatch.c */
/* RP_MEMORY: gives a module that was loaded before, by the record that did it, its variables. */
enum hg_status rp_module_vars(struct hg_replay *r, const struct hg_rec_view *v) HG_MUST_CHECK;
/* Does a recorded call again. What differs from the record stops the tail; it is said in the report. */
enum hg_status rp_call(struct hg_replay *r, const struct hg_rec_view *v) HG_MUST_CHECK;

/* verify.c */
/* All regions of a snapshot, or (later: after a tail) those that only kernels and copies write. */
enum hg_status rp_verify(struct hg_replay *r, const struct hg_snapshot *s, bool later) HG_MUST_CHECK;
/* Remembers a launch, to be able to say which one made a difference. */
void rp_launch_note(struct hg_replay *r, const struct hg_rec_view *v, const struct hg_kernel_info *k,
		    const unsigned char *params);
/* The first launch since all was equal that had a pointer into the buffer at addr; addr 0: any launch. */
void rp_suspect(struct hg_replay *r, uint64_t addr);
/* This launch, and no other. */
void rp_suspect_exactly(struct hg_replay *r, const struct hg_rec_view *v, const struct hg_kernel_info *k);

/* How far two pieces of memory are apart; zero-initialised, then told of each piece in turn. */
struct rp_difference {
	uint64_t first, nr_bytes;	/* offset of the first byte that differs, how many do */
	uint64_t max_ulp;		/* as 32-bit floats; UINT32_MAX: too far, or no numbers */
	bool any;
};
/* offset: of the piece in the whole, a multiple of 4. */
void rp_differ(struct rp_difference *d, uint64_t offset, const unsigned char *have, const unsigned char *want, size_t size);

/* sides.c */
/*
 * Around a launch, if r->opt.side is there. Before it all work ends, and if this launch is one to be looked at (rp_side_is_looking), memory
 * is read. launched: at once after the call, with its result; what was said in between is kept as the reason where the target refuses the kernel.
 * After it: for a launch that is looked at, when it has ended. size: bytes of params.
 */
enum hg_status rp_side_before(struct hg_replay *r, const struct hg_rec_view *v, const struct hg_kernel_info *k,
			      const unsigned char *params, size_t size) HG_MUST_CHECK;
enum hg_status rp_side_launched(struct hg_replay *r, const struct hg_kernel_info *k, CUresult result) HG_MUST_CHECK;
bool rp_side_is_looking(const struct hg_replay *r);
enum hg_status rp_side_after(struct hg_replay *r, const struct hg_rec_view *v) HG_MUST_CHECK;

#endif
