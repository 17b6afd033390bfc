/* test_texture.c - textures and surfaces in the doubles' executor: the same bytes as on the CPU target. */
#include "tests/unit/simt/simt_test.h"
#include "translate/texture.h"

static float texels[2][4][8];

static struct hg_texture descriptor(void)
{
	struct hg_texture t = { .magic = HG_TEXTURE_MAGIC, .flags = HG_TEXTURE_LINEAR, .texel = HG_TEXEL_F32, .channels = 1,
				.address = { HG_TEXTURE_CLAMP, HG_TEXTURE_CLAMP, HG_TEXTURE_CLAMP }, .nr_levels = 1 };

	for (int i = 0; i < 64; i++)
		(&texels[0][0][0])[i] = (float)(i * i);
	t.level[0] = (struct hg_texture_level){ .addr = (uintptr_t)texels, .pitch = 32, .slice = 128, .width = 8, .height = 4, .depth = 2,
						.row_bytes = 32 };
	return t;
}

#define TEXTURE_KERNEL(body)									\
	".version 8.0\n.target sm_80\n.address_size 64\n"				\
	".visible .entry k(.param .u64 a, .param .u64 b)\n{\n"				\
	".reg .b64 %h, %o, %t; .reg .b32 %i, %r<8>; .reg .f32 %x, %f<8>; .reg .pred %p;\n"	\
	"ld.param.u64 %h, [a];\nld.param.u64 %o, [b];\nmov.u32 %i, %tid.x;\n"		\
	"mul.wide.u32 %t, %i, 16;\nadd.u64 %o, %o, %t;\ncvt.rn.f32.u32 %x, %i;\nmul.f32 %x, %x, 0f3e99999a;\n"	\
	"and.b32 %r7, %i, 1;\nsetp.ne.u32 %p, %r7, 0;\n" body "\nret;\n}\n"

static void check_of(struct hg_texture t, const char *ptx)
{
	static uint32_t out[33 * 4];
	const uint64_t params[] = { (uintptr_t)&t, (uintptr_t)out };
	struct kernel_run r = { .block = { 33 }, .params = params, .data = out, .size = sizeof(out) };

	memset(out, 0, sizeof(out));
	run_both(ptx, &r);
}

static void check(const char *ptx)
{
	check_of(descriptor(), ptx);
}

/* Through powers that the support library computes in f64. */
Test(texture, srgb_is_read_the_same)
{
	static unsigned char bytes[4][32];
	struct hg_texture t = descriptor();

	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i / 32][i % 32] = (unsigned char)(i * 37);
	t.texel = HG_TEXEL_U8;
	t.channels = 4;
	t.flags |= HG_TEXTURE_SRGB | HG_TEXTURE_AS_FLOAT;
	t.level[0].addr = (uintptr_t)bytes;
	check_of(t, TEXTURE_KERNEL("tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%h, {%x, %x}];\nst.global.v4.f32 [%o], {%f1, %f2, %f3, %f4};"));
}

Test(texture, both_executors_sample_the_same)
{
	check(TEXTURE_KERNEL("tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%h, {%x, %x}];\nst.global.v4.f32 [%o], {%f1, %f2, %f3, %f4};"));
	check(TEXTURE_KERNEL("mov.f32 %f1, 0f00000000;\n@%p tex.3d.v4.f32.f32 {%f1, _, _, %f2}, [%h, {%x, %x, %x, %x}], {1, -1, 0, 0};\n"
		     "st.global.f32 [%o], %f1;"));
	check(TEXTURE_KERNEL("tld4.r.a2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%h, {1, %x, %x, %x}];\nst.global.v4.f32 [%o], {%f1, %f2, %f3, %f4};"));
	check(TEXTURE_KERNEL("shl.b32 %r2, %i, 2;\nsuld.b.2d.b32.zero {%r1}, [%h, {%r2, 1}];\nst.global.u32 [%o], %r1;"));
}
