/* kernels.c - amdgcn kernels of test_amdgcn.c, compiled for chips with waves of 32 and of 64 lanes. */
typedef unsigned int u32;
typedef unsigned long long u64;

#define KERNEL __attribute__((amdgpu_kernel)) void
#define GLOBAL __attribute__((address_space(1)))
#define LDS __attribute__((address_space(3)))
#define FLAT __attribute__((address_space(0)))

#ifdef __AMDGCN_WAVEFRONT_SIZE
#define WAVE __AMDGCN_WAVEFRONT_SIZE
#else
#define WAVE __AMDGCN_WAVEFRONT_SIZE__
#endif
#if WAVE == 64
#define ballot(p) ((u64)__builtin_amdgcn_ballot_w64(p))
#define lane() __builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0))
#else
#define ballot(p) ((u64)__builtin_amdgcn_ballot_w32(p))
#define lane() __builtin_amdgcn_mbcnt_lo(~0u, 0)
#endif

static u32 item(void)
{
	return __builtin_amdgcn_workitem_id_x();
}

static void barrier(void)
{
	__builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
	__builtin_amdgcn_s_barrier();
	__builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

/* where every work-item is; blocks are of 5 by 3 by 2 */
KERNEL ids(GLOBAL u32 *out, u32 nx, u32 ny)
{
	u32 x = __builtin_amdgcn_workitem_id_x(), y = __builtin_amdgcn_workitem_id_y(), z = __builtin_amdgcn_workitem_id_z();
	u32 gx = __builtin_amdgcn_workgroup_id_x(), gy = __builtin_amdgcn_workgroup_id_y(), gz = __builtin_amdgcn_workgroup_id_z();
	u32 at = ((gz * ny + gy) * nx + gx) * 30 + (z * 3 + y) * 5 + x;

	out[2 * at] = x | y << 8 | z << 16 | gx << 20 | gy << 24 | gz << 28;
	out[2 * at + 1] = lane();
}

struct many { char c; double d; u32 a[3]; };

KERNEL arguments(char a, GLOBAL u64 *out, short b, double c, struct many m, u32 d, GLOBAL u64 *e)
{
	out[0] = (u64)a;
	out[1] = (u64)b;
	out[2] = (u64)c;
	out[3] = (u64)m.c + (u64)m.d + m.a[0] + m.a[2];
	out[4] = d;
	out[5] = (u64)e;
}

/* each operation of lanes, by lanes that are in the mask; 64 results each */
#define OUT(n, v) out[64 * (n) + l] = (u32)(v)
#define DPP(n, ctrl, rows, banks, bound) OUT(n, __builtin_amdgcn_update_dpp(old, v, ctrl, rows, banks, bound))
KERNEL operations(GLOBAL u32 *out, u64 mask)
{
	u32 l = lane(), v = 1000 + l * 7, old = 5 + l, k = (u32)(mask >> 40) & 7;
	u64 b;

	if (!(mask >> l & 1))
		return;
	b = ballot(l % 3 == 0);
	OUT(0, b);
	OUT(1, b >> 32);
	OUT(2, __builtin_amdgcn_readfirstlane(v));
	OUT(3, __builtin_amdgcn_readlane(v, 3 + k));
	OUT(4, __builtin_amdgcn_ds_bpermute((l * 5 + 1) << 2, v));
	OUT(5, __builtin_amdgcn_ds_permute((l ^ 1) << 2, v));
	OUT(6, __builtin_amdgcn_ds_swizzle(v, 0x041f));
	OUT(7, __builtin_amdgcn_ds_swizzle(v, 0x80b1));
	DPP(8, 0x1b, 0xf, 0xf, 0);
	DPP(9, 0x101, 0xf, 0xf, 0);
	DPP(10, 0x112, 0xf, 0xf, 1);
	DPP(11, 0x123, 0xf, 0xf, 0);
	DPP(12, 0x140, 0xf, 0xf, 0);
	DPP(13, 0x141, 0xf, 0xf, 0);
	DPP(14, 0x111, 0xa, 0xf, 0);
	DPP(15, 0x111, 0xf, 0x5, 1);
#if WAVE == 64
	DPP(16, 0x142, 0xa, 0xf, 0);
	DPP(17, 0x143, 0xc, 0xf, 0);
	DPP(18, 0x138, 0xf, 0xf, 0);
	DPP(19, 0x130, 0xf, 0xf, 1);
#else
	DPP(16, 0x155, 0xf, 0xf, 0);
	DPP(17, 0x163, 0xf, 0xf, 0);
	OUT(18, __builtin_amdgcn_permlane16(old, v, 0x76543210 + k, 0xfedcba98, 0, 1));
	OUT(19, __builtin_amdgcn_permlanex16(old, v, 0x76543210, 0xfedcba98, 0, 0));
	OUT(20, __builtin_amdgcn_mov_dpp8(v, 0x053977));
#endif
	/* of 64 bits */
	b = (u64)v << 32 | l;
	b = (u64)__builtin_amdgcn_readfirstlane((u32)(b >> 32)) << 32 | __builtin_amdgcn_readfirstlane((u32)b);
	OUT(21, b >> 32);
	OUT(22, __builtin_amdgcn_mbcnt_hi(0xf0f0f0f0, __builtin_amdgcn_mbcnt_lo(0x55555555, 100)));
}

KERNEL integers(GLOBAL u32 *out, GLOBAL const u32 *in, u32 n)
{
	u32 t = item(), a = in[t], b = in[(t + 1) % n], c = in[(t + 2) % n];

	out += 8 * t;
	out[0] = __builtin_amdgcn_perm(a, b, c & 0x0f0f0f0f);
	out[1] = __builtin_amdgcn_ubfe(a, b, c);
	out[2] = __builtin_amdgcn_sbfe(a, b, c);
	out[3] = __builtin_amdgcn_alignbyte(a, b, c);
	out[4] = __builtin_amdgcn_sad_u8(a, b, c);
	out[5] = __builtin_popcount(a) + __builtin_clz(b | 1) + __builtin_ctz(c | 0x80000000) + __builtin_bitreverse32(a);
	out[6] = (u32)(((u64)a * b) >> 32);
	out[7] = __builtin_amdgcn_alignbit(a, b, c);
}

/* who is together after branches and loops of different length */
KERNEL divergence(GLOBAL u64 *out, u32 n)
{
	u32 l = lane(), i;
	u64 sum = 0;

	out += l;
	if (l & 1) {
		if (l & 2)
			out[0] = ballot(1);
		else
			out[0] = ballot(1);
		out[64] = ballot(1);
	} else {
		out[0] = ballot(1);
		out[64] = ballot(1);
	}
	out[128] = ballot(1);
	/* rounds: lanes that have left do not take part */
	for (i = 0; i < l % 5 + n; i++)
		sum = sum * 3 + (u64)__builtin_popcountll(ballot(1));
	out[192] = sum;
	out[256] = ballot(1);
	/* some skip the operation in some rounds, some leave early, some jump to the next round */
	sum = 0;
	for (i = 0; i < 6 + n; i++) {
		if ((i + l) % 4 == 1)
			continue;
		if (i == 4 && l % 8 == 3)
			break;
		sum = sum * 5 + (ballot(l & 4) >> 8 & 0xffff);
		for (u32 k = 0; k < (l & 3); k++)
			sum += (u64)__builtin_popcountll(ballot(1)) << k;
	}
	out[320] = sum;
	out[384] = ballot(1);
	if (l % 7 == 6)
		return;
	out[448] = ballot(1);
}

/* a loop with two entries; odd lanes begin in its middle */
KERNEL two_entries(GLOBAL u32 *out, GLOBAL const u32 *in, u32 n)
{
	u32 l = lane(), v = in[l], i = 0;

	if (l & 1)
		goto middle;
top:
	v = v * 3 + 1;
	out[l] = v;
	if (v > n)
		goto end;
middle:
	v ^= in[i++];
	out[64 + l] = v;
	if (i < 5 + (l & 3))
		goto top;
end:
	out[128 + l] = (u32)__builtin_popcountll(ballot(1));
}

[[clang::loader_uninitialized]] static LDS u32 share[256];
extern LDS u32 more[];

/* neighbours' values, through memory of the block: static, and what the launch adds */
KERNEL exchange(GLOBAL u32 *out, u32 rounds)
{
	u32 t = item();
	u32 g = __builtin_amdgcn_workgroup_id_x();

	share[t] = t * 3 + g;
	more[t] = t;
	for (u32 r = 0; r < rounds; r++) {
		u32 a, b;

		barrier();
		a = share[(t + 1) % 256];
		b = more[(t + 255) % 256];
		barrier();
		share[t] = a + b;
		more[t] = a ^ r;
	}
	out[256 * g + t] = share[t] + (u32)(unsigned long)&more[1] + (u32)(unsigned long)&share[2];
}

/* neighbours' values within a wave: no more than the compiler must be told to wait */
KERNEL in_step(GLOBAL u32 *out, u32 n)
{
	u32 t = item();

	share[t] = t;
	for (u32 r = 0; r < n; r++) {
		u32 v;

		__builtin_amdgcn_wave_barrier();
		v = ((volatile LDS u32 *)share)[t ^ 1];
		__builtin_amdgcn_wave_barrier();
		((volatile LDS u32 *)share)[t] = v + 1;
	}
	out[t] = share[t];
}

/* generic pointers into every kind of memory, and pointers as they lie in memory */
KERNEL pointers(GLOBAL u32 *out, u32 n)
{
	u32 t = item();
	volatile u32 own[16];
	LDS u32 *volatile kept = &share[t];
	u32 *p;

	for (u32 i = 0; i < 16; i++)
		own[i] = t + i;
	*kept = 100 + t;
	barrier();
	p = t % 3 == 0 ? (u32 *)&share[(t + n) % 64] : t % 3 == 1 ? (u32 *)&own[(t + n) % 16] : (u32 *)(out + 64 + t);
	out[t] = *p;
	out[128 + t] = (u32)__builtin_amdgcn_is_shared((FLAT const void *)p) | (u32)__builtin_amdgcn_is_private((FLAT const void *)p) << 1 |
		(u32)(sizeof(kept) << 4);
	out[192 + t] = ballot(own[t % 16] & 1) >> t & 1;
}

/* an address before the share, and back into it: sums wrap at 32 bits */
KERNEL wraps(GLOBAL u32 *out, u32 back)
{
	LDS char *p = (LDS char *)(u32)(0u - back - 4 * item());

	more[item()] = item() * 3;
	barrier();
	out[item()] = *(LDS u32 *)(p + back + 4 * 63);
}

/* time is the wave's */
KERNEL times(GLOBAL u64 *out)
{
	u32 t = item();

	out[2 * t] = __builtin_readcyclecounter();
	out[2 * t + 1] = __builtin_readsteadycounter();
}

/* the low half of a flat address in local data share is the offset there */
KERNEL flat_offsets(GLOBAL u32 *out, u32 at)
{
	out[item()] = (u32)(u64)(FLAT char *)(LDS char *)(at + 4 * item());
}

KERNEL atomics(GLOBAL u32 *out, u32 n)
{
	u32 t = item();
	GLOBAL float *sum = (GLOBAL float *)(out + 2);
	LDS u32 *s = share;

	if (!t)
		s[0] = s[1] = 0;
	barrier();
	__atomic_fetch_add((GLOBAL u32 *)&out[0], t, __ATOMIC_RELAXED);
	__atomic_fetch_max((GLOBAL u32 *)&out[1], t * 7 % 101, __ATOMIC_RELAXED);
	__scoped_atomic_fetch_add(sum, 0.5f, __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
	out[3 + t] = __builtin_amdgcn_atomic_inc32((u32 *)&s[0], n, __ATOMIC_RELAXED, "workgroup");
	__builtin_amdgcn_atomic_dec32((u32 *)&s[1], n, __ATOMIC_RELAXED, "workgroup");
	barrier();
	if (!t)
		out[300] = s[0] | s[1] << 16;
}

#pragma clang fp contract(off)
KERNEL floats(GLOBAL u32 *out, GLOBAL const float *in, u32 n)
{
	u32 t = item();
	float a = in[t], b = in[(t + 1) % n], c = in[(t + 2) % n];
	GLOBAL float *f = (GLOBAL float *)(out + 20 * t);
	GLOBAL double *d = (GLOBAL double *)(out + 20 * t + 16);

	f[0] = a + b;
	f[1] = a * b;
	f[2] = a / b;
	f[3] = __builtin_fmaf(a, b, c);
	f[4] = __builtin_sqrtf(a);
	f[5] = __builtin_fminf(a, b);
	f[6] = __builtin_fmaxf(a, b);
	f[7] = __builtin_roundevenf(a);
	f[8] = __builtin_truncf(a);
	f[9] = __builtin_canonicalizef(a);
	out[20 * t + 10] = (u32)__builtin_isnan(a) | (u32)__builtin_isinf(a) << 1;
	f[11] = __builtin_ldexpf(a, (int)(t % 9) - 4);
	f[12] = (float)(_Float16)a;
	f[13] = (float)__builtin_fmaf16((_Float16)a, (_Float16)b, (_Float16)c);
	f[14] = (float)((_Float16)a * (_Float16)b);
	f[15] = 0;
	d[0] = __builtin_fma((double)a, (double)b, (double)c) / 3.0;
	d[1] = __builtin_sqrt((double)a);
}

/* ---- what must fail, or must not ---- */

KERNEL traps(u32 which)
{
	if (item() == which)
		__builtin_trap();
}

KERNEL wild(GLOBAL u32 *p)
{
	if (item() == 3)
		*p = 1;
}

KERNEL lds_outside(GLOBAL u32 *out, u32 at)
{
	LDS u32 *p = &more[at];

	*p = item();
	out[0] = *p;
}

static void lock(GLOBAL u32 *p)
{
	u32 zero = 0;

	while (!__atomic_compare_exchange_n(p, &zero, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		zero = 0;
}

/* lanes of a wave wait for the one that holds the lock, and that one for them: no GPU of this kind gets through */
KERNEL spin_lock(GLOBAL u32 *p)
{
	lock(p);
	p[1]++;
	__atomic_store_n(p, 0, __ATOMIC_RELEASE);
}

/* the same with the work inside of the loop, which all leave together: whoever has the lock goes on */
KERNEL careful_lock(GLOBAL u32 *p)
{
	for (u32 done = 0; ballot(!done);) {
		u32 zero = 0;

		if (!done && __atomic_compare_exchange_n(p, &zero, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			p[1]++;
			__atomic_store_n(p, 0, __ATOMIC_RELEASE);
			done = 1;
		}
	}
}

/* a wave, or a block, waits for a later one; then its lanes meet */
KERNEL handshake(GLOBAL u32 *p, u32 by_block)
{
	u32 who = by_block ? __builtin_amdgcn_workgroup_id_x() : item() / WAVE;

	if (who == 0 && lane() == 5)
		while (!__atomic_load_n(p, __ATOMIC_ACQUIRE))
			__builtin_amdgcn_s_sleep(1);
	if (who == 1 && lane() == 0)
		__atomic_store_n(p, 1, __ATOMIC_RELEASE);
	if (ballot(1) == (WAVE == 64 ? ~(u64)0 : 0xffffffff) && lane() == 0)
		__atomic_fetch_add(p + 1, 1, __ATOMIC_RELAXED);
}

/* one wave waits for the other, and votes on it */
KERNEL votes_until(GLOBAL u32 *p)
{
	if (item() / WAVE == 0)
		while (!ballot(lane() == 3 && __atomic_load_n(p, __ATOMIC_ACQUIRE)))
			;
	else if (lane() == 0)
		__atomic_store_n(p, 1, __ATOMIC_RELEASE);
}

/* half of the wave ends; the others meet at the barrier with other waves */
KERNEL leave_early(GLOBAL u32 *out)
{
	u32 t = item();

	if (t & 1 || t / WAVE == 1)
		return;
	share[t] = t;
	barrier();
	out[t] = share[t ^ 2];
}

KERNEL ends(GLOBAL u32 *out)
{
	out[item()] = 1;
	if (item() % WAVE == 2)
		__builtin_amdgcn_endpgm();
	if (ballot(item() < 1000))
		out[item()] = 2;
}

/* ---- refused ---- */

KERNEL approximates(GLOBAL float *out)
{
	out[item()] = __builtin_amdgcn_rcpf(out[item()]);
}

KERNEL assembles(GLOBAL u32 *out)
{
	u32 v;

	__asm__ volatile("v_mov_b32 %0, 7" : "=v"(v));
	out[item()] = v;
}

KERNEL asks_the_runtime(GLOBAL u32 *out)
{
	out[item()] = *(const __attribute__((address_space(4))) u32 *)__builtin_amdgcn_dispatch_ptr();
}

#pragma clang fp contract(fast)
KERNEL fuses(GLOBAL float *out)
{
	out[item()] = out[item()] * out[1] + out[2];
}
#pragma clang fp contract(off)

void elsewhere(GLOBAL u32 *out);
KERNEL calls(GLOBAL u32 *out)
{
	elsewhere(out);
}
