/* test_texture.c - arrays, textures and surfaces: the calls, and what kernels read and write through them. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "driver_test.h"

/* ---- helpers ---- */

static CUarray array_of(size_t width, size_t height, size_t depth, CUarray_format format, unsigned int channels, unsigned int flags)
{
	CUDA_ARRAY3D_DESCRIPTOR d = { .Width = width, .Height = height, .Depth = depth, .Format = format, .NumChannels = channels,
				      .Flags = flags };
	CUarray a = NULL;

	MUST(CU(cuArray3DCreate_v2)(&a, &d));
	return a;
}

static void copy_in(CUarray a, const void *data, size_t row, size_t height, size_t depth)
{
	CUDA_MEMCPY3D c = { .srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = data, .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = a,
			    .WidthInBytes = row, .Height = height, .Depth = depth };

	MUST(CU(cuMemcpy3D_v2)(&c));
}

static void copy_out(void *data, CUarray a, size_t row, size_t height, size_t depth)
{
	CUDA_MEMCPY3D c = { .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = data, .srcMemoryType = CU_MEMORYTYPE_ARRAY, .srcArray = a,
			    .WidthInBytes = row, .Height = height, .Depth = depth };

	MUST(CU(cuMemcpy3D_v2)(&c));
}

static CUtexObject texture_of(CUarray a, unsigned int flags, CUfilter_mode filter, CUaddress_mode mode)
{
	CUDA_RESOURCE_DESC r = { .resType = CU_RESOURCE_TYPE_ARRAY, .res.array.hArray = a };
	CUDA_TEXTURE_DESC t = { .addressMode = { mode, mode, mode }, .filterMode = filter, .flags = flags };
	CUtexObject o = 0;

	MUST(CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	return o;
}

static CUsurfObject surface_of(CUarray a)
{
	CUDA_RESOURCE_DESC r = { .resType = CU_RESOURCE_TYPE_ARRAY, .res.array.hArray = a };
	CUsurfObject o = 0;

	MUST(CU(cuSurfObjectCreate)(&o, &r));
	return o;
}

/*
 * Runs a kernel of `threads` threads with handles %h0 and %h1, its number %i, itself as f32 %x, and where it stores, %o (16
 * words each). The words come back in out.
 */
static CUresult run(const char *body, unsigned int threads, uint64_t h0, uint64_t h1, uint32_t *out)
{
	static char text[16384];
	CUfunction f;
	CUmodule m;
	CUdeviceptr o;
	CUresult r;
	void *params[] = { &h0, &h1, &o };

	snprintf(text, sizeof(text),
		 ".version 8.0\n.target sm_80\n.address_size 64\n"
		 ".visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c)\n{\n"
		 ".reg .b64 %%h0, %%h1, %%o, %%t; .reg .b32 %%i, %%w, %%r<20>; .reg .f32 %%x, %%y, %%f<20>; .reg .pred %%p, %%q;\n"
		 ".reg .b16 %%s<8>; .reg .b64 %%d<4>;\n"
		 "ld.param.u64 %%h0, [a];\nld.param.u64 %%h1, [b];\nld.param.u64 %%o, [c];\nmov.u32 %%i, %%tid.x;\n"
		 "mul.wide.u32 %%t, %%i, 64;\nadd.u64 %%o, %%o, %%t;\ncvt.rn.f32.u32 %%x, %%i;\n%s\nret;\n}\n", body);
	MUST(CU(cuModuleLoadData)(&m, text));
	MUST(CU(cuModuleGetFunction)(&f, m, "k"));
	MUST(CU(cuMemAlloc_v2)(&o, threads * 64));
	MUST(CU(cuLaunchKernel)(f, 1, 1, 1, threads, 1, 1, 0, NULL, params, NULL));
	r = CU(cuCtxSynchronize)();
	if (r)
		return r;
	MUST(CU(cuMemcpyDtoH_v2)(out, o, threads * 64));
	MUST(CU(cuMemFree_v2)(o));
	MUST(CU(cuModuleUnload)(m));
	return r;
}

static float as_float(uint32_t v)
{
	float f;

	memcpy(&f, &v, 4);
	return f;
}

/* ---- arrays and copies ---- */

Test(texture, arrays_say_what_they_are_and_wrong_ones_are_refused)
{
	static const struct { CUDA_ARRAY3D_DESCRIPTOR d; CUresult r; } list[] = {
		{ { 16, 0, 0, CU_AD_FORMAT_FLOAT, 1, 0 }, CUDA_SUCCESS },
		{ { 16, 8, 0, CU_AD_FORMAT_UNSIGNED_INT8, 4, CUDA_ARRAY3D_SURFACE_LDST }, CUDA_SUCCESS },
		{ { 16, 8, 4, CU_AD_FORMAT_HALF, 2, 0 }, CUDA_SUCCESS },
		{ { 16, 0, 4, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_LAYERED }, CUDA_SUCCESS },
		{ { 16, 16, 6, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP }, CUDA_SUCCESS },
		{ { 16, 16, 12, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED }, CUDA_SUCCESS },
		{ { 8, 8, 0, CU_AD_FORMAT_UNORM_INT8X4, 4, 0 }, CUDA_SUCCESS },
		{ { 0, 8, 0, CU_AD_FORMAT_FLOAT, 1, 0 }, CUDA_ERROR_INVALID_VALUE },
		{ { 16, 8, 0, CU_AD_FORMAT_FLOAT, 3, 0 }, CUDA_ERROR_INVALID_VALUE },
		{ { 16, 8, 0, (CUarray_format)0x77, 1, 0 }, CUDA_ERROR_INVALID_VALUE },
		{ { 16, 8, 0, CU_AD_FORMAT_UNORM_INT8X4, 1, 0 }, CUDA_ERROR_NOT_SUPPORTED },
		{ { 16, 8, 0, CU_AD_FORMAT_FLOAT, 1, 1u << 20 }, CUDA_ERROR_INVALID_VALUE },
		{ { 16, 8, 6, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP }, CUDA_ERROR_INVALID_VALUE },
		{ { 16, 16, 5, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP }, CUDA_ERROR_INVALID_VALUE },
		{ { 16, 0, 4, CU_AD_FORMAT_FLOAT, 1, 0 }, CUDA_ERROR_INVALID_VALUE },
		{ { 16, 8, 4096, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_LAYERED }, CUDA_ERROR_INVALID_VALUE },
		{ { 1 << 20, 8, 0, CU_AD_FORMAT_FLOAT, 1, 0 }, CUDA_ERROR_INVALID_VALUE },
		{ { 16, 8, 0, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_SPARSE }, CUDA_ERROR_NOT_SUPPORTED },
		{ { 16, 8, 0, CU_AD_FORMAT_BC1_UNORM, 4, 0 }, CUDA_ERROR_NOT_SUPPORTED },
	};
	CUDA_ARRAY3D_DESCRIPTOR got;
	CUDA_ARRAY_DESCRIPTOR flat;
	CUdeviceptr plain;
	CUarray a;

	driver_begin();
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		a = NULL;
		cr_expect_eq(CU(cuArray3DCreate_v2)(&a, &list[i].d), list[i].r, "row %zu", i);
		if (list[i].r)
			continue;
		MUST(CU(cuArray3DGetDescriptor_v2)(&got, a));
		/* without the padding behind the last member */
		cr_expect_eq(memcmp(&got, &list[i].d, offsetof(CUDA_ARRAY3D_DESCRIPTOR, Flags) + sizeof(got.Flags)), 0, "row %zu", i);
		MUST(CU(cuArrayGetDescriptor_v2)(&flat, a));
		cr_expect(flat.Width == got.Width && flat.Height == got.Height && flat.Format == got.Format);
		GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemFree_v2)((uintptr_t)a));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuMipmappedArrayDestroy)((CUmipmappedArray)a));
		MUST(CU(cuArrayDestroy)(a));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuArrayDestroy)(a));
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuArray3DGetDescriptor_v2)(&got, a));
	}
	MUST(CU(cuMemAlloc_v2)(&plain, 4096));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuArrayDestroy)((CUarray)plain));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuArray3DGetDescriptor_v2)(&got, (CUarray)plain));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuArray3DCreate_v2)(NULL, &list[0].d));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuArray3DCreate_v2)(&a, NULL));
	hg_driver_close();
}

Test(texture, copies_reach_every_texel_of_an_array_and_nothing_beside_it)
{
	enum { W = 13, H = 7, D = 3 };
	static uint16_t data[D][H][W], back[D][H][W], patch[2][4];
	CUDA_MEMCPY3D c = { .srcMemoryType = CU_MEMORYTYPE_ARRAY, .dstMemoryType = CU_MEMORYTYPE_ARRAY, .WidthInBytes = 8, .Height = 2,
			    .Depth = 1, .srcXInBytes = 2, .srcY = 3, .srcZ = 1, .dstXInBytes = 16, .dstY = 4, .dstZ = 2 };
	CUDA_MEMCPY2D flat = { .srcMemoryType = CU_MEMORYTYPE_ARRAY, .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = patch,
			       .WidthInBytes = 8, .Height = 2, .srcXInBytes = 4, .srcY = 1 };
	unsigned int seed = 1;
	CUdeviceptr linear;
	CUarray a, b;

	driver_begin();
	for (int i = 0; i < D * H * W; i++)
		(&data[0][0][0])[i] = (uint16_t)rand_r(&seed);
	a = array_of(W, H, D, CU_AD_FORMAT_UNSIGNED_INT16, 1, 0);
	b = array_of(W, H, D, CU_AD_FORMAT_UNSIGNED_INT16, 1, 0);
	copy_in(a, data, W * 2, H, D);
	copy_in(b, data, W * 2, H, D);
	copy_out(back, a, W * 2, H, D);
	cr_expect_eq(memcmp(data, back, sizeof(data)), 0);

	c.srcArray = a;
	c.dstArray = b;
	MUST(CU(cuMemcpy3DAsync_v2)(&c, NULL));
	copy_out(back, b, W * 2, H, D);
	for (int z = 0; z < D; z++)
		for (int y = 0; y < H; y++)
			for (int x = 0; x < W; x++) {
				bool moved = z == 2 && y >= 4 && y < 6 && x >= 8 && x < 12;

				cr_assert_eq(back[z][y][x], moved ? data[1][y - 1][x - 7] : data[z][y][x], "%d %d %d", z, y, x);
			}
	flat.srcArray = a;
	MUST(CU(cuMemcpy2D_v2)(&flat));
	for (int i = 0; i < 8; i++)
		cr_expect_eq(patch[i / 4][i % 4], data[0][1 + i / 4][2 + i % 4]);

	/* by offset: a part of a row, and whole rows */
	MUST(CU(cuMemAlloc_v2)(&linear, 4096));
	MUST(CU(cuMemcpyAtoH_v2)(patch, a, W * 2 * 2 + 6, 8));
	cr_expect_eq(memcmp(patch, &data[0][2][3], 8), 0);
	MUST(CU(cuMemcpyAtoD_v2)(linear, a, W * 2, W * 2 * 3));
	MUST(CU(cuMemcpyDtoH_v2)(back, linear, W * 2 * 3));
	cr_expect_eq(memcmp(back, data[0][1], W * 2 * 3), 0);
	MUST(CU(cuMemcpyDtoA_v2)(b, 0, linear, W * 2 * 3));
	MUST(CU(cuMemcpyHtoA_v2)(b, W * 2 * 3, data[2], W * 2));
	MUST(CU(cuMemcpyAtoA_v2)(b, W * 2 * 4, a, 0, W * 2));
	copy_out(back, b, W * 2, H, D);
	cr_expect_eq(memcmp(back, data[0][1], W * 2 * 3), 0);
	cr_expect_eq(memcmp(back[0][3], data[2], W * 2), 0);
	cr_expect_eq(memcmp(back[0][4], data[0], W * 2), 0);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyAtoH_v2)(back, a, 6, W * 2 * 2));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyAtoH_v2)(back, a, W * 2 * H, 2));

	/* what is not all inside */
	c.dstXInBytes = W * 2 - 6;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpy3D_v2)(&c));
	c.dstXInBytes = 0;
	c.dstY = H - 1;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpy3D_v2)(&c));
	c.dstY = 0;
	c.dstZ = D;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpy3D_v2)(&c));
	c.dstZ = 0;
	c.dstArray = (CUarray)linear;
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuMemcpy3D_v2)(&c));
	hg_driver_close();
}

Test(texture, an_array_whose_header_was_written_over_is_no_handle)
{
	/* words of struct drv_array: magic number, format; of its level pitch, width, depth, bytes of a row; the half of its address */
	static const size_t at[] = { 0, 12, 56, 72, 80, 84, 52 };
	static const uint32_t to[] = { 0, 5, 1u << 30 };
	uint32_t whole[32], texels[16] = { 0 };
	CUarray a;

	driver_begin();
	a = array_of(16, 4, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, 0);
	MUST(CU(cuMemcpyDtoH_v2)(whole, (uintptr_t)a, sizeof(whole)));
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		for (size_t k = 0; k < sizeof(to) / sizeof(to[0]); k++) {
			MUST(CU(cuMemcpyHtoD_v2)((uintptr_t)a + at[i], &to[k], sizeof(to[k])));
			GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuMemcpyHtoA_v2)(a, 0, texels, sizeof(texels)));
			MUST(CU(cuMemcpyHtoD_v2)((uintptr_t)a, whole, sizeof(whole)));
		}
	MUST(CU(cuMemcpyHtoA_v2)(a, 0, texels, sizeof(texels)));
}

Test(texture, mipmapped_arrays_have_levels_of_half_the_size)
{
	CUDA_ARRAY3D_DESCRIPTOR d = { .Width = 20, .Height = 9, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1 }, got;
	static float data[20 * 9], back[20 * 9];
	CUmipmappedArray m;
	CUarray level;

	driver_begin();
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMipmappedArrayCreate)(&m, &d, 0));
	MUST(CU(cuMipmappedArrayCreate)(&m, &d, 40));
	for (unsigned int i = 0; i < 5; i++) {
		MUST(CU(cuMipmappedArrayGetLevel)(&level, m, i));
		MUST(CU(cuArray3DGetDescriptor_v2)(&got, level));
		cr_expect_eq(got.Width, 20u >> i);
		cr_expect_eq(got.Height, 9u >> i ? 9u >> i : 1);
		for (int k = 0; k < 20 * 9; k++)
			data[k] = (float)(i * 1000) + (float)k;
		copy_in(level, data, got.Width * 4, got.Height, 1);
	}
	for (unsigned int i = 0; i < 5; i++) {
		MUST(CU(cuMipmappedArrayGetLevel)(&level, m, i));
		MUST(CU(cuArray3DGetDescriptor_v2)(&got, level));
		copy_out(back, level, got.Width * 4, got.Height, 1);
		for (unsigned int k = 0; k < got.Width * got.Height; k++)
			cr_assert_eq(back[k], (float)(i * 1000 + k), "level %u, %u", i, k);
		GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuArrayDestroy)(level));
	}
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMipmappedArrayGetLevel)(&level, m, 5));
	MUST(CU(cuMipmappedArrayDestroy)(m));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuMipmappedArrayGetLevel)(&level, m, 0));
	hg_driver_close();
}

/* ---- objects ---- */

Test(texture, objects_say_what_they_are_and_wrong_ones_are_refused)
{
	CUDA_RESOURCE_DESC r = { .resType = CU_RESOURCE_TYPE_ARRAY }, got;
	CUDA_TEXTURE_DESC t = { .addressMode = { CU_TR_ADDRESS_MODE_WRAP, CU_TR_ADDRESS_MODE_MIRROR, CU_TR_ADDRESS_MODE_BORDER },
				.filterMode = CU_TR_FILTER_MODE_LINEAR, .flags = CU_TRSF_NORMALIZED_COORDINATES, .borderColor = { 1, 2, 3, 4 } };
	CUDA_TEXTURE_DESC bad = t, got_t;
	CUDA_RESOURCE_VIEW_DESC v = { .format = CU_RES_VIEW_FORMAT_FLOAT_1X32, .width = 8, .height = 8 }, got_v;
	CUdeviceptr mem;
	CUtexObject o;
	CUsurfObject s;
	CUarray a;

	driver_begin();
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	a = array_of(8, 8, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, 0);
	r.res.array.hArray = a;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(NULL, &r, &t, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, NULL, &t, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, NULL, NULL));
	bad.addressMode[1] = (CUaddress_mode)7;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &bad, NULL));
	bad = t;
	bad.filterMode = (CUfilter_mode)2;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &bad, NULL));
	bad = t;
	bad.flags = 1u << 30;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &bad, NULL));
	MUST(CU(cuTexObjectCreate)(&o, &r, &t, &v));
	MUST(CU(cuTexObjectGetResourceDesc)(&got, o));
	cr_expect(got.resType == r.resType && got.res.array.hArray == a);
	MUST(CU(cuTexObjectGetTextureDesc)(&got_t, o));
	cr_expect_eq(memcmp(&got_t, &t, sizeof(t)), 0);
	MUST(CU(cuTexObjectGetResourceViewDesc)(&got_v, o));
	cr_expect_eq(memcmp(&got_v, &v, sizeof(v)), 0);
	v.format = CU_RES_VIEW_FORMAT_FLOAT_1X16;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &t, &v));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuSurfObjectDestroy)(o));
	MUST(CU(cuTexObjectDestroy)(o));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuTexObjectDestroy)(o));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuTexObjectGetTextureDesc)(&got_t, o));
	MUST(CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectGetResourceViewDesc)(&got_v, o));

	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuSurfObjectCreate)(&s, &r));	/* not made for that */
	r.res.array.hArray = array_of(8, 8, 0, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_SURFACE_LDST);
	MUST(CU(cuSurfObjectCreate)(&s, &r));
	MUST(CU(cuSurfObjectGetResourceDesc)(&got, s));
	cr_expect_eq(got.res.array.hArray, r.res.array.hArray);
	MUST(CU(cuSurfObjectDestroy)(s));

	MUST(CU(cuMemAlloc_v2)(&mem, 4096));
	r = (CUDA_RESOURCE_DESC){ .resType = CU_RESOURCE_TYPE_LINEAR, .res.linear = { mem, CU_AD_FORMAT_FLOAT, 1, 4096 } };
	MUST(CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &t, &v));
	r.res.linear.sizeInBytes = 4100;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	r.res.linear.sizeInBytes = 64;
	r.res.linear.devPtr = mem + 16;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	r = (CUDA_RESOURCE_DESC){ .resType = CU_RESOURCE_TYPE_PITCH2D, .res.pitch2D = { mem, CU_AD_FORMAT_FLOAT, 1, 10, 8, 64 } };
	MUST(CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	r.res.pitch2D.pitchInBytes = 33;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	r.res.pitch2D.pitchInBytes = 32;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	r.flags = 1;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	hg_driver_close();
}

/* ---- kernels ---- */

Test(texture, kernels_sample_arrays_and_memory)
{
	static float data[4][8][16];
	uint32_t out[16 * 16];
	CUDA_RESOURCE_DESC linear = { .resType = CU_RESOURCE_TYPE_LINEAR }, pitch = { .resType = CU_RESOURCE_TYPE_PITCH2D };
	CUDA_TEXTURE_DESC t = { .addressMode = { CU_TR_ADDRESS_MODE_CLAMP, CU_TR_ADDRESS_MODE_CLAMP } };
	CUtexObject volume, layers, row, plane;
	CUdeviceptr mem;

	driver_begin();
	for (int i = 0; i < 4 * 8 * 16; i++)
		(&data[0][0][0])[i] = (float)i;
	volume = texture_of(array_of(16, 8, 4, CU_AD_FORMAT_FLOAT, 1, 0), 0, CU_TR_FILTER_MODE_LINEAR, CU_TR_ADDRESS_MODE_CLAMP);
	{
		CUDA_RESOURCE_DESC r;

		MUST(CU(cuTexObjectGetResourceDesc)(&r, volume));
		copy_in(r.res.array.hArray, data, 64, 8, 4);
	}
	/* between eight texels; and a texel itself, by integers */
	MUST(run("tex.3d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%h0, {%x, 0f40400000, 0f40000000, %x}];\n"
		 "st.global.v4.f32 [%o], {%f1, %f2, %f3, %f4};\n"
		 "tex.3d.v4.f32.s32 {%f1, _, _, _}, [%h0, {%i, 5, 3, 0}];\nst.global.f32 [%o+16], %f1;", 16, volume, 0, out));
	for (int i = 0; i < 16; i++) {
		float a = data[1][2][i ? i - 1 : 0], b = data[1][2][i];

		cr_expect_eq(as_float(out[16 * i]), (a + b) / 2 + 8 + 64, "%d: %g", i, (double)as_float(out[16 * i]));
		cr_expect_eq(as_float(out[16 * i + 1]), 0);
		cr_expect_eq(as_float(out[16 * i + 3]), 1);
		cr_expect_eq(as_float(out[16 * i + 4]), data[3][5][i]);
	}
	/* layers; with offsets; four texels; f16; resident */
	layers = texture_of(array_of(16, 8, 4, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_LAYERED), 0, CU_TR_FILTER_MODE_POINT,
			    CU_TR_ADDRESS_MODE_BORDER);
	{
		CUDA_RESOURCE_DESC r;

		MUST(CU(cuTexObjectGetResourceDesc)(&r, layers));
		copy_in(r.res.array.hArray, data, 64, 8, 4);
	}
	MUST(run("tex.a2d.v4.f32.f32 {%f1, _, _, _}, [%h0, {2, %x, 0f40400000, %x}], {1, -2};\nst.global.f32 [%o], %f1;\n"
		 "tld4.r.a2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%h0, {1, %x, 0f40400000, %x}];\nst.global.v4.f32 [%o+16], {%f1, %f2, %f3, %f4};\n"
		 "tex.a2d.v4.f16.f32 {%s1, %s2, %s3, %s4}|%p, [%h0, {2, %x, 0f40400000, %x}];\n"
		 "cvt.f32.f16 %f1, %s1;\nst.global.f32 [%o+32], %f1;\nselp.u32 %r1, 1, 0, %p;\nst.global.u32 [%o+36], %r1;\n"
		 "tex.a2d.v2.f16x2.f32 {%r1, %r2}, [%h0, {2, %x, 0f40400000, %x}];\nst.global.u32 [%o+40], %r1;\nst.global.u32 [%o+44], %r2;",
		 16, layers, 0, out));
	for (int i = 0; i < 16; i++) {
		static const int at[4][2] = { { -1, 3 }, { 0, 3 }, { 0, 2 }, { -1, 2 } };

		cr_expect_eq(as_float(out[16 * i]), i < 15 ? data[2][1][i + 1] : 0);
		for (int k = 0; k < 4; k++) {
			int x = i + at[k][0];

			cr_expect_eq(as_float(out[16 * i + 4 + k]), x < 0 ? 0 : data[1][at[k][1]][x], "%d, %d", i, k);
		}
		cr_expect_eq(as_float(out[16 * i + 8]), data[2][3][i]);
		cr_expect_eq(out[16 * i + 9], 1);
		cr_expect_eq(out[16 * i + 11], 0x3c000000);	/* 0 and 1 */
		cr_expect_eq(out[16 * i + 10] >> 16, 0);
	}
	/* linear memory: what is outside is zero; and pitched memory */
	MUST(CU(cuMemAlloc_v2)(&mem, sizeof(data)));
	MUST(CU(cuMemcpyHtoD_v2)(mem, data, sizeof(data)));
	linear.res.linear.devPtr = mem;
	linear.res.linear.format = CU_AD_FORMAT_FLOAT;
	linear.res.linear.numChannels = 2;
	linear.res.linear.sizeInBytes = 10 * 8;
	MUST(CU(cuTexObjectCreate)(&row, &linear, &t, NULL));
	pitch.res.pitch2D.devPtr = mem;
	pitch.res.pitch2D.format = CU_AD_FORMAT_FLOAT;
	pitch.res.pitch2D.numChannels = 1;
	pitch.res.pitch2D.width = 10;
	pitch.res.pitch2D.height = 8;
	pitch.res.pitch2D.pitchInBytes = 64;
	MUST(CU(cuTexObjectCreate)(&plane, &pitch, &t, NULL));
	MUST(run("tex.1d.v4.f32.s32 {%f1, %f2, %f3, %f4}, [%h0, {%i}];\nst.global.v4.f32 [%o], {%f1, %f2, %f3, %f4};\n"
		 "tex.2d.v4.f32.f32 {%f1, _, _, _}, [%h1, {%x, 0f40400000}];\nst.global.f32 [%o+16], %f1;", 16, row, plane, out));
	for (int i = 0; i < 16; i++) {
		cr_expect_eq(as_float(out[16 * i]), i < 10 ? (float)(2 * i) : 0);
		cr_expect_eq(as_float(out[16 * i + 1]), i < 10 ? (float)(2 * i + 1) : 0);
		cr_expect_eq(as_float(out[16 * i + 4]), data[0][3][i < 10 ? i : 9]);
	}
	hg_driver_close();
}

Test(texture, lanes_that_are_off_read_nothing_and_handles_may_differ)
{
	float row[2][4] = { { 1, 2, 3, 4 }, { 10, 20, 30, 40 } };
	uint32_t out[16 * 33];
	CUtexObject t[2];

	driver_begin();
	for (int i = 0; i < 2; i++) {
		CUarray a = array_of(4, 0, 0, CU_AD_FORMAT_FLOAT, 1, 0);

		copy_in(a, row[i], 16, 1, 1);
		t[i] = texture_of(a, 0, CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP);
	}
	/* odd lanes take the other texture; every third lane holds a handle of nothing, and does not use it */
	MUST(run("and.b32 %r1, %i, 1;\nsetp.ne.u32 %p, %r1, 0;\nselp.b64 %d1, %h1, %h0, %p;\n"
		 "rem.u32 %r1, %i, 3;\nsetp.eq.u32 %q, %r1, 0;\nselp.b64 %d1, 24, %d1, %q;\nmov.f32 %f1, 0fbf800000;\nand.b32 %r2, %i, 3;\n"
		 "@!%q tex.1d.v4.f32.s32 {%f1, _, _, _}, [%d1, {%r2}];\nst.global.f32 [%o], %f1;", 33, t[0], t[1], out));
	for (int i = 0; i < 33; i++)
		cr_expect_eq(as_float(out[16 * i]), i % 3 ? row[i & 1][i & 3] : -1, "lane %d", i);
	GIVES(CUDA_ERROR_LAUNCH_FAILED, run("tex.1d.v4.f32.s32 {%f1, _, _, _}, [%h1, {%i}];", 4, t[0], t[0] + 8, out));
	hg_driver_close();
}

Test(texture, queries_give_sizes_and_modes)
{
	static const uint32_t want[] = { 20, 9, 0, 0, 4, 0x10d2, 0x10b5, 1, 1, 0, 3, 5, 2, 1 };
	CUDA_ARRAY3D_DESCRIPTOR d = { .Width = 20, .Height = 9, .Format = CU_AD_FORMAT_UNORM_INT8X4, .NumChannels = 4 };
	CUDA_RESOURCE_DESC r = { .resType = CU_RESOURCE_TYPE_MIPMAPPED_ARRAY };
	CUDA_TEXTURE_DESC t = { .addressMode = { CU_TR_ADDRESS_MODE_WRAP, CU_TR_ADDRESS_MODE_CLAMP }, .filterMode = CU_TR_FILTER_MODE_LINEAR,
				.flags = CU_TRSF_NORMALIZED_COORDINATES };
	CUtexObject o;
	CUsurfObject s;
	uint32_t out[16];

	driver_begin();
	MUST(CU(cuMipmappedArrayCreate)(&r.res.mipmap.hMipmappedArray, &d, 4));
	MUST(CU(cuTexObjectCreate)(&o, &r, &t, NULL));
	MUST(run("txq.width.b32 %r0, [%h0];\ntxq.height.b32 %r1, [%h0];\ntxq.depth.b32 %r2, [%h0];\ntxq.array_size.b32 %r3, [%h0];\n"
		 "txq.num_mipmap_levels.b32 %r4, [%h0];\ntxq.channel_data_type.b32 %r5, [%h0];\ntxq.channel_order.b32 %r6, [%h0];\n"
		 "txq.normalized_coords.b32 %r7, [%h0];\ntxq.filter_mode.b32 %r8, [%h0];\ntxq.addr_mode_0.b32 %r9, [%h0];\n"
		 "txq.addr_mode_1.b32 %r10, [%h0];\ntxq.level.width.b32 %r11, [%h0], 2;\ntxq.level.height.b32 %r12, [%h0], 2;\n"
		 "txq.num_samples.b32 %r13, [%h0];\n"
		 "st.global.v4.u32 [%o], {%r0, %r1, %r2, %r3};\nst.global.v4.u32 [%o+16], {%r4, %r5, %r6, %r7};\n"
		 "st.global.v4.u32 [%o+32], {%r8, %r9, %r10, %r11};\nst.global.v2.u32 [%o+48], {%r12, %r13};", 1, o, 0, out));
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		cr_expect_eq(out[i], want[i], "query %zu: %u, not %u", i, out[i], want[i]);
	s = surface_of(array_of(20, 9, 5, CU_AD_FORMAT_HALF, 2, CUDA_ARRAY3D_SURFACE_LDST));
	MUST(run("suq.width.b32 %r0, [%h0];\nsuq.height.b32 %r1, [%h0];\nsuq.depth.b32 %r2, [%h0];\nsuq.array_size.b32 %r3, [%h0];\n"
		 "suq.channel_data_type.b32 %r4, [%h0];\nsuq.channel_order.b32 %r5, [%h0];\n"
		 "st.global.v4.u32 [%o], {%r0, %r1, %r2, %r3};\nst.global.v2.u32 [%o+16], {%r4, %r5};", 1, s, 0, out));
	cr_expect(out[0] == 20 && out[1] == 9 && out[2] == 5 && !out[3] && out[4] == 0x10dd && out[5] == 0x10b2);
	hg_driver_close();
}

Test(texture, surfaces_read_and_write_bytes_and_keep_to_their_edges)
{
	enum { W = 8, H = 4 };
	uint32_t data[H][W], out[16 * 12];
	CUsurfObject s;
	CUarray a;

	driver_begin();
	a = array_of(W, H, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, CUDA_ARRAY3D_SURFACE_LDST);
	s = surface_of(a);
	for (int i = 0; i < W * H; i++)
		(&data[0][0])[i] = 0x01020304u * (unsigned int)(i + 1);
	copy_in(a, data, W * 4, H, 1);
	/* x from -2 to 9 texels */
	MUST(run("sub.u32 %r1, %i, 2;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, 7;\nmov.u32 %r4, 7;\n"
		 "suld.b.2d.b32.zero {%r3}, [%h0, {%r2, 2}];\nsuld.b.2d.b32.clamp {%r4}, [%h0, {%r2, 2}];\n"
		 "suld.b.2d.b32.zero {%r5}, [%h0, {0, %r1}];\nsuld.b.2d.v2.b16.clamp {%s1, %s2}, [%h0, {%r2, 100}];\n"
		 "mov.b32 %r6, {%s1, %s2};\nshl.b32 %r11, %r1, 4;\n"
		 "suld.b.2d.v4.b32.zero {%r7, %r8, %r9, %r10}, [%h0, {%r11, 1}];\n"
		 "st.global.v4.u32 [%o], {%r3, %r4, %r5, %r6};\nst.global.v2.u32 [%o+16], {%r7, %r10};",
		 12, s, 0, out));
	for (int i = 0; i < 12; i++) {
		int x = i - 2, c = x < 0 ? 0 : x > 7 ? 7 : x;

		/* four texels at once */
		cr_expect_eq(out[16 * i + 4], x >= 0 && x < 2 ? data[1][4 * x] : 0, "%d", x);
		cr_expect_eq(out[16 * i + 5], x >= 0 && x < 2 ? data[1][4 * x + 3] : 0, "%d", x);
		cr_expect_eq(out[16 * i], x == c ? data[2][x] : 0, "%d", x);
		cr_expect_eq(out[16 * i + 1], data[2][c], "%d", x);
		cr_expect_eq(out[16 * i + 2], x >= 0 && x < H ? data[x][0] : 0, "%d", x);
		cr_expect_eq(out[16 * i + 3], data[H - 1][c], "%d", x);
	}
	hg_driver_close();
}

Test(texture, surfaces_keep_stores_inside_and_trap_where_asked)
{
	enum { W = 8, H = 4 };
	static unsigned char zeros[W * H * 4], back[H][W * 4];
	uint32_t out[16 * 32];
	CUsurfObject s;
	CUarray a;

	driver_begin();
	a = array_of(W, H, 0, CU_AD_FORMAT_UNSIGNED_INT8, 4, CUDA_ARRAY3D_SURFACE_LDST);
	s = surface_of(a);
	copy_in(a, zeros, W * 4, H, 1);
	/* lanes 0 to 31 store their number in row 1; those at an even byte again, 16 bytes further right, where half is outside */
	MUST(run("cvt.u16.u32 %s1, %i;\nsust.b.2d.b8.trap [%h0, {%i, 1}], {%s1};\n"
		 "add.u32 %r1, %i, 16;\nsust.b.2d.b8.zero [%h0, {%r1, 2}], {%s1};\n"
		 "sub.u32 %r2, %i, 31;\nsust.b.2d.b8.clamp [%h0, {%r2, 77}], {255};", 32, s, 0, out));
	copy_out(back, a, W * 4, H, 1);
	for (int x = 0; x < W * 4; x++) {
		cr_expect_eq(back[0][x], 0);
		cr_expect_eq(back[1][x], x);
		cr_expect_eq(back[2][x], x < 16 ? 0 : x - 16);
		cr_expect_eq(back[3][x], x ? 0 : 255);
	}
	GIVES(CUDA_ERROR_LAUNCH_FAILED, run("shl.b32 %r1, %i, 2;\nsust.b.2d.b32.trap [%h0, {%r1, 1}], {%i};", 9, s, 0, out));
	hg_driver_close();
}

Test(texture, layers_and_slices_of_surfaces_and_their_atomics)
{
	enum { W = 4, H = 2, D = 3 };
	static uint32_t zeros[D * H * W], back[D][H][W];
	uint32_t out[16 * 32];
	CUsurfObject volume, layers, line;
	CUarray v, l, n;

	driver_begin();
	v = array_of(W, H, D, CU_AD_FORMAT_SIGNED_INT32, 1, CUDA_ARRAY3D_SURFACE_LDST);
	l = array_of(W, H, D, CU_AD_FORMAT_UNSIGNED_INT32, 1, CUDA_ARRAY3D_SURFACE_LDST | CUDA_ARRAY3D_LAYERED);
	n = array_of(W, 0, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, CUDA_ARRAY3D_SURFACE_LDST);
	volume = surface_of(v);
	layers = surface_of(l);
	line = surface_of(n);
	copy_in(v, zeros, W * 4, H, D);
	copy_in(l, zeros, W * 4, H, D);
	MUST(run("sust.b.3d.b32.trap [%h0, {4, 1, 2, 0}], {77};\nsust.b.a2d.b32.trap [%h1, {2, 8, 1, 0}], {78};\n"
		 "sured.b.add.3d.u32.trap [%h0, {8, 0, 1, 0}], %i;\nneg.s32 %r1, %i;\n"
		 "sured.p.min.3d.b32.trap [%h0, {3, 0, 1, 0}], %r1;\n"		/* texels, signed as the array is */
		 "sured.p.max.a2d.b32.trap [%h1, {1, 2, 0, 0}], %r1;\n"	/* …and unsigned */
		 "sured.b.or.a2d.b32.zero [%h1, {7, 8, 1, 0}], %i;\n", 32, volume, layers, out));
	copy_out(back, v, W * 4, H, D);
	cr_expect_eq(back[2][1][1], 77);
	cr_expect_eq(back[1][0][2], 31 * 32 / 2);
	cr_expect_eq((int32_t)back[1][0][3], -31);
	cr_expect_eq(back[0][0][0], 0);
	copy_out(back, l, W * 4, H, D);
	cr_expect_eq(back[2][1][2], 78);
	cr_expect_eq(back[1][0][2], UINT32_MAX);
	cr_expect_eq(back[0][1][2], 0);
	MUST(run("sust.b.1d.b64.trap [%h0, {8}], {%h0};\nsuld.b.1d.b64.trap {%d1}, [%h0, {8}];\nst.global.u64 [%o], %d1;", 1, line, 0, out));
	cr_expect_eq(out[0] | (uint64_t)out[1] << 32, line);
	hg_driver_close();
}

Test(texture, formatted_stores_convert)
{
	static const struct { CUarray_format format; unsigned int bytes; uint32_t in, want; } list[] = {
		{ CU_AD_FORMAT_UNSIGNED_INT8, 1, 300, 255 }, { CU_AD_FORMAT_UNSIGNED_INT8, 1, 200, 200 },
		{ CU_AD_FORMAT_SIGNED_INT8, 1, (uint32_t)-200, 0x80 }, { CU_AD_FORMAT_SIGNED_INT8, 1, (uint32_t)-3, 0xfd },
		{ CU_AD_FORMAT_UNSIGNED_INT16, 2, 70000, 65535 }, { CU_AD_FORMAT_SIGNED_INT16, 2, 40000, 32767 },
		{ CU_AD_FORMAT_UNSIGNED_INT32, 4, 0xdeadbeef, 0xdeadbeef }, { CU_AD_FORMAT_SIGNED_INT32, 4, 0x80000000, 0x80000000 },
		{ CU_AD_FORMAT_HALF, 2, 0x3fc00000, 0x3e00 }, { CU_AD_FORMAT_FLOAT, 4, 0x3fc00001, 0x3fc00001 },
	};
	uint32_t out[16];

	driver_begin();
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		static unsigned char zeros[64], back[3][4 * 2 * 4];
		char body[300];
		CUarray a = array_of(4, 3, 0, list[i].format, 2, CUDA_ARRAY3D_SURFACE_LDST);
		unsigned int texel = list[i].bytes * 2;
		uint32_t got[2] = { 0, 0 };

		copy_in(a, zeros, texel * 4, 1, 1);
		snprintf(body, sizeof(body), "mov.u32 %%r1, 0x%x;\nmov.u32 %%r2, 0;\nsust.p.2d.v4.b32.trap [%%h0, {2, 1}], {%%r1, %%r1, %%r2, %%r2};",
			 list[i].in);
		MUST(run(body, 1, surface_of(a), 0, out));
		memset(back, 0, sizeof(back));
		{
			CUDA_MEMCPY2D c = { .srcMemoryType = CU_MEMORYTYPE_ARRAY, .srcArray = a, .dstMemoryType = CU_MEMORYTYPE_HOST,
					    .dstHost = back, .dstPitch = sizeof(back[0]), .WidthInBytes = texel * 4, .Height = 3 };

			MUST(CU(cuMemcpy2D_v2)(&c));
		}
		memcpy(&got[0], back[1] + 2 * texel, list[i].bytes);
		memcpy(&got[1], back[1] + 2 * texel + list[i].bytes, list[i].bytes);
		cr_expect(got[0] == list[i].want && got[1] == list[i].want, "row %zu: %x %x", i, got[0], got[1]);
		memset(back[1] + 2 * texel, 0, texel);
		for (size_t b = 0; b < sizeof(back); b++)
			cr_assert_eq((&back[0][0])[b], 0, "row %zu, byte %zu", i, b);
	}
	hg_driver_close();
}

Test(texture, a_view_reads_other_levels_layers_and_formats)
{
	CUDA_ARRAY3D_DESCRIPTOR d = { .Width = 8, .Height = 8, .Depth = 3, .Format = CU_AD_FORMAT_UNSIGNED_INT8, .NumChannels = 4,
				      .Flags = CUDA_ARRAY3D_LAYERED };
	CUDA_RESOURCE_DESC r = { .resType = CU_RESOURCE_TYPE_MIPMAPPED_ARRAY };
	CUDA_TEXTURE_DESC t = { .flags = CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_READ_AS_INTEGER, .maxMipmapLevelClamp = 9 };
	CUDA_RESOURCE_VIEW_DESC v = { .format = CU_RES_VIEW_FORMAT_UINT_1X32, .firstMipmapLevel = 1, .lastMipmapLevel = 2, .firstLayer = 1,
				      .lastLayer = 2 };
	uint32_t data[3 * 64], out[16];
	CUarray level;
	CUtexObject o;

	driver_begin();
	MUST(CU(cuMipmappedArrayCreate)(&r.res.mipmap.hMipmappedArray, &d, 3));
	for (unsigned int i = 0; i < 3; i++) {
		MUST(CU(cuMipmappedArrayGetLevel)(&level, r.res.mipmap.hMipmappedArray, i));
		for (uint32_t k = 0; k < 3 * 64; k++)
			data[k] = 0x01000000u * i + k;
		copy_in(level, data, 32 >> i, 8 >> i, 3);
	}
	MUST(CU(cuTexObjectCreate)(&o, &r, &t, &v));
	MUST(run("tex.level.a2d.v4.u32.f32 {%r1, _, _, _}, [%h0, {0, 0f00000000, 0f00000000, 0f00000000}], 0f00000000;\n"
		 "tex.level.a2d.v4.u32.f32 {%r2, _, _, _}, [%h0, {1, 0f00000000, 0f00000000, 0f00000000}], 0f3f800000;\n"
		 "tex.level.a2d.v4.u32.f32 {%r3, _, _, _}, [%h0, {5, 0f00000000, 0f00000000, 0f00000000}], 0f41000000;\n"
		 "st.global.v2.u32 [%o], {%r1, %r2};\nst.global.u32 [%o+8], %r3;", 1, o, 0, out));
	cr_expect_eq(out[0], 0x01000000u + 16, "%x", out[0]);
	cr_expect_eq(out[1], 0x02000000u + 8, "%x", out[1]);
	cr_expect_eq(out[2], 0x02000000u + 8, "%x", out[2]);
	hg_driver_close();
}

/* ---- references ---- */

Test(texture, references_are_bound_and_told_how_to_read)
{
	static const char ptx[] =
		".version 8.0\n.target sm_80\n.address_size 64\n.global .texref t;\n.global .surfref s;\n.global .u32 number;\n"
		".visible .entry k(.param .u64 p)\n{\n.reg .b64 %o, %d; .reg .b32 %i, %r; .reg .f32 %x, %f<5>;\n"
		"ld.param.u64 %o, [p];\nmov.u32 %i, %tid.x;\ncvt.rn.f32.u32 %x, %i;\nmul.wide.u32 %d, %i, 4;\nadd.u64 %o, %o, %d;\n"
		"tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [t, {%x, 0f00000000}];\nst.global.f32 [%o], %f1;\n"
		"shl.b32 %r, %i, 2;\nsust.b.2d.b32.zero [s, {%r, 1}], {%i};\nret;\n}\n";
	float row[2][8], out[8], got;
	uint32_t drawn[2][8];
	CUDA_ARRAY_DESCRIPTOR d = { .Width = 8, .Height = 2, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1 };
	CUarray a, b, said;
	CUaddress_mode mode;
	CUdeviceptr o, mem, back;
	CUsurfref s;
	CUtexref t;
	CUfunction k;
	CUmodule m;
	size_t offset;
	void *params[] = { &o };

	driver_begin();
	for (int i = 0; i < 16; i++)
		row[i / 8][i % 8] = (float)(i * 10);
	MUST(CU(cuModuleLoadData)(&m, ptx));
	MUST(CU(cuModuleGetFunction)(&k, m, "k"));
	MUST(CU(cuModuleGetTexRef)(&t, m, "t"));
	MUST(CU(cuModuleGetSurfRef)(&s, m, "s"));
	GIVES(CUDA_ERROR_NOT_FOUND, CU(cuModuleGetTexRef)(&t, m, "number"));
	GIVES(CUDA_ERROR_NOT_FOUND, CU(cuModuleGetTexRef)(&t, m, "nothing"));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexRefGetArray)(&said, t));
	MUST(CU(cuMemAlloc_v2)(&o, 32));
	a = array_of(8, 2, 0, CU_AD_FORMAT_FLOAT, 1, 0);
	b = array_of(8, 2, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, CUDA_ARRAY3D_SURFACE_LDST);
	copy_in(a, row, 32, 2, 1);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuSurfRefSetArray)(s, a, 0));
	MUST(CU(cuSurfRefSetArray)(s, b, 0));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuTexRefSetArray)(t, (CUarray)o, CU_TRSA_OVERRIDE_FORMAT));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexRefSetArray)((CUtexref)o, a, CU_TRSA_OVERRIDE_FORMAT));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexRefSetFilterMode)(t, (CUfilter_mode)9));
	MUST(CU(cuTexRefSetAddressMode)(t, 0, CU_TR_ADDRESS_MODE_BORDER));
	MUST(CU(cuTexRefSetAddressMode)(t, 1, CU_TR_ADDRESS_MODE_CLAMP));
	MUST(CU(cuTexRefSetFilterMode)(t, CU_TR_FILTER_MODE_LINEAR));
	MUST(CU(cuTexRefSetBorderColor)(t, (float[]){ 100, 0, 0, 0 }));
	MUST(CU(cuTexRefSetArray)(t, a, CU_TRSA_OVERRIDE_FORMAT));
	MUST(CU(cuTexRefGetArray)(&said, t));
	cr_expect_eq(said, a);
	MUST(CU(cuTexRefGetAddressMode)(&mode, t, 0));
	cr_expect_eq(mode, CU_TR_ADDRESS_MODE_BORDER);
	MUST(CU(cuLaunchKernel)(k, 1, 1, 1, 8, 1, 1, 0, NULL, params, NULL));
	MUST(CU(cuMemcpyDtoH_v2)(out, o, 32));
	for (int i = 0; i < 8; i++)
		cr_expect_eq(out[i], i ? (row[0][i - 1] + row[0][i]) / 2 : 50, "%d: %g", i, (double)out[i]);
	copy_out(drawn, b, 32, 2, 1);
	for (uint32_t i = 0; i < 8; i++)
		cr_expect(drawn[0][i] == 0 && drawn[1][i] == i);

	/* told otherwise after it was bound; then bound to memory */
	MUST(CU(cuTexRefSetFilterMode)(t, CU_TR_FILTER_MODE_POINT));
	MUST(CU(cuLaunchKernel)(k, 1, 1, 1, 8, 1, 1, 0, NULL, params, NULL));
	MUST(CU(cuMemcpyDtoH_v2)(out, o, 32));
	for (int i = 0; i < 8; i++)
		cr_expect_eq(out[i], row[0][i]);
	MUST(CU(cuMemAlloc_v2)(&mem, 4096));
	MUST(CU(cuMemcpyHtoD_v2)(mem + 64, row[1], 32));
	MUST(CU(cuTexRefSetAddress2D_v3)(t, &d, mem, 64));
	MUST(CU(cuTexRefGetAddress_v2)(&back, t));
	cr_expect_eq(back, mem);
	MUST(CU(cuTexRefSetFormat)(t, CU_AD_FORMAT_FLOAT, 1));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuTexRefSetAddress_v2)(NULL, t, mem + 64, 32));
	MUST(CU(cuTexRefSetAddress_v2)(&offset, t, mem + 64, 32));
	cr_expect_eq(offset, 64);
	MUST(CU(cuLaunchKernel)(k, 1, 1, 1, 8, 1, 1, 0, NULL, params, NULL));
	MUST(CU(cuMemcpyDtoH_v2)(&got, o + 4, 4));
	cr_expect_eq(got, 0);	/* the aligned address before it */
	hg_driver_close();
}

Test(texture, checked_memory_finds_an_array_that_is_gone)
{
	uint32_t out[16];
	CUtexObject t;
	CUarray a, other;

	setenv("HGSHIM_CHECK", "memory", 1);
	driver_begin();
	a = array_of(4, 0, 0, CU_AD_FORMAT_FLOAT, 1, 0);
	other = array_of(4, 0, 0, CU_AD_FORMAT_FLOAT, 1, 0);
	t = texture_of(a, 0, CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP);
	MUST(run("tex.1d.v4.f32.s32 {%f1, _, _, _}, [%h0, {%i}];\nst.global.f32 [%o], %f1;", 1, t, 0, out));
	MUST(CU(cuArrayDestroy)(a));
	/* its neighbour keeps the page mapped: nothing but the check would notice */
	GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, run("tex.1d.v4.f32.s32 {%f1, _, _, _}, [%h0, {%i}];\nst.global.f32 [%o], %f1;", 1, t, 0, out));
	(void)other;
	hg_driver_close();
}
