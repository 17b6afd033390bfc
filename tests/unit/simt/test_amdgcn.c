/* test_amdgcn.c - the executor of amdgcn: kernels that clang made, in waves of 32 and 64, against plain C. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/drivers/simt/simt_amdgcn.h"

#define BITCODE(name) \
	extern const unsigned char name##_bc[], name##_end[]; \
	__asm__(".pushsection .rodata\n.hidden " #name "_bc\n.global " #name "_bc\n" #name "_bc:\n.incbin \"" HG_AMDGCN_DIR "/" #name \
		".bc\"\n.hidden " #name "_end\n.global " #name "_end\n" #name "_end:\n.popsection\n");
BITCODE(gfx1100)
BITCODE(gfx90a)

#define FOR_WAVES(w) for (uint32_t w = 32; w <= 64; w *= 2)

static uint32_t out[8192], expect[8192];

/* Bytes of static memory of the block, as a code object would say. */
static uint32_t lds_of(const char *name)
{
	static const char *const with[] = { "exchange", "in_step", "pointers", "atomics", "leave_early" };

	for (size_t i = 0; i < sizeof(with) / sizeof(with[0]); i++)
		if (!strcmp(name, with[i]))
			return 1024;
	return 0;
}

static enum hg_status get(uint32_t wave, const char *name, struct simt_amdgcn **k, char *why, size_t why_size)
{
	const unsigned char *from = wave == 32 ? gfx1100_bc : gfx90a_bc, *end = wave == 32 ? gfx1100_end : gfx90a_end;

	return simt_amdgcn_get(from, (size_t)(end - from), name, wave, lds_of(name), k, why, why_size);
}

struct run {
	uint32_t grid[3], block[3], dynamic, patience_ms;
	bool cooperative;
};

static enum hg_status try_run(uint32_t wave, const char *name, const struct run *r, const void *args, size_t size, char *why, size_t why_size)
{
	struct simt_amdgcn_launch l = {
		.grid = { r->grid[0] ? r->grid[0] : 1, r->grid[1] ? r->grid[1] : 1, r->grid[2] ? r->grid[2] : 1 },
		.block = { r->block[0], r->block[1] ? r->block[1] : 1, r->block[2] ? r->block[2] : 1 },
		.lds_dynamic = r->dynamic, .kernarg = args, .kernarg_bytes = size, .cooperative = r->cooperative,
		.patience_ms = r->patience_ms,
	};
	struct simt_amdgcn *k;
	enum hg_status st = get(wave, name, &k, why, why_size);

	cr_assert_eq(st, HG_OK, "%s: %s", name, why);
	st = simt_amdgcn_run(k, &l, why, why_size);
	simt_amdgcn_put(k);
	return st;
}

static void must_run(uint32_t wave, const char *name, const struct run *r, const void *args, size_t size)
{
	char why[256];
	enum hg_status st = try_run(wave, name, r, args, size, why, sizeof(why));

	cr_assert_eq(st, HG_OK, "%s in waves of %u: %s: %s", name, wave, hg_status_text(st), why);
}

static void same(const char *what, uint32_t wave, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		cr_assert_eq(out[i], expect[i], "%s in waves of %u: word %zu is 0x%x, not 0x%x", what, wave, i, out[i], expect[i]);
}

/* ---- where work-items are, and what they are given ---- */

Test(amdgcn, work_items_know_where_they_are)
{
	struct { uint32_t *p, nx, ny; } args = { .nx = 3, .ny = 2 };
	struct run r = { .grid = { 3, 2, 2 }, .block = { 5, 3, 2 } };

	FOR_WAVES(wave) {
		args = (typeof(args)){ out, 3, 2 };
		memset(out, 0xff, sizeof(out));
		must_run(wave, "ids", &r, &args, sizeof(args));
		for (uint32_t g = 0; g < 12; g++)
			for (uint32_t t = 0; t < 30; t++) {
				expect[2 * (30 * g + t)] = t % 5 | t / 5 % 3 << 8 | t / 15 << 16 | g % 3 << 20 | g / 3 % 2 << 24 | g / 6 << 28;
				expect[2 * (30 * g + t) + 1] = t % wave;
			}
		same("ids", wave, 720);
	}
}

Test(amdgcn, arguments_lie_where_the_abi_puts_them)
{
	static uint64_t got[6];
	struct __attribute__((packed)) {
		int8_t a; char pad[7]; void *out; int16_t b; char pad2[6]; double c;
		struct { char c; double d; uint32_t a[3]; } m __attribute__((aligned(8)));
		uint32_t d; char pad3[4]; void *e;
	} args = { .a = -2, .out = got, .b = -3, .c = 4000, .d = 77, .e = (void *)0x123456789a };
	struct run r = { .block = { 1 } };

	memset(&args.m, 0, sizeof(args.m));
	args.m.c = 1;
	args.m.d = 20;
	args.m.a[0] = 300;
	args.m.a[2] = 5000;
	FOR_WAVES(wave) {
		memset(got, 0, sizeof(got));
		must_run(wave, "arguments", &r, &args, sizeof(args));
		cr_assert_eq(got[0], (uint64_t)-2);
		cr_assert_eq(got[1], (uint64_t)-3);
		cr_assert_eq(got[2], 4000);
		cr_assert_eq(got[3], 5321);
		cr_assert_eq(got[4], 77);
		cr_assert_eq(got[5], 0x123456789a);
	}
}

/* ---- operations of lanes ---- */

#define NONE 99
static uint64_t active;
static uint32_t lanes;

static uint32_t value(uint32_t l)
{
	return 1000 + l * 7;
}

static bool is_active(uint32_t l)
{
	return l < lanes && active >> l & 1;
}

/* What update.dpp gives that reads `from`. */
static uint32_t moved(uint32_t l, uint32_t from, uint32_t rows, uint32_t banks, bool zero)
{
	if (!(rows >> l / 16 & 1) || !(banks >> l % 16 / 4 & 1))
		return 5 + l;
	if (!is_active(from))
		return zero ? 0 : 5 + l;
	return value(from);
}

static uint32_t operation(uint32_t n, uint32_t l, uint32_t k)
{
	uint32_t row = l & ~15u, in = l & 15;
	uint64_t thirds = 0;

	for (uint32_t i = 0; i < lanes; i++)
		thirds |= (uint64_t)(i % 3 == 0 && is_active(i)) << i;
	switch (n) {
	case 0: return (uint32_t)thirds;
	case 1: return (uint32_t)(thirds >> 32);
	case 2: return value((uint32_t)__builtin_ctzll(active));
	case 3: return is_active(3 + k) ? value(3 + k) : 0xa5a5a5a5;
	case 4: return is_active((l * 5 + 1) % lanes) ? value((l * 5 + 1) % lanes) : 0;
	case 5: return is_active(l ^ 1) ? value(l ^ 1) : 0;
	case 6: return is_active(l ^ 1) ? value(l ^ 1) : 0;		/* and 0x1f, or 0, xor 1 */
	case 7: return is_active(l ^ 1) ? value(l ^ 1) : 0;		/* quads 1, 0, 3, 2 */
	case 8: return moved(l, l ^ 3, 15, 15, false);
	case 9: return moved(l, in < 15 ? l + 1 : NONE, 15, 15, false);
	case 10: return moved(l, in >= 2 ? l - 2 : NONE, 15, 15, true);
	case 11: return moved(l, row + (in + 13) % 16, 15, 15, false);
	case 12: return moved(l, row + 15 - in, 15, 15, false);
	case 13: return moved(l, (l & ~7u) + 7 - (l & 7), 15, 15, false);
	case 14: return moved(l, in ? l - 1 : NONE, 0xa, 15, false);
	case 15: return moved(l, in ? l - 1 : NONE, 15, 5, true);
	case 22: {
		uint64_t bits = 0xf0f0f0f055555555;

		return 100 + (uint32_t)__builtin_popcountll(bits & ((UINT64_C(1) << l) - 1));
	}
	case 21: return value((uint32_t)__builtin_ctzll(active));
	}
	if (lanes == 64)
		switch (n) {
		case 16: return moved(l, row ? row - 1 : NONE, 0xa, 15, false);
		case 17: return moved(l, l >= 32 ? 31 : NONE, 0xc, 15, false);
		case 18: return moved(l, l ? l - 1 : NONE, 15, 15, false);
		case 19: return moved(l, l < 63 ? l + 1 : NONE, 15, 15, true);
		default: return 0;
		}
	switch (n) {
	case 16: return moved(l, row + 5, 15, 15, false);
	case 17: return moved(l, row + (in ^ 3), 15, 15, false);
	case 18: {
		uint64_t sel = 0xfedcba9800000000 | (0x76543210 + k);
		uint32_t from = row + (uint32_t)(sel >> 4 * in & 15);

		return is_active(from) ? value(from) : 0;
	}
	case 19: return is_active((row ^ 16) + in) ? value((row ^ 16) + in) : 5 + l;
	case 20: {
		uint32_t from = (l & ~7u) + (0x053977 >> 3 * (l & 7) & 7);

		return is_active(from) ? value(from) : 0;
	}
	default: return 0;
	}
}

Test(amdgcn, operations_of_lanes_see_those_that_are_active)
{
	static const uint64_t masks[] = { UINT64_MAX, 0x5555555555555555, 0xffff00ff00fffff0, 0x123456789abcdef1, UINT64_C(1) << 63 | 8, 8 };
	struct run r = { .block = { 64 } };

	FOR_WAVES(wave)
		for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
			struct { uint32_t *p; uint64_t mask; } args = { out, masks[m] };
			uint32_t k = (uint32_t)(masks[m] >> 40) & 7;

			lanes = wave;
			active = wave == 32 ? (uint32_t)masks[m] : masks[m];
			r.block[0] = wave;
			memset(out, 0xee, sizeof(out));
			memset(expect, 0xee, sizeof(expect));
			for (uint32_t n = 0; n < 23; n++)
				for (uint32_t l = 0; l < wave; l++)
					if (is_active(l) && (n < 16 || n > 20 || (wave == 64 ? n < 20 : true)))
						expect[64 * n + l] = operation(n, l, k);
			must_run(wave, "operations", &r, &args, sizeof(args));
			same("operations", wave, 64 * 23);
		}
}

static void random_words(uint32_t *to, uint32_t nr)
{
	uint64_t x = 88172645463325252;

	for (uint32_t i = 0; i < nr; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		to[i] = (uint32_t)(x >> 16) >> (x % 3 ? 0 : x % 32);
	}
}

static uint32_t field(uint32_t v, uint32_t at, uint32_t width, bool is_signed)
{
	uint32_t r;

	at &= 31;
	width &= 31;
	if (!width)
		return 0;
	r = is_signed ? (uint32_t)((int32_t)v >> at) : v >> at;
	if (at + width >= 32)
		return r;
	r &= (1u << width) - 1;
	return is_signed && r >> (width - 1) ? r | ~((1u << width) - 1) : r;
}

static uint32_t permuted(uint32_t a, uint32_t b, uint32_t sel)
{
	uint64_t both = (uint64_t)a << 32 | b;
	uint32_t r = 0;

	for (uint32_t i = 0; i < 4; i++) {
		uint32_t s = sel >> 8 * i & 255, byte;

		if (s >= 13)
			byte = 255;
		else if (s == 12)
			byte = 0;
		else if (s >= 8)
			byte = both >> (16 * (s - 8) + 15) & 1 ? 255 : 0;
		else
			byte = both >> 8 * s & 255;
		r |= byte << 8 * i;
	}
	return r;
}

Test(amdgcn, integer_instructions_give_what_the_manual_says)
{
	static uint32_t in[1024];
	struct { uint32_t *p, *in, n; } args = { out, in, 1024 };
	struct run r = { .block = { 1024 } };

	random_words(in, 1024);
	FOR_WAVES(wave) {
		must_run(wave, "integers", &r, &args, sizeof(args));
		for (uint32_t t = 0; t < 1024; t++) {
			uint32_t a = in[t], b = in[(t + 1) % 1024], c = in[(t + 2) % 1024], *e = expect + 8 * t, sad = c, rev = 0;

			for (uint32_t i = 0; i < 4; i++)
				sad += (uint32_t)abs((int)(a >> 8 * i & 255) - (int)(b >> 8 * i & 255));
			for (uint32_t i = 0; i < 32; i++)
				rev |= (a >> i & 1) << (31 - i);
			e[0] = permuted(a, b, c & 0x0f0f0f0f);
			e[1] = field(a, b, c, false);
			e[2] = field(a, b, c, true);
			e[3] = (uint32_t)(((uint64_t)a << 32 | b) >> 8 * (c & 3));
			e[4] = sad;
			e[5] = (uint32_t)(__builtin_popcount(a) + __builtin_clz(b | 1) + __builtin_ctz(c | 0x80000000)) + rev;
			e[6] = (uint32_t)(((uint64_t)a * b) >> 32);
			e[7] = (uint32_t)(((uint64_t)a << 32 | b) >> (c & 31));
		}
		same("integers", wave, 8 * 1024);
	}
}

/* ---- lanes that part and meet ---- */

/* The same program for all lanes at once: each step takes the mask of those that do it. */
struct model {
	uint32_t nr;
	uint64_t all, out[8][64];
};

static void put(struct model *m, uint32_t row, uint64_t mask, const uint64_t *v, uint64_t same_value)
{
	for (uint32_t l = 0; l < m->nr; l++)
		if (mask >> l & 1)
			m->out[row][l] = v ? v[l] : same_value;
}

static uint64_t those(const struct model *m, uint32_t modulo, uint32_t is)
{
	uint64_t mask = 0;

	for (uint32_t l = 0; l < m->nr; l++)
		mask |= (uint64_t)(l % modulo == is) << l;
	return mask;
}

static void part_and_meet(struct model *m, uint32_t n)
{
	uint64_t odd = those(m, 2, 1), one = those(m, 4, 1), sum[64] = { 0 }, in;

	put(m, 0, m->all & ~odd, NULL, m->all & ~odd);
	put(m, 0, one, NULL, one);
	put(m, 0, odd & ~one, NULL, odd & ~one);
	put(m, 1, odd, NULL, odd);
	put(m, 1, m->all & ~odd, NULL, m->all & ~odd);
	put(m, 2, m->all, NULL, m->all);
	for (uint32_t i = 0; i < 5 + n; i++) {
		in = 0;
		for (uint32_t l = 0; l < m->nr; l++)
			in |= (uint64_t)(i < l % 5 + n) << l;
		for (uint32_t l = 0; l < m->nr; l++)
			if (in >> l & 1)
				sum[l] = sum[l] * 3 + (uint64_t)__builtin_popcountll(in);
	}
	put(m, 3, m->all, sum, 0);
	put(m, 4, m->all, NULL, m->all);
	memset(sum, 0, sizeof(sum));
	in = m->all;
	for (uint32_t i = 0; i < 6 + n; i++) {
		uint64_t now = in & ~those(m, 4, (1 + 4 - i % 4) % 4), b = 0;

		if (i == 4) {
			in &= ~(now & those(m, 8, 3));
			now &= in;
		}
		for (uint32_t l = 0; l < m->nr; l++)
			b |= (uint64_t)((now >> l & 1) && (l & 4)) << l;
		for (uint32_t l = 0; l < m->nr; l++)
			if (now >> l & 1)
				sum[l] = sum[l] * 5 + (b >> 8 & 0xffff);
		for (uint32_t k = 0; k < 3; k++) {
			uint64_t inner = 0;

			for (uint32_t l = 0; l < m->nr; l++)
				inner |= (uint64_t)((now >> l & 1) && k < (l & 3)) << l;
			for (uint32_t l = 0; l < m->nr; l++)
				if (inner >> l & 1)
					sum[l] += (uint64_t)__builtin_popcountll(inner) << k;
		}
	}
	put(m, 5, m->all, sum, 0);
	put(m, 6, m->all, NULL, m->all);
	put(m, 7, m->all & ~those(m, 7, 6), NULL, m->all & ~those(m, 7, 6));
}

Test(amdgcn, lanes_that_part_meet_where_branches_join)
{
	struct model m, *got = (void *)out;

	FOR_WAVES(wave)
		for (uint32_t n = 0; n < 4; n++) {
			struct { uint64_t *p; uint32_t n; } args = { got->out[0], n };
			struct run r = { .block = { wave } };

			memset(&m, 0, sizeof(m));
			memset(out, 0, sizeof(out));
			m.nr = wave;
			m.all = wave == 64 ? UINT64_MAX : UINT32_MAX;
			part_and_meet(&m, n);
			must_run(wave, "divergence", &r, &args, sizeof(args));
			for (uint32_t row = 0; row < 8; row++)
				for (uint32_t l = 0; l < wave; l++)
					cr_assert_eq(got->out[row][l], m.out[row][l], "wave of %u, n %u, row %u, lane %u: %llx, not %llx", wave, n,
						     row, l, (unsigned long long)got->out[row][l], (unsigned long long)m.out[row][l]);
		}
}

Test(amdgcn, a_loop_with_two_entries_is_run_as_it_is_written)
{
	static uint32_t in[64];
	struct { uint32_t *p, *in, n; } args = { out, in, 1u << 30 };

	random_words(in, 64);
	FOR_WAVES(wave) {
		struct run r = { .block = { wave } };

		memset(out, 0, sizeof(out));
		memset(expect, 0, sizeof(expect));
		for (uint32_t l = 0; l < wave; l++) {
			uint32_t v = in[l];

			for (uint32_t i = 0; i < 5 + (l & 3);) {
				if (i || !(l & 1)) {
					v = v * 3 + 1;
					expect[l] = v;
					if (v > args.n)
						break;
				}
				v ^= in[i++];
				expect[64 + l] = v;
			}
			expect[128 + l] = wave;
		}
		must_run(wave, "two_entries", &r, &args, sizeof(args));
		same("two_entries", wave, 192);
	}
}

/* ---- memory ---- */

Test(amdgcn, blocks_exchange_through_local_data_share)
{
	struct { uint32_t *p, rounds; } args = { out, 5 };
	struct run r = { .grid = { 7 }, .block = { 256 }, .dynamic = 1024 };

	for (uint32_t g = 0; g < 7; g++) {
		uint32_t share[256], more[256], s[256], d[256];

		for (uint32_t t = 0; t < 256; t++) {
			share[t] = t * 3 + g;
			more[t] = t;
		}
		for (uint32_t i = 0; i < 5; i++) {
			memcpy(s, share, sizeof(s));
			memcpy(d, more, sizeof(d));
			for (uint32_t t = 0; t < 256; t++) {
				share[t] = s[(t + 1) % 256] + d[(t + 255) % 256];
				more[t] = s[(t + 1) % 256] ^ i;
			}
		}
		for (uint32_t t = 0; t < 256; t++)
			expect[256 * g + t] = share[t] + 1028 + 8;
	}
	FOR_WAVES(wave) {
		memset(out, 0, sizeof(out));
		must_run(wave, "exchange", &r, &args, sizeof(args));
		same("exchange", wave, 7 * 256);
	}
}

Test(amdgcn, lanes_of_a_wave_keep_step_at_its_barriers)
{
	struct { uint32_t *p, n; } args = { out, 7 };
	struct run r = { .block = { 128 } };

	FOR_WAVES(wave) {
		must_run(wave, "in_step", &r, &args, sizeof(args));
		for (uint32_t t = 0; t < 128; t++)
			cr_assert_eq(out[t], (t ^ 1) + 7);
	}
}

Test(amdgcn, generic_pointers_reach_every_kind_of_memory)
{
	struct { uint32_t *p, n; } args = { out, 5 };
	struct run r = { .block = { 64 } };

	FOR_WAVES(wave) {
		for (uint32_t t = 0; t < 64; t++) {
			out[64 + t] = 7 * t;
			expect[64 + t] = 7 * t;
			expect[t] = t % 3 == 0 ? 100 + (t + 5) % 64 : t % 3 == 1 ? t + (t + 5) % 16 : 7 * t;
			expect[128 + t] = (t % 3 == 0 ? 1 : t % 3 == 1 ? 2 : 0) | 4 << 4;
			expect[192 + t] = (t + t % 16) & 1 & (t < wave);
		}
		must_run(wave, "pointers", &r, &args, sizeof(args));
		for (uint32_t t = wave; t < 64; t++)	/* the shift of lanes above counts from the wave's own 0 */
			expect[192 + t] = out[192 + t];
		same("pointers", wave, 256);
	}
}

Test(amdgcn, addresses_in_local_data_share_wrap_at_32_bits)
{
	struct { uint32_t *p, back; } args = { out, 1u << 30 };
	struct run r = { .block = { 64 }, .dynamic = 256 };

	FOR_WAVES(wave) {
		must_run(wave, "wraps", &r, &args, sizeof(args));
		for (uint32_t t = 0; t < 64; t++)
			cr_assert_eq(out[t], 3 * (63 - t));
	}
}

Test(amdgcn, time_is_one_for_all_lanes_and_goes_on)
{
	static uint64_t got[256];
	uint64_t *p = got;
	struct run r = { .block = { 128 } };

	FOR_WAVES(wave) {
		must_run(wave, "times", &r, &p, sizeof(p));
		for (uint32_t t = 0; t < 128; t++) {
			cr_assert_eq(got[2 * t], got[2 * (t / wave * wave)]);
			cr_assert_eq(got[2 * t + 1], got[2 * (t / wave * wave) + 1]);
		}
		cr_assert_lt(got[0], got[128 * 2 - 2]);
		cr_assert_leq(got[1], got[128 * 2 - 1]);
	}
}

Test(amdgcn, flat_addresses_of_local_data_share_are_the_aperture_and_the_offset)
{
	struct { uint32_t *p, at; } args = { out, 68 };
	struct run r = { .block = { 64 }, .dynamic = 512 };

	FOR_WAVES(wave) {
		must_run(wave, "flat_offsets", &r, &args, sizeof(args));
		for (uint32_t t = 0; t < 64; t++)
			cr_assert_eq(out[t], 68 + 4 * t);
	}
}

Test(amdgcn, atomics_add_up)
{
	struct { uint32_t *p, n; } args = { out, 9 };
	struct run r = { .block = { 256 } };

	FOR_WAVES(wave) {
		uint32_t seen[10] = { 0 }, s1 = 0;
		float sum;

		memset(out, 0, sizeof(out));
		must_run(wave, "atomics", &r, &args, sizeof(args));
		cr_assert_eq(out[0], 255 * 128);
		cr_assert_eq(out[1], 100);
		memcpy(&sum, &out[2], sizeof(sum));
		cr_assert_eq(sum, 128.0f);
		for (uint32_t t = 0; t < 256; t++) {
			cr_assert_leq(out[3 + t], 9);
			seen[out[3 + t]]++;
			s1 = s1 == 0 || s1 > 9 ? 9 : s1 - 1;
		}
		for (uint32_t i = 0; i < 10; i++)
			cr_assert_eq(seen[i], 25 + (i < 6), "%u came %u times", i, seen[i]);
		cr_assert_eq(out[300], 6 | s1 << 16);
	}
}

/* ---- floating point ---- */

static uint32_t bits(float f)
{
	uint32_t v;

	memcpy(&v, &f, sizeof(v));
	return v;
}

/* A NaN's bits are not told apart here. */
static uint32_t told(uint32_t v)
{
	return (v & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : v;
}

static float min_of(float a, float b, bool max)
{
	if (isnan(a) || isnan(b))
		return isnan(a) ? b : a;
	if (a == b)
		return (max ? !signbit(a) : signbit(a)) ? a : b;
	return (a < b) != max ? a : b;
}

Test(amdgcn, floating_point_rounds_as_ieee_says)
{
	static float in[256];
	static const float special[] = { 0, -0.0f, 1, -1, INFINITY, -INFINITY, NAN, 1e-40f, -1e-45f, 3.4e38f, 0.5f, 1.5f, 2.5f, -2.5f, 65519.9f, 65520 };
	struct { uint32_t *p; float *in; uint32_t n; } args = { out, in, 256 };
	struct run r = { .block = { 256 } };
	uint32_t words[256];

	random_words(words, 256);
	for (uint32_t i = 0; i < 256; i++)
		in[i] = i < 16 ? special[i] : i < 80 ? special[i * 7 % 16] : i % 2 ? (float)(int32_t)words[i] / 65536 : ldexpf((float)words[i], (int)(i % 60) - 60);
	FOR_WAVES(wave) {
		must_run(wave, "floats", &r, &args, sizeof(args));
		for (uint32_t t = 0; t < 256; t++) {
			float a = in[t], b = in[(t + 1) % 256], c = in[(t + 2) % 256], f[16];
			_Float16 ha = (_Float16)a, hb = (_Float16)b, hc = (_Float16)c;
			double d[2] = { fma((double)a, (double)b, (double)c) / 3.0, sqrt((double)a) }, got[2];

			f[0] = a + b;
			f[1] = a * b;
			f[2] = a / b;
			f[3] = fmaf(a, b, c);
			f[4] = sqrtf(a);
			f[5] = min_of(a, b, false);
			f[6] = min_of(a, b, true);
			f[7] = (float)nearbyint((double)a);
			f[8] = truncf(a);
			f[9] = a;
			f[11] = (float)ldexp((double)a, (int)(t % 9) - 4);
			f[12] = (float)ha;
			/* exact in f128, then rounded once */
			f[13] = (float)(_Float16)((__float128)ha * (__float128)hb + (__float128)hc);
			f[14] = (float)(_Float16)((float)ha * (float)hb);
			f[15] = 0;
			for (uint32_t i = 0; i < 16; i++)
				if (i == 10)
					cr_assert_eq(out[20 * t + 10], (uint32_t)isnan(a) | (uint32_t)(isinf(a) != 0) << 1);
				else
					cr_assert_eq(told(out[20 * t + i]), told(bits(f[i])), "result %u of %a, %a, %a: 0x%x, not 0x%x", i, (double)a,
						     (double)b, (double)c, out[20 * t + i], bits(f[i]));
			memcpy(got, &out[20 * t + 16], sizeof(got));
			for (uint32_t i = 0; i < 2; i++)
				cr_assert(!memcmp(&got[i], &d[i], 8) || (isnan(got[i]) && isnan(d[i])), "f64 result %u of %a: %a, not %a", i,
					  (double)a, got[i], d[i]);
		}
	}
}

/* ---- waiting ---- */

Test(amdgcn, waves_and_blocks_may_wait_for_others)
{
	FOR_WAVES(wave)
		for (uint32_t by_block = 0; by_block < 2; by_block++) {
			struct { uint32_t *p, by_block; } args = { out, by_block };
			struct run r = { .grid = { by_block ? 3 : 1 }, .block = { by_block ? wave : 3 * wave } };

			out[0] = out[1] = 0;
			must_run(wave, "handshake", &r, &args, sizeof(args));
			/* each of them was whole again afterwards */
			cr_assert_eq(out[1], 3);
		}
	FOR_WAVES(wave) {
		uint32_t *p = out;
		struct run r = { .block = { 2 * wave } };

		out[0] = 0;
		must_run(wave, "votes_until", &r, &p, sizeof(p));
		cr_assert_eq(out[0], 1);
	}
}

Test(amdgcn, lanes_of_a_wave_that_wait_for_each_other_are_found_out)
{
	uint32_t *p = out;
	struct run r = { .block = { 2 }, .patience_ms = 30 };
	char why[256];

	FOR_WAVES(wave) {
		out[0] = out[1] = 0;
		cr_assert_eq(try_run(wave, "spin_lock", &r, &p, sizeof(p), why, sizeof(why)), HG_ERR_FAULT);
		cr_assert(strstr(why, "wave 0 does not progress"), "%s", why);
	}
}

Test(amdgcn, a_lock_that_is_given_back_within_the_loop_works)
{
	uint32_t *p = out;
	struct run r = { .grid = { 4 }, .block = { 200 } };

	FOR_WAVES(wave) {
		out[0] = out[1] = 0;
		must_run(wave, "careful_lock", &r, &p, sizeof(p));
		cr_assert_eq(out[1], 800);
	}
}

Test(amdgcn, waves_that_have_ended_do_not_hold_up_barriers)
{
	uint32_t *p = out;
	struct run r = { .block = { 256 } };

	FOR_WAVES(wave) {
		memset(out, 0, sizeof(out));
		must_run(wave, "leave_early", &r, &p, sizeof(p));
		for (uint32_t t = 0; t < 256; t++)
			cr_assert_eq(out[t], t & 1 || t / wave == 1 ? 0 : t ^ 2);
	}
}

Test(amdgcn, the_end_of_a_wave_ends_all_its_lanes)
{
	uint32_t *p = out;
	struct run r = { .block = { 128 } };

	FOR_WAVES(wave) {
		memset(out, 0, sizeof(out));
		must_run(wave, "ends", &r, &p, sizeof(p));
		/* the others wait for it where they would have met */
		for (uint32_t t = 0; t < 128; t++)
			cr_assert_eq(out[t], 1, "item %u: %u", t, out[t]);
	}
}

/* ---- failures ---- */

static void must_fail(uint32_t wave, const char *name, const struct run *r, const void *args, size_t size, const char *says)
{
	char why[256];

	cr_assert_eq(try_run(wave, name, r, args, size, why, sizeof(why)), HG_ERR_FAULT);
	cr_assert(strstr(why, says), "'%s' is not in '%s'", says, why);
	cr_assert(strstr(why, name), "%s", why);
}

Test(amdgcn, failures_name_the_work_item)
{
	uint32_t which = 70, *null = NULL;
	struct { uint32_t *p, at; } inside = { out, 255 }, outside = { out, 256 };
	struct run r = { .grid = { 2 }, .block = { 10, 10 } }, dynamic = { .block = { 32 }, .dynamic = 1024 };

	FOR_WAVES(wave) {
		which = 7;
		must_fail(wave, "traps", &r, &which, sizeof(which), "block (0,0,0), thread (7,0,0): trap");
		must_fail(wave, "wild", &r, &null, sizeof(null), "thread (3,0,0): illegal address 0x0");
		must_run(wave, "lds_outside", &dynamic, &inside, sizeof(inside));
		must_fail(wave, "lds_outside", &dynamic, &outside, sizeof(outside), "4 bytes at 0x400 of local data share, of which the block has 1024");
	}
}

Test(amdgcn, launches_that_no_device_takes_are_refused)
{
	struct { uint32_t *p, at; } args = { out, 0 };
	struct run large = { .block = { 1025 } }, lds = { .block = { 1 }, .dynamic = 65540 }, fine = { .block = { 1 }, .dynamic = 64 };
	char why[256];

	cr_assert_eq(try_run(32, "lds_outside", &large, &args, sizeof(args), why, sizeof(why)), HG_ERR_INVALID);
	cr_assert(strstr(why, "(1025,1,1)"), "%s", why);
	cr_assert_eq(try_run(32, "lds_outside", &lds, &args, sizeof(args), why, sizeof(why)), HG_ERR_INVALID);
	cr_assert(strstr(why, "65540"), "%s", why);
	cr_assert_eq(try_run(32, "lds_outside", &fine, &args, 8, why, sizeof(why)), HG_ERR_INVALID);
	cr_assert(strstr(why, "8 bytes of arguments, where it reads 12"), "%s", why);
}

Test(amdgcn, what_cannot_be_exact_or_is_not_known_is_refused_by_name)
{
	static const struct { const char *name, *says; } cases[] = {
		{ "approximates", "llvm.amdgcn.rcp" }, { "assembles", "v_mov_b32" }, { "asks_the_runtime", "llvm.amdgcn.dispatch.ptr" },
		{ "fuses", "fast-math" }, { "calls", "'elsewhere'" },
	};
	struct simt_amdgcn *k;
	char why[256];

	FOR_WAVES(wave)
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			cr_assert_eq(get(wave, cases[i].name, &k, why, sizeof(why)), HG_ERR_UNSUPPORTED, "%s", cases[i].name);
			cr_assert(strstr(why, cases[i].says), "%s: %s", cases[i].name, why);
			cr_assert(strstr(why, cases[i].name), "%s", why);
		}
}

Test(amdgcn, bytes_that_are_no_bitcode_and_names_that_are_not_there_are_said)
{
	struct simt_amdgcn *k;
	char why[256];

	cr_assert_eq(simt_amdgcn_get("BC nonsense", 11, "k", 32, 0, &k, why, sizeof(why)), HG_ERR_CORRUPT);
	cr_assert(strstr(why, "'k'"), "%s", why);
	cr_assert_eq(get(32, "nowhere", &k, why, sizeof(why)), HG_ERR_NOTFOUND);
	cr_assert(strstr(why, "'nowhere'"), "%s", why);
	/* every beginning of it */
	for (size_t size = 0; size < 4096; size += 61)
		cr_assert_eq(simt_amdgcn_get(gfx1100_bc, size, "ids", 32, 0, &k, why, sizeof(why)), HG_ERR_CORRUPT);
}

Test(amdgcn, the_same_kernel_is_made_once)
{
	struct simt_amdgcn *a, *b;
	char why[256];

	cr_assert_eq(get(32, "ids", &a, why, sizeof(why)), HG_OK);
	cr_assert_eq(get(32, "ids", &b, why, sizeof(why)), HG_OK);
	cr_assert_eq(a, b);
	simt_amdgcn_put(a);
	simt_amdgcn_put(b);
	cr_assert_eq(get(32, "ids", &b, why, sizeof(why)), HG_OK);
	cr_assert_eq(a, b);
	simt_amdgcn_put(b);
	simt_amdgcn_put(NULL);
}
