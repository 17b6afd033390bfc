/* amdgcn.h - kernels as code objects for AMD's GPUs. */
#ifndef HG_TRANSLATE_AMDGCN_H
#define HG_TRANSLATE_AMDGCN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/emit_gpu.h"
#include "translate/ir.h"
#include "translate/module.h"

/* A chip by the name that HIP gives it (gcnArchName): "gfx90a:sramecc+:xnack-", or its first part alone. */
struct hg_amd_chip {
	char name[64];			/* "gfx90a" */
	char features[128];		/* for LLVM: "+sramecc,-xnack", may be empty */
	bool is_tested;			/* one of those that the tests look at; others are tried if LLVM knows them */
	bool has_wave32;
	char like[64];			/* not known to the LLVM in here, but to the ROCm machine's compiler, which makes its code: the chip that stands for it until then; else empty */
	uint32_t lds_bytes;		/* of a block: 65536 */
	uint32_t max_work_items;	/* of a block: 1024 */
};
/* HG_ERR_UNSUPPORTED with a message for a name that neither LLVM nor a ROCm machine's comgr knows. */
enum hg_status hg_amd_chip_find(const char *gcn_arch_name, struct hg_amd_chip *out) HG_MUST_CHECK;

/*
 * The code of a module, made kernel by kernel when asked for, kept in memory and in the disk cache. Borrows `ir`, which must outlive it.
 * Thread-safe. key, of hg_module_hash; NULL: not cached on disk.
 */
struct hg_amd_module;
enum hg_status hg_amd_module_create(const struct ir_module *ir, const unsigned char *key, const struct hg_amd_chip *chip,
				    struct hg_amd_module **out) HG_MUST_CHECK;
void hg_amd_module_destroy(struct hg_amd_module *m);	/* NULL is allowed */

struct hg_amd_code {
	const void *elf;		/* a code object (ELF, version 5); lives as long as the module, as all here */
	size_t size;
	const char *symbol;		/* of the kernel: hipModuleGetFunction(…, symbol) */
	enum hg_gpu_layout layout;
	bool is_scheduled;
	uint32_t param_bytes, kernarg_bytes;	/* see gpu_abi.h */
	uint32_t extra_lds;		/* behind the launch's static and dynamic shared memory, aligned to 16 */
	uint32_t max_threads;		/* PTX threads of a block that this code takes */
	uint32_t vgprs, sgprs, vgpr_spills, sgpr_spills, scratch_bytes;
};
/*
 * HG_ERR_UNSUPPORTED, with a message that names kernel, need and limit, when the chip cannot run it; the kernel's own refusal likewise. HG_ERR_NOTFOUND: no
 * such index. Blocks while compiling; a second call with the same needs only looks up.
 */
enum hg_status hg_amd_code_get(struct hg_amd_module *m, size_t kernel, const struct hg_gpu_need *need,
			       const struct hg_amd_code **out) HG_MUST_CHECK;

/* How a launch of the code looks to the hardware: work-items of a block, in three dimensions (emit_gpu.h). */
void hg_amd_block(const struct hg_amd_code *c, const uint32_t block[3], uint32_t out[3]);

/* Whether the chip can run a kernel at all (its static limits); `why` is NUL-terminated, cut to fit. Compiles nothing. */
bool hg_amd_fits(const struct hg_amd_chip *chip, const struct hg_kernel_info *k, char *why, size_t why_size);

/* A kernel's LLVM IR or assembly, for people and tests; *out is malloc'ed. */
enum hg_amd_text { HG_AMD_LLVM, HG_AMD_ASM };
enum hg_status hg_amd_text(const struct ir_module *ir, size_t kernel, const struct hg_amd_chip *chip, const struct hg_gpu_need *need,
			   enum hg_amd_text kind, char **out) HG_MUST_CHECK;

#endif
