// shapes.cu - trees built on the device's heap with new and delete, recursive functions, virtual functions, linked PTX.
#include <cuda.h>
#include "app.h"

#define TREES 96
#define LEAVES 24

struct shape {
	__device__ virtual uint32_t size(uint32_t scale) const = 0;
	__device__ virtual void grow(uint32_t by) = 0;
	__device__ virtual ~shape() {}
};

struct square : shape {
	uint32_t side;

	__device__ square(uint32_t s) : side(s) {}
	__device__ uint32_t size(uint32_t scale) const override { return side * side * scale; }
	__device__ void grow(uint32_t by) override { side += by; }
};

struct strip : shape {
	uint32_t length, width;

	__device__ strip(uint32_t l, uint32_t w) : length(l), width(w) {}
	__device__ uint32_t size(uint32_t scale) const override { return length * width + scale; }
	__device__ void grow(uint32_t by) override { length += 2 * by; }
};

struct tree {
	tree *left, *right;
	uint32_t key;
	shape *what;
};

// Recursive: another depth in each lane.
__device__ __noinline__ tree *insert(tree *t, tree *one)
{
	if (!t)
		return one;
	if (one->key < t->key)
		t->left = insert(t->left, one);
	else
		t->right = insert(t->right, one);
	return t;
}

__device__ __noinline__ uint32_t walk(tree *t, uint32_t depth)
{
	if (!t)
		return depth;
	uint32_t l = walk(t->left, depth + 1);

	t->what->grow(depth & 3);
	return l * 31 + t->what->size(depth) + walk(t->right, depth + 1) * 17;
}

__device__ __noinline__ void remove(tree *t)
{
	if (!t)
		return;
	remove(t->left);
	remove(t->right);
	delete t->what;
	delete t;
}

__host__ __device__ static uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	return x * 0x846ca68bu;
}

// One block: which memory a tree gets is then the same in every run.
__global__ void plant(tree **root, uint32_t seed)
{
	uint32_t id = blockIdx.x * blockDim.x + threadIdx.x;

	root[id] = nullptr;
	for (uint32_t i = 0; i < LEAVES; i++) {
		uint32_t r = mix(seed + id * LEAVES + i);
		tree *t = new tree();

		t->left = t->right = nullptr;
		t->key = r;
		t->what = r & 1 ? (shape *)new square(r >> 24) : new strip(r >> 20, r & 15);
		root[id] = insert(root[id], t);
	}
}

// The trees belong to another block than the one that planted them.
__global__ void visit(tree **root, uint32_t *sum)
{
	uint32_t id = TREES - 1 - (blockIdx.x * blockDim.x + threadIdx.x);

	sum[id] = sum[id] * 1664525u + walk(root[id], 1);
}

__global__ void fell(tree **root)
{
	uint32_t id = TREES - 1 - (blockIdx.x * blockDim.x + threadIdx.x);

	remove(root[id]);
	root[id] = nullptr;
}

// Two texts that the driver links: sum[i] += steps(sum[i] & 1023), and the recursive function, which counts the steps of 3n + 1.
#define PTX_HEAD ".version 7.0\n.target sm_75\n.address_size 64\n"
static const char turn_ptx[] = PTX_HEAD
	".extern .func (.param .b32 r) steps(.param .b32 n);\n"
	".visible .entry turn(.param .u64 p)\n{\n\t.reg .b32 %r<5>;\n\t.reg .b64 %rd<4>;\n"
	"\tld.param.u64 %rd1, [p];\n\tmov.u32 %r1, %tid.x;\n\tmul.wide.u32 %rd2, %r1, 4;\n\tadd.u64 %rd3, %rd1, %rd2;\n"
	"\tld.global.u32 %r2, [%rd3];\n\tand.b32 %r3, %r2, 1023;\n"
	"\t{\n\t.param .b32 i;\n\t.param .b32 o;\n\tst.param.b32 [i], %r3;\n\tcall.uni (o), steps, (i);\n\tld.param.b32 %r4, [o];\n\t}\n"
	"\tadd.u32 %r2, %r2, %r4;\n\tst.global.u32 [%rd3], %r2;\n\tret;\n}\n";
static const char steps_ptx[] = PTX_HEAD
	".visible .func (.param .b32 r) steps(.param .b32 n)\n{\n\t.reg .pred %p<3>;\n\t.reg .b32 %r<6>;\n"
	"\tld.param.u32 %r1, [n];\n\tmov.u32 %r5, 0;\n\tsetp.lt.u32 %p1, %r1, 2;\n\t@%p1 bra done;\n"
	"\tand.b32 %r2, %r1, 1;\n\tsetp.eq.u32 %p2, %r2, 0;\n\tshr.u32 %r3, %r1, 1;\n\tmad.lo.u32 %r4, %r1, 3, 1;\n"
	"\tselp.b32 %r3, %r3, %r4, %p2;\n"
	"\t{\n\t.param .b32 i;\n\t.param .b32 o;\n\tst.param.b32 [i], %r3;\n\tcall.uni (o), steps, (i);\n\tld.param.b32 %r5, [o];\n\t}\n"
	"\tadd.u32 %r5, %r5, 1;\ndone:\n\tst.param.b32 [r], %r5;\n\tret;\n}\n";

template <typename F> static F *driver(const char *name)
{
	cudaDriverEntryPointQueryResult found;
	void *fn = nullptr;

	CU(cudaGetDriverEntryPointByVersion(name, &fn, 12000, cudaEnableDefault, &found));
	if (!fn)
		app_fail("the driver lacks a function");
	return (F *)fn;
}

static void must(CUresult r)
{
	if (r)
		app_fail("a call of the driver failed");
}

static CUfunction link_turn()
{
	CUlinkState state;
	CUmodule module;
	CUfunction f;
	void *image;
	size_t size;

	must(driver<decltype(cuLinkCreate)>("cuLinkCreate")(0, nullptr, nullptr, &state));
	auto add = driver<decltype(cuLinkAddData)>("cuLinkAddData");
	must(add(state, CU_JIT_INPUT_PTX, (void *)turn_ptx, sizeof(turn_ptx), "turn", 0, nullptr, nullptr));
	must(add(state, CU_JIT_INPUT_PTX, (void *)steps_ptx, sizeof(steps_ptx), "steps", 0, nullptr, nullptr));
	must(driver<decltype(cuLinkComplete)>("cuLinkComplete")(state, &image, &size));
	must(driver<decltype(cuModuleLoadData)>("cuModuleLoadData")(&module, image));
	must(driver<decltype(cuLinkDestroy)>("cuLinkDestroy")(state));
	must(driver<decltype(cuModuleGetFunction)>("cuModuleGetFunction")(&f, module, "turn"));
	return f;
}

static uint32_t host_steps(uint32_t n)
{
	uint32_t s = 0;

	for (; n > 1; s++)
		n = n & 1 ? 3 * n + 1 : n / 2;
	return s;
}

// The same on the host, with arrays and a sort by the keys' tree.
struct node { int left, right; uint32_t key, a, b; };

static uint32_t host_walk(node *n, int i, uint32_t depth)
{
	if (i < 0)
		return depth;
	uint32_t l = host_walk(n, n[i].left, depth + 1), size;

	if (n[i].key & 1) {
		n[i].a += depth & 3;
		size = n[i].a * n[i].a * depth;
	} else {
		n[i].a += 2 * (depth & 3);
		size = n[i].a * n[i].b + depth;
	}
	return l * 31 + size + host_walk(n, n[i].right, depth + 1) * 17;
}

static void host_plant(node *n, uint32_t seed, uint32_t id)
{
	for (int i = 0; i < LEAVES; i++) {
		uint32_t r = mix(seed + id * LEAVES + (uint32_t)i);

		n[i] = { -1, -1, r, r & 1 ? r >> 24 : r >> 20, r & 15 };
		for (int at = 0; at < i;) {
			int *next = r < n[at].key ? &n[at].left : &n[at].right;

			if (*next < 0) {
				*next = i;
				break;
			}
			at = *next;
		}
	}
}

int main(int argc, char **argv)
{
	static uint32_t got[TREES], want[TREES];
	static node n[TREES][LEAVES];
	uint32_t *sum;
	tree **root;

	app_args(argc, argv, 400);
	CU(cudaDeviceSetLimit(cudaLimitMallocHeapSize, 1 << 20));
	CU(cudaDeviceSetLimit(cudaLimitStackSize, 16384));
	CU(cudaMalloc(&root, sizeof(*root) * TREES));
	CU(cudaMalloc(&sum, sizeof(got)));
	app_buffer("sum", sum, sizeof(got));
	CU(cudaMemset(sum, 0, sizeof(got)));
	auto launch = driver<decltype(cuLaunchKernel)>("cuLaunchKernel");
	CUfunction turn = link_turn();
	void *params[] = { &sum };

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		if (r % 8 == 0) {
			if (r)
				fell<<<1, TREES>>>(root);
			plant<<<1, TREES>>>(root, (uint32_t)r);
		}
		visit<<<TREES / 32, 32>>>(root, sum);
		APP_LAUNCHED();
		must(launch(turn, 1, 1, 1, TREES, 1, 1, 0, nullptr, params, nullptr));
	}
	CU(cudaMemcpy(got, sum, sizeof(got), cudaMemcpyDeviceToHost));
	for (int r = 0; r < app.rounds; r++)
		for (uint32_t i = 0; i < TREES; i++) {
			if (r % 8 == 0)
				host_plant(n[i], (uint32_t)r, i);
			want[i] = want[i] * 1664525u + host_walk(n[i], 0, 1);
			want[i] += host_steps(want[i] & 1023);
		}
	for (int i = 0; i < TREES; i++)
		APP_EQUAL(got[i], want[i], i);
	return app_pass(app_sum(0, got, sizeof(got)));
}
