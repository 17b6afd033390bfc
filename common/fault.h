/* fault.h - points where a test makes hgshim fail. */
#ifndef HG_COMMON_FAULT_H
#define HG_COMMON_FAULT_H

#include <stdbool.h>

/*
 * HGSHIM_FAULT is a list of points, "name", "name:3" or "name:3+" separated by commas: the point fails
 * each time it is passed, the third time only, or from the third time on. Read once, at the first
 * point. True: the caller acts as if what follows had failed. One predicted branch when
 * the variable is not set.
 */
bool hg_fault_slow(const char *name);
extern _Atomic signed char hg_fault_state;	/* 0 not read yet, 1 there are points, -1 none */

static inline bool hg_fault(const char *name)
{
	return __builtin_expect(hg_fault_state >= 0, 0) && hg_fault_slow(name);
}

#endif
