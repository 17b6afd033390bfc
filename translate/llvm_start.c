/* llvm_start.c - LLVM's options, and a way out of its fatal errors. */
#define _GNU_SOURCE
#include "translate/llvm_start.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>

#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Support.h>

#define STACK_BYTES ((size_t)16 << 20)

struct run {
	void (*work)(void *arg);
	void *arg;
	char *why;
	size_t why_size;
	bool is_done;
	jmp_buf leave;
};
static _Thread_local struct run *running;

void llvm_leave(const char *why)
{
	if (!running)
		return;
	snprintf(running->why, running->why_size, "%s", why);
	longjmp(running->leave, 1);
}

static void start(void)
{
	/* it ends the process when that returns */
	LLVMInstallFatalErrorHandler(llvm_leave);
	LLVMParseCommandLineOptions(2, (const char *const[]){ "hgshim", HG_LLVM_OPTION }, NULL);
}

void llvm_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, start);
}

static void *run_main(void *arg)
{
	struct run *r = arg;

	running = r;
	if (!setjmp(r->leave)) {
		r->work(r->arg);
		r->is_done = true;
	}
	running = NULL;
	return NULL;
}

bool llvm_run(void (*work)(void *arg), void *arg, char *why, size_t why_size)
{
	struct run r = { .work = work, .arg = arg, .why = why, .why_size = why_size };
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, &attr, run_main, &r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc) {
		snprintf(why, why_size, "no thread for the compiler");
		return false;
	}
	pthread_setname_np(thread, "hgshim-amd");
	pthread_join(thread, NULL);
	return r.is_done;
}
