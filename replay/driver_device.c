/* driver_device.c - devices, their attributes, versions and the names of errors. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "replay/driver_priv.h"

CUresult drv_cuInit(unsigned int flags)
{
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!drv.target)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!drv.nr_devices)
		return CUDA_ERROR_NO_DEVICE;
	atomic_store_explicit(&drv.initialised, true, memory_order_release);
	return CUDA_SUCCESS;
}

CUresult drv_cuDriverGetVersion(int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = DRV_CUDA_VERSION;
	return CUDA_SUCCESS;
}

CUresult drv_cuGetErrorName(CUresult error, const char **text)
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

CUresult drv_cuGetErrorString(CUresult error, const char **text)
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

/* The device exists, and `out` can be written. */
static CUresult device_check(const void *out, CUdevice dev)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	if (dev < 0 || dev >= drv.nr_devices)
		return CUDA_ERROR_INVALID_DEVICE;
	return out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult drv_cuDeviceGet(CUdevice *device, int ordinal)
{
	CUresult r = device_check(device, ordinal);

	if (r)
		return r;
	*device = ordinal;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetCount(int *count)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = drv.nr_devices;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetName(char *name, int len, CUdevice dev)
{
	CUresult r = device_check(name, dev);

	if (r)
		return r;
	if (len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(name, (size_t)len, "%s", drv.info.name);
	return CUDA_SUCCESS;
}

/* The same for the same target and ordinal in every process, as programs key caches by it. */
CUresult drv_cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
	CUresult r = device_check(uuid, dev);

	if (r)
		return r;
	memset(uuid->bytes, 0, sizeof(uuid->bytes));
	memcpy(uuid->bytes, "hgshim", 6);
	strncpy(uuid->bytes + 6, drv.ops->name, 9);
	uuid->bytes[15] = (char)dev;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	return drv_cuDeviceGetUuid_v2(uuid, dev);
}

/* Only Windows has such ids. */
CUresult drv_cuDeviceGetLuid(char *luid, unsigned int *mask, CUdevice dev)
{
	CUresult r = device_check(luid, dev);

	if (r)
		return r;
	return mask ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

CUresult drv_cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
	CUresult r = device_check(bytes, dev);

	if (r)
		return r;
	*bytes = drv.info.memory_bytes;
	return CUDA_SUCCESS;
}

/*
 * What the device can do that hgshim has; zero for everything else. Numbers that programs compute with are those
 * of a device of compute capability 12.1.
 */
static int attribute(CUdevice_attribute attrib, CUdevice dev)
{
	switch (attrib) {
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		return (int)drv.info.max_threads_per_block;
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
		return 1024;
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
		return 64;
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
		return 0x7fffffff;
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
		return 65535;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
		return (int)drv.info.max_shared_bytes;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
		return (int)drv.info.max_shared_optin_bytes;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
		return (int)(drv.info.max_shared_optin_bytes + DRV_SHARED_RESERVED);
	case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
		return (int)DRV_SHARED_RESERVED;
	case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
		return 65536;
	case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
		return (int)drv.info.warp_size;
	case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
		return 0x7fffffff;
	case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
	case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
		return (int)DRV_REGS_PER_SM;
	case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
	case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
		return (int)drv.info.clock_khz;
	case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
	case CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT:
		return 512;
	case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT:
		return 32;
	case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
		return 1;
	case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
		return 2;
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
		return (int)drv.info.nr_multiprocessors;
	case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
	case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
	case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
	case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
	case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
	case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
		return 1;
	case CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED:
		return drv.info.host_access;
	case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
		return dev + 1;
	case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
		return 128;
	case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
		return 4 << 20;
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
		return (int)DRV_MAX_THREADS_PER_SM;
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
		return (int)DRV_MAX_BLOCKS_PER_SM;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		return (int)drv.cc_major;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
		return (int)drv.cc_minor;
	case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO:
		return 2;
	case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID:
		return dev;
	case CU_DEVICE_ATTRIBUTE_MEM_SYNC_DOMAIN_COUNT:
		return 1;
	case CU_DEVICE_ATTRIBUTE_NUMA_ID:
	case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
		return -1;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_WIDTH:
		return 131072;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_HEIGHT:
		return 65536;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_HEIGHT:
		return 65000;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_PITCH:
		return 2097120;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH:
		return 268435456;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_HEIGHT:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_DEPTH:
		return 16384;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH_ALTERNATE:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT_ALTERNATE:
		return 8192;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH_ALTERNATE:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_HEIGHT:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_GATHER_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_GATHER_HEIGHT:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_LAYERED_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_LAYERED_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_HEIGHT:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_WIDTH:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_LAYERED_WIDTH:
		return 32768;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_WIDTH:
		return 131072;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_HEIGHT:
		return 65536;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_LAYERS:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_LAYERS:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_LAYERED_LAYERS:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_LAYERS:
		return 2048;
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_LAYERED_LAYERS:
	case CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_LAYERED_LAYERS:
		return 2046;
	/*
	 * Not there: managed memory, virtual memory management, stream memory operations, IPC, peers, clusters,
	 * multicast, external memory, RDMA, tensor maps, arrays, graphics.
	 */
	default:
		return 0;
	}
}

CUresult drv_cuDeviceGetAttribute(int *value, CUdevice_attribute attrib, CUdevice dev)
{
	CUresult r = device_check(value, dev);

	if (r)
		return r;
	if ((int)attrib < 1 || attrib >= CU_DEVICE_ATTRIBUTE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	*value = attribute(attrib, dev);
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetProperties(CUdevprop *prop, CUdevice dev)
{
	CUresult r = device_check(prop, dev);

	if (r)
		return r;
	memset(prop, 0, sizeof(*prop));
	prop->maxThreadsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, dev);
	for (int i = 0; i < 3; i++) {
		prop->maxThreadsDim[i] = attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i, dev);
		prop->maxGridSize[i] = attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i, dev);
	}
	prop->sharedMemPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, dev);
	prop->totalConstantMemory = attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, dev);
	prop->SIMDWidth = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE, dev);
	prop->memPitch = attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH, dev);
	prop->regsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, dev);
	prop->clockRate = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE, dev);
	prop->textureAlign = attribute(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, dev);
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
	CUresult r = device_check(major, dev);

	if (r)
		return r;
	if (!minor)
		return CUDA_ERROR_INVALID_VALUE;
	*major = (int)drv.cc_major;
	*minor = (int)drv.cc_minor;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetPCIBusId(char *id, int len, CUdevice dev)
{
	CUresult r = device_check(id, dev);

	if (r)
		return r;
	if (len < 13)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(id, (size_t)len, "0000:%02X:00.0", (unsigned int)dev + 1);
	return CUDA_SUCCESS;
}

/* [domain:]bus:device[.function], in hexadecimal */
CUresult drv_cuDeviceGetByPCIBusId(CUdevice *dev, const char *id)
{
	unsigned int domain = 0, bus, device, function = 0;
	CUresult r = drv_ready();

	if (r)
		return r;
	if (!dev || !id)
		return CUDA_ERROR_INVALID_VALUE;
	if (sscanf(id, "%x:%x:%x.%x", &domain, &bus, &device, &function) < 3) {
		domain = 0;
		function = 0;
		if (sscanf(id, "%x:%x.%x", &bus, &device, &function) < 2)
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (domain || device || function || bus < 1 || bus > (unsigned int)drv.nr_devices)
		return CUDA_ERROR_INVALID_DEVICE;
	*dev = (CUdevice)bus - 1;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceCanAccessPeer(int *can, CUdevice dev, CUdevice peer)
{
	CUresult r = device_check(can, dev);

	if (r)
		return r;
	if (peer < 0 || peer >= drv.nr_devices)
		return CUDA_ERROR_INVALID_DEVICE;
	*can = 0;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute attrib, CUdevice src, CUdevice dst)
{
	CUresult r = device_check(value, src);

	if (r)
		return r;
	if (dst < 0 || dst >= drv.nr_devices || dst == src)
		return CUDA_ERROR_INVALID_DEVICE;
	if ((int)attrib < 1 || attrib > CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED)
		return CUDA_ERROR_INVALID_VALUE;
	*value = 0;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetExecAffinitySupport(int *value, CUexecAffinityType type, CUdevice dev)
{
	CUresult r = device_check(value, dev);

	if (r)
		return r;
	if (type != CU_EXEC_AFFINITY_TYPE_SM_COUNT)
		return CUDA_ERROR_INVALID_VALUE;
	*value = 0;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetHostAtomicCapabilities(unsigned int *capabilities, const CUatomicOperation *operations,
					       unsigned int count, CUdevice dev)
{
	CUresult r = device_check(capabilities, dev);

	if (r)
		return r;
	if (!operations || !count)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < count; i++)
		capabilities[i] = drv.info.host_access ? CU_ATOMIC_CAPABILITY_SIGNED | CU_ATOMIC_CAPABILITY_UNSIGNED |
			CU_ATOMIC_CAPABILITY_SCALAR_32 | CU_ATOMIC_CAPABILITY_SCALAR_64 : 0;
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetP2PAtomicCapabilities(unsigned int *capabilities, const CUatomicOperation *operations,
					      unsigned int count, CUdevice src, CUdevice dst)
{
	CUresult r = device_check(capabilities, src);

	if (r)
		return r;
	if (dst < 0 || dst >= drv.nr_devices || dst == src)
		return CUDA_ERROR_INVALID_DEVICE;
	if (!operations || !count)
		return CUDA_ERROR_INVALID_VALUE;
	memset(capabilities, 0, count * sizeof(*capabilities));
	return CUDA_SUCCESS;
}

CUresult drv_cuDeviceGetTexture1DLinearMaxWidth(size_t *width, CUarray_format format, unsigned int channels, CUdevice dev)
{
	CUresult r = device_check(width, dev);

	if (r)
		return r;
	if (!channels || channels > 4 || !format)
		return CUDA_ERROR_INVALID_VALUE;
	*width = 268435456;
	return CUDA_SUCCESS;
}
