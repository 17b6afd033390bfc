/* amd_compile.h - an LLVM module becomes code of an AMD chip. Private to translate/. */
#ifndef HG_TRANSLATE_AMD_COMPILE_H
#define HG_TRANSLATE_AMD_COMPILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llvm-c/Core.h>

#include "common/status.h"
#include "translate/amdgcn.h"

#define AMD_TRIPLE "amdgcn-amd-amdhsa"

extern const char *const amd_tested_chips[];	/* ends with NULL */

/* As hg_amd_fits, with what a kernel needs, in bytes and threads of a block. */
bool amd_fits(const struct hg_amd_chip *chip, const char *kernel, uint64_t shared, uint64_t threads, uint64_t local, char *why,
	      size_t why_size);

enum amd_result { AMD_CODE_OBJECT, AMD_ASSEMBLY, AMD_LLVM_TEXT };

struct amd_compile {
	const char *kernel;		/* the function's name, too */
	const struct hg_amd_chip *chip;
	uint32_t max_work_items;	/* of a block */
	bool embed;			/* the module goes along as bitcode, in the section .llvmbc (docs/amd-target.md) */
	enum amd_result result;
	/*
	 * Puts the kernel into the empty module, whose triple and layout are set. On another thread than the caller of amd_compile;
	 * what it has to say goes into `why`.
	 */
	enum hg_status (*fill)(void *arg, LLVMContextRef c, LLVMModuleRef m, char *why, size_t why_size);
	void *arg;
	char why[400];			/* what failed, without the kernel's name */
};

/*
 * *out is malloc'ed; a text ends with a NUL that is not counted. HG_ERR_UNSUPPORTED with job->why where LLVM or lld cannot do it: nothing is
 * logged, and neither ends the process. Any thread.
 */
enum hg_status amd_compile(struct amd_compile *job, void **out, size_t *size) HG_MUST_CHECK;

/* Links a relocatable object with lld, or with comgr once lld was left in the middle. As above. */
enum hg_status amd_link(const struct hg_amd_chip *chip, const void *object, size_t object_size, void **out, size_t *size, char *why,
			size_t why_size) HG_MUST_CHECK;

#endif
