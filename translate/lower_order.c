/* lower_order.c - numbers the blocks of a kernel so that diverged lanes meet again. */
#include "translate/lower.h"

/*
 * A weak topological order: strongly connected parts (loops) stand together and in topological
 * order; inside a loop its header comes first and the rest is ordered in the same way, edges to the header left
 * out. When the lowest block runs first, lanes that left a loop wait behind it until all have left, and
 * the two sides of a branch are done before the block where they join.
 */
struct work {
	uint32_t start;		/* header of this part */
	uint32_t base, nr;	/* places it fills */
	uint32_t region;
};

struct frame { uint32_t block, edge; };

bool lower_order(struct hg_pool *tmp, const struct lower_graph *g, uint32_t *order, uint32_t *nr_reached)
{
	uint32_t *region = hg_pool_array(tmp, g->nr, sizeof(*region));	/* part a block belongs to; 0: all */
	uint32_t *index = hg_pool_array(tmp, g->nr, sizeof(*index));
	uint32_t *low = hg_pool_array(tmp, g->nr, sizeof(*low));
	uint32_t *stack = hg_pool_array(tmp, g->nr, sizeof(*stack));
	struct frame *frame = hg_pool_array(tmp, g->nr, sizeof(*frame));
	/* A part is strictly larger than those inside it, so there are never more than nr in wait. */
	struct work *work = hg_pool_array(tmp, (size_t)g->nr + 1, sizeof(*work));
	uint32_t nr_work = 0, next_region = 1, counter = 0;

	if (tmp->failed)
		return false;
	/* How many blocks can be reached decides where the first part ends. */
	{
		uint32_t nr = 1, top = 0;

		stack[top++] = 0;
		region[0] = next_region;
		while (top) {
			uint32_t b = stack[--top];

			for (uint32_t e = g->first[b]; e < g->first[b + 1]; e++)
				if (!region[g->succ[e]]) {
					region[g->succ[e]] = next_region;
					stack[top++] = g->succ[e];
					nr++;
				}
		}
		*nr_reached = nr;
		work[nr_work++] = (struct work){ .start = 0, .nr = nr, .region = next_region++ };
	}
	while (nr_work) {
		struct work w = work[--nr_work];
		uint32_t nr_frames = 0, top = 0, end = w.base + w.nr;
		uint32_t first_index = counter + 1;

		/* Tarjan's algorithm; it finishes parts last first. index < first_index: not visited in this round. */
		index[w.start] = low[w.start] = ++counter;
		stack[top++] = w.start;
		frame[nr_frames++] = (struct frame){ w.start, g->first[w.start] };
		while (nr_frames) {
			struct frame *f = &frame[nr_frames - 1];
			uint32_t b = f->block;

			if (f->edge < g->first[b + 1]) {
				uint32_t s = g->succ[f->edge++];

				if (region[s] != w.region || s == w.start)
					continue;
				if (index[s] < first_index) {
					index[s] = low[s] = ++counter;
					stack[top++] = s;
					frame[nr_frames++] = (struct frame){ s, g->first[s] };
				} else if (index[s] < low[b]) {
					low[b] = index[s];
				}
				continue;
			}
			nr_frames--;
			if (nr_frames && low[b] < low[frame[nr_frames - 1].block])
				low[frame[nr_frames - 1].block] = low[b];
			if (low[b] != index[b])
				continue;
			/* b heads a part: everything above it on the stack. */
			uint32_t from = top;

			do
				from--;
			while (stack[from] != b);
			end -= top - from;
			if (top - from == 1) {
				order[end] = b;
				region[b] = UINT32_MAX;
			} else {
				for (uint32_t i = from; i < top; i++)
					region[stack[i]] = next_region;
				work[nr_work++] = (struct work){ .start = b, .base = end, .nr = top - from,
								 .region = next_region++ };
			}
			top = from;
		}
	}
	return true;
}
