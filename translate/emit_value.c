/* emit_value.c - LLVM IR of values: types, constants, registers, operands and results. For every emitter. */
#include "translate/emit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- types, constants, small things ---- */

LLVMTypeRef emit_scalar_int(struct emit *e, unsigned int bits)
{
	return LLVMIntTypeInContext(e->c, bits);
}

static LLVMTypeRef widen(struct emit *e, LLVMTypeRef t)
{
	return e->lanes == 1 ? t : LLVMVectorType(t, HG_WARP);
}

LLVMTypeRef emit_int(struct emit *e, unsigned int bits)
{
	return widen(e, emit_scalar_int(e, bits));
}

static LLVMTypeRef scalar_float(struct emit *e, unsigned int bits)
{
	switch (bits) {
	case 16: return LLVMHalfTypeInContext(e->c);
	case 32: return LLVMFloatTypeInContext(e->c);
	default: return LLVMDoubleTypeInContext(e->c);
	}
}

LLVMTypeRef emit_float(struct emit *e, unsigned int bits)
{
	return widen(e, scalar_float(e, bits));
}

LLVMValueRef emit_i32(struct emit *e, uint32_t v)
{
	return LLVMConstInt(emit_scalar_int(e, 32), v, 0);
}

LLVMValueRef emit_i64(struct emit *e, uint64_t v)
{
	return LLVMConstInt(emit_scalar_int(e, 64), v, 0);
}

static LLVMValueRef const_splat(struct emit *e, LLVMValueRef v)
{
	LLVMValueRef all[HG_WARP];

	if (e->lanes == 1)
		return v;
	for (int i = 0; i < HG_WARP; i++)
		all[i] = v;
	return LLVMConstVector(all, HG_WARP);
}

LLVMValueRef emit_const(struct emit *e, unsigned int bits, uint64_t v)
{
	if (bits < 64)
		v &= (UINT64_C(1) << bits) - 1;
	return const_splat(e, LLVMConstInt(emit_scalar_int(e, bits), v, 0));
}

LLVMValueRef emit_fconst(struct emit *e, unsigned int bits, double v)
{
	return const_splat(e, LLVMConstReal(scalar_float(e, bits), v));
}

LLVMValueRef emit_iota(struct emit *e, unsigned int bits, uint64_t step)
{
	LLVMValueRef all[HG_WARP];

	for (unsigned int i = 0; i < HG_WARP; i++)
		all[i] = LLVMConstInt(emit_scalar_int(e, bits), i * step, 0);
	return LLVMConstVector(all, HG_WARP);
}

bool emit_is_vector(LLVMValueRef v)
{
	return LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind;
}

unsigned int emit_bits(LLVMValueRef v)
{
	LLVMTypeRef t = LLVMTypeOf(v);

	if (LLVMGetTypeKind(t) == LLVMVectorTypeKind)
		t = LLVMGetElementType(t);
	switch (LLVMGetTypeKind(t)) {
	case LLVMIntegerTypeKind: return LLVMGetIntTypeWidth(t);
	case LLVMHalfTypeKind: return 16;
	case LLVMFloatTypeKind: return 32;
	default: return 64;
	}
}

LLVMValueRef emit_splat(struct emit *e, LLVMValueRef scalar)
{
	LLVMTypeRef vt;

	if (emit_is_vector(scalar))
		return scalar;
	vt = LLVMVectorType(LLVMTypeOf(scalar), HG_WARP);
	if (LLVMIsConstant(scalar)) {
		LLVMValueRef all[HG_WARP];

		for (int i = 0; i < HG_WARP; i++)
			all[i] = scalar;
		return LLVMConstVector(all, HG_WARP);
	}
	return LLVMBuildShuffleVector(e->b, LLVMBuildInsertElement(e->b, LLVMGetPoison(vt), scalar, emit_i32(e, 0), ""),
				      LLVMGetPoison(vt),
				      LLVMConstNull(LLVMVectorType(emit_scalar_int(e, 32), HG_WARP)), "");
}

LLVMValueRef emit_resize(struct emit *e, LLVMValueRef v, unsigned int bits, bool is_signed)
{
	unsigned int have = emit_bits(v);
	LLVMTypeRef t = emit_scalar_int(e, bits);

	if (emit_is_vector(v))
		t = LLVMVectorType(t, HG_WARP);
	if (have == bits)
		return v;
	if (have > bits)
		return LLVMBuildTrunc(e->b, v, t, "");
	return is_signed ? LLVMBuildSExt(e->b, v, t, "") : LLVMBuildZExt(e->b, v, t, "");
}

LLVMValueRef emit_to_float(struct emit *e, LLVMValueRef v)
{
	LLVMTypeRef t = scalar_float(e, emit_bits(v));

	return LLVMBuildBitCast(e->b, v, emit_is_vector(v) ? LLVMVectorType(t, HG_WARP) : t, "");
}

LLVMValueRef emit_to_int(struct emit *e, LLVMValueRef v)
{
	LLVMTypeRef t = emit_scalar_int(e, emit_bits(v));

	return LLVMBuildBitCast(e->b, v, emit_is_vector(v) ? LLVMVectorType(t, HG_WARP) : t, "");
}

LLVMValueRef emit_lane_bits(struct emit *e, LLVMValueRef pred)
{
	if (emit_is_vector(pred))
		return LLVMBuildBitCast(e->b, pred, emit_scalar_int(e, 32), "");
	return LLVMBuildSExt(e->b, pred, emit_scalar_int(e, 32), "");
}

LLVMValueRef emit_bits_lane(struct emit *e, LLVMValueRef i32)
{
	LLVMValueRef bit[HG_WARP];

	if (!e->opt.mask_registers && !LLVMIsConstant(i32)) {
		/* LLVM would take the bits out one by one */
		for (unsigned int i = 0; i < HG_WARP; i++)
			bit[i] = emit_i32(e, UINT32_C(1) << i);
		i32 = LLVMBuildAnd(e->b, emit_splat(e, i32), LLVMConstVector(bit, HG_WARP), "");
		return LLVMBuildICmp(e->b, LLVMIntNE, i32, LLVMConstNull(LLVMTypeOf(i32)), "");
	}
	return LLVMBuildBitCast(e->b, i32, LLVMVectorType(emit_scalar_int(e, 1), HG_WARP), "");
}

LLVMValueRef emit_call(struct emit *e, const char *intrinsic, LLVMTypeRef *over, unsigned int nr_over,
		       LLVMValueRef *args, unsigned int nr_args)
{
	unsigned int id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
	LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->m, id, over, nr_over);

	return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->c, id, over, nr_over), fn, args, nr_args, "");
}

LLVMValueRef emit_call1(struct emit *e, const char *intrinsic, LLVMValueRef a)
{
	LLVMTypeRef t = LLVMTypeOf(a);

	return emit_call(e, intrinsic, &t, 1, &a, 1);
}

LLVMValueRef emit_call2(struct emit *e, const char *intrinsic, LLVMValueRef a, LLVMValueRef b)
{
	LLVMTypeRef t = LLVMTypeOf(a);

	return emit_call(e, intrinsic, &t, 1, (LLVMValueRef[]){ a, b }, 2);
}

LLVMValueRef emit_call3(struct emit *e, const char *intrinsic, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
	LLVMTypeRef t = LLVMTypeOf(a);

	return emit_call(e, intrinsic, &t, 1, (LLVMValueRef[]){ a, b, c }, 3);
}

LLVMValueRef emit_select(struct emit *e, LLVMValueRef c, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildSelect(e->b, c, a, b, "");
}

LLVMBasicBlockRef emit_bb(struct emit *e, const char *name)
{
	return LLVMAppendBasicBlockInContext(e->c, e->f, name);
}

LLVMValueRef emit_at(struct emit *e, LLVMValueRef base, uint64_t offset)
{
	LLVMValueRef index = emit_i64(e, offset);

	return offset ? LLVMBuildInBoundsGEP2(e->b, emit_scalar_int(e, 8), base, &index, 1, "") : base;
}

LLVMValueRef emit_load(struct emit *e, LLVMTypeRef t, LLVMValueRef p, unsigned int align)
{
	LLVMValueRef v = LLVMBuildLoad2(e->b, t, p, "");

	LLVMSetAlignment(v, align);
	return v;
}

void emit_store(struct emit *e, LLVMValueRef v, LLVMValueRef p, unsigned int align)
{
	LLVMSetAlignment(LLVMBuildStore(e->b, v, p), align);
}

/* What is loaded does not change while the block runs: the load may be hoisted. */
LLVMValueRef emit_invariant(struct emit *e, LLVMValueRef load)
{
	LLVMSetMetadata(load, LLVMGetMDKindIDInContext(e->c, "invariant.load", 14),
			LLVMMetadataAsValue(e->c, LLVMMDNodeInContext2(e->c, NULL, 0)));
	return load;
}

LLVMValueRef emit_env(struct emit *e, LLVMTypeRef t, size_t offset)
{
	return emit_invariant(e, emit_load(e, t, emit_at(e, e->env, offset), 4));
}

void emit_unsupported(struct emit *e, const char *what)
{
	if (e->st)
		return;
	e->st = HG_ERR_UNSUPPORTED;
	snprintf(e->why, sizeof(e->why), "%s", what);
}

/* ---- registers ---- */

LLVMTypeRef emit_reg_type(struct emit *e, ir_reg r)
{
	LLVMTypeRef t = emit_scalar_int(e, ir_type_bits(e->fn->reg_type[r]));

	return e->info->is_vector[r] ? LLVMVectorType(t, HG_WARP) : t;
}

/*
 * A register that crosses blocks. Where lanes run in any order, nearly every block can follow nearly every
 * other: registers stay in the spill area there, since as values they would meet in thousands of phis. In code that is to
 * be compiled fast they stay there as well: a yield need not save them.
 */
LLVMValueRef emit_slot_load(struct emit *e, ir_reg r)
{
	LLVMValueRef v;

	if (!e->in_spill)
		return LLVMBuildLoad2(e->b, emit_reg_type(e, r), e->slot[r], "");
	if (e->fn->reg_type[r] != IR_PRED)
		return emit_load(e, emit_reg_type(e, r), e->slot[r], e->info->is_vector[r] ? 64 : 4);
	v = emit_load(e, emit_scalar_int(e, 32), e->slot[r], 4);
	return e->info->is_vector[r] ? emit_bits_lane(e, v) : emit_resize(e, v, 1, false);
}

void emit_slot_store(struct emit *e, ir_reg r, LLVMValueRef v)
{
	if (!e->in_spill)
		LLVMBuildStore(e->b, v, e->slot[r]);
	else if (e->fn->reg_type[r] == IR_PRED)
		emit_store(e, emit_lane_bits(e, v), e->slot[r], 4);
	else
		emit_store(e, v, e->slot[r], emit_is_vector(v) ? 64 : 4);
}

LLVMValueRef emit_reg_get(struct emit *e, ir_reg r)
{
	if (!e->cur[r]) {
		e->cur[r] = e->slot[r] ? emit_slot_load(e, r) : LLVMConstNull(emit_reg_type(e, r));
		e->touched[e->nr_touched++] = r;
	}
	return e->cur[r];
}

void emit_reg_set(struct emit *e, ir_reg r, LLVMValueRef v)
{
	if (!e->cur[r])
		e->touched[e->nr_touched++] = r;
	e->cur[r] = v;
	e->dirty[r] = true;
}

/* Registers written in this block go back to their slots; lanes that wait elsewhere keep what they need. */
void emit_regs_flush(struct emit *e)
{
	for (uint32_t i = 0; i < e->nr_touched; i++) {
		ir_reg r = e->touched[i];
		LLVMValueRef v = e->cur[r];

		if (e->dirty[r] && e->slot[r]) {
			if (e->info->is_vector[r] && e->info->parted[e->block] && emit_has(e->info->keep[e->block], r))
				v = emit_select(e, e->mask_now, v, emit_slot_load(e, r));
			emit_slot_store(e, r, v);
		}
		e->dirty[r] = false;
		e->cur[r] = NULL;
	}
	e->nr_touched = 0;
}

LLVMValueRef emit_guard(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	LLVMValueRef g;

	if (in->guard == IR_NO_REG)
		return NULL;
	g = emit_reg_get(e, in->guard);
	return in->guard_neg ? LLVMBuildNot(e->b, g, "") : g;
}

/* At the current width; a float that may still hold any NaN is made canonical if `canonical`. */
static LLVMValueRef operand(struct emit *e, const struct ir_operand *o, unsigned int bits, bool canonical)
{
	LLVMValueRef v;

	switch (o->kind) {
	case IR_OPD_REG:
		v = emit_reg_get(e, o->reg);
		/* an f64 that integers make has the one NaN already */
		if (canonical && e->info->raw_nan[o->reg] && !(e->no_f64 && e->fn->reg_type[o->reg] == IR_B64))
			v = emit_to_int(e, emit_canonical(e, emit_to_float(e, v)));
		break;
	case IR_OPD_IMM:
		return emit_const(e, bits, o->imm);
	case IR_OPD_VAR:
		v = LLVMBuildAdd(e->b, e->ops->var(e, o->index), emit_i64(e, o->imm), "");
		break;
	case IR_OPD_SREG:
	default:
		v = e->ops->special(e, o->index);
		break;
	}
	v = emit_resize(e, v, bits, false);
	if (e->lanes == HG_WARP)
		v = emit_splat(e, v);
	return v;
}

LLVMValueRef emit_src(struct emit *e, unsigned int i, unsigned int bits)
{
	return operand(e, &e->insn->src[i], bits, true);
}

LLVMValueRef emit_fsrc(struct emit *e, unsigned int i)
{
	enum ir_type t = e->insn->op == IR_cvt || e->insn->op == IR_set ? e->insn->type2 : e->insn->type;
	LLVMValueRef v = emit_to_float(e, operand(e, &e->insn->src[i], ir_type_bits(t), false));

	return e->insn->flags & IR_FTZ && t == IR_F32 ? emit_flush_denormal(e, v) : v;
}

LLVMValueRef emit_psrc(struct emit *e, unsigned int i)
{
	const struct ir_operand *o = &e->insn->src[i];
	LLVMValueRef v = o->kind == IR_OPD_IMM ? emit_const(e, 1, o->imm) : operand(e, o, 1, false);

	return o->negated ? LLVMBuildNot(e->b, v, "") : v;
}

void emit_set(struct emit *e, unsigned int i, LLVMValueRef v)
{
	ir_reg r = e->insn->dst[i];
	LLVMValueRef g;

	if (r == IR_NO_REG)
		return;
	/* a float may be converted into a register that is wider */
	v = emit_resize(e, v, ir_type_bits(e->fn->reg_type[r]), false);
	if (e->info->is_vector[r])
		v = emit_splat(e, v);
	assert(e->info->is_vector[r] || !emit_is_vector(v));
	g = emit_guard(e);
	if (g)
		v = emit_select(e, g, v, emit_reg_get(e, r));
	emit_reg_set(e, r, v);
}

void emit_set_ext(struct emit *e, unsigned int i, LLVMValueRef v, bool is_signed)
{
	ir_reg r = e->insn->dst[i];

	if (r != IR_NO_REG)
		emit_set(e, i, emit_resize(e, v, ir_type_bits(e->fn->reg_type[r]), is_signed));
}

void emit_fset(struct emit *e, LLVMValueRef v)
{
	ir_reg r = e->insn->dst[0];

	if (e->insn->flags & IR_FTZ && emit_bits(v) == 32)
		v = emit_flush_denormal(e, v);
	if (e->insn->flags & IR_SAT) {
		LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(v)), one;
		unsigned int lanes = e->lanes;

		e->lanes = emit_is_vector(v) ? HG_WARP : 1;
		one = emit_fconst(e, emit_bits(v), 1.0);
		e->lanes = lanes;
		v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOGT, v, zero, ""), v, zero);
		v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOLT, v, one, ""), v, one);
	}
	/* in a register that is wider its NaNs would not be known as such later */
	if (r != IR_NO_REG && (!e->info->raw_nan[r] || emit_bits(v) != ir_type_bits(e->fn->reg_type[r])))
		v = emit_canonical(e, v);
	emit_set(e, 0, emit_to_int(e, v));
}

LLVMValueRef emit_flush_denormal(struct emit *e, LLVMValueRef v)
{
	LLVMValueRef bits = emit_to_int(e, v), zero, flushed;
	unsigned int lanes = e->lanes;

	e->lanes = emit_is_vector(v) ? HG_WARP : 1;
	zero = LLVMBuildICmp(e->b, LLVMIntEQ, LLVMBuildAnd(e->b, bits, emit_const(e, 32, 0x7f800000), ""),
			     emit_const(e, 32, 0), "");
	flushed = LLVMBuildAnd(e->b, bits, emit_const(e, 32, 0x80000000), "");
	v = emit_to_float(e, emit_select(e, zero, flushed, bits));
	e->lanes = lanes;
	return v;
}

LLVMValueRef emit_canonical(struct emit *e, LLVMValueRef v)
{
	unsigned int lanes = e->lanes, bits = emit_bits(v);
	LLVMValueRef nan, r;

	e->lanes = emit_is_vector(v) ? HG_WARP : 1;
	nan = emit_const(e, bits, bits == 16 ? 0x7fff : bits == 32 ? 0x7fffffff : UINT64_C(0xfff8000000000000));
	/* as integers: nothing may fold one NaN into another */
	r = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealUNO, v, v, ""), nan, emit_to_int(e, v));
	r = emit_to_float(e, r);
	e->lanes = lanes;
	return r;
}

void emit_attr(struct emit *e, LLVMAttributeIndex at, const char *name)
{
	unsigned int kind = LLVMGetEnumAttributeKindForName(name, strlen(name));

	LLVMAddAttributeAtIndex(e->f, at, LLVMCreateEnumAttribute(e->c, kind, 0));
}

void emit_text_attr(struct emit *e, const char *name, const char *value)
{
	LLVMAddAttributeAtIndex(e->f, LLVMAttributeFunctionIndex,
				LLVMCreateStringAttribute(e->c, name, (unsigned int)strlen(name), value,
							  (unsigned int)strlen(value)));
}
