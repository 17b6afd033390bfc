/* native_mem.c - pinned host memory that outlives the driver; the device's is in native_arena.c. */
#define _GNU_SOURCE
#include "intercept/native_mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/fault.h"
#include "common/ivmap.h"
#include "common/msg.h"
#include "intercept/native_arena.h"

#define HUGE_PAGE (UINT64_C(2) << 20)

/* An allocation of host memory: hgshim's mapping, registered with the driver. */
struct host {
	uint64_t addr, size, room;	/* room: what is mapped, whole pages */
	CUcontext ctx;			/* current when it was allocated */
	unsigned int flags;		/* the application's */
	bool dying;			/* a thread is freeing it */
};

/* `lock` is held for bookkeeping only, never while the driver is called. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hg_ivmap hosts;		/* value: struct host * */

void *hg_native_row_find(const struct hg_native_row *row, size_t nr_rows, const char *symbol)
{
	for (size_t i = 0; i < nr_rows; i++)
		if (!strcmp(row[i].symbol, symbol))
			return *(void **)((char *)&hg_nv + row[i].real) ? row[i].fn : NULL;
	return NULL;
}

static CUresult wait_in(CUcontext ctx)
{
	CUcontext popped;
	CUresult r = hg_nv.cuCtxPushCurrent_v2(ctx), pop;

	if (r)
		return r;
	r = hg_nv.cuCtxSynchronize();
	pop = hg_nv.cuCtxPopCurrent_v2(&popped);
	return r ? r : pop;
}

CUresult hg_native_mem_wait(CUcontext ctx, CUcontext current)
{
	CUresult r = CUDA_SUCCESS;

	if (ctx != current)
		r = wait_in(ctx);
	return r ? r : hg_nv.cuCtxSynchronize();
}

/* the mapping */

/*
 * Shared, not private: after a fork a private page that the parent writes to is copied, and the device would go on with
 * the old one. The driver's own host memory is shared with a child, too.
 */
static enum hg_status host_map(uint64_t size, uint64_t *addr, uint64_t *room)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), slack, begin, used;
	char *p;

	if (size > UINT64_MAX / 2)
		return HG_ERR_NOMEM;
	used = (size + page - 1) & -page;
	slack = used >= HUGE_PAGE ? HUGE_PAGE : 0;
	if (hg_fault("native_host_map"))
		return HG_ERR_NOMEM;
	p = mmap(NULL, used + slack, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return HG_ERR_NOMEM;
	begin = (uintptr_t)p;
	if (slack) {
		begin = (begin + HUGE_PAGE - 1) & -HUGE_PAGE;
		if (begin > (uintptr_t)p)
			munmap(p, begin - (uintptr_t)p);
		if (begin - (uintptr_t)p < slack)
			munmap((void *)(begin + used), slack - (begin - (uintptr_t)p));
		/* fewer, larger pages to pin; where the system gives none, small ones do */
		(void)madvise((void *)begin, used, MADV_HUGEPAGE);
	}
	*addr = begin;
	*room = used;
	return HG_OK;
}

static bool device_takes_registered(void)
{
	CUdevice dev;
	int can = 0;

	return !hg_nv.cuCtxGetDevice(&dev) &&
	       !hg_nv.cuDeviceGetAttribute(&can, CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, dev) && can == 1;
}

/* Null: this one is the driver's business, be it because something is wrong with the call. */
static void *host_alloc(void **out, size_t size, unsigned int flags)
{
	struct host *h;
	enum hg_status st;
	CUcontext ctx;

	if (!out || !size || (flags & ~(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP)))
		return NULL;
	if (hg_nv.cuCtxGetCurrent(&ctx) || !ctx || !device_takes_registered())
		return NULL;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	st = host_map(size, &h->addr, &h->room);
	if (st)
		goto err_free;
	h->size = size;
	h->ctx = ctx;
	h->flags = flags;
	/* of exactly that size: it is what the driver answers when it is asked for the range */
	if (hg_nv.cuMemHostRegister_v2((void *)h->addr, size, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP))
		goto err_unmap;
	pthread_mutex_lock(&lock);
	st = hg_ivmap_put(&hosts, h->addr, h->size, (uintptr_t)h);
	pthread_mutex_unlock(&lock);
	if (st)
		goto err_unregister;
	return (void *)h->addr;

err_unregister:
	if (hg_nv.cuMemHostUnregister((void *)h->addr)) {
		/* still known to the driver: then its pages must stay */
		pr_warn("out of memory: %zu bytes of pinned memory are lost", size);
		free(h);
		return NULL;
	}
err_unmap:
	munmap((void *)h->addr, h->room);
err_free:
	free(h);
	return NULL;
}

/* The allocation that the address lies in, a copy; false: none of ours. */
static bool host_find(const void *p, struct host *out)
{
	struct hg_iv iv;
	bool found;

	pthread_mutex_lock(&lock);
	found = hg_ivmap_find(&hosts, (uintptr_t)p, &iv);
	if (found)
		*out = *(const struct host *)(uintptr_t)iv.value;
	pthread_mutex_unlock(&lock);
	return found;
}

/* The one that begins there; NULL: none, or not this `dying`. With the lock. */
static struct host *host_at(const void *p, bool dying)
{
	struct hg_iv iv;
	struct host *h;

	if (!hg_ivmap_find(&hosts, (uintptr_t)p, &iv) || iv.start != (uintptr_t)p)
		return NULL;
	h = (struct host *)(uintptr_t)iv.value;
	return h->dying == dying ? h : NULL;
}

/* For this thread alone, until host_end; false: there is none, or another thread is freeing it. */
static bool host_claim(const void *p)
{
	struct host *h;

	pthread_mutex_lock(&lock);
	h = host_at(p, false);
	if (h)
		h->dying = true;
	pthread_mutex_unlock(&lock);
	return h;
}

/* The one that was claimed, looked up again: its context may have ended meanwhile, and it with it. */
static void host_end(const void *p, bool freed)
{
	struct host *h;

	pthread_mutex_lock(&lock);
	h = host_at(p, true);
	if (h && freed)
		hg_ivmap_remove(&hosts, h->addr, NULL);
	else if (h)
		h->dying = false;
	pthread_mutex_unlock(&lock);
	if (h && freed) {
		munmap((void *)h->addr, h->room);
		free(h);
	}
}

/* the calls */

static CUresult mem_host_alloc(void **out, size_t size, unsigned int flags)
{
	void *p = host_alloc(out, size, flags);

	if (!p)
		return hg_nv.cuMemHostAlloc(out, size, flags);
	*out = p;
	return CUDA_SUCCESS;
}

static CUresult mem_alloc_host(void **out, size_t size)
{
	void *p = host_alloc(out, size, 0);

	if (!p)
		return hg_nv.cuMemAllocHost_v2(out, size);
	*out = p;
	return CUDA_SUCCESS;
}

static CUresult current(CUcontext *ctx)
{
	CUresult r = hg_nv.cuCtxGetCurrent(ctx);

	if (!r && !*ctx)
		r = CUDA_ERROR_INVALID_CONTEXT;
	return r;
}

static CUresult mem_free_host(void *p)
{
	struct host h;
	CUcontext ctx;
	CUresult r;

	if (!host_find(p, &h))
		return hg_nv.cuMemFreeHost(p);
	r = current(&ctx);
	if (r)
		return r;
	if (!host_claim(p))
		return CUDA_ERROR_INVALID_VALUE;
	/* a copy under way may use it */
	r = hg_native_mem_wait(h.ctx, ctx);
	if (!r)
		r = hg_nv.cuMemHostUnregister(p);
	host_end(p, r == CUDA_SUCCESS);
	return r;
}

static CUresult mem_host_unregister(void *p)
{
	struct host h;
	CUcontext ctx;
	CUresult r;

	if (!host_find(p, &h))
		return hg_nv.cuMemHostUnregister(p);
	r = current(&ctx);
	return r ? r : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

/*
 * What the driver says of memory that was allocated with these flags; it may add some, since under unified addressing
 * all host memory is mapped and portable. It is asked with a byte of its own memory, once for each combination.
 */
static unsigned int flags_as_told(unsigned int flags)
{
	static _Atomic unsigned int known[CU_MEMHOSTALLOC_PORTABLE + CU_MEMHOSTALLOC_DEVICEMAP + 1];	/* 0: not asked yet */
	unsigned int told = atomic_load(&known[flags]);
	void *p;

	if (told)
		return told - 1;
	if (hg_nv.cuMemHostAlloc(&p, 1, flags))
		return flags;
	if (hg_nv.cuMemHostGetFlags(&told, p))
		told = flags;
	else
		atomic_store(&known[flags], told + 1);
	(void)hg_nv.cuMemFreeHost(p);
	return told;
}

static CUresult mem_host_get_flags(unsigned int *flags, void *p)
{
	struct host h;
	CUcontext ctx;
	CUresult r;

	if (!flags || !host_find(p, &h))
		return hg_nv.cuMemHostGetFlags(flags, p);
	r = current(&ctx);
	if (r)
		return r;
	*flags = flags_as_told(h.flags);
	return CUDA_SUCCESS;
}

static const struct hg_native_row rows[] = {
	HG_NATIVE_ROW(cuMemHostAlloc, mem_host_alloc),
	HG_NATIVE_ROW(cuMemAllocHost_v2, mem_alloc_host),
	HG_NATIVE_ROW(cuMemFreeHost, mem_free_host),
	HG_NATIVE_ROW(cuMemHostUnregister, mem_host_unregister),
	HG_NATIVE_ROW(cuMemHostGetFlags, mem_host_get_flags),
};

/* Without one of these the driver keeps its host memory. */
static bool can_place_host(void)
{
	return hg_nv.cuMemHostRegister_v2 && hg_nv.cuMemHostUnregister && hg_nv.cuCtxGetCurrent && hg_nv.cuCtxGetDevice &&
	       hg_nv.cuDeviceGetAttribute && hg_nv.cuCtxPushCurrent_v2 && hg_nv.cuCtxPopCurrent_v2 &&
	       hg_nv.cuCtxSynchronize && hg_nv.cuMemHostAlloc && hg_nv.cuMemAllocHost_v2 && hg_nv.cuMemFreeHost &&
	       hg_nv.cuMemHostGetFlags;
}

enum hg_status hg_native_mem_init(void)
{
	bool wanted;
	uint64_t base;
	enum hg_status st = hg_arena_env(&base, &wanted);

	if (st)
		return st;
	if (wanted)
		hg_native_arena_init(base);
	return HG_OK;
}

void *hg_native_mem_proc(const char *symbol)
{
	void *fn = NULL;

	if (can_place_host())
		fn = hg_native_row_find(rows, sizeof(rows) / sizeof(rows[0]), symbol);
	return fn ? fn : hg_native_arena_proc(symbol);
}

bool hg_native_mem_has_arena(void)
{
	return hg_native_arena_is_on();
}

bool hg_native_mem_owns_host(uint64_t addr)
{
	struct host h;

	return host_find((const void *)(uintptr_t)addr, &h) && h.addr == addr;
}

bool hg_native_mem_owns_device(uint64_t addr)
{
	return hg_native_arena_owns(addr);
}

static int host_of_ctx(const struct hg_iv *iv, void *arg)
{
	return ((const struct host *)(uintptr_t)iv->value)->ctx == *(CUcontext *)arg;
}

struct search {
	int (*matches)(const struct hg_iv *iv, void *arg);
	void *arg;
	struct hg_iv found;
};

static int search_each(const struct hg_iv *iv, void *arg)
{
	struct search *s = arg;

	if (s->matches && !s->matches(iv, s->arg))
		return 0;
	s->found = *iv;
	return 1;
}

/* Takes the first that matches (NULL: any) out of the map; NULL: there is none. */
static struct host *host_take(int (*matches)(const struct hg_iv *iv, void *arg), void *arg)
{
	struct search s = { .matches = matches, .arg = arg };
	struct host *h = NULL;

	pthread_mutex_lock(&lock);
	if (hg_ivmap_each(&hosts, search_each, &s)) {
		h = (struct host *)(uintptr_t)s.found.value;
		hg_ivmap_remove(&hosts, s.found.start, NULL);
	}
	pthread_mutex_unlock(&lock);
	return h;
}

/* The driver has forgotten what was registered in the context. */
void hg_native_mem_ctx_gone(CUcontext ctx)
{
	struct host *h;

	for (h = host_take(host_of_ctx, &ctx); h; h = host_take(host_of_ctx, &ctx)) {
		munmap((void *)h->addr, h->room);
		free(h);
	}
	hg_native_arena_ctx_gone(ctx);
}

unsigned int hg_native_mem_release(void)
{
	unsigned int failed = hg_native_arena_release();
	struct host *h;

	for (h = host_take(NULL, NULL); h; h = host_take(NULL, NULL)) {
		CUresult r = hg_nv.cuMemHostUnregister((void *)h->addr);

		if (r) {
			HG_NV_SAY(cuMemHostUnregister, r);
			failed++;
		}
		free(h);
	}
	return failed;
}
