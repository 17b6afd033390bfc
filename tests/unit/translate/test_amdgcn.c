/* test_amdgcn.c - code objects for AMD's chips: what LLVM and lld make, what is refused, and what comes out of instruction selection. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <llvm-c/BitReader.h>
#include <llvm-c/IRReader.h>
#include <llvm-c/Linker.h>

#include "tests/unit/translate/code_util.h"
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

/* ---- kernels ---- */

/* The instructions of kernel k of a PTX text, in the variant for blocks of that many threads. */
static char *ptx_assembly(const char *chip_name, const char *ptx, uint32_t threads)
{
	struct hg_amd_chip chip = chip_named(chip_name);
	const struct hg_gpu_need need = { .block = { threads, 1, 1 } };
	struct hg_module *m = load_text(ptx);
	char *text, *end;

	cr_assert_eq(hg_amd_text(hg_module_ir(m), 0, &chip, &need, HG_AMD_ASM, &text), HG_OK, "%s", chip_name);
	hg_module_free(m);
	end = strstr(text, ".rodata");
	cr_assert(end);
	*end = 0;
	return text;
}

static bool has(const char *text, const char *what)
{
	return strstr(text, what) != NULL;
}

#define MY_PLACE "ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n]; mov.u32 %r2, %tid.x; mul.wide.u32 %rd2, %r2, 16; add.s64 %rd1, %rd1, %rd2;"
#define STEP(n) "shfl.sync.bfly.b32 %r4, %r3, " #n ", 31, -1; add.u32 %r3, %r3, %r4;"

static const char saxpy_ptx[] = KERNEL(MY_PLACE "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1]; cvt.rn.f32.u32 %f5, %r1;"
	"fma.rn.f32 %f1, %f1, %f5, %f1; fma.rn.f32 %f2, %f2, %f5, %f2; fma.rn.f32 %f3, %f3, %f5, %f3; fma.rn.f32 %f4, %f4, %f5, %f4;"
	"st.global.v4.f32 [%rd1], {%f1, %f2, %f3, %f4};");
static const char reduction_ptx[] = KERNEL(MY_PLACE "ld.global.u32 %r3, [%rd1];" STEP(16) STEP(8) STEP(4) STEP(2) STEP(1)
	"st.global.u32 [%rd1], %r3;");
static const char loop_ptx[] = KERNEL(MY_PLACE "mov.u32 %r3, 0; L: st.volatile.global.u32 [%rd1], %r3; add.u32 %r3, %r3, 1;"
	"setp.lt.u32 %p1, %r3, %r1; @%p1 bra L;");

/* lanes of a warp that wait for each other: no shape of branches does that */
static const char lock_ptx[] = KERNEL("ld.param.u64 %rd1, [p]; L: atom.global.cas.b32 %r1, [%rd1], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra L;"
	"ld.volatile.global.u32 %r2, [%rd1+4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%rd1+4], %r2; membar.gl; atom.global.exch.b32 %r1, [%rd1], 0;");

Test(amd_code, global_memory_is_read_in_vectors_and_not_by_flat_addresses)
{
	for (const char *const *name = amd_tested_chips; *name; name++) {
		char *text = ptx_assembly(*name, saxpy_ptx, 256);

		cr_expect(has(text, "global_load_dwordx4") || has(text, "global_load_b128"), "%s:\n%s", *name, text);
		cr_expect(has(text, "global_store_dwordx4") || has(text, "global_store_b128"), "%s:\n%s", *name, text);
		cr_expect(!has(text, "flat_") && !has(text, "scratch_") && !has(text, "buffer_"), "%s:\n%s", *name, text);
		free(text);
	}
}

/*
 * What goes through a chip's own ways from lane to lane: DPP, permlane, and on chips that have no other way for two of the five steps
 * ds_swizzle, whose data pass the crossbar of the local data share and no memory. None takes an address, which bpermute does.
 */
Test(amd_code, a_warp_adds_up_without_addresses)
{
	for (const char *const *name = amd_tested_chips; *name; name++) {
		char *text = ptx_assembly(*name, reduction_ptx, 256);

		cr_expect(has(text, "_dpp"), "%s:\n%s", *name, text);
		cr_expect(!has(text, "permute_b32") && !has(text, "ds_read") && !has(text, "ds_write") && !has(text, "ds_load") && !has(text, "ds_store"),
			  "%s:\n%s", *name, text);
		if (chip_named(*name).has_wave32)
			cr_expect(!has(text, "ds_") && has(text, "v_permlanex16"), "%s:\n%s", *name, text);
		free(text);
	}
}

Test(amd_code, local_memory_stays_out_of_local_data_share)
{
	/* which is the block's shared memory from its first byte on */
	char *text = ptx_assembly("gfx1100", KERNEL(".local .align 16 .b8 l[16]; ld.param.u64 %rd1, [p];"
						    "st.local.v2.b64 [l], {%rd1, %rd1}; st.local.v2.b8 [l], {%r1, %r1};"
						    "ld.local.v2.b64 {%rd2, %rd3}, [l]; st.global.v2.b64 [%rd1], {%rd2, %rd3};"), 32);

	cr_assert(has(text, "scratch_") && !has(text, "ds_"), "%s", text);
	free(text);
}

Test(amd_code, a_branch_on_what_all_lanes_share_is_scalar)
{
	for (const char *const *name = amd_tested_chips; *name; name++) {
		char *text = ptx_assembly(*name, loop_ptx, 256);

		cr_expect(has(text, "s_cbranch_scc"), "%s:\n%s", *name, text);
		cr_expect(!has(text, "s_cbranch_exec") && !has(text, "s_cbranch_vcc"), "%s:\n%s", *name, text);
		free(text);
	}
}

Test(amd_code, saturation_does_not_rely_on_what_a_clamp_makes_of_a_negative_zero)
{
	for (const char *const *name = amd_tested_chips; *name; name++) {
		char *text = ptx_assembly(*name, KERNEL(MY_PLACE "ld.global.f32 %f1, [%rd1]; mul.rn.sat.f32 %f1, %f1, %f1; st.global.f32 [%rd1], %f1;"), 256);

		/* gfx12 has no mode in which LLVM leaves it */
		cr_expect(strncmp(*name, "gfx12", 5) == 0 || !has(text, "clamp"), "%s:\n%s", *name, text);
		free(text);
	}
}

/* ---- modules: variants, limits, the cache ---- */

static struct hg_amd_module *amd_module_of(const struct hg_module *m, const char *chip_name, const unsigned char *key)
{
	struct hg_amd_chip chip = chip_named(chip_name);
	struct hg_amd_module *am;

	cr_assert_eq(hg_amd_module_create(hg_module_ir(m), key, &chip, &am), HG_OK);
	return am;
}

static const struct hg_amd_code *code_for(struct hg_amd_module *am, uint32_t threads)
{
	const struct hg_gpu_need need = { .block = { threads, 1, 1 } };
	const struct hg_amd_code *code;

	cr_assert_eq(hg_amd_code_get(am, 0, &need, &code), HG_OK, "%u threads", threads);
	return code;
}

Test(amd_module, code_says_what_a_launch_must_know)
{
	for (const char *const *name = amd_tested_chips; *name; name++) {
		struct hg_module *m = load_text(reduction_ptx);
		struct hg_amd_module *am = amd_module_of(m, *name, NULL);
		const struct hg_amd_code *code = code_for(am, 100);

		cr_expect_str_eq(code->symbol, "k");
		cr_expect_eq(code->layout, chip_named(*name).has_wave32 ? HG_GPU_WAVE32 : HG_GPU_PAIR);
		cr_expect_not(code->is_scheduled);
		cr_expect_eq(code->param_bytes, 12);
		cr_expect_eq(code->kernarg_bytes, 16 + sizeof(struct hg_gpu_env));
		cr_expect_eq(code->max_threads, 256);
		cr_expect(code->vgprs && code->sgprs && !code->vgpr_spills && !code->sgpr_spills && !code->scratch_bytes && !code->extra_lds);
		cr_expect_eq(code_for(am, 256), code, "the same code again");
		cr_expect_neq(code_for(am, 257), code);
		cr_expect_eq(code_for(am, 257)->max_threads, 1024);
		hg_amd_module_destroy(am);
		hg_module_free(m);
	}
}

static void expect_variant(struct hg_amd_module *am, uint32_t threads, enum hg_gpu_layout layout, bool is_scheduled, uint32_t max_threads)
{
	const struct hg_amd_code *code = code_for(am, threads);

	cr_expect_eq(code->layout, layout, "%u threads: %d", threads, (int)code->layout);
	cr_expect_eq(code->is_scheduled, is_scheduled, "%u threads", threads);
	cr_expect_eq(code->max_threads, max_threads, "%u threads: %u", threads, code->max_threads);
}

/* What a warp's lanes, or the warps of a wave, might wait for in each other decides the form. */
Test(amd_module, lanes_that_wait_for_each_other_get_scheduled_code)
{
	struct hg_module *m = load_text(lock_ptx);
	struct hg_amd_module *wave32 = amd_module_of(m, "gfx1100", NULL), *wave64 = amd_module_of(m, "gfx90a", NULL);

	expect_variant(wave32, 100, HG_GPU_WAVE32, true, 256);
	expect_variant(wave32, 1024, HG_GPU_WAVE32, true, 1024);
	expect_variant(wave64, 100, HG_GPU_HALF, true, 256);
	expect_variant(wave64, 512, HG_GPU_HALF, true, 512);
	expect_variant(wave64, 513, HG_GPU_PAIR, true, 1024);
	hg_amd_module_destroy(wave32);
	hg_amd_module_destroy(wave64);
	hg_module_free(m);
}

/* All lanes of a warp go the same way, those of the other warp of a wave perhaps another: each warp needs a wave, but no counters. */
Test(amd_module, warps_that_go_apart_get_a_wave_each)
{
	struct hg_module *m = load_text(KERNEL(MY_PLACE "ld.global.u32 %r3, [%rd1]; setp.eq.u32 %p1, %r3, 0; vote.sync.any.pred %p2, %p1, -1; @%p2 bra L;"
		STEP(16) "L: bar.sync 0; st.global.u32 [%rd1], %r3;"));
	struct hg_amd_module *wave32 = amd_module_of(m, "gfx1201", NULL), *wave64 = amd_module_of(m, "gfx942", NULL);

	expect_variant(wave32, 256, HG_GPU_WAVE32, false, 256);
	expect_variant(wave64, 256, HG_GPU_HALF, false, 256);
	expect_variant(wave64, 512, HG_GPU_HALF, false, 512);
	/* there is no room for so many waves */
	expect_variant(wave64, 1024, HG_GPU_PAIR, true, 1024);
	hg_amd_module_destroy(wave32);
	hg_amd_module_destroy(wave64);
	hg_module_free(m);
}

/* What holds of warps that are rows of their block is not used for other blocks. */
Test(amd_module, the_shape_of_the_block_counts)
{
	struct hg_module *m = load_text(KERNEL(MY_PLACE "ld.global.u32 %r3, [%rd1]; setp.gt.u32 %p1, %r2, 31; @%p1 bra L;" STEP(16)
		"L: bar.sync 0; st.global.u32 [%rd1], %r3;"));
	static const struct { uint32_t block[3]; bool is_scheduled; } want[] = {
		{ { 100, 1, 1 }, false }, { { 32, 8, 1 }, false }, { { 96, 2, 2 }, false }, { { 16, 2, 1 }, true }, { { 48, 1, 2 }, true },
	};
	struct hg_amd_module *am = amd_module_of(m, "gfx1100", NULL);

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct hg_gpu_need need = { 0 };
		const struct hg_amd_code *code;

		memcpy(need.block, want[i].block, sizeof(need.block));
		cr_assert_eq(hg_amd_code_get(am, 0, &need, &code), HG_OK);
		cr_expect_eq(code->is_scheduled, want[i].is_scheduled, "case %zu", i);
	}
	hg_amd_module_destroy(am);
	hg_module_free(m);
}

Test(amd_module, the_scheduled_form_can_be_asked_for)
{
	struct hg_module *m = load_text(saxpy_ptx);
	struct hg_amd_module *wave32 = amd_module_of(m, "gfx1030", NULL), *wave64 = amd_module_of(m, "gfx906", NULL);

	setenv("HGSHIM_GPU_FORM", "scheduled", 1);
	expect_variant(wave32, 256, HG_GPU_WAVE32, true, 256);
	expect_variant(wave64, 256, HG_GPU_HALF, true, 256);
	expect_variant(wave64, 1024, HG_GPU_PAIR, true, 1024);
	setenv("HGSHIM_GPU_FORM", "direct", 1);
	expect_variant(wave32, 256, HG_GPU_WAVE32, false, 256);
	expect_variant(wave64, 256, HG_GPU_PAIR, false, 256);
	hg_amd_module_destroy(wave32);
	hg_amd_module_destroy(wave64);
	hg_module_free(m);
}

Test(amd_module, what_a_kernel_says_of_its_blocks_bounds_its_code)
{
	struct hg_module *m = load_text(PTX_HEAD ".visible .entry k() .maxntid 100 { ret; }\n");
	struct hg_amd_module *am = amd_module_of(m, "gfx1100", NULL);
	const struct hg_gpu_need need = { .block = { 101, 1, 1 } };
	const struct hg_amd_code *code;

	cr_assert_eq(code_for(am, 64)->max_threads, 128);
	catch_messages();
	cr_assert_eq(hg_amd_code_get(am, 0, &need, &code), HG_ERR_UNSUPPORTED);
	cr_assert(strstr(last_message, "kernel 'k' is wanted for blocks of 101 threads, and takes 100 at most on gfx1100"), "%s", last_message);
	cr_assert_eq(hg_amd_code_get(am, 1, &need, &code), HG_ERR_NOTFOUND);
	hg_amd_module_destroy(am);
	hg_module_free(m);
}

Test(amd_module, a_kernel_with_too_much_shared_memory_is_refused_by_name)
{
	struct hg_module *m = load_text(PTX_HEAD ".visible .entry k() { .shared .align 4 .b8 s[70000]; .reg .b32 %r<3>; mov.u32 %r1, s; st.shared.u32 [%r1], %r1; ret; }\n");
	struct hg_amd_module *am = amd_module_of(m, "gfx90a", NULL);
	const struct hg_gpu_need need = { .block = { 64, 1, 1 } };
	const struct hg_amd_code *code;

	catch_messages();
	for (int i = 0; i < 2; i++) {
		last_message[0] = 0;
		cr_assert_eq(hg_amd_code_get(am, 0, &need, &code), HG_ERR_UNSUPPORTED);
		cr_assert(strstr(last_message, "kernel 'k' needs 70000 bytes of shared memory, and a block has 65536 on gfx90a"), "%s", last_message);
	}
	hg_amd_module_destroy(am);
	hg_module_free(m);
}

static size_t cache_files(const char *folder, bool make_old, bool *touched)
{
	DIR *d = opendir(folder);
	size_t n = 0;

	*touched = false;
	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		struct stat st;

		if (e->d_name[0] == '.')
			continue;
		n++;
		cr_assert_eq(fstatat(dirfd(d), e->d_name, &st, 0), 0);
		*touched |= st.st_mtime > 1000;
		if (make_old)
			cr_assert_eq(utimensat(dirfd(d), e->d_name, (struct timespec[2]){ { .tv_sec = 1000 }, { .tv_sec = 1000 } }, 0), 0);
	}
	if (d)
		closedir(d);
	return n;
}

Test(amd_module, code_is_kept_on_disk_by_chip_and_variant)
{
	static const unsigned char key[16] = "test";
	char folder[] = "/tmp/hgshim-test-XXXXXX", command[64];
	struct hg_module *m = load_text(saxpy_ptx);
	struct hg_amd_module *first, *second;
	const struct hg_amd_code *a, *b;
	bool touched;

	cr_assert(mkdtemp(folder));
	setenv("HGSHIM_CACHE", folder, 1);
	first = amd_module_of(m, "gfx1100", key);
	a = code_for(first, 256);
	cr_assert_eq(cache_files(folder, true, &touched), 1);
	second = amd_module_of(m, "gfx1100", key);
	b = code_for(second, 256);
	/* a file that is read is marked as used */
	cr_assert_eq(cache_files(folder, true, &touched), 1);
	cr_assert(touched);
	cr_assert(a->size == b->size && !memcmp(a->elf, b->elf, a->size));
	cr_assert(b->vgprs == a->vgprs && b->kernarg_bytes == a->kernarg_bytes && b->max_threads == 256);
	hg_amd_module_destroy(second);
	second = amd_module_of(m, "gfx1030", key);
	code_for(second, 256);
	cr_assert_eq(cache_files(folder, true, &touched), 2);
	code_for(second, 1024);
	cr_assert_eq(cache_files(folder, true, &touched), 3);
	hg_amd_module_destroy(second);
	setenv("HGSHIM_EMBED_IR", "1", 1);
	second = amd_module_of(m, "gfx1030", key);
	code_for(second, 1024);
	cr_assert_eq(cache_files(folder, true, &touched), 4);
	hg_amd_module_destroy(second);
	hg_amd_module_destroy(first);
	hg_module_free(m);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
}
