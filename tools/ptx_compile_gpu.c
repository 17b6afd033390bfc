/* ptx_compile_gpu.c - kernels as code objects of AMD's chips and as SPIR-V modules, for hgshim-ptx coverage --target. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/amdgcn.h"
#include "translate/ir.h"
#include "translate/spirv.h"

#define MAX_CHIPS 16

struct ptx_gpu {
	size_t nr;
	struct hg_amd_chip chip[MAX_CHIPS];
	struct hg_amd_module *module[MAX_CHIPS];
	bool has_spirv;
	struct hg_spirv_module *spirv;
};

struct ptx_gpu *ptx_gpu_open(const char *names)
{
	struct ptx_gpu *a = calloc(1, sizeof(*a));

	while (a && *names) {
		size_t n = strcspn(names, ",");
		char name[128];

		snprintf(name, sizeof(name), "%.*s", (int)n, names);
		names += n + (names[n] == ',');
		if (!strcmp(name, "spirv")) {
			a->has_spirv = true;
			continue;
		}
		if (a->nr == MAX_CHIPS || hg_amd_chip_find(name, &a->chip[a->nr])) {
			free(a);
			return NULL;
		}
		a->nr++;
	}
	return a;
}

size_t ptx_gpu_nr(const struct ptx_gpu *a)
{
	return a->nr + a->has_spirv;
}

void ptx_gpu_forget(struct ptx_gpu *a)
{
	for (size_t i = 0; i < a->nr; i++) {
		hg_amd_module_destroy(a->module[i]);
		a->module[i] = NULL;
	}
	hg_spirv_module_destroy(a->spirv);
	a->spirv = NULL;
}

void ptx_gpu_close(struct ptx_gpu *a)
{
	if (a)
		ptx_gpu_forget(a);
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

/* What spirv-val, of spirv-tools, says of a module; empty: nothing. */
static void validate(const struct hg_spirv_code *code, char *said, size_t room)
{
	char path[] = "/tmp/hgshim-ptx-XXXXXX", command[128];
	int fd = mkstemp(path);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
	bool written = f && fwrite(code->words, 1, code->size, f) == code->size;

	if (f)
		written &= !fclose(f);
	snprintf(command, sizeof(command), "spirv-val --target-env spv1.3 %s 2>&1", path);
	f = written ? popen(command, "r") : NULL;
	said[0] = 0;
	if (f) {
		said[fread(said, 1, room - 1, f)] = 0;
		if (pclose(f) && !said[0])
			snprintf(said, room, "spirv-val fails");
	} else {
		snprintf(said, room, "spirv-val cannot be run");
	}
	if (fd >= 0)
		unlink(path);
	said[strcspn(said, "\n")] = 0;
}

static json_t *compile_spirv(struct ptx_gpu *a, const struct ir_module *ir, size_t index)
{
	const struct hg_gpu_need need = { 0 };
	struct hg_spirv_code none = { 0 };
	const struct hg_spirv_code *code = &none;
	char message[600] = "", said[500] = "";
	double start = now();
	enum hg_status st = a->spirv ? HG_OK : hg_spirv_module_create(ir, NULL, &hg_spirv_any_device, &a->spirv);

	hg_msg_sink_set(keep_last, message);
	if (!st)
		st = hg_spirv_code_get(a->spirv, index, &need, &code);
	hg_msg_sink_set(NULL, NULL);
	start = now() - start;
	if (!st)
		validate(code, said, sizeof(said));
	if (said[0])
		snprintf(message, sizeof(message), "invalid: %s", said);
	return json_pack("{s:s,s:b,s:b,s:o,s:s,s:I,s:f}", "chip", "spirv", "ok", !st && !said[0], "invalid", said[0] != 0, "message",
			 text(st && !message[0] ? hg_status_text(st) : message), "form", code->is_scheduled ? "scheduled" : "direct", "bytes",
			 (json_int_t)code->size, "seconds", start);
}

json_t *ptx_gpu_compile(struct ptx_gpu *a, const struct ir_module *ir, size_t index)
{
	const struct ir_func *fn = &ir->func[index];
	const struct hg_gpu_need need = { 0 };
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
	if (a->has_spirv)
		json_array_append_new(all, compile_spirv(a, ir, index));
	return all;
}
