/* vendor_call.c - a vendor's runtime: finds its functions, calls them. */
#define _GNU_SOURCE
#include "replay/vendor_call.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "replay/target.h"

bool vendor_functions(void *library, const char *vendor, const struct vendor_function *function, size_t nr, void *all, char path[VENDOR_PATH],
		      char *why, size_t why_size)
{
	struct link_map *map = NULL;

	snprintf(path, VENDOR_PATH, "%s", dlinfo(library, RTLD_DI_LINKMAP, &map) || !map ? vendor : map->l_name);
	for (size_t i = 0; i < nr; i++) {
		void *fn = dlsym(library, function[i].symbol);

		if (!fn && function[i].need == NEEDED) {
			snprintf(why, why_size, "'%s' has no %s, which %s has from version %s on", path, function[i].symbol, vendor,
				 function[i].since);
			return false;
		}
		memcpy((char *)all + function[i].at, &fn, sizeof(fn));
	}
	return true;
}

struct load {
	pthread_once_t *once;
	void (*fn)(void);
};

static void load_once(void *arg)
{
	struct load *l = arg;

	pthread_once(l->once, l->fn);
}

void vendor_load_once(pthread_once_t *once, void (*load)(void))
{
	struct load l = { once, load };

	if (!hg_target_elsewhere || !hg_target_elsewhere(load_once, &l))
		load_once(&l);
}

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
