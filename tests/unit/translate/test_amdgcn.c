/* test_amdgcn.c - code objects for AMD's chips: what LLVM and lld make, what is refused, and what comes out of instruction selection. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <llvm-c/BitReader.h>
#include <llvm-c/IRReader.h>
#include <llvm-c/Linker.h>

#include "common/msg.h"
#include "translate/amd_comgr.h"
#include "translate/amd_compile.h"
#include "translate/amd_note.h"
#include "translate/elf_object.h"

static struct hg_amd_chip chip_named(const char *name)
{
	struct hg_amd_chip chip;

	cr_assert_eq(hg_amd_chip_find(name, &chip), HG_OK);
	return chip;
}

/* A module out of text, in the emitter's place. */
static enum hg_status parse(void *arg, LLVMContextRef c, LLVMModuleRef m, char *why, size_t why_size)
{
	const char *text = arg;
	LLVMMemoryBufferRef buf = LLVMCreateMemoryBufferWithMemoryRangeCopy(text, strlen(text), "test");
	LLVMModuleRef from;
	char *error = NULL;

	if (LLVMParseIRInContext(c, buf, &from, &error)) {
		snprintf(why, why_size, "%s", error);
		LLVMDisposeMessage(error);
		return HG_ERR_INVALID;
	}
	LLVMSetDataLayout(from, LLVMGetDataLayoutStr(m));
	LLVMSetTarget(from, LLVMGetTarget(m));
	return LLVMLinkModules2(m, from) ? HG_ERR_INVALID : HG_OK;
}

static struct amd_compile job_of(const struct hg_amd_chip *chip, const char *ir, enum amd_result result)
{
	return (struct amd_compile){ .kernel = "k", .chip = chip, .max_work_items = 256, .result = result, .fill = parse, .arg = (void *)(uintptr_t)ir };
}

/* The text or code object of kernel k; must be freed. */
static void *compiled(const char *chip_name, const char *ir, enum amd_result result, size_t *size)
{
	struct hg_amd_chip chip = chip_named(chip_name);
	struct amd_compile job = job_of(&chip, ir, result);
	void *out;

	cr_assert_eq(amd_compile(&job, &out, size), HG_OK, "%s: %s", chip_name, job.why);
	return out;
}

/* The instructions alone, without what the assembler is told after them. */
static char *assembly(const char *chip_name, const char *ir)
{
	size_t size;
	char *text = compiled(chip_name, ir, AMD_ASSEMBLY, &size), *end = strstr(text, ".rodata");

	cr_assert(end);
	*end = 0;
	return text;
}

/* Why it is refused. */
static const char *refused(const char *chip_name, const char *ir)
{
	static char why[400];
	struct hg_amd_chip chip = chip_named(chip_name);
	struct amd_compile job = job_of(&chip, ir, AMD_CODE_OBJECT);
	size_t size;
	void *out;

	cr_assert_eq(amd_compile(&job, &out, &size), HG_ERR_UNSUPPORTED);
	strcpy(why, job.why);
	return why;
}

#define IDS "declare i32 @llvm.amdgcn.workitem.id.x()\ndeclare i32 @llvm.amdgcn.workgroup.id.x()\n"

/* y[i] = a * x[i] + y[i], four numbers for each work-item. */
static const char saxpy[] = IDS
	"define amdgpu_kernel void @k(ptr addrspace(1) %x, ptr addrspace(1) %y, float %a) {\n"
	"  %i = call i32 @llvm.amdgcn.workitem.id.x()\n"
	"  %j = zext i32 %i to i64\n"
	"  %px = getelementptr <4 x float>, ptr addrspace(1) %x, i64 %j\n"
	"  %py = getelementptr <4 x float>, ptr addrspace(1) %y, i64 %j\n"
	"  %vx = load <4 x float>, ptr addrspace(1) %px, align 16\n"
	"  %vy = load <4 x float>, ptr addrspace(1) %py, align 16\n"
	"  %s0 = insertelement <4 x float> poison, float %a, i32 0\n"
	"  %s = shufflevector <4 x float> %s0, <4 x float> poison, <4 x i32> zeroinitializer\n"
	"  %m = fmul <4 x float> %s, %vx\n"
	"  %r = fadd <4 x float> %m, %vy\n"
	"  store <4 x float> %r, ptr addrspace(1) %py, align 16\n"
	"  ret void\n"
	"}\n";

/* Nothing that the library prints by itself may reach the user. */
static int saved_stderr;
static FILE *said;

static void catch_stderr(void)
{
	said = tmpfile();
	cr_assert(said);
	fflush(stderr);
	saved_stderr = dup(2);
	dup2(fileno(said), 2);
}

static long caught_bytes(void)
{
	fflush(stderr);
	dup2(saved_stderr, 2);
	close(saved_stderr);
	fseek(said, 0, SEEK_END);
	return ftell(said);
}

Test(amd_chip, tested_chips_have_their_wave_size)
{
	static const struct { const char *name; bool has_wave32; } want[] = {
		{ "gfx906", false }, { "gfx90a", false }, { "gfx942", false }, { "gfx1030", true }, { "gfx1100", true }, { "gfx1201", true },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct hg_amd_chip chip = chip_named(want[i].name);

		cr_assert(chip.is_tested);
		cr_assert_eq(chip.has_wave32, want[i].has_wave32, "%s", want[i].name);
		cr_assert_eq(chip.lds_bytes, 65536);
		cr_assert_str_eq(amd_tested_chips[i], want[i].name);
	}
	cr_assert_not(chip_named("gfx1036").is_tested);
}

Test(amd_chip, features_of_a_name_become_those_of_llvm)
{
	struct hg_amd_chip chip = chip_named("gfx90a:sramecc+:xnack-");

	cr_assert_str_eq(chip.name, "gfx90a");
	cr_assert_str_eq(chip.features, "+sramecc,-xnack");
	cr_assert_str_eq(chip_named("gfx906").features, "");
}

Test(amd_chip, names_that_are_none_are_refused)
{
	static const char *const none[] = { "", "gfx", "gfx9999", "sm_90", "gfx90a:", "gfx90a:sramecc", "gfx90a:xnack*", "gfx90a:wavefrontsize32+", "gfx1100:xnack+",
					    "gfx90a::", "gfx90a:sramecc+:", "kaveri",
					    "a name that is longer than any chip has and longer than the room that there is for one in the structure" };
	struct hg_amd_chip chip;

	hg_msg_level_set(-1);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		cr_assert_eq(hg_amd_chip_find(none[i], &chip), HG_ERR_UNSUPPORTED, "%s", none[i]);
}

Test(amd_chip, a_kernel_that_asks_too_much_is_named_with_need_and_limit)
{
	struct hg_amd_chip chip = chip_named("gfx1100");
	struct hg_kernel_info info = { .name = "big", .shared_bytes = 65536, .req_threads = { 32, 32, 1 } };
	char why[200];

	cr_assert(hg_amd_fits(&chip, &info, why, sizeof(why)));
	info.shared_bytes = 65540;
	cr_assert_not(hg_amd_fits(&chip, &info, why, sizeof(why)));
	cr_assert_str_eq(why, "kernel 'big' needs 65540 bytes of shared memory, and a block has 65536 on gfx1100");
	info.shared_bytes = 0;
	info.req_threads[2] = 2;
	cr_assert_not(hg_amd_fits(&chip, &info, why, sizeof(why)));
	cr_assert_str_eq(why, "kernel 'big' needs blocks of 2048 threads, and they have 1024 at most on gfx1100");
	info.req_threads[2] = 1;
	info.local_bytes = 300000;
	cr_assert_not(hg_amd_fits(&chip, &info, why, sizeof(why)));
	cr_assert(strstr(why, "300000 bytes of local memory"), "%s", why);
}

Test(amd_chip, a_warp_in_half_a_wave_takes_a_row_of_twice_as_many)
{
	struct hg_amd_code code = { .layout = HG_GPU_HALF };
	const uint32_t block[3] = { 10, 5, 1 };
	uint32_t out[3];

	hg_amd_block(&code, block, out);
	cr_assert(out[0] == 128 && out[1] == 1 && out[2] == 1);
	code.layout = HG_GPU_PAIR;
	hg_amd_block(&code, block, out);
	cr_assert(out[0] == 10 && out[1] == 5 && out[2] == 1);
}

Test(amd_compile, each_tested_chip_gets_a_code_object_that_says_what_it_is)
{
	for (const char *const *name = amd_tested_chips; *name; name++) {
		struct amd_note n;
		char target[80];
		Elf64_Ehdr e;
		size_t size;
		void *co = compiled(*name, saxpy, AMD_CODE_OBJECT, &size);

		cr_assert(elf_object_open(co, size, &e));
		cr_assert_eq(e.e_type, ET_DYN);
		cr_assert_eq(e.e_ident[EI_OSABI], 64);
		cr_assert_eq(e.e_ident[EI_ABIVERSION], 3, "code object V5");
		cr_assert(amd_note_read(co, size, &n), "%s", *name);
		snprintf(target, sizeof(target), "amdgcn-amd-amdhsa--%s", *name);
		cr_assert_str_eq(n.target, target);
		cr_assert_str_eq(n.name, "k");
		cr_assert_str_eq(n.symbol, "k.kd");
		cr_assert_eq(n.nr_kernels, 1);
		cr_assert_eq(n.wave_size, chip_named(*name).has_wave32 ? 32 : 64);
		cr_assert_eq(n.max_work_items, 256);
		cr_assert_eq(n.kernarg_bytes, 20);
		cr_assert_eq(n.nr_hidden_args, 0);
		cr_assert(n.vgprs > 0 && n.sgprs > 0);
		cr_assert(!n.vgpr_spills && !n.sgpr_spills && !n.private_bytes && !n.group_bytes && !n.has_dynamic_stack);
		free(co);
	}
}

Test(amd_compile, features_are_part_of_the_code_objects_target)
{
	struct amd_note n;
	size_t size;
	void *co = compiled("gfx90a:sramecc+:xnack-", saxpy, AMD_CODE_OBJECT, &size);

	cr_assert(amd_note_read(co, size, &n));
	cr_assert_str_eq(n.target, "amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-");
	free(co);
}

/* What LLVM holds when it is left in the middle is lost: in a process of its own, which ends without being looked through for such. */
static bool holds_in_child(bool (*check)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(check() ? 0 : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static bool refuses_and_goes_on(void)
{
	static const char ir[] = "declare <8 x float> @llvm.amdgcn.wmma.f32.16x16x16.f16.v8f32.v16f16(<16 x half>, <16 x half>, <8 x float>)\n"
		"define amdgpu_kernel void @k(ptr addrspace(1) %p) {\n"
		"  %a = load <16 x half>, ptr addrspace(1) %p\n"
		"  %c = load <8 x float>, ptr addrspace(1) %p\n"
		"  %d = call <8 x float> @llvm.amdgcn.wmma.f32.16x16x16.f16.v8f32.v16f16(<16 x half> %a, <16 x half> %a, <8 x float> %c)\n"
		"  store <8 x float> %d, ptr addrspace(1) %p\n"
		"  ret void\n}\n";
	bool ok = strstr(refused("gfx906", ir), "Cannot select") != NULL;
	size_t size;

	free(compiled("gfx906", saxpy, AMD_CODE_OBJECT, &size));
	return ok;
}

Test(amd_compile, what_has_no_instruction_is_refused_and_the_process_goes_on)
{
	catch_stderr();
	cr_assert(holds_in_child(refuses_and_goes_on));
	cr_assert_eq(caught_bytes(), 0);
}

Test(amd_compile, too_much_of_what_the_chip_has_is_refused)
{
	catch_stderr();
	cr_assert(strstr(refused("gfx1100", "@s = internal addrspace(3) global [70000 x i8] poison\n" IDS
				 "define amdgpu_kernel void @k(ptr addrspace(1) %p) {\n"
				 "  %i = call i32 @llvm.amdgcn.workitem.id.x()\n"
				 "  %q = getelementptr i8, ptr addrspace(3) @s, i32 %i\n"
				 "  store volatile i8 1, ptr addrspace(3) %q\n"
				 "  ret void\n}\n"), "exceeds limit (65536)"));
	cr_assert(strstr(refused("gfx1100", IDS "define amdgpu_kernel void @k(ptr addrspace(1) %p) {\n"
				 "  %a = alloca [400000 x i8], addrspace(5)\n"
				 "  %i = call i32 @llvm.amdgcn.workitem.id.x()\n"
				 "  %q = getelementptr i8, ptr addrspace(5) %a, i32 %i\n"
				 "  store volatile i8 1, ptr addrspace(5) %q\n"
				 "  ret void\n}\n"), "exceeds limit"));
	cr_assert_eq(caught_bytes(), 0);
}

Test(amd_compile, an_emitter_that_makes_nonsense_is_told_so)
{
	cr_assert(strstr(refused("gfx1100", "define amdgpu_kernel void @other() { ret void }\n"), "no function"));
	cr_assert(strstr(refused("gfx1100", "define amdgpu_kernel i32 @k() { ret i32 0 }\n"), "invalid code"));
}

static bool links_no_junk(void)
{
	struct hg_amd_chip chip = chip_named("gfx1100");
	size_t size, co_size;
	void *co = compiled("gfx1100", saxpy, AMD_CODE_OBJECT, &co_size), *out;
	char first[200] = "", second[200] = "";

	return amd_link(&chip, "\177ELF", 4, &out, &size, first, sizeof(first)) && first[0] &&
	       /* lld wants to end the process for this one */
	       amd_link(&chip, co, co_size / 2, &out, &size, second, sizeof(second)) && strstr(second, "section header");
}

Test(amd_link, what_is_no_object_is_refused_without_leaving_the_process)
{
	catch_stderr();
	cr_assert(holds_in_child(links_no_junk));
	cr_assert_eq(caught_bytes(), 0);
}

static void *compile_some(void *arg)
{
	for (int i = 0; i < 4; i++) {
		size_t size;

		free(compiled(arg, saxpy, AMD_CODE_OBJECT, &size));
	}
	return NULL;
}

Test(amd_compile, threads_compile_at_the_same_time)
{
	pthread_t t[3];

	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, compile_some, (void *)(uintptr_t)amd_tested_chips[i * 2]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
}

Test(amd_compile, the_ir_goes_along_when_that_is_wanted)
{
	struct hg_amd_chip chip = chip_named("gfx1100");
	struct amd_compile job = job_of(&chip, saxpy, AMD_CODE_OBJECT);
	LLVMContextRef c = LLVMContextCreate();
	bool found = false;
	Elf64_Shdr names, sh;
	Elf64_Ehdr e;
	size_t size;
	void *co;

	job.embed = true;
	cr_assert_eq(amd_compile(&job, &co, &size), HG_OK, "%s", job.why);
	cr_assert(elf_object_open(co, size, &e) && elf_object_section(co, size, &e, e.e_shstrndx, &names));
	for (size_t i = 1; i < e.e_shnum; i++) {
		LLVMMemoryBufferRef buf;
		const char *name;
		LLVMModuleRef m;

		cr_assert(elf_object_section(co, size, &e, i, &sh));
		name = elf_object_text(co, &names, sh.sh_name);
		if (strcmp(name, ".llvmbc"))
			continue;
		found = true;
		buf = LLVMCreateMemoryBufferWithMemoryRangeCopy((char *)co + sh.sh_offset, sh.sh_size, "ir");
		cr_assert_eq(LLVMParseBitcodeInContext2(c, buf, &m), 0);
		LLVMDisposeMemoryBuffer(buf);
		cr_assert(LLVMGetNamedFunction(m, "k"));
		cr_assert(!LLVMIsDeclaration(LLVMGetNamedFunction(m, "k")));
		cr_assert_null(LLVMGetNamedGlobal(m, "hgshim.bitcode"));
		LLVMDisposeModule(m);
	}
	cr_assert(found);
	free(co);
	LLVMContextDispose(c);
}

/* ---- comgr, of whatever version is installed ---- */

static bool comgr_links(void)
{
	struct hg_amd_chip chip = chip_named("gfx90a:xnack-");
	struct amd_compile job = job_of(&chip, saxpy, AMD_CODE_OBJECT);
	char why[200];
	struct amd_note n;
	size_t size, cut_size;
	void *co = compiled("gfx1100", saxpy, AMD_CODE_OBJECT, &cut_size), *out;

	/* this is the end of lld */
	if (!amd_link(&chip, co, cut_size / 2, &out, &size, why, sizeof(why)))
		return false;
	return !amd_compile(&job, &out, &size) && amd_note_read(out, size, &n) && !strcmp(n.name, "k") && n.kernarg_bytes == 20 &&
	       !strcmp(n.target, "amdgcn-amd-amdhsa--gfx90a:xnack-");
}

Test(amd_comgr, links_when_lld_cannot_go_on)
{
	if (!amd_comgr_knows("gfx90a"))
		cr_skip("no comgr is installed");
	cr_assert(holds_in_child(comgr_links));
}

Test(amd_comgr, compiles_bitcode_for_a_chip_that_llvm_does_not_know)
{
	static const char small[] = "define amdgpu_kernel void @k(ptr addrspace(1) %p) {\n  store i32 1, ptr addrspace(1) %p\n  ret void\n}\n";
	struct hg_amd_chip chip = chip_named("gfx1030");
	struct amd_compile job = job_of(&chip, small, AMD_CODE_OBJECT);
	struct amd_note n;
	size_t size;
	void *co;

	if (!amd_comgr_knows("gfx1030"))
		cr_skip("no comgr is installed");
	/* one that it does know, so that there is something to compare with */
	strcpy(chip.like, "gfx1010");
	if (amd_compile(&job, &co, &size)) {
		cr_assert(!strncmp(job.why, "comgr: ", 7), "%s", job.why);
		cr_skip("comgr does not take bitcode of LLVM 19: %s", job.why);
	}
	cr_assert(amd_note_read(co, size, &n));
	cr_assert_str_eq(n.target, "amdgcn-amd-amdhsa--gfx1030");
	cr_assert_eq(n.wave_size, 32);
	free(co);
}

/* ---- metadata of nobody's ---- */

Test(amd_note, a_cut_or_changed_object_is_read_without_harm)
{
	struct amd_note n;
	size_t size;
	unsigned char *co = compiled("gfx90a", saxpy, AMD_CODE_OBJECT, &size);

	for (size_t cut = 0; cut < size; cut++) {
		unsigned char *part = malloc(cut ? cut : 1);

		memcpy(part, co, cut);
		cr_assert_not(amd_note_read(part, cut, &n), "the table of sections is at the end");
		free(part);
	}
	for (size_t i = 0; i < size; i++) {
		unsigned char was = co[i];

		for (int bit = 0; bit < 8; bit++) {
			co[i] = was ^ (unsigned char)(1 << bit);
			if (amd_note_read(co, size, &n))
				cr_assert(memchr(n.name, 0, sizeof(n.name)) && memchr(n.symbol, 0, sizeof(n.symbol)) && n.nr_kernels);
		}
		co[i] = was;
	}
	free(co);
}

/* ---- what comes out of instruction selection ---- */

static bool has(const char *text, const char *what)
{
	return strstr(text, what) != NULL;
}

Test(amd_code, global_memory_is_read_in_vectors_and_not_by_flat_addresses)
{
	for (const char *const *name = amd_tested_chips; *name; name++) {
		char *text = assembly(*name, saxpy);

		cr_assert(has(text, "global_load_dwordx4") || has(text, "global_load_b128"), "%s", *name);
		cr_assert(has(text, "global_store_dwordx4") || has(text, "global_store_b128"), "%s", *name);
		cr_assert(!has(text, "flat_load") && !has(text, "flat_store") && !has(text, "scratch_"), "%s", *name);
		free(text);
	}
}

Test(amd_code, a_branch_on_what_all_lanes_share_is_scalar)
{
	static const char ir[] = IDS "define amdgpu_kernel void @k(ptr addrspace(1) %p, i32 %n) {\n"
		"entry:\n  br label %loop\n"
		"loop:\n  %i = phi i32 [ 0, %entry ], [ %j, %loop ]\n"
		"  %q = getelementptr i32, ptr addrspace(1) %p, i32 %i\n"
		"  store volatile i32 %i, ptr addrspace(1) %q\n"
		"  %j = add i32 %i, 1\n"
		"  %c = icmp ult i32 %j, %n\n"
		"  br i1 %c, label %loop, label %end\n"
		"end:\n  ret void\n}\n";

	for (const char *const *name = amd_tested_chips; *name; name++) {
		char *text = assembly(*name, ir);

		cr_assert(has(text, "s_cbranch_scc"), "%s", *name);
		cr_assert(!has(text, "s_cbranch_exec") && !has(text, "s_cbranch_vcc"), "%s", *name);
		free(text);
	}
}
