/* ptx_forms.c - which forms of PTX instructions the front end takes: ptx_forms.def, matched. */
#include "translate/ptx_forms.h"

#include <pthread.h>
#include <string.h>

static const struct { enum ptx_word op; const char *words; } row[] = {
#define PTX_FORM(op, words) { PTX_W_##op, words },
#include "translate/ptx_forms.def"
};

/* A row is a string; no more groups and words than characters can be in it. */
enum {
	ROWS = sizeof(row) / sizeof(row[0]),
#define PTX_FORM(op, words) + sizeof(words) / 2
	MAX_GROUPS = 0
#include "translate/ptx_forms.def"
	,
	MAX_WORDS = MAX_GROUPS,
};

static struct ptx_form form[ROWS];
static struct ptx_form_group group[MAX_GROUPS];
static uint16_t word[MAX_WORDS];
static uint32_t nr_groups, nr_words;
/* Rows of one opcode stand apart: [first[op] … first[op + 1]) of by_op. */
static uint16_t first[PTX_W_COUNT + 1], by_op[ROWS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_operands(struct ptx_form *f, const char *s, size_t size)
{
	for (size_t i = 1; i < size; i++)
		if (s[i] != '|')
			f->operands |= UINT32_C(1) << (s[i] - '0');
}

static void read_group(struct ptx_form *f, const char *s, size_t size)
{
	struct ptx_form_group *g = &group[nr_groups++];

	f->nr_groups++;
	g->word = &word[nr_words];
	if (*s == '~') {
		g->cycled = true;
		s++;
		size--;
	}
	g->optional = s[size - 1] == '?';
	size -= g->optional;
	while (size) {
		const char *bar = memchr(s, '|', size);
		size_t n = bar ? (size_t)(bar - s) : size;

		word[nr_words++] = (uint16_t)ptx_word_find(s, n);
		g->nr++;
		s += n + (bar != NULL);
		size -= n + (bar != NULL);
	}
}

static void read_table(void)
{
	static uint16_t at[PTX_W_COUNT];

	for (size_t i = 0; i < ROWS; i++) {
		const char *s = row[i].words;

		form[i] = (struct ptx_form){ .op = row[i].op, .words = s, .group = &group[nr_groups] };
		while (*(s += strspn(s, " "))) {
			size_t n = strcspn(s, " ");

			if (*s == '#')
				read_operands(&form[i], s, n);
			else
				read_group(&form[i], s, n);
			s += n;
		}
		first[row[i].op + 1]++;
	}
	for (size_t op = 0; op < PTX_W_COUNT; op++)
		first[op + 1] = (uint16_t)(first[op + 1] + first[op]);
	memcpy(at, first, sizeof(at));
	for (uint16_t i = 0; i < ROWS; i++)
		by_op[at[row[i].op]++] = i;
}

const struct ptx_form *ptx_forms(size_t *nr)
{
	pthread_once(&once, read_table);
	*nr = ROWS;
	return form;
}

/* Words whose order counts: 1 types, 2 layouts; 0 all others. */
static int order_of(enum ptx_word w)
{
	switch (w) {
	case PTX_W_f32x2: case PTX_W_u16x2: case PTX_W_s16x2: case PTX_W_tf32: case PTX_W_e4m3: case PTX_W_e5m2:
	case PTX_W_e4m3x2: case PTX_W_e5m2x2: case PTX_W_e2m3x2: case PTX_W_e3m2x2: case PTX_W_e2m1x2: case PTX_W_ue8m0x2:
	case PTX_W_u2: case PTX_W_s2: case PTX_W_u4: case PTX_W_s4: case PTX_W_b1:
		return 1;
	case PTX_W_row: case PTX_W_col:
		return 2;
	default:
		return ptx_word_type(w) != IR_NONE;
	}
}

/* Where a word is in a group; its size: nowhere. */
static uint8_t place_in(const struct ptx_form_group *g, enum ptx_word w)
{
	uint8_t i = 0;

	while (i < g->nr && g->word[i] != w)
		i++;
	return i;
}

bool ptx_form_matches(const struct ptx_form *f, const uint16_t *mod, size_t nr_mods, size_t nr_opds, uint8_t *choice)
{
	uint64_t left = nr_mods < 64 ? (UINT64_C(1) << nr_mods) - 1 : 0;

	if (nr_mods > 63 || (f->operands && (nr_opds > 31 || !(f->operands >> nr_opds & 1))))
		return false;
	for (uint32_t i = 0; i < f->nr_groups; i++) {
		const struct ptx_form_group *g = &f->group[i];
		int order = order_of(g->word[0]);
		uint8_t at = g->nr;

		for (size_t m = 0; m < nr_mods && at == g->nr; m++) {
			if (!(left >> m & 1) || order_of(mod[m]) != order)
				continue;
			at = place_in(g, mod[m]);
			if (at < g->nr)
				left &= ~(UINT64_C(1) << m);
			else if (order)
				break;	/* the next of its kind is another */
		}
		if (at == g->nr && !g->optional)
			return false;
		if (choice)
			choice[i] = at;
	}
	return !left;
}

const struct ptx_form *ptx_form_find(enum ptx_word op, const uint16_t *mod, size_t nr_mods, size_t nr_opds)
{
	pthread_once(&once, read_table);
	for (uint32_t i = first[op]; i < first[op + 1]; i++)
		if (ptx_form_matches(&form[by_op[i]], mod, nr_mods, nr_opds, NULL))
			return &form[by_op[i]];
	return NULL;
}

bool ptx_form_has(enum ptx_word op)
{
	pthread_once(&once, read_table);
	return first[op] < first[op + 1];
}
