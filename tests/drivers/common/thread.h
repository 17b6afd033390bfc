/* thread.h - threads of a double's devices, chance and time, and its knobs. */
#ifndef TESTS_DRIVERS_COMMON_THREAD_H
#define TESTS_DRIVERS_COMMON_THREAD_H

#include <stdbool.h>
#include <stdint.h>

/* A detached thread that leaves the application's signals alone, but takes those of its own faults. False: there is none. */
bool fake_thread_start(void *(*main)(void *), void *arg);
/* Rests for a time of chance, seldom and at most `most_us`; 0: never. */
void fake_rest(uint64_t *random, unsigned int most_us);
uint64_t fake_random_seed(uint64_t number);	/* what *random begins with */
uint64_t fake_now_ns(void);			/* CLOCK_MONOTONIC */
void fake_rest_until(uint64_t ns);
/* The environment variable as a number as in C; `otherwise` where it is not set, or, with a message, none. */
uint64_t fake_knob(const char *name, uint64_t otherwise);
/* What fresh memory of a device is filled with: a byte (0xcd); -1, for "off": nothing, it is left as it is. */
int fake_knob_pattern(const char *name);

#endif
