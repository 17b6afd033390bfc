/* reference.c - texture and surface references of a module, bound again in every round, by the driver API as it was before objects. */
#include <cuda.h>
#include "tests/apps/app.h"

/* they are, and programs use them */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define W 16

static const char ptx[] =
	".version 8.0\n.target sm_75\n.address_size 64\n"
	".global .texref from;\n.global .surfref to;\n"
	".visible .entry step(.param .u64 p)\n"
	"{\n"
	"	.reg .b64 %p, %d; .reg .b32 %i, %r<3>; .reg .f32 %x, %f<5>;\n"
	"	ld.param.u64 %p, [p];\n"
	"	mov.u32 %i, %tid.x;\n"
	"	cvt.rn.f32.u32 %x, %i;\n"
	"	tex.1d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [from, {%x}];\n"	/* the mean of two */
	"	fma.rn.f32 %f1, %f1, 0f40000000, 0f3f800000;\n"		/* their sum and one, modulo 4096 */
	"	cvt.rzi.u32.f32 %r1, %f1;\n"
	"	and.b32 %r1, %r1, 4095;\n"
	"	cvt.rn.f32.u32 %f1, %r1;\n"
	"	shl.b32 %r2, %i, 2;\n"
	"	mov.b32 %r1, %f1;\n"
	"	sust.b.1d.b32.trap [to, {%r2}], {%r1};\n"
	"	mul.wide.u32 %d, %i, 4;\n"
	"	add.u64 %p, %p, %d;\n"
	"	st.global.f32 [%p], %f1;\n"
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
	const CUDA_ARRAY3D_DESCRIPTOR desc = { .Width = W, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1,
					       .Flags = CUDA_ARRAY3D_SURFACE_LDST };
	float row[W], next[W], got[W];
	CUarray array[2];
	CUcontext context;
	CUfunction step;
	CUmodule module;
	CUdevice device;
	CUdeviceptr p;
	CUtexref from;
	CUsurfref to;
	void *params[] = { &p };

	app_args(argc, argv, 40);
	DRV(cuInit(0));
	DRV(cuDeviceGet(&device, 0));
	DRV(cuDevicePrimaryCtxRetain(&context, device));
	DRV(cuCtxSetCurrent(context));
	DRV(cuModuleLoadData(&module, ptx));
	DRV(cuModuleGetFunction(&step, module, "step"));
	DRV(cuModuleGetTexRef(&from, module, "from"));
	DRV(cuModuleGetSurfRef(&to, module, "to"));
	DRV(cuMemAlloc(&p, sizeof(row)));
	for (int i = 0; i < W; i++)
		row[i] = (float)(i * i);
	for (int i = 0; i < 2; i++) {
		DRV(cuArray3DCreate(&array[i], &desc));
		DRV(cuMemcpyHtoA(array[i], 0, row, sizeof(row)));
	}
	DRV(cuTexRefSetFilterMode(from, CU_TR_FILTER_MODE_LINEAR));
	DRV(cuTexRefSetAddressMode(from, 0, CU_TR_ADDRESS_MODE_CLAMP));
	app_buffer("p", (void *)(uintptr_t)p, sizeof(row));
	for (int r = 0; r < app.rounds; r++) {
		if (app_stops(r)) {
			DRV(cuCtxSynchronize());
			app_stop(r);
		}
		DRV(cuTexRefSetArray(from, array[r & 1], CU_TRSA_OVERRIDE_FORMAT));
		DRV(cuSurfRefSetArray(to, array[!(r & 1)], 0));
		DRV(cuLaunchKernel(step, 1, 1, 1, W, 1, 1, 0, NULL, params, NULL));
		for (int i = 0; i < W; i++)
			next[i] = (float)((int)(row[i ? i - 1 : 0] + row[i] + 1) & 4095);
		memcpy(row, next, sizeof(row));
	}
	DRV(cuMemcpyDtoH(got, p, sizeof(got)));
	for (int i = 0; i < W; i++)
		APP_EQUAL(got[i], row[i], i);
	DRV(cuMemcpyAtoH(got, array[app.rounds & 1], 0, sizeof(got)));
	for (int i = 0; i < W; i++)
		APP_EQUAL(got[i], row[i], i);
	return app_pass(app_sum(0, got, sizeof(got)));
}
