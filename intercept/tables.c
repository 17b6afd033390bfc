/* tables.c - the undocumented tables of functions that the CUDA runtime asks its driver for. */
#define _GNU_SOURCE
#include "intercept/tables.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "intercept/frame.h"
#include "intercept/handshake.h"

/*
 * A table is an array of pointers; its slot 0 is the size in bytes, but for context-local storage, where it is
 * a function. What is known of each slot is in docs/interception.md.
 */
#define SIZE(table) ((void *)(uintptr_t)sizeof(table))

static CUresult nothing(void)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

/* ---- 6bd5fb6c: what the runtime alone may do ---- */

/* Whether or not it is active; asking may not make it so. */
CUresult hg_primary_context(CUcontext *out, CUdevice dev)
{
	const struct hg_executor *e = hg_shim_executor();
	struct hg_frame f;
	CUcontext ctx;

	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	if (!e || !hg_frame_enter(&f))
		return CUDA_ERROR_NOT_INITIALIZED;
	ctx = hg_shim_executor()->primary_ctx(dev);
	hg_frame_leave(&f);
	if (!ctx)
		return CUDA_ERROR_INVALID_DEVICE;
	*out = ctx;
	return CUDA_SUCCESS;
}

/* Runtimes up to CUDA 11 load their fatbins here. */
static CUresult load_wrapper(CUmodule *module, const void *wrapper)
{
	return cuModuleLoadData(module, wrapper);
}

static CUresult load_wrapper_more(CUmodule *module, const void *wrapper, void *unused1, void *unused2, unsigned int unused3)
{
	(void)unused1;
	(void)unused2;
	(void)unused3;
	return cuModuleLoadData(module, wrapper);
}

static CUresult load_fatbin(const void *fatbin, CUmodule *module, void *unused1, void *unused2, unsigned int unused3)
{
	(void)unused1;
	(void)unused2;
	(void)unused3;
	return cuModuleLoadData(module, fatbin);
}

static CUresult load_compilers(void)
{
	return CUDA_SUCCESS;
}

static void *runtime_table[13] = {
	SIZE(runtime_table), (void *)load_wrapper, (void *)hg_primary_context, (void *)nothing, (void *)nothing,
	(void *)nothing, (void *)load_wrapper_more, (void *)nothing, (void *)load_fatbin, (void *)nothing,
	(void *)nothing, (void *)nothing, (void *)load_compilers,
};

/* ---- a094798c: flags by which tools ask the runtime for callbacks; none are set ---- */

static uint32_t tool_flags_a[1024], tool_flags_b[14];

static CUresult get_tool_flags_a(void **buf, size_t *n)
{
	*buf = tool_flags_a;
	*n = sizeof(tool_flags_a) / sizeof(tool_flags_a[0]);
	return CUDA_SUCCESS;
}

static CUresult get_tool_flags_b(void **buf, size_t *n)
{
	*buf = tool_flags_b;
	*n = sizeof(tool_flags_b) / sizeof(tool_flags_b[0]);
	return CUDA_SUCCESS;
}

static void *tools_table[7] = {
	SIZE(tools_table), (void *)nothing, (void *)get_tool_flags_a, (void *)nothing, (void *)nothing, (void *)nothing,
	(void *)get_tool_flags_b,
};

/* ---- 42d85a81: of tools; the runtime asks for its presence, cuBLASLt for the thread's context ---- */

static CUresult current_context(CUcontext *out)
{
	return cuCtxGetCurrent(out);
}

static void *tools_local_table[4] = {
	SIZE(tools_local_table), (void *)nothing, (void *)current_context, (void *)nothing,
};

/* ---- c693336e: context-local storage ---- */

static void *local_table[4] = {
	(void *)hg_local_put, (void *)hg_local_delete, (void *)hg_local_get, (void *)nothing,
};

/* ---- 263e8860: checks of a context ---- */

static CUresult check_context(CUcontext ctx, uint32_t *result, void **more)
{
	(void)ctx;
	(void)more;
	if (!result)
		return CUDA_ERROR_INVALID_VALUE;
	*result = 0;
	return CUDA_SUCCESS;
}

static uint32_t check_fork(void)
{
	return 0;
}

static void *check_table[4] = { SIZE(check_table), (void *)nothing, (void *)check_context, (void *)check_fork };

/* ---- da9151d3: the cache of compiled code that the driver keeps for NVRTC and nvJitLink. Both compile without it ---- */

static void *compile_cache_table[7] = {
	SIZE(compile_cache_table), (void *)nothing, (void *)nothing, (void *)nothing, (void *)nothing, (void *)nothing,
	(void *)nothing,
};

/* ---- d4082055: the checksum ---- */

static CUresult checksum(uint32_t version, uint64_t unix_seconds, uint64_t out[2]);
static void *checksum_table[3] = { SIZE(checksum_table), (void *)checksum, (void *)nothing };
/* Where the application has these two: ours, or the driver's that it began with. */
static const void *runtime_address = runtime_table, *checksum_address = checksum_table;

static int attribute(CUdevice dev, CUdevice_attribute what)
{
	int v = 0;

	if (hg_real[0].cuDeviceGetAttribute(&v, what, dev) != CUDA_SUCCESS)
		return 0;
	return v;
}

static CUresult checksum(uint32_t version, uint64_t unix_seconds, uint64_t out[2])
{
	struct hg_handshake_device device[HG_HANDSHAKE_MAX_DEVICES];
	struct hg_handshake h;
	int nr_devices = 0, driver_version = 0;

	if (!hg_real[0].cuDeviceGetCount || !hg_real[0].cuDeviceGetAttribute ||
	    cuDriverGetVersion(&driver_version) != CUDA_SUCCESS || hg_real[0].cuDeviceGetCount(&nr_devices) != CUDA_SUCCESS)
		return CUDA_ERROR_NOT_INITIALIZED;
	memset(device, 0, sizeof(device));
	for (CUdevice i = 0; i < nr_devices && i < HG_HANDSHAKE_MAX_DEVICES; i++) {
		CUuuid uuid = { { 0 } };

		if (hg_real[0].cuDeviceGetUuid_v2)
			(void)hg_real[0].cuDeviceGetUuid_v2(&uuid, i);
		memcpy(device[i].uuid, uuid.bytes, sizeof(device[i].uuid));
		device[i].pci_domain = attribute(i, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID);
		device[i].pci_bus = attribute(i, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID);
		device[i].pci_device = attribute(i, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID);
	}
	h = (struct hg_handshake){
		.driver_version = (uint32_t)driver_version,
		.version = version,
		.pid = (uint32_t)getpid(),
		.thread = (uint32_t)pthread_self(),
		.runtime_table = (uintptr_t)runtime_address,
		.checksum_table = (uintptr_t)checksum_address,
		.checksum_function = (uintptr_t)checksum,
		.unix_seconds = unix_seconds,
	};
	hg_handshake(&h, device, (size_t)nr_devices, out);
	return CUDA_SUCCESS;
}

/* ---- any other ---- */

static CUresult unknown_function(void)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&said))
		pr_warn("the program called a function of an undocumented table: it gets CUDA_ERROR_NOT_SUPPORTED");
	return CUDA_ERROR_NOT_SUPPORTED;
}

#define NR_UNKNOWN 128
static void *unknown_table[NR_UNKNOWN];

/* ---- 21318c60: of contexts and streams; of its 94 functions those are known by which cuBLAS tells one from another ---- */

static CUresult context_id(CUcontext ctx, unsigned long long *id)
{
	return cuCtxGetId(ctx, id);
}

static CUresult stream_id(CUcontext ctx, CUstream stream, unsigned long long *id)
{
	(void)ctx;
	return cuStreamGetId(stream, id);
}

/* The driver's own object for what a program gives as a stream; here that is a handle, and the default streams have one. */
static CUresult stream_object(CUcontext ctx, CUstream stream, CUstream *out, int is_per_thread)
{
	(void)ctx;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = stream ? stream : is_per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
	return CUDA_SUCCESS;
}

/* ---- 6e163fbe: of modules; cuFFT has the one function of each of its modules named ---- */

static unsigned int module_functions(CUcontext ctx, CUmodule module, void (*each)(void *arg, CUfunction f), void *arg)
{
	CUfunction *functions;
	unsigned int nr;

	(void)ctx;
	if (!each || cuModuleGetFunctionCount(&nr, module) != CUDA_SUCCESS)
		return 0;
	functions = calloc(nr + 1, sizeof(*functions));
	if (!functions || cuModuleEnumerateFunctions(functions, nr, module) != CUDA_SUCCESS)
		nr = 0;
	for (unsigned int i = 0; i < nr; i++)
		each(arg, functions[i]);
	free(functions);
	return nr;
}

/* The described slots of tables of which most are not. */
static const unsigned char contexts_id[16] = {
	0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48, 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8, 0xf2,
};
static const unsigned char modules_id[16] = {
	0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d, 0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99, 0x1e,
};
static void *contexts_table[NR_UNKNOWN], *modules_table[NR_UNKNOWN];

static const struct {
	const unsigned char *id;
	void **table;
	size_t slot;
	void *function;
} described[] = {
	{ contexts_id, contexts_table, 4, (void *)context_id },
	{ contexts_id, contexts_table, 39, (void *)stream_id },
	{ contexts_id, contexts_table, 51, (void *)stream_object },
	{ modules_id, modules_table, 7, (void *)module_functions },
};
#define NR_DESCRIBED (sizeof(described) / sizeof(described[0]))

static void make_unknown_tables(void)
{
	for (size_t i = 1; i < NR_UNKNOWN; i++)
		unknown_table[i] = contexts_table[i] = modules_table[i] = (void *)unknown_function;
	unknown_table[0] = contexts_table[0] = modules_table[0] = SIZE(unknown_table);
	for (size_t i = 0; i < NR_DESCRIBED; i++)
		described[i].table[described[i].slot] = described[i].function;
}

/* Says each one once, as far as eight go. */
static void tell_unknown(const unsigned char *id)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static unsigned char told[8][16];
	static size_t nr_told;
	char text[33];

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < nr_told; i++)
		if (!memcmp(told[i], id, 16))
			goto out;
	if (nr_told < 8) {
		memcpy(told[nr_told++], id, 16);
		for (int i = 0; i < 16; i++)
			snprintf(text + 2 * i, 3, "%02x", id[i]);
		pr_warn("the program asked for the undocumented table %s: it gets one whose functions do nothing", text);
	}
out:
	pthread_mutex_unlock(&lock);
}

const unsigned char hg_table_runtime[16] = {
	0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9,
};
const unsigned char hg_table_local[16] = {
	0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11, 0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95, 0x93,
};
const unsigned char hg_table_checksum[16] = {
	0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b, 0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1, 0xf2,
};
static const unsigned char tools_id[16] = {
	0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74, 0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66,
};
static const unsigned char tools_local_id[16] = {
	0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47, 0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec, 0xdc,
};
static const unsigned char check_id[16] = {
	0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43, 0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d, 0xfa, 0x7e,
};
static const unsigned char compile_cache_id[16] = {
	0xda, 0x91, 0x51, 0xd3, 0x3a, 0xe6, 0xcc, 0x41, 0xa5, 0xc0, 0x4f, 0x26, 0xd5, 0x33, 0xe3, 0x28,
};
/* asked for first, before cuInit; "not found" is an answer that the runtime takes */
static const unsigned char first_id[16] = {
	0xf8, 0xcf, 0xf9, 0x51, 0x21, 0x46, 0x8b, 0x4e, 0xb9, 0xe2, 0xfb, 0x46, 0x9e, 0x7c, 0x0d, 0xd9,
};

static const struct {
	const unsigned char *id;
	void **table;
	size_t nr_slots;
} known[] = {
#define KNOWN(id, table) { id, table, sizeof(table) / sizeof((table)[0]) }
	KNOWN(hg_table_runtime, runtime_table),
	KNOWN(tools_id, tools_table),
	KNOWN(tools_local_id, tools_local_table),
	KNOWN(hg_table_local, local_table),
	KNOWN(check_id, check_table),
	KNOWN(compile_cache_id, compile_cache_table),
	KNOWN(hg_table_checksum, checksum_table),
#undef KNOWN
};

void **hg_table_ours(const unsigned char uuid[16], size_t *nr_slots)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!memcmp(known[i].id, uuid, 16)) {
			*nr_slots = known[i].nr_slots;
			return known[i].table;
		}
	return NULL;
}

bool hg_table_is_known(const unsigned char uuid[16])
{
	size_t nr;

	return hg_table_ours(uuid, &nr);
}

void *hg_table_function(const unsigned char uuid[16], size_t slot)
{
	size_t nr = 0;
	void **ours = hg_table_ours(uuid, &nr);

	if (slot && slot < nr)
		return ours[slot];
	for (size_t i = 0; i < NR_DESCRIBED; i++)
		if (described[i].slot == slot && !memcmp(uuid, described[i].id, 16))
			return described[i].function;
	return NULL;
}

void hg_table_addresses(const void *runtime, const void *checksum_)
{
	if (runtime)
		runtime_address = runtime;
	if (checksum_)
		checksum_address = checksum_;
}

CUresult hg_table_get(const char uuid[16], const void **out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	size_t nr;
	void **table;

	if (!memcmp(uuid, first_id, 16)) {
		*out = NULL;
		return CUDA_ERROR_NOT_FOUND;
	}
	if (!memcmp(uuid, hg_table_runtime, 16) || !memcmp(uuid, hg_table_checksum, 16)) {
		*out = memcmp(uuid, hg_table_runtime, 16) ? checksum_address : runtime_address;
		return CUDA_SUCCESS;
	}
	table = hg_table_ours((const unsigned char *)uuid, &nr);
	if (table) {
		*out = table;
		return CUDA_SUCCESS;
	}
	pthread_once(&once, make_unknown_tables);
	for (size_t i = 0; i < NR_DESCRIBED; i++)
		if (!memcmp(uuid, described[i].id, 16)) {
			*out = described[i].table;
			return CUDA_SUCCESS;
		}
	tell_unknown((const unsigned char *)uuid);
	*out = unknown_table;
	return CUDA_SUCCESS;
}
