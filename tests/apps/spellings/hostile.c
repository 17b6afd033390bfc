/*
 * hostile.c - an application's own LLVM and compressors, loaded first and globally: every one of these names
 * exists in hgshim's engine too, and must not be taken from here.
 */
#include <stdio.h>
#include <stdlib.h>

#define TRAP(name)                                                                                 \
	void name(void);                                                                           \
	void name(void)                                                                            \
	{                                                                                          \
		fputs("FAIL hgshim's engine called the application's " #name "\n", stderr);        \
		abort();                                                                           \
	}
TRAP(LLVMContextCreate)
TRAP(LLVMModuleCreateWithNameInContext)
TRAP(LLVMCreateBuilderInContext)
TRAP(LLVMGetTargetFromTriple)
TRAP(LLVMCreateTargetMachine)
TRAP(LLVMRunPasses)
TRAP(LLVMVerifyModule)
TRAP(LLVMOrcCreateLLJIT)
TRAP(LLVMOrcCreateNewThreadSafeContext)
TRAP(LLVMInitializeX86Target)
TRAP(LLVMInitializeX86TargetInfo)
TRAP(LLVMInitializeX86TargetMC)
TRAP(LLVMInitializeX86AsmPrinter)
TRAP(LLVMBuildAdd)
TRAP(LLVMBuildLoad2)
TRAP(LLVMDisposeMessage)
TRAP(ZSTD_decompress)
TRAP(ZSTD_compress)
TRAP(ZSTD_isError)
TRAP(LZ4_decompress_safe)
TRAP(_ZN4llvm11LLVMContextC1Ev)
TRAP(_ZN4llvm11LLVMContextC2Ev)
TRAP(_ZN4llvm11PassBuilderC1EPNS_13TargetMachineENS_21PipelineTuningOptionsESt8optionalINS_10PGOOptionsEEPNS_28PassInstrumentationCallbacksE)
TRAP(hgshim_engine)
