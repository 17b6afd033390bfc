/* gpu_code.c - what launches on every kind of GPU have. */
#include "replay/gpu_code.h"

#include <inttypes.h>
#include <string.h>

#include "common/msg.h"

enum hg_status gpu_launch_shared(const struct hg_launch *l, const struct hg_kernel_info *k, uint32_t code_bytes, uint32_t limit,
				 const char *device, struct gpu_shared *out)
{
	uint64_t used = (uint64_t)k->shared_bytes + l->shared_bytes, all = used;

	if (code_bytes)
		all = ((used + 15) & ~UINT64_C(15)) + code_bytes;
	if (all > limit) {
		pr_err("kernel '%s' needs %" PRIu64 " bytes of shared memory (%" PRIu32 " of its own, %" PRIu32 " of the launch, %" PRIu32
		       " for its code), and %s has %" PRIu32 " for a block", k->name, all, k->shared_bytes, l->shared_bytes, code_bytes,
		       device, limit);
		return HG_ERR_UNSUPPORTED;
	}
	*out = (struct gpu_shared){ .used = (uint32_t)used, .all = (uint32_t)all };
	return HG_OK;
}

void gpu_args_write(void *args, uint32_t param_bytes, const struct hg_launch *l, const struct hg_gpu_env *env)
{
	struct hg_gpu_env all = *env;

	memcpy(all.ntid, l->block, sizeof(all.ntid));
	memcpy(all.nctaid, l->grid, sizeof(all.nctaid));
	all.dynamic_shared_bytes = l->shared_bytes;
	memset(args, 0, HG_GPU_ENV_OFFSET(param_bytes));
	if (param_bytes)
		memcpy(args, l->params, param_bytes);
	memcpy((unsigned char *)args + HG_GPU_ENV_OFFSET(param_bytes), &all, sizeof(all));
}
