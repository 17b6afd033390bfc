/* test_entry.c - the Level Zero driver for tests behind the loader: devices, counters, injected errors, the end. */
#include "fake_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

Test(entry, a_machine_without_a_device)
{
	LOAD("DEVICES=0");
	GIVES(ZE_RESULT_ERROR_UNINITIALIZED, ze.zeInit(0));
}

Test(entry, a_device_that_says_what_it_is)
{
	START("STRICT=1", "SLM=131072", "SUBGROUPS=16,32", "FP64=0", "CORES=4");
	ze_device_properties_t p = { .stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES };
	ze_device_compute_properties_t c = { .stype = ZE_STRUCTURE_TYPE_DEVICE_COMPUTE_PROPERTIES };
	ze_device_module_properties_t m = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MODULE_PROPERTIES };
	ze_command_queue_group_properties_t g[2] = { { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_GROUP_PROPERTIES },
						     { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_GROUP_PROPERTIES } };
	ze_api_version_t version;
	uint32_t n = 0;

	OK(ze.zeDeviceGetProperties(device, &p));
	cr_assert_str_eq(p.name, "Fake Intel GPU (test driver)");
	cr_assert_eq(p.numSubslicesPerSlice, 4);
	OK(ze.zeDeviceGetComputeProperties(device, &c));
	cr_assert_eq(c.maxSharedLocalMemory, 131072);
	cr_assert(c.numSubGroupSizes == 2 && c.subGroupSizes[0] == 16 && c.subGroupSizes[1] == 32);
	OK(ze.zeDeviceGetModuleProperties(device, &m));
	cr_assert_not(m.flags & ZE_DEVICE_MODULE_FLAG_FP64);
	cr_assert(m.flags & ZE_DEVICE_MODULE_FLAG_INT64_ATOMICS);
	OK(ze.zeDeviceGetCommandQueueGroupProperties(device, &n, NULL));
	cr_assert_eq(n, 2);
	OK(ze.zeDeviceGetCommandQueueGroupProperties(device, &n, g));
	cr_assert(g[0].flags & ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE);
	cr_assert_not(g[1].flags & ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE);
	OK(ze.zeDriverGetApiVersion(driver, &version));
	cr_assert_eq(version, ZE_API_VERSION_1_4);
}

static struct fake_counter *counter(const char *path, const char *name)
{
	int fd = open(path, O_RDWR);
	struct fake_counter *c;
	off_t size = lseek(fd, 0, SEEK_END);

	cr_assert(fd >= 0);
	c = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (size_t i = 0; i < (size_t)size / sizeof(*c); i++)
		if (!strcmp(c[i].name, name))
			return &c[i];
	cr_assert(false, "no counter '%s'", name);
	return NULL;
}

Test(entry, calls_are_counted_and_fail_when_they_are_to)
{
	char knob[300];
	struct fake_counter *c;
	ze_context_handle_t other;
	const ze_context_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC };

	snprintf(knob, sizeof(knob), "CONTROL=%s", temporary("control"));
	START("STRICT=1", knob);
	c = counter(temporary("control"), "zeContextCreate");
	cr_assert_eq(c->calls, 1);
	c->error = ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY;
	c->fail_in = 2;
	OK(ze.zeContextCreate(driver, &desc, &other));
	GIVES(ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY, ze.zeContextCreate(driver, &desc, &other));
	OK(ze.zeContextCreate(driver, &desc, &other));
	cr_assert_eq(c->calls, 4);
	unlink(temporary("control"));
}

/* What the loader's validation layer refuses does not come as far as the driver. */
Test(entry, the_validation_layer_is_there)
{
	char knob[300];
	ze_context_handle_t other;

	snprintf(knob, sizeof(knob), "CONTROL=%s", temporary("control"));
	START("STRICT=1", knob);
	GIVES(ZE_RESULT_ERROR_INVALID_NULL_POINTER, ze.zeContextCreate(driver, NULL, &other));
	cr_assert_eq(counter(temporary("control"), "zeContextCreate")->calls, 1, "it was called with no description");
	unlink(temporary("control"));
}

Test(entry, what_is_left_at_the_end_is_told)
{
	pid_t pid;
	int status;

	LOAD("LEAKS=1", "STRICT=1");
	catch_messages();
	pid = fork();
	if (!pid) {
		ze_physical_mem_handle_t physical;
		ze_event_pool_handle_t p;

		/* the library is loaded in the child alone */
		start();
		p = pool();
		(void)event(p, 3);
		(void)device_memory(12345);
		(void)map((void *)0x200000000000, 2 << 20, &physical);
		exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert(was_said("leak: context"));
	cr_assert(was_said("leak: event pool"));
	cr_assert(was_said("leak: event 0x"));
	cr_assert(was_said("leak: physical memory"));
	cr_assert(was_said(", 12345 bytes"));
	cr_assert(was_said("leak: mapping 0x200000000000, 2097152 bytes"));
	cr_assert(was_said("leak: reserved addresses 0x200000000000, 2097152 bytes"));
}

Test(entry, a_child_of_fork_has_no_driver)
{
	pid_t pid;
	int status;

	START("STRICT=1");
	pid = fork();
	if (!pid)
		_exit(ze.zeDeviceGetStatus(device) == ZE_RESULT_ERROR_UNINITIALIZED ? 7 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}
