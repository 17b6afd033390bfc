/* simt.c - grids and blocks of fibres: the scheduler, rendezvous of lanes, barriers. */
#define _GNU_SOURCE
#include "tests/drivers/simt/simt.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/drivers/simt/simt_fault.h"
#include "tests/drivers/simt/simt_fibre.h"
#include "tests/drivers/simt/simt_llvm.h"

/*
 * One thread runs one grid. Work-items that can go on stand in one queue, in the order in which they became able to;
 * a fibre that must wait switches to the next of them itself, and to the scheduler (the thread's own stack) when there
 * is none, when a block ended, or when the grid failed. Usually one block is resident at a time, the lowest
 * first. All of them are if the grid is cooperative; and one more is each time when those that are
 * only yield to each other: they may wait for a later block.
 */
#define NR_BARRIERS 16
#define MAX_WARPS (SIMT_MAX_ITEMS / 32)
#define PATIENCE 32		/* rounds of a loop that may wait, between two yields */
#define MAX_RESIDENT 256	/* …and as many as that */
#define IDLE_ROUNDS 64		/* rounds of nothing but yields before another block begins */
#define IDLE_NS 10000000	/* …and time, before other threads of the machine go first: that may take much longer than to look again */
#define ALIGN 128
#define PAGE 4096

struct meet {
	struct meet *next;	/* of the warp's, or spare */
	struct meet *older;	/* of all that the block ever had */
	uint32_t op;
	uint64_t mask, here, left;	/* who must come; who came; who has not read yet */
	uint64_t value[SIMT_MAX_LANES];
};

struct item {
	struct simt_item pub;	/* first: kernels know its address */
	/* what every switch needs lies in one line of the cache */
	_Alignas(64) struct simt_fibre fibre;
	struct item *next;	/* in the queue */
	struct block *block;
	struct meet *meet;
	const uint32_t *path;	/* where it waits in simt_active */
	uint32_t path_nr;
	bool counted, pred;	/* at a barrier: it counts; its operand */
	uint64_t result;
};

struct warp {
	uint64_t alive;		/* lanes that have not exited */
	uint32_t nr_ready;	/* of these: not waiting */
	uint64_t active;	/* lanes that wait in simt_active */
	uint32_t active_yields;	/* of others since some do */
	struct meet *meets;
};

struct barrier {
	bool used, some_arrived, counts;
	uint32_t count;
	uint32_t nr_waiting;
	uint32_t base;		/* arrived, beyond what the masks say */
	uint64_t waiting[MAX_WARPS], arrived[MAX_WARPS];
};

struct block {
	struct simt_env env;
	struct run *run;
	uint32_t nr_items, alive, nr_ready;
	struct item *item;
	struct warp warp[MAX_WARPS];
	struct barrier barrier[NR_BARRIERS];
	struct meet *spare, *meets;
	uint64_t alone[SIMT_MAX_LANES];	/* what a lane gave that meets nobody */
	unsigned char *memory;	/* the items, shared and local memory */
	size_t memory_size;
	unsigned char *window;	/* shared memory at an address of its own: simt_launch.shared_align */
	size_t window_size;
	struct simt_stacks stacks;
	struct block *next;
};

/* What a thread needs to run grids; kept for the next one. */
struct worker {
	struct block *blocks;	/* spare */
	struct simt_fault fault;
	struct worker *next;
};

struct run {
	const struct simt_launch *l;
	const struct simt_kernel *k;
	simt_entry entry;
	struct worker *w;
	uint64_t next_block, nr_blocks;
	struct { uint32_t size, barrier; } workspace;	/* what env.grid_barrier names */

	struct simt_fibre thread;	/* the scheduler */
	struct item *now;
	struct item *first, **last;	/* the queue */
	uint32_t nr_queued;
	struct block *resident, *ended;
	uint32_t nr_resident;
	uint64_t idle;			/* yields since something else happened */
	uint64_t yielded;		/* when other threads could go first, in ns */
	bool waits;

	enum hg_status st;
	char *why;
	size_t why_size;
};

static struct {
	pthread_mutex_t lock;
	struct worker *spare;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct item *item_of(struct simt_item *self)
{
	return (struct item *)self;
}

/* ---- failures ---- */

static void describe(struct run *r, const struct item *it, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void describe(struct run *r, const struct item *it, const char *fmt, ...)
{
	const struct simt_env *e = it->pub.env;
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (r->why_size)
		snprintf(r->why, r->why_size, "kernel '%s', block (%u,%u,%u), thread (%u,%u,%u): %s", r->k->name, e->ctaid[0],
			 e->ctaid[1], e->ctaid[2], it->pub.tid[0], it->pub.tid[1], it->pub.tid[2], what);
}

/* The grid is over; its fibres are forgotten where they stand. */
static void __attribute__((noreturn)) abandon(struct run *r)
{
	r->st = HG_ERR_FAULT;
	simt_fibre_switch(&r->now->fibre, &r->thread);
	abort();
}

void simt_trap(struct simt_item *self, const char *what)
{
	struct item *it = item_of(self);

	describe(it->block->run, it, "%s", what);
	abandon(it->block->run);
}

void simt_misaligned(struct simt_item *self, uint64_t addr)
{
	struct item *it = item_of(self);

	describe(it->block->run, it, "misaligned address 0x%llx", (unsigned long long)addr);
	abandon(it->block->run);
}

/* Where a fibre goes on whose code raised a signal. */
void simt_faulted(void *run, int signo, uint64_t addr)
{
	struct run *r = run;

	if (signo == SIGFPE || signo == SIGILL)
		describe(r, r->now, "signal %d", signo);
	else
		describe(r, r->now, "illegal address 0x%llx", (unsigned long long)addr);
	abandon(r);
}

char *simt_fault_stack(void *run)
{
	const struct simt_fibre *f = &((struct run *)run)->now->fibre;

	simt_fibre_forget(f);
	return f->bottom + f->size;
}

/* ---- the queue ---- */

static void enqueue(struct run *r, struct item *it)
{
	it->next = NULL;
	*r->last = it;
	r->last = &it->next;
	r->nr_queued++;
}

static struct item *dequeue(struct run *r)
{
	struct item *it = r->first;

	if (!it)
		return NULL;
	r->first = it->next;
	if (!r->first)
		r->last = &r->first;
	r->nr_queued--;
	return it;
}

/* Leaves this fibre for the next that can run. */
static void switch_away(struct run *r)
{
	struct item *me = r->now, *to = r->ended ? NULL : dequeue(r);

	if (to == me)
		return;
	/* the next one's stack takes longer to come than this one's turn, often */
	if (r->first)
		__builtin_prefetch(r->first->fibre.sp);
	r->now = to;
	simt_fibre_switch(&me->fibre, to ? &to->fibre : &r->thread);
}

static struct item *lane_of(struct block *b, uint32_t warp, uint64_t mask)
{
	return &b->item[warp * b->env.lanes + (uint32_t)__builtin_ctzll(mask)];
}

/* These lanes of a warp, which waited, can go on: first of all, or after those that can already. */
static void make_ready(struct block *b, uint32_t warp, uint64_t lanes, bool first)
{
	uint32_t nr = (uint32_t)__builtin_popcountll(lanes);
	struct run *r = b->run;
	struct item *others = first ? r->first : NULL, **last = first ? &r->first : r->last;

	for (uint64_t left = lanes; left; left &= left - 1) {
		*last = lane_of(b, warp, left);
		last = &(*last)->next;
	}
	*last = others;
	if (!others)
		r->last = last;
	r->nr_queued += nr;
	r->idle = 0;
	b->nr_ready += nr;
	b->warp[warp].nr_ready += nr;
}

/* ---- lanes at one place ---- */

static int path_compare(const struct item *a, const struct item *b)
{
	for (uint32_t i = 0; i < a->path_nr && i < b->path_nr; i++)
		if (a->path[i] != b->path[i])
			return a->path[i] < b->path[i] ? -1 : 1;
	return a->path_nr < b->path_nr ? -1 : a->path_nr > b->path_nr;
}

/* Those at the first place go on; true if any do. */
static bool release_active(struct block *b, uint32_t w)
{
	struct warp *warp = &b->warp[w];
	const struct item *first = NULL;
	uint64_t together = 0;

	if (!warp->active)
		return false;
	for (uint64_t left = warp->active; left; left &= left - 1) {
		const struct item *it = lane_of(b, w, left);
		int c = first ? path_compare(it, first) : -1;

		if (c < 0) {
			first = it;
			together = 0;
		}
		if (c <= 0)
			together |= left & -left;
	}
	warp->active &= ~together;
	warp->active_yields = 0;
	for (uint64_t left = together; left; left &= left - 1)
		lane_of(b, w, left)->result = together;
	make_ready(b, w, together, true);
	return true;
}

/* The item that runs cannot go on; it is in no queue until somebody makes it ready. */
static void block_item(struct item *it)
{
	struct block *b = it->block;
	struct warp *w = &b->warp[it->pub.warp];

	b->run->idle = 0;
	w->nr_ready--;
	b->nr_ready--;
	if (!w->nr_ready)
		release_active(b, it->pub.warp);
	if (!b->nr_ready) {
		describe(b->run, it, "all threads of the block wait for each other for ever");
		abandon(b->run);
	}
	switch_away(b->run);
}

uint64_t simt_active(struct simt_item *self, const uint32_t *path, uint32_t nr)
{
	struct item *it = item_of(self);
	struct warp *w = &it->block->warp[self->warp];
	uint64_t me = UINT64_C(1) << self->lane;

	if (w->alive == me)
		return me;
	it->path = path;
	it->path_nr = nr;
	w->active |= me;
	block_item(it);
	return it->result;
}

static bool meet_is_complete(const struct warp *w, const struct meet *m)
{
	return !(m->mask & w->alive & ~m->here);
}

/* All but `me` go on. */
static void meet_complete(struct block *b, uint32_t warp, struct meet *m, uint64_t me)
{
	struct meet **at = &b->warp[warp].meets;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	m->left = m->here;
	/* before all others: their stacks are in the nearest cache. Loops of warp operations yield, so the others' turn comes */
	make_ready(b, warp, m->here & ~me, true);
}

static struct meet *meet_new(struct block *b, uint32_t warp, uint32_t op, uint64_t mask)
{
	struct meet *m = b->spare;

	if (m) {
		b->spare = m->next;
	} else {
		m = malloc(sizeof(*m));
		if (!m)
			return NULL;
		m->older = b->meets;
		b->meets = m;
	}
	m->op = op;
	m->mask = mask;
	m->here = 0;
	m->next = b->warp[warp].meets;
	b->warp[warp].meets = m;
	return m;
}

uint64_t simt_meet(struct simt_item *self, uint32_t op, uint64_t mask, uint64_t value, const uint64_t **values)
{
	struct item *it = item_of(self);
	struct block *b = it->block;
	struct warp *w = &b->warp[self->warp];
	uint64_t me = UINT64_C(1) << self->lane;
	struct meet *m;

	if (!(mask & me))
		simt_trap(self, "not in the member mask of its own warp operation");
	if ((mask & w->alive) == me) {
		b->alone[self->lane] = value;
		*values = b->alone;
		return me;
	}
	for (m = w->meets; m && (m->op != op || m->mask != mask); m = m->next)
		;
	if (!m)
		m = meet_new(b, self->warp, op, mask);
	if (!m)
		simt_trap(self, "out of memory");
	m->value[self->lane] = value;
	m->here |= me;
	if (meet_is_complete(w, m)) {
		meet_complete(b, self->warp, m, me);
	} else {
		it->meet = m;
		block_item(it);
	}
	/* another use of it begins with another call, of this lane or after a switch */
	*values = m->value;
	m->left &= ~me;
	if (!m->left) {
		m->next = b->spare;
		b->spare = m;
	}
	return m->here;
}

/* ---- barriers ---- */

static uint32_t popcount(uint64_t v)
{
	return (uint32_t)__builtin_popcountll(v);
}

/* A whole warp counts as its width, also if some of its lanes never were or have exited. */
static uint32_t counted(const struct block *b, uint32_t warp, uint64_t lanes)
{
	if (!lanes)
		return 0;
	return b->warp[warp].alive & ~lanes ? popcount(lanes) : b->env.lanes;
}

static bool barrier_is_complete(const struct block *b, const struct barrier *bar)
{
	uint32_t have = bar->base;

	if (!bar->count && !bar->some_arrived)
		return bar->nr_waiting && bar->nr_waiting == b->alive;
	for (uint32_t w = 0; w < b->env.nr_warps; w++) {
		uint64_t lanes = bar->waiting[w] | bar->arrived[w];

		if (!bar->count && b->warp[w].alive & ~lanes)
			return false;
		have += counted(b, w, lanes);
	}
	return bar->count ? have >= bar->count : bar->nr_waiting > 0;
}

/* Opens it: all that wait there but `me` are made ready. */
static void barrier_open(struct block *b, struct barrier *bar, const struct item *me)
{
	uint64_t nr_true = 0, nr = 0;

	if (bar->counts)
		for (uint32_t w = 0; w < b->env.nr_warps; w++)
			for (uint64_t left = bar->waiting[w]; left; left &= left - 1) {
				nr += lane_of(b, w, left)->counted;
				nr_true += lane_of(b, w, left)->counted && lane_of(b, w, left)->pred;
			}
	for (uint32_t w = 0; w < b->env.nr_warps; w++) {
		uint64_t lanes = bar->waiting[w];

		if (bar->counts)
			for (uint64_t left = lanes; left; left &= left - 1)
				lane_of(b, w, left)->result = nr << 32 | nr_true;
		if (me && me->pub.warp == w)
			lanes &= ~(UINT64_C(1) << me->pub.lane);
		if (lanes)
			make_ready(b, w, lanes, false);
	}
	memset(bar, 0, sizeof(*bar));
}

static struct barrier *barrier_at(struct item *it, uint32_t id, uint32_t count)
{
	struct barrier *bar;

	if (id >= NR_BARRIERS)
		simt_trap(&it->pub, "a barrier that does not exist");
	bar = &it->block->barrier[id];
	if (bar->used && bar->count != count) {
		/* all of the block may be said as 0, or as their number */
		if (!(bar->count == 0 && count == it->block->nr_items) && !(count == 0 && bar->count == it->block->nr_items))
			simt_trap(&it->pub, "two different counts at one barrier");
		count = it->block->nr_items;
	}
	bar->used = true;
	bar->count = count;
	return bar;
}

static uint64_t barrier_wait(struct item *it, uint32_t id, uint32_t count, bool counts, bool pred)
{
	struct block *b = it->block;
	struct barrier *bar = barrier_at(it, id, count);

	it->counted = counts;
	it->pred = pred;
	bar->counts |= counts;
	bar->waiting[it->pub.warp] |= UINT64_C(1) << it->pub.lane;
	bar->nr_waiting++;
	if (barrier_is_complete(b, bar))
		barrier_open(b, bar, it);
	else
		block_item(it);
	return it->result;
}

void simt_barrier(struct simt_item *self, uint32_t id, uint32_t count)
{
	barrier_wait(item_of(self), id, count, false, false);
}

uint64_t simt_barrier_count(struct simt_item *self, uint32_t id, uint32_t count, bool pred)
{
	return barrier_wait(item_of(self), id, count, true, pred);
}

void simt_barrier_arrive(struct simt_item *self, uint32_t id, uint32_t count)
{
	struct item *it = item_of(self);
	uint64_t me = UINT64_C(1) << self->lane;
	struct barrier *bar;

	if (!count)
		simt_trap(self, "arrives at a barrier without a count");
	bar = barrier_at(it, id, count);
	bar->some_arrived = true;
	if (bar->arrived[self->warp] & me) {	/* once more before it opened */
		bar->base += counted(it->block, self->warp, bar->arrived[self->warp]);
		bar->arrived[self->warp] = 0;
	}
	bar->arrived[self->warp] |= me;
	if (barrier_is_complete(it->block, bar))
		barrier_open(it->block, bar, NULL);
}

/* ---- time ---- */

void simt_yield(struct simt_item *self)
{
	struct item *it = item_of(self);
	struct run *r = it->block->run;
	struct warp *w = &it->block->warp[self->warp];

	self->patience = PATIENCE;
	if (!r->waits)
		return;
	/* lanes that spin may wait for those that wait for them here */
	if (w->active && ++w->active_yields > 4 * SIMT_MAX_LANES)
		release_active(it->block, self->warp);
	r->idle++;
	if (r->idle > (uint64_t)IDLE_ROUNDS * (r->nr_queued + 1)) {
		/* the scheduler lets another block in, or waits a little for other threads */
		enqueue(r, it);
		r->now = NULL;
		simt_fibre_switch(&it->fibre, &r->thread);
		return;
	}
	if (r->first) {
		enqueue(r, it);
		switch_away(r);
	}
}

void simt_sleep(struct simt_item *self, uint32_t ns)
{
	struct run *r = item_of(self)->block->run;

	if (!r->waits || !r->first) {
		struct timespec ts = { .tv_nsec = ns < 1000000 ? ns : 1000000 };

		nanosleep(&ts, NULL);
	}
	simt_yield(self);
}

uint64_t simt_clock(void)
{
	return __builtin_ia32_rdtsc();
}

uint64_t simt_timer(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- fibres ---- */

/* The item that runs has ended: those that waited for it go on without it. */
static void item_exit(struct item *it)
{
	struct block *b = it->block;
	struct run *r = b->run;
	uint32_t wi = it->pub.warp;
	struct warp *w = &b->warp[wi];

	r->idle = 0;
	w->alive &= ~(UINT64_C(1) << it->pub.lane);
	w->nr_ready--;
	b->alive--;
	b->nr_ready--;
	for (struct meet *m = w->meets, *next; m; m = next) {
		next = m->next;
		if (meet_is_complete(w, m))
			meet_complete(b, wi, m, 0);
	}
	for (uint32_t i = 0; i < NR_BARRIERS; i++)
		if (b->barrier[i].used && barrier_is_complete(b, &b->barrier[i]))
			barrier_open(b, &b->barrier[i], NULL);
	if (!w->nr_ready)
		release_active(b, wi);
	if (!b->alive) {
		r->ended = b;
	} else if (!b->nr_ready) {
		describe(r, it, "the others of the block wait for it, or for each other, for ever");
		abandon(r);
	}
}

static void fibre_main(void *arg)
{
	struct item *it = arg;
	struct run *r = it->block->run;

	simt_fibre_entered();
	r->entry(&it->pub);
	item_exit(it);
	switch_away(r);
	abort();
}

/* A whole block whose items never wait, as one item after the other. */
static void plain_main(void *arg)
{
	struct item *it = arg;
	struct run *r = it->block->run;

	simt_fibre_entered();
	r->entry(&it->pub);
	r->ended = it->block;
	switch_away(r);
	abort();
}

/* ---- blocks ---- */

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static size_t items_bytes(uint32_t nr)
{
	return round_up(nr * sizeof(struct item), ALIGN);
}

/* Memory of `size` bytes at a multiple of `align`; both are multiples of a page. */
static unsigned char *map_aligned(size_t size, size_t align)
{
	unsigned char *all = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *at;

	if (all == MAP_FAILED)
		return NULL;
	at = (unsigned char *)round_up((uintptr_t)all, align);
	if (at > all)
		munmap(all, (size_t)(at - all));
	munmap(at + size, (size_t)(all + align - at));
	if (mprotect(at, size, PROT_READ | PROT_WRITE)) {
		munmap(at, size);
		return NULL;
	}
	return at;
}

static bool need_window(struct block *b, size_t size, size_t align)
{
	size = round_up(size ? size : 1, PAGE);
	if (b->window && b->window_size >= size && !((uintptr_t)b->window % align))
		return true;
	if (b->window)
		munmap(b->window, b->window_size);
	b->window = map_aligned(size, align);
	b->window_size = size;
	return b->window;
}

static struct block *block_get(struct run *r, uint32_t nr_items)
{
	size_t shared = round_up((size_t)r->k->shared_bytes + r->l->shared_bytes, ALIGN);
	size_t size = items_bytes(nr_items) + shared + nr_items * round_up(r->k->local_bytes, 64) + ALIGN;
	struct block *b = r->w->blocks;

	if (b) {
		r->w->blocks = b->next;
	} else {
		b = calloc(1, sizeof(*b));
		if (!b)
			return NULL;
	}
	if (b->memory_size < size) {
		free(b->memory);
		b->memory_size = 0;
		b->memory = aligned_alloc(ALIGN, round_up(size, ALIGN));
		if (!b->memory)
			goto err;
		b->memory_size = round_up(size, ALIGN);
	}
	if (r->l->shared_align && !need_window(b, shared, r->l->shared_align))
		goto err;
	b->run = r;
	b->nr_items = nr_items;
	b->item = (struct item *)b->memory;
	return b;

err:
	b->next = r->w->blocks;
	r->w->blocks = b;
	return NULL;
}

static void block_put(struct run *r, struct block *b)
{
	struct block **at = &r->resident;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	r->nr_resident--;
	b->next = r->w->blocks;
	r->w->blocks = b;
}

static void place_items(struct run *r, struct block *b)
{
	const uint32_t *n = r->l->block, lanes = r->l->warp_size;
	size_t local = round_up(r->k->local_bytes, 64);
	unsigned char *at = b->memory + items_bytes(b->nr_items);

	b->env.shared = r->l->shared_align ? b->window : at;
	at += round_up(b->env.shared_bytes, ALIGN);
	memset(b->env.shared, 0, b->env.shared_bytes);
	memset(at, 0, local * b->nr_items);
	for (uint32_t i = 0; i < b->nr_items; i++) {
		struct item *it = &b->item[i];

		*it = (struct item){
			.pub = {
				.env = &b->env,
				.local = local ? at + i * local : NULL,
				.tid = { i % n[0], i / n[0] % n[1], i / n[0] / n[1] },
				.lane = i % lanes,
				.warp = i / lanes,
				.patience = PATIENCE,
			},
			.block = b,
		};
	}
	memset(b->warp, 0, b->env.nr_warps * sizeof(b->warp[0]));
	for (uint32_t w = 0; w * lanes < b->nr_items; w++) {
		uint32_t nr = b->nr_items - w * lanes < lanes ? b->nr_items - w * lanes : lanes;

		b->warp[w].alive = nr == 64 ? UINT64_MAX : (UINT64_C(1) << nr) - 1;
		b->warp[w].nr_ready = nr;
	}
	b->alive = b->nr_ready = b->nr_items;
	/* a grid that failed left things where they were */
	for (uint32_t i = 0; i < NR_BARRIERS; i++)
		if (b->barrier[i].used)
			memset(&b->barrier[i], 0, sizeof(b->barrier[i]));
	b->spare = NULL;
	for (struct meet *m = b->meets; m; m = m->older) {
		m->next = b->spare;
		b->spare = m;
	}
}

static enum hg_status block_start(struct run *r)
{
	const struct simt_launch *l = r->l;
	uint32_t nr_threads = l->block[0] * l->block[1] * l->block[2], nr_items = r->waits ? nr_threads : 1;
	uint64_t index = r->next_block;
	struct block *b = block_get(r, nr_items);
	enum hg_status st;

	if (!b)
		return HG_ERR_NOMEM;
	b->next = r->resident;
	r->resident = b;
	r->nr_resident++;
	r->next_block++;
	b->env = (struct simt_env){
		.params = l->params,
		.var_addr = l->var_addr,
		.grid_barrier = l->cooperative ? (uintptr_t)&r->workspace : 0,
		.grid_id = l->id,
		.ntid = { l->block[0], l->block[1], l->block[2] },
		.ctaid = { (uint32_t)(index % l->grid[0]), (uint32_t)(index / l->grid[0] % l->grid[1]),
			   (uint32_t)(index / l->grid[0] / l->grid[1]) },
		.nctaid = { l->grid[0], l->grid[1], l->grid[2] },
		.lanes = l->warp_size,
		.nr_warps = (nr_threads + l->warp_size - 1) / l->warp_size,
		.shared_bytes = r->k->shared_bytes + l->shared_bytes,
		.dynamic_shared_bytes = l->shared_bytes,
	};
	place_items(r, b);
	st = simt_stacks_need(&b->stacks, nr_items);
	if (st)
		return st;
	for (uint32_t i = 0; i < nr_items; i++) {
		struct item *it = &b->item[i];

		it->fibre.bottom = simt_stack(&b->stacks, i);
		it->fibre.size = SIMT_STACK;
		simt_fibre_start(&it->fibre, i, r->waits ? fibre_main : plain_main, it);
		enqueue(r, it);
	}
	r->idle = 0;
	return HG_OK;
}

/* ---- grids ---- */

static enum hg_status schedule(struct run *r)
{
	for (;;) {
		bool crowded = r->idle && r->nr_resident < MAX_RESIDENT;
		struct item *it;
		enum hg_status st;

		if (r->ended) {
			struct block *b = r->ended;

			r->ended = NULL;
			block_put(r, b);
		}
		while (r->next_block < r->nr_blocks && (!r->nr_resident || r->l->cooperative || crowded)) {
			crowded = false;
			st = block_start(r);
			if (st)
				return st;
		}
		if (!r->nr_resident)
			return HG_OK;
		if (r->idle) {
			uint64_t now = simt_timer();

			r->idle = 0;
			if (now - r->yielded > IDLE_NS) {
				if (r->yielded)
					sched_yield();
				r->yielded = simt_timer();
			}
		}
		it = dequeue(r);
		r->now = it;
		simt_fault_enter(r);
		simt_fibre_switch(&r->thread, &it->fibre);
		simt_fault_leave();
		if (r->st)
			return r->st;
	}
}

static struct worker *worker_get(void)
{
	struct worker *w;

	pthread_mutex_lock(&pool.lock);
	w = pool.spare;
	if (w)
		pool.spare = w->next;
	pthread_mutex_unlock(&pool.lock);
	return w ? w : calloc(1, sizeof(*w));
}

static void worker_put(struct worker *w)
{
	pthread_mutex_lock(&pool.lock);
	w->next = pool.spare;
	pool.spare = w;
	pthread_mutex_unlock(&pool.lock);
}

static enum hg_status check_launch(const struct run *r)
{
	const struct simt_launch *l = r->l;
	uint64_t items = (uint64_t)l->block[0] * l->block[1] * l->block[2];

	if (!items || items > SIMT_MAX_ITEMS || l->block[0] > SIMT_MAX_ITEMS || l->block[1] > SIMT_MAX_ITEMS || !l->grid[0] ||
	    !l->grid[1] || !l->grid[2]) {
		snprintf(r->why, r->why_size, "kernel '%s': no grid of (%u,%u,%u) blocks of (%u,%u,%u) threads", r->k->name,
			 l->grid[0], l->grid[1], l->grid[2], l->block[0], l->block[1], l->block[2]);
		return HG_ERR_INVALID;
	}
	if ((l->warp_size != 32 && l->warp_size != 64) || (r->k->lanes && r->k->lanes != l->warp_size)) {
		snprintf(r->why, r->why_size, "kernel '%s': not for warps of %u", r->k->name, l->warp_size);
		return HG_ERR_UNSUPPORTED;
	}
	return HG_OK;
}

enum hg_status simt_run(struct simt_module *m, const struct simt_launch *l, char *why, size_t why_size)
{
	struct run r = { .l = l, .why = why, .why_size = why_size };
	enum hg_status st;

	if (why_size)
		why[0] = 0;
	r.last = &r.first;
	st = simt_module_kernel(m, l->kernel, &r.k, &r.entry);
	if (st == HG_ERR_UNSUPPORTED)
		snprintf(why, why_size, "%s", r.k->refused ? r.k->refused : "the kernel does not compile");
	if (st)
		return st;
	st = check_launch(&r);
	if (st)
		return st;
	r.w = worker_get();
	if (!r.w)
		return HG_ERR_NOMEM;
	st = simt_fault_arm(&r.w->fault);
	if (st)
		goto out;
	r.waits = r.k->waits;
	r.nr_blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
	r.workspace.size = sizeof(r.workspace);
	st = schedule(&r);
	while (r.resident)
		block_put(&r, r.resident);
	simt_fault_disarm(&r.w->fault);
out:
	worker_put(r.w);
	return st;
}
