/* ptx_file.c - the code images in a file: text, fatbin, cubin, or what an executable or shared object holds of them. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/fatbin.h"

#define MAX_LINKED 65536	/* fatbins of one wrapper */

/*
 * Libraries are large, and a process that looks at one image at a time in children of its own would copy the page
 * tables of what it has read for each of them: they are mapped. NULL: not a large file.
 */
static char *map_file(int fd, size_t *size)
{
	struct stat sb;
	void *data;

	if (fstat(fd, &sb) || !S_ISREG(sb.st_mode) || sb.st_size < 1 << 20)
		return NULL;
	data = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return NULL;
	/* Text must end with a NUL, which a mapping need not have. */
	if (memcmp(data, ELFMAG, SELFMAG)) {
		munmap(data, (size_t)sb.st_size);
		return NULL;
	}
	*size = (size_t)sb.st_size;
	return data;
}

static void free_file(char *data, size_t size, bool mapped)
{
	if (mapped)
		munmap(data, size);
	else
		free(data);
}

static enum hg_status read_file(const char *path, char **out, size_t *out_size, bool *mapped)
{
	enum hg_status st = HG_ERR_IO;
	size_t used = 0, capacity = 65536;
	char *data = NULL, *bigger;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		pr_err("cannot open '%s': %s", path, strerror(errno));
		return HG_ERR_IO;
	}
	*out = map_file(fd, out_size);
	*mapped = *out != NULL;
	if (*mapped) {
		close(fd);
		return HG_OK;
	}
	for (;;) {
		ssize_t n;

		bigger = realloc(data, capacity + 1);
		if (!bigger) {
			st = HG_ERR_NOMEM;
			goto err;
		}
		data = bigger;
		n = read(fd, data + used, capacity - used);
		if (n < 0) {
			pr_err("cannot read '%s': %s", path, strerror(errno));
			goto err;
		}
		if (!n)
			break;
		used += (size_t)n;
		if (used == capacity)
			capacity *= 2;
	}
	close(fd);
	data[used] = 0;
	*out = data;
	*out_size = used;
	return HG_OK;
err:
	close(fd);
	free(data);
	return st;
}


/* --- executables and shared objects ---------------------------------------------------------- */
struct file {
	const char *data, *names;
	size_t size, names_size;
	Elf64_Ehdr eh;
	Elf64_Rela *rela;		/* addresses that the loader would put in, by place */
	size_t nr_relas;
	size_t *taken, nr_taken;	/* where the fatbins of wrappers are, in order */
	size_t found;
	enum hg_status worst;		/* of images that are read, and not supported */
	enum hg_status (*each)(const void *image, size_t size, void *arg);
	void *arg;
};

static bool section(const struct file *f, unsigned int i, Elf64_Shdr *out)
{
	if (i >= f->eh.e_shnum || f->eh.e_shentsize != sizeof(*out) || f->eh.e_shoff > f->size ||
	    (size_t)f->eh.e_shnum * sizeof(*out) > f->size - f->eh.e_shoff)
		return false;
	memcpy(out, f->data + f->eh.e_shoff + i * sizeof(*out), sizeof(*out));
	return out->sh_type == SHT_NOBITS || (out->sh_offset <= f->size && out->sh_size <= f->size - out->sh_offset);
}

/* The section's name, or "" for one that has no bytes in the file. */
static const char *named_section(const struct file *f, unsigned int i, Elf64_Shdr *out)
{
	if (!section(f, i, out) || out->sh_type == SHT_NOBITS || out->sh_name >= f->names_size)
		return "";
	return f->names + out->sh_name;
}

static enum hg_status give(struct file *f, const void *image, size_t size)
{
	enum hg_status st = f->each(image, size, f->arg);

	f->found++;
	if (st != HG_ERR_UNSUPPORTED)
		return st;
	f->worst = st;		/* the others may still be read */
	return HG_OK;
}

static int by_place(const void *a, const void *b)
{
	const Elf64_Rela *x = a, *y = b;

	return x->r_offset < y->r_offset ? -1 : x->r_offset > y->r_offset;
}

static int by_size(const void *a, const void *b)
{
	const size_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static enum hg_status read_relas(struct file *f)
{
	Elf64_Shdr sh;

	for (unsigned int i = 0; i < f->eh.e_shnum; i++) {
		size_t nr;
		Elf64_Rela *more;

		if (!section(f, i, &sh) || sh.sh_type != SHT_RELA || !(sh.sh_flags & SHF_ALLOC))
			continue;
		nr = sh.sh_size / sizeof(*more);
		more = realloc(f->rela, (f->nr_relas + nr + 1) * sizeof(*more));
		if (!more)
			return HG_ERR_NOMEM;
		f->rela = more;
		for (size_t k = 0; k < nr; k++) {
			memcpy(&more[f->nr_relas], f->data + sh.sh_offset + k * sizeof(*more), sizeof(*more));
			f->nr_relas += ELF64_R_TYPE(more[f->nr_relas].r_info) == R_X86_64_RELATIVE;
		}
	}
	if (f->nr_relas)
		qsort(f->rela, f->nr_relas, sizeof(*f->rela), by_place);
	return HG_OK;
}

/* Where in the file `size` bytes of the address are; false: nowhere. */
static bool place_of(const struct file *f, uint64_t addr, size_t size, size_t *out)
{
	for (unsigned int i = 0; i < f->eh.e_phnum; i++) {
		Elf64_Phdr ph;

		if (f->eh.e_phentsize != sizeof(ph) || f->eh.e_phoff > f->size ||
		    (size_t)f->eh.e_phnum * sizeof(ph) > f->size - f->eh.e_phoff)
			return false;
		memcpy(&ph, f->data + f->eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD || addr < ph.p_vaddr || addr - ph.p_vaddr > ph.p_filesz ||
		    size > ph.p_filesz - (addr - ph.p_vaddr) || ph.p_offset > f->size || ph.p_filesz > f->size - ph.p_offset)
			continue;
		*out = ph.p_offset + (addr - ph.p_vaddr);
		return true;
	}
	return false;
}

/* The pointer that the loaded program would have at an address. */
static bool pointer_at(const struct file *f, uint64_t addr, uint64_t *out)
{
	Elf64_Rela key = { .r_offset = addr };
	const Elf64_Rela *r = f->nr_relas ? bsearch(&key, f->rela, f->nr_relas, sizeof(key), by_place) : NULL;
	size_t at;

	if (r)
		*out = (uint64_t)r->r_addend;
	else if (place_of(f, addr, sizeof(*out), &at))
		memcpy(out, f->data + at, sizeof(*out));
	else
		return false;
	return true;
}

/* The fatbin at a place in the file, which then is a wrapper's; NULL: none. */
static const void *take_fatbin(struct file *f, size_t at)
{
	static const uint32_t magic = HG_FATBIN_MAGIC;
	size_t n, *more;

	if (f->size < 16 || at > f->size - 16 || memcmp(f->data + at, &magic, sizeof(magic)))
		return NULL;
	n = hg_image_size(f->data + at);
	if (!n || n > f->size - at)
		return NULL;
	more = realloc(f->taken, (f->nr_taken + 1) * sizeof(*more));
	if (!more)
		return NULL;
	more[f->nr_taken++] = at;
	f->taken = more;
	return f->data + at;
}

static const void *fatbin_at(struct file *f, uint64_t addr)
{
	size_t at;

	return place_of(f, addr, 16, &at) ? take_fatbin(f, at) : NULL;
}

/* The fatbins of a wrapper, which a NULL ends. */
struct linked {
	const void **fatbin;
	size_t nr;
	bool whole;		/* all that it points to was found */
};

static enum hg_status add_linked(struct linked *l, const void *fatbin)
{
	const void **more = l->nr < MAX_LINKED ? realloc(l->fatbin, (l->nr + 2) * sizeof(*more)) : NULL;

	if (!more)
		return HG_ERR_NOMEM;
	more[l->nr++] = fatbin;
	more[l->nr] = NULL;
	l->fatbin = more;
	l->whole &= fatbin != NULL;
	return HG_OK;
}

/* Relocatable fatbins register themselves when the program starts: there its list is empty. */
static enum hg_status registered(struct file *f, struct linked *l)
{
	enum hg_status st = HG_OK;
	Elf64_Shdr sh;

	for (unsigned int i = 0; i < f->eh.e_shnum && !st; i++) {
		if (strcmp(named_section(f, i, &sh), "__nv_relfatbin"))
			continue;
		for (size_t at = 0; at + 16 <= sh.sh_size && !st; at += 4) {
			const void *fatbin = take_fatbin(f, sh.sh_offset + at);

			if (!fatbin)
				continue;
			st = add_linked(l, fatbin);
			at += ((hg_image_size(fatbin) + 3) & ~(size_t)3) - 4;
		}
	}
	return st;
}

/*
 * What -rdc=true makes: a wrapper with a list of fatbins, which are linked when they are loaded. Apart from
 * each other they would lack what the others define.
 */
static enum hg_status linked_images(struct file *f, const Elf64_Shdr *sh)
{
	struct { uint32_t magic, version; const void *data, *const *fatbins; } w;
	_Static_assert(sizeof(w) == 24, "fatbin wrapper");
	enum hg_status st = HG_OK;

	for (size_t at = 0; at + sizeof(w) <= sh->sh_size && !st; at += sizeof(w)) {
		uint64_t data = 0, list = 0, one;
		struct linked l = { .whole = true };
		size_t unused;

		memcpy(&w, f->data + sh->sh_offset + at, sizeof(w));
		if (w.magic != HG_FATBIN_WRAPPER_MAGIC || w.version != 2 || !pointer_at(f, sh->sh_addr + at + 8, &data) ||
		    !pointer_at(f, sh->sh_addr + at + 16, &list))
			continue;
		if (!place_of(f, list, 8, &unused))
			st = registered(f, &l);
		for (size_t i = 0; !st && l.whole && place_of(f, list, 8, &unused); i++) {
			if (!pointer_at(f, list + i * 8, &one) || !one)
				break;
			st = add_linked(&l, fatbin_at(f, one));
		}
		/* What cannot be followed is found by its magic number, if at all. */
		if (!st && l.nr && l.whole) {
			w.data = data ? fatbin_at(f, data) : NULL;
			w.fatbins = l.fatbin;
			st = give(f, &w, sizeof(w));
		}
		free(l.fatbin);
	}
	return st;
}

/* The fatbins that lie in a section. Where it is not theirs alone, what looks like one may be something else. */
static enum hg_status section_images(struct file *f, const char *data, size_t size, bool theirs)
{
	static const struct { uint32_t magic; uint16_t version, header; } head = { HG_FATBIN_MAGIC, 1, 16 };
	size_t at = 0;

	while (at + 16 <= size) {
		size_t place = (size_t)(data - f->data) + at, n;
		enum hg_status st;

		if (memcmp(data + at, &head, theirs ? sizeof(head.magic) : sizeof(head))) {
			const char *next = theirs ? NULL : memmem(data + at + 1, size - at - 1, &head, sizeof(head));

			if (theirs)
				at += 4;
			else
				at = next ? (size_t)(next - data) : size;
			continue;
		}
		n = hg_image_size(data + at);
		if (!n || n > size - at) {
			if (theirs) {
				pr_err("a fatbin of %zu bytes does not fit in its section", n);
				return HG_ERR_CORRUPT;
			}
			at += sizeof(head);
			continue;
		}
		if (!f->nr_taken || !bsearch(&place, f->taken, f->nr_taken, sizeof(place), by_size)) {
			st = give(f, data + at, n);
			if (st)
				return st;
		}
		at += (n + 3) & ~(size_t)3;
	}
	return HG_OK;
}

static enum hg_status elf_images(struct file *f)
{
	enum hg_status st;
	const char *name;
	Elf64_Shdr sh;

	st = read_relas(f);
	for (unsigned int i = 0; i < f->eh.e_shnum && !st; i++)
		if (!strcmp(named_section(f, i, &sh), ".nvFatBinSegment"))
			st = linked_images(f, &sh);
	if (f->nr_taken)
		qsort(f->taken, f->nr_taken, sizeof(*f->taken), by_size);
	for (unsigned int i = 0; i < f->eh.e_shnum && !st; i++) {
		bool theirs;

		name = named_section(f, i, &sh);
		theirs = !strcmp(name, ".nv_fatbin") || !strcmp(name, "__nv_relfatbin");
		if (theirs || (name[0] && sh.sh_type == SHT_PROGBITS && sh.sh_flags & SHF_ALLOC && !(sh.sh_flags & SHF_EXECINSTR)))
			st = section_images(f, f->data + sh.sh_offset, sh.sh_size, theirs);
	}
	return st;
}

enum hg_status ptx_file_images(const char *path, enum hg_status (*each)(const void *image, size_t size, void *arg), void *arg)
{
	struct file f = { .each = each, .arg = arg };
	enum hg_status st;
	Elf64_Shdr names;
	bool mapped;
	char *data;

	st = read_file(path, &data, &f.size, &mapped);
	if (st)
		return st;
	f.data = data;
	if (f.size >= sizeof(f.eh))
		memcpy(&f.eh, data, sizeof(f.eh));
	if (memcmp(f.eh.e_ident, ELFMAG, SELFMAG) || f.eh.e_machine == 190) {	/* EM_CUDA: a cubin */
		st = f.size ? each(data, f.size, arg) : HG_ERR_NOTFOUND;
		if (!f.size)
			pr_err("'%s' is empty", path);
		goto out;
	}
	if (!section(&f, f.eh.e_shstrndx, &names) || names.sh_type == SHT_NOBITS || !names.sh_size ||
	    data[names.sh_offset + names.sh_size - 1]) {
		pr_err("'%s' has no names of sections", path);
		st = HG_ERR_CORRUPT;
		goto out;
	}
	f.names = data + names.sh_offset;
	f.names_size = names.sh_size;
	st = elf_images(&f);
	if (!st)
		st = f.worst;
	if (!st && !f.found) {
		pr_err("'%s' holds no GPU code", path);
		st = HG_ERR_NOTFOUND;
	}
out:
	free(f.rela);
	free(f.taken);
	free_file(data, f.size, mapped);
	return st;
}
