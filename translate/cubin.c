/* cubin.c - kernels, parameters and variables from a cubin's sections and symbols. Its bytes may be anything. */
#include "translate/cubin.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/msg.h"
#include "translate/fatbin.h"

#define SHT_CUDA_INFO 0x70000000u
#define STT_CUDA_OBJECT 13	/* a variable of what is not linked yet */
#define STO_CUDA_MANAGED 0x04
#define STO_CUDA_ENTRY 0x10
#define MAX_PARAMS 4096

/*
 * Attributes of .nv.info.<kernel>: u8 form, u8 attribute, u16 value; of form 4 the value is the size of what follows.
 * KPARAM_INFO:    u32 index, u16 ordinal, u16 offset, u32 with the size in its bits 18 to 31
 * KPARAM_INFO_V2: u32 index, u16 ordinal, u16 offset, u16 size, u8, u8; taken where a size needs more than 14 bits
 * PARAM_CBANK:    u32 symbol, u16 place of the parameters in the constant bank, u16 their size
 */
enum { FORM_SIZED = 4 };
enum {
	ATTR_PARAM_CBANK = 0x0a, ATTR_KPARAM_INFO = 0x17, ATTR_CBANK_PARAM_SIZE = 0x19, ATTR_KPARAM_INFO_V2 = 0x45,
};

struct info {
	const char *kernel;
	const unsigned char *data;
	size_t size;
};

struct elf {
	const unsigned char *bytes;
	size_t size;
	Elf64_Ehdr eh;
	Elf64_Shdr names;
	struct info *info;		/* sections .nv.info.<kernel>, ascending by name */
	size_t nr_infos;
};

/* Its bytes lie in the file: hg_cubin_is_whole has looked. */
static Elf64_Shdr section(const struct elf *e, unsigned int i)
{
	Elf64_Shdr sh;

	memcpy(&sh, e->bytes + e->eh.e_shoff + i * sizeof(sh), sizeof(sh));
	return sh;
}

static bool is_strings(const struct elf *e, const Elf64_Shdr *sh)
{
	return sh->sh_type == SHT_STRTAB && sh->sh_size && !e->bytes[sh->sh_offset + sh->sh_size - 1];
}

static const char *string(const struct elf *e, const Elf64_Shdr *table, uint32_t at)
{
	return at < table->sh_size ? (const char *)e->bytes + table->sh_offset + at : "";
}

static bool begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static int info_order(const void *a, const void *b)
{
	const struct info *x = a, *y = b;

	return strcmp(x->kernel, y->kernel);
}

static enum hg_status find_infos(struct hg_pool *pool, struct elf *e)
{
	static const char prefix[] = ".nv.info.";

	e->info = hg_pool_array(pool, e->eh.e_shnum, sizeof(*e->info));
	if (!e->info)
		return HG_ERR_NOMEM;
	for (unsigned int i = 0; i < e->eh.e_shnum; i++) {
		Elf64_Shdr sh = section(e, i);
		const char *name = string(e, &e->names, sh.sh_name);

		if (sh.sh_type == SHT_CUDA_INFO && begins(name, prefix))
			e->info[e->nr_infos++] = (struct info){ .kernel = name + sizeof(prefix) - 1,
								.data = e->bytes + sh.sh_offset, .size = sh.sh_size };
	}
	qsort(e->info, e->nr_infos, sizeof(*e->info), info_order);
	return HG_OK;
}

static int offset_order(const void *a, const void *b)
{
	const struct hg_param *x = a, *y = b;

	return x->offset != y->offset ? x->offset < y->offset ? -1 : 1 : 0;
}

/* Whether it is a layout that a compiler can have made: one behind the other, in a block that holds them all. */
static bool is_layout(struct hg_param *param, const bool *seen, uint32_t nr, uint32_t bytes)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < nr; i++)
		if (!seen[i])
			return false;
	qsort(param, nr, sizeof(*param), offset_order);
	for (uint32_t i = 0; i < nr; i++) {
		if (param[i].offset < end)
			return false;
		end = (uint64_t)param[i].offset + param[i].size;
	}
	return end <= bytes;
}

/* The parameters of a kernel; without a section of its own they are unknown. */
static enum hg_status read_params(struct hg_pool *pool, const struct elf *e, struct hg_cubin_kernel *k)
{
	struct info key = { .kernel = k->name };
	const struct info *info = bsearch(&key, e->info, e->nr_infos, sizeof(key), info_order);
	uint32_t nr = 0, bytes = 0, max;
	bool *seen, is_sane = true;
	struct hg_param *param;
	struct hg_reader r;

	if (!info)
		return HG_OK;
	max = info->size / 16 < MAX_PARAMS ? (uint32_t)(info->size / 16) : MAX_PARAMS;	/* an attribute takes 16 bytes */
	param = hg_pool_array(pool, max, sizeof(*param));
	seen = hg_pool_array(pool, max, sizeof(*seen));
	if (!param || !seen)
		return HG_ERR_NOMEM;
	hg_reader_init(&r, info->data, info->size);
	while (is_sane && hg_reader_left(&r)) {
		uint8_t form = hg_read_u8(&r), attr = hg_read_u8(&r);
		uint16_t value = hg_read_u16(&r);
		const void *data = form == FORM_SIZED ? hg_read_bytes(&r, value) : NULL;
		uint32_t ordinal, offset, size;
		struct hg_reader a;

		if (attr == ATTR_CBANK_PARAM_SIZE && form != FORM_SIZED)
			bytes = value;
		if (!data)
			continue;
		hg_reader_init(&a, data, value);
		hg_read_u32(&a);
		if (attr == ATTR_PARAM_CBANK) {
			hg_read_u16(&a);
			bytes = hg_read_u16(&a);
		} else if (attr == ATTR_KPARAM_INFO || attr == ATTR_KPARAM_INFO_V2) {
			ordinal = hg_read_u16(&a);
			offset = hg_read_u16(&a);
			size = attr == ATTR_KPARAM_INFO ? hg_read_u32(&a) >> 18 : hg_read_u32(&a) & 0xffff;
			is_sane = !a.failed && nr < max && ordinal < max && !seen[ordinal];
			if (!is_sane)
				break;
			seen[ordinal] = true;
			param[nr++] = (struct hg_param){ .offset = offset, .size = size };
		}
	}
	if (r.failed || !is_sane || !is_layout(param, seen, nr, bytes) || (bytes && !nr))
		return HG_OK;
	k->params_known = true;
	k->nr_params = nr;
	k->params = param;
	k->param_bytes = bytes;
	return HG_OK;
}

/* The bank of constants 0 is for parameters, one section for each kernel. */
static bool is_var_section(const char *name, bool *is_const)
{
	*is_const = begins(name, ".nv.constant");
	return (*is_const && !begins(name, ".nv.constant0")) || !strcmp(name, ".nv.global") || !strcmp(name, ".nv.global.init");
}

static enum hg_status read_symbols(struct hg_pool *pool, const struct elf *e, const Elf64_Shdr *table, struct hg_cubin *out)
{
	uint64_t nr = table->sh_size / sizeof(Elf64_Sym);
	uint32_t nr_kernels = 0, nr_vars = 0;
	Elf64_Shdr strings;

	if (table->sh_link >= e->eh.e_shnum)
		return HG_OK;
	strings = section(e, table->sh_link);
	if (!is_strings(e, &strings))
		return HG_OK;
	for (int pass = 0; pass < 2; pass++) {
		if (pass) {
			out->kernels = hg_pool_array(pool, nr_kernels, sizeof(*out->kernels));
			out->vars = hg_pool_array(pool, nr_vars, sizeof(*out->vars));
			if (!out->kernels || !out->vars)
				return HG_ERR_NOMEM;
		}
		for (uint64_t i = 0; i < nr; i++) {
			unsigned char type;
			enum hg_status st;
			const char *name;
			Elf64_Shdr sh;
			Elf64_Sym sym;
			bool is_const;

			memcpy(&sym, e->bytes + table->sh_offset + i * sizeof(sym), sizeof(sym));
			type = ELF64_ST_TYPE(sym.st_info);
			name = string(e, &strings, sym.st_name);
			if (sym.st_shndx == SHN_UNDEF) {
				out->uses_malloc |= ELF64_ST_BIND(sym.st_info) != STB_LOCAL && !strcmp(name, "malloc");
				continue;
			}
			if (!*name || *name == '.' || sym.st_shndx >= e->eh.e_shnum)
				continue;
			if (type == STT_FUNC && sym.st_other & STO_CUDA_ENTRY) {
				if (!pass) {
					nr_kernels++;
					continue;
				}
				out->kernels[out->nr_kernels].name = name;
				st = read_params(pool, e, &out->kernels[out->nr_kernels++]);
				if (st)
					return st;
			} else if (type == STT_OBJECT || type == STT_CUDA_OBJECT) {
				sh = section(e, sym.st_shndx);
				if (!is_var_section(string(e, &e->names, sh.sh_name), &is_const))
					continue;
				if (!pass) {
					nr_vars++;
					continue;
				}
				out->vars[out->nr_vars++] = (struct hg_cubin_var){
					.name = name, .size = sym.st_size, .is_const = is_const,
					.is_visible = ELF64_ST_BIND(sym.st_info) != STB_LOCAL,
					.is_managed = sym.st_other & STO_CUDA_MANAGED,
				};
			}
		}
	}
	return HG_OK;
}

/* Without symbols: the banks of parameters name the kernels. */
static enum hg_status read_banks(struct hg_pool *pool, const struct elf *e, struct hg_cubin *out)
{
	static const char prefix[] = ".nv.constant0.";

	out->kernels = hg_pool_array(pool, e->eh.e_shnum, sizeof(*out->kernels));
	if (!out->kernels)
		return HG_ERR_NOMEM;
	for (unsigned int i = 0; i < e->eh.e_shnum; i++) {
		Elf64_Shdr sh = section(e, i);
		const char *name = string(e, &e->names, sh.sh_name);
		enum hg_status st;

		if (!begins(name, prefix) || !name[sizeof(prefix) - 1])
			continue;
		out->kernels[out->nr_kernels].name = name + sizeof(prefix) - 1;
		st = read_params(pool, e, &out->kernels[out->nr_kernels++]);
		if (st)
			return st;
	}
	return HG_OK;
}

enum hg_status hg_cubin_read(struct hg_pool *pool, const void *elf, size_t size, struct hg_cubin *out)
{
	struct elf e = { .bytes = elf, .size = size };
	struct hg_cubin c = { 0 };
	bool has_symbols = false;
	enum hg_status st;

	if (!hg_cubin_is_whole(elf, size)) {
		pr_err("cubin: not a whole ELF file");
		return HG_ERR_CORRUPT;
	}
	memcpy(&e.eh, elf, sizeof(e.eh));
	if (e.eh.e_shstrndx < e.eh.e_shnum)
		e.names = section(&e, e.eh.e_shstrndx);
	if (!e.eh.e_shnum || !is_strings(&e, &e.names)) {
		pr_err("cubin: its sections have no names");
		return HG_ERR_CORRUPT;
	}
	st = find_infos(pool, &e);
	for (unsigned int i = 0; !st && i < e.eh.e_shnum && !has_symbols; i++) {
		Elf64_Shdr sh = section(&e, i);

		if (sh.sh_type != SHT_SYMTAB)
			continue;
		has_symbols = true;
		st = read_symbols(pool, &e, &sh, &c);
	}
	if (!st && !has_symbols)
		st = read_banks(pool, &e, &c);
	if (!st)
		*out = c;
	return st;
}
