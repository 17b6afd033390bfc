/*
 * conform.h - the conformance suite of PTX: every form that the front end takes (translate/ptx_forms.def) is run and compared
 * with C.
 *
 * The suite is PTX text and buffers, and two programs run it: build/conform, an ordinary CUDA program, through the driver API on
 * whatever driver is there; build/conform-ways in process, in each way that the CPU target has (both tiers, lanes in any order).
 * The references use nothing of the product. Its table of forms is read to know what there is to test, and what a
 * case's text covers.
 */
#ifndef HG_TESTS_CONFORM_H
#define HG_TESTS_CONFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CF_NR(a) (sizeof(a) / sizeof((a)[0]))

/* --- cases ----------------------------------------------------------------------------------- */
/*
 * Cases run together: `insn` of each is what it covers, instructions with a semicolon behind each. run() gets its own range;
 * what it finds wrong it tells cf_fail.
 */
struct cf_case { const char *insn; const void *arg; };
struct cf_batch {
	void (*run)(const struct cf_batch *b);
	struct cf_case *item;
	size_t nr;
	const void *arg;
	uint64_t seed;
};
/* Keeps the cases; insn and arg must stay. */
void cf_add(void (*run)(const struct cf_batch *b), const struct cf_case *item, size_t nr, const void *arg);
char *cf_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));	/* never freed: cases live as long as the program */

/* What is wrong with a case; counted, the first few are printed. */
void cf_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define cf_check(cond, ...) do { if (!(cond)) cf_fail(__VA_ARGS__); } while (0)
/* Of the suite itself: ends it. */
void cf_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

uint64_t cf_random(uint64_t *state);
extern bool cf_long;		/* HG_LONG=1: 10^6 random inputs */

/* --- forms ----------------------------------------------------------------------------------- */
/* A form written out: "ld.global.u32". Calls back for every one of an opcode that has to be tried. */
void cf_forms(const char *op, void (*one)(const char *form, void *arg), void *arg);
/* Whether a form has the word, between dots. */
bool cf_has(const char *form, const char *word);
/* The n-th type of a form, from 0; "" if there is none. In a static buffer of four. */
const char *cf_type(const char *form, int n);
unsigned int cf_bits(const char *type);	/* of a type */

/* --- running --------------------------------------------------------------------------------- */
void *cf_alloc(size_t size);	/* zeros, aligned to 256 bytes; free() */
struct cf_buffer { void *data; size_t size; };
/*
 * Runs the kernel `k`: its parameters are the buffers' addresses, then `extra`. Buffers are read back. In process: in all ways if
 * all_ways, and each must give the same bytes. false: it could not be run, and cf_fail knows why.
 */
bool cf_run(const char *ptx, uint32_t grid, uint32_t block, const struct cf_buffer *buf, size_t nr_bufs, const void *extra,
	    size_t extra_size, bool all_ways);
/* Says what a run has left, for --dump. */
void cf_ran(const struct cf_buffer *buf, size_t nr_bufs);
/* 1: the product refuses this kernel; 0: not; -1: not to be asked here, another driver may take more. */
int cf_is_refused(const char *ptx);

#define CF_HEAD ".version 9.0\n.target sm_120a\n.address_size 64\n"

/* --- the families: each adds its batches ----------------------------------------------------- */
void cf_scalar_int(void);
void cf_scalar_float(void);
void cf_scalar_cvt(void);
void cf_scalar_video(void);
void cf_approx(void);
void cf_memory(void);
void cf_atomics(void);
void cf_lanes(void);

#endif
