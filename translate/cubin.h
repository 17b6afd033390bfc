/* cubin.h - what the metadata of machine code says: kernels, parameters, variables. Private to translate/ and its tests. */
#ifndef HG_TRANSLATE_CUBIN_H
#define HG_TRANSLATE_CUBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/pool.h"
#include "common/status.h"
#include "translate/module.h"

struct hg_cubin_kernel {
	const char *name;
	bool params_known;		/* false: the metadata is missing or makes no sense; the next three are 0 */
	uint32_t nr_params, param_bytes;
	const struct hg_param *params;	/* ascending by offset; align 0, is_pointer false: a cubin says neither */
};

struct hg_cubin_var {
	const char *name;
	uint64_t size;
	bool is_const, is_visible, is_managed;
};

struct hg_cubin {
	uint32_t nr_kernels, nr_vars;
	struct hg_cubin_kernel *kernels;	/* in the order of the symbol table */
	struct hg_cubin_var *vars;
	bool uses_malloc;			/* it refers to the device's malloc */
};

/*
 * Reads the ELF file of `size` bytes, which may be any bytes. Names point into it, the rest is taken from pool.
 * HG_ERR_CORRUPT, with a message: not an ELF file, or cut short.
 */
enum hg_status hg_cubin_read(struct hg_pool *pool, const void *elf, size_t size, struct hg_cubin *out) HG_MUST_CHECK;

#endif
