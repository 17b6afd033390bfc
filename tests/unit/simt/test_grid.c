/* test_grid.c - grids, blocks and warps of the doubles' executor. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <time.h>

#include "tests/unit/simt/simt_test.h"

#define GRID_SUITE simt_grid
#define GRID_RUN run_both
#include "tests/unit/grid_cases.h"

Test(simt_grid, loops_of_different_lengths_with_branches_inside)
{
	run(KERNEL(HEAD
		   "setp.ge.u32 %p1, %r7, %r8; @%p1 bra DONE;\n"
		   "mov.u32 %r1, %r7; mov.u32 %r2, 0;\n"
		   "LOOP: setp.le.u32 %p2, %r1, 1; @%p2 bra OUT;\n"
		   "and.b32 %r3, %r1, 1; setp.eq.u32 %p3, %r3, 0; @%p3 bra EVEN;\n"
		   "mad.lo.u32 %r1, %r1, 3, 1; bra NEXT;\n"
		   "EVEN: shr.u32 %r1, %r1, 1;\n"
		   "NEXT: add.u32 %r2, %r2, 1; bra LOOP;\n"
		   "OUT: st.global.u32 [%rd7], %r2;\n"
		   "DONE: ret;"), 9, 128, 1111);
	cr_assert_eq(word[27], 111);
}

/* Barriers and shuffles in blocks of every shape: a scan of each warp, then of the warps, through shared memory. */
#define SCAN KERNEL(".shared .align 4 .b32 part[32];\n" HEAD \
	"ld.global.u32 %r1, [%rd7]; mov.u32 %r2, %laneid; shr.u32 %r3, %r5, 5;\n" \
	/* the lanes that are there */ \
	"shl.b32 %r4, %r3, 5; sub.u32 %r4, %r6, %r4; min.u32 %r4, %r4, 32; sub.u32 %r4, 32, %r4; mov.u32 %r8, -1; shr.u32 %r4, %r8, %r4;\n" \
	"shfl.sync.up.b32 %r8|%p1, %r1, 1, 0, %r4; @%p1 add.u32 %r1, %r1, %r8;\n" \
	"shfl.sync.up.b32 %r8|%p1, %r1, 2, 0, %r4; @%p1 add.u32 %r1, %r1, %r8;\n" \
	"shfl.sync.up.b32 %r8|%p1, %r1, 4, 0, %r4; @%p1 add.u32 %r1, %r1, %r8;\n" \
	"shfl.sync.up.b32 %r8|%p1, %r1, 8, 0, %r4; @%p1 add.u32 %r1, %r1, %r8;\n" \
	"shfl.sync.up.b32 %r8|%p1, %r1, 16, 0, %r4; @%p1 add.u32 %r1, %r1, %r8;\n" \
	/* its last lane tells the sum */ \
	"popc.b32 %r8, %r4; sub.u32 %r8, %r8, 1; setp.ne.u32 %p2, %r2, %r8; shl.b32 %r8, %r3, 2; mov.u32 %r4, part; add.u32 %r8, %r4, %r8;\n" \
	"@!%p2 st.shared.u32 [%r8], %r1; bar.sync 0;\n" \
	"mov.u32 %r8, 0;\n" \
	"L: setp.ge.u32 %p3, %r8, %r3; @%p3 bra OUT; shl.b32 %r2, %r8, 2; add.u32 %r2, %r4, %r2; ld.shared.u32 %r2, [%r2];\n" \
	"add.u32 %r1, %r1, %r2; add.u32 %r8, %r8, 1; bra L;\n" \
	"OUT: bar.sync 0; st.global.u32 [%rd7+131072], %r1; ret;")

Test(simt_grid, barriers_and_shuffles_in_blocks_of_every_shape)
{
	static const uint32_t shape[] = { 1, 2, 31, 32, 33, 63, 64, 96, 255, 1000, 1023, 1024 };

	for (size_t s = 0; s < sizeof(shape) / sizeof(shape[0]); s++) {
		for (uint32_t i = 0; i < 1 << 15; i++)
			word[i] = i * 2654435761u >> 12;
		memset(word + 32768, 0, sizeof(word) / 2);
		run(SCAN, 3, shape[s], 0);
		for (uint32_t b = 0; b < 3; b++) {
			uint32_t sum = 0;

			for (uint32_t i = b * shape[s]; i < (b + 1) * shape[s]; i++) {
				sum += i * 2654435761u >> 12;
				cr_assert_eq(word[32768 + i], sum, "thread %u of blocks of %u", i, shape[s]);
			}
		}
	}
}

Test(simt_grid, lanes_meet_again_behind_a_branch)
{
	/* activemask inside a branch and behind it */
	run(KERNEL(HEAD
		   "and.b32 %r1, %r7, 3; setp.ne.u32 %p1, %r1, 0; mov.u32 %r2, 0; @%p1 bra JOIN;\n"
		   "activemask.b32 %r2;\n"
		   "JOIN: activemask.b32 %r3; st.global.u32 [%rd7], %r2; st.global.u32 [%rd7+4096], %r3; ret;"), 1, 64, 0);
	for (uint32_t t = 0; t < 64; t++) {
		cr_assert_eq(word[t], t & 3 ? 0 : 0x11111111);
		cr_assert_eq(word[1024 + t], UINT32_MAX);
	}
}

Test(simt_grid, local_memory_belongs_to_a_thread)
{
	run(KERNEL(".local .align 4 .b32 l[8];\n" HEAD
		   "mov.u64 %rd1, l; cvta.local.u64 %rd2, %rd1; and.b32 %r1, %r7, 7; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3; add.u64 %rd5, %rd2, %rd3;\n"
		   "st.local.u32 [%rd4], %r7; ld.u32 %r2, [%rd5]; st.global.u32 [%rd7], %r2; ret;"), 2, 64, 0);
	for (uint32_t t = 0; t < 128; t++)
		cr_assert_eq(word[t], t);
}

Test(simt_grid, every_atomic_operation)
{
	/* each on a word of its own, and what the thread of each found is added up */
	run(KERNEL(HEAD
		   "atom.global.add.u32 %r1, [%rd8+131072], %r7; mov.u32 %r2, %r1;\n"
		   "atom.global.min.u32 %r1, [%rd8+131076], %r7; add.u32 %r2, %r2, %r1; atom.global.max.u32 %r1, [%rd8+131080], %r7; add.u32 %r2, %r2, %r1;\n"
		   "sub.u32 %r3, 0, %r7; atom.global.min.s32 %r1, [%rd8+131084], %r3; add.u32 %r2, %r2, %r1;\n"
		   "atom.global.and.b32 %r1, [%rd8+131088], %r3; add.u32 %r2, %r2, %r1; atom.global.or.b32 %r1, [%rd8+131092], %r3; add.u32 %r2, %r2, %r1;\n"
		   "atom.global.xor.b32 %r1, [%rd8+131096], %r7; add.u32 %r2, %r2, %r1; atom.global.exch.b32 %r1, [%rd8+131100], %r7; add.u32 %r2, %r2, %r1;\n"
		   "atom.global.inc.u32 %r1, [%rd8+131104], 6; add.u32 %r2, %r2, %r1; atom.global.dec.u32 %r1, [%rd8+131108], 6; add.u32 %r2, %r2, %r1;\n"
		   "atom.global.cas.b32 %r1, [%rd8+131112], 0, %r7; add.u32 %r2, %r2, %r1; cvt.u64.u32 %rd1, %r7;\n"
		   "atom.global.add.u64 %rd2, [%rd8+131120], %rd1; cvt.u32.u64 %r1, %rd2; add.u32 %r2, %r2, %r1; atom.global.cas.b64 %rd2, [%rd8+131128], 0, %rd1;\n"
		   "cvt.rn.f32.u32 %f1, %r7; atom.global.add.f32 %f2, [%rd8+131136], %f1; cvt.rn.f64.u32 %fd1, %r7; atom.global.add.f64 %fd2, [%rd8+131144], %fd1;\n"
		   "mov.u32 %r3, 0x3c004000; red.global.add.noftz.f16x2 [%rd8+131152], %r3; mov.u32 %r3, 0x3f803f00; red.global.add.noftz.bf16x2 [%rd8+131156], %r3;\n"
		   "st.global.u32 [%rd7], %r2; ret;"), 1, 32, 0);
	cr_assert_eq(word[32768], 31 * 32 / 2);
	cr_assert_eq(word[32768 + 20], 0x50005400, "%x", word[32768 + 20]);
}

Test(simt_grid, matrices_of_f64)
{
	run(KERNEL(HEAD
		   "cvt.rn.f64.u32 %fd1, %r7; add.f64 %fd1, %fd1, 0d3FB999999999999A; div.rn.f64 %fd2, 0d3FF0000000000000, %fd1;\n"
		   "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%fd3, %fd4}, {%fd1}, {%fd2}, {%fd1, %fd2};\n"
		   "cvt.rn.f32.f64 %f1, %fd3; st.global.f32 [%rd7], %f1; mov.b64 %rd1, %fd4; cvt.u32.u64 %r1, %rd1; st.global.u32 [%rd7+4096], %r1; ret;"), 1, 32, 0);
	cr_assert_neq(word[1024], 0);
}

Test(simt_grid, lanes_that_have_exited_are_not_waited_for)
{
	/* odd lanes leave; the others meet with a full mask, and at a barrier of all */
	run(KERNEL(HEAD
		   "and.b32 %r1, %r5, 1; setp.ne.u32 %p1, %r1, 0; @%p1 exit;\n"
		   "setp.gt.u32 %p2, %r5, 9; vote.sync.ballot.b32 %r2, %p2, -1; redux.sync.add.u32 %r3, %r5, -1; bar.sync 0;\n"
		   "bar.warp.sync -1; match.any.sync.b32 %r4, %r1, -1; bar.red.popc.u32 %r1, 0, %p2;\n"
		   "st.global.u32 [%rd7], %r2; st.global.u32 [%rd7+4096], %r3; st.global.u32 [%rd7+8192], %r4; st.global.u32 [%rd7+12288], %r1; ret;"),
	    1, 64, 0);
	cr_assert_eq(word[0], 0x55555400);
	cr_assert_eq(word[1024 + 2], 240);
	cr_assert_eq(word[2048 + 4], 0x55555555);
	cr_assert_eq(word[3072 + 62], 27);
	cr_assert_eq(word[1], 0);
}

Test(simt_grid, functions_call_themselves_and_take_from_the_stack)
{
	static const char ptx[] = ".version 8.0\n.target sm_75\n.address_size 64\n"
		".func (.param .b32 r) fib (.param .b32 n) { .reg .b32 %a<6>; .reg .b64 %d; .reg .pred %p;\n"
		"ld.param.b32 %a1, [n]; setp.lt.u32 %p, %a1, 2; @%p bra $end; alloca.u64 %d, 16; st.local.b32 [%d+8], %a1;\n"
		"sub.u32 %a2, %a1, 1; { .param .b32 i; .param .b32 o; st.param.b32 [i], %a2; call.uni (o), fib, (i); ld.param.b32 %a3, [o]; }\n"
		"ld.local.b32 %a2, [%d+8]; sub.u32 %a2, %a2, 2;\n"
		"{ .param .b32 i; .param .b32 o; st.param.b32 [i], %a2; call.uni (o), fib, (i); ld.param.b32 %a4, [o]; }\n"
		"add.u32 %a1, %a3, %a4; $end: st.param.b32 [r], %a1; ret; }\n"
		".visible .entry k(.param .u64 p) { .reg .b32 %r<4>; .reg .b64 %rd<3>; ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x;\n"
		"mul.wide.u32 %rd2, %r1, 4; add.u64 %rd1, %rd1, %rd2; and.b32 %r2, %r1, 7;\n"
		"{ .param .b32 i; .param .b32 o; st.param.b32 [i], %r2; call (o), fib, (i); ld.param.b32 %r3, [o]; }\n"
		"st.global.u32 [%rd1], %r3; ret; }\n";
	static const uint32_t fib[] = { 0, 1, 1, 2, 3, 5, 8, 13 };
	uint32_t out[64] = { 0 };
	uint64_t p = (uintptr_t)out;
	struct kernel_run r = { .block = { 64 }, .params = &p, .data = out, .size = sizeof(out) };

	run_both(ptx, &r);
	for (int t = 0; t < 64; t++)
		cr_expect_eq(out[t], fib[t & 7]);
}

Test(simt_grid, lanes_take_turns_in_a_queue_of_warp_operations)
{
	/* as programs that aggregate atomics: the lanes that are here elect a leader, which adds for all of them */
	run(KERNEL(HEAD
		   "rem.u32 %r1, %r7, 3; mov.u32 %r2, 0;\n"
		   "L: setp.ne.u32 %p1, %r1, %r2; @%p1 bra NEXT;\n"
		   "activemask.b32 %r3; brev.b32 %r4, %r3; clz.b32 %r6, %r3; bfind.shiftamt.u32 %r4, %r4; popc.b32 %r6, %r3; mov.u32 %r8, %laneid;\n"
		   "setp.ne.u32 %p2, %r4, %r8; @%p2 bra HAVE; mul.wide.u32 %rd1, %r2, 4; add.u64 %rd1, %rd8, %rd1; red.global.add.u32 [%rd1+131072], %r6;\n"
		   "HAVE: shfl.sync.idx.b32 %r4, %r6, %r4, 31, %r3; st.global.u32 [%rd7], %r4;\n"
		   "NEXT: add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r2, 3; @%p3 bra L; ret;"), 3, 96, 0);
	cr_assert_eq(word[32768] + word[32769] + word[32770], 288);
	cr_assert_eq(word[0], 11);
}

Test(simt_grid, spaces_and_module_variables)
{
	static _Alignas(64) unsigned char memory[1 << 16], out[2][1 << 16];
	struct { void *out; uint64_t pair[2]; unsigned char small; } params = { memory, { 1, UINT64_C(0x500000004) }, 7 };
	struct kernel_run r = { .block = { 1 }, .shared = 256, .params = &params };
	uint64_t var[32];
	struct hg_fault fault;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	size_t index;
	struct hg_module *m = load_file("tests/ptx/memory.ptx", "spaces", &index);
	struct hg_grid g = grid_of(&r);
	char why[256];

	/* the same addresses both times: they are among the results */
	for (int by_simt = 0; by_simt < 2; by_simt++) {
		for (size_t i = 0; i < sizeof(memory); i++)
			memory[i] = (unsigned char)(i * 7 + 1);
		cr_assert_leq(place_vars(m, memory + 4096, var), 4096);
		g.var_addr = var;
		if (by_simt) {
			enum hg_status st = simt_once(hg_module_ir(m), index, &r, var, why, sizeof(why));

			cr_assert_eq(st, HG_OK, "%s", why);
		} else {
			cr_assert_eq(hg_cpu_module_create(m, &cm), HG_OK);
			cr_assert_eq(hg_cpu_kernel_get(cm, index, &k), HG_OK);
			cr_assert_eq(hg_grid_run(k, &g, &fault), HG_OK, "%s", fault.what);
			hg_cpu_module_destroy(cm);
		}
		memcpy(out[by_simt], memory, sizeof(memory));
	}
	cr_assert_eq(memcmp(out[0], out[1], sizeof(memory)), 0);
	hg_module_free(m);
}

/* ---- failures ---- */

static enum hg_status run_once(const char *ptx, uint32_t block, void *p, char *why, size_t why_size)
{
	struct params params = { p, 0 };
	struct kernel_run r = { .grid = { 4 }, .block = { block }, .params = &params };
	struct hg_module *m = load_text(ptx);
	enum hg_status st = simt_once(hg_module_ir(m), 0, &r, NULL, why, why_size);

	hg_module_free(m);
	return st;
}

#define STORE KERNEL(HEAD "st.global.u32 [%rd7], %r7; ret;")
#define STORE_BEHIND_A_BARRIER KERNEL(HEAD "bar.sync 0; st.global.u32 [%rd7], %r7; ret;")

static void fails(const char *ptx, uint32_t block, void *p, const char *says)
{
	char why[256];
	enum hg_status st = run_once(ptx, block, p, why, sizeof(why));

	cr_assert_eq(st, HG_ERR_FAULT, "%s, not a fault, of\n%s", hg_status_text(st), ptx);
	cr_assert(strstr(why, says) && strstr(why, "'k'"), "%s", why);
	/* and the next grid is none the worse */
	cr_assert_eq(run_once(STORE_BEHIND_A_BARRIER, 64, word, why, sizeof(why)), HG_OK, "%s", why);
	cr_assert_eq(word[255], 255);
}

Test(simt_grid, threads_that_wait_for_ever_are_a_fault, .timeout = 60)
{
	/* at two barriers, at a barrier for more than there are, in a warp operation of lanes that are elsewhere */
	fails(KERNEL(HEAD "setp.lt.u32 %p1, %r5, 16; @%p1 bra A; bar.sync 1, 64; A: bar.sync 2, 128; ret;"), 64, word, "for ever");
	fails(KERNEL(HEAD "bar.sync 0, 128; ret;"), 64, word, "for ever");
	fails(KERNEL(HEAD "setp.lt.u32 %p1, %r5, 16; @%p1 bra A; bar.warp.sync -1; ret; A: bar.sync 0; ret;"), 32, word, "for ever");
	/* the last one that could have helped has gone */
	fails(KERNEL(HEAD "setp.eq.u32 %p1, %r5, 63; @%p1 bra A; bar.sync 1, 96; ret; A: exit;"), 64, word, "for ever");
	/* two different operations */
	fails(KERNEL(HEAD "setp.lt.u32 %p1, %r5, 16; setp.eq.u32 %p2, %r5, 0; @%p1 bra A; vote.sync.any.pred %p3, %p2, -1; ret; A: redux.sync.add.u32 %r1, %r5, -1; ret;"),
	      32, word, "for ever");
}

Test(simt_grid, misuse_is_a_fault)
{
	fails(KERNEL("trap; ret;"), 64, word, "trap");
	fails(KERNEL(HEAD "setp.ne.u32 %p1, %r7, 77; @%p1 bra A; trap; A: bar.sync 0; ret;"), 64, word, "block (1,0,0), thread (13,0,0): trap");
	fails(KERNEL(HEAD "bar.warp.sync 0xfffe; ret;"), 32, word, "mask");
	fails(KERNEL(HEAD "setp.lt.u32 %p1, %r5, 32; @%p1 bra A; bar.sync 3, 64; ret; A: bar.sync 3, 96; ret;"), 128, word, "counts");
}

Test(simt_grid, memory_that_a_kernel_may_not_touch_is_a_fault)
{
	fails(STORE, 64, NULL, "illegal address 0x0");
	fails(STORE_BEHIND_A_BARRIER, 64, NULL, "illegal address 0xfc");	/* of the thread that opened it */
	fails(STORE, 64, (char *)word + 2, "misaligned");
	fails(KERNEL(HEAD "atom.global.add.u32 %r1, [%rd8], 1; ret;"), 64, (char *)word + 1, "misaligned");
	fails(KERNEL(HEAD "atom.global.add.u32 %r1, [%rd8], 1; ret;"), 64, NULL, "illegal address");
	fails(KERNEL(HEAD "bar.sync 0; ld.global.u32 %r1, [%rd7]; add.u32 %r1, %r1, 1; st.global.u32 [%rd7], %r1; ret;"), 64, (void *)(uintptr_t)0x123450, "illegal address");
}

static volatile sig_atomic_t caught;
static sigjmp_buf back;

static void own_handler(int signo)
{
	caught = signo;
	siglongjmp(back, 1);
}

static __attribute__((no_sanitize("address", "undefined"))) void own_fault(void)
{
	volatile int *volatile nowhere = NULL;

	if (!sigsetjmp(back, 1))
		*nowhere = 1;
}

Test(simt_grid, the_program_keeps_its_own_handlers)
{
	struct sigaction act = { .sa_handler = own_handler }, now;

	sigaction(SIGSEGV, &act, NULL);
	fails(STORE, 32, NULL, "illegal");
	cr_assert_eq(caught, 0);
	sigaction(SIGSEGV, NULL, &now);
	cr_assert_eq(now.sa_handler, own_handler);
	own_fault();
	cr_assert_eq(caught, SIGSEGV);
}

Test(simt_grid, shapes_that_no_device_takes_are_refused)
{
	struct hg_module *m = load_text(STORE);
	struct simt_launch l = { .grid = { 1, 1, 1 }, .block = { 64, 17, 1 }, .warp_size = 32 };
	struct simt_module *s;
	char why[256];

	cr_assert_eq(simt_module_from_hgir(hg_module_ir(m), &s), HG_OK);
	cr_assert_eq(simt_run(s, &l, why, sizeof(why)), HG_ERR_INVALID);
	l.block[1] = 1;
	l.warp_size = 64;
	cr_assert_eq(simt_run(s, &l, why, sizeof(why)), HG_ERR_UNSUPPORTED);
	cr_assert(strstr(why, "warps of 64"), "%s", why);
	l.kernel = 1;
	cr_assert_eq(simt_run(s, &l, why, sizeof(why)), HG_ERR_NOTFOUND);
	simt_module_free(s);
	hg_module_free(m);
}

/* ---- threads ---- */

struct many { struct simt_module *m; uint32_t *mine; };

static void *one_of_many(void *arg)
{
	struct many *a = arg;
	struct params params = { a->mine, 0 };
	struct simt_launch l = { .grid = { 5, 1, 1 }, .block = { 64, 1, 1 }, .warp_size = 32, .params = &params };
	char why[256];

	for (int i = 0; i < 200; i++)
		if (simt_run(a->m, &l, why, sizeof(why)))
			return arg;
	return NULL;
}

Test(simt_grid, grids_of_one_module_run_on_several_threads_at_once)
{
	struct hg_module *m = load_text(KERNEL(".shared .align 4 .b32 s[64];\n" HEAD
		"mov.u32 %r1, s; shl.b32 %r2, %r5, 2; add.u32 %r2, %r1, %r2; st.shared.u32 [%r2], %r7; bar.sync 0; xor.b32 %r3, %r5, 63;\n"
		"shl.b32 %r3, %r3, 2; add.u32 %r3, %r1, %r3; ld.shared.u32 %r4, [%r3]; ld.global.u32 %r1, [%rd7]; add.u32 %r1, %r1, %r4;\n"
		"st.global.u32 [%rd7], %r1; ret;"));
	struct simt_module *s;
	struct many many[6];
	pthread_t t[6];
	void *bad;

	cr_assert_eq(simt_module_from_hgir(hg_module_ir(m), &s), HG_OK);
	hg_module_free(m);	/* nothing of it is kept */
	for (int i = 0; i < 6; i++) {
		many[i] = (struct many){ s, word + i * 1024 };
		pthread_create(&t[i], NULL, one_of_many, &many[i]);
	}
	for (int i = 0; i < 6; i++) {
		pthread_join(t[i], &bad);
		cr_assert_null(bad);
		for (uint32_t w = 0; w < 320; w++)
			cr_assert_eq(word[i * 1024 + w], 200 * (w / 64 * 64 + (63 - w % 64)));
	}
	simt_module_free(s);
}

static void *waits(void *arg)
{
	const struct many *a = arg;
	struct params params = { a->mine, 0 };
	struct simt_launch l = { .grid = { 3, 1, 1 }, .block = { 64, 1, 1 }, .warp_size = 32, .params = &params };
	char why[256];

	return simt_run(a->m, &l, why, sizeof(why)) ? arg : NULL;
}

Test(simt_grid, a_grid_may_wait_for_another_and_for_the_host, .timeout = 60)
{
	/* every block waits, asleep or not, for a word that the host or another grid writes */
	struct hg_module *m = load_text(KERNEL(HEAD
		"L: ld.volatile.global.u32 %r1, [%rd8]; setp.ne.u32 %p1, %r1, 0; @%p1 bra OUT; and.b32 %r2, %r7, 1; setp.eq.u32 %p2, %r2, 0;\n"
		"@%p2 nanosleep.u32 1000; bra L;\n"
		"OUT: st.global.u32 [%rd7+4], %r1; ret;")), *m2 = load_text(KERNEL(HEAD "mov.u32 %r1, 8; st.global.u32 [%rd8], %r1; ret;"));
	struct kernel_run set = { .block = { 1 }, .params = &(struct params){ word + 1024, 0 } };
	struct simt_module *s;
	struct many many[2];
	pthread_t t[2];
	void *bad;
	char why[256];

	cr_assert_eq(simt_module_from_hgir(hg_module_ir(m), &s), HG_OK);
	for (int i = 0; i < 2; i++) {
		many[i] = (struct many){ s, word + i * 1024 };
		pthread_create(&t[i], NULL, waits, &many[i]);
	}
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	cr_assert_eq(word[1], 0);
	__atomic_store_n(&word[0], 7, __ATOMIC_SEQ_CST);
	cr_assert_eq(simt_once(hg_module_ir(m2), 0, &set, NULL, why, sizeof(why)), HG_OK, "%s", why);
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], &bad);
		cr_assert_null(bad);
		for (uint32_t w = 1; w <= 192; w++)
			cr_assert_eq(word[i * 1024 + w], 7 + i);
	}
	simt_module_free(s);
	hg_module_free(m);
	hg_module_free(m2);
}

Test(simt_grid, switching_costs_microseconds, .timeout = 60)
{
	struct hg_module *m = load_text(KERNEL(HEAD "mov.u32 %r1, 0;\n"
		"L: bar.sync 0; add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 100; @%p1 bra L; st.global.u32 [%rd7], %r1; ret;"));
	struct params params = { word, 0 };
	struct simt_launch l = { .grid = { 10, 1, 1 }, .block = { 256, 1, 1 }, .warp_size = 32, .params = &params };
	struct simt_module *s;
	struct timespec from, to;
	double us;
	char why[256];

	cr_assert_eq(simt_module_from_hgir(hg_module_ir(m), &s), HG_OK);
	cr_assert_eq(simt_run(s, &l, why, sizeof(why)), HG_OK);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	cr_assert_eq(simt_run(s, &l, why, sizeof(why)), HG_OK);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	us = (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) * 1e-3;
	/* 1000 barriers of 256 threads; very generous, for loaded machines and sanitizers */
	cr_assert_lt(us / 1000, 1000, "%.1f us for each barrier of 256 threads", us / 1000);
	printf("# %.2f us for each barrier of 256 threads\n", us / 1000);
	simt_module_free(s);
	hg_module_free(m);
}
