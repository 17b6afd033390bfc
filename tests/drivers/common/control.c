/* control.c - the file by which a test counts and fails the calls of a double. */
#include "tests/drivers/common/control.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/msg.h"

void fake_control_name(struct fake_counter *c, const char *const *names, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (!c[i].name[0])
			strncpy(c[i].name, names[i], sizeof(c[i].name) - 1);
}

/* Another process may do the same now: the lock keeps the names whole. */
struct fake_counter *fake_control_open(const char *path, const char *const *names, size_t nr, struct fake_counter *own)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct fake_counter *c;
	struct stat st;

	if (fd < 0 || flock(fd, LOCK_EX) || fstat(fd, &st) ||
	    (st.st_size < (off_t)(nr * sizeof(*c)) && ftruncate(fd, (off_t)(nr * sizeof(*c)))))
		goto err;
	c = mmap(NULL, nr * sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c == MAP_FAILED)
		goto err;
	fake_control_name(c, names, nr);
	close(fd);
	return c;
err:
	pr_err("cannot use '%s' as the control file: %m", path);
	if (fd >= 0)
		close(fd);
	return own;
}
