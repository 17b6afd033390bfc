/* code_lines.h - from an address in compiled code to the line of the PTX text, by the object file's own line table. */
#ifndef HG_TRANSLATE_CODE_LINES_H
#define HG_TRANSLATE_CODE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Code of one object file: its section .ltext or .text, which begins with the kernel, and a copy of its section .debug_line (DWARF 5, section
 * 6.2), which nobody reads until a kernel fails.
 */
struct code_lines {
	size_t text_size;
	unsigned char *table;	/* malloc'ed; NULL: none */
	size_t table_size;
};

/* Takes what is needed out of an ELF object in memory; without a line table, or of a damaged file, nothing is found later. */
void code_lines_take(struct code_lines *l, const void *object, size_t size);
void code_lines_release(struct code_lines *l);

struct code_row {
	uint64_t offset;	/* in the section, of the first byte that it is about */
	uint32_t line, column;
};

/* Calls `row` for each row of the table in order of addresses, until it gives false; one at the end has line 0. */
void code_lines_each(const struct code_lines *l, bool (*row)(void *arg, const struct code_row *r), void *arg);
/* What stands at an offset of the code; false: nothing is known, or it belongs to no line. */
bool code_lines_find(const struct code_lines *l, uint64_t offset, struct code_row *out);

#endif
