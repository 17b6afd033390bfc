/* ptx_forms.h - the table of PTX forms that the front end takes (ptx_forms.def), taken apart. Private to translate/ and its tests. */
#ifndef HG_TRANSLATE_PTX_FORMS_H
#define HG_TRANSLATE_PTX_FORMS_H

#include "translate/ptx.h"

/* One group of words of a row; see ptx_forms.def. */
struct ptx_form_group {
	const uint16_t *word;	/* enum ptx_word, `nr` of them */
	uint8_t nr;
	bool optional, cycled;
};

struct ptx_form {
	enum ptx_word op;
	const char *words;	/* as in the table */
	uint32_t operands;	/* bit n: with n operands; 0: any number */
	const struct ptx_form_group *group;
	uint32_t nr_groups;
};

/* The rows, in the table's order; they live as long as the program. Thread-safe, as is the next. */
const struct ptx_form *ptx_forms(size_t *nr);
/* The row that an instruction of these words is a form of; NULL: none. */
const struct ptx_form *ptx_form_find(enum ptx_word op, const uint16_t *mod, size_t nr_mods, size_t nr_opds);
/* Whether an instruction with its opcode is of this form. choice[g], if wanted: which word of group g it has; the group's nr: none. */
bool ptx_form_matches(const struct ptx_form *f, const uint16_t *mod, size_t nr_mods, size_t nr_opds, uint8_t *choice);
/* Whether the table says anything of an opcode. */
bool ptx_form_has(enum ptx_word op);

#endif
