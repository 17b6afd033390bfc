/* wrong.h - a wrong result to order: what a test that looks for wrong results needs of a double. */
#ifndef TESTS_DRIVERS_COMMON_WRONG_H
#define TESTS_DRIVERS_COMMON_WRONG_H

#include <stdint.h>

/* After the nth launch of a kernel's handle, the lowest bit of the byte at addr is another one. */
struct fake_wrong {
	char kernel[256];		/* its name; empty: all is right */
	uint64_t nth, addr;
};

/* knob: its name, for the message, and text: "KERNEL:NTH:ADDRESS", NULL or empty. */
void fake_wrong_init(struct fake_wrong *w, const char *knob, const char *text);
/* A kernel has just run, with access to the memory of its device: nth counts from 1 with each handle. */
void fake_wrong_after(const struct fake_wrong *w, const char *kernel, uint64_t nth);

#endif
