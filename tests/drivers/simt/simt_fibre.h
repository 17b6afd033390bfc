/* simt_fibre.h - stacks, and switching between them. Private to simt/. */
#ifndef TESTS_DRIVERS_SIMT_FIBRE_H
#define TESTS_DRIVERS_SIMT_FIBRE_H

#include <stddef.h>

#include "common/status.h"

/*
 * A fibre is a stack and the registers that a call keeps. It stays with the thread that made it, and may be
 * forgotten at any switch: nothing on it is ever cleaned up.
 */
struct simt_fibre {
	void *sp;
	char *bottom;		/* of its stack; NULL: the thread's own */
	size_t size;
	void *fake;		/* ASan's */
};

/* `f->bottom` and `size` are set; the next switch to it calls fn(arg), which must not return. */
void simt_fibre_start(struct simt_fibre *f, size_t colour, void (*fn)(void *), void *arg);
/* The first thing that fn does. */
void simt_fibre_entered(void);
void simt_fibre_switch(struct simt_fibre *from, struct simt_fibre *to);
/* What is on its stack is lost: another use of it begins. Safe in a signal handler. */
void simt_fibre_forget(const struct simt_fibre *f);

/* Stacks, each with a page below it that nobody may touch; kept from grid to grid. */
struct simt_stacks {
	size_t nr;
	char **chunk;		/* SIMT_CHUNK of them each */
	size_t nr_chunks;
};
#define SIMT_STACK (128u << 10)
#define SIMT_CHUNK 64

enum hg_status simt_stacks_need(struct simt_stacks *s, size_t nr) HG_MUST_CHECK;
char *simt_stack(const struct simt_stacks *s, size_t i);	/* the bottom of one */
void simt_stacks_free(struct simt_stacks *s);

#endif
