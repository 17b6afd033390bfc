/* approx.c - the approximations of f32, within the errors that PTX states; the largest that was seen is printed. */
#include "tests/ptx/conform/scalar.h"

#include <math.h>

enum kind { RELATIVE, ABSOLUTE, ULP };

/* What the manual promises: of a function, and of its error. */
struct approx {
	const char *name;
	double (*exact)(double);
	enum kind kind;
	double bound;
	double worst;	/* error seen, in bounds */
};

static float to_f(uint64_t v)
{
	uint32_t u = (uint32_t)v;
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

static double flush(double v)
{
	return fabs(v) < 0x1p-126 ? copysign(0, v) : v;
}

/* Of an f32 that is nearest to v. */
static double ulp(double v)
{
	int e;

	frexp(v, &e);
	return ldexp(1, e - 24 < -149 ? -149 : e - 24);
}

/* z: with .ftz. slack: an error that is allowed besides. */
static bool is_near(const struct scalar_row *r, double want, uint64_t got, double allowed, double *worst)
{
	double g = to_f(got), error;

	if (want != want)
		return (uint32_t)got == 0x7fffffff;
	if (r->z && fabs(want) < 0x1p-126 * (1 - 0x1p-20))
		return g == 0 && !signbit(g) == !signbit(want);
	if (want == 0 || isinf(want))
		return g == want && !signbit(g) == !signbit(want);
	if (isinf(g))
		return fabs(want) + allowed >= 0x1p128 && (g > 0) == (want > 0);
	if (r->z && g == 0 && fabs(want) < 0x1p-126 * (1 + 0x1p-20))
		return true;	/* at the edge of what is flushed */
	if (!r->z && fabs(want) < 0x1p-126)
		allowed += 0x1p-149;
	error = fabs(g - want);
	if (worst && error / allowed > *worst)
		*worst = error / allowed;
	return error <= allowed;
}

static double rcp(double x) { return 1 / x; }
static double rsqrt(double x) { return 1 / sqrt(x); }

static bool near_one(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t got)
{
	struct approx *f = (struct approx *)(uintptr_t)r->p;
	double x = r->z ? flush(to_f(a)) : to_f(a), want = f->exact(x), bound = f->bound;

	(void)b;
	if (f->exact == log2 && (x < 0.5 || x > 2) && x > 0 && !isinf(x))
		return is_near(r, want, got, fabs(want) * bound, &f->worst);
	if ((f->exact == sin || f->exact == cos) && fabs(x) > 2 * M_PI && !isinf(x)) {
		if (fabs(x) > 100 * M_PI)	/* nothing is promised, but that it is a sine */
			return fabs(to_f(got)) <= 1;
		return is_near(r, want, got, exp2(-14.7), NULL);
	}
	return is_near(r, want, got, f->kind == RELATIVE ? fabs(want) * bound : f->kind == ULP ? ulp(want) * bound : bound, &f->worst);
}

static void report(const struct scalar_row *r)
{
	const struct approx *f = r->p;

	printf("%.*s: largest error %.3f of the bound %g%s\n", (int)strcspn(r->insn, " "), r->insn, f->worst, f->bound,
	       f->kind == ULP ? " ulp" : f->kind == RELATIVE ? " relative" : "");
	fflush(stdout);
}

/* x: div.full. PTX ISA, div: two ulp, of .approx for |b| from 2^-126 to 2^126; beyond that 0, or NaN of an infinity. */
static bool near_div(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t got)
{
	struct approx *f = (struct approx *)(uintptr_t)r->p;
	double x = to_f(a), y = to_f(b), want;

	if (r->z) {
		x = flush(x);
		y = flush(y);
	}
	want = x / y;
	if (!r->x && fabs(y) > 0x1p126 && !isinf(y))
		want = isinf(x) || x != x ? NAN : copysign(0, want);
	else if (!r->x && y != 0 && fabs(y) < 0x1p-126)
		return true;	/* no bound is stated */
	if (fabs(want) >= 0x1p128)
		want = copysign(INFINITY, want);
	return is_near(r, want, got, ulp(want) * f->bound, &f->worst);
}

static uint64_t rsqrt_d(const struct scalar_row *r, uint64_t a, uint64_t b, uint64_t c)
{
	double x, v;
	uint64_t u;

	(void)r;
	(void)b;
	(void)c;
	memcpy(&x, &a, sizeof(x));
	v = 1 / sqrt(x);
	memcpy(&u, &v, sizeof(u));
	return v != v ? UINT64_C(0xfff8000000000000) : u;
}

void cf_approx(void)
{
	static struct approx list[] = {
		{ "rcp", rcp, ULP, 1, 0 }, { "sqrt", sqrt, RELATIVE, 0x1p-23, 0 }, { "rsqrt", rsqrt, RELATIVE, 0x1.12p-23, 0 },
		{ "sin", sin, ABSOLUTE, 0x1.6ap-21, 0 }, { "cos", cos, ABSOLUTE, 0x1.6ap-21, 0 }, { "lg2", log2, ABSOLUTE, 0x1p-22, 0 },
		{ "ex2", exp2, RELATIVE, 0x1p-22, 0 }, { "tanh", tanh, RELATIVE, 0x1p-11, 0 }, { "div.approx", NULL, ULP, 2, 0 },
		{ "div.full", NULL, ULP, 2, 0 },
	};
	static struct approx each[CF_NR(list) * 2];
	static struct scalar_row rows[CF_NR(list) * 2 + 1];
	size_t n = 0;

	for (size_t i = 0; i < CF_NR(list); i++)
		for (int ftz = 0; ftz < 2; ftz++) {
			bool div = !list[i].exact;

			if (ftz && list[i].exact == tanh)
				continue;
			each[n] = list[i];
			rows[n] = (struct scalar_row){
				.insn = cf_text(div ? "%s%s.f32 %%f4, %%f1, %%f2;" : "%s.approx%s.f32 %%f4, %%f1;", list[i].name, ftz ? ".ftz" : ""),
				.in = div ? "ff" : "f", .out = 'f', .z = ftz, .x = !strcmp(list[i].name, "div.full"), .p = &each[n],
				.near = div ? near_div : near_one, .report = report };
			n++;
		}
	/* nothing is said of its error; it is the division by the root, each correctly rounded */
	rows[n++] = (struct scalar_row){ .insn = "rsqrt.approx.f64 %fd4, %fd1;", .in = "g", .out = 'g', .ref = rsqrt_d };
	scalar_add(rows, n);
}
