/* ptx_compile_amd.c - kernels as code objects of AMD's chips, for hgshim-ptx coverage --target. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/amdgcn.h"
#include "translate/ir.h"

#define MAX_CHIPS 16

struct ptx_amd {
	size_t nr;
	struct hg_amd_chip chip[MAX_CHIPS];
	struct hg_amd_module *module[MAX_CHIPS];
};

struct ptx_amd *ptx_amd_open(const char *names)
{
	struct ptx_amd *a = calloc(1, sizeof(*a));

	while (a && *names) {
		size_t n = strcspn(names, ",");
		char name[128];

		snprintf(name, sizeof(name), "%.*s", (int)n, names);
		if (a->nr == MAX_CHIPS || hg_amd_chip_find(name, &a->chip[a->nr])) {
			free(a);
			return NULL;
		}
		a->nr++;
		names += n + (names[n] == ',');
	}
	return a;
}

size_t ptx_amd_nr(const struct ptx_amd *a)
{
	return a->nr;
}

void ptx_amd_forget(struct ptx_amd *a)
{
	for (size_t i = 0; i < a->nr; i++) {
		hg_amd_module_destroy(a->module[i]);
		a->module[i] = NULL;
	}
}

void ptx_amd_close(struct ptx_amd *a)
{
	if (a)
		ptx_amd_forget(a);
	free(a);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void keep_last(enum hg_msg_level level, const char *line, void *arg)
{
	if (level == HG_MSG_ERR)
		snprintf(arg, 600, "%.*s", (int)strcspn(line, "\n"), line);
}

/* A text that JSON can have: names of kernels may be no UTF-8. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);

	return j ? j : json_string("?");
}

json_t *ptx_amd_compile(struct ptx_amd *a, const struct ir_module *ir, size_t index)
{
	const struct ir_func *fn = &ir->func[index];
	const struct hg_amd_need need = { 0 };
	json_t *all = json_array();

	for (size_t i = 0; i < a->nr; i++) {
		struct hg_amd_code none = { 0 };
		const struct hg_amd_code *code = &none;
		char message[600] = "";
		double start = now();
		enum hg_status st = a->module[i] ? HG_OK : hg_amd_module_create(ir, NULL, &a->chip[i], &a->module[i]);

		hg_msg_sink_set(keep_last, message);
		if (!st)
			st = hg_amd_code_get(a->module[i], index, &need, &code);
		hg_msg_sink_set(NULL, NULL);
		json_array_append_new(all, json_pack("{s:s,s:b,s:o,s:s,s:I,s:f,s:I,s:I,s:I,s:I,s:I,s:I}", "chip", a->chip[i].name, "ok", !st, "message",
			text(st && !message[0] ? hg_status_text(st) : message), "form", code->is_scheduled ? "scheduled" : "direct", "bytes",
			(json_int_t)code->size, "seconds", now() - start, "vgprs", (json_int_t)code->vgprs, "sgprs", (json_int_t)code->sgprs,
			"vgpr_spills", (json_int_t)code->vgpr_spills, "sgpr_spills", (json_int_t)code->sgpr_spills, "scratch_bytes",
			(json_int_t)code->scratch_bytes, "lds_bytes", (json_int_t)(st ? 0 : fn->shared_bytes + code->extra_lds)));
	}
	return all;
}
