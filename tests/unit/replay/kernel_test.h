/* kernel_test.h - runs PTX kernels on the CPU target in every way it has, and compares. */
#ifndef HG_TESTS_KERNEL_TEST_H
#define HG_TESTS_KERNEL_TEST_H

#include "replay/gpu_state.h"
#include "replay/grid.h"
#include "tests/unit/expanded.h"
#include "tests/unit/translate/code_util.h"

struct kernel_run {
	uint32_t grid[3], block[3], shared;
	bool cooperative;
	const void *params;
	void *data;		/* what the kernel changes */
	size_t size;
};

static inline struct hg_cpu_kernel *kernel_of(const char *ptx, struct hg_module **m, struct hg_cpu_module **cm)
{
	struct hg_cpu_kernel *k = NULL;

	*m = load_text(ptx);
	cr_assert_eq(hg_cpu_module_create(*m, cm), HG_OK);
	cr_assert_eq(hg_cpu_kernel_get(*cm, 0, &k), HG_OK, "the kernel does not compile");
	return k;
}

static inline struct hg_grid grid_of(const struct kernel_run *r)
{
	struct hg_grid g = { .shared_bytes = r->shared, .cooperative = r->cooperative, .params = r->params, .id = 1 };

	for (int i = 0; i < 3; i++) {
		g.grid[i] = r->grid[i] ? r->grid[i] : 1;
		g.block[i] = r->block[i] ? r->block[i] : 1;
	}
	return g;
}

/*
 * By the fast tier, by the optimised one, with lanes in any order, and the latter two with what GPUs get instead of the kernel: each must give
 * the same bytes.
 */
static inline void run_all_ways(const char *ptx, const struct kernel_run *r)
{
	static const char *const way[] = { "tier 1", "tier 2", "any order", "expanded", "expanded in any order" };
	struct hg_module *m;
	struct hg_cpu_module *cm, *expanded = NULL;
	struct hg_cpu_kernel *k;
	struct ir_module *ir = NULL;
	static _Alignas(16) unsigned char block[sizeof(struct hg_gpu_state) + 65536];
	struct hg_gpu_state *state = (struct hg_gpu_state *)block;
	unsigned char *before = malloc(r->size + 1), *first = malloc(r->size + 1);
	struct hg_grid g = grid_of(r);

	setenv("HGSHIM_CACHE", "0", 1);
	k = kernel_of(ptx, &m, &cm);
	memcpy(before, r->data, r->size);
	for (int i = 0; i < 5; i++) {
		struct hg_fault fault = { .what = "" };

		if (i == 3)
			cr_assert(expanded_kernel(m, state, &ir, &expanded, &k), "cannot be expanded:\n%s", ptx);
		if (!k)
			break;
		memcpy(r->data, before, r->size);
		if (i == 1)
			hg_cpu_kernel_wait(k);
		g.any_order = i == 2 || i == 4;
		hg_gpu_state_init(state, (uintptr_t)block, sizeof(block));
		cr_assert_eq(hg_grid_run(k, &g, &fault), HG_OK, "%s: %s", way[i], fault.what);
		hg_gpu_state_print(state, state + 1, hg_gpu_state_printed(state, sizeof(block)));
		if (!i)
			memcpy(first, r->data, r->size);
		for (size_t b = 0; b < r->size; b++)
			cr_assert_eq(((unsigned char *)r->data)[b], first[b], "%s differs at byte %zu of\n%s", way[i], b, ptx);
	}
	hg_cpu_module_destroy(expanded);
	ir_module_free(ir);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	free(before);
	free(first);
}

#endif
