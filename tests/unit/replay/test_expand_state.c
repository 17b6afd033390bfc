/*
 * test_expand_state.c - textures, printf and assert as GPUs do them (translate/expand_state.c): the code that takes their place, on the
 * cpu target, against what the cpu target does itself.
 */
#include <stddef.h>

#include "replay/gpu_state.h"
#include "tests/unit/replay/kernel_test.h"
#include "tests/unit/replay/print_test.h"
#include "translate/gpu_plan.h"
#include "translate/texture.h"

/* ---- running ---- */

static _Alignas(16) unsigned char block[sizeof(struct hg_gpu_state) + (64u << 10)];
static struct hg_gpu_state *const state = (struct hg_gpu_state *)block;

/* The module as GPUs get it, its $state the block above. */
static struct ir_module *expanded(const struct hg_module *m)
{
	struct ir_module *x = NULL;

	cr_assert_eq(hg_expand(hg_module_ir(m), &x), HG_OK);
	cr_assert_eq(x->nr_vars, hg_module_nr_vars(m), "targets place the module's own variables alone");
	for (uint32_t f = 0; f < x->nr_funcs; f++) {
		cr_assert(!x->func[f].refused, "%s", x->func[f].refused);
		for (uint32_t b = 0; b < x->func[f].nr_blocks; b++)
			for (uint32_t i = 0; i < x->func[f].block[b].nr_insns; i++) {
				uint16_t op = x->func[f].block[b].insn[i].op;

				cr_assert(op != IR_tex && op != IR_vprintf && op != IR_assertfail);
			}
	}
	expanded_set_state(x, block);
	return x;
}

/* Of the support library, as a target places them. */
static void place_vars(const struct ir_module *x, unsigned char *at, size_t size, uint64_t *var)
{
	size_t used = 0;

	cr_assert_leq(x->nr_vars, 64);
	for (uint32_t i = 0; i < x->nr_vars; i++) {
		used = (used + x->var[i].align - 1) / x->var[i].align * x->var[i].align;
		cr_assert_leq(used + x->var[i].size, size);
		var[i] = (uintptr_t)at + used;
		memset(at + used, 0, x->var[i].size);
		if (x->var[i].init)
			memcpy(at + used, x->var[i].init, x->var[i].size);
		used += x->var[i].size;
		cr_assert_eq(x->var[i].nr_relocs, 0);
	}
}

/* A kernel twice: as the cpu target has it, and as GPUs get it. */
struct both {
	struct hg_module *m;
	struct ir_module *x;
	struct hg_cpu_module *code[2];
	struct hg_cpu_kernel *k[2];
	uint64_t var[2][64];
};
enum { CPU, GPU };

static void both_open(struct both *b, const char *text)
{
	static _Alignas(256) unsigned char memory[2][65536];
	struct gpu_plan plan;

	setenv("HGSHIM_CACHE", "0", 1);
	b->m = load_text(text);
	b->x = expanded(b->m);
	/* code that seems to wait for other lanes costs a kernel the fast form */
	cr_assert_eq(gpu_plan_make(&b->x->func[0], &plan), HG_OK);
	cr_expect(plan.direct && plan.direct_pair, "line %u: %s", plan.line, plan.why);
	for (int i = 0; i < 2; i++) {
		const struct ir_module *ir = i == GPU ? b->x : hg_module_ir(b->m);

		place_vars(ir, memory[i], sizeof(memory[i]), b->var[i]);
		cr_assert_eq(hg_cpu_module_create_ir(ir, NULL, &b->code[i]), HG_OK);
		hg_cpu_module_fast_only(b->code[i]);
		cr_assert_eq(hg_cpu_kernel_get(b->code[i], 0, &b->k[i]), HG_OK);
	}
}

static void both_close(struct both *b)
{
	for (int i = 0; i < 2; i++)
		hg_cpu_module_destroy(b->code[i]);
	ir_module_free(b->x);
	hg_module_free(b->m);
}

static enum hg_status run_ir(struct both *b, int which, const struct kernel_run *r, struct hg_fault *fault)
{
	struct hg_grid g = grid_of(r);

	g.var_addr = b->var[which];
	*fault = (struct hg_fault){ .what = "" };
	return hg_grid_run(b->k[which], &g, fault);
}

/* ---- printf ---- */

#define VPRINTF ".extern .func (.param .b32 r) vprintf (.param .b64 f, .param .b64 a);\n"
#define PRINT(format, args, result) \
	"{ .param .b64 f; .param .b64 a; .param .b32 r; st.param.b64 [f], " format "; st.param.b64 [a], " args ";\n" \
	"call.uni (r), vprintf, (f, a); ld.param.b32 " result ", [r]; }\n"

/* Lane i of those in `active` prints with the arguments at args + 64 i, and stores what printf gave. */
static const char print_kernel[] =
	".version 9.0\n.target sm_75\n.address_size 64\n" VPRINTF
	".visible .entry k(.param .u64 results, .param .u64 format, .param .u64 args, .param .u32 active) {\n"
	".reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n"
	"ld.param.u64 %rd1, [results]; ld.param.u64 %rd2, [format]; ld.param.u64 %rd3, [args]; ld.param.u32 %r1, [active];\n"
	"mov.u32 %r2, %tid.x; mul.wide.u32 %rd4, %r2, 4; add.u64 %rd1, %rd1, %rd4; mul.wide.u32 %rd4, %r2, 64;\n"
	"add.u64 %rd3, %rd3, %rd4; shr.u32 %r3, %r1, %r2; and.b32 %r3, %r3, 1; setp.eq.u32 %p1, %r3, 0;\n"
	"@%p1 bra out;\n"
	PRINT("%rd2", "%rd3", "%r4")
	"st.global.u32 [%rd1], %r4;\nout: ret; }\n";

struct params { uint64_t results, format, args; uint32_t active; };
static _Alignas(64) unsigned char args[32][64];
static int results[32];

static void begin(size_t print_bytes)
{
	memset(block, 0x5a, sizeof(block));
	hg_gpu_state_init(state, (uintptr_t)block, sizeof(*state) + print_bytes);
	setenv("HGSHIM_CACHE", "0", 1);
}

static char *taken(FILE *stream)
{
	hg_gpu_state_print(state, state + 1, hg_gpu_state_printed(state, sizeof(block)));
	return flushed(stream);
}

/* The same text and the same results, from the cpu target's own printf and from a GPU's. */
static void print_both(struct both *k, const char *format, uint32_t active)
{
	struct params p = { (uintptr_t)results, (uintptr_t)format, (uintptr_t)args, active };
	struct kernel_run r = { .block = { 32 }, .params = &p };
	struct hg_fault fault;
	int want[32];
	char *a, *b;

	memset(results, 0x55, sizeof(results));
	cr_assert_eq(run_ir(k, CPU, &r, &fault), HG_OK, "%s", fault.what);
	memcpy(want, results, sizeof(want));
	a = flushed(stdout);
	begin(64u << 10);
	memset(results, 0x55, sizeof(results));
	cr_assert_eq(run_ir(k, GPU, &r, &fault), HG_OK, "%s", fault.what);
	b = taken(stdout);
	cr_expect(!strcmp(a, b), "format '%s': '%s' and '%s'", format ? format : "", a, b);
	cr_expect_arr_eq(want, results, sizeof(want), "format '%s': %d and %d", format ? format : "", want[0], results[0]);
	cr_expect_eq(state->fault, 0);
	free(a);
	free(b);
}

Test(expand_state, gpus_print_what_the_cpu_prints, .timeout = 120)
{
	static const char *const format[] = {
		"plain, 100%%\n", "%d\n", "%i %u %x\n", "%c|%5d|%-5d|%05d\n", "%ld %lld\n", "%d %lld %d\n", "%hd %hhd\n",
		"%*d|%-*d|%.*d\n", "%y %d %\n", "%k%%%d%", "%**d\n", "%***d\n", "%.3.4d\n", "%lc %hld\n", "%#lx %+ld\n", "%d %f %d %e\n", NULL,
	};
	struct both kernel;

	both_open(&kernel, print_kernel);
	for (unsigned int i = 0; i < 32; i++)
		for (unsigned int k = 0; k < 16; k++) {
			/* widths too, so small ones; doubles of all kinds out of pairs of them */
			int v = (int)((i * 7 + k * 13) % 40) - 9;

			memcpy(args[i] + 4 * k, &v, 4);
		}
	for (size_t i = 0; i < sizeof(format) / sizeof(format[0]); i++) {
		print_both(&kernel, format[i], 0xdeadbeef);
		print_both(&kernel, format[i], 4);
	}
	both_close(&kernel);
}

Test(expand_state, gpus_copy_the_strings_they_print, .timeout = 60)
{
	static const char *const format[] = {
		"%s|\n", "%20s|%d\n", "%.3s|\n", "%.0s|%s\n", "%s %s %s\n", "%-8.2s|\n", "%ls\n", "%.-5s|\n", "%.s|\n",
	};
	static const char *const word[] = { "a", "several words", "", NULL };
	static const char open[5] = { 'o', 'p', 'e', 'n', '!' };
	struct both kernel;
	int cut[4] = { 5, 0 };

	both_open(&kernel, print_kernel);
	for (unsigned int i = 0; i < 32; i++)
		for (unsigned int k = 0; k < 8; k++)
			memcpy(args[i] + 8 * k, &word[(i + k) % 4], 8);
	for (size_t i = 0; i < sizeof(format) / sizeof(format[0]); i++)
		print_both(&kernel, format[i], 0xffff);
	/* one that does not end, with a precision out of the arguments */
	memcpy(args[0], cut, 8);
	memcpy(args[0] + 8, &(const char *){ open }, 8);
	print_both(&kernel, "%.*s|\n", 1);
	cut[0] = -1;
	memcpy(args[0], cut, 8);
	memcpy(args[0] + 8, &word[1], 8);
	print_both(&kernel, "%.*s|\n", 1);
	both_close(&kernel);
}

/* Formats and strings may lie in any memory. */
Test(expand_state, strings_in_shared_local_and_constant_memory_are_copied)
{
	static const char text[] =
		".version 9.0\n.target sm_75\n.address_size 64\n" VPRINTF
		".const .align 1 .b8 fmt[12] = { 37, 115, 124, 37, 115, 124, 37, 115, 124, 37, 100, 0 };\n"
		".global .align 1 .b8 word[4] = { 103, 108, 111, 0 };\n"
		".visible .entry k(.param .u64 results) {\n"
		".reg .b32 %r<9>; .reg .b64 %rd<12>; .shared .align 8 .b8 s[8]; .local .align 8 .b8 l[64];\n"
		"mov.u32 %r1, 7561576; st.shared.u32 [s], %r1; mov.u32 %r1, 7102316; st.local.u32 [l+32], %r1;\n"
		"cvta.shared.u64 %rd1, s; st.local.u64 [l], %rd1; cvta.local.u64 %rd2, l; add.u64 %rd3, %rd2, 32; st.local.u64 [l+8], %rd3;\n"
		"cvta.global.u64 %rd4, word; st.local.u64 [l+16], %rd4; mov.u32 %r2, 42; st.local.u32 [l+24], %r2;\n"
		"cvta.const.u64 %rd5, fmt;\n" PRINT("%rd5", "%rd2", "%r4")
		"ld.param.u64 %rd6, [results]; st.global.u32 [%rd6], %r4; ret; }\n";
	struct both kernel;
	struct kernel_run r = { .params = (uint64_t[]){ (uintptr_t)results } };
	struct hg_fault fault;
	char *out;

	both_open(&kernel, text);
	begin(1024);
	cr_assert_eq(run_ir(&kernel, GPU, &r, &fault), HG_OK, "%s", fault.what);
	out = taken(stdout);
	cr_expect_str_eq(out, "has|l_l|glo|42");
	cr_expect_eq(results[0], 4);
	free(out);
	both_close(&kernel);
}

/* On the cpu target all memory is one; on a GPU a global access of the others' addresses is none. */
Test(expand_state, what_may_lie_anywhere_is_read_by_generic_addresses)
{
	struct hg_module *m = load_text(print_kernel);
	struct ir_module *x = expanded(m);
	uint32_t nr_bytes = 0;

	for (uint32_t b = 0; b < x->func[0].nr_blocks; b++)
		for (uint32_t i = 0; i < x->func[0].block[b].nr_insns; i++) {
			const struct ir_insn *in = &x->func[0].block[b].insn[i];

			if (in->op != IR_ld)
				continue;
			nr_bytes += in->space == IR_GENERIC && ir_type_bits(in->type) == 8;
			cr_expect(in->space != IR_GLOBAL || in->src[1].imm >= offsetof(struct hg_gpu_state, print),
				  "reads more than the state in global memory");
		}
	cr_expect_gt(nr_bytes, 0);
	ir_module_free(x);
	hg_module_free(m);
}

Test(expand_state, where_there_is_no_room_printf_gives_minus_one)
{
	/* 16 of head, 8 of an argument, 3 of the format, rounded up */
	enum { RECORD = 32 };
	struct both kernel;
	struct params p = { (uintptr_t)results, (uintptr_t)"%d", (uintptr_t)args, UINT32_MAX };
	struct kernel_run r = { .block = { 32 }, .params = &p };
	struct hg_fault fault;
	unsigned char *end;
	char *out;
	int printed = 0;

	both_open(&kernel, print_kernel);
	for (unsigned int i = 0; i < 32; i++)
		memset(args[i], 0, 64);
	begin(10 * RECORD + RECORD - 8);
	end = block + sizeof(*state) + 10 * RECORD;
	cr_assert_eq(run_ir(&kernel, GPU, &r, &fault), HG_OK, "%s", fault.what);
	cr_expect_eq(state->print_head, 10 * RECORD);
	for (unsigned int i = 0; i < 32; i++) {
		cr_expect(results[i] == 1 || results[i] == -1, "lane %u: %d", i, results[i]);
		printed += results[i] == 1;
	}
	cr_expect_eq(printed, 10);
	for (int i = 0; i < RECORD; i++)
		cr_expect_eq(end[i], 0x5a, "byte %d behind", i);
	out = taken(stdout);
	cr_expect_str_eq(out, "0000000000");
	free(out);
	/* a string that is longer than all of it */
	begin(64);
	p.format = (uintptr_t)"a format that alone has far more characters than there is room for in this area";
	cr_assert_eq(run_ir(&kernel, GPU, &r, &fault), HG_OK, "%s", fault.what);
	cr_expect_eq(state->print_head, 0);
	cr_expect_eq(results[31], -1);
	/* again room for it */
	begin(64u << 10);
	cr_assert_eq(run_ir(&kernel, GPU, &r, &fault), HG_OK, "%s", fault.what);
	cr_expect_eq(results[31], 0);
	both_close(&kernel);
}

/* ---- assert ---- */

Test(expand_state, an_assertion_says_the_same_as_on_the_cpu)
{
	static const char text[] =
		".version 9.0\n.target sm_75\n.address_size 64\n"
		".extern .func __assertfail (.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);\n"
		".visible .entry k(.param .u64 m, .param .u64 f, .param .u64 n, .param .u32 active) {\n"
		".reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n"
		"ld.param.u64 %rd1, [m]; ld.param.u64 %rd2, [f]; ld.param.u64 %rd3, [n]; ld.param.u32 %r1, [active];\n"
		"mov.u32 %r2, %tid.x; shr.u32 %r3, %r1, %r2; and.b32 %r3, %r3, 1; setp.eq.u32 %p1, %r3, 0; @%p1 bra out;\n"
		"{ .param .b64 m; .param .b64 f; .param .b32 l; .param .b64 n; .param .b64 s;\n"
		"st.param.b64 [m], %rd1; st.param.b64 [f], %rd2; st.param.b32 [l], 77; st.param.b64 [n], %rd3; st.param.b64 [s], 1;\n"
		"call.uni __assertfail, (m, f, l, n, s); }\nout: ret; }\n";
	static char very_long[3000];
	static const struct { const char *message, *file, *function; } row[] = {
		{ "i < n", "a.cu", "void f(int)" }, { very_long, "a.cu", "f" }, { NULL, NULL, NULL }, { "", very_long, very_long },
	};
	struct both kernel;

	both_open(&kernel, text);
	memset(very_long, 'l', sizeof(very_long) - 1);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct params p = { (uintptr_t)row[i].message, (uintptr_t)row[i].file, (uintptr_t)row[i].function, 0x28 };
		struct kernel_run r = { .block = { 8 }, .params = &p };
		struct hg_gpu_launch launch = { .kernel = "k" };
		struct hg_fault cpu, gpu, code;
		char *a, *b;

		begin(64u << 10);
		cr_assert_eq(run_ir(&kernel, CPU, &r, &cpu), HG_ERR_FAULT);
		a = flushed(stderr);
		cr_assert_eq(run_ir(&kernel, GPU, &r, &code), HG_ERR_FAULT);
		cr_expect(strstr(code.what, "trap in kernel 'k'"), "the lane ends: %s", code.what);
		cr_assert(hg_gpu_state_fault(state, &launch, &gpu));
		b = taken(stderr);
		cr_expect(!strcmp(a, b), "row %zu: '%s' and '%s'", i, a, b);
		cr_expect(!strcmp(cpu.what, gpu.what), "row %zu: '%s' and '%s'", i, cpu.what, gpu.what);
		cr_expect_eq(gpu.cuda_error, 710);
		cr_expect_eq(state->line, 11);
		cr_expect_eq(state->grid_id, 1);
		free(a);
		free(b);
	}
	both_close(&kernel);
}

/* ---- textures ---- */

/* A mipmapped cube array of 2 cubes, 3 levels: also what any other shape reads. Each texel has 16 bytes of noise. */
static _Alignas(64) unsigned char noise[3 * 12 * 8 * 8 * 16];

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static void make_texture(struct hg_texture *t)
{
	static const uint8_t channels[] = { 1, 2, 4 };
	uint32_t size;

	memset(t, 0, sizeof(*t));
	t->magic = HG_TEXTURE_MAGIC;
	t->texel = any(8);
	t->channels = channels[any(3)];
	t->flags = any(64);
	size = hg_texel_bytes(t->texel) * t->channels;
	t->nr_levels = 1 + any(3);
	for (int a = 0; a < 3; a++)
		t->address[a] = any(4);
	t->min_level = (float)any(3) / 2;
	t->max_level = 2 - (float)any(3) / 2;
	t->bias = (float)any(5) / 4 - 0.5f;
	for (int c = 0; c < 4; c++)
		t->border[c] = (float)any(9);
	for (uint32_t l = 0; l < t->nr_levels; l++) {
		uint32_t side = 8 >> l;

		t->level[l] = (struct hg_texture_level){ .addr = (uintptr_t)noise + l * (sizeof(noise) / 3), .pitch = side * size,
							 .slice = side * side * size, .width = side, .height = side, .depth = 12,
							 .row_bytes = side * size };
	}
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (unsigned char)any(256);
	/* numbers rather than NaNs and infinities, for the most part */
	if (t->texel >= HG_TEXEL_F16)
		for (size_t i = 1; i < sizeof(noise); i += 2)
			noise[i] = (noise[i] & 0x83) | 0x3c;
}

static const char texture_head[] =
	".version 9.0\n.target sm_75\n.address_size 64\n"
	".visible .entry k(.param .u64 texture, .param .u64 sampler, .param .u64 out) {\n"
	".reg .b64 %h, %s, %o, %t; .reg .b32 %i, %l, %o0, %o1, %o2, %r<5>; .reg .f32 %x, %y, %z, %v, %f<5>; .reg .s32 %n, %m, %k;\n"
	"ld.param.u64 %h, [texture]; ld.param.u64 %s, [sampler]; ld.param.u64 %o, [out]; mov.u32 %i, %tid.x;\n"
	"cvt.rn.f32.u32 %x, %i; fma.rn.f32 %x, %x, 0f3E124925, 0fBFC00000;\n"		/* / 7 - 1.5 */
	"mul.f32 %y, %x, 0fBF666666; add.f32 %y, %y, 0f3E800000; mul.f32 %z, %y, %x; add.f32 %z, %z, 0f3DCCCCCD;\n"
	"abs.f32 %v, %x; and.b32 %l, %i, 3; sub.s32 %n, %i, 9; xor.b32 %m, %n, 5; add.s32 %k, %n, 3;\n"
	"mul.wide.u32 %t, %i, 16; add.u64 %o, %o, %t;\n";

/* The instructions, on random textures, give the same bits from both. One kernel has all of them: code that they share is compiled once. */
static void sample_both(const char *const *insn, size_t nr)
{
	enum { MOST = 16 };
	static uint32_t want[MOST][33 * 4], out[MOST][33 * 4];
	static char text[16384];
	struct hg_texture t, s;
	const uint64_t params[] = { (uintptr_t)&t, (uintptr_t)&s, (uintptr_t)out };
	struct kernel_run r = { .block = { 33 }, .params = params };
	struct hg_fault fault;
	struct both kernel;
	size_t used;

	cr_assert_leq(nr, MOST);
	begin(1024);
	used = (size_t)snprintf(text, sizeof(text), "%s", texture_head);
	for (size_t i = 0; i < nr; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\nst.global.v4.b32 [%%o], {%%r1, %%r2, %%r3, %%r4};\n"
					 "add.u64 %%o, %%o, %zu;\n", insn[i], sizeof(out[0]));
	snprintf(text + used, sizeof(text) - used, "ret;\n}\n");
	both_open(&kernel, text);
	for (int i = 0; i < 60; i++) {
		make_texture(&s);
		make_texture(&t);
		memset(out, 0, sizeof(out));
		cr_assert_eq(run_ir(&kernel, CPU, &r, &fault), HG_OK, "%s", fault.what);
		memcpy(want, out, sizeof(out));
		memset(out, 0, sizeof(out));
		cr_assert_eq(run_ir(&kernel, GPU, &r, &fault), HG_OK, "%s", fault.what);
		for (size_t k = 0; k < nr; k++)
			for (size_t w = 0; w < 33 * 4; w++)
				cr_assert_eq(out[k][w], want[k][w], "word %zu is %08x, not %08x, of %s (texel %u, %u channels, flags %x)", w,
					     out[k][w], want[k][w], insn[k], t.texel, t.channels, t.flags);
	}
	both_close(&kernel);
}

#define OUT "{%r1, %r2, %r3, %r4}, [%h, "
Test(expand_state, gpus_sample_the_usual_shapes_with_the_same_bits, .timeout = 120)
{
	static const char *const insn[] = {
		"tex.1d.v4.u32.f32 " OUT "{%x}];",
		"tex.1d.v4.u32.s32 " OUT "{%n}];",
		"tex.2d.v4.u32.f32 " OUT "{%x, %y}];",
		"tex.2d.v4.u32.s32 " OUT "{%n, %m}];",
		"tex.3d.v4.u32.f32 " OUT "{%x, %y, %z, %z}];",
		"tex.2d.v4.u32.f32 {%r1, %r2, %r3, %r4}, [%h, %s, {%x, %y}];",
	};

	sample_both(insn, sizeof(insn) / sizeof(insn[0]));
}

Test(expand_state, gpus_sample_all_other_shapes_with_the_same_bits, .timeout = 120)
{
	static const char *const insn[] = {
		"tex.3d.v4.u32.s32 " OUT "{%n, %m, %k, %k}];",
		"tex.a1d.v4.u32.f32 " OUT "{%l, %x}];",
		"tex.a2d.v4.u32.s32 " OUT "{%l, %n, %m, %m}];",
		"tex.cube.v4.u32.f32 " OUT "{%x, %y, %z, %z}];",
		"tex.acube.v4.u32.f32 " OUT "{%l, %x, %y, %z}];",
		"tex.level.2d.v4.u32.f32 " OUT "{%x, %y}], %v;",
		"tex.level.3d.v4.u32.f32 " OUT "{%x, %y, %z, %z}], %v;",
		"tex.level.cube.v4.u32.f32 " OUT "{%x, %y, %z, %z}], %v;",
		"tex.level.a2d.v4.u32.f32 " OUT "{%l, %x, %y, %y}], %v;",
		"tex.grad.2d.v4.u32.f32 " OUT "{%x, %y}], {%v, %y}, {%z, %x};",
		"tex.grad.3d.v4.u32.f32 " OUT "{%x, %y, %z, %z}], {%v, %y, %z, %z}, {%z, %x, %x, %x};",
		"tex.2d.v4.u32.f32 " OUT "{%x, %y}], {1, -3};",
		"tld4.r.2d.v4.u32.f32 " OUT "{%x, %y}];",
		"tld4.a.a2d.v4.u32.f32 " OUT "{%l, %x, %y, %y}];",
		"tld4.g.cube.v4.u32.f32 " OUT "{%x, %y, %z, %z}];",
	};

	sample_both(insn, sizeof(insn) / sizeof(insn[0]));
}

Test(expand_state, one_sampling_alone_has_the_same_bits, .timeout = 60)
{
	static const char *const insn[] = { "tex.level.cube.v4.u32.f32 " OUT "{%x, %y, %z, %z}], %v;" };

	sample_both(insn, 1);
}

Test(expand_state, many_samplings_share_their_code)
{
	static char text[65536];
	struct hg_module *m;
	struct ir_module *x;
	uint32_t once = 0, often = 0;

	for (int round = 0; round < 2; round++) {
		uint32_t *nr = round ? &often : &once;

		snprintf(text, sizeof(text), "%s", texture_head);
		for (int i = 0; i < (round ? 40 : 1); i++)
			strcat(text, "tex.level.2d.v4.u32.f32 " OUT "{%x, %y}], %v;\nst.global.v4.b32 [%o], {%r1, %r2, %r3, %r4};\n");
		strcat(text, "ret;\n}\n");
		m = load_text(text);
		x = expanded(m);
		for (uint32_t b = 0; b < x->func[0].nr_blocks; b++)
			*nr += x->func[0].block[b].nr_insns;
		ir_module_free(x);
		hg_module_free(m);
	}
	cr_expect_lt(often, once + 40 * 60, "%u instructions for one, %u for forty", once, often);
}

Test(expand_state, what_is_no_texture_is_told_as_on_the_cpu)
{
	static char text[4096];
	struct hg_texture t;
	uint32_t out[33 * 4];
	const uint64_t params[] = { (uintptr_t)&t, (uintptr_t)&t, (uintptr_t)out };
	struct kernel_run r = { .block = { 4 }, .params = params };
	struct hg_gpu_launch launch = { .kernel = "k" };
	struct hg_fault cpu, gpu, code;
	struct both kernel;

	snprintf(text, sizeof(text), "%s%s", texture_head, "tex.2d.v4.u32.f32 " OUT "{%x, %y}];\nret;\n}\n");
	both_open(&kernel, text);
	for (int i = 0; i < 3; i++) {
		make_texture(&t);
		if (i == 0)
			t.magic++;
		else
			t.nr_levels = i == 1 ? 0 : HG_TEXTURE_LEVELS + 1;
		begin(1024);
		cr_assert_eq(run_ir(&kernel, CPU, &r, &cpu), HG_ERR_FAULT);
		cr_assert_eq(run_ir(&kernel, GPU, &r, &code), HG_ERR_FAULT);
		cr_assert(hg_gpu_state_fault(state, &launch, &gpu));
		cr_expect(!strcmp(cpu.what, gpu.what), "row %d: '%s' and '%s'", i, cpu.what, gpu.what);
		cr_expect_eq(cpu.addr, gpu.addr);
		cr_expect_eq(cpu.cuda_error, gpu.cuda_error);
	}
	both_close(&kernel);
}
