/* code_object.c - reads AMD's code objects. */
#include "tests/drivers/hip/code_object.h"

#include <elf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/hip/msgpack.h"

/* Of the user guide; elf.h has the machine alone. */
#define OSABI_AMDGPU_HSA 64
#define ABI_VERSION_5 3
#define MACH_MASK 0xffu
#define XNACK_MASK 0x300u
#define SRAMECC_MASK 0xc00u
#define NOTE_METADATA 32

struct reader {
	struct co_object *co;
	const Elf64_Phdr *phdr;		/* copies */
	size_t nr_phdrs;
	const Elf64_Shdr *shdr;
	size_t nr_shdrs;
	const Elf64_Sym *sym;
	size_t nr_syms;
	const char *names;		/* of dynamic symbols, NUL-terminated as a whole */
	size_t names_size;
	char *why;
	size_t why_size;
};

static bool fail(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct reader *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, r->why_size, fmt, ap);
	va_end(ap);
	return false;
}

static bool is_within(uint64_t offset, uint64_t size, uint64_t all)
{
	return offset <= all && size <= all - offset;
}

uint64_t co_claimed_size(const unsigned char header[64])
{
	Elf64_Ehdr h;
	uint64_t end, table;

	memcpy(&h, header, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) || h.e_ident[EI_CLASS] != ELFCLASS64)
		return 0;
	end = sizeof(h);
	table = h.e_phoff + (uint64_t)h.e_phnum * sizeof(Elf64_Phdr);
	end = table > end ? table : end;
	table = h.e_shoff + (uint64_t)h.e_shnum * sizeof(Elf64_Shdr);
	return table > end ? table : end;
}

/* ---- the file ---- */

static bool read_header(struct reader *r, Elf64_Ehdr *h)
{
	if (r->co->size < sizeof(*h))
		return fail(r, "%zu bytes are no ELF file", r->co->size);
	memcpy(h, r->co->bytes, sizeof(*h));
	if (memcmp(h->e_ident, ELFMAG, SELFMAG))
		return fail(r, "it is no ELF file");
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_ident[EI_VERSION] != EV_CURRENT)
		return fail(r, "it is no little-endian ELF file of 64 bits");
	if (h->e_machine != EM_AMDGPU)
		return fail(r, "it is for machine %u, and AMD's GPUs are %u", h->e_machine, EM_AMDGPU);
	if (h->e_ident[EI_OSABI] != OSABI_AMDGPU_HSA)
		return fail(r, "its OS ABI is %u; HSA is %u", h->e_ident[EI_OSABI], OSABI_AMDGPU_HSA);
	if (h->e_ident[EI_ABIVERSION] != ABI_VERSION_5)
		return fail(r, "its ABI version is %u; code object version 5 is %u", h->e_ident[EI_ABIVERSION], ABI_VERSION_5);
	if (h->e_type != ET_DYN)
		return fail(r, "it is not linked: its type is %u, and a shared object's %u", h->e_type, ET_DYN);
	if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum ||
	    !is_within(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), r->co->size))
		return fail(r, "its program headers are not in the file");
	if (h->e_shnum && (h->e_shentsize != sizeof(Elf64_Shdr) ||
			   !is_within(h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr), r->co->size)))
		return fail(r, "its section headers are not in the file");
	return true;
}

static void read_flags(struct co_object *co, uint32_t flags)
{
	co->mach = flags & MACH_MASK;
	co->xnack = (flags & XNACK_MASK) == 0x200 ? 0 : (flags & XNACK_MASK) == 0x300 ? 1 : -1;
	co->sramecc = (flags & SRAMECC_MASK) == 0x800 ? 0 : (flags & SRAMECC_MASK) == 0xc00 ? 1 : -1;
}

static bool read_segments(struct reader *r)
{
	struct co_object *co = r->co;
	uint64_t end = 0;

	co->segment = calloc(r->nr_phdrs, sizeof(*co->segment));
	if (!co->segment)
		return fail(r, "no memory");
	for (size_t i = 0; i < r->nr_phdrs; i++) {
		const Elf64_Phdr *p = &r->phdr[i];

		if (p->p_type != PT_LOAD)
			continue;
		if (!is_within(p->p_offset, p->p_filesz, co->size) || p->p_filesz > p->p_memsz)
			return fail(r, "segment %zu is not in the file", i);
		if (p->p_vaddr < end || p->p_memsz > (uint64_t)1 << 40 || p->p_vaddr > (uint64_t)1 << 40)
			return fail(r, "segment %zu lies at 0x%llx, over another or too far away", i,
				    (unsigned long long)p->p_vaddr);
		end = p->p_vaddr + p->p_memsz;
		co->segment[co->nr_segments++] = (struct co_segment){
			p->p_vaddr, p->p_memsz, p->p_filesz, co->bytes + p->p_offset, p->p_flags & PF_W, p->p_flags & PF_X,
		};
	}
	return co->nr_segments || fail(r, "it has nothing to load");
}

/* [addr, addr+size) as the file has it; NULL: it is in no segment. */
static const unsigned char *loaded(const struct co_object *co, uint64_t addr, uint64_t size)
{
	for (size_t i = 0; i < co->nr_segments; i++) {
		const struct co_segment *s = &co->segment[i];

		if (addr >= s->addr && is_within(addr - s->addr, size, s->file_size))
			return s->bytes + (addr - s->addr);
	}
	return NULL;
}

static const struct co_segment *segment_of(const struct co_object *co, uint64_t addr, uint64_t size)
{
	for (size_t i = 0; i < co->nr_segments; i++)
		if (addr >= co->segment[i].addr && is_within(addr - co->segment[i].addr, size, co->segment[i].size))
			return &co->segment[i];
	return NULL;
}

static bool has_bytes(struct reader *r, const Elf64_Shdr *s)
{
	return s->sh_type == SHT_NOBITS || is_within(s->sh_offset, s->sh_size, r->co->size);
}

/* The bitcode that test builds carry, and the dynamic symbols. */
static bool read_sections(struct reader *r, const Elf64_Ehdr *h)
{
	const Elf64_Shdr *names = h->e_shstrndx < r->nr_shdrs ? &r->shdr[h->e_shstrndx] : NULL;
	const Elf64_Shdr *symbols = NULL, *strings;

	for (size_t i = 0; i < r->nr_shdrs; i++)
		if (!has_bytes(r, &r->shdr[i]))
			return fail(r, "section %zu is not in the file", i);
	for (size_t i = 0; i < r->nr_shdrs; i++) {
		const Elf64_Shdr *s = &r->shdr[i];
		const char *name;

		if (s->sh_type == SHT_DYNSYM)
			symbols = s;
		if (!names || names->sh_type == SHT_NOBITS || s->sh_name >= names->sh_size)
			continue;
		name = (const char *)r->co->bytes + names->sh_offset + s->sh_name;
		if (names->sh_size - s->sh_name >= sizeof(".llvmbc") && !strncmp(name, ".llvmbc", sizeof(".llvmbc")) &&
		    s->sh_type != SHT_NOBITS && s->sh_size) {
			r->co->bitcode = r->co->bytes + s->sh_offset;
			r->co->bitcode_size = s->sh_size;
		}
	}
	if (!symbols)
		return fail(r, "it has no dynamic symbols");
	if (symbols->sh_entsize != sizeof(Elf64_Sym) || symbols->sh_link >= r->nr_shdrs)
		return fail(r, "its dynamic symbols are damaged");
	strings = &r->shdr[symbols->sh_link];
	if (strings->sh_type != SHT_STRTAB || !strings->sh_size || r->co->bytes[strings->sh_offset + strings->sh_size - 1])
		return fail(r, "the names of its dynamic symbols are damaged");
	r->nr_syms = symbols->sh_size / sizeof(Elf64_Sym);
	r->sym = calloc(r->nr_syms + 1, sizeof(*r->sym));
	if (!r->sym)
		return fail(r, "no memory");
	memcpy((void *)r->sym, r->co->bytes + symbols->sh_offset, r->nr_syms * sizeof(Elf64_Sym));
	r->names = (const char *)r->co->bytes + strings->sh_offset;
	r->names_size = strings->sh_size;
	return true;
}

static const char *symbol_name(const struct reader *r, const Elf64_Sym *s)
{
	return s->st_name < r->names_size ? r->names + s->st_name : "";
}

static const Elf64_Sym *find_symbol(const struct reader *r, const char *name, size_t length, const char *end)
{
	for (size_t i = 0; i < r->nr_syms; i++) {
		const char *n = symbol_name(r, &r->sym[i]);

		if (r->sym[i].st_shndx != SHN_UNDEF && !strncmp(n, name, length) && !strcmp(n + length, end))
			return &r->sym[i];
	}
	return NULL;
}

static bool read_variables(struct reader *r)
{
	struct co_object *co = r->co;

	co->symbol = calloc(r->nr_syms + 1, sizeof(*co->symbol));
	if (!co->symbol)
		return fail(r, "no memory");
	for (size_t i = 0; i < r->nr_syms; i++) {
		const char *name = symbol_name(r, &r->sym[i]);
		size_t length = strlen(name);

		if (i && r->sym[i].st_shndx == SHN_UNDEF)
			return fail(r, "symbol '%s' is not defined, and nothing would define it", name);
		if (ELF64_ST_TYPE(r->sym[i].st_info) != STT_OBJECT || (length > 3 && !strcmp(name + length - 3, ".kd")))
			continue;
		if (!segment_of(co, r->sym[i].st_value, r->sym[i].st_size))
			return fail(r, "variable '%s' is in no segment", name);
		co->symbol[co->nr_symbols++] = (struct co_symbol){ name, r->sym[i].st_value, r->sym[i].st_size };
	}
	return true;
}

/* ---- the metadata ---- */

static bool string(struct mp *m, char *out, size_t size)
{
	struct mp_value v;

	if (!mp_expect(m, MP_STR, &v))
		return false;
	snprintf(out, size, "%.*s", (int)(v.n < size ? v.n : size - 1), v.str);
	return true;
}

static void number(struct mp *m, uint32_t *out)
{
	struct mp_value v;

	if (!mp_expect(m, MP_UINT, &v))
		return;
	if (v.n > UINT32_MAX)
		m->bad = "a number is too large";
	*out = (uint32_t)v.n;
}

static void read_arg(struct mp *m, struct co_arg *a)
{
	struct mp_value map, key;

	if (!mp_expect(m, MP_MAP, &map))
		return;
	for (uint64_t i = 0; i < map.n && mp_expect(m, MP_STR, &key); i++) {
		if (mp_is(&key, ".offset"))
			number(m, &a->offset);
		else if (mp_is(&key, ".size"))
			number(m, &a->size);
		else if (mp_is(&key, ".value_kind"))
			string(m, a->value_kind, sizeof(a->value_kind));
		else
			mp_skip(m);
	}
	a->kind = !strncmp(a->value_kind, "hidden_", 7) ? CO_HIDDEN :
		!strcmp(a->value_kind, "global_buffer") ? CO_GLOBAL_BUFFER :
		!strcmp(a->value_kind, "dynamic_shared_pointer") ? CO_DYNAMIC_SHARED : CO_BY_VALUE;
}

static void read_args(struct mp *m, struct co_kernel *k)
{
	struct mp_value list;

	if (!mp_expect(m, MP_ARRAY, &list))
		return;
	free(k->arg);
	k->arg = calloc(list.n + 1, sizeof(*k->arg));
	k->nr_args = 0;
	for (uint64_t i = 0; k->arg && i < list.n && !m->bad; i++)
		read_arg(m, &k->arg[k->nr_args++]);
}

struct seen {
	char symbol[512];
	bool has[8];
};

static void read_kernel(struct mp *m, struct co_kernel *k, struct seen *s)
{
	static const char *const required[] = { ".name", ".symbol", ".kernarg_segment_size", ".kernarg_segment_align",
		".group_segment_fixed_size", ".private_segment_fixed_size", ".wavefront_size", ".max_flat_workgroup_size" };
	uint32_t *const into[] = { NULL, NULL, &k->kernarg_bytes, &k->kernarg_align, &k->lds_bytes, &k->private_bytes, &k->wave,
				   &k->max_items };
	struct mp_value map, key;

	if (!mp_expect(m, MP_MAP, &map))
		return;
	for (uint64_t i = 0; i < map.n && mp_expect(m, MP_STR, &key); i++) {
		size_t w = 0;

		while (w < 8 && !mp_is(&key, required[w]))
			w++;
		if (w < 8)
			s->has[w] = true;
		if (w == 0) {
			char name[4096];

			if (string(m, name, sizeof(name)) && !k->name)
				k->name = strdup(name);
		} else if (w == 1) {
			string(m, s->symbol, sizeof(s->symbol));
		} else if (w < 8) {
			number(m, into[w]);
		} else if (mp_is(&key, ".args")) {
			read_args(m, k);
		} else if (mp_is(&key, ".vgpr_count")) {
			number(m, &k->vgprs);
		} else if (mp_is(&key, ".sgpr_count")) {
			number(m, &k->sgprs);
		} else if (mp_is(&key, ".uses_dynamic_stack")) {
			struct mp_value v;

			if (mp_expect(m, MP_BOOL, &v))
				k->uses_dynamic_stack = v.n;
		} else {
			mp_skip(m);
		}
	}
	for (size_t w = 0; w < 8 && !m->bad; w++)
		if (!s->has[w])
			m->bad = required[w];	/* told apart by its dot, below */
}

/* ---- a kernel ---- */

static uint32_t u32(const unsigned char *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

static bool check_args(struct reader *r, struct co_kernel *k)
{
	uint32_t end = 0;
	bool hidden = false;

	for (size_t i = 0; i < k->nr_args; i++) {
		const struct co_arg *a = &k->arg[i];

		if (!a->size || a->offset < end || !is_within(a->offset, a->size, k->kernarg_bytes))
			return fail(r, "kernel '%s': argument %zu, %u bytes at %u, lies over another or outside the %u bytes of all",
				    k->name, i, a->size, a->offset, k->kernarg_bytes);
		if (hidden && a->kind != CO_HIDDEN)
			return fail(r, "kernel '%s': argument %zu comes after hidden ones", k->name, i);
		hidden = a->kind == CO_HIDDEN;
		end = a->offset + a->size;
		if (!hidden)
			k->explicit_bytes = end;
	}
	return true;
}

/* The descriptor's fields, by their offsets (user guide: "Kernel Descriptor"). */
static bool check_descriptor(struct reader *r, struct co_kernel *k, const Elf64_Sym *kd)
{
	const unsigned char *d = loaded(r->co, kd->st_value, 64);
	const struct co_segment *code;
	uint16_t properties;
	int64_t entry;

	if (kd->st_size != 64 || ELF64_ST_TYPE(kd->st_info) != STT_OBJECT || !d || kd->st_value % 64)
		return fail(r, "kernel '%s': its descriptor is not 64 aligned bytes of the file", k->name);
	memcpy(&entry, d + 16, sizeof(entry));
	memcpy(&properties, d + 56, sizeof(properties));
	if (u32(d) != k->lds_bytes || u32(d + 4) != k->private_bytes || u32(d + 8) != k->kernarg_bytes)
		return fail(r, "kernel '%s': the descriptor says %u bytes of LDS, %u private, %u of arguments; the metadata %u, %u, %u",
			    k->name, u32(d), u32(d + 4), u32(d + 8), k->lds_bytes, k->private_bytes, k->kernarg_bytes);
	if ((properties & 1 << 10 ? 32u : 64u) != k->wave)
		return fail(r, "kernel '%s': the descriptor is for waves of %u, the metadata for %u", k->name,
			    properties & 1 << 10 ? 32u : 64u, k->wave);
	if (!!(properties & 1 << 11) != k->uses_dynamic_stack)
		return fail(r, "kernel '%s': descriptor and metadata differ in whether its stack is dynamic", k->name);
	if (properties & 0xf380 || u32(d + 12) || u32(d + 60))
		return fail(r, "kernel '%s': reserved bits of its descriptor are set", k->name);
	k->entry = kd->st_value + (uint64_t)entry;
	code = segment_of(r->co, k->entry, 4);
	if (!code || !code->executable || k->entry % 256)
		return fail(r, "kernel '%s': its code would begin at 0x%llx, which is no place for code", k->name,
			    (unsigned long long)k->entry);
	return true;
}

static bool check_kernel(struct reader *r, struct co_kernel *k, const struct seen *s)
{
	const Elf64_Sym *kd, *code;
	size_t length = strlen(k->name);

	if (!*k->name || strncmp(s->symbol, k->name, length) || strcmp(s->symbol + length, ".kd"))
		return fail(r, "kernel '%s': its symbol is '%s'", k->name, s->symbol);
	if (k->wave != 32 && k->wave != 64)
		return fail(r, "kernel '%s': waves of %u", k->name, k->wave);
	if (!k->max_items || k->max_items > 1024)
		return fail(r, "kernel '%s': work-groups of up to %u work-items", k->name, k->max_items);
	if (k->kernarg_align < 4 || k->kernarg_align & (k->kernarg_align - 1))
		return fail(r, "kernel '%s': arguments aligned to %u", k->name, k->kernarg_align);
	if (!check_args(r, k))
		return false;
	kd = find_symbol(r, k->name, length, ".kd");
	code = find_symbol(r, k->name, length, "");
	if (!kd || !code || ELF64_ST_TYPE(code->st_info) != STT_FUNC)
		return fail(r, "kernel '%s': there is no %s of it among the symbols", k->name, kd ? "function" : "descriptor");
	if (!check_descriptor(r, k, kd))
		return false;
	if (code->st_value != k->entry)
		return fail(r, "kernel '%s': its descriptor names 0x%llx, its symbol 0x%llx", k->name,
			    (unsigned long long)k->entry, (unsigned long long)code->st_value);
	return true;
}

static bool read_kernels(struct reader *r, struct mp *m)
{
	struct mp_value list;

	if (!mp_expect(m, MP_ARRAY, &list))
		return true;	/* said by the caller */
	r->co->kernel = calloc(list.n + 1, sizeof(*r->co->kernel));
	if (!r->co->kernel)
		return fail(r, "no memory");
	for (uint64_t i = 0; i < list.n && !m->bad; i++) {
		struct co_kernel *k = &r->co->kernel[r->co->nr_kernels++];
		struct seen s = { .symbol = "" };

		read_kernel(m, k, &s);
		if (m->bad && m->bad[0] == '.')
			return fail(r, "kernel %llu of the metadata has no '%s'", (unsigned long long)i, m->bad);
		if (m->bad)
			return true;
		for (size_t o = 0; o + 1 < r->co->nr_kernels; o++)
			if (!strcmp(r->co->kernel[o].name, k->name))
				return fail(r, "kernel '%s' is there twice", k->name);
		if (!check_kernel(r, k, &s))
			return false;
	}
	return true;
}

static bool read_metadata(struct reader *r, const unsigned char *bytes, size_t size)
{
	struct mp m = { bytes, bytes + size, NULL };
	struct mp_value map, key, v;
	bool has_version = false, has_kernels = false;

	if (mp_expect(&m, MP_MAP, &map)) {
		for (uint64_t i = 0; i < map.n && mp_expect(&m, MP_STR, &key); i++) {
			if (mp_is(&key, "amdhsa.version")) {
				uint32_t major = 0, minor = 0;

				if (mp_expect(&m, MP_ARRAY, &v) && v.n == 2) {
					number(&m, &major);
					number(&m, &minor);
				}
				if (!m.bad && (major != 1 || minor != 2))
					return fail(r, "its metadata are version %u.%u; code object version 5 has 1.2", major, minor);
				has_version = true;
			} else if (mp_is(&key, "amdhsa.target")) {
				string(&m, r->co->target, sizeof(r->co->target));
			} else if (mp_is(&key, "amdhsa.kernels") && !has_kernels) {
				has_kernels = true;
				if (!read_kernels(r, &m))
					return false;
			} else {
				mp_skip(&m);
			}
		}
	}
	if (m.bad)
		return fail(r, "its metadata are damaged at byte %zu: %s", (size_t)(m.at - bytes), m.bad);
	if (m.at != m.end)
		return fail(r, "its metadata end %zu bytes before their note does", (size_t)(m.end - m.at));
	if (!has_version || !has_kernels || !r->co->target[0])
		return fail(r, "its metadata have no '%s'", !has_version ? "amdhsa.version" : !has_kernels ? "amdhsa.kernels" :
			    "amdhsa.target");
	if (strncmp(r->co->target, "amdgcn-amd-amdhsa--gfx", 22))
		return fail(r, "its target is '%s'", r->co->target);
	return true;
}

static bool read_notes(struct reader *r)
{
	for (size_t i = 0; i < r->nr_phdrs; i++) {
		const Elf64_Phdr *p = &r->phdr[i];
		uint64_t at = p->p_offset, end = p->p_offset + p->p_filesz;

		if (p->p_type != PT_NOTE)
			continue;
		if (!is_within(p->p_offset, p->p_filesz, r->co->size))
			return fail(r, "its notes are not in the file");
		while (end - at >= sizeof(Elf64_Nhdr)) {
			uint64_t name = at + sizeof(Elf64_Nhdr), desc;
			Elf64_Nhdr n;

			memcpy(&n, r->co->bytes + at, sizeof(n));
			desc = name + ((n.n_namesz + (uint64_t)3) & ~(uint64_t)3);
			if (desc > end || n.n_descsz > end - desc)
				return fail(r, "a note goes beyond the end of the notes");
			if (n.n_type == NOTE_METADATA && n.n_namesz == 7 && !memcmp(r->co->bytes + name, "AMDGPU", 7))
				return read_metadata(r, r->co->bytes + desc, n.n_descsz);
			at = desc + ((n.n_descsz + (uint64_t)3) & ~(uint64_t)3);
			if (at > end)
				break;
		}
	}
	return fail(r, "it has no note with metadata");
}

/* ---- all of it ---- */

static bool read_all(struct reader *r)
{
	Elf64_Phdr *phdr;
	Elf64_Shdr *shdr;
	Elf64_Ehdr h;

	if (!read_header(r, &h))
		return false;
	read_flags(r->co, h.e_flags);
	r->nr_phdrs = h.e_phnum;
	r->nr_shdrs = h.e_shnum;
	r->phdr = phdr = calloc(r->nr_phdrs, sizeof(*phdr));
	r->shdr = shdr = calloc(r->nr_shdrs + 1, sizeof(*shdr));
	if (!phdr || !shdr)
		return fail(r, "no memory");
	memcpy(phdr, r->co->bytes + h.e_phoff, r->nr_phdrs * sizeof(*phdr));
	memcpy(shdr, r->co->bytes + h.e_shoff, r->nr_shdrs * sizeof(*shdr));
	return read_segments(r) && read_sections(r, &h) && read_variables(r) && read_notes(r);
}

struct co_object *co_read(const void *bytes, size_t size, char *why, size_t why_size)
{
	struct co_object *co = calloc(1, sizeof(*co));
	struct reader r = { .co = co, .why = why, .why_size = why_size };
	bool ok = false;

	snprintf(why, why_size, "no memory");
	if (co)
		co->bytes = malloc(size ? size : 1);
	if (co && co->bytes) {
		memcpy(co->bytes, bytes, size);
		co->size = size;
		ok = read_all(&r);
	}
	free((void *)r.phdr);
	free((void *)r.shdr);
	free((void *)r.sym);
	if (ok)
		return co;
	co_free(co);
	return NULL;
}

void co_free(struct co_object *co)
{
	if (!co)
		return;
	for (size_t i = 0; i < co->nr_kernels; i++) {
		free(co->kernel[i].name);
		free(co->kernel[i].arg);
	}
	free(co->kernel);
	free(co->symbol);
	free(co->segment);
	free(co->bytes);
	free(co);
}
