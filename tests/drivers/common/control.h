/* control.h - what a test shares with a test double through a control file. */
#ifndef TESTS_DRIVERS_COMMON_CONTROL_H
#define TESTS_DRIVERS_COMMON_CONTROL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The file is an array of these, one for each call of the driver. The driver makes and fills it
 * when it is not there. Both sides may write at any time: set `error` before `fail_in`.
 */
struct fake_counter {
	char name[104];			/* the symbol */
	_Atomic uint64_t calls;
	_Atomic uint32_t fail_in;	/* n > 0: the n-th call from now fails and does nothing; then 0 */
	_Atomic uint32_t error;		/* result of that call */
	uint64_t reserved;
};
_Static_assert(sizeof(struct fake_counter) == 128, "a layout that scripts read");

/* The file at `path`, mapped for ever, with names[nr] in it; `own` with a message where that does not work. */
struct fake_counter *fake_control_open(const char *path, const char *const *names, size_t nr, struct fake_counter *own);
void fake_control_name(struct fake_counter *c, const char *const *names, size_t nr);
/* A call is made: counts it. What it is to fail with, or 0. */
static inline uint32_t fake_control_enter(struct fake_counter *c)
{
	uint32_t n;

	atomic_fetch_add_explicit(&c->calls, 1, memory_order_relaxed);
	if (__builtin_expect(atomic_load_explicit(&c->fail_in, memory_order_relaxed) == 0, 1))
		return 0;
	n = atomic_load(&c->fail_in);
	while (n)
		if (atomic_compare_exchange_weak(&c->fail_in, &n, n - 1))
			return n == 1 ? atomic_load(&c->error) : 0;
	return 0;
}

#endif
