/* cuda_abi.h - every prototype of the CUDA 13 driver, old versions included. */
#ifndef HG_INTERCEPT_CUDA_ABI_H
#define HG_INTERCEPT_CUDA_ABI_H

/* what cuda.h includes, so that the visibility below is not theirs */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifndef __CUDA_API_VERSION_INTERNAL
#define __CUDA_API_VERSION_INTERNAL
#endif

/*
 * Protected: exported, and never replaced by another library's symbol of the same name, so that calls
 * from one entry to another stay inside hgshim.
 */
#pragma GCC visibility push(protected)
#include <cuda.h>
#include <cudaProfiler.h>
#pragma GCC visibility pop

#if CUDA_VERSION < 13000
#error "hgshim needs the headers of CUDA 13.0 or newer: set CUDA_HOME to such a toolkit"
#endif

/* cuda.h leaves these macros behind; with old versions declared a symbol's name must mean the symbol. */
#undef cuGetProcAddress_v2

#endif
