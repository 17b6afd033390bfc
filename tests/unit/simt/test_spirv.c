/* test_spirv.c - the executor of SPIR-V: kernels in its assembly, in sub-groups of 32, against plain C. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/drivers/simt/simt_spirv.h"

#define MODULE(name) \
	extern const uint32_t name##_spv[], name##_spv_end[]; \
	__asm__(".pushsection .rodata\n.balign 4\n.hidden " #name "_spv\n.global " #name "_spv\n" #name "_spv:\n.incbin \"" HG_SPIRV_DIR "/" \
		#name ".spv\"\n.hidden " #name "_spv_end\n.global " #name "_spv_end\n" #name "_spv_end:\n.popsection\n");
MODULE(kernels)
MODULE(contract)

static uint32_t out[4096], expect[4096];

static enum hg_status get(const char *name, struct simt_spirv **k, char *why, size_t why_size)
{
	return simt_spirv_get(kernels_spv, (size_t)((const char *)kernels_spv_end - (const char *)kernels_spv), name, k, why, why_size);
}

/* The only arguments are `out` and, with local_bytes, local memory. */
static enum hg_status try_run(const char *name, uint32_t grid, uint32_t block, uint32_t local_bytes, char *why, size_t why_size)
{
	void *p = out;
	struct simt_spirv_arg arg[] = { { .value = &p }, { .local_bytes = local_bytes } };
	struct simt_spirv_launch l = { .grid = { grid, 1, 1 }, .block = { block, 1, 1 }, .arg = arg, .nr_args = local_bytes ? 2 : 1 };
	struct simt_spirv *k;
	enum hg_status st = get(name, &k, why, why_size);

	cr_assert_eq(st, HG_OK, "%s: %s", name, why);
	st = simt_spirv_run(k, &l, why, why_size);
	simt_spirv_put(k);
	return st;
}

static void must_run(const char *name, uint32_t grid, uint32_t block, uint32_t local_bytes)
{
	char why[256];
	enum hg_status st = try_run(name, grid, block, local_bytes, why, sizeof(why));

	cr_assert_eq(st, HG_OK, "%s: %s: %s", name, hg_status_text(st), why);
}

static void must_fault(const char *name, uint32_t grid, uint32_t block, uint32_t local_bytes, const char *says)
{
	char why[256];
	enum hg_status st = try_run(name, grid, block, local_bytes, why, sizeof(why));

	cr_assert_eq(st, HG_ERR_FAULT, "%s: %s", name, hg_status_text(st));
	cr_assert(strstr(why, says), "%s: '%s' does not say '%s'", name, why, says);
}

static void same(size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		cr_assert_eq(out[i], expect[i], "word %zu is 0x%x, not 0x%x", i, out[i], expect[i]);
}

/* ---- sub-groups ---- */

Test(spirv, lanes_vote_and_shuffle_and_those_that_parted_do_so_apart)
{
	enum { BLOCK = 64, GROUPS = 3 };

	must_run("lanes", GROUPS, BLOCK, 0);
	for (uint32_t n = 0; n < BLOCK * GROUPS; n++) {
		uint32_t lane = n % 32, other = n - lane + (lane ^ 5);
		uint32_t ballot = lane < 7 ? 0x7f : 0xaaaaaaaa & ~0x7fu, first = lane < 7 ? n - lane : n - lane + 7;

		expect[n] = (0xaaaaaaaau ^ other * other) + ballot * 31 + first * 1000;
	}
	same(BLOCK * GROUPS);
}

Test(spirv, the_last_sub_group_of_a_group_may_be_short)
{
	must_run("lanes", 1, 40, 0);
	/* lanes 0 to 7 alone; those that lanes 0 to 7 read with ^ 5 are there */
	for (uint32_t n = 32; n < 40; n++) {
		uint32_t lane = n % 32, other = n - lane + (lane ^ 5);

		expect[n] = (0xaau ^ other * other) + (lane < 7 ? 0x7fu : 0x80u) * 31 + (lane < 7 ? 32u : 39u) * 1000;
		cr_assert_eq(out[n], expect[n], "lane %u: 0x%x, not 0x%x", lane, out[n], expect[n]);
	}
}

Test(spirv, operations_of_sub_groups_need_a_size)
{
	struct simt_spirv *k;
	char why[256];

	cr_assert_eq(get("lanes", &k, why, sizeof(why)), HG_OK, "%s", why);
	cr_assert_eq(simt_spirv_sub_group_size(k), 32);
	simt_spirv_put(k);
	cr_assert_eq(get("exchange", &k, why, sizeof(why)), HG_OK, "%s", why);
	cr_assert_eq(simt_spirv_sub_group_size(k), 0);
	simt_spirv_put(k);
	cr_assert_eq(get("unsized", &k, why, sizeof(why)), HG_ERR_UNSUPPORTED);
	cr_assert_str_eq(why, "kernel 'unsized': operations of sub-groups where no size of them is asked for");
}

/* ---- work-groups and memory ---- */

Test(spirv, work_items_exchange_through_local_memory)
{
	must_run("exchange", 4, 96, 96 * 4);
	for (uint32_t n = 0; n < 4 * 96; n++)
		expect[n] = (n / 96 * 96 + 95 - n % 96) * 7;
	same(4 * 96);
}

Test(spirv, local_memory_is_not_zero_when_a_group_begins)
{
	must_run("pattern", 2, 1, 64);
	cr_assert_eq(out[0], 0xa5a5a5a5u);
	cr_assert_eq(out[1], 0xa5a5a5a5u);
}

Test(spirv, accesses_outside_of_local_memory_are_found)
{
	must_run("outside", 1, 16, 64);
	must_fault("outside", 1, 17, 64, "4 bytes at 0x40 of local memory, of which the block has 64");
}

Test(spirv, atomic_operations_do_what_they_say)
{
	enum { BLOCK = 64, GROUPS = 4 };
	uint64_t sum;

	memset(out, 0, sizeof(out));
	must_run("atomics", GROUPS, BLOCK, 4);
	cr_assert_eq(out[0], 2u * BLOCK * BLOCK * GROUPS);
	cr_assert_eq(out[1], BLOCK * GROUPS - 1u);
	cr_assert_eq(out[2], 0u - 2u * BLOCK * GROUPS);	/* 3 less and 1 more for each */
	cr_assert_eq(out[3], 5u * BLOCK * GROUPS);
	memcpy(&sum, &out[4], sizeof(sum));
	cr_assert_eq(sum, (uint64_t)(BLOCK * GROUPS) * (BLOCK * GROUPS - 1) / 2);
}

Test(spirv, generic_pointers_know_what_they_point_to)
{
	must_run("pointers", 1, 64, 64);
	for (uint32_t n = 0; n < 64; n++)
		expect[n] = (n & 2 ? 2u : n & 1 ? 4u : 1u) | n << 8;
	same(64);
}

Test(spirv, a_group_that_waits_for_another_gets_its_turn)
{
	memset(out, 0, sizeof(out));
	must_run("spin", 2, 32, 0);
	cr_assert_eq(out[0], 1u);
}

Test(spirv, a_barrier_that_lanes_reach_apart_is_found)
{
	must_fault("parted", 1, 32, 0, "a barrier that lanes of one sub-group do not reach together");
}

Test(spirv, a_barrier_that_some_miss_by_ending_is_found)
{
	must_run("missed", 1, 7, 0);
	must_fault("missed", 1, 8, 0, "a barrier that lanes miss which have ended");
	must_run("skipped", 1, 32, 0);
	must_fault("skipped", 1, 64, 0, "a barrier that a sub-group misses which has ended");
}

Test(spirv, code_that_cannot_be_reached_is_found_when_it_is)
{
	must_run("trip", 1, 3, 0);
	must_fault("trip", 1, 4, 0, "code that cannot be reached");
}

/* ---- numbers ---- */

static uint32_t sat_s(int64_t v)
{
	return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? 0x80000000u : (uint32_t)v;
}

Test(spirv, integers_are_exact)
{
	static const uint32_t in[] = { 0, 1, 2, 3, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0x12345678, 0xdeadbeef, 0x00ff0000, 31 };
	enum { NR = sizeof(in) / sizeof(in[0]) };

	memcpy(out, in, sizeof(in));
	must_run("integers", 1, NR, 0);
	for (size_t i = 0; i < NR; i++) {
		uint32_t a = in[i], b = ~a * 7, h = 0;
		int32_t sa = (int32_t)a, sb = (int32_t)b;
		const uint32_t r[] = {
			a ? (uint32_t)__builtin_clz(a) : 32, a ? (uint32_t)__builtin_ctz(a) : 32, (uint32_t)__builtin_popcount(a),
			sa < 0 ? 0 - a : a, (uint32_t)__builtin_popcount(b), (uint32_t)(sa < sb ? sa : sb), (uint32_t)(sa > sb ? sa : sb),
			a < b ? a : b, a > b ? a : b, sat_s((int64_t)sa + sb), a + b < a ? UINT32_MAX : a + b, sat_s((int64_t)sa - sb),
			a < b ? 0 : a - b, (uint32_t)((uint64_t)((int64_t)sa * sb) >> 32), (uint32_t)((uint64_t)a * b >> 32),
			a << b % 32 | (b % 32 ? a >> (32 - b % 32) : 0),
		};

		for (size_t k = 0; k < sizeof(r) / sizeof(r[0]); k++)
			h = h * 31 + r[k];
		expect[i] = h;
	}
	same(NR);
}

Test(spirv, floating_point_is_exact_and_not_contracted)
{
	static const float in[][3] = {
		{ 1.00000012f, 1.00000012f, -1.00000024f }, { 3, 7, 2.5f }, { -2, -9, -3.5f }, { 1e30f, 1e30f, -1e-40f }, { 5, 3, 0.49999997f },
		{ 1e-39f, 0.5f, 1e-39f },
	};
	enum { NR = sizeof(in) / sizeof(in[0]) };
	float *o = (float *)out;

	for (size_t i = 0; i < NR; i++)
		memcpy(o + 8 * i, in[i], sizeof(in[i]));
	must_run("floats", 1, NR, 0);
	for (size_t i = 0; i < NR; i++) {
		volatile float a = in[i][0], b = in[i][1], c = in[i][2], m = a * b;
		const float want[4] = { fmaf(a, b, c), m + c, rintf(c) + floorf(c) - ceilf(c), isnan(m) ? a : truncf(copysignf(c, a)) };
		float root = (float)sqrt((double)a / (double)b);

		cr_assert_eq(memcmp(o + 8 * i + 4, want, sizeof(want)), 0, "row %zu: %a %a %a %a, not %a %a %a %a", i, o[8 * i + 4], o[8 * i + 5],
			     o[8 * i + 6], o[8 * i + 7], want[0], want[1], want[2], want[3]);
		cr_assert_eq(memcmp(o + 8 * i + 2, &root, 4), 0, "row %zu: %a, not %a", i, o[8 * i + 2], root);
	}
}

/* ---- arguments ---- */

Test(spirv, arguments_are_values_too)
{
	void *p = out;
	uint32_t v = 1000;
	uint64_t w = UINT64_C(0x700000003);
	struct simt_spirv_arg arg[] = { { .value = &p }, { .value = &v }, { .value = &w } };
	struct simt_spirv_launch l = { .grid = { 1, 1, 1 }, .block = { 5, 1, 1 }, .arg = arg, .nr_args = 3 };
	struct simt_spirv *k;
	char why[256];

	cr_assert_eq(get("values", &k, why, sizeof(why)), HG_OK, "%s", why);
	cr_assert_eq(simt_spirv_nr_args(k), 3u);
	cr_assert_eq(simt_spirv_arg_info(k, 0).size, 8u);
	cr_assert_eq(simt_spirv_arg_info(k, 1).size, 4u);
	cr_assert_eq(simt_spirv_arg_info(k, 2).size, 8u);
	cr_assert_eq(simt_spirv_run(k, &l, why, sizeof(why)), HG_OK, "%s", why);
	for (uint32_t i = 0; i < 5; i++)
		cr_assert_eq(out[i], 3000 + i);
	l.nr_args = 2;
	cr_assert_eq(simt_spirv_run(k, &l, why, sizeof(why)), HG_ERR_INVALID);
	cr_assert_str_eq(why, "2 arguments for a kernel of 3");
	l.nr_args = 3;
	arg[1].value = NULL;
	cr_assert_eq(simt_spirv_run(k, &l, why, sizeof(why)), HG_ERR_INVALID);
	cr_assert_str_eq(why, "argument 1 has no value");
	simt_spirv_put(k);
	cr_assert_eq(get("pattern", &k, why, sizeof(why)), HG_OK, "%s", why);
	cr_assert(simt_spirv_arg_info(k, 1).is_local && !simt_spirv_arg_info(k, 0).is_local);
	simt_spirv_put(k);
}

/* ---- what is refused ---- */

static void refused(const char *name, const char *says)
{
	struct simt_spirv *k;
	char why[256];

	cr_assert_eq(get(name, &k, why, sizeof(why)), HG_ERR_UNSUPPORTED, "%s", name);
	cr_assert(strstr(why, says), "%s: '%s' does not say '%s'", name, why, says);
}

Test(spirv, what_need_not_be_exact_is_refused)
{
	struct simt_spirv *k;
	char why[256];

	refused("division", "OpFDiv of 16 or 32 bits, which need not be exact");
	refused("root", "sqrt of 16 or 32 bits, which need not be exact");
	refused("sine", "native_sin");
	cr_assert_eq(simt_spirv_get(contract_spv, (size_t)((const char *)contract_spv_end - (const char *)contract_spv), "contract", &k, why,
				    sizeof(why)), HG_ERR_UNSUPPORTED);
	cr_assert(strstr(why, "may be contracted"), "%s", why);
}

Test(spirv, modules_that_are_none_are_refused)
{
	size_t size = (size_t)((const char *)kernels_spv_end - (const char *)kernels_spv);
	uint32_t *bad = malloc(size);
	struct simt_spirv *k;
	char why[256];

	cr_assert_eq(get("no_such", &k, why, sizeof(why)), HG_ERR_NOTFOUND);
	cr_assert_str_eq(why, "the module has no kernel 'no_such'");
	cr_assert_eq(simt_spirv_get(kernels_spv, 3, "lanes", &k, why, sizeof(why)), HG_ERR_CORRUPT);
	cr_assert_str_eq(why, "3 bytes that are no SPIR-V module");
	memcpy(bad, kernels_spv, size);
	bad[size / 8] ^= 0x0fff0fff;
	cr_assert_eq(simt_spirv_get(bad, size, "lanes", &k, why, sizeof(why)), HG_ERR_CORRUPT);
	cr_assert(strstr(why, "llvm-spirv-15 does not take it: "), "%s", why);
	free(bad);
}

/* ---- the reader ---- */

/* In a folder of its own: makes it, and returns its name. */
static const char *own_folder(void)
{
	static char path[] = "/tmp/hgshim-test-spirv.XXXXXX";

	cr_assert(mkdtemp(path));
	setenv("HGSHIM_SIMT_CACHE", path, 1);
	return path;
}

/* Files in it, all of which are removed, and the folder too. */
static unsigned int empty_folder(const char *path)
{
	DIR *d = opendir(path);
	unsigned int nr = 0;
	char name[512];

	cr_assert(d);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
			unlink(name);
			nr++;
		}
	closedir(d);
	rmdir(path);
	return nr;
}

static volatile sig_atomic_t children;

static void on_child(int signo)
{
	(void)signo;
	children++;
}

Test(spirv, the_reader_runs_once_and_is_no_child_that_the_application_sees)
{
	const char *path = own_folder();
	struct simt_spirv *k;
	char why[256];

	signal(SIGCHLD, on_child);
	cr_assert_eq(get("lanes", &k, why, sizeof(why)), HG_OK, "%s", why);
	simt_spirv_put(k);
	cr_assert_eq(children, 0);
	cr_assert(wait(NULL) == -1 && errno == ECHILD);
	/* another kernel of the same module needs no reader */
	setenv("PATH", "/nonexistent", 1);
	cr_assert_eq(get("exchange", &k, why, sizeof(why)), HG_OK, "%s", why);
	simt_spirv_put(k);
	cr_assert_eq(empty_folder(path), 1u, "one file is kept, and no other left behind");
}

Test(spirv, without_a_reader_it_says_so)
{
	const char *path = own_folder();
	struct simt_spirv *k;
	char why[256];

	setenv("HGSHIM_LLVM_SPIRV", "/nonexistent/llvm-spirv", 1);
	cr_assert_eq(get("lanes", &k, why, sizeof(why)), HG_ERR_UNSUPPORTED);
	cr_assert_str_eq(why, "/nonexistent/llvm-spirv, which reads SPIR-V, cannot be run: No such file or directory");
	cr_assert_eq(empty_folder(path), 0u, "nothing is left behind");
}
