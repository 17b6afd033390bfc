/* simt_ptx.c - operations of hgIR as functions. */
#include "tests/drivers/simt/simt_ptx.h"

#include <stdio.h>
#include <string.h>

#include "tests/drivers/simt/simt_float.h"
#include "translate/ir.h"
#include "translate/texture.h"

/* ---- bits ---- */

uint64_t simt_lop3(uint64_t a, uint64_t b, uint64_t c, uint32_t table)
{
	uint64_t r = 0;

	for (unsigned int row = 0; row < 8; row++)
		if (table >> row & 1)
			r |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
	return r;
}

uint32_t simt_funnel(uint32_t left, uint32_t lo, uint32_t hi, uint32_t n)
{
	uint64_t v = (uint64_t)hi << 32 | lo;

	return (uint32_t)(left ? v << n >> 32 : v >> n);
}

uint32_t simt_prmt(uint32_t mode, uint32_t a, uint32_t b, uint32_t select)
{
	unsigned char byte[8];
	uint32_t r = 0, low = select & 3;

	for (int i = 0; i < 4; i++) {
		byte[i] = (unsigned char)(a >> (8 * i));
		byte[4 + i] = (unsigned char)(b >> (8 * i));
	}
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t v;

		switch (mode) {
		case IR_PRMT_INDEX:
			v = byte[select >> (4 * i) & 7];
			if (select >> (4 * i) & 8)
				v = v & 0x80 ? 0xff : 0;
			break;
		case IR_PRMT_F4E: v = byte[low + i]; break;
		case IR_PRMT_B4E: v = byte[(low - i) & 7]; break;
		case IR_PRMT_RC8: v = byte[low]; break;
		case IR_PRMT_ECL: v = byte[low > i ? low : i]; break;
		case IR_PRMT_ECR: v = byte[low < i ? low : i]; break;
		default: v = byte[(select & 1) * 2 + (i & 1)]; break;	/* rc16 */
		}
		r |= v << (8 * i);
	}
	return r;
}

/* A field of bits, which may reach past the end of a word. */
uint64_t simt_bfe(uint32_t bits, uint64_t a, uint32_t pos, uint32_t len)
{
	uint32_t width = bits & 0xff, top;
	uint64_t r = 0, sign = 0;

	pos &= 255;
	len &= 255;
	if (bits & 0x100 && len) {
		top = pos + len - 1 < width ? pos + len - 1 : width - 1;
		sign = a >> top & 1;
	}
	for (uint32_t i = 0; i < width; i++)
		r |= (i < len && pos + i < width ? a >> (pos + i) & 1 : sign) << i;
	return r;
}

uint64_t simt_bfi(uint32_t bits, uint64_t a, uint64_t b, uint32_t pos, uint32_t len)
{
	pos &= 255;
	len &= 255;
	for (uint32_t i = 0; i < len && pos + i < bits; i++) {
		b &= ~(UINT64_C(1) << (pos + i));
		b |= (a >> i & 1) << (pos + i);
	}
	return b;
}

uint32_t simt_bfind(uint32_t bits, uint64_t a, uint32_t shiftamt)
{
	uint32_t width = bits & 0xff;
	bool sign = bits & 0x100 && a >> (width - 1) & 1;

	for (uint32_t i = width; i-- > 0;)
		if ((a >> i & 1) != sign)
			return shiftamt ? width - 1 - i : i;
	return UINT32_MAX;
}

static int32_t part(uint32_t v, unsigned int i, unsigned int bits, bool is_signed)
{
	uint32_t p = v >> (i * bits) & ((1u << bits) - 1);

	return is_signed && p >> (bits - 1) ? (int32_t)p - (1 << bits) : (int32_t)p;
}

uint32_t simt_dot(uint32_t how, uint32_t a, uint32_t b, uint32_t c)
{
	unsigned int n = how & 4 ? 2 : 4;

	for (unsigned int i = 0; i < n; i++)
		c += (uint32_t)(part(a, i, 32 / n, how & 1) * (int64_t)part(b, i + (how & 8 ? 2 : 0), 8, how & 2));
	return c;
}

/* ---- atomics ---- */

static int64_t as_signed(uint64_t v, unsigned int bits)
{
	return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

static uint64_t half_pair(unsigned int op, enum ir_type half, uint64_t old, uint64_t a)
{
	uint64_t r = 0;

	for (unsigned int at = 0; at < 32; at += 16) {
		uint64_t x = old >> at & 0xffff, y = a >> at & 0xffff;

		r |= (op == IR_ATOM_ADD ? simt_float_op(SIMT_FLOAT_CODE(SIMT_ADD, half, IR_RN), x, y, 0) :
					  simt_float_min_max(half, op == IR_ATOM_MAX, x, y)) << at;
	}
	return r;
}

static uint64_t float_sum(enum ir_type t, uint64_t x, uint64_t y)
{
	return simt_float_op(SIMT_FLOAT_CODE(SIMT_ADD, t, IR_RN), x, y, 0);
}

static uint64_t zero_if_denormal(uint64_t v)
{
	return v << 33 >> 56 ? v : v & 0x80000000;
}

/* The fields of an mbarrier's word, each by itself. */
static uint64_t arrive(uint64_t old, uint64_t a)
{
	uint32_t here = (uint32_t)old & 0xfffff, each = old >> 20 & 0xfffff, parity = old >> 40 & 1;
	int32_t bytes = (int32_t)((int64_t)old >> 42) + (int32_t)((int64_t)a >> 42);

	here -= (uint32_t)a & 0xfffff;
	each -= a >> 20 & 0xfffff;
	if (here == 0 && bytes == 0) {
		here = each;
		parity = !parity;
	}
	return (uint64_t)here | (uint64_t)each << 20 | (uint64_t)parity << 40 | (uint64_t)(int64_t)bytes << 42;
}

static uint64_t apply(uint32_t code, uint64_t old, uint64_t a)
{
	enum ir_atom op = code & 0xff;
	enum ir_type t = code >> 8 & 0xff;
	unsigned int bits = ir_type_bits(t);
	bool less;

	switch (t) {
	case IR_F16X2: return half_pair(op, IR_F16, old, a);
	case IR_BF16X2: return half_pair(op, IR_BF16, old, a);
	case IR_F16: case IR_BF16:
		return op == IR_ATOM_ADD ? float_sum(t, old, a) : simt_float_min_max(t, op == IR_ATOM_MAX, old, a);
	case IR_F32: case IR_F64:
		if (op != IR_ATOM_ADD)
			return simt_float_min_max(t, (op == IR_ATOM_MAX) | (code & SIMT_ATOM_NAN ? 2 : 0), old, a);
		if (code & SIMT_ATOM_FTZ)
			return zero_if_denormal(float_sum(t, zero_if_denormal(old), zero_if_denormal(a)));
		return float_sum(t, old, a);
	default:
		break;
	}
	less = ir_type_is_signed(t) ? as_signed(old, bits) < as_signed(a, bits) : old < a;
	switch (op) {
	case IR_ATOM_ADD: return old + a;
	case IR_ATOM_MIN: return less ? old : a;
	case IR_ATOM_MAX: return less ? a : old;
	case IR_ATOM_AND: return old & a;
	case IR_ATOM_OR: return old | a;
	case IR_ATOM_XOR: return old ^ a;
	case IR_ATOM_INC: return old >= a ? 0 : old + 1;
	case IR_ATOM_DEC: return old == 0 || old > a ? a : old - 1;
	case IR_ATOM_MBARRIER: return arrive(old, a);
	default: return a;
	}
}

typedef uint16_t __attribute__((may_alias)) any_u16;
typedef uint32_t __attribute__((may_alias)) any_u32;
typedef uint64_t __attribute__((may_alias)) any_u64;

#define ATOM(type) __extension__ ({							\
	type *at = p, was, next;							\
											\
	was = code_op == IR_ATOM_CAS ? (type)a : __atomic_load_n(at, __ATOMIC_RELAXED);	\
	do {										\
		next = code_op == IR_ATOM_CAS ? (type)b : (type)apply(code, was, (type)a);	\
	} while (!__atomic_compare_exchange_n(at, &was, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) && \
		 code_op != IR_ATOM_CAS);						\
	(uint64_t)was;									\
})

/* The address is the kernel's: nobody else vouches for it. */
__attribute__((no_sanitize("address", "undefined")))
uint64_t simt_atom(uint32_t code, void *p, uint64_t a, uint64_t b)
{
	enum ir_atom code_op = code & 0xff;

	switch (ir_type_bits(code >> 8 & 0xff)) {
	case 16: return ATOM(any_u16);
	case 32: return ATOM(any_u32);
	default: return ATOM(any_u64);
	}
}

__attribute__((no_sanitize("address", "undefined")))
void simt_atom128(uint32_t op, void *p, const unsigned __int128 *a, const unsigned __int128 *b, unsigned __int128 *old)
{
	unsigned __int128 next = op == IR_ATOM_CAS ? *b : *a;
	uint64_t lo = op == IR_ATOM_CAS ? (uint64_t)*a : 0, hi = op == IR_ATOM_CAS ? (uint64_t)(*a >> 64) : 0;
	bool done;

	do
		__asm__ volatile("lock cmpxchg16b (%[p])" : "=@ccz"(done), "+a"(lo), "+d"(hi)
				 : [p] "r"(p), "b"((uint64_t)next), "c"((uint64_t)(next >> 64)) : "memory");
	while (!done && op != IR_ATOM_CAS);
	*old = (unsigned __int128)hi << 64 | lo;
}

/* ---- printing ---- */

/* The next argument of `size` bytes, at a multiple of that. */
static const void *argument(const unsigned char *args, size_t *at, size_t size)
{
	const void *p;

	*at = (*at + size - 1) / size * size;
	p = args + *at;
	*at += size;
	return p;
}

static int32_t int_argument(const unsigned char *args, size_t *at)
{
	int32_t v;

	memcpy(&v, argument(args, at, 4), sizeof(v));
	return v;
}

/* One conversion, which ends with `c`, by the C library: its letters before that, and widths that were given as *. */
static int convert(char *to, size_t room, const char *spec, char c, const unsigned char *args, size_t *at)
{
	char with[64];
	size_t n = 0;
	bool wide = strstr(spec, "l") || strstr(spec, "j") || strstr(spec, "z") || strstr(spec, "t");
	uint64_t word;
	double d;

	for (const char *s = spec; *s && n < sizeof(with) - 16; s++)
		if (*s == '*')
			n += (size_t)snprintf(with + n, 12, "%d", int_argument(args, at));
		else
			with[n++] = *s;
	with[n++] = c;
	with[n] = 0;
	switch (c) {
	case 'd': case 'i': case 'u': case 'x': case 'X': case 'o': case 'c':
		if (!wide)
			return snprintf(to, room, with, int_argument(args, at));
		memcpy(&word, argument(args, at, 8), sizeof(word));
		return snprintf(to, room, with, word);
	case 'e': case 'E': case 'f': case 'F': case 'g': case 'G': case 'a': case 'A':
		memcpy(&d, argument(args, at, 8), sizeof(d));
		return snprintf(to, room, with, d);
	case 'p': case 's':
		memcpy(&word, argument(args, at, 8), sizeof(word));
		return snprintf(to, room, with, (const char *)(uintptr_t)word);
	default:
		return -1;
	}
}

uint32_t simt_vprintf(struct simt_item *self, const char *format, const void *args)
{
	char out[2048];
	size_t n = 0, at = 0;
	uint32_t nr = 0;

	(void)self;
	if (!format)
		return UINT32_MAX;
	while (*format && n < sizeof(out) - 1) {
		size_t len = strspn(format + 1, "-+ #0123456789.*hlLjzt");
		char spec[32], c = format[0] == '%' ? format[1 + len] : 0;
		int r;

		if (*format != '%' || !c || len + 2 > sizeof(spec)) {
			out[n++] = *format++;
			continue;
		}
		memcpy(spec, format, len + 1);
		spec[len + 1] = 0;
		format += len + 2;
		if (c == '%') {
			out[n++] = '%';
			continue;
		}
		r = convert(out + n, sizeof(out) - n, spec, c, args, &at);
		if (r < 0) {
			/* as it stands */
			r = snprintf(out + n, sizeof(out) - n, "%s%c", spec, c);
		} else {
			nr++;
			for (const char *s = spec; *s; s++)
				nr += *s == '*';
		}
		n += (size_t)r < sizeof(out) - n ? (size_t)r : sizeof(out) - 1 - n;
	}
	fwrite(out, 1, n, stdout);
	return nr;
}

/* ---- lanes ---- */

/* Names of the operations that lanes meet in. */
enum { MEET_SHFL = 0x100, MEET_VOTE = 0x200, MEET_MATCH = 0x300, MEET_REDUX = 0x400, MEET_SYNC = 0x500 };

uint64_t simt_shfl(struct simt_item *self, uint32_t mode, uint32_t value, uint32_t b, uint32_t c, uint32_t mask)
{
	const uint64_t *values;
	uint64_t took = simt_meet(self, MEET_SHFL | mode, mask, value, &values);
	uint32_t lane = self->lane, segment = c >> 8 & 31, limit, from;
	bool in_range;

	/* PTX ISA, shfl.sync; the lane read from is in range of the segment's bound */
	b &= 31;
	limit = (lane & segment) | (c & ~segment & 31);
	switch (mode) {
	case IR_SHFL_UP:
		in_range = (int32_t)(lane - b) >= (int32_t)limit;
		from = lane - b;
		break;
	case IR_SHFL_DOWN:
		from = lane + b;
		in_range = from <= limit;
		break;
	case IR_SHFL_BFLY:
		from = lane ^ b;
		in_range = from <= limit;
		break;
	default:
		from = (lane & segment) | (b & ~segment);
		in_range = from <= limit;
		break;
	}
	if (!in_range)
		from = lane;
	/* of a lane that takes no part the value is undefined */
	value = took >> from & 1 ? (uint32_t)values[from] : 0;
	return (uint64_t)in_range << 32 | value;
}

uint32_t simt_vote(struct simt_item *self, uint32_t kind, uint32_t pred, uint32_t mask)
{
	const uint64_t *values;
	uint64_t took = simt_meet(self, MEET_VOTE | kind, mask, pred, &values);
	uint32_t yes = 0;

	for (uint64_t left = took; left; left &= left - 1)
		yes |= (uint32_t)values[__builtin_ctzll(left)] << __builtin_ctzll(left);
	switch (kind) {
	case IR_VOTE_BALLOT: return yes;
	case IR_VOTE_ANY: return yes != 0;
	case IR_VOTE_UNI: return !yes || yes == took;
	default: return yes == took;
	}
}

uint32_t simt_match(struct simt_item *self, uint32_t all, uint64_t value, uint32_t mask)
{
	const uint64_t *values;
	uint64_t took = simt_meet(self, MEET_MATCH | all, mask, value, &values);
	uint32_t same = 0;

	for (uint64_t left = took; left; left &= left - 1)
		if (values[__builtin_ctzll(left)] == value)
			same |= UINT32_C(1) << __builtin_ctzll(left);
	return !all || same == took ? same : 0;
}

uint32_t simt_redux(struct simt_item *self, uint32_t code, uint32_t value, uint32_t mask)
{
	const uint64_t *values;
	uint64_t took = simt_meet(self, MEET_REDUX | code << 16, mask, value, &values);

	for (uint64_t left = took & ~(UINT64_C(1) << self->lane); left; left &= left - 1)
		value = (uint32_t)apply(code, value, values[__builtin_ctzll(left)]);
	return value;
}

void simt_warpsync(struct simt_item *self, uint32_t mask)
{
	const uint64_t *values;

	simt_meet(self, MEET_SYNC, mask, 0, &values);
}

void simt_tex(struct simt_item *self, uint64_t texture, uint64_t sampler, uint32_t what, const uint32_t *arg, uint32_t *out)
{
	const struct hg_texture *t = (const struct hg_texture *)(uintptr_t)texture, *s = (const struct hg_texture *)(uintptr_t)sampler;

	if (t->magic != HG_TEXTURE_MAGIC || s->magic != HG_TEXTURE_MAGIC)
		simt_trap(self, "a handle of no texture");
	hg_tex_sample(t, s, what, arg, 1, out);
}

#define SYMBOL(name) { #name, (void *)name }
const struct simt_symbol simt_ptx_symbols[] = {
	SYMBOL(simt_lop3), SYMBOL(simt_funnel), SYMBOL(simt_prmt), SYMBOL(simt_bfe), SYMBOL(simt_bfi), SYMBOL(simt_bfind),
	SYMBOL(simt_dot), SYMBOL(simt_atom), SYMBOL(simt_atom128), SYMBOL(simt_vprintf), SYMBOL(simt_narrow), SYMBOL(simt_widen),
	SYMBOL(simt_shfl), SYMBOL(simt_vote), SYMBOL(simt_match), SYMBOL(simt_redux),
	SYMBOL(simt_warpsync), SYMBOL(simt_float_op), SYMBOL(simt_float_cvt), SYMBOL(simt_float_from_int),
	SYMBOL(simt_float_min_max), SYMBOL(simt_sin), SYMBOL(simt_cos), SYMBOL(simt_ex2), SYMBOL(simt_lg2), SYMBOL(simt_tanh),
	SYMBOL(simt_mma), SYMBOL(simt_ldmatrix), SYMBOL(simt_stmatrix), SYMBOL(simt_movmatrix),
	SYMBOL(simt_tex),
};
const size_t simt_nr_ptx_symbols = sizeof(simt_ptx_symbols) / sizeof(simt_ptx_symbols[0]);
