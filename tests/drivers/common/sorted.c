/* sorted.c - ranges of addresses, ascending and disjoint. */
#include "tests/drivers/common/sorted.h"

#include <stdlib.h>
#include <string.h>

static void *at(const struct fake_sorted *s, size_t i)
{
	return (char *)s->item + i * s->item_size;
}

static uint64_t start_of(const void *item)
{
	return ((const uint64_t *)item)[0];
}

static uint64_t end_of(const void *item)
{
	return start_of(item) + ((const uint64_t *)item)[1];
}

static size_t index_from(const struct fake_sorted *s, uint64_t addr)
{
	size_t lo = 0, hi = s->nr;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (end_of(at(s, mid)) <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void *fake_sorted_from(const struct fake_sorted *s, uint64_t addr)
{
	size_t i = index_from(s, addr);

	return i < s->nr ? at(s, i) : NULL;
}

void *fake_sorted_find(const struct fake_sorted *s, uint64_t addr)
{
	void *item = fake_sorted_from(s, addr);

	return item && start_of(item) <= addr ? item : NULL;
}

void *fake_sorted_add(struct fake_sorted *s, const void *item)
{
	size_t i = index_from(s, start_of(item));

	if (i < s->nr && start_of(at(s, i)) < end_of(item))
		return NULL;
	if (s->nr == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		void *more = realloc(s->item, room * s->item_size);

		if (!more)
			return NULL;
		s->item = more;
		s->room = room;
	}
	memmove(at(s, i + 1), at(s, i), (s->nr - i) * s->item_size);
	memcpy(at(s, i), item, s->item_size);
	s->nr++;
	return at(s, i);
}

void fake_sorted_remove(struct fake_sorted *s, uint64_t start)
{
	size_t i = index_from(s, start);

	if (i == s->nr || start_of(at(s, i)) != start)
		return;
	s->nr--;
	memmove(at(s, i), at(s, i + 1), (s->nr - i) * s->item_size);
}
