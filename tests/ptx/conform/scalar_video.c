/* scalar_video.c - the video instructions, in every form of types, second operation and parts. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ptx/conform/scalar.h"

#pragma GCC diagnostic ignored "-Wpedantic"


struct form {
	char op;		/* + - d(ifference) < > { } (shifts) * ? v (average) */
	bool d_signed, a_signed, b_signed, sat, wrap, po, minus_a, minus_b, minus_c;
	char second;		/* + < > or 0 */
	int dsel, asel, bsel;	/* 0 whole; 1 to 4 bytes; 5, 6 halves */
	int cmp, shift;
	int nr;			/* of elements: 2, 4 */
	unsigned int mask;
	int pick[2][4];		/* of each operand, which elements */
};

static struct scalar_row rows[4096];
static size_t nr_rows;

static const char *const part[] = { "", ".b0", ".b1", ".b2", ".b3", ".h0", ".h1" };
static const char *const cmp_word[] = { "eq", "ne", "lt", "le", "gt", "ge" };

static bool holds(int cmp, int64_t a, int64_t b)
{
	switch (cmp) {
	case 0: return a == b;
	case 1: return a != b;
	case 2: return a < b;
	case 3: return a <= b;
	case 4: return a > b;
	default: return a >= b;
	}
}

static int64_t field(uint64_t v, int at, int bits, bool is_signed)
{
	v = (v & UINT32_MAX) >> at << (64 - bits);
	return is_signed ? (int64_t)v >> (64 - bits) : (int64_t)(v >> (64 - bits));
}

static int64_t chosen(uint64_t v, int sel, bool is_signed)
{
	return !sel ? field(v, 0, 32, is_signed) : sel < 5 ? field(v, 8 * (sel - 1), 8, is_signed) : field(v, 16 * (sel - 5), 16, is_signed);
}

static __int128 limit(__int128 v, int bits, bool is_signed)
{
	__int128 high = ((__int128)1 << (is_signed ? bits - 1 : bits)) - 1, low = is_signed ? -high - 1 : 0;

	return v > high ? high : v < low ? low : v;
}

static __int128 basic(const struct form *f, int64_t a, int64_t b)
{
	switch (f->op) {
	case '+': return (__int128)a + b;
	case '-': return (__int128)a - b;
	case 'd': return a < b ? (__int128)b - a : (__int128)a - b;
	case '<': return a < b ? a : b;
	case '>': return a > b ? a : b;
	case 'v': return a + b >= 0 ? (a + b + 1) >> 1 : (a + b) >> 1;
	case '?': return holds(f->cmp, a, b);
	case '{': case '}':
		b = f->wrap ? b & 31 : b > 32 ? 32 : b;
		return f->op == '{' ? (__int128)((unsigned __int128)(__int128)a << b) : a >> b;
	default: return (__int128)a * b;
	}
}

static uint64_t scalar(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	const struct form *f = r->p;
	int bits = !f->dsel ? 32 : f->dsel < 5 ? 8 : 16, at = !f->dsel ? 0 : f->dsel < 5 ? 8 * (f->dsel - 1) : 16 * (f->dsel - 5);
	__int128 v = basic(f, chosen(a, f->asel, f->a_signed), chosen(b, f->bsel, f->b_signed)), w;
	uint64_t mask;

	if (f->sat)
		v = limit(v, bits, f->d_signed);
	if (f->second) {
		w = field(c, 0, 32, f->d_signed);
		v = (__int128)((unsigned __int128)v << 95) >> 95;	/* 33 bits */
		v = f->second == '+' ? v + w : f->second == '<' ? (v < w ? v : w) : v > w ? v : w;
	}
	mask = bits == 32 ? UINT32_MAX : ((UINT64_C(1) << bits) - 1) << at;
	return (((uint64_t)v << at) & mask) | (c & ~mask & UINT32_MAX);
}

static uint64_t mad(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	const struct form *f = r->p;
	bool minus = f->minus_a != f->minus_b, is_signed = f->a_signed || f->b_signed || minus || f->minus_c;
	__int128 v = (__int128)chosen(a, f->asel, f->a_signed) * chosen(b, f->bsel, f->b_signed), w = field(c, 0, 32, is_signed);

	v = (minus ? -v : v) + (f->minus_c ? -w : w) + f->po;
	v >>= f->shift;
	return (uint64_t)(f->sat ? limit(v, 32, is_signed) : v);
}

static uint64_t simd(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	const struct form *f = r->p;
	int bits = 32 / f->nr;
	uint64_t both = a | b << 32, d = c;

	for (int i = 0; i < f->nr; i++) {
		uint64_t mask = ((UINT64_C(1) << bits) - 1) << (i * bits);
		int64_t x = field(both >> (bits * f->pick[0][i]), 0, bits, f->a_signed), y = field(both >> (bits * f->pick[1][i]), 0, bits, f->b_signed);
		__int128 v = basic(f, x, y);

		if (!(f->mask >> i & 1))
			continue;
		if (f->sat)
			v = limit(v, bits, f->d_signed);
		d = f->second ? d + (uint64_t)v : (d & ~mask) | (((uint64_t)v << (i * bits)) & mask);
	}
	return d;
}

static unsigned int chance(unsigned int n)
{
	static uint64_t s = 362436069362436069u;

	s ^= s << 13;
	s ^= s >> 7;
	s ^= s << 17;
	return (unsigned int)((s >> 20) % n);
}

static void add(const struct form *f, uint64_t (*ref)(const struct scalar_row *, uint64_t, uint64_t, uint64_t), char *insn)
{
	struct form *keep = malloc(sizeof(*keep));

	*keep = *f;
	if (nr_rows >= CF_NR(rows))
		cf_die("no room for another row");
	rows[nr_rows++] = (struct scalar_row){ .insn = insn, .in = "rrr", .out = 'r', .ref = ref, .p = keep };
}

static const char *type(bool is_signed)
{
	return is_signed ? ".s32" : ".u32";
}

static void video_of_one(void)
{
	static const struct { const char *word; char op; } list[] = {
		{ "vadd", '+' }, { "vsub", '-' }, { "vabsdiff", 'd' }, { "vmin", '<' }, { "vmax", '>' }, { "vshl", '{' }, { "vshr", '}' },
		{ "vset", '?' },
	};
	static const char *const second_word[] = { "", ".add", ".min", ".max" };

	for (size_t i = 0; i < CF_NR(list); i++)
		for (int types = 0; types < 8; types++)
			for (int sat = 0; sat < 2; sat++)
				for (int form = 0; form < 10; form++) {	/* plain, three second operations, six parts */
					bool shift = list[i].op == '{' || list[i].op == '}', set = list[i].op == '?', third = form > 0, refused;
					struct form f = { .op = list[i].op, .d_signed = types & 1, .a_signed = types & 2, .b_signed = types & 4, .sat = sat,
							  .second = form < 4 ? "\0+<>"[form] : 0, .dsel = form < 4 ? 0 : form - 3, .wrap = chance(2),
							  .asel = (int)chance(7), .bsel = (int)chance(7), .cmp = (int)chance(6) };
					char *text;

					if (shift)
						f.wrap = form & 1;
					if (set && form > 3)
						f.cmp = form - 4;
					if ((shift && f.b_signed) || (set && (f.d_signed || sat)) || (form > 3 && !set && chance(4)))	/* one part in four will do */
						continue;
					refused = list[i].op == '{' && (sat || f.second == '<' || f.second == '>');
					text = cf_text("%s%s%s%s%s%s%s%s %%r4%s, %%r1%s, %%r2%s%s;", list[i].word, set ? "" : type(f.d_signed),
							   type(f.a_signed), type(f.b_signed), set ? "." : sat ? ".sat" : "", set ? cmp_word[f.cmp] : "",
							   shift ? f.wrap ? ".wrap" : ".clamp" : "", second_word[form < 4 ? form : 0], part[f.dsel],
							   part[f.asel], part[f.bsel], third ? ", %r3" : "");
					if (!third) {	/* nothing to merge with: the whole is written anyway */
						add(&f, scalar, text);
						continue;
					}
					add(&f, refused ? NULL : scalar, text);
					if (refused && form > 1)
						form = 9;	/* one refused form of each kind will do */
				}
	for (size_t i = 0; i < nr_rows; i++) {
		const struct form *f = rows[i].p;

		if (f->op == '{' && f->sat)
			rows[i].ref = NULL;
	}
	for (int types = 0; types < 8; types++)
		for (int k = 0; k < 36; k++) {
			int minus = k / 3 % 6, scale = (k + k / 3) % 3;	/* none, a, b, both, c, po */
			struct form f = { .op = '*', .d_signed = types & 1, .a_signed = types & 2, .b_signed = types & 4, .sat = k >= 18,
					  .minus_a = minus == 1 || minus == 3, .minus_b = minus == 2 || minus == 3, .minus_c = minus == 4,
					  .po = minus == 5, .shift = scale == 1 ? 7 : scale == 2 ? 15 : 0, .asel = (int)chance(7), .bsel = (int)chance(7) };
			bool refused = !f.a_signed && !f.b_signed &&
				       ((f.sat && (f.minus_a != f.minus_b || f.minus_c)) || (f.minus_c && f.shift));
			char *text;

			text = cf_text("vmad%s%s%s%s%s%s %%r4, %s%%r1%s, %s%%r2%s, %s%%r3;", type(f.d_signed), type(f.a_signed), type(f.b_signed),
					   f.po ? ".po" : "", f.sat ? ".sat" : "", scale == 1 ? ".shr7" : scale == 2 ? ".shr15" : "",
					   f.minus_a ? "-" : "", part[f.asel], f.minus_b ? "-" : "", part[f.bsel], f.minus_c ? "-" : "");
			add(&f, refused ? NULL : mad, text);
		}
}

/* Parts from the highest to the lowest, as the manual writes them. */
static const char *picks(const int *pick, int nr)
{
	static char text[4][8];
	static unsigned int at;
	char *t = text[at++ % 4];

	t[0] = '.';
	t[1] = nr == 2 ? 'h' : 'b';
	for (int i = 0; i < nr; i++)
		t[2 + i] = (char)('0' + pick[nr - 1 - i]);
	t[2 + nr] = 0;
	return t;
}

static const char *mask_text(unsigned int mask, int nr)
{
	static char text[8];
	char *t = text;

	*t++ = '.';
	*t++ = nr == 2 ? 'h' : 'b';
	for (int i = nr - 1; i >= 0; i--)
		if (mask >> i & 1)
			*t++ = (char)('0' + i);
	*t = 0;
	return text;
}

static void video_side_by_side(void)
{
	static const struct { const char *word; char op; } list[] = {
		{ "vadd", '+' }, { "vsub", '-' }, { "vavrg", 'v' }, { "vabsdiff", 'd' }, { "vmin", '<' }, { "vmax", '>' }, { "vset", '?' },
	};

	for (size_t i = 0; i < CF_NR(list); i++)
		for (int nr = 2; nr <= 4; nr += 2)
			for (int types = 0; types < 8; types++)
				for (int how = 0; how < 3; how++)	/* plain, .sat, .add */
					for (int cmp = 0; cmp < (list[i].op == '?' ? 6 : 1); cmp++) {
						bool set = list[i].op == '?', standard = chance(3) == 0;
						struct form f = { .op = list[i].op, .d_signed = types & 1, .a_signed = types & 2, .b_signed = types & 4,
								  .sat = how == 1, .second = how == 2 ? '+' : 0, .cmp = cmp, .nr = nr };
						char *text;

						if (set && (f.d_signed || f.sat))
							continue;
						f.mask = standard ? (1u << nr) - 1 : 1 + chance((1u << nr) - 1);
						for (int s = 0; s < 2; s++)
							for (int e = 0; e < nr; e++)
								f.pick[s][e] = standard ? s * nr + e : (int)chance(2 * (unsigned int)nr);
						text = cf_text("%s%d%s%s%s%s%s%s %%r4%s, %%r1%s, %%r2%s, %%r3;", list[i].word, nr,
								   set ? "" : type(f.d_signed), type(f.a_signed), type(f.b_signed), set ? "." : f.sat ? ".sat" : "",
								   set ? cmp_word[cmp] : "", f.second ? ".add" : "", standard ? "" : mask_text(f.mask, nr),
								   standard ? "" : picks(f.pick[0], nr), standard ? "" : picks(f.pick[1], nr));
						add(&f, simd, text);
					}
}

void cf_scalar_video(void)
{
	video_of_one();
	video_side_by_side();
	scalar_add(rows, nr_rows);
}
