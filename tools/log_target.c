/* log_target.c - which of a log's kernels can run on a target. */
#include "tools/log_target.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "logdb/words.h"
#include "translate/amd_compile.h"
#include "translate/amdgcn.h"
#include "translate/spirv.h"
#include "translate/expand.h"
#include "translate/jit.h"
#include "translate/module.h"

/* What the portable device is, of which images choose their PTX. */
#define SM 121

/* What a kernel's launches ask for, the most of each. */
struct launches {
	uint64_t nr, threads, shared, items[3];
	uint32_t block[3];		/* of the one with most threads */
};

struct image {
	unsigned char key[16];
	struct hg_module *m;		/* NULL: `why` */
	struct ir_module *expanded;	/* what GPUs get; NULL for others */
	struct launches *launches;	/* of each kernel */
	char why[1024];
};

/* A kernel object of the log. */
struct function {
	uint64_t id;
	size_t image;
	int kernel;			/* of the image; -1: not there */
};

struct survey {
	struct hg_log *log;
	bool is_rocm, is_ze, compiles;
	struct image *image;
	size_t nr_images, cap_images;
	struct function *function;	/* ascending id */
	size_t nr_functions, cap_functions;
};

static void *grown(void *array, size_t nr, size_t *capacity, size_t size)
{
	size_t more = *capacity ? 2 * *capacity : 16;
	void *p;

	if (nr < *capacity)
		return array;
	p = realloc(array, more * size);
	if (p)
		*capacity = more;
	return p;
}

/* --- what is in the log ------------------------------------------------------------------------ */
static enum hg_status load_image(struct survey *s, struct image *i)
{
	const void *data;
	size_t size;
	enum hg_status st = hg_log_image(s->log, i->key, &data, &size);

	if (st)
		return st;
	st = hg_module_load(data, size, SM, i->why, sizeof(i->why), &i->m);
	if (st == HG_ERR_NOMEM)
		return st;
	if (st) {
		if (!i->why[0])
			snprintf(i->why, sizeof(i->why), "an image that is not portable: %s", hg_status_text(st));
		return HG_OK;
	}
	i->launches = calloc(hg_module_nr_kernels(i->m) + 1, sizeof(*i->launches));
	if (!i->launches)
		return HG_ERR_NOMEM;
	return s->is_rocm || s->is_ze ? hg_expand(hg_module_ir(i->m), &i->expanded) : HG_OK;
}

static enum hg_status need_image(struct survey *s, const unsigned char key[16], size_t *out)
{
	struct image *more;
	enum hg_status st;

	for (*out = 0; *out < s->nr_images; ++*out)
		if (!memcmp(s->image[*out].key, key, 16))
			return HG_OK;
	more = grown(s->image, s->nr_images, &s->cap_images, sizeof(*more));
	if (!more)
		return HG_ERR_NOMEM;
	s->image = more;
	more[s->nr_images] = (struct image){ 0 };
	memcpy(more[s->nr_images].key, key, 16);
	st = load_image(s, &more[s->nr_images]);
	s->nr_images++;
	return st;
}

static enum hg_status each_object(const struct hg_object *o, void *arg)
{
	enum hg_status st = HG_OK;
	size_t at;

	for (int i = 0; i < o->created.nr_args && !st; i++)
		if (o->created.arg[i].kind == HG_KIND_IMAGE && hg_blob_enc(o->created.rec->word[i]) == HG_BLOB_IMAGE && o->created.blob[i])
			st = need_image(arg, o->created.blob[i], &at);
	return st;
}

static enum hg_status each_kernel(const struct hg_log_kernel *k, void *arg)
{
	static const unsigned char unknown[16];
	struct survey *s = arg;
	struct function f = { .id = k->id, .kernel = -1 };
	struct function *more;
	enum hg_status st;

	if (!memcmp(k->image, unknown, sizeof(unknown)))
		return HG_OK;
	st = need_image(s, k->image, &f.image);
	if (st)
		return st;
	if (s->image[f.image].m)
		f.kernel = hg_module_find_kernel(s->image[f.image].m, k->name);
	more = grown(s->function, s->nr_functions, &s->cap_functions, sizeof(*more));
	if (!more)
		return HG_ERR_NOMEM;
	s->function = more;
	more[s->nr_functions++] = f;
	return HG_OK;
}

static int by_id(const void *key, const void *element)
{
	uint64_t a = *(const uint64_t *)key, b = ((const struct function *)element)->id;

	return a < b ? -1 : a > b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static enum hg_status each_call(const struct hg_rec_view *v, void *arg)
{
	const uint64_t *word = v->rec->word;
	struct survey *s = arg;
	const struct function *f;
	uint64_t threads;
	struct launches *l;

	if (!v->desc || v->desc->op != HG_OP_LAUNCH || v->nr_args != HG_LAUNCH_NR_WORDS || v->rec->result || !s->nr_functions)
		return HG_OK;
	f = bsearch(&word[HG_LAUNCH_FUNCTION], s->function, s->nr_functions, sizeof(*f), by_id);
	if (!f || f->kernel < 0)
		return HG_OK;
	l = &s->image[f->image].launches[f->kernel];
	l->nr++;
	l->shared = larger(l->shared, (uint32_t)word[HG_LAUNCH_SHARED]);
	threads = (uint64_t)(uint32_t)word[HG_LAUNCH_BLOCK_X] * (uint32_t)word[HG_LAUNCH_BLOCK_Y] * (uint32_t)word[HG_LAUNCH_BLOCK_Z];
	for (int i = 0; i < 3 && threads > l->threads; i++)
		l->block[i] = (uint32_t)word[HG_LAUNCH_BLOCK_X + i];
	l->threads = larger(l->threads, threads);
	for (int i = 0; i < 3; i++)
		l->items[i] = larger(l->items[i], (uint64_t)(uint32_t)word[HG_LAUNCH_GRID_X + i] * (uint32_t)word[HG_LAUNCH_BLOCK_X + i]);
	return HG_OK;
}

/* --- what the target says ---------------------------------------------------------------------- */
/* chip NULL: the cpu target, where everything runs that hgshim can translate. */
static bool fits_chip(const struct image *i, size_t k, const struct hg_amd_chip *chip, char *why, size_t why_size)
{
	const struct hg_kernel_info *info = hg_module_kernel(i->m, k);
	const char *refused = i->expanded ? i->expanded->func[k].refused : info->refused;
	const struct launches *l = &i->launches[k];

	if (refused) {
		snprintf(why, why_size, "%s", refused);
		return false;
	}
	if (!chip)
		return true;
	if (!hg_amd_fits(chip, info, why, why_size) ||
	    !amd_fits(chip, info->name, info->shared_bytes + l->shared, l->threads, info->local_bytes, why, why_size))
		return false;
	for (int a = 0; a < 3; a++)
		if (l->items[a] > UINT32_MAX) {
			snprintf(why, why_size, "kernel '%s' was launched with %" PRIu64 " threads along %c, and a grid has %u at most on %s",
				 info->name, l->items[a], "xyz"[a], UINT32_MAX, chip->name);
			return false;
		}
	return true;
}

static json_t *text_of(const char *s)
{
	json_t *j = json_string(s);

	/* names are the program's: not always UTF-8 */
	return j ? j : json_string("?");
}

static json_t *json_problem(const struct image *i, const char *kernel, const char *why, uint64_t launches)
{
	json_t *j = json_object();
	char key[33];

	for (int b = 0; b < 16; b++)
		snprintf(key + 2 * b, 3, "%02x", i->key[b]);
	json_object_set_new(j, "kernel", kernel ? text_of(kernel) : json_null());
	json_object_set_new(j, "image", json_string(key));
	json_object_set_new(j, "why", text_of(why));
	json_object_set_new(j, "launches", json_integer((json_int_t)launches));
	return j;
}

/* The same for Level Zero, of a device that can do all that any can. */
static bool fits_ze(const struct image *i, size_t k, char *why, size_t why_size)
{
	struct hg_kernel_info info = *hg_module_kernel(i->m, k);
	const struct launches *l = &i->launches[k];

	if (!fits_chip(i, k, NULL, why, why_size) || !hg_spirv_fits(&hg_spirv_any_device, &info, why, why_size))
		return false;
	info.shared_bytes += (uint32_t)l->shared;
	for (int a = 0; a < 3 && l->threads; a++)
		info.req_threads[a] = a ? 1 : l->threads < UINT32_MAX ? (uint32_t)l->threads : UINT32_MAX;
	return hg_spirv_fits(&hg_spirv_any_device, &info, why, why_size);
}

/* An image's code for one target, made while it is asked for. */
struct code {
	struct hg_amd_module *amd;
	struct hg_spirv_module *spirv;
};

static void keep_last(enum hg_msg_level level, const char *line, void *arg)
{
	if (level == HG_MSG_ERR)
		snprintf(arg, 1024, "%.*s", (int)strcspn(line, "\n"), line);
}

/* Makes a kernel's code, as its first launch would. False: why that fails, in 1024 bytes. */
static bool compiles(struct code *c, const struct survey *s, const struct image *i, size_t k, const struct hg_amd_chip *chip, char *why)
{
	const struct ir_module *ir = hg_module_ir(i->m);
	struct hg_kernel_info info = *hg_module_kernel(i->m, k);
	const uint32_t *block = i->launches[k].block;
	struct hg_gpu_need need = { .block = { block[0], block[1], block[2] } };
	const struct hg_spirv_code *spirv;
	const struct hg_amd_code *amd;
	void *object = NULL;
	enum hg_status st = HG_OK;
	uint64_t shared;
	size_t size;

	why[0] = '\0';
	hg_msg_sink_set(keep_last, why);
	if (chip && !c->amd)
		st = hg_amd_module_create(ir, NULL, chip, &c->amd);
	if (s->is_ze && !c->spirv)
		st = hg_spirv_module_create(ir, NULL, &hg_spirv_any_device, &c->spirv);
	if (!st && chip)
		st = hg_amd_code_get(c->amd, k, &need, &amd);
	else if (!st && s->is_ze)
		st = hg_spirv_code_get(c->spirv, k, &need, &spirv);
	else if (!st)
		st = hg_cpu_kernel_object(ir, k, 1, false, &object, &size);
	/* what the code itself needs lies behind the block's shared memory */
	shared = (info.shared_bytes + i->launches[k].shared + 15) & ~UINT64_C(15);
	if (!st && chip && amd->extra_lds && !amd_fits(chip, info.name, shared + amd->extra_lds, 0, 0, why, 1024))
		st = HG_ERR_UNSUPPORTED;
	info.shared_bytes = (uint32_t)shared + (!st && s->is_ze ? spirv->extra_lds : 0);
	if (!st && s->is_ze && spirv->extra_lds && !hg_spirv_fits(&hg_spirv_any_device, &info, why, 1024))
		st = HG_ERR_UNSUPPORTED;
	hg_msg_sink_set(NULL, NULL);
	free(object);
	if (st && !why[0])
		snprintf(why, 1024, "kernel '%s' cannot be compiled: %s", info.name, hg_status_text(st));
	return !st;
}

/* One chip's part of the answer; *all has it, or it is printed. False: something cannot run. */
static bool say(const struct survey *s, const char *target, const char *name, const struct hg_amd_chip *chip, json_t *all)
{
	uint64_t nr = 0, good = 0, unknown = 0;
	json_t *problems = json_array(), *j = json_object();
	char why[1024];

	for (size_t i = 0; i < s->nr_images; i++) {
		const struct image *img = &s->image[i];
		struct code code = { 0 };

		if (!img->m) {
			unknown++;
			json_array_append_new(problems, json_problem(img, NULL, img->why, 0));
		}
		for (size_t k = 0; img->m && k < hg_module_nr_kernels(img->m); k++) {
			nr++;
			if ((s->is_ze ? fits_ze(img, k, why, sizeof(why)) : fits_chip(img, k, chip, why, sizeof(why))) &&
			    (!s->compiles || compiles(&code, s, img, k, chip, why)))
				good++;
			else
				json_array_append_new(problems, json_problem(img, hg_module_kernel(img->m, k)->name, why, img->launches[k].nr));
		}
		hg_amd_module_destroy(code.amd);
		hg_spirv_module_destroy(code.spirv);
	}
	json_object_set_new(j, "chip", name ? json_string(name) : json_null());
	json_object_set_new(j, "kernels", json_integer((json_int_t)nr));
	json_object_set_new(j, "runnable", json_integer((json_int_t)good));
	if (!all) {
		size_t at;
		json_t *p;

		printf("%s%s%s: %" PRIu64 " of %" PRIu64 " kernels can run%s", target, name ? " " : "", name ? name : "", good, nr,
		       s->compiles ? ", compiled" : "");
		if (unknown)
			printf("; %" PRIu64 " images cannot be read", unknown);
		putchar('\n');
		json_array_foreach(problems, at, p) {
			json_int_t launches = json_integer_value(json_object_get(p, "launches"));

			printf("  %s", json_string_value(json_object_get(p, "why")));
			if (launches)
				printf(" (%" JSON_INTEGER_FORMAT " launches kept)", launches);
			putchar('\n');
		}
	}
	json_object_set_new(j, "problems", problems);
	if (all)
		json_array_append_new(all, j);
	else
		json_decref(j);
	return good == nr && !unknown;
}

static enum hg_status say_all(const struct survey *s, const char *target, const char *chip, bool json, bool *fits)
{
	const char *const one[] = { chip, NULL }, *const *name = chip ? one : amd_tested_chips;
	json_t *all = json ? json_array() : NULL;
	enum hg_status st = HG_OK;
	char *text;

	*fits = true;
	if (!s->is_rocm)
		*fits = say(s, target, NULL, NULL, all);
	for (; s->is_rocm && *name && !st; name++) {
		struct hg_amd_chip c;

		st = hg_amd_chip_find(*name, &c);
		if (!st)
			*fits &= say(s, target, *name, &c, all);
	}
	if (json && !st) {
		json_t *j = json_object();

		json_object_set_new(j, "target", json_string(target));
		json_object_set_new(j, "compiled", json_boolean(s->compiles));
		json_object_set(j, "chips", all);
		text = json_dumps(j, JSON_INDENT(2));
		json_decref(j);
		if (text)
			puts(text);
		else
			st = HG_ERR_NOMEM;
		free(text);
	}
	json_decref(all);
	return st;
}

/* "rocm:gfx90a": its chip, NULL when none is named. */
static const char *chip_of(const char *target)
{
	const char *colon = strchr(target, ':');

	return colon ? colon + 1 : NULL;
}

static bool is_rocm(const char *target)
{
	return !strncmp(target, "rocm", 4) && (!target[4] || target[4] == ':');
}

bool log_target_is_known(const char *target)
{
	struct hg_amd_chip c;

	if (is_rocm(target))
		return !chip_of(target) || !hg_amd_chip_find(chip_of(target), &c);
	if (!strcmp(target, "cpu") || !strcmp(target, "level-zero"))
		return true;
	pr_err("unknown target '%s'; there are cpu, rocm, rocm:CHIP and level-zero", target);
	return false;
}

enum hg_status log_target_coverage(struct hg_log *log, const char *target, bool compile, bool json, bool *fits)
{
	struct survey s = { .log = log, .is_rocm = is_rocm(target), .is_ze = !strcmp(target, "level-zero"), .compiles = compile };
	enum hg_status st;

	st = hg_log_objects(log, 0, each_object, &s);
	if (!st)
		st = hg_log_kernels(log, each_kernel, &s);
	if (!st)
		st = hg_log_calls(log, 0, UINT64_MAX, each_call, &s);
	if (!st)
		st = say_all(&s, s.is_rocm ? "rocm" : target, chip_of(target), json, fits);
	for (size_t i = 0; i < s.nr_images; i++) {
		ir_module_free(s.image[i].expanded);
		hg_module_free(s.image[i].m);
		free(s.image[i].launches);
	}
	free(s.image);
	free(s.function);
	return st;
}
