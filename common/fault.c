/* fault.c - points where a test makes hgshim fail. */
#include "common/fault.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POINTS 16

_Atomic signed char hg_fault_state;

static struct point {
	char name[48];
	unsigned int first, last;	/* passes that fail, counted from 1 */
	atomic_uint passed;
} point[MAX_POINTS];

static size_t nr_points;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_points(void)
{
	const char *s = getenv("HGSHIM_FAULT");

	while (s && *s && nr_points < MAX_POINTS) {
		struct point *p = &point[nr_points];
		size_t len = strcspn(s, ":,");

		if (len && len < sizeof(p->name)) {
			memcpy(p->name, s, len);
			p->first = 1;
			p->last = ~0u;
			if (s[len] == ':') {
				char *end;

				p->first = (unsigned int)strtoul(s + len + 1, &end, 10);
				if (*end != '+')
					p->last = p->first;
			}
			nr_points++;
		}
		s += strcspn(s, ",");
		s += *s == ',';
	}
	atomic_store(&hg_fault_state, (signed char)(nr_points ? 1 : -1));
}

bool hg_fault_slow(const char *name)
{
	pthread_once(&once, read_points);
	for (size_t i = 0; i < nr_points; i++) {
		unsigned int pass;

		if (strcmp(point[i].name, name))
			continue;
		pass = atomic_fetch_add(&point[i].passed, 1) + 1;
		return pass >= point[i].first && pass <= point[i].last;
	}
	return false;
}
