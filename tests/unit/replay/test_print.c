/* test_print.c - what kernels print and assert, compared with the host's own printf. */
#include "tests/unit/replay/kernel_test.h"
#include "tests/unit/replay/print_test.h"

/* Lane i of those in `active` prints with the arguments at args + 64 i, and stores what printf gave. */
#define PRINT_HEAD ".version 9.0\n.target sm_75\n.address_size 64\n" \
	".extern .func (.param .b32 r) vprintf (.param .b64 f, .param .b64 a);\n" \
	".extern .func __assertfail (.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);\n" \
	".visible .entry k(.param .u64 results, .param .u64 format, .param .u64 args, .param .u32 active) {\n" \
	".reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n" \
	"ld.param.u64 %rd1, [results]; ld.param.u64 %rd2, [format]; ld.param.u64 %rd3, [args]; ld.param.u32 %r1, [active];\n" \
	"mov.u32 %r2, %tid.x; mul.wide.u32 %rd4, %r2, 4; add.u64 %rd1, %rd1, %rd4; mul.wide.u32 %rd4, %r2, 64;\n" \
	"add.u64 %rd3, %rd3, %rd4; shr.u32 %r3, %r1, %r2; and.b32 %r3, %r3, 1; setp.eq.u32 %p1, %r3, 0;\n"
#define PRINT PRINT_HEAD "@%p1 bra out;\n" \
	"{ .param .b64 f; .param .b64 a; .param .b32 r; st.param.b64 [f], %rd2; st.param.b64 [a], %rd3;\n" \
	"call.uni (r), vprintf, (f, a); ld.param.b32 %r4, [r]; }\n" \
	"st.global.u32 [%rd1], %r4;\nout: ret; }\n"
#define ASSERT PRINT_HEAD "@%p1 bra out;\n" \
	"{ .param .b64 m; .param .b64 f; .param .b32 l; .param .b64 n; .param .b64 s;\n" \
	"st.param.b64 [m], %rd2; st.param.b64 [f], %rd2; st.param.b32 [l], 77; st.param.b64 [n], %rd2; st.param.b64 [s], 1;\n" \
	"call.uni __assertfail, (m, f, l, n, s); }\n" \
	"out: st.global.u32 [%rd1], 1; ret; }\n"

struct params { uint64_t results, format, args; uint32_t active; };

static _Alignas(64) unsigned char args[32][64];
static int results[32];

static void run_print(const char *format, uint32_t active)
{
	struct params p = { (uintptr_t)results, (uintptr_t)format, (uintptr_t)args, active };
	struct kernel_run r = { .block = { 32 }, .params = &p, .data = results, .size = sizeof(results) };

	memset(results, 0x55, sizeof(results));
	run_all_ways(PRINT, &r);
}

/* The kernel printed this, once in each of the ways it was run. */
#define WAYS 5
static void expect_printed(const char *once)
{
	char *text = flushed(stdout);
	size_t n = strlen(once);

	cr_expect_eq(strlen(text), WAYS * n, "printed '%s', not five times '%s'", text, once);
	for (int i = 0; i < WAYS && strlen(text) == WAYS * n; i++)
		cr_expect(!memcmp(text + i * n, once, n), "printed '%s', not '%s'", text, once);
	free(text);
}

static void put(unsigned int lane, size_t at, const void *value, size_t size)
{
	memcpy(args[lane] + at, value, size);
}

Test(print, every_lane_that_takes_part_prints_in_order)
{
	static const char format[] = "%d: %5.2f|%-8s|%lld|%c|%%|%hd\n";
	static const char *const word[] = { "a", "bc", "" };
	char want[8192];
	size_t used = 0;

	for (unsigned int i = 0; i < 32; i++) {
		int n = (int)i - 5, c = 'A' + (int)i, h = 70000 + (int)i;
		double d = i * 1.25;
		const char *s = word[i % 3];
		long long l = -((long long)i << 33);

		put(i, 0, &n, 4);
		put(i, 8, &d, 8);
		put(i, 16, &s, 8);
		put(i, 24, &l, 8);
		put(i, 32, &c, 4);
		put(i, 36, &h, 4);
		if (0xdeadbeef >> i & 1)
			used += (size_t)snprintf(want + used, sizeof(want) - used, format, n, d, s, l, c, (short)h);
	}
	run_print(format, 0xdeadbeef);
	expect_printed(want);
	for (unsigned int i = 0; i < 32; i++)
		cr_expect_eq(results[i], 0xdeadbeef >> i & 1 ? 6 : 0x55555555, "lane %u: %d", i, results[i]);
}

/* One conversion of one value, by lane 0, against the host's. */
#define ONE(format, value) do {							\
	char want_[2048];							\
										\
	memset(args[0], 0xa5, sizeof(args[0]));					\
	put(0, 0, &(value), sizeof(value));					\
	snprintf(want_, sizeof(want_), format, value);				\
	run_print(format, 1);							\
	expect_printed(want_);							\
	cr_expect_eq(results[0], 1, "%s gives %d", format, results[0]);		\
} while (0)

Test(print, conversions_are_those_of_the_host, .timeout = 120)
{
	int i = -12345;
	unsigned int u = 0xfedcba98;
	long l = -1234567890123;
	long long ll = 1LL << 62;
	double d = -1234.56789, huge = 1e300, inf = __builtin_inf();
	void *p = (void *)(uintptr_t)0x123456789a;
	const char *s = "a string";

	ONE("%i", i);
	ONE("%+d", i);
	ONE("%010d", i);
	ONE("%-10d|", i);
	ONE("%.8d", i);
	ONE("% d", i);
	ONE("%u", u);
	ONE("%#x", u);
	ONE("%X", u);
	ONE("%#o", u);
	ONE("%ld", l);
	ONE("%lu", l);
	ONE("%llx", ll);
	ONE("%f", d);
	ONE("%e", d);
	ONE("%G", d);
	ONE("%a", d);
	ONE("%+.3f", d);
	ONE("%f", huge);
	ONE("%F", inf);
	ONE("%600.2f", d);
	ONE("%p", p);
	ONE("%s", s);
	ONE("%20s|", s);
	ONE("%.3s|", s);
}

Test(print, a_width_can_be_an_argument)
{
	int three[] = { 9, -42, 7 };

	put(0, 0, three, sizeof(three));
	run_print("[%*d] %d", 1);
	expect_printed("[      -42] 7");
	cr_expect_eq(results[0], 3);
}

Test(print, no_arguments_and_no_format_have_their_own_results)
{
	run_print("plain, 100%%\n", 1);
	expect_printed("plain, 100%\n");
	cr_expect_eq(results[0], 0);
	run_print("%y stays\n", 1);
	expect_printed("%y stays\n");
	run_print(NULL, 1);
	expect_printed("");
	cr_expect_eq(results[0], -1);
}

static enum hg_status run_once(const char *ptx, uint64_t format, uint32_t active, struct hg_fault *fault)
{
	struct params p = { (uintptr_t)results, format, (uintptr_t)args, active };
	struct kernel_run r = { .grid = { 2 }, .block = { 8, 2, 2 }, .params = &p };
	struct hg_grid g = grid_of(&r);
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	struct hg_module *m;
	enum hg_status st;

	setenv("HGSHIM_CACHE", "0", 1);
	k = kernel_of(ptx, &m, &cm);
	st = hg_grid_run(k, &g, fault);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	return st;
}

Test(print, a_bad_string_is_the_kernels_fault_and_others_still_print)
{
	uint64_t bad = 0x10;
	struct hg_fault f;

	cr_assert_eq(run_once(PRINT, 0x10, 1, &f), HG_ERR_FAULT);
	cr_expect_eq(f.cuda_error, 700, "%s", f.what);
	put(0, 0, &bad, 8);
	cr_assert_eq(run_once(PRINT, (uintptr_t)"%s", 1, &f), HG_ERR_FAULT);
	cr_expect_eq(f.cuda_error, 700, "%s", f.what);
	run_print("still\n", 1);
	expect_printed("still\n");
}

Test(print, the_oldest_messages_go_when_there_are_too_many)
{
	char *text;

	for (int i = 0; i < 32; i++)
		put((unsigned int)i, 0, &i, 4);
	hg_print_limit(13);
	run_print("%03d\n", UINT32_MAX);
	text = flushed(stdout);
	cr_expect_str_eq(text, "029\n030\n031\n");
	free(text);
}

Test(print, who_replays_says_nothing)
{
	hg_print_enable(false);
	run_print("hello\n", 1);
	expect_printed("");
	cr_expect_eq(results[0], 0);
}

Test(print, an_assertion_ends_the_launch_and_says_where)
{
	struct hg_fault f = { .what = "" };
	char *text;

	cr_assert_eq(run_once(ASSERT, (uintptr_t)"text", 0, &f), HG_OK, "no lane asserts: %s", f.what);
	cr_assert_eq(run_once(ASSERT, (uintptr_t)"text", 0x20, &f), HG_ERR_FAULT);
	cr_expect_eq(f.cuda_error, 710);
	cr_expect(strstr(f.what, "assertion 'text' failed in text:77, thread (5,"), "%s", f.what);
	cr_expect(strstr(f.what, "kernel 'k', block ("), "%s", f.what);
	text = flushed(stderr);
	cr_expect(strstr(text, "text:77: text: block: ["), "%s", text);
	cr_expect(strstr(text, "thread: [5,0,0] Assertion `text` failed.\n"), "%s", text);
	cr_expect(strstr(text, "thread: [5,1,1] Assertion `text` failed.\n"), "%s", text);
	free(text);
}
