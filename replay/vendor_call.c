/* vendor_call.c - calls of a vendor's runtime. */
#include "replay/vendor_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "replay/target.h"

struct far_call {
	void (*fn)(void);
	uint64_t word[VENDOR_WORDS];
	int result;
};

/* Functions that take fewer words find theirs in the same places. */
static void make_far_call(void *arg)
{
	struct far_call *c = arg;
	const uint64_t *w = c->word;
	int (*fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

	memcpy(&fn, &c->fn, sizeof(fn));
	c->result = fn(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11]);
}

bool vendor_elsewhere(void (*fn)(void), const uint64_t *word, size_t nr, int *result)
{
	struct far_call c = { .fn = fn };

	if (!hg_target_elsewhere)
		return false;
	memcpy(c.word, word, nr * sizeof(*word));
	if (!hg_target_elsewhere(make_far_call, &c))
		return false;
	*result = c.result;
	return true;
}

void vendor_args_text(char *out, size_t size, const uint64_t *word, size_t nr)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < nr && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, word[i] < 0x10000000 ? "%s%" PRIu64 : "%s0x%" PRIx64, i ? ", " : "",
					 word[i]);
}
