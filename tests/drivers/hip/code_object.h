/* code_object.h - reads AMD's code objects: an own reader, that knows nothing of what wrote them. */
#ifndef TESTS_DRIVERS_HIP_CODE_OBJECT_H
#define TESTS_DRIVERS_HIP_CODE_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * An ELF file as LLVM's "User Guide for AMDGPU Backend" describes it, version 5: header, program and section headers, dynamic
 * symbols, the note with metadata (MessagePack), kernel descriptors. All of it is checked, and the parts against each
 * other, before any is believed.
 */
enum co_arg_kind { CO_BY_VALUE, CO_GLOBAL_BUFFER, CO_DYNAMIC_SHARED, CO_HIDDEN };
struct co_arg {
	uint32_t offset, size;
	enum co_arg_kind kind;
	char value_kind[48];
};

struct co_kernel {
	char *name;			/* .name: what hipModuleGetFunction takes, and the function in LLVM IR */
	uint32_t kernarg_bytes, kernarg_align, explicit_bytes;	/* explicit: without hidden arguments */
	uint32_t lds_bytes, private_bytes;	/* fixed */
	uint32_t wave;			/* 32 or 64 */
	uint32_t max_items;		/* of a work-group */
	uint32_t vgprs, sgprs;		/* as the metadata says; 0: it does not */
	uint64_t entry;			/* address in the object */
	size_t nr_args;
	struct co_arg *arg;
	bool uses_dynamic_stack;
};

struct co_symbol {			/* a variable */
	const char *name;
	uint64_t addr, size;
};

struct co_segment {
	uint64_t addr, size, file_size;
	const unsigned char *bytes;	/* file_size of them */
	bool writable, executable;
};

struct co_object {
	unsigned char *bytes;		/* its own copy */
	size_t size;
	uint32_t mach;			/* EF_AMDGPU_MACH */
	char target[96];		/* "amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-" */
	int sramecc, xnack;		/* -1: any or none, 0: off, 1: on */
	size_t nr_kernels, nr_symbols, nr_segments;
	struct co_kernel *kernel;
	struct co_symbol *symbol;
	struct co_segment *segment;
	const unsigned char *bitcode;	/* section .llvmbc; NULL: none */
	size_t bitcode_size;
};

/*
 * `bytes` is only read during the call, and need not be aligned. NULL: `why` (NUL-terminated, cut to fit) says what is wrong and where.
 */
struct co_object *co_read(const void *bytes, size_t size, char *why, size_t why_size);
void co_free(struct co_object *co);	/* NULL is allowed */

/* The size that an ELF header claims for its file: all headers and sections lie in it. Needs 64 bytes; 0: it is no ELF header. */
uint64_t co_claimed_size(const unsigned char header[64]);

#endif
