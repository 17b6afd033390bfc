/* ir.h - hgIR: vendor-neutral GPU code, between PTX and the emitters. docs/hgir.md describes the text form. */
#ifndef HG_TRANSLATE_IR_H
#define HG_TRANSLATE_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/status.h"
#include "translate/module.h"	/* struct hg_param, struct hg_var_reloc */

/*
 * One lane's view of a kernel: virtual registers (not SSA), basic blocks, one flat list of
 * instructions a block. Registers have a width class; how the bits are read is the instruction's
 * `type`, as in PTX. There are no calls: functions are inlined, or, if they are recursive or large, stand in the kernel
 * once, and a call is a branch to them and a brx back; what must survive it lies on a stack in local memory.
 *
 * Invariants (ir_verify checks them):
 *  - every block ends with exactly one terminator and has none before;
 *  - block 0 is the entry; blocks stand in reverse post-order, so that scheduling the lowest
 *    numbered block first reconverges diverged lanes;
 *  - an instruction flagged IR_F_SYNC (it waits for lanes of its warp) is the first of its block;
 *  - an instruction flagged IR_F_BARRIER (it waits for other warps) is the last before the terminator,
 *    and that terminator is `bra`;
 *  - neither of these two, nor a terminator, has a guard: the lowering branches around them;
 *  - operand counts, types and register classes fit the row in ir_ops.def;
 *  - every block is reachable; blocks of a loop stand together, the loop's header first;
 *  - registers are written before they are read on every path, or read as zero.
 *
 * Addresses. Global, constant and generic addresses are the same numbers. Shared, local and param addresses are
 * offsets in the block's, the lane's and the launch's window; cvta makes them generic. IR_OPD_VAR is
 * the address of a module variable: var_addr[index] + imm (64 bits). Shared and local variables have become
 * immediates; dynamic shared memory begins at ir_func.shared_bytes, which the lowering has rounded up to
 * the alignment asked for. ld from IR_PARAM reads the launch's parameter block: address operand
 * an immediate or a register.
 *
 * A barrier's result (bar_red) is in its register when the lane goes on after it.
 */
enum ir_type {
	IR_NONE,
	IR_PRED,
	IR_B8, IR_B16, IR_B32, IR_B64, IR_B128,
	IR_U8, IR_U16, IR_U32, IR_U64,
	IR_S8, IR_S16, IR_S32, IR_S64,
	IR_F16, IR_F16X2, IR_BF16, IR_BF16X2, IR_F32, IR_F64,
	IR_TYPE_COUNT
};
unsigned int ir_type_bits(enum ir_type t);	/* 1 for a predicate */
#define IR_MAX_VECTOR 8			/* parts of a vector in memory, which has 32 bytes at most */
const char *ir_type_name(enum ir_type t);	/* "u32" */
enum ir_type ir_type_class(enum ir_type t);	/* of the register that holds one: IR_PRED, IR_B16…IR_B128 */
bool ir_type_is_signed(enum ir_type t);		/* s8…s64 */
bool ir_type_is_float(enum ir_type t);

enum ir_op {
#define IR_OP(name, dst, src, flags, types) IR_##name,
#include "translate/ir_ops.def"
	IR_OP_COUNT
};

enum ir_op_flags {
	IR_F_TERM = 1,		/* terminator */
	IR_F_SYNC = 2,		/* waits for the lanes of its member mask */
	IR_F_BARRIER = 4,	/* waits for other warps: the warp may yield after it */
	IR_F_READ = 8, IR_F_WRITE = 16,	/* memory */
	IR_F_EFFECT = 32,	/* must not be removed or moved */
	IR_F_WARP = 64,		/* reads other lanes: only right where the right lanes execute it */
};	/* of ir_op_desc; ir_insn.flags holds enum ir_insn_flags */

struct ir_op_desc {
	const char *name;
	const char *dst, *src;	/* operand letters, see ir_ops.def */
	unsigned int flags;
	const char *types;	/* letters, see ir_ops.def */
};
extern const struct ir_op_desc ir_op_desc[IR_OP_COUNT];

enum ir_space { IR_GENERIC, IR_GLOBAL, IR_SHARED, IR_LOCAL, IR_CONST, IR_PARAM };
enum ir_rnd { IR_RND_NONE, IR_RN, IR_RZ, IR_RM, IR_RP, IR_RNA, IR_RNI, IR_RZI, IR_RMI, IR_RPI };
enum ir_cmp {
	IR_CMP_NONE, IR_EQ, IR_NE, IR_LT, IR_LE, IR_GT, IR_GE,	/* floats: ordered; integers: by type */
	IR_EQU, IR_NEU, IR_LTU, IR_LEU, IR_GTU, IR_GEU, IR_NUM, IR_NAN,
};
enum ir_bool { IR_BOOL_NONE, IR_BOOL_AND, IR_BOOL_OR, IR_BOOL_XOR };
enum ir_sem { IR_WEAK, IR_VOLATILE, IR_RELAXED, IR_ACQUIRE, IR_RELEASE, IR_ACQ_REL, IR_SC };
enum ir_scope { IR_SCOPE_NONE, IR_CTA, IR_GPU, IR_SYS };
enum ir_atom { IR_ATOM_ADD, IR_ATOM_MIN, IR_ATOM_MAX, IR_ATOM_AND, IR_ATOM_OR, IR_ATOM_XOR,
	       IR_ATOM_EXCH, IR_ATOM_CAS, IR_ATOM_INC, IR_ATOM_DEC, IR_ATOM_MBARRIER };
/*
 * The 64 bits of an mbarrier object, and of the states that arriving gives (the object as it was before):
 *   0-19 arrivals that the phase still waits for   20-39 arrivals of each later phase
 *   40 parity of the phase                         42-63 bytes still to come, signed
 * IR_ATOM_MBARRIER (b64) takes a word of the same shape: bits 0-19 are arrivals, 20-39 leave all later phases too,
 * 42-63 are added to the bytes; the phase ends when neither arrivals nor bytes are left.
 */
#define IR_MBARRIER_COUNT UINT64_C(0xfffff)
#define IR_MBARRIER_LATER 20
#define IR_MBARRIER_PHASE 40
#define IR_MBARRIER_BYTES 42
enum ir_testp { IR_TESTP_FINITE, IR_TESTP_INFINITE, IR_TESTP_NUMBER, IR_TESTP_NOTANUMBER,
		IR_TESTP_NORMAL, IR_TESTP_SUBNORMAL };
enum ir_prmt { IR_PRMT_INDEX, IR_PRMT_F4E, IR_PRMT_B4E, IR_PRMT_RC8, IR_PRMT_ECL, IR_PRMT_ECR, IR_PRMT_RC16 };
/* Formats that are no types of registers: their bits are the low ones of an integer; tf32 is an f32 with 13 zeros below. */
enum ir_fmt { IR_FMT_E4M3, IR_FMT_E5M2, IR_FMT_E2M3, IR_FMT_E3M2, IR_FMT_E2M1, IR_FMT_UE8M0, IR_FMT_TF32,
	      IR_FMT_COUNT, IR_FMT_F16 = IR_FMT_COUNT, IR_FMT_BF16 };	/* the last two: inside of emitters only */
/* sub of tex: a shape (enum hg_tex_shape), sampled in one of the ways of enum hg_tex_lod, way after way; then tld4 of one channel. */
enum { IR_TEX_GATHER = 21, IR_TEX_COUNT = IR_TEX_GATHER + 16 };	/* + 4 * (0 2d, 1 a2d, 2 cube, 3 acube) + channel */
enum ir_trap { IR_TRAP, IR_TRAP_STACK };	/* the second: local memory does not suffice for the stack */
enum ir_barred { IR_BARRED_POPC, IR_BARRED_AND, IR_BARRED_OR };
enum ir_shfl { IR_SHFL_UP, IR_SHFL_DOWN, IR_SHFL_BFLY, IR_SHFL_IDX };
enum ir_vote { IR_VOTE_ALL, IR_VOTE_ANY, IR_VOTE_UNI, IR_VOTE_BALLOT };
enum ir_sreg {
	IR_SREG_TID_X, IR_SREG_TID_Y, IR_SREG_TID_Z, IR_SREG_NTID_X, IR_SREG_NTID_Y, IR_SREG_NTID_Z,
	IR_SREG_CTAID_X, IR_SREG_CTAID_Y, IR_SREG_CTAID_Z, IR_SREG_NCTAID_X, IR_SREG_NCTAID_Y, IR_SREG_NCTAID_Z,
	IR_SREG_LANEID, IR_SREG_WARPID, IR_SREG_NWARPID, IR_SREG_SMID, IR_SREG_NSMID, IR_SREG_GRIDID,
	IR_SREG_LANEMASK_EQ, IR_SREG_LANEMASK_LE, IR_SREG_LANEMASK_LT, IR_SREG_LANEMASK_GE, IR_SREG_LANEMASK_GT,
	IR_SREG_CLOCK, IR_SREG_CLOCK64, IR_SREG_GLOBALTIMER, IR_SREG_DYNAMIC_SMEM_SIZE, IR_SREG_TOTAL_SMEM_SIZE,
	IR_SREG_ENVREG1, IR_SREG_ENVREG2,
	IR_SREG_LOCAL_SIZE,	/* bytes of the lane's local window, with the stack */
	IR_SREG_STATE,		/* address of struct hg_gpu_state (gpu_abi.h); in code that expand.h adds for GPUs alone */
	IR_SREG_COUNT
};
enum ir_insn_flags {
	IR_FTZ = 1, IR_SAT = 2, IR_APPROX = 4, IR_FULL = 8,
	IR_HI = 16, IR_WIDE = 32,		/* mul, mad */
	IR_CLAMP = 64, IR_WRAP = 128,		/* shf */
	IR_NC = 256,				/* ld.global.nc */
	IR_CC = 512,				/* dst[1] is the carry out (a predicate) */
	IR_NAN_OUT = 1024,			/* min, max: a NaN operand gives NaN (.NaN) */
	IR_XORSIGN = 2048,			/* min, max .xorsign.abs */
	IR_RELU = 4096,				/* fma, cvt: negative results become 0 */
	IR_SATFINITE = 8192,			/* cvt */
};

typedef uint32_t ir_reg;		/* index in ir_func.reg_type */
#define IR_NO_REG UINT32_MAX

enum ir_operand_kind { IR_OPD_REG, IR_OPD_IMM, IR_OPD_VAR, IR_OPD_SREG };
struct ir_operand {
	enum ir_operand_kind kind;
	bool negated;		/* predicate registers only */
	ir_reg reg;
	uint32_t index;		/* VAR: of ir_module.var and var_addr; SREG: enum ir_sreg */
	uint64_t imm;		/* IMM: bits, zero-extended ('i': signed 64 bits); VAR: byte offset added */
};

struct ir_insn {
	uint16_t op;
	uint8_t type;		/* enum ir_type: the instruction's type; its destination's for cvt, set */
	uint8_t type2;		/* source's type for cvt, set, slct, shfl…; else IR_NONE */
	uint8_t rnd, cmp, boolop, space, sem, scope;
	uint8_t sub;		/* enum ir_atom, ir_shfl, ir_vote, ir_testp, ir_prmt, lop3's table… see ir_ops.def */
	uint16_t flags;		/* enum ir_insn_flags */
	ir_reg guard;		/* executed by lanes where it holds; IR_NO_REG: all */
	bool guard_neg;		/* …where it does not hold */
	uint8_t nr_dst, nr_src;
	ir_reg *dst;
	struct ir_operand *src;
	uint32_t target[2];	/* blocks: bra 1, cbra 2 (taken when src[0] holds, else) */
	uint32_t *targets;	/* brx: nr_targets blocks */
	uint32_t nr_targets;
	uint32_t line;		/* in the PTX text */
};

/* What a tex is, as hg_tex_sample wants to know (translate/texture.h). */
uint32_t ir_tex_what(const struct ir_insn *in);
/* A terminator's successors; 0 of exit. */
unsigned int ir_nr_targets(const struct ir_insn *in);
uint32_t ir_target(const struct ir_insn *in, uint32_t i);
unsigned int ir_sreg_bits(enum ir_sreg s);	/* 32 or 64 */

struct ir_block {
	struct ir_insn *insn;
	uint32_t nr_insns;
};

/*
 * A module variable. A function's .shared and .local ones are not here: the lowering gave each an offset in
 * its kernel's window, and they stand in the code as immediates.
 */
struct ir_var {
	char *name;
	enum ir_space space;	/* IR_GLOBAL or IR_CONST */
	uint64_t size;
	uint32_t align;
	bool is_visible;
	const void *init;	/* `size` bytes, or NULL for zeros */
	size_t nr_relocs;
	const struct hg_var_reloc *relocs;
};

/* An instruction that was not translated; insn and function are NULL where they do not apply. */
struct ir_refusal {
	uint32_t line;		/* in the PTX text */
	const char *function;	/* the inlined one it stands in */
	const char *insn, *why;
};

struct ir_func {
	char *name;
	uint32_t nr_regs;
	enum ir_type *reg_type;	/* IR_PRED, IR_B16, IR_B32, IR_B64, IR_B128 */
	uint32_t nr_blocks;
	struct ir_block *block;
	uint32_t nr_params;
	struct hg_param *param;
	/*
	 * shared: static; local: of one thread, a multiple of the largest alignment asked for there. The shared
	 * window and the first lane's local one must begin at multiples of 64 at least.
	 */
	uint32_t param_bytes, shared_bytes, local_bytes;
	uint32_t max_threads;		/* .maxntid or .reqntid product; 0: not said */
	uint32_t req_threads[3];	/* .reqntid, or zeros */
	uint32_t line;
	char *refused;		/* not translated, and why; then nr_blocks is 0 */
	const struct ir_refusal *refusal;	/* then all that was found, the first one first; not part of the text form */
	uint32_t nr_refusals;
	bool uses_dynamic_shared, uses_grid_sync;
	bool uses_stack;		/* local memory goes on behind local_bytes, as far as the launch says: $local_size */
	bool needs_zeroed_shared;	/* static shared memory must be zeros when a block begins */
};

struct ir_module {
	uint32_t nr_funcs;
	struct ir_func *func;	/* kernels */
	uint32_t nr_vars;
	struct ir_var *var;	/* hg_module_var(m, i) is variable i */
	struct hg_pool *pool;	/* all of the above lives here (common/pool.h) */
};

/* Text form: prints so that ir_parse gives an equal module. */
void ir_print(const struct ir_module *m, FILE *f);
void ir_print_func(const struct ir_module *m, const struct ir_func *fn, FILE *f);
bool ir_equal(const struct ir_module *a, const struct ir_module *b);
enum hg_status ir_parse(const char *text, size_t size, struct ir_module **out) HG_MUST_CHECK;
enum hg_status ir_verify(const struct ir_module *m) HG_MUST_CHECK;	/* logs the first violation */
void ir_module_free(struct ir_module *m);	/* NULL is allowed */

#endif
