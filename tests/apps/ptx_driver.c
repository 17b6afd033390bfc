/* ptx_driver.c - the driver API alone: PTX text, module variables, both ways to pass parameters. */
#include <cuda.h>
#include "app.h"

#define N 30011

static const char ptx[] =
	".version 7.0\n"
	".target sm_75\n"
	".address_size 64\n"
	".visible .global .align 4 .u32 salt = 12345;\n"
	".visible .const .align 4 .b32 table[4] = { 7, 11, 13, 17 };\n"
	"\n"
	"// x[i] = rotate(x[i] ^ salt, i & 31) * table[i & 3]\n"
	".visible .entry stir(.param .u64 p_x, .param .u32 p_n)\n"
	"{\n"
	"	.reg .pred %p<2>;\n"
	"	.reg .b32 %r<12>;\n"
	"	.reg .b64 %rd<8>;\n"
	"	ld.param.u64 %rd1, [p_x];\n"
	"	ld.param.u32 %r1, [p_n];\n"
	"	mov.u32 %r2, %ctaid.x;\n"
	"	mov.u32 %r3, %ntid.x;\n"
	"	mov.u32 %r4, %tid.x;\n"
	"	mad.lo.s32 %r5, %r2, %r3, %r4;\n"
	"	setp.ge.u32 %p1, %r5, %r1;\n"
	"	@%p1 bra done;\n"
	"	cvta.to.global.u64 %rd2, %rd1;\n"
	"	mul.wide.u32 %rd3, %r5, 4;\n"
	"	add.s64 %rd4, %rd2, %rd3;\n"
	"	ld.global.u32 %r6, [%rd4];\n"
	"	ld.global.u32 %r7, [salt];\n"
	"	xor.b32 %r6, %r6, %r7;\n"
	"	and.b32 %r8, %r5, 31;\n"
	"	shf.l.wrap.b32 %r6, %r6, %r6, %r8;\n"
	"	and.b32 %r9, %r5, 3;\n"
	"	mul.wide.u32 %rd5, %r9, 4;\n"
	"	mov.u64 %rd6, table;\n"
	"	add.s64 %rd6, %rd6, %rd5;\n"
	"	ld.const.u32 %r10, [%rd6];\n"
	"	mul.lo.u32 %r6, %r6, %r10;\n"
	"	st.global.u32 [%rd4], %r6;\n"
	"done:\n"
	"	ret;\n"
	"}\n"
	"\n"
	"// every block reverses its 64 elements in shared memory; one thread moves the salt on\n"
	".visible .entry reverse(.param .u64 p_x, .param .u32 p_n)\n"
	"{\n"
	"	.reg .pred %p<4>;\n"
	"	.reg .b32 %r<16>;\n"
	"	.reg .b64 %rd<8>;\n"
	"	.shared .align 4 .b8 line[256];\n"
	"	ld.param.u64 %rd1, [p_x];\n"
	"	ld.param.u32 %r1, [p_n];\n"
	"	cvta.to.global.u64 %rd1, %rd1;\n"
	"	mov.u32 %r2, %ctaid.x;\n"
	"	mov.u32 %r3, %tid.x;\n"
	"	shl.b32 %r4, %r2, 6;\n"
	"	add.u32 %r5, %r4, %r3;\n"
	"	setp.lt.u32 %p1, %r5, %r1;\n"
	"	mul.wide.u32 %rd2, %r5, 4;\n"
	"	add.s64 %rd3, %rd1, %rd2;\n"
	"	mov.u32 %r6, 0;\n"
	"	@%p1 ld.global.u32 %r6, [%rd3];\n"
	"	mov.u32 %r7, line;\n"
	"	shl.b32 %r8, %r3, 2;\n"
	"	add.u32 %r9, %r7, %r8;\n"
	"	st.shared.u32 [%r9], %r6;\n"
	"	bar.sync 0;\n"
	"	sub.u32 %r10, 252, %r8;\n"
	"	add.u32 %r11, %r7, %r10;\n"
	"	ld.shared.u32 %r12, [%r11];\n"
	"	// the last, incomplete block stays as it is\n"
	"	add.u32 %r13, %r4, 64;\n"
	"	setp.gt.u32 %p2, %r13, %r1;\n"
	"	selp.b32 %r12, %r6, %r12, %p2;\n"
	"	@%p1 st.global.u32 [%rd3], %r12;\n"
	"	setp.ne.u32 %p3, %r5, 0;\n"
	"	@%p3 bra out;\n"
	"	ld.global.u32 %r14, [salt];\n"
	"	mad.lo.u32 %r14, %r14, 69069, 1;\n"
	"	st.global.u32 [salt], %r14;\n"
	"out:\n"
	"	ret;\n"
	"}\n";

static void check(CUresult r, const char *what)
{
	const char *name = NULL;

	if (r == CUDA_SUCCESS)
		return;
	cuGetErrorName(r, &name);
	fprintf(stderr, "%s: %s (%d)\n", what, name ? name : "?", (int)r);
	app_fail("a CUDA call failed");
}
#define DRV(call) check(call, #call)

/* Offers the driver any bytes as a module: it must refuse them with an error code and no more. */
static void offer_image(const char *path)
{
	static const size_t room = 1 << 20;
	char *bytes = calloc(1, room + 16), log[512] = "";
	CUjit_option option[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	void *value[] = { log, (void *)sizeof(log) };
	FILE *f = fopen(path, "rb");
	CUmodule module;
	CUresult r;

	if (!f || !bytes)
		app_fail("cannot read the image");
	if (!fread(bytes, 1, room, f))
		app_fail("the image is empty");
	fclose(f);
	r = cuModuleLoadDataEx(&module, bytes, 2, option, value);
	printf("IMAGE %s %d\n", r == CUDA_SUCCESS ? "loaded" : "refused", (int)r);
	if (r == CUDA_SUCCESS)
		DRV(cuModuleUnload(module));
	free(bytes);
}

int main(int argc, char **argv)
{
	static uint32_t host[N], got[N];
	uint32_t seed = 10, n = N, salt = 12345, check_salt;
	CUdeviceptr x, var;
	CUcontext context;
	CUmodule module;
	CUfunction stir, reverse;
	CUdevice device;
	size_t size;
	uint64_t sum;

	app_args(argc, argv, 6000);
	DRV(cuInit(0));
	DRV(cuDeviceGet(&device, 0));
	DRV(cuDevicePrimaryCtxRetain(&context, device));
	DRV(cuCtxSetCurrent(context));
	if (app.image)
		offer_image(app.image);
	DRV(cuModuleLoadData(&module, ptx));
	DRV(cuModuleGetFunction(&stir, module, "stir"));
	DRV(cuModuleGetFunction(&reverse, module, "reverse"));
	DRV(cuModuleGetGlobal(&var, &size, module, "salt"));
	if (size != 4)
		app_fail("the module variable has a wrong size");
	for (int i = 0; i < N; i++)
		host[i] = app_random(&seed);
	DRV(cuMemAlloc(&x, sizeof(host)));
	app_buffer("x", (void *)(uintptr_t)x, sizeof(host));
	app_buffer("salt", (void *)(uintptr_t)var, 4);
	DRV(cuMemcpyHtoD(x, host, sizeof(host)));

	for (int r = 0; r < app.rounds; r++) {
		struct {
			CUdeviceptr x;
			uint32_t n;
		} block = { x, n };
		size_t block_size = 12;
		void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, &block,
				  CU_LAUNCH_PARAM_BUFFER_SIZE, &block_size, CU_LAUNCH_PARAM_END };
		void *params[] = { &x, &n };

		if (app_stops(r)) {
			DRV(cuCtxSynchronize());
			app_stop(r);
		}
		DRV(cuLaunchKernel(stir, (N + 127) / 128, 1, 1, 128, 1, 1, 0, NULL, params, NULL));
		DRV(cuLaunchKernel(reverse, (N + 63) / 64, 1, 1, 64, 1, 1, 0, NULL, NULL, extra));
	}

	for (int r = 0; r < app.rounds; r++) {
		static const uint32_t factor[] = { 7, 11, 13, 17 };

		for (uint32_t i = 0; i < N; i++) {
			uint64_t twice = (uint64_t)(host[i] ^ salt) * 0x100000001ull;

			host[i] = (uint32_t)(twice >> (32 - i % 32)) * factor[i % 4];
		}
		for (uint32_t b = 0; b + 64 <= N; b += 64) {
			for (uint32_t k = 0; k < 32; k++) {
				uint32_t t = host[b + k];

				host[b + k] = host[b + 63 - k];
				host[b + 63 - k] = t;
			}
		}
		salt = salt * 69069 + 1;
	}
	DRV(cuMemcpyDtoH(got, x, sizeof(got)));
	DRV(cuMemcpyDtoH(&check_salt, var, 4));
	for (int i = 0; i < N; i++)
		APP_EQUAL(got[i], host[i], i);
	APP_EQUAL(check_salt, salt, 0);
	sum = app_sum(app_sum(0, got, sizeof(got)), &check_salt, 4);
	DRV(cuMemFree(x));
	DRV(cuModuleUnload(module));
	DRV(cuDevicePrimaryCtxRelease(device));
	return app_pass(sum);
}
