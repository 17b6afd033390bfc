/* test_module.c - a loaded module as the driver sees it. */
#include "tests/unit/translate/code_util.h"

#include <pthread.h>

Test(module, text_is_taken_with_and_without_its_length)
{
	static const char text[] = PTX_HEAD ".visible .entry k() { ret; }\n";
	struct hg_module *m = NULL;
	size_t size;
	void *flat;

	cr_assert_eq(hg_module_load(text, 0, 120, NULL, 0, &m), HG_OK);
	hg_module_free(m);
	cr_assert_eq(hg_module_load(text, sizeof(text), 120, NULL, 0, &m), HG_OK);
	hg_module_free(m);
	cr_assert_eq(hg_module_load(text, sizeof(text) - 1, 120, NULL, 0, &m), HG_OK);
	hg_module_free(m);
	cr_expect_eq(hg_image_size(text), sizeof(text));
	cr_assert_eq(hg_image_flatten(text, 0, &flat, &size), HG_OK);
	cr_expect(size == sizeof(text) && !memcmp(flat, text, size));
	free(flat);
	/* Text of a known length without a NUL gets one. */
	cr_assert_eq(hg_image_flatten(text, sizeof(text) - 1, &flat, &size), HG_OK);
	cr_expect(size == sizeof(text) && !memcmp(flat, text, size));
	free(flat);
}

Test(module, names_are_found_and_others_are_not)
{
	char text[20000] = PTX_HEAD, name[16];
	struct hg_module *m;

	for (int i = 0; i < 100; i++)
		sprintf(text + strlen(text), ".visible .global .u32 v%d;\n.visible .entry k%d() { ret; }\n", i, i);
	m = load_text(text);
	for (int i = 0; i < 100; i++) {
		sprintf(name, "k%d", i);
		cr_expect_eq(hg_module_find_kernel(m, name), i);
		cr_expect_str_eq(hg_module_kernel(m, (size_t)i)->name, name);
		sprintf(name, "v%d", i);
		cr_expect_eq(hg_module_find_var(m, name), i);
	}
	cr_expect_eq(hg_module_find_kernel(m, "k100"), -1);
	cr_expect_eq(hg_module_find_kernel(m, ""), -1);
	cr_expect_eq(hg_module_kernel(m, 100), NULL);
	cr_expect_eq(hg_module_var(m, 100), NULL);
	hg_module_free(m);
	hg_module_free(NULL);
}

Test(module, the_hash_is_of_the_text)
{
	struct hg_module *a = load_text(PTX_HEAD ".visible .entry k() { ret; }\n");
	struct hg_module *b = load_text(PTX_HEAD ".visible .entry k() { ret; }\n");
	struct hg_module *c = load_text(PTX_HEAD ".visible .entry k() { exit; }\n");
	unsigned char ka[16], kb[16], kc[16];

	hg_module_hash(a, ka);
	hg_module_hash(b, kb);
	hg_module_hash(c, kc);
	cr_expect_arr_eq(ka, kb, 16);
	cr_expect_arr_neq(ka, kc, 16);
	hg_module_free(a);
	hg_module_free(b);
	hg_module_free(c);
}

static void *load_many(void *arg)
{
	for (int i = 0; i < 20; i++) {
		struct hg_module *m = NULL;

		if (hg_module_load(arg, 0, 120, NULL, 0, &m) || hg_module_nr_kernels(m) != 3)
			return (void *)1;
		hg_module_free(m);
	}
	return NULL;
}

Test(module, threads_load_at_the_same_time)
{
	size_t size;
	char *text = read_test_file("tests/ptx/control.ptx", &size);
	pthread_t t[4];
	void *failed;

	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, load_many, text), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &failed);
		cr_expect_eq(failed, NULL);
	}
	free(text);
}
