/* simt_amdgcn_wave.h - what the parts of the executor of amdgcn share. Private to simt/. */
#ifndef TESTS_DRIVERS_SIMT_AMDGCN_WAVE_H
#define TESTS_DRIVERS_SIMT_AMDGCN_WAVE_H

#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/drivers/simt/simt_llvm.h"

/*
 * A wave is one item of simt_llvm.h: its function runs, for each lane of a group, the code from one place to the next. What a
 * lane must remember between the two lies in its part of the wave's frame.
 */

/* What the launch says; simt_env.params points to it. */
struct simt_amdgcn_grid {
	const unsigned char *kernarg;
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
	WAVE_ENDPGM, WAVE_MEET, WAVE_CLOCK, WAVE_TIMER,
};
/* For the group: operands and the result of `size` bytes lie at these offsets of each lane's frame. */
void simt_wave_op(struct simt_wave *w, uint32_t op, uint32_t size, uint64_t imm, uint32_t out, uint32_t a, uint32_t b, uint32_t c);
/* imm of WAVE_DPP: dpp_ctrl, row mask, bank mask, bound_ctrl; of the permlanes: fi, bound_ctrl */
#define WAVE_DPP_IMM(ctrl, rows, banks, bound) ((uint64_t)(ctrl) | (uint64_t)(rows) << 16 | (uint64_t)(banks) << 20 | (uint64_t)(bound) << 24)
#define WAVE_PERMLANE_IMM(fi, bound) ((uint64_t)(fi) | (uint64_t)(bound) << 1)

/* What the code of lanes calls besides; and all of the above. */
extern const struct simt_symbol simt_amdgcn_symbols[];
extern const size_t simt_amdgcn_nr_symbols;

/* ---- from amdgcn's code of a lane to that of a wave ---- */

/* Parameters of a lane's function while it is being worked on: values that all of it may use. */
enum {
	LANE_SELF, LANE_WAVE, LANE_LDS, LANE_LDS_BYTES, LANE_KERNARG, LANE_NUMBER, LANE_X, LANE_Y, LANE_Z, LANE_FRAME, LANE_FRAMES, LANE_FRAMES_BYTES,
	NR_LANE_PARAMS
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
	uint32_t wave, lds_static;
	struct lane_op *op;
	size_t nr_ops, cap_ops;
	/* results */
	uint32_t kernarg_bytes, local_bytes;
	bool waits;
	/* why not */
	bool refused;
	char *why;
	size_t why_size;
};

/* Says why, once; the module is of no use then. */
void lane_refuse(struct lane_code *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* simt_amdgcn_lane.c: makes l->f of the kernel, in address spaces and instructions of this CPU; finds l->op. */
void lane_code_take(struct lane_code *l, LLVMValueRef kernel);
/* simt_amdgcn_wave.c: makes the wave's function of l->f: void name(struct simt_item *). */
void lane_code_to_wave(struct lane_code *l, const char *name);

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
