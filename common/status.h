/* status.h - what a function of hgshim returns. */
#ifndef HG_COMMON_STATUS_H
#define HG_COMMON_STATUS_H

/*
 * The function that first knows which error it is logs it, once, with its subject in quotes
 * (common/msg.h); callers above it only return it. HG_ERR_NOMEM needs no message of its own.
 */
enum hg_status {
	HG_OK = 0,
	HG_ERR_NOMEM,
	HG_ERR_IO,		/* the operating system refused: disk, file, permission */
	HG_ERR_NOSPC,		/* no room left: disk, map, table, address range */
	HG_ERR_CORRUPT,		/* bytes that no hgshim wrote, or a damaged log */
	HG_ERR_VERSION,		/* a log or an image of a version that this hgshim does not read */
	HG_ERR_NOTFOUND,
	HG_ERR_INVALID,		/* the caller's or the user's argument is wrong */
	HG_ERR_UNSUPPORTED,	/* understood, and not something hgshim does */
	HG_ERR_REFUSED,		/* a state that must not be entered, e.g. an uncovered object */
	HG_ERR_TIMEOUT,
	HG_ERR_FAULT,		/* a kernel failed while it ran */
	HG_ERR_UNAVAILABLE,	/* the target or the driver is not on this machine */
	HG_ERR_DIFFERS,		/* verification found other bytes */
};

#define HG_MUST_CHECK __attribute__((warn_unused_result))

/* A constant English phrase such as "no space left"; never NULL. */
const char *hg_status_text(enum hg_status st);

/* Exit code of a tool: 0 done, 1 refused or differs, 3 damaged log, 4 target not available. */
int hg_status_exit_code(enum hg_status st);

#endif
