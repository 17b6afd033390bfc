/* test_driver_find.c - where the real driver is looked for. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "intercept/driver_find.h"
#include "intercept/executor.h"
#include "intercept/maps.h"

/* A loader's cache of two entries, as glibc lays it out. */
static size_t make_cache(unsigned char *out)
{
	static const char magic[] = "glibc-ld.so.cache1.1";
	static const char text[] = "libcuda.so.1\0/somewhere/libcuda.so.1\0libc.so.6\0/lib/libc.so.6";
	uint32_t strings = 48 + 2 * 24, entry[2][6] = {
		{ 1, strings + 36, strings + 46 }, { 1, strings, strings + 13 },
	};
	uint32_t nr = 2;

	memset(out, 0, 48);
	memcpy(out, magic, sizeof(magic) - 1);
	memcpy(out + sizeof(magic) - 1, &nr, 4);
	memcpy(out + 48, entry, sizeof(entry));
	memcpy(out + strings, text, sizeof(text));
	return strings + sizeof(text);
}

static bool keep(const char *path, void *arg)
{
	strcpy(arg, path);
	return true;
}

Test(driver_find, reads_the_loaders_cache)
{
	unsigned char cache[512];
	char found[256] = "";
	size_t size = make_cache(cache);

	cr_expect(hg_driver_in_cache(cache, size, "libcuda.so.1", keep, found));
	cr_expect_str_eq(found, "/somewhere/libcuda.so.1");
	cr_expect_not(hg_driver_in_cache(cache, size, "libnothing.so", keep, found));
}

Test(driver_find, a_cut_cache_is_read_as_far_as_it_goes)
{
	unsigned char cache[512], *cut;
	char found[256];
	size_t size = make_cache(cache);

	/* in a block of its own, so that a sanitizer sees what is read behind it */
	for (size_t n = 0; n < size; n++) {
		cut = malloc(n + 1);
		memcpy(cut, cache, n);
		(void)hg_driver_in_cache(cut, n, "libcuda.so.1", keep, found);
		free(cut);
	}
}

static char said[512];

static void sink(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	strncat(said, line, sizeof(said) - strlen(said) - 1);
}

Test(driver_find, a_named_driver_that_is_none_is_refused_by_name)
{
	char path[PATH_MAX];

	hg_msg_sink_set(sink, NULL);
	setenv("HGSHIM_DRIVER", "/etc/passwd", 1);
	cr_expect_eq(hg_driver_find(path), HG_ERR_UNAVAILABLE);
	cr_expect(strstr(said, "/etc/passwd"));
	setenv("HGSHIM_DRIVER", "/nowhere/libcuda.so.1", 1);
	cr_expect_eq(hg_driver_find(path), HG_ERR_UNAVAILABLE);
	cr_expect(strstr(said, "/nowhere/libcuda.so.1"));
	hg_msg_sink_set(NULL, NULL);
}

/* ---- which target `auto` is ---- */

static const char *pretend;	/* a path that is there */

/* In place of the C library's: for the programs of this file alone. */
int access(const char *path, int mode)
{
	if (pretend && !strcmp(path, pretend))
		return 0;
	return faccessat(AT_FDCWD, path, mode, 0);
}

Test(executor, auto_is_cpu_where_there_is_a_kernel_driver_and_no_library)
{
	const struct hg_executor *e;
	const char *target;

	unsetenv("HGSHIM_TARGET");
	unsetenv("HGSHIM_DRIVER");
	if (hg_driver_is_there())
		cr_skip_test("this machine has NVIDIA's library");
	hg_msg_sink_set(sink, NULL);
	pretend = "/proc/driver/nvidia/version";
	cr_assert_eq(hg_executor_choose(&e, &target), HG_OK);
	cr_expect_str_eq(target, "cpu");
	cr_expect(strstr(said, "libcuda.so.1"), "%s", said);
	/* a driver that was named is the one that is meant */
	setenv("HGSHIM_DRIVER", "/nowhere/libcuda.so.1", 1);
	cr_assert_eq(hg_executor_choose(&e, &target), HG_OK);
	cr_expect_str_eq(target, "cuda");
	hg_msg_sink_set(NULL, NULL);
}

Test(maps, finds_the_mapping_of_an_address)
{
	static const int here;
	struct hg_map m;

	cr_assert(hg_maps_find((uintptr_t)&here, &m));
	cr_expect(m.start <= (uintptr_t)&here && (uintptr_t)&here < m.end);
	cr_expect_eq(m.path[0], '/');
	cr_expect_not(hg_maps_find(8, &m));
}
