/* test_code_lines.c - the line table of compiled code: what it says, and what becomes of a damaged one. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "translate/code_lines.h"

/* DWARF 5: lines 7 at 0, 9 (column 11) at 4 and none from 20 on; 24 is the end. */
static const unsigned char table[] = {
	48, 0, 0, 0, 5, 0, 8, 0, 20, 0, 0, 0,
	1, 1, 1, (unsigned char)-5, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1,		/* header; lengths of the 12 operations */
	0, 0,
	0, 9, 2, 0, 0, 0, 0, 0, 0, 0, 0,	/* at 0 */
	3, 6, 1,				/* line 7 */
	5, 11, 13 + 4 * 14 + 5 + 2,		/* column 11, then 4 further and 2 lines down */
	3, 0x77, 2, 16, 1,			/* line 0 at 20 */
	2, 4, 0, 1, 1,				/* the end at 24 */
};

static unsigned char *object_of(const unsigned char *lines, size_t size, size_t *out_size)
{
	static const char names[] = "\0.ltext\0.debug_line\0.names";
	Elf64_Ehdr h = { .e_ident = ELFMAG "\2\1\1", .e_shoff = sizeof(h), .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 4, .e_shstrndx = 3 };
	size_t at = sizeof(h) + 4 * sizeof(Elf64_Shdr);
	Elf64_Shdr s[4] = {
		[1] = { .sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = at, .sh_size = 24 },
		[2] = { .sh_name = 8, .sh_type = SHT_PROGBITS, .sh_offset = at + 24, .sh_size = size },
		[3] = { .sh_name = 20, .sh_type = SHT_STRTAB, .sh_offset = at + 24 + size, .sh_size = sizeof(names) },
	};
	unsigned char *o = calloc(1, at + 24 + size + sizeof(names));

	memcpy(o, &h, sizeof(h));
	memcpy(o + sizeof(h), s, sizeof(s));
	memcpy(o + at + 24, lines, size);
	memcpy(o + at + 24 + size, names, sizeof(names));
	*out_size = at + 24 + size + sizeof(names);
	return o;
}

Test(code_lines, are_found_by_address)
{
	size_t size;
	unsigned char *o = object_of(table, sizeof(table), &size);
	struct code_lines l;
	struct code_row r;

	code_lines_take(&l, o, size);
	free(o);
	cr_assert_eq(l.text_size, 24);
	for (uint64_t at = 0; at < 30; at++) {
		bool found = code_lines_find(&l, at, &r);

		cr_assert_eq(found, at < 20, "at %llu", (unsigned long long)at);
		if (!found)
			continue;
		cr_assert_eq(r.line, at < 4 ? 7 : 9, "at %llu: line %u", (unsigned long long)at, r.line);
		cr_assert_eq(r.column, at < 4 ? 0 : 11);
	}
	code_lines_release(&l);
}

Test(code_lines, of_damaged_files_are_none_or_wrong_and_no_more, .timeout = 60)
{
	uint32_t random = 1;
	size_t size;
	unsigned char *o = object_of(table, sizeof(table), &size), *copy;

	for (size_t cut = 0; cut < size; cut++) {
		struct code_lines l;

		copy = malloc(cut + 1);
		memcpy(copy, o, cut);
		code_lines_take(&l, copy, cut);
		code_lines_release(&l);
		free(copy);
	}
	copy = malloc(size);
	for (int i = 0; i < 20000; i++) {
		struct code_lines l;
		struct code_row r;

		memcpy(copy, o, size);
		for (int n = 0; n < 3; n++) {
			random = random * 1664525 + 1013904223;
			copy[(random >> 8) % size] = (unsigned char)(random >> 24);
		}
		code_lines_take(&l, copy, size);
		code_lines_find(&l, random % 30, &r);
		code_lines_release(&l);
	}
	free(copy);
	free(o);
}
