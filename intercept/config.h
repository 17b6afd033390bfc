/* config.h - what the environment says about recording. */
#ifndef HG_INTERCEPT_CONFIG_H
#define HG_INTERCEPT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "logdb/recorder.h"

/* HGSHIM_CALLS, HGSHIM_PAYLOAD, HGSHIM_STACKS. A value that means nothing is named, and the default taken. */
void hg_config_read(struct hg_recorder_config *out);

/*
 * The directory of this process's log: HGSHIM_LOG, or $XDG_STATE_HOME/hgshim/<program>-<pid>. The recorder makes it,
 * and adds to the name where it holds a log already. False with a message.
 */
bool hg_config_log_dir(char *path, size_t size);

#endif
