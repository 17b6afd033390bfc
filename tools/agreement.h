/* agreement.h - a log on several targets: what they agree on, launch by launch, kernel by kernel. */
#ifndef HG_TOOLS_AGREEMENT_H
#define HG_TOOLS_AGREEMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "replay/sides.h"

/*
 * Compares all sides with the first one that was replayed. When buffers differ, `again` is called to replay side `index` up to record
 * `to`, so that the bytes can be shown; it may fail, and they are not shown then. HG_ERR_UNAVAILABLE, without a message: no side was replayed.
 */
struct agreement;
enum hg_status agreement_new(struct hg_sides *sides, enum hg_status (*again)(size_t index, uint64_t to, void *arg), void *arg,
			     struct agreement **out) HG_MUST_CHECK;
void agreement_free(struct agreement *a);	/* NULL is allowed */
/* Some target that was replayed left other bytes than the first, by more than `ulp` units in the last place of 32-bit floats. */
bool agreement_differs(const struct agreement *a, uint32_t ulp);
void agreement_print(const struct agreement *a);		/* on stdout */
/* As messages: where targets part from the first. call_site, where the log has it, says who made that launch. */
void agreement_say(const struct agreement *a, void (*call_site)(uint32_t stack, void *arg), void *arg);
json_t *agreement_json(const struct agreement *a);	/* NULL: no memory */

#endif
