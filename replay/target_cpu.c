/* target_cpu.c - the CPU as a target: memory is host memory, queues are threads, blocks run on a pool. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "replay/grid.h"
#include "replay/target.h"
#include "translate/jit.h"

/* A copy on an idle queue that is smaller than this is done by the caller: cheaper than waking the worker. */
#define INLINE_BYTES (256u << 10)

struct hg_target {
	pthread_mutex_t point_lock;	/* of every point and mark */
	pthread_cond_t point_done;
	unsigned int point_waiters;

	pthread_mutex_t fault_lock;
	atomic_bool has_faults;
	struct fault_note *faults;
	atomic_ullong grids;

	pthread_mutex_t queues_lock;
	struct hg_queue *queues;
	struct hg_target_info info;
};

/* One recording of a mark. Waits hold the recording they were queued for, not the mark. */
struct point {
	unsigned int refs;
	bool done;
	uint64_t time_ns;
};

struct hg_mark {
	struct hg_target *target;
	struct point *last;	/* NULL: never recorded */
};

enum work_kind { WORK_COPY, WORK_FILL, WORK_LAUNCH, WORK_HOST_FUNC, WORK_RECORD, WORK_WAIT };

struct work {
	struct work *next;
	enum work_kind kind;
	union {
		struct hg_copy copy;
		struct hg_fill fill;
		struct hg_launch launch;
		struct { void (*fn)(void *arg); void *arg; } host;
		struct point *point;
	};
	unsigned char params[];
};

/* A kernel failure that the driver has not taken yet; each queue has one ready. */
struct fault_note {
	struct fault_note *next;
	struct hg_fault fault;
};

struct hg_queue {
	struct hg_target *target;
	struct fault_note *note;	/* NULL once its kernel failed */
	atomic_bool failed;
	struct hg_queue *next_queue, **prev_queue;
	pthread_mutex_t lock;
	pthread_cond_t work_added, work_done;
	struct work *first, **last;
	uint64_t issued, completed;
	pthread_t worker;
	bool has_worker, stop;
	unsigned int waiters;
};

struct hg_target_module {
	struct hg_target *target;
	struct hg_cpu_module *code;
	uint64_t *var_addr;
	size_t nr_kernels;
	pthread_mutex_t lock;
	struct hg_target_kernel *kernel;	/* nr_kernels; code NULL until asked for */
};

struct hg_target_kernel {
	struct hg_target_module *module;
	struct hg_cpu_kernel *code;
	uint32_t param_bytes;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* memory */

static uint64_t cpu_map_unit(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Mappings lie side by side. */
static enum hg_status cpu_reserve(struct hg_target *t, const struct hg_held *range, size_t nr)
{
	(void)t;
	(void)range;
	(void)nr;
	return HG_ERR_UNSUPPORTED;
}

static enum hg_status cpu_map(struct hg_target *t, hg_dptr wanted, size_t size, bool held, hg_dptr *out)
{
	void *p;

	(void)t;
	if (!wanted || !size || (wanted | size) % cpu_map_unit())
		return HG_ERR_INVALID;
	p = mmap((void *)wanted, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (held ? MAP_FIXED : MAP_FIXED_NOREPLACE), -1, 0);
	if (p == MAP_FAILED)
		return errno == EEXIST ? HG_ERR_NOSPC : HG_ERR_NOMEM;
	if (p != (void *)wanted) {	/* a kernel before 4.17 takes the address for a hint */
		munmap(p, size);
		return HG_ERR_NOSPC;
	}
	*out = wanted;
	return HG_OK;
}

static void cpu_unmap(struct hg_target *t, hg_dptr ptr, size_t size)
{
	(void)t;
	munmap((void *)ptr, size);
}

/* Kernels reach host memory at its own address anyway. */
static enum hg_status cpu_host_register(struct hg_target *t, void *ptr, size_t size)
{
	(void)t;
	return ptr && size ? HG_OK : HG_ERR_INVALID;
}

static void cpu_host_unregister(struct hg_target *t, void *ptr, size_t size)
{
	(void)t;
	(void)ptr;
	(void)size;
}

static enum hg_status cpu_read(struct hg_target *t, void *dst, hg_dptr src, size_t size)
{
	(void)t;
	memcpy(dst, (const void *)src, size);
	return HG_OK;
}

static enum hg_status cpu_write(struct hg_target *t, hg_dptr dst, const void *src, size_t size)
{
	(void)t;
	memcpy((void *)dst, src, size);
	return HG_OK;
}

static void run_copy(const struct hg_copy *c)
{
	for (size_t z = 0; z < c->depth; z++) {
		unsigned char *dst = (unsigned char *)c->dst + z * c->dst_slice;
		const unsigned char *src = (const unsigned char *)c->src + z * c->src_slice;

		if (c->width == c->dst_pitch && c->width == c->src_pitch) {
			memmove(dst, src, c->width * c->height);
			continue;
		}
		for (size_t y = 0; y < c->height; y++)
			memmove(dst + y * c->dst_pitch, src + y * c->src_pitch, c->width);
	}
}

static void fill_row(unsigned char *dst, const struct hg_fill *f)
{
	uint16_t v16 = (uint16_t)f->value;

	switch (f->element) {
	case 1:
		memset(dst, (int)(f->value & 0xff), f->width);
		break;
	case 2:
		for (size_t x = 0; x < f->width; x++)
			memcpy(dst + x * 2, &v16, 2);
		break;
	default:
		for (size_t x = 0; x < f->width; x++)
			memcpy(dst + x * 4, &f->value, 4);
	}
}

static void run_fill(const struct hg_fill *f)
{
	for (size_t y = 0; y < f->height; y++)
		fill_row((unsigned char *)f->dst + y * f->pitch, f);
}

/* marks */

static void point_put_locked(struct point *p)
{
	if (p && !--p->refs)
		free(p);
}

static void point_complete(struct hg_target *t, struct point *p)
{
	pthread_mutex_lock(&t->point_lock);
	p->time_ns = now_ns();
	p->done = true;
	if (t->point_waiters)
		pthread_cond_broadcast(&t->point_done);
	point_put_locked(p);
	pthread_mutex_unlock(&t->point_lock);
}

/* Drops the reference. */
static void point_wait(struct hg_target *t, struct point *p)
{
	pthread_mutex_lock(&t->point_lock);
	t->point_waiters++;
	while (!p->done)
		pthread_cond_wait(&t->point_done, &t->point_lock);
	t->point_waiters--;
	point_put_locked(p);
	pthread_mutex_unlock(&t->point_lock);
}

static enum hg_status cpu_mark_create(struct hg_target *t, struct hg_mark **out)
{
	struct hg_mark *m = calloc(1, sizeof(*m));

	if (!m)
		return HG_ERR_NOMEM;
	m->target = t;
	*out = m;
	return HG_OK;
}

static void cpu_mark_destroy(struct hg_mark *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->target->point_lock);
	point_put_locked(m->last);
	pthread_mutex_unlock(&m->target->point_lock);
	free(m);
}

/* The last recording, with a reference; NULL when there is none or it is done. */
static struct point *mark_pending(struct hg_mark *m)
{
	struct point *p;

	pthread_mutex_lock(&m->target->point_lock);
	p = m->last;
	if (p && p->done)
		p = NULL;
	if (p)
		p->refs++;
	pthread_mutex_unlock(&m->target->point_lock);
	return p;
}

static bool cpu_mark_is_done(struct hg_mark *m)
{
	bool done;

	pthread_mutex_lock(&m->target->point_lock);
	done = !m->last || m->last->done;
	pthread_mutex_unlock(&m->target->point_lock);
	return done;
}

static enum hg_status cpu_mark_sync(struct hg_mark *m)
{
	struct point *p = mark_pending(m);

	if (p)
		point_wait(m->target, p);
	return HG_OK;
}

static uint64_t cpu_mark_time_ns(struct hg_mark *m)
{
	uint64_t time;

	pthread_mutex_lock(&m->target->point_lock);
	time = m->last ? m->last->time_ns : 0;
	pthread_mutex_unlock(&m->target->point_lock);
	return time;
}

/* queues */

static void take_note(struct hg_queue *q, const struct hg_fault *fault)
{
	struct hg_target *t = q->target;
	struct fault_note *note, **end;

	pthread_mutex_lock(&t->fault_lock);
	note = q->note;
	q->note = NULL;
	if (note) {
		note->fault = *fault;
		note->fault.queue = q;
		for (end = &t->faults; *end; end = &(*end)->next)
			;
		*end = note;
		atomic_store(&t->has_faults, true);
	}
	atomic_store(&q->failed, true);
	pthread_mutex_unlock(&t->fault_lock);
}

static void run_launch(struct hg_queue *q, const struct work *w)
{
	const struct hg_launch *l = &w->launch;
	struct hg_fault fault = { 0 };
	struct hg_grid g = {
		.grid = { l->grid[0], l->grid[1], l->grid[2] },
		.block = { l->block[0], l->block[1], l->block[2] },
		.shared_bytes = l->shared_bytes,
		.stack_bytes = l->stack_bytes,
		.cooperative = l->cooperative,
		.params = w->params,
		.var_addr = l->kernel->module->var_addr,
		.id = atomic_fetch_add(&q->target->grids, 1) + 1,
	};
	enum hg_status st;

	st = hg_grid_run(l->kernel->code, &g, &fault);
	if (!st)
		return;
	if (st != HG_ERR_FAULT) {
		snprintf(fault.what, sizeof(fault.what), "cannot run a kernel: %s", hg_status_text(st));
		fault.cuda_error = 0;
	}
	if (!fault.cuda_error)
		fault.cuda_error = 719;		/* CUDA_ERROR_LAUNCH_FAILED */
	take_note(q, &fault);
}

static void run_work(struct hg_queue *q, struct work *w)
{
	bool drop = atomic_load_explicit(&q->failed, memory_order_relaxed);

	switch (w->kind) {
	case WORK_COPY:
		if (!drop)
			run_copy(&w->copy);
		break;
	case WORK_FILL:
		if (!drop)
			run_fill(&w->fill);
		break;
	case WORK_LAUNCH:
		if (!drop)
			run_launch(q, w);
		break;
	case WORK_HOST_FUNC:
		w->host.fn(w->host.arg);
		break;
	case WORK_RECORD:
		point_complete(q->target, w->point);
		break;
	case WORK_WAIT:
		point_wait(q->target, w->point);
		break;
	}
}

static void *queue_main(void *arg)
{
	struct hg_queue *q = arg;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		struct work *w = q->first;

		if (!w) {
			if (q->stop)
				break;
			pthread_cond_wait(&q->work_added, &q->lock);
			continue;
		}
		q->first = w->next;
		if (!q->first)
			q->last = &q->first;
		pthread_mutex_unlock(&q->lock);

		run_work(q, w);
		free(w);

		pthread_mutex_lock(&q->lock);
		q->completed++;
		if (q->waiters)
			pthread_cond_broadcast(&q->work_done);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

/*
 * The application must not find its signals delivered here. The ones a fault raises stay open: a
 * blocked one would end the process instead of reaching the handler.
 */
static int start_worker(struct hg_queue *q)
{
	size_t stack = hg_cpu_stack_bytes();
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGTRAP);
	sigdelset(&all, SIGABRT);
	pthread_attr_init(&attr);
	/* whatever the application's limit: it compiles, too */
	pthread_attr_setstacksize(&attr, stack > HG_CPU_COMPILE_STACK ? stack : HG_CPU_COMPILE_STACK);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&q->worker, &attr, queue_main, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

static struct work *work_new(enum work_kind kind, size_t extra)
{
	struct work *w = malloc(sizeof(*w) + extra);

	if (w) {
		w->next = NULL;
		w->kind = kind;
	}
	return w;
}

static enum hg_status push(struct hg_queue *q, struct work *w)
{
	int err = 0;

	pthread_mutex_lock(&q->lock);
	if (!q->has_worker) {
		err = start_worker(q);
		q->has_worker = err == 0;
	}
	if (!err) {
		*q->last = w;
		q->last = &w->next;
		q->issued++;
		pthread_cond_signal(&q->work_added);
	}
	pthread_mutex_unlock(&q->lock);
	if (!err)
		return HG_OK;
	pr_err("cannot start a thread for a stream: %s", strerror(err));
	return HG_ERR_NOMEM;
}

/* True: the queue is idle and now counts one piece of work, which the caller does itself. */
static bool inline_begin(struct hg_queue *q)
{
	bool idle;

	pthread_mutex_lock(&q->lock);
	idle = q->issued == q->completed;
	if (idle)
		q->issued++;
	pthread_mutex_unlock(&q->lock);
	return idle;
}

static void inline_end(struct hg_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->completed++;
	if (q->waiters)
		pthread_cond_broadcast(&q->work_done);
	pthread_mutex_unlock(&q->lock);
}

static enum hg_status cpu_queue_create(struct hg_target *t, int priority, struct hg_queue **out)
{
	struct hg_queue *q = calloc(1, sizeof(*q));

	(void)priority;
	if (!q)
		return HG_ERR_NOMEM;
	q->note = calloc(1, sizeof(*q->note));
	if (!q->note) {
		free(q);
		return HG_ERR_NOMEM;
	}
	q->target = t;
	q->last = &q->first;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->work_added, NULL);
	pthread_cond_init(&q->work_done, NULL);
	pthread_mutex_lock(&t->queues_lock);
	q->next_queue = t->queues;
	q->prev_queue = &t->queues;
	if (q->next_queue)
		q->next_queue->prev_queue = &q->next_queue;
	t->queues = q;
	pthread_mutex_unlock(&t->queues_lock);
	*out = q;
	return HG_OK;
}

static void cpu_queue_destroy(struct hg_queue *q)
{
	struct hg_target *t;

	if (!q)
		return;
	t = q->target;
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_signal(&q->work_added);
	pthread_mutex_unlock(&q->lock);
	if (q->has_worker)
		pthread_join(q->worker, NULL);
	pthread_mutex_lock(&t->queues_lock);
	*q->prev_queue = q->next_queue;
	if (q->next_queue)
		q->next_queue->prev_queue = q->prev_queue;
	pthread_mutex_unlock(&t->queues_lock);
	free(q->note);
	pthread_cond_destroy(&q->work_done);
	pthread_cond_destroy(&q->work_added);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

static bool cpu_queue_is_idle(struct hg_queue *q)
{
	bool idle;

	pthread_mutex_lock(&q->lock);
	idle = q->issued == q->completed;
	pthread_mutex_unlock(&q->lock);
	return idle;
}

static enum hg_status cpu_queue_sync(struct hg_queue *q)
{
	uint64_t until;

	pthread_mutex_lock(&q->lock);
	until = q->issued;
	q->waiters++;
	while (q->completed < until)
		pthread_cond_wait(&q->work_done, &q->lock);
	q->waiters--;
	pthread_mutex_unlock(&q->lock);
	return atomic_load(&q->failed) ? HG_ERR_FAULT : HG_OK;
}

static void cpu_queue_cancel(struct hg_queue *q)
{
	atomic_store(&q->failed, true);
}

static void cpu_queue_throttle(struct hg_queue *q, uint32_t max)
{
	pthread_mutex_lock(&q->lock);
	q->waiters++;
	while (q->issued - q->completed > max)
		pthread_cond_wait(&q->work_done, &q->lock);
	q->waiters--;
	pthread_mutex_unlock(&q->lock);
}

static enum hg_status cpu_copy(struct hg_queue *q, const struct hg_copy *c)
{
	struct work *w;

	if (c->width * c->height * c->depth <= INLINE_BYTES && inline_begin(q)) {
		if (!atomic_load_explicit(&q->failed, memory_order_relaxed))
			run_copy(c);
		inline_end(q);
		return HG_OK;
	}
	w = work_new(WORK_COPY, 0);
	if (!w)
		return HG_ERR_NOMEM;
	w->copy = *c;
	return push(q, w);
}

static enum hg_status cpu_fill(struct hg_queue *q, const struct hg_fill *f)
{
	struct work *w;

	if (f->width * f->height * f->element <= INLINE_BYTES && inline_begin(q)) {
		if (!atomic_load_explicit(&q->failed, memory_order_relaxed))
			run_fill(f);
		inline_end(q);
		return HG_OK;
	}
	w = work_new(WORK_FILL, 0);
	if (!w)
		return HG_ERR_NOMEM;
	w->fill = *f;
	return push(q, w);
}

static enum hg_status cpu_launch(struct hg_queue *q, const struct hg_launch *l)
{
	size_t size = l->kernel->param_bytes;
	struct work *w = work_new(WORK_LAUNCH, size);

	if (!w)
		return HG_ERR_NOMEM;
	w->launch = *l;
	if (size)
		memcpy(w->params, l->params, size);
	return push(q, w);
}

static enum hg_status cpu_host_func(struct hg_queue *q, void (*fn)(void *arg), void *arg)
{
	struct work *w = work_new(WORK_HOST_FUNC, 0);

	if (!w)
		return HG_ERR_NOMEM;
	w->host.fn = fn;
	w->host.arg = arg;
	return push(q, w);
}

static enum hg_status cpu_mark_record(struct hg_queue *q, struct hg_mark *m)
{
	struct hg_target *t = q->target;
	struct point *p = calloc(1, sizeof(*p));
	struct work *w;

	if (!p)
		return HG_ERR_NOMEM;
	p->refs = 2;	/* the mark's, and that of who completes it */
	if (inline_begin(q)) {
		inline_end(q);
		w = NULL;
	} else {
		w = work_new(WORK_RECORD, 0);
		if (!w) {
			free(p);
			return HG_ERR_NOMEM;
		}
		w->point = p;
	}
	pthread_mutex_lock(&t->point_lock);
	point_put_locked(m->last);
	m->last = p;
	pthread_mutex_unlock(&t->point_lock);
	if (!w) {
		point_complete(t, p);
		return HG_OK;
	}
	return push(q, w);
}

static enum hg_status cpu_mark_wait(struct hg_queue *q, struct hg_mark *m)
{
	struct point *p = mark_pending(m);
	struct work *w;

	if (!p)
		return HG_OK;
	w = work_new(WORK_WAIT, 0);
	if (!w) {
		pthread_mutex_lock(&q->target->point_lock);
		point_put_locked(p);
		pthread_mutex_unlock(&q->target->point_lock);
		return HG_ERR_NOMEM;
	}
	w->point = p;
	return push(q, w);
}

static bool cpu_fault(struct hg_target *t, struct hg_fault *out)
{
	struct fault_note *note;

	if (!atomic_load_explicit(&t->has_faults, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&t->fault_lock);
	note = t->faults;
	if (note) {
		t->faults = note->next;
		*out = note->fault;
	}
	atomic_store(&t->has_faults, t->faults != NULL);
	pthread_mutex_unlock(&t->fault_lock);
	free(note);
	return note != NULL;
}

/* modules */

static void cpu_module_unload(struct hg_target_module *m)
{
	if (!m)
		return;
	hg_cpu_module_destroy(m->code);
	pthread_mutex_destroy(&m->lock);
	free(m->kernel);
	free(m->var_addr);
	free(m);
}

static enum hg_status cpu_module_load(struct hg_target *t, const struct hg_module *module, const hg_dptr *var_addr,
				      struct hg_target_module **out)
{
	struct hg_target_module *m = calloc(1, sizeof(*m));
	size_t nr_vars = hg_module_nr_vars(module);
	enum hg_status st;

	if (!m)
		return HG_ERR_NOMEM;
	m->target = t;
	m->nr_kernels = hg_module_nr_kernels(module);
	m->var_addr = calloc(nr_vars + 1, sizeof(*m->var_addr));
	m->kernel = calloc(m->nr_kernels + 1, sizeof(*m->kernel));
	pthread_mutex_init(&m->lock, NULL);
	if (!m->var_addr || !m->kernel) {
		st = HG_ERR_NOMEM;
		goto err_free;
	}
	for (size_t i = 0; i < nr_vars; i++)
		m->var_addr[i] = var_addr[i];
	for (size_t i = 0; i < m->nr_kernels; i++) {
		m->kernel[i].module = m;
		m->kernel[i].param_bytes = hg_module_kernel(module, i)->param_bytes;
	}
	st = hg_cpu_module_create(module, &m->code);
	if (st)
		goto err_free;
	*out = m;
	return HG_OK;

err_free:
	cpu_module_unload(m);
	return st;
}

static enum hg_status cpu_kernel_get(struct hg_target_module *m, size_t index, struct hg_target_kernel **out)
{
	struct hg_cpu_kernel *code;
	enum hg_status st;

	if (index >= m->nr_kernels)
		return HG_ERR_NOTFOUND;
	st = hg_cpu_kernel_get(m->code, index, &code);
	if (st)
		return st;
	pthread_mutex_lock(&m->lock);
	m->kernel[index].code = code;
	pthread_mutex_unlock(&m->lock);
	*out = &m->kernel[index];
	return HG_OK;
}

/* the target */

/* What this process may use: of the machine, or of its control group if that is less. */
static uint64_t memory_limit(void)
{
	uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long limit;
	FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");

	if (f) {
		if (fscanf(f, "%llu", &limit) == 1 && limit && limit < bytes)
			bytes = limit;
		fclose(f);
	}
	return bytes;
}

static enum hg_status cpu_open(struct hg_target **out)
{
	struct hg_target *t = calloc(1, sizeof(*t));
	long khz = 0;
	FILE *f;

	if (!t)
		return HG_ERR_NOMEM;
	pthread_mutex_init(&t->point_lock, NULL);
	pthread_cond_init(&t->point_done, NULL);
	pthread_mutex_init(&t->fault_lock, NULL);
	pthread_mutex_init(&t->queues_lock, NULL);

	f = fopen("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "re");
	if (f) {
		if (fscanf(f, "%ld", &khz) != 1)
			khz = 0;
		fclose(f);
	}
	snprintf(t->info.name, sizeof(t->info.name), "hgshim cpu");
	t->info.memory_bytes = memory_limit();
	t->info.nr_multiprocessors = hg_grid_nr_threads();
	t->info.warp_size = HG_WARP;
	t->info.clock_khz = khz > 0 ? (uint32_t)khz : 2000000;
	t->info.max_threads_per_block = 1024;
	t->info.max_shared_bytes = 48u << 10;
	t->info.max_shared_optin_bytes = 99u << 10;
	t->info.keeps_addresses = true;
	t->info.host_access = true;

	*out = t;
	return HG_OK;
}

static void cpu_close(struct hg_target *t)
{
	struct fault_note *note;

	if (!t)
		return;
	while (t->queues)
		cpu_queue_destroy(t->queues);
	hg_grid_shutdown();
	for (note = t->faults; note; note = t->faults) {
		t->faults = note->next;
		free(note);
	}
	pthread_mutex_destroy(&t->queues_lock);
	pthread_mutex_destroy(&t->fault_lock);
	pthread_cond_destroy(&t->point_done);
	pthread_mutex_destroy(&t->point_lock);
	free(t);
}

static void cpu_info(struct hg_target *t, struct hg_target_info *out)
{
	*out = t->info;
}

const struct hg_target_ops hg_target_cpu = {
	.name = "cpu",
	.open = cpu_open,
	.close = cpu_close,
	.info = cpu_info,
	.map_unit = cpu_map_unit,
	.reserve = cpu_reserve,
	.map = cpu_map,
	.unmap = cpu_unmap,
	.host_register = cpu_host_register,
	.host_unregister = cpu_host_unregister,
	.module_load = cpu_module_load,
	.module_unload = cpu_module_unload,
	.kernel_get = cpu_kernel_get,
	.queue_create = cpu_queue_create,
	.queue_destroy = cpu_queue_destroy,
	.copy = cpu_copy,
	.fill = cpu_fill,
	.launch = cpu_launch,
	.host_func = cpu_host_func,
	.mark_create = cpu_mark_create,
	.mark_destroy = cpu_mark_destroy,
	.mark_record = cpu_mark_record,
	.mark_wait = cpu_mark_wait,
	.mark_is_done = cpu_mark_is_done,
	.mark_sync = cpu_mark_sync,
	.mark_time_ns = cpu_mark_time_ns,
	.queue_is_idle = cpu_queue_is_idle,
	.queue_sync = cpu_queue_sync,
	.queue_cancel = cpu_queue_cancel,
	.queue_throttle = cpu_queue_throttle,
	.fault = cpu_fault,
	.read = cpu_read,
	.write = cpu_write,
};
