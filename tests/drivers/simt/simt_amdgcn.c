/* simt_amdgcn.c - kernels that are LLVM IR for amdgcn. */
#include "tests/drivers/simt/simt_amdgcn.h"

#include <string.h>

#include "tests/drivers/simt/simt_wave.h"

/* Flat addresses of local data share have their offset there as their low half, and nothing else; LLVM knows. */
#define LDS_APERTURE (UINT64_C(1) << 32)
#define MAX_LDS (64u << 10)
#define AMDGPU_KERNEL 91	/* LLVM's calling convention */

/* Flags of denormal numbers that AMD's compiler would put into the wave's mode. */
static void check_mode(struct lane_code *l, LLVMValueRef kernel)
{
	static const char *const attr[] = { "denormal-fp-math", "denormal-fp-math-f32" };

	for (size_t i = 0; i < 2; i++) {
		LLVMAttributeRef a = LLVMGetStringAttributeAtIndex(kernel, LLVMAttributeFunctionIndex, attr[i], (unsigned int)strlen(attr[i]));
		unsigned int len = 0;
		const char *v = a ? LLVMGetStringAttributeValue(a, &len) : "";

		if (a && !(len == 9 && !memcmp(v, "ieee,ieee", len)) && !(len == 4 && !memcmp(v, "ieee", len)))
			lane_refuse(l, "denormal numbers as zeros (%s)", attr[i]);
	}
}

static const struct lane_vocabulary amdgcn = {
	.triple = "amdgcn", .kernel_convention = AMDGPU_KERNEL, .local_name = "local data share", .max_local = MAX_LDS,
	.local_align = LDS_APERTURE, .spaces = 0x3b /* flat, global, local, constant, scratch */, .private_space = 5, .has_short = true,
	.has_variables = true, .check = check_mode, .call = simt_amdgcn_call,
};

/* A struct simt_amdgcn is a kernel of waves. */
static struct wave_kernel *wave_of(struct simt_amdgcn *k)
{
	return (struct wave_kernel *)k;
}

enum hg_status simt_amdgcn_get(const void *bitcode, size_t size, const char *name, uint32_t wave, uint32_t lds_static,
			       struct simt_amdgcn **out, char *why, size_t why_size)
{
	const struct wave_source s = { .words = &amdgcn, .source = bitcode, .size = size, .name = name, .wave = wave, .lds_static = lds_static };
	struct wave_kernel *k;
	enum hg_status st = wave_kernel_get(&s, &k, why, why_size);

	if (!st)
		*out = (struct simt_amdgcn *)k;
	return st;
}

void simt_amdgcn_put(struct simt_amdgcn *k)
{
	wave_kernel_put(wave_of(k));
}

uint32_t simt_amdgcn_kernarg_bytes(const struct simt_amdgcn *k)
{
	return wave_kernel_arg_bytes((const struct wave_kernel *)k);
}

enum hg_status simt_amdgcn_run(struct simt_amdgcn *k, const struct simt_amdgcn_launch *l, char *why, size_t why_size)
{
	const struct wave_launch launch = {
		.grid = { l->grid[0], l->grid[1], l->grid[2] }, .block = { l->block[0], l->block[1], l->block[2] },
		.lds_dynamic = l->lds_dynamic, .kernarg = l->kernarg, .kernarg_bytes = l->kernarg_bytes, .cooperative = l->cooperative,
		.patience_ms = l->patience_ms,
	};

	return wave_kernel_run(wave_of(k), &launch, why, why_size);
}
