/* object.c - GPU code in a host's object files and archives. */
#include "translate/module.h"

#include <ar.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "translate/elf_object.h"
#include "translate/fatbin.h"

/* Where a walk stands: what to call, and with what. */
struct walk {
	enum hg_status (*each)(const void *fatbin, size_t size, void *arg);
	void *arg;
};

static bool is_elf(const void *data, size_t size)
{
	return size >= sizeof(Elf64_Ehdr) && !memcmp(data, ELFMAG, SELFMAG);
}

/* A section is one fatbin after another, aligned to 8, with zeros between them. */
static enum hg_status section_fatbins(const unsigned char *p, size_t size, const struct walk *w)
{
	enum hg_status st = HG_OK;

	for (size_t at = 0; at + 16 <= size && !st;) {
		uint32_t magic;
		uint16_t head;
		uint64_t body;

		memcpy(&magic, p + at, sizeof(magic));
		memcpy(&head, p + at + 6, sizeof(head));
		memcpy(&body, p + at + 8, sizeof(body));
		if (magic != HG_FATBIN_MAGIC) {
			at += 8;
			continue;
		}
		if (head < 16 || head > size - at || body > size - at - head) {
			pr_err("object file: a fatbin is longer than its section");
			return HG_ERR_CORRUPT;
		}
		st = w->each(p + at, head + body, w->arg);
		at += (head + body + 7) & ~UINT64_C(7);
	}
	return st;
}

static enum hg_status elf_fatbins(const unsigned char *p, size_t size, const struct walk *w)
{
	Elf64_Shdr names, sh;
	Elf64_Ehdr e;
	enum hg_status st = HG_OK;

	if (!elf_object_open(p, size, &e) || !elf_object_section(p, size, &e, e.e_shstrndx, &names) || names.sh_type != SHT_STRTAB) {
		pr_err("object file: no table of sections that can be read");
		return HG_ERR_CORRUPT;
	}
	for (uint32_t i = 1; i < e.e_shnum && !st; i++) {
		const char *name;

		if (!elf_object_section(p, size, &e, i, &sh)) {
			pr_err("object file: section %u lies beyond its end", i);
			return HG_ERR_CORRUPT;
		}
		name = elf_object_text(p, &names, sh.sh_name);
		if (!name || sh.sh_type == SHT_NOBITS)
			continue;
		if (!strcmp(name, ".nv_fatbin") || !strcmp(name, "__nv_relfatbin"))
			st = section_fatbins(p + sh.sh_offset, sh.sh_size, w);
	}
	return st;
}

static enum hg_status archive_fatbins(const unsigned char *p, size_t size, const struct walk *w)
{
	enum hg_status st = HG_OK;

	for (size_t at = SARMAG; at + sizeof(struct ar_hdr) <= size && !st;) {
		const struct ar_hdr *h = (const struct ar_hdr *)(p + at);
		char text[sizeof(h->ar_size) + 1] = "";
		uint64_t bytes;

		memcpy(text, h->ar_size, sizeof(h->ar_size));
		bytes = strtoull(text, NULL, 10);
		at += sizeof(*h);
		if (memcmp(h->ar_fmag, ARFMAG, sizeof(h->ar_fmag)) != 0 || bytes > size - at) {
			pr_err("archive: a member is longer than the file");
			return HG_ERR_CORRUPT;
		}
		if (is_elf(p + at, bytes))
			st = elf_fatbins(p + at, bytes, w);
		at += (bytes + 1) & ~UINT64_C(1);
	}
	return st;
}

enum hg_status hg_object_fatbins(const void *data, size_t size, enum hg_status (*each)(const void *fatbin, size_t size, void *arg),
				 void *arg)
{
	const struct walk w = { each, arg };

	if (size >= SARMAG && !memcmp(data, ARMAG, SARMAG))
		return archive_fatbins(data, size, &w);
	if (is_elf(data, size))
		return elf_fatbins(data, size, &w);
	pr_err("neither an object file nor an archive");
	return HG_ERR_INVALID;
}
