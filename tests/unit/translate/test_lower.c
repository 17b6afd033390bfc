/* test_lower.c - what PTX becomes. */
#include "tests/unit/translate/code_util.h"
#include "translate/texture.h"

/* The hgIR of a kernel around `body`, without the lines' numbers. */
static char *lowered(const char *body)
{
	char text[4096], *ir, *o;
	struct hg_module *m;

	m = load_text(kernel_around("", body, "", text, sizeof(text)));
	cr_assert_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
	ir = ir_text(hg_module_ir(m));
	hg_module_free(m);
	o = ir;
	for (char *c = ir; *c; c++) {
		if (c[0] == ' ' && c[1] == ';')
			while (*c && *c != '\n')
				c++;
		*o++ = *c;
	}
	*o = 0;
	return ir;
}

static void expect_lines(const char *body, const char *lines)
{
	char *ir = lowered(body);

	cr_expect(strstr(ir, lines), "'%s' gives\n%s", body, ir);
	free(ir);
}

Test(lower, an_instruction_keeps_its_meaning)
{
	expect_lines("add.u32 %r1, %r2, 3; st.global.u32 [%rd1], %r1;", "%r0 = add.u32 %r1, 0x3\n");
	expect_lines("add.f32 %f1, %f2, 1.5; st.global.f32 [%rd1], %f1;", "%r0 = add.rn.f32 %r1, 0x3fc00000\n");
	expect_lines("add.rz.ftz.sat.f32 %f1, %f2, %f3; st.global.f32 [%rd1], %f1;", "add.rz.ftz.sat.f32");
	expect_lines("mad.f64 %fd1, %fd2, %fd3, %fd4; st.global.f64 [%rd1], %fd1;", "fma.rn.f64");
	expect_lines("sub.s32 %r1, %r2, -1; st.global.u32 [%rd1], %r1;", "sub.s32 %r1, 0xffffffff\n");
	expect_lines("div.approx.ftz.f32 %f1, %f2, %f3; st.global.f32 [%rd1], %f1;", "div.ftz.approx.f32");
	expect_lines("setp.hs.u32 %p1, %r1, %r2; selp.b32 %r3, %r1, %r2, %p1; st.global.u32 [%rd1], %r3;", "setp.ge.u32");
	expect_lines("ld.global.v2.u8 {%r1, _}, [%rd1+-8]; st.global.u32 [%rd1], %r1;", "%r0, _ = ld.global.u8 %d1, -8\n");
	expect_lines("@!%p1 st.global.u32 [%rd1], %r1;", "@!%p0 st.global.u32 %d2, 0, %r1\n");
	expect_lines("cvt.rzi.ftz.s32.f32 %r1, %f1; st.global.u32 [%rd1], %r1;", "cvt.rzi.ftz.s32.f32");
	expect_lines("cvta.to.global.u64 %rd2, %rd1; st.global.u32 [%rd2], %r1;", "%d2 = mov.u64 %d1\n");
	expect_lines("atom.global.add.u32 %r1, [%rd1], 1;", "%r0 = atom.add.relaxed.gpu.global.u32 %d1, 0, 0x1\n");
	expect_lines("red.shared.add.u32 [%r2], 1;", "atom.add.relaxed.gpu.shared.u32 %r0, 0, 0x1\n");
	expect_lines("membar.gl;", "membar.sc.gpu\n");
	expect_lines("bar.red.popc.u32 %r1, 3, 64, !%p1; st.global.u32 [%rd1], %r1;",
		     "%r1 = bar_red.popc.u32 0x3, 0x40, !%p0\n\tbra b1\nb1:\n");
	expect_lines("mov.u16 %h1, %tid.x; st.global.u16 [%rd1], %h1;", "%h0 = cvt.u16.u32 %r1\n");
	expect_lines("cvt.rna.tf32.f32 %r1, %f1; st.global.u32 [%rd1], %r1;", "%r0 = narrow.tf32.rna.f32 %r1\n");
	expect_lines("cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2; st.global.u16 [%rd1], %h1;", "narrow.e4m3.rn.satfinite.f32");
	expect_lines("cvt.rn.f16x2.e5m2x2 %r1, %h1; st.global.u32 [%rd1], %r1;", "widen.e5m2.f32");
	expect_lines("szext.wrap.s32 %r1, %r2, %r3; st.global.u32 [%rd1], %r1;", "bfe.s32");
	expect_lines("vadd4.u32.u32.u32.add %r1.b0, %r2, %r3, %r4; st.global.u32 [%rd1], %r1;", "bfe.u32");
	expect_lines("trap;", "\ttrap\n\texit\n");
}

Test(lower, a_carry_goes_through_a_predicate)
{
	expect_lines("add.cc.u32 %r1, %r2, %r3; addc.u32 %r4, %r5, 0; st.global.v2.u32 [%rd1], {%r1, %r4};",
		     "%r1, %p0 = add.cc.u32 %r2, %r3\n\t%r4 = addc.u32 %r5, 0x0, %p0\n");
}

Test(lower, a_guard_outlives_the_instruction_that_writes_it)
{
	expect_lines("@%p1 lop3.or.b32 %r1|%p1, %r2, %r3, %r4, 0x80, %p2; @%p1 st.global.u32 [%rd1], %r1;",
		     "%p2 = mov.pred %p0\n\t@%p2 ");
}

Test(lower, constants_written_once_reach_the_operations_that_wait)
{
	expect_lines("mov.u32 %r2, -1; mov.u32 %r3, 16; shfl.sync.down.b32 %r4, %r1, %r3, 31, %r2; st.global.u32 [%rd1], %r4;",
		     "shfl.down.b32 %r0, 0x10, 0x1f, 0xffffffff\n");
	/* Written twice: not a constant. */
	expect_lines("mov.u32 %r2, -1; @%p1 mov.u32 %r2, 1; bar.warp.sync %r2;", "warpsync %r");
}

Test(lower, a_wait_under_a_guard_is_branched_around)
{
	expect_lines("@%p1 bar.sync 0; st.global.u32 [%rd1], %r1;",
		     "cbra %p0, b1, b2\nb1:\n\tbar_sync 0x0, 0x0\n\tbra b2\nb2:\n\tst.global");
	expect_lines("@!%p1 vote.sync.any.pred %p2, %p3, -1; @%p2 st.global.u32 [%rd1], %r1;",
		     "cbra %p0, b2, b1\nb1:\n\t%p1 = vote.any.pred %p2, 0xffffffff\n\tbra b2\nb2:\n");
}

Test(lower, blocks_of_a_loop_stand_together_before_its_exit)
{
	/* The text has the exit inside the loop and the last part of the loop behind the end. */
	expect_lines("bra test;\n"
		     "body: add.u32 %r1, %r1, 1; setp.eq.u32 %p2, %r1, 5; @%p2 bra skip; bra more;\n"
		     "out: st.global.u32 [%rd1], %r1; ret;\n"
		     "skip: add.u32 %r1, %r1, 7; bra test;\n"
		     "test: ld.param.u32 %r2, [n]; setp.ge.u32 %p1, %r1, %r2; @%p1 bra out; bra body;\n"
		     "more: add.u32 %r1, %r1, 3; bra test;",
		     "b0:\n\tbra b1\n"
		     "b1:\n\t%r3 = ld.param.u32 0x8, 0\n\t%p0 = setp.ge.u32 %r2, %r3\n\tcbra %p0, b5, b2\n"
		     "b2:\n\t%r2 = add.u32 %r2, 0x1\n\t%p1 = setp.eq.u32 %r2, 0x5\n\tcbra %p1, b3, b4\n"
		     "b3:\n\t%r2 = add.u32 %r2, 0x7\n\tbra b1\n"
		     "b4:\n\t%r2 = add.u32 %r2, 0x3\n\tbra b1\n"
		     "b5:\n\tst.global.u32 %d4, 0, %r2\n\texit\n");
}

Test(lower, irreducible_control_flow_is_taken)
{
	expect_lines("@%p1 bra two; one: add.u32 %r1, %r1, 1; @%p2 bra two; bra out; two: add.u32 %r1, %r1, 2; @%p3 bra one;\n"
		     "out: st.global.u32 [%rd1], %r1;", "exit\n");
}

Test(lower, an_endless_loop_stays_one)
{
	expect_lines("L: bra L;", "b0:\n\tbra b1\nb1:\n\tbra b1\n}");
}

Test(lower, code_that_cannot_be_reached_is_left_out)
{
	char *ir = lowered("bra out; st.global.u32 [%rd1], 77; out: ret;");

	cr_expect(!strstr(ir, "0x4d"), "%s", ir);
	free(ir);
}

Test(lower, parameters_have_the_layout_of_the_driver)
{
	struct hg_module *m = load_text(PTX_HEAD
		".visible .entry k(.param .u8 a, .param .u64 .ptr .global .align 4 b, .param .u16 c, .param .f64 d,\n"
		".param .align 4 .b8 e[12], .param .align 16 .b8 f[32], .param .u64 g) { ret; }");
	const struct hg_kernel_info *k = hg_module_kernel(m, 0);
	static const struct { uint32_t offset, size, align; bool is_pointer; } want[] = {
		{ 0, 1, 1, false }, { 8, 8, 8, true }, { 16, 2, 2, false }, { 24, 8, 8, false }, { 32, 12, 4, false },
		{ 48, 32, 16, false }, { 80, 8, 8, false },
	};

	cr_assert_eq(k->nr_params, 7);
	for (size_t i = 0; i < 7; i++) {
		cr_expect_eq(k->params[i].offset, want[i].offset, "%zu", i);
		cr_expect_eq(k->params[i].size, want[i].size, "%zu", i);
		cr_expect_eq(k->params[i].align, want[i].align, "%zu", i);
		cr_expect_eq(k->params[i].is_pointer, want[i].is_pointer, "%zu", i);
	}
	cr_expect_eq(k->param_bytes, 88);
	hg_module_free(m);
}

Test(lower, a_parameter_used_as_an_address_is_a_pointer)
{
	struct hg_module *m = load_text(PTX_HEAD
		".visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d) {\n"
		".reg .b64 %rd<9>; .reg .pred %p; .reg .b32 %r;\n"
		"ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [c]; ld.param.u64 %rd4, [d];\n"
		"cvta.to.global.u64 %rd5, %rd1; mad.lo.u64 %rd6, %rd2, 8, %rd5; selp.b64 %rd7, %rd6, %rd3, %p;\n"
		"ld.u32 %r, [%rd7+4]; st.global.u64 [%rd6], %rd4; ret; }");
	const struct hg_kernel_info *k = hg_module_kernel(m, 0);

	cr_expect(k->params[0].is_pointer);
	cr_expect(!k->params[1].is_pointer);
	cr_expect(k->params[2].is_pointer);
	cr_expect(!k->params[3].is_pointer);
	hg_module_free(m);
}

Test(lower, shared_memory_is_laid_out_per_kernel_with_the_dynamic_part_last)
{
	struct hg_module *m = load_text(PTX_HEAD
		".shared .align 4 .b8 a[10]; .shared .align 16 .b8 b[6]; .extern .shared .align 64 .b8 dyn[];\n"
		".visible .entry one() { .reg .b32 %r; ld.shared.u8 %r, [b+1]; st.shared.u8 [a+2], %r; ret; }\n"
		".visible .entry two() { .reg .b32 %r; .reg .b32 %q; .shared .u64 own; ld.shared.u8 %r, [a]; mov.u32 %q, dyn;\n"
		"st.shared.u32 [%q+4], 9; st.shared.u64 [own], 1; ret; }");
	char *ir = ir_text(hg_module_ir(m));

	cr_expect_eq(hg_module_kernel(m, 0)->shared_bytes, 18, "%u", hg_module_kernel(m, 0)->shared_bytes);
	cr_expect(strstr(ir, "= ld.shared.u8 0x0, 1"));
	cr_expect(!hg_module_kernel(m, 0)->uses_dynamic_shared);
	cr_expect_eq(hg_module_kernel(m, 1)->shared_bytes, 64);
	cr_expect(hg_module_kernel(m, 1)->uses_dynamic_shared);
	cr_expect(strstr(ir, "st.shared.u32 0x40, 4, 0x9"), "%s", ir);
	cr_expect(strstr(ir, "st.shared.u64 0x10, 0, 0x1"), "%s", ir);
	free(ir);
	hg_module_free(m);
}

Test(lower, variables_keep_their_bytes_and_addresses)
{
	size_t size;
	char *text = read_test_file("tests/ptx/memory.ptx", &size);
	struct hg_module *m = load_text(text);
	const struct hg_var_info *v;
	double d[4];
	int32_t n[6];

	v = hg_module_var(m, (size_t)hg_module_find_var(m, "table"));
	memcpy(d, v->init, sizeof(d));
	cr_expect(v->size == 32 && d[0] == 1.0 && d[1] == 2.5 && d[2] == 3.0 && d[3] == -1.0);
	v = hg_module_var(m, (size_t)hg_module_find_var(m, "text"));
	cr_expect(v->is_const && v->is_visible && v->size == 8 && !memcmp(v->init, "Hello\0\0", 8));
	v = hg_module_var(m, (size_t)hg_module_find_var(m, "matrix"));
	memcpy(n, v->init, sizeof(n));
	cr_expect(n[2] == 3 && n[3] == 4 && n[4] == -5);
	v = hg_module_var(m, (size_t)hg_module_find_var(m, "pointers"));
	cr_assert_eq(v->nr_relocs, 2);
	cr_expect(v->relocs[0].offset == 0 && v->relocs[0].addend == 0 &&
		  (int)v->relocs[0].var == hg_module_find_var(m, "counter"));
	cr_expect(v->relocs[1].offset == 8 && v->relocs[1].addend == 8 &&
		  (int)v->relocs[1].var == hg_module_find_var(m, "table"));
	v = hg_module_var(m, (size_t)hg_module_find_var(m, "bytes"));
	cr_assert_eq(v->nr_relocs, 1);
	cr_expect(v->relocs[0].offset == 8 && *(const unsigned char *)v->init == 1);
	cr_expect_eq(hg_module_find_var(m, "nothing"), -1);
	hg_module_free(m);
	free(text);
}

Test(lower, textures_are_sampled_by_one_operation_and_surfaces_are_memory)
{
	expect_lines("tex.2d.v4.f32.f32 {%f1, _, %f2, _}, [%rd1, {%f3, 0f3f800000}]; st.global.v2.f32 [%rd1], {%f1, %f2};",
		     "%r0, _, %r1, _ = tex.2d.b32.f32 %d3, 0x0, %r2, 0x3f800000\n");
	expect_lines("tex.level.a2d.v4.u32.f32 {%r1, _, _, _}, [%rd1, {%r2, %f1, %f2, %f2}], %f3, {1, 2}; st.global.u32 [%rd1], %r1;",
		     "%r0, _, _, _ = tex.level_a2d.b32.f32 %d5, 0x0, %r1, %r2, %r3, %r4, 0x1, 0x2\n");
	expect_lines("@%p1 tld4.b.2d.v4.f32.f32 {%f1, _, _, _}, [%rd1, %rd2, {%f3, %f4}]; st.global.f32 [%rd1], %f1;",
		     "@%p0 %r1, _, _, _ = tex.gather_b_2d.b32.f32 %d4, %d5, %r2, %r3\n");
	expect_lines("txq.width.b32 %r1, [%rd1]; st.global.u32 [%rd1], %r1;", "ld.global.u32 %d");
	expect_lines("suld.b.2d.b32.zero {%r1}, [%rd1, {%r1, %r2}]; st.global.u32 [%rd1], %r1;", " = mov.b32 0x0\n\t@%p");
	expect_lines("sust.b.1d.b32.trap [%rd1, {%r1}], {%r2};", "trap");
}

Test(lower, references_are_descriptors_in_the_modules_memory)
{
	size_t size;
	char *text = read_test_file("tests/ptx/texture.ptx", &size), *ir;
	struct hg_module *m = load_text(text);
	const struct hg_var_info *v;
	struct hg_texture t;

	ir = ir_text(hg_module_ir(m));
	cr_expect(strstr(ir, " = tex.2d.b32.s32 &picture+0x0, &smooth+0x0, "), "%s", ir);
	cr_expect(strstr(ir, " = mov.u64 &picture+0x0 ;"), "%s", ir);
	v = hg_module_var(m, (size_t)hg_module_find_var(m, "picture"));
	cr_expect(v->size == HG_TEXTURE_REFERENCE_BYTES && !v->init, "bound to nothing");
	v = hg_module_var(m, (size_t)hg_module_find_var(m, "smooth"));
	cr_assert(v->size == HG_TEXTURE_REFERENCE_BYTES && v->init);
	memcpy(&t, v->init, sizeof(t));
	cr_expect(t.magic == HG_TEXTURE_MAGIC && t.flags == HG_TEXTURE_LINEAR && t.address[0] == HG_TEXTURE_BORDER &&
		  t.address[1] == HG_TEXTURE_MIRROR && t.address[2] == HG_TEXTURE_CLAMP && t.address_mode[0] == 4 && !t.is_normalised);
	v = hg_module_var(m, (size_t)hg_module_find_var(m, "plain"));
	memcpy(&t, v->init, sizeof(t));
	cr_expect(t.magic == HG_TEXTURE_MAGIC && t.flags == HG_TEXTURE_NORMALISED);
	free(ir);
	hg_module_free(m);
	free(text);
}

Test(lower, recursive_functions_have_code_of_their_own_and_a_stack)
{
	struct hg_module *m = load_text(PTX_HEAD ".func b(); .func a() { call b; ret; } .func b() { .reg .pred %p; @%p call a; @!%p call b; ret; }\n"
		".visible .entry k() {\ncall a;\nret; } .visible .entry other() { ret; }");
	char *ir = ir_text(hg_module_ir(m));

	cr_expect_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
	cr_expect(strstr(ir, "uses stack") && strstr(ir, "trap.stack") && strstr(ir, "$local_size") && strstr(ir, "brx"), "%s", ir);
	cr_expect(hg_module_ir(m)->func[0].uses_stack && !hg_module_ir(m)->func[1].uses_stack);
	free(ir);
	hg_module_free(m);
}

Test(lower, a_call_through_a_pointer_compares_with_the_functions_it_may_mean)
{
	struct hg_module *m = load_text(PTX_HEAD
		".func (.param .b32 r) one(.param .b32 x) { st.param.b32 [r], 11; ret; }\n"
		".func (.param .b32 r) two(.param .b32 x) { st.param.b32 [r], 22; ret; }\n"
		".func (.param .b64 r) wide(.param .b32 x) { st.param.b64 [r], 33; ret; }\n"
		".global .u64 table[3] = {one, two, wide};\n"
		".visible .entry k(.param .u64 p) { .reg .b64 %rd<4>; .reg .b32 %r;\n"
		"ld.param.u64 %rd1, [p]; ld.global.u64 %rd2, [table+8];\n"
		"{ .param .b32 a; .param .b32 r; st.param.b32 [a], 1; call (r), %rd2, (a), proto; ld.param.b32 %r, [r]; }\n"
		"proto: .callprototype (.param .b32 _) _ (.param .b32 _);\n"
		"st.global.u32 [%rd1], %r; mov.u64 %rd3, two; st.global.u64 [%rd1+8], %rd3; ret; }");
	const struct hg_var_info *v = hg_module_var(m, 0);
	uint64_t table[3];
	char line[64], *ir = ir_text(hg_module_ir(m));

	cr_expect_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
	cr_assert(v->init && v->nr_relocs == 0);
	memcpy(table, v->init, sizeof(table));
	cr_expect(table[0] && table[0] != table[1] && table[1] != table[2]);
	for (int i = 0; i < 3; i++) {
		snprintf(line, sizeof(line), ", 0x%lx", (unsigned long)table[i]);
		/* wide gives another size of result, and is not meant. */
		cr_expect_eq(strstr(ir, line) != NULL, i < 2, "%d: %s\n%s", i, line, ir);
	}
	cr_expect(strstr(ir, "\ttrap ;"), "%s", ir);
	cr_expect(!strstr(ir, "0x21"));
	free(ir);
	hg_module_free(m);
}

Test(lower, the_scratch_of_cuda_s_headers_lies_in_shared_memory)
{
	struct hg_module *m = load_text(PTX_HEAD
		".shared .align 4 .b8 own[20];\n"
		".visible .entry k() { .reg .b32 %r<4>; .reg .b64 %rd<3>; ld.shared.u32 %r1, [own+4];\n"
		"{ .reg .u32 start; .reg .u64 extended; mov.u32 start, %reserved_smem_offset_1;\n"
		"cvt.u64.u32 extended, start; cvta.shared.u64 %rd1, extended; } st.u32 [%rd1], %r1; ret; }");

	cr_expect_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
	cr_expect_eq(hg_module_kernel(m, 0)->shared_bytes, 128 + 1024);
	cr_expect(hg_module_ir(m)->func[0].needs_zeroed_shared);
	hg_module_free(m);
}

Test(lower, system_calls_are_operations_or_refused_by_name)
{
	static const char externs[] = PTX_HEAD
		".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
		".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 s);\n"
		".extern .func (.param .b64 r) malloc(.param .b64 s);\n.extern .func (.param .b32 r) foreign(.param .b32 s);\n";
	char text[2000], *ir;
	struct hg_module *m;

	snprintf(text, sizeof(text), "%s%s", externs,
		 ".global .b8 text[4];\n.visible .entry p() { .param .b64 a; .param .b64 b; .param .b32 r; .reg .b32 %r; .reg .b64 %a;\n"
		 "cvta.global.u64 %a, text; st.param.b64 [a], %a; st.param.b64 [b], 8; call (r), vprintf, (a, b);\n"
		 "ld.param.b32 %r, [r]; st.global.b32 [%a], %r; ret; }\n"
		 ".visible .entry q() { .param .b64 a; .param .b32 b; call __assertfail, (a, a, b, a, a); ret; }\n"
		 ".visible .entry r() { .param .b64 a; call (a), malloc, (a); ret; }\n"
		 ".visible .entry s() { .param .b32 a; call (a), foreign, (a); ret; }\n");
	m = load_text(text);
	cr_expect_eq(hg_module_kernel(m, 0)->refused, NULL);
	cr_expect_eq(hg_module_kernel(m, 1)->refused, NULL);
	ir = ir_text(hg_module_ir(m));
	cr_expect(strstr(ir, " = vprintf.b64 %d"), "%s", ir);
	cr_expect(strstr(ir, "\tassertfail.b64 "), "%s", ir);
	free(ir);
	cr_expect_eq(hg_module_kernel(m, 2)->refused, NULL);	/* the support library's */
	cr_expect(strstr(hg_module_kernel(m, 3)->refused, "function 'foreign' is defined nowhere"));
	hg_module_free(m);
}

Test(lower, all_that_a_kernel_lacks_is_told_once)
{
	struct hg_module *m = load_text(PTX_HEAD ".extern .func foreign();\n.func helper() {\nfrob.u32 1;\nret;\n}\n"
		".visible .entry k() {\n.reg .b32 %r<3>;\ncall helper;\nfrob.u32 %r1, 2;\nadd.u32 %r1, %r1, 1;\n"
		"call helper;\ncall foreign;\nadd.rn.u32 %r1, 1;\nret;\n}\n.visible .entry good() { ret; }");
	const struct ir_func *fn = &hg_module_ir(m)->func[0];

	cr_assert_eq(fn->nr_refusals, 3, "%u", fn->nr_refusals);
	cr_expect_eq(fn->refusal[0].line, 6);
	cr_expect_str_eq(fn->refusal[0].function, "helper");
	cr_expect_str_eq(fn->refusal[0].insn, "frob.u32 1");
	cr_expect_str_eq(fn->refusal[0].why, "not supported");
	cr_expect_eq(fn->refusal[1].line, 12);
	cr_expect_eq(fn->refusal[1].function, NULL);
	cr_expect_eq(fn->refusal[2].line, 15);
	cr_expect_str_eq(fn->refusal[2].why, "function 'foreign' is defined nowhere");
	/* The first is the reason, as ever; what looks malformed behind it does not fail the module. */
	cr_expect(strstr(fn->refused, "line 6 in 'helper': 'frob.u32 1': not supported"), "%s", fn->refused);
	cr_expect_eq(fn->nr_blocks, 0);
	cr_expect_eq(hg_module_ir(m)->func[1].nr_refusals, 0);
	cr_expect_eq(hg_module_ir(m)->func[1].refused, NULL);
	hg_module_free(m);
}

Test(lower, a_kernel_that_lacks_very_much_tells_the_first)
{
	char body[4000] = "";
	struct hg_module *m;
	char text[5000];

	for (int i = 0; i < 200; i++)
		strcat(body, "frob.u32 1;\n");
	m = load_text(kernel_around("", body, "", text, sizeof(text)));
	cr_expect_eq(hg_module_ir(m)->func[0].nr_refusals, 64);
	hg_module_free(m);
}

Test(lower, a_grid_wide_barrier_is_noticed)
{
	struct hg_module *m = load_text(KERNEL("mov.u32 %r1, %envreg1; mov.u32 %r2, %envreg2; st.global.v2.u32 [%rd1], {%r1, %r2};"));

	cr_expect(hg_module_kernel(m, 0)->uses_grid_sync);
	hg_module_free(m);
}

Test(lower, limits_of_threads_are_kept)
{
	struct hg_module *m = load_text(PTX_HEAD ".visible .entry a() .maxntid 32, 4, 2 .minnctapersm 2 { ret; }\n"
		".visible .entry b() .reqntid 16, 2 .maxnreg 64 { ret; }\n.visible .entry c() { ret; }");

	cr_expect_eq(hg_module_kernel(m, 0)->max_threads, 256);
	cr_expect_eq(hg_module_kernel(m, 1)->max_threads, 32);
	cr_expect_eq(hg_module_kernel(m, 1)->req_threads[0], 16);
	cr_expect_eq(hg_module_kernel(m, 1)->req_threads[2], 1);
	cr_expect_eq(hg_module_kernel(m, 2)->max_threads, 1024);
	hg_module_free(m);
}

/* Why a kernel with this instruction is refused. */
static void expect_refused(const char *insn, const char *why)
{
	char text[4096];
	struct hg_module *m = load_text(kernel_around("", insn, "", text, sizeof(text)));
	const char *refused = hg_module_kernel(m, 0)->refused;

	cr_expect(refused && strstr(refused, why), "'%s': %s", insn, refused ? refused : "taken");
	hg_module_free(m);
}

Test(lower, an_mbarrier_is_a_word_and_its_operations_are_atomic)
{
	expect_lines("mbarrier.init.shared.b64 [%r1], 32;", "st.shared.b64 %r0, 0, 0x2000020\n");
	expect_lines("mbarrier.arrive.shared.b64 _, [%r1+8];", "\tatom.mbarrier.release.cta.shared.b64 %r0, 8, 0x1\n");
	expect_lines("mbarrier.arrive_drop.shared.b64 _, [%r1], 2;", "atom.mbarrier.release.cta.shared.b64 %r0, 0, 0x200002\n");
	expect_lines("mbarrier.arrive.expect_tx.shared.b64 _, [%r1], 4;", "atom.mbarrier.release.cta.shared.b64 %r0, 0, 0x100000000001\n");
	expect_lines("mbarrier.complete_tx.shared.b64 [%r1], 1;", "atom.mbarrier.relaxed.cta.shared.b64 %r0, 0, 0xfffffc0000000000\n");
	expect_lines("cp.async.mbarrier.arrive.noinc.shared.b64 [%r1];", "atom.mbarrier.release.cta.shared.b64 %r0, 0, 0x1\n");
	expect_lines("@%p1 mbarrier.arrive.b64 %rd1, [%rd2]; st.global.u64 [%rd2], %rd1;", "@%p0 %d1 = atom.mbarrier.release.cta.b64 %d2, 0, 0x1\n");
}

Test(lower, a_sum_of_floats_in_global_memory_is_flushed)
{
	expect_lines("red.global.add.f32 [%rd1], %f1;", "atom.add.relaxed.gpu.global.ftz.f32 %d1, 0, %r0\n");
	expect_lines("red.shared.add.f32 [%r1], %f1;", "atom.add.relaxed.gpu.shared.f32 %r0, 0, %r1\n");
	expect_lines("red.global.v2.f32.add [%rd1+8], {%f1, %f2};",
		     "atom.add.relaxed.gpu.global.ftz.f32 %d2, 8, %r0\n\tatom.add.relaxed.gpu.global.ftz.f32 %d2, 12, %r1\n");
}

Test(lower, what_memory_cannot_do_here_is_refused_by_name)
{
	expect_refused("red.async.relaxed.cluster.global.mbarrier::complete_tx::bytes.inc.shared::cluster.u32 [%r1], %r2, [%r3];", "red.async");
	expect_refused("red.async.relaxed.cluster.inc.shared::cluster.u32 [%r1], %r2;", "async");
	expect_refused("st.async.weak.shared::cluster.u32 [%r1], %r2;", "async");
	expect_refused("cp.async.bulk.commit_group;", "bulk");
	expect_refused("barrier.cluster.arrive;", "cluster");
	expect_refused("atom.global.min.f32 %f1, [%rd1], %f2;", "f32");
	expect_refused("atom.global.v2.u32.add {%r1, %r2}, [%rd1], {%r3, %r4};", "vector");
	expect_refused("redux.sync.add.f32 %f1, %f2, -1;", "f32");
	expect_refused("redux.sync.add.u64 %rd1, %rd2, -1;", "u64");
	expect_refused("mov.u32 %r1, %envreg7;", "envreg");
	expect_refused("fence.proxy.magic;", "magic");
}
