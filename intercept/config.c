/* config.c - what the environment says about recording. */
#define _GNU_SOURCE
#include "intercept/config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static bool make_folder(const char *path)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return true;
	pr_err("cannot make '%s': %s", path, strerror(errno));
	return false;
}

/* Every folder above the last part of `path`. */
static bool make_parents(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		bool ok;

		*slash = 0;
		ok = access(path, F_OK) == 0 || make_folder(path);
		*slash = '/';
		if (!ok)
			return false;
	}
	return true;
}

static bool has_log(const char *dir)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/log.mdb", dir) >= (int)sizeof(path) || access(path, F_OK) == 0;
}

/*
 * A log is never written over: a process that finds one under its name (its parent had the same HGSHIM_LOG,
 * or it called exec and kept its pid) adds a number.
 */
static bool number_if_taken(char *path, size_t size)
{
	size_t len = strlen(path);

	for (int i = 2; has_log(path); i++)
		if (i > 9999 || snprintf(path + len, size - len, ".%d", i) >= (int)(size - len)) {
			pr_err("cannot find a free name for the log beside '%.*s'", (int)len, path);
			return false;
		}
	return true;
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
	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
	if (!(dir && *dir) && !make_parents(path))
		return false;
	return number_if_taken(path, size);
}
