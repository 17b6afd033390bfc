/* lower.h - what lower.c and the other lower_*.c share: a kernel on its way from PTX to hgIR. */
#ifndef HG_TRANSLATE_LOWER_H
#define HG_TRANSLATE_LOWER_H

#include "translate/ptx.h"

/* Operands that get their value when the kernel is complete: IR_OPD_VAR with one of these in `index`. */
#define LOWER_DYNAMIC_SHARED UINT32_C(0x7fffffff)	/* where dynamic shared memory begins */
#define LOWER_STORAGE UINT32_C(0x80000000)		/* | number: a parameter of a call */
#define LOWER_FRAME UINT32_C(0x40000000)		/* | code: in the frame of its activation at hand */
#define LOWER_SLACK UINT32_C(0x60000000)		/* | code: bytes that its calls put on the stack at most */
#define LOWER_STACK UINT32_C(0x7ffffffe)		/* where the stack begins in the local window */

#define LOWER_MAX_INSNS (UINT32_C(1) << 21)	/* of one kernel, all inlined */
#define LOWER_MAX_REGS (UINT32_C(1) << 24)
#define LOWER_MAX_DEPTH 48			/* of calls */
#define LOWER_MAX_REFUSALS 64			/* of one kernel that are told */

struct lower_insn {
	struct ir_insn ir;
	const struct ptx_insn *from;
	bool is_dead;		/* left out of the result */
};

struct lower_block {
	struct lower_insn *insn;
	uint32_t nr, capacity;
};

/*
 * A parameter of a call: registers when every access fits, else local memory. Storages that a call of a function with code
 * of its own copies to one another have one layout.
 */
struct lower_storage {
	uint64_t size;
	uint32_t align;
	uint32_t owner;		/* code whose activations each have one */
	uint32_t like;		/* storage with the layout; that one's own number if it is this one */
	uint32_t offset;	/* in memory: in the local window, or in the owner's frame */
	ir_reg *reg;		/* else: of each slot of the layout */
	/* the layout */
	bool in_memory;
	struct lower_slot { uint32_t offset, bits; } *slot;
	uint32_t nr_slots, cap_slots;
};

/*
 * Code that stands in the kernel once: the kernel's own (number 0), and that of functions which are called and not inlined. A
 * call sets `link` to the number of the place to go on at, and branches to `entry`; the return is a brx. Functions that may
 * call themselves are framed: what must survive the call lies on a stack in local memory.
 */
struct lower_code {
	struct ptx_func *fn;
	struct lower_inst *inst;	/* once it is being lowered */
	bool is_framed;
	uint32_t entry, body;		/* blocks */
	ir_reg link, ret_to, fp;	/* fp, if framed: where the frame begins */
	ir_reg reg_begin, reg_end;	/* registers of an activation, with those of its storages */
	struct lower_formal { ir_reg reg; uint32_t storage; } *arg, *ret;	/* where callers put and find them */
	uint32_t *site, nr_sites, cap_sites;	/* where it returns to: numbers in lower.site */
	uint64_t frame_bytes;
	uint32_t slack;			/* see LOWER_SLACK */
};

/* A call of such code. */
struct lower_site {
	uint32_t caller, callee;		/* codes */
	uint32_t before, after, next;		/* blocks: the call's, where it returns to, what follows */
	const struct ptx_insn *from;
	struct lower_actual { struct ir_operand value; uint32_t storage; } *arg, *ret;
};

/* One inlined copy of a function; the outermost is that of the code at hand. */
struct lower_inst {
	struct lower_inst *parent;
	struct ptx_func *fn;
	ir_reg reg_base;
	uint32_t *label_block;		/* UINT32_MAX: none yet */
	uint32_t *storage;		/* of each of its .param variables */
	uint32_t return_block;
	uint32_t depth;
	ir_reg old_sp;			/* of a function with alloca: what to put back */
};

struct lower {
	struct ptx_log *log;
	struct hg_pool *pool;		/* the result's */
	struct ir_module *m;
	enum hg_status st;		/* malformed: the whole load fails */
	struct ptx_func **target;	/* functions whose address is taken: [address - 1] */
	uint32_t nr_targets, targets_hash;	/* the hash: of their names and lengths */

	/* the kernel at hand */
	struct hg_pool *tmp;
	struct ptx_func *kernel;
	struct ir_func *fn;		/* reg_type grows here */
	const char *refused;		/* the instruction at hand is; lower_body goes on with the next */
	const char *first_refused;	/* the kernel is */
	bool is_hopeless;		/* …and what follows would not be worth telling */
	struct ir_refusal *refusal;
	const struct ptx_insn **refused_insn;	/* of each refusal */
	uint32_t nr_refusals, cap_refusals, cap_refused_insns;
	uint32_t epoch, cap_regs, nr_insns;
	struct lower_block *block;
	uint32_t nr_blocks, cap_blocks, cur;
	uint64_t shared_bytes, local_bytes;
	uint32_t dynamic_align, local_align;
	bool has_reserved;		/* CUDA's own scratch in shared memory */
	uint32_t reserved;		/* its offset */
	struct lower_storage *storage;
	uint32_t nr_storages, cap_storages;
	struct lower_code *code;
	uint32_t nr_codes, cap_codes, owner;	/* owner: the code at hand */
	struct lower_site *site;
	uint32_t nr_sites, cap_sites;
	ir_reg sp;			/* IR_NO_REG: there is no stack */
	uint32_t stack_align;
	ir_reg cc;
	struct lower_inst *inst;

	/* the instruction at hand */
	const struct ptx_insn *in;
	ir_reg guard;			/* put on everything emitted */
	bool guard_neg;
	uint64_t seen[(PTX_W_COUNT + 63) / 64];	/* its modifiers that nobody has taken */
	enum ir_type type[4];
	uint32_t nr_types;

	uint64_t known_form[256];	/* hashes of words that are a form (ptx_forms.def) */
};

static inline bool lower_stopped(const struct lower *l)
{
	return l->st || l->refused || l->tmp->failed || l->pool->failed;
}

/* This kernel cannot be translated; the first reason counts, the others are noted. */
void lower_refuse(struct lower *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* This is not PTX. */
void lower_bad(struct lower *l, const struct ptx_opd *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

ir_reg lower_reg(struct lower *l, enum ir_type class);
uint32_t lower_new_block(struct lower *l);
/* A new instruction in the current block, guarded as the PTX one is. NULL when stopped. */
struct ir_insn *lower_emit(struct lower *l, enum ir_op op, enum ir_type type, unsigned int nr_dst, unsigned int nr_src);
void lower_bra(struct lower *l, uint32_t to);
void lower_cbra(struct lower *l, ir_reg pred, bool neg, uint32_t yes, uint32_t no);
uint32_t lower_label(struct lower *l, const struct ptx_opd *o);	/* its block */
/* Ends the current block, so that the next instruction begins one. */
void lower_split(struct lower *l);

/* The address of a variable as an operand, in the variable's own space. */
bool lower_var_address(struct lower *l, const struct ptx_opd *o, struct ptx_sym *sym, uint64_t offset, struct ir_operand *out,
		       enum ir_space *space);
void lower_call(struct lower *l);
static inline bool lower_is_offset(const struct ir_operand *o)	/* of a window, not a module variable's address */
{
	return o->kind == IR_OPD_VAR && o->index >= LOWER_FRAME;
}
static inline bool lower_in_function(const struct lower *l)	/* not in the kernel's own text */
{
	return l->inst->fn != l->kernel;
}
bool lower_grow(struct lower *l, void **array, uint32_t nr, uint32_t *capacity, size_t size);
struct lower_inst *lower_new_inst(struct lower *l, struct ptx_func *fn, struct lower_inst *parent);
/* Blocks that are written become those of `out`, in order, with constants folded. Its shared_bytes and local_bytes are set. */
void lower_finish(struct lower *l, struct ir_func *out);
void lower_body(struct lower *l);	/* of l->inst, from the current block on; ends that */
struct ptx_sym *lower_resolve(struct ptx_sym *sym);
/* The operands of a call; NULL when there are none. False: there is no callee. */
struct lower_callee { const struct ptx_opd *rets, *args, *callee; };
bool lower_call_operands(const struct ptx_insn *in, struct lower_callee *out);
/* Whether a call of `caller` through a pointer may mean fn: numbers and sizes of all arguments are equal. */
bool lower_suits(const struct ptx_func *caller, const struct ptx_func *fn, const struct lower_callee *c);
/* What an argument or a result is to the caller: a value (storage is UINT32_MAX), or a storage. */
bool lower_actual(struct lower *l, const struct ptx_sym *formal, const struct ptx_opd *actual, bool is_result,
		  struct lower_actual *out);

/* lower_real.c: calls that are not inlined */
/* Finds the functions that must not, or should not, be inlined: ptx_func.is_real, is_framed. */
bool lower_plan_calls(struct lower *l, struct ptx_module **module, size_t nr, struct hg_pool *tmp);
void lower_real_call(struct lower *l, struct ptx_func *fn, const struct ptx_opd *args, const struct ptx_opd *rets);
void lower_codes(struct lower *l);		/* the bodies of all code that calls have named */
void lower_frame_access(struct lower *l, struct lower_insn *from);	/* instead of one with an address in a frame */
bool lower_needs_frame(const struct lower *l, const struct ir_insn *in);
void lower_finish_calls(struct lower *l);	/* storages have their places: writes the calls and returns */
ir_reg lower_sp(struct lower *l);		/* where the stack ends: an offset in the local window, 32 bits */
/* Offset of the scratch in shared memory that CUDA's headers expect, zeros at the start of a block. */
uint32_t lower_reserved(struct lower *l);
uint32_t lower_storage(struct lower *l, const struct ptx_var *v);

/* lower_insn.c, for the files that lower a family each. A modifier asked for is accounted for. */
bool lower_has(struct lower *l, enum ptx_word w);
bool lower_is_given(const struct lower *l, enum ptx_word w);	/* without that */
void lower_no_more_modifiers(struct lower *l);
enum ir_rnd lower_rounding(struct lower *l);
bool lower_operands(struct lower *l, unsigned int min, unsigned int max);
struct ir_operand lower_get(struct lower *l, const struct ptx_opd *o, enum ir_type type);
ir_reg lower_put(struct lower *l, const struct ptx_opd *o, enum ir_type type);
/* An operation with `nr` operands into dst; IR_NO_REG: into a new register, as wide as the type. */
ir_reg lower_op(struct lower *l, enum ir_op op, enum ir_type type, ir_reg dst, unsigned int nr, const struct ir_operand *src);
/* Between integers, and floats where that is exact. */
ir_reg lower_cvt(struct lower *l, enum ir_type to, enum ir_type from, ir_reg dst, struct ir_operand v);

/* alloca: bytes, of 32 or 64 bits; gives the offset in the local window, 32 bits. */
ir_reg lower_alloca(struct lower *l, struct ir_operand bytes, enum ir_type type, uint32_t align);

void lower_video(struct lower *l);	/* lower_video.c */
/* lower_convert.c: conversions between packed narrow formats, and cvt.pack; false: an ordinary one */
bool lower_convert(struct lower *l);

/* An operand of l->in: an address and an offset, and the variable's space if none was given. */
bool lower_address(struct lower *l, const struct ptx_opd *o, bool given, struct ir_operand out[2], enum ir_space *space);

/* lower_matrix.c; none of them may have a guard */
void lower_mma(struct lower *l);
void lower_wmma(struct lower *l);
void lower_ldmatrix(struct lower *l);
void lower_stmatrix(struct lower *l);
void lower_movmatrix(struct lower *l);

/* lower_texture.c; lower_surface and lower_surface_reduce may have no guard */
void lower_tex(struct lower *l);
void lower_query(struct lower *l);
void lower_surface(struct lower *l);
void lower_surface_reduce(struct lower *l);

/* Lowers l->in: lower_insn.c's whole work. */
void lower_insn(struct lower *l);
/* Whether there is a function for the opcode. */
bool lower_knows(enum ptx_word op);

/* lower_order.c: blocks in reverse post-order, the blocks of a loop together. order[i] is the block at place i. */
struct lower_graph {
	uint32_t nr;
	const uint32_t *first, *succ;	/* successors of b: succ[first[b]…first[b+1]) */
};
bool lower_order(struct hg_pool *tmp, const struct lower_graph *g, uint32_t *order, uint32_t *nr_reached);

#endif
