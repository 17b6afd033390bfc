/* scalar_float.c - floating-point instructions, form by form, against the processor's modes and rounding by search. */
#define _GNU_SOURCE
#include <fenv.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ptx/conform/scalar.h"

#pragma GCC diagnostic ignored "-Wpedantic"


static struct scalar_row rows[4096];
static size_t nr_rows;

static struct scalar_row *row(const char *in, char out, uint64_t (*ref)(const struct scalar_row *, uint64_t, uint64_t, uint64_t), const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static struct scalar_row *row(const char *in, char out, uint64_t (*ref)(const struct scalar_row *, uint64_t, uint64_t, uint64_t), const char *fmt, ...)
{
	struct scalar_row *r = &rows[nr_rows++];
	char *text;
	va_list ap;

	if (nr_rows >= CF_NR(rows))
		cf_die("no room for another row");
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		cf_die("out of memory");
	va_end(ap);
	*r = (struct scalar_row){ .insn = text, .in = in, .out = out, .ref = ref };
	return r;
}

/* x: the operation, y: the mode, z: modifiers */
enum { FTZ = 1, SAT = 2, NAN_ = 4, XORSIGN = 8, ABS = 16, RELU = 32, FINITE = 64 };
static const char *const mode_word[] = { "rn", "rz", "rm", "rp" };
static const int mode_env[] = { FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD };

static const char *modifiers(int z)
{
	static char text[8][64];
	static unsigned int at;
	char *t = text[at++ % 8];

	snprintf(t, 64, "%s%s%s%s%s%s", z & FTZ ? ".ftz" : "", z & NAN_ ? ".NaN" : "", z & XORSIGN ? ".xorsign.abs" : z & ABS ? ".abs" : "",
		 z & RELU ? ".relu" : "", z & FINITE ? ".satfinite" : "", z & SAT ? ".sat" : "");
	return t;
}

static float to_f(uint64_t v)
{
	uint32_t u = (uint32_t)v;
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

static double to_d(uint64_t v)
{
	double d;

	memcpy(&d, &v, sizeof(d));
	return d;
}

static uint64_t f_bits(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof(u));
	return f != f ? 0x7fffffff : u;
}

static uint64_t d_bits(double d)
{
	uint64_t u;

	memcpy(&u, &d, sizeof(u));
	return d != d ? UINT64_C(0xfff8000000000000) : u;
}

static float flush(float f)
{
	return fpclassify(f) == FP_SUBNORMAL ? copysignf(0, f) : f;
}

static float finish(float f, int z)
{
	if (z & FTZ)
		f = flush(f);
	if (z & SAT)
		f = !(f > 0) ? 0 : f < 1 ? f : 1;
	return f;
}

/* ---- f32 and f64 ---- */

static uint64_t arith_f(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	volatile float x = to_f(a), y = to_f(b), w = to_f(c), v = 0;

	if (r->z & FTZ) {
		x = flush(x);
		y = flush(y);
		w = flush(w);
	}
	fesetround(mode_env[r->y]);
	switch (r->x) {
	case '+': v = x + y; break;
	case '-': v = x - y; break;
	case '*': v = x * y; break;
	case '/': v = x / y; break;
	case 'r': v = 1 / x; break;
	case 's': v = sqrtf(x); break;
	case 'n': v = -x; break;
	case 'a': v = fabsf(x); break;
	default: v = fmaf(x, y, w); break;
	}
	fesetround(FE_TONEAREST);
	return f_bits(finish(v, r->z));
}

static uint64_t arith_d(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	volatile double x = to_d(a), y = to_d(b), w = to_d(c), v = 0;

	fesetround(mode_env[r->y]);
	switch (r->x) {
	case '+': v = x + y; break;
	case '-': v = x - y; break;
	case '*': v = x * y; break;
	case '/': v = x / y; break;
	case 'r': v = 1 / x; break;
	case 's': v = sqrt(x); break;
	case 'n': v = -x; break;
	case 'a': v = fabs(x); break;
	default: v = fma(x, y, w); break;
	}
	fesetround(FE_TONEAREST);
	return d_bits(v);
}

static uint64_t pair_f(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	return arith_f(r, a, b, c) | arith_f(r, a >> 32, b >> 32, c >> 32) << 32;
}

static double pick_d(const struct scalar_row *r, double x, double y)
{
	bool max = r->x == '>';

	if (x != x || y != y)
		return r->z & NAN_ ? NAN : x != x ? y : x;
	if (x == y)
		return max == (bool)signbit(x) ? y : x;
	return max == (x > y) ? x : y;
}

static uint64_t minmax_f(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	float x = to_f(a), y = to_f(b), w = to_f(c), v;

	if (r->z & FTZ) {
		x = flush(x);
		y = flush(y);
		w = flush(w);
	}
	if (r->z & (XORSIGN | ABS)) {
		bool sign = signbit(x) != signbit(y);

		v = (float)pick_d(r, fabsf(x), fabsf(y));
		if (r->z & XORSIGN)
			v = sign ? -v : v;
		w = fabsf(w);
	} else {
		v = (float)pick_d(r, x, y);
	}
	if (r->w)
		v = (float)pick_d(r, v, w);
	return f_bits(v);
}

static uint64_t minmax_d(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	(void)c;
	return d_bits(pick_d(r, to_d(a), to_d(b)));
}

static uint64_t copysign_f(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t sign = UINT64_C(1) << (r->x - 1);

	(void)c;
	return (a & sign) | (b & (sign - 1));
}

static uint64_t testp_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	int k = r->x == 32 ? fpclassify(to_f(a)) : fpclassify(to_d(a));

	(void)b;
	(void)c;
	switch (r->y) {
	case 0: return k != FP_NAN && k != FP_INFINITE;
	case 1: return k == FP_INFINITE;
	case 2: return k != FP_NAN;
	case 3: return k == FP_NAN;
	case 4: return k == FP_NORMAL || k == FP_ZERO;
	default: return k == FP_SUBNORMAL;
	}
}

/* The upper half of an exact quotient; r->x: of the root. */
static uint64_t gross(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	double x = to_d(a & UINT64_C(0xffffffff00000000)), v;

	(void)b;
	(void)c;
	if (fpclassify(x) == FP_SUBNORMAL)
		x = copysign(0, x);
	v = 1 / (r->x ? sqrt(x) : x);
	if (v != v)
		return UINT64_C(0x7fffffff00000000);
	if (fpclassify(v) == FP_SUBNORMAL)
		v = copysign(0, v);
	return d_bits(v) & UINT64_C(0xffffffff00000000);
}

static void floats(void)
{
	static const struct { const char *word; char op; int operands; bool sat; } list[] = {
		{ "add", '+', 2, true }, { "sub", '-', 2, true }, { "mul", '*', 2, true }, { "div", '/', 2, false }, { "fma", 'f', 3, true },
		{ "mad", 'f', 3, true }, { "rcp", 'r', 1, false }, { "sqrt", 's', 1, false },
	};
	static const char *const property[] = { "finite", "infinite", "number", "notanumber", "normal", "subnormal" };
	static const char *const operand_f[] = { "", "%f4, %f1", "%f4, %f1, %f2", "%f4, %f1, %f2, %f3" };
	static const char *const operand_d[] = { "", "%fd4, %fd1", "%fd4, %fd1, %fd2", "%fd4, %fd1, %fd2, %fd3" };
	static const char *const operand_x[] = { "", "%rd4, %rd1", "%rd4, %rd1, %rd2", "%rd4, %rd1, %rd2, %rd3" };
	static const char *const kinds_f[] = { "", "f", "ff", "fff" }, *const kinds_d[] = { "", "g", "gg", "ggg" };
	static const char *const kinds_x[] = { "", "d", "dd", "ddd" };
	struct scalar_row *r;

	for (size_t i = 0; i < CF_NR(list); i++)
		for (int m = -1; m < 4; m++) {
			int n = list[i].operands, mode = m < 0 ? 0 : m;
			bool plain = m < 0;

			/* no mode is nearest, where there may be none */
			if (plain && list[i].op != '+' && list[i].op != '-' && list[i].op != '*' && strcmp(list[i].word, "mad"))
				continue;
			for (int z = 0; z < (list[i].sat ? 4 : 2); z++) {
				r = row(kinds_f[n], 'f', arith_f, "%s%s%s%s.f32 %s;", list[i].word, plain ? "" : ".", plain ? "" : mode_word[mode],
					modifiers(z), operand_f[n]);
				r->x = list[i].op;
				r->y = mode;
				r->z = z;
			}
			r = row(kinds_d[n], 'g', arith_d, "%s%s%s.f64 %s;", list[i].word, plain ? "" : ".", plain ? "" : mode_word[mode], operand_d[n]);
			r->x = list[i].op;
			r->y = mode;
			if (strchr("+-*f", list[i].op) && strcmp(list[i].word, "mad"))
				for (int z = 0; z < 2; z++) {
					r = row(kinds_x[n], 'd', pair_f, "%s%s%s%s.f32x2 %s;", list[i].word, plain ? "" : ".",
						plain ? "" : mode_word[mode], modifiers(z), operand_x[n]);
					r->x = list[i].op;
					r->y = mode;
					r->z = z;
				}
		}
	for (int k = 0; k < 2; k++) {
		const char *word = k ? "abs" : "neg";

		for (int z = 0; z < 2; z++) {
			r = row("f", 'f', arith_f, "%s%s.f32 %%f4, %%f1;", word, modifiers(z));
			r->x = *word;
			r->z = z;
		}
		row("g", 'g', arith_d, "%s.f64 %%fd4, %%fd1;", word)->x = *word;
		for (int z = 0; z < 32; z++) {
			if (z & SAT || (z & ABS && z & XORSIGN))
				continue;
			if (!(z & ABS)) {
				r = row("ff", 'f', minmax_f, "%s%s.f32 %%f4, %%f1, %%f2;", k ? "max" : "min", modifiers(z));
				r->x = k ? '>' : '<';
				r->z = z;
			}
			if (!(z & XORSIGN)) {
				r = row("fff", 'f', minmax_f, "%s%s.f32 %%f4, %%f1, %%f2, %%f3;", k ? "max" : "min", modifiers(z));
				r->x = k ? '>' : '<';
				r->z = z;
				r->w = 1;
			}
		}
		row("gg", 'g', minmax_d, "%s.f64 %%fd4, %%fd1, %%fd2;", k ? "max" : "min")->x = k ? '>' : '<';
		row("g", 'g', gross, "%s.approx.ftz.f64 %%fd4, %%fd1;", k ? "rsqrt" : "rcp")->x = k;
	}
	row("ff", 'f', copysign_f, "copysign.f32 %%f4, %%f1, %%f2;")->x = 32;
	row("gg", 'g', copysign_f, "copysign.f64 %%fd4, %%fd1, %%fd2;")->x = 64;
	for (int i = 0; i < 6; i++) {
		r = row("f", 'r', testp_, "+testp.%s.f32 %%p1, %%f1; selp.u32 %%r4, 1, 0, %%p1;", property[i]);
		r->x = 32;
		r->y = i;
		r = row("g", 'r', testp_, "+testp.%s.f64 %%p1, %%fd1; selp.u32 %%r4, 1, 0, %%p1;", property[i]);
		r->x = 64;
		r->y = i;
	}
}

/* ---- 16 bits ---- */

static const struct scalar_format *const half_format[] = { &scalar_f16, &scalar_bf16 };
static const char *const half_word[] = { "f16", "bf16" }, *const pair_word[] = { "f16x2", "bf16x2" };

static uint64_t flush_half(const struct scalar_format *f, uint64_t h)
{
	return !(h & f->inf) ? h & 0x8000 : h;
}

/* r->p: the format */
static uint64_t half_op(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	const struct scalar_format *f = r->p;
	__float128 x, y, w, p, s, t, err = 0;
	uint64_t v;

	a &= 0xffff;
	b &= 0xffff;
	c &= 0xffff;
	if (r->z & FTZ) {
		a = flush_half(f, a);
		b = flush_half(f, b);
		c = flush_half(f, c);
	}
	x = scalar_value(f, (uint32_t)a);
	y = scalar_value(f, (uint32_t)b);
	w = scalar_value(f, (uint32_t)c);
	switch (r->x) {
	case 'n': v = a ^ 0x8000; return r->z & FTZ ? flush_half(f, v) : v;
	case 'a': v = a & 0x7fff; return r->z & FTZ ? flush_half(f, v) : v;
	case '<': case '>':
		if (r->z & XORSIGN) {
			double m = pick_d(r, fabs((double)x), fabs((double)y));

			return m != m ? f->nan : scalar_round(f, 'n', m, 0, 0) | ((a ^ b) & 0x8000);
		}
		return scalar_round(f, 'n', pick_d(r, (double)x, (double)y), 0, 0);
	case '+': p = x; w = y; break;
	case '-': p = x; w = -y; break;
	case '*': p = x * y; w = 0; break;
	default: p = x * y; break;
	}
	s = r->x == '*' ? p : p + w;
	if (s - s == 0 && r->x != '*') {
		t = s - p;
		err = (p - (s - t)) + (w - t);
	}
	v = scalar_round(f, 'n', s, err > 0 ? 1 : err < 0 ? -1 : 0, 0);
	if (r->z & RELU && scalar_value(f, (uint32_t)v) < 0)
		v = 0;
	if (r->z & FTZ)
		v = flush_half(f, v);
	if (r->z & SAT) {
		double d = scalar_value(f, (uint32_t)v);

		v = !(d > 0) ? 0 : d < 1 ? v : scalar_round(f, 'n', 1, 0, 0);
	}
	return v;
}

static uint64_t pair_op(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	return half_op(r, a, b, c) | half_op(r, a >> 16, b >> 16, c >> 16) << 16;
}

/* r->w: bf16 */
static uint64_t mixed_f(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	const struct scalar_format *f = half_format[r->w];
	double x = scalar_value(f, (uint32_t)a), y = scalar_value(f, (uint32_t)b);

	if (r->x != 'f')
		return arith_f(r, f_bits((float)x), b, 0);
	return arith_f(r, f_bits((float)x), f_bits((float)y), c);
}

/* Within the bounds of the manual: ex2 2^-9.9 and 2^-7 relative, tanh 2^-10.987 and 2^-8 absolute; r->x: tanh, r->y: a pair. */
static bool near_half(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t got)
{
	const struct scalar_format *f = half_format[r->w];

	(void)b;
	for (int i = 0; i <= r->y; i++, a >>= 16, got >>= 16) {
		uint32_t h = (uint32_t)(r->w && !r->x ? flush_half(f, a & 0xffff) : a & 0xffff);
		double x = scalar_value(f, h), y = scalar_value(f, (uint32_t)got & 0xffff), want = r->x ? tanh(x) : exp2(x), bound;

		if (x != x) {
			if ((got & 0xffff) != f->nan)
				return false;
			continue;
		}
		bound = r->x ? (r->w ? 0x1p-8 : exp2(-10.987)) : want * (r->w ? 0x1p-7 : exp2(-9.9));
		/* among the subnormal numbers, and at the end of the range, no better than the format itself */
		if (!r->x && bound < scalar_value(f, 1))
			bound = r->w ? scalar_value(f, 0x80) : scalar_value(f, 1);
		if (scalar_round(f, 'n', want, 0, 0) == f->inf ? y != INFINITY : !(fabs(y - want) <= bound))
			return false;
		if (r->x && x == 0 && (got & 0xffff) != h)
			return false;
	}
	return true;
}

static void floats_of_16_bits(void)
{
	static const struct { const char *word; char op; int operands; } list[] = {
		{ "add", '+', 2 }, { "sub", '-', 2 }, { "mul", '*', 2 }, { "fma.rn", 'f', 3 }, { "neg", 'n', 1 }, { "abs", 'a', 1 },
		{ "min", '<', 2 }, { "max", '>', 2 }, { "add.rn", '+', 2 }, { "sub.rn", '-', 2 }, { "mul.rn", '*', 2 },
	};
	static const char *const operand_h[] = { "", "%h4, %h1", "%h4, %h1, %h2", "%h4, %h1, %h2, %h3" }, *const kinds_h[] = { "", "h", "hh", "hhh" };
	static const char *const operand_r[] = { "", "%r4, %r1", "%r4, %r1, %r2", "%r4, %r1, %r2, %r3" }, *const kinds_r[] = { "", "r", "rr", "rrr" };
	struct scalar_row *r;

	for (int bf = 0; bf < 2; bf++) {
		for (size_t i = 0; i < CF_NR(list); i++)
			for (int z = 0; z < 64; z++) {
				bool minmax = list[i].op == '<' || list[i].op == '>', sign = list[i].op == 'n' || list[i].op == 'a';
				int n = list[i].operands;

				if (z & ABS || (z & (NAN_ | XORSIGN) && !minmax) || (z & SAT && (minmax || sign || bf)) ||
				    (z & RELU && (list[i].op != 'f' || z & SAT)) || (z & FTZ && bf))
					continue;
				for (int pair = 0; pair < 2; pair++) {
					r = row(pair ? kinds_r[n] : kinds_h[n], pair ? 'r' : 'h', pair ? pair_op : half_op, "%s%s.%s %s;",
						list[i].word, modifiers(z), pair ? pair_word[bf] : half_word[bf], pair ? operand_r[n] : operand_h[n]);
					r->x = list[i].op;
					r->z = z;
					r->p = half_format[bf];
				}
			}
		for (int m = -1; m < 4; m++)
			for (int z = 0; z < 4; z += 2) {
				const char *dot = m < 0 ? "" : ".", *word = m < 0 ? "" : mode_word[m];

				for (int sub = 0; sub < 2; sub++) {
					r = row("hf", 'f', mixed_f, "%s%s%s%s.f32.%s %%f4, %%h1, %%f2;", sub ? "sub" : "add", dot, word, modifiers(z),
						half_word[bf]);
					r->x = sub ? '-' : '+';
					r->y = m < 0 ? 0 : m;
					r->z = z;
					r->w = bf;
				}
				if (m < 0)
					continue;
				r = row("hhf", 'f', mixed_f, "fma.%s%s.f32.%s %%f4, %%h1, %%h2, %%f3;", word, modifiers(z), half_word[bf]);
				r->x = 'f';
				r->y = m;
				r->z = z;
				r->w = bf;
			}
		for (int k = 0; k < 2; k++)
			for (int pair = 0; pair < 2; pair++) {
				const char *word = k ? "tanh.approx" : bf ? "ex2.approx.ftz" : "ex2.approx";

				r = row(pair ? "r" : "h", pair ? 'r' : 'h', NULL, "%s.%s %s;", word, pair ? pair_word[bf] : half_word[bf],
					pair ? "%r4, %r1" : "%h4, %h1");
				r->near = near_half;
				r->x = k;
				r->y = pair;
				r->w = bf;
			}
		for (int pair = 0; pair < 2; pair++)
			for (int relu = 0; relu < 2; relu++)
				row("hhh", 'h', NULL, "fma.rn.oob%s.%s %%%s4, %%%s1, %%%s2, %%%s3;", relu ? ".relu" : "", pair ? pair_word[bf] : half_word[bf],
				    pair ? "r" : "h", pair ? "r" : "h", pair ? "r" : "h", pair ? "r" : "h");
	}
}

void cf_scalar_float(void)
{
	floats();
	floats_of_16_bits();
	scalar_add(rows, nr_rows);
}
