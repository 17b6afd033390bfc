/* wrong.c - a wrong result to order. */
#include "tests/drivers/common/wrong.h"

#include <stdlib.h>
#include <string.h>

#include "common/msg.h"

void fake_wrong_init(struct fake_wrong *w, const char *knob, const char *text)
{
	const char *colon = text ? strchr(text, ':') : NULL;
	char *end;

	*w = (struct fake_wrong){ 0 };
	if (!text || !*text)
		return;
	if (!colon || (size_t)(colon - text) >= sizeof(w->kernel))
		goto bad;
	w->nth = strtoull(colon + 1, &end, 0);
	if (*end != ':' || !w->nth)
		goto bad;
	w->addr = strtoull(end + 1, &end, 0);
	if (*end || !w->addr)
		goto bad;
	memcpy(w->kernel, text, (size_t)(colon - text));
	return;

bad:
	pr_err("'%s=%s' is not KERNEL:NTH:ADDRESS: all results are right", knob, text);
}

void fake_wrong_after(const struct fake_wrong *w, const char *kernel, uint64_t nth)
{
	if (w->kernel[0] && nth == w->nth && !strcmp(kernel, w->kernel))
		*(volatile unsigned char *)(uintptr_t)w->addr ^= 1;
}
