/* gate.h - what every call passes, and what a checkpoint closes. */
#ifndef HG_INTERCEPT_GATE_H
#define HG_INTERCEPT_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The fast side of the gate is one plain store to the thread's own cache line and one load of a word that
 * hardly ever changes. The closing side stores the word and asks the kernel (membarrier) for a memory barrier
 * on every running thread of the process: after that, a thread either has seen the closed gate or
 * its store is visible.
 *
 * The same word says that nothing was started yet, that the process is a forked child (the page is
 * wiped in children), or that it is ending; so the fast side tests for all of it at once.
 */
enum hg_gate_word {
	HG_GATE_NONE,		/* nothing started; or a child of a process that had */
	HG_GATE_OPEN,
	HG_GATE_CLOSED,
	HG_GATE_FENCED,		/* open, on a kernel without membarrier: the fast side fences */
	HG_GATE_ENDED,		/* the process is exiting */
};

#define HG_THREAD_CTXS 11

/* What hgshim keeps for a thread that calls CUDA. Never unmapped; used again after the thread ended. */
struct hg_thread {
	_Atomic uint32_t inside;	/* 1 while the thread is past the gate */
	_Atomic uint32_t exempt;	/* callbacks of the driver that it is in: its calls pass a closed gate; and HG_THREAD_MOVED */
	uint32_t unfinished;		/* a sequence number is taken and its record not written yet */
	uint32_t ctx_known;		/* ctx below is the current context */
	uint64_t ctx;			/* id of the current context, 0 none */
	_Atomic uint32_t used;
	/* Its stack of contexts by handle, bottom first, for another driver; deeper than fits: depth is greater. */
	uint32_t ctx_depth;
	uint64_t ctx_stack[HG_THREAD_CTXS];
} __attribute__((aligned(128)));	/* whole pairs of lines: the neighbour is prefetched */

/* In `exempt`: the driver has changed since the thread's last call, and does not know the thread's contexts yet. */
#define HG_THREAD_MOVED (UINT32_C(1) << 31)

struct hg_gate_page {
	_Atomic uint32_t word;
	unsigned char rest[4096 - 4];
};
extern struct hg_gate_page hg_gate;

/*
 * initial-exec: a lazily allocated block would call malloc from inside the application's call. The library
 * needs few bytes of the space that the loader keeps for this.
 */
extern __thread struct hg_thread *hg_tls __attribute__((tls_model("initial-exec")));
extern __thread bool hg_tls_per_thread __attribute__((tls_model("initial-exec")));

/* Once, at the first CUDA call; the word stays HG_GATE_NONE. */
void hg_gate_init(void);
/* Opens it for the first time, or again. */
void hg_gate_open(void);
/*
 * Waits until no thread is inside. False: some thread was still inside after timeout_ms; the gate is open again.
 * For one thread at a time, which must not be inside itself.
 */
bool hg_gate_close(uint32_t timeout_ms);
/* From now on nobody gets in. Waiting threads are let go with false. */
void hg_gate_end(void);
bool hg_gate_is_ended(void);
/* Waits, up to timeout_ms, until no thread is inside. */
bool hg_gate_is_idle(uint32_t timeout_ms);
/* In a forked child. */
void hg_gate_forked(void);
/*
 * With the gate closed: every thread that called CUDA so far runs `adopt` on itself before its next call. Stops at, and
 * returns, the first thread for which `check` is false (NULL: none is).
 */
struct hg_thread *hg_gate_each(bool (*check)(const struct hg_thread *t));
void hg_gate_moved(void (*adopt)(struct hg_thread *t));

/* The calling thread's state, made if it has none; NULL: no memory (with a message, once). */
struct hg_thread *hg_thread_self(void);

/* Parts of hg_gate_enter. */
bool hg_gate_enter_rare(struct hg_thread **out, bool *nested);
bool hg_gate_wait(struct hg_thread *t);

/*
 * True, and the caller must leave; *nested tells hg_gate_leave that an outer call of the same thread, or
 * a callback, holds the gate. False: nothing was started, or the process is a forked child, or it is ending.
 */
static inline bool hg_gate_enter(struct hg_thread **out, bool *nested)
{
	struct hg_thread *t = hg_tls;

	if (__builtin_expect(!t || atomic_load_explicit(&t->inside, memory_order_relaxed), 0))
		return hg_gate_enter_rare(out, nested);
	*out = t;
	*nested = false;
	atomic_store_explicit(&t->inside, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);	/* the kernel's barrier does the rest */
	/* `exempt` last: a thread that was stopped anywhere above for as long as a move takes must see that it has moved */
	if (__builtin_expect(atomic_load_explicit(&hg_gate.word, memory_order_acquire) == HG_GATE_OPEN &&
			     !atomic_load_explicit(&t->exempt, memory_order_relaxed), 1))
		return true;
	return hg_gate_wait(t);
}

static inline void hg_gate_leave(struct hg_thread *t, bool nested)
{
	if (!nested)
		atomic_store_explicit(&t->inside, 0, memory_order_release);
}

/* Around a function of the application that the driver calls back. NULL-safe. */
void hg_callback_enter(void);
void hg_callback_leave(void);

#endif
