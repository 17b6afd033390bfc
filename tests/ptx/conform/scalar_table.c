/* scalar_table.c - runs tables of scalar instructions; rounding to any format by search. */
#include "tests/ptx/conform/scalar.h"

#include <math.h>

enum { RANDOM = 3000, RANDOM_LONG = 1000000, PER_KERNEL = 64 };

static const uint64_t corner16[] = {
	0, 1, 2, 7, 31, 32, 33, 0x7f, 0x80, 0xff, 0x3ff, 0x400, 0x401, 0x3c00, 0x3c01, 0x3f80, 0x3f81, 0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7f7f,
	0x7f80, 0x7f81, 0x7fff, 0x8000, 0x8001, 0x83ff, 0x8400, 0xbc00, 0xbf80, 0xfbff, 0xfc00, 0xff7f, 0xff80, 0xffff,
};
static const uint64_t corner32[] = {
	0, 1, 2, 7, 31, 32, 33, 63, 64, 100, 255, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fff8000, 0x12345678, 0x7fffffff, 0x80000000, 0x80000001,
	0xffffffff, 0xfffffffe, 0xdeadbeef, 0x00800000, 0x007fffff, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7f7fffff, 0xff7fffff,
	0x7fc00000, 0x7f800001, 0xffc12345, 0x40490fdb, 0x33000000, 0x33000001, 0x477fefff, 0x477ff000, 0x38800000, 0x387fffff, 0x00400000,
	0x00400001, 0x7f000001, 0x43e00000, 0x43e80000, 0x47600000, 0x40f00000, 0x41e00000, 0x3a800000, 0x37800000, 0x3e800000, 0x3f7fffff,
};
static const uint64_t corner64[] = {
	0, 1, 2, 31, 32, 33, 63, 64, 65, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x123456789abcdef0, 0x7fffffffffffffff,
	0x8000000000000000, 0xffffffffffffffff, 0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0xbff8000000000000,
	0x3ff0000000000001, 0x41dfffffffc00000, 0x41e0000000000000, 0x43e0000000000000, 0x43efffffffffffff, 0x47efffffefffffff,
	0x47f0000000000000, 0x36a0000000000001, 0x7fefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000,
	0x7ff0000000000001, 0x4330000000000001, 0x40effdffffffffff, 0x40effe0000000000, 0x3ff0020000000000, 0x3ff0020000000001, 0x3e60000000000001,
};

const struct scalar_format scalar_f16 = { 10, 15, 0x7bff, 0x7c00, 0x7fff, 0x8000 }, scalar_bf16 = { 7, 127, 0x7f7f, 0x7f80, 0x7fff, 0x8000 };
const struct scalar_format scalar_e4m3 = { 3, 7, 0x7e, 0, 0x7f, 0x80 }, scalar_e5m2 = { 2, 15, 0x7b, 0x7c, 0x7f, 0x80 };
const struct scalar_format scalar_e2m3 = { 3, 1, 0x1f, 0, 0x1f, 0x20 }, scalar_e3m2 = { 2, 3, 0x1f, 0, 0x1f, 0x20 };
const struct scalar_format scalar_e2m1 = { 1, 1, 7, 0, 7, 8 }, scalar_tf32 = { 10, 127, 0x3fbff, 0x3fc00, 0x3ffff, 0x40000 };

static double find_magnitude(const struct scalar_format *f, uint32_t code)
{
	int exp = (int)(code >> f->fraction), m = (int)(code & ((1u << f->fraction) - 1));

	return exp ? ldexp(m + (1 << f->fraction), exp - f->bias - f->fraction) : ldexp(m, 1 - f->bias - f->fraction);
}

/* Of a magnitude, whether it is a number of the format or only would be the next one; kept, there are few. */
static double magnitude(const struct scalar_format *f, uint32_t code)
{
	static struct { const struct scalar_format *f; double *value; } known[8];
	size_t i = 0;

	while (known[i].f && known[i].f != f)
		i++;
	if (!known[i].f) {
		known[i].value = malloc(f->sign * sizeof(double));
		for (uint32_t c = 0; c < f->sign; c++)
			known[i].value[c] = find_magnitude(f, c);
		known[i].f = f;
	}
	return code < f->sign ? known[i].value[code] : find_magnitude(f, code);
}

double scalar_value(const struct scalar_format *f, uint32_t code)
{
	uint32_t mag = code & (f->sign - 1);
	double v = magnitude(f, mag);

	if (f->inf && mag == f->inf)
		v = INFINITY;
	else if (mag > f->most)
		return NAN;
	return code & f->sign ? -v : v;
}

uint32_t scalar_round(const struct scalar_format *f, char mode, __float128 s, int more, int finite)
{
	bool negative = s < 0 || (s == 0 && signbit((double)s)), up;
	__float128 a = negative ? -s : s, low, high, middle;
	uint32_t first = 0, last = f->most, sign = negative ? f->sign : 0;
	int beyond = negative ? -more : more;

	if (s != s)
		return f->nan;
	if (a > (__float128)1e300) {	/* an infinity, or as good as one */
		first = f->most;
		if (a == (__float128)INFINITY)
			return sign | (finite || !f->inf ? f->most : f->inf);
	}
	while (first < last) {
		uint32_t half = (first + last + 1) / 2;

		if (magnitude(f, half) < a || (magnitude(f, half) == a && beyond >= 0))
			first = half;
		else
			last = half - 1;
	}
	low = magnitude(f, first);
	high = magnitude(f, first + 1);
	middle = (low + high) / 2;
	if (a == low && !beyond)
		return sign | first;
	switch (mode) {
	case 'z': up = false; break;
	case 'm': up = negative; break;
	case 'p': up = !negative; break;
	case 'a': up = a > middle || (a == middle && beyond >= 0); break;
	default: up = a > middle || (a == middle && (beyond > 0 || (!beyond && first & 1))); break;
	}
	first += up;
	if (first > f->most)
		first = finite || !f->inf ? f->most : f->inf;
	return sign | first;
}

static uint64_t choose(uint64_t *s, char kind)
{
	uint64_t v = cf_random(s), how;
	float f;
	double d;

	v ^= v >> 32;
	how = cf_random(s) >> 60;
	switch (kind) {
	case 'h': return how < 3 ? corner16[v % CF_NR(corner16)] : v & 0xffff;
	case 'd': return how < 3 ? corner64[v % CF_NR(corner64)] : how < 6 ? v >> (v & 63) : v;
	case 'g':
		if (how < 3)
			return corner64[v % CF_NR(corner64)];
		d = ldexp((double)(int64_t)v, (int)(cf_random(s) % 48) - 84);
		if (how < 11)
			memcpy(&v, &d, sizeof(v));
		return v;
	case 'f':
		f = ldexpf((float)(int32_t)v, (int)(cf_random(s) % 64) - 56);
		if (how >= 3 && how < 11)
			memcpy(&v, &f, sizeof(f));
		/* fall through */
	default:
		return (how < 3 ? corner32[v % CF_NR(corner32)] : how < 5 && kind == 'r' ? (uint32_t)v >> (v >> 32 & 31) : v) & 0xffffffff;
	}
}

static const char *reg(char kind)
{
	return kind == 'h' ? "%h" : kind == 'r' ? "%r" : kind == 'f' ? "%f" : kind == 'g' ? "%fd" : "%rd";
}

static const char *type(char kind)
{
	return kind == 'h' ? "b16" : kind == 'r' || kind == 'f' ? "b32" : "b64";
}

static uint64_t cut(char kind, uint64_t v)
{
	return kind == 'h' ? v & 0xffff : kind == 'r' || kind == 'f' ? v & 0xffffffff : v;
}

#define OLD UINT64_C(0x3a5b6c7d3a5b6c7d)	/* what a lane that is off keeps; no NaN as any kind */

/* Parameters: the inputs, the results, how many inputs. */
static char *text_of(const struct cf_batch *b, bool uniform)
{
	const struct scalar_row *first = b->item[0].arg;
	char *ptx = malloc(1024 * (b->nr + 4)), *at = ptx;

	at += sprintf(at, CF_HEAD ".visible .entry k(.param .u64 p, .param .u64 out, .param .u32 n) {\n"
		      ".reg .pred %%p<9>; .reg .b16 %%h<9>; .reg .b32 %%r<12>; .reg .f32 %%f<9>; .reg .b64 %%rd<12>; .reg .f64 %%fd<9>;\n"
		      "ld.param.u64 %%rd8, [p]; ld.param.u32 %%r8, [n]; ld.param.u64 %%rd9, [out]; mov.u32 %%r7, %%ctaid.x;\n");
	if (!uniform)
		at += sprintf(at, "mov.u32 %%r6, %%ntid.x; mov.u32 %%r5, %%tid.x; mad.lo.u32 %%r7, %%r7, %%r6, %%r5;\n");
	at += sprintf(at, "setp.ge.u32 %%p8, %%r7, %%r8; @%%p8 bra DONE;\n"
		      "mul.wide.u32 %%rd7, %%r7, 32; add.u64 %%rd8, %%rd8, %%rd7; mul.wide.u32 %%rd7, %%r7, %zu; add.u64 %%rd9, %%rd9, %%rd7;\n"
		      "ld.global.u32 %%r10, [%%rd8+24]; setp.ne.u32 %%p7, %%r10, 0;\n", b->nr * 8);
	for (size_t o = 0; first->in[o]; o++)
		at += sprintf(at, "ld.global.%s %s%zu, [%%rd8+%zu];\n", type(first->in[o]), reg(first->in[o]), o + 1, o * 8);
	for (size_t i = 0; i < b->nr; i++) {
		const struct scalar_row *row = b->item[i].arg;
		const char *insn = row->insn;

		if (*insn != '+')
			at += sprintf(at, "mov.%s %s4, 0x%llx; @%%p7 ", type(row->out), reg(row->out), (unsigned long long)cut(row->out, OLD));
		at += sprintf(at, "%s\nst.global.%s [%%rd9+%zu], %s4;\n", *insn == '+' ? insn + 1 : insn, type(row->out), i * 8, reg(row->out));
	}
	strcpy(at, "DONE: ret;\n}\n");
	return ptx;
}

static void compare(const struct cf_batch *b, const uint64_t *data, const uint64_t *out, size_t n)
{
	for (size_t k = 0; k < b->nr; k++) {
		const struct scalar_row *row = b->item[k].arg;
		unsigned int wrong = 0;

		for (size_t i = 0; i < n && wrong < 2; i++) {
			const uint64_t *d = data + 4 * i;
			bool on = *row->insn == '+' || d[3];
			uint64_t got = cut(row->out, out[i * b->nr + k]), want;

			want = cut(row->out, !on ? OLD : row->ref ? row->ref(row, d[0], d[1], d[2]) : 0);
			if (on && !row->ref ? row->near(row, d[0], d[1], got) : want == got)
				continue;
			wrong++;
			cf_fail("%s of %llx %llx %llx, lane %s: gave %llx, not %llx", row->insn, (unsigned long long)d[0],
				(unsigned long long)d[1], (unsigned long long)d[2], on ? "on" : "off", (unsigned long long)got,
				(unsigned long long)want);
		}
		if (row->report)
			row->report(row);
	}
}

static size_t inputs(const struct scalar_row *row, uint64_t seed, uint64_t **out)
{
	const char *kinds = row->in;
	size_t n = 0, random = cf_long ? RANDOM_LONG : RANDOM, stride = cf_long ? 1021 : 65521, max = random + 65536 + 4096 + 0x100000000 / stride;
	uint64_t *d = calloc(max * 4, 8);
	const uint64_t *list[3];
	size_t len[3] = { 1, 1, 1 }, operands = strlen(kinds);

	for (size_t o = 0; o < operands; o++) {
		list[o] = kinds[o] == 'h' ? corner16 : kinds[o] == 'd' || kinds[o] == 'g' ? corner64 : corner32;
		len[o] = kinds[o] == 'h' ? CF_NR(corner16) : kinds[o] == 'd' || kinds[o] == 'g' ? CF_NR(corner64) : CF_NR(corner32);
	}
	if (kinds[0] == 'h' && (operands == 1 || cf_long))	/* all of the first operand */
		for (; n < 65536; n++) {
			d[4 * n] = n;
			for (size_t o = 1; o < operands; o++)
				d[4 * n + o] = choose(&seed, kinds[o]);
		}
	if (operands < 3)	/* corners with corners; of three by chance */
		for (size_t i = 0; i < len[0]; i++)
			for (size_t j = 0; j < len[1]; j++, n++) {
				d[4 * n] = list[0][i];
				if (operands > 1)
					d[4 * n + 1] = list[1][j];
			}
	if (row->near && !strcmp(kinds, "f"))
		for (uint64_t v = 0; v < 0x100000000; v += stride)
			d[4 * n++] = v;
	for (size_t i = 0; i < random; i++, n++)
		for (size_t o = 0; o < operands; o++)
			d[4 * n + o] = choose(&seed, kinds[o]);
	for (size_t i = 0; i < n; i++)
		d[4 * i + 3] = (cf_random(&seed) >> 40 & 3) != 0;
	*out = d;
	return n;
}

/* Rows of the same operands, in one kernel. */
static void run_rows(const struct cf_batch *b)
{
	const struct scalar_row *first = b->item[0].arg;
	uint64_t *data, seed = b->seed;
	size_t n = inputs(first, seed, &data), few = n < 1500 ? n : 1500;
	uint64_t *out = calloc(n * b->nr, 8);
	bool all_ways = cf_long || cf_random(&seed) >> 62 == 0;
	struct cf_buffer buf[] = { { data, n * 32 }, { out, n * b->nr * 8 } };
	uint32_t nr = (uint32_t)n;
	char *ptx = text_of(b, false);

	if (cf_run(ptx, (nr + 127) / 128, 128, buf, 2, &nr, sizeof(nr), all_ways))
		compare(b, data, out, n);
	free(ptx);
	if (all_ways) {		/* blocks of one thread: all is uniform */
		memset(out, 0, n * b->nr * 8);
		ptx = text_of(b, true);
		nr = (uint32_t)few;
		if (cf_run(ptx, nr, 1, buf, 2, &nr, sizeof(nr), false))
			compare(b, data, out, few);
		free(ptx);
	}
	free(out);
	free(data);
}

static void run_refused(const struct cf_batch *b)
{
	for (size_t i = 0; i < b->nr; i++) {
		struct cf_batch one = { .item = &b->item[i], .nr = 1 };
		char *ptx = text_of(&one, false);

		cf_check(cf_is_refused(ptx) != 0, "%s is not refused", ((const struct scalar_row *)b->item[i].arg)->insn);
		free(ptx);
	}
}

void scalar_add(const struct scalar_row *row, size_t nr)
{
	bool *done = calloc(nr, sizeof(bool));
	struct cf_case item[PER_KERNEL];

	for (size_t i = 0; i < nr; i++) {
		bool refused = !row[i].ref && !row[i].near;
		size_t n = 0;

		for (size_t k = i; k < nr && n < PER_KERNEL; k++)
			if (!done[k] && refused == (!row[k].ref && !row[k].near) && !row[k].near == !row[i].near && !strcmp(row[k].in, row[i].in)) {
				/* a refused form covers nothing */
				item[n++] = (struct cf_case){ refused ? "" : row[k].insn + (*row[k].insn == '+'), &row[k] };
				done[k] = true;
			}
		if (n)
			cf_add(refused ? run_refused : run_rows, item, n, NULL);
	}
	free(done);
}
