/* common.h - a bit of CUDA that the small programs here do, by the driver API. */
#ifndef SPELLINGS_COMMON_H
#define SPELLINGS_COMMON_H

#include <cuda.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAIL(...)                                                                                  \
	do {                                                                                       \
		fprintf(stderr, "FAIL %s:%d: ", __FILE__, __LINE__);                               \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fputc('\n', stderr);                                                               \
		exit(1);                                                                           \
	} while (0)

#define CU(call)                                                                                   \
	do {                                                                                       \
		CUresult cu_result_ = (call);                                                      \
                                                                                                   \
		if (cu_result_ != CUDA_SUCCESS)                                                    \
			FAIL("%s: %d", #call, (int)cu_result_);                                    \
	} while (0)

static const char common_ptx[] =
	".version 8.0\n"
	".target sm_80\n"
	".address_size 64\n"
	".visible .entry add(.param .u64 p, .param .u32 v, .param .u32 n)\n"
	"{\n"
	"\t.reg .pred %q;\n"
	"\t.reg .b32 %r<8>;\n"
	"\t.reg .b64 %d<4>;\n"
	"\tld.param.u64 %d1, [p];\n"
	"\tld.param.u32 %r1, [v];\n"
	"\tld.param.u32 %r2, [n];\n"
	"\tmov.u32 %r3, %ctaid.x;\n"
	"\tmov.u32 %r4, %ntid.x;\n"
	"\tmov.u32 %r5, %tid.x;\n"
	"\tmad.lo.s32 %r6, %r3, %r4, %r5;\n"
	"\tsetp.ge.u32 %q, %r6, %r2;\n"
	"\t@%q bra DONE;\n"
	"\tmul.wide.u32 %d2, %r6, 4;\n"
	"\tadd.s64 %d3, %d1, %d2;\n"
	"\tld.global.u32 %r7, [%d3];\n"
	"\tadd.s32 %r7, %r7, %r1;\n"
	"\tst.global.u32 [%d3], %r7;\n"
	"DONE:\n"
	"\tret;\n"
	"}\n";

struct work {
	CUcontext ctx;
	CUmodule module;
	CUfunction add;
	CUdeviceptr buf;
	uint32_t expected;
};

#define WORK_N 1000u

static inline void work_open(struct work *w)
{
	CUdevice dev;

	CU(cuInit(0));
	CU(cuDeviceGet(&dev, 0));
	CU(cuDevicePrimaryCtxRetain(&w->ctx, dev));
	CU(cuCtxSetCurrent(w->ctx));
	CU(cuModuleLoadData(&w->module, common_ptx));
	CU(cuModuleGetFunction(&w->add, w->module, "add"));
	CU(cuMemAlloc(&w->buf, WORK_N * 4));
	CU(cuMemsetD32(w->buf, 5, WORK_N));
	w->expected = 5;
}

/* The calling thread's context must be current. */
static inline void work_step(struct work *w)
{
	uint32_t v = 3, n = WORK_N;
	void *params[] = { &w->buf, &v, &n };

	CU(cuLaunchKernel(w->add, (WORK_N + 127) / 128, 1, 1, 128, 1, 1, 0, NULL, params, NULL));
	w->expected += v;
}

static inline void work_check(struct work *w)
{
	static uint32_t got[WORK_N];

	CU(cuMemcpyDtoH(got, w->buf, sizeof(got)));
	for (uint32_t i = 0; i < WORK_N; i++)
		if (got[i] != w->expected)
			FAIL("element %u is %u, not %u", i, got[i], w->expected);
}

static inline void work_close(struct work *w)
{
	CUdevice dev;

	CU(cuCtxGetDevice(&dev));
	CU(cuMemFree(w->buf));
	CU(cuModuleUnload(w->module));
	CU(cuDevicePrimaryCtxRelease(dev));
}

static inline void work_all(void)
{
	struct work w;

	work_open(&w);
	for (int i = 0; i < 10; i++)
		work_step(&w);
	work_check(&w);
	work_close(&w);
}

#endif
