/* module.h - a code image taken in: its kernels, variables and portable code (hgIR). */
#ifndef HG_TRANSLATE_MODULE_H
#define HG_TRANSLATE_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/*
 * Takes any image that cuModuleLoadData or cuLibraryLoadData takes: fatbin wrapper (versions 1 and
 * 2), fatbin, NUL-terminated PTX text, ELF cubin. PTX of several targets: the highest that is
 * <= `sm` and whose features are known. A version-2 wrapper's fatbins are linked by symbol.
 * `size` 0: unknown (a pointer from the application); then the image's own lengths bound it.
 * Thread-safe; the module is immutable afterwards. Everything in it is freed at once.
 *
 * A kernel that hgshim cannot translate does not fail the load: its hg_kernel_info.refused says
 * why ("kernel 'k', line 12: 'wgmma…': not supported"). An image without any PTX fails with
 * HG_ERR_UNSUPPORTED and a message naming the kernels its cubins hold. Malformed PTX fails
 * with HG_ERR_CORRUPT or HG_ERR_INVALID, and with line, column, and what was expected in `log`.
 */
struct hg_module;
struct ir_module;	/* translate/ir.h */

struct hg_param {
	uint32_t offset, size, align;	/* in the parameter block */
	bool is_pointer;		/* .ptr, or used as an address */
};

struct hg_kernel_info {
	const char *name;
	uint32_t nr_params;
	const struct hg_param *params;
	uint32_t param_bytes;		/* of the whole block */
	uint32_t shared_bytes;		/* static */
	uint32_t local_bytes;		/* per thread */
	uint32_t nr_regs;		/* an estimate, for cuFuncGetAttribute */
	uint32_t sm;			/* virtual architecture of its PTX: 75 for sm_75 */
	uint32_t max_threads;		/* .maxntid product, or 1024 */
	uint32_t req_threads[3];	/* .reqntid, or zeros */
	bool uses_dynamic_shared, uses_grid_sync;
	const char *refused;		/* why it cannot run on any portable target, or NULL */
};

struct hg_var_reloc { uint32_t offset; uint32_t var; int64_t addend; };	/* 8-byte address of a variable */

#define HG_HEAP_NAME "__hgshim_heap"

struct hg_var_info {
	const char *name;
	uint64_t size;
	uint32_t align;
	bool is_const, is_visible;
	bool is_heap;			/* of the device's malloc: as many bytes follow as its first 8 are made to say */
	const void *init;		/* `size` bytes, or NULL for zeros */
	size_t nr_relocs;
	const struct hg_var_reloc *relocs;
};

/* log: receives what went wrong, NUL-terminated, for the JIT error log; may be NULL. */
enum hg_status hg_module_load(const void *image, size_t size, uint32_t sm, char *log, size_t log_size,
			      struct hg_module **out) HG_MUST_CHECK;
/* Size of an image whose caller does not know it (fatbin wrapper, fatbin, ELF, text); 0 if it is none. */
size_t hg_image_size(const void *image);
/* Whether it begins as an image does, whatever follows. No byte beyond `size` is read; 0: not known, as in hg_module_load. */
bool hg_image_begins(const void *image, size_t size);
/*
 * One flat, position-independent copy of an image (a wrapper is two pointers into the program): what
 * the log keeps and hg_module_load reads again. *out is malloc'ed.
 */
enum hg_status hg_image_flatten(const void *image, size_t size, void **out, size_t *out_size) HG_MUST_CHECK;
/* One such copy of several images, whose parts are linked by symbol when it is loaded. None of the sizes may be 0. */
struct hg_image { const void *data; size_t size; };
enum hg_status hg_image_join(const struct hg_image *image, size_t nr, void **out, size_t *out_size) HG_MUST_CHECK;
/*
 * The fatbins in a host's object file (ELF, 64 bits) or in an archive of such: each gets what lies in `size` bytes at data, without a copy.
 * HG_ERR_INVALID with a message when it is neither; HG_ERR_CORRUPT when it cannot be walked. What `each` returns ends the walk unless it is HG_OK.
 */
enum hg_status hg_object_fatbins(const void *data, size_t size, enum hg_status (*each)(const void *fatbin, size_t size, void *arg),
				 void *arg) HG_MUST_CHECK;
void hg_module_free(struct hg_module *m);	/* NULL is allowed */

size_t hg_module_nr_kernels(const struct hg_module *m);
const struct hg_kernel_info *hg_module_kernel(const struct hg_module *m, size_t i);
int hg_module_find_kernel(const struct hg_module *m, const char *name);	/* -1: none */
size_t hg_module_nr_vars(const struct hg_module *m);
const struct hg_var_info *hg_module_var(const struct hg_module *m, size_t i);
int hg_module_find_var(const struct hg_module *m, const char *name);
const struct ir_module *hg_module_ir(const struct hg_module *m);
/* XXH3-128 of the PTX text and the translator's version: key of caches. */
void hg_module_hash(const struct hg_module *m, unsigned char key[16]);

#endif
