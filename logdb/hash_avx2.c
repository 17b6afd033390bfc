/* hash_avx2.c - XXH3 with AVX2; called only where the processor has it. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "logdb/hash.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif
#define XXH_VECTOR 2	/* XXH_AVX2, which is not defined yet */
#define NAME(x) x##_avx2
#include "logdb/hash_impl.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
