/* migrate.c - a running process goes on with another driver. */
#define _GNU_SOURCE
#include "intercept/migrate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "common/fault.h"
#include "common/msg.h"
#include "intercept/gate.h"
#include "intercept/ledger.h"
#include "intercept/maps.h"
#include "intercept/native.h"
#include "intercept/native_mem.h"
#include "intercept/native_tables.h"
#include "intercept/record.h"
#include "intercept/shim.h"

#define MAX_DEVICES 16

struct event {
	const void *handle;
	uint64_t ctx;			/* id */
	bool recorded;
	uint64_t recorded_ns;		/* on this host's clock (now_ns) */
};

struct migration {
	struct hg_recorder *recorder;
	const struct hg_real *old;	/* the functions of the driver that is left */
	bool is_native;			/* it is NVIDIA's, and not the portable one on another target */
	const char *target;
	const struct hg_engine *engine;
	struct hg_log *log;
	struct hg_restore *restore;
	struct hg_native_ctxs ctxs;
	int nr_devices;
	uint64_t primary[MAX_DEVICES], pool[MAX_DEVICES];
	struct hg_held *object;		/* of device memory, ascending, apart */
	size_t nr_objects, object_room;
	struct hg_held *range;		/* the same, widened to the new driver's units of mapping, and merged */
	size_t nr_ranges;
	struct event *event;
	size_t nr_events, event_room;
	unsigned int nr_failed;		/* calls of the old driver, while it was taken apart */
};

static void *grow(void *array, size_t nr, size_t *room, size_t size)
{
	void *grown;

	if (nr < *room)
		return array;
	grown = realloc(array, (*room ? 2 * *room : 64) * size);
	if (grown)
		*room = *room ? 2 * *room : 64;
	return grown;
}

static void say(const struct migration *m, const char *symbol, CUresult r)
{
	if (m->is_native)
		hg_nv_say(symbol, r);
	else
		pr_err("'%s' failed on target '%s' with error %d", symbol, hg_shim_target(), (int)r);
}
#define SAY(m, sym, r) say(m, #sym, r)

static enum hg_status ctx_push(const struct migration *m, CUcontext ctx)
{
	CUresult r;

	if (m->is_native)
		return hg_native_ctx_push(ctx);
	r = m->old->cuCtxPushCurrent_v2(ctx);
	if (r != CUDA_SUCCESS)
		SAY(m, cuCtxPushCurrent_v2, r);
	return r == CUDA_SUCCESS ? HG_OK : HG_ERR_FAULT;
}

static enum hg_status ctx_pop(const struct migration *m)
{
	CUcontext popped;
	CUresult r;

	if (m->is_native)
		return hg_native_ctx_pop();
	r = m->old->cuCtxPopCurrent_v2(&popped);
	if (r != CUDA_SUCCESS)
		SAY(m, cuCtxPopCurrent_v2, r);
	return r == CUDA_SUCCESS ? HG_OK : HG_ERR_FAULT;
}

/* ---- what is asked before anything changes ---- */

enum hg_status hg_migrate_check(const char *target, const char **out)
{
	const char *known = hg_executor_portable_target(target);

	if (!strcmp(target, hg_shim_target())) {
		pr_err("the process runs on target '%s' already", hg_shim_target());
		return HG_ERR_REFUSED;
	}
	if (!known) {
		pr_err("cannot move a process to target '%.16s': this version moves to: %s", target, hg_executor_portable_targets);
		return HG_ERR_UNAVAILABLE;
	}
	*out = known;
	return HG_OK;
}

static bool has_known_stack(const struct hg_thread *t)
{
	return t->ctx_depth <= HG_THREAD_CTXS;
}

static int is_drivers_host(const struct hg_entry *e, void *arg)
{
	(void)arg;
	if (e->kind != HG_KIND_HPTR || e->made_by == HG_ID_cuMemHostRegister_v2 || hg_native_mem_owns_host(e->handle))
		return 0;
	pr_err("%" PRIu64 " bytes of pinned memory at 0x%" PRIx64 " are the driver's (write-combined, or the device cannot use other memory): "
	       "they would vanish under the program", e->size, e->handle);
	return 1;
}

static enum hg_status check_state(const struct migration *m)
{
	if (hg_gate_each(has_known_stack)) {
		pr_err("a thread has pushed more than %d contexts", HG_THREAD_CTXS);
		return HG_ERR_REFUSED;
	}
	return m->is_native && hg_ledger_each(is_drivers_host, NULL) ? HG_ERR_REFUSED : HG_OK;
}

static enum hg_status add_range(const struct hg_region *r, void *arg)
{
	struct migration *m = arg;
	struct hg_held *grown;

	if (r->kind != HG_REGION_DEVICE && r->kind != HG_REGION_GLOBAL)
		return HG_OK;
	grown = grow(m->object, m->nr_objects, &m->object_room, sizeof(*grown));
	if (!grown)
		return HG_ERR_NOMEM;
	m->object = grown;
	m->object[m->nr_objects++] = (struct hg_held){ r->addr, r->addr + r->size };
	return HG_OK;
}

static int by_start(const void *a, const void *b)
{
	const struct hg_held *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static enum hg_status widen(struct migration *m)
{
	if (!m->nr_objects)
		return HG_OK;
	m->range = calloc(m->nr_objects, sizeof(*m->range));
	if (!m->range)
		return HG_ERR_NOMEM;
	qsort(m->object, m->nr_objects, sizeof(*m->object), by_start);
	for (size_t i = 0; i < m->nr_objects; i++) {
		uint64_t unit = m->engine->map_unit(m->target, m->object[i].start);
		struct hg_held r = { m->object[i].start & -unit, (m->object[i].end + unit - 1) & -unit };
		struct hg_held *last = m->nr_ranges ? &m->range[m->nr_ranges - 1] : NULL;

		if (!last || r.start > last->end)
			m->range[m->nr_ranges++] = r;
		else if (r.end > last->end)
			last->end = r.end;
	}
	return HG_OK;
}

/* Where the driver has put device memory, the mapping is the driver's. */
static bool holds_object(const struct migration *m, const struct hg_map *map)
{
	size_t lo = 0, hi = m->nr_objects;

	while (lo < hi) {	/* the first that ends behind the mapping's start */
		size_t mid = lo + (hi - lo) / 2;

		if (m->object[mid].end <= map->start)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->nr_objects && m->object[lo].start < map->end;
}

/* Of a file, the heap, a stack: nothing that a driver reserves. */
static bool is_named(const struct hg_map *map)
{
	return map->path[0] && strncmp(map->path, "/dev/nvidia", 11) != 0 && strncmp(map->path, "/dev/zero", 9) != 0 &&
	       strncmp(map->path, "[anon", 5) != 0;
}

static int find_obstacle(const struct hg_map *map, void *arg)
{
	const struct migration *m = arg;

	if (!is_named(map) || holds_object(m, map))
		return 0;
	for (size_t i = 0; i < m->nr_ranges; i++)
		if (map->start < m->range[i].end && m->range[i].start < map->end) {
			pr_err("device memory lies at 0x%" PRIx64 "-0x%" PRIx64 ", and '%s' of the program at 0x%" PRIx64 "-0x%" PRIx64
			       ": they cannot both be ordinary memory", m->range[i].start, m->range[i].end, map->path,
			       map->start, map->end);
			return 1;
		}
	return 0;
}

static enum hg_status look_at_ranges(struct migration *m)
{
	enum hg_status st = hg_shim_executor()->regions(add_range, m);

	if (st == HG_OK)
		st = widen(m);
	if (st != HG_OK)
		return st;
	switch (hg_maps_each(find_obstacle, m)) {
	case 0:
		return HG_OK;
	case 1:
		return HG_ERR_REFUSED;
	default:
		pr_err("cannot read /proc/self/maps");
		return HG_ERR_IO;
	}
}

static enum hg_status look_at_devices(struct migration *m)
{
	CUresult r = m->old->cuDeviceGetCount ? m->old->cuDeviceGetCount(&m->nr_devices) : CUDA_ERROR_NOT_SUPPORTED;

	if (r != CUDA_SUCCESS) {
		SAY(m, cuDeviceGetCount, r);
		return HG_ERR_FAULT;
	}
	if (m->nr_devices > MAX_DEVICES) {
		pr_err("the program sees %d devices, more than %d", m->nr_devices, MAX_DEVICES);
		return HG_ERR_REFUSED;
	}
	for (int d = 0; d < m->nr_devices; d++) {
		CUmemoryPool pool = NULL;

		m->primary[d] = HG_WORD(hg_shim_executor()->primary_ctx(d));
		r = m->old->cuDeviceGetDefaultMemPool ? m->old->cuDeviceGetDefaultMemPool(&pool, d) : CUDA_ERROR_NOT_SUPPORTED;
		/* a driver without pools has none to be named */
		if (r != CUDA_SUCCESS && r != CUDA_ERROR_NOT_SUPPORTED) {
			SAY(m, cuDeviceGetDefaultMemPool, r);
			return HG_ERR_FAULT;
		}
		m->pool[d] = HG_WORD(pool);
	}
	return HG_OK;
}

static int add_event(const struct hg_entry *e, void *arg)
{
	struct migration *m = arg;
	struct event *grown;

	if (e->kind != HG_KIND_EVENT)
		return 0;
	grown = grow(m->event, m->nr_events, &m->event_room, sizeof(*grown));
	if (!grown)
		return 1;
	m->event = grown;
	m->event[m->nr_events++] = (struct event){ .handle = (const void *)(uintptr_t)e->handle, .ctx = e->parent };
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static CUresult elapsed(const struct migration *m, float *ms, CUevent from, CUevent to)
{
	if (m->old->cuEventElapsedTime_v2)
		return m->old->cuEventElapsedTime_v2(ms, from, to);
	return m->old->cuEventElapsedTime ? m->old->cuEventElapsedTime(ms, from, to) : CUDA_ERROR_NOT_SUPPORTED;
}

/* Which events were recorded, and how long before `now`; the driver refuses for those that were not, or keep no time. */
static enum hg_status read_ages(struct migration *m, uint64_t ctx, CUevent now)
{
	uint64_t host_now = now_ns();

	for (size_t i = 0; i < m->nr_events; i++) {
		struct event *e = &m->event[i];
		float ms;
		CUresult r;

		if (e->ctx != ctx)
			continue;
		r = elapsed(m, &ms, (CUevent)(uintptr_t)e->handle, now);
		if (r == CUDA_ERROR_INVALID_HANDLE)
			continue;
		if (r != CUDA_SUCCESS) {
			say(m, m->old->cuEventElapsedTime_v2 ? "cuEventElapsedTime_v2" : "cuEventElapsedTime", r);
			return HG_ERR_FAULT;
		}
		e->recorded = true;
		e->recorded_ns = host_now - (ms > 0 ? (uint64_t)((double)ms * 1e6) : 0);
	}
	return HG_OK;
}

static enum hg_status look_at_events(struct migration *m)
{
	enum hg_status st = HG_OK;

	if (hg_ledger_each(add_event, m))
		return HG_ERR_NOMEM;
	for (size_t i = 0; m->nr_events && i < m->ctxs.nr && st == HG_OK; i++) {
		CUevent now = NULL;
		enum hg_status popped;
		CUresult r;

		st = ctx_push(m, m->ctxs.ctx[i].handle);
		if (st != HG_OK)
			break;
		r = m->old->cuEventCreate(&now, CU_EVENT_DEFAULT);
		if (r != CUDA_SUCCESS)
			SAY(m, cuEventCreate, r);
		if (r == CUDA_SUCCESS) {
			r = m->old->cuEventRecord(now, CU_STREAM_LEGACY);
			if (r != CUDA_SUCCESS)
				SAY(m, cuEventRecord, r);
		}
		if (r == CUDA_SUCCESS) {
			r = m->old->cuEventSynchronize(now);
			if (r != CUDA_SUCCESS)
				SAY(m, cuEventSynchronize, r);
		}
		if (r == CUDA_SUCCESS)
			st = read_ages(m, m->ctxs.ctx[i].id, now);
		else
			st = HG_ERR_FAULT;
		if (now)
			(void)m->old->cuEventDestroy_v2(now);
		popped = ctx_pop(m);
		if (st == HG_OK)
			st = popped;
	}
	return st;
}

/* What cannot be compiled ahead will be said when it matters. */
static void swallow(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

static bool step(void *arg)
{
	hg_recorder_progress(arg, HG_CONTROL_MIGRATING, 0, 0);
	return !hg_gate_is_ended();
}

void hg_migrate_ahead(struct hg_recorder *recorder, const char *target, uint32_t timeout_ms)
{
	struct hg_restore_options opt = { .target = target, .nr_devices = 1 };

	if (hg_executor_portable.load(target) != HG_OK)
		return;		/* said, and said again when it matters */
	hg_recorder_progress(recorder, HG_CONTROL_MIGRATING, 0, 0);
	if (hg_recorder_drain(recorder, timeout_ms) != HG_OK || hg_recorder_log(recorder, &opt.log) != HG_OK)
		return;
	hg_engine()->msg_sink(swallow, NULL);
	hg_engine()->restore_warm(&opt, step, recorder);
	hg_engine()->msg_sink(NULL, NULL);
	hg_log_close(opt.log);
}

static void forward(enum hg_msg_level level, const char *line, void *arg)
{
	(void)arg;
	hg_msg(level, "%s", line);
}

static enum hg_status prepare(struct migration *m, uint64_t number)
{
	struct hg_restore_options opt = { .target = m->target, .snapshot = number, .pool = m->pool, .primary = m->primary };
	enum hg_status st = check_state(m);

	if (st == HG_OK)
		st = hg_executor_portable.load(m->target);
	if (st != HG_OK)
		return st;
	m->engine = hg_engine();
	m->engine->msg_sink(forward, NULL);
	st = hg_native_ctxs(&m->ctxs);
	if (st == HG_OK)
		st = look_at_devices(m);
	if (st == HG_OK)
		st = look_at_ranges(m);
	if (st == HG_OK)
		st = look_at_events(m);
	if (st == HG_OK)
		st = hg_recorder_log(m->recorder, &m->log);
	if (st != HG_OK)
		return st;
	opt.log = m->log;
	opt.nr_devices = m->nr_devices;
	opt.nr_pools = opt.nr_primaries = (uint64_t)m->nr_devices;
	return m->engine->restore_open(&opt, &m->restore);
}

/* ---- taking the old driver's objects apart ---- */

#define TRY(m, sym, args)                                                                          \
	do {                                                                                       \
		CUresult r_ = hg_nv.sym ? hg_nv.sym args : CUDA_ERROR_NOT_SUPPORTED;               \
                                                                                                   \
		if (r_ != CUDA_SUCCESS) {                                                          \
			HG_NV_SAY(sym, r_);                                                        \
			(m)->nr_failed++;                                                          \
		}                                                                                  \
	} while (0)

struct in_ctx {
	struct migration *m;
	uint64_t ctx;			/* id */
	bool first;			/* what belongs to no known context, too */
};

static int free_memory(const struct hg_entry *e, void *arg)
{
	const struct in_ctx *c = arg;

	if (e->parent != c->ctx && !(c->first && !e->parent))
		return 0;
	if (e->kind == HG_KIND_DPTR && !hg_native_mem_owns_device(e->handle))
		TRY(c->m, cuMemFree_v2, (e->handle));
	else if (e->kind == HG_KIND_HPTR && e->made_by == HG_ID_cuMemHostRegister_v2)
		TRY(c->m, cuMemHostUnregister, ((void *)(uintptr_t)e->handle));
	return 0;
}

static int unload_library(const struct hg_entry *e, void *arg)
{
	if (e->kind == HG_KIND_LIBRARY)
		TRY((struct migration *)arg, cuLibraryUnload, ((CUlibrary)(uintptr_t)e->handle));
	return 0;
}

static void end_ctx(struct migration *m, CUcontext ctx)
{
	for (int d = 0; d < m->nr_devices; d++)
		if (m->primary[d] == HG_WORD(ctx)) {
			TRY(m, cuDevicePrimaryCtxReset_v2, (d));
			return;
		}
	TRY(m, cuCtxDestroy_v2, (ctx));
}

static void take_apart(struct migration *m)
{
	bool pushed;

	if (!m->is_native) {
		hg_ledger_forget_kernels();
		m->engine->restore_leave(m->restore);
		return;
	}
	for (size_t i = 0; i < m->ctxs.nr; i++) {
		struct in_ctx c = { m, m->ctxs.ctx[i].id, i == 0 };

		if (hg_native_ctx_push(m->ctxs.ctx[i].handle) != HG_OK) {
			m->nr_failed++;
			continue;
		}
		(void)hg_ledger_each(free_memory, &c);
		if (hg_native_ctx_pop() != HG_OK)
			m->nr_failed++;
	}
	/*
	 * Behind all contexts' own memory: until then it tells which is whose. Also without a context: the arena's addresses
	 * stay reserved when the last one ends.
	 */
	pushed = m->ctxs.nr && hg_native_ctx_push(m->ctxs.ctx[0].handle) == HG_OK;
	if (m->ctxs.nr && !pushed)
		m->nr_failed++;
	m->nr_failed += hg_native_mem_release();
	if (pushed && hg_native_ctx_pop() != HG_OK)
		m->nr_failed++;
	for (int d = 0; d < m->nr_devices; d++)
		if (m->pool[d])
			TRY(m, cuMemPoolTrimTo, ((CUmemoryPool)(uintptr_t)m->pool[d], 0));
	(void)hg_ledger_each(unload_library, m);
	for (size_t i = 0; i < m->ctxs.nr; i++)
		end_ctx(m, m->ctxs.ctx[i].handle);
}

/* ---- the addresses ---- */

struct leftover {
	const struct migration *m;
	uint64_t from, to;		/* looked at */
	uint64_t start, end;		/* found */
};

static int find_leftover(const struct hg_map *map, void *arg)
{
	struct leftover *l = arg;

	if (map->start >= l->to || l->from >= map->end)
		return 0;
	l->start = map->start > l->from ? map->start : l->from;
	l->end = map->end < l->to ? map->end : l->to;
	if (map->prot == PROT_NONE && !is_named(map))
		return 1;
	return l->m->nr_failed && holds_object(l->m, map) ? 1 : 2;
}

static bool map_nothing(uint64_t start, uint64_t end, int how)
{
	void *p = mmap((void *)(uintptr_t)start, end - start, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | how, -1, 0);

	if (p == (void *)(uintptr_t)start)
		return true;
	if (p != MAP_FAILED)	/* a kernel before 4.17 takes the address for a hint */
		munmap(p, end - start);
	return false;
}

/*
 * Takes the addresses of a range as soon as the driver has given them back, before another thread's mmap does. A driver may
 * keep addresses that it has reserved, without access; nobody asks it for memory any more. What is there with access is
 * what it did not give back, if it failed to; else it is of another thread, which was quicker.
 */
static enum hg_status hold_range(const struct migration *m, const struct hg_held *range)
{
	struct leftover l = { .m = m, .from = range->start, .to = range->end };
	int found = 0;

	if (map_nothing(range->start, range->end, MAP_FIXED_NOREPLACE))
		return HG_OK;
	while (l.from < l.to) {
		uint64_t gap_end = l.to;

		found = hg_maps_each(find_leftover, &l);
		if (found < 0 || found == 2)
			break;
		if (found)
			gap_end = l.start;
		if (gap_end > l.from && !map_nothing(l.from, gap_end, MAP_FIXED_NOREPLACE))
			break;
		if (found && !map_nothing(l.start, l.end, MAP_FIXED))
			break;
		l.from = found ? l.end : l.to;
	}
	if (l.from >= l.to)
		return HG_OK;
	pr_err("the addresses 0x%" PRIx64 "-0x%" PRIx64 " of device memory cannot be had: %s", range->start, range->end,
	       found == 2 ? "another thread of the program took them while they were free" : "the system refuses them");
	return HG_ERR_NOSPC;
}

/* ---- the new driver ---- */

static const struct hg_engine *adopting;

/* On each thread, before its first call on the new driver. */
static void adopt(struct hg_thread *t)
{
	if (adopting->ctx_stack(t->ctx_stack, t->ctx_depth) != HG_OK)
		pr_err("a thread has lost its current context");
}

static enum hg_status rebuild(struct migration *m)
{
	enum hg_status st = HG_OK;

	for (size_t i = 0; i < m->nr_ranges && st == HG_OK; i++)
		st = hold_range(m, &m->range[i]);
	if (st == HG_OK)
		st = m->engine->restore_run(m->restore, m->range, m->nr_ranges);
	for (size_t i = 0; i < m->nr_events && st == HG_OK; i++)
		if (m->event[i].recorded)
			st = m->engine->event_age(m->event[i].handle, now_ns() - m->event[i].recorded_ns);
	return st;
}

/*
 * A rebuilt primary context was retained once. One that the application has reset is retained, but not active: it is reset
 * here, too, unless that would give the variables of libraries their first values.
 */
static void retain_again(const struct migration *m)
{
	CUresult (*retain)(CUcontext *, CUdevice) = (CUresult (*)(CUcontext *, CUdevice))m->engine->proc("cuDevicePrimaryCtxRetain");
	CUresult (*reset)(CUdevice) = (CUresult (*)(CUdevice))m->engine->proc("cuDevicePrimaryCtxReset_v2");

	for (int d = 0; d < m->nr_devices; d++) {
		int wanted = hg_record_retained(d), nr = hg_ledger_find(HG_KIND_CTX, m->primary[d]) ? 1 : 0;
		CUresult r = CUDA_SUCCESS;
		bool is_active = nr;

		for (; nr < wanted && r == CUDA_SUCCESS; nr++) {
			CUcontext ctx;

			r = retain(&ctx, d);
		}
		if (r == CUDA_SUCCESS && wanted && !is_active && !hg_ledger_count(HG_KIND_LIBRARY))
			r = reset(d);
		if (r != CUDA_SUCCESS)
			pr_warn("device %d's primary context is not retained as often as the program thinks", d);
	}
}

enum hg_status hg_migrate(struct hg_recorder *recorder, const char *target, uint64_t number)
{
	bool is_native = hg_shim_executor() == &hg_executor_native;
	struct migration m = { .recorder = recorder, .target = target, .is_native = is_native, .old = is_native ? &hg_nv : &hg_real[0] };
	enum hg_status st;

	hg_recorder_progress(recorder, HG_CONTROL_MIGRATING, 0, 0);
	st = prepare(&m, number);
	if (st == HG_OK && hg_fault("migrate.prepared")) {
		pr_err("a fault was asked for");
		st = HG_ERR_REFUSED;
	}
	/* a process that is ending goes nowhere, and its driver may be ending, too */
	if (st == HG_OK && hg_gate_is_ended()) {
		pr_err("the program is ending");
		st = HG_ERR_REFUSED;
	}
	if (st != HG_OK)
		goto out;

	take_apart(&m);
	st = rebuild(&m);
	if (st != HG_OK) {
		pr_err("the program has left its driver, and its state could not be rebuilt (%s): no CUDA call works any more; snapshot %"
		       PRIu64 " of '%s' holds the state", hg_status_text(st), number, hg_recorder_dir(recorder));
		hg_gate_end();
		goto out;
	}
	retain_again(&m);
	if (m.is_native)
		hg_native_tables_switch();
	adopting = m.engine;
	hg_shim_use(&hg_executor_portable, target);
	hg_gate_moved(adopt);
	hg_recorder_executor(recorder, target);
out:
	if (m.engine) {
		m.engine->restore_close(m.restore);
		m.engine->msg_sink(NULL, NULL);
	}
	if (m.log)
		hg_log_close(m.log);
	free(m.object);
	free(m.range);
	free(m.event);
	return st;
}
