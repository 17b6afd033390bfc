/* ptx_parse.c - PTX text into declarations and instructions; names are resolved here. */
#include "translate/ptx.h"
#include "translate/texture.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"

#define MAX_REGS (UINT32_C(1) << 22)	/* of one function */
#define MAX_ALIGN (UINT32_C(1) << 20)
#define MAX_ALL_REGS (UINT64_C(1) << 27)	/* of all functions */
#define MAX_INIT (UINT64_C(256) << 20)
#define MAX_ALL_INIT (UINT64_C(1) << 29)
#define MAX_VAR (UINT64_C(1) << 40)
#define MAX_NESTING 200

struct scope {
	struct scope *parent;
	struct ptx_sym **slot;
	uint32_t nr, capacity;		/* a power of two */
};

struct parser {
	struct ptx_lexer lx;
	struct ptx_token tok;
	struct hg_pool *pool;
	struct ptx_log *log;
	struct ptx_module *m;
	struct scope *scope;
	struct ptx_func *fn;
	uint32_t cap_syms, cap_insns, cap_classes, nesting;
	uint64_t all_regs, all_init;	/* a short text can ask for much */
	enum hg_status st;
};

void ptx_log_add(struct ptx_log *log, bool error, const char *fmt, ...)
{
	char line[1024];
	size_t size;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	size = strlen(line);
	if (log->text && log->size) {
		size_t room = log->size - 1 - log->used;

		if (log->used && room) {
			log->text[log->used++] = '\n';
			room--;
		}
		if (size > room)
			size = room;
		memcpy(log->text + log->used, line, size);
		log->used += size;
		log->text[log->used] = 0;
	}
	if (!error)
		return;
	if (!log->quiet && !log->has_error)
		pr_err("%s", line);
	log->has_error = true;
}

static void fail_at(struct parser *p, uint32_t line, uint32_t column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void fail_at(struct parser *p, uint32_t line, uint32_t column, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (p->st)
		return;
	if (p->pool->failed) {
		p->st = HG_ERR_NOMEM;
	} else {
		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		p->st = HG_ERR_INVALID;
		ptx_log_add(p->log, true, "PTX line %" PRIu32 ", column %" PRIu32 ": %s", line, column, text);
	}
	/* Everything ends at the end of the text. */
	p->lx.pos = p->lx.end;
	p->tok.kind = PTX_EOF;
}

/* "'…'" for messages: what stands where something else was expected. */
static const char *found(const struct ptx_token *t, char *buf, size_t size)
{
	if (t->kind == PTX_EOF)
		return "the end of the text";
	snprintf(buf, size, "'%s%.*s'", t->kind == PTX_DOT ? "." : "", (int)(t->size < 60 ? t->size : 60), t->text);
	for (char *c = buf; *c; c++)
		if ((unsigned char)*c < 32 || (unsigned char)*c > 126)
			*c = '?';
	return buf;
}

static void expected(struct parser *p, const char *what)
{
	char buf[80];

	if (p->tok.kind == PTX_BAD && !p->st)
		fail_at(p, p->tok.line, p->tok.column, "%s at %s", p->tok.bad, found(&p->tok, buf, sizeof(buf)));
	else
		fail_at(p, p->tok.line, p->tok.column, "expected %s, found %s", what, found(&p->tok, buf, sizeof(buf)));
}

static void nomem(struct parser *p)
{
	p->pool->failed = 1;
	fail_at(p, 0, 0, "no memory");
}

static void next(struct parser *p)
{
	if (!p->st)
		ptx_lexer_next(&p->lx, &p->tok);
}

static bool is_punct(const struct parser *p, char c)
{
	return p->tok.kind == PTX_PUNCT && p->tok.value == (unsigned char)c;
}

static bool accept(struct parser *p, char c)
{
	if (!is_punct(p, c))
		return false;
	next(p);
	return true;
}

static void expect(struct parser *p, char c)
{
	char what[4] = { '\'', c, '\'', 0 };

	if (!accept(p, c))
		expected(p, what);
}

static bool is_text(const struct ptx_token *t, const char *s)
{
	return t->size == strlen(s) && !memcmp(t->text, s, t->size);
}

static bool is_dot(const struct parser *p, const char *s)
{
	return p->tok.kind == PTX_DOT && is_text(&p->tok, s);
}

static bool accept_dot(struct parser *p, const char *s)
{
	if (!is_dot(p, s))
		return false;
	next(p);
	return true;
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
		nomem(p);
		return false;
	}
	*array = bigger;
	*capacity = want;
	return true;
}

/* --- names ----------------------------------------------------------------------------------- */
static uint32_t hash_name(const char *s, size_t size)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < size; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h ^ h >> 13;
}

static struct ptx_sym *scope_find(const struct scope *s, const char *name, size_t size)
{
	if (!s->capacity)
		return NULL;
	for (uint32_t i = hash_name(name, size);; i++) {
		struct ptx_sym *sym = s->slot[i & (s->capacity - 1)];

		if (!sym)
			return NULL;
		if (!strncmp(sym->name, name, size) && !sym->name[size])
			return sym;
	}
}

static void scope_put(struct parser *p, struct scope *s, struct ptx_sym *sym)
{
	uint32_t i;

	if (s->nr * 4 >= s->capacity * 3) {
		struct scope bigger = { .capacity = s->capacity ? s->capacity * 2 : 16 };

		bigger.slot = hg_pool_array(p->pool, bigger.capacity, sizeof(*bigger.slot));
		if (!bigger.slot) {
			nomem(p);
			return;
		}
		for (i = 0; i < s->capacity; i++) {
			uint32_t j;

			if (!s->slot[i])
				continue;
			for (j = hash_name(s->slot[i]->name, strlen(s->slot[i]->name));
			     bigger.slot[j & (bigger.capacity - 1)]; j++)
				;
			bigger.slot[j & (bigger.capacity - 1)] = s->slot[i];
		}
		s->slot = bigger.slot;
		s->capacity = bigger.capacity;
	}
	for (i = hash_name(sym->name, strlen(sym->name)); s->slot[i & (s->capacity - 1)]; i++)
		;
	s->slot[i & (s->capacity - 1)] = sym;
	s->nr++;
}

/* "%r12" is also register 12 of a declaration %r<20>; *index is then 12. */
static struct ptx_sym *lookup(struct parser *p, const char *name, size_t size, uint32_t *index)
{
	size_t digits = 0, prefix;
	uint32_t n = 0;

	while (digits < size && digits < 8 && name[size - 1 - digits] >= '0' && name[size - 1 - digits] <= '9')
		digits++;
	/* %r007 is no element of %r<10>. */
	while (digits > 1 && name[size - digits] == '0')
		digits--;
	prefix = size - digits;
	for (size_t i = prefix; i < size; i++)
		n = n * 10 + (uint32_t)(name[i] - '0');
	for (const struct scope *s = p->scope; s; s = s->parent) {
		struct ptx_sym *sym = scope_find(s, name, size);

		*index = 0;
		if (sym && !sym->count)
			return sym;
		/* Every shorter prefix, too: %r1<10> and %r<200> both can name %r15. */
		for (size_t d = 1; d <= digits; d++) {
			uint32_t v = 0;

			if (d > 1 && name[size - d] == '0')
				continue;
			for (size_t i = size - d; i < size; i++)
				v = v * 10 + (uint32_t)(name[i] - '0');
			sym = scope_find(s, name, size - d);
			if (sym && sym->count && v < sym->count) {
				*index = v;
				return sym;
			}
		}
	}
	return NULL;
}

static struct ptx_sym *new_sym(struct parser *p, enum ptx_sym_kind kind, const struct ptx_token *t)
{
	struct ptx_sym *sym = hg_pool_alloc(p->pool, sizeof(*sym));
	const char *name = hg_pool_strndup(p->pool, t->text, t->size);

	if (!sym || !name) {
		nomem(p);
		return NULL;
	}
	sym->name = name;
	sym->kind = kind;
	sym->line = t->line;
	sym->column = t->column;
	sym->module = p->m;
	return sym;
}

/* A new name in the innermost scope; NULL: there is one already. */
static struct ptx_sym *declare(struct parser *p, enum ptx_sym_kind kind, const struct ptx_token *t)
{
	struct ptx_sym *sym = scope_find(p->scope, t->text, t->size);

	if (sym) {
		fail_at(p, t->line, t->column, "'%s' is already declared in line %" PRIu32, sym->name, sym->line);
		return NULL;
	}
	sym = new_sym(p, kind, t);
	if (sym)
		scope_put(p, p->scope, sym);
	return p->st ? NULL : sym;
}

static void push_scope(struct parser *p, struct scope *s)
{
	*s = (struct scope){ .parent = p->scope };
	p->scope = s;
}

/* Labels that were not defined here may be defined further out. */
static void pop_scope(struct parser *p)
{
	struct scope *s = p->scope;

	p->scope = s->parent;
	for (uint32_t i = 0; i < s->capacity && !p->st; i++) {
		struct ptx_sym *sym = s->slot[i], *outer;

		if (!sym || sym->is_defined || (sym->kind != PTX_SYM_LABEL && sym->kind != PTX_SYM_TARGETS))
			continue;
		outer = p->scope->parent ? scope_find(p->scope, sym->name, strlen(sym->name)) : NULL;
		if (outer)
			sym->link = outer;
		else if (p->scope->parent)
			scope_put(p, p->scope, sym);
		else
			fail_at(p, sym->line, sym->column, "'%s' is not declared", sym->name);
	}
}

/* --- constants ------------------------------------------------------------------------------- */
struct value {
	uint64_t v;
	bool is_unsigned;
};

static struct value constant(struct parser *p, int min_level);

static struct value constant_primary(struct parser *p)
{
	struct value v = { 0 };

	if (++p->nesting > MAX_NESTING) {
		expected(p, "a simpler expression");
	} else if (accept(p, '(')) {
		if (p->tok.kind == PTX_DOT) {	/* (.s64) */
			bool to_unsigned = is_dot(p, "u64");

			if (!to_unsigned && !is_dot(p, "s64"))
				expected(p, ".s64 or .u64");
			next(p);
			expect(p, ')');
			v = constant_primary(p);
			v.is_unsigned = to_unsigned;
		} else {
			v = constant(p, 0);
			expect(p, ')');
		}
	} else if (accept(p, '-')) {
		v = constant_primary(p);
		v.v = 0 - v.v;
	} else if (accept(p, '+')) {
		v = constant_primary(p);
	} else if (accept(p, '~')) {
		v = constant_primary(p);
		v.v = ~v.v;
	} else if (accept(p, '!')) {
		v = constant_primary(p);
		v.v = !v.v;
		v.is_unsigned = false;
	} else if (p->tok.kind == PTX_INT) {
		v.v = p->tok.value;
		v.is_unsigned = p->tok.is_unsigned;
		next(p);
	} else if (p->tok.kind == PTX_IDENT && is_text(&p->tok, "WARP_SZ")) {
		v.v = 32;
		next(p);
	} else {
		expected(p, "an integer constant");
	}
	p->nesting--;
	return v;
}

enum binary { B_OROR, B_ANDAND, B_OR, B_XOR, B_AND, B_EQ, B_NE, B_LT, B_LE, B_GT, B_GE, B_SHL, B_SHR, B_ADD, B_SUB,
	      B_MUL, B_DIV, B_REM, B_NOT_BINARY };
#define OPERAND_LEVEL 4
static const int binary_level[] = { 1, 2, 3, 4, 5, 6, 6, 7, 7, 7, 7, 8, 8, 9, 9, 10, 10, 10 };

/* The binary operator at the current token; *twice: it has two characters. */
static enum binary binary_operator(struct parser *p, bool *twice)
{
	char c, d;

	*twice = false;
	if (p->tok.kind != PTX_PUNCT)
		return B_NOT_BINARY;
	c = (char)p->tok.value;
	d = p->lx.pos < p->lx.end ? *p->lx.pos : 0;
	*twice = (c == '|' && d == '|') || (c == '&' && d == '&') || (c == '=' && d == '=') || (c == '!' && d == '=') ||
		 (c == '<' && (d == '=' || d == '<')) || (c == '>' && (d == '=' || d == '>'));
	switch (c) {
	case '|': return *twice ? B_OROR : B_OR;
	case '&': return *twice ? B_ANDAND : B_AND;
	case '^': return B_XOR;
	case '=': return *twice ? B_EQ : B_NOT_BINARY;
	case '!': return *twice ? B_NE : B_NOT_BINARY;
	case '<': return d == '=' ? B_LE : d == '<' ? B_SHL : B_LT;
	case '>': return d == '=' ? B_GE : d == '>' ? B_SHR : B_GT;
	case '+': return B_ADD;
	case '-': return B_SUB;
	case '*': return B_MUL;
	case '/': return B_DIV;
	case '%': return B_REM;
	default: return B_NOT_BINARY;
	}
}

static struct value binary_value(struct parser *p, enum binary op, struct value a, struct value b)
{
	bool u = a.is_unsigned || b.is_unsigned;
	int64_t sa = (int64_t)a.v, sb = (int64_t)b.v;
	struct value r = { .is_unsigned = u };

	switch (op) {
	case B_OROR: return (struct value){ a.v || b.v, false };
	case B_ANDAND: return (struct value){ a.v && b.v, false };
	case B_OR: r.v = a.v | b.v; break;
	case B_XOR: r.v = a.v ^ b.v; break;
	case B_AND: r.v = a.v & b.v; break;
	case B_EQ: return (struct value){ a.v == b.v, false };
	case B_NE: return (struct value){ a.v != b.v, false };
	case B_LT: return (struct value){ u ? a.v < b.v : sa < sb, false };
	case B_LE: return (struct value){ u ? a.v <= b.v : sa <= sb, false };
	case B_GT: return (struct value){ u ? a.v > b.v : sa > sb, false };
	case B_GE: return (struct value){ u ? a.v >= b.v : sa >= sb, false };
	case B_SHL:
		r.v = b.v < 64 ? a.v << b.v : 0;
		r.is_unsigned = a.is_unsigned;
		break;
	case B_SHR:
		r.is_unsigned = a.is_unsigned;
		if (a.is_unsigned)
			r.v = b.v < 64 ? a.v >> b.v : 0;
		else
			r.v = (uint64_t)(sa >> (b.v < 63 ? b.v : 63));
		break;
	case B_ADD: r.v = a.v + b.v; break;
	case B_SUB: r.v = a.v - b.v; break;
	case B_MUL: r.v = a.v * b.v; break;
	case B_DIV: case B_REM:
		if (!b.v)
			expected(p, "a divisor that is not zero");
		else if (u)
			r.v = op == B_DIV ? a.v / b.v : a.v % b.v;
		else if (sb == -1)
			r.v = op == B_DIV ? 0 - a.v : 0;
		else
			r.v = (uint64_t)(op == B_DIV ? sa / sb : sa % sb);
		break;
	case B_NOT_BINARY: break;
	}
	return r;
}

static struct value constant(struct parser *p, int min_level)
{
	struct value a = constant_primary(p);

	while (!p->st) {
		bool twice;
		enum binary op = binary_operator(p, &twice);

		if (op == B_NOT_BINARY || binary_level[op] < min_level)
			break;
		if (twice)
			next(p);
		next(p);
		a = binary_value(p, op, a, constant(p, binary_level[op] + 1));
	}
	/* An operand begins at the level of '^', so that '|' may join two results. */
	if ((min_level == 0 || min_level == OPERAND_LEVEL) && !p->st && is_punct(p, '?')) {
		struct value b, c;

		next(p);
		b = constant(p, 0);
		expect(p, ':');
		c = constant(p, 0);
		a = a.v ? b : c;
	}
	return a;
}

static uint64_t constant_u32(struct parser *p, const char *what)
{
	uint32_t line = p->tok.line, column = p->tok.column;
	struct value v = constant(p, 0);

	if (!p->st && v.v > UINT32_MAX)
		fail_at(p, line, column, "%s is out of range", what);
	return v.v;
}

/* --- declarations ---------------------------------------------------------------------------- */
struct decl {
	enum ptx_space space;
	enum ir_type type;
	uint32_t vec, align;
	bool has_align, is_pointer, is_reference, is_sampler;
};

static void parse_align(struct parser *p, uint32_t *align)
{
	uint32_t line = p->tok.line, column = p->tok.column;
	uint64_t v = constant_u32(p, "alignment");

	if (p->st)
		return;
	if (!v || v & (v - 1) || v > MAX_ALIGN)
		fail_at(p, line, column, "alignment must be a power of two up to %" PRIu32, MAX_ALIGN);
	else
		*align = (uint32_t)v;
}

/* Skips a balanced (…). */
static void skip_parens(struct parser *p)
{
	uint32_t depth = 0;

	expect(p, '(');
	for (; !p->st && (depth || !is_punct(p, ')')); next(p)) {
		if (p->tok.kind == PTX_EOF) {
			expected(p, "')'");
			return;
		}
		if (is_punct(p, '('))
			depth++;
		else if (is_punct(p, ')'))
			depth--;
	}
	next(p);
}

/* What stands between the space and the name: .align, .ptr, vector, type. */
static void parse_decl(struct parser *p, struct decl *d)
{
	bool has_type = false;

	d->vec = 1;
	while (!p->st && p->tok.kind == PTX_DOT) {
		enum ir_type t = ptx_word_type(ptx_word_find(p->tok.text, p->tok.size));

		if (accept_dot(p, "align")) {
			parse_align(p, &d->align);
			d->has_align = true;
		} else if (accept_dot(p, "ptr")) {
			uint32_t pointee_align = 1;

			d->is_pointer = true;
			while (p->tok.kind == PTX_DOT) {
				if (accept_dot(p, "global") || accept_dot(p, "const"))
					continue;
				/* Offsets in a window: nothing that a host knows. */
				if (accept_dot(p, "shared") || accept_dot(p, "local") || accept_dot(p, "param")) {
					d->is_pointer = false;
					continue;
				}
				if (!accept_dot(p, "align"))
					break;
				parse_align(p, &pointee_align);
			}
		} else if (accept_dot(p, "attribute")) {
			skip_parens(p);		/* managed, unified: where it lies, not what it means */
		} else if (is_dot(p, "v2") || is_dot(p, "v4") || is_dot(p, "v8")) {
			d->vec = (uint32_t)(p->tok.text[1] - '0');
			next(p);
		} else if (t != IR_NONE) {
			d->type = t;
			has_type = true;
			next(p);
		} else if (is_dot(p, "texref") || is_dot(p, "samplerref") || is_dot(p, "surfref")) {
			d->is_reference = true;
			d->is_sampler = is_dot(p, "samplerref");
			d->type = d->space == PTX_PARAM ? IR_U64 : IR_B8;
			has_type = true;
			next(p);
		} else {
			expected(p, "a type");
		}
	}
	if (!has_type)
		expected(p, "a type");
	if (d->type == IR_PRED && d->space != PTX_REG)
		fail_at(p, p->tok.line, p->tok.column, "a predicate can only be a register");
}

static void parse_dims(struct parser *p, struct ptx_var *v)
{
	uint64_t elems = 1;
	bool unknown = false;

	while (!p->st && accept(p, '[')) {
		uint32_t line = p->tok.line, column = p->tok.column;
		struct value n = { 0 };

		v->is_array = true;
		if (is_punct(p, ']'))
			unknown = true;
		else
			n = constant(p, 0);
		if (!unknown && (__builtin_mul_overflow(elems, n.v, &elems) || elems > MAX_VAR))
			fail_at(p, line, column, "array too large");
		expect(p, ']');
	}
	if (unknown)
		elems = 0;
	v->is_extern_array = unknown;
	v->size = (ir_type_bits(v->type) + 7) / 8 * v->vec;
	if (__builtin_mul_overflow(v->size, elems, &v->size) || v->size > MAX_VAR)
		fail_at(p, p->tok.line, p->tok.column, "variable too large");
}

struct init {
	unsigned char *data;
	uint64_t capacity, pos;		/* in elements of `elem` bytes: bytes */
	unsigned int elem;
	enum ir_type type;
	struct ptx_var *var;
	uint32_t cap_relocs;
};

static float float_from_bits(uint32_t v)
{
	float f;

	memcpy(&f, &v, sizeof(f));
	return f;
}

static double double_from_bits(uint64_t v)
{
	double d;

	memcpy(&d, &v, sizeof(d));
	return d;
}

/* Round to nearest even. */
static uint16_t f16_from_double(double d)
{
	uint64_t b, m, lost, half;
	uint16_t sign;
	int e, shift;

	memcpy(&b, &d, sizeof(b));
	sign = (uint16_t)(b >> 48 & 0x8000);
	e = (int)(b >> 52 & 0x7ff);
	m = b & ((UINT64_C(1) << 52) - 1);
	if (e == 0x7ff)
		return (uint16_t)(sign | (m ? 0x7fff : 0x7c00));
	e -= 1023;
	if (e < -26)
		return sign;
	m |= UINT64_C(1) << 52;
	shift = e < -14 ? 42 + (-14 - e) : 42;
	lost = m & ((UINT64_C(1) << shift) - 1);
	half = UINT64_C(1) << (shift - 1);
	m >>= shift;
	if (lost > half || (lost == half && m & 1))
		m++;
	if (e >= -14)
		m += (uint64_t)(e + 14) << 10;	/* the hidden bit makes the exponent e + 15 */
	if (m >= 0x7c00)
		m = 0x7c00;
	return (uint16_t)(sign | m);
}

static uint16_t bf16_from_double(double d)
{
	float f = (float)d;
	uint32_t b;

	memcpy(&b, &f, sizeof(b));
	if (f != f)
		return 0x7fff;
	return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

static uint64_t float_as(enum ir_type type, double d)
{
	uint64_t bits = 0;
	float f = (float)d;

	if (type == IR_F64)
		memcpy(&bits, &d, sizeof(d));
	else if (type == IR_F16)
		bits = f16_from_double(d);
	else if (type == IR_BF16)
		bits = bf16_from_double(d);
	else
		memcpy(&bits, &f, sizeof(f));
	return bits;
}

static bool init_room(struct parser *p, struct init *in)
{
	if (in->pos + in->elem <= in->capacity)
		return true;
	if (!in->var->is_extern_array) {
		expected(p, "no more initial values than the variable has room for");
		return false;
	}
	if (in->capacity * 2 > MAX_INIT) {
		expected(p, "a smaller initialiser");
		return false;
	}
	in->data = hg_pool_grow(p->pool, in->data, in->pos, in->capacity ? in->capacity * 2 : 256, 1);
	in->capacity = in->capacity ? in->capacity * 2 : 256;
	if (!in->data)
		nomem(p);
	return !p->st;
}

static void init_reloc(struct parser *p, struct init *in, struct ptx_sym *sym, uint64_t offset, int64_t addend)
{
	struct ptx_var *v = in->var;
	uint32_t nr = (uint32_t)v->nr_relocs;

	if (!grow(p, (void **)&v->reloc, nr, &in->cap_relocs, sizeof(*v->reloc)))
		return;
	v->reloc[v->nr_relocs++] = (struct ptx_reloc){ .offset = offset, .sym = sym, .addend = addend };
}

static struct ptx_sym *module_name(struct parser *p);

/* name, name+4, generic(name)+4 */
static struct ptx_sym *init_address(struct parser *p, int64_t *addend)
{
	struct ptx_sym *sym;
	bool generic = false;

	*addend = 0;
	if (p->tok.kind == PTX_IDENT && is_text(&p->tok, "generic")) {
		struct ptx_lexer save = p->lx;
		struct ptx_token t;

		ptx_lexer_next(&save, &t);
		generic = t.kind == PTX_PUNCT && t.value == '(';
		if (generic) {
			next(p);
			next(p);
		}
	}
	sym = module_name(p);
	if (generic)
		expect(p, ')');
	if (!p->st && (is_punct(p, '+') || is_punct(p, '-')))
		*addend = (int64_t)constant_primary(p).v;
	return sym;
}

static void init_scalar(struct parser *p, struct init *in)
{
	uint64_t bits = 0;
	bool negative = false;

	if (!init_room(p, in))
		return;
	if (is_punct(p, '-')) {
		struct ptx_lexer save = p->lx;
		struct ptx_token t;

		ptx_lexer_next(&save, &t);
		if (t.kind == PTX_FLOAT) {
			negative = true;
			next(p);
		}
	}
	if (p->tok.kind == PTX_FLOAT) {
		double d = p->tok.is_f32 ? (double)float_from_bits((uint32_t)p->tok.value) : double_from_bits(p->tok.value);

		/* The bits of a NaN are kept as written. */
		if (p->tok.is_f32 && in->type == IR_F32)
			bits = p->tok.value;
		else if (!p->tok.is_f32 && in->type == IR_F64)
			bits = p->tok.value;
		else
			bits = float_as(in->type, d);
		if (negative)
			bits ^= UINT64_C(1) << (in->elem * 8 - 1);
		if (!ir_type_is_float(in->type))
			expected(p, "an integer");
		next(p);
	} else if (p->tok.kind == PTX_IDENT && !is_text(&p->tok, "WARP_SZ")) {
		int64_t addend;
		struct ptx_sym *sym = init_address(p, &addend);

		if (p->st)
			return;
		if (in->elem == 8)
			init_reloc(p, in, sym, in->pos, addend);
		else
			in->var->refused = "initialised with an address that is not 64 bits wide";
	} else {
		struct value v = constant(p, 0);

		if (!p->st && in->elem == 1 && is_punct(p, '(')) {
			/* 0xFF00(address): one byte of an address */
			uint32_t shift = v.v ? (uint32_t)__builtin_ctzll(v.v) : 0;
			struct ptx_sym *sym;
			int64_t addend;

			next(p);
			sym = init_address(p, &addend);
			expect(p, ')');
			if (p->st)
				return;
			if (v.v != UINT64_C(0xff) << shift || shift % 8) {
				in->var->refused = "initialised with an odd part of an address";
			} else if (!shift) {
				init_reloc(p, in, sym, in->pos, addend);
			} else {
				const struct ptx_reloc *last = in->var->nr_relocs ?
					&in->var->reloc[in->var->nr_relocs - 1] : NULL;

				if (!last || last->sym != sym || last->addend != addend ||
				    last->offset + shift / 8 != in->pos)
					in->var->refused = "initialised with parts of an address out of order";
			}
			in->pos++;
			return;
		}
		bits = ir_type_is_float(in->type) && in->type != IR_F16X2 && in->type != IR_BF16X2 ?
			float_as(in->type, v.is_unsigned ? (double)v.v : (double)(int64_t)v.v) : v.v;
	}
	if (p->st)
		return;
	memcpy(in->data + in->pos, &bits, in->elem < 8 ? in->elem : 8);
	in->pos += in->elem;
}

static void init_list(struct parser *p, struct init *in)
{
	if (!accept(p, '{')) {
		init_scalar(p, in);
		return;
	}
	if (++p->nesting > MAX_NESTING)
		expected(p, "fewer braces");
	while (!p->st && !is_punct(p, '}')) {
		init_list(p, in);
		if (!accept(p, ','))
			break;
	}
	expect(p, '}');
	p->nesting--;
}

static void parse_init(struct parser *p, struct ptx_var *v)
{
	struct init in = { .elem = ir_type_bits(v->type) / 8, .type = v->type, .var = v };

	if (v->space != PTX_GLOBAL && v->space != PTX_CONST) {
		expected(p, "';': only .global and .const variables have initial values");
		return;
	}
	if (v->size > MAX_INIT) {
		expected(p, "a smaller initialised variable");
		return;
	}
	p->all_init += v->size;
	if (p->all_init > MAX_ALL_INIT) {
		expected(p, "less initialised data");
		return;
	}
	in.capacity = v->size;
	if (v->size)
		in.data = hg_pool_alloc(p->pool, v->size);
	if (v->size && !in.data) {
		nomem(p);
		return;
	}
	init_list(p, &in);
	if (p->st)
		return;
	if (v->is_extern_array) {
		v->size = in.pos;
		v->is_extern_array = false;
	}
	v->init = in.data;
	for (size_t i = 0; i < v->nr_relocs; i++)
		if (v->size < 8 || v->reloc[i].offset > v->size - 8)
			v->refused = "initialised with a part of an address";
}

static void module_add(struct parser *p, struct ptx_sym *sym)
{
	if (grow(p, (void **)&p->m->sym, p->m->nr_syms, &p->cap_syms, sizeof(struct ptx_sym *)))
		p->m->sym[p->m->nr_syms++] = sym;
}

/* A name of the module that may be defined later; a variable until something else is known. */
static struct ptx_sym *module_name(struct parser *p)
{
	struct scope *save = p->scope, *top = p->scope;
	struct ptx_sym *sym = NULL;

	if (p->tok.kind != PTX_IDENT) {
		expected(p, "a name");
		return NULL;
	}
	while (top->parent)
		top = top->parent;
	for (const struct scope *s = save; s && !sym; s = s->parent)
		sym = scope_find(s, p->tok.text, p->tok.size);
	if (!sym) {
		sym = new_sym(p, PTX_SYM_VAR, &p->tok);
		if (!sym)
			return NULL;
		sym->is_extern = true;
		scope_put(p, top, sym);
		module_add(p, sym);
	}
	next(p);
	return sym;
}

struct linkage {
	bool is_extern, is_visible, is_weak, is_common;
};

/* The value of addr_mode_0 to 2. */
static void parse_address_mode(struct parser *p, unsigned int axis, struct hg_texture *t)
{
	/* as PTX numbers them */
	static const struct { const char *name; uint32_t mode; enum hg_texture_address address; } modes[] = {
		{ "wrap", 0, HG_TEXTURE_WRAP }, { "mirror", 1, HG_TEXTURE_MIRROR }, { "clamp_ogl", 2, HG_TEXTURE_CLAMP },
		{ "clamp_to_edge", 3, HG_TEXTURE_CLAMP }, { "clamp_to_border", 4, HG_TEXTURE_BORDER },
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (is_text(&p->tok, modes[i].name)) {
			t->address[axis] = modes[i].address;
			t->address_mode[axis] = modes[i].mode;
			next(p);
			return;
		}
	expected(p, "an address mode such as 'wrap'");
}

/* The properties that a reference begins with: = { filter_mode = linear, … }. Textures get theirs when they are bound. */
static void parse_reference(struct parser *p, struct ptx_var *v)
{
	struct hg_texture t = { .magic = HG_TEXTURE_MAGIC, .nr_levels = 1, .is_normalised = 1, .flags = HG_TEXTURE_NORMALISED };

	if (accept(p, '=')) {
		expect(p, '{');
		while (!p->st && !is_punct(p, '}')) {
			struct ptx_token name = p->tok;

			next(p);
			expect(p, '=');
			if (name.kind == PTX_IDENT && name.size == 11 && !memcmp(name.text, "addr_mode_", 10) && name.text[10] >= '0' &&
			    name.text[10] <= '2') {
				parse_address_mode(p, (unsigned int)(name.text[10] - '0'), &t);
			} else if (is_text(&name, "filter_mode")) {
				t.filter = is_text(&p->tok, "linear");
				t.flags |= t.filter ? HG_TEXTURE_LINEAR : 0;
				if (!t.filter && !is_text(&p->tok, "nearest"))
					expected(p, "'linear' or 'nearest'");
				next(p);
			} else {
				/* those of a texture are its own once it is bound */
				if (is_text(&name, "force_unnormalized_coords") && p->tok.kind == PTX_INT && p->tok.value) {
					t.flags &= ~(uint32_t)HG_TEXTURE_NORMALISED;
					t.is_normalised = 0;
				}
				next(p);
			}
			if (!accept(p, ','))
				break;
		}
		expect(p, '}');
	}
	v->init = hg_pool_alloc(p->pool, v->size);
	if (v->init)
		memcpy(v->init, &t, sizeof(t));
	else
		nomem(p);
}

static void define_var(struct parser *p, const struct decl *d, const struct linkage *link)
{
	struct ptx_token name = p->tok;
	struct ptx_var v = { .space = d->space, .type = d->type, .vec = d->vec, .is_reference = d->is_reference, .owner = p->fn };
	struct ptx_sym *sym;

	if (p->tok.kind != PTX_IDENT) {
		expected(p, "a name");
		return;
	}
	next(p);
	parse_dims(p, &v);
	if (d->is_reference && d->space != PTX_PARAM) {
		if (v.is_array || (d->space != PTX_GLOBAL && !link->is_extern))
			expected(p, "one global reference");
		v.size = HG_TEXTURE_REFERENCE_BYTES;
	}
	v.align = (ir_type_bits(v.type) + 7) / 8 * v.vec;
	if (d->has_align)
		v.align = d->align;
	if (d->is_reference && v.align < 8)
		v.align = 8;
	if (p->st)
		return;
	sym = scope_find(p->scope, name.text, name.size);
	if (!sym) {
		sym = declare(p, PTX_SYM_VAR, &name);
		if (!sym)
			return;
		if (!p->scope->parent)
			module_add(p, sym);
	} else if (sym->kind != PTX_SYM_VAR || (!sym->is_extern && !link->is_extern && !link->is_weak && !link->is_common)) {
		fail_at(p, name.line, name.column, "'%s' is already declared in line %" PRIu32, sym->name, sym->line);
		return;
	}
	if (link->is_extern && sym->is_defined)
		return;
	sym->is_extern = link->is_extern;
	sym->is_visible = link->is_visible || link->is_extern || link->is_weak || link->is_common;
	sym->is_weak = link->is_weak;
	sym->is_common = link->is_common;
	sym->is_defined = !link->is_extern;
	sym->line = name.line;
	sym->column = name.column;
	if (v.space == PTX_PARAM && p->fn)
		v.index = p->fn->nr_param_vars++;
	sym->var = v;
	if (d->is_reference && d->space != PTX_PARAM) {
		if (d->is_sampler || is_punct(p, '='))
			parse_reference(p, &sym->var);
	} else if (accept(p, '=')) {
		parse_init(p, &sym->var);
	}
}

static uint32_t new_regs(struct parser *p, enum ir_type class, uint64_t nr)
{
	struct ptx_func *fn = p->fn;
	uint32_t first = fn->nr_regs;

	p->all_regs += nr;
	if (nr > MAX_REGS - first || p->all_regs > MAX_ALL_REGS) {
		expected(p, "fewer registers");
		return 0;
	}
	if (first + nr > p->cap_classes) {
		uint32_t want = (uint32_t)(first + nr) * 2;

		fn->reg_class = hg_pool_grow(p->pool, fn->reg_class, first, want, sizeof(*fn->reg_class));
		p->cap_classes = want;
		if (!fn->reg_class) {
			nomem(p);
			return 0;
		}
	}
	for (uint64_t i = 0; i < nr; i++)
		fn->reg_class[first + i] = (uint8_t)class;
	fn->nr_regs += (uint32_t)nr;
	return first;
}

static void define_reg(struct parser *p, const struct decl *d)
{
	struct ptx_token name = p->tok;
	struct ptx_sym *sym;

	if (p->tok.kind != PTX_IDENT) {
		expected(p, "a name");
		return;
	}
	next(p);
	if (p->st)
		return;
	sym = declare(p, PTX_SYM_REG, &name);
	if (!sym)
		return;
	sym->is_defined = true;
	sym->class = ir_type_class(d->type);
	sym->vec = d->vec;
	if (accept(p, '<')) {
		uint64_t n;

		/* The bound is a literal: '>' would be an operator in an expression. */
		if (p->tok.kind != PTX_INT || p->tok.value > MAX_REGS)
			expected(p, "a number of registers");
		n = p->tok.value;
		next(p);
		expect(p, '>');
		if (p->st)
			return;
		sym->count = (uint32_t)n;
		if (!n)
			return;
		sym->reg = new_regs(p, sym->class, n * d->vec);
	} else {
		sym->reg = new_regs(p, sym->class, d->vec);
	}
}

static bool parse_space(struct parser *p, enum ptx_space *out)
{
	static const struct { const char *name; enum ptx_space space; } spaces[] = {
		{ "reg", PTX_REG }, { "global", PTX_GLOBAL }, { "const", PTX_CONST }, { "shared", PTX_SHARED },
		{ "local", PTX_LOCAL }, { "param", PTX_PARAM },
	};

	if (p->tok.kind != PTX_DOT)
		return false;
	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++)
		if (is_text(&p->tok, spaces[i].name) ||
		    (spaces[i].space == PTX_SHARED && (is_text(&p->tok, "shared::cta") || is_text(&p->tok, "shared::cluster")))) {
			*out = spaces[i].space;
			next(p);
			return true;
		}
	return false;
}

static void parse_var_statement(struct parser *p, enum ptx_space space, const struct linkage *link)
{
	struct decl d = { .space = space };

	parse_decl(p, &d);
	if (p->fn && space == PTX_REG && d.has_align)
		expected(p, "a register without alignment");
	do {
		if (space == PTX_REG)
			define_reg(p, &d);
		else
			define_var(p, &d, link);
	} while (!p->st && accept(p, ','));
	expect(p, ';');
}

/* --- directives that carry nothing ----------------------------------------------------------- */
static void skip_line(struct parser *p)
{
	uint32_t line = p->tok.line;

	while (!p->st && p->tok.kind != PTX_EOF && p->tok.line == line)
		next(p);
}

static void skip_statement(struct parser *p)
{
	while (!p->st && p->tok.kind != PTX_EOF && !is_punct(p, ';'))
		next(p);
	expect(p, ';');
}

static void skip_braces(struct parser *p)
{
	while (!p->st && p->tok.kind != PTX_EOF && !is_punct(p, '{'))
		next(p);
	expect(p, '{');
	for (uint32_t depth = 1; !p->st && depth; next(p)) {
		if (p->tok.kind == PTX_EOF)
			expected(p, "'}'");
		else if (is_punct(p, '{'))
			depth++;
		else if (is_punct(p, '}'))
			depth--;
	}
}

/* .file, .loc, .section, .pragma anywhere. */
static bool skip_directive(struct parser *p)
{
	if (is_dot(p, "loc") || is_dot(p, "file")) {
		skip_line(p);
	} else if (is_dot(p, "section")) {
		skip_braces(p);
	} else if (is_dot(p, "pragma")) {
		skip_statement(p);
	} else if (p->tok.kind == PTX_PUNCT && p->tok.value == '@' && p->lx.pos < p->lx.end && *p->lx.pos == '@') {
		skip_line(p);	/* @@DWARF of old */
	} else {
		return false;
	}
	return true;
}

/* --- instructions ---------------------------------------------------------------------------- */
static void parse_operand(struct parser *p, struct ptx_opd *o, bool in_call);

static void operand_sequence(struct parser *p, struct ptx_opd *o, char end, bool in_call)
{
	struct ptx_opd *elem = NULL;
	uint32_t nr = 0, capacity = 0;

	while (!p->st && !is_punct(p, end)) {
		if (!grow(p, (void **)&elem, nr, &capacity, sizeof(*elem)))
			return;
		parse_operand(p, &elem[nr++], in_call);
		if (!accept(p, ','))
			break;
	}
	expect(p, end);
	o->elem = elem;
	o->nr_elems = nr;
}

static void vector_part(struct parser *p, const struct ptx_sym *sym, uint32_t index, struct ptx_opd *o)
{
	static const char letters[] = "xyzwrgba";
	const char *l = p->tok.kind == PTX_DOT && p->tok.size == 1 ? strchr(letters, p->tok.text[0]) : NULL;

	if (l && (uint32_t)(l - letters) % 4 < sym->vec) {
		o->kind = PTX_OPD_REG;
		o->reg = sym->reg + index * sym->vec + (uint32_t)(l - letters) % 4;
		next(p);
		return;
	}
	o->kind = PTX_OPD_VEC;
	o->nr_elems = sym->vec;
	o->elem = hg_pool_array(p->pool, sym->vec, sizeof(*o->elem));
	if (!o->elem) {
		nomem(p);
		return;
	}
	for (uint32_t i = 0; i < sym->vec; i++)
		o->elem[i] = (struct ptx_opd){ .kind = PTX_OPD_REG, .reg = sym->reg + index * sym->vec + i,
					       .line = o->line, .column = o->column };
}

static void special_register(struct parser *p, struct ptx_opd *o)
{
	struct ptx_token t = p->tok;
	char name[64];
	int i;

	next(p);
	if (t.size - 1 < 40)
		snprintf(name, sizeof(name), "%.*s", (int)t.size - 1, t.text + 1);
	else
		name[0] = 0;
	if (p->tok.kind == PTX_DOT && p->tok.size == 1 && strchr("xyzw", p->tok.text[0])) {
		/* %tid.w is 0 */
		if (p->tok.text[0] == 'w') {
			if (ptx_sreg_find(name, strlen(name)) < 0)
				snprintf(name, sizeof(name), "cluster_ctaid.x");
		} else {
			size_t n = strlen(name);

			snprintf(name + n, sizeof(name) - n, ".%c", p->tok.text[0]);
		}
		next(p);
	}
	i = ptx_sreg_find(name, strlen(name));
	if (i < 0) {
		fail_at(p, t.line, t.column, "'%.*s' is not declared", (int)(t.size < 100 ? t.size : 100), t.text);
		return;
	}
	o->kind = PTX_OPD_SREG;
	o->reg = (uint32_t)i;
}

static void named_operand(struct parser *p, struct ptx_opd *o)
{
	struct ptx_token t = p->tok;
	struct ptx_sym *sym;
	uint32_t index;

	if (is_text(&t, "_")) {
		o->kind = PTX_OPD_NONE;
		next(p);
		return;
	}
	if (is_text(&t, "WARP_SZ")) {
		o->kind = PTX_OPD_INT;
		o->imm = constant(p, 0).v;
		return;
	}
	sym = lookup(p, t.text, t.size, &index);
	if (!sym && t.text[0] == '%') {
		special_register(p, o);
		return;
	}
	next(p);
	if (!sym) {
		/* A label, or a table of targets, that comes later. */
		sym = new_sym(p, PTX_SYM_LABEL, &t);
		if (!sym)
			return;
		scope_put(p, p->scope, sym);
	}
	if (sym->kind != PTX_SYM_REG) {
		o->kind = PTX_OPD_SYM;
		o->sym = sym;
		if (sym->kind == PTX_SYM_VAR && (is_punct(p, '+') || is_punct(p, '-')))
			o->imm = constant_primary(p).v;
		return;
	}
	if (sym->vec > 1) {
		vector_part(p, sym, index, o);
		return;
	}
	o->kind = PTX_OPD_REG;
	o->reg = sym->reg + index;
	if (p->tok.kind == PTX_DOT && p->tok.size > 1 && (p->tok.text[0] == 'b' || p->tok.text[0] == 'h') &&
	    p->tok.text[1] >= '0' && p->tok.text[1] <= '9') {
		uint32_t digits = 0, nr = p->tok.size - 1;

		for (uint32_t i = 1; i < p->tok.size && nr <= 4; i++) {
			digits = digits << 4 | (uint32_t)((p->tok.text[i] - '0') & 15);
			if (p->tok.text[i] < '0' || p->tok.text[i] > '9')
				nr = 5;
		}
		o->is_part = true;
		o->imm = PTX_PART(p->tok.text[0], nr <= 4 ? nr : 0, digits);
		next(p);
	}
}

static void parse_operand(struct parser *p, struct ptx_opd *o, bool in_call)
{
	*o = (struct ptx_opd){ .line = p->tok.line, .column = p->tok.column, .kind = PTX_OPD_NONE };
	if (++p->nesting > MAX_NESTING) {
		expected(p, "a simpler operand");
		return;
	}
	if (is_punct(p, '!') || is_punct(p, '-')) {
		struct ptx_lexer save = p->lx;
		struct ptx_token t;

		ptx_lexer_next(&save, &t);
		if (is_punct(p, '!') && t.kind == PTX_IDENT && !is_text(&t, "WARP_SZ")) {
			next(p);
			named_operand(p, o);
			o->negated = true;
		} else if (is_punct(p, '-') && t.kind == PTX_IDENT && !is_text(&t, "WARP_SZ")) {
			next(p);
			named_operand(p, o);
			o->is_minus = true;
		} else if (is_punct(p, '-') && t.kind == PTX_FLOAT) {
			next(p);
			o->kind = PTX_OPD_FLOAT;
			o->is_f32 = t.is_f32;
			o->imm = t.value ^ (t.is_f32 ? UINT64_C(1) << 31 : UINT64_C(1) << 63);
			next(p);
		} else {
			o->kind = PTX_OPD_INT;
			o->imm = constant(p, 0).v;
		}
	} else if (p->tok.kind == PTX_IDENT) {
		named_operand(p, o);
	} else if (p->tok.kind == PTX_FLOAT) {
		o->kind = PTX_OPD_FLOAT;
		o->is_f32 = p->tok.is_f32;
		o->imm = p->tok.value;
		next(p);
	} else if (accept(p, '[')) {
		o->kind = PTX_OPD_MEM;
		if (!is_punct(p, ']')) {
			struct ptx_opd *base = hg_pool_alloc(p->pool, sizeof(*base));

			if (!base) {
				nomem(p);
				return;
			}
			parse_operand(p, base, false);
			o->elem = base;
			o->nr_elems = 1;
			if (base->kind == PTX_OPD_SYM) {
				o->imm = base->imm;
				base->imm = 0;
			} else if (is_punct(p, '+') || is_punct(p, '-')) {
				/* "+-4" and "-4" */
				o->imm = constant(p, 9).v;
			}
			if (accept(p, ',')) {
				struct ptx_opd rest = { 0 };

				operand_sequence(p, &rest, ']', false);
				o->elem = hg_pool_array(p->pool, rest.nr_elems + 1, sizeof(*o->elem));
				if (!o->elem) {
					nomem(p);
					return;
				}
				o->elem[0] = *base;
				if (rest.nr_elems)
					memcpy(o->elem + 1, rest.elem, rest.nr_elems * sizeof(*rest.elem));
				o->nr_elems = rest.nr_elems + 1;
				p->nesting--;
				return;
			}
		}
		expect(p, ']');
		if (!p->st && !o->nr_elems)
			fail_at(p, o->line, o->column, "an address is missing");
	} else if (accept(p, '{')) {
		o->kind = PTX_OPD_VEC;
		operand_sequence(p, o, '}', false);
	} else if (in_call && accept(p, '(')) {
		o->kind = PTX_OPD_LIST;
		operand_sequence(p, o, ')', false);
	} else if (p->tok.kind == PTX_INT || is_punct(p, '(') || is_punct(p, '~') || is_punct(p, '+')) {
		o->kind = PTX_OPD_INT;
		o->imm = constant(p, OPERAND_LEVEL).v;
	} else {
		expected(p, "an operand");
	}
	if (!p->st && is_punct(p, '|')) {
		struct ptx_opd *pair = hg_pool_array(p->pool, 2, sizeof(*pair));

		next(p);
		if (!pair) {
			nomem(p);
			return;
		}
		pair[0] = *o;
		parse_operand(p, &pair[1], false);
		*o = (struct ptx_opd){ .kind = PTX_OPD_PAIR, .elem = pair, .nr_elems = 2, .line = o->line,
				       .column = o->column };
	}
	p->nesting--;
}

static struct ptx_insn *new_insn(struct parser *p)
{
	struct ptx_func *fn = p->fn;

	if (!grow(p, (void **)&fn->insn, fn->nr_insns, &p->cap_insns, sizeof(*fn->insn)))
		return NULL;
	fn->insn[fn->nr_insns] = (struct ptx_insn){ .guard = IR_NO_REG, .line = p->tok.line, .column = p->tok.column };
	return &fn->insn[fn->nr_insns++];
}

#define MAX_MODS 32
#define MAX_OPDS 64

static void parse_instruction(struct parser *p)
{
	struct ptx_insn *in = new_insn(p);
	uint16_t mod[MAX_MODS];
	struct ptx_opd opd[MAX_OPDS];
	bool is_call;

	if (!in)
		return;
	if (accept(p, '@')) {
		struct ptx_opd g;

		in->guard_neg = accept(p, '!');
		parse_operand(p, &g, false);
		if (!p->st && (g.kind != PTX_OPD_REG || g.negated || p->fn->reg_class[g.reg] != IR_PRED))
			fail_at(p, g.line, g.column, "expected a predicate after '@'");
		in->guard = g.reg;
		in->line = p->tok.line;
		in->column = p->tok.column;
	}
	if (p->tok.kind != PTX_IDENT) {
		expected(p, "an instruction");
		return;
	}
	in->text = p->tok.text;
	in->op = (uint16_t)ptx_word_find(p->tok.text, p->tok.size);
	if (in->op == PTX_W_NONE)
		in->op = PTX_W_COUNT;	/* refused by name when the function is used */
	is_call = in->op == PTX_W_call;
	next(p);
	while (!p->st && p->tok.kind == PTX_DOT) {
		if (in->nr_mods == MAX_MODS) {
			expected(p, "fewer modifiers");
			return;
		}
		mod[in->nr_mods++] = (uint16_t)ptx_word_find(p->tok.text, p->tok.size);
		next(p);
	}
	if (!p->st && !is_punct(p, ';')) {
		do {
			if (in->nr_opds == MAX_OPDS) {
				expected(p, "fewer operands");
				return;
			}
			parse_operand(p, &opd[in->nr_opds++], is_call);
		} while (!p->st && accept(p, ','));
	}
	if (p->st)
		return;
	if (!is_punct(p, ';')) {
		expected(p, "',' or ';'");
		return;
	}
	in->size = (uint32_t)(p->tok.text - in->text);
	next(p);
	in->mod = hg_pool_copy(p->pool, mod, in->nr_mods * sizeof(*mod));
	in->opd = hg_pool_copy(p->pool, opd, in->nr_opds * sizeof(*opd));
	if (p->pool->failed)
		nomem(p);
}

/* .branchtargets L1, L2; */
static void parse_targets(struct parser *p, struct ptx_sym *sym)
{
	uint32_t capacity = 0;

	sym->kind = PTX_SYM_TARGETS;
	do {
		struct ptx_opd o;

		if (!grow(p, (void **)&sym->target, sym->nr_targets, &capacity, sizeof(struct ptx_sym *)))
			return;
		parse_operand(p, &o, false);
		if (!p->st && (o.kind != PTX_OPD_SYM || o.sym->kind != PTX_SYM_LABEL))
			fail_at(p, o.line, o.column, "expected a label");
		sym->target[sym->nr_targets++] = o.sym;
	} while (!p->st && accept(p, ','));
	expect(p, ';');
}

static void parse_label(struct parser *p)
{
	struct ptx_token t = p->tok;
	struct ptx_sym *sym = scope_find(p->scope, t.text, t.size);
	struct ptx_insn *in;

	if (sym && (sym->is_defined || sym->kind != PTX_SYM_LABEL)) {
		fail_at(p, t.line, t.column, "'%s' is already declared in line %" PRIu32, sym->name, sym->line);
		return;
	}
	if (!sym)
		sym = declare(p, PTX_SYM_LABEL, &t);
	next(p);
	expect(p, ':');
	if (p->st)
		return;
	sym->is_defined = true;
	sym->line = t.line;
	if (accept_dot(p, "branchtargets")) {
		parse_targets(p, sym);
		return;
	}
	if (is_dot(p, "callprototype") || is_dot(p, "calltargets")) {
		sym->kind = PTX_SYM_PROTO;
		skip_statement(p);
		return;
	}
	sym->label = p->fn->nr_labels++;
	in = new_insn(p);
	if (in)
		in->label = sym->label;
}

static bool at_label(struct parser *p)
{
	struct ptx_lexer save = p->lx;
	struct ptx_token t;

	if (p->tok.kind != PTX_IDENT)
		return false;
	ptx_lexer_next(&save, &t);
	return t.kind == PTX_PUNCT && t.value == ':';
}

static void parse_body(struct parser *p)
{
	static const struct linkage none;
	struct scope *outermost = p->scope;

	next(p);	/* { */
	while (!p->st) {
		enum ptx_space space;

		if (p->tok.kind == PTX_EOF || p->tok.kind == PTX_BAD) {
			expected(p, "'}'");
		} else if (is_punct(p, '{')) {
			struct scope *s = hg_pool_alloc(p->pool, sizeof(*s));

			if (!s) {
				nomem(p);
				return;
			}
			next(p);
			push_scope(p, s);
		} else if (is_punct(p, '}')) {
			next(p);
			if (p->scope == outermost)
				return;
			pop_scope(p);
		} else if (accept(p, ';')) {
			;
		} else if (skip_directive(p)) {
			;
		} else if (is_dot(p, "extern") || is_dot(p, "visible") || is_dot(p, "weak")) {
			next(p);	/* of a .shared declared inside a function */
		} else if (parse_space(p, &space)) {
			parse_var_statement(p, space, &none);
		} else if (at_label(p)) {
			parse_label(p);
		} else if (p->tok.kind == PTX_IDENT || is_punct(p, '@')) {
			parse_instruction(p);
		} else {
			expected(p, "an instruction, a declaration or '}'");
		}
	}
}

/* --- functions ------------------------------------------------------------------------------- */
static void parse_params(struct parser *p, struct ptx_sym ***out, uint32_t *nr)
{
	static const struct linkage none;
	struct ptx_sym **param = NULL;
	uint32_t capacity = 0;

	expect(p, '(');
	while (!p->st && !is_punct(p, ')')) {
		struct decl d = { 0 };
		struct ptx_token name;

		if (!parse_space(p, &d.space) || (d.space != PTX_PARAM && d.space != PTX_REG)) {
			expected(p, "a parameter");
			return;
		}
		parse_decl(p, &d);
		if (p->st || !grow(p, (void **)&param, *nr, &capacity, sizeof(*param)))
			return;
		name = p->tok;
		if (d.space == PTX_REG) {
			define_reg(p, &d);
		} else {
			define_var(p, &d, &none);
		}
		if (p->st)
			return;
		param[*nr] = scope_find(p->scope, name.text, name.size);
		param[*nr]->var.is_pointer = d.is_pointer;
		(*nr)++;
		if (!accept(p, ','))
			break;
	}
	expect(p, ')');
	*out = param;
}

static uint32_t parse_three(struct parser *p, uint32_t n[3])
{
	uint64_t product = 1;

	for (int i = 0; i < 3; i++)
		n[i] = 1;
	for (int i = 0; i < 3; i++) {
		n[i] = (uint32_t)constant_u32(p, "number of threads");
		product = product > UINT32_MAX ? product : product * n[i];
		if (!accept(p, ','))
			break;
	}
	return product > UINT32_MAX ? UINT32_MAX : (uint32_t)product;
}

static void parse_function_directives(struct parser *p, struct ptx_func *fn)
{
	uint32_t n[3];

	while (!p->st && p->tok.kind == PTX_DOT) {
		struct ptx_token t = p->tok;

		if (skip_directive(p))
			continue;
		next(p);
		if (is_text(&t, "maxntid")) {
			fn->max_threads = parse_three(p, n);
		} else if (is_text(&t, "reqntid")) {
			fn->max_threads = parse_three(p, fn->req_threads);
		} else if (is_text(&t, "minnctapersm") || is_text(&t, "maxnctapersm") || is_text(&t, "maxnreg") ||
			   is_text(&t, "maxclusterrank") || is_text(&t, "abi_preserve") ||
			   is_text(&t, "abi_preserve_control")) {
			constant_u32(p, "the number");
		} else if (is_text(&t, "reqnctapercluster")) {
			if (parse_three(p, n) != 1) {
				fn->refused = "clusters of more than one block are not supported";
				fn->refused_line = t.line;
			}
		} else if (is_text(&t, "explicitcluster")) {
			fn->refused = "clusters of blocks are not supported";
			fn->refused_line = t.line;
		} else if (is_text(&t, "noreturn")) {
			fn->is_noreturn = true;
		} else if (is_text(&t, "unique")) {
			;
		} else if (is_text(&t, "attribute")) {
			skip_parens(p);
		} else if (is_text(&t, "blocksareclusters")) {
			fn->refused = "clusters of blocks are not supported";
			fn->refused_line = t.line;
		} else {
			fail_at(p, t.line, t.column, "unknown directive '.%.*s' of a function",
				(int)(t.size < 60 ? t.size : 60), t.text);
		}
	}
}

static void parse_function(struct parser *p, bool is_entry, const struct linkage *link)
{
	struct scope *module_scope = p->scope, *s = hg_pool_alloc(p->pool, sizeof(*s));
	struct ptx_func *fn = hg_pool_alloc(p->pool, sizeof(*fn));
	struct ptx_token name;
	struct ptx_sym *sym;

	if (!fn || !s) {
		nomem(p);
		return;
	}
	fn->is_entry = is_entry;
	p->fn = fn;
	p->cap_insns = p->cap_classes = 0;
	push_scope(p, s);
	while (!p->st && accept_dot(p, "attribute"))
		skip_parens(p);
	if (!is_entry && is_punct(p, '('))
		parse_params(p, &fn->ret, &fn->nr_rets);
	name = p->tok;
	if (p->tok.kind != PTX_IDENT)
		expected(p, "the function's name");
	next(p);
	if (is_punct(p, '('))
		parse_params(p, &fn->param, &fn->nr_params);
	parse_function_directives(p, fn);
	if (p->st)
		return;
	sym = scope_find(module_scope, name.text, name.size);
	if (!sym) {
		sym = new_sym(p, PTX_SYM_FUNC, &name);
		if (!sym)
			return;
		scope_put(p, module_scope, sym);
		module_add(p, sym);
	} else if (sym->kind == PTX_SYM_VAR && !sym->is_defined && !sym->var.align) {
		sym->kind = PTX_SYM_FUNC;	/* named by an initialiser before */
	} else if (sym->kind != PTX_SYM_FUNC || (sym->is_defined && is_punct(p, '{'))) {
		fail_at(p, name.line, name.column, "'%s' is already declared in line %" PRIu32, sym->name, sym->line);
		return;
	}
	fn->sym = sym;
	if (!sym->is_defined) {
		sym->func = fn;
		sym->line = name.line;
		sym->column = name.column;
	}
	sym->is_extern = link->is_extern && !sym->is_defined;
	sym->is_visible |= link->is_visible || link->is_extern || link->is_weak;
	sym->is_weak |= link->is_weak;
	if (is_punct(p, '{')) {
		fn->has_body = true;
		sym->is_defined = true;
		sym->is_extern = false;
		sym->func = fn;
		parse_body(p);
	} else {
		expect(p, ';');
	}
	if (!p->st)
		pop_scope(p);
	p->scope = module_scope;
	p->fn = NULL;
}

/* --- the module ------------------------------------------------------------------------------ */
static void parse_version(struct parser *p)
{
	double d;

	/* 9.0 reads as a floating-point number. */
	if (p->tok.kind != PTX_FLOAT || p->tok.is_f32) {
		expected(p, "a version such as 9.0");
		return;
	}
	d = double_from_bits(p->tok.value);
	if (!(d >= 1 && d < 100)) {
		expected(p, "a version such as 9.0");
		return;
	}
	p->m->version = (uint32_t)(d * 10 + 0.5);
	next(p);
}

static void parse_target(struct parser *p)
{
	do {
		if (p->tok.kind != PTX_IDENT) {
			expected(p, "a target such as sm_75");
			return;
		}
		if (p->tok.size > 3 && !memcmp(p->tok.text, "sm_", 3)) {
			uint32_t sm = 0;

			for (uint32_t i = 3; i < p->tok.size && p->tok.text[i] >= '0' && p->tok.text[i] <= '9' && sm < 10000; i++)
				sm = sm * 10 + (uint32_t)(p->tok.text[i] - '0');
			p->m->sm = sm;
		} else if (is_text(&p->tok, "debug")) {
			p->m->is_debug = true;
		}
		next(p);
	} while (!p->st && accept(p, ','));
}

/* .alias name, function; */
static void parse_alias(struct parser *p)
{
	struct ptx_sym *sym[2] = { NULL, NULL };

	for (int i = 0; i < 2 && !p->st; i++) {
		if (p->tok.kind == PTX_IDENT)
			sym[i] = scope_find(p->scope, p->tok.text, p->tok.size);
		if (!sym[i] || sym[i]->kind != PTX_SYM_FUNC || sym[i]->is_defined == !i) {
			expected(p, i ? "a function with a body" : "a function without a body");
			return;
		}
		next(p);
		if (!i)
			expect(p, ',');
	}
	expect(p, ';');
	if (p->st)
		return;
	sym[0]->link = sym[1];
	sym[0]->is_defined = true;
	sym[0]->is_extern = false;
}

static void parse_module(struct parser *p)
{
	bool has_version = false;

	while (!p->st && p->tok.kind != PTX_EOF) {
		struct linkage link = { 0 };
		enum ptx_space space;

		if (!has_version && !is_dot(p, "version")) {
			expected(p, "'.version'");
			return;
		}
		if (accept_dot(p, "version")) {
			parse_version(p);
			has_version = true;
			continue;
		}
		if (accept_dot(p, "target")) {
			parse_target(p);
			continue;
		}
		if (accept_dot(p, "address_size")) {
			uint32_t line = p->tok.line, column = p->tok.column;

			p->m->address_size = (uint32_t)constant_u32(p, "address size");
			if (!p->st && p->m->address_size != 64) {
				fail_at(p, line, column, "only 64-bit addresses are supported");
				p->st = HG_ERR_UNSUPPORTED;
			}
			continue;
		}
		if (skip_directive(p) || accept(p, ';'))
			continue;
		if (accept_dot(p, "alias")) {
			parse_alias(p);
			continue;
		}
		for (; !p->st; next(p)) {
			if (is_dot(p, "extern"))
				link.is_extern = true;
			else if (is_dot(p, "visible"))
				link.is_visible = true;
			else if (is_dot(p, "weak"))
				link.is_weak = true;
			else if (is_dot(p, "common"))
				link.is_common = true;
			else
				break;
		}
		if (accept_dot(p, "entry")) {
			parse_function(p, true, &link);
		} else if (accept_dot(p, "func")) {
			parse_function(p, false, &link);
		} else if (accept_dot(p, "tex")) {
			parse_var_statement(p, PTX_GLOBAL, &link);
		} else if (!is_dot(p, "reg") && !is_dot(p, "param") && parse_space(p, &space)) {
			parse_var_statement(p, space, &link);
		} else {
			expected(p, "a declaration");
		}
	}
	if (!p->st && !has_version)
		expected(p, "'.version'");
}

enum hg_status ptx_parse(struct hg_pool *pool, const char *text, size_t size, struct ptx_log *log, struct ptx_module **out)
{
	struct parser p = { .pool = pool, .log = log };
	struct scope top = { 0 };

	if (size > INT32_MAX) {
		ptx_log_add(log, true, "PTX of %zu bytes is too long", size);
		return HG_ERR_UNSUPPORTED;
	}
	p.m = hg_pool_alloc(pool, sizeof(*p.m));
	if (!p.m)
		return HG_ERR_NOMEM;
	p.m->pool = pool;
	p.m->address_size = 64;
	p.scope = &top;
	ptx_lexer_init(&p.lx, text, size);
	next(&p);
	parse_module(&p);
	if (p.st)
		return p.st;
	if (pool->failed)
		return HG_ERR_NOMEM;
	*out = p.m;
	return HG_OK;
}
