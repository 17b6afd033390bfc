/* ir.c - names and properties of hgIR's types and operations. */
#include "translate/ir.h"
#include "translate/ir_mma.h"
#include "translate/texture.h"
#include "translate/ir_names.h"

#include <string.h>

#include "common/pool.h"

const struct ir_op_desc ir_op_desc[IR_OP_COUNT] = {
#define IR_OP(opname, dst_, src_, flags_, types_) \
	[IR_##opname] = { .name = #opname, .dst = dst_, .src = src_, .flags = flags_, .types = types_ },
#include "translate/ir_ops.def"
};

static const struct {
	const char *name;
	unsigned int bits;
} type_info[IR_TYPE_COUNT] = {
	[IR_NONE] = { "none", 0 }, [IR_PRED] = { "pred", 1 },
	[IR_B8] = { "b8", 8 }, [IR_B16] = { "b16", 16 }, [IR_B32] = { "b32", 32 }, [IR_B64] = { "b64", 64 },
	[IR_B128] = { "b128", 128 },
	[IR_U8] = { "u8", 8 }, [IR_U16] = { "u16", 16 }, [IR_U32] = { "u32", 32 }, [IR_U64] = { "u64", 64 },
	[IR_S8] = { "s8", 8 }, [IR_S16] = { "s16", 16 }, [IR_S32] = { "s32", 32 }, [IR_S64] = { "s64", 64 },
	[IR_F16] = { "f16", 16 }, [IR_F16X2] = { "f16x2", 32 }, [IR_BF16] = { "bf16", 16 },
	[IR_BF16X2] = { "bf16x2", 32 }, [IR_F32] = { "f32", 32 }, [IR_F64] = { "f64", 64 },
};

unsigned int ir_type_bits(enum ir_type t)
{
	return (unsigned int)t < IR_TYPE_COUNT ? type_info[t].bits : 0;
}

const char *ir_type_name(enum ir_type t)
{
	return (unsigned int)t < IR_TYPE_COUNT ? type_info[t].name : "?";
}

enum ir_type ir_type_class(enum ir_type t)
{
	switch (ir_type_bits(t)) {
	case 1: return IR_PRED;
	case 8: case 16: return IR_B16;
	case 32: return IR_B32;
	case 64: return IR_B64;
	case 128: return IR_B128;
	}
	return IR_NONE;
}

bool ir_type_is_signed(enum ir_type t)
{
	return t >= IR_S8 && t <= IR_S64;
}

bool ir_type_is_float(enum ir_type t)
{
	return t >= IR_F16 && t <= IR_F64;
}

const char *const ir_space_name[] = { "generic", "global", "shared", "local", "const", "param", NULL };
const char *const ir_rnd_name[] = { "", "rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi", NULL };
const char *const ir_cmp_name[] = { "", "eq", "ne", "lt", "le", "gt", "ge",
	"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", NULL };
const char *const ir_bool_name[] = { "", "and", "or", "xor", NULL };
const char *const ir_sem_name[] = { "", "volatile", "relaxed", "acquire", "release", "acq_rel", "sc", NULL };
const char *const ir_scope_name[] = { "", "cta", "gpu", "sys", NULL };
const char *const ir_flag_name[] = { "ftz", "sat", "approx", "full", "hi", "wide", "clamp", "wrap", "nc", "cc",
	"nan_out", "xorsign", "relu", "satfinite", NULL };
const char *const ir_sreg_name[] = {
	"tid.x", "tid.y", "tid.z", "ntid.x", "ntid.y", "ntid.z",
	"ctaid.x", "ctaid.y", "ctaid.z", "nctaid.x", "nctaid.y", "nctaid.z",
	"laneid", "warpid", "nwarpid", "smid", "nsmid", "gridid",
	"lanemask_eq", "lanemask_le", "lanemask_lt", "lanemask_ge", "lanemask_gt",
	"clock", "clock64", "globaltimer", "dynamic_smem_size", "total_smem_size", "envreg1", "envreg2",
	"local_size", "state", NULL,
};
_Static_assert(sizeof(ir_sreg_name) / sizeof(ir_sreg_name[0]) == IR_SREG_COUNT + 1, "a name for each special register");

static const char *const atom_name[] = { "add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec", "mbarrier", NULL };
static const char *const shfl_name[] = { "up", "down", "bfly", "idx", NULL };
static const char *const vote_name[] = { "all", "any", "uni", "ballot", NULL };
static const char *const match_name[] = { "any", "all", NULL };
static const char *const testp_name[] = { "finite", "infinite", "number", "notanumber", "normal", "subnormal", NULL };
static const char *const prmt_name[] = { "", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL };
static const char *const bfind_name[] = { "", "shiftamt", NULL };
static const char *const barred_name[] = { "popc", "and", "or", NULL };

static const char *const trap_name[] = { "", "stack", NULL };
static const char *const fmt_name[] = { "e4m3", "e5m2", "e2m3", "e3m2", "e2m1", "ue8m0", "tf32", NULL };

static const char *const tex_name[] = {
	"1d", "2d", "3d", "a1d", "a2d", "cube", "acube",
	"level_1d", "level_2d", "level_3d", "level_a1d", "level_a2d", "level_cube", "level_acube",
	"grad_1d", "grad_2d", "grad_3d", "grad_a1d", "grad_a2d", "grad_cube", "grad_acube",
	"gather_r_2d", "gather_g_2d", "gather_b_2d", "gather_a_2d", "gather_r_a2d", "gather_g_a2d", "gather_b_a2d", "gather_a_a2d",
	"gather_r_cube", "gather_g_cube", "gather_b_cube", "gather_a_cube",
	"gather_r_acube", "gather_g_acube", "gather_b_acube", "gather_a_acube", NULL,
};
_Static_assert(sizeof(tex_name) / sizeof(tex_name[0]) == IR_TEX_COUNT + 1, "a name for each way to sample");
_Static_assert(IR_TEX_GATHER == 3 * HG_TEX_NR_SHAPES, "shapes in each way of choosing a level");

uint32_t ir_tex_what(const struct ir_insn *in)
{
	static const uint8_t gathered[] = { HG_TEX_2D, HG_TEX_A2D, HG_TEX_CUBE, HG_TEX_ACUBE };
	uint32_t what = in->type2 == IR_S32 ? HG_TEX_INTEGER : 0, sub = in->sub;

	if (sub >= IR_TEX_GATHER) {
		sub -= IR_TEX_GATHER;
		what |= gathered[sub / 4] | HG_TEX_GATHER | (sub & 3) << HG_TEX_COMPONENT_SHIFT;
	} else {
		what |= sub % HG_TEX_NR_SHAPES | sub / HG_TEX_NR_SHAPES << HG_TEX_LOD_SHIFT;
	}
	if (in->nr_src - 2u > hg_tex_nr_args(what))
		what |= HG_TEX_OFFSET;
	return what;
}

const char *const *ir_sub_names(enum ir_op op)
{
	switch (op) {
	case IR_atom: case IR_redux: return atom_name;
	case IR_shfl: return shfl_name;
	case IR_vote: return vote_name;
	case IR_match: return match_name;
	case IR_testp: return testp_name;
	case IR_prmt: return prmt_name;
	case IR_bfind: return bfind_name;
	case IR_bar_red: return barred_name;
	case IR_narrow: case IR_widen: return fmt_name;
	case IR_trap: return trap_name;
	case IR_mma: return ir_mma_name;
	case IR_tex: return tex_name;
	default: return NULL;
	}
}

int ir_name_find(const char *const *names, const char *s, size_t size)
{
	for (int i = 0; names[i]; i++)
		if (*names[i] && strlen(names[i]) == size && !memcmp(names[i], s, size))
			return i;
	return -1;
}

unsigned int ir_sreg_bits(enum ir_sreg s)
{
	return s == IR_SREG_GRIDID || s == IR_SREG_CLOCK64 || s == IR_SREG_GLOBALTIMER || s == IR_SREG_STATE ? 64 : 32;
}

unsigned int ir_nr_targets(const struct ir_insn *in)
{
	switch (in->op) {
	case IR_bra: return 1;
	case IR_cbra: return 2;
	case IR_brx: return in->nr_targets;
	default: return 0;
	}
}

uint32_t ir_target(const struct ir_insn *in, uint32_t i)
{
	return in->op == IR_brx ? in->targets[i] : in->target[i];
}

void ir_module_free(struct ir_module *m)
{
	if (m)
		hg_pool_destroy(m->pool);
}

static bool operand_equal(const struct ir_operand *a, const struct ir_operand *b)
{
	if (a->kind != b->kind || a->negated != b->negated)
		return false;
	switch (a->kind) {
	case IR_OPD_REG: return a->reg == b->reg;
	case IR_OPD_IMM: return a->imm == b->imm;
	case IR_OPD_VAR: return a->index == b->index && a->imm == b->imm;
	case IR_OPD_SREG: return a->index == b->index;
	}
	return false;
}

static bool insn_equal(const struct ir_insn *a, const struct ir_insn *b)
{
	if (a->op != b->op || a->type != b->type || a->type2 != b->type2 || a->rnd != b->rnd || a->cmp != b->cmp ||
	    a->boolop != b->boolop || a->space != b->space || a->sem != b->sem || a->scope != b->scope ||
	    a->sub != b->sub || a->flags != b->flags || a->guard != b->guard || a->guard_neg != b->guard_neg ||
	    a->nr_dst != b->nr_dst || a->nr_src != b->nr_src || a->line != b->line)
		return false;
	for (unsigned int i = 0; i < a->nr_dst; i++)
		if (a->dst[i] != b->dst[i])
			return false;
	for (unsigned int i = 0; i < a->nr_src; i++)
		if (!operand_equal(&a->src[i], &b->src[i]))
			return false;
	if (ir_nr_targets(a) != ir_nr_targets(b))
		return false;
	for (unsigned int i = 0; i < ir_nr_targets(a); i++)
		if (ir_target(a, i) != ir_target(b, i))
			return false;
	return true;
}

static bool str_equal(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool func_equal(const struct ir_func *a, const struct ir_func *b)
{
	if (!str_equal(a->name, b->name) || !str_equal(a->refused, b->refused) || a->nr_regs != b->nr_regs ||
	    a->nr_blocks != b->nr_blocks || a->nr_params != b->nr_params || a->param_bytes != b->param_bytes ||
	    a->shared_bytes != b->shared_bytes || a->local_bytes != b->local_bytes ||
	    a->max_threads != b->max_threads || memcmp(a->req_threads, b->req_threads, sizeof(a->req_threads)) ||
	    a->line != b->line || a->uses_dynamic_shared != b->uses_dynamic_shared ||
	    a->uses_grid_sync != b->uses_grid_sync || a->needs_zeroed_shared != b->needs_zeroed_shared ||
	    a->uses_stack != b->uses_stack)
		return false;
	for (uint32_t i = 0; i < a->nr_regs; i++)
		if (a->reg_type[i] != b->reg_type[i])
			return false;
	for (uint32_t i = 0; i < a->nr_params; i++)
		if (a->param[i].offset != b->param[i].offset || a->param[i].size != b->param[i].size ||
		    a->param[i].align != b->param[i].align || a->param[i].is_pointer != b->param[i].is_pointer)
			return false;
	for (uint32_t i = 0; i < a->nr_blocks; i++) {
		if (a->block[i].nr_insns != b->block[i].nr_insns)
			return false;
		for (uint32_t j = 0; j < a->block[i].nr_insns; j++)
			if (!insn_equal(&a->block[i].insn[j], &b->block[i].insn[j]))
				return false;
	}
	return true;
}

static bool var_equal(const struct ir_var *a, const struct ir_var *b)
{
	if (!str_equal(a->name, b->name) || a->space != b->space || a->size != b->size || a->align != b->align ||
	    a->is_visible != b->is_visible || a->nr_relocs != b->nr_relocs || !a->init != !b->init)
		return false;
	if (a->init && memcmp(a->init, b->init, a->size))
		return false;
	for (size_t i = 0; i < a->nr_relocs; i++)
		if (a->relocs[i].offset != b->relocs[i].offset || a->relocs[i].var != b->relocs[i].var ||
		    a->relocs[i].addend != b->relocs[i].addend)
			return false;
	return true;
}

bool ir_equal(const struct ir_module *a, const struct ir_module *b)
{
	if (a->nr_funcs != b->nr_funcs || a->nr_vars != b->nr_vars)
		return false;
	for (uint32_t i = 0; i < a->nr_vars; i++)
		if (!var_equal(&a->var[i], &b->var[i]))
			return false;
	for (uint32_t i = 0; i < a->nr_funcs; i++)
		if (!func_equal(&a->func[i], &b->func[i]))
			return false;
	return true;
}
