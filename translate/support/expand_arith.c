/* expand_arith.c - arithmetic rounded toward zero, down or up, where hardware rounds to nearest alone. */
#include "translate/support/f64.h"

static inline double number(u64 bits)
{
	double d;

	__builtin_memcpy(&d, &bits, sizeof(d));
	return d;
}

static inline u64 bits_of(double d)
{
	u64 bits;

	__builtin_memcpy(&bits, &d, sizeof(bits));
	return bits;
}

struct u128 { u64 lo, hi; };

/* What falls off is left as a one in the last bit. */
static inline struct u128 shift_right(struct u128 v, int n)
{
	struct u128 r = v;

	if (n >= 128) {
		r.lo = (v.lo | v.hi) != 0;
		r.hi = 0;
		return r;
	}
	if (n >= 64) {
		r.lo = v.hi | (v.lo != 0);
		r.hi = 0;
		v = r;
		n -= 64;
	}
	if (n) {
		r.lo = v.lo >> n | v.hi << (64 - n) | ((v.lo << (64 - n)) != 0);
		r.hi = v.hi >> n;
	}
	return r;
}

/* a * b + c, all finite. An addition is a * 1 + c, a product a * b + 0 with the zero's sign that of the product. */
static inline u64 fma_finite(u64 a, u64 b, u64 c, u32 rnd)
{
	u64 psign = (a ^ b) & SIGN, csign = c & SIGN, sign, sig, borrow;
	int pe, ce, e, n;
	struct u128 p, q;

	if (!(a << 1) || !(b << 1))
		return c << 1 ? c : psign == csign ? csign : rnd == RM ? SIGN : 0;
	a = significand(a, &pe);
	b = significand(b, &e);
	pe += e;
	p.lo = a * b;
	p.hi = __nvvm_mulhi_ull(a, b);
	/* the product's highest bit is 104 or 105; now 125 */
	n = 20 + !(p.hi >> 41);
	p.hi = p.hi << n | p.lo >> (64 - n);
	p.lo <<= n;
	pe -= n;
	if (!(c << 1)) {
		sign = psign;
		e = pe;
	} else {
		q.hi = significand(c, &ce) << 9;	/* bit 125 likewise */
		q.lo = 0;
		ce -= 73;
		sign = psign;
		e = pe;
		if (ce > pe || (ce == pe && q.hi > p.hi)) {
			struct u128 t = p;

			p = q;
			q = t;
			sign = csign;
			e = ce;
			q = shift_right(q, ce - pe);
		} else {
			q = shift_right(q, pe - ce);
		}
		if (psign == csign) {
			p.lo += q.lo;
			p.hi += q.hi + (p.lo < q.lo);
		} else {
			borrow = p.lo < q.lo;
			p.lo -= q.lo;
			p.hi -= q.hi + borrow;
			if (!(p.lo | p.hi))
				return rnd == RM ? SIGN : 0;
		}
	}
	/* the highest bit to 127 */
	if (!p.hi) {
		p.hi = p.lo;
		p.lo = 0;
		e -= 64;
	}
	n = clz64(p.hi);
	sig = n ? p.hi << n | p.lo >> (64 - n) : p.hi;
	return rounded(sign, e - n + 64, sig, (p.lo << n) != 0, rnd);
}

EXPANSION hg_fma_f64(u64 a, u64 b, u64 c, u32 rnd, struct f64 *restrict out)
{
	/* NaN and infinities are no matter of rounding */
	if (is_finite(a) && is_finite(b) && is_finite(c))
		out->bits = fma_finite(a, b, c, rnd);
	else
		out->bits = bits_of(__nvvm_fma_rn_d(number(a), number(b), number(c)));
}

/* The same where there is no f64 at all. */
EXPANSION hg_soft_fma_f64(u64 a, u64 b, u64 c, u32 rnd, struct f64 *restrict out)
{
	u64 product = ((a ^ b) & SIGN) | INFINITE, r;

	if (is_finite(a) && is_finite(b) && is_finite(c)) {
		out->bits = fma_finite(a, b, c, rnd);
		return;
	}
	if (is_finite(a) && is_finite(b))
		r = c;
	else
		r = !(a << 1) || !(b << 1) || (!is_finite(c) && c != product) ? NO_NUMBER : product;
	if (a << 1 > INFINITE << 1 || b << 1 > INFINITE << 1 || c << 1 > INFINITE << 1)
		r = NO_NUMBER;
	out->bits = r;
}

/*
 * Quotient and root of the significands alone are far from the ends of the range: the nearest one is right, and the remainder, which is exact
 * there, says on which side of it the result is. (No quotient or root of 53 bits comes so near to a power of two that it is rounded up to that: sig
 * has its highest bit.)
 */
static inline u64 beside(double nearest, double remainder, u64 *rest)
{
	u64 sig = (bits_of(nearest) << 11) | SIGN;

	*rest = remainder != 0;
	return remainder < 0 ? sig - 1 : sig;
}

EXPANSION hg_div_f64(u64 a, u64 b, u32 rnd, struct f64 *restrict out)
{
	u64 sign = (a ^ b) & SIGN, sig, rest;
	int ea, eb, e;
	double x, y, q;

	if ((a & INFINITE) == INFINITE || (b & INFINITE) == INFINITE || !(a << 1) || !(b << 1)) {
		out->bits = bits_of(__nvvm_div_rn_d(number(a), number(b)));
		return;
	}
	x = (double)(long long)significand(a, &ea);
	y = (double)(long long)significand(b, &eb);
	q = __nvvm_div_rn_d(x, y);
	sig = beside(q, __nvvm_fma_rn_d(-q, y, x), &rest);
	e = ea - eb + (int)(bits_of(q) >> 52) - 1086;
	out->bits = rounded(sign, e, sig, rest, rnd);
}

EXPANSION hg_sqrt_f64(u64 a, u32 rnd, struct f64 *restrict out)
{
	u64 m, sig, rest;
	double x, s;
	int e;

	if (a >> 63 || (a & INFINITE) == INFINITE || !(a << 1)) {
		out->bits = bits_of(__nvvm_sqrt_rn_d(number(a)));
		return;
	}
	m = significand(a, &e);
	x = (double)(long long)(m << (e & 1));	/* 53 bits that count: exact */
	e -= e & 1;
	s = __nvvm_sqrt_rn_d(x);
	sig = beside(s, __nvvm_fma_rn_d(-s, s, x), &rest);
	e = e / 2 + (int)(bits_of(s) >> 52) - 1086;
	out->bits = rounded(0, e, sig, rest, rnd);
}

/* A magnitude of 64 bits, with a sign. */
EXPANSION hg_int_f64(u64 v, u32 negative, u32 rnd, struct f64 *restrict out)
{
	u64 sign = negative ? SIGN : 0;
	int n;

	if (!v) {
		out->bits = 0;
		return;
	}
	n = clz64(v);
	out->bits = rounded(sign, -n, v << n, 0, rnd);
}

/* The same as an f64 whose last bit is odd where something was lost. */
EXPANSION hg_int_odd(u64 v, u32 negative, struct f64 *restrict out)
{
	u64 bits = v >> 53 ? (v >> 11 | ((v & 0x7ff) != 0)) : v;
	double d = (double)(long long)bits;

	if (v >> 53)
		d *= 2048;
	out->bits = bits_of(d) | (negative ? SIGN : 0);
}
