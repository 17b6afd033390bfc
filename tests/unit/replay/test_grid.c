/* test_grid.c - warps, blocks and grids on the CPU target: divergence, waiting, faults, caching. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/replay/kernel_test.h"

#define GRID_SUITE grid
#define GRID_RUN run_all_ways
#include "tests/unit/grid_cases.h"

static uint32_t collatz(uint32_t v)
{
	uint32_t steps = 0;

	for (; v > 1; steps++)
		v = v & 1 ? 3 * v + 1 : v / 2;
	return steps;
}

Test(grid, loops_of_different_lengths_with_branches_inside)
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
	for (uint32_t i = 0; i < 1111; i++)
		cr_assert_eq(word[i], collatz(i), "thread %u", i);
	cr_assert_eq(word[1111], 0);
}

Test(grid, lanes_meet_again_behind_a_branch)
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

/* Sums a block through shared memory: every thread adds, then one of each warp tells. */
#define SUM KERNEL(".shared .align 4 .b32 sum[1];\n" HEAD \
	"mov.u32 %r1, sum; mov.u32 %r2, 0; setp.eq.u32 %p1, %r5, 0; @%p1 st.shared.u32 [%r1], %r2; bar.sync 0;\n" \
	"ld.global.u32 %r3, [%rd7]; red.shared.add.u32 [%r1], %r3; bar.sync 0;\n" \
	"and.b32 %r4, %r5, 31; setp.ne.u32 %p2, %r4, 0; @%p2 bra DONE;\n" \
	"ld.shared.u32 %r2, [%r1]; st.global.u32 [%rd7+131072], %r2;\n" \
	"DONE: ret;")

Test(grid, blocks_of_every_shape_of_last_warp)
{
	static const uint32_t shape[] = { 1, 2, 31, 32, 33, 63, 64, 96, 1000, 1023, 1024 };

	for (size_t s = 0; s < sizeof(shape) / sizeof(shape[0]); s++) {
		memset(word, 0, sizeof(word));
		for (uint32_t i = 0; i < 1 << 14; i++)
			word[i] = i * 2654435761u >> 12;
		run(SUM, 7, shape[s], 0);
		for (uint32_t b = 0; b < 7; b++) {
			uint32_t sum = 0;

			for (uint32_t i = 0; i < shape[s]; i++)
				sum += word[b * shape[s] + i];
			for (uint32_t i = 0; i < shape[s]; i++)
				cr_assert_eq(word[32768 + b * shape[s] + i], i & 31 ? 0 : sum, "thread %u of block %u of %u threads", i, b, shape[s]);
		}
		cr_assert_eq(word[32768 + 7 * shape[s]], 0, "a thread behind the last of %u", shape[s]);
	}
}

Test(grid, local_memory_belongs_to_a_thread)
{
	run(KERNEL(".local .align 4 .b32 l[8];\n" HEAD
		   "mov.u64 %rd1, l; cvta.local.u64 %rd2, %rd1; and.b32 %r1, %r7, 7; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3; add.u64 %rd5, %rd2, %rd3;\n"
		   "st.local.u32 [%rd4], %r7; ld.u32 %r2, [%rd5]; st.global.u32 [%rd7], %r2; ret;"), 2, 64, 0);
	for (uint32_t t = 0; t < 128; t++)
		cr_assert_eq(word[t], t);
}

/* ---- instruction sets ---- */

Test(grid, results_are_the_same_on_every_instruction_set, .timeout = 120)
{
	static const char *const isa[] = { "native", "avx2", "sse" };
	const size_t size = 1 << 16;
	unsigned char *out = mmap(NULL, 3 * size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			struct params params = { word, 4096 };
			struct kernel_run r = { .grid = { 32 }, .block = { 128 }, .params = &params, .data = word, .size = size };

			setenv("HGSHIM_ISA", isa[i], 1);
			for (uint32_t w = 0; w < 8192; w++)
				word[w] = w * 2654435761u;
			run_all_ways(KERNEL(HEAD
				"ld.global.f32 %f1, [%rd7]; sin.approx.f32 %f2, %f1; lg2.approx.f32 %f3, %f1; ex2.approx.f32 %f4, %f2; fma.rn.f32 %f2, %f3, %f4, %f1;\n"
				"fma.rm.f32 %f3, %f1, %f2, %f4; div.rn.f32 %f3, %f3, %f2; rsqrt.approx.f32 %f4, %f3; add.f32 %f3, %f3, %f4; cvt.rzi.s32.f32 %r1, %f1;\n"
				"cvt.rn.f32.s32 %f5, %r1; add.f32 %f3, %f3, %f5; ld.global.s8 %r2, [%rd7+1]; rem.s32 %r1, %r1, %r2; cvt.rn.f32.s32 %f5, %r1; sub.f32 %f3, %f3, %f5;\n"
				"tanh.approx.f32 %f5, %f4; add.f32 %f3, %f3, %f5; cvt.rn.f16.f32 %h1, %f1; cvt.rn.f16.f32 %h2, %f4; fma.rn.f16 %h1, %h1, %h2, %h2;\n"
				"cvt.f32.f16 %f5, %h1; add.f32 %f3, %f3, %f5; setp.lt.f32 %p1, %f3, %f1; @%p1 bra X; mul.f32 %f3, %f3, %f4; X: st.global.f32 [%rd7+16384], %f3; ret;"), &r);
			memcpy(out + i * size, word, size);
			_exit(0);
		}
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "%s failed", isa[i]);
		cr_assert_eq(memcmp(out, out + i * size, size), 0, "%s differs from native", isa[i]);
	}
}

/* ---- the stack of threads ---- */

#define SUMS 4000
#define VALUES 96

/* Sum i goes into value to(i): of three far apart, so that each has a place of its own in the fast tier's frame, 256 bytes. */
static unsigned int to(unsigned int i) { return i * 37 % VALUES; }
static unsigned int from(unsigned int i) { return (i * 61 + i / 7) % VALUES; }

static char *long_kernel(void)
{
	char *text = malloc(SUMS * 60 + VALUES * 60 + 1000), *at = text;

	at += sprintf(at, ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u64 n) {\n"
		      ".reg .b32 %%r<4>; .reg .b64 %%rd<4>; .reg .b64 %%v<%d>;\n"
		      "ld.param.u64 %%rd1, [p]; mov.u32 %%r1, %%ctaid.x; shl.b32 %%r1, %%r1, 5; mov.u32 %%r2, %%tid.x; add.u32 %%r1, %%r1, %%r2;\n"
		      "mul.wide.u32 %%rd2, %%r1, 8; add.s64 %%rd1, %%rd1, %%rd2; cvt.u64.u32 %%rd3, %%r1;\n", VALUES);
	for (unsigned int i = 0; i < VALUES; i++)
		at += sprintf(at, "mul.lo.u64 %%v%u, %%rd3, %u;\n", i, i + 1);
	for (unsigned int i = 0; i < SUMS; i++)
		at += sprintf(at, "mad.lo.u64 %%v%u, %%v%u, %%v%u, %%v%u;\n", to(i), from(i), from(i + 5), to(i));
	for (unsigned int i = 1; i < VALUES; i++)
		at += sprintf(at, "xor.b64 %%v0, %%v0, %%v%u;\n", i);
	sprintf(at, "st.global.u64 [%%rd1], %%v0; ret; }\n");
	return text;
}

static uint64_t long_sum(uint64_t thread)
{
	uint64_t v[VALUES];

	for (unsigned int i = 0; i < VALUES; i++)
		v[i] = thread * (i + 1);
	for (unsigned int i = 0; i < SUMS; i++)
		v[to(i)] += v[from(i)] * v[from(i + 5)];
	for (unsigned int i = 1; i < VALUES; i++)
		v[0] ^= v[i];
	return v[0];
}

Test(grid, a_large_frame_fits_the_threads_that_run_kernels, .timeout = 120)
{
	enum { BLOCKS = 64 };
	struct params params = { word, 0 };
	struct kernel_run r = { .grid = { BLOCKS }, .block = { 32 }, .params = &params };
	struct hg_grid g = grid_of(&r);
	struct hg_fault fault = { .what = "" };
	char *text = long_kernel();
	uint64_t *sum = (uint64_t *)word;
	struct hg_cpu_kernel *k;
	struct hg_cpu_module *cm;
	struct hg_module *m;
	pthread_attr_t small;

	/* what threads get that nobody gave a size: less than the frame */
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 512 << 10);
	cr_assert_eq(pthread_setattr_default_np(&small), 0);
	setenv("HGSHIM_CACHE", "0", 1);
	setenv("HGSHIM_THREADS", "4", 1);
	m = load_text(text);
	cr_assert_eq(hg_cpu_module_create(m, &cm), HG_OK);
	hg_cpu_module_fast_only(cm);
	cr_assert_eq(hg_cpu_kernel_get(cm, 0, &k), HG_OK);
	for (int round = 0; round < 20; round++)
		cr_assert_eq(hg_grid_run(k, &g, &fault), HG_OK, "%s", fault.what);
	for (uint32_t t = 0; t < BLOCKS * 32; t++)
		cr_assert_eq(sum[t], long_sum(t), "thread %u", t);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	free(text);
}

Test(grid, a_frame_larger_than_the_stack_is_refused_by_name)
{
	char *text = long_kernel();
	struct hg_cpu_kernel *k;
	struct hg_cpu_module *cm;
	struct hg_module *m;

	setenv("HGSHIM_CACHE", "0", 1);
	setenv("HGSHIM_STACK", "1M", 1);
	m = load_text(text);
	cr_assert_eq(hg_cpu_module_create(m, &cm), HG_OK);
	catch_messages();
	cr_assert_eq(hg_cpu_kernel_get(cm, 0, &k), HG_ERR_UNSUPPORTED);
	cr_assert(strstr(last_message, "kernel 'k'") && strstr(last_message, "HGSHIM_STACK"), "%s", last_message);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	free(text);
}

/* ---- faults ---- */

static bool optimised;	/* run_once waits for that code */

static enum hg_status run_once(const char *ptx, uint32_t block, void *p, struct hg_fault *fault)
{
	struct params params = { p, 0 };
	struct kernel_run r = { .grid = { 4 }, .block = { block }, .params = &params };
	struct hg_grid g = grid_of(&r);
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	enum hg_status st;

	setenv("HGSHIM_CACHE", "0", 1);
	k = kernel_of(ptx, &m, &cm);
	if (optimised)
		hg_cpu_kernel_wait(k);
	st = hg_grid_run(k, &g, fault);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	return st;
}

/* 0 is no less of an address for a compiler that sees it. */
Test(grid, an_address_that_is_0_for_certain_faults)
{
	struct hg_fault f = { .what = "" };

	for (int i = 0; i < 2; i++) {
		optimised = i;
		cr_assert_eq(run_once(KERNEL(HEAD "mov.u64 %rd1, 0; setp.eq.u32 %p1, %r5, 5; @%p1 st.global.u32 [%rd1], 1; ret;"), 64, word, &f), HG_ERR_FAULT);
		cr_assert_eq(f.cuda_error, 700, "%s", f.what);
	}
}

#define STORE KERNEL(HEAD "st.global.u32 [%rd7], %r7; ret;")

Test(grid, faults_of_a_kernel_are_results_and_the_process_lives)
{
	struct hg_fault f = { .what = "" };

	cr_assert_eq(run_once(STORE, 64, NULL, &f), HG_ERR_FAULT);
	cr_assert_eq(f.cuda_error, 700);
	cr_assert(strstr(f.what, "'k'"), "%s", f.what);
	cr_assert_eq(run_once(STORE, 64, (char *)word + 2, &f), HG_ERR_FAULT);
	cr_assert_eq(f.cuda_error, 716, "%s", f.what);
	cr_assert_eq(run_once(KERNEL("trap; ret;"), 64, word, &f), HG_ERR_FAULT);
	cr_assert_eq(f.cuda_error, 719, "%s", f.what);
	/* the warp is known in the midst of a block that runs as one */
	cr_assert_eq(run_once(KERNEL(HEAD "bar.sync 0; setp.ne.u32 %p1, %r5, 70; @%p1 bra DONE; trap; DONE: ret;"), 128, word, &f), HG_ERR_FAULT);
	cr_assert(strstr(f.what, "thread (70,0,0)"), "%s", f.what);
	cr_assert_eq(run_once(STORE, 64, word, &f), HG_OK);
	cr_assert_eq(word[255], 255);
}

Test(grid, threads_that_wait_for_ever_are_a_fault, .timeout = 60)
{
	struct hg_fault f = { .what = "" };

	cr_assert_eq(run_once(KERNEL(HEAD "setp.lt.u32 %p1, %r5, 16; @%p1 bra A; bar.sync 1, 64; A: bar.sync 2, 128; ret;"), 64, word, &f),
		     HG_ERR_FAULT);
	cr_assert(strstr(f.what, "wait"), "%s", f.what);
}

static sigjmp_buf back;
static volatile sig_atomic_t caught;

static void own_handler(int signo)
{
	caught = signo;
	siglongjmp(back, 1);
}

/* On purpose: no sanitizer is to see it first. */
static __attribute__((no_sanitize("address", "undefined"))) void own_fault(void)
{
	volatile int *volatile nowhere = NULL;

	if (!sigsetjmp(back, 1))
		*nowhere = 1;
}

Test(grid, the_application_keeps_its_own_faults)
{
	struct hg_fault f;
	struct sigaction act = { .sa_handler = own_handler };

	sigaction(SIGSEGV, &act, NULL);
	cr_assert_eq(run_once(STORE, 32, NULL, &f), HG_ERR_FAULT);
	cr_assert_eq(caught, 0);
	own_fault();
	cr_assert_eq(caught, SIGSEGV);
	caught = 0;
	/* one installed after ours is found again before the next grid */
	sigaction(SIGSEGV, &act, NULL);
	cr_assert_eq(run_once(STORE, 32, NULL, &f), HG_ERR_FAULT);
	cr_assert_eq(caught, 0);
	own_fault();
	cr_assert_eq(caught, SIGSEGV);
}

Test(grid, a_forked_child_is_told_that_it_cannot)
{
	struct params params = { word, 0 };
	struct kernel_run r = { .block = { 32 }, .params = &params };
	struct hg_grid g = grid_of(&r);
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k = kernel_of(STORE, &m, &cm);
	struct hg_fault f;
	int status;
	pid_t pid;

	cr_assert_eq(hg_grid_run(k, &g, &f), HG_OK);
	pid = fork();
	if (!pid) {
		alarm(10);
		catch_messages();
		_exit(hg_grid_run(k, &g, &f) == HG_ERR_UNAVAILABLE ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
}

static void *one_of_many(void *arg)
{
	struct hg_fault f;
	uint32_t *mine = arg;
	struct params params = { mine, 0 };
	struct kernel_run r = { .grid = { 50 }, .block = { 64 }, .params = &params };
	struct hg_grid g = grid_of(&r);
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k = kernel_of(KERNEL(HEAD "ld.global.u32 %r1, [%rd7]; add.u32 %r1, %r1, %r7; st.global.u32 [%rd7], %r1; ret;"), &m, &cm);

	for (int i = 0; i < 200; i++)
		if (hg_grid_run(k, &g, &f))
			return arg;
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	return NULL;
}

Test(grid, grids_of_several_threads_run_at_once)
{
	pthread_t t[6];
	void *bad;

	setenv("HGSHIM_CACHE", "0", 1);
	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, one_of_many, word + i * 4096);
	for (int i = 0; i < 6; i++) {
		pthread_join(t[i], &bad);
		cr_assert_null(bad);
		for (uint32_t w = 0; w < 3200; w++)
			cr_assert_eq(word[i * 4096 + w], 200 * w);
	}
}

/* ---- code ---- */

Test(grid, convergent_code_is_vector_code)
{
	struct hg_module *m = load_text(KERNEL(HEAD
		"setp.ge.u32 %p1, %r7, %r8; @%p1 bra DONE; ld.global.f32 %f1, [%rd7]; ld.global.f32 %f2, [%rd7+65536]; add.f32 %f3, %f1, %f2; st.global.f32 [%rd7+131072], %f3; DONE: ret;"));
	char *text, loop[64] = "";

	setenv("HGSHIM_ISA", "avx2", 1);
	cr_assert_eq(hg_cpu_kernel_text(hg_module_ir(m), 0, HG_CPU_ASM, 2, &text), HG_OK);
	cr_assert(strstr(text, "vaddps"), "no packed addition");
	cr_assert_null(strstr(text, "vaddss"), "a scalar addition");
	/* the labels that are jumped back to are loops: there is one over the warps of a block, and none over lanes */
	for (char *jump = text; (jump = strstr(jump, "\tj")); jump++) {
		char label[64], where[80];
		char *def;

		if (sscanf(jump, " j%*[a-z] %63[.A-Z0-9_a-z]", label) != 1)
			continue;
		snprintf(where, sizeof(where), "\n%s:", label);
		def = strstr(text, where);
		if (!def || def > jump)
			continue;
		cr_assert(!*loop || !strcmp(loop, label), "two loops, at %s and %s", loop, label);
		strcpy(loop, label);
	}
	free(text);
	hg_module_free(m);
}

static int nr_files(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d)
		return 0;
	e = readdir(d);
	while (e) {
		n += e->d_name[0] != '.';
		e = readdir(d);
	}
	closedir(d);
	return n;
}

Test(grid, optimised_code_is_kept_on_disk_and_damage_is_survived)
{
	char dir[] = "/tmp/hgshim-cache-XXXXXX", command[128];
	struct params params = { word, 0 };
	struct kernel_run r = { .grid = { 2 }, .block = { 64 }, .params = &params };
	struct hg_grid g = grid_of(&r);

	cr_assert(mkdtemp(dir));
	setenv("HGSHIM_CACHE", dir, 1);
	for (int i = 0; i < 3; i++) {
		struct hg_module *m;
		struct hg_cpu_module *cm;
		struct hg_fault f;
		struct hg_cpu_kernel *k = kernel_of(STORE, &m, &cm);

		cr_assert_eq(hg_cpu_kernel_was_cached(k), i == 1, "round %d", i);
		hg_cpu_kernel_wait(k);
		cr_assert_eq(hg_cpu_kernel_tier(k), 2);
		memset(word, 0, sizeof(word));
		cr_assert_eq(hg_grid_run(k, &g, &f), HG_OK);
		cr_assert_eq(word[127], 127);
		hg_cpu_module_destroy(cm);
		hg_module_free(m);
		cr_assert_geq(nr_files(dir), 1);
		if (i == 1) {	/* what is kept is cut short */
			snprintf(command, sizeof(command), "find %s -type f -exec truncate -s 100 {} +", dir);
			cr_assert_eq(system(command), 0);
		}
	}
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}
