/* status.c - names and exit codes of hg_status. */
#include "common/status.h"

#include <stddef.h>

static const char *const status_text[] = {
	[HG_OK]			= "done",
	[HG_ERR_NOMEM]		= "out of memory",
	[HG_ERR_IO]		= "input/output error",
	[HG_ERR_NOSPC]		= "no space left",
	[HG_ERR_CORRUPT]	= "damaged data",
	[HG_ERR_VERSION]	= "unknown version",
	[HG_ERR_NOTFOUND]	= "not found",
	[HG_ERR_INVALID]	= "invalid argument",
	[HG_ERR_UNSUPPORTED]	= "not supported",
	[HG_ERR_REFUSED]	= "refused",
	[HG_ERR_TIMEOUT]	= "timed out",
	[HG_ERR_FAULT]		= "a kernel failed",
	[HG_ERR_UNAVAILABLE]	= "not available on this machine",
	[HG_ERR_DIFFERS]	= "verification found differences",
};

const char *hg_status_text(enum hg_status st)
{
	if ((size_t)st >= sizeof(status_text) / sizeof(status_text[0]))
		return "unknown status";
	return status_text[st];
}

int hg_status_exit_code(enum hg_status st)
{
	switch (st) {
	case HG_OK:
		return 0;
	case HG_ERR_CORRUPT:
	case HG_ERR_VERSION:
		return 3;
	case HG_ERR_UNAVAILABLE:
		return 4;
	default:
		return 1;
	}
}
