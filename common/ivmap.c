/* ivmap.c - disjoint address ranges, found by any address inside them. */
#include "common/ivmap.h"

#include <stdlib.h>

/* A treap: a search tree by `iv.start` that is at the same time a heap by a hash of it. */
struct hg_ivmap_node {
	struct hg_ivmap_node *left, *right;
	struct hg_iv iv;
};

typedef struct hg_ivmap_node node;

static uint64_t priority(const node *n)
{
	uint64_t h = n->iv.start;

	h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
	h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ h >> 33;
}

/* Every range of `n` that starts below goes to *low, the others to *high. */
static void split(node *n, uint64_t start, node **low, node **high)
{
	while (n) {
		if (n->iv.start < start) {
			*low = n;
			low = &n->right;
			n = n->right;
		} else {
			*high = n;
			high = &n->left;
			n = n->left;
		}
	}
	*low = *high = NULL;
}

/* Every range of `low` starts below every one of `high`. */
static node *merge(node *low, node *high)
{
	node *root = NULL, **at = &root;

	while (low && high) {
		if (priority(low) > priority(high)) {
			*at = low;
			at = &low->right;
			low = low->right;
		} else {
			*at = high;
			at = &high->left;
			high = high->left;
		}
	}
	*at = low ? low : high;
	return root;
}

static const node *find_from(const struct hg_ivmap *m, uint64_t addr)
{
	const node *n = m->root, *best = NULL;

	while (n) {
		/* the last address, not the end: a range may end at the end of the address space */
		if (n->iv.start + (n->iv.size - 1) >= addr) {
			best = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

bool hg_ivmap_from(const struct hg_ivmap *m, uint64_t addr, struct hg_iv *out)
{
	const node *n = find_from(m, addr);

	if (!n)
		return false;
	*out = n->iv;
	return true;
}

bool hg_ivmap_find(const struct hg_ivmap *m, uint64_t addr, struct hg_iv *out)
{
	const node *n = find_from(m, addr);

	if (!n || n->iv.start > addr)
		return false;
	*out = n->iv;
	return true;
}

enum hg_status hg_ivmap_put(struct hg_ivmap *m, uint64_t start, uint64_t size, uint64_t value)
{
	const node *behind;
	node *low, *high, *n;

	if (!size || start + (size - 1) < start)
		return HG_ERR_INVALID;
	behind = find_from(m, start);
	if (behind && behind->iv.start <= start + (size - 1))
		return HG_ERR_INVALID;
	n = calloc(1, sizeof(*n));
	if (!n)
		return HG_ERR_NOMEM;
	n->iv = (struct hg_iv){ .start = start, .size = size, .value = value };
	split(m->root, start, &low, &high);
	m->root = merge(merge(low, n), high);
	m->count++;
	return HG_OK;
}

bool hg_ivmap_remove(struct hg_ivmap *m, uint64_t start, struct hg_iv *out)
{
	node **at = &m->root, *n;

	while (*at && (*at)->iv.start != start)
		at = start < (*at)->iv.start ? &(*at)->left : &(*at)->right;
	n = *at;
	if (!n)
		return false;
	*at = merge(n->left, n->right);
	if (out)
		*out = n->iv;
	free(n);
	m->count--;
	return true;
}

static int walk(const node *n, int (*each)(const struct hg_iv *iv, void *arg), void *arg)
{
	int rc = 0;

	while (n && !rc) {
		rc = walk(n->left, each, arg);
		if (!rc)
			rc = each(&n->iv, arg);
		n = n->right;
	}
	return rc;
}

int hg_ivmap_each(const struct hg_ivmap *m, int (*each)(const struct hg_iv *iv, void *arg), void *arg)
{
	return walk(m->root, each, arg);
}

void hg_ivmap_release(struct hg_ivmap *m)
{
	node *n = m->root;

	/* turn left edges to the right until there is none: no stack, linear time */
	while (n) {
		node *left = n->left;

		if (left) {
			n->left = left->right;
			left->right = n;
			n = left;
		} else {
			node *right = n->right;

			free(n);
			n = right;
		}
	}
	m->root = NULL;
	m->count = 0;
}
