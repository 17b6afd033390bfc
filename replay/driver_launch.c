/* driver_launch.c - launches: parameters, limits, attributes. */
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/driver_priv.h"

#define STACK_PARAMS 512

/* The buffer that `extra` names: pointer and size, in any order, up to the end mark. */
static enum hg_status extra_find(void **extra, const void **buffer, size_t *size)
{
	bool has_size = false;

	*buffer = NULL;
	for (unsigned int i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
		if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) {
			*buffer = extra[i + 1];
		} else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[i + 1]) {
			*size = *(const size_t *)extra[i + 1];
			has_size = true;
		} else {
			return HG_ERR_INVALID;
		}
	}
	return *buffer && has_size ? HG_OK : HG_ERR_INVALID;
}

enum hg_status hg_driver_params_pack(const struct hg_kernel_info *k, void **params, void **extra, void *block,
				     size_t size)
{
	size_t given = 0, needed = 0;
	const void *buffer;
	enum hg_status st;

	if (size != k->param_bytes || (params && extra))
		return HG_ERR_INVALID;
	if (size)
		memset(block, 0, size);
	for (uint32_t i = 0; i < k->nr_params; i++)
		if (k->params[i].offset + k->params[i].size > needed)
			needed = k->params[i].offset + k->params[i].size;
	if (!needed)
		return HG_OK;
	if (extra) {
		st = extra_find(extra, &buffer, &given);
		if (st)
			return st;
		if (given < needed)
			return HG_ERR_INVALID;
		memcpy(block, buffer, given < size ? given : size);
		return HG_OK;
	}
	if (!params)
		return HG_ERR_INVALID;
	for (uint32_t i = 0; i < k->nr_params; i++) {
		if (!params[i])
			return HG_ERR_INVALID;
		memcpy((unsigned char *)block + k->params[i].offset, params[i], k->params[i].size);
	}
	return HG_OK;
}

/* What a launch asks for beyond its shape. */
struct wishes {
	bool cooperative;
	CUevent after;		/* recorded when the kernel is done */
};

static CUresult shape_check(const struct drv_function *f, const struct hg_launch *l)
{
	const struct hg_kernel_info *k = f->info;
	uint64_t threads = (uint64_t)l->block[0] * l->block[1] * l->block[2];
	uint64_t blocks;

	if (!l->grid[0] || !l->grid[1] || !l->grid[2] || !threads)
		return CUDA_ERROR_INVALID_VALUE;
	if (l->grid[0] > 0x7fffffff || l->grid[1] > 65535 || l->grid[2] > 65535)
		return CUDA_ERROR_INVALID_VALUE;
	if (l->block[0] > 1024 || l->block[1] > 1024 || l->block[2] > 64 || threads > drv.info.max_threads_per_block)
		return CUDA_ERROR_INVALID_VALUE;
	if (l->shared_bytes > (uint32_t)f->max_dynamic_shared)
		return CUDA_ERROR_INVALID_VALUE;
	if (k->req_threads[0] && (k->req_threads[0] != l->block[0] || k->req_threads[1] != l->block[1] ||
				  k->req_threads[2] != l->block[2]))
		return CUDA_ERROR_INVALID_VALUE;
	if (k->max_threads && threads > k->max_threads)
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	if (!l->cooperative)
		return CUDA_SUCCESS;
	blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
	if (blocks > (uint64_t)drv_occupancy(f, (unsigned int)threads, l->shared_bytes) * drv.info.nr_multiprocessors)
		return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
	return CUDA_SUCCESS;
}

static CUresult issue(struct hg_launch *l, CUstream stream, const struct wishes *wishes)
{
	struct drv_event *after = NULL;
	struct drv_stream *s;
	CUresult r;

	if (wishes->after) {
		after = drv_obj_get(wishes->after, DRV_EVENT);
		if (!after)
			return CUDA_ERROR_INVALID_HANDLE;
	}
	r = drv_stream_begin(stream, &s);
	if (r)
		goto out_event;
	r = drv_result(drv.ops->launch(s->queue, l));
	if (!r && after) {
		r = drv_result(drv.ops->mark_record(s->queue, after->mark));
		if (!r)
			drv_event_recorded(after);
	}
	drv_stream_end(s, DRV_WORK);
out_event:
	if (after)
		drv_obj_put(&after->obj);
	return r;
}

static CUresult launch_with(struct drv_function *f, struct hg_launch *l, CUstream stream, void **params, void **extra,
			    const struct wishes *wishes)
{
	unsigned char small[STACK_PARAMS] __attribute__((aligned(16)));
	size_t size = f->info->param_bytes;
	struct hg_target_kernel *kernel;
	void *block = small;
	CUresult r;

	l->cooperative = wishes->cooperative;
	r = shape_check(f, l);
	if (r)
		return r;
	r = drv_function_compile(f, &kernel);
	if (r)
		return r;
	if (size > sizeof(small)) {
		block = malloc(size);
		if (!block)
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (hg_driver_params_pack(f->info, params, extra, block, size)) {
		r = CUDA_ERROR_INVALID_VALUE;
	} else {
		l->kernel = kernel;
		l->params = block;
		r = issue(l, stream, wishes);
	}
	if (block != small)
		free(block);
	return r;
}

static CUresult launch(CUfunction handle, struct hg_launch *l, CUstream stream, void **params, void **extra,
		       const struct wishes *wishes)
{
	struct drv_function *f;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	f = drv_obj_get(handle, DRV_FUNCTION);
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	/* frames here are larger than those of a compiler that keeps registers across calls */
	l->stack_bytes = 2 * (uint32_t)ctx->limit[CU_LIMIT_STACK_SIZE];
	r = launch_with(f, l, stream, params, extra, wishes);
	drv_obj_put(&f->obj);
	return r;
}

CUresult drv_cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
			    unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void **params,
			    void **extra)
{
	struct hg_launch l = { .grid = { gx, gy, gz }, .block = { bx, by, bz }, .shared_bytes = shared };
	const struct wishes wishes = { 0 };

	return launch(f, &l, stream, params, extra, &wishes);
}

CUresult drv_cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
				       unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
				       CUstream stream, void **params)
{
	struct hg_launch l = { .grid = { gx, gy, gz }, .block = { bx, by, bz }, .shared_bytes = shared };
	const struct wishes wishes = { .cooperative = true };

	return launch(f, &l, stream, params, NULL, &wishes);
}

static CUresult attribute_apply(const CUlaunchAttribute *a, struct wishes *w)
{
	switch (a->id) {
	case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
		w->cooperative = a->value.cooperative != 0;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
		return a->value.clusterDim.x == 1 && a->value.clusterDim.y == 1 && a->value.clusterDim.z == 1 ?
			CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
	case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
		return a->value.preferredClusterDim.x == 1 && a->value.preferredClusterDim.y == 1 &&
			a->value.preferredClusterDim.z == 1 ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
	/* an event that may come early comes when the kernel is done, which both attributes allow */
	case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
		w->after = a->value.programmaticEvent.event;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
		w->after = a->value.launchCompletionEvent.event;
		return CUDA_SUCCESS;
	/* hints */
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
	case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
		return CUDA_ERROR_NOT_SUPPORTED;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult drv_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	struct wishes wishes = { 0 };
	struct hg_launch l;
	CUresult r;

	if (!config || (config->numAttrs && !config->attrs))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < config->numAttrs; i++) {
		r = attribute_apply(&config->attrs[i], &wishes);
		if (r)
			return r;
	}
	l = (struct hg_launch){
		.grid = { config->gridDimX, config->gridDimY, config->gridDimZ },
		.block = { config->blockDimX, config->blockDimY, config->blockDimZ },
		.shared_bytes = config->sharedMemBytes,
	};
	return launch(f, &l, config->hStream, params, extra, &wishes);
}
