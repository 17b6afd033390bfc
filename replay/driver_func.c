/* driver_func.c - kernels: attributes, names, parameters, occupancy. */
#include <stdlib.h>

#include "common/msg.h"
#include "replay/driver_priv.h"

/* With a reference; either handle type names the same object. */
static CUresult function_get(const void *handle, struct drv_function **out)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	*out = drv_obj_get(handle, DRV_FUNCTION);
	return *out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult compile_error(enum hg_status st)
{
	switch (st) {
	case HG_ERR_NOMEM:
		return CUDA_ERROR_OUT_OF_MEMORY;
	case HG_ERR_UNSUPPORTED:
		return CUDA_ERROR_NOT_SUPPORTED;
	default:
		return CUDA_ERROR_INVALID_PTX;
	}
}

CUresult drv_function_compile(struct drv_function *f, struct hg_target_kernel **out)
{
	CUresult r = CUDA_SUCCESS;
	enum hg_status st;

	if (f->info->refused) {
		pthread_mutex_lock(&f->lock);
		if (!f->refusal_said)
			pr_err("kernel '%s' cannot run: %s", f->info->name, f->info->refused);
		f->refusal_said = true;
		pthread_mutex_unlock(&f->lock);
		return CUDA_ERROR_NOT_SUPPORTED;
	}
	pthread_mutex_lock(&f->lock);
	if (!f->kernel && !f->compile_error) {
		st = drv.ops->kernel_get(f->code->target, f->index, &f->kernel);
		if (st)
			f->compile_error = compile_error(st);
		/* memory may be there the next time; code does not get better */
		r = f->compile_error;
		if (st == HG_ERR_NOMEM)
			f->compile_error = CUDA_SUCCESS;
	} else {
		r = f->compile_error;
	}
	if (!r)
		*out = f->kernel;
	pthread_mutex_unlock(&f->lock);
	return r;
}

/*
 * Blocks of this kernel that a multiprocessor holds. Registers do not count: a portable target spills
 * what it has no registers for.
 */
unsigned int drv_occupancy(const struct drv_function *f, unsigned int threads, size_t dynamic_shared)
{
	unsigned int warps = (threads + drv.info.warp_size - 1) / drv.info.warp_size;
	unsigned int blocks = DRV_MAX_BLOCKS_PER_SM, fit;
	uint64_t shared = (uint64_t)f->info->shared_bytes + dynamic_shared;

	if (!warps || threads > f->info->max_threads || threads > drv.info.max_threads_per_block ||
	    shared > drv.info.max_shared_optin_bytes)
		return 0;
	fit = DRV_MAX_THREADS_PER_SM / drv.info.warp_size / warps;
	if (fit < blocks)
		blocks = fit;
	shared = (shared + DRV_SHARED_RESERVED + 127) & ~UINT64_C(127);
	fit = (unsigned int)((drv.info.max_shared_optin_bytes + DRV_SHARED_RESERVED) / shared);
	return fit < blocks ? fit : blocks;
}

static unsigned int max_threads(const struct drv_function *f)
{
	return f->info->max_threads && f->info->max_threads < drv.info.max_threads_per_block ?
		f->info->max_threads : drv.info.max_threads_per_block;
}

static CUresult attribute_get(int *value, CUfunction_attribute attrib, const void *handle)
{
	struct drv_function *f;
	CUresult r;

	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (r)
		return r;
	switch (attrib) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*value = (int)max_threads(f);
		break;
	case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
		*value = (int)f->info->shared_bytes;
		break;
	case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
		*value = (int)f->info->local_bytes;
		break;
	case CU_FUNC_ATTRIBUTE_NUM_REGS:
		*value = f->info->nr_regs < 16 ? 16 : f->info->nr_regs > 255 ? 255 : (int)f->info->nr_regs;
		break;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION:
		/* libraries choose among their compiled-in tunings by it: it must be one that the program was built for */
		*value = (int)f->info->sm;
		break;
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
		*value = (int)(drv.cc_major * 10 + drv.cc_minor);
		break;
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		*value = f->max_dynamic_shared;
		break;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		*value = f->carveout;
		break;
	case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
	case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
	case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
	case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
	case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
		*value = 0;
		break;
	default:
		r = CUDA_ERROR_INVALID_VALUE;
	}
	drv_obj_put(&f->obj);
	return r;
}

static CUresult attribute_set(const void *handle, CUfunction_attribute attrib, int value)
{
	struct drv_function *f;
	CUresult r = function_get(handle, &f);

	if (r)
		return r;
	switch (attrib) {
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		if (value < 0 || (uint64_t)value + f->info->shared_bytes > drv.info.max_shared_optin_bytes)
			r = CUDA_ERROR_INVALID_VALUE;
		else
			f->max_dynamic_shared = value;
		break;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		if (value < -1 || value > 100)
			r = CUDA_ERROR_INVALID_VALUE;
		else
			f->carveout = value;
		break;
	case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
	case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
		break;	/* no clusters: nothing to allow */
	default:
		r = CUDA_ERROR_INVALID_VALUE;
	}
	drv_obj_put(&f->obj);
	return r;
}

static CUresult device_check(CUdevice dev)
{
	CUresult r = drv_ready();

	if (r)
		return r;
	return dev >= 0 && dev < drv.nr_devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult drv_cuFuncGetAttribute(int *value, CUfunction_attribute attrib, CUfunction f)
{
	return attribute_get(value, attrib, f);
}

CUresult drv_cuFuncSetAttribute(CUfunction f, CUfunction_attribute attrib, int value)
{
	return attribute_set(f, attrib, value);
}

CUresult drv_cuKernelGetAttribute(int *value, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev)
{
	CUresult r = device_check(dev);

	return r ? r : attribute_get(value, attrib, kernel);
}

CUresult drv_cuKernelSetAttribute(CUfunction_attribute attrib, int value, CUkernel kernel, CUdevice dev)
{
	CUresult r = device_check(dev);

	return r ? r : attribute_set(kernel, attrib, value);
}

CUresult drv_cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config)
{
	struct drv_function *f;
	CUresult r;

	if ((int)config < 0 || config > CU_FUNC_CACHE_PREFER_EQUAL)
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (r)
		return r;
	f->cache_config = (int)config;
	drv_obj_put(&f->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev)
{
	CUresult r = device_check(dev);

	return r ? r : drv_cuFuncSetCacheConfig((CUfunction)kernel, config);
}

CUresult drv_cuFuncSetSharedMemConfig(CUfunction handle, CUsharedconfig config)
{
	struct drv_function *f;
	CUresult r;

	if ((int)config < 0 || config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (!r)
		drv_obj_put(&f->obj);
	return r;
}

CUresult drv_cuFuncGetName(const char **name, CUfunction handle)
{
	struct drv_function *f;
	CUresult r;

	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (r)
		return r;
	*name = f->info->name;
	drv_obj_put(&f->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuKernelGetName(const char **name, CUkernel kernel)
{
	return drv_cuFuncGetName(name, (CUfunction)kernel);
}

CUresult drv_cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset, size_t *size)
{
	struct drv_function *f;
	CUresult r;

	if (!offset)
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (r)
		return r;
	if (index >= f->info->nr_params) {
		r = CUDA_ERROR_INVALID_VALUE;
	} else {
		*offset = f->info->params[index].offset;
		if (size)
			*size = f->info->params[index].size;
	}
	drv_obj_put(&f->obj);
	return r;
}

CUresult drv_cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *size)
{
	return drv_cuFuncGetParamInfo((CUfunction)kernel, index, offset, size);
}

CUresult drv_cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction handle)
{
	struct drv_function *f;
	CUresult r;

	if (!state)
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (r)
		return r;
	pthread_mutex_lock(&f->lock);
	*state = f->kernel ? CU_FUNCTION_LOADING_STATE_LOADED : CU_FUNCTION_LOADING_STATE_UNLOADED;
	pthread_mutex_unlock(&f->lock);
	drv_obj_put(&f->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuFuncLoad(CUfunction handle)
{
	struct hg_target_kernel *kernel;
	struct drv_function *f;
	CUresult r = function_get(handle, &f);

	if (r)
		return r;
	r = drv_function_compile(f, &kernel);
	drv_obj_put(&f->obj);
	return r;
}

/* occupancy */

CUresult drv_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction handle, int threads,
								  size_t dynamic_shared, unsigned int flags)
{
	struct drv_function *f;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!blocks || threads <= 0 || (flags & ~(unsigned int)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (r)
		return r;
	*blocks = (int)drv_occupancy(f, (unsigned int)threads, dynamic_shared);
	drv_obj_put(&f->obj);
	return CUDA_SUCCESS;
}

CUresult drv_cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction f, int threads, size_t dynamic_shared)
{
	return drv_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, f, threads, dynamic_shared, 0);
}

CUresult drv_cuOccupancyMaxPotentialBlockSizeWithFlags(int *min_grid, int *block, CUfunction handle,
						       CUoccupancyB2DSize shared_of, size_t dynamic_shared, int limit,
						       unsigned int flags)
{
	unsigned int warp = drv.info.warp_size, best = 0, best_threads = 0, best_blocks = 0, most;
	struct drv_function *f;
	struct drv_ctx *ctx;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!min_grid || !block || limit < 0 || (flags & ~(unsigned int)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (r)
		return r;
	most = max_threads(f);
	if (limit && (unsigned int)limit < most)
		most = (unsigned int)limit;
	/* largest blocks first: of equal occupancies they win */
	for (unsigned int threads = (most + warp - 1) / warp * warp; threads; threads -= warp) {
		unsigned int use = threads < most ? threads : most, blocks;

		blocks = drv_occupancy(f, use, shared_of ? shared_of((int)use) : dynamic_shared);
		if (blocks * use > best) {
			best = blocks * use;
			best_threads = use;
			best_blocks = blocks;
		}
	}
	drv_obj_put(&f->obj);
	*min_grid = (int)(best_blocks * drv.info.nr_multiprocessors);
	*block = (int)best_threads;
	return CUDA_SUCCESS;
}

CUresult drv_cuOccupancyMaxPotentialBlockSize(int *min_grid, int *block, CUfunction f, CUoccupancyB2DSize shared_of,
					      size_t dynamic_shared, int limit)
{
	return drv_cuOccupancyMaxPotentialBlockSizeWithFlags(min_grid, block, f, shared_of, dynamic_shared, limit, 0);
}

CUresult drv_cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction handle, int blocks, int threads)
{
	struct drv_function *f;
	struct drv_ctx *ctx;
	uint64_t each, taken;
	CUresult r = drv_current(&ctx);

	if (r)
		return r;
	if (!bytes || blocks <= 0 || threads <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	r = function_get(handle, &f);
	if (r)
		return r;
	if ((unsigned int)blocks > drv_occupancy(f, (unsigned int)threads, 0)) {
		r = CUDA_ERROR_INVALID_VALUE;
	} else {
		each = (drv.info.max_shared_optin_bytes + DRV_SHARED_RESERVED) / (unsigned int)blocks & ~UINT64_C(127);
		taken = (uint64_t)f->info->shared_bytes + DRV_SHARED_RESERVED;
		*bytes = each > taken ? each - taken : 0;
	}
	drv_obj_put(&f->obj);
	return r;
}

/* for recording */

enum hg_status hg_driver_kernel_info(const void *function, const struct hg_kernel_info **out)
{
	struct drv_function *f = drv_obj_get(function, DRV_FUNCTION);

	if (!f)
		return HG_ERR_INVALID;
	*out = f->info;
	drv_obj_put(&f->obj);
	return HG_OK;
}
