/* ir_names.h - the words of hgIR's text form; each list ends with NULL, "" is a value that is not written. */
#ifndef HG_TRANSLATE_IR_NAMES_H
#define HG_TRANSLATE_IR_NAMES_H

#include "translate/ir.h"

extern const char *const ir_space_name[], *const ir_rnd_name[], *const ir_cmp_name[], *const ir_bool_name[],
	*const ir_sem_name[], *const ir_scope_name[], *const ir_flag_name[], *const ir_sreg_name[];

/* Words of ir_insn.sub for an operation, or NULL: it has none, or a number (lop3). */
const char *const *ir_sub_names(enum ir_op op);
/* Index of a word in such a list, or -1. */
int ir_name_find(const char *const *names, const char *s, size_t size);

#endif
