/* spirv_build.c - a SPIR-V module's parts: ids, types, constants, each once. */
#include "translate/spirv_priv.h"

#include <spirv/unified1/OpenCL.std.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct spv_type {
	SpvOp op;
	uint32_t a, b, id;
};

void spv_put(struct hg_writer *w, SpvOp op, const uint32_t *word, size_t n)
{
	hg_write_u32(w, (uint32_t)(n + 1) << SpvWordCountShift | (uint32_t)op);
	for (size_t i = 0; i < n; i++)
		hg_write_u32(w, word[i]);
}

uint32_t spv_new(struct spv *s, struct hg_writer *w, SpvOp op, uint32_t type, const uint32_t *word, size_t n)
{
	hg_write_u32(w, (uint32_t)(n + 3) << SpvWordCountShift | (uint32_t)op);
	hg_write_u32(w, type);
	hg_write_u32(w, s->next_id);
	for (size_t i = 0; i < n; i++)
		hg_write_u32(w, word[i]);
	return s->next_id++;
}

uint32_t spv_refuse(struct spv *s, const char *fmt, ...)
{
	va_list ap;

	if (s->st)
		return 0;
	s->st = HG_ERR_UNSUPPORTED;
	va_start(ap, fmt);
	vsnprintf(s->why, s->why_size, fmt, ap);
	va_end(ap);
	return 0;
}

void spv_need(struct spv *s, SpvCapability c)
{
	for (uint32_t i = 0; i < s->nr_capabilities; i++)
		if (s->capability[i] == (uint32_t)c)
			return;
	s->capability[s->nr_capabilities++] = c;
}

uint32_t spv_type_make(struct spv *s, SpvOp op, uint32_t a, uint32_t b)
{
	struct spv_type *t;
	size_t cap = s->types_cap ? 2 * s->types_cap : 32, nr;

	for (size_t i = 0; i < s->nr_types; i++)
		if (s->type[i].op == op && s->type[i].a == a && s->type[i].b == b)
			return s->type[i].id;
	if (s->nr_types == s->types_cap) {
		t = realloc(s->type, cap * sizeof(*t));
		if (!t) {
			s->st = s->st ? s->st : HG_ERR_NOMEM;
			return 0;
		}
		s->type = t;
		s->types_cap = cap;
	}
	s->type[s->nr_types++] = (struct spv_type){ op, a, b, s->next_id };
	switch (op) {
	case SpvOpTypeVoid: case SpvOpTypeBool: nr = 1; break;
	case SpvOpTypeFloat: nr = 2; break;
	default: nr = 3; break;
	}
	spv_put(&s->globals, op, (uint32_t[]){ s->next_id, a, b }, nr);
	return s->next_id++;
}

uint32_t spv_int(struct spv *s, unsigned int bits)
{
	switch (bits) {
	case 8: spv_need(s, SpvCapabilityInt8); break;
	case 16: spv_need(s, SpvCapabilityInt16); break;
	case 32: break;
	case 64: spv_need(s, SpvCapabilityInt64); break;
	default: return spv_refuse(s, "an integer of %u bits", bits);
	}
	return spv_type_make(s, SpvOpTypeInt, bits, 0);
}

uint32_t spv_bool(struct spv *s)
{
	return spv_type_make(s, SpvOpTypeBool, 0, 0);
}

uint32_t spv_pointer(struct spv *s, SpvStorageClass class, uint32_t to)
{
	if (class == SpvStorageClassGeneric)
		spv_need(s, SpvCapabilityGenericPointer);
	return spv_type_make(s, SpvOpTypePointer, class, to);
}

SpvStorageClass spv_class(struct spv *s, LLVMTypeRef pointer)
{
	unsigned int as = LLVMGetPointerAddressSpace(pointer);

	switch (as) {
	case 0: return SpvStorageClassGeneric;
	case 1: return SpvStorageClassCrossWorkgroup;
	case 3: return SpvStorageClassWorkgroup;
	case 5: return SpvStorageClassFunction;
	default:
		spv_refuse(s, "a pointer of address space %u", as);
		return SpvStorageClassGeneric;
	}
}

uint32_t spv_type(struct spv *s, LLVMTypeRef t)
{
	unsigned int bits;
	uint32_t id;
	char *text;

	switch (LLVMGetTypeKind(t)) {
	case LLVMVoidTypeKind:
		return spv_type_make(s, SpvOpTypeVoid, 0, 0);
	case LLVMIntegerTypeKind:
		bits = LLVMGetIntTypeWidth(t);
		return bits == 1 ? spv_bool(s) : spv_int(s, bits);
	case LLVMHalfTypeKind:
		spv_need(s, SpvCapabilityFloat16);
		return spv_type_make(s, SpvOpTypeFloat, 16, 0);
	case LLVMFloatTypeKind:
		return spv_type_make(s, SpvOpTypeFloat, 32, 0);
	case LLVMDoubleTypeKind:
		spv_need(s, SpvCapabilityFloat64);
		return spv_type_make(s, SpvOpTypeFloat, 64, 0);
	case LLVMPointerTypeKind:
		return spv_pointer(s, spv_class(s, t), spv_int(s, 8));
	default:
		text = LLVMPrintTypeToString(t);
		id = spv_refuse(s, "a value of type '%s'", text);
		LLVMDisposeMessage(text);
		return id;
	}
}

uint32_t spv_as(struct spv *s, uint32_t id, LLVMTypeRef pointer, uint32_t to)
{
	return to == spv_int(s, 8) ? id : SPV_DO(s, SpvOpBitcast, spv_pointer(s, spv_class(s, pointer), to), id);
}

void spv_set(struct spv *s, const void *value_or_block, uint32_t id)
{
	if (hg_idmap_put(&s->ids, (uintptr_t)value_or_block, id) && !s->st)
		s->st = HG_ERR_NOMEM;
}

uint32_t spv_const(struct spv *s, LLVMTypeRef t, uint64_t v)
{
	return spv_id(s, LLVMConstInt(t, v, 0));
}

uint32_t spv_i32(struct spv *s, LLVMContextRef c, uint32_t v)
{
	return spv_const(s, LLVMInt32TypeInContext(c), v);
}

static uint32_t number(struct spv *s, LLVMTypeRef t, uint64_t v, unsigned int bits)
{
	uint32_t word[2] = { (uint32_t)v, (uint32_t)(v >> 32) };

	return spv_new(s, &s->globals, SpvOpConstant, spv_type(s, t), word, bits > 32 ? 2 : 1);
}

/* NaNs keep their bits: LLVM's own way to a double would make them quiet. */
static uint64_t float_bits(LLVMValueRef v, unsigned int bits)
{
	return LLVMConstIntGetZExtValue(LLVMConstBitCast(v, LLVMIntTypeInContext(LLVMGetTypeContext(LLVMTypeOf(v)), bits)));
}

static uint32_t constant(struct spv *s, LLVMValueRef v)
{
	LLVMTypeRef t = LLVMTypeOf(v);
	uint32_t type = spv_type(s, t);
	unsigned int bits;

	if (s->st)
		return 0;
	if (LLVMIsAConstantExpr(v))
		return spv_expression(s, v);
	if (LLVMIsUndef(v) && LLVMGetTypeKind(t) != LLVMPointerTypeKind)
		return spv_id(s, LLVMConstNull(t));
	/* of numbers readers want OpConstant */
	if (LLVMIsUndef(v) || LLVMIsAConstantPointerNull(v))
		return spv_new(s, &s->globals, SpvOpConstantNull, type, NULL, 0);
	if (LLVMIsAConstantInt(v)) {
		bits = LLVMGetIntTypeWidth(t);
		if (bits > 1)
			return number(s, t, LLVMConstIntGetZExtValue(v), bits);
		return spv_new(s, &s->globals, LLVMConstIntGetZExtValue(v) ? SpvOpConstantTrue : SpvOpConstantFalse, type, NULL, 0);
	}
	if (LLVMIsAConstantFP(v)) {
		bits = (unsigned int)LLVMSizeOfTypeInBits(s->layout, t);
		return number(s, t, float_bits(v, bits), bits);
	}
	return spv_refuse(s, "the address of '%s'", LLVMGetValueName(v));
}

uint32_t spv_id(struct spv *s, LLVMValueRef v)
{
	uint64_t id;

	if (hg_idmap_get(&s->ids, (uintptr_t)v, &id))
		return (uint32_t)id;
	if (!LLVMIsConstant(v))
		return spv_refuse(s, "'%s', which is used before it is there", LLVMGetValueName(v));
	id = constant(s, v);
	spv_set(s, v, (uint32_t)id);
	return (uint32_t)id;
}

uint32_t spv_extended(struct spv *s, uint32_t type, uint32_t instruction, const uint32_t *arg, size_t n)
{
	uint32_t word[2 + 3];

	if (!s->opencl)
		s->opencl = s->next_id++;
	word[0] = s->opencl;
	word[1] = instruction;
	memcpy(word + 2, arg, n * sizeof(*arg));
	return spv_new(s, s->out, SpvOpExtInst, type, word, n + 2);
}

uint32_t spv_builtin(struct spv *s, SpvBuiltIn b, unsigned int bits, unsigned int vector)
{
	uint32_t type = spv_int(s, bits), var;

	if (s->builtin[b])
		return s->builtin[b];
	if (vector > 1)
		type = spv_type_make(s, SpvOpTypeVector, type, vector);
	var = spv_new(s, &s->globals, SpvOpVariable, spv_pointer(s, SpvStorageClassInput, type), SPV_WORDS(SpvStorageClassInput));
	SPV_PUT(&s->decorations, SpvOpDecorate, var, SpvDecorationBuiltIn, b);
	SPV_PUT(&s->decorations, SpvOpDecorate, var, SpvDecorationConstant);
	s->interface[s->nr_interface++] = var;
	return s->builtin[b] = spv_new(s, &s->prologue, SpvOpLoad, type, SPV_WORDS(var));
}
