/* ptx_parse_cmd.c - hgshim-ptx parse and ir: files taken apart, kernels listed, hgIR printed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/index.h"
#include "translate/ir.h"

uint32_t ptx_tool_sm = 121;

struct print_args {
	const char *kernel;
	size_t nr_kernels, nr_refused;
};

static void print_list(const struct hg_module *m, struct print_args *a)
{
	for (size_t i = 0; i < hg_module_nr_kernels(m); i++) {
		const struct hg_kernel_info *k = hg_module_kernel(m, i);

		printf("kernel %s\n", k->name);
		if (k->refused) {
			printf("  refused: %s\n", k->refused);
			a->nr_refused++;
		}
		printf("  parameters %" PRIu32 " bytes:", k->param_bytes);
		for (uint32_t p = 0; p < k->nr_params; p++)
			printf(" %" PRIu32 "@%" PRIu32 "%s", k->params[p].size, k->params[p].offset,
			       k->params[p].is_pointer ? "*" : "");
		printf("\n  shared %" PRIu32 "%s, local %" PRIu32 ", threads up to %" PRIu32 "%s\n", k->shared_bytes,
		       k->uses_dynamic_shared ? " and dynamic" : "", k->local_bytes, k->max_threads,
		       k->uses_grid_sync ? ", grid-wide barriers" : "");
		a->nr_kernels++;
	}
	for (size_t i = 0; i < hg_module_nr_vars(m); i++) {
		const struct hg_var_info *v = hg_module_var(m, i);

		printf("variable %s: %s, %" PRIu64 " bytes, align %" PRIu32 "%s%s\n", v->name,
		       v->is_const ? "constant" : "global", v->size, v->align, v->is_visible ? ", visible" : "",
		       v->init ? ", initialised" : "");
	}
}

static enum hg_status parse_image(const void *image, size_t size, void *arg)
{
	struct print_args *a = arg;
	struct hg_module *m;
	enum hg_status st;

	st = hg_module_load(image, size, ptx_tool_sm, NULL, 0, &m);
	if (st)
		return st;
	print_list(m, a);
	hg_module_free(m);
	return HG_OK;
}

int ptx_cmd_parse(int argc, char **argv)
{
	struct print_args a = { 0 };
	int code = 0;

	for (int i = 1; i < argc; i++)
		if (ptx_file_images(argv[i], parse_image, &a))
			code = 1;
	if (a.nr_refused) {
		pr_err("%zu of %zu kernels refused", a.nr_refused, a.nr_kernels);
		code = 1;
	}
	return code;
}

static void print_kernel(const struct ir_module *ir, struct print_args *a)
{
	for (uint32_t i = 0; i < ir->nr_funcs; i++)
		if (!strcmp(ir->func[i].name, a->kernel)) {
			ir_print_func(ir, &ir->func[i], stdout);
			a->nr_kernels++;
		}
}

static enum hg_status print_ir(const struct ir_module *ir, const struct hg_module *m, void *arg)
{
	struct print_args *a = arg;

	if (a->kernel)
		print_kernel(ir, a);
	else
		ir_print(ir, stdout);
	for (size_t i = 0; m && i < hg_module_nr_kernels(m); i++)
		if (hg_module_kernel(m, i)->refused && (!a->kernel || !strcmp(hg_module_kernel(m, i)->name, a->kernel))) {
			pr_err("%s", hg_module_kernel(m, i)->refused);
			a->nr_refused++;
		}
	return HG_OK;
}

struct each_ir {
	enum hg_status (*each)(const struct ir_module *ir, const struct hg_module *m, void *arg);
	void *arg;
};

static enum hg_status ir_of_image(const void *image, size_t size, void *arg)
{
	const struct each_ir *e = arg;
	struct ir_module *ir;
	struct hg_module *m;
	enum hg_status st;

	if (size > 5 && !memcmp(image, "hgir ", 5)) {
		st = ir_parse(image, size, &ir);
		if (st)
			return st;
		st = ir_verify(ir);
		if (!st)
			st = e->each(ir, NULL, e->arg);
		ir_module_free(ir);
		return st;
	}
	st = hg_module_load(image, size, ptx_tool_sm, NULL, 0, &m);
	if (st)
		return st;
	st = e->each(hg_module_ir(m), m, e->arg);
	hg_module_free(m);
	return st;
}

int ptx_each_ir(int argc, char **argv, const char **kernel,
		enum hg_status (*each)(const struct ir_module *ir, const struct hg_module *m, void *arg), void *arg)
{
	struct each_ir e = { each, arg };
	const char *command = argv[0];
	int code = 0;

	*kernel = NULL;
	if (argc >= 3 && !strcmp(argv[1], "--kernel")) {
		*kernel = argv[2];
		argc -= 2;
		argv += 2;
	}
	if (argc < 2) {
		pr_err("'%s' needs a file", command);
		return 2;
	}
	for (int i = 1; i < argc; i++)
		if (ptx_file_images(argv[i], ir_of_image, &e))
			code = 1;
	return code;
}

int ptx_cmd_ir(int argc, char **argv)
{
	struct print_args a = { 0 };
	int code = ptx_each_ir(argc, argv, &a.kernel, print_ir, &a);

	if (!code && a.kernel && !a.nr_kernels) {
		pr_err("no kernel '%s'", a.kernel);
		code = 1;
	}
	return a.nr_refused ? 1 : code;
}

/* --- index ----------------------------------------------------------------------------------- */
static void print_index(const struct hg_image_index *x)
{
	printf("image: %zu PTX, %zu cubins, %zu LTO%s\n", x->nr_ptx, x->nr_sass, x->nr_lto,
	       x->uses_malloc ? ", uses malloc" : "");
	for (size_t i = 0; i < x->nr_kernels; i++) {
		const struct hg_index_kernel *k = &x->kernels[i];

		printf("kernel %s\n  %s%s%s, parameters", k->name, k->has_ptx ? "PTX" : "",
		       k->has_ptx && k->has_sass ? " and " : "", k->has_sass ? "SASS" : "");
		if (!k->params_known)
			printf(" not known");
		else
			printf(" %" PRIu32 " bytes:", k->param_bytes);
		for (uint32_t p = 0; p < k->nr_params; p++)
			printf(" %" PRIu32 "@%" PRIu32 "%s", k->params[p].size, k->params[p].offset,
			       k->params[p].is_pointer ? "*" : "");
		printf("\n");
	}
	for (size_t i = 0; i < x->nr_vars; i++) {
		const struct hg_index_var *v = &x->vars[i];

		printf("variable %s: %s, %" PRIu64 " bytes%s%s\n", v->name, v->is_const ? "constant" : "global", v->size,
		       v->is_visible ? ", visible" : "", v->is_managed ? ", managed" : "");
	}
}

static json_t *json_index(const struct hg_image_index *x)
{
	json_t *kernels = json_array(), *vars = json_array();

	for (size_t i = 0; i < x->nr_kernels; i++) {
		const struct hg_index_kernel *k = &x->kernels[i];
		json_t *params = json_array();

		for (uint32_t p = 0; p < k->nr_params; p++)
			json_array_append_new(params, json_pack("{s:I,s:I,s:b}", "offset", (json_int_t)k->params[p].offset,
								"size", (json_int_t)k->params[p].size,
								"pointer", k->params[p].is_pointer));
		json_array_append_new(kernels, json_pack("{s:s,s:b,s:b,s:b,s:I,s:o}", "name", k->name, "ptx", k->has_ptx,
							 "sass", k->has_sass, "params_known", k->params_known,
							 "param_bytes", (json_int_t)k->param_bytes, "params", params));
	}
	for (size_t i = 0; i < x->nr_vars; i++) {
		const struct hg_index_var *v = &x->vars[i];

		json_array_append_new(vars, json_pack("{s:s,s:I,s:b,s:b,s:b}", "name", v->name, "size", (json_int_t)v->size,
						      "const", v->is_const, "visible", v->is_visible, "managed",
						      v->is_managed));
	}
	return json_pack("{s:I,s:I,s:I,s:I,s:b,s:o,s:o}", "ptx", (json_int_t)x->nr_ptx, "sass", (json_int_t)x->nr_sass, "lto",
			 (json_int_t)x->nr_lto, "unread", (json_int_t)x->nr_unread, "uses_malloc", x->uses_malloc,
			 "kernels", kernels, "vars", vars);
}

static enum hg_status index_image(const void *image, size_t size, void *arg)
{
	json_t *list = arg, *entry;
	struct hg_image_index *x;
	enum hg_status st;

	st = hg_image_index(image, size, &x);
	if (st)
		return st;
	if (!list) {
		print_index(x);
	} else {
		/* A name that is no UTF-8 has no JSON. */
		entry = json_index(x);
		if (!entry || json_array_append_new(list, entry)) {
			pr_err("an image's names cannot be written as JSON");
			st = HG_ERR_CORRUPT;
		}
	}
	hg_image_index_free(x);
	return st;
}

int ptx_cmd_index(int argc, char **argv)
{
	json_t *list = NULL;
	int code = 0;

	if (argc >= 2 && !strcmp(argv[1], "--json")) {
		list = json_array();
		argc--;
		argv++;
	}
	if (argc < 2) {
		pr_err("'index' needs a file");
		json_decref(list);
		return 2;
	}
	for (int i = 1; i < argc; i++)
		if (ptx_file_images(argv[i], index_image, list))
			code = 1;
	if (list) {
		json_dumpf(list, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(list);
	return code;
}
