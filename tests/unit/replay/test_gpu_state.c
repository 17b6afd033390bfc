/* test_gpu_state.c - what GPUs tell of failures and prints: records made by hand, hostile ones too, and faults worded as on the cpu target. */
#include "replay/gpu_state.h"

#include "tests/unit/replay/kernel_test.h"
#include "tests/unit/replay/print_test.h"

/* ---- a block, filled by hand ---- */

static _Alignas(16) unsigned char block[sizeof(struct hg_gpu_state) + 8192];
static struct hg_gpu_state *const state = (struct hg_gpu_state *)block;

static void begin(void)
{
	memset(block, 0xa5, sizeof(block));
	hg_gpu_state_init(state, (uintptr_t)block, sizeof(block));
	catch_messages();
}

static unsigned char *area(void)
{
	return block + sizeof(*state);
}

/* A record with these words and strings; each %s has in its word the number of a string plus 1, in the high half. */
#define STRING(n) ((uint64_t)(n) + 1) << 40
static struct hg_gpu_record *put(uint32_t kind, const char *format, size_t nr, const uint64_t *word, size_t nr_strings,
				 const char *const *string)
{
	unsigned char *at = area() + state->print_head;
	struct hg_gpu_record *r = (struct hg_gpu_record *)at;
	uint64_t *words = (uint64_t *)(at + sizeof(*r));
	size_t used = sizeof(*r) + nr * 8;

	*r = (struct hg_gpu_record){ .kind = kind, .nr_args = (uint32_t)nr };
	memcpy(words, word, nr * 8);
	if (format) {
		r->format = (uint32_t)used;
		strcpy((char *)at + used, format);
		used += strlen(format) + 1;
	}
	for (size_t s = 0; s < nr_strings; s++) {
		for (size_t i = 0; i < nr; i++)
			if (word[i] == STRING(s))
				words[i] = used;
		strcpy((char *)at + used, string[s]);
		used += strlen(string[s]) + 1;
	}
	r->size = (uint32_t)((used + 7) / 8 * 8);
	state->print_head += r->size;
	return r;
}

static void put_print(const char *format, int value)
{
	put(HG_GPU_RECORD_PRINT, format, 1, &(uint64_t){ (uint32_t)value }, 0, NULL);
}

static void expect_printed(const char *want)
{
	char *text;

	hg_gpu_state_print(state, area(), hg_gpu_state_printed(state, sizeof(block)));
	cr_expect_eq(state->print_head, 0);
	text = flushed(stdout);
	cr_expect_str_eq(text, want);
	free(text);
}

Test(gpu_state, records_are_printed_in_order_as_the_hosts_printf_does)
{
	double d = -1.25, huge = 1e300;
	uint64_t words[10] = { (uint32_t)-5, 7, (uint32_t)-3, 0, STRING(0), (uint64_t)-1234567890123, 'x', 0x1234, STRING(1), 0 };
	char want[512];

	begin();
	memcpy(&words[3], &d, 8);
	put(HG_GPU_RECORD_PRINT, "%d|%*d|%7.2f|%-4s|%lld|%c|%p|%.2s|%s %%\n", 10, words, 2, (const char *const[]){ "abc", "truncated" });
	put_print("plain\n", 0);
	put(HG_GPU_RECORD_PRINT, "%g %y\n", 1, (uint64_t *)&huge, 0, NULL);
	snprintf(want, sizeof(want), "%d|%*d|%7.2f|%-4s|%lld|%c|%p|%.2s|%s %%\nplain\n%g %%y\n", -5, 7, -3, d, "abc", -1234567890123LL, 'x',
		 (void *)0x1234, "truncated", "(null)", huge);
	cr_expect(!hg_gpu_state_is_quiet(state));
	expect_printed(want);
	cr_expect(hg_gpu_state_is_quiet(state));
	cr_expect_str_eq(last_message, "");
	expect_printed("");
}

/* Each alters the second of three records. */
static void too_small(struct hg_gpu_record *r) { r->size = 8; }
static void none(struct hg_gpu_record *r) { r->size = 0; }
static void odd(struct hg_gpu_record *r) { r->size += 4; }
static void too_large(struct hg_gpu_record *r) { r->size += 4096; }
static void wrapping(struct hg_gpu_record *r) { r->size = 0xfffffff8; }
static void unknown(struct hg_gpu_record *r) { r->kind = 77; }
static void many_args(struct hg_gpu_record *r) { r->nr_args = 0x20000001; }
static void few_args(struct hg_gpu_record *r) { r->nr_args = 0; }
static void format_outside(struct hg_gpu_record *r) { r->format = r->size; }
static void format_in_head(struct hg_gpu_record *r) { r->format = 4; }
static void format_far(struct hg_gpu_record *r) { r->format = 0xffffffff; }
static void format_open(struct hg_gpu_record *r) { memset((char *)r + r->format, 'z', r->size - r->format); }
static void string_outside(struct hg_gpu_record *r) { ((uint64_t *)(r + 1))[0] = r->size; }
static void string_far(struct hg_gpu_record *r) { ((uint64_t *)(r + 1))[0] = UINT64_MAX - 3; }
static void assertion(struct hg_gpu_record *r) { r->kind = HG_GPU_RECORD_ASSERT; }

Test(gpu_state, a_damaged_record_ends_the_printing_and_is_told)
{
	static void (*const damage[])(struct hg_gpu_record *) = {
		too_small, none, odd, too_large, wrapping, unknown, many_args, few_args, format_outside, format_in_head, format_far,
		format_open, string_outside, string_far, assertion,
	};

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		struct hg_gpu_record *r;
		uint64_t word = STRING(0);

		begin();
		put_print("first %d\n", 1);
		r = put(HG_GPU_RECORD_PRINT, "%s\n", 1, &word, 1, (const char *const[]){ "second" });
		put_print("third %d\n", 3);
		damage[i](r);
		expect_printed("first 1\n");
		cr_expect(strstr(last_message, "what kernels printed is damaged from byte 40 of"), "row %zu: %s", i, last_message);
	}
	/* more than there is */
	begin();
	put_print("first %d\n", 1);
	memset(area() + state->print_head, 0, sizeof(block) - sizeof(*state) - state->print_head);
	state->print_head = UINT32_MAX;
	cr_expect_eq(hg_gpu_state_printed(state, sizeof(block)), sizeof(block) - sizeof(*state));
	expect_printed("first 1\n");
}

/* In memory of its own size, so that a sanitizer sees what reads beyond it. */
Test(gpu_state, random_damage_reads_nothing_beyond, .timeout = 60)
{
	const uint64_t word[] = { 1, STRING(0), (uint32_t)-4, 12 };
	uint32_t seed = 12345;

	hg_print_enable(false);
	for (int i = 0; i < 20000; i++) {
		struct hg_gpu_state copy;
		unsigned char *bytes;
		size_t size;

		begin();
		put(HG_GPU_RECORD_PRINT, "%hd %8.3s %*d\n", 4, word, 1, (const char *const[]){ "string" });
		put_print("%x\n", 5);
		size = state->print_head;
		bytes = malloc(size);
		cr_assert(bytes);
		memcpy(bytes, area(), size);
		for (int k = 0; k < 3; k++) {
			seed = seed * 1664525 + 1013904223;
			bytes[(seed >> 8) % size] = (unsigned char)(k ? seed >> 24 : 0xff);
		}
		copy = *state;
		hg_gpu_state_print(&copy, bytes, size);
		free(bytes);
	}
}

/* ---- faults ---- */

static const struct hg_gpu_launch launch = { .kernel = "k", .stack_bytes = 1024 };

static void tell(enum hg_gpu_fault fault, uint64_t addr, uint32_t line)
{
	begin();
	state->fault = fault;
	state->is_told = 1;
	state->line = line;
	state->addr = addr;
	state->block[0] = 1;
	state->thread[0] = 3;
}

/* What the cpu target says of PTX instructions that fail in thread (3,0,0) of block (1,0,0). */
static void fails_on_cpu(const char *body, struct hg_fault *out)
{
	static char text[4096];
	struct kernel_run r = { .grid = { 2 }, .block = { 4 }, .params = (uint64_t[2]){ (uintptr_t)block, 0 } };
	struct hg_grid g = grid_of(&r);
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	struct hg_module *m;

	setenv("HGSHIM_CACHE", "0", 1);
	kernel_around("ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; shl.b32 %r2, %r2, 4; add.u32 %r1, %r1, %r2;\n"
		      "setp.ne.u32 %p1, %r1, 19; @%p1 ret;\n", body, "", text, sizeof(text));
	k = kernel_of(text, &m, &cm);
	*out = (struct hg_fault){ .what = "" };
	cr_assert_eq(hg_grid_run(k, &g, out), HG_ERR_FAULT, "%s", body);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
}

Test(gpu_state, failures_are_worded_as_on_the_cpu)
{
	static const struct { enum hg_gpu_fault fault; uint64_t addr; const char *body; bool has_line; } row[] = {
		{ HG_GPU_TRAP, 0, "trap; ret;", true },
		{ HG_GPU_MISALIGNED, 0x200002, "mov.u64 %rd1, 0x200002; atom.global.add.u32 %r3, [%rd1], 1; ret;", true },
		{ HG_GPU_TEXTURE, 0x200004, "mov.u64 %rd2, 0x200004; tex.1d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%rd2, {%f1}]; ret;", true },
		{ HG_GPU_BARRIER, 99, "mov.u32 %r3, 99; add.u32 %r3, %r3, %r2; sub.u32 %r3, %r3, 16; bar.sync %r3; ret;", false },
		{ HG_GPU_DEADLOCK, 0, "bar.sync 1, 64; ret;", false },
	};
	struct hg_fault cpu, gpu;

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		fails_on_cpu(row[i].body, &cpu);
		tell(row[i].fault, row[i].addr, row[i].has_line ? 9 : 0);
		gpu = (struct hg_fault){ .what = "" };
		cr_assert(hg_gpu_state_fault(state, &launch, &gpu));
		cr_expect(!strcmp(gpu.what, cpu.what), "row %zu: '%s' and '%s'", i, gpu.what, cpu.what);
		cr_expect_eq(gpu.cuda_error, cpu.cuda_error, "row %zu", i);
		cr_expect_eq(gpu.addr, cpu.addr, "row %zu", i);
	}
	tell(HG_GPU_STACK, 0, 9);
	cr_assert(hg_gpu_state_fault(state, &launch, &gpu));
	cr_expect_str_eq(gpu.what, "a stack of 1024 bytes (CU_LIMIT_STACK_SIZE) is too small for kernel 'k', block (1,0,0), "
				   "thread (3,0,0), PTX line 9");
}

Test(gpu_state, nothing_is_made_up)
{
	struct hg_fault f = { .what = "" };

	begin();
	cr_expect(hg_gpu_state_is_quiet(state));
	cr_expect(!hg_gpu_state_fault(state, &launch, &f));
	cr_expect(hg_gpu_state_cancel(state));
	cr_expect_eq(state->fault, HG_GPU_CANCELLED);
	cr_expect(hg_gpu_state_cancel(state));
	cr_expect(!hg_gpu_state_fault(state, &launch, &f), "the host's wish is no failure");
	cr_expect_str_eq(f.what, "");
	tell(HG_GPU_TRAP, 0, 9);
	cr_expect(!hg_gpu_state_cancel(state));
	cr_expect_eq(state->fault, HG_GPU_TRAP);
	state->is_told = 0;
	state->line = 0;
	memset(state->block, 0, sizeof(state->block));
	cr_assert(hg_gpu_state_fault(state, &launch, &f));
	cr_expect_str_eq(f.what, "trap in kernel 'k', block (0,0,0); it did not get to say where");
	/* a number that is no fault, texts without end */
	tell((enum hg_gpu_fault)12345, 0, 0);
	memset(state->text, 'x', sizeof(state->text));
	cr_assert(hg_gpu_state_fault(state, &launch, &f));
	cr_expect_str_eq(f.what, "failure in kernel 'k', block (1,0,0), thread (3,0,0)");
	cr_expect_eq(f.cuda_error, 719);
	state->fault = HG_GPU_ASSERT;
	cr_assert(hg_gpu_state_fault(state, &launch, &f));
	cr_expect_eq(f.cuda_error, 710);
	cr_expect(strstr(f.what, "xxx' failed in xxx"), "%s", f.what);
}

/* Its message is printed, from the record of each lane or, where these had no room, from what is told of the first. */
Test(gpu_state, an_assertion_is_printed_once)
{
	static const char want[] = "a.cu:77: f: block: [1,0,0], thread: [3,0,0] Assertion `i < n` failed.\n";
	const uint64_t word[] = { STRING(0), 77, STRING(1), 1, 0, 0, 3, 0, 0, STRING(2) };

	for (int has_record = 0; has_record < 2; has_record++) {
		struct hg_fault f = { .what = "" };
		char *text;

		tell(HG_GPU_ASSERT, 0, 9);
		state->assert_line = 77;
		strcpy(state->text[0], "i < n");
		strcpy(state->text[1], "a.cu");
		strcpy(state->text[2], "f");
		if (has_record)
			put(HG_GPU_RECORD_ASSERT, NULL, 10, word, 3, (const char *const[]){ "a.cu", "f", "i < n" });
		for (int i = 0; i < 2; i++)
			hg_gpu_state_print(state, area(), hg_gpu_state_printed(state, sizeof(block)));
		text = flushed(stderr);
		cr_expect_str_eq(text, want);
		free(text);
		cr_assert(hg_gpu_state_fault(state, &launch, &f));
		cr_expect_str_eq(f.what, "assertion 'i < n' failed in a.cu:77, thread (3,0,0), in kernel 'k', block (1,0,0)");
		cr_expect_eq(f.cuda_error, 710);
	}
}

Test(gpu_state, room_for_prints_is_as_large_as_the_limit_says)
{
	struct hg_gpu_state s;

	hg_print_limit(1u << 20);
	cr_expect_eq(hg_gpu_state_bytes(), sizeof(s) + (1u << 20));
	hg_print_limit((8u << 20) + 3);
	cr_expect_eq(hg_gpu_state_bytes(), sizeof(s) + (8u << 20) + 8);
	hg_print_limit(0);
	cr_expect_eq(hg_gpu_state_bytes(), sizeof(s) + (64u << 10));
	hg_print_limit(SIZE_MAX);
	cr_expect_eq(hg_gpu_state_bytes(), sizeof(s) + (256u << 20));
	hg_gpu_state_init(&s, 0x200000000000, sizeof(s) + 4096);
	cr_expect_eq(s.print, 0x200000000000 + sizeof(s));
	cr_expect_eq(s.print_bytes, 4096);
	cr_expect_eq(s.fault | s.is_told | s.print_head, 0);
}
