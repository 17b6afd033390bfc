/* test_index.c - what an image holds, found without translating it. */
#include "tests/unit/translate/code_util.h"
#include "tests/unit/translate/image_util.h"

#include <elf.h>
#include <glob.h>

#include "translate/index.h"
#include "translate/texture.h"

static struct hg_image_index *index_of(const void *image, size_t size)
{
	struct hg_image_index *x = NULL;
	enum hg_status st = hg_image_index(image, size, &x);

	cr_assert_eq(st, HG_OK, "%s: %s", hg_status_text(st), last_message);
	return x;
}

static const struct hg_index_var *var_of(const struct hg_image_index *x, const char *name)
{
	for (size_t i = 0; i < x->nr_vars; i++)
		if (!strcmp(x->vars[i].name, name))
			return &x->vars[i];
	return NULL;
}

/* "size@offset" for each parameter, '*' for a pointer, and the size of all. */
static const char *layout(const struct hg_image_index *x, const char *kernel)
{
	const struct hg_index_kernel *k = hg_image_index_kernel(x, kernel);
	static char text[512];
	size_t used = 0;

	if (!k)
		return "no such kernel";
	if (!k->params_known)
		return k->nr_params || k->params || k->param_bytes ? "unknown, but there" : "unknown";
	for (uint32_t i = 0; i < k->nr_params && used < sizeof(text); i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%u@%u%s ", k->params[i].size, k->params[i].offset,
					 k->params[i].is_pointer ? "*" : "");
	snprintf(text + used, sizeof(text) - used, "= %u", k->param_bytes);
	return text;
}

/* --- PTX ------------------------------------------------------------------------------------- */
static void expect_as_parsed(const char *file, const char *text, size_t size)
{
	struct hg_image_index *x = index_of(text, size);
	struct hg_module *m = NULL;
	size_t nr_references = 0;

	cr_assert_eq(hg_module_load(text, size, 121, NULL, 0, &m), HG_OK, "%s: %s", file, last_message);
	cr_expect_eq(x->nr_ptx, 1);
	cr_expect_eq(x->nr_kernels, hg_module_nr_kernels(m), "%s", file);
	for (size_t i = 0; i < hg_module_nr_kernels(m); i++) {
		const struct hg_kernel_info *want = hg_module_kernel(m, i);
		const struct hg_index_kernel *got = hg_image_index_kernel(x, want->name);

		cr_assert(got, "%s: no kernel '%s'", file, want->name);
		cr_expect(got->has_ptx && !got->has_sass && got->params_known);
		cr_assert_eq(got->nr_params, want->nr_params, "%s: %s", file, want->name);
		cr_expect_eq(got->param_bytes, want->param_bytes, "%s: %s", file, want->name);
		for (uint32_t p = 0; p < want->nr_params; p++)
			cr_expect(got->params[p].offset == want->params[p].offset &&
				  got->params[p].size == want->params[p].size &&
				  got->params[p].align == want->params[p].align, "%s: %s, parameter %u", file, want->name, p);
	}
	for (size_t i = 0; i < hg_module_nr_vars(m); i++) {
		const struct hg_var_info *want = hg_module_var(m, i);
		const struct hg_index_var *got = var_of(x, want->name);

		/* textures, samplers and surfaces are variables here, and none for NVIDIA's driver */
		if (want->size == HG_TEXTURE_REFERENCE_BYTES) {
			nr_references++;
			cr_expect(!got, "%s: %s", file, want->name);
			continue;
		}
		cr_assert(got, "%s: no variable '%s'", file, want->name);
		cr_expect(got->size == want->size && got->is_const == want->is_const && got->is_visible == want->is_visible,
			  "%s: %s", file, want->name);
	}
	cr_expect_eq(x->nr_vars + nr_references, hg_module_nr_vars(m), "%s", file);
	hg_module_free(m);
	hg_image_index_free(x);
}

Test(index, agrees_with_the_parser_on_all_ptx_at_hand)
{
	const char *top = getenv("HG_TOP");
	char pattern[512];
	glob_t g;

	catch_messages();
	snprintf(pattern, sizeof(pattern), "%s%stests/ptx/*.ptx", top ? top : "", top ? "/" : "");
	cr_assert_eq(glob(pattern, 0, NULL, &g), 0, "%s", pattern);
	cr_expect_geq(g.gl_pathc, 10);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		const char *name = g.gl_pathv[i] + (top ? strlen(top) + 1 : 0);
		size_t size;
		char *text = read_test_file(name, &size);

		expect_as_parsed(name, text, size);
		free(text);
	}
	globfree(&g);
}

Test(index, declarations_of_every_form_are_read)
{
	static const char text[] = "// a comment before\n" PTX_HEAD
		".global .align 8 .b8 bytes[24];\n"
		".visible .global .v4 .f32 vec[2][3];\n"
		".weak .const .align 4 .b8 table[8] = {1, 2, 3, 4, 5, 6, 7, 8};\n"
		".global .attribute(.managed) .align 4 .u32 shared_with_host = 3;\n"
		".global .u64 self = generic(bytes), other[2] = {bytes, bytes+8}, third;\n"
		".extern .global .u32 elsewhere;\n.extern .shared .align 16 .b8 dyn[];\n.shared .b32 s[4];\n"
		".common .global .f64 pool;\n"
		".global .texref tex; .tex .u32 old;\n"
		".global .u16 hex[0x10];\n"
		".visible .entry forms(.param .u8 a, .param .align 16 .b8 b[20], .param .u64 .ptr .global .align 8 c,\n"
		"  .param .u64 .ptr .shared .align 4 d, .param .v2 .f32 e, .param .f16x2 f, .param .b128 g)\n"
		".maxntid 1, 2, 3 .pragma \"nounroll\"; .minnctapersm 2\n{ ret; }\n"
		".entry none { ret; }\n.entry empty() { ret; }\n";
	struct hg_image_index *x;

	catch_messages();
	x = index_of(text, 0);
	cr_expect_eq(x->nr_kernels, 3);
	cr_expect_str_eq(layout(x, "forms"), "1@0 20@16 8@40* 8@48 8@56 4@64 16@80 = 96");
	cr_expect_str_eq(layout(x, "none"), "= 0");
	cr_expect_str_eq(layout(x, "empty"), "= 0");
	cr_expect_str_eq(layout(x, "nowhere"), "no such kernel");
	cr_expect_eq(x->nr_vars, 9);
	cr_assert(var_of(x, "bytes") && var_of(x, "vec") && var_of(x, "table") && var_of(x, "shared_with_host") &&
		  var_of(x, "self") && var_of(x, "other") && var_of(x, "third") && var_of(x, "pool") && var_of(x, "hex"));
	cr_expect_eq(var_of(x, "bytes")->size, 24);
	cr_expect(!var_of(x, "bytes")->is_visible && !var_of(x, "bytes")->is_managed);
	cr_expect(var_of(x, "vec")->size == 96 && var_of(x, "vec")->is_visible);
	cr_expect(var_of(x, "table")->size == 8 && var_of(x, "table")->is_const && var_of(x, "table")->is_visible);
	cr_expect(var_of(x, "shared_with_host")->is_managed && var_of(x, "shared_with_host")->size == 4);
	cr_expect_eq(var_of(x, "other")->size, 16);
	cr_expect_eq(var_of(x, "third")->size, 8);
	cr_expect_eq(var_of(x, "hex")->size, 32);
	for (size_t i = 1; i < x->nr_vars; i++)
		cr_expect_lt(strcmp(x->vars[i - 1].name, x->vars[i].name), 0);
	hg_image_index_free(x);
}

Test(index, bodies_are_skipped_whatever_is_in_them)
{
	static const char text[] = PTX_HEAD
		".section .debug_str { .b8 123, 125 }\n@@DWARF .byte }\n"
		".file 1 \"a}b{c.cu\"\n"
		".func helper(.param .u32 x) { // }\n /* } /* { */ { call (r), other, (x); } ret; }\n"
		".visible .entry a() { .pragma \"}}\"; { mov.b64 {%r1, %r2}, %rd1; } /* .entry hidden() {} */\n"
		"// .entry hidden2() { ret;\n .loc 1 2 3\n ret; }\n"
		".func (.param .b32 r) proto(.param .b32 p) .noreturn;\n.entry later();\n"
		"/* .entry hidden3() { ret; } */\n"
		".visible .entry b() { div.rn.f32 %f1, %f2, 4/2; ret; }";
	struct hg_image_index *x;

	catch_messages();
	x = index_of(text, sizeof(text));
	cr_expect_eq(x->nr_kernels, 2);
	cr_expect(hg_image_index_kernel(x, "a") && hg_image_index_kernel(x, "b"));
	hg_image_index_free(x);
	/* Not even looked at. */
	x = index_of(PTX_HEAD ".entry k(.param .u32 n) { tcgen99.nonsense %x; $$$ } .entry l() {ret;}", 0);
	cr_expect_str_eq(layout(x, "k"), "4@0 = 4");
	cr_expect_eq(x->nr_kernels, 2);
	hg_image_index_free(x);
}

Test(index, malloc_is_noticed_where_it_is_called)
{
	static const char declare[] = PTX_HEAD ".extern .func (.param .b64 func_retval0) malloc(.param .b64 malloc_param_0);\n";
	struct hg_image_index *x;
	char text[512];

	catch_messages();
	snprintf(text, sizeof(text), "%s.entry k() { mov.u32 %%r1, mymalloc; mov.u32 %%r1, malloc_2; ret; }", declare);
	x = index_of(text, 0);
	cr_expect(!x->uses_malloc);
	hg_image_index_free(x);
	snprintf(text, sizeof(text), "%s.entry k() { call.uni (r), malloc, (s); ret; }", declare);
	x = index_of(text, 0);
	cr_expect(x->uses_malloc);
	hg_image_index_free(x);
}

Test(index, parameters_of_a_type_of_the_future_are_unknown)
{
	struct hg_image_index *x;

	catch_messages();
	x = index_of(PTX_HEAD ".global .b9 odd[3]; .entry k(.param .u32 a, .param .b9 x[(3)], .param .u32 c) { ret; }\n"
		     ".entry l(.param .u32 a) { ret; }", 0);
	cr_expect_str_eq(layout(x, "k"), "unknown");
	cr_expect_str_eq(layout(x, "l"), "4@0 = 4");
	cr_assert(var_of(x, "odd"));
	cr_expect_eq(var_of(x, "odd")->size, 0);
	hg_image_index_free(x);
}

Test(index, text_cut_anywhere_is_an_error_or_a_shorter_text)
{
	static const char text[] = PTX_HEAD ".global .u32 v[2] = {1, 2};\n"
		".entry k(.param .u64 p) { /* { */ ret; }\n.visible .entry l() { ret; }";
	struct hg_image_index *x;

	catch_messages();
	for (size_t n = 1; n < sizeof(text) - 1; n++) {
		char *part = malloc(n);

		memcpy(part, text, n);
		x = NULL;
		if (!hg_image_index(part, n, &x)) {
			cr_expect_lt(x->nr_kernels, 2, "cut at %zu", n);
			hg_image_index_free(x);
		} else {
			cr_expect_null(x);
		}
		free(part);
	}
	cr_expect_eq(hg_image_index(PTX_HEAD ".entry k() { ret;", 0, &x), HG_ERR_CORRUPT);
	cr_expect(strstr(last_message, "it ends within braces"), "%s", last_message);
	cr_expect_eq(hg_image_index(PTX_HEAD ".entry k() { /* } ", 0, &x), HG_ERR_CORRUPT);
	cr_expect_eq(hg_image_index(PTX_HEAD ".global .u32 x = 3", 0, &x), HG_ERR_CORRUPT);
	cr_expect_eq(hg_image_index("// nothing\n.visible", 0, &x), HG_ERR_CORRUPT);
	cr_expect_eq(hg_image_index("nonsense", 0, &x), HG_ERR_INVALID);
}

/* --- cubins ---------------------------------------------------------------------------------- */
/* Attributes of a kernel as the machine-code compiler writes them. */
static void attr_param(struct hg_writer *w, uint16_t ordinal, uint16_t offset, uint32_t size)
{
	hg_write_u8(w, 4);
	hg_write_u8(w, size < 1 << 14 ? 0x17 : 0x45);
	hg_write_u16(w, 12);
	hg_write_u32(w, 0);
	hg_write_u16(w, ordinal);
	hg_write_u16(w, offset);
	hg_write_u32(w, size < 1 << 14 ? size << 18 | 0x1f000 : size);
}

static void attr_value(struct hg_writer *w, uint8_t attr, uint16_t value)
{
	hg_write_u8(w, 3);
	hg_write_u8(w, attr);
	hg_write_u16(w, value);
}

/* (char, int *, 16 bytes) */
static void attr_usual(struct hg_writer *w)
{
	static const unsigned char bank[8] = { 22, 0, 0, 0, 0x60, 1, 32, 0 };

	attr_value(w, 0x1b, 255);
	attr_param(w, 2, 16, 16);
	attr_param(w, 1, 8, 8);
	attr_param(w, 0, 0, 1);
	attr_value(w, 0x19, 32);
	hg_write_u8(w, 4);
	hg_write_u8(w, 0x0a);
	hg_write_u16(w, sizeof(bank));
	hg_write_bytes(w, bank, sizeof(bank));
}

/*
 * A cubin with the kernels "both" and "sass", described by `info`, a device function, variables, and a reference to
 * malloc if wanted. Its symbols may be left out.
 */
static void make_cubin(struct hg_writer *out, const struct hg_writer *info, bool has_symbols, bool has_malloc)
{
	static const char *const section_names[] = {
		"", ".strtab", ".symtab", ".nv.info.both", ".nv.info.sass", ".text.both", ".text.sass", ".text.func",
		".nv.global", ".nv.constant3", ".nv.constant0.both", ".nv.constant0.sass",
	};
	enum { NR = sizeof(section_names) / sizeof(section_names[0]) };
	static const struct { const char *name; unsigned char type, bind, other; uint16_t section; uint64_t size; } symbols[] = {
		{ "", 0, 0, 0, 0, 0 }, { "static_var", STT_OBJECT, STB_LOCAL, 0, 8, 4 },
		{ "both", STT_FUNC, STB_GLOBAL, 0x10, 5, 64 }, { "sass", STT_FUNC, STB_GLOBAL, 0x10, 6, 64 },
		{ "func", STT_FUNC, STB_GLOBAL, 0, 7, 64 }, { "only_sass_var", STT_OBJECT, STB_GLOBAL, 4, 8, 12 },
		{ "both_var", STT_OBJECT, STB_GLOBAL, 0, 9, 99 }, { ".nv.reserved", STT_OBJECT, STB_WEAK, 0, 8, 4 },
		{ "outside", STT_OBJECT, STB_GLOBAL, 0, 0, 4 }, { "in_text", STT_OBJECT, STB_GLOBAL, 0, 7, 4 },
		{ "malloc", STT_FUNC, STB_GLOBAL, 0, 0, 0 },
	};
	size_t nr_symbols = sizeof(symbols) / sizeof(symbols[0]) - !has_malloc;
	Elf64_Ehdr eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 }, .e_machine = 190,
			  .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = NR, .e_shstrndx = 1 };
	struct hg_writer strings = { 0 }, table = { 0 }, w = { 0 };
	Elf64_Shdr sh[NR] = { 0 };

	for (int i = 0; i < NR; i++) {
		sh[i].sh_name = (uint32_t)strings.size;
		hg_write_bytes(&strings, section_names[i], strlen(section_names[i]) + 1);
	}
	for (size_t i = 0; i < nr_symbols; i++) {
		Elf64_Sym sym = { .st_name = (uint32_t)strings.size, .st_other = symbols[i].other,
				  .st_info = ELF64_ST_INFO(symbols[i].bind, symbols[i].type),
				  .st_shndx = symbols[i].section, .st_size = symbols[i].size };

		hg_write_bytes(&strings, symbols[i].name, strlen(symbols[i].name) + 1);
		hg_write_bytes(&table, &sym, sizeof(sym));
	}
	hg_write_bytes(&w, &eh, sizeof(eh));
	for (int i = 1; i < NR; i++) {
		const struct hg_writer *from = i == 1 ? &strings : i == 2 ? &table : i <= 4 ? info : NULL;

		sh[i].sh_type = i == 1 ? SHT_STRTAB : i == 2 ? SHT_SYMTAB : i <= 4 ? 0x70000000 : i == 8 ? SHT_NOBITS : SHT_PROGBITS;
		if (i == 2 && !has_symbols)
			sh[i].sh_type = SHT_NOTE;
		sh[i].sh_link = i == 2;
		sh[i].sh_offset = w.size;
		if (!from)
			continue;
		sh[i].sh_size = from->size;
		hg_write_bytes(&w, from->data, from->size);
	}
	eh.e_shoff = w.size;
	memcpy(w.data, &eh, sizeof(eh));
	hg_write_bytes(&w, sh, sizeof(sh));
	hg_writer_release(&strings);
	hg_writer_release(&table);
	*out = w;
}

Test(index, a_cubin_gives_kernels_parameters_and_variables)
{
	struct hg_writer info = { 0 }, w;
	struct hg_image_index *x;

	catch_messages();
	attr_usual(&info);
	make_cubin(&w, &info, true, false);
	x = index_of(w.data, 0);
	cr_expect(x->nr_sass == 1 && !x->nr_ptx && !x->nr_lto && !x->uses_malloc && !x->nr_unread);
	cr_assert_eq(x->nr_kernels, 2);
	cr_expect_str_eq(layout(x, "both"), "1@0 8@8 16@16 = 32");
	cr_expect_str_eq(layout(x, "sass"), "1@0 8@8 16@16 = 32");
	cr_expect(x->kernels[0].has_sass && !x->kernels[0].has_ptx);
	cr_assert_eq(x->nr_vars, 3);
	cr_expect_str_eq(x->vars[0].name, "both_var");
	cr_expect(x->vars[0].is_const && x->vars[0].size == 99 && !x->vars[0].is_managed);
	cr_expect_str_eq(x->vars[1].name, "only_sass_var");
	cr_expect(!x->vars[1].is_const && x->vars[1].is_visible && x->vars[1].is_managed && x->vars[1].size == 12);
	cr_expect_str_eq(x->vars[2].name, "static_var");
	cr_expect(!x->vars[2].is_visible);
	hg_image_index_free(x);
	hg_writer_release(&w);

	make_cubin(&w, &info, true, true);
	x = index_of(w.data, w.size);
	cr_expect(x->uses_malloc);
	hg_image_index_free(x);
	hg_writer_release(&w);

	/* Stripped: the sections still name the kernels. */
	make_cubin(&w, &info, false, false);
	x = index_of(w.data, w.size);
	cr_expect_str_eq(layout(x, "sass"), "1@0 8@8 16@16 = 32");
	cr_expect_eq(x->nr_kernels, 2);
	hg_image_index_free(x);
	hg_writer_release(&w);
	hg_writer_release(&info);
}

static void expect_layout(struct hg_writer *info, const char *want)
{
	struct hg_image_index *x;
	struct hg_writer w;

	make_cubin(&w, info, true, false);
	x = index_of(w.data, w.size);
	cr_expect_str_eq(layout(x, "sass"), want);
	hg_image_index_free(x);
	hg_writer_release(&w);
	hg_writer_release(info);
}

Test(index, a_kernel_of_a_cubin_may_have_no_or_large_parameters)
{
	struct hg_writer info = { 0 };

	catch_messages();
	attr_value(&info, 0x1b, 255);
	expect_layout(&info, "= 0");
	attr_param(&info, 1, 20000, 8);
	attr_param(&info, 0, 0, 20000);
	attr_value(&info, 0x19, 20008);
	expect_layout(&info, "20000@0 8@20000 = 20008");
}

Test(index, metadata_that_makes_no_sense_is_no_layout)
{
	struct hg_writer info = { 0 };

	catch_messages();
	attr_value(&info, 0x19, 8);		/* a size, and no parameter */
	expect_layout(&info, "unknown");
	attr_param(&info, 0, 0, 8);		/* and the other way round */
	expect_layout(&info, "unknown");
	attr_param(&info, 0, 0, 8);		/* twice */
	attr_param(&info, 0, 8, 8);
	attr_value(&info, 0x19, 16);
	expect_layout(&info, "unknown");
	attr_param(&info, 0, 0, 8);		/* a hole */
	attr_param(&info, 2, 8, 8);
	attr_value(&info, 0x19, 16);
	expect_layout(&info, "unknown");
	attr_param(&info, 0, 0, 8);		/* over each other */
	attr_param(&info, 1, 4, 8);
	attr_value(&info, 0x19, 16);
	expect_layout(&info, "unknown");
	attr_param(&info, 0, 0, 8);		/* larger than the block */
	attr_value(&info, 0x19, 7);
	expect_layout(&info, "unknown");
	attr_param(&info, 65535, 0, 8);
	attr_value(&info, 0x19, 8);
	expect_layout(&info, "unknown");
	attr_usual(&info);			/* cut */
	info.size -= 3;
	expect_layout(&info, "unknown");
	attr_usual(&info);			/* an attribute that is too short for what it says */
	hg_write_u8(&info, 4);
	hg_write_u8(&info, 0x17);
	hg_write_u16(&info, 4);
	hg_write_u32(&info, 0);
	expect_layout(&info, "unknown");
}

/* --- images ---------------------------------------------------------------------------------- */
static const char ptx_old[] = PTX_HEAD ".visible .const .align 4 .b8 both_var[20];\n"
	".visible .entry both(.param .u8 a, .param .u64 .ptr .global p, .param .align 16 .b8 s[16]) { ret; }\n"
	".entry text(.param .u32 n) { ret; }\n";
static const char ptx_new[] = ".version 9.0\n.target sm_100\n.entry newer() { ret; }\n.entry text(.param .u32 n) { ret; }\n";

static void make_fatbin(struct hg_writer *w)
{
	struct hg_writer info = { 0 }, cubin;

	attr_usual(&info);
	make_cubin(&cubin, &info, true, true);
	begin(w);
	add_entry(w, HG_FATBIN_ELF, 75, cubin.data, cubin.size, ZSTD);
	add_entry(w, HG_FATBIN_ELF, 90, cubin.data, cubin.size, LZ4);
	add_entry(w, HG_FATBIN_PTX, 75, ptx_old, sizeof(ptx_old), LZ4);
	add_entry(w, HG_FATBIN_PTX, 100, ptx_new, sizeof(ptx_new), ZSTD);
	add_entry(w, HG_FATBIN_LTO, 100, "BC", 2, RAW);
	add_entry(w, 77, 100, "unheard of", 10, RAW);
	end(w);
	hg_writer_release(&info);
	hg_writer_release(&cubin);
}

static void expect_fatbin(const struct hg_image_index *x)
{
	const struct hg_index_kernel *k;

	cr_expect_eq(x->nr_sass, 2);
	cr_expect_eq(x->nr_ptx, 2);
	cr_expect_eq(x->nr_lto, 1);
	cr_expect(x->uses_malloc);
	cr_assert_eq(x->nr_kernels, 4);
	for (size_t i = 1; i < x->nr_kernels; i++)
		cr_expect_lt(strcmp(x->kernels[i - 1].name, x->kernels[i].name), 0);
	/* What the PTX says of it wins: the pointer. */
	k = hg_image_index_kernel(x, "both");
	cr_expect(k->has_ptx && k->has_sass && k->params[2].align == 16);
	cr_expect_str_eq(layout(x, "both"), "1@0 8@8* 16@16 = 32");
	k = hg_image_index_kernel(x, "sass");
	cr_expect(!k->has_ptx && k->has_sass);
	cr_expect_str_eq(layout(x, "sass"), "1@0 8@8 16@16 = 32");
	k = hg_image_index_kernel(x, "newer");
	cr_expect(k->has_ptx && !k->has_sass);
	cr_expect_str_eq(layout(x, "text"), "4@0 = 4");
	cr_assert_eq(x->nr_vars, 3);
	cr_expect_eq(var_of(x, "both_var")->size, 20);
	cr_expect_eq(var_of(x, "only_sass_var")->size, 12);
}

Test(index, every_entry_of_a_fatbin_is_looked_at)
{
	struct wrapper wrapper = { HG_FATBIN_WRAPPER_MAGIC, 1, NULL, NULL };
	struct hg_image_index *x;
	struct hg_writer w = { 0 };

	catch_messages();
	make_fatbin(&w);
	x = index_of(w.data, w.size);
	expect_fatbin(x);
	hg_image_index_free(x);
	x = index_of(w.data, 0);
	expect_fatbin(x);
	hg_image_index_free(x);
	wrapper.data = w.data;
	x = index_of(&wrapper, 0);
	expect_fatbin(x);
	hg_image_index_free(x);
	cr_expect_str_empty(last_message);
	hg_writer_release(&w);
}

Test(index, every_part_of_a_linked_image_is_looked_at)
{
	struct hg_writer parts[2] = { 0 }, info = { 0 }, cubin;
	const void *fatbins[3] = { 0 };
	struct wrapper wrapper = { HG_FATBIN_WRAPPER_MAGIC, 2, NULL, fatbins };
	struct hg_image_index *x;
	size_t flat_size;
	void *flat;

	catch_messages();
	attr_usual(&info);
	make_cubin(&cubin, &info, true, true);
	make_fatbin(&parts[0]);
	begin(&parts[1]);
	add_entry(&parts[1], HG_FATBIN_PTX, 75, PTX_HEAD ".entry second() { ret; }", sizeof(PTX_HEAD) + 24, ZSTD);
	end(&parts[1]);
	fatbins[0] = parts[0].data;
	fatbins[1] = parts[1].data;
	wrapper.data = cubin.data;
	x = index_of(&wrapper, 0);
	cr_expect(x->nr_sass == 3 && x->nr_ptx == 3 && x->nr_kernels == 5 && hg_image_index_kernel(x, "second"));
	cr_expect_str_eq(layout(x, "both"), "1@0 8@8* 16@16 = 32");
	hg_image_index_free(x);
	cr_assert_eq(hg_image_flatten(&wrapper, 0, &flat, &flat_size), HG_OK);
	x = index_of(flat, flat_size);
	cr_expect(x->nr_sass == 3 && x->nr_ptx == 3 && x->nr_kernels == 5 && x->nr_vars == 3);
	hg_image_index_free(x);
	free(flat);
	hg_writer_release(&info);
	hg_writer_release(&cubin);
	hg_writer_release(&parts[0]);
	hg_writer_release(&parts[1]);
}

Test(index, an_entry_that_cannot_be_read_is_left_out_with_a_warning)
{
	static const char bad_ptx[] = PTX_HEAD ".entry lost() { ret; } .entry k() { ret;";
	struct hg_writer w = { 0 };
	struct hg_image_index *x;

	catch_messages();
	begin(&w);
	add_entry(&w, HG_FATBIN_PTX, 80, bad_ptx, sizeof(bad_ptx), RAW);
	add_entry(&w, HG_FATBIN_ELF, 80, "no machine code", 16, LZ4);
	add_entry(&w, HG_FATBIN_PTX, 75, ptx_old, sizeof(ptx_old), ZSTD);
	w.data[w.size - 40] ^= 0xff;
	add_entry(&w, HG_FATBIN_PTX, 100, ptx_new, sizeof(ptx_new), ZSTD);
	end(&w);
	x = index_of(w.data, w.size);
	cr_expect(x->nr_ptx == 3 && x->nr_sass == 1 && x->nr_unread == 3);
	cr_expect_eq(x->nr_kernels, 2);
	cr_expect(hg_image_index_kernel(x, "newer") && !hg_image_index_kernel(x, "lost"));
	cr_expect(strstr(last_message, "image: its PTX for sm_75 is left out"), "%s", last_message);
	hg_image_index_free(x);
	/* Where the next entry begins is not known any more. */
	memset(w.data + 16 + 8, 0x7f, 8);
	x = NULL;
	cr_expect_eq(hg_image_index(w.data, w.size, &x), HG_ERR_CORRUPT);
	cr_expect_null(x);
	hg_writer_release(&w);
}

Test(index, bytes_cut_anywhere_or_changed_never_crash)
{
	struct hg_writer info = { 0 }, image[2] = { 0 };
	struct hg_image_index *x;
	uint64_t seed = 11;

	catch_messages();
	attr_usual(&info);
	make_cubin(&image[0], &info, true, true);
	begin(&image[1]);
	add_entry(&image[1], HG_FATBIN_ELF, 75, image[0].data, image[0].size, RAW);
	add_entry(&image[1], HG_FATBIN_PTX, 75, ptx_old, sizeof(ptx_old), RAW);
	end(&image[1]);
	for (int k = 0; k < 2; k++) {
		const struct hg_writer *w = &image[k];

		for (size_t n = 1; n < w->size; n++) {
			unsigned char *part = malloc(n);

			memcpy(part, w->data, n);
			cr_expect_neq(hg_image_index(part, n, &x), HG_OK, "image %d cut at %zu", k, n);
			free(part);
		}
		for (int round = 0; round < 20000; round++) {
			unsigned char *copy = malloc(w->size);

			memcpy(copy, w->data, w->size);
			for (int i = 0; i <= round % 4; i++) {
				seed = seed * 6364136223846793005u + 1442695040888963407u;
				copy[(seed >> 33) % w->size] = (unsigned char)(seed >> 20);
			}
			if (*(uint32_t *)(void *)copy != HG_FATBIN_WRAPPER_MAGIC && !hg_image_index(copy, w->size, &x))
				hg_image_index_free(x);
			free(copy);
		}
	}
	hg_writer_release(&info);
	hg_writer_release(&image[0]);
	hg_writer_release(&image[1]);
}
