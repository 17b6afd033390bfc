/* cpu_rt.c - helpers that compiled CPU code calls for what vectors do badly. */
#include "translate/cpu_rt.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <emmintrin.h>

#include "translate/ir.h"

static void (*raise_fault)(uint32_t kind, uint64_t addr);

#define EACH_LANE(mask, lane)								\
	for (uint32_t left_##lane = (mask), lane = left_##lane ? (uint32_t)__builtin_ctz(left_##lane) : 0; left_##lane;	\
	     left_##lane &= left_##lane - 1, lane = left_##lane ? (uint32_t)__builtin_ctz(left_##lane) : 0)

/* initial-exec: read by a signal handler, which may not allocate */
static __thread __attribute__((tls_model("initial-exec"))) volatile struct hg_cpu_access access_now;

const volatile struct hg_cpu_access *hg_cpu_rt_access(void)
{
	return &access_now;
}

static void access_begin(const uint64_t *addr, uint32_t mask, uint32_t size, uint32_t line)
{
	access_now.mask = mask;
	access_now.size = size;
	access_now.line = line;
	access_now.addr = addr;
	EACH_LANE(mask, lane)
		if (addr[lane] & (size - 1))
			raise_fault(HG_CPU_FAULT_MISALIGNED, addr[lane]);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void access_end(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	access_now.addr = NULL;
}

void hg_cpu_access_begin(const uint64_t *addr, uint32_t mask, uint32_t size, uint32_t line)
{
	access_begin(addr, mask, size, line);
}

void hg_cpu_access_end(void)
{
	access_end();
}

/* The kernel's addresses are data: they may point anywhere, and lie about what is there. */
#define ANY __attribute__((may_alias))
typedef uint8_t ANY any_u8;
typedef uint16_t ANY any_u16;
typedef uint32_t ANY any_u32;
typedef uint64_t ANY any_u64;
typedef unsigned __int128 ANY any_u128;

#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

/* volatile: one access of the full width, in order, which is also an acquire and a release on x86-64 */
#define LOAD_LANES(type)									\
	EACH_LANE(mask, lane) {									\
		const volatile type *p = (const volatile type *)(uintptr_t)addr[lane];		\
												\
		for (uint32_t c = 0; c < nr; c++)						\
			((type *)data)[c * HG_WARP + lane] = p[c];				\
	}
#define LOAD_LANES_128()									\
	EACH_LANE(mask, lane) {									\
		const __m128i *p = (const __m128i *)(uintptr_t)addr[lane];			\
												\
		for (uint32_t c = 0; c < nr; c++)						\
			((__m128i *)data)[c * HG_WARP + lane] = _mm_load_si128(p + c);		\
	}
#define STORE_LANES_128()									\
	EACH_LANE(mask, lane) {									\
		__m128i *p = (__m128i *)(uintptr_t)addr[lane];					\
												\
		for (uint32_t c = 0; c < nr; c++)						\
			_mm_store_si128(p + c, ((const __m128i *)data)[c * HG_WARP + lane]);	\
	}
#define STORE_LANES(type)									\
	EACH_LANE(mask, lane) {									\
		volatile type *p = (volatile type *)(uintptr_t)addr[lane];			\
												\
		for (uint32_t c = 0; c < nr; c++)						\
			p[c] = ((const type *)data)[c * HG_WARP + lane];			\
	}

static UNCHECKED void rt_load(const uint64_t *addr, uint32_t mask, void *data, uint32_t size, uint32_t nr,
			      uint32_t line)
{
	access_begin(addr, mask, size * nr, line);
	switch (size) {
	case 1: LOAD_LANES(any_u8); break;
	case 2: LOAD_LANES(any_u16); break;
	case 4: LOAD_LANES(any_u32); break;
	case 8: LOAD_LANES(any_u64); break;
	case 16: LOAD_LANES_128(); break;
	}
	access_end();
}

static UNCHECKED void rt_store(const uint64_t *addr, uint32_t mask, const void *data, uint32_t size, uint32_t nr,
			      uint32_t line)
{
	access_begin(addr, mask, size * nr, line);
	switch (size) {
	case 1: STORE_LANES(any_u8); break;
	case 2: STORE_LANES(any_u16); break;
	case 4: STORE_LANES(any_u32); break;
	case 8: STORE_LANES(any_u64); break;
	case 16: STORE_LANES_128(); break;
	}
	access_end();
}

static uint64_t bits_mask(unsigned int bits)
{
	return bits >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
}

static int64_t sign_extend(uint64_t v, unsigned int bits)
{
	return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

static uint32_t f32_flush(uint32_t v)
{
	return v & 0x7f800000 ? v : v & 0x80000000;
}

static uint32_t f32_add(uint32_t a, uint32_t b, bool ftz)
{
	float x, y;
	uint32_t r;

	if (ftz) {
		a = f32_flush(a);
		b = f32_flush(b);
	}
	memcpy(&x, &a, sizeof(x));
	memcpy(&y, &b, sizeof(y));
	x += y;
	memcpy(&r, &x, sizeof(r));
	return x != x ? 0x7fffffff : ftz ? f32_flush(r) : r;
}

/* The lesser or greater, by sign and magnitude: -0 is less than +0. A NaN is left out, or with nan is the result. */
static uint32_t float_pick(uint32_t a, uint32_t b, unsigned int bits, uint32_t infinity, bool max, bool nan)
{
	uint32_t sign = UINT32_C(1) << (bits - 1), all = sign | (sign - 1);
	bool a_nan = (a & ~sign) > infinity, b_nan = (b & ~sign) > infinity, less;

	if ((a_nan && b_nan) || (nan && (a_nan || b_nan)))
		return all ^ sign;
	if (a_nan || b_nan)
		return a_nan ? b : a;
	if ((a ^ b) & sign)
		less = a & sign;
	else
		less = a & sign ? a > b : a < b;
	return less != max ? a : b;
}

static uint64_t f64_add(uint64_t a, uint64_t b)
{
	double x, y;
	uint64_t r;

	memcpy(&x, &a, sizeof(x));
	memcpy(&y, &b, sizeof(y));
	x += y;
	memcpy(&r, &x, sizeof(r));
	return x != x ? UINT64_C(0xfff8000000000000) : r;
}

/* f16 and bf16 as f32, and back with rounding to nearest even. */
static float half_float(uint32_t h, bool bf)
{
	uint32_t s = (h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff, r;
	float f;

	if (bf) {
		r = h << 16;
	} else if (e == 31) {
		r = s | 0x7f800000 | m << 13;
	} else if (e) {
		r = s | (e + 112) << 23 | m << 13;
	} else {
		f = (float)m * 0x1p-24f;
		return s ? -f : f;
	}
	memcpy(&f, &r, sizeof(f));
	return f;
}

static uint32_t float_half(float f, bool bf)
{
	uint32_t r, s, low;

	memcpy(&r, &f, sizeof(r));
	if (f != f)
		return 0x7fff;
	if (bf)
		return (r + 0x7fff + (r >> 16 & 1)) >> 16;
	s = r >> 16 & 0x8000;
	r &= INT32_MAX;
	if (r >= 0x47800000 || (r >= 0x477ff000))
		return s | 0x7c00;
	if (r < 0x38800000) {
		float a;
		uint32_t q;

		memcpy(&a, &r, sizeof(a));
		a += 0.5f;	/* ulp of 0.5 is the smallest half: the addition rounds */
		memcpy(&q, &a, sizeof(q));
		return s | (q - 0x3f000000);
	}
	low = r & 0x1fff;
	r = (r - 0x38000000) >> 13;
	return s | (r + (low > 0x1000 || (low == 0x1000 && r & 1)));
}

uint32_t hg_cpu_f16(float f)
{
	return float_half(f, false);
}

static uint32_t half2_op(uint32_t a, uint32_t b, bool bf, unsigned int op, unsigned int halves)
{
	uint32_t r = 0;

	for (unsigned int i = 0; i < halves; i++) {
		uint32_t x = a >> (16 * i) & 0xffff, y = b >> (16 * i) & 0xffff;

		if (op == IR_ATOM_ADD)
			x = float_half(half_float(x, bf) + half_float(y, bf), bf);
		else
			x = float_pick(x, y, 16, bf ? 0x7f80 : 0x7c00, op == IR_ATOM_MAX, false);
		r |= x << (16 * i);
	}
	return r;
}

/* See IR_ATOM_MBARRIER. */
static uint64_t mbarrier_apply(uint64_t old, uint64_t a)
{
	uint64_t pending = (old - a) & IR_MBARRIER_COUNT;
	uint64_t later = ((old >> IR_MBARRIER_LATER) - (a >> IR_MBARRIER_LATER)) & IR_MBARRIER_COUNT;
	uint64_t bytes = (old >> IR_MBARRIER_BYTES) + (a >> IR_MBARRIER_BYTES), phase = old >> IR_MBARRIER_PHASE & 1;

	bytes <<= IR_MBARRIER_BYTES;
	if (!pending && !bytes) {
		pending = later;
		phase ^= 1;
	}
	return pending | later << IR_MBARRIER_LATER | phase << IR_MBARRIER_PHASE | bytes;
}

static uint64_t atom_apply(uint32_t code, uint64_t old, uint64_t a)
{
	unsigned int op = code & 0xff;
	enum ir_type t = code >> 8 & 0xff;
	unsigned int bits = ir_type_bits(t);
	bool is_signed = ir_type_is_signed(t);

	switch (t) {
	case IR_F32:
		if (op == IR_ATOM_ADD)
			return f32_add((uint32_t)old, (uint32_t)a, code & HG_CPU_ATOM_FTZ);
		return float_pick((uint32_t)old, (uint32_t)a, 32, 0x7f800000, op == IR_ATOM_MAX, code & HG_CPU_ATOM_NAN);
	case IR_F64: return f64_add(old, a);
	case IR_F16: return half2_op((uint32_t)old, (uint32_t)a, false, op, 1);
	case IR_F16X2: return half2_op((uint32_t)old, (uint32_t)a, false, op, 2);
	case IR_BF16: return half2_op((uint32_t)old, (uint32_t)a, true, op, 1);
	case IR_BF16X2: return half2_op((uint32_t)old, (uint32_t)a, true, op, 2);
	default: break;
	}
	old &= bits_mask(bits);
	a &= bits_mask(bits);
	switch (op) {
	case IR_ATOM_ADD: return old + a;
	case IR_ATOM_MIN:
		if (is_signed)
			return sign_extend(old, bits) < sign_extend(a, bits) ? old : a;
		return old < a ? old : a;
	case IR_ATOM_MAX:
		if (is_signed)
			return sign_extend(old, bits) > sign_extend(a, bits) ? old : a;
		return old > a ? old : a;
	case IR_ATOM_AND: return old & a;
	case IR_ATOM_OR: return old | a;
	case IR_ATOM_XOR: return old ^ a;
	case IR_ATOM_INC: return old >= a ? 0 : old + 1;
	case IR_ATOM_DEC: return old == 0 || old > a ? a : old - 1;
	case IR_ATOM_MBARRIER: return mbarrier_apply(old, a);
	default: return a;	/* exchange */
	}
}

#define ATOM_LANES(type)									\
	EACH_LANE(mask, lane) {									\
		type *p = (type *)(uintptr_t)addr[lane];					\
		type was, val = ((const type *)a)[lane];					\
												\
		if (op == IR_ATOM_CAS) {							\
			was = val;								\
			__atomic_compare_exchange_n(p, &was, ((const type *)b)[lane], false,	\
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);	\
		} else if (op == IR_ATOM_ADD && !is_float) {					\
			was = __atomic_fetch_add(p, val, __ATOMIC_SEQ_CST);			\
		} else if (op == IR_ATOM_EXCH) {						\
			was = __atomic_exchange_n(p, val, __ATOMIC_SEQ_CST);			\
		} else {									\
			was = __atomic_load_n(p, __ATOMIC_RELAXED);				\
			while (!__atomic_compare_exchange_n(p, &was, (type)atom_apply(code, was, val), false, \
							    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))	\
				;								\
		}										\
		((type *)old)[lane] = was;							\
	}

/* *was is what is expected, and then what was there. */
static UNCHECKED bool cas128(any_u128 *p, any_u128 *was, any_u128 to)
{
	uint64_t lo = (uint64_t)*was, hi = (uint64_t)(*was >> 64);
	bool same;

	__asm__ volatile("lock cmpxchg16b %1" : "=@ccz"(same), "+m"(*p), "+a"(lo), "+d"(hi)
			 : "b"((uint64_t)to), "c"((uint64_t)(to >> 64)) : "memory");
	*was = (any_u128)hi << 64 | lo;
	return same;
}

static UNCHECKED void atom128(const uint64_t *addr, uint32_t mask, const void *a, const void *b, void *old, unsigned int op)
{
	EACH_LANE(mask, lane) {
		any_u128 *p = (any_u128 *)(uintptr_t)addr[lane], val = ((const any_u128 *)a)[lane], was = val;

		if (op == IR_ATOM_CAS) {
			cas128(p, &was, ((const any_u128 *)b)[lane]);
		} else {
			was = 0;	/* a guess: the first round reads */
			while (!cas128(p, &was, val))
				;
		}
		((any_u128 *)old)[lane] = was;
	}
}

static UNCHECKED void rt_atom(const uint64_t *addr, uint32_t mask, const void *a, const void *b, void *old, uint32_t code,
			      uint32_t line)
{
	unsigned int op = code & 0xff, bits = ir_type_bits(code >> 8 & 0xff);
	bool is_float = ir_type_is_float(code >> 8 & 0xff);

	access_begin(addr, mask, bits / 8, line);
	switch (bits) {
	case 16: ATOM_LANES(any_u16); break;
	case 32: ATOM_LANES(any_u32); break;
	case 64: ATOM_LANES(any_u64); break;
	case 128: atom128(addr, mask, a, b, old, op); break;
	}
	access_end();
}

/*
 * Directed rounding by the hardware's mode. The barriers keep the compiler from moving arithmetic across the changes.
 */
#define HIDE(x) __asm__ volatile("" : "+x"(x) : : "memory")

static uint32_t mode_of(uint32_t rnd)
{
	switch (rnd) {
	case IR_RZ: return _MM_ROUND_TOWARD_ZERO;
	case IR_RM: return _MM_ROUND_DOWN;
	case IR_RP: return _MM_ROUND_UP;
	default: return _MM_ROUND_NEAREST;
	}
}

static void rt_arith(uint32_t code, const void *a, const void *b, const void *c, void *out)
{
	uint32_t op = code >> 8, rnd = code & 0xff, mode = _mm_getcsr();
	const uint64_t *ua = a, *ub = b;
	const int64_t *sa = a, *sb = b;
	const double *da = a, *db = b, *dc = c;
	const float *fa = a, *fb = b;
	uint64_t *uo = out;
	double *dout = out;
	float *fo = out;

	if (op > HG_CPU_SREM64)
		_mm_setcsr((mode & ~(uint32_t)_MM_ROUND_MASK) | mode_of(rnd));
	for (int i = 0; i < HG_WARP; i++) {
		double d;
		float f;

		switch (op) {
		case HG_CPU_UDIV64: uo[i] = ub[i] ? ua[i] / ub[i] : ~UINT64_C(0); break;
		case HG_CPU_UREM64: uo[i] = ub[i] ? ua[i] % ub[i] : ua[i]; break;
		case HG_CPU_SDIV64:
			uo[i] = !sb[i] ? ~UINT64_C(0) : sb[i] == -1 ? 0 - ua[i] : (uint64_t)(sa[i] / sb[i]);
			break;
		case HG_CPU_SREM64: uo[i] = !sb[i] ? ua[i] : sb[i] == -1 ? 0 : (uint64_t)(sa[i] % sb[i]); break;
		case HG_CPU_ADD_F64: d = da[i]; HIDE(d); d += db[i]; HIDE(d); dout[i] = d; break;
		case HG_CPU_MUL_F64: d = da[i]; HIDE(d); d *= db[i]; HIDE(d); dout[i] = d; break;
		case HG_CPU_DIV_F64: d = da[i]; HIDE(d); d /= db[i]; HIDE(d); dout[i] = d; break;
		case HG_CPU_FMA_F64: d = da[i]; HIDE(d); d = fma(d, db[i], dc[i]); HIDE(d); dout[i] = d; break;
		case HG_CPU_SQRT_F64: d = da[i]; HIDE(d); d = __builtin_sqrt(d); HIDE(d); dout[i] = d; break;
		case HG_CPU_DIV_F32: f = fa[i]; HIDE(f); f /= fb[i]; HIDE(f); fo[i] = f; break;
		case HG_CPU_SQRT_F32: f = fa[i]; HIDE(f); f = __builtin_sqrtf(f); HIDE(f); fo[i] = f; break;
		case HG_CPU_S64_F32: f = (float)sa[i]; HIDE(f); fo[i] = f; break;
		case HG_CPU_S64_F64: d = (double)sa[i]; HIDE(d); dout[i] = d; break;
		case HG_CPU_U64_F32: case HG_CPU_U64_F64: {
			uint64_t v = ua[i];
			unsigned int shift = 0;

			/* Keep what does not fit in a signed number as a sticky bit. */
			if (v >> 63) {
				v = v >> 1 | (v & 1);
				shift = 1;
			}
			if (op == HG_CPU_U64_F32) {
				f = (float)(int64_t)v;
				HIDE(f);
				fo[i] = shift ? f * 2 : f;
			} else {
				d = (double)(int64_t)v;
				HIDE(d);
				dout[i] = shift ? d * 2 : d;
			}
			break;
		}
		}
	}
	if (op > HG_CPU_SREM64)
		_mm_setcsr(mode);
}

static void rt_shfl(const uint32_t *value, const uint32_t *from, uint32_t *out)
{
	for (int i = 0; i < HG_WARP; i++)
		out[i] = value[from[i] & 31];
}

static void rt_match(uint32_t kind, uint32_t bits, const void *value, const uint32_t *members, uint32_t mask,
		     uint32_t *equal)
{
	const uint32_t *v32 = value;
	const uint64_t *v64 = value;

	EACH_LANE(mask, lane) {
		uint32_t same = 0, in = members[lane] & mask;

		EACH_LANE(in, other)
			if (bits == 64 ? v64[other] == v64[lane] : v32[other] == v32[lane])
				same |= UINT32_C(1) << other;
		equal[lane] = kind == 0 || same == in ? same : 0;
	}
}

static void rt_redux(uint32_t code, const uint32_t *value, const uint32_t *members, uint32_t mask, uint32_t *out)
{
	EACH_LANE(mask, lane) {
		uint32_t in = members[lane] & mask, acc = value[lane];

		in &= ~(UINT32_C(1) << lane);
		EACH_LANE(in, other)
			acc = (uint32_t)atom_apply(code, acc, value[other]);
		out[lane] = acc;
	}
}

uint32_t hg_cpu_shfl_from(uint32_t sub, uint32_t lane, uint32_t b, uint32_t c, bool *in_range)
{
	uint32_t seg = c >> 8 & 31, bval = b & 31, cval = c & 31;
	int32_t max = (int32_t)((lane & seg) | (cval & ~seg & 31)), j;

	switch (sub) {
	case IR_SHFL_UP: j = (int32_t)lane - (int32_t)bval; *in_range = j >= max; break;
	case IR_SHFL_DOWN: j = (int32_t)(lane + bval); *in_range = j <= max; break;
	case IR_SHFL_BFLY: j = (int32_t)(lane ^ bval); *in_range = j <= max; break;
	case IR_SHFL_IDX:
	default: j = (int32_t)((lane & seg) | (bval & ~seg & 31)); *in_range = j <= max; break;
	}
	return *in_range ? (uint32_t)j : lane;
}

static void meet_shfl(struct hg_cpu_frame *f, uint32_t lanes, uint32_t sub)
{
	uint64_t was[HG_WARP];

	memcpy(was, f->sync_value, sizeof(was));
	EACH_LANE(lanes, lane) {
		bool in_range;
		uint32_t from = hg_cpu_shfl_from(sub, lane, f->sync_b[lane], f->sync_c[lane], &in_range);

		f->sync_value[lane] = lanes >> from & 1 ? was[from] : 0;
		f->sync_c[lane] = in_range;
	}
}

static void meet_vote(struct hg_cpu_frame *f, uint32_t lanes, uint32_t sub)
{
	uint32_t yes = 0, r;

	EACH_LANE(lanes, lane)
		yes |= (uint32_t)(f->sync_value[lane] & 1) << lane;
	switch (sub) {
	case IR_VOTE_BALLOT: r = yes; break;
	case IR_VOTE_ANY: r = yes != 0; break;
	case IR_VOTE_UNI: r = !yes || yes == lanes; break;
	default: r = yes == lanes; break;
	}
	EACH_LANE(lanes, lane)
		f->sync_value[lane] = r;
}

static void meet_match(struct hg_cpu_frame *f, uint32_t lanes, uint32_t all)
{
	uint32_t equal[HG_WARP];

	rt_match(all, 64, f->sync_value, f->sync_members, lanes, equal);
	EACH_LANE(lanes, lane) {
		f->sync_value[lane] = equal[lane];
		f->sync_c[lane] = equal[lane] != 0;
	}
}

static void meet_redux(struct hg_cpu_frame *f, uint32_t lanes, uint32_t key)
{
	uint32_t code = (key >> 8 & 0xff) | (key >> 16 & 0xff) << 8 | (key & HG_CPU_SYNC_NAN ? HG_CPU_ATOM_NAN : 0);
	uint32_t value[HG_WARP], out[HG_WARP];

	EACH_LANE(lanes, lane)
		value[lane] = (uint32_t)f->sync_value[lane];
	rt_redux(code, value, f->sync_members, lanes, out);
	EACH_LANE(lanes, lane)
		f->sync_value[lane] = out[lane];
}

static bool do_what_it_does(const struct hg_cpu_frame *f, uint32_t lanes, uint32_t lane)
{
	EACH_LANE(lanes, other)
		if (f->sync_key[other] != f->sync_key[lane] || f->sync_members[other] != f->sync_members[lane])
			return false;
	return true;
}

static uint32_t rt_meet(struct hg_cpu_frame *f, uint32_t alive, uint32_t blocked, uint32_t done)
{
	uint32_t met = 0;

	EACH_LANE(blocked, lane) {
		uint32_t lanes = f->sync_members[lane] & alive, key = f->sync_key[lane];

		if (met >> lane & 1 || !(lanes >> lane & 1) || lanes & ~blocked || !do_what_it_does(f, lanes, lane))
			continue;
		switch (key & 0xff) {
		case IR_shfl: meet_shfl(f, lanes, key >> 8 & 0xff); break;
		case IR_vote: meet_vote(f, lanes, key >> 8 & 0xff); break;
		case IR_match: meet_match(f, lanes, key >> 8 & 0xff); break;
		case IR_redux: meet_redux(f, lanes, key); break;
		default: break;		/* warpsync */
		}
		EACH_LANE(lanes, other)
			f->pc[other] += done;
		met |= lanes;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return met;
}

static uint64_t rt_timer(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* PTX ISA, nanosleep: any time up to twice as long. To ask the system for a short one takes longer than that. */
static void rt_sleep(uint32_t ns)
{
	struct timespec ts = { .tv_nsec = ns < 1000000 ? ns : 1000000 };

	if (ns >= 20000)
		nanosleep(&ts, NULL);
}

void hg_cpu_rt_init(struct hg_cpu_rt *rt, void (*fault)(uint32_t kind, uint64_t addr))
{
	raise_fault = fault;
	rt->load = rt_load;
	rt->store = rt_store;
	rt->atom = rt_atom;
	rt->arith = rt_arith;
	rt->shfl = rt_shfl;
	rt->match = rt_match;
	rt->redux = rt_redux;
	rt->meet = rt_meet;
	rt->fault = fault;
	rt->timer = rt_timer;
	rt->sleep = rt_sleep;
	hg_cpu_matrix_init(rt);
	hg_cpu_texture_init(rt, fault);
}
