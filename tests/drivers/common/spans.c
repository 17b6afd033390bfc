/* spans.c - memory that a double's devices know, and who may touch it. */
#define _GNU_SOURCE
#include "tests/drivers/common/spans.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/drivers/common/physical.h"
#include "tests/drivers/common/sorted.h"

pthread_mutex_t fake_span_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- spans: sorted by address, disjoint ---- */

static struct fake_sorted spans = FAKE_SORTED(struct fake_span);
static uint64_t memory, used;		/* bytes of device memory, of all kinds: that there are, that are taken */
static bool protect;

void fake_spans_set_up(uint64_t bytes, bool is_protected)
{
	memory = bytes;
	protect = is_protected;
}

static const struct fake_span *span_at(size_t i)
{
	return (const struct fake_span *)spans.item + i;
}

struct fake_span *fake_span_from(uint64_t addr)
{
	return fake_sorted_from(&spans, addr);
}

struct fake_span *fake_span_find(uint64_t addr)
{
	return fake_sorted_find(&spans, addr);
}

bool fake_span_add(const struct fake_span *r)
{
	return fake_sorted_add(&spans, r);
}

void fake_span_remove(uint64_t start)
{
	fake_sorted_remove(&spans, start);
}

void fake_spans_each(void (*each)(const struct fake_span *r, void *arg), void *arg)
{
	for (size_t i = 0; i < spans.nr; i++)
		each(span_at(i), arg);
}

bool fake_span_account(int64_t bytes)
{
	if (bytes > 0 && used + (uint64_t)bytes > memory)
		return false;
	used += (uint64_t)bytes;
	return true;
}

uint64_t fake_span_account_used(void)
{
	return used;
}

/* ---- reserved addresses ---- */

static struct reservation {
	uint64_t start, size, behind;
	struct reservation *next;
} *reservations;

uint64_t fake_reservation_new(uint64_t hint, uint64_t size, uint64_t align, uint64_t behind)
{
	struct reservation *new = calloc(1, sizeof(*new));

	if (!new)
		return 0;
	new->size = size;
	new->behind = behind;
	new->start = fake_reserve(hint, size + behind, align);
	if (!new->start) {
		free(new);
		return 0;
	}
	pthread_mutex_lock(&fake_span_lock);
	new->next = reservations;
	reservations = new;
	pthread_mutex_unlock(&fake_span_lock);
	return new->start;
}

uint64_t fake_reservation_of(uint64_t addr, uint64_t size)
{
	for (const struct reservation *r = reservations; r; r = r->next)
		if (addr + size >= addr && r->start <= addr && addr + size <= r->start + r->size)
			return r->start;
	return 0;
}

bool fake_reservation_is(uint64_t addr, uint64_t size)
{
	for (const struct reservation *r = reservations; r; r = r->next)
		if (r->start == addr)
			return r->size == size;
	return false;
}

void fake_reservation_end(uint64_t addr)
{
	struct reservation **at = &reservations, *old;

	while (*at && (*at)->start != addr)
		at = &(*at)->next;
	old = *at;
	if (!old)
		return;
	*at = old->next;
	munmap((void *)(uintptr_t)old->start, old->size + old->behind);
	free(old);
}

void fake_spans_leaks(const char *who, const char *const *what)
{
	pthread_mutex_lock(&fake_span_lock);
	for (size_t i = 0; i < spans.nr; i++)
		fprintf(stderr, "%s: leak: %s 0x%llx, %llu bytes\n", who, what[span_at(i)->mem], (unsigned long long)span_at(i)->start,
			(unsigned long long)span_at(i)->size);
	for (const struct reservation *r = reservations; r; r = r->next)
		fprintf(stderr, "%s: leak: reserved addresses 0x%llx, %llu bytes\n", who, (unsigned long long)r->start,
			(unsigned long long)r->size);
	pthread_mutex_unlock(&fake_span_lock);
}

/* ---- who may touch it ---- */

/*
 * Kernels and copies use the addresses that the program has, in the same process. So memory of the device has access
 * while some stream works, and none else: a program that touches it itself is ended by a signal, unless it is lucky.
 */
static unsigned int nr_working;

uint64_t fake_page_round(uint64_t size)
{
	return (size + FAKE_PAGE - 1) & -(uint64_t)FAKE_PAGE;
}

static int prot_of(const struct fake_span *r)
{
	return nr_working || !protect ? r->prot : PROT_NONE;
}

void fake_span_protect(const struct fake_span *r)
{
	mprotect((void *)(uintptr_t)r->start, fake_page_round(r->size), prot_of(r));
}

/* Neighbours are changed by one call. */
static void protect_all(void)
{
	for (size_t i = 0; i < spans.nr;) {
		uint64_t start = span_at(i)->start, end = start;
		int prot = prot_of(span_at(i));
		bool is_device = span_at(i)->is_device;

		while (i < spans.nr && span_at(i)->start == end && span_at(i)->is_device == is_device &&
		       prot_of(span_at(i)) == prot)
			end = span_at(i)->start + fake_page_round(span_at(i)->size), i++;
		if (is_device)
			mprotect((void *)(uintptr_t)start, end - start, prot);
	}
}

void fake_device_begin(void)
{
	pthread_mutex_lock(&fake_span_lock);
	if (!nr_working++ && protect)
		protect_all();
	pthread_mutex_unlock(&fake_span_lock);
}

void fake_device_end(void)
{
	pthread_mutex_lock(&fake_span_lock);
	if (!--nr_working && protect)
		protect_all();
	pthread_mutex_unlock(&fake_span_lock);
}

/* ---- the process's memory ---- */

bool fake_is_memory(uint64_t addr, uint64_t size)
{
	uint64_t first = addr & -(uint64_t)FAKE_PAGE, last = fake_page_round(addr + size);
	unsigned char there[256];

	for (uint64_t p = first; p < last; p += sizeof(there) * FAKE_PAGE) {
		uint64_t length = last - p < sizeof(there) * FAKE_PAGE ? last - p : sizeof(there) * FAKE_PAGE;

		if (mincore((void *)(uintptr_t)p, length, there))
			return false;
	}
	return true;
}
