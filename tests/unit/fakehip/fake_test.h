/* fake_test.h - what the tests of the HIP double share: the library loaded as a program does, code objects, kernels. */
#ifndef TESTS_UNIT_FAKEHIP_FAKE_TEST_H
#define TESTS_UNIT_FAKEHIP_FAKE_TEST_H

#include <criterion/criterion.h>
#include <stdint.h>

#include "tests/drivers/common/control.h"
#include "tests/drivers/hip/hip6.h"

/* The library's functions, by dlsym. */
hipError_t hipGetDevicePropertiesR0600(struct hip6_device_prop *prop, int device);
hipError_t hipDrvGetErrorName(hipError_t error, const char **text);
hipError_t hipDrvGetErrorString(hipError_t error, const char **text);
hipError_t hipStreamGetDevice(hipStream_t stream, hipDevice_t *device);
hipError_t hipModuleLaunchCooperativeKernel(hipFunction_t function, unsigned int gx, unsigned int gy, unsigned int gz,
					    unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
					    hipStream_t stream, void **params);
struct hip_api {
	const char *(*hipGetErrorName)(hipError_t);
	const char *(*hipGetErrorString)(hipError_t);
#define HIP_CALL(name, params, args) hipError_t (*name) params;
#include "tests/drivers/hip/calls.def"
};
extern struct hip_api hip;
extern void *hip_library;

/* Each test is a process of its own, and loads the library with the knobs it wants: "NAME=value", NULL at the end. */
void load_hip(const char *const *knob);
#define LOAD(...) load_hip((const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })

/* A path for a file of this test. */
const char *temporary(const char *name);

#define OK(call)                                                                                   \
	do {                                                                                       \
		hipError_t ok_ = (call);                                                           \
		cr_assert_eq(ok_, hipSuccess, "%s gives %d", #call, (int)ok_);                     \
	} while (0)
#define GIVES(error, call)                                                                         \
	do {                                                                                       \
		hipError_t is_ = (call);                                                           \
		cr_assert_eq(is_, (error), "%s gives %d, not %s", #call, (int)is_, #error);        \
	} while (0)

/* Something for a stream to wait for. */
struct door {
	_Atomic int is_open, was_reached;
};
void hold_stream(hipStream_t s, struct door *door);	/* a host function that waits for the door */
void open_door(struct door *door);
void await_door(struct door *door);			/* until the stream stands before it */

/* Code objects of kernels.h, for "gfx1100", "gfx90a", or "no-ir": malloc'ed. */
unsigned char *code_of(const char *which, size_t *size);
hipModule_t load_module(const char *which);
hipFunction_t function(hipModule_t m, const char *name);
/* Blocks of 64. */
void launch(hipFunction_t f, unsigned int blocks, hipStream_t s, void **params);

/* Memory that the program may use as well. */
uint32_t *pinned(size_t size);
uint32_t read_u32(const void *device);
/* Reserved, mapped, with access. */
void *map(void *hint, size_t size, hipMemGenericAllocationHandle_t *handle);

#endif
