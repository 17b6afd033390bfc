/* spirv.h - kernels as SPIR-V modules, for Intel's GPUs through Level Zero. */
#ifndef HG_TRANSLATE_SPIRV_H
#define HG_TRANSLATE_SPIRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "translate/emit_gpu.h"
#include "translate/ir.h"
#include "translate/module.h"

/*
 * A kernel has two arguments (OpenCL environment, Physical64):
 *   0  pointer in CrossWorkgroup to its PTX parameters and, at HG_GPU_ENV_OFFSET(param_bytes), struct hg_gpu_env (gpu_abi.h); aligned to 16
 *   1  pointer in Workgroup to its shared memory: static, dynamic, and what code itself needs (extra_lds); aligned to 16
 * Its work-groups have one dimension: all threads of a block, x first, one behind the other; the block's shape is in env.ntid. In others,
 * drivers lay sub-groups along whichever dimension they like. A kernel that uses lanes has a sub-group size of 32. Addresses in
 * memory are used without being arguments: indirect access to device, host and shared memory must be allowed.
 */

/* What a device can do, as far as code depends on it. */
struct hg_spirv_device {
	bool has_fp16, has_fp64, has_int64_atomics;
	bool has_subgroup_32;		/* sub-groups of 32 can be asked for */
	uint32_t slm_bytes;		/* local memory of a work-group */
	uint32_t max_work_items;	/* of a work-group */
};

/* Borrows `ir`, which must outlive it. Thread-safe. key, of hg_module_hash; NULL: not cached on disk. */
struct hg_spirv_module;
enum hg_status hg_spirv_module_create(const struct ir_module *ir, const unsigned char *key, const struct hg_spirv_device *device,
				      struct hg_spirv_module **out) HG_MUST_CHECK;
void hg_spirv_module_destroy(struct hg_spirv_module *m);	/* NULL is allowed */

struct hg_spirv_code {
	const uint32_t *words;		/* a SPIR-V module with this kernel alone; lives as long as the module, as all here */
	size_t size;			/* in bytes */
	const char *symbol;		/* the entry point's name */
	bool is_scheduled, uses_lanes;
	uint32_t version;		/* of SPIR-V: 0x10000, 0x10300, … */
	uint32_t param_bytes, arg_bytes;	/* of argument 0: parameters alone; all of it */
	uint32_t shared_bytes, extra_lds;	/* static; what code needs behind env.shared_bytes, aligned to 16 */
	uint32_t max_threads;
};
/* As hg_amd_code_get. */
enum hg_status hg_spirv_code_get(struct hg_spirv_module *m, size_t kernel, const struct hg_gpu_need *need,
				 const struct hg_spirv_code **out) HG_MUST_CHECK;

/* Whether a device can run a kernel at all (its static limits); `why` is NUL-terminated, cut to fit. Compiles nothing. */
bool hg_spirv_fits(const struct hg_spirv_device *d, const struct hg_kernel_info *k, char *why, size_t why_size);

/* A kernel as LLVM IR of the dialect that modules are written from, for people and tests; *out is malloc'ed. */
enum hg_status hg_spirv_text(const struct ir_module *ir, size_t kernel, const struct hg_spirv_device *device,
			     const struct hg_gpu_need *need, char **out) HG_MUST_CHECK;

/* A device that can do everything, for those that have none to ask: sub-groups of 32, 64 KiB of local memory, 1024 work-items. */
extern const struct hg_spirv_device hg_spirv_any_device;

#endif
