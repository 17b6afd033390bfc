/* maps.h - what lies where in this process. */
#ifndef HG_INTERCEPT_MAPS_H
#define HG_INTERCEPT_MAPS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct hg_map {
	uint64_t start, end;
	int prot;			/* PROT_* */
	bool shared;
	char path[PATH_MAX];		/* of the file, "[heap]" and the like, or "" */
};

/*
 * Walks /proc/self/maps, ascending; stops at, and returns, the first result of `each` that is not 0; -1: it cannot be
 * read. The lines are read as it goes: what changes meanwhile may be seen or not. No malloc.
 */
int hg_maps_each(int (*each)(const struct hg_map *m, void *arg), void *arg);
/* The mapping that contains the address. */
bool hg_maps_find(uint64_t addr, struct hg_map *out);

#endif
