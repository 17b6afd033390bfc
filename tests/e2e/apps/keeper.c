/* keeper.c - keeps every function pointer that it was ever given, and goes on using them. */
#include <cuda.h>
#include <cudaTypedefs.h>
#include <dlfcn.h>
#include "tests/apps/app.h"

/*
 *	keeper NAMES [options of app.h]
 *
 * NAMES is a file with a line "symbol base version" for each call that it is to look up. It prints every pointer it gets,
 * before the first round and after the last one:
 *
 *	POINTER first|last|kept HOW NAME ADDRESS
 *	SLOT first|last TABLE INDEX ADDRESS
 */
#define N 5003

static const char ptx[] =
	".version 7.0\n"
	".target sm_75\n"
	".address_size 64\n"
	".visible .global .align 4 .u32 rounds = 0;\n"
	".visible .entry turn(.param .u64 p_x, .param .u32 p_n, .param .u32 p_key)\n"
	"{\n"
	"	.reg .pred %p<3>;\n"
	"	.reg .b32 %r<10>;\n"
	"	.reg .b64 %rd<4>;\n"
	"	ld.param.u64 %rd1, [p_x];\n"
	"	ld.param.u32 %r1, [p_n];\n"
	"	ld.param.u32 %r2, [p_key];\n"
	"	mov.u32 %r3, %ctaid.x;\n"
	"	mov.u32 %r4, %ntid.x;\n"
	"	mov.u32 %r5, %tid.x;\n"
	"	mad.lo.s32 %r6, %r3, %r4, %r5;\n"
	"	setp.ne.u32 %p2, %r6, 0;\n"
	"	@%p2 bra work;\n"
	"	ld.global.u32 %r7, [rounds];\n"
	"	add.u32 %r7, %r7, 1;\n"
	"	st.global.u32 [rounds], %r7;\n"
	"work:\n"
	"	setp.ge.u32 %p1, %r6, %r1;\n"
	"	@%p1 bra done;\n"
	"	cvta.to.global.u64 %rd1, %rd1;\n"
	"	mul.wide.u32 %rd2, %r6, 4;\n"
	"	add.s64 %rd3, %rd1, %rd2;\n"
	"	ld.global.u32 %r8, [%rd3];\n"
	"	mad.lo.u32 %r8, %r8, 1664525, %r2;\n"
	"	st.global.u32 [%rd3], %r8;\n"
	"done:\n"
	"	ret;\n"
	"}\n";

/* What it works with. All are got in three ways: dlsym, by name, by name for per-thread default streams. */
#define CALLS(X)                                                                                   \
	X(cuInit, "cuInit", v2000)                                                                 \
	X(cuDriverGetVersion, "cuDriverGetVersion", v2020)                                         \
	X(cuDeviceGet, "cuDeviceGet", v2000)                                                       \
	X(cuDeviceGetAttribute, "cuDeviceGetAttribute", v2000)                                     \
	X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", v7000)                             \
	X(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", v11000)                       \
	X(cuCtxSetCurrent, "cuCtxSetCurrent", v4000)                                               \
	X(cuCtxGetCurrent, "cuCtxGetCurrent", v4000)                                               \
	X(cuCtxSynchronize, "cuCtxSynchronize", v2000)                                             \
	X(cuModuleLoadData, "cuModuleLoadData", v2000)                                             \
	X(cuModuleGetFunction, "cuModuleGetFunction", v2000)                                       \
	X(cuModuleGetGlobal, "cuModuleGetGlobal_v2", v3020)                                        \
	X(cuModuleUnload, "cuModuleUnload", v2000)                                                 \
	X(cuFuncGetAttribute, "cuFuncGetAttribute", v2020)                                         \
	X(cuMemAlloc, "cuMemAlloc_v2", v3020)                                                      \
	X(cuMemFree, "cuMemFree_v2", v3020)                                                        \
	X(cuMemGetAddressRange, "cuMemGetAddressRange_v2", v3020)                                  \
	X(cuMemGetInfo, "cuMemGetInfo_v2", v3020)                                                  \
	X(cuMemcpyHtoD, "cuMemcpyHtoD_v2", v3020)                                                  \
	X(cuMemcpyDtoH, "cuMemcpyDtoH_v2", v3020)                                                  \
	X(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", v3020)                                        \
	X(cuMemsetD32Async, "cuMemsetD32Async", v3020)                                             \
	X(cuStreamCreate, "cuStreamCreate", v2000)                                                 \
	X(cuStreamQuery, "cuStreamQuery", v2000)                                                   \
	X(cuStreamSynchronize, "cuStreamSynchronize", v2000)                                       \
	X(cuStreamDestroy, "cuStreamDestroy_v2", v4000)                                            \
	X(cuEventCreate, "cuEventCreate", v2000)                                                   \
	X(cuEventRecord, "cuEventRecord", v2000)                                                   \
	X(cuEventSynchronize, "cuEventSynchronize", v2000)                                         \
	X(cuEventDestroy, "cuEventDestroy_v2", v4000)                                              \
	X(cuPointerGetAttribute, "cuPointerGetAttribute", v4000)                                   \
	X(cuLaunchKernel, "cuLaunchKernel", v4000)                                                 \
	X(cuGetErrorName, "cuGetErrorName", v6000)                                                 \
	X(cuGetExportTable, "cuGetExportTable", v3000)                                             \
	X(cuGetProcAddress, "cuGetProcAddress_v2", v12000)

struct calls {
#define MEMBER(name, symbol, version) PFN_##name##_##version name;
	CALLS(MEMBER)
};
#define WAYS 3
static struct calls kept[WAYS];
static PFN_cuGetProcAddress_v11030 old_look_up;
static void *driver;

#define DRV(call)                                                                                  \
	do {                                                                                       \
		CUresult r_ = (call);                                                              \
                                                                                                   \
		if (r_ != CUDA_SUCCESS) {                                                          \
			fprintf(stderr, "%s:%d: %s: error %d\n", __FILE__, __LINE__, #call, (int)r_); \
			app_fail("a CUDA call failed");                                            \
		}                                                                                  \
	} while (0)

/* ---- pointers ---- */

static struct {
	char symbol[96], base[96];
	int version;
} name[1024];
static size_t nr_names;

static void read_names(const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f)
		app_fail("cannot read the names");
	while (nr_names < sizeof(name) / sizeof(name[0]) &&
	       fscanf(f, "%95s %95s %d", name[nr_names].symbol, name[nr_names].base, &name[nr_names].version) == 3)
		nr_names++;
	fclose(f);
	if (nr_names < 100)
		app_fail("too few names");
}

/* Every name in every way. By the function itself that look-up gives, too, after the first time. */
static void ask(const char *when)
{
	static const cuuint64_t flags[] = { CU_GET_PROC_ADDRESS_DEFAULT, CU_GET_PROC_ADDRESS_LEGACY_STREAM,
					    CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM };
	int newest = 0;

	DRV(kept[0].cuDriverGetVersion(&newest));
	for (size_t i = 0; i < nr_names; i++) {
		const int version[] = { name[i].version, newest };

		printf("POINTER %s dlsym %s %p\n", when, name[i].symbol, dlsym(driver, name[i].symbol));
		for (size_t v = 0; v < 2; v++)
			for (size_t k = 0; k < 3; k++) {
				CUdriverProcAddressQueryResult status;
				void *fn = NULL;

				DRV(kept[i % WAYS].cuGetProcAddress(name[i].base, &fn, version[v], flags[k], &status));
				if (!fn != (status != CU_GET_PROC_ADDRESS_SUCCESS))
					app_fail("the status of a look-up and its pointer disagree");
				printf("POINTER %s by-name:%d:%d %s %p\n", when, version[v], (int)flags[k], name[i].base, fn);
				fn = NULL;
				if (old_look_up(name[i].base, &fn, version[v], flags[k]) != CUDA_SUCCESS)
					fn = NULL;
				printf("POINTER %s by-old-name:%d:%d %s %p\n", when, version[v], (int)flags[k], name[i].base, fn);
			}
	}
#define SHOW(call, symbol, version_)                                                               \
	for (size_t w = 0; w < WAYS; w++)                                                          \
		printf("POINTER kept %zu %s %p\n", w, symbol, (void *)kept[w].call);
	CALLS(SHOW)
}

static void keep(void)
{
	driver = dlopen("libcuda.so.1", RTLD_NOW);
	if (!driver)
		app_fail("no driver");
#define BY_DLSYM(call, symbol, version) kept[0].call = (PFN_##call##_##version)dlsym(driver, symbol);
	CALLS(BY_DLSYM)
	old_look_up = (PFN_cuGetProcAddress_v11030)dlsym(driver, "cuGetProcAddress");
	for (size_t w = 1; w < WAYS; w++) {
		cuuint64_t flags = w == 1 ? CU_GET_PROC_ADDRESS_DEFAULT : CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
		CUdriverProcAddressQueryResult status;

#define BY_NAME(call, symbol, version)                                                             \
		DRV(kept[0].cuGetProcAddress(#call, (void **)&kept[w].call, atoi(#version + 1), flags, &status)); \
		if (!kept[w].call)                                                                 \
			app_fail(#call " is not found by name");
		CALLS(BY_NAME)
	}
}

/* ---- tables ---- */

/* What the CUDA runtime asks for, and one that no driver has. */
static const struct {
	const char *name;
	CUuuid id;
	int slots;
} tables[] = {
	{ "runtime", { { (char)0x6b, (char)0xd5, (char)0xfb, 0x6c, 0x5b, (char)0xf4, (char)0xe7, 0x4a,
			 (char)0x89, (char)0x87, (char)0xd9, 0x39, 0x12, (char)0xfd, (char)0x9d, (char)0xf9 } }, 13 },
	{ "tools", { { (char)0xa0, (char)0x94, 0x79, (char)0x8c, 0x2e, 0x74, 0x2e, 0x74,
		       (char)0x93, (char)0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66 } }, 7 },
	{ "tools-local", { { 0x42, (char)0xd8, 0x5a, (char)0x81, 0x23, (char)0xf6, (char)0xcb, 0x47,
			     (char)0x82, (char)0x98, (char)0xf6, (char)0xe7, (char)0x8a, 0x3a, (char)0xec, (char)0xdc } }, 4 },
	{ "local", { { (char)0xc6, (char)0x93, 0x33, 0x6e, 0x11, 0x21, (char)0xdf, 0x11,
		       (char)0xa8, (char)0xc3, 0x68, (char)0xf3, 0x55, (char)0xd8, (char)0x95, (char)0x93 } }, 4 },
	{ "check", { { 0x26, 0x3e, (char)0x88, 0x60, 0x7c, (char)0xd2, 0x61, 0x43,
		       (char)0x92, (char)0xf6, (char)0xbb, (char)0xd5, 0x00, 0x6d, (char)0xfa, 0x7e } }, 4 },
	{ "checksum", { { (char)0xd4, 0x08, 0x20, 0x55, (char)0xbd, (char)0xe6, 0x70, 0x4b,
			  (char)0x8d, 0x34, (char)0xba, 0x12, 0x3c, 0x66, (char)0xe1, (char)0xf2 } }, 3 },
};
#define NR_TABLES (sizeof(tables) / sizeof(tables[0]))
enum { RUNTIME, TOOLS, TOOLS_LOCAL, LOCAL };
static void *const *table[NR_TABLES];

static void show_tables(const char *when)
{
	for (size_t t = 0; t < NR_TABLES; t++) {
		const void *again = NULL;

		DRV(kept[t % WAYS].cuGetExportTable(&again, &tables[t].id));
		if (!table[t])
			table[t] = again;
		printf("TABLE %s %s %p\n", when, tables[t].name, again);
		for (int i = t == LOCAL ? 0 : 1; i < tables[t].slots; i++)
			printf("SLOT %s %s %d %p\n", when, tables[t].name, i, table[t][i]);
	}
}

static void forget(CUcontext context, void *key, void *value)
{
	(void)context;
	(void)key;
	++*(int *)value;
}

/* The functions in the tables, called through the addresses that were given first. */
static void use_tables(CUcontext context, int round)
{
	CUresult (*primary)(CUcontext *, CUdevice) = (CUresult (*)(CUcontext *, CUdevice))table[RUNTIME][2];
	CUresult (*put)(CUcontext, void *, void *, void (*)(CUcontext, void *, void *)) =
		(CUresult (*)(CUcontext, void *, void *, void (*)(CUcontext, void *, void *)))table[LOCAL][0];
	CUresult (*delete)(CUcontext, void *) = (CUresult (*)(CUcontext, void *))table[LOCAL][1];
	CUresult (*get)(void **, CUcontext, void *) = (CUresult (*)(void **, CUcontext, void *))table[LOCAL][2];
	CUresult (*flags)(void **, size_t *) = (CUresult (*)(void **, size_t *))table[TOOLS][2];
	static int forgotten, marker;
	CUcontext same = NULL;
	void *value = NULL;
	size_t n = 0;

	DRV(primary(&same, 0));
	if (same != context)
		app_fail("the primary context has another handle in the table");
	if (!round)
		DRV(put(context, &marker, &forgotten, forget));
	DRV(get(&value, context, &marker));
	if (value != &forgotten)
		app_fail("the context's storage has lost a value");
	DRV(put(NULL, &use_tables, &marker, NULL));
	DRV(get(&value, context, &use_tables));
	if (value != &marker)
		app_fail("the context's storage has another value");
	DRV(delete(context, &use_tables));
	if (get(&value, context, &use_tables) == CUDA_SUCCESS)
		app_fail("a deleted value is still there");
	DRV(flags(&value, &n));
	if (n != 1024)
		app_fail("the table of the tools has changed");
}

/* ---- work ---- */

/* Memory that is soon given back, so that there is some in every state. */
static void come_and_go(const struct calls *c, int round)
{
	CUdeviceptr p, base = 0;
	size_t size = 0;

	DRV(c->cuMemAlloc(&p, 1000 + 100 * (size_t)(round % 7)));
	DRV(c->cuMemsetD32Async(p, (unsigned int)round, 10, NULL));
	DRV(c->cuMemGetAddressRange(&base, &size, p + 8));
	if (base != p || size < 1000)
		app_fail("the range of an allocation is wrong");
	DRV(c->cuCtxSynchronize());
	DRV(c->cuMemFree(p));
}

int main(int argc, char **argv)
{
	static uint32_t host[N], got[N];
	uint32_t seed = 77, n = N, rounds = 0;
	CUcontext context, current;
	CUdeviceptr x, y, var;
	CUfunction turn;
	CUmodule module;
	CUdevice device;
	CUevent event;
	CUstream stream;
	size_t size;

	if (argc < 2)
		app_fail("usage: keeper NAMES [options]");
	read_names(argv[1]);
	app_args(argc - 1, argv + 1, 2000);
	keep();
	ask("first");
	DRV(kept[1].cuInit(0));
	DRV(kept[1].cuDeviceGet(&device, 0));
	DRV(kept[2].cuDevicePrimaryCtxRetain(&context, device));
	DRV(kept[2].cuCtxSetCurrent(context));
	show_tables("first");
	DRV(kept[0].cuModuleLoadData(&module, ptx));
	DRV(kept[1].cuModuleGetFunction(&turn, module, "turn"));
	DRV(kept[2].cuModuleGetGlobal(&var, &size, module, "rounds"));
	DRV(kept[0].cuMemAlloc(&x, sizeof(host)));
	DRV(kept[1].cuMemAlloc(&y, sizeof(host)));
	DRV(kept[2].cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	DRV(kept[0].cuEventCreate(&event, CU_EVENT_DEFAULT));
	for (int i = 0; i < N; i++)
		host[i] = app_random(&seed);
	DRV(kept[0].cuMemcpyHtoD(x, host, sizeof(host)));
	DRV(kept[0].cuMemcpyHtoD(y, host, sizeof(host)));
	app_buffer("x", (void *)(uintptr_t)x, sizeof(host));
	app_buffer("y", (void *)(uintptr_t)y, sizeof(host));
	app_buffer("rounds", (void *)(uintptr_t)var, 4);

	for (int r = 0; r < app.rounds; r++) {
		const struct calls *c = &kept[r % WAYS], *d = &kept[(r + 1) % WAYS];
		uint32_t key = (uint32_t)r * 2654435761u;
		void *params[] = { &x, &n, &key };
		unsigned int kind = 0;
		int registers = -1, value = 0;

		if (app_stops(r)) {
			DRV(c->cuCtxSynchronize());
			use_tables(context, r);
			app_stop(r);
		}
		DRV(c->cuLaunchKernel(turn, (N + 127) / 128, 1, 1, 128, 1, 1, 0, stream, params, NULL));
		DRV(c->cuEventRecord(event, stream));
		DRV(d->cuMemcpyDtoDAsync(y, x, sizeof(host), stream));
		if (d->cuStreamQuery(stream) == CUDA_ERROR_INVALID_HANDLE)
			app_fail("the stream's handle is not known any more");
		if (r % 16 == 0) {
			DRV(d->cuEventSynchronize(event));
			come_and_go(d, r);
			DRV(d->cuCtxGetCurrent(&current));
			DRV(c->cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, y));
			DRV(d->cuFuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, turn));
			DRV(c->cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, device));
			if (current != context || kind != CU_MEMORYTYPE_DEVICE || registers < 0 || value != 32)
				app_fail("what the driver says of the context, the memory, the kernel or the device has changed");
		}
	}
	DRV(kept[1].cuStreamSynchronize(stream));
	use_tables(context, app.rounds);
	ask("last");
	show_tables("last");

	for (int r = 0; r < app.rounds; r++)
		for (int i = 0; i < N; i++)
			host[i] = host[i] * 1664525u + (uint32_t)r * 2654435761u;
	DRV(kept[0].cuMemcpyDtoH(got, y, sizeof(got)));
	DRV(kept[2].cuMemcpyDtoH(&rounds, var, 4));
	for (int i = 0; i < N; i++)
		APP_EQUAL(got[i], host[i], i);
	APP_EQUAL(rounds, (uint32_t)app.rounds, 0);
	DRV(kept[2].cuEventDestroy(event));
	DRV(kept[0].cuStreamDestroy(stream));
	DRV(kept[1].cuMemFree(x));
	DRV(kept[2].cuMemFree(y));
	DRV(kept[1].cuModuleUnload(module));
	DRV(kept[0].cuDevicePrimaryCtxRelease(device));
	return app_pass(app_sum(app_sum(0, got, sizeof(got)), &rounds, 4));
}
