/* simt_float.h - floating point by integers, in every rounding mode, and PTX's approximations. Private to simt/. */
#ifndef TESTS_DRIVERS_SIMT_FLOAT_H
#define TESTS_DRIVERS_SIMT_FLOAT_H

#include <stdbool.h>
#include <stdint.h>

#include "translate/ir.h"

/*
 * Numbers are passed as their bits, in the low end of 64. Formats are IR_F16, IR_BF16, IR_F32 and IR_F64; modes
 * IR_RN, IR_RZ, IR_RM, IR_RP. Subnormal numbers are kept. A result that is not a number is the format's one NaN.
 */
enum simt_float_op { SIMT_FMA, SIMT_ADD, SIMT_SUB, SIMT_MUL, SIMT_DIV, SIMT_SQRT };

#define SIMT_FLOAT_CODE(op, format, rnd) ((uint32_t)(op) | (uint32_t)(format) << 8 | (uint32_t)(rnd) << 16)
uint64_t simt_float_op(uint32_t code, uint64_t a, uint64_t b, uint64_t c);

/* code: SIMT_FLOAT_CODE(from, to, rnd) */
uint64_t simt_float_cvt(uint32_t code, uint64_t v);
/* code: SIMT_FLOAT_CODE(is signed, to, rnd); v: extended to 64 bits */
uint64_t simt_float_from_int(uint32_t code, uint64_t v);

/*
 * Formats that are no types (enum ir_fmt). code: format | rounding << 8 | SIMT_NARROW_FINITE; of and to the bits of an f32. Found by
 * looking for the neighbours among all numbers of the format.
 */
#define SIMT_NARROW_FINITE (UINT32_C(1) << 16)
uint32_t simt_narrow(uint32_t code, uint32_t v);
uint32_t simt_widen(uint32_t format, uint32_t v);

uint64_t simt_float_nan(enum ir_type format);
bool simt_float_is_nan(enum ir_type format, uint64_t v);

/* flags: 1 max, 2 .NaN, 4 .xorsign.abs */
uint64_t simt_float_min_max(uint32_t format, uint32_t flags, uint64_t a, uint64_t b);

/* Sums, products, quotients and fused multiply-adds of f32 alone: the same bits wherever these round correctly. */
float simt_sin(float x);
float simt_cos(float x);
float simt_ex2(float x);
float simt_lg2(float x);
float simt_tanh(float x);

#endif
