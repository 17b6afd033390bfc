/* test_memory.c - memory, atomics, asynchronous copies and synchronisation on the CPU target, against plain C. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "replay/target.h"
#include "tests/unit/replay/kernel_test.h"

#define NR(a) (sizeof(a) / sizeof((a)[0]))

/* %rd8: the buffer, %r8: n, %r5: the thread in the block, %r7: in the grid. */
#define HEAD "ld.param.u64 %rd8, [p]; ld.param.u32 %r8, [n];\n" \
	"mov.u32 %r7, %ctaid.x; mov.u32 %r6, %ntid.x; mov.u32 %r5, %tid.x; mad.lo.u32 %r7, %r7, %r6, %r5;\n"

static const uint32_t shape[] = { 1, 31, 32, 33, 64, 96, 1023, 1024 };

struct params { void *p; uint32_t n; };

static _Alignas(64) unsigned char mem[1 << 21];

static void run(const char *ptx, uint32_t grid, uint32_t block, uint32_t n)
{
	struct params params = { mem, n };
	struct kernel_run r = { .grid = { grid }, .block = { block }, .params = &params, .data = mem, .size = sizeof(mem) };

	run_all_ways(ptx, &r);
}

static uint32_t mix(uint32_t v)
{
	v *= 2654435761u;
	v ^= v >> 15;
	return v * 2246822519u;
}

/* ---- loads and stores ---- */

Test(memory_ops, every_width_and_hint_moves_the_same_bytes)
{
	/* what is moved, how many bytes, loads, stores, registers */
	static const struct { const char *ld, *st, *type, *regs; unsigned int bytes; } form[] = {
		{ "ld.global", "st.global", "u8", "%h1", 1 }, { "ld.volatile.global", "st.volatile.global", "u8", "%h1", 1 },
		{ "ld", "st", "b16", "%h1", 2 }, { "ld.global.ca", "st.global.wb", "b32", "%r1", 4 },
		{ "ld.global.cg", "st.global.cg", "b32", "%r1", 4 }, { "ld.global.cs", "st.global.cs", "u64", "%rd1", 8 },
		{ "ld.global.lu", "st.global.wt", "f32", "%f1", 4 }, { "ld.global.cv", "st.global.wt", "f64", "%fd1", 8 },
		{ "ldu.global", "st.global", "b32", "%r1", 4 }, { "ldu.global.v4", "st.global.v4", "b32", "{%r1, %r2, %r3, %r4}", 16 },
		{ "ld.global.nc", "st.weak.global", "b32", "%r1", 4 },
		{ "ld.global.nc.L1::no_allocate.L2::256B", "st.global.L1::evict_last", "b64", "%rd1", 8 },
		{ "ld.global.L1::evict_unchanged.L2::64B", "st.global.L1::no_allocate", "b64", "%rd1", 8 },
		{ "ld.relaxed.cta.global", "st.relaxed.cta.global", "b32", "%r1", 4 },
		{ "ld.relaxed.cluster", "st.relaxed.cluster", "b32", "%r1", 4 },
		{ "ld.acquire.gpu.global", "st.release.gpu.global", "b64", "%rd1", 8 },
		{ "ld.acquire.sys", "st.release.sys", "b16", "%h1", 2 },
		{ "ld.mmio.relaxed.sys.global", "st.mmio.relaxed.sys.global", "u32", "%r1", 4 },
		{ "ld.global.v2", "st.global.v2", "u8", "{%h1, %h2}", 2 }, { "ld.v4", "st.v4", "u16", "{%h1, %h2, %h3, %h4}", 8 },
		{ "ld.global.v2", "st.global.v2", "f64", "{%fd1, %fd2}", 16 },
		{ "ld.global.v8", "st.global.v8", "b32", "{%r1, %r2, %r3, %r4, %f1, %f2, %f3, %f4}", 32 },
		{ "ld.global.nc.L2::evict_last.v8", "st.global.L2::evict_first.v8", "f32", "{%f1, %f2, %f3, %f4, %f5, %f6, %f7, %f8}", 32 },
		{ "ld.global.v4", "st.global.v4", "b64", "{%rd1, %rd2, %rd3, %rd4}", 32 },
		{ "ld.global", "st.global", "b128", "%q1", 16 }, { "ld.relaxed.gpu.global", "st.relaxed.gpu.global", "b128", "%q1", 16 },
		{ "ld.volatile.global.v2", "st.volatile.global.v2", "u64", "{%rd1, %rd2}", 16 },
	};

	/* lanes side by side, apart (backwards), and at one address; the copy goes to the upper half */
	for (size_t f = 0; f < NR(form); f++)
		for (int pattern = 0; pattern < 3; pattern += f % 2 + 1) {
			char ptx[4096], body[2048];
			const char *index = pattern == 0 ? "mov.u32 %r6, %r7;" : pattern == 1 ? "sub.u32 %r6, 199, %r7;" :
					    "mov.u32 %r6, 3;";

			snprintf(body, sizeof(body), ".reg .b128 %%q<3>;\n%s %s setp.ge.u32 %%p1, %%r7, 200; @%%p1 bra DONE;\n"
				 "mul.wide.u32 %%rd7, %%r6, %u; add.u64 %%rd7, %%rd7, %%rd8; and.b32 %%r6, %%r7, 3; setp.eq.u32 %%p2, %%r6, 1;\n"
				 "%s.%s %s, [%%rd7];\n@!%%p2 %s.%s [%%rd7+%u], %s;\nDONE: ret;", HEAD, index, form[f].bytes,
				 form[f].ld, form[f].type, form[f].regs, form[f].st, form[f].type, 1 << 20, form[f].regs);
			memset(mem, 0, sizeof(mem));
			for (uint32_t i = 0; i < 200 * 32; i++)
				mem[i] = (unsigned char)mix(i + 1);
			run(kernel_around("", body, "", ptx, sizeof(ptx)), 3, 96, 0);
			for (uint32_t t = 0; t < 200; t++) {
				uint32_t at = pattern == 0 ? t : pattern == 1 ? 199 - t : 3;
				bool stored = pattern == 2 || t % 4 != 1;

				for (uint32_t b = 0; b < form[f].bytes; b++) {
					unsigned char *to = mem + (1 << 20) + at * form[f].bytes + b;

					cr_assert_eq(*to, stored ? mem[at * form[f].bytes + b] : 0, "%s.%s, pattern %d, thread %u, byte %u",
						     form[f].ld, form[f].type, pattern, t, b);
				}
			}
		}
}

/* ---- atomics: each thread on a word of its own, so that every pair of operands is seen ---- */

enum kind { U, S, H, G, F, D, X, Y };	/* unsigned, signed, f16, bf16, f32, f64, f16x2, bf16x2 */

/* A float of `mant` bits after the point and the lowest exponent `low`, nearest to a sum that double holds well enough. */
static double rounded(double v, int mant, int low)
{
	int e;

	if (v == 0 || isnan(v) || isinf(v))
		return v;
	frexp(v, &e);
	e = e - 1 - mant < low ? low : e - 1 - mant;
	return ldexp(rint(ldexp(v, -e)), e);
}

static double half_value(uint32_t h, bool bf)
{
	int e = bf ? h >> 7 & 255 : h >> 10 & 31, mant = bf ? 7 : 10, bias = bf ? 127 : 15, top = bf ? 255 : 31;
	double m = h & ((1u << mant) - 1), v = e == top ? (m != 0 ? NAN : INFINITY) :
		   e ? ldexp(m + (1 << mant), e - bias - mant) : ldexp(m, 1 - bias - mant);

	return h & 0x8000 ? -v : v;
}

static uint32_t half_of(double v, bool bf)
{
	int mant = bf ? 7 : 10, bias = bf ? 127 : 15, e;
	uint32_t s = signbit(v) ? 0x8000 : 0;

	if (isnan(v))
		return 0x7fff;
	v = fabs(rounded(v, mant, 1 - bias - mant));
	if (v >= ldexp(1, bias + 1))
		return s | (bf ? 0x7f80 : 0x7c00);
	if (v < ldexp(1, 1 - bias))
		return s | (uint32_t)ldexp(v, bias - 1 + mant);
	frexp(v, &e);
	return s | ((uint32_t)((e - 1 + bias) << mant) + (uint32_t)ldexp(v, mant + 1 - e) - (1u << mant));
}

static uint32_t half_atom(char op, uint32_t a, uint32_t b, bool bf)
{
	double x = half_value(a, bf), y = half_value(b, bf);

	if (op == '+')
		return half_of(x + y, bf);
	if (isnan(x) && isnan(y))
		return 0x7fff;
	if (isnan(x) || isnan(y))
		return isnan(x) ? b : a;
	if (x == y)	/* also zeros of two signs */
		return op == '<' ? a | b : a & b;
	return (x < y) == (op == '<') ? a : b;
}

static uint64_t reference(enum kind k, char op, unsigned int bits, uint64_t old, uint64_t v)
{
	uint64_t all = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	int64_t so, sv;

	old &= all;
	v &= all;
	so = (int64_t)(old << (64 - bits)) >> (64 - bits);
	sv = (int64_t)(v << (64 - bits)) >> (64 - bits);
	if (k == H || k == G)
		return half_atom(op, (uint32_t)old, (uint32_t)v, k == G);
	if (k == X || k == Y)
		return half_atom(op, old & 0xffff, v & 0xffff, k == Y) |
		       (uint64_t)half_atom(op, (uint32_t)old >> 16, (uint32_t)v >> 16, k == Y) << 16;
	switch (op) {
	case '+': return (old + v) & all;
	case '<': return (k == S ? so < sv : old < v) ? old : v;
	case '>': return (k == S ? so > sv : old > v) ? old : v;
	case '&': return old & v;
	case '|': return old | v;
	case '^': return old ^ v;
	case 'i': return old >= v ? 0 : old + 1;
	case 'd': return old == 0 || old > v ? v : old - 1;
	default: return v;
	}
}

/* The word at 16 t, the operand at 16 t + 8; the old value goes to 1 MiB + 8 t. Lanes 5 of each 7 stay away. */
static void check_atom(const char *insn, const char *type, unsigned int bits, enum kind k, char op, bool exhaustive)
{
	static const uint32_t corner[] = { 0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x3c00, 0xbc00, 0x3555, 0x7bff, 0xfbff, 0x7c00, 0xfc00,
		0x7e00, 0xfe01, 0x3f80, 0x7f7f, 0x7f80, 0x7f, 0x80, 0x4c00 };
	const char *r = bits == 16 ? "%h" : bits == 32 ? "%r" : "%rd";
	char ptx[4096], body[2048];
	uint32_t nr = 1 << 15, rounds = exhaustive ? 2 * NR(corner) : 2;
	struct params params = { mem, 0 };
	struct kernel_run kr = { .grid = { nr / 256 }, .block = { 256 }, .params = &params, .data = mem, .size = sizeof(mem) };
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *kernel;
	struct hg_grid g = grid_of(&kr);
	struct hg_fault fault = { .what = "" };

	snprintf(body, sizeof(body), "%smul.wide.u32 %%rd7, %%r7, 16; add.u64 %%rd7, %%rd7, %%rd8; mul.wide.u32 %%rd6, %%r7, 8;\n"
		 "add.u64 %%rd6, %%rd6, %%rd8; rem.u32 %%r6, %%r7, 7; setp.ne.u32 %%p1, %%r6, 5; ld.global.b%u %s1, [%%rd7+8];\n"
		 "@%%p1 %s.%s %s2, [%%rd7], %s1; @%%p1 st.global.b%u [%%rd6+1048576], %s2; ret;", HEAD, bits, r, insn, type, r, r, bits, r);
	setenv("HGSHIM_CACHE", "0", 1);
	kernel = kernel_of(kernel_around("", body, "", ptx, sizeof(ptx)), &m, &cm);
	for (uint32_t round = 0; round < rounds; round++) {
		static uint64_t old[1 << 15], v[1 << 15];

		memset(mem, 0, sizeof(mem));
		for (uint32_t t = 0; t < nr; t++) {
			old[t] = (uint64_t)mix(t + 77 * round) << 32 | mix(3 * t + round);
			v[t] = (uint64_t)mix(5 * t + round) << 32 | mix(t ^ 0x5555);
			if (exhaustive) {
				old[t] = (t | (round & 1) << 15) * 0x10001u;
				v[t] = corner[round / 2] * 0x10001u ^ (t & 0xff) << 16;
			} else if (t % 16 < 8) {
				old[t] = t % 3 ? old[t] >> (t % 61) : ~(uint64_t)(t % 5);
				v[t] = t % 4 ? old[t] + t % 3 - 1 : t % 7;
			}
			memcpy(mem + 16 * t, &old[t], 8);
			memcpy(mem + 16 * t + 8, &v[t], 8);
		}
		g.any_order = round & 1;
		cr_assert_eq(hg_grid_run(kernel, &g, &fault), HG_OK, "%s.%s: %s", insn, type, fault.what);
		for (uint32_t t = 0; t < nr; t++) {
			uint64_t now = 0, was = 0, all = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
			uint64_t want = t % 7 == 5 ? old[t] & all : reference(k, op, bits, old[t], v[t]);

			memcpy(&now, mem + 16 * t, bits / 8);
			memcpy(&was, mem + (1 << 20) + 8 * t, bits / 8);
			cr_assert_eq(now, want, "%s.%s of %llx and %llx gives %llx, not %llx", insn, type, (unsigned long long)(old[t] & all),
				     (unsigned long long)(v[t] & all), (unsigned long long)now, (unsigned long long)want);
			cr_assert_eq(was, t % 7 == 5 ? 0 : old[t] & all, "%s.%s: old value", insn, type);
		}
	}
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
}

Test(memory_ops, atomics_of_halves_round_once_and_know_nan, .timeout = 240)
{
	static const struct { const char *insn, *type; unsigned int bits; enum kind kind; char op; } c[] = {
		{ "atom.global.add.noftz", "f16", 16, H, '+' }, { "atom.global.add.noftz", "bf16", 16, G, '+' },
		{ "atom.global.min.noftz", "f16", 16, H, '<' }, { "atom.global.max.noftz", "bf16", 16, G, '>' },
		{ "atom.global.max.noftz", "f16", 16, H, '>' }, { "atom.global.min.noftz", "bf16", 16, G, '<' },
		{ "atom.add.noftz", "f16x2", 32, X, '+' }, { "atom.add.noftz", "bf16x2", 32, Y, '+' },
		{ "atom.global.min.noftz", "f16x2", 32, X, '<' }, { "atom.global.max.noftz", "bf16x2", 32, Y, '>' },
	};

	for (size_t i = 0; i < NR(c); i++)
		check_atom(c[i].insn, c[i].type, c[i].bits, c[i].kind, c[i].op, true);
}

static uint32_t f32_bits(float f)
{
	uint32_t v;

	memcpy(&v, &f, 4);
	return v;
}

static float f32_from(uint32_t v)
{
	float f;

	memcpy(&f, &v, 4);
	return f;
}

static uint32_t f32_sum(uint32_t a, uint32_t b, bool ftz)
{
	volatile float x, y;
	uint32_t r;

	if (ftz && !(a & 0x7f800000))
		a &= 0x80000000;
	if (ftz && !(b & 0x7f800000))
		b &= 0x80000000;
	x = f32_from(a);
	y = f32_from(b);
	r = f32_bits(x + y);
	if (isnan(f32_from(r)))
		return 0x7fffffff;
	return ftz && !(r & 0x7f800000) ? r & 0x80000000 : r;
}

/* PTX ISA, atom: .add.f32 flushes denormals in global memory, and not in shared memory. */
Test(memory_ops, a_sum_of_floats_is_flushed_in_global_memory_only)
{
	static const uint32_t v[] = { 0, 0x80000000, 1, 0x80000001, 0x7fffff, 0x807fffff, 0x800000, 0x80800001, 0x00c00000, 0x3f800000, 0xbf800001,
		0x33800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00001 };
	const uint32_t n = NR(v) * NR(v);

	memset(mem, 0, sizeof(mem));
	for (uint32_t i = 0; i < n; i++) {
		uint32_t pair[2] = { v[i / NR(v)], v[i % NR(v)] };

		memcpy(mem + i * 8, pair, 8);
	}
	/* thread i: a + b in global memory, generic global, shared, generic shared; odd and even threads mix spaces in one instruction */
	run(KERNEL(".shared .align 4 .b32 s[64];\n" HEAD
		   "mul.wide.u32 %rd7, %r7, 8; add.u64 %rd7, %rd7, %rd8; ld.global.f32 %f1, [%rd7]; ld.global.f32 %f2, [%rd7+4];\n"
		   "mul.wide.u32 %rd6, %r7, 16; add.u64 %rd6, %rd6, %rd8; add.u64 %rd6, %rd6, 65536;\n"
		   "st.global.f32 [%rd6], %f1; red.global.add.f32 [%rd6], %f2;\n"
		   "shl.b32 %r1, %r5, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; st.shared.f32 [%r1], %f1;\n"
		   "atom.shared.add.f32 %f3, [%r1], %f2; ld.shared.f32 %f4, [%r1]; st.global.f32 [%rd6+4], %f4;\n"
		   "st.shared.f32 [%r1], %f1; st.global.f32 [%rd6+8], %f1; cvt.u64.u32 %rd1, %r1; cvta.shared.u64 %rd1, %rd1;\n"
		   "add.u64 %rd2, %rd6, 8; and.b32 %r3, %r7, 1; setp.ne.u32 %p1, %r3, 0; selp.b64 %rd3, %rd1, %rd2, %p1;\n"
		   "atom.add.f32 %f5, [%rd3], %f2; st.global.f32 [%rd6+12], %f5; ld.f32 %f6, [%rd3]; st.global.f32 [%rd6+8], %f6; ret;"),
	    n / 64, 64, 0);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t a = v[i / NR(v)], b = v[i % NR(v)], got[4];

		memcpy(got, mem + 65536 + i * 16, 16);
		cr_assert_eq(got[0], f32_sum(a, b, true), "global %x + %x: %x", a, b, got[0]);
		cr_assert_eq(got[1], f32_sum(a, b, false), "shared %x + %x: %x", a, b, got[1]);
		cr_assert_eq(got[2], f32_sum(a, b, !(i & 1)), "generic %x + %x: %x", a, b, got[2]);
		cr_assert_eq(got[3], a, "old value");
	}
}

Test(memory_ops, atomics_of_128_bits_are_whole, .timeout = 60)
{
	uint64_t w[3];

	/* every thread adds 1 to the low and 3 to the high half, by compare and swap; no half may be lost */
	memset(mem, 0, sizeof(mem));
	run(KERNEL(".reg .b128 %q<4>; .shared .align 16 .b64 s[2];\n" HEAD "ld.global.v2.u64 {%rd1, %rd2}, [%rd8]; mov.b128 %q1, {%rd1, %rd2};\n"
		   "L: add.u64 %rd3, %rd1, 1; add.u64 %rd4, %rd2, 3; mov.b128 %q2, {%rd3, %rd4};\n"
		   "atom.global.cas.b128 %q3, [%rd8], %q1, %q2; mov.b128 {%rd5, %rd6}, %q3;\n"
		   "setp.ne.u64 %p1, %rd5, %rd1; setp.ne.or.u64 %p1, %rd6, %rd2, %p1; mov.u64 %rd1, %rd5; mov.u64 %rd2, %rd6;\n"
		   "mov.b128 %q1, %q3; @%p1 bra L;\n"
		   /* exchanges in shared memory: what came out and what is left are all the numbers that went in */
		   "cvt.u64.u32 %rd1, %r7; add.u64 %rd1, %rd1, 1; mul.lo.u64 %rd2, %rd1, 7; mov.b128 %q1, {%rd1, %rd2}; mov.u32 %r1, s;\n"
		   "atom.shared.exch.b128 %q2, [%r1], %q1; mov.b128 {%rd1, %rd2}, %q2; mul.lo.u64 %rd3, %rd1, 7; setp.ne.u64 %p1, %rd3, %rd2;\n"
		   "@%p1 trap; red.global.add.u64 [%rd8+16], %rd1; bar.sync 0; setp.ne.u32 %p1, %r5, 0; @%p1 bra DONE;\n"
		   "ld.shared.u64 %rd1, [%r1]; red.global.add.u64 [%rd8+16], %rd1; DONE: ret;"), 8, 96, 0);
	memcpy(w, mem, sizeof(w));
	cr_assert_eq(w[0], 768);
	cr_assert_eq(w[1], 3 * 768);
	cr_assert_eq(w[2], 768 * 769 / 2);
}

Test(memory_ops, vectors_of_atomics_work_on_each_element)
{
	static const float f[4] = { 1.5f, -2.0f, 1e-40f, 3.0f };
	uint32_t w[64];

	memset(mem, 0, sizeof(mem));
	memcpy(mem, f, sizeof(f));
	/* 64 threads add {1, 2, 1e-40, 4}; the last word counts those whose old second element was even; then halves */
	run(KERNEL(HEAD "mov.f32 %f1, 0f3f800000; mov.f32 %f2, 0f40000000; mov.b32 %r1, 0x116c2; mov.b32 %f3, %r1; mov.f32 %f4, 0f40800000;\n"
		   "atom.global.v4.f32.add {%f5, %f6, %f7, %f8}, [%rd8], {%f1, %f2, %f3, %f4};\n"
		   "cvt.rzi.s32.f32 %r1, %f6; and.b32 %r1, %r1, 1; xor.b32 %r1, %r1, 1; red.global.add.u32 [%rd8+16], %r1;\n"
		   "red.relaxed.gpu.global.add.v2.f32 [%rd8+24], {%f1, %f2};\n"
		   "mov.u16 %h1, 0x3c00; mov.u16 %h2, 0x4000; red.global.v8.f16.add.noftz [%rd8+32], {%h1, %h2, %h1, %h1, %h2, %h2, %h1, %h1};\n"
		   "mov.u32 %r1, 0x3f804000; mov.u32 %r2, 0xbf803f80; red.global.v2.bf16x2.max.noftz [%rd8+48], {%r1, %r2};\n"
		   "cvt.u16.u32 %h3, %r7; cvt.rn.bf16.u16 %h4, %h3; atom.global.v2.bf16.max.noftz {%h5, _}, [%rd8+56], {%h4, %h1}; ret;"), 2, 32, 0);
	memcpy(w, mem, sizeof(w));
	cr_assert_eq(w[0], f32_bits(65.5f));
	cr_assert_eq(w[1], f32_bits(126.0f));
	cr_assert_eq(w[2], 0, "denormals are flushed: %x", w[2]);
	cr_assert_eq(w[3], f32_bits(259.0f));
	cr_assert_eq(w[4], 64);
	cr_assert_eq(w[6], f32_bits(64.0f));
	cr_assert_eq(w[7], f32_bits(128.0f));
	cr_assert_eq(w[8], 0x58005400);
	cr_assert_eq(w[9], 0x54005400);
	cr_assert_eq(w[10], 0x58005800);
	cr_assert_eq(w[11], 0x54005400);
	cr_assert_eq(w[12], 0x3f804000);
	cr_assert_eq(w[13], 0x00003f80, "%x", w[13]);
	cr_assert_eq(w[14], 0x3c00427c, "%x", w[14]);
}

/* ---- mbarrier ---- */

/* Each thread writes a word, arrives and waits; then reads its neighbour's and arrives again. 9 rounds, two phases each. */
static void check_mbarrier(const char *wait, const char *first, const char *second)
{
	for (size_t s = 0; s < NR(shape); s++) {
		uint32_t n = shape[s];
		char ptx[4096], body[3072];

		memset(mem, 0, sizeof(mem));
		snprintf(body, sizeof(body), ".shared .align 8 .b64 bar; .shared .align 4 .b32 word[1024];\n%s"
			 "mov.u32 %%r1, bar; setp.ne.u32 %%p2, %%r5, 0; @%%p2 bra READY; mbarrier.init.shared.b64 [%%r1], %%r6; READY: bar.sync 0;\n"
			 "cvt.u64.u32 %%rd5, %%r1; cvta.shared.u64 %%rd5, %%rd5;\n"
			 "shl.b32 %%r2, %%r5, 2; mov.u32 %%r3, word; add.u32 %%r2, %%r2, %%r3; mov.u32 %%r4, 0; mov.f32 %%f1, 0f00000000;\n"
			 "mul.wide.u32 %%rd7, %%r7, 4; add.u64 %%rd7, %%rd7, %%rd8;\n"
			 "LOOP: mad.lo.u32 %%r8, %%r4, 5000, %%r5; st.shared.u32 [%%r2], %%r8;\n%s\n"
			 "add.u32 %%r8, %%r5, 1; setp.eq.u32 %%p3, %%r8, %%r6; selp.u32 %%r8, 0, %%r8, %%p3; shl.b32 %%r8, %%r8, 2; add.u32 %%r8, %%r8, %%r3;\n"
			 "ld.shared.u32 %%r8, [%%r8]; ld.global.u32 %%r7, [%%rd7]; add.u32 %%r7, %%r7, %%r8; st.global.u32 [%%rd7], %%r7;\n%s\n"
			 "add.u32 %%r4, %%r4, 1; setp.lt.u32 %%p3, %%r4, 9; @%%p3 bra LOOP; ret;", HEAD, first, second);
		run(kernel_around("", body, "", ptx, sizeof(ptx)), 3, n, 0);
		for (uint32_t t = 0; t < 3 * n; t++) {
			uint32_t got, want = 0;

			for (uint32_t i = 0; i < 9; i++)
				want += i * 5000 + (t % n + 1) % n;
			memcpy(&got, mem + 4 * t, 4);
			cr_assert_eq(got, want, "%s: thread %u of blocks of %u: %u, not %u", wait, t, n, got, want);
		}
	}
}

Test(memory_ops, threads_meet_at_an_mbarrier_by_its_state, .timeout = 240)
{
	check_mbarrier("test_wait",
		       "mbarrier.arrive.shared.b64 %rd1, [%r1]; A: mbarrier.test_wait.shared.b64 %p1, [%r1], %rd1; @!%p1 bra A;",
		       "mbarrier.arrive.release.cta.shared::cta.b64 %rd1, [%r1], 1;\n"
		       "B: mbarrier.try_wait.acquire.cta.shared::cta.b64 %p1, [%r1], %rd1; @!%p1 bra B;");
}

Test(memory_ops, threads_meet_at_an_mbarrier_by_parity, .timeout = 240)
{
	check_mbarrier("parity",
		       "mbarrier.arrive.b64 _, [%rd5]; A: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0, 1000; @!%p1 bra A;",
		       "mbarrier.arrive.noComplete.release.cta.shared.b64 %rd1, [%r1], 0; mbarrier.arrive.b64 %rd1, [%rd5];\n"
		       "mov.u32 %r8, 1; B: mbarrier.test_wait.parity.b64 %p1, [%rd5], %r8; @!%p1 bra B;");
}

Test(memory_ops, an_mbarrier_counts_bytes_and_lets_threads_leave, .timeout = 120)
{
	for (size_t s = 0; s < NR(shape); s++) {
		uint32_t n = shape[s], got[5];

		memset(mem, 0, sizeof(mem));
		/*
		 * bar: one arrival, 4 bytes of each thread: some come before they are expected. Then everybody arrives at bar2,
		 * those with an odd number for the last time; its second phase waits for the others alone.
		 */
		run(KERNEL(".shared .align 8 .b64 bar[2];\n" HEAD
			   "mov.u32 %r1, bar; setp.ne.u32 %p2, %r5, 0; @%p2 bra READY; mbarrier.init.shared.b64 [%r1], 1; mbarrier.init.shared.b64 [%r1+8], %r6;\n"
			   "READY: bar.sync 0; shl.b32 %r2, %r6, 2; sub.u32 %r3, %r6, 1; setp.eq.u32 %p3, %r5, %r3;\n"
			   "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r1], 4;\n"
			   "@%p3 mbarrier.arrive.expect_tx.shared.b64 %rd1, [%r1], %r2;\n"
			   "A: mbarrier.try_wait.parity.shared.b64 %p1, [%r1], 0; @!%p1 bra A;\n"
			   "red.global.add.u32 [%rd8], 1;\n"
			   "and.b32 %r4, %r5, 1; setp.ne.u32 %p4, %r4, 0; @%p4 bra ODD;\n"
			   "mbarrier.arrive.shared.b64 %rd2, [%r1+8]; B: mbarrier.test_wait.shared.b64 %p1, [%r1+8], %rd2; @!%p1 bra B;\n"
			   "mbarrier.arrive.shared.b64 %rd2, [%r1+8]; C: mbarrier.test_wait.shared.b64 %p1, [%r1+8], %rd2; @!%p1 bra C;\n"
			   "red.global.add.u32 [%rd8+4], 1; mbarrier.pending_count.b64 %r7, %rd2; red.global.max.u32 [%rd8+8], %r7;\n"
			   "setp.eq.u32 %p1, %r5, 0; @!%p1 bra DONE; mbarrier.expect_tx.relaxed.cta.shared.b64 [%r1], 100;\n"
			   "mbarrier.arrive.shared.b64 %rd3, [%r1]; mbarrier.test_wait.shared.b64 %p1, [%r1], %rd3; selp.u32 %r7, 1, 0, %p1;\n"
			   "mbarrier.complete_tx.shared.b64 [%r1], 60; mbarrier.complete_tx.shared.b64 [%r1], 40;\n"
			   "mbarrier.test_wait.shared.b64 %p1, [%r1], %rd3; selp.u32 %r8, 2, 0, %p1; add.u32 %r7, %r7, %r8; st.global.u32 [%rd8+12], %r7;\n"
			   "mbarrier.inval.shared.b64 [%r1]; bra DONE;\n"
			   "ODD: mbarrier.arrive_drop.shared.b64 %rd2, [%r1+8];\n"
			   "DONE: ret;"), 1, n, 0);
		memcpy(got, mem, sizeof(got));
		cr_assert_eq(got[0], n);
		cr_assert_eq(got[1], (n + 1) / 2);
		cr_assert_eq(got[2], (n + 1) / 2, "pending of %u: %u", n, got[2]);
		cr_assert_eq(got[3], 2);
	}
}

Test(memory_ops, asynchronous_copies_arrive, .timeout = 120)
{
	for (size_t s = 0; s < NR(shape); s++) {
		uint32_t n = shape[s];

		memset(mem, 0, sizeof(mem));
		for (uint32_t i = 0; i < 1024 * 16; i++)
			mem[i] = (unsigned char)mix(i);
		/* 16, 8 and 4 bytes; the second with a source of tid % 9 bytes, the third ignored by odd threads; waited for in three ways */
		run(KERNEL(".shared .align 16 .b8 to[32768]; .shared .align 8 .b64 bar;\n" HEAD
			   "mov.u32 %r1, bar; setp.ne.u32 %p2, %r5, 0; @%p2 bra READY; mbarrier.init.shared.b64 [%r1], %r6; READY: bar.sync 0;\n"
			   "mul.wide.u32 %rd1, %r5, 16; add.u64 %rd1, %rd1, %rd8; mul.lo.u32 %r2, %r5, 32; mov.u32 %r3, to; add.u32 %r2, %r2, %r3;\n"
			   "and.b32 %r4, %r5, 1; setp.ne.u32 %p3, %r4, 0; rem.u32 %r4, %r5, 9;\n"
			   "cp.async.cg.shared.global.L2::128B [%r2], [%rd1], 16; cp.async.commit_group;\n"
			   "cp.async.ca.shared::cta.global [%r2+16], [%rd1+8], 8, %r4; cp.async.wait_group 1;\n"
			   "cp.async.ca.shared.global [%r2+24], [%rd1+4], 4, %p3; cp.async.wait_all;\n"
			   "cp.async.mbarrier.arrive.shared.b64 [%r1]; cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r1];\n"
			   "A: mbarrier.try_wait.parity.shared.b64 %p1, [%r1], 0; @!%p1 bra A;\n"
			   "add.u32 %r4, %r5, 1; setp.eq.u32 %p3, %r4, %r6; selp.u32 %r4, 0, %r4, %p3; mul.lo.u32 %r4, %r4, 32; add.u32 %r4, %r4, %r3;\n"
			   "mul.wide.u32 %rd2, %r5, 32; add.u64 %rd2, %rd2, %rd8; add.u64 %rd2, %rd2, 65536;\n"
			   "ld.shared.v2.b64 {%rd3, %rd4}, [%r4]; st.global.v2.b64 [%rd2], {%rd3, %rd4};\n"
			   "ld.shared.b64 %rd3, [%r4+16]; st.global.b64 [%rd2+16], %rd3; ld.shared.b32 %r7, [%r4+24]; st.global.b32 [%rd2+24], %r7; ret;"),
		    1, n, 0);
		for (uint32_t t = 0; t < n; t++) {
			uint32_t from = (t + 1) % n;
			unsigned char want[32] = { 0 }, *got = mem + 65536 + 32 * t;

			memcpy(want, mem + 16 * from, 16);
			memcpy(want + 16, mem + 16 * from + 8, from % 9);
			if (!(from & 1))
				memcpy(want + 24, mem + 16 * from + 4, 4);
			for (int b = 0; b < 28; b++)
				cr_assert_eq(got[b], want[b], "thread %u of %u, byte %d", t, n, b);
		}
	}
}

/* ---- lanes ---- */

Test(memory_ops, lanes_reduce_floats_and_elect_one)
{
	static const uint32_t v[] = { 0x80000000, 0, 0x3f800000, 0xbf800000, 0x7fc00000, 0xff800001, 1, 0x80000001, 0x7f800000, 0xff800000, 0x41000000 };
	uint32_t in[128], got[5];

	memset(mem, 0, sizeof(mem));
	for (uint32_t i = 0; i < 128; i++)
		in[i] = i < 32 ? v[i % 4] : i < 64 ? v[4 + i % 2] : i < 96 ? v[mix(i) % NR(v)] : v[6 + i % 5];
	memcpy(mem, in, sizeof(in));
	/* odd and even lanes apart */
	run(KERNEL(HEAD "mul.wide.u32 %rd7, %r7, 4; add.u64 %rd7, %rd7, %rd8; ld.global.f32 %f1, [%rd7]; mul.wide.u32 %rd6, %r7, 32;\n"
		   "add.u64 %rd6, %rd6, %rd8; and.b32 %r1, %r7, 1; setp.ne.u32 %p1, %r1, 0; mov.u32 %r2, 0x55555555; shl.b32 %r3, %r2, 1;\n"
		   "selp.u32 %r2, %r3, %r2, %p1; @%p1 bra ODD; bra GO; ODD: nanosleep.u32 10;\n"
		   "GO: redux.sync.min.f32 %f2, %f1, %r2; redux.sync.max.f32 %f3, %f1, %r2; redux.sync.min.NaN.f32 %f4, %f1, %r2;\n"
		   "redux.sync.max.abs.f32 %f5, %f1, %r2; elect.sync %r4|%p2, %r2; selp.u32 %r3, 256, 0, %p2; add.u32 %r4, %r4, %r3;\n"
		   "st.global.f32 [%rd6+4096], %f2; st.global.f32 [%rd6+4100], %f3; st.global.f32 [%rd6+4104], %f4; st.global.f32 [%rd6+4108], %f5;\n"
		   "st.global.u32 [%rd6+4112], %r4; ret;"), 2, 64, 0);
	for (uint32_t t = 0; t < 128; t++) {
		uint32_t min = 0, max = 0, most = 0, first = t & 1;
		bool any = false, nan = false;

		for (uint32_t i = t / 32 * 32 + (t & 1); i < t / 32 * 32 + 32; i += 2) {
			float f = f32_from(in[i]);

			if (isnan(f)) {
				nan = true;
				continue;
			}
			/* ordered with -0 before +0 */
			if (!any || f < f32_from(min) || (f == f32_from(min) && in[i] >> 31))
				min = in[i];
			if (!any || f > f32_from(max) || (f == f32_from(max) && !(in[i] >> 31)))
				max = in[i];
			if (!any || fabsf(f) > f32_from(most))
				most = f32_bits(fabsf(f));
			any = true;
		}
		if (!any)
			min = max = most = 0x7fffffff;
		memcpy(got, mem + 4096 + 32 * t, sizeof(got));
		cr_assert_eq(got[0], min, "min of lane %u: %x, not %x", t, got[0], min);
		cr_assert_eq(got[1], max, "max of lane %u: %x, not %x", t, got[1], max);
		cr_assert_eq(got[2], nan ? 0x7fffffff : min, "NaN of lane %u: %x", t, got[2]);
		cr_assert_eq(got[3], most, "max of magnitudes, lane %u: %x, not %x", t, got[3], most);
		cr_assert_eq(got[4], first + (t % 32 == first ? 256 : 0));
	}
}

/* ---- special registers, and what does nothing ---- */

Test(memory_ops, special_registers_of_clusters_and_counters)
{
	uint32_t got[16];

	memset(mem, 0, sizeof(mem));
	run(KERNEL(HEAD "mul.wide.u32 %rd7, %r7, 64; add.u64 %rd7, %rd7, %rd8;\n"
		   "mov.u32 %r1, %cluster_ctaid.x; mov.u32 %r2, %cluster_nctaid.y; mov.u32 %r3, %clusterid.x; mov.u32 %r4, %nclusterid.x;\n"
		   "st.global.v4.u32 [%rd7], {%r1, %r2, %r3, %r4}; mov.u32 %r1, %cluster_ctarank; mov.u32 %r2, %cluster_nctarank;\n"
		   "mov.u32 %r3, %laneid; mov.u32 %r4, %warpid; st.global.v4.u32 [%rd7+16], {%r1, %r2, %r3, %r4};\n"
		   "mov.pred %p1, %is_explicit_cluster; selp.u32 %r1, 1, 0, %p1; mov.u32 %r2, %pm3; mov.u64 %rd1, %pm7_64; cvt.u32.u64 %r3, %rd1;\n"
		   "mov.u32 %r4, %lanemask_lt; st.global.v4.u32 [%rd7+32], {%r1, %r2, %r3, %r4};\n"
		   "createpolicy.fractional.L2::evict_last.b64 %rd2, 1.0; createpolicy.fractional.L2::evict_first.L2::evict_unchanged.b64 %rd3, 0.5;\n"
		   "ld.global.L2::cache_hint.u32 %r1, [%rd7+12], %rd2; st.global.L2::cache_hint.u32 [%rd7+48], %r1, %rd2;\n"
		   "prefetch.global.L2::evict_last [%rd7]; prefetch.global.L1 [%rd7]; prefetchu.L1 [%rd7]; applypriority.global.L2::evict_normal [%rd7], 128;\n"
		   "griddepcontrol.wait; griddepcontrol.launch_dependents; pmevent 7; setmaxnreg.inc.sync.aligned.u32 64; setmaxnreg.dec.sync.aligned.u32 24;\n"
		   "fence.acq_rel.cta; fence.sc.cluster; fence.acquire.gpu; fence.release.sys; membar.cta; membar.gl; membar.sys; membar.proxy.alias;\n"
		   "fence.proxy.alias; fence.proxy.async; fence.proxy.async.global; fence.proxy.async.shared::cta; fence.mbarrier_init.release.cluster;\n"
		   "fence.proxy.tensormap::generic.release.gpu; fence.proxy.tensormap::generic.acquire.gpu [%rd7], 128;\n"
		   "fence.acquire.sync_restrict::shared::cluster.cluster; fence.release.sync_restrict::shared::cta.cluster;\n"
		   "fence.proxy.async::generic.acquire.sync_restrict::shared::cluster.cluster;\n"
		   "ret;"), 3, 33, 0);
	for (uint32_t t = 0; t < 99; t++) {
		memcpy(got, mem + 64 * t, sizeof(got));
		cr_assert_eq(got[0], 0);
		cr_assert_eq(got[1], 1);
		cr_assert_eq(got[2], t / 33);
		cr_assert_eq(got[3], 3);
		cr_assert_eq(got[4], 0);
		cr_assert_eq(got[5], 1);
		cr_assert_eq(got[6], t % 33 % 32);
		cr_assert_eq(got[7], t % 33 / 32);
		cr_assert_eq(got[8] | got[9] | got[10], 0);
		cr_assert_eq(got[11], (UINT32_C(1) << t % 33 % 32) - 1);
		cr_assert_eq(got[12], 3);
	}
}

/* ---- faults ---- */

static enum hg_status run_fault(const char *ptx, uint32_t block, void *p, struct hg_fault *fault)
{
	struct params params = { p, 0 };
	struct kernel_run r = { .grid = { 2 }, .block = { block }, .params = &params };
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	struct hg_grid g = grid_of(&r);
	enum hg_status st;

	setenv("HGSHIM_CACHE", "0", 1);
	k = kernel_of(ptx, &m, &cm);
	st = hg_grid_run(k, &g, fault);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	return st;
}

static uint32_t line_of(const char *ptx, const char *text)
{
	uint32_t line = 1;
	const char *at = strstr(ptx, text);

	for (const char *c = ptx; at && c < at; c++)
		line += *c == '\n';
	return at ? line : 0;
}

static void expect_fault(const char *body, const char *text, uint32_t block, const char *thread, int error, uint64_t addr)
{
	struct hg_fault f = { .what = "" };
	char ptx[4096], want[64], head[2048];

	snprintf(head, sizeof(head), "%s%s", HEAD, body);
	kernel_around(".shared .align 8 .b32 s[8];\n.local .align 8 .b32 own[4];\n", head, "", ptx, sizeof(ptx));
	cr_assert_eq(run_fault(ptx, block, mem, &f), HG_ERR_FAULT, "%s", body);
	cr_assert_eq(f.cuda_error, error, "%s: %s", body, f.what);
	snprintf(want, sizeof(want), "%s, PTX line %u", thread, line_of(ptx, text));
	cr_assert(strstr(f.what, want), "'%s' is not in '%s'", want, f.what);
	cr_assert(strstr(f.what, "kernel 'k', block ("), "%s", f.what);
	if (addr)
		cr_assert_eq(f.addr, addr, "%s: %llx", body, (unsigned long long)f.addr);
}

/* Thread 37 alone, or all but a few, does it. */
#define ONE "setp.eq.u32 %p1, %r5, 37;\n"

Test(memory_ops, a_fault_names_thread_and_line)
{
	uint64_t at = (uintptr_t)mem;

	expect_fault(ONE "@%p1 trap;\nret;", "@%p1 trap", 64, "thread (37,0,0)", 719, 0);
	expect_fault(ONE "@%p1 brkpt;\nret;", "@%p1 brkpt", 64, "thread (37,0,0)", 719, 0);
	expect_fault("mul.wide.u32 %rd1, %r5, 8; add.u64 %rd1, %rd1, %rd8; setp.eq.u32 %p1, %r5, 37; selp.u64 %rd2, 4, 0, %p1; add.u64 %rd1, %rd1, %rd2;\n"
		     "st.global.u64 [%rd1], %rd2;\nret;", "st.global", 64, "thread (37,0,0)", 716, at + 37 * 8 + 4);
	expect_fault("mul.wide.u32 %rd1, %r5, 8; add.u64 %rd1, %rd1, %rd8; setp.eq.u32 %p1, %r5, 37;\n"
		     "@%p1 add.u64 %rd1, %rd1, 2;\natom.global.add.u32 %r1, [%rd1], 1;\nret;", "atom.global", 64, "thread (37,0,0)", 716, at + 37 * 8 + 2);
	expect_fault("add.u64 %rd1, %rd8, 2;\nld.global.u32 %r1, [%rd1];\nst.global.u32 [%rd8], %r1; ret;", "ld.global", 1, "thread (0,0,0)", 716, at + 2);
	expect_fault("mul.wide.u32 %rd1, %r5, 8; add.u64 %rd1, %rd1, %rd8; setp.eq.u32 %p1, %r5, 37; selp.u64 %rd1, 64, %rd1, %p1;\n"
		     "atom.global.add.u32 %r1, [%rd1], 1;\nret;", "atom.global", 64, "thread (37,0,0)", 700, 64);
	expect_fault("mul.wide.u32 %rd1, %r5, 8; add.u64 %rd1, %rd1, %rd8; setp.eq.u32 %p1, %r5, 37; selp.u64 %rd1, 64, %rd1, %p1;\n"
		     "ld.relaxed.gpu.global.u32 %r1, [%rd1];\nst.global.u32 [%rd8], %r1; ret;", "ld.relaxed", 64, "thread (37,0,0)", 700, 64);
}

/*
 * Accesses that the hardware stops: 2 pages of memory with nothing behind. Thread 37 is the first to be over the end; each
 * thread has `bytes`; of those that take part `first` is (0: no thread can be named). In code of each tier, and of the disk cache, which must say the same.
 */
static void expect_fault_behind(const char *body, const char *text, unsigned int bytes, unsigned int first)
{
	unsigned char *page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct { void *p; uint32_t n; } params = { page + 2 * 4096 - 37 * bytes, 0 };
	struct kernel_run r = { .block = { 64 }, .params = &params };
	char ptx[4096], want[96], head[2048], dir[] = "/tmp/hgshim-cache-XXXXXX", command[64];
	const char *isa = getenv("HGSHIM_ISA");
	bool masks = __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && (!isa || !strcmp(isa, "native"));
	struct hg_grid g = grid_of(&r);

	cr_assert(page != MAP_FAILED && mkdtemp(dir));
	cr_assert_eq(munmap(page + 2 * 4096, 4096), 0);
	snprintf(head, sizeof(head), "%s%s", HEAD, body);
	kernel_around("", head, "", ptx, sizeof(ptx));
	setenv("HGSHIM_CACHE", dir, 1);
	for (int way = 0; way < 4; way++) {
		struct hg_fault f = { .what = "" };
		struct hg_module *m;
		struct hg_cpu_module *cm;
		struct hg_cpu_kernel *k = kernel_of(ptx, &m, &cm);

		cr_assert_eq(hg_cpu_kernel_was_cached(k), way > 1, "way %d", way);
		if (way == 1)
			hg_cpu_kernel_wait(k);
		g.any_order = way == 3;
		cr_assert_eq(hg_grid_run(k, &g, &f), HG_ERR_FAULT, "%s", body);
		if (!way)
			hg_cpu_kernel_wait(k);
		cr_assert_eq(f.cuda_error, 700);
		snprintf(want, sizeof(want), ", PTX line %u", line_of(ptx, text));
		cr_assert(strstr(f.what, want), "way %d: '%s' is not in '%s'", way, want, f.what);
		/* narrower vectors of processors without masks are not told apart; nor are lanes that have one address */
		if (first && (way == 0 || masks)) {
			const char *at = strstr(f.what, "thread (");
			unsigned int t = at ? (unsigned int)atoi(at + 8) : 0;

			/* vectors may be stored in any order: it is the one whose address it is, or the next that takes part */
			cr_assert(t >= first, "way %d: %s", way, f.what);
			cr_assert_geq((uintptr_t)params.p + t * bytes + bytes - 1, f.addr, "way %d: %s", way, f.what);
			cr_assert_leq((uintptr_t)params.p + t * bytes, f.addr + (first == 37 ? 0 : bytes), "way %d: %s", way, f.what);
		}
		hg_cpu_module_destroy(cm);
		hg_module_free(m);
		if (!way) {	/* so that the next one compiles */
			snprintf(command, sizeof(command), "rm -f %s/*", dir);
			cr_assert_eq(system(command), 0);
		}
	}
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
	munmap(page, 2 * 4096);
}

#define MY_WORD(bytes) "mul.wide.u32 %rd1, %r5, " #bytes "; add.u64 %rd1, %rd1, %rd8;\n"

Test(memory_ops, a_fault_that_the_hardware_finds_names_thread_and_line, .timeout = 120)
{
	expect_fault_behind(MY_WORD(4) "st.global.u32 [%rd1], %r5;\nret;", "st.global", 4, 37);
	expect_fault_behind(MY_WORD(4) "ld.global.u32 %r1, [%rd1];\nadd.u32 %r1, %r1, 1;\nst.global.u32 [%rd8], %r1; ret;", "ld.global", 4,
			    37);
	expect_fault_behind(MY_WORD(8) "st.global.f64 [%rd1], %fd1;\nret;", "st.global", 8, 37);
	expect_fault_behind(MY_WORD(2) "cvt.u16.u32 %h1, %r5;\nst.global.u16 [%rd1], %h1;\nret;", "st.global", 2, 37);
	expect_fault_behind(MY_WORD(16) "st.global.v4.u32 [%rd1], {%r1, %r5, %r6, %r7};\nret;", "st.global", 16, 37);
	/* the lanes that are over the end first do not take part */
	expect_fault_behind("setp.lt.u32 %p1, %r5, 40; rem.u32 %r1, %r5, 5; setp.eq.or.u32 %p1, %r1, 2, %p1; setp.ge.u32 %p2, %r5, 37; and.pred %p1, %p1, %p2;\n"
			    "setp.ne.and.u32 %p1, %r5, 37, %p1; setp.lt.or.u32 %p1, %r5, 30, %p1;\n" MY_WORD(4)
			    "@%p1 st.global.u32 [%rd1], %r5;\nret;", "@%p1 st", 4, 38);
	/* one address for all of them */
	expect_fault_behind("\nst.global.u32 [%rd8+512], %r8;\nret;", "st.global", 4, 0);
}

static bool has_first_page(uint64_t addr, uint64_t size)
{
	return addr - (uintptr_t)mem < 4096 && size <= 4096 - (addr - (uintptr_t)mem);
}

/* Memory that is mapped and not allocated: only the check can tell. */
Test(memory_ops, checked_memory_is_what_is_alive)
{
	static const char *const good[] = {
		"mul.wide.u32 %rd1, %r5, 4; add.u64 %rd1, %rd1, %rd8; st.global.u32 [%rd1], 7; ret;",
		"st.global.u64 [%rd8+4088], %rd8; ret;", "mov.u32 %r1, s; st.shared.u32 [%r1+28], 1; ret;",
		"mov.u64 %rd1, s; cvta.shared.u64 %rd1, %rd1; st.u32 [%rd1+12], 1; ret;", "st.local.u32 [own+12], 1; ret;",
		"mov.u64 %rd1, own; cvta.local.u64 %rd1, %rd1; st.u32 [%rd1+8], 1; ld.u32 %r1, [%rd1]; ret;",
		/* where nobody goes */
		"setp.gt.u32 %p1, %r5, 5000; @%p1 st.global.u32 [%rd8+8192], 1; ret;",
	};
	uint64_t at = (uintptr_t)mem;
	struct hg_fault f;

	setenv("HGSHIM_CHECK", "memory", 1);
	hg_target_has_memory = has_first_page;
	for (size_t i = 0; i < NR(good); i++) {
		char ptx[4096], body[2048];

		snprintf(body, sizeof(body), "%s%s", HEAD, good[i]);
		kernel_around(".shared .align 8 .b32 s[8];\n.local .align 8 .b32 own[4];\n", body, "", ptx, sizeof(ptx));
		cr_assert_eq(run_fault(ptx, 64, mem, &f), HG_OK, "%s: %s", good[i], f.what);
	}
	expect_fault("mul.wide.u32 %rd1, %r5, 112; add.u64 %rd1, %rd1, %rd8;\nst.global.u32 [%rd1], 7;\nret;", "st.global", 64,
		     "thread (37,0,0)", 700, at + 37 * 112);
	expect_fault("\nst.global.u64 [%rd8+4096], %rd8;\nret;", "st.global", 1, "thread (0,0,0)", 700, at + 4096);
	expect_fault("mul.wide.u32 %rd1, %r5, 4; add.u64 %rd1, %rd1, %rd8;\nld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd8+4080];\n"
		     "ld.global.v2.u32 {%r1, %r2}, [%rd8+4096];\nst.global.u32 [%rd1], %r1; ret;", "ld.global.v2", 1, "thread (0,0,0)", 700, at + 4096);
	expect_fault(ONE "@%p1 red.global.add.u32 [%rd8+5000], 1;\nret;", "@%p1 red", 64, "thread (37,0,0)", 700, at + 5000);
	expect_fault(ONE "mov.u32 %r1, s;\n@%p1 st.shared.u32 [%r1+32], 1;\nret;", "@%p1 st", 64, "thread (37,0,0)", 700, 0);
	expect_fault(ONE "mov.u64 %rd1, s; cvta.shared.u64 %rd1, %rd1;\n@%p1 st.u32 [%rd1+40], 1;\nret;", "@%p1 st", 64, "thread (37,0,0)", 700, 0);
	expect_fault("\nst.local.u32 [own+16], 1;\nret;", "st.local", 64, "thread (0,0,0)", 700, 0);
	expect_fault(ONE "mov.u32 %r1, s; shl.b32 %r2, %r5, 4; add.u64 %rd1, %rd8, 4088;\n"
		     "@%p1 cp.async.ca.shared.global [%r1], [%rd1], 16;\nret;", "@%p1 cp", 64, "thread (37,0,0)", 716, at + 4088);
	/* a misaligned one is still that */
	expect_fault("mul.wide.u32 %rd1, %r5, 4; add.u64 %rd1, %rd1, %rd8;\nst.global.u32 [%rd1+1], 7;\nret;", "st.global", 64, "thread (0,0,0)", 716, 0);
}
