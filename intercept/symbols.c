/* symbols.c - the driver's symbols as a table: names, versions, entries, and what answers them. */
#include "intercept/symbols.h"

#include <string.h>

#define PLAIN HG_FLAVOUR_PLAIN
#define PTSZ HG_FLAVOUR_PTSZ
#define PTDS HG_FLAVOUR_PTDS

const struct hg_symbol hg_symbols[HG_SYM_COUNT] = {
#define HG_SYM(sym, plain, base, version, flavour, params, args)                                   \
	[HG_SYM_##sym] = { #sym, #base, (void *)sym, version, HG_SYM_##plain, flavour },
#include "intercept/symbols.def"
};

struct hg_real hg_real[2];

/* the members of hg_real are walked as an array */
_Static_assert(sizeof(struct hg_real) == HG_SYM_COUNT * sizeof(void *), "one pointer for each symbol");

int hg_symbol_find(const char *name)
{
	size_t lo = 0, hi = HG_SYM_COUNT;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, hg_symbols[mid].name);

		if (!c)
			return (int)mid;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return -1;
}

void hg_real_fill(void *(*proc)(const char *symbol))
{
	void **plain = (void **)&hg_real[0], **thread = (void **)&hg_real[1];

	for (size_t i = 0; i < HG_SYM_COUNT; i++)
		plain[i] = thread[i] = proc ? proc(hg_symbols[i].name) : NULL;
	for (size_t i = 0; i < HG_SYM_COUNT; i++)
		if (hg_symbols[i].flavour != HG_FLAVOUR_PLAIN)
			thread[hg_symbols[i].plain] = plain[i];
}
