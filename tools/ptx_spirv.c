/* ptx_spirv.c - hgshim-ptx asm, llvm --target spirv: kernels as SPIR-V modules, printed by spirv-dis. */
#include "tools/ptx_spirv.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"

static bool write_all(FILE *f, const struct hg_spirv_code *code)
{
	return fwrite(code->words, 1, code->size, f) == code->size;
}

static enum hg_status write_file(const struct hg_spirv_code *code, const char *path)
{
	FILE *f = fopen(path, "wb");
	bool ok = f && write_all(f, code);

	ok &= !f || !fclose(f);
	if (f && ok)
		return HG_OK;
	pr_err("cannot write '%s': %s", path, strerror(errno));
	return HG_ERR_IO;
}

/* spirv-dis prints to this process's output. */
static enum hg_status disassemble(const struct hg_spirv_code *code)
{
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	FILE *f;
	int rc;

	fflush(stdout);
	f = popen("spirv-dis --no-color -", "w");
	if (f)
		write_all(f, code);
	rc = f ? pclose(f) : -1;
	signal(SIGPIPE, before);
	if (!rc)
		return HG_OK;
	pr_err("kernel '%s': spirv-dis, of spirv-tools, cannot be run or fails: -o FILE writes the module", code->symbol);
	return HG_ERR_UNAVAILABLE;
}

enum hg_status ptx_spirv_asm(const struct ir_module *ir, size_t kernel, const struct hg_gpu_need *need, const char *object)
{
	const struct hg_spirv_code *code;
	struct hg_spirv_module *m;
	enum hg_status st = hg_spirv_module_create(ir, NULL, &hg_spirv_any_device, &m);

	if (st)
		return st;
	st = hg_spirv_code_get(m, kernel, need, &code);
	if (!st) {
		printf("%skernel %s: %s, SPIR-V %" PRIu32 ".%" PRIu32 "%s, blocks of up to %" PRIu32 " threads, %" PRIu32 " bytes of arguments\n",
		       object ? "" : "; ", code->symbol, code->is_scheduled ? "scheduled" : "direct", code->version >> 16, code->version >> 8 & 255,
		       code->uses_lanes ? ", sub-groups of 32" : "", code->max_threads, code->arg_bytes);
		st = object ? write_file(code, object) : disassemble(code);
	}
	hg_spirv_module_destroy(m);
	return st;
}
