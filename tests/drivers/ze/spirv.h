/* spirv.h - what a SPIR-V module says of itself, as far as a driver must know it. Standalone. */
#ifndef TESTS_DRIVERS_ZE_SPIRV_H
#define TESTS_DRIVERS_ZE_SPIRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How an argument is set. */
enum spirv_arg_kind { SPIRV_ARG_POINTER, SPIRV_ARG_LOCAL, SPIRV_ARG_VALUE };
struct spirv_arg {
	enum spirv_arg_kind kind;
	uint32_t size;			/* bytes; of a pointer 8; of local memory 0 */
};

struct spirv_kernel {
	const char *name;		/* in the module's words */
	uint32_t function;		/* its id */
	size_t nr_args;
	struct spirv_arg *arg;
	uint32_t sub_group;		/* that it asks for; 0: none */
	uint32_t local_size[3];		/* that it asks for; zeros: none */
};

struct spirv_module {
	uint32_t *words;		/* a copy */
	size_t nr_words;
	uint32_t version;		/* 0x10000, … */
	size_t nr_capabilities;
	uint32_t *capability;
	size_t nr_extensions;
	const char **extension;		/* in the words */
	size_t nr_kernels;
	struct spirv_kernel *kernel;
	uint32_t local_bytes;		/* of variables in local memory */
};

/* Any bytes; NULL, with why not: they are no module for OpenCL of 64 bits with kernels, or there is no memory. */
struct spirv_module *spirv_read(const void *bytes, size_t size, char *why, size_t why_size);
void spirv_free(struct spirv_module *m);	/* NULL is allowed */

#endif
