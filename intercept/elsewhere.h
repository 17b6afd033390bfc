/* elsewhere.h - a thread that shares the program's descriptors, for those of hgshim that have their own. */
#ifndef HG_INTERCEPT_ELSEWHERE_H
#define HG_INTERCEPT_ELSEWHERE_H

#include <stdbool.h>

/*
 * What works on the log has a table of descriptors of its own, out of the program's reach. A vendor's runtime keeps descriptors
 * in the program's: it can only be called by a thread that shares them.
 *
 * hg_elsewhere_start: on a thread of the program, before the log is opened; a failure is said, and costs what needs it.
 * hg_elsewhere_mark: the calling thread is one that does not share the program's descriptors.
 * hg_elsewhere: false on any other thread, or when there is nobody to do it: the caller calls fn itself. True: fn was called,
 * on the other thread, and has returned. fn must not wait for the caller, nor call CUDA.
 */
void hg_elsewhere_start(void);
void hg_elsewhere_mark(void);
bool hg_elsewhere(void (*fn)(void *arg), void *arg);

#endif
