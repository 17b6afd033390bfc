/* scalar.h - tables of scalar PTX instructions, run and compared with C. */
#ifndef HG_TESTS_SCALAR_H
#define HG_TESTS_SCALAR_H

#include "tests/ptx/conform/conform.h"

/*
 * A row. Operands are registers 1 to 3 of the kinds `in`, the result is register 4 of kind `out`:
 *   h %h 16 bits   r %r 32 bits   d %rd 64 bits   f %f f32   g %fd f64
 * The instruction is run where %p7 holds (about three lanes of four), unless it begins with '+': then as it stands. A row with
 * neither reference nor `near` must be refused. Registers 1 to 3, %rd8 to %rd10 and %p7 must stay.
 */
struct scalar_row {
	const char *insn, *in;
	char out;
	uint64_t (*ref)(const struct scalar_row *row, uint64_t a, uint64_t b, uint64_t c);
	int x, y, z, w;		/* what the reference wants to know */
	const void *p;
	bool (*near)(const struct scalar_row *row, uint64_t a, uint64_t b, uint64_t got);	/* in place of ref: good enough */
	void (*report)(const struct scalar_row *row);	/* what all its values have shown; may be NULL */
};

/*
 * Adds the rows, which must stay. Values are any bits, corners of numbers, and all of an only operand of 16 bits; with HG_LONG=1
 * 10^6 of them, and all of the first operand where that has 16 bits. Rows of one f32 with `near` get every so-manieth of all f32.
 */
void scalar_add(const struct scalar_row *row, size_t nr);

/* Rounded by search among the format's numbers. */
struct scalar_format { int fraction, bias; uint32_t most, inf, nan, sign; };
extern const struct scalar_format scalar_f16, scalar_bf16, scalar_e4m3, scalar_e5m2, scalar_e2m3, scalar_e3m2, scalar_e2m1, scalar_tf32;
/* The number s, and a little more in the direction of `more`. mode: 'n' 'z' 'm' 'p' 'a'; overflow gives `most` if finite. */
uint32_t scalar_round(const struct scalar_format *f, char mode, __float128 s, int more, int finite);
double scalar_value(const struct scalar_format *f, uint32_t code);	/* NaN and infinities too */

#endif
