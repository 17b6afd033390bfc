/* run_driver.c - runs the suite's kernels through the CUDA driver API. */
#include "tests/ptx/conform/conform.h"

#include <cuda.h>

static CUcontext context;

static bool is_good(CUresult r, const char *what, const char *ptx)
{
	const char *name = "?";

	if (r == CUDA_SUCCESS)
		return true;
	cuGetErrorName(r, &name);
	cf_fail("%s: %s\n%s", what, name, ptx);
	return false;
}

static void start(void)
{
	CUdevice device;

	if (context)
		return;
	if (cuInit(0) || cuDeviceGet(&device, 0) || cuDevicePrimaryCtxRetain(&context, device) || cuCtxSetCurrent(context))
		cf_die("there is no CUDA device");
}

bool cf_run(const char *ptx, uint32_t grid, uint32_t block, const struct cf_buffer *buf, size_t nr_bufs, const void *extra,
	    size_t extra_size, bool all_ways)
{
	unsigned char params[4096];
	size_t size = 8 * nr_bufs + extra_size, done = 0;
	CUdeviceptr at[8];
	CUmodule m = NULL;
	CUfunction k;
	bool good = false;
	void *config[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, params, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END };

	(void)all_ways;
	start();
	if (!is_good(cuModuleLoadData(&m, ptx), "cuModuleLoadData", ptx))
		return false;
	if (!is_good(cuModuleGetFunction(&k, m, "k"), "cuModuleGetFunction", ptx))
		goto out;
	for (; done < nr_bufs; done++) {
		if (!is_good(cuMemAlloc(&at[done], buf[done].size), "cuMemAlloc", ptx))
			goto out;
		cuMemcpyHtoD(at[done], buf[done].data, buf[done].size);
		memcpy(params + 8 * done, &at[done], 8);
	}
	if (extra_size)
		memcpy(params + 8 * nr_bufs, extra, extra_size);
	if (!is_good(cuLaunchKernel(k, grid, 1, 1, block, 1, 1, 0, NULL, NULL, config), "cuLaunchKernel", ptx) ||
	    !is_good(cuCtxSynchronize(), "the kernel", ptx))
		goto out;
	good = true;
	for (size_t b = 0; b < nr_bufs && good; b++)
		good = is_good(cuMemcpyDtoH(buf[b].data, at[b], buf[b].size), "cuMemcpyDtoH", ptx);
	if (good)
		cf_ran(buf, nr_bufs);
out:
	while (done--)
		cuMemFree(at[done]);
	cuModuleUnload(m);
	return good;
}

int cf_is_refused(const char *ptx)
{
	(void)ptx;
	return -1;
}
