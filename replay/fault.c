/* fault.c - how a kernel's failure is worded. */
#include "replay/fault.h"

#include <inttypes.h>
#include <stdio.h>

#define WHERE "kernel '%s', block (%" PRIu32 ",%" PRIu32 ",%" PRIu32 ")"
#define WHERE_ARGS(w) (w)->kernel, (w)->block[0], (w)->block[1], (w)->block[2]

void hg_fault_describe(enum hg_gpu_fault kind, const struct hg_fault_where *w, struct hg_fault *out)
{
	char *what = out->what;
	size_t size = sizeof(out->what);

	out->addr = 0;
	out->cuda_error = HG_FAULT_LAUNCH_FAILED;
	switch (kind) {
	case HG_GPU_TRAP:
		snprintf(what, size, "trap in " WHERE "%s", WHERE_ARGS(w), w->who);
		break;
	case HG_GPU_STACK:
		if (w->stack_bytes)
			snprintf(what, size, "a stack of %" PRIu32 " bytes (CU_LIMIT_STACK_SIZE) is too small for " WHERE "%s",
				 w->stack_bytes, WHERE_ARGS(w), w->who);
		else
			snprintf(what, size, "the stack (CU_LIMIT_STACK_SIZE) is too small for " WHERE "%s", WHERE_ARGS(w), w->who);
		break;
	case HG_GPU_BAD_INDEX:
		out->addr = w->addr;
		snprintf(what, size, "bad index in " WHERE "%s", WHERE_ARGS(w), w->who);
		break;
	case HG_GPU_ASSERT:
		out->cuda_error = HG_FAULT_ASSERT;
		snprintf(what, size, "%s, in " WHERE, w->assertion, WHERE_ARGS(w));
		break;
	case HG_GPU_MISALIGNED:
		out->addr = w->addr;
		out->cuda_error = HG_FAULT_MISALIGNED_ADDRESS;
		snprintf(what, size, "misaligned address 0x%" PRIx64 " in " WHERE "%s", w->addr, WHERE_ARGS(w), w->who);
		break;
	case HG_GPU_BARRIER:
		snprintf(what, size, "barrier %" PRIu64 " misused in " WHERE, w->addr, WHERE_ARGS(w));
		break;
	case HG_GPU_TEXTURE:
		out->addr = w->addr;
		snprintf(what, size, "0x%" PRIx64 " is no texture, in " WHERE "%s", w->addr, WHERE_ARGS(w), w->who);
		break;
	case HG_GPU_DEADLOCK:
		snprintf(what, size, "threads wait for each other for ever in " WHERE, WHERE_ARGS(w));
		break;
	default:
		snprintf(what, size, "failure in " WHERE "%s", WHERE_ARGS(w), w->who);
		break;
	}
}
