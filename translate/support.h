/* support.h - device functions that hgshim itself has: malloc, free, and what C++ compilers call. Private to translate/. */
#ifndef HG_TRANSLATE_SUPPORT_H
#define HG_TRANSLATE_SUPPORT_H

#include <xxhash.h>

#include "translate/ptx.h"

#define HG_SUPPORT_MEMBERS 2

/* PTX of the functions that stand for single instructions (translate/expand_build.h), NUL-terminated texts; NULL behind them. */
extern const char *const hg_support_expansions[];

/*
 * Appends those files of the library that define a function which the modules call and do not define, and what these need
 * in turn; `module` has room for HG_SUPPORT_MEMBERS more. They are parsed into the pool, and their texts go into the hash.
 */
enum hg_status hg_support_link(struct hg_pool *pool, struct ptx_log *log, struct ptx_module **module, size_t *nr,
			       XXH3_state_t *hash) HG_MUST_CHECK;

#endif
