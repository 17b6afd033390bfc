/* emit_gpu_memory.c - loads, stores, atomics and address spaces of GPU code. */
#include "translate/emit_gpu_priv.h"

#include <assert.h>
#include <llvm-c/IRReader.h>
#include <stddef.h>
#include <string.h>

#define MAX_PARTS IR_MAX_VECTOR

/* ---- atomic accesses ---- */

/*
 * LLVM's C interface cannot make instructions of any scope but two. It can copy them: there is a function for each scope that has
 * one of each kind, and a copy gets the operands, the order and the operation that are wanted.
 */
#define KINDS(name, scope)								\
	"define void @" name "(ptr %p) {\n"						\
	" fence " scope " acquire\n"							\
	" %1 = load atomic i8, ptr %p " scope " monotonic, align 1\n"			\
	" %2 = load atomic i16, ptr %p " scope " monotonic, align 2\n"			\
	" %3 = load atomic i32, ptr %p " scope " monotonic, align 4\n"			\
	" %4 = load atomic i64, ptr %p " scope " monotonic, align 8\n"			\
	" store atomic i32 0, ptr %p " scope " monotonic, align 4\n"			\
	" %5 = atomicrmw xchg ptr %p, i32 0 " scope " monotonic\n"			\
	" %6 = atomicrmw xchg ptr %p, i64 0 " scope " monotonic\n"			\
	" %7 = cmpxchg ptr %p, i16 0, i16 0 " scope " monotonic monotonic\n"		\
	" %8 = cmpxchg ptr %p, i32 0, i32 0 " scope " monotonic monotonic\n"		\
	" %9 = cmpxchg ptr %p, i64 0, i64 0 " scope " monotonic monotonic\n"		\
	" ret void\n}\n"
enum kind { KIND_FENCE, KIND_LOAD8, KIND_LOAD16, KIND_LOAD32, KIND_LOAD64, KIND_STORE, KIND_RMW32, KIND_RMW64, KIND_CAS16, KIND_CAS32,
	    KIND_CAS64 };

static const char kinds_text[] = KINDS("wave", "syncscope(\"wavefront\")") KINDS("block", "syncscope(\"workgroup\")")
				 KINDS("device", "syncscope(\"agent\")") KINDS("system", "");
static const char *const scope_name[] = {
	[EMIT_SCOPE_WAVE] = "wave", [EMIT_SCOPE_BLOCK] = "block", [EMIT_SCOPE_DEVICE] = "device", [EMIT_SCOPE_SYSTEM] = "system",
};

static LLVMValueRef copy(struct emit *e, enum emit_gpu_scope scope, enum kind kind)
{
	LLVMValueRef i;

	if (!e->gpu->kinds) {
		LLVMMemoryBufferRef text = LLVMCreateMemoryBufferWithMemoryRange(kinds_text, sizeof(kinds_text) - 1, "kinds", 1);
		char *error = NULL;
		LLVMBool failed = LLVMParseIRInContext(e->c, text, &e->gpu->kinds, &error);

		assert(!failed);
		(void)failed;
	}
	i = LLVMGetFirstInstruction(LLVMGetEntryBasicBlock(LLVMGetNamedFunction(e->gpu->kinds, scope_name[scope])));
	for (unsigned int n = 0; n < kind; n++)
		i = LLVMGetNextInstruction(i);
	i = LLVMInstructionClone(i);
	LLVMInsertIntoBuilder(e->b, i);
	return i;
}

void emit_gpu_memory_end(struct emit *e)
{
	if (e->gpu->kinds)
		LLVMDisposeModule(e->gpu->kinds);
	e->gpu->kinds = NULL;
}

void emit_gpu_fence(struct emit *e, enum emit_gpu_scope scope, LLVMAtomicOrdering order)
{
	LLVMSetOrdering(copy(e, scope, KIND_FENCE), order);
}

LLVMValueRef emit_gpu_atomic_load(struct emit *e, unsigned int bits, LLVMValueRef p, enum emit_gpu_scope scope, LLVMAtomicOrdering order)
{
	LLVMValueRef v;

	/* a byte or two of one word are read at once by every machine */
	if (bits < 32 && !e->gpu->isa->has_small_atomics) {
		v = emit_load(e, emit_scalar_int(e, bits), p, bits / 8);
		LLVMSetVolatile(v, 1);
		if (order != LLVMAtomicOrderingMonotonic)
			emit_gpu_fence(e, scope, order == LLVMAtomicOrderingSequentiallyConsistent ? order : LLVMAtomicOrderingAcquire);
		return v;
	}
	v = copy(e, scope, bits == 8 ? KIND_LOAD8 : bits == 16 ? KIND_LOAD16 : bits == 32 ? KIND_LOAD32 : KIND_LOAD64);

	LLVMSetOperand(v, 0, p);
	LLVMSetOrdering(v, order);
	return v;
}

void emit_gpu_atomic_store(struct emit *e, LLVMValueRef v, LLVMValueRef p, enum emit_gpu_scope scope, LLVMAtomicOrdering order)
{
	LLVMValueRef s;

	if (emit_bits(v) < 32 && !e->gpu->isa->has_small_atomics) {
		if (order != LLVMAtomicOrderingMonotonic)
			emit_gpu_fence(e, scope, order == LLVMAtomicOrderingSequentiallyConsistent ? order : LLVMAtomicOrderingRelease);
		s = LLVMBuildStore(e->b, v, p);
		LLVMSetAlignment(s, emit_bits(v) / 8);
		LLVMSetVolatile(s, 1);
		return;
	}
	s = copy(e, scope, KIND_STORE);
	LLVMSetOperand(s, 0, v);
	LLVMSetOperand(s, 1, p);
	LLVMSetAlignment(s, emit_bits(v) / 8);
	LLVMSetOrdering(s, order);
}

LLVMValueRef emit_gpu_rmw(struct emit *e, LLVMAtomicRMWBinOp op, LLVMValueRef p, LLVMValueRef v, enum emit_gpu_scope scope,
			  LLVMAtomicOrdering order)
{
	LLVMValueRef r = copy(e, scope, emit_bits(v) == 32 ? KIND_RMW32 : KIND_RMW64);

	LLVMSetOperand(r, 0, p);
	LLVMSetOperand(r, 1, v);
	LLVMSetAtomicRMWBinOp(r, op);
	LLVMSetOrdering(r, order);
	return r;
}

LLVMValueRef emit_gpu_cas(struct emit *e, LLVMValueRef p, LLVMValueRef expected, LLVMValueRef to, enum emit_gpu_scope scope,
			  LLVMAtomicOrdering order, LLVMValueRef *ok)
{
	unsigned int bits = emit_bits(to);
	LLVMValueRef r = copy(e, scope, bits == 16 ? KIND_CAS16 : bits == 32 ? KIND_CAS32 : KIND_CAS64);
	LLVMAtomicOrdering failed = order == LLVMAtomicOrderingAcquireRelease ? LLVMAtomicOrderingAcquire :
				    order == LLVMAtomicOrderingRelease ? LLVMAtomicOrderingMonotonic : order;

	LLVMSetOperand(r, 0, p);
	LLVMSetOperand(r, 1, expected);
	LLVMSetOperand(r, 2, to);
	LLVMSetCmpXchgSuccessOrdering(r, order);
	LLVMSetCmpXchgFailureOrdering(r, failed);
	if (ok)
		*ok = LLVMBuildExtractValue(e->b, r, 1, "");
	return LLVMBuildExtractValue(e->b, r, 0, "");
}

static enum emit_gpu_scope scope_of(const struct ir_insn *in)
{
	switch (in->scope) {
	case IR_CTA: return EMIT_SCOPE_BLOCK;
	case IR_GPU: return EMIT_SCOPE_DEVICE;
	default: return EMIT_SCOPE_SYSTEM;
	}
}

static LLVMAtomicOrdering order_of(const struct ir_insn *in)
{
	switch (in->sem) {
	case IR_ACQUIRE: return LLVMAtomicOrderingAcquire;
	case IR_RELEASE: return LLVMAtomicOrderingRelease;
	case IR_ACQ_REL: return LLVMAtomicOrderingAcquireRelease;
	case IR_SC: return LLVMAtomicOrderingSequentiallyConsistent;
	default: return LLVMAtomicOrderingMonotonic;
	}
}

/* ---- addresses ---- */

static LLVMValueRef gep(struct emit *e, LLVMValueRef base, LLVMValueRef offset)
{
	return LLVMBuildGEP2(e->b, emit_scalar_int(e, 8), base, &offset, 1, "");
}

/* No memory of that kind: what is accessed there is the kernel's mistake, and ends nowhere. */
static LLVMValueRef local_window(struct emit *e)
{
	return e->gpu->local ? e->gpu->local : LLVMGetUndef(emit_gpu_ptr(e, EMIT_AS_PRIVATE));
}

static unsigned int address_bits(const struct emit *e)
{
	const struct ir_operand *o = &e->insn->src[0];

	return o->kind == IR_OPD_REG ? ir_type_bits(e->fn->reg_type[o->reg]) : 64;
}

/* Where a memory operation goes, as a pointer into its space. */
static LLVMValueRef pointer(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	enum emit_gpu_space as = EMIT_AS_GLOBAL;
	LLVMValueRef a = emit_src(e, 0, address_bits(e)), p;
	uint64_t off = in->src[1].imm;

	switch (in->space) {
	case IR_LOCAL:
		a = LLVMBuildAdd(e->b, emit_resize(e, a, 32, false), emit_i32(e, (uint32_t)off), "");
		return gep(e, local_window(e), a);
	case IR_PARAM:
		a = LLVMBuildAdd(e->b, emit_resize(e, a, 32, false), emit_i32(e, (uint32_t)off), "");
		return gep(e, e->gpu->kernarg, emit_resize(e, a, 64, false));
	case IR_SHARED:
		a = emit_resize(e, a, 32, false);
		/* the sum has 32 bits, as places in it have where it is no argument */
		if (e->gpu->shared)
			return e->gpu->isa->shared(e, LLVMBuildAdd(e->b, a, emit_i32(e, (uint32_t)off), ""));
		p = e->gpu->isa->shared(e, a);
		return off ? gep(e, p, emit_i32(e, (uint32_t)off)) : p;
	case IR_CONST:
		if (in->op == IR_ld && in->sem == IR_WEAK)
			as = EMIT_AS_CONST;
		break;
	case IR_GENERIC:
		as = EMIT_AS_FLAT;
		break;
	default:
		break;
	}
	/* 32 bits wrap as such */
	if (emit_bits(a) == 32) {
		a = emit_resize(e, LLVMBuildAdd(e->b, a, emit_i32(e, (uint32_t)off), ""), 64, false);
		off = 0;
	}
	p = LLVMBuildIntToPtr(e->b, a, emit_gpu_ptr(e, as), "");
	return off ? gep(e, p, emit_i64(e, off)) : p;
}

/* ---- loads and stores ---- */

struct access {
	unsigned int bits, nr, align;	/* of a part; parts; bytes of all */
	LLVMTypeRef type;		/* of all */
	bool apart;			/* a part at a time */
	bool strong;			/* others may see it or change it meanwhile */
	LLVMValueRef p, val[MAX_PARTS];
};

static struct access access_of(struct emit *e, unsigned int nr)
{
	const struct ir_insn *in = e->insn;
	struct access a = { .bits = ir_type_bits(in->type), .nr = nr };

	a.align = a.bits / 8 * nr;
	if (in->space == IR_PARAM && a.align > 16)
		a.align = 16;
	a.apart = nr > 1 && !e->gpu->isa->has_wide;
	a.type = nr > 1 && !a.apart ? LLVMVectorType(emit_scalar_int(e, a.bits), nr) : emit_scalar_int(e, a.bits);
	/* nobody else knows local memory, and parameters do not change */
	a.strong = in->sem != IR_WEAK && in->space != IR_LOCAL && in->space != IR_PARAM;
	a.p = pointer(e);
	return a;
}

static LLVMValueRef part_pointer(struct emit *e, const struct access *a, unsigned int i)
{
	return i ? gep(e, a->p, emit_i32(e, i * a->bits / 8)) : a->p;
}

/* Each part at once, in any order of them; of 128 bits nothing is promised but that it is done. */
static void strong_load(struct emit *e, struct access *a)
{
	enum emit_gpu_scope scope = scope_of(e->insn);
	LLVMAtomicOrdering order = order_of(e->insn);
	bool alone = a->nr == 1 && a->bits <= 64;

	for (unsigned int i = 0; i < a->nr; i++) {
		LLVMValueRef p = part_pointer(e, a, i);

		if (a->bits <= 64) {
			a->val[i] = emit_gpu_atomic_load(e, a->bits, p, scope, alone ? order : LLVMAtomicOrderingMonotonic);
		} else {
			a->val[i] = emit_load(e, emit_scalar_int(e, a->bits), p, a->bits / 8);
			LLVMSetVolatile(a->val[i], 1);
		}
	}
	if (!alone && order != LLVMAtomicOrderingMonotonic)
		emit_gpu_fence(e, scope, LLVMAtomicOrderingAcquire);
}

static void strong_store(struct emit *e, struct access *a)
{
	enum emit_gpu_scope scope = scope_of(e->insn);
	LLVMAtomicOrdering order = order_of(e->insn);
	bool alone = a->nr == 1 && a->bits <= 64;

	if (!alone && order != LLVMAtomicOrderingMonotonic)
		emit_gpu_fence(e, scope, LLVMAtomicOrderingRelease);
	for (unsigned int i = 0; i < a->nr; i++) {
		LLVMValueRef p = part_pointer(e, a, i);

		if (a->bits <= 64) {
			emit_gpu_atomic_store(e, a->val[i], p, scope, alone ? order : LLVMAtomicOrderingMonotonic);
		} else {
			LLVMValueRef s = LLVMBuildStore(e->b, a->val[i], p);

			LLVMSetAlignment(s, a->bits / 8);
			LLVMSetVolatile(s, 1);
		}
	}
}

static void weak_load(struct emit *e, struct access *a)
{
	bool invariant = e->insn->space == IR_PARAM || e->insn->space == IR_CONST;
	LLVMValueRef v;

	for (unsigned int i = 0; a->apart && i < a->nr; i++) {
		a->val[i] = emit_load(e, a->type, part_pointer(e, a, i), a->bits / 8);
		if (invariant)
			emit_invariant(e, a->val[i]);
	}
	if (a->apart)
		return;
	v = emit_load(e, a->type, a->p, a->align);
	if (invariant)
		emit_invariant(e, v);
	a->val[0] = v;
	for (unsigned int i = 0; a->nr > 1 && i < a->nr; i++)
		a->val[i] = LLVMBuildExtractElement(e->b, v, emit_i32(e, i), "");
}

static void weak_store(struct emit *e, struct access *a)
{
	LLVMValueRef v = a->val[0];

	for (unsigned int i = 0; a->apart && i < a->nr; i++)
		emit_store(e, a->val[i], part_pointer(e, a, i), a->bits / 8);
	if (a->apart)
		return;
	if (a->nr > 1)
		v = LLVMGetPoison(a->type);
	for (unsigned int i = 0; a->nr > 1 && i < a->nr; i++)
		v = LLVMBuildInsertElement(e->b, v, a->val[i], emit_i32(e, i), "");
	emit_store(e, v, a->p, a->align);
}

static void load(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	struct access a = access_of(e, in->nr_dst);
	struct emit_gpu_guard g = emit_gpu_guard_begin(e);

	if (a.strong)
		strong_load(e, &a);
	else
		weak_load(e, &a);
	emit_gpu_guard_end(e, &g, a.val, a.nr);
	for (unsigned int i = 0; i < a.nr; i++)
		emit_set_ext(e, i, a.val[i], ir_type_is_signed(in->type));
}

static void store(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	struct access a = access_of(e, in->nr_src - 2u);
	struct emit_gpu_guard g;

	for (unsigned int i = 0; i < a.nr; i++)
		a.val[i] = emit_src(e, 2 + i, a.bits);
	g = emit_gpu_guard_begin(e);
	if (a.strong)
		strong_store(e, &a);
	else
		weak_store(e, &a);
	emit_gpu_guard_end(e, &g, NULL, 0);
}

/* ---- atomics ---- */

/* old + v with the CPU target's NaN. */
static LLVMValueRef float_sum(struct emit *e, LLVMValueRef old, LLVMValueRef v, bool flush)
{
	LLVMValueRef x = emit_to_float(e, old), y = emit_to_float(e, v), r;

	if (flush) {
		x = emit_flush_denormal(e, x);
		y = emit_flush_denormal(e, y);
	}
	r = LLVMBuildFAdd(e->b, x, y, "");
	if (flush)
		r = emit_flush_denormal(e, r);
	return emit_to_int(e, emit_canonical(e, r));
}

/* inc and dec: (old >= v) ? 0 : old + 1; (old == 0 || old > v) ? v : old - 1. */
static LLVMValueRef wrapped(struct emit *e, LLVMValueRef old, LLVMValueRef v)
{
	LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(v)), one = LLVMConstInt(LLVMTypeOf(v), 1, 0), end;

	if (e->insn->sub == IR_ATOM_INC)
		return emit_select(e, LLVMBuildICmp(e->b, LLVMIntUGE, old, v, ""), zero, LLVMBuildAdd(e->b, old, one, ""));
	end = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, old, zero, ""), LLVMBuildICmp(e->b, LLVMIntUGT, old, v, ""), "");
	return emit_select(e, end, v, LLVMBuildSub(e->b, old, one, ""));
}

/*
 * By compare-and-swap. Of floats, since the hardware's own additions differ from chip to chip in what they do to denormals and NaNs;
 * of inc and dec where there are none.
 */
static LLVMValueRef swap_loop(struct emit *e, LLVMValueRef p, LLVMValueRef v)
{
	const struct ir_insn *in = e->insn;
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), loop = emit_bb(e, "again"), on = emit_bb(e, "added");
	enum emit_gpu_scope scope = scope_of(in);
	LLVMValueRef first = emit_gpu_atomic_load(e, emit_bits(v), p, scope, LLVMAtomicOrderingMonotonic), old, sum, was, ok, shared = NULL;
	LLVMBasicBlockRef from;

	/* in global memory alone, and what is not shared is global */
	if (in->flags & IR_FTZ && in->space == IR_GENERIC)
		shared = e->gpu->isa->is_shared(e, p);
	LLVMBuildBr(e->b, loop);
	LLVMPositionBuilderAtEnd(e->b, loop);
	old = LLVMBuildPhi(e->b, LLVMTypeOf(v), "");
	if (in->sub == IR_ATOM_ADD) {
		sum = float_sum(e, old, v, in->flags & IR_FTZ && in->space != IR_SHARED);
		if (shared)
			sum = emit_select(e, shared, float_sum(e, old, v, false), sum);
	} else {
		sum = wrapped(e, old, v);
	}
	was = emit_gpu_cas(e, p, old, sum, scope, order_of(in), &ok);
	from = LLVMGetInsertBlock(e->b);
	LLVMAddIncoming(old, &first, &before, 1);
	LLVMAddIncoming(old, &was, &from, 1);
	LLVMBuildCondBr(e->b, ok, on, loop);
	LLVMPositionBuilderAtEnd(e->b, on);
	return old;
}

static LLVMAtomicRMWBinOp rmw_op(const struct ir_insn *in)
{
	bool s = ir_type_is_signed(in->type);

	switch (in->sub) {
	case IR_ATOM_ADD: return LLVMAtomicRMWBinOpAdd;
	case IR_ATOM_MIN: return s ? LLVMAtomicRMWBinOpMin : LLVMAtomicRMWBinOpUMin;
	case IR_ATOM_MAX: return s ? LLVMAtomicRMWBinOpMax : LLVMAtomicRMWBinOpUMax;
	case IR_ATOM_AND: return LLVMAtomicRMWBinOpAnd;
	case IR_ATOM_OR: return LLVMAtomicRMWBinOpOr;
	case IR_ATOM_XOR: return LLVMAtomicRMWBinOpXor;
	case IR_ATOM_INC: return LLVMAtomicRMWBinOpUIncWrap;
	case IR_ATOM_DEC: return LLVMAtomicRMWBinOpUDecWrap;
	default: return LLVMAtomicRMWBinOpXchg;
	}
}

static void atom(struct emit *e)
{
	const struct ir_insn *in = e->insn;
	unsigned int bits = ir_type_bits(in->type);
	bool is_float = in->type == IR_F32 || in->type == IR_F64, cas = in->sub == IR_ATOM_CAS;
	LLVMValueRef p, v, to = NULL, old;
	struct emit_gpu_guard g;

	if (in->sub == IR_ATOM_MBARRIER || bits > 64 || (bits == 16 && !cas) ||
	    (is_float && in->sub != IR_ATOM_ADD && in->sub != IR_ATOM_EXCH && !cas)) {
		emit_unsupported(e, "atomic operation");
		return;
	}
	p = pointer(e);
	v = emit_src(e, 2, bits);
	if (cas)
		to = emit_src(e, 3, bits);
	g = emit_gpu_guard_begin(e);
	if (cas)
		old = emit_gpu_cas(e, p, v, to, scope_of(in), order_of(in), NULL);
	else if ((is_float && in->sub == IR_ATOM_ADD) ||
		 (!e->gpu->isa->has_small_atomics && (in->sub == IR_ATOM_INC || in->sub == IR_ATOM_DEC)))
		old = swap_loop(e, p, v);
	else
		old = emit_gpu_rmw(e, rmw_op(in), p, v, scope_of(in), order_of(in));
	emit_gpu_guard_end(e, &g, &old, 1);
	if (in->nr_dst)
		emit_set(e, 0, old);
}

static void membar(struct emit *e)
{
	struct emit_gpu_guard g = emit_gpu_guard_begin(e);
	LLVMAtomicOrdering order = order_of(e->insn);

	/* PTX's weaker ones are at least what a fence is here */
	if (order == LLVMAtomicOrderingMonotonic)
		order = LLVMAtomicOrderingSequentiallyConsistent;
	emit_gpu_fence(e, scope_of(e->insn), order);
	emit_gpu_guard_end(e, &g, NULL, 0);
}

/* ---- spaces of generic addresses ---- */

static LLVMValueRef to_generic(struct emit *e, LLVMValueRef a, enum ir_space space)
{
	LLVMTypeRef i64 = emit_scalar_int(e, 64), flat = emit_gpu_ptr(e, EMIT_AS_FLAT);
	LLVMValueRef p;

	switch (space) {
	case IR_SHARED:
		p = e->gpu->isa->shared(e, emit_resize(e, a, 32, false));
		break;
	case IR_LOCAL:
		p = gep(e, local_window(e), emit_resize(e, a, 32, false));
		break;
	case IR_PARAM:
		return LLVMBuildPtrToInt(e->b, gep(e, e->gpu->kernarg, emit_resize(e, a, 64, false)), i64, "");
	default:
		return a;
	}
	return LLVMBuildPtrToInt(e->b, LLVMBuildAddrSpaceCast(e->b, p, flat, ""), i64, "");
}

static LLVMValueRef from_generic(struct emit *e, LLVMValueRef a, enum ir_space space)
{
	LLVMTypeRef i32 = emit_scalar_int(e, 32);
	LLVMValueRef flat = LLVMBuildIntToPtr(e->b, emit_resize(e, a, 64, false), emit_gpu_ptr(e, EMIT_AS_FLAT), ""), p;

	switch (space) {
	case IR_SHARED:
		p = LLVMBuildAddrSpaceCast(e->b, flat, emit_gpu_ptr(e, EMIT_AS_LDS), "");
		return e->gpu->isa->shared_offset(e, p);
	case IR_LOCAL:
		p = LLVMBuildAddrSpaceCast(e->b, flat, emit_gpu_ptr(e, EMIT_AS_PRIVATE), "");
		return LLVMBuildSub(e->b, LLVMBuildPtrToInt(e->b, p, i32, ""), LLVMBuildPtrToInt(e->b, local_window(e), i32, ""), "");
	case IR_PARAM:
		p = LLVMBuildPtrToInt(e->b, e->gpu->kernarg, emit_scalar_int(e, 64), "");
		return LLVMBuildSub(e->b, emit_resize(e, a, 64, false), p, "");
	default:
		return a;
	}
}

static void convert(struct emit *e)
{
	unsigned int bits = ir_type_bits(e->insn->type);
	LLVMValueRef a = emit_src(e, 0, bits);

	a = e->insn->op == IR_cvta ? to_generic(e, a, e->insn->space) : from_generic(e, a, e->insn->space);
	emit_set(e, 0, emit_resize(e, a, bits, false));
}

static void isspacep(struct emit *e)
{
	LLVMValueRef a = emit_resize(e, emit_src(e, 0, ir_type_bits(e->insn->type)), 64, false), r, base;
	LLVMValueRef flat = LLVMBuildIntToPtr(e->b, a, emit_gpu_ptr(e, EMIT_AS_FLAT), "");

	switch (e->insn->space) {
	case IR_SHARED:
		r = e->gpu->isa->is_shared(e, flat);
		break;
	case IR_LOCAL:
		r = e->gpu->isa->is_private(e, flat);
		break;
	case IR_PARAM:
		base = LLVMBuildPtrToInt(e->b, e->gpu->kernarg, emit_scalar_int(e, 64), "");
		r = LLVMBuildICmp(e->b, LLVMIntULT, LLVMBuildSub(e->b, a, base, ""), emit_i64(e, e->fn->param_bytes), "");
		break;
	default:	/* IR_GLOBAL */
		r = LLVMBuildOr(e->b, e->gpu->isa->is_shared(e, flat), e->gpu->isa->is_private(e, flat), "");
		r = LLVMBuildNot(e->b, r, "");
		break;
	}
	emit_set(e, 0, r);
}

bool emit_gpu_memory(struct emit *e)
{
	switch (e->insn->op) {
	case IR_ld: load(e); return true;
	case IR_st: store(e); return true;
	case IR_atom: atom(e); return true;
	case IR_membar: membar(e); return true;
	case IR_cvta: case IR_cvta_to: convert(e); return true;
	case IR_isspacep: isspacep(e); return true;
	default: return false;
	}
}
