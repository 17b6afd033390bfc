/* lasting.h - what the two translation units of lasting.cu share. */
#ifndef TESTS_E2E_APPS_LASTING_H
#define TESTS_E2E_APPS_LASTING_H

#include <cuda_runtime.h>
#include <stdint.h>

/* lasting_more.cu: nothing of it is loaded before the first of these is called. Each says what went wrong, or NULL. */
const char *more_launch(uint32_t *x, int n, cudaStream_t stream);
uint32_t more_expected(uint32_t v);
const char *more_set_salt(uint32_t salt);
const char *more_attributes(void);

#endif
