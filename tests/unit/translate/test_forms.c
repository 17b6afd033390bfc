/* test_forms.c - the table of PTX forms. */
#include "tests/unit/translate/code_util.h"

#include "translate/lower.h"
#include "translate/ptx_forms.h"

Test(forms, every_row_is_well_formed_and_every_opcode_has_rows)
{
	size_t nr;
	const struct ptx_form *f = ptx_forms(&nr);

	for (size_t i = 0; i < nr; i++) {
		cr_expect(lower_knows(f[i].op), "'%s' has a row, and nobody lowers it", ptx_word_text(f[i].op));
		for (uint32_t g = 0; g < f[i].nr_groups; g++)
			for (uint32_t w = 0; w < f[i].group[g].nr; w++)
				cr_expect(f[i].group[g].word[w] != PTX_W_NONE, "'%s %s': a word of group %u is none of ptx_words.def",
					  ptx_word_text(f[i].op), f[i].words, g);
	}
	for (enum ptx_word op = 1; op < PTX_W_COUNT; op++)
		cr_expect(lower_knows(op) == ptx_form_has(op), "'%s' is lowered, and has no row in ptx_forms.def", ptx_word_text(op));
}

Test(forms, what_is_not_in_the_table_is_refused_by_name)
{
	static const char *const wrong[] = {
		"sub.u16x2 %r1, %r2, %r3", "setp.lo.s32 %p1, %r1, %r2", "add.rn.rn.f32 %f1, %f2, %f3", "mul.ftz.f64 %fd1, %fd2, %fd3",
		"shfl.sync.idx.u32 %r1, %r2, 0, 31, -1", "min.f32 %f1, %f2", "pmevent.sync 1", "cvt.sat.u32.u16 %r1, %h1",
		"fma.f64 %fd1, %fd2, %fd3, %fd4", "ld.global.relaxed.u32 %r1, [%rd1]", "griddepcontrol.ca",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char body[256], ptx[2048], log[2048] = "";
		struct hg_module *m = NULL;
		enum hg_status st;

		snprintf(body, sizeof(body), "%s; ret;", wrong[i]);
		st = hg_module_load(kernel_around("", body, "", ptx, sizeof(ptx)), 0, 120, log, sizeof(log), &m);
		cr_expect(st || hg_module_kernel(m, 0)->refused, "'%s' is taken", wrong[i]);
		hg_module_free(m);
	}
}

/* ptxas takes words in any order, but types and layouts keep theirs. */
Test(forms, words_stand_in_any_order)
{
	static const struct { const char *words; bool is; } list[] = {
		{ "ld cs global u32", true }, { "ld u32 global", true }, { "ld global u32 u32", false }, { "add f32 rn ftz", true },
		{ "add ftz f32 ftz", false }, { "cvt rn f16x2 e4m3x2", true }, { "cvt rn e4m3x2 f16x2", false }, { "vote ballot sync b32", true },
		{ "mma sync aligned m16n8k16 row col f32 f16 f16 f32", true }, { "mma sync aligned m16n8k16 col row f32 f16 f16 f32", false },
		{ "mma m16n8k16 row sync col f32 f16 aligned f16 f32", true }, { "mma sync aligned m16n8k16 row col f16 f16 f16 f32", false },
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		uint16_t word[16];
		size_t n = 0;

		for (const char *s = list[i].words; *s; n++) {
			size_t size = strcspn(s, " ");

			word[n] = (uint16_t)ptx_word_find(s, size);
			cr_assert(word[n], "%s", s);
			s += size + (s[size] != 0);
		}
		cr_expect_eq(ptx_form_find(word[0], word + 1, n - 1, 2) != NULL, list[i].is, "%s", list[i].words);
	}
}
