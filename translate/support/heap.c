/* heap.c - malloc and free of device code. */
#include "translate/support/support.h"

/*
 * The driver gives __hgshim_heap more memory than it has here, as many bytes as `size` then says. Blocks are cut off at `top`; those
 * given back wait in a list for each size. A list's head has the place of its first block in 16 bytes (low 40 bits, 0: none)
 * and a number that grows with each change, so that nobody mistakes a block that came back for the one it saw.
 */
#define NR_SIZES 80
#define PLACE_MASK ((1ULL << 40) - 1)
#define IN_USE 0x5553454d5f4d4548ULL	/* of a block's state; the heap's address is mixed in */

struct block {
	u64 state;		/* IN_USE ^ address of the heap, or that of the heap */
	u32 size_index, pad;
	u64 next;		/* of one that is free: begins what the program may use */
};
#define HEAD 16			/* bytes before what the program gets */

struct heap {
	u64 size;
	u64 top;		/* bytes that were cut off */
	u64 list[NR_SIZES];
	u64 pad[14];
	unsigned char first[];
};
static struct heap __hgshim_heap __attribute__((aligned(256)));

/* Sizes 32, 48, 64, 96, 128, …: index 2 * n is 32 << n, the next one half as much again. */
static u64 size_of(u32 index)
{
	return (index & 1 ? 48ULL : 32ULL) << (index / 2);
}

static u32 index_of(u64 bytes)
{
	u32 n = 59 - (u32)__builtin_clzll((bytes - 1) | 31), index;

	/* 32 << n is more than bytes - 1 */
	index = 2 * n;
	return index && size_of(index - 1) >= bytes ? index - 1 : index;
}

static u64 head_of(u64 old, u64 place)
{
	return (old & ~PLACE_MASK) + (PLACE_MASK + 1) + place;
}

static struct block *pop(u32 index)
{
	u64 *list = &__hgshim_heap.list[index], old = load64(list);

	while (old & PLACE_MASK) {
		struct block *b = (struct block *)(__hgshim_heap.first + ((old & PLACE_MASK) - 1) * 16);
		u64 seen;

		fence();
		seen = swap_if(list, old, head_of(old, load64(&b->next) & PLACE_MASK));
		if (seen == old)
			return b;
		old = seen;
	}
	return 0;
}

static struct block *cut(u32 index)
{
	u64 bytes = size_of(index), old = load64(&__hgshim_heap.top), seen;
	struct block *b;

	for (;; old = seen) {
		if (bytes > __hgshim_heap.size - old)
			return 0;
		seen = swap_if(&__hgshim_heap.top, old, old + bytes);
		if (seen == old)
			break;
	}
	b = (struct block *)(__hgshim_heap.first + old);
	b->size_index = index;
	return b;
}

void *malloc(u64 size)
{
	struct block *b = 0;
	u32 index;

	if (!size || size > __hgshim_heap.size)
		return 0;
	index = index_of(size + HEAD);
	b = pop(index);
	if (!b)
		b = cut(index);
	/* at the end, a larger one will do */
	for (u32 i = index + 1; !b && i < NR_SIZES && size_of(i) <= __hgshim_heap.size; i++)
		b = pop(i);
	if (!b)
		return 0;
	b->state = IN_USE ^ (u64)&__hgshim_heap;
	fence();
	return &b->next;
}

void free(void *p)
{
	struct block *b = (struct block *)((unsigned char *)p - HEAD);
	struct heap *heap;
	u64 state, place, old, seen, *list;

	if (!p)
		return;
	/* a block of whatever module's heap: its address is in the state */
	state = (u64)p & 15 ? 0 : load64(&b->state);
	heap = (struct heap *)(state ^ IN_USE);
	if ((u64)heap >> 48 || (u64)p < (u64)heap || (u64)heap & 7 || swap_if(&b->state, state, 0) != state) {
		__assertfail("free of memory that malloc did not give, or a second time", "device heap", 0, "free", 1);
		return;
	}
	place = (u64)((unsigned char *)b - heap->first) / 16 + 1;
	list = &heap->list[b->size_index];
	for (old = load64(list);; old = seen) {
		b->next = old & PLACE_MASK;
		fence();
		seen = swap_if(list, old, head_of(old, place));
		if (seen == old)
			return;
	}
}
