/* msg.h - messages to the user. To stderr only; never a newline at the end of a format. */
#ifndef HG_COMMON_MSG_H
#define HG_COMMON_MSG_H

#include <stdbool.h>

enum hg_msg_level { HG_MSG_ERR, HG_MSG_WARN, HG_MSG_INFO, HG_MSG_DEBUG };

/*
 * Prefix of each line, e.g. "hgshim" or "hgshim-replay"; the string must live for ever.
 * HGSHIM_VERBOSE=0..3 (read at the first message) raises the level shown; default HG_MSG_WARN.
 */
void hg_msg_prefix(const char *prefix);
void hg_msg_level_set(enum hg_msg_level level);
bool hg_msg_shown(enum hg_msg_level level);

/*
 * One write(2) of one whole line. Async-signal-unsafe, thread-safe, allocates nothing, and keeps
 * errno. A sink set for the calling thread takes the line instead (the threads that hgshim
 * keeps in an application have no descriptor of their own for stderr).
 */
void hg_msg(enum hg_msg_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

typedef void (*hg_msg_sink_fn)(enum hg_msg_level level, const char *line, void *arg);
void hg_msg_sink_set(hg_msg_sink_fn sink, void *arg);	/* for this thread; NULL: stderr again */

/* Say what the error is first, subject in quotes: pr_err("cannot open '%s': %s", ...) */
#define pr_err(...) hg_msg(HG_MSG_ERR, __VA_ARGS__)
#define pr_warn(...) hg_msg(HG_MSG_WARN, __VA_ARGS__)
#define pr_info(...) hg_msg(HG_MSG_INFO, __VA_ARGS__)
#define pr_debug(...) hg_msg(HG_MSG_DEBUG, __VA_ARGS__)

#endif
