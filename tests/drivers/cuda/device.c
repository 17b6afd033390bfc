/* device.c - the devices of the fake CUDA driver, and the names of errors. */
#include <stdio.h>
#include <string.h>

#include "tests/drivers/cuda/fake.h"

#define NAME "Fake NVIDIA GPU (test double)"
#define FIRST_BUS 0x17

CUresult fake_cuGetErrorName(CUresult error, const char **text)
{
	if (!text)
		return CUDA_ERROR_INVALID_VALUE;
	switch (error) {
#define HG_CUDA_ERROR(name, string)	\
	case name:			\
		*text = #name;		\
		return CUDA_SUCCESS;
#include "replay/errors.def"
	}
	*text = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuGetErrorString(CUresult error, const char **text)
{
	if (!text)
		return CUDA_ERROR_INVALID_VALUE;
	switch (error) {
#define HG_CUDA_ERROR(name, string)	\
	case name:			\
		*text = string;		\
		return CUDA_SUCCESS;
#include "replay/errors.def"
	}
	*text = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

static CUresult check(const void *out, CUdevice dev)
{
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	return fake_is_device(dev) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult fake_cuDeviceGetCount(int *count)
{
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = fake_config.nr_devices;
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGet(CUdevice *dev, int ordinal)
{
	CUresult r = check(dev, ordinal);

	if (r == CUDA_SUCCESS)
		*dev = ordinal;
	return r;
}

CUresult fake_cuDeviceGetName(char *name, int size, CUdevice dev)
{
	CUresult r = check(name, dev);

	if (r != CUDA_SUCCESS)
		return r;
	if (size <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(name, (size_t)size, "%s", NAME);
	return CUDA_SUCCESS;
}

/* Random once, the same ever since: a device keeps its UUID. */
CUresult fake_cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
	static const unsigned char first[16] = { 0x8c, 0x1d, 0xf3, 0x52, 0x0e, 0x67, 0x4b, 0xa9,
						 0x91, 0x3e, 0x5d, 0xc8, 0x72, 0x26, 0xfa, 0x40 };
	CUresult r = check(uuid, dev);

	if (r != CUDA_SUCCESS)
		return r;
	memcpy(uuid->bytes, first, sizeof(first));
	uuid->bytes[15] = (char)(uuid->bytes[15] + dev);
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	return fake_cuDeviceGetUuid_v2(uuid, dev);
}

CUresult fake_cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
	CUresult r = check(bytes, dev);

	if (r == CUDA_SUCCESS)
		*bytes = fake_config.memory;
	return r;
}

/* As a data-centre GPU of compute capability 9.0 says, without what this driver does not have. */
static int attribute(CUdevice_attribute what, CUdevice dev)
{
	static const struct {
		CUdevice_attribute what;
		int value;
	} known[] = {
#define A(name, value) { CU_DEVICE_ATTRIBUTE_##name, value },
		A(MAX_THREADS_PER_BLOCK, 1024)
		A(MAX_BLOCK_DIM_X, 1024)
		A(MAX_BLOCK_DIM_Y, 1024)
		A(MAX_BLOCK_DIM_Z, 64)
		A(MAX_GRID_DIM_X, 2147483647)
		A(MAX_GRID_DIM_Y, 65535)
		A(MAX_GRID_DIM_Z, 65535)
		A(MAX_SHARED_MEMORY_PER_BLOCK, 49152)
		A(TOTAL_CONSTANT_MEMORY, 65536)
		A(WARP_SIZE, 32)
		A(MAX_PITCH, 2147483647)
		A(MAX_REGISTERS_PER_BLOCK, 65536)
		A(CLOCK_RATE, 1980000)
		A(TEXTURE_ALIGNMENT, 512)
		A(GPU_OVERLAP, 1)
		A(CAN_MAP_HOST_MEMORY, 1)
		A(MAXIMUM_TEXTURE1D_WIDTH, 131072)
		A(MAXIMUM_TEXTURE2D_WIDTH, 131072)
		A(MAXIMUM_TEXTURE2D_HEIGHT, 65536)
		A(MAXIMUM_TEXTURE3D_WIDTH, 16384)
		A(MAXIMUM_TEXTURE3D_HEIGHT, 16384)
		A(MAXIMUM_TEXTURE3D_DEPTH, 16384)
		A(MAXIMUM_TEXTURE2D_LAYERED_WIDTH, 32768)
		A(MAXIMUM_TEXTURE2D_LAYERED_HEIGHT, 32768)
		A(MAXIMUM_TEXTURE2D_LAYERED_LAYERS, 2048)
		A(SURFACE_ALIGNMENT, 512)
		A(CONCURRENT_KERNELS, 1)
		A(ECC_ENABLED, 1)
		A(MEMORY_CLOCK_RATE, 2619000)
		A(GLOBAL_MEMORY_BUS_WIDTH, 5120)
		A(L2_CACHE_SIZE, 52428800)
		A(MAX_THREADS_PER_MULTIPROCESSOR, 2048)
		A(ASYNC_ENGINE_COUNT, 3)
		A(UNIFIED_ADDRESSING, 1)
		A(MAXIMUM_TEXTURE1D_LAYERED_WIDTH, 32768)
		A(MAXIMUM_TEXTURE1D_LAYERED_LAYERS, 2048)
		A(MAXIMUM_TEXTURE2D_GATHER_WIDTH, 32768)
		A(MAXIMUM_TEXTURE2D_GATHER_HEIGHT, 32768)
		A(MAXIMUM_TEXTURE3D_WIDTH_ALTERNATE, 8192)
		A(MAXIMUM_TEXTURE3D_HEIGHT_ALTERNATE, 8192)
		A(MAXIMUM_TEXTURE3D_DEPTH_ALTERNATE, 32768)
		A(TEXTURE_PITCH_ALIGNMENT, 32)
		A(MAXIMUM_TEXTURECUBEMAP_WIDTH, 32768)
		A(MAXIMUM_TEXTURECUBEMAP_LAYERED_WIDTH, 32768)
		A(MAXIMUM_TEXTURECUBEMAP_LAYERED_LAYERS, 2046)
		A(MAXIMUM_SURFACE1D_WIDTH, 32768)
		A(MAXIMUM_SURFACE2D_WIDTH, 131072)
		A(MAXIMUM_SURFACE2D_HEIGHT, 65536)
		A(MAXIMUM_SURFACE3D_WIDTH, 16384)
		A(MAXIMUM_SURFACE3D_HEIGHT, 16384)
		A(MAXIMUM_SURFACE3D_DEPTH, 16384)
		A(MAXIMUM_SURFACE1D_LAYERED_WIDTH, 32768)
		A(MAXIMUM_SURFACE1D_LAYERED_LAYERS, 2048)
		A(MAXIMUM_SURFACE2D_LAYERED_WIDTH, 32768)
		A(MAXIMUM_SURFACE2D_LAYERED_HEIGHT, 32768)
		A(MAXIMUM_SURFACE2D_LAYERED_LAYERS, 2048)
		A(MAXIMUM_SURFACECUBEMAP_WIDTH, 32768)
		A(MAXIMUM_SURFACECUBEMAP_LAYERED_WIDTH, 32768)
		A(MAXIMUM_SURFACECUBEMAP_LAYERED_LAYERS, 2046)
		A(MAXIMUM_TEXTURE1D_LINEAR_WIDTH, 268435456)
		A(MAXIMUM_TEXTURE2D_LINEAR_WIDTH, 131072)
		A(MAXIMUM_TEXTURE2D_LINEAR_HEIGHT, 65000)
		A(MAXIMUM_TEXTURE2D_LINEAR_PITCH, 2097120)
		A(MAXIMUM_TEXTURE2D_MIPMAPPED_WIDTH, 32768)
		A(MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT, 32768)
		A(MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH, 32768)
		A(STREAM_PRIORITIES_SUPPORTED, 1)
		A(GLOBAL_L1_CACHE_SUPPORTED, 1)
		A(LOCAL_L1_CACHE_SUPPORTED, 1)
		A(MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 233472)
		A(MAX_REGISTERS_PER_MULTIPROCESSOR, 65536)
		A(MANAGED_MEMORY, 1)
		A(SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO, 2)
		A(CONCURRENT_MANAGED_ACCESS, 1)
		A(COMPUTE_PREEMPTION_SUPPORTED, 1)
		A(COOPERATIVE_LAUNCH, 1)
		A(MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 232448)
		A(HOST_REGISTER_SUPPORTED, 1)
		A(DIRECT_MANAGED_MEM_ACCESS_FROM_HOST, 0)
		A(VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1)
		A(CAN_USE_64_BIT_STREAM_MEM_OPS, 1)
		A(CAN_USE_STREAM_WAIT_VALUE_NOR, 1)
		A(MAX_BLOCKS_PER_MULTIPROCESSOR, 32)
		A(MAX_PERSISTING_L2_CACHE_SIZE, 32768000)
		A(MAX_ACCESS_POLICY_WINDOW_SIZE, 134217728)
		A(RESERVED_SHARED_MEMORY_PER_BLOCK, 1024)
		A(READ_ONLY_HOST_REGISTER_SUPPORTED, 1)
		A(MEMORY_POOLS_SUPPORTED, 1)
		A(MEM_SYNC_DOMAIN_COUNT, 4)
		A(NUMA_CONFIG, 0)
		A(NUMA_ID, -1)
		A(HOST_NUMA_ID, 0)
#undef A
	};

	switch ((int)what) {
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
		return fake_config.nr_sms;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		return fake_config.cc_major;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
		return fake_config.cc_minor;
	case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
		return fake_config.host_pointer;
	case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
		return FIRST_BUS + dev;
	case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID:
		return dev;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].what == what)
			return known[i].value;
	return 0;
}

CUresult fake_cuDeviceGetAttribute(int *value, CUdevice_attribute what, CUdevice dev)
{
	CUresult r = check(value, dev);

	if (r != CUDA_SUCCESS)
		return r;
	if ((int)what < 1 || what >= CU_DEVICE_ATTRIBUTE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	*value = attribute(what, dev);
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetProperties(CUdevprop *prop, CUdevice dev)
{
	CUresult r = check(prop, dev);

	if (r != CUDA_SUCCESS)
		return r;
	*prop = (CUdevprop){
		.maxThreadsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, dev),
		.sharedMemPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, dev),
		.totalConstantMemory = attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, dev),
		.SIMDWidth = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE, dev),
		.memPitch = attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH, dev),
		.regsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, dev),
		.clockRate = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE, dev),
		.textureAlign = attribute(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, dev),
	};
	for (int i = 0; i < 3; i++) {
		prop->maxThreadsDim[i] = attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i, dev);
		prop->maxGridSize[i] = attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i, dev);
	}
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
	CUresult r = check(major, dev);

	if (r != CUDA_SUCCESS)
		return r;
	if (!minor)
		return CUDA_ERROR_INVALID_VALUE;
	*major = fake_config.cc_major;
	*minor = fake_config.cc_minor;
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetPCIBusId(char *id, int size, CUdevice dev)
{
	CUresult r = check(id, dev);

	if (r != CUDA_SUCCESS)
		return r;
	if (size < 13)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(id, (size_t)size, "0000:%02X:00.0", FIRST_BUS + (unsigned int)dev);
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetByPCIBusId(CUdevice *dev, const char *id)
{
	unsigned int domain = 0, bus, slot, function = 0;

	if (!dev || !id)
		return CUDA_ERROR_INVALID_VALUE;
	if (sscanf(id, "%x:%x:%x.%x", &domain, &bus, &slot, &function) < 3) {
		domain = function = 0;
		if (sscanf(id, "%x:%x.%x", &bus, &slot, &function) < 2)
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (domain || slot || function || bus < FIRST_BUS || !fake_is_device((int)(bus - FIRST_BUS)))
		return CUDA_ERROR_INVALID_DEVICE;
	*dev = (CUdevice)(bus - FIRST_BUS);
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceCanAccessPeer(int *can, CUdevice dev, CUdevice peer)
{
	CUresult r = check(can, dev);

	if (r != CUDA_SUCCESS)
		return r;
	if (!fake_is_device(peer))
		return CUDA_ERROR_INVALID_DEVICE;
	*can = 0;
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute what, CUdevice from, CUdevice to)
{
	CUresult r = check(value, from);

	if (r != CUDA_SUCCESS)
		return r;
	if (!fake_is_device(to) || from == to)
		return CUDA_ERROR_INVALID_DEVICE;
	if ((int)what < 1)
		return CUDA_ERROR_INVALID_VALUE;
	*value = 0;
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetExecAffinitySupport(int *value, CUexecAffinityType type, CUdevice dev)
{
	CUresult r = check(value, dev);

	if (r != CUDA_SUCCESS)
		return r;
	if (type != CU_EXEC_AFFINITY_TYPE_SM_COUNT)
		return CUDA_ERROR_INVALID_VALUE;
	*value = 0;
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetHostAtomicCapabilities(unsigned int *can, const CUatomicOperation *what, unsigned int nr,
						CUdevice dev)
{
	CUresult r = check(can, dev);

	if (r != CUDA_SUCCESS)
		return r;
	if (!what || !nr)
		return CUDA_ERROR_INVALID_VALUE;
	memset(can, 0, nr * sizeof(*can));
	return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetP2PAtomicCapabilities(unsigned int *can, const CUatomicOperation *what, unsigned int nr,
					       CUdevice from, CUdevice to)
{
	CUresult r = fake_cuDeviceGetHostAtomicCapabilities(can, what, nr, from);

	if (r != CUDA_SUCCESS)
		return r;
	return fake_is_device(to) && from != to ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult fake_cuDeviceGetTexture1DLinearMaxWidth(size_t *width, CUarray_format format, unsigned int channels,
						 CUdevice dev)
{
	CUresult r = check(width, dev);

	if (r != CUDA_SUCCESS)
		return r;
	if (!format || !channels || channels > 4)
		return CUDA_ERROR_INVALID_VALUE;
	*width = (size_t)attribute(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH, dev);
	return CUDA_SUCCESS;
}
