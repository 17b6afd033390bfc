/* memory.c - how much more memory this process can have. */
#define _GNU_SOURCE
#include "common/memory.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A file of one number; false: there is none, or it says "max". */
static bool number_in(const char *folder, const char *name, uint64_t *out)
{
	char path[PATH_MAX];
	unsigned long long n;
	bool found = false;
	FILE *f;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	found = fscanf(f, "%llu", &n) == 1;
	fclose(f);
	if (found)
		*out = n;
	return found;
}

/* Pages of files, which the kernel takes back when they are wanted. */
static uint64_t cache_in(const char *folder, const char *prefix)
{
	char path[PATH_MAX], line[128], name[64];
	unsigned long long n;
	uint64_t bytes = 0;
	FILE *f;

	if (snprintf(path, sizeof(path), "%s/memory.stat", folder) >= (int)sizeof(path))
		return 0;
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %llu", name, &n) == 2 && !strncmp(name, prefix, strlen(prefix)) &&
		    (!strcmp(name + strlen(prefix), "inactive_file") || !strcmp(name + strlen(prefix), "active_file")))
			bytes += n;
	if (f)
		fclose(f);
	return bytes;
}

static const struct version {
	const char *key, *folder;	/* of its line, behind the number; below the mount */
	const char *limit, *used, *prefix;
} versions[] = {
	{ ":memory:", "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_" },
	{ "::", "", "memory.max", "memory.current", "" },
};

static uint64_t in_group(const char *folder, const struct version *v)
{
	uint64_t limit, used, cache;

	if (!number_in(folder, v->limit, &limit) || !number_in(folder, v->used, &used))
		return UINT64_MAX;
	cache = cache_in(folder, v->prefix);
	used = cache < used ? used - cache : 0;
	return limit > used ? limit - used : 0;
}

static uint64_t in_group_and_above(const char *mount, const char *group, const struct version *v)
{
	uint64_t bytes = UINT64_MAX;
	char folder[PATH_MAX];
	size_t root;

	if (snprintf(folder, sizeof(folder), "%s%s%s", mount, v->folder, group) >= (int)sizeof(folder))
		return bytes;
	root = strlen(mount) + strlen(v->folder);
	for (;;) {
		char *slash;

		bytes = smaller(bytes, in_group(folder, v));
		slash = strrchr(folder + root, '/');
		if (!slash)
			return bytes;
		*slash = 0;
	}
}

uint64_t hg_memory_in_groups(const char *groups, const char *mount)
{
	uint64_t bytes = UINT64_MAX;
	char line[PATH_MAX];
	FILE *f = fopen(groups, "re");

	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		line[strcspn(line, "\n")] = 0;
		for (size_t i = 0; colon && i < sizeof(versions) / sizeof(versions[0]); i++)
			if (!strncmp(colon, versions[i].key, strlen(versions[i].key)))
				bytes = smaller(bytes, in_group_and_above(mount, colon + strlen(versions[i].key), &versions[i]));
	}
	if (f)
		fclose(f);
	return bytes;
}

static uint64_t in_machine(void)
{
	uint64_t bytes = UINT64_MAX;
	unsigned long long kib;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			bytes = (uint64_t)kib << 10;
	if (f)
		fclose(f);
	return bytes;
}

static uint64_t in_addresses(void)
{
	unsigned long long pages;
	struct rlimit limit;
	uint64_t used = 0;
	FILE *f;

	if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	f = fopen("/proc/self/statm", "re");
	if (f && fscanf(f, "%llu", &pages) == 1)
		used = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
	if (f)
		fclose(f);
	return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

uint64_t hg_memory_available(void)
{
	return smaller(smaller(in_machine(), in_addresses()), hg_memory_in_groups("/proc/self/cgroup", "/sys/fs/cgroup"));
}
