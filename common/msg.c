/* msg.c - messages to the user. */
#include "common/msg.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* initial-exec: a lazily allocated TLS block would call malloc in the middle of a driver call. */
#define TLS static __thread __attribute__((tls_model("initial-exec")))

TLS hg_msg_sink_fn thread_sink;
TLS void *thread_sink_arg;

static _Atomic(const char *) msg_prefix = "hgshim";
static atomic_int msg_level = -1;	/* -1: HGSHIM_VERBOSE not read yet */

void hg_msg_prefix(const char *prefix)
{
	atomic_store(&msg_prefix, prefix);
}

void hg_msg_level_set(enum hg_msg_level level)
{
	atomic_store(&msg_level, (int)level);
}

bool hg_msg_shown(enum hg_msg_level level)
{
	int shown = atomic_load_explicit(&msg_level, memory_order_relaxed);

	if (shown < 0) {
		const char *env = getenv("HGSHIM_VERBOSE");
		int unread = -1;

		shown = HG_MSG_WARN;
		if (env && env[0] >= '0' && env[0] <= '3' && !env[1])
			shown = env[0] - '0';
		/* hg_msg_level_set may have come in between: it wins */
		if (!atomic_compare_exchange_strong(&msg_level, &unread, shown))
			shown = unread;
	}
	return (int)level <= shown;
}

void hg_msg_sink_set(hg_msg_sink_fn sink, void *arg)
{
	thread_sink = sink;
	thread_sink_arg = arg;
}

static void write_line(const char *line, size_t size)
{
	while (size) {
		ssize_t n = write(STDERR_FILENO, line, size);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return;	/* nowhere left to say so */
		}
		line += n;
		size -= (size_t)n;
	}
}

void hg_msg(enum hg_msg_level level, const char *fmt, ...)
{
	static const char *const word[] = { "error: ", "warning: ", "", "" };
	int saved = errno;
	char line[2048];
	size_t at = 0;
	va_list ap;
	int n;

	if (!hg_msg_shown(level))
		return;
	if (!thread_sink) {
		n = snprintf(line, sizeof(line) / 2, "%s: %s", atomic_load(&msg_prefix), word[level]);
		if (n > 0)
			at = (size_t)n < sizeof(line) / 2 ? (size_t)n : sizeof(line) / 2 - 1;
	}
	/* a message that formats errno must see the caller's */
	errno = saved;
	va_start(ap, fmt);
	n = vsnprintf(line + at, sizeof(line) - 1 - at, fmt, ap);
	va_end(ap);
	if (n > 0)
		at += (size_t)n < sizeof(line) - 1 - at ? (size_t)n : sizeof(line) - 2 - at;
	line[at] = '\0';

	if (thread_sink) {
		thread_sink(level, line, thread_sink_arg);
	} else {
		line[at++] = '\n';
		write_line(line, at);
	}
	errno = saved;
}
