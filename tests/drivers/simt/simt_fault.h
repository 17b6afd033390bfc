/* simt_fault.h - signals that a kernel's code raises become the end of its grid. Private to simt/. */
#ifndef TESTS_DRIVERS_SIMT_FAULT_H
#define TESTS_DRIVERS_SIMT_FAULT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

/*
 * Handlers of SIGSEGV, SIGBUS, SIGFPE and SIGILL stand only while some grid of the process is between arm and disarm. A
 * signal of a thread that is not between enter and leave goes to the handler that stood there before.
 */
struct simt_fault {
	void *stack;		/* for handlers: a fibre that overflows its own has none left. Allocated at first use, kept */
	stack_t before;
	bool replaced;		/* this thread's stack for handlers was `before` */
};
enum hg_status simt_fault_arm(struct simt_fault *f) HG_MUST_CHECK;
void simt_fault_disarm(struct simt_fault *f);	/* on the same thread */

/* This thread runs kernel code of `run` from here on. */
void simt_fault_enter(void *run);
void simt_fault_leave(void);

/* Defined by the scheduler: where a fibre goes on that raised a signal, on the stack that the other names. */
void simt_faulted(void *run, int signo, uint64_t addr) __attribute__((noreturn));
char *simt_fault_stack(void *run);	/* its top; what is on it is lost */

#endif
