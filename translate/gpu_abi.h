/* gpu_abi.h - what compiled GPU code and the target that launches it agree on. */
#ifndef HG_TRANSLATE_GPU_ABI_H
#define HG_TRANSLATE_GPU_ABI_H

#include <stdint.h>

/* Bump when the layouts below or the meaning of emitted code change: part of the cache's key. */
#define HG_GPU_ABI 3

/*
 * A kernel's only arguments: the block of its PTX parameters (param_bytes, rounded up to 16), and this behind it, by
 * value. Nothing else is asked of the vendor's runtime: no hidden arguments.
 */
struct hg_gpu_env {
	uint64_t vars;			/* device memory: var_addr[i] of the module's variable i */
	uint64_t state;			/* struct hg_gpu_state of the queue; device and host see it at one address */
	uint64_t grid_barrier;		/* %envreg1:%envreg2: { u32 size, u32 barrier }, zeros at the start; 0: not cooperative */
	uint64_t grid_id;
	uint32_t ntid[3], nctaid[3];	/* in CUDA's terms, whatever the hardware was asked for */
	uint32_t dynamic_shared_bytes;
	uint32_t shared_bytes;		/* static and dynamic; what code itself needs of local data share follows, aligned to 16 */
	uint32_t nsmid, reserved;
};
#define HG_GPU_ENV_OFFSET(param_bytes) (((param_bytes) + 15u) & ~15u)

/*
 * How a queue's kernels tell the host of failures and prints. A kernel that finds `fault` set when it begins ends at once, which is
 * how what follows a failure is dropped; the host sets it to HG_GPU_CANCELLED for the same end. The lane that sets it (from 0, by
 * compare-and-swap) writes the rest, then `is_told`; it ends, others go on until they end by themselves.
 */
enum hg_gpu_fault {
	HG_GPU_NO_FAULT, HG_GPU_CANCELLED, HG_GPU_TRAP, HG_GPU_STACK, HG_GPU_BAD_INDEX, HG_GPU_ASSERT, HG_GPU_MISALIGNED, HG_GPU_BARRIER,
	HG_GPU_TEXTURE, HG_GPU_DEADLOCK,
};
struct hg_gpu_state {
	uint32_t fault;			/* enum hg_gpu_fault */
	uint32_t is_told;		/* 1; the host may make it another number, not 0 */
	uint32_t line;			/* of the PTX text; 0: not known */
	uint32_t block[3], thread[3];
	uint32_t assert_line;
	uint64_t grid_id, addr;
	char text[3][192];		/* HG_GPU_ASSERT: message, file, function; NUL-terminated, cut to fit */
	/*
	 * Device printf: `print_bytes` of memory at `print`. A record's place comes of adding its size to print_head; one that does
	 * not fit leaves print_head as it is and its printf gives -1. The host reads records when no kernel of the queue runs, and sets print_head to 0.
	 */
	uint64_t print;
	uint32_t print_bytes, print_head;
	uint32_t reads;			/* of clocks, where the hardware's cannot be read: they count these */
	uint32_t reserved;
};

/*
 * The print area: records one behind the other, from its beginning to print_head, each at a multiple of 8. A record is this
 * structure, nr_args words of 8 bytes, then NUL-terminated strings. A word holds an argument, 4 bytes of an int in its low half. A string's
 * place is counted from the beginning of its record, 0: NULL; %s has that in its word. A lane that asserts leaves a record as well, and
 * no format: file, line, function, block x y z, thread x y z, message.
 */
enum hg_gpu_record_kind { HG_GPU_RECORD_PRINT = 1, HG_GPU_RECORD_ASSERT };
struct hg_gpu_record {
	uint32_t size;			/* of the whole record, a multiple of 8 */
	uint32_t kind;			/* enum hg_gpu_record_kind */
	uint32_t format;		/* its place */
	uint32_t nr_args;
};
#define HG_GPU_ASSERT_ARGS 10

#endif
