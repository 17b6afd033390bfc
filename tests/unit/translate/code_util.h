/* code_util.h - files, messages and loads for the tests of PTX and hgIR. */
#ifndef HG_TESTS_CODE_UTIL_H
#define HG_TESTS_CODE_UTIL_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "translate/ir.h"
#include "translate/module.h"

/* The last message of this thread, instead of stderr. */
static char last_message[1024];

static inline void keep_message(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	snprintf(last_message, sizeof(last_message), "%s", line);
}

static inline void catch_messages(void)
{
	last_message[0] = 0;
	hg_msg_sink_set(keep_message, NULL);
}

/* Tests run in the top folder, or name it in HG_TOP. */
static inline char *read_test_file(const char *name, size_t *size)
{
	const char *top = getenv("HG_TOP");
	char path[512], *data;
	FILE *f;
	long n;

	snprintf(path, sizeof(path), "%s%s%s", top ? top : "", top ? "/" : "", name);
	f = fopen(path, "rb");
	cr_assert(f, "cannot open '%s'", path);
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	data = malloc((size_t)n + 1);
	cr_assert(data && fread(data, 1, (size_t)n, f) == (size_t)n);
	data[n] = 0;
	fclose(f);
	*size = (size_t)n;
	return data;
}

static inline char *ir_text(const struct ir_module *m)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	cr_assert(f);
	ir_print(m, f);
	fclose(f);
	return text;
}

/* Loads PTX that must be right. */
static inline struct hg_module *load_text(const char *text)
{
	char log[2048] = "";
	struct hg_module *m = NULL;
	enum hg_status st = hg_module_load(text, 0, 120, log, sizeof(log), &m);

	cr_assert_eq(st, HG_OK, "%s: %s", hg_status_text(st), log);
	return m;
}

#define PTX_HEAD ".version 9.0\n.target sm_75\n.address_size 64\n"
/* A kernel around instructions; the first of them is in line 7. */
#define KERNEL(body) PTX_HEAD ".visible .entry k(.param .u64 p, .param .u32 n) {\n" \
	".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .f32 %f<9>;\n" \
	".reg .b64 %rd<9>; .reg .f64 %fd<9>;\n" body "\n}\n"

/* The same around instructions made at run time. */
static inline char *kernel_around(const char *before, const char *body, const char *after, char *buf, size_t size)
{
	static const char whole[] = KERNEL("\x01");
	size_t head = strcspn(whole, "\x01");

	cr_assert(strlen(before) + strlen(body) + strlen(after) + sizeof(whole) < size);
	memcpy(buf, whole, head);
	strcpy(buf + head, before);
	strcat(buf, body);
	strcat(buf, whole + head + 1);
	strcat(buf, after);
	return buf;
}

#endif
