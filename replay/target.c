/* target.c - the targets built in. */
#include "replay/target.h"

#include <string.h>

const struct hg_target_ops *const hg_targets[] = {
	&hg_target_cpu,
	&hg_target_rocm,
	&hg_target_ze,
	NULL,
};

const struct hg_target_ops *hg_target_by_name(const char *name)
{
	for (const struct hg_target_ops *const *t = hg_targets; *t; t++)
		if (!strcmp((*t)->name, name))
			return *t;
	return NULL;
}

bool (*hg_target_elsewhere)(void (*fn)(void *arg), void *arg);
bool (*hg_target_has_memory)(hg_dptr addr, uint64_t size);
