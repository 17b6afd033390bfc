/* amd_comgr.h - the compiler of a ROCm machine (comgr), if there is one. Private to translate/. */
#ifndef HG_TRANSLATE_AMD_COMGR_H
#define HG_TRANSLATE_AMD_COMGR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/status.h"

/* Whether it is there and knows a chip: "gfx1250". */
bool amd_comgr_knows(const char *chip);

/*
 * LLVM bitcode becomes a relocatable object, or such an object a code object, for a target as "amdgcn-amd-amdhsa--gfx90a:xnack-". *out is malloc'ed.
 * HG_ERR_UNAVAILABLE: no comgr; HG_ERR_UNSUPPORTED: it says no. Both with `why` (NUL-terminated, cut to fit). It keeps files in the
 * folder for temporary ones while it works. One call at a time, the others wait. Any thread.
 */
enum amd_comgr_action { AMD_COMGR_COMPILE, AMD_COMGR_LINK };
enum hg_status amd_comgr_make(enum amd_comgr_action action, const char *target, const void *in, size_t in_size, void **out,
			      size_t *out_size, char *why, size_t why_size) HG_MUST_CHECK;

#endif
