/* kernel.c - kernels (to come). */
#include "tests/drivers/ze/ze.h"

void zd_launch_run(struct zd_device *d, const struct zd_launch *l)
{
	(void)d;
	(void)l;
}

void zd_launch_free(struct zd_launch *l)
{
	(void)l;
}

bool zd_launch_uses(const struct zd_launch *l, uint64_t start, uint64_t size)
{
	(void)l;
	(void)start;
	(void)size;
	return false;
}
