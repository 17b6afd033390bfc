/* test_grid.c - grids, blocks and warps of the doubles' executor. */
#include "tests/unit/simt/simt_test.h"

/* %rd8: the buffer, %r8: n, %r7: the thread in the grid, %rd7: its word of the buffer. */
#define HEAD "ld.param.u64 %rd8, [p]; ld.param.u32 %r8, [n];\n" \
	"mov.u32 %r7, %ctaid.x; mov.u32 %r6, %ntid.x; mov.u32 %r5, %tid.x; mad.lo.u32 %r7, %r7, %r6, %r5;\n" \
	"mul.wide.u32 %rd7, %r7, 4; add.u64 %rd7, %rd8, %rd7;\n"

struct params { void *p; uint32_t n; };

static uint32_t word[1 << 16];

static void run(const char *ptx, uint32_t grid, uint32_t block, uint32_t n)
{
	struct params params = { word, n };
	struct kernel_run r = { .grid = { grid }, .block = { block }, .params = &params, .data = word, .size = sizeof(word) };

	run_both(ptx, &r);
}

Test(simt_grid, a_store_of_each_thread)
{
	run(KERNEL(HEAD "st.global.u32 [%rd7], %r7; ret;"), 9, 128, 0);
	for (uint32_t i = 0; i < 9 * 128; i++)
		cr_assert_eq(word[i], i);
}
