// warps.cu - the warp suite: what lanes, warps, blocks and grids promise each other, against plain C.
//
//	warps [--list] [--only TEST] [--up-to THREADS]
//
// An ordinary CUDA program: it runs on any target and on a GPU. Each test runs in blocks of many shapes, --up-to so many threads; "ok TEST"
// or "not ok TEST: why" for each, and "PASS" and exit status 0 if all are.
#include <cooperative_groups.h>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

typedef uint32_t u32;
typedef uint64_t u64;

static const dim3 shapes[] = { { 1, 1, 1 }, { 31, 1, 1 }, { 32, 1, 1 }, { 33, 1, 1 }, { 64, 1, 1 }, { 96, 1, 1 }, { 1023, 1, 1 },
			       { 1024, 1, 1 }, { 7, 9, 1 }, { 5, 3, 4 }, { 2, 33, 1 }, { 16, 8, 8 } };
static std::vector<dim3> wanted;
#define BLOCKS 2
#define FULL 0xffffffffu

__host__ __device__ static inline u32 mix(u32 x)
{
	x = (x ^ x >> 16) * 0x85ebca6bu;
	x = (x ^ x >> 13) * 0xc2b2ae35u;
	return x ^ x >> 16;
}

__host__ __device__ static inline u32 thread_hash(u32 block, u32 t)
{
	return mix(block * 5000 + t + 1);
}

// ---- the device's side of all tests

__device__ static u32 block_size()
{
	return blockDim.x * blockDim.y * blockDim.z;
}

__device__ static u32 thread()
{
	return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}

__device__ static u32 lane()
{
	return thread() & 31;
}

__device__ static u32 my_hash()
{
	return thread_hash(blockIdx.x, thread());
}

__device__ static u32 *my_words(u32 *out, u32 nr)
{
	return out + (size_t)(blockIdx.x * block_size() + thread()) * nr;
}

// Lanes of this warp with (hash & bits) == value, found without asking them.
__host__ __device__ static inline u32 lanes_of(u32 block, u32 nr_threads, u32 warp, u32 bits, u32 value)
{
	u32 mask = 0;

	for (u32 i = 0; i < 32; i++)
		if (warp * 32 + i < nr_threads && (thread_hash(block, warp * 32 + i) & bits) == value)
			mask |= 1u << i;
	return mask;
}

__device__ static u32 group(u32 bits, u32 value)
{
	return lanes_of(blockIdx.x, block_size(), thread() / 32, bits, value);
}

// Ways for lanes to come to a warp operation; f(mask) runs it.
enum scene {
	ALL,		// together; the mask names lanes that never were
	EXISTING,	// together; the mask names those that are
	HALVES,		// two groups, each in its branch
	EXITED,		// some have exited, the mask names them still
	NESTED,		// two groups and some that take no part, in nested branches
	TURNS,		// four groups, one in each round of a loop
	LENGTHS,	// behind a loop of as many rounds as the lane wants; two groups at one instruction
	NR_SCENES
};

template <typename F> __device__ static void in_scene(int scene, F f)
{
	u32 h = my_hash(), mask, rounds = 1, turn = 0, x = h;
	bool here = true, there = false;

	switch (scene) {
	case ALL:	// where nothing could have parted them
		f(FULL);
		return;
	case EXISTING:
		mask = group(0, 0);
		break;
	case HALVES:
		mask = group(1, h & 1);
		here = h & 1;
		there = !here;
		break;
	case EXITED:
		if (!(h & 3))
			return;
		mask = FULL;
		break;
	case NESTED:
		mask = h & 1 ? group(3, 3) : group(1, 0);
		here = h & 1;
		there = !here;
		if (here && !(h & 2))
			here = false;
		break;
	case TURNS:
		mask = group(3, h & 3);
		rounds = 4;
		turn = h & 3;
		break;
	default:
		mask = group(1, h & 1);
#pragma unroll 1
		for (u32 i = 0; i < (h >> 8 & 15); i++)
			x = x * 3 + 1;
		here = x != 12345;
		break;
	}
#pragma unroll 1
	for (u32 i = 0; i < rounds; i++) {
		if (i != turn)
			continue;
		if (here)
			f(mask);
		else if (there)
			f(mask);
	}
}

// What in_scene() gives thread t of the block.
struct place {
	u32 mask;	// the mask
	u32 here;	// lanes of it that run the operation
	bool gone;	// has exited, or takes no part
};

static place place_of(int scene, u32 block, u32 n, u32 t)
{
	u32 w = t / 32, h = thread_hash(block, t), all = lanes_of(block, n, w, 0, 0), mask, gone = 0;
	bool none = false;

	switch (scene) {
	case ALL: mask = FULL; break;
	case EXISTING: mask = all; break;
	case HALVES: case LENGTHS: mask = lanes_of(block, n, w, 1, h & 1); break;
	case EXITED: mask = FULL; gone = lanes_of(block, n, w, 3, 0); break;
	case NESTED:
		mask = h & 1 ? lanes_of(block, n, w, 3, 3) : lanes_of(block, n, w, 1, 0);
		none = (h & 3) == 1;
		break;
	default: mask = lanes_of(block, n, w, 3, h & 3); break;
	}
	return { mask, mask & all & ~gone, none || (gone >> (t & 31) & 1) };
}

// ---- the host's side

static const char *test_name;
static int nr_failed;
static bool test_failed;

static void __attribute__((format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	if (test_failed)
		return;
	test_failed = true;
	printf("not ok %s: ", test_name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static void cu(cudaError_t r, const char *what)
{
	if (r == cudaSuccess)
		return;
	fail("%s: %s", what, cudaGetErrorString(r));
	printf("FAIL\n");
	exit(1);
}
#define CU(call) cu(call, #call)

static u32 size_of(dim3 d)
{
	return d.x * d.y * d.z;
}

static u32 *device;
static const size_t device_words = 1 << 20;

// Runs a kernel of (u32 *out, arg) and returns what it left there, zeros before.
template <typename K, typename A>
static std::vector<u32> launch(K kernel, dim3 grid, dim3 block, size_t words, A arg, size_t shared = 0, bool cooperative = false)
{
	std::vector<u32> out(words);
	void *args[] = { &device, &arg };

	if (words > device_words) {
		fail("the test wants too much memory");
		return out;
	}
	CU(cudaMemset(device, 0, device_words * 4));
	if (cooperative)
		CU(cudaLaunchCooperativeKernel((const void *)kernel, grid, block, args, shared, 0));
	else
		CU(cudaLaunchKernel((const void *)kernel, grid, block, args, shared, 0));
	CU(cudaDeviceSynchronize());
	CU(cudaMemcpy(out.data(), device, words * 4, cudaMemcpyDeviceToHost));
	return out;
}

static void same(u32 got, u32 want, dim3 d, const char *what, u32 block, u32 t, int scene, u32 detail)
{
	if (got != want)
		fail("%s in blocks of (%u,%u,%u), scene %d, case %u, block %u, thread %u: 0x%x, not 0x%x", what, d.x, d.y, d.z, scene,
		     detail, block, t, got, want);
}

// Runs `check(block, t, words)` for each thread that is still there, in each shape and scene.
template <typename K, typename C> static void in_scenes(K kernel, u32 nr, C check)
{
	for (dim3 d : wanted)
		for (int s = 0; s < NR_SCENES && !test_failed; s++) {
			u32 n = size_of(d);
			std::vector<u32> out = launch(kernel, dim3(BLOCKS), d, (size_t)BLOCKS * n * nr, s);

			for (u32 b = 0; b < BLOCKS; b++)
				for (u32 t = 0; t < n; t++) {
					place p = place_of(s, b, n, t);

					if (!p.gone)
						check(d, s, b, t, p, &out[(size_t)(b * n + t) * nr]);
				}
		}
}

// ---- shfl

#define SHFL_CASES 8
__host__ __device__ static inline u32 shfl_amount(u32 hash, u32 i)
{
	return mix(hash + i) & 63;
}

__host__ __device__ static inline u32 shfl_bound(u32 hash, u32 i, bool up)
{
	u32 width = i < 6 ? 32u >> i : 32;

	return i < 6 ? (32 - width) << 8 | (up ? 0 : 31) : mix(hash * 3 + i) & 0x1f1f;
}

#define SHFL(mode, how, b, c) asm volatile("{ .reg .pred p; shfl.sync." how ".b32 %0|p, %2, %3, %4, %5; selp.u32 %1, 1, 0, p; }"	\
	: "=r"(v), "=r"(p) : "r"(value), "r"(b), "r"(c), "r"(mask)); \
	out[(i * 4 + mode) * 2] = v; out[(i * 4 + mode) * 2 + 1] = p

__global__ void __launch_bounds__(1024) shfl(u32 *all, int scene)
{
	u32 *out = my_words(all, SHFL_CASES * 8 + 8), h = my_hash();

	in_scene(scene, [=](u32 mask) {
		u32 v, p, value = h, i;

#pragma unroll 1
		for (i = 0; i < SHFL_CASES; i++) {
			u32 b = shfl_amount(h, i);

			value = mix(h ^ i);
			SHFL(0, "up", b, shfl_bound(h, i, true));
			SHFL(1, "down", b, shfl_bound(h, i, false));
			SHFL(2, "bfly", b, shfl_bound(h, i, false));
			SHFL(3, "idx", b, shfl_bound(h, i, false));
		}
		// patterns that the compiler knows
		SHFL(0, "up", 3, 0);
		SHFL(1, "down", 2, 0x181f);
		SHFL(2, "bfly", 5, 0x1f);
		SHFL(3, "idx", 7, 0x101f);
	});
}

static void test_shfl()
{
	in_scenes(shfl, SHFL_CASES * 8 + 8, [](dim3 d, int s, u32 b, u32 t, place p, const u32 *got) {
		static const u32 known_b[] = { 3, 2, 5, 7 }, known_c[] = { 0, 0x181f, 0x1f, 0x101f };

		for (u32 i = 0; i <= SHFL_CASES; i++)
			for (u32 mode = 0; mode < 4; mode++) {
				u32 h = thread_hash(b, t), l = t & 31, last = i == SHFL_CASES;
				u32 amount = last ? known_b[mode] : shfl_amount(h, i) & 31;
				u32 c = last ? known_c[mode] : shfl_bound(h, i, mode == 0), segment = c >> 8 & 31;
				// of the segment: its first lane, and the last one that may be read (or the first, for up)
				int first = l & segment, bound = first | (c & 31 & ~segment), from;
				bool ok;

				switch (mode) {
				case 0: from = (int)l - (int)amount; ok = from >= bound; break;
				case 1: from = l + amount; ok = from <= bound; break;
				case 2: from = l ^ amount; ok = from <= bound; break;
				default: from = first | (amount & ~segment); ok = from <= bound; break;
				}
				if (!ok)
					from = l;
				same(got[(i * 4 + mode) * 2 + 1], ok, d, "the predicate of shfl", b, t, s, i * 4 + mode);
				// of a lane that takes no part PTX promises nothing
				if (p.here >> from & 1)
					same(got[(i * 4 + mode) * 2], mix(thread_hash(b, t - l + from) ^ (last ? i - 1 : i)), d, "shfl",
					     b, t, s, i * 4 + mode);
			}
	});
}

// ---- vote, match, redux, elect, activemask

#define VOTES 6
__host__ __device__ static inline u32 opinion(u32 hash, u32 i)
{
	return i == 0 ? 0 : i == 1 ? 1 : mix(hash + 77 * i) % i == 1;
}

__global__ void __launch_bounds__(1024) vote(u32 *all, int scene)
{
	u32 *out = my_words(all, VOTES * 2), h = my_hash();

	in_scene(scene, [=](u32 mask) {
#pragma unroll 1
		for (u32 i = 0; i < VOTES; i++) {
			u32 ballot, rest;

			asm volatile("{ .reg .pred p, q, r, s; setp.ne.u32 p, %2, 0; vote.sync.ballot.b32 %0, p, %3;\n"
				     "vote.sync.all.pred q, p, %3; vote.sync.any.pred r, p, %3; vote.sync.uni.pred s, !p, %3;\n"
				     ".reg .u32 x; selp.u32 %1, 1, 0, q; selp.u32 x, 2, 0, r; or.b32 %1, %1, x; selp.u32 x, 4, 0, s; or.b32 %1, %1, x; }"
				     : "=r"(ballot), "=r"(rest) : "r"(opinion(h, i)), "r"(mask));
			out[2 * i] = ballot;
			out[2 * i + 1] = rest;
		}
	});
}

static void test_vote()
{
	in_scenes(vote, VOTES * 2, [](dim3 d, int s, u32 b, u32 t, place p, const u32 *got) {
		for (u32 i = 0; i < VOTES; i++) {
			u32 yes = 0;

			for (u32 l = 0; l < 32; l++)
				yes |= (p.here >> l & 1 && opinion(thread_hash(b, t / 32 * 32 + l), i)) << l;
			same(got[2 * i], yes, d, "ballot", b, t, s, i);
			same(got[2 * i + 1], (yes == p.here) | (yes != 0) << 1 | (yes == 0 || yes == p.here) << 2, d, "all, any, uni", b, t, s, i);
		}
	});
}

__host__ __device__ static inline u64 match_value(u32 hash, u32 i)
{
	return i == 0 ? 5 : i == 1 ? hash % 3 : i == 2 ? (u64)(hash % 5) << 32 : (u64)hash << 32 | hash;
}

__global__ void __launch_bounds__(1024) match(u32 *all, int scene)
{
	u32 *out = my_words(all, 24), h = my_hash();

	in_scene(scene, [=](u32 mask) {
#pragma unroll 1
		for (u32 i = 0; i < 4; i++) {
			u64 v = match_value(h, i);
			int p, q;

			out[6 * i] = __match_any_sync(mask, (u32)v);
			out[6 * i + 1] = __match_any_sync(mask, (unsigned long long)v);
			out[6 * i + 2] = __match_all_sync(mask, (u32)v, &p);
			out[6 * i + 3] = __match_all_sync(mask, (unsigned long long)v, &q);
			out[6 * i + 4] = p;
			out[6 * i + 5] = q;
		}
	});
}

static void test_match()
{
	in_scenes(match, 24, [](dim3 d, int s, u32 b, u32 t, place p, const u32 *got) {
		for (u32 i = 0; i < 4; i++) {
			u64 mine = match_value(thread_hash(b, t), i);
			u32 low = 0, whole = 0;

			for (u32 l = 0; l < 32; l++) {
				u64 v = match_value(thread_hash(b, t / 32 * 32 + l), i);

				if (!(p.here >> l & 1))
					continue;
				low |= ((u32)v == (u32)mine) << l;
				whole |= (v == mine) << l;
			}
			same(got[6 * i], low, d, "match.any.b32", b, t, s, i);
			same(got[6 * i + 1], whole, d, "match.any.b64", b, t, s, i);
			same(got[6 * i + 2], low == p.here ? low : 0, d, "match.all.b32", b, t, s, i);
			same(got[6 * i + 3], whole == p.here ? whole : 0, d, "match.all.b64", b, t, s, i);
			same(got[6 * i + 4], low == p.here, d, "the predicate of match.all.b32", b, t, s, i);
			same(got[6 * i + 5], whole == p.here, d, "the predicate of match.all.b64", b, t, s, i);
		}
	});
}

__global__ void __launch_bounds__(1024) redux(u32 *all, int scene)
{
	u32 *out = my_words(all, 10), h = my_hash();

	in_scene(scene, [=](u32 mask) {
		u32 leader, first;

		out[0] = __reduce_add_sync(mask, h);
		out[1] = __reduce_min_sync(mask, h);
		out[2] = __reduce_max_sync(mask, h);
		out[3] = __reduce_min_sync(mask, (int)h);
		out[4] = __reduce_max_sync(mask, (int)h);
		out[5] = __reduce_and_sync(mask, h | 0xf0f0f0f0);
		out[6] = __reduce_or_sync(mask, h & 0x01234567);
		out[7] = __reduce_xor_sync(mask, h);
		asm volatile("{ .reg .pred p; elect.sync %0|p, %2; selp.u32 %1, 1, 0, p; }" : "=r"(leader), "=r"(first) : "r"(mask));
		out[8] = leader;
		out[9] = first;
	});
}

static void test_redux()
{
	in_scenes(redux, 10, [](dim3 d, int s, u32 b, u32 t, place p, const u32 *got) {
		u32 want[8] = { 0, FULL, 0, 0x7fffffff, 0x80000000, FULL, 0, 0 };

		for (u32 l = 0; l < 32; l++) {
			u32 v = thread_hash(b, t / 32 * 32 + l);

			if (!(p.here >> l & 1))
				continue;
			want[0] += v;
			want[1] = v < want[1] ? v : want[1];
			want[2] = v > want[2] ? v : want[2];
			want[3] = (int)v < (int)want[3] ? v : want[3];
			want[4] = (int)v > (int)want[4] ? v : want[4];
			want[5] &= v | 0xf0f0f0f0;
			want[6] |= v & 0x01234567;
			want[7] ^= v;
		}
		for (u32 i = 0; i < 8; i++)
			same(got[i], want[i], d, "redux", b, t, s, i);
		// whose turn it is, is the device's choice, if there is one that all agree on
		if (got[8] > 31 || !(p.here >> got[8] & 1))
			fail("elect chose lane %u of 0x%x", got[8], p.here);
		same(got[9], got[8] == (t & 31), d, "the predicate of elect", b, t, s, 0);
		same(got[8], got[8 - (int)(10 * ((t & 31) - __builtin_ctz(p.here)))], d, "the leader of elect", b, t, s, 0);
	});
}

__global__ void __launch_bounds__(1024) active(u32 *all, int scene)
{
	u32 *out = my_words(all, 2);

	in_scene(scene, [=](u32 mask) {
		out[0] = __activemask();
		__syncwarp(mask);
		out[1] = __activemask();
	});
}

static void test_activemask()
{
	in_scenes(active, 2, [](dim3 d, int s, u32 b, u32 t, place p, const u32 *got) {
		for (u32 i = 0; i < 2; i++)	// who runs with whom is the device's choice; but none that is not there
			if (!(got[i] >> (t & 31) & 1) || (s != LENGTHS && got[i] & ~p.here))
				fail("activemask in blocks of (%u,%u,%u), scene %d, thread %u: 0x%x of 0x%x", d.x, d.y, d.z, s, t, got[i], p.here);
	});
}

// ---- warps that synchronise

// Sums through memory that lanes of the mask share; each reads its neighbours' words between two bar.warp.sync.
__global__ void __launch_bounds__(1024) warp_sums(u32 *all, int scene)
{
	__shared__ volatile u32 word[1024];
	u32 *out = my_words(all, 1), h = my_hash(), t = thread();

	in_scene(scene, [=](u32 mask) {
		u32 members = mask & group(0, 0) & (scene == EXITED ? ~group(3, 0) : FULL), v = h;

#pragma unroll 1
		for (int i = 0; i < 5; i++) {
			u32 next = members & (0xfffffffeu << lane()), l;

			l = __ffs(next ? next : members) - 1;
			word[t] = v;
			__syncwarp(mask);
			v = v * 3 + word[t / 32 * 32 + l];
			__syncwarp(mask);
		}
		out[0] = v;
	});
}

static void test_warpsync()
{
	in_scenes(warp_sums, 1, [](dim3 d, int s, u32 b, u32 t, place p, const u32 *got) {
		u32 v[32], w[32];

		for (u32 l = 0; l < 32; l++)
			v[l] = thread_hash(b, t / 32 * 32 + l);
		for (int i = 0; i < 5; i++) {
			for (u32 l = 0; l < 32; l++) {
				u32 next = l;

				if (!(p.here >> l & 1))
					continue;
				do
					next = (next + 1) & 31;
				while (!(p.here >> next & 1));
				w[l] = v[l] * 3 + v[next];
			}
			memcpy(v, w, sizeof(v));
		}
		same(got[0], v[t & 31], d, "a sum by bar.warp.sync", b, t, s, 0);
	});
}

// Lanes of one mask that meet at different instructions of the same kind.
__global__ void __launch_bounds__(1024) pairs(u32 *all, int rounds)
{
	__shared__ volatile u32 word[1024];
	u32 *out = my_words(all, 8), h = my_hash(), t = thread(), mask = group(0, 0), v = 0, w, f = t / 32 * 32 + (31 - lane());
	bool odd = h & 1;

	if (f >= block_size())
		f = t;
#pragma unroll 1
	for (int i = 0; i < rounds; i++) {
		word[t] = h + i;
		if (odd)
			asm volatile("bar.warp.sync %0; // here" : : "r"(mask) : "memory");
		else
			asm volatile("bar.warp.sync %0; // there" : : "r"(mask) : "memory");
		v += word[f];
		if (h & 2) {
			asm volatile("bar.warp.sync %0; // one" : : "r"(mask) : "memory");
		} else {
			w = v * 7;
			if (h & 4)
				asm volatile("bar.warp.sync %0; // two" : : "r"(mask) : "memory");
			else
				asm volatile("bar.warp.sync %0; // three" : : "r"(mask) : "memory");
			out[7] = w;
		}
	}
	out[0] = v;
	if (odd) {
		asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, %2; // here" : "=r"(w) : "r"(h), "r"(mask));
		out[1] = w;
		asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, %2; } // here" : "=r"(w) : "r"(h & 8), "r"(mask));
		out[2] = w;
		asm volatile("redux.sync.add.u32 %0, %1, %2; // here" : "=r"(w) : "r"(h), "r"(mask));
		out[3] = w;
		asm volatile("match.any.sync.b32 %0, %1, %2; // here" : "=r"(w) : "r"(h & 3), "r"(mask));
		out[4] = w;
	} else {
		asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, %2; // there" : "=r"(w) : "r"(h), "r"(mask));
		out[1] = w + 1;
		asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, %2; } // there" : "=r"(w) : "r"(h & 8), "r"(mask));
		out[2] = w + 1;
		asm volatile("redux.sync.add.u32 %0, %1, %2; // there" : "=r"(w) : "r"(h), "r"(mask));
		out[3] = w + 1;
		asm volatile("match.any.sync.b32 %0, %1, %2; // there" : "=r"(w) : "r"(h & 3), "r"(mask));
		out[4] = w + 1;
	}
}

static void test_pairs()
{
	const int rounds = 3;

	for (dim3 d : wanted) {
		u32 n = size_of(d);
		std::vector<u32> out = launch(pairs, dim3(BLOCKS), d, (size_t)BLOCKS * n * 8, rounds);

		for (u32 b = 0; b < BLOCKS; b++)
			for (u32 t = 0; t < n; t++) {
				const u32 *got = &out[(size_t)(b * n + t) * 8];
				u32 h = thread_hash(b, t), w = t / 32 * 32, f = w + 31 - (t & 31), other = t ^ 1, ballot = 0, sum = 0, equal = 0, v = 0;

				for (u32 l = 0; l < 32 && w + l < n; l++) {
					u32 x = thread_hash(b, w + l);

					ballot |= (x >> 3 & 1) << l;
					sum += x;
					equal |= ((x & 3) == (h & 3)) << l;
				}
				for (int i = 0; i < rounds; i++)
					v += thread_hash(b, f < n ? f : t) + i;
				same(got[0], v, d, "a word behind two bar.warp.sync", b, t, 0, 0);
				if (other < n)
					same(got[1], thread_hash(b, other) + !(h & 1), d, "a pair of shfl", b, t, 0, 1);
				same(got[2], ballot + !(h & 1), d, "a pair of ballots", b, t, 0, 2);
				same(got[3], sum + !(h & 1), d, "a pair of redux", b, t, 0, 3);
				same(got[4], equal + !(h & 1), d, "a pair of match", b, t, 0, 4);
			}
	}
}

// Lanes leave a loop one after the other; those that stay go on asking each other.
__global__ void __launch_bounds__(1024) loops(u32 *all, int unused)
{
	u32 *out = my_words(all, 3), h = my_hash(), n = h >> 4 & 15, sum = 0, mask = group(0, 0), rounds = 0, x = thread() + 1;

	for (u32 i = 0; ; i++) {
		bool skips = h & 8 && i == 5;
		u32 some;

		mask = __ballot_sync(mask, i < n);
		if (i >= n)
			break;
		some = __ballot_sync(mask, !skips);
		if (skips)
			continue;
		sum += __shfl_sync(some, h, 31 - __clz(some));
		rounds++;
	}
	out[0] = sum;
	out[1] = rounds;
	while (x > 1) {
		x = x & 1 ? 3 * x + 1 : x / 2;
		out[2]++;
		if (out[2] > 100)
			break;
	}
}

static void test_loops()
{
	for (dim3 d : wanted) {
		u32 n = size_of(d);
		std::vector<u32> out = launch(loops, dim3(BLOCKS), d, (size_t)BLOCKS * n * 3, 0);

		for (u32 b = 0; b < BLOCKS; b++)
			for (u32 t = 0; t < n; t++) {
				const u32 *got = &out[(size_t)(b * n + t) * 3];
				u32 h = thread_hash(b, t), w = t / 32 * 32, rounds = 0, sum = 0, steps = 0;
				u64 x = t + 1;

				for (u32 i = 0; i < (h >> 4 & 15); i++) {
					u32 last = 0;

					if (h & 8 && i == 5)
						continue;
					for (u32 l = 0; l < 32 && w + l < n; l++) {
						u32 x = thread_hash(b, w + l);

						if (i < (x >> 4 & 15) && !(x & 8 && i == 5))
							last = x;
					}
					sum += last;
					rounds++;
				}
				while (x > 1 && steps <= 100) {
					x = x % 2 ? x * 3 + 1 : x / 2;
					steps++;
				}
				same(got[0], sum, d, "a sum over a loop that lanes leave", b, t, 0, 0);
				same(got[1], rounds, d, "rounds", b, t, 0, 0);
				same(got[2], steps, d, "steps", b, t, 0, 0);
			}
	}
}

// A table of branches in a loop, with a warp operation in some of its cases.
__global__ void __launch_bounds__(1024) branches(u32 *all, int rounds)
{
	u32 *out = my_words(all, 1), h = my_hash(), v = h;

#pragma unroll 1
	for (int i = 0; i < rounds; i++)
		switch ((h >> (3 * i)) & 7) {
		case 0: v = v * 5 + 1; break;
		case 1: v ^= v >> 3; break;
		case 2: v = __popc(v) * 0x10001u; /* falls through */
		case 3: v += 77; break;
		case 4: v = __brev(v); break;
		case 5: v -= __popc(__match_any_sync(1u << lane(), v)); break;
		case 6: v = v < 1000 ? v + 12345 : v / 3; break;
		default:
			if (v & 64)
				i++;
			else
				v = ~v;
			break;
		}
	out[0] = v;
}

static void test_branches()
{
	for (dim3 d : wanted) {
		const int rounds = 10;
		u32 n = size_of(d);
		std::vector<u32> out = launch(branches, dim3(BLOCKS), d, (size_t)BLOCKS * n, rounds);

		for (u32 b = 0; b < BLOCKS; b++)
			for (u32 t = 0; t < n; t++) {
				u32 h = thread_hash(b, t), v = h, r;

				for (int i = 0; i < rounds; i++) {
					u32 c = h >> (3 * i) & 7;

					if (c == 0) {
						v += (v << 2) + 1;
					} else if (c == 1) {
						v = v ^ v / 8;
					} else if (c == 2 || c == 3) {
						r = __builtin_popcount(v);
						v = c == 2 ? (r << 16 | r) + 77 : v + 77;
					} else if (c == 4) {
						r = 0;
						for (int k = 0; k < 32; k++)
							r = r << 1 | (v >> k & 1);
						v = r;
					} else if (c == 5) {
						v--;
					} else if (c == 6) {
						v = v >= 1000 ? v / 3 : v + 12345;
					} else if (v & 64) {
						i++;
					} else {
						v ^= FULL;
					}
				}
				same(out[(size_t)b * n + t], v, d, "a switch", b, t, 0, 0);
			}
	}
}

// ---- barriers

__device__ static void bar_sync(u32 id, u32 count) { asm volatile("barrier.sync %0, %1;" : : "r"(id), "r"(count) : "memory"); }
__device__ static void bar_arrive(u32 id, u32 count) { asm volatile("barrier.arrive %0, %1;" : : "r"(id), "r"(count) : "memory"); }
__host__ __device__ static inline u32 whole_warps(u32 n) { return (n + 31) / 32 * 32; }

// Words go round the block, through bar.sync in several places: which one, each warp, or each thread, chooses anew.
__global__ void __launch_bounds__(1024) ring(u32 *all, int how)
{
	__shared__ volatile u32 word[2][1024];
	u32 *out = my_words(all, 1), t = thread(), n = block_size(), v = my_hash();

#pragma unroll 1
	for (u32 i = 0; i < 8; i++) {
		u32 choice = mix((how == 2 ? t : t / 32) * 100 + i) & 3;

		word[i & 1][t] = v;
		if (how == 0) {
			__syncthreads();
		} else if (how == 3) {	// a barrier of each round's own, by number, with all the threads as a count
			bar_sync(i * 2, whole_warps(n));
		} else {
			switch (choice) {
			case 0: asm volatile("barrier.sync 0; // 0" : : : "memory"); break;
			case 1: asm volatile("barrier.sync 0; // 1" : : : "memory"); v += 1; break;
			case 2: v += 2; asm volatile("barrier.sync 0; // 2" : : : "memory"); break;
			default: v += 3; asm volatile("barrier.sync 0; // 3" : : : "memory"); break;
			}
		}
		v = v * 5 + word[i & 1][t + 1 < n ? t + 1 : 0];
	}
	out[0] = v;
}

static void test_barriers()
{
	for (dim3 d : wanted)
		for (int how = 0; how < 4; how++) {
			u32 n = size_of(d);
			std::vector<u32> out = launch(ring, dim3(BLOCKS), d, (size_t)BLOCKS * n, how);

			for (u32 b = 0; b < BLOCKS; b++) {
				std::vector<u32> v(n), w(n);

				for (u32 t = 0; t < n; t++)
					v[t] = thread_hash(b, t);
				for (u32 i = 0; i < 8; i++) {
					for (u32 t = 0; t < n; t++) {
						u32 choice = how == 1 ? mix(t / 32 * 100 + i) & 3 : how == 2 ? mix(t * 100 + i) & 3 : 0;

						w[t] = (v[t] + choice) * 5 + v[(t + 1) % n];
					}
					v = w;
				}
				for (u32 t = 0; t < n; t++)
					same(out[(size_t)b * n + t], v[t], d, "a ring", b, t, how, 0);
			}
		}
}

__global__ void __launch_bounds__(1024) counts(u32 *all, int scene)
{
	u32 *out = my_words(all, 9), h = my_hash(), r;

	if (scene == 1 && thread() / 32 % 3 == 1)	// whole warps are gone
		return;
	if (scene == 2 && !(h & 3))			// lanes are gone
		return;
#pragma unroll 1
	for (u32 i = 0; i < 3; i++) {
		int pred = i == 0 ? 1 : i == 1 ? h % 7 == 3 : 0;

		if (scene == 3) {	// each thread from one of two places
			if (h & 4)
				asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; barrier.red.popc.u32 %0, 5, p; } // a" : "=r"(r) : "r"(pred) : "memory");
			else
				asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; barrier.red.popc.u32 %0, 5, p; } // b" : "=r"(r) : "r"(pred) : "memory");
			out[3 * i] = r;
		} else {
			out[3 * i] = __syncthreads_count(pred);
		}
		out[3 * i + 1] = __syncthreads_and(pred) != 0;
		out[3 * i + 2] = __syncthreads_or(pred) != 0;
	}
}

static void test_barrier_reductions()
{
	for (dim3 d : wanted)
		for (int s = 0; s < 4; s++) {
			u32 n = size_of(d);
			std::vector<u32> out = launch(counts, dim3(BLOCKS), d, (size_t)BLOCKS * n * 9, s);
			auto gone = [&](u32 b, u32 t) { return s == 1 ? t / 32 % 3 == 1 : s == 2 && !(thread_hash(b, t) & 3); };

			for (u32 b = 0; b < BLOCKS; b++) {
				u32 here = 0, yes = 0;

				for (u32 t = 0; t < n; t++) {
					here += !gone(b, t);
					yes += !gone(b, t) && thread_hash(b, t) % 7 == 3;
				}
				for (u32 t = 0; t < n; t++) {
					const u32 *got = &out[(size_t)(b * n + t) * 9];
					u32 want[9] = { here, 1, 1, yes, yes == here, yes > 0, 0, 0, 0 };

					for (u32 i = 0; i < 9 && !gone(b, t); i++)
						same(got[i], want[i], d, "a reduction by barrier", b, t, s, i);
				}
			}
		}
}

// Warps meet in groups, at a barrier of each group; then each group hands over to the next by arriving.
__global__ void __launch_bounds__(1024) groups(u32 *all, int nr_groups)
{
	__shared__ volatile u32 word[1024], total[16];
	u32 *out = my_words(all, 2), t = thread(), w = t / 32, nr_warps = (block_size() + 31) / 32, g = w % nr_groups;
	u32 members = (nr_warps - g + nr_groups - 1) / nr_groups, next = w + nr_groups < nr_warps ? w + nr_groups : g, v = my_hash();

#pragma unroll 1
	for (u32 i = 0; i < 4 + g; i++) {	// groups of different pace
		u32 from = next * 32 + lane() < block_size() ? next * 32 + lane() : t;

		word[t] = v;
		bar_sync(1 + g, members * 32);
		u32 x = word[from];
		bar_sync(1 + g, members * 32);
		v = v * 9 + x;
	}
	out[0] = v;
	// down the groups: 0 writes and arrives at barrier 8, 1 waits there, writes, arrives at 9…
	if ((int)nr_warps < nr_groups)
		return;
	if (g > 0)
		bar_sync(7 + g, ((nr_warps - (g - 1) + nr_groups - 1) / nr_groups + members) * 32);
	if (w == g && lane() == 0)
		total[g] = (g ? total[g - 1] : 0) * 3 + g + 1;
	if (g + 1 < nr_groups) {
		u32 count = (members + (nr_warps - (g + 1) + nr_groups - 1) / nr_groups) * 32;

		__syncwarp(group(0, 0));
		if (v & 1)	// the lanes arrive in two parts
			bar_arrive(8 + g, count);
		else
			asm volatile("barrier.arrive %0, %1; // too" : : "r"(8 + g), "r"(count) : "memory");
	} else {
		bar_sync(0, 32 * members);
		out[1] = total[g];
	}
}

static void test_barrier_groups()
{
	for (dim3 d : wanted)
		for (u32 nr_groups = 1; nr_groups <= 5; nr_groups += 2) {
			u32 n = size_of(d), nr_warps = (n + 31) / 32, total = 0;
			std::vector<u32> out = launch(groups, dim3(BLOCKS), d, (size_t)BLOCKS * n * 2, (int)nr_groups);

			for (u32 g = 0; g < nr_groups; g++)
				total = total * 3 + g + 1;
			for (u32 b = 0; b < BLOCKS; b++) {
				std::vector<u32> v(n), w(n);

				for (u32 t = 0; t < n; t++)
					v[t] = thread_hash(b, t);
				for (u32 i = 0; i < 4 + nr_groups; i++) {
					w = v;
					for (u32 t = 0; t < n; t++) {
						u32 g = t / 32 % nr_groups, from = t + 32 * nr_groups;

						if (t / 32 + nr_groups >= nr_warps)
							from = g * 32 + t % 32;
						if (i < 4 + g)
							w[t] = v[t] * 9 + v[from < n ? from : t];
					}
					v = w;
				}
				for (u32 t = 0; t < n; t++) {
					bool last = nr_warps >= nr_groups && t / 32 % nr_groups == nr_groups - 1;

					same(out[(size_t)(b * n + t) * 2], v[t], d, "a group of warps", b, t, nr_groups, 0);
					same(out[(size_t)(b * n + t) * 2 + 1], last ? total : 0, d, "groups one after the other", b, t, nr_groups, 0);
				}
			}
		}
}

// Producers and consumers: one half of the warps fills two buffers in turn, the other half empties them.
__global__ void __launch_bounds__(1024) buffers(u32 *all, int rounds)
{
	__shared__ volatile u32 buffer[2][512];
	u32 *out = my_words(all, 1), t = thread(), half = block_size() / 64 * 32, sum = 0;

	if (t >= 2 * half)
		return;
#pragma unroll 1
	for (int i = 0; i < rounds; i++) {
		u32 full = 1 + (i & 1), empty = 3 + (i & 1);

		if (t < half) {
			if (i > 1)
				bar_sync(empty, 2 * half);
			buffer[i & 1][t] = mix(t * 1000 + i);
			__threadfence_block();
			bar_arrive(full, 2 * half);
		} else {
			bar_sync(full, 2 * half);
			sum = sum * 3 + buffer[i & 1][2 * half - 1 - t];
			if (i + 2 < rounds)
				bar_arrive(empty, 2 * half);
		}
	}
	out[0] = sum;
}

static void test_producers_and_consumers()
{
	for (dim3 d : wanted) {
		const int rounds = 9;
		u32 n = size_of(d), half = n / 64 * 32;
		std::vector<u32> out = launch(buffers, dim3(BLOCKS), d, (size_t)BLOCKS * n, rounds);

		for (u32 b = 0; b < BLOCKS; b++)
			for (u32 t = 0; t < n; t++) {
				u32 sum = 0;

				for (int i = 0; i < rounds && t >= half && t < 2 * half; i++)
					sum = sum * 3 + mix((2 * half - 1 - t) * 1000 + i);
				same(out[(size_t)b * n + t], sum, d, "what a consumer got", b, t, 0, 0);
			}
	}
}

__device__ static u32 bar_count(u32 id, u32 count, u32 pred)
{
	u32 r;

	asm volatile("{ .reg .pred p; setp.ne.u32 p, %3, 0; barrier.red.popc.u32 %0, %1, %2, p; }"
		     : "=r"(r) : "r"(id), "r"(count), "r"(pred) : "memory");
	return r;
}

// One instruction, and each lane names its barrier: even lanes pass theirs first, and then open that of the odd ones.
__global__ void __launch_bounds__(1024) own_barriers(u32 *all, int red)
{
	__shared__ volatile u32 word;
	u32 *out = my_words(all, 2), t = thread(), odd = t & 1, r = 0;

	if (t == 0)
		word = 0;
	__syncthreads();
	if (red)
		r = bar_count(1 + odd, odd ? 64 : 32, t % 3 == 0);
	else
		bar_sync(1 + odd, odd ? 64 : 32);
	if (!odd) {
		if (t == 0)
			word = 4711;
		__threadfence_block();
		if (red)
			bar_count(2, 64, 0);
		else
			bar_sync(2, 64);
	}
	out[0] = word;
	out[1] = r;
}

static void test_lanes_with_barriers_of_their_own()
{
	dim3 d(64);

	for (int red = 0; red < 2; red++) {
		std::vector<u32> out = launch(own_barriers, dim3(BLOCKS), d, BLOCKS * 64 * 2, red);

		for (u32 b = 0; b < BLOCKS; b++)
			for (u32 t = 0; t < 64; t++) {
				// multiples of 3 among the even and the odd numbers below 64
				same(out[(b * 64 + t) * 2], 4711, d, "a word behind barriers by lane", b, t, red, 0);
				same(out[(b * 64 + t) * 2 + 1], red ? 11 : 0, d, "a count by lane", b, t, red, 1);
			}
	}
}

__global__ void __launch_bounds__(1024) leavers(u32 *all, int unused)
{
	__shared__ volatile u32 word[1024];
	u32 *out = my_words(all, 1), t = thread(), h = my_hash(), n = block_size(), sum = 0;

	word[t] = 1;
	__syncthreads();
#pragma unroll 1
	for (u32 i = 0; i < 6; i++) {
		if ((h >> (4 * i) & 7) == i || t / 32 == 2 * i + 1) {	// lanes, and whole warps, leave in each round
			word[t] = 0;
			out[0] = sum;
			return;
		}
		asm volatile("barrier.sync 0;" : : : "memory");
		for (u32 k = t / 32 * 32; k < t / 32 * 32 + 32 && k < n; k++)
			sum += word[k];
		asm volatile("barrier.sync 0;" : : : "memory");
	}
	out[0] = sum + 1000;
}

static void test_threads_that_leave_before_a_barrier()
{
	for (dim3 d : wanted) {
		u32 n = size_of(d);
		std::vector<u32> out = launch(leavers, dim3(BLOCKS), d, (size_t)BLOCKS * n, 0);

		for (u32 b = 0; b < BLOCKS; b++) {
			std::vector<u32> left(n, 6);

			for (u32 t = 0; t < n; t++)
				for (u32 i = 6; i-- > 0;)
					if ((thread_hash(b, t) >> (4 * i) & 7) == i || t / 32 == 2 * i + 1)
						left[t] = i;
			for (u32 t = 0; t < n; t++) {
				u32 sum = left[t] == 6 ? 1000 : 0;

				for (u32 i = 0; i < left[t]; i++)
					for (u32 k = t / 32 * 32; k < t / 32 * 32 + 32 && k < n; k++)
						sum += left[k] > i;
				same(out[(size_t)b * n + t], sum, d, "those that stay", b, t, 0, 0);
			}
		}
	}
}

// ---- threads that wait for each other

__device__ static u32 locks[4];

// Every thread takes a lock of its warp's, its block's or the grid's and changes words that the lock protects.
__global__ void __launch_bounds__(1024) lock(u32 *all, int whose)
{
	__shared__ u32 block_lock, warp_lock[32];
	__shared__ volatile u32 block_word, warp_word[32];
	u32 *out = my_words(all, 1), t = thread(), w = t / 32;
	u32 *l = whose == 0 ? &warp_lock[w] : whose == 1 ? &block_lock : &locks[0];
	volatile u32 *word = whose == 0 ? &warp_word[w] : whose == 1 ? &block_word : &locks[1];

	if (t == 0)
		block_lock = block_word = 0;
	if (lane() == 0)
		warp_lock[w] = warp_word[w] = 0;
	__syncthreads();
	while (atomicCAS(l, 0, 1) != 0)
		;
	__threadfence();
	u32 was = *word;
	*word = was + 1;
	__threadfence();
	atomicExch(l, 0);
	out[0] = was;
}

static void test_spin_locks()
{
	for (dim3 d : wanted)
		for (int whose = 0; whose < 3; whose++) {
			u32 zero[4] = { 0 }, n = size_of(d);
			std::vector<u32> out, seen((size_t)BLOCKS * n);

			CU(cudaMemcpyToSymbol(locks, zero, sizeof(zero)));
			out = launch(lock, dim3(BLOCKS), d, (size_t)BLOCKS * n, whose);
			// of each lock the threads saw 0, 1, 2… once each, in some order
			for (u32 b = 0; b < BLOCKS; b++)
				for (u32 t = 0; t < n; t++) {
					u32 at = whose == 0 ? b * n + t / 32 * 32 : whose == 1 ? b * n : 0, v = out[(size_t)b * n + t];
					u32 room = whose == 0 ? (n - t / 32 * 32 < 32 ? n - t / 32 * 32 : 32) : whose == 1 ? n : BLOCKS * n;

					if (v >= room || seen[at + v]++)
						fail("a lock of kind %d in blocks of (%u,%u,%u): thread %u saw %u", whose, d.x, d.y, d.z, t, v);
				}
		}
}

// Thread t waits for t + 1 (or t - 1), also in its own warp: both ways round somebody must run who is not first.
__global__ void __launch_bounds__(1024) chain(u32 *all, int how)
{
	__shared__ volatile u32 flag[1026];
	u32 *out = my_words(all, 1), t = thread(), n = block_size();
	u32 mine = how & 1 ? n - t : t + 1, before = how & 1 ? mine - 1 : mine + 1, first = how & 1 ? 0 : n + 1;

	flag[t + 1] = 0;
	if (t == 0)
		flag[first] = 1;
	__syncthreads();
	if (how < 2) {
		while (flag[before] == 0)
			;
		__threadfence_block();
		flag[mine] = flag[before] + 1;
	} else {
		// the wait in one branch, the signal in another
		if (lane() & 1) {
			while (flag[before] == 0)
				if (how == 4)
					__nanosleep(20);
			flag[mine] = flag[before] + 1;
		} else {
			u32 v;

			do {
				v = flag[before];
				if (v)
					flag[mine] = v + 1;
			} while (!v);
		}
	}
	out[0] = flag[mine];
}

static void test_chains()
{
	for (dim3 d : wanted)
		for (int how = 0; how < 5; how++) {
			u32 n = size_of(d);
			std::vector<u32> out = launch(chain, dim3(BLOCKS), d, (size_t)BLOCKS * n, how);

			for (u32 b = 0; b < BLOCKS; b++)
				for (u32 t = 0; t < n; t++)
					same(out[(size_t)b * n + t], n - t + 1, d, "a chain", b, t, how, 0);
		}
}

// Lanes of a warp hand work to others that poll for it by warp operations in a loop of their own.
__global__ void __launch_bounds__(1024) polling(u32 *all, int unused)
{
	__shared__ volatile u32 box[32];
	u32 *out = my_words(all, 1), w = thread() / 32, mask = group(0, 0), l = lane(), pollers = mask & 0xfffffffe, v = 0;

	if (l == 0)
		box[w] = 0;
	__syncwarp(mask);
	if (l == 0) {
		for (u32 i = 1; i <= 5; i++) {
			box[w] = i;
			if (pollers)
				while (box[w] == i)
					;
		}
		v = box[w];
	} else {
		for (u32 i = 1; i <= 5; i++) {
			while (!__any_sync(pollers, box[w] == i))
				;
			v += box[w];
			__syncwarp(pollers);
			if (l == 1)
				box[w] = i + 100;
		}
	}
	out[0] = v;
}

static void test_polling_by_warp_operations()
{
	for (dim3 d : wanted) {
		u32 n = size_of(d);
		std::vector<u32> out = launch(polling, dim3(BLOCKS), d, (size_t)BLOCKS * n, 0);

		for (u32 b = 0; b < BLOCKS; b++)
			for (u32 t = 0; t < n; t++) {
				bool alone = n - t / 32 * 32 < 2;

				same(out[(size_t)b * n + t], t & 31 ? 15 : alone ? 5 : 105, d, "a poller's sum", b, t, 0, 0);
			}
	}
}

// ---- the grid

__global__ void __launch_bounds__(1024) meetings(u32 *all, int rounds)
{
	cooperative_groups::grid_group grid = cooperative_groups::this_grid();
	u32 n = block_size(), nr = n * gridDim.x, me = blockIdx.x * n + thread(), v = my_hash();

	for (int i = 0; i < rounds; i++) {
		u32 *row = all + (i & 1) * nr;

		row[me] = v;
		grid.sync();
		v = v * 3 + row[nr - 1 - me] + row[(me + n) % nr];
	}
	grid.sync();
	all[me] = v;
}

static void test_grid_barriers()
{
	for (dim3 d : wanted) {
		const u32 rounds = 5;
		u32 n = size_of(d), grid = 7, nr;
		int fit, sms;

		CU(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, meetings, n, 0));
		CU(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0));
		if ((u32)(fit * sms) < grid)
			grid = fit * sms;
		nr = n * grid;
		std::vector<u32> out = launch(meetings, dim3(grid), d, 2 * (size_t)nr, (int)rounds, 0, true), v(nr), w(nr);

		for (u32 i = 0; i < nr; i++)
			v[i] = thread_hash(i / n, i % n);
		for (u32 r = 0; r < rounds; r++) {
			for (u32 i = 0; i < nr; i++)
				w[i] = v[i] * 3 + v[nr - 1 - i] + v[(i + n) % nr];
			v = w;
		}
		for (u32 i = 0; i < nr; i++)
			same(out[i], v[i], d, "a word behind grid barriers", i / n, i % n, 0, 0);
	}
}

// ---- special registers

#define SREG(to, name) asm volatile("mov.u32 %0, %" name ";" : "=r"(to))
#define SREG64(to, name) asm volatile("mov.u64 %0, %" name ";" : "=l"(to))
#define NR_SREGS 36

__global__ void __launch_bounds__(1024) sregs(u32 *all, int unused)
{
	__shared__ u32 fixed[33];
	extern __shared__ u32 dynamic[];
	u32 block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z), v[NR_SREGS], c0, c1;
	u32 *out = all + (size_t)(block * block_size() + thread()) * NR_SREGS;
	u64 t0, t1, k0, k1, id;

	SREG(v[0], "%tid.x"); SREG(v[1], "%tid.y"); SREG(v[2], "%tid.z");
	SREG(v[3], "%ntid.x"); SREG(v[4], "%ntid.y"); SREG(v[5], "%ntid.z");
	SREG(v[6], "%ctaid.x"); SREG(v[7], "%ctaid.y"); SREG(v[8], "%ctaid.z");
	SREG(v[9], "%nctaid.x"); SREG(v[10], "%nctaid.y"); SREG(v[11], "%nctaid.z");
	SREG(v[12], "%laneid"); SREG(v[13], "%warpid"); SREG(v[14], "%nwarpid"); SREG(v[15], "%smid"); SREG(v[16], "%nsmid");
	SREG(v[17], "%lanemask_eq"); SREG(v[18], "%lanemask_le"); SREG(v[19], "%lanemask_lt"); SREG(v[20], "%lanemask_ge");
	SREG(v[21], "%lanemask_gt"); SREG(v[22], "%dynamic_smem_size"); SREG(v[23], "%total_smem_size");
	SREG64(id, "%gridid");
	v[24] = (u32)id;
	v[25] = (u32)(id >> 32);
	SREG(c0, "%clock"); SREG64(k0, "%clock64"); SREG64(t0, "%globaltimer");
	if (thread() == 0)
		fixed[blockIdx.x % 33] = dynamic[0] = block;
	__syncthreads();
	v[26] = dynamic[0];
	v[27] = fixed[blockIdx.x % 33];
	__nanosleep(1000);
	SREG(c1, "%clock"); SREG64(k1, "%clock64"); SREG64(t1, "%globaltimer");
	v[28] = k1 > k0;
	v[29] = t1 >= t0 && t1 - t0 < 60000000000ull;
	v[30] = c1 != c0 || k1 - k0 >> 32;
	asm volatile("mov.u32 %0, WARP_SZ;" : "=r"(v[31]));
	// the same registers as 16 bits, as old code reads them
	asm volatile("{ .reg .u16 h; mov.u16 h, %%tid.x; cvt.u32.u16 %0, h; }" : "=r"(v[32]));
	v[33] = __isShared(dynamic) && __isGlobal(all) && !__isGlobal(fixed) && !__isShared(all) && __isLocal(v) && !__isLocal(all);
	v[34] = t0 != 0;
	v[35] = 1;
	for (int i = 0; i < NR_SREGS; i++)
		out[i] = v[i];
}

static void test_special_registers()
{
	u32 ids[2] = { 0, 0 };

	for (dim3 d : wanted) {
		dim3 grid(3, 2, 2);
		u32 n = size_of(d);
		std::vector<u32> out = launch(sregs, grid, d, (size_t)12 * n * NR_SREGS, 0, 100);

		for (u32 b = 0; b < 12; b++)
			for (u32 t = 0; t < n; t++) {
				const u32 *got = &out[(size_t)(b * n + t) * NR_SREGS], *first = &out[0], *warp = &out[(size_t)(b * n + t / 32 * 32) * NR_SREGS];
				u32 l = t % 32, eq = 1u << l, below = eq - 1;
				u32 want[NR_SREGS] = { t % d.x, t / d.x % d.y, t / d.x / d.y, d.x, d.y, d.z, b % 3, b / 3 % 2, b / 6, 3, 2, 2, l, warp[13],
						       first[14], got[15], first[16], eq, eq | below, below, ~below, ~(eq | below), 100, first[23],
						       first[24], first[25], b, b, 1, 1, 1, 32, t % d.x, 1, 1, 1 };

				for (u32 i = 0; i < NR_SREGS; i++)
					same(got[i], want[i], d, "special register", b, t, 0, i);
				if (got[13] >= got[14] || got[15] >= got[16])
					fail("%%warpid %u of %u, %%smid %u of %u", got[13], got[14], got[15], got[16]);
				if (got[23] < 33 * 4 + 100)
					fail("%%total_smem_size is %u", got[23]);
			}
		if (out[24] == ids[0] && out[25] == ids[1])
			fail("two grids with one %%gridid");
		ids[0] = out[24];
		ids[1] = out[25];
	}
}

// ----

static const struct {
	const char *name;
	void (*run)();
} tests[] = {
	{ "shfl", test_shfl },
	{ "vote", test_vote },
	{ "match", test_match },
	{ "redux-elect", test_redux },
	{ "activemask", test_activemask },
	{ "warpsync", test_warpsync },
	{ "pairs", test_pairs },
	{ "loops", test_loops },
	{ "branches", test_branches },
	{ "barriers", test_barriers },
	{ "barrier-reductions", test_barrier_reductions },
	{ "barrier-groups", test_barrier_groups },
	{ "producers-consumers", test_producers_and_consumers },
	{ "own-barriers", test_lanes_with_barriers_of_their_own },
	{ "leavers", test_threads_that_leave_before_a_barrier },
	{ "spin-locks", test_spin_locks },
	{ "chains", test_chains },
	{ "polling", test_polling_by_warp_operations },
	{ "grid-barriers", test_grid_barriers },
	{ "special-registers", test_special_registers },
};

int main(int argc, char **argv)
{
	const char *only = NULL;
	u32 largest = 1024;
	int nr = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--list")) {
			for (auto &t : tests)
				printf("%s\n", t.name);
			return 0;
		}
		if (i + 1 < argc && !strcmp(argv[i], "--only")) {
			only = argv[++i];
		} else if (i + 1 < argc && !strcmp(argv[i], "--up-to")) {
			largest = atoi(argv[++i]);
		} else {
			fprintf(stderr, "usage: %s [--list] [--only TEST] [--up-to THREADS]\n", argv[0]);
			return 2;
		}
	}
	for (dim3 d : shapes)
		if (size_of(d) <= largest)
			wanted.push_back(d);
	CU(cudaMalloc(&device, device_words * 4));
	for (auto &t : tests) {
		if (only && strcmp(only, t.name))
			continue;
		test_name = t.name;
		test_failed = false;
		t.run();
		nr++;
		nr_failed += test_failed;
		if (!test_failed)
			printf("ok %s\n", t.name);
	}
	if (!nr) {
		fprintf(stderr, "no test '%s'\n", only);
		return 2;
	}
	printf("%s %d of %d\n", nr_failed ? "FAIL" : "PASS", nr - nr_failed, nr);
	return nr_failed != 0;
}
