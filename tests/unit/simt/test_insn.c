/* test_insn.c - what single instructions compute in the doubles' executor, and as SPIR-V: the same bits as on the CPU target. */
#include <fenv.h>
#include <math.h>

#include <unistd.h>

#include "tests/drivers/simt/simt_float.h"
#include "tests/drivers/simt/simt_llvm.h"
#include "tests/unit/simt/simt_test.h"

#define NR(a) (sizeof(a) / sizeof((a)[0]))

static const uint64_t ints[] = {
	0, 1, 2, 3, 7, 31, 32, 33, 64, 100, 0x7fff, 0x8000, 0xffff, 0x12345678, 0x7fffffff, 0x80000000, 0xffffffff,
	0xdeadbeef, 0x100000000, 0x123456789abcdef0, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX,
};
static const uint64_t floats[] = {
	0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x00800001, 0x3f800000, 0xbf800000, 0x3fc00000, 0xc0200000, 0x40200000,
	0x3dcccccd, 0x3eaaaaab, 0x4b800001, 0xcb7fffff, 0x4effffff, 0x4f000000, 0xcf000000, 0x4f800000, 0x5f000000, 0x7f7fffff,
	0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x1e3ce508, 0x3f7fffff, 0x3f000000,
};
static const uint64_t doubles[] = {
	0, UINT64_C(1) << 63, 1, 0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0xbff8000000000000, 0x4004000000000000,
	0x3fb999999999999a, 0x3fd5555555555555, 0x41dfffffffc00000, 0x41e0000000000000, 0xc1e0000000200000, 0x43e0000000000000,
	0x47efffffefffffff, 0x47f0000000000000, 0x36a0000000000001, 0x7fefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000,
	0x7ff8000000000000, 0x7ff0000000000001, 0x4330000000000001, 0xbfe0000000000000, 0xfffc000000000001,
};
/* pairs of 16-bit floats; the low one alone is used for f16 and bf16 */
static const uint64_t pairs[] = {
	0, 0x80008000, 0x00010001, 0x83ff8001, 0x04000400, 0x3c003c01, 0xbc00c000, 0x7bff7bff, 0xfbff0001, 0x7c00fc00, 0x7e007c01,
	0x3555ae66, 0x3f803f80, 0xbf804049, 0x7f7f7f80, 0x0080007f, 0x3dcdbeaa, 0xffff7fff, 0x12345678, 0x4c004c01, 0xc8003a00,
};

enum { MAX_OUT = 64, MAX_ITEMS = 32768 };

static void list_of(char kind, const uint64_t **list, size_t *nr)
{
	switch (kind) {
	case 'f': *list = floats; *nr = NR(floats); break;
	case 'g': *list = doubles; *nr = NR(doubles); break;
	case 'H': case 'P': *list = pairs; *nr = NR(pairs); break;
	default: *list = ints; *nr = NR(ints); break;
	}
}

static const char *reg(char kind)
{
	switch (kind) {
	case 'h': case 'H': return "%h";
	case 'r': case 'P': return "%r";
	case 'f': return "%f";
	case 'g': return "%fd";
	default: return "%rd";
	}
}

static const char *type(char kind)
{
	switch (kind) {
	case 'h': case 'H': return "u16";
	case 'r': case 'P': return "u32";
	case 'f': return "f32";
	case 'g': return "f64";
	default: return "u64";
	}
}

/*
 * Each instruction, "k insn": sources are registers 1 to 3 of kind `in`, the destination register 4 of kind k. All of them
 * run for each combination of operands.
 */
static void check(char in, int operands, const char *const *insn, size_t nr)
{
	static uint64_t data[MAX_ITEMS * 3], *out;
	struct { void *p; uint32_t n, stride; void *out; } params;
	struct kernel_run r = { .block = { 96 }, .params = &params };
	char *ptx = malloc(64 << 10), *at = ptx;
	const uint64_t *list;
	uint64_t *cpu;
	size_t nr_list, n = 0;
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	struct hg_fault fault;
	struct hg_grid g;
	enum hg_status st;
	char why[256];

	list_of(in, &list, &nr_list);
	for (size_t i = 0; i < nr_list; i++)
		for (size_t j = 0; j < (operands > 1 ? nr_list : 1); j++)
			for (size_t l = 0; l < (operands > 2 ? nr_list : 1); l++) {
				cr_assert_lt(n, MAX_ITEMS);
				data[3 * n] = list[i];
				data[3 * n + 1] = list[j];
				data[3 * n + 2] = list[l];
				n++;
			}
	at += sprintf(at, PTX_HEAD ".visible .entry k(.param .u64 p, .param .u32 n, .param .u32 stride, .param .u64 out) {\n"
		      ".reg .pred %%p<9>; .reg .b16 %%h<9>; .reg .b32 %%r<12>; .reg .f32 %%f<9>; .reg .b64 %%rd<12>; .reg .f64 %%fd<9>;\n"
		      "ld.param.u64 %%rd8, [p]; ld.param.u32 %%r8, [n]; ld.param.u64 %%rd9, [out]; ld.param.u32 %%r9, [stride];\n"
		      "mov.u32 %%r7, %%ctaid.x; mov.u32 %%r6, %%ntid.x; mov.u32 %%r5, %%tid.x;\n"
		      "mad.lo.u32 %%r7, %%r7, %%r6, %%r5; setp.ge.u32 %%p8, %%r7, %%r8; @%%p8 bra DONE;\n"
		      "mul.wide.u32 %%rd7, %%r7, 24; add.u64 %%rd8, %%rd8, %%rd7; mul.wide.u32 %%rd7, %%r7, %%r9; add.u64 %%rd9, %%rd9, %%rd7;\n");
	for (size_t i = 0; i < nr; i++) {
		char kind = insn[i][0];

		for (int o = 0; o < 3; o++)
			at += sprintf(at, "ld.global.%s %s%d, [%%rd8+%d];\n", type(in), reg(in), o + 1, o * 8);
		at += sprintf(at, "%s\nst.global.%s [%%rd9+%zu], %s4;\n", insn[i] + 2, type(kind), i * 8, reg(kind));
	}
	strcpy(at, "DONE: ret;\n}\n");
	out = calloc(n * nr, 8);
	cpu = calloc(n * nr, 8);
	params.p = data;
	params.n = (uint32_t)n;
	params.stride = (uint32_t)nr * 8;
	params.out = cpu;
	r.grid[0] = (uint32_t)(n + 95) / 96;
	setenv("HGSHIM_CACHE", "0", 1);
	k = kernel_of(ptx, &m, &cm);
	g = grid_of(&r);
	cr_assert_eq(hg_grid_run(k, &g, &fault), HG_OK);
	params.out = out;
	st = simt_once(hg_module_ir(m), 0, &r, NULL, why, sizeof(why));
	cr_assert_eq(st, HG_OK, "%s: %s", hg_status_text(st), why);
	for (size_t i = 0; i < n * nr; i++)
		cr_assert_eq(out[i], cpu[i], "%s of %llx %llx %llx gave %llx, on the CPU target %llx", insn[i % nr] + 2,
			     (unsigned long long)data[i / nr * 3], (unsigned long long)data[i / nr * 3 + 1],
			     (unsigned long long)data[i / nr * 3 + 2], (unsigned long long)out[i], (unsigned long long)cpu[i]);
	for (int how = SPIRV_DIRECT; how <= SPIRV_NO_F64; how++) {
		const char *form = how == SPIRV_NO_F64 ? "SPIR-V without f64" : "SPIR-V";

		if (how == SPIRV_SCHEDULED)
			continue;
		memset(out, 0, n * nr * 8);
		st = spirv_once(hg_module_ir(m), how, &r, why, sizeof(why));
		cr_assert_eq(st, HG_OK, "as %s: %s: %s", form, hg_status_text(st), why);
		for (size_t i = 0; i < n * nr; i++)
			cr_assert_eq(out[i], cpu[i], "%s of %llx %llx %llx as %s gave %llx, on the CPU target %llx", insn[i % nr] + 2,
				     (unsigned long long)data[i / nr * 3], (unsigned long long)data[i / nr * 3 + 1],
				     (unsigned long long)data[i / nr * 3 + 2], form, (unsigned long long)out[i], (unsigned long long)cpu[i]);
	}
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	free(out);
	free(cpu);
	free(ptx);
}

#define CHECK(in, operands, ...) do {				\
	static const char *const list_[] = { __VA_ARGS__ };	\
								\
	check(in, operands, list_, NR(list_));			\
} while (0)

Test(simt_insn, integers)
{
	CHECK('r', 2, "r add.u32 %r4, %r1, %r2;", "r sub.s32 %r4, %r1, %r2;", "r mul.lo.s32 %r4, %r1, %r2;",
	      "r mul.hi.u32 %r4, %r1, %r2;", "r mul.hi.s32 %r4, %r1, %r2;", "d mul.wide.s32 %rd4, %r1, %r2;",
	      "d mul.wide.u32 %rd4, %r1, %r2;", "r add.sat.s32 %r4, %r1, %r2;", "r sub.sat.s32 %r4, %r1, %r2;",
	      "r min.s32 %r4, %r1, %r2;", "r max.u32 %r4, %r1, %r2;", "r max.s32 %r4, %r1, %r2;", "r min.u32 %r4, %r1, %r2;",
	      "r abs.s32 %r4, %r1;", "r neg.s32 %r4, %r1;", "r div.u32 %r4, %r1, %r2;", "r rem.u32 %r4, %r1, %r2;",
	      "r div.s32 %r4, %r1, %r2;", "r rem.s32 %r4, %r1, %r2;", "r mul24.lo.u32 %r4, %r1, %r2;", "r mul24.hi.s32 %r4, %r1, %r2;",
	      "r add.cc.u32 %r5, %r1, %r2; addc.u32 %r4, %r1, 0;", "r sub.cc.u32 %r5, %r1, %r2; subc.u32 %r4, %r2, 3;",
	      "r add.cc.u32 %r5, %r1, %r2; addc.cc.u32 %r5, %r5, %r1; addc.u32 %r4, %r5, %r2;",
	      "r shl.b32 %r4, %r1, %r2;", "r shr.u32 %r4, %r1, %r2;", "r shr.s32 %r4, %r1, %r2;", "r and.b32 %r4, %r1, %r2;",
	      "r or.b32 %r4, %r1, %r2;", "r xor.b32 %r4, %r1, %r2;", "r not.b32 %r4, %r1;", "r cnot.b32 %r4, %r1;",
	      "r clz.b32 %r4, %r1;", "r popc.b32 %r4, %r1;", "r brev.b32 %r4, %r1;", "r bfind.u32 %r4, %r1;", "r bfind.s32 %r4, %r1;",
	      "r bfind.shiftamt.u32 %r4, %r1;", "r bfind.shiftamt.s32 %r4, %r1;");
	CHECK('r', 3, "r mad.lo.s32 %r4, %r1, %r2, %r3;", "r mad.hi.s32 %r4, %r1, %r2, %r3;",
	      "d cvt.u64.u32 %rd1, %r3; mad.wide.s32 %rd4, %r1, %r2, %rd1;", "r sad.s32 %r4, %r1, %r2, %r3;", "r sad.u32 %r4, %r1, %r2, %r3;",
	      "r mad.lo.cc.u32 %r5, %r1, %r2, %r3; madc.hi.u32 %r4, %r1, %r2, %r3;",
	      "r mad.hi.cc.u32 %r5, %r1, %r2, %r3; madc.lo.cc.u32 %r5, %r1, %r5, %r3; addc.u32 %r4, %r5, 0;",
	      "r bfe.u32 %r4, %r1, %r2, %r3;", "r bfe.s32 %r4, %r1, %r2, %r3;", "r bfi.b32 %r4, %r1, %r2, %r3, 9;",
	      "r bfi.b32 %r4, %r1, %r2, 5, %r3;", "r lop3.b32 %r4, %r1, %r2, %r3, 0x96;", "r lop3.b32 %r4, %r1, %r2, %r3, 0x2a;",
	      "r shf.l.wrap.b32 %r4, %r1, %r2, %r3;", "r shf.r.wrap.b32 %r4, %r1, %r2, %r3;", "r shf.l.clamp.b32 %r4, %r1, %r2, %r3;",
	      "r shf.r.clamp.b32 %r4, %r1, %r2, %r3;", "r prmt.b32 %r4, %r1, %r2, %r3;", "r prmt.b32.f4e %r4, %r1, %r2, %r3;",
	      "r prmt.b32.b4e %r4, %r1, %r2, %r3;", "r prmt.b32.rc8 %r4, %r1, %r2, %r3;", "r prmt.b32.ecl %r4, %r1, %r2, %r3;",
	      "r prmt.b32.ecr %r4, %r1, %r2, %r3;", "r prmt.b32.rc16 %r4, %r1, %r2, %r3;", "r dp4a.s32.s32 %r4, %r1, %r2, %r3;",
	      "r dp4a.u32.s32 %r4, %r1, %r2, %r3;", "r dp4a.s32.u32 %r4, %r1, %r2, %r3;", "r dp4a.u32.u32 %r4, %r1, %r2, %r3;",
	      "r dp2a.lo.s32.u32 %r4, %r1, %r2, %r3;", "r dp2a.hi.u32.s32 %r4, %r1, %r2, %r3;", "r slct.s32.s32 %r4, %r1, %r2, %r3;",
	      "r setp.ne.u32 %p1, %r3, 7; selp.b32 %r4, %r1, %r2, %p1;", "r bmsk.clamp.b32 %r4, %r1, %r2;");
}

Test(simt_insn, integers_of_64_and_16_bits)
{
	CHECK('d', 2, "d add.u64 %rd4, %rd1, %rd2;", "d mul.lo.u64 %rd4, %rd1, %rd2;", "d mul.hi.u64 %rd4, %rd1, %rd2;",
	      "d mul.hi.s64 %rd4, %rd1, %rd2;", "d div.u64 %rd4, %rd1, %rd2;", "d rem.u64 %rd4, %rd1, %rd2;",
	      "d div.s64 %rd4, %rd1, %rd2;", "d rem.s64 %rd4, %rd1, %rd2;", "d min.s64 %rd4, %rd1, %rd2;", "d max.u64 %rd4, %rd1, %rd2;",
	      "d add.cc.u64 %rd5, %rd1, %rd2; addc.u64 %rd4, %rd1, 0;", "d sub.cc.u64 %rd5, %rd1, %rd2; subc.u64 %rd4, %rd2, 0;",
	      "d cvt.u32.u64 %r1, %rd2; shl.b64 %rd4, %rd1, %r1;", "d cvt.u32.u64 %r1, %rd2; shr.s64 %rd4, %rd1, %r1;",
	      "r clz.b64 %r4, %rd1;", "r popc.b64 %r4, %rd1;", "d brev.b64 %rd4, %rd1;", "r bfind.s64 %r4, %rd1;",
	      "d cvt.u32.u64 %r1, %rd2; bfe.s64 %rd4, %rd1, %r1, 13;", "d cvt.u32.u64 %r1, %rd2; bfe.u64 %rd4, %rd1, 3, %r1;",
	      "d cvt.u32.u64 %r1, %rd2; bfi.b64 %rd4, %rd1, %rd2, %r1, 20;", "d abs.s64 %rd4, %rd1;",
	      "r setp.lt.s64 %p1, %rd1, %rd2; selp.u32 %r4, 1, 0, %p1;", "r setp.ls.u64 %p1, %rd1, %rd2; selp.u32 %r4, 1, 0, %p1;",
	      "r mov.b64 {%r4, %r5}, %rd1;", "r mov.b64 {%r5, %r4}, %rd1;", "d mov.b64 {%r1, %r2}, %rd1; mov.b64 %rd4, {%r2, %r1};");
	CHECK('h', 2, "h add.s16 %h4, %h1, %h2;", "h mul.lo.s16 %h4, %h1, %h2;", "h mul.hi.s16 %h4, %h1, %h2;", "r mul.wide.s16 %r4, %h1, %h2;",
	      "h div.s16 %h4, %h1, %h2;", "h rem.u16 %h4, %h1, %h2;", "h min.u16 %h4, %h1, %h2;", "h max.s16 %h4, %h1, %h2;",
	      "h cvt.u32.u16 %r1, %h2; shl.b16 %h4, %h1, %r1;", "h cvt.u32.u16 %r1, %h2; shr.s16 %h4, %h1, %r1;",
	      "h xor.b16 %h4, %h1, %h2;", "r mov.b32 %r4, {%h1, %h2};", "r setp.lt.s16 %p1, %h1, %h2; selp.u32 %r4, 1, 0, %p1;");
}

Test(simt_insn, conversions_of_integers)
{
	CHECK('r', 1, "d cvt.s64.s32 %rd4, %r1;", "d cvt.u64.u32 %rd4, %r1;", "h cvt.u16.u32 %h4, %r1;", "r cvt.s32.s8 %r4, %r1;",
	      "r cvt.u32.u8 %r4, %r1;", "r cvt.sat.u8.s32 %r4, %r1;", "r cvt.sat.s8.u32 %r4, %r1;", "r cvt.sat.s8.s32 %r4, %r1;",
	      "r cvt.sat.u32.s32 %r4, %r1;", "r cvt.sat.s32.u32 %r4, %r1;", "h cvt.sat.u16.u32 %h4, %r1;", "d cvt.sat.u64.s32 %rd4, %r1;",
	      "f cvt.rn.f32.s32 %f4, %r1;", "f cvt.rn.f32.u32 %f4, %r1;", "f cvt.rz.f32.s32 %f4, %r1;", "f cvt.rm.f32.s32 %f4, %r1;",
	      "f cvt.rp.f32.u32 %f4, %r1;", "g cvt.rn.f64.s32 %fd4, %r1;", "f cvt.rn.sat.f32.s32 %f4, %r1;", "h cvt.rn.f16.s32 %h4, %r1;",
	      "h cvt.rn.f16.u32 %h4, %r1;");
	CHECK('d', 1, "r cvt.u32.u64 %r4, %rd1;", "r cvt.sat.s32.s64 %r4, %rd1;", "r cvt.sat.u32.s64 %r4, %rd1;", "r cvt.sat.s32.u64 %r4, %rd1;",
	      "f cvt.rn.f32.s64 %f4, %rd1;", "f cvt.rn.f32.u64 %f4, %rd1;", "f cvt.rz.f32.u64 %f4, %rd1;", "f cvt.rp.f32.s64 %f4, %rd1;",
	      "f cvt.rm.f32.s64 %f4, %rd1;", "g cvt.rn.f64.s64 %fd4, %rd1;", "g cvt.rn.f64.u64 %fd4, %rd1;", "g cvt.rz.f64.s64 %fd4, %rd1;",
	      "g cvt.rn.sat.f64.s64 %fd4, %rd1;", "g cvt.rp.sat.f64.u64 %fd4, %rd1;",
	      "g cvt.rp.f64.u64 %fd4, %rd1;", "g cvt.rm.f64.s64 %fd4, %rd1;");
}

Test(simt_insn, floats_of_two_operands)
{
	CHECK('f', 2, "f add.rn.f32 %f4, %f1, %f2;", "f sub.rn.f32 %f4, %f1, %f2;", "f mul.rn.f32 %f4, %f1, %f2;", "f div.rn.f32 %f4, %f1, %f2;",
	      "f add.rz.f32 %f4, %f1, %f2;", "f add.rm.f32 %f4, %f1, %f2;", "f add.rp.f32 %f4, %f1, %f2;", "f sub.rz.f32 %f4, %f1, %f2;",
	      "f sub.rm.f32 %f4, %f1, %f2;", "f sub.rp.f32 %f4, %f1, %f2;", "f mul.rz.f32 %f4, %f1, %f2;", "f mul.rm.f32 %f4, %f1, %f2;",
	      "f mul.rp.f32 %f4, %f1, %f2;", "f div.rz.f32 %f4, %f1, %f2;", "f div.rm.f32 %f4, %f1, %f2;", "f div.rp.f32 %f4, %f1, %f2;",
	      "f add.ftz.f32 %f4, %f1, %f2;", "f mul.ftz.f32 %f4, %f1, %f2;", "f add.sat.f32 %f4, %f1, %f2;", "f mul.ftz.sat.f32 %f4, %f1, %f2;",
	      "f add.rz.ftz.sat.f32 %f4, %f1, %f2;", "f div.approx.f32 %f4, %f1, %f2;", "f div.approx.ftz.f32 %f4, %f1, %f2;",
	      "f div.full.f32 %f4, %f1, %f2;", "f min.f32 %f4, %f1, %f2;", "f max.f32 %f4, %f1, %f2;", "f min.NaN.f32 %f4, %f1, %f2;",
	      "f max.NaN.f32 %f4, %f1, %f2;", "f max.ftz.f32 %f4, %f1, %f2;", "f min.xorsign.abs.f32 %f4, %f1, %f2;",
	      "f max.NaN.xorsign.abs.f32 %f4, %f1, %f2;", "f copysign.f32 %f4, %f1, %f2;", "f set.gt.f32.f32 %f4, %f1, %f2;",
	      "r set.ltu.u32.f32 %r4, %f1, %f2;", "f slct.f32.f32 %f4, %f1, %f2, %f2;", "f slct.ftz.f32.f32 %f4, %f1, %f2, %f1;");
	CHECK('g', 2, "g add.rn.f64 %fd4, %fd1, %fd2;", "g sub.rn.f64 %fd4, %fd1, %fd2;", "g mul.rn.f64 %fd4, %fd1, %fd2;",
	      "g add.rz.f64 %fd4, %fd1, %fd2;", "g add.rm.f64 %fd4, %fd1, %fd2;", "g add.rp.f64 %fd4, %fd1, %fd2;",
	      "g mul.rz.f64 %fd4, %fd1, %fd2;", "g mul.rm.f64 %fd4, %fd1, %fd2;", "g mul.rp.f64 %fd4, %fd1, %fd2;", "g sub.rm.f64 %fd4, %fd1, %fd2;");
	CHECK('g', 2, "g div.rn.f64 %fd4, %fd1, %fd2;", "g div.rz.f64 %fd4, %fd1, %fd2;",
	      "g div.rm.f64 %fd4, %fd1, %fd2;", "g div.rp.f64 %fd4, %fd1, %fd2;", "g min.f64 %fd4, %fd1, %fd2;", "g max.f64 %fd4, %fd1, %fd2;",
	      "g copysign.f64 %fd4, %fd1, %fd2;", "g neg.f64 %fd4, %fd1; copysign.f64 %fd4, %fd4, %fd2;",
	      "d min.f64 %fd4, %fd1, %fd2; mov.b64 %rd4, %fd4;", "r set.lt.u32.f64 %r4, %fd1, %fd2;", "f set.neu.f32.f64 %f4, %fd1, %fd2;",
	      "r setp.ne.f64 %p2, %fd2, %fd2; set.ge.and.s32.f64 %r4, %fd1, %fd2, !%p2;",
	      "g setp.lt.f64 %p1, %fd1, %fd2; selp.f64 %fd4, %fd1, %fd2, %p1;", "g cvt.rn.f32.f64 %f1, %fd2; slct.f64.f32 %fd4, %fd1, %fd2, %f1;",
	      "r setp.le.f64 %p3, %fd2, 0d3FF0000000000000; setp.eq.xor.f64 %p1|%p2, %fd1, %fd2, %p3; selp.u32 %r4, 1, 0, %p1; selp.u32 %r5, 2, 0, %p2; or.b32 %r4, %r4, %r5;");
#define COMPARED(cmp) "r setp." cmp ".f64 %p1, %fd1, %fd2; selp.u32 %r4, 1, 0, %p1;"
	CHECK('g', 2, COMPARED("eq"), COMPARED("ne"), COMPARED("lt"), COMPARED("le"), COMPARED("gt"), COMPARED("ge"), COMPARED("equ"), COMPARED("neu"),
	      COMPARED("ltu"), COMPARED("leu"), COMPARED("gtu"), COMPARED("geu"), COMPARED("num"), COMPARED("nan"));
#undef COMPARED
}

Test(simt_insn, fused_multiply_and_add)
{
	CHECK('f', 3, "f fma.rn.f32 %f4, %f1, %f2, %f3;", "f fma.rz.f32 %f4, %f1, %f2, %f3;", "f fma.rm.f32 %f4, %f1, %f2, %f3;",
	      "f fma.rp.f32 %f4, %f1, %f2, %f3;", "f fma.rn.ftz.f32 %f4, %f1, %f2, %f3;", "f fma.rn.sat.f32 %f4, %f1, %f2, %f3;",
	      "f fma.rz.ftz.f32 %f4, %f1, %f2, %f3;", "f mad.rn.f32 %f4, %f1, %f2, %f3;");
	CHECK('g', 3, "g fma.rn.f64 %fd4, %fd1, %fd2, %fd3;", "g fma.rz.f64 %fd4, %fd1, %fd2, %fd3;", "g fma.rm.f64 %fd4, %fd1, %fd2, %fd3;",
	      "g fma.rp.f64 %fd4, %fd1, %fd2, %fd3;");
}

Test(simt_insn, floats_of_one_operand)
{
	CHECK('f', 1, "f rcp.rn.f32 %f4, %f1;", "f rcp.rz.f32 %f4, %f1;", "f rcp.rm.f32 %f4, %f1;", "f rcp.rp.f32 %f4, %f1;",
	      "f rcp.approx.f32 %f4, %f1;", "f rcp.approx.ftz.f32 %f4, %f1;", "f sqrt.rn.f32 %f4, %f1;", "f sqrt.rz.f32 %f4, %f1;",
	      "f sqrt.rm.f32 %f4, %f1;", "f sqrt.rp.f32 %f4, %f1;", "f sqrt.approx.f32 %f4, %f1;", "f rsqrt.approx.f32 %f4, %f1;",
	      "f rsqrt.approx.ftz.f32 %f4, %f1;", "f neg.f32 %f4, %f1;", "f abs.ftz.f32 %f4, %f1;", "f sin.approx.f32 %f4, %f1;",
	      "f cos.approx.f32 %f4, %f1;", "f ex2.approx.f32 %f4, %f1;", "f ex2.approx.ftz.f32 %f4, %f1;", "f lg2.approx.f32 %f4, %f1;",
	      "f lg2.approx.ftz.f32 %f4, %f1;", "f tanh.approx.f32 %f4, %f1;",
	      "r testp.finite.f32 %p1, %f1; selp.u32 %r4, 1, 0, %p1;", "r testp.infinite.f32 %p1, %f1; selp.u32 %r4, 1, 0, %p1;",
	      "r testp.number.f32 %p1, %f1; selp.u32 %r4, 1, 0, %p1;", "r testp.notanumber.f32 %p1, %f1; selp.u32 %r4, 1, 0, %p1;",
	      "r testp.normal.f32 %p1, %f1; selp.u32 %r4, 1, 0, %p1;", "r testp.subnormal.f32 %p1, %f1; selp.u32 %r4, 1, 0, %p1;");
	CHECK('g', 1, "g rcp.rn.f64 %fd4, %fd1;", "g rcp.rp.f64 %fd4, %fd1;", "g rcp.rz.f64 %fd4, %fd1;", "g sqrt.rz.f64 %fd4, %fd1;",
	      "g rsqrt.approx.ftz.f64 %fd4, %fd1;", "g sqrt.rn.f64 %fd4, %fd1;", "g sqrt.rm.f64 %fd4, %fd1;",
	      "g sqrt.rp.f64 %fd4, %fd1;", "g rsqrt.approx.f64 %fd4, %fd1;", "g rcp.approx.ftz.f64 %fd4, %fd1;", "g neg.f64 %fd4, %fd1;",
	      "g abs.f64 %fd4, %fd1;", "r testp.subnormal.f64 %p1, %fd1; selp.u32 %r4, 1, 0, %p1;",
	      "r testp.normal.f64 %p1, %fd1; selp.u32 %r4, 1, 0, %p1;");
}

Test(simt_insn, conversions_of_floats)
{
	CHECK('f', 2, "r cvt.rzi.s32.f32 %r4, %f1;", "r cvt.rni.s32.f32 %r4, %f1;", "r cvt.rpi.u32.f32 %r4, %f1;", "r cvt.rmi.ftz.s32.f32 %r4, %f1;",
	      "d cvt.rzi.s64.f32 %rd4, %f1;", "d cvt.rni.u64.f32 %rd4, %f1;", "h cvt.rzi.s16.f32 %h4, %f1;", "r cvt.rzi.u8.f32 %r4, %f1;",
	      "r cvt.rzi.s8.f32 %r4, %f1;", "g cvt.f64.f32 %fd4, %f1;", "g cvt.ftz.f64.f32 %fd4, %f1;", "f cvt.rni.f32.f32 %f4, %f1;",
	      "f cvt.rzi.f32.f32 %f4, %f1;", "f cvt.rmi.f32.f32 %f4, %f1;", "f cvt.rpi.ftz.f32.f32 %f4, %f1;", "f cvt.sat.f32.f32 %f4, %f1;",
	      "f cvt.ftz.sat.f32.f32 %f4, %f1;", "h cvt.rn.f16.f32 %h4, %f1;", "h cvt.rz.f16.f32 %h4, %f1;", "h cvt.rn.bf16.f32 %h4, %f1;",
	      "h cvt.rz.bf16.f32 %h4, %f1;", "h cvt.rn.relu.f16.f32 %h4, %f1;", "h cvt.rn.relu.bf16.f32 %h4, %f1;", "h cvt.rn.sat.f16.f32 %h4, %f1;",
	      "r cvt.rn.f16x2.f32 %r4, %f1, %f2;", "r cvt.rn.bf16x2.f32 %r4, %f1, %f2;", "r cvt.rz.bf16x2.f32 %r4, %f1, %f2;",
	      "r cvt.rn.relu.bf16x2.f32 %r4, %f1, %f2;", "h cvt.rz.relu.f16.f32 %h4, %f1;",
	      "r cvt.rz.relu.bf16x2.f32 %r4, %f1, %f2;", "h cvt.rn.satfinite.f16.f32 %h4, %f1;", "h cvt.rn.satfinite.relu.bf16.f32 %h4, %f1;",
	      "r setp.lt.f32 %p1|%p2, %f1, %f2; selp.u32 %r4, 1, 0, %p1;",
	      "r setp.lt.f32 %p1|%p2, %f1, %f2; selp.u32 %r4, 1, 0, %p2;", "r setp.equ.ftz.f32 %p1, %f1, %f2; selp.u32 %r4, 1, 0, %p1;",
	      "r setp.neu.f32 %p1, %f1, %f2; selp.u32 %r4, 1, 0, %p1;", "r setp.num.f32 %p1, %f1, %f2; selp.u32 %r4, 1, 0, %p1;",
	      "r setp.nan.f32 %p1, %f1, %f2; selp.u32 %r4, 1, 0, %p1;");
	CHECK('g', 1, "r cvt.rzi.s32.f64 %r4, %fd1;", "r cvt.rni.u32.f64 %r4, %fd1;", "d cvt.rzi.s64.f64 %rd4, %fd1;", "d cvt.rpi.u64.f64 %rd4, %fd1;",
	      "r cvt.rmi.s32.f64 %r4, %fd1;", "r cvt.rpi.s32.f64 %r4, %fd1;", "r cvt.rni.s32.f64 %r4, %fd1;", "h cvt.rzi.u16.f64 %h4, %fd1;",
	      "h cvt.rmi.s16.f64 %h4, %fd1;", "r cvt.rni.s8.f64 %r4, %fd1;", "r cvt.rpi.u8.f64 %r4, %fd1;", "r cvt.rzi.sat.u8.f64 %r4, %fd1;",
	      "d cvt.rni.s64.f64 %rd4, %fd1;", "d cvt.rmi.s64.f64 %rd4, %fd1;", "d cvt.rzi.u64.f64 %rd4, %fd1;", "d cvt.rzi.s32.f64 %rd4, %fd1;",
	      "g cvt.rni.f64.f64 %fd4, %fd1;", "g cvt.rzi.f64.f64 %fd4, %fd1;", "g cvt.rmi.f64.f64 %fd4, %fd1;", "g cvt.rpi.f64.f64 %fd4, %fd1;",
	      "g cvt.sat.f64.f64 %fd4, %fd1;", "g cvt.rmi.sat.f64.f64 %fd4, %fd1;", "d cvt.f64.f64 %fd4, %fd1; mov.b64 %rd4, %fd4;");
	CHECK('g', 1, "h cvt.rn.f16.f64 %h4, %fd1;", "h cvt.rz.f16.f64 %h4, %fd1;", "h cvt.rn.bf16.f64 %h4, %fd1;", "f cvt.rn.f32.f64 %f4, %fd1;",
	      "f cvt.rz.f32.f64 %f4, %fd1;", "f cvt.rm.f32.f64 %f4, %fd1;", "f cvt.rp.f32.f64 %f4, %fd1;", "f cvt.rn.ftz.f32.f64 %f4, %fd1;",
	      "f cvt.rn.sat.f32.f64 %f4, %fd1;",
	      "f mul.f64 %fd4, %fd1, 0d3BF921FB54442D19; cvt.rn.f32.f64 %f4, %fd4;");
}

Test(simt_insn, floats_of_16_bits)
{
	CHECK('H', 2, "h add.f16 %h4, %h1, %h2;", "h sub.f16 %h4, %h1, %h2;", "h mul.f16 %h4, %h1, %h2;", "h min.f16 %h4, %h1, %h2;",
	      "h max.NaN.f16 %h4, %h1, %h2;", "h neg.f16 %h4, %h1;", "h abs.f16 %h4, %h1;", "h add.sat.f16 %h4, %h1, %h2;",
	      "h add.rn.bf16 %h4, %h1, %h2;", "h sub.rn.bf16 %h4, %h1, %h2;", "h max.bf16 %h4, %h1, %h2;", "h min.bf16 %h4, %h1, %h2;",
	      "f cvt.f32.f16 %f4, %h1;", "f cvt.f32.bf16 %f4, %h1;", "g cvt.f64.f16 %fd4, %h1;", "r cvt.rzi.s32.f16 %r4, %h1;",
	      "h cvt.rni.f16.f16 %h4, %h1;", "d cvt.rzi.u64.f16 %rd4, %h1;", "r setp.lt.f16 %p1, %h1, %h2; selp.u32 %r4, 1, 0, %p1;",
	      "r setp.geu.bf16 %p1, %h1, %h2; selp.u32 %r4, 1, 0, %p1;");
	CHECK('P', 3, "r fma.rn.f16x2 %r4, %r1, %r2, %r3;", "r fma.rn.relu.f16x2 %r4, %r1, %r2, %r3;", "r fma.rn.bf16x2 %r4, %r1, %r2, %r3;",
	      "r fma.rn.relu.bf16x2 %r4, %r1, %r2, %r3;", "r fma.rn.sat.f16x2 %r4, %r1, %r2, %r3;", "r add.f16x2 %r4, %r1, %r2;",
	      "r mul.f16x2 %r4, %r1, %r2;", "r max.f16x2 %r4, %r1, %r2;", "r min.NaN.bf16x2 %r4, %r1, %r2;", "r neg.bf16x2 %r4, %r1;",
	      "r setp.lt.f16x2 %p1|%p2, %r1, %r2; selp.u32 %r4, 1, 0, %p1;", "r setp.lt.f16x2 %p1|%p2, %r1, %r2; selp.u32 %r4, 1, 0, %p2;");
}

Test(simt_insn, guards_and_predicates)
{
	CHECK('r', 3, "r mov.u32 %r4, %r3; and.b32 %r5, %r1, 1; setp.ne.u32 %p1, %r5, 0; @%p1 mov.u32 %r4, %r2;",
	      "r mov.u32 %r4, %r3; setp.lt.u32 %p1, %r1, %r2; @!%p1 add.u32 %r4, %r1, 5;",
	      "r setp.eq.u32 %p2, %r3, 7; setp.lt.and.s32 %p1|%p3, %r1, %r2, %p2; selp.u32 %r4, 1, 0, %p1; @%p3 add.u32 %r4, %r4, 2;",
	      "r setp.eq.u32 %p2, %r3, 7; setp.lo.xor.u32 %p1, %r1, %r2, !%p2; selp.u32 %r4, 1, 0, %p1;",
	      "r setp.eq.u32 %p1, %r1, 1; setp.eq.u32 %p2, %r2, 2; xor.pred %p3, %p1, %p2; not.pred %p3, %p3; and.pred %p3, %p3, !%p1;"
	      " or.pred %p3, %p3, %p2; selp.u32 %r4, 1, 0, %p3;");
}

/* ---- approximations: the same algorithm as the CPU target's, on bits of every kind ---- */

Test(simt_insn, approximations_give_the_same_bits)
{
	static const char *const insn[] = {
		"sin.approx.f32", "cos.approx.f32", "ex2.approx.f32", "lg2.approx.f32", "tanh.approx.f32", "rcp.approx.f32", "sqrt.approx.f32",
		"rsqrt.approx.f32", "ex2.approx.ftz.f32", "lg2.approx.ftz.f32", "sin.approx.ftz.f32", "rsqrt.approx.ftz.f32",
	};
	enum { N = 40000, OUT = 1 + NR(insn) };
	static uint32_t data[N * OUT];
	struct { void *p; uint32_t n; } params = { data, N };
	struct kernel_run r = { .grid = { (N + 127) / 128 }, .block = { 128 }, .params = &params, .data = data, .size = sizeof(data) };
	char *ptx = malloc(16 << 10), body[8192], *at = body;
	uint32_t seed = 4711;

	for (int i = 0; i < N; i++) {
		float f;

		seed = seed * 1664525 + 1013904223;
		/* half of them any bits, the others numbers as programs have them */
		f = (float)((int32_t)seed >> 8) * 0x1p-18f;
		memcpy(&data[i * OUT], &f, 4);
		if (i & 1)
			data[i * OUT] = seed ^ seed << 13 ^ seed >> 17;
	}
	at += sprintf(at, "ld.param.u64 %%rd8, [p]; ld.param.u32 %%r8, [n]; mov.u32 %%r7, %%ctaid.x; mov.u32 %%r6, %%ntid.x; mov.u32 %%r5, %%tid.x;\n"
		      "mad.lo.u32 %%r7, %%r7, %%r6, %%r5; setp.ge.u32 %%p8, %%r7, %%r8; @%%p8 bra DONE;\n"
		      "mul.wide.u32 %%rd7, %%r7, %d; add.u64 %%rd8, %%rd8, %%rd7; ld.global.f32 %%f1, [%%rd8];\n", OUT * 4);
	for (size_t i = 0; i < NR(insn); i++)
		at += sprintf(at, "%s %%f4, %%f1; st.global.f32 [%%rd8+%zu], %%f4;\n", insn[i], 4 + 4 * i);
	strcpy(at, "DONE: ret;");
	/* code in the scheduled form is long for so much of it */
	run_on(kernel_around("", body, "", ptx, 16 << 10), &r, false);
	free(ptx);
}

/* ---- arithmetic by integers against the processor's ---- */

static int mode_of(enum ir_rnd rnd)
{
	return rnd == IR_RZ ? FE_TOWARDZERO : rnd == IR_RM ? FE_DOWNWARD : rnd == IR_RP ? FE_UPWARD : FE_TONEAREST;
}

static uint64_t hardware_f(enum simt_float_op op, enum ir_rnd rnd, uint64_t a, uint64_t b, uint64_t c)
{
	volatile float x, y, z, r;
	uint32_t u[3] = { (uint32_t)a, (uint32_t)b, (uint32_t)c };
	float f[3];

	memcpy(f, u, sizeof(f));
	x = f[0];
	y = f[1];
	z = f[2];
	fesetround(mode_of(rnd));
	switch (op) {
	case SIMT_ADD: r = x + y; break;
	case SIMT_SUB: r = x - y; break;
	case SIMT_MUL: r = x * y; break;
	case SIMT_DIV: r = x / y; break;
	case SIMT_SQRT: r = sqrtf(x); break;
	default: r = fmaf(x, y, z); break;
	}
	fesetround(FE_TONEAREST);
	f[0] = r;
	memcpy(u, f, 4);
	return f[0] != f[0] ? 0x7fffffff : u[0];
}

static uint64_t hardware_d(enum simt_float_op op, enum ir_rnd rnd, uint64_t a, uint64_t b, uint64_t c)
{
	volatile double x, y, z, r;
	uint64_t u[3] = { a, b, c };
	double f[3];

	memcpy(f, u, sizeof(f));
	x = f[0];
	y = f[1];
	z = f[2];
	fesetround(mode_of(rnd));
	switch (op) {
	case SIMT_ADD: r = x + y; break;
	case SIMT_SUB: r = x - y; break;
	case SIMT_MUL: r = x * y; break;
	case SIMT_DIV: r = x / y; break;
	case SIMT_SQRT: r = sqrt(x); break;
	default: r = fma(x, y, z); break;
	}
	fesetround(FE_TONEAREST);
	f[0] = r;
	memcpy(u, f, 8);
	return f[0] != f[0] ? UINT64_C(0xfff8000000000000) : u[0];
}

static uint64_t random_bits(void)
{
	static uint64_t s = 88172645463325252;

	s ^= s << 13;
	s ^= s >> 7;
	s ^= s << 17;
	return s;
}

/* Often near the others, so that sums cancel and products meet addends. */
static uint64_t random_float(unsigned int bits)
{
	uint64_t v = random_bits(), near = bits == 32 ? 0x3f800000 : UINT64_C(0x3ff0000000000000);

	if (v & 1)
		v = (v >> 1 & (bits == 32 ? 0x83ffffff : UINT64_C(0x807fffffffffffff))) + near;
	if (random_bits() % 4 == 0)
		v &= ~(UINT64_C(0xffffffffff) >> (bits == 32 ? 24 : 0));
	return bits == 32 ? (uint32_t)v : v;
}

Test(simt_insn, arithmetic_by_integers_is_that_of_the_processor)
{
	static const enum ir_rnd rnd[] = { IR_RN, IR_RZ, IR_RM, IR_RP };

	for (int i = 0; i < 400000; i++) {
		enum simt_float_op op = (enum simt_float_op)(i % 6);
		enum ir_rnd mode = rnd[i / 6 % 4];
		uint64_t a = random_float(32), b = random_float(32), c = random_float(32), got, want;

		if (i % 7 == 0) {
			a = floats[random_bits() % NR(floats)];
			c = floats[random_bits() % NR(floats)];
		}
		got = simt_float_op(SIMT_FLOAT_CODE(op, IR_F32, mode), a, b, c);
		want = hardware_f(op, mode, a, b, c);
		cr_assert_eq(got, want, "operation %d, mode %d of %llx %llx %llx: %llx, not %llx", op, mode, (unsigned long long)a,
			     (unsigned long long)b, (unsigned long long)c, (unsigned long long)got, (unsigned long long)want);
		a = random_float(64);
		b = random_float(64);
		c = random_float(64);
		if (i % 7 == 0)
			a = doubles[random_bits() % NR(doubles)];
		got = simt_float_op(SIMT_FLOAT_CODE(op, IR_F64, mode), a, b, c);
		want = hardware_d(op, mode, a, b, c);
		cr_assert_eq(got, want, "operation %d, mode %d of %llx %llx %llx: %llx, not %llx", op, mode, (unsigned long long)a,
			     (unsigned long long)b, (unsigned long long)c, (unsigned long long)got, (unsigned long long)want);
	}
}

/* As C has it with the processor's modes, where a device has no f64. Results near the ends of the range, exact halves and cancelled sums are among them. */
Test(simt_insn, directions_of_f32_by_integers)
{
	enum { NR_EACH = 30000, NR_OUT = 16 };
	static const enum simt_float_op op[] = { SIMT_ADD, SIMT_SUB, SIMT_MUL, SIMT_FMA, SIMT_DIV };
	static const char *const name[] = { "add", "sub", "mul", "fma", "div" };
	static const struct { const char *text; enum ir_rnd rnd; } way[] = { { "rz", IR_RZ }, { "rm", IR_RM }, { "rp", IR_RP } };
	static uint32_t data[NR_EACH][4], out[NR_EACH][NR_OUT];
	struct { void *p; uint32_t n, unused; void *out; } params = { data, NR_EACH, 0, out };
	struct kernel_run r = { .grid = { (NR_EACH + 95) / 96 }, .block = { 96 }, .params = &params };
	char ptx[4096], why[256], *at = ptx;
	struct hg_module *m;

	at += sprintf(at, PTX_HEAD ".visible .entry k(.param .u64 p, .param .u32 n, .param .u64 out) {\n"
		      ".reg .pred %%p<2>; .reg .b32 %%r<6>; .reg .f32 %%f<6>; .reg .b64 %%rd<5>;\n"
		      "ld.param.u64 %%rd1, [p]; ld.param.u32 %%r1, [n]; ld.param.u64 %%rd2, [out];\n"
		      "mov.u32 %%r2, %%ctaid.x; mov.u32 %%r3, %%ntid.x; mov.u32 %%r4, %%tid.x; mad.lo.u32 %%r2, %%r2, %%r3, %%r4;\n"
		      "setp.ge.u32 %%p1, %%r2, %%r1; @%%p1 bra DONE; mul.wide.u32 %%rd3, %%r2, 16; add.u64 %%rd1, %%rd1, %%rd3;\n"
		      "mul.wide.u32 %%rd3, %%r2, %d; add.u64 %%rd2, %%rd2, %%rd3; ld.global.v4.f32 {%%f1, %%f2, %%f3, %%f5}, [%%rd1];\n", NR_OUT * 4);
	for (size_t o = 0; o < NR(op); o++)
		for (size_t w = 0; w < NR(way); w++)
			at += sprintf(at, "%s.%s.f32 %%f4, %%f1, %%f2%s; st.global.f32 [%%rd2+%zu], %%f4;\n", name[o], way[w].text,
				      op[o] == SIMT_FMA ? ", %f3" : "", (o * NR(way) + w) * 4);
	strcpy(at, "DONE: ret;\n}\n");
	m = load_text(ptx);
	for (size_t i = 0; i < NR_EACH; i++) {
		for (size_t k = 0; k < 3; k++)
			data[i][k] = (uint32_t)random_float(32);
		if (i % 3 == 0)		/* a product in the middle of, or next to, the addend's neighbours; or what nearly cancels it */
			data[i][2] = (uint32_t)hardware_f(SIMT_MUL, IR_RN, data[i][0], data[i][1], 0) ^ (i % 2 ? 0 : 0x80000000);
		if (i % 5 == 0)		/* results that are subnormal, or past the range */
			data[i][1] = (data[i][1] & 0x807fffff) | (i % 2 ? 0x00800000u : 0x7e800000u);
	}
	cr_assert_eq(spirv_once(hg_module_ir(m), SPIRV_NO_F64, &r, why, sizeof(why)), HG_OK, "%s", why);
	for (size_t i = 0; i < NR_EACH; i++)
		for (size_t k = 0; k < NR(op) * NR(way); k++) {
			uint64_t want = hardware_f(op[k / NR(way)], way[k % NR(way)].rnd, data[i][0], data[i][1], data[i][2]);

			cr_assert_eq(out[i][k], want, "%s.%s of %x %x %x gave %x, not %llx", name[k / NR(way)], way[k % NR(way)].text, data[i][0],
				     data[i][1], data[i][2], out[i][k], (unsigned long long)want);
		}
	hg_module_free(m);
}

/* The same of f64, whose sums, products, quotients and roots are all made of integers then. */
Test(simt_insn, arithmetic_of_f64_by_integers)
{
	enum { NR_EACH = 24000, NR_OUT = 24 };
	static const enum simt_float_op op[] = { SIMT_ADD, SIMT_MUL, SIMT_FMA, SIMT_DIV, SIMT_SQRT };
	static const char *const name[] = { "add", "mul", "fma", "div", "sqrt" };
	static const struct { const char *text; enum ir_rnd rnd; } way[] = { { "rn", IR_RN }, { "rz", IR_RZ }, { "rm", IR_RM }, { "rp", IR_RP } };
	static uint64_t data[NR_EACH][4], out[NR_EACH][NR_OUT];
	struct { void *p; uint32_t n, unused; void *out; } params = { data, NR_EACH, 0, out };
	struct kernel_run r = { .grid = { (NR_EACH + 95) / 96 }, .block = { 96 }, .params = &params };
	char ptx[4096], why[256], *at = ptx;
	struct hg_module *m;

	at += sprintf(at, PTX_HEAD ".visible .entry k(.param .u64 p, .param .u32 n, .param .u64 out) {\n"
		      ".reg .pred %%p<2>; .reg .b32 %%r<6>; .reg .f64 %%f<6>; .reg .b64 %%rd<5>;\n"
		      "ld.param.u64 %%rd1, [p]; ld.param.u32 %%r1, [n]; ld.param.u64 %%rd2, [out];\n"
		      "mov.u32 %%r2, %%ctaid.x; mov.u32 %%r3, %%ntid.x; mov.u32 %%r4, %%tid.x; mad.lo.u32 %%r2, %%r2, %%r3, %%r4;\n"
		      "setp.ge.u32 %%p1, %%r2, %%r1; @%%p1 bra DONE; mul.wide.u32 %%rd3, %%r2, 32; add.u64 %%rd1, %%rd1, %%rd3;\n"
		      "mul.wide.u32 %%rd3, %%r2, %d; add.u64 %%rd2, %%rd2, %%rd3; ld.global.v2.f64 {%%f1, %%f2}, [%%rd1]; ld.global.f64 %%f3, [%%rd1+16];\n",
		      NR_OUT * 8);
	for (size_t o = 0; o < NR(op); o++)
		for (size_t w = 0; w < NR(way); w++)
			at += sprintf(at, "%s.%s.f64 %%f4, %%f1%s%s; st.global.f64 [%%rd2+%zu], %%f4;\n", name[o], way[w].text,
				      op[o] == SIMT_SQRT ? "" : ", %f2", op[o] == SIMT_FMA ? ", %f3" : "", (o * NR(way) + w) * 8);
	for (size_t w = 0; w < NR(way); w++)
		at += sprintf(at, "cvt.%si.f64.f64 %%f4, %%f1; st.global.f64 [%%rd2+%zu], %%f4;\n", way[w].text, (NR(op) * NR(way) + w) * 8);
	strcpy(at, "DONE: ret;\n}\n");
	m = load_text(ptx);
	for (size_t i = 0; i < NR_EACH; i++) {
		for (size_t k = 0; k < 3; k++)
			data[i][k] = random_float(64);
		if (i % 3 == 0)		/* a product in the middle of, or next to, the addend's neighbours; or what nearly cancels it */
			data[i][2] = hardware_d(SIMT_MUL, IR_RN, data[i][0], data[i][1], 0) ^ (i % 2 ? 0 : UINT64_C(1) << 63);
		if (i % 5 == 0)		/* results that are subnormal, or past the range */
			data[i][1] = (data[i][1] & 0x800fffffffffffff) | (i % 2 ? UINT64_C(0x0010000000000000) : UINT64_C(0x7fc0000000000000));
		if (i % 7 == 0)		/* an exact quotient, a square, or next to one: and halves, for whole numbers */
			data[i][0] = hardware_d(SIMT_MUL, IR_RN, data[i][1] & ~UINT64_C(0x3ffffff), data[i][1] & ~UINT64_C(0x3ffffff), 0) + (i / 7 % 3) - 1;
		if (i % 4 == 0) {
			double half = (double)(int32_t)random_bits() / 4;

			memcpy(data[i], &half, 8);
		}
	}
	cr_assert_eq(spirv_once(hg_module_ir(m), SPIRV_NO_F64, &r, why, sizeof(why)), HG_OK, "%s", why);
	for (size_t i = 0; i < NR_EACH; i++)
		for (size_t k = 0; k < (NR(op) + 1) * NR(way); k++) {
			enum ir_rnd rnd = way[k % NR(way)].rnd;
			const char *what = k < NR(op) * NR(way) ? name[k / NR(way)] : "cvt";
			uint64_t want;
			double d;

			if (k < NR(op) * NR(way)) {
				want = hardware_d(op[k / NR(way)], rnd, data[i][0], data[i][1], data[i][2]);
			} else {
				memcpy(&d, data[i], 8);
				d = rnd == IR_RN ? rint(d) : rnd == IR_RZ ? trunc(d) : rnd == IR_RM ? floor(d) : ceil(d);
				memcpy(&want, &d, 8);
				want = isnan(d) ? UINT64_C(0xfff8000000000000) : want;
			}
			cr_assert_eq(out[i][k], want, "%s.%s of %lx %lx %lx gave %lx, not %lx", what, way[k % NR(way)].text, data[i][0], data[i][1],
				     data[i][2], out[i][k], want);
		}
	hg_module_free(m);
}

Test(simt_insn, formats_that_are_no_types)
{
	CHECK('f', 2, "h cvt.rn.satfinite.e4m3x2.f32 %h4, %f1, %f2;", "h cvt.rn.satfinite.e5m2x2.f32 %h4, %f1, %f2;",
	      "h cvt.rn.satfinite.relu.e4m3x2.f32 %h4, %f1, %f2;", "h cvt.rn.satfinite.e2m3x2.f32 %h4, %f1, %f2;",
	      "h cvt.rn.satfinite.relu.e3m2x2.f32 %h4, %f1, %f2;", "h cvt.rz.satfinite.ue8m0x2.f32 %h4, %f1, %f2;",
	      "h cvt.rp.satfinite.ue8m0x2.f32 %h4, %f1, %f2;", "h cvt.rp.ue8m0x2.f32 %h4, %f1, %f2;");
	CHECK('f', 1, "r cvt.rna.tf32.f32 %r4, %f1;", "r cvt.rn.tf32.f32 %r4, %f1;", "r cvt.rz.relu.tf32.f32 %r4, %f1;",
	      "r cvt.rna.satfinite.tf32.f32 %r4, %f1;");
	CHECK('H', 1, "r cvt.rn.f16x2.e4m3x2 %r4, %h1;", "r cvt.rn.relu.f16x2.e5m2x2 %r4, %h1;", "r cvt.rn.f16x2.e2m3x2 %r4, %h1;",
	      "r cvt.rn.f16x2.e3m2x2 %r4, %h1;", "r cvt.rn.bf16x2.ue8m0x2 %r4, %h1;");
}

Test(simt_insn, modifiers_of_16_bit_floats)
{
	CHECK('P', 2, "r add.ftz.f16x2 %r4, %r1, %r2;", "r mul.ftz.sat.f16x2 %r4, %r1, %r2;", "r min.ftz.NaN.f16x2 %r4, %r1, %r2;",
	      "r max.xorsign.abs.f16x2 %r4, %r1, %r2;", "r min.NaN.xorsign.abs.bf16x2 %r4, %r1, %r2;", "r neg.ftz.f16x2 %r4, %r1;",
	      "r abs.ftz.f16x2 %r4, %r1;", "r ex2.approx.f16x2 %r4, %r1;", "r tanh.approx.bf16x2 %r4, %r1;",
	      "r ex2.approx.ftz.bf16x2 %r4, %r1;", "r set.lt.f16x2.f16x2 %r4, %r1, %r2;", "r set.geu.ftz.f16x2.f16x2 %r4, %r1, %r2;",
	      "r setp.lt.ftz.f16x2 %p1|%p2, %r1, %r2; selp.u32 %r4, 1, 0, %p1; selp.u32 %r5, 2, 0, %p2; or.b32 %r4, %r4, %r5;");
	CHECK('H', 2, "h ex2.approx.f16 %h4, %h1;", "h tanh.approx.f16 %h4, %h1;", "h sub.ftz.f16 %h4, %h1, %h2;",
	      "h fma.rn.ftz.relu.f16 %h4, %h1, %h2, %h1;", "h fma.rn.ftz.sat.f16 %h4, %h1, %h2, %h2;",
	      "r set.lt.ftz.u32.f16 %r4, %h1, %h2;", "r setp.eq.ftz.f16 %p1, %h1, %h2; selp.u32 %r4, 1, 0, %p1;");
	CHECK('r', 1, "h cvt.rn.sat.f16.s32 %h4, %r1;", "h cvt.rz.sat.f16.u32 %h4, %r1;");
}

/* Where a device has no f64; what C says of the same operands, of all sizes, and near to each other so that quotients are near to 1. */
Test(simt_insn, division_and_roots_of_f32_by_integers)
{
	enum { NR_PAIRS = 40000 };
	static float data[NR_PAIRS * 2], out[NR_PAIRS * 2];
	struct { void *p; uint32_t n, unused; void *out; } params = { data, NR_PAIRS, 0, out };
	struct kernel_run r = { .grid = { (NR_PAIRS + 95) / 96 }, .block = { 96 }, .params = &params };
	struct hg_module *m = load_text(PTX_HEAD ".visible .entry k(.param .u64 p, .param .u32 n, .param .u64 out) {\n"
		".reg .pred %p<2>; .reg .b32 %r<6>; .reg .f32 %f<5>; .reg .b64 %rd<5>;\n"
		"ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n]; ld.param.u64 %rd2, [out];\n"
		"mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r2, %r2, %r3, %r4;\n"
		"setp.ge.u32 %p1, %r2, %r1; @%p1 bra DONE; mul.wide.u32 %rd3, %r2, 8; add.u64 %rd1, %rd1, %rd3; add.u64 %rd2, %rd2, %rd3;\n"
		"ld.global.v2.f32 {%f1, %f2}, [%rd1]; div.rn.f32 %f3, %f1, %f2; sqrt.rn.f32 %f4, %f1; st.global.v2.f32 [%rd2], {%f3, %f4};\n"
		"DONE: ret;\n}\n");
	uint32_t *word = (uint32_t *)data, seed = 1;
	char why[256];

	for (size_t i = 0; i < NR_PAIRS * 2; i++) {
		seed = seed * 1664525 + 1013904223;
		word[i] = i < NR(floats) * NR(floats) * 2 ? (uint32_t)floats[i / 2 % NR(floats)] :
			  (seed >> 16) % 3 ? seed * 2654435761u : word[i - 1] + (seed >> 24) % 8 * 0x400000u + (seed >> 28);
		if (i < NR(floats) * NR(floats) * 2 && i % 2)
			word[i] = (uint32_t)floats[i / 2 / NR(floats)];
	}
	cr_assert_eq(spirv_once(hg_module_ir(m), SPIRV_NO_F64, &r, why, sizeof(why)), HG_OK, "%s", why);
	for (size_t i = 0; i < NR_PAIRS; i++) {
		volatile float a = data[2 * i], b = data[2 * i + 1], q = a / b, s = sqrtf(a);

		cr_assert(isnan(q) ? isnan(out[2 * i]) : !memcmp((const float *)&q, &out[2 * i], 4), "%a / %a is %a, not %a", (double)a, (double)b,
			  (double)q, (double)out[2 * i]);
		cr_assert(isnan(s) ? isnan(out[2 * i + 1]) : !memcmp((const float *)&s, &out[2 * i + 1], 4), "the root of %a is %a, not %a",
			  (double)a, (double)s, (double)out[2 * i + 1]);
	}
	hg_module_free(m);
}

Test(simt_insn, addresses_of_shared_memory_wrap)
{
	static uint32_t out[64];
	struct { void *p; uint32_t n; } params = { out, 0 };
	struct kernel_run r = { .block = { 64 }, .shared = 512, .params = &params, .data = out, .size = sizeof(out) };

	/* below 0 for the lower half of the threads, if it were not for what is added */
	run_both(KERNEL("ld.param.u64 %rd8, [p]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; sub.u32 %r3, %r2, 128;\n"
			"st.shared.u32 [%r3+128], %r1; bar.sync 0; ld.shared.u32 %r4, [%r3+132]; mul.wide.u32 %rd1, %r1, 4; add.u64 %rd8, %rd8, %rd1;\n"
			"setp.eq.u32 %p1, %r1, 63; @%p1 bra LAST; st.global.u32 [%rd8], %r4;\nLAST: ret;"), &r);
	for (uint32_t i = 0; i < 63; i++)
		cr_assert_eq(out[i], i + 1, "%u", i);
}

Test(simt_insn, clocks_go_on)
{
	static uint32_t seen[4];
	struct { void *p; uint32_t n; } params = { seen, 0 };
	struct kernel_run r = { .block = { 1 }, .params = &params, .data = seen, .size = sizeof(seen) };

	run_both(KERNEL("ld.param.u64 %rd8, [p]; mov.u64 %rd1, %clock64; mov.u32 %r1, %clock; mov.u64 %rd2, %globaltimer;\n"
			"L: mov.u64 %rd3, %clock64; sub.u64 %rd4, %rd3, %rd1; setp.lt.u64 %p1, %rd4, 1000; @%p1 bra L;\n"
			"mov.u32 %r2, %clock; mov.u64 %rd5, %globaltimer;\n"
			"setp.gt.u64 %p1, %rd3, %rd1; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd8], %r3;\n"
			"setp.ne.u32 %p1, %r2, %r1; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd8+4], %r3;\n"
			"setp.ge.u64 %p1, %rd5, %rd2; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd8+8], %r3;\n"
			"setp.ne.u64 %p1, %rd2, 0; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd8+12], %r3; ret;"), &r);
	for (size_t i = 0; i < NR(seen); i++)
		cr_assert_eq(seen[i], 1, "%zu", i);
}

Test(simt_insn, atomics_of_128_bits)
{
	static _Alignas(16) uint64_t mem[8];
	struct { void *p; uint32_t n; } params = { mem, 0 };
	struct kernel_run r = { .grid = { 3 }, .block = { 96 }, .params = &params, .data = mem, .size = sizeof(mem) };

	/* not as SPIR-V: code for GPUs is refused these */
	run_on(KERNEL(".reg .b128 %q<4>;\n"
		      "ld.param.u64 %rd8, [p]; ld.global.v2.u64 {%rd1, %rd2}, [%rd8]; mov.b128 %q1, {%rd1, %rd2};\n"
		      "L: add.u64 %rd3, %rd1, 1; add.u64 %rd4, %rd2, 3; mov.b128 %q2, {%rd3, %rd4};\n"
		      "atom.global.cas.b128 %q3, [%rd8], %q1, %q2; mov.b128 {%rd5, %rd6}, %q3;\n"
		      "setp.ne.u64 %p1, %rd5, %rd1; setp.ne.or.u64 %p1, %rd6, %rd2, %p1; mov.u64 %rd1, %rd5; mov.u64 %rd2, %rd6;\n"
		      "mov.b128 %q1, %q3; @%p1 bra L;\n"
		      "mov.u64 %rd1, 5; mov.u64 %rd2, 7; mov.b128 %q1, {%rd1, %rd2}; atom.global.exch.b128 %q2, [%rd8+16], %q1; ret;"), &r, false);
	cr_assert_eq(mem[0], 288);
	cr_assert_eq(mem[1], 864);
	cr_assert_eq(mem[2], 5);
	cr_assert_eq(mem[3], 7);
}

Test(simt_insn, a_kernel_prints)
{
	static const char text[] = "%d %5.2f %s|%-4x|%c %lld %% %p %*d %q\n";
	static const char *const line = "-7  3.14 word|ff  |c 1234567890123 % 0x10   42 %q\n";
	struct { int32_t i; double d; const char *s; uint32_t x, c; int64_t l; void *p; int32_t width, last; } args = {
		-7, 3.14159, "word", 255, 'c', 1234567890123, (void *)16, 4, 42 };
	struct { const void *f, *a; uint32_t *out; } params;
	struct kernel_run r = { .block = { 2 }, .params = &params };
	struct hg_module *m = load_text(PTX_HEAD
		".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
		".visible .entry k(.param .u64 f, .param .u64 a, .param .u64 out) {\n"
		".reg .b64 %rd<4>; .reg .b32 %r<2>;\nld.param.u64 %rd1, [f]; ld.param.u64 %rd2, [a]; ld.param.u64 %rd3, [out];\n"
		"{ .param .b64 p0; st.param.b64 [p0], %rd1; .param .b64 p1; st.param.b64 [p1], %rd2; .param .b32 q;\n"
		"call.uni (q), vprintf, (p0, p1); ld.param.b32 %r1, [q]; }\nst.global.u32 [%rd3], %r1; ret;\n}\n");
	uint32_t nr = 0;
	char why[256], got[512] = "";
	int to[2], out = dup(1);
	ssize_t n;

	params.f = text;
	params.a = &args;
	params.out = &nr;
	fflush(stdout);
	cr_assert_eq(pipe(to), 0);
	dup2(to[1], 1);
	close(to[1]);
	cr_assert_eq(simt_once(hg_module_ir(m), 0, &r, NULL, why, sizeof(why)), HG_OK, "%s", why);
	fflush(stdout);
	dup2(out, 1);
	close(out);
	n = read(to[0], got, sizeof(got) - 1);
	close(to[0]);
	cr_assert_eq(n, 2 * (ssize_t)strlen(line), "%s", got);
	cr_assert_eq(strncmp(got, line, strlen(line)), 0, "%s", got);
	cr_assert_eq(strcmp(got + strlen(line), line), 0, "%s", got);
	cr_assert_eq(nr, 9);
	hg_module_free(m);
}

/* A file for each kind of instructions holds all that the front end takes. */
Test(simt_insn, every_operation_of_hgir_is_known, .timeout = 120)
{
	static const char *const file[] = { "tests/ptx/arith.ptx", "tests/ptx/control.ptx", "tests/ptx/functions.ptx", "tests/ptx/matrix.ptx",
					    "tests/ptx/memory.ptx", NULL };
	static const char other[] = KERNEL("ld.param.u64 %rd1, [p]; mov.f32 %f1, 0f00000000;\n"
					   "tex.2d.v4.f32.f32 {%f2, %f3, %f4, %f5}, [%rd1, {%f1, %f1}]; st.global.f32 [%rd1], %f2; ret;")
		".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
		".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 s);\n"
		".visible .entry said(.param .u64 p) {\n.reg .b64 %rd<3>; .reg .b32 %r<3>; .param .b64 a; .param .b64 b; .param .b32 l; .param .b32 q;\n"
		"ld.param.u64 %rd1, [p]; mov.u32 %r1, 7; st.param.b64 [a], %rd1; st.param.b64 [b], %rd1; st.param.b32 [l], %r1;\n"
		"call.uni (q), vprintf, (a, b);\ncall.uni __assertfail, (a, a, l, a, a);\nret;\n}\n";
	bool seen[IR_OP_COUNT] = { false };

	catch_messages();
	for (size_t i = 0; i < NR(file); i++) {
		size_t size;
		char *text = file[i] ? read_test_file(file[i], &size) : strdup(other);
		struct hg_module *m = load_text(text);
		const struct ir_module *ir = hg_module_ir(m);
		struct simt_module *sm;

		cr_assert_eq(simt_module_from_hgir(ir, &sm), HG_OK);
		for (uint32_t f = 0; f < ir->nr_funcs; f++) {
			const struct simt_kernel *k;
			simt_entry entry;

			if (ir->func[f].refused)
				continue;
			cr_assert_eq(simt_module_kernel(sm, f, &k, &entry), HG_OK, "%s", k->refused);
			for (uint32_t b = 0; b < ir->func[f].nr_blocks; b++)
				for (uint32_t n = 0; n < ir->func[f].block[b].nr_insns; n++)
					seen[ir->func[f].block[b].insn[n].op] = true;
		}
		simt_module_free(sm);
		hg_module_free(m);
		free(text);
	}
	for (int op = 0; op < IR_OP_COUNT; op++)
		cr_assert(seen[op], "no kernel of these files has a '%s'", ir_op_desc[op].name);
}
