/* test_native_mem.c - memory placed in front of a driver, here one that only keeps books. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <malloc.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/ivmap.h"
#include "common/msg.h"
#include "intercept/native_mem.h"

#define GRANULE HG_ARENA_GRANULE
#define MIB (UINT64_C(1) << 20)
#define BASE HG_ARENA_BASE
#define FOREIGN UINT64_C(0x7f0000000000)	/* where the driver's own device memory lies */

/* the driver: contexts 0x1000, 0x1010, … of device 0 and 0x2000, … of device 1 */

#define CTX(dev, nr) ((CUcontext)(uintptr_t)(0x1000 * ((dev) + 1) + 0x10 * (nr)))
#define MOST 4096

struct stream {
	CUcontext ctx;
	_Atomic bool busy;
	bool captured;
};

struct range {
	uint64_t addr, size;
	uint64_t value;		/* mapping: handle; event: stream; registered: flags */
	int device;		/* mapping: who reaches it, -1 nobody; handle: whose memory; event: 1 recorded */
	bool live;
	bool released;		/* handle */
};

static struct {
	pthread_mutex_t lock;
	struct range reserved[MOST], handle[MOST], mapping[MOST], registered[MOST], pinned[MOST], memory[MOST], event[MOST];
	uint64_t used, total;		/* bytes of device memory by handles */
	uint64_t most_reserved;		/* a larger reservation lands elsewhere, or is refused */
	bool refuses, no_vmm, no_registered;
	int calls, fail_at, fail_from;
	const char *fail[2];		/* the next call of that name fails, once */
	const char *failed;		/* the call that was made to fail */
	CUresult error;
	int syncs, queries, per_thread_records, said, own_allocs, own_frees;
	CUcontext synced[8];
	struct stream legacy, per_thread;
} mock = { .lock = PTHREAD_MUTEX_INITIALIZER };

static __thread CUcontext stack[8];
static __thread int depth;

static void count_said(enum hg_msg_level level, const char *line, void *arg)
{
	(void)arg;
	(void)line;
	if (level == HG_MSG_ERR)
		mock.said++;
}

static struct range *add(struct range *list, uint64_t addr, uint64_t size)
{
	for (int i = 0; i < MOST; i++)
		if (!list[i].live) {
			list[i] = (struct range){ .addr = addr, .size = size, .live = true, .device = -1 };
			return &list[i];
		}
	abort();
}

static struct range *find(struct range *list, uint64_t addr)
{
	for (int i = 0; i < MOST; i++)
		if (list[i].live && addr - list[i].addr < list[i].size)
			return &list[i];
	return NULL;
}

static int count(const struct range *list)
{
	int n = 0;

	for (int i = 0; i < MOST; i++)
		n += list[i].live;
	return n;
}

/* Every call passes here, and fails if the test wants it. */
static CUresult enter(const char *name)
{
	CUresult r = CUDA_SUCCESS;
	bool named = false;

	pthread_mutex_lock(&mock.lock);
	mock.calls++;
	for (int i = 0; i < 2 && !named; i++) {
		named = mock.fail[i] && !strcmp(mock.fail[i], name);
		if (named)
			mock.fail[i] = NULL;
	}
	if (named || mock.calls == mock.fail_at || (mock.fail_from && mock.calls >= mock.fail_from)) {
		mock.failed = name;
		r = mock.error;
		pthread_mutex_unlock(&mock.lock);
	}
	return r;
}

#define ENTER()					\
	do {					\
		CUresult r_ = enter(__func__);	\
						\
		if (r_)				\
			return r_;		\
	} while (0)

static CUresult leave(CUresult r)
{
	pthread_mutex_unlock(&mock.lock);
	return r;
}

static CUresult ctx_get(CUcontext *ctx)
{
	ENTER();
	*ctx = depth ? stack[depth - 1] : NULL;
	return leave(CUDA_SUCCESS);
}

static CUdevice device_of(CUcontext ctx)
{
	return (CUdevice)((uintptr_t)ctx / 0x1000 - 1);
}

static CUresult ctx_get_device(CUdevice *dev)
{
	ENTER();
	if (!depth)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	*dev = device_of(stack[depth - 1]);
	return leave(CUDA_SUCCESS);
}

static CUresult ctx_push(CUcontext ctx)
{
	ENTER();
	stack[depth++] = ctx;
	return leave(CUDA_SUCCESS);
}

static CUresult ctx_pop(CUcontext *ctx)
{
	ENTER();
	*ctx = stack[--depth];
	return leave(CUDA_SUCCESS);
}

static CUresult ctx_sync(void)
{
	ENTER();
	if (!depth)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	mock.synced[mock.syncs++ % 8] = stack[depth - 1];
	return leave(CUDA_SUCCESS);
}

static CUresult device_attribute(int *value, CUdevice_attribute attr, CUdevice dev)
{
	ENTER();
	(void)dev;
	if (attr == CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM)
		*value = !mock.no_registered;
	else if (attr == CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)
		*value = !mock.no_vmm;
	else
		*value = 0;
	return leave(CUDA_SUCCESS);
}

static CUresult reserve(CUdeviceptr *out, size_t size, size_t align, CUdeviceptr hint, unsigned long long flags)
{
	ENTER();
	if (flags || size % align)
		return leave(CUDA_ERROR_INVALID_VALUE);
	if (size > mock.most_reserved && mock.refuses)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	*out = size > mock.most_reserved ? hint + (UINT64_C(1) << 43) : hint;
	add(mock.reserved, *out, size);
	return leave(CUDA_SUCCESS);
}

static CUresult unreserve(CUdeviceptr addr, size_t size)
{
	struct range *r;

	ENTER();
	r = find(mock.reserved, addr);
	if (!r || r->addr != addr || r->size != size)
		return leave(CUDA_ERROR_INVALID_VALUE);
	for (int i = 0; i < MOST; i++)
		if (mock.mapping[i].live && mock.mapping[i].addr - addr < size)
			return leave(CUDA_ERROR_INVALID_VALUE);
	r->live = false;
	return leave(CUDA_SUCCESS);
}

static CUresult granularity(size_t *out, const CUmemAllocationProp *prop, CUmemAllocationGranularity_flags which)
{
	ENTER();
	(void)prop;
	(void)which;
	*out = GRANULE;
	return leave(CUDA_SUCCESS);
}

static CUresult mem_create(CUmemGenericAllocationHandle *out, size_t size, const CUmemAllocationProp *prop,
			   unsigned long long flags)
{
	struct range *h;

	ENTER();
	if (flags || !size || size % GRANULE || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return leave(CUDA_ERROR_INVALID_VALUE);
	if (mock.used + size > mock.total)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	mock.used += size;
	h = add(mock.handle, 0, size);
	h->addr = (uint64_t)(h - mock.handle) * MIB * MIB + 7;	/* a name */
	h->device = prop->location.id;
	*out = h->addr;
	return leave(CUDA_SUCCESS);
}

static bool is_mapped(uint64_t handle)
{
	for (int i = 0; i < MOST; i++)
		if (mock.mapping[i].live && mock.mapping[i].value == handle)
			return true;
	return false;
}

static void handle_drop(struct range *h)
{
	if (h->released && !is_mapped(h->addr)) {
		h->live = false;
		mock.used -= h->size;
	}
}

static CUresult mem_release(CUmemGenericAllocationHandle handle)
{
	struct range *h;

	ENTER();
	h = find(mock.handle, handle);
	if (!h || h->released)
		return leave(CUDA_ERROR_INVALID_VALUE);
	h->released = true;
	handle_drop(h);
	return leave(CUDA_SUCCESS);
}

static CUresult mem_map(CUdeviceptr addr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
			unsigned long long flags)
{
	struct range *h, *r;

	ENTER();
	h = find(mock.handle, handle);
	r = find(mock.reserved, addr);
	if (!h || h->released || h->size != size || offset || flags || !r || addr + size > r->addr + r->size)
		return leave(CUDA_ERROR_INVALID_VALUE);
	for (int i = 0; i < MOST; i++)
		if (mock.mapping[i].live && mock.mapping[i].addr < addr + size &&
		    addr < mock.mapping[i].addr + mock.mapping[i].size)
			return leave(CUDA_ERROR_ALREADY_MAPPED);
	add(mock.mapping, addr, size)->value = handle;
	return leave(CUDA_SUCCESS);
}

static CUresult mem_unmap(CUdeviceptr addr, size_t size)
{
	struct range *m;
	uint64_t handle;

	ENTER();
	m = find(mock.mapping, addr);
	if (!m || m->addr != addr || m->size != size)
		return leave(CUDA_ERROR_INVALID_VALUE);
	handle = m->value;
	m->live = false;
	handle_drop(find(mock.handle, handle));
	return leave(CUDA_SUCCESS);
}

static CUresult mem_access(CUdeviceptr addr, size_t size, const CUmemAccessDesc *desc, size_t nr)
{
	struct range *m;

	ENTER();
	m = find(mock.mapping, addr);
	if (!m || m->size != size || nr != 1 || desc->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
		return leave(CUDA_ERROR_INVALID_VALUE);
	m->device = desc->location.id;
	return leave(CUDA_SUCCESS);
}

static CUresult host_register(void *p, size_t size, unsigned int flags)
{
	ENTER();
	if (!size)
		return leave(CUDA_ERROR_INVALID_VALUE);
	if (find(mock.registered, (uintptr_t)p) || find(mock.pinned, (uintptr_t)p))
		return leave(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	add(mock.registered, (uintptr_t)p, size)->value = flags;
	return leave(CUDA_SUCCESS);
}

static CUresult host_unregister(void *p)
{
	struct range *r;

	ENTER();
	r = find(mock.registered, (uintptr_t)p);
	if (!r || r->addr != (uintptr_t)p)
		return leave(p ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : CUDA_ERROR_INVALID_VALUE);
	r->live = false;
	return leave(CUDA_SUCCESS);
}

static CUresult host_alloc(void **out, size_t size, unsigned int flags)
{
	ENTER();
	if (!depth)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	if (!out || !size || flags > 7)
		return leave(CUDA_ERROR_INVALID_VALUE);
	mock.own_allocs++;
	if (size > mock.total)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	*out = malloc(size);
	add(mock.pinned, (uintptr_t)*out, size)->value = flags | CU_MEMHOSTALLOC_DEVICEMAP;
	return leave(CUDA_SUCCESS);
}

static CUresult alloc_host(void **out, size_t size)
{
	return host_alloc(out, size, 0);
}

static CUresult free_host(void *p)
{
	struct range *r;

	ENTER();
	r = find(mock.pinned, (uintptr_t)p);
	if (!r || r->addr != (uintptr_t)p)
		return leave(CUDA_ERROR_INVALID_VALUE);
	r->live = false;
	free(p);
	return leave(CUDA_SUCCESS);
}

static CUresult host_flags(unsigned int *flags, void *p)
{
	struct range *r;

	ENTER();
	r = find(mock.pinned, (uintptr_t)p);
	if (!r || !flags)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*flags = (unsigned int)r->value;
	return leave(CUDA_SUCCESS);
}

static CUresult own_alloc(CUdeviceptr *out, size_t size)
{
	struct range *m;

	ENTER();
	if (!depth)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	if (!out || !size)
		return leave(CUDA_ERROR_INVALID_VALUE);
	m = add(mock.memory, 0, size);
	m->addr = FOREIGN + (uint64_t)(m - mock.memory) * 1024 * MIB;
	*out = m->addr;
	mock.own_allocs++;
	return leave(CUDA_SUCCESS);
}

static CUresult own_free(CUdeviceptr addr)
{
	struct range *m;

	ENTER();
	m = find(mock.memory, addr);
	if (!m || m->addr != addr)
		return leave(CUDA_ERROR_INVALID_VALUE);
	m->live = false;
	mock.own_frees++;
	return leave(CUDA_SUCCESS);
}

static CUresult own_pitch(CUdeviceptr *out, size_t *pitch, size_t width, size_t height, unsigned int element)
{
	if (element != 4 && element != 8 && element != 16)
		return CUDA_ERROR_INVALID_VALUE;
	*pitch = (width + 511) / 512 * 512;
	return own_alloc(out, *pitch * height);
}

static CUresult own_alloc_async(CUdeviceptr *out, size_t size, CUstream stream)
{
	(void)stream;
	return own_alloc(out, size);
}

static CUresult own_alloc_from_pool(CUdeviceptr *out, size_t size, CUmemoryPool pool, CUstream stream)
{
	(void)pool;
	return own_alloc_async(out, size, stream);
}

static CUresult own_free_async(CUdeviceptr addr, CUstream stream)
{
	(void)stream;
	return own_free(addr);
}

/* Streams: handles 0 (and per thread, in the other flavour), or a struct stream. */
static struct stream *stream_of(CUstream s, bool per_thread)
{
	if (s)
		return (struct stream *)s;
	return per_thread ? &mock.per_thread : &mock.legacy;
}

static CUresult stream_get_ctx(CUstream s, CUcontext *ctx)
{
	ENTER();
	if (!s && !depth)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	*ctx = s ? ((struct stream *)s)->ctx : stack[depth - 1];
	return leave(CUDA_SUCCESS);
}

static CUresult stream_capturing(CUstream s, CUstreamCaptureStatus *status)
{
	ENTER();
	*status = stream_of(s, false)->captured ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
	return leave(CUDA_SUCCESS);
}

static CUresult event_create(CUevent *out, unsigned int flags)
{
	struct range *e;

	ENTER();
	(void)flags;
	if (!depth)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	e = add(mock.event, 0, 1);
	e->addr = (uintptr_t)e;
	e->released = false;
	*out = (CUevent)e;
	return leave(CUDA_SUCCESS);
}

static CUresult record(CUevent event, CUstream s, bool per_thread)
{
	struct range *e = (struct range *)event;

	ENTER();
	if (s && ((struct stream *)s)->ctx != stack[depth - 1])
		return leave(CUDA_ERROR_INVALID_HANDLE);
	e->value = (uintptr_t)stream_of(s, per_thread);
	e->device = 1;
	mock.per_thread_records += per_thread;
	return leave(CUDA_SUCCESS);
}

static CUresult event_record(CUevent e, CUstream s)
{
	return record(e, s, false);
}

static CUresult event_record_ptsz(CUevent e, CUstream s)
{
	return record(e, s, true);
}

static CUresult event_query(CUevent event)
{
	struct range *e = (struct range *)event;

	ENTER();
	mock.queries++;
	return leave(!e->live ? CUDA_ERROR_INVALID_HANDLE :
		     e->device == 1 && ((struct stream *)(uintptr_t)e->value)->busy ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
}

/* What the stream does ends when someone waits for it. */
static CUresult event_sync(CUevent event)
{
	struct range *e = (struct range *)event;

	ENTER();
	if (!e->live)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	((struct stream *)(uintptr_t)e->value)->busy = false;
	return leave(CUDA_SUCCESS);
}

static CUresult event_destroy(CUevent event)
{
	struct range *e = (struct range *)event;

	ENTER();
	if (!e->live)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	e->live = false;
	return leave(CUDA_SUCCESS);
}

/* As of memory that is mapped somewhere in a large reservation. */
static CUresult attribute(void *data, CUpointer_attribute attr, CUdeviceptr ptr)
{
	struct range *r;

	ENTER();
	r = find(mock.reserved, ptr);
	if (!r || !data)
		return leave(CUDA_ERROR_INVALID_VALUE);
	if (attr == CU_POINTER_ATTRIBUTE_CONTEXT)
		*(CUcontext *)data = NULL;
	else if (attr == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR)
		*(CUdeviceptr *)data = r->addr;
	else if (attr == CU_POINTER_ATTRIBUTE_RANGE_SIZE)
		*(size_t *)data = r->size;
	else if (attr == CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
		*(unsigned int *)data = CU_MEMORYTYPE_DEVICE;
	else if (attr == CU_POINTER_ATTRIBUTE_DEVICE_POINTER || attr == CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE ||
		 attr == CU_POINTER_ATTRIBUTE_BUFFER_ID)
		*(CUdeviceptr *)data = ptr;
	else
		return leave(CUDA_ERROR_NOT_SUPPORTED);
	return leave(CUDA_SUCCESS);
}

static CUresult attributes(unsigned int nr, CUpointer_attribute *attr, void **data, CUdeviceptr ptr)
{
	CUresult r = CUDA_SUCCESS;

	if (!nr || !attr || !data)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < nr && !r; i++)
		r = attribute(data[i], attr[i], ptr);
	return r;
}

static CUresult address_range(CUdeviceptr *addr, size_t *size, CUdeviceptr ptr)
{
	struct range *r;

	ENTER();
	r = find(mock.memory, ptr);
	if (!r)
		return leave(CUDA_ERROR_NOT_FOUND);
	*addr = r->addr;
	*size = r->size;
	return leave(CUDA_SUCCESS);
}

static CUresult retain_handle(CUmemGenericAllocationHandle *handle, void *addr)
{
	struct range *m;

	ENTER();
	m = find(mock.mapping, (uintptr_t)addr);
	if (!m)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*handle = m->value;
	return leave(CUDA_SUCCESS);
}

static CUresult pool_of_device(CUmemoryPool *pool, CUdevice dev)
{
	ENTER();
	*pool = (CUmemoryPool)(uintptr_t)(0x500 + dev);
	return leave(CUDA_SUCCESS);
}

static CUresult pool_access(CUmemAccess_flags *flags, CUmemoryPool pool, CUmemLocation *location)
{
	ENTER();
	*flags = (uintptr_t)pool == (uintptr_t)(0x500 + location->id) ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE :
									 CU_MEM_ACCESS_FLAGS_PROT_NONE;
	return leave(CUDA_SUCCESS);
}

/* what hgshim puts before it */

static struct hg_real to;

static void *proc(const char *symbol, void *own)
{
	void *p = hg_native_mem_proc(symbol);

	return p ? p : own;
}

static void begin(const char *arena)
{
	mock.total = 64 * 1024 * MIB;
	mock.most_reserved = UINT64_MAX;
	mock.error = CUDA_ERROR_UNKNOWN;
	hg_msg_sink_set(count_said, NULL);
	if (arena)
		setenv("HGSHIM_ARENA", arena, 1);
	else
		unsetenv("HGSHIM_ARENA");
	hg_nv = (struct hg_real){
		.cuCtxGetCurrent = ctx_get, .cuCtxGetDevice = ctx_get_device, .cuCtxPushCurrent_v2 = ctx_push,
		.cuCtxPopCurrent_v2 = ctx_pop, .cuCtxSynchronize = ctx_sync, .cuDeviceGetAttribute = device_attribute,
		.cuMemAddressReserve = reserve, .cuMemAddressFree = unreserve, .cuMemCreate = mem_create,
		.cuMemRelease = mem_release, .cuMemMap = mem_map, .cuMemUnmap = mem_unmap, .cuMemSetAccess = mem_access,
		.cuMemGetAllocationGranularity = granularity, .cuMemHostRegister_v2 = host_register,
		.cuMemHostUnregister = host_unregister, .cuMemHostAlloc = host_alloc, .cuMemAllocHost_v2 = alloc_host,
		.cuMemFreeHost = free_host, .cuMemHostGetFlags = host_flags, .cuMemAlloc_v2 = own_alloc,
		.cuMemFree_v2 = own_free, .cuMemAllocPitch_v2 = own_pitch, .cuMemAllocAsync = own_alloc_async,
		.cuMemAllocAsync_ptsz = own_alloc_async, .cuMemAllocFromPoolAsync = own_alloc_from_pool,
		.cuMemAllocFromPoolAsync_ptsz = own_alloc_from_pool, .cuMemFreeAsync = own_free_async,
		.cuMemFreeAsync_ptsz = own_free_async, .cuStreamGetCtx = stream_get_ctx,
		.cuStreamGetCtx_ptsz = stream_get_ctx, .cuStreamIsCapturing = stream_capturing,
		.cuStreamIsCapturing_ptsz = stream_capturing, .cuEventCreate = event_create,
		.cuEventRecord = event_record, .cuEventRecord_ptsz = event_record_ptsz, .cuEventQuery = event_query,
		.cuEventSynchronize = event_sync, .cuEventDestroy_v2 = event_destroy,
		.cuPointerGetAttribute = attribute, .cuPointerGetAttributes = attributes,
		.cuMemGetAddressRange_v2 = address_range, .cuMemRetainAllocationHandle = retain_handle,
		.cuDeviceGetMemPool = pool_of_device, .cuMemPoolGetAccess = pool_access,
	};
	cr_assert_eq(hg_native_mem_init(), HG_OK);
#define TO(sym) to.sym = (__typeof__(sym) *)proc(#sym, (void *)hg_nv.sym)
	TO(cuMemHostAlloc), TO(cuMemAllocHost_v2), TO(cuMemFreeHost), TO(cuMemHostGetFlags), TO(cuMemHostRegister_v2);
	TO(cuMemHostUnregister), TO(cuMemAlloc_v2), TO(cuMemAllocPitch_v2), TO(cuMemFree_v2), TO(cuMemAllocAsync);
	TO(cuMemAllocAsync_ptsz), TO(cuMemAllocFromPoolAsync), TO(cuMemAllocFromPoolAsync_ptsz), TO(cuMemFreeAsync);
	TO(cuMemFreeAsync_ptsz), TO(cuMemGetAddressRange_v2), TO(cuPointerGetAttribute), TO(cuPointerGetAttributes);
	TO(cuMemRetainAllocationHandle);
	stack[0] = CTX(0, 0);
	depth = 1;
}

static void current(CUcontext ctx)
{
	stack[0] = ctx;
	depth = ctx ? 1 : 0;
}

static CUdeviceptr alloc(size_t size)
{
	CUdeviceptr p = 0;

	cr_assert_eq(to.cuMemAlloc_v2(&p, size), CUDA_SUCCESS);
	return p;
}

/* [addr, addr+size) is device memory that exactly this device reaches. */
static bool reaches(CUdevice dev, uint64_t addr, uint64_t size)
{
	bool ok = true;

	pthread_mutex_lock(&mock.lock);
	for (uint64_t at = addr; ok && at < addr + size;) {
		struct range *m = find(mock.mapping, at);

		ok = m && m->device == dev && find(mock.handle, m->value)->device == dev;
		if (ok)
			at = m->addr + m->size;
	}
	pthread_mutex_unlock(&mock.lock);
	return ok;
}

static void expect_nothing_left(void)
{
	cr_expect_eq(count(mock.handle), 0, "handles: %d", count(mock.handle));
	cr_expect_eq(count(mock.mapping), 0, "mappings: %d", count(mock.mapping));
	cr_expect_eq(count(mock.reserved), 0, "reservations: %d", count(mock.reserved));
	cr_expect_eq(count(mock.registered), 0, "registered: %d", count(mock.registered));
	cr_expect_eq(count(mock.event), 0, "events: %d", count(mock.event));
	cr_expect_eq(mock.used, 0);
}

static bool has_pages(const void *p, size_t size)
{
	return msync((void *)p, size, MS_ASYNC) == 0;
}

/* host memory */

Test(native_mem, host_memory_is_a_mapping_of_hgshims_registered_with_the_driver)
{
	char *p = NULL;
	struct range *r;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc((void **)&p, 10000, CU_MEMHOSTALLOC_PORTABLE), CUDA_SUCCESS);
	r = find(mock.registered, (uintptr_t)p);
	cr_assert_not_null(r);
	cr_expect_eq(r->addr, (uintptr_t)p);
	cr_expect_eq(r->size, 10000, "the size that the driver answers for the range");
	cr_expect_eq(r->value, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
	cr_expect_eq(mock.own_allocs, 0);
	for (int i = 0; i < 10000; i++)
		cr_assert_eq(p[i], 0);
	memset(p, 1, 10000);
	cr_expect(hg_native_mem_owns_host((uintptr_t)p));
	cr_expect_not(hg_native_mem_owns_host((uintptr_t)p + 1), "nothing begins there");

	cr_expect_eq(to.cuMemFreeHost(p), CUDA_SUCCESS);
	cr_expect_eq(mock.syncs, 1, "work that uses it was waited for");
	cr_expect_not(has_pages(p, 4096));
	cr_expect_not(hg_native_mem_owns_host((uintptr_t)p));
	expect_nothing_left();
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_ERROR_INVALID_VALUE);
}

Test(native_mem, what_is_wrong_with_a_host_allocation_the_driver_says)
{
	void *p = (void *)1;

	begin(NULL);
	cr_expect_eq(to.cuMemHostAlloc(&p, 0, 0), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemHostAlloc(&p, 16, 0x80), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemHostAlloc(NULL, 16, 0), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemAllocHost_v2(&p, 0), CUDA_ERROR_INVALID_VALUE);
	current(NULL);
	cr_expect_eq(to.cuMemHostAlloc(&p, 16, 0), CUDA_ERROR_INVALID_CONTEXT);
	cr_expect_eq(to.cuMemAllocHost_v2(&p, 16), CUDA_ERROR_INVALID_CONTEXT);
	cr_expect_eq(p, (void *)1, "written only on success");
	expect_nothing_left();
}

Test(native_mem, host_memory_that_cannot_be_hgshims_is_the_drivers)
{
	void *p = NULL;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc(&p, 4096, CU_MEMHOSTALLOC_WRITECOMBINED), CUDA_SUCCESS);
	cr_expect_eq(mock.own_allocs, 1);
	cr_expect_not(hg_native_mem_owns_host((uintptr_t)p));
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_SUCCESS);

	mock.no_registered = true;
	cr_assert_eq(to.cuMemAllocHost_v2(&p, 4096), CUDA_SUCCESS);
	cr_expect_eq(mock.own_allocs, 2);
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_SUCCESS);
	cr_expect_eq(count(mock.pinned), 0);
	expect_nothing_left();
}

/* What was just freed comes again here. */
static unsigned char *reused[64];

/* Stands for another thread, which destroys the context that the memory belongs to. */
static CUresult context_ends(void *p)
{
	find(mock.registered, (uintptr_t)p)->live = false;
	hg_native_mem_ctx_gone(CTX(0, 0));
	for (size_t i = 0; i < 64; i++) {
		reused[i] = malloc(24 + i / 2);
		memset(reused[i], 0xff, malloc_usable_size(reused[i]));
	}
	return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

Test(native_mem, host_memory_that_goes_with_its_context_while_it_is_freed_is_freed_once)
{
	CUresult (*unregister)(void *);
	void *p = NULL;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc(&p, 10000, 0), CUDA_SUCCESS);
	unregister = hg_nv.cuMemHostUnregister;
	hg_nv.cuMemHostUnregister = context_ends;
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	hg_nv.cuMemHostUnregister = unregister;
	cr_expect_not(has_pages(p, 4096));
	cr_expect_not(hg_native_mem_owns_host((uintptr_t)p));
	for (size_t i = 0; i < 64; i++) {
		for (size_t n = 0; n < malloc_usable_size(reused[i]); n++)
			cr_assert_eq(reused[i][n], 0xff, "freed memory was written to");
		free(reused[i]);
	}
	expect_nothing_left();
}

Test(native_mem, freeing_and_unregistering_host_memory_know_which_is_which)
{
	static char page[4096];
	char *p;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc((void **)&p, 10000, 0), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemHostUnregister(p), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	cr_expect_eq(to.cuMemHostUnregister(p + 4096), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	cr_expect_eq(to.cuMemFreeHost(p + 1), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemHostRegister_v2(p, 4096, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	current(NULL);
	cr_expect_eq(to.cuMemHostUnregister(p), CUDA_ERROR_INVALID_CONTEXT);
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_ERROR_INVALID_CONTEXT);
	current(CTX(0, 0));
	cr_expect(hg_native_mem_owns_host((uintptr_t)p));

	cr_assert_eq(to.cuMemHostRegister_v2(page, sizeof(page), 0), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemFreeHost(page), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemHostUnregister(page), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemHostUnregister(page), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_SUCCESS);
	expect_nothing_left();
}

Test(native_mem, host_memory_of_another_context_is_freed_after_that_ones_work)
{
	void *p;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc(&p, 4096, 0), CUDA_SUCCESS);
	current(CTX(1, 3));
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_SUCCESS);
	cr_expect_eq(mock.syncs, 2);
	cr_expect_eq(mock.synced[0], CTX(0, 0));
	cr_expect_eq(mock.synced[1], CTX(1, 3));
	cr_expect_eq(depth, 1);
	cr_expect_eq(stack[0], CTX(1, 3));
}

Test(native_mem, the_flags_of_host_memory_are_those_that_the_driver_would_tell)
{
	unsigned int flags = 99;
	char *p;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc((void **)&p, 10000, CU_MEMHOSTALLOC_PORTABLE), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemHostGetFlags(NULL, p), CUDA_ERROR_INVALID_VALUE);
	for (int i = 0; i < 3; i++) {
		cr_expect_eq(to.cuMemHostGetFlags(&flags, p + 5000), CUDA_SUCCESS);
		cr_expect_eq(flags, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
	}
	cr_expect_eq(mock.own_allocs, 1, "asked once");
	cr_expect_eq(to.cuMemHostGetFlags(&flags, &flags), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_SUCCESS);
	cr_assert_eq(to.cuMemAllocHost_v2((void **)&p, 10000), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemHostGetFlags(&flags, p), CUDA_SUCCESS);
	cr_expect_eq(flags, CU_MEMHOSTALLOC_DEVICEMAP);
	cr_expect_eq(count(mock.pinned), 0);
}

static long mapped_kib(void)
{
	long kib = -1;
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmSize: %ld", &kib);
	fclose(f);
	return kib;
}

Test(native_mem, large_host_memory_begins_at_a_huge_page_and_leaves_nothing_behind)
{
	long before = 0;
	void *p, *small;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc(&small, 4096, 0), CUDA_SUCCESS);
	for (int i = 0; i < 100; i++) {
		cr_assert_eq(to.cuMemHostAlloc(&p, 5 * MIB + 1, 0), CUDA_SUCCESS);
		cr_expect_eq((uintptr_t)p % (2 * MIB), 0);
		cr_expect(has_pages(p, 5 * MIB + 1));
		cr_assert_eq(to.cuMemFreeHost(p), CUDA_SUCCESS);
		if (!i)
			before = mapped_kib();
	}
	cr_expect_leq(mapped_kib() - before, 1024);
	cr_expect_eq(to.cuMemHostAlloc(&p, (size_t)1 << 62, 0), CUDA_ERROR_OUT_OF_MEMORY,
		     "what cannot be mapped is the driver's to refuse");
	cr_expect_eq(mock.own_allocs, 1);
	cr_expect_eq(to.cuMemHostAlloc(&p, SIZE_MAX, 0), CUDA_ERROR_OUT_OF_MEMORY);
	cr_expect_eq(mock.own_allocs, 2);
}

Test(native_mem, host_memory_stays_the_same_pages_after_a_fork)
{
	_Atomic int *p;
	pid_t child;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc((void **)&p, 4096, 0), CUDA_SUCCESS);
	*p = 1;
	child = fork();
	if (child == 0) {
		*p = 2;
		_exit(0);
	}
	cr_assert_eq(waitpid(child, NULL, 0), child);
	cr_expect_eq(*p, 2, "a device that writes to the child's pages writes to the parent's");
}

Test(native_mem, host_memory_ends_with_its_context)
{
	void *mine, *others;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc(&mine, 4096, 0), CUDA_SUCCESS);
	current(CTX(0, 1));
	cr_assert_eq(to.cuMemHostAlloc(&others, 4096, CU_MEMHOSTALLOC_PORTABLE), CUDA_SUCCESS);
	find(mock.registered, (uintptr_t)mine)->live = false;	/* the driver forgets it */
	hg_native_mem_ctx_gone(CTX(0, 0));
	cr_expect_not(has_pages(mine, 4096));
	cr_expect_not(hg_native_mem_owns_host((uintptr_t)mine));
	cr_expect(hg_native_mem_owns_host((uintptr_t)others));
	cr_expect_eq(to.cuMemFreeHost(others), CUDA_SUCCESS);
	expect_nothing_left();
}

Test(native_mem, a_release_leaves_host_memory_mapped_and_unregistered)
{
	char *p, *q;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc((void **)&p, 4096, 0), CUDA_SUCCESS);
	cr_assert_eq(to.cuMemHostAlloc((void **)&q, 3 * MIB, 0), CUDA_SUCCESS);
	strcpy(p, "still here");
	q[3 * MIB - 1] = 7;
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
	cr_expect_str_eq(p, "still here");
	cr_expect_eq(q[3 * MIB - 1], 7);
	cr_expect_not(hg_native_mem_owns_host((uintptr_t)p));
	cr_expect_eq(hg_native_mem_release(), 0, "nothing is left to release");
}

/* the arena */

Test(native_mem, without_hgshim_arena_device_memory_is_the_drivers)
{
	CUdeviceptr p;

	begin(NULL);
	cr_expect_not(hg_native_mem_has_arena());
	cr_expect_null(hg_native_mem_proc("cuMemAlloc_v2"));
	cr_expect_null(hg_native_mem_proc("cuPointerGetAttribute"));
	p = alloc(100);
	cr_expect_not(hg_native_mem_owns_device(p));
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_SUCCESS);
	cr_expect_eq(count(mock.reserved), 0);
	cr_expect_eq(hg_native_mem_release(), 0);
}

Test(native_mem, hgshim_arena_is_1_or_an_address)
{
	static const struct {
		const char *text;
		uint64_t base;		/* 0: refused */
		bool set;
	} row[] = {
		{ "", BASE, false }, { "0", BASE, false }, { "1", BASE, true }, { "0x100000000000", 0x100000000000, true },
		{ "0x100000000001", 0, false }, { "2", 0, false }, { "yes", 0, false }, { "0x7ff000000000", 0, false },
		{ "-2097152", 0, false }, { "0x100000000000 ", 0, false },
	};

	hg_msg_sink_set(count_said, NULL);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		uint64_t base = 5;
		bool set = false;

		setenv("HGSHIM_ARENA", row[i].text, 1);
		mock.said = 0;
		cr_expect_eq(hg_arena_env(&base, &set), row[i].base ? HG_OK : HG_ERR_INVALID, "'%s'", row[i].text);
		cr_expect_eq(base, row[i].base ? row[i].base : 5, "'%s'", row[i].text);
		cr_expect_eq(set, row[i].set, "'%s'", row[i].text);
		cr_expect_eq(mock.said, !row[i].base, "'%s'", row[i].text);
	}
	setenv("HGSHIM_ARENA", "here", 1);
	cr_expect_eq(hg_native_mem_init(), HG_ERR_INVALID);
}

Test(native_mem, small_allocations_share_a_granule_lowest_address_first)
{
	CUdeviceptr a, b, c, d;

	begin("1");
	cr_expect(hg_native_mem_has_arena());
	cr_expect_eq(count(mock.reserved), 0, "not before it is needed");
	a = alloc(1);
	b = alloc(513);
	c = alloc(512);
	cr_expect_eq(a, BASE);
	cr_expect_eq(b, BASE + 512);
	cr_expect_eq(c, BASE + 1536);
	cr_expect_eq(count(mock.mapping), 1);
	cr_expect_eq(mock.used, GRANULE);
	cr_expect(reaches(0, BASE, GRANULE));
	cr_expect(hg_native_mem_owns_device(a));
	cr_expect_eq(to.cuMemFree_v2(a), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemFree_v2(b), CUDA_SUCCESS);
	d = alloc(1536);
	cr_expect_eq(d, BASE, "what was freed is one piece again");
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, the_arena_lies_where_hgshim_arena_says)
{
	begin("0x120000000000");
	cr_expect_eq(alloc(100), 0x120000000000);
	cr_expect_eq(mock.reserved[0].addr, 0x120000000000);
	cr_expect_eq(mock.reserved[0].size, UINT64_C(1) << 40);
}

Test(native_mem, large_allocations_have_granules_of_their_own)
{
	CUdeviceptr a, b, c, d;

	begin("1");
	a = alloc(GRANULE / 2 + 1);
	b = alloc(3 * GRANULE - 1);
	c = alloc(GRANULE / 2);
	d = alloc(GRANULE / 2);
	cr_expect_eq(a, BASE);
	cr_expect_eq(b, BASE + GRANULE);
	cr_expect_eq(c, BASE + 4 * GRANULE);
	cr_expect_eq(d, BASE + 4 * GRANULE + GRANULE / 2);
	cr_expect_eq(mock.used, 5 * GRANULE);
	cr_expect(reaches(0, b, 3 * GRANULE));
	cr_expect_eq(to.cuMemFree_v2(b), CUDA_SUCCESS);
	cr_expect_eq(mock.used, 2 * GRANULE, "given back at once");
	cr_expect_eq(alloc(2 * GRANULE), b, "and its addresses, too");
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, one_empty_granule_is_kept)
{
	CUdeviceptr p[12];

	begin("1");
	for (int i = 0; i < 12; i++)
		p[i] = alloc(GRANULE / 2);
	cr_expect_eq(mock.used, 6 * GRANULE);
	for (int i = 0; i < 12; i++)
		cr_expect_eq(to.cuMemFree_v2(p[i]), CUDA_SUCCESS);
	cr_expect_eq(mock.used, GRANULE);
	mock.calls = 0;
	for (int i = 0; i < 100; i++)
		cr_expect_eq(to.cuMemFree_v2(alloc(4096)), CUDA_SUCCESS);
	cr_expect_leq(mock.calls, 500, "the driver maps nothing for them: %d calls", mock.calls);
	cr_expect_eq(mock.used, GRANULE);
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, each_device_has_granules_of_its_own)
{
	CUdeviceptr a, b, c;

	begin("1");
	a = alloc(100);
	current(CTX(1, 0));
	b = alloc(100);
	current(CTX(0, 1));
	c = alloc(100);
	cr_expect_eq(a, BASE);
	cr_expect_eq(b, BASE + GRANULE);
	cr_expect_eq(c, BASE + 512);
	cr_expect(reaches(0, a, 100));
	cr_expect(reaches(1, b, 100));
	cr_expect(reaches(0, c, 100));
	cr_expect_not(reaches(0, b, 100));
}

Test(native_mem, a_driver_that_refuses_much_is_asked_for_less)
{
	begin("1");
	mock.most_reserved = UINT64_C(1) << 36;
	mock.refuses = true;
	cr_expect_eq(alloc(100), BASE);
	cr_expect_eq(count(mock.reserved), 1);
	cr_expect_eq(mock.reserved[0].size, UINT64_C(1) << 36);
	cr_expect_eq(mock.said, 0);
}

Test(native_mem, addresses_elsewhere_are_given_back)
{
	CUdeviceptr p;

	begin("1");
	mock.most_reserved = 0;
	p = alloc(100);
	cr_expect_not(hg_native_mem_owns_device(p), "the program runs on with the driver's memory");
	cr_expect_eq(mock.said, 1);
	cr_expect_eq(alloc(100) / FOREIGN, 1);
	cr_expect_eq(mock.said, 1, "said once");
	cr_expect_eq(count(mock.reserved), 0);
	cr_expect_not(hg_native_mem_has_arena());
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_SUCCESS);
	cr_expect_eq(hg_native_mem_release(), 0);
}

Test(native_mem, a_driver_without_virtual_memory_keeps_its_memory)
{
	begin("1");
	hg_nv.cuMemCreate = NULL;
	cr_expect_not(hg_native_mem_owns_device(alloc(100)));
	cr_expect_eq(mock.said, 1);
}

Test(native_mem, a_device_without_virtual_memory_keeps_its_memory)
{
	CUdeviceptr p;

	begin("1");
	mock.no_vmm = true;
	cr_expect_not(hg_native_mem_owns_device(alloc(100)));
	cr_expect_eq(mock.said, 1);
	mock.no_vmm = false;
	current(CTX(1, 0));
	p = alloc(100);
	cr_expect(hg_native_mem_owns_device(p));
}

Test(native_mem, what_is_wrong_with_a_device_allocation_the_driver_says)
{
	CUdeviceptr p = 1;
	size_t pitch = 1;

	begin("1");
	cr_expect_eq(to.cuMemAlloc_v2(&p, 0), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemAlloc_v2(NULL, 10), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemAllocPitch_v2(&p, &pitch, 10, 10, 5), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemAlloc_v2(&p, (size_t)1 << 60), CUDA_ERROR_OUT_OF_MEMORY);
	cr_expect_eq(to.cuMemAlloc_v2(&p, SIZE_MAX), CUDA_ERROR_OUT_OF_MEMORY);
	current(NULL);
	cr_expect_eq(to.cuMemAlloc_v2(&p, 10), CUDA_ERROR_INVALID_CONTEXT);
	cr_expect_eq(p, 1);
	cr_expect_eq(mock.used, 0);
}

Test(native_mem, rows_of_a_pitched_allocation_begin_at_multiples_of_512)
{
	CUdeviceptr p;
	size_t pitch, size;

	begin("1");
	cr_assert_eq(to.cuMemAllocPitch_v2(&p, &pitch, 513, 7, 4), CUDA_SUCCESS);
	cr_expect_eq(pitch, 1024);
	cr_expect_eq(p, BASE);
	cr_expect_eq(to.cuMemGetAddressRange_v2(NULL, &size, p), CUDA_SUCCESS);
	cr_expect_eq(size, 7 * 1024);
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_SUCCESS);
}

Test(native_mem, a_free_waits_for_the_work_of_its_context)
{
	CUdeviceptr p, q;

	begin("1");
	p = alloc(GRANULE);
	current(CTX(0, 1));
	q = alloc(GRANULE);
	cr_expect_eq(to.cuMemFree_v2(q), CUDA_SUCCESS);
	cr_expect_eq(mock.syncs, 1);
	cr_expect_eq(mock.synced[0], CTX(0, 1));
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_SUCCESS);
	cr_expect_eq(mock.syncs, 3);
	cr_expect_eq(mock.synced[1], CTX(0, 0), "the owner");
	cr_expect_eq(mock.synced[2], CTX(0, 1), "and the current one");
	cr_expect_eq(mock.used, 0);
}

Test(native_mem, only_what_begins_there_and_lives_can_be_freed)
{
	CUdeviceptr p;

	begin("1");
	p = alloc(1000);
	cr_expect_eq(to.cuMemFree_v2(p + 1), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemFree_v2(p + 1024), CUDA_ERROR_INVALID_VALUE);
	current(NULL);
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_ERROR_INVALID_CONTEXT);
	current(CTX(0, 0));
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemFreeAsync(p, NULL), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(mock.own_frees, 0, "the driver is not asked about the arena");
}

Test(native_mem, a_free_in_stream_order_waits_until_the_stream_comes_to_it)
{
	struct stream s = { .ctx = CTX(0, 0), .busy = true };
	CUdeviceptr p, q;

	begin("1");
	cr_assert_eq(to.cuMemAllocAsync(&p, 3 * GRANULE, (CUstream)&s), CUDA_SUCCESS);
	cr_expect_eq(p, BASE);
	cr_expect_eq(to.cuMemFreeAsync(p, (CUstream)&s), CUDA_SUCCESS);
	cr_expect(reaches(0, p, 3 * GRANULE), "a kernel may still use it");
	cr_expect_eq(to.cuMemFreeAsync(p, (CUstream)&s), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
	q = alloc(GRANULE);
	cr_expect_eq(q, BASE + 3 * GRANULE);
	cr_expect_eq(mock.queries, 2, "asked once in each call");
	s.busy = false;
	cr_expect_eq(to.cuMemFree_v2(q), CUDA_SUCCESS);
	cr_expect_eq(mock.used, 0, "each call looks after it");
	cr_expect_eq(count(mock.event), 0);
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, a_busy_stream_does_not_keep_what_another_freed)
{
	struct stream busy = { .ctx = CTX(0, 0), .busy = true }, idle = { .ctx = CTX(0, 0) };
	CUdeviceptr p, q;

	begin("1");
	p = alloc(GRANULE);
	q = alloc(GRANULE);
	cr_expect_eq(to.cuMemFreeAsync(p, (CUstream)&busy), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemFreeAsync(q, (CUstream)&idle), CUDA_SUCCESS);
	cr_expect_eq(mock.used, GRANULE);
	cr_expect(reaches(0, p, GRANULE));
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, the_default_stream_is_the_callers_flavour)
{
	CUdeviceptr p, q;

	begin("1");
	mock.per_thread.busy = true;
	cr_assert_eq(to.cuMemAllocAsync_ptsz(&p, GRANULE, NULL), CUDA_SUCCESS);
	cr_assert_eq(to.cuMemAllocAsync(&q, GRANULE, NULL), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemFreeAsync_ptsz(p, NULL), CUDA_SUCCESS);
	cr_expect_eq(mock.per_thread_records, 1);
	cr_expect_eq(to.cuMemFreeAsync(q, NULL), CUDA_SUCCESS);
	cr_expect_eq(mock.per_thread_records, 1);
	cr_expect_eq(mock.used, GRANULE);
	cr_expect(reaches(0, p, GRANULE));
}

Test(native_mem, memory_in_stream_order_is_of_the_streams_device)
{
	struct stream other = { .ctx = CTX(1, 2), .busy = true };
	CUdeviceptr p, q;

	begin("1");
	cr_assert_eq(to.cuMemAllocAsync(&p, 100, (CUstream)&other), CUDA_SUCCESS);
	cr_expect(reaches(1, p, 100));
	cr_expect_eq(to.cuMemFreeAsync(p, (CUstream)&other), CUDA_SUCCESS);
	cr_expect_eq(depth, 1);
	cr_expect_eq(stack[0], CTX(0, 0));
	q = alloc(100);
	cr_expect(reaches(0, q, 100));
	mock.calls = 0;
	other.busy = false;
	cr_expect_eq(to.cuMemFree_v2(q), CUDA_SUCCESS);
	cr_expect_eq(count(mock.event), 1, "of another context's events nothing is asked: they may be going");
	hg_native_mem_ctx_gone(CTX(1, 2));
	cr_expect_eq(count(mock.event), 1, "nor are they destroyed, once that context is");
	mock.event[0].live = false;
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, what_a_graph_captures_is_the_drivers)
{
	struct stream s = { .ctx = CTX(0, 0), .captured = true };
	CUdeviceptr p, q;

	begin("1");
	cr_assert_eq(to.cuMemAllocAsync(&p, 100, (CUstream)&s), CUDA_SUCCESS);
	cr_expect_not(hg_native_mem_owns_device(p));
	q = alloc(100);
	cr_expect_eq(to.cuMemFreeAsync(q, (CUstream)&s), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(to.cuMemFree_v2(q), CUDA_SUCCESS, "it still lives");
	cr_expect_eq(to.cuMemFreeAsync(p, (CUstream)&s), CUDA_SUCCESS);
}

Test(native_mem, memory_of_a_pool_is_in_the_arena_if_the_device_uses_the_pool)
{
	CUmemoryPool pool = NULL, mine = (CUmemoryPool)0x500, others = (CUmemoryPool)0x501;
	CUdeviceptr p, q, r;

	begin("1");
	cr_assert_eq(to.cuMemAllocFromPoolAsync(&p, 100, mine, NULL), CUDA_SUCCESS);
	cr_assert_eq(to.cuMemAllocFromPoolAsync_ptsz(&q, 100, others, NULL), CUDA_SUCCESS);
	cr_expect(hg_native_mem_owns_device(p));
	cr_expect_not(hg_native_mem_owns_device(q));
	cr_expect_eq(to.cuPointerGetAttribute(&pool, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, p), CUDA_SUCCESS);
	cr_expect_eq(pool, mine);
	r = alloc(10);
	cr_expect_eq(to.cuPointerGetAttribute(&pool, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, r), CUDA_SUCCESS);
	cr_expect_null(pool);
	mock.syncs = 0;
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_SUCCESS);
	cr_expect_eq(mock.syncs, 0, "CUDA says that the caller has waited");
}

Test(native_mem, pointers_do_not_show_the_granule)
{
	CUpointer_attribute attr[] = { CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE,
		CU_POINTER_ATTRIBUTE_CONTEXT, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_POINTER };
	CUdeviceptr start, device;
	uint64_t size, ctx, id[2];
	unsigned int type = 99;
	void *data[] = { &start, &size, &ctx, &type, &device };
	CUmemGenericAllocationHandle handle;
	CUdeviceptr p, q;

	begin("1");
	p = alloc(1000);
	q = alloc(2000);
	cr_expect_eq(to.cuMemGetAddressRange_v2(&start, &size, q + 1999), CUDA_SUCCESS);
	cr_expect_eq(start, q);
	cr_expect_eq(size, 2000);
	cr_expect_eq(to.cuMemGetAddressRange_v2(&start, &size, q + 2000), CUDA_ERROR_NOT_FOUND);
	cr_expect_eq(to.cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, p + 10), CUDA_SUCCESS);
	cr_expect_eq(start, p);
	cr_expect_eq(to.cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, p + 10), CUDA_SUCCESS);
	cr_expect_eq(size, 1000);
	cr_expect_eq(to.cuPointerGetAttribute(&id[0], CU_POINTER_ATTRIBUTE_BUFFER_ID, p), CUDA_SUCCESS);
	cr_expect_eq(to.cuPointerGetAttribute(&id[1], CU_POINTER_ATTRIBUTE_BUFFER_ID, q), CUDA_SUCCESS);
	cr_expect_neq(id[0], id[1]);
	cr_expect_eq(to.cuPointerGetAttributes(5, attr, data, q + 5), CUDA_SUCCESS);
	cr_expect_eq(start, q);
	cr_expect_eq(size, 2000);
	cr_expect_eq((CUcontext)ctx, CTX(0, 0));
	cr_expect_eq(type, CU_MEMORYTYPE_DEVICE, "the driver's own answer");
	cr_expect_eq(device, q + 5);

	cr_expect_eq(to.cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, p + 1000),
		     CUDA_ERROR_INVALID_VALUE, "between two allocations there is nothing");
	cr_expect_eq(to.cuPointerGetAttributes(5, attr, data, q + 4096), CUDA_SUCCESS);
	cr_expect_eq(start, 0);
	cr_expect_eq(size, 0);
	cr_expect_eq(ctx, 0);
	cr_expect_eq(type, 0);
	cr_expect_eq(device, 0);
	cr_expect_eq(to.cuMemRetainAllocationHandle(&handle, (void *)p), CUDA_ERROR_INVALID_VALUE);
}

Test(native_mem, device_memory_ends_with_its_context)
{
	struct stream s = { .ctx = CTX(0, 0), .busy = true };
	CUdeviceptr p, q, mine;

	begin("1");
	p = alloc(100);
	q = alloc(3 * GRANULE);
	cr_expect_eq(to.cuMemFreeAsync(q, (CUstream)&s), CUDA_SUCCESS);
	current(CTX(0, 1));
	mine = alloc(200);
	mock.event[0].live = false;	/* the driver's doing */
	hg_native_mem_ctx_gone(CTX(0, 0));
	cr_expect_eq(mock.used, GRANULE);
	cr_expect(reaches(0, mine, 200));
	cr_expect_eq(to.cuMemGetAddressRange_v2(NULL, NULL, p), CUDA_ERROR_NOT_FOUND);
	cr_expect_eq(alloc(100), p, "its place is free");
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, where_memory_lacks_what_was_freed_is_waited_for)
{
	struct stream s = { .ctx = CTX(0, 0), .busy = true };
	CUdeviceptr p, q, r;

	begin("1");
	mock.total = 4 * GRANULE;
	p = alloc(3 * GRANULE);
	cr_expect_eq(to.cuMemFree_v2(alloc(100)), CUDA_SUCCESS);
	cr_expect_eq(mock.used, 4 * GRANULE, "an empty granule is kept");
	q = alloc(100);
	cr_expect_eq(to.cuMemAlloc_v2(&r, 2 * GRANULE), CUDA_ERROR_OUT_OF_MEMORY);
	cr_expect_eq(to.cuMemFreeAsync(p, (CUstream)&s), CUDA_SUCCESS);
	cr_expect_eq(to.cuMemFree_v2(q), CUDA_SUCCESS);
	cr_expect_eq(mock.used, 4 * GRANULE);
	cr_assert_eq(to.cuMemAlloc_v2(&r, 4 * GRANULE), CUDA_SUCCESS);
	cr_expect_not(s.busy);
	cr_expect_eq(r, BASE);
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

/* errors */

struct held {
	CUdeviceptr ptr[4];
	size_t size[4];
	void *host;
};

static void hold(struct held *h, int i, CUresult r, const CUdeviceptr *p, size_t size)
{
	h->ptr[i] = r ? 0 : *p;
	h->size[i] = size;
}

static void expect_held(const struct held *h)
{
	for (int i = 0; i < 4; i++)
		if (h->ptr[i] && hg_native_mem_owns_device(h->ptr[i]))
			cr_expect(reaches(0, h->ptr[i], h->size[i]), "after '%s' failed in call %d", mock.failed, mock.fail_at);
}

/* A program's life; what fails in it is not tried again. */
static void live(void)
{
	struct stream s = { .ctx = CTX(0, 0) };
	struct held h = { 0 };
	CUdeviceptr p = 0;
	size_t pitch;

	hold(&h, 0, to.cuMemAlloc_v2(&p, 100), &p, 100);
	expect_held(&h);
	hold(&h, 1, to.cuMemAlloc_v2(&p, 5 * MIB), &p, 5 * MIB);
	expect_held(&h);
	hold(&h, 2, to.cuMemAllocPitch_v2(&p, &pitch, 100, 100, 4), &p, 51200);
	hold(&h, 3, to.cuMemAllocAsync(&p, 3 * MIB, (CUstream)&s), &p, 3 * MIB);
	expect_held(&h);
	if (to.cuMemHostAlloc(&h.host, 3 * MIB, 0))
		h.host = NULL;
	if (h.host)
		memset(h.host, 1, 3 * MIB);
	s.busy = true;
	for (int i = 3; i >= 0; i -= 2) {
		CUdeviceptr freed = h.ptr[i];

		if (!freed)
			continue;
		if (!to.cuMemFreeAsync(freed, (CUstream)&s)) {
			if (!hg_native_mem_owns_device(freed))
				h.ptr[i] = 0;
			continue;
		}
		/* not freed, so it can be; unless the driver is broken for good */
		h.ptr[i] = 0;
		if (!mock.fail_from)
			cr_expect_eq(to.cuMemFree_v2(freed), CUDA_SUCCESS);
	}
	expect_held(&h);	/* the stream is busy */
	s.busy = false;
	h.ptr[1] = 0;
	h.ptr[3] = 0;
	if (h.ptr[0] && (!to.cuMemFree_v2(h.ptr[0]) || to.cuMemGetAddressRange_v2(NULL, NULL, h.ptr[0])))
		h.ptr[0] = 0;
	expect_held(&h);
	if (h.host && !to.cuMemFreeHost(h.host)) {
		h.host = NULL;
	} else if (h.host) {
		memset(h.host, 2, 3 * MIB);	/* not freed: still there */
	}
}

static void end_foreign(void)
{
	for (int i = 0; i < MOST; i++) {
		mock.memory[i].live = false;
		if (mock.pinned[i].live)
			free((void *)mock.pinned[i].addr);
		mock.pinned[i].live = false;
	}
}

static void forget_all(struct range *list)
{
	memset(list, 0, MOST * sizeof(*list));
}

static void forget_everything(void)
{
	forget_all(mock.event);
	forget_all(mock.mapping);
	forget_all(mock.handle);
	forget_all(mock.reserved);
	forget_all(mock.registered);
	mock.used = 0;
}

Test(native_mem, whatever_call_of_the_driver_fails_nothing_is_lost_unsaid, .timeout = 120)
{
	static const CUresult errors[] = { CUDA_ERROR_UNKNOWN, CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_INVALID_VALUE,
					   CUDA_ERROR_ILLEGAL_ADDRESS };
	int nr = 0;

	for (int e = 0; e < 4; e++) {
		mock.failed = "";
		for (int at = 1; mock.failed; at++) {
			unsigned int failed;
			bool earlier;

			begin("1");
			mock.error = errors[e];
			mock.calls = 0;
			mock.said = 0;
			mock.failed = NULL;
			mock.fail_at = at;
			live();
			earlier = mock.failed;
			failed = hg_native_mem_release();
			mock.fail_at = 0;
			if (earlier && !strcmp(mock.failed, "event_destroy"))
				forget_all(mock.event);	/* there is no second chance */
			if (earlier || !mock.failed) {
				cr_expect_eq(failed, 0, "'%s' failed in call %d", mock.failed ? mock.failed : "", at);
			} else {
				/* the failing call is the one that gives back: counted */
				cr_expect_geq(failed, 1, "'%s' failed in call %d", mock.failed, at);
				forget_everything();
			}
			expect_nothing_left();
			end_foreign();
			nr++;
		}
	}
	cr_expect_geq(nr, 200, "%d", nr);
}

Test(native_mem, a_driver_that_fails_for_good_is_survived, .timeout = 120)
{
	for (int at = 1; at < 80; at++) {
		begin("1");
		mock.error = CUDA_ERROR_ILLEGAL_ADDRESS;
		mock.calls = 0;
		mock.fail_from = at;
		live();
		hg_native_mem_release();
		mock.fail_from = 0;
		forget_everything();
		end_foreign();
	}
}

Test(native_mem, host_memory_that_cannot_be_unregistered_stays)
{
	char *p;

	begin(NULL);
	cr_assert_eq(to.cuMemHostAlloc((void **)&p, 4096, 0), CUDA_SUCCESS);
	mock.fail[0] = "host_unregister";
	mock.error = CUDA_ERROR_LAUNCH_FAILED;
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_ERROR_LAUNCH_FAILED);
	cr_expect(has_pages(p, 4096));
	cr_expect(hg_native_mem_owns_host((uintptr_t)p));
	cr_expect_eq(to.cuMemFreeHost(p), CUDA_SUCCESS);
	expect_nothing_left();
}

Test(native_mem, memory_that_cannot_be_unmapped_is_not_given_again_and_released_later)
{
	CUdeviceptr p, q;

	begin("1");
	p = alloc(GRANULE);
	mock.fail[0] = "mem_unmap";
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_ERROR_UNKNOWN);
	q = alloc(GRANULE);
	cr_expect_eq(q, BASE + GRANULE);
	cr_expect_eq(alloc(100), BASE + 2 * GRANULE, "not in what is left over, either");
	cr_expect_eq(to.cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, a_mapping_that_cannot_be_taken_back_keeps_its_addresses)
{
	CUdeviceptr p;

	begin("1");
	mock.fail[0] = "mem_access";
	mock.fail[1] = "mem_unmap";
	cr_expect_eq(to.cuMemAlloc_v2(&p, GRANULE), CUDA_ERROR_UNKNOWN, "the first error is the call's");
	cr_expect_eq(count(mock.mapping), 1);
	cr_expect_eq(alloc(GRANULE), BASE + GRANULE);
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
}

Test(native_mem, a_release_counts_what_failed_and_goes_on)
{
	struct stream s = { .ctx = CTX(0, 0), .busy = true };
	void *host;

	begin("1");
	alloc(100);
	cr_expect_eq(to.cuMemFreeAsync(alloc(GRANULE), (CUstream)&s), CUDA_SUCCESS);
	cr_assert_eq(to.cuMemHostAlloc(&host, 100, 0), CUDA_SUCCESS);
	mock.fail[0] = "event_destroy";
	mock.fail[1] = "host_unregister";
	cr_expect_eq(hg_native_mem_release(), 2);
	cr_expect_eq(count(mock.event), 1);
	cr_expect_eq(count(mock.registered), 1);
	cr_expect_eq(count(mock.mapping), 0);
	cr_expect_eq(count(mock.reserved), 0);
	cr_expect(has_pages(host, 100));
}

/* threads */

#define THREADS 6
#define ROUNDS 400

static struct {
	pthread_mutex_t lock;
	struct hg_ivmap held;
	struct stream stream[THREADS];
	_Atomic int problems;
} shared = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void note(uint64_t p, uint64_t size)
{
	pthread_mutex_lock(&shared.lock);
	if (hg_ivmap_put(&shared.held, p, size, 0))
		shared.problems++;	/* someone else has it */
	pthread_mutex_unlock(&shared.lock);
}

static void forget(uint64_t p)
{
	pthread_mutex_lock(&shared.lock);
	if (!hg_ivmap_remove(&shared.held, p, NULL))
		shared.problems++;
	pthread_mutex_unlock(&shared.lock);
}

static void *worker(void *arg)
{
	int nr = (int)(intptr_t)arg;
	struct stream *s = &shared.stream[nr];
	uint64_t seed = (uint64_t)nr + 1, p[16] = { 0 }, size[16];
	void *host[4] = { 0 };
	CUdevice dev = nr % 2;

	s->ctx = CTX(dev, nr);
	stack[0] = s->ctx;
	depth = 1;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned int at = next_random(&seed) % 16;
		CUdeviceptr got;

		s->busy = next_random(&seed) % 2;
		if (p[at]) {
			if (!reaches(dev, p[at], size[at]))
				shared.problems++;
			/* it may be another thread's from the moment the call frees it */
			forget(p[at]);
			if (i % 2 ? to.cuMemFree_v2(p[at]) : to.cuMemFreeAsync(p[at], (CUstream)s))
				shared.problems++;
			p[at] = 0;
		} else {
			size[at] = i % 7 ? 1 + next_random(&seed) % 40000 : 1 + next_random(&seed) % (8 * MIB);
			if (i % 3 ? to.cuMemAlloc_v2(&got, size[at]) :
				    to.cuMemAllocAsync(&got, size[at], (CUstream)s)) {
				shared.problems++;
			} else {
				p[at] = got;
				note(got, size[at]);
			}
		}
		at %= 4;
		if (host[at]) {
			if (*(int *)host[at] != nr || to.cuMemFreeHost(host[at]))
				shared.problems++;
			host[at] = NULL;
		} else if (to.cuMemHostAlloc(&host[at], 8192, 0)) {
			shared.problems++;
		} else {
			*(int *)host[at] = nr;
		}
	}
	return NULL;
}

Test(native_mem, threads_never_get_the_same_memory, .timeout = 120)
{
	pthread_t t[THREADS];

	begin("1");
	for (intptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, worker, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	cr_expect_eq(shared.problems, 0, "%d", shared.problems);
	cr_expect_eq(hg_native_mem_release(), 0);
	expect_nothing_left();
	cr_expect_eq(mock.own_allocs, 0);
}
