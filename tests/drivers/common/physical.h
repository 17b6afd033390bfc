/* physical.h - physical memory and addresses of a double's devices. */
#ifndef TESTS_DRIVERS_COMMON_PHYSICAL_H
#define TESTS_DRIVERS_COMMON_PHYSICAL_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Physical memory is a part of one file without a name, so that it can be seen at several addresses. Sizes are multiples
 * of a page. The first two are not thread-safe: call them under one lock. False: no memory, with a message.
 * pattern: what memory holds that was never used; -1: zeros. Memory that was given back holds what was written to it.
 */
bool fake_physical_take(uint64_t size, int pattern, uint64_t *offset);
void fake_physical_give_back(uint64_t offset, uint64_t size);
int fake_physical_file(void);		/* its descriptor; -1 before the first was taken */

/* Addresses without access: at the hint (0: none) if nothing is there, else where the kernel likes. 0: none. Any thread. */
uint64_t fake_reserve(uint64_t hint, uint64_t size, uint64_t align);

#endif
