/* test_restore.c - a process that goes on with the portable driver where another one was. */
#define _GNU_SOURCE
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "common/place.h"
#include "driver_test.h"
#include "logdb/words.h"
#include "replay/engine.h"
#include "replay/replay.h"
#include "replay/restore.h"
#include "tests/unit/logdb/helper.h"

/*
 * There is no other driver here: its records are made up, with handles that are no addresses of anything and memory where
 * no arena is. The device is a buffer of this file, from which snapshots are taken.
 */
#define BASE UINT64_C(0x7d1234561000)	/* in no granule of the arena's */
#define ROOM (UINT64_C(8) << 20)
#define PAGE UINT64_C(4096)

enum { PRIMARY = 0x7e0000001000, CREATED = 0x7e0000002000, STREAM = 0x7e0000003000, EVENT = 0x7e0000004000,
       MODULE = 0x7e0000005000, LIBRARY = 0x7e0000006000, KERNEL = 0x7e0000007000, FUNCTION = 0x7e0000007040,
       VIEW = 0x7e0000008000, PLAIN = 0x7e0000009000, POOL = 0x7e000000a000 };

static const char ptx[] =
	".version 8.0\n.target sm_70\n.address_size 64\n"
	".visible .global .align 1 .b8 odd[3] = {1, 2, 3};\n"
	".visible .global .align 4 .u32 counter = 7;\n"
	".visible .global .align 8 .u64 pointer = counter;\n"
	".global .align 1 .b8 hidden[5] = {9, 8, 7, 6, 5};\n"
	/* bump(out): counter += 1, through the pointer; *out = the new value + odd[2] + hidden[4] */
	".visible .entry bump(.param .u64 out)\n{\n .reg .b64 %rd<4>;\n .reg .b32 %r<6>;\n"
	" ld.param.u64 %rd2, [out];\n ld.global.u64 %rd1, [pointer];\n ld.global.u32 %r1, [%rd1];\n add.u32 %r1, %r1, 1;\n"
	" st.global.u32 [%rd1], %r1;\n ld.global.u8 %r2, [odd+2];\n add.u32 %r1, %r1, %r2;\n"
	" ld.global.u8 %r3, [hidden+4];\n add.u32 %r1, %r1, %r3;\n st.global.u32 [%rd2], %r1;\n ret;\n}\n"
	".visible .entry idle()\n{\n ret;\n}\n";

static const char ptx_refused[] =
	".version 8.0\n.target sm_90a\n.address_size 64\n"
	".visible .entry good()\n{\n ret;\n}\n"
	".visible .entry bad()\n{\n .reg .b32 %r<2>;\n"
	" wgmma.fence.sync.aligned;\n ret;\n}\n";

/* the device that was before, at addresses as a driver chooses them */

static struct device {
	uint64_t base;			/* ROOM bytes of addresses, free */
	unsigned char *data;		/* what is there */
	struct hg_region region[32];
	size_t nr;
} device;

static struct hg_recorder *recorder;
static uint64_t primary;		/* id of the context */

static uint64_t add_region(uint64_t at, uint64_t size, uint64_t object, enum hg_region_kind kind, const char *name)
{
	device.region[device.nr++] = (struct hg_region){
		.addr = device.base + at, .size = size, .object = object, .kind = kind, .name = name,
	};
	for (uint64_t i = 0; i < size; i++)
		device.data[at + i] = (unsigned char)(3 + i * 7 + at);
	return device.base + at;
}

static enum hg_status read_device(void *dst, uint64_t addr, size_t size, void *arg)
{
	(void)arg;
	if (addr - device.base < ROOM)
		memcpy(dst, device.data + (addr - device.base), size);
	else
		memcpy(dst, (const void *)addr, size);	/* host memory */
	return HG_OK;
}

static const char *dir;

/* A recorder and a primary context. */
static void begin(void)
{
	uint64_t word[] = { PRIMARY, 0 };

	device = (struct device){ .base = BASE, .data = calloc(1, ROOM) };
	dir = test_dir();
	recorder = test_start_with(dir, HG_CALLS_ALL, false);
	primary = test_record(recorder, HG_ID_cuDevicePrimaryCtxRetain, 0, word, 2);
}

static uint64_t record(enum hg_call_id id, const uint64_t *word, unsigned int n)
{
	return test_record(recorder, id, primary, word, n);
}

#define RECORD(call, ...)									\
	record(HG_ID_##call, (const uint64_t[]){ __VA_ARGS__ }, sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8)

/* Memory of the device, filled with bytes of its own. */
static uint64_t memory(uint64_t at, uint64_t size)
{
	uint64_t id = RECORD(cuMemAlloc_v2, device.base + at, size);

	return add_region(at, size, id, HG_REGION_DEVICE, NULL);
}

static uint64_t load(enum hg_call_id call, uint64_t handle, const char *text, size_t size, const struct hg_place *place,
		     size_t nr)
{
	struct hg_writer places = { 0 };
	unsigned char key[16];
	struct hg_rec *rec;
	uint64_t seq;

	hg_places_encode(&places, place, nr);
	cr_assert_eq(hg_recorder_image(recorder, text, size, key), HG_OK);
	seq = hg_recorder_seq(recorder);
	rec = hg_recorder_begin(recorder, hg_call_by_id(call), seq, 2, 16 + places.size);
	cr_assert(rec);
	rec->ctx = primary;
	rec->word[0] = handle;
	rec->word[1] = HG_BLOB(HG_BLOB_IMAGE, size);
	memcpy(&rec->word[2], key, sizeof(key));
	if (places.size)
		memcpy(&rec->word[4], places.data, places.size);
	hg_recorder_commit(recorder, rec);
	hg_writer_release(&places);
	return seq;
}

static uint64_t look_up(enum hg_call_id call, uint64_t handle, uint64_t parent, const char *name)
{
	size_t len = strlen(name) + 1;
	uint64_t seq = hg_recorder_seq(recorder);
	struct hg_rec *rec = hg_recorder_begin(recorder, hg_call_by_id(call), seq, 3, (len + 7) & ~(size_t)7);

	cr_assert(rec);
	rec->ctx = primary;
	rec->word[0] = handle;
	rec->word[1] = parent;
	rec->word[2] = HG_BLOB(HG_BLOB_INLINE, len);
	memset(&rec->word[3], 0, (len + 7) & ~(size_t)7);
	memcpy(&rec->word[3], name, len);
	hg_recorder_commit(recorder, rec);
	return seq;
}

/* the move, on the thread that would make it; nothing there may end a test */

static const uint64_t primaries[] = { PRIMARY }, pools[] = { POOL };
static struct hg_restore_options options = {
	.target = "cpu", .nr_devices = 1, .nr_pools = 1, .pool = pools, .nr_primaries = 1, .primary = primaries,
};
static char said[1024];			/* the first error */

static void listen_to(enum hg_msg_level level, const char *line, void *arg)
{
	(void)arg;
	if (level == HG_MSG_ERR && !said[0])
		strncpy(said, line, sizeof(said) - 1);
}

static enum hg_status take_snapshot(struct hg_recorder *r, void *arg)
{
	uint64_t bytes, written;
	struct hg_snapshot_writer *s;
	enum hg_status st;

	st = hg_snapshot_begin(r, &s);
	for (size_t i = 0; !st && i < device.nr; i++) {
		st = hg_snapshot_region(s, &device.region[i], read_device, NULL);
		if (st)
			hg_snapshot_abandon(s);
	}
	return st ? st : hg_snapshot_commit(s, NULL, false, arg, &bytes, &written);
}

struct move {
	enum hg_status open, run;
	bool only_open;
	void (*between)(void);		/* the old driver goes */
};

static enum hg_status make_move(struct hg_recorder *r, void *arg)
{
	struct hg_restore_options opt = options;
	struct move *m = arg;
	struct hg_restore *restore;
	enum hg_status st;

	said[0] = '\0';
	hg_msg_sink_set(listen_to, NULL);
	st = hg_recorder_drain(r, 5000);
	if (!st)
		st = hg_recorder_log(r, &opt.log);
	if (st)
		return st;
	m->run = HG_ERR_TIMEOUT;
	m->open = hg_restore_open(&opt, &restore);
	if (!m->open && m->between)
		m->between();
	if (!m->open && !m->only_open)
		hg_restore_leave(restore);
	if (!m->open && !m->only_open)
		m->run = hg_restore_run(restore, NULL, 0);
	if (!m->open)
		hg_restore_close(restore);
	hg_log_close(opt.log);
	return HG_OK;
}

static void snapshot(void)
{
	cr_assert_eq(test_on_checkpoint(recorder, take_snapshot, &options.snapshot), HG_OK);
}

static void move(void)
{
	struct move m = { 0 };

	snapshot();
	cr_assert_eq(test_on_checkpoint(recorder, make_move, &m), HG_OK);
	cr_assert_eq(m.open, HG_OK, "%s", said);
	cr_assert_eq(m.run, HG_OK, "%s", said);
	cr_assert_eq(hg_driver_ctx_stack(primaries, 1), HG_OK);
}

/* The move is refused, with a message that has all these words, and nothing is open. */
static void refused(enum hg_status want, const char *words)
{
	struct move m = { .only_open = true };
	char copy[128], *at = copy, *word;

	snapshot();
	cr_assert_eq(test_on_checkpoint(recorder, make_move, &m), HG_OK);
	cr_assert_eq(m.open, want, "%s", said);
	strncpy(copy, words, sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = '\0';
	for (word = strsep(&at, " "); word; word = strsep(&at, " "))
		cr_assert(strstr(said, word), "'%s' is not in '%s'", word, said);
	/* it was closed again */
	cr_assert_eq(hg_driver_open(&hg_target_cpu), HG_OK);
	hg_driver_close();
}

static void end(void)
{
	hg_recorder_stop(recorder);
	if (hg_driver_primary_ctx(0))
		hg_driver_close();
	free(device.data);
}

static void check_bytes(uint64_t addr, uint64_t size)
{
	unsigned char *back = malloc(size);

	MUST(CU(cuMemcpyDtoH_v2)(back, addr, size));
	cr_assert_eq(memcmp(back, device.data + (addr - device.base), size), 0, "at offset 0x%llx",
		     (unsigned long long)(addr - device.base));
	free(back);
}

Test(restore, memory_is_where_it_was_with_its_bytes)
{
	uint64_t addr[8], stream, back;
	CUdeviceptr base, fresh;
	size_t size;

	begin();
	/* several in one page, one across pages, one that shares its first page with another's last, a large one */
	addr[0] = memory(0x200, 1000);
	addr[1] = memory(0x600, 5);
	addr[2] = memory(0x607, 0x3000);
	addr[3] = memory(0x3800, 0x900);
	addr[4] = memory(0x200000 - 0x100, 3 << 20);
	/* of a pitch that this driver would not choose, and from a stream that is gone */
	add_region(0x10000, 768 * 10, RECORD(cuMemAllocPitch_v2, device.base + 0x10000, 768, 700, 10, 4), HG_REGION_DEVICE, NULL);
	stream = RECORD(cuStreamCreate, STREAM, 0);
	add_region(0x20000, 100, RECORD(cuMemAllocAsync, device.base + 0x20000, 100, stream), HG_REGION_DEVICE, NULL);
	RECORD(cuStreamDestroy_v2, stream);
	move();

	for (int i = 0; i < 5; i++)
		check_bytes(addr[i], device.region[i].size);
	check_bytes(device.base + 0x10000, 768 * 10);
	check_bytes(device.base + 0x20000, 100);
	MUST(CU(cuMemGetAddressRange_v2)(&base, &size, addr[2] + 0x2000));
	cr_assert_eq(base, addr[2]);
	cr_assert_eq(size, 0x3000u);
	/* new memory lies in the arena, and freeing one leaves its neighbours */
	MUST(CU(cuMemAlloc_v2)(&fresh, 4096));
	cr_assert(fresh >= HG_ARENA_BASE && fresh < device.base);
	MUST(CU(cuMemFree_v2)(addr[1]));
	MUST(CU(cuMemFree_v2)(addr[0]));
	check_bytes(addr[2], 0x3000);
	MUST(CU(cuMemFree_v2)(addr[2]));
	check_bytes(addr[3], 0x900);
	MUST(CU(cuMemFree_v2)(addr[3]));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyDtoH_v2)(&back, addr[3], 8));
	end();
}

Test(restore, handles_go_on_to_work)
{
	static const uint64_t stack[] = { PRIMARY, 0, CREATED };
	uint64_t created, stream, event;
	CUdevice dev;
	CUmemoryPool pool;
	CUcontext ctx;
	CUstream other;

	begin();
	created = RECORD(cuCtxCreate_v2, CREATED, CU_CTX_SCHED_SPIN, 0);
	stream = RECORD(cuStreamCreateWithPriority, STREAM, CU_STREAM_NON_BLOCKING, (uint64_t)-2);
	event = RECORD(cuEventCreate, EVENT, 0);
	RECORD(cuEventRecord, event, stream);
	move();
	cr_assert_gt(created, primary);

	MUST(CU(cuCtxGetCurrent)(&ctx));
	cr_assert_eq((uintptr_t)ctx, PRIMARY);
	cr_assert_eq((uintptr_t)hg_driver_primary_ctx(0), PRIMARY);
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	cr_assert_eq((uintptr_t)ctx, PRIMARY);
	MUST(CU(cuStreamGetCtx)((CUstream)STREAM, &ctx));
	cr_assert_eq((uintptr_t)ctx, PRIMARY);
	MUST(CU(cuDeviceGetDefaultMemPool)(&pool, 0));
	cr_assert_eq((uintptr_t)pool, POOL);
	MUST(CU(cuStreamSynchronize)((CUstream)STREAM));
	MUST(CU(cuEventQuery)((CUevent)EVENT));
	MUST(CU(cuEventRecord)((CUevent)EVENT, (CUstream)STREAM));
	MUST(CU(cuEventSynchronize)((CUevent)EVENT));
	MUST(CU(cuStreamCreate)(&other, 0));
	MUST(CU(cuStreamWaitEvent)(other, (CUevent)EVENT, 0));
	/* a handle of another kind is none */
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventQuery)((CUevent)STREAM));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamQuery)((CUstream)EVENT));

	/* the one in the middle is no context (any more) */
	cr_assert_eq(hg_driver_ctx_stack((const uint64_t[]){ PRIMARY, STREAM, CREATED }, 3), HG_OK);
	MUST(CU(cuCtxPopCurrent_v2)(&ctx));
	cr_assert_eq((uintptr_t)ctx, CREATED);
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxGetDevice)(&dev));
	MUST(CU(cuCtxPopCurrent_v2)(&ctx));
	MUST(CU(cuCtxGetDevice)(&dev));

	cr_assert_eq(hg_driver_ctx_stack(stack, 3), HG_OK);
	MUST(CU(cuCtxGetDevice)(&dev));
	MUST(CU(cuCtxPopCurrent_v2)(&ctx));
	cr_assert_eq((uintptr_t)ctx, CREATED);
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxGetDevice)(&dev));
	MUST(CU(cuCtxPopCurrent_v2)(&ctx));
	cr_assert_null(ctx);
	MUST(CU(cuCtxPopCurrent_v2)(&ctx));
	cr_assert_eq((uintptr_t)ctx, PRIMARY);
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxPopCurrent_v2)(&ctx));

	MUST(CU(cuCtxSetCurrent)((CUcontext)PRIMARY));
	MUST(CU(cuStreamDestroy_v2)((CUstream)STREAM));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuStreamQuery)((CUstream)STREAM));
	MUST(CU(cuEventDestroy_v2)((CUevent)EVENT));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventQuery)((CUevent)EVENT));
	MUST(CU(cuCtxDestroy_v2)((CUcontext)CREATED));
	GIVES(CUDA_ERROR_INVALID_CONTEXT, CU(cuCtxSetCurrent)((CUcontext)CREATED));
	end();
}

static uint64_t first_function;		/* record_code's functions have consecutive numbers, but for the module between */

/* Of record_code: 0 the kernel, 1 its CUfunction. */
static uint64_t nth_function(int n)
{
	return first_function + (uint64_t)n;
}

Test(restore, every_device_is_called_as_it_was)
{
	static const uint64_t both[] = { PRIMARY, PRIMARY + 64 }, pool[] = { POOL, 0 };
	const struct hg_restore_options one = options;
	CUmemoryPool got;
	CUcontext ctx;
	CUdevice dev;
	int nr;

	begin();
	RECORD(cuDevicePrimaryCtxRetain, PRIMARY + 64, 1);
	options.nr_devices = 17;
	refused(HG_ERR_UNSUPPORTED, "17 devices");
	options = (struct hg_restore_options){
		.target = "cpu", .nr_devices = 2, .nr_pools = 2, .pool = pool, .nr_primaries = 2, .primary = both,
	};
	move();
	MUST(CU(cuDeviceGetCount)(&nr));
	cr_assert_eq(nr, 2);
	MUST(CU(cuCtxSetCurrent)((CUcontext)both[1]));
	MUST(CU(cuCtxGetDevice)(&dev));
	cr_assert_eq(dev, 1);
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 1));
	cr_assert_eq((uintptr_t)ctx, both[1]);
	MUST(CU(cuDeviceGetDefaultMemPool)(&got, 1));
	cr_assert(got && (uintptr_t)got != POOL);
	options = one;
	end();
}

/* A library with a kernel looked up as such and as a function, and a module of its own, its variables in odd places. */
static void record_code(void)
{
	const struct hg_place place[] = {
		{ "odd", device.base + 0x30001, 3 }, { "counter", device.base + 0x30004, 4 },
		{ "pointer", device.base + 0x30010, 8 },
	};
	const struct hg_place second[] = {
		{ "odd", device.base + 0x31ffe, 3 }, { "counter", device.base + 0x32004, 4 },
		{ "pointer", device.base + 0x32008, 8 },
	};
	uint64_t library, kernel, module, counter = device.base + 0x30004, value;

	library = load(HG_ID_cuLibraryLoadData, LIBRARY, ptx, sizeof(ptx), place, 3);
	kernel = look_up(HG_ID_cuLibraryGetKernel, KERNEL, library, "bump");
	first_function = kernel;
	RECORD(cuKernelGetFunction, FUNCTION, kernel);
	RECORD(cuLibraryGetModule, VIEW, library);
	module = load(HG_ID_cuModuleLoadData, MODULE, ptx, sizeof(ptx), second, 3);
	look_up(HG_ID_cuModuleGetFunction, PLAIN, module, "bump");
	RECORD(cuFuncSetAttribute, module + 1, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 70000);
	for (int i = 0; i < 3; i++)
		add_region(place[i].addr - device.base, place[i].size, library, HG_REGION_GLOBAL, place[i].name);
	for (int i = 0; i < 3; i++)
		add_region(second[i].addr - device.base, second[i].size, module, HG_REGION_GLOBAL, second[i].name);
	/* what the kernels left there */
	memcpy(device.data + 0x30001, (const unsigned char[]){ 1, 2, 30 }, 3);
	memcpy(device.data + 0x31ffe, (const unsigned char[]){ 1, 2, 40 }, 3);
	for (int i = 0; i < 2; i++) {
		value = i ? 200 : 100;
		memcpy(device.data + (i ? 0x32004 : 0x30004), &value, 4);
		value = counter + (i ? 0x2000 : 0);
		memcpy(device.data + (i ? 0x32008 : 0x30010), &value, 8);
	}
}

static int nr_files;

static uint32_t run_kernel(uint64_t function, uint64_t out)
{
	void *params[] = { &out };
	uint32_t value;

	MUST(CU(cuLaunchKernel)((CUfunction)function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	MUST(CU(cuMemcpyDtoH_v2)(&value, out, 4));
	return value;
}

Test(restore, kernels_run_by_every_handle_with_their_variables_where_they_were)
{
	CUlibrary library;
	CUdeviceptr at;
	CUfunction f;
	CUkernel k;
	CUmodule m;
	uint64_t out;
	size_t size;
	int value;

	begin();
	out = memory(0x200, 64);
	record_code();
	move();

	cr_assert_eq(run_kernel(KERNEL, out), 101u + 30 + 5);
	cr_assert_eq(run_kernel(FUNCTION, out), 102u + 30 + 5);
	cr_assert_eq(run_kernel(PLAIN, out), 201u + 40 + 5);
	MUST(CU(cuLibraryGetGlobal)(&at, &size, (CUlibrary)LIBRARY, "odd"));
	cr_assert_eq(at, device.base + 0x30001);
	MUST(CU(cuModuleGetGlobal_v2)(&at, &size, (CUmodule)MODULE, "counter"));
	cr_assert_eq(at, device.base + 0x32004);
	/* what no call could ask for has a place of its own */
	MUST(CU(cuModuleGetGlobal_v2)(&at, &size, (CUmodule)MODULE, "hidden"));
	cr_assert(at >= HG_ARENA_BASE && at < device.base);

	/* looked up again, everything is called as before */
	MUST(CU(cuLibraryGetKernel)(&k, (CUlibrary)LIBRARY, "bump"));
	cr_assert_eq((uintptr_t)k, KERNEL);
	MUST(CU(cuKernelGetFunction)(&f, (CUkernel)KERNEL));
	cr_assert_eq((uintptr_t)f, FUNCTION);
	MUST(CU(cuKernelGetLibrary)(&library, (CUkernel)KERNEL));
	cr_assert_eq((uintptr_t)library, LIBRARY);
	MUST(CU(cuLibraryGetModule)(&m, (CUlibrary)LIBRARY));
	cr_assert_eq((uintptr_t)m, VIEW);
	MUST(CU(cuModuleGetFunction)(&f, (CUmodule)VIEW, "bump"));
	cr_assert_eq((uintptr_t)f, FUNCTION);
	MUST(CU(cuFuncGetModule)(&m, (CUfunction)FUNCTION));
	cr_assert_eq((uintptr_t)m, VIEW);
	MUST(CU(cuFuncGetModule)(&m, (CUfunction)PLAIN));
	cr_assert_eq((uintptr_t)m, MODULE);
	MUST(CU(cuModuleGetFunction)(&f, (CUmodule)MODULE, "idle"));
	MUST(CU(cuLaunchKernel)(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	MUST(CU(cuFuncGetAttribute)(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (CUfunction)PLAIN));
	cr_assert_eq(value, 70000);

	/* all names go with the library */
	MUST(CU(cuLibraryUnload)((CUlibrary)LIBRARY));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuFuncGetModule)(&m, (CUfunction)FUNCTION));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuFuncGetModule)(&m, (CUfunction)KERNEL));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuModuleGetFunction)(&f, (CUmodule)VIEW, "bump"));
	cr_assert_eq(run_kernel(PLAIN, out), 202u + 40 + 5);
	end();
}

static int nr_warmed;

static bool count_kernel(void *arg)
{
	(void)arg;
	nr_warmed++;
	return true;
}

static enum hg_status warm(struct hg_recorder *r, void *arg)
{
	struct hg_restore_options opt = options;
	enum hg_status st = hg_recorder_drain(r, 5000);

	(void)arg;
	if (!st)
		st = hg_recorder_log(r, &opt.log);
	if (st)
		return st;
	hg_restore_warm(&opt, count_kernel, NULL);
	hg_log_close(opt.log);
	return HG_OK;
}

static int count_file(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	(void)path;
	(void)st;
	(void)f;
	nr_files += kind == FTW_F;
	return 0;
}

static int remove_file(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	(void)st;
	(void)kind;
	(void)f;
	return remove(path);
}

Test(restore, kernels_are_compiled_ahead_and_nothing_else_is_left_of_it)
{
	char cache[] = "/tmp/hgshim-unit-cache-XXXXXX";
	uint64_t out;
	int before;

	cr_assert(mkdtemp(cache));
	setenv("HGSHIM_CACHE", cache, 1);
	begin();
	out = memory(0x200, 64);
	record_code();
	cr_assert_eq(test_on_checkpoint(recorder, warm, NULL), HG_OK);
	cr_assert_geq(nr_warmed, 2);
	cr_assert_null(hg_driver_primary_ctx(0), "the driver is closed again");
	nftw(cache, count_file, 16, FTW_PHYS);
	cr_assert_gt(nr_files, 0);
	before = nr_files;
	move();
	cr_assert_eq(run_kernel(KERNEL, out), 101u + 30 + 5);
	nr_files = 0;
	nftw(cache, count_file, 16, FTW_PHYS);
	/* the optimised code, and what says that it is being made, may come later */
	cr_assert_leq(nr_files, before + 2, "compiled again, though it was there");
	end();
	nftw(cache, remove_file, 16, FTW_PHYS | FTW_DEPTH);
}

Test(restore, host_memory_stays_as_the_program_left_it)
{
	unsigned char *host, *own = malloc(3 * PAGE), *ours;
	CUdeviceptr there;
	unsigned int flags;

	begin();
	host = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ours = own + 100;
	memset(host, 1, 2 * PAGE);
	memset(own, 2, 3 * PAGE);
	device.region[device.nr++] = (struct hg_region){
		.addr = (uintptr_t)host, .size = 5000, .kind = HG_REGION_HOST,
		.object = RECORD(cuMemHostAlloc, (uintptr_t)host, 5000, CU_MEMHOSTALLOC_PORTABLE),
	};
	device.region[device.nr++] = (struct hg_region){
		.addr = (uintptr_t)ours, .size = 6000, .kind = HG_REGION_REGISTERED,
		.object = RECORD(cuMemHostRegister_v2, (uintptr_t)ours, 6000, 0),
	};
	snapshot();
	/* threads of the program go on while the state moves */
	host[77] = 99;
	ours[88] = 98;
	{
		struct move m = { 0 };

		cr_assert_eq(test_on_checkpoint(recorder, make_move, &m), HG_OK);
		cr_assert_eq(m.run, HG_OK, "%s", said);
	}
	cr_assert_eq(hg_driver_ctx_stack(primaries, 1), HG_OK);

	cr_assert_eq(host[77], 99);
	cr_assert_eq(host[78], 1);
	cr_assert_eq(ours[88], 98);
	MUST(CU(cuMemHostGetDevicePointer_v2)(&there, host, 0));
	cr_assert_eq(there, (uintptr_t)host);
	MUST(CU(cuMemHostGetFlags)(&flags, host));
	cr_assert_eq(flags, (unsigned int)(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP));
	MUST(CU(cuMemHostUnregister)(ours));
	cr_assert_eq(ours[88], 98);
	MUST(CU(cuMemFreeHost)(host));
	cr_assert_eq(msync(host, 2 * PAGE, MS_ASYNC), -1);
	cr_assert_eq(errno, ENOMEM);
	end();
	free(own);
}

Test(restore, an_event_counts_as_recorded_when_it_was)
{
	uint64_t timing;
	CUevent now;
	float ms;

	begin();
	timing = RECORD(cuEventCreate, EVENT, 0);
	(void)timing;
	RECORD(cuEventCreate, EVENT + 64, 0);
	move();
	MUST(CU(cuEventCreate)(&now, 0));
	MUST(CU(cuEventRecord)(now, NULL));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuEventElapsedTime_v2)(&ms, (CUevent)EVENT, now));
	cr_assert_eq(hg_driver_event_age((const void *)EVENT, 3000000000u), HG_OK);
	cr_assert_eq(hg_driver_event_age((const void *)(EVENT + 64), 1000000000u), HG_OK);
	cr_assert_eq(hg_driver_event_age((const void *)STREAM, 1), HG_ERR_INVALID);
	MUST(CU(cuEventElapsedTime_v2)(&ms, (CUevent)EVENT, (CUevent)(EVENT + 64)));
	cr_assert(ms > 1990 && ms < 2500, "%g", (double)ms);
	MUST(CU(cuEventElapsedTime_v2)(&ms, (CUevent)EVENT, now));
	cr_assert(ms > 2000 && ms < 3500, "%g", (double)ms);
	MUST(CU(cuEventRecord)((CUevent)EVENT, NULL));
	MUST(CU(cuEventElapsedTime_v2)(&ms, now, (CUevent)EVENT));
	cr_assert(ms >= 0 && ms < 1500, "%g", (double)ms);
	end();
}

Test(restore, is_refused_by_a_kernel_that_cannot_run_and_nothing_has_happened)
{
	uint64_t module, addr;
	void *p;

	begin();
	addr = memory(0x200, 1000);
	module = load(HG_ID_cuModuleLoadData, MODULE, ptx_refused, sizeof(ptx_refused), NULL, 0);
	look_up(HG_ID_cuModuleGetFunction, PLAIN, module, "good");
	look_up(HG_ID_cuModuleGetFunction, FUNCTION, module, "bad");
	refused(HG_ERR_REFUSED, "'bad' line wgmma");
	/* no address was touched: they are free still */
	p = mmap((void *)(addr & -PAGE), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	cr_assert_eq((uintptr_t)p, addr & -PAGE);
	munmap(p, PAGE);
	/* the program unloads it and asks again */
	RECORD(cuModuleUnload, module);
	move();
	check_bytes(addr, 1000);
	end();
}

Test(restore, is_refused_by_a_kernel_without_ptx)
{
	begin();
	look_up(HG_ID_cuModuleGetFunction, PLAIN, load(HG_ID_cuModuleLoadData, MODULE, ptx, sizeof(ptx), NULL, 0), "machine_code");
	refused(HG_ERR_REFUSED, "'machine_code' no PTX");
	end();
}

Test(restore, is_refused_by_an_image_that_was_not_kept)
{
	begin();
	RECORD(cuModuleLoadData, MODULE, HG_BLOB(HG_BLOB_ABSENT, 0));
	refused(HG_ERR_REFUSED, "image kept cuModuleLoadData");
	end();
}

Test(restore, is_refused_by_host_memory_that_is_gone)
{
	unsigned char *host = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	begin();
	RECORD(cuMemHostAlloc, (uintptr_t)host, 100, 0);
	munmap(host, PAGE);
	refused(HG_ERR_REFUSED, "host memory not there any more");
	end();
}

Test(restore, is_refused_by_what_the_portable_driver_does_not_have)
{
	begin();
	RECORD(cuEventCreate, EVENT, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING);
	refused(HG_ERR_REFUSED, "CUDA_ERROR_NOT_SUPPORTED cuEventCreate");
	end();
}

Test(restore, is_refused_by_bytes_that_belong_nowhere)
{
	begin();
	memory(0x200, 1000);
	add_region(0x800, 10, primary, HG_REGION_DEVICE, NULL);
	refused(HG_ERR_REFUSED, "10 bytes no place");
	end();
}

Test(restore, is_refused_by_memory_that_the_machine_does_not_have)
{
	begin();
	RECORD(cuMemAlloc_v2, HG_ARENA_BASE, UINT64_C(1) << 46);
	refused(HG_ERR_REFUSED, "MiB fit");
	end();
}

Test(restore, is_refused_by_memory_that_the_process_may_not_have)
{
	unsigned long long pages;
	struct rlimit limit;
	FILE *f = fopen("/proc/self/statm", "r");

	begin();
	RECORD(cuMemAlloc_v2, HG_ARENA_BASE, UINT64_C(1) << 30);
	cr_assert(f && fscanf(f, "%llu", &pages) == 1);
	fclose(f);
	cr_assert_eq(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = pages * (unsigned long long)PAGE + (700 << 20);
	cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
	refused(HG_ERR_REFUSED, "1024 MiB fit left to this process");
	end();
}

/* A thread of the program that has its own default stream, and outlives the driver that this one is of. */
static pthread_barrier_t both;

static void *stay(void *arg)
{
	unsigned char *ok = arg;
	uint64_t addr = device.base + 0x200;

	if (hg_driver_ctx_stack(primaries, 1) || CU(cuMemsetD8Async)(addr, 5, 10, CU_STREAM_PER_THREAD) ||
	    CU(cuStreamSynchronize)(CU_STREAM_PER_THREAD))
		return NULL;
	pthread_barrier_wait(&both);
	pthread_barrier_wait(&both);
	*ok = hg_driver_ctx_stack(primaries, 1) == HG_OK && !CU(cuMemsetD8Async)(addr, 6, 5, CU_STREAM_PER_THREAD) &&
	      !CU(cuStreamSynchronize)(CU_STREAM_PER_THREAD);
	return NULL;
}

Test(restore, portable_driver_goes_on_on_another_target)
{
	unsigned char *pinned = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ok = 0;
	struct move m = { 0 };
	uint64_t addr, got = 0;
	pthread_t thread;
	CUcontext ctx;

	begin();
	addr = memory(0x200, 1000);
	memset(pinned, 17, PAGE);
	RECORD(cuMemHostAlloc, (uintptr_t)pinned, PAGE, CU_MEMHOSTALLOC_DEVICEMAP);
	RECORD(cuStreamCreate, STREAM, 0);
	move();
	pthread_barrier_init(&both, NULL, 2);
	cr_assert_eq(pthread_create(&thread, NULL, stay, &ok), 0);
	pthread_barrier_wait(&both);
	MUST(CU(cuMemsetD8Async)(addr + 100, 4, 100, (CUstream)STREAM));
	MUST(CU(cuStreamSynchronize)((CUstream)STREAM));
	MUST(CU(cuMemcpyDtoH_v2)(device.data + 0x200, addr, 1000));

	/* it cannot go there: it stays where it is */
	options.target = "cuda";
	snapshot();
	cr_assert_eq(test_on_checkpoint(recorder, make_move, &m), HG_OK);
	cr_assert_eq(m.open, HG_ERR_UNAVAILABLE, "%s", said);
	options.target = "cpu";
	m.only_open = true;
	cr_assert_eq(test_on_checkpoint(recorder, make_move, &m), HG_OK);
	cr_assert_eq(m.open, HG_OK, "%s", said);
	check_bytes(addr, 1000);
	MUST(CU(cuMemsetD8Async)(addr + 150, 3, 100, (CUstream)STREAM));
	MUST(CU(cuStreamSynchronize)((CUstream)STREAM));
	MUST(CU(cuMemcpyDtoH_v2)(device.data + 0x200, addr, 1000));

	move();
	check_bytes(addr, 1000);
	MUST(CU(cuCtxGetCurrent)(&ctx));
	cr_assert_eq((uintptr_t)ctx, PRIMARY);
	for (uint64_t i = 0; i < PAGE; i++)
		cr_assert_eq(pinned[i], 17);
	MUST(CU(cuMemHostGetDevicePointer_v2)((CUdeviceptr *)&got, pinned, 0));
	cr_assert_eq(got, (uintptr_t)pinned);
	pthread_barrier_wait(&both);
	pthread_join(thread, NULL);
	cr_assert(ok, "a thread cannot go on");
	MUST(CU(cuMemcpyDtoH_v2)(&got, addr, 8));
	cr_assert_eq(got, UINT64_C(0x0505050606060606));
	MUST(CU(cuMemsetD8Async)(addr, 9, 8, (CUstream)STREAM));
	MUST(CU(cuStreamDestroy_v2)((CUstream)STREAM));
	MUST(CU(cuMemFreeHost)(pinned));
	end();
}

Test(restore, says_that_a_target_is_not_there)
{
	begin();
	options.target = "cuda";
	refused(HG_ERR_UNAVAILABLE, "'cuda' not available");
	options.target = "cpu";
	end();
}

static void take_address(void)
{
	mmap((void *)BASE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

Test(restore, says_which_address_is_taken_when_it_is_too_late)
{
	struct move m = { .between = take_address };

	begin();
	memory(0x200, 1000);
	snapshot();
	cr_assert_eq(test_on_checkpoint(recorder, make_move, &m), HG_OK);
	cr_assert_eq(m.open, HG_OK);
	cr_assert_neq(m.run, HG_OK);
	cr_assert(strstr(said, "1000 bytes"), "%s", said);
	end();
}

static void on_taken(uint64_t start, uint64_t until, void *arg)
{
	(void)arg;
	cr_log_error("0x%llx-0x%llx is taken", (unsigned long long)start, (unsigned long long)until);
}

/* Ends the recording and replays it as hgshim-replay would, from this snapshot on; every digest must be right. */
static void replay_from(uint64_t number, uint64_t nr_buffers)
{
	const struct hg_replay_options opt = {
		.target = &hg_target_cpu, .verify = true, .has_snapshot = true, .snapshot = number,
	};
	struct hg_replay *replay;
	struct hg_log *log;

	hg_recorder_stop(recorder);
	hg_driver_close();
	log = test_open(dir);
	cr_assert_eq(hg_replay_open(log, &opt, on_taken, NULL, &replay), HG_OK);
	cr_assert_eq(hg_replay_run(replay), HG_OK);
	cr_assert_null(hg_replay_report(replay)->stopped, "%s", hg_replay_report(replay)->stopped);
	cr_assert_eq(hg_replay_report(replay)->nr_buffers, nr_buffers);
	cr_assert_eq(hg_replay_report(replay)->nr_buffers_differ, 0u);
	hg_replay_close(replay);
	hg_log_close(log);
	free(device.data);
}

static void record_launch(uint64_t function, uint64_t out)
{
	uint64_t seq = hg_recorder_seq(recorder);
	struct hg_rec *rec = hg_recorder_begin(recorder, hg_call_by_id(HG_ID_cuLaunchKernel), seq, HG_LAUNCH_NR_WORDS, 8);

	cr_assert(rec);
	memset(rec->word, 0, HG_LAUNCH_NR_WORDS * sizeof(rec->word[0]));
	rec->ctx = primary;
	rec->word[HG_LAUNCH_FUNCTION] = function;
	for (int i = HG_LAUNCH_GRID_X; i <= HG_LAUNCH_BLOCK_Z; i++)
		rec->word[i] = 1;
	rec->word[HG_LAUNCH_PARAMS] = HG_BLOB(HG_BLOB_INLINE, 8);
	rec->word[HG_LAUNCH_NR_WORDS] = out;
	hg_recorder_commit(recorder, rec);
}

Test(restore, the_same_log_replays_in_another_process)
{
	uint64_t out, first, value;

	begin();
	out = memory(0x200, 64);
	memory(0x600, 5);
	memory(0x200000 - 0x100, 3 << 20);
	add_region(0x10000, 768 * 10, RECORD(cuMemAllocPitch_v2, BASE + 0x10000, 768, 700, 10, 4), HG_REGION_DEVICE, NULL);
	record_code();
	snapshot();
	first = options.snapshot;
	/* by the CUfunction of the library's kernel; what it does is in the next snapshot */
	record_launch(nth_function(1), out);
	value = 101 + 30 + 5;
	memcpy(device.data + 0x200, &value, 4);
	value = 101;
	memcpy(device.data + 0x30004, &value, 4);
	snapshot();
	replay_from(first, 2 * device.nr);
}

Test(restore, a_replay_names_the_kernel_without_ptx_before_it_maps_anything)
{
	const struct hg_replay_options opt = { .target = &hg_target_cpu };
	struct hg_replay *replay;
	struct hg_log *log;

	begin();
	memory(0x200, 64);
	look_up(HG_ID_cuModuleGetFunction, PLAIN, load(HG_ID_cuModuleLoadData, MODULE, ptx, sizeof(ptx), NULL, 0), "machine_code");
	snapshot();
	hg_recorder_stop(recorder);
	log = test_open(dir);
	said[0] = '\0';
	hg_msg_sink_set(listen_to, NULL);
	cr_assert_eq(hg_replay_open(log, &opt, on_taken, NULL, &replay), HG_OK);
	cr_assert_eq(hg_replay_run(replay), HG_ERR_REFUSED);
	hg_msg_sink_set(NULL, NULL);
	cr_assert(strstr(said, "'machine_code'") && strstr(said, "no PTX"), "%s", said);
	cr_assert(!hg_driver_has(BASE + 0x200, 64));
	hg_replay_close(replay);
	hg_log_close(log);
	free(device.data);
}

static enum hg_status read_portable(void *dst, uint64_t addr, size_t size, void *arg)
{
	(void)arg;
	return hg_driver_read(dst, addr, size);
}

struct portable {
	struct hg_snapshot_writer *writer;
	uint64_t library, module, memory, nr;
};

static enum hg_status snapshot_portable_region(const struct hg_region *region, void *arg)
{
	struct portable *p = arg;
	struct hg_region mine = *region;

	mine.object = region->object == LIBRARY ? p->library : region->object == MODULE ? p->module : p->memory;
	p->nr++;
	return hg_snapshot_region(p->writer, &mine, read_portable, NULL);
}

static enum hg_status snapshot_portable(struct hg_recorder *r, void *arg)
{
	uint64_t bytes, written;
	struct portable *p = arg;
	enum hg_status st;

	st = hg_snapshot_begin(r, &p->writer);
	if (!st)
		st = hg_driver_regions(snapshot_portable_region, p);
	return st ? st : hg_snapshot_commit(p->writer, NULL, false, &options.snapshot, &bytes, &written);
}

/* Variables that only this driver knows got addresses of its own choosing: a replay must find them there. */
Test(restore, a_snapshot_taken_afterwards_replays_as_well)
{
	struct portable p = { 0 };
	CUdeviceptr hidden;

	begin();
	memory(0x200, 64);
	record_code();
	move();
	MUST(CU(cuModuleGetGlobal_v2)(&hidden, NULL, (CUmodule)MODULE, "hidden"));
	MUST(CU(cuMemcpyHtoD_v2)(hidden, "abcde", 5));
	p.memory = primary + 1;
	p.library = primary + 2;
	p.module = nth_function(1) + 2;
	cr_assert_eq(test_on_checkpoint(recorder, snapshot_portable, &p), HG_OK);
	cr_assert_eq(p.nr, 9u);
	replay_from(options.snapshot, p.nr);
}

enum { NR_MODULES = 200 };

/* On the thread that restores, so that malloc is likely to give these addresses again. */
static enum hg_status collect_addresses(struct hg_recorder *r, void *arg)
{
	uint64_t *handle = arg;
	CUmodule module;
	CUresult error;
	CUcontext ctx;
	CUfunction f;

	(void)r;
	if (hg_driver_open(&hg_target_cpu))
		return HG_ERR_FAULT;
	error = CU(cuInit)(0);
	if (!error)
		error = CU(cuDevicePrimaryCtxRetain)(&ctx, 0);
	if (!error)
		error = CU(cuCtxSetCurrent)(ctx);
	for (int i = 0; i < NR_MODULES && !error; i++) {
		error = CU(cuModuleLoadData)(&module, ptx);
		if (!error)
			error = CU(cuModuleGetFunction)(&f, module, "bump");
		handle[i] = (uintptr_t)f;
	}
	hg_driver_close();
	return error ? HG_ERR_FAULT : HG_OK;
}

/* Every name that the program holds is promised before the first object is made: none takes it by chance. */
Test(restore, no_object_gets_a_name_that_another_one_will_have)
{
	static uint64_t handle[NR_MODULES];
	CUfunction f;

	begin();
	cr_assert_eq(test_on_checkpoint(recorder, collect_addresses, handle), HG_OK);
	for (uint64_t i = 0; i < NR_MODULES; i++)
		load(HG_ID_cuModuleLoadData, MODULE + i * 64, ptx, sizeof(ptx), NULL, 0);
	for (uint64_t i = 0; i < NR_MODULES; i++)
		look_up(HG_ID_cuModuleGetFunction, handle[i], primary + 1 + i, "idle");
	move();
	for (uint64_t i = 0; i < NR_MODULES; i++) {
		MUST(CU(cuLaunchKernel)((CUfunction)handle[i], 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
		MUST(CU(cuModuleGetFunction)(&f, (CUmodule)(MODULE + i * 64), "bump"));
		for (int k = 0; k < NR_MODULES; k++)
			cr_assert_neq((uintptr_t)f, handle[k]);
	}
	end();
}

Test(engine, has_every_function_of_its_table)
{
	const struct hg_engine *e = hgshim_engine();

	cr_assert_eq(e->abi, HG_ENGINE_ABI);
	cr_assert(e->msg_sink && e->restore_open && e->restore_run && e->restore_close && e->event_age && e->ctx_stack);
}
