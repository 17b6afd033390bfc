/* expanded.h - a kernel as GPUs get it (translate/expand.h), for the CPU target to run. */
#ifndef HG_TESTS_EXPANDED_H
#define HG_TESTS_EXPANDED_H

#include <string.h>

#include "translate/expand.h"
#include "translate/jit.h"

/*
 * Kernel 0 of the module. *k stays NULL if nothing had to be expanded, or if the kernel has what no GPU but NVIDIA's can do. false: it does not
 * work. *ir and *cm are the caller's to free, NULL or not.
 */
static inline bool expanded_kernel(const struct hg_module *m, struct ir_module **ir, struct hg_cpu_module **cm, struct hg_cpu_kernel **k)
{
	*ir = NULL;
	*cm = NULL;
	*k = NULL;
	if (hg_expand(hg_module_ir(m), ir))
		return false;
	if ((*ir)->func[0].refused)
		return strstr((*ir)->func[0].refused, "of 128 bits") != NULL;
	if (ir_equal(*ir, hg_module_ir(m)))
		return true;
	if (hg_cpu_module_create_ir(*ir, NULL, cm))
		return false;
	hg_cpu_module_fast_only(*cm);
	return !hg_cpu_kernel_get(*cm, 0, k);
}

#endif
