/* scalar_int.c - scalar instructions, form by form: integers, floats of 16 to 64 bits, comparisons. */
#include <fenv.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "tests/ptx/conform/scalar.h"

#define REF(name, expr) \
	static uint64_t name(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c) \
	{ (void)r; (void)a; (void)b; (void)c; return (uint64_t)(expr); }
#define U(x) ((uint32_t)(x))
#define S(x) ((int32_t)(x))
#define L(x) ((int64_t)(x))
#define U128 unsigned __int128
#define S128 __int128

/* ---- integers: row->x bits, row->y signed ---- */

static S128 wide(const struct scalar_row *r, uint64_t v)
{
	v <<= 64 - r->x;
	return r->y ? (S128)(L(v) >> (64 - r->x)) : (S128)(v >> (64 - r->x));
}

static S128 limit(S128 v, int bits, bool is_signed)
{
	S128 high = ((S128)1 << (is_signed ? bits - 1 : bits)) - 1, low = is_signed ? -high - 1 : 0;

	return v > high ? high : v < low ? low : v;
}
#define W(v) wide(r, v)

REF(add, W(a) + W(b)) REF(sub, W(a) - W(b)) REF(add_sat, limit(W(a) + W(b), 32, true)) REF(sub_sat, limit(W(a) - W(b), 32, true))
REF(mul_lo, (U128)W(a) * (U128)W(b)) REF(mul_hi, (S128)((U128)W(a) * (U128)W(b)) >> r->x) REF(mul_wide, W(a) * W(b))
REF(mad_lo, (U128)W(a) * (U128)W(b) + c) REF(mad_hi, (uint64_t)((S128)((U128)W(a) * (U128)W(b)) >> r->x) + c)
REF(mad_hi_sat, limit(((L(S(a)) * S(b)) >> 32) + S(c), 32, true))
REF(div_, !W(b) ? -1 : W(a) / W(b)) REF(rem_, !W(b) ? W(a) : W(a) % W(b))
REF(min_, W(a) < W(b) ? W(a) : W(b)) REF(max_, W(a) > W(b) ? W(a) : W(b))
REF(min_relu, W(a) < 0 || W(b) < 0 ? 0 : W(a) < W(b) ? W(a) : W(b)) REF(max_relu, W(a) < 0 && W(b) < 0 ? 0 : W(a) > W(b) ? W(a) : W(b))
REF(neg_, -W(a)) REF(abs_, W(a) < 0 ? -W(a) : W(a)) REF(sad_, (W(a) < W(b) ? W(b) - W(a) : W(a) - W(b)) + (S128)c)
REF(and_, a & b) REF(or_, a | b) REF(xor_, a ^ b) REF(not_, ~a) REF(cnot_, W(a) == 0)
REF(shl_, U(b) >= (uint32_t)r->x ? 0 : a << U(b)) REF(shr_, W(a) >> (U(b) > 64 ? 64 : U(b)))
REF(popc_, __builtin_popcountll((uint64_t)W(a))) REF(clz_, !a ? r->x : __builtin_clzll(a) - (64 - r->x))

static uint64_t bfind_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	S128 v = W(a);

	(void)b;
	(void)c;
	if (v < 0)
		v = ~v;
	for (int i = r->x - 1; i >= 0; i--)
		if (v >> i & 1)
			return (uint64_t)(r->z ? r->x - 1 - i : i);
	return UINT32_MAX;
}

static uint64_t brev_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t v = 0;

	(void)b;
	(void)c;
	for (int i = 0; i < r->x; i++)
		v |= (a >> i & 1) << (r->x - 1 - i);
	return v;
}

static uint64_t bfe_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	unsigned int pos = b & 255, len = c & 255, top = pos + len - 1;
	uint64_t v = 0, sign = 0;

	if (r->y && len)
		sign = a >> (top > (unsigned int)r->x - 1 ? (unsigned int)r->x - 1 : top) & 1;
	for (unsigned int i = 0; i < (unsigned int)r->x; i++)
		v |= (i < len && pos + i < (unsigned int)r->x ? a >> (pos + i) & 1 : sign) << i;
	return v;
}

static uint64_t bfi9(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	unsigned int pos = c & 255;

	for (unsigned int i = 0; i < 9 && pos + i < (unsigned int)r->x; i++)
		b = (b & ~(UINT64_C(1) << (pos + i))) | (a >> i & 1) << (pos + i);
	return b;
}

static uint64_t szext_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	unsigned int n = r->z ? b & 31 : b > 32 ? 32 : U(b);

	(void)c;
	if (!n)
		return 0;
	a <<= 64 - n;
	return r->y ? (uint64_t)(L(a) >> (64 - n)) : a >> (64 - n);
}

REF(bmsk_clamp, U(a) > 31 ? 0 : U(b) > 31 ? U(UINT32_MAX << U(a)) : U(((UINT64_C(1) << U(b)) - 1) << U(a)))
REF(bmsk_wrap, U(((UINT64_C(1) << (b & 31)) - 1) << (a & 31)))
REF(lop, ({ uint32_t v_ = 0; for (int i_ = 0; i_ < 32; i_++)
	v_ |= ((uint32_t)r->x >> ((a >> i_ & 1) << 2 | (b >> i_ & 1) << 1 | (c >> i_ & 1)) & 1) << i_; v_; }))
REF(lop_pred, ({ bool p_ = ((a & b) ^ c) & UINT32_MAX, q_ = c == 7; r->x ? p_ || q_ : p_ && q_; }))
REF(shf_l, ({ unsigned int n_ = r->x ? c & 31 : U(c) > 32 ? 32 : U(c); U((((U128)(b << 32 | a)) << n_) >> 32); }))
REF(shf_r, ({ unsigned int n_ = r->x ? c & 31 : U(c) > 32 ? 32 : U(c); U((b << 32 | a) >> n_); }))

static uint64_t fns_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	int pos = (int)(b & 31), n = S(c);
	int64_t count = n < 0 ? -(int64_t)n : n;

	(void)r;
	if (!n)
		return a >> pos & 1 ? (uint64_t)pos : UINT32_MAX;
	for (; pos >= 0 && pos < 32; pos += n > 0 ? 1 : -1)
		if (a >> pos & 1 && !--count)
			return (uint64_t)pos;
	return UINT32_MAX;
}

REF(fns_near, fns_(r, a, b, U(L(c << 56) >> 59)))

static uint64_t prmt_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	/* the tables of the manual: bytes 3, 2, 1, 0 of the result for c from 0 to 3 */
	static const uint16_t table[7][4] = {
		{ 0 }, { 0x3210, 0x4321, 0x5432, 0x6543 }, { 0x5670, 0x6701, 0x7012, 0x0123 }, { 0x0000, 0x1111, 0x2222, 0x3333 },
		{ 0x3210, 0x3211, 0x3222, 0x3333 }, { 0x0000, 0x1110, 0x2210, 0x3210 }, { 0x1010, 0x3232, 0x1010, 0x3232 },
	};
	uint32_t select = r->x ? table[r->x][c & 3] : U(c), v = 0;
	uint64_t all = b << 32 | a;

	for (int i = 0; i < 4; i++) {
		uint32_t s = select >> (4 * i) & 15, byte = all >> (8 * (s & 7)) & 255;

		v |= (s & 8 ? (byte & 128 ? 255 : 0) : byte) << (8 * i);
	}
	return v;
}

static uint64_t dp_(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	int n = r->z == 4 ? 4 : 2, bits = 32 / n;
	int64_t v = S(c);

	for (int i = 0; i < n; i++) {
		uint64_t x = a << (64 - bits * (i + 1)), y = b << (64 - 8 * (i + 1 + (r->z == 3 ? 2 : 0)));
		int64_t p = r->x ? L(x) >> (64 - bits) : L(x >> (64 - bits)), q = r->y ? L(y) >> 56 : L(y >> 56);

		v += p * q;
	}
	return (uint64_t)v;
}

static int64_t low24(uint64_t v, bool is_signed)
{
	return is_signed ? L(v << 40) >> 40 : L(v & 0xffffff);
}
REF(mul24_lo, low24(a, r->y) * low24(b, r->y)) REF(mul24_hi, (low24(a, r->y) * low24(b, r->y)) >> 16)
REF(mad24_lo, low24(a, r->y) * low24(b, r->y) + L(c)) REF(mad24_hi, ((low24(a, r->y) * low24(b, r->y)) >> 16) + L(c))
REF(mad24_sat, limit(S((low24(a, 1) * low24(b, 1)) >> 16) + (S128)S(c), 32, true))
REF(add3, ({ U128 s_ = (U128)(a & (r->x == 32 ? UINT32_MAX : UINT64_MAX)) + b; (uint64_t)(s_ >> r->x) + c; }))
REF(sub3, ({ U128 s_ = (U128)a - b; c - ((uint64_t)(s_ >> r->x) & 1); }))
REF(add_chain, ({ U128 s_ = ((U128)a << r->x | b) + ((U128)c << r->x | c); (uint64_t)(s_ >> r->x); }))
REF(mad_chain, ({ U128 p_ = (U128)a * b, s_ = p_ + ((U128)c << r->x | c); (uint64_t)(s_ >> r->x); }))
REF(x2, ({ struct scalar_row h_ = *r; uint64_t (*f_)(const struct scalar_row *, uint64_t, uint64_t, uint64_t) =
	*(uint64_t (*const *)(const struct scalar_row *, uint64_t, uint64_t, uint64_t))r->p; h_.x = 16;
	(f_(&h_, a & 0xffff, b & 0xffff, 0) & 0xffff) | (f_(&h_, a >> 16, b >> 16, 0) & 0xffff) << 16; }))

static uint64_t (*const p_add)(const struct scalar_row *, uint64_t, uint64_t, uint64_t) = add;
static uint64_t (*const p_min)(const struct scalar_row *, uint64_t, uint64_t, uint64_t) = min_;
static uint64_t (*const p_max)(const struct scalar_row *, uint64_t, uint64_t, uint64_t) = max_;
static uint64_t (*const p_min_relu)(const struct scalar_row *, uint64_t, uint64_t, uint64_t) = min_relu;
static uint64_t (*const p_max_relu)(const struct scalar_row *, uint64_t, uint64_t, uint64_t) = max_relu;

/* One operation of all widths: "op.u16", "op.s64"… */
#define T1(op, ref, bits, k, R) { op ".s" #bits " " R "4, " R "1;", k, k[0], ref, bits, 1, 0, 0, 0 }
#define T2(op, ref, t, bits, sgn, k, R) { op "." t #bits " " R "4, " R "1, " R "2;", k k, k[0], ref, bits, sgn, 0, 0, 0 }
#define T2_ALL(op, ref) T2(op, ref, "u", 16, 0, "h", "%h"), T2(op, ref, "s", 16, 1, "h", "%h"), T2(op, ref, "u", 32, 0, "r", "%r"), \
	T2(op, ref, "s", 32, 1, "r", "%r"), T2(op, ref, "u", 64, 0, "d", "%rd"), T2(op, ref, "s", 64, 1, "d", "%rd")
#define T2_BITS(op, ref) T2(op, ref, "b", 16, 0, "h", "%h"), T2(op, ref, "b", 32, 0, "r", "%r"), T2(op, ref, "b", 64, 0, "d", "%rd")
#define T3(op, ref, t, bits, sgn, k, R) { op "." t #bits " " R "4, " R "1, " R "2, " R "3;", k k k, k[0], ref, bits, sgn, 0, 0, 0 }
#define T3_ALL(op, ref) T3(op, ref, "u", 16, 0, "h", "%h"), T3(op, ref, "s", 16, 1, "h", "%h"), T3(op, ref, "u", 32, 0, "r", "%r"), \
	T3(op, ref, "s", 32, 1, "r", "%r"), T3(op, ref, "u", 64, 0, "d", "%rd"), T3(op, ref, "s", 64, 1, "d", "%rd")
#define T1_BITS(op, ref) { op ".b16 %h4, %h1;", "h", 'h', ref, 16, 0, 0, 0, 0 }, { op ".b32 %r4, %r1;", "r", 'r', ref, 32, 0, 0, 0, 0 }, \
	{ op ".b64 %rd4, %rd1;", "d", 'd', ref, 64, 0, 0, 0, 0 }
#define R2(insn, ref, ...) { insn " %r4, %r1, %r2;", "rr", 'r', ref, __VA_ARGS__ }
#define R3(insn, ref, ...) { insn " %r4, %r1, %r2, %r3;", "rrr", 'r', ref, __VA_ARGS__ }
#define SHIFT(op, ref, t, bits, sgn, k, R) { op "." t #bits " " R "4, " R "1, %r2;", k "r", k[0], ref, bits, sgn, 0, 0, 0 }
#define BFIND(t, bits, sgn, k, R) { "bfind." t #bits " %r4, " R "1;", k, 'r', bfind_, bits, sgn, 0, 0, 0 }, \
	{ "bfind.shiftamt." t #bits " %r4, " R "1;", k, 'r', bfind_, bits, sgn, 1, 0, 0 }
#define DP(a, b, x, y) R3("dp4a." a "." b, dp_, x, y, 4, 0, 0), R3("dp2a.lo." a "." b, dp_, x, y, 2, 0, 0), R3("dp2a.hi." a "." b, dp_, x, y, 3, 0, 0)

#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

static void integers(void)
{
	static const struct scalar_row rows[] = {
		T2_ALL("add", add), T2_ALL("sub", sub), T2_ALL("mul.lo", mul_lo), T2_ALL("mul.hi", mul_hi), T3_ALL("mad.lo", mad_lo),
		T3_ALL("mad.hi", mad_hi), T2_ALL("div", div_), T2_ALL("rem", rem_), T2_ALL("min", min_), T2_ALL("max", max_), T3_ALL("sad", sad_),
		R2("add.sat.s32", add_sat, 32, 1, 0, 0, 0), R2("sub.sat.s32", sub_sat, 32, 1, 0, 0, 0), R3("mad.hi.sat.s32", mad_hi_sat, 0, 0, 0, 0, 0),
		{ "mul.wide.u16 %r4, %h1, %h2;", "hh", 'r', mul_wide, 16, 0, 0, 0, 0 }, { "mul.wide.s16 %r4, %h1, %h2;", "hh", 'r', mul_wide, 16, 1, 0, 0, 0 },
		{ "mul.wide.u32 %rd4, %r1, %r2;", "rr", 'd', mul_wide, 32, 0, 0, 0, 0 }, { "mul.wide.s32 %rd4, %r1, %r2;", "rr", 'd', mul_wide, 32, 1, 0, 0, 0 },
		{ "mad.wide.u16 %r4, %h1, %h2, %r3;", "hhr", 'r', mad_lo, 16, 0, 0, 0, 0 }, { "mad.wide.s16 %r4, %h1, %h2, %r3;", "hhr", 'r', mad_lo, 16, 1, 0, 0, 0 },
		{ "mad.wide.u32 %rd4, %r1, %r2, %rd3;", "rrd", 'd', mad_lo, 32, 0, 0, 0, 0 }, { "mad.wide.s32 %rd4, %r1, %r2, %rd3;", "rrd", 'd', mad_lo, 32, 1, 0, 0, 0 },
		T1("neg", neg_, 16, "h", "%h"), T1("neg", neg_, 32, "r", "%r"), T1("neg", neg_, 64, "d", "%rd"), T1("abs", abs_, 16, "h", "%h"),
		T1("abs", abs_, 32, "r", "%r"), T1("abs", abs_, 64, "d", "%rd"),
		R2("mul24.lo.u32", mul24_lo, 0, 0, 0, 0, 0), R2("mul24.lo.s32", mul24_lo, 0, 1, 0, 0, 0), R2("mul24.hi.u32", mul24_hi, 0, 0, 0, 0, 0),
		R2("mul24.hi.s32", mul24_hi, 0, 1, 0, 0, 0), R3("mad24.lo.u32", mad24_lo, 0, 0, 0, 0, 0), R3("mad24.lo.s32", mad24_lo, 0, 1, 0, 0, 0),
		R3("mad24.hi.u32", mad24_hi, 0, 0, 0, 0, 0), R3("mad24.hi.s32", mad24_hi, 0, 1, 0, 0, 0), R3("mad24.hi.sat.s32", mad24_sat, 0, 0, 0, 0, 0),
		R2("min.relu.s32", min_relu, 32, 1, 0, 0, 0), R2("max.relu.s32", max_relu, 32, 1, 0, 0, 0),
		R2("add.u16x2", x2, 0, 0, 0, 0, &p_add), R2("add.s16x2", x2, 0, 1, 0, 0, &p_add), R2("min.u16x2", x2, 0, 0, 0, 0, &p_min),
		R2("min.s16x2", x2, 0, 1, 0, 0, &p_min), R2("max.u16x2", x2, 0, 0, 0, 0, &p_max), R2("max.s16x2", x2, 0, 1, 0, 0, &p_max),
		R2("min.relu.s16x2", x2, 0, 1, 0, 0, &p_min_relu), R2("max.relu.s16x2", x2, 0, 1, 0, 0, &p_max_relu),
		{ "+add.cc.u32 %r5, %r1, %r2; addc.u32 %r4, %r3, 0;", "rrr", 'r', add3, 32, 0, 0, 0, 0 },
		{ "+add.cc.u64 %rd5, %rd1, %rd2; addc.u64 %rd4, %rd3, 0;", "ddd", 'd', add3, 64, 0, 0, 0, 0 },
		{ "+sub.cc.s32 %r5, %r1, %r2; subc.s32 %r4, %r3, 0;", "rrr", 'r', sub3, 32, 0, 0, 0, 0 },
		{ "+sub.cc.u64 %rd5, %rd1, %rd2; subc.u64 %rd4, %rd3, 0;", "ddd", 'd', sub3, 64, 0, 0, 0, 0 },
		{ "+add.cc.s32 %r5, %r2, %r3; addc.cc.s32 %r4, %r1, %r3;", "rrr", 'r', add_chain, 32, 0, 0, 0, 0 },
		{ "+add.cc.s64 %rd5, %rd2, %rd3; addc.cc.s64 %rd4, %rd1, %rd3;", "ddd", 'd', add_chain, 64, 0, 0, 0, 0 },
		{ "+mad.lo.cc.u32 %r5, %r1, %r2, %r3; madc.hi.cc.u32 %r4, %r1, %r2, %r3;", "rrr", 'r', mad_chain, 32, 0, 0, 0, 0 },
		{ "+mad.lo.cc.u64 %rd5, %rd1, %rd2, %rd3; madc.hi.u64 %rd4, %rd1, %rd2, %rd3;", "ddd", 'd', mad_chain, 64, 0, 0, 0, 0 },
	};

	scalar_add(rows, CF_NR(rows));
}

static void bits(void)
{
	static const struct scalar_row rows[] = {
		T2_BITS("and", and_), T2_BITS("or", or_), T2_BITS("xor", xor_), T1_BITS("not", not_), T1_BITS("cnot", cnot_),
		{ "popc.b32 %r4, %r1;", "r", 'r', popc_, 32, 0, 0, 0, 0 }, { "popc.b64 %r4, %rd1;", "d", 'r', popc_, 64, 0, 0, 0, 0 },
		{ "clz.b32 %r4, %r1;", "r", 'r', clz_, 32, 0, 0, 0, 0 }, { "clz.b64 %r4, %rd1;", "d", 'r', clz_, 64, 0, 0, 0, 0 },
		{ "brev.b32 %r4, %r1;", "r", 'r', brev_, 32, 0, 0, 0, 0 }, { "brev.b64 %rd4, %rd1;", "d", 'd', brev_, 64, 0, 0, 0, 0 },
		BFIND("u", 32, 0, "r", "%r"), BFIND("s", 32, 1, "r", "%r"), BFIND("u", 64, 0, "d", "%rd"), BFIND("s", 64, 1, "d", "%rd"),
		SHIFT("shl", shl_, "b", 16, 0, "h", "%h"), SHIFT("shl", shl_, "b", 32, 0, "r", "%r"), SHIFT("shl", shl_, "b", 64, 0, "d", "%rd"),
		SHIFT("shr", shr_, "b", 16, 0, "h", "%h"), SHIFT("shr", shr_, "b", 32, 0, "r", "%r"), SHIFT("shr", shr_, "b", 64, 0, "d", "%rd"),
		SHIFT("shr", shr_, "u", 16, 0, "h", "%h"), SHIFT("shr", shr_, "u", 32, 0, "r", "%r"), SHIFT("shr", shr_, "u", 64, 0, "d", "%rd"),
		SHIFT("shr", shr_, "s", 16, 1, "h", "%h"), SHIFT("shr", shr_, "s", 32, 1, "r", "%r"), SHIFT("shr", shr_, "s", 64, 1, "d", "%rd"),
		R3("bfe.u32", bfe_, 32, 0, 0, 0, 0), R3("bfe.s32", bfe_, 32, 1, 0, 0, 0),
		{ "bfe.u64 %rd4, %rd1, %r2, %r3;", "drr", 'd', bfe_, 64, 0, 0, 0, 0 }, { "bfe.s64 %rd4, %rd1, %r2, %r3;", "drr", 'd', bfe_, 64, 1, 0, 0, 0 },
		{ "bfi.b32 %r4, %r1, %r2, %r3, 9;", "rrr", 'r', bfi9, 32, 0, 0, 0, 0 }, { "bfi.b64 %rd4, %rd1, %rd2, %r3, 9;", "ddr", 'd', bfi9, 64, 0, 0, 0, 0 },
		R2("szext.clamp.u32", szext_, 0, 0, 0, 0, 0), R2("szext.clamp.s32", szext_, 0, 1, 0, 0, 0), R2("szext.wrap.u32", szext_, 0, 0, 1, 0, 0),
		R2("szext.wrap.s32", szext_, 0, 1, 1, 0, 0), R2("bmsk.clamp.b32", bmsk_clamp, 0, 0, 0, 0, 0), R2("bmsk.wrap.b32", bmsk_wrap, 0, 0, 0, 0, 0),
		{ "+and.b32 %r5, %r2, 31; fns.b32 %r4, %r1, %r5, %r3;", "rrr", 'r', fns_, 0, 0, 0, 0, 0 },
		{ "+and.b32 %r5, %r2, 31; bfe.s32 %r6, %r3, 3, 5; fns.b32 %r4, %r1, %r5, %r6;", "rrr", 'r', fns_near, 0, 0, 0, 0, 0 },
		R3("shf.l.wrap.b32", shf_l, 1, 0, 0, 0, 0), R3("shf.l.clamp.b32", shf_l, 0, 0, 0, 0, 0), R3("shf.r.wrap.b32", shf_r, 1, 0, 0, 0, 0),
		R3("shf.r.clamp.b32", shf_r, 0, 0, 0, 0, 0), R3("prmt.b32", prmt_, 0, 0, 0, 0, 0), R3("prmt.b32.f4e", prmt_, 1, 0, 0, 0, 0),
		R3("prmt.b32.b4e", prmt_, 2, 0, 0, 0, 0), R3("prmt.b32.rc8", prmt_, 3, 0, 0, 0, 0), R3("prmt.b32.ecl", prmt_, 4, 0, 0, 0, 0),
		R3("prmt.b32.ecr", prmt_, 5, 0, 0, 0, 0), R3("prmt.b32.rc16", prmt_, 6, 0, 0, 0, 0),
		{ "+setp.eq.u32 %p1, %r3, 7; lop3.or.b32 %r5|%p2, %r1, %r2, %r3, 0x6a, %p1; selp.u32 %r4, 1, 0, %p2;", "rrr", 'r', lop_pred, 1, 0, 0, 0, 0 },
		{ "+setp.eq.u32 %p1, %r3, 7; lop3.and.b32 _|%p2, %r1, %r2, %r3, 0x6a, %p1; selp.u32 %r4, 1, 0, %p2;", "rrr", 'r', lop_pred, 0, 0, 0, 0, 0 },
		DP("s32", "s32", 1, 1), DP("s32", "u32", 1, 0), DP("u32", "s32", 0, 1), DP("u32", "u32", 0, 0),
	};

	scalar_add(rows, CF_NR(rows));
}

/* lop3, all tables */
static void tables(void)
{
	static struct scalar_row rows[256];

	for (int i = 0; i < 256; i++)
		rows[i] = (struct scalar_row){ cf_text("lop3.b32 %%r4, %%r1, %%r2, %%r3, 0x%02x;", i), "rrr", 'r', lop, i, 0, 0, 0, 0, NULL };
	scalar_add(rows, 256);
}

REF(pred_, ({ bool p_ = U(a) > 100, q_ = U(b) > 100; r->x == 'a' ? p_ && q_ : r->x == 'o' ? p_ || q_ : r->x == 'x' ? p_ != q_ : !p_; }))

/*
 * Carries in and out. x: bits, y: signed, z: '+' '-' 'l' 'h', w: 1 a carry comes in, 2 one goes out. A carry in is that of a + b, or the
 * borrow of a - b; one that goes out turns the result's highest bit.
 */
static uint64_t chain(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	U128 one = (U128)1 << r->x, ua = (uint64_t)a & (one - 1), ub = (uint64_t)b & (one - 1), uc = (uint64_t)c & (one - 1), v, in = 0;

	if (r->w & 1)
		in = r->z == '-' ? ua < ub : (ua + ub) >> r->x & 1;
	switch (r->z) {
	case '+': v = uc + ua + in; break;
	case '-': v = uc - ua - in; break;
	case 'l': v = ((U128)(W(a) * W(b)) & (one - 1)) + uc + in; break;
	default: v = ((U128)(r->y ? (S128)(W(a) * W(b)) >> r->x : (S128)((U128)W(a) * (U128)W(b) >> r->x)) & (one - 1)) + uc + in; break;
	}
	return (uint64_t)(v & (one - 1)) ^ (r->w & 2 && v >> r->x & 1 ? (uint64_t)(one >> 1) : 0);
}

static struct scalar_row chain_rows[64];
static size_t nr_chains;

static void one_chain(const char *form, void *arg)
{
	const char *t = cf_type(form, 0), *op = arg;
	bool wide = cf_bits(t) == 64, cc = cf_has(form, "cc"), mad = *op == 'm', in = strchr(op, 'c');
	const char *R = wide ? "%rd" : "%r", *before = op[0] == 's' ? "sub" : "add", *after = op[0] == 's' ? "subc" : "addc";
	char *text = cf_text("+");

	if ((!cc && !in) || (!mad && !in))
		return;		/* no carry; or add.cc and sub.cc, which stand before addc and subc */
	if (in)
		text = cf_text("%s%s.cc.%s %s5, %s1, %s2; ", text, before, t, R, R, R);
	if (mad)
		text = cf_text("%s%s %s4, %s1, %s2, %s3;", text, form, R, R, R, R);
	else
		text = cf_text("%s%s %s4, %s3, %s1;", text, form, R, R, R);
	if (cc)
		text = cf_text("%s %s.%s %s6, 0, 0; shl.b%u %s6, %s6, %u; xor.b%u %s4, %s4, %s6;", text, after, t, R, cf_bits(t), R, R,
			       cf_bits(t) - 1, cf_bits(t), R, R, R);
	if (nr_chains == CF_NR(chain_rows))
		cf_die("no room for another chain");
	chain_rows[nr_chains++] = (struct scalar_row){ text, wide ? "ddd" : "rrr", wide ? 'd' : 'r', chain, (int)cf_bits(t), *t == 's',
		!mad ? (op[0] == 's' ? '-' : '+') : cf_has(form, "lo") ? 'l' : 'h', in | cc << 1, NULL, NULL };
}

static void chains(void)
{
	static char op[][5] = { "addc", "subc", "mad", "madc" };
	static const struct scalar_row preds[] = {
		{ "+setp.gt.u32 %p1, %r1, 100; setp.gt.u32 %p2, %r2, 100; and.pred %p3, %p1, %p2; selp.u32 %r4, 1, 0, %p3;", "rr", 'r', pred_, 'a', 0, 0, 0, 0, NULL },
		{ "+setp.gt.u32 %p1, %r1, 100; setp.gt.u32 %p2, %r2, 100; or.pred %p3, %p1, %p2; selp.u32 %r4, 1, 0, %p3;", "rr", 'r', pred_, 'o', 0, 0, 0, 0, NULL },
		{ "+setp.gt.u32 %p1, %r1, 100; setp.gt.u32 %p2, %r2, 100; xor.pred %p3, %p1, %p2; selp.u32 %r4, 1, 0, %p3;", "rr", 'r', pred_, 'x', 0, 0, 0, 0, NULL },
		{ "+setp.gt.u32 %p1, %r1, 100; not.pred %p3, %p1; selp.u32 %r4, 1, 0, %p3;", "rr", 'r', pred_, 'n', 0, 0, 0, 0, NULL },
	};

	for (size_t i = 0; i < CF_NR(op); i++)
		cf_forms(op[i], one_chain, op[i]);
	scalar_add(chain_rows, nr_chains);
	scalar_add(preds, CF_NR(preds));
}

REF(first, a)
REF(second, b)
REF(outer, (a >> 48) | (a >> 16 & 0xffff) << 16)
REF(pack2, a | b << r->x)
REF(high_part, a >> r->x)
REF(mov_pred, U(a) > 100)

/* mov, also of vectors */
static void moves(void)
{
	static const char *const types[] = { "b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64" };
	static struct scalar_row rows[32];
	size_t n = 0;

	for (size_t i = 0; i < CF_NR(types); i++) {
		char kind = !strcmp(types[i], "f32") ? 'f' : !strcmp(types[i], "f64") ? 'g' : types[i][1] == '1' ? 'h' : types[i][1] == '3' ? 'r' : 'd';
		const char *R = kind == 'h' ? "%h" : kind == 'r' ? "%r" : kind == 'f' ? "%f" : kind == 'g' ? "%fd" : "%rd";

		rows[n++] = (struct scalar_row){ .insn = cf_text("mov.%s %s4, %s1;", types[i], R, R), .in = kind == 'h' ? "h" : kind == 'r' ? "r" :
			kind == 'f' ? "f" : kind == 'g' ? "g" : "d", .out = kind, .ref = first };
	}
	rows[n++] = (struct scalar_row){ .insn = "+setp.gt.u32 %p1, %r1, 100; mov.pred %p2, %p1; selp.u32 %r4, 1, 0, %p2;", .in = "r", .out = 'r', .ref = mov_pred };
	rows[n++] = (struct scalar_row){ .insn = "+{ .reg .b128 %q<3>; mov.b128 %q1, {%rd1, %rd2}; mov.b128 %q2, %q1; mov.b128 {%rd5, %rd4}, %q2; }", .in = "dd", .out = 'd', .ref = second };
	rows[n++] = (struct scalar_row){ .insn = "mov.b32 %r4, {%h1, %h2};", .in = "hh", .out = 'r', .ref = pack2, .x = 16 };
	rows[n++] = (struct scalar_row){ .insn = "mov.b64 %rd4, {%r1, %r2};", .in = "rr", .out = 'd', .ref = pack2, .x = 32 };
	rows[n++] = (struct scalar_row){ .insn = "mov.b32 {%h5, %h4}, %r1;", .in = "r", .out = 'h', .ref = high_part, .x = 16 };
	rows[n++] = (struct scalar_row){ .insn = "mov.b64 {_, %r4}, %rd1;", .in = "d", .out = 'r', .ref = high_part, .x = 32 };
	rows[n++] = (struct scalar_row){ .insn = "+mov.b64 {%h5, %h6, %h7, %h8}, %rd1; mov.b32 %r4, {%h8, %h6};", .in = "d", .out = 'r', .ref = outer };
	scalar_add(rows, n);
}

void cf_scalar_int(void)
{
	moves();
	integers();
	bits();
	tables();
	chains();
}
