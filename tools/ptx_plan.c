/* ptx_plan.c - hgshim-ptx plan: where the lanes of each kernel are known to be together. */
#include <stdio.h>
#include <string.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/gpu_plan.h"
#include "translate/ir.h"

struct plan_args {
	const char *kernel;
	size_t nr_kernels;
};

/* In order from what needs least: "direct" holds of any launch, "rows" of those where a warp's lanes lie side by side in x. */
static const char *word(bool always, bool rows)
{
	return always ? "direct" : rows ? "rows" : "scheduled";
}

static enum hg_status print_plans(const struct ir_module *ir, const struct hg_module *m, void *arg)
{
	struct plan_args *a = arg;

	(void)m;
	for (uint32_t i = 0; i < ir->nr_funcs; i++) {
		const struct ir_func *fn = &ir->func[i];
		struct gpu_plan plan;
		enum hg_status st;

		if ((a->kernel && strcmp(fn->name, a->kernel)) || !fn->nr_blocks)
			continue;
		st = gpu_plan_make(fn, &plan);
		if (st)
			return st;
		a->nr_kernels++;
		printf("%s\twarp %s\tpair %s\t%s%s%s", fn->name, word(plan.direct, plan.rows), word(plan.direct_pair, plan.rows_pair),
		       plan.uses_lanes ? " lanes" : "", plan.uses_barriers ? " barriers" : "", plan.uses_named_barriers ? " named" : "");
		if (plan.why)
			printf("\tline %u: %s", plan.line, plan.why);
		putchar('\n');
	}
	return HG_OK;
}

int ptx_cmd_plan(int argc, char **argv)
{
	struct plan_args a = { 0 };
	int code = ptx_each_ir(argc, argv, &a.kernel, print_plans, &a);

	if (!code && !a.nr_kernels) {
		pr_err(a.kernel ? "no kernel '%s' that was translated" : "no kernel that was translated", a.kernel);
		code = 1;
	}
	return code;
}
