/* driver_test.h - the portable driver, opened on the CPU target, for a test. */
#ifndef HG_TESTS_DRIVER_TEST_H
#define HG_TESTS_DRIVER_TEST_H

#ifndef __CUDA_API_VERSION_INTERNAL
#define __CUDA_API_VERSION_INTERNAL
#endif
#include <criterion/criterion.h>
#include <cuda.h>

#include "replay/driver.h"

/* The implementation of a symbol, with the prototype of cuda.h. */
#define CU(symbol) ((__typeof__(symbol) *)hg_driver_proc(#symbol))

#define MUST(call)									\
	do {										\
		CUresult must_result_ = (call);						\
											\
		cr_assert_eq(must_result_, CUDA_SUCCESS, "%s gives %d", #call, must_result_);	\
	} while (0)

#define GIVES(result, call)								\
	do {										\
		CUresult gives_result_ = (call);					\
											\
		cr_assert_eq(gives_result_, (result), "%s gives %d, not %s", #call, gives_result_, #result);	\
	} while (0)

/* Opened and initialised, the primary context current. */
/* HG_TEST_TARGET=rocm, with the double's environment (tests/on): a test by hand on another target. */
static inline CUcontext driver_begin(void)
{
	const char *name = getenv("HG_TEST_TARGET");
	const struct hg_target_ops *target = name ? hg_target_by_name(name) : &hg_target_cpu;
	CUcontext ctx;

	cr_assert(target, "no target '%s'", name);
	cr_assert_eq(hg_driver_open(target), HG_OK);
	MUST(CU(cuInit)(0));
	MUST(CU(cuDevicePrimaryCtxRetain)(&ctx, 0));
	MUST(CU(cuCtxSetCurrent)(ctx));
	return ctx;
}

#endif
