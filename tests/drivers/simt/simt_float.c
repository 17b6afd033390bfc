/* simt_float.c - floating point by integers, in every rounding mode, and PTX's approximations. */
#define _GNU_SOURCE
#include "tests/drivers/simt/simt_float.h"

#include <math.h>
#include <string.h>

typedef unsigned __int128 u128;

struct format {
	unsigned int bits, fraction;
	int bias;
	uint64_t nan;
};

static const struct format *format_of(enum ir_type t)
{
	static const struct format f16 = { 16, 10, 15, 0x7fff }, bf16 = { 16, 7, 127, 0x7fff },
		f32 = { 32, 23, 127, 0x7fffffff }, f64 = { 64, 52, 1023, UINT64_C(0xfff8000000000000) };

	switch (t) {
	case IR_F16: return &f16;
	case IR_BF16: return &bf16;
	case IR_F32: return &f32;
	default: return &f64;
	}
}

/* (-1)^negative mant 2^exp; mant has its highest bit at TOP, or is 0. */
#define TOP 61
struct number {
	enum { FINITE, INFINITE, NOT_A_NUMBER } kind;
	bool negative;
	int exp;
	uint64_t mant;
};

static struct number normal(bool negative, int exp, uint64_t mant)
{
	struct number n = { FINITE, negative, 0, 0 };
	int up;

	if (!mant)
		return n;
	up = __builtin_clzll(mant) - (63 - TOP);
	n.mant = up >= 0 ? mant << up : mant >> -up;	/* callers have no bits to lose */
	n.exp = exp - up;
	return n;
}

static struct number unpack(const struct format *f, uint64_t v)
{
	uint64_t fraction = v & ((UINT64_C(1) << f->fraction) - 1);
	int biased = (int)(v >> f->fraction & ((UINT64_C(1) << (f->bits - 1 - f->fraction)) - 1));
	bool negative = v >> (f->bits - 1) & 1;

	if (biased == 2 * f->bias + 1)
		return (struct number){ fraction ? NOT_A_NUMBER : INFINITE, negative, 0, 0 };
	if (biased)
		fraction |= UINT64_C(1) << f->fraction;
	else
		biased = 1;
	return normal(negative, biased - f->bias - (int)f->fraction, fraction);
}

static uint64_t signed_bits(const struct format *f, bool negative, uint64_t magnitude)
{
	return magnitude | (uint64_t)negative << (f->bits - 1);
}

static uint64_t infinity(const struct format *f, bool negative)
{
	return signed_bits(f, negative, (2 * (uint64_t)f->bias + 1) << f->fraction);
}

/* mant 2^exp, and a little more if `more`, rounded; mant is not 0 and has bits to spare where there is more. */
static uint64_t pack(const struct format *f, enum ir_rnd rnd, bool negative, int exp, u128 mant, bool more)
{
	int top = (uint64_t)(mant >> 64) ? 127 - __builtin_clzll((uint64_t)(mant >> 64)) : 63 - __builtin_clzll((uint64_t)mant);
	int lowest = 1 - f->bias - (int)f->fraction, quantum = exp + top - (int)f->fraction, drop;
	uint64_t kept;
	bool inexact, up;

	if (quantum < lowest)
		quantum = lowest;
	drop = quantum - exp;
	if (drop <= 0) {
		kept = (uint64_t)(mant << -drop);
		inexact = more;
		up = false;	/* nearest: what is more is less than a half */
	} else if (drop > 127) {
		kept = 0;
		inexact = true;
		up = false;
	} else {
		u128 rest = mant & (((u128)1 << drop) - 1), half = (u128)1 << (drop - 1);

		kept = (uint64_t)(mant >> drop);
		inexact = rest || more;
		up = rest > half || (rest == half && (more || kept & 1));
	}
	switch (rnd) {
	case IR_RZ: up = false; break;
	case IR_RM: up = inexact && negative; break;
	case IR_RP: up = inexact && !negative; break;
	default: break;
	}
	kept += up;
	if (kept >> (f->fraction + 1)) {
		kept >>= 1;
		quantum++;
	}
	if (!(kept >> f->fraction))
		return signed_bits(f, negative, kept);	/* subnormal, or 0 */
	quantum += f->bias + (int)f->fraction;		/* now the biased exponent */
	if (quantum > 2 * f->bias) {
		if (rnd == IR_RZ || rnd == (negative ? IR_RP : IR_RM))
			return infinity(f, negative) - 1;	/* the largest number */
		return infinity(f, negative);
	}
	return signed_bits(f, negative, (uint64_t)quantum << f->fraction | (kept & ((UINT64_C(1) << f->fraction) - 1)));
}

static u128 shift_right(u128 v, int by, bool *lost)
{
	u128 r = by > 127 ? 0 : v >> by;

	*lost = by > 127 ? v != 0 : (r << by) != v;
	return r;
}

/* a b + c */
static uint64_t fused(const struct format *f, enum ir_rnd rnd, struct number a, struct number b, struct number c)
{
	bool negative = a.negative ^ b.negative, lost = false, result;
	u128 p, q;
	int exp;

	if (a.kind == NOT_A_NUMBER || b.kind == NOT_A_NUMBER || c.kind == NOT_A_NUMBER)
		return f->nan;
	if (a.kind == INFINITE || b.kind == INFINITE) {
		if ((a.kind == FINITE && !a.mant) || (b.kind == FINITE && !b.mant) ||
		    (c.kind == INFINITE && c.negative != negative))
			return f->nan;
		return infinity(f, negative);
	}
	if (c.kind == INFINITE)
		return infinity(f, c.negative);
	p = (u128)a.mant * b.mant;
	if (!p && !c.mant) {
		if (negative == c.negative)
			return signed_bits(f, negative, 0);
		return signed_bits(f, rnd == IR_RM, 0);
	}
	if (!c.mant)
		return pack(f, rnd, negative, a.exp + b.exp, p, false);
	if (!p)
		return pack(f, rnd, c.negative, c.exp, c.mant, false);
	/*
	 * Both with their highest bit near 2 TOP, so that the one with the smaller exponent can lose bits only
	 * where the sum keeps nearly all of its own.
	 */
	q = (u128)c.mant << TOP;
	exp = a.exp + b.exp;
	if (exp >= c.exp - TOP) {
		q = shift_right(q, exp - (c.exp - TOP), &lost);
		if (lost && negative != c.negative)
			q++;	/* the difference is a little more than without it */
	} else {
		p = shift_right(p, c.exp - TOP - exp, &lost);
		exp = c.exp - TOP;
		if (lost && negative != c.negative)
			p++;
	}
	if (negative == c.negative) {
		p += q;
		result = negative;
	} else if (p >= q) {
		p -= q;
		result = negative;
	} else {
		p = q - p;
		result = c.negative;
	}
	if (!p && !lost)
		return signed_bits(f, rnd == IR_RM, 0);
	return pack(f, rnd, result, exp, p, lost);
}

static uint64_t divide(const struct format *f, enum ir_rnd rnd, struct number a, struct number b)
{
	bool negative = a.negative ^ b.negative;
	u128 n;

	if (a.kind == NOT_A_NUMBER || b.kind == NOT_A_NUMBER || (a.kind == INFINITE && b.kind == INFINITE))
		return f->nan;
	if (a.kind == INFINITE)
		return infinity(f, negative);
	if (b.kind == INFINITE)
		return signed_bits(f, negative, 0);
	if (!b.mant)
		return a.mant ? infinity(f, negative) : f->nan;
	if (!a.mant)
		return signed_bits(f, negative, 0);
	n = (u128)a.mant << 64;
	return pack(f, rnd, negative, a.exp - 64 - b.exp, n / b.mant, n % b.mant != 0);
}

static uint64_t root(const struct format *f, enum ir_rnd rnd, struct number a)
{
	u128 left, r = 0;

	if (a.kind == NOT_A_NUMBER || (a.negative && (a.kind == INFINITE || a.mant)))
		return f->nan;
	if (a.kind == INFINITE)
		return infinity(f, false);
	if (!a.mant)
		return signed_bits(f, a.negative, 0);
	left = (u128)a.mant << 64;
	a.exp -= 64;
	if (a.exp & 1) {
		left <<= 1;
		a.exp--;
	}
	/* digit by digit, as on paper */
	for (u128 bit = (u128)1 << 126; bit; bit >>= 2) {
		if (left >= r + bit) {
			left -= r + bit;
			r = (r >> 1) + bit;
		} else {
			r >>= 1;
		}
	}
	return pack(f, rnd, false, a.exp / 2, r, left != 0);
}

uint64_t simt_float_op(uint32_t code, uint64_t a, uint64_t b, uint64_t c)
{
	const struct format *f = format_of(code >> 8 & 0xff);
	enum ir_rnd rnd = code >> 16;
	struct number x = unpack(f, a), y = unpack(f, b), zero = { FINITE, false, 0, 0 }, one = normal(false, 0, 1);

	switch (code & 0xff) {
	case SIMT_FMA:
		return fused(f, rnd, x, y, unpack(f, c));
	case SIMT_SUB:
		y.negative = !y.negative;
		return fused(f, rnd, x, one, y);
	case SIMT_ADD:
		return fused(f, rnd, x, one, y);
	case SIMT_MUL:
		/* a zero of the product's own sign adds nothing */
		zero.negative = x.negative ^ y.negative;
		return fused(f, rnd, x, y, zero);
	case SIMT_DIV:
		return divide(f, rnd, x, y);
	default:
		return root(f, rnd, x);
	}
}

uint64_t simt_float_cvt(uint32_t code, uint64_t v)
{
	const struct format *from = format_of(code & 0xff), *to = format_of(code >> 8 & 0xff);
	struct number n = unpack(from, v);

	if (n.kind == NOT_A_NUMBER)
		return to->nan;
	if (n.kind == INFINITE)
		return infinity(to, n.negative);
	if (!n.mant)
		return signed_bits(to, n.negative, 0);
	return pack(to, code >> 16, n.negative, n.exp, n.mant, false);
}

uint64_t simt_float_from_int(uint32_t code, uint64_t v)
{
	const struct format *to = format_of(code >> 8 & 0xff);
	bool negative = code & 1 && v >> 63;

	if (!v)
		return 0;
	return pack(to, code >> 16, negative, 0, negative ? 0 - v : v, false);
}

uint64_t simt_float_nan(enum ir_type format)
{
	return format_of(format)->nan;
}

bool simt_float_is_nan(enum ir_type format, uint64_t v)
{
	return unpack(format_of(format), v).kind == NOT_A_NUMBER;
}

uint64_t simt_float_min_max(uint32_t format, uint32_t flags, uint64_t a, uint64_t b)
{
	const struct format *f = format_of(format);
	uint64_t sign = UINT64_C(1) << (f->bits - 1), r, product = (a ^ b) & sign;
	bool nan_a = simt_float_is_nan(format, a), nan_b = simt_float_is_nan(format, b);

	if ((nan_a && nan_b) || (flags & 2 && (nan_a || nan_b)))
		return f->nan;
	if (flags & 4) {
		a &= ~sign;
		b &= ~sign;
	}
	if (nan_a || nan_b) {
		r = nan_a ? b : a;
	} else {
		/* the order of the bits, with -0 below +0 */
		uint64_t x = a & sign ? ~a & (sign | (sign - 1)) : a | sign, y = b & sign ? ~b & (sign | (sign - 1)) : b | sign;

		r = (flags & 1) == (x > y) ? a : b;
	}
	return flags & 4 ? (r & ~sign) | product : r;
}

/* ---- narrow formats ---- */

struct small {
	unsigned int exponent, fraction;
	int bias;
	uint32_t most, nan;	/* magnitudes: the largest number; what a NaN becomes */
	bool has_infinity;	/* it is the code above `most` */
};

static const struct small *small_of(uint32_t format)
{
	static const struct small e4m3 = { 4, 3, 7, 0x7e, 0x7f, false }, e5m2 = { 5, 2, 15, 0x7b, 0x7f, true },
		e2m3 = { 2, 3, 1, 31, 31, false }, e3m2 = { 3, 2, 3, 31, 31, false }, e2m1 = { 2, 1, 1, 7, 7, false },
		tf32 = { 8, 10, 127, 0x3fbff, 0x3ffff, true };

	switch (format) {
	case IR_FMT_E4M3: return &e4m3;
	case IR_FMT_E5M2: return &e5m2;
	case IR_FMT_E2M3: return &e2m3;
	case IR_FMT_E3M2: return &e3m2;
	case IR_FMT_E2M1: return &e2m1;
	default: return &tf32;
	}
}

/* A magnitude; past the largest one as if the format went on. */
static double small_value(const struct small *s, uint32_t code)
{
	double m = code & ((1u << s->fraction) - 1);
	int e = (int)(code >> s->fraction);

	return e ? ldexp(m + (1u << s->fraction), e - s->bias - (int)s->fraction) : ldexp(m, 1 - s->bias - (int)s->fraction);
}

static uint32_t to_exponent(double mag, bool up, bool finite)
{
	int c = mag == 0 ? 0 : isinf(mag) ? 255 : ilogb(mag) + 127;

	if (c < 0)
		c = 0;
	if (up && c < 255 && mag > ldexp(1, c - 127))
		c++;
	return finite && c > 254 ? 254 : (uint32_t)c;
}

uint32_t simt_narrow(uint32_t code, uint32_t v)
{
	const struct small *s = small_of(code & 0xff);
	bool finite = code & SIMT_NARROW_FINITE, negative = v >> 31, up;
	enum ir_rnd rnd = code >> 8 & 0xff;
	uint32_t low = 0, high = s->most, r;
	double mag, below, above;
	float f;

	v &= INT32_MAX;
	memcpy(&f, &v, sizeof(f));
	mag = (double)f;
	if ((code & 0xff) == IR_FMT_UE8M0)
		return isnan(f) ? 255 : to_exponent(mag, rnd == IR_RP, finite);
	if (isnan(f))
		return (code & 0xff) == IR_FMT_TF32 ? INT32_MAX : s->nan;
	while (low < high) {
		uint32_t middle = (low + high + 1) / 2;

		if (small_value(s, middle) <= mag)
			low = middle;
		else
			high = middle - 1;
	}
	below = small_value(s, low);
	above = small_value(s, low + 1);
	switch (rnd) {
	case IR_RZ: up = false; break;
	case IR_RM: up = negative && mag > below; break;
	case IR_RP: up = !negative && mag > below; break;
	case IR_RNA: up = mag - below >= above - mag; break;
	default: up = mag - below > above - mag || (mag - below == above - mag && low & 1); break;
	}
	r = low + (up ? 1 : 0);
	if (isinf(f))
		r = s->most + 1;
	if (r > s->most && (finite || !s->has_infinity))
		r = s->most;
	if ((code & 0xff) == IR_FMT_TF32)
		return r << 13 | (uint32_t)negative << 31;
	return r | (uint32_t)negative << (s->exponent + s->fraction);
}

uint32_t simt_widen(uint32_t format, uint32_t v)
{
	const struct small *s = small_of(format);
	uint32_t magnitude = v & ((1u << (s->exponent + s->fraction)) - 1), r;
	bool negative = v >> (s->exponent + s->fraction) & 1;
	float f;

	if (format == IR_FMT_UE8M0) {
		if ((v & 0xff) == 255)
			return INT32_MAX;
		f = (float)ldexp(1, (int)(v & 0xff) - 127);
		negative = false;
	} else if (s->has_infinity && magnitude == s->most + 1) {
		f = INFINITY;
	} else if (magnitude > s->most) {
		return INT32_MAX;
	} else {
		f = (float)small_value(s, magnitude);
	}
	memcpy(&r, &f, sizeof(r));
	return r | (uint32_t)negative << 31;
}

/* ---- approximations ---- */

static float power_of_two(uint32_t n)
{
	uint32_t bits = (n + 127) << 23;
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static float clamp(float x, float low, float high)
{
	x = x < low ? low : x;
	return high < x ? high : x;
}

static int32_t whole(float x)
{
	if (x != x)
		return 0;
	return x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : (int32_t)x;
}

static float series(float x, const double *c, int nr)
{
	float r = (float)c[nr - 1];

	for (int i = nr - 2; i >= 0; i--)
		r = fmaf(r, x, (float)c[i]);
	return r;
}

float simt_ex2(float x)
{
	double c[8] = { 1 };
	float nearest, in = x != x ? 0 : clamp(x, -152, 129), r;
	int32_t n, half;

	for (int k = 1; k < 8; k++)
		c[k] = c[k - 1] * M_LN2 / k;
	nearest = roundevenf(in);
	r = series(in - nearest, c, 8);
	n = whole(nearest);
	half = n >> 1;
	r = r * power_of_two((uint32_t)half) * power_of_two((uint32_t)(n - half));
	return x != x ? x : r;
}

float simt_lg2(float x)
{
	const uint32_t low = 0x3f3504f3;
	bool small = x < 0x1p-126f;
	float in = small ? x * 0x1p23f : x, m, t, e;
	double c[5];
	uint32_t bits;

	if (!(x >= 0))
		return NAN;
	if (x == 0)
		return -INFINITY;
	if (x == INFINITY)
		return x;
	for (int k = 0; k < 5; k++)
		c[k] = 2 / M_LN2 / (2 * k + 1);
	memcpy(&bits, &in, sizeof(bits));
	bits -= low;
	e = (float)((int32_t)bits >> 23) - (small ? 23.0f : 0.0f);
	bits = (bits & 0x7fffff) + low;
	memcpy(&m, &bits, sizeof(m));
	t = (m - 1) / (m + 1);
	return e + t * series(t * t, c, 5);
}

static float sine(float x, bool cosine)
{
	static const double s[] = { 1, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880 };
	static const double c[] = { 1, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320 };
	float q = roundevenf(x * (float)M_2_PI), r, r2;
	uint32_t n = (uint32_t)whole(q) + cosine;

	r = fmaf(-q, 0x1.921fb6p+0f, x);
	r = fmaf(-q, -0x1.777a5cp-25f, r);
	r = fmaf(-q, -0x1.ee59dap-50f, r);
	r2 = r * r;
	r = n & 1 ? series(r2, c, 5) : r * series(r2, s, 5);
	return clamp(n & 2 ? -r : r, -1, 1);
}

float simt_sin(float x)
{
	return x == 0 ? x : sine(x, false);
}

float simt_cos(float x)
{
	return sine(x, true);
}

float simt_tanh(float x)
{
	static const double num[] = { 945, 105, 1 }, den[] = { 945, 420, 15 };
	float in = clamp(x, -10, 10), x2 = in * in;

	if (x != x)
		return x;
	if (x2 < 1)
		return in * (series(x2, num, 3) / series(x2, den, 3));
	return 1 - 2 / (simt_ex2(in * (float)(2 * M_LOG2E)) + 1);
}
