/* ptx_compile.c - kernels through the CPU compiler, for hgshim-ptx coverage --compile: what comes out must be machine code. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <llvm-c/Core.h>
#include <llvm-c/Disassembler.h>
#include <llvm-c/Object.h>
#include <llvm-c/Target.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/msg.h"
#include "tools/ptx_tool.h"
#include "translate/ir.h"
#include "translate/jit.h"

#define SEED 20261125

bool ptx_compile_is_sampled(const char *kernel, unsigned long each)
{
	return each && XXH3_64bits_withSeed(kernel, strlen(kernel), SEED) % each == 0;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What a function reserves on its stack, if the instruction is that. */
static uint64_t frame_of(const char *insn)
{
	const char *amount = strchr(insn, '$');

	if (!amount || !strstr(insn, "subq") || !strstr(insn, "%rsp"))
		return 0;
	return strtoull(amount + 1, NULL, 0);
}

/* Every byte of the text is part of an instruction; returns where one is none, or the size. */
static size_t walk(const char *text, size_t size, size_t *nr_insns, uint64_t *frame)
{
	LLVMDisasmContextRef d = LLVMCreateDisasmCPUFeatures("x86_64-unknown-linux-gnu", "", "+avx512f,+avx512bw,+avx512dq,+avx512vl",
							     NULL, 0, NULL, NULL);
	size_t at = 0;

	while (d && at < size) {
		char insn[256];
		size_t n = LLVMDisasmInstruction(d, (uint8_t *)text + at, size - at, at, insn, sizeof(insn));
		uint64_t reserved;

		if (!n)
			break;
		reserved = frame_of(insn);
		if (reserved > *frame)
			*frame = reserved;
		(*nr_insns)++;
		at += n;
	}
	LLVMDisasmDispose(d);
	return at;
}

/* "" when the object's code is all instructions; else what is wrong. */
static void check_object(const void *object, size_t size, char why[120], size_t *nr_insns, uint64_t *frame)
{
	LLVMMemoryBufferRef buf = LLVMCreateMemoryBufferWithMemoryRangeCopy(object, size, "kernel");
	LLVMBinaryRef binary;
	LLVMSectionIteratorRef s;
	char *error = NULL;
	bool found = false;

	binary = LLVMCreateBinary(buf, NULL, &error);
	if (!binary) {
		snprintf(why, 120, "no object file: %.80s", error);
		LLVMDisposeMessage(error);
		LLVMDisposeMemoryBuffer(buf);
		return;
	}
	why[0] = 0;
	s = LLVMObjectFileCopySectionIterator(binary);
	for (; !LLVMObjectFileIsSectionIteratorAtEnd(binary, s) && !why[0]; LLVMMoveToNextSection(s)) {
		const char *name = LLVMGetSectionName(s);
		size_t n = LLVMGetSectionSize(s), end;

		if (!name || strncmp(name, ".text", 5) || !n)
			continue;
		found = true;
		end = walk(LLVMGetSectionContents(s), n, nr_insns, frame);
		if (end != n)
			snprintf(why, 120, "no instruction at byte %zu of %zu", end, n);
	}
	if (!found && !why[0])
		snprintf(why, 120, "no code");
	LLVMDisposeSectionIterator(s);
	LLVMDisposeBinary(binary);
	LLVMDisposeMemoryBuffer(buf);
}

static json_t *compile_one(const struct ir_module *ir, size_t index, int tier, bool free_order)
{
	char why[120] = "not compiled";
	size_t nr_insns = 0, size = 0;
	double start = now(), seconds;
	struct rusage u;
	uint64_t frame = 0;
	void *object;
	enum hg_status st = hg_cpu_kernel_object(ir, index, tier, free_order, &object, &size);

	seconds = now() - start;
	if (!st) {
		check_object(object, size, why, &nr_insns, &frame);
		free(object);
	}
	getrusage(RUSAGE_SELF, &u);
	return json_pack("{s:i,s:b,s:b,s:s,s:I,s:I,s:f,s:I,s:I}", "tier", tier, "any_order", free_order, "ok", !st && !why[0], "message",
			 why, "bytes", (json_int_t)size, "instructions", (json_int_t)nr_insns, "seconds", seconds, "frame_bytes",
			 (json_int_t)frame, "peak_kib", (json_int_t)u.ru_maxrss);
}

json_t *ptx_compile(const struct ir_module *ir, size_t index)
{
	static bool ready;
	json_t *all = json_array();

	if (!ready) {
		LLVMInitializeX86TargetInfo();
		LLVMInitializeX86TargetMC();
		LLVMInitializeX86Disassembler();
		ready = true;
	}
	json_array_append_new(all, compile_one(ir, index, 1, false));
	json_array_append_new(all, compile_one(ir, index, 2, false));
	json_array_append_new(all, compile_one(ir, index, 1, true));
	return all;
}
