/* spirv.c - a reader of SPIR-V modules: capabilities, entry points, their arguments and modes. */
#include "tests/drivers/ze/spirv.h"

#include <spirv/unified1/spirv.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_WORDS 5
#define MAX_BOUND (4u << 20)		/* of ids; SPIR-V promises that no module needs more */
#define MAX_DEPTH 16			/* of types in types */

struct reader {
	struct spirv_module *m;
	uint32_t *type_at;		/* by id: where the instruction stands that makes it; 0: nowhere */
	uint32_t bound;
	char *why;
	size_t why_size;
};

static bool fail(const struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail(const struct reader *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, r->why_size, fmt, ap);
	va_end(ap);
	return false;
}

static uint32_t word(const struct reader *r, size_t at, size_t i)
{
	return r->m->words[at + i];
}

static uint32_t opcode(const struct reader *r, size_t at)
{
	return word(r, at, 0) & SpvOpCodeMask;
}

static size_t length(const struct reader *r, size_t at)
{
	return word(r, at, 0) >> SpvWordCountShift;
}

/* A string that begins at word i of an instruction; NULL: it does not end there. */
static const char *string(const struct reader *r, size_t at, size_t i)
{
	size_t bytes = i < length(r, at) ? (length(r, at) - i) * 4 : 0;
	const char *s = (const char *)&r->m->words[at + i];

	return memchr(s, 0, bytes) ? s : NULL;
}

/* Adds one to an array of n things. */
static bool grow(void *array, size_t n, size_t size)
{
	void *old, *more;

	memcpy(&old, array, sizeof(old));
	if (n & (n - 1))
		return true;
	more = realloc(old, (n ? 2 * n : 1) * size);
	if (!more)
		return false;
	memcpy(array, &more, sizeof(more));
	return true;
}

/* ---- types ---- */

/* Bytes of a value of that type, as OpenCL lays it out; 0: it has none that is known. */
static uint32_t size_of(const struct reader *r, uint32_t type, int depth)
{
	uint32_t at = type < r->bound ? r->type_at[type] : 0, n, size = 0;

	if (!at || depth > MAX_DEPTH)
		return 0;
	switch (opcode(r, at)) {
	case SpvOpTypeInt:
	case SpvOpTypeFloat:
		return word(r, at, 2) / 8;
	case SpvOpTypePointer:
		return 8;
	case SpvOpTypeVector:
		n = word(r, at, 3) == 3 ? 4 : word(r, at, 3);
		return n * size_of(r, word(r, at, 2), depth + 1);
	case SpvOpTypeArray:
		n = word(r, at, 3) < r->bound ? r->type_at[word(r, at, 3)] : 0;
		return n && opcode(r, n) == SpvOpConstant && length(r, n) > 3 ? word(r, n, 3) * size_of(r, word(r, at, 2), depth + 1) : 0;
	case SpvOpTypeStruct:
		/* members one behind the other, each at a multiple of its size: enough for structures of numbers */
		for (size_t i = 2; i < length(r, at); i++) {
			n = size_of(r, word(r, at, i), depth + 1);
			if (!n)
				return 0;
			size = n <= 16 && !(n & (n - 1)) ? (size + n - 1) & -n : size;
			size += n;
		}
		return size;
	default:
		return 0;
	}
}

/* Of a parameter; a structure comes by a pointer to Function memory. */
static bool argument(const struct reader *r, uint32_t type, struct spirv_arg *out)
{
	uint32_t at = type < r->bound ? r->type_at[type] : 0;

	if (!at)
		return fail(r, "a parameter has type %u, which is none", type);
	if (opcode(r, at) != SpvOpTypePointer) {
		*out = (struct spirv_arg){ SPIRV_ARG_VALUE, size_of(r, type, 0) };
		return out->size || fail(r, "a parameter has a type of no known size");
	}
	switch (word(r, at, 2)) {
	case SpvStorageClassCrossWorkgroup:
	case SpvStorageClassUniformConstant:
		*out = (struct spirv_arg){ SPIRV_ARG_POINTER, 8 };
		return true;
	case SpvStorageClassWorkgroup:
		*out = (struct spirv_arg){ SPIRV_ARG_LOCAL, 0 };
		return true;
	case SpvStorageClassFunction:
		*out = (struct spirv_arg){ SPIRV_ARG_VALUE, size_of(r, word(r, at, 3), 0) };
		return out->size || fail(r, "a parameter points to a type of no known size");
	default:
		return fail(r, "a parameter is a pointer in storage class %u", word(r, at, 2));
	}
}

/* ---- instructions ---- */

static struct spirv_kernel *kernel_of(const struct reader *r, uint32_t function)
{
	for (size_t i = 0; i < r->m->nr_kernels; i++)
		if (r->m->kernel[i].function == function)
			return &r->m->kernel[i];
	return NULL;
}

static bool entry_point(struct reader *r, size_t at)
{
	const char *name = string(r, at, 3);

	if (!name || word(r, at, 1) != SpvExecutionModelKernel)
		return fail(r, "an entry point has %s", name ? "another execution model than Kernel" : "no name");
	for (size_t i = 0; i < r->m->nr_kernels; i++)
		if (!strcmp(r->m->kernel[i].name, name))
			return fail(r, "two entry points are called '%s'", name);
	if (!grow(&r->m->kernel, r->m->nr_kernels, sizeof(*r->m->kernel)))
		return fail(r, "out of memory");
	r->m->kernel[r->m->nr_kernels++] = (struct spirv_kernel){ .name = name, .function = word(r, at, 2) };
	return true;
}

static void execution_mode(struct reader *r, size_t at)
{
	struct spirv_kernel *k = kernel_of(r, word(r, at, 1));

	if (k && word(r, at, 2) == SpvExecutionModeSubgroupSize && length(r, at) > 3)
		k->sub_group = word(r, at, 3);
	if (k && word(r, at, 2) == SpvExecutionModeLocalSize && length(r, at) > 5)
		memcpy(k->local_size, &r->m->words[at + 3], sizeof(k->local_size));
}

/* Fewest words of the instructions that are looked into. */
static size_t least(uint32_t op)
{
	static const struct {
		uint16_t op, words;
	} known[] = {
		{ SpvOpCapability, 2 }, { SpvOpExtension, 2 }, { SpvOpMemoryModel, 3 }, { SpvOpEntryPoint, 4 }, { SpvOpExecutionMode, 3 },
		{ SpvOpTypeInt, 4 }, { SpvOpTypeFloat, 3 }, { SpvOpTypeVector, 4 }, { SpvOpTypeArray, 4 }, { SpvOpTypeStruct, 2 },
		{ SpvOpTypePointer, 4 }, { SpvOpConstant, 4 }, { SpvOpVariable, 4 }, { SpvOpFunction, 5 }, { SpvOpFunctionParameter, 3 },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].op == op)
			return known[i].words;
	return 1;
}

static bool define(struct reader *r, uint32_t id, size_t at)
{
	if (!id || id >= r->bound)
		return fail(r, "id %u is beyond the bound of %u", id, r->bound);
	r->type_at[id] = (uint32_t)at;
	return true;
}

static bool instruction(struct reader *r, size_t at, struct spirv_kernel **in)
{
	struct spirv_module *m = r->m;
	uint32_t size;

	switch (opcode(r, at)) {
	case SpvOpCapability:
		if (!grow(&m->capability, m->nr_capabilities, sizeof(*m->capability)))
			return fail(r, "out of memory");
		m->capability[m->nr_capabilities++] = word(r, at, 1);
		return true;
	case SpvOpExtension:
		if (!string(r, at, 1) || !grow(&m->extension, m->nr_extensions, sizeof(*m->extension)))
			return fail(r, "an extension has no name, or out of memory");
		m->extension[m->nr_extensions++] = string(r, at, 1);
		return true;
	case SpvOpMemoryModel:
		return (word(r, at, 1) == SpvAddressingModelPhysical64 && word(r, at, 2) == SpvMemoryModelOpenCL) ||
			fail(r, "addressing model %u and memory model %u; a driver takes Physical64 and OpenCL", word(r, at, 1), word(r, at, 2));
	case SpvOpEntryPoint:
		return entry_point(r, at);
	case SpvOpExecutionMode:
		execution_mode(r, at);
		return true;
	case SpvOpTypeInt:
	case SpvOpTypeFloat:
	case SpvOpTypeVector:
	case SpvOpTypeArray:
	case SpvOpTypeStruct:
	case SpvOpTypePointer:
		return define(r, word(r, at, 1), at);
	case SpvOpConstant:
		return define(r, word(r, at, 2), at);
	case SpvOpVariable:
		if (word(r, at, 3) != SpvStorageClassWorkgroup)
			return true;
		size = word(r, at, 1) < r->bound ? r->type_at[word(r, at, 1)] : 0;
		size = size && opcode(r, size) == SpvOpTypePointer ? size_of(r, word(r, size, 3), 0) : 0;
		m->local_bytes = ((m->local_bytes + 15) & ~15u) + size;
		return size || fail(r, "a variable in local memory has no known size");
	case SpvOpFunction:
		*in = kernel_of(r, word(r, at, 2));
		return true;
	case SpvOpFunctionParameter:
		if (!*in)
			return true;
		if (!grow(&(*in)->arg, (*in)->nr_args, sizeof(*(*in)->arg)))
			return fail(r, "out of memory");
		return argument(r, word(r, at, 1), &(*in)->arg[(*in)->nr_args++]);
	case SpvOpFunctionEnd:
		*in = NULL;
		return true;
	default:
		return true;
	}
}

static bool read_all(struct reader *r)
{
	struct spirv_module *m = r->m;
	struct spirv_kernel *in = NULL;

	for (size_t at = HEADER_WORDS; at < m->nr_words; at += length(r, at)) {
		size_t n = length(r, at);

		if (!n || n > m->nr_words - at || n < least(opcode(r, at)))
			return fail(r, "the instruction at word %zu (opcode %u) says to have %zu words", at, opcode(r, at), n);
		if (!instruction(r, at, &in))
			return false;
	}
	return true;
}

void spirv_free(struct spirv_module *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->nr_kernels; i++)
		free(m->kernel[i].arg);
	free(m->kernel);
	free(m->extension);
	free(m->capability);
	free(m->words);
	free(m);
}

struct spirv_module *spirv_read(const void *bytes, size_t size, char *why, size_t why_size)
{
	struct reader r = { .why = why, .why_size = why_size };
	bool ok;

	if (size < HEADER_WORDS * 4 || size % 4 || size / 4 > UINT32_MAX || memcmp(bytes, &(uint32_t){ SpvMagicNumber }, 4)) {
		fail(&r, "%zu bytes that are no SPIR-V module", size);
		return NULL;
	}
	r.m = calloc(1, sizeof(*r.m));
	if (r.m)
		r.m->words = malloc(size);
	if (!r.m || !r.m->words)
		goto err_memory;
	memcpy(r.m->words, bytes, size);
	r.m->nr_words = size / 4;
	r.m->version = r.m->words[1];
	r.bound = r.m->words[3];
	if (!r.bound || r.bound > MAX_BOUND) {
		fail(&r, "a bound of %u ids", r.bound);
		goto err;
	}
	r.type_at = calloc(r.bound, sizeof(*r.type_at));
	if (!r.type_at)
		goto err_memory;
	ok = read_all(&r);
	free(r.type_at);
	if (ok)
		return r.m;
err:
	spirv_free(r.m);
	return NULL;
err_memory:
	fail(&r, "out of memory");
	goto err;
}
