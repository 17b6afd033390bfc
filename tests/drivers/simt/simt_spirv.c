/* simt_spirv.c - kernels that are SPIR-V modules. */
#include "tests/drivers/simt/simt_spirv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/simt/simt_wave.h"

#define SUB_GROUP 32
#define MAX_LOCAL (128u << 10)	/* of the largest GPUs; a device's own limit is its driver's to keep */
#define LOCAL_ALIGN 4096
#define SPIR_KERNEL 76		/* LLVM's calling convention */
#define MAX_ARGS 65536		/* bytes */

static const struct lane_vocabulary spirv = {
	.triple = "spir64", .kernel_convention = SPIR_KERNEL, .local_name = "local memory", .max_local = MAX_LOCAL,
	.local_align = LOCAL_ALIGN, .spaces = 0x1f /* private, global, constant, local, generic */, .private_space = 0,
	.read = simt_spirv_read, .check = simt_spirv_check, .check_inst = simt_spirv_check_inst, .call = simt_spirv_call,
};

/* A struct simt_spirv is a kernel of waves. */
static struct wave_kernel *wave_of(struct simt_spirv *k)
{
	return (struct wave_kernel *)k;
}

static const struct wave_kernel *const_wave_of(const struct simt_spirv *k)
{
	return (const struct wave_kernel *)k;
}

enum hg_status simt_spirv_get(const uint32_t *words, size_t size, const char *name, struct simt_spirv **out, char *why, size_t why_size)
{
	const struct wave_source s = { .words = &spirv, .source = words, .size = size, .name = name, .wave = SUB_GROUP };
	struct wave_kernel *k;
	enum hg_status st = wave_kernel_get(&s, &k, why, why_size);

	if (!st)
		*out = (struct simt_spirv *)k;
	return st;
}

void simt_spirv_put(struct simt_spirv *k)
{
	wave_kernel_put(wave_of(k));
}

size_t simt_spirv_nr_args(const struct simt_spirv *k)
{
	return wave_kernel_nr_args(const_wave_of(k));
}

struct simt_spirv_arg_info simt_spirv_arg_info(const struct simt_spirv *k, size_t i)
{
	const struct wave_arg *a = &wave_kernel_args(const_wave_of(k))[i];

	return (struct simt_spirv_arg_info){ .size = a->size, .is_local = a->is_local };
}

uint32_t simt_spirv_sub_group_size(const struct simt_spirv *k)
{
	return wave_kernel_lanes(const_wave_of(k));
}

/* ---- launches ---- */

/* Local memory of all arguments, one behind the other, each aligned to 128 as the widest type of OpenCL. */
static enum hg_status place_args(const struct wave_kernel *k, const struct simt_spirv_launch *l, unsigned char *block, uint32_t *local,
				 char *why, size_t why_size)
{
	const struct wave_arg *arg = wave_kernel_args(k);
	uint64_t end = 0;

	for (size_t i = 0; i < l->nr_args; i++) {
		uint64_t at = (end + 127) / 128 * 128;

		if (!arg[i].is_local) {
			if (!l->arg[i].value) {
				snprintf(why, why_size, "argument %zu has no value", i);
				return HG_ERR_INVALID;
			}
			memcpy(block + arg[i].offset, l->arg[i].value, arg[i].size);
			continue;
		}
		if (l->arg[i].value || !l->arg[i].local_bytes) {
			snprintf(why, why_size, "argument %zu is local memory: it has a size and no value", i);
			return HG_ERR_INVALID;
		}
		end = at + l->arg[i].local_bytes;
		if (end > MAX_LOCAL) {
			snprintf(why, why_size, "argument %zu: more than %u bytes of local memory", i, MAX_LOCAL);
			return HG_ERR_INVALID;
		}
		memcpy(block + arg[i].offset, &(uint32_t){ (uint32_t)at }, 4);
	}
	*local = (uint32_t)end;
	return HG_OK;
}

enum hg_status simt_spirv_run(struct simt_spirv *kernel, const struct simt_spirv_launch *l, char *why, size_t why_size)
{
	struct wave_kernel *k = wave_of(kernel);
	uint32_t bytes = wave_kernel_arg_bytes(k);
	struct wave_launch launch = {
		.grid = { l->grid[0], l->grid[1], l->grid[2] }, .block = { l->block[0], l->block[1], l->block[2] },
		.kernarg_bytes = bytes, .cooperative = l->cooperative, .patience_ms = l->patience_ms,
	};
	unsigned char *block;
	enum hg_status st;

	if (why_size)
		why[0] = 0;
	if (l->nr_args != wave_kernel_nr_args(k) || bytes > MAX_ARGS) {
		snprintf(why, why_size, "%zu arguments for a kernel of %zu", l->nr_args, wave_kernel_nr_args(k));
		return HG_ERR_INVALID;
	}
	block = calloc(1, bytes + 1);
	if (!block)
		return HG_ERR_NOMEM;
	st = place_args(k, l, block, &launch.lds_dynamic, why, why_size);
	launch.kernarg = block;
	if (!st)
		st = wave_kernel_run(k, &launch, why, why_size);
	free(block);
	return st;
}
