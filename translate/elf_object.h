/* elf_object.h - a 64-bit object file's table of sections, out of bytes that nobody vouches for. */
#ifndef HG_TRANSLATE_ELF_OBJECT_H
#define HG_TRANSLATE_ELF_OBJECT_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The file's header, when it is an ELF file of 64 bits whose table of sections lies in its `size` bytes. */
static inline bool elf_object_open(const void *object, size_t size, Elf64_Ehdr *out)
{
	if (size < sizeof(*out))
		return false;
	memcpy(out, object, sizeof(*out));
	return !memcmp(out->e_ident, ELFMAG, SELFMAG) && out->e_ident[EI_CLASS] == ELFCLASS64 && out->e_shentsize == sizeof(Elf64_Shdr) &&
	       out->e_shoff <= size && (size - out->e_shoff) / sizeof(Elf64_Shdr) >= out->e_shnum;
}

/* Section i of a file that was opened; false: there is none, or its bytes do not lie in the file. */
static inline bool elf_object_section(const void *object, size_t size, const Elf64_Ehdr *e, size_t i, Elf64_Shdr *out)
{
	if (i >= e->e_shnum)
		return false;
	memcpy(out, (const unsigned char *)object + e->e_shoff + i * sizeof(*out), sizeof(*out));
	return out->sh_type == SHT_NOBITS || (out->sh_offset <= size && out->sh_size <= size - out->sh_offset);
}

/* The text at an offset of a table of strings in that file; NULL: it does not lie there or does not end. */
static inline const char *elf_object_text(const void *object, const Elf64_Shdr *table, size_t at)
{
	const char *text;

	/* the place of a table without bytes may be anywhere */
	if (table->sh_type != SHT_STRTAB || at >= table->sh_size)
		return NULL;
	text = (const char *)object + table->sh_offset + at;
	return memchr(text, 0, table->sh_size - at) ? text : NULL;
}

#endif
