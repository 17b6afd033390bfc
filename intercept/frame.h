/* frame.h - one call on its way through hgshim. */
#ifndef HG_INTERCEPT_FRAME_H
#define HG_INTERCEPT_FRAME_H

#include "intercept/gate.h"
#include "intercept/shim.h"

struct hg_frame {
	struct hg_thread *thread;
	const struct hg_real *real;	/* what answers: for this caller's default stream */
	bool nested;
	bool per_thread;		/* the caller's default stream is the thread's own */
};

/*
 * False: the call ends here, with hg_shim_not_ready's result. Otherwise hg_frame_leave must
 * follow, on the same thread.
 */
static inline bool hg_frame_enter(struct hg_frame *f)
{
	if (__builtin_expect(!hg_gate_enter(&f->thread, &f->nested), 0))
		return false;
	f->per_thread = hg_tls_per_thread;
	if (__builtin_expect(f->per_thread, 0))
		hg_tls_per_thread = false;	/* not for calls made inside this one */
	f->real = &hg_real[f->per_thread];
	return true;
}

static inline void hg_frame_leave(struct hg_frame *f)
{
	hg_gate_leave(f->thread, f->nested);
}

#endif
