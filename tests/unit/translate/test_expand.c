/* test_expand.c - operations that GPUs have no instruction for become others: what is left, and what is refused. */
#include "tests/unit/translate/code_util.h"
#include "translate/expand.h"

static const char *const inputs[] = {
	"tests/ptx/arith.ptx", "tests/ptx/memory.ptx", "tests/ptx/control.ptx", "tests/ptx/matrix.ptx", "tests/ptx/grammar.ptx",
	"tests/ptx/functions.ptx", "tests/ptx/nvcc13_gemm.ptx", "tests/ptx/nvcc13_cg.ptx", "tests/ptx/nvcc13_linked_list.ptx",
	"tests/ptx/nvcc13_reduction.ptx", "tests/ptx/nvcc13_threads.ptx",
};

static bool is_directed(const struct ir_insn *in)
{
	return in->rnd == IR_RZ || in->rnd == IR_RM || in->rnd == IR_RP;
}

/* What must not be left. */
static bool is_to_go(const struct ir_insn *in)
{
	bool is_float = in->type == IR_F32 || in->type == IR_F64;

	switch (in->op) {
	case IR_mma: case IR_ldmatrix: case IR_stmatrix: case IR_movmatrix: case IR_match: case IR_redux:
		return true;
	case IR_atom:
		return in->sub == IR_ATOM_MBARRIER || ir_type_bits(in->type) == 16 || ir_type_bits(in->type) == 128 ||
			in->type == IR_F16X2 || in->type == IR_BF16X2;
	case IR_add: case IR_sub: case IR_mul: case IR_fma:
		return in->type == IR_F64 && is_directed(in);
	case IR_div: case IR_rcp: case IR_sqrt:
		return is_float && is_directed(in);
	case IR_cvt:
		return is_float && is_directed(in) && (in->type2 == IR_S64 || in->type2 == IR_U64);
	default:
		return false;
	}
}

/* What a device without f64 is left: moving it, its bits, and conversions that the emitter makes of integers. */
static bool is_to_go_without_f64(const struct ir_insn *in)
{
	bool is_f64 = in->type == IR_F64, from_f64 = in->type2 == IR_F64;

	switch (in->op) {
	case IR_mov: case IR_ld: case IR_st: case IR_selp: case IR_slct: case IR_copysign: case IR_testp:
		return false;
	case IR_atom:
		return is_f64 && in->sub != IR_ATOM_EXCH && in->sub != IR_ATOM_CAS;
	case IR_cvt:
		return is_f64 ? from_f64 || in->flags & IR_SAT : from_f64 && !ir_type_is_float(in->type);
	default:
		return is_f64 || from_f64;
	}
}

static uint32_t count(const struct ir_module *m, bool (*is)(const struct ir_insn *in))
{
	uint32_t n = 0;

	for (uint32_t f = 0; f < m->nr_funcs; f++)
		for (uint32_t b = 0; b < m->func[f].nr_blocks; b++)
			for (uint32_t i = 0; i < m->func[f].block[b].nr_insns; i++)
				n += is(&m->func[f].block[b].insn[i]);
	return n;
}

Test(expand, nothing_is_left_and_the_text_parses_to_itself)
{
	uint32_t nr = 0, nr_f64 = 0;

	for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
		size_t size;
		char *text = read_test_file(inputs[i], &size), *ir;
		struct hg_module *m = load_text(text);
		struct ir_module *e = NULL, *again = NULL, *soft = NULL;
		uint32_t before = count(hg_module_ir(m), is_to_go);

		nr += before;
		cr_assert_eq(hg_expand(hg_module_ir(m), &e), HG_OK, "%s", inputs[i]);
		cr_expect_eq(e->nr_funcs, hg_module_ir(m)->nr_funcs);
		if (!before)
			cr_expect(ir_equal(e, hg_module_ir(m)), "%s", inputs[i]);
		nr_f64 += count(hg_module_ir(m), is_to_go_without_f64);
		cr_assert_eq(hg_expand_no_f64(hg_module_ir(m), &soft), HG_OK, "%s", inputs[i]);
		cr_expect_eq(count(soft, is_to_go_without_f64), 0, "%s", inputs[i]);
		ir_module_free(soft);
		/* the result stands by itself */
		hg_module_free(m);
		free(text);
		for (uint32_t f = 0; f < e->nr_funcs; f++)
			cr_expect(!e->func[f].refused || strstr(e->func[f].refused, "128 bits"), "%s: %s", inputs[i], e->func[f].refused);
		cr_expect_eq(count(e, is_to_go), 0, "%s", inputs[i]);
		cr_expect_eq(ir_verify(e), HG_OK, "%s", inputs[i]);
		ir = ir_text(e);
		cr_assert_eq(ir_parse(ir, strlen(ir), &again), HG_OK, "%s", inputs[i]);
		cr_expect(ir_equal(e, again), "%s", inputs[i]);
		ir_module_free(again);
		ir_module_free(e);
		free(ir);
	}
	cr_expect_gt(nr, 50);
	cr_expect_gt(nr_f64, 50, "%u", nr_f64);
}

static struct ir_module *expanded(const char *body)
{
	char text[4096];
	struct hg_module *m = load_text(kernel_around(".shared .align 16 .b8 sh[64];", body, "", text, sizeof(text)));
	struct ir_module *e = NULL;

	cr_assert_null(hg_module_kernel(m, 0)->refused, "%s", hg_module_kernel(m, 0)->refused);
	cr_assert_eq(hg_expand(hg_module_ir(m), &e), HG_OK);
	hg_module_free(m);
	return e;
}

static uint32_t line;

static bool is_elsewhere(const struct ir_insn *in)
{
	return in->line != line && in->op != IR_exit;
}

static bool is_guarded(const struct ir_insn *in)
{
	return in->guard != IR_NO_REG;
}

Test(expand, code_stands_in_the_line_of_the_instruction_and_behind_its_guard)
{
	struct ir_module *e = expanded("@%p1 fma.rz.f64 %fd1, %fd2, %fd3, %fd4; @!%p1 red.shared.add.noftz.f16 [sh], %h1; ret;");

	line = e->func[0].block[0].insn[0].line;
	cr_expect_gt(line, 0);
	cr_expect_eq(count(e, is_elsewhere), 0);
	cr_expect_eq(count(e, is_guarded), 0);
	cr_expect_eq(e->func[0].block[0].insn[e->func[0].block[0].nr_insns - 1].op, IR_cbra);
	ir_module_free(e);
}

static bool keeps_its_order(const struct ir_insn *in)
{
	return in->op == IR_atom && in->space == IR_SHARED && in->sem == IR_ACQ_REL && in->scope == IR_CTA && in->sub == IR_ATOM_CAS &&
		in->type == IR_B32;
}

static bool is_atom(const struct ir_insn *in)
{
	return in->op == IR_atom;
}

Test(expand, a_narrow_atomic_keeps_space_order_and_scope)
{
	struct ir_module *e = expanded("mov.u32 %r1, sh; atom.acq_rel.cta.shared.cas.b16 %h1, [%r1+6], %h2, %h3; ret;");

	cr_expect_eq(count(e, keeps_its_order), 1);
	cr_expect_eq(count(e, is_atom), 1);
	ir_module_free(e);
}

Test(expand, a_kernel_with_what_no_other_gpu_has_is_refused_and_the_others_stay)
{
	static const char text[] = PTX_HEAD
		".visible .entry a(.param .u64 p) { .reg .b64 %rd<3>; ld.param.u64 %rd1, [p]; st.global.u64 [%rd1], %rd1; ret; }\n"
		".visible .entry b(.param .u64 p) { .reg .b64 %rd<3>; .reg .b128 %q<3>; ld.param.u64 %rd1, [p];\n"
		"mov.b128 %q1, {%rd1, %rd1};\natom.global.exch.b128 %q2, [%rd1], %q1; ret; }\n";
	struct hg_module *m = load_text(text);
	struct ir_module *e = NULL, *again = NULL;

	cr_assert_eq(hg_expand(hg_module_ir(m), &e), HG_OK);
	cr_expect_null(e->func[0].refused);
	cr_assert_not_null(e->func[1].refused);
	cr_expect_str_eq(e->func[1].refused, "kernel 'b', line 7: 'atom': no GPU has atomic operations of 128 bits but NVIDIA's");
	cr_expect_eq(e->func[1].nr_blocks, 0);
	cr_expect_eq(ir_verify(e), HG_OK);
	/* what is refused stays so */
	cr_assert_eq(hg_expand(e, &again), HG_OK);
	cr_expect(ir_equal(e, again));
	ir_module_free(again);
	ir_module_free(e);
	hg_module_free(m);
}

static bool is_local(const struct ir_insn *in)
{
	return (in->op == IR_ld || in->op == IR_st) && in->space == IR_LOCAL && in->src[0].kind == IR_OPD_IMM &&
		in->src[0].imm + in->src[1].imm < 48;
}

Test(expand, local_memory_of_the_support_library_lies_between_the_kernels_own_and_its_stack)
{
	static const char text[] =
		"hgir 1\nfunc \"k\" {\n\tlocal_bytes 48\n\tuses stack\n\tregs r7 d1\nb0:\n"
		"\t%r0 = mov.u32 0x30\n\t%r0 = add.u32 %r0, 0x10\n\tst.local.u32 %r0, 0, %r1\n"
		"\t%r3, %r4, %r5, %r6 = tex.2d.b32.f32 %d7, 0x0, %r1, %r2\n\texit\n}\n";
	struct ir_module *m = NULL, *e = NULL;
	const struct ir_insn *first;

	cr_assert_eq(ir_parse(text, strlen(text), &m), HG_OK);
	cr_assert_eq(ir_verify(m), HG_OK);
	cr_assert_eq(hg_expand(m, &e), HG_OK);
	cr_assert_null(e->func[0].refused, "%s", e->func[0].refused);
	first = &e->func[0].block[0].insn[0];
	cr_expect_gt(e->func[0].local_bytes, 48);
	cr_expect_eq(e->func[0].local_bytes % 64, 0);
	cr_expect(first->op == IR_mov && first->src[0].imm == e->func[0].local_bytes);
	cr_expect_eq(count(e, is_local), 0);
	ir_module_free(e);
	ir_module_free(m);
}
