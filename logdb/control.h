/* control.h - the page through which hgshim-ckpt and a recorded process talk. */
#ifndef HG_LOGDB_CONTROL_H
#define HG_LOGDB_CONTROL_H

#include <stdint.h>

/*
 * Mapped shared by the process (file `control` in its log directory) and by hgshim-ckpt, which
 * finds it through /proc/PID/maps and opens it through /proc/PID/map_files or /proc/PID/root.
 * Either side treats what the other wrote as hostile. Size: one page. Fields only added at the end.
 *
 * Protocol: the tool takes `lock` (its pid, by compare-and-swap; a dead holder's is taken over), writes
 * the request, stores `request`+1, and sends HG_CONTROL_SIGNAL with tgkill to `tid`, a thread of
 * the process that waits for it with sigwaitinfo and has it blocked: no handler is installed and
 * none can be missed. The thread answers by `state`, `done`/`total`, and at last `reply = request`;
 * futex words are request, reply and progress.
 */
#define HG_CONTROL_MAGIC 0x6c72746d69687368ull
#define HG_CONTROL_VERSION 1
#define HG_CONTROL_SIGNAL_OFFSET 7	/* SIGRTMIN + this */

enum hg_control_state {
	HG_CONTROL_IDLE, HG_CONTROL_QUIESCING, HG_CONTROL_COPYING, HG_CONTROL_COMMITTING, HG_CONTROL_MIGRATING,
};

struct hg_control {
	uint64_t magic;
	uint32_t version;
	uint32_t pid;		/* in the process's own pid namespace */
	uint32_t tid;		/* of the checkpoint thread, likewise */
	uint32_t lock;
	uint32_t request;	/* counter; a request is pending while request != reply */
	uint32_t reply;
	uint32_t timeout_ms;	/* of the request */
	uint32_t flags;		/* enum hg_control_flags */
	uint32_t state;
	uint32_t status;	/* enum hg_status of the last request */
	uint64_t done, total;	/* bytes */
	uint64_t snapshot;	/* number of the snapshot taken */
	uint64_t bytes, bytes_written;
	uint64_t stall_ns;	/* the gate was closed for so long */
	uint32_t progress;	/* futex, changes with done */
	uint32_t recording;	/* 1 while records are kept; 0 after recording was turned off */
	char executor[16];	/* "cpu", "cuda", … */
	char message[512];	/* why the request failed; NUL-terminated */
	char target[16];	/* of a request with HG_CONTROL_MIGRATE; NUL-terminated */
	char driver[256];	/* path of the driver that hgshim itself opened, "" none; NUL-terminated */
};

enum hg_control_flags { HG_CONTROL_ALLOW_PARTIAL = 1, HG_CONTROL_MIGRATE = 2 };

#endif
