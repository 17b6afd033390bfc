/*
 * texture.h - textures and surfaces by software: what a handle points to, and how it is sampled.
 *
 * A CUtexObject or CUsurfObject is the address of a struct hg_texture in device memory, the same on every target. Nothing
 * else is needed to sample it: it says where the texels are, and how they are read. Freestanding (no library, no state),
 * so that it can run wherever device memory can be read.
 */
#ifndef HG_TRANSLATE_TEXTURE_H
#define HG_TRANSLATE_TEXTURE_H

#include <stdint.h>

#define HG_TEXTURE_MAGIC UINT32_C(0x58455448)
#define HG_TEXTURE_LEVELS 16	/* at most: CUDA's largest mipmapped array has 32768 texels in a row */

/* How a channel is stored. Values of enum CUarray_format are no part of this: they have holes. */
enum hg_texel { HG_TEXEL_U8, HG_TEXEL_S8, HG_TEXEL_U16, HG_TEXEL_S16, HG_TEXEL_U32, HG_TEXEL_S32, HG_TEXEL_F16, HG_TEXEL_F32 };

/* As enum CUaddress_mode numbers them. */
enum hg_texture_address { HG_TEXTURE_WRAP, HG_TEXTURE_CLAMP, HG_TEXTURE_MIRROR, HG_TEXTURE_BORDER };

enum hg_texture_flags {
	HG_TEXTURE_NORMALISED = 1,	/* coordinates from 0 to 1 */
	HG_TEXTURE_AS_FLOAT = 2,	/* 8 and 16-bit integers give 0 to 1, or -1 to 1 */
	HG_TEXTURE_SRGB = 4,		/* …the first three channels of u8 are sRGB */
	HG_TEXTURE_SEAMLESS = 8,	/* cube maps are filtered across the edges of their faces */
	HG_TEXTURE_LINEAR = 16,		/* filtered between texels */
	HG_TEXTURE_MIP_LINEAR = 32,	/* …and between levels */
};

struct hg_texture_level {
	uint64_t addr;			/* of its first texel */
	uint64_t pitch, slice;		/* bytes from row to row; from slice, layer or face to the next */
	uint32_t width, height;		/* texels; 1 where there is no such dimension */
	uint32_t depth;			/* slices of 3D, or layers, or faces (6 of each cube) */
	uint32_t row_bytes;		/* width in bytes, for surfaces */
};

/* Little-endian; 8-byte aligned. Code reads single members by their offset (lower_texture.c): the layout is part of HG_CPU_ABI. */
struct hg_texture {
	uint32_t magic;
	uint32_t flags;			/* enum hg_texture_flags */
	uint32_t texel, channels;	/* enum hg_texel; 1, 2 or 4 of them in a texel */
	uint32_t width, height, depth;	/* of level 0, for txq and suq; 0 where there is no such dimension */
	uint32_t array_size;		/* layers, else 0 */
	uint32_t data_type, order;	/* channel data type and order, as PTX numbers them */
	uint32_t address[3];		/* enum hg_texture_address for x, y, z */
	uint32_t nr_levels;		/* 1 to HG_TEXTURE_LEVELS */
	float bias, min_level, max_level;
	float border[4];		/* of integers: their bits */
	/* for txq: as PTX numbers them; levels are nr_levels, and no texture has several samples */
	uint32_t is_normalised, filter, address_mode[3];
	struct hg_texture_level level[HG_TEXTURE_LEVELS];
};

/*
 * Bytes of a .texref, .samplerref or .surfref in a module's memory: the structure, and room behind it for what the driver keeps of
 * the reference.
 */
#define HG_TEXTURE_REFERENCE_BYTES 1288

/*
 * What a tex or tld4 does, as a number: shape | (enum hg_tex_lod << 4) | flags. The coordinates come in one list, in this
 * order, each 32 bits, those that the shape does not have left out:
 *   layer (u32), x, y, z (f32, or s32 with HG_TEX_INTEGER), the level (f32), or the derivatives along x then y of x, y, z,
 *   offsets of x, y, z in texels (s32, with HG_TEX_OFFSET)
 */
enum hg_tex_shape { HG_TEX_1D, HG_TEX_2D, HG_TEX_3D, HG_TEX_A1D, HG_TEX_A2D, HG_TEX_CUBE, HG_TEX_ACUBE, HG_TEX_NR_SHAPES };
enum hg_tex_lod { HG_TEX_BASE, HG_TEX_LEVEL, HG_TEX_GRAD };
enum { HG_TEX_LOD_SHIFT = 4, HG_TEX_INTEGER = 64, HG_TEX_OFFSET = 128, HG_TEX_GATHER = 256, HG_TEX_COMPONENT_SHIFT = 9,
       HG_TEX_MAX_ARGS = 13 };

/* Coordinates of a shape, the layer not counted; and all that the list has. */
unsigned int hg_tex_nr_coords(uint32_t what);
unsigned int hg_tex_nr_args(uint32_t what);

/*
 * Samples `t` as `sampler` says (the same, or another where texture and sampler are apart). arg[i * stride]: the list above.
 * out: four channels, f32 or integers as the texture has them; missing ones are 0, 0, 1. Both must have the magic. The texels
 * that are read lie within the levels of t; weights have 8 bits of fraction, products and sums are of f32.
 */
void hg_tex_sample(const struct hg_texture *t, const struct hg_texture *sampler, uint32_t what, const uint32_t *arg,
		   unsigned int stride, uint32_t out[4]);

/* Bytes of a channel. */
unsigned int hg_texel_bytes(enum hg_texel texel);

#endif
