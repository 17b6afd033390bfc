/* simt_hgir.c - hgIR to scalar LLVM IR for one lane. Shares no code with the product's emitters. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/simt/simt_float.h"
#include "tests/drivers/simt/simt_llvm.h"
#include "tests/drivers/simt/simt_ptx.h"

#define V LLVMValueRef
#define WARP 32		/* hgIR's */
#define MAX_PATH 64

struct em {
	const struct ir_func *fn;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	V f, self;
	V *reg;				/* allocas */
	LLVMBasicBlockRef *bb;
	uint32_t *marks;		/* things that may be waited for, in blocks before this one */
	uint32_t *loop_end;		/* of a block that begins a loop: the one behind its last; else 0 */
	V *rounds;			/* alloca: how often the loop that begins there went round; NULL: nobody asks */
	V path;				/* alloca, for simt_active */
	uint32_t block, insn;
	const struct ir_insn *in;
	bool waits;			/* the code may switch */
	char why[256];			/* why it cannot be done, or "" */
};

static void __attribute__((format(printf, 2, 3))) refuse(struct em *e, const char *fmt, ...)
{
	char what[96];
	va_list ap;

	if (e->why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(e->why, sizeof(e->why), "kernel '%s', line %u: '%s.%s' is not known to the executor of the tests (%s)",
		 e->fn->name, e->in->line, ir_op_desc[e->in->op].name, ir_type_name(e->in->type), what);
}

/* ---- types and constants ---- */

static LLVMTypeRef int_t(struct em *e, unsigned int bits)
{
	return LLVMIntTypeInContext(e->c, bits);
}

static LLVMTypeRef ptr_t(struct em *e)
{
	return LLVMPointerTypeInContext(e->c, 0);
}

static V k(struct em *e, unsigned int bits, uint64_t v)
{
	return LLVMConstInt(int_t(e, bits), bits < 64 ? v & ((UINT64_C(1) << bits) - 1) : v, 0);
}

static unsigned int bits_of(V v)
{
	LLVMTypeRef t = LLVMTypeOf(v);

	switch (LLVMGetTypeKind(t)) {
	case LLVMIntegerTypeKind: return LLVMGetIntTypeWidth(t);
	case LLVMFloatTypeKind: return 32;
	default: return 64;
	}
}

static V resize(struct em *e, V v, unsigned int bits, bool is_signed)
{
	if (bits_of(v) == bits)
		return v;
	if (bits_of(v) > bits)
		return LLVMBuildTrunc(e->b, v, int_t(e, bits), "");
	return is_signed ? LLVMBuildSExt(e->b, v, int_t(e, bits), "") : LLVMBuildZExt(e->b, v, int_t(e, bits), "");
}

static LLVMTypeRef float_t(struct em *e, unsigned int bits)
{
	return bits == 32 ? LLVMFloatTypeInContext(e->c) : LLVMDoubleTypeInContext(e->c);
}

static V as_float(struct em *e, V v)
{
	return LLVMBuildBitCast(e->b, v, float_t(e, bits_of(v)), "");
}

static V as_int(struct em *e, V v)
{
	return LLVMBuildBitCast(e->b, v, int_t(e, bits_of(v)), "");
}

static V fk(struct em *e, unsigned int bits, double v)
{
	return LLVMConstReal(float_t(e, bits), v);
}

static V icmp(struct em *e, LLVMIntPredicate p, V a, V b)
{
	return LLVMBuildICmp(e->b, p, a, b, "");
}

static V fcmp(struct em *e, LLVMRealPredicate p, V a, V b)
{
	return LLVMBuildFCmp(e->b, p, a, b, "");
}

static V sel(struct em *e, V c, V a, V b)
{
	return LLVMBuildSelect(e->b, c, a, b, "");
}

static V bin(struct em *e, LLVMOpcode op, V a, V b)
{
	return LLVMBuildBinOp(e->b, op, a, b, "");
}

static LLVMBasicBlockRef new_bb(struct em *e)
{
	return LLVMAppendBasicBlockInContext(e->c, e->f, "");
}

static V at(struct em *e, V base, uint64_t offset)
{
	V index = k(e, 64, offset);

	return LLVMBuildGEP2(e->b, int_t(e, 8), base, &index, 1, "");
}

static V load(struct em *e, LLVMTypeRef t, V base, size_t offset)
{
	return LLVMBuildLoad2(e->b, t, at(e, base, offset), "");
}

static V self_field(struct em *e, unsigned int bits, size_t offset)
{
	return load(e, int_t(e, bits), e->self, offset);
}

/* Constant while the block runs. */
static V constant_load(struct em *e, LLVMTypeRef t, V base, size_t offset)
{
	V v = load(e, t, base, offset);

	LLVMSetMetadata(v, LLVMGetMDKindIDInContext(e->c, "invariant.load", 14),
			LLVMMetadataAsValue(e->c, LLVMMDNodeInContext2(e->c, NULL, 0)));
	return v;
}

static V env_ptr(struct em *e)
{
	return constant_load(e, ptr_t(e), e->self, offsetof(struct simt_item, env));
}

static V env_field(struct em *e, unsigned int bits, size_t offset)
{
	return constant_load(e, int_t(e, bits), env_ptr(e), offset);
}

/* A function in C, or of LLVM's, by name. */
static V call(struct em *e, const char *name, LLVMTypeRef result, unsigned int nr, ...)
{
	LLVMTypeRef types[8], ft;
	V args[8], f;
	va_list ap;

	va_start(ap, nr);
	for (unsigned int i = 0; i < nr; i++) {
		args[i] = va_arg(ap, V);
		types[i] = LLVMTypeOf(args[i]);
	}
	va_end(ap);
	ft = LLVMFunctionType(result ? result : LLVMVoidTypeInContext(e->c), types, nr, 0);
	f = LLVMGetNamedFunction(e->m, name);
	if (!f)
		f = LLVMAddFunction(e->m, name, ft);
	return LLVMBuildCall2(e->b, ft, f, args, nr, "");
}

/* An intrinsic of one type, that of its first operand. */
static V intrinsic(struct em *e, const char *name, unsigned int nr, V a, V b, V c)
{
	LLVMTypeRef t = LLVMTypeOf(a);
	unsigned int id = LLVMLookupIntrinsicID(name, strlen(name));
	V args[3] = { a, b, c };

	return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->c, id, &t, 1), LLVMGetIntrinsicDeclaration(e->m, id, &t, 1), args,
			      nr, "");
}

static V i32k(struct em *e, uint32_t v)
{
	return k(e, 32, v);
}

/* ---- registers and operands ---- */

static unsigned int type_bits(const struct em *e)
{
	return ir_type_bits(e->in->type);
}

static bool is_signed(const struct em *e)
{
	return ir_type_is_signed(e->in->type);
}

#define STACK_BYTES 8192	/* of an item, for kernels that use one */

static uint32_t local_bytes(const struct ir_func *fn)
{
	return fn->local_bytes + (fn->uses_stack ? STACK_BYTES : 0);
}

static V special(struct em *e, enum ir_sreg s)
{
	V lane, one = i32k(e, 1), v;

	switch (s) {
	case IR_SREG_TID_X: case IR_SREG_TID_Y: case IR_SREG_TID_Z:
		return self_field(e, 32, offsetof(struct simt_item, tid) + 4 * (s - IR_SREG_TID_X));
	case IR_SREG_NTID_X: case IR_SREG_NTID_Y: case IR_SREG_NTID_Z:
		return env_field(e, 32, offsetof(struct simt_env, ntid) + 4 * (s - IR_SREG_NTID_X));
	case IR_SREG_CTAID_X: case IR_SREG_CTAID_Y: case IR_SREG_CTAID_Z:
		return env_field(e, 32, offsetof(struct simt_env, ctaid) + 4 * (s - IR_SREG_CTAID_X));
	case IR_SREG_NCTAID_X: case IR_SREG_NCTAID_Y: case IR_SREG_NCTAID_Z:
		return env_field(e, 32, offsetof(struct simt_env, nctaid) + 4 * (s - IR_SREG_NCTAID_X));
	case IR_SREG_LANEID: return self_field(e, 32, offsetof(struct simt_item, lane));
	case IR_SREG_WARPID: return self_field(e, 32, offsetof(struct simt_item, warp));
	case IR_SREG_NWARPID: return env_field(e, 32, offsetof(struct simt_env, nr_warps));
	case IR_SREG_SMID: return i32k(e, 0);
	case IR_SREG_NSMID: return i32k(e, 1);
	case IR_SREG_GRIDID: return env_field(e, 64, offsetof(struct simt_env, grid_id));
	case IR_SREG_LANEMASK_EQ: case IR_SREG_LANEMASK_LE: case IR_SREG_LANEMASK_LT: case IR_SREG_LANEMASK_GE:
	case IR_SREG_LANEMASK_GT:
		lane = self_field(e, 32, offsetof(struct simt_item, lane));
		v = LLVMBuildShl(e->b, one, lane, "");
		if (s == IR_SREG_LANEMASK_EQ)
			return v;
		/* below it; and it */
		v = LLVMBuildSub(e->b, s == IR_SREG_LANEMASK_LT || s == IR_SREG_LANEMASK_GE ? v :
				 LLVMBuildShl(e->b, v, one, ""), one, "");
		return s == IR_SREG_LANEMASK_LT || s == IR_SREG_LANEMASK_LE ? v : LLVMBuildNot(e->b, v, "");
	case IR_SREG_CLOCK: return resize(e, call(e, "simt_clock", int_t(e, 64), 0), 32, false);
	case IR_SREG_CLOCK64: return call(e, "simt_clock", int_t(e, 64), 0);
	case IR_SREG_GLOBALTIMER: return call(e, "simt_timer", int_t(e, 64), 0);
	case IR_SREG_DYNAMIC_SMEM_SIZE: return env_field(e, 32, offsetof(struct simt_env, dynamic_shared_bytes));
	case IR_SREG_TOTAL_SMEM_SIZE: return env_field(e, 32, offsetof(struct simt_env, shared_bytes));
	case IR_SREG_ENVREG1:
		v = env_field(e, 64, offsetof(struct simt_env, grid_barrier));
		return resize(e, LLVMBuildLShr(e->b, v, k(e, 64, 32), ""), 32, false);
	case IR_SREG_ENVREG2: return resize(e, env_field(e, 64, offsetof(struct simt_env, grid_barrier)), 32, false);
	case IR_SREG_LOCAL_SIZE: return i32k(e, local_bytes(e->fn));
	case IR_SREG_STATE: case IR_SREG_COUNT: break;
	}
	refuse(e, "special register %u", s);
	return i32k(e, 0);
}

static V get(struct em *e, ir_reg r)
{
	return LLVMBuildLoad2(e->b, int_t(e, ir_type_bits(e->fn->reg_type[r])), e->reg[r], "");
}

/* The low `bits` of operand i. */
static V src(struct em *e, unsigned int i, unsigned int bits)
{
	const struct ir_operand *o = &e->in->src[i];
	V v;

	switch (o->kind) {
	case IR_OPD_REG:
		v = resize(e, get(e, o->reg), bits, false);
		return o->negated ? LLVMBuildNot(e->b, v, "") : v;
	case IR_OPD_IMM:
		return k(e, bits, o->imm);
	case IR_OPD_VAR:
		v = constant_load(e, ptr_t(e), env_ptr(e), offsetof(struct simt_env, var_addr));
		v = constant_load(e, int_t(e, 64), v, (uint64_t)o->index * 8);
		return resize(e, LLVMBuildAdd(e->b, v, k(e, 64, o->imm), ""), bits, false);
	case IR_OPD_SREG:
	default:
		return resize(e, special(e, o->index), bits, false);
	}
}

static V psrc(struct em *e, unsigned int i)
{
	return src(e, i, 1);
}

/* A result; wider registers are filled by zeros or by the sign. */
static void set_ext(struct em *e, unsigned int i, V v, bool sgn)
{
	ir_reg r = e->in->dst[i];

	if (r != IR_NO_REG)
		LLVMBuildStore(e->b, resize(e, v, ir_type_bits(e->fn->reg_type[r]), sgn), e->reg[r]);
}

static void set(struct em *e, unsigned int i, V v)
{
	set_ext(e, i, v, false);
}

/* ---- floats ---- */

static bool is_half(enum ir_type t)
{
	return t == IR_F16 || t == IR_BF16 || t == IR_F16X2 || t == IR_BF16X2;
}

/* Of one element of a pair. */
static enum ir_type half_format(enum ir_type t)
{
	return t == IR_F16 || t == IR_F16X2 ? IR_F16 : IR_BF16;
}

static bool is_directed(enum ir_rnd rnd)
{
	return rnd == IR_RZ || rnd == IR_RM || rnd == IR_RP;
}

static bool is_integral(enum ir_rnd rnd)
{
	return rnd == IR_RNI || rnd == IR_RZI || rnd == IR_RMI || rnd == IR_RPI;
}

static V flush(struct em *e, V v)
{
	V bits = as_int(e, v), exponent = LLVMBuildAnd(e->b, bits, i32k(e, 0x7f800000), "");

	return as_float(e, sel(e, icmp(e, LLVMIntEQ, exponent, i32k(e, 0)), LLVMBuildAnd(e->b, bits, i32k(e, 0x80000000), ""), bits));
}

/* Any of 16 bits as f32, exactly. */
static V half_as_float(struct em *e, V h, enum ir_type format)
{
	V code = i32k(e, SIMT_FLOAT_CODE(half_format(format), IR_F32, IR_RN));

	return as_float(e, resize(e, call(e, "simt_float_cvt", int_t(e, 64), 2, code, resize(e, h, 64, false)), 32, false));
}

static V to_format(struct em *e, V v, enum ir_type format, enum ir_rnd rnd)
{
	V code = i32k(e, SIMT_FLOAT_CODE(bits_of(v) == 32 ? IR_F32 : IR_F64, format, rnd));

	return resize(e, call(e, "simt_float_cvt", int_t(e, 64), 2, code, resize(e, as_int(e, v), 64, false)), ir_type_bits(format),
		      false);
}

/* A subnormal number of 16 bits as the 0 of its sign. */
static V flush_half(struct em *e, V h, enum ir_type format)
{
	V exponent = bin(e, LLVMAnd, h, k(e, 16, format == IR_F16 ? 0x7c00 : 0x7f80));

	return sel(e, icmp(e, LLVMIntEQ, exponent, k(e, 16, 0)), bin(e, LLVMAnd, h, k(e, 16, 0x8000)), h);
}

static V fsrc_of(struct em *e, unsigned int i, enum ir_type t)
{
	V v;

	if (is_half(t)) {
		v = src(e, i, 16);
		/* cvt's flag is about f32 */
		return half_as_float(e, e->in->flags & IR_FTZ && e->in->op != IR_cvt ? flush_half(e, v, half_format(t)) : v, t);
	}
	v = as_float(e, src(e, i, ir_type_bits(t)));
	return e->in->flags & IR_FTZ && t == IR_F32 ? flush(e, v) : v;
}

static V fsrc(struct em *e, unsigned int i)
{
	return fsrc_of(e, i, e->in->type);
}

static V clamp01(struct em *e, V v)
{
	V zero = fk(e, bits_of(v), 0), one = fk(e, bits_of(v), 1);

	v = sel(e, fcmp(e, LLVMRealOGT, v, zero), v, zero);
	return sel(e, fcmp(e, LLVMRealOLT, v, one), v, one);
}

/* An f32 or f64 result: flushed, saturated, of one NaN. */
static void fset(struct em *e, V v)
{
	unsigned int bits = bits_of(v);

	if (e->in->flags & IR_FTZ && bits == 32)
		v = flush(e, v);
	if (e->in->flags & IR_SAT)
		v = clamp01(e, v);
	/* as integers, so that no NaN is taken for another */
	set(e, 0, sel(e, fcmp(e, LLVMRealUNO, v, v), k(e, bits, simt_float_nan(bits == 32 ? IR_F32 : IR_F64)), as_int(e, v)));
}

static V soft(struct em *e, enum simt_float_op op, enum ir_type format, V a, V b, V c)
{
	V code = i32k(e, SIMT_FLOAT_CODE(op, format, is_directed(e->in->rnd) ? e->in->rnd : IR_RN)), zero = k(e, 64, 0);

	a = resize(e, a, 64, false);
	b = b ? resize(e, b, 64, false) : zero;
	c = c ? resize(e, c, 64, false) : zero;
	return resize(e, call(e, "simt_float_op", int_t(e, 64), 4, code, a, b, c), ir_type_bits(format), false);
}

static void float_min_max(struct em *e)
{
	uint32_t flags = (e->in->op == IR_max) | (e->in->flags & IR_NAN_OUT ? 2 : 0) | (e->in->flags & IR_XORSIGN ? 4 : 0);
	V r = call(e, "simt_float_min_max", int_t(e, 64), 4, i32k(e, e->in->type), i32k(e, flags),
		   resize(e, as_int(e, fsrc(e, 0)), 64, false), resize(e, as_int(e, fsrc(e, 1)), 64, false));

	fset(e, as_float(e, resize(e, r, type_bits(e), false)));
}

/* An f64 that is subnormal, as the 0 of its sign. */
static V flush_f64(struct em *e, V bits)
{
	V exponent = bin(e, LLVMAnd, bits, k(e, 64, UINT64_C(0x7ff) << 52));

	return sel(e, icmp(e, LLVMIntEQ, exponent, k(e, 64, 0)), bin(e, LLVMAnd, bits, k(e, 64, UINT64_C(1) << 63)), bits);
}

/* rcp and rsqrt.approx.ftz.f64: the upper halves alone */
static void gross(struct em *e)
{
	V upper = k(e, 64, UINT64_C(0xffffffff) << 32), v, nan;

	v = as_float(e, flush_f64(e, bin(e, LLVMAnd, src(e, 0, 64), upper)));
	if (e->in->op == IR_rsqrt)
		v = intrinsic(e, "llvm.sqrt", 1, v, NULL, NULL);
	v = LLVMBuildFDiv(e->b, fk(e, 64, 1), v, "");
	nan = fcmp(e, LLVMRealUNO, v, v);
	v = flush_f64(e, bin(e, LLVMAnd, as_int(e, v), upper));
	set(e, 0, sel(e, nan, k(e, 64, UINT64_C(0x7fffffff) << 32), v));
}

/* add to rsqrt, of f32 and f64 */
static void float_op(struct em *e)
{
	enum ir_op op = e->in->op;
	enum ir_type t = e->in->type;
	unsigned int bits = type_bits(e);
	V a = fsrc(e, 0), b = e->in->nr_src > 1 ? fsrc(e, 1) : NULL, c = e->in->nr_src > 2 ? fsrc(e, 2) : NULL, r;

	if ((op == IR_rcp || op == IR_rsqrt) && t == IR_F64 && e->in->flags & IR_FTZ) {
		gross(e);
		return;
	}
	if (op == IR_rcp) {
		b = a;
		a = fk(e, bits, 1);
	} else if (op == IR_div && e->in->flags & IR_APPROX) {	/* by more than 2^126: by an infinity */
		V sign = bin(e, LLVMAnd, as_int(e, b), k(e, 32, 0x80000000));

		b = sel(e, fcmp(e, LLVMRealOGT, intrinsic(e, "llvm.fabs", 1, b, NULL, NULL), fk(e, 32, 0x1p126)),
			as_float(e, bin(e, LLVMOr, sign, k(e, 32, 0x7f800000))), b);
	}
	if (is_directed(e->in->rnd) && op != IR_rsqrt) {
		enum simt_float_op how = op == IR_add ? SIMT_ADD : op == IR_sub ? SIMT_SUB : op == IR_mul ? SIMT_MUL :
					 op == IR_fma ? SIMT_FMA : op == IR_sqrt ? SIMT_SQRT : SIMT_DIV;

		r = as_float(e, soft(e, how, t, as_int(e, a), b ? as_int(e, b) : NULL, c ? as_int(e, c) : NULL));
	} else {
		switch (op) {
		case IR_add: r = LLVMBuildFAdd(e->b, a, b, ""); break;
		case IR_sub: r = LLVMBuildFSub(e->b, a, b, ""); break;
		case IR_mul: r = LLVMBuildFMul(e->b, a, b, ""); break;
		case IR_fma: r = intrinsic(e, "llvm.fma", 3, a, b, c); break;
		case IR_sqrt: r = intrinsic(e, "llvm.sqrt", 1, a, NULL, NULL); break;
		case IR_rsqrt:
			r = LLVMBuildFDiv(e->b, fk(e, bits, 1), intrinsic(e, "llvm.sqrt", 1, a, NULL, NULL), "");
			break;
		default: r = LLVMBuildFDiv(e->b, a, b, ""); break;	/* div, rcp */
		}
	}
	if (e->in->flags & IR_RELU)
		r = sel(e, fcmp(e, LLVMRealOLT, r, fk(e, bits, 0)), fk(e, bits, 0), r);
	fset(e, r);
}

static void sign_op(struct em *e)
{
	unsigned int bits = type_bits(e);
	uint64_t sign = UINT64_C(1) << (bits - 1);
	V v = as_int(e, fsrc(e, 0));

	v = e->in->op == IR_neg ? bin(e, LLVMXor, v, k(e, bits, sign)) : bin(e, LLVMAnd, v, k(e, bits, ~sign));
	fset(e, as_float(e, v));
}

static void testp(struct em *e)
{
	unsigned int bits = type_bits(e);
	uint64_t inf = bits == 32 ? 0x7f800000 : UINT64_C(0x7ff0000000000000), least = bits == 32 ? 1u << 23 : UINT64_C(1) << 52;
	V magnitude = bin(e, LLVMAnd, src(e, 0, bits), k(e, bits, ~(UINT64_C(1) << (bits - 1)))), i = k(e, bits, inf), p, q;

	switch (e->in->sub) {
	case IR_TESTP_FINITE: p = icmp(e, LLVMIntULT, magnitude, i); break;
	case IR_TESTP_INFINITE: p = icmp(e, LLVMIntEQ, magnitude, i); break;
	case IR_TESTP_NUMBER: p = icmp(e, LLVMIntULE, magnitude, i); break;
	case IR_TESTP_NOTANUMBER: p = icmp(e, LLVMIntUGT, magnitude, i); break;
	case IR_TESTP_NORMAL:
		q = icmp(e, LLVMIntUGE, magnitude, k(e, bits, least));
		p = bin(e, LLVMAnd, q, icmp(e, LLVMIntULT, magnitude, i));
		p = bin(e, LLVMOr, p, icmp(e, LLVMIntEQ, magnitude, k(e, bits, 0)));
		break;
	default:
		q = icmp(e, LLVMIntULT, magnitude, k(e, bits, least));
		p = bin(e, LLVMAnd, q, icmp(e, LLVMIntNE, magnitude, k(e, bits, 0)));
		break;
	}
	set(e, 0, p);
}

static const char *approximation(enum ir_op op)
{
	switch (op) {
	case IR_sin: return "simt_sin";
	case IR_cos: return "simt_cos";
	case IR_ex2: return "simt_ex2";
	case IR_lg2: return "simt_lg2";
	default: return "simt_tanh";
	}
}

/* One element of 16 bits. */
static V half_op(struct em *e, V *x, enum ir_type format)
{
	const struct ir_insn *in = e->in;
	uint64_t flags = (in->op == IR_max) | (in->flags & IR_NAN_OUT ? 2 : 0) | (in->flags & IR_XORSIGN ? 4 : 0);
	V r, f;

	for (unsigned int i = 0; i < in->nr_src && in->flags & IR_FTZ; i++)
		x[i] = flush_half(e, x[i], format);
	switch (in->op) {
	case IR_add: r = soft(e, SIMT_ADD, format, x[0], x[1], NULL); break;
	case IR_sub: r = soft(e, SIMT_SUB, format, x[0], x[1], NULL); break;
	case IR_mul: r = soft(e, SIMT_MUL, format, x[0], x[1], NULL); break;
	case IR_fma: r = soft(e, SIMT_FMA, format, x[0], x[1], x[2]); break;
	case IR_neg: return bin(e, LLVMXor, x[0], k(e, 16, 0x8000));
	case IR_abs: return bin(e, LLVMAnd, x[0], k(e, 16, 0x7fff));
	case IR_ex2: case IR_tanh:
		r = to_format(e, call(e, approximation(in->op), float_t(e, 32), 1, half_as_float(e, x[0], format)), format, IR_RN);
		break;
	default:
		r = call(e, "simt_float_min_max", int_t(e, 64), 4, i32k(e, format), i32k(e, (uint32_t)flags),
			 resize(e, x[0], 64, false), resize(e, x[1], 64, false));
		r = resize(e, r, 16, false);
		break;
	}
	if (in->flags & (IR_SAT | IR_RELU)) {
		f = half_as_float(e, r, format);
		f = in->flags & IR_SAT ? clamp01(e, f) : sel(e, fcmp(e, LLVMRealOLT, f, fk(e, 32, 0)), fk(e, 32, 0), f);
		r = to_format(e, f, format, IR_RN);
	}
	return in->flags & IR_FTZ ? flush_half(e, r, format) : r;
}

static void halves(struct em *e)
{
	const struct ir_insn *in = e->in;
	unsigned int bits = type_bits(e);
	V x[3], part[3], r = k(e, bits, 0);

	switch (in->op) {
	case IR_add: case IR_sub: case IR_mul: case IR_fma: case IR_min: case IR_max: case IR_neg: case IR_abs: case IR_ex2: case IR_tanh:
		break;
	default:
		refuse(e, "this precision");
		return;
	}
	for (unsigned int i = 0; i < in->nr_src; i++)
		x[i] = src(e, i, bits);
	for (unsigned int h = 0; h < bits; h += 16) {
		V v;

		for (unsigned int i = 0; i < in->nr_src; i++)
			part[i] = resize(e, LLVMBuildLShr(e->b, x[i], k(e, bits, h), ""), 16, false);
		v = resize(e, half_op(e, part, half_format(in->type)), bits, false);
		r = bin(e, LLVMOr, r, LLVMBuildShl(e->b, v, k(e, bits, h), ""));
	}
	set(e, 0, r);
}

/* ---- integers ---- */

static V saturated(struct em *e, bool subtract, V a, V b)
{
	return intrinsic(e, subtract ? (is_signed(e) ? "llvm.ssub.sat" : "llvm.usub.sat") :
				       (is_signed(e) ? "llvm.sadd.sat" : "llvm.uadd.sat"), 2, a, b, NULL);
}

/* a + b + in or a - b - in in one bit more; *out: that bit. */
static V with_carry(struct em *e, bool subtract, V a, V b, V in, V *out)
{
	unsigned int bits = bits_of(a);
	LLVMOpcode op = subtract ? LLVMSub : LLVMAdd;
	V r = bin(e, op, resize(e, a, bits + 1, false), resize(e, b, bits + 1, false));

	if (in)
		r = bin(e, op, r, resize(e, in, bits + 1, false));
	*out = resize(e, LLVMBuildLShr(e->b, r, LLVMConstInt(int_t(e, bits + 1), bits, 0), ""), 1, false);
	return resize(e, r, bits, false);
}

static void add_sub(struct em *e)
{
	const struct ir_insn *in = e->in;
	unsigned int bits = type_bits(e);
	bool subtract = in->op == IR_sub || in->op == IR_subc;
	V a = src(e, 0, bits), b = src(e, 1, bits), carry, r;

	if (in->flags & IR_SAT) {
		set(e, 0, saturated(e, subtract, a, b));
		return;
	}
	if (in->nr_src == 2 && in->nr_dst == 1) {
		set(e, 0, bin(e, subtract ? LLVMSub : LLVMAdd, a, b));
		return;
	}
	r = with_carry(e, subtract, a, b, in->op == IR_addc || in->op == IR_subc ? psrc(e, 2) : NULL, &carry);
	set(e, 0, r);
	if (in->nr_dst > 1)
		set(e, 1, carry);
}

static V product(struct em *e)
{
	unsigned int bits = type_bits(e), wide = bits * 2;
	V a = src(e, 0, bits), b = src(e, 1, bits), p;

	if (!(e->in->flags & (IR_HI | IR_WIDE)))
		return LLVMBuildMul(e->b, a, b, "");
	p = LLVMBuildMul(e->b, resize(e, a, wide, is_signed(e)), resize(e, b, wide, is_signed(e)), "");
	if (e->in->flags & IR_WIDE)
		return p;
	return resize(e, LLVMBuildLShr(e->b, p, LLVMConstInt(int_t(e, wide), bits, 0), ""), bits, false);
}

static void mad(struct em *e)
{
	V p = product(e), c = src(e, 2, bits_of(p)), carry;

	if (e->in->flags & IR_SAT) {
		set(e, 0, saturated(e, false, p, c));
		return;
	}
	set(e, 0, with_carry(e, false, p, c, e->in->op == IR_madc ? psrc(e, 3) : NULL, &carry));
	if (e->in->nr_dst > 1)
		set(e, 1, carry);
}

static void divide(struct em *e)
{
	unsigned int bits = type_bits(e);
	bool rem = e->in->op == IR_rem;
	V a = src(e, 0, bits), b = src(e, 1, bits), one = k(e, bits, 1), zero = icmp(e, LLVMIntEQ, b, k(e, bits, 0)), safe = zero, q;

	if (is_signed(e)) {
		V minus = icmp(e, LLVMIntEQ, b, k(e, bits, UINT64_MAX));

		safe = bin(e, LLVMOr, zero, minus);
		safe = sel(e, safe, one, b);
		q = rem ? LLVMBuildSRem(e->b, a, safe, "") : sel(e, minus, LLVMBuildNeg(e->b, a, ""), LLVMBuildSDiv(e->b, a, safe, ""));
	} else {
		safe = sel(e, zero, one, b);
		q = rem ? LLVMBuildURem(e->b, a, safe, "") : LLVMBuildUDiv(e->b, a, safe, "");
	}
	set(e, 0, sel(e, zero, rem ? a : k(e, bits, UINT64_MAX), q));
}

static V min_max(struct em *e, V a, V b, bool max)
{
	LLVMIntPredicate p = is_signed(e) ? LLVMIntSLT : LLVMIntULT;

	return sel(e, max ? icmp(e, p, b, a) : icmp(e, p, a, b), a, b);
}

static V shifted(struct em *e)
{
	unsigned int bits = type_bits(e);
	V v = src(e, 0, bits), n = src(e, 1, 32), over = icmp(e, LLVMIntUGT, n, i32k(e, bits - 1)), by, r;

	by = resize(e, sel(e, over, i32k(e, bits - 1), n), bits, false);
	if (e->in->op == IR_shr && is_signed(e))
		return LLVMBuildAShr(e->b, v, by, "");
	r = e->in->op == IR_shl ? LLVMBuildShl(e->b, v, by, "") : LLVMBuildLShr(e->b, v, by, "");
	return sel(e, over, k(e, bits, 0), r);
}

/* An operation that is a function: operands of 64 bits and 32 by the letters of `how`. */
static void by_function(struct em *e, const char *name, unsigned int result, V first, unsigned int wide, unsigned int nr,
			V last)
{
	LLVMTypeRef types[6], ft;
	V args[6], f;
	unsigned int n = 0, bits = type_bits(e);

	if (first)
		args[n++] = first;
	for (unsigned int i = 0; i < nr; i++) {
		args[n] = i < wide ? resize(e, src(e, i, bits), 64, false) : src(e, i, 32);
		n++;
	}
	if (last)
		args[n++] = last;
	for (unsigned int i = 0; i < n; i++)
		types[i] = LLVMTypeOf(args[i]);
	ft = LLVMFunctionType(int_t(e, result), types, n, 0);
	f = LLVMGetNamedFunction(e->m, name);
	if (!f)
		f = LLVMAddFunction(e->m, name, ft);
	set(e, 0, resize(e, LLVMBuildCall2(e->b, ft, f, args, n, ""), result == 64 ? bits : result, false));
}

static void funnel(struct em *e)
{
	V n = src(e, 2, 32);

	n = e->in->flags & IR_WRAP ? bin(e, LLVMAnd, n, i32k(e, 31)) : sel(e, icmp(e, LLVMIntUGT, n, i32k(e, 32)), i32k(e, 32), n);
	set(e, 0, call(e, "simt_funnel", int_t(e, 32), 4, i32k(e, e->in->op == IR_shf_l), src(e, 0, 32), src(e, 1, 32), n));
}

static V count_zeros(struct em *e, V v)
{
	return intrinsic(e, "llvm.ctlz", 2, v, k(e, 1, 0), NULL);
}

static bool integer_op(struct em *e)
{
	const struct ir_insn *in = e->in;
	unsigned int bits = type_bits(e), sign = is_signed(e) ? 0x100 : 0;
	V a, b;

	switch (in->op) {
	case IR_add: case IR_sub: case IR_addc: case IR_subc: add_sub(e); return true;
	case IR_mul: set(e, 0, product(e)); return true;
	case IR_mad: case IR_madc: mad(e); return true;
	case IR_div: case IR_rem: divide(e); return true;
	case IR_min: case IR_max: set(e, 0, min_max(e, src(e, 0, bits), src(e, 1, bits), in->op == IR_max)); return true;
	case IR_neg: set(e, 0, LLVMBuildNeg(e->b, src(e, 0, bits), "")); return true;
	case IR_abs:
		a = src(e, 0, bits);
		set(e, 0, sel(e, icmp(e, LLVMIntSLT, a, k(e, bits, 0)), LLVMBuildNeg(e->b, a, ""), a));
		return true;
	case IR_sad:
		a = src(e, 0, bits);
		b = src(e, 1, bits);
		a = LLVMBuildSub(e->b, min_max(e, a, b, true), min_max(e, a, b, false), "");
		set(e, 0, LLVMBuildAdd(e->b, a, src(e, 2, bits), ""));
		return true;
	case IR_cnot: set(e, 0, resize(e, icmp(e, LLVMIntEQ, src(e, 0, bits), k(e, bits, 0)), bits, false)); return true;
	case IR_shl: case IR_shr: set(e, 0, shifted(e)); return true;
	case IR_lop3: by_function(e, "simt_lop3", 64, NULL, 3, 3, i32k(e, in->sub)); return true;
	case IR_shf_l: case IR_shf_r: funnel(e); return true;
	case IR_prmt: by_function(e, "simt_prmt", 32, i32k(e, in->sub), 0, 3, NULL); return true;
	case IR_bfe: by_function(e, "simt_bfe", 64, i32k(e, bits | sign), 1, 3, NULL); return true;
	case IR_bfi: by_function(e, "simt_bfi", 64, i32k(e, bits), 2, 4, NULL); return true;
	case IR_bfind: by_function(e, "simt_bfind", 32, i32k(e, bits | sign), 1, 1, i32k(e, in->sub)); return true;
	case IR_brev: set(e, 0, intrinsic(e, "llvm.bitreverse", 1, src(e, 0, bits), NULL, NULL)); return true;
	case IR_clz: set(e, 0, resize(e, count_zeros(e, src(e, 0, bits)), 32, false)); return true;
	case IR_popc: set(e, 0, resize(e, intrinsic(e, "llvm.ctpop", 1, src(e, 0, bits), NULL, NULL), 32, false)); return true;
	case IR_dp4a: case IR_dp2a:
		by_function(e, "simt_dot", 32, i32k(e, (sign ? 1 : 0) | (ir_type_is_signed(in->type2) ? 2 : 0) |
						       (in->op == IR_dp2a ? 4 : 0) | (in->flags & IR_HI ? 8 : 0)), 0, 3, NULL);
		return true;
	default: return false;
	}
}

/* ---- logic, comparing, choosing ---- */

static bool logic(struct em *e)
{
	unsigned int bits = type_bits(e);

	switch (e->in->op) {
	case IR_and: set(e, 0, bin(e, LLVMAnd, src(e, 0, bits), src(e, 1, bits))); return true;
	case IR_or: set(e, 0, bin(e, LLVMOr, src(e, 0, bits), src(e, 1, bits))); return true;
	case IR_xor: set(e, 0, bin(e, LLVMXor, src(e, 0, bits), src(e, 1, bits))); return true;
	case IR_not: set(e, 0, LLVMBuildNot(e->b, src(e, 0, bits), "")); return true;
	default: return false;
	}
}

static V compare_float(struct em *e, V a, V b)
{
	static const LLVMRealPredicate by[] = {
		[IR_EQ] = LLVMRealOEQ, [IR_NE] = LLVMRealONE, [IR_LT] = LLVMRealOLT, [IR_LE] = LLVMRealOLE,
		[IR_GT] = LLVMRealOGT, [IR_GE] = LLVMRealOGE, [IR_EQU] = LLVMRealUEQ, [IR_NEU] = LLVMRealUNE,
		[IR_LTU] = LLVMRealULT, [IR_LEU] = LLVMRealULE, [IR_GTU] = LLVMRealUGT, [IR_GEU] = LLVMRealUGE,
		[IR_NUM] = LLVMRealORD, [IR_NAN] = LLVMRealUNO,
	};

	return fcmp(e, by[e->in->cmp], a, b);
}

static V compare(struct em *e, enum ir_type t)
{
	unsigned int bits = ir_type_bits(t);
	bool s = ir_type_is_signed(t);
	LLVMIntPredicate p;

	if (ir_type_is_float(t))
		return compare_float(e, fsrc_of(e, 0, t), fsrc_of(e, 1, t));
	switch (e->in->cmp) {
	case IR_EQ: p = LLVMIntEQ; break;
	case IR_NE: p = LLVMIntNE; break;
	case IR_LT: p = s ? LLVMIntSLT : LLVMIntULT; break;
	case IR_LE: p = s ? LLVMIntSLE : LLVMIntULE; break;
	case IR_GT: p = s ? LLVMIntSGT : LLVMIntUGT; break;
	case IR_GE: p = s ? LLVMIntSGE : LLVMIntUGE; break;
	case IR_LTU: p = LLVMIntULT; break;
	case IR_LEU: p = LLVMIntULE; break;
	case IR_GTU: p = LLVMIntUGT; break;
	case IR_GEU: p = LLVMIntUGE; break;
	default:
		refuse(e, "this comparison of integers");
		p = LLVMIntEQ;
		break;
	}
	return icmp(e, p, src(e, 0, bits), src(e, 1, bits));
}

static V combine(struct em *e, V p)
{
	switch (e->in->boolop) {
	case IR_BOOL_AND: return bin(e, LLVMAnd, p, psrc(e, 2));
	case IR_BOOL_OR: return bin(e, LLVMOr, p, psrc(e, 2));
	case IR_BOOL_XOR: return bin(e, LLVMXor, p, psrc(e, 2));
	default: return p;
	}
}

static bool is_pair(enum ir_type t)
{
	return t == IR_F16X2 || t == IR_BF16X2;
}

static V compare_half(struct em *e, enum ir_type t, unsigned int h)
{
	V x[2];

	for (unsigned int i = 0; i < 2; i++)
		x[i] = half_as_float(e, resize(e, LLVMBuildLShr(e->b, src(e, i, 32), i32k(e, 16 * h), ""), 16, false), t);
	/* what is subnormal there is a number of few bits here */
	for (unsigned int i = 0; i < 2 && e->in->flags & IR_FTZ; i++)
		x[i] = half_as_float(e, flush_half(e, to_format(e, x[i], half_format(t), IR_RN), half_format(t)), t);
	return combine(e, compare_float(e, x[0], x[1]));
}

static void setp(struct em *e)
{
	V p, q;

	if (is_pair(e->in->type)) {
		p = compare_half(e, e->in->type, 0);
		q = compare_half(e, e->in->type, 1);
	} else {
		p = compare(e, e->in->type);
		q = combine(e, LLVMBuildNot(e->b, p, ""));
		p = combine(e, p);
	}
	set(e, 0, p);
	if (e->in->nr_dst > 1)
		set(e, 1, q);
}

static void set_op(struct em *e)
{
	unsigned int bits = type_bits(e);
	V p;

	if (is_pair(e->in->type2)) {
		uint32_t yes = !ir_type_is_float(e->in->type) ? 0xffff : half_format(e->in->type) == IR_F16 ? 0x3c00 : 0x3f80;
		V lo = sel(e, compare_half(e, e->in->type2, 0), i32k(e, yes), i32k(e, 0));

		set(e, 0, bin(e, LLVMOr, lo, sel(e, compare_half(e, e->in->type2, 1), i32k(e, yes << 16), i32k(e, 0))));
		return;
	}
	if (is_pair(e->in->type)) {
		refuse(e, "one comparison with two results");
		return;
	}
	p = combine(e, compare(e, e->in->type2));
	if (ir_type_is_float(e->in->type)) {
		uint64_t one = e->in->type == IR_F32 ? 0x3f800000 : e->in->type == IR_F16 ? 0x3c00 : 0x3f80;

		set(e, 0, sel(e, p, k(e, bits, one), k(e, bits, 0)));
	} else {
		set(e, 0, resize(e, p, bits, true));
	}
}

static void slct(struct em *e)
{
	unsigned int bits = type_bits(e);
	V c = src(e, 2, 32), p;

	if (e->in->type2 == IR_F32) {
		c = as_float(e, c);
		p = fcmp(e, LLVMRealOGE, e->in->flags & IR_FTZ ? flush(e, c) : c, fk(e, 32, 0));
	} else {
		p = icmp(e, LLVMIntSGE, c, i32k(e, 0));
	}
	set(e, 0, sel(e, p, src(e, 0, bits), src(e, 1, bits)));
}

/* ---- converting ---- */

static V to_integral(struct em *e, V v)
{
	switch (e->in->rnd) {
	case IR_RNI: case IR_RN: return intrinsic(e, "llvm.roundeven", 1, v, NULL, NULL);
	case IR_RZI: case IR_RZ: return intrinsic(e, "llvm.trunc", 1, v, NULL, NULL);
	case IR_RMI: case IR_RM: return intrinsic(e, "llvm.floor", 1, v, NULL, NULL);
	case IR_RPI: case IR_RP: return intrinsic(e, "llvm.ceil", 1, v, NULL, NULL);
	default: return v;
	}
}

static void float_to_int(struct em *e)
{
	unsigned int bits = type_bits(e);
	const char *name = is_signed(e) ? "llvm.fptosi.sat" : "llvm.fptoui.sat";
	V v = to_integral(e, fsrc_of(e, 0, e->in->type2)), r;
	LLVMTypeRef over[2] = { int_t(e, bits), LLVMTypeOf(v) };
	unsigned int id = LLVMLookupIntrinsicID(name, strlen(name));

	r = LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->c, id, over, 2), LLVMGetIntrinsicDeclaration(e->m, id, over, 2), &v, 1, "");
	/* no number: 0; where 64 bits are involved, the lowest, or half of the range */
	if (e->in->type2 == IR_F64 || bits == 64)
		r = sel(e, fcmp(e, LLVMRealUNO, v, v), k(e, bits, UINT64_C(1) << (bits - 1)), r);
	set_ext(e, 0, r, is_signed(e));
}

/* To one of the formats of 16 bits. */
static V to_half(struct em *e, V v, enum ir_type format)
{
	const struct ir_insn *in = e->in;
	unsigned int bits = bits_of(v);

	if (in->flags & IR_RELU)
		v = sel(e, fcmp(e, LLVMRealOLT, v, fk(e, bits, 0)), fk(e, bits, 0), v);
	if (in->flags & IR_SAT)
		v = clamp01(e, v);
	if (in->flags & IR_SATFINITE) {
		double most = format == IR_F16 ? 65504.0 : 0x1.fep127;

		v = sel(e, fcmp(e, LLVMRealOGT, v, fk(e, bits, most)), fk(e, bits, most), v);
		v = sel(e, fcmp(e, LLVMRealOLT, v, fk(e, bits, -most)), fk(e, bits, -most), v);
	}
	return to_format(e, v, format, is_directed(in->rnd) ? in->rnd : IR_RN);
}

static void float_to_float(struct em *e)
{
	const struct ir_insn *in = e->in;
	enum ir_type to = in->type, from = in->type2;
	V v, lo;

	if (is_pair(from) || (is_pair(to) && (in->nr_src != 2 || from != IR_F32))) {
		refuse(e, "packed conversion");
		return;
	}
	v = fsrc_of(e, 0, from);
	if (is_pair(to)) {
		v = resize(e, to_half(e, v, half_format(to)), 32, false);
		lo = resize(e, to_half(e, fsrc_of(e, 1, from), half_format(to)), 32, false);
		set(e, 0, bin(e, LLVMOr, LLVMBuildShl(e->b, v, i32k(e, 16), ""), lo));
		return;
	}
	if (is_integral(in->rnd))
		v = to_integral(e, v);
	if (is_half(to)) {
		set(e, 0, to_half(e, v, to));
		return;
	}
	if (to == IR_F64 && bits_of(v) == 32)
		v = LLVMBuildFPExt(e->b, v, float_t(e, 64), "");
	else if (to == IR_F32 && bits_of(v) == 64)
		v = is_directed(in->rnd) ? as_float(e, to_format(e, v, IR_F32, in->rnd)) :
					   LLVMBuildFPTrunc(e->b, v, float_t(e, 32), "");
	fset(e, v);
}

static void int_to_float(struct em *e)
{
	const struct ir_insn *in = e->in;
	bool s = ir_type_is_signed(in->type2);
	V v = src(e, 0, ir_type_bits(in->type2)), code;

	if (is_pair(in->type)) {
		refuse(e, "packed conversion");
		return;
	}
	if (!is_half(in->type) && !is_directed(in->rnd)) {
		LLVMTypeRef t = float_t(e, type_bits(e));

		fset(e, s ? LLVMBuildSIToFP(e->b, v, t, "") : LLVMBuildUIToFP(e->b, v, t, ""));
		return;
	}
	if (is_half(in->type) && in->flags & (IR_SAT | IR_RELU | IR_SATFINITE)) {
		/* f64 has every integer of 32 bits, and more than any other that a half can tell apart from infinity */
		V d = s ? LLVMBuildSIToFP(e->b, v, float_t(e, 64), "") : LLVMBuildUIToFP(e->b, v, float_t(e, 64), "");

		set(e, 0, to_half(e, d, in->type));
		return;
	}
	code = i32k(e, SIMT_FLOAT_CODE(s, in->type, is_directed(in->rnd) ? in->rnd : IR_RN));
	v = call(e, "simt_float_from_int", int_t(e, 64), 2, code, resize(e, v, 64, s));
	v = resize(e, v, type_bits(e), false);
	if (is_half(in->type))
		set(e, 0, v);
	else
		fset(e, as_float(e, v));
}

/* Within the range of the destination, by numbers of 128 bits. */
static V saturate(struct em *e, V v, bool from_signed)
{
	unsigned int bits = type_bits(e);
	LLVMTypeRef t = int_t(e, 128);
	V one = LLVMConstInt(t, 1, 0), top = LLVMBuildShl(e->b, one, LLVMConstInt(t, is_signed(e) ? bits - 1 : bits, 0), "");
	V high = LLVMBuildSub(e->b, top, one, ""), low = is_signed(e) ? LLVMBuildNeg(e->b, top, "") : LLVMConstNull(t);

	v = resize(e, v, 128, from_signed);
	v = sel(e, icmp(e, LLVMIntSGT, v, high), high, v);
	v = sel(e, icmp(e, LLVMIntSLT, v, low), low, v);
	return resize(e, v, bits, false);
}

static void cvt(struct em *e)
{
	const struct ir_insn *in = e->in;
	bool from_signed = ir_type_is_signed(in->type2);
	V v;

	if (ir_type_is_float(in->type2)) {
		if (is_pair(in->type2) && !ir_type_is_float(in->type))
			refuse(e, "packed conversion");
		else if (ir_type_is_float(in->type))
			float_to_float(e);
		else
			float_to_int(e);
	} else if (ir_type_is_float(in->type)) {
		int_to_float(e);
	} else {
		v = src(e, 0, ir_type_bits(in->type2));
		v = in->flags & IR_SAT ? saturate(e, v, from_signed) : resize(e, v, type_bits(e), from_signed);
		set_ext(e, 0, v, is_signed(e));
	}
}

/* Of an f32 to the bits of a format that is no type, and back. */
static void narrow(struct em *e)
{
	const struct ir_insn *in = e->in;
	V v = fsrc(e, 0);

	if (in->flags & IR_RELU)
		v = sel(e, fcmp(e, LLVMRealOLT, v, fk(e, 32, 0)), fk(e, 32, 0), v);
	set(e, 0, call(e, "simt_narrow", int_t(e, 32), 2, i32k(e, in->sub | (uint32_t)in->rnd << 8 |
		       (in->flags & IR_SATFINITE ? SIMT_NARROW_FINITE : 0)), as_int(e, v)));
}

static void pack(struct em *e)
{
	unsigned int bits = type_bits(e), each = bits / e->in->nr_src;
	V r = LLVMConstNull(int_t(e, bits));

	for (unsigned int i = 0; i < e->in->nr_src; i++)
		r = bin(e, LLVMOr, r, LLVMBuildShl(e->b, resize(e, src(e, i, each), bits, false),
						   LLVMConstInt(int_t(e, bits), i * each, 0), ""));
	set(e, 0, r);
}

static void unpack(struct em *e)
{
	unsigned int bits = type_bits(e), each = bits / e->in->nr_dst;
	V v = src(e, 0, bits);

	for (unsigned int i = 0; i < e->in->nr_dst; i++)
		set(e, i, resize(e, LLVMBuildLShr(e->b, v, LLVMConstInt(int_t(e, bits), i * each, 0), ""), each, false));
}

/* ---- memory ---- */

/* Where a space begins among the addresses; NULL: at 0. */
static V window(struct em *e, enum ir_space space)
{
	switch (space) {
	case IR_SHARED: return env_field(e, 64, offsetof(struct simt_env, shared));
	case IR_PARAM: return env_field(e, 64, offsetof(struct simt_env, params));
	case IR_LOCAL: return self_field(e, 64, offsetof(struct simt_item, local));
	default: return NULL;
	}
}

/* Of a load, store or atomic of `size` bytes; a multiple of that, or the grid ends. */
static V address(struct em *e, unsigned int size)
{
	const struct ir_operand *o = &e->in->src[0];
	unsigned int bits = o->kind == IR_OPD_REG ? ir_type_bits(e->fn->reg_type[o->reg]) : 64;
	V a = src(e, 0, bits), base = window(e, e->in->space);
	LLVMBasicBlockRef bad, good;

	a = resize(e, LLVMBuildAdd(e->b, a, k(e, bits, e->in->src[1].imm), ""), 64, false);
	if (base)
		a = LLVMBuildAdd(e->b, base, a, "");
	if (size > 1 && e->in->space != IR_PARAM) {
		bad = new_bb(e);
		good = new_bb(e);
		LLVMBuildCondBr(e->b, icmp(e, LLVMIntEQ, bin(e, LLVMAnd, a, k(e, 64, size - 1)), k(e, 64, 0)), good, bad);
		LLVMPositionBuilderAtEnd(e->b, bad);
		call(e, "simt_misaligned", NULL, 2, e->self, a);
		LLVMBuildUnreachable(e->b);
		LLVMPositionBuilderAtEnd(e->b, good);
	}
	return LLVMBuildIntToPtr(e->b, a, ptr_t(e), "");
}

static void strengthen(struct em *e, V access, bool store)
{
	if (e->in->sem == IR_WEAK)
		return;
	LLVMSetVolatile(access, 1);
	if (type_bits(e) <= 64)
		LLVMSetOrdering(access, e->in->sem == IR_SC ? LLVMAtomicOrderingSequentiallyConsistent :
					store ? LLVMAtomicOrderingRelease : LLVMAtomicOrderingAcquire);
}

static void memory_access(struct em *e)
{
	const struct ir_insn *in = e->in;
	bool store = in->op == IR_st;
	unsigned int size = type_bits(e) / 8, nr = store ? in->nr_src - 2u : in->nr_dst;
	V p, v[16];

	if (nr > 16 || (nr & (nr - 1)) || nr * size > 64) {
		refuse(e, "a vector of %u", nr);
		return;
	}
	for (unsigned int i = 0; i < nr && store; i++)
		v[i] = src(e, 2 + i, size * 8);
	p = address(e, size * nr);
	for (unsigned int i = 0; i < nr; i++) {
		V to = at(e, p, i * size), access;

		if (store) {
			access = LLVMBuildStore(e->b, v[i], to);
		} else if (in->space == IR_PARAM) {
			access = constant_load(e, int_t(e, size * 8), to, 0);
			v[i] = access;
		} else {
			access = LLVMBuildLoad2(e->b, int_t(e, size * 8), to, "");
			v[i] = access;
		}
		/* a parameter's address is not checked: the block is the launch's */
		LLVMSetAlignment(access, in->space == IR_PARAM && in->sem == IR_WEAK ? 1 : size);
		strengthen(e, access, store);
	}
	/* a vector's destinations may be its address */
	for (unsigned int i = 0; i < nr && !store; i++)
		set_ext(e, i, v[i], is_signed(e));
}

static V inside(struct em *e, V a, enum ir_space space, V size)
{
	return icmp(e, LLVMIntULT, LLVMBuildSub(e->b, a, window(e, space), ""), resize(e, size, 64, false));
}

/* A place in the stack that is made once, whatever loop it is used in. */
static V place(struct em *e, LLVMTypeRef t)
{
	LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
	V p;

	LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(LLVMGetEntryBasicBlock(e->f)));
	p = LLVMBuildAlloca(e->b, t, "");
	LLVMPositionBuilderAtEnd(e->b, here);
	return p;
}

static void atom128(struct em *e)
{
	const struct ir_insn *in = e->in;
	V a = place(e, int_t(e, 128)), b = place(e, int_t(e, 128)), old = place(e, int_t(e, 128));

	LLVMBuildStore(e->b, src(e, 2, 128), a);
	if (in->nr_src > 3)
		LLVMBuildStore(e->b, src(e, 3, 128), b);
	call(e, "simt_atom128", NULL, 5, i32k(e, in->sub), address(e, 16), a, b, old);
	if (in->nr_dst)
		set(e, 0, LLVMBuildLoad2(e->b, int_t(e, 128), old, ""));
}

static void atom(struct em *e)
{
	const struct ir_insn *in = e->in;
	unsigned int bits = type_bits(e);
	V a, b, r, p, code;

	if (bits == 128) {
		atom128(e);
		return;
	}
	if (bits < 16 || bits > 64) {
		refuse(e, "atomics of this width");
		return;
	}
	if (ir_type_is_float(in->type) && in->sub != IR_ATOM_ADD && (!is_half(in->type) || (in->sub != IR_ATOM_MIN && in->sub != IR_ATOM_MAX))) {
		refuse(e, "this atomic operation of floats");
		return;
	}
	a = resize(e, src(e, 2, bits), 64, false);
	b = in->nr_src > 3 ? resize(e, src(e, 3, bits), 64, false) : a;
	p = address(e, bits / 8);
	code = i32k(e, SIMT_ATOM_CODE(in->sub, in->type) | (in->flags & IR_FTZ ? SIMT_ATOM_FTZ : 0));
	if (in->flags & IR_FTZ && in->space == IR_GENERIC) {
		V at = LLVMBuildPtrToInt(e->b, p, int_t(e, 64), "");

		code = sel(e, inside(e, at, IR_SHARED, env_field(e, 32, offsetof(struct simt_env, shared_bytes))),
			   i32k(e, SIMT_ATOM_CODE(in->sub, in->type)), code);
	}
	r = call(e, "simt_atom", int_t(e, 64), 4, code, p, a, b);
	if (in->nr_dst)
		set(e, 0, resize(e, r, bits, false));
}

static void convert_address(struct em *e)
{
	V a = resize(e, src(e, 0, type_bits(e)), 64, false), base = window(e, e->in->space);

	if (base)
		a = e->in->op == IR_cvta ? LLVMBuildAdd(e->b, a, base, "") : LLVMBuildSub(e->b, a, base, "");
	set(e, 0, resize(e, a, type_bits(e), false));
}

static void isspacep(struct em *e)
{
	V a = src(e, 0, type_bits(e)), shared, local, param, any;

	a = resize(e, a, 64, false);
	shared = inside(e, a, IR_SHARED, env_field(e, 32, offsetof(struct simt_env, shared_bytes)));
	local = inside(e, a, IR_LOCAL, i32k(e, local_bytes(e->fn)));
	param = inside(e, a, IR_PARAM, i32k(e, e->fn->param_bytes));
	switch (e->in->space) {
	case IR_SHARED: set(e, 0, shared); break;
	case IR_LOCAL: set(e, 0, local); break;
	case IR_PARAM: set(e, 0, param); break;
	case IR_GLOBAL:
		any = bin(e, LLVMOr, shared, local);
		set(e, 0, LLVMBuildNot(e->b, any, ""));
		break;
	default: refuse(e, "a test for this space"); break;
	}
}

/* ---- lanes, barriers ---- */

static void shfl(struct em *e)
{
	V r = call(e, "simt_shfl", int_t(e, 64), 6, e->self, i32k(e, e->in->sub), src(e, 0, 32), src(e, 1, 32), src(e, 2, 32),
		   src(e, 3, 32));

	set(e, 0, resize(e, r, 32, false));
	if (e->in->nr_dst > 1)
		set(e, 1, resize(e, LLVMBuildLShr(e->b, r, k(e, 64, 32), ""), 1, false));
}

static void vote(struct em *e)
{
	V r = call(e, "simt_vote", int_t(e, 32), 4, e->self, i32k(e, e->in->sub), resize(e, psrc(e, 0), 32, false), src(e, 1, 32));

	set(e, 0, e->in->type == IR_PRED ? resize(e, r, 1, false) : r);
}

static void match(struct em *e)
{
	V v = resize(e, src(e, 0, type_bits(e)), 64, false);
	V r = call(e, "simt_match", int_t(e, 32), 4, e->self, i32k(e, e->in->sub), v, src(e, 1, 32));

	set(e, 0, r);
	if (e->in->nr_dst > 1)
		set(e, 1, icmp(e, LLVMIntNE, r, i32k(e, 0)));
}

static void redux(struct em *e)
{
	if (type_bits(e) != 32)
		refuse(e, "this width");
	else
		set(e, 0, call(e, "simt_redux", int_t(e, 32), 4, e->self, i32k(e, SIMT_ATOM_CODE(e->in->sub, e->in->type) |
				       (e->in->flags & IR_NAN_OUT ? SIMT_ATOM_NAN : 0)), src(e, 0, 32), src(e, 1, 32)));
}

static void mma(struct em *e)
{
	const struct ir_insn *in = e->in;
	unsigned int bits = in->type == IR_F64 ? 64 : 32;
	V from = place(e, LLVMArrayType2(int_t(e, 64), in->nr_src)), to = place(e, LLVMArrayType2(int_t(e, 64), in->nr_dst));

	for (unsigned int i = 0; i < in->nr_src; i++)
		LLVMBuildStore(e->b, resize(e, src(e, i, bits), 64, false), at(e, from, i * 8));
	call(e, "simt_mma", NULL, 4, e->self,
	     i32k(e, in->sub | (uint32_t)in->type << 8 | (uint32_t)in->type2 << 16 | (in->flags & IR_SATFINITE ? 1u << 24 : 0)), from, to);
	for (unsigned int i = 0; i < in->nr_dst; i++)
		set(e, i, resize(e, load(e, int_t(e, 64), to, i * 8), bits, false));
}

/* By the same code as everywhere; what is another's here is how it is called. */
static void tex(struct em *e)
{
	const struct ir_insn *in = e->in;
	LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b), entry = LLVMGetEntryBasicBlock(e->f);
	V from, to, texture = src(e, 0, 64), sampler;

	LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(entry));
	from = LLVMBuildAlloca(e->b, LLVMArrayType2(int_t(e, 32), in->nr_src), "");
	to = LLVMBuildAlloca(e->b, LLVMArrayType2(int_t(e, 32), 4), "");
	LLVMPositionBuilderAtEnd(e->b, here);
	sampler = in->src[1].kind == IR_OPD_IMM && !in->src[1].imm ? texture : src(e, 1, 64);
	for (unsigned int i = 2; i < in->nr_src; i++)
		LLVMBuildStore(e->b, src(e, i, 32), at(e, from, (i - 2) * 4));
	call(e, "simt_tex", NULL, 6, e->self, texture, sampler, i32k(e, ir_tex_what(in)), from, to);
	for (unsigned int i = 0; i < 4; i++)
		if (in->dst[i] != IR_NO_REG)
			set(e, i, load(e, int_t(e, 32), to, i * 4));
}

static void move_matrix(struct em *e)
{
	bool store = e->in->op == IR_stmatrix;
	unsigned int nr = store ? e->in->nr_src - 2u : e->in->nr_dst;
	V addr = LLVMBuildPtrToInt(e->b, address(e, 1), int_t(e, 64), "");

	for (unsigned int i = 0; i < nr; i++)
		if (store)
			call(e, "simt_stmatrix", NULL, 4, e->self, addr, i32k(e, i), src(e, 2 + i, 32));
		else
			set(e, i, call(e, "simt_ldmatrix", int_t(e, 32), 3, e->self, addr, i32k(e, i)));
}

static void barrier(struct em *e)
{
	V id = src(e, 0, 32), count = src(e, 1, 32), r, nr_true;

	if (e->in->op == IR_bar_sync) {
		call(e, "simt_barrier", NULL, 3, e->self, id, count);
		return;
	}
	if (e->in->op == IR_bar_arrive) {
		call(e, "simt_barrier_arrive", NULL, 3, e->self, id, count);
		return;
	}
	r = call(e, "simt_barrier_count", int_t(e, 64), 4, e->self, id, count, psrc(e, 2));
	nr_true = resize(e, r, 32, false);
	if (e->in->sub == IR_BARRED_AND)
		nr_true = icmp(e, LLVMIntEQ, nr_true, resize(e, LLVMBuildLShr(e->b, r, k(e, 64, 32), ""), 32, false));
	else if (e->in->sub == IR_BARRED_OR)
		nr_true = icmp(e, LLVMIntNE, nr_true, i32k(e, 0));
	set(e, 0, nr_true);
}

/* Calls it with the path to this instruction. */
static V active(struct em *e)
{
	V path[MAX_PATH];
	uint32_t nr = 0;

	for (uint32_t b = 0; b <= e->block && nr < MAX_PATH - 2; b++)
		if (e->rounds[b] && e->loop_end[b] > e->block) {
			path[nr++] = i32k(e, b);
			path[nr++] = LLVMBuildLoad2(e->b, int_t(e, 32), e->rounds[b], "");
		}
	path[nr++] = i32k(e, e->block);
	path[nr++] = i32k(e, e->insn);
	for (uint32_t i = 0; i < nr; i++)
		LLVMBuildStore(e->b, path[i], at(e, e->path, i * 4));
	return call(e, "simt_active", int_t(e, 64), 3, e->self, e->path, i32k(e, nr));
}

static void trap(struct em *e, const char *what)
{
	call(e, "simt_trap", NULL, 2, e->self, LLVMBuildGlobalStringPtr(e->b, what, ""));
	LLVMBuildUnreachable(e->b);
}

static bool other_op(struct em *e)
{
	unsigned int bits = type_bits(e);

	switch (e->in->op) {
	case IR_mov: set(e, 0, src(e, 0, bits)); return true;
	case IR_selp: set(e, 0, sel(e, psrc(e, 2), src(e, 0, bits), src(e, 1, bits))); return true;
	case IR_setp: setp(e); return true;
	case IR_set: set_op(e); return true;
	case IR_slct: slct(e); return true;
	case IR_cvt: cvt(e); return true;
	case IR_pack: pack(e); return true;
	case IR_unpack: unpack(e); return true;
	case IR_ld: case IR_st: memory_access(e); return true;
	case IR_atom: atom(e); return true;
	case IR_membar: LLVMBuildFence(e->b, LLVMAtomicOrderingSequentiallyConsistent, 0, ""); return true;
	case IR_cvta: case IR_cvta_to: convert_address(e); return true;
	case IR_isspacep: isspacep(e); return true;
	case IR_shfl: shfl(e); return true;
	case IR_vote: vote(e); return true;
	case IR_match: match(e); return true;
	case IR_redux: redux(e); return true;
	case IR_mma: mma(e); return true;
	case IR_tex: tex(e); return true;
	case IR_ldmatrix: case IR_stmatrix: move_matrix(e); return true;
	case IR_movmatrix: set(e, 0, call(e, "simt_movmatrix", int_t(e, 32), 2, e->self, src(e, 0, 32))); return true;
	case IR_warpsync: call(e, "simt_warpsync", NULL, 2, e->self, src(e, 0, 32)); return true;
	case IR_activemask: set(e, 0, resize(e, active(e), 32, false)); return true;
	case IR_bar_sync: case IR_bar_arrive: case IR_bar_red: barrier(e); return true;
	case IR_narrow: narrow(e); return true;
	case IR_widen:
		fset(e, as_float(e, call(e, "simt_widen", int_t(e, 32), 2, i32k(e, e->in->sub), src(e, 0, 32))));
		return true;
	case IR_vprintf:
		set(e, 0, call(e, "simt_vprintf", int_t(e, 32), 3, e->self, LLVMBuildIntToPtr(e->b, src(e, 0, 64), ptr_t(e), ""),
			       LLVMBuildIntToPtr(e->b, src(e, 1, 64), ptr_t(e), "")));
		return true;
	case IR_nanosleep: call(e, "simt_sleep", NULL, 2, e->self, src(e, 0, 32)); return true;
	case IR_trap:
		trap(e, e->in->sub == IR_TRAP_STACK ? "the stack is too small" : "trap");
		LLVMPositionBuilderAtEnd(e->b, new_bb(e));	/* never reached */
		return true;
	case IR_assertfail:
		trap(e, "an assertion failed");
		LLVMPositionBuilderAtEnd(e->b, new_bb(e));
		return true;
	default: return false;
	}
}

static bool float_op_of(struct em *e)
{
	switch (e->in->op) {
	case IR_add: case IR_sub: case IR_mul: case IR_fma: case IR_div: case IR_rcp: case IR_sqrt: case IR_rsqrt:
		float_op(e);
		return true;
	case IR_sin: case IR_cos: case IR_ex2: case IR_lg2: case IR_tanh:
		fset(e, call(e, approximation(e->in->op), float_t(e, 32), 1, fsrc(e, 0)));
		return true;
	case IR_min: case IR_max: float_min_max(e); return true;
	case IR_neg: case IR_abs: sign_op(e); return true;
	case IR_copysign: {
		unsigned int bits = type_bits(e);
		uint64_t sign = UINT64_C(1) << (bits - 1);

		set(e, 0, bin(e, LLVMOr, bin(e, LLVMAnd, src(e, 0, bits), k(e, bits, sign)),
			      bin(e, LLVMAnd, src(e, 1, bits), k(e, bits, ~sign))));
		return true;
	}
	case IR_testp: testp(e); return true;
	default: return false;
	}
}

static void one(struct em *e)
{
	const struct ir_insn *in = e->in;

	if (other_op(e) || logic(e))
		return;
	if (is_half(in->type)) {
		halves(e);
		return;
	}
	if (ir_type_is_float(in->type) ? float_op_of(e) : integer_op(e))
		return;
	refuse(e, "operation");
}

/* ---- control flow ---- */

/* Whether others may be waited for where this instruction runs again and again. */
static bool may_be_waited_for(const struct ir_insn *in)
{
	return in->op == IR_atom || in->op == IR_membar || in->op == IR_nanosleep || in->op == IR_activemask ||
	       (in->op == IR_ld && in->sem != IR_WEAK) || ir_op_desc[in->op].flags & IR_F_SYNC;
}

static bool may_switch(const struct ir_insn *in)
{
	return ir_op_desc[in->op].flags & (IR_F_SYNC | IR_F_BARRIER) || in->op == IR_bar_arrive || in->op == IR_activemask;
}

/* The way to a block: counts the rounds of a loop, and lets others have their turn in one that may wait for them. */
static LLVMBasicBlockRef way(struct em *e, uint32_t to)
{
	LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b), bb, yield;
	bool back = to <= e->block, waits = back && e->marks[e->block + 1] != e->marks[to];
	V p, left;

	if (!waits && !e->rounds[to])
		return e->bb[to];
	bb = new_bb(e);
	LLVMPositionBuilderAtEnd(e->b, bb);
	if (e->rounds[to]) {
		V n = LLVMBuildLoad2(e->b, int_t(e, 32), e->rounds[to], "");

		LLVMBuildStore(e->b, back ? LLVMBuildAdd(e->b, n, i32k(e, 1), "") : i32k(e, 0), e->rounds[to]);
	}
	if (!waits) {
		LLVMBuildBr(e->b, e->bb[to]);
		LLVMPositionBuilderAtEnd(e->b, here);
		return bb;
	}
	e->waits = true;
	yield = new_bb(e);
	p = at(e, e->self, offsetof(struct simt_item, patience));
	left = LLVMBuildSub(e->b, LLVMBuildLoad2(e->b, int_t(e, 32), p, ""), i32k(e, 1), "");
	LLVMBuildStore(e->b, left, p);
	LLVMBuildCondBr(e->b, icmp(e, LLVMIntEQ, left, i32k(e, 0)), yield, e->bb[to]);
	LLVMPositionBuilderAtEnd(e->b, yield);
	call(e, "simt_yield", NULL, 1, e->self);
	LLVMBuildBr(e->b, e->bb[to]);
	LLVMPositionBuilderAtEnd(e->b, here);
	return bb;
}

static void terminator(struct em *e)
{
	const struct ir_insn *in = e->in;
	LLVMBasicBlockRef bb[2], bad;
	V sw, p;

	switch (in->op) {
	case IR_bra:
		LLVMBuildBr(e->b, way(e, in->target[0]));
		break;
	case IR_cbra:
		p = psrc(e, 0);
		bb[0] = way(e, in->target[0]);
		bb[1] = way(e, in->target[1]);
		LLVMBuildCondBr(e->b, p, bb[0], bb[1]);
		break;
	case IR_brx:
		bad = new_bb(e);
		sw = LLVMBuildSwitch(e->b, src(e, 0, 32), bad, in->nr_targets);
		for (uint32_t i = 0; i < in->nr_targets; i++)
			LLVMAddCase(sw, i32k(e, i), way(e, in->targets[i]));
		LLVMPositionBuilderAtEnd(e->b, bad);
		trap(e, "an indirect branch to nowhere");
		break;
	default:
		LLVMBuildRetVoid(e->b);
		break;
	}
}

static void guarded(struct em *e)
{
	LLVMBasicBlockRef then = new_bb(e), on = new_bb(e);
	V g = get(e, e->in->guard);

	LLVMBuildCondBr(e->b, g, e->in->guard_neg ? on : then, e->in->guard_neg ? then : on);
	LLVMPositionBuilderAtEnd(e->b, then);
	one(e);
	LLVMBuildBr(e->b, on);
	LLVMPositionBuilderAtEnd(e->b, on);
}

static void block(struct em *e, uint32_t b)
{
	e->block = b;
	LLVMPositionBuilderAtEnd(e->b, e->bb[b]);
	for (uint32_t i = 0; i < e->fn->block[b].nr_insns && !e->why[0]; i++) {
		e->in = &e->fn->block[b].insn[i];
		e->insn = i;
		e->waits |= may_switch(e->in);
		if (ir_op_desc[e->in->op].flags & IR_F_TERM)
			terminator(e);
		else if (e->in->guard != IR_NO_REG)
			guarded(e);
		else
			one(e);
	}
}

/* Blocks of a loop stand together, its header first. */
static void find_loops(struct em *e)
{
	const struct ir_func *fn = e->fn;

	for (uint32_t b = 0; b < fn->nr_blocks; b++) {
		const struct ir_insn *t = &fn->block[b].insn[fn->block[b].nr_insns - 1];

		for (unsigned int i = 0; i < ir_nr_targets(t); i++)
			if (ir_target(t, i) <= b)
				e->loop_end[ir_target(t, i)] = b + 1;
	}
}

/* Counters for the loops around each activemask. */
static void count_rounds(struct em *e)
{
	const struct ir_func *fn = e->fn;

	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
			if (fn->block[b].insn[i].op != IR_activemask)
				continue;
			if (!e->path)
				e->path = LLVMBuildAlloca(e->b, LLVMArrayType2(int_t(e, 32), MAX_PATH), "");
			for (uint32_t h = 0; h <= b; h++)
				if (!e->rounds[h] && e->loop_end[h] > b) {
					e->rounds[h] = LLVMBuildAlloca(e->b, int_t(e, 32), "");
					LLVMBuildStore(e->b, i32k(e, 0), e->rounds[h]);
				}
		}
}

static void body(struct em *e)
{
	const struct ir_func *fn = e->fn;
	LLVMBasicBlockRef entry = new_bb(e);

	find_loops(e);
	for (uint32_t b = 0; b < fn->nr_blocks; b++) {
		e->bb[b] = new_bb(e);
		e->marks[b + 1] = e->marks[b];
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++)
			e->marks[b + 1] += may_be_waited_for(&fn->block[b].insn[i]);
	}
	LLVMPositionBuilderAtEnd(e->b, entry);
	for (uint32_t r = 0; r < fn->nr_regs; r++) {
		LLVMTypeRef t = int_t(e, ir_type_bits(fn->reg_type[r]));

		e->reg[r] = LLVMBuildAlloca(e->b, t, "");
		LLVMBuildStore(e->b, LLVMConstNull(t), e->reg[r]);
	}
	count_rounds(e);
	LLVMBuildBr(e->b, e->bb[0]);
	for (uint32_t b = 0; b < fn->nr_blocks && !e->why[0]; b++)
		block(e, b);
}

/* One kernel as an LLVM module of its own, under the function's name; NULL, with e->why, if it cannot be. */
static enum hg_status kernel(struct em *e)
{
	LLVMTypeRef arg = ptr_t(e);
	/* a kernel that stores at 0 is to fail there, not to be undefined */
	static const char *const attribute[] = { "nounwind", "null_pointer_is_valid" };

	e->reg = calloc(e->fn->nr_regs + 1, sizeof(*e->reg));
	e->bb = calloc(e->fn->nr_blocks + 1, sizeof(*e->bb));
	e->marks = calloc(e->fn->nr_blocks + 2, sizeof(*e->marks));
	e->loop_end = calloc(e->fn->nr_blocks + 1, sizeof(*e->loop_end));
	e->rounds = calloc(e->fn->nr_blocks + 1, sizeof(*e->rounds));
	if (!e->reg || !e->bb || !e->marks || !e->loop_end || !e->rounds)
		return HG_ERR_NOMEM;
	e->f = LLVMAddFunction(e->m, e->fn->name, LLVMFunctionType(LLVMVoidTypeInContext(e->c), &arg, 1, 0));
	for (int i = 0; i < 2; i++) {
		unsigned int kind = LLVMGetEnumAttributeKindForName(attribute[i], strlen(attribute[i]));

		LLVMAddAttributeAtIndex(e->f, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->c, kind, 0));
	}
	e->self = LLVMGetParam(e->f, 0);
	body(e);
	return HG_OK;
}

static enum hg_status add(struct simt_module *to, const struct ir_func *fn)
{
	struct simt_kernel desc = { .name = fn->name, .shared_bytes = fn->shared_bytes, .local_bytes = local_bytes(fn), .lanes = WARP };
	struct em e = { .fn = fn };
	enum hg_status st;

	if (fn->refused) {
		desc.refused = fn->refused;
		return simt_module_add(to, NULL, NULL, &desc, 1);
	}
	e.c = LLVMContextCreate();
	e.m = LLVMModuleCreateWithNameInContext(fn->name, e.c);
	e.b = LLVMCreateBuilderInContext(e.c);
	st = kernel(&e);
	LLVMDisposeBuilder(e.b);
	free(e.reg);
	free(e.bb);
	free(e.marks);
	free(e.loop_end);
	free(e.rounds);
	if (!st && !e.why[0]) {
		desc.waits = e.waits;
		return simt_module_add(to, e.c, e.m, &desc, 1);
	}
	LLVMDisposeModule(e.m);
	LLVMContextDispose(e.c);
	if (st)
		return st;
	desc.refused = e.why;
	return simt_module_add(to, NULL, NULL, &desc, 1);
}

enum hg_status simt_module_from_hgir(const struct ir_module *m, struct simt_module **out)
{
	struct simt_module *s;
	enum hg_status st = simt_module_create(simt_ptx_symbols, simt_nr_ptx_symbols, &s);

	if (st)
		return st;
	for (uint32_t i = 0; i < m->nr_funcs; i++) {
		st = add(s, &m->func[i]);
		if (st) {
			simt_module_free(s);
			return st;
		}
	}
	*out = s;
	return HG_OK;
}
