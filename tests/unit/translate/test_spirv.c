/* test_spirv.c - kernels as SPIR-V modules: all that the files of tests/ptx have are valid in both forms, and devices' limits are told. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/translate/code_util.h"
#include "translate/spirv.h"

static bool passes(const char *environment, const char *path, char *said, size_t room)
{
	char command[128];
	size_t n;
	FILE *f;

	snprintf(command, sizeof(command), "spirv-val --target-env %s %s 2>&1", environment, path);
	f = popen(command, "r");
	cr_assert(f);
	n = fread(said, 1, room - 1, f);
	said[n] = 0;
	return pclose(f) == 0;
}

/*
 * Whether spirv-val, of spirv-tools, finds nothing; what it says goes to `said`. It takes OpenCL's environment without what devices have beyond
 * it, which are f16 and atomics of 64 bits.
 */
static bool is_valid(const struct hg_spirv_code *code, char *said, size_t room)
{
	char path[] = "/tmp/hgshim-spirv-XXXXXX";
	int fd = mkstemp(path);
	bool ok;

	cr_assert(fd >= 0 && write(fd, code->words, code->size) == (ssize_t)code->size);
	close(fd);
	ok = passes(code->version > 0x10200 ? "spv1.3" : "opencl2.2", path, said, room);
	if (!ok && (strstr(said, "Capability Float16 is not allowed by OpenCL") || strstr(said, "Capability Int64Atomics is not allowed by OpenCL")))
		ok = passes("spv1.2", path, said, room);
	unlink(path);
	return ok;
}

static void all_valid(const char *name)
{
	const struct hg_gpu_need need = { 0 };
	struct hg_spirv_module *s;
	size_t size;
	char *text = read_test_file(name, &size), said[600];
	struct hg_module *m = load_text(text);

	cr_assert_eq(hg_spirv_module_create(hg_module_ir(m), NULL, &hg_spirv_any_device, &s), HG_OK);
	for (size_t k = 0; k < hg_module_nr_kernels(m); k++)
		for (int scheduled = 0; scheduled < 2 && !hg_module_kernel(m, k)->refused; scheduled++) {
			const struct hg_spirv_code *code;

			setenv("HGSHIM_GPU_FORM", scheduled ? "scheduled" : "direct", 1);
			catch_messages();
			cr_expect_eq(hg_spirv_code_get(s, k, &need, &code), HG_OK, "%s, kernel '%s': %s", name, hg_module_kernel(m, k)->name, last_message);
			if (last_message[0])
				continue;
			cr_expect(code->is_scheduled || !scheduled);
			cr_expect(is_valid(code, said, sizeof(said)), "%s, kernel '%s': %s", name, code->symbol, said);
		}
	hg_spirv_module_destroy(s);
	hg_module_free(m);
	free(text);
}

Test(spirv, every_kernel_is_a_valid_module_in_both_forms, .timeout = 240)
{
	static const char *const file[] = { "arith", "control", "functions", "grammar", "matrix", "memory", "texture", "nvcc13_cg", "nvcc13_gemm",
		"nvcc13_histogram", "nvcc13_reduction", "nvcc13_scan", "nvcc13_transpose" };
	char path[64];

	for (size_t i = 0; i < sizeof(file) / sizeof(*file); i++) {
		snprintf(path, sizeof(path), "tests/ptx/%s.ptx", file[i]);
		all_valid(path);
	}
}

/* ---- what devices cannot do ---- */

/* Of what is not refused the module is valid. */
static enum hg_status code_for(const char *body, const struct hg_spirv_device *device, const struct hg_gpu_need *need)
{
	char text[4096], said[600];
	struct hg_module *m = load_text(kernel_around("ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n];\n", body, "", text, sizeof(text)));
	const struct hg_spirv_code *code;
	struct hg_spirv_module *s;
	enum hg_status st;

	catch_messages();
	cr_assert_eq(hg_spirv_module_create(hg_module_ir(m), NULL, device, &s), HG_OK);
	st = hg_spirv_code_get(s, 0, need, &code);
	if (!st)
		cr_expect(is_valid(code, said, sizeof(said)), "'%s': %s", body, said);
	hg_spirv_module_destroy(s);
	hg_module_free(m);
	return st;
}

static void expect_refused(const char *body, const struct hg_spirv_device *device, const char *message)
{
	cr_expect_eq(code_for(body, &hg_spirv_any_device, &(struct hg_gpu_need){ 0 }), HG_OK, "%s", last_message);
	cr_expect_eq(code_for(body, device, &(struct hg_gpu_need){ 0 }), HG_ERR_UNSUPPORTED, "%s", body);
	cr_expect(strstr(last_message, message), "'%s' gives '%s'", body, last_message);
}

Test(spirv, what_a_device_lacks_is_refused_by_name)
{
	struct hg_spirv_device d = hg_spirv_any_device;

	d.has_int64_atomics = false;
	expect_refused("atom.global.add.u64 %rd2, [%rd1], 1; st.global.u64 [%rd1], %rd2;", &d, "atomic operations of 64 bits");
	d = hg_spirv_any_device;
	d.has_fp64 = false;
	cr_expect_eq(code_for("ld.global.f32 %f2, [%rd1]; sqrt.rm.f32 %f1, %f2; div.rn.f32 %f1, %f1, %f2; fma.rp.f32 %f1, %f1, %f2, %f2;\n"
			      "{ .reg .f64 %d1; cvt.f64.f32 %d1, %f1; fma.rn.f64 %d1, %d1, 0d3BF921FB54442D19, %d1; sqrt.rm.f64 %d1, %d1;\n"
			      "atom.global.add.f64 %d1, [%rd1], %d1; cvt.rn.f32.f64 %f1, %d1; }\n"
			      "st.global.f32 [%rd1], %f1;", &d, &(struct hg_gpu_need){ 0 }), HG_OK, "%s", last_message);
	d = hg_spirv_any_device;
	d.has_subgroup_32 = false;
	expect_refused("activemask.b32 %r2; st.global.u32 [%rd1], %r2;", &d, "sub-groups of 32");
	cr_expect_eq(code_for("st.global.u32 [%rd1], %r1;", &d, &(struct hg_gpu_need){ 0 }), HG_OK, "%s", last_message);
}

Test(spirv, blocks_that_are_too_large_are_refused)
{
	const struct hg_gpu_need large = { .block = { 64, 32, 1 } };

	cr_expect_eq(code_for("ret;", &hg_spirv_any_device, &large), HG_ERR_UNSUPPORTED);
	cr_expect(strstr(last_message, "blocks of 2048 threads, and takes 1024 at most"), "%s", last_message);
}

/* Which no thread misses; others are counted by code, with atomics of 64 bits, a warp at a time. */
Test(spirv, a_barrier_of_the_device_needs_neither_sub_groups_nor_wide_atomics)
{
	static const char missed[] = "mov.u32 %r2, %tid.x; setp.ge.u32 %p1, %r2, %r1; @%p1 bra END; bar.sync 0; st.global.u32 [%rd1], %r1; END: ret;";
	struct hg_spirv_device d = hg_spirv_any_device;

	d.has_int64_atomics = d.has_subgroup_32 = false;
	cr_expect_eq(code_for("bar.sync 0; st.global.u32 [%rd1], %r1;", &d, &(struct hg_gpu_need){ 0 }), HG_OK, "%s", last_message);
	expect_refused(missed, &d, "sub-groups of 32");
	d.has_subgroup_32 = true;
	expect_refused(missed, &d, "atomic operations of 64 bits");
}
