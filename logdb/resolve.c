/* resolve.c - from what a user types to a log directory. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/logdb.h"

static bool is_log(const char *dir)
{
	char path[PATH_MAX + 64];
	struct stat s;

	snprintf(path, sizeof(path), "%s/log.mdb", dir);
	return !stat(path, &s) && S_ISREG(s.st_mode);
}

static bool is_number(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (!isdigit((unsigned char)*s))
			return false;
	return true;
}

/* Where logs lie when HGSHIM_LOG says nothing. False: there is no home. */
static bool state_dir(char out[PATH_MAX])
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n = -1;

	if (state && *state)
		n = snprintf(out, PATH_MAX, "%s/hgshim", state);
	else if (home && *home)
		n = snprintf(out, PATH_MAX, "%s/.local/state/hgshim", home);
	return n > 0 && n < PATH_MAX;
}

/* The newest log in the state directory, of those whose name ends in `suffix`. */
static enum hg_status newest(const char *suffix, char path[4096])
{
	char dir[PATH_MAX], best[PATH_MAX] = "";
	struct timespec best_time = { 0 };
	struct dirent *e;
	DIR *d;

	if (!state_dir(dir))
		return HG_ERR_NOTFOUND;
	d = opendir(dir);
	if (!d)
		return HG_ERR_NOTFOUND;
	for (e = readdir(d); e; e = readdir(d)) {
		size_t len = strlen(e->d_name), end = strlen(suffix);
		char one[PATH_MAX], file[PATH_MAX + 16];
		struct stat s;

		if (e->d_name[0] == '.' || len < end || strcmp(e->d_name + len - end, suffix))
			continue;
		if (snprintf(one, sizeof(one), "%s/%s", dir, e->d_name) >= (int)sizeof(one) || !is_log(one))
			continue;
		snprintf(file, sizeof(file), "%s/log.mdb", one);
		if (stat(file, &s))
			continue;
		if (!best[0] || s.st_mtim.tv_sec > best_time.tv_sec ||
		    (s.st_mtim.tv_sec == best_time.tv_sec && s.st_mtim.tv_nsec > best_time.tv_nsec)) {
			memcpy(best, one, sizeof(best));
			best_time = s.st_mtim;
		}
	}
	closedir(d);
	if (!best[0])
		return HG_ERR_NOTFOUND;
	snprintf(path, 4096, "%s", best);
	return HG_OK;
}

/* The directory of the control page that the process has mapped. */
static enum hg_status of_process(const char *pid, char path[4096])
{
	char maps[64], *line = NULL, dir[PATH_MAX], rooted[PATH_MAX + 32];
	enum hg_status st = HG_ERR_NOTFOUND;
	size_t capacity = 0;
	FILE *f;

	snprintf(maps, sizeof(maps), "/proc/%s/maps", pid);
	f = fopen(maps, "re");
	while (f && st && getline(&line, &capacity, f) > 0) {
		char *p = strchr(line, '/'), *end;
		struct stat inside, outside;

		line[strcspn(line, "\n")] = '\0';
		end = p ? strrchr(p, '/') : NULL;
		if (!end || end == p || strcmp(end, "/control") || end - p >= (ptrdiff_t)sizeof(dir))
			continue;
		*end = '\0';
		snprintf(dir, sizeof(dir), "%s", p);
		/* the process may have another root: its name for the directory is then not ours */
		snprintf(rooted, sizeof(rooted), "/proc/%s/root%s", pid, dir);
		if (!is_log(rooted))
			continue;
		if (!stat(rooted, &inside) && !stat(dir, &outside) && inside.st_dev == outside.st_dev &&
		    inside.st_ino == outside.st_ino)
			snprintf(path, 4096, "%s", dir);
		else
			snprintf(path, 4096, "%.4095s", rooted);
		st = HG_OK;
	}
	free(line);
	if (f)
		fclose(f);
	return st;
}

enum hg_status hg_log_resolve(const char *arg, char path[4096])
{
	char suffix[64];
	struct stat s;

	if (!arg) {
		if (!newest("", path))
			return HG_OK;
		pr_err("there is no log: neither a directory nor a pid is given, and none lies in the default place");
		return HG_ERR_NOTFOUND;
	}
	if (!stat(arg, &s) && S_ISDIR(s.st_mode)) {
		if (snprintf(path, 4096, "%s", arg) >= 4096) {
			pr_err("the name is too long: '%s'", arg);
			return HG_ERR_INVALID;
		}
		return HG_OK;
	}
	if (!is_number(arg)) {
		pr_err("cannot open the log '%s': %s", arg, strerror(stat(arg, &s) ? errno : ENOTDIR));
		return HG_ERR_NOTFOUND;
	}
	if (!of_process(arg, path))
		return HG_OK;
	snprintf(suffix, sizeof(suffix), "-%.20s", arg);
	if (!newest(suffix, path))
		return HG_OK;
	pr_err("process %s has no log, and none of an earlier process with that number lies in the default place", arg);
	return HG_ERR_NOTFOUND;
}
