/* spans.h - memory that a double's devices know, and who may touch it. */
#ifndef TESTS_DRIVERS_COMMON_SPANS_H
#define TESTS_DRIVERS_COMMON_SPANS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_PAGE 4096u

struct fake_span {
	uint64_t start, size;
	unsigned int mem;		/* the driver's own numbers */
	bool is_device;			/* the program may not touch it */
	unsigned int flags;
	int device, prot;		/* prot: PROT_…, while the device works */
	uint64_t reservation;		/* of mappings: start of the reservation that it is in */
	void *physical;			/* of mappings */
	void *owner;			/* what it belongs to, in the driver's terms */
};

/* All below is under this lock, but fake_device_begin and _end, which take it. */
extern pthread_mutex_t fake_span_lock;

/* How much device memory there is, and whether the program is kept off it; before anything else. */
void fake_spans_set_up(uint64_t memory, bool protect);
/* Spans are disjoint; a pointer is good until the next one is added or removed. NULL: none. */
struct fake_span *fake_span_find(uint64_t addr);
struct fake_span *fake_span_from(uint64_t addr);	/* the first that ends behind the address */
bool fake_span_add(const struct fake_span *r);	/* false: no memory, or it overlaps one that is there */
void fake_span_remove(uint64_t start);
void fake_spans_each(void (*each)(const struct fake_span *r, void *arg), void *arg);
bool fake_span_account(int64_t bytes);			/* of device memory; false: more than there is */
uint64_t fake_span_account_used(void);
/*
 * Reserved addresses, without access (physical.h: fake_reserve). new: at the hint or elsewhere, with so many bytes behind it that nobody gets; 0: none;
 * takes the lock itself.
 */
uint64_t fake_reservation_new(uint64_t hint, uint64_t size, uint64_t align, uint64_t behind);
uint64_t fake_reservation_of(uint64_t addr, uint64_t size);	/* where the one begins that the range lies in; 0: none */
bool fake_reservation_is(uint64_t addr, uint64_t size);		/* the range is one as a whole */
void fake_reservation_end(uint64_t addr);			/* of that one; nothing may be mapped in it */
/* Spans and reservations that are left, a line on stderr for each; who: how the double's messages begin, what: names of `mem`. Takes the lock itself. */
void fake_spans_leaks(const char *who, const char *const *what);
/* Makes a span that is device memory as accessible as it is now to be. */
void fake_span_protect(const struct fake_span *r);
uint64_t fake_page_round(uint64_t size);
/* Whether every page of it is there, whoever made it. Needs no lock. */
bool fake_is_memory(uint64_t addr, uint64_t size);

/*
 * Between the two a thread works as the device: its memory may be touched. Else it is without access for everyone in the process.
 */
void fake_device_begin(void);
void fake_device_end(void);

#endif
