/* arena.c - which addresses of a range are free: a treap of free pieces that knows its largest piece. */
#include "common/arena.h"

#include <stdlib.h>

#include "common/msg.h"

struct arena_piece {
	struct arena_piece *left, *right;
	uint64_t start, size;
	uint64_t largest;	/* piece in this subtree */
	uint64_t priority;
};

enum hg_status hg_arena_env(uint64_t *base, bool *is_set)
{
	const char *text = getenv("HGSHIM_ARENA");
	unsigned long long wanted = 0;
	char *end;

	if (text && *text) {
		wanted = strtoull(text, &end, 0);
		if (*end || (wanted > 1 && (wanted % HG_ARENA_GRANULE || wanted > (UINT64_C(1) << 47) - 2 * HG_ARENA_SIZE))) {
			pr_err("HGSHIM_ARENA is '%s', neither 1 nor an address: a multiple of 0x%llx with 0x%llx bytes behind it",
			       text, (unsigned long long)HG_ARENA_GRANULE, (unsigned long long)(2 * HG_ARENA_SIZE));
			return HG_ERR_INVALID;
		}
	}
	*base = wanted > 1 ? wanted : HG_ARENA_BASE;
	if (is_set)
		*is_set = wanted;
	return HG_OK;
}

static uint64_t largest(const struct arena_piece *p)
{
	return p ? p->largest : 0;
}

static void update(struct arena_piece *p)
{
	p->largest = p->size;
	if (largest(p->left) > p->largest)
		p->largest = p->left->largest;
	if (largest(p->right) > p->largest)
		p->largest = p->right->largest;
}

/* Splits into pieces that start below `start` and the others. */
static void split(struct arena_piece *p, uint64_t start, struct arena_piece **below, struct arena_piece **rest)
{
	if (!p) {
		*below = NULL;
		*rest = NULL;
	} else if (p->start < start) {
		split(p->right, start, &p->right, rest);
		*below = p;
		update(p);
	} else {
		split(p->left, start, below, &p->left);
		*rest = p;
		update(p);
	}
}

static struct arena_piece *join(struct arena_piece *a, struct arena_piece *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (a->priority > b->priority) {
		a->right = join(a->right, b);
		update(a);
		return a;
	}
	b->left = join(a, b->left);
	update(b);
	return b;
}

static struct arena_piece *piece_new(struct hg_arena *a, uint64_t start, uint64_t size)
{
	struct arena_piece *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	a->random = a->random * 6364136223846793005u + 1442695040888963407u;
	p->priority = a->random;
	p->start = start;
	p->size = size;
	p->largest = size;
	return p;
}

static void insert(struct hg_arena *a, struct arena_piece *p)
{
	struct arena_piece *below, *rest;

	p->left = NULL;
	p->right = NULL;
	update(p);
	split(a->root, p->start, &below, &rest);
	a->root = join(join(below, p), rest);
}

static void extract(struct hg_arena *a, struct arena_piece *p)
{
	struct arena_piece *below, *rest, *middle;

	split(a->root, p->start, &below, &rest);
	split(rest, p->start + 1, &middle, &rest);
	a->root = join(below, rest);
}

enum hg_status hg_arena_init(struct hg_arena *a, uint64_t base, uint64_t size)
{
	*a = (struct hg_arena){ .base = base, .size = size, .random = 88172645463325252u };
	a->root = piece_new(a, base, size);
	return a->root ? HG_OK : HG_ERR_NOMEM;
}

static void free_tree(struct arena_piece *p)
{
	if (!p)
		return;
	free_tree(p->left);
	free_tree(p->right);
	free(p);
}

void hg_arena_fini(struct hg_arena *a)
{
	free_tree(a->root);
	*a = (struct hg_arena){ 0 };
}

static uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & -align;
}

/* The lowest piece with an aligned room of that size. */
static struct arena_piece *first_fit(struct arena_piece *p, uint64_t size, uint64_t align)
{
	struct arena_piece *found;
	uint64_t start;

	if (largest(p) < size)
		return NULL;
	found = first_fit(p->left, size, align);
	if (found)
		return found;
	start = align_up(p->start, align);
	if (start - p->start <= p->size && p->size - (start - p->start) >= size)
		return p;
	return first_fit(p->right, size, align);
}

/* The last piece that starts at or below the address. */
static struct arena_piece *at_or_below(struct arena_piece *p, uint64_t addr)
{
	struct arena_piece *best = NULL;

	while (p) {
		if (p->start <= addr) {
			best = p;
			p = p->right;
		} else {
			p = p->left;
		}
	}
	return best;
}

/* Cuts [addr, addr+size) out of a piece that contains it. */
static enum hg_status cut(struct hg_arena *a, struct arena_piece *p, uint64_t addr, uint64_t size)
{
	uint64_t before = addr - p->start;
	uint64_t after = p->size - before - size;
	struct arena_piece *tail = NULL;

	if (before && after) {
		tail = piece_new(a, addr + size, after);
		if (!tail)
			return HG_ERR_NOMEM;
	}
	extract(a, p);
	if (before) {
		p->size = before;
		insert(a, p);
	} else if (after) {
		p->start = addr + size;
		p->size = after;
		insert(a, p);
	} else {
		free(p);
	}
	if (tail)
		insert(a, tail);
	return HG_OK;
}

enum hg_status hg_arena_take(struct hg_arena *a, uint64_t size, uint64_t align, uint64_t *out)
{
	struct arena_piece *p;
	enum hg_status st;
	uint64_t addr;

	if (!size)
		return HG_ERR_INVALID;
	p = first_fit(a->root, size, align);
	if (!p)
		return HG_ERR_NOSPC;
	addr = align_up(p->start, align);
	st = cut(a, p, addr, size);
	if (st)
		return st;
	*out = addr;
	return HG_OK;
}

enum hg_status hg_arena_take_at(struct hg_arena *a, uint64_t addr, uint64_t size)
{
	struct arena_piece *p = at_or_below(a->root, addr);

	if (!size || !p || addr - p->start >= p->size || size > p->size - (addr - p->start))
		return HG_ERR_NOSPC;
	return cut(a, p, addr, size);
}

void hg_arena_give(struct hg_arena *a, uint64_t addr, uint64_t size)
{
	struct arena_piece *below = at_or_below(a->root, addr);
	struct arena_piece *above = at_or_below(a->root, addr + size);
	struct arena_piece *p;

	if (below && below->start + below->size != addr)
		below = NULL;
	if (above && above->start != addr + size)
		above = NULL;
	if (below) {
		extract(a, below);
		below->size += size;
		if (above) {
			extract(a, above);
			below->size += above->size;
			free(above);
		}
		insert(a, below);
	} else if (above) {
		extract(a, above);
		above->start = addr;
		above->size += size;
		insert(a, above);
	} else {
		p = piece_new(a, addr, size);
		if (p)
			insert(a, p);
		else
			pr_warn("out of memory: %llu bytes of device addresses at 0x%llx stay unused",
				(unsigned long long)size, (unsigned long long)addr);
	}
}

bool hg_arena_has(const struct hg_arena *a, uint64_t addr)
{
	return addr - a->base < a->size;
}
