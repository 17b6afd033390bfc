/* jit.h - kernels as machine code of this CPU, compiled lazily, in two tiers. */
#ifndef HG_TRANSLATE_JIT_H
#define HG_TRANSLATE_JIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/status.h"
#include "translate/cpu_abi.h"
#include "translate/ir.h"
#include "translate/module.h"

struct hg_cpu_module;
struct hg_cpu_kernel;	/* one kernel of it; lives as long as the module */

/*
 * Borrows the module, which must outlive the result. Compiles nothing yet. Thread-safe, as is
 * everything here. Destroying waits for background compilation of this module; no grid may
 * be running one of its kernels.
 */
enum hg_status hg_cpu_module_create(const struct hg_module *m, struct hg_cpu_module **out) HG_MUST_CHECK;
/* The same from hgIR alone. key: names the contents for the disk cache; NULL: not cached. */
enum hg_status hg_cpu_module_create_ir(const struct ir_module *ir, const unsigned char *key,
				       struct hg_cpu_module **out) HG_MUST_CHECK;
void hg_cpu_module_destroy(struct hg_cpu_module *m);	/* NULL is allowed */
/* Before a kernel is asked for: the fast tier alone, for code that runs once. Nothing is compiled in the background. */
void hg_cpu_module_fast_only(struct hg_cpu_module *m);

/*
 * The kernel, compiled: from the disk cache, or by the fast tier, and then the optimised version
 * replaces it from background threads. Blocks while compiling; different kernels compile in
 * parallel. HG_ERR_UNSUPPORTED, with the reason logged, for a kernel that was refused;
 * HG_ERR_NOTFOUND for an index that is none. A second call only looks up. A forked child keeps what was
 * compiled and compiles nothing more: HG_ERR_UNAVAILABLE.
 */
enum hg_status hg_cpu_kernel_get(struct hg_cpu_module *m, size_t index, struct hg_cpu_kernel **out) HG_MUST_CHECK;

/*
 * The stack in bytes that a thread which runs kernels must have: HGSHIM_STACK, default 64 MiB, at least 1 MiB. A kernel whose code would need more is
 * not compiled: HG_ERR_UNSUPPORTED with a message that names it.
 */
size_t hg_cpu_stack_bytes(void);
/* …and one that compiles them. */
#define HG_CPU_COMPILE_STACK ((size_t)8 << 20)

struct hg_cpu_kernel_info {
	const char *name;
	uint32_t nr_blocks;		/* of hgIR */
	uint32_t param_bytes, shared_bytes, local_bytes;
	bool uses_stack;		/* behind local_bytes */
	uint32_t spill_bytes;		/* of a warp, across a yield */
};
const struct hg_cpu_kernel_info *hg_cpu_kernel_info(const struct hg_cpu_kernel *k);

/* The newest code there is. Another call may give another function: both may run the same warp in turn. */
hg_cpu_entry hg_cpu_kernel_entry(const struct hg_cpu_kernel *k);
/* The variant that runs lanes in any order (cpu_abi.h), compiled now if it was not yet; NULL if that fails. */
hg_cpu_entry hg_cpu_kernel_free_entry(struct hg_cpu_kernel *k);
int hg_cpu_kernel_tier(const struct hg_cpu_kernel *k);		/* 1 or 2 */

/* The processor when it stopped code of a kernel: at pc, because of addr. */
struct hg_cpu_state {
	uint64_t pc, addr;
	uint64_t reg[16];	/* rax rcx rdx rbx rsp rbp rsi rdi r8-r15 */
	uint64_t mask[8];	/* AVX-512's; zeros where there are none */
};
/*
 * What was running there, of any tier and variant of this kernel's module, also from the cache: the PTX line, and the lane whose access it
 * was, as a bit; each 0 where it is not known. Takes the code apart: slow. Any thread, not in a signal handler.
 */
void hg_cpu_kernel_where(const struct hg_cpu_kernel *k, const struct hg_cpu_state *s, uint32_t *line, uint32_t *lanes);
/* Whether its optimised code was there already, in the disk cache. */
bool hg_cpu_kernel_was_cached(const struct hg_cpu_kernel *k);
/* Blocks until the optimised version is in place (or could not be made, which is logged). */
void hg_cpu_kernel_wait(struct hg_cpu_kernel *k);

/*
 * The text of a kernel as LLVM IR or as assembly, for people and tests; *out is malloc'ed.
 * tier 1 or 2.
 */
enum hg_cpu_text { HG_CPU_LLVM, HG_CPU_ASM };
enum hg_status hg_cpu_kernel_text(const struct ir_module *ir, size_t index, enum hg_cpu_text kind, int tier,
				  char **out) HG_MUST_CHECK;
/*
 * The machine code of a kernel as an ELF object, as it would be loaded; *out is malloc'ed. free_order: of the variant that
 * runs lanes in any order (cpu_abi.h). Not cached, not loaded, nothing is logged but errors. For measuring and checking.
 */
enum hg_status hg_cpu_kernel_object(const struct ir_module *ir, size_t index, int tier, bool free_order, void **out,
				    size_t *size) HG_MUST_CHECK;

#endif
