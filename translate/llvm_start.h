/* llvm_start.h - what all of hgshim's compilers share of LLVM, which has one state for the whole process. Private to translate/. */
#ifndef HG_TRANSLATE_LLVM_START_H
#define HG_TRANSLATE_LLVM_START_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Takes time in the square of the number of masks that live in general registers: all of them, in the CPU's fast tier. */
#define HG_LLVM_OPTION "-disable-x86-domain-reassignment"

/* Before anything else is asked of LLVM; done once. */
void llvm_start(void);

/*
 * LLVM ends the process when it finds something that it cannot compile. Calls work(arg) on a thread of its own, with a stack that suffices for any code and
 * without signals, and waits for it. False: it was left in the middle by such an error, whose text is in `why` (NUL-terminated, cut to
 * fit); what it held is lost.
 */
bool llvm_run(void (*work)(void *arg), void *arg, char *why, size_t why_size);

/* Leaves the work that this thread does for llvm_run. Returns where there is none. */
void llvm_leave(const char *why);

#ifdef __cplusplus
}
#endif

#endif
