/* grid.c - runs grids of blocks of a compiled kernel on the threads of the CPU. */
#define _GNU_SOURCE
#include "replay/grid.h"

#include <emmintrin.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "replay/cpu_fault.h"
#include "replay/device_print.h"
#include "replay/fault.h"
#include "translate/cpu_abi.h"
#include "translate/cpu_rt.h"

/*
 * A job is one grid. Threads take blocks of it in order and run each until its end; a block whose warps
 * all spin is put aside, with its frames, so that whatever it waits for gets a turn. That gives every
 * block of a cooperative grid its turn too: all of them become resident if they have to.
 */
#define NR_BARRIERS 16
#define WARP_ALIGN 64
#define MAX_THREADS 1024
#define LINE 128	/* bytes that processors hand to each other, with those they fetch along */
#define DEFAULT_STACK 2048

struct warp {
	struct hg_cpu_frame *frame;
	bool done, runnable;
	bool in_free;		/* the variant that yielded last, which alone knows its yield points */
	uint32_t stuck;		/* spins in a row while other lanes of the warp were pending */
	uint64_t stuck_since;	/* ns, of the STUCK_SPINS-th of them */
};

struct barrier {
	uint32_t count;		/* threads that bar.arrive named; 0: nobody came by it */
	uint32_t base;		/* threads that came by it, beyond those of `arrived` */
	uint32_t arrived[MAX_THREADS / HG_WARP];	/* lanes of each warp that did */
};

struct block {
	struct hg_cpu_env env;		/* first: helpers get a pointer to it */
	struct job *job;
	struct hg_cpu_run *run;		/* of the thread that runs it */
	struct block *next;		/* parked or free */
	uint32_t nr_warps, nr_done;
	bool whole;		/* all warps run in one call, and no frame says anything but `alive` */
	bool came_and_went;	/* a bar.arrive was done: there is something in `barrier` */
	struct warp warp[MAX_THREADS / HG_WARP];
	struct barrier barrier[NR_BARRIERS];
};

struct job {
	struct hg_cpu_kernel *kernel;
	const struct hg_cpu_kernel_info *info;
	const struct hg_grid *g;
	uint64_t nr_blocks;
	uint32_t nr_threads, nr_warps;	/* of a block */
	uint32_t *tid;			/* x, y, z of 32 lanes for each warp of a block */
	size_t spill_bytes, shared_bytes, block_bytes;
	uint32_t lane_bytes;		/* of local memory, with the stack */
	uint32_t shape;			/* enum hg_cpu_shape */
	uint32_t warp_bytes;		/* a frame, what spills, and local memory */
	struct { uint32_t size, barrier; } workspace;	/* what %envreg1/2 point to */

	_Atomic bool failed;
	_Atomic uint32_t claim;		/* blocks that a thread takes at once */
	/* what is written often, apart from what every block reads */
	_Alignas(LINE) _Atomic uint64_t next;	/* block to start */
	_Alignas(LINE) _Atomic uint64_t left;	/* blocks not finished */

	_Alignas(LINE) pthread_mutex_t lock;		/* parked, spare, fault */
	struct block *parked, **parked_end, *spare;
	_Atomic bool any_parked;	/* a block was put aside */
	uint32_t nr_parked, since_new;	/* blocks put aside; taken from there since a new one began */
	struct hg_fault *fault;
	enum hg_status st;

	/* under pool.lock */
	uint32_t users;
	struct job *next_job;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work, idle;	/* a job came; a job lost its last user */
	struct job *jobs;
	pthread_t *thread;
	uint32_t nr_threads;		/* that run */
	pid_t pid;			/* of the process that started them */
	bool stop;
	struct hg_cpu_rt rt;
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.idle = PTHREAD_COND_INITIALIZER,
};

/* ---- barriers ---- */

static uint32_t popcount(uint32_t v)
{
	return (uint32_t)__builtin_popcount(v);
}

/* The lanes whose element of a frame's array has this value. */
static uint32_t lanes_with(const uint32_t array[HG_WARP], uint32_t value)
{
	const __m128i v = _mm_set1_epi32((int)value);
	uint32_t at = 0;

	for (unsigned int i = 0; i < HG_WARP; i += 4) {
		__m128i is = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *)(array + i)), v);

		at |= (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(is)) << i;
	}
	return at;
}

/* The lanes of a warp that wait at a barrier. */
static uint32_t lanes_at(const struct hg_cpu_frame *f, uint32_t id)
{
	uint32_t waiting = f->waiting & f->alive;

	if (f->same)
		return f->same_barrier == id ? waiting : 0;
	return waiting ? lanes_with(f->barrier, id) & waiting : 0;
}

/* A whole warp counts as 32 threads, also where its block is not a multiple of 32 or some lanes have exited. */
static uint32_t counted(const struct hg_cpu_frame *f, uint32_t lanes)
{
	return lanes && !(f->alive & ~lanes) ? HG_WARP : popcount(lanes);
}

static void bar_arrive(struct hg_cpu_frame *f, const struct hg_cpu_env *env, uint32_t mask, const uint32_t *id,
		       const uint32_t *count)
{
	struct block *b = (struct block *)(uintptr_t)env;

	b->came_and_went = true;
	for (uint32_t left = mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left), *arrived;
		struct barrier *bar;

		if (id[lane] >= NR_BARRIERS || !count[lane])
			hg_cpu_fault_raise_at(HG_CPU_FAULT_BARRIER, id[lane], left & -left, 0);
		bar = &b->barrier[id[lane]];
		arrived = &bar->arrived[f->warp];
		if (*arrived >> lane & 1) {	/* once more before it opened */
			bar->base += counted(f, *arrived);
			*arrived = 0;
		}
		*arrived |= left & -left;
		bar->count = count[lane];
	}
}

static void release(struct block *b, uint32_t id)
{
	uint32_t nr_true = 0, nr_red = 0;

	for (uint32_t w = 0; w < b->nr_warps; w++) {
		const struct hg_cpu_frame *f = b->warp[w].frame;

		for (uint32_t left = lanes_at(f, id) & f->red; left; left &= left - 1) {
			nr_red++;
			nr_true += f->pred[__builtin_ctz(left)] != 0;
		}
	}
	for (uint32_t w = 0; w < b->nr_warps; w++) {
		struct warp *warp = &b->warp[w];
		struct hg_cpu_frame *f = warp->frame;
		uint32_t lanes = lanes_at(f, id);

		if (!lanes)
			continue;
		for (uint32_t left = lanes & f->red; left; left &= left - 1) {
			uint32_t lane = (uint32_t)__builtin_ctz(left);

			f->pred[lane] = f->red_op[lane] == IR_BARRED_POPC ? nr_true :
					f->red_op[lane] == IR_BARRED_AND ? nr_true == nr_red : nr_true > 0;
		}
		f->waiting &= ~lanes;
		f->red &= ~lanes;
		/* at a yield point of the whole warp its lanes go on together or not at all */
		if (f->resume < HG_CPU_POINT || !f->waiting)
			warp->runnable = true;
	}
	b->barrier[id] = (struct barrier){ 0 };
}

/* All threads of the block may be said as 0, or as their number. */
static bool is_all(const struct block *b, uint32_t count)
{
	return !count || count == b->job->nr_threads || count == b->nr_warps * HG_WARP;
}

/* Threads that are at a barrier: those that wait, and those that came and went on. */
static uint32_t came(const struct block *b, uint32_t id)
{
	const struct barrier *bar = &b->barrier[id];
	uint32_t nr = bar->base;

	for (uint32_t w = 0; w < b->nr_warps; w++)
		nr += counted(b->warp[w].frame, lanes_at(b->warp[w].frame, id) | bar->arrived[w]);
	return nr;
}

/* Opens every barrier that is complete; true if one was. */
static bool release_complete(struct block *b)
{
	uint32_t wait[NR_BARRIERS] = { 0 }, have[NR_BARRIERS] = { 0 }, need[NR_BARRIERS] = { 0 }, ids = 0, alive = 0;
	bool any = false;

	for (uint32_t w = 0; w < b->nr_warps; w++) {
		const struct hg_cpu_frame *f = b->warp[w].frame;
		uint32_t left = f->waiting & f->alive;

		if (b->warp[w].done)
			continue;
		alive += popcount(f->alive);
		while (left) {
			uint32_t lane = (uint32_t)__builtin_ctz(left), lanes;
			uint32_t id = f->same ? f->same_barrier : f->barrier[lane], count = f->same ? f->same_count : f->count[lane];

			if (id >= NR_BARRIERS)
				hg_cpu_fault_raise_at(HG_CPU_FAULT_BARRIER, id, 0, 0);
			lanes = lanes_at(f, id);
			if (!f->same)
				lanes &= lanes_with(f->count, count);
			if (ids & UINT32_C(1) << id && need[id] != count) {
				if (!is_all(b, need[id]) || !is_all(b, count))
					hg_cpu_fault_raise_at(HG_CPU_FAULT_BARRIER, id, 0, 0);
				count = 0;
			}
			ids |= UINT32_C(1) << id;
			need[id] = count;
			wait[id] += popcount(lanes);
			have[id] += counted(f, lanes);
			left &= ~lanes;
		}
	}
	for (uint32_t left = ids; left; left &= left - 1) {
		uint32_t id = (uint32_t)__builtin_ctz(left);
		const struct barrier *bar = &b->barrier[id];

		if (bar->count) {
			if (need[id] != bar->count && !(is_all(b, need[id]) && is_all(b, bar->count)))
				hg_cpu_fault_raise_at(HG_CPU_FAULT_BARRIER, id, 0, 0);
			need[id] = bar->count;
			have[id] = came(b, id);
		}
		if (need[id] ? have[id] >= need[id] : wait[id] == alive) {
			release(b, id);
			any = true;
		}
	}
	return any;
}

/* ---- checked memory ---- */

static bool is_inside(uint64_t addr, uint32_t size, const void *base, uint64_t room)
{
	uint64_t off = addr - (uintptr_t)base;

	return off < room && size <= room - off;
}

static bool may_access(const struct block *b, const struct hg_cpu_frame *f, uint32_t lane, uint64_t addr, uint32_t size,
		       enum ir_space space)
{
	const struct hg_cpu_kernel_info *info = b->job->info;
	bool any = space == IR_GENERIC;

	if ((any || space == IR_SHARED) && is_inside(addr, size, b->env.shared, b->env.shared_bytes))
		return true;
	if ((any || space == IR_LOCAL) &&
	    is_inside(addr, size, f->local + (size_t)lane * b->env.local_bytes, b->env.local_bytes))
		return true;
	if ((any || space == IR_PARAM) && is_inside(addr, size, b->env.params, info->param_bytes))
		return true;
	if (!any && space != IR_GLOBAL && space != IR_CONST)
		return false;
	return is_inside(addr, size, &b->job->workspace, sizeof(b->job->workspace)) ||
	       !hg_target_has_memory || hg_target_has_memory(addr, size);
}

static void check_access(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, const uint64_t *addr, uint32_t mask,
			 uint32_t size, uint32_t space, uint32_t line)
{
	const struct block *b = (const struct block *)(uintptr_t)env;

	for (uint32_t left = mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);

		if (space != IR_PARAM && addr[lane] & (size - 1))
			hg_cpu_fault_raise_at(HG_CPU_FAULT_MISALIGNED, addr[lane], left & -left, line);
		if (!may_access(b, f, lane, addr[lane], size, space))
			hg_cpu_fault_raise_at(HG_CPU_FAULT_ADDRESS, addr[lane], left & -left, line);
	}
}

/* ---- one block ---- */

enum block_end { BLOCK_DONE, BLOCK_SPINS, BLOCK_TRAP, BLOCK_STACK, BLOCK_DEADLOCK };

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/* Where a warp goes on that runs alone; its frame is otherwise new. */
static void warp_begin(struct warp *w, uint32_t resume, bool in_free)
{
	struct hg_cpu_frame *f = w->frame;

	f->waiting = f->blocked = f->red = f->stuck = f->same = 0;
	f->fault_line = f->fault_lanes = 0;
	f->resume = resume;
	*w = (struct warp){ .frame = f, .runnable = true, .in_free = in_free };
}

/* What stays the same for all blocks that use this memory. */
static void place_frames(struct job *job, struct block *b)
{
	unsigned char *at = (unsigned char *)b + round_up(sizeof(*b), 128) + job->shared_bytes;

	b->nr_warps = job->nr_warps;
	for (uint32_t w = 0; w < job->nr_warps; w++) {
		struct hg_cpu_frame *f = (struct hg_cpu_frame *)at;

		f->warp = w;
		f->tid = job->tid + (size_t)w * 3 * HG_WARP;
		f->spill = at + HG_CPU_FRAME_BYTES;
		f->local = f->spill + job->spill_bytes;
		at += job->warp_bytes;
		b->warp[w].frame = f;
	}
}

static struct block *block_get(struct job *job)
{
	struct block *b;

	pthread_mutex_lock(&job->lock);
	b = job->spare;
	if (b)
		job->spare = b->next;
	pthread_mutex_unlock(&job->lock);
	if (b)
		return b;
	b = aligned_alloc(WARP_ALIGN, job->block_bytes);
	if (b) {
		memset(b, 0, job->block_bytes);
		place_frames(job, b);
	}
	return b;
}

static void block_put(struct job *job, struct block *b)
{
	pthread_mutex_lock(&job->lock);
	b->next = job->spare;
	job->spare = b;
	pthread_mutex_unlock(&job->lock);
}

static void block_start(struct job *job, struct block *b, uint64_t index, uint32_t smid)
{
	const struct hg_grid *g = job->g;
	unsigned char *at = (unsigned char *)b + round_up(sizeof(*b), 128);

	b->job = job;
	b->nr_done = 0;
	/* two KiB: not for nothing */
	if (!b->whole || b->came_and_went)
		memset(b->barrier, 0, sizeof(b->barrier));
	b->came_and_went = false;
	b->env = (struct hg_cpu_env){
		.params = g->params,
		.var_addr = g->var_addr,
		.shared = at,
		.rt = &pool.rt,
		.grid_barrier = g->cooperative ? (uintptr_t)&job->workspace : 0,
		.grid_id = g->id,
		.ntid = { g->block[0], g->block[1], g->block[2] },
		.ctaid = { (uint32_t)(index % g->grid[0]), (uint32_t)(index / g->grid[0] % g->grid[1]),
			   (uint32_t)(index / g->grid[0] / g->grid[1]) },
		.nctaid = { g->grid[0], g->grid[1], g->grid[2] },
		.nr_warps = job->nr_warps,
		.shared_bytes = job->info->shared_bytes + g->shared_bytes,
		.dynamic_shared_bytes = g->shared_bytes,
		.smid = smid,
		.nsmid = hg_grid_nr_threads(),
		.shape = job->shape,
		.warp_bytes = job->warp_bytes,
		.local_bytes = job->lane_bytes,
	};
	/* a kernel that reads what it did not write gets the same bytes every time */
	memset(at, 0, job->info->shared_bytes + g->shared_bytes);
	for (uint32_t w = 0; w < job->nr_warps; w++) {
		struct hg_cpu_frame *f = b->warp[w].frame;
		uint32_t lanes = job->nr_threads - w * HG_WARP;

		f->alive = lanes >= HG_WARP ? UINT32_MAX : (UINT32_C(1) << lanes) - 1;
		warp_begin(&b->warp[w], HG_CPU_START, g->any_order);
	}
	b->whole = !g->any_order;
}

/*
 * Lanes of an ordinary warp that spin may wait for lanes that this order never lets run. More often they
 * wait for another block, and the other variant is slower: only a long wait tells.
 */
#define STUCK_SPINS 32
#define STUCK_NS 2000000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static enum hg_cpu_yield warp_run(struct job *job, struct block *b, struct warp *w)
{
	struct hg_cpu_frame *f = w->frame;
	enum hg_cpu_yield y;

	if (w->stuck == STUCK_SPINS)
		w->stuck_since = now_ns();
	if (!w->in_free && w->stuck > STUCK_SPINS && now_ns() - w->stuck_since > STUCK_NS) {
		f->resume = HG_CPU_LANES;
		f->waiting = f->blocked = f->red = 0;
	}
	do {
		hg_cpu_entry entry;

		/* a yield point belongs to its variant, and from this one there is no way back */
		w->in_free |= f->resume == HG_CPU_LANES;
		b->run->frame = f;
		entry = w->in_free ? hg_cpu_kernel_free_entry(job->kernel) : hg_cpu_kernel_entry(job->kernel);
		if (!entry)
			return HG_CPU_DEADLOCK;
		y = entry(f, &b->env);
	} while (y == HG_CPU_DEOPT);
	w->stuck = y == HG_CPU_SPIN && f->stuck ? w->stuck + 1 : 0;
	return y;
}

static void warp_done(struct block *b, struct warp *w)
{
	w->done = true;
	w->frame->alive = w->frame->waiting = 0;
	b->nr_done++;
}

/* All warps in one call, as far as that goes. Afterwards each is as if it had run alone, which is how they go on. */
static enum hg_cpu_yield whole_run(struct job *job, struct block *b)
{
	struct hg_cpu_frame *first = b->warp[0].frame;
	struct warp *w;
	enum hg_cpu_yield y;

	b->run->frame = first;
	b->env.whole_block = 1;
	first->running = 0;
	y = hg_cpu_kernel_entry(job->kernel)(first, &b->env);
	b->env.whole_block = 0;
	if (y == HG_CPU_BLOCK_DONE)
		return y;
	b->whole = false;
	for (uint32_t i = 0; i < b->nr_warps; i++) {
		w = &b->warp[i];
		if (i == first->running)
			continue;
		if (i > first->running) {
			warp_begin(w, first->others_resume, false);
			continue;
		}
		warp_begin(w, first->before_resume, false);
		if (first->before_resume == HG_CPU_ENDED) {
			warp_done(b, w);
		} else {
			w->runnable = false;
			w->frame->waiting = w->frame->alive;
			w->frame->same = 1;
			w->frame->same_barrier = w->frame->same_count = 0;
		}
	}
	w = &b->warp[first->running];
	*w = (struct warp){ .frame = w->frame, .runnable = y != HG_CPU_BARRIER, .stuck = y == HG_CPU_SPIN && w->frame->stuck };
	b->run->frame = w->frame;
	if (y == HG_CPU_DONE)
		warp_done(b, w);
	return y;
}

static enum block_end block_run(struct job *job, struct block *b)
{
	if (b->whole) {
		switch (whole_run(job, b)) {
		case HG_CPU_BLOCK_DONE: return BLOCK_DONE;
		case HG_CPU_TRAP: return BLOCK_TRAP;
		case HG_CPU_STACK: return BLOCK_STACK;
		case HG_CPU_DEADLOCK: return BLOCK_DEADLOCK;
		default: break;
		}
	}
	for (;;) {
		bool ran = false, only_spins = true;

		for (uint32_t i = 0; i < b->nr_warps; i++) {
			struct warp *w = &b->warp[i];

			if (w->done || !w->runnable)
				continue;
			ran = true;
			switch (warp_run(job, b, w)) {
			case HG_CPU_DONE:
				warp_done(b, w);
				only_spins = false;
				break;
			case HG_CPU_BARRIER:
				w->runnable = false;
				only_spins = false;
				break;
			case HG_CPU_SPIN:
				break;
			case HG_CPU_TRAP:
				return BLOCK_TRAP;
			case HG_CPU_STACK:
				return BLOCK_STACK;
			case HG_CPU_DEADLOCK:
			default:
				return BLOCK_DEADLOCK;
			}
		}
		if (b->nr_done == b->nr_warps)
			return BLOCK_DONE;
		if (release_complete(b))
			continue;
		if (!ran)
			return BLOCK_DEADLOCK;
		if (only_spins)
			return BLOCK_SPINS;
	}
}

/* ---- failures ---- */

static void job_fail(struct job *job, const struct hg_fault *fault)
{
	pthread_mutex_lock(&job->lock);
	if (!atomic_load(&job->failed)) {
		job->st = HG_ERR_FAULT;
		memcpy(job->fault->what, fault->what, sizeof(job->fault->what));
		job->fault->addr = fault->addr;
		job->fault->cuda_error = fault->cuda_error;
		atomic_store(&job->failed, true);
	}
	pthread_mutex_unlock(&job->lock);
}

static void job_no_memory(struct job *job, const char *for_what)
{
	struct hg_fault fault = { .cuda_error = HG_FAULT_OUT_OF_RESOURCES };

	snprintf(fault.what, sizeof(fault.what), "no memory for %s of kernel '%s'", for_what, job->info->name);
	job_fail(job, &fault);
}

#define WHERE "kernel '%s', block (%u,%u,%u)"
#define WHERE_ARGS(job, b) (job)->info->name, (b)->env.ctaid[0], (b)->env.ctaid[1], (b)->env.ctaid[2]

/* ", thread (1,0,0), PTX line 12", as far as it is known. */
static const char *thread_text(const struct hg_cpu_frame *f, uint32_t lanes, uint32_t line, char *out, size_t size)
{
	int n = 0;

	out[0] = 0;
	if (f && lanes) {
		unsigned int lane = (unsigned int)__builtin_ctz(lanes);

		n = snprintf(out, size, ", thread (%u,%u,%u)", f->tid[lane], f->tid[HG_WARP + lane], f->tid[2 * HG_WARP + lane]);
	} else if (f) {
		n = snprintf(out, size, ", warp %u", f->warp);
	}
	if (line && n >= 0 && (size_t)n < size)
		snprintf(out + n, size - (size_t)n, ", PTX line %u", line);
	return out;
}

/* The frame of the warp that ran when the block failed. */
static const struct hg_cpu_frame *running(const struct block *b)
{
	return b->env.whole_block ? b->warp[b->warp[0].frame->running].frame : b->run->frame;
}

static void describe(const struct job *job, const struct block *b, enum hg_gpu_fault kind, uint64_t addr, const char *who,
		     struct hg_fault *out)
{
	struct hg_fault_where w = { .kernel = job->info->name, .who = who, .addr = addr, .assertion = hg_print_assertion(),
				    .stack_bytes = job->lane_bytes - job->info->local_bytes };

	memcpy(w.block, b->env.ctaid, sizeof(w.block));
	hg_fault_describe(kind, &w, out);
}

static void block_failed(struct job *job, const struct block *b, enum block_end end)
{
	const struct hg_cpu_frame *f = running(b);
	struct hg_fault fault;
	char who[80];

	thread_text(f, f ? f->fault_lanes : 0, f ? f->fault_line : 0, who, sizeof(who));
	describe(job, b, end == BLOCK_TRAP ? HG_GPU_TRAP : end == BLOCK_STACK ? HG_GPU_STACK : HG_GPU_DEADLOCK, 0, who, &fault);
	job_fail(job, &fault);
}

static void block_faulted(struct job *job, const struct block *b, const struct hg_cpu_run *run)
{
	const struct hg_cpu_frame *f = running(b);
	unsigned long long addr = run->addr;
	uint32_t line = run->line, lanes = run->lanes;
	struct hg_fault fault;
	char who[128];

	if (run->state.pc) {
		hg_cpu_kernel_where(job->kernel, &run->state, &line, &lanes);
		if (!lanes && popcount(f->alive) == 1)
			lanes = f->alive;
	} else if (!line && f) {	/* the code itself found it */
		line = f->fault_line;
		lanes = f->fault_lanes;
	}
	thread_text(f, lanes, line, who, sizeof(who));
	/* one address for several lanes, or lanes that are far apart */
	if (run->state.pc && !lanes)
		strcat(who, "; HGSHIM_CHECK=memory names the thread");
	fault = (struct hg_fault){ .addr = addr };
	if (run->signo == 0 && run->kind != HG_CPU_FAULT_ADDRESS) {
		describe(job, b, run->kind == HG_CPU_FAULT_MISALIGNED ? HG_GPU_MISALIGNED :
				 run->kind == HG_CPU_FAULT_TEXTURE ? HG_GPU_TEXTURE :
				 run->kind == HG_CPU_FAULT_BARRIER ? HG_GPU_BARRIER :
				 run->kind == HG_CPU_FAULT_ASSERT ? HG_GPU_ASSERT : HG_GPU_BAD_INDEX, addr, who, &fault);
	} else if (run->signo == 0 || run->signo == SIGSEGV || run->signo == SIGBUS) {
		fault.cuda_error = HG_FAULT_ILLEGAL_ADDRESS;
		snprintf(fault.what, sizeof(fault.what), "illegal address 0x%llx in " WHERE "%s", addr, WHERE_ARGS(job, b), who);
	} else {
		fault.cuda_error = HG_FAULT_ILLEGAL_INSTRUCTION;
		snprintf(fault.what, sizeof(fault.what), "signal %d in " WHERE "%s", run->signo, WHERE_ARGS(job, b), who);
	}
	job_fail(job, &fault);
}

/* ---- the threads ---- */

/* With this many blocks put aside they get two turns each before another begins: their number is bounded by what they wait for. */
#define MANY_PARKED 64

static struct block *unpark(struct job *job, bool if_many)
{
	struct block *b = NULL;

	pthread_mutex_lock(&job->lock);
	if (!if_many || (job->nr_parked >= MANY_PARKED && job->since_new < 2 * job->nr_parked))
		b = job->parked;
	if (b) {
		job->parked = b->next;
		if (!job->parked)
			job->parked_end = &job->parked;
		job->nr_parked--;
		job->since_new++;
	} else if (if_many) {
		job->since_new = 0;
	}
	pthread_mutex_unlock(&job->lock);
	return b;
}

/* Blocks that this thread has taken and not started. */
struct claim {
	uint64_t at, end;
};

/* False: none are left. */
static bool claim_more(struct job *job, struct claim *c)
{
	uint64_t index = atomic_load_explicit(&job->next, memory_order_relaxed), most, n;

	if (index >= job->nr_blocks)
		return false;
	/* the last ones one by one: no thread is to wait for another's */
	most = (job->nr_blocks - index) / (4 * (uint64_t)hg_grid_nr_threads());
	n = atomic_load_explicit(&job->claim, memory_order_relaxed);
	n = most < n ? most : n;
	n = n ? n : 1;
	index = atomic_fetch_add(&job->next, n);
	if (index >= job->nr_blocks)
		return false;
	c->at = index;
	c->end = job->nr_blocks - index < n ? job->nr_blocks : index + n;
	return true;
}

/*
 * A block to run: a new one first, so that those put aside get what they wait for; NULL: none now. A new one gets
 * the memory of *spare, if there is some.
 */
static struct block *take(struct job *job, uint32_t smid, struct claim *c, struct block *volatile *spare)
{
	struct block *b = NULL;

	if (atomic_load(&job->failed))
		return NULL;
	if (c->at == c->end && !claim_more(job, c))
		return unpark(job, false);
	b = atomic_load_explicit(&job->any_parked, memory_order_relaxed) ? unpark(job, true) : NULL;
	if (b)
		return b;
	b = *spare ? *spare : block_get(job);
	*spare = NULL;
	if (b)
		block_start(job, b, c->at++, smid);
	else
		job_no_memory(job, "a block");
	return b;
}

static void park(struct job *job, struct block *b)
{
	b->next = NULL;
	pthread_mutex_lock(&job->lock);
	*job->parked_end = b;
	job->parked_end = &b->next;
	job->nr_parked++;
	atomic_store_explicit(&job->any_parked, true, memory_order_relaxed);
	pthread_mutex_unlock(&job->lock);
}

/* A thread runs so many blocks of one job, and those of so many ns, before it looks for other jobs. */
#define TURN 16
#define TURN_NS 100000

/* Short blocks are taken several at once: the threads' counter costs each of them more than such a block does. */
#define CLAIM_NS 4000
#define MAX_CLAIM 16

/* True when the thread's turn is over, after TURN more blocks. */
static bool turn_is_over(struct job *job, volatile uint64_t *last_ns, uint64_t end_ns)
{
	uint64_t now = now_ns(), fit = CLAIM_NS * TURN / (now - *last_ns + 1);

	fit = fit > MAX_CLAIM ? MAX_CLAIM : fit ? fit : 1;
	if (atomic_load_explicit(&job->claim, memory_order_relaxed) != fit)
		atomic_store_explicit(&job->claim, (uint32_t)fit, memory_order_relaxed);
	*last_ns = now;
	return now >= end_ns;
}

/* False when the job has nothing to run just now. */
static bool job_work(struct job *job, uint32_t smid)
{
	struct hg_cpu_run run;
	struct block *volatile b = NULL, *volatile spare = NULL;
	struct claim claim = { 0, 0 };
	volatile uint64_t last_ns = now_ns();
	uint64_t end_ns = last_ns + TURN_NS;
	volatile uint64_t nr_done = 0;
	volatile bool any = false;
	enum hg_status st = hg_cpu_run_begin(&run);

	if (st) {
		job_no_memory(job, "a signal stack");
		return false;
	}
	if (sigsetjmp(run.back, 0)) {
		block_faulted(job, b, &run);
		hg_cpu_run_end(&run);
		block_put(job, b);
		if (spare)
			block_put(job, spare);
		return true;
	}
	for (int i = 1; i % TURN || !turn_is_over(job, &last_ns, end_ns) || claim.at < claim.end; i++) {
		enum block_end end;

		b = take(job, smid, &claim, &spare);
		if (!b)
			break;
		any = true;
		b->run = &run;
		end = block_run(job, b);
		if (end == BLOCK_SPINS) {
			park(job, b);
			sched_yield();
			continue;
		}
		if (end != BLOCK_DONE)
			block_failed(job, b, end);
		if (spare)
			block_put(job, b);
		else
			spare = b;
		nr_done = nr_done + 1;
	}
	atomic_fetch_sub(&job->left, nr_done);
	if (spare)
		block_put(job, spare);
	hg_cpu_run_end(&run);
	return any;
}

static bool job_is_over(const struct job *job)
{
	return atomic_load(&job->failed) || atomic_load(&job->left) == 0;
}

static bool job_has_work(struct job *job)
{
	bool parked;

	if (job_is_over(job))
		return false;
	if (atomic_load(&job->next) < job->nr_blocks)
		return true;
	pthread_mutex_lock(&job->lock);
	parked = job->parked;
	pthread_mutex_unlock(&job->lock);
	return parked;
}

static void *pool_main(void *arg)
{
	uint32_t smid = (uint32_t)(uintptr_t)arg;

	pthread_mutex_lock(&pool.lock);
	while (!pool.stop) {
		struct job *job = pool.jobs, **last;

		while (job && !job_has_work(job))
			job = job->next_job;
		if (!job) {
			pthread_cond_wait(&pool.work, &pool.lock);
			continue;
		}
		/* to the end of the list: the next thread looks at another grid first */
		for (last = &pool.jobs; *last != job; last = &(*last)->next_job)
			;
		*last = job->next_job;
		for (; *last; last = &(*last)->next_job)
			;
		*last = job;
		job->next_job = NULL;
		job->users++;
		pthread_mutex_unlock(&pool.lock);
		job_work(job, smid);
		pthread_mutex_lock(&pool.lock);
		job->users--;
		if (!job->users)
			pthread_cond_broadcast(&pool.idle);
	}
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

uint32_t hg_grid_nr_threads(void)
{
	static _Atomic uint32_t known;
	uint32_t n = atomic_load_explicit(&known, memory_order_relaxed);
	const char *text;
	cpu_set_t set;

	if (n)
		return n;
	text = getenv("HGSHIM_THREADS");
	if (text && *text) {
		char *end;
		unsigned long v = strtoul(text, &end, 10);

		if (!*end && v >= 1 && v <= 1024)
			n = (uint32_t)v;
		else
			pr_warn("HGSHIM_THREADS='%s' is not a number from 1 to 1024", text);
	}
	if (!n && sched_getaffinity(0, sizeof(set), &set) == 0)
		n = (uint32_t)CPU_COUNT(&set);
	if (!n)
		n = 1;
	atomic_store(&known, n);
	return n;
}

/* The calling thread helps, so one less than the CPUs. pool.lock is held. */
static void pool_start(void)
{
	uint32_t wanted = hg_grid_nr_threads() - 1;
	pthread_attr_t attr;
	sigset_t all, old;

	if (pool.pid)
		return;
	pool.pid = getpid();
	hg_cpu_rt_init(&pool.rt, hg_cpu_fault_raise);
	pool.rt.bar_arrive = bar_arrive;
	pool.rt.check = check_access;
	pool.rt.print = hg_print_format;
	pool.rt.assert_fail = hg_print_assert;
	pool.thread = calloc(wanted ? wanted : 1, sizeof(*pool.thread));
	if (!pool.thread)
		return;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, hg_cpu_stack_bytes());
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (pool.nr_threads < wanted) {
		uintptr_t smid = pool.nr_threads + 1;

		if (pthread_create(&pool.thread[pool.nr_threads], &attr, pool_main, (void *)smid) != 0) {
			pr_warn("cannot start more than %u threads for kernels", pool.nr_threads);
			break;
		}
		pthread_setname_np(pool.thread[pool.nr_threads], "hgshim-cpu");
		pool.nr_threads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
}

void hg_grid_shutdown(void)
{
	pthread_mutex_lock(&pool.lock);
	if (!pool.pid || pool.pid != getpid()) {
		pthread_mutex_unlock(&pool.lock);
		return;
	}
	pool.stop = true;
	pthread_cond_broadcast(&pool.work);
	pthread_mutex_unlock(&pool.lock);
	for (uint32_t i = 0; i < pool.nr_threads; i++)
		pthread_join(pool.thread[i], NULL);
	free(pool.thread);
	pool.thread = NULL;
	pool.nr_threads = 0;
	pool.stop = false;
	pool.pid = 0;
	hg_cpu_fault_disarm();
}

/* ---- a grid ---- */

static enum hg_status check_shape(const struct hg_grid *g)
{
	uint64_t threads = (uint64_t)g->block[0] * g->block[1] * g->block[2];

	if (!g->grid[0] || !g->grid[1] || !g->grid[2] || !threads || g->grid[0] > INT32_MAX || g->grid[1] > 65535 ||
	    g->grid[2] > 65535 || g->block[0] > 1024 || g->block[1] > 1024 || g->block[2] > 64 ||
	    threads > MAX_THREADS) {
		pr_err("no device takes a grid of (%u,%u,%u) blocks of (%u,%u,%u) threads", g->grid[0], g->grid[1],
		       g->grid[2], g->block[0], g->block[1], g->block[2]);
		return HG_ERR_INVALID;
	}
	return HG_OK;
}

static enum hg_cpu_shape shape_of(const uint32_t block[3])
{
	if (block[0] % HG_WARP == 0 || block[1] * block[2] == 1)
		return HG_CPU_SHAPE_ROW;
	return block[0] == HG_WARP / 2 && (block[1] % 2 == 0 || block[2] == 1) ? HG_CPU_SHAPE_TWO_ROWS : HG_CPU_SHAPE_NONE;
}

static enum hg_status job_init(struct job *job, struct hg_cpu_kernel *k, const struct hg_grid *g, struct hg_fault *fault)
{
	const struct hg_cpu_kernel_info *info = hg_cpu_kernel_info(k);
	size_t warp_bytes;

	job->kernel = k;
	job->info = info;
	job->g = g;
	job->fault = fault;
	job->nr_blocks = (uint64_t)g->grid[0] * g->grid[1] * g->grid[2];
	job->nr_threads = g->block[0] * g->block[1] * g->block[2];
	job->nr_warps = (job->nr_threads + HG_WARP - 1) / HG_WARP;
	job->shape = shape_of(g->block);
	job->spill_bytes = round_up(info->spill_bytes, WARP_ALIGN);
	job->lane_bytes = info->local_bytes;
	if (info->uses_stack)
		job->lane_bytes += (uint32_t)round_up(g->stack_bytes ? g->stack_bytes : DEFAULT_STACK, 64);
	warp_bytes = HG_CPU_FRAME_BYTES + job->spill_bytes + round_up((size_t)job->lane_bytes * HG_WARP, WARP_ALIGN);
	if (warp_bytes > UINT32_MAX) {
		pr_err("kernel '%s' needs %zu bytes for each warp", info->name, warp_bytes);
		return HG_ERR_NOMEM;
	}
	job->warp_bytes = (uint32_t)warp_bytes;
	job->shared_bytes = round_up((size_t)info->shared_bytes + g->shared_bytes, 128);
	job->block_bytes = round_up(sizeof(struct block), 128) + job->shared_bytes +
			   job->nr_warps * warp_bytes;
	job->block_bytes = round_up(job->block_bytes, 128);
	job->workspace.size = sizeof(job->workspace);
	atomic_store(&job->left, job->nr_blocks);
	atomic_store(&job->claim, 1);
	job->parked_end = &job->parked;
	job->tid = aligned_alloc(WARP_ALIGN, (size_t)job->nr_warps * 3 * HG_WARP * sizeof(*job->tid));
	if (!job->tid)
		return HG_ERR_NOMEM;
	for (uint32_t i = 0; i < job->nr_warps * HG_WARP; i++) {
		uint32_t *t = job->tid + (size_t)(i / HG_WARP) * 3 * HG_WARP + i % HG_WARP;

		t[0] = i % g->block[0];
		t[HG_WARP] = i / g->block[0] % g->block[1];
		t[2 * HG_WARP] = i / g->block[0] / g->block[1];
	}
	pthread_mutex_init(&job->lock, NULL);
	return HG_OK;
}

static void job_fini(struct job *job)
{
	struct block *lists[] = { job->spare, job->parked };

	for (size_t i = 0; i < 2; i++)
		while (lists[i]) {
			struct block *b = lists[i];

			lists[i] = b->next;
			free(b);
		}
	free(job->tid);
	pthread_mutex_destroy(&job->lock);
}

enum hg_status hg_grid_run(struct hg_cpu_kernel *k, const struct hg_grid *g, struct hg_fault *fault)
{
	struct job job = { 0 }, **at;
	enum hg_status st = check_shape(g);

	if (st)
		return st;
	if (pool.pid && pool.pid != getpid()) {
		pr_err("cannot run kernel '%s' in a forked child", hg_cpu_kernel_info(k)->name);
		return HG_ERR_UNAVAILABLE;
	}
	st = hg_cpu_fault_arm();
	if (st)
		return st;
	st = job_init(&job, k, g, fault);
	if (st)
		return st;

	pthread_mutex_lock(&pool.lock);
	pool_start();
	for (at = &pool.jobs; *at; at = &(*at)->next_job)
		;
	*at = &job;
	if (job.nr_blocks > 1)
		pthread_cond_broadcast(&pool.work);
	pthread_mutex_unlock(&pool.lock);

	while (!job_is_over(&job))
		if (!job_work(&job, 0)) {
			/* the rest is with other threads */
			pthread_mutex_lock(&pool.lock);
			if (job.users && !job_has_work(&job) && !job_is_over(&job))
				pthread_cond_wait(&pool.idle, &pool.lock);
			pthread_mutex_unlock(&pool.lock);
		}

	pthread_mutex_lock(&pool.lock);
	while (job.users)
		pthread_cond_wait(&pool.idle, &pool.lock);
	for (at = &pool.jobs; *at != &job; at = &(*at)->next_job)
		;
	*at = job.next_job;
	pthread_mutex_unlock(&pool.lock);
	st = atomic_load(&job.failed) ? job.st : HG_OK;
	job_fini(&job);
	return st;
}
