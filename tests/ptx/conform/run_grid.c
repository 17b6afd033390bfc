/* run_grid.c - runs the suite's kernels in process, in every way that the CPU target has. */
#include "tests/ptx/conform/conform.h"

#include "common/msg.h"
#include "replay/grid.h"
#include "tests/unit/expanded.h"
#include "translate/jit.h"
#include "translate/module.h"

static void drop_message(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

bool cf_run(const char *ptx, uint32_t grid, uint32_t block, const struct cf_buffer *buf, size_t nr_bufs, const void *extra,
	    size_t extra_size, bool all_ways)
{
	static const char *const way[] = { "tier 1", "tier 2", "any order", "expanded", "expanded in any order" };
	_Alignas(16) unsigned char params[4096];
	unsigned char *before[8] = { 0 }, *first[8] = { 0 };
	uint64_t var[8] = { 0 };
	char log[2048] = "";
	struct hg_module *m = NULL;
	struct hg_cpu_module *cm = NULL, *expanded = NULL;
	struct hg_cpu_kernel *k = NULL;
	struct ir_module *ir = NULL;
	struct hg_grid g = { .grid = { grid, 1, 1 }, .block = { block, 1, 1 }, .params = params, .var_addr = var,
			     .id = 1 };
	enum hg_status st;
	bool good = false;

	for (size_t b = 0; b < nr_bufs; b++)
		memcpy(params + 8 * b, &buf[b].data, 8);
	if (extra_size)
		memcpy(params + 8 * nr_bufs, extra, extra_size);
	st = hg_module_load(ptx, 0, 120, log, sizeof(log), &m);
	if (!st)
		st = hg_cpu_module_create(m, &cm);
	if (!st && !all_ways)
		hg_cpu_module_fast_only(cm);
	if (!st)
		st = hg_cpu_kernel_get(cm, 0, &k);
	if (st) {
		cf_fail("does not compile: %s\n%s", log, ptx);
		goto out;
	}
	for (size_t i = 0; i < hg_module_nr_vars(m) && i < CF_NR(var); i++) {	/* without relocations: none of the suite's has any */
		const struct hg_var_info *v = hg_module_var(m, i);
		unsigned char *at = cf_alloc(v->size);

		if (v->init)
			memcpy(at, v->init, v->size);
		var[i] = (uintptr_t)at;
	}
	for (size_t b = 0; b < nr_bufs; b++) {
		before[b] = malloc(buf[b].size);
		first[b] = malloc(buf[b].size);
		memcpy(before[b], buf[b].data, buf[b].size);
	}
	for (int i = 0; i < 5; i++) {
		struct hg_fault fault = { .what = "" };

		if (!all_ways && (i == 1 || i == 2 || i == 4))
			continue;
		if (i == 3) {
			if (!expanded_kernel(m, NULL, &ir, &expanded, &k)) {
				cf_fail("cannot be expanded\n%s", ptx);
				goto out;
			}
			if (!k)
				break;	/* there was nothing to expand */
		}
		if (i == 1)
			hg_cpu_kernel_wait(k);
		g.any_order = i == 2 || i == 4;
		for (size_t b = 0; i && b < nr_bufs; b++)
			memcpy(buf[b].data, before[b], buf[b].size);
		if (hg_grid_run(k, &g, &fault)) {
			cf_fail("%s: %s\n%s", way[i], fault.what, ptx);
			goto out;
		}
		for (size_t b = 0; b < nr_bufs; b++) {
			if (!i)
				memcpy(first[b], buf[b].data, buf[b].size);
			else if (memcmp(first[b], buf[b].data, buf[b].size))
				cf_fail("%s gives other bytes than tier 1\n%s", way[i], ptx);
		}
	}
	good = true;
	cf_ran(buf, nr_bufs);
out:
	hg_cpu_module_destroy(expanded);
	ir_module_free(ir);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	for (size_t i = 0; i < CF_NR(var); i++)
		free((void *)(uintptr_t)var[i]);
	for (size_t b = 0; b < nr_bufs && b < CF_NR(before); b++) {
		free(before[b]);
		free(first[b]);
	}
	return good;
}

int cf_is_refused(const char *ptx)
{
	char log[2048] = "";
	struct hg_module *m = NULL;
	struct hg_cpu_module *cm = NULL;
	struct hg_cpu_kernel *k = NULL;
	bool refused;

	hg_msg_sink_set(drop_message, NULL);
	refused = hg_module_load(ptx, 0, 120, log, sizeof(log), &m) || hg_cpu_module_create(m, &cm) || hg_cpu_kernel_get(cm, 0, &k);
	hg_msg_sink_set(NULL, NULL);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	return refused;
}
