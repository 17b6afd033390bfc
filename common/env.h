/* env.h - settings of the environment. */
#ifndef HG_COMMON_ENV_H
#define HG_COMMON_ENV_H

#include <stdint.h>

/* A number of bytes, with a suffix K, M or G perhaps; `otherwise` when it is not set, or is none, which gets a warning. Any thread. */
uint64_t hg_env_size(const char *name, uint64_t otherwise);

#endif
