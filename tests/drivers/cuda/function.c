/* function.c - functions and kernels of the fake CUDA driver: attributes, parameters, occupancy. */
#include "tests/drivers/cuda/fake.h"
#include "translate/module.h"

/* Of one multiprocessor of compute capability 9.0. */
#define SM_THREADS 2048u
#define SM_BLOCKS 32u
#define SM_REGS 65536u
#define SM_SHARED 233472u
#define RESERVED_SHARED 1024u		/* of each block */
#define MAX_SHARED 232448

static CUresult attribute(const struct hg_kernel_info *k, int max_dynamic, int carveout, CUfunction_attribute what, int *out)
{
	switch (what) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*out = (int)k->max_threads;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
		*out = (int)k->shared_bytes;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
		*out = (int)k->local_bytes;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_NUM_REGS:
		*out = (int)k->nr_regs;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION:
		*out = (int)k->sm;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
		*out = 10 * fake_config.cc_major + fake_config.cc_minor;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		*out = max_dynamic;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		*out = carveout;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
	case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
	case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
	case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
	case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
		*out = 0;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static CUresult set_attribute(const struct hg_kernel_info *k, CUfunction_attribute what, int value, int *max_dynamic,
			      int *carveout)
{
	switch ((int)what) {
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		if (value < 0 || value > MAX_SHARED - (int)k->shared_bytes)
			return CUDA_ERROR_INVALID_VALUE;
		*max_dynamic = value;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		if (value < -1 || value > 100)
			return CUDA_ERROR_INVALID_VALUE;
		*carveout = value;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
	case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult fake_cuFuncGetAttribute(int *value, CUfunction_attribute what, CUfunction handle)
{
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r != CUDA_SUCCESS)
		return r;
	return value ? attribute(f->info, f->max_dynamic, f->carveout, what, value) : CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuFuncSetAttribute(CUfunction handle, CUfunction_attribute what, int value)
{
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r != CUDA_SUCCESS)
		return r;
	return set_attribute(f->info, what, value, &f->max_dynamic, &f->carveout);
}

CUresult fake_cuKernelGetAttribute(int *value, CUfunction_attribute what, CUkernel handle, CUdevice dev)
{
	struct fake_kernel *k = fake_handle(handle, FAKE_KERNEL);

	if (!k)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	return value ? attribute(k->info, k->max_dynamic, k->carveout, what, value) : CUDA_ERROR_INVALID_VALUE;
}

/* For the functions that there are, and those to come. */
CUresult fake_cuKernelSetAttribute(CUfunction_attribute what, int value, CUkernel handle, CUdevice dev)
{
	struct fake_kernel *k = fake_handle(handle, FAKE_KERNEL);
	CUresult r;

	if (!k)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	r = set_attribute(k->info, what, value, &k->max_dynamic, &k->carveout);
	if (r != CUDA_SUCCESS)
		return r;
	for (struct fake_function *f = k->function; f; f = f->next) {
		if (f->obj.ctx->dev != dev)
			continue;
		f->max_dynamic = k->max_dynamic;
		f->carveout = k->carveout;
	}
	return CUDA_SUCCESS;
}

CUresult fake_cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config)
{
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r == CUDA_SUCCESS && (unsigned int)config > CU_FUNC_CACHE_PREFER_EQUAL)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		f->cache = config;
	return r;
}

CUresult fake_cuKernelSetCacheConfig(CUkernel handle, CUfunc_cache config, CUdevice dev)
{
	struct fake_kernel *k = fake_handle(handle, FAKE_KERNEL);

	if (!k)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!fake_is_device(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	if ((unsigned int)config > CU_FUNC_CACHE_PREFER_EQUAL)
		return CUDA_ERROR_INVALID_VALUE;
	k->cache = config;
	return CUDA_SUCCESS;
}

CUresult fake_cuFuncSetSharedMemConfig(CUfunction handle, CUsharedconfig config)
{
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r == CUDA_SUCCESS && (unsigned int)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		r = CUDA_ERROR_INVALID_VALUE;
	return r;
}

/* ---- names, parameters, loading ---- */

static CUresult name_of(const char **name, const void *handle)
{
	const struct hg_kernel_info *k = fake_kernel_info(handle);

	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!k)
		return CUDA_ERROR_INVALID_HANDLE;
	*name = k->name;
	return CUDA_SUCCESS;
}

CUresult fake_cuFuncGetName(const char **name, CUfunction handle)
{
	return name_of(name, handle);
}

CUresult fake_cuKernelGetName(const char **name, CUkernel handle)
{
	return name_of(name, handle);
}

/* The first index that is none ends a caller's loop. */
static CUresult param_info(const void *handle, size_t i, size_t *offset, size_t *size)
{
	const struct hg_kernel_info *k = fake_kernel_info(handle);

	if (fake_config.no_param_info)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!k)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!offset || i >= k->nr_params)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = k->params[i].offset;
	if (size)
		*size = k->params[i].size;
	return CUDA_SUCCESS;
}

CUresult fake_cuFuncGetParamInfo(CUfunction handle, size_t i, size_t *offset, size_t *size)
{
	return param_info(handle, i, offset, size);
}

CUresult fake_cuKernelGetParamInfo(CUkernel handle, size_t i, size_t *offset, size_t *size)
{
	return param_info(handle, i, offset, size);
}

CUresult fake_cuFuncGetModule(CUmodule *out, CUfunction handle)
{
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r == CUDA_SUCCESS && !out)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*out = (CUmodule)f->module;
	return r;
}

CUresult fake_cuKernelGetFunction(CUfunction *out, CUkernel handle)
{
	struct fake_function *f;
	CUresult r;

	if (!fake_handle(handle, FAKE_KERNEL))
		return CUDA_ERROR_INVALID_HANDLE;
	r = fake_function_get(handle, &f);
	if (r == CUDA_SUCCESS && !out)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*out = (CUfunction)f;
	return r;
}

CUresult fake_cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction handle)
{
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r == CUDA_SUCCESS && !state)
		r = CUDA_ERROR_INVALID_VALUE;
	if (r == CUDA_SUCCESS)
		*state = f->loaded ? CU_FUNCTION_LOADING_STATE_LOADED : CU_FUNCTION_LOADING_STATE_UNLOADED;
	return r;
}

CUresult fake_cuFuncLoad(CUfunction handle)
{
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r == CUDA_SUCCESS)
		f->loaded = true;
	return r;
}

/* ---- occupancy ---- */

static unsigned int least(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

unsigned int fake_occupancy(const struct fake_function *f, unsigned int threads, size_t dynamic)
{
	unsigned int warps = (threads + 31) / 32, warp_regs = (32 * f->info->nr_regs + 255) & ~255u, blocks = SM_BLOCKS;
	size_t shared = (f->info->shared_bytes + dynamic + RESERVED_SHARED + 127) & ~(size_t)127;

	if (!threads || threads > f->info->max_threads || dynamic + f->info->shared_bytes > MAX_SHARED)
		return 0;
	blocks = least(blocks, SM_THREADS / (32 * warps));
	if (warp_regs)
		blocks = least(blocks, SM_REGS / warp_regs / warps);
	return least(blocks, (unsigned int)(SM_SHARED / shared));
}

CUresult fake_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *nr, CUfunction handle, int threads,
								   size_t dynamic, unsigned int flags)
{
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r != CUDA_SUCCESS)
		return r;
	if (!nr || threads <= 0 || flags & ~(unsigned int)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)
		return CUDA_ERROR_INVALID_VALUE;
	*nr = (int)fake_occupancy(f, (unsigned int)threads, dynamic);
	return CUDA_SUCCESS;
}

CUresult fake_cuOccupancyMaxActiveBlocksPerMultiprocessor(int *nr, CUfunction handle, int threads, size_t dynamic)
{
	return fake_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(nr, handle, threads, dynamic, 0);
}

CUresult fake_cuOccupancyMaxPotentialBlockSizeWithFlags(int *min_grid, int *threads, CUfunction handle,
							CUoccupancyB2DSize dynamic_of, size_t dynamic, int limit,
							unsigned int flags)
{
	unsigned int best = 0, most;
	struct fake_function *f;
	CUresult r = fake_function_get(handle, &f);

	if (r != CUDA_SUCCESS)
		return r;
	if (!min_grid || !threads || limit < 0 || flags & ~(unsigned int)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)
		return CUDA_ERROR_INVALID_VALUE;
	most = f->info->max_threads;
	if (limit)
		most = least(most, (unsigned int)limit);
	*min_grid = *threads = 0;
	/* from the largest: of two that fill the multiprocessor the same the larger is better */
	for (unsigned int t = most; t; t = (t - 1) & ~31u) {
		unsigned int blocks = fake_occupancy(f, t, dynamic_of ? dynamic_of((int)t) : dynamic);

		if (blocks * t <= best)
			continue;
		best = blocks * t;
		*threads = (int)t;
		*min_grid = (int)blocks * fake_config.nr_sms;
	}
	return CUDA_SUCCESS;
}

CUresult fake_cuOccupancyMaxPotentialBlockSize(int *min_grid, int *threads, CUfunction handle,
					       CUoccupancyB2DSize dynamic_of, size_t dynamic, int limit)
{
	return fake_cuOccupancyMaxPotentialBlockSizeWithFlags(min_grid, threads, handle, dynamic_of, dynamic, limit, 0);
}

CUresult fake_cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction handle, int blocks, int threads)
{
	struct fake_function *f;
	size_t each, own;
	CUresult r = fake_function_get(handle, &f);

	if (r != CUDA_SUCCESS)
		return r;
	if (!bytes || blocks <= 0 || threads <= 0 ||
	    (unsigned int)blocks > fake_occupancy(f, (unsigned int)threads, 0))
		return CUDA_ERROR_INVALID_VALUE;
	each = (SM_SHARED / (unsigned int)blocks) & ~(size_t)127;
	own = f->info->shared_bytes + RESERVED_SHARED;
	*bytes = each > own ? each - own : 0;
	return CUDA_SUCCESS;
}
