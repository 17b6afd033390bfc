/* hgshim-ptx.c - looks into GPU code: parse, print hgIR, and what the CPU compiler makes of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"

static const struct ptx_command commands[] = {
	{ "parse", ptx_cmd_parse, "FILE…", "read the code, list kernels, parameters and variables" },
	{ "index", ptx_cmd_index, "[--json] FILE…", "list kernels, parameters and variables without translating; SASS too" },
	{ "coverage", ptx_cmd_coverage, "[--json] [--jobs N] [--compile N [--target CHIP|spirv,…]] FILE…",
	  "what is not supported of each kernel, with line and instruction; compiles about every N-th for the CPU target, or for AMD chips" },
	{ "ir", ptx_cmd_ir, "[--kernel NAME] FILE…", "print the hgIR; an hgIR text is read, checked and printed again" },
	{ "plan", ptx_cmd_plan, "[--kernel NAME] FILE…",
	  "where the lanes of a kernel are known to be together: what a GPU that runs them in lockstep needs to know" },
	{ "asm", ptx_cmd_asm, "[--kernel NAME] [--tier N | --target CHIP|spirv [--block X,Y,Z] [--stack BYTES] [-o FILE]] FILE",
	  "the machine code of the CPU target, or of an AMD chip (gfx1100; gfx90a:sramecc+:xnack-) in such blocks; -o: its code object" },
	{ "llvm", ptx_cmd_llvm, "[--kernel NAME] [--tier N | --target CHIP|spirv [--block X,Y,Z] [--stack BYTES]] FILE", "the LLVM IR of it" },
	{ "run", ptx_cmd_run, "[OPTIONS] FILE ARGUMENT…", "run a kernel on the CPU target; docs/cpu-target.md" },
};

static void usage(FILE *f)
{
	fputs("usage: hgshim-ptx COMMAND [--sm N] [ARGUMENTS]\n"
	      "FILE: PTX text, a fatbin, a cubin, or an executable or shared object with fatbins in it\n", f);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].run)
			fprintf(f, "  %-8s %-24s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
}

int main(int argc, char **argv)
{
	hg_msg_prefix("hgshim-ptx");
	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
		usage(stdout);
		return 0;
	}
	if (argc < 3) {
		usage(stderr);
		return 2;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) || !commands[i].run)
			continue;
		argc--;
		argv++;
		if (argc >= 3 && !strcmp(argv[1], "--sm")) {
			char *end;
			unsigned long sm = strtoul(argv[2], &end, 10);

			if (*end || !sm || sm > 9999) {
				pr_err("not a compute capability: '%s'", argv[2]);
				return 2;
			}
			ptx_tool_sm = (uint32_t)sm;
			argv[2] = argv[0];
			argc -= 2;
			argv += 2;
		}
		return commands[i].run(argc, argv);
	}
	pr_err("unknown command '%s'", argv[1]);
	usage(stderr);
	return 2;
}
