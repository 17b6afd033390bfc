/* migrate.h - a running process goes on with another driver. */
#ifndef HG_INTERCEPT_MIGRATE_H
#define HG_INTERCEPT_MIGRATE_H

#include <stdint.h>

#include "common/status.h"
#include "logdb/recorder.h"

/*
 * Before anything is stopped: can this process go to that target? Says why not. *out: its name, which lives for ever; the
 * request's page does not.
 */
enum hg_status hg_migrate_check(const char *target, const char **out) HG_MUST_CHECK;

/*
 * On the checkpoint thread, while the program still runs: what takes long and can be done ahead. Kernels are compiled for
 * the target, so that the program is not stopped for as long as that takes.
 */
void hg_migrate_ahead(struct hg_recorder *recorder, const char *target, uint32_t timeout_ms);

/*
 * On the checkpoint thread, gate closed, queues empty, right after snapshot `number` of this process became durable: the
 * portable driver is opened on the target and takes over every object under the handle or address that the application
 * has for it. Up to the point where the old driver's objects are taken apart, any failure leaves the process as it was.
 * Behind that point failures of the old driver's calls are said and do not count; if the state cannot be rebuilt, calls give
 * CUDA_ERROR_DEINITIALIZED from then on, and the message names the snapshot.
 */
enum hg_status hg_migrate(struct hg_recorder *recorder, const char *target, uint64_t number) HG_MUST_CHECK;

#endif
