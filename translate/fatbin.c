/* fatbin.c - wrappers, fatbins and cubins. Their bytes may be anything; every length is checked. */
#define _GNU_SOURCE
#include "translate/fatbin.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lz4.h>
#include <zstd.h>

#include "common/buf.h"
#include "common/msg.h"
#include "translate/module.h"

#define MAX_PLAIN (UINT64_C(1) << 30)
#define MAX_PARTS 4096
#define FLAT_MAGIC "HGIMAGE1"	/* of a flattened image of several parts: u64 size of all, u64 parts, {u64 size, bytes} */

/* --- memory that a pointer in the image leads to ----------------------------------------------- */
/* False only when it is certain that the bytes cannot be read. */
static bool is_readable(const void *p, size_t size)
{
	long page = sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)p & ~((uintptr_t)page - 1), last;
	unsigned char byte, vec[256];
	struct iovec local = { &byte, 1 }, remote = { (void *)(uintptr_t)p, 1 };

	if (!size)
		return true;
	if ((uintptr_t)p > UINTPTR_MAX - size)
		return false;
	last = (uintptr_t)p + size;
	if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) < 0 && errno == EFAULT)
		return false;
	for (uintptr_t at = first; at < last;) {
		size_t n = last - at;

		if (n > sizeof(vec) * (size_t)page)
			n = sizeof(vec) * (size_t)page;
		if (mincore((void *)at, n, vec) && errno == ENOMEM)
			return false;
		at += n;
	}
	return true;
}

/* --- fatbins --------------------------------------------------------------------------------- */
static uint64_t fatbin_size(const void *data)
{
	struct hg_reader r;
	uint16_t header;

	hg_reader_init(&r, data, 16);
	if (hg_read_u32(&r) != HG_FATBIN_MAGIC)
		return 0;
	hg_read_u16(&r);
	header = hg_read_u16(&r);
	return header + hg_read_u64(&r);
}

enum hg_status hg_fatbin_open(struct hg_fatbin *fb, const void *data, size_t size)
{
	uint16_t version, header;
	struct hg_reader r;
	uint64_t body;
	uint32_t magic;

	hg_reader_init(&r, data, size);
	magic = hg_read_u32(&r);
	version = hg_read_u16(&r);
	header = hg_read_u16(&r);
	body = hg_read_u64(&r);
	if (r.failed || magic != HG_FATBIN_MAGIC) {
		pr_err("fatbin: %s", r.failed ? "too short" : "wrong magic number");
		return HG_ERR_CORRUPT;
	}
	if (version != 1) {
		pr_err("fatbin: version %u is not known", version);
		return HG_ERR_VERSION;
	}
	if (header < 16 || header > size || body > size - header) {
		pr_err("fatbin: %" PRIu64 " bytes of entries do not fit in an image of %zu", body, size);
		return HG_ERR_CORRUPT;
	}
	fb->pos = (const unsigned char *)data + header;
	fb->end = fb->pos + body;
	return HG_OK;
}

enum hg_status hg_fatbin_next(struct hg_fatbin *fb, struct hg_fatbin_entry *out)
{
	struct hg_fatbin_entry e = { 0 };
	uint32_t header, compressed;
	uint64_t stored, taken;
	struct hg_reader r;

	if (fb->pos == fb->end)
		return HG_ERR_NOTFOUND;
	hg_reader_init(&r, fb->pos, (size_t)(fb->end - fb->pos));
	e.kind = hg_read_u16(&r);
	hg_read_u16(&r);
	header = hg_read_u32(&r);
	stored = hg_read_u64(&r);
	compressed = hg_read_u32(&r);
	hg_read_u32(&r);
	e.minor = hg_read_u16(&r);
	e.major = hg_read_u16(&r);
	e.sm = hg_read_u32(&r);
	hg_read_u32(&r);
	hg_read_u32(&r);
	e.flags = hg_read_u64(&r);
	hg_read_u64(&r);
	e.plain_size = hg_read_u64(&r);
	taken = stored > compressed ? stored : compressed;
	if (r.failed || header < 64 || header > (size_t)(fb->end - fb->pos) ||
	    taken > (size_t)(fb->end - fb->pos) - header) {
		pr_err("fatbin: an entry of %" PRIu64 " bytes does not fit in the %zu that are left", taken,
		       (size_t)(fb->end - fb->pos));
		fb->pos = fb->end;
		return HG_ERR_CORRUPT;
	}
	e.data = fb->pos + header;
	if (e.flags & (HG_FATBIN_LZ4 | HG_FATBIN_ZSTD)) {
		e.size = compressed ? compressed : stored;
	} else {
		e.size = stored;
		e.plain_size = stored;
	}
	fb->pos = e.data + taken;
	*out = e;
	return HG_OK;
}

enum hg_status hg_fatbin_extract(const struct hg_fatbin_entry *e, char **out, size_t *out_size)
{
	uint64_t plain = e->plain_size;
	enum hg_status st = HG_ERR_CORRUPT;
	char *buf;

	if (plain > MAX_PLAIN || e->size > INT32_MAX ||
	    (e->flags & HG_FATBIN_LZ4 && plain / 256 > e->size)) {
		pr_err("fatbin: %" PRIu64 " bytes cannot come out of %" PRIu64, plain, e->size);
		return HG_ERR_CORRUPT;
	}
	buf = malloc(plain + 1);
	if (!buf)
		return HG_ERR_NOMEM;
	if (e->flags & HG_FATBIN_ZSTD) {
		size_t n = ZSTD_decompress(buf, plain, e->data, e->size);

		if (ZSTD_isError(n)) {
			/* The stored size may be padded. */
			size_t frame = ZSTD_findFrameCompressedSize(e->data, e->size);

			if (!ZSTD_isError(frame))
				n = ZSTD_decompress(buf, plain, e->data, frame);
		}
		if (ZSTD_isError(n)) {
			pr_err("fatbin: zstd: %s", ZSTD_getErrorName(n));
			goto err;
		}
		plain = n;
	} else if (e->flags & HG_FATBIN_LZ4) {
		int n = LZ4_decompress_safe((const char *)e->data, buf, (int)e->size, (int)plain);

		/* The same for LZ4, which fails on bytes behind the block. */
		if (n < 0)
			n = LZ4_decompress_safe_partial((const char *)e->data, buf, (int)e->size, (int)plain, (int)plain);
		if (n < 0 || (uint64_t)n != plain) {
			pr_err("fatbin: damaged LZ4 data");
			goto err;
		}
	} else {
		memcpy(buf, e->data, plain);
	}
	buf[plain] = 0;
	*out = buf;
	*out_size = plain;
	return HG_OK;
err:
	free(buf);
	return st;
}

/* --- ELF ------------------------------------------------------------------------------------- */
static bool is_elf(const unsigned char *p)
{
	return p[0] == 0x7f && p[1] == 'E' && p[2] == 'L' && p[3] == 'F';
}

/* Sections whose bytes are not in the file; of what is not linked yet they have types of NVIDIA's: .nv.global, .local, .shared. */
static bool is_nobits(uint32_t type)
{
	return type == SHT_NOBITS || type == 0x70000007 || type == 0x70000009 || type == 0x7000000a;
}

/* What the headers of a 64-bit ELF file say it takes; 0: they make no sense. limit: bytes that may be read. */
static uint64_t elf_size(const unsigned char *p, uint64_t limit)
{
	Elf64_Ehdr eh;
	uint64_t end = sizeof(eh), table;

	if (limit < sizeof(eh))
		return 0;
	memcpy(&eh, p, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB)
		return 0;
	table = (uint64_t)eh.e_shnum * sizeof(Elf64_Shdr);
	if (eh.e_shnum && (eh.e_shentsize != sizeof(Elf64_Shdr) || eh.e_shoff > limit || table > limit - eh.e_shoff ||
			   (limit == UINT64_MAX && !is_readable(p + eh.e_shoff, table))))
		return 0;
	for (unsigned int i = 0; i < eh.e_shnum; i++) {
		Elf64_Shdr sh;

		memcpy(&sh, p + eh.e_shoff + i * sizeof(sh), sizeof(sh));
		if (is_nobits(sh.sh_type) || sh.sh_type == SHT_NULL)
			continue;
		if (sh.sh_offset > limit || sh.sh_size > limit - sh.sh_offset || sh.sh_size > MAX_PLAIN)
			return 0;
		if (sh.sh_offset + sh.sh_size > end)
			end = sh.sh_offset + sh.sh_size;
	}
	if (eh.e_shnum && eh.e_shoff + table > end)
		end = eh.e_shoff + table;
	table = (uint64_t)eh.e_phnum * eh.e_phentsize;
	if (eh.e_phnum && (eh.e_phoff > limit || table > limit - eh.e_phoff))
		return 0;
	if (eh.e_phnum && eh.e_phoff + table > end)
		end = eh.e_phoff + table;
	return end;
}

static void add_name(char *names, size_t size, const char *name, size_t nr)
{
	size_t used = strlen(names);

	if (used + 8 < size)
		snprintf(names + used, size - used, "%s'%s'", nr ? ", " : "", name);
	if (strlen(names) == size - 1 && size > 4)
		memcpy(names + size - 4, "...", 4);
}

bool hg_cubin_is_whole(const void *elf, size_t size)
{
	return size >= 4 && is_elf(elf) && elf_size(elf, size);
}

size_t hg_cubin_kernels(const void *elf, size_t size, char *names, size_t names_size)
{
	const unsigned char *p = elf;
	Elf64_Shdr sh, str;
	Elf64_Ehdr eh;
	size_t nr = 0;

	if (names_size)
		names[0] = 0;
	if (!hg_cubin_is_whole(elf, size))
		return 0;
	memcpy(&eh, p, sizeof(eh));
	if (eh.e_shstrndx >= eh.e_shnum)
		return 0;
	memcpy(&str, p + eh.e_shoff + eh.e_shstrndx * sizeof(str), sizeof(str));
	if (str.sh_type != SHT_STRTAB || !str.sh_size || p[str.sh_offset + str.sh_size - 1])
		return 0;
	/* The code of kernel k is in section .text.k, which has a section .nv.info.k. */
	for (unsigned int i = 0; i < eh.e_shnum; i++) {
		const char *name;

		memcpy(&sh, p + eh.e_shoff + i * sizeof(sh), sizeof(sh));
		if (sh.sh_name >= str.sh_size)
			continue;
		name = (const char *)p + str.sh_offset + sh.sh_name;
		if (strncmp(name, ".nv.constant0.", 14))
			continue;
		/* Only kernels have a bank of parameters. */
		if (name[14] && names_size)
			add_name(names, names_size, name + 14, nr);
		nr += name[14] != 0;
	}
	if (nr)
		return nr;
	for (unsigned int i = 0; i < eh.e_shnum; i++) {
		Elf64_Shdr strtab;

		memcpy(&sh, p + eh.e_shoff + i * sizeof(sh), sizeof(sh));
		if (sh.sh_type != SHT_SYMTAB || sh.sh_link >= eh.e_shnum)
			continue;
		memcpy(&strtab, p + eh.e_shoff + sh.sh_link * sizeof(strtab), sizeof(strtab));
		if (strtab.sh_type != SHT_STRTAB || !strtab.sh_size || p[strtab.sh_offset + strtab.sh_size - 1])
			continue;
		for (uint64_t k = 0; k < sh.sh_size / sizeof(Elf64_Sym); k++) {
			Elf64_Sym sym;

			memcpy(&sym, p + sh.sh_offset + k * sizeof(sym), sizeof(sym));
			if (!(sym.st_other & 0x10) || sym.st_name >= strtab.sh_size)	/* STO_CUDA_ENTRY */
				continue;
			if (names_size)
				add_name(names, names_size, (const char *)p + strtab.sh_offset + sym.st_name, nr);
			nr++;
		}
	}
	return nr;
}

/* --- images ---------------------------------------------------------------------------------- */
static bool is_text_start(const unsigned char *p, size_t size)
{
	for (size_t i = 0; i < size && i < 64; i++) {
		if (p[i] == '.' || p[i] == '/' || p[i] == '#')
			return true;
		if (p[i] != ' ' && p[i] != '\t' && p[i] != '\n' && p[i] != '\r')
			return false;
	}
	return false;
}

struct wrapper {
	uint32_t magic, version;
	const void *data;
	const void *const *fatbins;	/* version 2; of version 1 a file's name, or NULL */
};
_Static_assert(sizeof(struct wrapper) == 24, "fatbin wrapper");

static bool is_flat(const unsigned char *p)
{
	return !memcmp(p, FLAT_MAGIC, 8);
}

/* Reads no byte behind the first that differs: the image may be a text of one character. */
static bool begins_with(const unsigned char *p, const void *bytes, size_t size)
{
	const unsigned char *want = bytes;

	for (size_t i = 0; i < size; i++)
		if (p[i] != want[i])
			return false;
	return true;
}

size_t hg_image_size(const void *image)
{
	static const uint32_t wrapper_magic = HG_FATBIN_WRAPPER_MAGIC, fatbin_magic = HG_FATBIN_MAGIC;
	const unsigned char *p = image;
	uint64_t size;

	if (!is_readable(image, 1))
		return 0;
	if (begins_with(p, &wrapper_magic, 4))
		return sizeof(struct wrapper);
	if (begins_with(p, &fatbin_magic, 4)) {
		size = fatbin_size(image);
		return size <= MAX_PLAIN * 8 ? size : 0;
	}
	if (begins_with(p, ELFMAG, SELFMAG))
		return elf_size(p, UINT64_MAX);
	if (begins_with(p, FLAT_MAGIC, 8)) {
		memcpy(&size, p + 8, sizeof(size));
		return size <= MAX_PLAIN * 8 ? size : 0;
	}
	if (is_text_start(p, strnlen(image, 64)))
		return strlen(image) + 1;
	return 0;
}

bool hg_image_begins(const void *image, size_t size)
{
	static const uint32_t wrapper_magic = HG_FATBIN_WRAPPER_MAGIC, fatbin_magic = HG_FATBIN_MAGIC;

	if (!size)
		return hg_image_size(image) != 0;
	return (size >= 4 && (begins_with(image, &wrapper_magic, 4) || begins_with(image, &fatbin_magic, 4) ||
			      begins_with(image, ELFMAG, SELFMAG))) ||
		(size >= 8 && begins_with(image, FLAT_MAGIC, 8)) || is_text_start(image, size);
}

static enum hg_status add_part(struct hg_image_part **parts, size_t *nr, enum hg_image_part_kind kind, const void *data,
			       size_t size)
{
	struct hg_image_part *more;

	if (*nr == MAX_PARTS) {
		pr_err("image: more than %d parts", MAX_PARTS);
		return HG_ERR_CORRUPT;
	}
	if (kind == HG_IMAGE_FATBIN) {
		struct hg_fatbin fb;
		enum hg_status st = hg_fatbin_open(&fb, data, size);

		if (st)
			return st;
	}
	more = realloc(*parts, (*nr + 1) * sizeof(*more));
	if (!more)
		return HG_ERR_NOMEM;
	more[(*nr)++] = (struct hg_image_part){ .kind = kind, .data = data, .size = size };
	*parts = more;
	return HG_OK;
}

/* A fatbin that a wrapper points to: only its own length says how long it is. */
static enum hg_status add_pointed(struct hg_image_part **parts, size_t *nr, const void *data)
{
	uint32_t magic;
	uint64_t size;

	if (!is_readable(data, 16)) {
		pr_err("fatbin wrapper: points to memory that cannot be read");
		return HG_ERR_CORRUPT;
	}
	memcpy(&magic, data, sizeof(magic));
	if (is_elf(data)) {
		size = elf_size(data, UINT64_MAX);
	} else if (magic == HG_FATBIN_MAGIC) {
		size = fatbin_size(data);
	} else {
		pr_err("fatbin wrapper: points to no fatbin (magic number 0x%08" PRIx32 ")", magic);
		return HG_ERR_CORRUPT;
	}
	if (!size || size > MAX_PLAIN * 8 || !is_readable(data, size)) {
		pr_err("fatbin wrapper: points to memory that cannot be read");
		return HG_ERR_CORRUPT;
	}
	return add_part(parts, nr, magic == HG_FATBIN_MAGIC ? HG_IMAGE_FATBIN : HG_IMAGE_ELF, data, size);
}

static enum hg_status wrapper_parts(const void *image, size_t size, struct hg_image_part **parts, size_t *nr)
{
	enum hg_status st = HG_OK;
	struct wrapper w;

	if (size && size < sizeof(w)) {
		pr_err("fatbin wrapper: too short");
		return HG_ERR_CORRUPT;
	}
	if (!size && !is_readable(image, sizeof(w))) {
		pr_err("fatbin wrapper: cannot be read");
		return HG_ERR_CORRUPT;
	}
	memcpy(&w, image, sizeof(w));
	if (w.version == 1)
		return add_pointed(parts, nr, w.data);
	if (w.version != 2) {
		pr_err("fatbin wrapper: version %" PRIu32 " is not known", w.version);
		return HG_ERR_VERSION;
	}
	/* The linked image first, which is a cubin as a rule; then the fatbins that went into it. */
	if (w.data)
		st = add_pointed(parts, nr, w.data);
	for (size_t i = 0; !st && w.fatbins; i++) {
		if (!is_readable(w.fatbins + i, sizeof(*w.fatbins))) {
			pr_err("fatbin wrapper: its list of fatbins has no end");
			return HG_ERR_CORRUPT;
		}
		if (!w.fatbins[i])
			break;
		st = add_pointed(parts, nr, w.fatbins[i]);
	}
	return st;
}

static enum hg_status flat_parts(const unsigned char *image, size_t size, struct hg_image_part **parts, size_t *nr)
{
	uint64_t total, count;
	struct hg_reader r;

	hg_reader_init(&r, image, size);
	hg_read_bytes(&r, 8);
	total = hg_read_u64(&r);
	count = hg_read_u64(&r);
	if (r.failed || total > size || count > MAX_PARTS) {
		pr_err("image: damaged head");
		return HG_ERR_CORRUPT;
	}
	for (uint64_t i = 0; i < count; i++) {
		uint64_t n = hg_read_u64(&r);
		const unsigned char *data = n <= size ? hg_read_bytes(&r, n) : NULL;
		enum hg_status st;

		if (!data || n < 16) {
			pr_err("image: part %" PRIu64 " does not fit", i);
			return HG_ERR_CORRUPT;
		}
		hg_read_bytes(&r, -n & 7);
		st = add_part(parts, nr, is_elf(data) ? HG_IMAGE_ELF : is_text_start(data, n) ? HG_IMAGE_TEXT : HG_IMAGE_FATBIN,
			      data, n);
		if (st)
			return st;
	}
	return HG_OK;
}

enum hg_status hg_image_parts(const void *image, size_t size, struct hg_image_part **out, size_t *out_nr)
{
	const unsigned char *p = image;
	struct hg_image_part *parts = NULL;
	size_t nr = 0, known = size;
	enum hg_status st;
	uint32_t magic;

	if (!size) {
		known = hg_image_size(image);
		if (!known) {
			pr_err("image: neither a fatbin, a cubin nor PTX");
			return HG_ERR_INVALID;
		}
		if (!is_readable(image, known)) {
			pr_err("image: cannot be read");
			return HG_ERR_CORRUPT;
		}
	}
	magic = 0;
	if (known >= 4)
		memcpy(&magic, image, sizeof(magic));
	if (magic == HG_FATBIN_WRAPPER_MAGIC)
		st = wrapper_parts(image, size, &parts, &nr);
	else if (magic == HG_FATBIN_MAGIC)
		st = add_part(&parts, &nr, HG_IMAGE_FATBIN, image, known);
	else if (known >= 4 && is_elf(p))
		st = add_part(&parts, &nr, HG_IMAGE_ELF, image, known);
	else if (known >= 24 && is_flat(p))
		st = flat_parts(p, known, &parts, &nr);
	else if (is_text_start(p, known))
		st = add_part(&parts, &nr, HG_IMAGE_TEXT, image, known);
	else {
		pr_err("image: neither a fatbin, a cubin nor PTX");
		st = HG_ERR_INVALID;
	}
	if (st) {
		free(parts);
		return st;
	}
	*out = parts;
	*out_nr = nr;
	return HG_OK;
}

static enum hg_status write_parts(const struct hg_image_part *parts, size_t nr, void **out, size_t *out_size)
{
	struct hg_writer w = { 0 };

	if (nr == 1) {
		size_t n = parts[0].size;

		/* What is said to lie behind the end is not there. */
		if (parts[0].kind == HG_IMAGE_FATBIN && n > fatbin_size(parts[0].data) && n >= 16)
			n = fatbin_size(parts[0].data);
		if (parts[0].kind == HG_IMAGE_TEXT)
			n = strnlen(parts[0].data, n);
		hg_write_bytes(&w, parts[0].data, n);
		if (parts[0].kind == HG_IMAGE_TEXT)
			hg_write_u8(&w, 0);
	} else {
		uint64_t total = 24;

		for (size_t i = 0; i < nr; i++)
			total += 8 + ((parts[i].size + 7) & ~(size_t)7);
		hg_write_bytes(&w, FLAT_MAGIC, 8);
		hg_write_u64(&w, total);
		hg_write_u64(&w, nr);
		for (size_t i = 0; i < nr; i++) {
			static const unsigned char zeros[8];

			hg_write_u64(&w, parts[i].size);
			hg_write_bytes(&w, parts[i].data, parts[i].size);
			hg_write_bytes(&w, zeros, -parts[i].size & 7);
		}
	}
	if (w.failed) {
		hg_writer_release(&w);
		return HG_ERR_NOMEM;
	}
	*out = w.data;
	*out_size = w.size;
	return HG_OK;
}

enum hg_status hg_image_flatten(const void *image, size_t size, void **out, size_t *out_size)
{
	struct hg_image_part *parts;
	enum hg_status st;
	size_t nr;

	st = hg_image_parts(image, size, &parts, &nr);
	if (st)
		return st;
	st = write_parts(parts, nr, out, out_size);
	free(parts);
	return st;
}

enum hg_status hg_image_join(const struct hg_image *image, size_t nr_images, void **out, size_t *out_size)
{
	struct hg_image_part *all = NULL;
	enum hg_status st = HG_OK;
	size_t nr = 0;

	for (size_t i = 0; i < nr_images && !st; i++) {
		struct hg_image_part *parts;
		size_t n;

		st = hg_image_parts(image[i].data, image[i].size, &parts, &n);
		if (st)
			break;
		for (size_t k = 0; k < n && !st; k++)
			st = add_part(&all, &nr, parts[k].kind, parts[k].data, parts[k].size);
		free(parts);
	}
	if (!st && !nr)
		st = HG_ERR_INVALID;
	if (!st)
		st = write_parts(all, nr, out, out_size);
	free(all);
	return st;
}
