/* ptx_spirv.h - hgshim-ptx asm --target spirv. */
#ifndef HG_TOOLS_PTX_SPIRV_H
#define HG_TOOLS_PTX_SPIRV_H

#include "common/status.h"
#include "translate/spirv.h"

/* Prints a kernel's module through spirv-dis, or writes it to `object`. A message has been logged where it fails. */
enum hg_status ptx_spirv_asm(const struct ir_module *ir, size_t kernel, const struct hg_gpu_need *need, const char *object) HG_MUST_CHECK;

#endif
