/* emit_affine.c - registers whose lanes differ by their thread's index alone, and what memory gains by knowing it. */
#include <stddef.h>

#include "translate/emit.h"

/*
 * The value of a lane is base + (tid.x - tid.x of lane 0) * stride + (tid.y - tid.y of lane 0) * step, modulo the register's width.
 * stride is known here, base and step are numbers of the running code. The registers keep their vectors: this comes in addition.
 */

/* ---- which registers ---- */

static const struct emit_line other = { .kind = EMIT_LINE_NONE };

static struct emit_line of_operand(const struct emit_info *in, const struct ir_operand *o)
{
	struct emit_line f = { .kind = EMIT_LINE };

	if (o->kind == IR_OPD_REG)
		return in->is_vector[o->reg] ? in->line[o->reg] : f;
	if (o->kind != IR_OPD_SREG)
		return f;
	switch (o->index) {
	case IR_SREG_TID_X:
		f.stride = 1;
		return f;
	case IR_SREG_TID_Y:
		f.rows = true;
		return f;
	case IR_SREG_NTID_X: case IR_SREG_NTID_Y: case IR_SREG_NTID_Z: case IR_SREG_CTAID_X: case IR_SREG_CTAID_Y:
	case IR_SREG_CTAID_Z: case IR_SREG_NCTAID_X: case IR_SREG_NCTAID_Y: case IR_SREG_NCTAID_Z:
		return f;
	default:
		return other;
	}
}

/* As a number of `bits`, with its sign. */
static int64_t signed_bits(uint64_t v, unsigned int bits)
{
	return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/* The worse of both kinds, or a sum. */
static struct emit_line sum_of(struct emit_line a, struct emit_line b, bool minus)
{
	if (a.kind != EMIT_LINE || b.kind != EMIT_LINE)
		return a.kind == EMIT_LINE_NONE || b.kind == EMIT_LINE_NONE ? other : (struct emit_line){ .kind = EMIT_LINE_UNKNOWN };
	a.stride = (int64_t)((uint64_t)a.stride + (minus ? -(uint64_t)b.stride : (uint64_t)b.stride));
	a.rows |= b.rows;
	return a;
}

static bool is_uniform(struct emit_line f)
{
	return f.kind == EMIT_LINE && !f.stride && !f.rows;
}

/* Which factor of a product is the same for all lanes: 0, 1; 2: neither. */
static unsigned int uniform_factor(const struct emit_info *in, const struct ir_insn *n)
{
	return is_uniform(of_operand(in, &n->src[1])) ? 1 : is_uniform(of_operand(in, &n->src[0])) ? 0 : 2;
}

static struct emit_line product_of(const struct emit_info *in, const struct ir_insn *n)
{
	unsigned int u = uniform_factor(in, n), bits = ir_type_bits(n->type);
	const struct ir_operand *by = &n->src[u & 1];
	struct emit_line f = of_operand(in, &n->src[!u]);
	int64_t k;

	if (u == 2) {
		struct emit_line g = of_operand(in, &n->src[0]);

		f = of_operand(in, &n->src[1]);
		return f.kind == EMIT_LINE_UNKNOWN || g.kind == EMIT_LINE_UNKNOWN ? (struct emit_line){ .kind = EMIT_LINE_UNKNOWN } : other;
	}
	if (f.kind != EMIT_LINE || !f.stride)
		return f;
	if (by->kind != IR_OPD_IMM)
		return other;
	k = n->flags & IR_WIDE && !ir_type_is_signed(n->type) ? (int64_t)(by->imm & UINT32_MAX) : signed_bits(by->imm, bits);
	f.stride = (int64_t)((uint64_t)f.stride * (uint64_t)k);
	return f;
}

static bool is_plain_int(enum ir_type t)
{
	return !ir_type_is_float(t) && (ir_type_bits(t) == 32 || ir_type_bits(t) == 64);
}

static struct emit_line result_of(const struct emit_info *in, const struct ir_insn *n)
{
	struct emit_line f;

	if (n->nr_dst != 1 || (n->guard != IR_NO_REG && in->is_vector[n->guard]))
		return other;
	if (n->flags & ~IR_WIDE)
		return other;
	switch (n->op) {
	case IR_mov:
		return of_operand(in, &n->src[0]);
	case IR_add: case IR_sub:
		if (!is_plain_int(n->type))
			return other;
		return sum_of(of_operand(in, &n->src[0]), of_operand(in, &n->src[1]), n->op == IR_sub);
	case IR_mul: case IR_mad:
		if (!is_plain_int(n->type) || (n->flags & IR_WIDE && ir_type_bits(n->type) != 32))
			return other;
		f = product_of(in, n);
		return n->op == IR_mad ? sum_of(f, of_operand(in, &n->src[2]), false) : f;
	case IR_shl:
		f = of_operand(in, &n->src[0]);
		if (n->src[1].kind != IR_OPD_IMM || n->src[1].imm >= ir_type_bits(n->type))
			return other;
		f.stride = (int64_t)((uint64_t)f.stride << n->src[1].imm);
		return f;
	case IR_cvt:
		if (n->nr_src != 1 || !is_plain_int(n->type) || !is_plain_int(n->type2))
			return other;
		return of_operand(in, &n->src[0]);
	case IR_cvta: case IR_cvta_to:
		return n->space == IR_LOCAL || ir_type_bits(n->type) != 64 ? other : of_operand(in, &n->src[0]);
	default:
		return other;
	}
}

/* True when the register's form became worse. */
static bool meet(struct emit_info *in, ir_reg r, struct emit_line f)
{
	struct emit_line *have = &in->line[r], was = *have;
	unsigned int bits = ir_type_bits(in->fn->reg_type[r]);

	if (f.kind == EMIT_LINE_UNKNOWN || have->kind == EMIT_LINE_NONE)
		return false;
	if (f.kind == EMIT_LINE && bits != 32 && bits != 64)
		f.kind = EMIT_LINE_NONE;
	f.stride = signed_bits((uint64_t)f.stride, bits < 32 ? 32 : bits > 64 ? 64 : bits);
	if (f.kind == EMIT_LINE_NONE || (have->kind == EMIT_LINE && have->stride != f.stride)) {
		*have = other;
		return true;
	}
	f.rows |= have->kind == EMIT_LINE && have->rows;
	*have = f;
	return was.kind != f.kind || was.rows != f.rows;
}

void emit_find_lines(struct emit_info *in)
{
	const struct ir_func *fn = in->fn;
	bool again = !in->free_order;

	for (uint32_t r = 0; r < in->nr_regs; r++)
		in->line[r].kind = in->free_order || !in->is_vector[r] || emit_has(in->live_in[0], r) ? EMIT_LINE_NONE : EMIT_LINE_UNKNOWN;
	while (again) {
		again = false;
		for (uint32_t b = 0; b < in->nr_blocks; b++)
			for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
				const struct ir_insn *n = &fn->block[b].insn[i];

				for (unsigned int d = 0; d < n->nr_dst; d++) {
					ir_reg r = n->dst[d];

					if (r == IR_NO_REG || !in->is_vector[r])
						continue;
					/* lanes that wait elsewhere keep their old value: one base would not be enough */
					again |= meet(in, r, in->parted[b] && emit_has(in->keep[b], r) ? other : result_of(in, n));
				}
			}
	}
	for (uint32_t r = 0; r < in->nr_regs; r++) {
		if (in->line[r].kind == EMIT_LINE_UNKNOWN)
			in->line[r] = other;
		in->has_lines |= in->line[r].kind == EMIT_LINE;
	}
}

/* ---- their numbers ---- */

static LLVMTypeRef reg_int(struct emit *e, ir_reg r)
{
	return emit_scalar_int(e, ir_type_bits(e->fn->reg_type[r]));
}

void emit_lines_begin(struct emit *e)
{
	for (uint32_t r = 0; r < e->fn->nr_regs; r++) {
		if (!e->has_lines || e->info->line[r].kind != EMIT_LINE)
			continue;
		e->line_base[r] = LLVMBuildAlloca(e->b, reg_int(e, r), "");
		if (e->info->line[r].rows)
			e->line_step[r] = LLVMBuildAlloca(e->b, reg_int(e, r), "");
	}
	e->shape = LLVMBuildAlloca(e->b, emit_scalar_int(e, 32), "");
}

struct value { LLVMValueRef base, step; };	/* step: NULL for 0 */

static LLVMValueRef thread_of_first_lane(struct emit *e, unsigned int dim)
{
	LLVMTypeRef ptr = LLVMPointerTypeInContext(e->c, 0);
	LLVMValueRef tid = emit_load(e, ptr, emit_at(e, e->frame, offsetof(struct hg_cpu_frame, tid)), 8);

	return emit_invariant(e, emit_load(e, emit_scalar_int(e, 32), emit_at(e, tid, dim * 128u), 4));
}

/* The low `bits` of an operand. */
static struct value value_of(struct emit *e, unsigned int i, unsigned int bits)
{
	const struct ir_operand *o = &e->insn->src[i];
	struct value v = { NULL, NULL };

	if (o->kind == IR_OPD_REG && e->info->is_vector[o->reg]) {
		v.base = emit_resize(e, LLVMBuildLoad2(e->b, reg_int(e, o->reg), e->line_base[o->reg], ""), bits, false);
		if (e->line_step[o->reg])
			v.step = emit_resize(e, LLVMBuildLoad2(e->b, reg_int(e, o->reg), e->line_step[o->reg], ""), bits, false);
	} else if (o->kind == IR_OPD_SREG && (o->index == IR_SREG_TID_X || o->index == IR_SREG_TID_Y)) {
		v.base = emit_resize(e, thread_of_first_lane(e, o->index - IR_SREG_TID_X), bits, false);
		if (o->index == IR_SREG_TID_Y)
			v.step = emit_const(e, bits, 1);
	} else {
		v.base = emit_src(e, i, bits);
	}
	return v;
}

static LLVMValueRef fits(struct emit *e, LLVMValueRef v, bool is_signed)
{
	return LLVMBuildICmp(e->b, LLVMIntEQ, emit_resize(e, emit_resize(e, v, 32, false), 64, is_signed), v, "");
}

/* A number of 32 bits becomes one of 64: no lane may wrap around on the way, else the warp's addresses count as lanes apart. */
static struct value widen(struct emit *e, struct value v, int64_t stride, bool is_signed)
{
	LLVMValueRef end, ok;

	v.base = emit_resize(e, v.base, 64, is_signed);
	end = LLVMBuildAdd(e->b, v.base, emit_i64(e, (uint64_t)stride * (HG_WARP - 1)), "");
	ok = fits(e, end, is_signed);
	if (v.step) {
		v.step = emit_resize(e, v.step, 64, true);
		ok = LLVMBuildAnd(e->b, ok, fits(e, LLVMBuildAdd(e->b, v.base, v.step, ""), is_signed), "");
		ok = LLVMBuildAnd(e->b, ok, fits(e, LLVMBuildAdd(e->b, end, v.step, ""), is_signed), "");
	}
	LLVMBuildStore(e->b, emit_select(e, ok, LLVMBuildLoad2(e->b, emit_scalar_int(e, 32), e->shape, ""),
					 emit_i32(e, HG_CPU_SHAPE_NONE)), e->shape);
	return v;
}

static struct value add(struct emit *e, struct value a, struct value b, bool minus)
{
	a.base = minus ? LLVMBuildSub(e->b, a.base, b.base, "") : LLVMBuildAdd(e->b, a.base, b.base, "");
	if (b.step && minus)
		b.step = LLVMBuildNeg(e->b, b.step, "");
	if (b.step)
		a.step = a.step ? LLVMBuildAdd(e->b, a.step, b.step, "") : b.step;
	return a;
}

static struct value product(struct emit *e, unsigned int bits)
{
	const struct ir_insn *in = e->insn;
	unsigned int u = uniform_factor(e->info, in);
	bool is_signed = ir_type_is_signed(in->type);
	struct value v = value_of(e, !u, bits);
	LLVMValueRef by = emit_src(e, u, bits);

	if (in->flags & IR_WIDE) {
		struct emit_line f = of_operand(e->info, &in->src[!u]);

		if (!is_uniform(f))
			v = widen(e, v, f.stride, is_signed);
		else
			v.base = emit_resize(e, v.base, 64, is_signed);
		by = emit_resize(e, by, 64, is_signed);
	}
	v.base = LLVMBuildMul(e->b, v.base, by, "");
	if (v.step)
		v.step = LLVMBuildMul(e->b, v.step, by, "");
	return v;
}

static struct value compute(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = ir_type_bits(in->type);
	struct value v;

	switch (in->op) {
	case IR_add: case IR_sub:
		return add(e, value_of(e, 0, bits), value_of(e, 1, bits), in->op == IR_sub);
	case IR_mul:
		return product(e, bits);
	case IR_mad:
		v = product(e, bits);
		return add(e, v, value_of(e, 2, emit_bits(v.base)), false);
	case IR_shl:
		v = value_of(e, 0, bits);
		v.base = LLVMBuildShl(e->b, v.base, emit_const(e, bits, in->src[1].imm), "");
		if (v.step)
			v.step = LLVMBuildShl(e->b, v.step, emit_const(e, bits, in->src[1].imm), "");
		return v;
	case IR_cvt:
		v = value_of(e, 0, ir_type_bits(in->type2));
		if (bits > ir_type_bits(in->type2))
			return widen(e, v, of_operand(e->info, &in->src[0]).stride, ir_type_is_signed(in->type2));
		v.base = emit_resize(e, v.base, bits, false);
		if (v.step)
			v.step = emit_resize(e, v.step, bits, false);
		return v;
	case IR_cvta: case IR_cvta_to: {
		LLVMValueRef space = emit_space_base(e, in->space);

		v = value_of(e, 0, bits);
		if (space)
			v.base = in->op == IR_cvta ? LLVMBuildAdd(e->b, space, v.base, "") : LLVMBuildSub(e->b, v.base, space, "");
		return v;
	}
	default:	/* mov */
		return value_of(e, 0, bits);
	}
}

/* With a guard that is the same for all lanes. */
static void keep(struct emit *e, LLVMValueRef slot, LLVMValueRef v, ir_reg r)
{
	LLVMTypeRef t = reg_int(e, r);

	v = emit_resize(e, v, ir_type_bits(e->fn->reg_type[r]), ir_type_is_signed(e->insn->type));
	if (e->insn->guard != IR_NO_REG)
		v = emit_select(e, emit_guard(e), v, LLVMBuildLoad2(e->b, t, slot, ""));
	LLVMBuildStore(e->b, v, slot);
}

void emit_line_set(struct emit *e)
{
	ir_reg r = e->insn->nr_dst ? e->insn->dst[0] : IR_NO_REG;
	struct value v;

	if (r == IR_NO_REG || e->info->line[r].kind != EMIT_LINE)
		return;
	e->lanes = 1;
	v = compute(e);
	keep(e, e->line_base[r], v.base, r);
	if (e->line_step[r])
		keep(e, e->line_step[r], v.step ? v.step : emit_const(e, emit_bits(v.base), 0), r);
}

/* In the spill area. */
static LLVMValueRef spilled(struct emit *e, ir_reg r, unsigned int nr)
{
	return emit_at(e, e->frame, HG_CPU_FRAME_BYTES + e->info->line[r].slot + nr * 8u);
}

void emit_line_save(struct emit *e, ir_reg r)
{
	if (e->line_base[r])
		emit_store(e, LLVMBuildLoad2(e->b, reg_int(e, r), e->line_base[r], ""), spilled(e, r, 0), 8);
	if (e->line_step[r])
		emit_store(e, LLVMBuildLoad2(e->b, reg_int(e, r), e->line_step[r], ""), spilled(e, r, 1), 8);
}

void emit_line_restore(struct emit *e, ir_reg r)
{
	if (e->line_base[r])
		LLVMBuildStore(e->b, emit_load(e, reg_int(e, r), spilled(e, r, 0), 8), e->line_base[r]);
	if (e->line_step[r])
		LLVMBuildStore(e->b, emit_load(e, reg_int(e, r), spilled(e, r, 1), 8), e->line_step[r]);
}

/* ---- addresses ---- */

bool emit_line_address(struct emit *e, struct emit_line_address *out)
{
	const struct ir_operand *o = &e->insn->src[0];
	unsigned int lanes = e->lanes, bits;
	LLVMValueRef space, shape, sum;
	struct value v;

	if (o->kind != IR_OPD_REG || !e->line_base[o->reg] || e->insn->space == IR_LOCAL || e->insn->space == IR_PARAM)
		return false;
	e->lanes = 1;
	bits = ir_type_bits(e->fn->reg_type[o->reg]);
	v = value_of(e, 0, bits);
	v.base = LLVMBuildAdd(e->b, v.base, emit_const(e, bits, e->insn->src[1].imm), "");
	shape = LLVMBuildLoad2(e->b, emit_scalar_int(e, 32), e->shape, "");
	out->row = LLVMBuildICmp(e->b, LLVMIntEQ, shape, emit_i32(e, HG_CPU_SHAPE_ROW), "");
	out->two_rows = LLVMBuildICmp(e->b, LLVMIntEQ, shape, emit_i32(e, HG_CPU_SHAPE_TWO_ROWS), "");
	out->stride = e->info->line[o->reg].stride;
	if (bits == 32) {
		/* an address below the window must not become one before it: it is for the code that takes lane by lane */
		LLVMValueRef zero = emit_const(e, 32, 0), ok = LLVMBuildICmp(e->b, LLVMIntSGE, v.base, zero, "");

		out->row = LLVMBuildAnd(e->b, out->row, ok, "");
		if (v.step) {
			sum = LLVMBuildAdd(e->b, v.base, v.step, "");
			ok = LLVMBuildAnd(e->b, ok, LLVMBuildICmp(e->b, LLVMIntSGE, sum, zero, ""), "");
		}
		out->two_rows = LLVMBuildAnd(e->b, out->two_rows, ok, "");
		v.base = emit_resize(e, v.base, 64, false);
		if (v.step)
			v.step = emit_resize(e, v.step, 64, true);
	}
	space = emit_space_base(e, e->insn->space);
	out->first = space ? LLVMBuildAdd(e->b, space, v.base, "") : v.base;
	out->second = v.step ? LLVMBuildAdd(e->b, out->first, v.step, "") : out->first;
	e->lanes = lanes;
	return true;
}
