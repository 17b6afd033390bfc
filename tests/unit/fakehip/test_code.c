/* test_code.c - code objects in the HIP double: the reader, also of damaged ones; modules; launches. */
#include "fake_test.h"

#include <elf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/hip/code_object.h"

/* ---- the reader ---- */

static struct co_object *read_it(const unsigned char *bytes, size_t size, char why[512])
{
	memset(why, 0, 512);
	return co_read(bytes, size, why, 512);
}

static const struct co_kernel *kernel_of(const struct co_object *co, const char *name)
{
	for (size_t i = 0; i < co->nr_kernels; i++)
		if (!strcmp(co->kernel[i].name, name))
			return &co->kernel[i];
	cr_assert_fail("there is no kernel %s", name);
	return NULL;
}

Test(code_object, all_of_it_is_read)
{
	const struct co_kernel *k;
	struct co_object *co;
	unsigned char *bytes;
	char why[512];
	size_t size;

	bytes = code_of("gfx90a", &size);
	cr_assert_geq(co_claimed_size(bytes), size - 64);
	co = read_it(bytes, size, why);
	cr_assert(co, "%s", why);
	cr_assert_eq(co->mach, 0x3f);
	cr_assert_eq(co->nr_kernels, 7);
	cr_assert_gt(co->bitcode_size, 1000);
	cr_assert_eq(memcmp(co->bitcode, "BC\xc0\xde", 4), 0);
	k = kernel_of(co, "reverse");
	cr_assert_eq(k->wave, 64);
	cr_assert_eq(k->lds_bytes, 256);
	cr_assert_eq(k->kernarg_bytes, 8);
	cr_assert_eq(k->max_items, 1024);
	k = kernel_of(co, "last_of");
	cr_assert_eq(k->nr_args, 2);
	cr_assert_eq(k->arg[0].size, 200);
	cr_assert_eq(k->arg[1].offset, 200);
	cr_assert_eq(k->explicit_bytes, 208);
	co_free(co);
	free(bytes);
}

Test(code_object, one_without_ir_is_read_as_well)
{
	struct co_object *co;
	unsigned char *bytes;
	char why[512];
	size_t size;

	bytes = code_of("no-ir", &size);
	co = read_it(bytes, size, why);
	cr_assert(co, "%s", why);
	cr_assert_null(co->bitcode);
	co_free(co);
	free(bytes);
}

Test(code_object, a_file_that_is_cut_is_refused_and_no_more)
{
	struct co_object *co;
	unsigned char *bytes;
	char why[512];
	size_t size;

	bytes = code_of("gfx1100", &size);
	for (size_t n = 0; n < size; n += n < 4096 ? 1 : 13) {
		unsigned char *cut = malloc(n ? n : 1);		/* its own, so that a sanitizer sees what is read behind it */

		memcpy(cut, bytes, n);
		co = read_it(cut, n, why);
		cr_assert_null(co, "%zu bytes of %zu", n, size);
		cr_assert(why[0]);
		free(cut);
	}
	free(bytes);
}

/* Whatever is changed: it is refused, or still makes sense. */
Test(code_object, a_file_that_is_altered_does_no_harm)
{
	static const unsigned char with[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
	struct co_object *co;
	unsigned char *bytes;
	size_t size, refused = 0;
	char why[512];

	bytes = code_of("gfx1100", &size);
	for (size_t at = 0; at < 4096 && at < size; at++) {
		for (size_t i = 0; i < sizeof(with); i++) {
			unsigned char before = bytes[at];

			bytes[at] = with[i];
			co = read_it(bytes, size, why);
			bytes[at] = before;
			refused += !co;
			for (size_t k = 0; co && k < co->nr_kernels; k++) {
				const struct co_kernel *n = &co->kernel[k];

				cr_assert(n->wave == 32 || n->wave == 64);
				cr_assert_leq(n->explicit_bytes, n->kernarg_bytes);
				for (size_t a = 0; a < n->nr_args; a++)
					cr_assert_leq(n->arg[a].offset + n->arg[a].size, n->kernarg_bytes);
			}
			co_free(co);
		}
	}
	cr_assert_gt(refused, 1000);
	free(bytes);
}

/* The bytes of `find` are in it once; they become `with`. */
static void patch(unsigned char *bytes, size_t size, const char *find, size_t length, const char *with)
{
	for (size_t i = 0; i + length <= size; i++)
		if (!memcmp(bytes + i, find, length)) {
			memcpy(bytes + i, with, length);
			return;
		}
	cr_assert_fail("it is not there");
}

static void expect_refusal(void (*change)(unsigned char *bytes, size_t size), const char *says)
{
	struct co_object *co;
	unsigned char *bytes;
	char why[512];
	size_t size;

	bytes = code_of("gfx1100", &size);
	change(bytes, size);
	co = read_it(bytes, size, why);
	cr_assert_null(co);
	cr_assert(strstr(why, says), "says '%s', not '%s'", why, says);
	free(bytes);
}

static void other_machine(unsigned char *b, size_t size)
{
	(void)size;
	((Elf64_Ehdr *)b)->e_machine = EM_X86_64;
}

static void older_version(unsigned char *b, size_t size)
{
	(void)size;
	b[EI_ABIVERSION] = 2;
}

static void not_linked(unsigned char *b, size_t size)
{
	(void)size;
	((Elf64_Ehdr *)b)->e_type = ET_REL;
}

static void no_wave_size(unsigned char *b, size_t size)
{
	patch(b, size, ".wavefront_size", 15, ".wavefront_sizf");
}

static void other_wave(unsigned char *b, size_t size)
{
	patch(b, size, ".wavefront_size\x20", 16, ".wavefront_size\x40");
}

static void other_lds(unsigned char *b, size_t size)
{
	patch(b, size, ".group_segment_fixed_size\xcd\x01\x00", 28, ".group_segment_fixed_size\xcd\x02\x00");
}

static void other_arguments(unsigned char *b, size_t size)
{
	patch(b, size, ".kernarg_segment_size\x10", 22, ".kernarg_segment_size\x20");
}

static void fewer_arguments(unsigned char *b, size_t size)
{
	patch(b, size, ".kernarg_segment_size\x10", 22, ".kernarg_segment_size\x08");
}

static void other_symbol(unsigned char *b, size_t size)
{
	patch(b, size, ".symbol\xa7" "fill.kd", 15, ".symbol\xa7" "fill.kx");
}

static void metadata_version(unsigned char *b, size_t size)
{
	patch(b, size, "amdhsa.version\x92\x01\x02", 17, "amdhsa.version\x92\x01\x01");
}

Test(code_object, what_is_wrong_is_said)
{
	expect_refusal(other_machine, "machine 62");
	expect_refusal(older_version, "ABI version is 2");
	expect_refusal(not_linked, "not linked");
	expect_refusal(no_wave_size, "no '.wavefront_size'");
	expect_refusal(other_wave, "the descriptor is for waves of 32, the metadata for 64");
	expect_refusal(other_lds, "256 bytes of LDS");
	expect_refusal(other_arguments, "of arguments; the metadata 0, 0, 32");
	expect_refusal(fewer_arguments, "outside the 8 bytes");
	expect_refusal(other_symbol, "its symbol is 'fill.kx'");
	expect_refusal(metadata_version, "version 1.1");
}

/* ---- modules ---- */

Test(modules, of_another_chip_are_refused)
{
	unsigned char *bytes;
	hipModule_t m;
	size_t size;

	LOAD("CHIP=gfx1030");
	bytes = code_of("gfx1100", &size);
	GIVES(hipErrorNoBinaryForGpu, hip.hipModuleLoadData(&m, bytes));
	memcpy(bytes, "none", 4);
	GIVES(hipErrorInvalidImage, hip.hipModuleLoadData(&m, bytes));
	GIVES(hipErrorInvalidImage, hip.hipModuleLoadData(&m, (void *)0x1000));
	free(bytes);
}

Test(modules, features_that_the_device_has_otherwise_are_refused)
{
	unsigned char *bytes;
	hipModule_t m;
	size_t size;
	Elf64_Ehdr *h;

	LOAD("CHIP=gfx90a");
	bytes = code_of("gfx90a", &size);
	h = (Elf64_Ehdr *)bytes;
	OK(hip.hipModuleLoadData(&m, bytes));
	OK(hip.hipModuleUnload(m));
	h->e_flags = 0x3f | 0x300 | 0x400;	/* xnack on */
	GIVES(hipErrorNoBinaryForGpu, hip.hipModuleLoadData(&m, bytes));
	h->e_flags = 0x3f | 0x200 | 0xc00;	/* xnack off, sramecc on, as the device is */
	OK(hip.hipModuleLoadData(&m, bytes));
	h->e_flags = 0x3f | 0x200 | 0x800;
	GIVES(hipErrorNoBinaryForGpu, hip.hipModuleLoadData(&m, bytes));
	free(bytes);
}

Test(modules, what_is_not_in_them_is_not_found)
{
	hipFunction_t f;
	hipModule_t m;
	size_t size;
	void *p;

	LOAD();
	m = load_module("gfx1100");
	GIVES(hipErrorNotFound, hip.hipModuleGetFunction(&f, m, "missing"));
	GIVES(hipErrorNotFound, hip.hipModuleGetGlobal(&p, &size, m, "missing"));
	f = function(m, "fill");
	OK(hip.hipModuleUnload(m));
	GIVES(hipErrorInvalidResourceHandle, hip.hipModuleUnload(m));
	GIVES(hipErrorInvalidResourceHandle, hip.hipModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
}

Test(modules, tell_what_a_kernel_needs)
{
	hipFunction_t f;
	hipModule_t m;
	int v;

	LOAD("STRICT=1");
	m = load_module("gfx1100");
	f = function(m, "reverse");
	OK(hip.hipFuncGetAttribute(&v, HIP_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, f));
	cr_assert_eq(v, 256);
	OK(hip.hipFuncGetAttribute(&v, HIP_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, f));
	cr_assert_eq(v, 1024);
	OK(hip.hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(&v, f, 64, 32768 - 256));
	cr_assert_eq(v, 2);
	OK(hip.hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(&v, f, 512, 0));
	cr_assert_eq(v, 4);
}

/* ---- launches ---- */

static void launch_is_right(const char *chip)
{
	uint32_t n = 200, v = 5, host[200];
	hipModule_t m;
	char knob[32];
	void *p;

	snprintf(knob, sizeof(knob), "CHIP=%s", chip);
	LOAD(knob, "STRICT=1");
	m = load_module(chip);
	OK(hip.hipMalloc(&p, sizeof(host)));
	launch(function(m, "fill"), 4, NULL, (void *[]){ &p, &n, &v });
	launch(function(m, "add"), 4, NULL, (void *[]){ &p, &n, &v });
	OK(hip.hipMemcpy(host, p, sizeof(host), hipMemcpyDeviceToHost));
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(host[i], 10 + i);
	OK(hip.hipModuleUnload(m));
}

Test(launch, on_waves_of_32)
{
	launch_is_right("gfx1100");
}

Test(launch, on_waves_of_64)
{
	launch_is_right("gfx90a");
}

Test(launch, memory_of_the_block_static_and_dynamic)
{
	uint32_t host[64];
	hipFunction_t f;
	hipModule_t m;
	void *p;

	LOAD("STRICT=1");
	m = load_module("gfx1100");
	f = function(m, "reverse");
	OK(hip.hipMalloc(&p, sizeof(host)));
	OK(hip.hipModuleLaunchKernel(f, 1, 1, 1, 64, 1, 1, 256, NULL, (void *[]){ &p }, NULL));
	OK(hip.hipMemcpy(host, p, sizeof(host), hipMemcpyDeviceToHost));
	for (uint32_t i = 0; i < 64; i++)
		cr_assert_eq(host[i], 100 + 2 * (63 - i));
}

Test(launch, a_buffer_of_arguments_has_the_kernels_size)
{
	struct {
		uint32_t word[50];
		void *out;
	} args = { .word[49] = 77 };
	size_t size = sizeof(args);
	void *extra[] = { HIP_LAUNCH_PARAM_BUFFER_POINTER, &args, HIP_LAUNCH_PARAM_BUFFER_SIZE, &size, HIP_LAUNCH_PARAM_END };
	hipFunction_t f;

	LOAD();
	f = function(load_module("gfx1100"), "last_of");
	OK(hip.hipMalloc(&args.out, 4));
	OK(hip.hipModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	cr_assert_eq(read_u32(args.out), 77);
	size = sizeof(args) - 8;
	GIVES(hipErrorInvalidValue, hip.hipModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	size = sizeof(args) + 16;
	GIVES(hipErrorInvalidValue, hip.hipModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	GIVES(hipErrorInvalidValue, hip.hipModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
}

Test(launch, shapes_beyond_the_limits_are_misuses)
{
	hipFunction_t f, lds;
	hipModule_t m;

	LOAD();
	m = load_module("gfx1100");
	f = function(m, "nothing");
	lds = function(m, "reverse");
#define SHAPE(error, ...) GIVES(error, hip.hipModuleLaunchKernel(f, __VA_ARGS__, NULL, NULL, NULL))
	SHAPE(hipSuccess, 1, 1, 1, 1024, 1, 1, 65536);
	SHAPE(hipErrorInvalidValue, 0, 1, 1, 1, 1, 1, 0);
	SHAPE(hipErrorInvalidConfiguration, 1, 1, 1, 1, 0, 1, 0);
	SHAPE(hipErrorInvalidValue, 1, 1, 1, 1024, 2, 1, 0);
	SHAPE(hipErrorInvalidValue, 1, 65537, 1, 1, 1, 1, 0);
	SHAPE(hipErrorInvalidConfiguration, 1u << 22, 1, 1, 1024, 1, 1, 0);	/* 2^32 work-items */
	SHAPE(hipErrorInvalidValue, 1, 1, 1, 1, 1, 1, 65537);
	GIVES(hipErrorInvalidValue, hip.hipModuleLaunchKernel(lds, 1, 1, 1, 64, 1, 1, 65536 - 255, NULL, NULL, NULL));
	GIVES(hipErrorCooperativeLaunchTooLarge, hip.hipModuleLaunchCooperativeKernel(f, 8 * 2 + 1, 1, 1, 1024, 1, 1, 0, NULL, NULL));
	OK(hip.hipModuleLaunchCooperativeKernel(f, 8 * 2, 1, 1, 1024, 1, 1, 0, NULL, NULL));
	OK(hip.hipDeviceSynchronize());
}

Test(launch, more_work_items_than_the_kernel_is_compiled_for)
{
	unsigned char *bytes;
	hipModule_t m;
	size_t size;

	LOAD();
	bytes = code_of("gfx1100", &size);
	for (size_t i = 0; i + 32 < size; i++)
		if (!memcmp(bytes + i, ".max_flat_workgroup_size\xcd\x04\x00", 27))
			bytes[i + 25] = 1;		/* 256 */
	OK(hip.hipModuleLoadData(&m, bytes));
	free(bytes);
	GIVES(hipErrorLaunchFailure,
	      hip.hipModuleLaunchKernel(function(m, "nothing"), 1, 1, 1, 257, 1, 1, 0, NULL, NULL, NULL));
	OK(hip.hipModuleLaunchKernel(function(m, "nothing"), 1, 1, 1, 256, 1, 1, 0, NULL, NULL, NULL));
	OK(hip.hipDeviceSynchronize());
}

Test(launch, on_another_device_than_the_current_one)
{
	hipFunction_t f;
	hipStream_t s;

	LOAD("DEVICES=2");
	f = function(load_module("gfx1100"), "nothing");
	OK(hip.hipStreamCreate(&s));
	OK(hip.hipModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, NULL, NULL));
	OK(hip.hipSetDevice(1));
	GIVES(hipErrorInvalidResourceHandle, hip.hipModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, NULL, NULL));
	GIVES(hipErrorInvalidResourceHandle, hip.hipModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
}

Test(launch, without_ir_it_says_that_it_cannot)
{
	LOAD("STRICT=1");
	GIVES(hipErrorNotSupported,
	      hip.hipModuleLaunchKernel(function(load_module("no-ir"), "nothing"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
}

static void fails(const char *name, void **params, hipError_t error)
{
	hipModule_t m = load_module("gfx1100");
	hipStream_t s;
	void *p;

	OK(hip.hipStreamCreate(&s));
	launch(function(m, name), 1, s, params);
	GIVES(error, hip.hipStreamSynchronize(s));
	GIVES(error, hip.hipDeviceSynchronize());
	GIVES(error, hip.hipMalloc(&p, 4));
	/* what is there can be given back */
	OK(hip.hipStreamDestroy(s));
	OK(hip.hipModuleUnload(m));
}

Test(launch, a_kernel_that_traps_leaves_the_device_with_an_error)
{
	LOAD("STRICT=1");
	fails("trap", NULL, hipErrorLaunchFailure);
}

Test(launch, a_kernel_that_writes_to_addresses_only_reserved_faults)
{
	void *p;

	LOAD("STRICT=1");
	OK(hip.hipMemAddressReserve(&p, 4096, 0, NULL, 0));
	fails("crash", (void *[]){ &p }, hipErrorIllegalAddress);
}

Test(launch, a_module_is_unloaded_while_its_kernel_is_queued, .signal = SIGABRT)
{
	struct door door;
	hipStream_t s;
	hipModule_t m;

	LOAD("STRICT=1");
	m = load_module("gfx1100");
	OK(hip.hipStreamCreate(&s));
	hold_stream(s, &door);
	launch(function(m, "nothing"), 1, s, NULL);
	(void)hip.hipModuleUnload(m);
}
