/* ze_clock.c - a device's counter of few bits, as nanoseconds on one time base. */
#include "replay/ze_clock.h"

#define SECOND UINT64_C(1000000000)

__extension__ typedef unsigned __int128 wide;

static uint64_t scale(uint64_t n, uint64_t by, uint64_t of)
{
	return (uint64_t)((wide)n * by / of);
}

/* How far the counter has gone from one value to another. */
static uint64_t gone(const struct ze_clock *c, uint64_t from, uint64_t to)
{
	return (to - from) & (c->bits < 64 ? (UINT64_C(1) << c->bits) - 1 : UINT64_MAX);
}

void ze_clock_init(struct ze_clock *c, uint64_t hz, unsigned int bits, uint64_t value, uint64_t now_ns)
{
	c->hz = hz ? hz : SECOND;
	c->bits = !bits || bits > 64 ? 64 : bits;
	c->first = c->ticks = gone(c, 0, value);
	c->host_ns = now_ns;
}

void ze_clock_update(struct ze_clock *c, uint64_t value, uint64_t now_ns)
{
	/* whole turns since, by the host's clock: the two are less than half a turn apart */
	uint64_t half = UINT64_C(1) << (c->bits - 1), guess = ze_clock_now(c, now_ns), from = guess - half > guess ? 0 : guess - half;

	if (from < c->ticks)
		from = c->ticks;
	c->ticks = from + gone(c, from, value);
	c->host_ns = now_ns;
}

uint64_t ze_clock_now(const struct ze_clock *c, uint64_t now_ns)
{
	return c->ticks + (now_ns > c->host_ns ? scale(now_ns - c->host_ns, c->hz, SECOND) : 0);
}

uint64_t ze_clock_extend(const struct ze_clock *c, uint64_t value, uint64_t since)
{
	/* the estimate may be late: the two clocks do not run alike */
	uint64_t slack = UINT64_C(1) << (c->bits - 1) >> 2, from = since > slack ? since - slack : 0;

	return from + gone(c, from, value);
}

uint64_t ze_clock_ns(const struct ze_clock *c, uint64_t ticks)
{
	return ticks > c->first ? scale(ticks - c->first, SECOND, c->hz) : 0;
}
