/* entry.c - the exported functions of the HIP double: counting, injected errors, the last error, names of errors. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "tests/drivers/hip/hip.h"

__thread struct hd_self hd_self;

static const struct {
	hipError_t error;
	const char *name, *text;
} errors[] = {
	{ hipSuccess, "hipSuccess", "no error" },
	{ hipErrorInvalidValue, "hipErrorInvalidValue", "invalid argument" },
	{ hipErrorOutOfMemory, "hipErrorOutOfMemory", "out of memory" },
	{ hipErrorNotInitialized, "hipErrorNotInitialized", "initialization error" },
	{ hipErrorDeinitialized, "hipErrorDeinitialized", "driver shutting down" },
	{ hipErrorInvalidConfiguration, "hipErrorInvalidConfiguration", "invalid configuration argument" },
	{ hipErrorInvalidPitchValue, "hipErrorInvalidPitchValue", "invalid pitch argument" },
	{ hipErrorInvalidSymbol, "hipErrorInvalidSymbol", "invalid device symbol" },
	{ hipErrorInvalidDevicePointer, "hipErrorInvalidDevicePointer", "invalid device pointer" },
	{ hipErrorInvalidMemcpyDirection, "hipErrorInvalidMemcpyDirection", "invalid copy direction for memcpy" },
	{ hipErrorInsufficientDriver, "hipErrorInsufficientDriver", "driver version is insufficient for runtime version" },
	{ hipErrorInvalidDeviceFunction, "hipErrorInvalidDeviceFunction", "invalid device function" },
	{ hipErrorNoDevice, "hipErrorNoDevice", "no ROCm-capable device is detected" },
	{ hipErrorInvalidDevice, "hipErrorInvalidDevice", "invalid device ordinal" },
	{ hipErrorInvalidImage, "hipErrorInvalidImage", "device kernel image is invalid" },
	{ hipErrorInvalidContext, "hipErrorInvalidContext", "invalid device context" },
	{ hipErrorMapFailed, "hipErrorMapFailed", "mapping of buffer object failed" },
	{ hipErrorUnmapFailed, "hipErrorUnmapFailed", "unmapping of buffer object failed" },
	{ hipErrorAlreadyMapped, "hipErrorAlreadyMapped", "resource already mapped" },
	{ hipErrorNoBinaryForGpu, "hipErrorNoBinaryForGpu", "no kernel image is available for execution on the device" },
	{ hipErrorNotMapped, "hipErrorNotMapped", "resource not mapped" },
	{ hipErrorInvalidSource, "hipErrorInvalidSource", "device kernel image is invalid" },
	{ hipErrorFileNotFound, "hipErrorFileNotFound", "file not found" },
	{ hipErrorOperatingSystem, "hipErrorOperatingSystem", "OS call failed or operation not supported on this OS" },
	{ hipErrorInvalidHandle, "hipErrorInvalidHandle", "invalid resource handle" },
	{ hipErrorIllegalState, "hipErrorIllegalState", "the operation cannot be performed in the present state" },
	{ hipErrorNotFound, "hipErrorNotFound", "named symbol not found" },
	{ hipErrorNotReady, "hipErrorNotReady", "device not ready" },
	{ hipErrorIllegalAddress, "hipErrorIllegalAddress", "an illegal memory access was encountered" },
	{ hipErrorLaunchOutOfResources, "hipErrorLaunchOutOfResources", "out of resources" },
	{ hipErrorLaunchTimeOut, "hipErrorLaunchTimeOut", "the launch timed out and was terminated" },
	{ hipErrorContextIsDestroyed, "hipErrorContextIsDestroyed", "context is destroyed" },
	{ hipErrorAssert, "hipErrorAssert", "device-side assert triggered" },
	{ hipErrorHostMemoryAlreadyRegistered, "hipErrorHostMemoryAlreadyRegistered",
	  "part or all of the requested memory range is already mapped" },
	{ hipErrorHostMemoryNotRegistered, "hipErrorHostMemoryNotRegistered",
	  "pointer does not correspond to a registered memory region" },
	{ hipErrorLaunchFailure, "hipErrorLaunchFailure", "unspecified launch failure" },
	{ hipErrorCooperativeLaunchTooLarge, "hipErrorCooperativeLaunchTooLarge", "too many blocks in cooperative launch" },
	{ hipErrorNotSupported, "hipErrorNotSupported", "operation not supported" },
	{ hipErrorUnknown, "hipErrorUnknown", "unknown error" },
	{ hipErrorRuntimeMemory, "hipErrorRuntimeMemory", "runtime memory call returned error" },
	{ hipErrorRuntimeOther, "hipErrorRuntimeOther", "runtime call other than memory returned error" },
};

static size_t error_index(hipError_t error)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].error == error)
			return i;
	return sizeof(errors) / sizeof(errors[0]);
}

#define EXPORT __attribute__((visibility("default")))
EXPORT const char *hipGetErrorName(hipError_t error)
{
	size_t i = error_index(error);

	return i < sizeof(errors) / sizeof(errors[0]) ? errors[i].name : "hipErrorUnknown";
}

EXPORT const char *hipGetErrorString(hipError_t error)
{
	size_t i = error_index(error);

	return i < sizeof(errors) / sizeof(errors[0]) ? errors[i].text : "unknown error";
}

hipError_t hd_hipDrvGetErrorName(hipError_t error, const char **text)
{
	if (!text || error_index(error) == sizeof(errors) / sizeof(errors[0]))
		return hipErrorInvalidValue;
	*text = hipGetErrorName(error);
	return hipSuccess;
}

hipError_t hd_hipDrvGetErrorString(hipError_t error, const char **text)
{
	if (!text || error_index(error) == sizeof(errors) / sizeof(errors[0]))
		return hipErrorInvalidValue;
	*text = hipGetErrorString(error);
	return hipSuccess;
}

/* ---- messages ---- */

static void say(const char *what, hipError_t error, const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	pr_err("%s%s: %s (%s)", what, hd_self.call ? hd_self.call : "a stream", text, hipGetErrorName(error));
}

void hd_say_misuse(hipError_t error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("misuse of ", error, fmt, ap);
	va_end(ap);
	if (hd_config.strict)
		abort();
}

void hd_say_refused(hipError_t error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("", error, fmt, ap);
	va_end(ap);
}

/* ---- calls ---- */

/* What works in a forked child, at exit, and in a host function; and does not change the last error. */
static inline bool is_stateless(enum hd_call i)
{
	return i == HD_hipGetLastError || i == HD_hipPeekAtLastError || i == HD_hipDrvGetErrorName ||
		i == HD_hipDrvGetErrorString || i == HD_hipRuntimeGetVersion;
}

static hipError_t enter(enum hd_call i)
{
	uint32_t injected = fake_control_enter(&hd_control[i]);

	hd_self.call = hd_call_name[i];
	if (injected)
		return (hipError_t)injected;
	if (is_stateless(i))
		return hipSuccess;
	if (hd_self.in_host_func)
		return hd_misuse(hipErrorIllegalState, "a host function must not call HIP");
	if (!hd_config.nr_devices)
		return hipErrorNoDevice;
	return atomic_load_explicit(&hd_state, memory_order_acquire);
}

/* What waited when the process ended did not see the end of what it waited for. */
static hipError_t leave(enum hd_call i, hipError_t r)
{
	hd_self.call = NULL;
	if (is_stateless(i))
		return r;
	if (r == hipSuccess && atomic_load_explicit(&hd_state, memory_order_acquire) == hipErrorDeinitialized)
		r = hipErrorDeinitialized;
	if (r != hipSuccess && r != hipErrorNotReady)
		hd_self.last = r;
	return r;
}

hipError_t hd_hipGetLastError(void)
{
	hipError_t r = hd_self.last;

	hd_self.last = hipSuccess;
	return r;
}

hipError_t hd_hipPeekAtLastError(void)
{
	return hd_self.last;
}

/* Prototypes that hip_runtime_api.h 5.2 does not have. */
hipError_t hipGetDevicePropertiesR0600(struct hip6_device_prop *prop, int device);
hipError_t hipDrvGetErrorName(hipError_t error, const char **text);
hipError_t hipDrvGetErrorString(hipError_t error, const char **text);
hipError_t hipStreamGetDevice(hipStream_t stream, hipDevice_t *device);
hipError_t hipModuleLaunchCooperativeKernel(hipFunction_t function, unsigned int gx, unsigned int gy, unsigned int gz,
					    unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
					    hipStream_t stream, void **params);

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#define HIP_CALL(name, params, args)                                                               \
	EXPORT hipError_t name params                                                              \
	{                                                                                          \
		hipError_t result_ = enter(HD_##name);                                             \
                                                                                                   \
		if (result_ == hipSuccess)                                                         \
			result_ = hd_##name args;                                                  \
		return leave(HD_##name, result_);                                                  \
	}
#include "tests/drivers/hip/calls.def"
