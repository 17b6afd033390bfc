/* test_nvcc.c - what nvcc made of the programs in tests/apps, by the doubles' executor and by the CPU target. */
#include "tests/unit/simt/simt_test.h"

#define SECTION (1 << 16)
#define NR_SECTIONS 10
#define VARS 4096
static _Alignas(256) unsigned char arena[NR_SECTIONS * SECTION + VARS];

/*
 * params: a word for each parameter; A to J is a section's address, i, f, b a number, of 32 bits, f32, 8 bits; q one of 64 bits.
 * A structure of addresses is written as one word: ABC.
 */
struct step {
	const char *kernel;
	uint32_t grid[3], block[3], shared;
	bool cooperative;
	const char *params;
};

static void put_params(const struct hg_kernel_info *k, const char *text, unsigned char *block)
{
	for (uint32_t i = 0; i < k->nr_params; i++) {
		unsigned char *to = block + k->params[i].offset;
		uint64_t q = strtoull(text + 1, NULL, 0);
		float f = strtof(text + 1, NULL);
		uint32_t n = (uint32_t)atoi(text + 1);

		cr_assert(*text, "too few parameters for '%s'", k->name);
		switch (*text) {
		case 'i': memcpy(to, &n, 4); break;
		case 'b': *to = (unsigned char)n; break;
		case 'f': memcpy(to, &f, 4); break;
		case 'q': memcpy(to, &q, 8); break;
		default:
			for (; *text >= 'A' && *text <= 'J'; text++, to += 8) {
				void *p = arena + (*text - 'A') * SECTION;

				memcpy(to, &p, sizeof(p));
			}
			break;
		}
		text += strcspn(text, " ");
		text += strspn(text, " ");
	}
	cr_assert(!*text, "too many parameters for '%s'", k->name);
}

/* fill: for each section 0 zeros, i any bits, s small numbers, f and d floats and doubles between -1 and 1 */
static void fill_arena(const char *fill)
{
	uint32_t seed = 1;

	memset(arena, 0, sizeof(arena));
	for (int s = 0; fill[s]; s++)
		for (int i = 0; i < SECTION / 8; i++) {
			unsigned char *to = arena + s * SECTION + i * 8;
			uint32_t w[2];
			float f[2];
			double d;

			for (int j = 0; j < 2; j++) {
				seed = seed * 1664525 + 1013904223;
				w[j] = seed ^ seed >> 16;
				f[j] = (float)(int32_t)w[j] * 0x1p-31f;
			}
			d = f[0];
			switch (fill[s]) {
			case 'i': memcpy(to, w, 8); break;
			case 's':
				w[0] %= 3;
				w[1] %= 3;
				memcpy(to, w, 8);
				break;
			case 'f': memcpy(to, f, 8); break;
			case 'd': memcpy(to, &d, 8); break;
			default: break;
			}
		}
}

static size_t kernel_index(const struct hg_module *m, const char *name)
{
	for (size_t i = 0; i < hg_module_nr_kernels(m); i++)
		if (strstr(hg_module_kernel(m, i)->name, name))
			return i;
	cr_assert_fail("no kernel '%s'", name);
	return 0;
}

/* Each kernel of the file must be run by some step. */
static void compare(const char *file, const char *fill, const struct step *step, size_t nr_steps)
{
	static _Alignas(256) unsigned char cpu[sizeof(arena)];
	static _Alignas(64) unsigned char params[4096];
	uint64_t var_addr[32];
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct simt_module *sm;
	size_t size, ran = 0;
	char *text = read_test_file(file, &size);

	setenv("HGSHIM_CACHE", "0", 1);
	m = load_text(text);
	free(text);
	cr_assert_eq(hg_cpu_module_create(m, &cm), HG_OK);
	cr_assert_eq(simt_module_from_hgir(hg_module_ir(m), &sm), HG_OK);
	for (int by_simt = 0; by_simt < 2; by_simt++) {
		fill_arena(fill);
		/* variables of the module are behind the last section */
		cr_assert_leq(hg_module_nr_vars(m), 32);
		cr_assert_leq(place_vars(m, arena + NR_SECTIONS * SECTION, var_addr), VARS);
		for (size_t s = 0; s < nr_steps; s++) {
			size_t k = kernel_index(m, step[s].kernel);
			struct kernel_run r = { .shared = step[s].shared, .cooperative = step[s].cooperative, .params = params };
			struct hg_grid g;

			memcpy(r.grid, step[s].grid, sizeof(r.grid));
			memcpy(r.block, step[s].block, sizeof(r.block));
			g = grid_of(&r);
			g.var_addr = var_addr;
			put_params(hg_module_kernel(m, k), step[s].params, params);
			if (by_simt) {
				struct simt_launch l = { .kernel = k, .shared_bytes = g.shared_bytes, .warp_size = 32,
							 .cooperative = g.cooperative, .params = params,
							 .var_addr = var_addr, .id = 1 };
				char why[256];
				enum hg_status st;

				memcpy(l.grid, g.grid, sizeof(l.grid));
				memcpy(l.block, g.block, sizeof(l.block));
				st = simt_run(sm, &l, why, sizeof(why));
				cr_assert_eq(st, HG_OK, "%s: %s", hg_status_text(st), why);
				ran |= (size_t)1 << k;
			} else {
				struct hg_fault fault;
				struct hg_cpu_kernel *ck;

				cr_assert_eq(hg_cpu_kernel_get(cm, k, &ck), HG_OK);
				cr_assert_eq(hg_grid_run(ck, &g, &fault), HG_OK, "%s", fault.what);
			}
		}
		if (!by_simt)
			memcpy(cpu, arena, sizeof(arena));
	}
	cr_assert_eq(ran, ((size_t)1 << hg_module_nr_kernels(m)) - 1, "not every kernel of '%s' was run", file);
	for (size_t i = 0; i < sizeof(arena); i++)
		cr_assert_eq(arena[i], cpu[i], "section %c, byte %zu of '%s': %02x, on the CPU target %02x", (int)('A' + i / SECTION),
			     i % SECTION, file, arena[i], cpu[i]);
	/* and they did something */
	fill_arena(fill);
	cr_assert(memcmp(arena, cpu, sizeof(arena)));
	simt_module_free(sm);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
}

#define COMPARE(file, fill, ...) do {								\
	static const struct step steps[] = { __VA_ARGS__ };					\
												\
	compare("tests/ptx/nvcc13_" file ".ptx", fill, steps, sizeof(steps) / sizeof(steps[0]));	\
} while (0)

Test(simt_nvcc, vector_add)
{
	COMPARE("vector_add", "ii0ff0",
		{ "_Z3addPKj", { 40 }, { 256 }, 0, false, "A B C i10001" },
		{ "_Z3addPKf", { 40 }, { 256 }, 0, false, "D E F i10001" });
	COMPARE("debug_vector_add", "ii0ff0",
		{ "_Z3addPKj", { 40 }, { 256 }, 0, false, "A B C i10001" },
		{ "_Z3addPKf", { 40 }, { 256 }, 0, false, "D E F i10001" });
}

Test(simt_nvcc, gemm)
{
	COMPARE("gemm", "0ff0ii",
		{ "gemm_half", { 2, 2 }, { 128 }, 0, false, "B C A i64" },
		{ "gemm_bf16", { 2, 2 }, { 128 }, 0, false, "C B A i64" },
		{ "gemm_int8", { 2, 2 }, { 128 }, 0, false, "E F A i64" },
		{ "gemm_double", { 2, 2 }, { 32 }, 0, false, "B C D i16" },
		{ "gemm_ldmatrix", { 2, 2 }, { 32 }, 0, false, "B C D i32" });
}

Test(simt_nvcc, saxpy_streams)
{
	COMPARE("saxpy_streams", "ff",
		{ "saxpy", { 16 }, { 128 }, 0, false, "f0.625 A B i9999" }, { "blend", { 16 }, { 128 }, 0, false, "A B i9999" });
}

Test(simt_nvcc, transpose)
{
	COMPARE("transpose", "i0",
		{ "transpose", { 4, 4 }, { 32, 8 }, 0, false, "A q512 B q400 i110 i98" });
}

Test(simt_nvcc, reduction)
{
	COMPARE("reduction", "i00",
		{ "reduce", { 24 }, { 256 }, 0, false, "A i15000 B" }, { "finish", { 1 }, { 128 }, 0, false, "B i24 C" },
		{ "scramble", { 59 }, { 256 }, 0, false, "A i15000 C" });
}

Test(simt_nvcc, scan)
{
	COMPARE("scan", "i00",
		{ "scan_blocks", { 50 }, { 256 }, 0, false, "A B C i12700" }, { "scan_totals", { 1 }, { 256 }, 0, false, "C i50" },
		{ "add_totals", { 50 }, { 256 }, 0, false, "B C i12700" }, { "fold", { 50 }, { 256 }, 0, false, "B A i12700" });
}

Test(simt_nvcc, histogram)
{
	COMPARE("histogram", "i0000",
		{ "count_shared", { 32 }, { 256 }, 0, false, "A i16000 B" },
		{ "count_global", { 63 }, { 256 }, 0, false, "A i16000 C D E" },
		{ "advance", { 63 }, { 256 }, 0, false, "A i16000" });
}

Test(simt_nvcc, linked_list)
{
	COMPARE("linked_list", "iii00",
		{ "build", { 96 }, { 128 }, 0, false, "ABC D" }, { "rotate", { 1 }, { 256 }, 0, false, "D" },
		{ "walk", { 4 }, { 64 }, 0, false, "D E" }, { "rotate", { 1 }, { 256 }, 0, false, "D" },
		{ "walk", { 4 }, { 64 }, 0, false, "D E" });
}

Test(simt_nvcc, mandelbrot)
{
	COMPARE("mandelbrot", "0", { "mandelbrot", { 6, 8 }, { 16, 8 }, 0, false, "A f-2.2 f-1.0 f0.03125" });
}

Test(simt_nvcc, matmul)
{
	/* a matrix is larger than a section; the result's last rows are left out */
	COMPARE("matmul", "iiii0ffff0",
		{ "multiplyIj", { 9, 7 }, { 16, 16 }, 0, false, "A C E i3" },
		{ "multiplyIf", { 9, 7 }, { 16, 16 }, 0, false, "F H J f0.5" });
}

Test(simt_nvcc, nbody)
{
	COMPARE("nbody", "ff",
		{ "accelerate", { 6 }, { 128 }, 0, false, "A B i768" }, { "move", { 12 }, { 64 }, 0, false, "A B" },
		{ "accelerate", { 6 }, { 128 }, 0, false, "A B i768" });
}

Test(simt_nvcc, cg)
{
	COMPARE("cg", "d00000",
		{ "begin", { 16 }, { 256 }, 0, false, "A B C D" }, { "solve", { 8 }, { 128 }, 0, true, "B C D E F" });
}

Test(simt_nvcc, threads)
{
	COMPARE("threads", "i0", { "mix", { 33 }, { 128 }, 0, false, "A i4099 i77" },
		{ "neighbours", { 33 }, { 128 }, 0, false, "A B i4099" });
}

Test(simt_nvcc, train)
{
	COMPARE("train", "00ff0f0000",
		{ "make_batch", { 2 }, { 64 }, 0, false, "A B i7919 i128" },
		{ "forward", { 128 }, { 64 }, 192, false, "A i2 C C E i48 b1" },
		{ "forward", { 128 }, { 64 }, 192, false, "E i48 D D G i48 b1" },
		{ "forward", { 128 }, { 32 }, 192, false, "G i48 F F H i3 b0" },
		{ "softmax", { 1 }, { 128 }, 0, false, "H B I J E" },
		{ "backward", { 128 }, { 48 }, 0, false, "F I i3 G E" },
		{ "update", { 2 }, { 128 }, 0, false, "G i48 I i3 F C D J" });
}
