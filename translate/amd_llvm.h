/* amd_llvm.h - what LLVM and lld offer to C++ alone. Private to translate/. */
#ifndef HG_TRANSLATE_AMD_LLVM_H
#define HG_TRANSLATE_AMD_LLVM_H

#include <llvm-c/Types.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether LLVM knows a processor of AMD's by that name ("gfx90a"), and what it says of it. */
struct amd_llvm_chip { bool has_wave32, has_sramecc, has_xnack; };
bool amd_llvm_chip_find(const char *name, struct amd_llvm_chip *out);

/* The name of an atomic instruction's or a fence's scope ("workgroup", "" the system's), NUL-terminated, cut to fit. */
void amd_llvm_scope(LLVMValueRef insn, char *name, size_t size);

/*
 * Links one relocatable (ELF) with lld, without files or threads. *out is malloc'ed. On failure false, and `why` (NUL-terminated, cut to fit)
 * has what lld said. To be called by llvm_run, one call at a time in the process; once one was left in the middle there may be no other.
 */
bool amd_llvm_link(const void *object, size_t size, void **out, size_t *out_size, char *why, size_t why_size);

#ifdef __cplusplus
}
#endif

#endif
