/* test_code_load.c - the loader of compiled code: what it maps is what the compiler meant, and damaged files do no harm. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/translate/code_util.h"
#include "translate/code_load.h"
#include "translate/elf_object.h"
#include "translate/jit.h"

TestSuite(code_load, .timeout = 60);

/* A jump table, constants and a call: every kind of relocation that objects have. */
static const char kernel[] = ".version 9.0\n.target sm_80\n.address_size 64\n"
	".visible .entry k(.param .u64 p) {\n.reg .b32 %r<4>; .reg .f32 %f<4>; .reg .b64 %rd<4>;\n"
	"ld.param.u64 %rd1, [p]; ld.global.u32 %r1, [%rd1]; ld.global.f32 %f1, [%rd1+4]; cvt.rmi.f32.f32 %f1, %f1; sin.approx.f32 %f2, %f1;\n"
	"T: .branchtargets A, B, C, D, E; brx.idx %r1, T;\n"
	"A: add.f32 %f2, %f2, 0f40000000; bra E; B: mul.f32 %f2, %f2, 0f40400000; bra E; C: sub.f32 %f2, %f2, %f1; bra E;\n"
	"D: div.rn.f32 %f2, %f2, %f1; E: st.global.f32 [%rd1+8], %f2; ret; }\n";

static unsigned char *object_of(int tier, size_t *size)
{
	struct hg_module *m = load_text(kernel);
	void *object;

	cr_assert_eq(hg_cpu_kernel_object(hg_module_ir(m), 0, tier, false, &object, size), HG_OK);
	hg_module_free(m);
	return object;
}

static bool calls(const unsigned char *object, size_t size, const char *name)
{
	return memmem(object, size, name, strlen(name) + 1) != NULL;
}

Test(code_load, maps_what_the_compiler_makes_for_every_instruction_set)
{
	struct code_image image;
	unsigned char *object;
	size_t size;

	setenv("HGSHIM_ISA", "sse", 1);
	object = object_of(2, &size);
	cr_assert(calls(object, size, "floorf"), "nothing outside is called");
	cr_assert_eq(code_load(object, size, "kernel", &image), HG_OK);
	cr_assert(image.entry >= (uintptr_t)image.memory && image.entry < (uintptr_t)image.memory + image.size);
	code_unload(&image);
	cr_assert_null(image.memory);
	catch_messages();
	cr_assert_eq(code_load(object, size, "colonel", &image), HG_ERR_CORRUPT);
	cr_assert(strstr(last_message, "function"), "%s", last_message);
	free(object);
}

Test(code_load, refuses_what_nothing_defines)
{
	struct code_image image;
	unsigned char *object, *at;
	size_t size;

	setenv("HGSHIM_ISA", "sse", 1);
	object = object_of(2, &size);
	at = memmem(object, size, "floorf", 7);
	cr_assert_not_null(at);
	memcpy(at, "systemf", 6);
	catch_messages();
	cr_assert_eq(code_load(object, size, "kernel", &image), HG_ERR_CORRUPT);
	cr_assert(strstr(last_message, "nothing defines 'system'"), "%s", last_message);
	free(object);
}

static size_t loaded, refused;

/* Each byte of a part of the object changed in four ways, in a copy with nothing behind it. */
static void damage(const unsigned char *object, size_t size, size_t from, size_t to)
{
	static const unsigned char mask[] = { 1, 0x80, 0xff, 0x10 };
	unsigned char *copy = malloc(size);
	struct code_image image;

	memcpy(copy, object, size);
	for (size_t at = from; at < to; at++)
		for (size_t k = 0; k < sizeof(mask); k++) {
			copy[at] ^= mask[k];
			if (code_load(copy, size, "kernel", &image)) {
				refused++;
			} else {
				loaded++;
				code_unload(&image);
			}
			copy[at] ^= mask[k];
		}
	free(copy);
}

Test(code_load, damaged_files_do_no_harm)
{
	size_t size;
	unsigned char *object = object_of(1, &size), *copy;
	struct code_image image;
	Elf64_Shdr s;
	Elf64_Ehdr e;

	catch_messages();
	cr_assert(elf_object_open(object, size, &e));
	damage(object, size, 0, sizeof(e));
	damage(object, size, e.e_shoff, e.e_shoff + e.e_shnum * sizeof(s));
	for (size_t i = 0; i < e.e_shnum; i++) {
		cr_assert(elf_object_section(object, size, &e, i, &s));
		if (s.sh_type == SHT_RELA || s.sh_type == SHT_SYMTAB || s.sh_type == SHT_STRTAB)
			damage(object, size, s.sh_offset, s.sh_offset + s.sh_size);
	}
	cr_assert_gt(refused, 100);
	cr_assert_gt(loaded, 100);
	for (size_t n = 0; n < size; n += n < 2000 ? 1 : 97) {
		copy = malloc(n ? n : 1);
		memcpy(copy, object, n);
		cr_assert_eq(code_load(copy, n, "kernel", &image), HG_ERR_CORRUPT, "cut at %zu of %zu", n, size);
		free(copy);
	}
	free(object);
}
