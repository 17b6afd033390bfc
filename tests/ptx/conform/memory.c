/* memory.c - loads and stores of every form: the same bytes, extended as the type says. */
#include "tests/ptx/conform/conform.h"

/*
 * Each thread has 32 bytes. A kernel tries many forms: a load takes them from a copy in its space and stores its registers;
 * a store puts them into a cleared copy in its space, which is read back.
 */
enum { THREADS = 64, PER_KERNEL = 40, SLOT = 64 };

static bool is_store(const char *form)
{
	return !strncmp(form, "st.", 3);
}

static unsigned int vector(const char *form)
{
	return cf_has(form, "v2") ? 2 : cf_has(form, "v4") ? 4 : cf_has(form, "v8") ? 8 : 1;
}

/* What a form names: global, shared, local, const, param (of a kernel), func (a call's), or nothing. */
static const char *space(const char *form)
{
	return cf_has(form, "global") ? "global" : cf_has(form, "local") ? "local" : cf_has(form, "const") ? "const" :
	       cf_has(form, "param") || cf_has(form, "param::entry") ? "param" : cf_has(form, "param::func") ? "func" :
	       strstr(form, ".shared") ? "shared" : "";
}

/* 8 and 16 bits go through 32 for loads, so that the extension is seen. */
static const char *reg(const char *type)
{
	unsigned int bits = cf_bits(type);

	return bits == 128 ? "%q" : *type == 'f' ? (bits == 32 ? "%f" : "%fd") : bits == 64 ? "%rd" : "%r";
}

static char *registers(const char *form, const char *type)
{
	unsigned int n = vector(form);
	char *t = cf_text("%s%s20", n > 1 ? "{" : "", reg(type));

	for (unsigned int i = 1; i < n; i++)
		t = cf_text("%s, %s%u", t, reg(type), 20 + i);
	return n > 1 ? cf_text("%s}", t) : t;
}

/* Nothing is known of the bytes that a batch may not touch; the output has room for each form of each thread. */
static void run(const struct cf_batch *b)
{
	static const char fill[] = "st%s.v2.b64 [%s], {%%rd%u, %%rd%u}; st%s.v2.b64 [%s+16], {%%rd%u, %%rd%u};\n";
	unsigned char *in = cf_alloc(THREADS * 32), *work = cf_alloc(THREADS * 32 * b->nr), *out = cf_alloc(THREADS * SLOT * b->nr);
	struct cf_buffer buf[] = { { in, THREADS * 32 }, { work, THREADS * 32 * b->nr }, { out, THREADS * SLOT * b->nr } };
	unsigned char extra[8 + 32] = { 0 }, *fixed = extra + 8;	/* of .const and .param, which is aligned */
	uint64_t seed = b->seed;
	char *ptx = malloc(2048 * (b->nr + 8)), *at = ptx, *constants = cf_text("%s", "");

	for (size_t i = 0; i < 32; i++) {
		fixed[i] = (unsigned char)(cf_random(&seed) >> 40);
		constants = cf_text("%s%s%u", constants, i ? ", " : "", fixed[i]);
	}
	for (size_t i = 0; i < THREADS * 32; i++)
		in[i] = (unsigned char)(cf_random(&seed) >> 40);

	at += sprintf(at, CF_HEAD ".const .align 32 .b8 c[32] = {%s};\n"
		      ".func (.param .align 32 .b8 r[32]) same(.param .align 32 .b8 a[32]) {\n.reg .b64 %%rd<5>;\n"
		      "ld.param.v2.b64 {%%rd1, %%rd2}, [a]; ld.param.v2.b64 {%%rd3, %%rd4}, [a+16];\n"
		      "st.param.v2.b64 [r], {%%rd1, %%rd2}; st.param.v2.b64 [r+16], {%%rd3, %%rd4}; ret;\n}\n"
		      ".visible .entry k(.param .u64 in, .param .u64 work, .param .u64 out, .param .align 32 .b8 q[32]) {\n"
		      ".reg .b16 %%h<40>; .reg .b32 %%r<40>; .reg .b64 %%rd<40>; .reg .f32 %%f<40>; .reg .f64 %%fd<40>; .reg .b128 %%q<40>;\n"
		      ".shared .align 32 .b8 s[%u]; .local .align 32 .b8 l[32];\n"
		      "ld.param.u64 %%rd1, [in]; ld.param.u64 %%rd2, [work]; ld.param.u64 %%rd3, [out]; mov.u32 %%r1, %%tid.x; mov.u32 %%r3, %%ctaid.x;\n"
		      "mad.lo.u32 %%r2, %%r3, 32, %%r1; mad.wide.u32 %%rd1, %%r2, 32, %%rd1; mad.wide.u32 %%rd2, %%r2, %zu, %%rd2; mad.wide.u32 %%rd3, %%r2, %zu, %%rd3;\n"
		      "shl.b32 %%r1, %%r1, 5; mov.u32 %%r4, s; add.u32 %%r1, %%r1, %%r4; cvt.u64.u32 %%rd4, %%r1; cvta.shared.u64 %%rd4, %%rd4; mov.u64 %%rd9, 0;\n"
		      "ld.global.v2.b64 {%%rd5, %%rd6}, [%%rd1]; ld.global.v2.b64 {%%rd7, %%rd8}, [%%rd1+16];\n",
		      constants, THREADS / 2 * 32, 32 * b->nr, SLOT * b->nr);
	for (size_t i = 0; i < b->nr; i++) {
		const char *form = b->item[i].arg, *type = cf_type(form, 0), *sp = space(form), *r = registers(form, type), *where;
		bool st = is_store(form), generic_shared = !*sp && i % 2, hint = cf_has(form, "L2::cache_hint");
		unsigned int n = vector(form), bits = cf_bits(type);
		const char *tail = hint ? ", %rd9" : "";

		where = !strcmp(sp, "shared") ? "%r1" : !strcmp(sp, "local") ? "l" : !strcmp(sp, "const") ? "c" : !strcmp(sp, "param") && !st ? "q" :
			generic_shared ? "%rd4" : st ? cf_text("%%rd2+%zu", 32 * i) : "%rd1";
		at += sprintf(at, "{\n");
		if (!strcmp(sp, "func") || (!strcmp(sp, "param") && st)) {
			at += sprintf(at, ".param .align 32 .b8 a[32]; .param .align 32 .b8 b[32];\n");
			if (st) {
				at += sprintf(at, fill, ".param", "a", 9, 9, ".param", "a", 9, 9);
				where = "a";
			} else {
				at += sprintf(at, fill, ".param", "a", 5, 6, ".param", "a", 7, 8);
				at += sprintf(at, "call.uni (b), same, (a);\n");
				where = "b";
			}
		} else if (!strcmp(where, "%r1") || !strcmp(where, "%rd4") || !strcmp(where, "l")) {
			const char *plain = *where == 'l' ? ".local" : where[2] == 'd' ? "" : ".shared";

			at += st ? sprintf(at, fill, plain, where, 9, 9, plain, where, 9, 9) : sprintf(at, fill, plain, where, 5, 6, plain, where, 7, 8);
		}
		if (st) {	/* the first bytes of the input, as they are */
			if (bits == 128)
				at += sprintf(at, "ld.global.b128 %%q20, [%%rd1];\n");
			for (unsigned int k = 0; k < n && bits < 128; k++)
				at += sprintf(at, "ld.global.%s %s%u, [%%rd1+%u];\n", type, reg(type), 20 + k, k * bits / 8);
			at += sprintf(at, "%s [%s], %s%s;\n", form, where, r, tail);
			if (!strcmp(where, "a")) {
				at += sprintf(at, "call.uni (b), same, (a);\nld.param.v2.b64 {%%rd10, %%rd11}, [b]; ld.param.v2.b64 {%%rd12, %%rd13}, [b+16];\n");
			} else {
				const char *plain = !strcmp(where, "%r1") ? ".shared" : *where == 'l' ? ".local" : "";

				at += sprintf(at, "ld%s.v2.b64 {%%rd10, %%rd11}, [%s]; ld%s.v2.b64 {%%rd12, %%rd13}, [%s+16];\n", plain, where, plain,
					      strchr(where, '+') ? cf_text("%%rd2+%zu", 32 * i) : where);
				if (strchr(where, '+'))	/* offsets do not add up in text */
					at += sprintf(at, "ld.v2.b64 {%%rd12, %%rd13}, [%%rd2+%zu];\n", 32 * i + 16);
			}
			at += sprintf(at, "st.global.v2.b64 [%%rd3+%zu], {%%rd10, %%rd11}; st.global.v2.b64 [%%rd3+%zu], {%%rd12, %%rd13};\n",
				      SLOT * i, SLOT * i + 16);
		} else {
			at += sprintf(at, "%s %s, [%s]%s;\n", form, r, where, tail);
			for (unsigned int k = 0; k < n; k++)
				at += sprintf(at, "st.global.b%u [%%rd3+%zu], %s%u;\n", bits < 32 ? 32 : bits, SLOT * i + k * (bits < 64 ? 4 : bits / 8), reg(type), 20 + k);
		}
		at += sprintf(at, "}\n");
	}
	strcpy(at, "ret;\n}\n");
	if (cf_run(ptx, 2, THREADS / 2, buf, 3, extra, sizeof(extra), cf_long || cf_random(&seed) >> 62 == 0))
		for (size_t i = 0; i < b->nr; i++) {
			const char *form = b->item[i].arg, *type = cf_type(form, 0), *sp = space(form);
			unsigned int n = vector(form), bytes = cf_bits(type) / 8, wide = bytes < 4 ? 4 : bytes;

			for (unsigned int t = 0; t < THREADS; t++) {
				const unsigned char *from = !strcmp(sp, "const") || (!strcmp(sp, "param") && !is_store(form)) ? fixed : in + 32 * t;
				unsigned char want[SLOT] = { 0 };

				for (unsigned int k = 0; k < n; k++) {
					if (is_store(form)) {
						memcpy(want + k * bytes, from + k * bytes, bytes);
						continue;
					}
					memcpy(want + k * wide, from + k * bytes, bytes);
					if (bytes < 4 && *type == 's' && from[k * bytes + bytes - 1] & 128)
						memset(want + k * wide + bytes, 255, 4 - bytes);
				}
				if (memcmp(want, out + SLOT * (t * b->nr + i), SLOT)) {
					cf_fail("%s, thread %u: other bytes", form, t);
					break;
				}
			}
		}
	free(ptx);
	free(in);
	free(work);
	free(out);
}

static struct { struct cf_case item[PER_KERNEL]; size_t nr; } part;

static void flush(void)
{
	if (part.nr)
		cf_add(run, part.item, part.nr, NULL);
	part.nr = 0;
}

static void one(const char *form, void *arg)
{
	(void)arg;
	part.item[part.nr++] = (struct cf_case){ cf_text("%s [x], y%s;", form, cf_has(form, "L2::cache_hint") ? ", h" : ""), form };
	if (part.nr == PER_KERNEL)
		flush();
}

void cf_memory(void)
{
	cf_forms("ld", one, NULL);
	cf_forms("ldu", one, NULL);
	cf_forms("st", one, NULL);
	flush();
}
