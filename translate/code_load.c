/* code_load.c - the compiler's object files as code that runs. */
#define _GNU_SOURCE
#include "translate/code_load.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/msg.h"
#include "translate/elf_object.h"

/* PC-relative words reach 2 GiB. */
#define MAX_IMAGE (UINT64_C(1) << 30)
#define MAX_ALIGN 4096

/* Conversions of f16 where the CPU has none; an _Float16 is passed as LLVM passes its half. */
static float extend_half(_Float16 h)
{
	return (float)h;
}

static _Float16 trunc_to_half(float f)
{
	return (_Float16)f;
}

/* LLVM makes calls of these out of its own operations; nothing else is ever resolved. */
static const struct { const char *name; void *addr; } outside[] = {
	{ "memcpy", (void *)memcpy }, { "memset", (void *)memset }, { "memmove", (void *)memmove },
	{ "fma", (void *)fma }, { "fmaf", (void *)fmaf }, { "floor", (void *)floor },
	{ "floorf", (void *)floorf }, { "ceil", (void *)ceil }, { "ceilf", (void *)ceilf },
	{ "trunc", (void *)trunc }, { "truncf", (void *)truncf }, { "rint", (void *)rint },
	{ "__extendhfsf2", (void *)extend_half }, { "__truncsfhf2", (void *)trunc_to_half },
	{ "rintf", (void *)rintf }, { "roundeven", (void *)roundeven }, { "roundevenf", (void *)roundevenf },
};
#define NR_OUTSIDE (sizeof(outside) / sizeof(outside[0]))

/* jmp *slot(%rip), for each function outside: it may be further away than a call reaches. */
#define STUB_SIZE 8

struct loading {
	const unsigned char *object;
	size_t size;
	Elf64_Ehdr head;
	Elf64_Shdr *section;
	uint64_t *offset;	/* of each section in the image; NOT_LOADED */
	size_t text_end, image_size;
	size_t stubs, slots;	/* offsets in the image */
	Elf64_Shdr symbols, names;
	unsigned char *memory;
};
#define NOT_LOADED UINT64_MAX

/* What a symbol stands for: an address, or a function outside. */
struct meaning {
	uint64_t addr;
	int outside;		/* -1: none */
};

static enum hg_status corrupt(const char *what)
{
	pr_err("code of a kernel: %s", what);
	return HG_ERR_CORRUPT;
}

static enum hg_status read_sections(struct loading *l)
{
	bool found = false;

	if (!elf_object_open(l->object, l->size, &l->head) || l->head.e_machine != EM_X86_64)
		return corrupt("no object file of x86-64 that can be read");
	l->section = calloc(l->head.e_shnum + 1u, sizeof(*l->section));
	l->offset = calloc(l->head.e_shnum + 1u, sizeof(*l->offset));
	if (!l->section || !l->offset)
		return HG_ERR_NOMEM;
	for (size_t i = 0; i < l->head.e_shnum; i++) {
		l->offset[i] = NOT_LOADED;
		if (!elf_object_section(l->object, l->size, &l->head, i, &l->section[i]))
			return corrupt("a section lies beyond the file");
		if (l->section[i].sh_type == SHT_SYMTAB) {
			l->symbols = l->section[i];
			found = true;
		}
	}
	if (!found || l->symbols.sh_link >= l->head.e_shnum)
		return corrupt("no symbols");
	l->names = l->section[l->symbols.sh_link];
	return HG_OK;
}

/* Gives places to the sections that are instructions, or to those that are not; `at` is the end of what has one. */
static enum hg_status place(struct loading *l, bool code, uint64_t *at)
{
	for (size_t i = 0; i < l->head.e_shnum; i++) {
		const Elf64_Shdr *s = &l->section[i];
		uint64_t align = s->sh_addralign ? s->sh_addralign : 1;

		if (!(s->sh_flags & SHF_ALLOC) || !(s->sh_flags & SHF_EXECINSTR) == code)
			continue;
		if (s->sh_type != SHT_PROGBITS || s->sh_flags & SHF_TLS || align > MAX_ALIGN || align & (align - 1))
			return corrupt("a section of a kind that code has not");
		*at = (*at + align - 1) & ~(align - 1);
		l->offset[i] = *at;
		*at += s->sh_size;
		if (*at > MAX_IMAGE)
			return corrupt("its sections are too large");
	}
	return HG_OK;
}

static uint64_t whole_pages(uint64_t n)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return (n + page - 1) & ~(page - 1);
}

static void write_stubs(struct loading *l)
{
	for (size_t i = 0; i < NR_OUTSIDE; i++) {
		size_t stub = l->stubs + i * STUB_SIZE, slot = l->slots + i * sizeof(uint64_t);
		uint64_t addr = (uintptr_t)outside[i].addr;
		int32_t distance = (int32_t)(slot - (stub + 6));

		l->memory[stub] = 0xff;
		l->memory[stub + 1] = 0x25;
		memcpy(l->memory + stub + 2, &distance, sizeof(distance));
		memcpy(l->memory + slot, &addr, sizeof(addr));
	}
}

static enum hg_status map_sections(struct loading *l)
{
	uint64_t at = 0;
	enum hg_status st = place(l, true, &at);

	if (st)
		return st;
	l->stubs = (at + STUB_SIZE - 1) & ~(uint64_t)(STUB_SIZE - 1);
	l->text_end = whole_pages(l->stubs + NR_OUTSIDE * STUB_SIZE);
	l->slots = l->text_end;
	at = l->slots + NR_OUTSIDE * sizeof(uint64_t);
	st = place(l, false, &at);
	if (st)
		return st;
	l->image_size = whole_pages(at);
	l->memory = mmap(NULL, l->image_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (l->memory == MAP_FAILED) {
		l->memory = NULL;
		return HG_ERR_NOMEM;
	}
	for (size_t i = 0; i < l->head.e_shnum; i++)
		if (l->offset[i] != NOT_LOADED)
			memcpy(l->memory + l->offset[i], l->object + l->section[i].sh_offset, l->section[i].sh_size);
	write_stubs(l);
	return HG_OK;
}

static bool symbol_at(const struct loading *l, uint64_t i, Elf64_Sym *out)
{
	if (i >= l->symbols.sh_size / sizeof(*out))
		return false;
	memcpy(out, l->object + l->symbols.sh_offset + i * sizeof(*out), sizeof(*out));
	return true;
}

static enum hg_status resolve(const struct loading *l, uint64_t index, struct meaning *out)
{
	const char *name;
	Elf64_Sym s;

	if (!symbol_at(l, index, &s))
		return corrupt("a symbol that is none");
	*out = (struct meaning){ .outside = -1 };
	if (s.st_shndx != SHN_UNDEF) {
		if (s.st_shndx >= l->head.e_shnum || l->offset[s.st_shndx] == NOT_LOADED || s.st_value > l->section[s.st_shndx].sh_size)
			return corrupt("a symbol lies nowhere");
		out->addr = (uintptr_t)l->memory + l->offset[s.st_shndx] + s.st_value;
		return HG_OK;
	}
	name = elf_object_text(l->object, &l->names, s.st_name);
	for (size_t i = 0; name && i < NR_OUTSIDE; i++)
		if (!strcmp(outside[i].name, name))
			out->outside = (int)i;
	if (out->outside >= 0)
		return HG_OK;
	pr_err("code of a kernel: nothing defines '%s'", name ? name : "");
	return HG_ERR_CORRUPT;
}

/* One relocation of a section at `base` in the image. */
static enum hg_status relocate(struct loading *l, size_t section, const Elf64_Rela *r)
{
	uint32_t type = ELF64_R_TYPE(r->r_info);
	size_t width = type == R_X86_64_64 ? 8 : 4;
	unsigned char *at;
	struct meaning to;
	enum hg_status st;
	uint64_t value;
	int32_t word;

	if (r->r_offset > l->section[section].sh_size || l->section[section].sh_size - r->r_offset < width)
		return corrupt("a relocation lies outside of its section");
	at = l->memory + l->offset[section] + r->r_offset;
	st = resolve(l, ELF64_R_SYM(r->r_info), &to);
	if (st)
		return st;
	switch (type) {
	case R_X86_64_64:
		value = to.outside < 0 ? to.addr : (uintptr_t)outside[to.outside].addr;
		value += (uint64_t)r->r_addend;
		memcpy(at, &value, sizeof(value));
		return HG_OK;
	case R_X86_64_PC32:
	case R_X86_64_PLT32:
		value = to.outside < 0 ? to.addr : (uintptr_t)l->memory + l->stubs + (size_t)to.outside * STUB_SIZE;
		break;
	case R_X86_64_GOTPCREL:
	case R_X86_64_GOTPCRELX:
	case R_X86_64_REX_GOTPCRELX:
		if (to.outside < 0)
			return corrupt("the address of its own symbol out of a table");
		value = (uintptr_t)l->memory + l->slots + (size_t)to.outside * sizeof(uint64_t);
		break;
	default:
		pr_err("code of a kernel: a relocation of type %u", type);
		return HG_ERR_CORRUPT;
	}
	value += (uint64_t)r->r_addend - (uintptr_t)at;
	word = (int32_t)value;
	if ((uint64_t)(int64_t)word != value)
		return corrupt("a distance that does not fit");
	memcpy(at, &word, sizeof(word));
	return HG_OK;
}

static enum hg_status relocate_all(struct loading *l)
{
	enum hg_status st = HG_OK;

	for (size_t i = 0; i < l->head.e_shnum; i++) {
		const Elf64_Shdr *s = &l->section[i];

		if (s->sh_type != SHT_RELA || s->sh_info >= l->head.e_shnum || l->offset[s->sh_info] == NOT_LOADED)
			continue;
		for (size_t k = 0; k < s->sh_size / sizeof(Elf64_Rela) && !st; k++) {
			Elf64_Rela r;

			memcpy(&r, l->object + s->sh_offset + k * sizeof(r), sizeof(r));
			st = relocate(l, s->sh_info, &r);
		}
		if (st)
			return st;
	}
	return HG_OK;
}

static enum hg_status find_function(const struct loading *l, const char *function, struct code_image *out)
{
	Elf64_Sym s;

	for (uint64_t i = 0; symbol_at(l, i, &s); i++) {
		const char *name = s.st_shndx == SHN_UNDEF ? NULL : elf_object_text(l->object, &l->names, s.st_name);

		if (!name || strcmp(name, function))
			continue;
		if (s.st_shndx >= l->head.e_shnum || l->offset[s.st_shndx] == NOT_LOADED ||
		    !(l->section[s.st_shndx].sh_flags & SHF_EXECINSTR) || s.st_value >= l->section[s.st_shndx].sh_size)
			break;
		out->text = (uintptr_t)l->memory + l->offset[s.st_shndx];
		out->entry = out->text + s.st_value;
		return HG_OK;
	}
	return corrupt("its function is not in it");
}

enum hg_status code_load(const void *object, size_t size, const char *function, struct code_image *out)
{
	struct loading l = { .object = object, .size = size };
	struct code_image image = { 0 };
	enum hg_status st = read_sections(&l);

	if (!st)
		st = map_sections(&l);
	if (!st)
		st = relocate_all(&l);
	if (!st)
		st = find_function(&l, function, &image);
	if (!st && (mprotect(l.memory, l.text_end, PROT_READ | PROT_EXEC) ||
		    mprotect(l.memory + l.text_end, l.image_size - l.text_end, PROT_READ))) {
		pr_err("cannot make the code of a kernel executable: %s", strerror(errno));
		st = HG_ERR_UNAVAILABLE;
	}
	if (!st) {
		image.memory = l.memory;
		image.size = l.image_size;
		*out = image;
	} else if (l.memory) {
		munmap(l.memory, l.image_size);
	}
	free(l.section);
	free(l.offset);
	return st;
}

void code_unload(struct code_image *image)
{
	munmap(image->memory, image->size);
	*image = (struct code_image){ 0 };
}
