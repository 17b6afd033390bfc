/* record.c - writing calls into the log. */
#define XXH_INLINE_ALL
#include "intercept/record.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/buf.h"

struct hg_shape hg_shapes[HG_CALL_ID_LIMIT];

bool hg_record_stacks;
static bool with_payload;
static atomic_uint_fast64_t nr_unknown;
/* Counts the contexts that ended: a thread's idea of its current context may be older. */
static atomic_uint ctx_generation = 1;

/* Ops whose records do more than tell the history: HGSHIM_CALLS=objects keeps these. */
static bool makes_or_shapes(enum hg_op op)
{
	switch (op) {
	case HG_OP_NONE:
	case HG_OP_GLOBAL:
	case HG_OP_EVENT_RECORD:
	case HG_OP_STREAM_WAIT:
	case HG_OP_H2D:
	case HG_OP_D2H:
	case HG_OP_D2D:
	case HG_OP_COPY:
	case HG_OP_FILL:
	case HG_OP_LAUNCH:
	case HG_OP_HOST_FUNC:
	case HG_OP_SYNC:
		return false;
	default:
		return true;
	}
}

static int8_t created_by(const struct hg_shape *s)
{
	enum hg_op op = s->desc->op;

	for (int i = 0; i < s->nr_args; i++) {
		const struct hg_arg *a = &s->arg[i];

		if (a->dir == HG_DIR_OUT && hg_kind_is_object(a->kind))
			return (int8_t)i;
		if (op == HG_OP_ALLOC && a->kind == HG_KIND_DPTR)
			return (int8_t)i;
		if ((op == HG_OP_HOST_ALLOC || op == HG_OP_HOST_REGISTER) && a->kind == HG_KIND_HPTR)
			return (int8_t)i;
	}
	return -1;
}

void hg_record_init(const struct hg_recorder_config *cfg)
{
	with_payload = cfg->payload;
	hg_record_stacks = cfg->stacks;
	for (unsigned int id = 0; id < HG_CALL_ID_LIMIT; id++) {
		const struct hg_call_desc *desc = hg_call_by_id(id);
		struct hg_shape *s = &hg_shapes[id];
		int n = desc ? hg_signature_parse(desc->signature, desc->args, s->arg) : -1;

		if (n < 0)
			continue;
		s->desc = desc;
		s->nr_args = (uint8_t)n;
		s->destroys = -1;
		for (int i = 0; i < n; i++)
			if (s->arg[i].dir == HG_DIR_DESTROY)
				s->destroys = (int8_t)i;
		s->creates = created_by(s);
		s->wanted = cfg->calls != HG_CALLS_OBJECTS || makes_or_shapes(desc->op);
	}
}

uint64_t hg_record_nr_unknown(void)
{
	return atomic_load(&nr_unknown);
}

void hg_record_unknown(void)
{
	atomic_fetch_add_explicit(&nr_unknown, 1, memory_order_relaxed);
}

/* ---- the current context ---- */

uint64_t hg_record_ctx(struct hg_frame *f)
{
	struct hg_thread *t = f->thread;
	uint32_t generation = atomic_load_explicit(&ctx_generation, memory_order_relaxed);
	const struct hg_entry *e = NULL;
	CUcontext ctx = NULL;

	if (__builtin_expect(t->ctx_known == generation, 1))
		return t->ctx;
	if (hg_real[0].cuCtxGetCurrent && hg_real[0].cuCtxGetCurrent(&ctx) == CUDA_SUCCESS)
		e = hg_ledger_find(HG_KIND_CTX, HG_WORD(ctx));
	t->ctx = e ? e->id : 0;
	/* a context that is current but not an object yet may become one on any thread */
	t->ctx_known = ctx && !e ? 0 : generation;
	return t->ctx;
}

void hg_record_ctx_changed(struct hg_frame *f, bool ended)
{
	f->thread->ctx_known = 0;
	/* 0 means unknown */
	if (ended && atomic_fetch_add(&ctx_generation, 1) == UINT32_MAX)
		atomic_fetch_add(&ctx_generation, 1);
}

/* ---- words ---- */

uint64_t hg_record_stream(struct hg_frame *f, CUstream stream)
{
	const struct hg_entry *e;

	if (!stream)
		return f->per_thread ? HG_WORD(CU_STREAM_PER_THREAD) : 0;
	if (stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD)
		return HG_WORD(stream);
	e = hg_ledger_find(HG_KIND_STREAM, HG_WORD(stream));
	return e ? e->id : 0;
}

/*
 * The runtime learns a primary context's handle from its own table, and makes it current before anyone has retained it:
 * there is no object yet.
 */
static bool is_primary(uint64_t handle)
{
	for (CUdevice dev = 0;; dev++) {
		CUcontext ctx = hg_shim_executor()->primary_ctx(dev);

		if (!ctx)
			return false;
		if (HG_WORD(ctx) == handle)
			return true;
	}
}

static uint64_t object_word(struct hg_frame *f, enum hg_kind kind, uint64_t handle, CUresult r)
{
	const struct hg_entry *e;

	if (kind == HG_KIND_STREAM && handle <= 2)
		return hg_record_stream(f, (CUstream)(uintptr_t)handle);
	if (!handle)
		return 0;
	e = hg_ledger_find(kind, handle);
	if (e)
		return e->id;
	if (r == CUDA_SUCCESS && !(kind == HG_KIND_CTX && is_primary(handle)))
		hg_record_unknown();
	return 0;
}

/* What a `>` pointer points to after the call. */
static uint64_t out_word(enum hg_kind kind, uint64_t pointer)
{
	const void *p = (const void *)(uintptr_t)pointer;
	uint64_t v = 0;

	if (!p)
		return 0;
	switch (kind) {
	case HG_KIND_U32:
	case HG_KIND_I32:
	case HG_KIND_DEV:
		memcpy(&v, p, 4);
		return v;
	default:
		memcpy(&v, p, 8);
		return v;
	}
}

/* ---- parts ---- */

static size_t pad8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

void hg_parts_raw(struct hg_parts *p, const void *data, size_t size)
{
	if (!size)
		return;
	p->part[p->nr].data = data;
	p->part[p->nr].size = size;
	p->nr++;
	p->bytes += pad8(size);
}

uint64_t hg_parts_digest(struct hg_parts *p, const void *data, size_t size)
{
	p->digest = XXH3_64bits(data, size);
	hg_parts_raw(p, &p->digest, sizeof(p->digest));
	return HG_BLOB(HG_BLOB_DIGEST, size);
}

uint64_t hg_parts_captured(struct hg_parts *p, const void *data, size_t size)
{
	if (!with_payload || !data || !size)
		return size && data ? hg_parts_digest(p, data, size) : HG_BLOB(HG_BLOB_ABSENT, size);
	if (size <= HG_PAYLOAD_INLINE) {
		hg_parts_raw(p, data, size);
		return HG_BLOB(HG_BLOB_INLINE, size);
	}
	if (hg_recorder_payload(hg_shim_recorder, data, size, &p->ref) != HG_OK)
		return hg_parts_digest(p, data, size);
	hg_parts_raw(p, &p->ref, sizeof(p->ref));
	return HG_BLOB(HG_BLOB_PAYLOAD, size);
}

static uint64_t image_word(struct hg_parts *p, const void *image, size_t size)
{
	void *flat;
	size_t flat_size;
	enum hg_status st;

	if (!image || hg_shim_executor()->image_flatten(image, size, &flat, &flat_size) != HG_OK)
		return HG_BLOB(HG_BLOB_ABSENT, 0);
	st = hg_recorder_image(hg_shim_recorder, flat, flat_size, p->key);
	free(flat);
	if (st != HG_OK)
		return HG_BLOB(HG_BLOB_ABSENT, 0);
	hg_parts_raw(p, p->key, sizeof(p->key));
	return HG_BLOB(HG_BLOB_IMAGE, flat_size);
}

/* ---- records ---- */

/* With the sequence number taken. */
static void write_record(const struct hg_call_desc *desc, uint64_t seq, uint64_t ctx,
			 uint32_t stack, const uint64_t *word, size_t nr_words, const struct hg_parts *parts,
			 uint32_t flags, CUresult r)
{
	struct hg_recorder *recorder = hg_shim_recorder;
	struct hg_rec *rec;
	unsigned char *at;

	rec = hg_recorder_begin(recorder, desc, seq, (unsigned int)nr_words, parts ? parts->bytes : 0);
	if (!rec)
		return;
	rec->ctx = ctx;
	rec->result = (int32_t)r;
	rec->flags = flags;
	rec->stack = stack;
	memcpy(rec->word, word, nr_words * sizeof(*word));
	at = (unsigned char *)(rec->word + nr_words);
	for (unsigned int i = 0; parts && i < parts->nr; i++) {
		size_t size = parts->part[i].size, padded = pad8(size);

		memcpy(at, parts->part[i].data, size);
		memset(at + size, 0, padded - size);
		at += padded;
	}
	hg_recorder_commit(recorder, rec);
}

uint64_t hg_record_write(struct hg_frame *f, enum hg_call_id id, const uint64_t *word, const struct hg_parts *parts,
			 CUresult r)
{
	const struct hg_shape *s = &hg_shapes[id];
	uint32_t stack = hg_record_stack();
	uint64_t ctx = hg_record_ctx(f), seq;

	if (!s->wanted)
		return 0;
	seq = hg_recorder_seq(hg_shim_recorder);
	write_record(s->desc, seq, ctx, stack, word, s->nr_args, parts, 0, r);
	return seq;
}

void hg_record_before_slow(struct hg_recording *rec, struct hg_frame *f, const uint64_t *word)
{
	int i = rec->shape->destroys;

	rec->taken.id = 0;
	(void)hg_ledger_take(rec->shape->arg[i].kind, word[i], &rec->taken);
	if (rec->shape->desc->op == HG_OP_MODULE_END)
		hg_shim_executor()->code_going(rec->shape->arg[i].kind, (const void *)(uintptr_t)word[i]);
	f->thread->unfinished = 1;
	rec->seq = hg_recorder_seq(hg_shim_recorder);
}

static uint64_t parent_of(const struct hg_shape *s, const uint64_t *out, uint64_t ctx)
{
	enum hg_kind kind = s->arg[s->creates].kind;

	if (kind == HG_KIND_CTX)
		return 0;
	if (kind == HG_KIND_MODULE || kind == HG_KIND_LIBRARY || kind == HG_KIND_FUNCTION)
		for (int i = 0; i < s->nr_args; i++)
			if (s->arg[i].dir == HG_DIR_IN && hg_kind_is_object(s->arg[i].kind))
				return out[i];
	return kind == HG_KIND_LIBRARY ? 0 : ctx;
}

/* Words and parts of the record; false when no memory was left for a part. */
static void fill(struct hg_recording *rec, struct hg_frame *f, const uint64_t *word, CUresult r,
		 const struct hg_record_more *more, uint64_t *out, struct hg_parts *parts)
{
	const struct hg_shape *s = rec->shape;

	for (int i = 0; i < s->nr_args; i++) {
		const struct hg_arg *a = &s->arg[i];
		uint64_t w = word[i];

		switch (a->kind) {
		case HG_KIND_CSTR:
			if (w) {
				size_t len = strlen((const char *)(uintptr_t)w) + 1;

				hg_parts_raw(parts, (const void *)(uintptr_t)w, len);
				out[i] = HG_BLOB(HG_BLOB_INLINE, len);
			} else {
				out[i] = HG_BLOB(HG_BLOB_ABSENT, 0);
			}
			break;
		case HG_KIND_IMAGE:
			out[i] = r == CUDA_SUCCESS && more ? image_word(parts, more->image, more->image_size) :
							     HG_BLOB(HG_BLOB_ABSENT, 0);
			break;
		case HG_KIND_BYTES:
			if (r != CUDA_SUCCESS)
				out[i] = HG_BLOB(HG_BLOB_ABSENT, 0);
			else if (a->dir == HG_DIR_READ)
				out[i] = hg_parts_captured(parts, (const void *)(uintptr_t)w, word[a->len_arg]);
			else
				out[i] = hg_parts_digest(parts, (const void *)(uintptr_t)w, word[a->len_arg]);
			break;
		default:
			if (a->dir == HG_DIR_DESTROY && hg_kind_is_object(a->kind))
				out[i] = rec->taken.id;
			else if (a->dir == HG_DIR_OUT)
				out[i] = r == CUDA_SUCCESS ? out_word(a->kind, w) : 0;
			else if (a->dir == HG_DIR_IN && hg_kind_is_object(a->kind))
				out[i] = object_word(f, a->kind, w, r);
			else
				out[i] = w;
		}
	}
}

/* Bytes that an ALLOC or HOST_* record is about: what the log's reader computes as well. */
static uint64_t memory_size(const struct hg_shape *s, const uint64_t *out)
{
	uint64_t pitch = 0, size = 0, rows = 0;
	int nr_in = 0;

	for (int i = 0; i < s->nr_args; i++) {
		if (s->arg[i].kind != HG_KIND_SIZE)
			continue;
		if (s->arg[i].dir == HG_DIR_OUT)
			pitch = out[i];
		else if (nr_in++ == 0)
			size = out[i];
		else
			rows = out[i];
	}
	return pitch && nr_in == 2 ? pitch * rows : size;
}

/* In an entry of the ledger: the native, or the portable, executor was asked and does not know. */
static const struct hg_kernel_info unknown_kernel[2];

static bool is_unknown(const struct hg_kernel_info *k)
{
	return k == &unknown_kernel[0] || k == &unknown_kernel[1];
}

static __attribute__((noinline)) const struct hg_kernel_info *ask_kernel(struct hg_entry *e, const char *name, const void *code)
{
	const struct hg_kernel_info *known = __atomic_load_n(&e->kernel, __ATOMIC_ACQUIRE), *k = NULL;
	const struct hg_kernel_info *unknown = &unknown_kernel[hg_shim_executor() != &hg_executor_native];
	struct hg_function f = {
		.handle = (const void *)(uintptr_t)e->handle, .name = name, .code = code,
		.is_kernel = e->made_by == HG_ID_cuLibraryGetKernel || e->made_by == HG_ID_cuLibraryEnumerateKernels,
	};
	enum hg_status st;

	/* not again at each launch: it takes long */
	if (known == unknown)
		return NULL;
	st = hg_shim_executor()->kernel_info(&f, &k);
	if (st == HG_OK)
		__atomic_store_n(&e->kernel, k, __ATOMIC_RELEASE);
	else if (st != HG_ERR_NOMEM)
		__atomic_store_n(&e->kernel, unknown, __ATOMIC_RELEASE);
	return st == HG_OK ? k : NULL;
}

const struct hg_kernel_info *hg_record_kernel(struct hg_entry *e, const char *name, const void *code)
{
	const struct hg_kernel_info *k = __atomic_load_n(&e->kernel, __ATOMIC_ACQUIRE);

	return __builtin_expect(k && !is_unknown(k), 1) ? k : ask_kernel(e, name, code);
}

/* While its name and its module are at hand, and so that its first launch has nothing to ask for. */
static void learn_kernel(const struct hg_shape *s, const uint64_t *word, struct hg_entry *e)
{
	const struct hg_entry *of = NULL;
	const char *name = NULL;
	const void *code = NULL;

	for (int i = 0; i < s->nr_args; i++) {
		if (s->arg[i].kind == HG_KIND_CSTR)
			name = (const char *)(uintptr_t)word[i];
		else if (s->arg[i].dir == HG_DIR_IN && s->arg[i].kind == HG_KIND_FUNCTION)
			of = hg_ledger_find(HG_KIND_FUNCTION, word[i]);
		else if (s->arg[i].dir == HG_DIR_IN && hg_kind_is_object(s->arg[i].kind))
			code = (const void *)(uintptr_t)word[i];
	}
	if (of) {	/* the function of a kernel */
		e->kernel = __atomic_load_n(&of->kernel, __ATOMIC_ACQUIRE);
		if (is_unknown(e->kernel))
			e->kernel = NULL;
	}
	(void)hg_record_kernel(e, name, code);
}

/* Puts the object that a successful call made into the ledger; true when its handle named one already. */
static bool created(const struct hg_shape *s, const uint64_t *word, const uint64_t *out, uint64_t seq, uint64_t ctx)
{
	enum hg_kind kind = s->arg[s->creates].kind;
	uint64_t handle = out[s->creates];
	struct hg_entry e = { .id = seq, .handle = handle, .kind = kind, .retained = 1, .made_by = s->desc->id }, *known;

	if (!handle)
		return false;
	if (hg_kind_is_object(kind)) {
		known = hg_ledger_find(kind, handle);
		if (known) {
			known->retained++;
			return true;
		}
	} else {
		e.size = memory_size(s, out);
	}
	e.parent = parent_of(s, out, ctx);
	if (kind == HG_KIND_FUNCTION)
		learn_kernel(s, word, &e);
	(void)hg_ledger_add(&e);
	return false;
}

/* The places of a module's variables, as a blob; empty when there are none. */
static void add_places(struct hg_writer *w, const void *module_or_library)
{
	size_t nr = hg_shim_executor()->module_vars(module_or_library, NULL, 0);
	struct hg_place *place = nr ? calloc(nr, sizeof(*place)) : NULL;

	if (!place)
		return;
	if (hg_shim_executor()->module_vars(module_or_library, place, nr) == nr)
		hg_places_encode(w, place, nr);
	free(place);
}

/* Keeps the thread's stack of contexts as the driver does. */
static void track_stack(struct hg_thread *t, const struct hg_call_desc *desc, const uint64_t *word)
{
	uint64_t *top = t->ctx_depth && t->ctx_depth <= HG_THREAD_CTXS ? &t->ctx_stack[t->ctx_depth - 1] : NULL;
	uint64_t ctx = 0;

	switch (desc->op) {
	case HG_OP_CTX:
		if (desc->id == HG_ID_cuDevicePrimaryCtxRetain)
			return;
		ctx = out_word(HG_KIND_CTX, word[0]);
		break;
	case HG_OP_CTX_END:
		if (desc->id == HG_ID_cuCtxDestroy_v2 && top && *top == word[0])
			t->ctx_depth--;
		return;
	default:
		if (desc->id == HG_ID_cuCtxPopCurrent_v2) {
			if (t->ctx_depth)
				t->ctx_depth--;
			return;
		}
		ctx = word[0];
		if (desc->id == HG_ID_cuCtxSetCurrent && t->ctx_depth) {
			if (!ctx)
				t->ctx_depth--;
			else if (top)
				*top = ctx;
			return;
		}
		if (!ctx)
			return;
	}
	if (t->ctx_depth < HG_THREAD_CTXS)
		t->ctx_stack[t->ctx_depth] = ctx;
	t->ctx_depth++;
}

static void changes_ctx(struct hg_frame *f, const struct hg_call_desc *desc, const uint64_t *word, CUresult r)
{
	enum hg_op op = desc->op;

	if (op != HG_OP_CTX && op != HG_OP_CTX_CURRENT && op != HG_OP_CTX_END)
		return;
	hg_record_ctx_changed(f, op == HG_OP_CTX_END);
	if (r == CUDA_SUCCESS)
		track_stack(f->thread, desc, word);
}

void hg_record_after_more(struct hg_recording *rec, struct hg_frame *f, const uint64_t *word, CUresult r,
			  const struct hg_record_more *more)
{
	const struct hg_shape *s = rec->shape;
	struct hg_parts parts = { 0 };
	struct hg_writer places = { 0 };
	uint64_t out[HG_MAX_ARGS], ctx, seq;
	bool destroys = s->destroys >= 0;
	uint32_t stack, flags = 0;

	changes_ctx(f, s->desc, word, r);
	if (s->desc->op == HG_OP_MODULE_END)
		hg_shim_executor()->code_gone(s->arg[s->destroys].kind, (const void *)(uintptr_t)word[s->destroys],
					      r == CUDA_SUCCESS);
	if (!s->wanted)
		return;
	/* the number of a destroying call is taken: nothing may go through the lane any more */
	stack = destroys ? 0 : hg_record_stack();
	fill(rec, f, word, r, more, out, &parts);
	if (r == CUDA_SUCCESS && more && more->vars) {
		add_places(&places, more->vars);
		if (!places.failed)
			hg_parts_raw(&parts, places.data, places.size);
	}

	if (destroys) {
		seq = rec->seq;
		if (rec->taken.id && r == CUDA_SUCCESS)
			hg_ledger_drop_children(&rec->taken);
		else if (rec->taken.id)
			(void)hg_ledger_add(&rec->taken);
		ctx = hg_record_ctx(f);
	} else {
		/* a created context may be the current one, and must be in the ledger to be found */
		seq = hg_recorder_seq(hg_shim_recorder);
		ctx = s->creates >= 0 && s->arg[s->creates].kind == HG_KIND_CTX ? 0 : hg_record_ctx(f);
		if (r == CUDA_SUCCESS && s->creates >= 0 && created(s, word, out, seq, ctx))
			flags |= HG_REC_KNOWN;
		if (!ctx)
			ctx = hg_record_ctx(f);
	}
	write_record(s->desc, seq, ctx, stack, out, s->nr_args, &parts, flags, r);
	if (destroys)
		f->thread->unfinished = 0;
	if (places.data)
		hg_writer_release(&places);
}

void hg_record_after(struct hg_recording *rec, struct hg_frame *f, const uint64_t *word, CUresult r)
{
	if (rec->shape)
		hg_record_after_more(rec, f, word, r, NULL);
}
