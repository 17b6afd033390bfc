/* simt_fault.c - signals that a kernel's code raises become the end of its grid. */
#define _GNU_SOURCE
#include "tests/drivers/simt/simt_fault.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
#define NR_SIGNALS (sizeof(signals) / sizeof(signals[0]))
#define STACK (64u << 10)

/* initial-exec: the handler may run in a thread that never touched this. */
static __thread __attribute__((tls_model("initial-exec"))) void *running;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int users;
static struct sigaction before[NR_SIGNALS];

static void pass_on(int signo, siginfo_t *info, void *context)
{
	const struct sigaction *act = &before[0];

	for (size_t i = 0; i < NR_SIGNALS; i++)
		if (signals[i] == signo)
			act = &before[i];
	if (act->sa_flags & SA_SIGINFO) {
		act->sa_sigaction(signo, info, context);
	} else if (act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN) {
		act->sa_handler(signo);
	} else if (act->sa_handler == SIG_DFL || info->si_code > 0) {
		/* it comes again, to nobody */
		struct sigaction dfl = { .sa_handler = SIG_DFL };

		sigaction(signo, &dfl, NULL);
		if (info->si_code <= 0)
			raise(signo);
	}
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	void *run = running;

	if (!run || info->si_code <= 0) {
		pass_on(signo, info, context);
		return;
	}
	/* as if the code had called it, at the top of its stack: nothing there is needed any more */
	running = NULL;
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)simt_faulted;
	uc->uc_mcontext.gregs[REG_RDI] = (greg_t)(uintptr_t)run;
	uc->uc_mcontext.gregs[REG_RSI] = signo;
	uc->uc_mcontext.gregs[REG_RDX] = (greg_t)(uintptr_t)info->si_addr;
	uc->uc_mcontext.gregs[REG_RSP] = (greg_t)(((uintptr_t)simt_fault_stack(run) & ~(uintptr_t)63) - 8);
	uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)0x400;	/* the direction of string instructions */
}

enum hg_status simt_fault_arm(struct simt_fault *f)
{
	struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t mine = { .ss_size = STACK };

	if (!f->stack)
		f->stack = malloc(STACK);
	if (!f->stack)
		return HG_ERR_NOMEM;
	mine.ss_sp = f->stack;
	f->replaced = sigaltstack(&mine, &f->before) == 0;
	sigemptyset(&act.sa_mask);
	pthread_mutex_lock(&lock);
	if (users++ == 0)
		for (size_t i = 0; i < NR_SIGNALS; i++) {
			struct sigaction old;

			sigaction(signals[i], &act, &old);
			/* ours, if somebody put it back who had found it */
			if (!(old.sa_flags & SA_SIGINFO) || old.sa_sigaction != on_signal)
				before[i] = old;
		}
	pthread_mutex_unlock(&lock);
	return HG_OK;
}

void simt_fault_disarm(struct simt_fault *f)
{
	pthread_mutex_lock(&lock);
	if (--users == 0)
		for (size_t i = 0; i < NR_SIGNALS; i++) {
			struct sigaction now;

			/* not if another took our place meanwhile: it passes on what we get */
			if (!sigaction(signals[i], NULL, &now) && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_signal)
				sigaction(signals[i], &before[i], NULL);
		}
	pthread_mutex_unlock(&lock);
	if (f->replaced)
		sigaltstack(&f->before, NULL);
}

void simt_fault_enter(void *run)
{
	running = run;
}

void simt_fault_leave(void)
{
	running = NULL;
}
