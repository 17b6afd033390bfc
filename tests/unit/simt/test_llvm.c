/* test_llvm.c - the lowest layer of the doubles' executor: LLVM IR of any origin, warps of 64. */
#include <criterion/criterion.h>
#include <llvm-c/IRReader.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "common/msg.h"
#include "tests/drivers/simt/simt_llvm.h"

static uint64_t word[4096];

static uint64_t three_times(uint64_t v)
{
	return 3 * v;
}

static const struct simt_symbol own[] = { { "three_times", (void *)three_times } };

/* Offsets as constants of the text: { env, local, tid[3], lane, warp }, and params at the start of env. */
_Static_assert(offsetof(struct simt_item, env) == 0 && offsetof(struct simt_item, tid) == 16 && offsetof(struct simt_item, lane) == 28 &&
	       offsetof(struct simt_item, warp) == 32 && offsetof(struct simt_env, params) == 0, "the tests' IR knows these");

#define PLACE \
	"  %env = load ptr, ptr %self\n  %params = load ptr, ptr %env\n  %out = load ptr, ptr %params\n" \
	"  %tp = getelementptr i8, ptr %self, i64 16\n  %t = load i32, ptr %tp\n  %t64 = zext i32 %t to i64\n" \
	"  %lp = getelementptr i8, ptr %self, i64 28\n  %lane = load i32, ptr %lp\n  %lane64 = zext i32 %lane to i64\n" \
	"  %mine = getelementptr i64, ptr %out, i64 %t64\n"

static const char text[] =
	"declare i64 @simt_meet(ptr, i32, i64, i64, ptr)\n"
	"declare i64 @simt_active(ptr, ptr, i32)\n"
	"declare void @simt_barrier(ptr, i32, i32)\n"
	"declare i64 @simt_barrier_count(ptr, i32, i32, i1)\n"
	"declare i64 @three_times(i64)\n"
	/* the value of the lane opposite, out of 64 */
	"define void @mirror(ptr %self) {\n"
	"  %vp = alloca ptr\n" PLACE
	"  %x = call i64 @three_times(i64 %t64)\n"
	"  %took = call i64 @simt_meet(ptr %self, i32 1, i64 -1, i64 %x, ptr %vp)\n  %v = load ptr, ptr %vp\n"
	"  %from = xor i64 %lane64, 63\n  %p = getelementptr i64, ptr %v, i64 %from\n  %r = load i64, ptr %p\n"
	"  store i64 %r, ptr %mine\n  %m2 = getelementptr i64, ptr %mine, i64 1024\n  store i64 %took, ptr %m2\n  ret void\n}\n"
	/* who is in which branch; then how many of the block are in lanes above 40 */
	"define void @branch(ptr %self) {\n"
	"  %path = alloca i32\n" PLACE
	"  %low = icmp ult i32 %lane, 40\n  br i1 %low, label %a, label %b\n"
	"a:\n  store i32 1, ptr %path\n  %r1 = call i64 @simt_active(ptr %self, ptr %path, i32 1)\n  br label %c\n"
	"b:\n  store i32 2, ptr %path\n  %r2 = call i64 @simt_active(ptr %self, ptr %path, i32 1)\n  br label %c\n"
	"c:\n  %r = phi i64 [ %r1, %a ], [ %r2, %b ]\n  store i64 %r, ptr %mine\n"
	"  %high = xor i1 %low, true\n  %n = call i64 @simt_barrier_count(ptr %self, i32 0, i32 0, i1 %high)\n"
	"  %m2 = getelementptr i64, ptr %mine, i64 1024\n  store i64 %n, ptr %m2\n  ret void\n}\n";

static struct simt_module *module_of(const char *ir, const struct simt_kernel *k, size_t nr)
{
	LLVMContextRef c = LLVMContextCreate();
	LLVMMemoryBufferRef buf = LLVMCreateMemoryBufferWithMemoryRangeCopy(ir, strlen(ir), "test");
	LLVMModuleRef code;
	struct simt_module *m;
	char *why = NULL;

	cr_assert(!LLVMParseIRInContext(c, buf, &code, &why), "%s", why);
	cr_assert_eq(simt_module_create(own, 1, &m), HG_OK);
	cr_assert_eq(simt_module_add(m, c, code, k, nr), HG_OK);
	return m;
}

Test(simt_llvm, warps_may_have_64_lanes)
{
	static const struct simt_kernel k[] = { { .name = "mirror", .waits = true }, { .name = "branch", .waits = true } };
	struct simt_module *m = module_of(text, k, 2);
	void *params = word;
	struct simt_launch l = { .grid = { 1, 1, 1 }, .block = { 200, 1, 1 }, .warp_size = 64, .params = &params };
	char why[256];

	cr_assert_eq(simt_run(m, &l, why, sizeof(why)), HG_OK, "%s", why);
	for (uint64_t t = 0; t < 192; t++) {
		cr_assert_eq(word[t], 3 * (t ^ 63));
		cr_assert_eq(word[1024 + t], UINT64_MAX);
	}
	/* the last warp has 8 */
	cr_assert_eq(word[1024 + 199], 255);
	l.kernel = 1;
	cr_assert_eq(simt_run(m, &l, why, sizeof(why)), HG_OK, "%s", why);
	for (uint64_t t = 0; t < 192; t++) {
		cr_assert_eq(word[t], t % 64 < 40 ? (UINT64_C(1) << 40) - 1 : UINT64_MAX << 40, "item %u: %llx", (unsigned int)t,
			     (unsigned long long)word[t]);
		cr_assert_eq(word[1024 + t], UINT64_C(200) << 32 | 3 * 24);
	}
	cr_assert_eq(word[199], 255);
	/* the same code in warps of 32 */
	l.warp_size = 32;
	cr_assert_eq(simt_run(m, &l, why, sizeof(why)), HG_OK, "%s", why);
	cr_assert_eq(word[31], UINT32_MAX);
	simt_module_free(m);
}

Test(simt_llvm, modules_that_come_and_go_leave_no_memory_behind)
{
	static const struct simt_kernel k = { .name = "nothing" };
	const struct simt_kernel *found;
	size_t before = 0, after;
	simt_entry entry;

	for (int i = 0; i < 60; i++) {
		struct simt_module *m = module_of("define void @nothing(ptr %self) {\n  ret void\n}\n", &k, 1);

		cr_assert_eq(simt_module_kernel(m, 0, &found, &entry), HG_OK);
		simt_module_free(m);
		if (i == 9)	/* what is made once is there */
			before = mallinfo2().uordblks;
	}
	after = mallinfo2().uordblks;
	cr_assert_lt(after, before + (64 << 10), "%zu bytes more than the %zu of 50 modules before", after - before, before);
}

static void keep_quiet(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

Test(simt_llvm, code_that_calls_what_is_not_there_is_refused)
{
	static const struct simt_kernel k = { .name = "bad" };
	struct simt_module *m = module_of("declare void @nowhere()\ndefine void @bad(ptr %self) {\n  call void @nowhere()\n  ret void\n}\n", &k, 1);
	struct simt_launch l = { .grid = { 1, 1, 1 }, .block = { 1, 1, 1 }, .warp_size = 32 };
	char why[256];

	hg_msg_sink_set(keep_quiet, NULL);
	cr_assert_eq(simt_run(m, &l, why, sizeof(why)), HG_ERR_UNSUPPORTED);
	cr_assert(why[0]);
	/* and again */
	cr_assert_eq(simt_run(m, &l, why, sizeof(why)), HG_ERR_UNSUPPORTED);
	simt_module_free(m);
}

Test(simt_llvm, a_refused_kernel_says_why)
{
	static const struct simt_kernel k = { .name = "k", .refused = "because" };
	struct simt_launch l = { .grid = { 1, 1, 1 }, .block = { 1, 1, 1 }, .warp_size = 32 };
	struct simt_module *m;
	char why[256];

	cr_assert_eq(simt_module_create(NULL, 0, &m), HG_OK);
	cr_assert_eq(simt_module_add(m, NULL, NULL, &k, 1), HG_OK);
	cr_assert_eq(simt_run(m, &l, why, sizeof(why)), HG_ERR_UNSUPPORTED);
	cr_assert_str_eq(why, "because");
	simt_module_free(m);
}

Test(simt_llvm, a_fibre_without_stack_left_is_a_fault)
{
	/* far more than the page below a stack: every page between is touched on the way */
	static const struct simt_kernel k = { .name = "big", .waits = true };
	struct simt_module *m = module_of("declare void @simt_barrier(ptr, i32, i32)\n"
					  "define void @big(ptr %self) {\n  %a = alloca [1000000 x i8]\n"
					  "  %lp = getelementptr i8, ptr %self, i64 28\n  %lane = load i32, ptr %lp\n"
					  "  %p = getelementptr i8, ptr %a, i32 %lane\n  store volatile i8 1, ptr %p\n"
					  "  call void @simt_barrier(ptr %self, i32 0, i32 0)\n  ret void\n}\n", &k, 1);
	struct simt_launch l = { .grid = { 1, 1, 1 }, .block = { 70, 1, 1 }, .warp_size = 32 };
	char why[256];

	cr_assert_eq(simt_run(m, &l, why, sizeof(why)), HG_ERR_FAULT);
	cr_assert(strstr(why, "illegal address"), "%s", why);
	simt_module_free(m);
}
