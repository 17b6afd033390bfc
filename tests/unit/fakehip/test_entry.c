/* test_entry.c - the HIP double as a library: what is exported, devices, errors, counters, injected errors, the end. */
#include "fake_test.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

Test(entry, all_of_the_table_is_there_and_nothing_else)
{
	LOAD();
#define HIP_CALL(name, params, args) cr_assert(hip.name, "%s", #name);
#include "tests/drivers/hip/calls.def"
	cr_assert_null(dlsym(hip_library, "hipGraphCreate"));
	cr_assert_null(dlsym(hip_library, "hd_hipInit"));
}

Test(entry, names_of_errors)
{
	const char *text;

	LOAD();
	cr_assert_str_eq(hip.hipGetErrorName(hipErrorNoBinaryForGpu), "hipErrorNoBinaryForGpu");
	cr_assert_str_eq(hip.hipGetErrorString(hipErrorOutOfMemory), "out of memory");
	OK(hip.hipDrvGetErrorName(hipErrorNotFound, &text));
	cr_assert_str_eq(text, "hipErrorNotFound");
	GIVES(hipErrorInvalidValue, hip.hipDrvGetErrorName((hipError_t)12345, &text));
}

Test(entry, the_last_error_is_the_threads_and_is_told_once)
{
	LOAD();
	GIVES(hipErrorInvalidDevice, hip.hipSetDevice(7));
	GIVES(hipErrorInvalidDevice, hip.hipPeekAtLastError());
	GIVES(hipErrorInvalidDevice, hip.hipGetLastError());
	OK(hip.hipGetLastError());
}

Test(entry, a_chip_is_what_was_asked_for)
{
	struct hip6_device_prop prop;
	hipDeviceProp_t old;
	int warp, lds;

	LOAD("CHIP=gfx90a", "STRICT=1");
	OK(hip.hipGetDevicePropertiesR0600(&prop, 0));
	cr_assert_str_eq(prop.gcnArchName, "gfx90a:sramecc+:xnack-");
	cr_assert_eq(prop.warpSize, 64);
	cr_assert_eq(prop.multiProcessorCount, 8);
	OK(hip.hipGetDeviceProperties(&old, 0));
	cr_assert_str_eq(old.gcnArchName, "gfx90a:sramecc+:xnack-");
	OK(hip.hipDeviceGetAttribute(&warp, hipDeviceAttributeWarpSize, 0));
	OK(hip.hipDeviceGetAttribute(&lds, hipDeviceAttributeMaxSharedMemoryPerBlock, 0));
	cr_assert_eq(warp, 64);
	cr_assert_eq(lds, 65536);
}

Test(entry, a_machine_without_a_device)
{
	int n;

	LOAD("DEVICES=0");
	GIVES(hipErrorNoDevice, hip.hipInit(0));
	GIVES(hipErrorNoDevice, hip.hipGetDeviceCount(&n));
}

Test(entry, an_unknown_chip_is_no_device)
{
	LOAD("CHIP=gfx9999");
	GIVES(hipErrorNoDevice, hip.hipInit(0));
}

static struct fake_counter *counter(const char *path, const char *name)
{
	int fd = open(path, O_RDWR);
	struct fake_counter *c;
	off_t size = lseek(fd, 0, SEEK_END);

	cr_assert_geq(fd, 0);
	c = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	for (size_t i = 0; i < (size_t)size / sizeof(*c); i++)
		if (!strcmp(c[i].name, name))
			return &c[i];
	cr_assert_fail("there is no counter of %s", name);
	return NULL;
}

Test(entry, calls_are_counted_and_the_nth_fails)
{
	const char *path = temporary("control");
	struct fake_counter *c;
	char knob[300];
	void *p;

	snprintf(knob, sizeof(knob), "CONTROL=%s", path);
	LOAD(knob, "STRICT=1");
	c = counter(path, "hipMalloc");
	OK(hip.hipMalloc(&p, 4));
	c->error = hipErrorOutOfMemory;
	c->fail_in = 2;
	OK(hip.hipMalloc(&p, 4));
	GIVES(hipErrorOutOfMemory, hip.hipMalloc(&p, 4));
	GIVES(hipErrorOutOfMemory, hip.hipGetLastError());
	OK(hip.hipMalloc(&p, 4));
	cr_assert_eq(c->calls, 4);
	unlink(path);
}

Test(entry, a_forked_child_has_no_hip)
{
	int status, n;
	pid_t child;

	LOAD();
	OK(hip.hipGetDeviceCount(&n));
	child = fork();
	if (!child)
		_exit(hip.hipGetDeviceCount(&n) == hipErrorNotInitialized ? 0 : 1);
	waitpid(child, &status, 0);
	cr_assert_eq(status, 0);
}

/* What a child that ends with `left` alive writes. */
static void leaks(bool free_it, char *text, size_t size)
{
	int pipe_[2], status;
	size_t length = 0;
	ssize_t n;
	pid_t child;

	cr_assert_eq(pipe(pipe_), 0);
	fflush(NULL);
	child = fork();
	if (!child) {
		hipStream_t s;
		void *p;

		dup2(pipe_[1], STDERR_FILENO);
		LOAD("LEAKS=1");
		OK(hip.hipMalloc(&p, 12345));
		OK(hip.hipStreamCreate(&s));
		OK(hip.hipMemset(p, 0, 12345));
		if (free_it) {
			OK(hip.hipFree(p));
			OK(hip.hipStreamDestroy(s));
		}
		exit(0);
	}
	close(pipe_[1]);
	for (n = 1; n > 0 && length + 1 < size; length += (size_t)(n > 0 ? n : 0))
		n = read(pipe_[0], text + length, size - 1 - length);
	text[length] = '\0';
	close(pipe_[0]);
	waitpid(child, &status, 0);
}

Test(entry, leaks_are_listed_at_the_end)
{
	char text[4096];

	leaks(false, text, sizeof(text));
	cr_assert(strstr(text, "leak: device memory") && strstr(text, "12345 bytes") && strstr(text, "leak: stream"), "%s", text);
	leaks(true, text, sizeof(text));
	cr_assert_not(strstr(text, "double: leak"), "%s", text);
}
