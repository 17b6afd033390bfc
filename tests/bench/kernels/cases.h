/* cases.h - data, launches and expected results of kernels.cu, the same for both implementations. */
#ifndef HG_BENCH_CASES_H
#define HG_BENCH_CASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_BUFFERS 5
#define MAX_ARGS 6

struct arg {
	enum { ARG_BUFFER, ARG_INT, ARG_FLOAT } kind;
	union { int i; float f; };	/* of a buffer: its number */
};

/* What runs kernels; a launch that fails sets `failed` and says why. */
struct machine {
	void (*launch)(struct machine *m, const char *kernel, const int grid[2], const int block[2], const struct arg *arg,
		       int nr_args);
	bool failed;
};

struct buffer {
	void *data;
	size_t bytes;
};

struct bench {
	const char *name;
	int nr_buffers;
	void (*prepare)(struct buffer *b);		/* allocates and fills */
	void (*reset)(struct buffer *b);		/* before each run: what the kernels change in place; may be NULL */
	void (*run)(struct machine *m);
	/* NULL: the result is right; else what is wrong. */
	const char *(*check)(const struct buffer *b);
};

extern const struct bench benches[];	/* ends with a NULL name */

/* What a run took, in ms: by the clock, and of processors, all threads of the process together. */
struct cost { double wall, cpu; };
struct cost now(void);
struct cost since(struct cost start);

#endif
