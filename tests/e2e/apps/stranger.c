/* stranger.c - a program with unified memory, or (--image array) with a CUDA array, besides ordinary work. */
#include <cuda.h>
#include "tests/apps/app.h"

#define N 2048

static const char ptx[] =
	".version 7.0\n"
	".target sm_75\n"
	".address_size 64\n"
	".visible .entry add(.param .u64 p_x, .param .u32 p_v)\n"
	"{\n"
	"	.reg .b32 %r<8>;\n"
	"	.reg .b64 %rd<4>;\n"
	"	ld.param.u64 %rd1, [p_x];\n"
	"	ld.param.u32 %r1, [p_v];\n"
	"	cvta.to.global.u64 %rd1, %rd1;\n"
	"	mov.u32 %r2, %ctaid.x;\n"
	"	mov.u32 %r3, %ntid.x;\n"
	"	mov.u32 %r4, %tid.x;\n"
	"	mad.lo.s32 %r5, %r2, %r3, %r4;\n"
	"	mul.wide.u32 %rd2, %r5, 4;\n"
	"	add.s64 %rd3, %rd1, %rd2;\n"
	"	ld.global.u32 %r6, [%rd3];\n"
	"	add.u32 %r6, %r6, %r1;\n"
	"	st.global.u32 [%rd3], %r6;\n"
	"	ret;\n"
	"}\n";

static void check(CUresult r, const char *what)
{
	if (r == CUDA_SUCCESS)
		return;
	fprintf(stderr, "%s: error %d\n", what, (int)r);
	app_fail("a CUDA call failed");
}
#define DRV(call) check(call, #call)

int main(int argc, char **argv)
{
	const CUDA_ARRAY_DESCRIPTOR desc = { .Width = 16, .Height = 16, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1 };
	uint32_t *shared, got[N], more[N], want = 0;
	CUarray array = NULL;
	CUdeviceptr managed, x;
	CUcontext context;
	CUmodule module;
	CUfunction add;
	CUdevice device;

	app_args(argc, argv, 200);
	DRV(cuInit(0));
	DRV(cuDeviceGet(&device, 0));
	DRV(cuDevicePrimaryCtxRetain(&context, device));
	DRV(cuCtxSetCurrent(context));
	DRV(cuModuleLoadData(&module, ptx));
	DRV(cuModuleGetFunction(&add, module, "add"));
	DRV(cuMemAlloc(&x, sizeof(got)));
	DRV(cuMemsetD32(x, 0, N));
	if (app.image && !strcmp(app.image, "array")) {
		DRV(cuArrayCreate(&array, &desc));
		DRV(cuMemAlloc(&managed, sizeof(got)));
		DRV(cuMemsetD32(managed, 0, N));
		shared = more;
	} else {
		DRV(cuMemAllocManaged(&managed, sizeof(got), CU_MEM_ATTACH_GLOBAL));
		shared = (uint32_t *)(uintptr_t)managed;
		memset(shared, 0, sizeof(got));
	}
	app_buffer("x", (void *)(uintptr_t)x, sizeof(got));
	for (int r = 0; r < app.rounds; r++) {
		uint32_t v = (uint32_t)r;
		void *in_x[] = { &x, &v }, *in_shared[] = { &managed, &v };

		if (app_stops(r)) {
			DRV(cuCtxSynchronize());
			app_stop(r);
		}
		DRV(cuLaunchKernel(add, N / 128, 1, 1, 128, 1, 1, 0, NULL, in_x, NULL));
		DRV(cuLaunchKernel(add, N / 128, 1, 1, 128, 1, 1, 0, NULL, in_shared, NULL));
		want += v;
	}
	DRV(cuCtxSynchronize());
	DRV(cuMemcpyDtoH(got, x, sizeof(got)));
	if (array) {
		DRV(cuMemcpyDtoH(more, managed, sizeof(more)));
		DRV(cuArrayDestroy(array));
	}
	for (int i = 0; i < N; i++) {
		APP_EQUAL(got[i], want, i);
		APP_EQUAL(shared[i], want, i);
	}
	DRV(cuMemFree(managed));
	DRV(cuMemFree(x));
	DRV(cuModuleUnload(module));
	DRV(cuDevicePrimaryCtxRelease(device));
	return app_pass(app_sum(0, got, sizeof(got)));
}
