/* emit_memory.c - loads, stores, atomics, address spaces. */
#include "translate/emit.h"

#include <stddef.h>

#include "translate/cpu_rt.h"

#define MAX_PARTS 8	/* components of a vector access */

static LLVMTypeRef ptr_type(struct emit *e)
{
	return LLVMPointerTypeInContext(e->c, 0);
}

static LLVMValueRef to_ptr(struct emit *e, LLVMValueRef addr)
{
	return LLVMBuildIntToPtr(e->b, addr, ptr_type(e), "");
}

/* Bytes of a lane's local window, i64. */
static LLVMValueRef local_size(struct emit *e)
{
	if (!e->fn->uses_stack)
		return emit_i64(e, e->fn->local_bytes);
	return LLVMBuildZExt(e->b, emit_env(e, emit_scalar_int(e, 32), offsetof(struct hg_cpu_env, local_bytes)),
			     emit_scalar_int(e, 64), "");
}

/* Where a space begins among the host's addresses, at the current width; NULL: at 0. */
static LLVMValueRef space_base(struct emit *e, enum ir_space space)
{
	LLVMTypeRef i64 = emit_scalar_int(e, 64);
	LLVMValueRef base;

	switch (space) {
	case IR_SHARED:
		base = emit_env(e, i64, offsetof(struct hg_cpu_env, shared));
		break;
	case IR_PARAM:
		base = emit_env(e, i64, offsetof(struct hg_cpu_env, params));
		break;
	case IR_LOCAL:
		base = emit_splat(e, emit_load(e, i64, emit_at(e, e->frame, offsetof(struct hg_cpu_frame, local)), 8));
		if (!e->fn->uses_stack)
			return LLVMBuildAdd(e->b, base, emit_iota(e, 64, e->fn->local_bytes), "");
		return LLVMBuildAdd(e->b, base, LLVMBuildMul(e->b, emit_splat(e, local_size(e)), emit_iota(e, 64, 1), ""), "");
	default:
		return NULL;
	}
	return e->lanes == HG_WARP ? emit_splat(e, base) : base;
}

static unsigned int address_bits(const struct emit *e)
{
	const struct ir_operand *o = &e->insn->src[0];

	return o->kind == IR_OPD_REG ? ir_type_bits(e->fn->reg_type[o->reg]) : 64;
}

/* The host address of an access, as i64 at the current width. */
static LLVMValueRef address(struct emit *e)
{
	unsigned int bits = address_bits(e);
	LLVMValueRef a = emit_src(e, 0, bits), base = space_base(e, e->insn->space);

	if (e->insn->src[1].imm)
		a = LLVMBuildAdd(e->b, a, emit_const(e, bits, e->insn->src[1].imm), "");
	a = emit_resize(e, a, 64, false);
	return base ? LLVMBuildAdd(e->b, base, a, "") : a;
}

static LLVMValueRef is_zero(struct emit *e, LLVMValueRef v)
{
	return LLVMBuildICmp(e->b, LLVMIntEQ, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

/* HGSHIM_CHECK=memory: asks before each access. */
static void check_lanes(struct emit *e, LLVMValueRef addr, LLVMValueRef lanes, unsigned int size)
{
	LLVMValueRef args[7];

	if (!e->opt.check)
		return;
	args[0] = e->frame;
	args[1] = e->env;
	args[2] = emit_spread(e, 0, addr);
	args[3] = lanes;
	args[4] = emit_i32(e, size);
	args[5] = emit_i32(e, e->insn->space);
	args[6] = emit_i32(e, e->insn->line);
	emit_rt(e, offsetof(struct hg_cpu_rt, check), NULL, args, 7);
}

static void check_access(struct emit *e, LLVMValueRef addr, unsigned int size)
{
	if (e->opt.check)
		check_lanes(e, addr, emit_active(e), size);
}

LLVMValueRef emit_address(struct emit *e, LLVMValueRef lanes, unsigned int size)
{
	LLVMValueRef a = address(e);

	check_lanes(e, a, lanes, size);
	return emit_spread(e, 0, a);
}

/* ---- one address for the whole warp ---- */

/* Ends the kernel when a scalar address is not a multiple of `align`. */
static void check_aligned(struct emit *e, LLVMValueRef addr, unsigned int align)
{
	LLVMBasicBlockRef bad, good;
	LLVMValueRef args[2];

	if (align == 1 || e->insn->space == IR_PARAM)
		return;
	bad = emit_bb(e, "misaligned");
	good = emit_bb(e, "aligned");
	LLVMBuildCondBr(e->b, is_zero(e, LLVMBuildAnd(e->b, addr, emit_i64(e, align - 1), "")), good, bad);
	LLVMPositionBuilderAtEnd(e->b, bad);
	emit_fault_lanes(e, emit_active(e));
	args[0] = emit_i32(e, HG_CPU_FAULT_MISALIGNED);
	args[1] = addr;
	emit_rt(e, offsetof(struct hg_cpu_rt, fault), NULL, args, 2);
	LLVMBuildUnreachable(e->b);
	LLVMPositionBuilderAtEnd(e->b, good);
}

/* Others may change it meanwhile: exactly one access, in order. */
static void make_strong(struct emit *e, LLVMValueRef access, bool is_store)
{
	unsigned int bits = ir_type_bits(e->insn->type);

	if (e->insn->sem == IR_WEAK)
		return;
	LLVMSetVolatile(access, 1);
	if (bits <= 64)
		LLVMSetOrdering(access, e->insn->sem == IR_SC ? LLVMAtomicOrderingSequentiallyConsistent :
					is_store ? LLVMAtomicOrderingRelease : LLVMAtomicOrderingAcquire);
}

static void scalar_access(struct emit *e, bool is_store)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = ir_type_bits(in->type), size = bits / 8, nr = is_store ? in->nr_src - 2u : in->nr_dst;
	LLVMTypeRef t = emit_scalar_int(e, bits);
	LLVMValueRef addr = address(e), val[MAX_PARTS];
	LLVMBasicBlockRef before = NULL, go = NULL, on = NULL, from;

	check_access(e, addr, size * nr);
	for (unsigned int c = 0; is_store && c < nr; c++)
		val[c] = emit_src(e, 2 + c, bits);
	if (in->guard != IR_NO_REG) {
		go = emit_bb(e, "access");
		on = emit_bb(e, "on");
		before = LLVMGetInsertBlock(e->b);
		LLVMBuildCondBr(e->b, is_zero(e, emit_active(e)), on, go);
		before = LLVMGetInsertBlock(e->b);
		LLVMPositionBuilderAtEnd(e->b, go);
	}
	check_aligned(e, addr, size * nr);
	for (unsigned int c = 0; c < nr; c++) {
		LLVMValueRef p = emit_at(e, to_ptr(e, addr), c * size), access;

		if (is_store) {
			access = LLVMBuildStore(e->b, val[c], p);
		} else {
			access = LLVMBuildLoad2(e->b, t, p, "");
			val[c] = access;
		}
		LLVMSetAlignment(access, size);
		make_strong(e, access, is_store);
	}
	if (on) {
		from = LLVMGetInsertBlock(e->b);
		LLVMBuildBr(e->b, on);
		LLVMPositionBuilderAtEnd(e->b, on);
		for (unsigned int c = 0; !is_store && c < nr; c++) {
			LLVMValueRef phi = LLVMBuildPhi(e->b, t, ""), none = LLVMConstNull(t);

			LLVMAddIncoming(phi, &val[c], &from, 1);
			LLVMAddIncoming(phi, &none, &before, 1);
			val[c] = phi;
		}
	}
	for (unsigned int c = 0; !is_store && c < nr; c++)
		emit_set_ext(e, c, val[c], ir_type_is_signed(in->type));
}

/* ---- an address for each lane ---- */

/* Vectors of 32 per component <-> one vector as it lies in memory. */
static LLVMValueRef interleave(struct emit *e, LLVMValueRef *part, unsigned int nr)
{
	LLVMValueRef joined[MAX_PARTS], mask[HG_WARP * MAX_PARTS];
	unsigned int have = 1;

	/* nr is 1, 2, 4 or 8: parts are joined end to end, then every element goes to its place */
	if (nr == 1)
		return part[0];
	for (unsigned int c = 0; c < nr; c++)
		joined[c] = part[c];
	for (; have < nr; have *= 2)
		for (unsigned int c = 0; c < nr / have / 2; c++) {
			for (unsigned int i = 0; i < HG_WARP * have * 2; i++)
				mask[i] = emit_i32(e, i);
			joined[c] = LLVMBuildShuffleVector(e->b, joined[2 * c], joined[2 * c + 1],
							   LLVMConstVector(mask, HG_WARP * have * 2), "");
		}
	for (unsigned int i = 0; i < HG_WARP * nr; i++)
		mask[i] = emit_i32(e, i % nr * HG_WARP + i / nr);
	return LLVMBuildShuffleVector(e->b, joined[0], LLVMGetPoison(LLVMTypeOf(joined[0])),
				      LLVMConstVector(mask, HG_WARP * nr), "");
}

static LLVMValueRef deinterleave(struct emit *e, LLVMValueRef v, unsigned int nr, unsigned int c)
{
	LLVMValueRef mask[HG_WARP];

	if (nr == 1)
		return v;
	for (unsigned int i = 0; i < HG_WARP; i++)
		mask[i] = emit_i32(e, i * nr + c);
	return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(mask, HG_WARP), "");
}

static LLVMValueRef masked_load(struct emit *e, LLVMTypeRef t, LLVMValueRef p, unsigned int align, LLVMValueRef mask)
{
	LLVMTypeRef over[2] = { t, ptr_type(e) };
	LLVMValueRef args[4] = { p, emit_i32(e, align), emit_bits_lane(e, mask), LLVMConstNull(t) };

	return emit_call(e, "llvm.masked.load", over, 2, args, 4);
}

static void masked_store(struct emit *e, LLVMValueRef v, LLVMValueRef p, unsigned int align, LLVMValueRef mask)
{
	LLVMTypeRef over[2] = { LLVMTypeOf(v), ptr_type(e) };
	LLVMValueRef args[4] = { v, p, emit_i32(e, align), emit_bits_lane(e, mask) };

	emit_call(e, "llvm.masked.store", over, 2, args, 4);
}

static LLVMValueRef lane_ptrs(struct emit *e, LLVMValueRef addr, uint64_t offset)
{
	if (offset)
		addr = LLVMBuildAdd(e->b, addr, emit_const(e, 64, offset), "");
	return LLVMBuildIntToPtr(e->b, addr, LLVMVectorType(ptr_type(e), HG_WARP), "");
}

static void gather(struct emit *e, LLVMValueRef addr, LLVMTypeRef t, unsigned int size, LLVMValueRef active,
		   LLVMValueRef *val, unsigned int nr)
{
	LLVMTypeRef over[2] = { t, LLVMVectorType(ptr_type(e), HG_WARP) };

	for (unsigned int c = 0; c < nr; c++) {
		LLVMValueRef args[4] = { lane_ptrs(e, addr, c * size), emit_i32(e, size), emit_bits_lane(e, active),
					 LLVMConstNull(t) };

		val[c] = emit_call(e, "llvm.masked.gather", over, 2, args, 4);
	}
}

static void scatter(struct emit *e, LLVMValueRef addr, unsigned int size, LLVMValueRef active, LLVMValueRef *val,
		    unsigned int nr)
{
	for (unsigned int c = 0; c < nr; c++) {
		LLVMTypeRef over[2] = { LLVMTypeOf(val[c]), LLVMVectorType(ptr_type(e), HG_WARP) };
		LLVMValueRef args[4] = { val[c], lane_ptrs(e, addr, c * size), emit_i32(e, size),
					 emit_bits_lane(e, active) };

		emit_call(e, "llvm.masked.scatter", over, 2, args, 4);
	}
}

/* Lane by lane, with every address checked. */
static void by_helper(struct emit *e, bool is_store, LLVMValueRef addr, LLVMValueRef active, unsigned int bits,
		      LLVMValueRef *val, unsigned int nr)
{
	LLVMTypeRef t = emit_int(e, bits);
	LLVMValueRef args[6] = { emit_spread(e, 0, addr), active, e->buf[1], emit_i32(e, bits / 8), emit_i32(e, nr),
				 emit_i32(e, e->insn->line) };

	for (unsigned int c = 0; is_store && c < nr; c++)
		emit_store(e, val[c], emit_at(e, e->buf[1], (uint64_t)c * HG_WARP * bits / 8), 16);
	emit_rt(e, is_store ? offsetof(struct hg_cpu_rt, store) : offsetof(struct hg_cpu_rt, load), NULL, args, 6);
	for (unsigned int c = 0; !is_store && c < nr; c++)
		val[c] = emit_load(e, t, emit_at(e, e->buf[1], (uint64_t)c * HG_WARP * bits / 8), 16);
}

/*
 * Lanes that stand side by side in memory take one access; *base is where lane 0's element would be. The
 * answer is an i1.
 */
static LLVMValueRef side_by_side(struct emit *e, LLVMValueRef addr, LLVMValueRef active, unsigned int stride,
				 bool whole_warp, LLVMValueRef *base)
{
	LLVMValueRef diff = LLVMBuildSub(e->b, addr, emit_iota(e, 64, stride), ""), first, same, ok;

	if (whole_warp) {
		first = emit_i32(e, 0);
	} else {
		first = emit_call(e, "llvm.cttz", (LLVMTypeRef[]){ emit_scalar_int(e, 32) }, 1,
				  (LLVMValueRef[]){ active, LLVMConstNull(emit_scalar_int(e, 1)) }, 2);
		first = LLVMBuildAnd(e->b, first, emit_i32(e, 31), "");
	}
	*base = LLVMBuildExtractElement(e->b, diff, first, "");
	same = emit_lane_bits(e, LLVMBuildICmp(e->b, LLVMIntEQ, diff, emit_splat(e, *base), ""));
	if (whole_warp)
		same = LLVMBuildAnd(e->b, same, active, "");
	else
		same = LLVMBuildOr(e->b, same, LLVMBuildNot(e->b, active, ""), "");
	ok = LLVMBuildICmp(e->b, LLVMIntEQ, same, emit_i32(e, UINT32_MAX), "");
	ok = LLVMBuildAnd(e->b, ok, is_zero(e, LLVMBuildAnd(e->b, *base, emit_i64(e, stride - 1), "")), "");
	if (!whole_warp && e->insn->guard != IR_NO_REG)
		ok = LLVMBuildAnd(e->b, ok, LLVMBuildNot(e->b, is_zero(e, active), ""), "");
	return ok;
}

static void vector_access(struct emit *e, bool is_store)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = ir_type_bits(in->type), size = bits / 8, nr = is_store ? in->nr_src - 2u : in->nr_dst;
	bool masked = nr == 1 && (size >= 4 ? e->opt.masked_wide : e->opt.masked_narrow) && size <= 8;
	LLVMValueRef addr = address(e), active = emit_active(e), val[MAX_PARTS], fast_val[MAX_PARTS], base, wide;
	LLVMTypeRef t = emit_int(e, bits);
	LLVMBasicBlockRef fast, slow, on, from[2];

	check_access(e, addr, size * nr);
	for (unsigned int c = 0; is_store && c < nr; c++)
		val[c] = emit_src(e, 2 + c, bits);
	if (in->sem != IR_WEAK || size > 8 || (nr & (nr - 1))) {
		by_helper(e, is_store, addr, active, bits, val, nr);
		goto set;
	}
	fast = emit_bb(e, "side_by_side");
	slow = emit_bb(e, "apart");
	on = emit_bb(e, "on");
	LLVMBuildCondBr(e->b, side_by_side(e, addr, active, size * nr, !masked, &base), fast, slow);

	LLVMPositionBuilderAtEnd(e->b, fast);
	base = to_ptr(e, base);
	if (masked && is_store) {
		masked_store(e, val[0], base, size, active);
	} else if (masked) {
		fast_val[0] = masked_load(e, t, base, size, active);
	} else if (is_store) {
		emit_store(e, interleave(e, val, nr), base, size);
	} else {
		wide = emit_load(e, LLVMVectorType(emit_scalar_int(e, bits), HG_WARP * nr), base, size);
		for (unsigned int c = 0; c < nr; c++)
			fast_val[c] = deinterleave(e, wide, nr, c);
	}
	from[0] = LLVMGetInsertBlock(e->b);
	LLVMBuildBr(e->b, on);

	LLVMPositionBuilderAtEnd(e->b, slow);
	if (e->opt.gathers && size >= 4) {
		LLVMBasicBlockRef wild = emit_bb(e, "misaligned"), tame = emit_bb(e, "gather");
		LLVMValueRef odd = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, addr, emit_const(e, 64, size * nr - 1), ""),
						 emit_const(e, 64, 0), ""), none[MAX_PARTS];

		odd = LLVMBuildAnd(e->b, emit_lane_bits(e, odd), active, "");
		LLVMBuildCondBr(e->b, is_zero(e, odd), tame, wild);
		LLVMPositionBuilderAtEnd(e->b, wild);
		for (unsigned int c = 0; c < nr; c++)
			none[c] = is_store ? val[c] : LLVMGetUndef(t);
		by_helper(e, is_store, addr, odd, bits, none, nr);
		LLVMBuildUnreachable(e->b);
		LLVMPositionBuilderAtEnd(e->b, tame);
		if (is_store)
			scatter(e, addr, size, active, val, nr);
		else
			gather(e, addr, t, size, active, val, nr);
	} else {
		by_helper(e, is_store, addr, active, bits, val, nr);
	}
	from[1] = LLVMGetInsertBlock(e->b);
	LLVMBuildBr(e->b, on);

	LLVMPositionBuilderAtEnd(e->b, on);
	for (unsigned int c = 0; !is_store && c < nr; c++) {
		LLVMValueRef phi = LLVMBuildPhi(e->b, t, "");

		LLVMAddIncoming(phi, &fast_val[c], &from[0], 1);
		LLVMAddIncoming(phi, &val[c], &from[1], 1);
		val[c] = phi;
	}
set:
	for (unsigned int c = 0; !is_store && c < nr; c++)
		emit_set_ext(e, c, val[c], ir_type_is_signed(in->type));
}

static void access(struct emit *e, bool is_store)
{
	unsigned int nr = is_store ? e->insn->nr_src - 2u : e->insn->nr_dst;

	if (nr > MAX_PARTS || nr * ir_type_bits(e->insn->type) > 256)
		emit_unsupported(e, "a vector of more than 32 bytes");
	else if (e->lanes == 1)
		scalar_access(e, is_store);
	else
		vector_access(e, is_store);
}

/* ---- spaces of generic addresses ---- */

static LLVMValueRef inside(struct emit *e, LLVMValueRef a, enum ir_space space, LLVMValueRef size)
{
	LLVMValueRef base, off;

	if (space == IR_LOCAL && e->lanes == 1) {
		/* one address for all lanes: it can be in the window of one of them at most */
		base = emit_load(e, emit_scalar_int(e, 64), emit_at(e, e->frame, offsetof(struct hg_cpu_frame, local)), 8);
		size = LLVMBuildMul(e->b, local_size(e), emit_i64(e, HG_WARP), "");
	} else {
		base = space_base(e, space);
	}
	off = LLVMBuildSub(e->b, a, base, "");

	return LLVMBuildICmp(e->b, LLVMIntULT, off, e->lanes == HG_WARP ? emit_splat(e, size) : size, "");
}

static LLVMValueRef is_shared(struct emit *e, LLVMValueRef addr)
{
	LLVMValueRef size = emit_env(e, emit_scalar_int(e, 32), offsetof(struct hg_cpu_env, shared_bytes));

	return inside(e, addr, IR_SHARED, emit_resize(e, size, 64, false));
}

/* ---- atomics: lane after lane ---- */

static void atom(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = ir_type_bits(in->type);
	LLVMValueRef args[7], addr = address(e), here;

	check_access(e, addr, bits / 8);
	args[0] = emit_spread(e, 0, addr);
	args[1] = emit_active(e);
	args[2] = emit_spread(e, 1, emit_src(e, 2, bits));
	args[3] = in->nr_src > 3 ? emit_spread(e, 2, emit_src(e, 3, bits)) : args[2];
	args[4] = e->buf[3];
	args[5] = emit_i32(e, (uint32_t)in->sub | (uint32_t)in->type << 8);
	args[6] = emit_i32(e, in->line);
	if (in->flags & IR_FTZ) {
		/* in global memory alone, and what is not shared is global */
		LLVMValueRef all = args[1];

		if (in->space == IR_GENERIC) {
			here = emit_lane_bits(e, is_shared(e, addr));
			args[1] = LLVMBuildAnd(e->b, all, here, "");
			emit_rt(e, offsetof(struct hg_cpu_rt, atom), NULL, args, 7);
			args[1] = LLVMBuildAnd(e->b, all, LLVMBuildNot(e->b, here, ""), "");
		}
		args[5] = emit_i32(e, (uint32_t)in->sub | (uint32_t)in->type << 8 | HG_CPU_ATOM_FTZ);
	}
	emit_rt(e, offsetof(struct hg_cpu_rt, atom), NULL, args, 7);
	if (in->nr_dst)
		emit_set(e, 0, emit_load(e, emit_int(e, bits), e->buf[3], 64));
}

/* ---- spaces ---- */

static void convert(struct emit *e, bool to_generic)
{
	unsigned int bits = ir_type_bits(e->insn->type);
	LLVMValueRef a = emit_resize(e, emit_src(e, 0, bits), 64, false), base = space_base(e, e->insn->space);

	if (base)
		a = to_generic ? LLVMBuildAdd(e->b, base, a, "") : LLVMBuildSub(e->b, a, base, "");
	emit_set(e, 0, emit_resize(e, a, bits, false));
}

static void isspacep(struct emit *e)
{
	LLVMValueRef a = emit_resize(e, emit_src(e, 0, ir_type_bits(e->insn->type)), 64, false), r, shared = is_shared(e, a);

	switch (e->insn->space) {
	case IR_SHARED:
		r = shared;
		break;
	case IR_LOCAL:
		r = inside(e, a, IR_LOCAL, local_size(e));
		break;
	case IR_PARAM:
		r = inside(e, a, IR_PARAM, emit_i64(e, e->fn->param_bytes));
		break;
	case IR_GLOBAL:
		r = LLVMBuildOr(e->b, shared, inside(e, a, IR_PARAM, emit_i64(e, e->fn->param_bytes)), "");
		r = LLVMBuildOr(e->b, r, inside(e, a, IR_LOCAL, local_size(e)), "");
		r = LLVMBuildNot(e->b, r, "");
		break;
	default:
		emit_unsupported(e, "a test for this space");
		return;
	}
	emit_set(e, 0, r);
}

bool emit_memory(struct emit *e)
{
	switch (e->insn->op) {
	case IR_ld: access(e, false); return true;
	case IR_st: access(e, true); return true;
	case IR_atom: atom(e); return true;
	case IR_membar: LLVMBuildFence(e->b, LLVMAtomicOrderingSequentiallyConsistent, 0, ""); return true;
	case IR_cvta: convert(e, true); return true;
	case IR_cvta_to: convert(e, false); return true;
	case IR_isspacep: isspacep(e); return true;
	default: return false;
	}
}
