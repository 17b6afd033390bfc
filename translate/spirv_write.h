/* spirv_write.h - LLVM IR of one kernel, as emit_gpu.h makes it for SPIR-V, written as a SPIR-V module. Private to translate/. */
#ifndef HG_TRANSLATE_SPIRV_WRITE_H
#define HG_TRANSLATE_SPIRV_WRITE_H

#include <llvm-c/Core.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/*
 * Debian's LLVM has no SPIR-V backend, and one emitter for all GPUs keeps their arithmetic the same bit for bit; so this writes the IR
 * which that emitter makes: scalar code, no calls but intrinsics and the functions below, pointers of address spaces 0 generic, 1
 * CrossWorkgroup, 3 Workgroup, 5 Function. After mem2reg and simple passes; never vectorised.
 *
 * Functions of the dialect (declared, never defined; i32 unless said; those of lanes are convergent):
 *   hg.local.id.N()  hg.group.id.N()          BuiltIn LocalInvocationId, WorkgroupId (N: 0 1 2), as i32
 *   hg.lane()                                  BuiltIn SubgroupLocalInvocationId
 *   hg.ballot(i1)                              the low word of OpGroupNonUniformBallot, Subgroup
 *   hg.shuffle(v, lane)                        OpGroupNonUniformShuffle
 *   hg.first(v)                                OpGroupNonUniformBroadcastFirst
 *   hg.barrier()                               OpControlBarrier, Workgroup, AcquireRelease of Workgroup and CrossWorkgroup memory
 *   hg.wave.barrier()                          the same for Subgroup
 *   hg.clock() hg.timer()                      i64; 0 where the environment has none
 *   hg.is.shared(ptr) hg.is.private(ptr)       i1, of a generic pointer
 * Anything else is HG_ERR_UNSUPPORTED, and `why` names it.
 */
struct spirv_write_options {
	const char *kernel;		/* the entry point's name; the module's only defined function */
	bool uses_lanes;		/* ask for sub-groups of 32 (SPIR-V 1.3) */
	uint32_t max_threads;		/* 0: not said; else a hint */
};
/* *words is malloc'ed; *version as in spirv.h, as low as the module allows. */
enum hg_status spirv_write(LLVMModuleRef m, const struct spirv_write_options *opt, uint32_t **words, size_t *nr_words, uint32_t *version,
			   char *why, size_t why_size) HG_MUST_CHECK;

#endif
