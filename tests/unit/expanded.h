/* expanded.h - a kernel as GPUs get it (translate/expand.h), for the CPU target to run. */
#ifndef HG_TESTS_EXPANDED_H
#define HG_TESTS_EXPANDED_H

#include <string.h>

#include "translate/expand.h"
#include "translate/jit.h"

/* $state, which the CPU target does not know, becomes the address of a block. */
static inline void expanded_set_state(struct ir_module *ir, const void *state)
{
	for (uint32_t f = 0; f < ir->nr_funcs; f++)
		for (uint32_t b = 0; b < ir->func[f].nr_blocks; b++)
			for (uint32_t i = 0; i < ir->func[f].block[b].nr_insns; i++) {
				struct ir_insn *in = &ir->func[f].block[b].insn[i];

				for (unsigned int s = 0; s < in->nr_src; s++)
					if (in->src[s].kind == IR_OPD_SREG && in->src[s].index == IR_SREG_STATE)
						in->src[s] = (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG,
										  .imm = (uintptr_t)state };
			}
}

/*
 * Kernel 0 of the module, its $state at `state`. *k stays NULL if nothing had to be expanded, or if the kernel has what no GPU but NVIDIA's can do. false: it does not
 * work. *ir and *cm are the caller's to free, NULL or not.
 */
static inline bool expanded_kernel(const struct hg_module *m, const void *state, struct ir_module **ir, struct hg_cpu_module **cm,
				   struct hg_cpu_kernel **k)
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
	expanded_set_state(*ir, state);
	if (hg_cpu_module_create_ir(*ir, NULL, cm))
		return false;
	hg_cpu_module_fast_only(*cm);
	return !hg_cpu_kernel_get(*cm, 0, k);
}

#endif
