/* native_state.c - queues and memory of the real driver, for checkpoints. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/msg.h"
#include "intercept/ledger.h"
#include "intercept/native.h"

/* A call that hgshim makes for itself; what went wrong is said by name. */
#define NV(status, sym, args)                                                                      \
	do {                                                                                       \
		CUresult r_ = hg_nv.sym ? hg_nv.sym args : CUDA_ERROR_NOT_SUPPORTED;               \
                                                                                                   \
		(status) = r_ == CUDA_SUCCESS ? HG_OK : status_of(r_);                             \
		if ((status) != HG_OK)                                                             \
			HG_NV_SAY(sym, r_);                                                        \
	} while (0)

static enum hg_status status_of(CUresult r)
{
	switch (r) {
	case CUDA_ERROR_OUT_OF_MEMORY:
		return HG_ERR_NOMEM;
	case CUDA_ERROR_NOT_SUPPORTED:
		return HG_ERR_UNSUPPORTED;
	default:
		return HG_ERR_FAULT;
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* ---- contexts ---- */

static int add_ctx(const struct hg_entry *e, void *arg)
{
	struct hg_native_ctxs *c = arg;

	if (e->kind != HG_KIND_CTX)
		return 0;
	if (c->nr == sizeof(c->ctx) / sizeof(c->ctx[0]))
		return 1;
	c->ctx[c->nr].id = e->id;
	c->ctx[c->nr++].handle = (CUcontext)(uintptr_t)e->handle;
	return 0;
}

enum hg_status hg_native_ctxs(struct hg_native_ctxs *out)
{
	out->nr = 0;
	if (!hg_ledger_each(add_ctx, out))
		return HG_OK;
	pr_err("the program has more than %zu contexts", sizeof(out->ctx) / sizeof(out->ctx[0]));
	return HG_ERR_REFUSED;
}

/* What was made before its context was known as an object can only belong to the first one. */
static CUcontext ctx_by_id(const struct hg_native_ctxs *c, uint64_t id)
{
	for (size_t i = 0; i < c->nr; i++)
		if (c->ctx[i].id == id)
			return c->ctx[i].handle;
	return c->nr ? c->ctx[0].handle : NULL;
}

/* ---- quiescing ---- */

struct waiting {
	uint64_t ctx;		/* id */
	uint64_t end;		/* ms */
	enum hg_status st;
};

static enum hg_status poll_until(CUresult (*done)(void *handle), void *handle, const char *symbol, uint64_t end)
{
	struct timespec pause = { 0, 10000 };

	for (;;) {
		CUresult r = done(handle);

		if (r == CUDA_SUCCESS)
			return HG_OK;
		if (r != CUDA_ERROR_NOT_READY) {
			hg_nv_say(symbol, r);
			return HG_ERR_FAULT;
		}
		if (now_ms() >= end)
			return HG_ERR_TIMEOUT;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 500000)
			pause.tv_nsec += pause.tv_nsec / 2;
	}
}

static CUresult stream_done(void *handle)
{
	return hg_nv.cuStreamQuery(handle);
}

static CUresult event_done(void *handle)
{
	return hg_nv.cuEventQuery(handle);
}

static int wait_stream(const struct hg_entry *e, void *arg)
{
	struct waiting *w = arg;

	if (e->kind != HG_KIND_STREAM || e->parent != w->ctx)
		return 0;
	w->st = poll_until(stream_done, (void *)(uintptr_t)e->handle, "cuStreamQuery", w->end);
	return w->st != HG_OK;
}

/* ---- stream capture ---- */

/* HG_ERR_REFUSED: it is captured; asked for the legacy stream: one that waits for it is, be it a thread's own. */
static enum hg_status ask_capture(CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	CUresult r = hg_nv.cuStreamIsCapturing(stream, &status);

	if (r == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT || (r == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE)) {
		pr_err("the program is capturing a stream into a graph, which a checkpoint would break off; try again later");
		return HG_ERR_REFUSED;
	}
	if (r == CUDA_SUCCESS)
		return HG_OK;
	HG_NV_SAY(cuStreamIsCapturing, r);
	return status_of(r);
}

static int ask_stream(const struct hg_entry *e, void *arg)
{
	enum hg_status *st = arg;

	if (e->kind == HG_KIND_STREAM)
		*st = ask_capture((CUstream)(uintptr_t)e->handle);
	return *st != HG_OK;
}

/* What a checkpoint asks of the driver is not allowed during a capture, and would end it with an error. */
static enum hg_status refuse_capture(const struct hg_native_ctxs *ctxs)
{
	enum hg_status st = HG_OK, popped;

	if (!hg_nv.cuStreamIsCapturing)	/* before CUDA 10 */
		return HG_OK;
	for (size_t i = 0; i < ctxs->nr && st == HG_OK; i++) {
		st = hg_native_ctx_push(ctxs->ctx[i].handle);
		if (st != HG_OK)
			return st;
		st = ask_capture(CU_STREAM_LEGACY);
		/* any context will do for a stream that is named */
		if (st == HG_OK && i == 0)
			(void)hg_ledger_each(ask_stream, &st);
		popped = hg_native_ctx_pop();
		if (st == HG_OK)
			st = popped;
	}
	return st;
}

/* ---- waiting ---- */

/*
 * The legacy stream waits for all that wait for it, those of threads included which cannot be named here; the others are
 * asked one by one. cuCtxSynchronize could wait for ever, so it comes last, when there is nothing to wait for.
 */
static enum hg_status quiesce_ctx(uint64_t id, uint64_t end)
{
	struct waiting w = { .ctx = id, .end = end };
	CUevent event = NULL;

	if (!hg_nv.cuStreamQuery || !hg_nv.cuEventQuery)
		return HG_ERR_UNSUPPORTED;
	NV(w.st, cuEventCreate, (&event, CU_EVENT_DISABLE_TIMING));
	if (w.st != HG_OK)
		return w.st;
	NV(w.st, cuEventRecord, (event, CU_STREAM_LEGACY));
	if (w.st == HG_OK)
		w.st = poll_until(event_done, event, "cuEventQuery", end);
	if (w.st == HG_OK)
		(void)hg_ledger_each(wait_stream, &w);
	if (w.st == HG_OK)
		NV(w.st, cuCtxSynchronize, ());
	/* a failure here is said, and costs an event, no more */
	if (hg_nv.cuEventDestroy_v2) {
		CUresult r = hg_nv.cuEventDestroy_v2(event);

		if (r != CUDA_SUCCESS && w.st == HG_OK) {
			HG_NV_SAY(cuEventDestroy_v2, r);
			w.st = status_of(r);
		}
	}
	return w.st;
}

enum hg_status hg_native_ctx_push(CUcontext ctx)
{
	enum hg_status st;

	NV(st, cuCtxPushCurrent_v2, (ctx));
	return st;
}

enum hg_status hg_native_ctx_pop(void)
{
	CUcontext popped;
	enum hg_status st;

	NV(st, cuCtxPopCurrent_v2, (&popped));
	return st;
}

enum hg_status hg_native_quiesce(uint32_t timeout_ms)
{
	uint64_t end = now_ms() + timeout_ms;
	struct hg_native_ctxs ctxs;
	enum hg_status st = hg_native_ctxs(&ctxs);

	if (st == HG_OK)
		st = refuse_capture(&ctxs);
	for (size_t i = 0; i < ctxs.nr && st == HG_OK; i++) {
		enum hg_status popped;

		st = hg_native_ctx_push(ctxs.ctx[i].handle);
		if (st != HG_OK)
			return st;
		st = quiesce_ctx(ctxs.ctx[i].id, end);
		popped = hg_native_ctx_pop();
		if (st == HG_OK)
			st = popped;
	}
	return st;
}

/* ---- regions ---- */

struct gather {
	struct hg_region *region;
	size_t nr, room;
};

static int gather_memory(const struct hg_entry *e, void *arg)
{
	struct gather *g = arg;
	struct hg_region r = { .addr = e->handle, .size = e->size, .object = e->handle };

	if (e->kind == HG_KIND_DPTR)
		r.kind = HG_REGION_DEVICE;
	else if (e->kind == HG_KIND_HPTR)
		r.kind = e->made_by == HG_ID_cuMemHostRegister_v2 ? HG_REGION_REGISTERED : HG_REGION_HOST;
	else
		return 0;
	if (!r.size)
		return 0;
	if (g->nr == g->room) {
		size_t room = g->room ? 2 * g->room : 256;
		struct hg_region *grown = realloc(g->region, room * sizeof(*grown));

		if (!grown)
			return 1;
		g->region = grown;
		g->room = room;
	}
	g->region[g->nr++] = r;
	return 0;
}

static int by_addr(const void *a, const void *b)
{
	const struct hg_region *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

enum hg_status hg_native_regions(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg)
{
	struct gather g = { 0 };
	enum hg_status st = HG_OK;

	if (hg_ledger_each(gather_memory, &g)) {
		free(g.region);
		return HG_ERR_NOMEM;
	}
	if (g.nr)
		qsort(g.region, g.nr, sizeof(*g.region), by_addr);
	for (size_t i = 0; i < g.nr && st == HG_OK; i++)
		st = each(&g.region[i], arg);
	free(g.region);
	return st == HG_OK ? hg_native_globals(each, arg) : st;
}

/* ---- reading ---- */

/*
 * Device memory is copied ahead of the reader, in pieces, to pinned buffers that are used in turn; while one is
 * written to the disk the next ones are on their way.
 */
#define PIECE (UINT64_C(4) << 20)
#define NR_BUFFERS 3

static struct {
	bool ready;
	CUcontext ctx;
	CUstream stream;
	struct buffer {
		void *data;
		CUevent done;
		uint64_t addr, size;	/* what it holds, or will; size 0: nothing */
		bool arrived;
	} buffer[NR_BUFFERS];
	uint64_t next;			/* piece to be asked for next */
	uint64_t addr, size;		/* the region being read */
} staging;

void hg_native_read_end(void)
{
	bool pushed;

	if (!staging.ctx)
		return;
	pushed = hg_nv.cuCtxPushCurrent_v2(staging.ctx) == CUDA_SUCCESS;
	if (staging.stream) {
		/* what is under way must not land in freed memory */
		(void)hg_nv.cuStreamSynchronize(staging.stream);
		(void)hg_nv.cuStreamDestroy_v2(staging.stream);
	}
	for (size_t i = 0; i < NR_BUFFERS; i++) {
		if (staging.buffer[i].done)
			(void)hg_nv.cuEventDestroy_v2(staging.buffer[i].done);
		if (staging.buffer[i].data)
			(void)hg_nv.cuMemFreeHost(staging.buffer[i].data);
	}
	if (pushed && hg_native_ctx_pop() != HG_OK)
		pr_debug("a context stays current on the checkpoint thread");
	memset(&staging, 0, sizeof(staging));
}

static enum hg_status staging_make(CUcontext ctx)
{
	enum hg_status st;

	staging.ctx = ctx;
	NV(st, cuStreamCreate, (&staging.stream, CU_STREAM_NON_BLOCKING));
	for (size_t i = 0; i < NR_BUFFERS && st == HG_OK; i++) {
		NV(st, cuMemHostAlloc, (&staging.buffer[i].data, PIECE, CU_MEMHOSTALLOC_PORTABLE));
		if (st == HG_OK)
			NV(st, cuEventCreate, (&staging.buffer[i].done, CU_EVENT_DISABLE_TIMING));
	}
	staging.ready = st == HG_OK;
	return st;
}

/* Asks for the next pieces of the region, as far as there are buffers. */
static enum hg_status ask_ahead(uint64_t from)
{
	enum hg_status st = HG_OK;

	while (staging.next * PIECE < staging.size && staging.next < from + NR_BUFFERS && st == HG_OK) {
		struct buffer *b = &staging.buffer[staging.next % NR_BUFFERS];
		uint64_t offset = staging.next * PIECE;

		b->addr = staging.addr + offset;
		b->size = staging.size - offset < PIECE ? staging.size - offset : PIECE;
		b->arrived = false;
		NV(st, cuMemcpyDtoHAsync_v2, (b->data, b->addr, b->size, staging.stream));
		if (st == HG_OK)
			NV(st, cuEventRecord, (b->done, staging.stream));
		if (st == HG_OK)
			staging.next++;
	}
	return st;
}

static enum hg_status read_device(const struct hg_region *r, unsigned char *dst, uint64_t offset, size_t size)
{
	enum hg_status st = HG_OK;

	/* another region, or one read again: from the beginning */
	if (staging.addr != r->addr || staging.size != r->size || offset == 0) {
		staging.addr = r->addr;
		staging.size = r->size;
		staging.next = offset / PIECE;
	}
	while (size && st == HG_OK) {
		uint64_t piece = offset / PIECE, at = offset % PIECE;
		struct buffer *b = &staging.buffer[piece % NR_BUFFERS];
		size_t n;

		st = ask_ahead(piece);
		if (st != HG_OK)
			break;
		if (!b->arrived)
			NV(st, cuEventSynchronize, (b->done));
		if (st != HG_OK)
			break;
		b->arrived = true;
		n = b->size - at < size ? b->size - at : size;
		memcpy(dst, (const unsigned char *)b->data + at, n);
		dst += n;
		offset += n;
		size -= n;
	}
	return st;
}

/* The application may have unmapped what it registered: then the bytes are gone, and hgshim must not fault. */
static enum hg_status read_host(const struct hg_region *r, void *dst, uint64_t offset, size_t size)
{
	struct iovec local = { dst, size }, remote = { (void *)(uintptr_t)(r->addr + offset), size };
	ssize_t got = hg_fault("native_vm_read") ? (errno = EPERM, -1) : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

	if (got < 0 && (errno == ENOSYS || errno == EPERM)) {	/* the filter of a container */
		int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

		if (fd >= 0) {
			got = pread(fd, dst, size, (off_t)(r->addr + offset));
			close(fd);
		}
	}
	if (got == (ssize_t)size)
		return HG_OK;
	pr_err("host memory at 0x%" PRIx64 ", which the program registered, cannot be read", r->addr);
	return HG_ERR_REFUSED;
}

/* The context that memory was allocated in; variables have no entry and are read in the first one. */
static CUcontext ctx_of(const struct hg_region *r)
{
	const struct hg_entry *e = r->kind == HG_REGION_DEVICE ? hg_ledger_find(HG_KIND_DPTR, r->addr) : NULL;
	struct hg_native_ctxs ctxs;

	if (!e)
		e = hg_ledger_find(HG_KIND_MODULE, r->object);
	return hg_native_ctxs(&ctxs) == HG_OK ? ctx_by_id(&ctxs, e ? e->parent : 0) : NULL;
}

enum hg_status hg_native_read(const struct hg_region *r, void *dst, uint64_t offset, size_t size)
{
	CUcontext ctx;
	enum hg_status st, popped;

	if (r->kind == HG_REGION_HOST || r->kind == HG_REGION_REGISTERED)
		return read_host(r, dst, offset, size);
	ctx = offset && staging.ctx ? staging.ctx : ctx_of(r);
	if (!ctx) {
		pr_err("device memory at 0x%" PRIx64 " belongs to no context", r->addr);
		return HG_ERR_REFUSED;
	}
	if (staging.ctx && staging.ctx != ctx)
		hg_native_read_end();
	st = hg_native_ctx_push(ctx);
	if (st != HG_OK)
		return st;
	if (!staging.ready)
		st = staging_make(ctx);
	if (st == HG_OK)
		st = read_device(r, dst, offset, size);
	popped = hg_native_ctx_pop();
	return st == HG_OK ? popped : st;
}
