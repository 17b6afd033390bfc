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
 *
 * Left to the writer (emit_gpu_spirv.c has dealt with the rest):
 *   types           i1 i8 i16 i32 i64 half float double, { iN, i1 } of cmpxchg with its extractvalue 0 and 1, arrays of i8 in allocas
 *   instructions    ret br switch unreachable; phi select freeze; integer and float arithmetic, fneg, icmp, fcmp of every predicate; conversions,
 *                   bitcast, ptrtoint and inttoptr (i32: cut, and widened with zeros), addrspacecast from and to generic; alloca,
 *                   load, store (volatile: Volatile), getelementptr over i8 with one index of i32 (signed) or i64
 *   atomics         atomicrmw xchg add sub and or xor min max umin umax, cmpxchg, load, store of i32 and i64; fence. Scopes by the names
 *                   "wavefront" or "subgroup" Subgroup, "workgroup" Workgroup, "agent" or "device" Device, none CrossDevice; monotonic: no semantics
 *   intrinsics      fma fabs floor ceil trunc roundeven of float and double; sqrt of double alone; fdiv of double alone; ctpop ctlz cttz
 *                   (of 0: the width), bitreverse, smin smax umin umax, uadd.sat sadd.sat usub.sat ssub.sat of i8 to i64; fshl, fshr of i32, i64;
 *                   fptosi.sat, fptoui.sat
 *   undef, poison   0, so that it does not matter where a reader would freeze them
 *
 * Anything else is HG_ERR_UNSUPPORTED, and `why` names it.
 *
 * spirv-val takes what is written with --target-env opencl2.2, but with spv1.3 what has version 1.3, or one of OpenCL's extensions
 * that spirv-val does not know of: Float16 (cl_khr_fp16), Int64Atomics (cl_khr_int64_base_atomics).
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
