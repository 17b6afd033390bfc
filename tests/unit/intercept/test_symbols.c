/* test_symbols.c - the driver's symbols, and which of them cuGetProcAddress gives. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "intercept/driver_open.h"
#include "intercept/symbols.h"

Test(symbols, are_all_637_in_ascending_order)
{
	cr_expect_eq(HG_SYM_COUNT, 637);
	for (int i = 1; i < HG_SYM_COUNT; i++)
		cr_expect_lt(strcmp(hg_symbols[i - 1].name, hg_symbols[i].name), 0, "%s", hg_symbols[i].name);
}

Test(symbols, are_found_by_name_and_others_are_not)
{
	for (int i = 0; i < HG_SYM_COUNT; i++)
		cr_expect_eq(hg_symbol_find(hg_symbols[i].name), i);
	cr_expect_eq(hg_symbol_find("cuA"), -1);
	cr_expect_eq(hg_symbol_find("cuMemAlloc_v"), -1);
	cr_expect_eq(hg_symbol_find("zzz"), -1);
	cr_expect_eq(hg_symbol_find(""), -1);
}

Test(symbols, each_flavour_names_a_plain_symbol_of_the_same_call)
{
	for (int i = 0; i < HG_SYM_COUNT; i++) {
		const struct hg_symbol *s = &hg_symbols[i], *p = &hg_symbols[s->plain];

		cr_expect_eq(p->flavour, HG_FLAVOUR_PLAIN);
		cr_expect_str_eq(p->base, s->base);
		cr_expect_eq(strncmp(s->name, p->name, strlen(p->name)), 0);
		cr_expect_not_null(s->entry);
	}
}

/* Is the table what a toolkit's headers and stub say? Skipped, with the reason, where there is no toolkit. */
Test(symbols, table_is_what_header_and_stub_say)
{
	const char *home = getenv("CUDA_HOME");
	char cmd[4096], stub[2048];

	if (!home || !*home)
		home = "/usr/local/cuda";
	snprintf(stub, sizeof(stub), "%s/lib64/stubs/libcuda.so", home);
	if (access(stub, R_OK) != 0)
		cr_skip_test("no stub of the driver at '%s'", stub);
	snprintf(cmd, sizeof(cmd), "python3 tools/gen-symbols.py --check '%s'", home);
	cr_expect_eq(system(cmd), 0, "run from the root of the tree: %s", cmd);
}

static void *ask(const char *base, int version, bool per_thread, int want)
{
	CUdriverProcAddressQueryResult status = (CUdriverProcAddressQueryResult)-1;
	void *p = hg_procaddr_find(base, version, per_thread, &status);

	cr_expect_eq((int)status, want, "status of '%s' %d", base, version);
	return p;
}

Test(procaddr, version_chooses_among_the_symbols_of_a_name)
{
	cr_expect_eq(ask("cuMemAlloc", 2000, false, 0), (void *)cuMemAlloc);
	cr_expect_eq(ask("cuMemAlloc", 3010, false, 0), (void *)cuMemAlloc);
	cr_expect_eq(ask("cuMemAlloc", 3020, false, 0), (void *)cuMemAlloc_v2);
	cr_expect_eq(ask("cuMemAlloc", 13000, false, 0), (void *)cuMemAlloc_v2);
	cr_expect_eq(ask("cuCtxCreate", 11030, false, 0), (void *)cuCtxCreate_v2);
	cr_expect_eq(ask("cuCtxCreate", 11040, false, 0), (void *)cuCtxCreate_v3);
	cr_expect_eq(ask("cuCtxCreate", 12050, false, 0), (void *)cuCtxCreate_v4);
	cr_expect_eq(ask("cuCtxSynchronize", 12080, false, 0), (void *)cuCtxSynchronize);
	cr_expect_eq(ask("cuCtxSynchronize", 13000, false, 0), (void *)cuCtxSynchronize_v2);
	cr_expect_eq(ask("cuEventElapsedTime", 12080, false, 0), (void *)cuEventElapsedTime_v2);
	cr_expect_eq(ask("cuGetProcAddress", 11030, false, 0), (void *)cuGetProcAddress);
	cr_expect_eq(ask("cuGetProcAddress", 12000, false, 0), (void *)cuGetProcAddress_v2);
}

Test(procaddr, per_thread_flag_prefers_the_flavoured_symbol)
{
	cr_expect_eq(ask("cuLaunchKernel", 13000, true, 0), (void *)cuLaunchKernel_ptsz);
	cr_expect_eq(ask("cuLaunchKernel", 13000, false, 0), (void *)cuLaunchKernel);
	cr_expect_eq(ask("cuMemcpyHtoD", 13000, true, 0), (void *)cuMemcpyHtoD_v2_ptds);
	cr_expect_eq(ask("cuMemAlloc", 13000, true, 0), (void *)cuMemAlloc_v2, "it has no flavour");
	cr_expect_eq(ask("cuLaunchKernel", 4000, true, 0), (void *)cuLaunchKernel, "before the flavours came");
}

Test(procaddr, says_why_there_is_no_symbol)
{
	cr_expect_null(ask("cuNoSuchCall", 13000, false, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND));
	cr_expect_null(ask("cuMemAlloc_v2", 13000, false, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND));
	cr_expect_null(ask("", 13000, false, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND));
	cr_expect_null(ask("cuLibraryLoadData", 11080, false, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT));
}

Test(procaddr, every_symbol_can_be_had)
{
	for (int i = 0; i < HG_SYM_COUNT; i++) {
		const struct hg_symbol *s = &hg_symbols[i];

		cr_expect_eq(ask(s->base, s->version, s->flavour != HG_FLAVOUR_PLAIN, 0), s->entry, "%s", s->name);
	}
}

Test(driver_name, is_libcuda_with_any_version_and_folder)
{
	static const char *const is[] = {
		"libcuda.so", "libcuda.so.1", "libcuda.so.580.65.06", "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
		"./libcuda.so", "a/b/libcuda.so.1",
	};
	static const char *const is_not[] = {
		"", "libcudart.so", "libcudart.so.13", "libcuda.so-old", "libcuda.so.1/x", "mylibcuda.so", "libcuda",
		"libcudadebugger.so.1", "libcublas.so.13", "/libcuda.so/libm.so.6",
	};

	cr_expect_not(hg_is_driver_name(NULL));
	for (size_t i = 0; i < sizeof(is) / sizeof(is[0]); i++)
		cr_expect(hg_is_driver_name(is[i]), "%s", is[i]);
	for (size_t i = 0; i < sizeof(is_not) / sizeof(is_not[0]); i++)
		cr_expect_not(hg_is_driver_name(is_not[i]), "%s", is_not[i]);
}
