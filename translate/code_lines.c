/* code_lines.c - the line table of compiled code: DWARF's line number program. */
#include "translate/code_lines.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "translate/elf_object.h"

/* A section of a 64-bit object file by name; NULL: none, or it does not lie in the file. */
static const unsigned char *section(const unsigned char *object, size_t size, const char *name, size_t *section_size)
{
	Elf64_Shdr s, names;
	Elf64_Ehdr h;

	if (!elf_object_open(object, size, &h) || !elf_object_section(object, size, &h, h.e_shstrndx, &names))
		return NULL;
	for (size_t i = 0; i < h.e_shnum; i++) {
		bool whole = elf_object_section(object, size, &h, i, &s);
		const char *n = elf_object_text(object, &names, s.sh_name);

		if (!n || strcmp(n, name))
			continue;
		if (!whole || s.sh_type == SHT_NOBITS)
			return NULL;
		*section_size = s.sh_size;
		return object + s.sh_offset;
	}
	return NULL;
}

void code_lines_take(struct code_lines *l, const void *object, size_t size)
{
	size_t table_size = 0;
	const unsigned char *table = section(object, size, ".debug_line", &table_size);

	*l = (struct code_lines){ 0 };
	/* the code model of the JIT has .ltext */
	if (!section(object, size, ".ltext", &l->text_size) && !section(object, size, ".text", &l->text_size))
		l->text_size = 0;
	if (!table || !table_size)
		return;
	l->table = malloc(table_size);
	if (!l->table)
		return;
	memcpy(l->table, table, table_size);
	l->table_size = table_size;
}

void code_lines_release(struct code_lines *l)
{
	free(l->table);
	*l = (struct code_lines){ 0 };
}

static uint64_t uleb(struct hg_reader *r)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 64 && !r->failed; shift += 7) {
		uint8_t b = hg_read_u8(r);

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			break;
	}
	return v;
}

static int64_t sleb(struct hg_reader *r)
{
	uint64_t v = 0;
	unsigned int shift = 0;
	uint8_t b;

	do {
		b = hg_read_u8(r);
		v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
	} while (b & 0x80 && shift < 64 && !r->failed);
	if (b & 0x40 && shift < 64)
		v |= ~UINT64_C(0) << shift;
	return (int64_t)v;
}

/* The state machine of DWARF 5, 6.2.2. */
struct machine {
	uint64_t offset;
	uint64_t line;		/* wraps, of a damaged table */
	uint64_t column;
};

struct program {
	uint8_t min_length, line_range, opcode_base;
	int8_t line_base;
	uint8_t nr_operands[256];
};

static bool read_header(struct hg_reader *r, struct program *p)
{
	struct hg_reader h;
	uint32_t header;
	uint16_t version;

	if (hg_read_u32(r) >= 0xfffffff0)
		return false;
	version = hg_read_u16(r);
	if (version < 2 || version > 5)
		return false;
	if (version == 5)
		hg_read_u16(r);		/* sizes of addresses and selectors */
	header = hg_read_u32(r);
	if (r->failed || hg_reader_left(r) < header)
		return false;
	hg_reader_init(&h, hg_read_bytes(r, header), header);
	p->min_length = hg_read_u8(&h);
	if (version >= 4)
		hg_read_u8(&h);		/* operations of an instruction */
	hg_read_u8(&h);			/* whether rows begin statements */
	p->line_base = (int8_t)hg_read_u8(&h);
	p->line_range = hg_read_u8(&h);
	p->opcode_base = hg_read_u8(&h);
	for (unsigned int i = 1; i < p->opcode_base; i++)
		p->nr_operands[i] = hg_read_u8(&h);
	return !h.failed && p->line_range;
}

static bool give(const struct machine *m, bool end, bool (*row)(void *arg, const struct code_row *r), void *arg)
{
	struct code_row r = { .offset = m->offset };

	if (!end && m->line <= UINT32_MAX) {
		r.line = (uint32_t)m->line;
		r.column = (uint32_t)m->column;
	}
	return row(arg, &r);
}

void code_lines_each(const struct code_lines *l, bool (*row)(void *arg, const struct code_row *r), void *arg)
{
	const struct machine fresh = { .line = 1 };
	struct machine m = fresh;
	struct program p = { 0 };
	struct hg_reader r, ext;

	hg_reader_init(&r, l->table, l->table ? l->table_size : 0);
	if (!read_header(&r, &p))
		return;
	while (!r.failed && hg_reader_left(&r)) {
		uint8_t op = hg_read_u8(&r);

		if (op >= p.opcode_base) {
			m.offset += (op - p.opcode_base) / p.line_range * p.min_length;
			m.line += (uint64_t)(int64_t)(p.line_base + (op - p.opcode_base) % p.line_range);
			if (!give(&m, false, row, arg))
				return;
			continue;
		}
		switch (op) {
		case 0: {	/* extended */
			uint64_t size = uleb(&r);
			const void *data = size <= hg_reader_left(&r) ? hg_read_bytes(&r, size) : NULL;

			if (!data)
				return;
			hg_reader_init(&ext, data, size);
			switch (hg_read_u8(&ext)) {
			case 1:		/* end of sequence */
				if (!give(&m, true, row, arg))
					return;
				m = fresh;
				break;
			case 2:		/* set address: .text's beginning, before it is linked */
				m.offset = hg_read_u64(&ext);
				break;
			default:
				break;
			}
			break;
		}
		case 1:
			if (!give(&m, false, row, arg))
				return;
			break;
		case 2: m.offset += uleb(&r) * p.min_length; break;
		case 3: m.line += (uint64_t)sleb(&r); break;
		case 5: m.column = uleb(&r); break;
		case 8: m.offset += (255 - p.opcode_base) / p.line_range * (uint64_t)p.min_length; break;
		case 9: m.offset += hg_read_u16(&r); break;
		default:
			for (unsigned int i = 0; i < p.nr_operands[op]; i++)
				uleb(&r);
			break;
		}
	}
}

struct search {
	uint64_t offset;
	struct code_row best;
	bool found;
};

static bool look(void *arg, const struct code_row *r)
{
	struct search *s = arg;

	if (r->offset > s->offset)
		return false;
	s->best = *r;
	s->found = r->line != 0;
	return true;
}

bool code_lines_find(const struct code_lines *l, uint64_t offset, struct code_row *out)
{
	struct search s = { .offset = offset };

	code_lines_each(l, look, &s);
	if (s.found)
		*out = s.best;
	return s.found;
}
