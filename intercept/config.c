/* config.c - what the environment says about recording. */
#define _GNU_SOURCE
#include "intercept/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"

/* Index of the variable's value among `values`; 0, the default, when it is not set or none of them. */
static int choice(const char *name, const char *const *values)
{
	const char *v = getenv(name);

	if (!v || !*v)
		return 0;
	for (int i = 0; values[i]; i++)
		if (!strcmp(v, values[i]))
			return i;
	pr_warn("%s is '%s': not known, '%s' is used", name, v, values[0]);
	return 0;
}

void hg_config_read(struct hg_recorder_config *out)
{
	static const char *const calls[] = { "tail", "all", "objects", NULL };
	static const char *const on[] = { "1", "0", NULL }, *const off[] = { "0", "1", NULL };

	memset(out, 0, sizeof(*out));
	_Static_assert(HG_CALLS_TAIL == 0 && HG_CALLS_ALL == 1 && HG_CALLS_OBJECTS == 2, "order of `calls`");
	out->calls = (enum hg_calls_mode)choice("HGSHIM_CALLS", calls);
	out->payload = choice("HGSHIM_PAYLOAD", on) == 0;
	out->stacks = choice("HGSHIM_STACKS", off) == 1;
}

bool hg_config_log_dir(char *path, size_t size)
{
	const char *dir = getenv("HGSHIM_LOG"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n;

	if (dir && *dir)
		n = snprintf(path, size, "%s", dir);
	else if (state && *state == '/')
		n = snprintf(path, size, "%s/hgshim/%s-%d", state, program_invocation_short_name, (int)getpid());
	else if (home && *home)
		n = snprintf(path, size, "%s/.local/state/hgshim/%s-%d", home, program_invocation_short_name,
			     (int)getpid());
	else {
		pr_err("cannot choose a directory for the log: none of HGSHIM_LOG, XDG_STATE_HOME, HOME is set");
		return false;
	}
	if (n < 0 || (size_t)n >= size) {
		pr_err("cannot use the log directory '%s': its path is too long", path);
		return false;
	}
	return true;
}
