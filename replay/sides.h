/* sides.h - what the launches of a log did to memory on several targets, side by side. */
#ifndef HG_REPLAY_SIDES_H
#define HG_REPLAY_SIDES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct hg_replay_report;

/*
 * A side is what was seen on one target. While a log is replayed there (hg_replay_options.side), each launch runs alone, and the
 * memory that it can reach is read before and after it: what an aligned word of its parameters points into, all variables of
 * modules, and what the aligned words of these point into. What a kernel reaches in another way is not looked at.
 * Then any two sides can be compared. Not thread-safe.
 */
struct hg_side_buffer {
	uint64_t addr, size;
	uint64_t before, after;		/* XXH3 of the bytes */
};

struct hg_side_launch {
	uint64_t seq;
	uint32_t kernel;		/* index into hg_sides.kernel */
	uint32_t stack;			/* of the call, 0: not kept */
	bool ended;			/* it did, and was looked at; else `after` means nothing */
	size_t first, nr;		/* of hg_side.buffer; by address */
};

/* Bytes of a buffer after a launch, kept when the replay comes there. */
struct hg_side_probe {
	uint64_t seq, addr, size;
	unsigned char *bytes;		/* NULL: it has not come there, or the buffer was another one */
};

struct hg_side_refused {
	uint32_t kernel;
	char *why;
};

struct hg_sides;

struct hg_side {
	struct hg_sides *sides;
	const char *target;
	enum hg_status status;		/* of its replay */
	char *stopped;			/* why it has not come to the end, or NULL */
	struct hg_side_launch *launch;	/* those that were looked at, as they came */
	size_t nr_launches;
	struct hg_side_buffer *buffer;
	size_t nr_buffers;
	struct hg_side_refused *refused;	/* kernels of loaded modules that the target cannot run, and the one whose launch it refused */
	size_t nr_refused;
	/* Not empty: the replay keeps these alone. Ascending by seq. */
	struct hg_side_probe *probe;
	size_t nr_probes;

	/* while it is filled */
	size_t launch_capacity, buffer_capacity;
	uint64_t count;			/* launches so far */
	bool is_looking;		/* at the launch that comes next */
	char said[512];			/* the last error while it was launched */
	unsigned char *part;
};

struct hg_sides {
	uint64_t each;			/* every so-manieth launch is looked at */
	char **kernel;			/* names */
	size_t nr_kernels;
	struct hg_side *side;
	size_t nr_sides;
};

/* How the launches of one kernel came out, compared with the same ones of another side. */
struct hg_agreement_kernel {
	uint64_t launches;		/* of the other side, that were looked at */
	uint64_t agree;			/* everything that the launch has changed is the same */
	uint64_t differ;		/* it began with the same bytes, and left others */
	uint64_t other_input;		/* it left others, and had begun with others */
	uint64_t changed;		/* of these: it changed something that was looked at, on one side at least */
	uint64_t seq;			/* the first that differs, 0: none does */
	uint64_t addr, size;		/* and the first buffer that it left otherwise */
};

struct hg_agreement {
	struct hg_agreement_kernel *kernel;	/* hg_sides.nr_kernels */
	/* Where the two part: the first launch that left other bytes, or began with others. 0: they do not. */
	uint64_t seq;
	uint32_t by, stack;
	bool is_made;			/* this launch made it: it had the same bytes to begin with */
	uint64_t last_equal;		/* not is_made: the last launch before that left the same; 0: none */
	uint64_t addr, size;		/* a buffer that differs there */
};

/* What two probes of one buffer say. */
struct hg_side_detail {
	bool is_seen;			/* both were kept, and they differ */
	uint64_t first, nr_bytes;	/* offset of the first byte that differs, how many do */
	uint64_t max_ulp;		/* as 32-bit floats; UINT32_MAX: too far, or no numbers */
	uint32_t value, other;		/* the word with that byte, on both sides; of the last word: what there is of it */
};

/* each: 1 or more. NULL: no memory. Free it with hg_sides_free, after all replays. */
struct hg_sides *hg_sides_new(uint64_t each, size_t nr_sides);
void hg_sides_free(struct hg_sides *s);		/* NULL is allowed */
/* Index of a kernel's name, a new one if need be; UINT32_MAX: no memory. */
uint32_t hg_sides_kernel(struct hg_sides *s, const char *name);
/* What the rows begin with: `buffer` gets the first, in ascending order. */
enum hg_status hg_side_launch_add(struct hg_side *s, uint64_t seq, const char *kernel, uint32_t stack) HG_MUST_CHECK;
enum hg_status hg_side_buffer_add(struct hg_side *s, const struct hg_side_buffer *b) HG_MUST_CHECK;
/* The replay is over, with this status, and its driver still open. report: NULL if it did not get so far. */
enum hg_status hg_side_end(struct hg_side *s, enum hg_status st, const struct hg_replay_report *report) HG_MUST_CHECK;

/* `s` compared with `other`, of the same hg_sides. Free the result with hg_agreement_free. */
enum hg_status hg_side_compare(const struct hg_side *other, const struct hg_side *s, struct hg_agreement *out) HG_MUST_CHECK;
void hg_agreement_free(struct hg_agreement *a);
/* Asks the next replay of a side for a buffer after a launch. */
enum hg_status hg_side_ask(struct hg_side *s, uint64_t seq, uint64_t addr, uint64_t size) HG_MUST_CHECK;
/* What was asked for at that launch and address, `s` compared with `other`. */
void hg_side_detail(const struct hg_side *other, const struct hg_side *s, uint64_t seq, uint64_t addr, struct hg_side_detail *out);

#endif
