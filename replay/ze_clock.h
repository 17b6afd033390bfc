/* ze_clock.h - a device's counter of few bits, as nanoseconds on one time base. Plain arithmetic; not thread-safe. Private to replay/. */
#ifndef HG_REPLAY_ZE_CLOCK_H
#define HG_REPLAY_ZE_CLOCK_H

#include <stdint.h>

/*
 * Level Zero's timestamps have timestampValidBits bits and count timerResolution ticks a second, so that 32 bits at 19.2 MHz wrap after 224
 * seconds. `ticks` is the counter as if it never wrapped, from the value that it had at ze_clock_init on.
 */
struct ze_clock {
	uint64_t hz;
	unsigned int bits;		/* 1 … 64 */
	uint64_t first, ticks;		/* at ze_clock_init; the newest that is known */
	uint64_t host_ns;		/* of CLOCK_MONOTONIC, when `ticks` was */
};

/* value: the device's counter now; now_ns: of CLOCK_MONOTONIC. hz 0 counts as 10^9, bits beyond 64 or 0 as 64. */
void ze_clock_init(struct ze_clock *c, uint64_t hz, unsigned int bits, uint64_t value, uint64_t now_ns);
/* Both clocks were read again, however long after: how often the counter has wrapped, the host's clock tells. */
void ze_clock_update(struct ze_clock *c, uint64_t value, uint64_t now_ns);
/* What the counter is about now, without asking the device. */
uint64_t ze_clock_now(const struct ze_clock *c, uint64_t now_ns);
/* A value that the device wrote at `since` (of ze_clock_now) or later, by less than 7/8 of the time in which the counter wraps: as ticks. */
uint64_t ze_clock_extend(const struct ze_clock *c, uint64_t value, uint64_t since);
/* Nanoseconds since ze_clock_init; what lies before it is 0. */
uint64_t ze_clock_ns(const struct ze_clock *c, uint64_t ticks);

#endif
