/* scalar_cvt.c - conversions and comparisons, form by form. */
#define _GNU_SOURCE
#include <fenv.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ptx/conform/scalar.h"

#pragma GCC diagnostic ignored "-Wpedantic"

enum { FTZ = 1, SAT = 2, RELU = 4, FINITE = 8 };

static const char *const mode_word[] = { "rn", "rz", "rm", "rp" };
static const char mode_letter[] = "nzmpa";
static const char *const mod_word[] = {
	"", ".ftz", ".sat", ".ftz.sat", ".relu", "", "", "", ".satfinite", "", "", "", ".satfinite.relu", "", "", "",
};

static struct scalar_row rows[8192];
static size_t nr_rows;

/* A type: its word, the kind of its register, bits; an integer's sign, or a float's format (f32, f64: none). */
struct type { const char *word; char kind; int bits; bool is_float, is_signed; const struct scalar_format *f; };
static const struct type types[] = {
	{ "u8", 'h', 8, false, false, NULL }, { "s8", 'h', 8, false, true, NULL }, { "u16", 'h', 16, false, false, NULL },
	{ "s16", 'h', 16, false, true, NULL }, { "u32", 'r', 32, false, false, NULL }, { "s32", 'r', 32, false, true, NULL },
	{ "u64", 'd', 64, false, false, NULL }, { "s64", 'd', 64, false, true, NULL }, { "f16", 'h', 16, true, true, &scalar_f16 },
	{ "bf16", 'h', 16, true, true, &scalar_bf16 }, { "f32", 'f', 32, true, true, NULL }, { "f64", 'g', 64, true, true, NULL },
};

static const char *kinds(char a, char b)
{
	char *t = calloc(3, 1);

	t[0] = a;
	t[1] = b;
	return t;
}

static const char *reg(char kind)
{
	return kind == 'h' ? "%h" : kind == 'r' ? "%r" : kind == 'f' ? "%f" : kind == 'g' ? "%fd" : "%rd";
}

static struct scalar_row *row(const char *in, char out, uint64_t (*ref)(const struct scalar_row *, uint64_t, uint64_t, uint64_t), char *insn)
{
	if (nr_rows >= CF_NR(rows))
		cf_die("no room for another row");
	rows[nr_rows] = (struct scalar_row){ .insn = insn, .in = in, .out = out, .ref = ref };
	return &rows[nr_rows++];
}

static float to_f(uint64_t v)
{
	uint32_t u = (uint32_t)v;
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

static float flush(float f)
{
	return fpclassify(f) == FP_SUBNORMAL ? copysignf(0, f) : f;
}

static __int128 int_of(const struct type *t, uint64_t v)
{
	v <<= 64 - t->bits;
	return t->is_signed ? (__int128)((int64_t)v >> (64 - t->bits)) : (__int128)(v >> (64 - t->bits));
}

/* Exactly: f64 holds all of the smaller ones. */
static double float_of(const struct type *t, uint64_t v, int z)
{
	double d;

	if (t->f)
		return scalar_value(t->f, (uint32_t)v & 0xffff);
	if (t->bits == 32)
		return z & FTZ ? flush(to_f(v)) : to_f(v);
	memcpy(&d, &v, sizeof(d));
	return d;
}

static uint64_t half(const struct scalar_format *f, char mode, __float128 s, int z)
{
	if (z & RELU && s < 0)
		s = 0;
	if (z & SAT)
		s = !(s > 0) ? 0 : s < 1 ? s : 1;
	return scalar_round(f, mode, s, 0, z & FINITE);
}

/* x: destination, y: source, w: rounding, as an index of mode_letter; 8: none; 10 to 13: to an integral value */
static uint64_t cvt(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	const struct type *to = &types[r->x], *from = &types[r->y];
	static const int env[] = { FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD };
	int mode = r->w >= 10 ? r->w - 10 : r->w == 8 ? 0 : r->w, top;
	volatile double d;
	volatile float f;
	uint64_t u;

	(void)b;
	(void)c;
	if (!from->is_float && !to->is_float) {
		__int128 v = int_of(from, a), high = ((__int128)1 << (to->is_signed ? to->bits - 1 : to->bits)) - 1;
		__int128 low = to->is_signed ? -high - 1 : 0;

		if (r->z & SAT)
			v = v > high ? high : v < low ? low : v;
		return (uint64_t)int_of(to, (uint64_t)v);
	}
	if (!from->is_float) {
		__int128 v = int_of(from, a);

		if (to->f)
			return half(to->f, mode_letter[mode], (__float128)v, r->z);
		fesetround(env[mode]);
		if (to->bits == 64)
			d = from->is_signed ? (double)(int64_t)v : (double)(uint64_t)v;
		else
			f = from->is_signed ? (float)(int64_t)v : (float)(uint64_t)v;
		fesetround(FE_TONEAREST);
		if (to->bits == 64 && r->z & SAT)
			d = !(d > 0) ? 0 : d < 1 ? d : 1;
		if (to->bits == 32 && r->z & SAT)
			f = !(f > 0) ? 0 : f < 1 ? f : 1;
		u = 0;
		memcpy(&u, to->bits == 64 ? (void *)&d : (void *)&f, (size_t)to->bits / 8);
		return u;
	}
	d = float_of(from, a, r->z);
	if (r->w >= 10)
		d = mode == 0 ? rint(d) : mode == 1 ? trunc(d) : mode == 2 ? floor(d) : ceil(d);
	if (!to->is_float) {
		top = to->is_signed ? to->bits - 1 : to->bits;
		if (d != d)
			return (uint64_t)int_of(to, from->bits == 64 || to->bits == 64 ? UINT64_C(1) << (to->bits - 1) : 0);
		if (d >= ldexp(1, top))
			return (uint64_t)(((__int128)1 << top) - 1);
		if (d < (to->is_signed ? -ldexp(1, top) : 0))
			return to->is_signed ? (uint64_t)int_of(to, UINT64_C(1) << (to->bits - 1)) : 0;
		return (uint64_t)int_of(to, (uint64_t)(__int128)d);
	}
	if (to->f)
		return half(to->f, mode_letter[mode], d, r->z);
	if (to->bits == 32) {
		fesetround(env[mode]);
		f = (float)d;
		fesetround(FE_TONEAREST);
		if (r->z & FTZ)
			f = flush(f);
		if (r->z & SAT)
			f = !(f > 0) ? 0 : f < 1 ? f : 1;
		u = 0;
		memcpy(&u, (void *)&f, 4);
		return f != f ? 0x7fffffff : u;
	}
	if (r->z & SAT)
		d = !(d > 0) ? 0 : d < 1 ? d : 1;
	memcpy(&u, (void *)&d, 8);
	return d != d ? UINT64_C(0xfff8000000000000) : u;
}

/* 8 bits live in 16, extended; so do the rest of a wider register */
static void conversions(void)
{
	for (size_t t = 0; t < CF_NR(types); t++)
		for (size_t s = 0; s < CF_NR(types); s++)
			for (int w = 0; w < 14; w++)
				for (int z = 0; z < 4; z++) {
					const struct type *to = &types[t], *from = &types[s];
					bool both = to->is_float && from->is_float, is32 = (to->is_float && !to->f && to->bits == 32) ||
						(from->is_float && !from->f && from->bits == 32), shrinks, fits;
					struct scalar_row *r;
					char *text;

					shrinks = both && (to->bits < from->bits || (to->bits == from->bits && to != from));
					fits = (to->is_signed == from->is_signed && to->bits >= from->bits) ||
					       (to->is_signed && !from->is_signed && to->bits > from->bits);
					if ((w > 3 && w < 8) || w == 9 || (z & FTZ && !is32))
						continue;
					if (!to->is_float && !from->is_float && (w != 8 || (z & SAT && fits)))
						continue;
					if (!to->is_float && from->is_float && (w < 10 || (z & SAT && w != 11)))	/* .sat is there already */
						continue;
					if (to->is_float && !from->is_float && w > 3)
						continue;
					if (both && (to == from ? w != 8 && w < 10 : shrinks ? w > 3 : w != 8))
						continue;
					text = cf_text("cvt%s%s%s%s.%s.%s %s4, %s1;", w == 8 ? "" : ".", w == 8 ? "" : mode_word[w % 10], w >= 10 ? "i" : "",
							   mod_word[z], to->word, from->word, reg(to->kind), reg(from->kind));
					r = row(kinds(from->kind, 0), to->kind, cvt, text);
					r->x = (int)t;
					r->y = (int)s;
					r->z = z;
					r->w = w;
				}
}

/* ---- narrow formats: r->p the format, x: of the sources, y: mode, w: bits of one ---- */

static uint64_t one_narrow(const struct scalar_row *r, double v)
{
	const struct scalar_format *f = r->p;

	if (!f) {	/* ue8m0 */
		int e;

		if (v != v)
			return 255;
		if (isinf(v))
			return r->z & FINITE ? 254 : 255;
		v = fabs(v);
		if (v <= 0x1p-127)
			return 0;
		if (frexp(v, &e) == 0.5 || r->y == 1)
			e--;	/* not above v */
		e += 127;
		if (e < 1)
			e = r->y == 1 ? 0 : 1;
		return (uint64_t)(e > 254 && r->z & FINITE ? 254 : e);
	}
	if (r->z & RELU && v < 0)
		v = 0;
	return scalar_round(f, mode_letter[r->y], v, 0, r->z & FINITE);
}

static uint64_t narrow(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	const struct scalar_format *h = r->x == 1 ? &scalar_f16 : &scalar_bf16;
	double high = r->x ? scalar_value(h, (uint32_t)(a >> 16) & 0xffff) : to_f(a), low = r->x ? scalar_value(h, (uint32_t)a & 0xffff) : to_f(b);

	(void)c;
	return one_narrow(r, high) << r->w | one_narrow(r, low);
}

static uint64_t tf32(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t v = one_narrow(r, to_f(a));

	(void)b;
	(void)c;
	return v == scalar_tf32.nan ? 0x7fffffff : v << 13;
}

static uint64_t pair_of_f32(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	(void)c;
	return half(r->p, mode_letter[r->y], to_f(a), r->z) << 16 | half(r->p, mode_letter[r->y], to_f(b), r->z);
}

static uint64_t one_of_f32(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	(void)b;
	(void)c;
	return half(r->p, mode_letter[r->y], to_f(a), r->z);
}

static uint64_t widen(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t v = 0;

	(void)b;
	(void)c;
	for (int i = 0; i < 2; i++) {
		uint32_t code = (uint32_t)(a >> (i * r->w)) & ((1u << r->w) - 1);
		double d = !r->p ? (code == 255 ? NAN : ldexp(1, (int)code - 127)) : scalar_value(r->p, code & (2 * ((const struct scalar_format *)r->p)->sign - 1));

		v |= half(r->p ? &scalar_f16 : &scalar_bf16, 'n', d, r->z) << (16 * i);
	}
	return v;
}

static uint64_t pack(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	int64_t high = (INT64_C(1) << (r->y ? r->x - 1 : r->x)) - 1, low = r->y ? -high - 1 : 0, x = (int32_t)a, y = (int32_t)b;
	uint64_t mask = (UINT64_C(1) << r->x) - 1;

	x = x > high ? high : x < low ? low : x;
	y = y > high ? high : y < low ? low : y;
	return ((uint64_t)x & mask) << r->x | ((uint64_t)y & mask) | c << (2 * r->x);
}

static void packed_conversions(void)
{
	static const struct { const char *word; const struct scalar_format *f; int bits; } list[] = {
		{ "e4m3x2", &scalar_e4m3, 8 }, { "e5m2x2", &scalar_e5m2, 8 }, { "e2m3x2", &scalar_e2m3, 8 }, { "e3m2x2", &scalar_e3m2, 8 },
		{ "e2m1x2", &scalar_e2m1, 4 }, { "ue8m0x2", NULL, 8 },
	};
	static const char *const source[] = { "f32", "f16x2", "bf16x2" };
	/* the manual shows where the random bits go for normal numbers only */
	static const char *const refused[] = {
		"f16x2.f32 %r4, %f1, %f2, %r3", "bf16x2.f32 %r4, %f1, %f2, %r3", "satfinite.e4m3x4.f32 %r4, {%f1, %f2, %f1, %f2}, %r3",
		"satfinite.e5m2x4.f32 %r4, {%f1, %f2, %f1, %f2}, %r3", "satfinite.e2m3x4.f32 %r4, {%f1, %f2, %f1, %f2}, %r3",
		"satfinite.e3m2x4.f32 %r4, {%f1, %f2, %f1, %f2}, %r3", "satfinite.e2m1x4.f32 %h4, {%f1, %f2, %f1, %f2}, %r3",
	};
	struct scalar_row *r;
	char *text;

	for (size_t i = 0; i < CF_NR(list); i++) {
		for (int s = 0; s < 3; s++)
			for (int m = 0; m < 4; m++)
				for (int z = 0; z < 16; z += 4) {
					if (list[i].f ? m != 0 || !(z & FINITE) : (m != 1 && m != 3) || z & RELU || s == 1)
						continue;
					text = cf_text("cvt.%s%s.%s.%s %%h4, %s;", mode_word[m], mod_word[z], list[i].word, source[s],
							   s ? "%r1" : "%f1, %f2");
					r = row(s ? "r" : "ff", 'h', narrow, text);
					r->p = list[i].f;
					r->x = s;
					r->y = m;
					r->z = z;
					r->w = list[i].bits;
				}
		for (int z = 0; z < 8; z += 4) {
			if (z && !list[i].f)
				continue;
			text = cf_text("cvt.rn%s.%s.%s %%r4, %%h1;", mod_word[z], list[i].f ? "f16x2" : "bf16x2", list[i].word);
			r = row("h", 'r', widen, text);
			r->p = list[i].f;
			r->z = z;
			r->w = list[i].bits;
		}
	}
	for (int m = 0; m < 5; m++)
		for (int z = 0; z < 16; z += 4) {
			if (m == 2 || m == 3 || (m == 4 && z & RELU))
				continue;
			text = cf_text("cvt.%s%s.tf32.f32 %%r4, %%f1;", m == 4 ? "rna" : mode_word[m], mod_word[z]);
			r = row("f", 'r', tf32, text);
			r->p = &scalar_tf32;
			r->y = m;
			r->z = z;
			for (int bf = 0; bf < 2 && m < 2; bf++) {
				text = cf_text("cvt.%s%s.%s.f32 %%r4, %%f1, %%f2;", mode_word[m], mod_word[z], bf ? "bf16x2" : "f16x2");
				r = row("ff", 'r', pair_of_f32, text);
				r->p = bf ? &scalar_bf16 : &scalar_f16;
				r->y = m;
				r->z = z;
				text = cf_text("cvt.%s%s.%s.f32 %%h4, %%f1;", mode_word[m], mod_word[z], bf ? "bf16" : "f16");
				r = row("f", 'h', one_of_f32, text);
				r->p = bf ? &scalar_bf16 : &scalar_f16;
				r->y = m;
				r->z = z;
			}
		}
	for (int bits = 2; bits <= 16; bits *= 2)
		for (int s = 0; s < 2; s++) {
			text = cf_text("cvt.pack.sat.%c%d.s32%s %%r4, %%r1, %%r2%s;", s ? 's' : 'u', bits, bits < 16 ? ".b32" : "",
					   bits < 16 ? ", %r3" : "");
			r = row(bits < 16 ? "rrr" : "rr", 'r', pack, text);
			r->x = bits;
			r->y = s;
		}
	for (size_t i = 0; i < CF_NR(refused); i++) {
		text = cf_text("cvt.rs.%s;", refused[i]);
		row("ff", refused[i][0] == 's' && strstr(refused[i], "e2m1") ? 'h' : 'r', NULL, text);
	}
}

/* ---- comparisons: x type, y comparison, z FTZ, w boolean operation; p: pair or not, or the result's type ---- */

static const char *const cmp_word[] = { "eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", "lo", "ls", "hi", "hs" };
static const char *const bool_word[] = { "", ".and", ".or", ".xor" };

static bool holds(const struct scalar_row *r, uint64_t a, uint64_t b)
{
	const struct type *t = &types[r->x];
	bool less, equal, nan = false;
	int y = r->y;

	if (t->is_float) {
		double p = float_of(t, a, r->z), q = float_of(t, b, r->z);

		if (t->f && r->z & FTZ) {
			p = fabs(p) < 0x1p-14 ? 0 : p;
			q = fabs(q) < 0x1p-14 ? 0 : q;
		}
		nan = p != p || q != q;
		less = p < q;
		equal = p == q;
	} else {
		less = int_of(t, a) < int_of(t, b);
		equal = int_of(t, a) == int_of(t, b);
		y = y >= 14 ? y - 12 : y;
	}
	if (y >= 12)
		return nan == (y == 13);
	if (nan)
		return y >= 6;
	switch (y % 6) {
	case 0: return equal;
	case 1: return !equal;
	case 2: return less;
	case 3: return less || equal;
	case 4: return !less && !equal;
	default: return !less;
	}
}

static bool with(const struct scalar_row *r, bool p, uint64_t c)
{
	bool q = (c & UINT32_MAX) > 100;

	return r->w == 1 ? p && q : r->w == 2 ? p || q : r->w == 3 ? p != q : p;
}

static uint64_t setp_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	bool p = holds(r, a, b);

	return with(r, p, c) | (uint64_t)with(r, r->p ? holds(r, a >> 16, b >> 16) : !p, c) << 1;
}

static uint64_t set_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	const char *to = r->p;
	uint64_t yes = !strcmp(to, "f32") ? 0x3f800000 : strstr(to, "bf16") ? 0x3f80 : strstr(to, "f16") ? 0x3c00 : strstr(to, "16") ? 0xffff : UINT32_MAX;

	if (to[-1] == '2')	/* of a pair */
		return (with(r, holds(r, a, b), c) ? yes & 0xffff : 0) | (with(r, holds(r, a >> 16, b >> 16), c) ? (yes & 0xffff) << 16 : 0);
	return with(r, holds(r, a, b), c) ? yes : 0;
}

static uint64_t selp_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	(void)r;
	return (c & UINT32_MAX) > 100 ? a : b;
}

static uint64_t slct_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	if (!r->x)
		return (int32_t)c >= 0 ? a : b;
	return (r->z & FTZ ? flush(to_f(c)) : to_f(c)) >= 0 ? a : b;
}

static const struct type *type_of(const char *word)
{
	for (size_t i = 0; i < CF_NR(types); i++)
		if (!strcmp(types[i].word + (*word == 'b' && word[1] != 'f'), word + (*word == 'b' && word[1] != 'f')))
			return &types[i];	/* bits are compared as unsigned numbers */
	cf_die("no type '%s'", word);
}

static int index_of(const char *form, const char *const *word, int nr)
{
	for (int i = 0; i < nr; i++)
		if (*word[i] ? cf_has(form, *word[i] == '.' ? word[i] + 1 : word[i]) : 0)
			return i;
	return 0;
}

/* setp and set, from the table: one row for each form. */
static void one_comparison(const char *form, void *arg)
{
	bool is_set = arg != NULL;
	const char *to = cf_type(form, 0), *from = cf_type(form, is_set);
	bool pair = strstr(from, "x2");
	char base[8] = "", *in = calloc(4, 1), kind, out = 'r', *text;
	int w = index_of(form, bool_word, 4);
	const struct type *t;
	struct scalar_row *r;

	memcpy(base, from, strcspn(from, "x"));
	t = type_of(base);
	kind = pair ? 'r' : t->kind;
	in[0] = in[1] = kind;
	in[2] = 'r';
	if (is_set) {
		out = !strcmp(to, "f32") ? 'f' : cf_bits(to) == 16 ? 'h' : 'r';
		text = cf_text("+setp.gt.u32 %%p3, %%r3, 100; %s %s4, %s1, %s2%s;", form, reg(out), reg(kind), reg(kind), w ? ", %p3" : "");
	} else {
		text = cf_text("+setp.gt.u32 %%p3, %%r3, 100; %s %%p1|%%p2, %s1, %s2%s; selp.u32 %%r4, 1, 0, %%p1; selp.u32 %%r6, 2, 0, %%p2; or.b32 %%r4, %%r4, %%r6;",
			       form, reg(kind), reg(kind), w ? ", %p3" : "");
	}
	r = row(in, out, is_set ? set_ : setp_, text);
	r->x = (int)(t - types);
	r->y = index_of(form, cmp_word, CF_NR(cmp_word));
	r->z = cf_has(form, "ftz") ? FTZ : 0;
	r->w = w;
	if (is_set)	/* the character before tells pairs, whose result has two halves */
		r->p = cf_text("%c%s", pair && (strstr(to, "x2") || strstr(to, "32")) ? '2' : '1', to) + 1;
	else
		r->p = pair ? "" : NULL;
}

static char types_of_set[1];	/* anything but NULL */

static void comparisons(void)
{
	static const char *const widths[] = { "b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64" };
	struct scalar_row *r;
	char *text;

	cf_forms("setp", one_comparison, NULL);
	cf_forms("set", one_comparison, types_of_set);
	for (size_t i = 0; i < CF_NR(widths); i++)
		for (int k = 0; k < 3; k++) {
			char kind = widths[i][0] == 'f' ? (widths[i][1] == '3' ? 'f' : 'g') : widths[i][1] == '1' ? 'h' : widths[i][1] == '3' ? 'r' : 'd', *in = calloc(4, 1);

			in[0] = in[1] = kind;
			in[2] = k ? 'f' : 'r';
			text = cf_text("slct%s.%s.%s %s4, %s1, %s2, %s3;", k == 2 ? ".ftz" : "", widths[i], k ? "f32" : "s32", reg(kind), reg(kind),
				       reg(kind), k ? "%f" : "%r");
			r = row(in, kind, slct_, text);
			r->x = k;
			r->z = k == 2 ? FTZ : 0;
			if (k)
				continue;
			in = calloc(4, 1);
			in[0] = in[1] = kind;
			in[2] = 'r';
			row(in, kind, selp_, cf_text("+setp.gt.u32 %%p3, %%r3, 100; selp.%s %s4, %s1, %s2, %%p3;", widths[i], reg(kind), reg(kind), reg(kind)));
		}
	scalar_add(rows, nr_rows);
}

void cf_scalar_cvt(void)
{
	conversions();
	packed_conversions();
	comparisons();
	scalar_add(rows, nr_rows);
}
