/* ptx_cpu.c - hgshim-ptx asm, llvm: what a target makes of a kernel; run: on the CPU. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/msg.h"
#include "replay/device_print.h"
#include "replay/grid.h"
#include "replay/target.h"
#include "tools/ptx_spirv.h"
#include "tools/ptx_tool.h"
#include "translate/amdgcn.h"
#include "translate/jit.h"

#define MAX_ARGS 64
#define HEAP_BYTES (8u << 20)	/* of malloc in kernels, as CUDA has it */

struct argument {
	uint64_t bits;		/* the value, or the buffer's address */
	unsigned char *data;	/* of a buffer */
	size_t size;
};

struct cpu_args {
	const char *kernel;	/* NULL: all, or for run the only one */
	int tier;
	enum hg_cpu_text kind;
	bool for_chip;		/* not for the CPU, */
	bool for_spirv;		/* nor for a chip of AMD's */
	struct hg_amd_chip chip;
	struct hg_gpu_need need;
	const char *object;	/* where the code object goes */
	size_t found;
	/* run */
	struct hg_grid grid;
	struct argument arg[MAX_ARGS];
	size_t nr_args;
	unsigned long repeat;
};

static bool parse_dim(const char *s, uint32_t dim[3])
{
	int used = 0, nr = sscanf(s, "%" SCNu32 "%n,%" SCNu32 "%n,%" SCNu32 "%n", &dim[0], &used, &dim[1], &used, &dim[2], &used);

	for (int i = nr < 1 ? 0 : nr; i < 3; i++)
		dim[i] = 1;
	return nr >= 1 && !s[used];
}

/* The LLVM IR or assembly of a kernel, malloc'ed. */
static enum hg_status text_of(const struct hg_module *m, size_t i, const struct cpu_args *a, char **text)
{
	if (a->for_spirv)
		return hg_spirv_text(hg_module_ir(m), i, &hg_spirv_any_device, &a->need, text);
	if (a->for_chip)
		return hg_amd_text(hg_module_ir(m), i, &a->chip, &a->need, a->kind == HG_CPU_ASM ? HG_AMD_ASM : HG_AMD_LLVM, text);
	return hg_cpu_kernel_text(hg_module_ir(m), i, a->kind, a->tier, text);
}

static enum hg_status print_text(const struct hg_module *m, size_t i, const struct cpu_args *a)
{
	char *text;
	enum hg_status st = text_of(m, i, a, &text);

	if (st)
		return st;
	printf("%s kernel %s\n%s\n", a->for_chip || a->for_spirv || a->kind == HG_CPU_LLVM ? ";" : "#", hg_module_kernel(m, i)->name, text);
	free(text);
	return HG_OK;
}

/* The code object of a kernel, as the target would load it. */
static enum hg_status write_object(const struct hg_module *m, size_t i, const struct cpu_args *a)
{
	const struct hg_amd_code *code;
	struct hg_amd_module *am;
	FILE *f = NULL;
	bool ok;
	enum hg_status st = hg_amd_module_create(hg_module_ir(m), NULL, &a->chip, &am);

	if (st)
		return st;
	st = hg_amd_code_get(am, i, &a->need, &code);
	if (st)
		goto out;
	f = fopen(a->object, "wb");
	ok = f && fwrite(code->elf, 1, code->size, f) == code->size;
	ok &= !f || !fclose(f);
	if (!f || !ok) {
		pr_err("cannot write '%s': %s", a->object, strerror(errno));
		st = HG_ERR_IO;
		goto out;
	}
	printf("kernel %s: %s, %s, blocks of up to %u threads, %u vector and %u scalar registers, %u and %u spilled, %u bytes of scratch, "
	       "%u bytes of arguments\n", code->symbol, a->chip.name, code->is_scheduled ? "scheduled" : "direct", code->max_threads,
	       code->vgprs, code->sgprs, code->vgpr_spills, code->sgpr_spills, code->scratch_bytes, code->kernarg_bytes);
out:
	hg_amd_module_destroy(am);
	return st;
}

static enum hg_status text_image(const void *image, size_t size, void *arg)
{
	struct cpu_args *a = arg;
	struct hg_module *m;
	enum hg_status st = hg_module_load(image, size, ptx_tool_sm, NULL, 0, &m);

	if (st)
		return st;
	if (a->object && !a->kernel && hg_module_nr_kernels(m) != 1) {
		pr_err("%zu kernels: name the one for '%s' with --kernel", hg_module_nr_kernels(m), a->object);
		st = HG_ERR_INVALID;
	}
	for (size_t i = 0; i < hg_module_nr_kernels(m) && !st; i++) {
		if (a->kernel && strcmp(a->kernel, hg_module_kernel(m, i)->name))
			continue;
		a->found++;
		if (a->for_spirv && (a->object || a->kind == HG_CPU_ASM))
			st = ptx_spirv_asm(hg_module_ir(m), i, &a->need, a->object);
		else
			st = a->object ? write_object(m, i, a) : print_text(m, i, a);
	}
	hg_module_free(m);
	return st;
}

/* One option with its value; false: no such option. */
static bool take_text_option(struct cpu_args *a, const char *option, const char *value)
{
	char *end;

	if (!strcmp(option, "--kernel")) {
		a->kernel = value;
		return true;
	}
	if (!strcmp(option, "--tier")) {
		a->tier = value[0] - '0';
		return !strcmp(value, "1") || !strcmp(value, "2");
	}
	if (!strcmp(option, "-o")) {
		a->object = value;
		return true;
	}
	if (!strcmp(option, "--block"))
		return parse_dim(value, a->need.block) && a->need.block[0] && a->need.block[1] && a->need.block[2];
	if (!strcmp(option, "--stack")) {
		a->need.stack_bytes = (uint32_t)strtoul(value, &end, 10);
		return *value && !*end;
	}
	return false;
}

static int text_command(int argc, char **argv, enum hg_cpu_text kind)
{
	struct cpu_args a = { .kind = kind, .tier = 2 };
	const char *name = argv[0];
	int code = 0;

	for (; argc >= 3 && argv[1][0] == '-'; argc -= 2, argv += 2) {
		if (!strcmp(argv[1], "--target")) {
			a.for_spirv = !strcmp(argv[2], "spirv");
			a.for_chip = !a.for_spirv && strcmp(argv[2], "cpu") != 0;
			if (a.for_chip && hg_amd_chip_find(argv[2], &a.chip))
				return 2;
		} else if (!take_text_option(&a, argv[1], argv[2])) {
			pr_err("'%s' does not take '%s %s'", name, argv[1], argv[2]);
			return 2;
		}
	}
	if (argc < 2) {
		pr_err("'%s' needs a file", name);
		return 2;
	}
	if (!a.for_chip && !a.for_spirv && (a.object || a.need.block[0] || a.need.stack_bytes)) {
		pr_err("'%s' takes -o, --block and --stack with --target CHIP or spirv alone", name);
		return 2;
	}
	for (int i = 1; i < argc; i++)
		if (ptx_file_images(argv[i], text_image, &a))
			code = 1;
	if (!code && !a.found) {
		pr_err("no kernel '%s'", a.kernel ? a.kernel : "");
		code = 1;
	}
	return code;
}

int ptx_cmd_asm(int argc, char **argv)
{
	return text_command(argc, argv, HG_CPU_ASM);
}

int ptx_cmd_llvm(int argc, char **argv)
{
	return text_command(argc, argv, HG_CPU_LLVM);
}

/* ---- run ---- */

/* A number; f:1.5 and d:1.5; z:BYTES zeros; u:COUNT and r:COUNT numbers 0, 1, 2… as u32 and as f32. */
static bool parse_argument(const char *s, struct argument *a)
{
	char kind = s[0] && s[1] == ':' ? s[0] : 'i', *end;
	const char *text = kind == 'i' && !(s[0] && s[1] == ':') ? s : s + 2;
	unsigned long count;
	float f;
	double d;

	*a = (struct argument){ 0 };
	switch (kind) {
	case 'i':
		a->bits = text[0] == '-' ? (uint64_t)strtoll(text, &end, 0) : strtoull(text, &end, 0);
		break;
	case 'f':
		f = strtof(text, &end);
		memcpy(&a->bits, &f, sizeof(f));
		break;
	case 'd':
		d = strtod(text, &end);
		memcpy(&a->bits, &d, sizeof(d));
		break;
	case 'z': case 'u': case 'r':
		count = strtoul(text, &end, 0);
		a->size = kind == 'z' ? count : count * 4;
		if (count > SIZE_MAX / 8)
			return false;
		a->data = aligned_alloc(256, (a->size + 256) / 256 * 256);
		if (!a->data)
			return false;
		memset(a->data, 0, a->size);
		for (unsigned long i = 0; kind != 'z' && i < count; i++) {
			uint32_t u = (uint32_t)i;

			f = (float)i;
			memcpy(a->data + i * 4, kind == 'u' ? (const void *)&u : (const void *)&f, 4);
		}
		a->bits = (uintptr_t)a->data;
		break;
	default:
		return false;
	}
	return end != text && !*end;
}

static void print_buffers(const struct cpu_args *a)
{
	for (size_t i = 0; i < a->nr_args; i++) {
		const struct argument *g = &a->arg[i];

		if (!g->data)
			continue;
		printf("argument %zu: %zu bytes, xxh3 %016" PRIx64 ":", i, g->size, (uint64_t)XXH3_64bits(g->data, g->size));
		for (size_t w = 0; w < 8 && w * 4 + 4 <= g->size; w++) {
			uint32_t v;

			memcpy(&v, g->data + w * 4, sizeof(v));
			printf(" %08" PRIx32, v);
		}
		printf("%s\n", g->size > 32 ? " …" : "");
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* With the heap of malloc behind it. */
static uint64_t var_bytes(const struct hg_var_info *v)
{
	return v->size + (v->is_heap ? HEAP_BYTES : 0);
}

/* What the kernel that runs may touch, for HGSHIM_CHECK=memory: its variables and buffers. */
static struct {
	const struct hg_module *m;
	const uint64_t *var_addr;
	const struct cpu_args *args;
} running;

static bool is_within(uint64_t addr, uint64_t size, uint64_t begin, uint64_t bytes)
{
	return addr >= begin && addr - begin <= bytes && size <= bytes - (addr - begin);
}

static bool has_memory(hg_dptr addr, uint64_t size)
{
	for (size_t i = 0; i < running.args->nr_args; i++) {
		const struct argument *g = &running.args->arg[i];

		if (g->data && is_within(addr, size, (uintptr_t)g->data, g->size))
			return true;
	}
	for (size_t i = 0; i < hg_module_nr_vars(running.m); i++)
		if (is_within(addr, size, running.var_addr[i], var_bytes(hg_module_var(running.m, i))))
			return true;
	return false;
}

static enum hg_status run_kernel(const struct hg_module *m, size_t index, struct cpu_args *a)
{
	const struct hg_kernel_info *info = hg_module_kernel(m, index);
	size_t nr_vars = hg_module_nr_vars(m);
	uint64_t *var_addr = calloc(nr_vars + 1, sizeof(*var_addr));
	unsigned char *params = calloc(1, info->param_bytes + 1u);
	struct hg_cpu_module *cm = NULL;
	struct hg_cpu_kernel *k;
	struct hg_fault fault;
	enum hg_status st = HG_ERR_NOMEM;
	uint64_t start;

	if (!var_addr || !params)
		goto out;
	if (info->nr_params != a->nr_args) {
		pr_err("kernel '%s' takes %u arguments, not %zu", info->name, info->nr_params, a->nr_args);
		st = HG_ERR_INVALID;
		goto out;
	}
	for (uint32_t i = 0; i < info->nr_params; i++)
		memcpy(params + info->params[i].offset, &a->arg[i].bits,
		       info->params[i].size < sizeof(uint64_t) ? info->params[i].size : sizeof(uint64_t));
	for (size_t i = 0; i < nr_vars; i++) {
		const struct hg_var_info *v = hg_module_var(m, i);
		size_t align = v->align > 256 ? v->align : 256;
		uint64_t heap = HEAP_BYTES;
		void *mem = aligned_alloc(align, (var_bytes(v) + align) / align * align);

		if (!mem)
			goto out;
		memset(mem, 0, var_bytes(v));
		if (v->init)
			memcpy(mem, v->init, v->size);
		if (v->is_heap)
			memcpy(mem, &heap, sizeof(heap));
		var_addr[i] = (uintptr_t)mem;
	}
	for (size_t i = 0; i < nr_vars; i++) {
		const struct hg_var_info *v = hg_module_var(m, i);

		for (size_t r = 0; r < v->nr_relocs; r++) {
			uint64_t to = var_addr[v->relocs[r].var] + (uint64_t)v->relocs[r].addend;

			memcpy((unsigned char *)(uintptr_t)var_addr[i] + v->relocs[r].offset, &to, sizeof(to));
		}
	}
	st = hg_cpu_module_create(m, &cm);
	if (st)
		goto out;
	start = now_ns();
	st = hg_cpu_kernel_get(cm, index, &k);
	if (st)
		goto out;
	printf("kernel %s: ready after %.1f ms%s\n", info->name, (double)(now_ns() - start) / 1e6,
	       hg_cpu_kernel_was_cached(k) ? " (cached)" : "");
	if (a->tier == 2)
		hg_cpu_kernel_wait(k);
	a->grid.params = params;
	a->grid.var_addr = var_addr;
	running.m = m;
	running.var_addr = var_addr;
	running.args = a;
	hg_target_has_memory = has_memory;
	for (unsigned long i = 0; i < a->repeat && !st; i++) {
		start = now_ns();
		st = hg_grid_run(k, &a->grid, &fault);
		hg_print_flush();
		if (!st)
			printf("ran in %.3f ms, tier %d\n", (double)(now_ns() - start) / 1e6, hg_cpu_kernel_tier(k));
	}
	if (st == HG_ERR_FAULT)
		pr_err("%s (CUDA error %d)", fault.what, fault.cuda_error);
	if (!st)
		print_buffers(a);
	hg_grid_shutdown();
out:
	hg_cpu_module_destroy(cm);
	for (size_t i = 0; var_addr && i < nr_vars; i++)
		free((void *)(uintptr_t)var_addr[i]);
	free(var_addr);
	free(params);
	return st;
}

static enum hg_status run_image(const void *image, size_t size, void *arg)
{
	struct cpu_args *a = arg;
	struct hg_module *m;
	enum hg_status st = hg_module_load(image, size, ptx_tool_sm, NULL, 0, &m);

	if (st)
		return st;
	if (!a->kernel && hg_module_nr_kernels(m) != 1) {
		pr_err("%zu kernels: name one with --kernel", hg_module_nr_kernels(m));
		st = HG_ERR_INVALID;
	}
	for (size_t i = 0; i < hg_module_nr_kernels(m) && !st; i++) {
		if (a->kernel && strcmp(a->kernel, hg_module_kernel(m, i)->name))
			continue;
		a->found++;
		st = run_kernel(m, i, a);
	}
	hg_module_free(m);
	return st;
}

static const char run_usage[] =
	"run [--kernel NAME] [--grid X,Y,Z] [--block X,Y,Z] [--shared BYTES] [--tier 1|2] [--repeat N] [--cooperative] FILE ARGUMENT…\n"
	"ARGUMENT: 7 | f:1.5 | d:1.5 | z:BYTES (zeros) | u:COUNT (0, 1, 2… as u32) | r:COUNT (as f32)";

int ptx_cmd_run(int argc, char **argv)
{
	struct cpu_args a = { .tier = 1, .repeat = 1, .grid = { .grid = { 1, 1, 1 }, .block = { 1, 1, 1 }, .id = 1 } };
	int code;
	bool ok = true;

	argc--;
	argv++;
	while (ok && argc && !strncmp(argv[0], "--", 2)) {
		const char *value = argc > 1 ? argv[1] : "";

		if (!strcmp(argv[0], "--cooperative")) {
			a.grid.cooperative = true;
			argc--;
			argv++;
			continue;
		}
		if (!strcmp(argv[0], "--kernel"))
			a.kernel = value;
		else if (!strcmp(argv[0], "--grid"))
			ok = parse_dim(value, a.grid.grid);
		else if (!strcmp(argv[0], "--block"))
			ok = parse_dim(value, a.grid.block);
		else if (!strcmp(argv[0], "--shared"))
			a.grid.shared_bytes = (uint32_t)strtoul(value, NULL, 0);
		else if (!strcmp(argv[0], "--tier"))
			a.tier = value[0] == '2' ? 2 : 1;
		else if (!strcmp(argv[0], "--repeat"))
			a.repeat = strtoul(value, NULL, 0);
		else
			ok = false;
		ok = ok && argc > 1;
		argc -= 2;
		argv += 2;
	}
	if (!ok || argc < 1 || argc - 1 > MAX_ARGS) {
		fprintf(stderr, "usage: hgshim-ptx %s\n", run_usage);
		return 2;
	}
	for (int i = 1; i < argc; i++, a.nr_args++)
		if (!parse_argument(argv[i], &a.arg[a.nr_args])) {
			pr_err("not an argument: '%s'", argv[i]);
			return 2;
		}
	code = ptx_file_images(argv[0], run_image, &a) ? 1 : 0;
	if (!code && !a.found) {
		pr_err("no kernel '%s'", a.kernel ? a.kernel : "");
		code = 1;
	}
	for (size_t i = 0; i < a.nr_args; i++)
		free(a.arg[i].data);
	return code;
}
