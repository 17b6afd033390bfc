/* log_target.h - which of a log's kernels can run on a target, from the log alone. */
#ifndef HG_TOOLS_LOG_TARGET_H
#define HG_TOOLS_LOG_TARGET_H

#include <stdbool.h>

#include "logdb/logdb.h"

/*
 * Whether it is a target whose limits are known here: a name as for `hgshim-replay --target`, with a chip behind a colon where it has some
 * ("rocm:gfx90a"; without one: those that are tested). If not, that was said on stderr.
 */
bool log_target_is_known(const char *target);

/*
 * Looks at the kernels of every image in the log (modules that are loaded, whether they were looked up or not, and those that kernels
 * were looked up in) and at the launches that are kept, and prints what `target`, a known one, cannot run, and why. *fits: there was nothing.
 * compile: the code of every kernel is made as well, in the shape of its largest launch: so what cannot be emitted is found, too. That takes about as long as the first launches do.
 */
enum hg_status log_target_coverage(struct hg_log *log, const char *target, bool compile, bool json, bool *fits) HG_MUST_CHECK;

#endif
