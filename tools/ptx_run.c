/* ptx_run.c - hgshim-ptx asm, llvm and run: what the CPU target makes of a kernel. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/msg.h"
#include "replay/grid.h"
#include "tools/ptx_tool.h"
#include "translate/ir.h"
#include "translate/jit.h"

#define MAX_ARGS 64

struct request {
	const char *kernel;
	const char *path;
	int tier;
	enum hg_cpu_text kind;
	size_t nr_found;
	/* run */
	uint32_t grid[3], block[3], shared_bytes;
	int nr_args;
	char **args;
};

static bool number(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	return *text && !*end && !errno;
}

/* "8", "8,2" or "8,2,1" */
static bool shape(const char *text, uint32_t out[3])
{
	const char *at = text;

	out[0] = out[1] = out[2] = 1;
	for (int i = 0; i < 3; i++) {
		char *end;
		unsigned long v;

		errno = 0;
		v = strtoul(at, &end, 10);
		if (end == at || errno || !v || v > UINT32_MAX)
			return false;
		out[i] = (uint32_t)v;
		if (!*end)
			return true;
		if (*end != ',')
			return false;
		at = end + 1;
	}
	return false;
}

/* Takes options off the front; the exit code, or 0. */
static int options(struct request *r, int argc, char **argv, bool run)
{
	const char *command = argv[0];
	int i = 1;
	uint64_t v;

	r->tier = run ? 0 : 2;
	for (int d = 0; d < 3; d++)
		r->grid[d] = r->block[d] = 1;
	r->block[0] = 32;
	/* a file's name does not begin with two dashes; options may stand on both sides of it */
	for (; i < argc; i++) {
		const char *o = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strncmp(o, "--", 2) && !value) {
			pr_err("'%s' needs a value", o);
			return 2;
		}
		if (!strcmp(o, "--kernel")) {
			r->kernel = value;
		} else if (!strcmp(o, "--tier")) {
			if (!number(value, &v) || v < 1 || v > 2) {
				pr_err("there are tiers 1 and 2, no '%s'", value);
				return 2;
			}
			r->tier = (int)v;
		} else if (run && (!strcmp(o, "--grid") || !strcmp(o, "--block"))) {
			if (!shape(value, o[2] == 'g' ? r->grid : r->block)) {
				pr_err("not a shape: '%s'", value);
				return 2;
			}
		} else if (run && !strcmp(o, "--shared")) {
			if (!number(value, &v) || v > UINT32_MAX) {
				pr_err("not a size: '%s'", value);
				return 2;
			}
			r->shared_bytes = (uint32_t)v;
		} else if (!strncmp(o, "--", 2)) {
			pr_err("'%s' has no option '%s'", command, o);
			return 2;
		} else if (!r->path) {
			r->path = o;
			continue;
		} else if (run) {
			break;
		} else {
			pr_err("'%s' takes one file", command);
			return 2;
		}
		i++;
	}
	if (!r->path) {
		pr_err("'%s' needs a file", command);
		return 2;
	}
	r->args = argv + i;
	r->nr_args = argc - i;
	return 0;
}

static int finish(const struct request *r, enum hg_status st)
{
	if (st)
		return hg_status_exit_code(st);
	if (r->nr_found)
		return 0;
	if (r->kernel)
		pr_err("'%s' has no kernel '%s'", r->path, r->kernel);
	else
		pr_err("'%s' has no kernels", r->path);
	return 1;
}

/* ---- asm, llvm ---- */

static enum hg_status text_of_image(const void *image, size_t size, void *arg)
{
	struct request *r = arg;
	struct hg_module *m;
	const struct ir_module *ir;
	enum hg_status st = hg_module_load(image, size, ptx_tool_sm, NULL, 0, &m);

	if (st)
		return st;
	ir = hg_module_ir(m);
	for (size_t i = 0; i < ir->nr_funcs && !st; i++) {
		char *text;

		if (r->kernel && strcmp(r->kernel, ir->func[i].name))
			continue;
		r->nr_found++;
		st = hg_cpu_kernel_text(ir, i, r->kind, r->tier, &text);
		if (st)
			break;
		printf("%s kernel '%s', tier %d\n%s", r->kind == HG_CPU_ASM ? "#" : ";", ir->func[i].name, r->tier, text);
		free(text);
	}
	hg_module_free(m);
	return st;
}

static int text_command(int argc, char **argv, enum hg_cpu_text kind)
{
	struct request r = { .kind = kind };
	int code = options(&r, argc, argv, false);

	return code ? code : finish(&r, ptx_file_images(r.path, text_of_image, &r));
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

/*
 * An argument: a number (0x… too, negative ones, or with a point for a float of the parameter's size), or
 * a buffer: "buf:BYTES" of zeros, "buf:BYTES:u32" holding 0, 1, 2…, "buf:BYTES:f32" the same as floats.
 */
struct buffer {
	unsigned char *data;
	uint64_t bytes;
	bool is_float;
};

static enum hg_status make_buffer(const char *text, struct buffer *b)
{
	char *end;
	const char *kind;

	errno = 0;
	b->bytes = strtoull(text, &end, 0);
	kind = *end == ':' ? end + 1 : "zero";
	b->is_float = !strcmp(kind, "f32");
	if (end == text || errno || (*end && *end != ':') || b->bytes > UINT64_C(1) << 40 ||
	    (strcmp(kind, "zero") && strcmp(kind, "u32") && !b->is_float)) {
		pr_err("not a buffer: 'buf:%s'", text);
		return HG_ERR_INVALID;
	}
	b->data = aligned_alloc(256, (b->bytes + 256) & ~UINT64_C(255));
	if (!b->data) {
		pr_err("no memory for a buffer of %" PRIu64 " bytes", b->bytes);
		return HG_ERR_NOMEM;
	}
	memset(b->data, 0, b->bytes);
	for (uint64_t i = 0; strcmp(kind, "zero") && i + 4 <= b->bytes; i += 4) {
		uint32_t u = (uint32_t)(i / 4);
		float f = (float)u;

		memcpy(b->data + i, b->is_float ? (void *)&f : (void *)&u, 4);
	}
	return HG_OK;
}

static enum hg_status make_argument(const char *text, const struct hg_param *p, unsigned char *block, struct buffer *b)
{
	uint64_t v = 0;
	char *end = NULL;
	enum hg_status st;

	errno = 0;
	if (!strncmp(text, "buf:", 4)) {
		st = make_buffer(text + 4, b);
		if (st)
			return st;
		v = (uintptr_t)b->data;
	} else if (strchr(text, '.')) {
		double d = strtod(text, &end);
		float f = (float)d;

		memcpy(&v, p->size == 8 ? (void *)&d : (void *)&f, p->size == 8 ? 8 : 4);
	} else {
		v = *text == '-' ? (uint64_t)strtoll(text, &end, 0) : strtoull(text, &end, 0);
	}
	if (!*text || errno || (end && *end)) {
		pr_err("not an argument: '%s'", text);
		return HG_ERR_INVALID;
	}
	if (p->size > 8) {
		pr_err("a parameter of %" PRIu32 " bytes cannot be given here", p->size);
		return HG_ERR_UNSUPPORTED;
	}
	memcpy(block + p->offset, &v, p->size);
	return HG_OK;
}

static void print_buffer(int arg, const struct buffer *b)
{
	printf("argument %d:", arg);
	for (uint64_t i = 0; i + 4 <= b->bytes && i < 64; i += 4) {
		uint32_t u;
		float f;

		memcpy(&u, b->data + i, 4);
		memcpy(&f, b->data + i, 4);
		if (b->is_float)
			printf(" %g", (double)f);
		else
			printf(" %" PRIu32, u);
	}
	printf("%s\n", b->bytes > 64 ? " …" : "");
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Where the module's variables live while it runs; *storage is one allocation. */
static enum hg_status place_vars(const struct hg_module *m, unsigned char **storage, uint64_t **addr)
{
	size_t nr = hg_module_nr_vars(m), total = 0;

	*addr = calloc(nr + 1, sizeof(**addr));
	for (size_t i = 0; i < nr; i++)
		total += (hg_module_var(m, i)->size + 511) & ~UINT64_C(255);
	*storage = aligned_alloc(256, (total + 256) & ~(size_t)255);
	if (!*addr || !*storage) {
		free(*addr);
		free(*storage);
		return HG_ERR_NOMEM;
	}
	memset(*storage, 0, total);
	total = 0;
	for (size_t i = 0; i < nr; i++) {
		const struct hg_var_info *v = hg_module_var(m, i);

		(*addr)[i] = (uintptr_t)*storage + total;
		if (v->init)
			memcpy(*storage + total, v->init, v->size);
		total += (v->size + 511) & ~UINT64_C(255);
	}
	for (size_t i = 0; i < nr; i++) {
		const struct hg_var_info *v = hg_module_var(m, i);

		for (size_t k = 0; k < v->nr_relocs; k++) {
			uint64_t to = (*addr)[v->relocs[k].var] + (uint64_t)v->relocs[k].addend;

			memcpy((void *)(uintptr_t)((*addr)[i] + v->relocs[k].offset), &to, sizeof(to));
		}
	}
	return HG_OK;
}

static enum hg_status run_kernel(const struct request *r, const struct hg_module *m, struct hg_cpu_module *cpu,
				 size_t index)
{
	const struct hg_kernel_info *info = hg_module_kernel(m, index);
	struct buffer buf[MAX_ARGS] = { { 0 } };
	unsigned char *block = calloc(1, info->param_bytes + 8u), *storage;
	struct hg_cpu_kernel *k;
	struct hg_fault fault = { .what = "" };
	struct hg_grid g = { .shared_bytes = r->shared_bytes, .cooperative = info->uses_grid_sync, .params = block };
	uint64_t *var_addr;
	double began, compiled, ended;
	enum hg_status st = HG_ERR_INVALID;

	if (!block)
		return HG_ERR_NOMEM;
	if ((uint32_t)r->nr_args != info->nr_params || r->nr_args > MAX_ARGS) {
		pr_err("kernel '%s' takes %" PRIu32 " arguments, not %d", info->name, info->nr_params, r->nr_args);
		goto out;
	}
	for (int i = 0; i < r->nr_args; i++) {
		st = make_argument(r->args[i], &info->params[i], block, &buf[i]);
		if (st)
			goto out;
	}
	st = place_vars(m, &storage, &var_addr);
	if (st)
		goto out;
	g.var_addr = var_addr;
	memcpy(g.grid, r->grid, sizeof(g.grid));
	memcpy(g.block, r->block, sizeof(g.block));
	began = seconds();
	st = hg_cpu_kernel_get(cpu, index, &k);
	if (st)
		goto vars;
	if (r->tier == 2)
		hg_cpu_kernel_wait(k);
	compiled = seconds();
	st = hg_grid_run(k, &g, &fault);
	ended = seconds();
	if (st == HG_ERR_FAULT)
		pr_err("%s", fault.what);
	if (st)
		goto vars;
	printf("kernel '%s': compiled in %.3f ms, ran in %.3f ms (tier %d)\n", info->name, (compiled - began) * 1e3,
	       (ended - compiled) * 1e3, hg_cpu_kernel_tier(k));
	for (int i = 0; i < r->nr_args; i++)
		if (buf[i].data)
			print_buffer(i, &buf[i]);
vars:
	free(storage);
	free(var_addr);
out:
	for (int i = 0; i < r->nr_args && i < MAX_ARGS; i++)
		free(buf[i].data);
	free(block);
	return st;
}

static enum hg_status run_image(const void *image, size_t size, void *arg)
{
	struct request *r = arg;
	struct hg_module *m;
	struct hg_cpu_module *cpu;
	enum hg_status st = hg_module_load(image, size, ptx_tool_sm, NULL, 0, &m);

	if (st)
		return st;
	st = hg_cpu_module_create(m, &cpu);
	if (st)
		goto module;
	for (size_t i = 0; i < hg_module_nr_kernels(m) && !st; i++) {
		if (r->nr_found || (r->kernel && strcmp(r->kernel, hg_module_kernel(m, i)->name)))
			continue;
		r->nr_found++;
		st = run_kernel(r, m, cpu, i);
	}
	hg_cpu_module_destroy(cpu);
module:
	hg_module_free(m);
	return st;
}

int ptx_cmd_run(int argc, char **argv)
{
	struct request r = { 0 };
	int code = options(&r, argc, argv, true);

	if (code)
		return code;
	code = finish(&r, ptx_file_images(r.path, run_image, &r));
	hg_grid_shutdown();
	return code;
}
