/* gate.c - what every call passes, and what a checkpoint closes. */
#define _GNU_SOURCE
#include "intercept/gate.h"

#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/msg.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

struct hg_gate_page hg_gate __attribute__((aligned(4096)));
_Static_assert(sizeof(hg_gate) == 4096, "the gate has a page to itself: it is wiped in forked children");

__thread struct hg_thread *hg_tls __attribute__((tls_model("initial-exec")));
__thread bool hg_tls_per_thread __attribute__((tls_model("initial-exec")));

/* Blocks of thread states, only ever added; walked without a lock. */
#define NR_PER_BLOCK 255
struct block {
	struct hg_thread thread[NR_PER_BLOCK];
	struct block *next;
};

static _Atomic(struct block *) blocks;
static pthread_mutex_t block_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t thread_key;
static bool has_membarrier, has_key;

static long sys_membarrier(int cmd)
{
	return syscall(SYS_membarrier, cmd, 0, 0);
}

static void futex(int op, uint32_t value, const struct timespec *timeout)
{
	syscall(SYS_futex, (uint32_t *)&hg_gate.word, op, value, timeout, NULL, 0);
}

/*
 * Thread exit. A destructor of the application that runs after this one and calls CUDA makes the thread known
 * again; pthread then runs this once more.
 */
static void thread_gone(void *arg)
{
	struct hg_thread *t = arg;

	hg_tls = NULL;
	atomic_store_explicit(&t->inside, 0, memory_order_release);
	atomic_store_explicit(&t->used, 0, memory_order_release);
}

void hg_gate_init(void)
{
	/* where the kernel cannot wipe the page, the handler of pthread_atfork clears the word */
	(void)madvise(&hg_gate, sizeof(hg_gate), MADV_WIPEONFORK);
	/* refused by old kernels and by the filters of some containers: then the fast side fences */
	has_membarrier = !hg_fault("gate.membarrier") && sys_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
	/* a program may have used all keys up: then the state of threads that end is not used again */
	has_key = pthread_key_create(&thread_key, thread_gone) == 0;
}

static struct hg_thread *thread_claim(void)
{
	struct block *b;

	for (b = atomic_load(&blocks); b; b = b->next)
		for (size_t i = 0; i < NR_PER_BLOCK; i++)
			if (!atomic_exchange(&b->thread[i].used, 1))
				return &b->thread[i];
	b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b == MAP_FAILED)
		return NULL;
	b->next = atomic_load(&blocks);
	atomic_store(&b->thread[0].used, 1);
	atomic_store(&blocks, b);
	return &b->thread[0];
}

struct hg_thread *hg_thread_self(void)
{
	struct hg_thread *t = hg_tls;

	if (t)
		return t;
	pthread_mutex_lock(&block_lock);
	t = thread_claim();
	pthread_mutex_unlock(&block_lock);
	if (!t) {
		static atomic_flag said = ATOMIC_FLAG_INIT;

		if (!atomic_flag_test_and_set(&said))
			pr_err("cannot keep state for another thread: no memory");
		return NULL;
	}
	t->exempt = 0;
	t->unfinished = 0;
	t->ctx_known = 0;
	t->ctx_depth = 0;
	if (has_key)
		pthread_setspecific(thread_key, t);
	hg_tls = t;
	return t;
}

static bool word_lets_in(uint32_t word)
{
	return word == HG_GATE_OPEN || word == HG_GATE_FENCED;
}

bool hg_gate_enter_rare(struct hg_thread **out, bool *nested)
{
	uint32_t word = atomic_load_explicit(&hg_gate.word, memory_order_acquire);
	struct hg_thread *t;

	/* before the thread's state is looked at: in a forked child it is a copy of the parent's */
	if (word == HG_GATE_NONE || word == HG_GATE_ENDED)
		return false;
	t = hg_thread_self();
	if (!t)
		return false;
	*out = t;
	/* a nested call must not wait at a closed gate: the closing side waits for the outer one to end */
	*nested = atomic_load_explicit(&t->inside, memory_order_relaxed);
	if (*nested)
		return true;
	atomic_store_explicit(&t->inside, 1, memory_order_relaxed);
	return hg_gate_wait(t);
}

static void (*adopt_thread)(struct hg_thread *t);

struct hg_thread *hg_gate_each(bool (*check)(const struct hg_thread *t))
{
	for (struct block *b = atomic_load(&blocks); b; b = b->next)
		for (size_t i = 0; i < NR_PER_BLOCK; i++)
			if (atomic_load(&b->thread[i].used) && !check(&b->thread[i]))
				return &b->thread[i];
	return NULL;
}

static bool mark_moved(const struct hg_thread *t)
{
	/* its thread is not inside, nor in a callback: nobody else writes this */
	atomic_fetch_or(&((struct hg_thread *)(uintptr_t)t)->exempt, HG_THREAD_MOVED);
	return true;
}

void hg_gate_moved(void (*adopt)(struct hg_thread *t))
{
	adopt_thread = adopt;
	(void)hg_gate_each(mark_moved);
}

/* With t->inside set. */
bool hg_gate_wait(struct hg_thread *t)
{
	for (;;) {
		uint32_t word;

		atomic_thread_fence(memory_order_seq_cst);
		word = atomic_load_explicit(&hg_gate.word, memory_order_acquire);
		if (word_lets_in(word)) {
			if (__builtin_expect(atomic_load(&t->exempt) & HG_THREAD_MOVED, 0)) {
				atomic_fetch_and(&t->exempt, ~HG_THREAD_MOVED);
				adopt_thread(t);
			}
			return true;
		}
		/* in a callback: it must not wait; and as long as it is inside, nobody is done waiting for the queues */
		if (word == HG_GATE_CLOSED && atomic_load_explicit(&t->exempt, memory_order_relaxed) & ~HG_THREAD_MOVED)
			return true;
		atomic_store_explicit(&t->inside, 0, memory_order_release);
		if (word != HG_GATE_CLOSED)
			return false;
		futex(FUTEX_WAIT_PRIVATE, HG_GATE_CLOSED, NULL);
		atomic_store_explicit(&t->inside, 1, memory_order_relaxed);
	}
}

/* The end is final: a checkpoint that is still at work when the process exits does not open the gate again. */
static bool word_set(uint32_t to)
{
	uint32_t word = atomic_load(&hg_gate.word);

	do {
		if (word == HG_GATE_ENDED)
			return false;
	} while (!atomic_compare_exchange_weak(&hg_gate.word, &word, to));
	return true;
}

void hg_gate_open(void)
{
	if (word_set(has_membarrier ? HG_GATE_OPEN : HG_GATE_FENCED))
		futex(FUTEX_WAKE_PRIVATE, INT_MAX, NULL);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool is_anyone_inside(void)
{
	for (struct block *b = atomic_load(&blocks); b; b = b->next)
		for (size_t i = 0; i < NR_PER_BLOCK; i++)
			if (atomic_load_explicit(&b->thread[i].inside, memory_order_acquire))
				return true;
	return false;
}

/* Makes every thread either see the word just stored, or have its `inside` seen here. */
static void barrier_everywhere(void)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (has_membarrier)
		(void)sys_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

bool hg_gate_close(uint32_t timeout_ms)
{
	uint64_t end = now_ns() + (uint64_t)timeout_ms * 1000000u;
	struct timespec pause = { 0, 2000 };

	if (!word_lets_in(atomic_load(&hg_gate.word)) || !word_set(HG_GATE_CLOSED))
		return false;
	barrier_everywhere();
	/*
	 * Polled: the fast side clears `inside` with a plain store and wakes nobody. Most calls take
	 * microseconds, some wait for a kernel; hence the growing pause.
	 */
	while (is_anyone_inside()) {
		if (now_ns() >= end) {
			hg_gate_open();
			return false;
		}
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 500000)
			pause.tv_nsec += pause.tv_nsec / 2;
	}
	return true;
}

void hg_gate_end(void)
{
	atomic_store(&hg_gate.word, HG_GATE_ENDED);
	barrier_everywhere();
	futex(FUTEX_WAKE_PRIVATE, INT_MAX, NULL);
}

bool hg_gate_is_ended(void)
{
	return atomic_load(&hg_gate.word) == HG_GATE_ENDED;
}

bool hg_gate_is_idle(uint32_t timeout_ms)
{
	uint64_t end = now_ns() + (uint64_t)timeout_ms * 1000000u;
	const struct timespec pause = { 0, 200000 };

	while (is_anyone_inside()) {
		if (now_ns() >= end)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

void hg_gate_forked(void)
{
	atomic_store(&hg_gate.word, HG_GATE_NONE);
}

void hg_callback_enter(void)
{
	struct hg_thread *t = hg_thread_self();

	if (t)
		t->exempt++;
}

void hg_callback_leave(void)
{
	if (hg_tls)
		hg_tls->exempt--;
}
