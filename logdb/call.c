/* call.c - the table of recorded calls, and the parser of its signatures. */
#include "logdb/call.h"

#include <ctype.h>
#include <string.h>

/* twice, so that word lists named by a macro are expanded first */
#define STR_(...) #__VA_ARGS__
#define STR(...) STR_(__VA_ARGS__)

#define ROW(id_, op_, sym, args_, sig, x) \
	[id_] = { .name = #sym, .args = STR(args_), .signature = sig, .op = HG_OP_##op_, .id = id_, .irregular = x },

static const struct hg_call_desc call_desc[HG_CALL_ID_LIMIT] = {
#define HG_CALL(id, op, sym, params, args, sig) ROW(id, op, sym, args, sig, false)
#define HG_CALL_X(id, op, sym, params, args, sig) ROW(id, op, sym, args, sig, true)
#include "logdb/calls.def"
};

static const char *const op_name[] = {
#define HG_OP(name) [HG_OP_##name] = #name,
	HG_OPS(HG_OP)
#undef HG_OP
};

static const char *const kind_name[] = {
	[HG_KIND_CTX] = "ctx",
	[HG_KIND_MODULE] = "module",
	[HG_KIND_LIBRARY] = "library",
	[HG_KIND_FUNCTION] = "function",
	[HG_KIND_STREAM] = "stream",
	[HG_KIND_EVENT] = "event",
	[HG_KIND_DPTR] = "dptr",
	[HG_KIND_HPTR] = "hptr",
	[HG_KIND_SIZE] = "size",
	[HG_KIND_U32] = "u32",
	[HG_KIND_I32] = "i32",
	[HG_KIND_U64] = "u64",
	[HG_KIND_DEV] = "dev",
	[HG_KIND_CSTR] = "cstr",
	[HG_KIND_BYTES] = "bytes",
	[HG_KIND_IMAGE] = "image",
	[HG_KIND_OPAQUE] = "opaque",
};

#define NR_KINDS ((int)(sizeof(kind_name) / sizeof(kind_name[0])))

const struct hg_call_desc *hg_call_by_id(unsigned int id)
{
	if (id >= HG_CALL_ID_LIMIT || !call_desc[id].name)
		return NULL;
	return &call_desc[id];
}

const struct hg_call_desc *hg_call_by_name(const char *name)
{
	for (unsigned int id = 0; id < HG_CALL_ID_LIMIT; id++)
		if (call_desc[id].name && !strcmp(call_desc[id].name, name))
			return &call_desc[id];
	return NULL;
}

const char *hg_op_name(enum hg_op op)
{
	if ((unsigned int)op >= HG_OP_COUNT)
		return "?";
	return op_name[op];
}

const char *hg_kind_name(enum hg_kind kind)
{
	if ((int)kind <= 0 || (int)kind >= NR_KINDS)
		return "?";
	return kind_name[kind];
}

/* One word of a signature; false if it is malformed. */
static bool parse_word(const char *s, size_t len, struct hg_arg *out)
{
	size_t at = 0, kind_len;

	out->dir = HG_DIR_IN;
	if (len && strchr("><-", s[0])) {
		out->dir = s[0] == '>' ? HG_DIR_OUT : s[0] == '<' ? HG_DIR_READ : HG_DIR_DESTROY;
		at = 1;
	}
	for (kind_len = 0; at + kind_len < len && s[at + kind_len] != ':'; kind_len++)
		;
	out->kind = 0;
	for (int k = 1; k < NR_KINDS; k++)
		if (strlen(kind_name[k]) == kind_len && !memcmp(kind_name[k], s + at, kind_len))
			out->kind = (enum hg_kind)k;
	if (!out->kind)
		return false;
	at += kind_len;

	out->len_arg = -1;
	if (at == len)
		return true;
	at++;
	if (at == len || len - at > 2)
		return false;
	out->len_arg = 0;
	for (; at < len; at++) {
		if (s[at] < '0' || s[at] > '9')
			return false;
		out->len_arg = out->len_arg * 10 + (s[at] - '0');
	}
	return true;
}

static bool is_name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* The names in "(a, b)"; how many, or -1. */
static int parse_names(const char *s, struct hg_arg out[HG_MAX_ARGS])
{
	int n = 0;

	if (*s++ != '(')
		return -1;
	while (*s == ' ')
		s++;
	if (*s == ')')
		return s[1] ? -1 : 0;
	for (;;) {
		size_t len = 0, keep;

		while (is_name_char(s[len]))
			len++;
		if (!len || n == HG_MAX_ARGS)
			return -1;
		keep = len < sizeof(out[n].name) ? len : sizeof(out[n].name) - 1;
		memcpy(out[n].name, s, keep);
		out[n].name[keep] = '\0';
		n++;
		s += len;
		while (*s == ' ')
			s++;
		if (*s == ')')
			return s[1] ? -1 : n;
		if (*s++ != ',')
			return -1;
		while (*s == ' ')
			s++;
	}
}

int hg_signature_parse(const char *signature, const char *args, struct hg_arg out[HG_MAX_ARGS])
{
	const char *s = signature;
	int n = 0;

	while (*s) {
		size_t len = strcspn(s, " ");

		if (n == HG_MAX_ARGS || !parse_word(s, len, &out[n]))
			return -1;
		n++;
		s += len;
		if (*s == ' ' && !*++s)
			return -1;
	}
	for (int i = 0; i < n; i++)
		if (out[i].len_arg >= n || out[i].len_arg == i)
			return -1;
	if (parse_names(args, out) != n)
		return -1;
	return n;
}
