/* reserve.c - keeps address ranges free until what they were recorded for is made again. */
#define _GNU_SOURCE
#include "replay/reserve.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/msg.h"

enum hg_status hg_reserve_add(struct hg_reserve *r, uint64_t addr, uint64_t size, uint64_t unit)
{
	uint64_t start = addr & -unit, end = (addr + size + unit - 1) & -unit;

	if (!addr || !size || addr + size < addr || end <= start) {
		pr_err("a record places %llu bytes at 0x%llx, where nothing can lie", (unsigned long long)size,
		       (unsigned long long)addr);
		return HG_ERR_CORRUPT;
	}
	if (r->nr == r->capacity) {
		size_t capacity = r->capacity ? 2 * r->capacity : 256;
		struct hg_held *grown = realloc(r->range, capacity * sizeof(*grown));

		if (!grown)
			return HG_ERR_NOMEM;
		r->range = grown;
		r->capacity = capacity;
	}
	r->range[r->nr++] = (struct hg_held){ start, end };
	return HG_OK;
}

static int by_start(const void *a, const void *b)
{
	const struct hg_held *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

void hg_reserve_merge(struct hg_reserve *r)
{
	size_t nr = 0;

	if (!r->nr)
		return;
	qsort(r->range, r->nr, sizeof(*r->range), by_start);
	for (size_t i = 1; i < r->nr; i++) {
		if (r->range[i].start <= r->range[nr].end) {
			if (r->range[i].end > r->range[nr].end)
				r->range[nr].end = r->range[i].end;
		} else {
			r->range[++nr] = r->range[i];
		}
	}
	r->nr = nr + 1;
}

static bool map_nothing(uint64_t start, uint64_t size)
{
	void *p = mmap((void *)start, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
		       -1, 0);

	if (p == MAP_FAILED)
		return false;
	if (p == (void *)start)
		return true;
	munmap(p, size);
	return false;
}

static int unmap_held(const struct hg_iv *iv, void *arg)
{
	(void)arg;
	munmap((void *)iv->start, iv->size);
	return 0;
}

static void let_go(struct hg_reserve *r)
{
	hg_ivmap_each(&r->held, unmap_held, NULL);
	hg_ivmap_release(&r->held);
}

enum hg_status hg_reserve_hold(struct hg_reserve *r, void (*taken)(uint64_t start, uint64_t end, void *arg), void *arg)
{
	enum hg_status st = HG_OK;

	hg_reserve_merge(r);
	for (size_t i = 0; i < r->nr; i++) {
		uint64_t start = r->range[i].start, size = r->range[i].end - start;

		if (!map_nothing(start, size)) {
			st = HG_ERR_NOSPC;
			taken(start, start + size, arg);
			continue;
		}
		if (hg_ivmap_put(&r->held, start, size, 1)) {
			munmap((void *)start, size);
			st = HG_ERR_NOMEM;
			break;
		}
	}
	if (st)
		let_go(r);
	return st;
}

static enum hg_status take_out(struct hg_reserve *r, uint64_t start, uint64_t end, bool unmap)
{
	struct hg_iv iv;

	while (start < end && hg_ivmap_from(&r->held, start, &iv) && iv.start < end) {
		uint64_t iv_end = iv.start + iv.size;
		uint64_t from = iv.start > start ? iv.start : start, to = iv_end < end ? iv_end : end;
		enum hg_status st = HG_OK;

		hg_ivmap_remove(&r->held, iv.start, NULL);
		if (unmap)
			munmap((void *)from, to - from);
		if (iv.start < from)
			st = hg_ivmap_put(&r->held, iv.start, from - iv.start, 1);
		if (!st && to < iv_end)
			st = hg_ivmap_put(&r->held, to, iv_end - to, 1);
		if (st)
			return st;
		start = to;
	}
	return HG_OK;
}

enum hg_status hg_reserve_release(struct hg_reserve *r, uint64_t addr, uint64_t size, uint64_t unit)
{
	return take_out(r, addr & -unit, (addr + size + unit - 1) & -unit, true);
}

enum hg_status hg_reserve_forget(struct hg_reserve *r, uint64_t addr, uint64_t size)
{
	return take_out(r, addr, addr + size, false);
}

void hg_reserve_fini(struct hg_reserve *r)
{
	let_go(r);
	free(r->range);
	*r = (struct hg_reserve){ 0 };
}
