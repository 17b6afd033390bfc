/* cpu_fault.h - turns signals raised by kernel code into a result, and leaves all others to the application. */
#ifndef HG_REPLAY_CPU_FAULT_H
#define HG_REPLAY_CPU_FAULT_H

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/cpu_abi.h"

/* What a thread keeps while it runs kernel code. One at a time for each thread. */
struct hg_cpu_run {
	sigjmp_buf back;
	int signo;		/* of the fault; 0: hg_cpu_fault_raise */
	uint32_t kind;		/* enum hg_cpu_fault, when signo is 0 */
	uint64_t addr;
	uint64_t pc;		/* of the instruction, of a fault in the kernel's own code; else 0 */
	struct hg_cpu_frame *frame;	/* of the warp that runs; the runner sets it */
	uint32_t lanes, line;	/* whose fault it was, and the PTX line; 0: not known here (the frame may know) */
	sigset_t mask;		/* of the thread before */
	unsigned int mxcsr;
};

/*
 * Installs the handlers of SIGSEGV, SIGBUS, SIGFPE and SIGILL, or puts them back in front if the application
 * has installed its own since; its handler then gets every signal that kernel code did not raise, as if hgshim
 * were not there. Cheap when nothing changed. Any thread.
 */
enum hg_status hg_cpu_fault_arm(void) HG_MUST_CHECK;
/* Gives the application's handlers back where ours are still in front. No kernel may be running. */
void hg_cpu_fault_disarm(void);

/*
 * Around kernel code: begin makes sure of an alternate signal stack, unblocks the four signals, and sets the
 * floating-point state that kernels expect; end undoes it. Between them, sigsetjmp(run->back, 0) must
 * have been called before kernel code runs: a fault returns there with 1, all four signals unblocked.
 */
enum hg_status hg_cpu_run_begin(struct hg_cpu_run *run) HG_MUST_CHECK;
void hg_cpu_run_end(struct hg_cpu_run *run);
/* Called by helpers of kernel code; does not return. Which lane and line is found out by what they were doing. */
void hg_cpu_fault_raise(uint32_t kind, uint64_t addr) __attribute__((noreturn));
/* The same of known lanes (bits) and a known line. */
void hg_cpu_fault_raise_at(uint32_t kind, uint64_t addr, uint32_t lanes, uint32_t line) __attribute__((noreturn));

#endif
