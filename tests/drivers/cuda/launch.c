/* launch.c - kernels of the fake CUDA driver: from the call to the executor. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/msg.h"
#include "tests/drivers/cuda/fake.h"
#include "tests/drivers/simt/simt.h"
#include "translate/module.h"

/* ---- the call ---- */

static CUresult check_shape(const struct fake_function *f, const struct fake_launch *l)
{
	const struct hg_kernel_info *k = f->info;
	uint64_t threads = (uint64_t)l->block[0] * l->block[1] * l->block[2], blocks;

	if (!l->grid[0] || !l->grid[1] || !l->grid[2] || !threads || l->grid[0] > 0x7fffffff || l->grid[1] > 65535 ||
	    l->grid[2] > 65535 || l->block[0] > 1024 || l->block[1] > 1024 || l->block[2] > 64 || threads > 1024)
		return CUDA_ERROR_INVALID_VALUE;
	if (l->shared_bytes > (uint32_t)f->max_dynamic)
		return CUDA_ERROR_INVALID_VALUE;
	if (k->req_threads[0] && (k->req_threads[0] != l->block[0] || k->req_threads[1] != l->block[1] ||
				  k->req_threads[2] != l->block[2]))
		return CUDA_ERROR_INVALID_VALUE;
	if (threads > k->max_threads || threads * k->nr_regs > 65536)
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	if (!l->cooperative)
		return CUDA_SUCCESS;
	blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
	if (blocks > (uint64_t)fake_occupancy(f, (unsigned int)threads, l->shared_bytes) * (unsigned int)fake_config.nr_sms)
		return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
	return CUDA_SUCCESS;
}

/* The parameter block that `extra` names; its size must be the kernel's, but for what the last alignment adds. */
static CUresult extra_block(void *const *extra, const void **block, size_t *size)
{
	const size_t *length = NULL;

	*block = NULL;
	for (size_t i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
		if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			*block = extra[i + 1];
		else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
			length = extra[i + 1];
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (!*block || !length)
		return CUDA_ERROR_INVALID_VALUE;
	*size = *length;
	return CUDA_SUCCESS;
}

static CUresult pack(const struct hg_kernel_info *k, void *const *params, void *const *extra, unsigned char *out)
{
	const void *block;
	size_t size;
	CUresult r;

	if (params && extra)
		return CUDA_ERROR_INVALID_VALUE;
	if (extra) {
		r = extra_block(extra, &block, &size);
		if (r != CUDA_SUCCESS)
			return r;
		if (size > ((k->param_bytes + 15) & ~(size_t)15) ||
		    (k->nr_params && size < k->params[k->nr_params - 1].offset + k->params[k->nr_params - 1].size))
			return CUDA_ERROR_INVALID_VALUE;
		memcpy(out, block, size < k->param_bytes ? size : k->param_bytes);
		return CUDA_SUCCESS;
	}
	if (k->nr_params && !params)
		return CUDA_ERROR_INVALID_VALUE;
	for (uint32_t i = 0; i < k->nr_params; i++) {
		if (!params[i])
			return CUDA_ERROR_INVALID_VALUE;
		memcpy(out + k->params[i].offset, params[i], k->params[i].size);
	}
	return CUDA_SUCCESS;
}

static CUresult cannot_run(const struct hg_kernel_info *k)
{
	pr_err("cannot run kernel '%s': %s", k->name, k->refused);
	return CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult launch(const void *handle, struct fake_launch *l, CUstream stream, void *const *params,
		       void *const *extra)
{
	unsigned char small[FAKE_PARAM_BYTES], *block = small;
	const struct hg_kernel_info *k;
	struct fake_stream *s;
	struct fake_work *w;
	CUresult r = fake_function_get(handle, &l->f);

	if (r == CUDA_SUCCESS)
		r = fake_stream_get(stream, &s);
	if (r != CUDA_SUCCESS)
		return r;
	if (l->f->obj.ctx != s->obj.ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	k = l->f->info;
	r = check_shape(l->f, l);
	if (r != CUDA_SUCCESS)
		return r;
	if (k->refused && !fake_config.null_launch && !(fake_config.skip_sass && l->f->index >= l->f->module->image->nr_runnable))
		return cannot_run(k);
	l->params = NULL;
	if (k->param_bytes > sizeof(small)) {
		block = l->params = calloc(1, k->param_bytes);
		if (!block)
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	r = pack(k, params, extra, block);
	if (r != CUDA_SUCCESS || fake_config.null_launch || k->refused) {
		free(l->params);
		return r;
	}
	w = fake_work_begin(s, FAKE_LAUNCH);
	w->launch = *l;
	if (!l->params)
		memcpy(w->param, small, k->param_bytes);
	fake_work_publish(s, w);
	return CUDA_SUCCESS;
}

CUresult fake_cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
			     unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void **params,
			     void **extra)
{
	struct fake_launch l = { .grid = { gx, gy, gz }, .block = { bx, by, bz }, .shared_bytes = shared };

	return launch(f, &l, stream, params, extra);
}

CUresult fake_cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
					unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
					CUstream stream, void **params)
{
	struct fake_launch l = {
		.grid = { gx, gy, gz }, .block = { bx, by, bz }, .shared_bytes = shared, .cooperative = true,
	};

	return launch(f, &l, stream, params, NULL);
}

static CUresult apply(const CUlaunchAttribute *a, struct fake_launch *l, CUevent *after)
{
	switch (a->id) {
	case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
		l->cooperative = a->value.cooperative;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
		return a->value.clusterDim.x * a->value.clusterDim.y * a->value.clusterDim.z == 1 ? CUDA_SUCCESS :
			CUDA_ERROR_NOT_SUPPORTED;
	/* The kernel's end is a time at which either may be recorded. */
	case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
		*after = a->value.programmaticEvent.event;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
		*after = a->value.launchCompletionEvent.event;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_IGNORE:
	case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
	case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
	case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
	case CU_LAUNCH_ATTRIBUTE_PRIORITY:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
	case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
	case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult fake_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	CUevent after = NULL;
	struct fake_launch l;
	CUresult r;

	if (!config || (config->numAttrs && !config->attrs))
		return CUDA_ERROR_INVALID_VALUE;
	l = (struct fake_launch){
		.grid = { config->gridDimX, config->gridDimY, config->gridDimZ },
		.block = { config->blockDimX, config->blockDimY, config->blockDimZ },
		.shared_bytes = config->sharedMemBytes,
	};
	for (unsigned int i = 0; i < config->numAttrs; i++) {
		r = apply(&config->attrs[i], &l, &after);
		if (r != CUDA_SUCCESS)
			return r;
	}
	if (after && !fake_handle(after, FAKE_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	r = launch(f, &l, config->hStream, params, extra);
	if (r == CUDA_SUCCESS && after)
		r = fake_cuEventRecord(after, config->hStream);
	return r;
}

/* ---- the stream's thread ---- */

static enum hg_status executor(struct fake_image *image, struct simt_module **out)
{
	struct simt_module *m = atomic_load_explicit(&image->simt, memory_order_acquire);
	enum hg_status st = HG_OK;

	if (!m) {
		pthread_mutex_lock(&image->lock);
		m = image->simt;
		if (!m)
			st = simt_module_from_hgir(hg_module_ir(image->code), &m);
		if (!st)
			atomic_store_explicit(&image->simt, m, memory_order_release);
		pthread_mutex_unlock(&image->lock);
	}
	if (!st)
		*out = m;
	return st;
}

/* A fault sticks to the context, and is found by whoever calls next. */
void fake_launch_run(struct fake_stream *s, struct fake_work *w)
{
	static atomic_uint_fast64_t next_id = 1;
	struct fake_function *f = w->launch.f;
	uint64_t end = fake_now_ns() + fake_config.kernel_us * (uint64_t)1000;
	CUresult none = CUDA_SUCCESS, error;
	struct simt_module *m;
	struct simt_launch l;
	char why[512] = "";
	enum hg_status st;

	l = (struct simt_launch){
		.kernel = f->index, .shared_bytes = w->launch.shared_bytes, .warp_size = 32,
		.cooperative = w->launch.cooperative, .params = w->launch.params ? w->launch.params : w->param,
		.var_addr = f->module->var_addr, .id = atomic_fetch_add(&next_id, 1),
	};
	memcpy(l.grid, w->launch.grid, sizeof(l.grid));
	memcpy(l.block, w->launch.block, sizeof(l.block));
	f->loaded = true;
	st = executor(f->module->image, &m);
	if (!st)
		st = simt_run(m, &l, why, sizeof(why));
	fake_rest_until(end);
	if (!st)
		return;
	pr_err("kernel '%s' failed: %s", f->info->name, why[0] ? why : hg_status_text(st));
	error = st != HG_ERR_FAULT ? CUDA_ERROR_NOT_SUPPORTED :
		strstr(why, "memory") || strstr(why, "address") ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_ERROR_LAUNCH_FAILED;
	atomic_compare_exchange_strong(&s->obj.ctx->error, &none, error);
}
