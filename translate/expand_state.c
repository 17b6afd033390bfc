/* expand_state.c - what a lane needs the host for, or memory alone: tex, vprintf, assertfail. */
#include "translate/expand_build.h"
#include "translate/texture.h"

static void tex(struct expand *x, const struct ir_insn *in)
{
	static const struct { uint32_t what; const char *name; } usual[] = {
		{ HG_TEX_1D, "hg_tex_1d" }, { HG_TEX_1D | HG_TEX_INTEGER, "hg_tex_1d_s32" }, { HG_TEX_2D, "hg_tex_2d" },
		{ HG_TEX_2D | HG_TEX_INTEGER, "hg_tex_2d_s32" }, { HG_TEX_3D, "hg_tex_3d" },
	};
	struct ir_operand arg[5 + HG_TEX_MAX_ARGS];
	const char *name = NULL;
	uint32_t what = ir_tex_what(in);
	unsigned int nr = 4;

	for (size_t i = 0; i < sizeof(arg) / sizeof(arg[0]); i++)
		arg[i] = expand_imm(0);
	arg[0] = expand_sreg(IR_SREG_STATE);
	arg[1] = expand_imm(in->line);
	arg[2] = in->src[0];
	arg[3] = in->src[1].kind == IR_OPD_IMM && !in->src[1].imm ? in->src[0] : in->src[1];
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (usual[i].what == what)
			name = usual[i].name;
	if (!name)
		arg[nr++] = expand_imm(what);
	for (unsigned int i = 2; i < in->nr_src && i < 2 + HG_TEX_MAX_ARGS; i++)
		arg[nr++] = in->src[i];
	expand_call(x, expand_support(name ? name : "hg_tex_any"), arg, in->dst);
}

static void print(struct expand *x, const struct ir_insn *in)
{
	const struct ir_operand arg[] = { expand_sreg(IR_SREG_STATE), in->src[0], in->src[1] };

	expand_call(x, expand_support("hg_gpu_print"), arg, in->dst);
}

static void assert_fail(struct expand *x, const struct ir_insn *in)
{
	const struct ir_operand arg[] = {
		expand_sreg(IR_SREG_STATE), in->src[0], in->src[1], in->src[2], in->src[3], expand_imm(in->line),
	};

	expand_call(x, expand_support("hg_gpu_assert"), arg, NULL);
}

const struct expand_rule expand_state_rules[] = {
	{ IR_tex, NULL, tex }, { IR_vprintf, NULL, print }, { IR_assertfail, NULL, assert_fail }, { 0 }
};
