/* rocm_code.c - modules and launches: a kernel's code objects are made for what a launch needs, and loaded once. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/gpu_code.h"
#include "replay/rocm.h"
#include "translate/module.h"

#define SMALL_ARGS 1024

/* A code object that HIP has loaded. */
struct loaded {
	struct loaded *next;
	const struct hg_amd_code *code;
	void *module, *function;
};

struct hg_target_kernel {
	struct hg_target_module *module;
	const struct hg_kernel_info *info;
	size_t index;
	struct loaded *loaded;		/* under the module's lock */
};

struct hg_target_module {
	struct hg_target *target;
	struct hg_amd_module *code;
	void *vars;			/* device memory: the addresses of the module's variables */
	size_t nr_kernels;
	pthread_mutex_t lock;
	struct hg_target_kernel *kernel;
};

void rocm_module_unload(struct hg_target_module *m)
{
	bool can_call;

	if (!m)
		return;
	can_call = !rocm_enter(m->target);
	for (size_t i = 0; m->kernel && i < m->nr_kernels; i++)
		for (struct loaded *l = m->kernel[i].loaded, *next; l; l = next) {
			next = l->next;
			if (can_call)
				HIP_TRY(hipModuleUnload, l->module);
			free(l);
		}
	if (m->vars && can_call)
		HIP_TRY(hipFree, m->vars);
	hg_amd_module_destroy(m->code);
	pthread_mutex_destroy(&m->lock);
	free(m->kernel);
	free(m);
}

/* The table of addresses that kernels find variables by. */
static enum hg_status place_vars(struct hg_target_module *m, const hg_dptr *var_addr, size_t nr)
{
	size_t size = nr * sizeof(*var_addr);
	enum hg_status st;

	if (!nr)
		return HG_OK;
	st = HIP(hipMalloc, &m->vars, size);
	if (st)
		return st;
	/* not by rocm_write: this memory is none that the driver knows */
	pthread_mutex_lock(&m->target->service_lock);
	st = rocm_upload(m->target->service, m->vars, var_addr, size);
	if (!st)
		st = rocm_queue_sync(m->target->service);
	pthread_mutex_unlock(&m->target->service_lock);
	return st;
}

enum hg_status rocm_module_load(struct hg_target *t, const struct hg_module *module, const hg_dptr *var_addr,
				struct hg_target_module **out)
{
	struct hg_target_module *m;
	unsigned char key[16];
	enum hg_status st = rocm_enter(t);

	if (st)
		return st;
	m = calloc(1, sizeof(*m));
	if (!m)
		return HG_ERR_NOMEM;
	m->target = t;
	m->nr_kernels = hg_module_nr_kernels(module);
	pthread_mutex_init(&m->lock, NULL);
	m->kernel = calloc(m->nr_kernels + 1, sizeof(*m->kernel));
	st = m->kernel ? HG_OK : HG_ERR_NOMEM;
	for (size_t i = 0; !st && i < m->nr_kernels; i++)
		m->kernel[i] = (struct hg_target_kernel){ .module = m, .index = i, .info = hg_module_kernel(module, i) };
	hg_module_hash(module, key);
	if (!st)
		st = hg_amd_module_create(hg_module_ir(module), key, &t->chip, &m->code);
	if (!st)
		st = place_vars(m, var_addr, hg_module_nr_vars(module));
	if (st)
		rocm_module_unload(m);
	else
		*out = m;
	return st;
}

/* HIP's function for the code; loads it when it is new. */
static enum hg_status load_code(struct hg_target_kernel *k, const struct hg_amd_code *code, void **out)
{
	enum hg_status st = HG_OK;
	struct loaded *l;

	pthread_mutex_lock(&k->module->lock);
	for (l = k->loaded; l && l->code != code; l = l->next)
		;
	if (!l) {
		l = calloc(1, sizeof(*l));
		st = l ? HIP(hipModuleLoadData, &l->module, code->elf) : HG_ERR_NOMEM;
		if (st)
			goto err_free;
		st = HIP(hipModuleGetFunction, &l->function, l->module, code->symbol);
		if (st)
			goto err_unload;
		l->code = code;
		l->next = k->loaded;
		k->loaded = l;
	}
	*out = l->function;
	pthread_mutex_unlock(&k->module->lock);
	return HG_OK;

err_unload:
	HIP_TRY(hipModuleUnload, l->module);
err_free:
	free(l);
	pthread_mutex_unlock(&k->module->lock);
	return st;
}

static enum hg_status code_get(struct hg_target_kernel *k, const struct hg_gpu_need *need, const struct hg_amd_code **code, void **function)
{
	enum hg_status st = hg_amd_code_get(k->module->code, k->index, need, code);

	return st ? st : load_code(k, *code, function);
}

enum hg_status rocm_kernel_get(struct hg_target_module *m, size_t index, struct hg_target_kernel **out)
{
	const struct hg_amd_code *code;
	struct hg_target_kernel *k;
	enum hg_status st;
	void *function;

	if (index >= m->nr_kernels)
		return HG_ERR_NOTFOUND;
	st = rocm_enter(m->target);
	if (st)
		return st;
	k = &m->kernel[index];
	st = code_get(k, &(struct hg_gpu_need){ 0 }, &code, &function);
	if (!st)
		*out = k;
	return st;
}

/* ---- launches ---- */

/* What HIP is to be asked for; each product is what the hardware's fields hold. */
static enum hg_status shape(const struct hg_queue *q, const struct hg_launch *l, const struct hg_amd_code *code, uint32_t block[3])
{
	hg_amd_block(code, l->block, block);
	for (int i = 0; i < 3; i++)
		if ((uint64_t)l->grid[i] * block[i] > UINT32_MAX) {
			pr_err("kernel '%s' is launched with %" PRIu32 " blocks of %" PRIu32 " work-items in dimension %d: %s counts at most "
			       "%" PRIu32, l->kernel->info->name, l->grid[i], block[i], i, q->target->chip.name, UINT32_MAX);
			return HG_ERR_UNSUPPORTED;
		}
	return HG_OK;
}

/* Zeros, as every grid begins with: { u32 size, u32 barrier }. */
static enum hg_status clear_barrier(struct hg_queue *q)
{
	enum hg_status st = HG_OK;

	if (!hg_hip.hipModuleLaunchCooperativeKernel || !q->target->has_cooperative) {
		pr_err("cooperative launches are not possible: %s", q->target->has_cooperative ?
		       "HIP has hipModuleLaunchCooperativeKernel from version 5.5 on" : "the device does not have them");
		return HG_ERR_UNSUPPORTED;
	}
	if (!q->barrier)
		st = rocm_own_take(q->target, ROCM_BARRIER_BYTES, 0, &q->barrier);
	if (!st)
		st = HIP(hipMemsetD8Async, q->barrier, 0, ROCM_BARRIER_BYTES, q->stream);
	return st;
}

static enum hg_status run(struct hg_queue *q, const struct hg_launch *l, void *function, const uint32_t block[3], uint32_t lds,
			  void *args, size_t size)
{
	void *extra[] = { HIP_LAUNCH_BUFFER, args, HIP_LAUNCH_SIZE, &size, HIP_LAUNCH_END };
	void *params[] = { args };	/* a kernel has one argument: all of it */

	if (l->cooperative)
		return HIP(hipModuleLaunchCooperativeKernel, function, l->grid[0], l->grid[1], l->grid[2], block[0], block[1], block[2], lds,
			   q->stream, params);
	return HIP(hipModuleLaunchKernel, function, l->grid[0], l->grid[1], l->grid[2], block[0], block[1], block[2], lds, q->stream, NULL,
		   extra);
}

static enum hg_status launch_with(struct hg_queue *q, const struct hg_launch *l, const struct hg_amd_code *code, void *function,
				  unsigned char *args, size_t size)
{
	struct hg_gpu_env env = {
		.vars = (uintptr_t)l->kernel->module->vars,
		.state = (uintptr_t)q->gpu.state,
		.grid_id = atomic_fetch_add(&q->target->gpu.grids, 1) + 1,
		.nsmid = q->target->info.nr_multiprocessors,
	};
	const struct hg_amd_chip *chip = &q->target->chip;
	struct gpu_shared shared;
	uint32_t block[3];
	enum hg_status st = gpu_launch_shared(l, l->kernel->info, code->extra_lds, chip->lds_bytes, chip->name, &shared);

	if (!st)
		st = shape(q, l, code, block);
	if (!st && l->cooperative)
		st = clear_barrier(q);
	if (st)
		return st;
	env.grid_barrier = l->cooperative ? (uintptr_t)q->barrier : 0;
	env.shared_bytes = shared.used;
	gpu_args_write(args, code->param_bytes, l, &env);
	gpu_queue_remember(&q->gpu, env.grid_id, l->kernel->info->name);
	pthread_mutex_lock(&q->gpu.launch_lock);
	q->gpu.launches++;
	st = run(q, l, function, block, shared.all, args, size);
	pthread_mutex_unlock(&q->gpu.launch_lock);
	return st;
}

enum hg_status rocm_launch(struct hg_queue *q, const struct hg_launch *l)
{
	struct hg_target_kernel *k = (struct hg_target_kernel *)l->kernel;	/* what is loaded for it grows */
	unsigned char small[SMALL_ARGS] __attribute__((aligned(16))), *args = small;
	struct hg_gpu_need need = { .stack_bytes = l->stack_bytes };
	const struct hg_amd_code *code;
	void *function;
	enum hg_status st;
	size_t size;

	if (gpu_queue_drops(&q->gpu))
		return HG_OK;
	memcpy(need.block, l->block, sizeof(need.block));
	st = rocm_enter(q->target);
	if (!st)
		st = code_get(k, &need, &code, &function);
	if (st)
		return st;
	size = gpu_args_bytes(code->param_bytes);
	if (size > sizeof(small)) {
		args = aligned_alloc(16, (size + 15) & ~(size_t)15);
		if (!args)
			return HG_ERR_NOMEM;
	}
	st = launch_with(q, l, code, function, args, size);
	if (args != small)
		free(args);
	if (!st)
		rocm_issued(q);
	return st;
}
