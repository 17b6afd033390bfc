/* ptx_tool.h - subcommands of hgshim-ptx. */
#ifndef HG_TOOLS_PTX_TOOL_H
#define HG_TOOLS_PTX_TOOL_H

#include <stddef.h>
#include <stdint.h>

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

extern uint32_t ptx_tool_sm;	/* --sm; the portable device's by default */

#endif
