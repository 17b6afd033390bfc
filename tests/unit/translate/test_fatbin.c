/* test_fatbin.c - wrappers, fatbins and cubins, right and wrong ones. */
#include "tests/unit/translate/code_util.h"
#include "tests/unit/translate/image_util.h"

#include <elf.h>

static const char ptx_a[] = PTX_HEAD ".visible .entry a() { ret; }\n";
static const char ptx_b[] = ".version 9.0\n.target sm_90\n.visible .entry b() { ret; }\n";

static struct hg_module *load(const void *image, size_t size, uint32_t sm, enum hg_status want)
{
	struct hg_module *m = NULL;
	enum hg_status st = hg_module_load(image, size, sm, NULL, 0, &m);

	cr_expect_eq(st, want, "%s: %s", hg_status_text(st), last_message);
	return m;
}

Test(fatbin, every_packing_gives_the_same_kernel)
{
	catch_messages();
	for (enum packing how = RAW; how <= ZSTD; how++) {
		struct hg_writer w = { 0 };
		struct hg_module *m;

		begin(&w);
		add_entry(&w, HG_FATBIN_PTX, 75, ptx_a, sizeof(ptx_a), how);
		end(&w);
		m = load(w.data, w.size, 120, HG_OK);
		cr_assert(m);
		cr_expect_eq(hg_module_find_kernel(m, "a"), 0);
		hg_module_free(m);
		/* The same without being told the size. */
		cr_expect_eq(hg_image_size(w.data), w.size);
		m = load(w.data, 0, 120, HG_OK);
		hg_module_free(m);
		hg_writer_release(&w);
	}
}

Test(fatbin, the_highest_ptx_that_the_device_can_take_is_taken)
{
	static const char wrong[] = ".version 9.0\n.target sm_100\nnonsense\n";
	struct hg_writer w = { 0 };
	struct hg_module *m;

	catch_messages();
	begin(&w);
	add_entry(&w, HG_FATBIN_PTX, 90, ptx_b, sizeof(ptx_b), RAW);
	add_entry(&w, HG_FATBIN_PTX, 100, wrong, sizeof(wrong), ZSTD);
	add_entry(&w, HG_FATBIN_PTX, 75, ptx_a, sizeof(ptx_a), LZ4);
	end(&w);
	m = load(w.data, w.size, 80, HG_OK);
	cr_expect(m && hg_module_find_kernel(m, "a") == 0);
	hg_module_free(m);
	m = load(w.data, w.size, 90, HG_OK);
	cr_expect(m && hg_module_find_kernel(m, "b") == 0);
	hg_module_free(m);
	/* That of sm_100 does not parse: the next one serves, and nobody is bothered. */
	last_message[0] = 0;
	m = load(w.data, w.size, 120, HG_OK);
	cr_expect(m && hg_module_find_kernel(m, "b") == 0);
	cr_expect_str_empty(last_message);
	hg_module_free(m);
	load(w.data, w.size, 70, HG_ERR_UNSUPPORTED);
	cr_expect(strstr(last_message, "its PTX is for sm_75 and higher, and the device is sm_70"), "%s", last_message);
	hg_writer_release(&w);
}

Test(fatbin, a_text_with_fewer_refused_kernels_is_preferred)
{
	static const char newer[] = ".version 9.0\n.target sm_100\n.visible .entry a() { tcgen05.x; ret; }\n";
	struct hg_writer w = { 0 };
	struct hg_module *m;

	catch_messages();
	begin(&w);
	add_entry(&w, HG_FATBIN_PTX, 100, newer, sizeof(newer), RAW);
	add_entry(&w, HG_FATBIN_PTX, 75, ptx_a, sizeof(ptx_a), RAW);
	end(&w);
	m = load(w.data, w.size, 120, HG_OK);
	cr_assert(m);
	cr_expect_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
	hg_module_free(m);
	hg_writer_release(&w);
}

/* A cubin as far as names go: a section .nv.constant0.<kernel> for each kernel. */
static size_t make_cubin(char *out, size_t size)
{
	static const char names[] = "\0.shstrtab\0.nv.constant0.first\0.nv.constant0.second";
	Elf64_Ehdr eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 }, .e_machine = 190,
			  .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 4, .e_shstrndx = 1 };
	Elf64_Shdr sh[4] = { 0 };

	cr_assert(size >= sizeof(eh) + sizeof(names) + sizeof(sh));
	sh[1] = (Elf64_Shdr){ .sh_name = 1, .sh_type = SHT_STRTAB, .sh_offset = sizeof(eh), .sh_size = sizeof(names) };
	sh[2] = (Elf64_Shdr){ .sh_name = 11, .sh_type = SHT_PROGBITS, .sh_offset = sizeof(eh) };
	sh[3] = (Elf64_Shdr){ .sh_name = 31, .sh_type = SHT_PROGBITS, .sh_offset = sizeof(eh) };
	eh.e_shoff = sizeof(eh) + sizeof(names);
	memcpy(out, &eh, sizeof(eh));
	memcpy(out + sizeof(eh), names, sizeof(names));
	memcpy(out + eh.e_shoff, sh, sizeof(sh));
	return eh.e_shoff + sizeof(sh);
}

Test(fatbin, an_image_without_ptx_is_refused_by_the_names_of_its_kernels)
{
	struct hg_writer w = { 0 };
	char cubin[1024], log[512];
	struct hg_module *m = NULL;
	size_t size = make_cubin(cubin, sizeof(cubin));

	catch_messages();
	begin(&w);
	add_entry(&w, HG_FATBIN_ELF, 90, cubin, size, ZSTD);
	end(&w);
	cr_expect_eq(hg_module_load(w.data, w.size, 120, log, sizeof(log), &m), HG_ERR_UNSUPPORTED);
	cr_expect(strstr(log, "no PTX, only machine code, for 2 kernels: 'first', 'second'"), "%s", log);
	cr_expect(strstr(last_message, "'first', 'second'"), "%s", last_message);
	/* Bare */
	cr_expect_eq(hg_image_size(cubin), size);
	cr_expect_eq(hg_module_load(cubin, size, 120, log, sizeof(log), &m), HG_ERR_UNSUPPORTED);
	cr_expect(strstr(log, "'first', 'second'"), "%s", log);
	for (size_t n = 0; n < size; n++) {
		char *part = malloc(n ? n : 1), names[32];

		memcpy(part, cubin, n);
		cr_expect_eq(hg_cubin_kernels(part, n, names, sizeof(names)), 0);
		if (n)
			cr_expect_neq(hg_module_load(part, n, 120, NULL, 0, &m), HG_OK);
		free(part);
	}
	hg_writer_release(&w);
}

Test(fatbin, names_of_kernels_come_from_string_tables_only)
{
	char cubin[1024];
	size_t size = make_cubin(cubin, sizeof(cubin));
	Elf64_Shdr sh;
	Elf64_Ehdr eh;

	memcpy(&eh, cubin, sizeof(eh));
	memcpy(&sh, cubin + eh.e_shoff + sizeof(sh), sizeof(sh));
	sh.sh_type = SHT_NULL;	/* whose place in the file nobody checks */
	sh.sh_offset = UINT64_C(1) << 40;
	memcpy(cubin + eh.e_shoff + sizeof(sh), &sh, sizeof(sh));
	cr_expect_eq(hg_cubin_kernels(cubin, size, NULL, 0), 0);
}

Test(fatbin, names_that_do_not_fit_are_cut)
{
	char cubin[1024], names[12];
	size_t size = make_cubin(cubin, sizeof(cubin));

	cr_expect_eq(hg_cubin_kernels(cubin, size, names, sizeof(names)), 2);
	cr_expect(strlen(names) < sizeof(names));
	cr_expect_eq(hg_cubin_kernels(cubin, size, NULL, 0), 2);
}

Test(fatbin, a_wrapper_of_version_1_leads_to_its_fatbin)
{
	struct hg_writer w = { 0 };
	struct wrapper wrapper = { HG_FATBIN_WRAPPER_MAGIC, 1, NULL, NULL };
	struct hg_module *m;
	size_t flat_size;
	void *flat;

	catch_messages();
	begin(&w);
	add_entry(&w, HG_FATBIN_PTX, 75, ptx_a, sizeof(ptx_a), ZSTD);
	end(&w);
	wrapper.data = w.data;
	m = load(&wrapper, 0, 120, HG_OK);
	cr_expect(m && hg_module_find_kernel(m, "a") == 0);
	hg_module_free(m);
	cr_assert_eq(hg_image_flatten(&wrapper, 0, &flat, &flat_size), HG_OK);
	cr_expect(flat_size == w.size && !memcmp(flat, w.data, flat_size));
	free(flat);
	hg_writer_release(&w);
}

Test(fatbin, a_wrapper_of_version_2_is_linked_by_symbol)
{
	static const char user[] = PTX_HEAD
		".extern .func (.param .b32 r) helper(.param .b32 x);\n.extern .global .u32 shared_var;\n"
		".global .u32 own = 1;\n"
		".visible .entry k(.param .u64 p) { .reg .b32 %r<3>; .reg .b64 %rd<2>;\n"
		"{ .param .b32 x; .param .b32 r; st.param.b32 [x], 5; call (r), helper, (x); ld.param.b32 %r1, [r]; }\n"
		"ld.global.u32 %r2, [shared_var]; add.u32 %r1, %r1, %r2; ld.global.u32 %r2, [own];\n"
		"ld.param.u64 %rd1, [p]; st.global.v2.u32 [%rd1], {%r1, %r2}; ret; }\n";
	static const char library[] = PTX_HEAD
		".visible .global .u32 shared_var = 7;\n.global .u32 own = 2;\n"
		".visible .func (.param .b32 r) helper(.param .b32 x) { .reg .b32 %r<3>; ld.param.b32 %r1, [x];\n"
		"ld.global.u32 %r2, [own]; add.u32 %r1, %r1, %r2; st.param.b32 [r], %r1; ret; }\n";
	char cubin[1024];
	size_t cubin_size = make_cubin(cubin, sizeof(cubin)), flat_size, again_size;
	struct hg_writer a = { 0 }, b = { 0 }, linked = { 0 };
	const void *fatbins[3] = { 0 };
	struct wrapper wrapper = { HG_FATBIN_WRAPPER_MAGIC, 2, NULL, fatbins };
	struct hg_module *m, *n;
	unsigned char key[2][16];
	void *flat, *again;
	char *ir;

	catch_messages();
	begin(&a);
	add_entry(&a, HG_FATBIN_PTX, 75, user, sizeof(user), ZSTD);
	end(&a);
	begin(&b);
	add_entry(&b, HG_FATBIN_PTX, 75, library, sizeof(library), LZ4);
	end(&b);
	begin(&linked);
	add_entry(&linked, HG_FATBIN_ELF, 75, cubin, cubin_size, RAW);
	end(&linked);
	fatbins[0] = a.data;
	fatbins[1] = b.data;
	wrapper.data = linked.data;
	m = load(&wrapper, 0, 120, HG_OK);
	cr_assert(m);
	cr_assert_eq(hg_module_nr_kernels(m), 1);
	cr_expect_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
	cr_expect_eq(hg_module_nr_vars(m), 3);
	ir = ir_text(hg_module_ir(m));
	/* Each module's own variable stays its own. */
	cr_expect(strstr(ir, "&own.1+0x0") && strstr(ir, "&own.2+0x0") && strstr(ir, "&shared_var+0x0"), "%s", ir);
	free(ir);
	cr_assert_eq(hg_image_flatten(&wrapper, 0, &flat, &flat_size), HG_OK);
	cr_expect_eq(hg_image_size(flat), flat_size);
	n = load(flat, flat_size, 120, HG_OK);
	cr_assert(n);
	cr_expect(ir_equal(hg_module_ir(m), hg_module_ir(n)));
	hg_module_hash(m, key[0]);
	hg_module_hash(n, key[1]);
	cr_expect_arr_eq(key[0], key[1], 16);
	hg_module_free(n);
	hg_module_free(m);
	cr_assert_eq(hg_image_flatten(flat, 0, &again, &again_size), HG_OK);
	cr_expect(again_size == flat_size && !memcmp(flat, again, flat_size));
	free(again);
	for (size_t cut = 1; cut < flat_size; cut++) {
		unsigned char *part = malloc(cut);

		memcpy(part, flat, cut);
		m = NULL;
		cr_expect_neq(hg_module_load(part, cut, 120, NULL, 0, &m), HG_OK, "cut at %zu", cut);
		free(part);
	}
	free(flat);
	hg_writer_release(&a);
	hg_writer_release(&b);
	hg_writer_release(&linked);
}

Test(fatbin, a_wrapper_that_leads_nowhere_is_an_error)
{
	struct wrapper wrapper = { HG_FATBIN_WRAPPER_MAGIC, 1, (const void *)16, NULL };
	static const unsigned char garbage[64];
	struct hg_module *m = NULL;

	catch_messages();
	load(&wrapper, 0, 120, HG_ERR_CORRUPT);
	wrapper.data = NULL;
	load(&wrapper, 0, 120, HG_ERR_CORRUPT);
	wrapper.data = garbage;
	load(&wrapper, 0, 120, HG_ERR_CORRUPT);
	wrapper.version = 2;
	wrapper.data = NULL;
	wrapper.fatbins = (const void *)16;
	load(&wrapper, 0, 120, HG_ERR_CORRUPT);
	wrapper.version = 3;
	load(&wrapper, 0, 120, HG_ERR_VERSION);
	cr_expect_neq(hg_module_load(&wrapper, 8, 120, NULL, 0, &m), HG_OK);
}

Test(fatbin, bytes_cut_anywhere_or_changed_never_crash)
{
	struct hg_writer w = { 0 };
	struct hg_module *m;
	uint64_t seed = 7;

	catch_messages();
	begin(&w);
	add_entry(&w, HG_FATBIN_PTX, 90, ptx_b, sizeof(ptx_b), LZ4);
	add_entry(&w, HG_FATBIN_PTX, 75, ptx_a, sizeof(ptx_a), ZSTD);
	end(&w);
	for (size_t n = 1; n < w.size; n++) {
		unsigned char *part = malloc(n);

		memcpy(part, w.data, n);
		m = NULL;
		cr_expect_neq(hg_module_load(part, n, 120, NULL, 0, &m), HG_OK, "cut at %zu", n);
		free(part);
	}
	for (int round = 0; round < 20000; round++) {
		unsigned char *copy = malloc(w.size);

		memcpy(copy, w.data, w.size);
		for (int k = 0; k <= round % 4; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			copy[(seed >> 33) % w.size] = (unsigned char)(seed >> 20);
		}
		m = NULL;
		if (*(uint32_t *)(void *)copy != HG_FATBIN_WRAPPER_MAGIC && !hg_module_load(copy, w.size, 120, NULL, 0, &m))
			hg_module_free(m);
		free(copy);
	}
	for (int round = 0; round < 2000; round++) {
		unsigned char random[256];

		for (size_t i = 0; i < sizeof(random); i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			random[i] = (unsigned char)(seed >> 40);
		}
		m = NULL;
		if (!hg_module_load(random, sizeof(random), 120, NULL, 0, &m))
			hg_module_free(m);
	}
	hg_writer_release(&w);
}

Test(fatbin, a_length_that_lies_is_an_error)
{
	struct hg_writer w = { 0 };
	uint64_t huge = UINT64_C(1) << 62;
	uint32_t header = UINT32_MAX;

	catch_messages();
	begin(&w);
	add_entry(&w, HG_FATBIN_PTX, 75, ptx_a, sizeof(ptx_a), ZSTD);
	end(&w);
	memcpy(w.data + 16 + 8, &huge, 8);	/* the entry's payload */
	load(w.data, w.size, 120, HG_ERR_CORRUPT);
	memcpy(w.data + 16 + 4, &header, 4);	/* and its header */
	load(w.data, w.size, 120, HG_ERR_CORRUPT);
	memcpy(w.data + 8, &huge, 8);
	load(w.data, w.size, 120, HG_ERR_CORRUPT);
	hg_writer_release(&w);
}

Test(fatbin, compressed_data_that_promises_too_much_is_an_error)
{
	struct hg_writer w = { 0 };
	uint64_t huge = UINT64_C(1) << 40;

	catch_messages();
	begin(&w);
	add_entry(&w, HG_FATBIN_PTX, 75, ptx_a, sizeof(ptx_a), LZ4);
	end(&w);
	memcpy(w.data + 16 + 56, &huge, 8);
	load(w.data, w.size, 120, HG_ERR_CORRUPT);
	hg_writer_release(&w);
}
