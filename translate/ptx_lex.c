/* ptx_lex.c - PTX text as tokens with positions. */
#include "translate/ptx.h"

#include <stdlib.h>
#include <string.h>

void ptx_lexer_init(struct ptx_lexer *lx, const char *text, size_t size)
{
	const char *nul = memchr(text, 0, size);

	*lx = (struct ptx_lexer){ .begin = text, .pos = text, .end = nul ? nul : text + size, .line_begin = text, .line = 1 };
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_ident(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$';
}

static char peek(const struct ptx_lexer *lx, size_t i)
{
	return (size_t)(lx->end - lx->pos) > i ? lx->pos[i] : 0;
}

/* Blanks, comments, and the line directives of the C preprocessor. False: a comment does not end. */
static bool skip(struct ptx_lexer *lx)
{
	while (lx->pos < lx->end) {
		char c = *lx->pos;

		if (c == '\n') {
			lx->pos++;
			lx->line++;
			lx->line_begin = lx->pos;
		} else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
			lx->pos++;
		} else if (c == '/' && peek(lx, 1) == '/') {
			while (lx->pos < lx->end && *lx->pos != '\n')
				lx->pos++;
		} else if (c == '/' && peek(lx, 1) == '*') {
			lx->pos += 2;
			while (lx->pos < lx->end && !(*lx->pos == '*' && peek(lx, 1) == '/')) {
				if (*lx->pos == '\n') {
					lx->line++;
					lx->line_begin = lx->pos + 1;
				}
				lx->pos++;
			}
			if (lx->pos >= lx->end)
				return false;
			lx->pos += 2;
		} else if (c == '#' && lx->pos == lx->line_begin) {
			while (lx->pos < lx->end && *lx->pos != '\n')
				lx->pos++;
		} else {
			break;
		}
	}
	return true;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

static void bad(struct ptx_token *t, const char *why)
{
	t->kind = PTX_BAD;
	t->bad = why;
}

/* 0f3F800000 and 0d3FF0000000000000 */
static void hex_float(struct ptx_lexer *lx, struct ptx_token *t, unsigned int digits)
{
	uint64_t v = 0;

	lx->pos += 2;
	for (unsigned int i = 0; i < digits; i++, lx->pos++) {
		if (lx->pos >= lx->end || hex_value(*lx->pos) > 15) {
			bad(t, digits == 8 ? "expected 8 hexadecimal digits after 0f" :
			    "expected 16 hexadecimal digits after 0d");
			return;
		}
		v = v << 4 | (unsigned int)hex_value(*lx->pos);
	}
	t->kind = PTX_FLOAT;
	t->is_f32 = digits == 8;
	t->value = v;
}

static void decimal_float(struct ptx_lexer *lx, struct ptx_token *t)
{
	char text[128];
	const char *p = lx->pos;
	size_t size;
	double d;

	while (p < lx->end && is_digit(*p))
		p++;
	if (p < lx->end && *p == '.')
		for (p++; p < lx->end && is_digit(*p); p++)
			;
	if (p < lx->end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < lx->end && (*p == '+' || *p == '-'))
			p++;
		while (p < lx->end && is_digit(*p))
			p++;
	}
	size = (size_t)(p - lx->pos);
	if (size >= sizeof(text)) {
		bad(t, "floating-point number too long");
		lx->pos = p;
		return;
	}
	memcpy(text, lx->pos, size);
	text[size] = 0;
	d = strtod(text, NULL);
	memcpy(&t->value, &d, sizeof(d));
	t->kind = PTX_FLOAT;
	lx->pos = p;
}

static void number(struct ptx_lexer *lx, struct ptx_token *t)
{
	unsigned int base = 10;
	const char *p;
	uint64_t v = 0;
	bool any = false;
	char c = peek(lx, 1);

	if (*lx->pos == '0' && (c == 'f' || c == 'F')) {
		hex_float(lx, t, 8);
		return;
	}
	if (*lx->pos == '0' && (c == 'd' || c == 'D')) {
		hex_float(lx, t, 16);
		return;
	}
	for (p = lx->pos; p < lx->end && is_digit(*p); p++)
		;
	if (p < lx->end && ((*p == '.' && lx->end - p > 1 && is_digit(p[1])) ||
			    ((*p == 'e' || *p == 'E') && !(*lx->pos == '0' && (c == 'x' || c == 'X'))))) {
		decimal_float(lx, t);
		return;
	}
	if (*lx->pos == '0' && (c == 'x' || c == 'X')) {
		base = 16;
		lx->pos += 2;
	} else if (*lx->pos == '0' && (c == 'b' || c == 'B')) {
		base = 2;
		lx->pos += 2;
	} else if (*lx->pos == '0' && is_digit(c)) {
		base = 8;
	}
	for (; lx->pos < lx->end && (unsigned int)hex_value(*lx->pos) < base; lx->pos++, any = true) {
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)hex_value(*lx->pos), &v)) {
			bad(t, "integer does not fit in 64 bits");
			while (lx->pos < lx->end && is_ident(*lx->pos))
				lx->pos++;
			return;
		}
	}
	if (!any) {
		bad(t, "integer without digits");
		return;
	}
	t->kind = PTX_INT;
	t->value = v;
	t->is_unsigned = v > INT64_MAX;
	if (lx->pos < lx->end && (*lx->pos == 'U' || *lx->pos == 'u')) {
		t->is_unsigned = true;
		lx->pos++;
	}
	if (lx->pos < lx->end && is_ident(*lx->pos))
		bad(t, "unexpected character in an integer");
}

void ptx_lexer_next(struct ptx_lexer *lx, struct ptx_token *t)
{
	bool ends = skip(lx);
	char c;

	*t = (struct ptx_token){ .text = lx->pos, .line = lx->line, .column = (uint32_t)(lx->pos - lx->line_begin) + 1 };
	if (!ends) {
		bad(t, "comment without an end");
		return;
	}
	if (lx->pos >= lx->end)
		return;
	c = *lx->pos;
	if (is_digit(c)) {
		number(lx, t);
	} else if (is_ident(c) || (c == '%' && is_ident(peek(lx, 1)))) {
		lx->pos++;
		while (lx->pos < lx->end && is_ident(*lx->pos))
			lx->pos++;
		t->kind = PTX_IDENT;
	} else if (c == '.' && is_ident(peek(lx, 1))) {
		t->kind = PTX_DOT;
		t->text = ++lx->pos;
		while (lx->pos < lx->end) {
			if (is_ident(*lx->pos))
				lx->pos++;
			else if (*lx->pos == ':' && peek(lx, 1) == ':' && is_ident(peek(lx, 2)))
				lx->pos += 2;
			else
				break;
		}
	} else if (c == '"') {
		t->kind = PTX_STRING;
		t->text = ++lx->pos;
		while (lx->pos < lx->end && *lx->pos != '"' && *lx->pos != '\n')
			lx->pos++;
		t->size = (uint32_t)(lx->pos - t->text);
		if (lx->pos >= lx->end || *lx->pos != '"')
			bad(t, "string without an end");
		else
			lx->pos++;
		return;
	} else if (strchr("(){}[]<>,;:+-*/%|&^!~?=@", c)) {
		t->kind = PTX_PUNCT;
		t->value = (unsigned char)c;
		lx->pos++;
	} else {
		bad(t, "unexpected character");
		lx->pos++;
	}
	t->size = (uint32_t)(lx->pos - t->text);
}
