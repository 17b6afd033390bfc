/* matrix_cases.h - what mma, wmma, ldmatrix, stmatrix and movmatrix must do on any executor: against C. */
#ifndef TESTS_UNIT_MATRIX_CASES_H
#define TESTS_UNIT_MATRIX_CASES_H

/*
 * Included by one file of each suite, after its own kernel_run, with MATRIX_RUN, the function that runs a kernel in all of the suite's
 * ways, and MATRIX_SUITE, the name of the suite; without that name the tests are functions.
 */
#include <math.h>

#ifdef MATRIX_SUITE
#define MATRIX_TEST_(suite, name) Test(suite, name)
#define MATRIX_TEST(name) MATRIX_TEST_(MATRIX_SUITE, name)
#else
#define MATRIX_TEST(name) static inline __attribute__((unused)) void name(void)
#endif

/* ---- elements ---- */

enum elem { F64, TF32, BF16, F16, S8, U8, S4, U4, B1, E4M3, E5M2, F32, S32 };
static const struct { const char *name; unsigned int bits; } elem_info[] = {
	[F64] = { "f64", 64 }, [TF32] = { "tf32", 32 }, [BF16] = { "bf16", 16 }, [F16] = { "f16", 16 }, [S8] = { "s8", 8 },
	[U8] = { "u8", 8 }, [S4] = { "s4", 4 }, [U4] = { "u4", 4 }, [B1] = { "b1", 1 }, [E4M3] = { "e4m3", 8 },
	[E5M2] = { "e5m2", 8 }, [F32] = { "f32", 32 }, [S32] = { "s32", 32 },
};

static uint64_t seed = 88172645463325252u;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* A float of so many bits of exponent and mantissa; e4m3 (fn) has no infinity. */
static double decode(uint64_t v, int exp_bits, int man_bits, bool fn)
{
	int sign = (int)(v >> (exp_bits + man_bits) & 1), e = (int)(v >> man_bits & ((1u << exp_bits) - 1));
	int bias = (1 << (exp_bits - 1)) - 1, top = (1 << exp_bits) - 1;
	double m = (double)(v & ((UINT64_C(1) << man_bits) - 1)), r;

	if (fn && e == top && m == (1 << man_bits) - 1)
		r = NAN;
	else if (!fn && e == top)
		r = m != 0 ? NAN : INFINITY;
	else if (e)
		r = ldexp(1 + ldexp(m, -man_bits), e - bias);
	else
		r = ldexp(m, 1 - bias - man_bits);
	return sign ? -r : r;
}

static double value(enum elem t, uint64_t v)
{
	double d;

	switch (t) {
	case F64: memcpy(&d, &v, sizeof(d)); return d;
	case TF32: return decode(v & 0xffffe000, 8, 23, false);
	case F32: return decode(v, 8, 23, false);
	case BF16: return decode(v, 8, 7, false);
	case F16: return decode(v, 5, 10, false);
	case E4M3: return decode(v, 4, 3, true);
	case E5M2: return decode(v, 5, 2, false);
	case S8: return (int8_t)v;
	case S4: return (int)(v & 15) - ((v & 8) ? 16 : 0);
	case S32: return (int32_t)v;
	default: return (double)v;
	}
}

/* The nearest f16 of an f32, by search among all. */
static uint16_t to_f16(float f)
{
	uint32_t lo = 0, hi = 0x7c00;
	uint16_t sign = signbit(f) ? 0x8000 : 0;
	double a = fabs((double)f), below, above;

	if (isnan(f))
		return 0x7fff;
	if (isinf(f))
		return sign | 0x7c00;
	while (hi - lo > 1) {
		uint32_t mid = (lo + hi) / 2;

		if (decode(mid, 5, 10, false) <= a)
			lo = mid;
		else
			hi = mid;
	}
	below = decode(lo, 5, 10, false);
	above = hi == 0x7c00 ? 65536 : decode(hi, 5, 10, false);
	if (a - below == above - a)
		return sign | (uint16_t)(lo & 1 ? hi : lo);
	return sign | (uint16_t)(a - below < above - a ? lo : hi);
}

/* Patterns: 0 any bits, 1 small numbers, 2 ordinary numbers, 3 corners. */
static uint64_t random_elem(enum elem t, int pattern)
{
	static const uint32_t corner32[] = { 0, 0x80000000, 1, 0x007fffff, 0x00800000, 0x3f800000, 0xbf800000, 0x7f7fffff, 0xff7fffff,
					     0x7f800000, 0xff800000, 0x7fc00000, 0x33800000, 0x3f801000, 0x3f802000 };
	static const uint16_t corner16[] = { 0, 0x8000, 1, 0x8001, 0x03ff, 0x0400, 0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x7c00, 0xfc00,
					     0x7e00, 0x3c01, 0x3f80, 0x7f7f, 0x7f80, 0x0080 };
	static const double corner64[] = { 0, -0.0, 0x1p-1074, 0x1p-1022, 1, -1, 0x1.fffffffffffffp1023, INFINITY, -INFINITY, NAN, 0x1p-53 };
	uint64_t v = rnd() >> 7;
	double d;
	float f;
	uint32_t u;

	if (t >= S8 && t <= B1)
		return v & ((UINT64_C(1) << elem_info[t].bits) - 1);
	if (t == S32)
		return (uint32_t)(pattern == 1 ? v % 1000 : pattern == 3 && v & 1 ? INT32_MAX - (v >> 8) % 3000 :
				  pattern == 3 ? 0x80000000 + (v >> 8) % 3000 : v);
	if (pattern == 1)
		f = (float)((int)(v % 17) - 8);
	else
		f = (float)ldexp((double)(int64_t)(v % 2000001) - 1000000, -20 + (int)(v >> 32) % 8);
	memcpy(&u, &f, sizeof(u));
	switch (t) {
	case F64:
		d = pattern == 3 ? corner64[v % 11] : pattern == 2 ? f * 1.1 : f;
		memcpy(&v, &d, sizeof(v));
		return pattern ? v : rnd();
	case TF32: case F32: return pattern == 0 ? (uint32_t)v : pattern == 3 ? corner32[v % 15] : u;
	case BF16: return pattern == 0 ? (uint16_t)v : pattern == 3 ? corner16[v % 18] : u >> 16;
	case F16: return pattern == 0 ? (uint16_t)v : pattern == 3 ? corner16[v % 18] : to_f16(f);
	default: return pattern == 1 ? (v & 0xbf) : (uint8_t)v;
	}
}

/* ---- the reference: matrices in memory, and D = A * B + C as docs/cpu-target.md has it ---- */

struct product {
	unsigned int m, n, k;
	enum elem a, b, c, d;
	bool sat;
	char bit_op;		/* 'x', 'a' */
	uint64_t ea[32 * 256], eb[256 * 32], ec[32 * 32], ed[32 * 32];	/* row after row */
};

static void multiply(struct product *p)
{
	for (unsigned int i = 0; i < p->m; i++)
		for (unsigned int j = 0; j < p->n; j++) {
			uint64_t *d = &p->ed[i * p->n + j], c = p->ec[i * p->n + j];
			double acc = value(p->c, c);
			float f = (float)acc;
			__int128 sum = p->c == S32 ? (int32_t)c : 0;
			uint32_t u;

			for (unsigned int k = 0; k < p->k; k++) {
				uint64_t a = p->ea[i * p->k + k], b = p->eb[k * p->n + j];

				if (p->a == F64)
					acc = fma(value(F64, a), value(F64, b), acc);
				else if (p->a == B1)
					sum += p->bit_op == 'x' ? a ^ b : a & b;
				else if (p->c == S32)
					sum += (__int128)value(p->a, a) * (__int128)value(p->b, b);
				else
					f = fmaf((float)value(p->a, a), (float)value(p->b, b), f);
			}
			if (p->a == F64) {
				memcpy(d, &acc, sizeof(*d));
				if (isnan(acc))
					*d = UINT64_C(0xfff8000000000000);
			} else if (p->c == S32) {
				if (p->sat)
					sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
				*d = (uint32_t)sum;
			} else if (p->d == F16) {
				*d = to_f16(f);
			} else {
				memcpy(&u, &f, sizeof(u));
				*d = isnan(f) ? 0x7fffffff : u;
			}
		}
}

static void fill(struct product *p, int pattern)
{
	for (unsigned int i = 0; i < p->m * p->k; i++)
		p->ea[i] = random_elem(p->a, pattern);
	for (unsigned int i = 0; i < p->k * p->n; i++)
		p->eb[i] = random_elem(p->b, pattern);
	for (unsigned int i = 0; i < p->m * p->n; i++)
		p->ec[i] = random_elem(p->c, pattern);
}

static uint64_t get_bits(const void *base, size_t i, unsigned int bits)
{
	const unsigned char *b = base;
	uint64_t v = 0;

	if (bits < 8)
		return b[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
	memcpy(&v, b + i * (bits / 8), bits / 8);
	return v;
}

static void put_bits(void *base, size_t i, unsigned int bits, uint64_t v)
{
	unsigned char *b = base;
	unsigned int shift;

	if (bits >= 8) {
		memcpy(b + i * (bits / 8), &v, bits / 8);
		return;
	}
	shift = (unsigned int)(i * bits % 8);
	b += i * bits / 8;
	*b = (unsigned char)((*b & ~(((1u << bits) - 1) << shift)) | (unsigned int)v << shift);
}

/* ---- mma: fragments by the formulas of PTX ISA 9.0, 9.7.14.5, shape by shape ---- */

struct place { unsigned int row, col; };

static struct place place_a(const struct product *p, bool col_major, unsigned int lane, unsigned int i)
{
	unsigned int g = lane >> 2, t = lane % 4, bits = elem_info[p->a].bits;

	if (p->k == 4 && bits == 16) {
		if (col_major)
			return (struct place){ i % 4 + (lane < 16 ? 0 : 4), lane % 4 };
		return (struct place){ lane % 4 + (lane < 16 ? 0 : 4), i };
	}
	if (p->m == 8) {
		switch (p->k) {
		case 4: return (struct place){ g, t };
		case 16: return (struct place){ g, t * 4 + i };
		case 32: return (struct place){ g, t * 8 + i };
		default: return (struct place){ g, t * 32 + i };
		}
	}
	switch (bits) {
	case 64:
		if (p->k == 4)
			return (struct place){ i == 0 ? g : g + 8, t };
		if (p->k == 8)
			return (struct place){ i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4 };
		return (struct place){ i % 2 == 0 ? g : g + 8, i % 2 == 0 ? i * 2 + t : i * 2 - 2 + t };
	case 32: return (struct place){ i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4 };
	case 16:
		if (p->k == 8)
			return (struct place){ i < 2 ? g : g + 8, t * 2 + (i & 1) };
		return (struct place){ i < 2 || (i >= 4 && i < 6) ? g : g + 8, t * 2 + (i & 1) + (i < 4 ? 0 : 8) };
	case 8:
		if (p->k == 16)
			return (struct place){ i < 4 ? g : g + 8, t * 4 + (i & 3) };
		return (struct place){ i < 4 || (i >= 8 && i < 12) ? g : g + 8, t * 4 + (i & 3) + (i < 8 ? 0 : 16) };
	case 4:
		if (p->k == 32)
			return (struct place){ i < 8 ? g : g + 8, t * 8 + (i & 7) };
		return (struct place){ i < 8 || (i >= 16 && i < 24) ? g : g + 8, t * 8 + (i & 7) + (i < 16 ? 0 : 32) };
	default:
		if (p->k == 128)
			return (struct place){ i < 32 ? g : g + 8, t * 32 + (i & 31) };
		return (struct place){ i < 32 || (i >= 64 && i < 96) ? g : g + 8, t * 32 + (i & 31) + (i < 64 ? 0 : 128) };
	}
}

static struct place place_b(const struct product *p, bool col_major, unsigned int lane, unsigned int i)
{
	unsigned int g = lane >> 2, t = lane % 4, bits = elem_info[p->b].bits;

	if (p->k == 4 && bits == 16) {
		if (col_major)
			return (struct place){ i, lane % 4 + (lane < 16 ? 0 : 4) };
		return (struct place){ lane % 4, i + (lane < 16 ? 0 : 4) };
	}
	switch (bits) {
	case 64: case 32: return (struct place){ t + 4 * i, g };
	case 16: return (struct place){ t * 2 + (i & 1) + (i < 2 ? 0 : 8), g };
	case 8: return (struct place){ t * 4 + (i & 3) + (i < 4 ? 0 : 16), g };
	case 4: return (struct place){ t * 8 + (i & 7) + (i < 8 ? 0 : 32), g };
	default: return (struct place){ t * 32 + (i & 31) + (i < 32 ? 0 : 128), g };
	}
}

static struct place place_c(const struct product *p, enum elem t, unsigned int lane, unsigned int i)
{
	if (p->k == 4 && elem_info[p->a].bits == 16) {
		if (t == F16)
			return (struct place){ lane % 4 + (lane < 16 ? 0 : 4), i };
		return (struct place){ (lane & 1) + (i & 2) + (lane < 16 ? 0 : 4), (i & 4) + (lane & 2) + (i & 1) };
	}
	return (struct place){ (lane >> 2) + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1) };
}

struct regs { unsigned int nr, elems, bits; };	/* of a matrix, in each lane; bits of a register */

static struct regs regs_of(enum elem t, unsigned int elems_in_warp)
{
	unsigned int bits = elem_info[t].bits;

	return (struct regs){ elems_in_warp / 32 * bits / (bits == 64 ? 64 : 32), elems_in_warp / 32, bits == 64 ? 64 : 32 };
}

static const char *list(char *buf, const char *prefix, unsigned int first, unsigned int nr)
{
	char *at = buf;

	at += sprintf(at, "{");
	for (unsigned int i = 0; i < nr; i++)
		at += sprintf(at, "%s%s%u", i ? ", " : "", prefix, first + i);
	sprintf(at, "}");
	return buf;
}

enum { WARPS = 16 };

/* A, B and C in registers, as they are in memory: register r of lane l of a matrix at (r * 32 + l) * size. */
static void check_mma(const char *shape, const char *words, unsigned int m, unsigned int n, unsigned int k, enum elem a, enum elem b,
		      enum elem c, enum elem d, const char *a_layout, const char *b_layout, bool sat, char bit_op)
{
	static struct product p[WARPS * 4];
	unsigned int quads = k == 4 && a == F16 ? 4 : 1, size;
	struct regs ra = regs_of(a, m * k * quads), rb = regs_of(b, k * n * quads), rc = regs_of(c, m * n * quads),
		    rd = regs_of(d, m * n * quads);
	bool wide = a == F64;
	const char *pre = wide ? "%d" : "%x", *t = wide ? "b64" : "b32";
	unsigned int bytes = wide ? 8 : 4, at_b = ra.nr, at_c = at_b + rb.nr, at_d = at_c + rc.nr, total = at_d + rd.nr;
	char *ptx = malloc(65536), *at = ptx, l[4][256], mma[256];
	unsigned char *data;
	struct { void *p; uint32_t n; } params;
	struct kernel_run run = { .block = { 64 }, .grid = { WARPS / 2 } };

	size = total * 32 * bytes;
	data = calloc(WARPS, size);
	snprintf(mma, sizeof(mma), "mma.sync.aligned.%s.%s.%s.%s.%s.%s.%s%s", shape, a_layout, b_layout, elem_info[d].name,
		 elem_info[a].name, elem_info[b].name, elem_info[c].name, words);
	at += sprintf(at, PTX_HEAD ".visible .entry k(.param .u64 p, .param .u32 n) {\n.reg .%s %s<64>; .reg .b32 %%r<9>; .reg .b64 %%rd<9>;\n"
		      "ld.param.u64 %%rd1, [p]; mov.u32 %%r1, %%ctaid.x; mov.u32 %%r2, %%tid.x; shl.b32 %%r1, %%r1, 1; shr.u32 %%r3, %%r2, 5;\n"
		      "add.u32 %%r1, %%r1, %%r3; mul.wide.u32 %%rd2, %%r1, %u; add.u64 %%rd1, %%rd1, %%rd2; and.b32 %%r2, %%r2, 31;\n"
		      "mul.wide.u32 %%rd2, %%r2, %u; add.u64 %%rd1, %%rd1, %%rd2;\n", t, pre, size, bytes);
	for (unsigned int i = 0; i < at_d; i++)
		at += sprintf(at, "ld.global.%s %s%u, [%%rd1+%u];\n", t, pre, i, i * 32 * bytes);
	at += sprintf(at, "%s %s, %s, %s, %s;\n", mma, list(l[0], pre, at_d, rd.nr), list(l[1], pre, 0, ra.nr),
		      list(l[2], pre, at_b, rb.nr), list(l[3], pre, at_c, rc.nr));
	for (unsigned int i = at_d; i < total; i++)
		at += sprintf(at, "st.global.%s [%%rd1+%u], %s%u;\n", t, i * 32 * bytes, pre, i);
	sprintf(at, "ret; }\n");
	for (unsigned int w = 0; w < WARPS; w++) {
		unsigned char *block = data + w * size;

		for (unsigned int q = 0; q < quads; q++) {
			p[w * quads + q] = (struct product){ .m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .d = d, .sat = sat,
							     .bit_op = bit_op };
			fill(&p[w * quads + q], (int)(w % 4));
			multiply(&p[w * quads + q]);
		}
		for (unsigned int lane = 0; lane < 32; lane++) {
			struct product *q = &p[w * quads + (quads > 1 ? lane / 4 % 4 : 0)];

#define EACH(letter, r, first, place_, cols, from)									\
			for (unsigned int i = 0; i < r.elems; i++) {							\
				struct place x = place_;								\
				unsigned int per = r.elems / r.nr;							\
															\
				put_bits(block + ((first + i / per) * 32 + lane) * bytes, i % per, r.bits / per,	\
					 q->from[x.row * cols + x.col]);						\
			}
			EACH(a, ra, 0, place_a(q, *a_layout == 'c', lane, i), k, ea)
			EACH(b, rb, at_b, place_b(q, *b_layout == 'c', lane, i), n, eb)
			EACH(c, rc, at_c, place_c(q, c, lane, i), n, ec)
		}
	}
	params.p = data;
	params.n = 0;
	run.params = &params;
	run.data = data;
	run.size = WARPS * (size_t)size;
	MATRIX_RUN(ptx, &run);
	for (unsigned int w = 0; w < WARPS; w++)
		for (unsigned int lane = 0; lane < 32; lane++) {
			const struct product *q = &p[w * quads + (quads > 1 ? lane / 4 % 4 : 0)];

			for (unsigned int i = 0; i < rd.elems; i++) {
				struct place x = place_c(q, d, lane, i);
				unsigned int per = rd.elems / rd.nr;
				uint64_t got = get_bits(data + w * size + ((at_d + i / per) * 32 + lane) * bytes, i % per,
							rd.bits / per), want = q->ed[x.row * n + x.col];

				cr_assert_eq(got, want, "%s, pattern %u: lane %u, element %u is %llx, not %llx", mma, w % 4, lane, i,
					     (unsigned long long)got, (unsigned long long)want);
			}
		}
	free(data);
	free(ptx);
}

MATRIX_TEST(products_of_doubles)
{
	check_mma("m8n8k4", "", 8, 8, 4, F64, F64, F64, F64, "row", "col", false, 0);
	check_mma("m16n8k4", "", 16, 8, 4, F64, F64, F64, F64, "row", "col", false, 0);
	check_mma("m16n8k8", "", 16, 8, 8, F64, F64, F64, F64, "row", "col", false, 0);
	check_mma("m16n8k16", "", 16, 8, 16, F64, F64, F64, F64, "row", "col", false, 0);
}

MATRIX_TEST(products_of_floats)
{
	check_mma("m16n8k4", "", 16, 8, 4, TF32, TF32, F32, F32, "row", "col", false, 0);
	check_mma("m16n8k8", "", 16, 8, 8, TF32, TF32, F32, F32, "row", "col", false, 0);
	check_mma("m16n8k8", "", 16, 8, 8, BF16, BF16, F32, F32, "row", "col", false, 0);
	check_mma("m16n8k16", "", 16, 8, 16, BF16, BF16, F32, F32, "row", "col", false, 0);
	check_mma("m16n8k8", "", 16, 8, 8, F16, F16, F32, F32, "row", "col", false, 0);
	check_mma("m16n8k8", "", 16, 8, 8, F16, F16, F16, F16, "row", "col", false, 0);
	check_mma("m16n8k16", "", 16, 8, 16, F16, F16, F32, F32, "row", "col", false, 0);
	check_mma("m16n8k16", "", 16, 8, 16, F16, F16, F16, F16, "row", "col", false, 0);
}

MATRIX_TEST(products_of_eight_lanes)
{
	static const char *const layout[] = { "row", "col" };

	for (int i = 0; i < 4; i++) {
		check_mma("m8n8k4", "", 8, 8, 4, F16, F16, F32, F32, layout[i / 2], layout[i % 2], false, 0);
		check_mma("m8n8k4", "", 8, 8, 4, F16, F16, F16, F16, layout[i / 2], layout[i % 2], false, 0);
	}
	check_mma("m8n8k4", "", 8, 8, 4, F16, F16, F16, F32, "row", "col", false, 0);
}

MATRIX_TEST(products_of_small_floats)
{
	for (int i = 0; i < 8; i++) {
		enum elem a = i & 1 ? E4M3 : E5M2, b = i & 2 ? E4M3 : E5M2, c = i & 4 ? F16 : F32;

		check_mma("m16n8k16", "", 16, 8, 16, a, b, c, c, "row", "col", false, 0);
		check_mma("m16n8k32", "", 16, 8, 32, a, b, c, c, "row", "col", false, 0);
	}
}

MATRIX_TEST(products_of_integers)
{
	static const struct { const char *shape; unsigned int m, k; } shape[] = {
		{ "m8n8k16", 8, 16 }, { "m16n8k16", 16, 16 }, { "m16n8k32", 16, 32 },
		{ "m8n8k32", 8, 32 }, { "m16n8k32", 16, 32 }, { "m16n8k64", 16, 64 },
	};

	for (unsigned int s = 0; s < 6; s++)
		for (int i = 0; i < 8; i++) {
			enum elem u = s < 3 ? U8 : U4, v = s < 3 ? S8 : S4;

			check_mma(shape[s].shape, i & 4 ? ".satfinite" : "", shape[s].m, 8, shape[s].k, i & 1 ? u : v, i & 2 ? u : v,
				  S32, S32, "row", "col", i & 4, 0);
		}
}

MATRIX_TEST(products_of_bits)
{
	static const struct { const char *shape; unsigned int m, k; } shape[] = {
		{ "m8n8k128", 8, 128 }, { "m16n8k128", 16, 128 }, { "m16n8k256", 16, 256 },
	};

	for (unsigned int s = 0; s < 3; s++) {
		check_mma(shape[s].shape, ".xor.popc", shape[s].m, 8, shape[s].k, B1, B1, S32, S32, "row", "col", false, 'x');
		check_mma(shape[s].shape, ".and.popc", shape[s].m, 8, shape[s].k, B1, B1, S32, S32, "row", "col", false, 'a');
	}
}

/* ---- wmma: matrices in memory ---- */

struct wmma {
	unsigned int m, n, k;
	enum elem a, b, c, d;
	bool a_col, b_col, c_col, d_col, sat;
	char bit_op;
	bool rn;
	const char *space;	/* "", ".shared", ".shared::cta", ".global", or "to shared": generic addresses of shared memory */
	unsigned int pad;	/* elements between lines */
};

/* Bytes of a matrix, its lines `stride` elements apart. */
static size_t matrix_bytes(unsigned int lines, unsigned int stride, enum elem t)
{
	return ((size_t)lines * stride * elem_info[t].bits / 8 + 255) / 256 * 256;
}

static void check_wmma(const struct wmma *w)
{
	static struct product p[4];
	unsigned int sa = (w->a_col ? w->m : w->k) + w->pad, sb = (w->b_col ? w->k : w->n) + w->pad,
		     sc = (w->c_col ? w->m : w->n) + w->pad, sd = (w->d_col ? w->m : w->n) + w->pad;
	size_t at_b = matrix_bytes(w->a_col ? w->k : w->m, sa, w->a), at_c = at_b + matrix_bytes(w->b_col ? w->n : w->k, sb, w->b),
	       at_d = at_c + matrix_bytes(w->c_col ? w->n : w->m, sc, w->c), size = at_d + matrix_bytes(w->d_col ? w->n : w->m, sd, w->d);
	struct regs ra = regs_of(w->a, w->m * w->k), rb = regs_of(w->b, w->n * w->k), rc = regs_of(w->c, w->m * w->n),
		    rd = regs_of(w->d, w->m * w->n);
	const char *pre = w->a == F64 ? "%d" : "%x", *op = w->bit_op == 'x' ? ".xor.popc" : w->bit_op ? ".and.popc" : "";
	bool shared = !strncmp(w->space, ".shared", 7) || !strcmp(w->space, "to shared");
	const char *space = !strcmp(w->space, "to shared") ? "" : w->space, *base = !strncmp(w->space, ".shared", 7) ? "%r8" : "%rd1";
	char *ptx = malloc(65536), *at = ptx, l[4][256], types[64], shape[32], stride[4][16] = { "", "", "", "" };
	unsigned char *data = aligned_alloc(256, size * 4);
	struct { void *p; uint32_t n; } params = { .p = data };
	struct kernel_run run = { .block = { 32 }, .grid = { 4 }, .params = &params, .data = data, .size = size * 4 };

	if (w->a == F16)
		ra.nr = rb.nr = 8;
	snprintf(shape, sizeof(shape), "m%un%uk%u", w->m, w->n, w->k);
	if (w->a == F16)
		snprintf(types, sizeof(types), "%s.%s", elem_info[w->d].name, elem_info[w->c].name);
	else
		snprintf(types, sizeof(types), "%s.%s.%s.%s%s", elem_info[w->d].name, elem_info[w->a].name, elem_info[w->b].name,
			 elem_info[w->c].name, w->sat ? ".satfinite" : w->rn ? ".rn" : "");
	if (w->pad) {
		snprintf(stride[0], 16, ", %u", sa);
		snprintf(stride[1], 16, ", %u", sb);
		strcpy(stride[2], ", %r7");
		snprintf(stride[3], 16, ", %u", sd);
	}
	at += sprintf(at, PTX_HEAD ".visible .entry k(.param .u64 p, .param .u32 n) {\n.reg .%s %s<64>; .reg .b32 %%r<9>, %%t<3>;\n"
		      ".reg .b64 %%rd<9>; .reg .pred %%p<2>; .shared .align 256 .b8 sh[%zu];\n"
		      "ld.param.u64 %%rd1, [p]; mov.u32 %%r1, %%ctaid.x; mul.wide.u32 %%rd2, %%r1, %zu; add.u64 %%rd1, %%rd1, %%rd2;\n"
		      "mov.u32 %%r7, %u; mov.u32 %%r8, sh; mov.u64 %%rd5, %%rd1;\n", w->a == F64 ? "b64" : "b32", pre, size, size, sc);
	if (shared)	/* there and back by lane 0 */
		at += sprintf(at, "cvta.shared.u64 %%rd6, sh; mov.u32 %%r1, %%tid.x; setp.ne.u32 %%p1, %%r1, 0; @%%p1 bra A; mov.u32 %%r2, 0;\n"
			      "L: cvt.u64.u32 %%rd3, %%r2; add.u64 %%rd4, %%rd5, %%rd3; ld.global.b32 %%t1, [%%rd4];\n"
			      "add.u64 %%rd4, %%rd6, %%rd3; st.b32 [%%rd4], %%t1; add.u32 %%r2, %%r2, 4; setp.lt.u32 %%p1, %%r2, %zu; @%%p1 bra L;\n"
			      "A: bar.sync 0; mov.u64 %%rd1, %%rd6;\n", size);
	at += sprintf(at, "wmma.load.a.sync.aligned.%s.%s%s.%s %s, [%s]%s;\n", w->a_col ? "col" : "row", shape, space, elem_info[w->a].name,
		      list(l[0], pre, 0, ra.nr), base, stride[0]);
	at += sprintf(at, "wmma.load.b.sync.aligned.%s.%s%s.%s %s, [%s+%zu]%s;\n", w->b_col ? "col" : "row", shape, space,
		      elem_info[w->b].name, list(l[0], pre, ra.nr, rb.nr), base, at_b, stride[1]);
	at += sprintf(at, "wmma.load.c.sync.aligned.%s.%s%s.%s %s, [%s+%zu]%s;\n", w->c_col ? "col" : "row", shape, space,
		      elem_info[w->c].name, list(l[0], pre, ra.nr + rb.nr, rc.nr), base, at_c, stride[2]);
	at += sprintf(at, "wmma.mma%s.sync.aligned.%s.%s.%s.%s %s, %s, %s, %s;\n", op, w->a_col ? "col" : "row", w->b_col ? "col" : "row",
		      shape, types, list(l[0], pre, 40, rd.nr), list(l[1], pre, 0, ra.nr), list(l[2], pre, ra.nr, rb.nr),
		      list(l[3], pre, ra.nr + rb.nr, rc.nr));
	at += sprintf(at, "wmma.store.d.sync.aligned.%s.%s%s.%s [%s+%zu], %s%s;\n", w->d_col ? "col" : "row", shape, space,
		      elem_info[w->d].name, base, at_d, list(l[0], pre, 40, rd.nr), stride[3]);
	if (shared)
		at += sprintf(at, "bar.sync 0; setp.ne.u32 %%p1, %%r1, 0; @%%p1 bra E; mov.u32 %%r2, 0;\n"
			      "M: cvt.u64.u32 %%rd3, %%r2; add.u64 %%rd4, %%rd6, %%rd3; ld.b32 %%t1, [%%rd4];\n"
			      "add.u64 %%rd4, %%rd5, %%rd3; st.global.b32 [%%rd4], %%t1; add.u32 %%r2, %%r2, 4; setp.lt.u32 %%p1, %%r2, %zu; @%%p1 bra M;\n"
			      "E: ", size);
	sprintf(at, "ret; }\n");
	memset(data, 0x5a, size * 4);
	for (unsigned int b = 0; b < 4; b++) {
		unsigned char *m = data + b * size;

		p[b] = (struct product){ .m = w->m, .n = w->n, .k = w->k, .a = w->a, .b = w->b, .c = w->c, .d = w->d, .sat = w->sat,
					 .bit_op = w->bit_op };
		fill(&p[b], (int)b);
		multiply(&p[b]);
		for (unsigned int i = 0; i < w->m; i++)
			for (unsigned int k = 0; k < w->k; k++)
				put_bits(m, w->a_col ? k * sa + i : i * sa + k, elem_info[w->a].bits, p[b].ea[i * w->k + k]);
		for (unsigned int k = 0; k < w->k; k++)
			for (unsigned int j = 0; j < w->n; j++)
				put_bits(m + at_b, w->b_col ? j * sb + k : k * sb + j, elem_info[w->b].bits, p[b].eb[k * w->n + j]);
		for (unsigned int i = 0; i < w->m; i++)
			for (unsigned int j = 0; j < w->n; j++)
				put_bits(m + at_c, w->c_col ? j * sc + i : i * sc + j, elem_info[w->c].bits, p[b].ec[i * w->n + j]);
	}
	MATRIX_RUN(ptx, &run);
	for (unsigned int b = 0; b < 4; b++) {
		unsigned char *want = malloc(size);

		memset(want, 0x5a, size);
		for (unsigned int i = 0; i < w->m; i++)
			for (unsigned int j = 0; j < w->n; j++)
				put_bits(want + at_d, w->d_col ? j * sd + i : i * sd + j, elem_info[w->d].bits, p[b].ed[i * w->n + j]);
		for (size_t i = at_d; i < size; i++)
			cr_assert_eq(data[b * size + i], want[i], "%s %s%s, pattern %u: byte %zu of D is %x, not %x\n%s", shape, types, space, b,
				     i - at_d, data[b * size + i], want[i], ptx);
		free(want);
	}
	free(data);
	free(ptx);
}

/* Layouts, spaces and strides take turns, so that each is seen with each matrix. */
static void check_all_layouts(struct wmma w, unsigned int pad, bool fixed)
{
	static const char *const space[] = { "", ".shared", ".global", "to shared" };

	static const unsigned int turn[] = { 0, 3, 5, 6 };	/* all pairs of the three */

	for (unsigned int t = 0; t < 4; t++) {
		unsigned int i = turn[t];

		w.a_col = !fixed && i & 1;
		w.b_col = fixed || i & 2;
		w.c_col = i & 4;
		w.d_col = !(i & 1) != !(i & 4);
		w.space = space[t];
		w.pad = i & 2 ? 0 : pad;
		if (w.c == S32)
			w.sat = i & 1 && !w.bit_op;
		check_wmma(&w);
	}
}

static const unsigned int wmma_shape[3][3] = { { 16, 16, 16 }, { 32, 8, 16 }, { 8, 32, 16 } };

#define WMMA_OF(m_, n_, k_, a_, b_, c_, d_, ...) \
	(struct wmma){ .m = m_, .n = n_, .k = k_, .a = a_, .b = b_, .c = c_, .d = d_, __VA_ARGS__ }
#define WMMA(s, ...) WMMA_OF(wmma_shape[s][0], wmma_shape[s][1], wmma_shape[s][2], __VA_ARGS__)

MATRIX_TEST(wmma_of_halves)
{
	for (int s = 0; s < 3; s++) {
		check_all_layouts(WMMA(s, F16, F16, F32, F32), 8, false);
		check_all_layouts(WMMA(s, F16, F16, F16, F16), 8, false);
	}
	check_all_layouts(WMMA(0, F16, F16, F16, F32), 8, false);
	check_all_layouts(WMMA(1, F16, F16, F32, F16), 8, false);
}

MATRIX_TEST(wmma_of_other_floats)
{
	for (int s = 0; s < 3; s++)
		check_all_layouts(WMMA(s, BF16, BF16, F32, F32), 8, false);
	check_all_layouts(WMMA_OF(16, 16, 8, TF32, TF32, F32, F32), 4, false);
	check_all_layouts(WMMA_OF(8, 8, 4, F64, F64, F64, F64), 2, false);
}

MATRIX_TEST(wmma_of_integers)
{
	for (int s = 0; s < 3; s++) {
		check_all_layouts(WMMA(s, S8, S8, S32, S32), 16, false);
		check_all_layouts(WMMA(s, U8, U8, S32, S32), 16, false);
	}
	check_all_layouts(WMMA_OF(8, 8, 32, S4, S4, S32, S32), 32, true);
	check_all_layouts(WMMA_OF(8, 8, 32, U4, U4, S32, S32), 32, true);
	check_all_layouts(WMMA_OF(8, 8, 128, B1, B1, S32, S32, .bit_op = 'x'), 128, true);
	check_all_layouts(WMMA_OF(8, 8, 128, B1, B1, S32, S32, .bit_op = 'a'), 128, true);
}

/* ---- rows of 16 bytes ---- */

enum { ROWS = 64 };	/* in shared memory */
struct rows {
	unsigned char shared[ROWS][16];
	uint32_t at[32];	/* each lane's row */
	uint32_t reg[4][32];
};

static void run_rows(const char *insn, struct rows *r)
{
	struct { void *p; uint32_t n; } params = { .p = r };
	struct kernel_run run = { .block = { 32 }, .params = &params, .data = r, .size = sizeof(*r) };
	char ptx[8192], body[4096];

	/* %rd1: all of it, %r8: the lane's row in shared memory, %rd8: the same, generic */
	snprintf(body, sizeof(body),
		 ".shared .align 16 .b8 sh[1024];\n"
		 "ld.param.u64 %%rd1, [p]; mov.u32 %%r1, %%tid.x; mul.wide.u32 %%rd2, %%r1, 4; add.u64 %%rd2, %%rd1, %%rd2;\n"
		 "mov.u32 %%r8, sh; shl.b32 %%r2, %%r1, 5; add.u32 %%r3, %%r8, %%r2; cvt.u64.u32 %%rd3, %%r2; add.u64 %%rd3, %%rd1, %%rd3;\n"
		 "ld.global.v4.b32 {%%r4, %%r5, %%r6, %%r7}, [%%rd3]; st.shared.v4.b32 [%%r3], {%%r4, %%r5, %%r6, %%r7};\n"
		 "ld.global.v4.b32 {%%r4, %%r5, %%r6, %%r7}, [%%rd3+16]; st.shared.v4.b32 [%%r3+16], {%%r4, %%r5, %%r6, %%r7};\n"
		 "bar.warp.sync -1; ld.global.u32 %%r4, [%%rd2+1024]; shl.b32 %%r4, %%r4, 4; add.u32 %%r8, %%r8, %%r4;\n"
		 "cvt.u64.u32 %%rd8, %%r8; cvta.shared.u64 %%rd8, %%rd8;\n"
		 "ld.global.u32 %%r4, [%%rd2+1152]; ld.global.u32 %%r5, [%%rd2+1280]; ld.global.u32 %%r6, [%%rd2+1408]; ld.global.u32 %%r7, [%%rd2+1536];\n"
		 "%s\nbar.warp.sync -1;\n"
		 "st.global.u32 [%%rd2+1152], %%r4; st.global.u32 [%%rd2+1280], %%r5; st.global.u32 [%%rd2+1408], %%r6; st.global.u32 [%%rd2+1536], %%r7;\n"
		 "ld.shared.v4.b32 {%%r4, %%r5, %%r6, %%r7}, [%%r3]; st.global.v4.b32 [%%rd3], {%%r4, %%r5, %%r6, %%r7};\n"
		 "ld.shared.v4.b32 {%%r4, %%r5, %%r6, %%r7}, [%%r3+16]; st.global.v4.b32 [%%rd3+16], {%%r4, %%r5, %%r6, %%r7};\nret;", insn);
	kernel_around("", body, "", ptx, sizeof(ptx));
	MATRIX_RUN(ptx, &run);
}

/* Addresses: 0 in order, 1 backwards, 2 all the same, 3 and on at random. */
static void fill_rows(struct rows *r, int pattern, bool distinct)
{
	for (size_t i = 0; i < sizeof(*r); i++)
		((unsigned char *)r)[i] = (unsigned char)(rnd() >> 9);
	for (uint32_t l = 0; l < 32; l++)
		r->at[l] = pattern == 0 ? l : pattern == 1 ? ROWS - 1 - l : pattern == 2 && !distinct ? 5 :
			   distinct ? (l * 37 + (uint32_t)pattern * 11) % ROWS : (uint32_t)(rnd() >> 9) % ROWS;
}

static uint16_t half_at(const uint32_t *reg, unsigned int row, unsigned int col)
{
	return (uint16_t)(reg[row * 4 + col / 2] >> (col % 2 * 16));
}

static void set_half(uint32_t *reg, unsigned int row, unsigned int col, uint16_t v)
{
	uint32_t *r = &reg[row * 4 + col / 2];

	*r = col % 2 ? (*r & 0xffff) | (uint32_t)v << 16 : (*r & 0xffff0000) | v;
}

MATRIX_TEST(ldmatrix_and_stmatrix)
{
	for (int form = 0; form < 24; form++) {
		int nr = 1 << form % 3, trans = form / 3 % 2, store = form / 6 % 2, generic = form / 12;
		char insn[256], regs[32] = "{%r4}";

		if (nr > 1)
			strcpy(regs, nr == 2 ? "{%r4, %r5}" : "{%r4, %r5, %r6, %r7}");
		if (store)
			snprintf(insn, sizeof(insn), "stmatrix.sync.aligned.m8n8.x%d%s%s.b16 [%s], %s;", nr, trans ? ".trans" : "",
				 generic ? "" : ".shared", generic ? "%rd8" : "%r8", regs);
		else
			snprintf(insn, sizeof(insn), "ldmatrix.sync.aligned.m8n8.x%d%s%s.b16 %s, [%s];", nr,
				 trans ? ".trans" : "", generic ? "" : ".shared", regs, generic ? "%rd8" : "%r8");
		for (int pattern = 0; pattern < 4; pattern++) {
			struct rows r, want;

			fill_rows(&r, pattern, store);
			want = r;
			for (int i = 0; i < nr; i++)
				for (unsigned int row = 0; row < 8; row++)
					for (unsigned int col = 0; col < 8; col++) {
						unsigned char *mem = &want.shared[want.at[8 * i + (int)row]][2 * col];
						unsigned int x = trans ? col : row, y = trans ? row : col;
						uint16_t v;

						if (store) {
							v = half_at(want.reg[i], x, y);
							memcpy(mem, &v, 2);
						} else {
							memcpy(&v, mem, 2);
							set_half(want.reg[i], x, y, v);
						}
					}
			run_rows(insn, &r);
			cr_assert_arr_eq(r.shared, want.shared, sizeof(r.shared), "%s, pattern %d: memory", insn, pattern);
			cr_assert_arr_eq(r.reg, want.reg, sizeof(r.reg), "%s, pattern %d: registers", insn, pattern);
		}
	}
}

MATRIX_TEST(movmatrix_transposes)
{
	struct rows r, want;

	fill_rows(&r, 0, false);
	want = r;
	for (unsigned int row = 0; row < 8; row++)
		for (unsigned int col = 0; col < 8; col++)
			set_half(want.reg[1], col, row, half_at(r.reg[0], row, col));
	run_rows("movmatrix.sync.aligned.m8n8.trans.b16 %r5, %r4;", &r);
	cr_assert_arr_eq(r.reg, want.reg, sizeof(r.reg));
	/* in place, and under a guard that holds in all lanes or in none */
	run_rows("movmatrix.sync.aligned.m8n8.trans.b16 %r5, %r5; setp.ne.u32 %p1, %r3, %r3;"
		 "@%p1 movmatrix.sync.aligned.m8n8.trans.b16 %r6, %r4; @!%p1 movmatrix.sync.aligned.m8n8.trans.b16 %r7, %r4;", &r);
	cr_assert_arr_eq(r.reg[1], r.reg[0], sizeof(r.reg[1]));
	cr_assert_arr_eq(r.reg[2], want.reg[2], sizeof(r.reg[2]));
	cr_assert_arr_eq(r.reg[3], want.reg[1], sizeof(r.reg[3]));
}

/* Lanes come apart, and wait for each other at the next product. */
MATRIX_TEST(lanes_meet_at_a_matrix)
{
	struct rows r, want;

	fill_rows(&r, 0, false);
	want = r;
	for (unsigned int l = 0; l < 32; l++)
		want.reg[0][l] = r.reg[0][l] + (l % 3 ? l : 100);
	for (unsigned int row = 0; row < 8; row++)
		for (unsigned int col = 0; col < 8; col++)
			set_half(want.reg[1], col, row, half_at(want.reg[0], row, col));
	run_rows("rem.u32 %r2, %r1, 3; setp.eq.u32 %p1, %r2, 0; @%p1 bra X; add.u32 %r4, %r4, %r1; bra Y; X: add.u32 %r4, %r4, 100;\n"
		 "Y: movmatrix.sync.aligned.m8n8.trans.b16 %r5, %r4;", &r);
	cr_assert_arr_eq(r.reg, want.reg, sizeof(r.reg));
}

#endif
