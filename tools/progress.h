/* progress.h - a progress bar, and what the command-line tools share. */
#ifndef HG_TOOLS_PROGRESS_H
#define HG_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A bar on stderr, drawn only when stderr is a terminal and not quiet; at most 20 times a second, by
 * the thread that calls. One at a time. Zero-initialised is a bar that is not there: update and end do nothing.
 */
struct hg_progress {
	const char *what;	/* "copying", lives as long as the bar */
	uint64_t total;		/* 0: not known; then only what is done is shown */
	uint64_t started_ns, drawn_ns;
	bool shown, bytes;
};

enum hg_progress_unit { HG_PROGRESS_ITEMS, HG_PROGRESS_BYTES };

void hg_progress_start(struct hg_progress *p, const char *what, enum hg_progress_unit unit, uint64_t total,
		       bool quiet);
void hg_progress_update(struct hg_progress *p, uint64_t done);
void hg_progress_total(struct hg_progress *p, uint64_t total);	/* it became known, or grew */
/* Wipes the bar, so that the next line begins clean. Call before any message. */
void hg_progress_end(struct hg_progress *p);

/* "1.5 GiB", "812 B". `text` is given back. */
const char *hg_text_bytes(uint64_t bytes, char text[16]);
/* "1.2 s", "35 ms", "12 us". */
const char *hg_text_ns(uint64_t ns, char text[16]);
/* A whole decimal or 0x number and nothing else; false otherwise, *out untouched. */
bool hg_text_number(const char *text, uint64_t *out);

/*
 * Says on stderr what is wrong with the command line, then how to get help; returns the exit code for
 * wrong usage, 2: `return hg_usage_error("unknown option '%s'", …)`.
 */
int hg_usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* stdout must have taken everything: false, with a message, when it did not (a full disk). */
bool hg_stdout_finish(void);

#endif
