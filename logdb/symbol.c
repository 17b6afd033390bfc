/* symbol.c - names of addresses of this process, for the stacks in a log. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logdb/recorder_impl.h"

/*
 * Read from /proc/self/maps and from the files' own symbol tables, static functions included. Not dladdr:
 * it takes the loader's lock, which a thread of the application may hold while it waits for us.
 */
struct map_range {
	uint64_t start, end, offset;
	size_t object;
};

struct symbol {
	uint64_t start, size;
	const char *name;	/* into one of the object's tables */
};

struct object {
	char *path;
	Elf64_Phdr *ph;
	size_t nr_ph;
	char *names[2];		/* of .symtab and .dynsym */
	size_t nr_names;
	struct symbol *symbol;	/* ascending */
	size_t nr_symbols;
	bool is_loaded;
};

struct hg_symbols {
	struct map_range *range;
	size_t nr_ranges;
	struct object *object;
	size_t nr_objects;
};

struct hg_symbols *hg_symbols_open(void)
{
	return calloc(1, sizeof(struct hg_symbols));
}

static void object_release(struct object *o)
{
	free(o->path);
	free(o->symbol);
	free(o->ph);
	for (size_t i = 0; i < o->nr_names; i++)
		free(o->names[i]);
}

void hg_symbols_close(struct hg_symbols *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->nr_objects; i++)
		object_release(&s->object[i]);
	free(s->object);
	free(s->range);
	free(s);
}

static bool find_object(struct hg_symbols *s, const char *path, size_t *out)
{
	struct object *more;

	for (size_t i = 0; i < s->nr_objects; i++)
		if (!strcmp(s->object[i].path, path)) {
			*out = i;
			return true;
		}
	more = realloc(s->object, (s->nr_objects + 1) * sizeof(*more));
	if (!more)
		return false;
	s->object = more;
	more[s->nr_objects] = (struct object){ .path = strdup(path) };
	if (!more[s->nr_objects].path)
		return false;
	*out = s->nr_objects++;
	return true;
}

static void read_maps(struct hg_symbols *s)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char *line = NULL;
	size_t capacity = 0;

	s->nr_ranges = 0;
	while (f && getline(&line, &capacity, f) > 0) {
		struct map_range m, *more;
		char perm[8];
		int path_at = 0;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %*s %n", &m.start, &m.end, perm,
			   &m.offset, &path_at) < 4 || !path_at || line[path_at] != '/' || perm[2] != 'x')
			continue;
		line[strcspn(line, "\n")] = '\0';
		if (!find_object(s, line + path_at, &m.object))
			break;
		more = realloc(s->range, (s->nr_ranges + 1) * sizeof(*more));
		if (!more)
			break;
		s->range = more;
		more[s->nr_ranges++] = m;
	}
	free(line);
	if (f)
		fclose(f);
}

static int by_start(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/*
 * A part of the file, malloc'ed, or NULL if it is not wholly there. Read, not mapped: a file that
 * is rebuilt while its program runs must not kill the program.
 */
static void *part(int fd, uint64_t offset, uint64_t size)
{
	void *p;

	if (!size || size > (UINT64_C(1) << 30) || offset > INT64_MAX - size)
		return NULL;
	p = malloc(size);
	if (p && pread(fd, p, size, (off_t)offset) != (ssize_t)size) {
		free(p);
		p = NULL;
	}
	return p;
}

static void add_symbols(struct object *o, int fd, const Elf64_Shdr *table, const Elf64_Shdr *strings)
{
	Elf64_Sym *sym = part(fd, table->sh_offset, table->sh_size);
	char *text = part(fd, strings->sh_offset, strings->sh_size);
	size_t n = table->sh_size / sizeof(*sym);
	struct symbol *more;

	if (!sym || !text || text[strings->sh_size - 1] || o->nr_names == sizeof(o->names) / sizeof(o->names[0]))
		goto fail;
	more = realloc(o->symbol, (o->nr_symbols + n + 1) * sizeof(*more));
	if (!more)
		goto fail;
	o->symbol = more;
	o->names[o->nr_names++] = text;
	for (size_t i = 0; i < n; i++)
		if (ELF64_ST_TYPE(sym[i].st_info) == STT_FUNC && sym[i].st_shndx != SHN_UNDEF &&
		    sym[i].st_name < strings->sh_size)
			more[o->nr_symbols++] = (struct symbol){ sym[i].st_value, sym[i].st_size, text + sym[i].st_name };
	free(sym);
	return;
fail:
	free(sym);
	free(text);
}

static void load(struct object *o)
{
	Elf64_Shdr *sh = NULL;
	Elf64_Ehdr *eh;
	int fd;

	o->is_loaded = true;
	fd = open(o->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	eh = part(fd, 0, sizeof(*eh));
	if (!eh || memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_shentsize != sizeof(*sh) || eh->e_phentsize != sizeof(*o->ph))
		goto out;
	o->ph = part(fd, eh->e_phoff, eh->e_phnum * sizeof(*o->ph));
	o->nr_ph = o->ph ? eh->e_phnum : 0;
	sh = part(fd, eh->e_shoff, eh->e_shnum * sizeof(*sh));
	for (unsigned int i = 0; sh && i < eh->e_shnum; i++)
		if ((sh[i].sh_type == SHT_SYMTAB || sh[i].sh_type == SHT_DYNSYM) && sh[i].sh_link < eh->e_shnum)
			add_symbols(o, fd, &sh[i], &sh[sh[i].sh_link]);
	if (o->nr_symbols)
		qsort(o->symbol, o->nr_symbols, sizeof(o->symbol[0]), by_start);
out:
	free(sh);
	free(eh);
	close(fd);
}

/* The address as the file's symbols count it. */
static uint64_t file_address(const struct object *o, uint64_t offset)
{
	const Elf64_Phdr *ph = o->ph;

	for (size_t i = 0; i < o->nr_ph; i++)
		if (ph[i].p_type == PT_LOAD && offset >= ph[i].p_offset && offset - ph[i].p_offset < ph[i].p_filesz)
			return offset - ph[i].p_offset + ph[i].p_vaddr;
	return offset;
}

static const struct symbol *find_symbol(const struct object *o, uint64_t addr)
{
	size_t low = 0, high = o->nr_symbols;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (o->symbol[mid].start <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	/* the nearest below that reaches the address; aliases share their start */
	for (size_t back = 0; low && back < 16; low--, back++) {
		const struct symbol *sym = &o->symbol[low - 1];

		if (addr - sym->start < sym->size || (!sym->size && addr == sym->start))
			return sym;
	}
	return NULL;
}

static const struct map_range *find_range(const struct hg_symbols *s, uint64_t pc)
{
	for (size_t i = 0; i < s->nr_ranges; i++)
		if (pc >= s->range[i].start && pc < s->range[i].end)
			return &s->range[i];
	return NULL;
}

void hg_symbols_name(struct hg_symbols *s, uint64_t pc, char *out, size_t size)
{
	/* a return address lies behind the call, perhaps behind the function's end */
	const struct map_range *m = find_range(s, pc - 1);
	const struct symbol *sym = NULL;
	const char *base;
	struct object *o;
	uint64_t offset;

	if (!m) {
		read_maps(s);
		m = find_range(s, pc - 1);
	}
	if (!m) {
		snprintf(out, size, "%s", "");
		return;
	}
	o = &s->object[m->object];
	if (!o->is_loaded)
		load(o);
	offset = pc - 1 - m->start + m->offset;
	base = strrchr(o->path, '/') + 1;
	if (o->nr_symbols) {
		offset = file_address(o, offset);
		sym = find_symbol(o, offset);
	}
	if (sym)
		snprintf(out, size, "%s+0x%" PRIx64 " (%s)", sym->name, offset + 1 - sym->start, base);
	else
		snprintf(out, size, "0x%" PRIx64 " (%s)", offset + 1, base);
}
