/* expand_f64.c - f64 where there is none: what hg_soft_fma_f64 is for sums and products, for all else. An f64 is its bits; a NaN that comes out is NO_NUMBER. */
#include "translate/support/f64.h"

#define ONE (0x3ffULL << 52)
#define UPPER (0xffffffffULL << 32)

static inline u64 magnitude(u64 bits)
{
	return bits & ~SIGN;
}

static inline int is_nan(u64 bits)
{
	return magnitude(bits) > INFINITE;
}

static inline u64 divided(u64 a, u64 b, u32 rnd)
{
	u64 sign = (a ^ b) & SIGN, rest, q = 1;
	int ea, eb;

	a = magnitude(a);
	b = magnitude(b);
	if (a > INFINITE || b > INFINITE || (a == b && (!a || a == INFINITE)))
		return NO_NUMBER;
	if (a == INFINITE || !b)
		return sign | INFINITE;
	if (!a || b == INFINITE)
		return sign;
	a = significand(a, &ea);
	b = significand(b, &eb);
	if (a < b) {
		a <<= 1;
		ea--;
	}
	/* the quotient is at least 1 and less than 2: its first bit, and five times 11 more */
	rest = a - b;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 5; i++) {
		u64 digit;

		rest <<= 11;
		digit = rest / b;
		rest -= digit * b;
		q = q << 11 | digit;
	}
	return rounded(sign, ea - eb - 63, q << 8, rest != 0, rnd);
}

static inline u64 root_of(u64 a, u32 rnd)
{
	u64 rest, sum = 0, root = 0;
	int e, odd;

	if (!magnitude(a) || a == INFINITE)
		return a;
	if (a >> 63 || is_nan(a))
		return NO_NUMBER;
	rest = significand(a, &e);
	odd = e & 1;
	/* an even exponent, and 55 bits of the root, each of which is there if its square still fits */
	rest <<= odd + 2;
#pragma clang loop unroll(disable)
	for (u64 bit = 1ULL << 54; bit; bit >>= 1) {
		u64 t = sum + bit;

		if (t <= rest) {
			sum = t + bit;
			rest -= t;
			root |= bit;
		}
		rest <<= 1;
	}
	return rounded(0, (e - odd) / 2 + 26 - 63, root << 9, rest != 0, rnd);
}

EXPANSION hg_soft_div_f64(u64 a, u64 b, u32 rnd, struct f64 *restrict out)
{
	out->bits = divided(a, b, rnd);
}

EXPANSION hg_soft_sqrt_f64(u64 a, u32 rnd, struct f64 *restrict out)
{
	out->bits = root_of(a, rnd);
}

static inline u64 without_lower(u64 bits)
{
	bits &= UPPER;
	return bits & INFINITE ? bits : bits & SIGN;
}

/* rcp and rsqrt.approx.ftz.f64: as gross_f64 of emit_arith.c. `of_root`: 1 / sqrt(a). */
EXPANSION hg_soft_gross_f64(u64 a, u32 of_root, struct f64 *restrict out)
{
	a = without_lower(a);
	a = divided(ONE, of_root ? root_of(a, RN) : a, RN);
	out->bits = is_nan(a) ? 0x7fffffffULL << 32 : without_lower(a);
}

/* Numbers in their order; both zeros are 0. */
static inline long long in_order(u64 bits)
{
	return bits >> 63 ? -(long long)magnitude(bits) : (long long)bits;
}

struct u32_out { u32 v; };

/* which: 1 less, 2 equal, 4 greater, 8 not ordered, or several. */
EXPANSION hg_soft_compare_f64(u64 a, u64 b, u32 which, struct u32_out *restrict out)
{
	u32 is = 8;

	if (!is_nan(a) && !is_nan(b))
		is = in_order(a) < in_order(b) ? 1 : in_order(a) > in_order(b) ? 4 : 2;
	out->v = (which & is) != 0;
}

/* nan: one operand that is a NaN is enough for the result to be one. */
EXPANSION hg_soft_min_max_f64(u64 a, u64 b, u32 max, u32 nan, struct f64 *restrict out)
{
	u64 r;

	if (is_nan(a))
		r = nan ? a : b;
	else if (is_nan(b))
		r = nan ? b : a;
	else	/* zeros differ by their sign alone, so the bits decide among them */
		r = (long long)(a ^ (a >> 63 ? ~SIGN : 0)) < (long long)(b ^ (b >> 63 ? ~SIGN : 0)) ? (max ? b : a) : (max ? a : b);
	out->bits = is_nan(r) ? NO_NUMBER : r;
}

/* The integer that a finite magnitude below 2^64 is rounded to. */
static inline u64 to_integral(u64 mag, u64 sign, u32 rnd)
{
	int e = (int)(mag >> 52), n;
	u64 m = (mag & FRACTION) | (e ? 1ULL << 52 : 0), lost, kept;

	n = 1075 - (e ? e : 1);
	if (n <= 0)
		return m << -n;
	lost = n > 63 ? m != 0 : m << (64 - n);
	kept = n > 63 ? 0 : m >> n;
	return kept + (rnd == RN ? lost > SIGN || (lost == SIGN && (kept & 1)) : lost && is_away(sign, rnd));
}

/* To the range of integers of `width` bits; of a NaN the highest bit is set alone. */
EXPANSION hg_soft_int_of_f64(u64 a, u32 rnd, u32 width, u32 is_signed, struct f64 *restrict out)
{
	u64 sign = a & SIGN, mag = magnitude(a), top = 1ULL << (width - 1), most, v;

	if (mag > INFINITE) {
		out->bits = top;
		return;
	}
	most = is_signed ? top - !sign : sign ? 0 : top | (top - 1);
	v = mag >> 52 >= 1023 + 64 ? ~0ULL : to_integral(mag, sign, rnd);
	if (v > most)
		v = most;
	out->bits = sign ? -v : v;
}

/* To a whole number in a direction, 0 for none; then to 0…1 if `sat`. */
EXPANSION hg_soft_whole_f64(u64 a, u32 rnd, u32 sat, struct f64 *restrict out)
{
	u64 sign = a & SIGN, mag = magnitude(a);

	if (mag > INFINITE) {
		a = NO_NUMBER;
	} else if (rnd && mag >> 52 < 1075) {
		u64 v = to_integral(mag, sign, rnd);
		int n = v ? clz64(v) : 0;

		a = sign;
		if (v)
			a = rounded(sign, -n, v << n, 0, RZ);
	}
	if (sat)
		a = (long long)a <= 0 ? 0 : a > ONE ? ONE : a;
	out->bits = a;
}
