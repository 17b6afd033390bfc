/* emit.h - the emitters of LLVM IR: what their files share. Private to translate/. */
#ifndef HG_TRANSLATE_EMIT_H
#define HG_TRANSLATE_EMIT_H

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/cpu_abi.h"
#include "translate/cpu_rt.h"
#include "translate/emit_analyze.h"
#include "translate/ir.h"

/*
 * A value is either one number for the whole warp, or a vector of 32. Code that computes is the same for both:
 * `lanes` is the width of the operation being emitted, and types and constants follow it.
 */
struct emit_options {
	bool free_order;	/* see emit_analyze.h */
	bool brief;		/* little code, compiled fast: helpers access memory, registers stay in the spill area */
	bool masked_wide;	/* the CPU has masked vector loads and stores of 4 and 8 bytes… */
	bool masked_narrow;	/* …and of 1 and 2 bytes */
	bool mask_registers;	/* a mask of lanes is 32 bits there */
	bool gathers;		/* and its gathers and scatters are worth using */
	bool check;		/* every access asks hg_cpu_rt.check first */
	bool halves;		/* there are no integers of more than 64 bits */
};

#define EMIT_AHEAD 32

struct emit;
struct emit_gpu;

/* Where the emitters differ in what code that computes asks for. */
struct emit_ops {
	LLVMValueRef (*special)(struct emit *e, enum ir_sreg s);	/* at any width that fits */
	LLVMValueRef (*var)(struct emit *e, uint32_t index);		/* i64: the address of a module's variable */
};

struct emit {
	const struct ir_func *fn;
	const struct emit_info *info;
	const struct emit_ops *ops;
	struct emit_gpu *gpu;		/* emit_gpu_priv.h; NULL: for the CPU */
	bool no_f64;			/* a GPU: f32 is rounded by emit_gpu_f32.c */
	struct emit_options opt;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	LLVMValueRef f;			/* the function */
	LLVMValueRef frame, env;	/* of the warp that runs */
	LLVMValueRef first_frame;	/* of the call */
	unsigned int lanes;

	bool in_spill;			/* registers that cross blocks live in the frame's spill area */
	LLVMValueRef *slot;		/* where such a register is: alloca or address in the spill area; or NULL */
	LLVMValueRef *cur;		/* its value in this block, or NULL */
	bool *dirty;
	ir_reg *touched;		/* registers with `cur` in this block */
	uint32_t nr_touched;

	LLVMBasicBlockRef entry, *bb;	/* of blocks; NULL: not reachable */
	LLVMBasicBlockRef *after_red;	/* of a block that ends with bar_red: where its lanes go on */
	LLVMBasicBlockRef *after_sync;	/* of one that begins with a warp operation: …when that was done elsewhere */
	LLVMBasicBlockRef sched, resume_lanes, done;
	LLVMValueRef resume_switch;
	LLVMBasicBlockRef *point;	/* where a warp goes on after yield point n */
	uint32_t nr_points;
	LLVMValueRef exec, alive;	/* allocas, i32: lanes that run now; lanes that have not exited */
	LLVMValueRef waiting, blocked;	/* the same; with free_order only */
	LLVMValueRef tired;		/* …lanes that have spun: all others go first */
	LLVMValueRef budget;		/* alloca, i32: spins left before the warp yields */
	/* running a whole block: allocas, i32: the warp, where those after it go on, where those before it do */
	LLVMValueRef warp, others, before;
	LLVMValueRef whole;		/* i1: a whole block runs */
	LLVMBasicBlockRef turn;		/* where the next warp begins */
	LLVMBasicBlockRef leave;	/* returns `result` */
	LLVMValueRef result;		/* alloca, i32 */
	LLVMValueRef *pend;		/* allocas, i32: lanes pending at a block */
	LLVMValueRef buf[4];		/* arrays handed to helpers */

	bool has_lines;
	LLVMValueRef *line_base, *line_step;	/* allocas of emit_info.line's numbers, or NULL */
	LLVMValueRef shape;		/* alloca, i32: enum hg_cpu_shape of the warp, NONE when these numbers do not tell the addresses */

	struct { const struct ir_insn *insn; LLVMValueRef val; } ahead[EMIT_AHEAD];	/* loads of this block that another one did */
	unsigned int nr_ahead;
	bool is_ahead;			/* `insn` is such a load */
	unsigned int nr_spelt_out;	/* accesses that are code for each lane */

	uint32_t block;			/* being emitted */
	LLVMValueRef exec_now;		/* i32 */
	LLVMValueRef mask_now;		/* the same as a vector of bits */
	const struct ir_insn *insn;
	LLVMMetadataRef scope;		/* of lines */
	unsigned int nr_accesses;	/* given a number by emit_mark */
	enum hg_status st;
	char why[128];			/* when st is HG_ERR_UNSUPPORTED */
};

enum hg_status emit_llvm(const struct ir_func *fn, const struct emit_options *opt, LLVMContextRef c, LLVMModuleRef m,
			 const char *name) HG_MUST_CHECK;

/*
 * Columns of the line table: which access of the function (modulo 4096), and of what kind, so that the lane can be told. 0 to 5: lanes
 * side by side, 2^kind bytes from one to the next.
 */
#define EMIT_MARK(nr, kind) ((((nr) & 4095) << 3 | (kind)) + 1)
#define EMIT_MARK_KIND(column) (((column) - 1) & 7)
enum emit_mark_kind { EMIT_MARK_APART = 6, EMIT_MARK_ONE };

#define EMIT_SPINS 64	/* rounds of a waiting loop before the warp yields */
#define EMIT_SPINS_FREE 8	/* …before other lanes have their turn, with free_order */

/* types and constants at the current width */
LLVMTypeRef emit_scalar_int(struct emit *e, unsigned int bits);
LLVMTypeRef emit_int(struct emit *e, unsigned int bits);
LLVMTypeRef emit_float(struct emit *e, unsigned int bits);	/* 16, 32, 64 */
LLVMValueRef emit_const(struct emit *e, unsigned int bits, uint64_t v);
LLVMValueRef emit_fconst(struct emit *e, unsigned int bits, double v);
LLVMValueRef emit_i32(struct emit *e, uint32_t v);	/* always one number */
LLVMValueRef emit_i64(struct emit *e, uint64_t v);
LLVMValueRef emit_splat(struct emit *e, LLVMValueRef scalar);
LLVMValueRef emit_iota(struct emit *e, unsigned int bits, uint64_t step);
bool emit_is_vector(LLVMValueRef v);
unsigned int emit_bits(LLVMValueRef v);		/* of an element */
LLVMValueRef emit_resize(struct emit *e, LLVMValueRef v, unsigned int bits, bool is_signed);
LLVMValueRef emit_to_float(struct emit *e, LLVMValueRef v);	/* bitcast by its width */
LLVMValueRef emit_to_int(struct emit *e, LLVMValueRef v);
LLVMValueRef emit_lane_bits(struct emit *e, LLVMValueRef pred);	/* vector of bits, or a bit -> i32 */
LLVMValueRef emit_bits_lane(struct emit *e, LLVMValueRef i32);
LLVMValueRef emit_call(struct emit *e, const char *intrinsic, LLVMTypeRef *over, unsigned int nr_over,
		       LLVMValueRef *args, unsigned int nr_args);
LLVMValueRef emit_call1(struct emit *e, const char *intrinsic, LLVMValueRef a);
LLVMValueRef emit_call2(struct emit *e, const char *intrinsic, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_call3(struct emit *e, const char *intrinsic, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
LLVMValueRef emit_select(struct emit *e, LLVMValueRef c, LLVMValueRef a, LLVMValueRef b);

/* the frame, the block's constants, the helpers */
LLVMValueRef emit_at(struct emit *e, LLVMValueRef base, uint64_t offset);
LLVMValueRef emit_env(struct emit *e, LLVMTypeRef t, size_t offset);
LLVMValueRef emit_load(struct emit *e, LLVMTypeRef t, LLVMValueRef p, unsigned int align);
LLVMValueRef emit_invariant(struct emit *e, LLVMValueRef load);
void emit_store(struct emit *e, LLVMValueRef v, LLVMValueRef p, unsigned int align);
/* Calls member `offset` of struct hg_cpu_rt. result: a type, or NULL for void. */
LLVMValueRef emit_rt(struct emit *e, size_t offset, LLVMTypeRef result, LLVMValueRef *args, unsigned int nr);
/* Stores a value in a buffer as 32 elements, and reads it back, at the current width. */
LLVMValueRef emit_spread(struct emit *e, unsigned int buf, LLVMValueRef v);

LLVMBasicBlockRef emit_bb(struct emit *e, const char *name);

/* registers in this block, and back to their slots at its end */
LLVMTypeRef emit_reg_type(struct emit *e, ir_reg r);
LLVMValueRef emit_slot_load(struct emit *e, ir_reg r);
void emit_slot_store(struct emit *e, ir_reg r, LLVMValueRef v);
LLVMValueRef emit_reg_get(struct emit *e, ir_reg r);
void emit_reg_set(struct emit *e, ir_reg r, LLVMValueRef v);
void emit_regs_flush(struct emit *e);

/* attributes of the function, or of its argument `at` (from 1) */
void emit_attr(struct emit *e, LLVMAttributeIndex at, const char *name);
void emit_text_attr(struct emit *e, const char *name, const char *value);

/* operands and results of the current instruction */
LLVMValueRef emit_src(struct emit *e, unsigned int i, unsigned int bits);	/* the low bits, as an integer */
LLVMValueRef emit_fsrc(struct emit *e, unsigned int i);			/* f32, f64 by the instruction's type */
LLVMValueRef emit_psrc(struct emit *e, unsigned int i);
void emit_set(struct emit *e, unsigned int i, LLVMValueRef v);		/* zeros above it where the register is wider */
void emit_set_ext(struct emit *e, unsigned int i, LLVMValueRef v, bool is_signed);
void emit_fset(struct emit *e, LLVMValueRef v);				/* a float: flushed, saturated */
/*
 * Code from here on belongs to the current instruction's line, and to an access of memory that is told apart from others by a number:
 * the line table's column. kind: see EMIT_MARK.
 */
void emit_mark(struct emit *e, unsigned int kind);
void emit_mark_end(struct emit *e);
/* What a fault that follows is to be told: the line of the instruction, and the lanes. */
void emit_fault_lanes(struct emit *e, LLVMValueRef lanes);
LLVMValueRef emit_active(struct emit *e);	/* i32: lanes that execute the instruction */
void emit_unsupported(struct emit *e, const char *what);

/* by kind of instruction; false: none of theirs */
bool emit_arith(struct emit *e);
bool emit_convert(struct emit *e);
bool emit_math(struct emit *e);
bool emit_memory(struct emit *e);
bool emit_warp(struct emit *e);
bool emit_matrix(struct emit *e);

/* emit_affine.c: what emit_info.line says of registers, as code. begin makes the allocas; set follows each instruction. */
void emit_lines_begin(struct emit *e);
void emit_line_set(struct emit *e);
void emit_line_save(struct emit *e, ir_reg r);
void emit_line_restore(struct emit *e, ir_reg r);
/*
 * The address of a memory operation by these numbers. If `row` holds, lanes are `stride` bytes apart from `first` on; if
 * `two_rows` does, 16 of them are, and 16 from `second` on. False: nothing is known of it.
 */
struct emit_line_address {
	LLVMValueRef row, two_rows, first, second;
	int64_t stride;
};
bool emit_line_address(struct emit *e, struct emit_line_address *out);

/*
 * emit_sink.c: a finished block that is left only by what no faster way was found for, and those that follow it alone, are rare.
 * emit_sink moves vectors that nothing else uses into them; after LLVM's passes.
 */
void emit_mark_rare(struct emit *e, LLVMBasicBlockRef bb);
void emit_sink(LLVMValueRef f);

LLVMValueRef emit_guard(struct emit *e);	/* of the instruction; NULL: it has none */
/* Where a space begins among the host's addresses, at the current width; NULL: at 0. */
LLVMValueRef emit_space_base(struct emit *e, enum ir_space space);
/* The host's addresses of a memory operation, in buf[0]; of `lanes` checked for `size` bytes if that is wanted. */
LLVMValueRef emit_address(struct emit *e, LLVMValueRef lanes, unsigned int size);

/* emit_convert.c: an f32's bits in another format, as 32 bits; finite: infinities and what is past the range become its end. */
LLVMValueRef emit_round_to(struct emit *e, LLVMValueRef v, enum ir_fmt fmt, enum ir_rnd rnd, bool finite);
/* emit_arith.c: 16 bits and f32; back: to nearest even */
LLVMValueRef emit_half_to_f32(struct emit *e, LLVMValueRef h, bool bf);
LLVMValueRef emit_f32_to_half(struct emit *e, LLVMValueRef v, bool bf);
LLVMValueRef emit_flush_half(struct emit *e, LLVMValueRef h, bool bf);	/* a subnormal becomes 0 of its sign */
LLVMValueRef emit_flush_denormal(struct emit *e, LLVMValueRef v);
LLVMValueRef emit_canonical(struct emit *e, LLVMValueRef v);	/* a float's NaN */

/*
 * emit_gpu_f32.c: f32 by integers, for devices without f64: the exact result rounded once, in any of PTX's directions, or to odd: cut, and the last
 * bit 1 if something was lost, so that a narrower type that it is rounded to is right. At most FLT_MAX then. With one lane only.
 */
#define EMIT_TO_ODD IR_RND_NONE
LLVMValueRef emit_gpu_f32_div(struct emit *e, LLVMValueRef a, LLVMValueRef b, enum ir_rnd rnd);
LLVMValueRef emit_gpu_f32_sqrt(struct emit *e, LLVMValueRef a, enum ir_rnd rnd);
/* a * b + c; b, c NULL: without them */
LLVMValueRef emit_gpu_f32_fma(struct emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c, enum ir_rnd rnd);
/* of an integer of up to 64 bits */
LLVMValueRef emit_gpu_f32_of_int(struct emit *e, LLVMValueRef v, bool is_signed, enum ir_rnd rnd);
/* An f64 is its bits there, i64. */
LLVMValueRef emit_gpu_f32_of_f64(struct emit *e, LLVMValueRef bits, enum ir_rnd rnd);
LLVMValueRef emit_gpu_f64_of_f32(struct emit *e, LLVMValueRef v);
LLVMValueRef emit_gpu_f64_of_int(struct emit *e, LLVMValueRef v, bool is_signed, enum ir_rnd rnd);

#endif
