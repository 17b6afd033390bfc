/* control.h - what a test shares with the fake driver through HG_FAKE_CUDA_CONTROL=FILE. */
#ifndef TESTS_DRIVERS_CUDA_CONTROL_H
#define TESTS_DRIVERS_CUDA_CONTROL_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * The file is an array of these, one for each row of intercept/symbols.def in its order. The driver makes and fills it
 * when it is not there. Both sides may write at any time: set `error` before `fail_in`.
 */
struct fake_counter {
	char name[104];			/* the symbol */
	_Atomic uint64_t calls;
	_Atomic uint32_t fail_in;	/* n > 0: the n-th call from now fails and does nothing; then 0 */
	_Atomic uint32_t error;		/* CUresult of that call */
	uint64_t reserved;
};
_Static_assert(sizeof(struct fake_counter) == 128, "a layout that scripts read");

#endif
