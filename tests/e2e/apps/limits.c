/*
 * limits.c - a module of kernels, of which other hardware could not run all: `limits`. It launches those that run on the cpu target and ends
 * with PASS and their sum.
 */
#include <cuda.h>
#include "tests/apps/app.h"

/* the header of CUDA 13 has a newer one under its plain name */
CUresult CUDAAPI cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev);

#define KERNEL(name, more, code) \
	".visible .entry " name "(.param .u64 out) " more "\n{\n" \
	".reg .pred %p1; .reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .b128 %q<3>;\n" \
	"ld.param.u64 %rd1, [out];\n" code "ret;\n}\n"
#define COUNT "atom.global.add.u32 %r1, [%rd1], 1;\n"

static const char ptx[] =
	".version 9.0\n.target sm_90\n.address_size 64\n"
	".extern .shared .align 16 .b8 more[];\n"
	KERNEL("plain", "", COUNT)
	KERNEL("never_launched", ".reqntid 1024, 2, 1", COUNT)
	KERNEL("much_shared", "", "mov.u32 %r2, more;\n" COUNT)
	/* what counts such a barrier lies in shared memory as well, on hardware that has none like it */
	KERNEL("counted", "", "mov.u32 %r2, %tid.x; setp.gt.u32 %p1, %r2, 31; @%p1 bra after; bar.sync 1, 32;\nafter:\n" COUNT)
	KERNEL("wide", "", "mov.u64 %rd2, 1; mov.b128 %q1, {%rd2, %rd2}; atom.global.exch.b128 %q2, [%rd1+16], %q1;\n" COUNT)
	KERNEL("refused", "", "wgmma.fence.sync.aligned;\n" COUNT);

static void check(CUresult r, const char *what)
{
	if (r == CUDA_SUCCESS)
		return;
	fprintf(stderr, "limits.c: %s: error %d\n", what, (int)r);
	app_fail("a CUDA call failed");
}
#define DRV(call) check(call, #call)

int main(void)
{
	static const struct { const char *name; unsigned int threads, shared; } launch[] = {
		{ "plain", 1024, 1024 }, { "much_shared", 32, 80 << 10 }, { "much_shared", 64, 0 }, { "wide", 32, 0 },
		{ "counted", 64, 65536 },
	};
	unsigned int result = 0, want = 0;
	CUdeviceptr out;
	CUfunction f;
	CUcontext ctx;
	CUmodule m;
	void *params[] = { &out };

	DRV(cuInit(0));
	DRV(cuCtxCreate_v2(&ctx, 0, 0));
	DRV(cuModuleLoadData(&m, ptx));
	DRV(cuMemAlloc(&out, 32));
	DRV(cuMemsetD32(out, 0, 8));
	for (size_t i = 0; i < sizeof(launch) / sizeof(launch[0]); i++) {
		DRV(cuModuleGetFunction(&f, m, launch[i].name));
		if (launch[i].shared > 48 << 10)
			DRV(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)launch[i].shared));
		DRV(cuLaunchKernel(f, 2, 1, 1, launch[i].threads, 1, 1, launch[i].shared, NULL, params, NULL));
		want += 2 * launch[i].threads;
	}
	DRV(cuCtxSynchronize());
	DRV(cuMemcpyDtoH(&result, out, 4));
	if (result != want)
		app_fail("the kernels counted wrongly");
	DRV(cuMemFree(out));
	printf("PASS %08x\n", result);
	return 0;
}
