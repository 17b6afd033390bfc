/* env.c - settings of the environment. */
#include "common/env.h"

#include <errno.h>
#include <stdlib.h>

#include "common/msg.h"

uint64_t hg_env_size(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	unsigned int shift = 0;
	uint64_t n;
	char *end;

	if (!text || !*text)
		return otherwise;
	errno = 0;
	n = strtoull(text, &end, 10);
	switch (*end) {
	case 'K': shift = 10; end++; break;
	case 'M': shift = 20; end++; break;
	case 'G': shift = 30; end++; break;
	default: break;
	}
	if (errno || *end || end == text || n > UINT64_MAX >> shift) {
		pr_warn("%s='%s' is not a size", name, text);
		return otherwise;
	}
	return n << shift;
}
