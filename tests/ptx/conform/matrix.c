/* matrix.c - mma, wmma, ldmatrix, stmatrix and movmatrix in every form, with the checks of tests/unit/matrix_cases.h. */
#include "tests/ptx/conform/conform.h"

/* What matrix_cases.h wants of its suite: to run a kernel, and to say what is wrong. */
struct kernel_run { uint32_t grid[3], block[3]; const void *params; void *data; size_t size; };

static const struct cf_batch *now;

static void run_kernel(const char *ptx, const struct kernel_run *r)
{
	struct cf_buffer buf = { r->data, r->size };
	uint64_t seed = now->seed;
	uint32_t n = 0;

	cf_run(ptx, r->grid[0] ? r->grid[0] : 1, r->block[0], &buf, 1, &n, sizeof(n), cf_long || cf_random(&seed) >> 62 == 0);
}

#define cr_assert(cond, ...) cf_check(cond, "" __VA_ARGS__)
#define cr_assert_eq(a, b, ...) do { if ((a) != (b)) { cf_fail("a matrix: " __VA_ARGS__); return; } } while (0)
#define cr_assert_arr_eq(a, b, size, ...) cf_check(!memcmp(a, b, size), "a matrix: " __VA_ARGS__)
#define PTX_HEAD CF_HEAD
#define KERNEL_HEAD PTX_HEAD ".visible .entry k(.param .u64 p, .param .u32 n) {\n" \
	".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .f32 %f<9>;\n.reg .b64 %rd<9>; .reg .f64 %fd<9>;\n"

static char *kernel_around(const char *before, const char *body, const char *after, char *buf, size_t size)
{
	snprintf(buf, size, "%s%s%s\n}\n%s", KERNEL_HEAD, before, body, after);
	return buf;
}

#define MATRIX_RUN run_kernel
#include "tests/unit/matrix_cases.h"

static enum elem elem_named(const char *s, size_t size)
{
	for (size_t i = 0; i < CF_NR(elem_info); i++)
		if (strlen(elem_info[i].name) == size && !memcmp(elem_info[i].name, s, size))
			return (enum elem)i;
	return (enum elem)-1;
}

/* The types, layouts and shape of a form. */
struct parts { enum elem type[4]; unsigned int nr_types, m, n, k, nr_layouts; bool col[2]; char shape[16]; };

static struct parts parts_of(const char *form)
{
	struct parts p = { .nr_types = 0 };

	for (const char *s = form; (s = strchr(s, '.'));) {
		size_t size = strcspn(++s, ".");
		enum elem e = elem_named(s, size);
		unsigned int m, n, k;

		if (e != (enum elem)-1 && p.nr_types < 4) {
			p.type[p.nr_types++] = e;
		} else if (size == 3 && (!memcmp(s, "row", 3) || !memcmp(s, "col", 3)) && p.nr_layouts < 2) {
			p.col[p.nr_layouts++] = *s == 'c';
		} else if (sscanf(s, "m%un%uk%u", &m, &n, &k) == 3) {
			p.m = m;
			p.n = n;
			p.k = k;
			memcpy(p.shape, s, size);
			p.shape[size] = 0;
		}
	}
	return p;
}

static void run_mma(const struct cf_batch *b)
{
	const char *form = b->item[0].arg;
	struct parts p = parts_of(form);
	char bit_op = cf_has(form, "xor") ? 'x' : cf_has(form, "and") ? 'a' : 0;

	now = b;
	check_mma(p.shape, bit_op == 'x' ? ".xor.popc" : bit_op ? ".and.popc" : cf_has(form, "satfinite") ? ".satfinite" : cf_has(form, "rn") ? ".rn" : "",
		  p.m, p.n, p.k, p.type[1], p.type[2], p.type[3], p.type[0], p.col[0] ? "col" : "row", p.col[1] ? "col" : "row",
		  cf_has(form, "satfinite"), bit_op);
}

static void one_mma(const char *form, void *arg)
{
	struct cf_case item = { cf_text("%s d, a, b, c;", form), form };

	(void)arg;
	cf_add(run_mma, &item, 1, NULL);
}

static void run_wmma(const struct cf_batch *b)
{
	now = b;
	check_wmma(b->item[0].arg);
}

static const char *layout(bool col)
{
	return col ? "col" : "row";
}

/* A product in memory: what it loads, multiplies and stores. */
static void add_wmma(struct wmma w)
{
	struct wmma *keep = malloc(sizeof(*keep));
	const char *space = !strcmp(w.space, "to shared") ? "" : w.space, *op = w.bit_op == 'x' ? ".xor.popc" : w.bit_op ? ".and.popc" : "";
	char *shape = cf_text("m%un%uk%u", w.m, w.n, w.k), *types;
	struct cf_case item;

	*keep = w;
	if (w.a == F16)
		types = cf_text("%s.%s", elem_info[w.d].name, elem_info[w.c].name);
	else
		types = cf_text("%s.%s.%s.%s%s", elem_info[w.d].name, elem_info[w.a].name, elem_info[w.b].name, elem_info[w.c].name, w.sat ? ".satfinite" : w.rn ? ".rn" : "");
	item = (struct cf_case){ cf_text("wmma.load.a.sync.aligned.%s.%s%s.%s; wmma.load.b.sync.aligned.%s.%s%s.%s; wmma.load.c.sync.aligned.%s.%s%s.%s;"
		"wmma.mma%s.sync.aligned.%s.%s.%s.%s; wmma.store.d.sync.aligned.%s.%s%s.%s;", layout(w.a_col), shape, space, elem_info[w.a].name,
		layout(w.b_col), shape, space, elem_info[w.b].name, layout(w.c_col), shape, space, elem_info[w.c].name, op, layout(w.a_col),
		layout(w.b_col), shape, types, layout(w.d_col), shape, space, elem_info[w.d].name), keep };
	cf_add(run_wmma, &item, 1, NULL);
}

static void add_all(struct wmma w, unsigned int pad, bool fixed)
{
	static const char *const space[] = { "", ".shared", ".global", ".shared::cta" };
	static unsigned int turn;

	turn++;
	for (unsigned int i = 0; i < 4; i++) {
		w.a_col = !fixed && i & 1;
		w.b_col = fixed || i & 2;
		w.c_col = (i ^ i >> 1) & 1;
		w.d_col = i & 2;
		w.space = space[(i + turn) % 4];
		if (!*w.space && turn & 1)
			w.space = "to shared";
		w.pad = (i + turn) & 2 ? 0 : pad;
		add_wmma(w);
	}
}

static void run_rows_of(const struct cf_batch *b)
{
	now = b;
	if (b->arg)
		movmatrix_transposes();
	else
		ldmatrix_and_stmatrix();
}

static struct cf_case row_case[64];
static size_t nr_rows_cases;

static void one_row(const char *form, void *arg)
{
	(void)arg;
	row_case[nr_rows_cases++] = (struct cf_case){ cf_text("%s;", form), form };
}

void cf_matrix(void)
{
	static const struct { enum elem a, c, d; bool sat; } list[] = {
		{ F16, F32, F32, false }, { F16, F16, F16, false }, { F16, F16, F32, false }, { F16, F32, F16, false }, { BF16, F32, F32, false },
		{ S8, S32, S32, false }, { S8, S32, S32, true }, { U8, S32, S32, false }, { U8, S32, S32, true },
	};
	struct cf_case mov = { "movmatrix.sync.aligned.m8n8.trans.b16 d, a;", NULL };

	cf_forms("mma", one_mma, NULL);
	for (size_t i = 0; i < CF_NR(list); i++)
		for (int s = 0; s < 3; s++)
			add_all(WMMA(s, list[i].a, list[i].a, list[i].c, list[i].d, .sat = list[i].sat), 16, false);
	add_all(WMMA_OF(16, 16, 8, TF32, TF32, F32, F32), 4, false);
	add_all(WMMA_OF(8, 8, 4, F64, F64, F64, F64), 2, false);
	add_all(WMMA_OF(8, 8, 4, F64, F64, F64, F64, .rn = true), 2, false);
	for (int sat = 0; sat < 2; sat++) {
		add_all(WMMA_OF(8, 8, 32, S4, S4, S32, S32, .sat = sat), 32, true);
		add_all(WMMA_OF(8, 8, 32, U4, U4, S32, S32, .sat = sat), 32, true);
	}
	add_all(WMMA_OF(8, 8, 128, B1, B1, S32, S32, .bit_op = 'x'), 128, true);
	add_all(WMMA_OF(8, 8, 128, B1, B1, S32, S32, .bit_op = 'a'), 128, true);
	/* the check goes through all of them */
	cf_forms("ldmatrix", one_row, NULL);
	cf_forms("stmatrix", one_row, NULL);
	cf_add(run_rows_of, row_case, nr_rows_cases, NULL);
	cf_add(run_rows_of, &mov, 1, "movmatrix");
}
