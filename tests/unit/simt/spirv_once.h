/* spirv_once.h - runs a kernel of hgIR as SPIR-V: emitter, writer, and the executor of the doubles. */
#ifndef HG_TESTS_SPIRV_ONCE_H
#define HG_TESTS_SPIRV_ONCE_H

#include "tests/drivers/simt/simt_spirv.h"
#include "tests/unit/replay/kernel_test.h"
#include "translate/emit_gpu.h"
#include "translate/expand.h"
#include "translate/gpu_module.h"
#include "translate/spirv_write.h"

/* Whether the launch may have the direct form. */
static inline bool spirv_may_be_direct(const struct ir_module *ir, const struct kernel_run *r)
{
	struct hg_grid g = grid_of(r);
	struct ir_module *expanded;
	struct gpu_plan plan;

	cr_assert_eq(hg_expand(ir, &expanded), HG_OK);
	cr_assert_eq(gpu_plan_make(&expanded->func[0], &plan), HG_OK);
	ir_module_free(expanded);
	return plan.direct || (plan.rows && gpu_is_in_rows(g.block, 32));
}

static inline bool spirv_asks_for(const uint32_t *words, size_t nr, uint32_t capability)
{
	for (size_t i = 5; i + 1 < nr && words[i] == (2u << 16 | 17); i += 2)
		if (words[i + 1] == capability)
			return true;
	return false;
}

enum { SPIRV_DIRECT, SPIRV_SCHEDULED, SPIRV_NO_F64 };

/* One launch of the first kernel of a module without variables. A failure that the kernel tells of is HG_ERR_FAULT. */
static inline enum hg_status spirv_once(const struct ir_module *ir, int how, const struct kernel_run *r, char *why, size_t why_size)
{
	static struct hg_gpu_state state;
	struct emit_gpu_options opt = { .layout = HG_GPU_WAVE32, .scheduled = how == SPIRV_SCHEDULED, .no_f64 = how == SPIRV_NO_F64,
					.max_threads = 1024 };
	const struct spirv_write_options write = { .kernel = "k", .uses_lanes = true };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("k", c);
	struct hg_grid g = grid_of(r);
	struct simt_spirv_arg arg[2];
	struct simt_spirv_launch l = { .arg = arg, .nr_args = 2 };
	struct simt_spirv *k = NULL;
	uint32_t *words = NULL, version, extra = 0, at;
	struct hg_gpu_env env;
	struct ir_module *expanded;
	struct gpu_plan plan;
	unsigned char *args;
	enum hg_status st;
	size_t nr;

	cr_assert_eq(opt.no_f64 ? hg_expand_no_f64(ir, &expanded) : hg_expand(ir, &expanded), HG_OK);
	opt.local_bytes = expanded->func[0].local_bytes + (expanded->func[0].uses_stack ? 16384 : 0);
	cr_assert_eq(expanded->func[0].refused, NULL, "%s", expanded->func[0].refused);
	cr_assert_eq(gpu_plan_make(&expanded->func[0], &plan), HG_OK);
	opt.whole = !opt.scheduled && plan.whole;
	st = emit_spirv(&expanded->func[0], &opt, c, m, "k", &extra, why, why_size);
	if (!st)
		st = spirv_write(m, &write, &words, &nr, &version, why, why_size);
	if (!st && opt.no_f64)
		cr_assert_not(spirv_asks_for(words, nr, 10), "f64 is used");	/* Float64 */
	if (!st)
		st = simt_spirv_get(words, 4 * nr, "k", &k, why, why_size);
	at = HG_GPU_ENV_OFFSET(expanded->func[0].param_bytes);
	args = calloc(1, at + sizeof(env));
	env = (struct hg_gpu_env){ .state = (uintptr_t)&state, .grid_id = 1, .dynamic_shared_bytes = r->shared, .nsmid = 1,
				   .shared_bytes = expanded->func[0].shared_bytes + r->shared };
	memcpy(env.ntid, g.block, sizeof(env.ntid));
	memcpy(env.nctaid, g.grid, sizeof(env.nctaid));
	l.block[0] = g.block[0] * g.block[1] * g.block[2];
	l.block[1] = l.block[2] = 1;
	memcpy(l.grid, g.grid, sizeof(l.grid));
	memcpy(args, r->params, expanded->func[0].param_bytes);
	memcpy(args + at, &env, sizeof(env));
	arg[0] = (struct simt_spirv_arg){ .value = &args };
	arg[1] = (struct simt_spirv_arg){ .local_bytes = ((env.shared_bytes + 15) & ~15u) + extra + 16 };
	memset(&state, 0, sizeof(state));
	if (!st)
		st = simt_spirv_run(k, &l, why, why_size);
	if (!st && state.fault) {
		snprintf(why, why_size, "failure %u in line %u", (unsigned int)state.fault, (unsigned int)state.line);
		st = HG_ERR_FAULT;
	}
	simt_spirv_put(k);
	free(args);
	free(words);
	ir_module_free(expanded);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
	return st;
}

#endif
