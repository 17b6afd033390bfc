/* test_matrix.c - matrices by the doubles' executor. */
#include "tests/unit/simt/simt_test.h"

static void run_once(const char *ptx, const struct kernel_run *r)
{
	struct hg_module *m = load_text(ptx);
	char why[256] = "";
	enum hg_status st = simt_once(hg_module_ir(m), 0, r, NULL, why, sizeof(why));

	cr_assert_eq(st, HG_OK, "%s: %s", hg_status_text(st), why);
	hg_module_free(m);
}

#define MATRIX_SUITE simt_matrix
#define MATRIX_RUN run_once
#include "tests/unit/matrix_cases.h"
