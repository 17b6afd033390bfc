/* simt_test.h - runs PTX kernels by the doubles' executors and by the CPU target, and compares. */
#ifndef HG_TESTS_SIMT_TEST_H
#define HG_TESTS_SIMT_TEST_H

#include "tests/drivers/simt/simt.h"
#include "tests/unit/replay/kernel_test.h"
#include "tests/unit/simt/spirv_once.h"

/* One launch of kernel `index` of a module by the executor. */
static inline enum hg_status simt_once(const struct ir_module *ir, size_t index, const struct kernel_run *r,
				       const uint64_t *var_addr, char *why, size_t why_size)
{
	struct hg_grid g = grid_of(r);
	struct simt_launch l = { .kernel = index, .shared_bytes = r->shared, .warp_size = 32, .cooperative = r->cooperative,
				 .params = r->params, .var_addr = var_addr, .id = 1 };
	struct simt_module *m;
	enum hg_status st;

	memcpy(l.grid, g.grid, sizeof(l.grid));
	memcpy(l.block, g.block, sizeof(l.block));
	cr_assert_eq(simt_module_from_hgir(ir, &m), HG_OK);
	st = simt_run(m, &l, why, why_size);
	simt_module_free(m);
	return st;
}

/* Leaves in r->data what the executor made of it; the CPU target must have made the same. */
static inline void run_on(const char *ptx, const struct kernel_run *r, bool as_spirv)
{
	unsigned char *before = malloc(r->size + 1), *cpu = malloc(r->size + 1);
	struct hg_fault fault = { .what = "" };
	struct hg_grid g = grid_of(r);
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	enum hg_status st;
	char why[256];

	setenv("HGSHIM_CACHE", "0", 1);
	memcpy(before, r->data, r->size);
	k = kernel_of(ptx, &m, &cm);
	cr_assert_eq(hg_grid_run(k, &g, &fault), HG_OK, "%s", fault.what);
	memcpy(cpu, r->data, r->size);
	memcpy(r->data, before, r->size);
	st = simt_once(hg_module_ir(m), 0, r, NULL, why, sizeof(why));
	cr_assert_eq(st, HG_OK, "%s: %s", hg_status_text(st), why);
	for (size_t b = 0; b < r->size; b++)
		cr_assert_eq(((unsigned char *)r->data)[b], cpu[b], "byte %zu is %02x, on the CPU target %02x, of\n%s", b,
			     ((unsigned char *)r->data)[b], cpu[b], ptx);
	for (int how = SPIRV_DIRECT; as_spirv && !r->cooperative && how <= SPIRV_NO_F64; how++) {
		if (how != SPIRV_SCHEDULED && !spirv_may_be_direct(hg_module_ir(m), r))
			continue;
		memcpy(r->data, before, r->size);
		st = spirv_once(hg_module_ir(m), how, r, why, sizeof(why));
		cr_assert_eq(st, HG_OK, "as SPIR-V, %d: %s: %s, of\n%s", how, hg_status_text(st), why, ptx);
		for (size_t b = 0; b < r->size; b++)
			cr_assert_eq(((unsigned char *)r->data)[b], cpu[b], "as SPIR-V, %d, byte %zu is %02x, on the CPU target %02x, of\n%s",
				     how, b, ((unsigned char *)r->data)[b], cpu[b], ptx);
	}
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	free(before);
	free(cpu);
}

static inline void run_both(const char *ptx, const struct kernel_run *r)
{
	run_on(ptx, r, true);
}

/* Puts the module's variables at `at`, as a driver does; returns their size. */
static inline size_t place_vars(const struct hg_module *m, unsigned char *at, uint64_t *var_addr)
{
	size_t nr = hg_module_nr_vars(m), used = 0;

	for (size_t i = 0; i < nr; i++) {
		const struct hg_var_info *v = hg_module_var(m, i);

		used = (used + v->align - 1) / v->align * v->align;
		var_addr[i] = (uintptr_t)at + used;
		used += v->size;
	}
	for (size_t i = 0; i < nr; i++) {
		const struct hg_var_info *v = hg_module_var(m, i);
		unsigned char *to = (unsigned char *)(uintptr_t)var_addr[i];

		memset(to, 0, v->size);
		if (v->init)
			memcpy(to, v->init, v->size);
		for (size_t r = 0; r < v->nr_relocs; r++) {
			uint64_t a = var_addr[v->relocs[r].var] + (uint64_t)v->relocs[r].addend;

			memcpy(to + v->relocs[r].offset, &a, 8);
		}
	}
	return used;
}

/* Loads a file of tests/ptx; *k is the kernel whose name contains `name`. */
static inline struct hg_module *load_file(const char *file, const char *name, size_t *k)
{
	size_t size;
	char *text = read_test_file(file, &size);
	struct hg_module *m = load_text(text);

	free(text);
	for (*k = 0; *k < hg_module_nr_kernels(m); (*k)++)
		if (strstr(hg_module_kernel(m, *k)->name, name))
			return m;
	cr_assert_fail("no kernel '%s' in '%s'", name, file);
	return NULL;
}

#endif
