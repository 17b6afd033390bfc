/* gpu_module.c - what modules for every kind of GPU have. */
#define _GNU_SOURCE
#include "translate/gpu_module.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "translate/expand.h"

#define USUAL_STACK 2048		/* as launches have it when the program asks for none (replay/driver_launch.c) */

struct gpu_module {
	const struct ir_module *ir;
	bool has_key;
	unsigned char key[GPU_KEY];
	pid_t pid;
	pthread_mutex_t lock;		/* expanded */
	struct ir_module *expanded;
	enum hg_status expand_st;
	bool is_expanded;
	struct gpu_kernel kernel[];
};

bool gpu_wants_scheduled(void)
{
	const char *text = getenv("HGSHIM_GPU_FORM");
	static _Atomic bool said;

	if (!text || !*text || !strcmp(text, "direct"))
		return false;
	if (!strcmp(text, "scheduled"))
		return true;
	if (!atomic_exchange(&said, true))
		pr_warn("HGSHIM_GPU_FORM='%s' is neither 'direct' nor 'scheduled'", text);
	return false;
}

uint32_t gpu_stack_class(uint32_t bytes)
{
	uint32_t want = bytes ? bytes : USUAL_STACK, p = 1;

	while (p < want && p < UINT32_C(1) << 31)
		p <<= 1;
	return p;
}

enum hg_status gpu_module_open(const struct ir_module *ir, const unsigned char *key, struct gpu_module **out)
{
	struct gpu_module *m = calloc(1, sizeof(*m) + ir->nr_funcs * sizeof(m->kernel[0]));

	if (!m)
		return HG_ERR_NOMEM;
	m->ir = ir;
	m->pid = getpid();
	if (key) {
		m->has_key = true;
		memcpy(m->key, key, sizeof(m->key));
	}
	pthread_mutex_init(&m->lock, NULL);
	for (size_t i = 0; i < ir->nr_funcs; i++)
		pthread_mutex_init(&m->kernel[i].lock, NULL);
	*out = m;
	return HG_OK;
}

void gpu_module_close(struct gpu_module *m, void (*free_made)(void *list))
{
	for (size_t i = 0; i < m->ir->nr_funcs; i++) {
		free_made(m->kernel[i].made);
		pthread_mutex_destroy(&m->kernel[i].lock);
	}
	pthread_mutex_destroy(&m->lock);
	ir_module_free(m->expanded);
	free(m);
}

const unsigned char *gpu_module_key(const struct gpu_module *m)
{
	return m->has_key ? m->key : NULL;
}

static enum hg_status need_expanded(struct gpu_module *m)
{
	enum hg_status st;

	pthread_mutex_lock(&m->lock);
	if (!m->is_expanded) {
		m->expand_st = hg_expand(m->ir, &m->expanded);
		m->is_expanded = true;
	}
	st = m->expand_st;
	pthread_mutex_unlock(&m->lock);
	return st;
}

enum hg_status gpu_module_kernel(struct gpu_module *m, size_t index, const struct ir_func **fn, struct gpu_kernel **kernel)
{
	enum hg_status st;

	if (index >= m->ir->nr_funcs)
		return HG_ERR_NOTFOUND;
	if (m->pid != getpid()) {
		pr_err("cannot compile kernel '%s' in a forked child", m->ir->func[index].name);
		return HG_ERR_UNAVAILABLE;
	}
	if (m->ir->func[index].refused) {
		pr_err("%s", m->ir->func[index].refused);
		return HG_ERR_UNSUPPORTED;
	}
	st = need_expanded(m);
	if (st)
		return st;
	if (m->expanded->func[index].refused) {
		pr_err("%s", m->expanded->func[index].refused);
		return HG_ERR_UNSUPPORTED;
	}
	*fn = &m->expanded->func[index];
	*kernel = &m->kernel[index];
	return HG_OK;
}

enum hg_status gpu_kernel_plan(struct gpu_kernel *k, const struct ir_func *fn)
{
	enum hg_status st = k->is_planned ? HG_OK : gpu_plan_make(fn, &k->plan);

	if (st)
		return st;
	if (!k->is_planned && k->plan.why)
		pr_debug("kernel '%s', line %u: %s", fn->name, k->plan.line, k->plan.why);
	k->is_planned = true;
	return HG_OK;
}
