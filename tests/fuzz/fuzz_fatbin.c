/* fuzz_fatbin.c - anything as a fatbin, a cubin, a flattened image, an object file, a code object, an archive or a text: its parts, its index, its kernels. */
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "translate/amd_note.h"
#include "translate/code_lines.h"
#include "translate/fatbin.h"
#include "translate/index.h"
#include "translate/module.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drop(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

static enum hg_status walk(const void *data, size_t size, void *arg)
{
	struct hg_fatbin_entry e;
	struct hg_fatbin fb;

	(void)arg;
	if (!hg_fatbin_open(&fb, data, size))
		while (!hg_fatbin_next(&fb, &e))
			;
	return HG_OK;
}

static bool count(void *arg, const struct code_row *r)
{
	(void)r;
	++*(size_t *)arg;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct code_lines lines;
	struct amd_note note;
	size_t nr_rows = 0;
	struct hg_image_index *x;
	struct hg_module *m;
	uint32_t magic = 0;
	char names[64];
	size_t flat_size;
	void *flat;

	hg_msg_sink_set(drop, NULL);
	if (size >= 4)
		memcpy(&magic, data, 4);
	/* A wrapper is two pointers into the caller's own memory. */
	if (!size || magic == HG_FATBIN_WRAPPER_MAGIC)
		return 0;
	hg_cubin_kernels(data, size, names, sizeof(names));
	if (amd_note_read(data, size, &note) && !note.nr_kernels)
		abort();
	if (!hg_image_flatten(data, size, &flat, &flat_size)) {
		void *again;
		size_t again_size;

		/* A flattened image flattens to itself. */
		if (hg_image_flatten(flat, flat_size, &again, &again_size) || again_size != flat_size ||
		    memcmp(flat, again, flat_size))
			abort();
		free(again);
		free(flat);
	}
	if (!hg_image_index(data, size, &x)) {
		for (size_t i = 0; i < x->nr_kernels; i++) {
			const struct hg_index_kernel *k = &x->kernels[i];

			if (hg_image_index_kernel(x, k->name) != k || (i && strcmp(k[-1].name, k->name) >= 0))
				abort();
			for (uint32_t p = 0; p < k->nr_params; p++)
				if (k->params[p].size > k->param_bytes || k->params[p].offset > k->param_bytes - k->params[p].size)
					abort();
		}
		hg_image_index_free(x);
	}
	if (hg_object_fatbins(data, size, walk, NULL) == HG_ERR_NOMEM)
		abort();
	code_lines_take(&lines, data, size);
	code_lines_each(&lines, count, &nr_rows);
	/* each takes a byte at least */
	if (nr_rows > size)
		abort();
	code_lines_release(&lines);
	if (!hg_module_load(data, size, 120, NULL, 0, &m))
		hg_module_free(m);
	return 0;
}
