/* index.h - what a code image holds, without translating it: kernels, variables, parameters. */
#ifndef HG_TRANSLATE_INDEX_H
#define HG_TRANSLATE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/module.h"

/* A kernel of any part of the image. */
struct hg_index_kernel {
	const char *name;		/* as in the image: mangled */
	bool has_ptx, has_sass;
	bool params_known;		/* from a cubin's metadata or the PTX; else the next three are 0 */
	uint32_t nr_params;
	const struct hg_param *params;	/* by offset; is_pointer: .ptr; of a cubin align is 0 and is_pointer false */
	uint32_t param_bytes;
};

struct hg_index_var {
	const char *name;
	uint64_t size;			/* 0: the code does not say */
	bool is_const;			/* .const: only the host can write it */
	bool is_visible;
	bool is_managed;		/* unified memory: .attribute(.managed) */
};

struct hg_image_index {
	size_t nr_kernels, nr_vars;
	const struct hg_index_kernel *kernels;	/* ascending by name, each name once */
	const struct hg_index_var *vars;	/* module scope .global and .const; likewise */
	size_t nr_ptx, nr_sass, nr_lto;		/* entries of each kind in the image */
	size_t nr_unread;			/* of these, left out as they cannot be read */
	bool uses_malloc;		/* some code refers to the device's malloc: memory that no snapshot reaches */
};

/*
 * Takes any image that hg_module_load takes (size 0: unknown), looks at every entry of it (all PTX texts, all cubins,
 * compressed or not) and scans PTX for its declarations without parsing bodies: fast enough for images of 100 MB.
 * Where entries differ, PTX is believed before a cubin, and the first before the others.
 * Thread-safe. *out is one malloc'ed block. An image of nothing but SASS is fine here. HG_ERR_CORRUPT or HG_ERR_VERSION
 * with a message for an image that cannot be walked; an entry of it that cannot be read is left out, with a warning.
 */
enum hg_status hg_image_index(const void *image, size_t size, struct hg_image_index **out) HG_MUST_CHECK;
void hg_image_index_free(struct hg_image_index *index);	/* NULL is allowed */
/* NULL: no such kernel. */
const struct hg_index_kernel *hg_image_index_kernel(const struct hg_image_index *index, const char *name);

#endif
