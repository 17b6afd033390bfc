/*
 * cpu_matrix.c - products of matrices, for compiled CPU code. Where the elements lie: translate/ir_mma.h.
 *
 * The result is defined by one algorithm, whatever the CPU has: an element of D begins as C's, and for k from 0 on
 * the product of A's and B's element is added; f64 with one rounding to f64 each (a fused multiply-add), the
 * other floats with one rounding to f32 each, at the end a rounding to f16 if D is of f16. All to nearest even, denormals kept.
 * Integers are added exactly, and the sum is wrapped or clamped at the end.
 */
#include "translate/cpu_rt.h"

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "translate/ir_mma.h"

#define MAX_ELEMS 1024		/* of A or B, but for bits: m16k64 */
typedef int32_t vec_s32 __attribute__((vector_size(32)));

static float bits_float(uint32_t v)
{
	float f;

	memcpy(&f, &v, sizeof(f));
	return f;
}

static uint32_t float_bits(float f)
{
	uint32_t v;

	memcpy(&v, &f, sizeof(v));
	return f != f ? 0x7fffffff : v;
}

/* ---- elements, as they stand in the registers, made f32 or s32 ---- */

/* Exact: the exponent is put right by a multiplication, which also makes denormals what they are. */
static float half_float(uint32_t h)
{
	uint32_t u = h & 0x7fff;
	float f = bits_float(u << 13) * 0x1p112f;
	uint32_t v;

	memcpy(&v, &f, sizeof(v));
	v = u >= 0x7c00 ? 0x7f800000 | u << 13 : v;
	return bits_float(v | (h & 0x8000) << 16);
}

/* e5m2 is the upper half of an f16; e4m3 has no infinity, and one NaN of each sign. */
static float e4m3_float(uint32_t b)
{
	uint32_t u = b & 0x7f;
	float f = bits_float(u << 20) * 0x1p120f;

	if (u == 0x7f)
		f = bits_float(0x7fffffff);
	return b & 0x80 ? -f : f;
}

/* Written once, compiled for the plain CPU and for one with AVX2, FMA and F16C. Inner loops have constant lengths, so that they become vectors. */
#define TWICE static inline __attribute__((always_inline))
#define FAST __attribute__((target("avx2,fma,f16c")))

#define UNPACK(per, expr)								\
	for (unsigned int r = 0; r < nr; r++, reg += HG_WARP, out += (per) * HG_WARP) {	\
		const uint16_t *h = (const uint16_t *)(const void *)reg;		\
		const uint8_t *b = (const uint8_t *)reg;				\
											\
		(void)h;								\
		(void)b;								\
		for (unsigned int i = 0; i < (per) * HG_WARP; i++)			\
			out[i] = (expr);						\
	}

TWICE void unpack_float(enum ir_elem type, const uint32_t *restrict reg, unsigned int nr, float *restrict out)
{
	switch (type) {
	case IR_ELEM_TF32: UNPACK(1, bits_float(reg[i] & 0xffffe000)) break;	/* the low 13 bits do not count */
	case IR_ELEM_BF16: UNPACK(2, bits_float((uint32_t)h[i] << 16)) break;
	case IR_ELEM_E4M3: UNPACK(4, e4m3_float(b[i])) break;
	default: UNPACK(4, half_float((uint32_t)b[i] << 8)) break;
	}
}

/* nr registers of halves; rows of a matrix of f16, 8 in a row, are the same */
FAST static void unpack_half_fast(const uint32_t *reg, unsigned int nr, float *out)
{
	for (unsigned int i = 0; i < nr * HG_WARP / 4; i++)
		_mm256_storeu_ps(out + 8 * i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(reg + 4 * i))));
}

static void unpack_half_plain(const uint32_t *restrict reg, unsigned int nr, float *restrict out)
{
	UNPACK(2, half_float(h[i]))
}

FAST static void pack_half_fast(const float *in, uint32_t *reg)
{
	for (unsigned int i = 0; i < 8; i++, in += 8) {
		__m256 v = _mm256_loadu_ps(in), is_nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
		__m128i nan = _mm_packs_epi32(_mm_castps_si128(_mm256_castps256_ps128(is_nan)),
					      _mm_castps_si128(_mm256_extractf128_ps(is_nan, 1)));
		__m128i half = _mm_blendv_epi8(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT), _mm_set1_epi16(0x7fff), nan);

		_mm_storeu_si128((__m128i *)(void *)(reg + 4 * i), half);
	}
}

static void pack_half_plain(const float *in, uint32_t *reg)
{
	for (unsigned int i = 0; i < HG_WARP; i++)
		reg[i] = hg_cpu_f16(in[2 * i]) | hg_cpu_f16(in[2 * i + 1]) << 16;
}

/* What is written twice by hand. */
struct by_cpu {
	void (*add_tile)(float (*acc)[8], const float *a, unsigned int across, const float (*b)[8]);
	void (*unpack_half)(const uint32_t *reg, unsigned int nr, float *out);
	void (*pack_half)(const float *in, uint32_t *reg);	/* one register */
};

TWICE void unpack_int(enum ir_elem type, const uint32_t *restrict reg, unsigned int nr, int32_t *restrict out)
{
	switch (type) {
	case IR_ELEM_S8: UNPACK(4, (int8_t)b[i]) break;
	case IR_ELEM_U8: UNPACK(4, b[i]) break;
	case IR_ELEM_S4: UNPACK(8, ((b[i / 2] >> (i % 2 * 4) & 15) ^ 8) - 8) break;
	default: UNPACK(8, b[i / 2] >> (i % 2 * 4) & 15) break;
	}
}

/* ---- tiles ---- */

/* The tiles of a product: 8 rows and 8 columns of D each. */
struct tiles {
	unsigned int across;	/* elements of a row of A's tile */
	unsigned int nr_k, nr_n, pair;	/* tiles along k and n; of A one above the other: 2, or 1 */
	unsigned int nr_m;
};

static struct tiles tiles_of(const struct ir_mma_desc *d)
{
	unsigned int bits = ir_elem_bits(d->a);
	struct tiles t = { .across = bits == 64 ? 4 : 128 / bits, .nr_n = d->n / 8u, .nr_m = d->m / 8u };

	t.nr_k = d->k / t.across;
	t.pair = t.nr_m > 1 ? 2 : 1;
	return t;
}

static unsigned int tile_a(const struct tiles *t, unsigned int m, unsigned int k)
{
	return (m / t->pair * t->nr_k + k) * t->pair + m % t->pair;
}

static unsigned int tile_c(const struct tiles *t, unsigned int m, unsigned int n)
{
	return (m / t->pair * t->nr_n + n) * t->pair + m % t->pair;
}

/* acc[r][j] += a[r][k] * b[k][j], k by k; rows of a are `across` apart. */
static void add_tile_plain(float (*acc)[8], const float *a, unsigned int across, const float (*b)[8])
{
	for (unsigned int k = 0; k < across; k++)
		for (unsigned int r = 0; r < 8; r++)
			for (unsigned int j = 0; j < 8; j++)
				acc[r][j] = fmaf(a[r * across + k], b[k][j], acc[r][j]);
}

FAST static void add_tile_fast(float (*acc)[8], const float *a, unsigned int across, const float (*b)[8])
{
	__m256 v[8];

	for (unsigned int r = 0; r < 8; r++)
		v[r] = _mm256_loadu_ps(acc[r]);
	for (unsigned int k = 0; k < across; k++) {
		__m256 row = _mm256_loadu_ps(b[k]);

#pragma GCC unroll 8
		for (unsigned int r = 0; r < 8; r++)
			v[r] = _mm256_fmadd_ps(_mm256_set1_ps(a[r * across + k]), row, v[r]);
	}
	for (unsigned int r = 0; r < 8; r++)
		_mm256_storeu_ps(acc[r], v[r]);
}

/* Two registers of the even and the odd columns. */
static void load_c(float (*acc)[8], const uint32_t *c)
{
	for (unsigned int r = 0; r < 8; r++) {
		__m128 x = _mm_loadu_ps((const float *)(const void *)(c + 4 * r));
		__m128 y = _mm_loadu_ps((const float *)(const void *)(c + HG_WARP + 4 * r));

		_mm_storeu_ps(acc[r], _mm_unpacklo_ps(x, y));
		_mm_storeu_ps(acc[r] + 4, _mm_unpackhi_ps(x, y));
	}
}

static __m128 canonical(__m128 v)
{
	__m128 is_nan = _mm_cmpunord_ps(v, v), nan = _mm_castsi128_ps(_mm_set1_epi32(0x7fffffff));

	return _mm_or_ps(_mm_and_ps(is_nan, nan), _mm_andnot_ps(is_nan, v));
}

static void store_d(float (*acc)[8], uint32_t *d)
{
	for (unsigned int r = 0; r < 8; r++) {
		__m128 x = canonical(_mm_loadu_ps(acc[r])), y = canonical(_mm_loadu_ps(acc[r] + 4));

		_mm_storeu_ps((float *)(void *)(d + 4 * r), _mm_shuffle_ps(x, y, 0x88));
		_mm_storeu_ps((float *)(void *)(d + HG_WARP + 4 * r), _mm_shuffle_ps(x, y, 0xdd));
	}
}

TWICE void mma_float(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, bool c_half,
		     uint32_t *d, bool d_half, const struct by_cpu *by)
{
	struct tiles t = tiles_of(desc);
	float ea[MAX_ELEMS], eb[MAX_ELEMS], eb_t[MAX_ELEMS / 8][8], acc[8][8];
	unsigned int size = 8 * t.across;

	if (desc->a == IR_ELEM_F16) {
		by->unpack_half(a, ir_mma_regs_a(desc), ea);
		by->unpack_half(b, ir_mma_regs_b(desc), eb);
	} else {
		unpack_float(desc->a, a, ir_mma_regs_a(desc), ea);
		unpack_float(desc->b, b, ir_mma_regs_b(desc), eb);
	}
	for (unsigned int i = 0; i < t.nr_n * t.nr_k; i++)
		for (unsigned int k = 0; k < t.across; k++)
			for (unsigned int j = 0; j < 8; j++)
				eb_t[i * t.across + k][j] = eb[i * size + j * t.across + k];
	for (unsigned int m = 0; m < t.nr_m; m++)
		for (unsigned int n = 0; n < t.nr_n; n++) {
			unsigned int tile = tile_c(&t, m, n);

			if (c_half)
				by->unpack_half(c + tile * HG_WARP, 1, acc[0]);
			else
				load_c(acc, c + tile * 2 * HG_WARP);
			for (unsigned int k = 0; k < t.nr_k; k++)
				by->add_tile(acc, ea + tile_a(&t, m, k) * size, t.across,
					     (const float (*)[8])eb_t + (n * t.nr_k + k) * t.across);
			if (d_half)
				by->pack_half(acc[0], d + tile * HG_WARP);
			else
				store_d(acc, d + tile * 2 * HG_WARP);
		}
}

static void mma_float_plain(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, bool c_half,
			    uint32_t *d, bool d_half)
{
	static const struct by_cpu by = { add_tile_plain, unpack_half_plain, pack_half_plain };

	mma_float(desc, a, b, c, c_half, d, d_half, &by);
}

FAST static void mma_float_fast(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, bool c_half,
				uint32_t *d, bool d_half)
{
	static const struct by_cpu by = { add_tile_fast, unpack_half_fast, pack_half_fast };

	mma_float(desc, a, b, c, c_half, d, d_half, &by);
}

static uint32_t finish(int32_t sum, uint32_t c, bool clamp)
{
	int64_t v = (int64_t)sum + (int32_t)c;

	if (clamp && v > INT32_MAX)
		return INT32_MAX;
	if (clamp && v < INT32_MIN)
		return UINT32_C(1) << 31;
	return (uint32_t)v;
}

TWICE void mma_int(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *d,
		   bool clamp)
{
	struct tiles t = tiles_of(desc);
	int32_t ea[MAX_ELEMS], eb[MAX_ELEMS];
	vec_s32 eb_t[MAX_ELEMS / 8];
	unsigned int size = 8 * t.across;

	unpack_int(desc->a, a, ir_mma_regs_a(desc), ea);
	unpack_int(desc->b, b, ir_mma_regs_b(desc), eb);
	for (unsigned int i = 0; i < t.nr_n * t.nr_k; i++)
		for (unsigned int j = 0; j < 8; j++)
			for (unsigned int k = 0; k < t.across; k++)
				eb_t[i * t.across + k][j] = eb[i * size + j * t.across + k];
	for (unsigned int m = 0; m < t.nr_m; m++)
		for (unsigned int n = 0; n < t.nr_n; n++) {
			unsigned int at = tile_c(&t, m, n) * 2 * HG_WARP;

			for (unsigned int r = 0; r < 8; r++) {
				vec_s32 sum = { 0 };

				for (unsigned int k = 0; k < t.nr_k; k++) {
					const int32_t *x = ea + tile_a(&t, m, k) * size + r * t.across;
					const vec_s32 *y = eb_t + (n * t.nr_k + k) * t.across;

					for (unsigned int i = 0; i < t.across; i++)
						sum += x[i] * y[i];
				}
				for (unsigned int j = 0; j < 8; j++) {
					unsigned int i = at + j % 2 * HG_WARP + r * 4 + j / 2;

					d[i] = finish(sum[j], c[i], clamp);
				}
			}
		}
}

static void mma_int_plain(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *d,
			  bool clamp)
{
	mma_int(desc, a, b, c, d, clamp);
}

FAST static void mma_int_fast(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *d,
			      bool clamp)
{
	mma_int(desc, a, b, c, d, clamp);
}

static void mma_bits(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *d)
{
	struct tiles t = tiles_of(desc);

	for (unsigned int m = 0; m < t.nr_m; m++)
		for (unsigned int r = 0; r < 8; r++)
			for (unsigned int j = 0; j < 8; j++) {
				unsigned int at = tile_c(&t, m, 0) * 2 * HG_WARP + j % 2 * HG_WARP + r * 4 + j / 2;
				uint32_t sum = c[at];

				for (unsigned int k = 0; k < t.nr_k * 4; k++) {
					uint32_t x = a[tile_a(&t, m, k / 4) * HG_WARP + r * 4 + k % 4];
					uint32_t y = b[k / 4 * HG_WARP + j * 4 + k % 4];

					sum += (uint32_t)__builtin_popcount(desc->kind == IR_MMA_XOR ? x ^ y : x & y);
				}
				d[at] = sum;
			}
}

static void mma_f64_plain(const struct ir_mma_desc *desc, const double *a, const double *b, const double *c, double *d)
{
	struct tiles t = tiles_of(desc);

	for (unsigned int m = 0; m < t.nr_m; m++)
		for (unsigned int r = 0; r < 8; r++)
			for (unsigned int j = 0; j < 8; j++) {
				unsigned int at = tile_c(&t, m, 0) * 2 * HG_WARP + j % 2 * HG_WARP + r * 4 + j / 2;
				double sum = c[at];

				for (unsigned int k = 0; k < desc->k; k++)
					sum = fma(a[tile_a(&t, m, k / 4) * HG_WARP + r * 4 + k % 4],
						  b[k / 4 * HG_WARP + j * 4 + k % 4], sum);
				d[at] = sum;
			}
}

FAST static void mma_f64_fast(const struct ir_mma_desc *desc, const double *a, const double *b, const double *c, double *d)
{
	struct tiles t = tiles_of(desc);
	double b_t[16][8];

	for (unsigned int k = 0; k < desc->k; k++)
		for (unsigned int j = 0; j < 8; j++)
			b_t[k][j] = b[k / 4 * HG_WARP + j * 4 + k % 4];
	for (unsigned int m = 0; m < t.nr_m; m++)
		for (unsigned int r = 0; r < 8; r++) {
			/* columns 0, 2, 4, 6 lie in one register, the others in the next */
			unsigned int at = tile_c(&t, m, 0) * 2 * HG_WARP + r * 4;
			__m256d x = _mm256_loadu_pd(c + at), y = _mm256_loadu_pd(c + at + HG_WARP);
			__m256d even = _mm256_unpacklo_pd(x, y), odd = _mm256_unpackhi_pd(x, y);
			__m256d lo = _mm256_permute2f128_pd(even, odd, 0x20), hi = _mm256_permute2f128_pd(even, odd, 0x31);

			for (unsigned int k = 0; k < desc->k; k++) {
				__m256d v = _mm256_set1_pd(a[tile_a(&t, m, k / 4) * HG_WARP + r * 4 + k % 4]);

				lo = _mm256_fmadd_pd(v, _mm256_loadu_pd(b_t[k]), lo);
				hi = _mm256_fmadd_pd(v, _mm256_loadu_pd(b_t[k] + 4), hi);
			}
			even = _mm256_permute2f128_pd(lo, hi, 0x20);
			odd = _mm256_permute2f128_pd(lo, hi, 0x31);
			_mm256_storeu_pd(d + at, _mm256_unpacklo_pd(even, odd));
			_mm256_storeu_pd(d + at + HG_WARP, _mm256_unpackhi_pd(even, odd));
		}
}

/* What the CPU can do. */
static struct {
	void (*f)(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, bool c_half, uint32_t *d,
		  bool d_half);
	void (*i)(const struct ir_mma_desc *desc, const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *d, bool clamp);
	void (*d)(const struct ir_mma_desc *desc, const double *a, const double *b, const double *c, double *d);
} mma_by = { mma_float_plain, mma_int_plain, mma_f64_plain };

/* ---- four products of eight lanes ---- */

static float half_of(const uint32_t *reg, unsigned int lane, unsigned int i)
{
	return half_float(reg[i / 2 * HG_WARP + lane] >> (i % 2 * 16) & 0xffff);
}

/* Where element (row, col) of C is: lane and number. */
static unsigned int quad_c(bool half, unsigned int q, unsigned int row, unsigned int col, unsigned int *i)
{
	if (half) {
		*i = col;
		return q * 4 + row % 4 + row / 4 * 16;
	}
	*i = (col & 1) | (row & 2) | (col & 4);
	return q * 4 + ((row & 1) | (col & 2)) + row / 4 * 16;
}

static void mma_quads(enum ir_mma form, const uint32_t *a, const uint32_t *b, const uint32_t *c, bool c_half, uint32_t *d,
		      bool d_half)
{
	bool a_rows = form == IR_MMA_m8n8k4_row_row || form == IR_MMA_m8n8k4_row_col;
	bool b_rows = form == IR_MMA_m8n8k4_row_row || form == IR_MMA_m8n8k4_col_row;
	uint32_t out[8 * HG_WARP];

	memset(out, 0, sizeof(out));
	for (unsigned int e = 0; e < 4 * 64; e++) {
		unsigned int q = e / 64, row = e / 8 % 8, col = e % 8, i, lane = quad_c(c_half, q, row, col, &i);
		float sum = c_half ? half_of(c, lane, i) : bits_float(c[i * HG_WARP + lane]);

		for (unsigned int k = 0; k < 4; k++)
			sum = fmaf(a_rows ? half_of(a, q * 4 + row % 4 + row / 4 * 16, k) : half_of(a, q * 4 + k + row / 4 * 16, row % 4),
				   b_rows ? half_of(b, q * 4 + k + col / 4 * 16, col % 4) : half_of(b, q * 4 + col % 4 + col / 4 * 16, k),
				   sum);
		lane = quad_c(d_half, q, row, col, &i);
		if (d_half)
			out[i / 2 * HG_WARP + lane] |= hg_cpu_f16(sum) << (i % 2 * 16);
		else
			out[i * HG_WARP + lane] = float_bits(sum);
	}
	memcpy(d, out, (d_half ? 4 : 8) * HG_WARP * sizeof(*d));
}

static void canonical_f64(double *d, unsigned int nr)
{
	static const uint64_t nan = UINT64_C(0xfff8000000000000);

	for (unsigned int i = 0; i < nr; i++)
		if (d[i] != d[i])
			memcpy(&d[i], &nan, sizeof(nan));
}

static void rt_mma(uint32_t code, const void *a, const void *b, const void *c, void *d)
{
	enum ir_mma form = code & 0xff;
	const struct ir_mma_desc *desc = &ir_mma_desc[form];
	bool d_half = (code >> 8 & 0xff) == IR_F16X2, c_half = (code >> 16 & 0xff) == IR_F16X2;

	if (desc->kind == IR_MMA_QUADS) {
		mma_quads(form, a, b, c, c_half, d, d_half);
		return;
	}
	switch ((enum ir_elem)desc->a) {
	case IR_ELEM_F64:
		mma_by.d(desc, a, b, c, d);
		canonical_f64(d, ir_mma_regs_c(desc, IR_F64) * HG_WARP);
		break;
	case IR_ELEM_B1:
		mma_bits(desc, a, b, c, d);
		break;
	case IR_ELEM_S8: case IR_ELEM_U8: case IR_ELEM_S4: case IR_ELEM_U4:
		mma_by.i(desc, a, b, c, d, code >> 24 & 1);
		break;
	default:
		mma_by.f(desc, a, b, c, c_half, d, d_half);
		break;
	}
}

/* ---- rows of 16 bytes ---- */

#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

/* Lanes 4 * r to 4 * r + 3 get row r: what lies in memory is what the register is. `mask` has only lanes that have a row. */
static UNCHECKED void rt_ldmatrix(const uint64_t *addr, uint32_t mask, uint32_t *data, uint32_t nr, uint32_t line)
{
	hg_cpu_access_begin(addr, mask, 16, line);
	for (unsigned int i = 0; i < nr * 8; i++) {
		__m128i v = _mm_setzero_si128();

		if (mask >> i & 1)
			v = _mm_load_si128((const __m128i *)(uintptr_t)addr[i]);
		_mm_storeu_si128((__m128i *)(void *)(data + i * 4), v);
	}
	hg_cpu_access_end();
}

static UNCHECKED void rt_stmatrix(const uint64_t *addr, uint32_t mask, const uint32_t *data, uint32_t nr, uint32_t line)
{
	hg_cpu_access_begin(addr, mask, 16, line);
	for (unsigned int i = 0; i < nr * 8; i++)
		if (mask >> i & 1)
			_mm_store_si128((__m128i *)(uintptr_t)addr[i], _mm_loadu_si128((const __m128i *)(const void *)(data + i * 4)));
	hg_cpu_access_end();
}

void hg_cpu_matrix_init(struct hg_cpu_rt *rt)
{
	const char *isa = getenv("HGSHIM_ISA");
	bool is_plain = isa && !strcmp(isa, "sse");	/* as the code that calls */

	if (!is_plain && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) {
		mma_by.f = mma_float_fast;
		mma_by.i = mma_int_fast;
		mma_by.d = mma_f64_fast;
	}
	rt->mma = rt_mma;
	rt->ldmatrix = rt_ldmatrix;
	rt->stmatrix = rt_stmatrix;
}
