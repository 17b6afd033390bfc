/* test_code.c - SPIR-V in the Level Zero driver for tests: the reader, also of damaged modules; modules, kernels, launches. */
#include "fake_test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/ze/spirv.h"

static void run(ze_kernel_handle_t k, uint32_t groups)
{
	const ze_group_count_t g = { groups, 1, 1 };
	ze_command_list_handle_t l = immediate_list();
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t e = event(p, 0);

	OK(ze.zeCommandListAppendLaunchKernel(l, k, &g, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, UINT64_MAX));
	OK(ze.zeEventDestroy(e));
	OK(ze.zeEventPoolDestroy(p));
	OK(ze.zeCommandListDestroy(l));
}

Test(code, a_kernel_works_on_memory)
{
	START("STRICT=1", "VALIDATE=1");
	ze_kernel_handle_t k = kernel(module(), "add", 64);
	uint32_t *h = host_memory(4096), v = 5;

	for (uint32_t i = 0; i < 1024; i++)
		h[i] = i;
	OK(ze.zeKernelSetArgumentValue(k, 0, sizeof(h), &h));
	OK(ze.zeKernelSetArgumentValue(k, 1, sizeof(v), &v));
	run(k, 16);
	for (uint32_t i = 0; i < 1024; i++)
		cr_assert_eq(h[i], i + 5, "%u: %u", i, h[i]);
}

Test(code, local_memory_is_an_argument_with_a_size)
{
	START("STRICT=1");
	ze_kernel_handle_t k = kernel(module(), "local", 32);
	uint32_t *h = host_memory(128);

	OK(ze.zeKernelSetArgumentValue(k, 0, sizeof(h), &h));
	OK(ze.zeKernelSetArgumentValue(k, 1, 128, NULL));
	run(k, 1);
	for (uint32_t i = 0; i < 32; i++)
		cr_assert_eq(h[i], i);
}

Test(code, what_a_kernel_says_of_itself)
{
	START("STRICT=1");
	ze_module_handle_t m = module();
	ze_kernel_properties_t p = { .stype = ZE_STRUCTURE_TYPE_KERNEL_PROPERTIES };
	const char *names[8];
	uint32_t n = 8, x, y, z;
	ze_kernel_handle_t k = kernel(m, "sized", 8);
	char name[32];
	size_t size = sizeof(name);

	OK(ze.zeKernelGetProperties(k, &p));
	cr_assert_eq(p.numKernelArgs, 1);
	cr_assert_eq(p.requiredGroupSizeX, 8);
	OK(ze.zeModuleGetKernelNames(m, &n, names));
	cr_assert_eq(n, 5);
	cr_assert_str_eq(names[0], "add");
	OK(ze.zeKernelGetName(k, &size, name));
	cr_assert_str_eq(name, "sized");
	cr_assert_eq(size, 6);
	OK(ze.zeKernelSuggestGroupSize(k, 100, 3, 1, &x, &y, &z));
	cr_assert(100 % x == 0 && 3 % y == 0 && z == 1);
	OK(ze.zeKernelSuggestMaxCooperativeGroupCount(k, &n));
	cr_assert_eq(n, 2048);
}

Test(code, arguments_are_checked)
{
	START();
	ze_kernel_handle_t k = kernel(module(), "add", 32), l;
	const ze_kernel_desc_t unknown = { .stype = ZE_STRUCTURE_TYPE_KERNEL_DESC, .pKernelName = "none" };
	const ze_group_count_t g = { 1, 1, 1 };
	uint32_t v = 1, *pageable = &v;

	catch_messages();
	GIVES(ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX, ze.zeKernelSetArgumentValue(k, 2, 4, &v));
	GIVES(ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE, ze.zeKernelSetArgumentValue(k, 1, 8, &v));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeKernelSetArgumentValue(k, 0, 8, &pageable));
	cr_assert(was_said("level-zero test driver: error: misuse of zeKernelSetArgumentValue: kernel 'add', argument 0"));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeCommandListAppendLaunchKernel(immediate_list(), k, &g, NULL, 0, NULL));
	cr_assert(was_said("argument 0 is not set"));
	GIVES(ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION, ze.zeKernelSetGroupSize(k, 32, 32, 2));
	GIVES(ZE_RESULT_ERROR_INVALID_KERNEL_NAME, ze.zeKernelCreate(module(), &unknown, &l));
}

Test(code, addresses_in_memory_need_a_flag)
{
	START();
	ze_kernel_handle_t k = kernel(module(), "follow", 1);
	uint32_t *h = host_memory(4);
	uint64_t **table = (uint64_t **)host_memory(64);
	const ze_group_count_t g = { 1, 1, 1 };
	ze_event_handle_t e = event(pool(), 0);

	table[0] = (uint64_t *)h;
	catch_messages();
	OK(ze.zeKernelSetArgumentValue(k, 0, 8, &table));
	OK(ze.zeKernelSetIndirectAccess(k, ZE_KERNEL_INDIRECT_ACCESS_FLAG_DEVICE));
	OK(ze.zeCommandListAppendLaunchKernel(immediate_list(), k, &g, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, UINT64_MAX));
	cr_assert(was_said("indirect access to such memory was not allowed"));
	OK(ze.zeEventHostReset(e));
	catch_messages();
	OK(ze.zeKernelSetIndirectAccess(k, ZE_KERNEL_INDIRECT_ACCESS_FLAG_HOST));
	OK(ze.zeCommandListAppendLaunchKernel(immediate_list(), k, &g, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, UINT64_MAX));
	cr_assert_eq(*h, 7);
	cr_assert_not(was_said("misuse"));
}

Test(code, what_the_device_lacks_is_in_the_build_log)
{
	ze_module_handle_t m;
	char log[1024];
	size_t size;

	START("VALIDATE=1");
	unsigned char *bytes = code(&size);
	uint32_t *words = (uint32_t *)bytes;

	/* the first instruction: OpCapability Addresses; Shader instead */
	words[6] = 1;
	GIVES(ZE_RESULT_ERROR_MODULE_BUILD_FAILURE, build_module(bytes, size, &m, log, sizeof(log)));
	cr_assert_str_eq(log, "capability 1 is not supported by the device");
	words[6] = 4;
	words[1] = 0x10400;
	GIVES(ZE_RESULT_ERROR_MODULE_BUILD_FAILURE, build_module(bytes, size, &m, log, sizeof(log)));
	cr_assert_str_eq(log, "SPIR-V 1.4; the device takes 1.3");
	/* without what it is that converts integers to pointers, the validator sees it */
	words[1] = 0x10200;
	words[6] = 6;
	GIVES(ZE_RESULT_ERROR_MODULE_BUILD_FAILURE, build_module(bytes, size, &m, log, sizeof(log)));
	cr_assert(strstr(log, "spirv-val: "), "%s", log);
	GIVES(ZE_RESULT_ERROR_MODULE_BUILD_FAILURE, build_module("no module, that is", 16, &m, log, sizeof(log)));
	cr_assert_str_eq(log, "16 bytes that are no SPIR-V module");
	free(bytes);
}

Test(code, a_kernel_that_faults_takes_the_device)
{
	START();
	ze_kernel_handle_t k = kernel(module(), "follow", 1);
	uint64_t *table = (uint64_t *)host_memory(64);
	const ze_group_count_t g = { 1, 1, 1 };
	ze_event_handle_t e = event(pool(), 0);
	ze_command_list_handle_t l = immediate_list();

	table[0] = 0x1000;
	OK(ze.zeKernelSetArgumentValue(k, 0, 8, &table));
	OK(ze.zeCommandListAppendLaunchKernel(l, k, &g, e, 0, NULL));
	GIVES(ZE_RESULT_ERROR_DEVICE_LOST, ze.zeEventHostSynchronize(e, UINT64_MAX));
	GIVES(ZE_RESULT_ERROR_DEVICE_LOST, ze.zeCommandListAppendBarrier(l, NULL, 0, NULL));
	GIVES(ZE_RESULT_ERROR_DEVICE_LOST, ze.zeDeviceGetStatus(device));
}

Test(code, the_reader_takes_arguments_from_the_module)
{
	size_t size;
	unsigned char *bytes = code(&size);
	char why[256];
	struct spirv_module *m = spirv_read(bytes, size, why, sizeof(why));

	cr_assert(m, "%s", why);
	cr_assert_eq(m->nr_kernels, 5);
	cr_assert_eq(m->kernel[0].nr_args, 2);
	cr_assert_eq(m->kernel[0].arg[0].kind, SPIRV_ARG_POINTER);
	cr_assert_eq(m->kernel[0].arg[1].kind, SPIRV_ARG_VALUE);
	cr_assert_eq(m->kernel[0].arg[1].size, 4);
	cr_assert_eq(m->kernel[2].arg[1].kind, SPIRV_ARG_LOCAL);
	cr_assert_eq(m->kernel[4].local_size[0], 8);
	cr_assert_eq(m->nr_capabilities, 3);
	spirv_free(m);
	free(bytes);
}

/* Every word in turn, and every length: the reader must end, with a module or a reason. */
Test(code, the_reader_survives_damage)
{
	static const uint32_t damage[] = { 0, 1, 0xffff, 0x7fffffff, 0xffffffff, 0x00020000, 0x0004003b };
	size_t size, refused = 0;
	unsigned char *bytes = code(&size);
	uint32_t *words = malloc(size);

	for (size_t i = 0; i < size / 4; i++) {
		for (size_t j = 0; j < sizeof(damage) / sizeof(damage[0]); j++) {
			char why[256] = "";
			struct spirv_module *m;

			memcpy(words, bytes, size);
			words[i] = damage[j];
			m = spirv_read(words, size, why, sizeof(why));
			refused += !m;
			cr_assert(m || why[0], "word %zu", i);
			spirv_free(m);
		}
	}
	for (size_t n = 0; n < size; n++) {
		char why[256] = "";
		struct spirv_module *m = spirv_read(bytes, n, why, sizeof(why));

		cr_assert(m || why[0], "%zu bytes", n);
		spirv_free(m);
	}
	cr_assert_gt(refused, 100);
	free(words);
	free(bytes);
}
