/* expand.h - operations of hgIR that GPUs have no instruction for become others, or code of the support library. */
#ifndef HG_TRANSLATE_EXPAND_H
#define HG_TRANSLATE_EXPAND_H

#include "common/status.h"
#include "translate/ir.h"

/*
 * The result has none of: tex; mma, ldmatrix, stmatrix, movmatrix; vprintf, assertfail; match, redux; atom of mbarrier, of 16 bits, and of
 * f16x2, bf16x2 (compare-and-swap loops). Atomic operations of 128 bits refuse the kernel. Of arithmetic that rounds otherwise than to nearest even it has
 * none of add, sub, mul, fma, div, rcp, sqrt of f64, of div, rcp, sqrt of f32, and of conversions of 64-bit integers to f32 and f64; what
 * emit_arith.c writes in plain f64 arithmetic stays: add, sub, mul, fma of f32, and the other conversions. The result gives the same bits as the original
 * on the cpu target.
 * What it adds: ordinary hgIR, IR_SREG_STATE (the address of struct hg_gpu_state) for prints and asserts.
 *
 * Kernels that were refused stay refused; one that cannot be expanded becomes refused, and says why. The result is a module of its own
 * (ir_module_free) that shares nothing with `m`; kernels and variables keep their numbers, and there are no new ones. Thread-safe.
 */
enum hg_status hg_expand(const struct ir_module *m, struct ir_module **out) HG_MUST_CHECK;
/*
 * The same for a device without f64: of f64 it has what moves bits or looks at them, and conversions from floats, from integers and to narrower floats. These,
 * and div, rcp, sqrt of f32, stay in every direction of rounding: emit_gpu_f32.c makes them of integers.
 */
enum hg_status hg_expand_no_f64(const struct ir_module *m, struct ir_module **out) HG_MUST_CHECK;

#endif
