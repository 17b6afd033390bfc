/* gpu_state.c - the host's side of struct hg_gpu_state. */
#include "replay/gpu_state.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/device_print.h"
#include "replay/fault.h"

/* A device has many lanes: what a program asks for with a limit of 0, and what it may ask for. */
#define PRINT_MIN (64u << 10)
#define PRINT_MAX (256u << 20)

#define TOLD_AND_PRINTED 2	/* is_told of an assertion */

size_t hg_gpu_state_bytes(void)
{
	size_t bytes = hg_print_get_limit();

	bytes = bytes < PRINT_MIN ? PRINT_MIN : bytes > PRINT_MAX ? PRINT_MAX : bytes;
	return sizeof(struct hg_gpu_state) + (bytes + 7) / 8 * 8;
}

void hg_gpu_state_init(struct hg_gpu_state *s, uint64_t addr, size_t bytes)
{
	size_t print = bytes - sizeof(*s);

	*s = (struct hg_gpu_state){ .print = addr + sizeof(*s), .print_bytes = print > PRINT_MAX ? PRINT_MAX : (uint32_t)print };
}

bool hg_gpu_state_cancel(struct hg_gpu_state *s)
{
	uint32_t was = HG_GPU_NO_FAULT;

	return __atomic_compare_exchange_n(&s->fault, &was, HG_GPU_CANCELLED, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
	       was == HG_GPU_CANCELLED;
}

bool hg_gpu_state_is_quiet(const struct hg_gpu_state *s)
{
	return !__atomic_load_n(&s->fault, __ATOMIC_ACQUIRE) && !__atomic_load_n(&s->print_head, __ATOMIC_RELAXED);
}

size_t hg_gpu_state_printed(const struct hg_gpu_state *s, size_t block_bytes)
{
	size_t most = block_bytes > sizeof(*s) ? block_bytes - sizeof(*s) : 0;

	return s->print_head < most ? s->print_head : most;
}

/* A text of an assertion, whose NUL need not be there. */
static void take_text(char out[192], const char text[192])
{
	memcpy(out, text, 192);
	out[191] = 0;
}

void hg_gpu_state_print(struct hg_gpu_state *s, const void *area, size_t area_bytes)
{
	size_t used = s->print_head;
	struct hg_gpu_state copy;
	bool asserted = false;

	s->print_head = 0;
	if (used > area_bytes) {
		pr_warn("kernels say that they printed %zu bytes, where there are %zu", used, area_bytes);
		used = area_bytes;
	}
	if (used)	/* what is wrong with it has been said; nothing else is lost */
		(void)hg_print_records(area, used, &asserted);
	memcpy(&copy, s, sizeof(copy));
	if (copy.fault != HG_GPU_ASSERT || copy.is_told != 1)
		return;
	s->is_told = TOLD_AND_PRINTED;
	if (!asserted) {
		char text[3][192];

		for (int i = 0; i < 3; i++)
			take_text(text[i], copy.text[i]);
		hg_print_assertion_of(text[0], text[1], copy.assert_line, text[2], copy.block, copy.thread);
	}
}

bool hg_gpu_state_fault(const struct hg_gpu_state *s, const struct hg_gpu_launch *l, struct hg_fault *out)
{
	struct hg_fault_where w = { .kernel = l->kernel, .stack_bytes = l->stack_bytes };
	uint32_t fault = __atomic_load_n(&s->fault, __ATOMIC_ACQUIRE);
	uint32_t is_told = __atomic_load_n(&s->is_told, __ATOMIC_ACQUIRE);	/* before what it stands for */
	char who[96] = "", what[192], file[192], assertion[200];
	struct hg_gpu_state copy;
	int n;

	if (fault == HG_GPU_NO_FAULT || fault == HG_GPU_CANCELLED)
		return false;
	memcpy(&copy, s, sizeof(copy));
	memcpy(w.block, copy.block, sizeof(w.block));
	w.addr = copy.addr;
	if (is_told)
		n = snprintf(who, sizeof(who), ", thread (%" PRIu32 ",%" PRIu32 ",%" PRIu32 ")", copy.thread[0], copy.thread[1],
			     copy.thread[2]);
	else
		n = snprintf(who, sizeof(who), "; it did not get to say where");
	if (copy.line && n > 0)
		snprintf(who + n, sizeof(who) - (size_t)n, ", PTX line %" PRIu32, copy.line);
	w.who = who;
	take_text(what, copy.text[0]);
	take_text(file, copy.text[1]);
	hg_print_assertion_text(assertion, sizeof(assertion), what, file, copy.assert_line, copy.thread);
	w.assertion = assertion;
	hg_fault_describe((enum hg_gpu_fault)fault, &w, out);
	return true;
}
