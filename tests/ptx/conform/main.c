/* main.c - the conformance suite: which forms there are, which cases cover them, and runs these. */
#define _GNU_SOURCE
#include "tests/ptx/conform/conform.h"

#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "translate/ptx_forms.h"

enum { MAX_GROUPS = 24, MAX_FAILURES = 40 };

bool cf_long;
static struct cf_batch *batch;
static size_t nr_batches, cap_batches;
static uint32_t failures;
static const struct cf_batch *current;
static FILE *dump;
static uint64_t seed;

/* Opcodes whose cases are elsewhere, and where: their results are more than registers and memory of one launch. */
static const struct { const char *op, *where; } elsewhere[] = {
	{ "mma", "tests/unit/matrix_cases.h" }, { "wmma", "tests/unit/matrix_cases.h" }, { "ldmatrix", "tests/unit/matrix_cases.h" },
	{ "stmatrix", "tests/unit/matrix_cases.h" }, { "movmatrix", "tests/unit/matrix_cases.h" },
	{ "mbarrier", "tests/unit/replay/test_memory.c" }, { "cp", "tests/unit/replay/test_memory.c" },
	{ "bar", "tests/unit/grid_cases.h" }, { "barrier", "tests/unit/grid_cases.h" },
};

static const struct ptx_form *form;
static size_t nr_forms;

/* What of each row is covered: bit maps of the combinations of its groups, and of each cycled group's words. */
struct cover { uint32_t combinations; unsigned char *combination; unsigned char word[MAX_GROUPS][64]; };
static struct cover *cover;

/* --- messages ---- */
void cf_fail(const char *fmt, ...)
{
	va_list ap;

	if (failures++ >= MAX_FAILURES)
		return;
	va_start(ap, fmt);
	fputs("not ok: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

void cf_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("conform: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(2);
}

char *cf_text(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		cf_die("out of memory");
	va_end(ap);
	return text;
}

void *cf_alloc(size_t size)
{
	void *p = aligned_alloc(256, (size + 255) / 256 * 256 + 256);

	if (!p)
		cf_die("out of memory");
	return memset(p, 0, size);
}

uint64_t cf_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 2685821657736338717u;
}

void cf_add(void (*run)(const struct cf_batch *b), const struct cf_case *item, size_t nr, const void *arg)
{
	struct cf_batch *b;

	if (nr_batches == cap_batches) {
		cap_batches = cap_batches ? 2 * cap_batches : 256;
		batch = realloc(batch, cap_batches * sizeof(*batch));
	}
	b = &batch[nr_batches++];
	*b = (struct cf_batch){ .run = run, .item = malloc(nr * sizeof(*item)), .nr = nr, .arg = arg,
				.seed = (seed + nr_batches) * 0x9e3779b97f4a7c15u | 1 };
	memcpy(b->item, item, nr * sizeof(*item));
}

/* --- forms ---- */
static unsigned int alternatives(const struct ptx_form_group *g)
{
	return g->nr + g->optional;
}

void cf_forms(const char *op, void (*one)(const char *form, void *arg), void *arg)
{
	for (size_t f = 0; f < nr_forms; f++) {
		uint32_t nr = cover[f].combinations;

		if (strcmp(ptx_word_text(form[f].op), op))
			continue;
		for (uint32_t g = 0; g < form[f].nr_groups; g++)
			if (form[f].group[g].cycled && alternatives(&form[f].group[g]) > nr)
				nr = alternatives(&form[f].group[g]);
		for (uint32_t i = 0; i < nr; i++) {
			char *text = cf_text("%s", op);
			uint32_t rest = i % cover[f].combinations, turn = i;

			for (uint32_t g = 0; g < form[f].nr_groups; g++) {
				const struct ptx_form_group *gr = &form[f].group[g];
				unsigned int a = alternatives(gr), which = gr->cycled ? turn++ % a : rest % a;

				if (!gr->cycled)
					rest /= a;
				if (which < gr->nr)
					text = cf_text("%s.%s", text, ptx_word_text(gr->word[which]));
			}
			one(text, arg);
		}
	}
}

bool cf_has(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *s = text; (s = strstr(s, word)); s += n)
		if (s > text && s[-1] == '.' && (!s[n] || s[n] == '.'))
			return true;
	return false;
}

/* Words of a form, from behind the opcode. */
static const char *next_word(const char *s, size_t *size)
{
	*size = strcspn(s, ". \t\n;");
	return s;
}

const char *cf_type(const char *text, int n)
{
	static char kept[4][16];
	static unsigned int turn;
	const char *s = strchr(text, '.');

	while (s && *s == '.') {
		size_t size;

		s = next_word(s + 1, &size);
		if (ptx_word_type(ptx_word_find(s, size)) != IR_NONE && !n--) {
			char *t = kept[turn++ % 4];

			memcpy(t, s, size);
			t[size] = 0;
			return t;
		}
		s += size;
	}
	return "";
}

unsigned int cf_bits(const char *type)
{
	unsigned int n = (unsigned int)strtoul(type + strcspn(type, "0123456789"), NULL, 10);

	return strstr(type, "x2") ? 2 * n : n;
}

/* One instruction of a case; everything it is a form of is covered. */
static void cover_one(const char *s, size_t size)
{
	const char *end = s + size, *op;
	uint16_t mod[64];
	uint8_t choice[MAX_GROUPS];
	size_t n, nr = 0, opds = 0, depth = 0;
	enum ptx_word word;
	bool found = false;

	for (;;) {		/* labels and a guard go before */
		s += strspn(s, " \t\n{");
		n = strcspn(s, " \t\n:;");
		if (s[n] == ':' && s[n + 1] != ':' && s + n < end)
			s += n + 1;
		else if (*s == '@')
			s += n;
		else
			break;
	}
	if (s >= end || *s == '.' || *s == '}')
		return;		/* a declaration */
	op = next_word(s, &n);
	word = ptx_word_find(op, n);
	for (s += n; *s == '.' && nr < 64; s += n) {
		s = next_word(s + 1, &n);
		mod[nr++] = (uint16_t)ptx_word_find(s, n);
	}
	for (s += strspn(s, " \t\n"); s < end; s++) {
		opds += !opds;
		depth += *s == '{' || *s == '[' || *s == '(';
		depth -= *s == '}' || *s == ']' || *s == ')';
		opds += *s == ',' && !depth;
	}
	for (size_t f = 0; f < nr_forms; f++) {
		uint32_t at = 0, scale = 1;

		if (form[f].op != word || !ptx_form_matches(&form[f], mod, nr, opds, choice))
			continue;
		found = true;
		for (uint32_t g = 0; g < form[f].nr_groups; g++) {
			if (form[f].group[g].cycled) {
				cover[f].word[g][choice[g]] = 1;
			} else {
				at += choice[g] * scale;
				scale *= alternatives(&form[f].group[g]);
			}
		}
		cover[f].combination[at] = 1;
	}
	if (!found)
		cf_die("a case has '%.*s', which is no form of ptx_forms.def", (int)size, op);
}

static void cover_text(const char *s)
{
	while (*s) {
		size_t n = strcspn(s, ";");

		cover_one(s, n);
		s += n + (s[n] == ';');
	}
}

static void read_forms(void)
{
	form = ptx_forms(&nr_forms);
	cover = calloc(nr_forms, sizeof(*cover));
	for (size_t f = 0; f < nr_forms; f++) {
		cover[f].combinations = 1;
		if (form[f].nr_groups > MAX_GROUPS)
			cf_die("a row has too many groups");
		for (uint32_t g = 0; g < form[f].nr_groups; g++)
			if (!form[f].group[g].cycled)
				cover[f].combinations *= alternatives(&form[f].group[g]);
		cover[f].combination = calloc(cover[f].combinations, 1);
	}
}

/* Names what no case covers; false if there is something. */
static bool is_complete(void)
{
	size_t rows = 0, forms = 0, good_rows = 0, good_forms = 0, named = 0, others = 0;

	for (size_t b = 0; b < nr_batches; b++)
		for (size_t i = 0; i < batch[b].nr; i++)
			cover_text(batch[b].item[i].insn);
	for (size_t f = 0; f < nr_forms; f++) {
		bool good = true;
		size_t o = 0;

		while (o < CF_NR(elsewhere) && strcmp(elsewhere[o].op, ptx_word_text(form[f].op)))
			o++;
		if (o < CF_NR(elsewhere)) {
			others++;
			continue;
		}
		for (uint32_t i = 0; i < cover[f].combinations; i++) {
			uint32_t rest = i;

			forms++;
			good_forms += cover[f].combination[i];
			if (cover[f].combination[i])
				continue;
			good = false;
			if (named++ >= MAX_FAILURES)
				continue;
			fprintf(stderr, "not ok: no case for %s", ptx_word_text(form[f].op));
			for (uint32_t g = 0; g < form[f].nr_groups; g++) {
				const struct ptx_form_group *gr = &form[f].group[g];

				if (gr->cycled)
					continue;
				if (rest % alternatives(gr) < gr->nr)
					fprintf(stderr, ".%s", ptx_word_text(gr->word[rest % alternatives(gr)]));
				rest /= alternatives(gr);
			}
			fprintf(stderr, " (row '%s %s')\n", ptx_word_text(form[f].op), form[f].words);
		}
		for (uint32_t g = 0; g < form[f].nr_groups; g++)
			for (unsigned int w = 0; form[f].group[g].cycled && w < alternatives(&form[f].group[g]); w++) {
				const struct ptx_form_group *gr = &form[f].group[g];

				if (cover[f].word[g][w])
					continue;
				good = false;
				if (named++ < MAX_FAILURES)
					fprintf(stderr, "not ok: no case of '%s %s' has '%s'\n", ptx_word_text(form[f].op), form[f].words,
						w < gr->nr ? ptx_word_text(gr->word[w]) : "none of a group");
			}
		rows++;
		good_rows += good;
	}
	printf("forms: %zu of %zu rows of the table covered here, %zu more have their cases elsewhere; %zu of %zu forms written out\n", good_rows,
	       rows + others, others, good_forms, forms);
	fflush(stdout);
	return good_rows == rows;
}

/* --- running ---- */
void cf_ran(const struct cf_buffer *buf, size_t nr_bufs)
{
	if (!dump)
		return;
	fprintf(dump, "%.60s", current->item[0].insn);
	for (size_t b = 0; b < nr_bufs; b++) {
		uint64_t h = 0xcbf29ce484222325u;

		for (size_t i = 0; i < buf[b].size; i++)
			h = (h ^ ((const unsigned char *)buf[b].data)[i]) * 0x100000001b3u;
		fprintf(dump, " %016llx", (unsigned long long)h);
	}
	fputc('\n', dump);
}

static int run_share(size_t first, size_t step, const char *only)
{
	for (size_t b = first; b < nr_batches; b += step) {
		bool wanted = !only;

		for (size_t i = 0; i < batch[b].nr && !wanted; i++)
			wanted = strstr(batch[b].item[i].insn, only);
		current = &batch[b];
		if (wanted)
			batch[b].run(&batch[b]);
	}
	if (failures > MAX_FAILURES)
		fprintf(stderr, "and %u more\n", failures - MAX_FAILURES);
	return failures != 0;
}

int main(int argc, char **argv)
{
	const char *only = NULL, *file = NULL, *given = getenv("HG_SEED");
	long jobs = 2;
	bool good, list = false;

	cf_long = getenv("HG_LONG") && *getenv("HG_LONG") == '1';
	seed = given ? strtoull(given, NULL, 0) : 1;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--only") && i + 1 < argc) {
			only = argv[++i];
		} else if (!strcmp(argv[i], "--jobs") && i + 1 < argc) {
			jobs = strtol(argv[++i], NULL, 10);
		} else if (!strcmp(argv[i], "--dump") && i + 1 < argc) {
			file = argv[++i];
			jobs = 1;
		} else if (!strcmp(argv[i], "--covered")) {
			list = true;
		} else {
			fprintf(stderr, "usage: conform [--only TEXT] [--jobs N] [--dump FILE] [--covered]\n"
					"TEXT: batches with it in an instruction. FILE: a digest of every result. --covered: runs nothing\n");
			return 2;
		}
	}
	setenv("HGSHIM_CACHE", "0", 0);
	read_forms();
	cf_scalar_int();
	cf_scalar_float();
	cf_scalar_cvt();
	cf_scalar_video();
	cf_approx();
	cf_memory();
	cf_atomics();
	cf_lanes();
	good = is_complete();
	if (list)
		return !good;
	printf("seed %llu (HG_SEED), %s\n", (unsigned long long)seed, cf_long ? "10^6 random inputs" : "3000 random inputs (10^6 with HG_LONG=1)");
	fflush(stdout);
	if (file && !(dump = fopen(file, "w")))
		cf_die("cannot write '%s'", file);
	if (jobs < 2) {
		good &= !run_share(0, 1, only);
	} else {
		setenv("HGSHIM_THREADS", "1", 0);
		for (long j = 0; j < jobs; j++)
			if (!fork())
				_exit(run_share((size_t)j, (size_t)jobs, only));
		for (int status; wait(&status) > 0;)
			good &= WIFEXITED(status) && !WEXITSTATUS(status);
	}
	if (dump)
		fclose(dump);
	printf("%s\n", good ? "ok conform" : "not ok conform");
	return !good;
}
