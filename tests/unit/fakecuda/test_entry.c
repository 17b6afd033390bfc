/* test_entry.c - symbols, look-up, counters, injected errors, and the process around the fake CUDA driver. */
#include "fake_test.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *name, *base;
	int version;
	bool per_thread;
} row[] = {
#define PLAIN false
#define PTSZ true
#define PTDS true
#define HG_SYM(sym, plain, base, version, flavour, params, args) { #sym, #base, version, flavour },
#include "intercept/symbols.def"
};

Test(entry, exports_every_symbol)
{
	LOAD();
	for (size_t i = 0; i < HG_SYM_COUNT; i++)
		cr_expect(dlsym(cu_library, row[i].name), "'%s' is missing", row[i].name);
}

Test(entry, look_up_gives_the_address_of_the_exported_symbol)
{
	CUdriverProcAddressQueryResult status;

	LOAD();
	for (size_t i = 0; i < HG_SYM_COUNT; i++) {
		void *p = NULL;

		OK(cu.cuGetProcAddress_v2(row[i].base, &p, row[i].version,
					  row[i].per_thread ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM : 0, &status));
		cr_expect_eq(status, CU_GET_PROC_ADDRESS_SUCCESS);
		cr_expect_eq(p, dlsym(cu_library, row[i].name), "'%s'", row[i].name);
	}
}

Test(entry, look_up_says_why_there_is_nothing)
{
	CUdriverProcAddressQueryResult status;
	void *p = &p;

	LOAD();
	OK(cu.cuGetProcAddress_v2("cuKernelGetParamInfo", &p, 12000, 0, &status));
	cr_assert_null(p);
	cr_assert_eq(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	OK(cu.cuGetProcAddress_v2("cuNothing", &p, 12000, 0, &status));
	cr_assert_null(p);
	cr_assert_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	GIVES(CUDA_ERROR_NOT_FOUND, cu.cuGetProcAddress("cuNothing", &p, 12000, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuGetProcAddress("cuInit", &p, 99999, 0));
}

Test(entry, a_driver_of_an_older_version_lacks_newer_calls)
{
	CUdriverProcAddressQueryResult status;
	int version;
	void *p;

	LOAD("VERSION=12030");
	OK(cu.cuDriverGetVersion(&version));
	cr_assert_eq(version, 12030);
	OK(cu.cuGetProcAddress_v2("cuFuncGetParamInfo", &p, 12030, 0, &status));
	cr_assert_null(p);
	cr_assert_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

Test(entry, parameters_can_be_kept_secret)
{
	CUdriverProcAddressQueryResult status;
	size_t offset, size;
	CUfunction f;
	void *p;

	START("NO_PARAM_INFO=1");
	OK(cu.cuGetProcAddress_v2("cuFuncGetParamInfo", &p, 13000, 0, &status));
	cr_assert_null(p);
	f = function(load_module(), "fill");
	GIVES(CUDA_ERROR_NOT_SUPPORTED, cu.cuFuncGetParamInfo(f, 0, &offset, &size));
}

Test(entry, says_what_it_is)
{
	char name[64];

	START();
	OK(cu.cuDeviceGetName(name, sizeof(name), 0));
	cr_assert_str_eq(name, "Fake NVIDIA GPU (test double)");
}

Test(entry, nothing_works_before_init)
{
	CUcontext ctx;
	int n;

	LOAD();
	GIVES(CUDA_ERROR_NOT_INITIALIZED, cu.cuDeviceGetCount(&n));
	GIVES(CUDA_ERROR_NOT_INITIALIZED, cu.cuDevicePrimaryCtxRetain(&ctx, 0));
	GIVES(CUDA_ERROR_NOT_INITIALIZED, cu.cuCtxGetCurrent(&ctx));
	GIVES(CUDA_ERROR_INVALID_VALUE, cu.cuInit(1));
	OK(cu.cuInit(0));
	OK(cu.cuInit(0));
	OK(cu.cuDeviceGetCount(&n));
}

Test(entry, without_devices_there_is_no_driver)
{
	LOAD("DEVICES=0");
	GIVES(CUDA_ERROR_NO_DEVICE, cu.cuInit(0));
}

Test(entry, what_is_not_implemented_says_so)
{
	CUgraph graph;

	START();
	GIVES(CUDA_ERROR_NOT_SUPPORTED, cu.cuGraphCreate(&graph, 0));
}

static struct fake_counter *counters(const char *path)
{
	int fd = open(path, O_RDWR);
	struct fake_counter *c;

	cr_assert_geq(fd, 0);
	c = mmap(NULL, HG_SYM_COUNT * sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(c, MAP_FAILED);
	close(fd);
	unlink(path);
	return c;
}

Test(entry, calls_are_counted_and_fail_when_asked_to)
{
	const char *path = temporary("control");
	struct fake_counter *c;
	CUdeviceptr p = 1;
	char knob[300];

	snprintf(knob, sizeof(knob), "CONTROL=%s", path);
	START(knob);
	c = counters(path);
	for (size_t i = 0; i < HG_SYM_COUNT; i++)
		cr_assert_str_eq(c[i].name, row[i].name);
	cr_assert_eq(c[HG_SYM_cuInit].calls, 1);
	cr_assert_eq(c[HG_SYM_cuMemAlloc_v2].calls, 0);
	c[HG_SYM_cuMemAlloc_v2].error = CUDA_ERROR_OUT_OF_MEMORY;
	c[HG_SYM_cuMemAlloc_v2].fail_in = 3;
	OK(cu.cuMemAlloc_v2(&p, 4));
	OK(cu.cuMemAlloc_v2(&p, 4));
	p = 1;
	GIVES(CUDA_ERROR_OUT_OF_MEMORY, cu.cuMemAlloc_v2(&p, 4));
	cr_assert_eq(p, 1);
	OK(cu.cuMemAlloc_v2(&p, 4));
	cr_assert_eq(c[HG_SYM_cuMemAlloc_v2].calls, 4);
	cr_assert_eq(c[HG_SYM_cuMemAlloc_v2].fail_in, 0);
}

Test(entry, a_flavoured_symbol_is_counted_for_itself)
{
	const char *path = temporary("control");
	struct fake_counter *c;
	char knob[300];

	snprintf(knob, sizeof(knob), "CONTROL=%s", path);
	START(knob);
	c = counters(path);
	OK(cu.cuStreamSynchronize_ptsz(NULL));
	cr_assert_eq(c[HG_SYM_cuStreamSynchronize_ptsz].calls, 1);
	cr_assert_eq(c[HG_SYM_cuStreamSynchronize].calls, 0);
	c[HG_SYM_cuStreamSynchronize_ptsz].error = CUDA_ERROR_UNKNOWN;
	c[HG_SYM_cuStreamSynchronize_ptsz].fail_in = 1;
	OK(cu.cuStreamSynchronize(NULL));
	GIVES(CUDA_ERROR_UNKNOWN, cu.cuStreamSynchronize_ptsz(NULL));
}

Test(entry, a_forked_child_has_no_driver)
{
	int status, n;
	pid_t pid;

	START();
	pid = fork();
	if (!pid)
		_exit(cu.cuDeviceGetCount(&n) == CUDA_ERROR_NOT_INITIALIZED && cu.cuInit(0) == CUDA_ERROR_NOT_INITIALIZED ?
		      0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	OK(cu.cuDeviceGetCount(&n));
}

static void at_the_end(void)
{
	int n;

	_exit(cu.cuDeviceGetCount(&n) == CUDA_ERROR_DEINITIALIZED ? 0 : 1);
}

Test(entry, at_exit_the_driver_is_gone)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		atexit(at_the_end);	/* runs after what cuInit registers */
		START();
		exit(2);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0);
}

/* ---- the undocumented tables ---- */

static const CUuuid runtime_id = { { 0x6b, (char)0xd5, (char)0xfb, 0x6c, 0x5b, (char)0xf4, (char)0xe7, 0x4a, (char)0x89,
				     (char)0x87, (char)0xd9, 0x39, 0x12, (char)0xfd, (char)0x9d, (char)0xf9 } };
static const CUuuid local_id = { { (char)0xc6, (char)0x93, 0x33, 0x6e, 0x11, 0x21, (char)0xdf, 0x11, (char)0xa8,
				   (char)0xc3, 0x68, (char)0xf3, 0x55, (char)0xd8, (char)0x95, (char)0x93 } };

/* "r--p" and the like of the mapping that holds the address. */
static void permissions(const void *p, char out[5])
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long lo, hi;
	char line[512], perm[5];

	strcpy(out, "none");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %4s", &lo, &hi, perm) == 3 && lo <= (uintptr_t)p && (uintptr_t)p < hi)
			strcpy(out, perm);
	fclose(f);
}

Test(tables, lie_in_memory_that_cannot_be_written)
{
	const void *table;
	char perm[5];

	LOAD();
	OK(cu.cuGetExportTable(&table, &runtime_id));
	permissions(table, perm);
	cr_assert_str_eq(perm, "r--p");
	cr_assert_eq(((const size_t *)table)[0], 13 * sizeof(void *));
}

Test(tables, the_primary_context_has_a_handle_before_it_is_active)
{
	CUresult (*get)(CUcontext *out, CUdevice dev);
	CUcontext early, ctx;
	const void *table;
	unsigned int flags;
	int active;

	LOAD();
	OK(cu.cuGetExportTable(&table, &runtime_id));
	*(const void **)&get = ((const void *const *)table)[2];
	OK(cu.cuInit(0));
	OK(get(&early, 0));
	OK(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
	cr_assert_not(active);
	OK(cu.cuDevicePrimaryCtxRetain(&ctx, 0));
	cr_assert_eq(ctx, early);
	OK(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
	cr_assert(active);
}

static int nr_destroyed;

static void count_destroyed(CUcontext ctx, void *key, void *value)
{
	(void)ctx;
	(void)key;
	nr_destroyed += *(int *)value;
}

Test(tables, storage_in_a_context_ends_with_it)
{
	CUresult (*put)(CUcontext, void *, void *, void (*)(CUcontext, void *, void *));
	CUresult (*del)(CUcontext, void *);
	CUresult (*get)(void **, CUcontext, void *);
	static int key, other, value = 3;
	CUcontext ctx = START();
	const void *table;
	void *got;

	OK(cu.cuGetExportTable(&table, &local_id));
	*(const void **)&put = ((const void *const *)table)[0];
	*(const void **)&del = ((const void *const *)table)[1];
	*(const void **)&get = ((const void *const *)table)[2];
	GIVES(CUDA_ERROR_INVALID_HANDLE, get(&got, ctx, &key));
	OK(put(ctx, &key, &value, count_destroyed));
	OK(put(NULL, &other, &value, count_destroyed));
	OK(get(&got, NULL, &key));
	cr_assert_eq(got, &value);
	OK(get(&got, ctx, &other));
	OK(del(ctx, &other));
	GIVES(CUDA_ERROR_INVALID_HANDLE, get(&got, ctx, &other));
	OK(cu.cuDevicePrimaryCtxReset_v2(0));
	cr_assert_eq(nr_destroyed, 3);
	GIVES(CUDA_ERROR_INVALID_HANDLE, get(&got, ctx, &key));
}
