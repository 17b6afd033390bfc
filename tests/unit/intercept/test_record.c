/* test_record.c - what of a call gets into the log: with a driver of this file behind the entries. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "intercept/record.h"
#include "logdb/logdb.h"
#include "logdb/words.h"

/* ---- the driver ---- */

static struct { int dummy; } the_ctx, the_module, the_function, the_stream;
static CUcontext current;
static CUresult next_result;
static CUdeviceptr next_address = 0x200000000000;
static int nr_plain, nr_per_thread;

static CUresult result(void)
{
	CUresult r = next_result;

	next_result = CUDA_SUCCESS;
	return r;
}

static CUresult retain(CUcontext *ctx, CUdevice dev)
{
	(void)dev;
	*ctx = (CUcontext)&the_ctx;
	return result();
}

static CUresult release(CUdevice dev)
{
	(void)dev;
	return result();
}

static int active = 1;
static CUresult get_state(CUdevice dev, unsigned int *flags, int *out)
{
	(void)dev;
	*flags = 0;
	*out = active;
	return CUDA_SUCCESS;
}

static CUresult set_current(CUcontext ctx)
{
	current = ctx;
	return result();
}

static CUresult get_current(CUcontext *ctx)
{
	*ctx = current;
	return CUDA_SUCCESS;
}

static CUresult mem_alloc(CUdeviceptr *p, size_t size)
{
	CUresult r = result();

	(void)size;
	if (r == CUDA_SUCCESS)
		*p = next_address;
	return r;
}

static CUresult mem_free(CUdeviceptr p)
{
	(void)p;
	return result();
}

static CUresult h2d(CUdeviceptr dst, const void *src, size_t n)
{
	(void)dst;
	(void)src;
	(void)n;
	return result();
}

static CUresult d2h(void *dst, CUdeviceptr src, size_t n)
{
	(void)src;
	memset(dst, 0x5a, n);
	return result();
}

static CUresult copy_2d(const CUDA_MEMCPY2D *p)
{
	(void)p;
	return result();
}

static CUresult load(CUmodule *m, const void *image)
{
	(void)image;
	*m = (CUmodule)&the_module;
	return result();
}

static CUresult unload(CUmodule m)
{
	(void)m;
	return result();
}

static CUresult function(CUfunction *f, CUmodule m, const char *name)
{
	(void)m;
	(void)name;
	*f = (CUfunction)&the_function;
	return result();
}

static CUresult stream_create(CUstream *s, unsigned int flags)
{
	(void)flags;
	*s = (CUstream)&the_stream;
	return result();
}

static CUresult stream_sync(CUstream s)
{
	(void)s;
	nr_plain++;
	return result();
}

static CUresult stream_sync_ptsz(CUstream s)
{
	(void)s;
	nr_per_thread++;
	return result();
}

static CUresult launch(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by,
		       unsigned int bz, unsigned int shared, CUstream s, void **params, void **extra)
{
	(void)f;
	(void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz;
	(void)shared;
	(void)s;
	(void)params;
	(void)extra;
	return result();
}

/* Calls back at once, on the calling thread. */
static CUresult host_func(CUstream s, CUhostFn fn, void *arg)
{
	(void)s;
	fn(arg);
	return result();
}

static CUresult pointer_attribute(void *out, CUpointer_attribute what, CUdeviceptr p)
{
	if (what != CU_POINTER_ATTRIBUTE_MEMORY_TYPE || p < 0x200000000000 || p >= 0x300000000000)
		return CUDA_ERROR_INVALID_VALUE;
	*(CUmemorytype *)out = CU_MEMORYTYPE_DEVICE;
	return CUDA_SUCCESS;
}

static void *proc(const char *symbol)
{
	static const struct { const char *name; void *fn; } have[] = {
		{ "cuDevicePrimaryCtxRetain", (void *)retain }, { "cuDevicePrimaryCtxRelease_v2", (void *)release },
		{ "cuDevicePrimaryCtxGetState", (void *)get_state }, { "cuCtxSetCurrent", (void *)set_current },
		{ "cuCtxGetCurrent", (void *)get_current }, { "cuMemAlloc_v2", (void *)mem_alloc },
		{ "cuMemFree_v2", (void *)mem_free }, { "cuMemcpyHtoD_v2", (void *)h2d }, { "cuMemcpyDtoH_v2", (void *)d2h },
		{ "cuMemcpy2D_v2", (void *)copy_2d }, { "cuModuleLoadData", (void *)load },
		{ "cuModuleUnload", (void *)unload }, { "cuModuleGetFunction", (void *)function },
		{ "cuStreamCreate", (void *)stream_create }, { "cuStreamSynchronize", (void *)stream_sync },
		{ "cuStreamSynchronize_ptsz", (void *)stream_sync_ptsz }, { "cuLaunchKernel", (void *)launch },
		{ "cuLaunchHostFunc", (void *)host_func }, { "cuPointerGetAttribute", (void *)pointer_attribute },
	};

	for (size_t i = 0; i < sizeof(have) / sizeof(have[0]); i++)
		if (!strcmp(symbol, have[i].name))
			return have[i].fn;
	return NULL;
}

static enum hg_status yes(const char *target)
{
	(void)target;
	return HG_OK;
}

static enum hg_status open_it(void)
{
	return HG_OK;
}

static CUcontext primary(CUdevice dev)
{
	return dev == 0 ? (CUcontext)&the_ctx : NULL;
}

static size_t vars(const void *module, struct hg_place *out, size_t max)
{
	(void)module;
	if (max)
		*out = (struct hg_place){ .name = "table", .addr = 0x200000200000, .size = 40 };
	return 1;
}

static enum hg_status flatten(const void *image, size_t size, void **out, size_t *out_size)
{
	(void)size;
	*out = strdup(image);
	*out_size = strlen(image) + 1;
	return HG_OK;
}

static unsigned int nr_asked;
static bool knows_no_kernel;

static enum hg_status kernel_info(const struct hg_function *f, const struct hg_kernel_info **out)
{
	/* a hole between the parameters, as C would leave it */
	static const struct hg_param param[] = { { 0, 4, 4, false }, { 8, 8, 8, true } };
	static const struct hg_kernel_info k = { .name = "k", .nr_params = 2, .params = param, .param_bytes = 16 };

	nr_asked++;
	if (knows_no_kernel)
		return HG_ERR_NOTFOUND;
	if (f->handle != &the_function)
		return HG_ERR_INVALID;
	*out = &k;
	return HG_OK;
}

static struct hg_executor fake;

static void make_fake(void)
{
	/* where it does nothing, the portable one is as good as any */
	fake = hg_executor_portable;
	fake.name = "fake";
	fake.load = yes;
	fake.open = open_it;
	fake.proc = proc;
	fake.primary_ctx = primary;
	fake.module_vars = vars;
	fake.image_flatten = flatten;
	fake.kernel_info = kernel_info;
}

/* ---- the log ---- */

static char dir[64];
static struct hg_log *db;

static void setup_calls(enum hg_calls_mode calls)
{
	struct hg_recorder_config cfg = { .dir = dir, .calls = calls, .payload = true, .executor = "fake" };

	snprintf(dir, sizeof(dir), "/tmp/hgshim-unit-%d", (int)getpid());
	make_fake();
	hg_shim_use(&fake, "fake");
	hg_record_init(&cfg);
	cr_assert_eq(hg_recorder_start(&cfg, &hg_shim_recorder), HG_OK);
	hg_gate_init();
	hg_gate_open();
}

static void setup(void)
{
	setup_calls(HG_CALLS_ALL);
}

static void setup_objects(void)
{
	setup_calls(HG_CALLS_OBJECTS);
}

static void teardown(void)
{
	char cmd[128];

	hg_log_close(db);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	if (system(cmd) != 0)
		fprintf(stderr, "cannot remove '%s'\n", dir);
}

#define MAX_RECORDS 64
static struct { struct hg_rec_view view; struct hg_rec *rec; } seen[MAX_RECORDS];
static size_t nr_seen;

static enum hg_status keep(const struct hg_rec_view *v, void *arg)
{
	struct hg_rec *copy = malloc(v->rec->size);

	(void)arg;
	cr_assert_lt(nr_seen, MAX_RECORDS);
	memcpy(copy, v->rec, v->rec->size);
	seen[nr_seen].rec = copy;
	cr_assert_eq(hg_rec_view(copy, copy->size, &seen[nr_seen].view), HG_OK);
	nr_seen++;
	return HG_OK;
}

/* Ends the recording and reads what is in the log. */
static void read_back(void)
{
	struct hg_recorder *r = hg_shim_recorder;

	hg_shim_recorder = NULL;
	hg_recorder_stop(r);
	cr_assert_eq(hg_log_open(dir, &db), HG_OK);
	cr_assert_eq(hg_log_calls(db, 0, UINT64_MAX, keep, NULL), HG_OK);
}

/* The nth record of a call. */
static const struct hg_rec *rec(enum hg_call_id id, int nth)
{
	for (size_t i = 0; i < nr_seen; i++)
		if (seen[i].rec->call == id && nth-- == 0)
			return seen[i].rec;
	cr_assert_fail("no such record: call %d", (int)id);
	return NULL;
}

static size_t count(enum hg_call_id id)
{
	size_t n = 0;

	for (size_t i = 0; i < nr_seen; i++)
		n += seen[i].rec->call == id;
	return n;
}

/* ---- tests ---- */

Test(record, a_call_before_the_gate_opened_is_told_so)
{
	CUdeviceptr p;

	cr_expect_eq(cuMemAlloc_v2(&p, 4), CUDA_ERROR_NOT_INITIALIZED);
	cr_expect_eq(cuMemAlloc_v2(&p, 4), CUDA_ERROR_NOT_INITIALIZED);
	cr_expect_eq(cuStreamSynchronize_ptsz(NULL), CUDA_ERROR_NOT_INITIALIZED);
}

Test(record, an_address_used_again_is_another_object, .init = setup, .fini = teardown)
{
	CUdeviceptr p;
	uint64_t first;

	cr_assert_eq(cuMemAlloc_v2(&p, 100), CUDA_SUCCESS);
	first = hg_ledger_find(HG_KIND_DPTR, p)->id;
	cr_assert_eq(cuMemFree_v2(p), CUDA_SUCCESS);
	cr_expect_null(hg_ledger_find(HG_KIND_DPTR, p));
	cr_assert_eq(cuMemAlloc_v2(&p, 200), CUDA_SUCCESS);
	cr_expect_neq(hg_ledger_find(HG_KIND_DPTR, p)->id, first);
	cr_expect_eq(hg_ledger_find(HG_KIND_DPTR, p)->size, 200);
	read_back();
	cr_expect_eq(rec(HG_ID_cuMemAlloc_v2, 0)->seq, first);
	cr_expect_eq(rec(HG_ID_cuMemAlloc_v2, 0)->word[0], p);
	cr_expect_eq(rec(HG_ID_cuMemFree_v2, 0)->word[0], p);
	cr_expect_eq(rec(HG_ID_cuMemAlloc_v2, 1)->word[1], 200);
}

Test(record, a_failed_call_is_recorded_and_changes_nothing, .init = setup, .fini = teardown)
{
	CUdeviceptr p = 77;

	next_result = CUDA_ERROR_OUT_OF_MEMORY;
	cr_expect_eq(cuMemAlloc_v2(&p, 100), CUDA_ERROR_OUT_OF_MEMORY);
	cr_expect_eq(p, 77);
	cr_expect_eq(hg_ledger_count(HG_KIND_DPTR), 0);
	cr_assert_eq(cuMemAlloc_v2(&p, 100), CUDA_SUCCESS);
	next_result = CUDA_ERROR_ILLEGAL_ADDRESS;
	cr_expect_eq(cuMemFree_v2(p), CUDA_ERROR_ILLEGAL_ADDRESS);
	cr_expect_not_null(hg_ledger_find(HG_KIND_DPTR, p), "it is still there");
	read_back();
	cr_expect_eq(rec(HG_ID_cuMemAlloc_v2, 0)->result, CUDA_ERROR_OUT_OF_MEMORY);
	cr_expect_eq(rec(HG_ID_cuMemFree_v2, 0)->result, CUDA_ERROR_ILLEGAL_ADDRESS);
}

Test(record, a_handle_looked_up_twice_is_one_object, .init = setup, .fini = teardown)
{
	CUcontext ctx;
	CUmodule m;
	CUfunction f, g;

	cr_assert_eq(cuDevicePrimaryCtxRetain(&ctx, 0), CUDA_SUCCESS);
	cr_assert_eq(cuDevicePrimaryCtxRetain(&ctx, 0), CUDA_SUCCESS);
	cr_assert_eq(cuCtxSetCurrent(ctx), CUDA_SUCCESS);
	cr_assert_eq(cuModuleLoadData(&m, "image"), CUDA_SUCCESS);
	cr_assert_eq(cuModuleGetFunction(&f, m, "k"), CUDA_SUCCESS);
	cr_assert_eq(cuModuleGetFunction(&g, m, "k"), CUDA_SUCCESS);
	/* the context lives until it was released as often */
	cr_assert_eq(cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
	cr_expect_not_null(hg_ledger_find(HG_KIND_CTX, HG_WORD(ctx)));
	cr_assert_eq(cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
	cr_expect_null(hg_ledger_find(HG_KIND_CTX, HG_WORD(ctx)));
	cr_expect_null(hg_ledger_find(HG_KIND_MODULE, HG_WORD(m)), "what was in it went with it");
	cr_expect_null(hg_ledger_find(HG_KIND_FUNCTION, HG_WORD(f)));
	read_back();

	const struct hg_rec *c = rec(HG_ID_cuDevicePrimaryCtxRetain, 0), *mod = rec(HG_ID_cuModuleLoadData, 0);

	cr_expect_eq(c->flags, 0);
	cr_expect_eq(rec(HG_ID_cuDevicePrimaryCtxRetain, 1)->flags, HG_REC_KNOWN);
	cr_expect_eq(rec(HG_ID_cuCtxSetCurrent, 0)->word[0], c->seq);
	cr_expect_eq(mod->ctx, c->seq);
	cr_expect_eq(rec(HG_ID_cuModuleGetFunction, 0)->word[1], mod->seq);
	cr_expect_eq(rec(HG_ID_cuModuleGetFunction, 1)->flags, HG_REC_KNOWN);
	cr_expect_eq(rec(HG_ID_cuDevicePrimaryCtxRelease_v2, 0)->word[0], 0, "it did not end");
	cr_expect_eq(rec(HG_ID_cuDevicePrimaryCtxRelease_v2, 1)->word[0], c->seq);
}

Test(record, a_module_comes_with_its_image_and_the_places_of_its_variables, .init = setup, .fini = teardown)
{
	const struct hg_rec *r;
	struct hg_place *place;
	CUmodule m;
	size_t nr;
	void *data;
	size_t size;

	cr_assert_eq(cuModuleLoadData(&m, "an image"), CUDA_SUCCESS);
	read_back();
	r = rec(HG_ID_cuModuleLoadData, 0);
	cr_assert_eq(hg_log_blob(db, &seen[0].view, 1, &data, &size), HG_OK);
	cr_expect_str_eq(data, "an image");
	free(data);
	cr_expect_eq(hg_blob_enc(r->word[1]), HG_BLOB_IMAGE);
	/* behind the two words and the image's key */
	cr_assert_eq(hg_places_decode((const char *)(r->word + 2) + 16, r->size - sizeof(*r) - 32, &place, &nr), HG_OK);
	cr_assert_eq(nr, 1);
	cr_expect_str_eq(place->name, "table");
	cr_expect_eq(place->addr, 0x200000200000);
	free(place);
}

Test(record, bytes_from_the_host_come_back_whatever_their_number, .init = setup, .fini = teardown)
{
	static unsigned char small[100], large[100000];
	static const struct { const unsigned char *data; size_t size; enum hg_blob_enc enc; } want[] = {
		{ small, sizeof(small), HG_BLOB_INLINE }, { large, sizeof(large), HG_BLOB_PAYLOAD },
	};

	memset(small, 7, sizeof(small));
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (unsigned char)(i * 37 >> 3);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(cuMemcpyHtoD_v2(0x200000000000, want[i].data, want[i].size), CUDA_SUCCESS);
	read_back();
	for (int i = 0; i < 2; i++) {
		void *data;
		size_t size;

		cr_expect_eq(hg_blob_enc(rec(HG_ID_cuMemcpyHtoD_v2, i)->word[1]), want[i].enc);
		cr_assert_eq(hg_log_blob(db, &seen[i].view, 1, &data, &size), HG_OK);
		cr_expect_eq(size, want[i].size);
		cr_expect_arr_eq(data, want[i].data, size);
		free(data);
	}
}

Test(record, bytes_to_the_host_leave_a_digest, .init = setup, .fini = teardown)
{
	unsigned char a[64], b[64];

	cr_assert_eq(cuMemcpyDtoH_v2(a, 0x200000000000, sizeof(a)), CUDA_SUCCESS);
	cr_assert_eq(cuMemcpyDtoH_v2(b, 0x200000000000, sizeof(b)), CUDA_SUCCESS);
	read_back();

	const struct hg_rec *r = rec(HG_ID_cuMemcpyDtoH_v2, 0), *s = rec(HG_ID_cuMemcpyDtoH_v2, 1);

	cr_expect_eq(r->word[0], HG_BLOB(HG_BLOB_DIGEST, 64));
	cr_expect_neq(r->word[3], 0);
	cr_expect_eq(r->word[3], s->word[3], "the same bytes");
}

Test(record, parameters_of_a_launch_lie_as_the_kernel_reads_them, .init = setup, .fini = teardown)
{
	CUmodule m;
	CUfunction f;
	int n = 0x11223344;
	CUdeviceptr p = 0x2000deadbeef;
	void *params[] = { &n, &p };
	unsigned char block[16] = { 1, 2, 3, 4, 0, 0, 0, 0, 9 };
	size_t size = sizeof(block);
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, block, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END };

	cuModuleLoadData(&m, "image");
	cuModuleGetFunction(&f, m, "k");
	cr_assert_eq(cuLaunchKernel(f, 1, 2, 3, 4, 5, 6, 7, NULL, params, NULL), CUDA_SUCCESS);
	cr_assert_eq(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, CU_STREAM_LEGACY, NULL, extra), CUDA_SUCCESS);
	next_result = CUDA_ERROR_INVALID_VALUE;
	cr_assert_eq(cuLaunchKernel(f, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
	read_back();

	const struct hg_rec *r = rec(HG_ID_cuLaunchKernel, 0);
	uint64_t want[2] = { 0x11223344, p };

	cr_expect_eq(r->word[HG_LAUNCH_FUNCTION], rec(HG_ID_cuModuleGetFunction, 0)->seq);
	for (uint64_t i = 0; i < 7; i++)
		cr_expect_eq(r->word[HG_LAUNCH_GRID_X + i], i + 1);
	cr_expect_eq(r->word[HG_LAUNCH_STREAM], 0);
	cr_expect_eq(r->word[HG_LAUNCH_PARAMS], HG_BLOB(HG_BLOB_INLINE, 16));
	cr_expect_arr_eq(r->word + HG_LAUNCH_NR_WORDS, want, 16);
	r = rec(HG_ID_cuLaunchKernel, 1);
	cr_expect_eq(r->word[HG_LAUNCH_STREAM], 1);
	cr_expect_arr_eq(r->word + HG_LAUNCH_NR_WORDS, block, 16);
	r = rec(HG_ID_cuLaunchKernel, 2);
	cr_expect_eq(r->result, CUDA_ERROR_INVALID_VALUE);
	cr_expect_eq(r->word[HG_LAUNCH_PARAMS], HG_BLOB(HG_BLOB_ABSENT, 0));
}

Test(record, a_kernel_that_nobody_knows_is_asked_for_once, .init = setup, .fini = teardown)
{
	CUmodule m;
	CUfunction f;

	knows_no_kernel = true;
	cuModuleLoadData(&m, "image");
	cuModuleGetFunction(&f, m, "k");
	for (int i = 0; i < 3; i++)
		cr_assert_eq(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_SUCCESS);
	cr_expect_eq(nr_asked, 1);
	read_back();
	cr_expect_eq(rec(HG_ID_cuLaunchKernel, 2)->word[HG_LAUNCH_PARAMS], HG_BLOB(HG_BLOB_ABSENT, 0));
}

Test(record, the_per_thread_default_stream_is_stream_2, .init = setup, .fini = teardown)
{
	CUstream s;

	cr_assert_eq(cuStreamCreate(&s, 0), CUDA_SUCCESS);
	cr_assert_eq(cuStreamSynchronize(NULL), CUDA_SUCCESS);
	cr_assert_eq(cuStreamSynchronize_ptsz(NULL), CUDA_SUCCESS);
	cr_assert_eq(cuStreamSynchronize_ptsz(s), CUDA_SUCCESS);
	cr_assert_eq(cuStreamSynchronize(NULL), CUDA_SUCCESS);
	cr_expect_eq(nr_plain, 2);
	cr_expect_eq(nr_per_thread, 2);
	read_back();
	cr_expect_eq(rec(HG_ID_cuStreamSynchronize, 0)->word[0], 0);
	cr_expect_eq(rec(HG_ID_cuStreamSynchronize, 1)->word[0], 2);
	cr_expect_eq(rec(HG_ID_cuStreamSynchronize, 2)->word[0], rec(HG_ID_cuStreamCreate, 0)->seq);
	cr_expect_eq(rec(HG_ID_cuStreamSynchronize, 3)->word[0], 0);
}

Test(record, a_2d_copy_has_addresses_with_the_offsets_added, .init = setup, .fini = teardown)
{
	static unsigned char host[64 * 8];
	CUDA_MEMCPY2D c = {
		.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = host, .srcPitch = 64, .srcXInBytes = 4, .srcY = 2,
		.dstMemoryType = CU_MEMORYTYPE_UNIFIED, .dstDevice = 0x200000000000, .dstPitch = 32, .dstY = 1,
		.WidthInBytes = 3, .Height = 2,
	};
	void *data;
	size_t size;

	for (size_t i = 0; i < sizeof(host); i++)
		host[i] = (unsigned char)i;
	cr_assert_eq(cuMemcpy2D_v2(&c), CUDA_SUCCESS);
	read_back();

	const struct hg_rec *r = rec(HG_ID_cuMemcpy2D_v2, 0);
	const unsigned char want[] = { 132, 133, 134, 196, 197, 198 };

	cr_expect_eq(r->word[HG_COPY_KINDS], HG_COPY_TO_DEVICE);
	cr_expect_eq(r->word[HG_COPY_SRC], (uint64_t)(uintptr_t)host + 132);
	cr_expect_eq(r->word[HG_COPY_DST], 0x200000000020);
	cr_assert_eq(hg_log_blob(db, &seen[0].view, HG_COPY_DATA, &data, &size), HG_OK);
	cr_assert_eq(size, 6);
	cr_expect_arr_eq(data, want, 6, "the rows without what lies between them");
	free(data);
}

static void in_callback(void *arg)
{
	CUdeviceptr p;

	/* as a program would: its own call, made while another one is under way */
	*(CUresult *)arg = cuMemAlloc_v2(&p, 8);
}

Test(record, calls_made_in_a_callback_are_recorded_too, .init = setup, .fini = teardown)
{
	CUresult r = CUDA_ERROR_UNKNOWN;

	cr_assert_eq(cuLaunchHostFunc(NULL, in_callback, &r), CUDA_SUCCESS);
	cr_expect_eq(r, CUDA_SUCCESS);
	cr_expect(hg_gate_close(100), "someone is still inside");
	hg_gate_open();
	read_back();
	cr_expect_eq(count(HG_ID_cuMemAlloc_v2), 1);
	cr_expect_eq(count(HG_ID_cuLaunchHostFunc), 1);
}

static int count_unsupported(const char *symbol, uint64_t n, void *arg)
{
	if (!strcmp(symbol, "cuArrayCreate_v2"))
		*(uint64_t *)arg = n;
	return 0;
}

Test(record, a_call_the_executor_lacks_is_refused_and_counted, .init = setup, .fini = teardown)
{
	CUarray array;
	uint64_t n = 0;

	for (int i = 0; i < 3; i++)
		cr_expect_eq(cuArrayCreate_v2(&array, NULL), CUDA_ERROR_NOT_SUPPORTED);
	cr_expect_eq(hg_shim_seen[HG_SYM_cuArrayCreate_v2] & HG_SEEN_MISSING, HG_SEEN_MISSING);
	read_back();
	hg_log_unsupported(db, count_unsupported, &n);
	cr_expect_eq(n, 3);
}

static void *retain_elsewhere(void *arg)
{
	CUcontext ctx;

	(void)arg;
	cr_expect_eq(cuDevicePrimaryCtxRetain(&ctx, 0), CUDA_SUCCESS);
	return NULL;
}

Test(record, a_context_that_another_thread_makes_known_is_known_to_all, .init = setup, .fini = teardown)
{
	CUdeviceptr p;
	pthread_t t;

	/* the runtime makes the primary context current on a thread before any thread has retained it */
	next_address = 0x200000000000;
	cr_expect_eq(cuCtxSetCurrent((CUcontext)&the_ctx), CUDA_SUCCESS);
	cr_expect_eq(cuMemAlloc_v2(&p, 4), CUDA_SUCCESS);
	pthread_create(&t, NULL, retain_elsewhere, NULL);
	pthread_join(t, NULL);
	next_address += 512;
	cr_expect_eq(cuMemAlloc_v2(&p, 4), CUDA_SUCCESS);
	read_back();
	cr_expect_eq(rec(HG_ID_cuMemAlloc_v2, 0)->ctx, 0);
	cr_expect_eq(rec(HG_ID_cuMemAlloc_v2, 1)->ctx, rec(HG_ID_cuDevicePrimaryCtxRetain, 0)->seq);
}

Test(record, objects_mode_keeps_what_a_restore_needs, .init = setup_objects, .fini = teardown)
{
	CUmodule m;
	CUfunction f;
	CUdeviceptr p;
	int n = 1;
	void *params[] = { &n, &p };

	cuModuleLoadData(&m, "image");
	cuModuleGetFunction(&f, m, "k");
	cuMemAlloc_v2(&p, 4);
	cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
	cuMemcpyHtoD_v2(p, &n, 4);
	read_back();
	cr_expect_eq(nr_seen, 3);
	cr_expect_eq(count(HG_ID_cuLaunchKernel), 0);
}

Test(record, a_handle_nobody_made_is_counted, .init = setup, .fini = teardown)
{
	uint64_t before = hg_record_nr_unknown();

	cr_assert_eq(cuStreamSynchronize((CUstream)&the_stream), CUDA_SUCCESS);
	cr_expect_eq(hg_record_nr_unknown(), before + 1);
	/* the runtime learns this one's name from its own table */
	cr_assert_eq(cuCtxSetCurrent((CUcontext)&the_ctx), CUDA_SUCCESS);
	cr_expect_eq(hg_record_nr_unknown(), before + 1);
}

/* ---- the stack of contexts ---- */

Test(contexts, a_threads_stack_is_known_by_handle, .init = setup, .fini = teardown)
{
	uint64_t ctx = (uintptr_t)&the_ctx;
	CUcontext c;

	cr_assert_eq(cuDevicePrimaryCtxRetain(&c, 0), CUDA_SUCCESS);
	cr_expect_eq(hg_tls->ctx_depth, 0, "retaining makes nothing current");
	cr_assert_eq(cuCtxSetCurrent(c), CUDA_SUCCESS);
	cr_expect_eq(hg_tls->ctx_depth, 1);
	cr_expect_eq(hg_tls->ctx_stack[0], ctx);
	cr_assert_eq(cuCtxSetCurrent(c), CUDA_SUCCESS);
	cr_expect_eq(hg_tls->ctx_depth, 1, "the top is replaced");
	cr_assert_eq(cuCtxSetCurrent(NULL), CUDA_SUCCESS);
	cr_expect_eq(hg_tls->ctx_depth, 0);
	cr_assert_eq(cuCtxSetCurrent(NULL), CUDA_SUCCESS);
	cr_expect_eq(hg_tls->ctx_depth, 0, "nothing to pop");
}

static unsigned int nr_adopted;
static uint64_t adopted_top;

static void adopt(struct hg_thread *t)
{
	nr_adopted++;
	adopted_top = t->ctx_depth ? t->ctx_stack[t->ctx_depth - 1] : 0;
}

Test(contexts, a_thread_is_adopted_once_before_its_next_call, .init = setup, .fini = teardown)
{
	CUcontext c;

	cr_assert_eq(cuDevicePrimaryCtxRetain(&c, 0), CUDA_SUCCESS);
	cr_assert_eq(cuCtxSetCurrent(c), CUDA_SUCCESS);
	cr_assert(hg_gate_close(1000));
	hg_gate_moved(adopt);
	hg_gate_open();
	cr_expect_eq(nr_adopted, 0);
	cr_assert_eq(cuCtxGetCurrent(&c), CUDA_SUCCESS);
	cr_expect_eq(nr_adopted, 1);
	cr_expect_eq(adopted_top, (uintptr_t)&the_ctx);
	cr_assert_eq(cuCtxGetCurrent(&c), CUDA_SUCCESS);
	cr_expect_eq(nr_adopted, 1);
	cr_expect_eq(hg_tls->exempt, 0);
}
