/* atomics.c - atom and red of every form, each thread on a word of its own: so every pair of operands is seen. */
#include "tests/ptx/conform/scalar.h"

#include <math.h>

enum { THREADS = 1024, BLOCK = 128, PER_KERNEL = 24, SLOT = 32 };

static uint64_t float_sum(uint64_t a, uint64_t b, bool ftz)
{
	uint32_t x = (uint32_t)a, y = (uint32_t)b;
	volatile float f, g;
	uint32_t r;

	if (ftz && !(x & 0x7f800000))
		x &= 0x80000000;
	if (ftz && !(y & 0x7f800000))
		y &= 0x80000000;
	memcpy((void *)&f, &x, 4);
	memcpy((void *)&g, &y, 4);
	f = f + g;
	memcpy(&r, (void *)&f, 4);
	if (f != f)
		return 0x7fffffff;
	return ftz && !(r & 0x7f800000) ? r & 0x80000000 : r;
}

static uint64_t double_sum(uint64_t a, uint64_t b)
{
	double x, y;

	memcpy(&x, &a, 8);
	memcpy(&y, &b, 8);
	x += y;
	memcpy(&a, &x, 8);
	return x != x ? UINT64_C(0xfff8000000000000) : a;
}

static uint64_t half(const char *op, const struct scalar_format *f, uint32_t a, uint32_t b)
{
	double x = scalar_value(f, a), y = scalar_value(f, b);

	if (!strcmp(op, "add"))
		return scalar_round(f, 'n', (__float128)x + y, 0, 0);
	if (x != x || y != y)
		return x == x ? a : y == y ? b : f->nan;
	if (x == y)	/* also zeros of two signs */
		return !strcmp(op, "min") ? a | b : a & b;
	return (x < y) == !strcmp(op, "min") ? a : b;
}

/* One element; in global memory sums of f32 are flushed. */
static uint64_t reference(const char *op, const char *type, bool global, uint64_t old, uint64_t v, uint64_t v2)
{
	unsigned int bits = cf_bits(type);
	uint64_t all = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	int64_t so, sv;

	old &= all;
	v &= all;
	so = (int64_t)(old << (64 - bits)) >> (64 - bits);
	sv = (int64_t)(v << (64 - bits)) >> (64 - bits);
	if (!strncmp(type, "f16", 3) || *type == 'b' + 0 * bits) {
		const struct scalar_format *f = *type == 'f' ? &scalar_f16 : &scalar_bf16;

		if (*type == 'f' || type[1] == 'f')
			return half(op, f, old & 0xffff, v & 0xffff) |
			       (bits == 32 ? half(op, f, (uint32_t)old >> 16, (uint32_t)v >> 16) << 16 : 0);
	}
	if (*type == 'f')
		return bits == 64 ? double_sum(old, v) : float_sum(old, v, global);
	if (!strcmp(op, "add")) return (old + v) & all;
	if (!strcmp(op, "min")) return (*type == 's' ? so < sv : old < v) ? old : v;
	if (!strcmp(op, "max")) return (*type == 's' ? so > sv : old > v) ? old : v;
	if (!strcmp(op, "and")) return old & v;
	if (!strcmp(op, "or")) return old | v;
	if (!strcmp(op, "xor")) return old ^ v;
	if (!strcmp(op, "inc")) return old >= v ? 0 : old + 1;
	if (!strcmp(op, "dec")) return old == 0 || old > v ? v : old - 1;
	if (!strcmp(op, "cas")) return old == v ? v2 & all : old;
	return v;	/* exch */
}

static const char *operation(const char *form)
{
	static const char *const list[] = { "add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec" };

	for (size_t i = 0; i < CF_NR(list); i++)
		if (cf_has(form, list[i]))
			return list[i];
	cf_die("%s: no operation", form);
}

static unsigned int vector(const char *form)
{
	return cf_has(form, "v2") ? 2 : cf_has(form, "v4") ? 4 : cf_has(form, "v8") ? 8 : 1;
}

static const char *reg(unsigned int bits)
{
	return bits == 128 ? "%q" : bits == 64 ? "%rd" : bits == 32 ? "%r" : "%h";
}

static char *registers(unsigned int bits, unsigned int first, unsigned int n)
{
	char *t = cf_text("%s%s%u", n > 1 ? "{" : "", reg(bits), first);

	for (unsigned int i = 1; i < n; i++)
		t = cf_text("%s, %s%u", t, reg(bits), first + i);
	return n > 1 ? cf_text("%s}", t) : t;
}

enum where { GLOBAL, SHARED, GENERIC, GENERIC_SHARED };

static enum where where_of(const char *form, size_t i)
{
	return cf_has(form, "global") ? GLOBAL : strstr(form, ".shared") ? SHARED : i % 2 && vector(form) == 1 ? GENERIC_SHARED : GENERIC;
}

static uint64_t near_one(uint64_t *s, const char *type, uint64_t v)
{
	uint64_t r = cf_random(s), how = r >> 60;

	r ^= r >> 31;
	if (!strcmp(type, "f16") || !strcmp(type, "f16x2"))	/* numbers that are near each other */
		r = how < 4 ? r : (r & 0x8fff8fff8fff8fff) | 0x3000300030003000;
	else if (!strcmp(type, "f32"))
		r = how < 4 ? r & 0x807fffff807fffff : (r & 0x83ffffff83ffffff) | 0x3c0000003c000000;
	else if (!strcmp(type, "f64"))
		r = how < 4 ? r : (r & 0x800fffffffffffff) | (0x3f0 + (how & 3)) << 52;
	else if (*type != 'b' || type[1] != 'f')
		r = how < 4 ? v : how < 7 ? v + how - 5 : how < 9 ? how - 7 : r;
	return r;
}

/* Thread t: 32 bytes of operands, 32 of second operands, and for each form 32 of memory and 32 for what came back. */
static void run(const struct cf_batch *b)
{
	size_t per = 2 * SLOT * b->nr;
	unsigned char *in = cf_alloc(THREADS * 2 * SLOT), *start = cf_alloc(THREADS * SLOT), *work = cf_alloc(THREADS * per);
	struct cf_buffer buf[] = { { in, THREADS * 2 * SLOT }, { work, THREADS * per } };
	uint64_t seed = b->seed;
	char *ptx = malloc(2048 * (b->nr + 8)), *at = ptx;
	const char *first_type = cf_type(b->item[0].arg, 0);

	for (unsigned int t = 0; t < THREADS; t++)
		for (unsigned int w = 0; w < SLOT / 8; w++) {
			uint64_t old = near_one(&seed, first_type, cf_random(&seed)), v = near_one(&seed, first_type, old), v2 = cf_random(&seed);

			memcpy(start + SLOT * t + 8 * w, &old, 8);
			memcpy(in + 2 * SLOT * t + 8 * w, &v, 8);
			memcpy(in + 2 * SLOT * t + SLOT + 8 * w, &v2, 8);
		}
	for (unsigned int t = 0; t < THREADS; t++)
		for (size_t i = 0; i < b->nr; i++)
			memcpy(work + t * per + 2 * SLOT * i, start + SLOT * t, SLOT);
	at += sprintf(at, CF_HEAD ".visible .entry k(.param .u64 in, .param .u64 work) {\n.reg .pred %%p<3>; .reg .b16 %%h<40>; .reg .b32 %%r<40>;\n"
		      ".reg .b64 %%rd<40>; .reg .b128 %%q<40>; .shared .align 32 .b8 s[%u];\n"
		      "ld.param.u64 %%rd1, [in]; ld.param.u64 %%rd2, [work]; mov.u32 %%r1, %%tid.x; mov.u32 %%r3, %%ctaid.x;\n"
		      "mad.lo.u32 %%r2, %%r3, %u, %%r1; mad.wide.u32 %%rd1, %%r2, %u, %%rd1; mad.wide.u32 %%rd2, %%r2, %zu, %%rd2; rem.u32 %%r4, %%r2, 7;\n"
		      "setp.ne.u32 %%p1, %%r4, 5; shl.b32 %%r1, %%r1, 5; mov.u32 %%r4, s; add.u32 %%r1, %%r1, %%r4; cvt.u64.u32 %%rd4, %%r1; cvta.shared.u64 %%rd4, %%rd4; mov.u64 %%rd9, 0;\n",
		      BLOCK * SLOT, BLOCK, 2 * SLOT, per);
	for (size_t i = 0; i < b->nr; i++) {
		const char *form = b->item[i].arg, *op = operation(form), *type = cf_type(form, 0), *address, *r;
		unsigned int bits = cf_bits(type), n = vector(form);
		enum where where = where_of(form, i);
		bool red = *form == 'r', shared = where == SHARED || where == GENERIC_SHARED, cas = !strcmp(op, "cas");
		char *home = cf_text("%%rd2+%zu", 2 * SLOT * i);

		address = where == SHARED ? "%r1" : where == GENERIC_SHARED ? "%rd4" : home;
		r = reg(bits);
		for (unsigned int k = 0; k < n; k++)
			at += sprintf(at, "ld.global.b%u %s%u, [%%rd1+%u];\n", bits, r, 20 + k, k * bits / 8);
		if (cas)
			at += sprintf(at, "ld.global.b%u %s22, [%%rd1+%u];\n", bits, r, SLOT);
		if (shared)
			at += sprintf(at, "ld.global.v2.b64 {%%rd10, %%rd11}, [%s]; st.shared.v2.b64 [%%r1], {%%rd10, %%rd11};\n", home);
		at += sprintf(at, "@%%p1 %s ", form);
		if (!red)
			at += sprintf(at, "%s, ", registers(bits, 30, n));
		at += sprintf(at, "[%s], %s%s%s%s;\n", address, registers(bits, 20, n), cas ? ", " : "", cas ? cf_text("%s22", r) : "",
			      cf_has(form, "L2::cache_hint") ? ", %rd9" : "");
		if (shared)
			at += sprintf(at, "ld.shared.v2.b64 {%%rd10, %%rd11}, [%%r1]; st.global.v2.b64 [%s], {%%rd10, %%rd11};\n", home);
		for (unsigned int k = 0; k < n && !red; k++)
			at += sprintf(at, "@%%p1 st.global.b%u [%%rd2+%zu], %s%u;\n", bits, 2 * SLOT * i + SLOT + k * bits / 8, r, 30 + k);
	}
	strcpy(at, "ret;\n}\n");
	if (cf_run(ptx, THREADS / BLOCK, BLOCK, buf, 2, NULL, 0, cf_long || cf_random(&seed) >> 62 == 0))
		for (size_t i = 0; i < b->nr; i++) {
			const char *form = b->item[i].arg, *op = operation(form), *type = cf_type(form, 0);
			unsigned int bits = cf_bits(type), n = vector(form), bytes = bits / 8;
			enum where where = where_of(form, i);

			for (unsigned int t = 0; t < THREADS; t++) {
				unsigned char now[SLOT], back[SLOT] = { 0 };
				const unsigned char *old = start + SLOT * t, *v = in + 2 * SLOT * t;

				memcpy(now, old, SLOT);
				if (t % 7 != 5 && *form != 'r')
					memcpy(back, old, n * bytes);
				if (t % 7 != 5 && bits == 128) {
					if (!strcmp(op, "exch"))
						memcpy(now, v, 16);
					else if (!memcmp(old, v, 16))
						memcpy(now, v + SLOT, 16);
				} else if (t % 7 != 5) {
					for (unsigned int k = 0; k < n; k++) {
						uint64_t x = 0, y = 0, z = 0, r;

						memcpy(&x, old + k * bytes, bytes);
						memcpy(&y, v + k * bytes, bytes);
						memcpy(&z, v + SLOT + k * bytes, bytes);
						r = reference(op, type, where == GLOBAL || where == GENERIC, x, y, z);
						memcpy(now + k * bytes, &r, bytes);
					}
				}
				if (!memcmp(now, work + t * per + 2 * SLOT * i, SLOT) && !memcmp(back, work + t * per + 2 * SLOT * i + SLOT, SLOT))
					continue;
				cf_fail("%s, thread %u: of %016llx and %016llx memory is %016llx, not %016llx, and what came back %016llx", form, t,
					*(const unsigned long long *)old, *(const unsigned long long *)v,
					*(unsigned long long *)(work + t * per + 2 * SLOT * i), *(unsigned long long *)now,
					*(unsigned long long *)(work + t * per + 2 * SLOT * i + SLOT));
				break;
			}
		}
	free(ptx);
	free(in);
	free(start);
	free(work);
}

static struct { struct cf_case item[PER_KERNEL]; size_t nr; } part;

static void flush(void)
{
	if (part.nr)
		cf_add(run, part.item, part.nr, NULL);
	part.nr = 0;
}

/* Forms of one type together: operands are chosen for it. */
static void one(const char *form, void *arg)
{
	if (strcmp(cf_type(form, 0), arg))
		return;
	part.item[part.nr++] = (struct cf_case){ cf_text("%s;", form), form };
	if (part.nr == PER_KERNEL)
		flush();
}

void cf_atomics(void)
{
	static char type[][8] = {
		"b16", "u16", "s16", "b32", "u32", "s32", "b64", "u64", "s64", "b128", "f16", "f16x2", "bf16", "bf16x2", "f32", "f64",
	};

	for (size_t i = 0; i < CF_NR(type); i++) {
		cf_forms("atom", one, type[i]);
		cf_forms("red", one, type[i]);
		flush();
	}
}
