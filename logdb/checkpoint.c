/* checkpoint.c - the thread that waits for hgshim-ckpt's requests. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/msg.h"
#include "logdb/recorder_impl.h"

/* The last message of a failed request explains it, if the callback did not. */
static void sink(enum hg_msg_level level, const char *line, void *recorder)
{
	struct hg_recorder *r = recorder;

	if (level == HG_MSG_ERR)
		hg_recorder_explain(r, "%s", line);
	hg_recorder_sink(level, line, r);
}

static void serve(struct hg_recorder *r, uint32_t request)
{
	struct hg_control *c = r->control, copy;
	enum hg_status st;

	/* the tool may write at any time: the callback sees one state of the request */
	memcpy(&copy, c, sizeof(copy));
	copy.message[0] = '\0';
	c->snapshot = 0;
	c->bytes = 0;
	c->bytes_written = 0;
	c->stall_ns = 0;
	memset(c->message, 0, sizeof(c->message));
	r->explained = false;

	if (!r->cfg.checkpoint) {
		hg_recorder_explain(r, "this process cannot take snapshots");
		st = HG_ERR_UNSUPPORTED;
	} else if (!hg_recorder_is_on(r)) {
		hg_recorder_explain(r, "recording is off: %s", r->off_why);
		st = HG_ERR_REFUSED;
	} else {
		st = r->cfg.checkpoint(&copy, r->cfg.arg);
	}
	if (st)
		hg_recorder_explain(r, "%s", hg_status_text(st));
	c->status = st;
	hg_recorder_progress(r, HG_CONTROL_IDLE, c->done, c->total);
	atomic_store_explicit((atomic_uint *)&c->reply, request, memory_order_release);
	hg_futex_wake((atomic_uint *)&c->reply, true);
}

void *hg_checkpoint_main(void *recorder)
{
	struct hg_recorder *r = recorder;
	sigset_t set;

	pthread_setname_np(pthread_self(), "hgshim-ckpt");
	hg_msg_sink_set(sink, r);
	/* inherited with every signal blocked: the signal stays pending until it is waited for */
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET);
	atomic_store(&r->checkpoint_tid, (int)syscall(SYS_gettid));
	while (!atomic_load(&r->stop)) {
		uint32_t request;

		if (sigwaitinfo(&set, NULL) < 0)
			continue;
		if (atomic_load(&r->stop))
			break;
		request = atomic_load_explicit((atomic_uint *)&r->control->request, memory_order_acquire);
		/* a signal of somebody else, or one that came after its request was served */
		if (request != r->control->reply)
			serve(r, request);
	}
	return NULL;
}
