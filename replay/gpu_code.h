/* gpu_code.h - what launches on every kind of GPU have: the block of arguments, how much shared memory there is. Private to replay/. */
#ifndef HG_REPLAY_GPU_CODE_H
#define HG_REPLAY_GPU_CODE_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "replay/target.h"
#include "translate/gpu_abi.h"

/* Of a launch's block, in bytes. */
struct gpu_shared {
	uint32_t used;			/* static and dynamic: env.shared_bytes */
	uint32_t all;			/* with what the code itself needs behind, aligned to 16 */
};
/* HG_ERR_UNSUPPORTED, with a message that names kernel, needs and limit: a block has only `limit` on the device `device`. */
enum hg_status gpu_launch_shared(const struct hg_launch *l, const struct hg_kernel_info *k, uint32_t code_bytes, uint32_t limit,
				 const char *device, struct gpu_shared *out) HG_MUST_CHECK;

/* gpu_abi.h: so many bytes, aligned to 16. */
static inline size_t gpu_args_bytes(uint32_t param_bytes)
{
	return HG_GPU_ENV_OFFSET(param_bytes) + sizeof(struct hg_gpu_env);
}
/*
 * Writes them. Of env the caller fills in what it alone knows: vars, state, grid_barrier, grid_id, shared_bytes, nsmid; the launch says the rest.
 */
void gpu_args_write(void *args, uint32_t param_bytes, const struct hg_launch *l, const struct hg_gpu_env *env);

#endif
