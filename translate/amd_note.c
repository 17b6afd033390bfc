/* amd_note.c - the metadata of a code object: an ELF note with a map in MessagePack. */
#include "translate/amd_note.h"

#include <string.h>

#include "common/buf.h"
#include "translate/elf_object.h"

#define EM_AMD 224			/* EM_AMDGPU, which older elf.h do not have */
#define NT_AMD_METADATA 32
#define MAX_DEPTH 16			/* of maps and arrays in each other; LLVM makes 4 */

/* ---- MessagePack: values of any kind can be passed over, those that are wanted read ---- */

static uint64_t big_endian(struct hg_reader *r, unsigned int bytes)
{
	const unsigned char *p = hg_read_bytes(r, bytes);
	uint64_t v = 0;

	for (unsigned int i = 0; p && i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

enum kind { NUMBER, TEXT, MAP, ARRAY, OTHER };

/* A value's kind, and the number, or how many bytes, pairs or elements follow. */
static enum kind head(struct hg_reader *r, uint64_t *n)
{
	uint8_t b = hg_read_u8(r);

	*n = 0;
	if (b < 0x80 || b >= 0xe0) {
		*n = b < 0x80 ? b : (uint64_t)(int8_t)b;
		return NUMBER;
	}
	if (b < 0x90) {
		*n = b & 15;
		return MAP;
	}
	if (b < 0xa0) {
		*n = b & 15;
		return ARRAY;
	}
	if (b < 0xc0) {
		*n = b & 31;
		return TEXT;
	}
	switch (b) {
	case 0xc2: case 0xc3:					/* false, true */
		*n = b & 1;
		return NUMBER;
	case 0xc4: case 0xc5: case 0xc6:			/* bytes */
		*n = big_endian(r, 1u << (b - 0xc4));
		return TEXT;
	case 0xca: case 0xcb:					/* floats */
		hg_read_bytes(r, b == 0xca ? 4 : 8);
		return OTHER;
	case 0xcc: case 0xcd: case 0xce: case 0xcf:		/* unsigned */
		*n = big_endian(r, 1u << (b - 0xcc));
		return NUMBER;
	case 0xd0: case 0xd1: case 0xd2: case 0xd3:		/* signed */
		*n = big_endian(r, 1u << (b - 0xd0));
		return NUMBER;
	case 0xd9: case 0xda: case 0xdb:
		*n = big_endian(r, 1u << (b - 0xd9));
		return TEXT;
	case 0xdc: case 0xdd:
		*n = big_endian(r, 2u << (b - 0xdc));
		return ARRAY;
	case 0xde: case 0xdf:
		*n = big_endian(r, 2u << (b - 0xde));
		return MAP;
	case 0xc0:						/* nil */
		return OTHER;
	default:						/* extensions: nobody makes them here */
		r->failed = true;
		return OTHER;
	}
}

static void skip(struct hg_reader *r, unsigned int depth)
{
	uint64_t n;
	enum kind k = head(r, &n);

	if (k == TEXT) {
		hg_read_bytes(r, n);
		return;
	}
	if (k != MAP && k != ARRAY)
		return;
	if (depth == MAX_DEPTH) {
		r->failed = true;
		return;
	}
	/* each takes a byte at least: a false count ends with the bytes */
	for (uint64_t i = 0; i < n && !r->failed; i++) {
		skip(r, depth + 1);
		if (k == MAP)
			skip(r, depth + 1);
	}
}

/* A text's bytes; NULL: it is none. */
static const char *text(struct hg_reader *r, size_t *size)
{
	uint64_t n;

	if (head(r, &n) != TEXT) {
		r->failed = true;
		return NULL;
	}
	*size = (size_t)n;
	return hg_read_bytes(r, *size);
}

static void copy_text(struct hg_reader *r, char *to, size_t room)
{
	size_t n;
	const char *p = text(r, &n);

	if (!p)
		return;
	n = n < room ? n : room - 1;
	memcpy(to, p, n);
	to[n] = 0;
}

static uint32_t number(struct hg_reader *r)
{
	uint64_t n;

	if (head(r, &n) != NUMBER || n > UINT32_MAX)
		r->failed = true;
	return r->failed ? 0 : (uint32_t)n;
}

static bool is(const char *key, size_t size, const char *name)
{
	return size == strlen(name) && !memcmp(key, name, size);
}

/* ---- the metadata ---- */

static void read_args(struct hg_reader *r, struct amd_note *out)
{
	uint64_t nr, pairs;

	if (head(r, &nr) != ARRAY)
		r->failed = true;
	for (uint64_t i = 0; i < nr && !r->failed; i++) {
		if (head(r, &pairs) != MAP)
			r->failed = true;
		for (uint64_t k = 0; k < pairs && !r->failed; k++) {
			char kind[64] = "";
			size_t n;
			const char *key = text(r, &n);

			if (key && is(key, n, ".value_kind"))
				copy_text(r, kind, sizeof(kind));
			else
				skip(r, 3);
			out->nr_hidden_args += !strncmp(kind, "hidden_", 7);
		}
	}
}

static void read_kernel(struct hg_reader *r, struct amd_note *out)
{
	const struct { const char *key; uint32_t *to; } numbers[] = {
		{ ".kernarg_segment_size", &out->kernarg_bytes }, { ".kernarg_segment_align", &out->kernarg_align },
		{ ".group_segment_fixed_size", &out->group_bytes }, { ".private_segment_fixed_size", &out->private_bytes },
		{ ".wavefront_size", &out->wave_size }, { ".max_flat_workgroup_size", &out->max_work_items },
		{ ".vgpr_count", &out->vgprs }, { ".agpr_count", &out->agprs }, { ".sgpr_count", &out->sgprs },
		{ ".vgpr_spill_count", &out->vgpr_spills }, { ".sgpr_spill_count", &out->sgpr_spills },
	};
	const size_t nr_numbers = sizeof(numbers) / sizeof(numbers[0]);
	uint64_t pairs;

	if (head(r, &pairs) != MAP)
		r->failed = true;
	for (uint64_t i = 0; i < pairs && !r->failed; i++) {
		size_t n, k;
		const char *key = text(r, &n);

		if (!key)
			return;
		for (k = 0; k < nr_numbers && !is(key, n, numbers[k].key); k++)
			;
		if (k < nr_numbers)
			*numbers[k].to = number(r);
		else if (is(key, n, ".name"))
			copy_text(r, out->name, sizeof(out->name));
		else if (is(key, n, ".symbol"))
			copy_text(r, out->symbol, sizeof(out->symbol));
		else if (is(key, n, ".uses_dynamic_stack"))
			out->has_dynamic_stack = number(r);
		else if (is(key, n, ".args"))
			read_args(r, out);
		else
			skip(r, 2);
	}
}

static bool read_metadata(const void *bytes, size_t size, struct amd_note *out)
{
	struct hg_reader r;
	uint64_t pairs, nr;

	hg_reader_init(&r, bytes, size);
	if (head(&r, &pairs) != MAP)
		return false;
	for (uint64_t i = 0; i < pairs && !r.failed; i++) {
		size_t n;
		const char *key = text(&r, &n);

		if (key && is(key, n, "amdhsa.target")) {
			copy_text(&r, out->target, sizeof(out->target));
		} else if (key && is(key, n, "amdhsa.kernels")) {
			if (head(&r, &nr) != ARRAY || nr > UINT32_MAX)
				return false;
			out->nr_kernels = (uint32_t)nr;
			for (uint64_t k = 0; k < nr && !r.failed; k++) {
				if (k)
					skip(&r, 1);
				else
					read_kernel(&r, out);
			}
		} else {
			skip(&r, 0);
		}
	}
	return !r.failed && out->nr_kernels;
}

/* A section of notes: name and description are each aligned to 4. */
static bool read_notes(const unsigned char *p, size_t size, struct amd_note *out)
{
	struct hg_reader r;

	hg_reader_init(&r, p, size);
	while (hg_reader_left(&r) >= 12) {
		uint32_t name_size = hg_read_u32(&r), bytes_size = hg_read_u32(&r), type = hg_read_u32(&r);
		const char *name = hg_read_bytes(&r, ((size_t)name_size + 3) & ~(size_t)3);
		const void *bytes = hg_read_bytes(&r, bytes_size);
		size_t pad = -(size_t)bytes_size & 3;

		if (!name || !bytes)
			return false;
		if (type == NT_AMD_METADATA && name_size == 7 && !memcmp(name, "AMDGPU", 7))
			return read_metadata(bytes, bytes_size, out);
		if (hg_reader_left(&r) >= pad)
			hg_read_bytes(&r, pad);
	}
	return false;
}

bool amd_note_read(const void *elf, size_t size, struct amd_note *out)
{
	Elf64_Shdr sh;
	Elf64_Ehdr e;

	if (!elf_object_open(elf, size, &e) || e.e_machine != EM_AMD)
		return false;
	for (size_t i = 1; i < e.e_shnum; i++) {
		struct amd_note found = { 0 };

		if (!elf_object_section(elf, size, &e, i, &sh) || sh.sh_type != SHT_NOTE)
			continue;
		if (read_notes((const unsigned char *)elf + sh.sh_offset, sh.sh_size, &found)) {
			*out = found;
			return true;
		}
	}
	return false;
}
