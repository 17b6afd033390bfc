/* helper.c - what the tests of the fake CUDA driver share. */
#include "fake_test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct hg_real cu;
void *cu_library;

void load_driver(const char *const *knob)
{
	const char *build = getenv("HG_BUILD");
	char path[4096];

	for (; *knob; knob++) {
		char name[256];
		const char *value = strchr(*knob, '=');

		snprintf(name, sizeof(name), "HG_FAKE_CUDA_%.*s", (int)(value - *knob), *knob);
		setenv(name, value + 1, 1);
	}
	snprintf(path, sizeof(path), "%s/drivers/cuda/libcuda.so.1", build ? build : "build");
	cu_library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	cr_assert(cu_library, "%s", dlerror());
#define HG_SYM(sym, plain, base, version, flavour, params, args) *(void **)&cu.sym = dlsym(cu_library, #sym);
#include "intercept/symbols.def"
}

CUcontext start(void)
{
	CUcontext ctx;

	OK(cu.cuInit(0));
	OK(cu.cuDevicePrimaryCtxRetain(&ctx, 0));
	OK(cu.cuCtxSetCurrent(ctx));
	return ctx;
}

const char *temporary(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "/tmp/fakecuda-%d-%s", (int)getpid(), name);
	return path;
}

static void wait_for(_Atomic int *flag)
{
	const struct timespec tick = { 0, 200000 };

	while (!*flag)
		nanosleep(&tick, NULL);
}

static void CUDA_CB stand_at(void *arg)
{
	struct door *door = arg;

	door->was_reached = 1;
	wait_for(&door->is_open);
}

void hold_stream(CUstream s, struct door *door)
{
	OK(cu.cuLaunchHostFunc(s, stand_at, door));
}

void open_door(struct door *door)
{
	door->is_open = 1;
}

void await_door(struct door *door)
{
	wait_for(&door->was_reached);
}

const char test_ptx[] =
	".version 7.0\n.target sm_75\n.address_size 64\n"
	".visible .global .align 4 .u32 counter = 5;\n"
	".global .align 4 .u32 hidden = 7;\n"
	".visible .const .align 4 .b32 table[3] = { 1, 2, 3 };\n"
	".visible .global .align 8 .u64 here = hidden;\n"
	".visible .global .align 1 .b8 zeros[33];\n"
	".visible .entry fill(.param .u64 p, .param .u32 n, .param .u32 v)\n"
	"{ .reg .pred %p; .reg .b32 %r<8>; .reg .b64 %d<4>;\n"
	"  ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n]; ld.param.u32 %r1, [v];\n"
	"  mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r5, %r2, %r3, %r4;\n"
	"  setp.ge.u32 %p, %r5, %r0; @%p bra out; mul.wide.u32 %d1, %r5, 4; add.u64 %d2, %d0, %d1;\n"
	"  st.global.u32 [%d2], %r1; out: ret; }\n"
	".visible .entry add(.param .u64 p, .param .u32 n, .param .u32 v)\n"
	"{ .reg .pred %p; .reg .b32 %r<8>; .reg .b64 %d<4>;\n"
	"  ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n]; ld.param.u32 %r1, [v];\n"
	"  mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r5, %r2, %r3, %r4;\n"
	"  setp.ge.u32 %p, %r5, %r0; @%p bra out; mul.wide.u32 %d1, %r5, 4; add.u64 %d2, %d0, %d1;\n"
	"  ld.global.u32 %r6, [%d2]; add.u32 %r6, %r6, %r1; st.global.u32 [%d2], %r6; out: ret; }\n"
	".visible .entry nothing() { ret; }\n"
	".visible .entry crash()\n"
	"{ .reg .b64 %d; .reg .b32 %r; mov.u64 %d, 64; mov.u32 %r, 1; st.global.u32 [%d], %r; ret; }\n"
	".visible .entry trap_() { trap; ret; }\n"
	".visible .entry wide(.param .align 8 .b8 block[400], .param .u64 out)\n"
	"{ .reg .b32 %r; .reg .b64 %d; ld.param.u32 %r, [block+396]; ld.param.u64 %d, [out]; st.global.u32 [%d], %r; ret; }\n"
	".extern .shared .align 4 .b8 room[];\n"
	".visible .entry shared_(.param .u64 out)\n"
	"{ .reg .b32 %r<8>; .reg .b64 %d<4>; ld.param.u64 %d0, [out]; mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 2;\n"
	"  mov.u32 %r2, room; add.u32 %r3, %r2, %r1; st.shared.u32 [%r3], %r0; bar.sync 0;\n"
	"  sub.u32 %r4, 252, %r1; add.u32 %r4, %r2, %r4; ld.shared.u32 %r5, [%r4];\n"
	"  cvt.u64.u32 %d1, %r1; add.u64 %d2, %d0, %d1; st.global.u32 [%d2], %r5; ret; }\n"
	".visible .entry bump(.param .u64 out)\n"
	"{ .reg .b32 %r; .reg .b64 %d; ld.param.u64 %d, [out]; ld.global.u32 %r, [counter]; add.u32 %r, %r, 1;\n"
	"  st.global.u32 [counter], %r; st.global.u32 [%d], %r; ret; }\n";

CUmodule load_module(void)
{
	CUmodule m;

	OK(cu.cuModuleLoadData(&m, test_ptx));
	return m;
}

CUfunction function(CUmodule m, const char *name)
{
	CUfunction f;

	OK(cu.cuModuleGetFunction(&f, m, name));
	return f;
}

void launch(CUfunction f, unsigned int blocks, unsigned int threads, CUstream s, void **params)
{
	OK(cu.cuLaunchKernel(f, blocks, 1, 1, threads, 1, 1, 0, s, params, NULL));
}

uint32_t read_u32(CUdeviceptr p)
{
	uint32_t v = 0;

	OK(cu.cuMemcpyDtoH_v2(&v, p, sizeof(v)));
	return v;
}
