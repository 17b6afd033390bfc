/* helper.c - what the tests of the HIP double share. */
#include "fake_test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct hip_api hip;
void *hip_library;

static const char *build_folder(void)
{
	const char *build = getenv("HG_BUILD");

	return build ? build : "build";
}

void load_hip(const char *const *knob)
{
	char path[4096];

	for (; *knob; knob++) {
		char name[256];
		const char *value = strchr(*knob, '=');

		snprintf(name, sizeof(name), "HG_FAKE_HIP_%.*s", (int)(value - *knob), *knob);
		setenv(name, value + 1, 1);
	}
	snprintf(path, sizeof(path), "%s/drivers/hip/libamdhip64.so.6", build_folder());
	hip_library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	cr_assert(hip_library, "%s", dlerror());
	*(void **)&hip.hipGetErrorName = dlsym(hip_library, "hipGetErrorName");
	*(void **)&hip.hipGetErrorString = dlsym(hip_library, "hipGetErrorString");
#define HIP_CALL(name, params, args) *(void **)&hip.name = dlsym(hip_library, #name);
#include "tests/drivers/hip/calls.def"
}

const char *temporary(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "/tmp/fakehip-%d-%s", (int)getpid(), name);
	return path;
}

static void wait_for(_Atomic int *flag)
{
	const struct timespec tick = { 0, 200000 };

	while (!*flag)
		nanosleep(&tick, NULL);
}

static void stand_at(void *arg)
{
	struct door *door = arg;

	door->was_reached = 1;
	wait_for(&door->is_open);
}

void hold_stream(hipStream_t s, struct door *door)
{
	door->is_open = door->was_reached = 0;
	OK(hip.hipLaunchHostFunc(s, stand_at, door));
}

void open_door(struct door *door)
{
	door->is_open = 1;
}

void await_door(struct door *door)
{
	wait_for(&door->was_reached);
}

unsigned char *code_of(const char *which, size_t *size)
{
	unsigned char *bytes = malloc(1 << 20);
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/unit/fakehip/%s.co", build_folder(), which);
	f = fopen(path, "rb");
	cr_assert(f && bytes, "cannot open '%s'", path);
	*size = fread(bytes, 1, 1 << 20, f);
	fclose(f);
	return bytes;
}

hipModule_t load_module(const char *which)
{
	size_t size;
	unsigned char *bytes = code_of(which, &size);
	hipModule_t m;

	OK(hip.hipModuleLoadData(&m, bytes));
	free(bytes);
	return m;
}

hipFunction_t function(hipModule_t m, const char *name)
{
	hipFunction_t f;

	OK(hip.hipModuleGetFunction(&f, m, name));
	return f;
}

void launch(hipFunction_t f, unsigned int blocks, hipStream_t s, void **params)
{
	OK(hip.hipModuleLaunchKernel(f, blocks, 1, 1, 64, 1, 1, 0, s, params, NULL));
}

uint32_t *pinned(size_t size)
{
	void *p;

	OK(hip.hipHostMalloc(&p, size, 0));
	return p;
}

uint32_t read_u32(const void *device)
{
	uint32_t v;

	OK(hip.hipMemcpy(&v, device, sizeof(v), hipMemcpyDeviceToHost));
	return v;
}

void *map(void *hint, size_t size, hipMemGenericAllocationHandle_t *handle)
{
	const struct hip6_alloc_prop prop = {
		.type = hipMemAllocationTypePinned, .location = { hipMemLocationTypeDevice, 0 },
	};
	const hipMemAccessDesc access = { { hipMemLocationTypeDevice, 0 }, hipMemAccessFlagsProtReadWrite };
	void *p;

	OK(hip.hipMemAddressReserve(&p, size, 0, hint, 0));
	OK(hip.hipMemCreate(handle, size, (const hipMemAllocationProp *)&prop, 0));
	OK(hip.hipMemMap(p, size, 0, *handle, 0));
	OK(hip.hipMemSetAccess(p, size, &access, 1));
	return p;
}
