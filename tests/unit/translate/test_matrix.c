/* test_matrix.c - what instructions on matrices become, and which are refused. */
#include "tests/unit/translate/code_util.h"

static char *ir_of(const char *body, const char **refused)
{
	static char why[256];
	char text[4096], *ir;
	struct hg_module *m = load_text(kernel_around("", body, "", text, sizeof(text)));

	*refused = NULL;
	if (hg_module_kernel(m, 0)->refused) {
		snprintf(why, sizeof(why), "%s", hg_module_kernel(m, 0)->refused);
		*refused = why;
	}
	ir = ir_text(hg_module_ir(m));
	hg_module_free(m);
	return ir;
}

static void expect(const char *body, const char *lines)
{
	const char *refused;
	char *ir = ir_of(body, &refused);

	cr_expect_null(refused, "%s", refused);
	cr_expect(strstr(ir, lines), "'%s' gives\n%s", body, ir);
	free(ir);
}

static void expect_refused(const char *body, const char *reason)
{
	const char *refused;
	char *ir;

	catch_messages();
	ir = ir_of(body, &refused);
	cr_expect(refused && strstr(refused, reason), "'%s': %s", body, refused ? refused : "taken");
	free(ir);
}

static void expect_bad(const char *body, const char *reason)
{
	char text[4096], log[2048] = "";
	struct hg_module *m = NULL;

	catch_messages();
	cr_expect_neq(hg_module_load(kernel_around("", body, "", text, sizeof(text)), 0, 120, log, sizeof(log), &m), HG_OK, "%s", body);
	cr_expect(strstr(log, reason), "'%s': %s", body, log);
	hg_module_free(m);
}

Test(lower_matrix, a_product_waits_for_all_lanes_once)
{
	expect("mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%r1, %r2}, {%r3}, {%r4}, {%r1, %r2};\n"
	       "mma.sync.aligned.m8n8k16.row.col.satfinite.s32.u8.u8.s32 {%r1, %r2}, {%r3}, {%r4}, {%r1, %r2};\n"
	       "st.global.v2.u32 [%rd1], {%r1, %r2};",
	       "\tbra b1 ;7\nb1:\n\twarpsync 0xffffffff ;7\n\t%r0, %r1 = mma.m8n8k16_s8_u8.s32.s32 %r2, %r3, %r0, %r1 ;7\n"
	       "\t%r0, %r1 = mma.m8n8k16_u8_u8.satfinite.s32.s32 %r2, %r3, %r0, %r1 ;8\n");
}

Test(lower_matrix, rows_are_loaded_and_transposed)
{
	expect("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r1, %r2}, [%r3+16]; st.global.v2.u32 [%rd1], {%r1, %r2};",
	       "%r0, %r1 = ldmatrix.shared %r2, 16 ;7\n\t%r0 = movmatrix %r0 ;7\n\t%r1 = movmatrix %r1 ;7\n");
	expect("stmatrix.sync.aligned.m8n8.x1.b16 [%rd1], {%r1};", "stmatrix %d1, 0, %r0");
}

Test(lower_matrix, what_is_not_known_is_refused_by_name)
{
	expect_refused("mma.sp.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r3, %r4}, {%r5, %r6}, {%r1, %r2}, %r7, 0x0;",
		       "sparse");
	expect_refused("mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32 {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4},"
		       "{%r5, %r6}, {%r1, %r2, %r3, %r4};", "not supported");
	expect_refused("mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4}, {%r5, %r6},"
		       "{%r1, %r2, %r3, %r4};", "shape and type");
	expect_refused("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f16 {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%r1, %r2};",
		       "these types");
	expect_refused("mma.sync.aligned.m16n16k16.row.col.f32.f16.f16.f32 {%r1, %r2}, {%r3, %r4}, {%r5, %r6}, {%r1, %r2};", "shape and type");
	expect_refused("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32 {%r1, %r2}, {%r3}, {%r4}, {%r1, %r2};", "shape and type");
	expect_refused("wmma.mma.sync.aligned.row.col.m8n8k4.rz.f64.f64.f64.f64 {%fd1, %fd2}, {%fd3}, {%fd4}, {%fd1, %fd2};", "'.rz'");
	expect_refused("wmma.load.a.sync.aligned.row.m16n8k16.f16 {%r1, %r2, %r3, %r4}, [%rd1];", "shape and type");
	expect_refused("ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r1, %r2}, [%r3];", "not supported");
	expect_refused("stmatrix.sync.aligned.m16n8.x1.trans.shared.b8 [%r3], {%r1};", "not supported");
	expect_refused("ldmatrix.sync.aligned.m8n8.x1.global.b16 {%r1}, [%rd1];", "not supported");
}

Test(lower_matrix, what_is_no_ptx_is_an_error)
{
	expect_bad("mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%r1, %r2}, {%r3, %r5}, {%r4}, {%r1, %r2};", "expected 1 registers");
	expect_bad("mma.sync.aligned.m8n8k16.col.col.s32.s8.u8.s32 {%r1, %r2}, {%r3}, {%r4}, {%r1, %r2};", ".row.col");
	expect_bad("wmma.load.a.sync.aligned.col.m8n8k32.s4 {%r1}, [%rd1];", ".row for A");
	expect_bad("wmma.load.d.sync.aligned.row.m16n16k16.f32 {%f1, %f2, %f3, %f4, %f5, %f6, %f7, %f8}, [%rd1];", "'.d'");
	expect_bad("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r1}, [%r3];", "expected 2 registers");
	expect_bad("movmatrix.sync.aligned.m8n8.b16 %r1, %r2;", ".trans");
}

static void expect_rejected(const char *insn, const char *reason)
{
	static const char head[] = "hgir 1\nfunc \"k\" {\n\tregs r6\nb0:\n\tbra b1\nb1:\n\t";
	char text[512];
	struct ir_module *m = NULL;

	snprintf(text, sizeof(text), "%s%s\n\texit\n}\n", head, insn);
	catch_messages();
	if (!ir_parse(text, strlen(text), &m)) {
		cr_expect_neq(ir_verify(m), HG_OK, "%s", insn);
		ir_module_free(m);
	}
	cr_expect(strstr(last_message, reason), "%s: %s", insn, last_message);
}

Test(lower_matrix, the_verifier_counts_registers_and_wants_the_lanes_together)
{
	expect_rejected("%r0, %r1 = mma.m8n8k16_s8_u8.s32.s32 %r2, %r3, %r0, %r1", "warpsync");
	expect_rejected("warpsync 0xffffffff\n\t%r0 = mma.m8n8k16_s8_u8.s32.s32 %r2, %r3, %r0, %r1", "2 registers");
	expect_rejected("warpsync 0xffffffff\n\t%r0, %r1 = mma.m8n8k16_s8_u8.s32.s32 %r2, %r3, %r0", "1, 1 and 2 registers");
	expect_rejected("warpsync 0xffffffff\n\t%r0, %r1 = mma.m8n8k16_s8_u8.f32.s32 %r2, %r3, %r0, %r1", "no such product");
	expect_rejected("warpsync 0xffffffff\n\t%r0, %r1, %r2 = ldmatrix.shared %r3, 0", "1, 2 or 4");
	expect_rejected("warpsync 0xffff\n\t%r0 = movmatrix %r1", "warpsync");
}
