/* snapshot.h - what a checkpoint does in the process. */
#ifndef HG_INTERCEPT_SNAPSHOT_H
#define HG_INTERCEPT_SNAPSHOT_H

#include "logdb/recorder.h"

/* Runs on the recorder's checkpoint thread for each request (hg_recorder_config.checkpoint). */
enum hg_status hg_checkpoint(const struct hg_control *request, void *arg);

#endif
