/* ptx_tool.h - subcommands of hgshim-ptx. */
#ifndef HG_TOOLS_PTX_TOOL_H
#define HG_TOOLS_PTX_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/status.h"
#include "translate/module.h"

/* Each takes its own arguments (argv[0] is the subcommand's name) and returns the exit code. */
struct ptx_command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *arguments, *help;
};

int ptx_cmd_parse(int argc, char **argv);
int ptx_cmd_ir(int argc, char **argv);
int ptx_cmd_index(int argc, char **argv);
int ptx_cmd_coverage(int argc, char **argv);
int ptx_cmd_plan(int argc, char **argv) __attribute__((weak));	/* tools/ptx_plan.c */
/* In tools/ptx_cpu.c: the CPU compiler's. */
int ptx_cmd_asm(int argc, char **argv) __attribute__((weak));
int ptx_cmd_llvm(int argc, char **argv) __attribute__((weak));
int ptx_cmd_run(int argc, char **argv) __attribute__((weak));

/*
 * The code images in a file: PTX text, a fatbin, a cubin, or the fatbins of an executable or shared
 * object. Calls each for every one; stops at the first that fails. HG_ERR_NOTFOUND, logged: none.
 */
enum hg_status ptx_file_images(const char *path, enum hg_status (*each)(const void *image, size_t size, void *arg),
			       void *arg) HG_MUST_CHECK;

/*
 * For "[--kernel NAME] FILE…", a subcommand's arguments: each gets the hgIR of every image in the files, and the module that it is of, NULL for one
 * that is hgIR text. *kernel: NULL, or the name. The exit code: 2 wrong usage, 1 something failed, which was said, else 0.
 */
int ptx_each_ir(int argc, char **argv, const char **kernel,
		enum hg_status (*each)(const struct ir_module *ir, const struct hg_module *m, void *arg), void *arg);

/* tools/ptx_compile.c: whether a kernel is one of the sample of about every `each`-th, always the same ones; each 0: none are. */
bool ptx_compile_is_sampled(const char *kernel, unsigned long each);
/*
 * Compiles a kernel for the CPU target: by both tiers, and to run lanes in any order. A list of objects with tier, any_order, ok, message,
 * bytes, instructions (the whole code was disassembled), seconds of processor time, frame_bytes (of the stack), peak_kib (of the process so far).
 */
json_t *ptx_compile(const struct ir_module *ir, size_t index);

/*
 * The same for AMD's chips and for SPIR-V, in tools/ptx_compile_gpu.c; what belongs to a module is made once for each chip. `names`: chips or "spirv", with commas between
 * them. ptx_gpu_open gives NULL, logged, for a name that is none. A list of objects with chip, ok, message (why it is refused, or wrong), form, bytes, seconds, vgprs,
 * sgprs, vgpr_spills, sgpr_spills, scratch_bytes, lds_bytes (static, and what the code itself needs). Of "spirv" none of those from vgprs on, and `invalid`: spirv-val does not take it.
 */
struct ptx_gpu;
struct ptx_gpu *ptx_gpu_open(const char *names);
size_t ptx_gpu_nr(const struct ptx_gpu *a);	/* of chips */
json_t *ptx_gpu_compile(struct ptx_gpu *a, const struct ir_module *ir, size_t index);
void ptx_gpu_forget(struct ptx_gpu *a);		/* the module that the last compilation was of */
void ptx_gpu_close(struct ptx_gpu *a);

extern uint32_t ptx_tool_sm;	/* --sm; the portable device's by default */

#endif
