/* f64.h - an f64 taken apart and put together again, rounded in any direction, in integers. */
#ifndef HG_SUPPORT_F64_H
#define HG_SUPPORT_F64_H

#include "translate/support/support.h"

/* Directions, as enum ir_rnd counts them. */
enum { RN = 1, RZ, RM, RP };

#define SIGN (1ULL << 63)
#define INFINITE (0x7ffULL << 52)
#define FRACTION ((1ULL << 52) - 1)
#define NO_NUMBER (0xfff8ULL << 48)

struct f64 { u64 bits; };

static inline int clz64(u64 v)
{
	return __builtin_clzll(v);
}

/* 53 bits, the highest is set; the number is that * 2^exp. Not zero, finite. */
static inline u64 significand(u64 bits, int *exp)
{
	int e = (int)(bits >> 52 & 0x7ff), n;
	u64 m = bits & FRACTION;

	if (e) {
		*exp = e - 1075;
		return m | 1ULL << 52;
	}
	n = clz64(m) - 11;
	*exp = -1074 - n;
	return m << n;
}

/* Whether a magnitude in between is rounded away from zero, where that does not depend on how far it is. */
static inline u64 is_away(u64 sign, u32 rnd)
{
	return rnd == RM ? sign != 0 : rnd == RP && !sign;
}

/* sig * 2^exp, the highest bit of sig set, and a little more if `rest`; sig has 64 bits. */
static inline u64 rounded(u64 sign, int exp, u64 sig, u64 rest, u32 rnd)
{
	int e = exp + 1086;	/* the exponent's field, as a normal number has it */
	u64 lost, r;

	if (e > 2046)
		return sign | (INFINITE - (rnd != RN && !is_away(sign, rnd)));
	if (e < 1) {
		int n = 1 - e;

		if (n > 63) {
			rest = 1;
			sig = 0;
		} else {
			rest |= (sig << (64 - n)) != 0;
			sig >>= n;
		}
		e = 0;
	} else {
		e--;		/* the highest bit adds one */
	}
	lost = sig << 53 | rest;
	r = ((u64)e << 52) + (sig >> 11);
	return sign | (r + (rnd == RN ? lost > SIGN || (lost == SIGN && (r & 1)) : lost && is_away(sign, rnd)));
}

static inline u64 is_finite(u64 bits)
{
	return (bits & INFINITE) != INFINITE;
}

#endif
