/* simt_wave.h - the executor of code in lockstep, for GPUs of either kind (amdgcn, SPIR-V). Private to simt/. */
#ifndef TESTS_DRIVERS_SIMT_WAVE_H
#define TESTS_DRIVERS_SIMT_WAVE_H

#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "tests/drivers/simt/simt_llvm.h"

/*
 * A wave is one item of simt_llvm.h: its function runs, for each lane of a group, the code from one place to the next. What a
 * lane must remember between the two lies in its part of the wave's frame.
 */

/* What the launch says; simt_env.params points to it. */
struct simt_wave_grid {
	const unsigned char *kernarg;
	const char *local_name;
	uint32_t block[3], items;
	uint64_t patience_ns;
};

#define WAVE_ENDED INT32_MAX	/* place of a lane that has ended */

/* Of a wave that runs: on its stack, as long as it does. */
struct simt_wave {
	uint64_t mask;			/* the lanes that go on, at `place` */
	uint64_t alive;			/* those that have not ended */
	int32_t place;
	int32_t low, high;		/* of the places that the group reached */
	uint32_t number, lanes, stride;
	uint32_t patience;		/* rounds of loops that may wait, until the wave yields */
	uint32_t steps;			/* from place to place, since it did */
	unsigned char *frames;		/* lane n's begins stride * n in */
	struct simt_item *self;
	uint64_t held, held_since;	/* lanes that wait since then, in ns */
	int32_t at[SIMT_MAX_LANES];
	uint32_t tid[SIMT_MAX_LANES][3];
};

/* ---- called by the code of waves ---- */

void simt_wave_begin(struct simt_item *self, struct simt_wave *w, unsigned char *frames, uint32_t stride, uint32_t lanes);
int32_t simt_wave_next(struct simt_wave *w);	/* the next group; its place, WAVE_ENDED: there is none */
void simt_wave_round(struct simt_wave *w);	/* the group begins another round of a loop that may wait */
void simt_wave_lds(struct simt_item *self, uint64_t offset, uint64_t size) __attribute__((noreturn));
void simt_wave_trap(struct simt_item *self, uint32_t what) __attribute__((noreturn));
enum { WAVE_TRAP, WAVE_UNREACHABLE };

enum wave_op {
	WAVE_BALLOT, WAVE_READFIRSTLANE, WAVE_READLANE, WAVE_BPERMUTE, WAVE_PERMUTE, WAVE_SWIZZLE, WAVE_DPP, WAVE_DPP8, WAVE_PERMLANE16,
	WAVE_PERMLANEX16, WAVE_PERMLANE16_VAR, WAVE_PERMLANEX16_VAR, WAVE_PERMLANE64, WAVE_REDUCE_UMIN, WAVE_REDUCE_UMAX, WAVE_BARRIER,
	WAVE_GROUP_BARRIER, WAVE_SHUFFLE, WAVE_ENDPGM, WAVE_MEET, WAVE_CLOCK, WAVE_TIMER,
};
/* For the group: operands and the result of `size` bytes lie at these offsets of each lane's frame. */
void simt_wave_op(struct simt_wave *w, uint32_t op, uint32_t size, uint64_t imm, uint32_t out, uint32_t a, uint32_t b, uint32_t c);
/* imm of WAVE_DPP: dpp_ctrl, row mask, bank mask, bound_ctrl; of the permlanes: fi, bound_ctrl */
#define WAVE_DPP_IMM(ctrl, rows, banks, bound) ((uint64_t)(ctrl) | (uint64_t)(rows) << 16 | (uint64_t)(banks) << 20 | (uint64_t)(bound) << 24)
#define WAVE_PERMLANE_IMM(fi, bound) ((uint64_t)(fi) | (uint64_t)(bound) << 1)

/* What the code of lanes calls besides; and all of the above. */
extern const struct simt_symbol simt_wave_symbols[];
extern const size_t simt_wave_nr_symbols;

/* ---- from a GPU's code of a lane to that of a wave ---- */

/* Parameters of a lane's function while it is being worked on: values that all of it may use. */
enum {
	LANE_SELF, LANE_WAVE, LANE_LDS, LANE_LDS_BYTES, LANE_KERNARG, LANE_NUMBER, LANE_X, LANE_Y, LANE_Z, LANE_FRAME, LANE_FRAMES, LANE_FRAMES_BYTES,
	NR_LANE_PARAMS
};

struct lane_code;

/* What is the GPU's own in the code of its lanes. */
struct lane_vocabulary {
	const char *triple;		/* how it begins */
	unsigned int kernel_convention;	/* LLVM's number */
	const char *local_name;		/* of the memory of a block, in messages */
	uint32_t max_local;		/* bytes of it */
	size_t local_align;		/* struct simt_launch.shared_align */
	uint32_t spaces;		/* bit n: pointers of address space n are known; 3 is local memory */
	unsigned int private_space;	/* of memory of a lane's own */
	bool has_short;			/* pointers of address spaces 3 and 5 are 32 bits wide, from where that memory begins */
	bool has_variables;		/* local memory that is not an argument */
	/*
	 * Of what a kernel is made of: its bitcode, malloc'ed, *bitcode_size bytes; NULL: it is that already. On failure why says why.
	 */
	enum hg_status (*read)(const void *source, size_t size, void **bitcode, size_t *bitcode_size, char *why, size_t why_size);
	void (*check)(struct lane_code *l, LLVMValueRef kernel);	/* refuses what the kernel asks for as a whole */
	void (*check_inst)(struct lane_code *l, LLVMValueRef inst);	/* NULL: nothing to refuse */
	/* A call of a function or intrinsic, which the builder stands before: replaced and true, or not known here. */
	bool (*call)(struct lane_code *l, LLVMValueRef call, const char *name, size_t len);
};

/* An operation of lanes: where it stands until it becomes the wave's. */
struct lane_op {
	LLVMBasicBlockRef block;	/* begins behind it */
	enum wave_op op;
	uint32_t size;
	uint64_t imm;
	LLVMValueRef out, in[3];	/* allocas, or NULL */
};

/* An argument of the kernel: at its offset of the kernarg segment, or a pointer there. */
struct lane_arg {
	LLVMTypeRef type;
	uint32_t offset, align;
	bool is_memory;
};

struct lane_code {
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	LLVMTypeRef i1, i8, i16, i32, i64, ptr, lds_ptr, scratch_ptr;
	LLVMTargetDataRef theirs, ours;	/* data layouts */
	LLVMValueRef f;			/* void(NR_LANE_PARAMS parameters, the kernel's arguments) */
	struct lane_arg *arg;
	size_t nr_args;
	LLVMBasicBlockRef entry;	/* of f: allocas, and a branch */
	LLVMValueRef check_lds;		/* void(self, offset, size, bytes) */
	const struct lane_vocabulary *words;
	uint32_t wave, lds_static;
	struct lane_op *op;
	size_t nr_ops, cap_ops;
	/* results */
	uint32_t kernarg_bytes, local_bytes;
	uint32_t asks_lanes;		/* lanes of a wave that the kernel asks for; 0: any number */
	bool waits;
	/* why not */
	bool refused;
	char *why;
	size_t why_size;
};

/* Says why, once; the module is of no use then. */
void lane_refuse(struct lane_code *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- for vocabularies (simt_wave_lane.c): the builder stands before the call ---- */

LLVMValueRef lane_param(const struct lane_code *l, unsigned int i);
LLVMValueRef lane_arg_of(LLVMValueRef call, unsigned int i);
uint64_t lane_imm(LLVMValueRef call, unsigned int i);	/* 0: not a constant */
void lane_replace(LLVMValueRef inst, LLVMValueRef by);	/* by NULL: nothing uses it */
LLVMValueRef lane_intrinsic(struct lane_code *l, const char *name, LLVMTypeRef *over, size_t nr_over, LLVMValueRef *args, unsigned int nr);
uint32_t lane_bits_of(LLVMTypeRef t);			/* of a scalar number; 0: it is none */
/* The call becomes an operation of lanes. in NULL: no such operand. A result of type void has none. */
void lane_add_op(struct lane_code *l, LLVMValueRef call, enum wave_op op, uint64_t number, LLVMValueRef in0, LLVMValueRef in1,
		 LLVMValueRef in2);
LLVMValueRef lane_env_field(struct lane_code *l, size_t offset);	/* of struct simt_env, i32 */
LLVMValueRef lane_is_within(struct lane_code *l, LLVMValueRef p, LLVMValueRef base, LLVMValueRef bytes);
void lane_check_lds(struct lane_code *l, LLVMValueRef p, LLVMValueRef size);	/* an access to p, if that is local memory */
void lane_call(struct lane_code *l, LLVMValueRef call);	/* treats one that a vocabulary made, as it does those it finds */
void lane_clock(struct lane_code *l, LLVMValueRef call);
void lane_timer(struct lane_code *l, LLVMValueRef call);
void lane_drop(struct lane_code *l, LLVMValueRef call);

/* simt_amdgcn_lane.c: struct lane_vocabulary.call */
bool simt_amdgcn_call(struct lane_code *l, LLVMValueRef call, const char *name, size_t len);

/* simt_spirv_lane.c: what the reader's functions and instructions mean to a lane; the same */
bool simt_spirv_call(struct lane_code *l, LLVMValueRef call, const char *name, size_t len);
void simt_spirv_check(struct lane_code *l, LLVMValueRef kernel);
void simt_spirv_check_inst(struct lane_code *l, LLVMValueRef inst);
/* simt_spirv_read.c: struct lane_vocabulary.read */
enum hg_status simt_spirv_read(const void *words, size_t size, void **bitcode, size_t *bitcode_size, char *why, size_t why_size) HG_MUST_CHECK;

/* simt_wave_lane.c: makes l->f of the kernel, in address spaces and instructions of this CPU; finds l->op. */
void lane_code_take(struct lane_code *l, LLVMValueRef kernel);
/* simt_wave.c: makes the wave's function of l->f: void name(struct simt_item *). */
void lane_code_to_wave(struct lane_code *l, const char *name);

/* ---- kernels (simt_wave_kernel.c) ---- */

struct wave_kernel;
struct wave_source {
	const struct lane_vocabulary *words;
	const void *source;		/* what words->read takes */
	size_t size;
	const char *name;
	uint32_t wave, lds_static;
};
/* As simt_amdgcn_get, _put and _run. */
enum hg_status wave_kernel_get(const struct wave_source *s, struct wave_kernel **out, char *why, size_t why_size) HG_MUST_CHECK;
void wave_kernel_put(struct wave_kernel *k);
uint32_t wave_kernel_arg_bytes(const struct wave_kernel *k);
size_t wave_kernel_nr_args(const struct wave_kernel *k);
struct wave_arg {
	uint32_t offset, size;		/* in the block of arguments */
	bool is_local;			/* a pointer into local memory: 32 bits, from where that begins */
};
const struct wave_arg *wave_kernel_args(const struct wave_kernel *k);
uint32_t wave_kernel_lanes(const struct wave_kernel *k);	/* struct lane_code.asks_lanes */

struct wave_launch {
	uint32_t grid[3], block[3];
	uint32_t lds_dynamic;
	const void *kernarg;
	size_t kernarg_bytes;
	bool cooperative;
	uint32_t patience_ms;
};
enum hg_status wave_kernel_run(struct wave_kernel *k, const struct wave_launch *l, char *why, size_t why_size) HG_MUST_CHECK;

/* A value of constant type i32. */
static inline LLVMValueRef lane_i32(const struct lane_code *l, uint64_t v)
{
	return LLVMConstInt(l->i32, v, 0);
}

/* base + offset, in base's address space. */
static inline LLVMValueRef lane_at(const struct lane_code *l, LLVMValueRef base, LLVMValueRef offset)
{
	return LLVMBuildGEP2(l->b, l->i8, base, &offset, 1, "");
}

#endif
