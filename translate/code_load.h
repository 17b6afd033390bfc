/* code_load.h - the compiler's object files as code that runs. */
#ifndef HG_TRANSLATE_CODE_LOAD_H
#define HG_TRANSLATE_CODE_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/* Code in memory: one mapping, of which the instructions may be run and nothing may be written. */
struct code_image {
	void *memory;
	size_t size;
	uint64_t text;		/* where the section of the function lies */
	uint64_t entry;		/* where the function begins */
};

/*
 * Maps what an x86-64 object file (ELF) in memory says is to be loaded, and relocates it (System V ABI, AMD64, section 4.4: what LLVM makes for
 * position-independent code of the small model); `function` is a symbol that it defines. It may call the functions of libc
 * and libm that LLVM makes out of its own operations, and nothing else. The object is not needed afterwards. A damaged file gives HG_ERR_CORRUPT
 * with a message and touches nothing beyond its bytes; what the instructions do is not looked at. Any thread.
 */
enum hg_status code_load(const void *object, size_t size, const char *function, struct code_image *out) HG_MUST_CHECK;
/* No thread may be running the code. */
void code_unload(struct code_image *image);

#endif
