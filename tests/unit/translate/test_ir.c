/* test_ir.c - hgIR's text form and its verifier. */
#include "tests/unit/translate/code_util.h"

static const char *const inputs[] = {
	"tests/ptx/arith.ptx", "tests/ptx/memory.ptx", "tests/ptx/control.ptx", "tests/ptx/matrix.ptx", "tests/ptx/grammar.ptx",
	"tests/ptx/functions.ptx", "tests/ptx/texture.ptx", "tests/ptx/nvcc13_gemm.ptx",
	"tests/ptx/nvcc13_cg.ptx", "tests/ptx/nvcc13_debug_vector_add.ptx", "tests/ptx/nvcc13_histogram.ptx",
	"tests/ptx/nvcc13_linked_list.ptx", "tests/ptx/nvcc13_mandelbrot.ptx", "tests/ptx/nvcc13_matmul.ptx",
	"tests/ptx/nvcc13_nbody.ptx", "tests/ptx/nvcc13_reduction.ptx", "tests/ptx/nvcc13_saxpy_streams.ptx",
	"tests/ptx/nvcc13_scan.ptx", "tests/ptx/nvcc13_threads.ptx", "tests/ptx/nvcc13_train.ptx",
	"tests/ptx/nvcc13_transpose.ptx", "tests/ptx/nvcc13_vector_add.ptx",
};

Test(ir, every_input_is_taken_and_its_text_parses_to_itself)
{
	for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
		size_t size;
		char *text = read_test_file(inputs[i], &size), *ir, *again;
		struct hg_module *m = load_text(text);
		struct ir_module *copy = NULL;

		cr_expect(hg_module_nr_kernels(m) > 0, "%s", inputs[i]);
		for (size_t k = 0; k < hg_module_nr_kernels(m); k++)
			cr_expect_eq(hg_module_kernel(m, k)->refused, NULL, "%s: %s", inputs[i],
				     hg_module_kernel(m, k)->refused);
		cr_expect_eq(ir_verify(hg_module_ir(m)), HG_OK);
		ir = ir_text(hg_module_ir(m));
		cr_assert_eq(ir_parse(ir, strlen(ir), &copy), HG_OK, "%s", inputs[i]);
		cr_expect(ir_equal(hg_module_ir(m), copy), "%s", inputs[i]);
		cr_expect_eq(ir_verify(copy), HG_OK);
		again = ir_text(copy);
		cr_expect_str_eq(ir, again);
		ir_module_free(copy);
		hg_module_free(m);
		free(again);
		free(ir);
		free(text);
	}
}

Test(ir, a_refused_kernel_and_odd_names_survive_the_text_form)
{
	static const char text[] =
		"hgir 1\n"
		"var \"a\\x22b\" const size 4 align 4 visible init 01020304\n"
		"var \"p\" global size 16 align 8 init 00 reloc 8 0 -4\n"
		"func \"k\\x0a\" {\n\tline 3\n\tparam 0 8 8 pointer\n\tparam_bytes 8\n\trefused \"line 3: \\x5cno\"\n}\n"
		"func \"e\" {\n\tuses grid_sync\n\tregs p1 h1 r1 d1 q1\nb0:\n\texit\n}\n";
	struct ir_module *m = NULL;
	char *again;

	catch_messages();
	cr_assert_eq(ir_parse(text, strlen(text), &m), HG_OK, "%s", last_message);
	cr_expect_eq(ir_verify(m), HG_OK, "%s", last_message);
	cr_expect_str_eq(m->func[0].refused, "line 3: \\no");
	again = ir_text(m);
	cr_expect_str_eq(again, text);
	free(again);
	ir_module_free(m);
}

#define FUNC(body) "hgir 1\nvar \"g\" global size 8 align 8\nfunc \"k\" {\n\tregs p2 h2 r2 d2\n" body "}\n"

/* Text, and what ir_parse or ir_verify says of it. */
static const struct { const char *text, *says; } wrongs[] = {
	{ "", "line 1: expected 'hgir'" },
	{ "hgir 2\n", "line 1: expected version 1" },
	{ "hgir 1\nfoo\n", "line 2: expected 'var' or 'func'" },
	{ "hgir 1\nvar \"x\n", "line 2: string without an end" },
	{ "hgir 1\nvar \"x\" global size 1 align 1 init 0\n", "initial bytes do not fit" },
	{ "hgir 1\nvar \"x\" global size 1 align 1 init 0000\n", "initial bytes do not fit" },
	{ "hgir 1\nvar \"x\" global size 1 align 1 init 0g\n", "bad hexadecimal digit" },
	{ "hgir 1\nvar \"x\" global size 1 align 3\n", "variable 'x': alignment 3" },
	{ "hgir 1\nvar \"x\" global size 8 align 8 init 00 reloc 4 0 0\n", "variable 'x': address 0 is outside" },
	{ "hgir 1\nfunc \"k\" {\n", "expected '}' before the end" },
	{ "hgir 1\nfunc \"k\" {\n}\n", "hgIR of 'k': has no code" },
	{ "hgir 1\nfunc \"k\" {\n\tregs r99999999\n}\n", "too many registers" },
	{ FUNC("b1:\n\texit\n"), "expected 'b0:'" },
	{ FUNC("b0:\n\tbogus\n"), "unknown operation 'bogus'" },
	{ FUNC("b0:\n\tmov.u32.what 0x0\n"), "unknown word '.what'" },
	{ FUNC("b0:\n\t%r9 = mov.u32 0x0\n\texit\n"), "register 9 is not declared" },
	{ FUNC("b0:\n\t%d2 = mov.u32 0x0\n\texit\n"), "register 2 is not declared, or of another class" },
	{ FUNC("b0:\n\t%d6 = mov.u64 &h+0x0\n\texit\n"), "unknown variable 'h'" },
	{ FUNC("b0:\n\t%r4 = mov.u32 $nothing\n\texit\n"), "unknown special register" },
	{ FUNC("b0:\n\tbra b1, b2\n"), "wrong number of target blocks" },
	{ FUNC("b0:\n\texit junk\n"), "expected a number" },
	{ FUNC("b0:\n\tbra b3\n"), "block 3 does not exist" },
	/* what no emitter takes is no hgIR: a launch never learns of it first */
	{ FUNC("b0:\n\t%h2 = add.rz.f16 %h3, %h3\n\texit\n"), "16-bit floats round to nearest" },
	{ FUNC("b0:\n\t%r4 = mul.rp.bf16x2 %r5, %r5\n\texit\n"), "16-bit floats round to nearest" },
	{ FUNC("b0:\n\t%p0 = setp.equ.s32 %r4, %r5\n\texit\n"), "no such comparison of s32" },
	{ FUNC("b0:\n\t%p0 = setp.nan.u64 %d6, %d7\n\texit\n"), "no such comparison of u64" },
	{ FUNC("b0:\n\t%h2 = set.eq.f16.f16x2 %r4, %r5\n\texit\n"), "no such result of comparing f16x2" },
	{ FUNC("b0:\n\t%r4 = set.eq.f16x2.f32 %r4, %r5\n\texit\n"), "no such result of comparing f32" },
	{ FUNC("b0:\n\t%r4 = cvt.f16x2.u32 %r5\n\texit\n"), "pairs are made of two f32 only" },
	{ FUNC("b0:\n\t%r4 = cvt.f32.f16x2 %r5\n\texit\n"), "pairs are made of two f32 only" },
	{ FUNC("b0:\n\t%p0 = isspacep.const.u64 %d6\n\texit\n"), "no addresses can be told to be in this space" },
	{ FUNC("b0:\n\t%d6, %d6, %d6, %d6, %d6 = ld.global.u64 %d7, 0\n\texit\n"), "a vector of more than 8 parts or 32 bytes" },
	{ FUNC("b0:\n\tst.global.u64 %d7, 0, %d6, %d6, %d6, %d6, %d6\n\texit\n"), "a vector of more than 8 parts or 32 bytes" },
	{ FUNC("b0:\n\t%r4 = mov.u32 0x0\n"), "the block does not end with a terminator" },
	{ FUNC("b0:\n\texit\n\texit\n"), "a terminator inside a block" },
	{ FUNC("b0:\n\texit\nb1:\n\texit\n"), "block 1, instruction 0 (exit, PTX line 0): no block before it leads to it" },
	{ FUNC("b0:\n\t%r4 = add.u32 %r4\n\texit\n"), "too few operands" },
	{ FUNC("b0:\n\t%r4 = add.u32 %r4, %r5, %r5\n\texit\n"), "too many operands" },
	{ FUNC("b0:\n\tadd.u32 %r4, %r5\n\texit\n"), "too few results" },
	{ FUNC("b0:\n\t_ = add.u32 %r4, %r5\n\texit\n"), "result 0 has no register" },
	{ FUNC("b0:\n\t%r4 = add.u32 %d6, %r5\n\texit\n"), "operand 0 has 64 bits, 32 wanted" },
	{ FUNC("b0:\n\t%r4 = add.u32 %r4, 0x100000000\n\texit\n"), "0x100000000 does not fit in 32 bits" },
	{ FUNC("b0:\n\t%r4 = add.b32 %r4, %r5\n\texit\n"), "not an operation of b32" },
	{ FUNC("b0:\n\t%r4 = add.u32 %r4, $tid.x\n\texit\n"), "may not be a special register" },
	{ FUNC("b0:\n\t%d6 = add.u64 %d6, &g+0x0\n\texit\n"), "may not be a variable" },
	{ FUNC("b0:\n\t%r4 = mov.u32 &g+0x0\n\texit\n"), "a variable's address has 64 bits" },
	{ FUNC("b0:\n\t%d6 = mov.u64 $tid.x\n\texit\n"), "'%tid.x' has 32 bits" },
	{ FUNC("b0:\n\t%r4, %p0 = add.u32 %r4, %r5\n\texit\n"), "a second result without a carry out" },
	{ FUNC("b0:\n\t%r4 = add.cc.u32 %r4, %r5\n\texit\n"), "a carry out needs a second result" },
	{ FUNC("b0:\n\t%r4 = mov.u32 !%r5\n\texit\n"), "operand 0 is negated and not a predicate" },
	{ FUNC("b0:\n\t@%r4 %r5 = mov.u32 0x0\n\texit\n"), "the guard is not a predicate" },
	{ FUNC("b0:\n\t@%p0 exit\n"), "this operation may have no guard" },
	{ FUNC("b0:\n\t%r4 = mov.u32 0x0\n\t%r5 = shfl.idx.b32 %r4, 0x0, 0x1f, 0xff\n\texit\n"),
	  "block 0, instruction 1 (shfl, PTX line 0): an operation that waits for lanes must begin its block" },
	{ FUNC("b0:\n\tbar_sync 0x0, 0x0\n\texit\n"), "a barrier must end its block, before bra" },
	{ FUNC("b0:\n\tbar_sync 0x0, 0x0\n\t%r4 = mov.u32 0x0\n\tbra b0\n"), "a barrier must end its block, before bra" },
	{ FUNC("b0:\n\tld.global.u32 %d6, 0\n\texit\n"), "too few results" },
	{ FUNC("b0:\n\t%r4 = ld.global.u32 %r5, 0\n\texit\n"), "an address of 32 bits in this space" },
	{ FUNC("b0:\n\t%r4 = ld.global.u32 %d6, %d6\n\texit\n"), "operand 1 must be an immediate" },
	{ FUNC("b0:\n\tst.const.u32 %d6, 0, %r4\n\texit\n"), "nothing may be stored in this space" },
	{ FUNC("b0:\n\tatom.cas.u32 %d6, 0, %r4\n\texit\n"), "wrong number of operands for this atomic" },
	{ FUNC("b0:\n\tatom.add.local.u32 %d6, 0, %r4\n\texit\n"), "no atomic operation in this space" },
	{ FUNC("b0:\n\t%p0 = setp.u32 %r4, %r5\n\texit\n"), "nothing to compare by" },
	{ FUNC("b0:\n\t%p0 = setp.eq.and.u32 %r4, %r5\n\texit\n"), "a third operand goes with and, or, xor" },
	{ FUNC("b0:\n\t%d6 = pack.b64 %r4, %r4, %r4\n\texit\n"), "3 parts do not make b64" },
	{ FUNC("b0:\n\t%d6 = pack.b64 %r4, %h2\n\texit\n"), "a part has 16 bits, 32 wanted" },
	{ FUNC("b0:\n\t%r4 = vote.ballot.b32 %r5, 0xff\n\texit\n"), "operand 0 has 32 bits, 1 wanted" },
	{ FUNC("b0:\n\t%p0 = vote.ballot.pred %p1, 0xff\n\texit\n"), "a vote gives a predicate, a ballot 32 bits" },
	{ FUNC("b0:\n\t%d6 = mul.hi.wide.u32 %r4, %r5\n\texit\n"), "both the high half and the whole" },
	{ FUNC("b0:\n\tbrx %r4\n"), "no target block" },
	{ FUNC("b0:\n\t%r4, %r5, _, _ = tex.3d.b32.f32 %d6, 0x0, %r4, %r5\n\texit\n"), "2 coordinates" },
	{ FUNC("b0:\n\t%r4, %r5, _, _ = tex.2d.b32.u32 %d6, 0x0, %r4, %r5\n\texit\n"), "at coordinates of f32 or s32" },
	{ FUNC("b0:\n\t%r4, %r5, _, _ = tex.2d.b32.f32 %r4, 0x0, %r4, %r5\n\texit\n"), "an address of 32 bits" },
};

Test(ir, errors_say_where_and_what)
{
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		struct ir_module *m = NULL;
		enum hg_status st;

		catch_messages();
		st = ir_parse(wrongs[i].text, strlen(wrongs[i].text), &m);
		if (!st) {
			st = ir_verify(m);
			ir_module_free(m);
		}
		cr_expect_neq(st, HG_OK, "%zu: taken", i);
		cr_expect(strstr(last_message, wrongs[i].says), "%zu: '%s' is not in\n'%s'", i, wrongs[i].says, last_message);
	}
}

Test(ir, a_text_cut_anywhere_never_crashes)
{
	size_t size;
	char *ptx = read_test_file("tests/ptx/control.ptx", &size), *text;
	struct hg_module *loaded = load_text(ptx);

	catch_messages();
	text = ir_text(hg_module_ir(loaded));
	size = strlen(text);
	for (size_t n = 0; n < size; n++) {
		struct ir_module *m = NULL;
		char *part = malloc(n + 1);

		memcpy(part, text, n);
		if (!ir_parse(part, n, &m)) {
			enum hg_status st = ir_verify(m);

			cr_expect(st == HG_OK || st == HG_ERR_CORRUPT);
			ir_module_free(m);
		}
		free(part);
	}
	free(text);
	free(ptx);
	hg_module_free(loaded);
}

Test(ir, each_operation_has_letters_that_are_known)
{
	for (int op = 0; op < IR_OP_COUNT; op++) {
		const struct ir_op_desc *d = &ir_op_desc[op];

		cr_expect(d->name && *d->name);
		for (const char *l = d->dst; *l; l++)
			cr_expect(strchr("tx2ywupn?*", *l), "%s: destination '%c'", d->name, *l);
		for (const char *l = d->src; *l; l++)
			cr_expect(strchr("txy2wupnaiv?*", *l), "%s: source '%c'", d->name, *l);
		for (const char *l = d->types; *l; l++)
			cr_expect(strchr("pbushgfd", *l), "%s: type '%c'", d->name, *l);
		cr_expect_neq(d->types[0] == 0, strchr(d->src, 't') || strchr(d->dst, 't') || strpbrk(d->src, "xv") || strchr(d->dst, 'x') ||
			      op == IR_dp4a || op == IR_dp2a, "%s: types and letters disagree", d->name);
	}
}
