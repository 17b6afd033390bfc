/* launch.c - kernels of the HIP double: from the call to the executor. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/msg.h"
#include "tests/drivers/hip/hip.h"
#include "tests/drivers/simt/simt_amdgcn.h"

/* ---- the call ---- */

/* The limits of hipModuleLaunchKernel in ROCm's clr 6.3, and those of the hardware behind it. */
static hipError_t check_shape(const struct hd_function *f, const struct hd_launch *l)
{
	static const uint32_t max_grid[3] = { INT32_MAX, 65536, 65536 };
	const struct co_kernel *k = f->kernel;
	uint64_t items = (uint64_t)l->block[0] * l->block[1] * l->block[2];
	uint64_t blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];

	for (int i = 0; i < 3; i++) {
		if (!l->grid[i] || l->grid[i] > max_grid[i])
			return hd_misuse(hipErrorInvalidValue, "kernel '%s': %u blocks in dimension %d, at most %u", k->name, l->grid[i], i,
					 max_grid[i]);
		if (!l->block[i] || l->block[i] > HD_MAX_ITEMS)
			return hd_misuse(hipErrorInvalidConfiguration, "kernel '%s': %u work-items in dimension %d of a block, at most %u",
					 k->name, l->block[i], i, HD_MAX_ITEMS);
		if ((uint64_t)l->grid[i] * l->block[i] > UINT32_MAX)
			return hd_misuse(hipErrorInvalidConfiguration, "kernel '%s': %llu work-items in dimension %d, at most %u", k->name,
					 (unsigned long long)l->grid[i] * l->block[i], i, UINT32_MAX);
	}
	if (items > HD_MAX_ITEMS)
		return hd_misuse(hipErrorInvalidValue, "kernel '%s': %llu work-items in a block, at most %u", k->name,
				 (unsigned long long)items, HD_MAX_ITEMS);
	if (items > k->max_items)
		return hd_misuse(hipErrorLaunchFailure, "kernel '%s': %llu work-items in a block, and it is compiled for %u", k->name,
				 (unsigned long long)items, k->max_items);
	if ((uint64_t)k->lds_bytes + l->dynamic > HD_LDS_BYTES)
		return hd_misuse(hipErrorInvalidValue, "kernel '%s': %u + %u bytes of LDS, and there are %u", k->name, k->lds_bytes,
				 l->dynamic, HD_LDS_BYTES);
	if (l->cooperative && blocks > (uint64_t)hd_occupancy(f, items, l->dynamic) * (unsigned int)hd_config.nr_cus)
		return hd_refuse(hipErrorCooperativeLaunchTooLarge, "kernel '%s': %llu blocks cannot all be resident", k->name,
				 (unsigned long long)blocks);
	return hipSuccess;
}

/* The block of arguments that `extra` names; its size is the kernel's, but for what alignment adds at its end. */
static hipError_t extra_block(const struct co_kernel *k, void *const *extra, unsigned char *out)
{
	uint32_t most = (k->explicit_bytes + k->kernarg_align - 1) & -k->kernarg_align;
	const size_t *size = NULL;
	const void *block = NULL;

	for (size_t i = 0; extra[i] != HIP_LAUNCH_PARAM_END; i += 2) {
		if (i == 8 || (extra[i] != HIP_LAUNCH_PARAM_BUFFER_POINTER && extra[i] != HIP_LAUNCH_PARAM_BUFFER_SIZE))
			return hd_misuse(hipErrorInvalidValue, "entry %zu of 'extra' is %p", i, extra[i]);
		if (extra[i] == HIP_LAUNCH_PARAM_BUFFER_POINTER)
			block = extra[i + 1];
		else
			size = extra[i + 1];
	}
	if (!block || !size)
		return hd_misuse(hipErrorInvalidValue, "'extra' has no %s", block ? "size" : "buffer");
	if (*size < k->explicit_bytes || *size > (k->kernarg_bytes > most ? k->kernarg_bytes : most))
		return hd_misuse(hipErrorInvalidValue, "kernel '%s' has %u bytes of arguments (%u with hidden ones), and gets %zu", k->name,
				 k->explicit_bytes, k->kernarg_bytes, *size);
	memcpy(out, block, *size < k->kernarg_bytes ? *size : k->kernarg_bytes);
	return hipSuccess;
}

static uint64_t hidden(const struct co_arg *a, const struct hd_launch *l)
{
	static const char axis[] = "xyz";

	for (int i = 0; i < 3; i++) {
		size_t end = strlen(a->value_kind) - 1;

		if (a->value_kind[end] != axis[i])
			continue;
		if (!strncmp(a->value_kind, "hidden_block_count_", 19))
			return l->grid[i];
		if (!strncmp(a->value_kind, "hidden_group_size_", 18))
			return l->block[i];
	}
	if (!strcmp(a->value_kind, "hidden_grid_dims"))
		return l->grid[2] * l->block[2] > 1 ? 3 : l->grid[1] * l->block[1] > 1 ? 2 : 1;
	return 0;	/* an offset or a remainder, of which there is none; or a service that is not there */
}

static hipError_t pack(const struct hd_launch *l, void *const *params, void *const *extra, unsigned char *out)
{
	const struct co_kernel *k = l->f->kernel;
	hipError_t r = hipSuccess;

	if (params && extra)
		return hd_misuse(hipErrorInvalidValue, "both kernelParams and extra");
	if (k->explicit_bytes && !params && !extra)
		return hd_misuse(hipErrorInvalidValue, "kernel '%s' has arguments, and gets none", k->name);
	if (extra)
		r = extra_block(k, extra, out);
	for (size_t i = 0, n = 0; i < k->nr_args && r == hipSuccess; i++) {
		const struct co_arg *a = &k->arg[i];

		if (a->kind == CO_HIDDEN) {
			uint64_t v = hidden(a, l);

			memcpy(out + a->offset, &v, a->size < sizeof(v) ? a->size : sizeof(v));
		} else if (params && !params[n]) {
			r = hd_misuse(hipErrorInvalidValue, "kernel '%s': argument %zu is at no address", k->name, n);
		} else if (params) {
			memcpy(out + a->offset, params[n++], a->size);
		}
	}
	return r;
}

/* Made when the function is first launched: so what cannot be run is said by the call. */
static hipError_t executor(struct hd_function *f)
{
	const struct co_object *co = f->module->code;
	const struct co_kernel *k = f->kernel;
	enum hg_status st = HG_OK;
	char why[512] = "";

	if (!co->bitcode)
		return hd_refuse(hipErrorNotSupported, "the double cannot run kernel '%s': the code object has no LLVM IR (section .llvmbc; "
				 "HGSHIM_EMBED_IR=1 puts it there)", k->name);
	pthread_mutex_lock(&f->lock);
	if (!f->executor)
		st = simt_amdgcn_get(co->bitcode, co->bitcode_size, k->name, k->wave, k->lds_bytes, &f->executor, why, sizeof(why));
	pthread_mutex_unlock(&f->lock);
	if (st)
		return hd_refuse(hipErrorNotSupported, "the double cannot run kernel '%s': %s", k->name, why[0] ? why : hg_status_text(st));
	if (simt_amdgcn_kernarg_bytes(f->executor) > k->kernarg_bytes)
		return hd_misuse(hipErrorInvalidImage, "kernel '%s' reads %u bytes of arguments; the code object says %u", k->name,
				 simt_amdgcn_kernarg_bytes(f->executor), k->kernarg_bytes);
	return hipSuccess;
}

static hipError_t launch(hipFunction_t handle, struct hd_launch *l, hipStream_t stream, void *const *params, void *const *extra)
{
	struct hd_stream *s;
	struct hd_work *w;
	hipError_t r = hd_function_get(handle, &l->f);

	if (r == hipSuccess)
		r = hd_stream_get(stream, &s);
	if (r == hipSuccess)
		r = hd_device_error(s->device);
	if (r != hipSuccess)
		return r;
	if (s->device != hd_self.device || l->f->module->device != s->device)
		return hd_misuse(hipErrorInvalidResourceHandle, "kernel '%s' of device %d, a stream of device %d, and %d is the current one",
				 l->f->kernel->name, l->f->module->device, s->device, hd_self.device);
	r = check_shape(l->f, l);
	if (r != hipSuccess)
		return r;
	l->kernarg = calloc(1, l->f->kernel->kernarg_bytes + 1);
	w = hd_work_new(HD_LAUNCH);
	r = l->kernarg && w ? pack(l, params, extra, l->kernarg) : hipErrorOutOfMemory;
	if (r == hipSuccess)
		r = executor(l->f);
	if (r != hipSuccess) {
		free(l->kernarg);
		free(w);
		return r;
	}
	fake_ref(&l->f->obj);
	w->launch = *l;
	hd_submit(s, w);
	return hipSuccess;
}

hipError_t hd_hipModuleLaunchKernel(hipFunction_t f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
				    unsigned int by, unsigned int bz, unsigned int shared, hipStream_t stream, void **params,
				    void **extra)
{
	struct hd_launch l = { .grid = { gx, gy, gz }, .block = { bx, by, bz }, .dynamic = shared };

	return launch(f, &l, stream, params, extra);
}

hipError_t hd_hipModuleLaunchCooperativeKernel(hipFunction_t f, unsigned int gx, unsigned int gy, unsigned int gz,
					       unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
					       hipStream_t stream, void **params)
{
	struct hd_launch l = { .grid = { gx, gy, gz }, .block = { bx, by, bz }, .dynamic = shared, .cooperative = true };

	return launch(f, &l, stream, params, NULL);
}

/* ---- the stream's thread ---- */

/* A fault sticks to the device. (The real runtime ends the process at most of them.) */
void hd_launch_run(struct hd_stream *s, const struct hd_launch *l)
{
	uint64_t end = fake_now_ns() + hd_config.kernel_us * (uint64_t)1000;
	struct simt_amdgcn_launch sl = {
		.lds_dynamic = l->dynamic, .kernarg = l->kernarg, .kernarg_bytes = l->f->kernel->kernarg_bytes,
		.cooperative = l->cooperative,
	};
	char why[512] = "";
	enum hg_status st;

	memcpy(sl.grid, l->grid, sizeof(sl.grid));
	memcpy(sl.block, l->block, sizeof(sl.block));
	st = simt_amdgcn_run(l->f->executor, &sl, why, sizeof(why));
	fake_rest_until(end);
	if (!st) {
		fake_wrong_after(&hd_config.wrong, l->f->kernel->name, atomic_fetch_add(&l->f->nr_runs, 1) + 1);
		return;
	}
	pr_err("kernel '%s' failed: %s", l->f->kernel->name, why[0] ? why : hg_status_text(st));
	hd_device_fails(s->device, strstr(why, "memory") || strstr(why, "address") ? hipErrorIllegalAddress : hipErrorLaunchFailure);
}
