/* memory.h - how much more memory this process can have. */
#ifndef HG_COMMON_MEMORY_H
#define HG_COMMON_MEMORY_H

#include <stdint.h>

/*
 * Bytes, as far as anyone says: the machine's, less what the process's control groups and RLIMIT_AS leave of them. Files in
 * the page cache count as free. UINT64_MAX: nobody says. A moment later it may be less.
 */
uint64_t hg_memory_available(void);

/*
 * What the control groups leave: `groups` as /proc/self/cgroup, mounted at `mount`; version 1 in its folder `memory`, and
 * version 2. Every group from the process's own upwards has a say.
 */
uint64_t hg_memory_in_groups(const char *groups, const char *mount);

#endif
