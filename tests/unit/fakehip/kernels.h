/* kernels.h - kernels for the tests of the HIP double, as C for AMD's GPUs. */
typedef unsigned int u32;
typedef unsigned long long u64;
#define KERNEL __attribute__((amdgpu_kernel, visibility("protected"))) void
#define GLOBAL __attribute__((address_space(1)))
#define LDS __attribute__((address_space(3)))

static inline u32 item(u32 block)
{
	return __builtin_amdgcn_workgroup_id_x() * block + __builtin_amdgcn_workitem_id_x();
}

/* Blocks of 64. */
KERNEL fill(GLOBAL u32 *p, u32 n, u32 v)
{
	if (item(64) < n)
		p[item(64)] = v + item(64);
}

KERNEL add(GLOBAL u32 *p, u32 n, u32 v)
{
	if (item(64) < n)
		p[item(64)] += v;
}

/* Blocks of 64 reverse their numbers through static and dynamic memory of the block. */
extern LDS u32 dynamic[];
KERNEL reverse(GLOBAL u32 *out)
{
	static LDS u32 fixed[64] __attribute__((loader_uninitialized));
	u32 i = __builtin_amdgcn_workitem_id_x();

	fixed[i] = i;
	dynamic[i] = 100 + i;
	__builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
	__builtin_amdgcn_s_barrier();
	__builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
	out[i] = fixed[63 - i] + dynamic[63 - i];
}

struct wide {
	u32 word[50];
};
KERNEL last_of(struct wide w, GLOBAL u32 *out)
{
	out[0] = w.word[49];
}

KERNEL nothing(void)
{
}

KERNEL crash(GLOBAL u32 *at)
{
	*at = 1;
}

KERNEL trap(void)
{
	__builtin_trap();
}
