/*
 * texture.c - sampling by software: the formulas of the CUDA programming guide, "Texture Fetching", with the addressing that
 * its table of texture modes describes. What the guide leaves open is decided here, once for all targets:
 *   - the weight of the second texel is its fraction times 256, rounded to nearest (the guide: 8 bits, and 1.0 is exact);
 *   - a level is chosen with 8 bits of fraction as well, and the nearest one is that of level + 0.5, rounded down;
 *   - derivatives give the length of the longer of the two, in texels;
 *   - across the edges of a cube a texel is the one of the neighbouring face that it touches.
 * No contraction: the Makefile says so.
 */
#include "translate/texture.h"

#include <stdbool.h>

/* Inlined into code for a shape that is known, where most of it falls away. */
#define INLINE static inline __attribute__((always_inline))

/* 8, 16 or 32 bits of a texel. The support library includes this file, and says how devices load them. */
#ifndef TEXEL
#define TEXEL(bits, addr) (*(const uint##bits##_t *)(uintptr_t)(addr))
#endif

INLINE float as_float(uint32_t v)
{
	union { uint32_t u; float f; } x = { .u = v };

	return x.f;
}

INLINE uint32_t as_bits(float f)
{
	union { float f; uint32_t u; } x = { .f = f };

	return x.u;
}

INLINE float absolute(float f)
{
	return as_float(as_bits(f) & 0x7fffffff);
}

/* Rounded down, of numbers that fit; what is no number is 0. */
INLINE int32_t to_index(float f)
{
	int32_t i;

	if (!(f > -1073741824.0f))
		return f <= -1073741824.0f ? -1073741824 : 0;
	if (f >= 1073741824.0f)
		return 1073741824;
	i = (int32_t)f;
	return i - ((float)i > f);
}

INLINE float round_down(float f)
{
	return absolute(f) < 8388608.0f ? (float)to_index(f) : f;
}

/* log2 of a positive number, to about 1e-7. */
static float log_2(float f)
{
	uint32_t bits = as_bits(f);
	int32_t e = (int32_t)(bits >> 23) - 127;
	double m = (double)as_float((bits & 0x7fffff) | 0x3f800000), t = (m - 1) / (m + 1), s = t * t;

	return (float)(e + 2.8853900817779268 * t * (1 + s * (1.0 / 3 + s * (1.0 / 5 + s * (1.0 / 7 + s * (1.0 / 9 + s / 11))))));
}

INLINE unsigned int texel_bytes(enum hg_texel texel)
{
	switch (texel) {
	case HG_TEXEL_U8: case HG_TEXEL_S8: return 1;
	case HG_TEXEL_U16: case HG_TEXEL_S16: case HG_TEXEL_F16: return 2;
	default: return 4;
	}
}

INLINE unsigned int shape_of(uint32_t what)
{
	return what & 15;
}

INLINE bool is_layered(uint32_t what)
{
	unsigned int s = shape_of(what);

	return s == HG_TEX_A1D || s == HG_TEX_A2D || s == HG_TEX_ACUBE;
}

INLINE bool is_cube(uint32_t what)
{
	return shape_of(what) == HG_TEX_CUBE || shape_of(what) == HG_TEX_ACUBE;
}

INLINE unsigned int lod_of(uint32_t what)
{
	return what >> HG_TEX_LOD_SHIFT & 3;
}

INLINE unsigned int nr_coords(uint32_t what)
{
	switch (shape_of(what)) {
	case HG_TEX_1D: case HG_TEX_A1D: return 1;
	case HG_TEX_2D: case HG_TEX_A2D: return 2;
	default: return 3;
	}
}

/* ---- texels ---- */

struct sampling {
	const struct hg_texture *t, *sampler;
	uint32_t what;
	bool is_float;			/* channels are f32, else integers */
	bool normalised;
	unsigned int size;		/* bytes of a texel */
};

static float half_float(uint32_t h)
{
	uint32_t u = h & 0x7fff;
	uint32_t v = u >= 0x7c00 ? 0x7f800000 | u << 13 : as_bits(as_float(u << 13) * 0x1p112f);

	return as_float(v | (h & 0x8000) << 16);
}

/* x to the power of 2.4: x squared times the fifth root of x squared, by Newton's method from above. */
static float srgb_float(uint32_t v)
{
	double c = v / 255.0, x, square, root = 1;

	if (c <= 0.04045)
		return (float)(c / 12.92);
	x = (c + 0.055) / 1.055;
	square = x * x;
	for (int i = 0; i < 16; i++)
		root -= (root - square / (root * root * root * root)) / 5;
	return (float)(square * root);
}

/* Channel i of the texel at p. */
INLINE uint32_t channel(const struct sampling *s, uint64_t p, unsigned int i)
{
	bool as_float_read = s->t->flags & HG_TEXTURE_AS_FLOAT;
	uint32_t u;
	int32_t v;
	float f;

	switch (s->t->texel) {
	case HG_TEXEL_U8:
		u = TEXEL(8, p + i);
		if (!as_float_read)
			return u;
		if (s->t->flags & HG_TEXTURE_SRGB && i < 3)
			return as_bits(srgb_float(u));
		return as_bits((float)(int32_t)u / 255.0f);
	case HG_TEXEL_S8:
		v = (int8_t)TEXEL(8, p + i);
		f = (float)v / 127.0f;
		return as_float_read ? as_bits(f < -1 ? -1 : f) : (uint32_t)v;
	case HG_TEXEL_U16:
		v = TEXEL(16, p + 2 * i);
		return as_float_read ? as_bits((float)v / 65535.0f) : (uint32_t)v;
	case HG_TEXEL_S16:
		v = (int16_t)TEXEL(16, p + 2 * i);
		f = (float)v / 32767.0f;
		return as_float_read ? as_bits(f < -1 ? -1 : f) : (uint32_t)v;
	case HG_TEXEL_F16:
		return as_bits(half_float(TEXEL(16, p + 2 * i)));
	default:
		return TEXEL(32, p + 4 * i);
	}
}

struct texel {
	uint32_t v[4];
};

INLINE struct texel border_texel(const struct sampling *s)
{
	struct texel r;

	for (int i = 0; i < 4; i++)
		r.v[i] = as_bits(s->sampler->border[i]);
	return r;
}

/* The indices are within the level. */
INLINE struct texel load(const struct sampling *s, const struct hg_texture_level *l, int32_t x, int32_t y, int32_t z)
{
	uint64_t p = l->addr + (uint64_t)z * l->slice + (uint64_t)y * l->pitch + (uint64_t)x * s->size;
	struct texel r = { { 0, 0, 0, s->is_float ? as_bits(1) : 1 } };

	if (s->t->texel == HG_TEXEL_F32 && s->t->channels == 1) {
		r.v[0] = TEXEL(32, p);
		return r;
	}
	for (unsigned int i = 0; i < s->t->channels && i < 4; i++)
		r.v[i] = channel(s, p, i);
	return r;
}

/* ---- addressing ---- */

INLINE enum hg_texture_address mode_of(const struct sampling *s, int axis)
{
	uint32_t mode = s->sampler->address[axis];

	/* the guide: without normalised coordinates only clamp and border are there */
	if (mode == HG_TEXTURE_BORDER || (s->normalised && mode <= HG_TEXTURE_MIRROR))
		return (enum hg_texture_address)mode;
	return HG_TEXTURE_CLAMP;
}

/* The texel that index i of an axis with n of them stands for; -1: the border. */
INLINE int32_t place(int32_t i, int32_t n, enum hg_texture_address mode)
{
	if (i >= 0 && i < n)
		return i;
	switch (mode) {
	case HG_TEXTURE_WRAP:
		i %= n;
		return i < 0 ? i + n : i;
	case HG_TEXTURE_MIRROR:
		i %= 2 * n;
		i = i < 0 ? i + 2 * n : i;
		return i < n ? i : 2 * n - 1 - i;
	case HG_TEXTURE_BORDER:
		return -1;
	default:
		return i < 0 ? 0 : n - 1;
	}
}

/* A coordinate in texels of a level; *back: it was mirrored, and runs backwards. */
INLINE float scale(const struct sampling *s, float x, uint32_t n, enum hg_texture_address mode, bool *back)
{
	float whole;

	if (!s->normalised)
		return x;
	if (mode == HG_TEXTURE_WRAP || mode == HG_TEXTURE_MIRROR) {
		whole = round_down(x);
		x -= whole;
		*back = mode == HG_TEXTURE_MIRROR && absolute(whole) < 8388608.0f && to_index(whole) & 1;
		if (*back)
			x = 1 - x;
	}
	return x * (float)n;
}

/* ---- cube maps ---- */

/* The face that a direction points to, and where on it, from 0 to 1. */
static int32_t cube_face(float x, float y, float z, float *s, float *t, float *major)
{
	float ax = absolute(x), ay = absolute(y), az = absolute(z), m, sc, tc;
	int32_t face;

	if (ax >= ay && ax >= az) {
		face = x >= 0 ? 0 : 1;
		m = ax;
		sc = x >= 0 ? -z : z;
		tc = -y;
	} else if (ay >= az) {
		face = y >= 0 ? 2 : 3;
		m = ay;
		sc = x;
		tc = y >= 0 ? z : -z;
	} else {
		face = z >= 0 ? 4 : 5;
		m = az;
		sc = z >= 0 ? x : -x;
		tc = -y;
	}
	*s = (sc / m + 1) / 2;
	*t = (tc / m + 1) / 2;
	*major = m;
	return face;
}

/* The texel of a neighbouring face that one beyond the edge touches. */
static void cube_neighbour(int32_t *face, int32_t *i, int32_t *j, int32_t n)
{
	float sc = (2 * ((float)*i + 0.5f)) / (float)n - 1, tc = (2 * ((float)*j + 0.5f)) / (float)n - 1, x, y, z, s, t, m;
	float edge = 1 + 0x1p-20f;

	if (*i >= 0 && *i < n && *j >= 0 && *j < n)
		return;
	/* beyond a corner are two faces and no texel: the one along s is taken */
	sc = *i < 0 ? -edge : *i >= n ? edge : sc;
	tc = *j < 0 ? (*i < 0 || *i >= n ? -1 : -edge) : *j >= n ? (*i < 0 || *i >= n ? 1 : edge) : tc;
	switch (*face) {
	case 0: x = 1; y = -tc; z = -sc; break;
	case 1: x = -1; y = -tc; z = sc; break;
	case 2: x = sc; y = 1; z = tc; break;
	case 3: x = sc; y = -1; z = -tc; break;
	case 4: x = sc; y = -tc; z = 1; break;
	default: x = -sc; y = -tc; z = -1; break;
	}
	*face = cube_face(x, y, z, &s, &t, &m);
	*i = place(to_index(s * (float)n), n, HG_TEXTURE_CLAMP);
	*j = place(to_index(t * (float)n), n, HG_TEXTURE_CLAMP);
}

/* ---- one level ---- */

/* A point to be sampled: coordinates as the instruction has them, of a cube those on the face. */
struct point {
	float c[3];
	int32_t index[3];	/* with HG_TEX_INTEGER */
	int32_t offset[3];
	uint32_t layer;
	int32_t face;
	unsigned int nr;	/* axes */
};

/* The slice of a point that is not in 3D: a layer that is not there is the last one. */
INLINE int32_t slice_of(const struct sampling *s, const struct hg_texture_level *l, const struct point *p, int32_t face)
{
	uint32_t slice = p->layer;

	if (is_cube(s->what)) {
		if (slice >= l->depth / 6)
			slice = l->depth / 6 ? l->depth / 6 - 1 : 0;
		slice = slice * 6 + (uint32_t)face;
	}
	return (int32_t)(slice < l->depth ? slice : l->depth - 1);
}

/* Texel (i, j, k) of the level after the address modes. */
INLINE struct texel fetch(const struct sampling *s, const struct hg_texture_level *l, const struct point *p, int32_t i,
			  int32_t j, int32_t k)
{
	int32_t at[3] = { i, j, k }, n[3] = { (int32_t)l->width, (int32_t)l->height, (int32_t)l->depth }, face = p->face;

	if (is_cube(s->what) && s->sampler->flags & HG_TEXTURE_SEAMLESS) {
		cube_neighbour(&face, &at[0], &at[1], n[0]);
	} else {
		for (unsigned int a = 0; a < p->nr; a++) {
			at[a] = place(at[a], n[a], is_cube(s->what) ? HG_TEXTURE_CLAMP : mode_of(s, (int)a));
			if (at[a] < 0)
				return border_texel(s);
		}
	}
	if (p->nr == 3)
		return load(s, l, at[0], at[1], at[2]);
	return load(s, l, at[0], p->nr > 1 ? at[1] : 0, slice_of(s, l, p, face));
}

/* The two texels beside a coordinate, and the weight of the second in 256ths. */
INLINE int32_t beside(float x, float *weight)
{
	float at = x - 0.5f, below = round_down(at);

	*weight = (float)to_index((at - below) * 256.0f + 0.5f) / 256.0f;
	if (!(*weight >= 0 && *weight <= 1))	/* infinities, NaN */
		*weight = 0;
	return to_index(below);
}

INLINE struct texel sample_level(const struct sampling *s, const struct hg_texture_level *l, const struct point *p)
{
	uint32_t n[3] = { l->width, l->height, l->depth };
	float weight[3] = { 0 }, sum[4] = { 0 };
	int32_t first[3] = { 0 }, at[3][2] = { { 0 } };
	unsigned int backwards[3] = { 0 };
	bool seamless;
	struct texel r;

	for (unsigned int a = 0; a < p->nr; a++) {
		enum hg_texture_address mode = is_cube(s->what) ? HG_TEXTURE_CLAMP : mode_of(s, (int)a);
		bool back = false;
		float x = s->what & HG_TEX_INTEGER ? 0 : scale(s, p->c[a], n[a], mode, &back);

		if (s->what & HG_TEX_INTEGER)
			first[a] = p->index[a];
		else if (s->what & HG_TEX_GATHER || (s->sampler->flags & HG_TEXTURE_LINEAR && s->is_float))
			first[a] = beside(x, &weight[a]);
		else
			first[a] = to_index(x);
		first[a] += back ? -p->offset[a] : p->offset[a];
		backwards[a] = back;
	}
	if (s->what & HG_TEX_GATHER) {
		/* counter-clockwise from (0, 1); no table: support code has no variables */
		for (unsigned int i = 0; i < 4; i++)
			r.v[i] = fetch(s, l, p, first[0] + (int32_t)(((i + 1) >> 1 & 1) ^ backwards[0]),
				       first[1] + (int32_t)((i < 2) ^ backwards[1]), 0).v[s->what >> HG_TEX_COMPONENT_SHIFT & 3];
		return r;
	}
	if (s->what & HG_TEX_INTEGER || !(s->sampler->flags & HG_TEXTURE_LINEAR) || !s->is_float)
		return fetch(s, l, p, first[0], first[1], first[2]);
	seamless = is_cube(s->what) && s->sampler->flags & HG_TEXTURE_SEAMLESS;
	for (unsigned int a = 0; a < p->nr && !seamless; a++)
		for (int b = 0; b < 2; b++)
			at[a][b] = place(first[a] + b, (int32_t)n[a], is_cube(s->what) ? HG_TEXTURE_CLAMP : mode_of(s, (int)a));
	if (p->nr < 3)
		at[2][0] = slice_of(s, l, p, p->face);
	for (unsigned int corner = 0; corner < 1u << p->nr; corner++) {
		unsigned int x = corner & 1, y = corner >> 1 & 1, z = corner >> 2 & 1;
		float w = x ? weight[0] : 1 - weight[0];

		if (p->nr > 1)
			w *= y ? weight[1] : 1 - weight[1];
		if (p->nr > 2)
			w *= z ? weight[2] : 1 - weight[2];
		if (w == 0)
			continue;	/* an infinity there must not matter */
		if (seamless)
			r = fetch(s, l, p, first[0] + (int32_t)x, first[1] + (int32_t)y, 0);
		else if ((at[0][x] | at[1][y] | at[2][z]) < 0)
			r = border_texel(s);
		else
			r = load(s, l, at[0][x], at[1][y], at[2][z]);
		for (int i = 0; i < 4; i++)
			sum[i] += w * as_float(r.v[i]);
	}
	for (int i = 0; i < 4; i++)
		r.v[i] = as_bits(sum[i]);
	return r;
}

/* ---- levels ---- */

static float level_of(const struct sampling *s, const float *given, unsigned int nr, float major)
{
	const struct hg_texture_level *l = &s->t->level[0];
	float size[3] = { (float)l->width, (float)l->height, (float)l->depth }, length[2] = { 0, 0 }, lod;

	if (lod_of(s->what) == HG_TEX_LEVEL) {
		lod = given[0];
	} else {
		for (unsigned int d = 0; d < 2; d++)
			for (unsigned int a = 0; a < nr; a++) {
				float x = given[d * nr + a];

				if (is_cube(s->what))
					x = x * size[0] / (2 * major);
				else if (s->normalised)
					x *= size[a];
				length[d] += x * x;
			}
		if (length[1] > length[0])
			length[0] = length[1];
		/* too small to be told from a point is no further away */
		lod = length[0] > 0x1p-60f ? log_2(length[0] < 0x1p100f ? length[0] : 0x1p100f) / 2 : -30;
	}
	lod += s->sampler->bias;
	if (!(lod >= s->sampler->min_level))
		lod = s->sampler->min_level;
	if (lod > s->sampler->max_level)
		lod = s->sampler->max_level;
	if (!(lod >= 0))
		lod = 0;
	if (lod > (float)(s->t->nr_levels - 1))
		lod = (float)(s->t->nr_levels - 1);
	return lod;
}

INLINE void sample(const struct hg_texture *t, const struct hg_texture *sampler, uint32_t what, const uint32_t *arg, unsigned int stride,
		   uint32_t out[4])
{
	struct sampling s = { .t = t, .sampler = sampler, .what = what };
	unsigned int nr = nr_coords(what), lod_mode = lod_of(what);
	unsigned int nr_lod = lod_mode == HG_TEX_LEVEL ? 1 : lod_mode == HG_TEX_GRAD ? 2 * nr : 0;
	float given[6], lod = 0, major = 1, fraction = 0;
	struct point p = { .nr = is_cube(what) ? 2 : nr };
	uint32_t level = 0, nr_levels;
	struct texel a;

	s.is_float = t->texel >= HG_TEXEL_F16 || (t->flags & HG_TEXTURE_AS_FLOAT && t->texel <= HG_TEXEL_S16);
	s.normalised = sampler->flags & HG_TEXTURE_NORMALISED && !(what & HG_TEX_INTEGER);
	s.size = texel_bytes((enum hg_texel)t->texel) * t->channels;
	if (is_layered(what)) {
		p.layer = *arg;
		arg += stride;
	}
	for (unsigned int i = 0; i < nr; i++, arg += stride) {
		p.index[i] = (int32_t)*arg;
		p.c[i] = as_float(*arg);
	}
	for (unsigned int i = 0; i < nr_lod; i++, arg += stride)
		given[i] = as_float(*arg);
	for (unsigned int i = 0; what & HG_TEX_OFFSET && i < nr; i++, arg += stride)
		p.offset[i] = (int32_t)*arg;
	/* offsets have 4 bits; kept from overflowing an index here */
	for (unsigned int i = 0; i < nr; i++)
		p.offset[i] = p.offset[i] < -8 ? -8 : p.offset[i] > 7 ? 7 : p.offset[i];
	for (unsigned int i = 0; i < nr && what & HG_TEX_INTEGER; i++)
		p.index[i] = p.index[i] < -1073741824 ? -1073741824 : p.index[i] > 1073741824 ? 1073741824 : p.index[i];
	if (is_cube(what)) {
		p.face = cube_face(p.c[0], p.c[1], p.c[2], &p.c[0], &p.c[1], &major);
		s.normalised = true;
	}
	if (lod_mode) {
		lod = level_of(&s, given, nr, major);
		if (sampler->flags & HG_TEXTURE_MIP_LINEAR && s.is_float) {
			level = (uint32_t)to_index(lod);
			fraction = (float)to_index((lod - (float)level) * 256.0f + 0.5f) / 256.0f;
		} else {
			level = (uint32_t)to_index(lod + 0.5f);
		}
	}
	nr_levels = fraction > 0 && level + 1 < t->nr_levels ? 2 : 1;
	for (uint32_t n = 0; n < nr_levels; n++) {
		a = sample_level(&s, &t->level[level + n], &p);
		for (int i = 0; i < 4; i++)
			out[i] = n ? as_bits((1 - fraction) * as_float(out[i]) + fraction * as_float(a.v[i])) : a.v[i];
	}
}

#ifndef HG_SUPPORT_H
unsigned int hg_texel_bytes(enum hg_texel texel)
{
	return texel_bytes(texel);
}

unsigned int hg_tex_nr_coords(uint32_t what)
{
	return nr_coords(what);
}

unsigned int hg_tex_nr_args(uint32_t what)
{
	unsigned int nr = nr_coords(what), lod = lod_of(what);

	return is_layered(what) + nr + (lod == HG_TEX_LEVEL ? 1 : lod == HG_TEX_GRAD ? 2 * nr : 0) +
		(what & HG_TEX_OFFSET ? nr : 0);
}

void hg_tex_sample(const struct hg_texture *t, const struct hg_texture *sampler, uint32_t what, const uint32_t *arg,
		   unsigned int stride, uint32_t out[4])
{
	/* the usual ones */
	switch (what) {
	case HG_TEX_1D | HG_TEX_INTEGER: sample(t, sampler, HG_TEX_1D | HG_TEX_INTEGER, arg, stride, out); return;
	case HG_TEX_2D | HG_TEX_INTEGER: sample(t, sampler, HG_TEX_2D | HG_TEX_INTEGER, arg, stride, out); return;
	case HG_TEX_1D: sample(t, sampler, HG_TEX_1D, arg, stride, out); return;
	case HG_TEX_2D: sample(t, sampler, HG_TEX_2D, arg, stride, out); return;
	case HG_TEX_3D: sample(t, sampler, HG_TEX_3D, arg, stride, out); return;
	default: sample(t, sampler, what, arg, stride, out); return;
	}
}
#endif
