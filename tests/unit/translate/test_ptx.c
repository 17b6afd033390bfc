/* test_ptx.c - the PTX reader: what it takes, and what it says about the rest. */
#include "tests/unit/translate/code_util.h"

#include "translate/ptx.h"

/* A text that must be refused, and what the message must contain. */
struct wrong { const char *text, *says; };

static const struct wrong wrongs[] = {
	{ "", "neither a fatbin, a cubin nor PTX" },
	{ "// nothing\n", "line 2, column 1: expected '.version', found the end of the text" },
	{ ".target sm_75\n", "line 1, column 1: expected '.version', found '.target'" },
	{ ".version x\n", "line 1, column 10: expected a version such as 9.0, found 'x'" },
	{ ".version 9.0\n.target 75\n", "line 2, column 9: expected a target such as sm_75, found '75'" },
	{ ".version 9.0\n.target sm_75\n.address_size 32\n", "line 3, column 15: only 64-bit addresses" },
	{ PTX_HEAD "/* no end", "line 4, column 10: comment without an end" },
	{ PTX_HEAD ".global .u32 x[;", "line 4, column 16: expected an integer constant, found ';'" },
	{ PTX_HEAD ".global .u32 x\n.global .u32 y;", "line 5, column 1: expected ';', found '.global'" },
	{ PTX_HEAD ".global .u32 x;\n.global .u32 x;", "line 5, column 14: 'x' is already declared in line 4" },
	{ PTX_HEAD ".global .align 3 .u32 x;", "line 4, column 16: alignment must be a power of two" },
	{ PTX_HEAD ".global .u32 x[2] = {1, 2, 3};", "line 4, column 28: expected no more initial values" },
	{ PTX_HEAD ".global .u8 x = 1.5;", "line 4, column 17: expected an integer" },
	{ PTX_HEAD ".global .samplerref s = { addr_mode_0 = mirrored };", "line 4, column 41: expected an address mode such as 'wrap', found 'mirrored'" },
	{ PTX_HEAD ".global .samplerref s = { filter_mode = cubic };", "line 4, column 41: expected 'linear' or 'nearest', found 'cubic'" },
	{ PTX_HEAD ".global .samplerref s = { addr_mode_0 = wrap", "line 4, column 45: expected '}', found the end of the text" },
	{ PTX_HEAD ".shared .u32 x = 1;", "line 4, column 18: expected ';': only .global and .const" },
	{ PTX_HEAD ".global .pred x;", "line 4, column 15: a predicate can only be a register" },
	{ PTX_HEAD ".global .u32 x[0x10000000000000000];", "line 4, column 16: integer does not fit in 64 bits" },
	{ PTX_HEAD ".global .u32 x[0x7fffffffffffffff];", "line 4, column 16: array too large" },
	{ PTX_HEAD ".global .f32 x = 0f123;", "line 4, column 18: expected 8 hexadecimal digits after 0f" },
	{ PTX_HEAD ".visible .entry k() { bra", "line 4, column 26: expected an operand, found the end of the text" },
	{ PTX_HEAD ".visible .entry k() { ret; ", "line 4, column 28: expected '}', found the end of the text" },
	{ PTX_HEAD ".visible .entry k() { .reg .b32 %r<x>; }", "line 4, column 36: expected a number of registers" },
	{ PTX_HEAD ".visible .entry k() .wrong 3 { }", "line 4, column 21: unknown directive '.wrong'" },
	{ PTX_HEAD ".visible .entry () { }", "line 4, column 17: expected the function's name, found '('" },
	{ KERNEL("add.u32 %r1, %r2, %r99;"), "line 7, column 19: '%r99' is not declared" },
	{ KERNEL("add.u32 %r1, %r2;"), "line 7, column 1: 'add.u32 %r1, %r2': expected 3 operands, found 2" },
	{ KERNEL("add.u32 %r1 %r2;"), "line 7, column 13: expected ',' or ';', found '%r2'" },
	{ KERNEL("add.u32 %r1, [%r2], 1;"), "line 7, column 14: 'add.u32 %r1, [%r2], 1': expected a value" },
	{ KERNEL("add.u32 5, %r2, 1;"), "line 7, column 9: 'add.u32 5, %r2, 1': expected a register" },
	{ KERNEL("add.u32 %rd1, %r2, 1;"), "line 7, column 1: 'add.u32 %rd1, %r2, 1': result 0 has 64 bits, 32 wanted" },
	{ KERNEL("add.f32 %f1, %f2, %fd1;"), "operand 1 has 64 bits, 32 wanted" },
	{ KERNEL("add %r1, %r2, 1;"), "expected one type, found 0" },
	{ KERNEL("add.u32 %r1, %r2, 0f00000000x;"), "line 7, column 29: expected ',' or ';', found 'x'" },
	{ KERNEL("mul.u32 %r1, %r2, %r3;"), "expected one of .lo, .hi, .wide" },
	{ KERNEL("setp.lt.b32 %p1, %r2, %r3;"), "only .eq and .ne compare .b32" },
	{ KERNEL("setp.u32 %p1, %r2, %r3;"), "expected a comparison such as .eq" },
	{ KERNEL("cvt.rn.s32.u32 %r1, %r2;"), "integers are not rounded" },
	{ KERNEL("cvt.f32.s32 %f1, %r2;"), "expected a rounding such as .rn" },
	{ KERNEL("cvt.s32.f32 %r1, %f2;"), "expected a rounding such as .rzi" },
	{ KERNEL("bra nowhere;"), "line 7, column 5: 'nowhere' is not declared" },
	{ KERNEL("bra %r1;"), "line 7, column 5: 'bra %r1': expected a label" },
	{ KERNEL("L: L: ret;"), "line 7, column 4: 'L' is already declared in line 7" },
	{ KERNEL("@%r1 ret;"), "line 7, column 2: expected a predicate after '@'" },
	{ KERNEL("ld.global.u32 %r1, [];"), "line 7, column 20: an address is missing" },
	{ KERNEL("ld.global.u32 %r1, %rd1;"), "line 7, column 20: 'ld.global.u32 %r1, %rd1': expected an address in brackets" },
	{ KERNEL("ld.global.u32 %r1, [p];"), "line 7, column 21: 'ld.global.u32 %r1, [p]': 'p' is not in this state space" },
	{ KERNEL("ld.global.u32 %r1, [%r1];"), "an address of 32 bits in this space" },
	{ KERNEL("ld.global.v2.u32 %r1, [%rd1];"), "expected a vector of 2 registers" },
	{ KERNEL("ld.global.u64 %r1, [%rd1];"), "result 0 has 32 bits, at least 64 wanted" },
	{ KERNEL("st.const.u32 [%rd1], %r1;"), "nothing can be stored here" },
	{ KERNEL("mov.b64 {%r1, %r2, %r3}, %rd1;"), ".b64 does not have these parts" },
	{ KERNEL("tex.2d.v4.f32.f32 {%f1, %f2, %f3}, [%rd1, {%f1, %f2}];"), "expected a vector of 4 registers" },
	{ KERNEL("tex.3d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f2}];"), "expected 3 coordinates, found 2" },
	{ KERNEL("tex.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f2}];"), "expected a shape such as .2d" },
	{ KERNEL("tld4.3d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f2, %f3, %f3}];"), "expected one of .r, .g, .b and .a" },
	{ KERNEL("txq.b32 %r1, [%rd1];"), "expected a query such as .width" },
	{ KERNEL("suld.b.cube.b32.trap {%r1}, [%rd1, {%r1, %r2, %r3, %r3}];"), "a surface is no cube" },
	{ KERNEL("sust.b.2d.v2.b32.trap [%rd1, {%r1, %r2}], {%r1};"), "expected a vector of 2 registers" },
	{ KERNEL("sured.b.2d.u32.trap [%rd1, {%r1, %r2}], %r1;"), "expected .b or .p, an operation and a type" },
	{ KERNEL("call nobody;"), "line 7, column 6: 'nobody' is not declared" },
	{ KERNEL("call (%r1), k, (%r2, %r3);"), NULL },	/* a kernel cannot be called: refused, not malformed */
	{ KERNEL("lop3.b32 %r1, %r2, %r3, %r4, 256;"), "expected a table from 0 to 255" },
	{ KERNEL("brx.idx %r1, %r2;"), "expected a table of .branchtargets" },
	{ KERNEL("shfl.sync.down.b64 %rd1, %rd1, 1, 31, -1;"), "expected .up, .down, .bfly or .idx, and .b32" },
	{ KERNEL("mov.u32 %r1, \"x"), "string without an end" },
	{ KERNEL("mov.u32 %r1, 1/0;"), "expected a divisor that is not zero" },
	{ KERNEL("mov.u32 %r1, 09;"), "integer" },
	{ KERNEL("mov.u32 %r1, 0b;"), "integer without digits" },
	{ KERNEL("add.u32 %r1, %r2, 1; }\n}"), "line 8, column 1: expected a declaration, found '}'" },
};

Test(ptx, errors_name_line_column_and_what_was_expected)
{
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		char log[2048] = "";
		struct hg_module *m = NULL;
		enum hg_status st;

		catch_messages();
		if (!wrongs[i].says)
			continue;
		st = hg_module_load(*wrongs[i].text ? wrongs[i].text : "\x01", 0, 120, log, sizeof(log), &m);
		cr_expect(st == HG_ERR_INVALID || st == HG_ERR_UNSUPPORTED, "%zu: %s", i, hg_status_text(st));
		cr_expect(strstr(last_message, wrongs[i].says), "%zu: '%s' is not in\n'%s'", i, wrongs[i].says, last_message);
		if (i)
			cr_expect(strstr(log, wrongs[i].says), "%zu: the log says '%s'", i, log);
	}
}

/* Instructions that are understood and not taken: the kernel is refused, the module loads. */
static const struct wrong refusals[] = {
	{ "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1}, %rd1, %rd2, 1, 1, 1, 0, 0;",
	  "kernel 'k', line 7: 'wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1}, %rd1, %rd2, 1, 1, 1, 0, 0': not supported" },
	{ "frobnicate.u32 %r1, %r2;", "kernel 'k', line 7: 'frobnicate.u32 %r1, %r2': not supported" },
	{ "add.u32.wrong %r1, %r2, %r3;", "'add.u32.wrong %r1, %r2, %r3': not supported" },
	{ "add.u32.volatile %r1, %r2, %r3;", "'.volatile' is not supported here" },
	{ "tex.2dms.v4.f32.s32 {%f1, %f2, %f3, %f4}, [%rd1, {%r1, %r2, %r3, %r3}];", "no CUDA call makes a texture with several samples" },
	{ "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f2}], %f3;", "a comparison of depth is not supported" },
	{ "shfl.down.b32 %r1, %r2, 1, 31;", "the form without '.sync' is not supported" },
	{ "call %rd1, (%r1), proto; proto: .callprototype _ (.param .b32 _);", "no function that this call could reach has its address taken" },
	{ "barrier.cluster.arrive;", "barriers of clusters are not supported" },
	{ "mov.u32 %r1, %envreg3;", "special register" },
	{ "vshl.u32.u32.u32.sat.clamp %r1, %r2.b0, %r3.h1;", "a saturated or compared vshl is not supported" },
	{ "add.u32 %r1.b0, %r2, %r3;", "a part of a register, or a minus sign, is not supported here" },
	{ "add.s32 %r1, %r2, -%r3;", "a part of a register, or a minus sign, is not supported here" },
	{ "cvt.rs.f16x2.f32 %r1, %f1, %f2, %r2;", "'.rs' is not supported here" },
	{ "fma.rn.oob.f16 %h1, %h2, %h3, %h4;", "'.oob' is not supported here" },
	{ "add.f32 %f1, %f2, 1;", "an integer constant as .f32 is not supported" },
	{ "call k, (%rd1, %r1);", "a kernel cannot be called" },
};

Test(ptx, instructions_not_supported_refuse_their_kernel_alone)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		char text[2048];
		struct hg_module *m;

		catch_messages();
		m = load_text(kernel_around("", refusals[i].text, ".visible .entry other() { ret; }\n", text, sizeof(text)));
		cr_assert_eq(hg_module_nr_kernels(m), 2);
		cr_assert(hg_module_kernel(m, 0)->refused, "%zu: taken", i);
		cr_expect(strstr(hg_module_kernel(m, 0)->refused, refusals[i].says), "%zu: '%s'", i,
			  hg_module_kernel(m, 0)->refused);
		cr_expect(strstr(hg_module_kernel(m, 0)->refused, "kernel 'k', line 7"));
		cr_expect_eq(hg_module_kernel(m, 1)->refused, NULL);
		hg_module_free(m);
	}
}

Test(ptx, tokens_carry_their_position)
{
	static const char text[] = "ld.global.u32 %r1,\n\t[%rd2+-4]; // end\n/* two\nlines */ 0x1F 0f3F800000 1.5e1 \"s\"";
	static const struct { enum ptx_token_kind kind; uint32_t line, column; uint64_t value; } want[] = {
		{ PTX_IDENT, 1, 1, 0 }, { PTX_DOT, 1, 3, 0 }, { PTX_DOT, 1, 10, 0 }, { PTX_IDENT, 1, 15, 0 },
		{ PTX_PUNCT, 1, 18, ',' }, { PTX_PUNCT, 2, 2, '[' }, { PTX_IDENT, 2, 3, 0 }, { PTX_PUNCT, 2, 7, '+' },
		{ PTX_PUNCT, 2, 8, '-' }, { PTX_INT, 2, 9, 4 }, { PTX_PUNCT, 2, 10, ']' }, { PTX_PUNCT, 2, 11, ';' },
		{ PTX_INT, 4, 10, 31 }, { PTX_FLOAT, 4, 15, 0x3f800000 }, { PTX_FLOAT, 4, 26, 0x402e000000000000 },
		{ PTX_STRING, 4, 32, 0 }, { PTX_EOF, 4, 35, 0 },
	};
	struct ptx_lexer lx;
	struct ptx_token t;

	ptx_lexer_init(&lx, text, sizeof(text) - 1);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		ptx_lexer_next(&lx, &t);
		cr_expect_eq(t.kind, want[i].kind, "token %zu is a %d", i, t.kind);
		cr_expect_eq(t.line, want[i].line, "token %zu", i);
		cr_expect_eq(t.column, want[i].column, "token %zu: column %u", i, t.column);
		if (t.kind == PTX_INT || t.kind == PTX_FLOAT || t.kind == PTX_PUNCT)
			cr_expect_eq(t.value, want[i].value, "token %zu", i);
	}
}

Test(ptx, constant_expressions_have_the_precedence_of_c)
{
	static const struct { const char *text; uint32_t value; } want[] = {
		{ "1+2*3", 7 }, { "(1+2)*3", 9 }, { "7/2-1", 2 }, { "-7/2", (uint32_t)-3 }, { "1<<4>>2", 4 },
		{ "0x10 % 7", 2 }, { "~0", UINT32_MAX }, { "!0", 1 }, { "1 ? 2 : 3", 2 }, { "6&3^1", 3 }, { "3>2", 1 },
		{ "010", 8 }, { "0b101", 5 }, { "5U", 5 }, { "WARP_SZ-1", 31 }, { "1==1", 1 }, { "-(-3)", 3 },
	};

	catch_messages();
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		char text[600], line[64], *ir;
		struct hg_module *m;

		snprintf(line, sizeof(line), "%s;", want[i].text);
		m = load_text(kernel_around("st.global.u32 [%rd1], ", line, "", text, sizeof(text)));
		ir = ir_text(hg_module_ir(m));
		snprintf(line, sizeof(line), "st.global.u32 %%d0, 0, 0x%x", want[i].value);
		cr_expect(strstr(ir, line), "'%s' gives\n%s", want[i].text, ir);
		free(ir);
		hg_module_free(m);
	}
}

Test(ptx, a_text_cut_anywhere_is_an_error_or_a_smaller_module)
{
	static const char *const files[] = { "tests/ptx/arith.ptx", "tests/ptx/memory.ptx", "tests/ptx/control.ptx",
					     "tests/ptx/matrix.ptx" };

	catch_messages();
	for (size_t f = 0; f < sizeof(files) / sizeof(files[0]); f++) {
		size_t size;
		char *text = read_test_file(files[f], &size);

		for (size_t n = 1; n < size; n++) {
			struct hg_module *m = NULL;
			char *part = malloc(n);	/* so that a read behind it is seen */

			memcpy(part, text, n);
			if (!hg_module_load(part, n, 120, NULL, 0, &m))
				hg_module_free(m);
			free(part);
		}
		free(text);
	}
}

Test(ptx, random_changes_never_crash)
{
	size_t size;
	char *text = read_test_file("tests/ptx/control.ptx", &size), *copy = malloc(size);
	uint64_t seed = 42;

	catch_messages();
	for (int round = 0; round < 3000; round++) {
		struct hg_module *m = NULL;

		memcpy(copy, text, size);
		for (int k = 0; k < 1 + round % 8; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			copy[(seed >> 33) % size] = round & 1 ? (char)(seed >> 20) : text[(seed >> 10) % size];
		}
		if (!hg_module_load(copy, size, 120, NULL, 0, &m))
			hg_module_free(m);
	}
	free(copy);
	free(text);
}

Test(ptx, a_short_text_cannot_ask_for_endless_memory)
{
	char text[8000] = PTX_HEAD;
	struct hg_module *m = NULL;

	catch_messages();
	for (int i = 0; i < 40; i++)
		sprintf(text + strlen(text), ".global .b8 v%d[200000000] = {1};\n", i);
	cr_expect_eq(hg_module_load(text, 0, 120, NULL, 0, &m), HG_ERR_INVALID);
	cr_expect(strstr(last_message, "expected less initialised data"), "%s", last_message);
	strcpy(text, PTX_HEAD);
	for (int i = 0; i < 60; i++)
		sprintf(text + strlen(text), ".func f%d() { .reg .b32 %%r<4000000>; ret; }\n", i);
	cr_expect_eq(hg_module_load(text, 0, 120, NULL, 0, &m), HG_ERR_INVALID);
	cr_expect(strstr(last_message, "expected fewer registers"), "%s", last_message);
	/* Two calls at each of 40 levels. */
	strcpy(text, PTX_HEAD ".func f0() { ret; }\n");
	for (int i = 1; i < 40; i++)
		sprintf(text + strlen(text), ".func f%d() { call f%d; call f%d; ret; }\n", i, i - 1, i - 1);
	strcat(text, ".visible .entry k() { call f39; ret; }\n");
	m = load_text(text);
	cr_expect_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
	cr_expect_lt(hg_module_ir(m)->func[0].nr_blocks, 20000);
	hg_module_free(m);
}

Test(ptx, the_log_of_the_caller_is_cut_not_overrun)
{
	char log[16];
	struct hg_module *m = NULL;

	catch_messages();
	memset(log, 'x', sizeof(log));
	cr_expect_neq(hg_module_load(KERNEL("nonsense here"), 0, 120, log, 8, &m), HG_OK);
	cr_expect_eq(strnlen(log, sizeof(log)), 7);
	cr_expect_eq(log[8], 'x');
	cr_expect_neq(hg_module_load(KERNEL("nonsense here"), 0, 120, log, 0, &m), HG_OK);
}
