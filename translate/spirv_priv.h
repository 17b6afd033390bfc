/* spirv_priv.h - what the files of the SPIR-V writer share: sections, ids, types, constants. */
#ifndef HG_TRANSLATE_SPIRV_PRIV_H
#define HG_TRANSLATE_SPIRV_PRIV_H

#include <llvm-c/Target.h>
#include <spirv/unified1/spirv.h>

#include "common/buf.h"
#include "common/idmap.h"
#include "translate/spirv_write.h"

/*
 * A pointer is one to i8 of its storage class, until an access makes it one to what is accessed. i1 is OpTypeBool; other integers have no
 * sign. Undefined values are 0, so that it does not matter where they are frozen.
 */
struct spv {
	const struct spirv_write_options *opt;
	LLVMTargetDataRef layout;
	/* In the order of the module; `out` is the one that spv_* add code to: prologue or code. */
	struct hg_writer strings, names, decorations, globals, variables, prologue, code, *out;
	struct hg_idmap ids;		/* of LLVM's values and blocks */
	uint32_t next_id;
	struct spv_type *type;
	size_t nr_types, types_cap;
	uint32_t capability[32], nr_capabilities;
	uint32_t interface[8], nr_interface;
	uint32_t builtin[SpvBuiltInSubgroupLocalInvocationId + 1];	/* what was loaded, in the prologue; 0: not yet */
	uint32_t opencl;		/* OpExtInstImport's; 0: not needed */
	uint32_t file, line;		/* OpString's; where code is, 0: not known */
	bool uses_lanes;

	enum hg_status st;		/* the first failure; ids are 0 from then on */
	char *why;
	size_t why_size;
};

/* Words of one instruction; spv_new also makes its result. */
void spv_put(struct hg_writer *w, SpvOp op, const uint32_t *word, size_t n);
uint32_t spv_new(struct spv *s, struct hg_writer *w, SpvOp op, uint32_t type, const uint32_t *word, size_t n);
#define SPV_WORDS(...) (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t)
#define SPV_PUT(w, op, ...) spv_put(w, op, SPV_WORDS(__VA_ARGS__))
/* Code with a result of that type; its id. */
#define SPV_DO(s, op, type, ...) spv_new(s, (s)->out, op, type, SPV_WORDS(__VA_ARGS__))

/* Returns 0; what is not in the dialect. */
uint32_t spv_refuse(struct spv *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void spv_need(struct spv *s, SpvCapability c);

/* ---- types ---- */

uint32_t spv_type_make(struct spv *s, SpvOp op, uint32_t a, uint32_t b);	/* one of each */
uint32_t spv_int(struct spv *s, unsigned int bits);
uint32_t spv_bool(struct spv *s);
uint32_t spv_pointer(struct spv *s, SpvStorageClass class, uint32_t to);
uint32_t spv_type(struct spv *s, LLVMTypeRef t);
SpvStorageClass spv_class(struct spv *s, LLVMTypeRef pointer);
/* A pointer's id, as one to `to` (a type's id). */
uint32_t spv_as(struct spv *s, uint32_t id, LLVMTypeRef pointer, uint32_t to);

/* ---- values ---- */

uint32_t spv_const(struct spv *s, LLVMTypeRef t, uint64_t v);
uint32_t spv_i32(struct spv *s, LLVMContextRef c, uint32_t v);
/* A constant, or what was given an id before. */
uint32_t spv_id(struct spv *s, LLVMValueRef v);
void spv_set(struct spv *s, const void *value_or_block, uint32_t id);
uint32_t spv_extended(struct spv *s, uint32_t type, uint32_t instruction, const uint32_t *arg, size_t n);	/* OpenCL.std */
/* A built-in variable's value, of `vector` (1: a scalar) integers. */
uint32_t spv_builtin(struct spv *s, SpvBuiltIn b, unsigned int bits, unsigned int vector);

/* ---- spirv_write.c ---- */

/* A constant expression, in the prologue. */
uint32_t spv_expression(struct spv *s, LLVMValueRef v);

/* ---- spirv_call.c ---- */

/* A call's result; 0: it has none. */
uint32_t spv_call(struct spv *s, LLVMValueRef call);

#endif
