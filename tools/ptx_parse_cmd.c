/* ptx_parse_cmd.c - hgshim-ptx parse and ir: files taken apart, kernels listed, hgIR printed. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/fatbin.h"
#include "translate/index.h"
#include "translate/ir.h"

uint32_t ptx_tool_sm = 121;

/*
 * Libraries are large, and a process that looks at one image at a time in children of its own would copy the page
 * tables of what it has read for each of them: they are mapped. NULL: not a large file.
 */
static char *map_file(int fd, size_t *size)
{
	struct stat sb;
	void *data;

	if (fstat(fd, &sb) || !S_ISREG(sb.st_mode) || sb.st_size < 1 << 20)
		return NULL;
	data = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return NULL;
	/* Text must end with a NUL, which a mapping need not have. */
	if (memcmp(data, ELFMAG, SELFMAG)) {
		munmap(data, (size_t)sb.st_size);
		return NULL;
	}
	*size = (size_t)sb.st_size;
	return data;
}

static void free_file(char *data, size_t size, bool mapped)
{
	if (mapped)
		munmap(data, size);
	else
		free(data);
}

static enum hg_status read_file(const char *path, char **out, size_t *out_size, bool *mapped)
{
	enum hg_status st = HG_ERR_IO;
	size_t used = 0, capacity = 65536;
	char *data = NULL, *bigger;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		pr_err("cannot open '%s': %s", path, strerror(errno));
		return HG_ERR_IO;
	}
	*out = map_file(fd, out_size);
	*mapped = *out != NULL;
	if (*mapped) {
		close(fd);
		return HG_OK;
	}
	for (;;) {
		ssize_t n;

		bigger = realloc(data, capacity + 1);
		if (!bigger) {
			st = HG_ERR_NOMEM;
			goto err;
		}
		data = bigger;
		n = read(fd, data + used, capacity - used);
		if (n < 0) {
			pr_err("cannot read '%s': %s", path, strerror(errno));
			goto err;
		}
		if (!n)
			break;
		used += (size_t)n;
		if (used == capacity)
			capacity *= 2;
	}
	close(fd);
	data[used] = 0;
	*out = data;
	*out_size = used;
	return HG_OK;
err:
	close(fd);
	free(data);
	return st;
}

static bool section(const char *data, size_t size, const Elf64_Ehdr *eh, unsigned int i, Elf64_Shdr *out)
{
	if (i >= eh->e_shnum || eh->e_shentsize != sizeof(*out) || eh->e_shoff > size ||
	    (size_t)eh->e_shnum * sizeof(*out) > size - eh->e_shoff)
		return false;
	memcpy(out, data + eh->e_shoff + i * sizeof(*out), sizeof(*out));
	return out->sh_type == SHT_NOBITS || (out->sh_offset <= size && out->sh_size <= size - out->sh_offset);
}

/* The fatbins that lie one behind the other in a section. */
static enum hg_status section_images(const char *data, size_t size, size_t *found,
				     enum hg_status (*each)(const void *image, size_t size, void *arg), void *arg)
{
	enum hg_status worst = HG_OK;
	size_t at = 0;

	while (at + 16 <= size) {
		enum hg_status st;
		uint32_t magic;
		size_t n;

		memcpy(&magic, data + at, sizeof(magic));
		if (magic != HG_FATBIN_MAGIC) {
			at += 4;
			continue;
		}
		n = hg_image_size(data + at);
		if (!n || n > size - at) {
			pr_err("a fatbin of %zu bytes does not fit in its section", n);
			return HG_ERR_CORRUPT;
		}
		(*found)++;
		st = each(data + at, n, arg);
		if (st && st != HG_ERR_UNSUPPORTED)
			return st;
		if (st)
			worst = st;	/* the others may still be read */
		at += (n + 3) & ~(size_t)3;
	}
	return worst;
}

enum hg_status ptx_file_images(const char *path, enum hg_status (*each)(const void *image, size_t size, void *arg), void *arg)
{
	enum hg_status st, worst = HG_OK;
	size_t size, found = 0;
	Elf64_Shdr sh, names;
	Elf64_Ehdr eh;
	char *data;
	bool mapped;

	st = read_file(path, &data, &size, &mapped);
	if (st)
		return st;
	memset(&eh, 0, sizeof(eh));
	if (size >= sizeof(eh))
		memcpy(&eh, data, sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_machine == 190) {	/* EM_CUDA: a cubin */
		st = size ? each(data, size, arg) : HG_ERR_NOTFOUND;
		if (!size)
			pr_err("'%s' is empty", path);
		free_file(data, size, mapped);
		return st;
	}
	if (!section(data, size, &eh, eh.e_shstrndx, &names) || names.sh_type == SHT_NOBITS || !names.sh_size ||
	    data[names.sh_offset + names.sh_size - 1]) {
		pr_err("'%s' has no names of sections", path);
		free_file(data, size, mapped);
		return HG_ERR_CORRUPT;
	}
	for (unsigned int i = 0; i < eh.e_shnum && !st; i++) {
		const char *name;

		if (!section(data, size, &eh, i, &sh) || sh.sh_type == SHT_NOBITS || sh.sh_name >= names.sh_size)
			continue;
		name = data + names.sh_offset + sh.sh_name;
		if (!strcmp(name, ".nv_fatbin") || !strcmp(name, "__nv_relfatbin"))
			st = section_images(data + sh.sh_offset, sh.sh_size, &found, each, arg);
		if (st == HG_ERR_UNSUPPORTED) {
			worst = st;
			st = HG_OK;
		}
	}
	if (!st)
		st = worst;
	free_file(data, size, mapped);
	if (!st && !found) {
		pr_err("'%s' holds no GPU code", path);
		return HG_ERR_NOTFOUND;
	}
	return st;
}

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

static enum hg_status print_image(const void *image, size_t size, void *arg)
{
	struct print_args *a = arg;
	struct hg_module *m;
	enum hg_status st;

	if (size > 5 && !memcmp(image, "hgir ", 5)) {
		struct ir_module *ir;

		st = ir_parse(image, size, &ir);
		if (st)
			return st;
		st = ir_verify(ir);
		if (!st && a->kernel)
			print_kernel(ir, a);
		else if (!st)
			ir_print(ir, stdout);
		ir_module_free(ir);
		return st;
	}
	st = hg_module_load(image, size, ptx_tool_sm, NULL, 0, &m);
	if (st)
		return st;
	if (a->kernel)
		print_kernel(hg_module_ir(m), a);
	else
		ir_print(hg_module_ir(m), stdout);
	for (size_t i = 0; i < hg_module_nr_kernels(m); i++)
		if (hg_module_kernel(m, i)->refused && (!a->kernel || !strcmp(hg_module_kernel(m, i)->name, a->kernel))) {
			pr_err("%s", hg_module_kernel(m, i)->refused);
			a->nr_refused++;
		}
	hg_module_free(m);
	return HG_OK;
}

int ptx_cmd_ir(int argc, char **argv)
{
	struct print_args a = { 0 };
	int code = 0;

	if (argc >= 3 && !strcmp(argv[1], "--kernel")) {
		a.kernel = argv[2];
		argc -= 2;
		argv += 2;
	}
	if (argc < 2) {
		pr_err("'ir' needs a file");
		return 2;
	}
	for (int i = 1; i < argc; i++)
		if (ptx_file_images(argv[i], print_image, &a))
			code = 1;
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
