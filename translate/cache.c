/* cache.c - compiled code kept on disk by content, for several processes at once. */
#define _GNU_SOURCE
#include "translate/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/env.h"
#include "common/io.h"
#include "common/msg.h"

/* A file: this header, then the bytes. */
struct head {
	char magic[8];
	uint64_t size, digest;
	unsigned char key[16];
};
static const char magic[8] = "hgcache2";

/* Not a code object of any kernel: nothing larger is kept or read. */
#define MAX_ENTRY (UINT64_C(64) << 20)

#define TMP_PREFIX "tmp-"
#define ABANDONED_S 600

/*
 * Code is run as it is found: nobody else may be able to put any there. What is said about a folder that is not
 * fit is said once.
 */
static bool is_ours(int dir, const char *path)
{
	static _Atomic bool said;
	struct stat s;

	if (!fstat(dir, &s) && s.st_uid == geteuid() && !(s.st_mode & (S_IWGRP | S_IWOTH)))
		return true;
	if (!atomic_exchange(&said, true))
		pr_warn("the code cache '%s' is not used: others than its user could write in it", path);
	return false;
}

/* The folder and those above it. */
static void make_dirs(char *path)
{
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		mkdir(path, 0700);
		*p = '/';
	}
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		pr_debug("cannot make the code cache '%s': %s", path, strerror(errno));
}

/* A descriptor of the folder, made if need be; -1: no cache. */
static int open_dir(void)
{
	const char *text = getenv("HGSHIM_CACHE"), *home;
	char path[PATH_MAX];
	size_t n;
	int fd;

	if (text && !strcmp(text, "0"))
		return -1;
	if (text && *text) {
		n = (size_t)snprintf(path, sizeof(path), "%s", text);
	} else {
		text = getenv("XDG_CACHE_HOME");
		home = getenv("HOME");
		if (text && text[0] == '/')
			n = (size_t)snprintf(path, sizeof(path), "%s/hgshim", text);
		else if (home && home[0] == '/')
			n = (size_t)snprintf(path, sizeof(path), "%s/.cache/hgshim", home);
		else
			return -1;
	}
	if (n >= sizeof(path))
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		make_dirs(path);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0) {
		pr_debug("cannot open the code cache '%s': %s", path, strerror(errno));
	} else if (!is_ours(fd, path)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

#define NAME_SIZE 48
static void file_name(const unsigned char key[16], char name[NAME_SIZE])
{
	for (int i = 0; i < 16; i++)
		snprintf(name + i * 2, 3, "%02x", key[i]);
	strcpy(name + 32, ".o");
}

bool hg_cache_get(const unsigned char key[16], void **data, size_t *size)
{
	struct stat s;
	struct head h;
	char name[NAME_SIZE];
	void *bytes = NULL;
	int dir = open_dir(), fd;

	if (dir < 0)
		return false;
	file_name(key, name);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		goto out;
	if (fstat(fd, &s) || !S_ISREG(s.st_mode) || s.st_uid != geteuid() || !hg_read_all(fd, &h, sizeof(h)) ||
	    memcmp(h.magic, magic, sizeof(magic)) || memcmp(h.key, key, 16) || h.size > MAX_ENTRY ||
	    (uint64_t)s.st_size != sizeof(h) + h.size)
		goto damaged;
	bytes = malloc(h.size ? h.size : 1);
	if (!bytes)
		goto close;
	if (!hg_read_all(fd, bytes, h.size) || XXH3_64bits(bytes, h.size) != h.digest)
		goto damaged;
	*data = bytes;
	*size = h.size;
	/* last used now: the oldest go first */
	futimens(fd, NULL);
	close(fd);
	close(dir);
	return true;

damaged:
	pr_debug("removing the damaged cache file '%s'", name);
	free(bytes);
	unlinkat(dir, name, 0);
close:
	close(fd);
out:
	close(dir);
	return false;
}

static uint64_t limit(void)
{
	return hg_env_size("HGSHIM_CACHE_MAX", UINT64_C(512) << 20);
}

struct entry {
	struct timespec used;
	uint64_t size;
	char name[NAME_SIZE];
};

static int by_age(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

/* A file that was being written when its process was killed. */
static bool is_abandoned(const char *name, const struct stat *s)
{
	return !strncmp(name, TMP_PREFIX, strlen(TMP_PREFIX)) && s->st_mtim.tv_sec < time(NULL) - ABANDONED_S;
}

/* What file_name makes: no other file of the folder is the cache's. */
static bool is_entry(const char *name)
{
	return strspn(name, "0123456789abcdef") == 32 && !strcmp(name + 32, ".o");
}

/* Removes what was used longest ago until the rest fits. */
static void trim(int dir)
{
	struct entry *all = NULL;
	size_t nr = 0, room = 0;
	uint64_t total = 0, most = limit();
	struct dirent *d;
	int fd = dup(dir);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);

	if (!list) {
		if (fd >= 0)
			close(fd);
		return;
	}
	rewinddir(list);
	for (d = readdir(list); d; d = readdir(list)) {
		struct stat s;

		if (d->d_name[0] == '.' || strlen(d->d_name) >= NAME_SIZE ||
		    fstatat(dir, d->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(s.st_mode))
			continue;
		if (is_abandoned(d->d_name, &s)) {
			unlinkat(dir, d->d_name, 0);
			continue;
		}
		if (!is_entry(d->d_name) && strncmp(d->d_name, TMP_PREFIX, strlen(TMP_PREFIX)) != 0)
			continue;
		if (nr == room) {
			struct entry *more = realloc(all, (room + 256) * sizeof(*all));

			if (!more)
				break;
			all = more;
			room += 256;
		}
		all[nr] = (struct entry){ .used = s.st_mtim, .size = (uint64_t)s.st_size };
		strcpy(all[nr].name, d->d_name);
		total += all[nr++].size;
	}
	closedir(list);
	if (total > most)
		qsort(all, nr, sizeof(*all), by_age);
	for (size_t i = 0; i < nr && total > most; i++) {
		unlinkat(dir, all[i].name, 0);
		total -= all[i].size;
	}
	free(all);
}

/* Looking at every file takes longer than writing one: now and then is enough. */
static void trim_if_due(int dir, uint64_t added)
{
	static _Atomic uint64_t since = UINT64_MAX / 2;		/* the first time at once */

	if (atomic_fetch_add(&since, added) + added < limit() / 16)
		return;
	atomic_store(&since, 0);
	trim(dir);
}

void hg_cache_put(const unsigned char key[16], const void *data, size_t size)
{
	struct head h = { .size = size };
	char name[NAME_SIZE], tmp[NAME_SIZE];
	uint64_t random;
	bool written;
	int dir, fd;

	if (size > MAX_ENTRY)
		return;
	dir = open_dir();
	if (dir < 0)
		return;
	memcpy(h.magic, magic, sizeof(magic));
	memcpy(h.key, key, 16);
	h.digest = XXH3_64bits(data, size);
	file_name(key, name);
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		goto out;
	snprintf(tmp, sizeof(tmp), TMP_PREFIX "%016" PRIx64, random);
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		goto out;
	written = hg_write_all(fd, &h, sizeof(h)) && hg_write_all(fd, data, size);
	if (close(fd) != 0 || !written || renameat(dir, tmp, dir, name) != 0) {
		pr_debug("cannot write the cache file '%s': %s", name, strerror(errno));
		unlinkat(dir, tmp, 0);
		goto out;
	}
	trim_if_due(dir, sizeof(h) + size);
out:
	close(dir);
}

int hg_cache_lock(const unsigned char key[16])
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	int dir = open_dir(), fd;
	uint64_t place;

	if (dir < 0)
		return HG_CACHE_UNLOCKED;
	fd = openat(dir, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	close(dir);
	if (fd < 0)
		return HG_CACHE_UNLOCKED;
	/* a byte of the file for each key: the kernel drops the lock of a process that dies */
	memcpy(&place, key, sizeof(place));
	l.l_start = (off_t)(place >> 2);
	if (!fcntl(fd, F_OFD_SETLK, &l))
		return fd;
	place = errno == EAGAIN || errno == EACCES;
	close(fd);
	return place ? HG_CACHE_BUSY : HG_CACHE_UNLOCKED;
}

void hg_cache_unlock(int lock)
{
	if (lock >= 0)
		close(lock);
}
