/* test_link.c - cuLink: PTX, fatbins, objects and archives into one image. */
#include <ar.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver_test.h"

#define HEAD ".version 8.0\n.target sm_70\n.address_size 64\n"

static const char kernel_ptx[] = HEAD
	".extern .global .u32 factor;\n.extern .func (.param .b32 r) scale (.param .b32 x);\n"
	".visible .entry k(.param .u64 p) { .reg .b32 %r<3>; .reg .b64 %rd<2>; ld.param.u64 %rd1, [p]; ld.global.u32 %r1, [factor];\n"
	"{ .param .b32 i; .param .b32 o; st.param.b32 [i], %r1; call (o), scale, (i); ld.param.b32 %r2, [o]; }\n"
	"st.global.u32 [%rd1], %r2; ret; }\n";
/* weak: the strong one of the other file counts */
static const char weak_ptx[] = HEAD
	".visible .global .u32 factor = 7;\n"
	".weak .func (.param .b32 r) scale (.param .b32 x) { st.param.b32 [r], 1; ret; }\n";
static const char strong_ptx[] = HEAD
	".visible .func (.param .b32 r) scale (.param .b32 x) { .reg .b32 %a; ld.param.b32 %a, [x]; mul.lo.u32 %a, %a, 3; st.param.b32 [r], %a; ret; }\n";

static char log_text[1024];
static CUjit_option log_option[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
static void *log_value[2];

static CUlinkState begin(void)
{
	CUlinkState s;

	log_value[0] = log_text;
	log_value[1] = (void *)sizeof(log_text);
	MUST(CU(cuLinkCreate_v2)(2, log_option, log_value, &s));
	return s;
}

static CUresult add(CUlinkState s, CUjitInputType type, const void *data, size_t size, const char *name)
{
	return CU(cuLinkAddData_v2)(s, type, (void *)(uintptr_t)data, size, name, 0, NULL, NULL);
}

static uint32_t run(const void *image)
{
	CUdeviceptr out;
	void *params[] = { &out };
	uint32_t got = 0;
	CUmodule module;
	CUfunction f;

	MUST(CU(cuModuleLoadData)(&module, image));
	MUST(CU(cuMemAlloc_v2)(&out, 4));
	MUST(CU(cuModuleGetFunction)(&f, module, "k"));
	MUST(CU(cuLaunchKernel)(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	MUST(CU(cuMemcpyDtoH_v2)(&got, out, sizeof(got)));
	return got;
}

Test(link, modules_find_each_others_functions_and_variables)
{
	CUlinkState s;
	size_t size = 0;
	void *image;

	driver_begin();
	s = begin();
	MUST(add(s, CU_JIT_INPUT_PTX, kernel_ptx, sizeof(kernel_ptx), "kernel"));
	MUST(add(s, CU_JIT_INPUT_PTX, weak_ptx, sizeof(weak_ptx) - 1, "weak"));	/* without its NUL */
	MUST(add(s, CU_JIT_INPUT_PTX, strong_ptx, sizeof(strong_ptx), NULL));
	MUST(CU(cuLinkComplete)(s, &image, &size));
	cr_expect_gt(size, sizeof(kernel_ptx));
	cr_expect_eq(run(image), 21);
	GIVES(CUDA_ERROR_INVALID_VALUE, add(s, CU_JIT_INPUT_PTX, strong_ptx, sizeof(strong_ptx), "late"));
	MUST(CU(cuLinkDestroy)(s));
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuLinkDestroy)(s));
	hg_driver_close();
}

Test(link, errors_are_in_the_log_with_the_name_and_the_line)
{
	static const char bad[] = HEAD ".visible .entry k() {\n\tadd.u32 %r1, 2;\n}\n";
	CUlinkState s;
	void *image;

	driver_begin();
	s = begin();
	GIVES(CUDA_ERROR_INVALID_PTX, add(s, CU_JIT_INPUT_PTX, bad, sizeof(bad), "bad.ptx"));
	cr_expect(strstr(log_text, "bad.ptx: PTX line 5"), "%s", log_text);
	cr_expect_eq((size_t)log_value[1], strlen(log_text) + 1);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuLinkComplete)(s, &image, NULL));
	MUST(add(s, CU_JIT_INPUT_PTX, kernel_ptx, sizeof(kernel_ptx), "kernel"));
	GIVES(CUDA_ERROR_INVALID_IMAGE, CU(cuLinkComplete)(s, &image, NULL));
	cr_expect(strstr(log_text, "defined nowhere"), "%s", log_text);
	MUST(CU(cuLinkDestroy)(s));

	s = begin();
	MUST(add(s, CU_JIT_INPUT_PTX, strong_ptx, sizeof(strong_ptx), "a"));
	MUST(add(s, CU_JIT_INPUT_PTX, strong_ptx, sizeof(strong_ptx), "b"));
	GIVES(CUDA_ERROR_INVALID_IMAGE, CU(cuLinkComplete)(s, &image, NULL));
	cr_expect(strstr(log_text, "'scale' is defined twice"), "%s", log_text);
	GIVES(CUDA_ERROR_FILE_NOT_FOUND, CU(cuLinkAddFile_v2)(s, CU_JIT_INPUT_PTX, "/nonexistent/x.ptx", 0, NULL, NULL));
	cr_expect(strstr(log_text, "/nonexistent/x.ptx: cannot be read"), "%s", log_text);
	GIVES(CUDA_ERROR_NOT_SUPPORTED, add(s, CU_JIT_INPUT_NVVM, bad, sizeof(bad), "lto"));
	GIVES(CUDA_ERROR_INVALID_IMAGE, add(s, CU_JIT_INPUT_LIBRARY, bad, sizeof(bad), "lib"));
	MUST(CU(cuLinkDestroy)(s));
	hg_driver_close();
}

/* A fatbin of one PTX, as FACTS of fatbin.h has it; then in an object file, then in an archive. */
static size_t put_fatbin(unsigned char *to, const char *text)
{
	size_t size = strlen(text) + 1, padded = (size + 7) & ~(size_t)7;
	struct { uint32_t magic; uint16_t version, head; uint64_t size; } h = { 0xba55ed50, 1, 16, 64 + padded };
	unsigned char e[64] = { [0] = 1, [2] = 1, [3] = 1, [4] = 64, [28] = 70, [32] = 64 };

	e[8] = (unsigned char)padded;
	e[9] = (unsigned char)(padded >> 8);
	e[22] = 8;	/* PTX 8.0 */
	memcpy(to, &h, 16);
	memcpy(to + 16, e, 64);
	memset(to + 80, 0, padded);
	memcpy(to + 80, text, size);
	return 80 + padded;
}

static size_t put_object(unsigned char *to, const char *text)
{
	static const char names[] = "\0.shstrtab\0__nv_relfatbin";
	Elf64_Ehdr e = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 }, .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 3,
			 .e_shstrndx = 1 };
	Elf64_Shdr sh[3] = { 0 };
	size_t at = sizeof(e) + sizeof(names) + 7;

	at &= ~(size_t)7;
	memcpy(to + sizeof(e), names, sizeof(names));
	sh[1] = (Elf64_Shdr){ .sh_name = 1, .sh_type = SHT_STRTAB, .sh_offset = sizeof(e), .sh_size = sizeof(names) };
	sh[2] = (Elf64_Shdr){ .sh_name = 11, .sh_type = SHT_PROGBITS, .sh_offset = at };
	sh[2].sh_size = put_fatbin(to + at, text);
	at += sh[2].sh_size;
	e.e_shoff = at;
	memcpy(to, &e, sizeof(e));
	memcpy(to + at, sh, sizeof(sh));
	return at + sizeof(sh);
}

Test(link, object_files_and_archives_give_their_fatbins)
{
	static unsigned char file[8192];
	char path[] = "/tmp/hgshim-test-XXXXXX";
	size_t size = SARMAG, n;
	CUlinkState s;
	void *image;
	int fd;

	driver_begin();
	memcpy(file, ARMAG, SARMAG);
	for (int i = 0; i < 2; i++) {
		struct ar_hdr *h = (struct ar_hdr *)(file + size);
		char digits[16];

		n = put_object(file + size + sizeof(*h), i ? strong_ptx : weak_ptx);
		memset(h, ' ', sizeof(*h));
		snprintf(digits, sizeof(digits), "%-10zu", n);
		memcpy(h->ar_size, digits, 10);
		memcpy(h->ar_fmag, ARFMAG, 2);
		size += sizeof(*h) + ((n + 1) & ~(size_t)1);
	}
	fd = mkstemp(path);
	cr_assert(fd >= 0 && write(fd, file, size) == (ssize_t)size);
	close(fd);
	s = begin();
	MUST(CU(cuLinkAddFile_v2)(s, CU_JIT_INPUT_LIBRARY, path, 0, NULL, NULL));
	unlink(path);
	n = put_object(file, kernel_ptx);
	MUST(add(s, CU_JIT_INPUT_OBJECT, file, n, "kernel.o"));
	MUST(CU(cuLinkComplete)(s, &image, NULL));
	cr_expect_eq(run(image), 21);
	MUST(CU(cuLinkDestroy)(s));

	/* cut off anywhere: an error, or nothing in it */
	n = put_object(file, kernel_ptx);
	for (size_t cut = 1; cut < n; cut += 37) {
		unsigned char *copy = malloc(cut);

		s = begin();
		memcpy(copy, file, cut);
		(void)add(s, CU_JIT_INPUT_OBJECT, copy, cut, "cut.o");
		free(copy);
		MUST(CU(cuLinkDestroy)(s));
	}
	n = put_fatbin(file, kernel_ptx);
	s = begin();
	MUST(add(s, CU_JIT_INPUT_FATBINARY, file, n, "fatbin"));
	MUST(add(s, CU_JIT_INPUT_FATBINARY, file, n + 16, "with something behind it"));
	GIVES(CUDA_ERROR_INVALID_PTX, add(s, CU_JIT_INPUT_FATBINARY, file, n - 1, "cut off"));
	GIVES(CUDA_ERROR_INVALID_PTX, add(s, CU_JIT_INPUT_FATBINARY, file, 4, "no more than its first word"));
	MUST(CU(cuLinkDestroy)(s));
	hg_driver_close();
}

Test(link, nothing_is_read_beyond_what_the_caller_says)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *end = p + 2 * page;
	static unsigned char file[4096];
	size_t n = put_object(file, kernel_ptx);
	Elf64_Ehdr e;
	Elf64_Shdr names;
	CUlinkState s;

	cr_assert(p != MAP_FAILED && !mprotect(end, page, PROT_NONE));
	driver_begin();
	s = begin();
	/* text is no fatbin, and has no NUL here */
	memset(end - 32, ' ', 32);
	memcpy(end - 32, ".version", 8);
	GIVES(CUDA_ERROR_INVALID_IMAGE, add(s, CU_JIT_INPUT_FATBINARY, end - 32, 32, "text"));
	GIVES(CUDA_ERROR_INVALID_IMAGE, add(s, CU_JIT_INPUT_FATBINARY, end - 1, 1, "a byte"));
	/* sections' names that lie in no file */
	memcpy(&e, file, sizeof(e));
	memcpy(&names, file + e.e_shoff + sizeof(names), sizeof(names));
	names.sh_type = SHT_NOBITS;
	names.sh_offset = UINT64_C(1) << 40;
	memcpy(file + e.e_shoff + sizeof(names), &names, sizeof(names));
	GIVES(CUDA_ERROR_INVALID_IMAGE, add(s, CU_JIT_INPUT_OBJECT, file, n, "names.o"));
	cr_expect(strstr(log_text, "names.o: no object file"), "%s", log_text);
	MUST(CU(cuLinkDestroy)(s));
	hg_driver_close();
}
