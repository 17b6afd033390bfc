/* tables.c - the undocumented tables of functions of the fake CUDA driver. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "intercept/handshake.h"
#include "tests/drivers/cuda/fake.h"

/*
 * What is known of them is in docs/interception.md. They are constant, and so lie in memory that the loader makes
 * read-only, as a real driver's may: whoever wants to change a slot has to make a copy or the page writable.
 */
#define SIZE(slots) ((const void *)(uintptr_t)((slots) * sizeof(void *)))

static CUresult not_supported(void)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

/* A primary context's handle exists whether it is active or not; asking does not make it so. */
static CUresult primary_context(CUcontext *out, CUdevice dev)
{
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	if (fake_state != CUDA_SUCCESS)
		return fake_state;
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	*out = (CUcontext)fake_primary[dev];
	return CUDA_SUCCESS;
}

static CUresult load_wrapper(CUmodule *module, const void *wrapper)
{
	return fake_cuModuleLoadData(module, wrapper);
}

static CUresult load_wrapper_more(CUmodule *module, const void *wrapper, void *a, void *b, unsigned int c)
{
	(void)a;
	(void)b;
	(void)c;
	return fake_cuModuleLoadData(module, wrapper);
}

static CUresult load_fatbin(const void *fatbin, CUmodule *module, void *a, void *b, unsigned int c)
{
	(void)a;
	(void)b;
	(void)c;
	return fake_cuModuleLoadData(module, fatbin);
}

static CUresult succeed(void)
{
	return CUDA_SUCCESS;
}

static const void *const runtime_table[13] = {
	SIZE(13), (void *)load_wrapper, (void *)primary_context, (void *)not_supported, (void *)not_supported,
	(void *)not_supported, (void *)load_wrapper_more, (void *)not_supported, (void *)load_fatbin,
	(void *)not_supported, (void *)not_supported, (void *)not_supported, (void *)succeed,
};

/* Which callbacks a tool wants: none. */
static uint32_t flags_a[1024], flags_b[14];

static CUresult tool_flags_a(void **flags, size_t *nr)
{
	*flags = flags_a;
	*nr = sizeof(flags_a) / sizeof(flags_a[0]);
	return CUDA_SUCCESS;
}

static CUresult tool_flags_b(void **flags, size_t *nr)
{
	*flags = flags_b;
	*nr = sizeof(flags_b) / sizeof(flags_b[0]);
	return CUDA_SUCCESS;
}

static const void *const tools_table[7] = {
	SIZE(7), (void *)not_supported, (void *)tool_flags_a, (void *)not_supported, (void *)not_supported,
	(void *)not_supported, (void *)tool_flags_b,
};

static CUresult current_context(CUcontext *out)
{
	return fake_cuCtxGetCurrent(out);
}

static const void *const tools_local_table[4] = {
	SIZE(4), (void *)not_supported, (void *)current_context, (void *)not_supported,
};

static CUresult context_id(CUcontext ctx, unsigned long long *id)
{
	return fake_cuCtxGetId(ctx, id);
}

static CUresult stream_id(CUcontext ctx, CUstream stream, unsigned long long *id)
{
	(void)ctx;
	return fake_cuStreamGetId(stream, id);
}

static CUresult stream_object(CUcontext ctx, CUstream stream, CUstream *out, int is_per_thread)
{
	(void)ctx;
	*out = stream ? stream : is_per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
	return CUDA_SUCCESS;
}

/* What cuBLAS uses of it. */
static const void *const contexts_table[94] = {
	SIZE(94), [1 ... 3] = (void *)not_supported, [4] = (void *)context_id, [5 ... 38] = (void *)not_supported,
	[39] = (void *)stream_id, [40 ... 50] = (void *)not_supported, [51] = (void *)stream_object,
	[52 ... 93] = (void *)not_supported,
};

/* No size in front. */
static const void *const local_table[4] = {
	(void *)fake_local_put, (void *)fake_local_delete, (void *)fake_local_get, (void *)not_supported,
};

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

static const void *const check_table[4] = {
	SIZE(4), (void *)not_supported, (void *)check_context, (void *)check_fork,
};

static CUresult checksum(uint32_t version, uint64_t seconds, uint64_t out[2]);
static const void *const checksum_table[3] = { SIZE(3), (void *)checksum, (void *)not_supported };

/* The runtime computes the same from what it was told: the version, the devices and these addresses. */
static CUresult checksum(uint32_t version, uint64_t seconds, uint64_t out[2])
{
	struct hg_handshake_device device[FAKE_MAX_DEVICES];
	struct hg_handshake h = {
		.driver_version = (uint32_t)fake_config.version,
		.version = version,
		.pid = (uint32_t)getpid(),
		.thread = (uint32_t)pthread_self(),
		.runtime_table = (uintptr_t)runtime_table,
		.checksum_table = (uintptr_t)checksum_table,
		.checksum_function = (uintptr_t)checksum,
		.unix_seconds = seconds,
	};

	for (CUdevice i = 0; i < fake_config.nr_devices; i++) {
		int domain = 0, bus = 0, slot = 0;
		CUuuid uuid;

		fake_cuDeviceGetUuid_v2(&uuid, i);
		fake_cuDeviceGetAttribute(&domain, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, i);
		fake_cuDeviceGetAttribute(&bus, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, i);
		fake_cuDeviceGetAttribute(&slot, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, i);
		memcpy(device[i].uuid, uuid.bytes, sizeof(uuid.bytes));
		device[i].pci_domain = domain;
		device[i].pci_bus = bus;
		device[i].pci_device = slot;
	}
	hg_handshake(&h, device, (size_t)fake_config.nr_devices, out);
	return CUDA_SUCCESS;
}

CUresult fake_table(const char uuid[16], const void **out)
{
	static const struct {
		unsigned char id[16];
		const void *const *table;
	} known[] = {
		{ { 0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9 },
		  runtime_table },
		{ { 0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74, 0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66 },
		  tools_table },
		{ { 0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47, 0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec, 0xdc },
		  tools_local_table },
		{ { 0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48, 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8, 0xf2 },
		  contexts_table },
		{ { 0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11, 0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95, 0x93 },
		  local_table },
		{ { 0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43, 0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d, 0xfa, 0x7e },
		  check_table },
		{ { 0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b, 0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1, 0xf2 },
		  checksum_table },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (memcmp(known[i].id, uuid, 16) != 0)
			continue;
		*out = known[i].table;
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_NOT_FOUND;
}
