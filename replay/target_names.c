/* target_names.c - the targets' names, also for programs that have no target in them. */
#include "replay/target.h"

#include <string.h>

const char *const hg_target_names[] = { "cpu", "rocm", "level-zero", NULL };
const char hg_target_list[] = "cpu, rocm, level-zero";

static bool is_among(const char *const *names, const char *name)
{
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

bool hg_target_is_named(const char *name)
{
	return is_among(hg_target_names, name);
}

bool hg_target_is_planned(const char *name)
{
	static const char *const planned[] = { "cuda", NULL };

	return is_among(planned, name);
}
