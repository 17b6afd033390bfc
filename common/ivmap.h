/* ivmap.h - disjoint address ranges, found by any address inside them. */
#ifndef HG_COMMON_IVMAP_H
#define HG_COMMON_IVMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/* Zero-initialised is empty. Not thread-safe. Ranges of size 0 are not allowed. */
struct hg_ivmap {
	struct hg_ivmap_node *root;
	size_t count;
};

struct hg_iv {
	uint64_t start, size;
	uint64_t value;
};

/* HG_ERR_INVALID when the range is empty, wraps around, or overlaps one that is there. */
enum hg_status hg_ivmap_put(struct hg_ivmap *m, uint64_t start, uint64_t size, uint64_t value) HG_MUST_CHECK;
/* Removes the range that begins exactly there; false when there is none. `out` may be NULL. */
bool hg_ivmap_remove(struct hg_ivmap *m, uint64_t start, struct hg_iv *out);
/* The range that contains the address. */
bool hg_ivmap_find(const struct hg_ivmap *m, uint64_t addr, struct hg_iv *out);
/* The first range that ends behind the address: the one containing it, else the next. */
bool hg_ivmap_from(const struct hg_ivmap *m, uint64_t addr, struct hg_iv *out);
/* Ascending; stops at, and returns, the first result that is not 0. */
int hg_ivmap_each(const struct hg_ivmap *m, int (*each)(const struct hg_iv *iv, void *arg), void *arg);
void hg_ivmap_release(struct hg_ivmap *m);

#endif
