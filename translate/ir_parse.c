/* ir_parse.c - reads the text form of hgIR. Its input may be anything. */
#include "translate/ir.h"
#include "translate/ir_names.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "common/msg.h"
#include "common/pool.h"

#define MAX_REGS (UINT32_C(1) << 24)
#define MAX_VAR_BYTES (UINT64_C(1) << 32)

struct parser {
	const char *pos, *end;		/* of the whole text */
	uint32_t line;
	struct hg_pool *pool;
	struct ir_module *m;
	struct ir_func *fn;
	uint32_t cap_funcs, cap_vars, cap_params, cap_blocks, cap_insns;
	enum hg_status st;
};

static void fail(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct parser *p, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (p->st)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->st = p->pool->failed ? HG_ERR_NOMEM : HG_ERR_CORRUPT;
	pr_err("hgIR text, line %" PRIu32 ": %s", p->line, text);
	p->pos = p->end;
}

static void skip_blanks(struct parser *p)
{
	while (p->pos < p->end && (*p->pos == ' ' || *p->pos == '\t' || *p->pos == '\r'))
		p->pos++;
}

/* To the first character of the next line that is not empty. */
static void next_line(struct parser *p)
{
	skip_blanks(p);
	if (p->pos < p->end && *p->pos != '\n')
		fail(p, "expected the end of the line");
	while (p->pos < p->end && (*p->pos == '\n' || *p->pos == ' ' || *p->pos == '\t' || *p->pos == '\r')) {
		if (*p->pos == '\n')
			p->line++;
		p->pos++;
	}
}

static bool at_eol(struct parser *p)
{
	skip_blanks(p);
	return p->pos >= p->end || *p->pos == '\n';
}

static bool accept(struct parser *p, char c)
{
	skip_blanks(p);
	if (p->pos >= p->end || *p->pos != c)
		return false;
	p->pos++;
	return true;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
		c == '%';
}

/* Letters, digits, '_', '$', '%'; size 0 when there is none. */
static size_t word(struct parser *p, const char **out)
{
	skip_blanks(p);
	*out = p->pos;
	while (p->pos < p->end && is_word(*p->pos))
		p->pos++;
	return (size_t)(p->pos - *out);
}

static bool accept_word(struct parser *p, const char *w)
{
	const char *save, *s;
	size_t size;

	skip_blanks(p);
	save = p->pos;
	size = word(p, &s);
	if (size == strlen(w) && !memcmp(s, w, size))
		return true;
	p->pos = save;
	return false;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static uint64_t number(struct parser *p, uint64_t max)
{
	uint64_t v = 0, base = 10;
	bool any = false, negative;

	negative = accept(p, '-');
	if (!negative)
		accept(p, '+');
	if (p->end - p->pos > 2 && p->pos[0] == '0' && p->pos[1] == 'x') {
		base = 16;
		p->pos += 2;
	}
	for (; p->pos < p->end; p->pos++) {
		int d = hex_digit(*p->pos);

		if (d < 0 || (uint64_t)d >= base)
			break;
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, (uint64_t)d, &v)) {
			fail(p, "number too large");
			return 0;
		}
		any = true;
	}
	if (!any)
		fail(p, "expected a number");
	if (v > max || (negative && max != UINT64_MAX))
		fail(p, "number out of range");
	return p->st ? 0 : negative ? 0 - v : v;
}

static uint32_t number32(struct parser *p)
{
	return (uint32_t)number(p, UINT32_MAX);
}

static char *string(struct parser *p)
{
	char *out, *o;
	const char *e;

	if (!accept(p, '"')) {
		fail(p, "expected a string");
		return NULL;
	}
	for (e = p->pos; e < p->end && *e != '"' && *e != '\n'; e++)
		;
	if (e >= p->end || *e != '"') {
		fail(p, "string without an end");
		return NULL;
	}
	out = hg_pool_alloc(p->pool, (size_t)(e - p->pos) + 1);
	if (!out) {
		fail(p, "no memory");
		return NULL;
	}
	for (o = out; p->pos < e; p->pos++) {
		if (*p->pos != '\\') {
			*o++ = *p->pos;
			continue;
		}
		if (e - p->pos < 4 || p->pos[1] != 'x' || hex_digit(p->pos[2]) < 0 || hex_digit(p->pos[3]) < 0 ||
		    (!hex_digit(p->pos[2]) && !hex_digit(p->pos[3]))) {
			fail(p, "bad escape in a string");
			return NULL;
		}
		*o++ = (char)(hex_digit(p->pos[2]) << 4 | hex_digit(p->pos[3]));
		p->pos += 3;
	}
	p->pos++;
	return out;
}

static bool grow(struct parser *p, void **array, uint32_t nr, uint32_t *capacity, size_t size)
{
	uint32_t want;
	void *bigger;

	if (nr < *capacity)
		return true;
	want = *capacity ? *capacity * 2 : 8;
	bigger = want > *capacity ? hg_pool_grow(p->pool, *array, nr, want, size) : NULL;
	if (!bigger) {
		fail(p, "no memory");
		return false;
	}
	*array = bigger;
	*capacity = want;
	return true;
}

static void parse_var(struct parser *p)
{
	uint32_t cap_relocs = 0;
	struct ir_var *v;
	struct hg_var_reloc *relocs = NULL;

	if (!grow(p, (void **)&p->m->var, p->m->nr_vars, &p->cap_vars, sizeof(*v)))
		return;
	v = &p->m->var[p->m->nr_vars];
	*v = (struct ir_var){ .name = string(p), .align = 1 };
	if (accept_word(p, "const"))
		v->space = IR_CONST;
	else if (accept_word(p, "global"))
		v->space = IR_GLOBAL;
	else
		fail(p, "expected 'const' or 'global'");
	if (!accept_word(p, "size"))
		fail(p, "expected 'size'");
	v->size = number(p, MAX_VAR_BYTES);
	if (!accept_word(p, "align"))
		fail(p, "expected 'align'");
	v->align = number32(p);
	v->is_visible = accept_word(p, "visible");
	if (accept_word(p, "init")) {
		const char *s;
		size_t size = word(p, &s);
		unsigned char *init;

		if (!size || size % 2 || size / 2 > v->size) {
			fail(p, "initial bytes do not fit");
			return;
		}
		init = hg_pool_alloc(p->pool, v->size);
		if (!init) {
			fail(p, "no memory");
			return;
		}
		for (size_t i = 0; i < size / 2; i++) {
			int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);

			if (hi < 0 || lo < 0) {
				fail(p, "bad hexadecimal digit");
				return;
			}
			init[i] = (unsigned char)(hi << 4 | lo);
		}
		v->init = init;
	}
	while (!p->st && accept_word(p, "reloc")) {
		if (!grow(p, (void **)&relocs, (uint32_t)v->nr_relocs, &cap_relocs, sizeof(*relocs)))
			return;
		relocs[v->nr_relocs].offset = number32(p);
		relocs[v->nr_relocs].var = number32(p);
		relocs[v->nr_relocs].addend = (int64_t)number(p, UINT64_MAX);
		v->nr_relocs++;
	}
	v->relocs = relocs;
	p->m->nr_vars++;
}

static enum ir_type letter_class(char c)
{
	switch (c) {
	case 'p': return IR_PRED;
	case 'h': return IR_B16;
	case 'r': return IR_B32;
	case 'd': return IR_B64;
	case 'q': return IR_B128;
	default: return IR_NONE;
	}
}

static void parse_regs(struct parser *p)
{
	struct ir_func *fn = p->fn;
	uint32_t capacity = 0;

	while (!p->st && !at_eol(p)) {
		enum ir_type class = letter_class(*p->pos++);
		uint32_t run;

		if (class == IR_NONE) {
			fail(p, "unknown class of registers");
			return;
		}
		run = number32(p);
		if (!run || run > MAX_REGS - fn->nr_regs) {
			fail(p, "too many registers");
			return;
		}
		if (run > capacity - fn->nr_regs) {
			capacity = (fn->nr_regs + run) * 2;
			fn->reg_type = hg_pool_grow(p->pool, fn->reg_type, fn->nr_regs, capacity, sizeof(*fn->reg_type));
			if (!fn->reg_type) {
				fail(p, "no memory");
				return;
			}
		}
		while (run--)
			fn->reg_type[fn->nr_regs++] = class;
	}
}

static ir_reg parse_reg(struct parser *p)
{
	enum ir_type class;
	uint32_t r;

	if (accept(p, '_'))
		return IR_NO_REG;
	if (!accept(p, '%') || p->pos >= p->end) {
		fail(p, "expected a register");
		return IR_NO_REG;
	}
	class = letter_class(*p->pos++);
	r = number32(p);
	if (p->st)
		return IR_NO_REG;
	if (r >= p->fn->nr_regs || p->fn->reg_type[r] != class) {
		fail(p, "register %" PRIu32 " is not declared, or of another class", r);
		return IR_NO_REG;
	}
	return r;
}

static void parse_operand(struct parser *p, struct ir_operand *o)
{
	const char *s;
	size_t size;

	*o = (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG };
	if (accept(p, '!'))
		o->negated = true;
	skip_blanks(p);
	if (p->pos < p->end && *p->pos == '%') {
		o->kind = IR_OPD_REG;
		o->reg = parse_reg(p);
	} else if (accept(p, '&')) {
		o->kind = IR_OPD_VAR;
		s = p->pos;
		while (p->pos < p->end && *p->pos != '+' && *p->pos != '\n')
			p->pos++;
		size = (size_t)(p->pos - s);
		for (o->index = 0; o->index < p->m->nr_vars; o->index++)
			if (strlen(p->m->var[o->index].name) == size && !memcmp(p->m->var[o->index].name, s, size))
				break;
		if (o->index == p->m->nr_vars)
			fail(p, "unknown variable '%.*s'", (int)(size < 100 ? size : 100), s);
		else
			o->imm = number(p, UINT64_MAX);
	} else if (accept(p, '$')) {
		int i;

		o->kind = IR_OPD_SREG;
		s = p->pos;
		while (p->pos < p->end && (is_word(*p->pos) || *p->pos == '.'))
			p->pos++;
		i = ir_name_find(ir_sreg_name, s, (size_t)(p->pos - s));
		if (i < 0)
			fail(p, "unknown special register");
		else
			o->index = (uint32_t)i;
	} else {
		o->imm = number(p, UINT64_MAX);
	}
}

static int find_type(const char *s, size_t size)
{
	for (int t = IR_PRED; t < IR_TYPE_COUNT; t++)
		if (strlen(ir_type_name(t)) == size && !memcmp(ir_type_name(t), s, size))
			return t;
	return -1;
}

static void parse_modifier(struct parser *p, struct ir_insn *in, const char *s, size_t size)
{
	const struct { const char *const *names; uint8_t *field; } lists[] = {
		{ ir_cmp_name, &in->cmp }, { ir_bool_name, &in->boolop }, { ir_rnd_name, &in->rnd },
		{ ir_sem_name, &in->sem }, { ir_scope_name, &in->scope }, { ir_space_name, &in->space },
	};
	const char *const *sub = ir_sub_names(in->op);
	int v;

	if (in->op == IR_lop3 && size == 4 && s[0] == '0' && s[1] == 'x' && hex_digit(s[2]) >= 0 && hex_digit(s[3]) >= 0) {
		in->sub = (uint8_t)(hex_digit(s[2]) << 4 | hex_digit(s[3]));
		return;
	}
	v = sub ? ir_name_find(sub, s, size) : -1;
	if (v >= 0) {
		in->sub = (uint8_t)v;
		return;
	}
	v = find_type(s, size);
	if (v >= 0) {
		if (in->type2 != IR_NONE)
			fail(p, "more than two types");
		else if (in->type != IR_NONE)
			in->type2 = (uint8_t)v;
		else
			in->type = (uint8_t)v;
		return;
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		v = ir_name_find(lists[i].names, s, size);
		if (v >= 0) {
			*lists[i].field = (uint8_t)v;
			return;
		}
	}
	v = ir_name_find(ir_flag_name, s, size);
	if (v >= 0)
		in->flags |= (uint16_t)(1u << v);
	else
		fail(p, "unknown word '.%.*s'", (int)(size < 100 ? size : 100), s);
}

static uint32_t parse_target(struct parser *p)
{
	if (!accept(p, 'b')) {
		fail(p, "expected a block");
		return 0;
	}
	return number32(p);
}

#define MAX_OPERANDS 64

static void parse_insn(struct parser *p)
{
	struct ir_block *b = &p->fn->block[p->fn->nr_blocks - 1];
	struct ir_operand src[MAX_OPERANDS];
	ir_reg dst[MAX_OPERANDS];
	uint32_t *targets = NULL, cap_targets = 0, nr_targets = 0;
	struct ir_insn *in;
	const char *s;
	size_t size;
	int op;

	if (!grow(p, (void **)&b->insn, b->nr_insns, &p->cap_insns, sizeof(*in)))
		return;
	in = &b->insn[b->nr_insns];
	*in = (struct ir_insn){ .guard = IR_NO_REG };
	if (accept(p, '@')) {
		in->guard_neg = accept(p, '!');
		in->guard = parse_reg(p);
	}
	skip_blanks(p);
	if (p->pos < p->end && (*p->pos == '%' || *p->pos == '_')) {
		do {
			if (in->nr_dst == MAX_OPERANDS) {
				fail(p, "too many results");
				return;
			}
			dst[in->nr_dst++] = parse_reg(p);
		} while (!p->st && accept(p, ','));
		if (!accept(p, '='))
			fail(p, "expected '='");
	}
	size = word(p, &s);
	for (op = 0; op < IR_OP_COUNT; op++)
		if (strlen(ir_op_desc[op].name) == size && !memcmp(ir_op_desc[op].name, s, size))
			break;
	if (op == IR_OP_COUNT) {
		fail(p, "unknown operation '%.*s'", (int)(size < 100 ? size : 100), s);
		return;
	}
	in->op = (uint16_t)op;
	while (!p->st && p->pos < p->end && *p->pos == '.') {
		p->pos++;
		size = word(p, &s);
		parse_modifier(p, in, s, size);
	}
	if (!p->st && !at_eol(p) && *p->pos != ';') {
		do {
			skip_blanks(p);
			if (p->pos < p->end && *p->pos == 'b') {
				if (!grow(p, (void **)&targets, nr_targets, &cap_targets, sizeof(*targets)))
					return;
				targets[nr_targets++] = parse_target(p);
			} else if (in->nr_src == MAX_OPERANDS) {
				fail(p, "too many operands");
			} else {
				parse_operand(p, &src[in->nr_src++]);
			}
		} while (!p->st && accept(p, ','));
	}
	if (accept(p, ';'))
		in->line = number32(p);
	if (p->st)
		return;
	if (in->op == IR_brx) {
		in->targets = targets;
		in->nr_targets = nr_targets;
	} else if (nr_targets != ir_nr_targets(in)) {
		fail(p, "wrong number of target blocks");
		return;
	} else {
		for (uint32_t i = 0; i < nr_targets; i++)
			in->target[i] = targets[i];
	}
	in->dst = hg_pool_copy(p->pool, dst, in->nr_dst * sizeof(*dst));
	in->src = hg_pool_copy(p->pool, src, in->nr_src * sizeof(*src));
	if (p->pool->failed) {
		fail(p, "no memory");
		return;
	}
	b->nr_insns++;
}

static bool at_block(struct parser *p)
{
	skip_blanks(p);
	return p->end - p->pos > 1 && p->pos[0] == 'b' && p->pos[1] >= '0' && p->pos[1] <= '9';
}

static void parse_func(struct parser *p)
{
	struct ir_func *fn;

	if (!grow(p, (void **)&p->m->func, p->m->nr_funcs, &p->cap_funcs, sizeof(*fn)))
		return;
	p->fn = fn = &p->m->func[p->m->nr_funcs++];
	*fn = (struct ir_func){ .name = string(p) };
	p->cap_params = p->cap_blocks = 0;
	if (!accept(p, '{'))
		fail(p, "expected '{'");
	next_line(p);
	while (!p->st) {
		if (p->pos >= p->end) {
			fail(p, "expected '}' before the end of the text");
		} else if (accept(p, '}')) {
			return;
		} else if (at_block(p)) {
			p->pos++;
			if (number32(p) != fn->nr_blocks || !accept(p, ':'))
				fail(p, "expected 'b%" PRIu32 ":'", fn->nr_blocks);
			if (!grow(p, (void **)&fn->block, fn->nr_blocks, &p->cap_blocks, sizeof(*fn->block)))
				return;
			fn->block[fn->nr_blocks++] = (struct ir_block){ 0 };
			p->cap_insns = 0;
		} else if (fn->nr_blocks) {
			parse_insn(p);
		} else if (accept_word(p, "line")) {
			fn->line = number32(p);
		} else if (accept_word(p, "param")) {
			if (!grow(p, (void **)&fn->param, fn->nr_params, &p->cap_params, sizeof(*fn->param)))
				return;
			fn->param[fn->nr_params].offset = number32(p);
			fn->param[fn->nr_params].size = number32(p);
			fn->param[fn->nr_params].align = number32(p);
			fn->param[fn->nr_params++].is_pointer = accept_word(p, "pointer");
		} else if (accept_word(p, "param_bytes")) {
			fn->param_bytes = number32(p);
		} else if (accept_word(p, "shared_bytes")) {
			fn->shared_bytes = number32(p);
		} else if (accept_word(p, "local_bytes")) {
			fn->local_bytes = number32(p);
		} else if (accept_word(p, "max_threads")) {
			fn->max_threads = number32(p);
		} else if (accept_word(p, "req_threads")) {
			for (int i = 0; i < 3; i++)
				fn->req_threads[i] = number32(p);
		} else if (accept_word(p, "uses")) {
			if (accept_word(p, "dynamic_shared"))
				fn->uses_dynamic_shared = true;
			else if (accept_word(p, "grid_sync"))
				fn->uses_grid_sync = true;
			else if (accept_word(p, "zeroed_shared"))
				fn->needs_zeroed_shared = true;
			else if (accept_word(p, "stack"))
				fn->uses_stack = true;
			else
				fail(p, "expected 'dynamic_shared', 'grid_sync', 'zeroed_shared' or 'stack'");
		} else if (accept_word(p, "refused")) {
			fn->refused = string(p);
		} else if (accept_word(p, "regs")) {
			if (fn->nr_regs)
				fail(p, "registers declared twice");
			parse_regs(p);
		} else {
			fail(p, "expected a block or a property of the function");
		}
		next_line(p);
	}
}

enum hg_status ir_parse(const char *text, size_t size, struct ir_module **out)
{
	struct parser p = { .pos = text, .end = text + size, .line = 1 };

	p.pool = hg_pool_create();
	if (!p.pool)
		return HG_ERR_NOMEM;
	p.m = hg_pool_alloc(p.pool, sizeof(*p.m));
	if (!p.m) {
		hg_pool_destroy(p.pool);
		return HG_ERR_NOMEM;
	}
	p.m->pool = p.pool;
	if (!accept_word(&p, "hgir")) {
		fail(&p, "expected 'hgir'");
	} else if (number32(&p) != 1 && !p.st) {
		fail(&p, "expected version 1");
		p.st = HG_ERR_VERSION;
	}
	next_line(&p);
	while (!p.st && p.pos < p.end) {
		if (accept_word(&p, "var"))
			parse_var(&p);
		else if (accept_word(&p, "func"))
			parse_func(&p);
		else
			fail(&p, "expected 'var' or 'func'");
		next_line(&p);
	}
	if (p.st) {
		hg_pool_destroy(p.pool);
		return p.st;
	}
	*out = p.m;
	return HG_OK;
}
