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

/* Bump when the layout below, the helpers' order or the meaning of emitted code changes: part of the cache's key. */
#define HG_CPU_ABI 11

struct hg_cpu_rt;		/* helpers that emitted code calls: translate/cpu_rt.h */

/* Where a warp goes on. */
enum { HG_CPU_START = 0, HG_CPU_LANES = 1, HG_CPU_POINT = 2, HG_CPU_ENDED = UINT32_MAX };

struct hg_cpu_frame {
	/*
	 * The hgIR block each lane runs next. Only lanes that are not running just now have a valid one; and all
	 * lanes do after a yield. A lane that waits in the bar.red of block b has nr_blocks + b; one whose warp operation, at
	 * the beginning of block b, was done with lanes that are at others (hg_cpu_rt.meet) has 2 * nr_blocks + b.
	 */
	uint32_t pc[HG_WARP];
	uint32_t barrier[HG_WARP], count[HG_WARP];	/* of lanes that wait: which, and for how many threads (0: all) */
	uint32_t pred[HG_WARP];	/* bar.red: the lane's operand, replaced by the result when it is released */
	uint32_t red_op[HG_WARP];	/* …and its sub */
	/* of lanes that wait for others of the warp: which operation (HG_CPU_SYNC_NAN in cpu_rt.h), for whom, and its operands */
	uint32_t sync_key[HG_WARP], sync_members[HG_WARP];
	uint64_t sync_value[HG_WARP];	/* replaced by the result */
	uint32_t sync_b[HG_WARP], sync_c[HG_WARP];	/* of shfl; c is replaced by the second result */
	uint32_t alive;		/* lanes that have not exited */
	uint32_t waiting;	/* lanes that wait at a barrier */
	uint32_t blocked;	/* lanes that wait for others of the warp */
	uint32_t red;		/* lanes of `waiting` that wait in a bar.red */
	uint32_t resume;	/* HG_CPU_START, HG_CPU_LANES, or HG_CPU_POINT + n: all lanes go on together at yield point n */
	uint32_t stuck;		/* …of some lanes of the warp, while others of it wait for them; HG_CPU_LANES is possible then */
	uint32_t same;		/* all of `waiting` wait at one barrier, named next; else, with HG_CPU_LANES, look at each lane */
	uint32_t same_barrier, same_count;
	uint32_t warp;		/* in its block */
	uint32_t fault_line, fault_lanes;	/* of a trap or a bad address that the code itself found; line 0: none */
	const uint32_t *tid;	/* tid.x of 32 lanes, then y, then z */
	unsigned char *local;	/* lane * hg_cpu_env.local_bytes */
	unsigned char *spill;	/* registers across yields, 64-byte aligned */
	/*
	 * Of a block's first frame, when the whole block runs in one call: the warp that ran last, where the warps after it
	 * go on (as in `resume`), and where those before it do.
	 */
	uint32_t running, others_resume, before_resume;
	uint32_t shape;		/* across a barrier of such a call: enum hg_cpu_shape */
};

/* The spill area follows the frame. */
#define HG_CPU_FRAME_BYTES ((sizeof(struct hg_cpu_frame) + 63) / 64 * 64)

/*
 * A kernel is compiled in two variants. The ordinary one relies on lanes meeting again where branches
 * join, runs them in that order, and keeps uniform registers once for the warp. When lanes of one warp wait
 * for each other in another order (a barrier that only some reach, a warp operation whose lanes are
 * elsewhere, a lane that holds what others spin for), it yields HG_CPU_DEOPT with resume = HG_CPU_LANES, and
 * the other variant, which runs lanes in any order, continues from the frame. The two agree on the spill area: the slot of
 * each register that is live into some block, 32 elements of it (predicates: 32 bits). A warp that yields
 * at a point (HG_CPU_POINT) goes on in the ordinary variant, of any tier.
 *
 * The ordinary variant also runs whole blocks in one call, as long as all warps of the block meet at the same barriers, named 0
 * and for all threads, or end together: HG_CPU_BLOCK_DONE. The call gets the first frame, env.whole_block is set; of the frames
 * `alive` is read and the first one's `resume` is HG_CPU_START. Any other result is that of the warp `running`, whose frame says
 * where it goes on. Those before it have ended (before_resume is HG_CPU_ENDED) or wait at barrier 0, to go on at
 * before_resume; those after it go on at others_resume. Of their frames only `alive` and the spill area are right.
 */
enum hg_cpu_yield { HG_CPU_DONE, HG_CPU_BARRIER, HG_CPU_SPIN, HG_CPU_TRAP, HG_CPU_DEADLOCK, HG_CPU_DEOPT, HG_CPU_BLOCK_DONE,
		    HG_CPU_STACK	/* a trap: local memory does not suffice for the stack */ };

/* How the threads of a warp lie in their block: tid.x counts from lane to lane, or so in each half and tid.y from the first to the second. */
enum hg_cpu_shape { HG_CPU_SHAPE_NONE, HG_CPU_SHAPE_ROW, HG_CPU_SHAPE_TWO_ROWS };

/* One block's constants. */
struct hg_cpu_env {
	const unsigned char *params;
	const uint64_t *var_addr;	/* of the module's variables */
	unsigned char *shared;		/* static, then dynamic */
	const struct hg_cpu_rt *rt;
	uint64_t grid_barrier;		/* %envreg1:%envreg2, 0 if not cooperative */
	uint64_t grid_id;
	uint32_t ntid[3], ctaid[3], nctaid[3];
	uint32_t nr_warps;
	uint32_t shared_bytes, dynamic_shared_bytes;	/* total; dynamic alone */
	uint32_t smid, nsmid;
	uint32_t whole_block;		/* not 0: run all of its warps */
	uint32_t shape;			/* enum hg_cpu_shape, of every warp */
	uint32_t warp_bytes;		/* from one warp's frame to the next one's */
	uint32_t local_bytes;		/* of a lane: the kernel's, and the stack */
};

typedef enum hg_cpu_yield (*hg_cpu_entry)(struct hg_cpu_frame *frame, const struct hg_cpu_env *env);

#endif
