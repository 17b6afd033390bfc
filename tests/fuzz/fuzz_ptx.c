/* fuzz_ptx.c - anything as PTX or as hgIR text: no crash, and what is accepted prints and parses to itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "tests/fuzz/mutate.h"
#include "translate/ir.h"
#include "translate/module.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drop(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

static void round_trip(const struct ir_module *ir)
{
	struct ir_module *again;
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return;
	if (ir_verify(ir))
		abort();
	ir_print(ir, f);
	fclose(f);
	if (ir_parse(text, size, &again) || !ir_equal(ir, again))
		abort();
	ir_module_free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hg_module *m;
	struct ir_module *ir;
	char log[256];

	hg_msg_sink_set(drop, NULL);
	if (size > 5 && !memcmp(data, "hgir ", 5)) {
		if (ir_parse((const char *)data, size, &ir))
			return 0;
		if (!ir_verify(ir))
			round_trip(ir);
		ir_module_free(ir);
		return 0;
	}
	/* Only text: other images are fuzz_fatbin's. */
	if (!size || (data[0] != '.' && data[0] != '/' && data[0] != '\n'))
		return 0;
	if (hg_module_load(data, size, 120, log, sizeof(log), &m))
		return 0;
	round_trip(hg_module_ir(m));
	hg_module_free(m);
	return 0;
}
