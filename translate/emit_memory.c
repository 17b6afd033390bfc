/* emit_memory.c - loads, stores, atomics, address spaces. */
#include "translate/emit.h"

#include <stddef.h>

#include "translate/cpu_rt.h"

#define MAX_PARTS IR_MAX_VECTOR
#define MAX_SPELT_OUT 64	/* accesses of a kernel that are code for each lane, where there are no gathers: they take time to compile */

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

LLVMValueRef emit_space_base(struct emit *e, enum ir_space space)
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
	LLVMValueRef a = emit_src(e, 0, bits), base = emit_space_base(e, e->insn->space);

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
	emit_mark(e, EMIT_MARK_ONE);
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
	emit_mark_end(e);
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
	LLVMValueRef args[4] = { p, emit_i32(e, align), mask, LLVMConstNull(t) };

	return emit_call(e, "llvm.masked.load", over, 2, args, 4);
}

static void masked_store(struct emit *e, LLVMValueRef v, LLVMValueRef p, unsigned int align, LLVMValueRef mask)
{
	LLVMTypeRef over[2] = { LLVMTypeOf(v), ptr_type(e) };
	LLVMValueRef args[4] = { v, p, emit_i32(e, align), mask };

	emit_call(e, "llvm.masked.store", over, 2, args, 4);
}

static LLVMValueRef lane_ptrs(struct emit *e, LLVMValueRef addr, uint64_t offset)
{
	if (offset)
		addr = LLVMBuildAdd(e->b, addr, emit_const(e, 64, offset), "");
	return LLVMBuildIntToPtr(e->b, addr, LLVMVectorType(ptr_type(e), HG_WARP), "");
}

static void gather(struct emit *e, LLVMValueRef addr, LLVMTypeRef t, unsigned int size, unsigned int align, LLVMValueRef active,
		   LLVMValueRef *val, unsigned int nr)
{
	LLVMTypeRef over[2] = { t, LLVMVectorType(ptr_type(e), HG_WARP) };

	for (unsigned int c = 0; c < nr; c++) {
		LLVMValueRef args[4] = { lane_ptrs(e, addr, c * size), emit_i32(e, align), emit_bits_lane(e, active),
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

/* One of the ways an access may go: where it ends, and what it loaded. */
struct way {
	LLVMBasicBlockRef end;
	LLVMValueRef val[MAX_PARTS];
};

struct vector_access {
	bool is_store, masked;	/* masked: masked vector accesses are to be had, and it is one part for each lane */
	unsigned int bits, size, nr;	/* of a part; parts of a lane */
	unsigned int align;		/* what addresses must be multiples of */
	LLVMValueRef addr, active, val[MAX_PARTS];
	LLVMBasicBlockRef on;
	struct way way[6];
	unsigned int nr_ways;
};

static void way_ends(struct emit *e, struct vector_access *a, LLVMValueRef *val)
{
	struct way *w = &a->way[a->nr_ways++];

	w->end = LLVMGetInsertBlock(e->b);
	for (unsigned int c = 0; !a->is_store && c < a->nr; c++)
		w->val[c] = val[c];
	LLVMBuildBr(e->b, a->on);
}

static LLVMBasicBlockRef begin_way(struct emit *e, LLVMValueRef cond);

/* Masks cost much without AVX-512: where all lanes take part there is another way first. The same code goes on for the others. */
static bool begin_full(struct emit *e, const struct vector_access *a, LLVMBasicBlockRef *not_full)
{
	if (!a->masked || e->opt.mask_registers)
		return false;
	*not_full = begin_way(e, LLVMBuildICmp(e->b, LLVMIntEQ, a->active, emit_i32(e, UINT32_MAX), ""));
	return true;
}

/* Lanes side by side, from `base` on. */
static void way_together(struct emit *e, struct vector_access *a, LLVMValueRef base)
{
	LLVMTypeRef t = emit_int(e, a->bits);
	LLVMBasicBlockRef not_full;
	LLVMValueRef val[MAX_PARTS], wide;

	if (begin_full(e, a, &not_full)) {
		a->masked = false;
		way_together(e, a, base);
		a->masked = true;
		LLVMPositionBuilderAtEnd(e->b, not_full);
	}
	base = to_ptr(e, base);
	emit_mark(e, (unsigned int)__builtin_ctz(a->size * a->nr));
	if (a->masked && a->is_store) {
		masked_store(e, a->val[0], base, a->size, emit_bits_lane(e, a->active));
	} else if (a->masked) {
		val[0] = masked_load(e, t, base, a->size, emit_bits_lane(e, a->active));
	} else if (a->is_store) {
		emit_store(e, interleave(e, a->val, a->nr), base, a->size);
	} else {
		wide = emit_load(e, LLVMVectorType(emit_scalar_int(e, a->bits), HG_WARP * a->nr), base, a->size);
		for (unsigned int c = 0; c < a->nr; c++)
			val[c] = deinterleave(e, wide, a->nr, c);
	}
	emit_mark_end(e);
	way_ends(e, a, val);
}

/* Two parts of a lane that are 64 bits together, as one. */
static void gather_pairs(struct emit *e, struct vector_access *a, LLVMValueRef *val)
{
	LLVMValueRef both;

	gather(e, a->addr, emit_int(e, 64), 8, a->size, a->active, &both, 1);
	for (unsigned int c = 0; c < a->nr; c++)
		val[c] = emit_resize(e, LLVMBuildLShr(e->b, both, emit_const(e, 64, c * a->bits), ""), a->bits, false);
}

/* An address for each lane; those of lanes that are off are a buffer's, where what they do is of no account. */
static LLVMValueRef harmless(struct emit *e, struct vector_access *a)
{
	LLVMValueRef off = LLVMBuildPtrToInt(e->b, e->buf[0], emit_scalar_int(e, 64), "");

	return emit_select(e, emit_bits_lane(e, a->active), a->addr, emit_splat(e, off));
}

/* By way of memory, which is faster than taking them out of the vector; volatile, or LLVM would do that after all. */
static LLVMValueRef lane_ptr(struct emit *e, LLVMValueRef buf, unsigned int lane)
{
	LLVMValueRef v = emit_load(e, emit_scalar_int(e, 64), emit_at(e, buf, lane * 8u), 8);

	LLVMSetVolatile(v, 1);
	return to_ptr(e, v);
}

/* Two halves joined. */
static LLVMValueRef join(struct emit *e, LLVMValueRef a, LLVMValueRef b)
{
	LLVMValueRef mask[HG_WARP];

	for (unsigned int i = 0; i < HG_WARP; i++)
		mask[i] = emit_i32(e, i);
	return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, HG_WARP), "");
}

/* Of each group of four elements of two vectors, two of either one: first and second of each, or third and fourth, in turn. */
static LLVMValueRef zip(struct emit *e, LLVMValueRef a, LLVMValueRef b, unsigned int half, bool pairs)
{
	LLVMValueRef mask[HG_WARP / 2];

	for (unsigned int i = 0; i < HG_WARP / 2; i++) {
		unsigned int from = pairs ? i / 2 % 2 : i % 2, at = pairs ? i % 2 : i / 2 % 2;

		mask[i] = emit_i32(e, i / 4 * 4 + 2 * half + at + from * HG_WARP / 2);
	}
	return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, HG_WARP / 2), "");
}

/*
 * Four parts of each lane become a vector for each part. Vectors of 16 elements are made so that what is left is to transpose 4 x 4
 * elements within 128 bits, for which every instruction set has what it takes.
 */
static void turn_quads(struct emit *e, LLVMValueRef lane[HG_WARP], LLVMValueRef val[4])
{
	LLVMValueRef mask[HG_WARP / 2], part[2][4];

	for (unsigned int h = 0; h < 2; h++) {
		LLVMValueRef v[4], low[2], high[2];

		for (unsigned int i = 0; i < 4; i++) {
			LLVMValueRef *of = lane + h * HG_WARP / 2 + i, two[2];

			/* lanes i, i + 4, i + 8, i + 12 */
			for (unsigned int k = 0; k < HG_WARP / 2; k++)
				mask[k] = emit_i32(e, k);
			for (unsigned int k = 0; k < 2; k++)
				two[k] = LLVMBuildShuffleVector(e->b, of[8 * k], of[8 * k + 4], LLVMConstVector(mask, 8), "");
			v[i] = LLVMBuildShuffleVector(e->b, two[0], two[1], LLVMConstVector(mask, HG_WARP / 2), "");
		}
		for (unsigned int k = 0; k < 2; k++) {
			low[k] = zip(e, v[2 * k], v[2 * k + 1], 0, false);
			high[k] = zip(e, v[2 * k], v[2 * k + 1], 1, false);
		}
		for (unsigned int k = 0; k < 2; k++) {
			part[h][k] = zip(e, low[0], low[1], k, true);
			part[h][2 + k] = zip(e, high[0], high[1], k, true);
		}
	}
	for (unsigned int c = 0; c < 4; c++)
		val[c] = join(e, part[0][c], part[1][c]);
}

/* A load for each lane, of all its parts: less work than a gather for each part. */
static void load_lanes(struct emit *e, struct vector_access *a, LLVMValueRef *val)
{
	LLVMTypeRef t = emit_scalar_int(e, a->bits);
	LLVMValueRef addr = emit_spread(e, 1, harmless(e, a)), lane[HG_WARP], mask[HG_WARP * MAX_PARTS];

	for (unsigned int i = 0; i < HG_WARP; i++)
		lane[i] = emit_load(e, a->nr > 1 ? LLVMVectorType(t, a->nr) : t, lane_ptr(e, addr, i), a->size);
	if (a->nr == 1) {
		val[0] = LLVMGetPoison(emit_int(e, a->bits));
		for (unsigned int i = 0; i < HG_WARP; i++)
			val[0] = LLVMBuildInsertElement(e->b, val[0], lane[i], emit_i32(e, i), "");
		return;
	}
	if (a->nr == 4 && a->size == 4) {
		turn_quads(e, lane, val);
		return;
	}
	for (unsigned int i = 0; i < HG_WARP * a->nr; i++)
		mask[i] = emit_i32(e, i);
	for (unsigned int have = 1; have < HG_WARP; have *= 2)
		for (unsigned int i = 0; i < HG_WARP / have / 2; i++)
			lane[i] = LLVMBuildShuffleVector(e->b, lane[2 * i], lane[2 * i + 1], LLVMConstVector(mask, 2 * have * a->nr), "");
	for (unsigned int c = 0; c < a->nr; c++)
		val[c] = deinterleave(e, lane[0], a->nr, c);
}

/* In the order of the lanes: of several at one address the last one stays. */
static void store_lanes(struct emit *e, struct vector_access *a)
{
	LLVMValueRef addr = emit_spread(e, 1, harmless(e, a));

	for (unsigned int i = 0; i < HG_WARP; i++)
		for (unsigned int c = 0; c < a->nr; c++)
			emit_store(e, LLVMBuildExtractElement(e->b, a->val[c], emit_i32(e, i), ""),
				   emit_at(e, lane_ptr(e, addr, i), c * a->size), a->size);
}

/* Lanes apart. */
static void way_apart(struct emit *e, struct vector_access *a)
{
	LLVMTypeRef t = emit_int(e, a->bits);
	LLVMBasicBlockRef start = LLVMGetInsertBlock(e->b);
	LLVMValueRef val[MAX_PARTS];
	bool is_rest = a->nr_ways;

	for (unsigned int c = 0; c < a->nr; c++)
		val[c] = a->is_store ? a->val[c] : LLVMGetUndef(t);
	if (a->size >= 4 && (e->opt.gathers || e->nr_spelt_out++ < MAX_SPELT_OUT)) {
		LLVMBasicBlockRef wild = emit_bb(e, "misaligned"), tame = emit_bb(e, "gather");
		LLVMValueRef odd = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, a->addr, emit_const(e, 64, a->align - 1), ""),
						 emit_const(e, 64, 0), ""), none[MAX_PARTS];

		odd = LLVMBuildAnd(e->b, emit_lane_bits(e, odd), a->active, "");
		LLVMBuildCondBr(e->b, is_zero(e, odd), tame, wild);
		LLVMPositionBuilderAtEnd(e->b, wild);
		for (unsigned int c = 0; c < a->nr; c++)
			none[c] = val[c];
		by_helper(e, a->is_store, a->addr, odd, a->bits, none, a->nr);
		LLVMBuildUnreachable(e->b);
		LLVMPositionBuilderAtEnd(e->b, tame);
		emit_mark(e, EMIT_MARK_APART);
		if (a->is_store && e->opt.gathers)
			scatter(e, a->addr, a->size, a->active, val, a->nr);
		else if (a->is_store)
			store_lanes(e, a);
		else if (!e->opt.gathers)
			load_lanes(e, a, val);
		else if (a->nr > 1 && a->size * a->nr == 8)
			gather_pairs(e, a, val);
		else if (a->nr > 1 && a->size * a->nr == 16)
			load_lanes(e, a, val);
		else
			gather(e, a->addr, t, a->size, a->size, a->active, val, a->nr);
		emit_mark_end(e);
	} else {
		by_helper(e, a->is_store, a->addr, a->active, a->bits, val, a->nr);
	}
	way_ends(e, a, val);
	if (is_rest)
		emit_mark_rare(e, start);
}

/* The half of a vector. */
static LLVMValueRef half_of(struct emit *e, LLVMValueRef v, unsigned int which)
{
	LLVMValueRef mask[HG_WARP / 2];

	for (unsigned int i = 0; i < HG_WARP / 2; i++)
		mask[i] = emit_i32(e, which * HG_WARP / 2 + i);
	return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(mask, HG_WARP / 2), "");
}

/* 16 lanes side by side, and the other 16. */
static void way_two_rows(struct emit *e, struct vector_access *a, const struct emit_line_address *line)
{
	LLVMTypeRef t = LLVMVectorType(emit_scalar_int(e, a->bits), HG_WARP / 2);
	LLVMValueRef p[2], half[2];
	LLVMBasicBlockRef not_full;

	if (begin_full(e, a, &not_full)) {
		a->masked = false;
		way_two_rows(e, a, line);
		a->masked = true;
		LLVMPositionBuilderAtEnd(e->b, not_full);
	}
	p[0] = to_ptr(e, line->first);
	p[1] = to_ptr(e, line->second);
	for (unsigned int i = 0; i < 2; i++) {
		LLVMValueRef mask = half_of(e, emit_bits_lane(e, a->active), i);

		emit_mark(e, EMIT_MARK_APART);
		if (a->is_store && !a->masked)
			emit_store(e, half_of(e, a->val[0], i), p[i], a->size);
		else if (!a->masked)
			half[i] = emit_load(e, t, p[i], a->size);
		else if (a->is_store)
			masked_store(e, half_of(e, a->val[0], i), p[i], a->size, mask);
		else
			half[i] = masked_load(e, t, p[i], a->size, mask);
		emit_mark_end(e);
	}
	if (!a->is_store)
		half[0] = join(e, half[0], half[1]);
	way_ends(e, a, half);
}

/* One address for all lanes, or one for each half of them. */
static void way_same(struct emit *e, struct vector_access *a, LLVMValueRef first, LLVMValueRef second)
{
	LLVMTypeRef t = emit_scalar_int(e, a->bits);
	LLVMValueRef val[MAX_PARTS], mask[HG_WARP];

	for (unsigned int i = 0; i < HG_WARP; i++)
		mask[i] = emit_i32(e, i / (HG_WARP / 2));
	emit_mark(e, EMIT_MARK_ONE);
	for (unsigned int c = 0; c < a->nr; c++) {
		LLVMValueRef two;

		val[c] = emit_load(e, t, emit_at(e, to_ptr(e, first), c * a->size), a->size);
		if (!second) {
			val[c] = emit_splat(e, val[c]);
			continue;
		}
		two = LLVMBuildInsertElement(e->b, LLVMGetPoison(LLVMVectorType(t, 2)), val[c], emit_i32(e, 0), "");
		two = LLVMBuildInsertElement(e->b, two, emit_load(e, t, emit_at(e, to_ptr(e, second), c * a->size), a->size),
					     emit_i32(e, 1), "");
		val[c] = LLVMBuildShuffleVector(e->b, two, LLVMGetPoison(LLVMTypeOf(two)), LLVMConstVector(mask, HG_WARP), "");
	}
	emit_mark_end(e);
	way_ends(e, a, val);
}

static LLVMValueRef is_aligned(struct emit *e, LLVMValueRef addr, unsigned int to)
{
	return is_zero(e, LLVMBuildAnd(e->b, addr, emit_i64(e, to - 1), ""));
}

/* Code goes on in a new block where `cond` does not hold; what the way is begins where it does. */
static LLVMBasicBlockRef begin_way(struct emit *e, LLVMValueRef cond)
{
	LLVMBasicBlockRef way = emit_bb(e, "way"), not = emit_bb(e, "not");

	LLVMBuildCondBr(e->b, cond, way, not);
	LLVMPositionBuilderAtEnd(e->b, way);
	return not;
}

/* The address of the first lane tells all of them; what is left over is for way_apart. */
static void ways_of_line(struct emit *e, struct vector_access *a, const struct emit_line_address *line)
{
	LLVMValueRef row = LLVMBuildAnd(e->b, line->row, is_aligned(e, line->first, a->size * a->nr), "");
	LLVMValueRef two = LLVMBuildAnd(e->b, line->two_rows, is_aligned(e, LLVMBuildOr(e->b, line->first, line->second, ""),
									 a->size * a->nr), ""), low, high;
	LLVMBasicBlockRef next;

	if (line->stride == 0 && !a->is_store) {
		low = LLVMBuildNot(e->b, is_zero(e, LLVMBuildAnd(e->b, a->active, emit_i32(e, 0xffff), "")), "");
		high = LLVMBuildNot(e->b, is_zero(e, LLVMBuildLShr(e->b, a->active, emit_i32(e, 16), "")), "");
		if (e->insn->guard != IR_NO_REG)
			row = LLVMBuildAnd(e->b, row, LLVMBuildNot(e->b, is_zero(e, a->active), ""), "");
		next = begin_way(e, row);
		way_same(e, a, line->first, NULL);
		LLVMPositionBuilderAtEnd(e->b, next);
		next = begin_way(e, LLVMBuildAnd(e->b, two, LLVMBuildAnd(e->b, low, high, ""), ""));
		way_same(e, a, line->first, line->second);
		LLVMPositionBuilderAtEnd(e->b, next);
	} else if (line->stride == (int64_t)(a->size * a->nr)) {
		if (!a->masked)
			row = LLVMBuildAnd(e->b, row, LLVMBuildICmp(e->b, LLVMIntEQ, a->active, emit_i32(e, UINT32_MAX), ""), "");
		next = begin_way(e, row);
		way_together(e, a, line->first);
		LLVMPositionBuilderAtEnd(e->b, next);
		if (!a->masked)
			return;
		next = begin_way(e, two);
		way_two_rows(e, a, line);
		LLVMPositionBuilderAtEnd(e->b, next);
	}
}

#define WINDOW 128u

/*
 * Loads from shared memory whose lanes are near each other in some order, or share their addresses in groups, as those of a tile do:
 * the bytes from lane 0's address on are loaded once, and each lane takes its own of them. What lies behind a block's shared memory,
 * and before it, is the runner's and may be read.
 */
static void way_window(struct emit *e, struct vector_access *a)
{
	LLVMTypeRef half = LLVMVectorType(emit_scalar_int(e, 32), HG_WARP / 2);
	LLVMValueRef raw = emit_src(e, 0, 32), first = LLVMBuildExtractElement(e->b, raw, emit_i32(e, 0), "");
	LLVMValueRef off = LLVMBuildSub(e->b, raw, emit_splat(e, first), ""), ok, base, w[2], val[MAX_PARTS];
	LLVMBasicBlockRef next;

	ok = LLVMBuildAnd(e->b, off, emit_const(e, 32, ~(WINDOW - a->align)), "");
	ok = emit_lane_bits(e, LLVMBuildICmp(e->b, LLVMIntNE, ok, emit_const(e, 32, 0), ""));
	ok = is_zero(e, LLVMBuildAnd(e->b, ok, a->active, ""));
	if (e->insn->guard != IR_NO_REG)
		ok = LLVMBuildAnd(e->b, ok, LLVMBuildNot(e->b, is_zero(e, a->active), ""), "");
	/* no multiple of the access, or before the window: for way_apart */
	first = LLVMBuildAdd(e->b, first, emit_i32(e, (uint32_t)e->insn->src[1].imm), "");
	ok = LLVMBuildAnd(e->b, ok, is_zero(e, LLVMBuildAnd(e->b, first, emit_i32(e, UINT32_C(1) << 31 | (a->align - 1)), "")), "");
	next = begin_way(e, ok);
	e->lanes = 1;
	base = to_ptr(e, LLVMBuildAdd(e->b, emit_space_base(e, IR_SHARED), emit_resize(e, first, 64, false), ""));
	e->lanes = HG_WARP;
	emit_mark(e, EMIT_MARK_ONE);
	for (unsigned int i = 0; i < 2; i++)
		w[i] = emit_load(e, half, emit_at(e, base, i * WINDOW / 2), 4);
	emit_mark_end(e);
	off = LLVMBuildLShr(e->b, off, emit_const(e, 32, 2), "");
	for (unsigned int c = 0; c < a->nr; c++) {
		LLVMValueRef at = LLVMBuildAdd(e->b, off, emit_const(e, 32, c), ""), part[2];

		for (unsigned int i = 0; i < 2; i++)
			part[i] = emit_call(e, "llvm.x86.avx512.vpermi2var.d.512", NULL, 0,
					    (LLVMValueRef[]){ w[0], half_of(e, at, i), w[1] }, 3);
		val[c] = join(e, part[0], part[1]);
	}
	way_ends(e, a, val);
	LLVMPositionBuilderAtEnd(e->b, next);
}

/* ---- loads by one address register, side by side in each lane: one access for two or four of them ---- */

static bool is_like(const struct ir_insn *a, const struct ir_insn *b)
{
	return a->op == IR_ld && a->src[0].kind == IR_OPD_REG && a->src[0].reg == b->src[0].reg && a->nr_dst == 1 &&
	       a->type == b->type && a->space == b->space && a->sem == IR_WEAK && a->guard == IR_NO_REG;
}

/*
 * The loads of the block that may be done together with this one: member[i] is the one `i` elements from the lowest one's
 * offset on. Their number, 4 or 2; 0: none.
 */
static unsigned int find_group(const struct emit *e, const struct ir_insn *member[4])
{
	const struct ir_insn *in = e->insn, *like[EMIT_AHEAD];
	const struct ir_block *blk = &e->fn->block[e->block];
	const int64_t size = ir_type_bits(in->type) / 8;
	unsigned int nr = 0;

	if (!is_like(in, in) || in->dst[0] == in->src[0].reg || size != 4 || e->opt.check)
		return 0;
	like[nr++] = in;
	for (const struct ir_insn *n = in + 1; n < blk->insn + blk->nr_insns && nr < EMIT_AHEAD; n++) {
		bool changes = false;

		if (ir_op_desc[n->op].flags & (IR_F_TERM | IR_F_SYNC | IR_F_BARRIER | IR_F_WRITE | IR_F_EFFECT))
			break;
		for (unsigned int d = 0; d < n->nr_dst; d++)
			changes |= n->dst[d] == in->src[0].reg;
		if (is_like(n, in) && n->dst[0] != IR_NO_REG)
			like[nr++] = n;
		if (changes)
			break;
	}
	for (unsigned int want = 4; want >= 2; want /= 2)
		for (unsigned int first = 0; first < want; first++) {
			unsigned int have = 0;

			for (unsigned int i = 0; i < want; i++)
				for (unsigned int l = 0; l < nr; l++)
					if ((int64_t)(like[l]->src[1].imm - in->src[1].imm) == ((int64_t)i - first) * size) {
						member[i] = like[l];
						have++;
						break;
					}
			if (have == want)
				return want;
		}
	return 0;
}

/* The value of a load that another one did; NULL: none did. */
static LLVMValueRef is_ahead(const struct emit *e)
{
	for (unsigned int i = 0; i < e->nr_ahead; i++)
		if (e->ahead[i].insn == e->insn)
			return e->ahead[i].val;
	return NULL;
}

static bool is_scattered(const struct emit *e)
{
	const struct ir_operand *o = &e->insn->src[0];

	return o->kind == IR_OPD_REG && e->info->from_memory[o->reg];
}

static void vector_access(struct emit *e, bool is_store);

/*
 * Loads at addresses that are scattered wait for memory, and a few gathers fill what a processor holds ready: those whose addresses are
 * known come before what depends on this one.
 */
static void load_ahead(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	const struct ir_block *blk = &e->fn->block[e->block];

	if (e->opt.check)
		return;
	e->is_ahead = true;
	for (const struct ir_insn *n = in + 1; n < blk->insn + blk->nr_insns; n++) {
		unsigned int bits = ir_type_bits(n->type);
		bool known = bits == 32 || bits == 64;

		if (ir_op_desc[n->op].flags & (IR_F_TERM | IR_F_SYNC | IR_F_BARRIER | IR_F_WRITE | IR_F_EFFECT))
			break;
		if (!is_like(n, n) || n->dst[0] == IR_NO_REG || !e->info->is_vector[n->src[0].reg])
			continue;
		for (const struct ir_insn *p = in; p < n; p++)
			for (unsigned int d = 0; d < p->nr_dst; d++)
				known &= p->dst[d] != n->src[0].reg;
		e->insn = n;
		if (known && is_scattered(e) && !is_ahead(e) && e->nr_ahead + 4 <= EMIT_AHEAD)
			vector_access(e, false);
	}
	e->insn = in;
	e->is_ahead = false;
}

static void vector_access(struct emit *e, bool is_store)
{
	const struct ir_insn *in = e->insn, *member[4] = { in };
	unsigned int bits = ir_type_bits(in->type), size = bits / 8, group = 0;
	struct vector_access a = { .is_store = is_store, .bits = bits, .size = size, .nr = is_store ? in->nr_src - 2u : in->nr_dst };
	struct emit_line_address line;
	LLVMTypeRef t = emit_int(e, bits);
	LLVMBasicBlockRef next;
	LLVMValueRef base, ok;
	bool known;

	if (!is_store && is_ahead(e)) {
		emit_set_ext(e, 0, is_ahead(e), ir_type_is_signed(in->type));
		return;
	}
	a.masked = a.nr == 1 && (size >= 4 ? e->opt.masked_wide : e->opt.masked_narrow) && size <= 8;
	a.addr = address(e);
	a.active = emit_active(e);
	a.align = size * a.nr;
	check_access(e, a.addr, size * a.nr);
	for (unsigned int c = 0; is_store && c < a.nr; c++)
		a.val[c] = emit_src(e, 2 + c, bits);
	if (in->sem != IR_WEAK || size > 8 || (a.nr & (a.nr - 1)) || e->opt.brief) {
		by_helper(e, is_store, a.addr, a.active, bits, a.val, a.nr);
		goto set;
	}
	a.on = emit_bb(e, "on");
	known = emit_line_address(e, &line);
	if (!is_store && e->nr_ahead + 4 <= EMIT_AHEAD &&
	    (known ? line.stride && line.stride != (int64_t)size : is_scattered(e)))
		group = find_group(e, member);
	if (group) {
		a.addr = LLVMBuildAdd(e->b, a.addr, emit_const(e, 64, member[0]->src[1].imm - in->src[1].imm), "");
		a.nr = group;
	} else if (known) {
		ways_of_line(e, &a, &line);
	} else if (!is_scattered(e)) {
		ok = side_by_side(e, a.addr, a.active, size * a.nr, !a.masked, &base);
		next = begin_way(e, ok);
		way_together(e, &a, base);
		LLVMPositionBuilderAtEnd(e->b, next);
	}
	if (e->opt.gathers && !is_store && !group && size == 4 && in->space == IR_SHARED && address_bits(e) == 32 && !is_scattered(e))
		way_window(e, &a);
	way_apart(e, &a);

	LLVMPositionBuilderAtEnd(e->b, a.on);
	for (unsigned int c = 0; !is_store && c < a.nr; c++) {
		a.val[c] = LLVMBuildPhi(e->b, t, "");
		for (unsigned int w = 0; w < a.nr_ways; w++)
			LLVMAddIncoming(a.val[c], &a.way[w].val[c], &a.way[w].end, 1);
	}
	for (unsigned int c = 0; c < group; c++) {
		if (member[c] == in && !e->is_ahead)
			emit_set_ext(e, 0, a.val[c], ir_type_is_signed(in->type));
		else
			e->ahead[e->nr_ahead++] = (typeof(e->ahead[0])){ member[c], a.val[c] };
	}
	if (e->is_ahead && !group)
		e->ahead[e->nr_ahead++] = (typeof(e->ahead[0])){ in, a.val[0] };
	if (!e->is_ahead && is_like(in, in) && is_scattered(e))
		load_ahead(e);
	if (e->is_ahead || group)
		return;
set:
	for (unsigned int c = 0; !is_store && c < a.nr; c++)
		emit_set_ext(e, c, a.val[c], ir_type_is_signed(in->type));
}

static void access(struct emit *e, bool is_store)
{
	if (e->lanes == 1)
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
		base = emit_space_base(e, space);
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

/* ---- textures ---- */

static void tex(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	uint32_t what = ir_tex_what(in) | (e->opt.check ? HG_CPU_TEX_CHECK : 0);
	LLVMValueRef args[9];

	args[0] = e->frame;
	args[1] = e->env;
	args[2] = emit_spread(e, 0, emit_src(e, 0, 64));
	args[3] = in->src[1].kind == IR_OPD_IMM && !in->src[1].imm ? args[2] : emit_spread(e, 1, emit_src(e, 1, 64));
	args[4] = emit_active(e);
	args[5] = emit_i32(e, what);
	for (unsigned int i = 2; i < in->nr_src; i++)
		emit_store(e, emit_splat(e, emit_src(e, i, 32)), emit_at(e, e->buf[2], (uint64_t)(i - 2) * HG_WARP * 4), 64);
	args[6] = e->buf[2];
	args[7] = e->buf[3];
	args[8] = emit_i32(e, in->line);
	emit_rt(e, offsetof(struct hg_cpu_rt, tex), NULL, args, 9);
	for (unsigned int i = 0; i < 4; i++)
		if (in->dst[i] != IR_NO_REG)
			emit_set(e, i, emit_load(e, emit_int(e, 32), emit_at(e, e->buf[3], (uint64_t)i * HG_WARP * 4), 64));
}

/* ---- spaces ---- */

static void convert(struct emit *e, bool to_generic)
{
	unsigned int bits = ir_type_bits(e->insn->type);
	LLVMValueRef a = emit_resize(e, emit_src(e, 0, bits), 64, false), base = emit_space_base(e, e->insn->space);

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
	default:	/* IR_GLOBAL */
		r = LLVMBuildOr(e->b, shared, inside(e, a, IR_LOCAL, local_size(e)), "");
		r = LLVMBuildNot(e->b, r, "");
		break;
	}
	emit_set(e, 0, r);
}

bool emit_memory(struct emit *e)
{
	switch (e->insn->op) {
	case IR_ld: access(e, false); return true;
	case IR_st: access(e, true); return true;
	case IR_atom: atom(e); return true;
	case IR_tex: tex(e); return true;
	case IR_membar: LLVMBuildFence(e->b, LLVMAtomicOrderingSequentiallyConsistent, 0, ""); return true;
	case IR_cvta: convert(e, true); return true;
	case IR_cvta_to: convert(e, false); return true;
	case IR_isspacep: isspacep(e); return true;
	default: return false;
	}
}
