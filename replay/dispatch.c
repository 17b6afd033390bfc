/* dispatch.c - does a recorded call again, on the portable driver. */
#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "common/msg.h"
#include "logdb/words.h"
#include "replay/replay_priv.h"

/* A launch that is looked at must end by then. */
#define LAUNCH_SECONDS 300

/* The record as a person reads it; malloc'ed, may be NULL. */
static char *record_text(const struct hg_rec_view *v)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	hg_rec_print(v, f);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	while (size && text[size - 1] == '\n')
		text[--size] = '\0';
	return text;
}

static void stop_at(struct hg_replay *r, const struct hg_rec_view *v, enum hg_status st, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Ends the tail at a record, in words of its own. */
static void stop_at(struct hg_replay *r, const struct hg_rec_view *v, enum hg_status st, const char *fmt, ...)
{
	char *text = record_text(v), why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	rp_stop(r, "%s, at record %s", why, text ? text : "?");
	if (!r->verdict)
		r->verdict = st;
	free(text);
}

static const char *error_name(CUresult error)
{
	const char *name;

	return CU(cuGetErrorName)(error, &name) ? "an unknown error" : name;
}

static bool is_fault(CUresult error)
{
	return (error >= CUDA_ERROR_ILLEGAL_ADDRESS && error <= CUDA_ERROR_LAUNCH_TIMEOUT &&
		error != CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES) || error == CUDA_ERROR_ASSERT ||
		(error >= CUDA_ERROR_HARDWARE_STACK_ERROR && error <= CUDA_ERROR_LAUNCH_FAILED);
}

/* The call went well when it was recorded. */
static void check_result(struct hg_replay *r, const struct hg_rec_view *v, CUresult got)
{
	if (!got)
		return;
	if (is_fault(got)) {
		rp_suspect(r, 0);
		stop_at(r, v, HG_ERR_FAULT, "a kernel failed with %s", error_name(got));
	} else {
		stop_at(r, v, HG_ERR_DIFFERS, "it gives %s here", error_name(got));
	}
}

/* The handle of an object by id. */
static bool handle_of(const struct hg_replay *r, enum hg_kind kind, uint64_t id, uint64_t *handle)
{
	*handle = id;
	if (!id || (kind == HG_KIND_STREAM && id <= 2))
		return true;
	return hg_idmap_get(&r->ids, id, handle);
}

static enum hg_handle handle_kind(const struct hg_rec_view *v, enum hg_kind kind)
{
	switch (kind) {
	case HG_KIND_CTX:
		return HG_HANDLE_CTX;
	case HG_KIND_MODULE:
		return HG_HANDLE_MODULE;
	case HG_KIND_LIBRARY:
		return HG_HANDLE_LIBRARY;
	case HG_KIND_STREAM:
		return HG_HANDLE_STREAM;
	case HG_KIND_EVENT:
		return HG_HANDLE_EVENT;
	default:
		return v->rec->call == HG_ID_cuLibraryGetKernel || v->rec->call == HG_ID_cuLibraryEnumerateKernels ?
			HG_HANDLE_KERNEL : HG_HANDLE_FUNCTION;
	}
}

/* In the process itself the application holds the recorded handle, and goes on using it. */
static enum hg_status keep_name(struct hg_replay *r, const struct hg_rec_view *v, int i, uint64_t *handle)
{
	uint64_t name = v->rec->word[i];
	enum hg_status st;

	st = hg_driver_name(handle_kind(v, v->arg[i].kind), (const void *)(uintptr_t)*handle, name);
	if (!st)
		*handle = name;
	if (st != HG_ERR_INVALID)
		return st;
	stop_at(r, v, HG_ERR_REFUSED, "its handle 0x%" PRIx64 " cannot be kept: something else is called so", name);
	return HG_OK;
}

/*
 * Acts as the recorded thread, with the context that it had. The runtime makes the primary context current before
 * it retains it, so a thread's records may not name it yet: then it is the only context there is.
 */
static void act(struct hg_replay *r, const struct hg_rec *rec)
{
	CUcontext current;
	uint64_t handle;

	hg_driver_act_as(rec->thread);
	if (!rec->ctx && r->only_ctx) {
		if (CU(cuCtxGetCurrent)(&current) || current)
			return;
		handle = r->only_ctx;
	} else if (!rec->ctx || !hg_idmap_get(&r->ids, rec->ctx, &handle)) {
		return;
	}
	if (CU(cuCtxGetCurrent)(&current) || current != (CUcontext)(uintptr_t)handle) {
		/* a context that is gone by now: the call itself will say so */
		CUresult result = CU(cuCtxSetCurrent)((CUcontext)(uintptr_t)handle);

		(void)result;
	}
}

/*
 * Host memory that is state: all of it the driver's or registered. Anything else was the application's alone,
 * and here may be anything: a log must not be able to write there.
 */
static bool is_pinned(uint64_t addr, uint64_t size)
{
	CUmemorytype type;
	CUdeviceptr base;
	size_t room;

	return CU(cuPointerGetAttribute)(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, addr) == CUDA_SUCCESS &&
		type == CU_MEMORYTYPE_HOST && CU(cuMemGetAddressRange_v2)(&base, &room, addr) == CUDA_SUCCESS &&
		size <= room - (addr - base);
}

/* Memory for what the application registered, as far as an earlier registration has not left it. */
static enum hg_status map_registered(struct hg_replay *r, uint64_t addr, uint64_t size)
{
	uint64_t at = addr & -r->page, end = (addr + size + r->page - 1) & -r->page;
	struct hg_iv iv;

	while (at < end) {
		bool found = hg_ivmap_from(&r->registered, at, &iv) && iv.start < end;
		uint64_t stop = found ? iv.start : end;
		enum hg_status st;
		void *p;

		if (found && iv.start <= at) {
			at = iv.start + iv.size;
			continue;
		}
		p = mmap((void *)at, stop - at, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (p != (void *)at) {
			pr_err("cannot map %" PRIu64 " bytes at 0x%" PRIx64 " for registered host memory: %s", stop - at, at,
			       p == MAP_FAILED ? strerror(errno) : "the address is taken");
			if (p != MAP_FAILED)
				munmap(p, stop - at);
			return HG_ERR_NOSPC;
		}
		st = hg_ivmap_put(&r->registered, at, stop - at, 0);
		if (st)
			return st;
		at = stop;
	}
	return HG_OK;
}

static void compare_result(struct hg_replay *r, const struct hg_rec_view *v, int arg, const void *data, size_t size,
			   uint64_t src)
{
	uint64_t want;

	if (hg_blob_enc(v->rec->word[arg]) != HG_BLOB_DIGEST || !v->blob[arg])
		return;
	memcpy(&want, v->blob[arg], sizeof(want));
	r->report.nr_results++;
	if (XXH3_64bits(data, size) == want)
		return;
	r->report.nr_results_differ++;
	if (!r->opt.verify)
		return;
	rp_suspect(r, src);
	stop_at(r, v, HG_ERR_DIFFERS, "other bytes come back");
}

/*
 * On every Linux ABI hgshim runs on, an integer or pointer argument travels as one 8-byte register or stack slot,
 * so that one prototype serves calls of any integer arguments. No recorded call has others.
 */
typedef CUresult (*any_fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
			   uint64_t, uint64_t, uint64_t);
#define ANY_ARGS 12

struct regular {
	uint64_t arg[ANY_ARGS];
	uint64_t out[ANY_ARGS];		/* what out-words were written to */
	void *data[ANY_ARGS];		/* malloc'ed */
	int created, destroyed;		/* words, or -1 */
};

static void regular_release(struct regular *c)
{
	for (int i = 0; i < ANY_ARGS; i++)
		free(c->data[i]);
}

/* Length of the bytes word i, as its length word says. */
static uint64_t bytes_length(const struct hg_rec_view *v, int i)
{
	int len = v->arg[i].len_arg;

	return len >= 0 && len < v->nr_args ? v->rec->word[len] : hg_blob_len(v->rec->word[i]);
}

/* Fills in one argument; a status other than HG_OK ends the replay, a stop only the tail. */
static enum hg_status regular_arg(struct hg_replay *r, const struct hg_rec_view *v, int i, struct regular *c)
{
	const struct hg_arg *a = &v->arg[i];
	uint64_t word = v->rec->word[i];
	enum hg_status st;
	size_t size;

	if (a->kind == HG_KIND_BYTES && a->dir == HG_DIR_OUT) {
		size = bytes_length(v, i);
		c->data[i] = malloc(size ? size : 1);
		c->arg[i] = (uintptr_t)c->data[i];
		return c->data[i] ? HG_OK : HG_ERR_NOMEM;
	}
	if (a->kind == HG_KIND_BYTES || a->kind == HG_KIND_CSTR) {
		st = hg_log_blob(r->log, v, i, &c->data[i], &size);
		if (st == HG_ERR_NOTFOUND) {
			stop_at(r, v, HG_OK, "the bytes that it copied were not kept (HGSHIM_PAYLOAD, or its limit)");
			return HG_OK;
		}
		if (st)
			return st;
		if (a->kind == HG_KIND_CSTR ? !size || ((char *)c->data[i])[size - 1] : size < bytes_length(v, i)) {
			pr_err("record %" PRIu64 ": argument '%s' is shorter than it should be", v->rec->seq, a->name);
			return HG_ERR_CORRUPT;
		}
		c->arg[i] = (uintptr_t)c->data[i];
		return HG_OK;
	}
	if (a->dir == HG_DIR_OUT) {
		c->arg[i] = (uintptr_t)&c->out[i];
		if (hg_kind_is_object(a->kind) || a->kind == HG_KIND_DPTR || a->kind == HG_KIND_HPTR)
			c->created = i;
		return HG_OK;
	}
	if (a->dir == HG_DIR_DESTROY)
		c->destroyed = i;
	if (hg_kind_is_object(a->kind)) {
		if (!handle_of(r, a->kind, word, &c->arg[i]))
			stop_at(r, v, HG_OK, "%s %" PRIu64 " is not known", hg_kind_name(a->kind), word);
		return HG_OK;
	}
	c->arg[i] = a->kind == HG_KIND_OPAQUE ? 0 : word;
	return HG_OK;
}

/* Where what the call makes must lie. */
static enum hg_status prepare_place(struct hg_replay *r, const struct hg_rec_view *v)
{
	uint64_t addr = rp_memory_addr(v), size = hg_rec_memory_size(v);
	struct hg_place place = { .addr = addr, .size = size };
	enum hg_status st;

	switch (v->desc->op) {
	case HG_OP_ALLOC:
		st = hg_reserve_release(&r->reserve, addr, size, hg_driver_map_unit(r->opt.target, addr));
		if (!st)
			hg_driver_place(&place, 1);
		return st;
	case HG_OP_HOST_ALLOC:
		st = hg_reserve_release(&r->reserve, addr, size, r->page);
		if (!st)
			hg_driver_place(&place, 1);
		hg_driver_adopt(r->in_place);
		return st;
	case HG_OP_HOST_REGISTER:
		if (r->in_place)
			return HG_OK;
		st = hg_reserve_release(&r->reserve, addr, size, r->page);
		return st ? st : map_registered(r, addr, size);
	default:
		return HG_OK;
	}
}

/* Objects get their new handle; addresses must be the recorded ones. */
static enum hg_status created(struct hg_replay *r, const struct hg_rec_view *v, int i, uint64_t got)
{
	const struct hg_rec *rec = v->rec;
	enum hg_status st;

	if (v->arg[i].kind == HG_KIND_DPTR || v->arg[i].kind == HG_KIND_HPTR) {
		if (rec->word[i] && got != rec->word[i]) {
			stop_at(r, v, HG_ERR_DIFFERS, "it gives address 0x%" PRIx64 " here", got);
			return HG_OK;
		}
		if (v->desc->op != HG_OP_ALLOC && v->desc->op != HG_OP_HOST_ALLOC)
			return HG_OK;
	}
	if (rec->flags & HG_REC_KNOWN)
		return HG_OK;
	if (r->in_place && hg_kind_is_object(v->arg[i].kind)) {
		st = keep_name(r, v, i, &got);
		if (st || r->stop)
			return st;
	}
	return hg_idmap_put(&r->ids, rec->seq, got);
}

/* A name in a record, for messages. */
static const char *name_in(const struct hg_rec_view *v)
{
	const char *name = NULL;

	for (int i = 0; i < v->nr_args && !name; i++)
		name = hg_rec_cstr(v, i);
	return name ? name : "?";
}

/* A process that is to go on here needs every kernel that it holds, now: later there is no way back. */
static enum hg_status check_kernel(struct hg_replay *r, const struct hg_rec_view *v, uint64_t function)
{
	const struct hg_kernel_info *k;
	CUresult result;

	if (!r->in_place || hg_driver_kernel_info((const void *)(uintptr_t)function, &k))
		return HG_OK;
	if (k->refused) {
		pr_err("target '%s' cannot run %s", r->opt.target->name, k->refused);
		return HG_ERR_REFUSED;
	}
	result = CU(cuFuncLoad)((CUfunction)(uintptr_t)function);
	if (!result)
		return HG_OK;
	pr_err("kernel '%s', record %" PRIu64 ", does not compile for target '%s': %s", k->name, v->rec->seq,
	       r->opt.target->name, error_name(result));
	return result == CUDA_ERROR_OUT_OF_MEMORY ? HG_ERR_NOMEM : HG_ERR_REFUSED;
}

static enum hg_status call_regular(struct hg_replay *r, const struct hg_rec_view *v)
{
	struct regular c = { .created = -1, .destroyed = -1 };
	enum hg_status st = HG_OK;
	CUresult result;
	any_fn fn;

	fn = (any_fn)hg_driver_proc(v->desc->name);
	if (!fn || v->nr_args > ANY_ARGS) {
		stop_at(r, v, HG_ERR_REFUSED, "this call is not something the portable driver has");
		return HG_OK;
	}
	for (int i = 0; i < v->nr_args && !st && !r->stop; i++)
		st = regular_arg(r, v, i, &c);
	/* to host memory that was the application's alone: the bytes go nowhere, the waiting stays */
	if (!st && !r->stop && v->desc->op == HG_OP_D2H && v->arg[0].kind == HG_KIND_HPTR && !is_pinned(c.arg[0], v->rec->word[2])) {
		c.data[0] = malloc(v->rec->word[2] ? v->rec->word[2] : 1);
		c.arg[0] = (uintptr_t)c.data[0];
		if (!c.data[0])
			st = HG_ERR_NOMEM;
	}
	if (!st && !r->stop)
		st = prepare_place(r, v);
	if (st || r->stop)
		goto out_release;

	result = fn(c.arg[0], c.arg[1], c.arg[2], c.arg[3], c.arg[4], c.arg[5], c.arg[6], c.arg[7], c.arg[8], c.arg[9],
		    c.arg[10], c.arg[11]);
	if (result == CUDA_ERROR_NOT_FOUND && v->desc->op == HG_OP_FUNCTION && r->phase == RP_OBJECTS) {
		pr_err("kernel '%s' cannot run on target '%s': its image has no PTX for it", name_in(v),
		       r->opt.target->name);
		st = HG_ERR_REFUSED;
		goto out_release;
	}
	check_result(r, v, result);
	if (result)
		goto out_release;
	if (c.created >= 0)
		st = created(r, v, c.created, c.out[c.created]);
	if (!st && !r->stop && v->desc->op == HG_OP_FUNCTION && c.created >= 0)
		st = check_kernel(r, v, v->rec->word[c.created]);
	if (c.destroyed >= 0)
		hg_idmap_remove(&r->ids, v->rec->word[c.destroyed], NULL);
	for (int i = 0; i < v->nr_args; i++)
		if (v->arg[i].kind == HG_KIND_BYTES && v->arg[i].dir == HG_DIR_OUT)
			compare_result(r, v, i, c.data[i], bytes_length(v, i), v->arg[1].kind == HG_KIND_DPTR ? c.arg[1] : 0);
out_release:
	regular_release(&c);
	return st;
}

struct places {
	struct hg_place *place;
	size_t nr;
	struct hg_place *recorded;	/* owns the names */
};

static void places_free(struct places *p)
{
	free(p->place);
	free(p->recorded);
}

static bool has_place(const struct places *p, const char *name)
{
	for (size_t i = 0; i < p->nr; i++)
		if (p->place[i].name && !strcmp(p->place[i].name, name))
			return true;
	return false;
}

/*
 * Where a module's variables lay: as its record says and, of a snapshot's module, as the snapshot does. Variables that the
 * driver before could not be asked for got their places when the process came from it to this one.
 */
static enum hg_status places_of(struct hg_replay *r, const struct hg_rec_view *v, struct places *out)
{
	const struct hg_snapshot *s = r->phase == RP_TAIL ? NULL : r->snapshot;
	struct places p = { 0 };
	enum hg_status st;

	st = rp_places(v, &p.recorded, &p.nr);
	if (st)
		return st;
	p.place = calloc(p.nr + (s ? s->nr_regions : 0) + 1, sizeof(*p.place));
	if (!p.place) {
		free(p.recorded);
		return HG_ERR_NOMEM;
	}
	if (p.nr)
		memcpy(p.place, p.recorded, p.nr * sizeof(*p.place));
	for (size_t i = 0; s && i < s->nr_regions; i++) {
		const struct hg_region *region = &s->regions[i];

		if (region->kind == HG_REGION_GLOBAL && region->object == v->rec->seq && region->name &&
		    !has_place(&p, region->name))
			p.place[p.nr++] = (struct hg_place){ region->name, region->addr, region->size };
	}
	*out = p;
	return HG_OK;
}

static enum hg_status places_release(struct hg_replay *r, const struct places *p)
{
	enum hg_status st = HG_OK;

	for (size_t i = 0; i < p->nr && !st; i++)
		st = hg_reserve_release(&r->reserve, p->place[i].addr, p->place[i].size ? p->place[i].size : 1,
					hg_driver_map_unit(r->opt.target, p->place[i].addr));
	return st;
}

enum hg_status rp_module_vars(struct hg_replay *r, const struct hg_rec_view *v)
{
	struct places places;
	uint64_t handle;
	enum hg_status st;

	/* a library's module has no variables of its own */
	if (v->nr_args < 2 || v->arg[1].kind != HG_KIND_IMAGE || !hg_idmap_get(&r->ids, v->rec->seq, &handle))
		return HG_OK;
	st = places_of(r, v, &places);
	if (st)
		return st;
	st = places_release(r, &places);
	places_free(&places);
	return st ? st : hg_driver_vars_now((const void *)(uintptr_t)handle);
}

/*
 * Device memory of the size that it had: the pitch is part of the recorded size, and may be another than this driver would
 * choose. Of a snapshot's memory, the stream in whose order it was made may be gone.
 */
static enum hg_status call_alloc(struct hg_replay *r, const struct hg_rec_view *v)
{
	enum hg_status st = prepare_place(r, v);
	uint64_t size = hg_rec_memory_size(v);
	CUdeviceptr got = 0;
	CUresult result;

	if (st)
		return st;
	if (v->rec->call == HG_ID_cuMemAllocAsync)
		result = CU(cuMemAllocAsync)(&got, size, NULL);
	else
		result = CU(cuMemAlloc_v2)(&got, size);
	check_result(r, v, result);
	for (int i = 0; i < v->nr_args && !result; i++)
		if (v->arg[i].kind == HG_KIND_DPTR)
			return created(r, v, i, got);
	return HG_OK;
}

/* Arrays, textures and surfaces: what follows a snapshot makes them anew, of a snapshot's it is memory that is uploaded. */
static enum hg_status call_image(struct hg_replay *r, const struct hg_rec_view *v)
{
	const uint64_t *w = v->rec->word;
	CUDA_ARRAY3D_DESCRIPTOR full = { .Width = w[2], .Height = w[3] };
	CUDA_ARRAY_DESCRIPTOR flat = { .Width = w[2], .Height = w[3] };
	bool is_object = v->rec->call == HG_ID_cuTexObjectCreate || v->rec->call == HG_ID_cuSurfObjectCreate;
	struct {
		CUDA_RESOURCE_DESC resource;
		CUDA_TEXTURE_DESC texture;
		CUDA_RESOURCE_VIEW_DESC view;
	} all;
	void *data = NULL;
	uint64_t got = 0;
	enum hg_status st;
	size_t size = 0;
	CUresult result;

	if (is_object && r->phase != RP_MEMORY) {
		st = hg_log_blob(r->log, v, 3, &data, &size);
		if (st == HG_ERR_NOTFOUND) {
			stop_at(r, v, HG_OK, "what it was made of was not kept (HGSHIM_PAYLOAD)");
			return HG_OK;
		}
		if (st)
			return st;
		memset(&all, 0, sizeof(all));
		memcpy(&all, data, size < sizeof(all) ? size : sizeof(all));
		free(data);
	}
	st = prepare_place(r, v);
	if (st)
		return st;
	switch (r->phase == RP_MEMORY ? 0 : v->rec->call) {
	case HG_ID_cuArrayCreate_v2:
		flat.Format = (CUarray_format)w[4];
		flat.NumChannels = (unsigned int)w[5];
		result = CU(cuArrayCreate_v2)((CUarray *)&got, &flat);
		break;
	case HG_ID_cuArray3DCreate_v2: case HG_ID_cuMipmappedArrayCreate:
		full.Depth = w[4];
		full.Format = (CUarray_format)w[5];
		full.NumChannels = (unsigned int)w[6];
		full.Flags = (unsigned int)w[7];
		if (v->rec->call == HG_ID_cuArray3DCreate_v2)
			result = CU(cuArray3DCreate_v2)((CUarray *)&got, &full);
		else
			result = CU(cuMipmappedArrayCreate)((CUmipmappedArray *)&got, &full, (unsigned int)w[8]);
		break;
	case HG_ID_cuTexObjectCreate:
		result = CU(cuTexObjectCreate)((CUtexObject *)&got, &all.resource, &all.texture, size == sizeof(all) ? &all.view : NULL);
		break;
	case HG_ID_cuSurfObjectCreate:
		result = CU(cuSurfObjectCreate)((CUsurfObject *)&got, &all.resource);
		break;
	default:
		result = hg_driver_image_memory(v->rec->call, hg_rec_memory_size(v), &got);
	}
	check_result(r, v, result);
	return result ? HG_OK : created(r, v, 0, got);
}

/* Modules: by content, the variables where they were. */
static enum hg_status call_module(struct hg_replay *r, const struct hg_rec_view *v)
{
	struct places places = { 0 };
	size_t size;
	const void *image;
	uint64_t handle = 0;
	enum hg_status st;
	CUresult result;
	void *aligned;

	if (hg_blob_enc(v->rec->word[1]) != HG_BLOB_IMAGE || !v->blob[1]) {
		stop_at(r, v, HG_ERR_REFUSED, "the image that it loaded was not kept");
		return HG_OK;
	}
	st = hg_log_image(r->log, v->blob[1], &image, &size);
	if (!st)
		st = places_of(r, v, &places);
	if (!st && r->phase != RP_OBJECTS)
		st = places_release(r, &places);
	if (st)
		goto out_places;
	/* an image in the log need not be aligned, nor have the NUL that ends a text */
	aligned = malloc(size + 16);
	if (!aligned) {
		st = HG_ERR_NOMEM;
		goto out_places;
	}
	memcpy(aligned, image, size);
	memset((unsigned char *)aligned + size, 0, 16);
	hg_driver_place(places.place, places.nr);
	if (v->arg[0].kind == HG_KIND_LIBRARY)
		result = CU(cuLibraryLoadData)((CUlibrary *)&handle, aligned, NULL, NULL, 0, NULL, NULL, 0);
	else
		result = CU(cuModuleLoadData)((CUmodule *)&handle, aligned);
	free(aligned);
	check_result(r, v, result);
	if (!result)
		st = created(r, v, 0, handle);
out_places:
	places_free(&places);
	return st;
}

/* A launch that is looked at runs alone. */
static enum hg_status look_after(struct hg_replay *r, const struct hg_rec_view *v, const struct hg_kernel_info *k, CUstream stream)
{
	enum hg_status st = hg_driver_quiesce(LAUNCH_SECONDS * 1000);
	CUresult result;

	if (st == HG_ERR_TIMEOUT) {
		stop_at(r, v, HG_ERR_REFUSED, "the kernel has not ended after %d s; if it waits for a later one, --each 0 lets them run together",
			LAUNCH_SECONDS);
		return HG_OK;
	}
	if (st)
		return st;
	result = CU(cuStreamSynchronize)(stream);
	if (!result)
		return rp_side_after(r, v);
	if (is_fault(result))
		rp_suspect_exactly(r, v, k);
	check_result(r, v, result);
	return HG_OK;
}

static enum hg_status call_launch(struct hg_replay *r, const struct hg_rec_view *v)
{
	const uint64_t *w = v->rec->word;
	CUlaunchAttribute cooperative = { .id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE, .value.cooperative = 1 };
	const struct hg_kernel_info *k;
	uint64_t function, stream;
	void *params = NULL;
	CUlaunchConfig config;
	enum hg_status st;
	size_t size = 0;
	CUresult result;

	if (!handle_of(r, HG_KIND_FUNCTION, w[HG_LAUNCH_FUNCTION], &function) ||
	    !handle_of(r, HG_KIND_STREAM, w[HG_LAUNCH_STREAM], &stream)) {
		stop_at(r, v, HG_OK, "its kernel or its stream is not known");
		return HG_OK;
	}
	st = hg_driver_kernel_info((const void *)(uintptr_t)function, &k);
	if (st) {
		stop_at(r, v, HG_ERR_REFUSED, "its kernel is not known");
		return HG_OK;
	}
	st = hg_log_blob(r->log, v, HG_LAUNCH_PARAMS, &params, &size);
	if (st == HG_ERR_NOTFOUND) {
		stop_at(r, v, HG_OK, "its parameters were not kept");
		return HG_OK;
	}
	if (st)
		return st;
	config = (CUlaunchConfig){
		.gridDimX = (unsigned int)w[HG_LAUNCH_GRID_X], .gridDimY = (unsigned int)w[HG_LAUNCH_GRID_Y],
		.gridDimZ = (unsigned int)w[HG_LAUNCH_GRID_Z], .blockDimX = (unsigned int)w[HG_LAUNCH_BLOCK_X],
		.blockDimY = (unsigned int)w[HG_LAUNCH_BLOCK_Y], .blockDimZ = (unsigned int)w[HG_LAUNCH_BLOCK_Z],
		.sharedMemBytes = (unsigned int)w[HG_LAUNCH_SHARED], .hStream = (CUstream)(uintptr_t)stream,
		.attrs = &cooperative, .numAttrs = w[HG_LAUNCH_FLAGS] & HG_LAUNCH_COOPERATIVE ? 1 : 0,
	};
	if (size >= k->param_bytes)
		rp_launch_note(r, v, k, params);
	if (r->opt.side)
		st = rp_side_before(r, v, k, params, size);
	if (st) {
		free(params);
		return st;
	}
	{
		void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, params, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
				  CU_LAUNCH_PARAM_END };

		result = CU(cuLaunchKernelEx)(&config, (CUfunction)(uintptr_t)function, NULL, size ? extra : NULL);
	}
	free(params);
	r->report.nr_launches++;
	st = rp_side_launched(r, k, result);
	if (st)
		return st;
	check_result(r, v, result);
	return !result && rp_side_is_looking(r) ? look_after(r, v, k, (CUstream)(uintptr_t)stream) : HG_OK;
}

/* One side of a structured copy as its record has it: offsets are in the address already. */
static void copy_side(CUmemorytype *type, CUdeviceptr *addr, size_t *pitch, size_t *height, uint64_t at, uint64_t row,
		      uint64_t slice, uint64_t width, uint64_t rows)
{
	*type = CU_MEMORYTYPE_UNIFIED;
	*addr = at;
	*pitch = row >= width ? row : width;
	*height = row >= width && slice / row >= rows ? slice / row : rows;
}

/* Bytes from the first to behind the last that a copy writes; false when that wraps around. */
static bool copy_reach(const CUDA_MEMCPY3D *c, uint64_t *reach)
{
	uint64_t rows, slices;

	return !__builtin_mul_overflow(c->dstPitch, c->dstHeight, &slices) &&
		!__builtin_mul_overflow(slices, c->Depth - 1, &slices) &&
		!__builtin_mul_overflow(c->dstPitch, c->Height - 1, &rows) &&
		!__builtin_add_overflow(rows, slices, reach) && !__builtin_add_overflow(*reach, c->WidthInBytes, reach);
}

static enum hg_status call_copy(struct hg_replay *r, const struct hg_rec_view *v)
{
	const uint64_t *w = v->rec->word;
	uint64_t width = w[HG_COPY_WIDTH], height = w[HG_COPY_HEIGHT], depth = w[HG_COPY_DEPTH], stream, bytes, reach;
	bool to = w[HG_COPY_KINDS] & HG_COPY_TO_DEVICE, from = w[HG_COPY_KINDS] & HG_COPY_FROM_DEVICE;
	bool async = w[HG_COPY_KINDS] & HG_COPY_ASYNC;
	CUDA_MEMCPY3D c = { .WidthInBytes = width, .Height = height, .Depth = depth };
	unsigned char *scratch = NULL;
	void *data = NULL;
	enum hg_status st;
	CUresult result;
	size_t size;

	if (__builtin_mul_overflow(width, height, &bytes) || __builtin_mul_overflow(bytes, depth, &bytes) ||
	    bytes > SIZE_MAX / 2) {
		pr_err("record %" PRIu64 ": a copy of an impossible size", v->rec->seq);
		return HG_ERR_CORRUPT;
	}
	if (!bytes)
		return HG_OK;
	if (!handle_of(r, HG_KIND_STREAM, w[HG_COPY_STREAM], &stream)) {
		stop_at(r, v, HG_OK, "its stream is not known");
		return HG_OK;
	}
	copy_side(&c.dstMemoryType, &c.dstDevice, &c.dstPitch, &c.dstHeight, w[HG_COPY_DST], w[HG_COPY_DST_PITCH],
		  w[HG_COPY_DST_SLICE], width, height);
	copy_side(&c.srcMemoryType, &c.srcDevice, &c.srcPitch, &c.srcHeight, w[HG_COPY_SRC], w[HG_COPY_SRC_PITCH],
		  w[HG_COPY_SRC_SLICE], width, height);
	if (!from) {
		st = hg_log_blob(r->log, v, HG_COPY_DATA, &data, &size);
		if (st == HG_ERR_NOTFOUND || (!st && size < bytes)) {
			free(data);
			/* between two places of the application's own memory nothing of the state moves */
			if (to)
				stop_at(r, v, HG_OK, "the bytes that it copied were not kept (HGSHIM_PAYLOAD, or its limit)");
			return HG_OK;
		}
		if (st)
			return st;
		c.srcMemoryType = CU_MEMORYTYPE_HOST;
		c.srcHost = data;
		c.srcPitch = width;
		c.srcHeight = height;
	}
	if (!to && (!copy_reach(&c, &reach) || !is_pinned(w[HG_COPY_DST], reach))) {
		scratch = malloc(bytes);
		if (!scratch) {
			free(data);
			return HG_ERR_NOMEM;
		}
		c.dstMemoryType = CU_MEMORYTYPE_HOST;
		c.dstHost = scratch;
		c.dstPitch = width;
		c.dstHeight = height;
	}
	result = CU(cuMemcpy3DAsync_v2)(&c, (CUstream)(uintptr_t)stream);
	if (!result && (!async || scratch))
		result = CU(cuStreamSynchronize)((CUstream)(uintptr_t)stream);
	check_result(r, v, result);
	if (!result && scratch && !async)
		compare_result(r, v, HG_COPY_DATA, scratch, bytes, w[HG_COPY_SRC]);
	free(scratch);
	free(data);
	return HG_OK;
}

static enum hg_status call_ctx(struct hg_replay *r, const struct hg_rec_view *v)
{
	const uint64_t *w = v->rec->word;
	CUcontext ctx = NULL;
	uint64_t handle;
	enum hg_status st;
	CUresult result;

	/* a second retain: it is the release that ends the context that matters, and that is recorded */
	if (v->rec->flags & HG_REC_KNOWN)
		return HG_OK;
	if (v->rec->call == HG_ID_cuDevicePrimaryCtxRetain)
		result = CU(cuDevicePrimaryCtxRetain)(&ctx, (CUdevice)w[1]);
	else
		result = CU(cuCtxCreate_v2)(&ctx, (unsigned int)w[1], (CUdevice)w[2]);
	check_result(r, v, result);
	if (result)
		return HG_OK;
	st = created(r, v, 0, (uintptr_t)ctx);
	if (st || r->stop || !hg_idmap_get(&r->ids, v->rec->seq, &handle))
		return st;
	r->only_ctx = r->nr_ctxs++ ? 0 : handle;
	return HG_OK;
}

static enum hg_status call_ctx_end(struct hg_replay *r, const struct hg_rec_view *v)
{
	const uint64_t *w = v->rec->word;
	uint64_t handle;
	CUresult result;

	if (!w[0])	/* others still held it */
		return HG_OK;
	if (!hg_idmap_remove(&r->ids, w[0], &handle)) {
		stop_at(r, v, HG_OK, "context %" PRIu64 " is not known", w[0]);
		return HG_OK;
	}
	if (v->rec->call == HG_ID_cuCtxDestroy_v2)
		result = CU(cuCtxDestroy_v2)((CUcontext)(uintptr_t)handle);
	else if (v->rec->call == HG_ID_cuDevicePrimaryCtxReset_v2)
		result = CU(cuDevicePrimaryCtxReset_v2)((CUdevice)w[1]);
	else
		result = CUDA_SUCCESS;
	/* it was retained once for each object that it was here; what else the application holds, it alone counts */
	if (!result && v->rec->call != HG_ID_cuCtxDestroy_v2)
		result = CU(cuDevicePrimaryCtxRelease_v2)((CUdevice)w[1]);
	check_result(r, v, result);
	return HG_OK;
}

/* A query that found the work done is how the program knew that it could go on. */
static enum hg_status call_query(struct hg_replay *r, const struct hg_rec_view *v)
{
	uint64_t handle;
	CUresult result;

	if (!handle_of(r, v->arg[0].kind, v->rec->word[0], &handle))
		return HG_OK;
	if (v->rec->call == HG_ID_cuStreamQuery)
		result = CU(cuStreamSynchronize)((CUstream)(uintptr_t)handle);
	else
		result = CU(cuEventSynchronize)((CUevent)(uintptr_t)handle);
	check_result(r, v, result);
	return HG_OK;
}

/* A log says what its words mean; if that is not what this build means by the call, nothing can be done with it. */
static bool is_ours(const struct hg_rec_view *v)
{
	const struct hg_call_desc *ours = hg_call_by_id(v->rec->call);

	return ours && ours->op == v->desc->op && !strcmp(ours->name, v->desc->name) &&
		!strcmp(ours->signature, v->desc->signature);
}

enum hg_status rp_call(struct hg_replay *r, const struct hg_rec_view *v)
{
	if (!is_ours(v)) {
		stop_at(r, v, HG_ERR_REFUSED, "this version knows the call with other arguments");
		return HG_OK;
	}
	act(r, v->rec);
	switch (v->desc->op) {
	case HG_OP_CTX_CURRENT:		/* each record says which context is current */
		return HG_OK;
	case HG_OP_CTX:
		return call_ctx(r, v);
	case HG_OP_CTX_END:
		return call_ctx_end(r, v);
	case HG_OP_HOST_FUNC:
		r->report.nr_host_funcs++;
		return HG_OK;
	case HG_OP_LAUNCH:
		return call_launch(r, v);
	case HG_OP_COPY:
		return call_copy(r, v);
	case HG_OP_NONE:
		if (v->rec->call == HG_ID_cuStreamQuery || v->rec->call == HG_ID_cuEventQuery)
			return call_query(r, v);
		return call_regular(r, v);
	case HG_OP_MODULE:
		if (v->nr_args > 1 && v->arg[1].kind == HG_KIND_IMAGE)
			return call_module(r, v);
		return call_regular(r, v);
	case HG_OP_ALLOC:
		if (v->rec->call >= HG_ID_cuArrayCreate_v2 && v->rec->call <= HG_ID_cuSurfObjectCreate)
			return call_image(r, v);
		if (r->phase == RP_MEMORY || v->rec->call == HG_ID_cuMemAllocPitch_v2)
			return call_alloc(r, v);
		return call_regular(r, v);
	case HG_OP_FUNCTION:
		if (v->rec->call == HG_ID_cuModuleEnumerateFunctions ||
		    v->rec->call == HG_ID_cuLibraryEnumerateKernels) {
			/* recorded one by one, with the same words as a look-up by name */
			struct hg_call_desc by_name = *v->desc;
			struct hg_rec_view view = *v;

			by_name.name = v->rec->call == HG_ID_cuModuleEnumerateFunctions ? "cuModuleGetFunction" :
				"cuLibraryGetKernel";
			view.desc = &by_name;
			return call_regular(r, &view);
		}
		return call_regular(r, v);
	default:
		return call_regular(r, v);
	}
}
