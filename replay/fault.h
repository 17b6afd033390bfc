/* fault.h - how a kernel's failure is worded, and which CUresult it is: the same on every target. Private to replay/. */
#ifndef HG_REPLAY_FAULT_H
#define HG_REPLAY_FAULT_H

#include "replay/target.h"
#include "translate/gpu_abi.h"

/* CUresult of cuda.h; targets know no other name of CUDA's */
enum hg_fault_result {
	HG_FAULT_ILLEGAL_ADDRESS = 700, HG_FAULT_OUT_OF_RESOURCES = 701, HG_FAULT_ASSERT = 710, HG_FAULT_ILLEGAL_INSTRUCTION = 715,
	HG_FAULT_MISALIGNED_ADDRESS = 716, HG_FAULT_LAUNCH_FAILED = 719,
};

struct hg_fault_where {
	const char *kernel;
	uint32_t block[3];
	const char *who;		/* ", thread (1,0,0), PTX line 12", or as much as is known */
	uint64_t addr;			/* of a bad access or texture; the number of a barrier */
	uint32_t stack_bytes;		/* of a thread, of a stack that did not suffice; 0: not known */
	const char *assertion;		/* hg_print_assertion_text */
};

/* All but `queue`. A kind that is none says that the kernel failed. */
void hg_fault_describe(enum hg_gpu_fault kind, const struct hg_fault_where *w, struct hg_fault *out);

#endif
