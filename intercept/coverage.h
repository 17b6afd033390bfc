/* coverage.h - what of a process's state a snapshot holds, and what it does not. */
#ifndef HG_INTERCEPT_COVERAGE_H
#define HG_INTERCEPT_COVERAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

/* Filled in by the checkpoint as it goes. Zero-initialised is empty. */
struct hg_coverage {
	struct hg_writer uncovered;	/* JSON objects, separated by commas */
	size_t nr_uncovered;
	char first[256];		/* the first of them, as a phrase for people */
	uint64_t nr_regions, bytes;
};

/* Something that the snapshot will not bring back. The phrase names it. */
void hg_coverage_add(struct hg_coverage *c, const char *kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Everything that the process itself knows to be uncovered: calls without a record, unknown handles. */
void hg_coverage_scan(struct hg_coverage *c);
/* The manifest as JSON text, NUL-terminated, in `out`; out->failed: no memory. */
void hg_coverage_write(const struct hg_coverage *c, bool partial, struct hg_writer *out);
void hg_coverage_release(struct hg_coverage *c);

/*
 * Does a successful call of this symbol, which is not recorded, leave state behind that a restore lacks? A
 * call of which nothing is known does.
 */
bool hg_coverage_is_harmless(const char *symbol);

#endif
