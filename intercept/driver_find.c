/* driver_find.c - where the real driver's file is. */
#define _GNU_SOURCE
#include "intercept/driver_find.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/msg.h"

static const char cuda[] = "libcuda.so.1";

/* A 64-bit library for this machine, and neither hgshim itself nor the toolkit's stub. */
static bool is_candidate(const char *path, char out[PATH_MAX])
{
	unsigned char head[20];
	char self[PATH_MAX];
	Dl_info info;
	bool good;
	int fd;

	if (!realpath(path, out) || strstr(out, "/stubs/"))
		return false;
	if (dladdr((void *)is_candidate, &info) && realpath(info.dli_fname, self) && !strcmp(self, out))
		return false;
	fd = open(out, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	good = read(fd, head, sizeof(head)) == sizeof(head) && !memcmp(head, ELFMAG, SELFMAG) &&
	       head[EI_CLASS] == ELFCLASS64 && (head[18] | head[19] << 8) == EM_X86_64;
	close(fd);
	return good;
}

static bool in_folder(const char *name, const char *folder, size_t len, char out[PATH_MAX])
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%.*s/%s", (int)len, folder, name);

	return n > 0 && (size_t)n < sizeof(path) && is_candidate(path, out);
}

/* A list as in LD_LIBRARY_PATH; relative folders are left alone. */
static bool in_list(const char *name, const char *list, char out[PATH_MAX])
{
	while (list && *list) {
		size_t len = strcspn(list, ":;");

		if (len && *list == '/' && in_folder(name, list, len, out))
			return true;
		list += len;
		list += *list != 0;
	}
	return false;
}

/*
 * The dynamic loader's cache (glibc, sysdeps/generic/dl-cache.h, format 1.1): a header of 48 bytes, entries of 24
 * bytes, {i32 flags, u32 name, u32 path, u32, u64 hwcap}, whose strings are offsets from the header.
 */
bool hg_driver_in_cache(const void *data, size_t size, const char *want, bool (*each)(const char *path, void *arg), void *arg)
{
	static const char magic[] = "glibc-ld.so.cache1.1";
	const unsigned char *head = memmem(data, size, magic, sizeof(magic) - 1);
	struct hg_reader r;
	uint32_t nr;

	if (!head)
		return false;
	size -= (size_t)(head - (const unsigned char *)data);
	hg_reader_init(&r, head, size);
	hg_read_bytes(&r, sizeof(magic) - 1);
	nr = hg_read_u32(&r);
	hg_read_bytes(&r, 48 - (sizeof(magic) - 1) - 4);
	for (uint32_t i = 0; i < nr && !r.failed; i++) {
		uint32_t key, value;

		hg_read_u32(&r);
		key = hg_read_u32(&r);
		value = hg_read_u32(&r);
		hg_read_bytes(&r, 12);
		if (r.failed || key >= size || value >= size || !memchr(head + key, 0, size - key) ||
		    !memchr(head + value, 0, size - value))
			continue;
		if (!strcmp((const char *)head + key, want) && each((const char *)head + value, arg))
			return true;
	}
	return false;
}

static bool take_candidate(const char *path, void *arg)
{
	return is_candidate(path, arg);
}

static bool in_cache(const char *name, char out[PATH_MAX])
{
	int fd = open("/etc/ld.so.cache", O_RDONLY | O_CLOEXEC);
	struct stat st;
	bool found = false;
	void *data;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data != MAP_FAILED) {
			found = hg_driver_in_cache(data, (size_t)st.st_size, name, take_candidate, out);
			munmap(data, (size_t)st.st_size);
		}
	}
	close(fd);
	return found;
}

static bool search(const char *name, const char *given, char out[PATH_MAX])
{
	/* the distributions' folders, and where container runtimes and others put it */
	static const char usual[] = "/usr/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu/nvidia/current:/usr/lib64:/usr/lib:"
				    "/usr/lib64/nvidia:/usr/local/nvidia/lib64:/usr/local/nvidia/lib:/run/opengl-driver/lib:"
				    "/usr/lib/wsl/lib";

	if (given && *given)
		return is_candidate(given, out) || in_folder(name, given, strlen(given), out);
	return in_list(name, getenv("LD_LIBRARY_PATH"), out) || in_cache(name, out) || in_list(name, usual, out);
}

bool hg_driver_is_there(void)
{
	char path[PATH_MAX];

	return search(cuda, getenv("HGSHIM_DRIVER"), path);
}

bool hg_driver_has_library(const char *name)
{
	char path[PATH_MAX];

	return search(name, NULL, path);
}

enum hg_status hg_driver_find(char out[PATH_MAX])
{
	const char *given = getenv("HGSHIM_DRIVER");

	if (search(cuda, given, out))
		return HG_OK;
	if (given && *given) {
		pr_err("cannot use the driver '%s' of HGSHIM_DRIVER: it is not a CUDA driver for this machine%s%s", given,
		       access(given, R_OK) ? ": " : "", access(given, R_OK) ? strerror(errno) : "");
		return HG_ERR_UNAVAILABLE;
	}
	pr_err("cannot find NVIDIA's driver: no '%s' in LD_LIBRARY_PATH, in the loader's cache, or in the usual folders; "
	       "HGSHIM_DRIVER can name it", cuda);
	return HG_ERR_UNAVAILABLE;
}
