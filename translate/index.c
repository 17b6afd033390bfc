/* index.c - kernels, variables and parameters of an image: declarations out of PTX, metadata out of cubins. */
#define _GNU_SOURCE
#include "translate/index.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/msg.h"
#include "common/pool.h"
#include "translate/cubin.h"
#include "translate/fatbin.h"
#include "translate/ptx.h"

#define MAX_PARAM_BYTES 65536u
#define MAX_VAR (UINT64_C(1) << 40)

/* --- what has been found so far -------------------------------------------------------------- */
/* A kernel or a variable; its name and parameters lie in the pool that it was found with. */
struct item {
	uint64_t hash;
	size_t size;		/* of the name, which needs no NUL */
	bool by_ptx;		/* PTX says what is known of it */
	union {
		const char *name;
		struct hg_index_kernel kernel;
		struct hg_index_var var;
	};
};
_Static_assert(!offsetof(struct hg_index_kernel, name) && !offsetof(struct hg_index_var, name), "item.name");

struct list {
	struct item *item;
	size_t nr, capacity;
	uint32_t *slot;		/* open addressing: 1 + index, 0 free; of a list that is searched */
	size_t nr_slots;	/* a power of two */
};

static struct item *list_add(struct list *l, const struct item *item)
{
	if (l->nr == l->capacity) {
		size_t capacity = l->capacity ? l->capacity * 2 : 64;
		struct item *more = reallocarray(l->item, capacity, sizeof(*more));

		if (!more)
			return NULL;
		l->item = more;
		l->capacity = capacity;
	}
	l->item[l->nr] = *item;
	return &l->item[l->nr++];
}

static void list_fini(struct list *l)
{
	free(l->item);
	free(l->slot);
}

static size_t list_slot(const struct list *l, const struct item *item)
{
	size_t i = item->hash & (l->nr_slots - 1);

	for (; l->slot[i]; i = (i + 1) & (l->nr_slots - 1)) {
		const struct item *other = &l->item[l->slot[i] - 1];

		if (other->hash == item->hash && other->size == item->size && !memcmp(other->name, item->name, item->size))
			break;
	}
	return i;
}

static bool list_rehash(struct list *l)
{
	size_t nr = l->nr_slots ? l->nr_slots * 2 : 256;
	uint32_t *slot = calloc(nr, sizeof(*slot));

	if (!slot)
		return false;
	free(l->slot);
	l->slot = slot;
	l->nr_slots = nr;
	for (size_t i = 0; i < l->nr; i++)
		l->slot[list_slot(l, &l->item[i])] = (uint32_t)(i + 1);
	return true;
}

/* The item of that name; a new one (*is_new) is as given, with its name in pool. NULL: out of memory. */
static struct item *list_put(struct list *l, struct hg_pool *pool, struct item *item, bool *is_new)
{
	size_t i;

	if (l->nr >= UINT32_MAX / 2 || (l->nr * 2 >= l->nr_slots && !list_rehash(l)))
		return NULL;
	item->hash = XXH3_64bits(item->name, item->size);
	i = list_slot(l, item);
	*is_new = !l->slot[i];
	if (*is_new) {
		item->name = hg_pool_strndup(pool, item->name, item->size);
		if (!item->name || !list_add(l, item))
			return NULL;
		l->slot[i] = (uint32_t)l->nr;
	}
	return &l->item[l->slot[i] - 1];
}

struct scan {
	struct hg_pool *pool;		/* names and parameters of what is in the lists */
	struct list kernels, vars;
	struct hg_image_index sum;	/* its counts */
};

static enum hg_status add_kernel(struct scan *s, struct item *found)
{
	struct hg_index_kernel kernel = found->kernel;
	struct item *k;
	bool is_new;

	k = list_put(&s->kernels, s->pool, found, &is_new);
	if (!k)
		return HG_ERR_NOMEM;
	k->kernel.has_ptx |= kernel.has_ptx;
	k->kernel.has_sass |= kernel.has_sass;
	if (is_new ? !kernel.nr_params : !kernel.params_known || (k->kernel.params_known && (k->by_ptx || !found->by_ptx)))
		return HG_OK;
	k->by_ptx = found->by_ptx;
	k->kernel.params_known = kernel.params_known;
	k->kernel.nr_params = kernel.nr_params;
	k->kernel.param_bytes = kernel.param_bytes;
	k->kernel.params = hg_pool_copy(s->pool, kernel.params, kernel.nr_params * sizeof(*kernel.params));
	return k->kernel.params ? HG_OK : HG_ERR_NOMEM;
}

static enum hg_status add_var(struct scan *s, struct item *found)
{
	struct hg_index_var var = found->var;
	struct item *v;
	bool is_new;

	v = list_put(&s->vars, s->pool, found, &is_new);
	if (!v)
		return HG_ERR_NOMEM;
	if (!is_new && !v->by_ptx && found->by_ptx) {
		var.name = v->var.name;
		var.size = var.size ? var.size : v->var.size;
		v->var = var;
		v->by_ptx = true;
	} else if (!v->var.size) {
		v->var.size = var.size;
	}
	return HG_OK;
}

/* --- PTX ------------------------------------------------------------------------------------- */
struct ptx_scan {
	struct ptx_lexer lx;
	struct ptx_token tok;
	struct hg_pool *pool;		/* parameters */
	struct list kernels, vars;	/* names lie in the text */
	const char *why;		/* it cannot be read, or NULL */
	bool nomem;
	size_t nr_malloc;		/* declarations of the device's malloc */
};

static void next(struct ptx_scan *p)
{
	ptx_lexer_next(&p->lx, &p->tok);
	if (p->tok.kind == PTX_BAD && !p->why)
		p->why = p->tok.bad;
}

static bool is_end(const struct ptx_scan *p)
{
	return p->tok.kind == PTX_EOF || p->why || p->nomem;
}

static bool is_dot(const struct ptx_scan *p, const char *word)
{
	return p->tok.kind == PTX_DOT && p->tok.size == strlen(word) && !memcmp(p->tok.text, word, p->tok.size);
}

static bool is_punct(const struct ptx_scan *p, char c)
{
	return p->tok.kind == PTX_PUNCT && p->tok.value == (unsigned char)c;
}

static bool accept_dot(struct ptx_scan *p, const char *word)
{
	if (!is_dot(p, word))
		return false;
	next(p);
	return true;
}

static bool accept(struct ptx_scan *p, char c)
{
	if (!is_punct(p, c))
		return false;
	next(p);
	return true;
}

/* Behind the comment or the string that begins at q, which may turn out to be neither. NULL: it has no end. */
static const char *skip_quoted(const char *q, const char *end)
{
	const char *close;

	if (*q == '"') {
		close = memchr(q + 1, '"', (size_t)(end - q - 1));
		return close ? close + 1 : NULL;
	}
	if (end - q < 2)
		return end;
	if (q[1] == '/') {
		close = memchr(q, '\n', (size_t)(end - q));
		return close ? close + 1 : end;
	}
	if (q[1] != '*')
		return q + 1;
	close = memmem(q + 2, (size_t)(end - q - 2), "*/", 2);
	return close ? close + 2 : NULL;
}

enum { STOP_BODY = 1, STOP_STATEMENT = 2 };
static const unsigned char stops[256] = {
	['{'] = 3, ['}'] = 3, ['"'] = 3, ['/'] = 3, ['('] = STOP_STATEMENT, [')'] = STOP_STATEMENT,
	[','] = STOP_STATEMENT, [';'] = STOP_STATEMENT,
};

/* Skips a balanced {…} whose '{' is the present token; what is in it is looked at byte by byte only. */
static void skip_braces(struct ptx_scan *p)
{
	const char *q = p->lx.pos, *end = p->lx.end;
	size_t depth = 1;

	while (depth) {
		while (q < end && !(stops[(unsigned char)*q] & STOP_BODY))
			q++;
		if (q == end)
			break;
		if (*q == '{') {
			depth++;
			q++;
		} else if (*q == '}') {
			depth--;
			q++;
		} else {
			q = skip_quoted(q, end);
			if (!q)
				break;
		}
	}
	if (depth) {
		p->why = "it ends within braces";
		return;
	}
	p->lx.pos = q;
	next(p);
}

/* Goes on to the next ',' or ';' outside of brackets, behind the present token. */
static void skip_value(struct ptx_scan *p)
{
	const char *q = p->lx.pos, *end = p->lx.end;
	size_t depth = is_punct(p, '{') || is_punct(p, '(');

	while (!is_punct(p, ',') && !is_punct(p, ';')) {
		while (q < end && !(stops[(unsigned char)*q] & STOP_STATEMENT))
			q++;
		if (q == end)
			break;
		if (*q == '{' || *q == '(') {
			depth++;
		} else if (*q == '}' || *q == ')') {
			if (!depth)
				break;
			depth--;
		} else if (*q == ',' || *q == ';') {
			if (!depth) {
				p->lx.pos = q;
				next(p);
				return;
			}
		} else {
			q = skip_quoted(q, end);
			if (!q)
				break;
			continue;
		}
		q++;
	}
	if (!is_punct(p, ',') && !is_punct(p, ';'))
		p->why = "it ends within a value";
}

static void skip_line(struct ptx_scan *p)
{
	const char *nl = memchr(p->lx.pos, '\n', (size_t)(p->lx.end - p->lx.pos));

	p->lx.pos = nl ? nl : p->lx.end;
	next(p);
}

static void skip_to(struct ptx_scan *p, char c)
{
	while (!is_end(p) && !is_punct(p, c))
		next(p);
}

/* Skips a balanced (…), or the rest of one that is `depth` deep. */
static void skip_parens(struct ptx_scan *p, size_t depth)
{
	while (!is_end(p)) {
		if (is_punct(p, '('))
			depth++;
		if (is_punct(p, ')') && !--depth)
			break;
		next(p);
	}
	next(p);
}

/* What stands between the space and the name: .align, .ptr, attributes, vector, type. */
struct decl {
	uint32_t align, bytes;		/* of one element; bytes 0: an unknown type */
	bool is_pointer, is_managed, is_reference;
};

static void parse_align(struct ptx_scan *p, uint32_t *align)
{
	if (p->tok.kind == PTX_INT && p->tok.value && p->tok.value <= MAX_PARAM_BYTES &&
	    !(p->tok.value & (p->tok.value - 1)))
		*align = (uint32_t)p->tok.value;
	else
		p->why = "an alignment is not a power of two";
	next(p);
}

static void parse_ptr(struct ptx_scan *p, struct decl *d)
{
	uint32_t pointee;

	d->is_pointer = true;
	for (; p->tok.kind == PTX_DOT; next(p)) {
		if (is_dot(p, "shared") || is_dot(p, "local") || is_dot(p, "param"))
			d->is_pointer = false;	/* an offset in a window */
		else if (!is_dot(p, "global") && !is_dot(p, "const"))
			break;
	}
	if (accept_dot(p, "align"))
		parse_align(p, &pointee);
}

static void parse_attribute(struct ptx_scan *p, struct decl *d)
{
	for (; !is_end(p) && !is_punct(p, ')'); next(p))
		d->is_managed |= is_dot(p, "managed");
	accept(p, ')');
}

static void parse_decl(struct ptx_scan *p, struct decl *d)
{
	uint32_t vec = 1, align = 0;

	while (!is_end(p) && p->tok.kind == PTX_DOT) {
		enum ir_type t = ptx_word_type(ptx_word_find(p->tok.text, p->tok.size));

		if (accept_dot(p, "align")) {
			parse_align(p, &align);
		} else if (accept_dot(p, "ptr")) {
			parse_ptr(p, d);
		} else if (accept_dot(p, "attribute")) {
			parse_attribute(p, d);
		} else if (is_dot(p, "v2") || is_dot(p, "v4") || is_dot(p, "v8")) {
			vec = (uint32_t)(p->tok.text[1] - '0');
			next(p);
		} else {
			d->is_reference |= is_dot(p, "texref") || is_dot(p, "samplerref") || is_dot(p, "surfref");
			if (d->is_reference)
				d->bytes = 8;
			else if (t != IR_NONE)
				d->bytes = (ir_type_bits(t) + 7) / 8;
			next(p);
		}
	}
	d->bytes *= vec;
	d->align = align ? align : d->bytes;
}

/* [2][3] behind a name. False: the size cannot be told. */
static bool parse_dims(struct ptx_scan *p, const struct decl *d, uint64_t *size)
{
	bool is_known = d->bytes != 0;

	*size = d->bytes;
	while (accept(p, '[')) {
		bool is_number = p->tok.kind == PTX_INT;

		if (!is_number || __builtin_mul_overflow(*size, p->tok.value, size) || *size > MAX_VAR)
			is_known = false;
		if (is_number)
			next(p);
		if (!is_punct(p, ']'))
			is_known = false;
		skip_to(p, ']');
		next(p);
	}
	if (!is_known)
		*size = 0;
	return is_known;
}

static void parse_params(struct ptx_scan *p, struct hg_index_kernel *k)
{
	struct hg_param *param = NULL;
	uint32_t nr = 0, capacity = 0;
	uint64_t at = 0, size;
	bool is_known = true;

	while (!is_end(p) && !is_punct(p, ')')) {
		struct decl d = { 0 };

		if (!accept_dot(p, "param")) {
			is_known = false;
			break;
		}
		parse_decl(p, &d);
		if (p->tok.kind != PTX_IDENT) {
			is_known = false;
			break;
		}
		next(p);
		if (nr == capacity) {
			param = hg_pool_grow(p->pool, param, nr, capacity * 2 + 8, sizeof(*param));
			capacity = capacity * 2 + 8;
			if (!param) {
				p->nomem = true;
				return;
			}
		}
		if (!parse_dims(p, &d, &size)) {
			is_known = false;
			break;
		}
		at = (at + d.align - 1) & ~(uint64_t)(d.align - 1);
		if (at + size > MAX_PARAM_BYTES) {
			is_known = false;
			break;
		}
		param[nr++] = (struct hg_param){ .offset = (uint32_t)at, .size = (uint32_t)size, .align = d.align,
						 .is_pointer = d.is_pointer };
		at += size;
		if (!accept(p, ','))
			break;
	}
	if (!is_punct(p, ')'))
		is_known = false;
	skip_parens(p, 1);
	if (!is_known)
		return;
	k->params_known = true;
	k->params = param;
	k->nr_params = nr;
	k->param_bytes = (uint32_t)at;
}

/* Between a function's head and its body: false at a ';' in its place. */
static bool at_body(struct ptx_scan *p)
{
	while (!is_end(p) && !is_punct(p, '{') && !is_punct(p, ';')) {
		if (is_dot(p, "pragma")) {
			skip_to(p, ';');
			next(p);
		} else if (is_dot(p, "loc") || is_dot(p, "file")) {
			skip_line(p);
		} else {
			next(p);
		}
	}
	if (p->tok.kind == PTX_EOF && !p->why)
		p->why = "it ends before a function's body";
	return !p->why && is_punct(p, '{');
}

static void parse_entry(struct ptx_scan *p)
{
	struct item found = { .by_ptx = true, .kernel = { .has_ptx = true } };

	if (p->tok.kind != PTX_IDENT) {
		p->why = "a kernel without a name";
		return;
	}
	found.name = p->tok.text;
	found.size = p->tok.size;
	next(p);
	if (accept(p, '('))
		parse_params(p, &found.kernel);
	else
		found.kernel.params_known = true;
	if (!at_body(p))
		return;
	skip_braces(p);
	if (!p->why && !list_add(&p->kernels, &found))
		p->nomem = true;
}

static void parse_func(struct ptx_scan *p)
{
	while (!is_end(p) && (is_punct(p, '(') || is_dot(p, "attribute"))) {
		if (is_dot(p, "attribute"))
			next(p);
		skip_parens(p, 0);
	}
	p->nr_malloc += p->tok.kind == PTX_IDENT && p->tok.size == 6 && !memcmp(p->tok.text, "malloc", 6);
	if (at_body(p))
		skip_braces(p);
}

static void parse_vars(struct ptx_scan *p, bool is_const, bool is_extern, bool is_visible)
{
	struct decl d = { 0 };

	parse_decl(p, &d);
	do {
		struct item found = { .by_ptx = true, .var = { .is_const = is_const, .is_visible = is_visible,
							       .is_managed = d.is_managed } };
		if (p->tok.kind != PTX_IDENT) {
			p->why = "a variable without a name";
			return;
		}
		found.name = p->tok.text;
		found.size = p->tok.size;
		next(p);
		if (!parse_dims(p, &d, &found.var.size))
			found.var.size = 0;
		if (accept(p, '='))
			skip_value(p);
		/* Textures and surfaces of old are handles, which nobody reads as memory. */
		if (!is_extern && !d.is_reference && !p->why && !list_add(&p->vars, &found))
			p->nomem = true;
	} while (!is_end(p) && accept(p, ','));
	if (!is_punct(p, ';') && !p->why)
		p->why = "a variable's declaration has no end";
}

static void scan_module(struct ptx_scan *p)
{
	bool is_extern = false, is_visible = false;

	next(p);
	if (!is_dot(p, "version")) {
		p->why = p->why ? p->why : "it does not begin with '.version'";
		return;
	}
	while (!is_end(p)) {
		if (accept_dot(p, "extern")) {
			is_extern = true;
			continue;
		}
		if (accept_dot(p, "visible") || accept_dot(p, "weak") || accept_dot(p, "common")) {
			is_visible = true;
			continue;
		}
		if (accept_dot(p, "entry"))
			parse_entry(p);
		else if (accept_dot(p, "func"))
			parse_func(p);
		else if (accept_dot(p, "global"))
			parse_vars(p, false, is_extern, is_visible);
		else if (accept_dot(p, "const"))
			parse_vars(p, true, is_extern, is_visible);
		else if (is_dot(p, "loc") || is_dot(p, "file"))
			skip_line(p);
		else if (is_punct(p, '@') && p->lx.pos < p->lx.end && *p->lx.pos == '@')
			skip_line(p);		/* @@DWARF of old */
		else if (is_punct(p, '{'))
			skip_braces(p);		/* of a .section */
		else
			next(p);		/* whatever else there is has no name that a host asks for */
		is_extern = is_visible = false;
	}
}

static bool is_ident(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' || c == '%';
}

/* Whether the text names malloc more often than in its declarations. */
static bool calls_malloc(const struct ptx_scan *p)
{
	const char *at = p->lx.begin;
	size_t nr = 0;

	while (p->nr_malloc && nr <= p->nr_malloc) {
		at = memmem(at, (size_t)(p->lx.end - at), "malloc", 6);
		if (!at)
			break;
		nr += (at == p->lx.begin || !is_ident(at[-1])) && (at + 6 == p->lx.end || !is_ident(at[6]));
		at += 6;
	}
	return nr > p->nr_malloc;
}

/* HG_ERR_CORRUPT: nothing is taken from this text. */
static enum hg_status scan_ptx(struct scan *s, const char *text, size_t size)
{
	struct ptx_scan p = { .pool = hg_pool_create() };
	enum hg_status st = HG_ERR_NOMEM;

	if (!p.pool)
		return HG_ERR_NOMEM;
	ptx_lexer_init(&p.lx, text, size);
	scan_module(&p);
	if (p.nomem)
		goto out;
	if (p.why) {
		pr_err("image: PTX that cannot be read: %s", p.why);
		st = HG_ERR_CORRUPT;
		goto out;
	}
	s->sum.uses_malloc |= calls_malloc(&p);
	st = HG_OK;
	for (size_t i = 0; i < p.kernels.nr && !st; i++)
		st = add_kernel(s, &p.kernels.item[i]);
	for (size_t i = 0; i < p.vars.nr && !st; i++)
		st = add_var(s, &p.vars.item[i]);
out:
	list_fini(&p.kernels);
	list_fini(&p.vars);
	hg_pool_destroy(p.pool);
	return st;
}

/* --- cubins ---------------------------------------------------------------------------------- */
static enum hg_status scan_cubin(struct scan *s, const void *elf, size_t size)
{
	struct hg_pool *pool = hg_pool_create();
	enum hg_status st = HG_ERR_NOMEM;
	struct hg_cubin c;

	if (!pool)
		return HG_ERR_NOMEM;
	st = hg_cubin_read(pool, elf, size, &c);
	if (st)
		goto out;
	s->sum.uses_malloc |= c.uses_malloc;
	for (uint32_t i = 0; i < c.nr_kernels && !st; i++) {
		const struct hg_cubin_kernel *k = &c.kernels[i];
		struct item found = { .size = strlen(k->name), .kernel = {
			.name = k->name, .has_sass = true, .params_known = k->params_known, .nr_params = k->nr_params,
			.params = k->params, .param_bytes = k->param_bytes } };

		st = add_kernel(s, &found);
	}
	for (uint32_t i = 0; i < c.nr_vars && !st; i++) {
		const struct hg_cubin_var *v = &c.vars[i];
		struct item found = { .size = strlen(v->name), .var = {
			.name = v->name, .size = v->size, .is_const = v->is_const, .is_visible = v->is_visible,
			.is_managed = v->is_managed } };

		st = add_var(s, &found);
	}
out:
	hg_pool_destroy(pool);
	return st;
}

/* --- images ---------------------------------------------------------------------------------- */
static enum hg_status scan_entry(struct scan *s, const struct hg_fatbin_entry *e)
{
	enum hg_status st;
	size_t size;
	char *plain;

	st = hg_fatbin_extract(e, &plain, &size);
	if (st)
		return st;
	st = e->kind == HG_FATBIN_PTX ? scan_ptx(s, plain, size) : scan_cubin(s, plain, size);
	free(plain);
	return st;
}

static enum hg_status scan_fatbin(struct scan *s, const struct hg_image_part *part)
{
	struct hg_fatbin_entry e;
	struct hg_fatbin fb;
	enum hg_status st;

	st = hg_fatbin_open(&fb, part->data, part->size);
	while (!st) {
		st = hg_fatbin_next(&fb, &e);
		if (st == HG_ERR_NOTFOUND)
			return HG_OK;
		if (st)
			return st;
		s->sum.nr_ptx += e.kind == HG_FATBIN_PTX;
		s->sum.nr_sass += e.kind == HG_FATBIN_ELF;
		s->sum.nr_lto += e.kind == HG_FATBIN_LTO;
		if (e.kind != HG_FATBIN_PTX && e.kind != HG_FATBIN_ELF)
			continue;
		st = scan_entry(s, &e);
		if (st == HG_ERR_CORRUPT) {
			pr_warn("image: its %s for sm_%" PRIu32 " is left out", e.kind == HG_FATBIN_PTX ? "PTX" : "cubin", e.sm);
			s->sum.nr_unread++;
			st = HG_OK;
		}
	}
	return st;
}

static enum hg_status scan_part(struct scan *s, const struct hg_image_part *part)
{
	switch (part->kind) {
	case HG_IMAGE_TEXT:
		s->sum.nr_ptx++;
		return scan_ptx(s, part->data, part->size);
	case HG_IMAGE_FATBIN:
		return scan_fatbin(s, part);
	case HG_IMAGE_ELF:
		s->sum.nr_sass++;
		return scan_cubin(s, part->data, part->size);
	}
	return HG_ERR_INVALID;
}

static int item_order(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* Takes `size` bytes, a multiple of 8, off the block. */
static void *cut(unsigned char **at, size_t size)
{
	void *piece = *at;

	*at += (size + 7) & ~(size_t)7;
	return piece;
}

/* All of it in one block: the index, kernels, variables, parameters, names. */
static struct hg_image_index *finish(struct scan *s)
{
	size_t nr_params = 0, names = 0, size;
	struct hg_index_kernel *kernel;
	struct hg_image_index *index;
	struct hg_index_var *var;
	struct hg_param *param;
	unsigned char *at;
	char *name;

	for (size_t i = 0; i < s->kernels.nr; i++) {
		nr_params += s->kernels.item[i].kernel.nr_params;
		names += s->kernels.item[i].size + 1;
	}
	for (size_t i = 0; i < s->vars.nr; i++)
		names += s->vars.item[i].size + 1;
	size = sizeof(*index) + s->kernels.nr * sizeof(*kernel) + s->vars.nr * sizeof(*var) + nr_params * sizeof(*param) +
		names + 5 * 8;
	at = malloc(size);
	if (!at)
		return NULL;
	index = cut(&at, sizeof(*index));
	kernel = cut(&at, s->kernels.nr * sizeof(*kernel));
	var = cut(&at, s->vars.nr * sizeof(*var));
	param = cut(&at, nr_params * sizeof(*param));
	name = (char *)at;
	if (s->kernels.nr)
		qsort(s->kernels.item, s->kernels.nr, sizeof(struct item), item_order);
	if (s->vars.nr)
		qsort(s->vars.item, s->vars.nr, sizeof(struct item), item_order);
	*index = s->sum;
	index->nr_kernels = s->kernels.nr;
	index->nr_vars = s->vars.nr;
	index->kernels = kernel;
	index->vars = var;
	for (size_t i = 0; i < s->kernels.nr; i++) {
		const struct item *k = &s->kernels.item[i];

		kernel[i] = k->kernel;
		kernel[i].name = memcpy(name, k->name, k->size + 1);
		name += k->size + 1;
		kernel[i].params = NULL;
		if (k->kernel.nr_params) {
			kernel[i].params = memcpy(param, k->kernel.params, k->kernel.nr_params * sizeof(*param));
			param += k->kernel.nr_params;
		}
	}
	for (size_t i = 0; i < s->vars.nr; i++) {
		const struct item *v = &s->vars.item[i];

		var[i] = v->var;
		var[i].name = memcpy(name, v->name, v->size + 1);
		name += v->size + 1;
	}
	return index;
}

enum hg_status hg_image_index(const void *image, size_t size, struct hg_image_index **out)
{
	struct scan s = { .pool = hg_pool_create() };
	struct hg_image_part *part = NULL;
	struct hg_image_index *index;
	enum hg_status st;
	size_t nr = 0;

	if (!s.pool)
		return HG_ERR_NOMEM;
	st = hg_image_parts(image, size, &part, &nr);
	for (size_t i = 0; i < nr && !st; i++) {
		st = scan_part(&s, &part[i]);
		if (st == HG_ERR_CORRUPT && part[i].kind == HG_IMAGE_ELF && nr > 1) {
			pr_warn("image: a cubin of it is left out");
			s.sum.nr_unread++;
			st = HG_OK;
		}
	}
	if (st)
		goto out;
	index = finish(&s);
	st = index ? HG_OK : HG_ERR_NOMEM;
	if (!st)
		*out = index;
out:
	free(part);
	list_fini(&s.kernels);
	list_fini(&s.vars);
	hg_pool_destroy(s.pool);
	return st;
}

void hg_image_index_free(struct hg_image_index *index)
{
	free(index);
}

const struct hg_index_kernel *hg_image_index_kernel(const struct hg_image_index *index, const char *name)
{
	size_t lo = 0, hi = index->nr_kernels;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, index->kernels[mid].name);

		if (!c)
			return &index->kernels[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}
