/* cpu_fault.c - turns signals raised by kernel code into a result, and leaves all others to the application. */
#define _GNU_SOURCE
#include "replay/cpu_fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "common/msg.h"
#include "translate/cpu_rt.h"

/*
 * initial-exec: the handler runs in threads that never touched this library, where a block allocated on
 * first use would call malloc inside a signal handler.
 */
#define TLS static __thread __attribute__((tls_model("initial-exec")))
TLS struct hg_cpu_run *running;		/* non-NULL: this thread is in kernel code */
TLS const char *chain_frame;		/* stack position of the outermost handler that passes a signal on */
TLS unsigned int chain_depth;

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
#define NR_SIGNALS (sizeof(signals) / sizeof(signals[0]))

/* What stood in our place, newest first. Never freed: a handler on another thread may be reading it. */
struct previous {
	struct sigaction act;
	const struct previous *older;
	struct previous *next;		/* of all there ever were: none is freed, a handler may be looking at it */
};
static const struct previous *_Atomic previous[NR_SIGNALS];
static struct previous *all_previous;
static pthread_mutex_t arm_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t index_of(int signo)
{
	size_t i = 0;

	while (i < NR_SIGNALS - 1 && signals[i] != signo)
		i++;
	return i;
}

/* As the kernel does without a handler: the signal comes again, to nobody. */
static void act_default(int signo, const siginfo_t *info)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	sigaction(signo, &dfl, NULL);
	if (info->si_code <= 0)
		raise(signo);	/* sent by a process; a fault of the code itself happens again on return */
}

/*
 * An application's handler may pass the signal to the one it found, which can be ours: the deeper
 * the nesting, the older the handler that is asked. A handler that leaves by longjmp is noticed by
 * the stack: a later signal's frame does not lie below it.
 */
static void pass_on(int signo, siginfo_t *info, void *context)
{
	const struct previous *p = previous[index_of(signo)];
	const char *frame = __builtin_frame_address(0);
	sigset_t old;

	if (chain_depth && frame >= chain_frame)
		chain_depth = 0;
	for (unsigned int i = 0; p && i < chain_depth; i++)
		p = p->older;
	if (!p || (!(p->act.sa_flags & SA_SIGINFO) && p->act.sa_handler == SIG_DFL)) {
		act_default(signo, info);
		return;
	}
	if (!(p->act.sa_flags & SA_SIGINFO) && p->act.sa_handler == SIG_IGN) {
		if (info->si_code > 0)
			act_default(signo, info);	/* a fault cannot be ignored */
		return;
	}
	if (!chain_depth)
		chain_frame = frame;
	chain_depth++;
	pthread_sigmask(SIG_BLOCK, &p->act.sa_mask, &old);
	if (p->act.sa_flags & SA_NODEFER) {
		sigset_t self;

		sigemptyset(&self);
		sigaddset(&self, signo);
		pthread_sigmask(SIG_UNBLOCK, &self, NULL);
	}
	if (p->act.sa_flags & SA_RESETHAND) {
		struct sigaction dfl = { .sa_handler = SIG_DFL };

		sigaction(signo, &dfl, NULL);
	}
	if (p->act.sa_flags & SA_SIGINFO)
		p->act.sa_sigaction(signo, info, context);
	else
		p->act.sa_handler(signo);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	chain_depth--;
}

static void unblock(sigset_t *old)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < NR_SIGNALS; i++)
		sigaddset(&set, signals[i]);
	pthread_sigmask(SIG_UNBLOCK, &set, old);
}

/* Whose access it was, if a helper was at work: it says what it does. */
static void find_lanes(struct hg_cpu_run *run)
{
	const volatile struct hg_cpu_access *a = hg_cpu_rt_access();

	run->lanes = run->line = 0;
	if (a->addr) {
		run->line = a->line;
		for (uint32_t left = a->mask; left; left &= left - 1) {
			unsigned int lane = (unsigned int)__builtin_ctz(left);

			if (run->addr - a->addr[lane] < a->size) {
				run->lanes = UINT32_C(1) << lane;
				break;
			}
		}
	}
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	struct hg_cpu_run *run = running;
	int saved = errno;

	if (run && info->si_code > 0) {
		run->signo = signo;
		run->addr = (uintptr_t)info->si_addr;
		run->pc = hg_cpu_rt_access()->addr ? 0 : (uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
		find_lanes(run);
		unblock(NULL);
		siglongjmp(run->back, 1);
	}
	pass_on(signo, info, context);
	errno = saved;
}

void hg_cpu_fault_raise(uint32_t kind, uint64_t addr)
{
	struct hg_cpu_run *run = running;

	run->signo = 0;
	run->kind = kind;
	run->addr = addr;
	run->pc = 0;
	find_lanes(run);
	siglongjmp(run->back, 1);
}

void hg_cpu_fault_raise_at(uint32_t kind, uint64_t addr, uint32_t lanes, uint32_t line)
{
	struct hg_cpu_run *run = running;

	run->signo = 0;
	run->kind = kind;
	run->addr = addr;
	run->pc = 0;
	run->lanes = lanes;
	run->line = line;
	siglongjmp(run->back, 1);
}

static bool is_ours(const struct sigaction *act)
{
	return act->sa_flags & SA_SIGINFO && act->sa_sigaction == on_signal;
}

static enum hg_status arm(size_t i)
{
	struct sigaction ours = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK }, now;
	struct previous *p;

	if (sigaction(signals[i], NULL, &now) == 0 && is_ours(&now))
		return HG_OK;
	p = malloc(sizeof(*p));
	if (!p)
		return HG_ERR_NOMEM;
	p->act = now;
	p->older = previous[i];
	/* before it is installed: the first signal may come at once */
	previous[i] = p;
	sigemptyset(&ours.sa_mask);
	if (sigaction(signals[i], &ours, NULL) != 0) {
		pr_err("cannot install a handler for signal %d: %s", signals[i], strerror(errno));
		previous[i] = p->older;
		free(p);
		return HG_ERR_IO;
	}
	p->next = all_previous;
	all_previous = p;
	return HG_OK;
}

enum hg_status hg_cpu_fault_arm(void)
{
	enum hg_status st = HG_OK;
	bool armed = true;

	for (size_t i = 0; i < NR_SIGNALS; i++) {
		struct sigaction now;

		armed &= sigaction(signals[i], NULL, &now) == 0 && is_ours(&now);
	}
	if (armed)
		return HG_OK;
	pthread_mutex_lock(&arm_lock);
	for (size_t i = 0; i < NR_SIGNALS && !st; i++)
		st = arm(i);
	pthread_mutex_unlock(&arm_lock);
	return st;
}

void hg_cpu_fault_disarm(void)
{
	pthread_mutex_lock(&arm_lock);
	for (size_t i = 0; i < NR_SIGNALS; i++) {
		struct sigaction now;

		if (previous[i] && sigaction(signals[i], NULL, &now) == 0 && is_ours(&now)) {
			sigaction(signals[i], &previous[i]->act, NULL);
			previous[i] = NULL;
		}
	}
	pthread_mutex_unlock(&arm_lock);
}

/* ---- alternate signal stacks: a kernel may run over the end of its own ---- */

#define STACK_BYTES (64u << 10)

static pthread_key_t stack_key;
static bool has_stack_key;
static pthread_once_t stack_once = PTHREAD_ONCE_INIT;

static void stack_gone(void *stack)
{
	stack_t off = { .ss_flags = SS_DISABLE };

	sigaltstack(&off, NULL);
	munmap(stack, STACK_BYTES);
}

static void make_stack_key(void)
{
	has_stack_key = pthread_key_create(&stack_key, stack_gone) == 0;
}

static enum hg_status need_stack(void)
{
	stack_t s;
	void *mem;

	if (sigaltstack(NULL, &s) == 0 && !(s.ss_flags & SS_DISABLE))
		return HG_OK;
	pthread_once(&stack_once, make_stack_key);
	mem = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return HG_ERR_NOMEM;
	s = (stack_t){ .ss_sp = mem, .ss_size = STACK_BYTES };
	if (!has_stack_key || pthread_setspecific(stack_key, mem) != 0 || sigaltstack(&s, NULL) != 0) {
		munmap(mem, STACK_BYTES);
		return HG_ERR_NOMEM;
	}
	return HG_OK;
}

/* All exceptions masked, round to nearest, denormals kept. */
#define MXCSR_KERNEL 0x1f80u

enum hg_status hg_cpu_run_begin(struct hg_cpu_run *run)
{
	enum hg_status st = need_stack();

	if (st)
		return st;
	unblock(&run->mask);
	run->mxcsr = _mm_getcsr();
	_mm_setcsr(MXCSR_KERNEL);
	run->signo = 0;
	run->frame = NULL;
	((volatile struct hg_cpu_access *)hg_cpu_rt_access())->addr = NULL;
	running = run;
	return HG_OK;
}

void hg_cpu_run_end(struct hg_cpu_run *run)
{
	running = NULL;
	_mm_setcsr(run->mxcsr);
	pthread_sigmask(SIG_SETMASK, &run->mask, NULL);
}
