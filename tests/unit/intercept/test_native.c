/* test_native.c - in front of a driver of five functions: names, tables, parameters, quiescing and reading. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/msg.h"
#include "intercept/gate.h"
#include "intercept/ledger.h"
#include "intercept/native.h"
#include "intercept/native_tables.h"
#include "intercept/shim.h"
#include "intercept/tables.h"

static char said[4096];

static void sink(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	strncat(said, line, sizeof(said) - strlen(said) - 1);
}

/* ---- cuGetProcAddress ---- */

static CUresult fake_alloc(CUdeviceptr *p, size_t n)
{
	(void)n;
	*p = 0x7f0000000000;
	return CUDA_SUCCESS;
}

static CUresult fake_future(void)
{
	return CUDA_SUCCESS;
}

static CUresult version(int *v)
{
	*v = 13020;
	return CUDA_SUCCESS;
}

static CUresult proc_address(const char *name, void **pfn, int v, cuuint64_t flags, CUdriverProcAddressQueryResult *status)
{
	(void)flags;
	*status = CU_GET_PROC_ADDRESS_SUCCESS;
	if (!strcmp(name, "cuMemAlloc"))
		*pfn = (void *)fake_alloc;
	else if (!strcmp(name, "cuFromTheFuture") || (!strcmp(name, "cuMemFree") && v >= 13010))
		*pfn = (void *)fake_future;
	else if (!strcmp(name, "cuMemFree") || !strcmp(name, "cuMemGetInfo"))	/* an address that no symbol has */
		*pfn = (void *)sink;
	else
		*status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	return CUDA_SUCCESS;
}

static void *ask(const char *name, int v, CUdriverProcAddressQueryResult *status)
{
	void *p = NULL;

	cr_assert_eq(hg_executor_native.procaddr(name, &p, v, 0, status), CUDA_SUCCESS);
	return p;
}

Test(native, hands_out_its_own_entries_only)
{
	CUdriverProcAddressQueryResult status;

	hg_nv.cuMemAlloc_v2 = fake_alloc;
	hg_nv.cuGetProcAddress_v2 = proc_address;
	hg_nv.cuDriverGetVersion = version;
	cr_expect_eq(ask("cuMemAlloc", 13000, &status), (void *)cuMemAlloc_v2, "the driver's choice, by address");
	cr_expect_eq(ask("cuMemFree", 13000, &status), (void *)cuMemFree_v2, "by the table, where the address is no symbol's");
	cr_expect_eq(status, CU_GET_PROC_ADDRESS_SUCCESS);
	cr_expect_null(ask("cuMemFree", 13010, &status), "newer than the table: its arguments may differ");
	cr_expect_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	cr_expect_eq(ask("cuMemGetInfo", 13010, &status), (void *)cuMemGetInfo_v2, "newer, and the driver gives what it gave before");
	cr_expect_null(ask("cuFromTheFuture", 13020, &status));
	cr_expect_null(ask("cuNever", 13000, &status));
	cr_expect_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

/* ---- tables ---- */

static CUresult real_primary(CUcontext *out, CUdevice dev)
{
	if (dev)
		return CUDA_ERROR_INVALID_DEVICE;
	*out = (CUcontext)0x1234;
	return CUDA_SUCCESS;
}

static uint64_t sum(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, double x)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + (uint64_t)(x * 8);
}

static void *runtime[13] = { (void *)sizeof(runtime), NULL, (void *)real_primary, (void *)sum };
static void *strange[4] = { (void *)sizeof(strange), (void *)sum, (void *)0x42, (void *)sum };
static void *odd[2] = { (void *)sum, (void *)sum };
static void *contexts[40] = { (void *)sizeof(contexts), [1 ... 39] = (void *)sum };
static const char strange_id[16] = "strange table", odd_id[16] = "odd table";
static const char contexts_id[16] = "\x21\x31\x8c\x60\x97\x14\x32\x48\x8c\xa6\x41\xff\x73\x24\xc8\xf2";

static CUresult export_table(const void **out, const CUuuid *id)
{
	if (!memcmp(id->bytes, hg_table_runtime, 16))
		*out = runtime;
	else if (!memcmp(id->bytes, strange_id, 16))
		*out = strange;
	else if (!memcmp(id->bytes, odd_id, 16))
		*out = odd;
	else if (!memcmp(id->bytes, contexts_id, 16))
		*out = contexts;
	else
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

static int nr_uncovered;

static void count(const char *kind, const char *what, void *arg)
{
	(void)kind;
	(void)arg;
	strncat(said, what, sizeof(said) - strlen(said) - 1);
	nr_uncovered++;
}

Test(native_tables, an_undescribed_one_notes_what_is_called_and_changes_nothing)
{
	uint64_t (*fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, double);
	const void *table, *again;
	void *const *t;

	hg_nv.cuGetExportTable = export_table;
	cr_assert_eq(hg_native_table(strange_id, &table), CUDA_SUCCESS);
	cr_expect_neq(table, (const void *)strange);
	cr_assert_eq(hg_native_table(strange_id, &again), CUDA_SUCCESS);
	cr_expect_eq(table, again);
	t = table;
	cr_expect_eq(t[0], (void *)sizeof(strange));
	cr_expect_eq(t[2], (void *)0x42, "what is no function is passed on as it is");
	hg_native_tables_uncovered(count, NULL);
	cr_expect_eq(nr_uncovered, 0, "asking is not calling");
	fn = (__typeof__(fn))t[3];
	cr_expect_eq(fn(1, 2, 3, 4, 5, 6, 7, 0.5), 1 + 4 + 9 + 16 + 25 + 36 + 49 + 4);
	hg_native_tables_uncovered(count, NULL);
	cr_expect_eq(nr_uncovered, 1);
	cr_expect(strstr(said, "function 3"));
	hg_msg_sink_set(sink, NULL);
	hg_native_tables_switch();
	cr_expect_eq((CUresult)fn(1, 2, 3, 4, 5, 6, 7, 0.5), CUDA_ERROR_NOT_SUPPORTED, "the driver is left");
	hg_msg_sink_set(NULL, NULL);
}

Test(native_tables, what_is_described_of_one_may_be_called)
{
	uint64_t (*known)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, double);
	__typeof__(known) unknown;
	void *const *t;
	const void *table;

	hg_nv.cuGetExportTable = export_table;
	cr_assert_eq(hg_native_table(contexts_id, &table), CUDA_SUCCESS);
	t = table;
	known = (__typeof__(known))t[4];
	unknown = (__typeof__(known))t[5];
	cr_expect_eq(known(1, 0, 0, 0, 0, 0, 0, 0), 1, "the driver's own");
	hg_native_tables_uncovered(count, NULL);
	cr_expect_eq(nr_uncovered, 0);
	cr_expect_eq(unknown(1, 0, 0, 0, 0, 0, 0, 0), 1);
	hg_native_tables_uncovered(count, NULL);
	cr_expect_eq(nr_uncovered, 1);
	cr_expect(strstr(said, "function 5"));
	hg_msg_sink_set(sink, NULL);
	hg_native_tables_switch();
	cr_expect_eq((CUresult)unknown(1, 0, 0, 0, 0, 0, 0, 0), CUDA_ERROR_NOT_SUPPORTED);
	cr_expect_eq((CUresult)known(1, 0, 0, 0, 0, 0, 0, 0), CUDA_ERROR_NOT_INITIALIZED, "hgshim's own, with nothing behind it here");
	hg_msg_sink_set(NULL, NULL);
}

Test(native_tables, one_without_a_size_is_passed_and_told)
{
	const void *table;

	hg_nv.cuGetExportTable = export_table;
	cr_assert_eq(hg_native_table(odd_id, &table), CUDA_SUCCESS);
	cr_expect_eq(table, (const void *)odd);
	hg_native_tables_uncovered(count, NULL);
	cr_expect_eq(nr_uncovered, 1);
}

Test(native_tables, what_the_driver_does_not_have_is_its_answer)
{
	const void *table = NULL;

	hg_nv.cuGetExportTable = export_table;
	cr_expect_eq(hg_native_table("nobody knows me", &table), CUDA_ERROR_INVALID_VALUE);
	cr_expect_null(table);
}

Test(native_tables, the_runtimes_keeps_its_address_and_gets_our_slots)
{
	const void *out;
	size_t nr;
	void **ours = hg_table_ours(hg_table_runtime, &nr);

	hg_nv.cuGetExportTable = export_table;
	cr_assert_eq(hg_native_table((const char *)hg_table_runtime, &out), CUDA_SUCCESS);
	cr_expect_eq(out, (const void *)runtime);
	cr_expect_eq(runtime[1], ours[1]);
	cr_expect_eq(runtime[2], ours[2]);
	cr_expect_eq(runtime[3], (void *)sum, "until the process leaves the driver");
	cr_expect_eq(hg_native_primary_ctx(0), (CUcontext)0x1234);
	cr_expect_null(hg_native_primary_ctx(1));
	hg_native_tables_switch();
	cr_expect_eq(runtime[3], ours[3]);
	cr_assert_eq(hg_table_get((const char *)hg_table_runtime, &out), CUDA_SUCCESS);
	cr_expect_eq(out, (const void *)runtime, "another runtime of the process hashes the same address");
}

/* ---- parameters ---- */

static CUresult func_param(CUfunction f, size_t i, size_t *offset, size_t *size)
{
	(void)f;
	if (i >= 3)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = 8 * i;
	*size = i == 1 ? 4 : 8;
	return CUDA_SUCCESS;
}

static CUresult no_param(CUkernel f, size_t i, size_t *offset, size_t *size)
{
	(void)f;
	(void)offset;
	(void)size;
	return i ? CUDA_ERROR_UNKNOWN : CUDA_ERROR_NOT_SUPPORTED;
}

Test(native_code, asks_the_driver_for_parameters)
{
	const struct hg_function f = { .handle = (void *)8 }, g = { .handle = (void *)16 }, k = { .handle = (void *)24, .is_kernel = true };
	const struct hg_kernel_info *a = NULL, *b = NULL, *c = NULL;

	hg_nv.cuFuncGetParamInfo = func_param;
	hg_nv.cuKernelGetParamInfo = no_param;
	cr_assert_eq(hg_native_kernel_info(&f, &a), HG_OK);
	cr_expect_eq(a->nr_params, 3);
	cr_expect_eq(a->param_bytes, 24);
	cr_expect_eq(a->params[1].offset, 8);
	cr_expect_eq(a->params[1].size, 4);
	cr_assert_eq(hg_native_kernel_info(&g, &b), HG_OK);
	cr_expect_eq(a, b, "one for each layout");
	cr_expect_neq(hg_native_kernel_info(&k, &c), HG_OK, "neither the driver nor an image tells");
	cr_expect_null(c);
}

/* ---- reading ---- */

static unsigned char device[9 << 20];
static int nr_copies, fail_copy, depth;
static CUresult push(CUcontext c) { (void)c; depth++; return CUDA_SUCCESS; }
static CUresult pop(CUcontext *c) { *c = NULL; depth--; return CUDA_SUCCESS; }
static CUresult stream_create(CUstream *s, unsigned int flags) { (void)flags; *s = (CUstream)0x10; return CUDA_SUCCESS; }
static CUresult stream_any(CUstream s) { (void)s; return CUDA_SUCCESS; }
static CUresult event_create(CUevent *e, unsigned int flags) { (void)flags; *e = (CUevent)0x20; return CUDA_SUCCESS; }
static CUresult event_any(CUevent e) { (void)e; return CUDA_SUCCESS; }
static CUresult event_record(CUevent e, CUstream s) { (void)e; (void)s; return CUDA_SUCCESS; }
static CUresult sync_any(void) { return CUDA_SUCCESS; }
static int nr_host;
static CUresult host_alloc(void **p, size_t n, unsigned int flags)
{
	(void)flags;
	*p = malloc(n);
	nr_host++;
	return CUDA_SUCCESS;
}
static CUresult host_free(void *p)
{
	free(p);
	nr_host--;
	return CUDA_SUCCESS;
}
static CUresult d2h(void *dst, CUdeviceptr src, size_t n, CUstream s)
{
	(void)s;
	if (++nr_copies == fail_copy)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	memcpy(dst, (void *)src, n);
	return CUDA_SUCCESS;
}
static CUresult error_name(CUresult r, const char **name)
{
	*name = r == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "?";
	return CUDA_SUCCESS;
}

static struct hg_region a_device(void)
{
	struct hg_entry ctx = { .id = 16, .handle = 0x1000, .kind = HG_KIND_CTX };

	for (size_t i = 0; i < sizeof(device); i++)
		device[i] = (unsigned char)(i * 31 + i / 4096);
	cr_assert(hg_ledger_add(&ctx));
	hg_nv.cuCtxPushCurrent_v2 = push;
	hg_nv.cuCtxPopCurrent_v2 = pop;
	hg_nv.cuStreamCreate = stream_create;
	hg_nv.cuStreamSynchronize = hg_nv.cuStreamDestroy_v2 = hg_nv.cuStreamQuery = stream_any;
	hg_nv.cuEventCreate = event_create;
	hg_nv.cuEventRecord = event_record;
	hg_nv.cuEventSynchronize = hg_nv.cuEventDestroy_v2 = hg_nv.cuEventQuery = event_any;
	hg_nv.cuMemHostAlloc = host_alloc;
	hg_nv.cuMemFreeHost = host_free;
	hg_nv.cuMemcpyDtoHAsync_v2 = d2h;
	hg_nv.cuCtxSynchronize = sync_any;
	hg_nv.cuGetErrorName = error_name;
	return (struct hg_region){ .addr = (uintptr_t)device, .size = sizeof(device) - 17, .kind = HG_REGION_DEVICE };
}

Test(native_state, reads_a_region_piece_by_piece)
{
	struct hg_region r = a_device(), small;
	unsigned char *got = malloc(r.size);

	for (uint64_t at = 0; at < r.size; at += 1 << 20)
		cr_assert_eq(hg_native_read(&r, got + at, at, r.size - at < 1 << 20 ? r.size - at : 1 << 20), HG_OK);
	cr_expect_eq(memcmp(got, device, r.size), 0);
	cr_expect_eq(nr_copies, 3, "each byte once");
	small = (struct hg_region){ .addr = (uintptr_t)device + 5, .size = 3, .kind = HG_REGION_DEVICE };
	cr_assert_eq(hg_native_read(&small, got, 0, 3), HG_OK);
	cr_expect_eq(memcmp(got, device + 5, 3), 0);
	hg_native_read_end();
	cr_expect_eq(nr_host, 0);
	cr_expect_eq(depth, 0);
	free(got);
}

Test(native_state, a_copy_that_fails_is_named)
{
	struct hg_region r = a_device();
	unsigned char got[16];

	fail_copy = 2;
	hg_msg_sink_set(sink, NULL);
	cr_expect_neq(hg_native_read(&r, got, 0, sizeof(got)), HG_OK);
	hg_native_read_end();
	hg_msg_sink_set(NULL, NULL);
	cr_expect(strstr(said, "cuMemcpyDtoHAsync_v2"), "%s", said);
	cr_expect(strstr(said, "CUDA_ERROR_ILLEGAL_ADDRESS"), "%s", said);
	cr_expect_eq(nr_host, 0);
	cr_expect_eq(depth, 0);
}

Test(native_state, host_memory_that_is_gone_is_an_error_and_no_crash)
{
	void *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct hg_region r = { .addr = (uintptr_t)p, .size = 8192, .kind = HG_REGION_REGISTERED };
	unsigned char got[8192];

	cr_expect_eq(hg_native_read(&r, got, 0, 8192), HG_OK);
	hg_msg_sink_set(sink, NULL);
	munmap((char *)p + 4096, 4096);
	/* what an earlier call left there says nothing about this one */
	errno = EPERM;
	cr_expect_neq(hg_native_read(&r, got, 0, 8192), HG_OK);
	munmap(p, 8192);
	cr_expect_neq(hg_native_read(&r, got, 0, 8192), HG_OK);
	hg_msg_sink_set(NULL, NULL);
}

Test(native_state, host_memory_is_read_without_the_system_call_that_filters_refuse)
{
	unsigned char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct hg_region r = { .addr = (uintptr_t)p, .size = 8192, .kind = HG_REGION_REGISTERED };
	unsigned char got[8192];

	setenv("HGSHIM_FAULT", "native_vm_read", 1);
	p[8000] = 7;
	cr_expect_eq(hg_native_read(&r, got, 0, 8192), HG_OK);
	cr_expect_eq(got[8000], 7);
	munmap(p + 4096, 4096);
	hg_msg_sink_set(sink, NULL);
	cr_expect_neq(hg_native_read(&r, got, 0, 8192), HG_OK);
	hg_msg_sink_set(NULL, NULL);
}

static CUresult busy(CUstream s)
{
	(void)s;
	return CUDA_ERROR_NOT_READY;
}

Test(native_state, queues_that_do_not_end_are_waited_for_so_long_and_no_longer)
{
	struct hg_entry stream = { .id = 17, .handle = 0x10, .kind = HG_KIND_STREAM, .parent = 16 };

	(void)a_device();
	cr_assert(hg_ledger_add(&stream));
	cr_expect_eq(hg_native_quiesce(50), HG_OK);
	hg_nv.cuStreamQuery = busy;
	cr_expect_eq(hg_native_quiesce(50), HG_ERR_TIMEOUT);
	cr_expect_eq(depth, 0);
}

static CUstream captured;
static int nr_records;

static CUresult is_capturing(CUstream s, CUstreamCaptureStatus *status)
{
	if (s == CU_STREAM_LEGACY && captured == CU_STREAM_LEGACY)
		return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	*status = s == captured ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
	return CUDA_SUCCESS;
}

static CUresult count_record(CUevent e, CUstream s)
{
	(void)e;
	(void)s;
	nr_records++;
	return CUDA_SUCCESS;
}

Test(native_state, a_stream_that_is_captured_is_left_alone)
{
	struct hg_entry stream = { .id = 17, .handle = 0x10, .kind = HG_KIND_STREAM, .parent = 16 };
	CUstream capturing[] = { (CUstream)0x10, CU_STREAM_LEGACY };

	(void)a_device();
	cr_assert(hg_ledger_add(&stream));
	hg_nv.cuStreamIsCapturing = is_capturing;
	hg_nv.cuEventRecord = count_record;
	hg_msg_sink_set(sink, NULL);
	for (int i = 0; i < 2; i++) {
		captured = capturing[i];
		said[0] = 0;
		cr_expect_eq(hg_native_quiesce(50), HG_ERR_REFUSED);
		cr_expect(strstr(said, "capturing"), "%s", said);
		cr_expect_eq(nr_records, 0, "an event in the legacy stream ends the capture");
		cr_expect_eq(depth, 0);
	}
	captured = NULL;
	cr_expect_eq(hg_native_quiesce(50), HG_OK);
	hg_msg_sink_set(NULL, NULL);
	cr_expect_eq(nr_records, 1);
}
