/* test_texture.c - sampling against the formulas of the CUDA programming guide, "Texture Fetching", written out in doubles. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "translate/texture.h"

#define W 7
#define H 5
#define D 4		/* slices, or layers */

static uint32_t seed = 1;

static uint32_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static float uniform(float low, float high)
{
	return low + (high - low) * (float)(next() >> 8) / 16777216.0f;
}

/* ---- the reference ---- */

struct image {
	struct hg_texture t;
	unsigned char *data;
	double value[2][D * 6][H][W][4];	/* [level][slice]: decoded */
	int n[2][3];
};

static double decode(enum hg_texel texel, const unsigned char *p, int c, bool as_float, bool srgb)
{
	uint16_t u16 = 0;
	uint32_t u32 = 0;
	int16_t s16 = 0;
	double d;

	memcpy(&u16, p + 2 * c, texel == HG_TEXEL_U16 || texel == HG_TEXEL_S16 || texel == HG_TEXEL_F16 ? 2 : 0);
	memcpy(&s16, p + 2 * c, texel == HG_TEXEL_U16 || texel == HG_TEXEL_S16 ? 2 : 0);
	memcpy(&u32, p + 4 * c, texel == HG_TEXEL_U32 || texel == HG_TEXEL_S32 || texel == HG_TEXEL_F32 ? 4 : 0);
	switch (texel) {
	case HG_TEXEL_U8:
		d = p[c] / 255.0;
		if (srgb && c < 3)
			d = d <= 0.04045 ? d / 12.92 : pow((d + 0.055) / 1.055, 2.4);
		return as_float ? d : p[c];
	case HG_TEXEL_S8: return as_float ? fmax((int8_t)p[c] / 127.0, -1) : (int8_t)p[c];
	case HG_TEXEL_U16: return as_float ? u16 / 65535.0 : u16;
	case HG_TEXEL_S16: return as_float ? fmax(s16 / 32767.0, -1) : s16;
	case HG_TEXEL_U32: return u32;
	case HG_TEXEL_S32: return (int32_t)u32;
	case HG_TEXEL_F16:
		d = u16 >> 10 & 31 ? ldexp(1024 + (u16 & 1023), (u16 >> 10 & 31) - 25) : ldexp(u16 & 1023, -24);
		return u16 & 0x8000 ? -d : d;
	default: {
		float f;

		memcpy(&f, &u32, 4);
		return f;
	}
	}
}

static void make(struct image *im, enum hg_texel texel, uint32_t channels, uint32_t flags, int nr_levels, int depth)
{
	unsigned int bytes = hg_texel_bytes(texel) * channels;
	bool as_float = texel >= HG_TEXEL_F16 || flags & HG_TEXTURE_AS_FLOAT;
	size_t at = 0;

	memset(im, 0, sizeof(*im));
	im->data = calloc(1, 65536);
	im->t = (struct hg_texture){ .magic = HG_TEXTURE_MAGIC, .flags = flags, .texel = texel, .channels = channels,
				     .nr_levels = (uint32_t)nr_levels, .max_level = 100 };
	for (int l = 0; l < nr_levels; l++) {
		struct hg_texture_level *lv = &im->t.level[l];

		*lv = (struct hg_texture_level){ .addr = (uintptr_t)im->data + at, .width = W >> l, .height = H >> l, .depth = (uint32_t)depth,
						 .row_bytes = (W >> l) * bytes };
		lv->pitch = (lv->row_bytes + 31) & ~31u;
		lv->slice = lv->pitch * lv->height + 64;
		at += lv->slice * (unsigned int)depth;
		im->n[l][0] = W >> l;
		im->n[l][1] = H >> l;
		im->n[l][2] = depth;
		for (int z = 0; z < depth; z++)
			for (int y = 0; y < im->n[l][1]; y++)
				for (int x = 0; x < im->n[l][0]; x++) {
					unsigned char *p = im->data + (lv->addr - (uintptr_t)im->data) + (size_t)z * lv->slice +
						(size_t)y * lv->pitch + (size_t)x * bytes;

					for (unsigned int i = 0; i < bytes; i++)
						p[i] = (unsigned char)next();
					for (uint32_t c = 0; c < channels && texel == HG_TEXEL_F32; c++) {
						float f = uniform(-8, 8);

						memcpy(p + 4 * c, &f, 4);
					}
					for (uint32_t c = 0; c < channels && texel == HG_TEXEL_F16; c++)
						p[2 * c + 1] = (unsigned char)((p[2 * c + 1] & 0x83) | 0x38);	/* 0.5 to 1 */
					im->value[l][z][y][x][3] = 1;
					for (uint32_t c = 0; c < channels; c++)
						im->value[l][z][y][x][c] = decode(texel, p, (int)c, as_float, flags & HG_TEXTURE_SRGB);
				}
	}
}

/* The guide: how a coordinate becomes one in [0, N); texels beside it follow the same mode. *outside: border. */
static int texel_at(double i, int n, enum hg_texture_address mode, bool normalised, bool *outside)
{
	double u;

	if (!normalised && (mode == HG_TEXTURE_WRAP || mode == HG_TEXTURE_MIRROR))
		mode = HG_TEXTURE_CLAMP;
	switch (mode) {
	case HG_TEXTURE_BORDER:
		*outside |= i < 0 || i >= n;
		return i < 0 || i >= n ? 0 : (int)i;
	case HG_TEXTURE_WRAP:
		u = (i + 0.5) / n;
		return (int)((u - floor(u)) * n);
	case HG_TEXTURE_MIRROR:
		u = (i + 0.5) / n;
		return (int)((fmod(floor(u), 2) == 0 ? u - floor(u) : 1 - (u - floor(u))) * n);
	default:
		return (int)fmin(fmax(i, 0), n - 1);
	}
}

static double border_of(const struct image *im, int c, bool is_float)
{
	uint32_t bits;

	memcpy(&bits, &im->t.border[c], 4);
	return is_float ? (double)im->t.border[c] : im->t.texel == HG_TEXEL_U8 || im->t.texel == HG_TEXEL_U16 || im->t.texel == HG_TEXEL_U32 ?
		(double)bits : (double)(int32_t)bits;
}

static double one(const struct image *im, int l, const double *i, int nr, int layer, int c, bool normalised, bool is_float)
{
	bool outside = false;
	int at[3] = { 0, 0, layer };

	for (int a = 0; a < nr; a++)
		at[a] = texel_at(i[a], im->n[l][a], (enum hg_texture_address)im->t.address[a], normalised, &outside);
	return outside ? border_of(im, c, is_float) : im->value[l][at[2]][at[1]][at[0]][c];
}

static double reference_level(const struct image *im, int l, const float *x, int nr, int layer, int c, const int *offset)
{
	bool normalised = im->t.flags & HG_TEXTURE_NORMALISED, linear = im->t.flags & HG_TEXTURE_LINEAR;
	bool is_float = im->t.texel >= HG_TEXEL_F16 || (im->t.flags & HG_TEXTURE_AS_FLOAT && im->t.texel < HG_TEXEL_U32);
	double i[3], weight[3], sum = 0, at[3];

	for (int a = 0; a < nr; a++) {
		/* in f32, as the coordinates are */
		float p = normalised ? x[a] * (float)im->n[l][a] : x[a];

		if (linear && is_float) {
			double b = (double)p - 0.5;

			i[a] = floor(b) + offset[a];
			weight[a] = floor((b - floor(b)) * 256 + 0.5) / 256;
		} else {
			i[a] = floor((double)p) + offset[a];
			weight[a] = 0;
		}
	}
	for (int corner = 0; corner < 1 << nr; corner++) {
		double w = 1;

		for (int a = 0; a < nr; a++) {
			w *= corner >> a & 1 ? weight[a] : 1 - weight[a];
			at[a] = i[a] + (corner >> a & 1);
		}
		if (w > 0)
			sum += w * one(im, l, at, nr, layer, c, normalised, is_float);
	}
	return sum;
}

static void compare(const struct image *im, const uint32_t out[4], const double *want, double tolerance, const char *what)
{
	bool is_float = im->t.texel >= HG_TEXEL_F16 || (im->t.flags & HG_TEXTURE_AS_FLOAT && im->t.texel < HG_TEXEL_U32);
	bool is_signed = im->t.texel == HG_TEXEL_S8 || im->t.texel == HG_TEXEL_S16 || im->t.texel == HG_TEXEL_S32;

	for (int c = 0; c < 4; c++) {
		double got;
		float f;

		memcpy(&f, &out[c], 4);
		got = is_float ? (double)f : is_signed ? (double)(int32_t)out[c] : (double)out[c];
		cr_assert(fabs(got - want[c]) <= tolerance, "%s: texel %u, channel %d: %.9g, not %.9g", what, im->t.texel, c, got, want[c]);
	}
}

/* Of a coordinate at which rounding in f32 cannot decide which texel or weight it is. */
static float coordinate(bool normalised, int n)
{
	/* multiples of 1/512 of a texel, odd ones: n is no power of two, so normalised ones are rounded; 2^-9 away from any edge */
	int k = (int)(next() % (uint32_t)(n * 3 * 256)) - n * 256;
	float texels = ((float)k * 2 + 1) / 512 + 0x1p-11f;

	return normalised ? texels / (float)n : texels;
}

static void check_all_modes(uint32_t shape, int nr, bool layered)
{
	static const enum hg_texel texels[] = { HG_TEXEL_U8, HG_TEXEL_S8, HG_TEXEL_U16, HG_TEXEL_S16, HG_TEXEL_U32, HG_TEXEL_S32,
						HG_TEXEL_F16, HG_TEXEL_F32 };
	static struct image im;

	for (size_t f = 0; f < 8; f++)
		for (uint32_t channels = 1; channels <= 4; channels *= 2)
			for (uint32_t flags = 0; flags < 32; flags++) {
				if (flags & HG_TEXTURE_SEAMLESS || (flags & HG_TEXTURE_SRGB && texels[f] != HG_TEXEL_U8))
					continue;
				make(&im, texels[f], channels, flags, 1, D);
				for (int i = 0; i < 4; i++)
					im.t.border[i] = uniform(-2, 2);
				for (int modes = 0; modes < 64; modes++) {
					for (int a = 0; a < 3; a++)
						im.t.address[a] = (uint32_t)(modes >> 2 * a & 3);
					for (int n = 0; n < 4; n++) {
						float x[3];
						uint32_t arg[8], nr_arg = 0, out[4];
						double want[4];
						uint32_t layer = next() % (D + 2), what = shape;
						int offset[3] = { 0 };
						char text[100];

						if (layered)
							arg[nr_arg++] = layer;
						for (int a = 0; a < nr; a++) {
							x[a] = coordinate(flags & HG_TEXTURE_NORMALISED, im.n[0][a]);
							/* wrapping loses the last bits of what is far away: not more than the weight's grid */
							memcpy(&arg[nr_arg++], &x[a], 4);
						}
						if (n & 1) {
							what |= HG_TEX_OFFSET;
							for (int a = 0; a < nr; a++) {
								offset[a] = (int)(next() % 16) - 8;
								arg[nr_arg++] = (uint32_t)offset[a];
							}
						}
						cr_assert_eq(hg_tex_nr_args(what), nr_arg);
						for (int c = 0; c < 4; c++)
							want[c] = reference_level(&im, 0, x, nr, layered ? (int)(layer < D ? layer : D - 1) : 0, c, offset);
						hg_tex_sample(&im.t, &im.t, what, arg, 1, out);
						snprintf(text, sizeof(text), "shape %u, flags %x, modes %x, at %.9g %.9g %.9g", shape, flags, modes, x[0],
							 nr > 1 ? x[1] : 0, nr > 2 ? x[2] : 0);
						compare(&im, out, want, 2e-6 * 8, text);
					}
				}
				free(im.data);
			}
}

Test(texture, one_dimension_is_as_the_guide_says)
{
	check_all_modes(HG_TEX_1D, 1, false);
	check_all_modes(HG_TEX_A1D, 1, true);
}

Test(texture, two_dimensions_are_as_the_guide_says)
{
	check_all_modes(HG_TEX_2D, 2, false);
	check_all_modes(HG_TEX_A2D, 2, true);
}

Test(texture, three_dimensions_are_as_the_guide_says)
{
	check_all_modes(HG_TEX_3D, 3, false);
}

Test(texture, weights_are_rounded_to_256ths_and_one_is_exact)
{
	struct image im;
	float x;
	uint32_t arg, out[4];
	float got;

	make(&im, HG_TEXEL_F32, 1, HG_TEXTURE_LINEAR, 1, 1);
	((float *)(void *)im.data)[0] = 0;
	((float *)(void *)im.data)[1] = 1;
	for (int i = 0; i <= 2048; i++) {
		x = 0.5f + (float)i / 2048;
		memcpy(&arg, &x, 4);
		hg_tex_sample(&im.t, &im.t, HG_TEX_1D, &arg, 1, out);
		memcpy(&got, out, 4);
		if (i < 2048)
			cr_expect_eq(got, floorf((float)i / 8 + 0.5f) / 256, "at %g", (double)x);
	}
	free(im.data);
}

Test(texture, integer_coordinates_name_texels_and_wide_ones_do_not_wrap)
{
	static const int32_t at[] = { 0, 3, W - 1, W, -1, INT32_MAX, INT32_MIN };
	struct image im;

	make(&im, HG_TEXEL_U32, 1, HG_TEXTURE_LINEAR | HG_TEXTURE_NORMALISED, 1, 1);
	for (uint32_t mode = HG_TEXTURE_CLAMP; mode <= HG_TEXTURE_BORDER; mode += 2)
		for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			uint32_t arg[2] = { (uint32_t)at[i], 2 }, out[4];
			bool outside = false;
			int x = texel_at(at[i], W, (enum hg_texture_address)mode, false, &outside);

			im.t.address[0] = im.t.address[1] = mode;
			hg_tex_sample(&im.t, &im.t, HG_TEX_2D | HG_TEX_INTEGER, arg, 1, out);
			cr_expect_eq(out[0], outside ? 0 : (uint32_t)im.value[0][0][2][x][0], "%d, mode %u", at[i], mode);
		}
	free(im.data);
}

Test(texture, no_coordinate_leads_outside)
{
	static const uint32_t bits[] = { 0x7f800000, 0xff800000, 0x7fc00000, 0x7f7fffff, 0xff7fffff, 0x80000000, 1, 0x4f000000, 0xcf000000,
					 0xbf800000, 0x3f7fffff, 0xb3800000 };
	struct image im;

	/* the neighbourhood is poisoned by what calloc gave no one: run under a sanitizer this finds any step outside */
	for (uint32_t flags = 0; flags < 64; flags++) {
		make(&im, HG_TEXEL_F32, 4, flags, 2, 6);
		for (uint32_t shape = 0; shape < HG_TEX_NR_SHAPES; shape++)
			for (uint32_t lod = 0; lod < 3; lod++)
				for (uint32_t mode = 0; mode < 4; mode++)
					for (int n = 0; n < 200; n++) {
						uint32_t arg[HG_TEX_MAX_ARGS], out[4];

						im.t.address[0] = im.t.address[1] = im.t.address[2] = mode;
						for (int i = 0; i < HG_TEX_MAX_ARGS; i++)
							arg[i] = bits[next() % 12];
						hg_tex_sample(&im.t, &im.t, shape | lod << HG_TEX_LOD_SHIFT, arg, 1, out);
						hg_tex_sample(&im.t, &im.t, shape | lod << HG_TEX_LOD_SHIFT | HG_TEX_OFFSET, arg, 1, out);
					}
		free(im.data);
	}
}

Test(texture, levels_are_chosen_clamped_and_mixed)
{
	static const float levels[] = { -1, 0, 0.25f, 0.49f, 0.5f, 0.75f, 1, 1.5f, 7 };
	static const int none[3];
	struct image im;

	for (uint32_t flags = 0; flags < 4; flags++)
		for (int clamp = 0; clamp < 3; clamp++) {
			make(&im, HG_TEXEL_F32, 4, HG_TEXTURE_NORMALISED | (flags & 1 ? HG_TEXTURE_LINEAR : 0) |
			     (flags & 2 ? HG_TEXTURE_MIP_LINEAR : 0), 2, 1);
			im.t.address[0] = im.t.address[1] = HG_TEXTURE_CLAMP;
			im.t.bias = clamp == 1 ? 0.25f : 0;
			im.t.min_level = clamp == 2 ? 0.25f : 0;
			im.t.max_level = clamp == 2 ? 0.75f : 10;
			for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
				for (int n = 0; n < 50; n++) {
					float x[2] = { coordinate(true, W), coordinate(true, H) };
					double lod = fmin(fmax((double)levels[i] + (double)im.t.bias, (double)im.t.min_level),
							  (double)im.t.max_level), want[4];
					uint32_t arg[3], out[4];

					lod = fmin(fmax(lod, 0), 1);
					memcpy(arg, x, 8);
					memcpy(arg + 2, &levels[i], 4);
					if (flags & 2)
						lod = floor(lod * 256 + 0.5) / 256;
					else
						lod = floor(lod + 0.5);
					for (int c = 0; c < 4; c++)
						want[c] = (1 - lod) * reference_level(&im, 0, x, 2, 0, c, none) +
							lod * reference_level(&im, 1, x, 2, 0, c, none);
					hg_tex_sample(&im.t, &im.t, HG_TEX_2D | HG_TEX_LEVEL << HG_TEX_LOD_SHIFT, arg, 1, out);
					compare(&im, out, want, 3e-5, "level");
				}
			free(im.data);
		}
}

Test(texture, derivatives_choose_the_level_of_the_longer_one)
{
	struct image im;

	make(&im, HG_TEXEL_F32, 1, HG_TEXTURE_NORMALISED | HG_TEXTURE_MIP_LINEAR, 2, 1);
	im.t.address[0] = im.t.address[1] = HG_TEXTURE_CLAMP;
	for (int n = 0; n < 500; n++) {
		float v[6] = { 0.3f, 0.4f, uniform(0, 0.3f), uniform(0, 0.3f), uniform(0, 0.3f), uniform(0, 0.3f) };
		double a = hypot((double)v[2] * W, (double)v[3] * H), b = hypot((double)v[4] * W, (double)v[5] * H), lod, want, g;
		uint32_t arg[6], out[4];
		float got;

		lod = fmin(fmax(log2(fmax(a, b)), 0), 1);
		want = (1 - lod) * im.value[0][0][2][2][0] + lod * im.value[1][0][0][0][0];
		memcpy(arg, v, sizeof(v));
		hg_tex_sample(&im.t, &im.t, HG_TEX_2D | HG_TEX_GRAD << HG_TEX_LOD_SHIFT, arg, 1, out);
		memcpy(&got, out, 4);
		g = fabs(im.value[0][0][2][2][0] - im.value[1][0][0][0][0]);
		cr_expect(fabs((double)got - want) <= g / 511 + 1e-5, "%g, not %g", (double)got, want);
	}
	free(im.data);
}

/* Direct3D's and OpenGL's table of faces, which the guide's is. */
Test(texture, cube_faces_are_those_of_the_table)
{
	static const struct { float v[3]; int face; float s, t; } list[] = {
		{ { 1, 0.25f, -0.5f }, 0, 0.75f, 0.375f }, { { -1, 0.25f, -0.5f }, 1, 0.25f, 0.375f },
		{ { 0.5f, 1, -0.25f }, 2, 0.75f, 0.375f }, { { 0.5f, -1, -0.25f }, 3, 0.75f, 0.625f },
		{ { 0.5f, 0.25f, 1 }, 4, 0.75f, 0.375f }, { { 0.5f, 0.25f, -1 }, 5, 0.25f, 0.375f },
	};
	static float data[2][6][8][8];
	struct hg_texture t = { .magic = HG_TEXTURE_MAGIC, .texel = HG_TEXEL_F32, .channels = 1, .nr_levels = 1, .max_level = 9 };

	for (int i = 0; i < 2 * 6 * 64; i++)
		(&data[0][0][0][0])[i] = (float)i;
	t.level[0] = (struct hg_texture_level){ .addr = (uintptr_t)data, .width = 8, .height = 8, .depth = 12, .pitch = 32, .slice = 256,
						.row_bytes = 32 };
	for (size_t i = 0; i < 6; i++)
		for (uint32_t layer = 0; layer < 2; layer++) {
			uint32_t arg[4] = { layer }, out[4];
			float got;

			memcpy(arg + 1, list[i].v, 12);
			hg_tex_sample(&t, &t, HG_TEX_ACUBE, arg, 1, out);
			memcpy(&got, out, 4);
			cr_expect_eq(got, data[layer][list[i].face][(int)(list[i].t * 8)][(int)(list[i].s * 8)], "face %d", list[i].face);
		}
}

/* Across each edge the texel that is mixed in is the one beside it: a field that is smooth over the sphere stays smooth. */
Test(texture, seamless_cubes_have_no_edges)
{
	enum { N = 32 };
	static float data[6][N][N];
	struct hg_texture t = { .magic = HG_TEXTURE_MAGIC, .texel = HG_TEXEL_F32, .channels = 1, .nr_levels = 1,
				.flags = HG_TEXTURE_LINEAR | HG_TEXTURE_SEAMLESS };
	double worst = 0;

	t.level[0] = (struct hg_texture_level){ .addr = (uintptr_t)data, .width = N, .height = N, .depth = 6, .pitch = N * 4,
						.slice = N * N * 4, .row_bytes = N * 4 };
	for (int f = 0; f < 6; f++)
		for (int j = 0; j < N; j++)
			for (int i = 0; i < N; i++) {
				double s = 2 * (i + 0.5) / N - 1, u = 2 * (j + 0.5) / N - 1, v[3];

				v[0] = f == 0 ? 1 : f == 1 ? -1 : f == 5 ? -s : s;
				v[1] = f == 2 ? 1 : f == 3 ? -1 : -u;
				v[2] = f == 0 ? -s : f == 1 ? s : f == 2 ? u : f == 3 ? -u : f == 4 ? 1 : -1;
				data[f][j][i] = (float)((v[0] + 2 * v[1] + 3 * v[2]) / sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]));
			}
	for (int n = 0; n < 20000; n++) {
		float v[3] = { uniform(-1, 1), uniform(-1, 1), uniform(-1, 1) }, got;
		double length, want;
		uint32_t arg[3], out[4];

		/* along an edge */
		v[n % 3] = v[(n + 1) % 3] * (n & 1 ? 1 : -1) * (1 + uniform(-0.02f, 0.02f));
		length = sqrt((double)(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]));
		want = (double)(v[0] + 2 * v[1] + 3 * v[2]) / length;
		memcpy(arg, v, 12);
		hg_tex_sample(&t, &t, HG_TEX_CUBE, arg, 1, out);
		memcpy(&got, out, 4);
		worst = fmax(worst, fabs((double)got - want));
	}
	/* a texel is 3.6 degrees wide, and the field changes by 3.7 in 57 degrees at most */
	cr_expect_lt(worst, 0.13, "off by %g", worst);
}

Test(texture, four_texels_are_gathered_counter_clockwise)
{
	static const int none[3];
	struct image im;

	make(&im, HG_TEXEL_F32, 4, HG_TEXTURE_LINEAR, 1, 1);
	im.t.address[0] = im.t.address[1] = HG_TEXTURE_CLAMP;
	for (uint32_t c = 0; c < 4; c++)
		for (int n = 0; n < 100; n++) {
			static const int at[4][2] = { { 0, 1 }, { 1, 1 }, { 1, 0 }, { 0, 0 } };
			float x[2] = { coordinate(false, W), coordinate(false, H) };
			uint32_t arg[2], out[4];

			memcpy(arg, x, 8);
			hg_tex_sample(&im.t, &im.t, HG_TEX_2D | HG_TEX_GATHER | c << HG_TEX_COMPONENT_SHIFT, arg, 1, out);
			for (int i = 0; i < 4; i++) {
				float centre[2] = { floorf(x[0] - 0.5f) + (float)at[i][0] + 0.5f, floorf(x[1] - 0.5f) + (float)at[i][1] + 0.5f }, got;

				memcpy(&got, &out[i], 4);
				cr_expect_eq((double)got, reference_level(&im, 0, centre, 2, 0, (int)c, none));
			}
		}
	free(im.data);
}
