/* test_memory.c - how much memory the process's control groups and limits leave it. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory.h"

static char root[] = "/tmp/hg-memory-XXXXXX";
static char groups[64];

static void put(const char *path, const char *text)
{
	char full[256], *slash;
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (slash = full + sizeof(root); *slash; slash++)
		if (*slash == '/') {
			*slash = 0;
			(void)mkdir(full, 0700);
			*slash = '/';
		}
	f = fopen(full, "w");
	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

static void begin(void)
{
	cr_assert_not_null(mkdtemp(root));
	snprintf(groups, sizeof(groups), "%s/groups", root);
}

static void end(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_expect_eq(system(command), 0);
}

Test(memory, is_what_the_narrowest_group_leaves, .init = begin, .fini = end)
{
	put("groups", "0::/job/step\n");
	put("memory.current", "5000\n");
	put("job/memory.max", "10000\n");
	put("job/memory.current", "9000\n");
	put("job/memory.stat", "anon 2000\nfile 7000\ninactive_file 4000\nactive_file 2500\n");
	put("job/step/memory.max", "max\n");
	put("job/step/memory.current", "100\n");
	cr_expect_eq(hg_memory_in_groups(groups, root), 10000 - 9000 + 6500, "files are not in the way");
	put("job/step/memory.max", "600\n");
	cr_expect_eq(hg_memory_in_groups(groups, root), 500);
	put("job/step/memory.max", "50\n");
	cr_expect_eq(hg_memory_in_groups(groups, root), 0);
}

Test(memory, is_asked_of_the_old_kind_of_groups_too, .init = begin, .fini = end)
{
	put("groups", "5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n");
	put("memory/a/b/memory.limit_in_bytes", "3000\n");
	put("memory/a/b/memory.usage_in_bytes", "2000\n");
	put("memory/a/b/memory.stat", "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 200\n");
	cr_expect_eq(hg_memory_in_groups(groups, root), 1500);
	put("memory/a/memory.limit_in_bytes", "1200\n");
	put("memory/a/memory.usage_in_bytes", "1100\n");
	cr_expect_eq(hg_memory_in_groups(groups, root), 100);
}

Test(memory, without_groups_is_not_limited_by_them, .init = begin, .fini = end)
{
	put("groups", "0::/\n");
	cr_expect_eq(hg_memory_in_groups(groups, root), UINT64_MAX);
	cr_expect_eq(hg_memory_in_groups("/nowhere", root), UINT64_MAX);
}

Test(memory, is_limited_by_the_addresses_that_the_process_may_use)
{
	unsigned long long pages;
	struct rlimit limit;
	FILE *f = fopen("/proc/self/statm", "r");

	cr_assert(f && fscanf(f, "%llu", &pages) == 1);
	fclose(f);
	cr_assert_eq(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = pages * (unsigned long long)sysconf(_SC_PAGESIZE) + (16 << 20);
	cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
	cr_expect_leq(hg_memory_available(), 16 << 20);
}
