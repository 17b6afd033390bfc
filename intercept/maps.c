/* maps.c - what lies where in this process. */
#define _GNU_SOURCE
#include "intercept/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool parse(const char *line, struct hg_map *m)
{
	char perm[8];
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*s %*s %*s %n", &m->start, &m->end, perm, &at) < 3 || !at)
		return false;
	m->prot = (perm[0] == 'r' ? PROT_READ : 0) | (perm[1] == 'w' ? PROT_WRITE : 0) | (perm[2] == 'x' ? PROT_EXEC : 0);
	m->shared = perm[3] == 's';
	snprintf(m->path, sizeof(m->path), "%s", line + at);
	return true;
}

int hg_maps_each(int (*each)(const struct hg_map *m, void *arg), void *arg)
{
	char buf[2 * PATH_MAX];
	size_t have = 0;
	struct hg_map m;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -1;
	while (!r) {
		ssize_t n = read(fd, buf + have, sizeof(buf) - 1 - have);
		char *line = buf, *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -1 : 0;
			break;
		}
		have += (size_t)n;
		buf[have] = 0;
		for (end = strchr(line, '\n'); end && !r; end = strchr(line, '\n')) {
			*end = 0;
			if (parse(line, &m))
				r = each(&m, arg);
			line = end + 1;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
		if (have == sizeof(buf) - 1)	/* longer than any line can be */
			have = 0;
	}
	close(fd);
	return r;
}

struct search {
	uint64_t addr;
	struct hg_map *out;
};

static int contains(const struct hg_map *m, void *arg)
{
	const struct search *s = arg;

	if (s->addr < m->start || s->addr >= m->end)
		return 0;
	*s->out = *m;
	return 1;
}

bool hg_maps_find(uint64_t addr, struct hg_map *out)
{
	struct search s = { addr, out };

	return hg_maps_each(contains, &s) == 1;
}
