/* gpu.h - what support code for GPUs alone shares: how a lane reports to the host (translate/gpu_abi.h). */
#ifndef HG_SUPPORT_GPU_H
#define HG_SUPPORT_GPU_H

#include "translate/gpu_abi.h"
#include "translate/support/support.h"

static inline u32 swap_if32(u32 *p, u32 is, u32 to)	/* what was there */
{
	return (u32)__nvvm_atom_cas_gen_i((int *)p, (int)is, (int)to);
}

static inline u64 grid_id(void)
{
	u64 id;

	__asm__("mov.u64 %0, %%gridid;" : "=l"(id));
	return id;
}

static inline u32 block_index(u32 axis)
{
	return axis == 0 ? (u32)__nvvm_read_ptx_sreg_ctaid_x() : axis == 1 ? (u32)__nvvm_read_ptx_sreg_ctaid_y() :
			   (u32)__nvvm_read_ptx_sreg_ctaid_z();
}

static inline u32 thread_index(u32 axis)
{
	return axis == 0 ? (u32)__nvvm_read_ptx_sreg_tid_x() : axis == 1 ? (u32)__nvvm_read_ptx_sreg_tid_y() :
			   (u32)__nvvm_read_ptx_sreg_tid_z();
}

/* True for the lane that reports: it may add to what is told, and then calls fault_told. */
static inline int fault_begin(struct hg_gpu_state *s, enum hg_gpu_fault kind, u32 line)
{
	if (swap_if32(&s->fault, HG_GPU_NO_FAULT, kind) != HG_GPU_NO_FAULT)
		return 0;
	s->line = line;
	for (u32 i = 0; i < 3; i++) {
		s->block[i] = block_index(i);
		s->thread[i] = thread_index(i);
	}
	s->grid_id = grid_id();
	return 1;
}

static inline void fault_told(struct hg_gpu_state *s)
{
	__nvvm_membar_sys();
	*(volatile u32 *)&s->is_told = 1;
}

#endif
