/* irregular.c - the recorded calls whose records do not follow from their arguments alone. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "intercept/executor.h"
#include "intercept/record.h"
#include "intercept/tables.h"
#include "logdb/words.h"

/* ---- contexts ---- */

#define MAX_DEVICES 64
/* How often each device's primary context is retained, recorded or not. */
static atomic_int retained[MAX_DEVICES];

static atomic_int *retained_of(CUdevice dev)
{
	return dev >= 0 && dev < MAX_DEVICES ? &retained[dev] : NULL;
}

int hg_record_retained(CUdevice dev)
{
	atomic_int *count = retained_of(dev);

	return count ? atomic_load(count) : 0;
}

CUresult cuCtxCreate_v3(CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams, unsigned int flags, CUdevice dev)
{
	const uint64_t word[] = { HG_WORD(pctx), flags, HG_WORD(dev) };
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuCtxCreate_v3);
	hg_record_before(&rec, &f, HG_ID_cuCtxCreate_v3, word);
	r = f.real->cuCtxCreate_v3(pctx, paramsArray, numParams, flags, dev);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

CUresult cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags, CUdevice dev)
{
	const uint64_t word[] = { HG_WORD(pctx), flags, HG_WORD(dev) };
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuCtxCreate_v4);
	hg_record_before(&rec, &f, HG_ID_cuCtxCreate_v4, word);
	r = f.real->cuCtxCreate_v4(pctx, ctxCreateParams, flags, dev);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

CUresult cuCtxDestroy_v2(CUcontext ctx)
{
	const uint64_t word[] = { HG_WORD(ctx) };
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuCtxDestroy_v2);
	/* before the sequence number is taken: the destructors call CUDA, and those calls are recorded */
	hg_local_context_gone(ctx);
	hg_record_before(&rec, &f, HG_ID_cuCtxDestroy_v2, word);
	r = f.real->cuCtxDestroy_v2(ctx);
	if (r == CUDA_SUCCESS)
		hg_shim_executor()->ctx_gone(ctx);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
	const uint64_t word[] = { HG_WORD(pctx), HG_WORD(dev) };
	atomic_int *count = retained_of(dev);
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuDevicePrimaryCtxRetain);
	hg_record_before(&rec, &f, HG_ID_cuDevicePrimaryCtxRetain, word);
	r = f.real->cuDevicePrimaryCtxRetain(pctx, dev);
	if (r == CUDA_SUCCESS && count)
		atomic_fetch_add(count, 1);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

/* The device's primary context if it is active, else NULL. */
static CUcontext active_primary(const struct hg_frame *f, CUdevice dev)
{
	CUcontext ctx = NULL;
	unsigned int flags;
	int active = 0;

	if (!f->real->cuDevicePrimaryCtxGetState ||
	    f->real->cuDevicePrimaryCtxGetState(dev, &flags, &active) != CUDA_SUCCESS || !active ||
	    hg_primary_context(&ctx, dev) != CUDA_SUCCESS)
		return NULL;
	return ctx;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	uint64_t word[] = { 0, HG_WORD(dev) };
	atomic_int *count = retained_of(dev);
	struct hg_recording rec;
	struct hg_frame f;
	CUcontext ctx;
	CUresult r;

	ENTER(f, cuDevicePrimaryCtxRelease_v2);
	ctx = count && atomic_load(count) == 1 ? active_primary(&f, dev) : NULL;
	if (ctx) {
		hg_local_context_gone(ctx);
		word[0] = HG_WORD(ctx);
	}
	hg_record_before(&rec, &f, HG_ID_cuDevicePrimaryCtxRelease_v2, word);
	r = f.real->cuDevicePrimaryCtxRelease_v2(dev);
	if (r == CUDA_SUCCESS && count)
		atomic_fetch_sub(count, 1);
	if (r == CUDA_SUCCESS && ctx)
		hg_shim_executor()->ctx_gone(ctx);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	uint64_t word[] = { 0, HG_WORD(dev) };
	struct hg_recording rec;
	struct hg_frame f;
	CUcontext ctx;
	CUresult r;

	ENTER(f, cuDevicePrimaryCtxReset_v2);
	ctx = active_primary(&f, dev);
	hg_local_context_gone(ctx);
	word[0] = HG_WORD(ctx);
	hg_record_before(&rec, &f, HG_ID_cuDevicePrimaryCtxReset_v2, word);
	r = f.real->cuDevicePrimaryCtxReset_v2(dev);
	if (r == CUDA_SUCCESS && ctx)
		hg_shim_executor()->ctx_gone(ctx);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

CUresult cuCtxPopCurrent_v2(CUcontext *pctx)
{
	struct hg_recording rec;
	CUcontext popped = NULL;
	uint64_t word[1];
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuCtxPopCurrent_v2);
	/* pctx may be NULL */
	if (f.real->cuCtxGetCurrent)
		(void)f.real->cuCtxGetCurrent(&popped);
	word[0] = HG_WORD(popped);
	hg_record_before(&rec, &f, HG_ID_cuCtxPopCurrent_v2, word);
	r = f.real->cuCtxPopCurrent_v2(pctx);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

/* ---- older names of the same calls ---- */

CUresult cuCtxCreate(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
	return cuCtxCreate_v2(pctx, flags, dev);
}

CUresult cuCtxDestroy(CUcontext ctx)
{
	return cuCtxDestroy_v2(ctx);
}

/* Ends a usage of the context; the executor counts no others than the creator's. */
CUresult cuCtxDetach(CUcontext ctx)
{
	return cuCtxDestroy_v2(ctx);
}

CUresult cuCtxPushCurrent(CUcontext ctx)
{
	return cuCtxPushCurrent_v2(ctx);
}

CUresult cuCtxPopCurrent(CUcontext *pctx)
{
	return cuCtxPopCurrent_v2(pctx);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice dev)
{
	return cuDevicePrimaryCtxRelease_v2(dev);
}

CUresult cuDevicePrimaryCtxReset(CUdevice dev)
{
	return cuDevicePrimaryCtxReset_v2(dev);
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
	return cuDevicePrimaryCtxSetFlags_v2(dev, flags);
}

CUresult cuStreamDestroy(CUstream hStream)
{
	return cuStreamDestroy_v2(hStream);
}

CUresult cuEventDestroy(CUevent hEvent)
{
	return cuEventDestroy_v2(hEvent);
}

CUresult cuMemHostRegister(void *p, size_t bytesize, unsigned int Flags)
{
	return cuMemHostRegister_v2(p, bytesize, Flags);
}

CUresult cuMemAllocHost(void **pp, unsigned int bytesize)
{
	return cuMemAllocHost_v2(pp, bytesize);
}

/* ---- code ---- */

/* A whole file, malloc'ed, with a NUL behind it that `size` does not count; NULL if it cannot be read. */
static void *read_file(const char *path, size_t *size)
{
	struct stat st;
	size_t got = 0;
	char *data;
	int fd;

	if (!path)
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	data = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? malloc((size_t)st.st_size + 1) : NULL;
	while (data && got < (size_t)st.st_size) {
		ssize_t n = read(fd, data + got, (size_t)st.st_size - got);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	close(fd);
	if (data) {
		data[got] = 0;
		*size = got;
	}
	return data;
}

/* An image on its way to the driver: in memory, or in a file that is read as long as it is needed. */
struct load {
	const void *image;
	size_t size;		/* 0: not known */
	void *file;
};

static void load_begin(struct load *l, const void *image, const char *path)
{
	*l = (struct load){ .image = image };
	if (path)
		l->image = l->file = read_file(path, &l->size);
}

/* Records it. `handle` points to the module or library. */
static void load_end(struct load *l, struct hg_recording *rec, struct hg_frame *f, const uint64_t *word, CUresult r,
		     void *const *handle)
{
	struct hg_record_more more = { .image = l->image, .image_size = l->size };

	if (rec->shape && r == CUDA_SUCCESS) {
		more.vars = *handle;
		hg_shim_executor()->code_loaded(rec->shape->arg[0].kind, *handle, l->image, l->size);
	}
	if (rec->shape)
		hg_record_after_more(rec, f, word, r, &more);
	free(l->file);
}

#define LOAD(sym, out, image_, path, args)                                                         \
	do {                                                                                       \
		const uint64_t word[] = { HG_WORD(out), 0 };                                       \
		struct hg_recording rec;                                                           \
		struct hg_frame f;                                                                 \
		struct load l;                                                                     \
		CUresult r;                                                                        \
                                                                                                   \
		ENTER(f, sym);                                                                     \
		load_begin(&l, image_, path);                                                      \
		hg_record_before(&rec, &f, HG_ID_##sym, word);                                     \
		if (!l.image || hg_shim_executor()->code_allowed(l.image, l.size))                 \
			r = f.real->sym args;                                                      \
		else                                                                               \
			r = CUDA_ERROR_NO_BINARY_FOR_GPU;                                          \
		load_end(&l, &rec, &f, word, r, (void *const *)(out));                             \
		hg_frame_leave(&f);                                                                \
		return r;                                                                          \
	} while (0)

CUresult cuModuleLoad(CUmodule *module, const char *fname)
{
	LOAD(cuModuleLoad, module, NULL, fname, (module, fname));
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
	LOAD(cuModuleLoadData, module, image, NULL, (module, image));
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions, CUjit_option *options,
			    void **optionValues)
{
	LOAD(cuModuleLoadDataEx, module, image, NULL, (module, image, numOptions, options, optionValues));
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
	LOAD(cuModuleLoadFatBinary, module, fatCubin, NULL, (module, fatCubin));
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jitOptions, void **jitOptionsValues,
			   unsigned int numJitOptions, CUlibraryOption *libraryOptions, void **libraryOptionValues,
			   unsigned int numLibraryOptions)
{
	LOAD(cuLibraryLoadData, library, code, NULL, (library, code, jitOptions, jitOptionsValues, numJitOptions,
						      libraryOptions, libraryOptionValues, numLibraryOptions));
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *fileName, CUjit_option *jitOptions,
			       void **jitOptionsValues, unsigned int numJitOptions, CUlibraryOption *libraryOptions,
			       void **libraryOptionValues, unsigned int numLibraryOptions)
{
	LOAD(cuLibraryLoadFromFile, library, NULL, fileName, (library, fileName, jitOptions, jitOptionsValues,
							      numJitOptions, libraryOptions, libraryOptionValues,
							      numLibraryOptions));
}

/* One record for each function: the call made a handle for each. */
CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int numFunctions, CUmodule mod)
{
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuModuleEnumerateFunctions);
	r = f.real->cuModuleEnumerateFunctions(functions, numFunctions, mod);
	for (unsigned int i = 0; r == CUDA_SUCCESS && i < numFunctions; i++) {
		const char *name = NULL;

		if (!functions[i] || !f.real->cuFuncGetName || f.real->cuFuncGetName(&name, functions[i]) != CUDA_SUCCESS)
			continue;
		const uint64_t word[] = { HG_WORD(&functions[i]), HG_WORD(mod), HG_WORD(name) };

		hg_record_before(&rec, &f, HG_ID_cuModuleEnumerateFunctions, word);
		hg_record_after(&rec, &f, word, r);
	}
	hg_frame_leave(&f);
	return r;
}

CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int numKernels, CUlibrary lib)
{
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuLibraryEnumerateKernels);
	r = f.real->cuLibraryEnumerateKernels(kernels, numKernels, lib);
	for (unsigned int i = 0; r == CUDA_SUCCESS && i < numKernels; i++) {
		const char *name = NULL;

		if (!kernels[i] || !f.real->cuKernelGetName || f.real->cuKernelGetName(&name, kernels[i]) != CUDA_SUCCESS)
			continue;
		const uint64_t word[] = { HG_WORD(&kernels[i]), HG_WORD(lib), HG_WORD(name) };

		hg_record_before(&rec, &f, HG_ID_cuLibraryEnumerateKernels, word);
		hg_record_after(&rec, &f, word, r);
	}
	hg_frame_leave(&f);
	return r;
}

/* ---- functions of the application that the driver calls ---- */

/*
 * A callback runs on a thread of the driver, or inside a call of the application, perhaps while a checkpoint waits
 * for the queues to drain: what it calls must not wait at the gate.
 */
struct callback {
	CUhostFn fn;
	CUstreamCallback stream_fn;
	void *arg;
};

static void run_host_func(void *arg)
{
	struct callback c = *(struct callback *)arg;

	free(arg);
	hg_callback_enter();
	c.fn(c.arg);
	hg_callback_leave();
}

static void CUDA_CB run_stream_callback(CUstream stream, CUresult status, void *arg)
{
	struct callback c = *(struct callback *)arg;

	free(arg);
	hg_callback_enter();
	c.stream_fn(stream, status, c.arg);
	hg_callback_leave();
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData)
{
	const uint64_t word[] = { HG_WORD(hStream), HG_WORD(fn), HG_WORD(userData) };
	struct callback *c = NULL;
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuLaunchHostFunc);
	hg_record_before(&rec, &f, HG_ID_cuLaunchHostFunc, word);
	if (fn)
		c = malloc(sizeof(*c));
	if (c) {
		*c = (struct callback){ .fn = fn, .arg = userData };
		r = f.real->cuLaunchHostFunc(hStream, run_host_func, c);
	} else {
		r = f.real->cuLaunchHostFunc(hStream, fn, userData);
	}
	if (r != CUDA_SUCCESS)
		free(c);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags)
{
	const uint64_t word[] = { HG_WORD(hStream), HG_WORD(callback), HG_WORD(userData), flags };
	struct callback *c = NULL;
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuStreamAddCallback);
	hg_record_before(&rec, &f, HG_ID_cuStreamAddCallback, word);
	if (callback)
		c = malloc(sizeof(*c));
	if (c) {
		*c = (struct callback){ .stream_fn = callback, .arg = userData };
		r = f.real->cuStreamAddCallback(hStream, run_stream_callback, c, flags);
	} else {
		r = f.real->cuStreamAddCallback(hStream, callback, userData, flags);
	}
	if (r != CUDA_SUCCESS)
		free(c);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

/* ---- memory ---- */

/* A pool is a matter of speed: the memory comes back without it. */
CUresult cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream)
{
	const uint64_t word[] = { HG_WORD(dptr), bytesize, HG_WORD(hStream) };
	struct hg_recording rec;
	struct hg_frame f;
	CUresult r;

	ENTER(f, cuMemAllocFromPoolAsync);
	hg_record_before(&rec, &f, HG_ID_cuMemAllocAsync, word);
	r = f.real->cuMemAllocFromPoolAsync(dptr, bytesize, pool, hStream);
	hg_record_after(&rec, &f, word, r);
	hg_frame_leave(&f);
	return r;
}

/* ---- copies ---- */

struct copy {
	uint64_t dst, src;
	size_t width, height, depth;
	size_t dst_pitch, dst_slice, src_pitch, src_slice;
	bool to_device, from_device, async;
	bool unknown;		/* to or from an array whose memory nobody can name: the array is not covered, and so is this */
	CUstream stream;
};

/* Is it device memory? Any address that the driver does not know is the program's own. */
static bool is_device(const struct hg_frame *f, uint64_t addr)
{
	CUmemorytype type = 0;

	return f->real->cuPointerGetAttribute &&
	       f->real->cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, addr) == CUDA_SUCCESS &&
	       type == CU_MEMORYTYPE_DEVICE;
}

/* One end of a structured copy: its first byte and whether that is device memory. */
static bool place_end(const struct hg_frame *f, CUmemorytype type, const void *host, CUdeviceptr device, uint64_t *addr)
{
	switch (type) {
	case CU_MEMORYTYPE_HOST:
		*addr = HG_WORD(host);
		return false;
	case CU_MEMORYTYPE_UNIFIED:
		*addr = device;
		return is_device(f, device);
	default:
		*addr = device;
		return true;
	}
}

/* The end of a copy that is an array: memory like other, with its own pitch. */
static void place_array(struct copy *c, bool dst, CUarray array, size_t x, size_t y, size_t z)
{
	const struct hg_engine *engine = hg_shim_executor() == &hg_executor_portable ? hg_engine() : NULL;
	struct hg_array_place at;

	if (!engine || !engine->array_place(array, &at)) {
		c->unknown = true;
		return;
	}
	*(dst ? &c->dst : &c->src) = at.addr + z * at.slice + y * at.pitch + x;
	*(dst ? &c->dst_pitch : &c->src_pitch) = at.pitch;
	*(dst ? &c->dst_slice : &c->src_slice) = at.slice;
	*(dst ? &c->to_device : &c->from_device) = true;
}

/* The bytes of host memory that a copy reads or wrote, without padding; *made is freed by the caller. */
static const void *packed(const struct copy *c, uint64_t addr, size_t pitch, size_t slice, size_t size, void **made)
{
	unsigned char *at;

	if ((c->height == 1 || pitch == c->width) && (c->depth == 1 || slice == c->width * c->height))
		return (const void *)(uintptr_t)addr;
	*made = at = malloc(size);
	if (!at)
		return NULL;
	for (size_t z = 0; z < c->depth; z++)
		for (size_t y = 0; y < c->height; y++, at += c->width)
			memcpy(at, (const unsigned char *)(uintptr_t)addr + z * slice + y * pitch, c->width);
	return *made;
}

static void record_copy(struct hg_frame *f, enum hg_call_id id, const struct copy *c, CUresult r)
{
	uint64_t word[HG_COPY_NR_WORDS];
	struct hg_parts parts = { 0 };
	size_t size = c->width * c->height * c->depth;
	const void *data;
	void *made = NULL;

	if (!hg_shim_recorder || f->thread->unfinished || !hg_shapes[id].wanted || c->unknown)
		return;
	word[HG_COPY_KINDS] = (c->to_device ? HG_COPY_TO_DEVICE : 0) | (c->from_device ? HG_COPY_FROM_DEVICE : 0) |
			      (c->async ? HG_COPY_ASYNC : 0);
	word[HG_COPY_DST] = c->dst;
	word[HG_COPY_SRC] = c->src;
	word[HG_COPY_WIDTH] = c->width;
	word[HG_COPY_HEIGHT] = c->height;
	word[HG_COPY_DEPTH] = c->depth;
	word[HG_COPY_DST_PITCH] = c->dst_pitch;
	word[HG_COPY_DST_SLICE] = c->dst_slice;
	word[HG_COPY_SRC_PITCH] = c->src_pitch;
	word[HG_COPY_SRC_SLICE] = c->src_slice;
	word[HG_COPY_STREAM] = hg_record_stream(f, c->stream);
	word[HG_COPY_DATA] = HG_BLOB(HG_BLOB_ABSENT, 0);
	if (r == CUDA_SUCCESS && size) {
		if (c->to_device && !c->from_device) {
			data = packed(c, c->src, c->src_pitch, c->src_slice, size, &made);
			if (data)
				word[HG_COPY_DATA] = hg_parts_captured(&parts, data, size);
		} else if (c->from_device && !c->to_device && !c->async) {
			data = packed(c, c->dst, c->dst_pitch, c->dst_slice, size, &made);
			if (data)
				word[HG_COPY_DATA] = hg_parts_digest(&parts, data, size);
		}
	}
	(void)hg_record_write(f, id, word, &parts, r);
	free(made);
}

static struct copy copy_1d(const struct hg_frame *f, uint64_t dst, uint64_t src, size_t size, bool async, CUstream stream)
{
	return (struct copy){
		.dst = dst, .src = src, .width = size, .height = 1, .depth = 1,
		.dst_pitch = size, .dst_slice = size, .src_pitch = size, .src_slice = size,
		.to_device = is_device(f, dst), .from_device = is_device(f, src),
		.async = async, .stream = stream,
	};
}

static struct copy copy_2d(const struct hg_frame *f, const CUDA_MEMCPY2D *p, bool async, CUstream stream)
{
	struct copy c = { .width = p->WidthInBytes, .height = p->Height, .depth = 1, .async = async, .stream = stream };

	c.from_device = place_end(f, p->srcMemoryType, p->srcHost, p->srcDevice, &c.src);
	c.to_device = place_end(f, p->dstMemoryType, p->dstHost, p->dstDevice, &c.dst);
	c.src_pitch = p->srcPitch ? p->srcPitch : c.width;
	c.dst_pitch = p->dstPitch ? p->dstPitch : c.width;
	c.src += p->srcY * c.src_pitch + p->srcXInBytes;
	c.dst += p->dstY * c.dst_pitch + p->dstXInBytes;
	c.src_slice = c.src_pitch * c.height;
	c.dst_slice = c.dst_pitch * c.height;
	if (p->srcMemoryType == CU_MEMORYTYPE_ARRAY)
		place_array(&c, false, p->srcArray, p->srcXInBytes, p->srcY, 0);
	if (p->dstMemoryType == CU_MEMORYTYPE_ARRAY)
		place_array(&c, true, p->dstArray, p->dstXInBytes, p->dstY, 0);
	return c;
}

static struct copy copy_3d(const struct hg_frame *f, const CUDA_MEMCPY3D *p, bool async, CUstream stream)
{
	struct copy c = {
		.width = p->WidthInBytes, .height = p->Height, .depth = p->Depth, .async = async, .stream = stream,
	};

	c.from_device = place_end(f, p->srcMemoryType, p->srcHost, p->srcDevice, &c.src);
	c.to_device = place_end(f, p->dstMemoryType, p->dstHost, p->dstDevice, &c.dst);
	c.src_pitch = p->srcPitch ? p->srcPitch : c.width;
	c.dst_pitch = p->dstPitch ? p->dstPitch : c.width;
	c.src_slice = c.src_pitch * (p->srcHeight ? p->srcHeight : c.height);
	c.dst_slice = c.dst_pitch * (p->dstHeight ? p->dstHeight : c.height);
	c.src += p->srcZ * c.src_slice + p->srcY * c.src_pitch + p->srcXInBytes;
	c.dst += p->dstZ * c.dst_slice + p->dstY * c.dst_pitch + p->dstXInBytes;
	if (p->srcMemoryType == CU_MEMORYTYPE_ARRAY)
		place_array(&c, false, p->srcArray, p->srcXInBytes, p->srcY, p->srcZ);
	if (p->dstMemoryType == CU_MEMORYTYPE_ARRAY)
		place_array(&c, true, p->dstArray, p->dstXInBytes, p->dstY, p->dstZ);
	return c;
}

/* `copy` is only looked at when the executor has accepted the arguments. */
#define COPY(sym, args, copy_)                                                                     \
	do {                                                                                       \
		struct hg_frame f;                                                                 \
		CUresult r;                                                                        \
                                                                                                   \
		ENTER(f, sym);                                                                     \
		r = f.real->sym args;                                                              \
		if (hg_shim_recorder) {                                                            \
			struct copy c = { .dst = 0 };                                              \
                                                                                                   \
			if (r == CUDA_SUCCESS)                                                     \
				c = copy_;                                                         \
			record_copy(&f, HG_ID_##sym, &c, r);                                       \
		}                                                                                  \
		hg_frame_leave(&f);                                                                \
		return r;                                                                          \
	} while (0)

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount)
{
	COPY(cuMemcpy, (dst, src, ByteCount), copy_1d(&f, dst, src, ByteCount, false, NULL));
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream)
{
	COPY(cuMemcpyAsync, (dst, src, ByteCount, hStream), copy_1d(&f, dst, src, ByteCount, true, hStream));
}

CUresult cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext,
		      size_t ByteCount)
{
	COPY(cuMemcpyPeer, (dstDevice, dstContext, srcDevice, srcContext, ByteCount),
	     copy_1d(&f, dstDevice, srcDevice, ByteCount, false, NULL));
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext,
			   size_t ByteCount, CUstream hStream)
{
	COPY(cuMemcpyPeerAsync, (dstDevice, dstContext, srcDevice, srcContext, ByteCount, hStream),
	     copy_1d(&f, dstDevice, srcDevice, ByteCount, true, hStream));
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *pCopy)
{
	COPY(cuMemcpy2D_v2, (pCopy), copy_2d(&f, pCopy, false, NULL));
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *pCopy)
{
	COPY(cuMemcpy2DUnaligned_v2, (pCopy), copy_2d(&f, pCopy, false, NULL));
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *pCopy, CUstream hStream)
{
	COPY(cuMemcpy2DAsync_v2, (pCopy, hStream), copy_2d(&f, pCopy, true, hStream));
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *pCopy)
{
	COPY(cuMemcpy3D_v2, (pCopy), copy_3d(&f, pCopy, false, NULL));
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *pCopy, CUstream hStream)
{
	COPY(cuMemcpy3DAsync_v2, (pCopy, hStream), copy_3d(&f, pCopy, true, hStream));
}

/* With one device the peers are one and the same: recorded as the calls without contexts. */
static struct copy copy_3d_peer(const struct hg_frame *f, const CUDA_MEMCPY3D_PEER *p, bool async, CUstream stream)
{
	const CUDA_MEMCPY3D same = {
		.srcXInBytes = p->srcXInBytes, .srcY = p->srcY, .srcZ = p->srcZ, .srcMemoryType = p->srcMemoryType,
		.srcHost = p->srcHost, .srcDevice = p->srcDevice, .srcArray = p->srcArray, .srcPitch = p->srcPitch, .srcHeight = p->srcHeight,
		.dstXInBytes = p->dstXInBytes, .dstY = p->dstY, .dstZ = p->dstZ, .dstMemoryType = p->dstMemoryType,
		.dstHost = p->dstHost, .dstDevice = p->dstDevice, .dstArray = p->dstArray, .dstPitch = p->dstPitch, .dstHeight = p->dstHeight,
		.WidthInBytes = p->WidthInBytes, .Height = p->Height, .Depth = p->Depth,
	};

	return copy_3d(f, &same, async, stream);
}

#define HG_ID_cuMemcpy3DPeer HG_ID_cuMemcpy3D_v2
#define HG_ID_cuMemcpy3DPeerAsync HG_ID_cuMemcpy3DAsync_v2

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *pCopy)
{
	COPY(cuMemcpy3DPeer, (pCopy), copy_3d_peer(&f, pCopy, false, NULL));
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *pCopy, CUstream hStream)
{
	COPY(cuMemcpy3DPeerAsync, (pCopy, hStream), copy_3d_peer(&f, pCopy, true, hStream));
}

/* `bytes` from an offset of an array on: part of one row, or whole rows. A NULL array: the other end is at `addr`. */
static struct copy copy_rows(const struct hg_frame *f, CUarray dst, size_t dst_offset, CUarray src, size_t src_offset, uint64_t addr,
			     size_t bytes, bool async, CUstream stream)
{
	const struct hg_engine *engine = hg_shim_executor() == &hg_executor_portable ? hg_engine() : NULL;
	struct copy c = copy_1d(f, dst ? 0 : addr, src ? 0 : addr, bytes, async, stream);
	struct hg_array_place at;

	c.unknown = !engine || !engine->array_place(dst ? dst : src, &at);
	if (c.unknown)
		return c;
	if (bytes > at.row_bytes) {
		c.width = c.dst_pitch = c.src_pitch = at.row_bytes;
		c.height = bytes / at.row_bytes;
	}
	if (dst)
		place_array(&c, true, dst, dst_offset % at.row_bytes, dst_offset / at.row_bytes, 0);
	if (src)
		place_array(&c, false, src, src_offset % at.row_bytes, src_offset / at.row_bytes, 0);
	return c;
}

CUresult cuMemcpyHtoA_v2(CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount)
{
	COPY(cuMemcpyHtoA_v2, (dstArray, dstOffset, srcHost, ByteCount),
	     copy_rows(&f, dstArray, dstOffset, NULL, 0, HG_WORD(srcHost), ByteCount, false, NULL));
}

CUresult cuMemcpyHtoAAsync_v2(CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount, CUstream hStream)
{
	COPY(cuMemcpyHtoAAsync_v2, (dstArray, dstOffset, srcHost, ByteCount, hStream),
	     copy_rows(&f, dstArray, dstOffset, NULL, 0, HG_WORD(srcHost), ByteCount, true, hStream));
}

CUresult cuMemcpyDtoA_v2(CUarray dstArray, size_t dstOffset, CUdeviceptr srcDevice, size_t ByteCount)
{
	COPY(cuMemcpyDtoA_v2, (dstArray, dstOffset, srcDevice, ByteCount),
	     copy_rows(&f, dstArray, dstOffset, NULL, 0, srcDevice, ByteCount, false, NULL));
}

CUresult cuMemcpyAtoH_v2(void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount)
{
	COPY(cuMemcpyAtoH_v2, (dstHost, srcArray, srcOffset, ByteCount),
	     copy_rows(&f, NULL, 0, srcArray, srcOffset, HG_WORD(dstHost), ByteCount, false, NULL));
}

CUresult cuMemcpyAtoHAsync_v2(void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount, CUstream hStream)
{
	COPY(cuMemcpyAtoHAsync_v2, (dstHost, srcArray, srcOffset, ByteCount, hStream),
	     copy_rows(&f, NULL, 0, srcArray, srcOffset, HG_WORD(dstHost), ByteCount, true, hStream));
}

CUresult cuMemcpyAtoD_v2(CUdeviceptr dstDevice, CUarray srcArray, size_t srcOffset, size_t ByteCount)
{
	COPY(cuMemcpyAtoD_v2, (dstDevice, srcArray, srcOffset, ByteCount),
	     copy_rows(&f, NULL, 0, srcArray, srcOffset, dstDevice, ByteCount, false, NULL));
}

CUresult cuMemcpyAtoA_v2(CUarray dstArray, size_t dstOffset, CUarray srcArray, size_t srcOffset, size_t ByteCount)
{
	COPY(cuMemcpyAtoA_v2, (dstArray, dstOffset, srcArray, srcOffset, ByteCount),
	     copy_rows(&f, dstArray, dstOffset, srcArray, srcOffset, 0, ByteCount, false, NULL));
}

/* ---- references to textures: what the call has made of one is recorded ---- */

static void record_reference(struct hg_frame *f, enum hg_call_id id, uint64_t ref, CUresult r)
{
	uint64_t size = r == CUDA_SUCCESS ? hg_engine()->size(ref) : 0;
	unsigned char bytes[2048];
	struct copy c = { .dst = ref, .src = HG_WORD(bytes), .width = size, .height = 1, .depth = 1, .dst_pitch = size, .dst_slice = size,
			  .src_pitch = size, .src_slice = size, .to_device = true };

	if (r != CUDA_SUCCESS)
		c = (struct copy){ .dst = 0 };
	else if (size > sizeof(bytes) || hg_engine()->read(bytes, ref, size) != HG_OK)
		c.unknown = true;
	record_copy(f, id, &c, r);
}

#define REFERENCE(sym, ref, args)                                                                  \
	do {                                                                                       \
		struct hg_frame f;                                                                 \
		CUresult r;                                                                        \
                                                                                                   \
		ENTER(f, sym);                                                                     \
		r = f.real->sym args;                                                              \
		if (hg_shim_executor() == &hg_executor_portable)                                   \
			record_reference(&f, HG_ID_##sym, HG_WORD(ref), r);                        \
		else                                                                               \
			hg_shim_see(HG_SYM_##sym, r);                                              \
		hg_frame_leave(&f);                                                                \
		return r;                                                                          \
	} while (0)

CUresult cuTexRefSetArray(CUtexref hTexRef, CUarray hArray, unsigned int Flags)
{
	REFERENCE(cuTexRefSetArray, hTexRef, (hTexRef, hArray, Flags));
}

CUresult cuTexRefSetMipmappedArray(CUtexref hTexRef, CUmipmappedArray hMipmappedArray, unsigned int Flags)
{
	REFERENCE(cuTexRefSetMipmappedArray, hTexRef, (hTexRef, hMipmappedArray, Flags));
}

CUresult cuTexRefSetAddress_v2(size_t *ByteOffset, CUtexref hTexRef, CUdeviceptr dptr, size_t bytes)
{
	REFERENCE(cuTexRefSetAddress_v2, hTexRef, (ByteOffset, hTexRef, dptr, bytes));
}

CUresult cuTexRefSetAddress2D_v3(CUtexref hTexRef, const CUDA_ARRAY_DESCRIPTOR *desc, CUdeviceptr dptr, size_t Pitch)
{
	REFERENCE(cuTexRefSetAddress2D_v3, hTexRef, (hTexRef, desc, dptr, Pitch));
}

CUresult cuTexRefSetFormat(CUtexref hTexRef, CUarray_format fmt, int NumPackedComponents)
{
	REFERENCE(cuTexRefSetFormat, hTexRef, (hTexRef, fmt, NumPackedComponents));
}

CUresult cuTexRefSetAddressMode(CUtexref hTexRef, int dim, CUaddress_mode am)
{
	REFERENCE(cuTexRefSetAddressMode, hTexRef, (hTexRef, dim, am));
}

CUresult cuTexRefSetFilterMode(CUtexref hTexRef, CUfilter_mode fm)
{
	REFERENCE(cuTexRefSetFilterMode, hTexRef, (hTexRef, fm));
}

CUresult cuTexRefSetMipmapFilterMode(CUtexref hTexRef, CUfilter_mode fm)
{
	REFERENCE(cuTexRefSetMipmapFilterMode, hTexRef, (hTexRef, fm));
}

CUresult cuTexRefSetMipmapLevelBias(CUtexref hTexRef, float bias)
{
	REFERENCE(cuTexRefSetMipmapLevelBias, hTexRef, (hTexRef, bias));
}

CUresult cuTexRefSetMipmapLevelClamp(CUtexref hTexRef, float minMipmapLevelClamp, float maxMipmapLevelClamp)
{
	REFERENCE(cuTexRefSetMipmapLevelClamp, hTexRef, (hTexRef, minMipmapLevelClamp, maxMipmapLevelClamp));
}

CUresult cuTexRefSetMaxAnisotropy(CUtexref hTexRef, unsigned int maxAniso)
{
	REFERENCE(cuTexRefSetMaxAnisotropy, hTexRef, (hTexRef, maxAniso));
}

CUresult cuTexRefSetBorderColor(CUtexref hTexRef, float *pBorderColor)
{
	REFERENCE(cuTexRefSetBorderColor, hTexRef, (hTexRef, pBorderColor));
}

CUresult cuTexRefSetFlags(CUtexref hTexRef, unsigned int Flags)
{
	REFERENCE(cuTexRefSetFlags, hTexRef, (hTexRef, Flags));
}

CUresult cuSurfRefSetArray(CUsurfref hSurfRef, CUarray hArray, unsigned int Flags)
{
	REFERENCE(cuSurfRefSetArray, hSurfRef, (hSurfRef, hArray, Flags));
}

/* ---- launches ---- */

struct launch {
	CUfunction function;
	unsigned int grid[3], block[3], shared, flags;
	CUstream stream;
	void **params, **extra;
};

/* The parameter block of a launch given with `extra`, or NULL. */
static const void *extra_block(void **extra, size_t *size)
{
	const void *block = NULL;

	*size = 0;
	for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
		if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			block = extra[1];
		else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE)
			*size = *(const size_t *)extra[1];
		else
			return NULL;
	}
	return block;
}

/* Sizes that most parameters have take no call of memcpy. */
static inline void copy_param(unsigned char *dst, const void *src, uint32_t size)
{
	if (size == 8)
		memcpy(dst, src, 8);
	else if (size == 4)
		memcpy(dst, src, 4);
	else
		memcpy(dst, src, size);
}

/* No lock, no allocation, no system call from here on. */
static void copy_params(unsigned char *dst, const struct hg_kernel_info *k, const struct launch *l)
{
	static const uint64_t zero;
	size_t size;
	const void *block;

	/* what lies between parameters is the same in every record of the kernel */
	for (uint32_t at = 0; at < k->param_bytes; at += 8)
		memcpy(dst + at, &zero, 8);
	if (l->params) {
		for (uint32_t i = 0; i < k->nr_params; i++)
			copy_param(dst + k->params[i].offset, l->params[i], k->params[i].size);
		return;
	}
	block = extra_block(l->extra, &size);
	if (block)
		memcpy(dst, block, size < k->param_bytes ? size : k->param_bytes);
}

static void record_launch(struct hg_frame *f, enum hg_call_id id, const struct launch *l, CUresult r)
{
	const struct hg_shape *shape = &hg_shapes[id];
	struct hg_recorder *recorder = hg_shim_recorder;
	const struct hg_kernel_info *k = NULL;
	struct hg_entry *e;
	struct hg_rec *rec;
	uint32_t stack;
	uint64_t ctx, stream;

	if (!recorder || f->thread->unfinished || !shape->wanted)
		return;
	e = hg_ledger_find(HG_KIND_FUNCTION, HG_WORD(l->function));
	if (e && r == CUDA_SUCCESS)
		k = hg_record_kernel(e, NULL, NULL);
	else if (!e && r == CUDA_SUCCESS)
		hg_record_unknown();
	ctx = hg_record_ctx(f);
	stream = hg_record_stream(f, l->stream);
	stack = hg_record_stack();
	rec = hg_recorder_begin(recorder, shape->desc, hg_recorder_seq(recorder), HG_LAUNCH_NR_WORDS,
				k ? (k->param_bytes + 7u) & ~7u : 0);
	if (!rec)
		return;
	rec->ctx = ctx;
	rec->result = (int32_t)r;
	rec->stack = stack;
	rec->word[HG_LAUNCH_FUNCTION] = e ? e->id : 0;
	rec->word[HG_LAUNCH_GRID_X] = l->grid[0];
	rec->word[HG_LAUNCH_GRID_Y] = l->grid[1];
	rec->word[HG_LAUNCH_GRID_Z] = l->grid[2];
	rec->word[HG_LAUNCH_BLOCK_X] = l->block[0];
	rec->word[HG_LAUNCH_BLOCK_Y] = l->block[1];
	rec->word[HG_LAUNCH_BLOCK_Z] = l->block[2];
	rec->word[HG_LAUNCH_SHARED] = l->shared;
	rec->word[HG_LAUNCH_STREAM] = stream;
	rec->word[HG_LAUNCH_FLAGS] = l->flags;
	rec->word[HG_LAUNCH_PARAMS] = k ? HG_BLOB(HG_BLOB_INLINE, k->param_bytes) : HG_BLOB(HG_BLOB_ABSENT, 0);
	if (k)
		copy_params((unsigned char *)(rec->word + HG_LAUNCH_NR_WORDS), k, l);
	hg_recorder_commit(recorder, rec);
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
			unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
			unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra)
{
	const struct launch l = {
		.function = f, .grid = { gridDimX, gridDimY, gridDimZ }, .block = { blockDimX, blockDimY, blockDimZ },
		.shared = sharedMemBytes, .stream = hStream, .params = kernelParams, .extra = extra,
	};
	struct hg_frame frame;
	CUresult r;

	ENTER(frame, cuLaunchKernel);
	r = frame.real->cuLaunchKernel(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes,
				       hStream, kernelParams, extra);
	record_launch(&frame, HG_ID_cuLaunchKernel, &l, r);
	hg_frame_leave(&frame);
	return r;
}

static bool is_cooperative(const CUlaunchConfig *config)
{
	for (unsigned int i = 0; config->attrs && i < config->numAttrs; i++)
		if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
			return config->attrs[i].value.cooperative;
	return false;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra)
{
	struct launch l = { .function = f, .params = kernelParams, .extra = extra };
	struct hg_frame frame;
	CUresult r;

	ENTER(frame, cuLaunchKernelEx);
	r = frame.real->cuLaunchKernelEx(config, f, kernelParams, extra);
	if (config) {
		l.grid[0] = config->gridDimX;
		l.grid[1] = config->gridDimY;
		l.grid[2] = config->gridDimZ;
		l.block[0] = config->blockDimX;
		l.block[1] = config->blockDimY;
		l.block[2] = config->blockDimZ;
		l.shared = config->sharedMemBytes;
		l.stream = config->hStream;
		l.flags = r == CUDA_SUCCESS && is_cooperative(config) ? HG_LAUNCH_COOPERATIVE : 0;
	}
	record_launch(&frame, HG_ID_cuLaunchKernelEx, &l, r);
	hg_frame_leave(&frame);
	return r;
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
				   unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
				   unsigned int sharedMemBytes, CUstream hStream, void **kernelParams)
{
	const struct launch l = {
		.function = f, .grid = { gridDimX, gridDimY, gridDimZ }, .block = { blockDimX, blockDimY, blockDimZ },
		.shared = sharedMemBytes, .flags = HG_LAUNCH_COOPERATIVE, .stream = hStream, .params = kernelParams,
	};
	struct hg_frame frame;
	CUresult r;

	ENTER(frame, cuLaunchCooperativeKernel);
	r = frame.real->cuLaunchCooperativeKernel(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
						  sharedMemBytes, hStream, kernelParams);
	record_launch(&frame, HG_ID_cuLaunchCooperativeKernel, &l, r);
	hg_frame_leave(&frame);
	return r;
}
