/* code_lane.c - finds the lane by taking the instructions of an access apart. */
#include "translate/code_lane.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/Disassembler.h>

#include "translate/cpu_abi.h"

/* One vector access, as the disassembler writes it: disp(%base,%index,scale), and {%k1} if it is masked. */
struct piece {
	int64_t disp;
	int base, index, mask;	/* -1: none */
	unsigned int scale;
	unsigned int bytes;	/* of the vector register */
};

enum { MAX_PIECES = 16 };

/* The stretch of code around an address that belongs to one access. The access may be there twice. */
struct stretch {
	uint64_t offset, from, to;
	struct code_row row;
	bool open, found;
};

static int register_number(const char *name, size_t len)
{
	static const char *const known[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
					       "r13", "r14", "r15" };

	for (int i = 0; i < 16; i++)
		if (strlen(known[i]) == len && !memcmp(known[i], name, len))
			return i;
	return -1;
}

/* False: not an access to memory of this kind. */
static bool take_apart(const char *text, struct piece *p)
{
	const char *open = strchr(text, '('), *close = open ? strchr(open, ')') : NULL, *at, *k;
	size_t len;

	*p = (struct piece){ .base = -1, .index = -1, .mask = -1, .scale = 1 };
	if (!close || strstr(text, "mask"))	/* AVX2's masked moves: their masks are vectors */
		return false;
	p->bytes = strstr(text, "%zmm") ? 64 : strstr(text, "%ymm") ? 32 : strstr(text, "%xmm") ? 16 : 0;
	if (!p->bytes)
		return false;
	for (at = open; at > text && strchr("-0123456789abcdefx", at[-1]); at--)
		;
	p->disp = at < open ? strtoll(at, NULL, 0) : 0;
	at = open + 1;
	if (*at == '%') {
		len = strcspn(++at, ",)");
		p->base = register_number(at, len);
		if (p->base < 0)
			return false;
		at += len;
	}
	if (*at == ',') {
		if (*++at != '%')
			return false;
		len = strcspn(++at, ",)");
		p->index = register_number(at, len);
		if (p->index < 0)
			return false;	/* a vector: addresses apart */
		at += len;
		if (*at == ',')
			p->scale = (unsigned int)strtoul(at + 1, NULL, 10);
	}
	k = strstr(text, "{%k");
	if (k)
		p->mask = k[3] - '0';
	return true;
}

static bool row(void *arg, const struct code_row *r)
{
	struct stretch *c = arg;
	bool mine = r->line == c->row.line && r->column == c->row.column;

	if (c->open && !mine) {
		c->to = r->offset;
		c->found = c->offset >= c->from && c->offset < c->to;
	}
	if (!c->open && mine)
		c->from = r->offset;
	c->open = mine;
	return !c->found;
}

/* Those of one row of memory as wide as all lanes together, in which `own` is; the lane at which it begins, -1: not told. */
static int first_lane(const struct piece *p, unsigned int nr, const struct piece *own, unsigned int stride)
{
	unsigned int in_row = 0;
	int64_t first = own->disp;

	for (unsigned int i = 0; i < nr; i++) {
		if (p[i].base != own->base || p[i].index != own->index || p[i].scale != own->scale || p[i].bytes != own->bytes ||
		    llabs(p[i].disp - own->disp) >= (int64_t)stride * HG_WARP || (p[i].disp - own->disp) % own->bytes)
			continue;
		in_row++;
		if (p[i].disp < first)
			first = p[i].disp;
	}
	/* more of them: a loop was unrolled, or code is there twice; fewer: addresses were computed in another way */
	if (in_row * own->bytes != stride * HG_WARP)
		return -1;
	return (int)((own->disp - first) / stride);
}

uint32_t code_lane_find(const struct code_lines *lines, uint64_t at, const struct code_row *where, unsigned int stride,
			const struct hg_cpu_state *s, const char *triple, const char *cpu, const char *features)
{
	LLVMDisasmContextRef dc = LLVMCreateDisasmCPUFeatures(triple, cpu, features, NULL, 0, NULL, NULL);
	struct stretch code = { .offset = s->pc - at, .row = *where };
	struct piece piece[MAX_PIECES], own = { .bytes = 0 };
	unsigned int nr = 0;
	uint32_t lanes = 0;
	uint64_t ea;
	int lane;

	if (!dc)
		return 0;
	code_lines_each(lines, row, &code);
	/* instructions have no beginning but that of the one before */
	for (uint64_t off = 0; code.found && off < code.to;) {
		char text[160];
		size_t n = LLVMDisasmInstruction(dc, (uint8_t *)(uintptr_t)(at + off), lines->text_size - off, at + off, text,
						 sizeof(text));

		if (!n)
			break;
		if (off >= code.from && nr < MAX_PIECES && take_apart(text, &piece[nr])) {
			if (at + off == s->pc)
				own = piece[nr];
			nr++;
		}
		off += n;
	}
	LLVMDisasmDispose(dc);
	if (!own.bytes || nr == MAX_PIECES)
		return 0;
	lane = first_lane(piece, nr, &own, stride);
	if (lane < 0)
		return 0;
	ea = (uint64_t)own.disp + (own.base < 0 ? 0 : s->reg[own.base]) + (own.index < 0 ? 0 : s->reg[own.index] * own.scale);
	if (s->addr - ea >= own.bytes)
		return 0;
	for (unsigned int i = (unsigned int)(s->addr - ea) / stride; i < own.bytes / stride; i++)
		if (own.mask < 0 || s->mask[own.mask & 7] >> i & 1) {
			lanes = UINT32_C(1) << ((unsigned int)lane + i);
			break;
		}
	return lanes;
}
