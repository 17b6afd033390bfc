/* device.c - devices of the HIP double. */
#include <stdio.h>
#include <string.h>

#include "tests/drivers/hip/hip.h"

/* Multiprocessors are few, so that grids of several waves are seen. */
const struct hd_chip hd_chips[] = {
	{ "gfx906", "gfx906:sramecc+:xnack-", 0x02f, 9, 0, false, 8 },
	{ "gfx90a", "gfx90a:sramecc+:xnack-", 0x03f, 9, 0, false, 8 },
	{ "gfx942", "gfx942:sramecc+:xnack-", 0x04c, 9, 4, false, 8 },
	{ "gfx1030", "gfx1030", 0x036, 10, 3, true, 8 },
	{ "gfx1100", "gfx1100", 0x041, 11, 0, true, 8 },
	{ "gfx1201", "gfx1201", 0x04e, 12, 0, true, 8 },
	{ NULL, NULL, 0, 0, 0, false, 0 },
};

#define VERSION 60342131		/* HIP 6.3 */
#define NAME "Fake AMD GPU (test double)"

hipError_t hd_hipInit(unsigned int flags)
{
	return flags ? hipErrorInvalidValue : hipSuccess;
}

hipError_t hd_hipRuntimeGetVersion(int *version)
{
	if (!version)
		return hipErrorInvalidValue;
	*version = VERSION;
	return hipSuccess;
}

hipError_t hd_hipDriverGetVersion(int *version)
{
	return hd_hipRuntimeGetVersion(version);
}

hipError_t hd_hipGetDeviceCount(int *count)
{
	if (!count)
		return hipErrorInvalidValue;
	*count = hd_config.nr_devices;
	return hipSuccess;
}

hipError_t hd_hipGetDevice(int *device)
{
	if (!device)
		return hipErrorInvalidValue;
	*device = hd_self.device;
	return hipSuccess;
}

hipError_t hd_hipSetDevice(int device)
{
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	hd_self.device = device;
	return hipSuccess;
}

hipError_t hd_hipDeviceGet(hipDevice_t *device, int ordinal)
{
	if (!device)
		return hipErrorInvalidValue;
	if (!hd_is_device(ordinal))
		return hipErrorInvalidDevice;
	*device = ordinal;
	return hipSuccess;
}

hipError_t hd_hipDeviceGetName(char *name, int len, hipDevice_t device)
{
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	if (!name || len <= 0)
		return hipErrorInvalidValue;
	snprintf(name, (size_t)len, NAME);
	return hipSuccess;
}

hipError_t hd_hipDeviceGetUuid(hipUUID *uuid, hipDevice_t device)
{
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	if (!uuid)
		return hipErrorInvalidValue;
	memset(uuid, 0, sizeof(*uuid));
	memcpy(uuid->bytes, "GPU-double-", 11);
	uuid->bytes[15] = (char)('0' + device);
	return hipSuccess;
}

hipError_t hd_hipDeviceTotalMem(size_t *bytes, hipDevice_t device)
{
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	if (!bytes)
		return hipErrorInvalidValue;
	*bytes = hd_config.memory;
	return hipSuccess;
}

static int limited(uint64_t n)
{
	return n > INT32_MAX ? INT32_MAX : (int)n;
}

hipError_t hd_hipDeviceGetAttribute(int *value, hipDeviceAttribute_t attribute, int device)
{
	const struct hd_chip *c = hd_config.chip;

	if (!value)
		return hipErrorInvalidValue;
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	switch ((int)attribute) {
	case hipDeviceAttributeAsyncEngineCount:
		*value = 2;
		break;
	case hipDeviceAttributeCanUseHostPointerForRegisteredMem:
		*value = hd_config.host_pointer;
		break;
	case hipDeviceAttributeCanMapHostMemory: case hipDeviceAttributeConcurrentKernels:
	case hipDeviceAttributeCooperativeLaunch: case hipDeviceAttributeDeviceOverlap:
	case hipDeviceAttributeStreamPrioritiesSupported: case hipDeviceAttributeUnifiedAddressing:
	case HIP6_ATTRIBUTE_HOST_REGISTER: case hipDeviceAttributeEccEnabled:
		*value = 1;
		break;
	case HIP6_ATTRIBUTE_VMM:
		*value = hd_config.has_vmm;
		break;
	case hipDeviceAttributeClockRate:
		*value = 1700000;
		break;
	case hipDeviceAttributeMemoryClockRate:
		*value = 1000000;
		break;
	case hipDeviceAttributeMemoryBusWidth:
		*value = 256;
		break;
	case hipDeviceAttributeL2CacheSize:
		*value = 4 << 20;
		break;
	case hipDeviceAttributeClockInstructionRate: case HIP6_ATTRIBUTE_WALL_CLOCK_RATE:
		*value = 100000;
		break;
	case hipDeviceAttributeComputeCapabilityMajor:
		*value = c->major;
		break;
	case hipDeviceAttributeComputeCapabilityMinor:
		*value = c->minor;
		break;
	case hipDeviceAttributeMaxBlockDimX: case hipDeviceAttributeMaxBlockDimY: case hipDeviceAttributeMaxBlockDimZ:
	case hipDeviceAttributeMaxThreadsPerBlock: case hipDeviceAttributeMaxThreadsDim:
		*value = HD_MAX_ITEMS;
		break;
	case hipDeviceAttributeMaxGridDimX:
		*value = INT32_MAX;
		break;
	case hipDeviceAttributeMaxGridDimY: case hipDeviceAttributeMaxGridDimZ:
		*value = 65536;
		break;
	case hipDeviceAttributeMaxPitch: case hipDeviceAttributeTotalConstantMemory:
		*value = INT32_MAX;
		break;
	case hipDeviceAttributeMaxRegistersPerBlock: case hipDeviceAttributeMaxRegistersPerMultiprocessor:
		*value = 65536;
		break;
	case hipDeviceAttributeMaxSharedMemoryPerBlock: case hipDeviceAttributeSharedMemPerBlockOptin:
	case hipDeviceAttributeMaxSharedMemoryPerMultiprocessor: case hipDeviceAttributeSharedMemPerMultiprocessor:
		*value = HD_LDS_BYTES;
		break;
	case hipDeviceAttributeMaxThreadsPerMultiProcessor:
		*value = 2048;
		break;
	case hipDeviceAttributeMultiprocessorCount: case hipDeviceAttributePhysicalMultiProcessorCount:
		*value = hd_config.nr_cus;
		break;
	case hipDeviceAttributeTextureAlignment: case hipDeviceAttributeTexturePitchAlignment:
	case hipDeviceAttributeSurfaceAlignment:
		*value = 256;
		break;
	case hipDeviceAttributeTotalGlobalMem:
		*value = limited(hd_config.memory);
		break;
	case hipDeviceAttributeWarpSize:
		*value = c->has_wave32 ? 32 : 64;
		break;
	case hipDeviceAttributePciBusId:
		*value = 3 + device;
		break;
	/* What the device has not, or where nothing else can be said. */
	case hipDeviceAttributeAccessPolicyMaxWindowSize: case hipDeviceAttributeComputeMode:
	case hipDeviceAttributeComputePreemptionSupported: case hipDeviceAttributeConcurrentManagedAccess:
	case hipDeviceAttributeCooperativeMultiDeviceLaunch: case hipDeviceAttributeDirectManagedMemAccessFromHost:
	case hipDeviceAttributeHostNativeAtomicSupported: case hipDeviceAttributeIntegrated:
	case hipDeviceAttributeIsMultiGpuBoard: case hipDeviceAttributeKernelExecTimeout:
	case hipDeviceAttributeManagedMemory: case hipDeviceAttributeMemoryPoolsSupported:
	case hipDeviceAttributePageableMemoryAccess: case hipDeviceAttributePageableMemoryAccessUsesHostPageTables:
	case hipDeviceAttributePciDeviceId: case hipDeviceAttributePciDomainID: case hipDeviceAttributeReservedSharedMemPerBlock:
	case hipDeviceAttributeTccDriver: case hipDeviceAttributeIsLargeBar: case hipDeviceAttributeAsicRevision:
	case hipDeviceAttributeCanUseStreamWaitValue: case hipDeviceAttributeImageSupport:
	case hipDeviceAttributeFineGrainSupport:
		*value = 0;
		break;
	default:
		return hd_refuse(hipErrorInvalidValue, "the double does not know attribute %d", (int)attribute);
	}
	return hipSuccess;
}

/* Both layouts have these members. */
#define FILL(p)                                                                                    \
	do {                                                                                       \
		memset(p, 0, sizeof(*(p)));                                                        \
		snprintf((p)->name, sizeof((p)->name), NAME);                                      \
		snprintf((p)->gcnArchName, sizeof((p)->gcnArchName), "%s", hd_config.chip->arch_name); \
		(p)->totalGlobalMem = hd_config.memory;                                            \
		(p)->sharedMemPerBlock = HD_LDS_BYTES;                                             \
		(p)->regsPerBlock = 65536;                                                         \
		(p)->warpSize = hd_config.chip->has_wave32 ? 32 : 64;                              \
		(p)->maxThreadsPerBlock = HD_MAX_ITEMS;                                            \
		for (int i_ = 0; i_ < 3; i_++) {                                                   \
			(p)->maxThreadsDim[i_] = HD_MAX_ITEMS;                                     \
			(p)->maxGridSize[i_] = i_ ? 65536 : INT32_MAX;                             \
		}                                                                                  \
		(p)->clockRate = 1700000;                                                          \
		(p)->memoryClockRate = 1000000;                                                    \
		(p)->memoryBusWidth = 256;                                                         \
		(p)->totalConstMem = INT32_MAX;                                                    \
		(p)->major = hd_config.chip->major;                                                \
		(p)->minor = hd_config.chip->minor;                                                \
		(p)->multiProcessorCount = hd_config.nr_cus;                                       \
		(p)->l2CacheSize = 4 << 20;                                                        \
		(p)->maxThreadsPerMultiProcessor = 2048;                                           \
		(p)->clockInstructionRate = 100000;                                                \
		(p)->concurrentKernels = 1;                                                        \
		(p)->pciBusID = 3 + device;                                                        \
		(p)->maxSharedMemoryPerMultiProcessor = HD_LDS_BYTES;                              \
		(p)->canMapHostMemory = 1;                                                         \
		(p)->cooperativeLaunch = 1;                                                        \
	} while (0)

hipError_t hd_hipGetDeviceProperties(hipDeviceProp_t *prop, int device)
{
	if (!prop)
		return hipErrorInvalidValue;
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	FILL(prop);
	return hipSuccess;
}

hipError_t hd_hipGetDevicePropertiesR0600(struct hip6_device_prop *prop, int device)
{
	if (!prop)
		return hipErrorInvalidValue;
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	FILL(prop);
	prop->sharedMemPerBlockOptin = prop->sharedMemPerMultiprocessor = HD_LDS_BYTES;
	prop->regsPerMultiprocessor = 65536;
	prop->unifiedAddressing = prop->streamPrioritiesSupported = prop->hostRegisterSupported = 1;
	prop->canUseHostPointerForRegisteredMem = hd_config.host_pointer;
	prop->asyncEngineCount = 2;
	return hipSuccess;
}

hipError_t hd_hipDeviceComputeCapability(int *major, int *minor, hipDevice_t device)
{
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	if (!major || !minor)
		return hipErrorInvalidValue;
	*major = hd_config.chip->major;
	*minor = hd_config.chip->minor;
	return hipSuccess;
}

hipError_t hd_hipDeviceGetPCIBusId(char *id, int len, int device)
{
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	if (!id || len <= 0)
		return hipErrorInvalidValue;
	snprintf(id, (size_t)len, "0000:%02x:00.0", 3 + device);
	return hipSuccess;
}

hipError_t hd_hipDeviceCanAccessPeer(int *can, int device, int peer)
{
	if (!can)
		return hipErrorInvalidValue;
	if (!hd_is_device(device) || !hd_is_device(peer))
		return hipErrorInvalidDevice;
	*can = 0;
	return hipSuccess;
}

hipError_t hd_hipDeviceGetStreamPriorityRange(int *least, int *greatest)
{
	if (least)
		*least = 1;
	if (greatest)
		*greatest = -1;
	return hipSuccess;
}

hipError_t hd_hipDeviceSynchronize(void)
{
	hd_device_wait(hd_self.device);
	return hd_device_error(hd_self.device);
}

/* ---- contexts: there is one of each device, by its number ---- */

static hipCtx_t ctx_of(int device)
{
	return (hipCtx_t)(uintptr_t)(0x1000 + device);
}

hipError_t hd_hipDevicePrimaryCtxRetain(hipCtx_t *ctx, hipDevice_t device)
{
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	if (!ctx)
		return hipErrorInvalidValue;
	*ctx = ctx_of(device);
	return hipSuccess;
}

hipError_t hd_hipDevicePrimaryCtxRelease(hipDevice_t device)
{
	return hd_is_device(device) ? hipSuccess : hipErrorInvalidDevice;
}

hipError_t hd_hipDevicePrimaryCtxGetState(hipDevice_t device, unsigned int *flags, int *active)
{
	if (!hd_is_device(device))
		return hipErrorInvalidDevice;
	if (flags)
		*flags = 0;
	if (active)
		*active = device == hd_self.device;
	return hipSuccess;
}

hipError_t hd_hipCtxGetCurrent(hipCtx_t *ctx)
{
	if (!ctx)
		return hipErrorInvalidValue;
	*ctx = ctx_of(hd_self.device);
	return hipSuccess;
}

hipError_t hd_hipCtxSetCurrent(hipCtx_t ctx)
{
	for (int i = 0; i < hd_config.nr_devices; i++)
		if (ctx_of(i) == ctx) {
			hd_self.device = i;
			return hipSuccess;
		}
	return hd_misuse(hipErrorInvalidContext, "%p is no context", (void *)ctx);
}
