/*
 * capability.c - the compute capability that a library of NVIDIA's is told.
 *
 * cuBLASLt and cuFFT choose a kernel by the device's capability, before they look whether the code is there; of what they
 * would take on a device that they know, most exists as machine code alone. For a capability beyond those they take the
 * kernels that they carry as PTX. So in front of the portable driver, which runs nothing else, they hear of such a one; the
 * program, and all that asks in order to compile for the device, hears the truth.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "intercept/frame.h"

/* Beyond what any release knows. */
#define UNKNOWN_MAJOR 99
#define UNKNOWN_MINOR 0

/* Each has the CUDA runtime inside, so that it is the library itself that calls. */
static bool chooses_by_capability(const void *caller)
{
	static const char *const prefixes[] = { "libcublas.so", "libcublasLt.so", "libcufft.so" };
	const char *name;
	Dl_info info;

	if (!dladdr(caller, &info) || !info.dli_fname)
		return false;
	name = strrchr(info.dli_fname, '/');
	name = name ? name + 1 : info.dli_fname;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

/* One that the user asked for is everybody's. */
static bool hears_of_another(const void *caller)
{
	const char *asked = getenv("HGSHIM_COMPUTE_CAPABILITY");

	return hg_shim_executor() == &hg_executor_portable && !(asked && *asked) && chooses_by_capability(caller);
}

CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)
{
	const void *caller = __builtin_return_address(0);
	struct hg_frame f;
	CUresult r;

	if (!hg_frame_enter(&f))
		return hg_shim_not_ready();
	r = f.real->cuDeviceGetAttribute ? f.real->cuDeviceGetAttribute(pi, attrib, dev) :
					   hg_shim_missing(HG_SYM_cuDeviceGetAttribute);
	if (r == CUDA_SUCCESS &&
	    (attrib == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR || attrib == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) &&
	    hears_of_another(caller))
		*pi = attrib == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? UNKNOWN_MAJOR : UNKNOWN_MINOR;
	hg_shim_see(HG_SYM_cuDeviceGetAttribute, r);
	hg_frame_leave(&f);
	return r;
}
