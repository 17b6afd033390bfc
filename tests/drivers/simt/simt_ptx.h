/* simt_ptx.h - operations of hgIR as functions, for code made by simt_hgir.c. Private to simt/. */
#ifndef TESTS_DRIVERS_SIMT_PTX_H
#define TESTS_DRIVERS_SIMT_PTX_H

#include <stdint.h>

#include "tests/drivers/simt/simt_llvm.h"

/* Every value is 64 bits wide; of narrower ones the low bits count, and results are zero-extended. */
uint64_t simt_lop3(uint64_t a, uint64_t b, uint64_t c, uint32_t table);
uint32_t simt_funnel(uint32_t left, uint32_t lo, uint32_t hi, uint32_t n);	/* n <= 32 */
uint32_t simt_prmt(uint32_t mode, uint32_t a, uint32_t b, uint32_t select);
/* bits: 32 or 64, with 0x100 where signed */
uint64_t simt_bfe(uint32_t bits, uint64_t a, uint32_t pos, uint32_t len);
uint64_t simt_bfi(uint32_t bits, uint64_t a, uint64_t b, uint32_t pos, uint32_t len);
uint32_t simt_bfind(uint32_t bits, uint64_t a, uint32_t shiftamt);
/* how: 1 a is signed, 2 b is signed, 4 two halves instead of four bytes, 8 the upper two bytes of b */
uint32_t simt_dot(uint32_t how, uint32_t a, uint32_t b, uint32_t c);

/* code: SIMT_ATOM_CODE; p is aligned. The old value. */
#define SIMT_ATOM_CODE(op, type) ((uint32_t)(op) | (uint32_t)(type) << 8)
#define SIMT_ATOM_FTZ 0x10000u	/* of f32: denormals are zeros */
#define SIMT_ATOM_NAN 0x20000u	/* min, max: a NaN gives NaN */
uint64_t simt_atom(uint32_t code, void *p, uint64_t a, uint64_t b);
/* Of 128 bits: exchanges, or compares with a and puts b there. The old value goes to *old. */
void simt_atom128(uint32_t op, void *p, const unsigned __int128 *a, const unsigned __int128 *b, unsigned __int128 *old);

/* Writes one message to the program's stdout at once; the number of its arguments, -1 without a format. */
uint32_t simt_vprintf(struct simt_item *self, const char *format, const void *args);

/* Warps of 32. The low half is the value, bit 32 whether the lane read from is in range. */
uint64_t simt_shfl(struct simt_item *self, uint32_t mode, uint32_t value, uint32_t b, uint32_t c, uint32_t mask);
uint32_t simt_vote(struct simt_item *self, uint32_t kind, uint32_t pred, uint32_t mask);
uint32_t simt_match(struct simt_item *self, uint32_t all, uint64_t value, uint32_t mask);
uint32_t simt_redux(struct simt_item *self, uint32_t code, uint32_t value, uint32_t mask);
void simt_warpsync(struct simt_item *self, uint32_t mask);

/* simt_matrix.c; all lanes of the warp take part. code: enum ir_mma | D's type << 8 | C's << 16 | saturate << 24 */
void simt_mma(struct simt_item *self, uint32_t code, const uint64_t *in, uint64_t *out);
uint32_t simt_ldmatrix(struct simt_item *self, uint64_t addr, uint32_t matrix);
void simt_stmatrix(struct simt_item *self, uint64_t addr, uint32_t matrix, uint32_t value);
uint32_t simt_movmatrix(struct simt_item *self, uint32_t value);
void simt_tex(struct simt_item *self, uint64_t texture, uint64_t sampler, uint32_t what, const uint32_t *arg, uint32_t *out);

extern const struct simt_symbol simt_ptx_symbols[];
extern const size_t simt_nr_ptx_symbols;

#endif
