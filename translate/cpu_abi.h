/* cpu_abi.h - what compiled CPU code and the grid runner agree on. */
#ifndef HG_TRANSLATE_CPU_ABI_H
#define HG_TRANSLATE_CPU_ABI_H

#include <stdint.h>

/*
 * A warp of 32 lanes runs as one call of the kernel's function. It returns when every lane
 * has exited, or when it yields: all lanes that live wait at a barrier, or it has spun for so long that
 * other warps must get their turn. Then the frame holds what it needs to go on, in hgIR's terms:
 * a block number for each lane, and the registers that live across the yield.
 */
#define HG_WARP 32

struct hg_cpu_block;		/* the grid runner's own */

struct hg_cpu_frame {
	uint32_t pc[HG_WARP];	/* hgIR block each lane runs next */
	uint32_t alive;		/* lanes that have not exited */
	uint32_t waiting;	/* lanes that wait at a barrier */
	uint32_t barrier[HG_WARP], count[HG_WARP];	/* …which, and for how many threads (0: all) */
	uint32_t pred[HG_WARP];	/* operand, then result, of bar.red */
	uint32_t red;		/* kind of bar.red + 1, or 0 */
	uint32_t warp;		/* in its block */
	struct hg_cpu_block *block;
	uint64_t *spill;	/* registers across yields */
};

enum hg_cpu_yield { HG_CPU_DONE, HG_CPU_BARRIER, HG_CPU_SPIN, HG_CPU_TRAP, HG_CPU_DEADLOCK };

/* One block's constants; first member of struct hg_cpu_block. */
struct hg_cpu_env {
	const unsigned char *params;
	const uint64_t *var_addr;	/* of the module's variables */
	unsigned char *shared;		/* static, then dynamic */
	unsigned char *local;		/* of this warp: lane * local_bytes */
	uint32_t ntid[3], ctaid[3], nctaid[3];
	uint32_t shared_bytes, dynamic_shared_bytes;
	uint64_t grid_barrier;		/* %envreg1:%envreg2, 0 if not cooperative */
	uint64_t grid_id;
	uint32_t smid, nsmid;
};

typedef enum hg_cpu_yield (*hg_cpu_entry)(struct hg_cpu_frame *frame, const struct hg_cpu_env *env);

#endif
