/* test_call.c - the table, its signatures, and records taken apart. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logdb/call.h"
#include "logdb/record.h"
#include "logdb/view.h"
#include "logdb/words.h"

Test(call, every_signature_describes_every_argument)
{
	struct hg_arg arg[HG_MAX_ARGS];
	int rows = 0;

	for (unsigned int id = 0; id < HG_CALL_ID_LIMIT; id++) {
		const struct hg_call_desc *d = hg_call_by_id(id);
		int n;

		if (!d)
			continue;
		rows++;
		cr_assert_eq(d->id, id);
		n = hg_signature_parse(d->signature, d->args, arg);
		cr_assert_geq(n, 0, "%s: '%s' does not describe '%s'", d->name, d->signature, d->args);
		for (int i = 0; i < n; i++) {
			if (arg[i].len_arg >= 0)
				cr_assert_eq(arg[arg[i].len_arg].kind, HG_KIND_SIZE, "%s: a length that is no size", d->name);
			/* only a hand-written wrapper knows how long its bytes are */
			if (arg[i].kind == HG_KIND_BYTES && arg[i].len_arg < 0)
				cr_assert(d->irregular, "%s: bytes without a length", d->name);
			if (arg[i].kind == HG_KIND_IMAGE)
				cr_assert(d->irregular, "%s: an image in a regular row", d->name);
		}
		cr_assert_eq(hg_call_by_name(d->name), d);
	}
	cr_assert_gt(rows, 80);
	cr_assert_null(hg_call_by_id(HG_CALL_ID_LIMIT));
	cr_assert_null(hg_call_by_name("cuNothing"));
}

Test(call, rows_that_create_name_one_object)
{
	for (unsigned int id = 0; id < HG_CALL_ID_LIMIT; id++) {
		const struct hg_call_row *row = hg_call_row(id);
		int created = 0;

		for (int i = 0; row && i < row->nr_args; i++)
			created += row->arg[i].dir == HG_DIR_OUT && hg_kind_is_object(row->arg[i].kind);
		cr_assert_leq(created, 1, "call %u creates several objects", id);
	}
}

Test(call, launches_and_copies_have_the_words_of_words_h)
{
	const struct hg_call_row *launch = hg_call_row(HG_ID_cuLaunchKernelEx), *copy = hg_call_row(HG_ID_cuMemcpy3D_v2);

	cr_assert_eq(launch->nr_args, HG_LAUNCH_NR_WORDS);
	cr_assert_eq(launch->arg[HG_LAUNCH_FUNCTION].kind, HG_KIND_FUNCTION);
	cr_assert_eq(launch->arg[HG_LAUNCH_STREAM].kind, HG_KIND_STREAM);
	cr_assert_eq(launch->arg[HG_LAUNCH_PARAMS].kind, HG_KIND_BYTES);
	cr_assert_str_eq(launch->arg[HG_LAUNCH_SHARED].name, "shared");
	cr_assert_eq(copy->nr_args, HG_COPY_NR_WORDS);
	cr_assert_eq(copy->arg[HG_COPY_STREAM].kind, HG_KIND_STREAM);
	cr_assert_str_eq(copy->arg[HG_COPY_SRC_SLICE].name, "src_slice");
	cr_assert_eq(copy->arg[HG_COPY_DATA].kind, HG_KIND_BYTES);
}

Test(call, malformed_signatures_are_refused)
{
	static const char *const bad[][2] = {
		{ "dptr size", "(a)" }, { "dptr", "(a, b)" }, { "dptr ", "(a)" }, { " dptr", "(a)" }, { "dpt", "(a)" },
		{ "dptrs", "(a)" }, { ">", "(a)" }, { "bytes:", "(a)" }, { "bytes:7 size", "(a, b)" },
		{ "bytes:0", "(a)" }, { "bytes:-1 size", "(a, b)" }, { "bytes:99999999999 size", "(a, b)" },
		{ "dptr", "a" }, { "dptr", "(a" }, { "dptr", "(a))" }, { "dptr", "(,)" }, { "dptr", "()" }, { "", "(a)" },
		{ "dptr", "" }, { "u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32",
		  "(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u)" },
	};
	struct hg_arg arg[HG_MAX_ARGS];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(hg_signature_parse(bad[i][0], bad[i][1], arg), -1, "'%s' '%s'", bad[i][0], bad[i][1]);
	cr_assert_eq(hg_signature_parse("", "()", arg), 0);
	cr_assert_eq(hg_signature_parse("<bytes:1 size", "(p, n)", arg), 2);
	cr_assert_eq(arg[0].dir, HG_DIR_READ);
	cr_assert_eq(arg[0].len_arg, 1);
	cr_assert_str_eq(arg[1].name, "n");
}

/* A record of cuModuleGetFunction with a name, in memory of exactly its size. */
static struct hg_rec *function_record(const char *name)
{
	size_t len = strlen(name) + 1, size = sizeof(struct hg_rec) + 24 + ((len + 7) & ~(size_t)7);
	struct hg_rec *rec = calloc(1, size);

	rec->size = (uint32_t)size;
	rec->call = HG_ID_cuModuleGetFunction;
	rec->nr_words = 3;
	rec->seq = 20;
	rec->thread = 1;
	rec->word[0] = 0xabc0;
	rec->word[1] = 17;
	rec->word[2] = HG_BLOB(HG_BLOB_INLINE, len);
	memcpy(&rec->word[3], name, len);
	return rec;
}

Test(record, is_taken_apart_and_printed_by_name)
{
	struct hg_rec *rec = function_record("add");
	struct hg_rec_view v;
	char text[512] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	cr_assert_eq(hg_rec_view(rec, rec->size, &v), HG_OK);
	cr_assert_eq(v.nr_args, 3);
	cr_assert_str_eq((const char *)v.blob[2], "add");
	hg_rec_print(&v, f);
	fclose(f);
	cr_assert_str_eq(text, "20 t1 cuModuleGetFunction(hfunc=0xabc0 -> #20, hmod=#17, name=\"add\") = 0");
	free(rec);
}

Test(record, cut_at_any_byte_is_refused)
{
	struct hg_rec *whole = function_record("a_kernel");
	struct hg_rec_view v;

	for (size_t size = 0; size < whole->size; size++) {
		/* of exactly that size, so that a sanitizer sees a read behind it */
		void *cut = malloc(size + !size);

		memcpy(cut, whole, size);
		cr_assert_eq(hg_rec_view(cut, size, &v), HG_ERR_CORRUPT, "%zu bytes", size);
		free(cut);
	}
	free(whole);
}

Test(record, wrong_lengths_are_refused)
{
	static const uint64_t word2[] = {
		HG_BLOB(HG_BLOB_INLINE, 9), HG_BLOB(HG_BLOB_INLINE, (UINT64_C(1) << 56) - 1),
		HG_BLOB(HG_BLOB_PAYLOAD, 4), HG_BLOB(HG_BLOB_IMAGE, 4), HG_BLOB(77, 4),
		/* a string whose last byte is not its end */
		HG_BLOB(HG_BLOB_INLINE, 3),
	};
	struct hg_rec_view v;
	struct hg_rec *rec;

	for (size_t i = 0; i < sizeof(word2) / sizeof(word2[0]); i++) {
		rec = function_record("add");
		rec->word[2] = word2[i];
		cr_assert_eq(hg_rec_view(rec, rec->size, &v), HG_ERR_CORRUPT, "case %zu", i);
		free(rec);
	}
	for (unsigned int nr = 0; nr < 70000; nr += nr < 10 ? 1 : 6553) {
		rec = function_record("add");
		rec->nr_words = (uint16_t)nr;
		if (rec->nr_words != 3)
			cr_assert_eq(hg_rec_view(rec, rec->size, &v), HG_ERR_CORRUPT, "%u words", nr);
		free(rec);
	}
	rec = function_record("add");
	rec->size = 44;
	cr_assert_eq(hg_rec_view(rec, 64, &v), HG_ERR_CORRUPT);
	rec->size = UINT32_MAX;
	cr_assert_eq(hg_rec_view(rec, 64, &v), HG_ERR_CORRUPT);
	free(rec);
}

Test(record, of_an_unknown_call_is_shown_and_not_decoded)
{
	struct hg_rec *rec = function_record("add");
	struct hg_rec_view v;
	char text[512] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	rec->call = 500;
	cr_assert_eq(hg_rec_view(rec, rec->size, &v), HG_OK);
	cr_assert_null(v.desc);
	cr_assert_eq(v.nr_args, 0);
	hg_rec_print(&v, f);
	fclose(f);
	cr_assert_not_null(strstr(text, "call 500"));
	free(rec);
}
