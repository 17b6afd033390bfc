/* ze_code.c - modules and launches: a kernel's SPIR-V modules are made for what a launch needs, and built once by Level Zero's driver. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/gpu_code.h"
#include "replay/ze.h"
#include "translate/module.h"

#define LOG_SHOWN 1000			/* bytes of what the driver's compiler says */
#define MIN_LOCAL 16u			/* the specification does not say what a local argument of no bytes is */

/* A module that the driver has built. Arguments and shape are a state of the kernel: its lock is held from setting them to appending it. */
struct loaded {
	struct loaded *next;
	const struct hg_spirv_code *code;
	ze_module_handle_t module;
	ze_kernel_handle_t kernel;
	pthread_mutex_t lock;
};

struct hg_target_kernel {
	struct hg_target_module *module;
	const struct hg_kernel_info *info;
	size_t index;
	pthread_mutex_t lock;		/* loaded */
	struct loaded *loaded;
};

struct hg_target_module {
	struct hg_target *target;
	struct hg_spirv_module *code;
	void *vars;			/* device memory: the addresses of the module's variables */
	size_t vars_bytes;
	size_t nr_kernels;
	struct hg_target_kernel *kernel;
};

static void unload(struct loaded *l)
{
	bool has_gone = !l->kernel || ZE_END(zeKernelDestroy, l->kernel);

	if (l->module && has_gone)
		ZE_TRY(zeModuleDestroy, l->module);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void ze_module_unload(struct hg_target_module *m)
{
	if (!m)
		return;
	for (size_t i = 0; m->kernel && i < m->nr_kernels; i++) {
		for (struct loaded *l = m->kernel[i].loaded, *next; l; l = next) {
			next = l->next;
			unload(l);
		}
		pthread_mutex_destroy(&m->kernel[i].lock);
	}
	ze_own_give(m->target, m->vars, m->vars_bytes, ZE_OWN_DEVICE);
	hg_spirv_module_destroy(m->code);
	free(m->kernel);
	free(m);
}

/* The table of addresses that kernels find variables by. */
static enum hg_status place_vars(struct hg_target_module *m, const hg_dptr *var_addr, size_t nr)
{
	struct hg_target *t = m->target;
	enum hg_status st;

	if (!nr)
		return HG_OK;
	m->vars_bytes = nr * sizeof(*var_addr);
	st = ze_own_take(t, m->vars_bytes, ZE_OWN_DEVICE, &m->vars);
	if (st)
		return st;
	pthread_mutex_lock(&t->service_lock);
	st = ze_upload(t->service, m->vars, var_addr, m->vars_bytes);
	if (!st)
		st = ze_queue_sync(t->service);
	pthread_mutex_unlock(&t->service_lock);
	return st;
}

enum hg_status ze_module_load(struct hg_target *t, const struct hg_module *module, const hg_dptr *var_addr, struct hg_target_module **out)
{
	struct hg_target_module *m = calloc(1, sizeof(*m));
	unsigned char key[16];
	enum hg_status st;

	if (!m)
		return HG_ERR_NOMEM;
	m->target = t;
	m->nr_kernels = hg_module_nr_kernels(module);
	m->kernel = calloc(m->nr_kernels + 1, sizeof(*m->kernel));
	st = m->kernel ? HG_OK : HG_ERR_NOMEM;
	for (size_t i = 0; !st && i < m->nr_kernels; i++) {
		m->kernel[i] = (struct hg_target_kernel){ .module = m, .index = i, .info = hg_module_kernel(module, i) };
		pthread_mutex_init(&m->kernel[i].lock, NULL);
	}
	hg_module_hash(module, key);
	if (!st)
		st = hg_spirv_module_create(hg_module_ir(module), key, &t->spirv, &m->code);
	if (!st)
		st = place_vars(m, var_addr, hg_module_nr_vars(module));
	if (st)
		ze_module_unload(m);
	else
		*out = m;
	return st;
}

/* ---- building ---- */

/* What the driver's compiler said, on one line, cut; "" if it said nothing. */
static void log_text(ze_module_build_log_handle_t log, char out[LOG_SHOWN])
{
	size_t size = 0;
	char *text;

	out[0] = '\0';
	if (!log || ZE(zeModuleBuildLogGetString, log, &size, NULL) || !size)
		return;
	text = calloc(1, size + 1);
	if (text && !ZE(zeModuleBuildLogGetString, log, &size, text)) {
		for (char *c = text; *c; c++)
			if (*c == '\n' || *c == '\r')
				*c = c[1] ? ' ' : '\0';
		strncpy(out, text, LOG_SHOWN - 1);
		out[LOG_SHOWN - 1] = '\0';
	}
	free(text);
}

static enum hg_status build(const struct hg_target *t, const struct hg_spirv_code *code, ze_module_handle_t *out)
{
	const ze_module_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_MODULE_DESC, .format = ZE_MODULE_FORMAT_IL_SPIRV, .inputSize = code->size,
					.pInputModule = (const uint8_t *)code->words };
	ze_module_build_log_handle_t log = NULL;
	char said[LOG_SHOWN];
	enum hg_status st = HG_OK;
	ze_result_t result;

	if (code->version > t->spirv_version) {
		pr_err("kernel '%s' is SPIR-V %" PRIu32 ".%" PRIu32 ", and the driver of '%s' takes %" PRIu32 ".%" PRIu32 " at most", code->symbol,
		       code->version >> 16, code->version >> 8 & 0xff, t->info.name, t->spirv_version >> 16, t->spirv_version >> 8 & 0xff);
		return HG_ERR_UNSUPPORTED;
	}
	result = ZE_RAW(zeModuleCreate, t->context, t->device, &desc, out, &log);
	log_text(log, said);
	if (result == ZE_RESULT_ERROR_MODULE_BUILD_FAILURE || (result && said[0])) {
		pr_err("kernel '%s' cannot be built: zeModuleCreate, for cuModuleGetFunction: %s (0x%x)%s%s", code->symbol,
		       hg_ze_result_name(result), (unsigned int)result, said[0] ? ": " : ", and the driver's compiler says nothing", said);
		st = result == ZE_RESULT_ERROR_MODULE_BUILD_FAILURE ? HG_ERR_UNSUPPORTED : hg_ze_status(result);
	} else if (result) {
		st = hg_ze_check(HG_ZE_zeModuleCreate, result, VENDOR_ARGS(t->context, t->device, &desc, out, &log));
	} else if (said[0]) {
		pr_debug("kernel '%s': %s", code->symbol, said);
	}
	if (log)
		ZE_TRY(zeModuleBuildLogDestroy, log);
	return st;
}

/* What was built must be what was asked for: lanes of a sub-group are a warp's. */
static enum hg_status check_kernel(const struct loaded *l)
{
	ze_kernel_properties_t p = { .stype = ZE_STRUCTURE_TYPE_KERNEL_PROPERTIES };
	enum hg_status st = ZE(zeKernelGetProperties, l->kernel, &p);
	uint32_t size = p.requiredSubgroupSize ? p.requiredSubgroupSize : p.maxSubgroupSize;

	if (st || !l->code->uses_lanes || size == 32)
		return st;
	pr_err("kernel '%s' needs sub-groups of 32, and the driver built it with %" PRIu32, l->code->symbol, size);
	return HG_ERR_UNSUPPORTED;
}

static enum hg_status load(const struct hg_target *t, const struct hg_spirv_code *code, struct loaded **out)
{
	const ze_kernel_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_KERNEL_DESC, .pKernelName = code->symbol };
	struct loaded *l = calloc(1, sizeof(*l));
	enum hg_status st;

	if (!l)
		return HG_ERR_NOMEM;
	l->code = code;
	pthread_mutex_init(&l->lock, NULL);
	st = build(t, code, &l->module);
	if (!st)
		st = ZE(zeKernelCreate, l->module, &desc, &l->kernel);
	if (!st)
		st = check_kernel(l);
	/* pointers are in buffers, and in the block of parameters, of which the driver knows nothing */
	if (!st)
		st = ZE(zeKernelSetIndirectAccess, l->kernel, ZE_KERNEL_INDIRECT_ACCESS_FLAG_HOST | ZE_KERNEL_INDIRECT_ACCESS_FLAG_DEVICE |
			ZE_KERNEL_INDIRECT_ACCESS_FLAG_SHARED);
	if (st)
		unload(l);
	else
		*out = l;
	return st;
}

/* The code for what a launch needs, built; builds it when it is new. */
static enum hg_status code_get(struct hg_target_kernel *k, const struct hg_gpu_need *need, struct loaded **out)
{
	const struct hg_spirv_code *code;
	enum hg_status st = hg_spirv_code_get(k->module->code, k->index, need, &code);
	struct loaded *l;

	if (st)
		return st;
	pthread_mutex_lock(&k->lock);
	for (l = k->loaded; l && l->code != code; l = l->next)
		;
	if (!l) {
		st = load(k->module->target, code, &l);
		if (!st) {
			l->next = k->loaded;
			k->loaded = l;
		}
	}
	pthread_mutex_unlock(&k->lock);
	if (!st)
		*out = l;
	return st;
}

enum hg_status ze_kernel_get(struct hg_target_module *m, size_t index, struct hg_target_kernel **out)
{
	struct loaded *l;
	enum hg_status st;

	if (index >= m->nr_kernels)
		return HG_ERR_NOTFOUND;
	st = code_get(&m->kernel[index], &(struct hg_gpu_need){ 0 }, &l);
	if (!st)
		*out = &m->kernel[index];
	return st;
}

/* ---- launches ---- */

static enum hg_status check_grid(const struct hg_target *t, const struct hg_launch *l, const char *name)
{
	for (int i = 0; i < 3; i++)
		if (l->grid[i] > t->max_groups[i]) {
			pr_err("kernel '%s' is launched with %" PRIu32 " blocks in dimension %d: %s takes at most %" PRIu32, name, l->grid[i], i,
			       t->info.name, t->max_groups[i]);
			return HG_ERR_UNSUPPORTED;
		}
	if (l->cooperative && !t->has_cooperative) {
		pr_err("kernel '%s' is launched cooperatively, which %s does not offer", name, t->info.name);
		return HG_ERR_UNSUPPORTED;
	}
	return HG_OK;
}

/* Work-groups have one dimension (spirv.h). */
static enum hg_status set_block(const struct loaded *l, const uint32_t block[3], const char *device)
{
	uint32_t threads = block[0] * block[1] * block[2];
	ze_result_t result = ZE_RAW(zeKernelSetGroupSize, l->kernel, threads, 1u, 1u);

	if (result != ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION)
		return hg_ze_check(HG_ZE_zeKernelSetGroupSize, result, VENDOR_ARGS(l->kernel, threads, 1u, 1u));
	pr_err("kernel '%s' is launched with blocks of %" PRIu32 "x%" PRIu32 "x%" PRIu32 " threads, which its code does not take on %s: "
	       "zeKernelSetGroupSize, for cuLaunchKernel: %s (0x%x)", l->code->symbol, block[0], block[1], block[2], device,
	       hg_ze_result_name(result), (unsigned int)result);
	return HG_ERR_UNSUPPORTED;
}

static enum hg_status check_cooperative(const struct loaded *l, const struct hg_launch *launch, const char *device)
{
	uint64_t groups = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
	uint32_t most;
	enum hg_status st = ZE(zeKernelSuggestMaxCooperativeGroupCount, l->kernel, &most);

	if (st || groups <= most)
		return st;
	pr_err("kernel '%s' is launched cooperatively with %" PRIu64 " blocks, and %s runs at most %" PRIu32 " of them at once",
	       l->code->symbol, groups, device, most);
	return HG_ERR_UNSUPPORTED;
}

/* With l->lock: the append takes what the kernel's state is then. */
static enum hg_status append(struct hg_queue *q, const struct loaded *l, const struct hg_launch *launch, uint32_t local,
			     struct ze_step *s)
{
	const ze_group_count_t groups = { launch->grid[0], launch->grid[1], launch->grid[2] };
	const char *device = q->target->info.name;
	enum hg_status st = set_block(l, launch->block, device);

	if (!st)
		st = ZE(zeKernelSetArgumentValue, l->kernel, 0, sizeof(s->args), &s->args);
	if (!st)
		st = ZE(zeKernelSetArgumentValue, l->kernel, 1, local > MIN_LOCAL ? local : MIN_LOCAL, NULL);
	if (!st && launch->cooperative)
		st = check_cooperative(l, launch, device);
	if (st)
		return st;
	if (launch->cooperative)
		return ZE(zeCommandListAppendLaunchCooperativeKernel, q->list, l->kernel, &groups, s->signal, s->nr_wait, s->wait);
	return ZE(zeCommandListAppendLaunchKernel, q->list, l->kernel, &groups, s->signal, s->nr_wait, s->wait);
}

static enum hg_status launch_with(struct hg_queue *q, const struct hg_launch *launch, struct loaded *l, const struct hg_gpu_env *env,
				  uint32_t local)
{
	struct ze_step s;
	enum hg_status st = ze_begin(q, l->code->arg_bytes, &s);

	if (st)
		return st;
	gpu_args_write(s.args, l->code->param_bytes, launch, env);
	pthread_mutex_lock(&q->gpu.launch_lock);
	q->gpu.launches++;
	pthread_mutex_lock(&l->lock);
	st = append(q, l, launch, local, &s);
	pthread_mutex_unlock(&l->lock);
	ze_count(q, &s, st);
	pthread_mutex_unlock(&q->gpu.launch_lock);
	/* without that lock: whoever looks at all queues holds theirs, and takes it */
	return ze_said(q, st);
}

enum hg_status ze_launch(struct hg_queue *q, const struct hg_launch *launch)
{
	struct hg_target_kernel *k = (struct hg_target_kernel *)launch->kernel;	/* what is loaded for it grows */
	struct hg_gpu_need need = { .stack_bytes = launch->stack_bytes };
	struct hg_target *t = q->target;
	struct hg_gpu_env env = { .vars = (uintptr_t)k->module->vars, .state = (uintptr_t)q->gpu.state, .nsmid = t->info.nr_multiprocessors };
	struct gpu_shared shared;
	struct loaded *l;
	enum hg_status st;

	if (gpu_queue_drops(&q->gpu))
		return HG_OK;
	memcpy(need.block, launch->block, sizeof(need.block));
	st = check_grid(t, launch, k->info->name);
	if (!st)
		st = code_get(k, &need, &l);
	if (!st)
		st = gpu_launch_shared(launch, k->info, l->code->extra_lds, t->spirv.slm_bytes, t->info.name, &shared);
	if (!st && launch->cooperative)
		st = ze_barrier_clear(q, &env.grid_barrier);
	if (st)
		return st;
	env.shared_bytes = shared.used;
	env.grid_id = atomic_fetch_add(&t->gpu.grids, 1) + 1;
	gpu_queue_remember(&q->gpu, env.grid_id, k->info->name);
	return launch_with(q, launch, l, &env, shared.all);
}
