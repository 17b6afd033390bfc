/* lanes.c - what lanes tell each other, and all that is neither arithmetic nor memory: a probe of few instructions each. */
#include "tests/ptx/conform/conform.h"

#include <math.h>

enum { BLOCK = 64, GRID = 4, THREADS = BLOCK * GRID, WORDS = 8 };

/*
 * A probe runs in blocks of two warps. %r1 is the thread in its block, %r2 the lane, %r3 and %r4 its inputs a and b, %rd1 256 bytes
 * of its own that hold its number in each word, %rd2 the same of thread 0 in its block, %p8 never holds. It leaves up to WORDS words in
 * %r20 and on, zeros before. want() is told lanes' inputs warp by warp; `before` stands outside of the kernel.
 */
struct probe {
	const char *body;
	void (*want)(const struct probe *p, const uint32_t *a, const uint32_t *b, unsigned int lane, uint32_t *out);
	int x, y;
	const char *before;
};

static void run(const struct cf_batch *batch)
{
	for (size_t i = 0; i < batch->nr; i++) {
		const struct probe *p = batch->item[i].arg;
		uint32_t *in = cf_alloc(THREADS * 8), *own = cf_alloc(THREADS * 256), *out = cf_alloc(THREADS * WORDS * 4);
		struct cf_buffer buf[] = { { in, THREADS * 8 }, { own, THREADS * 256 }, { out, THREADS * WORDS * 4 } };
		uint64_t seed = batch->seed + i * 2;
		char *ptx = malloc(16384), *at = ptx;

		for (unsigned int t = 0; t < THREADS; t++) {
			in[2 * t] = (uint32_t)(cf_random(&seed) >> 32) & (t / 32 % 3 ? UINT32_MAX : 3);
			in[2 * t + 1] = (uint32_t)(cf_random(&seed) >> 32);
			for (unsigned int w = 0; w < 64; w++)
				own[64 * t + w] = t;
		}
		at += sprintf(at, CF_HEAD "%s\n.visible .entry k(.param .u64 in, .param .u64 own, .param .u64 out) {\n.reg .pred %%p<10>; .reg .b16 %%h<9>; .reg .b32 %%r<40>;\n"
			      ".reg .b64 %%rd<20>; .reg .f32 %%f<9>; .shared .align 16 .b32 s[%d]; .local .align 16 .b8 l[16];\n"
			      "ld.param.u64 %%rd3, [in]; ld.param.u64 %%rd4, [own]; ld.param.u64 %%rd5, [out]; mov.u32 %%r1, %%tid.x; mov.u32 %%r5, %%ctaid.x; mov.u32 %%r2, %%laneid;\n"
			      "mad.lo.u32 %%r6, %%r5, %d, %%r1; mul.lo.u32 %%r7, %%r5, %d; mad.wide.u32 %%rd3, %%r6, 8, %%rd3; ld.global.v2.u32 {%%r3, %%r4}, [%%rd3];\n"
			      "mad.wide.u32 %%rd1, %%r6, 256, %%rd4; mad.wide.u32 %%rd2, %%r7, 256, %%rd4; mad.wide.u32 %%rd5, %%r6, %d, %%rd5; setp.gt.u32 %%p8, %%r1, 5000;\n",
			      p->before ? p->before : "", BLOCK * 2, BLOCK, BLOCK, WORDS * 4);
		for (int w = 0; w < WORDS; w++)
			at += sprintf(at, "mov.u32 %%r%d, 0;\n", 20 + w);
		at += sprintf(at, "%s\n", p->body);
		for (int w = 0; w < WORDS; w++)
			at += sprintf(at, "st.global.u32 [%%rd5+%d], %%r%d;\n", 4 * w, 20 + w);
		strcpy(at, "END: ret;\n}\n");
		if (cf_run(ptx, GRID, BLOCK, buf, 3, NULL, 0, true))
			for (unsigned int t = 0; t < THREADS; t++) {
				uint32_t want[WORDS] = { 0 }, a[32], b[32];

				for (unsigned int l = 0; l < 32; l++) {
					a[l] = in[2 * (t / 32 * 32 + l)];
					b[l] = in[2 * (t / 32 * 32 + l) + 1];
				}
				p->want(p, a, b, t % 32, want);
				if (!memcmp(want, out + WORDS * t, sizeof(want)))
					continue;
				cf_fail("%s: thread %u of %08x, %08x: %08x %08x %08x %08x, not %08x %08x %08x %08x", batch->item[i].insn, t, a[t % 32], b[t % 32],
					out[WORDS * t], out[WORDS * t + 1], out[WORDS * t + 2], out[WORDS * t + 3], want[0], want[1], want[2], want[3]);
				break;
			}
		free(ptx);
		free(in);
		free(own);
		free(out);
	}
}

static void probe(struct probe p)
{
	struct probe *keep = malloc(sizeof(*keep));
	struct cf_case item = { p.before ? cf_text("%s\n%s", p.before, p.body) : p.body, keep };

	*keep = p;
	cf_add(run, &item, 1, NULL);
}

/* --- shuffles ---- */
/* x: up, down, bfly, idx; y: c */
static void shuffle(const struct probe *p, const uint32_t *a, const uint32_t *b, unsigned int lane, uint32_t *out)
{
	int l = (int)lane, n = (int)(b[lane] & 31), c = p->y & 31, seg = p->y >> 8 & 31, max = (l & seg) | (c & ~seg), min = l & seg, j;
	bool in;

	switch (p->x) {
	case 0: j = l - n; in = j >= max; break;
	case 1: j = l + n; in = j <= max; break;
	case 2: j = l ^ n; in = j <= max; break;
	default: j = min | (n & ~seg); in = j <= max; break;
	}
	out[0] = a[in ? j : l];
	out[1] = in;
	out[2] = lane & 1 ? a[lane ^ 2] : 0;	/* of the odd lanes only */
}

static void shuffles(void)
{
	static const char *const mode[] = { "up", "down", "bfly", "idx" };
	static const int shape[] = { 31, 31 | 16 << 8, 31 | 24 << 8, 20, 5 | 28 << 8 };

	for (int m = 0; m < 4; m++)
		for (size_t s = 0; s < CF_NR(shape); s++) {
			int c = m ? shape[s] : shape[s] & 31 << 8;

			probe((struct probe){ .x = m, .y = c, .want = shuffle, .body = cf_text(
				"shfl.sync.%s.b32 %%r20|%%p1, %%r3, %%r4, %d, 0xffffffff; selp.u32 %%r21, 1, 0, %%p1; and.b32 %%r10, %%r2, 1; setp.ne.u32 %%p2, %%r10, 0;"
				"xor.b32 %%r11, %%r2, 2; @%%p2 shfl.sync.idx.b32 %%r22, %%r3, %%r11, 31, 0xaaaaaaaa;", mode[m], c) });
		}
}

/* --- votes ---- */
static void votes(const struct probe *p, const uint32_t *a, const uint32_t *b, unsigned int lane, uint32_t *out)
{
	uint32_t low = lane < 16 ? 0xffff : 0xffff0000, yes = 0;

	(void)p;
	(void)b;
	for (int l = 0; l < 32; l++)
		yes |= (uint32_t)((a[l] & 3) == 1) << l;
	out[0] = yes == UINT32_MAX;
	out[1] = yes != 0;
	out[2] = yes == UINT32_MAX || !yes;
	out[3] = yes;
	out[4] = (yes & low) == low;	/* of 16 lanes */
	out[5] = (yes & low) != 0;
	out[6] = yes & low;
	out[7] = (yes & low) == low || !(yes & low);
}

/* x: 64 bits */
static void matches(const struct probe *p, const uint32_t *a, const uint32_t *b, unsigned int lane, uint32_t *out)
{
	uint32_t any = 0, low = lane < 16 ? 0xffff : 0xffff0000;

	(void)p;
	(void)b;
	for (int l = 0; l < 32; l++)
		any |= (uint32_t)(a[l] == a[lane]) << l;
	out[0] = any;
	out[1] = any == UINT32_MAX ? any : 0;
	out[2] = any == UINT32_MAX;
	out[3] = any & low;
	out[4] = (any & low) == low ? low : 0;
	out[5] = (any & low) == low;
	/* all lanes alike */
	out[6] = UINT32_MAX;
	out[7] = 1;
}

static const char *const halves = "setp.lt.u32 %p3, %r2, 16; selp.b32 %r10, 0xffff, 0xffff0000, %p3;";

static void lanes_alike(void)
{
	for (int wide = 0; wide < 2; wide++) {
		const char *t = wide ? "b64" : "b32", *v = wide ? "%rd10" : "%r3", *same = wide ? "%rd11" : "%r11";

		probe((struct probe){ .x = wide, .want = matches, .body = cf_text(
			"%s cvt.u64.u32 %%rd10, %%r3; shl.b64 %%rd10, %%rd10, 20; mov.u64 %%rd11, 77; mov.u32 %%r11, 78; match.any.sync.%s %%r20, %s, 0xffffffff;"
			"match.all.sync.%s %%r21|%%p1, %s, 0xffffffff; selp.u32 %%r22, 1, 0, %%p1; match.any.sync.%s %%r23, %s, %%r10;"
			"match.all.sync.%s %%r24|%%p1, %s, %%r10; selp.u32 %%r25, 1, 0, %%p1; match.all.sync.%s %%r26|%%p1, %s, 0xffffffff; selp.u32 %%r27, 1, 0, %%p1;",
			halves, t, v, t, v, t, v, t, v, t, same) });
	}
	probe((struct probe){ .want = votes, .body = cf_text(
		"%s and.b32 %%r11, %%r3, 3; setp.eq.u32 %%p1, %%r11, 1; vote.sync.all.pred %%p2, %%p1, 0xffffffff; selp.u32 %%r20, 1, 0, %%p2;"
		"vote.sync.any.pred %%p2, %%p1, 0xffffffff; selp.u32 %%r21, 1, 0, %%p2; vote.sync.uni.pred %%p2, %%p1, 0xffffffff; selp.u32 %%r22, 1, 0, %%p2;"
		"vote.sync.ballot.b32 %%r23, %%p1, 0xffffffff; vote.sync.all.pred %%p2, %%p1, %%r10; selp.u32 %%r24, 1, 0, %%p2;"
		"vote.sync.any.pred %%p2, %%p1, %%r10; selp.u32 %%r25, 1, 0, %%p2; vote.sync.ballot.b32 %%r26, %%p1, %%r10;"
		"vote.sync.uni.pred %%p2, %%p1, %%r10; selp.u32 %%r27, 1, 0, %%p2;", halves) });
}

/* --- redux; x: operation; y: 'u' 's' 'b', or for f32 1 abs | 2 NaN ---- */
static float to_f(uint32_t v)
{
	float f;

	memcpy(&f, &v, sizeof(f));
	return f;
}

static uint32_t reduced(const struct probe *p, const uint32_t *a, uint32_t mask)
{
	uint32_t r = 0;
	bool first = true;

	for (int l = 0; l < 32; l++) {
		uint32_t v = a[l];

		if (!(mask >> l & 1))
			continue;
		if (p->y < 4 && p->y & 1)
			v &= INT32_MAX;
		if (first) {
			r = v;
			first = false;
		} else if (p->y < 4) {
			float x = to_f(r), y = to_f(v);

			if (x != x || y != y)
				r = p->y & 2 || (x != x && y != y) ? 0x7fffffff : x != x ? v : r;
			else if (x == y)
				r = p->x == '<' ? r | v : r & v;
			else
				r = (x < y) == (p->x == '<') ? r : v;
		} else {
			switch (p->x) {
			case '+': r += v; break;
			case '&': r &= v; break;
			case '|': r |= v; break;
			case '^': r ^= v; break;
			case '<': r = (p->y == 's' ? (int32_t)v < (int32_t)r : v < r) ? v : r; break;
			default: r = (p->y == 's' ? (int32_t)v > (int32_t)r : v > r) ? v : r; break;
			}
		}
	}
	return p->y < 4 && to_f(r) != to_f(r) ? 0x7fffffff : r;
}

static void redux(const struct probe *p, const uint32_t *a, const uint32_t *b, unsigned int lane, uint32_t *out)
{
	uint32_t v[32];

	for (int l = 0; l < 32; l++)
		v[l] = p->y < 4 ? b[l] : a[l];	/* b: with NaNs where all bits of the exponent are set */
	for (int l = 0; p->y < 4 && l < 32; l++)
		v[l] = a[l] & 1 ? v[l] | (a[l] & 2 ? 0x7f800000 : 0) : v[l] & 0xbfffffff;
	out[0] = reduced(p, v, UINT32_MAX);
	out[1] = reduced(p, v, lane < 16 ? 0xffff : 0xffff0000);
}

static void one_redux(const char *form, void *arg)
{
	const char *t = cf_type(form, 0);
	bool f = !strcmp(t, "f32");

	(void)arg;
	probe((struct probe){ .x = cf_has(form, "add") ? '+' : cf_has(form, "and") ? '&' : cf_has(form, "or") ? '|' : cf_has(form, "xor") ? '^' : cf_has(form, "min") ? '<' : '>',
			      .y = f ? cf_has(form, "abs") + 2 * cf_has(form, "NaN") : *t, .want = redux, .body = cf_text(
		"%s mov.b32 %%r11, %%r3; %s mov.b32 %%f1, %%r11; %s %s, %s, 0xffffffff; %s %s, %s, %%r10; %s", halves,
		f ? "and.b32 %r12, %r3, 1; setp.ne.u32 %p1, %r12, 0; and.b32 %r12, %r3, 2; setp.ne.u32 %p2, %r12, 0; and.b32 %r11, %r4, 0xbfffffff;"
		    "or.b32 %r12, %r4, 0x7f800000; selp.b32 %r12, %r12, %r4, %p2; selp.b32 %r11, %r12, %r11, %p1;" : "",
		form, f ? "%f2" : "%r20", f ? "%f1" : "%r11", form, f ? "%f3" : "%r21", f ? "%f1" : "%r11", f ? "mov.b32 %r20, %f2; mov.b32 %r21, %f3;" : "") });
}

/* --- few words each ---- */
static void words(const struct probe *p, const uint32_t *a, const uint32_t *b, unsigned int lane, uint32_t *out)
{
	(void)b;
	switch (p->x) {
	case 'e':	/* activemask has the lane itself; elect the lowest of all, and of the upper half */
		out[0] = 1;
		out[2] = lane == 0;
		out[3] = lane >= 16 ? 16 : 0;
		out[4] = lane == 16;
		break;
	case 's':	/* spaces: what each address is in, and the way there and back */
		out[0] = (uint32_t)p->y;
		out[1] = out[2] = 1;
		break;
	case 'c':	/* control */
		out[0] = a[lane] & 3 ? (a[lane] & 3) * 10 : 7;
		out[1] = a[lane] + 1;
		out[2] = a[lane] & 3 ? a[lane] & 3 : 100;
		out[3] = a[lane] & 1 ? 5 : 6;
		break;
	case 'x':	/* the odd lanes are gone */
		if (!(lane & 1))
			out[0] = 3;
		break;
	case 'h':	/* hints change nothing */
		out[0] = 1;
		break;
	default:
		cf_die("a probe without an answer");
	}
}

static char *fence_body(const char *form, const char *opd)
{
	/* thread t of the second warp is told by thread t of the first, and answers */
	return cf_text("shl.b32 %%r10, %%r2, 3; mov.u32 %%r11, s; add.u32 %%r10, %%r10, %%r11; setp.lt.u32 %%p1, %%r1, 32; mov.u32 %%r14, 0;"
		       "@!%%p1 bra W; st.shared.u32 [%%r10], 0; st.shared.u32 [%%r10+256], 0; W: bar.sync 0; mad.lo.u32 %%r12, %%r2, 3, 12345; @!%%p1 bra SECOND;"
		       "st.shared.u32 [%%r10+4], %%r12; fence.acq_rel.cta; %s%s; st.volatile.shared.u32 [%%r10], 1; mov.u32 %%r20, %%r12; bra OUT;"
		       "SECOND: ld.volatile.shared.u32 %%r13, [%%r10]; setp.eq.u32 %%p2, %%r13, 1; @!%%p2 bra SECOND; fence.acq_rel.cta; %s%s; ld.shared.u32 %%r20, [%%r10+4]; OUT:",
		       form, opd, form, opd);
}

/* Both warps of a block end with what the first has made of the lane's number. */
static void fences(const struct probe *p, const uint32_t *a, const uint32_t *b, unsigned int lane, uint32_t *out)
{
	(void)p;
	(void)a;
	(void)b;
	out[0] = lane * 3 + 12345;
}

static void one_fence(const char *form, void *arg)
{
	(void)arg;
	probe((struct probe){ .want = fences, .body = fence_body(form, strstr(form, "tensormap") && strstr(form, "acquire") ? " [%rd1], 128" : "") });
}

/* x: how many bytes the instruction may touch; what the kernel has stored is there after it */
static void one_hint(const char *form, void *arg)
{
	const char *how = arg, *opds = how + 1;

	if (!strncmp(form, "prefetch.", 9))
		opds = cf_has(form, "local") ? "[l]" : cf_has(form, "const") ? "[c]" : cf_has(form, "param") ? "[in]" : "[%rd1]";
	if (!strncmp(form, "createpolicy", 12))
		opds = cf_has(form, "range") ? "%rd10, [%rd1], 64, 128" : cf_has(form, "cvt") ? "%rd10, 0" : strstr(strstr(form, ".L2::") + 1, ".L2::") ? "%rd10, 0.5" : "%rd10, 1.0";
	probe((struct probe){ .x = 'h', .want = words, .before = ".const .align 64 .b8 c[128];", .body = cf_text(
		"st.global.u32 [%%rd1%s], %%r3; %s%s %s; ld.global.u32 %%r10, [%%rd1%s]; setp.eq.u32 %%p1, %%r10, %%r3; selp.u32 %%r20, 1, 0, %%p1;",
		*how == 'd' ? "+128" : "", *how == 'n' ? "@%p8 " : "", form, opds, *how == 'd' ? "+128" : "") });
}

static void spaces(void)
{
	/* the address of something in each space; how isspacep sees it: global, shared, local, const, param from bit 0 on */
	static const struct { const char *space, *var; int bit; } list[] = {
		{ "global", "g", 0 }, { "shared", "s", 1 }, { "shared::cta", "s", 1 }, { "shared::cluster", "s", 1 }, { "local", "l", 2 },
		{ "const", "c", 3 }, { "param", "q", 4 }, { "param::entry", "q", 4 },
	};

	for (size_t i = 0; i < CF_NR(list); i++) {
		const char *s = list[i].space;
		char *ask = cf_text("%s", "");

		for (size_t k = 0; k < CF_NR(list); k++)
			if (k != 2 && k != 3 && k != 7)
				ask = cf_text("%sisspacep.%s %%p1, %%rd11; selp.u32 %%r10, %d, 0, %%p1; or.b32 %%r20, %%r20, %%r10;", ask,
					      list[k].bit == list[i].bit ? s : list[k].space, 1 << list[k].bit);
		probe((struct probe){ .x = 's', .y = 1 << list[i].bit, .want = words, .before = ".global .align 16 .b8 g[16]; .const .align 16 .b8 c[16];",
			.body = cf_text("%s cvta.%s.u64 %%rd11, %%rd10; cvta.to.%s.u64 %%rd12, %%rd11; setp.eq.u64 %%p1, %%rd12, %%rd10; selp.u32 %%r21, 1, 0, %%p1;"
					"ld%s.u32 %%r10, [%%rd12]; ld.u32 %%r11, [%%rd11]; setp.eq.u32 %%p1, %%r10, %%r11; selp.u32 %%r22, 1, 0, %%p1; %s",
					list[i].bit == 1 ? "mov.u64 %rd10, s; st.shared.u32 [s], 5; bar.sync 0;" : list[i].bit == 4 ? "mov.b64 %rd10, in;" :
					list[i].bit == 2 ? "mov.u64 %rd10, l; st.local.u32 [l], 5;" : cf_text("mov.u64 %%rd10, %s;", list[i].var), s, s,
					cf_text(".%s", s), ask) });
	}
}

static void control(void)
{
	static const char before[] =
		".func (.param .b32 r) plus(.param .b32 a) { .reg .b32 %x<3>; ld.param.b32 %x1, [a]; add.u32 %x1, %x1, 1; st.param.b32 [r], %x1; ret; }\n"
		".func (.param .b32 r) minus(.param .b32 a) { .reg .b32 %x<3>; .reg .pred %z; ld.param.b32 %x1, [a]; st.param.b32 [r], %x1; setp.ne.u32 %z, %x1, 0; @%z ret.uni;\n"
		"st.param.b32 [r], 100; ret; }";

	for (int uni = 0; uni < 2; uni++) {
		const char *u = uni ? ".uni" : "";

		/* a branch by a table; calls, plain and through a pointer; a jump over something */
		probe((struct probe){ .x = 'c', .want = words, .before = before, .body = cf_text(
			"and.b32 %%r10, %%r3, 3; bra%s A; trap; A: T: .branchtargets L0, L1, L2, L3; %s brx.idx%s %%r10, T; L0: mov.u32 %%r20, 7; bra B; L1: mov.u32 %%r20, 10; bra B; L2: mov.u32 %%r20, 20; bra B;"
			"L3: mov.u32 %%r20, 30; B: { .param .b32 x; .param .b32 y; st.param.b32 [x], %%r3; call%s (y), plus, (x); ld.param.b32 %%r21, [y]; }"
			"{ .param .b32 x; .param .b32 y; st.param.b32 [x], %%r10; call%s (y), minus, (x); ld.param.b32 %%r22, [y]; }"
			"and.b32 %%r11, %%r3, 1; setp.ne.u32 %%p1, %%r11, 0; mov.u32 %%r23, 6; @!%%p1 bra C; mov.u32 %%r23, 5; C:", u, "", "", u, u) });
	}
	/* the index is the same in all lanes */
	probe((struct probe){ .x = 'h', .want = words, .body =
		"mov.u32 %r10, 1; T: .branchtargets L0, L1; brx.idx.uni %r10, T; L0: trap; L1: mov.u32 %r20, 1; @%p8 brkpt; @%p8 trap;" });
	probe((struct probe){ .x = 'x', .want = words, .body =
		"and.b32 %r10, %r2, 1; setp.ne.u32 %p1, %r10, 0; @%p1 exit; mov.u32 %r20, 3;" });
	probe((struct probe){ .x = 'e', .want = words, .body =
		"activemask.b32 %r10; shr.u32 %r10, %r10, %r2; and.b32 %r20, %r10, 1; elect.sync %r21|%p1, 0xffffffff; selp.u32 %r22, 1, 0, %p1;"
		"setp.ge.u32 %p2, %r2, 16; @%p2 elect.sync %r23|%p3, 0xffff0000; @%p2 selp.u32 %r24, 1, 0, %p3;" });
	probe((struct probe){ .x = 'h', .want = words, .body = "bar.warp.sync 0xffffffff; mov.u32 %r20, 1;" });
}

void cf_lanes(void)
{
	static char prefetch[] = "p[%rd1]", size[] = "p[%rd1], 128", discard[] = "d[%rd1], 128", policy[] = "p", none[] = "p ", regs[] = "n24", time[] = "p20", event[] = "p1";

	shuffles();
	lanes_alike();
	cf_forms("redux", one_redux, NULL);
	cf_forms("membar", one_fence, NULL);
	cf_forms("fence", one_fence, NULL);
	cf_forms("prefetch", one_hint, prefetch);
	cf_forms("prefetchu", one_hint, prefetch);
	cf_forms("applypriority", one_hint, size);
	cf_forms("discard", one_hint, discard);
	cf_forms("createpolicy", one_hint, policy);
	cf_forms("pmevent", one_hint, event);
	cf_forms("griddepcontrol", one_hint, none);
	cf_forms("setmaxnreg", one_hint, regs);
	cf_forms("nanosleep", one_hint, time);
	spaces();
	control();
}
