/* sorted.h - ranges of addresses, ascending and disjoint: an array of any structure that begins with { uint64_t start, size; }. Not thread-safe. */
#ifndef TESTS_DRIVERS_COMMON_SORTED_H
#define TESTS_DRIVERS_COMMON_SORTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_sorted {
	size_t item_size;
	void *item;
	size_t nr, room;
};
/* An empty one, of that structure. */
#define FAKE_SORTED(type)                                                                                                         \
	{                                                                                                                         \
		.item_size = sizeof(type) + 0 * sizeof(char[offsetof(type, start) == 0 && offsetof(type, size) == 8 ? 1 : -1])    \
	}

/* The first that ends behind the address, and the one that has it; NULL: none. Good until the next is added or removed. */
void *fake_sorted_from(const struct fake_sorted *s, uint64_t addr);
void *fake_sorted_find(const struct fake_sorted *s, uint64_t addr);
/* Where the copy is; NULL: no memory, or it overlaps one that is there. */
void *fake_sorted_add(struct fake_sorted *s, const void *item);
/* The one that begins there, if there is one. */
void fake_sorted_remove(struct fake_sorted *s, uint64_t start);

#endif
