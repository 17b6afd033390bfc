/* ptx.h - PTX text taken apart: what ptx_parse.c gives and lower.c reads. Private to translate/. */
#ifndef HG_TRANSLATE_PTX_H
#define HG_TRANSLATE_PTX_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/pool.h"
#include "common/status.h"
#include "translate/ir.h"

/* Where messages of one load go: to the user (first error) and to the caller's log. */
struct ptx_log {
	char *text;		/* may be NULL */
	size_t size, used;
	bool quiet;		/* only into text: this attempt may be followed by another */
	bool has_error;
};
void ptx_log_add(struct ptx_log *log, bool error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* --- tokens ---------------------------------------------------------------------------------- */
enum ptx_token_kind { PTX_EOF, PTX_IDENT, PTX_DOT, PTX_INT, PTX_FLOAT, PTX_STRING, PTX_PUNCT, PTX_BAD };

struct ptx_token {
	enum ptx_token_kind kind;
	const char *text;	/* of the source; for PTX_DOT and PTX_STRING without dot and quotes */
	uint32_t size, line, column;
	uint64_t value;		/* INT: value; FLOAT: bits of an f64; PUNCT: the character */
	bool is_unsigned;	/* INT with U, or too large for s64 */
	bool is_f32;		/* FLOAT: it was 0f… */
	const char *bad;	/* BAD: what is wrong */
};

struct ptx_lexer {
	const char *begin, *pos, *end, *line_begin;
	uint32_t line;
};
void ptx_lexer_init(struct ptx_lexer *lx, const char *text, size_t size);
void ptx_lexer_next(struct ptx_lexer *lx, struct ptx_token *out);

/* --- words: opcodes and modifiers ------------------------------------------------------------ */
enum ptx_word {
	PTX_W_NONE,		/* not a word we know */
#define PTX_WORD(name, text) PTX_W_##name,
#include "translate/ptx_words.def"
	PTX_W_COUNT
};
enum ptx_word ptx_word_find(const char *s, size_t size);
const char *ptx_word_text(enum ptx_word w);
enum ir_type ptx_word_type(enum ptx_word w);	/* IR_NONE: not a type */

/* --- names ----------------------------------------------------------------------------------- */
enum ptx_space { PTX_REG, PTX_GLOBAL, PTX_CONST, PTX_SHARED, PTX_LOCAL, PTX_PARAM };
enum ptx_sym_kind { PTX_SYM_REG, PTX_SYM_VAR, PTX_SYM_FUNC, PTX_SYM_LABEL, PTX_SYM_TARGETS, PTX_SYM_PROTO };

struct ptx_reloc { uint64_t offset; struct ptx_sym *sym; int64_t addend; };

struct ptx_var {
	enum ptx_space space;
	enum ir_type type;
	uint32_t vec;			/* 1, 2 or 4 */
	uint32_t align;			/* natural when not given */
	uint64_t size;			/* bytes; 0 of x[] */
	bool is_array, is_pointer, is_extern_array;
	uint32_t reg;			/* PTX_REG parameters: the register */
	unsigned char *init;		/* size bytes, or NULL */
	struct ptx_reloc *reloc;
	size_t nr_relocs;
	bool is_reference;		/* texref, samplerref, surfref: a struct hg_texture; a parameter: its address */
	const char *refused;		/* kernels that use it are refused */
	struct ptx_func *owner;		/* function it is declared in, or NULL */
	uint32_t index;			/* PARAM: number among its function's parameters and call parameters; else the IR's */
	uint32_t epoch, frame;		/* lower.c: kernel, and framed code of it, for which offset holds */
	uint64_t offset;		/* lower.c: in the kernel's shared or local window or parameter block */
};

struct ptx_sym {
	enum ptx_sym_kind kind;
	const char *name;
	uint32_t line, column;
	bool is_visible, is_weak, is_extern, is_common, is_defined;
	bool is_used;			/* support.c: code or a variable names this function */
	struct ptx_module *module;
	struct ptx_sym *link;		/* resolved by another module's symbol */
	/* REG */
	uint32_t reg, count, vec;	/* count: of %r<count>, else 0 */
	enum ir_type class;
	/* LABEL */
	uint32_t label;			/* number in its function */
	/* TARGETS */
	struct ptx_sym **target;
	uint32_t nr_targets;
	struct ptx_var var;
	struct ptx_func *func;
};

/* --- code ------------------------------------------------------------------------------------ */
enum ptx_opd_kind {
	PTX_OPD_REG, PTX_OPD_INT, PTX_OPD_FLOAT, PTX_OPD_SYM, PTX_OPD_SREG, PTX_OPD_NONE /* _ */,
	PTX_OPD_MEM,		/* [elem…]: elem[0] is the base, imm the offset */
	PTX_OPD_VEC,		/* {elem…} */
	PTX_OPD_PAIR,		/* elem[0] | elem[1] */
	PTX_OPD_LIST,		/* (elem…) */
};

/* The letter, how many digits, and the digits, four bits each as they are read: .b3210 is 'b', 4, 0x3210. */
#define PTX_PART(letter, nr, digits) ((uint64_t)(letter) << 40 | (uint64_t)(nr) << 32 | (digits))
#define PTX_PART_LETTER(imm) ((char)((imm) >> 40))
#define PTX_PART_NR(imm) ((unsigned int)((imm) >> 32) & 0xff)
#define PTX_PART_DIGITS(imm) ((uint32_t)(imm))

struct ptx_opd {
	uint8_t kind;
	bool negated;		/* ! */
	bool is_f32;		/* FLOAT written as 0f… */
	bool is_part;		/* REG with .b0, .h1… of the video instructions; imm is then PTX_PART_… */
	bool is_minus;		/* REG with a minus sign: vmad only */
	uint32_t reg;		/* REG; SREG: PTX_WORD-free index, see ptx_sreg */
	uint64_t imm;		/* INT, FLOAT (bits of f64), MEM's offset */
	struct ptx_sym *sym;	/* SYM */
	struct ptx_opd *elem;
	uint32_t nr_elems, line, column;
};

struct ptx_insn {
	uint16_t op;		/* enum ptx_word */
	uint16_t nr_mods, nr_opds;
	bool guard_neg;
	uint32_t guard;		/* register or IR_NO_REG */
	uint32_t label;		/* op == 0: this is a label, not an instruction */
	uint32_t line, column, size;
	const char *text;	/* of the source, `size` bytes, without the semicolon */
	uint16_t *mod;		/* enum ptx_word */
	struct ptx_opd *opd;
};

struct ptx_func {
	struct ptx_sym *sym;
	bool is_entry, has_body, is_noreturn;
	struct ptx_sym **ret, **param;
	uint32_t nr_rets, nr_params;
	struct ptx_insn *insn;
	uint32_t nr_insns;
	uint8_t *reg_class;		/* enum ir_type */
	uint32_t nr_regs, nr_labels;
	uint32_t nr_param_vars;		/* parameters and call parameters */
	uint32_t max_threads, req_threads[3];
	const char *refused;		/* a directive that changes the meaning and is not supported */
	uint32_t refused_line;
	bool is_real;			/* lower_real.c: called, not inlined */
	bool is_framed;			/* …and an activation may end up in another one of the same function */
	bool has_alloca;
	uint32_t part;			/* functions that call each other in a circle have the same number */
	uint32_t address;		/* lower.c: 0, or number among the functions whose address is taken, from 1 */
};

struct ptx_module {
	struct hg_pool *pool;		/* not owned */
	uint32_t version, sm;		/* 90 for 9.0; 75 for sm_75 */
	bool is_debug;
	uint32_t address_size;
	struct ptx_sym **sym;		/* variables and functions in order of declaration */
	uint32_t nr_syms;
};

/* Text of `size` bytes (a NUL ends it early). Everything is taken from pool; text must outlive it. */
enum hg_status ptx_parse(struct hg_pool *pool, const char *text, size_t size, struct ptx_log *log,
			 struct ptx_module **out) HG_MUST_CHECK;

/* Special registers that stand for themselves or for something lower.c makes of others. */
struct ptx_sreg {
	const char *name;
	int sreg;		/* enum ir_sreg, or -1 */
	uint8_t bits;
	uint8_t what;		/* enum ptx_sreg_what when sreg is -1 */
};
enum ptx_sreg_what { PTX_SREG_ZERO = 1, PTX_SREG_ONE, PTX_SREG_LOW, PTX_SREG_HIGH, PTX_SREG_WARP, PTX_SREG_RESERVED,
		     PTX_SREG_UNKNOWN };
extern const struct ptx_sreg ptx_sreg[];
int ptx_sreg_find(const char *s, size_t size);	/* name without %; -1: none */

/* --- linking and lowering -------------------------------------------------------------------- */
/*
 * Links modules by symbol and lowers every kernel. Kernels that cannot be are there, with `refused`.
 * The result owns its pool and keeps nothing of the PTX.
 */
enum hg_status ptx_lower(struct ptx_module **module, size_t nr, struct ptx_log *log,
			 struct ir_module **out) HG_MUST_CHECK;

/* One instruction by the rules of ir_verify; false: says why. */
bool ir_check_insn(const struct ir_module *m, const struct ir_func *fn, const struct ir_insn *in, char *why, size_t size);

#endif
